"""Categories and classes that are moments are the same for every session, however it writes dates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlglot

from selectron import MLP, Database, FeatureOptions
from selectron.engines.base import Engine, Row

NUMBERS = {"duckdb": "range(12)", "postgres": "generate_series(0, 11)"}
# A day, a moment, a moment with a fraction of a second, and one with a time zone.
COLUMNS = """
    CAST('2026-03-0' || (i % 3 + 1) AS DATE) AS day,
    CAST('2026-03-04 00:30:0' || (i % 2) AS TIMESTAMP) AS moment,
    CAST('2026-03-04 00:30:00.0' || (i % 2) AS TIMESTAMP) AS fraction,
    CAST('2026-03-04 00:30:0' || (i % 2) || '+00' AS TIMESTAMP WITH TIME ZONE) AS zoned
"""
NAMES = ("day", "moment", "fraction", "zoned")
TEXTS = {
    "day": ("2026-03-01", "2026-03-02", "2026-03-03"),
    "moment": ("2026-03-04 00:30:00", "2026-03-04 00:30:01"),
    "fraction": ("2026-03-04 00:30:00", "2026-03-04 00:30:00.01"),
    "zoned": ("2026-03-04 00:30:00+00", "2026-03-04 00:30:01+00"),
}
SESSIONS = {
    "duckdb": ["SET TimeZone = 'Asia/Tokyo'", "SET TimeZone = 'America/St_Johns'"],
    "postgres": [
        "SET DateStyle = 'SQL, DMY'; SET TimeZone = 'Asia/Tokyo'",
        "SET DateStyle = 'German'; SET TimeZone = 'America/St_Johns'",
        "SET DateStyle = 'Postgres, MDY'; SET TimeZone = 'UTC'",
    ],
}


@pytest.fixture(params=["duckdb", "postgres"])
def engine(request: pytest.FixtureRequest, engines: Callable[[str], Engine]) -> Engine:
    """A database with a table `t`."""
    made = engines(request.param)
    execute(made, "SET TimeZone = 'UTC'")
    execute(made, f"CREATE TABLE t AS SELECT i, {COLUMNS}, i * 0.5 AS y FROM {NUMBERS[made.dialect]} AS t(i)")
    return made


def execute(engine: Engine, text: str) -> None:
    for statement in text.split("; "):
        engine.execute(statement)  # type: ignore[attr-defined]


def each_session(engine: Engine) -> list[str]:
    return SESSIONS[engine.dialect]


def found(engine: Engine, query: str) -> list[Row]:
    return engine.rows(sqlglot.parse_one(query))


@pytest.mark.parametrize("embed", [{}, {"day": 1, "zoned": 2}])
def test_features_are_the_same_categories(engine: Engine, embed: dict[str, int]) -> None:
    db = Database(engine)
    features = FeatureOptions(include=NAMES, categorical=NAMES, embed=embed, known=NAMES)
    options: dict[str, Any] = {"features": features, "network": MLP([2]), "epochs": 2, "task": "regression"}
    model = db.train("t", "y", validation="t", **options)
    assert {part.column: part.categories for part in model.blueprint.encoding.features} == TEXTS  # type: ignore[attr-defined]
    model.predict("t").to_view("seen")
    query = "SELECT i, predicted_y FROM seen ORDER BY i"
    expected = found(engine, query)
    figures = model.evaluate("t").metrics
    for session in each_session(engine):
        execute(engine, session)
        # They are known, or would be refused.
        assert sorted(model.predict("t").select(["i", "predicted_y"], 100)) == expected
        assert found(engine, query) == expected
        assert model.evaluate("t").metrics == pytest.approx(figures)
        assert model.evaluate().metrics == pytest.approx(figures)
        assert model.verify("t").passed
        again = db.train("t", "y", name="again", validation="t", **options)
        assert again.blueprint.encoding == model.blueprint.encoding
        assert again.train(1).record.epochs == 3
        assert again.train_on("t").record.epochs == 4
    assert model.train(1).record.epochs == 3


@pytest.mark.parametrize("target", NAMES)
def test_classes_are_the_same(engine: Engine, target: str) -> None:
    db = Database(engine)
    features = FeatureOptions(include=("i",))
    options: dict[str, Any] = {"features": features, "network": MLP([]), "epochs": 1, "validation": 0}
    model = db.train("t", target, **options)
    assert model.classes == TEXTS[target]
    query = f"SELECT i FROM t JOIN (VALUES (0)) AS o(o) ON TRUE WHERE {target} IS NOT NULL"
    assert len(found(engine, query)) == 12
    predictions = "CREATE TABLE p_{} AS SELECT i, CAST(predicted_{} AS {}) AS c FROM ({}) AS q"
    type_ = {"day": "DATE", "zoned": "TIMESTAMP WITH TIME ZONE"}.get(target, "TIMESTAMP")
    for place, session in enumerate(["SET TimeZone = 'UTC'", *each_session(engine)]):
        execute(engine, session)
        assert db.train("t", target, name="again", **options).classes == TEXTS[target]
        assert model.evaluate("t").rows == 12
        assert model.train_on("t").record.epochs is not None
        # What is predicted is a value of the column.
        execute(engine, predictions.format(place, target, type_, db.model(target).predict("t").sql))
        query = f"SELECT COUNT(*) FROM p_{place} WHERE c IN (SELECT {target} FROM t)"
        assert found(engine, query) == [(12,)]


def test_functions_take_them(engine: Engine) -> None:
    features = FeatureOptions(include=NAMES, categorical=NAMES)
    options: dict[str, Any] = {"features": features, "network": MLP([]), "epochs": 3, "validation": 0}
    model = Database(engine).train("t", "y", task="regression", **options)
    expected = dict(model.predict("t").select(["i", "predicted_y"], 100))
    called = model.to_function("guess")
    # PostgreSQL's arguments have no time zone: the moment is that of UTC. DuckDB's have any type.
    utc = called.replace('"zoned"', "\"zoned\" AT TIME ZONE 'UTC'")
    queries = {
        "duckdb": f"SELECT i, g.predicted_y FROM (SELECT i, {called} AS g FROM t)",
        "postgres": f"SELECT i, g.predicted_y FROM t, LATERAL {utc} AS g",
    }
    for session in ["SET TimeZone = 'UTC'", *(each_session(engine) if engine.dialect == "postgres" else [])]:
        execute(engine, session)
        rows = engine.execute(queries[engine.dialect]).fetchall()  # type: ignore[attr-defined]
        assert {i: pytest.approx(value) for i, value in rows} == expected


def test_models_of_before_go_on(engine: Engine) -> None:
    """Moments with a time zone were kept as the training session had them, and kinds were not always kept."""
    db = Database(engine)
    features = FeatureOptions(include=NAMES, categorical=NAMES, known=NAMES)
    options: dict[str, Any] = {"features": features, "network": MLP([]), "epochs": 2, "validation": 0}
    model = db.train("t", "y", task="regression", **options)
    expected = sorted(model.predict("t").select(["i", "predicted_y"], 100))
    changed = "replace(replace(text, '00:30', '09:30'), '+00', '+09')"
    execute(
        engine,
        f"UPDATE selectron_statistics SET text = {changed} "
        "WHERE \"column\" = 'zoned' AND statistic = 'categories'",
    )
    before = db.model("y")
    assert before.blueprint.encoding.features[3].categories[0] == "2026-03-04 09:30:00+09"  # type: ignore[attr-defined]
    for session in each_session(engine):
        execute(engine, session)
        assert sorted(before.predict("t").select(["i", "predicted_y"], 100)) == expected
    execute(engine, "DELETE FROM selectron_statistics WHERE statistic = 'kind' AND \"column\" <> 'zoned'")
    before = db.model("y")
    for session in each_session(engine):
        execute(engine, session)
        assert sorted(before.predict("t").select(["i", "predicted_y"], 100)) == expected


@pytest.mark.parametrize("value", ["infinity", "-infinity", "0044-03-15 BC"])
def test_days_that_are_no_usual_ones(engines: Callable[[str], Engine], value: str) -> None:
    engine = engines("postgres")
    execute(
        engine,
        "CREATE TABLE t AS SELECT i, DATE '2026-01-01' + i % 2 AS d, i AS y FROM generate_series(0, 7) AS i",
    )
    execute(engine, f"INSERT INTO t SELECT 9, DATE '{value}', 3")
    features = FeatureOptions(include=("d",), categorical=("d",), known=("d",))
    options: dict[str, Any] = {"features": features, "network": MLP([]), "epochs": 1, "validation": 0}
    model = Database(engine).train("t", "y", task="regression", **options)
    assert value in model.blueprint.encoding.features[0].categories  # type: ignore[attr-defined]
    assert len(model.predict("t").select(["i", "predicted_y"], 100)) == 9

"""What rows to predict may hold: the same predictions on every engine, or the same refusal."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sqlglot
from sqlglot import exp

import selectron
from selectron import MLP, FeatureOptions
from selectron.engines.base import Engine
from selectron.errors import ColumnError, DataError
from support import connection

INFINITE, MISSING = float("inf"), float("nan")
DAY, MOMENT = datetime.date(2024, 2, 29), datetime.datetime(2024, 2, 29, 23, 59, 30)
COLUMNS = ("id", "size", "flag", "kind", "city", "day", "moment")
FEATURES = COLUMNS[1:]
# What is wrong with a row, and the row.
ROWS: dict[str, tuple[Any, ...]] = {
    "ordinary": (1, 3.5, True, "a", "x", DAY, MOMENT),
    "all unknown": (2, None, None, None, None, None, None),
    "unseen categories": (3, 3.5, True, "never seen", "ÄÖ'\"", DAY, MOMENT),
    "other case": (4, 3.5, True, "A", "X", DAY, MOMENT),
    "infinite": (5, INFINITE, False, "b", "y", DAY, MOMENT),
    "minus infinite": (6, -INFINITE, False, "b", "y", DAY, MOMENT),
    "not a number": (7, MISSING, False, "b", "y", DAY, MOMENT),
    "huge": (8, 1e300, False, "b", "y", DAY, MOMENT),
    "minus huge": (9, -1e300, False, "b", "y", DAY, MOMENT),
    "tiny": (10, 1e-300, False, "b", "y", DAY, MOMENT),
    "long ago": (11, 1.0, True, "a", "z", datetime.date(1600, 2, 29), datetime.datetime(1600, 1, 1)),
    "far ahead": (12, 1.0, True, "a", "z", datetime.date(9999, 12, 31), datetime.datetime(9999, 12, 31)),
}


@pytest.fixture(scope="module")
def original() -> Iterator[selectron.Model]:
    """A model with every kind of feature."""
    with selectron.connect() as db:
        connection(db).execute("""
            CREATE TABLE t AS SELECT i AS id, i * 0.25 AS size, i % 2 = 0 AS flag,
                CASE WHEN i % 5 > 0 THEN chr(97 + CAST(i % 3 AS INTEGER)) END AS kind,
                chr(120 + CAST(i % 3 AS INTEGER)) AS city, DATE '2024-01-01' + CAST(i * 9 AS INTEGER) AS day,
                TIMESTAMP '2024-01-01 06:00:00' + to_hours(i * 25) AS moment, i % 3 AS class
            FROM range(60) AS t(i)
        """)
        features = FeatureOptions(exclude=("id",), embed={"city": 2})
        network = MLP([5], activation="tanh")
        yield db.train(
            "t", "class", task="classification", name="m", epochs=10, features=features, network=network
        )


@pytest.fixture(params=["duckdb", "sqlite", "postgres"])
def model(
    request: pytest.FixtureRequest, engines: Callable[[str], Engine], original: selectron.Model
) -> selectron.Model:
    """The model, copied to an engine."""
    return selectron.Database(engines(request.param)).copy(original)


def frame(rows: list[tuple[Any, ...]], leave_out: tuple[str, ...] = ()) -> Any:
    import pyarrow as pa

    types = (pa.int64(), pa.float64(), pa.bool_(), pa.string(), pa.string(), pa.date32(), pa.timestamp("us"))
    columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in COLUMNS]
    named = zip(COLUMNS, columns, types, strict=True)
    return pa.table({name: pa.array(own, type) for name, own, type in named if name not in leave_out})


def predicted(model: selectron.Model, source: Any) -> dict[int, tuple[Any, ...]]:
    names = ["id", *model.predicted]
    return {int(row[0]): tuple(row[1:]) for row in model.predict(source).select(names, 100)}


def test_odd_rows_are_predicted_alike(model: selectron.Model, original: selectron.Model) -> None:
    rows = frame(list(ROWS.values()))
    ours, theirs = predicted(model, rows), predicted(original, rows)
    assert sorted(ours) == sorted(row[0] for row in ROWS.values())
    for name, row in ROWS.items():
        mine, other = ours[row[0]], theirs[row[0]]
        assert all(np.isfinite(value) for value in mine[1:]), name
        assert mine[0] == other[0], name
        assert mine[1:] == pytest.approx(other[1:], rel=1e-9, abs=1e-12), name


def test_what_the_documentation_says_of_them(model: selectron.Model) -> None:
    found = {name: predicted(model, frame([row]))[row[0]] for name, row in ROWS.items()}
    # Infinite and huge numbers are the extremes of training; NaN is NULL; case counts in categories.
    assert found["infinite"] == pytest.approx(found["huge"])
    assert found["minus infinite"] == pytest.approx(found["minus huge"])
    edge = predicted(model, frame([(20, 59 * 0.25, False, "b", "y", DAY, MOMENT)]))[20]
    assert found["infinite"] == pytest.approx(edge)
    null = predicted(model, frame([(21, None, False, "b", "y", DAY, MOMENT)]))[21]
    assert found["not a number"] == pytest.approx(null)
    other = predicted(model, frame([(22, 3.5, True, "never", "never", DAY, MOMENT)]))[22]
    assert found["other case"] == pytest.approx(other)
    assert found["unseen categories"] == pytest.approx(other)


def test_an_empty_table_has_no_predictions(model: selectron.Model) -> None:
    empty = frame([])
    predictions = model.predict(empty)
    assert predictions.rows() == []
    assert [*COLUMNS, *model.predicted] == predictions.columns
    with pytest.raises(DataError, match=r"no rows?"):
        model.verify(empty)


def test_missing_columns_and_wrong_types_are_refused(model: selectron.Model) -> None:
    rows = list(ROWS.values())[:1]
    with pytest.raises(ColumnError, match="lacks 2 of the model's columns: 'size', 'day'"):
        model.predict(frame(rows, leave_out=("size", "day")))
    spoilt = {
        "size": "'large'",
        "flag": "'yes'",
        "day": "'some day'",
        "moment": "3",
    }
    for name, value in spoilt.items():
        values = {
            "size": "1.5",
            "flag": "1 = 1",
            "kind": "'a'",
            "city": "'x'",
            "day": "NULL",
            "moment": "NULL",
        }
        values[name] = value
        query = ", ".join(f"{own} AS {column}" for column, own in values.items() if own != "NULL")
        query = f"SELECT {query}"
        with pytest.raises(ColumnError, match=name):
            model.predict(query)


def test_a_view_over_rows_that_come_later(model: selectron.Model) -> None:
    engine = model.engine
    types = ("BIGINT", "DOUBLE PRECISION", "BOOLEAN", "TEXT", "TEXT", "DATE", "TIMESTAMP")
    named = ", ".join(f"{name} {type_}" for name, type_ in zip(COLUMNS, types, strict=True))
    # As it is written: SQLite's types are not DuckDB's.
    engine.execute(f"CREATE TABLE later ({named})")  # type: ignore[attr-defined]
    given = exp.select("*").from_(engine.relation(frame(list(ROWS.values()))).source)
    engine.run(exp.insert(given, "later"))
    model.predict("later").to_view("seen")
    before = predicted(model, "later")
    names = ", ".join(f'"{name}"' for name in ["id", *model.predicted])
    found = engine.rows(sqlglot.parse_one(f"SELECT {names} FROM seen"))
    assert {int(row[0]): row[1] for row in found} == {key: row[0] for key, row in before.items()}
    engine.run(sqlglot.parse_one("DELETE FROM later"))
    assert engine.rows(sqlglot.parse_one(f"SELECT {names} FROM seen")) == []


ZONED = """
    CREATE TABLE zoned AS SELECT i AS id, {moment} AS moment, i % 5 AS y FROM {numbers} AS t(i)
"""
INSTANTS = {
    "duckdb": ("to_timestamp(1704067200 + i * 40000)", "range(60)"),
    "postgres": ("to_timestamp(1704067200 + i * 40000)", "generate_series(0, 59)"),
}


@pytest.mark.parametrize("name", ["duckdb", "postgres"])
def test_moments_with_a_time_zone_are_the_same_for_every_reader(
    name: str, engines: Callable[[str], Engine]
) -> None:
    engine = engines(name)
    moment, numbers = INSTANTS[name]
    engine.execute(ZONED.format(moment=moment, numbers=numbers))  # type: ignore[attr-defined]
    db = selectron.Database(engine)
    features = FeatureOptions(exclude=("id",))
    options: dict[str, Any] = {"features": features, "task": "regression", "epochs": 3, "validation": 0}
    network = MLP([4])
    model = db.train("zoned", "y", name="a", network=network, **options)
    model.predict("zoned").to_view("seen")
    query = sqlglot.parse_one("SELECT id, predicted_y FROM seen ORDER BY id")
    expected = engine.rows(query)
    assert len({value for _, value in expected}) > 30
    plain = "SELECT id, moment AT TIME ZONE 'UTC' AS moment, y FROM zoned"
    assert sorted(model.predict(plain).select(["id", "predicted_y"], 100)) == expected
    for zone in ("Asia/Tokyo", "America/Los_Angeles"):
        engine.execute(f"SET TimeZone = '{zone}'")  # type: ignore[attr-defined]
        assert engine.rows(query) == expected
        assert model.verify("zoned").passed
        assert sorted(model.predict("zoned").select(["id", "predicted_y"], 100)) == expected
        again = db.train("zoned", "y", name="b", network=network, **options)
        for key, values in model.parameters.items():
            np.testing.assert_array_equal(again.parameters[key], values)


def test_moments_of_a_frame_with_a_time_zone_are_taken_in_utc(
    engines: Callable[[str], Engine], model: selectron.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pandas as pd

    plain = frame([(1, 1.0, True, "a", "x", DAY, MOMENT), (2, 1.0, True, "a", "x", DAY, None)]).to_pandas()
    zoned = plain.assign(moment=plain.moment.dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo"))
    assert isinstance(zoned.moment.dtype, pd.DatetimeTZDtype)
    expected = predicted(model, plain)
    monkeypatch.setenv("TZ", "America/Los_Angeles")
    time.tzset()
    try:
        assert predicted(model, zoned) == expected
    finally:
        monkeypatch.undo()
        time.tzset()


STAND_INS = "SELECT {x} AS x, {flag} AS flag, {y} AS y"


@pytest.mark.parametrize("name", ["duckdb", "sqlite", "postgres", "bigquery"])
def test_booleans_and_numbers_stand_in_for_each_other(name: str, engines: Callable[[str], Engine]) -> None:
    db = selectron.Database(engines(name))
    rows = " UNION ALL ".join(
        STAND_INS.format(x=x, flag="TRUE" if x % 2 else "FALSE", y=y)
        for x, y in ((0, 1.5), (1, 2.5), (2, 3.0), (3, 5.5))
    )
    if name == "sqlite":
        # Its booleans are numbers, unless a column says otherwise.
        db.engine.execute("CREATE TABLE t (x INTEGER, flag BOOLEAN, y REAL)")  # type: ignore[attr-defined]
        db.engine.execute(f"INSERT INTO t {rows}")  # type: ignore[attr-defined]
        rows = "SELECT * FROM t"
    model = db.train(rows, "y", epochs=2, validation=0, task="regression", network=MLP([2]))

    def value(x: str, flag: str) -> Any:
        return model.predict(f"SELECT {x} AS x, {flag} AS flag").rows()[0][-1]

    expected = {flag: value("1", flag) for flag in ("TRUE", "FALSE")}
    assert expected["TRUE"] != expected["FALSE"]
    for flag, same in {"1": "TRUE", "0": "FALSE", "0.0": "FALSE", "0.25": "TRUE", "-2": "TRUE"}.items():
        assert value("1", flag) == pytest.approx(expected[same]), flag
    assert value("TRUE", "TRUE") == pytest.approx(expected["TRUE"])
    assert value("FALSE", "TRUE") == pytest.approx(value("0", "TRUE"))
    judged = [
        model.evaluate(f"SELECT {x} AS x, TRUE AS flag, {y} AS y")["mae"]
        for x, y in (("TRUE", "TRUE"), ("1", "1.0"))
    ]
    assert judged[0] == pytest.approx(judged[1])


@pytest.mark.parametrize("name", ["duckdb", "sqlite", "postgres"])
def test_columns_whose_names_differ_in_case(engines: Callable[[str], Engine], name: str) -> None:
    db = selectron.Database(engines(name))
    first = "SELECT 1.0 AS x, 'a' AS w, 'no' AS y"
    rows = f"{first} UNION ALL SELECT 2.0, 'b', 'yes' UNION ALL SELECT 3.0, 'a', 'no'"
    model = db.train(rows, "y", network=selectron.MLP([2]), epochs=2, validation=0)
    other = f'SELECT x AS "X", w AS "W", y AS "Y" FROM ({rows}) AS other'
    same, found = model.predict(rows), model.predict(other)
    assert found.columns[:3] == ["X", "W", "Y"]
    assert found.rows() == same.rows()
    assert model.evaluate(other).metrics == model.evaluate(rows).metrics
    assert model.verify(other).passed


@pytest.mark.parametrize("name", ["duckdb", "sqlite", "postgres"])
def test_a_column_that_is_null_without_a_type_stands_for_any(
    engines: Callable[[str], Engine], name: str
) -> None:
    db = selectron.Database(engines(name))
    rows = [f"SELECT {i} AS x, 'w{i % 3}' AS w, {i % 2} * 2.5 AS y" for i in range(12)]
    model = db.train(" UNION ALL ".join(rows), "y", network=MLP([2]), epochs=2, validation=0)
    (missing,) = model.predict(pd.DataFrame({"x": [None], "w": [None]})).rows()
    assert missing[:2] == (None, None)
    assert isinstance(missing[-1], float)
    with pytest.raises(DataError, match="There is no row to evaluate on, with a known target"):
        model.evaluate(pd.DataFrame({"x": [1], "w": ["w0"], "y": [None]}))
    with pytest.raises(DataError, match="Column 'x' is left out: all its values are NULL"):
        db.train(pd.DataFrame({"x": [None, None], "y": [1, 2]}), "y", name="nothing")
    # PostgreSQL gives such a column of a query the type text, which does not stand for numbers.
    if name != "postgres":
        assert model.predict("SELECT NULL AS x, NULL AS w").rows() == [missing]

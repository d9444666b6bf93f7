"""Columns of other types than in training: the same values are the same categories and classes."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import pytest
import sqlglot

import selectron
from selectron import MLP, FeatureOptions
from selectron.engines.base import ColumnKind, Engine
from selectron.errors import ColumnError, ConfigurationError, DataError
from selectron.features import CategoryFeature, EmbeddingFeature, Encoding, NumberTarget, from_rows, to_rows
from selectron.features.fitting import fitted
from selectron.features.known import Known

ENGINES = ("duckdb", "sqlite", "postgres")
DAYS = [datetime.date(2026, 1, 1), datetime.date(2026, 1, 2)]
MOMENTS = [datetime.datetime(2026, 1, 1), datetime.datetime(2026, 1, 2)]

# The type and the two values of a column in training, and those of columns that mean the same.
ALIKE: dict[str, tuple[str, list[str], list[tuple[str, list[str]]]]] = {
    "whole": (
        "BIGINT",
        ["0", "1"],
        [
            ("DOUBLE PRECISION", ["0", "1"]),
            ("DOUBLE PRECISION", ["-0.0", "1"]),
            ("NUMERIC(9,2)", ["0.00", "1.00"]),
            ("SMALLINT", ["0", "1"]),
            ("BOOLEAN", ["FALSE", "TRUE"]),
        ],
    ),
    "decimal": ("NUMERIC(4,2)", ["1.50", "2.00"], [("DOUBLE PRECISION", ["1.5", "2"])]),
    "double": ("DOUBLE PRECISION", ["-0.0", "7"], [("INTEGER", ["0", "7"]), ("NUMERIC(4,1)", ["0", "7"])]),
    "boolean": (
        "BOOLEAN",
        ["FALSE", "TRUE"],
        [("INTEGER", ["0", "1"]), ("DOUBLE PRECISION", ["0", "1"]), ("NUMERIC(4,2)", ["0", "1"])],
    ),
    "text": (
        "VARCHAR(20)",
        ["'4'", "'1234'"],
        [
            ("BIGINT", ["4", "1234"]),
            ("DOUBLE PRECISION", ["4", "1234"]),
            ("NUMERIC(9,2)", ["4", "1234"]),
            ("CHAR(5)", ["'4'", "'1234'"]),
        ],
    ),
    "text of fractions": ("VARCHAR(20)", ["'4.0'", "'1.5'"], [("DOUBLE PRECISION", ["4", "1.5"])]),
    "date": (
        "DATE",
        ["'2026-01-01'", "'2026-01-02'"],
        [
            ("TIMESTAMP", ["'2026-01-01 00:00:00'", "'2026-01-02 00:00:00'"]),
            ("VARCHAR(20)", ["'2026-01-01'", "'2026-01-02 00:00:00'"]),
        ],
    ),
    "moment": (
        "TIMESTAMP",
        ["'2026-01-01 00:00:00'", "'2026-01-02 12:30:00'"],
        [("VARCHAR(20)", ["'2026-01-01'", "'2026-01-02 12:30:00'"])],
    ),
    "midnight": (
        "TIMESTAMP",
        ["'2026-01-01 00:00:00'", "'2026-01-02 00:00:00'"],
        [("DATE", ["'2026-01-01'", "'2026-01-02'"])],
    ),
    "text of dates": (
        "VARCHAR(20)",
        ["'2026-01-01'", "'2026-01-02'"],
        [
            ("DATE", ["'2026-01-01'", "'2026-01-02'"]),
            ("TIMESTAMP", ["'2026-01-01 00:00:00'", "'2026-01-02 00:00:00'"]),
        ],
    ),
}
CASES = [
    pytest.param(engine, name, place, id=f"{engine}-{name}-{other[0]}-{place}")
    for engine in ENGINES
    for name, (_, _, others) in ALIKE.items()
    for place, other in enumerate(others)
]


def table(engine: Engine, name: str, type_: str, values: list[str]) -> None:
    """A table of the values, each ten times, one row of NULL, and a number that tells the values apart."""
    run(engine, f"CREATE TABLE {name} (c {type_}, y DOUBLE PRECISION)")
    rows = [f"({value}, {place})" for place, value in enumerate(values) for _ in range(10)]
    run(engine, f"INSERT INTO {name} VALUES {', '.join([*rows, '(NULL, 0.5)'])}")


def run(engine: Engine, statement: str) -> None:
    # As it is written, since SQLite keeps the names of types.
    engine.execute(statement)  # type: ignore[attr-defined]


@pytest.mark.parametrize("embed", [False, True], ids=["one-hot", "embedded"])
@pytest.mark.parametrize(("name_of_engine", "name", "place"), CASES)
def test_a_category_of_another_type_is_the_same_category(
    engines: Callable[[str], Engine], name_of_engine: str, name: str, place: int, embed: bool
) -> None:
    engine = engines(name_of_engine)
    type_, values, others = ALIKE[name]
    table(engine, "trained", type_, values)
    table(engine, "other", *others[place])
    how = FeatureOptions(embed={"c": 2}) if embed else FeatureOptions(categorical=("c",))
    model = selectron.Database(engine).train(
        "trained", "y", task="regression", features=how, network=MLP([]), epochs=2, validation=0
    )
    expected = sorted(row[-1] for row in model.predict("trained").rows())
    assert len(set(expected)) == 3
    found = model.predict("other")
    assert sorted(row[-1] for row in found.rows()) == expected
    # The rows' own values stay as they are.
    own = engine.rows(sqlglot.parse_one("SELECT c FROM other"))
    assert sorted(map(str, (row[0] for row in found.rows()))) == sorted(str(row[0]) for row in own)
    assert model.evaluate("other")["mse"] == pytest.approx(model.evaluate("trained")["mse"])
    assert model.verify("other").passed


@pytest.mark.parametrize(("name_of_engine", "name", "place"), CASES)
def test_a_class_of_another_type_is_the_same_class(
    engines: Callable[[str], Engine], name_of_engine: str, name: str, place: int
) -> None:
    engine = engines(name_of_engine)
    type_, values, others = ALIKE[name]
    table(engine, "trained", type_, values)
    table(engine, "other", *others[place])
    model = selectron.Database(engine).train(
        "trained", "c", task="classification", network=MLP([]), epochs=200, validation=0
    )
    assert model.evaluate("trained")["accuracy"] == 1.0
    evaluation = model.evaluate("other")
    assert evaluation.rows == 20
    assert evaluation["accuracy"] == 1.0
    assert model.train_on("other").evaluate("other")["accuracy"] == 1.0


@pytest.mark.parametrize("name_of_engine", ENGINES)
def test_a_frame_predicts_as_its_table_does(engines: Callable[[str], Engine], name_of_engine: str) -> None:
    """Whole numbers and booleans with a NULL are floating-point numbers and objects to pandas."""
    import pandas as pd

    engine = engines(name_of_engine)
    run(engine, "CREATE TABLE t (k BIGINT, b BOOLEAN, d DATE, z VARCHAR(9), e BIGINT, y DOUBLE PRECISION)")
    rows = [(i % 3, i % 2 == 0, DAYS[i % 2], str(i % 4), i % 5, i * 0.5) for i in range(20)]
    texts = [f"({k}, {b}, '{d}', '{z}', {e}, {y})" for k, b, d, z, e, y in rows]
    run(engine, f"INSERT INTO t VALUES {', '.join(texts)}")
    run(engine, "INSERT INTO t VALUES (NULL, NULL, NULL, NULL, NULL, 3)")
    how = FeatureOptions(categorical=("k", "b", "d"), embed={"e": 2})
    model = selectron.Database(engine).train(
        "t", "y", task="regression", features=how, network=MLP([3]), epochs=3, validation=0
    )
    frame = pd.DataFrame(
        {
            "k": [float(row[0]) for row in rows] + [None],
            "b": [float(row[1]) for row in rows] + [None],
            "d": pd.to_datetime([str(row[2]) for row in rows] + [None]),
            "z": [float(row[3]) for row in rows] + [None],
            "e": [float(row[4]) for row in rows] + [None],
            "y": [row[5] for row in rows] + [3.0],
        }
    )
    assert [str(type_)[:7] for type_ in frame.dtypes] == ["float64", "float64", "datetim"] + ["float64"] * 3
    expected = sorted(row[-1] for row in model.predict("t").rows())
    assert sorted(row[-1] for row in model.predict(frame).rows()) == pytest.approx(expected, abs=1e-12)
    assert model.evaluate(frame)["mse"] == pytest.approx(model.evaluate("t")["mse"])


@pytest.mark.parametrize("name_of_engine", ["duckdb", "postgres"])
def test_not_a_number_is_no_category(engines: Callable[[str], Engine], name_of_engine: str) -> None:
    engine = engines(name_of_engine)
    table(engine, "t", "DOUBLE PRECISION", ["1", "2", "'NaN'"])
    table(engine, "other", "DOUBLE PRECISION", ["1", "2", "'Infinity'"])
    how = FeatureOptions(categorical=("c",))
    database = selectron.Database(engine)
    model = database.train("t", "y", task="regression", features=how, epochs=1, validation=0)
    (feature,) = model.blueprint.encoding.features
    assert isinstance(feature, CategoryFeature)
    assert (len(feature.categories), feature.indicator) == (2, True)
    encoded = {tuple(row[-4:]) for row in model.encoded("t").rows()}
    assert encoded == {(1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0)}
    assert (0.0, 0.0, 1.0, 0.0) in {tuple(row[-4:]) for row in model.encoded("other").rows()}
    refusing = FeatureOptions(categorical=("c",), nulls="refuse")
    with pytest.raises(ColumnError, match=r"'c' of table 't' has \d+ NULLs in"):
        database.train("t", "y", task="regression", features=refusing, epochs=1)


@pytest.mark.parametrize("name_of_engine", ["duckdb", "postgres"])
def test_midnight_in_utc_is_its_date(engines: Callable[[str], Engine], name_of_engine: str) -> None:
    engine = engines(name_of_engine)
    run(engine, "SET TimeZone = 'UTC'")
    table(engine, "t", "DATE", ["'2026-01-01'", "'2026-01-02'"])
    table(engine, "other", "TIMESTAMPTZ", ["'2026-01-01 00:00:00+00'", "'2026-01-02 02:00:00+02'"])
    model = selectron.Database(engine).train(
        "t", "y", task="regression", features=FeatureOptions(categorical=("c",)), epochs=2, validation=0
    )

    def predicted(source: str) -> list[float]:
        query = model.predict(source).query
        return sorted(row[0] for row in engine.rows(sqlglot.select("predicted_y").from_(query.subquery("p"))))

    assert predicted("other") == predicted("t")


def test_not_a_number_is_no_truth_value(engines: Callable[[str], Engine]) -> None:
    engine = engines("duckdb")
    table(engine, "t", "BOOLEAN", ["FALSE", "TRUE"])
    table(engine, "other", "DOUBLE PRECISION", ["0", "1", "'NaN'"])
    for categorical in ((), ("c",)):
        model = selectron.Database(engine).train(
            "t", "y", task="regression", features=FeatureOptions(categorical=categorical), epochs=2
        )
        unknown = {row[-1] for row in model.predict("SELECT NULL::DOUBLE AS c").rows()}
        other = model.predict("SELECT c FROM other WHERE isnan(c)").rows()
        assert {row[-1] for row in other} == unknown


def test_zeros_are_one_category(engines: Callable[[str], Engine]) -> None:
    engine = engines("duckdb")
    table(engine, "t", "DOUBLE PRECISION", ["0.0", "-0.0", "5"])
    how = FeatureOptions(categorical=("c",))
    model = selectron.Database(engine).train("t", "y", task="regression", features=how, epochs=1)
    (feature,) = model.blueprint.encoding.features
    assert isinstance(feature, CategoryFeature)
    assert feature.categories == ("0.0", "5.0")


@pytest.mark.parametrize("name_of_engine", ENGINES)
def test_huge_whole_numbers_are_told_apart(engines: Callable[[str], Engine], name_of_engine: str) -> None:
    engine = engines(name_of_engine)
    table(engine, "t", "BIGINT", [str(2**53), str(2**53 + 1)])
    how = FeatureOptions(categorical=("c",))
    model = selectron.Database(engine).train("t", "y", task="regression", features=how, epochs=3)
    assert len({row[-1] for row in model.predict("t").rows()}) == 3


@pytest.mark.parametrize(("learned", "held"), [("BIGINT", "VARCHAR"), ("BOOLEAN", "DATE"), ("DATE", "INT")])
def test_what_cannot_stand_in_is_refused(learned: str, held: str) -> None:
    with selectron.connect() as db:
        value = {"BIGINT": "1", "BOOLEAN": "true", "DATE": "'2026-01-01'"}[learned]
        rows = f"SELECT CASE WHEN i > 4 THEN {value}::{learned} END AS c, i * 1.0 AS y FROM range(9) AS t(i)"
        how = FeatureOptions(categorical=("c",))
        model = db.train(rows, "y", task="regression", features=how, epochs=1)
        with pytest.raises(ColumnError, match="Column 'c' of the query is of type"):
            model.predict(f"SELECT NULL::{held} AS c")


def test_an_unknown_class_is_still_refused() -> None:
    with selectron.connect() as db:
        model = db.train("SELECT i AS x, i % 2 AS c FROM range(9) AS t(i)", "c", epochs=1)
        with pytest.raises(DataError, match=r"does not know: '2.0' \(1 rows\)"):
            model.evaluate("SELECT 1 AS x, 2.0::DOUBLE AS c")


def test_a_model_of_an_older_version_compares_texts() -> None:
    target = NumberTarget(("y",), (0.0,), (1.0,))
    rows = to_rows(Encoding((CategoryFeature("c", ("0", "1"), False, ColumnKind.NUMBER),), target))
    older = from_rows(row for row in rows if row.statistic != "kind")
    assert older.features == (CategoryFeature("c", ("0", "1"), False, ColumnKind.OTHER),)
    assert from_rows(rows).features[0].kind is ColumnKind.NUMBER
    assert Known("c", ColumnKind.OTHER, ("0",)).equal(0).sql() == "CAST(\"c\" AS TEXT) = '0'"


def test_functions_take_the_kind_of_the_column(engines: Callable[[str], Engine]) -> None:
    engine = engines("postgres")
    table(engine, "t", "BIGINT", ["3", "4"])
    how = FeatureOptions(categorical=("c",))
    model = selectron.Database(engine).train(
        "t", "y", task="regression", features=how, epochs=2, validation=0
    )
    model.to_function("f")
    found: list[Any] = engine.rows(sqlglot.parse_one("SELECT p.* FROM t, f(t.c) AS p ORDER BY t.c"))
    expected = [row[-1] for row in model.predict("t").rows()]
    assert sorted(row[0] for row in found) == pytest.approx(sorted(expected))


@pytest.mark.parametrize("name_of_engine", ENGINES)
@pytest.mark.parametrize("embed", [False, True])
def test_unseen_categories_are_refused_where_all_must_be_known(
    engines: Callable[[str], Engine], name_of_engine: str, embed: bool
) -> None:
    engine = engines(name_of_engine)
    table(engine, "t", "BIGINT", ["3", "4"])
    table(engine, "other", "DOUBLE PRECISION", ["3", "5", "6.5"])
    how = FeatureOptions(embed={"c": 2}, known="c") if embed else FeatureOptions(categorical="c", known="c")  # type: ignore[arg-type]
    model = selectron.Database(engine).train(
        "t", "y", task="regression", features=how, network=MLP([]), epochs=1, validation=0
    )
    assert len(model.predict("t").rows()) == 21
    with pytest.raises(ColumnError, match=r"'c' of table 'other' has 20 rows of categories .*: '5.*', '6.5'"):
        model.predict("other")
    assert len(model.predict("SELECT * FROM other WHERE c = 3 OR c IS NULL").rows()) == 11


def test_only_categories_can_be_known() -> None:
    with selectron.connect() as db, pytest.raises(ConfigurationError, match="known names 'x' of the query"):
        db.train(
            "SELECT i AS x, i * 2.0 AS y FROM range(9) AS t(i)", "y", features=FeatureOptions(known=("x",))
        )


def test_bigquery_converts_alike(engines: Callable[[str], Engine]) -> None:
    engine = engines("bigquery")
    kinds = ColumnKind
    features = (
        CategoryFeature("d", ("2026-01-01",), False, kinds.DATE),
        CategoryFeature("b", ("false", "true"), False, kinds.BOOLEAN),
        CategoryFeature("n", ("0", "1"), False, kinds.NUMBER),
        CategoryFeature("z", ("4", "5"), False, kinds.TEXT),
        CategoryFeature("k", ("1.5",), True, kinds.NUMBER),
        EmbeddingFeature("f", ("0.0", "2.0"), 2, kinds.NUMBER),
        EmbeddingFeature("m", ("2026-01-01 00:00:00", "2026-01-02 00:00:00"), 2, kinds.TIMESTAMP),
    )
    encoding = Encoding(features, NumberTarget(("y",), (0.0,), (1.0,)))
    relation = engine.relation(
        "SELECT DATETIME '2026-01-01 00:00:00' AS d, CAST(1 AS FLOAT64) AS b, TRUE AS n, "
        "CAST(4 AS FLOAT64) AS z, NUMERIC '1.50' AS k, CAST('-0.0' AS FLOAT64) AS f, DATE '2026-01-02' AS m"
    )
    read = fitted(relation, engine.columns(relation), encoding, target=False)
    units = [*encoding.dense(), *(feature.index() for feature in encoding.embeddings)]
    (row,) = engine.rows(sqlglot.select(*units).from_(read.source))
    expected = [1, 0, 0, 1, 0, 0, 1, 0, 1, 0, 0, 1, 0, 0, 0, 1]
    assert list(row) == expected

"""Features in DuckDB: what is learned of columns, and what rows become."""

from __future__ import annotations

import math
from typing import Any

import pytest
from sqlglot import exp

from selectron.engines.base import ColumnKind, Relation
from selectron.engines.duckdb import DuckDB
from selectron.errors import ColumnError, ConfigurationError, DataError, TargetError
from selectron.features import (
    BooleanFeature,
    CategoryFeature,
    EmbeddingFeature,
    Encoding,
    FeatureOptions,
    NumberFeature,
    TimeFeature,
    learn,
)
from selectron.features.learn import settled
from selectron.sql import column, number


@pytest.fixture
def engine() -> DuckDB:
    return DuckDB()


def encode(
    engine: DuckDB, columns: str, *, rows: int = 12, where: exp.Expr | None = None, **options: Any
) -> Encoding:
    """The encoding of columns that are expressions of i, with a target of two classes."""
    relation = engine.relation(f"SELECT {columns}, i % 2 AS y FROM range({rows}) AS r(i)")
    known = engine.columns(relation)
    return learn(engine, relation, known, ["y"], FeatureOptions(**options), where=where)


def units(engine: DuckDB, encoding: Encoding, query: str) -> list[dict[str, float]]:
    """Each row of a query as values by the names of units; none may be NULL or infinite."""
    relation: Relation = engine.relation(query)
    encoding.check(engine.columns(relation), relation.label, target=False)
    rows = engine.rows(exp.select(*encoding.dense()).from_(relation.source.copy()))
    for row in rows:
        assert all(isinstance(value, float) and math.isfinite(value) for value in row), row
    return [dict(zip(encoding.units, row, strict=True)) for row in rows]


# Numbers


@pytest.mark.parametrize(
    ("scaling", "values"),
    [("standardize", [-1.0, 1.0]), ("minmax", [0.0, 1.0]), ("none", [2.0, 6.0])],
)
def test_numbers_are_scaled(engine: DuckDB, scaling: str, values: list[float]) -> None:
    encoding = encode(engine, "2 + 4 * (i % 2) AS x", scaling=scaling)
    found = units(engine, encoding, "SELECT * FROM (VALUES (2), (6)) AS t(x)")
    assert [row["x"] for row in found] == values
    (other,) = encode(engine, "2 + 4 * (i % 2) AS x", column_scaling={"x": scaling}).features
    assert other == encoding.features[0]


@pytest.mark.parametrize("type_", ["TINYINT", "HUGEINT", "DECIMAL(9,3)", "FLOAT", "DOUBLE", "UBIGINT"])
def test_all_kinds_of_numbers_are_numbers(engine: DuckDB, type_: str) -> None:
    encoding = encode(engine, f"(i % 3)::{type_} AS x", scaling="none")
    assert units(engine, encoding, f"SELECT 2::{type_} AS x") == [{"x": 2.0}]


def test_nulls_become_the_mean_and_are_indicated(engine: DuckDB) -> None:
    encoding = encode(engine, "CASE WHEN i < 8 THEN i % 2 * 2.0 END AS x")
    assert encoding.units == ("x", "x is null")
    found = units(engine, encoding, "SELECT * FROM (VALUES (NULL), (2e0), ('nan')) AS t(x)")
    assert [tuple(row.values()) for row in found] == [(0.0, 1.0), (1.0, 0.0), (0.0, 1.0)]


def test_nulls_that_training_had_none_of_become_the_mean(engine: DuckDB) -> None:
    encoding = encode(engine, "i AS x, i % 3 = 0 AS b", scaling="minmax")
    (row,) = units(engine, encoding, "SELECT NULL::INT AS x, NULL::BOOLEAN AS b")
    assert row == {"x": 0.5, "b": 0.5}


@pytest.mark.parametrize("scale", ["1", "1e-9", "1e9"])
@pytest.mark.parametrize(
    ("value", "end"), [("'inf'", 1.0), ("'-inf'", 0.0), ("1e308", 1.0), ("-1e308", 0.0), ("1e151", 1.0)]
)
def test_what_is_beyond_all_measure_becomes_an_end_of_the_seen_range(
    engine: DuckDB, scale: str, value: str, end: float
) -> None:
    encoding = encode(engine, f"i * {scale}::DOUBLE AS x", scaling="minmax")
    assert units(engine, encoding, f"SELECT {value}::DOUBLE AS x") == [{"x": end}]


def test_a_new_number_within_measure_is_itself(engine: DuckDB) -> None:
    encoding = encode(engine, "i AS x", scaling="none")
    assert units(engine, encoding, "SELECT 1e9 AS x") == [{"x": 1e9}]


@pytest.mark.parametrize("value", ["'nan'::DOUBLE", "'inf'::DOUBLE", "'-inf'::DOUBLE", "1e308", "-2e150"])
def test_numbers_without_measure_are_refused_in_training(engine: DuckDB, value: str) -> None:
    with pytest.raises(ColumnError, match="'x' of the query has 3 values that are NaN, infinite or beyond"):
        encode(engine, f"CASE WHEN i < 3 THEN {value} ELSE i END AS x")


def test_large_numbers_do_not_overflow(engine: DuckDB) -> None:
    encoding = encode(engine, "1e149 * (i % 2) AS x")
    found = units(engine, encoding, "SELECT * FROM (VALUES (0.0), (1e149)) AS t(x)")
    assert [row["x"] for row in found] == pytest.approx([-1.0, 1.0])


def test_numbers_that_differ_only_by_rounding_are_not_blown_up(engine: DuckDB) -> None:
    encoding = encode(engine, "CASE WHEN i % 2 = 0 THEN 0.3::DOUBLE ELSE 0.1::DOUBLE + 0.2::DOUBLE END AS x")
    assert abs(units(engine, encoding, "SELECT 0.3::DOUBLE AS x")[0]["x"]) < 1e-12


def test_statistics_are_of_the_training_rows(engine: DuckDB) -> None:
    query = "i AS x, CASE WHEN i < 4 THEN 'a' || (i % 2) ELSE 'new' END AS c"
    where = exp.LT(this=column("x"), expression=number(4.0))
    encoding = encode(engine, query, where=where)
    assert encoding.features == (
        NumberFeature("x", 1.5, 1.118034, 1.5, 0.0, 3.0, False),
        CategoryFeature("c", ("a0", "a1"), False, ColumnKind.TEXT),
    )


def test_the_order_of_summing_does_not_show(engine: DuckDB) -> None:
    connection = engine.connection
    connection.execute(
        "CREATE TABLE t AS SELECT random() * 10 + 7 AS a, random() * 1e6 AS b, random() AS c, i % 2 AS y "
        "FROM range(300000) AS r(i)"
    )
    found = set()
    for order in ("a", "a DESC", "b", "c"):
        relation = engine.relation(f"SELECT * FROM t ORDER BY {order}")
        found.add(learn(engine, relation, engine.columns(relation), ["y"], FeatureOptions()))
    assert len(found) == 1


@pytest.mark.parametrize(
    ("mean", "deviation", "expected"),
    [
        (19.500000000000004, 11.543396380615196, (19.5, 11.5434)),
        (0.1, 0.0, (0.1, 0.0)),
        (123456789.123456, 1e9, (123457000.0, 1e9)),
        (1e-200, 1e-300, (1e-200, 1e-300)),
        (5e149, 1e150, (5e149, 1e150)),
    ],
)
def test_settled_statistics(mean: float, deviation: float, expected: tuple[float, float]) -> None:
    assert settled(mean, deviation) == pytest.approx(expected, rel=1e-15)


# Booleans and categories


def test_booleans(engine: DuckDB) -> None:
    encoding = encode(engine, "CASE WHEN i < 8 THEN i % 3 = 0 END AS b")
    assert encoding.features == (BooleanFeature("b", True),)
    found = units(engine, encoding, "SELECT * FROM (VALUES (true), (false), (NULL)) AS t(b)")
    assert [tuple(row.values()) for row in found] == [(1.0, 0.0), (0.0, 0.0), (0.5, 1.0)]


def test_a_category_is_one_of_those_seen_or_another(engine: DuckDB) -> None:
    encoding = encode(engine, "'k' || (i % 2) AS c")
    assert encoding.units == ("c = k0", "c = k1", "c = (other)")
    found = units(engine, encoding, "SELECT * FROM (VALUES ('k0'), ('k1'), ('K1'), (NULL)) AS t(c)")
    assert [tuple(row.values()) for row in found] == [
        (1.0, 0.0, 0.0),
        (0.0, 1.0, 0.0),
        (0.0, 0.0, 1.0),
        (0.0, 0.0, 1.0),
    ]


def test_a_null_that_training_had_is_a_category_of_its_own(engine: DuckDB) -> None:
    encoding = encode(engine, "CASE WHEN i > 3 THEN 'k' || (i % 2) END AS c")
    assert encoding.units == ("c = k0", "c = k1", "c = (other)", "c is null")
    found = units(engine, encoding, "SELECT * FROM (VALUES (NULL), ('new')) AS t(c)")
    assert [tuple(row.values()) for row in found] == [(0.0, 0.0, 0.0, 1.0), (0.0, 0.0, 1.0, 0.0)]


HARD = [
    "O'Brien",
    'a"b',
    "größe",
    "SELECT",
    "'; DROP TABLE t; --",
    "back\\slash",
    "a\nb",
    "%s {x} $1 ?",
    "",
    " ",
    "NULL",
]


@pytest.mark.parametrize("value", HARD)
@pytest.mark.parametrize("embedded", [False, True])
def test_any_value_can_be_a_category(engine: DuckDB, value: str, embedded: bool) -> None:
    engine.connection.execute("CREATE TABLE t (c TEXT, y INT)")
    engine.connection.execute("INSERT INTO t VALUES (?, 0), ('z', 1)", [value])
    relation = engine.relation("t")
    options = FeatureOptions(embed={"c": 2} if embedded else {})
    encoding = learn(engine, relation, engine.columns(relation), ["y"], options)
    (feature,) = encoding.features
    assert isinstance(feature, (CategoryFeature, EmbeddingFeature))
    assert set(feature.categories) == {value, "z"}
    if isinstance(feature, EmbeddingFeature):
        found = engine.rows(exp.select(feature.index()).from_(relation.source.copy()))
        assert found[0] == (float(feature.categories.index(value)),)
    else:
        assert units(engine, encoding, "t")[0][f"c = {value}"] == 1.0


@pytest.mark.parametrize("name", ['a"b', "select", "größe", "O'Brien", "a b", "y; DROP TABLE t", "🦆"])
def test_any_name_can_be_a_column(engine: DuckDB, name: str) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    encoding = encode(engine, f"i AS {quoted}", scaling="none")
    assert units(engine, encoding, f"SELECT 3 AS {quoted}") == [{name: 3.0}]


def test_numbers_as_categories(engine: DuckDB) -> None:
    encoding = encode(engine, "i % 3 AS c", categorical=("c",))
    assert encoding.units == ("c = 0", "c = 1", "c = 2", "c = (other)")
    found = units(engine, encoding, "SELECT * FROM (VALUES (2), (9)) AS t(c)")
    assert [tuple(row.values()) for row in found] == [(0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0)]


@pytest.mark.parametrize("distinct", [5, 6])
def test_the_cap_on_categories(engine: DuckDB, distinct: int) -> None:
    columns = f"i AS x, 'k' || (i % {distinct}) AS c"
    if distinct == 5:
        assert len(encode(engine, columns, max_categories=5).units) == 7
        return
    message = "'c' of the query has 6 categories, more than 5. Exclude it, embed it, or raise max_categories"
    with pytest.raises(ColumnError, match=message):
        encode(engine, columns, max_categories=5)
    assert encode(engine, columns, max_categories=5, exclude=("c",)).units == ("x",)
    assert encode(engine, columns, max_categories=5, embed={"c": 2}).embeddings[0].entries == 7


def test_an_embedding_is_an_index_and_the_last_one_is_for_all_others(engine: DuckDB) -> None:
    encoding = encode(engine, "'k' || (i % 3) AS c", embed={"c": 4})
    assert encoding.features == (EmbeddingFeature("c", ("k0", "k1", "k2"), 4, ColumnKind.TEXT),)
    assert encoding.units == ()
    relation = engine.relation("SELECT * FROM (VALUES ('k0'), ('k2'), ('new'), (NULL)) AS t(c)")
    found = engine.rows(exp.select(encoding.embeddings[0].index()).from_(relation.source))
    assert found == [(0.0,), (2.0,), (3.0,), (3.0,)]


# Dates and timestamps


def test_a_date_is_days_and_its_place_in_the_year_and_the_week(engine: DuckDB) -> None:
    encoding = encode(engine, "DATE '2024-01-01' + i::INT AS d", rows=7)
    names = [f"d: {cycle} {wave}" for cycle in ("year", "week") for wave in ("sine", "cosine")]
    assert encoding.units == ("d: days", *names)
    (row,) = units(engine, encoding, "SELECT DATE '2024-01-07' AS d")  # a Sunday, day 7 of the year
    assert row["d: days"] == pytest.approx(3 / 2)  # days 0 to 6 have mean 3 and deviation 2
    angle = 7 * 2 * math.pi / 365.25
    assert [row["d: year sine"], row["d: year cosine"]] == pytest.approx([math.sin(angle), math.cos(angle)])
    assert [row["d: week sine"], row["d: week cosine"]] == pytest.approx([0.0, 1.0])


def test_a_timestamp_has_its_place_in_the_day_too(engine: DuckDB) -> None:
    encoding = encode(engine, "TIMESTAMP '2024-01-01' + INTERVAL (i) HOUR AS t")
    (row,) = units(engine, encoding, "SELECT TIMESTAMP '2024-01-01 06:30:00' AS t")
    assert [row["t: hour sine"], row["t: hour cosine"]] == pytest.approx([1.0, 0.0])


@pytest.mark.parametrize("type_", ["TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "TIMESTAMPTZ"])
def test_timestamps_of_any_precision_are_the_same(engine: DuckDB, type_: str) -> None:
    engine.connection.execute("SET TimeZone = 'UTC'")
    columns = "(TIMESTAMP '2024-01-01' + INTERVAL (i * 7) HOUR){} AS t"
    plain, other = encode(engine, columns.format("")), encode(engine, columns.format(f"::{type_}"))
    assert plain.features == other.features
    query = "SELECT TIMESTAMP '2024-05-06 07:08:09'{} AS t"
    assert units(engine, plain, query.format("")) == units(engine, other, query.format(f"::{type_}"))


def test_the_connections_time_zone_does_not_matter(engine: DuckDB) -> None:
    encodings, rows = [], []
    for zone in ("UTC", "America/New_York", "Asia/Kolkata"):
        engine.connection.execute(f"SET TimeZone = '{zone}'")
        encodings.append(encode(engine, "TIMESTAMPTZ '2024-01-01 02:00:00+00' + INTERVAL (i * 5) HOUR AS t"))
        rows.append(units(engine, encodings[0], "SELECT TIMESTAMPTZ '2024-07-01 02:00:00+00' AS t"))
    assert encodings[0] == encodings[1] == encodings[2]
    assert rows[0] == rows[1] == rows[2]


@pytest.mark.parametrize(
    "value", ["NULL::DATE", "'infinity'::DATE", "'-infinity'::DATE", "'infinity'::TIMESTAMP"]
)
def test_a_date_that_is_none_is_the_mean_and_nowhere_in_the_week(engine: DuckDB, value: str) -> None:
    encoding = encode(engine, "CASE WHEN i > 2 THEN DATE '2024-01-01' + i::INT END AS d")
    (feature,) = encoding.features
    assert isinstance(feature, TimeFeature)
    (row,) = units(engine, encoding, f"SELECT {value} AS d")
    assert row.pop("d is null") == 1.0
    assert set(row.values()) == {0.0}


def test_infinite_dates_are_refused_in_training(engine: DuckDB) -> None:
    with pytest.raises(ColumnError, match="'d' of the query has 2 values"):
        encode(engine, "CASE WHEN i < 2 THEN 'infinity'::DATE ELSE DATE '2024-01-01' + i::INT END AS d")


# Which columns


@pytest.mark.parametrize(
    ("value", "note"),
    [
        ("7", "it is 7 in every row"),
        ("'a'", "it is 'a' in every row"),
        ("true", "it is true in every row"),
        ("DATE '2024-02-29'", "it is 2024-02-29 in every row"),
        ("TIMESTAMP '2024-02-29 12:30:00'", "it is 2024-02-29 12:30:00 in every row"),
        ("DATE '9999-01-01'", "in every row"),
        ("NULL::INT", "all its values are NULL"),
        ("NULL::BOOLEAN", "all its values are NULL"),
        ("NULL::TEXT", "all its values are NULL"),
        ("[i]", r"its type is BIGINT[]"),
        ("{'a': i}", "its type is STRUCT"),
        ("'a'::BLOB", "its type is BLOB"),
        ("TIME '10:00'", "its type is TIME"),
    ],
)
def test_columns_that_teach_nothing_are_left_out_with_a_note(engine: DuckDB, value: str, note: str) -> None:
    encoding = encode(engine, f"i AS x, {value} AS same")
    assert encoding.units == ("x",)
    (found,) = encoding.notes
    assert found.startswith("Column 'same' is left out: ")
    assert note in found
    with pytest.raises(DataError, match=r"no column left to learn from.*'same' is left out"):
        encode(engine, f"{value} AS same")


def test_an_embedded_column_that_is_constant_is_left_out_too(engine: DuckDB) -> None:
    assert encode(engine, "i AS x, 'a' AS c", embed={"c": 2}).embeddings == ()


def test_a_constant_with_nulls_still_tells_where_they_are(engine: DuckDB) -> None:
    encoding = encode(engine, "CASE WHEN i > 5 THEN 7 END AS x, CASE WHEN i > 5 THEN true END AS b")
    assert encoding.units == ("x", "x is null", "b", "b is null")
    assert units(engine, encoding, "SELECT 7 AS x, NULL::BOOLEAN AS b") == [
        {"x": 0.0, "x is null": 0.0, "b": 0.5, "b is null": 1.0}
    ]


@pytest.mark.parametrize("name", ["list", "LIST"])
def test_a_column_of_no_use_that_was_asked_for_is_refused(engine: DuckDB, name: str) -> None:
    with pytest.raises(ColumnError, match=r"'list' of the query is of type BIGINT\[\]"):
        encode(engine, "i AS x, [i] AS list", include=("x", name))


@pytest.mark.parametrize("columns", ["i AS x, CASE WHEN i > 2 THEN {} END AS c"])
@pytest.mark.parametrize("value", ["i", "'k' || (i % 2)", "i % 3 = 0", "DATE '2024-01-01' + i::INT"])
def test_nulls_are_refused_when_asked(engine: DuckDB, columns: str, value: str) -> None:
    with pytest.raises(DataError, match="'c' of the query has 3 NULLs in 12 rows"):
        encode(engine, columns.format(value), nulls="refuse")
    assert encode(engine, "i AS x", nulls="refuse").units == ("x",)


def test_case_of_names_in_options_is_ignored(engine: DuckDB) -> None:
    encoding = encode(
        engine,
        "i AS x, i % 3 AS c, 'k' || (i % 2) AS e, i * 2 AS z",
        include=("X", "C", "E"),
        categorical=("C",),
        embed={"E": 2},
        column_scaling={"X": "none"},
    )
    assert encoding.features == (
        NumberFeature("x", 0.0, 1.0, 5.5, 0.0, 11.0, False),
        CategoryFeature("c", ("0", "1", "2"), False, ColumnKind.NUMBER),
        EmbeddingFeature("e", ("k0", "k1"), 2, ColumnKind.TEXT),
    )
    assert encode(engine, "i AS x, i * 2 AS z", exclude=("Z",)).units == ("x",)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"embed": {"y": 2}}, "embed names 'y', which is no feature"),
        ({"categorical": ("y",)}, "categorical names 'y', which is no feature"),
        ({"categorical": ("c",), "exclude": ("c",)}, "categorical names 'c', which is no feature"),
        (
            {"column_scaling": {"x": "none"}, "include": ("c",)},
            "column_scaling names 'x', which is no feature",
        ),
        ({"column_scaling": {"t": "none"}}, "column_scaling names 't' .* not taken as a number"),
        ({"column_scaling": {"c": "none"}, "categorical": ("C",)}, "column_scaling names 'c' .* not taken"),
    ],
)
def test_an_option_without_effect_is_refused(engine: DuckDB, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        encode(engine, "i AS x, i % 3 AS c, 'k' || (i % 2) AS t", **options)


def test_columns_that_are_missing_or_have_two_roles(engine: DuckDB) -> None:
    missing: list[dict[str, Any]] = [
        {"include": ("nope",)},
        {"exclude": ("nope",)},
        {"categorical": ("nope",)},
        {"embed": {"nope": 2}},
        {"column_scaling": {"nope": "none"}},
    ]
    for options in missing:
        with pytest.raises(ColumnError, match="the query has no column 'nope'"):
            encode(engine, "i AS x", **options)
    for name in ("y", "Y"):
        with pytest.raises(TargetError, match="'y' is the target and a feature at once"):
            encode(engine, "i AS x", include=("x", name))
    with pytest.raises(ColumnError, match="'x' is named twice"):
        encode(engine, "i AS x", include=("x", "X"))


def test_reserved_columns_are_no_features(engine: DuckDB) -> None:
    relation = engine.relation("SELECT i AS x, i AS w, i % 2 AS y FROM range(4) AS r(i)")
    known = engine.columns(relation)
    assert learn(engine, relation, known, ["y"], FeatureOptions(), reserved=["W"]).units == ("x",)


def test_no_rows(engine: DuckDB) -> None:
    with pytest.raises(DataError, match="the query has no rows to train on"):
        encode(engine, "i AS x", rows=0)


def test_few_statements_and_no_rows_fetched(engine: DuckDB, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[int] = []
    rows = engine.rows

    def counted(statement: exp.Expr, parameters: Any = ()) -> list[Any]:
        found = rows(statement, parameters)
        fetched.append(len(found))
        return found

    names = ", ".join(f"i * {n} AS x{n}" for n in range(1, 21))
    relation = engine.relation(f"SELECT {names}, 'k' || (i % 3) AS c, i % 2 AS y FROM range(500) AS r(i)")
    known = engine.columns(relation)
    monkeypatch.setattr(engine, "rows", counted)
    learn(engine, relation, known, ["y"], FeatureOptions())
    # One for all numbers, two for a category, two or three for a target of classes.
    assert len(fetched) <= 6
    assert max(fetched) <= 4

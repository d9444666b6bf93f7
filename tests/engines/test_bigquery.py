"""BigQuery, executed by GoogleSQL's reference evaluator."""

from __future__ import annotations

import itertools
import re
import time
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import sqlglot
from hypothesis import given
from hypothesis import strategies as st
from sqlglot import exp

from googlesql import GoogleSQL, GoogleSQLError
from selectron.engines.bigquery import BigQuery, escaped
from selectron.errors import ColumnError, DataError, EngineError
from selectron.features.encoding import Encoding, StatisticRow, from_rows, to_rows
from selectron.features.learn import learn
from selectron.features.options import FeatureOptions
from selectron.features.rows import Split, arranged_rows, shuffled
from selectron.layouts.scalars import SCALARS, scalar
from selectron.program import operations as op
from selectron.sql import column, integer, number
from selectron.store.store import ModelRecord, Status, Store


@pytest.fixture
def google() -> GoogleSQL:
    return GoogleSQL()


@pytest.fixture
def engine(google: GoogleSQL) -> BigQuery:
    return BigQuery(google)


def duckdb(query: str) -> Any:
    return sqlglot.parse_one(query, dialect="duckdb")


# Arithmetic ------------------------------------------------------------------------------------

GRID = [-1e3, -30.0, -2.5, -1.0, -1e-9, 0.0, 1e-9, 0.5, 1.0, 3.0, 40.0, 600.0]
CONDITIONS = (op.Less, op.LessEqual, op.Equal)


def values_of(operation: op.Operation) -> list[tuple[float, ...]]:
    """Operands on which an operation is compared."""
    if isinstance(operation, op.ModularMultiply):
        whole = [0.0, 1.0, 12_345.0, op.MODULUS - 1.0]
        return list(itertools.product(whole, whole))
    arity = SCALARS_ARITY[type(operation)]
    return list(itertools.product(GRID, repeat=min(arity, 2)))


SCALARS_ARITY = {operation: getattr(operation, "arity", 1) for operation in SCALARS}


@pytest.mark.parametrize("operation", [operation() for operation in SCALARS], ids=lambda o: type(o).__name__)
def test_elementwise_operations_agree_with_numpy(engine: BigQuery, operation: Any) -> None:
    operands = values_of(operation)
    rows = [exp.Tuple(expressions=[integer(i), *map(number, row)]) for i, row in enumerate(operands)]
    names = ["x", "y"][: len(operands[0])]
    table = exp.Values(expressions=rows, alias=exp.TableAlias(this="t", columns=["i", *names]))
    table.args["alias"].set("columns", [exp.to_identifier(name) for name in ["i", *names]])
    arguments: list[exp.Expr] = [column(name) for name in names]
    arrays = [np.array(side)[:, None] for side in zip(*operands, strict=True)]
    if isinstance(operation, op.Where):
        arguments = [exp.LT(this=column("x"), expression=column("y")), *arguments]
        arrays = [arrays[0] < arrays[1], *arrays]
    expression = scalar(operation, *arguments)
    if isinstance(operation, CONDITIONS):
        expression = exp.Case(ifs=[exp.If(this=expression, true=number(1.0))], default=number(0.0))
    query = exp.select(expression).from_(table).order_by(column("i"))
    found: Any = np.array(engine.rows(query))
    expected = operation.evaluate(*arrays).astype(float)
    np.testing.assert_allclose(found, expected, rtol=1e-14, atol=1e-300)


def test_exp_is_held_where_it_would_overflow(engine: BigQuery) -> None:
    query = duckdb("SELECT EXP(1e4), EXP(-1e4), 1e0 / (1e0 + EXP(1e4)), EXP(CAST('inf' AS DOUBLE))")
    high, low, sigmoid, infinite = engine.rows(query)[0]
    assert (high, low, infinite) == (np.exp(700.0), 0.0, np.exp(700.0))
    assert 0.0 < sigmoid < 1e-300


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELECT 1e0 / 0e0", float("inf")),
        ("SELECT 7 / 2", 3.5),
        ("SELECT 7 // 2", 3),
        ("SELECT (3 + 4) % 5", 2),
        ("SELECT CAST(1 AS BOOLEAN)", True),
        ("SELECT CAST(2.5e0 AS TEXT)", "2.5"),
        ("SELECT 'a' || 'b'", "ab"),
        ("SELECT isnan(CAST('nan' AS DOUBLE))", True),
        ("SELECT SUM(b) FROM (VALUES (1, 2), (3, 4)) AS t(a, b)", 6),
        ("SELECT STDDEV_POP(b) FROM (VALUES (1), (3)) AS t(b)", 1.0),
        ("WITH a AS MATERIALIZED (SELECT 1 AS n) SELECT n FROM a", 1),
        ("SELECT any_value(b) FROM (VALUES (3), (3)) AS t(b)", 3),
        ("SELECT EXTRACT(dow FROM TIMESTAMP '2024-01-07 05:00:00')", 0),
        ("SELECT EXTRACT(doy FROM TIMESTAMP '2024-02-01 05:00:00')", 32),
        ("SELECT epoch(DATE '1970-01-02')", 86_400.0),
        ("SELECT epoch(TIMESTAMP '1970-01-01 00:00:01.5')", 1.5),
        ("SELECT make_timestamp(epoch_us(DATE '1970-01-02')) = TIMESTAMP '1970-01-02'", True),
    ],
)
def test_trees_in_duckdbs_manner_run(engine: BigQuery, query: str, expected: object) -> None:
    assert engine.rows(duckdb(query)) == [(expected,)]


def test_placeholders_become_literals(engine: BigQuery) -> None:
    assert engine.rows(duckdb("SELECT ?, ? + 1"), ["O'Brien\\", 2]) == [("O'Brien\\", 3)]


# Names -----------------------------------------------------------------------------------------


def unescaped(name: str) -> str:
    """The name that was escaped."""
    return re.sub("_u00([0-9a-f]{2})_", lambda match: chr(int(match[1], 16)), name)


@given(st.text(alphabet="_u05fe2.a[~", max_size=24) | st.text(max_size=12))
def test_different_names_stay_different(name: str) -> None:
    if not any(mark in name for mark in "_u00"):
        assert not set('!"$()*,./;?@[\\]^`{}~') & set(escaped(name))
    assert unescaped(escaped(name)) == name


@pytest.mark.parametrize("name", ["size_x10", "bill_length_mm", "Größe", "a-b c", "_u0041_"])
def test_names_that_bigquery_takes_stay(name: str) -> None:
    assert escaped(name) == name


def test_inner_names_run_as_columns_aliases_and_tables(engine: BigQuery) -> None:
    inner = "hidden_1.weights[0,1]"
    made = exp.select(exp.alias_(integer(3), inner, quoted=True))
    engine.create_temporary("state.0", made)
    query = exp.select(column(inner, "state.0")).from_(exp.table_("state.0", quoted=True))
    assert engine.rows(query) == [(3,)]
    cte = exp.CTE(this=query, alias=exp.TableAlias(this=exp.to_identifier("c.1", quoted=True)))
    outer = exp.select(column(inner, "c.1")).from_(exp.table_("c.1", quoted=True))
    outer.set("with_", exp.With(expressions=[cte]))
    assert engine.rows(outer) == [(3,)]


# Recursion -------------------------------------------------------------------------------------

STEP = """
WITH RECURSIVE state AS (
  SELECT 0 AS step, 0e0 AS w, 0e0 AS c
  UNION ALL
  SELECT step + 1, w - 0.1e0 * g.g0, c - 0.1e0 * g.g1
  FROM (
    SELECT state.step, state.w, state.c, (
      SELECT AS STRUCT SUM(e * x) AS g0, SUM(e) AS g1
      FROM (SELECT x, (p - y) / 50e0 AS e FROM (
        SELECT r.x, r.y, state.w * r.x + state.c AS p FROM UNNEST(b.`rows`) AS r))
    ) AS g
    FROM state CROSS JOIN batches AS b
    WHERE state.step < {steps} AND b.batch = MOD(state.step, 2)
  )
)
SELECT w, c FROM state WHERE step = {steps}
"""


def batches(engine: BigQuery) -> np.ndarray[Any, Any]:
    """Two batches of 50 rows, each one array of structs; and the same numbers here."""
    data = np.random.default_rng(3).normal(size=(2, 50, 2)).round(3)
    rows = [
        exp.Tuple(expressions=[integer(batch), *(number(float(value)) for value in row)])
        for batch in (0, 1)
        for row in data[batch]
    ]
    engine.run(duckdb("CREATE TABLE points (batch BIGINT, x DOUBLE, y DOUBLE)"))
    engine.run(exp.Insert(this=exp.table_("points", quoted=True), expression=exp.Values(expressions=rows)))
    grouped = "SELECT batch, ARRAY_AGG(STRUCT(x, y)) AS `rows` FROM points GROUP BY batch"
    engine.create_temporary("batches", sqlglot.parse_one(grouped, dialect="bigquery"))  # type: ignore[arg-type]
    return data


def test_a_recursion_trains_over_arrays_of_structs(engine: BigQuery, google: GoogleSQL) -> None:
    data = batches(engine)
    assert google.schema("batches") == [("batch", "INT64"), ("rows", "ARRAY<STRUCT<x FLOAT64, y FLOAT64>>")]
    w = c = 0.0
    for step in range(40):
        x, y = data[step % 2].T
        e = (w * x + c - y) / 50
        w, c = w - 0.1 * float((e * x).sum()), c - 0.1 * float(e.sum())
    started = time.perf_counter()
    (found,) = engine.rows(sqlglot.parse_one(STEP.format(steps=40), dialect="bigquery"))
    assert time.perf_counter() - started < 20
    np.testing.assert_allclose(found, (w, c), rtol=1e-12)


REFUSED_STEPS = {
    "an aggregate over the recursive table": (
        "SELECT MAX(step) + 1, AVG(w) FROM state WHERE step < 5",
        "must not use DISTINCT, GROUP BY, or any aggregate function",
    ),
    "GROUP BY after a join with the rows": (
        "SELECT state.step + 1, AVG(p.x) FROM state CROSS JOIN points AS p GROUP BY state.step",
        "must not use DISTINCT, GROUP BY, or any aggregate function",
    ),
    "a second reference": (
        "SELECT a.step + 1, b.w FROM state AS a CROSS JOIN state AS b WHERE a.step < 5",
        "Multiple recursive references",
    ),
    "WITH in the correlated subquery": (
        "SELECT state.step + 1, (WITH q AS (SELECT r.x FROM UNNEST(b.`rows`) AS r) SELECT AVG(x) FROM q) "
        "FROM state CROSS JOIN batches AS b WHERE state.step < 5",
        "Unrecognized name: b",
    ),
}


@pytest.mark.parametrize("kind", REFUSED_STEPS)
def test_what_a_recursion_may_not_do_is_refused(engine: BigQuery, kind: str) -> None:
    batches(engine)
    step, message = REFUSED_STEPS[kind]
    query = f"WITH RECURSIVE state AS (SELECT 0 AS step, 0e0 AS w UNION ALL {step}) SELECT * FROM state"
    with pytest.raises(GoogleSQLError, match=message):
        engine.rows(sqlglot.parse_one(query, dialect="bigquery"))


def test_a_script_trains_step_by_step_between_temporary_tables(engine: BigQuery, google: GoogleSQL) -> None:
    batches(engine)
    (expected,) = engine.rows(sqlglot.parse_one(STEP.format(steps=6), dialect="bigquery"))
    found = google.script("""
        DECLARE i INT64 DEFAULT 0;
        CREATE TEMP TABLE state AS SELECT 0e0 AS w, 0e0 AS c;
        WHILE i < 6 DO
          CREATE OR REPLACE TEMP TABLE next AS
          SELECT ANY_VALUE(s.w) - 0.1e0 * SUM((s.w * p.x + s.c - p.y) / 50e0 * p.x) AS w,
            ANY_VALUE(s.c) - 0.1e0 * SUM((s.w * p.x + s.c - p.y) / 50e0) AS c
          FROM state AS s CROSS JOIN points AS p WHERE p.batch = MOD(i, 2);
          CREATE OR REPLACE TEMP TABLE state AS SELECT w, c FROM next;
          SET i = i + 1;
        END WHILE;
        SELECT w, c FROM state;
    """)
    np.testing.assert_allclose(found, [expected], rtol=1e-12)


# Tables ----------------------------------------------------------------------------------------


def test_temporary_tables_are_made_renamed_and_dropped(engine: BigQuery, google: GoogleSQL) -> None:
    for value in (1, 2):
        engine.create_temporary("a", duckdb(f"SELECT {value} AS n"))
    engine.rename_temporary("a", "b")
    assert engine.rows(exp.select("*").from_(engine.temporary("b"))) == [(2,)]
    assert google.table_names() == ["b"]
    engine.drop_temporary("b")
    engine.drop_temporary("b")
    assert google.table_names() == []


def test_a_transaction_commits_all_or_nothing(engine: BigQuery, google: GoogleSQL) -> None:
    engine.run(duckdb("CREATE TABLE t (n BIGINT)"))
    with engine.transaction():
        engine.run(duckdb("CREATE TABLE early (n BIGINT)"))
        engine.run(duckdb("INSERT INTO t VALUES (1)"))
        engine.create_view("late", duckdb("SELECT n FROM t"))
        assert not engine.has_table("late")
    assert engine.rows(duckdb("SELECT n FROM late")) == [(1,)]
    with suppress(ZeroDivisionError), engine.transaction():
        engine.run(duckdb("DELETE FROM t"))
        engine.create_temporary("kept", duckdb("SELECT 1 AS n"))
        engine.run(exp.Drop(tables=[exp.table_("early")], kind="TABLE"))
        raise ZeroDivisionError
    assert engine.rows(duckdb("SELECT n FROM t")) == [(1,)]
    assert engine.has_table("early")
    google.execute("BEGIN TRANSACTION")
    with pytest.raises(GoogleSQLError, match="in a transaction"):
        google.execute("DROP TABLE early")


def test_relations_are_tables_and_queries(engine: BigQuery, google: GoogleSQL) -> None:
    google.execute("CREATE TABLE data.t AS SELECT 1 AS n, TRUE AS b, 'x' AS s, 1.5 AS f, [1] AS a")
    google.execute("CREATE TABLE u AS SELECT DATE '2024-01-01' AS d, CURRENT_TIMESTAMP() AS t")
    kinds = [(c.kind.value, c.type) for c in engine.columns(engine.relation("data.t"))]
    assert kinds == [
        ("number", "INT64"),
        ("boolean", "BOOL"),
        ("text", "STRING"),
        ("number", "FLOAT64"),
        ("other", "ARRAY<INT64>"),
    ]
    kinds = [(c.kind.value, c.type) for c in engine.columns(engine.relation("SELECT d, t AS m FROM u"))]
    assert kinds == [("date", "DATE"), ("timestamp", "TIMESTAMP")]
    assert engine.rows(exp.select("n").from_(engine.relation("`data.t`").source)) == [(1,)]
    assert list(engine.frame(duckdb("SELECT d FROM u"), "pandas").columns) == ["d"]
    with pytest.raises(DataError, match=r"no table or view named 'v' in BigQuery\. It has: 'data\.t', 'u'"):
        engine.relation("v")
    with pytest.raises(DataError, match="Load it into a table first"):
        engine.relation("rows.csv")
    with pytest.raises(DataError, match="cannot read a dict of this process"):
        engine.relation({"a": [1]})
    with pytest.raises(DataError, match="cannot be read: Unrecognized name"):
        engine.columns(engine.relation("SELECT nothing FROM u"))
    with pytest.raises(ColumnError, match="two columns named 'D'"):
        engine.columns(engine.relation("SELECT d, d AS D FROM u"))


def test_a_users_query_stays_as_it_is_written(engine: BigQuery, google: GoogleSQL) -> None:
    google.execute("CREATE TABLE data.t AS SELECT 0e0 AS n, DATETIME '2024-01-01' AS d")
    relation = engine.relation("SELECT SAFE.LN(n) AS a, CAST(d AS DATETIME) AS d FROM data.t")
    assert [column.type for column in engine.columns(relation)] == ["FLOAT64", "DATETIME"]
    assert engine.rows(exp.select("a", "epoch_us(d)").from_(relation.source.copy())) == [
        (None, 1_704_067_200_000_000)
    ]


def test_a_view_names_its_tables_in_full(google: GoogleSQL) -> None:
    engine = BigQuery(google, dataset="project.data")
    view = duckdb(
        "CREATE VIEW v AS WITH c AS (SELECT n FROM t) SELECT c.n, u.n AS m FROM c JOIN other.u ON true"
    )
    assert engine.sql(view) == (
        "CREATE VIEW `project`.`data`.`v` AS WITH `c` AS (SELECT `n` FROM `project`.`data`.`t`) "
        "SELECT `c`.`n`, `u`.`n` AS `m` FROM `c` JOIN `other`.`u` ON TRUE"
    )


def test_rows_are_exported_into_cloud_storage_alone(engine: BigQuery, google: GoogleSQL) -> None:
    with pytest.raises(EngineError, match=r"cannot write the file 'rows\.csv'"):
        engine.export(duckdb("SELECT 1 AS n"), "rows.csv")
    # The analyzer reads the statement; there is nothing here that would write.
    with pytest.raises(GoogleSQLError, match="Not executed here: resolved_export_data_stmt_node"):
        engine.export(duckdb("SELECT 1 AS n"), "gs://bucket/rows-*.parquet")


# Features and store ----------------------------------------------------------------------------


@pytest.fixture
def sales(google: GoogleSQL) -> GoogleSQL:
    google.execute(
        "CREATE TABLE sales (price FLOAT64, island STRING, sold BOOL, day DATE, moment TIMESTAMP, n INT64)"
    )
    rows = [
        f"({'NULL' if i % 7 == 0 else i * 0.5}, '{'abc'[i % 3]}', {i % 2 == 0}, DATE '2024-01-{i + 1:02}',"
        f" TIMESTAMP '2024-03-{i + 1:02} {i:02}:30:00', {i % 4})"
        for i in range(20)
    ]
    google.execute(f"INSERT INTO sales VALUES {', '.join(rows)}")
    return google


def test_features_are_learned_and_computed_as_on_duckdb(sales: GoogleSQL) -> None:
    from selectron.engines.duckdb import DuckDB

    engines: list[Any] = [BigQuery(sales), DuckDB()]
    copied = sales.execute("SELECT * FROM sales")
    engines[1].run(
        duckdb(
            "CREATE TABLE sales (price DOUBLE, island TEXT, sold BOOLEAN, day DATE, "
            "moment TIMESTAMP, n BIGINT)"
        )
    )
    for row in copied:
        engines[1].connection.execute(
            "INSERT INTO sales VALUES (?, ?, ?, ?, ?, ?)", [*row[:4], row[4].replace(tzinfo=None), row[5]]
        )
    encodings, numbers = [], []
    for engine in engines:
        relation = engine.relation("sales")
        encoding = learn(engine, relation, engine.columns(relation), ["n"], FeatureOptions())
        encodings.append(encoding)
        units = exp.select(*encoding.dense()).from_(relation.source.copy()).order_by(column("day"))
        numbers.append(np.array(engine.rows(units), dtype=float))
    assert encodings[0].features == encodings[1].features
    assert encodings[0].target.columns == ("n",)
    np.testing.assert_allclose(numbers[0], numbers[1], rtol=1e-12, atol=1e-12)
    assert numbers[0].shape == (20, len(encodings[0].units))


def test_rows_are_arranged_by_the_portable_hash(sales: GoogleSQL) -> None:
    engine = BigQuery(sales)
    arranged = arranged_rows(engine.relation("sales"), ["day"], ["day"], Split(seed=5, held_out=4))
    rows = engine.rows(exp.select("*").from_(arranged.subquery("a")))
    held = sorted((place, day.day) for day, out, place in rows if out)
    kept = sorted((place, day.day) for day, out, place in rows if not out)
    # They are numbered in the order of a hash of what they hold, and then shuffled.
    content = "FARM_FINGERPRINT(TO_JSON_STRING(STRUCT(day)))"
    days = [day.day for (day,) in sales.execute(f"SELECT day FROM sales ORDER BY {content}")]
    assert days != sorted(days)
    assert [day for _, day in held + kept] == [days[number - 1] for number in shuffled(20, 5)]
    assert [place for place, _ in kept] == list(range(16))


def stored(store: Store, encoding: Encoding) -> ModelRecord:
    """A model without a checkpoint."""
    return store.create_model(
        "m",
        task="regression",
        target="n",
        source="sales",
        training_rows=16,
        validation_rows=4,
        specification="{'layers': []}",
        selectron_version="0",
        statistics=to_rows(encoding),
        units={"input": ["price", "island = a"], "dense": ["n"]},
    )


def test_the_store_keeps_models(sales: GoogleSQL) -> None:
    engine = BigQuery(sales)
    store = Store(engine)
    assert not store.exists()
    store.prepare()
    store.prepare()
    relation = engine.relation("sales")
    encoding = learn(engine, relation, engine.columns(relation), ["n"], FeatureOptions())
    record = stored(store, encoding)
    parameters = duckdb(
        "SELECT * FROM (VALUES ('dense', 'weights', 0, 0, 1.5e0), ('dense', 'weights', 1, 0, -2e0)) "
        'AS t(layer, parameter, "row", col, "value")'
    )
    state = duckdb('SELECT \'velocity\' AS name, 0 AS "row", 0 AS col, 0.5e0 AS "value"')
    for _ in range(2):
        store.checkpoint(
            record.model_id,
            parameters=parameters,
            state=state,
            log=None,
            epochs=3,
            steps=30,
            status=Status.FINISHED,
        )
    found = store.find("m")
    assert (found.epochs, found.steps, found.status) == (3, 30, "finished")
    matrix = store.matrix("selectron_parameters", found.model_id, layer="dense", parameter="weights")
    assert sorted(engine.rows(matrix)) == [(0, 0, 1.5), (1, 0, -2.0)]
    shown = 'SELECT from_unit, to_unit, "value" FROM selectron_weights ORDER BY "value"'
    assert len(engine.rows(duckdb(shown))) == 2
    kept = from_rows(StatisticRow(*row) for row in store.statistics(found.model_id))
    assert (kept.features, kept.target) == (encoding.features, encoding.target)
    assert store.drop("m") == 1
    assert not store.exists()

"""Prediction as one statement in any dialect: the same predictions wherever it can be run."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlglot
from sqlglot import exp
from typer.testing import CliRunner

import selectron
from selectron import MLP, FeatureOptions
from selectron.cli import app
from selectron.engines.base import Engine
from selectron.errors import ColumnError, ConfigurationError, DataError
from selectron.portable import DIALECTS

# Every kind of feature, with NULLs; names with capitals, spaces, quotes, keywords.
ROWS = """
    SELECT i AS id, (i * 7919 % 100) / 10.0 AS "select", CASE WHEN i % 5 > 0 THEN i % 7 END AS "Two Words",
        CASE WHEN i % 4 > 0 THEN i % 3 = 0 END AS flag,
        CASE i % 4 WHEN 0 THEN 'a''b' WHEN 1 THEN 'ä{{x}}' WHEN 2 THEN 'A''B' END AS "cat""egory",
        i % 6 AS city, DATE '2019-12-25' + CAST(i * 13 AS INTEGER) AS day,
        TIMESTAMP '2020-02-28 23:00:05' + to_seconds(i * 86399) AS moment,
        CASE i % 3 WHEN 0 THEN 'low' WHEN 1 THEN 'mid' ELSE 'high' END AS class,
        i % 3 = 1 AS truth, i * 0.5 - 7 AS amount, i % 11 AS other
    FROM range(60) AS t(i)
"""
FEATURES = ("select", "Two Words", "flag", 'cat"egory', "city", "day", "moment")


@pytest.fixture(scope="module")
def shop() -> selectron.Database:
    """A database with a table of every kind of column."""
    database = selectron.connect()
    database.engine.create_table("shop", exp.maybe_parse(ROWS, dialect="duckdb"))
    return database


def trained(db: selectron.Database, target: Any = "class", **options: Any) -> selectron.Model:
    features = FeatureOptions(include=FEATURES, categorical=("city",), embed={"city": 2})
    settings = {"network": MLP([4]), "epochs": 8, "validation": 0, "features": features}
    return db.train("shop", target, **{**settings, **options})


@pytest.fixture(scope="module")
def model(shop: selectron.Database) -> selectron.Model:
    return trained(shop, network=MLP([4, 3], activation=["tanh", "softplus"]), name="classes")


def numbers(rows: list[tuple[Any, ...]]) -> Any:
    return np.array([[float(v) for v in row if isinstance(v, float)] for row in rows])


def agree(model: selectron.Model, text: str, run: Callable[[str], list[tuple[Any, ...]]]) -> None:
    """The statement gives the class, probabilities and raw outputs of the model."""
    names = ["id", *model.predicted]
    wanted = sorted(model.predict("shop", scores=True).select([*names, *score_columns(model)], 1000))
    found = sorted(tuple(row) for row in run(text))
    assert [row[0] for row in found] == [row[0] for row in wanted]
    count = len(model.blueprint.encoding.target.columns)
    if model.classes:
        assert [str(row[1]).lower() for row in found] == [str(row[1]).lower() for row in wanted]
    first = 1 + count if model.classes else 1
    got = np.array([[float(v) for v in row[first:]] for row in found])
    assert np.allclose(got, [[float(v) for v in row[first:]] for row in wanted], rtol=1e-9, atol=1e-9)


def parsed(text: str, dialect: str) -> exp.Query:
    """The statement, which must be one query in its dialect."""
    tree = sqlglot.parse_one(text, read=dialect)
    assert isinstance(tree, exp.Query)
    return tree


def score_columns(model: selectron.Model) -> list[str]:
    return [f"score_{unit}" for unit in model.blueprint.layers["output"]]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_parses_its_statement(model: selectron.Model, dialect: str) -> None:
    text = model.portable_sql(dialect, "shop", keep=["id"], scores=True)
    tree = parsed(text, dialect)
    named = [name.lower() for name in tree.named_selects]
    assert named == ["id", *(name.lower() for name in [*model.predicted, *score_columns(model)])]
    assert all(re.fullmatch(r"\w+", cte.alias, flags=re.ASCII) for cte in tree.ctes)
    assert "selectron" not in text.lower()


# What DuckDB cannot do after sqlglot's translation of what it has read.
NOT_TRANSLATED = {
    "redshift": "its VARCHAR(MAX) is no type of DuckDB",
    "oracle": "TRUNC of a date has no counterpart",
    "sqlite": "STRFTIME has its arguments the other way round",
    "mysql": "its collations are not DuckDB's",
    "tsql": "its collations are not DuckDB's",
    "fabric": "its collations are not DuckDB's",
}


@pytest.mark.parametrize("dialect", [d for d in DIALECTS if d not in NOT_TRANSLATED])
def test_statements_translated_to_duckdb_predict_the_same(
    shop: selectron.Database, model: selectron.Model, dialect: str
) -> None:
    text = model.portable_sql(dialect, "shop", keep=["id"], scores=True)
    (translated,) = sqlglot.transpile(text, read=dialect, write="duckdb")
    agree(model, translated, lambda sql: shop.engine.connection.execute(sql).fetchall())  # type: ignore[attr-defined]


TARGETS: list[dict[str, Any]] = [
    {},
    {"target": "truth"},
    {"target": "other", "task": "classification"},
    {"target": "day", "task": "classification", "features": FeatureOptions(include=("select", "other"))},
    {"target": "amount"},
    {"target": ["amount", "other"]},
    {"network": MLP([])},
    *({"network": MLP([3], activation=name)} for name in selectron.network.ACTIVATION_NAMES),
]


@pytest.mark.parametrize("options", TARGETS)
def test_what_is_predicted_and_by_what_network(shop: selectron.Database, options: dict[str, Any]) -> None:
    model = trained(shop, name="any", **options)
    text = model.portable_sql("duckdb", "shop", keep=["id"], scores=True)
    agree(model, text, lambda sql: shop.engine.connection.execute(sql).fetchall())  # type: ignore[attr-defined]


def place(engine: Engine, frame: Any) -> str:
    """Put a frame's rows into a table of another engine."""
    rows = exp.select("*").from_(engine.relation(frame).source)
    engine.create_table("shop", rows)
    return "shop"


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_statements_run_on_other_engines(
    shop: selectron.Database,
    model: selectron.Model,
    engines: Callable[[str], Engine],
    engine: str,
) -> None:
    other = engines(engine)
    frame = shop.engine.frame(exp.select("*").from_("shop"), "arrow")
    name = place(other, frame)
    text = model.portable_sql(engine, name, keep=["id"], scores=True)
    agree(model, text, lambda sql: other.rows(sqlglot.parse_one(sql, read=engine)))


def test_dates_on_the_edges_of_years(shop: selectron.Database, model: selectron.Model) -> None:
    edges = ["1600-02-29", "1899-12-31", "1900-03-01", "1969-12-31", "1970-01-01", "2000-02-29", "2024-12-31"]
    days = ", ".join(f"('{day}')" for day in edges)
    query = f"""
        SELECT shop.* REPLACE (CAST(d.day AS DATE) AS day) FROM shop, (VALUES {days}) AS d(day) WHERE id = 1
    """
    shop.engine.create_table("edges", exp.maybe_parse(query, dialect="duckdb"), replace=True)
    names = ["day", *model.predicted]
    wanted = model.predict("edges").select(names, 100)
    text = model.portable_sql("duckdb", "edges", keep=["day"])
    found = shop.engine.connection.execute(text).fetchall()  # type: ignore[attr-defined]
    assert len(found) == len(edges)
    assert np.allclose(numbers(sorted(found)), numbers(sorted(wanted)), rtol=1e-9, atol=1e-12)


def test_rows_that_no_training_had(shop: selectron.Database, model: selectron.Model) -> None:
    query = """
        SELECT 1 AS id, 'inf'::DOUBLE AS "select", 'nan'::DOUBLE AS "Two Words", NULL::BOOLEAN AS flag,
            'never' AS "cat""egory", 99 AS city, NULL::DATE AS day, NULL::TIMESTAMP AS moment
        UNION ALL SELECT 2, '-inf'::DOUBLE, 1e200, true, NULL, NULL, DATE '1500-01-01', TIMESTAMP '9999-01-01'
    """
    shop.engine.create_table("odd", exp.maybe_parse(query, dialect="duckdb"), replace=True)
    wanted = model.predict("odd").select(["id", *model.predicted], 9)
    text = model.portable_sql("duckdb", "odd", keep=["id"])
    found = shop.engine.connection.execute(text).fetchall()  # type: ignore[attr-defined]
    assert np.allclose(numbers(sorted(found)), numbers(sorted(wanted)), rtol=1e-9)


def test_names_are_raised_where_unquoted_ones_are(model: selectron.Model) -> None:
    text = model.portable_sql("snowflake", "sales.shop", keep=["id"])
    assert '"SELECT"' in text
    assert '"Two Words"' in text
    assert "FROM SALES.SHOP" in text
    assert '"PREDICTED_CLASS"' in text


def test_features_are_kept_if_the_table_is_not_here(model: selectron.Model) -> None:
    assert parsed(model.portable_sql("trino", "elsewhere"), "trino").named_selects[:7] == list(FEATURES)
    here = parsed(model.portable_sql("trino"), "trino").named_selects
    assert here[0] == "id"
    assert here[11] == "other"


def test_refusals(model: selectron.Model) -> None:
    with pytest.raises(ConfigurationError, match=r"no dialect 'snowflak'.* Did you mean 'snowflake'"):
        model.portable_sql("snowflak", "shop")
    with pytest.raises(ConfigurationError, match="no dialect 'prql'"):
        model.portable_sql("prql", "shop")
    with pytest.raises(DataError, match="no name of a table in mysql"):
        model.portable_sql("mysql", "a; b")
    with pytest.raises(ColumnError, match="'predicted_class' is one that prediction adds"):
        model.portable_sql("mysql", "shop", keep=["predicted_class"])
    with pytest.raises(ConfigurationError, match="no table of dbt"):
        model.portable_sql("mysql", "a.b.c", dbt=True)


def test_a_model_of_dbt(shop: selectron.Database, model: selectron.Model) -> None:
    jinja2 = pytest.importorskip("jinja2")
    text = model.portable_sql("duckdb", "shop", keep=["id"], scores=True, dbt=True)
    settings: dict[str, Any] = {}
    rendered = (
        jinja2.Environment()
        .from_string(text)
        .render(config=lambda **given: settings.update(given) or "", ref=lambda name: f'"{name}"')
    )
    assert settings == {"materialized": "view"}
    agree(model, rendered, lambda sql: shop.engine.connection.execute(sql).fetchall())  # type: ignore[attr-defined]
    assert "source('raw', 'shop')" in model.portable_sql("duckdb", "raw.shop", dbt=True)


def test_the_command_line(tmp_path: Path) -> None:
    runner = CliRunner()
    path = str(tmp_path / "a.duckdb")
    with selectron.connect(path) as db:
        db.engine.create_table("shop", exp.maybe_parse(ROWS, dialect="duckdb"))
        trained(db, name="m")
    common = ["sql", path, "predict", "--model", "m"]
    result = runner.invoke(app, [*common, "--dialect", "snowflake", "--keep", "id", "--scores"])
    assert result.exit_code == 0
    assert result.stdout.endswith(";\n")
    names = parsed(result.stdout, "snowflake").named_selects
    assert names[0] == "ID"
    assert names[-1] == "SCORE_MID"
    result = runner.invoke(app, [*common, "--dbt", "--table", "orders"])
    assert "{{ ref('orders') }}" in result.stdout
    assert not result.stdout.rstrip().endswith(";")
    result = runner.invoke(app, ["predict", path, "--model", "m", "--table", "shop", "--scores"])
    assert result.stdout.splitlines()[0].endswith("score_high,score_low,score_mid")
    for wrong in (["train", "--dialect", "mysql"], ["predict", "--keep", "id"]):
        refused = runner.invoke(app, ["sql", path, *wrong, "--model", "m"])
        assert isinstance(refused.exception, ConfigurationError)


def test_a_wide_network_is_translated_without_a_node_for_each_weight(db: selectron.Database) -> None:
    columns = ", ".join(f"(i * {k} % 17) / 3.0 AS x{k}" for k in range(1, 101))
    query = f"SELECT {columns}, i % 2 = 0 AS y FROM range(40) AS t(i)"
    db.engine.create_table("wide", exp.maybe_parse(query, dialect="duckdb"))
    model = db.train("wide", "y", network=MLP([50]), epochs=1, validation=0, batch_size=None)
    text = model.portable_sql("postgres", "wide", keep=[])
    assert text.count(" * ") >= 80 * 50
    found = db.engine.connection.execute(model.portable_sql("duckdb", "wide", keep=[])).fetchall()  # type: ignore[attr-defined]
    wanted = model.predict("wide").select(model.predicted, 100)
    assert np.allclose(numbers(sorted(found)), numbers(sorted(wanted)), rtol=1e-9)


def test_a_table_may_be_called_as_a_part_of_the_statement(shop: selectron.Database) -> None:
    rows = [(float(x), x > 4) for x in range(10)]
    values = ", ".join(f"({x}, {y})" for x, y in rows)
    query = f"SELECT * FROM (VALUES {values}) AS t(x, y)"
    model = shop.train(query, "y", network=MLP([2]), epochs=2, validation=0)
    expected = [row[-1] for row in model.predict(query).rows()]
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE stage_0 (x REAL)")
        connection.executemany("INSERT INTO stage_0 VALUES (?)", [(x,) for x, _ in rows])
        text = model.portable_sql("sqlite", "stage_0", keep=["x"])
        found = [row[-1] for row in sorted(connection.execute(text))]
    assert found == pytest.approx(expected)
    # There, a WITH query that names itself is recursive.
    assert re.findall("WITH (\\S+) AS", model.portable_sql("tsql", "stage_0")) != ["[stage_0]"]

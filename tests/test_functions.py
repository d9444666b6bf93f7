"""Predictions as functions of SQL, on the engines that have them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sqlglot
from sqlglot import exp

import selectron
from googlesql import GoogleSQL
from selectron import MLP
from selectron.engines.base import Engine
from selectron.engines.bigquery import BigQuery
from selectron.errors import ConfigurationError, DataError, EngineError

ROWS = """
    SELECT i AS id, i * 0.25 AS "a b", CASE WHEN i % 4 > 0 THEN i % 3 = 0 END AS flag,
        CASE WHEN i % 2 = 0 THEN 'even''s' ELSE 'odd' END AS kind, CAST('2024-01-01' AS DATE) + i AS day,
        CASE WHEN i % 3 = 0 THEN 'x' ELSE 'y' END AS class, i * 2.5 AS amount
    FROM generate_series(0, 39) AS t(i)
"""
# How a call is put beside the rows, and how its columns are named.
CALLS = {
    "duckdb": "SELECT id, f.* FROM (SELECT id, {call} AS f FROM shop)",
    "postgres": "SELECT id, f.* FROM shop, {call} AS f",
}


@pytest.fixture(params=sorted(CALLS))
def shop(request: pytest.FixtureRequest, engines: Callable[[str], Engine]) -> selectron.Database:
    database = selectron.Database(engines(request.param))
    query = ROWS.replace(" + i AS day", " + CAST(i AS INTEGER) AS day")
    database.engine.create_table("shop", exp.maybe_parse(query, dialect=database.engine.dialect))
    return database


def trained(db: selectron.Database, target: str = "class", units: int = 3) -> selectron.Model:
    features = selectron.FeatureOptions(exclude=("id", "class" if target != "class" else "amount"))
    network = MLP([units])
    return db.train("shop", target, name="m", network=network, epochs=3, validation=0, features=features)


def called(db: selectron.Database, call: str) -> list[tuple[Any, ...]]:
    text = CALLS[db.engine.dialect].format(call=call)
    return db.engine.rows(sqlglot.parse_one(text, read=db.engine.dialect))


def wanted(model: selectron.Model) -> list[tuple[Any, ...]]:
    return model.predict("shop").select(["id", *model.predicted], 99)


def same(found: list[tuple[Any, ...]], rows: list[tuple[Any, ...]]) -> bool:
    def plain(values: list[tuple[Any, ...]]) -> Any:
        return [[v for v in row if not isinstance(v, str)] for row in sorted(values)]

    texts = [[[v for v in row if isinstance(v, str)] for row in sorted(side)] for side in (found, rows)]
    return texts[0] == texts[1] and np.allclose(plain(found), plain(rows), rtol=1e-12)


@pytest.mark.parametrize("units", [3, 90])
@pytest.mark.parametrize("target", ["class", "amount"])
def test_a_function_predicts_as_the_model(shop: selectron.Database, target: str, units: int) -> None:
    model = trained(shop, target, units)
    assert same(called(shop, model.to_function("pre dict")), wanted(model))


@pytest.mark.parametrize("units", [3, 90])
def test_a_function_follows_the_model(shop: selectron.Database, units: int) -> None:
    model = trained(shop, units=units)
    call = model.to_function("p")
    first = called(shop, call)
    more = model.train(2)
    assert same(called(shop, call), wanted(more))
    assert not same(called(shop, call), first)
    anew = trained(shop, units=4)
    assert same(called(shop, call), wanted(anew))
    shop.drop("m")
    assert not shop.engine.has_function("p")


@pytest.mark.parametrize("units", [3, 90])
def test_a_view_follows_the_model(shop: selectron.Database, units: int) -> None:
    model = trained(shop, units=units)
    model.predict("shop").to_view("v")
    more = model.train(2)
    columns = ", ".join(f'"{name}"' for name in ["id", *more.predicted])
    found = shop.engine.rows(sqlglot.parse_one(f"SELECT {columns} FROM v"))
    assert same(found, wanted(more))


def test_refusals(shop: selectron.Database) -> None:
    model = trained(shop)
    model.to_function("p")
    with pytest.raises(DataError, match="There is a function 'p' already"):
        model.to_function("p")
    model.to_function("p", replace=True)
    with pytest.raises(ConfigurationError, match="needs a name"):
        model.to_function(" ")


BIGQUERY_ROWS = """
    CREATE TABLE shop AS
    SELECT i AS id, i * 0.25 AS `a b`, IF(MOD(i, 4) > 0, MOD(i, 3) = 0, NULL) AS flag,
        IF(MOD(i, 2) = 0, 'even''s', 'odd') AS kind, DATE_ADD(DATE '2024-01-01', INTERVAL i DAY) AS day,
        IF(MOD(i, 3) = 0, 'x', 'y') AS class, i * 2.5 AS amount
    FROM UNNEST(GENERATE_ARRAY(0, 39)) AS i
""".replace("''", "\\'")
TYPED = "`a b` FLOAT64, `flag` BOOL, `kind` STRING, `day` DATE"


@pytest.mark.parametrize("target", ["class", "amount"])
def test_a_function_of_bigquery(target: str) -> None:
    service = GoogleSQL()
    service.execute(BIGQUERY_ROWS)
    db = selectron.Database(BigQuery(service))

    def same_as(model: selectron.Model) -> bool:
        # The evaluator calls no functions: the body is evaluated with each row as its arguments.
        body, rows = service.functions["pre dict"], wanted(model)
        names = re.findall("`[^`]+`", TYPED)
        arguments = f"(SELECT {', '.join(f'{name} AS {name}' for name in names)}) AS `arguments`"
        assert body.count(arguments) == 1
        found: list[tuple[Any, ...]] = []
        for row in rows[::8]:
            given = f"(SELECT {', '.join(names)} FROM shop WHERE id = {row[0]}) AS `arguments`"
            (own,) = service.execute(f"SELECT f.* FROM (SELECT {body.replace(arguments, given)} AS f)")
            found.append((row[0], *own))
        return same(found, rows[::8])

    model = trained(db, target)
    assert model.to_function("pre dict") == "`pre dict`(`a b`, `flag`, `kind`, `day`)"
    assert same_as(model)
    # With types of the arguments, it is checked when it is made.
    service.execute(f"CREATE FUNCTION typed({TYPED}) AS {service.functions['pre dict']}")
    with pytest.raises(DataError, match="There is a function 'pre dict' already"):
        model.to_function("pre dict")
    assert same_as(model.train(1))
    db.drop("m")
    assert not db.engine.has_function("pre dict")


def test_sqlite_has_none(engines: Callable[[str], Engine]) -> None:
    db = selectron.Database(engines("sqlite"))
    db.engine.create_table("t", exp.maybe_parse("SELECT 1 AS x, 0.5 AS y UNION ALL SELECT 2, 1.5"))
    model = db.train("t", "y", network=MLP([]), epochs=1, validation=0)
    with pytest.raises(EngineError, match=r"No function 'p' can be made.* Make a view"):
        model.to_function("p")

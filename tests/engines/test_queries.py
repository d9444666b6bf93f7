"""A query that stands for a table is run as it was written, on every engine that runs here."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from sqlglot import exp

from googlesql import GoogleSQL
from selectron.engines.base import Engine
from selectron.engines.bigquery import BigQuery
from selectron.engines.queries import AsWritten, refuse_compiled
from selectron.errors import DataError, EngineError

ENGINES = ("duckdb", "sqlite", "postgres")
KINDS = {
    "SELECT a, b FROM t": 4,
    "SELECT(a) AS a, b FROM t": 4,
    "\n\tSELECT\n a, b FROM t\n": 4,
    "SELECT a, b FROM t ORDER BY a DESC LIMIT 3 OFFSET 2": 2,
    "SELECT a, b FROM t UNION ALL SELECT a, b FROM t": 8,
    "SELECT a, b FROM t UNION ALL SELECT a, b FROM t ORDER BY a LIMIT 3": 3,
    "SELECT a, b FROM t EXCEPT SELECT a, b FROM t WHERE a = 1": 3,
    "(SELECT a, b FROM t)": 4,
    "((SELECT a, b FROM t LIMIT 2));": 2,
    "WITH u AS (SELECT a, b FROM t), v AS (SELECT * FROM u) SELECT * FROM v UNION ALL SELECT * FROM u": 8,
    "WITH RECURSIVE r(a) AS (SELECT 1 UNION ALL SELECT a + 1 FROM r WHERE a < 5) SELECT a, a AS b FROM r": 5,
    "WITH\nu AS (SELECT a, b FROM t)\nSELECT * FROM u": 4,
    "SELECT a, b FROM t;": 4,
    "SELECT a, b FROM t ; ; ": 4,
    "SELECT a, b FROM t -- done": 4,
    "SELECT a, b FROM t; -- done; really": 4,
    "SELECT a, b /* both; */ FROM t /* done */": 4,
    "SELECT a, -- the one\n b -- the other\nFROM t -- done;": 4,
    "-- rows;\n/* of\nt */ SELECT a, b FROM t": 4,
    "SELECT a, ';--' AS b FROM t": 4,
}


def filled(engine: Engine) -> Engine:
    values = " UNION ALL ".join(f"SELECT {a} AS a, {a + 1} AS b" for a in range(1, 5))
    relation = engine.relation(values)
    engine.create_table("t", exp.select("*").from_(relation.source))
    return engine


@pytest.mark.parametrize("name", [*ENGINES, "bigquery"])
def test_each_kind_of_query_is_a_table(name: str, engines: Callable[[str], Engine]) -> None:
    engine = filled(engines(name))
    for text, rows in KINDS.items():
        if name == "bigquery" and ("r(a)" in text or "EXCEPT" in text):
            continue  # spelt otherwise there
        relation = engine.relation(text)
        assert [column.name for column in engine.columns(relation)] == ["a", "b"], text
        counted = exp.select(exp.Count(this=exp.Star())).from_(relation.source.copy())
        assert engine.rows(counted) == [(rows,)], text
        # As views print it, too.
        assert engine.sql(counted, pretty=True).count("(") >= 2, text


@pytest.mark.parametrize("name", ["duckdb", "postgres"])
def test_queries_in_parentheses_are_combined_and_cut(name: str, engines: Callable[[str], Engine]) -> None:
    engine = filled(engines(name))
    for text, rows in {
        "(SELECT a, b FROM t) UNION (SELECT a, b FROM t)": 4,
        "(SELECT a, b FROM t ORDER BY a LIMIT 1) UNION ALL (SELECT a, b FROM t LIMIT 1)": 2,
        "(SELECT a, b FROM t) ORDER BY a LIMIT 2": 2,
    }.items():
        relation = engine.relation(text)
        assert len(engine.columns(relation)) == 2
        assert len(engine.rows(exp.select("*").from_(relation.source))) == rows, text


@pytest.mark.parametrize("name", ENGINES)
def test_values_are_a_query(name: str, engines: Callable[[str], Engine]) -> None:
    engine = engines(name)
    relation = engine.relation("VALUES (1, 'a'), (2, 'b') -- two")
    assert [column.kind.value for column in engine.columns(relation)] == ["number", "text"]
    assert sorted(engine.rows(exp.select("*").from_(relation.source))) == [(1, "a"), (2, "b")]


@pytest.mark.parametrize("name", [*ENGINES, "bigquery"])
def test_what_is_no_query_is_refused(name: str, engines: Callable[[str], Engine]) -> None:
    engine = filled(engines(name))
    for text, message in {
        "SELECT 1 AS a; DROP TABLE t": "these are 2 statements",
        "WITH x AS (SELECT 1) DELETE FROM t": "Only a query|cannot be read",
        "SELECT a FROM (t": "cannot be read",
        "SELECT 'a FROM t": "cannot be read",
        "selection": "no table",
        "-- nothing": "no table",
    }.items():
        with pytest.raises(DataError, match=message):
            engine.relation(text)
    assert engine.has_table("t")


def test_functions_of_a_query_are_those_of_postgresql(engines: Callable[[str], Engine]) -> None:
    engine = engines("postgres")
    text = (
        "SELECT exp(-400::numeric) AS e, ln(1e-320::numeric) AS l, sqrt(2::numeric) AS s, 1e3 AS d, "
        "CAST('yes' AS boolean) AS yes, CAST('off' AS boolean) AS off, E'a\\nb' AS \"Two\nlines\""
    )
    relation = engine.relation(text)
    ((e, log, root, d, yes, off, lines),) = engine.rows(exp.select("*").from_(relation.source.copy()))
    assert 0 < e < 1e-173
    assert float(log) == pytest.approx(-320 * math.log(10))
    assert [type(value).__name__ for value in (root, d)] == ["Decimal", "Decimal"]
    assert (yes, off, lines) == (True, False, "a\nb")
    assert text in engine.sql(exp.select("*").from_(relation.source), pretty=True)


def test_functions_of_a_query_are_those_of_sqlite(engines: Callable[[str], Engine]) -> None:
    engine = engines("sqlite")
    text = (
        "SELECT CAST('2024-01-02' AS DATE) AS d, CAST(7 AS BOOLEAN) AS b, CAST(7 AS NUMERIC) AS n, 7 / 2 AS q"
    )
    relation = engine.relation(text)
    assert engine.rows(exp.select("*").from_(relation.source.copy())) == [(2024, 7, 7, 3)]
    # Not quoted either: quoted, a misspelt name would be a text.
    with pytest.raises(DataError, match="cannot be read: SQLite refused: no such column: typpo"):
        engine.columns(engine.relation("SELECT typpo FROM (SELECT 1 AS a)"))


def test_a_query_on_bigquery_is_not_respelt(engines: Callable[[str], Engine]) -> None:
    engine = BigQuery(GoogleSQL())
    relation = engine.relation("-- one\nSELECT SAFE.LN(0) AS a;")
    assert engine.rows(exp.select("*").from_(relation.source)) == [(None,)]


def test_the_compiled_build_of_sqlglot_is_refused() -> None:
    class Compiled(AsWritten):
        def __init__(self) -> None:
            raise TypeError("interpreted classes cannot inherit from compiled")

    with pytest.raises(EngineError, match="sqlglotc, is installed"):
        refuse_compiled(Compiled)

"""The harness that runs GoogleSQL: that it runs it, and refuses what BigQuery refuses."""

from __future__ import annotations

import pytest

from googlesql import GoogleSQL, GoogleSQLError


@pytest.fixture
def google() -> GoogleSQL:
    engine = GoogleSQL()
    engine.execute("CREATE TABLE t (a INT64, b FLOAT64, c STRING)")
    engine.execute("INSERT INTO t VALUES (1, 2, 'x'), (2, NULL, 'y')")
    return engine


def test_tables_change_as_their_statements_say(google: GoogleSQL) -> None:
    google.execute("INSERT INTO t (a, c) SELECT a + 10, c FROM t")
    google.execute("UPDATE t SET b = 7 WHERE b IS NULL AND a < 5")
    google.execute("DELETE FROM t WHERE a = 11")
    assert google.execute("SELECT * FROM t ORDER BY a") == [(1, 2.0, "x"), (2, 7.0, "y"), (12, None, "y")]
    google.execute("CREATE TABLE data.u AS SELECT a FROM t")
    google.execute("CREATE VIEW v AS SELECT COUNT(*) AS n FROM `data`.`u`")
    assert google.execute("SELECT n FROM v") == [(3,)]
    google.execute("ALTER TABLE t RENAME TO w")
    assert (google.schema("t"), google.schema("w")) == (
        None,
        [("a", "INT64"), ("b", "FLOAT64"), ("c", "STRING")],
    )


def test_rows_of_structs_keep_their_types(google: GoogleSQL) -> None:
    google.execute(
        "CREATE TEMP TABLE u AS SELECT ARRAY_AGG(STRUCT(a AS x, b AS y) ORDER BY a) AS `rows` FROM t"
    )
    assert google.schema("u") == [("rows", "ARRAY<STRUCT<x INT64, y FLOAT64>>")]
    assert google.execute("SELECT * FROM u") == [([{"x": 1, "y": 2.0}, {"x": 2, "y": None}],)]


def test_a_transaction_is_taken_back(google: GoogleSQL) -> None:
    google.execute("BEGIN TRANSACTION")
    google.execute("DELETE FROM t WHERE TRUE")
    google.execute("ROLLBACK TRANSACTION")
    assert google.execute("SELECT COUNT(*) FROM t") == [(2,)]


def test_a_script_is_stepped_through(google: GoogleSQL) -> None:
    script = """
        DECLARE i INT64 DEFAULT 0; DECLARE rate FLOAT64 DEFAULT 0.5;
        CREATE TEMP TABLE state AS SELECT 0 AS step, 1e0 AS w;
        WHILE i < 10 DO
          SET i = i + 1;
          IF i = 6 THEN BREAK; END IF;
          CREATE OR REPLACE TEMP TABLE state AS SELECT step + 1 AS step, w * rate AS w FROM state;
        END WHILE;
        SELECT step, w, i FROM state;
        DROP TABLE state;
    """
    assert google.script(script) == [(5, 0.03125, 6)]
    assert google.schema("state") is None
    with pytest.raises(GoogleSQLError, match="Unexpected end of script"):
        google.script("WHILE TRUE DO")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SELECT * FROM missing", "Table not found"),
        ("SELECT CAST(1 AS DOUBLE)", "Type not found: DOUBLE"),
        ("DELETE FROM t", "must have a WHERE clause"),
        ("INSERT INTO t SELECT 'x', 1, 'y'", "cannot be inserted"),
        ("CREATE TABLE t AS SELECT 1 AS a", "Already exists"),
        ("SELECT EXP(1000)", "Floating point error"),
        ("SELECT LN(0)", "Floating point error"),
        ("SELECT 1e308 * 10", "overflow"),
    ],
)
def test_what_bigquery_refuses_is_refused(google: GoogleSQL, text: str, message: str) -> None:
    with pytest.raises(GoogleSQLError, match=message):
        google.execute(text)

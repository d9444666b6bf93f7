"""What is peculiar to PostgreSQL, on a real server."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from sqlglot import exp

from selectron.engines.base import Engine
from selectron.engines.postgres import Postgres
from selectron.sql import cast, column


@pytest.fixture
def engine(engines: Callable[[str], Engine]) -> Iterator[Postgres]:
    """An empty schema."""
    opened = engines("postgres")
    assert isinstance(opened, Postgres)
    yield opened


def test_numbers_are_true_unless_they_are_zero(engine: Postgres) -> None:
    engine.execute("""
        CREATE TABLE t AS SELECT 0.00::numeric AS a, 0::int AS b, '-0'::double precision AS c, 0::real AS d,
            false AS e, NULL::numeric AS f, 10.00::numeric AS g, -1::int AS h, '1e-300'::double precision AS i,
            'NaN'::real AS j, true AS k, 0.000000::numeric(12, 6) AS l, 100::bigint AS m
    """)
    names = [known.name for known in engine.columns(engine.relation("t"))]
    truths = exp.select(*(cast(column(name), "boolean") for name in names)).from_("t")
    (row,) = engine.rows(truths)
    assert row == (False, False, False, False, False, None, True, True, True, True, True, False, True)

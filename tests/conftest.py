"""Fixtures that several modules share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

import selectron
from selectron.engines.base import Engine
from selectron.engines.duckdb import DuckDB
from selectron.engines.sqlite import SQLite

torch.set_num_threads(1)

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


# How a test gets a fresh database of each engine.
OPENERS: dict[str, Callable[[ExitStack], Engine]] = {
    "duckdb": lambda stack: DuckDB(),
    "sqlite": lambda stack: SQLite(),
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

"""Fixtures that several modules share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import selectron

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

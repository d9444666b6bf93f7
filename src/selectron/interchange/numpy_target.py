"""A model's parameters as NumPy arrays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from selectron.interchange.dense import Exported
from selectron.program.operations import Array

__all__ = ["OPTIONS", "make", "write"]

OPTIONS: Final[tuple[str, ...]] = ()


def make(exported: Exported) -> dict[str, Array]:
    """An array of (inputs, units) for each ``"<layer>.<parameter>"``."""
    return {name: value.copy() for name, value in exported.parameters.items()}


def write(made: Mapping[str, Any], path: Path) -> None:
    """Write an .npz file."""
    np.savez(path, **made)

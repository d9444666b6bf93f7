"""What the command line prints: tables of rows and of figures."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from selectron.evaluation import Evaluation

__all__ = ["err", "out", "print_evaluation", "print_rows"]

# Wide enough for its tables where nobody looks at a terminal.
out = Console(soft_wrap=True, width=None if sys.stdout.isatty() else 120)
err = Console(stderr=True, soft_wrap=True)


def print_evaluation(evaluation: Evaluation) -> None:
    """The figures, those of each class, and the confusion matrix if it is small."""
    figures = Table()
    figures.add_column("metric")
    figures.add_column("all", justify="right")
    for name in evaluation.by_class:
        figures.add_column(name, justify="right")
    metrics = list(
        dict.fromkeys([*evaluation.metrics, *(m for own in evaluation.by_class.values() for m in own)])
    )
    for metric in metrics:
        each = (own.get(metric) for own in evaluation.by_class.values())
        figures.add_row(metric, shown(evaluation.metrics.get(metric)), *map(shown, each))
    out.print(figures)
    if evaluation.confusion:
        matrix = Table()
        matrix.add_column("actual \\ predicted")
        for name in evaluation.confusion:
            matrix.add_column(name, justify="right")
        for name, row in evaluation.confusion.items():
            matrix.add_row(name, *(str(row.get(other, 0)) for other in evaluation.confusion))
        out.print(matrix)


def print_rows(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Rows as a table."""
    grid = Table()
    for name in names:
        grid.add_column(name, overflow="fold")
    for row in rows:
        grid.add_row(*map(shown, row))
    out.print(grid, markup=False)


def shown(value: object) -> str:
    """A value as people read it."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)

"""What the command line prints: tables of rows and of figures."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from selectron.calibration import Calibration
from selectron.evaluation import Evaluation
from selectron.figures import shown

__all__ = ["err", "out", "print_calibration", "print_evaluation", "print_groups", "print_rows"]

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


def print_groups(by: str, evaluation: Evaluation) -> None:
    """The figures of each value of a column."""
    names = list(evaluation.metrics)
    rows = [
        ("NULL" if value is None else value, own.rows, *(own.metrics.get(name) for name in names))
        for value, own in evaluation.groups.items()
    ]
    print_rows([by, "rows", *names], rows)


def print_calibration(calibration: Calibration) -> None:
    """The reliability table, and what it comes to for each class."""
    print_rows(
        ["probability of", "above", "up to", "rows", "mean predicted", "fraction observed"],
        [("(predicted)" if own.about is None else own.about, *own[1:]) for own in calibration.bins],
    )
    print_rows(
        ["", "expected calibration error", "Brier score"],
        [
            ("(predicted)" if about is None else about, error, calibration.brier[about])
            for about, error in calibration.expected_error.items()
        ],
    )


def print_rows(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Rows as a table."""
    grid = Table()
    for name in names:
        grid.add_column(name, overflow="fold")
    for row in rows:
        grid.add_row(*map(shown, row))
    out.print(grid, markup=False)

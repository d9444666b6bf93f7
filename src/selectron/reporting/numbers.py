"""Quality of predicted numbers: predicted against actual, and residuals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from selectron.reporting.canvas import ACCENT, MUTED, chart, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Cell", "TargetCells", "draw_actual", "draw_histogram", "draw_residuals"]

BARS: Final = 24


@dataclass(frozen=True)
class Cell:
    """Rows of about the same prediction and residual: how many, and their means."""

    rows: int
    actual: float
    predicted: float

    @property
    def residual(self) -> float:
        return self.predicted - self.actual


@dataclass(frozen=True)
class TargetCells:
    """All cells of a target column."""

    label: str
    cells: tuple[Cell, ...]


def dots(axes: Axes, target: TargetCells, across: list[float], up: list[float]) -> None:
    """A dot for each cell, whose area grows with its rows."""
    most = max(cell.rows for cell in target.cells)
    sizes = [10 + 90 * (cell.rows / most if most > 1 else 0.0) for cell in target.cells]
    axes.scatter(across, up, s=sizes, color=ACCENT, alpha=0.55, linewidths=0)


def draw_actual(target: TargetCells, place: int) -> str:
    """Predicted against actual, as markup."""

    def draw(figure: Figure, axes: Axes) -> None:
        actual = [cell.actual for cell in target.cells]
        predicted = [cell.predicted for cell in target.cells]
        least, most = min(*actual, *predicted), max(*actual, *predicted)
        axes.plot([least, most], [least, most], color=MUTED, lw=1, ls=":")
        dots(axes, target, actual, predicted)
        axes.set_xlabel(f"actual {short(target.label)}")
        axes.set_ylabel(f"predicted {short(target.label)}")

    return chart(f"actual-{place}", f"Predicted against actual {short(target.label)}", draw, height=3.6)


def draw_residuals(target: TargetCells, place: int) -> str:
    """Residuals against predictions, as markup."""

    def draw(figure: Figure, axes: Axes) -> None:
        axes.axhline(0.0, color=MUTED, lw=1, ls=":")
        predicted = [cell.predicted for cell in target.cells]
        dots(axes, target, predicted, [cell.residual for cell in target.cells])
        axes.set_xlabel(f"predicted {short(target.label)}")
        axes.set_ylabel("residual (predicted - actual)")

    return chart(f"residuals-{place}", f"Residuals of {short(target.label)}", draw, height=3.6)


def draw_histogram(target: TargetCells, place: int) -> str:
    """How residuals are spread, as markup."""

    def draw(figure: Figure, axes: Axes) -> None:
        residuals = [cell.residual for cell in target.cells]
        weights = [cell.rows for cell in target.cells]
        axes.hist(residuals, bins=BARS, weights=weights, color=ACCENT, alpha=0.8, rwidth=0.92)
        axes.axvline(0.0, color=MUTED, lw=1, ls=":")
        axes.set_xlabel(f"residual of {short(target.label)}")
        axes.set_ylabel("rows")

    return chart(f"histogram-{place}", f"How residuals of {short(target.label)} are spread", draw, height=3.6)

"""How much worse predictions become without a column's information."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from selectron.reporting.canvas import ACCENT, INK, chart, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Importances", "draw_importances"]


@dataclass(frozen=True)
class Importances:
    """The increase of the mean loss when a column's values are shuffled, the largest first.

    Attributes
    ----------
    increases
        Columns and increases.
    rows
        How many rows they are measured on.
    columns
        How many columns the model has; not all of them need be measured.
    """

    increases: tuple[tuple[str, float], ...]
    rows: int
    columns: int


def draw_importances(importances: Importances) -> str:
    """A bar for each column, as markup."""

    def draw(figure: Figure, axes: Axes) -> None:
        places = range(len(importances.increases))
        values = [value for _, value in importances.increases]
        axes.barh(places, values, color=ACCENT, height=0.66, alpha=0.85)
        axes.axvline(0.0, color=INK, lw=0.8)
        axes.set_yticks(places, [short(name, 28) for name, _ in importances.increases])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("increase of the mean loss")

    height = 1.0 + 0.26 * len(importances.increases)
    return chart("importances", "Importance of each column", draw, width=7.0, height=height)

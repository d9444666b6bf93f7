"""How much worse predictions become without a column's information."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from selectron.reporting.canvas import ACCENT, INK, chart, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Importances", "draw_attributions", "draw_importances", "draw_increases"]


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
    return draw_increases(importances.increases)


def draw_increases(increases: Sequence[tuple[str, float]]) -> str:
    """Columns and increases of the mean loss, as markup."""
    return bars("importances", "Importance of each column", "increase of the mean loss", increases)


def draw_attributions(sizes: Sequence[tuple[str, float]], unit: str) -> str:
    """The mean size of what each column adds to predictions, as markup."""
    return bars("attributions", "Mean size of each column's attributions", f"mean size, {unit}", sizes)


def bars(name: str, title: str, label: str, sizes: Sequence[tuple[str, float]]) -> str:
    """A bar for each column."""

    def draw(figure: Figure, axes: Axes) -> None:
        places = range(len(sizes))
        values = [value for _, value in sizes]
        axes.barh(places, values, color=ACCENT, height=0.66, alpha=0.85)
        axes.axvline(0.0, color=INK, lw=0.8)
        axes.set_yticks(places, [short(column, 28) for column, _ in sizes])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(label)

    return chart(name, title, draw, width=7.0, height=1.0 + 0.26 * len(sizes))

"""How predictions depend on a column, and what columns add to predictions, drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Final

from selectron.reporting.canvas import PALETTE, chart, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Curve", "draw_dependence"]

MOST_CURVES: Final = 6


@dataclass(frozen=True)
class Curve:
    """The mean prediction of a class or a target at each value of a column."""

    about: str
    values: tuple[Any, ...]
    predicted: tuple[float, ...]


def draw_dependence(name: str, curves: Sequence[Curve], place: int, *, classes: bool) -> str:
    """A line for each class or target, as markup; points where the column's values have no distance."""
    shown = curves[:MOST_CURVES]
    metric = all(isinstance(value, (int, float, date)) and value is not True for value in shown[0].values)
    metric = metric and not any(isinstance(value, bool) for value in shown[0].values)

    def draw(figure: Figure, axes: Axes) -> None:
        from matplotlib.ticker import MaxNLocator

        for number, curve in enumerate(shown):
            across = curve.values if metric else range(len(curve.values))
            style = "-" if metric else "o"
            axes.plot(across, curve.predicted, style, color=PALETTE[number], label=short(curve.about), lw=1.6)
        if not metric:
            named = [short("NULL" if value is None else value, 14) for value in shown[0].values]
            axes.set_xticks(range(len(named)), named, rotation=0 if len(named) < 5 else 40, ha="right")
            axes.margins(x=0.15)
        elif not isinstance(shown[0].values[0], date):
            axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlabel(short(name, 40))
        axes.set_ylabel("mean probability" if classes else "mean prediction")
        if classes:
            axes.set_ylim(-0.03, 1.03)
        if len(shown) > 1:
            axes.legend()

    return chart(f"dependence-{place}", f"Predictions by {short(name)}", draw)

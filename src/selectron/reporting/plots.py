"""Plots of what explains a model, each a file of its own: importances, attributions and dependences."""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch
from pathlib import Path
from typing import Any

from sqlglot import exp

from selectron.errors import ConfigurationError, DataError
from selectron.explaining.attribution import Attributions
from selectron.explaining.dependence import Dependence
from selectron.explaining.importance import Importance
from selectron.reporting.canvas import standalone
from selectron.reporting.dependence import Curve, draw_dependence
from selectron.reporting.importance import draw_attributions, draw_increases
from selectron.sql import column

__all__ = ["Plot", "attribution_sizes", "curves_of", "plot"]


@dataclass(frozen=True)
class Plot:
    """A drawing as SVG, legible in light and in dark; a notebook shows it."""

    svg: str

    def _repr_html_(self) -> str:
        return self.svg

    def save(self, path: str | Path) -> None:
        """Write it into an .svg file.

        Raises
        ------
        ConfigurationError
            If the file is called otherwise.
        DataError
            If it cannot be written.
        """
        if Path(path).suffix.lower() != ".svg":
            raise ConfigurationError(f"A plot cannot be written to {str(path)!r}.", hint="Name an .svg file.")
        try:
            Path(path).write_text(self.svg, encoding="utf-8")
        except OSError as error:
            raise DataError(f"{str(path)!r} cannot be written: {error.strerror}.") from error


@singledispatch
def plot(found: object) -> Plot:
    """What explains a model, drawn.

    Parameters
    ----------
    found
        What ``model.importance()``, ``model.attributions()`` or ``model.dependence("column")`` gave. It is
        computed here.

    Raises
    ------
    ConfigurationError
        If it is something else.
    MissingLibraryError
        If Matplotlib is not installed.

    Examples
    --------
    >>> import selectron
    >>> db = selectron.connect()
    >>> rows = "SELECT x, x % 3 AS noise, x > 49 AS large FROM range(100) AS t(x)"
    >>> model = db.train(rows, "large", network=selectron.MLP([]), epochs=50, validation=0)
    >>> selectron.plot(model.importance(rows)).svg[:5]
    '<svg '
    """
    raise ConfigurationError(
        f"A {type(found).__name__} cannot be plotted.",
        hint="Give what importance, attributions or dependence gave.",
    )


@plot.register
def plot_importance(found: Importance) -> Plot:
    """A bar for each column."""
    return Plot(standalone(draw_increases([(row.column, row.loss) for row in found.rows()])))


@plot.register
def plot_attributions(found: Attributions) -> Plot:
    """A bar for each column: the mean size of its attributions."""
    return Plot(standalone(draw_attributions(attribution_sizes(found), "in logits or the target's units")))


@plot.register
def plot_dependence(found: Dependence) -> Plot:
    """A line for each class or target."""
    return Plot(standalone(draw_dependence(found.column, curves_of(found), 0, classes=found.classes)))


def attribution_sizes(found: Attributions) -> list[tuple[str, float]]:
    """Columns and the mean sizes of their attributions, the largest first."""
    mean = exp.Avg(this=exp.Abs(this=column("attribution")))
    attributions = found.query.subquery("attributions")
    sized = exp.select(column("column"), mean).from_(attributions).group_by(column("column"))
    return sorted(((str(name), float(size)) for name, size in found.engine.rows(sized)), key=largest_first)


def largest_first(entry: tuple[str, float]) -> tuple[float, str]:
    return -entry[1], entry[0]


def curves_of(found: Dependence) -> list[Curve]:
    """The mean predictions of each class or target."""
    points: dict[str, list[tuple[Any, float]]] = {}
    for row in found.rows():
        points.setdefault(row.about, []).append((row.value, row.predicted))
    return [
        Curve(label, tuple(value for value, _ in own), tuple(mean for _, mean in own))
        for label, own in points.items()
    ]

"""What a network of two numbers predicts over the plane of the two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from selectron.reporting.canvas import ACCENT, INK, PALETTE, PAPER, chart, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Boundary", "PlanePoint", "draw_boundary"]

LEVELS: Final = 9


@dataclass(frozen=True)
class PlanePoint:
    """Rows of about the same place and the same class: how many, their mean place, which class."""

    rows: int
    across: float
    up: float
    kind: int


@dataclass(frozen=True)
class Boundary:
    """Predictions on a grid.

    Attributes
    ----------
    names
        The two columns.
    across, up
        The grid's places along each.
    values
        For each class (or for the one predicted number) its probability (or value) at (up, across).
    labels
        The classes; none if a number is predicted.
    points
        Actual rows.
    """

    names: tuple[str, str]
    across: tuple[float, ...]
    up: tuple[float, ...]
    values: tuple[tuple[tuple[float, ...], ...], ...]
    labels: tuple[str, ...]
    points: tuple[PlanePoint, ...]


def draw_boundary(boundary: Boundary) -> str:
    """The plane as markup: a region for each class, or levels of a number; and actual rows as dots."""

    def draw(figure: Figure, axes: Axes) -> None:
        axes.grid(visible=False)
        values = np.array(boundary.values)
        if boundary.labels:
            regions(axes, boundary, values)
        else:
            levels(axes, boundary, values[0])
        most = max((point.rows for point in boundary.points), default=1)
        for kind in sorted({point.kind for point in boundary.points}):
            own = [point for point in boundary.points if point.kind == kind]
            axes.scatter(
                [point.across for point in own],
                [point.up for point in own],
                s=[14 + 70 * (point.rows / most if most > 1 else 0.0) for point in own],
                color=PALETTE[kind % len(PALETTE)] if boundary.labels else INK,
                alpha=0.85 if boundary.labels else 0.5,
                edgecolors=PAPER,
                linewidths=0.5,
            )
        axes.set_xlabel(short(boundary.names[0], 40))
        axes.set_ylabel(short(boundary.names[1], 40))

    return chart("boundary", "Predictions over the plane of the two columns", draw, width=6.0, height=4.2)


def regions(
    axes: Axes, boundary: Boundary, values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]
) -> None:
    """A region for each class where it is the likeliest, and a legend."""
    from matplotlib.patches import Patch

    handles = []
    for kind, label in enumerate(boundary.labels):
        others = np.delete(values, kind, axis=0).max(axis=0)
        margin = values[kind] - others
        colour = PALETTE[kind % len(PALETTE)]
        if margin.max() > 0.0:
            axes.contourf(
                boundary.across, boundary.up, margin, levels=[0.0, 2.0], colors=[colour], alpha=0.22
            )
            if margin.min() < 0.0:
                axes.contour(
                    boundary.across, boundary.up, margin, levels=[0.0], colors=[colour], linewidths=1.0
                )
        if kind < len(PALETTE):
            handles.append(Patch(color=colour, label=short(label, 18)))
    axes.legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5))


def levels(axes: Axes, boundary: Boundary, values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> None:
    """Levels of a number, deeper the larger, with their values on the lines."""
    if values.min() == values.max():
        return
    steps = np.linspace(values.min(), values.max(), LEVELS + 1)
    for place in range(LEVELS):
        axes.contourf(
            boundary.across,
            boundary.up,
            values,
            levels=[steps[place], steps[place + 1]],
            colors=[ACCENT],
            alpha=0.05 + 0.75 * place / LEVELS,
        )
    lines = axes.contour(
        boundary.across, boundary.up, values, levels=steps[1:-1], colors=[INK], linewidths=0.5
    )
    axes.clabel(lines, fontsize=8, fmt="%.4g")

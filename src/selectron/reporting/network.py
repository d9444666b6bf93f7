"""A network drawn with its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from selectron.blueprint import Blueprint
from selectron.program.operations import Array
from selectron.reporting.canvas import INK, NEGATIVE, PAPER, POSITIVE, chart, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["NetworkPicture", "ShownLayer", "draw_network", "network_picture"]

# Units of a layer that are drawn, those with the largest weights.
MOST_UNITS: Final = 14


@dataclass(frozen=True)
class ShownLayer:
    """A layer: its name, the names of the units that are drawn, and how many there are."""

    name: str
    units: tuple[str, ...]
    total: int


@dataclass(frozen=True)
class NetworkPicture:
    """Layers, and the weights (inputs, units) between each and the next, of the units that are drawn."""

    layers: tuple[ShownLayer, ...]
    weights: tuple[tuple[tuple[float, ...], ...], ...]

    @property
    def capped(self) -> tuple[ShownLayer, ...]:
        """The layers of which not all units are drawn."""
        return tuple(layer for layer in self.layers if len(layer.units) < layer.total)


def network_picture(
    blueprint: Blueprint, parameters: Mapping[str, Array], most: int = MOST_UNITS
) -> NetworkPicture:
    """What is drawn of a network: of large layers the units with the largest sums of absolute weights."""
    layers = {name: units for name, units in blueprint.layers.items() if not name.startswith("embedding: ")}
    inputs = list(layers.pop("input"))
    for shape in blueprint.inputs.embeddings:
        inputs += [f"{shape.column} [{place}]" for place in range(1, shape.dimension + 1)]
    # Blocks of the first layer's weights stand in the order of its inputs.
    matrices = [
        np.vstack([value for key, value in parameters.items() if key.startswith(f"{layer}.weights")])
        for layer in layers
    ]
    names = [inputs, *layers.values()]
    sizes = [np.zeros(len(own)) for own in names]
    for place, matrix in enumerate(matrices):
        sizes[place] += np.abs(matrix).sum(axis=1)
        sizes[place + 1] += np.abs(matrix).sum(axis=0)
    kept = [sorted(np.argsort(-size, kind="stable")[:most].tolist()) for size in sizes]
    shown = tuple(
        ShownLayer(layer, tuple(own[unit] for unit in units), len(own))
        for layer, own, units in zip(["input", *layers], names, kept, strict=True)
    )
    between = tuple(
        tuple(map(tuple, matrix[np.ix_(kept[place], kept[place + 1])].tolist()))
        for place, matrix in enumerate(matrices)
    )
    return NetworkPicture(shown, between)


def heights(count: int) -> list[float]:
    """Places of units from top to bottom, in the middle of the picture."""
    return [(count - 1) / 2 - place for place in range(count)]


def draw_network(picture: NetworkPicture) -> str:
    """The network as markup: a line for each weight, wider the larger it is, coloured by its sign."""

    def draw(figure: Figure, axes: Axes) -> None:
        from matplotlib.collections import LineCollection

        axes.set_axis_off()
        for place, matrix in enumerate(picture.weights):
            values = np.array(matrix)
            largest = float(np.abs(values).max()) or 1.0
            lines, colours, widths, opacities = [], [], [], []
            sides = [heights(len(picture.layers[place + side].units)) for side in (0, 1)]
            order = sorted(np.ndindex(values.shape), key=lambda at: abs(values[at]))
            for i, j in order:
                size = abs(float(values[i, j])) / largest
                lines.append([(place, sides[0][i]), (place + 1, sides[1][j])])
                colours.append(POSITIVE if values[i, j] >= 0 else NEGATIVE)
                widths.append(0.3 + 3.2 * size)
                opacities.append(0.15 + 0.75 * size)
            axes.add_collection(
                LineCollection(lines, colors=colours, linewidths=widths, alpha=opacities, zorder=1)
            )
        last = len(picture.layers) - 1
        tallest = max(len(layer.units) for layer in picture.layers)
        for place, layer in enumerate(picture.layers):
            up = heights(len(layer.units))
            axes.scatter([place] * len(up), up, s=70, color=PAPER, edgecolors=INK, linewidths=1.1, zorder=2)
            named(axes, place, layer.units, up, first=place == 0, last=place == last)
            many = str(layer.total)
            if len(layer.units) < layer.total:
                many = f"{len(layer.units)} of {layer.total}"
            axes.text(place, tallest / 2 + 0.35, f"{layer.name}\n{many}", ha="center", va="bottom")
        # Room for the names at both sides.
        axes.set_xlim(-0.55 * max(1, last) ** 0.5, last + 0.5 * max(1, last) ** 0.5)
        axes.set_ylim(-tallest / 2 - 0.2, tallest / 2 + 1.5)

    tallest = max(len(layer.units) for layer in picture.layers)
    return chart(
        "network", "The network and its weights", draw, width=7.6, height=min(5.6, 1.3 + 0.3 * tallest)
    )


def named(
    axes: Axes, place: int, units: Sequence[str], up: Sequence[float], *, first: bool, last: bool
) -> None:
    """The names of inputs at the left, of outputs at the right."""
    if first or last:
        offset, side = (-9, "right") if first else (9, "left")
        for unit, height in zip(units, up, strict=True):
            axes.annotate(
                short(unit),
                (place, height),
                xytext=(offset, 0),
                textcoords="offset points",
                ha=side,
                va="center",
                fontsize=8.5,
            )

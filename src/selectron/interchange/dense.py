"""A model as plain layers over its encoded features, which is the form in which networks are taken out.

The order of inputs is that of the encoding: a unit for each of ``model.blueprint.encoding.units``, and after
them, for each embedded column, one for each of its categories and one for all others, since looking up a
vector is multiplying it by a one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sqlglot import exp

from selectron.blueprint import Blueprint
from selectron.engines.base import Column, Engine
from selectron.features.kinds import flag
from selectron.features.targets import ClassTarget, NumberTarget
from selectron.interchange.described import SIGMOID, SOFTMAX, Layer
from selectron.program.operations import Array
from selectron.sql import number

__all__ = ["Exported", "input_expressions", "input_units", "layers_of"]


@dataclass(frozen=True)
class Exported:
    """A model to take out.

    `classes` are values of the target's type; `columns` those of the table, as far as it is still there.
    """

    engine: Engine
    blueprint: Blueprint
    parameters: Mapping[str, Array]
    classes: tuple[Any, ...]
    columns: Mapping[str, Column] = field(default_factory=dict)


def input_units(blueprint: Blueprint) -> list[str]:
    """The names of the inputs, in their order."""
    names = list(blueprint.encoding.units)
    for embedding in blueprint.encoding.embeddings:
        names += [f"{embedding.column} = {category}" for category in embedding.categories]
        names.append(f"{embedding.column} = (other)")
    return names


def input_expressions(blueprint: Blueprint) -> list[exp.Expr]:
    """A DOUBLE for each input, over the table's columns."""
    found = blueprint.encoding.dense()
    for embedding in blueprint.encoding.embeddings:
        places = range(embedding.entries)
        found += [flag(exp.EQ(this=embedding.index(), expression=number(float(at)))) for at in places]
    return found


def layers_of(exported: Exported, *, logits: bool = False) -> tuple[Layer, ...]:
    """Layers that give what ``predict`` does: probabilities, or numbers in the target's own units.

    Parameters
    ----------
    logits
        Whether those of classes end before the sigmoid or softmax.
    """
    blueprint, parameters = exported.blueprint, exported.parameters
    names = [f"hidden_{place}" for place in range(1, len(blueprint.specification.network.layers) + 1)]
    layers: list[Layer] = []
    for place, name in enumerate([*names, "output"]):
        own = blueprint.specification.network.layers[place] if name != "output" else None
        weights = first_weights(blueprint, parameters, name) if not place else parameters[f"{name}.weights"]
        layers.append(
            Layer(
                weights,
                parameters[f"{name}.{blueprint.specification.network.biases}"].sum(axis=0),
                own.activation if own else blueprint.specification.network.output_activation,
                own.dropout if own else 0.0,
            )
        )
    target, last = blueprint.encoding.target, layers[-1]
    if isinstance(target, ClassTarget):
        activation = SIGMOID if last.weights.shape[1] == 1 else SOFTMAX
        layers[-1] = Layer(last.weights, last.biases, "identity" if logits else activation)
        return tuple(layers)
    return (*layers[:-1], *restored(target, last))


def first_weights(blueprint: Blueprint, parameters: Mapping[str, Array], layer: str) -> Array:
    """The first layer's weights for every input: those of a category are its vector's."""
    blocks = [parameters[f"{layer}.weights"]] if f"{layer}.weights" in parameters else []
    for shape in blueprint.inputs.embeddings:
        vectors = parameters[f"{shape.layer}.vectors"]
        blocks.append(vectors @ parameters[f"{layer}.weights: {shape.column}"])
    found: Array = np.vstack(blocks)
    return found


def restored(target: NumberTarget, last: Layer) -> list[Layer]:
    """The output layer, with numbers scaled back."""
    center, scale = np.array(target.center), np.array(target.scale)
    if last.activation == "identity":
        return [Layer(last.weights * scale, last.biases * scale + center)]
    if not center.any() and (scale == 1.0).all():
        return [last]
    return [last, Layer(np.diag(scale), center)]

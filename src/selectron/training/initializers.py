"""Initial weights: drawn by NumPy's PCG64, so that a seed gives the same ones on every engine."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from selectron.errors import ConfigurationError
from selectron.network import MLP
from selectron.program.operations import Array

__all__ = ["initial_weights"]

Draw = Callable[[np.random.Generator, int, int, float | None], Array]


def he(generator: np.random.Generator, inputs: int, units: int, scale: float | None) -> Array:
    """Normal with variance 2 / inputs (He et al. 2015)."""
    return generator.normal(0.0, math.sqrt(2.0 / inputs), (inputs, units))


def glorot(generator: np.random.Generator, inputs: int, units: int, scale: float | None) -> Array:
    """Uniform within the root of 6 / (inputs + units) (Glorot and Bengio 2010)."""
    bound = math.sqrt(6.0 / (inputs + units))
    return generator.uniform(-bound, bound, (inputs, units))


def normal(generator: np.random.Generator, inputs: int, units: int, scale: float | None) -> Array:
    """Normal with the given standard deviation."""
    return generator.normal(0.0, 0.01 if scale is None else scale, (inputs, units))


def constant(generator: np.random.Generator, inputs: int, units: int, scale: float | None) -> Array:
    """One value throughout."""
    return np.full((inputs, units), 1.0 if scale is None else scale)


def zeros(generator: np.random.Generator, inputs: int, units: int, scale: float | None) -> Array:
    """Zero throughout."""
    return np.zeros((inputs, units))


DRAWS: Final[Mapping[str, Draw]] = {
    "he": he,
    "glorot": glorot,
    "normal": normal,
    "constant": constant,
    "zeros": zeros,
}
AFTER_HE: Final = frozenset({"relu", "leaky_relu", "elu", "gelu", "gelu_exact", "silu", "softplus"})


def initial_weights(
    network: MLP, seed: int, name: str, shape: tuple[int, int], inputs: int, activation: str
) -> Array:
    """The values that a layer's weights start from.

    Parameters
    ----------
    network
        Its `initialization` says how to draw, its `initial` may give the values.
    seed
        With the parameter's name it decides the draw, so that one layer's does not depend on another's.
    name
        The parameter, such as ``"hidden_1.weights"``.
    shape
        (inputs, units).
    inputs
        All that feed the layer, which are more than the rows of `shape` where the layer has several blocks.
    activation
        What follows the layer.

    Raises
    ------
    ConfigurationError
        If given values are of another shape.

    Examples
    --------
    >>> initial_weights(MLP([2], initialization="zeros"), 0, "hidden_1.weights", (1, 2), 1, "relu")
    array([[0., 0.]])
    """
    given = network.initial.get(name)
    if given is not None:
        lengths = sorted({len(row) for row in given})
        if len(lengths) > 1:
            raise ConfigurationError(
                f"The initial values of {name!r} have rows of {lengths[0]} to {lengths[-1]} values.",
                hint=f"Give finite numbers of shape {shape}.",
            )
        values = np.array(given, dtype=np.float64)
        if not np.isfinite(values).all():
            raise ConfigurationError(
                f"The initial values of {name!r} are not all finite.",
                hint=f"Give finite numbers of shape {shape}.",
            )
        if values.shape != shape:
            raise ConfigurationError(
                f"The initial values of {name!r} have shape {values.shape}.",
                hint=f"Give finite numbers of shape {shape}.",
            )
        return values
    kind = network.initialization
    if kind == "auto":
        kind = "he" if activation in AFTER_HE else "glorot"
    generator = np.random.Generator(np.random.PCG64([seed, *name.encode()]))
    drawn = DRAWS[kind](generator, inputs, shape[1], network.initialization_scale)
    # Blocks of one layer are drawn with the layer's fan-in but only their own rows are kept.
    return drawn[: shape[0]] if shape[0] <= inputs else np.resize(drawn, shape)

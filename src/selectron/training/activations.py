"""Activations, written in the tensor language. Their gradients follow from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

from selectron.program.operations import (
    add,
    constant,
    exp,
    less,
    maximum,
    minimum,
    multiply,
    sigmoid,
    softplus,
    subtract,
    tanh,
    where,
)
from selectron.program.tensor import Tensor

__all__ = ["ACTIVATIONS", "Activation"]

Activation = Callable[[Tensor], Tensor]

ZERO: Final = constant(0.0)
ONE: Final = constant(1.0)

# Klambauer et al., Self-Normalizing Neural Networks, 2017.
SELU_ALPHA: Final = 1.6732632423543772848170429916717
SELU_SCALE: Final = 1.0507009873554804934193349852946


def identity(x: Tensor) -> Tensor:
    """x."""
    return x


def relu(x: Tensor) -> Tensor:
    """max(x, 0), with gradient 0 at 0."""
    return maximum(x, ZERO)


def leaky_relu(x: Tensor) -> Tensor:
    """x where positive, 0.01 x elsewhere (Maas, Hannun and Ng 2013)."""
    return where(less(ZERO, x), x, multiply(constant(0.01), x))


def elu(x: Tensor) -> Tensor:
    """x where positive, exp(x) - 1 elsewhere (Clevert, Unterthiner and Hochreiter 2015)."""
    # The branch that is not taken must stay finite: an infinity times a gradient of zero is NaN.
    return where(less(ZERO, x), x, subtract(exp(minimum(x, ZERO)), ONE))


def selu(x: Tensor) -> Tensor:
    """A scaled ELU that keeps activations standardized (Klambauer et al. 2017)."""
    negative = multiply(constant(SELU_ALPHA), subtract(exp(minimum(x, ZERO)), ONE))
    return multiply(constant(SELU_SCALE), where(less(ZERO, x), x, negative))


def gelu(x: Tensor) -> Tensor:
    """The Gaussian error linear unit in its tanh form (Hendrycks and Gimpel 2016)."""
    cube = multiply(constant(0.044715), multiply(x, multiply(x, x)))
    inner = multiply(constant(math.sqrt(2 / math.pi)), add(x, cube))
    return multiply(multiply(constant(0.5), x), add(ONE, tanh(inner)))


def silu(x: Tensor) -> Tensor:
    """x times the sigmoid of x."""
    return multiply(x, sigmoid(x))


ACTIVATIONS: Final[Mapping[str, Activation]] = {
    "identity": identity,
    "relu": relu,
    "leaky_relu": leaky_relu,
    "elu": elu,
    "selu": selu,
    "gelu": gelu,
    "silu": silu,
    "sigmoid": sigmoid,
    "tanh": tanh,
    "softplus": softplus,
}

"""Activations, written in the tensor language. Their gradients follow from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from selectron.program.operations import (
    absolute,
    add,
    constant,
    divide,
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


# Hart's rational function (Computer Approximations, 1968, no. 5666), highest power first: times exp(-z^2 / 2)
# it is the probability of a normal number above z >= 0, to within 1e-15 up to 7, and vanishes beyond.
ABOVE: Final = (
    0.0352624965998911,
    0.700383064443688,
    6.37396220353165,
    33.912866078383,
    112.079291497871,
    221.213596169931,
    220.206867912376,
)
BELOW: Final = (
    0.0883883476483184,
    1.75566716318264,
    16.064177579207,
    86.7807322029461,
    296.564248779674,
    637.333633378831,
    793.826512519948,
    440.413735824752,
)
# exp(-z^2 / 2) is a subnormal number here.
FAR: Final = 38.0


def polynomial(coefficients: Sequence[float], z: Tensor) -> Tensor:
    """Horner's scheme."""
    total = constant(coefficients[0])
    for coefficient in coefficients[1:]:
        total = add(multiply(total, z), constant(coefficient))
    return total


def gelu_exact(x: Tensor) -> Tensor:
    """x times the probability of a normal number below x (Hendrycks and Gimpel 2016)."""
    z = minimum(absolute(x), constant(FAR))
    density = exp(multiply(constant(-0.5), multiply(z, z)))
    tail = divide(multiply(density, polynomial(ABOVE, z)), polynomial(BELOW, z))
    return multiply(x, where(less(ZERO, x), subtract(ONE, tail), tail))


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
    "gelu_exact": gelu_exact,
    "silu": silu,
    "sigmoid": sigmoid,
    "tanh": tanh,
    "softplus": softplus,
}

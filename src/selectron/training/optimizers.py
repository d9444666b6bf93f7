"""Optimizers, written in the tensor language.

An optimizer is a pair: the slots it keeps for each parameter (tensors of the parameter's shape that
start at a number), and an update that gives the new parameter and the new slots. Slots are part of
the training's state, so that they are rows of the store and training resumes exactly.

The conventions are PyTorch's, so that a learning rate means the same in both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, Protocol

from selectron.errors import ConfigurationError
from selectron.program.operations import add, constant, divide, exp, multiply, sqrt, subtract
from selectron.program.tensor import Tensor

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Momentum",
    "Nesterov",
    "Optimizer",
    "RMSprop",
]

Slots = Mapping[str, Tensor]


class Optimizer(Protocol):
    """What every optimizer can do."""

    @property
    def learning_rate(self) -> float:
        """The rate that a schedule starts from."""

    @property
    def slots(self) -> Mapping[str, float]:
        """What is kept for each parameter: a name and the value it starts at."""

    @property
    def weight_decay(self) -> float:
        """How much of each weight (not bias) is taken away a step, times the learning rate."""

    def update(
        self, parameter: Tensor, gradient: Tensor, slots: Slots, learning_rate: Tensor, step: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The parameter and the slots after one step.

        Parameters
        ----------
        parameter, gradient
            Of one shape.
        slots
            The slots before the step.
        learning_rate, step
            Scalars; `step` is 1 at the first update.
        """


def check_rate(name: str, value: float, *, below_one: bool = False) -> None:
    """Refuse a rate that is negative, infinite, or 1 and more where it must be a fraction."""
    if not 0.0 <= value < (1.0 if below_one else math.inf):
        wanted = "from 0 up to, not with, 1" if below_one else "of 0 or more"
        raise ConfigurationError(f"{name} is {value}.", hint=f"Give a finite number {wanted}.")


def check_epsilon(value: float) -> None:
    """Refuse an epsilon of 0: a unit that has had no gradient would be 0 / 0."""
    if not 0.0 < value < math.inf:
        raise ConfigurationError(f"epsilon is {value}.", hint="Give a finite number above 0.")


def blend(rate: float, old: Tensor, new: Tensor) -> Tensor:
    """The exponential moving average: rate * old + (1 - rate) * new."""
    return add(multiply(constant(rate), old), multiply(constant(1.0 - rate), new))


class Defaults:
    """What an optimizer has unless it says otherwise: it keeps nothing, and weights do not decay."""

    slots: ClassVar[Mapping[str, float]] = {}
    weight_decay: float = 0.0


# What is kept for each parameter, and the value it starts at.
VELOCITY: Final = {"velocity": 0.0}
SQUARES: Final = {"squares": 0.0}
MOMENTS: Final = {"first_moment": 0.0, "second_moment": 0.0}


@dataclass(frozen=True)
class SGD(Defaults):
    """Gradient descent: the parameter less the learning rate times the gradient."""

    learning_rate: float = 0.01

    def __post_init__(self) -> None:
        check_rate("learning_rate", self.learning_rate)

    def update(
        self, parameter: Tensor, gradient: Tensor, slots: Slots, learning_rate: Tensor, step: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        return subtract(parameter, multiply(learning_rate, gradient)), {}


@dataclass(frozen=True)
class Momentum(Defaults):
    """Gradient descent with a velocity (Polyak 1964)."""

    slots: ClassVar = VELOCITY

    learning_rate: float = 0.01
    momentum: float = 0.9

    def __post_init__(self) -> None:
        check_rate("learning_rate", self.learning_rate)
        check_rate("momentum", self.momentum, below_one=True)

    def update(
        self, parameter: Tensor, gradient: Tensor, slots: Slots, learning_rate: Tensor, step: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        velocity = add(multiply(constant(self.momentum), slots["velocity"]), gradient)
        return subtract(parameter, multiply(learning_rate, velocity)), {"velocity": velocity}


@dataclass(frozen=True)
class Nesterov(Defaults):
    """Momentum that looks ahead (Nesterov 1983; Sutskever et al. 2013)."""

    slots: ClassVar = VELOCITY

    learning_rate: float = 0.01
    momentum: float = 0.9

    def __post_init__(self) -> None:
        check_rate("learning_rate", self.learning_rate)
        check_rate("momentum", self.momentum, below_one=True)

    def update(
        self, parameter: Tensor, gradient: Tensor, slots: Slots, learning_rate: Tensor, step: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        velocity = add(multiply(constant(self.momentum), slots["velocity"]), gradient)
        ahead = add(gradient, multiply(constant(self.momentum), velocity))
        return subtract(parameter, multiply(learning_rate, ahead)), {"velocity": velocity}


@dataclass(frozen=True)
class Adagrad(Defaults):
    """Rates that shrink with the squared gradients seen so far (Duchi, Hazan and Singer 2011)."""

    slots: ClassVar = SQUARES

    learning_rate: float = 0.01
    epsilon: float = 1e-10

    def __post_init__(self) -> None:
        check_rate("learning_rate", self.learning_rate)
        check_epsilon(self.epsilon)

    def update(
        self, parameter: Tensor, gradient: Tensor, slots: Slots, learning_rate: Tensor, step: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        squares = add(slots["squares"], multiply(gradient, gradient))
        scaled = divide(gradient, add(sqrt(squares), constant(self.epsilon)))
        return subtract(parameter, multiply(learning_rate, scaled)), {"squares": squares}


@dataclass(frozen=True)
class RMSprop(Defaults):
    """Gradients over the root of their moving mean square (Tieleman and Hinton 2012)."""

    slots: ClassVar = SQUARES

    learning_rate: float = 0.01
    decay: float = 0.99
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        check_rate("learning_rate", self.learning_rate)
        check_rate("decay", self.decay, below_one=True)
        check_epsilon(self.epsilon)

    def update(
        self, parameter: Tensor, gradient: Tensor, slots: Slots, learning_rate: Tensor, step: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        squares = blend(self.decay, slots["squares"], multiply(gradient, gradient))
        scaled = divide(gradient, add(sqrt(squares), constant(self.epsilon)))
        return subtract(parameter, multiply(learning_rate, scaled)), {"squares": squares}


@dataclass(frozen=True)
class Adam(Defaults):
    """Moving means of the gradient and of its square, corrected for their start (Kingma and Ba 2015).

    Parameters
    ----------
    learning_rate
        0.001 by default.
    beta1, beta2
        How slowly the two means move, 0.9 and 0.999.
    epsilon
        Added to the root of the second mean, 1e-8.
    """

    slots: ClassVar = MOMENTS

    learning_rate: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        check_rate("learning_rate", self.learning_rate)
        check_rate("beta1", self.beta1, below_one=True)
        check_rate("beta2", self.beta2, below_one=True)
        check_epsilon(self.epsilon)

    def update(
        self, parameter: Tensor, gradient: Tensor, slots: Slots, learning_rate: Tensor, step: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        return adam_update(self, parameter, gradient, slots, learning_rate, step)


@dataclass(frozen=True)
class AdamW(Defaults):
    """Adam with weight decay apart from the gradient (Loshchilov and Hutter 2019); biases do not decay.

    Parameters
    ----------
    learning_rate, beta1, beta2, epsilon
        As for :class:`Adam`.
    weight_decay
        0.01 by default.
    """

    slots: ClassVar = MOMENTS

    learning_rate: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        check_rate("learning_rate", self.learning_rate)
        check_rate("beta1", self.beta1, below_one=True)
        check_rate("beta2", self.beta2, below_one=True)
        check_epsilon(self.epsilon)
        check_rate("weight_decay", self.weight_decay)

    def update(
        self, parameter: Tensor, gradient: Tensor, slots: Slots, learning_rate: Tensor, step: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        return adam_update(self, parameter, gradient, slots, learning_rate, step)


def adam_update(
    settings: Adam | AdamW, parameter: Tensor, gradient: Tensor, slots: Slots, rate: Tensor, step: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """Algorithm 1 of Kingma and Ba, its two corrections gathered into scalars."""
    first = blend(settings.beta1, slots["first_moment"], gradient)
    second = blend(settings.beta2, slots["second_moment"], multiply(gradient, gradient))
    correction1 = subtract(constant(1.0), power(settings.beta1, step))
    correction2 = sqrt(subtract(constant(1.0), power(settings.beta2, step)))
    root = add(divide(sqrt(second), correction2), constant(settings.epsilon))
    change = divide(multiply(divide(rate, correction1), first), root)
    return subtract(parameter, change), {"first_moment": first, "second_moment": second}


def power(base: float, exponent: Tensor) -> Tensor:
    """A positive number to the power of a scalar."""
    if base == 0.0:
        return constant(0.0)
    return exp(multiply(constant(math.log(base)), exponent))

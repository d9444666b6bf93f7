"""Losses: what a network is trained to make small.

A loss gives one number for each row, of shape (rows, 1); how rows are weighted and averaged is the
training step's business. Classification losses take logits, so that no logarithm ever sees a zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from selectron.errors import ConfigurationError
from selectron.program.operations import (
    absolute,
    add,
    constant,
    divide,
    exp,
    less,
    log,
    max_,
    mean,
    multiply,
    pick,
    sigmoid,
    softplus,
    stop_gradient,
    subtract,
    sum_,
    where,
)
from selectron.program.tensor import Tensor

__all__ = [
    "AbsoluteError",
    "BinaryCrossEntropy",
    "CrossEntropy",
    "HalfSquaredError",
    "Huber",
    "Loss",
    "SquaredError",
    "softmax",
]


class Loss(Protocol):
    """What every loss can do."""

    def outputs(self, targets: int) -> int:
        """How many output units a network needs for so many classes or target columns."""

    def of_rows(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of each row, of shape (rows, 1)."""

    def predictions(self, logits: Tensor) -> Tensor:
        """Probabilities of classes, or the predicted numbers themselves."""


def softmax(logits: Tensor) -> Tensor:
    """exp(logits) over their sum along the units, shifted so that it never overflows."""
    exponentials = exp(subtract(logits, stop_gradient(max_(logits, 1))))
    return divide(exponentials, sum_(exponentials, 1))


def check_smoothing(value: float) -> None:
    if not 0.0 <= value < 1.0:
        raise ConfigurationError(
            f"label_smoothing is {value}.", hint="Give a number from 0 up to, not with, 1."
        )


@dataclass(frozen=True)
class CrossEntropy:
    """-log of the softmax probability of the true class; the target is its index, (rows, 1).

    Parameters
    ----------
    label_smoothing
        How much of the target's mass is spread evenly over all classes (Szegedy et al. 2016), 0 by default.
    """

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        check_smoothing(self.label_smoothing)

    def outputs(self, targets: int) -> int:
        return targets

    def of_rows(self, logits: Tensor, target: Tensor) -> Tensor:
        shift = stop_gradient(max_(logits, 1))
        log_sum = add(log(sum_(exp(subtract(logits, shift)), 1)), shift)
        true_logit = pick(logits, target)
        if not self.label_smoothing:
            return subtract(log_sum, true_logit)
        kept = multiply(constant(1.0 - self.label_smoothing), true_logit)
        spread = multiply(constant(self.label_smoothing), mean(logits, 1))
        return subtract(log_sum, add(kept, spread))

    def predictions(self, logits: Tensor) -> Tensor:
        return softmax(logits)


@dataclass(frozen=True)
class BinaryCrossEntropy:
    """-log of the sigmoid probability of the true class of two, from one logit; the target is 0 or 1.

    Parameters
    ----------
    label_smoothing
        How much of the target's mass is spread over both classes, 0 by default.
    """

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        check_smoothing(self.label_smoothing)

    def outputs(self, targets: int) -> int:
        if targets != 2:
            raise ConfigurationError(
                f"binary_cross_entropy is for two classes, and there are {targets}.",
                hint="Use cross_entropy.",
            )
        return 1

    def of_rows(self, logits: Tensor, target: Tensor) -> Tensor:
        if self.label_smoothing:
            kept = multiply(constant(1.0 - self.label_smoothing), target)
            target = add(kept, constant(self.label_smoothing / 2))
        return subtract(softplus(logits), multiply(target, logits))

    def predictions(self, logits: Tensor) -> Tensor:
        return sigmoid(logits)


@dataclass(frozen=True)
class SquaredError:
    """The squared difference, averaged over the target columns."""

    def outputs(self, targets: int) -> int:
        return targets

    def of_rows(self, logits: Tensor, target: Tensor) -> Tensor:
        difference = subtract(logits, target)
        return mean(multiply(difference, difference), 1)

    def predictions(self, logits: Tensor) -> Tensor:
        return logits


@dataclass(frozen=True)
class HalfSquaredError:
    """Half the squared difference, summed over the target columns: its gradient is the difference itself."""

    def outputs(self, targets: int) -> int:
        return targets

    def of_rows(self, logits: Tensor, target: Tensor) -> Tensor:
        difference = subtract(logits, target)
        return multiply(constant(0.5), sum_(multiply(difference, difference), 1))

    def predictions(self, logits: Tensor) -> Tensor:
        return logits


@dataclass(frozen=True)
class AbsoluteError:
    """The absolute difference, averaged over the target columns."""

    def outputs(self, targets: int) -> int:
        return targets

    def of_rows(self, logits: Tensor, target: Tensor) -> Tensor:
        return mean(absolute(subtract(logits, target)), 1)

    def predictions(self, logits: Tensor) -> Tensor:
        return logits


@dataclass(frozen=True)
class Huber:
    """Quadratic near zero and linear beyond `delta`, averaged over the target columns (Huber 1964).

    Parameters
    ----------
    delta
        Where the two meet, in units of the scaled target; 1 by default.
    """

    delta: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 < self.delta < float("inf"):
            raise ConfigurationError(f"delta is {self.delta}.", hint="Give a finite number above 0.")

    def outputs(self, targets: int) -> int:
        return targets

    def of_rows(self, logits: Tensor, target: Tensor) -> Tensor:
        difference = subtract(logits, target)
        distance = absolute(difference)
        delta = constant(self.delta)
        near = multiply(constant(0.5), multiply(difference, difference))
        far = multiply(delta, subtract(distance, constant(self.delta / 2)))
        return mean(where(less(distance, delta), near, far), 1)

    def predictions(self, logits: Tensor) -> Tensor:
        return logits

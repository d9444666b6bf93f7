"""Schedules: how the learning rate changes from epoch to epoch.

A schedule gives a factor on the optimizer's learning rate for the epoch that runs, counted from 0.
One that looks at the losses keeps scalars in the training's state and updates them when an epoch ends.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from selectron.errors import ConfigurationError
from selectron.program.operations import (
    add,
    constant,
    cosine,
    divide,
    exp,
    floor,
    less,
    maximum,
    minimum,
    multiply,
    subtract,
    where,
)
from selectron.program.tensor import Tensor

__all__ = [
    "ConstantRate",
    "CosineDecay",
    "ExponentialDecay",
    "ReduceOnPlateau",
    "Schedule",
    "StepDecay",
    "WarmUp",
]

Scalars = Mapping[str, Tensor]


class Schedule(Protocol):
    """What every schedule can do."""

    @property
    def scalars(self) -> Mapping[str, float]:
        """What is kept between epochs: a name and the value it starts at."""

    def factor(self, epoch: Tensor, scalars: Scalars) -> Tensor:
        """What to multiply the learning rate by in this epoch, a scalar."""

    def after_epoch(self, loss: Tensor, scalars: Scalars) -> dict[str, Tensor]:
        """The scalars after an epoch that ended with this loss."""


def check_epochs(name: str, value: int) -> None:
    if not isinstance(value, int) or value < 1:
        raise ConfigurationError(f"{name} is {value!r}.", hint="Give a whole number of epochs, 1 or more.")


def check_factor(name: str, value: float) -> None:
    if not 0.0 < value <= 1.0:
        raise ConfigurationError(f"{name} is {value}.", hint="Give a number above 0, at most 1.")


@dataclass(frozen=True)
class ConstantRate:
    """The same rate throughout."""

    @property
    def scalars(self) -> Mapping[str, float]:
        return {}

    def factor(self, epoch: Tensor, scalars: Scalars) -> Tensor:
        return constant(1.0)

    def after_epoch(self, loss: Tensor, scalars: Scalars) -> dict[str, Tensor]:
        return {}


@dataclass(frozen=True)
class StepDecay:
    """Multiply the rate by `gamma` every `epochs` epochs."""

    epochs: int = 10
    gamma: float = 0.1

    def __post_init__(self) -> None:
        check_epochs("epochs", self.epochs)
        check_factor("gamma", self.gamma)

    @property
    def scalars(self) -> Mapping[str, float]:
        return {}

    def factor(self, epoch: Tensor, scalars: Scalars) -> Tensor:
        times = floor(divide(epoch, constant(self.epochs)))
        return exp(multiply(constant(math.log(self.gamma)), times))

    def after_epoch(self, loss: Tensor, scalars: Scalars) -> dict[str, Tensor]:
        return {}


@dataclass(frozen=True)
class ExponentialDecay:
    """Multiply the rate by `gamma` every epoch."""

    gamma: float = 0.95

    def __post_init__(self) -> None:
        check_factor("gamma", self.gamma)

    @property
    def scalars(self) -> Mapping[str, float]:
        return {}

    def factor(self, epoch: Tensor, scalars: Scalars) -> Tensor:
        return exp(multiply(constant(math.log(self.gamma)), epoch))

    def after_epoch(self, loss: Tensor, scalars: Scalars) -> dict[str, Tensor]:
        return {}


@dataclass(frozen=True)
class CosineDecay:
    """Half a cosine from the full rate to `minimum` times it, over `epochs` epochs; then it stays.

    Loshchilov and Hutter, SGDR, 2017, without restarts.
    """

    epochs: int = 50
    minimum: float = 0.0

    def __post_init__(self) -> None:
        check_epochs("epochs", self.epochs)
        if not 0.0 <= self.minimum <= 1.0:
            raise ConfigurationError(f"minimum is {self.minimum}.", hint="Give a number from 0 to 1.")

    @property
    def scalars(self) -> Mapping[str, float]:
        return {}

    def factor(self, epoch: Tensor, scalars: Scalars) -> Tensor:
        passed = minimum(divide(epoch, constant(self.epochs)), constant(1.0))
        wave = add(constant(1.0), cosine(multiply(constant(math.pi), passed)))
        return add(constant(self.minimum), multiply(constant((1.0 - self.minimum) / 2), wave))

    def after_epoch(self, loss: Tensor, scalars: Scalars) -> dict[str, Tensor]:
        return {}


@dataclass(frozen=True)
class WarmUp:
    """Rise linearly from `start` times the rate to all of it over `epochs` epochs, then follow another.

    The schedule that follows counts its epochs from the end of the warm-up.
    """

    epochs: int = 5
    start: float = 0.1
    then: Schedule = ConstantRate()

    def __post_init__(self) -> None:
        check_epochs("epochs", self.epochs)
        check_factor("start", self.start)

    @property
    def scalars(self) -> Mapping[str, float]:
        return self.then.scalars

    def factor(self, epoch: Tensor, scalars: Scalars) -> Tensor:
        risen = multiply(constant((1.0 - self.start) / self.epochs), epoch)
        later = maximum(subtract(epoch, constant(self.epochs)), constant(0.0))
        return where(
            less(epoch, constant(self.epochs)),
            add(constant(self.start), risen),
            self.then.factor(later, scalars),
        )

    def after_epoch(self, loss: Tensor, scalars: Scalars) -> dict[str, Tensor]:
        return self.then.after_epoch(loss, scalars)


@dataclass(frozen=True)
class ReduceOnPlateau:
    """Multiply the rate by `gamma` when the loss has not improved for more than `patience` epochs.

    Parameters
    ----------
    gamma
        0.1 by default.
    patience
        Epochs without improvement that are borne, 10 by default.
    threshold
        The relative improvement that counts as one, 1e-4 by default.
    minimum
        The least factor, 0 by default.
    """

    gamma: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    minimum: float = 0.0

    def __post_init__(self) -> None:
        check_factor("gamma", self.gamma)
        if not isinstance(self.patience, int) or self.patience < 0:
            raise ConfigurationError(f"patience is {self.patience!r}.", hint="Give 0 or more epochs.")
        if not 0.0 <= self.threshold < 1.0:
            raise ConfigurationError(
                f"threshold is {self.threshold}.", hint="Give a number from 0 up to, not with, 1."
            )
        if not 0.0 <= self.minimum <= 1.0:
            raise ConfigurationError(f"minimum is {self.minimum}.", hint="Give a number from 0 to 1.")

    @property
    def scalars(self) -> Mapping[str, float]:
        return {"plateau_factor": 1.0, "plateau_best": 1e300, "plateau_epochs": 0.0}

    def factor(self, epoch: Tensor, scalars: Scalars) -> Tensor:
        return scalars["plateau_factor"]

    def after_epoch(self, loss: Tensor, scalars: Scalars) -> dict[str, Tensor]:
        best, factor = scalars["plateau_best"], scalars["plateau_factor"]
        zero = constant(0.0)
        improved = less(loss, multiply(best, constant(1.0 - self.threshold)))
        waited = where(improved, zero, add(scalars["plateau_epochs"], constant(1.0)))
        over = less(constant(self.patience), waited)
        reduced = maximum(multiply(factor, constant(self.gamma)), constant(self.minimum))
        return {
            "plateau_factor": where(over, reduced, factor),
            "plateau_best": where(improved, loss, best),
            "plateau_epochs": where(over, zero, waited),
        }

"""What a user may choose about a training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from selectron.errors import ConfigurationError
from selectron.training.losses import (
    AbsoluteError,
    BinaryCrossEntropy,
    CrossEntropy,
    HalfSquaredError,
    Huber,
    Loss,
    SquaredError,
)
from selectron.training.optimizers import (
    SGD,
    Adagrad,
    Adam,
    AdamW,
    Momentum,
    Nesterov,
    Optimizer,
    RMSprop,
)
from selectron.training.schedules import (
    ConstantRate,
    CosineDecay,
    ExponentialDecay,
    ReduceOnPlateau,
    Schedule,
    StepDecay,
    WarmUp,
)

__all__ = ["LOSSES", "OPTIMIZERS", "SCHEDULES", "SETTINGS", "TrainingOptions"]

# The names that the command line takes, and what they stand for.
LOSSES: Final[Mapping[str, type]] = {
    "cross_entropy": CrossEntropy,
    "binary_cross_entropy": BinaryCrossEntropy,
    "squared_error": SquaredError,
    "half_squared_error": HalfSquaredError,
    "absolute_error": AbsoluteError,
    "huber": Huber,
}
OPTIMIZERS: Final[Mapping[str, type]] = {
    "sgd": SGD,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "adagrad": Adagrad,
    "rmsprop": RMSprop,
    "adam": Adam,
    "adamw": AdamW,
}
SCHEDULES: Final[Mapping[str, type]] = {
    "constant": ConstantRate,
    "step": StepDecay,
    "exponential": ExponentialDecay,
    "cosine": CosineDecay,
    "warm_up": WarmUp,
    "plateau": ReduceOnPlateau,
}


@dataclass(frozen=True)
class TrainingOptions:
    """How a network is trained.

    Parameters
    ----------
    loss
        None chooses: cross-entropy for classes (of one logit if there are two), squared error for numbers.
    optimizer
        Adam at 0.01 by default.
    schedule
        How the learning rate changes; constant by default.
    epochs
        Passes over the training rows, 100 by default; early stopping may end it before.
    batch_size
        Rows a step, 256 by default; None takes all rows at once.
    l1, l2
        Penalties ``l1 * sum(|w|)`` and ``l2 / 2 * sum(w**2)`` on weights, not on biases; 0 by default.
    class_weight
        None, ``"balanced"`` (rows / (classes * rows of the class)) or a weight for each class.
    row_weight
        A column of weights, 0 or more, or None. A row of weight 2 counts as two, in means and deviations too.
    clip_norm
        The largest global norm of the gradient, or None.
    validation
        The fraction of rows held out and measured each epoch, 0.2 by default; 0 for none.
    validation_column
        A boolean column that is true for rows to hold out instead, or None. It is no feature.
    patience
        Stop after so many epochs without improvement of the held-out loss (of the training loss if
        nothing is held out), and keep the best epoch's weights; None never stops.
    min_delta
        The least decrease that counts as an improvement, 0 by default.
    seed
        Decides initial weights, shuffle, validation rows and dropout; 0 by default.

    Raises
    ------
    ConfigurationError
        If a value is out of its range.
    """

    loss: Loss | None = None
    optimizer: Optimizer = field(default_factory=lambda: Adam(0.01))
    schedule: Schedule = field(default_factory=ConstantRate)
    epochs: int = 100
    batch_size: int | None = 256
    l1: float = 0.0
    l2: float = 0.0
    class_weight: str | Mapping[str, float] | None = None
    row_weight: str | None = None
    clip_norm: float | None = None
    validation: float = 0.2
    validation_column: str | None = None
    patience: int | None = None
    min_delta: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        whole("epochs", self.epochs, 0)
        if self.batch_size is not None:
            whole("batch_size", self.batch_size, 1)
        at_least("l1", self.l1, 0.0)
        at_least("l2", self.l2, 0.0)
        at_least("min_delta", self.min_delta, 0.0)
        whole("seed", self.seed, 0)
        if self.patience is not None:
            whole("patience", self.patience, 1)
        if self.clip_norm is not None and not 0.0 < self.clip_norm < float("inf"):
            raise ConfigurationError(f"clip_norm is {self.clip_norm}.", hint="Give a finite number above 0.")
        if not 0.0 <= self.validation < 1.0:
            raise ConfigurationError(
                f"validation is {self.validation}.", hint="Give a fraction of the rows, from 0 to below 1."
            )
        if isinstance(self.class_weight, str) and self.class_weight != "balanced":
            raise ConfigurationError(
                f"class_weight is {self.class_weight!r}.", hint="Give 'balanced' or a weight for each class."
            )

    @property
    def stops_early(self) -> bool:
        """Whether the best epoch is watched for."""
        return self.patience is not None


def at_least(name: str, value: float, least: float) -> None:
    """Refuse a number that is too small, infinite or NaN."""
    if not least <= value < float("inf"):
        raise ConfigurationError(f"{name} is {value}.", hint=f"Give {least} or more.")


def whole(name: str, value: int, least: int) -> None:
    """Refuse a number that is too small or has a fraction."""
    if not isinstance(value, int) or value < least:
        raise ConfigurationError(f"{name} is {value!r}.", hint=f"Give a whole number, {least} or more.")


# Every class that the stored settings of a training may name.
SETTINGS: Final = (*LOSSES.values(), *OPTIMIZERS.values(), *SCHEDULES.values(), TrainingOptions)

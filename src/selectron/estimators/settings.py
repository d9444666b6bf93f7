"""From the parameters of an estimator to the settings of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from selectron.errors import ConfigurationError
from selectron.training.losses import Loss
from selectron.training.optimizers import Optimizer
from selectron.training.options import LOSSES, OPTIMIZERS, SCHEDULES
from selectron.training.schedules import Schedule

__all__ = ["loss_of", "names_of", "optimizer_of", "plain", "schedule_of", "seed_of"]

# Of optimizers that are named, where no rate is given.
LEARNING_RATE: Final = 0.01


def plain(value: Any) -> Any:
    """NumPy's numbers and arrays as Python's: searches over parameters draw them.

    >>> plain((np.int64(8), [np.float32(0.5)])), plain(np.array([8, 4]))
    ((8, [0.5]), [8, 4])
    """
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return type(value)(map(plain, value)) if type(value) in (list, tuple) else value
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items()}
    return value


def chosen(parameter: str, value: object, known: Mapping[str, type]) -> Any:
    """The setting of that name, with its defaults, or the setting itself."""
    if isinstance(value, str) and value in known:
        return known[value]()
    if not isinstance(value, tuple(known.values())):
        raise ConfigurationError(
            f"{parameter} is {value!r}.", hint=f"Use one of {', '.join(known)}, or an object of theirs."
        )
    return value


def optimizer_of(value: object, learning_rate: float | None) -> Optimizer:
    """An optimizer from its name or an object, at a rate if one is given.

    >>> optimizer_of("sgd", None), optimizer_of("adagrad", 0.5).learning_rate
    (SGD(learning_rate=0.01), 0.5)
    """
    optimizer = chosen("optimizer", value, OPTIMIZERS)
    rate = LEARNING_RATE if learning_rate is None and isinstance(value, str) else learning_rate
    found: Optimizer = optimizer if rate is None else replace(optimizer, learning_rate=rate)
    return found


def schedule_of(value: object) -> Schedule:
    """A schedule from its name or an object."""
    found: Schedule = chosen("schedule", value, SCHEDULES)
    return found


def loss_of(value: object) -> Loss | None:
    """A loss from its name or an object; None chooses."""
    found: Loss | None = None if value is None else chosen("loss", value, LOSSES)
    return found


def seed_of(random_state: Any, drawn: np.random.RandomState) -> int:
    """A seed of ours: the number that was given, or one that is drawn."""
    if isinstance(random_state, (int, np.integer)):
        return int(random_state)
    return int(drawn.randint(np.iinfo(np.int32).max))


def names_of(parameter: str, columns: Sequence[object], names: Sequence[str]) -> list[str]:
    """Columns that are given by name or, as arrays have no names, by place.

    >>> names_of("categorical", [1, "x0"], ["x0", "x1"])
    ['x1', 'x0']
    """
    found = []
    for given in columns:
        if isinstance(given, str):
            found.append(given)
        elif isinstance(given, int) and -len(names) <= given < len(names):
            found.append(names[given])
        else:
            raise ConfigurationError(
                f"{parameter} names column {given!r}, and there are {len(names)}.",
                hint="Give names, or places that count from 0.",
            )
    return found

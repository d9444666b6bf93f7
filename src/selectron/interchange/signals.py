"""What a column has become on its way to a network, as far as other libraries' preprocessing goes here.

A signal is a raw column, a scaled number, or a linear combination of indicators. From the signals that reach
a network come the features of an encoding and a matrix from their units to the network's inputs, which
is then multiplied into the first layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from selectron.errors import ConfigurationError

__all__ = [
    "ColumnEncoding",
    "Linear",
    "Number",
    "Raw",
    "Signal",
    "Unit",
    "as_number",
    "filled",
    "is_missing",
    "scaled",
]

# Kinds of units.
NULL: Final = "null"
CATEGORY: Final = "category"
OTHER: Final = "other"


class Unit(NamedTuple):
    """An indicator: the column is NULL, is a category, or is a category that is not known."""

    column: str
    kind: str
    value: Any = None


@dataclass(frozen=True)
class Raw:
    """A column as it is; NULL stands for `fill`, if that is not None."""

    column: str
    fill: Any = None


@dataclass(frozen=True)
class Number:
    """(value - center) / scale; NULL stands for the value `fill`, if that is not None."""

    column: str
    center: float = 0.0
    scale: float = 1.0
    fill: float | None = None


@dataclass(frozen=True)
class Linear:
    """Indicators times numbers, and a constant.

    `complete` are columns where NULL has no meaning, `known` those where a category that is not known has
    none.
    """

    terms: Mapping[Unit, float] = field(default_factory=dict)
    constant: float = 0.0
    complete: frozenset[str] = frozenset()
    known: frozenset[str] = frozenset()


Signal = Raw | Number | Linear


def is_missing(value: object) -> bool:
    """Whether a value stands for NULL: None, NaN or pandas' NA.

    >>> is_missing(None), is_missing(float("nan")), is_missing(""), is_missing(0)
    (True, True, False, False)
    """
    return value is None or type(value).__name__ in ("NAType", "NaTType") or value != value


def as_number(signal: Signal) -> Number | Linear:
    """A signal where a number is needed."""
    if not isinstance(signal, Raw):
        return signal
    if signal.fill is None:
        return Number(signal.column)
    try:
        return Number(signal.column, fill=float(signal.fill))
    except (TypeError, ValueError):
        raise ConfigurationError(
            f"Column {signal.column!r} is taken as a number, and its NULLs as {signal.fill!r}.",
            hint="Is an encoder missing before the network?",
        ) from None


def scaled(signal: Signal, center: float, scale: float) -> Signal:
    """(signal - center) / scale.

    >>> scaled(Raw("x"), 3.0, 2.0)
    Number(column='x', center=3.0, scale=2.0, fill=None)
    """
    if center == 0.0 and scale == 1.0:
        return signal
    found = as_number(signal)
    if isinstance(found, Number):
        return replace(found, center=found.center + found.scale * center, scale=found.scale * scale)
    terms = {unit: value / scale for unit, value in found.terms.items()}
    return replace(found, terms=terms, constant=(found.constant - center) / scale)


def filled(signal: Signal, value: Any) -> Signal:
    """The signal with a value in the place of NULL."""
    if isinstance(signal, Raw):
        return replace(signal, fill=value) if signal.fill is None else signal
    if isinstance(signal, Number) and signal.fill is None:
        return replace(signal, fill=signal.center + signal.scale * float(value))
    return signal


@dataclass(frozen=True)
class ColumnEncoding:
    """Numbers and indicators of NULL, made of raw columns: each the place of its column, and what it is.

    A part without a fill is the indicator.
    """

    parts: tuple[tuple[int, Number | None], ...]

    def signals(self, given: Sequence[Signal]) -> list[Signal]:
        """The signals that it makes of raw columns."""
        if max(place for place, _ in self.parts) >= len(given):
            raise ConfigurationError(
                f"The network takes more columns than the {len(given)} that are named.",
                hint="Name its features in its order.",
            )
        found: list[Signal] = []
        for place, part in self.parts:
            own = as_number(given[place])
            if not isinstance(own, Number):
                raise ConfigurationError("The ONNX graph is given what another transformer has computed.")
            if part is None:
                found.append(Linear({Unit(own.column, NULL): 1.0}))
            else:
                found.append(Number(own.column, part.center, part.scale, part.fill))
        return found


def columns_of(signals: Sequence[Signal]) -> list[str]:
    """The columns that signals come from, in order of appearance."""
    found: dict[str, None] = {}
    for signal in signals:
        if isinstance(signal, Linear):
            found |= dict.fromkeys(unit.column for unit in signal.terms)
        else:
            found[signal.column] = None
    return list(found)

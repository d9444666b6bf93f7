"""Features: a column with what was learned of it, and the SQL that turns it into numbers.

A unit's expression is a DOUBLE and never NULL, whatever the row holds:

- NULL (and NaN, which counts as NULL) is imputed: the mean for numbers and dates, no category for
  categories; where the training rows had NULLs, an indicator unit says so.
- A number that is infinite or beyond 1e150 becomes the least or greatest one that was seen in training:
  scaled as it is, it could overflow, and an infinite unit makes every prediction NaN.
- Moments are taken in UTC, whatever the connection's time zone; an infinite date counts as NULL.
- A category that was not seen in training sets the "(other)" unit, whose weights start at zero and
  are never trained, so it counts as no category at all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Protocol

from sqlglot import exp

from selectron.engines.base import ColumnKind
from selectron.features.known import ACCEPTED, NUMERIC, Known, is_null
from selectron.sql import case, cast, column, double, number, quotient

__all__ = [
    "BOUND",
    "BooleanFeature",
    "CategoryFeature",
    "EmbeddingFeature",
    "Feature",
    "NumberFeature",
    "TimeFeature",
    "days_since_1970",
]

Expression = exp.Expr

# Numbers beyond it are refused in training, since their squares overflow, and clipped in prediction.
BOUND: Final = 1e150


class Feature(Protocol):
    """A column and how it becomes units."""

    @property
    def column(self) -> str:
        """The column's name."""

    @property
    def accepts(self) -> frozenset[ColumnKind]:
        """Kinds of columns that can stand in for it at prediction."""

    @property
    def kind(self) -> ColumnKind:
        """The kind of an argument of a function that stands for it."""

    @property
    def units(self) -> tuple[str, ...]:
        """A readable name for each unit."""

    def expressions(self) -> tuple[Expression, ...]:
        """A DOUBLE for each unit, over the source table's columns."""


TIMES = frozenset({ColumnKind.DATE, ColumnKind.TIMESTAMP})


def days_since_1970(name: str) -> Expression:
    """A date or timestamp as days in UTC; NULL for infinite ones."""
    # Not cast to a timestamp first: that would take the connection's time zone.
    seconds = cast(exp.Anonymous(this="epoch", expressions=[column(name)]), "double")
    return quotient(seconds, number(86_400.0))


def flag(condition: Expression) -> Expression:
    """1 where a condition holds, 0 elsewhere."""
    return case((condition, number(1.0)), default=number(0.0))


def scaled(value: Expression, center: float, scale: float) -> Expression:
    """(value - center) / scale, leaving out what changes nothing."""
    if center:
        value = exp.paren(exp.Sub(this=value, expression=number(center)), copy=False)
    return quotient(value, number(scale)) if scale != 1.0 else value


class Numeric:
    """What numbers and booleans share: a unit, and one more for NULLs."""

    column: str
    indicator: bool

    @property
    def accepts(self) -> frozenset[ColumnKind]:
        return NUMERIC

    @property
    def units(self) -> tuple[str, ...]:
        return (self.column, f"{self.column} is null") if self.indicator else (self.column,)


@dataclass(frozen=True)
class NumberFeature(Numeric):
    """A number: imputed, infinities brought back into the seen range, scaled.

    >>> NumberFeature("mass", 4.0, 2.0, 4.0, 1.0, 9.0, indicator=True).units
    ('mass', 'mass is null')
    """

    column: str
    center: float
    scale: float
    fill: float
    least: float
    greatest: float
    indicator: bool

    @property
    def kind(self) -> ColumnKind:
        return ColumnKind.NUMBER

    def value(self) -> Expression:
        """The column as a DOUBLE."""
        return double(column(self.column))

    def above(self) -> Expression:
        """Whether it is beyond the bound; NaN is not, though some engines hold it to be the greatest."""
        # Its negative is the greatest there, too.
        return exp.LT(this=exp.Neg(this=self.value()), expression=number(-BOUND))

    def known(self) -> Expression:
        """Whether it is a number: false of NaN, false or NULL of NULL."""
        return exp.Or(this=exp.LTE(this=self.value(), expression=number(BOUND)), expression=self.above())

    def expressions(self) -> tuple[Expression, ...]:
        value, above = self.value, self.above
        bounded = case(
            (exp.Between(this=value(), low=number(-BOUND), high=number(BOUND)), value()),
            (exp.LT(this=value(), expression=number(-BOUND)), number(self.least)),
            (above(), number(self.greatest)),
            default=number(self.fill),
        )
        units = (scaled(bounded, self.center, self.scale),)
        if not self.indicator:
            return units
        return (*units, case((self.known(), number(0.0)), default=number(1.0)))


@dataclass(frozen=True)
class BooleanFeature(Numeric):
    """True is 1, false 0, NULL a half."""

    column: str
    indicator: bool

    @property
    def kind(self) -> ColumnKind:
        return ColumnKind.BOOLEAN

    def expressions(self) -> tuple[Expression, ...]:
        missing = is_null(column(self.column))
        truth = cast(column(self.column), "boolean")
        value = case((missing, number(0.5)), (truth, number(1.0)), default=number(0.0))
        return (value, flag(missing.copy())) if self.indicator else (value,)


@dataclass(frozen=True)
class TimeFeature:
    """A date or timestamp: days since 1970 standardized, and its place in the year, the week and the day.

    Places are a sine and a cosine, so that the last day is next to the first. Timestamps with a time zone
    are taken in UTC.
    """

    column: str
    center: float
    scale: float
    indicator: bool
    hours: bool

    @property
    def accepts(self) -> frozenset[ColumnKind]:
        return TIMES

    @property
    def kind(self) -> ColumnKind:
        return ColumnKind.TIMESTAMP if self.hours else ColumnKind.DATE

    @property
    def cycles(self) -> tuple[tuple[str, str, float], ...]:
        """A name, the field of EXTRACT and the period of each cycle."""
        hours = (("hour", "hour", 24.0),) if self.hours else ()
        return (("year", "doy", 365.25), ("week", "dow", 7.0), *hours)

    @property
    def units(self) -> tuple[str, ...]:
        places = (f"{self.column}: {name} {wave}" for name, *_ in self.cycles for wave in ("sine", "cosine"))
        units = (f"{self.column}: days", *places)
        return (*units, f"{self.column} is null") if self.indicator else units

    def expressions(self) -> tuple[Expression, ...]:
        days = days_since_1970(self.column)
        missing = is_null(days.copy())
        units = [case((missing, number(0.0)), default=scaled(days, self.center, self.scale))]
        microseconds = exp.Anonymous(this="epoch_us", expressions=[column(self.column)])
        moment = exp.Anonymous(this="make_timestamp", expressions=[microseconds])
        for _, field, period in self.cycles:
            extracted = exp.Extract(this=exp.var(field), expression=moment.copy())
            angle = exp.Mul(this=cast(extracted, "double"), expression=number(2 * math.pi / period))
            for wave in ("sin", "cos"):
                place = exp.Anonymous(this=wave, expressions=[angle.copy()])
                units.append(case((missing.copy(), number(0.0)), default=place))
        return (*units, flag(missing.copy())) if self.indicator else tuple(units)


class Categorical:
    """What one-hot and embedded categories share. `kind` is the column's where they were learned."""

    column: str
    categories: tuple[str, ...]
    kind: ColumnKind

    @property
    def accepts(self) -> frozenset[ColumnKind]:
        return ACCEPTED[self.kind]

    @property
    def known(self) -> Known:
        """The categories, to be compared with."""
        return Known(self.column, self.kind, self.categories)


@dataclass(frozen=True)
class CategoryFeature(Categorical):
    """One unit for each category seen in training, one for all others.

    >>> CategoryFeature("island", ("Biscoe", "Dream"), indicator=False).units
    ('island = Biscoe', 'island = Dream', 'island = (other)')
    """

    column: str
    categories: tuple[str, ...]
    indicator: bool
    kind: ColumnKind = ColumnKind.OTHER

    @property
    def units(self) -> tuple[str, ...]:
        named = [f"{self.column} = {category}" for category in self.categories]
        units = (*named, f"{self.column} = (other)")
        return (*units, f"{self.column} is null") if self.indicator else units

    def expressions(self) -> tuple[Expression, ...]:
        known = self.known
        units = [flag(known.equal(place)) for place in range(len(self.categories))]
        if not self.indicator:
            return (*units, case((known.among(), number(0.0)), default=number(1.0)))
        present = known.present()
        if present is not None:
            other = case((known.among(), number(0.0)), (present, number(1.0)), default=number(0.0))
            return (*units, other, case((present.copy(), number(0.0)), default=number(1.0)))
        missing = is_null(column(self.column))
        other = case((exp.Or(this=missing, expression=known.among()), number(0.0)), default=number(1.0))
        return (*units, other, flag(missing.copy()))


@dataclass(frozen=True)
class EmbeddingFeature(Categorical):
    """A category as an index into a table of learned vectors; the last one is for all others and NULL."""

    column: str
    categories: tuple[str, ...]
    dimension: int
    kind: ColumnKind = ColumnKind.OTHER

    @property
    def units(self) -> tuple[str, ...]:
        return ()

    @property
    def entries(self) -> int:
        """How many vectors there are."""
        return len(self.categories) + 1

    def expressions(self) -> tuple[Expression, ...]:
        return ()

    def index(self, place: Expression | None = None) -> Expression:
        """The index of a row's vector, from 0, as a DOUBLE.

        Parameters
        ----------
        place
            The place of the row's category among the known ones, NULL for others, where it is looked up; by
            default a CASE with a branch for each.
        """
        last = number(float(len(self.categories)))
        return self.known.place(last) if place is None else exp.func("coalesce", place, last)

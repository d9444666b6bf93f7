"""Values of a column that are known, and how a row's value is found among them.

They are kept as text, and compared as what they are: numbers as numbers and booleans as truth values, so
that 1, 1.0 and 1.00 are one value, whatever type the column has where the model is used; all others as text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from sqlglot import exp

from selectron.engines.base import Column, ColumnKind
from selectron.sql import MOMENT, call, case, cast, column, double, number, text

__all__ = [
    "ACCEPTED",
    "EXACT",
    "MOMENTS",
    "NUMERIC",
    "UTC",
    "Known",
    "as_text",
    "is_null",
    "is_number",
    "moment_text",
    "numbers_of",
    "text_of",
    "truth_number",
]

Expression = exp.Expr

# Whole numbers from here on are not told apart by DOUBLEs, and stay texts.
EXACT: Final = 2.0**53
TRUTHS: Final = {"true": 1.0, "t": 1.0, "1": 1.0, "false": 0.0, "f": 0.0, "0": 0.0}

NUMERIC: Final = frozenset({ColumnKind.NUMBER, ColumnKind.BOOLEAN})
MOMENTS: Final = frozenset({ColumnKind.DATE, ColumnKind.TIMESTAMP})
DATED: Final = MOMENTS | {ColumnKind.TEXT}
ANY: Final = frozenset(ColumnKind) - {ColumnKind.OTHER, ColumnKind.EMPTY}
# Kinds of columns that can stand in for one of a kind. OTHER is that of a model whose version kept none.
ACCEPTED: Final = {
    ColumnKind.NUMBER: NUMERIC,
    ColumnKind.BOOLEAN: NUMERIC,
    ColumnKind.TEXT: ANY,
    ColumnKind.DATE: DATED,
    ColumnKind.TIMESTAMP: DATED,
    ColumnKind.EMPTY: ANY,
    ColumnKind.OTHER: ANY,
}


# What engines write behind a moment in UTC.
UTC: Final = "+00"


def as_text(name: str) -> Expression:
    """A column's value as text, the form in which categories and classes are kept.

    Of a date or a timestamp, that is a text of the session's: :func:`text_of` is the same for every reader.
    """
    return cast(column(name), "text")


def text_of(own: Column) -> Expression:
    """A column's value as text, the same in every session."""
    return moment_text(column(own.name), own) if own.kind in MOMENTS else as_text(own.name)


def moment_text(value: Expression, own: Column) -> Expression:
    """A moment of a column's type as text in ISO's form: in UTC, if it has a time zone.

    >>> moment_text(column("t"), Column("t", ColumnKind.TIMESTAMP, "TIMESTAMP")).sql()
    'CAST("t" AS TEXT)'
    """
    if not own.is_zoned:
        written = cast(value, "text")
        written.meta[MOMENT] = own.kind
        return written
    plain = exp.AtTimeZone(this=value.copy(), zone=text("UTC"))
    finite = moment_text(plain, Column(own.name, own.kind, own.type))
    marked = exp.DPipe(this=finite, expression=text(UTC))
    return case((call("isfinite", value.copy()), marked), default=cast(value, "text"))


def truth_number(name: str) -> Expression:
    """A column of booleans as 1 and 0; engines differ on whether it can be cast to a number."""
    truth, falsehood = column(name), exp.Not(this=column(name))
    return exp.Case(ifs=[exp.If(this=truth, true=number(1.0)), exp.If(this=falsehood, true=number(0.0))])


def is_null(value: Expression) -> Expression:
    return exp.Is(this=value, expression=exp.Null())


def is_number(value: Expression) -> Expression:
    """Whether a DOUBLE is one: false of NaN, which some engines hold to be the greatest; NULL of NULL."""
    # Its negative is the greatest there, too.
    below = exp.LT(this=exp.Neg(this=value.copy()), expression=number(0.0))
    return exp.Or(this=exp.LTE(this=value, expression=number(0.0)), expression=below)


def numbers_of(kind: ColumnKind, texts: Sequence[str]) -> tuple[float, ...] | None:
    """The numbers by which values are compared; None if they are compared as text.

    >>> numbers_of(ColumnKind.NUMBER, ["0", "1.50"]), numbers_of(ColumnKind.BOOLEAN, ["false", "true"])
    ((0.0, 1.5), (0.0, 1.0))
    >>> numbers_of(ColumnKind.TEXT, ["0", "1"]), numbers_of(ColumnKind.NUMBER, [str(2**53), "0"])
    (None, None)
    """
    if kind is ColumnKind.BOOLEAN:
        found = [TRUTHS.get(known.lower(), math.nan) for known in texts]
    elif kind is ColumnKind.NUMBER:
        found = [as_number(known) for known in texts]
    else:
        return None
    exact = all(abs(value) < EXACT or math.isinf(value) for value in found)
    return tuple(found) if exact and len(set(found)) == len(found) else None


def as_number(known: str) -> float:
    try:
        return float(known)
    except ValueError:
        return math.nan


@dataclass(frozen=True)
class Known:
    """The known values of a column, as text; `kind` is that of the column where they were learned.

    Examples
    --------
    >>> Known("c", ColumnKind.NUMBER, ("0", "1.50")).equal(1).sql()
    'CAST("c" AS DOUBLE) = 1.5e0'
    >>> Known("c", ColumnKind.TEXT, ("0", "1.50")).equal(1).sql()
    'CAST("c" AS TEXT) = \\'1.50\\''
    """

    column: str
    kind: ColumnKind
    texts: tuple[str, ...]

    @cached_property
    def numbers(self) -> tuple[float, ...] | None:
        """The numbers by which they are compared, if they are."""
        return numbers_of(self.kind, self.texts)

    def value(self) -> Expression:
        """A row's value in the form that is compared."""
        if self.numbers is None:
            return as_text(self.column)
        if self.kind is ColumnKind.NUMBER:
            return double(column(self.column))
        truth = cast(column(self.column), "boolean")
        unknown = (is_null(column(self.column)), exp.Null())
        return case(unknown, (truth, number(1.0)), default=number(0.0))

    def literal(self, place: int) -> Expression:
        """A known value in that form."""
        return text(self.texts[place]) if self.numbers is None else number(self.numbers[place])

    def equal(self, place: int) -> Expression:
        """Whether a row has a known value."""
        return exp.EQ(this=self.value(), expression=self.literal(place))

    def among(self) -> Expression:
        """Whether a row has any of them."""
        return exp.In(this=self.value(), expressions=list(map(self.literal, range(len(self.texts)))))

    def present(self) -> Expression | None:
        """Whether a row has a value, where that is more than not to be NULL: NaN is none."""
        if self.numbers is None or self.kind is not ColumnKind.NUMBER:
            return None
        return is_number(self.value())

    def place(self, default: Expression) -> Expression:
        """The place of a row's value among them, from 0, as a DOUBLE."""
        places = range(len(self.texts))
        return case(*((self.equal(place), number(float(place))) for place in places), default=default)

"""What dialects write differently, where sqlglot does not know it; data, one entry for each.

A statement keeps to what every dialect has: arithmetic, CASE, CAST, EXP, LN, SQRT, ABS, FLOOR, the greatest
and the least of two, days between dates, and EXTRACT. Whatever else a network needs is said with these, in
:mod:`selectron.portable.core`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from typing import Final

from sqlglot import exp
from sqlglot.dialects import DIALECTS as DIALECT_CLASSES
from sqlglot.dialects.dialect import Dialect, NormalizationStrategy

from selectron.errors import ConfigurationError
from selectron.sql import call, cast, integer, number, text

__all__ = ["DIALECTS", "Fence", "Writing", "folds_upwards", "writing_of"]

Expression = exp.Expr

# What sqlglot knows besides, and cannot hold such a statement.
NO_SQL: Final = frozenset({"", "dax", "prql", "solr", "tableau"})


def day(value: Expression) -> Expression:
    return exp.cast(value, "date")


def days_between(value: Expression) -> Expression:
    """Days since 1970, as a whole number."""
    start = exp.cast(text("1970-01-01"), "date")
    return exp.DateDiff(this=day(value), expression=start, unit=exp.var("DAY"))


def extracted(field: str, value: Expression) -> Expression:
    """A field of a moment: year, hour, minute or second."""
    moment = day(value) if field == "year" else exp.cast(value, "timestamp")
    return exp.Extract(this=exp.var(field.upper()), expression=moment)


def is_true(value: Expression) -> Expression:
    return cast(value, "boolean")


def is_not_zero(value: Expression) -> Expression:
    """Where booleans are numbers."""
    return exp.NEQ(this=value, expression=integer(0))


def as_text(value: Expression) -> Expression:
    return cast(value, "text")


def collated(name: str) -> Callable[[Expression], Expression]:
    """As text that is compared letter by letter, where comparisons ignore case otherwise."""

    def convert(value: Expression) -> Expression:
        return exp.Collate(this=as_text(value), expression=exp.var(name))

    return convert


def sqlite_field(field: str, value: Expression) -> Expression:
    spelled = {"year": "%Y", "hour": "%H", "minute": "%M", "second": "%S"}[field]
    return cast(call("STRFTIME", text(spelled), value), "int")


def sqlite_days(value: Expression) -> Expression:
    return exp.Sub(this=call("JULIANDAY", call("DATE", value)), expression=number(2440587.5))


def oracle_days(value: Expression) -> Expression:
    start = call("TO_DATE", text("1970-01-01"), text("YYYY-MM-DD"))
    return exp.paren(exp.Sub(this=call("TRUNC", value), expression=start))


def oracle_text(value: Expression) -> Expression:
    return exp.Cast(this=value, to=exp.DataType.build("VARCHAR2(4000)", dialect="oracle"))


class Fence(StrEnum):
    """How a dialect is told to compute a WITH query by itself."""

    NONE = "none"
    MATERIALIZED = "materialized"
    OFFSET = "offset"  # OFFSET 0, which stores nothing
    LIMIT = "limit"  # a LIMIT that limits nothing


@dataclass(frozen=True)
class Writing:
    """How a dialect writes what sqlglot leaves as it is.

    Attributes
    ----------
    greatest, least
        Functions of two numbers.
    days, field, truth, text
        Days since 1970; a field of a moment; whether a boolean is true; a category as text.
    printed_as
        The dialect whose printer is used, where sqlglot's own hands parts of a statement to other printers.
    fence
        What keeps a WITH query from being copied into its readers, where each layer would multiply the work.
    """

    greatest: str = "GREATEST"
    least: str = "LEAST"
    days: Callable[[Expression], Expression] = days_between
    field: Callable[[str, Expression], Expression] = extracted
    truth: Callable[[Expression], Expression] = is_true
    text: Callable[[Expression], Expression] = as_text
    fence: Fence = Fence.NONE
    printed_as: str | None = None


# Dialects that differ; all others write as `Writing()` says.
DIFFERENT: Final[Mapping[str, Writing]] = {
    "athena": Writing(printed_as="trino"),
    "sqlite": Writing("MAX", "MIN", sqlite_days, sqlite_field, is_not_zero, fence=Fence.MATERIALIZED),
    "postgres": Writing(fence=Fence.OFFSET),
    "mysql": Writing(truth=is_not_zero, text=collated("utf8mb4_bin"), fence=Fence.LIMIT),
    "singlestore": Writing(truth=is_not_zero),
    "tsql": Writing(truth=is_not_zero, text=collated("Latin1_General_BIN2")),
    "fabric": Writing(truth=is_not_zero, text=collated("Latin1_General_100_BIN2_UTF8")),
    "oracle": Writing(days=oracle_days, truth=is_not_zero, text=oracle_text),
}

DIALECTS: Final = tuple(sorted({name.lower() for name in DIALECT_CLASSES} - NO_SQL))


def writing_of(dialect: str) -> Writing:
    """How a dialect writes.

    Raises
    ------
    ConfigurationError
        If there is none of that name.

    Examples
    --------
    >>> writing_of("sqlite").greatest, writing_of("snowflake").greatest
    ('MAX', 'GREATEST')
    """
    if dialect not in DIALECTS:
        near = get_close_matches(dialect, DIALECTS, 1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Use one of {', '.join(DIALECTS)}."
        raise ConfigurationError(f"There is no dialect {dialect!r}.", hint=hint)
    return DIFFERENT.get(dialect, Writing())


def folds_upwards(dialect: str) -> bool:
    """Whether names that are not quoted become upper case, as in Snowflake and Oracle."""
    strategy = Dialect.get_or_raise(dialect).normalization_strategy
    return strategy is NormalizationStrategy.UPPERCASE

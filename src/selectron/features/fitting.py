"""Another relation's columns as those that a model learned of: a number where it knows numbers, and so on.

A column that was whole numbers in training may be floating-point ones in a data frame (NULL makes pandas turn
them), a date may be a timestamp at midnight, a boolean 0 or 1. Most such columns need nothing, since numbers
are compared as numbers; where the kinds differ, the relation is read through a query that converts them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlglot import exp

from selectron.engines.base import Column, ColumnKind, Relation
from selectron.features.encoding import Encoding, found_columns
from selectron.features.kinds import BooleanFeature
from selectron.features.known import EXACT, UTC, Known, is_number, text_of, truth_number
from selectron.features.rows import RESERVED
from selectron.sql import case, cast, column, double, number, text

__all__ = ["Fitted", "argument", "fitted", "fitted_beside", "read_as"]

Expression = exp.Expr

MIDNIGHT: Final = " 00:00:00"
# As engines spell it, that of UTC too.
MIDNIGHTS: Final = (MIDNIGHT, "T00:00:00", f"{MIDNIGHT}{UTC}")
# A moment's text that says its time zone.
IN_ZONE: Final = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(\.\d+)?([+-])(\d\d)(?::(\d\d))?")
DAY: Final = 10
# What a column that is NULL without a type is read as.
TYPES: Final = {
    ColumnKind.NUMBER: "double",
    ColumnKind.BOOLEAN: "boolean",
    ColumnKind.DATE: "date",
    ColumnKind.TIMESTAMP: "timestamp",
    ColumnKind.TEXT: "text",
    ColumnKind.EMPTY: "text",
    ColumnKind.OTHER: "text",
}


@dataclass(frozen=True)
class Fitted:
    """A relation as the model reads it; `own` are the names of converted columns' original values."""

    relation: Relation
    own: Mapping[str, str]


def fitted(relation: Relation, columns: Sequence[Column], encoding: Encoding, *, target: bool) -> Relation:
    """A relation as a model reads it.

    Raises
    ------
    ColumnError
        If it lacks a column that the model needs, or one is of a kind that does not fit.
    """
    encoding.check(columns, relation.label, target=target)
    changes = conversions(columns, encoding, target=target)
    return queried(relation, columns, changes) if changes else relation


def fitted_beside(relation: Relation, columns: Sequence[Column], encoding: Encoding) -> Fitted:
    """Likewise, with the original values of converted columns under names of ours."""
    encoding.check(columns, relation.label, target=False)
    changes = conversions(columns, encoding, target=False)
    if not changes:
        return Fitted(relation, {})
    known = {column.name for column in columns}
    own = {name: f"{RESERVED}own_{place}" for place, name in enumerate(changes) if name in known}
    kept = [exp.alias_(column(name), new, quoted=True) for name, new in own.items()]
    return Fitted(queried(relation, columns, changes, kept), own)


def queried(
    relation: Relation,
    columns: Sequence[Column],
    changes: Mapping[str, Expression],
    kept: Sequence[Expression] = (),
) -> Relation:
    """The relation through a query that converts some columns, and adds those that it does not have."""
    values = [
        exp.alias_(changes[own.name], own.name, quoted=True) if own.name in changes else column(own.name)
        for own in columns
    ]
    known = {own.name for own in columns}
    added = [exp.alias_(value, name, quoted=True) for name, value in changes.items() if name not in known]
    query = exp.Select(expressions=[*values, *added, *kept]).from_(relation.source.copy(), copy=False)
    return Relation(query.subquery("fitted", copy=False), relation.label)


def conversions(columns: Sequence[Column], encoding: Encoding, *, target: bool) -> dict[str, Expression]:
    """The columns of other kinds than those that were learned of, converted.

    Where case tells names apart, a column of another case is there under the model's name, too.
    """
    parts: list[tuple[str, Any]] = [(feature.column, feature) for feature in encoding.features]
    if target:
        parts += [(name, encoding.target) for name in encoding.target.columns]
    found = found_columns(columns, [name for name, _ in parts])
    changes: dict[str, Expression] = {}
    for name, part in parts:
        own = found[name]
        if own is None or own.name in changes:
            continue
        value = converted(own, part)
        if own.is_exact and own.name != name:
            changes[name] = column(own.name) if value is None else value
        elif value is not None:
            changes[own.name] = value
    return changes


def converted(own: Column, part: Any) -> Expression | None:
    """A column as a feature or a target reads it, if that is another value."""
    if own.kind is ColumnKind.EMPTY:
        return cast(exp.Null(), TYPES[getattr(part, "kind", ColumnKind.NUMBER)])
    known = getattr(part, "known", None)
    if isinstance(known, Known):
        convert = CONVERSIONS.get((known.kind, own.kind))
        return convert(own, known.texts) if convert is not None else None
    if own.kind is ColumnKind.BOOLEAN and not isinstance(part, BooleanFeature):
        return truth_number(own.name)
    if own.kind is ColumnKind.NUMBER and isinstance(part, BooleanFeature):
        return from_number(own, ())
    return None


def read_as(relation: Relation, columns: Sequence[Column], kinds: Mapping[str, ColumnKind]) -> Relation:
    """A relation some of whose columns are read as of other kinds: booleans as numbers, moments as texts.

    Of moments, `kinds` has what they are: their texts are those of that kind. Columns that are not there are
    passed over.
    """
    changes: dict[str, Expression] = {}
    for name, own in found_columns(columns, kinds).items():
        convert = None if own is None else CONVERSIONS.get((kinds[name], own.kind))
        if own is not None and convert is not None:
            changes[own.name] = convert(own, ())
    return queried(relation, columns, changes) if changes else relation


def argument(feature: Any, name: str) -> Expression | None:
    """The argument of a function that stands for a feature, as the feature reads it, if that is another."""
    own = Column(name, feature.kind, "")
    value = converted(own, feature)
    if (
        value is not None
        and own.kind is ColumnKind.TIMESTAMP
        and any(map(IN_ZONE.fullmatch, feature.known.texts))
    ):
        # It has no time zone where arguments have types.
        is_marked = exp.Like(this=value, expression=text(f"%{UTC}"))
        marked = exp.DPipe(this=value.copy(), expression=text(UTC))
        return case((is_marked, value.copy()), default=marked)
    return value


def from_boolean(own: Column, known: Sequence[str]) -> Expression:
    return truth_number(own.name)


def from_number(own: Column, known: Sequence[str]) -> Expression:
    """For truth values: 0 is false, NaN is none. Not by a cast, which not every engine has."""
    value = double(column(own.name))
    falsehood = (exp.EQ(this=value, expression=number(0.0)), exp.false())
    return case(falsehood, (is_number(value.copy()), exp.true()), default=exp.Null())


def number_text(own: Column, known: Sequence[str]) -> Expression:
    """Numbers as the known texts spell them: whole ones without a fraction, unless these have one."""
    value = double(column(own.name))
    integral = cast(value.copy(), "bigint")
    small = exp.LT(this=exp.Abs(this=value.copy()), expression=number(EXACT))
    whole = exp.EQ(this=double(integral.copy()), expression=value.copy())
    spelled: Expression = cast(integral, "text")
    if any(re.fullmatch(r"-?\d+\.0", one) for one in known):
        spelled = exp.DPipe(this=spelled, expression=text(".0"))
    written = case((whole, spelled), default=cast(value.copy(), "text"))
    # A whole number beyond is as the column has it.
    return case((small, written), (is_number(value), text_of(own)), default=exp.Null())


def own_text(own: Column, known: Sequence[str]) -> Expression:
    """Moments as their text, the same in every session."""
    value = text_of(own)
    if not own.is_zoned:
        return value
    # Once, those with a time zone were kept as the zone of the training session had it.
    elsewhere = [(one, in_utc(one)) for one in known if in_utc(one) != one]
    same = [(exp.EQ(this=value.copy(), expression=text(utc)), text(one)) for one, utc in elsewhere]
    return case(*same, default=value) if same else value


def day_text(own: Column, known: Sequence[str]) -> Expression:
    """Moments at midnight as their date; others are no date that is known."""
    value = text_of(own)
    rest = exp.Substring(this=value.copy(), start=exp.Literal.number(DAY + 1))
    midnight = exp.In(this=rest, expressions=[text(one) for one in MIDNIGHTS])
    day = exp.Substring(this=value.copy(), start=exp.Literal.number(1), length=exp.Literal.number(DAY))
    return case((midnight, day), default=value)


def moment_from_day(own: Column, known: Sequence[str]) -> Expression:
    """Dates as moments at midnight."""
    value = text_of(own)
    is_day = exp.EQ(this=exp.Length(this=value.copy()), expression=exp.Literal.number(DAY))
    return case((is_day, exp.DPipe(this=value.copy(), expression=text(MIDNIGHT))), default=value)


def moment_or_day_text(own: Column, known: Sequence[str]) -> Expression:
    """Moments as the known texts spell them."""
    return own_text(own, known) if any(one.endswith(MIDNIGHT) for one in known) else day_text(own, known)


def in_utc(known: str) -> str:
    """A moment's text with that of UTC in the place of another time zone.

    >>> in_utc("2026-01-01 01:30:00.5+05:30"), in_utc("2026-01-01 01:30:00")
    ('2025-12-31 20:00:00.5+00', '2026-01-01 01:30:00')
    """
    found = IN_ZONE.fullmatch(known)
    if found is None:
        return known
    second, fraction, sign, hours, minutes = found.groups(default="")
    ahead = timedelta(hours=int(hours), minutes=int(minutes or 0))
    try:
        there = datetime.fromisoformat(second)
        utc = there + ahead if sign == "-" else there - ahead
    except (ValueError, OverflowError):
        # No day that Python's calendar has.
        return known
    return f"{utc.isoformat(sep=' ')}{fraction}{UTC}"


# By what was learned of, and what there is. What is not here needs none, or is refused.
CONVERSIONS: Final = {
    (ColumnKind.NUMBER, ColumnKind.BOOLEAN): from_boolean,
    (ColumnKind.BOOLEAN, ColumnKind.NUMBER): from_number,
    (ColumnKind.TEXT, ColumnKind.NUMBER): number_text,
    (ColumnKind.TEXT, ColumnKind.DATE): own_text,
    (ColumnKind.TEXT, ColumnKind.TIMESTAMP): moment_or_day_text,
    (ColumnKind.DATE, ColumnKind.DATE): own_text,
    (ColumnKind.DATE, ColumnKind.TIMESTAMP): day_text,
    (ColumnKind.DATE, ColumnKind.TEXT): day_text,
    (ColumnKind.TIMESTAMP, ColumnKind.TIMESTAMP): own_text,
    (ColumnKind.TIMESTAMP, ColumnKind.DATE): moment_from_day,
    (ColumnKind.TIMESTAMP, ColumnKind.TEXT): moment_from_day,
    (ColumnKind.OTHER, ColumnKind.DATE): own_text,
    (ColumnKind.OTHER, ColumnKind.TIMESTAMP): own_text,
}

"""Embedded categories found in the tables of the model, where they are many.

Written down, they are a branch of a CASE for each: of thousands, every row tries thousands, and the
statement is hundreds of kilobytes. Here a row's category is looked up, whatever their number. Each way to do
so is an expression over the row alone, not a join, so that rows keep their order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from sqlglot import exp

from selectron.engines.base import Lookup
from selectron.features.kinds import EmbeddingFeature
from selectron.features.known import Known
from selectron.sql import call, cast, column, double, integer, number, quoted, text

__all__ = ["ITEM", "LEAST", "TEXT", "Directory"]

Expression = exp.Expr

# From how many categories on they are looked up.
LEAST: Final = 64
# The columns of the stored categories.
TEXT: Final = "text"
ITEM: Final = "item"
# Names that no column of the user's has, since some of these queries read the row that they are part of.
STORED: Final = "selectron_stored"
KNOWN: Final = "selectron_known"
PLACE: Final = "selectron_place"
BUCKET: Final = "selectron_bucket"


@dataclass(frozen=True)
class Directory:
    """Where a model's categories are stored, and how an engine looks them up.

    Attributes
    ----------
    lookup
        How.
    stored
        A query of the categories of the feature at a position: ``text``, and ``item``, from 0.
    """

    lookup: Lookup
    stored: Callable[[int], exp.Query]

    def place(self, position: int, feature: EmbeddingFeature) -> Expression | None:
        """The place of a row's category, NULL for others; None if they are to be written down."""
        find = WAYS.get(self.lookup)
        if find is None or len(feature.categories) < LEAST:
            return None
        known = feature.known
        sought = Sought(known.value(), known.numbers is not None, len(known.texts))
        return find(sought, entries(known, self.stored(position)))

    def vector(
        self, index: str, feature: EmbeddingFeature, matrix: Callable[[], exp.Select]
    ) -> list[Expression] | None:
        """The numbers of the vector that a column of indices names; None if all are to be written down.

        Parameters
        ----------
        index
            The column.
        matrix
            Gives a query of the vectors: ``row``, ``col`` and ``value``.
        """
        find = WAYS.get(self.lookup)
        if find is None or len(feature.categories) < LEAST:
            return None

        def found(dimension: int) -> exp.Select:
            own = matrix().where(exp.EQ(this=column("col"), expression=integer(dimension)), copy=False)
            return exp.Select(
                expressions=[
                    exp.alias_(double(column("row", STORED)), KNOWN, quoted=True),
                    exp.alias_(column("value", STORED), PLACE, quoted=True),
                ]
            ).from_(own.subquery(quoted(STORED), copy=False), copy=False)

        return [
            find(Sought(column(index), True, feature.entries), found(dimension))
            for dimension in range(feature.dimension)
        ]


@dataclass(frozen=True)
class Sought:
    """What is looked up: a row's value, whether it is a number, and among how many."""

    value: Expression
    is_number: bool
    count: int


def entries(known: Known, stored: exp.Query) -> exp.Select:
    """A row for each known value, in the form that is compared, with its place."""
    of_text: Expression = column(TEXT, STORED)
    source: exp.Subquery | exp.Values = exp.Subquery(this=stored, alias=exp.TableAlias(this=quoted(STORED)))
    if known.numbers is not None:
        of_text = double(of_text)
        if not all(value.is_integer() for value in known.numbers):
            # Engines read fractions and infinities in ways of their own.
            source, of_text = written(known), column(TEXT, STORED)
    return exp.Select(
        expressions=[
            exp.alias_(of_text, KNOWN, quoted=True),
            exp.alias_(double(column(ITEM, STORED)), PLACE, quoted=True),
        ]
    ).from_(source, copy=False)


def written(known: Known) -> exp.Values:
    """The known values as literals."""
    tuples = [exp.Tuple(expressions=[known.literal(k), integer(k)]) for k in range(len(known.texts))]
    alias = exp.TableAlias(this=quoted(STORED), columns=[quoted(TEXT), quoted(ITEM)])
    return exp.Values(expressions=tuples, alias=alias)


def by_subquery(sought: Sought, found: exp.Select) -> Expression:
    """By a query for each row; kept as a table, what it reads is indexed on the first of them."""
    same = exp.EQ(this=sought.value.copy(), expression=column(KNOWN, STORED))
    query = exp.select(column(PLACE, STORED)).from_(exp.table_(STORED, quoted=True)).where(same)
    return exp.Subquery(
        this=query.with_(exp.TableAlias(this=quoted(STORED)), found, materialized=True, copy=False)
    )


def by_object(sought: Sought, found: exp.Select) -> Expression:
    """By a JSON object that is made once, with the categories as its sorted keys."""

    def key(value: Expression) -> Expression:
        """A number's bytes, so that nothing depends on how numbers are spelt; -0 is 0."""
        if not sought.is_number:
            return value
        return call("encode", call("float8send", positive(value)), text("hex"))

    made = call("jsonb_object_agg", key(column(KNOWN, STORED)), column(PLACE, STORED))
    whole = exp.select(made).from_(found.subquery(quoted(STORED), copy=False), copy=False)
    return double(call("jsonb_object_field_text", exp.Subquery(this=whole), key(sought.value.copy())))


def by_buckets(sought: Sought, found: exp.Select) -> Expression:
    """By a list of lists that is made once: a row looks through the one that a hash of its value names."""
    count = 1 << sought.count.bit_length()

    def bucket(value: Expression) -> Expression:
        """From 1. Values that are equal in any collation share one."""
        plain = positive(value) if sought.is_number else call("lower", call("strip_accents", value))
        hashed = exp.Mod(this=call("hash", plain), expression=integer(count))
        return exp.Add(this=cast(hashed, "bigint"), expression=integer(1))

    def field(value: Expression, name: str) -> Expression:
        return exp.Dot(this=value, expression=quoted(name))

    pair = exp.Struct(
        expressions=[
            exp.PropertyEQ(this=quoted(name), expression=column(name, STORED)) for name in (KNOWN, PLACE)
        ]
    )
    numbers = call("unnest", call("range", integer(1), integer(count + 1)))
    buckets = exp.select(exp.alias_(numbers, BUCKET, quoted=True)).subquery("buckets")
    here = exp.EQ(this=bucket(column(KNOWN, STORED)), expression=column(BUCKET, "buckets"))
    each = exp.select(column(BUCKET, "buckets"), exp.alias_(listed(pair, PLACE), STORED, quoted=True))
    each = each.from_(buckets, copy=False)
    each = each.join(found.subquery(quoted(STORED), copy=False), on=here, join_type="left", copy=False)
    each = each.group_by(column(BUCKET, "buckets"), copy=False)
    lists = exp.select(listed(column(STORED), BUCKET)).from_(each.subquery("filled", copy=False), copy=False)
    own = exp.Bracket(this=exp.Subquery(this=lists), expressions=[bucket(sought.value.copy())], offset=1)
    entry = quoted("entry")
    same = exp.EQ(this=sought.value.copy(), expression=field(entry, KNOWN))
    matching = call("list_filter", own, exp.Lambda(this=same, expressions=[entry.copy()]))
    return field(exp.Bracket(this=matching, expressions=[integer(1)], offset=1), PLACE)


def listed(value: Expression, order: str) -> Expression:
    ordered = exp.Ordered(this=column(order), nulls_first=False)
    return exp.ArrayAgg(this=exp.Order(this=value, expressions=[ordered]))


def positive(value: Expression) -> Expression:
    """A number, 0 for -0."""
    return exp.Add(this=value, expression=number(0.0))


WAYS: Final[Mapping[Lookup, Callable[[Sought, exp.Select], Expression]]] = {
    Lookup.SUBQUERY: by_subquery,
    Lookup.OBJECT: by_object,
    Lookup.BUCKETS: by_buckets,
}

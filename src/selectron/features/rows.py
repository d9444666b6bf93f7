"""Which rows train, which are held out, and in what order: decided once, by a portable hash.

Every usable row gets a number, the number a hash that depends on the seed, and the hash an order.
The first rows in that order are held out, the others are cut into batches. The hash is made of
integer products modulo a prime, so that every engine gives the same order for the same rows in the
same order; DuckDB keeps a table's insertion order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from sqlglot import exp

from selectron.engines.base import Relation
from selectron.program.operations import MODULUS, Array
from selectron.sql import cast, column, integer

__all__ = [
    "HELD_OUT",
    "POSITION",
    "RESERVED",
    "ROW",
    "Split",
    "Steps",
    "add_hash",
    "arranged_rows",
    "shuffled",
    "usable",
]

HELD_OUT: Final = "selectron_held_out"
POSITION: Final = "selectron_position"
ROW: Final = "selectron_row"
RANK: Final = "selectron_rank"
HASH: Final = "selectron_hash"
SQUARE: Final = "selectron_square"
# No column of the user's that takes part may begin so.
RESERVED: Final = "selectron_"

# Added between rounds so that zero does not stay zero; any constants do.
ADDENDS: Final = (1_013_904_223, 1_664_525, 12_345)


@dataclass(frozen=True)
class Split:
    """Which rows are held out: the first `held_out` in the shuffled order, those that a column marks, or
    those of a second relation."""

    seed: int
    held_out: int = 0
    column: str | None = None
    relation: Relation | None = None


def shuffled(rows: int, seed: int) -> Array:
    """The numbers of `rows` rows in shuffled order: what the SQL does, in NumPy.

    >>> sorted(shuffled(5, seed=1).tolist())
    [1, 2, 3, 4, 5]
    """
    numbers = np.arange(1, rows + 1, dtype=np.int64)
    state = (numbers + seed % MODULUS) % MODULUS
    for addend in ADDENDS:
        square = state * state % MODULUS
        state = (square * square % MODULUS * state + addend) % MODULUS
    order: Array = numbers[np.lexsort((numbers, state))]
    return order


def arranged_rows(
    relation: Relation, columns: Sequence[str], required: Sequence[str], split: Split
) -> exp.Select:
    """The usable rows of a relation with ``selectron_held_out`` and ``selectron_position``.

    Parameters
    ----------
    relation
        The rows.
    columns
        The columns that are needed of it.
    required
        Columns that must not be NULL: rows where one is are left out.
    split
        Which rows are held out.

    Returns
    -------
    exp.Select
        `columns`, whether the row is held out, and its place (from 0) among the rows that share that.
    """
    place: exp.Expr
    query = usable(relation, columns, required)
    if split.relation is not None:
        own = query.select(exp.alias_(exp.false(), HELD_OUT, quoted=True))
        held = usable(split.relation, columns, required).select(exp.alias_(exp.true(), HELD_OUT, quoted=True))
        both = exp.Subquery(this=exp.union(own, held, distinct=False), alias=exp.TableAlias(this="either"))
        query = exp.select("*").from_(both, copy=False)
    steps = Steps([query])
    steps.add(ROW, exp.Window(this=exp.RowNumber()))
    start = exp.Add(this=column(ROW), expression=integer(split.seed % MODULUS))
    steps.add(RANK, numbered(add_hash(steps, start), column(ROW)))
    if split.relation is not None or split.column is not None:
        if split.column is not None:
            marked = cast(column(split.column), "boolean")
            steps.add(HELD_OUT, exp.func("coalesce", marked, exp.false()))
        place = numbered(column(RANK), partition=column(HELD_OUT))
    else:
        first = integer(split.held_out)
        steps.add(HELD_OUT, exp.LTE(this=column(RANK), expression=first))
        after = exp.Sub(this=column(RANK), expression=first.copy())
        place = exp.Case(ifs=[exp.If(this=column(HELD_OUT), true=column(RANK))], default=after)
    steps.add(POSITION, exp.Sub(this=place, expression=integer(1)))
    return steps.last([*(column(name) for name in columns), column(HELD_OUT), column(POSITION)])


def add_hash(steps: Steps, start: exp.Expr) -> exp.Expr:
    """Add columns for a hash of `start`, a number of 0 or more; return the one that holds it."""
    steps.add(f"{HASH}_0", modulo(start))
    for round_, addend in enumerate(ADDENDS):
        state = column(f"{HASH}_{round_}")
        steps.add(f"{SQUARE}_{round_}", modulo(exp.Mul(this=state, expression=state.copy())))
        square = column(f"{SQUARE}_{round_}")
        fourth = exp.paren(modulo(exp.Mul(this=square, expression=square.copy())))
        fifth = exp.Mul(this=fourth, expression=state.copy())
        steps.add(f"{HASH}_{round_ + 1}", modulo(exp.Add(this=fifth, expression=integer(addend))))
    return column(f"{HASH}_{len(ADDENDS)}")


@dataclass
class Steps:
    """Named queries, each adding a column to the one before: nested, they are too deep for some parsers."""

    queries: list[exp.Select]

    def add(self, name: str, value: exp.Expr) -> None:
        """One more column, made of those before."""
        self.queries.append(self.over([exp.Star(), exp.alias_(value, name, quoted=True)]))

    def join(self, other: exp.Select, on: exp.Expr | None = None) -> None:
        """Join each row of another query to those before, or those for which a condition holds."""
        joined = exp.Join(this=other.subquery(f"joined_{len(self.queries)}"), on=on)
        if on is None:
            joined.set("kind", "CROSS")
        query = self.over([exp.Star()])
        query.append("joins", joined)
        self.queries.append(query)

    def last(self, columns: Sequence[exp.Expr]) -> exp.Select:
        """A query of the columns."""
        query = self.over(columns)
        ctes = [exp.CTE(this=own, alias=alias_of(place)) for place, own in enumerate(self.queries)]
        query.set("with_", exp.With(expressions=ctes))
        return query

    def over(self, columns: Sequence[exp.Expr]) -> exp.Select:
        before = exp.Table(this=alias_of(len(self.queries) - 1).this)
        return exp.Select(expressions=list(columns), from_=exp.From(this=before))


def alias_of(place: int) -> exp.TableAlias:
    return exp.TableAlias(this=exp.to_identifier(f"selectron_rows_{place}", quoted=True))


def usable(relation: Relation, columns: Sequence[str], required: Sequence[str]) -> exp.Select:
    """The needed columns of the rows where nothing that is required is NULL."""
    query = exp.select(*(column(name) for name in columns)).from_(relation.source.copy())
    present = [
        exp.Not(this=exp.Is(this=column(name), expression=exp.Null())) for name in dict.fromkeys(required)
    ]
    return query.where(*present) if present else query


def numbered(*order: exp.Expr, partition: exp.Expr | None = None) -> exp.Expr:
    """ROW_NUMBER() in an order."""
    ordering = exp.Order(expressions=[exp.Ordered(this=key, nulls_first=False) for key in order])
    window = exp.Window(this=exp.RowNumber(), order=ordering)
    if partition is not None:
        window.set("partition_by", [partition])
    return window


def modulo(value: exp.Expr) -> exp.Expr:
    return exp.Mod(this=exp.paren(value), expression=integer(MODULUS))

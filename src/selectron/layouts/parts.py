"""Batches in parts: relations that an engine can work on side by side, and what their sums add up to.

Each part of a batch has its own chain of queries, so that cores share them. How rows fall into
parts, and the order in which the parts' sums are added, are fixed: the same rows give the same numbers, bit
for bit, whichever part is done first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlglot import exp

from selectron.layouts.base import BatchPlan, last_batch
from selectron.sql import balanced, case, column, integer, number

__all__ = ["added", "apart", "first_row", "part_of", "rows_of_batch", "totals"]

Expression = exp.Expr


def apart(name: str, parts: int) -> list[str]:
    """What a relation is called in each part; its own name where there is one part only.

    >>> apart("rows_0", 2), apart("rows_0", 1)
    (['rows_0_part_1', 'rows_0_part_2'], ['rows_0'])
    """
    return [name] if parts == 1 else [f"{name}_part_{part + 1}" for part in range(parts)]


def rows_of_batch(plan: BatchPlan, held_out: str, position: str) -> Expression:
    """How many rows the batch of a row has.

    >>> rows_of_batch(BatchPlan(1000, 0, 100), "held", "position").sql("duckdb")
    '100'
    """
    number_ = exp.IntDiv(this=column(position), expression=integer(plan.size))

    def rows(count: int) -> Expression:
        last = last_batch(count, plan.size)
        if last == plan.size:
            return integer(plan.size)
        is_last = exp.EQ(this=number_.copy(), expression=integer((count - 1) // plan.size))
        return case((is_last, integer(last)), default=integer(plan.size))

    training, held = rows(plan.training_rows), rows(plan.held_out_rows)
    return training if training == held else case((column(held_out), held), default=training)


def part_of(plan: BatchPlan, held_out: str, position: str, parts: int) -> Expression:
    """The part of its batch that a row is in, from 0: rows that follow each other are together.

    >>> part_of(BatchPlan(1000, 0, 100), "held", "position", 4).sql("duckdb")
    '("position" % 100) * 4 // 100'
    """
    place = exp.Mod(this=column(position), expression=integer(plan.size))
    scaled = exp.Mul(this=exp.paren(place, copy=False), expression=integer(parts))
    return exp.IntDiv(this=scaled, expression=rows_of_batch(plan, held_out, position))


def first_row(plan: BatchPlan, held_out: str, position: str, parts: int) -> Expression:
    """The place in its batch, from 0, of the first row of the part that a row is in.

    >>> first_row(BatchPlan(1000, 0, 100), "held", "position", 3).sql("duckdb")
    '(100 * (("position" % 100) * 3 // 100) + 2) // 3'
    """
    rows = rows_of_batch(plan, held_out, position)
    part = exp.paren(part_of(plan, held_out, position, parts), copy=False)
    before = exp.Add(this=exp.Mul(this=rows, expression=part), expression=integer(parts - 1))
    return exp.IntDiv(this=exp.paren(before, copy=False), expression=integer(parts))


def totals(columns: Iterable[tuple[str, Expression]], names: Sequence[str]) -> exp.Select:
    """A row of values over relations of one row each, of these names.

    >>> totals([("s", column("s", "a"))], ["a", "b"]).sql("duckdb")
    'SELECT "a"."s" AS "s" FROM "a" CROSS JOIN "b"'
    """
    first, *others = (exp.table_(name, quoted=True) for name in names)
    query = exp.select(*(exp.alias_(value, name, quoted=True) for name, value in columns)).from_(first)
    for other in others:
        query = query.join(other, join_type="cross")
    return query


def added(name: str, value: Expression, names: Sequence[str]) -> Expression:
    """An aggregate over all rows from those of the parts; a part without rows has no sum.

    >>> added("s", exp.Sum(this=column("x")), ["a", "b"]).sql("duckdb")
    'COALESCE("a"."s", 0.0e0) + COALESCE("b"."s", 0.0e0)'
    """
    own = [column(name, relation) for relation in names]
    if isinstance(value, exp.Max):
        return exp.Anonymous(this="greatest", expressions=own)
    return balanced([exp.func("coalesce", part, number(0.0)) for part in own])

"""Batches in parts: relations that an engine can work on side by side, and what their sums add up to.

Each part of a batch has its own chain of queries, so that it runs on a core of its own. How rows fall into
parts, and the order in which the parts' sums are added, are fixed: the same rows give the same numbers, bit
for bit, whichever part is done first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlglot import exp

from selectron.layouts.base import BatchPlan
from selectron.sql import balanced, column, integer, number

__all__ = ["apart", "in_part", "totals"]

Expression = exp.Expr


def apart(name: str, parts: int) -> list[str]:
    """What a relation is called in each part; its own name where there is one part only.

    >>> apart("rows_0", 2), apart("rows_0", 1)
    (['rows_0_part_1', 'rows_0_part_2'], ['rows_0'])
    """
    return [name] if parts == 1 else [f"{name}_part_{part + 1}" for part in range(parts)]


def in_part(position: str, plan: BatchPlan, part: int, parts: int) -> Expression:
    """Whether a row is of a part of its batch: rows that follow each other are together.

    >>> in_part("position", BatchPlan(1000, 0, 100), 1, 4).sql("duckdb")
    '("position" % 100) * 4 // 100 = 1'
    """
    place = exp.Mod(this=column(position), expression=integer(plan.size))
    scaled = exp.Mul(this=exp.paren(place, copy=False), expression=integer(parts))
    return exp.EQ(this=exp.IntDiv(this=scaled, expression=integer(plan.size)), expression=integer(part))


def totals(columns: Iterable[tuple[str, Expression]], names: Sequence[str]) -> exp.Select:
    """Aggregates over all rows from those of the parts, relations of these names.

    A part without rows has no sum.

    >>> total = totals([("s", exp.Sum(this=column("x")))], ["sums_part_1", "sums_part_2"])
    >>> total.expressions[0].sql("duckdb")
    'COALESCE("sums_part_1"."s", 0.0e0) + COALESCE("sums_part_2"."s", 0.0e0) AS "s"'
    """
    first, *others = (exp.table_(name, quoted=True) for name in names)
    query = exp.select(
        *(exp.alias_(added(name, value, names), name, quoted=True) for name, value in columns)
    ).from_(first)
    for other in others:
        query = query.join(other, join_type="cross")
    return query


def added(name: str, value: Expression, names: Sequence[str]) -> Expression:
    """An aggregate over all parts."""
    own = [column(name, relation) for relation in names]
    if isinstance(value, exp.Max):
        return exp.Anonymous(this="greatest", expressions=own)
    return balanced([exp.func("coalesce", part, number(0.0)) for part in own])

"""Batches for the `arrays` layout: one row for each batch, its rows as lists."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from selectron.layouts.arrays import BY_UNITS, input_column
from selectron.layouts.base import BatchColumns, BatchPlan, numbered_batches
from selectron.program.tensor import BATCH
from selectron.sql import column, integer, number

__all__ = ["batches_query"]

Expression = exp.Expr


def batches_query(
    rows: exp.Table | exp.Subquery, columns: BatchColumns, plan: BatchPlan, *, held_out: str, position: str
) -> exp.Select:
    """A row for each batch: ``batch``, ``is_training``, ``ends_epoch`` and the program's inputs.

    Parameters
    ----------
    rows
        The rows, with the columns that `columns` reads.
    held_out, position
        Columns that say whether a row is held out, and its place among the rows that share that.
    """
    batch, _, is_training = numbered_batches(plan, held_out=held_out, position=position)
    values = columns.tensors
    row = exp.select(
        exp.alias_(batch, "batch", quoted=True),
        exp.alias_(is_training, "is_training", quoted=True),
        column(position),
        *(exp.alias_(value_of(units), name, quoted=True) for name, units in values.items()),
    ).from_(rows, copy=False)

    gathered = exp.select(
        column("batch"),
        exp.alias_(exp.AnyValue(this=column("is_training")), "is_training", quoted=True),
        *(exp.alias_(listed(name, position), name, quoted=True) for name in values),
    )
    gathered = gathered.from_(row.subquery("encoded", copy=False), copy=False)
    gathered = gathered.group_by(column("batch"), copy=False)

    last = exp.EQ(this=column("batch"), expression=integer(plan.per_epoch - 1))
    ends = exp.Case(ifs=[exp.If(this=last, true=number(1.0))], default=number(0.0))
    by_unit = [
        exp.alias_(
            transposed(name, len(units)), input_column(name, (BATCH, len(units)), BY_UNITS), quoted=True
        )
        for name, units in values.items()
        if len(units) > 1
    ]
    whole = exp.select(
        column("batch"),
        column("is_training"),
        exp.alias_(ends, "ends_epoch", quoted=True),
        *(column(name) for name in values),
        *by_unit,
    )
    return whole.from_(gathered.subquery("gathered", copy=False), copy=False)


def value_of(units: Sequence[Expression]) -> Expression:
    """A row's part of a tensor: a list of its units, or the number if there is one."""
    return units[0] if len(units) == 1 else exp.Array(expressions=list(units))


def listed(name: str, position: str) -> Expression:
    """The values of a batch's rows in order."""
    return exp.ArrayAgg(
        this=exp.Order(this=column(name), expressions=[exp.Ordered(this=column(position), nulls_first=False)])
    )


def transposed(name: str, units: int) -> Expression:
    """The list of lists of a column, the other way round: each unit's list on its own.

    Written out unit by unit, which DuckDB computes three times faster than a lambda over the units.
    """
    row = exp.to_identifier("row", quoted=True)
    lines: list[Expression] = []
    for unit in range(1, units + 1):
        element = exp.Bracket(this=row.copy(), expressions=[integer(unit)], offset=1)
        line = exp.Lambda(this=element, expressions=[row.copy()])
        lines.append(exp.Anonymous(this="list_transform", expressions=[column(name), line]))
    return exp.Array(expressions=lines)

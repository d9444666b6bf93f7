"""Batches for the `arrays` layout: one row for each batch, its rows as lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlglot import exp

from selectron.layouts.arrays import BEFORE, BY_UNITS, FIRST_ROW, ROWS, entries_column, input_column
from selectron.layouts.base import BATCH_ROWS, BatchColumns, BatchPlan, numbered_batches
from selectron.layouts.kernels import element_of
from selectron.layouts.parts import first_row, part_of, rows_of_batch
from selectron.program.tensor import BATCH
from selectron.sql import call, cast, column, integer, number, quoted

__all__ = ["PART", "batches_query"]

Expression = exp.Expr

ENCODED: Final = "encoded"
PLACE: Final = "place"
# Which part of a batch, from 0.
PART: Final = "part"


def batches_query(
    rows: exp.Table | exp.Subquery,
    columns: BatchColumns,
    plan: BatchPlan,
    *,
    held_out: str,
    position: str,
    parts: int = 1,
) -> exp.Select:
    """A row for each batch: ``batch``, ``is_training``, ``ends_epoch`` and the program's inputs.

    Where batches have parts, a row for each of these: then also ``part``, how many rows the whole batch has,
    and the place in it of the part's first.

    Parameters
    ----------
    rows
        The rows, with the columns that `columns` reads.
    held_out, position
        Columns that say whether a row is held out, and its place among the rows that share that.
    """
    batch, place, is_training = numbered_batches(plan, held_out=held_out, position=position)
    values = columns.tensors
    of_batch: dict[str, Expression] = {"is_training": is_training}
    keys = {"batch": batch}
    if parts > 1:
        keys[PART] = part_of(plan, held_out, position, parts)
        first = first_row(plan, held_out, position, parts)
        place = exp.Sub(this=place, expression=exp.paren(first, copy=False))
        of_batch[BATCH_ROWS] = rows_of_batch(plan, held_out, position)
        of_batch[FIRST_ROW] = first.copy()
    row = exp.select(
        *(exp.alias_(value, name, quoted=True) for name, value in keys.items()),
        *(exp.alias_(value, name, quoted=True) for name, value in of_batch.items()),
        column(position),
        exp.alias_(exp.Add(this=place, expression=integer(1)), PLACE, quoted=True),
        *(exp.alias_(value_of(units), name, quoted=True) for name, units in values.items()),
    ).from_(rows, copy=False)

    gathered = exp.select(
        *map(column, keys),
        *(exp.alias_(exp.AnyValue(this=column(name)), name, quoted=True) for name in of_batch),
        *(exp.alias_(listed(name, position), name, quoted=True) for name in values),
    )
    gathered = gathered.from_(exp.table_(ENCODED, quoted=True), copy=False)
    gathered = gathered.group_by(*map(column, keys), copy=False)

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
        *map(column, keys),
        *map(column, of_batch),
        exp.alias_(ends, "ends_epoch", quoted=True),
        *(column(name) for name in values),
        *by_unit,
        *(column(entries_column(name)) for name in columns.indices),
    )
    whole = whole.from_(gathered.subquery("gathered", copy=False), copy=False)
    for name in columns.indices:
        own = by_entry(name, list(keys)).subquery(quoted(entries_column(name)), copy=False)
        whole = whole.join(own, using=list(map(column, keys)), copy=False)
    # Read once for the lists and once for each index.
    return whole.with_(
        exp.TableAlias(this=quoted(ENCODED)), row, materialized=bool(columns.indices), copy=False
    )


def by_entry(name: str, keys: Sequence[str]) -> exp.Select:
    """For each batch or part the entries that an index names, in order, each with the places of its rows."""
    entry = column(name)
    window = exp.Window(
        this=exp.Lag(this=entry.copy()),
        partition_by=list(map(column, keys)),
        order=exp.Order(expressions=[exp.Ordered(this=entry.copy(), nulls_first=False)]),
    )
    last = exp.func("coalesce", window, number(-1.0))
    before = exp.Sub(this=exp.Sub(this=entry.copy(), expression=last), expression=number(1.0))
    places = exp.Order(this=column(PLACE), expressions=[exp.Ordered(this=column(PLACE), nulls_first=False)])
    own = exp.Struct(
        expressions=[
            exp.PropertyEQ(this=quoted(BEFORE), expression=cast(before, "bigint")),
            exp.PropertyEQ(this=quoted(ROWS), expression=exp.ArrayAgg(this=places)),
        ]
    )
    entries = (
        exp.select(*map(column, keys), entry, exp.alias_(own, "own", quoted=True))
        .from_(exp.table_(ENCODED, quoted=True), copy=False)
        .group_by(*map(column, keys), entry.copy(), copy=False)
    )
    ordered = exp.Order(this=column("own"), expressions=[exp.Ordered(this=entry.copy(), nulls_first=False)])
    listed_ = exp.alias_(exp.ArrayAgg(this=ordered), entries_column(name), quoted=True)
    query = exp.select(*map(column, keys), listed_).from_(entries.subquery("entries", copy=False), copy=False)
    return query.group_by(*map(column, keys), copy=False)


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

    >>> transposed("x", 3).sql("duckdb")
    'LIST_TRANSFORM(RANGE(1, 4), LAMBDA "unit" : LIST_TRANSFORM("x", LAMBDA "row" : "row"["unit"]))'
    """
    row, unit = quoted("row"), quoted("unit")
    line = call(
        "list_transform", column(name), exp.Lambda(this=element_of(row, unit), expressions=[row.copy()])
    )
    every = call("range", integer(1), integer(units + 1))
    return call("list_transform", every, exp.Lambda(this=line, expressions=[unit.copy()]))

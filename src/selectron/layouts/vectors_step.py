"""A training step in the `vectors` layout: one row of numbers and lists, the rows of a batch, sums."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from sqlglot import exp

from selectron.layouts.base import (
    BATCH_NUMBER,
    ENDED,
    ROW_IN_BATCH,
    TICK,
    BatchColumns,
    BatchPlan,
    Cte,
    Fence,
    Tables,
    latest,
    numbered_batches,
)
from selectron.layouts.columns import Lowered
from selectron.layouts.columns_step import Chain, ColumnsLayout
from selectron.layouts.placing import element_name
from selectron.layouts.storage import union_all
from selectron.layouts.vectors import (
    INPUT,
    MOST_DIMENSIONS,
    UNIT,
    UNITS,
    VALUES,
    Placed,
    lower,
    packed_name,
)
from selectron.layouts.vectors_lists import PLACE, clamped, vector
from selectron.program.operations import Array
from selectron.program.tensor import BATCH
from selectron.sql import cast, column, integer, number, quoted, text

__all__ = ["VectorsLayout"]

Expression = exp.Expr


@dataclass(frozen=True)
class VectorsLayout(ColumnsLayout):
    """A step as CTEs over one-row relations and the rows of a batch, products by vectors.

    The chain of relations is that of the `columns` layout; what differs is what a column holds.
    """

    @property
    def uniform(self) -> bool:
        """Whether all columns of a state are numbers: some are vectors."""
        return False

    @cached_property
    def placed(self) -> Placed:
        """The program as phases, and how inputs are read."""
        return lower(self.step.program)

    @cached_property
    def lowered(self) -> Lowered:
        """The program as phases."""
        return self.placed.lowered

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """``tick``, the parts of the state, the logged values, and whether the step ended an epoch."""
        return (TICK, *self.step.state, *self.step.logs, ENDED)

    @cached_property
    def fed(self) -> set[str]:
        """The columns of a row of the batch that the program reads."""
        shapes = self.step.program.inputs
        units = {
            element_name(name, shapes[name], 0, unit)
            for name in self.placed.elements
            for unit in range(int(shapes[name][1]))
        }
        return {*units, *map(packed_name, self.placed.packed), ROW_IN_BATCH}

    def problem(self, rows: int) -> str | None:
        """Why a batch of so many rows is more than vectors hold, if it is."""
        if rows > MOST_DIMENSIONS:
            return f"a batch has {rows:,} rows, and a vector holds {MOST_DIMENSIONS:,}: lower batch_size"
        widest = max((int(shape[1]) for shape in self.step.program.inputs.values()), default=0)
        if widest > MOST_DIMENSIONS:
            return f"a row has {widest:,} inputs, and a vector holds {MOST_DIMENSIONS:,}"
        return None

    @cached_property
    def widest(self) -> int:
        """The most columns that a relation of the step has, apart from a few of the batch's own."""
        made = (len(link.columns) + len(on) for link, on in zip(self.links, self.carried, strict=False))
        return max(made, default=0)

    # Tables -----------------------------------------------------------------------------------

    def tables(
        self, rows: exp.Table, columns: BatchColumns, plan: BatchPlan, *, held_out: str, position: str
    ) -> Mapping[str, Callable[[Tables], exp.Query]]:
        """The rows with their batch's number, their units as vectors over rows, then a row for each batch."""
        made = dict(super().tables(rows, columns, plan, held_out=held_out, position=position))
        if self.placed.turned:
            batch, place, _ = numbered_batches(plan, held_out=held_out, position=position)
            parts = [
                turned(name, columns.tensors[name], rows, batch, place) for name in sorted(self.placed.turned)
            ]
            made[UNITS] = lambda tables: union_all(parts)
        return made

    def values_of_row(self, columns: BatchColumns) -> dict[str, Expression]:
        """What a row of the batch holds of the program's inputs: elements, and vectors of them."""
        values: dict[str, Expression] = {}
        for name, units in columns.tensors.items():
            if name in self.placed.elements:
                shape = BATCH, len(units)
                values |= {element_name(name, shape, 0, unit): value for unit, value in enumerate(units)}
            if name in self.placed.packed:
                numbers = [clamped(unit.copy()) for unit in units]
                values[packed_name(name)] = vector(exp.Array(expressions=numbers))
        return values

    def initial(self, values: Mapping[str, Array], tick: int) -> exp.Query:
        """One row of literals."""
        row: dict[str, Expression] = {TICK: cast(integer(tick), "bigint")}
        row |= {part: literal(array) for part, array in values.items()}
        row |= {name: cast(exp.Null(), "double") for name in self.step.logs}
        row[ENDED] = cast(number(0.0), "double")
        return exp.Select(expressions=[exp.alias_(value, name, quoted=True) for name, value in row.items()])

    # Steps ------------------------------------------------------------------------------------

    def chain(self, state: exp.Table, tables: Tables, until: Expression, prefix: str) -> list[Cte]:
        """One-row stages, stages over rows, sums, and so on, to the next state."""
        once = {f"{prefix}{link.name}" for link in self.links if not link.of_rows}
        made = []
        for cte in Chain(self, state, tables, prefix).run(until):
            # Vectors of weights and of sums are read by each row that they meet: computed once.
            fence = Fence.STATE if cte.name in once else cte.fence
            made.append(Cte(cte.name, with_units(cte.query, tables), fence))
        return made

    # Reading results --------------------------------------------------------------------------

    def cells(self, result: exp.Table, name: str, labels: Mapping[str, str]) -> exp.Query:
        """A tensor of the last state as rows."""
        rows, units = (int(extent) for extent in self.step.state.get(name, (1, 1)))
        own = [exp.alias_(text(value), label, quoted=True) for label, value in labels.items()]
        last = exp.select(exp.alias_(column(name), "list", quoted=True)).from_(result.copy())
        last = last.where(latest(result), copy=False)
        if (rows, units) == (1, 1):
            zero = (exp.alias_(integer(0), place, quoted=True) for place in ("row", "col"))
            value = exp.alias_(cast(column("list"), "double"), "value", quoted=True)
            return exp.select(*own, *zero, value).from_(last.subquery("last", copy=False), copy=False)
        alias = exp.TableAlias(this=quoted("cells"), columns=[quoted("value")])
        cells = exp.Unnest(expressions=[column("list")], alias=alias, offset=quoted(PLACE))
        # By units: a unit's values for all rows, then the next unit's.
        place = exp.paren(exp.Sub(this=column(PLACE), expression=integer(1)), copy=False)
        return (
            exp.select(
                *own,
                exp.alias_(exp.Mod(this=place, expression=integer(rows)), "row", quoted=True),
                exp.alias_(exp.IntDiv(this=place.copy(), expression=integer(rows)), "col", quoted=True),
                column("value"),
            )
            .from_(last.subquery("last", copy=False), copy=False)
            .join(cells, join_type="cross", copy=False)
        )


def literal(array: Array) -> Expression:
    """A number, or a list of the units one after another.

    >>> import numpy as np
    >>> literal(np.array([[1.0, 2.0], [3.0, 4.0]])).sql("postgres")
    "CAST('{1.0,3.0,2.0,4.0}' AS DOUBLE PRECISION[])"
    """
    if array.size == 1:
        return cast(number(float(array[0, 0])), "double")
    numbers = ",".join(map(repr, array.T.reshape(-1).tolist()))
    return exp.cast(text(f"{{{numbers}}}"), "double[]")


def turned(
    name: str,
    units: Sequence[Expression],
    rows: exp.Table,
    batch: Expression,
    place: Expression,
) -> exp.Select:
    """Each unit of an input as a vector over the rows of each batch."""
    order = exp.Ordered(this=column(PLACE), nulls_first=False)
    values = {BATCH_NUMBER: batch.copy(), PLACE: place.copy()}
    values |= {f"{UNIT} {unit}": clamped(value.copy()) for unit, value in enumerate(units)}
    encoded = exp.select(*(exp.alias_(v, n, quoted=True) for n, v in values.items())).from_(rows.copy())
    vectors = [
        vector(exp.ArrayAgg(this=exp.Order(this=column(f"{UNIT} {unit}"), expressions=[order.copy()])))
        for unit in range(len(units))
    ]
    gathered = exp.select(
        column(BATCH_NUMBER), exp.alias_(exp.Array(expressions=vectors), "vectors", quoted=True)
    ).from_(encoded.subquery("encoded", copy=False), copy=False)
    gathered = gathered.group_by(column(BATCH_NUMBER), copy=False)
    alias = exp.TableAlias(this=quoted("units"), columns=[quoted(VALUES)])
    unnested = exp.Unnest(expressions=[column("vectors")], alias=alias, offset=quoted(UNIT))
    return (
        exp.select(
            exp.alias_(text(name), INPUT, quoted=True), column(BATCH_NUMBER), column(UNIT), column(VALUES)
        )
        .from_(gathered.subquery("gathered", copy=False), copy=False)
        .join(unnested, join_type="cross", copy=False)
    )


def with_units(query: exp.Query, tables: Tables) -> exp.Query:
    """A query whose table of units is the connection's."""
    if not any(table.name == UNITS for table in query.find_all(exp.Table)):
        return query
    # Steps share their expressions.
    query = query.copy()
    for table in [table for table in query.find_all(exp.Table) if table.name == UNITS]:
        table.replace(exp.alias_(tables(UNITS), table.alias, table=True))
    return query

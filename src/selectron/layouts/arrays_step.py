"""A training step in the `arrays` layout over lists: one row of state, one row for each batch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from sqlglot import exp

from selectron.errors import EngineError
from selectron.layouts.arrays import Lowered, lower
from selectron.layouts.base import (
    BATCHES,
    LOG_PREFIX,
    TICK,
    BatchColumns,
    BatchPlan,
    Cte,
    Fence,
    Step,
    Tables,
    beside_batch,
    due,
    latest,
)
from selectron.layouts.batches import PART, batches_query
from selectron.layouts.parts import apart, totals
from selectron.layouts.passes import Pass, passes, total
from selectron.layouts.stages import chained
from selectron.layouts.storage import array_literal, rows_from_array
from selectron.program.operations import Array
from selectron.sql import cast, column, integer, number, quoted

__all__ = ["ListsLayout"]

Expression = exp.Expr


@dataclass(frozen=True)
class ListsLayout:
    """A step as a chain of stages over one row; logged values are appended to lists in it.

    `parts` is how many parts a batch has that are worked on side by side, each by a chain of its own.
    """

    step: Step
    parts: int = 1

    uniform: Final = False
    scans: Final = False
    keyed: Final = True

    @cached_property
    def lowered(self) -> Lowered:
        """The program as stages."""
        return lower(self.step.program, in_parts=self.parts > 1)

    @cached_property
    def passes(self) -> tuple[list[Pass], Pass]:
        """The passes over the rows of each part, none where batches have no parts, and all that is left."""
        return passes(self.lowered, set(self.step.program.labels.values()))

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """``tick``, the parts of the state, and the lists of logged values."""
        return (TICK, *self.step.state, *self.step.logs)

    def tables(
        self, rows: exp.Table, columns: BatchColumns, plan: BatchPlan, *, held_out: str, position: str
    ) -> Mapping[str, Callable[[Tables], exp.Query]]:
        """A row for each batch, or for each part of one."""
        query = batches_query(rows, columns, plan, held_out=held_out, position=position, parts=self.parts)
        return {BATCHES: lambda tables: query}

    def initial(self, values: Mapping[str, Array], tick: int) -> exp.Query:
        """One row of literals."""
        literals = [exp.alias_(array_literal(array), name, quoted=True) for name, array in values.items()]
        return exp.select(exp.alias_(cast(integer(tick), "bigint"), TICK, quoted=True), *literals)

    def anchor(self, state: exp.Table | exp.Subquery) -> exp.Select:
        """The row, with empty logs."""
        empty = [exp.cast(exp.Array(expressions=[]), "double[]", dialect="duckdb") for _ in self.step.logs]
        logs = (
            exp.alias_(value, name, quoted=True) for name, value in zip(self.step.logs, empty, strict=True)
        )
        return exp.select(column(TICK), *map(column, self.step.state), *logs).from_(
            exp.alias_(state, "start")
        )

    def chain(self, state: exp.Table, tables: Tables, until: Expression, prefix: str) -> list[Cte]:
        """The batch beside the state, the program's stages, the next state."""
        over_rows, rest = self.passes
        made: list[Cte] = []
        sums: list[str] = []
        for number_, each in enumerate(over_rows):
            name = f"{prefix}sums_{number_}"
            names = apart(name, self.parts)
            for part, own in enumerate(names):
                source = self.beside(state, each.reads, sums, tables, until, part)
                stages, last = chained(source, each.stages, each.outputs, f"{own}_")
                made += (Cte(stage, query, Fence.NONE) for stage, query in stages)
                # Each is computed on its own, so that no part waits for another.
                made.append(Cte(own, last, Fence.STATE))
            aggregates = self.lowered.aggregates
            whole = [(own, total(own, aggregates[own], names)) for own in each.outputs]
            made.append(Cte(name, totals(whole, names), Fence.STATE))
            sums.append(name)
        source = self.beside(state, rest.reads, sums, tables, until)
        outputs = {name: self.next_value(name, rest.outputs) for name in self.columns}
        stages, last = chained(source, rest.stages, outputs, prefix)
        return [
            *made,
            *(Cte(name, query, Fence.NONE) for name, query in stages),
            Cte(f"{prefix}next", last, Fence.STATE),
        ]

    def beside(
        self,
        state: exp.Table,
        reads: Collection[str],
        sums: Sequence[str],
        tables: Tables,
        until: Expression,
        part: int | None = None,
    ) -> exp.Select:
        """What some stages read of the state, its batch, and sums of passes before; no row if no step is due.

        Without a part, all of the state, beside any part of the batch.
        """
        here = state.alias_or_name
        own: list[Expression] = [column(name, here) for name in self.step.state if name in reads]
        if part is None:
            own = [exp.Column(this=exp.Star(), table=quoted(here))]
        fed = sorted((self.lowered.inputs & set(reads)) - set(self.step.state))
        added = sorted(self.lowered.aggregates.keys() & set(reads))
        states = exp.select(*own, *(column(name, "own") for name in fed), *map(column, added)).from_(state)
        source = beside_batch(states, column(TICK, here), self.step, tables)
        for name in sums:
            source = source.join(exp.table_(name, quoted=True), join_type="cross")
        if self.parts > 1:
            source = source.where(exp.EQ(this=column(PART, "own"), expression=integer(part or 0)))
        return source.where(*due(self.step, until, here))

    def term(self, state: exp.Table, tables: Tables, until: Expression) -> exp.Query:
        """Refused: wherever there are lists, recursion is free."""
        raise EngineError("Lists need a recursion that may use CTEs.", hint="Use another layout.")

    def next_value(self, name: str, outputs: Mapping[str, Expression]) -> Expression:
        """A column of the next state over what the last stage gives."""
        if name == TICK:
            return exp.Add(this=column(TICK), expression=integer(1))
        if name not in self.step.logs:
            return outputs[name]
        ended = exp.GT(this=column("ends_epoch"), expression=number(0.0))
        appended = exp.Anonymous(this="list_append", expressions=[column(name), outputs[name]])
        return exp.Case(ifs=[exp.If(this=ended, true=appended)], default=column(name))

    def result(self, states: exp.Table | exp.Subquery) -> exp.Select:
        """The last row."""
        return exp.select(*map(column, self.columns)).from_(states.copy()).where(latest(states))

    def scalars(self, result: exp.Table, names: Sequence[str]) -> exp.Select:
        """The columns of these names."""
        return exp.select(*map(column, names)).from_(result.copy())

    def cells(self, result: exp.Table, name: str, labels: Mapping[str, str]) -> exp.Query:
        """A tensor of the last state as rows."""
        rows, units = self.step.state.get(name, (1, 1))
        return rows_from_array(result, name, (int(rows), int(units)), labels)

    def logged(self, result: exp.Table) -> exp.Select:
        """The lists of logged values as rows."""
        lists = [
            exp.alias_(
                exp.Anonymous(this="unnest", expressions=[column(name)]),
                name.removeprefix(LOG_PREFIX),
                quoted=True,
            )
            for name in self.step.logs
        ]
        # Counted by the length of a list, since the statement may have ended any number of epochs.
        length = exp.Anonymous(this="len", expressions=[column(self.step.logs[0])])
        places = exp.Anonymous(this="generate_series", expressions=[integer(1), length])
        place = exp.alias_(exp.Anonymous(this="unnest", expressions=[places]), "place", quoted=True)
        return exp.select(place, *lists).from_(result.copy())

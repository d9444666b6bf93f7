"""A training step in the `arrays` layout over lists: one row of state, one row for each batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from sqlglot import exp

from selectron.errors import EngineError
from selectron.layouts.arrays import Lowered, lower
from selectron.layouts.base import (
    BATCHES,
    FLAGS,
    LOG_PREFIX,
    TICK,
    BatchColumns,
    BatchPlan,
    Cte,
    Fence,
    Step,
    Tables,
    beside_batch,
    latest,
    running,
)
from selectron.layouts.batches import batches_query
from selectron.layouts.inlining import condensed
from selectron.layouts.stages import chained
from selectron.layouts.storage import array_literal, rows_from_array
from selectron.program.operations import Array
from selectron.sql import cast, column, integer, number

__all__ = ["ListsLayout"]

Expression = exp.Expr


@dataclass(frozen=True)
class ListsLayout:
    """A step as a chain of stages over one row; logged values are appended to lists in it."""

    step: Step
    parts: int = 1

    uniform: Final = False
    keyed: Final = True

    @cached_property
    def lowered(self) -> Lowered:
        """The program as stages."""
        found = lower(self.step.program)
        stages, outputs = condensed(found.stages, found.outputs, set(self.step.program.labels.values()))
        return replace(found, stages=stages, outputs=outputs)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """``tick``, the parts of the state, and the lists of logged values."""
        return (TICK, *self.step.state, *self.step.logs)

    def tables(
        self, rows: exp.Table, columns: BatchColumns, plan: BatchPlan, *, held_out: str, position: str
    ) -> Mapping[str, Callable[[Tables], exp.Query]]:
        """A row for each batch."""
        query = batches_query(rows, columns, plan, held_out=held_out, position=position)
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
        here = state.alias_or_name
        flags = {flag: column(flag, here) for flag in FLAGS if flag in self.step.state}
        fed = sorted(self.lowered.inputs - set(self.step.state))
        states = exp.select(
            exp.Column(this=exp.Star(), table=exp.to_identifier(here, quoted=True)),
            *(column(name, "own") for name in fed),
        ).from_(state)
        source = beside_batch(states, column(TICK, here), self.step, tables)
        source = source.where(*running(flags, column(TICK, here), until))
        stages, last = chained(source, self.lowered.stages, self.next_values, prefix)
        return [
            *(Cte(name, query, Fence.NONE) for name, query in stages),
            Cte(f"{prefix}next", last, Fence.STATE),
        ]

    def term(self, state: exp.Table, tables: Tables, until: Expression) -> exp.Query:
        """Refused: wherever there are lists, recursion is free."""
        raise EngineError("Lists need a recursion that may use CTEs.", hint="Use another layout.")

    @cached_property
    def next_values(self) -> dict[str, Expression]:
        """The next state over what the last stage gives."""
        ended = exp.GT(this=column("ends_epoch"), expression=number(0.0))

        def logged(name: str) -> Expression:
            value = self.lowered.outputs[name]
            appended = exp.Anonymous(this="list_append", expressions=[column(name), value])
            return exp.Case(ifs=[exp.If(this=ended.copy(), true=appended)], default=column(name))

        return {
            TICK: exp.Add(this=column(TICK), expression=integer(1)),
            **{name: self.lowered.outputs[name] for name in self.step.state},
            **{name: logged(name) for name in self.step.logs},
        }

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

"""A training step in the `arrays` layout over tensor functions: the whole state is one value."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from sqlglot import exp

from selectron.layouts.base import (
    BATCH_NUMBER,
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
    numbered_batches,
    running,
)
from selectron.layouts.functions import MOST_ARGUMENTS, Lowered, blob_literal, call, lower, packed, part
from selectron.layouts.stages import chained, read_by
from selectron.program.operations import Array
from selectron.sql import cast, column, integer, number, quoted, text

__all__ = ["FunctionsLayout"]

Expression = exp.Expr

ENCODED: Final = "encoded"

STATE: Final = "state"
LOG: Final = "log"


@dataclass(frozen=True)
class FunctionsLayout:
    """A step as one expression: a scalar subquery over a chain of stages, correlated to the state.

    That is all that a recursive term may hold on engines whose recursion aggregates nothing.
    """

    step: Step

    uniform: Final = False
    scans: Final = False
    keyed: Final = False
    parts: Final = 1
    columns: Final[tuple[str, ...]] = (TICK, STATE)

    @cached_property
    def lowered(self) -> Lowered:
        """The program as stages."""
        return lower(self.step.program)

    @cached_property
    def places(self) -> dict[str, int]:
        """Where each part of the state is in the pack; the log comes last."""
        return {name: place for place, name in enumerate([*self.step.state, LOG])}

    def tables(
        self, rows: exp.Table, columns: BatchColumns, plan: BatchPlan, *, held_out: str, position: str
    ) -> Mapping[str, Callable[[Tables], exp.Query]]:
        """A row for each batch, its tensors stacked."""
        batch, place, is_training = numbered_batches(plan, held_out=held_out, position=position)
        encoded: list[Expression] = [
            exp.alias_(batch, BATCH_NUMBER, quoted=True),
            exp.alias_(place, "place", quoted=True),
            exp.alias_(is_training, "is_training", quoted=True),
        ]
        stacked: list[Expression] = []
        for name, units in columns.tensors.items():
            parts = [units[start : start + MOST_ARGUMENTS] for start in range(0, len(units), MOST_ARGUMENTS)]
            names = [f"{name} {number_}" for number_ in range(len(parts))]
            encoded += [
                exp.alias_(call("row", *own), label, quoted=True)
                for own, label in zip(parts, names, strict=True)
            ]
            stacked.append(exp.alias_(call("stack", column("place"), *map(column, names)), name, quoted=True))
        ends = exp.EQ(this=column(BATCH_NUMBER), expression=integer(plan.per_epoch - 1))
        own_columns: list[Expression] = [
            column(BATCH_NUMBER),
            exp.alias_(exp.Max(this=column("is_training")), "is_training", quoted=True),
            exp.alias_(
                exp.Case(ifs=[exp.If(this=ends, true=number(1.0))], default=number(0.0)),
                "ends_epoch",
                quoted=True,
            ),
        ]
        inner = exp.select(*encoded).from_(rows.copy())
        query = exp.select(*own_columns, *stacked).from_(exp.table_(ENCODED, quoted=True), copy=False)
        query = query.group_by(column(BATCH_NUMBER), copy=False)
        # Not computed while groups are read, where the engine takes a lookup for one that is done once.
        query = query.with_(exp.TableAlias(this=quoted(ENCODED)), inner, materialized=True, copy=False)
        return {BATCHES: lambda tables: query}

    def initial(self, values: Mapping[str, Array], tick: int) -> exp.Query:
        """One row: the literals, packed."""
        state = packed([*(blob_literal(array) for array in values.values()), exp.Null()])
        return exp.select(exp.alias_(integer(tick), TICK, quoted=True), exp.alias_(state, STATE, quoted=True))

    def anchor(self, state: exp.Table | exp.Subquery) -> exp.Select:
        """The state with an empty log."""
        parts = [part(column(STATE), self.places[name]) for name in self.step.state]
        fresh = exp.alias_(packed([*parts, exp.Null()]), STATE, quoted=True)
        return exp.select(column(TICK), fresh).from_(state.copy())

    def chain(self, state: exp.Table, tables: Tables, until: Expression, prefix: str) -> list[Cte]:
        """The next state, as one query."""
        here, there = state.alias_or_name, f"{prefix}own"
        values: dict[str, Expression] = dict(self.lowered.outputs)
        line = [values.pop(name) for name in self.step.logs]
        ended = exp.GT(this=column("ends_epoch"), expression=number(0.0))
        log = exp.Case(ifs=[exp.If(this=ended, true=call("append", column(LOG), *line))], default=column(LOG))
        whole = packed([*(values[name] for name in self.step.state), log])
        read = read_by([whole, *(v for stage in self.lowered.stages for _, v in stage.columns)])
        inputs = [name for name in (*self.step.program.inputs, LOG, "ends_epoch") if name in read]
        source = exp.Select(
            expressions=[
                exp.alias_(
                    part(column(STATE, here), self.places[name])
                    if name in self.places
                    else column(name, there),
                    name,
                    quoted=True,
                )
                for name in dict.fromkeys(inputs)
            ]
        )
        stages, last = chained(source, self.lowered.stages, {STATE: whole}, prefix)
        ctes = [
            exp.CTE(
                this=query,
                alias=exp.TableAlias(this=exp.to_identifier(name, quoted=True)),
                # Else each function would be called once for each time that its result is read.
                materialized=True,
            )
            for name, query in stages
        ]
        last.set("with_", exp.With(expressions=ctes))
        flags = {
            flag: part(column(STATE, here), self.places[flag]) for flag in FLAGS if flag in self.step.state
        }
        tick = exp.Add(this=column(TICK, here), expression=integer(1))
        states = exp.select(
            exp.alias_(tick, TICK, quoted=True),
            exp.alias_(exp.Subquery(this=last), STATE, quoted=True),
        ).from_(state)
        query = beside_batch(states, column(TICK, here), self.step, tables, there)
        query = query.where(*running(flags, column(TICK, here), until))
        return [Cte(f"{prefix}next", query, Fence.STATE)]

    def term(self, state: exp.Table, tables: Tables, until: Expression) -> exp.Query:
        """The same: it is one query already."""
        return self.chain(state, tables, until, "")[0].query

    def result(self, states: exp.Table | exp.Subquery) -> exp.Select:
        """The last state, found without keeping all of them."""
        query = exp.select(*map(column, self.columns)).from_(states.copy())
        return query.order_by(exp.Ordered(this=column(TICK), desc=True, nulls_first=False)).limit(1)

    # Reading results --------------------------------------------------------------------------

    def scalars(self, result: exp.Table, names: Sequence[str]) -> exp.Select:
        """These parts of the state."""
        values = [column(TICK) if name == TICK else part(column(STATE), self.places[name]) for name in names]
        columns = [exp.alias_(value, name, quoted=True) for value, name in zip(values, names, strict=True)]
        return exp.select(*columns).from_(result.copy())

    def cells(self, result: exp.Table, name: str, labels: Mapping[str, str]) -> exp.Query:
        """A tensor of the state as rows."""
        own = [exp.alias_(text(value), label, quoted=True) for label, value in labels.items()]
        if name == TICK:
            zero = (exp.alias_(integer(0), "row", quoted=True), exp.alias_(integer(0), "col", quoted=True))
            tick = exp.alias_(cast(column(TICK), "double"), "value", quoted=True)
            return exp.select(*own, *zero, tick).from_(result.copy())
        units = integer(int(self.step.state[name][1]))
        places = [
            exp.alias_(exp.IntDiv(this=KEY.copy(), expression=units), "row", quoted=True),
            exp.alias_(exp.Mod(this=KEY.copy(), expression=units.copy()), "col", quoted=True),
            exp.alias_(call("double", VALUE.copy()), "value", quoted=True),
        ]
        tensor = part(column(STATE), self.places[name])
        return exp.select(*own, *places).from_(result.copy()).join(each(tensor), join_type="cross")

    def logged(self, result: exp.Table) -> exp.Select:
        """The lines of the log."""
        width = integer(len(self.step.logs))
        place = exp.IntDiv(this=KEY.copy(), expression=width)
        columns = [
            exp.alias_(
                exp.Max(
                    this=exp.Case(
                        ifs=[
                            exp.If(
                                this=exp.EQ(
                                    this=exp.Mod(this=KEY.copy(), expression=width.copy()),
                                    expression=integer(which),
                                ),
                                true=call("double", VALUE.copy()),
                            )
                        ]
                    )
                ),
                name.removeprefix(LOG_PREFIX),
                quoted=True,
            )
            for which, name in enumerate(self.step.logs)
        ]
        log = part(column(STATE), self.places[LOG])
        # An empty log is one NaN, which is no line.
        lines = exp.Is(this=log, expression=exp.Null())
        return (
            exp.select(exp.alias_(place, "place", quoted=True), *columns)
            .from_(result.copy())
            .join(each(log.copy()), join_type="cross")
            .where(exp.Not(this=lines))
            .group_by(place.copy())
        )


KEY: Final = column("key", "each")
VALUE: Final = column("value", "each")


def each(tensor: Expression) -> exp.Table:
    """A tensor's numbers, by rows, as rows of key and value: its bits."""
    listed = exp.Anonymous(this="json_each", expressions=[call("bits", tensor)])
    return exp.Table(this=listed, alias=exp.TableAlias(this=exp.to_identifier("each", quoted=True)))

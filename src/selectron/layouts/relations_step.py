"""A training step in the `relations` layout: the state, the batch and all between as rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from sqlglot import exp

from selectron.errors import EngineError
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
    latest,
    numbered_batches,
    running,
)
from selectron.layouts.relations import COL, ROW, VALUE, Source, lower
from selectron.layouts.storage import union_all
from selectron.program.operations import Array
from selectron.program.tensor import BATCH
from selectron.sql import cast, column, integer, number, text

__all__ = ["RelationsLayout"]

Expression = exp.Expr

NAME: Final = "name"
EXAMPLES: Final = "selectron_examples"
BATCH_ROWS: Final = "batch_rows"
NOW: Final = "now"
OF_BATCH: Final = ("is_training", "ends_epoch")


@dataclass(frozen=True)
class RelationsLayout:
    """A step as joins and sums over rows of name, row, col and value."""

    step: Step

    uniform: Final = False
    scans: Final = True
    keyed: Final = False
    parts: Final = 1
    columns: Final[tuple[str, ...]] = (TICK, NAME, ROW, COL, VALUE)

    @cached_property
    def fed(self) -> tuple[str, ...]:
        """The inputs that the rows of a batch feed."""
        inputs = self.step.program.inputs
        return tuple(sorted(name for name, shape in inputs.items() if shape[0] == BATCH))

    # Tables -----------------------------------------------------------------------------------

    def tables(
        self, rows: exp.Table, columns: BatchColumns, plan: BatchPlan, *, held_out: str, position: str
    ) -> Mapping[str, Callable[[Tables], exp.Query]]:
        """The encoded rows, a row for each batch, and each of the batch's tensors as row, col and value."""
        batch, place, is_training = numbered_batches(plan, held_out=held_out, position=position)
        values: dict[str, Expression] = {BATCH_NUMBER: batch, ROW: place, "is_training": is_training}
        units: dict[str, list[str]] = {}
        for name, expressions in columns.tensors.items():
            units[name] = [f"{name} {unit}" for unit in range(len(expressions))]
            values |= dict(zip(units[name], expressions, strict=True))
        encoded = exp.select(*(exp.alias_(v, n, quoted=True) for n, v in values.items())).from_(rows.copy())
        made: dict[str, Callable[[Tables], exp.Query]] = {EXAMPLES: lambda tables: encoded}

        def batches(tables: Tables) -> exp.Query:
            ends = exp.EQ(this=column(BATCH_NUMBER), expression=integer(plan.per_epoch - 1))
            own: dict[str, Expression] = {
                BATCH_NUMBER: column(BATCH_NUMBER),
                "is_training": exp.Max(this=column("is_training")),
                "ends_epoch": exp.Case(ifs=[exp.If(this=ends, true=number(1.0))], default=number(0.0)),
                BATCH_ROWS: cast(exp.Count(this=exp.Star()), "double"),
            }
            expressions = [exp.alias_(value, name, quoted=True) for name, value in own.items()]
            return exp.select(*expressions).from_(tables(EXAMPLES)).group_by(column(BATCH_NUMBER))

        made[BATCHES] = batches
        for name in self.fed:
            made[self.table_of(name)] = lambda tables, own=units[name]: tall(tables(EXAMPLES), own)  # type: ignore[misc]
        return made

    def table_of(self, name: str) -> str:
        """The table of one of the batch's tensors. Numbered, since names of engines are short."""
        return f"{EXAMPLES}_{self.fed.index(name)}"

    def initial(self, values: Mapping[str, Array], tick: int) -> exp.Query:
        """Rows of literals."""
        parts = []
        for name, array in values.items():
            places = np.ndindex(array.shape)
            tuples = [
                exp.Tuple(expressions=[integer(i), integer(j), number(float(array[i, j]))]) for i, j in places
            ]
            alias = exp.TableAlias(
                this=exp.to_identifier("cells"),
                columns=[exp.to_identifier(c, quoted=True) for c in (ROW, COL, VALUE)],
            )
            parts.append(
                exp.select(
                    exp.alias_(cast(integer(tick), "bigint"), TICK, quoted=True),
                    exp.alias_(text(name), NAME, quoted=True),
                    column(ROW),
                    column(COL),
                    exp.alias_(cast(column(VALUE), "double"), VALUE, quoted=True),
                ).from_(exp.Values(expressions=tuples, alias=alias), copy=False)
            )
        return union_all(parts)

    # Steps ------------------------------------------------------------------------------------

    def anchor(self, state: exp.Table | exp.Subquery) -> exp.Select:
        """The rows of the greatest tick that are no log."""
        return exp.select(*map(column, self.columns)).from_(state.copy()).where(latest(state), not_logged())

    def chain(self, state: exp.Table, tables: Tables, until: Expression, prefix: str) -> list[Cte]:
        """The batch's number, its tensors and those of the state, the program's relations, the next state."""
        gate = f"{prefix}batch"
        made = [Cte(gate, self.gate(state, tables, until))]
        sources: dict[str, Source] = {}
        for name in self.step.program.inputs:
            if name in OF_BATCH:
                sources[name] = Source(gate, name)
                continue
            relation = f"{prefix}{name}"
            sources[name] = Source(relation)
            made.append(Cte(relation, self.input(name, state, tables, gate)))
        named, outputs = lower(
            self.step.program,
            sources,
            batch=Source(gate, BATCH_ROWS),
            rows=sources["target"].relation,
            prefix=f"{prefix}new ",
        )
        made += [Cte(name, query) for name, query in named]
        parts = []
        ended = exp.GT(this=column("ends_epoch"), expression=number(0.0))
        for name, query in outputs.items():
            part = exp.select(
                exp.alias_(exp.Add(this=column(NOW), expression=integer(1)), TICK, quoted=True),
                exp.alias_(text(name), NAME, quoted=True),
                column(ROW),
                column(COL),
                column(VALUE),
            ).from_(query.subquery("part", copy=False), copy=False)
            part = part.join(exp.table_(gate, quoted=True), join_type="cross", copy=False)
            parts.append(part.where(ended.copy(), copy=False) if name in self.step.logs else part)
        return [*made, Cte(f"{prefix}next", union_all(parts), Fence.STATE)]

    def term(self, state: exp.Table, tables: Tables, until: Expression) -> exp.Query:
        """Refused: a state of many rows is read many times."""
        raise EngineError(
            "Relations need a recursion that may name what recurs more than once.",
            hint="Use another layout, or strategy nested or stepwise.",
        )

    def gate(self, state: exp.Table, tables: Tables, until: Expression) -> exp.Select:
        """The state's batch; no row if no step is to be taken."""
        flags = [text(flag) for flag in FLAGS if flag in self.step.state]
        raised = exp.Case(
            ifs=[exp.If(this=exp.In(this=column(NAME), expressions=flags), true=column(VALUE))],
            default=number(0.0),
        )
        head = exp.select(
            exp.alias_(exp.Max(this=column(TICK)), NOW, quoted=True),
            exp.alias_(exp.Max(this=raised), "raised", quoted=True),
        ).from_(state)
        states = exp.select(
            column(NOW, "head"), *(column(name, "own") for name in (BATCH_NUMBER, *OF_BATCH, BATCH_ROWS))
        ).from_(head.subquery("head"))
        return beside_batch(states, column(NOW, "head"), self.step, tables).where(
            *running({"raised": column("raised", "head")}, column(NOW, "head"), until)
        )

    def input(self, name: str, state: exp.Table, tables: Tables, gate: str) -> exp.Select:
        """An input as row, col and value."""
        places = (ROW, COL, VALUE)
        if name in self.step.state:
            query = exp.select(*(column(place) for place in places)).from_(state.copy())
            return query.where(exp.EQ(this=column(NAME), expression=text(name)))
        same = exp.EQ(this=column(BATCH_NUMBER, "own"), expression=column(BATCH_NUMBER, gate))
        query = exp.select(*(column(place, "own") for place in places))
        query = query.from_(exp.table_(gate, quoted=True))
        return query.join(exp.alias_(tables(self.table_of(name)), "own", table=True), on=same)

    def result(self, states: exp.Table | exp.Subquery) -> exp.Select:
        """The rows of the last state, and the logs."""
        kept = exp.Or(this=exp.Not(this=not_logged()), expression=latest(states))
        return exp.select(*map(column, self.columns)).from_(states.copy()).where(kept)

    # Reading results --------------------------------------------------------------------------

    def scalars(self, result: exp.Table, names: Sequence[str]) -> exp.Select:
        """The values of these names."""
        values = [exp.Max(this=column(TICK)) if name == TICK else exp.Max(this=named(name)) for name in names]
        columns = [exp.alias_(value, name, quoted=True) for value, name in zip(values, names, strict=True)]
        return exp.select(*columns).from_(result.copy()).where(latest(result), not_logged())

    def cells(self, result: exp.Table, name: str, labels: Mapping[str, str]) -> exp.Query:
        """A tensor of the last state as rows."""
        own = [exp.alias_(text(value), label, quoted=True) for label, value in labels.items()]
        if name == TICK:
            highest = cast(exp.Max(this=column(TICK)), "double")
            zero = (exp.alias_(integer(0), ROW, quoted=True), exp.alias_(integer(0), COL, quoted=True))
            return exp.select(*own, *zero, exp.alias_(highest, VALUE, quoted=True)).from_(result.copy())
        same = exp.EQ(this=column(NAME), expression=text(name))
        return (
            exp.select(*own, column(ROW), column(COL), column(VALUE))
            .from_(result.copy())
            .where(same, latest(result))
        )

    def logged(self, result: exp.Table) -> exp.Select:
        """The logged values, a column for each."""
        columns = [
            exp.alias_(
                exp.Max(this=named(name)),
                name.removeprefix(LOG_PREFIX),
                quoted=True,
            )
            for name in self.step.logs
        ]
        return (
            exp.select(exp.alias_(column(TICK), "place", quoted=True), *columns)
            .from_(result.copy())
            .where(exp.Not(this=not_logged()))
            .group_by(column(TICK))
        )


def named(name: str) -> Expression:
    """The value of rows of that name."""
    same = exp.EQ(this=column(NAME), expression=text(name))
    return exp.Case(ifs=[exp.If(this=same, true=column(VALUE))])


def not_logged() -> Expression:
    """The condition of rows of the state: no part of it is called as logs are."""
    prefix = exp.Substring(this=column(NAME), start=integer(1), length=integer(len(LOG_PREFIX)))
    return exp.NEQ(this=prefix, expression=text(LOG_PREFIX))


def tall(rows: exp.Table, units: Sequence[str]) -> exp.Query:
    """Columns of the encoded rows as rows of batch, row, col and value."""
    parts = [
        exp.select(
            column(BATCH_NUMBER),
            column(ROW),
            exp.alias_(integer(place), COL, quoted=True),
            exp.alias_(column(name), VALUE, quoted=True),
        ).from_(rows.copy())
        for place, name in enumerate(units)
    ]
    return union_all(parts)

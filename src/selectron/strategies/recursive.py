"""The `recursive` strategy: one WITH RECURSIVE statement repeats the step inside the engine.

The recursive relation holds one row, the state, replaced at every step (`USING KEY`), so that memory
does not grow with the number of steps. Each step joins it with its batch, chosen by the step's number
modulo the batches of an epoch, computes the program's stages as a chain of CTEs, and gives the next
state. Logged values are appended to lists at the end of each epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlglot import exp

from selectron.layouts.arrays import Lowered, Stage, lower
from selectron.program.program import Program
from selectron.sql import column, integer, number

__all__ = ["LOG_PREFIX", "Recursion", "chain", "recursive_query", "step_query"]

Expression = exp.Expr

LOG_PREFIX = "log."
RELATION = "training"
KEY, TICK, BATCH = "key", "tick", "batch"


@dataclass(frozen=True)
class Recursion:
    """What a recursive statement repeats, and on what.

    Attributes
    ----------
    program
        The step: an output for each column of the state, and ``"log.*"`` values.
    state
        Names of the state's columns, in order.
    batches_per_epoch
        How many batches make an epoch, those of held-out rows included.
    """

    program: Program
    state: tuple[str, ...]
    batches_per_epoch: int

    @property
    def logs(self) -> tuple[str, ...]:
        """The program's outputs that are logged when an epoch ends."""
        return tuple(name for name in self.program.outputs if name.startswith(LOG_PREFIX))


def chain(source: exp.Select, stages: Sequence[Stage], *, materialize: bool = False) -> exp.Select:
    """Stages as a chain of CTEs over a query; the result selects everything from the last.

    >>> chain(exp.select("a"), [Stage((("b", exp.column("a")),))]).sql("duckdb")
    'WITH stage_0 AS NOT MATERIALIZED (SELECT a), stage_1 AS NOT MATERIALIZED
     (SELECT *, a AS b FROM stage_0) SELECT * FROM stage_1'
    """
    queries = [source]
    for level, stage in enumerate(stages):
        columns = [exp.alias_(expression, name, quoted=True) for name, expression in stage.columns]
        queries.append(exp.select(exp.Star(), *columns, copy=False).from_(f"stage_{level}", copy=False))
    result = exp.select("*").from_(f"stage_{len(stages)}")
    ctes = [
        exp.CTE(
            this=query,
            alias=exp.TableAlias(this=exp.to_identifier(f"stage_{level}")),
            materialized=materialize,
        )
        for level, query in enumerate(queries)
    ]
    result.set("with_", exp.With(expressions=ctes))
    return result


def step_query(lowered: Lowered, source: exp.Select, extra: Mapping[str, Expression]) -> exp.Select:
    """One step: the program's outputs and some more columns, computed from a source row."""
    query = chain(source, lowered.stages)
    outputs = [*extra.items(), *lowered.outputs.items()]
    query.set("expressions", [exp.alias_(value, name, quoted=True) for name, value in outputs])
    return query


def recursive_query(
    recursion: Recursion,
    *,
    state: exp.Table | exp.Subquery,
    batches: exp.Table | exp.Subquery,
    until: Expression,
) -> exp.Select:
    """The whole of a training, or a chunk of it, as one query.

    Parameters
    ----------
    recursion
        What to repeat.
    state
        One row: ``tick`` (batches seen so far) and the state's columns.
    batches
        A row for each batch: ``batch`` (its number, from 0) and the program's other inputs.
    until
        The tick at which to stop; it stops before if the state says so.

    Returns
    -------
    exp.Select
        Gives one row: ``tick``, the state's columns, and a list for each log column.
    """
    lowered = lower(recursion.program)
    here, there = RELATION, "batches"
    names = [KEY, TICK, *recursion.state, *recursion.logs]
    empty = exp.cast(exp.Array(expressions=[]), "double[]", dialect="duckdb")
    anchor = exp.select(
        exp.alias_(integer(0), KEY, quoted=True),
        column(TICK),
        *(column(name) for name in recursion.state),
        *(exp.alias_(empty.copy(), name, quoted=True) for name in recursion.logs),
    ).from_(exp.alias_(state, "start"))

    fed = sorted(lowered.inputs - set(recursion.state))
    running = [exp.LT(this=column(TICK, here), expression=until.copy())]
    running += [
        exp.EQ(this=column(flag, here), expression=number(0.0))
        for flag in ("diverged", "stopped")
        if flag in recursion.state
    ]
    turn = exp.Mod(this=column(TICK, here), expression=integer(recursion.batches_per_epoch))
    source = (
        exp.select(
            exp.Column(this=exp.Star(), table=exp.to_identifier(here, quoted=True)),
            *(column(name, there) for name in fed),
        )
        .from_(exp.table_(RELATION, quoted=True))
        .join(
            exp.alias_(batches, there, table=True),
            on=exp.EQ(this=column(BATCH, there), expression=turn),
        )
        .where(*running)
    )
    next_tick = exp.Add(this=column(TICK), expression=integer(1))
    step = step_query(lowered, source, {KEY: column(KEY), TICK: next_tick})
    ended = exp.GT(this=column("ends_epoch"), expression=number(0.0))
    for item in step.expressions:
        if item.alias in recursion.logs:
            appended = exp.Anonymous(this="list_append", expressions=[column(item.alias), item.this])
            item.set(
                "this", exp.Case(ifs=[exp.If(this=ended.copy(), true=appended)], default=column(item.alias))
            )
    by_name = {item.alias: item for item in step.expressions}
    step.set("expressions", [by_name[name] for name in names])

    body = exp.Union(this=anchor, expression=exp.Subquery(this=step), distinct=False)
    alias = exp.TableAlias(
        this=exp.to_identifier(RELATION, quoted=True),
        columns=[exp.to_identifier(name, quoted=True) for name in names],
    )
    cte = exp.CTE(this=body, alias=alias, key_expressions=[exp.to_identifier(KEY, quoted=True)])
    query = exp.select(*(column(name) for name in names[1:])).from_(exp.table_(RELATION, quoted=True))
    query.set("with_", exp.With(expressions=[cte], recursive=True))
    return query

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

from selectron.layouts.arrays import lower
from selectron.layouts.stages import Stage, carry, read_by, select
from selectron.program.program import Program
from selectron.sql import column, integer, number

__all__ = ["LOG_PREFIX", "Recursion", "chain", "recursive_query"]

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


def chain(source: exp.Select, stages: Sequence[Stage], outputs: Mapping[str, Expression]) -> exp.Select:
    """Outputs over a chain of stages over a query, each stage a CTE that carries on what is still needed.

    >>> print(chain(exp.select("a"), [Stage((("b", column("a")),))], {"c": column("b")}).sql("duckdb"))
    WITH stage_0 AS NOT MATERIALIZED (SELECT a),
         stage_1 AS NOT MATERIALIZED (SELECT "a" AS "b" FROM stage_0) SELECT "b" AS "c" FROM stage_1
    """
    queries = []
    result = select(outputs.items(), stage_name(len(stages)))
    needed = read_by(outputs.values())
    for level in range(len(stages), 0, -1):
        columns, needed = carry(stages[level - 1], needed)
        queries.append(select(columns, stage_name(level - 1)))
    queries.append(source)
    ctes = [
        exp.CTE(this=query, alias=exp.TableAlias(this=stage_name(level)), materialized=False)
        for level, query in enumerate(reversed(queries))
    ]
    result.set("with_", exp.With(expressions=ctes))
    return result


def stage_name(level: int) -> exp.Identifier:
    return exp.to_identifier(f"stage_{level}")


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
    running: list[Expression] = [exp.LT(this=column(TICK, here), expression=until.copy())]
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
    ended = exp.GT(this=column("ends_epoch"), expression=number(0.0))

    def logged(name: str) -> Expression:
        appended = exp.Anonymous(this="list_append", expressions=[column(name), lowered.outputs[name]])
        return exp.Case(ifs=[exp.If(this=ended.copy(), true=appended)], default=column(name))

    values: dict[str, Expression] = {
        KEY: column(KEY),
        TICK: exp.Add(this=column(TICK), expression=integer(1)),
        **{name: lowered.outputs[name] for name in recursion.state},
        **{name: logged(name) for name in recursion.logs},
    }
    step = chain(source, lowered.stages, values)

    body = exp.Union(this=anchor, expression=exp.Subquery(this=step), distinct=False)
    alias = exp.TableAlias(
        this=exp.to_identifier(RELATION, quoted=True),
        columns=[exp.to_identifier(name, quoted=True) for name in names],
    )
    cte = exp.CTE(this=body, alias=alias, key_expressions=[exp.to_identifier(KEY, quoted=True)])
    query = exp.select(*(column(name) for name in names[1:])).from_(exp.table_(RELATION, quoted=True))
    query.set("with_", exp.With(expressions=[cte], recursive=True))
    return query

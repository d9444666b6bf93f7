"""What strategies ask of a layout: the step of a training as relations, from one state to the next.

A state is the rows of a relation that have one ``tick``: how many batches have been seen. The step reads
it and the tables of batches, as a chain of named queries (CTEs) of which the last gives the next state. A
strategy repeats the chain; the result of a statement has the last state, and the logged values of each epoch
that ended on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, Protocol

from sqlglot import exp

from selectron.program.operations import Array
from selectron.program.program import Program
from selectron.program.tensor import Shape
from selectron.sql import column, integer, number

__all__ = [
    "BATCHES",
    "BATCH_NUMBER",
    "BATCH_ROWS",
    "ENDED",
    "FLAGS",
    "LOG_PREFIX",
    "ROW_IN_BATCH",
    "TICK",
    "BatchColumns",
    "BatchPlan",
    "Cte",
    "Fence",
    "Layout",
    "Step",
    "Tables",
    "beside_batch",
    "due",
    "last_batch",
    "latest",
    "numbered_batches",
    "running",
]

Expression = exp.Expr
# A table of the connection by its name.
Tables = Callable[[str], exp.Table]

TICK: Final = "tick"
BATCH_NUMBER: Final = "batch"
LOG_PREFIX: Final = "log."
# Columns of the batch: how many rows it has (of the relation of batches), and a row's place among them.
BATCH_ROWS: Final = "batch rows"
ROW_IN_BATCH: Final = "row in batch"
# The relation with a row for each batch.
BATCHES: Final = "selectron_batches"
# Parts of the state that end training.
FLAGS: Final = ("diverged", "stopped")
# 1 in a state whose step ended an epoch.
ENDED: Final = "ended"


@dataclass(frozen=True)
class BatchColumns:
    """What a batch holds of its rows, as expressions over a row.

    `features` and `target` have one expression for each unit, `indices` one for each input of the
    program that is an index. `weight` is None where rows count alike.
    """

    features: Sequence[Expression]
    target: Sequence[Expression]
    indices: Mapping[str, Expression] = field(default_factory=dict)
    weight: Expression | None = None

    @property
    def tensors(self) -> dict[str, Sequence[Expression]]:
        """The program's inputs that a row feeds, an expression for each unit."""
        found: dict[str, Sequence[Expression]] = {}
        if self.features:
            found["features"] = self.features
        found["target"] = self.target
        found |= {name: [index] for name, index in self.indices.items()}
        if self.weight is not None:
            found["weight"] = [self.weight]
        return found


@dataclass(frozen=True)
class BatchPlan:
    """How rows are cut into batches.

    >>> BatchPlan(training_rows=10, held_out_rows=3, size=4).per_epoch
    4
    """

    training_rows: int
    held_out_rows: int
    size: int

    @property
    def training_batches(self) -> int:
        return -(-self.training_rows // self.size)

    @property
    def per_epoch(self) -> int:
        """Batches of an epoch, those of held-out rows last."""
        return self.training_batches + -(-self.held_out_rows // self.size)

    @property
    def smallest(self) -> int:
        """The rows of the smallest batch."""
        return min(last_batch(rows, self.size) for rows in (self.training_rows, self.held_out_rows) if rows)


def last_batch(rows: int, size: int) -> int:
    """How many rows the last batch has.

    >>> last_batch(10, 4), last_batch(8, 4)
    (2, 4)
    """
    return (rows - 1) % size + 1


@dataclass(frozen=True)
class Step:
    """What a strategy repeats.

    Attributes
    ----------
    program
        An output for each part of the state, and ``"log.*"`` values.
    state
        The parts of the state and their shapes, in order.
    batches_per_epoch
        How many batches make an epoch, those of held-out rows included.
    """

    program: Program
    state: Mapping[str, Shape]
    batches_per_epoch: int

    @property
    def logs(self) -> tuple[str, ...]:
        """The program's outputs that are logged when an epoch ends."""
        return tuple(name for name in self.program.outputs if name.startswith(LOG_PREFIX))


class Fence(IntEnum):
    """How much it matters that a named query is computed once."""

    NONE = 0  # reading it twice is as good as computing it twice
    STAGE = 1  # its expressions are read several times: they must not be copied
    STATE = 2  # all that came before is in it: copying multiplies from step to step


@dataclass(frozen=True)
class Cte:
    """A query with a name."""

    name: str
    query: exp.Query
    fence: Fence = Fence.STAGE


class Layout(Protocol):
    """A training step, laid out in relations."""

    @property
    def step(self) -> Step:
        """What is laid out."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of a state, ``tick`` first."""

    @property
    def keyed(self) -> bool:
        """Whether a state is one row that carries its log along, so that each may replace the one before."""

    @property
    def uniform(self) -> bool:
        """Whether all columns of a state are numbers."""

    @property
    def scans(self) -> bool:
        """Whether a step goes through the rows of its batch, rather than find one row that has them all."""

    @property
    def parts(self) -> int:
        """How many parts a batch has that are worked on side by side."""

    def tables(
        self, rows: exp.Table, columns: BatchColumns, plan: BatchPlan, *, held_out: str, position: str
    ) -> Mapping[str, Callable[[Tables], exp.Query]]:
        """The tables of batches, in the order in which they are made; later ones may read earlier ones."""

    def initial(self, values: Mapping[str, Array], tick: int) -> exp.Query:
        """A state of given values."""

    def anchor(self, state: exp.Table | exp.Subquery) -> exp.Select:
        """The last state of an earlier result (or of `initial`), its log left out."""

    def chain(self, state: exp.Table, tables: Tables, until: Expression, prefix: str) -> list[Cte]:
        """The next state of `state`; none if that is at `until`, has stopped or has diverged."""

    def term(self, state: exp.Table, tables: Tables, until: Expression) -> exp.Query:
        """The next state as one query over one reference to `state`, with no WITH of its own.

        For recursive terms where nothing else is allowed.

        Raises
        ------
        EngineError
            If the layout has no such form.
        """

    def result(self, states: exp.Table | exp.Subquery) -> exp.Select:
        """What is kept of all the states of a statement: the last one, and the log."""

    def scalars(self, result: exp.Table, names: Sequence[str]) -> exp.Select:
        """Numbers of the last state (or its tick) as one row."""

    def cells(self, result: exp.Table, name: str, labels: Mapping[str, str]) -> exp.Query:
        """A tensor of the last state as rows: `labels` as columns, then row, col and value."""

    def logged(self, result: exp.Table) -> exp.Select:
        """The epochs that ended, in order: ``place`` (from 1, or growing) and a column for each log."""


def latest(source: exp.Table | exp.Subquery) -> Expression:
    """The condition of a relation's rows of the greatest tick."""
    highest = exp.select(exp.Max(this=column(TICK))).from_(source.copy())
    return exp.EQ(this=column(TICK), expression=exp.Subquery(this=highest))


def running(flags: Mapping[str, Expression], tick: Expression, until: Expression) -> list[Expression]:
    """The conditions under which a step is taken."""
    conditions: list[Expression] = [exp.LT(this=tick, expression=until.copy())]
    return conditions + [exp.EQ(this=flag, expression=number(0.0)) for flag in flags.values()]


def due(step: Step, until: Expression, here: str | None = None) -> list[Expression]:
    """The conditions under which a step is taken from a state that has a column for each of its parts."""
    flags = {flag: column(flag, here) for flag in FLAGS if flag in step.state}
    return running(flags, column(TICK, here), until)


def beside_batch(
    states: exp.Select, tick: Expression, step: Step, tables: Tables, own: str = "own"
) -> exp.Select:
    """A query of states, each beside the batch of its tick: the only one, or found by its number."""
    batches = exp.alias_(tables(BATCHES), own, table=True)
    if step.batches_per_epoch == 1:
        return states.join(batches, join_type="cross")
    turn = exp.Mod(this=tick, expression=integer(step.batches_per_epoch))
    return states.join(batches, on=exp.EQ(this=column(BATCH_NUMBER, own), expression=turn))


def numbered_batches(
    plan: BatchPlan, *, held_out: str, position: str
) -> tuple[Expression, Expression, Expression]:
    """A row's batch, its place in it (from 0), and whether it is trained on (1.0 or 0.0)."""
    in_group = exp.IntDiv(this=column(position), expression=integer(plan.size))
    held_number = exp.Add(this=in_group.copy(), expression=integer(plan.training_batches))
    batch = exp.Case(ifs=[exp.If(this=column(held_out), true=held_number)], default=in_group)
    place = exp.Mod(this=column(position), expression=integer(plan.size))
    is_training = exp.Case(ifs=[exp.If(this=column(held_out), true=number(0.0))], default=number(1.0))
    return batch, place, is_training

"""Every phase of one training step as rows to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from sqlglot import exp

from selectron.blueprint import Blueprint
from selectron.engines.base import Engine
from selectron.features.rows import HELD_OUT, POSITION
from selectron.layouts.base import Step
from selectron.layouts.relations_step import RelationsLayout
from selectron.planning import LayoutName, is_staged
from selectron.program.operations import Array, Input
from selectron.program.program import Program
from selectron.program.tensor import BATCH, Tensor
from selectron.sql import column, integer, text
from selectron.strategies.nested import nested_query, staged_queries

__all__ = ["PHASES", "Trace", "TraceRow", "traced_program"]

# In the order in which a step goes through them.
PHASES: Final = ("input", "pre-activation", "activation", "logits", "loss", "gradient", "update")

UPDATED: Final = "updated "


class TraceRow(NamedTuple):
    """A number on the way: of which phase and tensor, and at which place, counted from 0.

    The row is the place in the batch for tensors with a row for each row of it.
    """

    phase: str
    name: str
    row: int
    col: int
    value: float | None


def traced_program(blueprint: Blueprint) -> Program:
    """The step's program with everything that has a name as an output."""
    program = blueprint.step.program
    outputs: dict[str, Tensor] = {}
    for tensor in program.tensors():
        if isinstance(tensor.operation, Input) and tensor.shape[0] == BATCH:
            outputs[tensor.operation.name] = tensor
        elif tensor in program.labels:
            outputs.setdefault(program.labels[tensor], tensor)
    # What is only ever used before it is repeated, such as the gradient of biases of edges.
    for tensor, label in program.labels.items():
        outputs.setdefault(label, tensor)
    keys = (parameter.key for parameter in blueprint.step.parameters)
    return Program(outputs | {f"{UPDATED}{key}": program.outputs[key] for key in keys}, program.labels)


def phase_of(name: str) -> str:
    """The phase of a traced tensor, by its name.

    >>> phase_of("hidden_1 logits"), phase_of("output logits"), phase_of("gradient output.weights")
    ('pre-activation', 'logits', 'gradient')
    """
    if name.startswith(UPDATED) or name in ("learning rate", "clipping factor"):
        return "update"
    if name.startswith("gradient"):
        return "gradient"
    if name.startswith("loss"):
        return "loss"
    if name.endswith(" logits"):
        return "logits" if name == "output logits" else "pre-activation"
    return "activation" if name.endswith((" activations", " kept", " vectors")) else "input"


@dataclass(frozen=True)
class Trace:
    """The phases of the step after a state, in a database.

    Parameters
    ----------
    engine
        Where it is computed, by SQL, in the relations layout.
    blueprint
        The model.
    rows
        The arranged rows of its table.
    tick, values
        The state before the step.
    """

    engine: Engine
    blueprint: Blueprint
    rows: exp.Select
    tick: int
    values: Mapping[str, Array]

    def query(self, of_rows: Sequence[int] = ()) -> exp.Select:
        """The phases as a query of phase, name, row, col and value; makes the tables that it reads.

        Parameters
        ----------
        of_rows
            Places in the batch; all if none is given. Other tensors are there in any case.
        """
        layout, engine = self.layout, self.engine
        engine.create_temporary(ROWS, self.rows)
        made = layout.tables(
            engine.temporary(ROWS),
            self.blueprint.batch_columns(),
            self.blueprint.specification.plan,
            held_out=HELD_OUT,
            position=POSITION,
        )
        for name, query in made.items():
            engine.create_temporary(name, query(engine.temporary))
        engine.create_temporary(STATE, layout.initial(self.values, self.tick))
        until = integer(self.tick + 1)
        state, tables = engine.temporary(STATE), engine.temporary
        if is_staged(engine.abilities, LayoutName.RELATIONS):
            stages, result = staged_queries(layout, state=state, tables=tables, until=until)
            for name, query_ in stages:
                engine.create_temporary(name, query_)
        else:
            copies = engine.abilities.copies
            result = nested_query(layout, state=state, tables=tables, until=until, steps=1, copies=copies)
        engine.create_temporary(TRACE, result)
        named = exp.select(
            exp.alias_(self.phase(), "phase", quoted=True),
            *(column(name) for name in ("name", "row", "col", "value")),
        ).from_(engine.temporary(TRACE))
        if of_rows:
            batched = [text(name) for name, t in self.program.outputs.items() if t.shape[0] == BATCH]
            chosen = exp.In(this=column("row"), expressions=[integer(row) for row in of_rows])
            others = exp.Not(this=exp.In(this=column("name"), expressions=batched))
            named = named.where(exp.or_(chosen, others, copy=False))
        return named

    def fetched(self, of_rows: Sequence[int] = ()) -> list[TraceRow]:
        """The phases as rows, in their order."""
        found = [
            TraceRow(str(phase), str(name), int(row), int(col), value)
            for phase, name, row, col, value in self.engine.rows(self.query(of_rows))
        ]
        order = {name: place for place, name in enumerate(self.program.outputs)}
        return sorted(found, key=lambda r: (PHASES.index(r.phase), order[r.name], r.row, r.col))

    @property
    def program(self) -> Program:
        """What is computed."""
        return self.layout.step.program

    @property
    def layout(self) -> RelationsLayout:
        """The layout in which it is computed: there every tensor is rows already."""
        repeated = self.blueprint.repeated
        program = traced_program(self.blueprint)
        return RelationsLayout(Step(program, repeated.state, repeated.batches_per_epoch))

    def phase(self) -> exp.Expr:
        """The phase of each name."""
        branches = [
            exp.If(this=exp.EQ(this=column("name"), expression=text(name)), true=text(phase_of(name)))
            for name in self.program.outputs
        ]
        return exp.Case(ifs=branches)


ROWS: Final = "selectron_rows"
STATE: Final = "selectron_now"
TRACE: Final = "selectron_trace"

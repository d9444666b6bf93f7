"""The training loop: prepare once, then run chunks of steps and commit each as a checkpoint."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from sqlglot import exp

from selectron.blueprint import Blueprint
from selectron.engines.base import Engine
from selectron.errors import DivergenceError, TrainingInterrupted
from selectron.features.lookup import Directory
from selectron.features.rows import HELD_OUT, POSITION
from selectron.interrupting import deferred
from selectron.layouts.base import FLAGS, LOG_PREFIX, TICK, Layout
from selectron.layouts.storage import union_all
from selectron.pacing import Pace
from selectron.planning import Choice, StrategyName, frontier_of, in_term, is_staged, layout_of, register
from selectron.program.operations import Array
from selectron.sql import cast, column, growing, integer, number
from selectron.store.schema import LOG, STATE, TABLES
from selectron.store.store import ModelRecord, Status, Store
from selectron.strategies.nested import nested_query, staged_queries
from selectron.strategies.recursive import recursive_query

__all__ = ["ROWS", "Progress", "Trainer", "parameter_rows", "start_values", "stored_tick", "stored_values"]

# Tables of the connection alone, gone when it closes.
ROWS: Final = "selectron_rows"
NOW: Final = "selectron_now"
NEXT: Final = "selectron_next"
LOGGED: Final = "selectron_logged"

Expression = exp.Expr


@dataclass(frozen=True)
class Progress:
    """How far a training has come, as told to whoever watches it."""

    epoch: int
    epochs: int
    training_loss: float | None
    validation_loss: float | None
    metric: float | None
    seconds: float


def start_values(blueprint: Blueprint) -> dict[str, Array]:
    """The state that training starts from."""
    return dict(blueprint.step.state)


def stored_values(store: Store, model_id: int, blueprint: Blueprint) -> tuple[int, dict[str, Array]]:
    """The tick and the state of a model's last checkpoint, as far as the blueprint still has it."""
    values = {name: np.array(array) for name, array in blueprint.step.state.items()}
    for layer, parameter, row, col, value in store.parameters(model_id):
        values[f"{layer}.{parameter}"][row, col] = value
    for name, row, col, value in store.state(model_id):
        if name in values:
            values[name][row, col] = value
    return stored_tick(store, model_id), values


def stored_tick(store: Store, model_id: int) -> int:
    """How many batches had been seen at a model's last checkpoint; 0 without one."""
    cells = store.engine.rows(store.matrix(STATE, model_id, name=TICK))
    return int(cells[0][-1]) if cells else 0


def parameter_rows(blueprint: Blueprint, layout: Layout, source: exp.Table, *, best: bool) -> exp.Query:
    """A result's parameters as rows of the store; those of the best epoch if asked for and kept."""
    restores = blueprint.step.restores if best else {}
    return union_all(
        [
            layout.cells(
                source,
                restores.get(parameter.key, parameter.key),
                {"layer": parameter.layer, "parameter": parameter.name},
            )
            for parameter in blueprint.step.parameters
        ]
    )


class Trainer:
    """Trains one model. Made for one training; `run` is the face.

    Parameters
    ----------
    engine, store
        Where it all happens.
    record
        The model's row in the store.
    blueprint
        What to train.
    choice
        In which layout, by which strategy.
    watch
        Called after each chunk.
    """

    def __init__(
        self,
        engine: Engine,
        store: Store,
        record: ModelRecord,
        blueprint: Blueprint,
        choice: Choice,
        watch: Callable[[Progress], None],
    ) -> None:
        self.engine = engine
        self.store = store
        self.record = record
        self.blueprint = blueprint
        self.watch = watch
        self.choice = choice
        self.layout = layout_of(engine.abilities, choice.layout, blueprint.repeated, choice.parts)
        self.made: list[str] = []
        self.tick = 0
        self.per_epoch = blueprint.specification.plan.per_epoch
        self.since_logged = 0.0
        self.checkpointed = record.epochs is not None
        self.keeps = False
        self.epochs_done = record.epochs or 0

    def run(self, epochs: int, *, resume: bool = False, other_rows: bool = False) -> None:
        """Train until `epochs` epochs are done in all, or early stopping or the user ends it.

        Parameters
        ----------
        epochs
            In all, those of the last checkpoint included.
        resume
            Whether to start from the last checkpoint.
        other_rows
            Whether that was reached on other rows, so that an epoch of these begins.

        Raises
        ------
        DivergenceError, TrainingInterrupted
            The last checkpoint is kept.
        """
        self.keeps = self.blueprint.specification.keep_states
        try:
            self.prepare(resume=resume, other_rows=other_rows)
            self.loop(epochs)
        except KeyboardInterrupt:
            raise self.interrupted() from None
        except DivergenceError:
            raise
        except Exception:
            # Whatever the engine refused: a model without a checkpoint is no model.
            self.keep(Status.INTERRUPTED)
            raise
        finally:
            self.tidy()

    def tidy(self) -> None:
        """Drop the tables of the training."""
        for name in (ROWS, *self.made, NOW, NEXT, LOGGED):
            self.engine.drop_temporary(name)

    def values_after(self, rows: exp.Select, ticks: int) -> tuple[int, dict[str, Array]]:
        """The state after so many steps from the start, computed anew; the store stays as it is."""
        values = start_values(self.blueprint)
        try:
            self.engine.create_temporary(ROWS, rows)
            self.prepare(resume=False)
            result = self.engine.temporary(NOW)
            while self.tick < ticks:
                until = min(ticks, self.tick + self.most_ticks)
                self.advance(until)
                self.engine.rename_temporary(NEXT, NOW)
                self.tick = until
            if ticks:
                cells = union_all([self.layout.cells(result, name, {"name": name}) for name in values])
                values = {name: np.array(value) for name, value in values.items()}
                for name, row, col, value in self.engine.rows(cells):
                    values[name][int(row), int(col)] = value
            return ticks, values
        finally:
            self.tidy()

    @growing()
    def prepare(self, *, resume: bool, other_rows: bool = False) -> None:
        """Make the batches and the state to start from."""
        register(self.engine, self.layout)
        directory = Directory(self.engine.abilities.lookup, self.store.categories(self.record.model_id))
        made = self.layout.tables(
            self.engine.temporary(ROWS),
            self.blueprint.batch_columns(directory),
            self.blueprint.specification.plan,
            held_out=HELD_OUT,
            position=POSITION,
        )
        for name, query in made.items():
            self.made.append(name)
            self.engine.create_temporary(name, query(self.engine.temporary))
        # All is in the batches now, and the chunks have a use for the memory.
        self.engine.drop_temporary(ROWS)
        tick, values = 0, start_values(self.blueprint)
        if resume:
            tick, values = stored_values(self.store, self.record.model_id, self.blueprint)
            values["stopped"] = np.zeros((1, 1))
        if other_rows:
            # Batches are counted anew, and what an unfinished epoch had added up is left.
            tick = self.epochs_done * self.per_epoch
            values |= {name: np.zeros((1, 1)) for name in ("training sum", "training weight")}
        self.tick = tick
        self.engine.create_temporary(NOW, self.layout.initial(values, tick))

    def loop(self, epochs: int) -> None:
        """Chunk after chunk, each about a second long and then committed."""
        end = epochs * self.per_epoch
        pace = Pace.guessed(self.guessed_seconds(), self.choice.planned)
        while True:
            until = min(end, self.tick + min(pace.ticks, self.most_ticks))
            started = time.perf_counter()
            state = self.advance(until)
            ran = time.perf_counter() - started
            if state["diverged"] or self.lost():
                raise self.diverged(int(state["step"]))
            over = bool(state["stopped"]) or until == end
            self.checkpoint(state, ran, over=over)
            committed = time.perf_counter() - started - ran
            if over:
                return
            # No steps are a chunk too, where no epoch is asked for.
            pace = pace.after(max(1, until - self.tick), ran, committed)
            self.tick = until

    @property
    def most_ticks(self) -> int:
        """How many steps a chunk may have: engines stop a recursion after so many rounds."""
        limit = self.engine.limits.recursions
        is_recursive = self.choice.strategy is StrategyName.RECURSIVE
        return limit - 1 if limit is not None and is_recursive else sys.maxsize

    def advance(self, until: int) -> dict[str, Any]:
        """Train up to a tick, in one statement or several; give the numbers that decide how to go on."""
        self.logged = self.layout.logged(self.engine.temporary(NEXT))
        if until == self.tick:
            # No epoch is asked for: the state as it is.
            self.engine.create_temporary(NEXT, self.layout.anchor(self.engine.temporary(NOW)))
            return self.scalars()
        if self.choice.strategy is StrategyName.RECURSIVE:
            # DuckDB may wait forever for the cores of a recursion that is stopped halfway.
            with deferred() if self.layout.parts > 1 else nullcontext():
                self.engine.create_temporary(NEXT, self.recursive(until))
            return self.scalars()
        most = self.blueprint.specification.steps or self.choice.steps
        if is_staged(self.engine.abilities, self.choice.layout):
            most = 1
        tick, state = self.tick, dict[str, Any]()
        while tick < until and not (state.get("stopped") or state.get("diverged")):
            steps = min(most, until - tick)
            if state:
                # The log of one statement is added up before the next one's result takes its place.
                self.keep_log(first=tick == self.tick + most)
                self.engine.rename_temporary(NEXT, NOW)
            self.engine.create_temporary(NEXT, self.stepped(until, steps))
            state = self.scalars()
            tick += steps
        if tick > self.tick + most:
            self.keep_log(first=False)
            self.logged = exp.select("*").from_(self.engine.temporary(LOGGED))
        return state

    def keep_log(self, *, first: bool) -> None:
        """Move the log of a result into the table of this chunk."""
        rows = self.layout.logged(self.engine.temporary(NEXT))
        if first:
            self.engine.create_temporary(LOGGED, rows)
        else:
            self.engine.run(exp.Insert(this=self.engine.temporary(LOGGED), expression=rows))

    @growing()
    def recursive(self, until: int) -> exp.Select:
        """All steps up to a tick, in one recursive statement."""
        abilities = self.engine.abilities
        return recursive_query(
            self.layout,
            state=self.engine.temporary(NOW),
            tables=self.engine.temporary,
            until=integer(until),
            in_term=in_term(abilities),
            copies=abilities.copies,
            frontier=frontier_of(abilities),
        )

    def stepped(self, until: int, steps: int) -> exp.Select:
        """So many steps, the relations on the way made as tables first if that is how the engine does it."""
        if not is_staged(self.engine.abilities, self.choice.layout):
            return self.nested(until, steps)
        made, result = staged_queries(
            self.layout,
            state=self.engine.temporary(NOW),
            tables=self.engine.temporary,
            until=integer(until),
        )
        for name, query in made:
            if name not in self.made:
                self.made.append(name)
            self.engine.create_temporary(name, query)
        return result

    @growing()
    def nested(self, until: int, steps: int) -> exp.Select:
        """So many steps, in one statement without recursion."""
        return nested_query(
            self.layout,
            state=self.engine.temporary(NOW),
            tables=self.engine.temporary,
            until=integer(until),
            steps=steps,
            copies=self.engine.abilities.copies,
        )

    def guessed_seconds(self) -> float:
        """A first guess at how long a step takes."""
        return self.choice.seconds

    def scalars(self) -> dict[str, Any]:
        """The numbers of the new state that decide how to go on."""
        names = [TICK, "step", "epoch", *FLAGS]
        (row,) = self.engine.rows(self.layout.scalars(self.engine.temporary(NEXT), names))
        state = dict(zip(names, row, strict=True))
        if self.keeps and not state["diverged"]:
            result = self.engine.temporary(NEXT)
            every = [
                self.layout.cells(result, name, {"name": name}) for name in (TICK, *self.blueprint.step.state)
            ]
            self.store.keep_state(self.record.model_id, int(state[TICK]), union_all(every))
        return state

    def last_log(self) -> tuple[int, dict[str, Any]]:
        """How many epochs ended since the last checkpoint, and what the last of them logged."""
        logs = [name.removeprefix(LOG_PREFIX) for name in self.blueprint.repeated.logs]
        total = exp.Window(this=exp.Count(this=exp.Star()))
        rows = self.logged.copy().subquery("epochs")
        last = exp.select(total, *map(column, logs)).from_(rows, copy=False)
        order = exp.Ordered(this=column("place"), desc=True, nulls_first=False)
        found = self.engine.rows(last.order_by(order, copy=False).limit(1, copy=False))
        return (int(found[0][0]), dict(zip(logs, found[0][1:], strict=True))) if found else (0, {})

    def lost(self) -> bool:
        """Whether a parameter is NaN or too large to go on from, as the chunk's last update left it."""
        cells = parameter_rows(self.blueprint, self.layout, self.engine.temporary(NEXT), best=False)
        rows = exp.Subquery(this=cells, alias=exp.TableAlias(this=exp.to_identifier("cells")))
        fine = exp.LT(this=exp.Abs(this=column("value")), expression=number(1e300))
        # A NaN is NULL on some engines.
        counted = exp.Sum(this=exp.Case(ifs=[exp.If(this=fine, true=integer(0))], default=integer(1)))
        return bool(self.engine.rows(exp.select(counted).from_(rows, copy=False))[0][0])

    @growing()
    def checkpoint(self, state: Mapping[str, Any], ran: float, *, over: bool) -> None:
        """Commit the new state, which then is the one to go on from."""
        self.since_logged += ran
        logged, log = self.last_log()
        seconds = self.since_logged / logged if logged else 0.0
        if logged:
            self.since_logged = 0.0
        status = Status.FINISHED if over else Status.TRAINING
        self.epochs_done = int(state["epoch"])
        result = self.engine.temporary(NEXT)
        self.store.checkpoint(
            self.record.model_id,
            parameters=parameter_rows(self.blueprint, self.layout, result, best=over),
            state=self.state_rows(result),
            log=self.log_rows(self.epochs_done - logged, seconds) if logged else None,
            epochs=self.epochs_done,
            steps=int(state["step"]),
            status=status,
        )
        self.checkpointed = True
        self.engine.rename_temporary(NEXT, NOW)
        self.watch(
            Progress(
                epoch=self.epochs_done,
                epochs=self.blueprint.specification.training.epochs,
                training_loss=log.get("training_loss"),
                validation_loss=log.get("validation_loss"),
                metric=log.get("metric"),
                seconds=ran,
            )
        )

    def state_rows(self, result: exp.Table) -> exp.Query:
        """The state but for the parameters, as rows of the store."""
        parameters = {parameter.key for parameter in self.blueprint.step.parameters}
        names = [TICK, *(name for name in self.blueprint.step.state if name not in parameters)]
        return union_all([self.layout.cells(result, name, {"name": name}) for name in names])

    def log_rows(self, epochs_before: int, seconds: float) -> exp.Query:
        """The epochs that the chunk ended, as rows of the log."""
        logs = {name.removeprefix(LOG_PREFIX) for name in self.blueprint.repeated.logs}
        order = exp.Order(expressions=[exp.Ordered(this=column("place"), nulls_first=False)])
        place = exp.Window(this=exp.RowNumber(), order=order)
        columns: dict[str, Expression] = {
            name: column(name) if name in logs else cast(exp.Null(), "double")
            for name in list(TABLES[LOG])[2:-2]
        }
        return exp.select(
            exp.alias_(exp.Add(this=place, expression=integer(epochs_before)), "epoch", quoted=True),
            *(exp.alias_(value, name, quoted=True) for name, value in columns.items()),
            exp.alias_(number(seconds), "seconds", quoted=True),
            exp.alias_(exp.cast(exp.CurrentTimestamp(), "timestamp"), "finished_at", quoted=True),
        ).from_(self.logged.copy().subquery("epochs"), copy=False)

    def diverged(self, step: int) -> DivergenceError:
        """Say that training diverged; forget the model if it has no checkpoint."""
        kept = self.keep(Status.DIVERGED)
        return DivergenceError(
            f"Training {self.record.name!r} diverged after step {step}: the loss or the gradient is not "
            f"finite. {kept}",
            hint="Lower the learning rate, clip the gradient (clip_norm), or scale the features.",
        )

    def interrupted(self) -> TrainingInterrupted:
        """Say that training was stopped, and how to go on."""
        kept = self.keep(Status.INTERRUPTED)
        hint = "Resume with model.train(), or selectron train --resume." if self.checkpointed else ""
        return TrainingInterrupted(f"Training {self.record.name!r} was stopped. {kept}", hint=hint)

    def keep(self, status: Status) -> str:
        """Mark the last checkpoint, or remove a model that has none; say which."""
        if self.checkpointed:
            self.store.set_status(self.record.model_id, status)
            return f"The checkpoint of epoch {self.epochs_done} is kept."
        self.store.drop(self.record.name, self.record.version)
        return "There was no checkpoint yet, so nothing is kept."

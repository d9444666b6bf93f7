"""The training loop: prepare once, then run chunks of steps and commit each as a checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlglot import exp

from selectron.blueprint import Blueprint
from selectron.engines.base import Engine
from selectron.errors import DivergenceError, TrainingInterrupted
from selectron.features.rows import HELD_OUT, POSITION
from selectron.layouts.batches import batches_query
from selectron.layouts.storage import (
    array_from_rows,
    array_literal,
    rows_from_array,
    union_all,
)
from selectron.sql import column, integer, number
from selectron.store.schema import LOG, PARAMETERS, STATE, TABLES
from selectron.store.store import ModelRecord, Status, Store
from selectron.strategies.recursive import LOG_PREFIX, recursive_query

__all__ = ["BATCHES", "ROWS", "Progress", "Trainer", "parameter_rows", "stored_state"]

# Tables of the connection alone, gone when it closes.
ROWS: Final = "selectron_rows"
BATCHES: Final = "selectron_batches"
NOW: Final = "selectron_now"
NEXT: Final = "selectron_next"

# How long a chunk should take, and what a step is first guessed to: a fixed part and nanoseconds a product.
CHUNK_SECONDS: Final = 1.0
STEP_SECONDS: Final = 5e-4
PRODUCT_SECONDS: Final = 2e-9
UNIT_SECONDS: Final = 5e-8

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


def initial_state(blueprint: Blueprint) -> exp.Select:
    """One row: tick 0 and the initial value of each part of the state."""
    values = [
        exp.alias_(array_literal(array), name, quoted=True) for name, array in blueprint.step.state.items()
    ]
    return exp.select(exp.alias_(exp.cast(integer(0), "bigint"), "tick", quoted=True), *values)


def stored_state(store: Store, model_id: int, blueprint: Blueprint) -> exp.Select:
    """One row: the tick and the state of a model's last checkpoint."""
    parameters = {parameter.key: parameter for parameter in blueprint.step.parameters}
    values = []
    for name, array in blueprint.step.state.items():
        if name in parameters:
            layer, parameter = parameters[name].layer, parameters[name].name
            rows = store.matrix(PARAMETERS, model_id, layer=layer, parameter=parameter)
        else:
            rows = store.matrix(STATE, model_id, name=name)
        values.append(exp.alias_(array_from_rows(rows, shape_of(array)), name, quoted=True))
    tick = array_from_rows(store.matrix(STATE, model_id, name="tick"), (1, 1))
    return exp.select(exp.alias_(exp.cast(tick, "bigint"), "tick", quoted=True), *values)


def shape_of(array: Any) -> tuple[int, int]:
    rows, columns = array.shape
    return rows, columns


def parameter_rows(blueprint: Blueprint, source: exp.Table, *, best: bool) -> exp.Query:
    """A one-row state's parameters as rows; those of the best epoch if asked for and kept."""
    restores = blueprint.step.restores if best else {}
    return union_all(
        [
            rows_from_array(
                source,
                restores.get(parameter.key, parameter.key),
                parameter.shape,
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
    watch
        Called after each chunk.
    """

    def __init__(
        self,
        engine: Engine,
        store: Store,
        record: ModelRecord,
        blueprint: Blueprint,
        watch: Callable[[Progress], None],
    ) -> None:
        self.engine = engine
        self.store = store
        self.record = record
        self.blueprint = blueprint
        self.watch = watch
        self.per_epoch = blueprint.specification.plan.per_epoch
        self.since_logged = 0.0
        self.checkpointed = record.epochs is not None
        self.epochs_done = record.epochs or 0

    def run(self, epochs: int, *, resume: bool = False) -> None:
        """Train until `epochs` epochs are done in all, or early stopping or the user ends it.

        Raises
        ------
        DivergenceError, TrainingInterrupted
            The last checkpoint is kept.
        """
        try:
            self.prepare(resume=resume)
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
            for name in (ROWS, BATCHES, NOW, NEXT):
                self.engine.drop_temporary(name)

    def prepare(self, *, resume: bool) -> None:
        """Make the batches and the state to start from."""
        plan = self.blueprint.specification.plan
        batches = batches_query(
            self.engine.temporary(ROWS),
            self.blueprint.batch_columns(),
            plan,
            held_out=HELD_OUT,
            position=POSITION,
        )
        self.engine.create_temporary(BATCHES, batches)
        state = (
            stored_state(self.store, self.record.model_id, self.blueprint)
            if resume
            else initial_state(self.blueprint)
        )
        self.engine.create_temporary(NOW, state)
        if resume:
            stopped = exp.EQ(this=column("stopped"), expression=number(0.0))
            self.engine.run(exp.Update(this=self.engine.temporary(NOW), expressions=[stopped]))

    def loop(self, epochs: int) -> None:
        """Chunk after chunk, each about a second long and then committed."""
        tick = int(self.engine.rows(exp.select(column("tick")).from_(self.engine.temporary(NOW)))[0][0])
        end = epochs * self.per_epoch
        ticks = max(1, int(CHUNK_SECONDS / self.guessed_seconds()))
        while True:
            until = min(end, tick + ticks)
            started = time.perf_counter()
            query = recursive_query(
                self.blueprint.recursion,
                state=self.engine.temporary(NOW),
                batches=self.engine.temporary(BATCHES),
                until=integer(until),
            )
            self.engine.create_temporary(NEXT, query)
            ran = time.perf_counter() - started
            state = self.scalars()
            if state["diverged"] or self.lost():
                raise self.diverged(int(state["step"]))
            over = bool(state["stopped"]) or until == end
            self.checkpoint(state, ran, over=over)
            committed = time.perf_counter() - started - ran
            if over:
                return
            tick = until
            # Committing should not take longer than a tenth of the training.
            target = max(CHUNK_SECONDS, 10 * committed)
            ticks = max(1, int(ticks * min(10.0, target / max(ran, 1e-3))))

    def guessed_seconds(self) -> float:
        """A first guess at how long a step takes."""
        parameters = sum(parameter.initial.size for parameter in self.blueprint.step.parameters)
        units = self.blueprint.inputs.units + sum(
            layer.units for layer in self.blueprint.specification.network.layers
        )
        rows = self.blueprint.specification.plan.size
        return STEP_SECONDS + rows * (2 * parameters * PRODUCT_SECONDS + units * UNIT_SECONDS)

    def scalars(self) -> dict[str, Any]:
        """The numbers of the new state that decide how to go on, and the last logged values."""
        names = ["tick", "step", "epoch", "diverged", "stopped"]
        logs = list(self.blueprint.recursion.logs)
        counted = exp.Anonymous(this="len", expressions=[column(logs[0])])
        lasts = [exp.Bracket(this=column(name), expressions=[integer(-1)], offset=1) for name in logs]
        query = exp.select(*map(column, names), counted, *lasts).from_(self.engine.temporary(NEXT))
        row = self.engine.rows(query)[0]
        return dict(zip([*names, "logged", *logs], row, strict=True))

    def lost(self) -> bool:
        """Whether a parameter is NaN or too large to go on from, as the chunk's last update left it."""
        rows = exp.Subquery(this=parameter_rows(self.blueprint, self.engine.temporary(NEXT), best=False))
        fine = exp.LT(this=exp.Abs(this=column("value")), expression=number(1e300))
        query = exp.select(exp.Count(this=exp.Star())).from_(rows, copy=False).where(exp.Not(this=fine))
        return bool(self.engine.rows(query)[0][0])

    def checkpoint(self, state: Mapping[str, Any], ran: float, *, over: bool) -> None:
        """Commit the new state, which then is the one to go on from."""
        self.since_logged += ran
        logged = int(state["logged"])
        seconds = self.since_logged / logged if logged else 0.0
        if logged:
            self.since_logged = 0.0
        status = Status.FINISHED if over else Status.TRAINING
        self.epochs_done = int(state["epoch"])
        self.store.checkpoint(
            self.record.model_id,
            parameters=parameter_rows(self.blueprint, self.engine.temporary(NEXT), best=over),
            state=self.state_rows(),
            log=self.log_rows(self.epochs_done - logged, logged, seconds) if logged else None,
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
                training_loss=state[f"{LOG_PREFIX}training_loss"],
                validation_loss=state.get(f"{LOG_PREFIX}validation_loss"),
                metric=state.get(f"{LOG_PREFIX}metric"),
                seconds=ran,
            )
        )

    def state_rows(self) -> exp.Query:
        """The state but for the parameters, as rows of the store."""
        parameters = {parameter.key for parameter in self.blueprint.step.parameters}
        shapes = {
            "tick": (1, 1),
            **{
                name: shape_of(array)
                for name, array in self.blueprint.step.state.items()
                if name not in parameters
            },
        }
        return union_all(
            [
                rows_from_array(self.engine.temporary(NEXT), name, shape, {"name": name})
                for name, shape in shapes.items()
            ]
        )

    def log_rows(self, epochs_before: int, logged: int, seconds: float) -> exp.Query:
        """The epochs that the chunk ended, as rows of the log."""
        logs = set(self.blueprint.recursion.logs)
        place = exp.Anonymous(this="range", expressions=[integer(1), integer(logged + 1)])
        columns: dict[str, Expression] = {}
        for name in list(TABLES[LOG])[2:-2]:
            held = f"{LOG_PREFIX}{name}"
            values = exp.Anonymous(this="unnest", expressions=[column(held)])
            columns[name] = values if held in logs else exp.cast(exp.Null(), "double")
        unnested = exp.select(
            exp.alias_(exp.Anonymous(this="unnest", expressions=[place]), "place", quoted=True),
            *(exp.alias_(value, name, quoted=True) for name, value in columns.items()),
        ).from_(self.engine.temporary(NEXT))
        epoch = exp.Add(this=column("place"), expression=integer(epochs_before))
        return exp.select(
            exp.alias_(epoch, "epoch", quoted=True),
            *(column(name) for name in columns),
            exp.alias_(number(seconds), "seconds", quoted=True),
            exp.alias_(exp.cast(exp.CurrentTimestamp(), "timestamp"), "finished_at", quoted=True),
        ).from_(unnested.subquery("epochs", copy=False), copy=False)

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

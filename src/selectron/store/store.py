"""Models in the user's database: written, checkpointed, found, read and dropped."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from sqlglot import exp

from selectron.engines.base import Engine
from selectron.errors import ModelNotFoundError, StoreError
from selectron.sql import column, encodable, integer, number, text
from selectron.store.schema import (
    LOG,
    MIGRATIONS,
    MODELS,
    PARAMETERS,
    SNAPSHOTS,
    STATE,
    STATISTICS,
    TABLES,
    UNITS,
    VIEWS,
    WEIGHTS,
    migrate,
    table,
)

__all__ = ["LogRow", "ModelRecord", "Status", "Store"]

Value = str | int | float | None

# Rows of literals in one statement: planning takes longer for each of a thousand than of hundreds.
INSERTED = 500
# The columns of a number of a state.
CELL: Final = ("name", "row", "col", "value")


class Status(StrEnum):
    """How far a model's training has come."""

    TRAINING = "training"
    INTERRUPTED = "interrupted"
    FINISHED = "finished"
    DIVERGED = "diverged"


@dataclass(frozen=True)
class ModelRecord:
    """One version of a model, as its row in the store."""

    model_id: int
    name: str
    version: int
    created_at: datetime
    status: str
    task: str
    target: str
    source: str
    training_rows: int
    validation_rows: int
    epochs: int | None
    steps: int | None
    specification: str
    selectron_version: str


@dataclass(frozen=True)
class LogRow:
    """One epoch of a training."""

    epoch: int
    training_loss: float
    validation_loss: float | None
    metric: float | None
    learning_rate: float
    gradient_norm: float
    seconds: float


class Store:
    """The models of a database.

    Examples
    --------
    >>> from selectron.engines.duckdb import DuckDB
    >>> Store(DuckDB()).models()
    []
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def exists(self) -> bool:
        """Whether there is a store in the database."""
        return self.engine.has_table(MODELS)

    def prepare(self) -> None:
        """Make the store, or bring it up to date.

        Raises
        ------
        StoreError
            If the database is read-only, or the store is newer than this program.
        """
        if self.engine.read_only:
            raise StoreError(
                "The database is read-only, and training writes the model into it.",
                hint="Open it for writing, or train in a copy.",
            )
        migrate(self.engine)

    # Writing ---------------------------------------------------------------------------------

    def create_model(
        self,
        name: str,
        *,
        task: str,
        target: str,
        source: str,
        training_rows: int,
        validation_rows: int,
        specification: str,
        selectron_version: str,
        statistics: Iterable[Sequence[Value]],
        units: Mapping[str, Sequence[str]],
    ) -> ModelRecord:
        """A new version of a model, not to be found by its name before its first checkpoint.

        Parameters
        ----------
        statistics
            Rows of ``selectron_statistics`` without the model.
        units
            The names of each layer's units, in the order of the layers.
        """
        if not name.strip():
            raise StoreError("A model needs a name.", hint="Give one that is not empty.")
        if not encodable(name):
            raise StoreError(f"Model name {name!r} is no valid Unicode text.", hint="Give another.")
        with self.engine.transaction():
            model_id, version = self.next_version(name)
            values: list[exp.Expr] = [
                integer(model_id),
                text(name),
                integer(version),
                exp.cast(exp.CurrentTimestamp(), "timestamp"),
                text(Status.TRAINING),
                text(task),
                text(target),
                text(source),
                integer(training_rows),
                integer(validation_rows),
                exp.Null(),
                exp.Null(),
                text(specification),
                text(selectron_version),
            ]
            self.engine.run(exp.Insert(this=table(MODELS), expression=exp.Select(expressions=values)))
            self.insert(STATISTICS, [(model_id, *row) for row in statistics])
            named = [
                (model_id, position, layer, unit, unit_name)
                for position, (layer, names) in enumerate(units.items())
                for unit, unit_name in enumerate(names)
            ]
            self.insert(UNITS, named)
        return self.record(model_id)

    def copy_from(self, other: Store, record: ModelRecord) -> ModelRecord:
        """Copy a model of another store into this one, as a new version of its name; all or nothing."""
        with self.engine.transaction():
            model_id, version = self.next_version(record.name)
            values: list[Value] = [model_id, record.name, version, None, *astuple(record)[4:]]
            self.insert(MODELS, [values])
            self.update(model_id, created_at=exp.cast(exp.CurrentTimestamp(), "timestamp"))
            for name in (PARAMETERS, STATE, STATISTICS, UNITS, LOG):
                names = [own for own in list(TABLES[name])[1:] if own != "finished_at"]
                rows = other.select(name, names, record.model_id)
                moment: tuple[Value, ...] = (None,) if name == LOG else ()
                self.insert(name, [(model_id, *row, *moment) for row in rows])
        return self.record(model_id)

    def next_version(self, name: str) -> tuple[int, int]:
        """The id and the version of the next model of a name."""
        counted = exp.select(
            exp.func("coalesce", exp.Max(this=column("model_id")), integer(0)),
            exp.func("coalesce", exp.Max(this=self.if_named(name)), integer(0)),
        ).from_(table(MODELS))
        highest, version = self.engine.rows(counted)[0]
        return int(highest) + 1, int(version) + 1

    def if_named(self, name: str) -> exp.Case:
        """The version where the name is this one."""
        same = exp.EQ(this=column("name"), expression=text(name))
        return exp.Case(ifs=[exp.If(this=same, true=column("version"))])

    def insert(self, name: str, rows: Sequence[Sequence[Value]]) -> None:
        """Insert rows of literals, so many at once."""
        for start in range(0, len(rows), INSERTED):
            part = rows[start : start + INSERTED]
            tuples = [exp.Tuple(expressions=[literal(value) for value in row]) for row in part]
            self.engine.run(exp.Insert(this=table(name), expression=exp.Values(expressions=tuples)))

    def checkpoint(
        self,
        model_id: int,
        *,
        parameters: exp.Query,
        state: exp.Query,
        log: exp.Query | None,
        epochs: int,
        steps: int,
        status: Status,
    ) -> None:
        """Replace a model's parameters and state and append to its log, all or nothing.

        Parameters
        ----------
        parameters
            A query of layer, parameter, row, col and value.
        state
            A query of name, row, col and value.
        log
            A query of ``selectron_log``'s columns without the model.
        """
        mine = exp.EQ(this=column("model_id"), expression=integer(model_id))
        with self.engine.transaction():
            for name, query in ((PARAMETERS, parameters), (STATE, state)):
                self.engine.run(exp.Delete(this=table(name), where=exp.Where(this=mine.copy())))
                self.engine.run(self.insert_from(name, model_id, query))
            if log is not None:
                self.engine.run(self.insert_from(LOG, model_id, log))
            self.update(model_id, status=text(status), epochs=integer(epochs), steps=integer(steps))

    def keep_state(self, model_id: int, step: int, state: exp.Query) -> None:
        """Keep a state on the way: a query of name, row, col and value."""
        columns = [exp.alias_(integer(step), "step", quoted=True), *map(column, CELL)]
        rows = exp.select(*columns).from_(state.subquery("state", copy=False), copy=False)
        with self.engine.transaction():
            same = exp.and_(of_model(model_id), exp.EQ(this=column("step"), expression=integer(step)))
            self.engine.run(exp.Delete(this=table(SNAPSHOTS), where=exp.Where(this=same)))
            self.engine.run(self.insert_from(SNAPSHOTS, model_id, rows))

    def kept_steps(self, model_id: int) -> list[int]:
        """The steps whose states were kept."""
        if not self.engine.has_table(SNAPSHOTS):
            # A store that was not written to since states are kept.
            return []
        step = column("step")
        query = exp.select(step).distinct().from_(table(SNAPSHOTS)).where(of_model(model_id)).order_by(step)
        return [int(found) for (found,) in self.engine.rows(query)]

    def rewind(self, model_id: int, step: int, parameters: Sequence[tuple[str, str]]) -> None:
        """Make a kept state the current checkpoint, all or nothing.

        `parameters` are layers and parameters, whose state is called ``<layer>.<parameter>``.
        """
        here = exp.and_(of_model(model_id), exp.EQ(this=column("step"), expression=integer(step)))

        def cells(*names: exp.Expr, **equal: exp.Expr) -> exp.Select:
            same = [exp.EQ(this=column(key), expression=value) for key, value in equal.items()]
            kept = exp.select(*names, *map(column, CELL[1:])).from_(table(SNAPSHOTS))
            return kept.where(here.copy(), *same)

        def value(name: str) -> int:
            return int(self.engine.rows(cells(name=text(name)))[0][-1])

        keys = {f"{layer}.{parameter}": (layer, parameter) for layer, parameter in parameters}
        epochs, steps = value("epoch"), value("step")
        listed = exp.In(this=column("name"), expressions=[text(key) for key in keys])
        state = cells(column("name")).where(exp.Not(this=listed))
        later = exp.and_(of_model(model_id), exp.GT(this=column("epoch"), expression=integer(epochs)))
        with self.engine.transaction():
            for name in (PARAMETERS, STATE):
                self.engine.run(exp.Delete(this=table(name), where=exp.Where(this=of_model(model_id))))
            for key, (layer, parameter) in keys.items():
                own = cells(text(layer), text(parameter), name=text(key))
                self.engine.run(self.insert_from(PARAMETERS, model_id, own))
            self.engine.run(self.insert_from(STATE, model_id, state))
            self.engine.run(exp.Delete(this=table(LOG), where=exp.Where(this=later)))
            self.update(
                model_id, status=text(Status.INTERRUPTED), epochs=integer(epochs), steps=integer(steps)
            )

    def insert_from(self, name: str, model_id: int, query: exp.Query) -> exp.Insert:
        """INSERT of a query's rows, each with the model's id."""
        rows = exp.Subquery(this=query, alias=exp.TableAlias(this=exp.to_identifier("new")))
        source = exp.select(integer(model_id), "new.*").from_(rows, copy=False)
        return exp.Insert(this=table(name), expression=source)

    def set_specification(self, model_id: int, specification: str) -> None:
        """Replace what was asked for, as when training goes on for more epochs."""
        self.update(model_id, specification=text(specification))

    def set_rows(self, model_id: int, source: str, training: int, held_out: int) -> None:
        """Say which rows a model was last trained on."""
        rows = {"training_rows": integer(training), "validation_rows": integer(held_out)}
        self.update(model_id, source=text(source), **rows)

    def discard_if_empty(self) -> None:
        """Remove the store's tables if no model is in them."""
        if self.exists() and not self.models(unfinished=True):
            with self.engine.transaction():
                self.drop_tables()

    def drop_tables(self) -> None:
        self.engine.run(exp.Drop(tables=[table(WEIGHTS)], kind="VIEW", exists=True))
        for owned in (*TABLES, MIGRATIONS):
            self.engine.run(exp.Drop(tables=[table(owned)], kind="TABLE"))

    def set_status(self, model_id: int, status: Status) -> None:
        """Say how far a training has come."""
        self.update(model_id, status=text(status))

    def update(self, model_id: int, **values: exp.Expr) -> None:
        assignments = [
            exp.EQ(this=exp.to_identifier(k, quoted=True), expression=v) for k, v in values.items()
        ]
        mine = exp.EQ(this=column("model_id"), expression=integer(model_id))
        self.engine.run(exp.Update(this=table(MODELS), expressions=assignments, where=exp.Where(this=mine)))

    def record_view(self, model_id: int, kind: str, name: str, source: str | None = None) -> None:
        """Remember a view, so that dropping the model drops it and training it anew makes it anew."""
        self.forget_view(kind, name)
        self.insert(VIEWS, [(model_id, kind, name, source)])

    def forget_view(self, kind: str, name: str) -> None:
        same = exp.and_(
            exp.EQ(this=column("name"), expression=text(name)),
            exp.EQ(this=column("kind"), expression=text(kind)),
            copy=False,
        )
        self.engine.run(exp.Delete(this=table(VIEWS), where=exp.Where(this=same)))

    def views(self, model_ids: Sequence[int]) -> list[tuple[str, str, str | None]]:
        """Kind, name and source of the views that were made for models."""
        mine = exp.In(this=column("model_id"), expressions=[integer(model_id) for model_id in model_ids])
        query = exp.select(column("kind"), column("name"), column("source")).from_(table(VIEWS)).where(mine)
        return [(str(kind), str(name), source) for kind, name, source in self.engine.rows(query)]

    def drop(self, name: str, version: int | None = None) -> int:
        """Remove a model, all its versions unless one is named, with all that was made for it.

        Returns
        -------
        int
            How many versions were removed. With the last model go the store's own tables.

        Raises
        ------
        ModelNotFoundError
            If there is none.
        StoreError
            If a newer version of Selectron wrote the store.
        """
        records = [r for r in self.models(unfinished=True) if r.name == name and version in (None, r.version)]
        if not records:
            self.find(name, version)
        # So that it has every table, and no other that a newer version keeps rows in.
        migrate(self.engine)
        ids = [record.model_id for record in records]
        with self.engine.transaction():
            for kind, name_, _ in self.views(ids):
                if kind == "function":
                    self.engine.drop_function(name_)
                else:
                    self.engine.drop_view(name_)
            mine = exp.In(this=column("model_id"), expressions=[integer(model_id) for model_id in ids])
            others = (
                exp.select(exp.Count(this=exp.Star())).from_(table(MODELS)).where(exp.Not(this=mine.copy()))
            )
            # DuckDB before 2 drops no table that rows were deleted from in the same transaction.
            if not self.engine.rows(others)[0][0]:
                self.drop_tables()
                return len(records)
            for owned in TABLES:
                self.engine.run(exp.Delete(this=table(owned), where=exp.Where(this=mine.copy())))
        return len(records)

    # Reading ---------------------------------------------------------------------------------

    def models(self, *, unfinished: bool = False) -> list[ModelRecord]:
        """All models and versions, by name; those without a checkpoint only if asked for."""
        if not self.exists():
            return []
        query = models_query()
        if not unfinished:
            query = query.where(exp.Not(this=exp.Is(this=column("epochs"), expression=exp.Null())))
        query = query.order_by(column("name"), column("version"))
        return [ModelRecord(*row) for row in self.engine.rows(query)]

    def record(self, model_id: int) -> ModelRecord:
        """A model's row."""
        mine = exp.EQ(this=column("model_id"), expression=integer(model_id))
        (row,) = self.engine.rows(models_query().where(mine))
        return ModelRecord(*row)

    def find(self, name: str, version: int | None = None) -> ModelRecord:
        """The newest version of a model that has a checkpoint, or the one that is named.

        Raises
        ------
        ModelNotFoundError
            Saying which models or versions there are.
        """
        records = self.models()
        named = [record for record in records if record.name == name]
        found = [record for record in named if version in (None, record.version)]
        if found:
            return found[-1]
        if named:
            versions = ", ".join(str(record.version) for record in named)
            raise ModelNotFoundError(
                f"Model {name!r} has no version {version}.", hint=f"It has version {versions}."
            )
        names = list(dict.fromkeys(record.name for record in records))
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"Is {near[0]!r} meant?" if near else f"There are: {', '.join(map(repr, names))}."
        raise ModelNotFoundError(
            f"There is no model {name!r} in the database.", hint=hint if names else "Train one first."
        )

    def log(self, model_id: int) -> list[LogRow]:
        """A model's epochs, in order."""
        names = [name for name in TABLES[LOG] if name not in ("model_id", "finished_at")]
        return [LogRow(*row) for row in self.select(LOG, names, model_id, "epoch")]

    def statistics(self, model_id: int) -> list[tuple[Any, ...]]:
        """Rows of a model's statistics, without the model."""
        return self.select(STATISTICS, list(TABLES[STATISTICS])[1:], model_id, "position")

    def units(self, model_id: int) -> dict[str, list[str]]:
        """The names of each layer's units."""
        found: dict[str, list[str]] = {}
        for _, layer, _, name in self.select(
            UNITS, ["position", "layer", "unit", "name"], model_id, "position", "unit"
        ):
            found.setdefault(str(layer), []).append(str(name))
        return found

    def select(self, name: str, columns: Sequence[str], model_id: int, *order: str) -> list[tuple[Any, ...]]:
        mine = exp.EQ(this=column("model_id"), expression=integer(model_id))
        query = exp.select(*map(column, columns)).from_(table(name)).where(mine)
        return self.engine.rows(query.order_by(*map(column, order)) if order else query)

    def parameters(self, model_id: int) -> list[tuple[Any, ...]]:
        """The parameters of a model's checkpoint: layer, parameter, row, col and value."""
        return self.select(PARAMETERS, list(TABLES[PARAMETERS])[1:], model_id)

    def state(self, model_id: int) -> list[tuple[Any, ...]]:
        """The rest of the state of a model's checkpoint: name, row, col and value."""
        return self.select(STATE, list(TABLES[STATE])[1:], model_id)

    def rows_of(self, stored_in: str, model_id: int, expressions: Sequence[exp.Expr]) -> exp.Select:
        """A query of expressions over a model's rows of a table."""
        mine = exp.EQ(this=column("model_id"), expression=integer(model_id))
        return exp.Select(expressions=list(expressions)).from_(table(stored_in)).where(mine)

    def categories(self, model_id: int) -> Callable[[int], exp.Select]:
        """For the feature at each position a query of its categories and their places: text and item."""
        listed = exp.EQ(this=column("statistic"), expression=text("categories"))

        def at(position: int) -> exp.Select:
            own = exp.EQ(this=column("position"), expression=integer(position))
            rows = self.rows_of(STATISTICS, model_id, [column("text"), column("item")])
            return rows.where(own, listed.copy())

        return at

    def matrix(self, stored_in: str, model_id: int, **equal: str) -> exp.Select:
        """A query of the rows of a stored matrix: row, col and value."""
        conditions: list[exp.Expr] = [exp.EQ(this=column("model_id"), expression=integer(model_id))]
        conditions += [exp.EQ(this=column(key), expression=text(value)) for key, value in equal.items()]
        return (
            exp.select(column("row"), column("col"), column("value"))
            .from_(table(stored_in))
            .where(*conditions)
        )


def models_query() -> exp.Select:
    """The rows of all models."""
    return exp.select(*(column(name) for name in TABLES[MODELS])).from_(table(MODELS))


def of_model(model_id: int) -> exp.Expr:
    """Whether a row is a model's."""
    return exp.EQ(this=column("model_id"), expression=integer(model_id))


def literal(value: Value) -> exp.Expr:
    """A value of a row as a literal."""
    if value is None:
        return exp.Null()
    if isinstance(value, str):
        return text(value)
    return number(value) if isinstance(value, float) else integer(value)

"""The databases in memory that estimators train in and predict with.

An estimator itself holds a :class:`Snapshot`: the rows of its model, which can be pickled and copied. A
database is opened when it is needed; a few are kept open.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakKeyDictionary

import numpy as np
from sqlglot import exp

from selectron.blueprint import Blueprint
from selectron.database import Database
from selectron.engines.base import Relation
from selectron.engines.duckdb import DuckDB
from selectron.features.fitting import fitted
from selectron.features.targets import ClassTarget
from selectron.model import Model
from selectron.prediction import forward_query, predicted_elements, probabilities
from selectron.sql import column
from selectron.store.schema import LOG, MODELS, PARAMETERS, STATE, STATISTICS, TABLES, UNITS, table

__all__ = ["Embedded", "Snapshot", "keep_open", "opened", "taken"]

# The name of the rows that are read, in every database of these.
ROWS: Final = "rows"
PLACE: Final = "place"
# An ensemble may have hundreds of estimators, and each open database has threads.
MOST_OPEN: Final = 8

# What a column of the store becomes; NULL is NaN, or None among text.
TYPES: Final = {"bigint": "float64", "double": "float64", "text": "object", "timestamp": "datetime64[us]"}


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A model as the rows of the store that make it up: for each table, its columns."""

    tables: Mapping[str, Mapping[str, Any]]

    @staticmethod
    def of(model: Model) -> Snapshot:
        """The current checkpoint of a model."""
        tables = {}
        for name in (MODELS, PARAMETERS, STATE, STATISTICS, UNITS, LOG):
            kinds = TABLES[name]
            rows = model.store.select(name, list(kinds), model.record.model_id)
            values = list(zip(*rows, strict=True)) or [()] * len(kinds)
            tables[name] = {
                key: np.array(own, dtype=TYPES[kind])
                for (key, kind), own in zip(kinds.items(), values, strict=True)
            }
        return Snapshot(tables)


class Embedded:
    """A database in memory. One thread at a time uses it."""

    def __init__(self) -> None:
        self.engine = DuckDB()
        self.database = Database(self.engine)
        self.lock = threading.RLock()
        self.queries: dict[tuple[object, ...], str] = {}
        self.known: Model | None = None

    @staticmethod
    def restored(snapshot: Snapshot) -> Embedded:
        """A database with the model of a snapshot."""
        embedded = Embedded()
        embedded.database.store.prepare()
        for name, columns in snapshot.tables.items():
            with embedded.reading(columns) as relation:
                rows = exp.select(*map(column, columns)).from_(relation.source)
                own = exp.Schema(
                    this=table(name), expressions=[exp.to_identifier(key, quoted=True) for key in columns]
                )
                embedded.engine.run(exp.Insert(this=own, expression=rows))
        return embedded

    @property
    def model(self) -> Model:
        """The one model in it."""
        if self.known is None:
            (record,) = self.database.models()
            self.known = Model(self.engine, self.database.store, record)
        return self.known

    def train(self, frame: Any, label: str, target: Sequence[str], **settings: Any) -> None:
        """Train the model, once."""
        with self.reading(frame, label) as relation:
            self.known = self.database.train(relation, target, **settings)

    def train_on(self, frame: Any, label: str, row_weight: str | None) -> None:
        """Train the model for an epoch of other rows."""
        with self.reading(frame, label) as relation:
            self.known = self.model.train_on(relation, row_weight=row_weight)

    @contextmanager
    def reading(self, frame: Any, label: str = "the rows") -> Iterator[Relation]:
        """A frame as a relation, for as long as it is read."""
        with self.lock:
            self.engine.connection.register(ROWS, frame)
            try:
                yield Relation(exp.table_(ROWS, quoted=True), label)
            finally:
                self.engine.connection.unregister(ROWS)

    def outputs(self, frame: Any, place: str, wanted: str, label: str) -> Any:
        """The network's outputs for each row of a frame, as an array in the order of a column.

        Parameters
        ----------
        frame
            The rows, with the model's columns.
        place
            A column that numbers them: a query gives rows in any order.
        wanted
            ``"prediction"`` (numbers in the target's own units, or the probability of each class) or
            ``"logits"``.
        """
        with self.reading(frame, label) as relation:
            columns = self.engine.columns(relation)
            model = self.model
            relation = fitted(relation, columns, model.blueprint.encoding, target=False)
            # A column of another kind is converted.
            key = (wanted, *((own.name, own.kind) for own in columns))
            if key not in self.queries:
                self.queries[key] = self.engine.sql(self.query(relation, place, wanted))
            model.refuse_rows(relation)
            found = self.engine.execute(self.queries[key]).fetchnumpy()
        order = np.argsort(np.asarray(found.pop(PLACE)), kind="stable")
        return np.column_stack([np.asarray(values, dtype=np.float64) for values in found.values()])[order]

    def query(self, relation: Relation, place: str, wanted: str) -> exp.Select:
        """A forward pass over rows that gives their places and the outputs."""
        model = self.model
        values = outputs_of(model.blueprint, wanted)
        outputs: dict[str, exp.Expr] = {PLACE: column(f"source.{place}")}
        outputs |= {f"output {number}": value for number, value in enumerate(values)}
        return forward_query(
            self.engine.abilities,
            model.blueprint,
            relation,
            [place],
            model.weights(),
            outputs,
            wanted=[wanted],
        )


def outputs_of(blueprint: Blueprint, wanted: str) -> Sequence[exp.Expr]:
    """The outputs of a forward pass as a user means them."""
    target = blueprint.encoding.target
    if wanted == "logits":
        return predicted_elements(blueprint, wanted)
    if isinstance(target, ClassTarget):
        return probabilities(blueprint)
    return target.restored(predicted_elements(blueprint))


class Open:
    """The databases that are open in this process, the latest ones that were used."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.process = os.getpid()
        self.databases: WeakKeyDictionary[Snapshot, Embedded] = WeakKeyDictionary()
        self.left: list[object] = []

    def get(self, snapshot: Snapshot) -> Embedded | None:
        """The open database of a snapshot, if there is one."""
        with self.lock:
            if self.process != os.getpid():
                # A fork has none of its parent's threads, and may neither use nor close its databases.
                self.left += [*self.databases.values()]
                self.databases = WeakKeyDictionary()
                self.process = os.getpid()
            found = self.databases.pop(snapshot, None)
            if found is not None:
                self.databases[snapshot] = found
            return found

    def take(self, snapshot: Snapshot) -> Embedded | None:
        """The open database of a snapshot, for whoever changes it."""
        found = self.get(snapshot)
        with self.lock:
            self.databases.pop(snapshot, None)
        return found

    def put(self, snapshot: Snapshot, embedded: Embedded) -> None:
        """Keep a database open, and let go of the one that was not used for longest."""
        with self.lock:
            self.databases[snapshot] = embedded
            while len(self.databases) > MOST_OPEN:
                del self.databases[next(iter(self.databases))]


OPEN: Final = Open()


def keep_open(snapshot: Snapshot, embedded: Embedded) -> None:
    """Predict with this database, as long as it stays open."""
    OPEN.get(snapshot)
    OPEN.put(snapshot, embedded)


def taken(snapshot: Snapshot) -> Embedded:
    """A database of a snapshot that is no longer predicted with, since it is going to change."""
    return OPEN.take(snapshot) or Embedded.restored(snapshot)


def opened(snapshot: Snapshot) -> Embedded:
    """The database of a snapshot, opened if it is not."""
    found = OPEN.get(snapshot)
    if found is None:
        found = Embedded.restored(snapshot)
        OPEN.put(snapshot, found)
    return found

"""A database with models in it: train, find, list and drop."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Unpack

from sqlglot import exp

from selectron.blueprint import Blueprint, Specification
from selectron.engines.base import Column, ColumnKind, Engine, Relation
from selectron.engines.connect import open_engine
from selectron.errors import ColumnError, ConfigurationError
from selectron.features.encoding import to_rows
from selectron.features.fitting import read_as
from selectron.features.learn import Task, feature_columns, learn, reading, resolve_columns
from selectron.features.options import FeatureOptions
from selectron.features.rows import HELD_OUT, RESERVED, Split
from selectron.features.targets import ClassTarget
from selectron.layouts.base import BatchPlan
from selectron.model import Model, chosen
from selectron.network import MLP
from selectron.planning import Choice, parse_layout, parse_strategy
from selectron.preparation import (
    arrange,
    arranged,
    check_targets,
    check_weights,
    held_out_rows,
    resolve_validation,
)
from selectron.sql import column, folded, growing
from selectron.store.store import ModelRecord, Store
from selectron.trainer import ROWS, Progress, Trainer
from selectron.training.losses import Loss
from selectron.training.optimizers import Adam, Optimizer
from selectron.training.options import TrainingOptions
from selectron.training.schedules import ConstantRate, Schedule
from selectron.version import __version__

if TYPE_CHECKING:
    from selectron.interchange.importing import GoingOn

__all__ = ["Database", "connect"]

NUMBER: Final = ColumnKind.NUMBER


def connect(path: str | Path = ":memory:", *, read_only: bool = False) -> Database:
    """Open a database.

    Parameters
    ----------
    path
        A DuckDB file, made when missing; in memory by default. A SQLite file (.sqlite, .db, or one that is
        there), ``postgresql://user:password@host/database``, ``bigquery://project/dataset``.
    read_only
        Open without the right to write: models can be used, not trained.

    Raises
    ------
    EngineError
        If it cannot be opened.

    Examples
    --------
    >>> with connect() as db:
    ...     db.models()
    []
    """
    return Database(open_engine(path, read_only=read_only))


class Database:
    """A database with models in it. Use :func:`connect`; closes at the end of a ``with`` block.

    Parameters
    ----------
    engine
        A connected engine.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.store = Store(engine)

    def __enter__(self) -> Database:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Database({self.engine.path!r})"

    def close(self) -> None:
        """Close the connection."""
        self.engine.close()

    def models(self) -> list[ModelRecord]:
        """All models and their versions."""
        return self.store.models()

    def model(self, name: str, version: int | None = None) -> Model:
        """A model by name: its newest version, or the one that is named.

        Raises
        ------
        ModelNotFoundError
            Saying which there are.
        """
        return Model(self.engine, self.store, self.store.find(name, version))

    def copy(self, model: Model, name: str | None = None) -> Model:
        """Copy a model of another database, of any engine, into this one, as a new version of its name.

        Its parameters, state, log and statistics are copied, so that it predicts the same here and can be
        trained on, if its table is here too.

        Parameters
        ----------
        model
            The model to copy.
        name
            What to call it here; its own name by default.

        Raises
        ------
        StoreError
            If this database is read-only.

        Examples
        --------
        >>> there = connect("sqlite:///:memory:")
        >>> with connect() as here:
        ...     trained = here.train("SELECT x, x > 4 AS large FROM range(10) AS t(x)", "large", epochs=1)
        ...     there.copy(trained)
        Model('large', version=1, epochs=1)
        """
        self.store.prepare()
        record = model.record if name is None else replace(model.record, name=name)
        return Model(self.engine, self.store, self.store.copy_from(model.store, record))

    def drop(self, name: str, version: int | None = None) -> int:
        """Remove a model, all versions unless one is named; return how many were removed.

        Raises
        ------
        ModelNotFoundError
            If there is none.
        """
        return self.store.drop(name, version)

    def train(
        self,
        source: object,
        target: str | Sequence[str],
        *,
        name: str | None = None,
        network: MLP | None = None,
        task: str = "auto",
        features: FeatureOptions | None = None,
        loss: Loss | None = None,
        optimizer: Optimizer | None = None,
        schedule: Schedule | None = None,
        epochs: int = 100,
        batch_size: int | None = 256,
        l1: float = 0.0,
        l2: float = 0.0,
        class_weight: str | Mapping[str, float] | None = None,
        row_weight: str | None = None,
        clip_norm: float | None = None,
        validation: object = 0.2,
        patience: int | None = None,
        min_delta: float = 0.0,
        seed: int = 0,
        warm_start: str | Model | None = None,
        layout: str | None = None,
        strategy: str | None = None,
        steps: int | None = None,
        keep_states: bool = False,
        watch: Callable[[Progress], None] = lambda progress: None,
    ) -> Model:
        """Train a network to predict a column of a table from the others.

        Parameters
        ----------
        source
            A table, view, query, CSV, Parquet or JSON file, or pandas, Polars or Arrow frame.
        target
            The column to predict, or several columns of numbers. Booleans are 1 and 0 where numbers are
            predicted, and as weights of rows.
        name
            What to call the model; the target's name by default. A name that is taken gets a new version.
        network
            One hidden layer of 32 ReLU units by default.
        task
            ``"classification"``, ``"regression"`` or ``"auto"``.
        features
            Which columns are features and how they become numbers.
        loss, optimizer, schedule, epochs, batch_size, l1, l2, class_weight, row_weight, clip_norm, patience
            See :class:`~selectron.training.options.TrainingOptions`.
        validation
            The fraction of rows that is held out (0.2 by default, 0 for none), a boolean column that marks
            them, or a table that holds them.
        min_delta, seed
            See :class:`~selectron.training.options.TrainingOptions`.
        warm_start
            A model to start from, of the same shape.
        layout
            ``"arrays"``, ``"columns"`` or ``"relations"``; by default the cheapest that the engine can run.
            ``"vectors"``, on PostgreSQL with pgvector, is used on your word alone: products have single
            precision.
        strategy
            ``"recursive"``, ``"nested"`` or ``"stepwise"``; recursive by default, where it runs.
        steps
            How many steps a nested or stepwise statement has: 10 and 1 by default.
        keep_states
            Whether the state after each statement is kept, in ``selectron_snapshots``, so that training can
            go on from any of them (:meth:`Model.rewind`).
        watch
            Called with a :class:`~selectron.trainer.Progress` after each checkpoint.

        Returns
        -------
        Model

        Raises
        ------
        ConfigurationError, DataError, StoreError
            Before anything is written, if the options, the table or the database do not allow it.
        DivergenceError, TrainingInterrupted
            The last checkpoint, if there is one, is kept.
        """
        targets = (target,) if isinstance(target, str) else tuple(target)
        options = FeatureOptions() if features is None else features
        kind = parse_task(task)
        network = MLP() if network is None else network
        relation = self.engine.relation(source)
        columns = self.engine.columns(relation)
        held = resolve_validation(self.engine, validation, relation, columns)
        training = TrainingOptions(
            loss=loss,
            optimizer=Adam(0.01) if optimizer is None else optimizer,
            schedule=ConstantRate() if schedule is None else schedule,
            epochs=epochs,
            batch_size=batch_size,
            l1=l1,
            l2=l2,
            class_weight=class_weight,
            row_weight=row_weight,
            clip_norm=clip_norm,
            validation=held.fraction,
            validation_column=held.column,
            patience=patience,
            min_delta=min_delta,
            seed=seed,
        )
        if steps is not None and (not isinstance(steps, int) or steps < 1):
            raise ConfigurationError(f"steps is {steps!r}.", hint="Give a whole number, 1 or more.")
        if not targets:
            raise ConfigurationError("No target is named.", hint="Name the column to predict.")
        reserved = [name for name in (row_weight, held.column) if name is not None]
        target_columns = resolve_columns(columns, targets, relation.label)
        reserved_columns = resolve_columns(columns, reserved, relation.label)
        candidates = feature_columns(columns, target_columns, options, relation.label, reserved)
        check_roles(reserved_columns, target_columns)
        start = self.model(warm_start) if isinstance(warm_start, str) else warm_start
        self.store.prepare()
        try:
            # Everything about the rows is learned from one arranged copy, which the engine drops.
            wanted = [c for c in columns if c in candidates or c in target_columns or c in reserved_columns]
            names = [c.name for c in wanted if c.kind is not ColumnKind.OTHER or c in target_columns]
            refuse_reserved(names, relation.label)
            required = [c.name for c in target_columns]
            read = reading(columns, target_columns, options, kind)
            if row_weight is not None:
                read[reserved_columns[0].name] = NUMBER
            relation = read_as(relation, columns, read)
            others = held.relation and read_as(held.relation, self.engine.columns(held.relation), read)
            held_count, left_out = held_out_rows(self.engine, relation, required, held.fraction)
            split = Split(seed, held_count, held.column, others)
            counts = arrange(self.engine, relation, names, required, split)
            if row_weight is not None:
                check_weights(self.engine, reserved_columns[0], relation.label)
            rows = arranged(self.engine, relation)
            encoding = learn(
                self.engine,
                rows,
                # Moments stay what they are, for later rows to be read as such.
                [replace(c, kind=NUMBER) if read.get(c.name) is NUMBER else c for c in columns],
                required,
                options,
                task=kind,
                where=exp.Not(this=column(HELD_OUT)),
                reserved=reserved,
                weight=row_weight,
            )
            # Of the held-out rows too.
            check_targets(self.engine, rows, encoding.target)
            size = counts[0] if batch_size is None else min(batch_size, counts[0])
            specification = Specification(
                source=str(source) if isinstance(source, (str, Path)) else None,
                target=tuple(required),
                task=kind_of_task(encoding.target),
                network=network,
                training=training,
                features=options,
                plan=BatchPlan(*counts, size),
                validation_source=held.source,
                layout=parse_layout(layout),
                strategy=parse_strategy(strategy),
                steps=steps,
                keep_states=keep_states,
            )
            blueprint = Blueprint(specification, encoding)
            if start is not None:
                blueprint = warmed(blueprint, start)
            record, choice = self.begun(name or "+".join(required), relation, blueprint)
        except BaseException:
            self.engine.drop_temporary(ROWS)
            self.store.discard_if_empty()
            raise
        return self.finished(record, blueprint, choice, epochs, (*left_out, *encoding.notes), watch)

    def import_model(
        self,
        source: object,
        table: object,
        target: str | Sequence[str],
        *,
        name: str | None = None,
        features: Sequence[str] | None = None,
        classes: Sequence[object] | None = None,
        task: str = "auto",
        preprocessing: object = None,
        nulls: str = "refuse",
        trust: bool = False,
        **options: Unpack[GoingOn],
    ) -> Model:
        """Bring in a network that was trained elsewhere, to predict and go on training in SQL.

        Parameters
        ----------
        source
            A fitted scikit-learn network or linear model, alone or at the end of a pipeline; a PyTorch or
            Keras ``Sequential``; an ONNX model; or a file of one: .onnx, .pt, .keras, .joblib.
        table
            The table whose columns feed it, and on which :meth:`Model.train` goes on: a table, view, query,
            file or data frame.
        target
            The column that it predicts, or several columns of numbers.
        name
            What to call the model; the target's name by default. A name that is taken gets a new version.
        features
            The columns that are its inputs, in its order. By default those that it was fitted to, by name.
        classes
            The classes in the order of its outputs (two for a single output). By default those that it was
            fitted to; 0, 1, 2 ... for a column of numbers.
        task
            ``"classification"``, ``"regression"`` or ``"auto"``.
        preprocessing
            What was done to the columns before the network saw them: a fitted transformer of scikit-learn (or
            its file), or a :class:`Model` whose encoded features it was trained on.
        nulls
            Of columns in which the network has no place for NULL: ``"refuse"``, or ``"impute"`` by the
            table's mean, or no category.
        trust
            Whether to read a pickle, which may run any code.
        options
            How it is trained on, as in :meth:`train`: loss, optimizer, schedule, batch_size, l1, l2,
            class_weight, row_weight, clip_norm, validation, patience, min_delta, seed, layout, strategy and
            steps.

        Returns
        -------
        Model
            Of no epochs yet. Its probabilities are the network's, but for rounding.

        Raises
        ------
        ConfigurationError, DataError, StoreError
            Naming what cannot be imported, before anything is written.

        Examples
        --------
        >>> from sklearn.linear_model import LogisticRegression
        >>> fitted = LogisticRegression().fit([[1.0], [2.0], [7.0], [8.0]], [0, 0, 1, 1])
        >>> with connect() as db:
        ...     model = db.import_model(
        ...         fitted, "SELECT x, x // 5 AS large FROM range(10) AS t(x)", "large", features=["x"])
        ...     model.predict("SELECT 9 AS x").rows()[0][:2]
        (9, 1)
        """
        from selectron.interchange.importing import Wanted, imported
        from selectron.interchange.sources import describe, read

        before = preprocessing
        if isinstance(before, Model):
            before = before.blueprint
        elif isinstance(before, (str, Path)):
            before = read(Path(before), trust=trust)
        wanted = Wanted(
            target=(target,) if isinstance(target, str) else tuple(target),
            features=None if features is None else tuple(features),
            classes=None if classes is None else tuple(classes),
            task=parse_task(task),
            nulls=nulls,
            preprocessing=before,
        )
        described = describe(source, trust=trust)
        self.store.prepare()
        try:
            blueprint, relation, notes = imported(self.engine, described, table, wanted, options)
            record, choice = self.begun(name or "+".join(blueprint.specification.target), relation, blueprint)
        except BaseException:
            self.engine.drop_temporary(ROWS)
            self.store.discard_if_empty()
            raise
        return self.finished(record, blueprint, choice, 0, notes, lambda progress: None)

    @growing()
    def begun(self, name: str, relation: Relation, blueprint: Blueprint) -> tuple[ModelRecord, Choice]:
        """Write a model without a checkpoint, once it is known that it can be trained."""
        # Compiled before anything is written, so that what does not fit is refused here.
        _ = blueprint.step, blueprint.batch_columns()
        choice = chosen(self.engine, blueprint)
        # As many parts whenever it goes on, so that sums are rounded alike.
        return self.record(name, relation, blueprint.in_parts(choice.parts)), choice

    def finished(
        self,
        record: ModelRecord,
        blueprint: Blueprint,
        choice: Choice,
        epochs: int,
        notes: tuple[str, ...],
        watch: Callable[[Progress], None],
    ) -> Model:
        """Train a model that was begun."""
        Trainer(self.engine, self.store, record, blueprint, choice, watch).run(epochs)
        model = Model(self.engine, self.store, self.store.record(record.model_id))
        model.notes = notes
        model.renew([r.model_id for r in self.store.models() if r.name == model.name and r != model.record])
        return model

    def record(self, name: str, relation: Relation, blueprint: Blueprint) -> ModelRecord:
        """Write the model's row, statistics and units."""
        specification = blueprint.specification
        return self.store.create_model(
            name,
            task=specification.task,
            target=", ".join(specification.target),
            source=relation.label,
            training_rows=specification.plan.training_rows,
            validation_rows=specification.plan.held_out_rows,
            specification=json.dumps(specification.to_json(), ensure_ascii=False),
            selectron_version=__version__,
            statistics=to_rows(blueprint.encoding),
            units=blueprint.layers,
        )


def parse_task(task: str) -> Task:
    try:
        return Task(task)
    except ValueError:
        raise ConfigurationError(f"task is {task!r}.", hint=f"Use one of {', '.join(Task)}.") from None


def kind_of_task(target: object) -> str:
    return Task.CLASSIFICATION if isinstance(target, ClassTarget) else Task.REGRESSION


def check_roles(reserved: Sequence[Column], targets: Sequence[Column]) -> None:
    """Refuse a target that is also the weight or the mark of held-out rows."""
    for other in reserved:
        if other in targets:
            raise ColumnError(
                f"Column {other.name!r} is the target and has another role.", hint="Name another."
            )


def refuse_reserved(names: Sequence[str], label: str) -> None:
    """Refuse columns that are called as those that arrange the rows."""
    for name in names:
        if folded(name).startswith(RESERVED):
            raise ColumnError(
                f"Column {name!r} of {label} begins with {RESERVED!r}, as columns of ours do.",
                hint="Exclude it, or rename it in a query.",
            )


def warmed(blueprint: Blueprint, start: Model) -> Blueprint:
    """The blueprint with another model's parameters as initial values.

    Raises
    ------
    ConfigurationError
        If the two are of different shapes.
    """
    values = start.parameters
    shapes = {parameter.key: parameter.shape for parameter in blueprint.step.parameters}
    theirs = {key: value.shape for key, value in values.items()}
    if shapes != theirs:
        differing = sorted(key for key in {*shapes, *theirs} if shapes.get(key) != theirs.get(key))
        raise ConfigurationError(
            f"Model {start.name!r} has another shape: {differing[0]} is {theirs.get(differing[0])} there and "
            f"{shapes.get(differing[0])} here.",
            hint="Use the same network, columns and categories.",
        )
    specification = blueprint.specification
    network = MLP(
        specification.network.layers,
        initialization=specification.network.initialization,
        initialization_scale=specification.network.initialization_scale,
        initial={key: value.tolist() for key, value in values.items()},
        output_activation=specification.network.output_activation,
        frozen=specification.network.frozen,
        edge_biases=specification.network.edge_biases,
    )
    return Blueprint(replace(specification, network=network), blueprint.encoding)

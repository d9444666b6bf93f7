"""What a user holds: a trained model."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from sqlglot import exp

from selectron.blueprint import Blueprint, Specification
from selectron.engines.base import Arrays, Engine, Relation
from selectron.errors import ColumnError, ConfigurationError, DataError
from selectron.evaluation import Evaluation, classification_query, regression_query
from selectron.features.encoding import StatisticRow, from_rows
from selectron.features.rows import HELD_OUT, arranged_rows
from selectron.features.targets import ClassTarget
from selectron.layouts.base import Layout
from selectron.planning import Choice, choose, layout_of, parse_layout, parse_strategy
from selectron.prediction import Weights, predict_query, prediction_columns, scored_query, stored_weights
from selectron.preparation import arrange, needed_columns, split_of
from selectron.program.operations import Array
from selectron.sql import column, folded, number
from selectron.statements import step_statement, training_script, training_statement
from selectron.store.store import LogRow, ModelRecord, Store
from selectron.tracing import Trace
from selectron.trainer import Progress, Trainer, stored_values

if TYPE_CHECKING:
    from selectron.interchange.encoded import Encoded

__all__ = ["SQL_KINDS", "Model", "Predictions", "chosen"]

SQL_KINDS: Final = ("predict", "train", "evaluate", "step", "script")

# How a file of predictions is written, by the end of its name.
FORMATS: Final = (".csv", ".parquet", ".json")


class Predictions:
    """Predictions that are a query, run when they are asked for."""

    def __init__(self, engine: Engine, query: exp.Select, store: Store, model: Model, source: object) -> None:
        self.engine = engine
        self.query = query
        self.store = store
        self.model = model
        self.source = source

    def __repr__(self) -> str:
        return f"Predictions({self.model.name!r})"

    @property
    def sql(self) -> str:
        """The query as text."""
        return self.engine.sql(self.query, pretty=True)

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return [str(name) for name in self.query.named_selects]

    def select(self, names: Sequence[str], limit: int) -> list[tuple[Any, ...]]:
        """The first rows, of some of the columns."""
        query = exp.select(*map(column, names)).from_(self.query.subquery("predicted")).limit(limit)
        return self.engine.rows(query)

    def rows(self, limit: int | None = None) -> list[tuple[Any, ...]]:
        """The rows as tuples, the first `limit` if given."""
        return self.engine.rows(self.query if limit is None else self.query.limit(limit))

    def df(self) -> Any:
        """The rows as a pandas data frame."""
        return self.engine.frame(self.query, "pandas")

    def pl(self) -> Any:
        """The rows as a Polars data frame."""
        return self.engine.frame(self.query, "polars")

    def arrow(self) -> Any:
        """The rows as an Arrow table."""
        return self.engine.frame(self.query, "arrow")

    def to_table(self, name: str, *, replace: bool = False) -> None:
        """Write the rows into a new table.

        Raises
        ------
        DataError
            If there is a table of that name, unless `replace` says to replace it.
        """
        self.check_free(name, replace)
        self.engine.create_table(name, self.query, replace=replace)

    def to_view(self, name: str, *, replace: bool = False) -> None:
        """Make a view that follows the model: its checkpoints, and new versions once they are trained.

        Raises
        ------
        DataError
            If there is a table or view of that name, unless `replace` says to replace it; or if the rows
            are a data frame, which a view cannot outlive.
        """
        self.check_free(name, replace)
        if not isinstance(self.source, (str, Path)):
            raise DataError("A view over a data frame would not outlive it.", hint="Write a table instead.")
        with self.engine.transaction():
            self.engine.create_view(name, self.query, replace=replace)
            self.store.record_view(self.model.record.model_id, "prediction", name, str(self.source))

    def to_file(self, path: str | Path) -> None:
        """Write the rows into a .csv, .parquet or .json file."""
        end = Path(path).suffix.lower()
        if end not in FORMATS:
            raise ConfigurationError(
                f"{str(path)!r} is no file that can be written.", hint=f"Use one of {', '.join(FORMATS)}."
            )
        self.engine.export(self.query, str(path))

    def check_free(self, name: str, replace: bool) -> None:
        if not name.strip():
            raise ConfigurationError("The output needs a name.")
        if folded(name).startswith("selectron_"):
            raise DataError(f"{name!r} begins as the tables of models do.", hint="Name the output otherwise.")
        if not replace and self.engine.has_table(name):
            raise DataError(
                f"There is a table or view {name!r} already.", hint="Name another, or say to replace it."
            )


class Model:
    """A version of a model in a database.

    Examples
    --------
    >>> import selectron
    >>> db = selectron.connect()
    >>> source = "SELECT x, x > 4 AS large FROM range(10) AS t(x)"
    >>> model = db.train(source, target="large", network=selectron.MLP([]), epochs=200, validation=0)
    >>> model.evaluate(source)["accuracy"]
    1.0
    >>> model.predict("SELECT 7 AS x").rows()[0][:2]
    (7, True)
    """

    def __init__(self, engine: Engine, store: Store, record: ModelRecord) -> None:
        self.engine = engine
        self.store = store
        self.record = record
        self.notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Model({self.name!r}, version={self.version}, epochs={self.record.epochs})"

    @property
    def name(self) -> str:
        """The model's name."""
        return self.record.name

    @property
    def version(self) -> int:
        """Its version, from 1; training a name again gives the next one."""
        return self.record.version

    @cached_property
    def blueprint(self) -> Blueprint:
        """What was asked for and learned, read from the store."""
        specification = Specification.from_json(json.loads(self.record.specification))
        rows = (StatisticRow(*row) for row in self.store.statistics(self.record.model_id))
        return Blueprint(specification, from_rows(rows))

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes, as text; none if numbers are predicted."""
        target = self.blueprint.encoding.target
        return target.classes if isinstance(target, ClassTarget) else ()

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, or the target columns if numbers are predicted."""
        return self.classes or self.blueprint.encoding.target.columns

    @property
    def predicted(self) -> list[str]:
        """The columns that prediction adds."""
        return prediction_columns(self.blueprint)

    @property
    def log(self) -> list[LogRow]:
        """An entry for each epoch."""
        return self.store.log(self.record.model_id)

    @property
    def parameters(self) -> dict[str, Array]:
        """The current checkpoint's parameters, by name, as arrays of (inputs, units)."""
        parameters = self.blueprint.step.parameters
        found: dict[str, Array] = {parameter.key: np.zeros(parameter.shape) for parameter in parameters}
        for layer, parameter, row, col, value in self.store.parameters(self.record.model_id):
            found[f"{layer}.{parameter}"][row, col] = value
        return found

    # Using -----------------------------------------------------------------------------------

    def predict(self, source: object) -> Predictions:
        """Predict for each row of a table, view, query, file or data frame.

        The rows' own columns come first, then ``predicted_<target>`` and, for classes, a
        ``probability_<class>`` for each.

        Raises
        ------
        ColumnError
            If the table does not fit the model.
        DataError
            If it does not exist.
        """
        relation = self.engine.relation(source)
        columns = self.engine.columns(relation)
        query = predict_query(self.engine.abilities, self.blueprint, relation, columns, self.weights())
        self.refuse_nulls(relation)
        return Predictions(self.engine, query, self.store, self, source)

    def evaluate(self, source: object = None) -> Evaluation:
        """Judge predictions on rows whose target is known.

        Parameters
        ----------
        source
            A table, view, query, file or data frame; by default the rows that were held out in training.

        Raises
        ------
        DataError
            If there is no row to judge, or the table has classes that the model does not know.
        """
        query = self.evaluation_query(source)
        evaluation = Evaluation.from_rows(self.engine.rows(query), self.labels)
        if evaluation.rows == 0:
            raise DataError(
                "There is no row to evaluate on, with a known target.", hint="Name a table that has some."
            )
        return evaluation

    def evaluation_query(self, source: object) -> exp.Query:
        """The statement that judges predictions."""
        if source is None:
            relation = self.held_out_rows()
        else:
            relation = self.engine.relation(source)
            self.blueprint.encoding.check(self.engine.columns(relation), relation.label, target=True)
        self.refuse_unknown_classes(relation)
        self.refuse_nulls(relation)
        scored = scored_query(self.engine.abilities, self.blueprint, relation, self.weights())
        target = self.blueprint.encoding.target
        if isinstance(target, ClassTarget):
            return classification_query(scored, list(target.classes))
        return regression_query(scored, list(target.columns))

    def weights(self) -> Weights:
        """The current checkpoint's parameters, for a forward pass."""
        values = self.parameters if self.engine.abilities.arrays is not Arrays.LISTS else {}
        return stored_weights(self.engine.abilities, self.store, self.record.model_id, self.blueprint, values)

    def held_out_rows(self) -> Relation:
        """The rows that were held out, found again in the table that was trained on."""
        if not self.blueprint.specification.plan.held_out_rows:
            raise DataError("No rows were held out in training.", hint="Name a table to evaluate on.")
        rows = self.arranged().subquery("arranged")
        held = exp.select("*").from_(rows).where(column(HELD_OUT))
        return Relation(held.subquery("held_out"), "the held-out rows")

    def arranged(self, source: object = None) -> exp.Select:
        """The training table's rows in their order, as they were prepared for training."""
        relation = self.training_relation(source)
        specification = self.blueprint.specification
        split = split_of(self.engine, specification)
        needed = needed_columns(specification, self.blueprint.encoding)
        return arranged_rows(relation, needed, specification.target, split)

    def training_relation(self, source: object) -> Relation:
        """The table that was trained on, or the one that is given in its place."""
        specification = self.blueprint.specification
        named = source if source is not None else specification.source
        if named is None:
            raise DataError(
                f"Model {self.name!r} was trained on a data frame, which is not in the database.",
                hint="Give the rows again as source.",
            )
        relation = self.engine.relation(named)
        self.blueprint.encoding.check(self.engine.columns(relation), relation.label, target=True)
        return relation

    def refuse_unknown_classes(self, relation: Relation) -> None:
        target = self.blueprint.encoding.target
        if not isinstance(target, ClassTarget):
            return
        (index,) = target.values()
        unknown = exp.Is(this=index, expression=exp.Null())
        present = exp.Not(this=exp.Is(this=column(target.column), expression=exp.Null()))
        label = exp.cast(column(target.column), "text")
        query = (
            exp.select(label, exp.Count(this=exp.Star()))
            .from_(relation.source.copy())
            .where(present, unknown)
            .group_by(label.copy())
            .order_by(label.copy())
            .limit(5)
        )
        found = self.engine.rows(query)
        if found:
            listed = ", ".join(f"{name!r} ({count} rows)" for name, count in found)
            raise DataError(
                f"Column {target.column!r} of {relation.label} has classes that the model does not know: "
                f"{listed}.",
                hint="Leave such rows out in a query, or train anew.",
            )

    def refuse_nulls(self, relation: Relation) -> None:
        """Hold to nulls="refuse", and to columns that must be complete."""
        options = self.blueprint.specification.features
        columns = dict.fromkeys(feature.column for feature in self.blueprint.encoding.features)
        names = [name for name in columns if options.nulls == "refuse" or name in options.complete]
        if not names:
            return
        counts = [
            exp.Sub(this=exp.Count(this=exp.Star()), expression=exp.Count(this=column(name)))
            for name in names
        ]
        found = self.engine.rows(exp.select(*counts).from_(relation.source.copy()))[0]
        for name, count in zip(names, found, strict=True):
            if count:
                raise ColumnError(
                    f"Column {name!r} of {relation.label} has {count} NULLs, and the model refuses them.",
                    hint="Fill them in a query, or train with nulls='impute'.",
                )

    # Training on -----------------------------------------------------------------------------

    def train(
        self,
        epochs: int = 0,
        *,
        source: object = None,
        watch: Callable[[Progress], None] = lambda progress: None,
    ) -> Model:
        """Train on from the last checkpoint.

        Parameters
        ----------
        epochs
            How many more epochs; 0 finishes what was interrupted.
        source
            The training rows, only needed if they were a data frame.
        watch
            Called with a :class:`~selectron.trainer.Progress` after each checkpoint.

        Raises
        ------
        DataError
            If the table has changed since.
        """
        if epochs < 0:
            raise ConfigurationError(f"epochs is {epochs}.", hint="Give 0 or more.")
        self.store.prepare()
        specification = self.blueprint.specification
        total = (self.record.epochs or 0) + epochs if epochs else specification.training.epochs
        relation = self.training_relation(source)
        plan = specification.plan
        needed = needed_columns(specification, self.blueprint.encoding)
        split = split_of(self.engine, specification)
        counts = arrange(self.engine, relation, needed, specification.target, split)
        if counts != (plan.training_rows, plan.held_out_rows):
            raise DataError(
                f"{relation.label} had {plan.training_rows} rows to train on and {plan.held_out_rows} "
                f"held out, and now has {counts[0]} and {counts[1]}.",
                hint="Train a new version with warm_start to learn from changed rows.",
            )
        blueprint = self.blueprint.with_training(epochs=total)
        choice = chosen(self.engine, blueprint)
        Trainer(self.engine, self.store, self.record, blueprint, choice, watch).run(total, resume=True)
        self.store.set_specification(
            self.record.model_id, json.dumps(blueprint.specification.to_json(), ensure_ascii=False)
        )
        return Model(self.engine, self.store, self.store.record(self.record.model_id))

    # Exchanging ------------------------------------------------------------------------------

    def encoded(self, source: object = None, *, keep: Sequence[str] = ()) -> Encoded:
        """The features of each row as the network takes them: what an exported network is fed.

        Parameters
        ----------
        source
            A table, view, query, file or data frame; by default the table that was trained on.
        keep
            Columns of the table to have beside them, such as a key.

        Examples
        --------
        >>> import selectron
        >>> db = selectron.connect()
        >>> rows = "SELECT x, x > 4 AS large FROM range(10) AS t(x)"
        >>> model = db.train(rows, "large", network=selectron.MLP([]), epochs=1, validation=0)
        >>> model.encoded(rows).array().shape
        (10, 1)
        """
        from selectron.interchange.encoded import encoded

        named = self.blueprint.specification.source if source is None else source
        if named is None:
            raise DataError(
                f"Model {self.name!r} was trained on a data frame, which is not in the database.",
                hint="Give the rows again as source.",
            )
        return encoded(self.engine, self.blueprint, self.engine.relation(named), keep)

    def export(self, kind: str, path: str | Path | None = None, **options: Any) -> Any:
        """The network for another library; it predicts as this model does.

        Parameters
        ----------
        kind
            ``"numpy"``: a dict of arrays, by ``"<layer>.<parameter>"``, of (inputs, units). ``"torch"``: an
            ``nn.Sequential`` in double precision. ``"onnx"``: a model of one graph. Both take the features
            of :meth:`encoded`, in its order, and give probabilities (of the second class, if there are two)
            or numbers; with ``logits=True`` they end before the softmax or sigmoid. ``"onnx"`` with
            ``raw=True`` takes the table's columns of numbers and booleans instead. ``"sklearn"``: a pipeline
            that takes the table's columns as a pandas frame, or with ``raw=False`` a network on the
            features of :meth:`encoded`.
        path
            A file to write it into as well: .npz, .pt, .onnx or .joblib.

        Raises
        ------
        ConfigurationError
            Naming what the other library lacks.

        Examples
        --------
        >>> import selectron
        >>> db = selectron.connect()
        >>> rows = "SELECT x, x > 4 AS large FROM range(10) AS t(x)"
        >>> model = db.train(rows, "large", network=selectron.MLP([]), epochs=1, validation=0)
        >>> {name: array.shape for name, array in model.export("numpy").items()}
        {'output.weights': (1, 1), 'output.biases': (1, 1)}
        """
        from selectron.interchange.exporting import Exported, export

        source = self.blueprint.specification.source
        try:
            known = [] if source is None else self.engine.columns(self.engine.relation(source))
        except DataError:
            # The table is gone; its columns' types only matter for some exports.
            known = []
        held = Exported(
            self.engine,
            self.blueprint,
            self.parameters,
            class_values(self.engine, self.blueprint.encoding.target),
            {own.name: own for own in known},
        )
        return export(held, kind, path, **options)

    # Showing ---------------------------------------------------------------------------------

    def sql(self, kind: str = "predict", source: object = None) -> str:
        """The SQL of a model, as text.

        Parameters
        ----------
        kind
            ``"predict"``: the query that predicts; ``"train"``: the whole training as one statement that
            gives the same weights; ``"evaluate"``: the figures of quality; ``"step"``: one training step
            from the current checkpoint; ``"script"``: the training as a loop over temporary tables, where the
            engine has scripts.
        source
            The table it is about; by default the one that was trained on.
        """
        if kind == "script":
            specification = self.blueprint.specification
            return training_script(
                self.blueprint,
                self.layout(),
                self.arranged(source),
                specification.training.epochs,
                specification.steps or 1,
                self.engine,
            )
        return self.engine.sql(self.statement(kind, source), pretty=True)

    def statement(self, kind: str, source: object = None) -> exp.Expr:
        """The SQL of a model, as a tree."""
        if kind == "predict":
            return self.predict(self.training_relation(source)).query
        if kind == "evaluate":
            return self.evaluation_query(source)
        if kind == "train":
            epochs = self.blueprint.specification.training.epochs
            rows = self.arranged(source)
            return training_statement(self.blueprint, self.layout(), rows, epochs, self.engine)
        if kind == "step":
            tick, values = stored_values(self.store, self.record.model_id, self.blueprint)
            rows = self.arranged(source)
            return step_statement(self.blueprint, self.layout(), rows, tick, values, self.engine)
        raise ConfigurationError(f"There is no SQL {kind!r}.", hint=f"Use one of {', '.join(SQL_KINDS)}.")

    def trace(self, source: object = None, *, step: int | None = None) -> Trace:
        """The phases of one training step: inputs, pre-activations, activations, loss, gradients, update.

        Parameters
        ----------
        source
            The training rows; by default the table that was trained on.
        step
            The step to look at, from 1; by default the next one from the current checkpoint. Held-out
            batches count, as steps that change nothing.

        Examples
        --------
        >>> import selectron
        >>> db = selectron.connect()
        >>> rows = "SELECT x, x > 4 AS large FROM range(10) AS t(x)"
        >>> model = db.train(rows, "large", network=selectron.MLP([2]), epochs=1, validation=0)
        >>> list(dict.fromkeys(row.phase for row in model.trace(step=1).fetched()))
        ['input', 'pre-activation', 'activation', 'logits', 'loss', 'gradient', 'update']
        """
        rows = self.arranged(source)
        if step is None:
            tick, values = stored_values(self.store, self.record.model_id, self.blueprint)
        elif step < 1:
            raise ConfigurationError(f"step is {step}.", hint="Give 1 or more.")
        else:
            choice = chosen(self.engine, self.blueprint)
            counts = (self.engine, self.store, self.record, self.blueprint, choice)
            tick, values = Trainer(*counts, lambda progress: None).values_after(rows, step - 1)
        return Trace(self.engine, self.blueprint, rows, tick, values)

    def explain(self, source: object = None) -> dict[str, str]:
        """Why the model is trained as it is: layout, strategy, predicted cost, size of the statement.

        Parameters
        ----------
        source
            The table it is about; by default the one that was trained on.
        """
        choice = chosen(self.engine, self.blueprint)
        specification = self.blueprint.specification
        statement = self.engine.sql(self.statement("step", source))
        named = {"layout": specification.layout, "strategy": specification.strategy}
        given = [f"{name} {value}" for name, value in named.items() if value is not None]
        return {
            "engine": self.engine.dialect,
            "layout": str(choice.layout),
            "strategy": str(choice.strategy),
            "chosen": "as asked for: " + ", ".join(given) if given else "the cheapest that runs",
            "candidates": "; ".join(choice.reasons),
            "predicted": f"{choice.seconds * 1000:.3g} ms a step",
            "batches": f"{specification.plan.per_epoch} of {specification.plan.size} rows an epoch",
            "statement": f"{len(statement)} bytes for one step",
        }

    def layout(self) -> Layout:
        """The training step as the engine runs it."""
        choice = chosen(self.engine, self.blueprint)
        return layout_of(self.engine.abilities, choice.layout, self.blueprint.repeated)

    def drop(self) -> None:
        """Remove this version from the database."""
        self.store.drop(self.name, self.version)


def class_values(engine: Engine, target: object) -> tuple[Any, ...]:
    """The classes as values of the target's own type; none if numbers are predicted."""
    if not isinstance(target, ClassTarget):
        return ()
    labels = [target.label(number(float(place))) for place in range(target.outputs)]
    return tuple(engine.rows(exp.select(*labels))[0])


def chosen(engine: Engine, blueprint: Blueprint) -> Choice:
    """The layout and the strategy of a training: those that were asked for, or the cheapest.

    Raises
    ------
    EngineError
        If the engine cannot run what was asked for.
    """
    specification = blueprint.specification
    return choose(
        engine.abilities,
        engine.limits,
        blueprint.repeated,
        specification.plan,
        parse_layout(specification.layout),
        parse_strategy(specification.strategy),
    )

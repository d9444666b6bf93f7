"""What a user holds: a trained model."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from sqlglot import exp

from selectron.blueprint import Blueprint, Specification
from selectron.breakdown import GROUP, by_group, group_column, groups_from_rows
from selectron.calibration import Calibration, calibration_query
from selectron.engines.base import Arrays, Engine, Relation
from selectron.errors import ColumnError, ConfigurationError, DataError, SelectronError
from selectron.evaluation import Evaluation, classification_query, regression_query
from selectron.explaining.attribution import Attributions, attributions
from selectron.explaining.dependence import Dependence, dependence
from selectron.explaining.importance import Importance, importance
from selectron.explaining.subject import Subject
from selectron.features.encoding import StatisticRow, from_rows
from selectron.features.kinds import NumberFeature
from selectron.features.learn import resolve_columns
from selectron.features.rows import HELD_OUT, Split, arranged_rows
from selectron.features.targets import ClassTarget
from selectron.forms import BY_FUNCTIONS
from selectron.layouts.base import BatchPlan, Layout
from selectron.markup import html_table
from selectron.outputs import Output
from selectron.planning import (
    Choice,
    choose,
    layout_of,
    parse_layout,
    parse_strategy,
    register_functions,
)
from selectron.portable import portable_query, table_named, written
from selectron.portable.dbt import CONFIGURATION, escape, reference
from selectron.prediction import (
    Weights,
    predict_function,
    predict_query,
    prediction_columns,
    scored_query,
    stored_weights,
)
from selectron.preparation import arrange, check_weights, held_out_rows, needed_columns, split_of
from selectron.program.operations import Array
from selectron.sql import cast, column, folded, number
from selectron.statements import step_statement, training_script, training_statement
from selectron.store.store import LogRow, ModelRecord, Store
from selectron.tracing import Trace
from selectron.trainer import ROWS, Progress, Trainer, stored_values
from selectron.verification import TOLERANCE, Verification, verify

if TYPE_CHECKING:
    from selectron.interchange.encoded import Encoded

__all__ = ["SQL_KINDS", "Model", "Predictions", "chosen"]

SQL_KINDS: Final = ("predict", "train", "evaluate", "step", "script")


class Predictions(Output):
    """Predictions that are a query, run when they are asked for."""

    def __init__(
        self,
        model: Model,
        query: exp.Select,
        build: Callable[[Weights], exp.Select],
        source: object,
    ) -> None:
        super().__init__(model.engine, query)
        self.store = model.store
        self.model = model
        self.build = build
        self.source = source

    def __repr__(self) -> str:
        return f"Predictions({self.model.name!r})"

    @property
    def sql(self) -> str:
        """The query as text, which runs without Selectron."""
        return self.engine.sql(self.lasting, pretty=True)

    @property
    def lasting(self) -> exp.Select:
        """The query without functions of ours, for views and for text, which outlive the connection."""
        return self.build(self.model.weights(plain=True))

    def select(self, names: Sequence[str], limit: int) -> list[tuple[Any, ...]]:
        """The first rows, of some of the columns."""
        query = exp.select(*map(column, names)).from_(self.query.subquery("predicted")).limit(limit)
        return self.engine.rows(query)

    def rows(self, limit: int | None = None) -> list[tuple[Any, ...]]:
        """The rows as tuples, the first `limit` if given."""
        return self.engine.rows(self.query if limit is None else self.query.limit(limit))

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
            self.engine.create_view(name, self.lasting, replace=replace)
            self.store.record_view(self.model.record.model_id, "prediction", name, str(self.source))


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

    def predict(self, source: object, *, scores: bool = False) -> Predictions:
        """Predict for each row of a table, view, query, file or data frame.

        The rows' own columns come first, then ``predicted_<target>`` and, for classes, a
        ``probability_<class>`` for each; with `scores` also a ``score_<unit>`` for each unit of the last
        layer: its raw output, which for classes is a logit.

        Raises
        ------
        ColumnError
            If the table does not fit the model.
        DataError
            If it does not exist.
        """
        relation = self.engine.relation(source)
        columns = self.engine.columns(relation)
        self.refuse_nulls(relation)

        def build(weights: Weights) -> exp.Select:
            return predict_query(
                self.engine.abilities, self.blueprint, relation, columns, weights, scores=scores
            )

        return Predictions(self, build(self.weights()), build, source)

    def to_function(self, name: str, *, replace: bool = False) -> str:
        """Make a function of SQL that predicts from a row's features, and follows the model as views do.

        On DuckDB it is a macro whose value is a STRUCT; on PostgreSQL it gives a row and takes categories as
        text.

        Returns
        -------
        str
            A call of it with the features' columns.

        Raises
        ------
        DataError
            If there is a function of that name, unless `replace` says to replace it.
        EngineError
            If the engine has no such functions.

        Examples
        --------
        >>> import selectron
        >>> db = selectron.connect()
        >>> rows = "SELECT x, x > 4 AS large FROM range(10) AS t(x)"
        >>> model = db.train(rows, "large", network=selectron.MLP([]), epochs=200, validation=0)
        >>> model.to_function("is_large")
        '"is_large"("x")'
        >>> db.engine.fetched('SELECT "is_large"(8).predicted_large')
        [(True,)]
        """
        if not name.strip():
            raise ConfigurationError("The function needs a name.")
        if not replace and self.engine.has_function(name):
            raise DataError(
                f"There is a function {name!r} already.", hint="Name another, or say to replace it."
            )
        weights = self.weights(plain=True)
        function = predict_function(self.engine.abilities, self.blueprint, name, weights)
        with self.engine.transaction():
            self.engine.create_function(function)
            self.store.record_view(self.record.model_id, "function", name)
        called = exp.Anonymous(
            this=exp.to_identifier(name, quoted=True),
            expressions=[column(argument) for argument, _ in function.arguments],
        )
        return called.sql(dialect=self.engine.dialect, normalize_functions=False)

    def renew(self, model_ids: Sequence[int]) -> None:
        """Let the views and functions that were made for versions of the model show this one."""
        for kind, name, source in self.store.views(model_ids) if model_ids else []:
            try:
                if kind == "function":
                    self.to_function(name, replace=True)
                elif kind == "prediction" and source is not None:
                    self.predict(source).to_view(name, replace=True)
            except SelectronError:
                # Its table no longer fits, or is gone: it stays with the version it was made for.
                continue

    def evaluate(
        self, source: object = None, *, by: str | None = None, calibration: bool = False, bins: int = 10
    ) -> Evaluation:
        """Judge predictions on rows whose target is known.

        Parameters
        ----------
        source
            A table, view, query, file or data frame; by default the rows that were held out in training.
        by
            A column of it: the figures of each of its values are in ``groups``, NULL's under None.
        calibration
            Whether to compare predicted probabilities with what was observed, too.
        bins
            How many bins of equal width the probabilities are cut into for that.

        Raises
        ------
        DataError
            If there is no row to judge, or the table has classes that the model does not know.
        ColumnError
            If the table does not fit the model, or has no column `by`.
        ConfigurationError
            If calibration is asked of a model that predicts numbers.
        """
        if calibration and not self.classes:
            raise ConfigurationError(
                f"Model {self.name!r} predicts numbers, and only probabilities can be calibrated.",
                hint="Leave calibration out.",
            )
        relation = self.judged_rows(source, by)
        by = None if by is None else group_column(self.engine.columns(relation), by, relation.label)
        evaluation = Evaluation.from_rows(self.engine.rows(self.figures(relation)), self.labels)
        if evaluation.rows == 0:
            raise DataError(
                "There is no row to evaluate on, with a known target.", hint="Name a table that has some."
            )
        if by is not None:
            query = by_group(self.scored(relation, {GROUP: by}), self.labels, classes=bool(self.classes))
            groups = groups_from_rows(self.engine.rows(query), self.labels)
            evaluation = replace(evaluation, groups=groups)
        if calibration:
            found = self.engine.rows(calibration_query(self.scored(relation), self.classes, bins))
            evaluation = replace(evaluation, calibration=Calibration.from_rows(found, self.classes, bins))
        return evaluation

    def verify(self, source: object = None, *, tolerance: float = TOLERANCE) -> Verification:
        """Compare the database's predictions with NumPy's, on the same rows.

        Parameters
        ----------
        source
            A table, view, query, file or data frame; by default the one that was trained on.
        tolerance
            How much a probability or a number may differ; numbers beyond 1 by so much of themselves.

        Raises
        ------
        ColumnError
            If the table does not fit the model.
        DataError
            If there are no rows.

        Examples
        --------
        >>> import selectron
        >>> db = selectron.connect()
        >>> rows = "SELECT x, x > 4 AS large FROM range(10) AS t(x)"
        >>> model = db.train(rows, "large", network=selectron.MLP([2]), epochs=3, validation=0)
        >>> verified = model.verify("SELECT x FROM range(1000) AS t(x)")
        >>> verified.passed, verified.rows
        (True, 1000)
        """
        relation = self.used_rows(source)
        return verify(self.engine, self.blueprint, relation, self.weights(), self.parameters, tolerance)

    def used_rows(self, source: object) -> Relation:
        """The rows that the model is used on, checked; the table that was trained on if none are given."""
        if source is None:
            relation = self.training_relation(None)
        else:
            relation = self.engine.relation(source)
            self.blueprint.encoding.check(self.engine.columns(relation), relation.label, target=False)
        self.refuse_nulls(relation)
        return relation

    def evaluation_query(self, source: object) -> exp.Query:
        """The statement that judges predictions."""
        return self.figures(self.judged_rows(source))

    def judged_rows(self, source: object, by: str | None = None) -> Relation:
        """The rows that predictions are judged on, checked: those held out if none are given."""
        if source is None:
            relation = self.held_out_rows(() if by is None else (by,))
        else:
            relation = self.engine.relation(source)
            self.blueprint.encoding.check(self.engine.columns(relation), relation.label, target=True)
        self.refuse_unknown_classes(relation)
        self.refuse_nulls(relation)
        return relation

    def scored(self, relation: Relation, beside: Mapping[str, str] = MappingProxyType({})) -> exp.Select:
        """The actual and predicted values of rows, with columns of theirs beside them."""
        return scored_query(self.engine.abilities, self.blueprint, relation, self.weights(), beside)

    def figures(self, relation: Relation) -> exp.Query:
        """The figures of quality over rows, as a query."""
        query = classification_query if self.classes else regression_query
        return query(self.scored(relation), self.labels)

    def weights(self, *, plain: bool = False) -> Weights:
        """The current checkpoint's parameters, for a forward pass: without our functions if it is `plain`."""
        abilities = self.engine.abilities
        values = self.parameters if abilities.arrays is not Arrays.LISTS else {}
        found = stored_weights(
            abilities, self.store, self.record.model_id, self.blueprint, values, plain=plain
        )
        if found.form is BY_FUNCTIONS:
            register_functions(self.engine)
        return found

    def held_out_rows(self, beside: Sequence[str] = ()) -> Relation:
        """The rows that were held out, found again in the table that was trained on.

        `beside` are columns that are wanted besides those that the model needs.
        """
        if not self.blueprint.specification.plan.held_out_rows:
            raise DataError("No rows were held out in training.", hint="Name a table to evaluate on.")
        rows = self.arranged(beside=beside).subquery("arranged")
        held = exp.select("*").from_(rows).where(column(HELD_OUT))
        return Relation(held.subquery("held_out"), "the held-out rows")

    def arranged(self, source: object = None, *, beside: Sequence[str] = ()) -> exp.Select:
        """The training table's rows in their order, as they were prepared for training."""
        relation = self.training_relation(source)
        specification = self.blueprint.specification
        split = split_of(self.engine, specification)
        needed = needed_columns(specification, self.blueprint.encoding)
        for own in (relation, split.relation) if beside else ():
            if own is not None:
                resolve_columns(self.engine.columns(own), beside, own.label)
        known = {folded(name) for name in needed}
        more = [name for name in beside if folded(name) not in known]
        return arranged_rows(relation, [*needed, *more], specification.target, split)

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
        label = cast(column(target.column), "text")
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
        features = {feature.column: feature for feature in self.blueprint.encoding.features}
        names = [name for name in features if options.nulls == "refuse" or name in options.complete]
        if not names:
            return

        def unknown(name: str) -> exp.Expr:
            """How many are NULL, or NaN, which counts as NULL."""
            feature = features[name]
            known: exp.Expr = column(name)
            if isinstance(feature, NumberFeature):
                known = exp.Case(ifs=[exp.If(this=feature.known(), true=number(1.0))])
            return exp.Sub(this=exp.Count(this=exp.Star()), expression=exp.Count(this=known))

        found = self.engine.rows(exp.select(*map(unknown, names)).from_(relation.source.copy()))[0]
        for name, count in zip(names, found, strict=True):
            if count:
                raise ColumnError(
                    f"Column {name!r} of {relation.label} has {count} NULLs, and the model refuses them.",
                    hint="Fill them in a query, or train with nulls='impute'.",
                )

    # Explaining ------------------------------------------------------------------------------

    def importance(self, source: object = None, *, repeats: int = 5, seed: int = 0) -> Importance:
        """How much worse predictions get when a column's values are shuffled, for each feature column.

        Parameters
        ----------
        source
            Rows whose target is known; by default those that were held out in training.
        repeats
            How often each column is shuffled.
        seed
            Decides the shuffles.

        Returns
        -------
        Importance
            Its ``rows()`` are :class:`~selectron.explaining.importance.ImportanceRow`.

        Examples
        --------
        >>> import selectron
        >>> db = selectron.connect()
        >>> rows = "SELECT x, x % 3 AS noise, x > 49 AS large FROM range(100) AS t(x)"
        >>> model = db.train(rows, "large", network=selectron.MLP([]), epochs=50, validation=0)
        >>> [row.column for row in model.importance(rows).rows()]
        ['x', 'noise']
        """
        return importance(self.subject(self.judged_rows(source)), repeats=repeats, seed=seed)

    def attributions(
        self,
        source: object = None,
        *,
        about: str | None = None,
        baseline: object = "mean",
        steps: int = 50,
    ) -> Attributions:
        """What each column adds to the prediction of each row, by integrated gradients.

        Parameters
        ----------
        source
            The rows; by default the table that was trained on.
        about
            The class whose logit is explained, by default the one that is predicted for each row; or the
            target column.
        baseline
            What rows are compared with: ``"mean"``, the mean of the encoded rows; ``"zeros"``, which is the
            mean of standardized numbers and no category; or a table or query, whose encoded mean is taken.
        steps
            How many steps the way from there has; the work is that of so many predictions.

        Returns
        -------
        Attributions
            Its ``rows()`` are :class:`~selectron.explaining.attribution.AttributionRow`.

        Examples
        --------
        >>> import selectron
        >>> db = selectron.connect()
        >>> rows = "SELECT x, x % 3 AS noise, 3 * x AS y FROM range(101) AS t(x)"
        >>> linear = selectron.MLP([])
        >>> model = db.train(rows, "y", task="regression", network=linear, epochs=400, validation=0)
        >>> found = model.attributions("SELECT 90 AS x, 1 AS noise", baseline=rows)
        >>> [(row.column, round(row.attribution)) for row in found.rows()]
        [('x', 120), ('noise', 0)]
        """
        subject = self.subject(self.used_rows(source))
        return attributions(subject, self.parameters, about=about, baseline=baseline, steps=steps)

    def dependence(
        self, column: str, source: object = None, *, grid: Sequence[Any] | None = None, points: int = 20
    ) -> Dependence:
        """How predictions depend on a column: their mean over the rows, if all had one value and another.

        Parameters
        ----------
        column
            A feature of the model.
        source
            The rows; by default the table that was trained on.
        grid
            Values to take, None for NULL; by default quantiles of a column of numbers or moments, the
            categories that training rows had, or false and true.
        points
            How many quantiles, from the least to the greatest; equal ones count once.

        Returns
        -------
        Dependence
            Its ``rows()`` are :class:`~selectron.explaining.dependence.DependenceRow`, and those of its
            ``curves`` the predictions of single rows.

        Examples
        --------
        >>> import selectron
        >>> db = selectron.connect()
        >>> rows = "SELECT x, x % 3 AS noise, x > 49 AS large FROM range(100) AS t(x)"
        >>> model = db.train(rows, "large", network=selectron.MLP([]), epochs=50, validation=0)
        >>> found = model.dependence("x", rows, points=3)
        >>> found.rows()[-1]
        DependenceRow(place=2, value=99.0, about='true', predicted=0.6...)
        """
        subject = self.subject(self.used_rows(source))
        return dependence(subject, column, grid=grid, points=points)

    def subject(self, relation: Relation) -> Subject:
        """The model on some rows, to be explained."""
        return Subject(self.engine, self.blueprint, self.weights(), relation)

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
        trained = Model(self.engine, self.store, self.store.record(self.record.model_id))
        # Weights that are written down in them are those of before.
        trained.renew([self.record.model_id])
        return trained

    @property
    def kept_steps(self) -> list[int]:
        """The steps whose states were kept, if ``keep_states`` was asked for; held-out batches count."""
        return self.store.kept_steps(self.record.model_id)

    def rewind(self, step: int) -> Model:
        """Go back to a state that was kept on the way; :meth:`train` goes on from there.

        Raises
        ------
        ConfigurationError
            If the state after that step was not kept.

        Examples
        --------
        >>> import selectron
        >>> db = selectron.connect()
        >>> rows = "SELECT x, x > 4 AS large FROM range(10) AS t(x)"
        >>> options = {"strategy": "stepwise", "steps": 2, "keep_states": True, "validation": 0}
        >>> model = db.train(rows, "large", network=selectron.MLP([]), epochs=6, **options)
        >>> model.kept_steps
        [2, 4, 6]
        >>> model.rewind(4).train()
        Model('large', version=1, epochs=6)
        """
        kept = self.kept_steps
        if step not in kept:
            named = ", ".join(map(str, kept[:10])) + (" ..." if len(kept) > 10 else "")
            hint = f"Use one of {named}." if kept else "Train with keep_states, which keeps them."
            raise ConfigurationError(
                f"No state of model {self.name!r} after step {step} was kept.", hint=hint
            )
        parameters = [(own.layer, own.name) for own in self.blueprint.step.parameters]
        self.store.rewind(self.record.model_id, step, parameters)
        back = Model(self.engine, self.store, self.store.record(self.record.model_id))
        back.renew([self.record.model_id])
        return back

    def train_on(
        self,
        source: object,
        epochs: int = 1,
        *,
        row_weight: str | None = None,
        watch: Callable[[Progress], None] = lambda progress: None,
    ) -> Model:
        """Train on with other rows, as they come in: parameters and the optimizer's state are kept.

        What was learned of the columns stays as it is: means, categories, classes. Nothing is held out, and
        nothing stops early.

        Parameters
        ----------
        source
            A table, view, query, file or data frame, with the columns of the model and its target.
        epochs
            Passes over these rows.
        row_weight
            A column of their weights.
        watch
            Called with a :class:`~selectron.trainer.Progress` after each checkpoint.

        Raises
        ------
        ColumnError, DataError
            If the rows do not fit the model, have classes that it does not know, or there are none.

        Examples
        --------
        >>> import selectron
        >>> db = selectron.connect()
        >>> model = db.train("SELECT x, x > 4 AS large FROM range(10) AS t(x)", "large", epochs=1)
        >>> model.train_on("SELECT x, x > 4 AS large FROM range(3, 9) AS t(x)", epochs=2)
        Model('large', version=1, epochs=3)
        """
        if not isinstance(epochs, int) or epochs < 1:
            raise ConfigurationError(f"epochs is {epochs!r}.", hint="Give a whole number, 1 or more.")
        self.store.prepare()
        before, encoding = self.blueprint.specification, self.blueprint.encoding
        relation = self.engine.relation(source)
        columns = self.engine.columns(relation)
        encoding.check(columns, relation.label, target=True)
        self.refuse_unknown_classes(relation)
        self.refuse_nulls(relation)
        total = (self.record.epochs or 0) + epochs
        training = replace(
            before.training,
            epochs=total,
            row_weight=row_weight,
            validation=0.0,
            validation_column=None,
            patience=None,
        )
        specification = replace(
            before,
            source=str(source) if isinstance(source, (str, Path)) else None,
            training=training,
            validation_source=None,
        )
        held_out_rows(self.engine, relation, before.target, 0.0)
        weights = resolve_columns(columns, [row_weight] if row_weight else [], relation.label)
        needed = needed_columns(specification, encoding)
        try:
            rows, _ = arrange(self.engine, relation, needed, before.target, Split(training.seed))
            for weight in weights:
                check_weights(self.engine, weight, relation.label)
            size = rows if training.batch_size is None else min(training.batch_size, rows)
            blueprint = Blueprint(replace(specification, plan=BatchPlan(rows, 0, size)), encoding)
            choice = chosen(self.engine, blueprint)
        except BaseException:
            self.engine.drop_temporary(ROWS)
            raise
        trainer = Trainer(self.engine, self.store, self.record, blueprint, choice, watch)
        trainer.run(total, resume=True, other_rows=True)
        self.store.set_specification(
            self.record.model_id, json.dumps(blueprint.specification.to_json(), ensure_ascii=False)
        )
        trained = Model(self.engine, self.store, self.store.record(self.record.model_id))
        trained.renew([self.record.model_id])
        return trained

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

    def sql(self, kind: str = "predict", source: object = None, *, scores: bool = False) -> str:
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
        scores
            Whether a prediction has the raw outputs too.
        """
        if scores and kind == "predict":
            predictions = self.predict(self.training_relation(source), scores=True)
            return predictions.sql
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

    def portable_sql(
        self,
        dialect: str,
        table: str | None = None,
        *,
        keep: Sequence[str] | None = None,
        scores: bool = False,
        dbt: bool = False,
    ) -> str:
        """Prediction as one statement that runs where neither Selectron nor the model is.

        Features, weights and classes are written down in it.

        Parameters
        ----------
        dialect
            A dialect of sqlglot: ``"snowflake"``, ``"databricks"``, ``"redshift"``, ``"trino"``,
            ``"clickhouse"``, ``"mysql"``, ``"tsql"`` and so on; one of `selectron.portable.DIALECTS`.
        table
            The table to predict for, as it is called there; by default that of the training.
        keep
            Its columns that come before the predictions: by default those of this database's table of that
            name, or else the model's features.
        scores
            Whether the raw outputs of the last layer come too.
        dbt
            Whether it is a dbt model: `table` is then another model, or ``source.table``.

        Raises
        ------
        ConfigurationError
            If there is no such dialect.

        Examples
        --------
        >>> import selectron
        >>> db = selectron.connect()
        >>> rows = "SELECT x, x > 4 AS large FROM range(10) AS t(x)"
        >>> model = db.train(rows, "large", network=selectron.MLP([]), epochs=1, validation=0)
        >>> print(model.portable_sql("mysql", "numbers").splitlines()[-1])
        FROM `stage_2`
        """
        named = table if table is not None else self.training_table()
        source = reference(named) if dbt else table_named(named, dialect)
        kept = self.kept_columns(table) if keep is None else keep
        query = portable_query(self.blueprint, self.parameters, source, kept, dialect, scores=scores)
        return f"{CONFIGURATION}\n\n{written(escape(query), dialect)}" if dbt else written(query, dialect)

    def training_table(self) -> str:
        """The name of the table that was trained on, or of the file without its ending."""
        source = self.blueprint.specification.source
        if source is None or (any(map(str.isspace, source)) and not self.engine.has_table(source)):
            raise DataError(
                f"Model {self.name!r} was not trained on a table that has a name.", hint="Name a table."
            )
        return source if self.engine.has_table(source) else Path(source).name.split(".")[0]

    def kept_columns(self, table: str | None) -> list[str]:
        """The columns of a table of this database, or those of the features if it has none of that name."""
        found = table if table is not None else self.blueprint.specification.source
        if found is not None and (table is None or self.engine.has_table(found)):
            return [own.name for own in self.engine.columns(self.engine.relation(found))]
        return [feature.column for feature in self.blueprint.encoding.features]

    def statement(self, kind: str, source: object = None) -> exp.Expr:
        """The SQL of a model, as a tree."""
        if kind == "predict":
            return self.predict(self.training_relation(source)).lasting
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

    def report(self, path: str | Path, source: object = None) -> None:
        """Write one page of HTML about the model, which needs no network to be read.

        It shows the data and what was learned of it, the losses of the training, the quality of predictions,
        the importance of columns, the network with its weights, and the SQL.

        Parameters
        ----------
        path
            The file to write.
        source
            A table, view, query, file or data frame whose target is known, to judge predictions on; by
            default the rows held out in training. Without either, the page says nothing about quality.

        Raises
        ------
        ConfigurationError
            If the file cannot be written, or Matplotlib and Jinja are not installed.
        DataError
            If there are no rows to judge, or the held-out ones are no longer there.

        Examples
        --------
        >>> import selectron, tempfile
        >>> db = selectron.connect()
        >>> rows = "SELECT x, x > 4 AS large FROM range(10) AS t(x)"
        >>> model = db.train(rows, "large", network=selectron.MLP([2]), epochs=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "report.html"
        ...     model.report(path)
        ...     path.read_text(encoding="utf-8").strip()[:15]
        '<!doctype html>'
        """
        # Imported here, since few sessions write reports.
        from selectron.reporting.page import write_report

        write_report(self, path, source)

    def _repr_html_(self) -> str:
        """What notebooks show: the model in short, and its losses."""
        log, record = self.log, self.record
        losses = [(row.training_loss, row.validation_loss) for row in log[-1:]]
        training, held_out = losses[0] if losses else (None, None)
        facts: dict[str, object] = {
            "model": f"{self.name} version {self.version}",
            "task": f"{record.task} of {record.target}",
            "rows": f"{record.training_rows} of {record.source}, and {record.validation_rows} held out",
            "network": " - ".join(str(len(units)) for units in self.blueprint.layers.values()),
            "epochs": str(record.epochs or 0),
            "training loss": training,
            "held-out loss": held_out,
        }
        return html_table((), [(name, value) for name, value in facts.items() if value is not None])

    @property
    def choice(self) -> Choice:
        """The layout and the strategy of its training."""
        return chosen(self.engine, self.blueprint)

    def layout(self) -> Layout:
        """The training step as the engine runs it."""
        return layout_of(self.engine.abilities, self.choice.layout, self.blueprint.repeated)

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

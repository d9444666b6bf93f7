"""What a user holds: a trained model."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from sqlglot import exp

from selectron.blueprint import Blueprint
from selectron.engines.base import Relation
from selectron.errors import ConfigurationError, DataError
from selectron.features.learn import resolve_columns
from selectron.features.rows import HELD_OUT, Split
from selectron.layouts.base import BatchPlan
from selectron.model.exchanged import ExchangedModel
from selectron.model.kept import chosen
from selectron.model.shown import ShownModel
from selectron.preparation import (
    arrange,
    arranged,
    check_weights,
    held_out_rows,
    needed_columns,
    split_of,
    training_rows,
)
from selectron.sql import column
from selectron.trainer import ROWS, Progress, Trainer

__all__ = ["Model"]


class Model(ShownModel, ExchangedModel):
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
            If the table has changed since: in its number of rows, or by classes that the model does not know.
        ColumnError, TargetError
            If a weight or a number to predict is none, such as NaN.
        """
        if epochs < 0:
            raise ConfigurationError(f"epochs is {epochs}.", hint="Give 0 or more.")
        self.store.prepare()
        specification = self.blueprint.specification
        total = (self.record.epochs or 0) + epochs if epochs else specification.training.epochs
        relation = self.training_relation(source)
        plan = specification.plan
        needed = needed_columns(specification, self.blueprint.encoding)
        split = split_of(self.engine, specification, self.blueprint.encoding)
        try:
            counts = arrange(self.engine, relation, needed, specification.target, split)
            if counts != (plan.training_rows, plan.held_out_rows):
                raise DataError(
                    f"{relation.label} had {plan.training_rows} rows to train on and {plan.held_out_rows} "
                    f"held out, and now has {counts[0]} and {counts[1]}.",
                    hint="Train a new version with warm_start to learn from changed rows.",
                )
            self.refuse_changed_values(relation)
            blueprint = self.blueprint.with_training(epochs=total)
            choice = chosen(self.engine, blueprint)
        except BaseException:
            self.engine.drop_temporary(ROWS)
            raise
        Trainer(self.engine, self.store, self.record, blueprint, choice, watch).run(total, resume=True)
        self.store.set_specification(
            self.record.model_id, json.dumps(blueprint.specification.to_json(), ensure_ascii=False)
        )
        trained = Model(self.engine, self.store, self.store.record(self.record.model_id))
        # Weights that are written down in them are those of before.
        trained.renew([self.record.model_id])
        return trained

    def refuse_changed_values(self, relation: Relation) -> None:
        """Hold the arranged rows to what a first training refuses: as many rows may hold other values."""
        rows = arranged(self.engine, relation)
        self.refuse_unknown_targets(rows)
        trained = exp.select("*").from_(rows.source.copy()).where(exp.Not(this=column(HELD_OUT)))
        self.refuse_rows(Relation(trained.subquery("trained"), relation.label))
        weight = self.blueprint.specification.training.row_weight
        if weight is not None:
            (found,) = resolve_columns(self.engine.columns(relation), [weight], relation.label)
            check_weights(self.engine, found, relation.label)

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
        relation = training_rows(self.engine, specification, encoding, relation)
        self.refuse_unknown_targets(relation)
        self.refuse_rows(relation)
        held_out_rows(self.engine, relation, before.target, 0.0)
        weights = resolve_columns(columns, [row_weight] if row_weight else [], relation.label)
        needed = needed_columns(specification, encoding)
        try:
            rows, _ = arrange(self.engine, relation, needed, before.target, Split(training.seed))
            for weight in weights:
                check_weights(self.engine, weight, relation.label)
            size = rows if training.batch_size is None else min(training.batch_size, rows)
            blueprint = Blueprint(replace(specification, plan=BatchPlan(rows, 0, size), parts=None), encoding)
            choice = chosen(self.engine, blueprint)
            blueprint = blueprint.in_parts(choice.parts)
        except BaseException:
            self.engine.drop_temporary(ROWS)
            raise
        trainer = Trainer(self.engine, self.store, self.record, blueprint, choice, watch)
        trainer.run(total, resume=True, other_rows=True)
        self.store.set_specification(
            self.record.model_id, json.dumps(blueprint.specification.to_json(), ensure_ascii=False)
        )
        self.store.set_rows(self.record.model_id, relation.label, rows, 0)
        trained = Model(self.engine, self.store, self.store.record(self.record.model_id))
        trained.renew([self.record.model_id])
        return trained

    def drop(self) -> None:
        """Remove this version from the database."""
        self.store.drop(self.name, self.version)

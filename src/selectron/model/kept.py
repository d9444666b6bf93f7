"""A model as it is kept in a database: what it is, the rows that it is about, and its weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from sqlglot import exp

from selectron.blueprint import Blueprint, Specification
from selectron.engines.base import Arrays, Engine, Relation
from selectron.errors import ColumnError, DataError
from selectron.evaluation import classification_query, regression_query
from selectron.features.encoding import StatisticRow, from_rows
from selectron.features.fitting import fitted
from selectron.features.kinds import CategoryFeature, EmbeddingFeature, NumberFeature
from selectron.features.learn import resolve_columns
from selectron.features.rows import HELD_OUT, arranged_rows
from selectron.features.targets import ClassTarget
from selectron.features.unseen import refuse_unseen
from selectron.forms import BY_FUNCTIONS
from selectron.layouts.base import Layout
from selectron.planning import (
    Choice,
    choose,
    layout_of,
    parse_layout,
    parse_strategy,
    register_functions,
)
from selectron.prediction import (
    Weights,
    prediction_columns,
    scored_query,
    stored_weights,
)
from selectron.preparation import check_targets, needed_columns, split_of, training_rows
from selectron.program.operations import Array
from selectron.sql import cast, column, folded, growing, number
from selectron.store.store import LogRow, ModelRecord, Store

__all__ = ["KeptModel", "chosen", "class_values"]

# How many columns are first asked for NULLs at once.
TOGETHER: Final = 100


class KeptModel:
    """A version of a model, read from the store.

    What it is used for is in the classes that build on this one; :class:`~selectron.model.Model` has it all.
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

    # Rows ------------------------------------------------------------------------------------

    def used_rows(self, source: object) -> Relation:
        """The rows that the model is used on, checked; the table that was trained on if none are given."""
        if source is None:
            relation = self.training_relation(None)
        else:
            relation = self.fitted(self.engine.relation(source), target=False)
        self.refuse_rows(relation)
        return relation

    def judged_rows(self, source: object, by: str | None = None) -> Relation:
        """The rows that predictions are judged on, checked: those held out if none are given."""
        if source is None:
            relation = self.held_out_rows(() if by is None else (by,))
        else:
            relation = self.fitted(self.engine.relation(source), target=True)
        self.refuse_unknown_targets(relation)
        self.refuse_rows(relation)
        return relation

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
        split = split_of(self.engine, specification, self.blueprint.encoding)
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
        encoding = self.blueprint.encoding
        return training_rows(self.engine, specification, encoding, self.engine.relation(named))

    def fitted(self, relation: Relation, *, target: bool) -> Relation:
        """A relation as the model reads it, checked."""
        return fitted(relation, self.engine.columns(relation), self.blueprint.encoding, target=target)

    def refuse_unknown_targets(self, relation: Relation) -> None:
        """Refuse classes that the model does not know, and numbers that are not finite."""
        target = self.blueprint.encoding.target
        check_targets(self.engine, relation, target)
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

    def refuse_rows(self, relation: Relation) -> None:
        """Refuse NULLs and categories, where the model has no place for them."""
        self.refuse_nulls(relation)
        options, encoding = self.blueprint.specification.features, self.blueprint.encoding
        refuse_unseen(self.engine, relation, encoding.features, options.known)

    @growing()
    def refuse_nulls(self, relation: Relation) -> None:
        """Hold to nulls="refuse", and to columns that must be complete."""
        options = self.blueprint.specification.features
        features = {feature.column: feature for feature in self.blueprint.encoding.features}
        names = [name for name in features if options.nulls == "refuse" or name in options.complete]
        if not names:
            return

        def known(name: str) -> exp.Expr:
            """Whether it is neither NULL nor NaN, which counts as NULL."""
            feature = features[name]
            if isinstance(feature, NumberFeature):
                return feature.known()
            if isinstance(feature, (CategoryFeature, EmbeddingFeature)):
                present = feature.known.present()
                if present is not None:
                    return present
            return exp.Not(this=exp.Is(this=column(name), expression=exp.Null()))

        def unknown(together: Sequence[str]) -> exp.Expr:
            """In how many rows one of them is unknown."""
            complete = exp.and_(*map(known, together), copy=False)
            rows = exp.Case(ifs=[exp.If(this=complete, true=number(1.0))])
            return exp.Sub(this=exp.Count(this=exp.Star()), expression=exp.Count(this=rows))

        def counted(groups: Sequence[Sequence[str]]) -> Sequence[int]:
            query = exp.Select(expressions=[unknown(group) for group in groups])
            return self.engine.rows(query.from_(relation.source.copy(), copy=False))[0]

        # Hundreds of columns are counted many at a time, which engines plan in a fraction of the time.
        groups = [names[start : start + TOGETHER] for start in range(0, len(names), TOGETHER)]
        doubtful = zip(groups, counted(groups), strict=True)
        found = [name for group, count in doubtful if count for name in group]
        for name, count in zip(found, counted([[name] for name in found]) if found else (), strict=True):
            if count:
                raise ColumnError(
                    f"Column {name!r} of {relation.label} has {count} NULLs, and the model refuses them.",
                    hint="Fill them in a query, or train with nulls='impute'.",
                )

    # Computing -------------------------------------------------------------------------------

    def weights(self, *, plain: bool = False, whole: bool = False) -> Weights:
        """The current checkpoint's parameters, for a forward pass: without our functions if it is `plain`.

        All of them are there if the `whole` is wanted; else a row may look up its categories' vectors.
        """
        abilities = self.engine.abilities
        values = self.parameters if abilities.arrays is not Arrays.LISTS else {}
        found = stored_weights(
            abilities, self.store, self.record.model_id, self.blueprint, values, plain=plain, whole=whole
        )
        if found.form is BY_FUNCTIONS:
            register_functions(self.engine)
        return found

    def scored(self, relation: Relation, beside: Mapping[str, str] = MappingProxyType({})) -> exp.Select:
        """The actual and predicted values of rows, with columns of theirs beside them."""
        return scored_query(self.engine.abilities, self.blueprint, relation, self.weights(), beside)

    def figures(self, relation: Relation) -> exp.Query:
        """The figures of quality over rows, as a query."""
        query = classification_query if self.classes else regression_query
        return query(self.scored(relation), self.labels)

    @property
    def choice(self) -> Choice:
        """The layout and the strategy of its training."""
        return chosen(self.engine, self.blueprint)

    def layout(self) -> Layout:
        """The training step as the engine runs it."""
        choice = self.choice
        return layout_of(self.engine.abilities, choice.layout, self.blueprint.repeated, choice.parts)


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
        specification.parts,
    )

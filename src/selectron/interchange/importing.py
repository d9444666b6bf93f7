"""From a described network and a table to a blueprint: what a training would have learned, given instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from selectron.blueprint import Blueprint, Specification
from selectron.engines.base import Column, Engine, Relation
from selectron.errors import ConfigurationError, TargetError
from selectron.features.encoding import Encoding, find_column
from selectron.features.kinds import CategoryFeature, EmbeddingFeature, Feature
from selectron.features.learn import Task, resolve_columns
from selectron.features.options import FeatureOptions, check_choice
from selectron.features.rows import Split
from selectron.features.targets import ClassTarget
from selectron.interchange.assembly import Assembled, assemble
from selectron.interchange.described import Described, Layer
from selectron.interchange.outputs import class_outputs, class_target, classifies, number_target
from selectron.interchange.signals import Raw
from selectron.interchange.transformers import transformed
from selectron.layouts.base import BatchPlan
from selectron.network import MLP
from selectron.network import Dense as DenseLayer
from selectron.planning import parse_layout, parse_strategy
from selectron.preparation import (
    arrange,
    arranged,
    check_targets,
    check_weights,
    held_out_rows,
    needed_columns,
    resolve_validation,
    training_rows,
)
from selectron.program.operations import Array
from selectron.training.losses import Loss
from selectron.training.optimizers import Optimizer
from selectron.training.options import TrainingOptions
from selectron.training.schedules import Schedule

__all__ = ["GoingOn", "Wanted", "imported"]


class GoingOn(TypedDict, total=False):
    """How the network is trained on: options of :meth:`~selectron.database.Database.train`."""

    loss: Loss | None
    optimizer: Optimizer
    schedule: Schedule
    batch_size: int | None
    l1: float
    l2: float
    class_weight: str | Mapping[str, float] | None
    row_weight: str | None
    clip_norm: float | None
    validation: object
    patience: int | None
    min_delta: float
    seed: int
    layout: str | None
    strategy: str | None
    steps: int | None


@dataclass(frozen=True)
class Wanted:
    """What the user says about a network: see :meth:`~selectron.database.Database.import_model`.

    `preprocessing` is None, a fitted transformer of scikit-learn, or the blueprint of a model whose encoding
    is taken over.
    """

    target: tuple[str, ...]
    features: tuple[str, ...] | None = None
    classes: tuple[object, ...] | None = None
    task: Task = Task.AUTO
    nulls: str = "refuse"
    preprocessing: Any = None


def imported(
    engine: Engine, described: Described, table: object, wanted: Wanted, going_on: GoingOn
) -> tuple[Blueprint, Relation, tuple[str, ...]]:
    """The blueprint of a model that predicts as a network does, over a table of the database.

    Returns
    -------
    tuple
        The blueprint, the table, and notes for the user. The rows of the table are left arranged.

    Raises
    ------
    ConfigurationError, DataError
        If the network and the table do not fit.
    """
    check_choice("nulls", wanted.nulls, ("refuse", "impute"))
    if not wanted.target:
        raise ConfigurationError("No target is named.", hint="Name the column that the network predicts.")
    relation = engine.relation(table)
    columns = engine.columns(relation)
    targets = resolve_columns(columns, wanted.target, relation.label)
    if wanted.features is not None:
        refuse_target(resolve_columns(columns, wanted.features, relation.label), targets)
    options: dict[str, Any] = dict(going_on)
    unknown = sorted(set(options) - set(GoingOn.__annotations__))
    if unknown:
        raise ConfigurationError(
            f"import_model has no option {unknown[0]!r}.",
            hint=f"It has {', '.join(GoingOn.__annotations__)}.",
        )
    layout, strategy, steps = (options.pop(name, None) for name in ("layout", "strategy", "steps"))
    held = resolve_validation(engine, options.pop("validation", 0.2), relation, columns)
    training = TrainingOptions(**options, epochs=0, validation=held.fraction, validation_column=held.column)

    # The outputs: logits of classes, or numbers.
    layers: tuple[Layer, ...] = described.layers
    if classifies(described, wanted.task, wanted.classes, targets):
        if len(targets) > 1:
            raise TargetError(f"{len(targets)} targets are named for classes.", hint="Name one column.")
        outputs = layers[-1].weights.shape[1]
        known = wanted.classes
        if known is None and isinstance(wanted.preprocessing, Blueprint):
            theirs = wanted.preprocessing.encoding.target
            known = theirs.classes if isinstance(theirs, ClassTarget) else None
        target: Any = class_target(
            engine, relation, targets[0], outputs, described.classes if known is None else known
        )
        layers, activation = class_outputs(layers, training.loss), "identity"
        if training.class_weight == "balanced" and 0 in target.counts:
            label = target.classes[target.counts.index(0)]
            raise TargetError(
                f"class_weight is 'balanced', and no row of {relation.label} is of class {label!r}.",
                hint="Give a weight for each class.",
            )
    else:
        target, activation = number_target(described, targets), layers[-1].activation

    # The inputs: features, and the first layer arranged for their units.
    assembled = inputs(engine, relation, columns, described, wanted)
    refuse_target(resolve_columns(columns, used(assembled.features), relation.label), targets)
    first = replace(
        layers[0],
        weights=assembled.matrix @ layers[0].weights,
        biases=layers[0].biases + assembled.offset @ layers[0].weights,
    )
    encoding = Encoding(assembled.features, target)
    features = FeatureOptions(
        include=tuple(used(assembled.features)),
        scaling="none",
        complete=assembled.complete,
        known=assembled.known,
    )

    required = [own.name for own in targets]
    specification = Specification(
        source=str(table) if isinstance(table, (str, Path)) else None,
        target=tuple(required),
        task=Task.CLASSIFICATION if isinstance(target, ClassTarget) else Task.REGRESSION,
        network=network([first, *layers[1:]], activation),
        training=training,
        features=features,
        plan=BatchPlan(1, 0, 1),
        validation_source=held.source,
        layout=parse_layout(layout),
        strategy=parse_strategy(strategy),
        steps=steps,
    )
    needed = needed_columns(specification, encoding)
    rows, held_rows = (
        own and training_rows(engine, specification, encoding, own) for own in (relation, held.relation)
    )
    assert rows is not None
    held_count, left_out = held_out_rows(engine, rows, required, held.fraction)
    split = Split(training.seed, held_count, held.column, held_rows)
    counts = arrange(engine, rows, needed, required, split)
    check_targets(engine, arranged(engine, relation), target)
    if training.row_weight is not None:
        check_weights(
            engine, resolve_columns(columns, [training.row_weight], relation.label)[0], relation.label
        )
    size = counts[0] if training.batch_size is None else min(training.batch_size, counts[0])
    specification = replace(specification, plan=BatchPlan(*counts, size))
    notes = (*left_out, *described.notes)
    return Blueprint(specification, encoding), relation, notes


def used(features: Sequence[Feature]) -> list[str]:
    return list(dict.fromkeys(feature.column for feature in features))


def refuse_target(features: Sequence[Column], targets: Sequence[Column]) -> None:
    both = [own.name for own in features if own in targets]
    if both:
        raise TargetError(
            f"Column {both[0]!r} is the target and a feature at once.", hint="Name other features."
        )


def inputs(
    engine: Engine, relation: Relation, columns: Sequence[Column], described: Described, wanted: Wanted
) -> Assembled:
    """What feeds the first layer."""
    units = described.layers[0].weights.shape[0]
    if isinstance(wanted.preprocessing, Blueprint):
        if described.transformers:
            raise ConfigurationError(
                "The pipeline has preprocessing of its own, and a model's is given.", hint="Give one of them."
            )
        found = taken_over(wanted.preprocessing)
        wanted.preprocessing.encoding.check(columns, relation.label, target=False)
    else:
        names = wanted.features or described.names or getattr(wanted.preprocessing, "feature_names_in_", None)
        if names is None:
            raise ConfigurationError(
                "The network does not say what its inputs are called.",
                hint=f"Give features, the names of columns in the order of its {units} inputs.",
            )
        # Those that its preprocessing drops need not be in the table.
        found_columns = [find_column(columns, str(name)) for name in names]
        features = [str(n) if own is None else own.name for n, own in zip(names, found_columns, strict=True)]
        signals: list[Any] = [Raw(name) for name in features]
        own_names = described.names
        for transformer in (wanted.preprocessing, *described.transformers):
            signals = transformed(transformer, signals, own_names)
            own_names = own_names if len(signals) == len(own_names or ()) else None
        if len(signals) != units:
            raise ConfigurationError(
                f"The network has {units} inputs, and {len(features)} features become {len(signals)}.",
                hint="Name its features in its order, and give its preprocessing.",
            )
        found = assemble(engine, relation, columns, signals, imputes=wanted.nulls == "impute")
    if found.matrix.shape[1] != units:
        raise ConfigurationError(
            f"The network has {units} inputs, and the model's encoding {found.matrix.shape[1]}.",
            hint="Was it trained on what model.encoded() gives?",
        )
    return found


def taken_over(blueprint: Blueprint) -> Assembled:
    """A model's own encoding; embedded categories as a unit for each."""
    features: list[Feature] = [
        feature for feature in blueprint.encoding.features if not isinstance(feature, EmbeddingFeature)
    ]
    features += [
        CategoryFeature(embedding.column, embedding.categories, False, embedding.kind)
        for embedding in blueprint.encoding.embeddings
    ]
    units = sum(len(feature.units) for feature in features)
    options = blueprint.specification.features
    complete = tuple(used(features)) if options.nulls == "refuse" else options.complete
    return Assembled(tuple(features), np.eye(units), np.zeros(units), complete, options.known)


def network(layers: Sequence[Layer], output_activation: str) -> MLP:
    """Layers as ours, with their weights as initial values."""
    *hidden, last = layers
    initial: dict[str, list[list[float]]] = {}

    def give(name: str, layer: Layer) -> None:
        weights: Array = layer.weights
        initial[f"{name}.weights"] = weights.tolist()
        initial[f"{name}.biases"] = [layer.biases.tolist()]

    for place, layer in enumerate(hidden, start=1):
        give(f"hidden_{place}", layer)
    give("output", last)
    return MLP(
        [DenseLayer(layer.weights.shape[1], layer.activation, layer.dropout) for layer in hidden],
        initial=initial,
        output_activation=output_activation,
    )

"""What a model is, in words and figures: the data, its features, the network and its training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime, timedelta

from selectron.errors import SelectronError
from selectron.features.kinds import (
    BooleanFeature,
    CategoryFeature,
    EmbeddingFeature,
    Feature,
    NumberFeature,
    TimeFeature,
)
from selectron.features.targets import ClassTarget
from selectron.figures import decimal
from selectron.reporting.subject import Subject

__all__ = ["FeatureRow", "Summary", "figure", "summarized"]

LISTED: int = 6

KINDS = {
    NumberFeature: "number",
    BooleanFeature: "boolean",
    TimeFeature: "date or time",
    CategoryFeature: "category",
    EmbeddingFeature: "embedded category",
}


@dataclass(frozen=True)
class FeatureRow:
    """A column, what kind it is, how many units it feeds, and what was learned of it."""

    column: str
    kind: str
    units: int
    learned: str


@dataclass(frozen=True)
class Summary:
    """Named facts about the data and the training, a row for each feature, and one for each layer."""

    data: Mapping[str, str]
    training: Mapping[str, str]
    features: tuple[FeatureRow, ...]
    layers: tuple[tuple[str, str, str, str], ...]
    parameters: int


def figure(value: object) -> str:
    """A value as people read it.

    >>> figure(0.98550), figure(1234567.0), figure(None), figure(12345)
    ('0.9855', '1234567', 'none', '12,345')
    """
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return decimal(value) if isinstance(value, float) else str(value)


def described(settings: object) -> str:
    """Settings of ours in words.

    >>> from selectron.training.optimizers import SGD
    >>> described(SGD(0.5))
    'SGD: learning rate 0.5'
    """
    name = type(settings).__name__
    if not is_dataclass(settings):
        return name
    own = [
        f"{field.name.replace('_', ' ')} {figure(getattr(settings, field.name))}"
        for field in fields(settings)
        if isinstance(getattr(settings, field.name), (int, float, str))
    ]
    return f"{name}: {', '.join(own)}" if own else name


def day(days: float) -> str:
    """A number of days since 1970 as a date; as it is if there is no such date."""
    try:
        return f"{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=days):%Y-%m-%d}"
    except OverflowError:
        return f"day {figure(days)}"


def listed(names: tuple[str, ...]) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {more} more" if more > 0 else "")


def learned(feature: Feature) -> str:
    """What was learned of a column."""
    if isinstance(feature, NumberFeature):
        scaled = f", scaled as (x - {figure(feature.center)}) / {figure(feature.scale)}"
        plain = feature.center == 0.0 and feature.scale == 1.0
        text = (
            f"from {figure(feature.least)} to {figure(feature.greatest)}, NULL becomes {figure(feature.fill)}"
        )
        text += "" if plain else scaled
    elif isinstance(feature, TimeFeature):
        text = f"around {day(feature.center)}, in units of {figure(feature.scale)} days"
    elif isinstance(feature, (CategoryFeature, EmbeddingFeature)):
        count = len(feature.categories)
        text = f"{count} {'category' if count == 1 else 'categories'}: {listed(feature.categories)}"
        if isinstance(feature, EmbeddingFeature):
            text += f"; a vector of {feature.dimension} for each"
    else:
        text = "true is 1, false is 0, NULL a half"
    return text + ("; NULLs have a unit of their own" if getattr(feature, "indicator", False) else "")


def feature_row(feature: Feature) -> FeatureRow:
    units = feature.dimension if isinstance(feature, EmbeddingFeature) else len(feature.units)
    return FeatureRow(feature.column, KINDS[type(feature)], units, learned(feature))


def summarized(subject: Subject) -> Summary:
    """The summary of a model."""
    record, blueprint = subject.record, subject.blueprint
    specification, encoding = blueprint.specification, blueprint.encoding
    options, plan, target = specification.training, specification.plan, encoding.target
    data = {
        "rows": f"{figure(plan.training_rows)} to train on, {figure(plan.held_out_rows)} held out",
        "from": record.source,
        "target": ", ".join(target.columns),
        "task": record.task,
        "columns": f"{len(encoding.features)} features, {blueprint_inputs(subject)} input units",
    }
    if isinstance(target, ClassTarget):
        counted = [f"{label} ({figure(n)})" for label, n in zip(target.classes, target.counts, strict=True)]
        data["classes"] = f"{len(target.classes)}: {listed(tuple(counted))}"
    training = {
        "epochs": f"{figure(record.epochs or 0)} of {figure(options.epochs)} ({record.status})",
        "steps": figure(record.steps or 0),
        "batches": f"{figure(plan.training_batches)} of {figure(plan.size)} rows an epoch",
        "loss": described(blueprint.loss),
        "optimizer": described(options.optimizer),
        "schedule": described(options.schedule),
        "seed": str(options.seed),
        **regularization(subject),
        **how_it_ran(subject),
        "time": f"{sum(row.seconds for row in subject.log):.3g} s in the database",
        "made": f"{record.created_at:%Y-%m-%d %H:%M} by Selectron {record.selectron_version}",
    }
    layers, inputs = [], blueprint_inputs(subject)
    network = specification.network
    hidden = [(layer.units, layer.activation, layer.dropout) for layer in network.layers]
    output = "softmax" if encoding_softmax(subject) else "sigmoid"
    last = output if isinstance(target, ClassTarget) else network.output_activation
    for place, (units, activation, dropout) in enumerate([*hidden, (blueprint.inputs.outputs, last, 0.0)]):
        name = f"hidden_{place + 1}" if place < len(hidden) else "output"
        note = f"{activation}, dropout {figure(float(dropout))}" if dropout else activation
        layers.append((name, f"{figure(inputs)} → {figure(units)}", note, figure((inputs + 1) * units)))
        inputs = units
    parameters = sum(array.size for array in subject.parameters.values())
    rows = tuple(feature_row(feature) for feature in encoding.features)
    return Summary(data, training, rows, tuple(layers), parameters)


def blueprint_inputs(subject: Subject) -> int:
    """How many units feed the first layer, those of embedded categories included."""
    inputs = subject.blueprint.inputs
    return inputs.units + sum(shape.dimension for shape in inputs.embeddings)


def encoding_softmax(subject: Subject) -> bool:
    """Whether there is a logit for each class."""
    return subject.blueprint.inputs.outputs > 1


def regularization(subject: Subject) -> dict[str, str]:
    """What keeps weights small or rows apart, as far as it was asked for."""
    options = subject.blueprint.specification.training
    found = {
        "L1 penalty": options.l1 or None,
        "L2 penalty": options.l2 or None,
        "gradient clipped to": options.clip_norm,
        "row weights": options.row_weight,
        "patience": options.patience,
    }
    named = {name: figure(value) for name, value in found.items() if value is not None}
    if options.class_weight is not None:
        weights = options.class_weight
        own = (
            weights
            if isinstance(weights, str)
            else ", ".join(f"{k}: {figure(v)}" for k, v in weights.items())
        )
        named["class weights"] = own
    return named


def how_it_ran(subject: Subject) -> dict[str, str]:
    """The engine, the layout and the strategy."""
    try:
        choice = subject.choice
    except SelectronError as error:
        # Copied from an engine that could, to one that only predicts.
        return {"engine": subject.engine.dialect, "layout": str(error)}
    return {
        "engine": subject.engine.dialect,
        "layout, strategy": f"{choice.layout}, {choice.strategy}",
    }

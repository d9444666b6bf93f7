"""A model as a fitted pipeline of scikit-learn.

Its transformers are fitted to a few invented rows and then given what the model has learned, since that is
the only way to have them complete.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from sqlglot import exp

from selectron.engines.base import ColumnKind
from selectron.errors import ConfigurationError
from selectron.features.kinds import BooleanFeature, CategoryFeature, EmbeddingFeature, Feature, NumberFeature
from selectron.features.targets import ClassTarget
from selectron.interchange.dense import Exported, layers_of
from selectron.interchange.described import Layer
from selectron.interchange.optional import library
from selectron.interchange.outputs import class_outputs
from selectron.program.operations import Array
from selectron.sql import text

__all__ = ["OPTIONS", "make", "write"]

OPTIONS: Final = ("raw",)

ACTIVATIONS: Final = {"identity": "identity", "sigmoid": "logistic", "tanh": "tanh", "relu": "relu"}


@dataclass(frozen=True)
class Part:
    """How a column is transformed, and how what comes out gives our units: values @ matrix + offset.

    `sample` are values to fit the transformer to.
    """

    column: str
    transformer: Any
    sample: list[Any]
    matrix: Array
    offset: Array


def make(exported: Exported, *, raw: bool = True) -> Any:
    """A pipeline that takes the table's columns as a pandas frame.

    Parameters
    ----------
    raw
        False gives a network on the features of ``model.encoded``.
    """
    library("sklearn", "sklearn")
    layers = layers_of(exported, logits=True)
    if not raw:
        return network(exported, layers)
    pandas = library("pandas", "sklearn")
    compose, pipeline = library("sklearn.compose", "sklearn"), library("sklearn.pipeline", "sklearn")
    encoding = exported.blueprint.encoding
    dense = [feature for feature in encoding.features if not isinstance(feature, EmbeddingFeature)]
    parts = [part_of(exported, feature) for feature in [*dense, *encoding.embeddings]]
    named = [
        (f"{part.column} ({place})".replace("__", "_"), part.transformer, [part.column])
        for place, part in enumerate(parts)
    ]
    transformer = compose.ColumnTransformer(named, sparse_threshold=0.0)
    rows = max(len(part.sample) for part in parts)
    frame = pandas.DataFrame(
        {part.column: [part.sample[row % len(part.sample)] for row in range(rows)] for part in parts}
    )
    transformer.fit(frame)
    for (name, *_), feature in zip(named, dense, strict=False):
        if isinstance(feature, NumberFeature):
            learned(transformer.named_transformers_[name], feature)
    matrix = blocks([part.matrix for part in parts])
    offset = np.concatenate([part.offset for part in parts])
    first = layers[0]
    arranged = replace(first, weights=matrix @ first.weights, biases=first.biases + offset @ first.weights)
    estimator = network(exported, (arranged, *layers[1:]))
    return pipeline.Pipeline([("columns", transformer), ("network", estimator)])


def blocks(matrices: Sequence[Array]) -> Array:
    """Matrices along the diagonal of one."""
    found = np.zeros((sum(m.shape[0] for m in matrices), sum(m.shape[1] for m in matrices)))
    row = col = 0
    for own in matrices:
        found[row : row + own.shape[0], col : col + own.shape[1]] = own
        row, col = row + own.shape[0], col + own.shape[1]
    return found


def part_of(exported: Exported, feature: Feature) -> Part:
    """A feature as a transformer."""
    preprocessing = library("sklearn.preprocessing", "sklearn")
    if isinstance(feature, NumberFeature):
        return number_part(exported, feature)

    options = exported.blueprint.specification.features
    refuses = feature.column in options.known

    def encoder(values: list[Any]) -> Any:
        unknown = "error" if refuses else "ignore"
        return preprocessing.OneHotEncoder(categories=[values], handle_unknown=unknown, sparse_output=False)

    if isinstance(feature, BooleanFeature):
        values: list[Any] = [False, True, None, float("nan")]
        nulls = [[0.5, 1.0]] * 2 if feature.indicator else [[0.5]] * 2
        known = [[0.0, 0.0], [1.0, 0.0]] if feature.indicator else [[0.0], [1.0]]
        return Part(
            feature.column,
            encoder(values),
            [*values],
            np.array([*known, *nulls]),
            np.zeros(1 + feature.indicator),
        )
    if not isinstance(feature, (CategoryFeature, EmbeddingFeature)):
        raise ConfigurationError(
            f"Column {feature.column!r} is a {type(feature).__name__}, which no transformer of scikit-learn "
            "gives.",
            hint="Say raw=False: the network then takes the features of model.encoded().",
        )
    labels = category_values(exported, feature)
    order = list(range(len(labels)))
    is_number = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in labels)
    if is_number:
        # scikit-learn takes numbers in their order only.
        order.sort(key=lambda place: labels[place])
    missing: list[Any] = [float("nan")] if is_number else [None, float("nan")]
    indicator = isinstance(feature, CategoryFeature) and feature.indicator
    # A missing value is none of the categories that are refused, unless the column must be complete.
    complete = options.nulls == "refuse" or feature.column in options.complete
    values = [labels[place] for place in order] + (missing if indicator or (refuses and not complete) else [])
    units = len(labels) + 1 + indicator
    # A row that is no known category is "(other)": that unit is 1 less all that come out.
    matrix = np.zeros((len(values), units))
    matrix[: len(values) if indicator else len(labels), len(labels)] = -1.0
    for row, place in enumerate(order):
        matrix[row, place] = 1.0
    if indicator:
        matrix[len(labels) :, -1] = 1.0
    offset = np.zeros(units)
    offset[len(labels)] = 1.0
    return Part(feature.column, encoder(values), [*values], matrix, offset)


def number_part(exported: Exported, feature: NumberFeature) -> Part:
    impute, pipeline = library("sklearn.impute", "sklearn"), library("sklearn.pipeline", "sklearn")
    scaler = library("sklearn.preprocessing", "sklearn").StandardScaler()
    options = exported.blueprint.specification.features
    steps = [("scale", scaler)]
    if not (options.nulls == "refuse" or feature.column in options.complete):
        steps.insert(0, ("impute", impute.SimpleImputer()))
    value = pipeline.Pipeline(steps)
    sample = [0.0, 1.0]
    if not feature.indicator:
        return Part(feature.column, value, sample, np.eye(1), np.zeros(1))
    union = pipeline.FeatureUnion([("value", value), ("null", impute.MissingIndicator(features="all"))])
    return Part(feature.column, union, sample, np.eye(2), np.zeros(2))


def learned(transformer: Any, feature: NumberFeature) -> None:
    """Give a fitted transformer what was learned."""
    value = transformer if hasattr(transformer, "named_steps") else transformer["value"]
    if "impute" in value.named_steps:
        value.named_steps["impute"].statistics_ = np.array([feature.fill])
    scaler = value.named_steps["scale"]
    scaler.mean_, scaler.scale_ = np.array([feature.center]), np.array([feature.scale])
    scaler.var_ = scaler.scale_**2


def category_values(exported: Exported, feature: CategoryFeature | EmbeddingFeature) -> list[Any]:
    """Categories as values of their column, as a data frame has them."""
    name, categories = feature.column, feature.categories
    own = exported.columns.get(name)
    if own is None and feature.known.numbers is not None:
        # The rows were a data frame, or are gone.
        is_truth = feature.kind is ColumnKind.BOOLEAN
        return [bool(value) if is_truth else whole(value) for value in feature.known.numbers]
    if own is None or own.kind is ColumnKind.TEXT:
        return list(categories)
    if own.kind not in (ColumnKind.NUMBER, ColumnKind.BOOLEAN):
        raise ConfigurationError(
            f"Column {name!r} has categories of type {own.type}, which no transformer of scikit-learn gives.",
            hint="Say raw=False: the network then takes the features of model.encoded().",
        )
    values = [exp.cast(text(category), own.type, dialect="duckdb") for category in categories]
    found = list(exported.engine.rows(exp.select(*values))[0])
    if own.kind is ColumnKind.BOOLEAN:
        return [bool(value) for value in found]
    return [value if isinstance(value, int) else float(value) for value in found]


def whole(value: float) -> int | float:
    """A number as Python writes it, without a fraction if it has none."""
    return int(value) if value.is_integer() else value


def network(exported: Exported, layers: Sequence[Layer]) -> Any:
    """A fitted MLPClassifier or MLPRegressor."""
    neural = library("sklearn.neural_network", "sklearn")
    *hidden, last = layers
    kinds = {layer.activation for layer in hidden}
    unknown = sorted(kinds - set(ACTIVATIONS))
    if unknown or len(kinds) > 1:
        raise ConfigurationError(
            f"scikit-learn's networks cannot have {', '.join(unknown or sorted(kinds))} in hidden layers.",
            hint=f"They have one of {', '.join(ACTIVATIONS)} in all of them.",
        )
    if last.activation != "identity":
        raise ConfigurationError(f"scikit-learn's networks cannot end in {last.activation!r}.")
    target = exported.blueprint.encoding.target
    activation = ACTIVATIONS[next(iter(kinds), "identity")]
    sizes = tuple(layer.weights.shape[1] for layer in hidden)
    options = {"hidden_layer_sizes": sizes, "activation": activation, "max_iter": 1, "solver": "sgd"}
    inputs = layers[0].weights.shape[0]
    made: Any
    known: Array
    if isinstance(target, ClassTarget):
        held = exported.classes
        plain = all(isinstance(value, (str, bool, int, float)) for value in held)
        known = np.array(held if plain else target.classes)
        made = neural.MLPClassifier(**options)
        # scikit-learn has classes in their own order.
        order = np.argsort(known)
        *before, last = class_outputs(layers, None)
        if last.weights.shape[1] == 1:
            sign = 1.0 if order[0] == 0 else -1.0
            last = replace(last, weights=sign * last.weights, biases=sign * last.biases)
        else:
            last = replace(last, weights=last.weights[:, order], biases=last.biases[order])
        layers = (*before, last)
    else:
        made = neural.MLPRegressor(**options)
        outputs = last.weights.shape[1]
        known = np.eye(max(outputs, 2))[:, :outputs]
        known = known[:, 0] if outputs == 1 else known
    with warnings.catch_warnings():
        # That one iteration is not enough.
        warnings.simplefilter("ignore")
        made.fit(np.zeros((len(known), inputs)), known)
    made.coefs_ = [layer.weights for layer in layers]
    made.intercepts_ = [layer.biases for layer in layers]
    return made


def write(made: Any, path: Path) -> None:
    """Write a pickle by joblib."""
    library("joblib", "sklearn").dump(made, path)

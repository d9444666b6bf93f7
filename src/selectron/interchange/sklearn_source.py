"""scikit-learn's networks and linear models, alone or at the end of a pipeline.

Nothing of scikit-learn is imported: a fitted estimator is read by its public attributes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from selectron.errors import ConfigurationError
from selectron.interchange.described import SIGMOID, SOFTMAX, Described, LayerList
from selectron.interchange.transformers import fitted, plain

__all__ = ["describe"]

# What they are called here.
ACTIVATIONS: Final = {"identity": "identity", "logistic": "sigmoid", "tanh": "tanh", "relu": "relu"}


def describe(estimator: Any) -> Described:
    """A fitted estimator as layers.

    Raises
    ------
    ConfigurationError
        Naming the estimator or the option that cannot be imported.
    """
    kind = type(estimator).__name__
    if kind == "Pipeline":
        *steps, (_, last) = estimator.steps
        found = describe(last)
        names = getattr(estimator, "feature_names_in_", None) if steps else None
        own = found.names if names is None else tuple(map(str, names))
        before = tuple(step for _, step in steps)
        return replace(found, names=own, transformers=(*before, *found.transformers))
    if kind == "TransformedTargetRegressor":
        found = describe(fitted(estimator, "regressor_"))
        return replace(found, target=estimator.transformer_)
    reader = READERS.get(kind)
    if reader is None:
        raise ConfigurationError(
            f"Estimator {kind} cannot be imported.",
            hint=f"Known are {', '.join(sorted([*READERS, 'Pipeline', 'TransformedTargetRegressor']))}.",
        )
    names = getattr(estimator, "feature_names_in_", None)
    return replace(reader(estimator), names=None if names is None else tuple(map(str, names)))


def perceptron(estimator: Any) -> Described:
    weights, biases = fitted(estimator, "coefs_"), estimator.intercepts_
    layers = LayerList(type(estimator).__name__)
    for place, (own, bias) in enumerate(zip(weights, biases, strict=True)):
        layers.affine(own, bias)
        if place < len(weights) - 1:
            layers.activate(ACTIVATIONS[estimator.activation], estimator.activation)
    last = estimator.out_activation_
    if last not in ("identity", "logistic", "softmax"):
        raise ConfigurationError(
            f"{type(estimator).__name__} with loss={estimator.loss!r} has the output activation {last!r}, "
            "which cannot be imported.",
            hint="Train it with loss='squared_error'.",
        )
    layers.activate({"logistic": SIGMOID, "softmax": SOFTMAX}.get(last, "identity"), last)
    return Described(layers.finished(), classes_of(estimator), classifies=hasattr(estimator, "classes_"))


def classes_of(estimator: Any) -> tuple[object, ...] | None:
    if not hasattr(estimator, "classes_"):
        return None
    if getattr(getattr(estimator, "_label_binarizer", None), "y_type_", "").startswith("multilabel"):
        raise ConfigurationError(
            f"{type(estimator).__name__} predicts several labels at once.", hint="Train one for each label."
        )
    return tuple(plain(value) for value in estimator.classes_)


def linear(estimator: Any) -> Described:
    weights = np.atleast_2d(fitted(estimator, "coef_")).T
    layers = LayerList(type(estimator).__name__)
    layers.affine(weights, np.broadcast_to(np.ravel(estimator.intercept_), weights.shape[1]))
    return Described(layers.finished(), classifies=False)


def logistic(estimator: Any) -> Described:
    classes = tuple(plain(value) for value in fitted(estimator, "classes_"))
    scheme = getattr(estimator, "multi_class", "deprecated")
    if len(classes) > 2 and (scheme == "ovr" or estimator.solver == "liblinear"):
        raise ConfigurationError(
            "LogisticRegression of one class versus the rest has no softmax.", hint="Use solver='lbfgs'."
        )
    found = linear(estimator)
    (layer,) = found.layers
    activation = SOFTMAX if len(classes) > 2 else SIGMOID
    return Described((replace(layer, activation=activation),), classes, classifies=True)


READERS: Final[Mapping[str, Callable[[Any], Described]]] = {
    "MLPClassifier": perceptron,
    "MLPRegressor": perceptron,
    "LogisticRegression": logistic,
    "LogisticRegressionCV": logistic,
    "LinearRegression": linear,
    "Ridge": linear,
    "Lasso": linear,
    "ElasticNet": linear,
}

"""Keras' Sequential, read by its get_config and get_weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from selectron.errors import ConfigurationError
from selectron.interchange.described import SIGMOID, SOFTMAX, Described, LayerList
from selectron.interchange.optional import library

__all__ = ["describe", "load"]

# Names of activations, as of a layer's option or of functions.
NAMES: Final = {
    "linear": "identity",
    "relu": "relu",
    "elu": "elu",
    "selu": "selu",
    "silu": "silu",
    "swish": "silu",
    "sigmoid": SIGMOID,
    "tanh": "tanh",
    "softplus": "softplus",
    "gelu": "gelu_exact",
    "softmax": SOFTMAX,
}
SKIPPED: Final = frozenset({"InputLayer", "Flatten"})


def dense(layers: LayerList, config: Mapping[str, Any], weights: list[Any], label: str) -> None:
    kernel = weights.pop(0)
    layers.affine(kernel, weights.pop(0) if config["use_bias"] else np.zeros(kernel.shape[1]))
    activation(layers, config, weights, label)


def activation(layers: LayerList, config: Mapping[str, Any], weights: list[Any], label: str) -> None:
    name = config["activation"]
    if isinstance(name, Mapping):
        name = name.get("class_name", name.get("config"))
    if name not in NAMES:
        raise ConfigurationError(
            f"Activation {name!r} of Keras' {label} cannot be imported.",
            hint=f"Known are {', '.join(NAMES)}.",
        )
    layers.activate(NAMES[name], label)


def dropout(layers: LayerList, config: Mapping[str, Any], weights: list[Any], label: str) -> None:
    layers.drop(float(config["rate"]))


def fixed(name: str, **wanted: object) -> Callable[[LayerList, Mapping[str, Any], list[Any], str], None]:
    """A layer that is an activation, if its options are those that ours has."""

    def add(layers: LayerList, config: Mapping[str, Any], weights: list[Any], label: str) -> None:
        for option, value in wanted.items():
            if option in config and config[option] != value:
                raise ConfigurationError(
                    f"Keras' {label} has {option}={config[option]!r}.",
                    hint=f"Only {option}={value!r} can be imported.",
                )
        layers.activate(name, label)

    return add


READERS: Final = {
    "Dense": dense,
    "Activation": activation,
    "Dropout": dropout,
    "ReLU": fixed("relu", max_value=None, negative_slope=0.0, threshold=0.0),
    "LeakyReLU": fixed("leaky_relu", negative_slope=0.01, alpha=0.01),
    "ELU": fixed("elu", alpha=1.0),
    "Softmax": fixed(SOFTMAX, axis=-1),
}


def describe(model: Any) -> Described:
    """A network as layers.

    Raises
    ------
    ConfigurationError
        Naming the layer or activation that cannot be imported.
    """
    layers = LayerList("the Keras network")
    kind = type(model).__name__
    if kind != "Sequential":
        raise ConfigurationError(f"Keras' {kind} cannot be imported.", hint="Only Sequential can.")
    weights = [np.asarray(value, dtype=np.float64) for value in model.get_weights()]
    for entry in model.get_config()["layers"]:
        name, config = entry["class_name"], entry["config"]
        label = f"layer {config.get('name', '')!r} ({name})"
        if name in SKIPPED and not layers.layers:
            continue
        if name not in READERS:
            raise ConfigurationError(
                f"Keras' {label} cannot be imported.", hint=f"Known are {', '.join(READERS)}."
            )
        READERS[name](layers, config, weights, label)
    return Described(layers.finished(), notes=tuple(layers.notes))


def load(path: Path) -> Any:
    """A network as ``model.save(path)`` wrote it; Keras refuses files that would run code."""
    keras = library("keras", "keras")
    try:
        return keras.models.load_model(path, compile=False)
    except Exception as error:
        raise ConfigurationError(f"{str(path)!r} cannot be read by Keras: {error}") from None

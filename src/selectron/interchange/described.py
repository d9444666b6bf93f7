"""A network as every source describes it: matrices, activations, and what is known of inputs and classes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from selectron.errors import ConfigurationError
from selectron.network import ACTIVATION_NAMES
from selectron.program.operations import Array

__all__ = ["SIGMOID", "SOFTMAX", "Described", "Layer", "LayerList"]

SOFTMAX: Final = "softmax"
SIGMOID: Final = "sigmoid"


@dataclass(frozen=True)
class Layer:
    """Weights of shape (inputs, units), biases of shape (units,), and what follows them."""

    weights: Array
    biases: Array
    activation: str = "identity"
    dropout: float = 0.0


@dataclass(frozen=True)
class Described:
    """A network of another library.

    Attributes
    ----------
    layers
        The last one is the output; its activation may be ``"softmax"``.
    classes
        In the order of the outputs, where the source knows them.
    classifies
        Whether it is a classifier; None where the source does not say.
    names
        Of the inputs, where the source knows them.
    transformers
        Fitted preprocessing, applied to the raw columns in this order.
    target
        A fitted transformer of the target, or None.
    notes
        Remarks for the user.
    """

    layers: tuple[Layer, ...]
    classes: tuple[object, ...] | None = None
    classifies: bool | None = None
    names: tuple[str, ...] | None = None
    transformers: tuple[object, ...] = ()
    target: object = None
    notes: tuple[str, ...] = ()


@dataclass
class LayerList:
    """Layers as a sequence of operations gives them, one after the other.

    >>> layers = LayerList("a network")
    >>> layers.affine(np.eye(2), np.zeros(2))
    >>> layers.activate("relu", "ReLU")
    >>> layers.affine(np.ones((2, 1)), np.zeros(1))
    >>> [layer.activation for layer in layers.finished()]
    ['relu', 'identity']
    """

    label: str
    layers: list[Layer] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    activated: bool = False
    # A factor and a number for each input of the next layer, and what the source calls them.
    pending: tuple[Array, Array, str] | None = None

    def affine(self, weights: Array, biases: Array) -> None:
        """A product with weights (inputs, units), and biases added to it."""
        held = Layer(np.array(weights, dtype=np.float64), np.array(biases, dtype=np.float64).reshape(-1))
        if self.pending is not None:
            factors, shifts, label = self.pending
            if held.weights.shape[0] != len(factors):
                raise self.out_of_step(label, len(factors), held.weights.shape[0])
            held = Layer(factors[:, None] * held.weights, held.biases + shifts @ held.weights)
            self.pending = None
        if self.layers:
            before = self.layers[-1]
            if before.activation == SOFTMAX:
                raise self.out_of_place("Softmax")
            if before.weights.shape[1] != held.weights.shape[0]:
                raise ConfigurationError(
                    f"In {self.label}, {before.weights.shape[1]} units are followed by weights for "
                    f"{held.weights.shape[0]}.",
                    hint="Is it damaged?",
                )
        if not (np.isfinite(held.weights).all() and np.isfinite(held.biases).all()):
            raise ConfigurationError(
                f"Layer {len(self.layers) + 1} of {self.label} has weights that are not finite.",
                hint="Train it anew.",
            )
        self.layers.append(held)
        self.activated = False

    def activate(self, activation: str, label: str) -> None:
        """An activation of the last layer; `label` is what the source calls it."""
        if activation == "identity":
            return
        if not self.layers or self.activated or self.pending is not None:
            raise self.out_of_place(label)
        if activation not in (*ACTIVATION_NAMES, SOFTMAX):
            raise ConfigurationError(
                f"{label} of {self.label} has no counterpart here.",
                hint=f"There are {', '.join(ACTIVATION_NAMES)}, and softmax at the end.",
            )
        self.layers[-1] = replace(self.layers[-1], activation=activation)
        self.activated = True

    def normalize(
        self, mean: Array, variance: Array, epsilon: float, scale: Array, shift: Array, label: str
    ) -> None:
        """Batch normalization by what was measured in training: a part of the layer before or after it."""
        factors = np.asarray(scale, dtype=np.float64) / np.sqrt(np.asarray(variance) + epsilon)
        shifts = np.asarray(shift, dtype=np.float64) - np.asarray(mean) * factors
        if not (np.isfinite(factors).all() and np.isfinite(shifts).all()):
            raise ConfigurationError(
                f"{label} of {self.label} has numbers that are not finite.", hint="Train it anew."
            )
        if self.pending is not None or (self.layers and self.layers[-1].activation == SOFTMAX):
            raise self.out_of_place(label)
        if not self.layers or self.activated:
            self.pending = factors, shifts, label
        else:
            before = self.layers[-1]
            if before.weights.shape[1] != len(factors):
                raise self.out_of_step(label, len(factors), before.weights.shape[1])
            self.layers[-1] = replace(
                before, weights=before.weights * factors, biases=before.biases * factors + shifts
            )
        self.notes.append(
            f"{label} of {self.label} became part of the layer next to it; training goes on without it."
        )

    def drop(self, rate: float) -> None:
        """Dropout, which is of use only if training goes on."""
        if not rate:
            return
        linear = bool(self.layers) and self.layers[-1].activation == "identity"
        if not self.layers or linear or self.layers[-1].dropout:
            self.notes.append(
                f"Dropout of {rate:g} of {self.label} is left out: it does not follow an activation."
            )
            return
        self.layers[-1] = replace(self.layers[-1], dropout=float(rate))

    def finished(self) -> tuple[Layer, ...]:
        """All layers.

        Raises
        ------
        ConfigurationError
            If there is none.
        """
        if not self.layers:
            raise ConfigurationError(f"There is no layer with weights in {self.label}.")
        if self.pending is not None:
            raise self.out_of_place(self.pending[2])
        if self.layers[-1].dropout:
            self.notes.append(f"Dropout after the outputs of {self.label} is left out.")
            self.layers[-1] = replace(self.layers[-1], dropout=0.0)
        return tuple(self.layers)

    def out_of_step(self, label: str, units: int, wanted: int) -> ConfigurationError:
        return ConfigurationError(
            f"{label} of {self.label} is for {units} units, and next to {wanted}.", hint="Is it damaged?"
        )

    def out_of_place(self, label: str) -> ConfigurationError:
        return ConfigurationError(
            f"{label} of {self.label} does not stand where an activation can be.",
            hint="An activation follows a layer with weights, and a softmax is the last one.",
        )

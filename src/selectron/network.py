"""What a user describes: the layers of a network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from selectron.errors import ConfigurationError

__all__ = ["ACTIVATION_NAMES", "INITIALIZATIONS", "MLP", "Dense"]

ACTIVATION_NAMES: Final = (
    "identity",
    "relu",
    "leaky_relu",
    "elu",
    "selu",
    "gelu",
    "gelu_exact",
    "silu",
    "sigmoid",
    "tanh",
    "softplus",
)

INITIALIZATIONS: Final = ("auto", "he", "glorot", "normal", "constant", "zeros")


@dataclass(frozen=True)
class Dense:
    """A layer that is connected to every unit of the one before it.

    Parameters
    ----------
    units
        How many units it has.
    activation
        One of :data:`ACTIVATION_NAMES`.
    dropout
        The fraction of its activations that is set to zero at each training step.
    """

    units: int
    activation: str = "relu"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.units, int) or isinstance(self.units, bool) or self.units < 1:
            raise ConfigurationError(
                f"A hidden layer has {self.units!r} units.", hint="Give a whole number, 1 or more."
            )
        if self.activation not in ACTIVATION_NAMES:
            raise ConfigurationError(
                f"There is no activation {self.activation!r}.",
                hint=f"Use one of {', '.join(ACTIVATION_NAMES)}.",
            )
        if not isinstance(self.dropout, (int, float)) or not 0.0 <= self.dropout < 1.0:
            raise ConfigurationError(
                f"dropout is {self.dropout}.", hint="Give a fraction from 0 up to, not with, 1."
            )


@dataclass(frozen=True, init=False)
class MLP:
    """A feed-forward network; its inputs and outputs follow from the table.

    Parameters
    ----------
    hidden
        Units of each hidden layer, or :class:`Dense` layers; none gives linear or logistic regression.
    activation
        Of all hidden layers given as numbers, or one for each; ``"relu"`` by default.
    dropout
        Likewise; 0 by default.
    initialization
        How weights start: ``"he"`` (He et al. 2015), ``"glorot"`` (Glorot and Bengio 2010), ``"normal"``,
        ``"constant"``, ``"zeros"``, or ``"auto"``: He before activations of the ReLU kind, Glorot elsewhere.
    initialization_scale
        The standard deviation of ``"normal"`` (0.01 if None), the value of ``"constant"`` (1 if None).
    output_activation
        Of the last layer, for numbers: ``"identity"`` by default. Classes are predicted from logits.
    initial
        Given values of parameters by name, such as ``{"hidden_1.weights": [[...], ...]}``, with a row for
        each input unit and a column for each unit. They take precedence.
    frozen
        Parameters that stay as they start: ``"hidden_1.weights"``, a layer (``"hidden_1"``) or a kind in all
        layers (``"biases"``); with a warm start, those of the other model.
    edge_biases
        Whether each edge has a bias of its own, named ``"hidden_1.edge_biases"``, with a row for each input
        and a column for each unit; a unit's bias is then their sum. False by default: one for each unit.

    Raises
    ------
    ConfigurationError
        If a value is out of its range, or the lists are of different lengths.

    Examples
    --------
    >>> MLP(hidden=[32, 16], activation="tanh").layers[1]
    Dense(units=16, activation='tanh', dropout=0.0)
    >>> MLP(hidden=[]).layers
    ()
    """

    layers: tuple[Dense, ...]
    initialization: str
    initialization_scale: float | None
    initial: Mapping[str, tuple[tuple[float, ...], ...]]
    output_activation: str = "identity"
    frozen: tuple[str, ...] = ()
    edge_biases: bool = False

    def __init__(
        self,
        hidden: Sequence[int | Dense] = (32,),
        *,
        activation: str | Sequence[str] = "relu",
        dropout: float | Sequence[float] = 0.0,
        initialization: str = "auto",
        initialization_scale: float | None = None,
        initial: Mapping[str, Sequence[Sequence[float]]] | None = None,
        output_activation: str = "identity",
        frozen: Sequence[str] = (),
        edge_biases: bool = False,
    ) -> None:
        if isinstance(hidden, (str, int, float)) or not all(isinstance(u, (int, Dense)) for u in hidden):
            raise ConfigurationError(
                f"hidden is {hidden!r}.", hint="Give a list of whole numbers or Dense layers, as in [32, 16]."
            )
        activations: Sequence[str] = spread("activation", activation, len(hidden))
        dropouts: Sequence[float] = spread("dropout", dropout, len(hidden))
        layers = tuple(
            units if isinstance(units, Dense) else Dense(units, activation_, dropout_)
            for units, activation_, dropout_ in zip(hidden, activations, dropouts, strict=True)
        )
        if initialization not in INITIALIZATIONS:
            raise ConfigurationError(
                f"There is no initialization {initialization!r}.",
                hint=f"Use one of {', '.join(INITIALIZATIONS)}.",
            )
        if initialization_scale is not None and not math.isfinite(initialization_scale):
            raise ConfigurationError(
                f"initialization_scale is {initialization_scale}.", hint="Give a finite number."
            )
        if initialization == "normal" and initialization_scale is not None and initialization_scale < 0.0:
            raise ConfigurationError(
                f"initialization_scale is {initialization_scale}.",
                hint="Give a standard deviation of 0 or more.",
            )
        given = {
            name: tuple(tuple(float(value) for value in row) for row in rows)
            for name, rows in (initial or {}).items()
        }
        object.__setattr__(self, "layers", layers)
        object.__setattr__(self, "initialization", initialization)
        object.__setattr__(self, "initialization_scale", initialization_scale)
        object.__setattr__(self, "initial", given)
        object.__setattr__(self, "output_activation", Dense(1, output_activation).activation)
        object.__setattr__(self, "frozen", (frozen,) if isinstance(frozen, str) else tuple(frozen))
        object.__setattr__(self, "edge_biases", bool(edge_biases))

    @property
    def biases(self) -> str:
        """What a layer's biases are called: ``"biases"``, or ``"edge_biases"``."""
        return "edge_biases" if self.edge_biases else "biases"

    def is_frozen(self, layer: str, parameter: str) -> bool:
        """Whether a parameter stays as it starts.

        >>> MLP([2], frozen=["biases"]).is_frozen("hidden_1", "biases")
        True
        """
        return bool({layer, parameter, f"{layer}.{parameter}"}.intersection(self.frozen))

    def to_json(self) -> dict[str, Any]:
        """The network as JSON-ready values."""
        return {
            "hidden": [
                {"units": layer.units, "activation": layer.activation, "dropout": layer.dropout}
                for layer in self.layers
            ],
            "initialization": self.initialization,
            "initialization_scale": self.initialization_scale,
            "initial": {name: [list(row) for row in rows] for name, rows in self.initial.items()},
            "output_activation": self.output_activation,
            "frozen": list(self.frozen),
            "edge_biases": self.edge_biases,
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> MLP:
        """The network that :meth:`to_json` wrote.

        >>> network = MLP(hidden=[8], dropout=0.5)
        >>> MLP.from_json(network.to_json()) == network
        True
        """
        return MLP(
            [Dense(**layer) for layer in data["hidden"]],
            initialization=data["initialization"],
            initialization_scale=data["initialization_scale"],
            initial=data["initial"],
            output_activation=data.get("output_activation", "identity"),
            frozen=data.get("frozen", ()),
            edge_biases=data.get("edge_biases", False),
        )


def spread(name: str, value: Any, count: int) -> Sequence[Any]:
    """One value for each layer, from one for all or a list."""
    if not isinstance(value, (list, tuple)):
        return [value] * count
    if len(value) != count:
        raise ConfigurationError(
            f"{name} has {len(value)} values for {count} hidden layers.", hint="Give one, or one for each."
        )
    return list(value)

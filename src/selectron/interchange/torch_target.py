"""A model as PyTorch's nn.Sequential."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from selectron.errors import ConfigurationError
from selectron.interchange.dense import Exported, layers_of
from selectron.interchange.optional import library

__all__ = ["OPTIONS", "make", "write"]

OPTIONS: Final = ("logits",)

# The class of each activation, and its arguments.
ACTIVATIONS: Final[dict[str, tuple[str, dict[str, object]]]] = {
    "relu": ("ReLU", {}),
    "leaky_relu": ("LeakyReLU", {"negative_slope": 0.01}),
    "elu": ("ELU", {}),
    "selu": ("SELU", {}),
    "gelu": ("GELU", {"approximate": "tanh"}),
    "gelu_exact": ("GELU", {}),
    "silu": ("SiLU", {}),
    "sigmoid": ("Sigmoid", {}),
    "tanh": ("Tanh", {}),
    "softplus": ("Softplus", {}),
    "softmax": ("Softmax", {"dim": 1}),
}


def make(exported: Exported, *, logits: bool = False) -> Any:
    """A network in double precision, set to predict (``eval``)."""
    torch = library("torch", "torch")
    parts: list[Any] = []
    for layer in layers_of(exported, logits=logits):
        inputs, units = layer.weights.shape
        linear = torch.nn.Linear(inputs, units, dtype=torch.float64)
        with torch.no_grad():
            linear.weight.copy_(torch.tensor(layer.weights.T.copy()))
            linear.bias.copy_(torch.tensor(layer.biases))
        parts.append(linear)
        if layer.activation != "identity":
            if layer.activation not in ACTIVATIONS:
                raise ConfigurationError(f"PyTorch has no counterpart of activation {layer.activation!r}.")
            name, arguments = ACTIVATIONS[layer.activation]
            parts.append(getattr(torch.nn, name)(**arguments))
        if layer.dropout:
            parts.append(torch.nn.Dropout(layer.dropout))
    return torch.nn.Sequential(*parts).eval()


def write(made: Any, path: Path) -> None:
    """Write the network itself by torch.save."""
    library("torch", "torch").save(made, path)

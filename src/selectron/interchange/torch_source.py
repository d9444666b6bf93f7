"""PyTorch's nn.Sequential, in memory or as torch.save wrote it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from selectron.errors import ConfigurationError
from selectron.interchange.described import SIGMOID, SOFTMAX, Described, LayerList
from selectron.interchange.optional import library

__all__ = ["LAYERS", "describe", "load"]

# Layers without options that matter.
PLAIN: Final = {
    "ReLU": "relu",
    "SELU": "selu",
    "SiLU": "silu",
    "Sigmoid": SIGMOID,
    "Tanh": "tanh",
    "Identity": "identity",
}
# The options that others must have: ours have no others.
OPTIONS: Final[Mapping[str, tuple[str, Mapping[str, object]]]] = {
    "LeakyReLU": ("leaky_relu", {"negative_slope": 0.01}),
    "ELU": ("elu", {"alpha": 1.0}),
    # Beyond the threshold it is x itself, which differs by less than 2.1e-9.
    "Softplus": ("softplus", {"beta": 1.0, "threshold": 20.0}),
}
GELUS: Final = {"none": "gelu_exact", "tanh": "gelu"}
LAYERS: Final = (
    *("Sequential", "Linear", "Dropout", "BatchNorm1d", "GELU", "Softmax", "LogSoftmax", "Flatten"),
    *PLAIN,
    *OPTIONS,
)


def describe(module: Any) -> Described:
    """A network as layers.

    Raises
    ------
    ConfigurationError
        Naming the layer that cannot be imported.
    """
    layers = LayerList("the PyTorch network")
    for name, layer in flattened(module, ""):
        read(layers, name, layer)
    finished = layers.finished()
    return Described(finished, notes=tuple(layers.notes))


def flattened(module: Any, name: str) -> Iterator[tuple[str, Any]]:
    """The layers of nested sequences, with their names."""
    if type(module).__name__ == "Sequential":
        for own, child in module.named_children():
            yield from flattened(child, f"{name}.{own}" if name else own)
    else:
        yield name, module


def read(layers: LayerList, name: str, layer: Any) -> None:
    """Add one layer."""
    kind = type(layer).__name__
    label = f"layer {name!r} ({kind})" if name else kind
    if not type(layer).__module__.startswith("torch.nn.") or kind not in LAYERS:
        raise ConfigurationError(
            f"PyTorch's {label} cannot be imported.", hint=f"Known are {', '.join(LAYERS)}."
        )
    if kind == "Linear":
        weights = matrix(layer.weight).T
        layers.affine(weights, np.zeros(weights.shape[1]) if layer.bias is None else matrix(layer.bias))
    elif kind == "BatchNorm1d":
        normalize(layers, label, layer)
    elif kind == "Dropout":
        layers.drop(float(layer.p))
    elif kind in ("Softmax", "LogSoftmax"):
        if layer.dim not in (1, -1, None):
            raise ConfigurationError(f"PyTorch's {label} is over dim={layer.dim}.", hint="Use dim=1.")
        layers.activate(SOFTMAX, label)
    elif kind == "GELU":
        layers.activate(GELUS[layer.approximate], label)
    elif kind in OPTIONS:
        activation, options = OPTIONS[kind]
        for option, wanted in options.items():
            if getattr(layer, option) != wanted:
                raise ConfigurationError(
                    f"PyTorch's {label} has {option}={getattr(layer, option)!r}.",
                    hint=f"Only {option}={wanted!r} can be imported.",
                )
        layers.activate(activation, label)
    elif kind in PLAIN:
        layers.activate(PLAIN[kind], label)
    elif kind == "Flatten" and layers.layers:
        raise ConfigurationError(f"PyTorch's {label} stands between layers.", hint="Leave it out.")


def normalize(layers: LayerList, label: str, layer: Any) -> None:
    """By the running statistics, as in eval mode."""
    if layer.running_mean is None or layer.running_var is None:
        raise ConfigurationError(
            f"PyTorch's {label} keeps no running statistics.",
            hint="Only track_running_stats=True can be imported.",
        )
    mean, variance = matrix(layer.running_mean), matrix(layer.running_var)
    scale = np.ones(len(mean)) if layer.weight is None else matrix(layer.weight)
    shift = np.zeros(len(mean)) if layer.bias is None else matrix(layer.bias)
    layers.normalize(mean, variance, float(layer.eps), scale, shift, label)


def matrix(tensor: Any) -> Any:
    return tensor.detach().cpu().double().numpy()


def load(path: Path) -> Any:
    """A network as ``torch.save(network, path)`` wrote it; no code of the file is run.

    Raises
    ------
    ConfigurationError
        If it holds anything but the layers that can be imported.
    """
    torch = library("torch", "torch")
    classes = [getattr(torch.nn, name) for name in LAYERS]
    try:
        with torch.serialization.safe_globals(classes):
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigurationError(
            f"{str(path)!r} cannot be read without running its code: {first}",
            hint=f"Save an nn.Sequential of {', '.join(LAYERS)} by torch.save, or export to ONNX.",
        ) from None
    if isinstance(found, Mapping):
        raise ConfigurationError(
            f"{str(path)!r} holds weights and no layers.",
            hint="Save the network itself by torch.save, not its state_dict.",
        )
    return found

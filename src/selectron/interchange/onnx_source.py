"""ONNX: a graph that is one chain of layers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from selectron.errors import ConfigurationError
from selectron.interchange.described import SIGMOID, SOFTMAX, Described, Layer, LayerList
from selectron.interchange.onnx_patterns import activation_at, encoding_at
from selectron.interchange.optional import library
from selectron.program.operations import Array

__all__ = ["describe", "load"]

PLAIN: Final = {"Relu": "relu", "Sigmoid": SIGMOID, "Tanh": "tanh", "Softplus": "softplus"}
# The attributes that an operator must have, with its defaults; ours have no others.
OPTIONS: Final[Mapping[str, tuple[str, Mapping[str, tuple[float, float]]]]] = {
    "LeakyRelu": ("leaky_relu", {"alpha": (0.01, 0.01)}),
    "Elu": ("elu", {"alpha": (1.0, 1.0)}),
    "Selu": ("selu", {"alpha": (1.6732632, 1.6732632), "gamma": (1.0507010, 1.0507010)}),
}
# What our exports say of a graph.
KEPT: Final = ("classes", "columns")
# As they are stored, in single precision.
TOLERANCE: Final = 1e-6


@dataclass
class Chain:
    """The graph as far as it is read: what the last operator gave, and the constants."""

    onnx: Any
    layers: LayerList
    constants: dict[str, Array]
    last: str
    # The value before a sigmoid, which times that sigmoid is SiLU.
    before: str = ""
    products: list[str] = field(default_factory=list)

    def one(self, node: Any) -> None:
        """Make sure that an operator is fed by the one before it."""
        if node.input[0] != self.last:
            raise self.branches(node)

    def branches(self, node: Any) -> ConfigurationError:
        return ConfigurationError(
            f"Operator {node.op_type} of the ONNX graph does not follow the one before it.",
            hint="Only a chain of layers can be imported.",
        )

    def constant(self, node: Any, place: int) -> Array:
        name = node.input[place]
        if name not in self.constants:
            raise ConfigurationError(
                f"Operator {node.op_type} of the ONNX graph multiplies or adds what is computed.",
                hint="Only weights that are constants can be imported.",
            )
        return self.constants[name]

    def attributes(self, node: Any) -> dict[str, Any]:
        return {own.name: self.onnx.helper.get_attribute_value(own) for own in node.attribute}


Reader = Callable[[Chain, Any], None]


def gemm(chain: Chain, node: Any) -> None:
    chain.one(node)
    options = chain.attributes(node)
    if options.get("transA"):
        raise ConfigurationError("Operator Gemm of the ONNX graph transposes its input.")
    weights = chain.constant(node, 1)
    weights = weights.T if options.get("transB") else weights
    biases = chain.constant(node, 2) if len(node.input) > 2 and node.input[2] else np.zeros(1)
    units = weights.shape[1]
    scaled = np.broadcast_to(np.ravel(biases), units) * options.get("beta", 1.0)
    chain.layers.affine(weights * options.get("alpha", 1.0), scaled)


def matmul(chain: Chain, node: Any) -> None:
    chain.one(node)
    weights = chain.constant(node, 1)
    if weights.ndim != 2:
        raise ConfigurationError("Operator MatMul of the ONNX graph has weights that are no matrix.")
    chain.layers.affine(weights, np.zeros(weights.shape[1]))
    chain.products.append(node.output[0])


def add(chain: Chain, node: Any) -> None:
    """Biases after a MatMul."""
    known = [place for place, name in enumerate(node.input) if name in chain.constants]
    if chain.last not in node.input or len(known) != 1 or not chain.products:
        raise ConfigurationError(
            "Operator Add of the ONNX graph does not add biases to a MatMul.",
            hint="Only such can be imported.",
        )
    if chain.products.pop() != chain.last:
        raise chain.branches(node)
    layer = chain.layers.layers[-1]
    biases = layer.biases + np.ravel(chain.constants[node.input[known[0]]])
    chain.layers.layers[-1] = Layer(layer.weights, biases)


def activate(chain: Chain, node: Any) -> None:
    chain.one(node)
    chain.layers.activate(PLAIN[node.op_type], node.op_type)


def with_options(chain: Chain, node: Any) -> None:
    chain.one(node)
    activation, options = OPTIONS[node.op_type]
    given = chain.attributes(node)
    for name, (default, wanted) in options.items():
        value = given.get(name, default)
        if abs(value - wanted) > TOLERANCE:
            raise ConfigurationError(
                f"Operator {node.op_type} of the ONNX graph has {name}={value:g}.",
                hint=f"Only {name}={wanted:g} can be imported.",
            )
    chain.layers.activate(activation, node.op_type)


def gelu(chain: Chain, node: Any) -> None:
    chain.one(node)
    kind = chain.attributes(node).get("approximate", b"none")
    chain.layers.activate("gelu" if kind == b"tanh" else "gelu_exact", node.op_type)


def multiply(chain: Chain, node: Any) -> None:
    """x * Sigmoid(x), which is SiLU."""
    if set(node.input) != {chain.last, chain.before} or chain.layers.layers[-1].activation != SIGMOID:
        raise ConfigurationError(
            "Operator Mul of the ONNX graph cannot be imported, but for x * Sigmoid(x).",
            hint=f"Known are {', '.join(READERS)}.",
        )
    layer = chain.layers.layers[-1]
    chain.layers.layers[-1] = Layer(layer.weights, layer.biases, "silu")


def softmax(chain: Chain, node: Any) -> None:
    chain.one(node)
    if chain.attributes(node).get("axis", -1) not in (1, -1):
        raise ConfigurationError(f"Operator {node.op_type} of the ONNX graph is not over the last axis.")
    chain.layers.activate(SOFTMAX, node.op_type)


def normalize(chain: Chain, node: Any) -> None:
    """Batch normalization by constants."""
    chain.one(node)
    options = chain.attributes(node)
    if options.get("training_mode") or len(node.output) > 1:
        raise ConfigurationError(
            "Operator BatchNormalization of the ONNX graph is in training mode.",
            hint="Export the network for inference.",
        )
    scale, shift, mean, variance = (np.ravel(chain.constant(node, place)) for place in range(1, 5))
    epsilon = float(options.get("epsilon", 1e-5))
    chain.layers.normalize(mean, variance, epsilon, scale, shift, f"Operator {node.op_type}")


def unchanged(chain: Chain, node: Any) -> None:
    chain.one(node)


def flatten(chain: Chain, node: Any) -> None:
    chain.one(node)
    if chain.attributes(node).get("axis", 1) != 1:
        raise ConfigurationError("Operator Flatten of the ONNX graph is not over the first axis.")


def constant(chain: Chain, node: Any) -> None:
    value = chain.attributes(node).get("value")
    if value is None:
        raise ConfigurationError("Operator Constant of the ONNX graph holds no tensor.")
    chain.constants[node.output[0]] = array(chain.onnx, value)


READERS: Final[Mapping[str, Reader]] = {
    "Gemm": gemm,
    "MatMul": matmul,
    "Add": add,
    **dict.fromkeys(PLAIN, activate),
    **dict.fromkeys(OPTIONS, with_options),
    "Gelu": gelu,
    "Mul": multiply,
    "Softmax": softmax,
    "LogSoftmax": softmax,
    "Flatten": flatten,
    "BatchNormalization": normalize,
    "Identity": unchanged,
    "Cast": unchanged,
    "Dropout": unchanged,
    "Constant": constant,
}
# These give what they are given; which is why a chain may look through them.
RENAMES: Final = frozenset({"Identity", "Cast"})


def describe(model: Any) -> Described:
    """A graph as layers.

    Raises
    ------
    ConfigurationError
        Naming the operator that cannot be imported.
    """
    onnx = library("onnx", "onnx")
    graph = model.graph
    constants = {tensor.name: array(onnx, tensor) for tensor in graph.initializer}
    fed = [value.name for value in graph.input if value.name not in constants]
    if len(fed) != 1:
        raise ConfigurationError(
            f"The ONNX graph has {len(fed)} inputs: {', '.join(fed)}.",
            hint="Only a network of one input, a matrix of features, can be imported.",
        )
    outputs = [value.name for value in graph.output]
    chain = Chain(onnx, LayerList("the ONNX graph"), constants, fed[0])
    transformers: tuple[object, ...] = ()
    nodes = list(graph.node)
    encoding = encoding_at(nodes, fed[0], constants)
    if encoding is not None:
        transformers, nodes = (encoding[0],), nodes[encoding[1] :]
        chain.last = graph.node[encoding[1] - 1].output[0]
    while nodes:
        activation, count = activation_at(nodes, chain.last, chain.constants)
        if count:
            chain.layers.activate(activation, nodes[count - 1].op_type)
            chain.before, chain.last = chain.last, nodes[count - 1].output[0]
            nodes = nodes[count:]
            continue
        node, *nodes = nodes
        reader = READERS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if reader is None:
            raise ConfigurationError(
                f"Operator {node.op_type} of the ONNX graph cannot be imported.",
                hint=f"Known are {', '.join(READERS)}.",
            )
        if node.op_type in RENAMES and node.input[0] in chain.constants:
            chain.constants[node.output[0]] = chain.constants[node.input[0]]
            continue
        reader(chain, node)
        if node.op_type != "Constant":
            chain.before, chain.last = chain.last, node.output[0]
    if chain.last != outputs[0] or len(outputs) != 1:
        raise ConfigurationError(
            f"The ONNX graph gives {', '.join(outputs)}, and its last operator {chain.last}.",
            hint="Only a network of one output can be imported.",
        )
    finished = chain.layers.finished()
    labels = {
        entry.key: tuple(json.loads(entry.value)) for entry in model.metadata_props if entry.key in KEPT
    }
    return Described(
        finished,
        labels.get("classes"),
        names=labels.get("columns"),
        transformers=transformers,
        notes=tuple(chain.layers.notes),
    )


def array(onnx: Any, tensor: Any) -> Array:
    found: Array = np.asarray(onnx.numpy_helper.to_array(tensor), dtype=np.float64)
    return found


def load(path: Path) -> Any:
    """The graph of a file, checked.

    Raises
    ------
    ConfigurationError
        If it is no ONNX file.
    """
    onnx = library("onnx", "onnx")
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except Exception as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigurationError(f"{str(path)!r} is no ONNX file that can be read: {first}") from None
    return model

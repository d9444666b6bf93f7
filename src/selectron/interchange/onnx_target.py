"""A model as an ONNX graph, of operators that runtimes have in double precision too."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from selectron.errors import ConfigurationError
from selectron.features.kinds import BOUND, BooleanFeature, NumberFeature
from selectron.interchange.dense import Exported, input_units, layers_of
from selectron.interchange.optional import library
from selectron.program.operations import Array
from selectron.training.activations import ABOVE, BELOW, FAR, SELU_ALPHA, SELU_SCALE

__all__ = ["OPTIONS", "make", "write"]

OPTIONS: Final = ("logits", "raw", "precision")

# Operators that are an activation of ours, and their attributes.
OPERATORS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "relu": ("Relu", {}),
    "leaky_relu": ("LeakyRelu", {"alpha": 0.01}),
    "elu": ("Elu", {"alpha": 1.0}),
    "selu": ("Selu", {}),
    "sigmoid": ("Sigmoid", {}),
    "tanh": ("Tanh", {}),
    "softplus": ("Softplus", {}),
    "softmax": ("Softmax", {"axis": -1}),
}
# Of 2022, when the activations became functions of others, which run in any precision.
OPSET: Final = 18
IR_VERSION: Final = 8


class Graph:
    """A graph in the making: nodes, constants, and names for what they give."""

    def __init__(self, onnx: Any, dtype: Any) -> None:
        self.onnx = onnx
        self.dtype = dtype
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: Array | float, name: str = "") -> str:
        """A tensor of the graph's precision."""
        name = name or f"constant_{len(self.constants)}"
        array = np.asarray(value, dtype=self.dtype)
        self.constants.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def integers(self, values: Sequence[int]) -> str:
        """A tensor of places."""
        name = f"constant_{len(self.constants)}"
        self.constants.append(self.onnx.numpy_helper.from_array(np.array(values, dtype=np.int64), name))
        return name

    def add(self, operator: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """One more node; the name of what it gives."""
        name = name or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(operator, list(inputs), [name], **attributes))
        return name


def make(exported: Exported, *, logits: bool = False, raw: bool = False, precision: str = "float64") -> Any:
    """A checked model, from ``features`` (or with `raw`, ``columns``) to ``prediction``.

    Parameters
    ----------
    raw
        Whether it is fed the table's columns, NaN for NULL; for numbers and booleans only.
    precision
        ``"float64"`` or ``"float32"``.
    """
    onnx = library("onnx", "onnx")
    if precision not in ("float64", "float32"):
        raise ConfigurationError(f"precision is {precision!r}.", hint="Use float64 or float32.")
    graph = Graph(onnx, np.dtype(precision))
    kind = onnx.helper.np_dtype_to_tensor_dtype(graph.dtype)
    blueprint = exported.blueprint
    units = input_units(blueprint)
    if raw:
        fed = list(dict.fromkeys(feature.column for feature in blueprint.encoding.features))
        value = encode(graph, exported, fed)
    else:
        fed, value = units, "features"
    start = "columns" if raw else "features"
    layers = layers_of(exported, logits=logits)
    for place, layer in enumerate(layers, start=1):
        is_last = place == len(layers)
        prefix = "output" if is_last else f"hidden_{place}"
        weights = graph.constant(layer.weights, f"{prefix}.weights")
        biases = graph.constant(layer.biases, f"{prefix}.biases")
        value = graph.add("Gemm", value, weights, biases, name=f"{prefix} logits")
        value = activate(graph, value, layer.activation)
    graph.nodes[-1].output[0] = "prediction"
    made = onnx.helper.make_model(
        onnx.helper.make_graph(
            graph.nodes,
            "selectron",
            [onnx.helper.make_tensor_value_info(start, kind, ["rows", len(fed)])],
            [onnx.helper.make_tensor_value_info("prediction", kind, ["rows", layers[-1].weights.shape[1]])],
            graph.constants,
        ),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="selectron",
    )
    labels = {start: json.dumps(fed, ensure_ascii=False)}
    if exported.classes:
        labels["classes"] = json.dumps(blueprint.encoding.target.classes, ensure_ascii=False)  # type: ignore[union-attr]
    onnx.helper.set_model_props(made, labels)
    onnx.checker.check_model(made, full_check=True)
    return made


def activate(graph: Graph, value: str, activation: str) -> str:
    """An activation of a value."""
    if activation == "identity":
        return value
    if activation in OPERATORS:
        operator, attributes = OPERATORS[activation]
        if activation == "selu" and graph.dtype == np.float64:
            # The operator's own constants are in single precision.
            return selu(graph, value)
        if activation == "leaky_relu" and graph.dtype == np.float64:
            return graph.add("Max", value, graph.add("Mul", value, graph.constant(0.01)))
        return graph.add(operator, value, **attributes)
    if activation == "silu":
        return graph.add("Mul", value, graph.add("Sigmoid", value))
    if activation == "gelu":
        cube = graph.add("Mul", value, graph.add("Mul", value, value))
        inner = graph.add("Add", value, graph.add("Mul", cube, graph.constant(0.044715)))
        wave = graph.add("Tanh", graph.add("Mul", inner, graph.constant(np.sqrt(2 / np.pi))))
        half = graph.add("Mul", value, graph.constant(0.5))
        return graph.add("Mul", half, graph.add("Add", wave, graph.constant(1.0)))
    if activation == "gelu_exact":
        return gelu_exact(graph, value)
    raise ConfigurationError(f"ONNX has no counterpart of activation {activation!r}.")


def gelu_exact(graph: Graph, value: str) -> str:
    """As it is computed here, since runtimes have no error function in double precision."""
    z = graph.add("Min", graph.add("Abs", value), graph.constant(FAR))
    density = graph.add("Exp", graph.add("Mul", graph.add("Mul", z, z), graph.constant(-0.5)))
    above, below = (polynomial(graph, coefficients, z) for coefficients in (ABOVE, BELOW))
    tail = graph.add("Div", graph.add("Mul", density, above), below)
    positive = graph.add("Greater", value, graph.constant(0.0))
    share = graph.add("Where", positive, graph.add("Sub", graph.constant(1.0), tail), tail)
    return graph.add("Mul", value, share)


def polynomial(graph: Graph, coefficients: Sequence[float], z: str) -> str:
    total = graph.constant(coefficients[0])
    for coefficient in coefficients[1:]:
        total = graph.add("Add", graph.add("Mul", total, z), graph.constant(coefficient))
    return total


def selu(graph: Graph, value: str) -> str:
    zero = graph.constant(0.0)
    grown = graph.add("Sub", graph.add("Exp", graph.add("Min", value, zero)), graph.constant(1.0))
    parts = graph.add(
        "Add", graph.add("Max", value, zero), graph.add("Mul", grown, graph.constant(SELU_ALPHA))
    )
    return graph.add("Mul", parts, graph.constant(SELU_SCALE))


def encode(graph: Graph, exported: Exported, columns: Sequence[str]) -> str:
    """The features, from columns of numbers and booleans."""
    parts: list[str] = []
    for feature in exported.blueprint.encoding.features:
        if not isinstance(feature, (NumberFeature, BooleanFeature)):
            raise ConfigurationError(
                f"Column {feature.column!r} is no number, and the graph is to take columns as they are.",
                hint="Leave raw out: the graph then takes the features of model.encoded().",
            )
        place = graph.integers([columns.index(feature.column)])
        value = graph.add("Gather", "columns", place, axis=1)
        missing = graph.add("IsNaN", value)
        if isinstance(feature, BooleanFeature):
            parts.append(graph.add("Where", missing, graph.constant(0.5), value))
        else:
            known = graph.add("Where", missing, graph.constant(feature.fill), value)
            if graph.dtype == np.float64:
                above = graph.add("Greater", known, graph.constant(BOUND))
                known = graph.add("Where", above, graph.constant(feature.greatest), known)
                below = graph.add("Less", known, graph.constant(-BOUND))
                known = graph.add("Where", below, graph.constant(feature.least), known)
            centered = graph.add("Sub", known, graph.constant(feature.center))
            parts.append(graph.add("Div", centered, graph.constant(feature.scale)))
        if feature.indicator:
            kind = graph.onnx.helper.np_dtype_to_tensor_dtype(graph.dtype)
            parts.append(graph.add("Cast", missing, to=kind))
    return graph.add("Concat", *parts, axis=1, name="features")


def write(made: Any, path: Path) -> None:
    """Write an .onnx file."""
    library("onnx", "onnx").save(made, path)

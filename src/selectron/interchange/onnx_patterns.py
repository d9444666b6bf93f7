"""What an export of ours writes as several ONNX operators: activations, and the encoding of raw columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

import numpy as np

from selectron.interchange.onnx_target import Graph, activate
from selectron.interchange.optional import library
from selectron.interchange.signals import ColumnEncoding, Number
from selectron.program.operations import Array

__all__ = ["activation_at", "encoding_at"]

COMPOSITE: Final = ("silu", "gelu", "gelu_exact", "selu", "leaky_relu")
# Constants may be in single precision.
TOLERANCE: Final = 1e-6


def activation_at(nodes: Sequence[Any], value: str, constants: Mapping[str, Array]) -> tuple[str, int]:
    """The activation of a value that the first nodes are, and how many; none is "identity" of 0 nodes."""
    for activation in COMPOSITE:
        template = written(activation)
        if matches(template, nodes[: len(template.nodes)], value, constants):
            return activation, len(template.nodes)
    return "identity", 0


@cache
def written(activation: str) -> Graph:
    """What the export writes for an activation of ``value``."""
    graph = Graph(library("onnx", "onnx"), np.dtype(np.float64))
    activate(graph, "value", activation)
    return graph


def matches(template: Graph, nodes: Sequence[Any], value: str, constants: Mapping[str, Array]) -> bool:
    """Whether nodes are those of a template, with the same constants."""
    if len(nodes) < len(template.nodes):
        return False
    to_array = template.onnx.numpy_helper.to_array
    own = {tensor.name: to_array(tensor) for tensor in template.constants}
    names = {"value": value}
    for wanted, node in zip(template.nodes, nodes, strict=True):
        if (wanted.op_type, len(wanted.input)) != (node.op_type, len(node.input)) or node.attribute:
            return False
        for one, other in zip(wanted.input, node.input, strict=True):
            if one not in own and names.get(one) != other:
                return False
            if one in own and not is_near(constants.get(other), float(own[one])):
                return False
        names[wanted.output[0]] = node.output[0]
    return True


def is_near(found: Array | None, wanted: float) -> bool:
    return found is not None and found.size == 1 and bool(np.isclose(found, wanted, TOLERANCE, 0.0).all())


def encoding_at(
    nodes: Sequence[Any], value: str, constants: Mapping[str, Array]
) -> tuple[ColumnEncoding, int] | None:
    """The encoding of raw columns that the first nodes are, and how many; None if they are none."""
    parts: list[tuple[int, Number | None]] = []
    made: list[str] = []
    at = 0

    def follows(operator: str, *inputs: str | None) -> bool:
        """Whether the next node is an operator of these; None is a constant."""
        if at >= len(nodes) or nodes[at].op_type != operator or len(nodes[at].input) != len(inputs):
            return False
        pairs = zip(inputs, nodes[at].input, strict=True)
        return all(other in constants if own is None else own == other for own, other in pairs)

    def number_of(node: Any, place: int) -> float:
        return float(np.ravel(constants[node.input[place]])[0])

    while follows("Gather", value, None):
        column, raw = int(number_of(nodes[at], 1)), nodes[at].output[0]
        at += 1
        if not follows("IsNaN", raw):
            return None
        missing = nodes[at].output[0]
        at += 1
        if not follows("Where", missing, None, raw):
            return None
        fill, known = number_of(nodes[at], 1), nodes[at].output[0]
        at += 1
        for operator in ("Greater", "Less"):
            # Back into the range that was seen, which is measured anew.
            if follows(operator, known, None):
                beyond = nodes[at].output[0]
                at += 1
                if not follows("Where", beyond, None, known):
                    return None
                known = nodes[at].output[0]
                at += 1
        center, scale = 0.0, 1.0
        if follows("Sub", known, None):
            center, known = number_of(nodes[at], 1), nodes[at].output[0]
            at += 1
        if follows("Div", known, None):
            scale, known = number_of(nodes[at], 1), nodes[at].output[0]
            at += 1
        parts.append((column, Number("", center, scale, fill)))
        made.append(known)
        if follows("Cast", missing):
            parts.append((column, None))
            made.append(nodes[at].output[0])
            at += 1
    if not parts or not follows("Concat", *made):
        return None
    return ColumnEncoding(tuple(parts)), at + 1

"""The `arrays` layout over tensor functions: a tensor is a value that only our own functions read.

For engines that have no lists but let a connection register functions (SQLite). A matrix is a BLOB, eight
bytes of shape and then float64 by rows; a scalar is a plain number, so that SQL computes with it as it is.
Each operation of the tensor language is one function, which is its NumPy evaluation.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
from sqlglot import exp

from selectron.layouts.scalars import REPEATING, scalar
from selectron.layouts.stages import Stage
from selectron.program import operations as op
from selectron.program.operations import Array
from selectron.program.program import Program
from selectron.program.tensor import BATCH, Tensor
from selectron.sql import column, integer, number

__all__ = [
    "AGGREGATES",
    "FUNCTIONS",
    "Lowered",
    "Value",
    "blob_literal",
    "call",
    "from_value",
    "lower",
    "packed",
    "part",
    "tensor_of_row",
    "to_value",
]

Expression = exp.Expr
# A tensor as the engine holds it: a number, bytes, or NULL for NaN.
Value = float | bytes | None

PREFIX: Final = "selectron_"
HEADER: Final = struct.Struct("<ii")
# What a call may take at most, on the strictest engine.
MOST_ARGUMENTS: Final = 100
MOST_DEPTH: Final = 16


# ------------------------------------------------------------------------------------------ values


def to_value(array: Array) -> Value:
    """A tensor as a value.

    >>> to_value(np.array([[2.0]])), len(to_value(np.array([[1.0, 2.0]])))
    (2.0, 24)
    """
    if array.shape == (1, 1):
        return float(array[0, 0])
    return HEADER.pack(*array.shape) + np.ascontiguousarray(array, dtype=np.float64).tobytes()


def from_value(value: Value) -> Array:
    """The tensor of a value.

    >>> from_value(to_value(np.array([[1.0], [2.0]]))).tolist()
    [[1.0], [2.0]]
    """
    if isinstance(value, bytes):
        rows, units = HEADER.unpack_from(value)
        return np.frombuffer(value, dtype=np.float64, offset=HEADER.size).reshape(rows, units)
    return np.full((1, 1), np.nan if value is None else value)


def evaluate(operation: op.Operation, *values: Value) -> Value:
    return to_value(operation.evaluate(*map(from_value, values)))


def along(class_: Callable[[int], op.Operation], value: Value, axis: int) -> Value:
    return evaluate(class_(axis), value)


def compare(operation: op.Operation, left: Value, right: Value) -> Value:
    return to_value(operation.evaluate(from_value(left), from_value(right)).astype(np.float64))


def pack(*values: Value) -> bytes:
    """Values as one: how many, where each ends, then each with its shape."""
    parts = [HEADER.pack(*array.shape) + array.tobytes() for array in map(from_value, values)]
    return seal(parts)


def seal(parts: list[bytes]) -> bytes:
    ends = np.cumsum([0, *map(len, parts)], dtype=np.int64)
    return struct.pack("<q", len(parts)) + ends.tobytes() + b"".join(parts)


def opened(value: bytes, place: int) -> bytes:
    (count,) = struct.unpack_from("<q", value)
    start, end = struct.unpack_from("<qq", value, 8 + 8 * place)
    base = 8 + 8 * (count + 1)
    return value[base + start : base + end]


def join(*values: bytes) -> bytes:
    """Packed values as one pack."""
    return seal([opened(v, place) for v in values for place in range(struct.unpack_from("<q", v)[0])])


def unpack(value: bytes, place: int) -> Value:
    """One of the values of a pack."""
    inside = opened(value, place)
    if HEADER.unpack_from(inside) == (1, 1):
        (number_,) = struct.unpack_from("<d", inside, HEADER.size)
        return float(number_)
    return inside


def append(log: Value, *values: float | None) -> bytes:
    """A log with one more line of numbers; NULL is an empty one."""
    line = np.array([[np.nan if value is None else value for value in values]])
    lines = line if log is None else np.vstack([from_value(log).reshape(-1, len(values)), line])
    return HEADER.pack(*lines.shape) + lines.tobytes()


def bits(value: Value) -> str:
    """A tensor's numbers, by rows, as a JSON list of whole numbers of the same bits: exact."""
    return str(np.ascontiguousarray(from_value(value)).view(np.int64).reshape(-1).tolist())


def double(value: int) -> float:
    """The number of some bits."""
    (found,) = struct.unpack("<d", struct.pack("<q", value))
    return float(found)


def row(*values: float | None) -> bytes:
    """Numbers of a row, to be stacked."""
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64).tobytes()


def line(*parts: bytes) -> Value:
    """Numbers of a row, in parts, as a tensor of one row."""
    whole = np.frombuffer(b"".join(parts), dtype=np.float64)
    return to_value(whole.reshape(1, -1))


def element(value: Value, place: int) -> float | None:
    """A number of a tensor, by rows; NaN is NULL."""
    found = float(from_value(value).reshape(-1)[place])
    return None if np.isnan(found) else found


class Stack:
    """An aggregate: the rows of a batch, each with its place, as one tensor."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, bytes]] = []

    def step(self, place: int, *parts: bytes) -> None:
        self.lines.append((place, b"".join(parts)))

    def finalize(self) -> Value:
        self.lines.sort(key=lambda line: line[0])
        whole = np.frombuffer(b"".join(line for _, line in self.lines), dtype=np.float64)
        return to_value(whole.reshape(len(self.lines), -1))


def name_of(class_: type[op.Operation]) -> str:
    return f"{PREFIX}{class_.__name__.lower()}"


ELEMENTWISE: Final = (
    op.Negate,
    op.Exp,
    op.Log,
    op.Sqrt,
    op.Tanh,
    op.Sigmoid,
    op.Softplus,
    op.Absolute,
    op.Floor,
    op.Cosine,
    op.Add,
    op.Subtract,
    op.Multiply,
    op.Divide,
    op.Maximum,
    op.Minimum,
    op.ModularMultiply,
    op.Where,
)
COMPARISONS: Final = (op.Less, op.LessEqual, op.Equal)
WHOLE: Final[tuple[tuple[type[op.Operation], int], ...]] = (
    (op.MatMul, 2),
    (op.Transpose, 1),
    (op.Gather, 2),
    (op.Scatter, 3),
    (op.Broadcast, 2),
    (op.RowNumber, 1),
)

# What an engine registers: of each function its name, how many arguments (-1 for any), and itself.
FUNCTIONS: Final[Mapping[str, tuple[int, Callable[..., Any]]]] = {
    **{name_of(c): (c.arity, partial(evaluate, c())) for c in ELEMENTWISE},
    **{name_of(c): (2, partial(compare, c())) for c in COMPARISONS},
    **{name_of(c): (arity, partial(evaluate, c())) for c, arity in WHOLE},
    **{name_of(c): (2, partial(along, c)) for c in (op.Sum, op.Max, op.Size)},
    f"{PREFIX}range": (1, lambda extent: evaluate(op.Range(extent))),
    f"{PREFIX}pack": (-1, pack),
    f"{PREFIX}join": (-1, join),
    f"{PREFIX}part": (2, unpack),
    f"{PREFIX}append": (-1, append),
    f"{PREFIX}bits": (1, bits),
    f"{PREFIX}double": (1, double),
    f"{PREFIX}row": (-1, row),
    f"{PREFIX}line": (-1, line),
    f"{PREFIX}element": (2, element),
}
AGGREGATES: Final[Mapping[str, tuple[int, type[Stack]]]] = {f"{PREFIX}stack": (-1, Stack)}


# --------------------------------------------------------------------------------------------- SQL


def call(name: str, *arguments: Expression) -> Expression:
    """A call of one of the functions."""
    return exp.Anonymous(this=f"{PREFIX}{name}", expressions=list(arguments))


def blob_literal(array: Array) -> Expression:
    """A tensor as a literal.

    >>> blob_literal(np.array([[0.5]])).sql("sqlite")
    '0.5e0'
    """
    value = to_value(array)
    return exp.HexString(this=value.hex()) if isinstance(value, bytes) else number(float(array[0, 0]))


def tensor_of_row(values: Sequence[Expression]) -> Expression:
    """Numbers of a row as a tensor of one row; a single one is itself.

    >>> tensor_of_row([exp.column("a"), exp.column("b")]).sql("sqlite")
    'SELECTRON_LINE(SELECTRON_ROW(a, b))'
    """
    if len(values) == 1:
        return values[0]
    groups = [values[start : start + MOST_ARGUMENTS] for start in range(0, len(values), MOST_ARGUMENTS)]
    return call("line", *(call("row", *group) for group in groups))


def packed(values: list[Expression]) -> Expression:
    """Values as one."""
    groups = [values[start : start + MOST_ARGUMENTS] for start in range(0, len(values), MOST_ARGUMENTS)]
    packs = [call("pack", *group) for group in groups]
    return packs[0] if len(packs) == 1 else call("join", *packs)


def part(value: Expression, place: int) -> Expression:
    """One of the values of a pack."""
    return call("part", value, integer(place))


@dataclass(frozen=True)
class Lowered:
    """A program as stages, and its outputs as expressions over what the last one gives."""

    stages: tuple[Stage, ...]
    outputs: Mapping[str, Expression]


LEAVES: Final = (op.Input, op.Constant, op.Range, op.Size, op.Comparison, op.StopGradient)


class Lowering:
    """Lowers one program. Made for one use; :func:`lower` is its face."""

    def __init__(self, program: Program, constants: Mapping[str, Array]) -> None:
        self.program = program
        self.constants = constants
        self.tensors = program.tensors()
        self.named = self.choose_named()
        self.names: dict[Tensor, str] = {}
        self.levels: dict[Tensor, int] = {}
        self.level = 0
        self.rows = next((name for name, shape in program.inputs.items() if shape[0] == BATCH), None)

    def choose_named(self) -> set[Tensor]:
        uses: Counter[Tensor] = Counter(self.program.outputs.values())
        named = set()
        for tensor in reversed(self.tensors):
            if uses[tensor] > 1 and not isinstance(tensor.operation, LEAVES):
                named.add(tensor)
            # A condition is written down at each of its readers.
            times = 1 if tensor in named else max(1, uses[tensor])
            for dependency in tensor.inputs:
                uses[dependency] += times * (2 if type(tensor.operation) in REPEATING else 1)
        depth: dict[Tensor, int] = {}
        for tensor in self.tensors:
            depth[tensor] = 1 + max((0 if t in named else depth[t] for t in tensor.inputs), default=0)
            if depth[tensor] > MOST_DEPTH and not isinstance(tensor.operation, LEAVES):
                named.add(tensor)
        return named

    def value(self, tensor: Tensor) -> Expression:
        if tensor in self.named:
            self.level = max(self.level, self.levels[tensor])
            return column(self.names[tensor])
        return self.compute(tensor)

    def compute(self, tensor: Tensor) -> Expression:
        operation, inputs = tensor.operation, tensor.inputs
        if isinstance(operation, op.Input):
            known = self.constants.get(operation.name)
            return column(operation.name) if known is None else blob_literal(known)
        if isinstance(operation, op.Constant):
            return number(operation.value)
        if isinstance(operation, op.Range):
            return call("range", integer(operation.extent)) if operation.extent > 1 else number(0.0)
        if isinstance(operation, op.StopGradient):
            return self.value(inputs[0])
        if isinstance(operation, op.Size):
            assert self.rows is not None
            return call("size", column(self.rows), integer(0))
        if isinstance(operation, (op.Sum, op.Max)):
            return call(type(operation).__name__.lower(), self.value(inputs[0]), integer(operation.axis))
        plain = all(part.is_scalar for part in inputs)
        if isinstance(operation, op.Elementwise) and plain:
            return scalar(operation, *map(self.value, inputs))
        if isinstance(operation, op.Where) and inputs[0].is_scalar and inputs[1].shape == inputs[2].shape:
            return scalar(operation, *map(self.value, inputs))
        if isinstance(operation, op.Where):
            condition = inputs[0]
            assert isinstance(condition.operation, op.Comparison)
            compared = exp.Anonymous(
                this=name_of(type(condition.operation)), expressions=[*map(self.value, condition.inputs)]
            )
            return call("where", compared, self.value(inputs[1]), self.value(inputs[2]))
        return exp.Anonymous(this=name_of(type(operation)), expressions=[*map(self.value, inputs)])

    def run(self) -> Lowered:
        taken = Counter(self.program.inputs.keys())
        stages: dict[int, list[tuple[str, Expression]]] = {}
        for tensor in self.tensors:
            if tensor not in self.named:
                continue
            label = self.program.labels.get(tensor) or type(tensor.operation).__name__.lower()
            taken[label] += 1
            name = label if taken[label] == 1 else f"{label} {taken[label]}"
            self.level = 0
            expression = self.compute(tensor)
            self.names[tensor], self.levels[tensor] = name, self.level + 1
            stages.setdefault(self.level + 1, []).append((name, expression))
        outputs = {name: self.value(tensor) for name, tensor in self.program.outputs.items()}
        return Lowered(tuple(Stage(tuple(stages[level])) for level in sorted(stages)), outputs)


def lower(program: Program, constants: Mapping[str, Array] | None = None) -> Lowered:
    """A program as stages of calls of tensor functions.

    Parameters
    ----------
    constants
        Inputs that are written down, not read from columns.

    Examples
    --------
    >>> from selectron.program.operations import input_, matmul, tanh
    >>> x, w = input_("x", ("batch", 3)), input_("w", (3, 2))
    >>> lower(Program({"y": tanh(matmul(x, w))})).outputs["y"].sql("sqlite")
    'SELECTRON_TANH(SELECTRON_MATMUL("x", "w"))'
    """
    return Lowering(program, constants or {}).run()

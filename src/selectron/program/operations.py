"""The operations of the tensor language.

Each operation states here, once, its shape rule, its NumPy evaluation and its gradient (as more
operations). Its SQL is stated once for each layout, in `selectron.layouts`. Activations, losses and
optimizers are compositions of these; nothing else computes.

Where a function has a kink, the gradient there is PyTorch's choice: 0 for ``maximum(x, 0)`` and
``absolute(x)`` at 0; ties of a maximum over an axis share it evenly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from selectron.errors import SelectronError
from selectron.program.tensor import Extent, Shape, Tensor, apply

__all__ = [
    "MODULUS",
    "Absolute",
    "Add",
    "Array",
    "Binary",
    "Broadcast",
    "Comparison",
    "Constant",
    "Cosine",
    "Divide",
    "Elementwise",
    "Equal",
    "Exp",
    "Floor",
    "Gather",
    "Input",
    "Less",
    "LessEqual",
    "Log",
    "MatMul",
    "Max",
    "Maximum",
    "Minimum",
    "ModularMultiply",
    "Multiply",
    "Negate",
    "Operation",
    "Range",
    "RowNumber",
    "Scatter",
    "ShapeError",
    "Sigmoid",
    "Size",
    "Softplus",
    "Sqrt",
    "StopGradient",
    "Subtract",
    "Sum",
    "Tanh",
    "Transpose",
    "Unary",
    "Where",
    "absolute",
    "add",
    "broadcast",
    "constant",
    "cosine",
    "divide",
    "equal",
    "exp",
    "floor",
    "gather",
    "input_",
    "less",
    "less_equal",
    "log",
    "matmul",
    "max_",
    "maximum",
    "mean",
    "minimum",
    "modular_multiply",
    "multiply",
    "negate",
    "one_hot",
    "pick",
    "range_",
    "row_number",
    "scatter",
    "sigmoid",
    "size",
    "softplus",
    "sqrt",
    "stop_gradient",
    "subtract",
    "sum_",
    "tanh",
    "transpose",
    "where",
]

Array = NDArray[Any]

# 2**31 - 1 is prime, and products of two numbers below it fit into a signed 64-bit integer everywhere.
MODULUS: Final = 2_147_483_647


class ShapeError(SelectronError, ValueError):
    """Tensors whose shapes do not fit an operation."""


def broadcast_extent(left: Extent, right: Extent) -> Extent:
    """The extent of two that meet in an elementwise operation."""
    if left == right or right == 1:
        return left
    if left == 1:
        return right
    raise ShapeError(f"Extents {left} and {right} do not fit.", hint="One must be 1, or both the same.")


@dataclass(frozen=True)
class Operation:
    """What a tensor is made by. Subclasses are values: two with the same fields are the same."""

    def shape(self, *inputs: Shape) -> Shape:
        """The shape of the result.

        Raises
        ------
        ShapeError
            If the inputs do not fit.
        """
        raise ShapeError(f"{self} has no shape rule.")

    def evaluate(self, *inputs: Array) -> Array:
        """The result on NumPy arrays of two axes."""
        raise TypeError(f"{self} is fed, not computed.")

    def gradient(self, output: Tensor, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient for each input, given the one of the output; None where there is none."""
        raise TypeError(f"{self} has no gradient.")


# ---------------------------------------------------------------------------------------- leaves


@dataclass(frozen=True)
class Input(Operation):
    """A tensor that is fed: a column of the batch, a parameter or another part of the state."""

    name: str
    fed_shape: Shape

    def shape(self, *inputs: Shape) -> Shape:
        return self.fed_shape

    def gradient(self, output: Tensor, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return ()


@dataclass(frozen=True)
class Constant(Operation):
    """One number, of shape (1, 1)."""

    value: float

    def shape(self, *inputs: Shape) -> Shape:
        return (1, 1)

    def evaluate(self, *inputs: Array) -> Array:
        return np.full((1, 1), self.value)

    def gradient(self, output: Tensor, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return ()


@dataclass(frozen=True)
class Range(Operation):
    """0, 1, ... `extent` - 1 as one row, of shape (1, extent)."""

    extent: int

    def shape(self, *inputs: Shape) -> Shape:
        return (1, self.extent)

    def evaluate(self, *inputs: Array) -> Array:
        return np.arange(self.extent, dtype=np.float64)[None, :]

    def gradient(self, output: Tensor, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return ()


# ----------------------------------------------------------------------------------- elementwise


@dataclass(frozen=True)
class Elementwise(Operation):
    """An operation on each element alone; extents of 1 broadcast."""

    arity: ClassVar[int]

    def shape(self, *inputs: Shape) -> Shape:
        if len(inputs) != self.arity:
            raise ShapeError(f"{self} takes {self.arity} tensors, not {len(inputs)}.")
        rows, units = inputs[0]
        for shape in inputs[1:]:
            rows, units = broadcast_extent(rows, shape[0]), broadcast_extent(units, shape[1])
        return rows, units


@dataclass(frozen=True)
class Unary(Elementwise):
    """An elementwise operation on one tensor."""

    arity: ClassVar[int] = 1
    function: ClassVar[Any]

    def evaluate(self, *inputs: Array) -> Array:
        with np.errstate(all="ignore"):
            return np.asarray(type(self).function(inputs[0]))


@dataclass(frozen=True)
class Binary(Elementwise):
    """An elementwise operation on two tensors."""

    arity: ClassVar[int] = 2
    function: ClassVar[Any]

    def evaluate(self, *inputs: Array) -> Array:
        with np.errstate(all="ignore"):
            return np.asarray(type(self).function(inputs[0], inputs[1]))


class Negate(Unary):
    function = np.negative

    def gradient(self, output: Tensor, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return (negate(gradient),)


class Exp(Unary):
    function = np.exp

    def gradient(self, output: Tensor, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return (multiply(gradient, output),)


class Log(Unary):
    function = np.log

    def gradient(self, output: Tensor, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return (divide(gradient, output.inputs[0]),)


class Sqrt(Unary):
    function = np.sqrt

    def gradient(self, output: Tensor, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return (divide(multiply(constant(0.5), gradient), output),)


class Tanh(Unary):
    function = np.tanh

    def gradient(self, output: Tensor, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return (multiply(gradient, subtract(constant(1.0), multiply(output, output))),)


def stable_sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)) without overflow on either side."""
    e = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1.0, e) / (1.0 + e))


class Sigmoid(Unary):
    """1 / (1 + exp(-x)); an operation of its own so that it never overflows."""

    function = stable_sigmoid

    def gradient(self, output: Tensor, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return (multiply(gradient, multiply(output, subtract(constant(1.0), output))),)


def stable_softplus(x: Array) -> Array:
    """log(1 + exp(x)) without overflow, exact for very negative `x` too."""
    return np.asarray(np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x))))


class Softplus(Unary):
    """log(1 + exp(x)); an operation of its own so that it and its gradient are exact everywhere."""

    function = stable_softplus

    def gradient(self, output: Tensor, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return (multiply(gradient, sigmoid(output.inputs[0])),)


class Absolute(Unary):
    function = np.abs

    def gradient(self, output: Tensor, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = output.inputs
        zero = constant(0.0)
        return (where(less(zero, x), gradient, where(less(x, zero), negate(gradient), zero)),)


class Floor(Unary):
    function = np.floor

    def gradient(self, output: Tensor, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return (None,)


class Cosine(Unary):
    function = np.cos

    def gradient(self, output: Tensor, gradient: Tensor) -> tuple[Tensor | None, ...]:
        # -sin(x) = cos(x + pi/2), which saves an operation that nothing else needs.
        return (multiply(gradient, cosine(add(output.inputs[0], constant(np.pi / 2)))),)


class StopGradient(Unary):
    """The tensor itself, through which no gradient flows."""

    function = np.asarray

    def gradient(self, output: Tensor, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return (None,)


class Add(Binary):
    function = np.add

    def gradient(self, output: Tensor, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return gradient, gradient


class Subtract(Binary):
    function = np.subtract

    def gradient(self, output: Tensor, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return gradient, negate(gradient)


class Multiply(Binary):
    function = np.multiply

    def gradient(self, output: Tensor, gradient: Tensor) -> tuple[Tensor | None, ...]:
        left, right = output.inputs
        return multiply(gradient, right), multiply(gradient, left)


class Divide(Binary):
    function = np.divide

    def gradient(self, output: Tensor, gradient: Tensor) -> tuple[Tensor | None, ...]:
        _, right = output.inputs
        return divide(gradient, right), negate(divide(multiply(gradient, output), right))


class Maximum(Binary):
    function = np.maximum

    def gradient(self, output: Tensor, gradient: Tensor) -> tuple[Tensor | None, ...]:
        # Asked of the output, not of the input: a layer then needs only its activations for the
        # backward pass, and the logits can be fused away. At a tie neither side gets anything.
        left, right = output.inputs
        zero = constant(0.0)
        return where(less(right, output), gradient, zero), where(less(left, output), gradient, zero)


class Minimum(Binary):
    function = np.minimum

    def gradient(self, output: Tensor, gradient: Tensor) -> tuple[Tensor | None, ...]:
        left, right = output.inputs
        zero = constant(0.0)
        return where(less_equal(left, right), gradient, zero), where(less(right, left), gradient, zero)


def modular_product(left: Array, right: Array) -> Array:
    """left * right modulo 2**31 - 1, of whole numbers below it, held as floats."""
    product = left.astype(np.int64) * right.astype(np.int64)
    return (product % MODULUS).astype(np.float64)


class ModularMultiply(Binary):
    """left * right modulo 2**31 - 1, of whole numbers below it: what portable hashes are made of."""

    function = modular_product

    def gradient(self, output: Tensor, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return None, None


class Comparison(Binary):
    """A condition, to be used by `where` alone."""

    def gradient(self, output: Tensor, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return None, None


class Less(Comparison):
    function = np.less


class LessEqual(Comparison):
    function = np.less_equal


class Equal(Comparison):
    function = np.equal


class Where(Elementwise):
    """`inputs[1]` where the condition holds, `inputs[2]` elsewhere."""

    arity: ClassVar[int] = 3

    def evaluate(self, *inputs: Array) -> Array:
        return np.where(inputs[0], inputs[1], inputs[2])

    def gradient(self, output: Tensor, gradient: Tensor) -> tuple[Tensor | None, ...]:
        condition = output.inputs[0]
        zero = constant(0.0)
        return None, where(condition, gradient, zero), where(condition, zero, gradient)


# --------------------------------------------------------------------------------- shape changing


class MatMul(Operation):
    """The matrix product."""

    def shape(self, *inputs: Shape) -> Shape:
        left, right = inputs
        if left[1] != right[0]:
            raise ShapeError(f"A product of {left} with {right} has unequal inner extents.")
        return left[0], right[1]

    def evaluate(self, *inputs: Array) -> Array:
        with np.errstate(all="ignore"):
            return np.asarray(inputs[0] @ inputs[1])

    def gradient(self, output: Tensor, gradient: Tensor) -> tuple[Tensor | None, ...]:
        left, right = output.inputs
        return matmul(gradient, transpose(right)), matmul(transpose(left), gradient)


class Transpose(Operation):
    def shape(self, *inputs: Shape) -> Shape:
        return inputs[0][1], inputs[0][0]

    def evaluate(self, *inputs: Array) -> Array:
        return inputs[0].T

    def gradient(self, output: Tensor, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return (transpose(gradient),)


@dataclass(frozen=True)
class Reduction(Operation):
    """One value for each line along `axis`, whose extent becomes 1."""

    axis: int

    def shape(self, *inputs: Shape) -> Shape:
        rows, units = inputs[0]
        return (1, units) if self.axis == 0 else (rows, 1)


class Sum(Reduction):
    def evaluate(self, *inputs: Array) -> Array:
        with np.errstate(all="ignore"):
            return np.asarray(np.sum(inputs[0], axis=self.axis, keepdims=True))

    def gradient(self, output: Tensor, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return (broadcast(gradient, output.inputs[0]),)


class Max(Reduction):
    def evaluate(self, *inputs: Array) -> Array:
        return np.asarray(np.max(inputs[0], axis=self.axis, keepdims=True))

    def gradient(self, output: Tensor, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = output.inputs
        attained = where(equal(x, output), constant(1.0), constant(0.0))
        return (multiply(attained, divide(gradient, sum_(attained, self.axis))),)


class Size(Reduction):
    """How many elements there are along `axis`, as a scalar."""

    def shape(self, *inputs: Shape) -> Shape:
        return (1, 1)

    def evaluate(self, *inputs: Array) -> Array:
        return np.full((1, 1), float(inputs[0].shape[self.axis]))

    def gradient(self, output: Tensor, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return (None,)


class Broadcast(Operation):
    """The first tensor repeated to the shape of the second, whose values do not matter."""

    def shape(self, *inputs: Shape) -> Shape:
        tensor, like = inputs
        merged = broadcast_extent(tensor[0], like[0]), broadcast_extent(tensor[1], like[1])
        if merged != like:
            raise ShapeError(f"Shape {tensor} does not broadcast to {like}.")
        return like

    def evaluate(self, *inputs: Array) -> Array:
        return np.broadcast_to(inputs[0], inputs[1].shape)

    def gradient(self, output: Tensor, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return gradient, None


class RowNumber(Operation):
    """0, 1, 2, ... down the rows of a tensor, of shape (rows, 1)."""

    def shape(self, *inputs: Shape) -> Shape:
        return inputs[0][0], 1

    def evaluate(self, *inputs: Array) -> Array:
        return np.arange(inputs[0].shape[0], dtype=np.float64)[:, None]

    def gradient(self, output: Tensor, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return (None,)


class Gather(Operation):
    """The rows of a table, of shape (entries, units), that a column of indices (rows, 1) names."""

    def shape(self, *inputs: Shape) -> Shape:
        table, index = inputs
        if index[1] != 1 or not isinstance(table[0], int):
            raise ShapeError(f"Rows of {table} cannot be gathered by {index}.")
        return index[0], table[1]

    def evaluate(self, *inputs: Array) -> Array:
        return np.asarray(inputs[0][inputs[1][:, 0].astype(np.int64)])

    def gradient(self, output: Tensor, gradient: Tensor) -> tuple[Tensor | None, ...]:
        table, index = output.inputs
        return scatter(gradient, index, table), None


class Scatter(Operation):
    """The rows of a tensor, of shape (rows, units), summed by a column of indices (rows, 1) into the rows of
    a table, (entries, units), whose own values do not matter: the way back of :class:`Gather`.
    """

    def shape(self, *inputs: Shape) -> Shape:
        values, index, table = inputs
        if index != (values[0], 1) or not isinstance(table[0], int) or table[1] != values[1]:
            raise ShapeError(f"Rows of {values} cannot be summed by {index} into {table}.")
        return table

    def evaluate(self, *inputs: Array) -> Array:
        total = np.zeros(inputs[2].shape)
        np.add.at(total, inputs[1][:, 0].astype(np.int64), inputs[0])
        return total

    def gradient(self, output: Tensor, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return gather(gradient, output.inputs[1]), None, None


# ---------------------------------------------------------------- what the layers above write with
# Each function builds a tensor, with the algebra that needs no pass: constants folded, neutral
# elements dropped.


def input_(name: str, shape: Shape) -> Tensor:
    """A tensor that is fed under a name."""
    return apply(Input(name, shape))


def constant(value: float) -> Tensor:
    """A number.

    >>> constant(2.0) is constant(2.0)
    True
    """
    return apply(Constant(float(value)))


def range_(extent: int) -> Tensor:
    """0 ... extent - 1 as one row."""
    return apply(Range(extent))


def value_of(tensor: Tensor) -> float | None:
    """The number that a constant holds, or None."""
    return tensor.operation.value if isinstance(tensor.operation, Constant) else None


def elementwise(operation: Elementwise, *inputs: Tensor) -> Tensor:
    """An elementwise operation: computed now if all its inputs are constants, on small tensors if it can.

    A tensor that was repeated explicitly is used as it was, since it is repeated again where it meets
    one of the full shape; if all were repeated, so is the result.
    """
    values = [value_of(tensor) for tensor in inputs]
    if not isinstance(operation, Comparison) and all(value is not None for value in values):
        folded = operation.evaluate(*(np.full((1, 1), value) for value in values))
        return constant(float(folded[0, 0]))
    small = [tensor.inputs[0] if isinstance(tensor.operation, Broadcast) else tensor for tensor in inputs]
    if small == list(inputs):
        return apply(operation, *inputs)
    whole, reduced = apply(operation, *inputs), elementwise(operation, *small)
    like = next(tensor.inputs[1] for tensor in inputs if isinstance(tensor.operation, Broadcast))
    if reduced.shape == whole.shape:
        return reduced
    if isinstance(operation, Comparison) or like.shape != whole.shape:
        return whole
    return apply(Broadcast(), reduced, like)


def negate(x: Tensor) -> Tensor:
    return x.inputs[0] if isinstance(x.operation, Negate) else elementwise(Negate(), x)


def exp(x: Tensor) -> Tensor:
    return elementwise(Exp(), x)


def log(x: Tensor) -> Tensor:
    """The natural logarithm."""
    return elementwise(Log(), x)


def sqrt(x: Tensor) -> Tensor:
    return elementwise(Sqrt(), x)


def tanh(x: Tensor) -> Tensor:
    return elementwise(Tanh(), x)


def sigmoid(x: Tensor) -> Tensor:
    return elementwise(Sigmoid(), x)


def softplus(x: Tensor) -> Tensor:
    return elementwise(Softplus(), x)


def absolute(x: Tensor) -> Tensor:
    return elementwise(Absolute(), x)


def floor(x: Tensor) -> Tensor:
    return elementwise(Floor(), x)


def cosine(x: Tensor) -> Tensor:
    return elementwise(Cosine(), x)


def stop_gradient(x: Tensor) -> Tensor:
    """`x`, taken as a constant by gradients."""
    return x if value_of(x) is not None else apply(StopGradient(), x)


def add(left: Tensor, right: Tensor) -> Tensor:
    if value_of(left) == 0.0:
        return right
    if value_of(right) == 0.0:
        return left
    if isinstance(right.operation, Negate):
        return subtract(left, right.inputs[0])
    return elementwise(Add(), left, right)


def subtract(left: Tensor, right: Tensor) -> Tensor:
    if value_of(right) == 0.0:
        return left
    if value_of(left) == 0.0:
        return negate(right)
    return elementwise(Subtract(), left, right)


def multiply(left: Tensor, right: Tensor) -> Tensor:
    for one, other in ((left, right), (right, left)):
        if value_of(one) == 1.0:
            return other
        if value_of(one) == -1.0:
            return negate(other)
        if value_of(one) == 0.0 and other.is_scalar:
            return one
    return elementwise(Multiply(), left, right)


def divide(left: Tensor, right: Tensor) -> Tensor:
    return left if value_of(right) == 1.0 else elementwise(Divide(), left, right)


def maximum(left: Tensor, right: Tensor) -> Tensor:
    return elementwise(Maximum(), left, right)


def minimum(left: Tensor, right: Tensor) -> Tensor:
    return elementwise(Minimum(), left, right)


def modular_multiply(left: Tensor, right: Tensor) -> Tensor:
    """left * right modulo :data:`MODULUS`, of whole numbers below it."""
    return elementwise(ModularMultiply(), left, right)


def less(left: Tensor, right: Tensor) -> Tensor:
    return elementwise(Less(), left, right)


def less_equal(left: Tensor, right: Tensor) -> Tensor:
    return elementwise(LessEqual(), left, right)


def equal(left: Tensor, right: Tensor) -> Tensor:
    return elementwise(Equal(), left, right)


def where(condition: Tensor, then: Tensor, otherwise: Tensor) -> Tensor:
    """`then` where the condition holds, `otherwise` elsewhere."""
    if not isinstance(condition.operation, Comparison):
        raise ShapeError(f"{condition} is no condition.", hint="Compare two tensors first.")
    return elementwise(Where(), condition, then, otherwise)


def matmul(left: Tensor, right: Tensor) -> Tensor:
    """The matrix product of (n, k) and (k, m)."""
    return apply(MatMul(), left, right)


def transpose(x: Tensor) -> Tensor:
    if x.is_scalar:
        return x
    return x.inputs[0] if isinstance(x.operation, Transpose) else apply(Transpose(), x)


def sum_(x: Tensor, axis: int | None = None) -> Tensor:
    """The sum along an axis, kept with extent 1; over both axes when none is named."""
    if axis is None:
        # Down the rows first: that is how the arrays layout keeps parameters.
        return sum_(sum_(x, 0), 1)
    return x if x.shape[axis] == 1 else apply(Sum(axis), x)


def max_(x: Tensor, axis: int) -> Tensor:
    """The largest along an axis, kept with extent 1."""
    return x if x.shape[axis] == 1 else apply(Max(axis), x)


def size(x: Tensor, axis: int) -> Tensor:
    """How many elements there are along an axis."""
    extent = x.shape[axis]
    return constant(extent) if isinstance(extent, int) else apply(Size(axis), x)


def mean(x: Tensor, axis: int | None = None) -> Tensor:
    """The mean along an axis, kept with extent 1; over both axes when none is named."""
    if axis is None:
        return divide(sum_(x), multiply(size(x, 0), size(x, 1)))
    return divide(sum_(x, axis), size(x, axis))


def broadcast(x: Tensor, like: Tensor) -> Tensor:
    """`x` repeated to the shape of `like`."""
    return x if x.shape == like.shape else apply(Broadcast(), x, like)


def row_number(like: Tensor) -> Tensor:
    """0, 1, 2, ... down the rows of `like`."""
    return apply(RowNumber(), like)


def gather(table: Tensor, index: Tensor) -> Tensor:
    """The rows of `table` that `index`, of shape (rows, 1), names."""
    return apply(Gather(), table, index)


def scatter(values: Tensor, index: Tensor, table: Tensor) -> Tensor:
    """The rows of `values` summed into the rows of a table like `table` that `index` names."""
    return sum_(values, 0) if table.shape[0] == 1 else apply(Scatter(), values, index, table)


def one_hot(index: Tensor, extent: int) -> Tensor:
    """1 in the column that `index`, of shape (rows, 1), names, 0 elsewhere: (rows, extent)."""
    return where(equal(index, range_(extent)), constant(1.0), constant(0.0))


def pick(x: Tensor, index: Tensor) -> Tensor:
    """The element of each row that `index`, of shape (rows, 1), names: (rows, 1)."""
    return sum_(where(equal(index, range_(int(x.shape[1]))), x, constant(0.0)), 1)

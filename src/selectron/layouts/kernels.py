"""One tensor as nested loops over lists: the inside of a column of the `arrays` layout.

A kernel has a loop (`list_transform`) for each axis of its result that is a list. Every loop runs over
a column that is read at the loop's point, its driver, so that the element is a lambda parameter and no
index is needed; other columns are read by index.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from sqlglot import exp

from selectron.layouts.scalars import scalar
from selectron.program import operations as op
from selectron.program.patterns import pick_of
from selectron.program.tensor import Extent, Tensor
from selectron.sql import call, cast, integer, number

__all__ = [
    "BY_ROWS",
    "BY_UNITS",
    "Columns",
    "Key",
    "Order",
    "base",
    "element_of",
    "kernel",
    "reversed_order",
]

Expression = exp.Expr
# Axes from the outer list to the inner one.
Order = tuple[int, int]
BY_ROWS: Order = (0, 1)
BY_UNITS: Order = (1, 0)

# What lambdas call the element and its 1-based place, by axis.
ELEMENTS = ("row", "unit")
PLACES = ("i", "j")


@dataclass(frozen=True)
class Key:
    """A tensor (no transpose) laid out in an order."""

    tensor: Tensor
    order: Order


class Columns(Protocol):
    """What kernels ask of the lowering that they are part of."""

    def is_list(self, extent: Extent) -> bool:
        """Whether an axis of this extent is a list."""

    def has_column(self, tensor: Tensor) -> bool:
        """Whether a tensor is read from a column, not fused into its reader."""

    def exists(self, key: Key) -> bool:
        """Whether the tensor is there in this order already."""

    def name_of(self, key: Key) -> str:
        """The column of a tensor in an order, made if there is none yet."""

    def read(self, name: str) -> Expression:
        """A column."""

    def length(self, extent: Extent) -> Expression:
        """How long the lists along an axis are."""

    def size(self, extent: Extent) -> Expression:
        """How long an axis is in the whole batch."""

    def first_row(self) -> Expression | None:
        """The place in the batch of the first row that there is; None if that is 0."""


def reversed_order(order: Order) -> Order:
    """The other order."""
    return BY_UNITS if order == BY_ROWS else BY_ROWS


def base(tensor: Tensor) -> tuple[Tensor, bool]:
    """What a tensor is a transpose of, and whether it is one."""
    if isinstance(tensor.operation, op.Transpose):
        return tensor.inputs[0], True
    return tensor, False


# A column, and the axes whose elements have been taken of it, outermost first.
Place = tuple[str, tuple[int, ...]]


@dataclass
class Loop:
    """A `list_transform` that is being built, over one axis of the result."""

    axis: int
    driver: Place | None = None
    uses_place: bool = False


@dataclass
class Kernel:
    """The loops around a point, and what is read there."""

    columns: Columns
    loops: list[Loop]
    reads: list[Place] = field(default_factory=list)

    def place(self, axis: int) -> Expression | None:
        """The 1-based place along an axis, or None if no loop runs over it."""
        for loop in self.loops:
            if loop.axis == axis:
                loop.uses_place = True
                return exp.to_identifier(PLACES[axis], quoted=True)
        return None

    def walk(self, name: str, path: tuple[int, ...]) -> Expression:
        """The part of a column that the loops have reached along a path of axes."""
        for depth in range(len(path), 0, -1):
            for loop in self.loops:
                if loop.driver == (name, path[: depth - 1]) and loop.axis == path[depth - 1]:
                    element: Expression = exp.to_identifier(ELEMENTS[loop.axis], quoted=True)
                    return self.indexed(element, path[depth:])
        return self.indexed(self.columns.read(name), path)

    def indexed(self, expression: Expression, path: tuple[int, ...]) -> Expression:
        for axis in path:
            place = self.place(axis)
            assert place is not None
            expression = element_of(expression, place)
        return expression

    def access(self, tensor: Tensor, *, keep: int | None = None) -> Expression:
        """A tensor at the current point, or its list along the axis `keep`."""
        root, flipped = base(tensor)
        # The order that fits the loops, as the tensor's axes and then as its base's.
        axes = [loop.axis for loop in self.loops]
        order = BY_UNITS if axes == [1, 0] else BY_ROWS
        if keep is not None:
            order = (1 - keep, keep)
        key = Key(root, reversed_order(order) if flipped else order)
        if 1 in root.shape:
            key = Key(root, BY_ROWS)
        elif keep is None and not self.columns.exists(key):
            other = Key(root, reversed_order(key.order))
            key = other if self.columns.exists(other) else key
        path = []
        for axis in key.order:
            seen_as = 1 - axis if flipped else axis
            if self.columns.is_list(root.shape[axis]) and seen_as != keep and seen_as in axes:
                path.append(seen_as)
        name = self.columns.name_of(key)
        self.reads.append((name, tuple(path)))
        return self.walk(name, tuple(path))

    def point(self, tensor: Tensor) -> Expression:
        """The value of a tensor at the current point, fused in or read from its column."""
        root, _ = base(tensor)
        return self.access(tensor) if self.columns.has_column(root) else self.compute(tensor)

    def compute(self, tensor: Tensor) -> Expression:
        """The value of an operation at the current point."""
        operation, inputs = tensor.operation, tensor.inputs
        if isinstance(operation, op.Elementwise):
            return scalar(operation, *(self.point(part) for part in inputs))
        rule = RULES.get(type(operation))
        if rule is None:
            raise op.ShapeError(f"{operation} has no SQL in the arrays layout.")
        return rule(self, tensor)

    def drive(self) -> None:
        """Choose a driver for each loop among what was read."""
        reached: tuple[int, ...] = ()
        outer: Loop | None = None
        for loop in self.loops:
            reached = (*reached, loop.axis)
            onward = [(name, reached[:-1]) for name, path in self.reads if path[: len(reached)] == reached]
            afresh = [(name, ()) for name, path in self.reads if path[:1] == (loop.axis,)]
            # Going on within the column that drives the loop outside saves an index.
            same = [place for place in onward if outer and outer.driver and place[0] == outer.driver[0]]
            loop.driver = next(iter([*same, *onward, *afresh]), None)
            loop.uses_place = False
            outer = loop

    def wrap(self, body: Expression, shape: tuple[Extent, Extent]) -> Expression:
        """The loops around a body, from the inside out."""
        loops = self.loops
        for depth in range(len(loops) - 1, -1, -1):
            loop, self.loops = loops[depth], loops[:depth]
            if loop.driver is None:
                end = exp.Add(this=self.columns.length(shape[loop.axis]), expression=integer(1))
                over: Expression = exp.Anonymous(this="range", expressions=[integer(1), end])
                parameters = [PLACES[loop.axis]]
            else:
                over = self.walk(*loop.driver)
                parameters = [ELEMENTS[loop.axis], *([PLACES[loop.axis]] if loop.uses_place else [])]
            names = [exp.to_identifier(name, quoted=True) for name in parameters]
            function = exp.Lambda(this=body, expressions=names)
            body = exp.Anonymous(this="list_transform", expressions=[over, function])
        self.loops = loops
        return body


def kernel(
    columns: Columns, tensor: Tensor, order: Order, point: Callable[[Kernel], Expression]
) -> Expression:
    """The loops of a result of the tensor's shape, around what `point` gives inside them."""
    axes = [axis for axis in order if columns.is_list(tensor.shape[axis])]
    # The first pass finds what is read, the second writes the body with drivers chosen from it.
    draft = Kernel(columns, [Loop(axis) for axis in axes])
    point(draft)
    final = Kernel(columns, [Loop(axis) for axis in axes], draft.reads)
    final.drive()
    return final.wrap(point(final), tensor.shape)


def element_of(expression: Expression, place: Expression) -> Expression:
    """An element of a list, by its 1-based place."""
    # `offset` keeps sqlglot from shifting the place, which counts from 1 already.
    return exp.Bracket(this=expression, expressions=[place], offset=1)


def constant(_: Kernel, tensor: Tensor) -> Expression:
    assert isinstance(tensor.operation, op.Constant)
    return number(tensor.operation.value)


def counted(kernel: Kernel, tensor: Tensor) -> Expression:
    """0, 1, ... along the axis that the operation counts."""
    of_units = isinstance(tensor.operation, op.Range)
    place = kernel.place(1 if of_units else 0)
    if place is None:
        return number(0.0)
    from_0 = exp.Sub(this=place, expression=integer(1))
    first = None if of_units else kernel.columns.first_row()
    return cast(from_0 if first is None else exp.Add(this=from_0, expression=first), "double")


def size(kernel: Kernel, tensor: Tensor) -> Expression:
    assert isinstance(tensor.operation, op.Size)
    return cast(kernel.columns.size(tensor.inputs[0].shape[tensor.operation.axis]), "double")


def broadcast(kernel: Kernel, tensor: Tensor) -> Expression:
    return kernel.point(tensor.inputs[0])


def matmul(kernel: Kernel, tensor: Tensor) -> Expression:
    left, right = tensor.inputs
    lines = kernel.access(left, keep=1), kernel.access(right, keep=0)
    if not kernel.columns.is_list(left.shape[1]):
        return exp.Mul(this=lines[0], expression=lines[1])
    return call("list_inner_product", *lines)


def sum_(kernel: Kernel, tensor: Tensor) -> Expression:
    assert isinstance(tensor.operation, op.Sum)
    (part,), axis = tensor.inputs, tensor.operation.axis
    picked = pick_of(tensor)
    if picked is not None and not kernel.columns.has_column(part):
        index, values = picked
        entry = exp.Add(this=cast(kernel.point(index), "bigint"), expression=integer(1))
        return element_of(kernel.access(values, keep=axis), entry)
    if not kernel.columns.has_column(base(part)[0]):
        # A product that nobody else reads: its sum is an inner product.
        return call("list_inner_product", *(kernel.access(factor, keep=axis) for factor in part.inputs))
    return call("list_sum", kernel.access(part, keep=axis))


def max_(kernel: Kernel, tensor: Tensor) -> Expression:
    assert isinstance(tensor.operation, op.Max)
    return call("list_max", kernel.access(tensor.inputs[0], keep=tensor.operation.axis))


def gather(kernel: Kernel, tensor: Tensor) -> Expression:
    table, entries = tensor.inputs
    entry = exp.Add(this=cast(kernel.access(entries), "bigint"), expression=integer(1))
    # By units: the list of a unit's values for all entries, then the entry's.
    name = kernel.columns.name_of(Key(table, BY_ROWS if 1 in table.shape else BY_UNITS))
    path = (1,) if kernel.columns.is_list(table.shape[1]) else ()
    if not kernel.columns.is_list(table.shape[0]):
        return kernel.walk(name, path)
    if path:
        kernel.reads.append((name, path))
    return element_of(kernel.walk(name, path), entry)


RULES: dict[type[op.Operation], Callable[[Kernel, Tensor], Expression]] = {
    op.Constant: constant,
    op.Range: counted,
    op.RowNumber: counted,
    op.Size: size,
    op.Broadcast: broadcast,
    op.MatMul: matmul,
    op.Sum: sum_,
    op.Max: max_,
    op.Gather: gather,
}

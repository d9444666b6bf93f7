"""The `arrays` layout: a tensor is one SQL value, a list of lists.

A program becomes a chain of stages. A stage is a SELECT that adds columns, each the value of one
tensor, computed by nested `list_transform`s over the columns before it; elementwise operations are
fused into the lambda of whatever they follow. So the statement's size does not grow with the network's
width, and it reads like NumPy.

An axis of extent 1 has no list: a scalar is a DOUBLE, a bias a DOUBLE[]. A matrix can be laid out by
rows or by units; products contract the inner lists of both operands (`list_inner_product`), so what is
multiplied is laid out along the contracted axis, and the result is written in the order that its
reader wants. Matrices of the state are always laid out by units (their second axis), the order in
which the forward pass reads weights.

For prediction the batch axis can be the rows of the relation instead: then each row's tensors are
values of that row, and nothing may be summed over the batch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from sqlglot import exp

from selectron.layouts.base import BATCH_ROWS
from selectron.layouts.kernels import (
    BY_ROWS,
    BY_UNITS,
    Key,
    Order,
    base,
    element_of,
    kernel,
    reversed_order,
)
from selectron.layouts.scalars import REPEATING, scalar
from selectron.layouts.stages import Stage, leveled
from selectron.program import operations as op
from selectron.program.expansion import without_scatter
from selectron.program.patterns import is_aggregate, pick_of
from selectron.program.program import Program
from selectron.program.tensor import BATCH, Extent, Shape, Tensor
from selectron.sql import call, column, integer, number, quoted

__all__ = [
    "BEFORE",
    "BY_ROWS",
    "BY_UNITS",
    "FIRST_ROW",
    "ROWS",
    "Aggregate",
    "Lowered",
    "entries_column",
    "input_column",
    "lower",
    "offered_orders",
]

Expression = exp.Expr


@dataclass(frozen=True)
class Aggregate:
    """A sum over the rows of a batch, or the greatest of them: lists `depth` deep, 0 for a number."""

    depth: int
    is_greatest: bool


@dataclass(frozen=True)
class Lowered:
    """A program as stages, and its outputs as expressions over what the last one gives.

    `inputs` are the columns that the first stage must be given. `aggregates` are the columns that sum over
    rows, if they were to be kept apart.
    """

    stages: tuple[Stage, ...]
    outputs: Mapping[str, Expression]
    inputs: frozenset[str]
    aggregates: Mapping[str, Aggregate] = field(default_factory=dict)


def offered_orders(shape: Shape) -> tuple[Order, ...]:
    """The orders in which an input is there: a batch's matrices in both, the state's by units.

    >>> offered_orders(("batch", 3)), offered_orders((3, 2))
    (((0, 1), (1, 0)), ((1, 0),))
    """
    if 1 in shape:
        return (BY_ROWS,)
    return (BY_ROWS, BY_UNITS) if shape[0] == BATCH else (BY_UNITS,)


def input_column(name: str, shape: Shape, order: Order) -> str:
    """The column that holds an input in an order.

    >>> input_column("features", ("batch", 3), BY_UNITS)
    'features by unit'
    """
    return name if order == offered_orders(shape)[0] else f"{name} by unit"


# Of an entry that some rows of a batch name: how many come after the one before it, and the rows' places.
BEFORE: Final = "before"
ROWS: Final = "rows"
# The place in its batch of the first row of a part.
FIRST_ROW: Final = "first row"


def entries_column(name: str) -> str:
    """The column that holds the batch's rows by the entry that an index names.

    >>> entries_column("index: island")
    'index: island by entry'
    """
    return f"{name} by entry"


def is_by_entry(tensor: Tensor) -> bool:
    """Whether a tensor is a sum by an index that the batch holds by entry."""
    if not isinstance(tensor.operation, op.Scatter):
        return False
    index = tensor.inputs[1]
    return isinstance(index.operation, op.Input) and index.shape[0] == BATCH


class Lowering:
    """Lowers one program. Made for one use; :func:`lower` is its face."""

    def __init__(self, program: Program, *, batch_in_rows: bool, in_parts: bool) -> None:
        self.program = program
        self.batch_in_rows = batch_in_rows
        self.in_parts = in_parts
        self.aggregates: dict[str, Aggregate] = {}
        self.tensors = program.tensors()
        self.roots = {base(tensor)[0] for tensor in program.outputs.values()}
        self.named = self.choose_named()
        self.names: dict[Key, str] = {}
        self.made: list[tuple[str, Expression]] = []
        self.inputs: set[str] = set()
        self.taken = Counter(program.inputs.keys())

    # What becomes a column -------------------------------------------------------------------

    def choose_named(self) -> set[Tensor]:
        """Tensors that get a column of their own; the others are fused into their only reader."""
        readers: Counter[Tensor] = Counter()
        named = set(self.roots)
        for tensor in self.tensors:
            if isinstance(tensor.operation, (op.Size, op.RowNumber)):
                continue
            readers.update(tensor.inputs)
            for dependency in tensor.inputs:
                if not self.fuses(tensor, dependency):
                    named.add(base(dependency)[0])
        named |= {tensor for tensor, count in readers.items() if count > 1 and not is_cheap(tensor)}
        if self.in_parts:
            named |= {tensor for tensor in self.tensors if is_aggregate(tensor)}
        return {tensor for tensor in named if not isinstance(tensor.operation, (*FREE, op.Transpose))}

    def fuses(self, reader: Tensor, dependency: Tensor) -> bool:
        """Whether a tensor can be computed inside its reader's loops."""
        if type(reader.operation) in REPEATING or isinstance(dependency.operation, op.Scatter):
            return False
        if isinstance(reader.operation, (op.Elementwise, op.Broadcast)):
            # A smaller tensor would be computed again for every element that it is broadcast to.
            return self.lists(reader) == self.lists(dependency)
        if pick_of(reader) is not None:
            return True
        if isinstance(reader.operation, op.Sum) and isinstance(dependency.operation, op.Multiply):
            # The sum of a product is an inner product, if both sides are lists of that length.
            factors = dependency.inputs
            columns = all(
                base(factor)[0] in self.roots or not isinstance(factor.operation, FREE[:-1])
                for factor in factors
            )
            return columns and all(self.lists(factor) == self.lists(dependency) for factor in factors)
        return False

    def lists(self, tensor: Tensor) -> tuple[bool, bool]:
        """For each axis, whether it is a list."""
        return self.is_list(tensor.shape[0]), self.is_list(tensor.shape[1])

    def is_list(self, extent: Extent) -> bool:
        return extent != 1 and not (extent == BATCH and self.batch_in_rows)

    def has_column(self, tensor: Tensor) -> bool:
        return tensor in self.named or isinstance(tensor.operation, op.Input)

    # Columns ---------------------------------------------------------------------------------

    def exists(self, key: Key) -> bool:
        return key in self.names or self.is_offered(key)

    def is_offered(self, key: Key) -> bool:
        """Whether the order is one in which an input is there."""
        return isinstance(key.tensor.operation, op.Input) and key.order in offered_orders(key.tensor.shape)

    def name_of(self, key: Key) -> str:
        if key not in self.names:
            operation = key.tensor.operation
            if isinstance(operation, op.Input) and self.is_offered(key):
                name = input_column(operation.name, key.tensor.shape, key.order)
                self.names[key] = name
                self.inputs.add(name)
            else:
                self.make(key)
        return self.names[key]

    def make(self, key: Key) -> None:
        """Add a column, after those that it reads."""
        other = Key(key.tensor, reversed_order(key.order))
        if self.exists(other):
            expression = kernel(self, key.tensor, key.order, lambda inside: inside.access(key.tensor))
        else:
            expression = self.whole(key.tensor, key.order)
        label = self.program.labels.get(key.tensor) or spoken(key.tensor)
        if self.exists(other):
            label = f"{label} by {'unit' if key.order == BY_UNITS else 'row'}"
        self.taken[label] += 1
        name = label if self.taken[label] == 1 else f"{label} {self.taken[label]}"
        if self.in_parts and is_aggregate(key.tensor) and not self.exists(other):
            depth = sum(self.lists(key.tensor))
            self.aggregates[name] = Aggregate(depth, isinstance(key.tensor.operation, op.Max))
        self.names[key] = name
        self.made.append((name, expression))

    def read(self, name: str) -> Expression:
        return column(name)

    def length(self, extent: Extent) -> Expression:
        if isinstance(extent, int):
            return integer(extent)
        for name, shape in self.program.inputs.items():
            if shape[0] == extent:
                key = Key(op.input_(name, shape), BY_ROWS)
                return exp.Anonymous(this="len", expressions=[self.read(self.name_of(key))])
        raise op.ShapeError("A program with a batch axis needs an input that has it.")

    def size(self, extent: Extent) -> Expression:
        """How long an axis is in the whole batch."""
        if self.in_parts and extent == BATCH:
            return self.given(BATCH_ROWS)
        return self.length(extent)

    def first_row(self) -> Expression | None:
        """The place in the batch of the first row that there is; None if that is 0."""
        return self.given(FIRST_ROW) if self.in_parts else None

    def given(self, name: str) -> Expression:
        """A number of the batch."""
        self.inputs.add(name)
        return self.read(name)

    # Values ----------------------------------------------------------------------------------

    def whole(self, tensor: Tensor, order: Order) -> Expression:
        """The value of a tensor in an order."""
        if isinstance(tensor.operation, op.Where) and not any(self.lists(tensor.inputs[0])):
            # A choice between whole values is made once, outside the loops.
            condition, then, otherwise = tensor.inputs
            return scalar(
                tensor.operation,
                kernel(self, condition, BY_ROWS, lambda inside: inside.point(condition)),
                self.side(then, tensor, order),
                self.side(otherwise, tensor, order),
            )
        if isinstance(tensor.operation, op.Scatter):
            return self.scattered(tensor)
        return kernel(self, tensor, order, lambda inside: inside.compute(tensor))

    def scattered(self, tensor: Tensor) -> Expression:
        """The sums of the entries that the batch has, with zeros between them: work for each row of the batch
        and for each number of the result, not for each pair of these.
        """
        (root, flipped), index = base(tensor.inputs[0]), tensor.inputs[1]
        assert isinstance(index.operation, op.Input)
        name = entries_column(index.operation.name)
        self.inputs.add(name)
        units = 1 in root.shape or flipped
        values = self.read(self.name_of(Key(root, BY_ROWS if units else BY_UNITS)))
        entry, row, unit = (quoted(own) for own in ("entry", "i", "unit"))
        is_list = self.is_list(tensor.shape[1])
        line = unit if is_list else values
        own = call(
            "list_transform",
            exp.Dot(this=entry.copy(), expression=quoted(ROWS)),
            exp.Lambda(this=element_of(line, row.copy()), expressions=[row]),
        )
        empty = exp.cast(exp.Array(expressions=[]), "double[]", dialect="duckdb")
        skipped = call(
            "list_resize", empty, exp.Dot(this=entry.copy(), expression=quoted(BEFORE)), number(0.0)
        )
        part = call("list_append", skipped, call("list_sum", own))
        parts = call("list_transform", self.read(name), exp.Lambda(this=part, expressions=[entry]))
        whole = call("list_resize", call("flatten", parts), integer(int(tensor.shape[0])), number(0.0))
        if not is_list:
            return whole
        return call("list_transform", values, exp.Lambda(this=whole, expressions=[unit.copy()]))

    def side(self, tensor: Tensor, whole: Tensor, order: Order) -> Expression:
        """One side of a choice, of the shape and in the order of the whole."""
        root, flipped = base(tensor)
        if not flipped and self.lists(root) == self.lists(whole):
            if not self.has_column(root):
                return self.whole(root, order)
            key = Key(root, BY_ROWS if 1 in root.shape else order)
            if self.exists(key):
                return self.read(self.name_of(key))
        return kernel(self, whole, order, lambda inside: inside.point(tensor))

    def order_of(self, tensor: Tensor) -> Order:
        """The order in which a tensor is first computed: the one that a product or a sum will read."""
        if 1 in tensor.shape:
            return BY_ROWS
        natural = BY_ROWS if BATCH in tensor.shape else BY_UNITS
        if tensor in self.roots or isinstance(tensor.operation, op.Scatter):
            return natural
        wanted = {
            reversed_order((1 - axis, axis)) if base(part)[1] else (1 - axis, axis)
            for reader in self.tensors
            for part, axis in contracted(reader)
            if base(part)[0] is tensor
        }
        return natural if natural in wanted or not wanted else next(iter(wanted))

    def run(self) -> Lowered:
        """Make every column, then sort them into stages."""
        for tensor in self.tensors:
            if tensor in self.named:
                self.name_of(Key(tensor, self.order_of(tensor)))
        outputs: dict[str, Expression] = {}
        for name, tensor in self.program.outputs.items():
            root, flipped = base(tensor)
            if self.has_column(root):
                order = self.order_of(root) if root in self.named else offered_orders(root.shape)[0]
                outputs[name] = self.read(
                    self.name_of(Key(root, reversed_order(order) if flipped else order))
                )
            else:
                outputs[name] = self.whole(tensor, BY_ROWS)
        return Lowered(leveled(self.made), outputs, frozenset(self.inputs), self.aggregates)


# Operations that cost nothing to write down wherever they are read; inputs are columns already.
FREE = (op.Constant, op.Range, op.Size, op.RowNumber, op.Input)


def is_cheap(tensor: Tensor) -> bool:
    """Whether computing a tensor again costs no more than reading it: a comparison with a place."""
    return isinstance(tensor.operation, op.Comparison) and all(
        isinstance(part.operation, FREE) for part in tensor.inputs
    )


def contracted(reader: Tensor) -> list[tuple[Tensor, int]]:
    """The inputs that an operation reads as lists, with the axis of the list."""
    operation = reader.operation
    if isinstance(operation, op.MatMul):
        return [(reader.inputs[0], 1), (reader.inputs[1], 0)]
    if isinstance(operation, op.Scatter):
        return [(reader.inputs[0], 0)]
    if isinstance(operation, (op.Sum, op.Max)):
        picked = pick_of(reader)
        return [(reader.inputs[0] if picked is None else picked[1], operation.axis)]
    return []


def spoken(tensor: Tensor) -> str:
    """What to call a tensor that has no label."""
    return type(tensor.operation).__name__.lower()


def lower(program: Program, *, batch_in_rows: bool = False, in_parts: bool = False) -> Lowered:
    """A program as SQL stages over lists.

    Parameters
    ----------
    program
        What to compute.
    batch_in_rows
        Whether each row of the relation is a row of the batch; else a batch is one value.
    in_parts
        Whether the lists have the rows of a part of the batch, so that what aggregates over them is a column
        of its own.

    Examples
    --------
    >>> from selectron.program.operations import input_, matmul, tanh
    >>> x, w = input_("x", ("batch", 3)), input_("w", (3, 2))
    >>> lower(Program({"y": tanh(matmul(x, w))})).stages[0].columns[0][1].sql("duckdb")
    'LIST_TRANSFORM("x", LAMBDA "row" : LIST_TRANSFORM("w", LAMBDA "unit" :
     TANH(LIST_INNER_PRODUCT("row", "unit"))))'
    """
    own = without_scatter(program, unless=lambda tensor: is_by_entry(tensor) and not batch_in_rows)
    return Lowering(own, batch_in_rows=batch_in_rows, in_parts=in_parts).run()

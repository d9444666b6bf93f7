"""The `vectors` layout: contractions are inner products of pgvector, all else is numbers.

The state is one row: a tensor that is no number is a list of doubles, its units one after another. A batch is
rows with a column for each unit. What is contracted is packed into vectors: a row's units for a product with
weights, whose units are vectors too; a unit's values for all rows of the batch for a product over the batch,
as where weights get their gradient. So the statement grows with the units, not with the weights, and what a
step keeps has double precision: only the factors of products are single.

A program becomes the phases of the `columns` layout: stages over the one row, stages over the rows of the
batch beside it, sums over these rows, with which the next phase begins.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from sqlglot import exp

from selectron.layouts.base import BATCH_NUMBER, BATCH_ROWS, ROW_IN_BATCH
from selectron.layouts.columns import (
    INLINE,
    MOST_DEPTH,
    Lowered,
    Phase,
    greatest,
    in_order,
    read_inputs,
)
from selectron.layouts.placing import cells, element_name, extent_of
from selectron.layouts.scalars import REPEATING, scalar
from selectron.layouts.vectors_lists import (
    PLACE,
    Scan,
    array_of,
    clamped,
    joined,
    vector,
)
from selectron.program import operations as op
from selectron.program.expansion import without_scatter
from selectron.program.program import Program
from selectron.program.tensor import BATCH, Tensor
from selectron.sql import balanced, call, cast, column, integer, number, quoted

__all__ = [
    "INPUT",
    "MOST_DIMENSIONS",
    "UNIT",
    "UNITS",
    "VALUES",
    "Placed",
    "lower",
    "packed_name",
]

Expression = exp.Expr

# A vector has no more; a batch no more rows.
MOST_DIMENSIONS: Final = 16_000
# Rows that are longer than 2 KB are stored elsewhere: read once, not by every product.
MOST_IN_PLACE: Final = 480
# The table of a batch's inputs by unit, vectors over its rows; its column of units, and of vectors.
UNITS: Final = "selectron_vectors"
UNIT: Final = "unit"
VALUES: Final = "values"
INPUT: Final = "input"
# The number of the batch, as the first relation of a step calls it.
TURN: Final = "turn"


@dataclass(frozen=True)
class Placed:
    """A program as phases, and how the batch's inputs are read.

    `elements` have a column for each unit, `packed` a vector for each row, `turned` a vector for each unit.
    """

    lowered: Lowered
    elements: frozenset[str]
    packed: frozenset[str]
    turned: frozenset[str]


def packed_name(name: str) -> str:
    """The column of an input's rows as vectors.

    >>> packed_name("features")
    'features packed'
    """
    return f"{name} packed"


class Kind(Enum):
    """What a column, or a column for each unit, holds of a tensor."""

    VALUE = "value"
    PACKED = "packed"  # a row's units as a vector
    GATHERED = "gathered"  # a unit's values for all rows of the batch as a vector
    BY_UNIT = "by unit"  # of the one row, a list of what vectors take
    BY_ROW = "by row"  # likewise, its rows after one another
    UNITS = "units"  # of the one row, each unit as a vector
    LINES = "rows"  # of the one row, each row as a vector
    NUMBERS = "numbers"  # of the one row, each number of a list on its own
    WHOLE = "whole"  # of the one row, a list as it is, which rows read by place


class Chain(Enum):
    """Where columns are made: in the one row, in the rows of the batch, or by sums over these."""

    ONCE = "once"
    ROWS = "rows"
    SUMS = "sums"


Key = tuple[Kind, Tensor]


@dataclass(frozen=True)
class Made:
    """Columns that there are, and where."""

    names: tuple[str, ...]
    chain: Chain
    phase: int
    level: int

    @property
    def ready(self) -> int:
        """The first phase that can read them."""
        return self.phase + (self.chain is Chain.SUMS)


def is_of_rows(tensor: Tensor) -> bool:
    return tensor.shape[0] == BATCH


def is_list(tensor: Tensor) -> bool:
    """Whether a tensor of the one row is a list."""
    return BATCH not in tensor.shape and tensor.shape != (1, 1)


def sums_rows(tensor: Tensor) -> bool:
    """Whether a tensor is an aggregate over the rows of the batch, as numbers."""
    operation = tensor.operation
    if isinstance(operation, (op.Sum, op.Max)):
        return tensor.inputs[0].shape[operation.axis] == BATCH
    return isinstance(operation, op.MatMul) and tensor.inputs[0].shape == (1, BATCH)


def chain_of(key: Key) -> Chain:
    kind, tensor = key
    if kind is Kind.GATHERED or (kind is Kind.VALUE and sums_rows(tensor)):
        return Chain.SUMS
    return Chain.ROWS if is_of_rows(tensor) else Chain.ONCE


def untransposed(tensor: Tensor) -> tuple[Tensor, bool]:
    """What a tensor is a transpose of, and whether it is one."""
    if isinstance(tensor.operation, op.Transpose):
        return tensor.inputs[0], True
    return tensor, False


def merges(reader: Tensor, part: Tensor) -> bool:
    """Whether a sum of sums is one sum over a list."""
    return (
        reader.shape == (1, 1)
        and type(reader.operation) is type(part.operation)
        and isinstance(part.operation, (op.Sum, op.Max))
        and is_list(part.inputs[0])
    )


class Lowering:
    """Lowers one program. Made for one use; :func:`lower` is its face."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.tensors = program.computed(read_inputs)
        self.named = self.choose_named()
        self.cut_depth()
        self.made: dict[Key, Made] = {}
        self.columns: list[tuple[Made, list[tuple[str, Expression]]]] = []
        self.reads: set[Key] = set()
        self.taken = Counter(program.inputs.keys())
        self.elements: set[str] = set()
        self.packed: set[str] = set()
        self.turned: set[str] = set()

    # What becomes a column --------------------------------------------------------------------

    def choose_named(self) -> set[Tensor]:
        """Tensors that get columns of their own; the others are written into their only reader."""
        uses: Counter[Tensor] = Counter(self.program.outputs.values())
        in_rows: set[Tensor] = set()
        whole: set[Tensor] = set()
        merged: set[Tensor] = set()
        named: set[Tensor] = set()
        for tensor in reversed(self.tensors):
            operation, inputs = tensor.operation, read_inputs(tensor)
            of_rows = is_of_rows(tensor)
            reduces = isinstance(operation, (op.Sum, op.Max)) and not of_rows
            if not isinstance(operation, INLINE) and (
                isinstance(operation, op.MatMul)
                or (reduces and not (tensor in merged and uses[tensor] == 1))
                or uses[tensor] > 1
                or tensor in whole
                or (tensor in in_rows and not of_rows)
            ):
                named.add(tensor)
            is_named = tensor in named
            read_in_rows = of_rows or sums_rows(tensor) or (tensor in in_rows and not is_named)
            for place, part in enumerate(inputs):
                uses[part] += reads(tensor, place) * (1 if is_named else max(1, uses[tensor]))
                if read_in_rows:
                    in_rows.add(part)
                if merges(tensor, part):
                    merged.add(part)
                if isinstance(operation, (op.MatMul, op.Gather)) and not is_of_rows(untransposed(part)[0]):
                    whole.add(untransposed(part)[0])
        return named

    def cut_depth(self) -> None:
        """Name tensors on the way where expressions would become too deep."""
        depth: dict[Tensor, int] = {}
        for tensor in self.tensors:
            parts = read_inputs(tensor)
            below = max((0 if part in self.named else depth[part] for part in parts), default=0)
            width = 0
            if isinstance(tensor.operation, (op.Sum, op.Max)) and tensor.operation.axis == 1:
                width = extent_of(parts[0].shape, 1).bit_length()
            depth[tensor] = below + 1 + width
            if depth[tensor] > MOST_DEPTH and not isinstance(tensor.operation, INLINE):
                self.named.add(tensor)

    def has_column(self, tensor: Tensor) -> bool:
        return tensor in self.named or isinstance(tensor.operation, op.Input)

    # Columns ----------------------------------------------------------------------------------

    def names(self, kind: Kind, tensor: Tensor) -> tuple[str, ...]:
        """The columns of what is asked for, made if there are none yet."""
        key = kind, tensor
        if key not in self.made:
            self.make(key)
        self.reads.add(key)
        return self.made[key].names

    def make(self, key: Key) -> None:
        kind, tensor = key
        if kind is Kind.VALUE and isinstance(tensor.operation, op.Input):
            self.made[key] = Made((tensor.operation.name,), Chain.ONCE, phase=0, level=0)
            return
        chain = chain_of(key)
        outside, self.reads = self.reads, set()
        values = MAKERS[kind](self, tensor)
        read = [self.made[part] for part in self.reads]
        phase = max((part.ready for part in read), default=0)
        same = (part.level for part in read if (part.chain, part.phase) == (chain, phase))
        level = 1 + max(same, default=0)
        self.reads = outside
        label = self.label(tensor) if kind is Kind.VALUE else f"{self.label(tensor)} {kind.value}"
        self.taken[label] += 1
        name = label if self.taken[label] == 1 else f"{label} {self.taken[label]}"
        names = tuple(element_name(name, (1, len(values)), 0, unit) for unit in range(len(values)))
        self.made[key] = Made(names, chain, phase, level)
        self.columns.append((self.made[key], list(zip(names, values, strict=True))))

    def label(self, tensor: Tensor) -> str:
        if isinstance(tensor.operation, op.Input):
            return tensor.operation.name
        return self.program.labels.get(tensor) or type(tensor.operation).__name__.lower()

    def value(self, tensor: Tensor) -> list[Expression]:
        """A tensor: of rows, a number for each unit; else one number or list."""
        units = extent_of(tensor.shape, 1)
        if is_of_rows(tensor):
            if self.by_vectors(tensor):
                return self.products(tensor)
            return [self.computed(tensor, unit) for unit in range(units)]
        if sums_rows(tensor):
            found = [self.aggregate(tensor, unit) for unit in range(units)]
            return found if units == 1 else [exp.Array(expressions=found)]
        return [self.alone(tensor)]

    def alone(self, tensor: Tensor) -> Expression:
        """A tensor of the one row, computed."""
        if isinstance(tensor.operation, op.MatMul):
            return self.product_over_rows(tensor)
        if isinstance(tensor.operation, (op.Sum, op.Max)):
            return self.reduction(tensor)
        if tensor.shape == (1, 1):
            return self.computed(tensor, 0)
        scan = Scan(tensor.shape)
        return array_of(scan.select([self.scanned(scan, tensor, inside=False)]))

    # Numbers ----------------------------------------------------------------------------------

    def element(self, tensor: Tensor, unit: int) -> Expression:
        """A unit of a tensor, of its own or of one that it is broadcast to, in a row or in the one row."""
        unit = min(unit, extent_of(tensor.shape, 1) - 1)
        operation = tensor.operation
        if isinstance(operation, op.Input):
            if is_of_rows(tensor):
                self.elements.add(operation.name)
                return column(element_name(operation.name, tensor.shape, 0, unit))
            if tensor.shape == (1, 1):
                return column(operation.name)
            return column(self.names(Kind.NUMBERS, tensor)[unit])
        if tensor in self.named:
            kind = Kind.NUMBERS if is_list(tensor) else Kind.VALUE
            return column(self.names(kind, tensor)[unit])
        return self.computed(tensor, unit)

    def computed(self, tensor: Tensor, unit: int) -> Expression:
        """A unit of a tensor that has no column."""
        operation, inputs = tensor.operation, tensor.inputs
        if isinstance(operation, op.Elementwise):
            return scalar(operation, *(self.element(part, unit) for part in inputs))
        if isinstance(operation, op.Broadcast):
            return self.element(inputs[0], unit)
        if isinstance(operation, (op.Constant, op.Range)):
            return number(operation.value if isinstance(operation, op.Constant) else float(unit))
        if isinstance(operation, (op.Size, op.RowNumber)):
            return column(BATCH_ROWS if isinstance(operation, op.Size) else ROW_IN_BATCH)
        if isinstance(operation, (op.Sum, op.Max)) and operation.axis == 1:
            values = [self.element(inputs[0], k) for k in range(extent_of(inputs[0].shape, 1))]
            return balanced(values) if isinstance(operation, op.Sum) else greatest(values)
        if isinstance(operation, op.Gather):
            return self.gathered(inputs[0], inputs[1], unit)
        if isinstance(operation, op.MatMul):
            (right, _), left = untransposed(inputs[1]), inputs[0]
            return scalar(op.Multiply(), self.element(left, 0), self.flat(right, unit))
        raise unknown(tensor)

    def flat(self, tensor: Tensor, place: int) -> Expression:
        """A number of a list, or the number."""
        if tensor.shape == (1, 1):
            return self.element(tensor, 0)
        return column(self.names(Kind.NUMBERS, tensor)[place])

    def gathered(self, table: Tensor, index: Tensor, unit: int) -> Expression:
        if table.shape == (1, 1):
            return self.element(table, 0)
        entry = cast(self.element(index, 0), "bigint")
        place = exp.Add(this=entry, expression=integer(unit * int(table.shape[0]) + 1))
        (name,) = self.names(Kind.WHOLE, table)
        return exp.Bracket(this=column(name), expressions=[place], offset=1)

    def aggregate(self, tensor: Tensor, unit: int) -> Expression:
        """A sum or maximum over the rows of the batch."""
        operation, inputs = tensor.operation, tensor.inputs
        if isinstance(operation, op.MatMul):
            factors = self.element(untransposed(inputs[0])[0], 0), self.element(inputs[1], unit)
            return exp.Sum(this=scalar(op.Multiply(), *factors))
        aggregate = exp.Sum if isinstance(operation, op.Sum) else exp.Max
        return aggregate(this=self.element(inputs[0], unit))

    # Lists ------------------------------------------------------------------------------------

    def scanned(self, scan: Scan, tensor: Tensor, *, inside: bool = True) -> Expression:
        """The element of a list where the scan is; `inside` of another, or to be computed itself."""
        operation, inputs = tensor.operation, tensor.inputs
        if tensor.shape == (1, 1):
            return self.element(tensor, 0)
        if inside and self.has_column(tensor):
            (name,) = self.names(Kind.VALUE, tensor)
            if tensor.shape == scan.shape:
                return scan.element(name)
            place = scan.unit if tensor.shape[0] == 1 else scan.row
            place = exp.Add(this=exp.paren(place, copy=False), expression=integer(1))
            return exp.Bracket(this=column(name), expressions=[place], offset=1)
        if isinstance(operation, op.Elementwise):
            return scalar(operation, *(self.scanned(scan, part) for part in inputs))
        if isinstance(operation, op.Broadcast):
            return self.scanned(scan, inputs[0])
        if isinstance(operation, op.Range):
            return cast(scan.unit, "double")
        if isinstance(operation, op.RowNumber):
            return cast(scan.row, "double")
        raise unknown(tensor)

    def reduction(self, tensor: Tensor) -> Expression:
        """A sum or maximum along an axis of a list, or over all of it."""
        operation, (part,) = tensor.operation, tensor.inputs
        assert isinstance(operation, (op.Sum, op.Max))
        aggregate = exp.Sum if isinstance(operation, op.Sum) else exp.Max
        if merges(tensor, part) and part not in self.named:
            part = part.inputs[0]
        scan = Scan(part.shape)
        total = aggregate(this=self.scanned(scan, part))
        if tensor.shape == (1, 1):
            return exp.Subquery(this=scan.select([total]))
        group = scan.unit if operation.axis == 0 else scan.row
        sums = scan.select(
            [exp.alias_(group, "group", quoted=True), exp.alias_(total, "total", quoted=True)]
        ).group_by(group.copy(), copy=False)
        ordered = exp.Select(expressions=[column("total")]).from_(
            sums.subquery("sums", copy=False), copy=False
        )
        return array_of(ordered.order_by(column("group"), copy=False))

    # Products ---------------------------------------------------------------------------------

    def by_vectors(self, tensor: Tensor) -> bool:
        """Whether a tensor of rows is a product that contracts more than one unit."""
        return isinstance(tensor.operation, op.MatMul) and tensor.inputs[0].shape[1] != 1

    def products(self, tensor: Tensor) -> list[Expression]:
        """A row's units times weights: an inner product for each unit of the result."""
        left, (right, flipped) = tensor.inputs[0], untransposed(tensor.inputs[1])
        if BATCH in right.shape or BATCH in left.shape[1:]:
            raise unknown(tensor)
        units = extent_of(tensor.shape, 1)
        if isinstance(left.operation, op.Input) and extent_of(left.shape, 1) <= MOST_IN_PLACE:
            self.packed.add(left.operation.name)
            row = packed_name(left.operation.name)
        else:
            (row,) = self.names(Kind.PACKED, left)
        weights = self.names(Kind.LINES if flipped else Kind.UNITS, right)
        assert len(weights) == units
        return [call("inner_product", column(row), column(name)) for name in weights]

    def row_vector(self, tensor: Tensor) -> list[Expression]:
        """A row's units as a vector."""
        if isinstance(tensor.operation, op.Input):
            self.packed.add(tensor.operation.name)
            stored = column(packed_name(tensor.operation.name))
            return [call("subvector", stored, integer(1), integer(MOST_DIMENSIONS))]
        units = [clamped(self.element(tensor, unit)) for unit in range(extent_of(tensor.shape, 1))]
        return [vector(exp.Array(expressions=units))]

    def rows_of_units(self, tensor: Tensor) -> list[Expression]:
        """Each unit's values for all rows of the batch as a vector."""

        def gathered(unit: int) -> Expression:
            order = exp.Ordered(this=column(ROW_IN_BATCH), nulls_first=False)
            value = exp.Order(this=clamped(self.element(tensor, unit)), expressions=[order])
            return vector(exp.ArrayAgg(this=value))

        return [gathered(unit) for unit in range(extent_of(tensor.shape, 1))]

    def product_over_rows(self, tensor: Tensor) -> Expression:
        """A product over the batch as a list: an inner product for each unit of both sides."""
        (left, flipped), right = untransposed(tensor.inputs[0]), tensor.inputs[1]
        if not flipped or not is_of_rows(left) or not is_of_rows(right):
            raise unknown(tensor)
        if isinstance(left.operation, op.Input):
            self.turned.add(left.operation.name)
            # Read once from where it is stored, not by every product.
            values = call("subvector", column(VALUES, "units"), integer(1), integer(MOST_DIMENSIONS))
            own = exp.EQ(this=column(BATCH_NUMBER, "units"), expression=column(TURN))
            name = exp.EQ(this=column(INPUT, "units"), expression=exp.Literal.string(left.operation.name))
            lines = (
                exp.Select(
                    expressions=[
                        exp.alias_(column(UNIT, "units"), PLACE, quoted=True),
                        exp.alias_(values, "line", quoted=True),
                    ]
                )
                .from_(
                    exp.alias_(exp.table_(UNITS, quoted=True), "units", table=True, quoted=True), copy=False
                )
                .where(own, name, copy=False)
            )
            lines.set("offset", exp.Offset(expression=integer(0)))
        else:
            vectors = [column(name) for name in self.names(Kind.GATHERED, left)]
            alias = exp.TableAlias(this=quoted("units"), columns=[quoted("line")])
            unnested = exp.Unnest(
                expressions=[exp.Array(expressions=vectors)], alias=alias, offset=quoted(PLACE)
            )
            lines = exp.Select(expressions=[column(PLACE), column("line")]).from_(unnested, copy=False)
        slopes = self.names(Kind.GATHERED, right)
        products = [
            exp.alias_(call("inner_product", column("line"), column(name)), f"product {unit}", quoted=True)
            for unit, name in enumerate(slopes)
        ]
        table = exp.Select(expressions=[column(PLACE), *products])
        table = table.from_(lines.subquery("lines", copy=False), copy=False)
        table.set("offset", exp.Offset(expression=integer(0)))
        order = exp.Ordered(this=column(PLACE), nulls_first=False)
        units = [
            exp.ArrayAgg(this=exp.Order(this=column(f"product {unit}"), expressions=[order.copy()]))
            for unit in range(len(slopes))
        ]
        query = exp.Select(expressions=[joined(units)])
        return exp.Subquery(this=query.from_(table.subquery("products", copy=False), copy=False))

    def in_order_of(self, tensor: Tensor, axis: int) -> list[Expression]:
        """A list as vectors take it, units after one another if `axis` is 1, rows if it is 0."""
        (name,) = self.names(Kind.VALUE, tensor)
        scan = Scan(tensor.shape)
        query = scan.select([clamped(scan.element(name))])
        # Its own order is by units.
        return [array_of(query if axis == 1 else query.order_by(scan.row, scan.unit, copy=False))]

    def vectors(self, tensor: Tensor, axis: int) -> list[Expression]:
        """The units of a list as vectors (`axis` is 1), or its rows."""
        (name,) = self.names(Kind.BY_UNIT if axis == 1 else Kind.BY_ROW, tensor)
        length = extent_of(tensor.shape, 1 - axis)

        def part(line: int) -> Expression:
            ends = exp.Slice(this=integer(line * length + 1), expression=integer((line + 1) * length))
            return vector(exp.Bracket(this=column(name), expressions=[ends], offset=1))

        return [part(line) for line in range(extent_of(tensor.shape, axis))]

    def whole(self, tensor: Tensor) -> list[Expression]:
        """The list as it is: what is stored is read anew by each row, what is computed is not."""
        (name,) = self.names(Kind.VALUE, tensor)
        scan = Scan(tensor.shape)
        return [array_of(scan.select([scan.element(name)]))]

    def numbers(self, tensor: Tensor) -> list[Expression]:
        """Each number of a list."""
        (name,) = self.names(Kind.VALUE, tensor)
        return [
            exp.Bracket(this=column(name), expressions=[integer(place + 1)], offset=1)
            for place in range(cells(tensor.shape))
        ]

    # All of it --------------------------------------------------------------------------------

    def run(self) -> Placed:
        outputs = {name: ((name, self.output(tensor)),) for name, tensor in self.program.outputs.items()}
        last = max((made.ready for made, _ in self.columns), default=0)
        chains = {
            chain: [dict[int, list[tuple[str, Expression]]]() for _ in range(last + 1)] for chain in Chain
        }
        for made, columns in self.columns:
            chains[made.chain][made.phase].setdefault(made.level, []).extend(columns)
        phases = tuple(
            Phase(
                in_order(chains[Chain.ONCE][phase]),
                in_order(chains[Chain.ROWS][phase]),
                tuple(named for level in chains[Chain.SUMS][phase].values() for named in level),
            )
            for phase in range(last + 1)
        )
        parts = (frozenset(names) for names in (self.elements, self.packed, self.turned))
        return Placed(Lowered(phases, outputs), *parts)

    def output(self, tensor: Tensor) -> Expression:
        """A tensor of the one row as the next state has it."""
        if self.has_column(tensor):
            (name,) = self.names(Kind.VALUE, tensor)
            return column(name)
        return self.alone(tensor)


def reads(reader: Tensor, place: int) -> int:
    """How often each element of an input is read to compute all elements of the reader once."""
    operation, inputs = reader.operation, reader.inputs
    if isinstance(operation, (op.Elementwise, op.Broadcast)):
        twice = 2 if type(operation) in REPEATING else 1
        return twice * max(1, cells(reader.shape) // cells(inputs[place].shape))
    if isinstance(operation, op.MatMul) and place == 0 and inputs[0].shape[1] == 1:
        return extent_of(inputs[1].shape, 1)
    if isinstance(operation, op.Gather) and place == 1:
        return extent_of(reader.shape, 1)
    return 1


def unknown(tensor: Tensor) -> op.ShapeError:
    return op.ShapeError(f"{tensor.operation} of shape {tensor.shape} has no SQL in the vectors layout.")


MAKERS: Final[Mapping[Kind, Callable[[Lowering, Tensor], list[Expression]]]] = {
    Kind.VALUE: Lowering.value,
    Kind.PACKED: Lowering.row_vector,
    Kind.GATHERED: Lowering.rows_of_units,
    Kind.BY_UNIT: lambda lowering, tensor: lowering.in_order_of(tensor, 1),
    Kind.BY_ROW: lambda lowering, tensor: lowering.in_order_of(tensor, 0),
    Kind.UNITS: lambda lowering, tensor: lowering.vectors(tensor, 1),
    Kind.LINES: lambda lowering, tensor: lowering.vectors(tensor, 0),
    Kind.NUMBERS: Lowering.numbers,
    Kind.WHOLE: Lowering.whole,
}


def lower(program: Program) -> Placed:
    """A program as phases of stages over numbers, lists and vectors.

    Examples
    --------
    >>> from selectron.program.operations import input_, matmul, sum_, tanh
    >>> x, w = input_("x", ("batch", 2)), input_("w", (2, 1))
    >>> placed = lower(Program({"y": sum_(tanh(matmul(x, w)), 0)}))
    >>> [(name, value.sql("postgres")) for name, value in placed.lowered.phases[0].rows[0].columns]
    [('matmul', 'INNER_PRODUCT("x packed", "w units")')]
    >>> [(name, value.sql("postgres")) for name, value in placed.lowered.phases[0].sums]
    [('sum', 'SUM(TANH("matmul"))')]
    """
    return Lowering(without_scatter(program)).run()

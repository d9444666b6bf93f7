"""The `columns` layout: each element of a tensor is a column, and the batch axis is rows.

The state is one row with a column for every element. A program becomes phases: stages over that one row,
then stages over the rows of the batch beside it, then sums over these rows, with which the next phase begins.
A product over units is written out as a balanced sum, a product over the batch is a SUM for each element.
So the statement grows with the number of weights, and the work with the rows goes to the engine's own
aggregation: for small networks over many rows.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from sqlglot import exp

from selectron.combination import combination
from selectron.layouts.base import BATCH_ROWS, ROW_IN_BATCH
from selectron.layouts.placing import UNITS, Place, Placing, cells, extent_of
from selectron.layouts.scalars import REPEATING, group, scalar
from selectron.layouts.stages import Stage
from selectron.program import operations as op
from selectron.program.expansion import without_scatter
from selectron.program.operations import Array
from selectron.program.patterns import is_aggregate, pick_of
from selectron.program.program import Program
from selectron.program.tensor import BATCH, Tensor
from selectron.repeated import Element, Index, Names, sum_of
from selectron.sql import balanced, case, cast, column, number

__all__ = ["Lowered", "Phase", "greatest", "lower"]

Expression = exp.Expr

# Deeper expressions are cut into stages: engines and printers recurse.
MOST_DEPTH: Final = 12
# Elements that are the number of their unit.
NOWHERE: Final = Names((), 1)
BY_COLUMNS: Final = Placing()
# A call of GREATEST takes no more arguments than the strictest engine allows.
MOST_ARGUMENTS: Final = 100


@dataclass(frozen=True)
class Phase:
    """Stages over the one row, then over the batch's rows beside it, then aggregates over these rows."""

    once: tuple[Stage, ...]
    rows: tuple[Stage, ...]
    sums: tuple[tuple[str, Expression], ...]


@dataclass(frozen=True)
class Lowered:
    """A program as phases, and its outputs, a tuple of named expressions over the last phase for each."""

    phases: tuple[Phase, ...]
    outputs: Mapping[str, tuple[tuple[str, Expression], ...]]


# Written down wherever they are read: they compute nothing.
LEAVES: Final = (op.Input, op.Constant, op.Range, op.Size, op.RowNumber)
PASSING: Final = (op.Transpose, op.Broadcast, op.StopGradient)
INLINE: Final = (*LEAVES, *PASSING, op.Comparison)


def read_inputs(tensor: Tensor) -> Sequence[Tensor]:
    """The inputs whose values an operation reads."""
    if isinstance(tensor.operation, (op.Size, op.RowNumber)):
        return ()
    return tensor.inputs[:1] if isinstance(tensor.operation, op.Broadcast) else tensor.inputs


def is_compared(tensor: Tensor) -> bool:
    """Whether a tensor is the greater of two."""
    operation = tensor.operation
    if isinstance(operation, op.Max):
        return tensor.inputs[0].shape[operation.axis] == 2
    return isinstance(operation, op.Maximum)


def reads_of(reader: Tensor, place: int, *, compares: bool) -> int:
    """How often each element of an input is read to compute all elements of the reader once."""
    operation, inputs = reader.operation, reader.inputs
    if isinstance(operation, op.MatMul):
        return extent_of(inputs[1].shape, 1) if place == 0 else extent_of(inputs[0].shape, 0)
    if isinstance(operation, (op.Elementwise, op.Broadcast)):
        twice = 2 if type(operation) in REPEATING or (compares and is_compared(reader)) else 1
        return twice * max(1, cells(reader.shape) // cells(inputs[place].shape))
    if isinstance(operation, op.Gather) and place == 1:
        return extent_of(reader.shape, 1)
    return 2 if compares and is_compared(reader) else 1


class Lowering:
    """Lowers one program. Made for one use; :func:`lower` is its face."""

    def __init__(
        self, program: Program, constants: Mapping[str, Array], placing: Placing, *, compares: bool
    ) -> None:
        self.program = program
        self.compares = compares
        self.constants = constants
        self.placing = placing
        # Whatever only gives its shape to another is not computed.
        self.tensors = program.computed(self.parts_of)
        self.phase = self.phases()
        self.named = self.choose_named()
        self.cut_depth()
        self.names: dict[Tensor, str] = {}
        self.levels: dict[Tensor, int] = {}
        self.reads: set[Tensor] = set()
        self.lines: dict[tuple[Tensor, int], tuple[str, ...] | None] = {}
        # Of sums; those of elements come first.
        self.indices = itertools.count(len(UNITS))

    def parts_of(self, tensor: Tensor) -> Sequence[Tensor]:
        """The tensors whose values a tensor reads: where it is the sum over one that is pages, that one."""
        summed = self.summed(tensor)
        return read_inputs(tensor) if summed is None else (summed,)

    def summed(self, tensor: Tensor) -> Tensor | None:
        """What a tensor is the sum over, both axes of it, if that is pages."""
        inner = tensor.inputs[0] if tensor.operation == op.Sum(1) else tensor
        if inner is tensor or inner.operation != op.Sum(0):
            return None
        (whole,) = inner.inputs
        return None if self.placing.length(whole.shape) is None else whole

    # Where and what ---------------------------------------------------------------------------

    def phases(self) -> dict[Tensor, int]:
        """How many aggregations over the batch come before each tensor."""
        phase: dict[Tensor, int] = {}
        for tensor in self.tensors:
            before = max((phase[part] for part in self.parts_of(tensor)), default=0)
            phase[tensor] = before + 1 if is_aggregate(tensor) else before
        return phase

    def choose_named(self) -> set[Tensor]:
        """Tensors that get columns of their own; the others are written into their only reader."""
        uses: Counter[Tensor] = Counter(self.program.outputs.values())
        in_rows: set[Tensor] = set()
        named: set[Tensor] = set()
        for tensor in reversed(self.tensors):
            of_rows = BATCH in tensor.shape
            if is_aggregate(tensor) or (
                not isinstance(tensor.operation, INLINE)
                and (uses[tensor] > 1 or (tensor in in_rows and not of_rows))
            ):
                named.add(tensor)
            is_named = tensor in named
            read_in_rows = of_rows or is_aggregate(tensor) or (tensor in in_rows and not is_named)
            for place, part in enumerate(self.parts_of(tensor)):
                uses[part] += reads_of(tensor, place, compares=self.compares) * (
                    1 if is_named else max(1, uses[tensor])
                )
                if read_in_rows:
                    in_rows.add(part)
        return named

    def cut_depth(self) -> None:
        """Name tensors on the way where expressions would become too deep."""
        depth: dict[Tensor, int] = {}
        for tensor in self.tensors:
            parts = self.parts_of(tensor)
            below = max((0 if part in self.named else depth[part] for part in parts), default=0)
            width = 0
            if isinstance(tensor.operation, (op.MatMul, op.Sum, op.Max, op.Gather)):
                width = max(cells(part.shape) for part in parts).bit_length()
            depth[tensor] = below + 1 + width
            if depth[tensor] > MOST_DEPTH and not isinstance(tensor.operation, INLINE):
                self.named.add(tensor)

    # Expressions ------------------------------------------------------------------------------

    def value(self, tensor: Tensor, i: Place, j: Place) -> Expression:
        """The element of a tensor at a place, of its own or of one that it is broadcast to."""
        i, j = within(i, extent_of(tensor.shape, 0)), within(j, extent_of(tensor.shape, 1))
        if tensor in self.named:
            self.reads.add(tensor)
            return self.placing.read(self.names[tensor], tensor.shape, i, j)
        return self.compute(tensor, i, j)

    def compute(self, tensor: Tensor, i: Place, j: Place) -> Expression:
        operation, inputs = tensor.operation, tensor.inputs
        if isinstance(operation, op.Elementwise):
            if self.compares and is_marked(tensor):
                mark = cast(self.value(inputs[0], i, j), "double")
                return scalar(op.Multiply(), mark, self.value(inputs[1], i, j))
            values = [self.value(part, i, j) for part in inputs]
            if self.compares and is_rectified(tensor):
                return scalar(op.Multiply(), positive(values[0]), values[0])
            return greater(*values) if self.compares and is_compared(tensor) else scalar(operation, *values)
        if isinstance(operation, op.Input):
            known = self.constants.get(operation.name)
            if known is not None and isinstance(i, int) and isinstance(j, int):
                return number(float(known[i, j]))
            return self.placing.read(operation.name, tensor.shape, i, j)
        if isinstance(operation, op.Constant):
            return number(operation.value)
        if isinstance(operation, op.Range):
            return number(float(j)) if isinstance(j, int) else Element(names=NOWHERE, i=0, j=j)
        if isinstance(operation, op.Size):
            return column(BATCH_ROWS)
        if isinstance(operation, op.RowNumber):
            return column(ROW_IN_BATCH)
        if isinstance(operation, op.Transpose):
            return self.value(inputs[0], j, i)
        if isinstance(operation, op.Broadcast):
            return self.value(inputs[0], i, j)
        summed = self.summed(tensor)
        if summed is not None:
            return self.total_of(summed)
        picked = pick_of(tensor)
        if picked is not None and inputs[0] not in self.named:
            index, table = picked
            return chosen(
                self.value(index, i, 0), [self.value(table, i, k) for k in range(int(table.shape[1]))]
            )
        if isinstance(operation, (op.Sum, op.Max)):
            return self.reduction(operation, inputs[0], i, j)
        if isinstance(operation, op.MatMul):
            return self.product(inputs[0], inputs[1], i, j)
        if isinstance(operation, op.Gather):
            return self.gathered(inputs[0], inputs[1], j)
        raise op.ShapeError(f"{operation} has no SQL in the columns layout.")

    def reduction(self, operation: op.Sum | op.Max, part: Tensor, i: Place, j: Place) -> Expression:
        if part.shape[operation.axis] == BATCH:
            aggregate = exp.Sum if isinstance(operation, op.Sum) else exp.Max
            return aggregate(this=self.value(part, i, j))
        extent = int(part.shape[operation.axis])

        def term(k: Place) -> Expression:
            return self.value(part, *((k, j) if operation.axis == 0 else (i, k)))

        if isinstance(operation, op.Sum):
            return self.total(term, extent)
        if self.compares and extent == 2:
            return greater(term(0), term(1))
        return greatest([term(k) for k in range(extent)])

    def total_of(self, tensor: Tensor) -> Expression:
        """The sum over both axes."""
        found = self.placing.total(tensor.shape, partial(self.value, tensor))
        if found is not None:
            return found

        def row(i: Place) -> Expression:
            return self.total(lambda j: self.value(tensor, i, j), int(tensor.shape[1]))

        return self.total(row, int(tensor.shape[0]))

    def product(self, left: Tensor, right: Tensor, i: Place, j: Place) -> Expression:
        def term(k: Place) -> Expression:
            factors = self.value(left, i, k), self.value(right, k, j)
            return scalar(op.Multiply(), *factors)

        if left.shape[1] == BATCH:
            return exp.Sum(this=term(0))
        known = self.constants.get(right.operation.name) if isinstance(right.operation, op.Input) else None
        if known is not None and isinstance(i, int) and isinstance(j, int):
            line = self.line(left, i)
            if line is not None:
                return combination(line, known[:, j].tolist())
        return self.total(term, int(left.shape[1]))

    def line(self, tensor: Tensor, i: int) -> tuple[str, ...] | None:
        """The columns of a row of a tensor, if it is in columns; found once for all units that read them."""
        if tensor in self.named:
            self.reads.add(tensor)
        elif not isinstance(tensor.operation, op.Input):
            return None
        if (tensor, i) not in self.lines:
            values = [self.value(tensor, i, k) for k in range(int(tensor.shape[1]))]
            names = tuple(value.name for value in values if isinstance(value, exp.Column))
            self.lines[tensor, i] = names if len(names) == len(values) else None
        return self.lines[tensor, i]

    def total(self, term: Callable[[Place], Expression], extent: int) -> Expression:
        """The sum of a term over an axis that is not the batch's."""
        if self.placing.page is not None and extent > 1:
            index = Index(next(self.indices))
            return sum_of(group(term(index)), index, extent)
        return balanced([term(k) for k in range(extent)])

    def gathered(self, table: Tensor, index: Tensor, j: Place) -> Expression:
        entries = [self.value(table, entry, j) for entry in range(int(table.shape[0]))]
        return chosen(self.value(index, 0, 0), entries)

    # All of it --------------------------------------------------------------------------------

    def run(self) -> Lowered:
        taken = Counter(self.program.inputs.keys())
        last = max(self.phase.values(), default=0)
        once: list[dict[int, list[tuple[str, Expression]]]] = [{} for _ in range(last + 1)]
        rows: list[dict[int, list[tuple[str, Expression]]]] = [{} for _ in range(last + 1)]
        sums: list[list[tuple[str, Expression]]] = [[] for _ in range(last + 1)]
        for tensor in self.tensors:
            if tensor not in self.named:
                continue
            label = self.program.labels.get(tensor) or type(tensor.operation).__name__.lower()
            taken[label] += 1
            name = label if taken[label] == 1 else f"{label} {taken[label]}"
            self.reads = set()
            made = self.placing.made(name, tensor.shape, partial(self.compute, tensor))
            self.names[tensor] = name
            phase, of_rows = self.phase[tensor], BATCH in tensor.shape
            if is_aggregate(tensor):
                self.levels[tensor] = 0
                sums[phase - 1] += made
                continue
            # Above what it reads of the same chain; whatever comes from another is there at its start.
            same = (part for part in self.reads if self.chain_of(part) == (phase, of_rows))
            level = 1 + max((self.levels[part] for part in same), default=0)
            self.levels[tensor] = level
            (rows if of_rows else once)[phase].setdefault(level, []).extend(made)
        outputs = {
            name: tuple(self.placing.made(name, tensor.shape, partial(self.value, tensor)))
            for name, tensor in self.program.outputs.items()
        }
        phases = tuple(
            Phase(in_order(once[phase]), in_order(rows[phase]), tuple(sums[phase]))
            for phase in range(last + 1)
        )
        return Lowered(phases, outputs)

    def chain_of(self, tensor: Tensor) -> tuple[int, bool] | None:
        """The phase whose stages hold a tensor, and whether these are over rows; None for aggregates."""
        return None if is_aggregate(tensor) else (self.phase[tensor], BATCH in tensor.shape)


def is_marked(tensor: Tensor) -> bool:
    """Whether a tensor is a value where a condition of the row holds, and 0 elsewhere: their product.

    That takes less time than a choice. Not for any value, which might be infinite where the condition does
    not hold, as in a logarithm that is guarded; but for numbers of the step, and for gradients where a unit
    is rectified: features are bounded, so that these are infinite only in a training that diverges.
    """
    if not isinstance(tensor.operation, op.Where):
        return False
    condition, value, otherwise = tensor.inputs
    if BATCH not in condition.shape or otherwise is not op.constant(0.0):
        return False
    if isinstance(condition.operation, op.Less):
        least, unit = condition.inputs
        return least is op.constant(0.0) and is_rectified(unit)
    return isinstance(condition.operation, op.Comparison) and BATCH not in value.shape


def is_rectified(tensor: Tensor) -> bool:
    """Whether a tensor is max(x, 0)."""
    return isinstance(tensor.operation, op.Maximum) and tensor.inputs[1] is op.constant(0.0)


def positive(value: Expression) -> Expression:
    """1 where a value is above 0, and 0 elsewhere."""
    return cast(exp.LT(this=number(0.0), expression=group(value.copy())), "double")


def chosen(index: Expression, values: Sequence[Expression]) -> Expression:
    """The value that an index names, which names one."""
    branches = [
        exp.If(this=exp.EQ(this=index.copy(), expression=number(float(place))), true=value)
        for place, value in enumerate(values[:-1])
    ]
    return exp.Case(ifs=branches, default=values[-1]) if branches else values[0]


def within(place: Place, extent: int) -> Place:
    """A place along an axis of this extent; an axis of extent 1 is repeated."""
    return min(place, extent - 1) if isinstance(place, int) else 0 if extent == 1 else place


def in_order(stages: Mapping[int, list[tuple[str, Expression]]]) -> tuple[Stage, ...]:
    return tuple(Stage(tuple(stages[level])) for level in sorted(stages))


def greater(left: Expression, right: Expression) -> Expression:
    """The greater of two; NaN if the first one is."""
    return case((exp.LT(this=group(left.copy()), expression=group(right.copy())), right), default=left)


def greatest(values: Sequence[Expression]) -> Expression:
    """The greatest of some values, in calls of a length that every engine takes."""
    if len(values) == 1:
        return values[0]
    if len(values) > MOST_ARGUMENTS:
        parts = [values[start : start + MOST_ARGUMENTS] for start in range(0, len(values), MOST_ARGUMENTS)]
        return greatest([greatest(part) for part in parts])
    return exp.Anonymous(this="greatest", expressions=list(values))


def lower(
    program: Program,
    constants: Mapping[str, Array] | None = None,
    placing: Placing = BY_COLUMNS,
    *,
    compares: bool = False,
) -> Lowered:
    """A program as phases of stages over columns.

    Parameters
    ----------
    constants
        Inputs that are written down as numbers, not read from columns; only where nothing is paged.
    placing
        How tensors of one row are columns.
    compares
        Whether the greater of two is chosen by CASE, not GREATEST, and what is zero unless a condition holds
        is a product with it.

    Examples
    --------
    >>> from selectron.program.operations import input_, matmul, sum_, tanh
    >>> x, w = input_("x", ("batch", 2)), input_("w", (2, 1))
    >>> lowered = lower(Program({"y": sum_(tanh(matmul(x, w)), 0)}))
    >>> [(name, value.sql("duckdb")) for name, value in lowered.phases[0].sums]
    [('sum', 'SUM(TANH("x[0]" * "w[0]" + "x[1]" * "w[1]"))')]
    >>> [(name, value.sql("duckdb")) for name, value in lowered.outputs["y"]]
    [('y', '"sum"')]
    """
    return Lowering(without_scatter(program), constants or {}, placing, compares=compares).run()

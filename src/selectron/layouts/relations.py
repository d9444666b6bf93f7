"""The `relations` layout: a tensor is a relation of row, col and value, each element a row.

Elementwise operations are joins on both places, a product is a JOIN on the contracted axis with a SUM for
each place of the result, a sum is a GROUP BY. So the statement depends on the network's depth alone, neither
on its width nor on the rows; a layout for any size and any engine, if not the fastest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlglot import exp

from selectron.layouts.scalars import REPEATING, scalar
from selectron.program import operations as op
from selectron.program.program import Program
from selectron.program.tensor import BATCH, Extent, Shape, Tensor
from selectron.sql import cast, column, integer, number

__all__ = ["COL", "ROW", "VALUE", "Source", "lower"]

Expression = exp.Expr

ROW: Final = "row"
COL: Final = "col"
VALUE: Final = "value"
AXES: Final = (ROW, COL)


@dataclass(frozen=True)
class Source:
    """Where an input is: a relation of row, col and value, or a column of a relation of one row."""

    relation: str
    scalar: str | None = None


@dataclass
class Join:
    """A FROM clause that grows: aliases of relations, their conditions, and where the places come from."""

    tables: list[tuple[exp.Table | exp.Subquery, str, list[Expression]]] = field(default_factory=list)
    aliases: dict[tuple[str, bool], str] = field(default_factory=dict)
    places: dict[int, Expression] = field(default_factory=dict)

    def add(self, table: exp.Table | exp.Subquery, axes: Mapping[int, str], key: tuple[str, bool]) -> str:
        """The alias of a relation, joined on the axes that it has: of each, its column."""
        if key in self.aliases:
            return self.aliases[key]
        alias = f"t{len(self.tables)}"
        self.aliases[key] = alias
        conditions: list[Expression] = []
        for axis, name in axes.items():
            own = column(name, alias)
            if axis in self.places:
                conditions.append(exp.EQ(this=own, expression=self.places[axis].copy()))
            else:
                self.places[axis] = own
        self.tables.append((table, alias, conditions))
        return alias

    def select(self, expressions: Sequence[Expression]) -> exp.Select:
        """The SELECT over all that was joined."""
        query = exp.Select(expressions=list(expressions))
        for place, (table, alias, conditions) in enumerate(self.tables):
            own = exp.alias_(table, alias, table=True, quoted=True)
            if place == 0:
                query = query.from_(own, copy=False)
            elif conditions:
                query = query.join(own, on=exp.and_(*conditions, copy=False), copy=False)
            else:
                query = query.join(own, join_type="cross", copy=False)
        return query


INLINE: Final = (
    op.Input,
    op.Constant,
    op.Range,
    op.Size,
    op.RowNumber,
    op.Transpose,
    op.Broadcast,
    op.StopGradient,
    op.Comparison,
)
PASSING: Final = (op.Transpose, op.StopGradient)


def bare(tensor: Tensor) -> tuple[Tensor, bool]:
    """What a tensor only passes on, and whether its axes are swapped."""
    flipped = False
    while isinstance(tensor.operation, PASSING):
        flipped ^= isinstance(tensor.operation, op.Transpose)
        tensor = tensor.inputs[0]
    return tensor, flipped


def values_read(tensor: Tensor) -> Sequence[Tensor]:
    """The inputs whose values an operation reads."""
    if isinstance(tensor.operation, (op.Size, op.RowNumber)):
        return ()
    return tensor.inputs[:1] if isinstance(tensor.operation, op.Broadcast) else tensor.inputs


class Lowering:
    """Lowers one program. Made for one use; :func:`lower` is its face."""

    def __init__(self, program: Program, sources: Mapping[str, Source], batch: Source, rows: str) -> None:
        self.program = program
        self.sources = sources
        self.batch = batch
        self.rows = rows
        self.tensors = program.computed(values_read)
        self.named = self.choose_named()
        self.names: dict[Tensor, str] = {}

    def choose_named(self) -> set[Tensor]:
        """Tensors that are relations; the others are written into their only reader."""
        uses: Counter[Tensor] = Counter()
        named = {bare(tensor)[0] for tensor in self.program.outputs.values()}
        for tensor in reversed(self.tensors):
            operation = tensor.operation
            reduces = isinstance(operation, (op.MatMul, op.Sum, op.Max, op.Gather, op.Scatter))
            if (reduces or uses[tensor] > 1) and not isinstance(operation, INLINE):
                named.add(tensor)
            times = 1 if tensor in named else max(1, uses[tensor])
            for part in values_read(tensor):
                uses[part] += times * (2 if type(operation) in REPEATING else 1)
                whole = isinstance(operation, (op.MatMul, op.Gather, op.Scatter))
                # What is smaller than its reader would be computed for each of its elements.
                if whole or (isinstance(operation, op.Elementwise) and part.shape != tensor.shape):
                    named.add(bare(part)[0])
        return {tensor for tensor in named if not isinstance(tensor.operation, (*INLINE[:5], op.Comparison))}

    # One relation -----------------------------------------------------------------------------

    def point(self, join: Join, tensor: Tensor, shape: Shape, flipped: bool = False) -> Expression:
        """The value of a tensor where the join stands, on its way to a result of this shape."""
        operation, inputs = tensor.operation, tensor.inputs
        if tensor in self.named:
            return self.read(join, self.names[tensor], tensor.shape, shape, flipped)
        if isinstance(operation, op.Input):
            source = self.sources[operation.name]
            if source.scalar is not None:
                return column(source.scalar, self.alone(join, source.relation))
            return self.read(join, source.relation, tensor.shape, shape, flipped)
        if isinstance(operation, op.Constant):
            return number(operation.value)
        if isinstance(operation, op.Size):
            assert self.batch.scalar is not None
            return column(self.batch.scalar, self.alone(join, self.batch.relation))
        if isinstance(operation, (op.Range, op.RowNumber)):
            axis = 1 if isinstance(operation, op.Range) else 0
            return cast(self.place(join, 1 - axis if flipped else axis, shape), "double")
        if isinstance(operation, op.Transpose):
            return self.point(join, inputs[0], shape, not flipped)
        if isinstance(operation, (op.Broadcast, op.StopGradient)):
            return self.point(join, inputs[0], shape, flipped)
        if isinstance(operation, op.Elementwise):
            return scalar(operation, *(self.point(join, part, shape, flipped) for part in inputs))
        raise op.ShapeError(f"{operation} has no SQL in the relations layout.")

    def read(self, join: Join, relation: str, own: Shape, shape: Shape, flipped: bool) -> Expression:
        axes = {}
        for axis in (0, 1):
            seen_as = 1 - axis if flipped else axis
            if own[axis] != 1 or shape[seen_as] == 1:
                axes[seen_as] = AXES[axis]
        # A scalar beside something larger has no place to be joined on.
        if own == (1, 1) and shape != (1, 1):
            axes = {}
        return column(VALUE, join.add(exp.table_(relation, quoted=True), axes, (relation, flipped)))

    def alone(self, join: Join, relation: str) -> str:
        return join.add(exp.table_(relation, quoted=True), {}, (relation, False))

    def place(self, join: Join, axis: int, shape: Shape) -> Expression:
        """The place along an axis: that of a relation that has it, or of one made for it."""
        if axis not in join.places:
            self.generate(join, axis, shape[axis])
        return join.places[axis].copy()

    def generate(self, join: Join, axis: int, extent: Extent) -> None:
        """Join a relation of the places along an axis that nothing else has."""
        if extent == BATCH:
            join.add(exp.table_(self.rows, quoted=True), {axis: ROW}, (self.rows, False))
            return
        tuples = [exp.Tuple(expressions=[integer(place)]) for place in range(int(extent))]
        alias = exp.TableAlias(this=exp.to_identifier("places"), columns=[exp.to_identifier("place")])
        places = exp.select(exp.alias_(exp.column("place"), ROW, quoted=True)).from_(
            exp.Values(expressions=tuples, alias=alias)
        )
        join.add(places.subquery(copy=False), {axis: ROW}, (f"places {axis}", False))

    def relation(self, tensor: Tensor) -> exp.Select:
        """The query of a named tensor."""
        operation, inputs = tensor.operation, tensor.inputs
        join = Join()
        if isinstance(operation, op.MatMul):
            return self.product(join, *inputs)
        if isinstance(operation, op.Gather):
            return self.gathered(*inputs)
        if isinstance(operation, op.Scatter):
            return self.scattered(*inputs)
        if isinstance(operation, (op.Sum, op.Max)):
            return self.reduction(join, operation, inputs[0])
        if isinstance(operation, (op.Broadcast, op.Transpose, op.StopGradient)):
            value = self.point(join, inputs[0], tensor.shape, isinstance(operation, op.Transpose))
        else:
            value = scalar(operation, *(self.point(join, part, tensor.shape) for part in inputs))
        return self.selected(join, tensor.shape, value)

    def selected(self, join: Join, shape: Shape, value: Expression) -> exp.Select:
        places: list[Expression] = []
        for axis in (0, 1):
            if shape[axis] == 1:
                places.append(integer(0))
            else:
                places.append(self.place(join, axis, shape))
        if not join.tables:
            self.generate(join, 0, 1)
        named = [exp.alias_(place, name, quoted=True) for place, name in zip(places, AXES, strict=True)]
        return join.select([*named, exp.alias_(value, VALUE, quoted=True)])

    def reduction(self, join: Join, operation: op.Sum | op.Max, part: Tensor) -> exp.Select:
        value = self.point(join, part, part.shape)
        for axis in (0, 1):
            self.place(join, axis, part.shape)
        aggregate: Expression = (exp.Sum if isinstance(operation, op.Sum) else exp.Max)(this=value)
        kept = join.places[1 - operation.axis]
        places: list[Expression] = [integer(0), integer(0)]
        places[1 - operation.axis] = kept.copy()
        named = [exp.alias_(place, name, quoted=True) for place, name in zip(places, AXES, strict=True)]
        query = join.select([*named, exp.alias_(aggregate, VALUE, quoted=True)])
        # Grouped even where one value is left: over no rows there must be no row.
        return query.group_by(kept.copy(), copy=False)

    def product(self, join: Join, left: Tensor, right: Tensor) -> exp.Select:
        sides = []
        for tensor, contracted in ((left, 1), (right, 0)):
            root, flipped = bare(tensor)
            relation = self.names[root] if root in self.named else self.relation_of(root)
            inner, outer = (AXES[1 - axis if flipped else axis] for axis in (contracted, 1 - contracted))
            sides.append((relation, inner, outer))
        (left_name, left_inner, left_outer), (right_name, right_inner, right_outer) = sides
        joined = exp.EQ(this=column(right_inner, "r"), expression=column(left_inner, "l"))
        places = column(left_outer, "l"), column(right_outer, "r")
        total = exp.Sum(this=exp.Mul(this=column(VALUE, "l"), expression=column(VALUE, "r")))
        return (
            exp.Select(
                expressions=[
                    exp.alias_(places[0], ROW, quoted=True),
                    exp.alias_(places[1], COL, quoted=True),
                    exp.alias_(total, VALUE, quoted=True),
                ]
            )
            .from_(exp.alias_(exp.table_(left_name, quoted=True), "l", table=True), copy=False)
            .join(exp.alias_(exp.table_(right_name, quoted=True), "r", table=True), on=joined, copy=False)
            .group_by(places[0].copy(), places[1].copy(), copy=False)
        )

    def relation_of(self, tensor: Tensor) -> str:
        """The relation of an input."""
        assert isinstance(tensor.operation, op.Input)
        return self.sources[tensor.operation.name].relation

    def name_of(self, tensor: Tensor) -> str:
        """The relation of a tensor that is one."""
        return self.names[tensor] if tensor in self.named else self.relation_of(tensor)

    def gathered(self, table: Tensor, index: Tensor) -> exp.Select:
        entries, places = self.name_of(table), self.name_of(index)
        same = exp.EQ(this=column(ROW, "t"), expression=cast(column(VALUE, "i"), "bigint"))
        return (
            exp.select(column(ROW, "i"), column(COL, "t"), column(VALUE, "t"))
            .from_(exp.alias_(exp.table_(places, quoted=True), "i", table=True), copy=False)
            .join(exp.alias_(exp.table_(entries, quoted=True), "t", table=True), on=same, copy=False)
        )

    def scattered(self, values: Tensor, index: Tensor, table: Tensor) -> exp.Select:
        """The sums of the entries that the batch has, and zeros for the table's others."""
        entry = cast(column(VALUE, "i"), "bigint")
        sums = exp.Select(
            expressions=[
                exp.alias_(entry, ROW, quoted=True),
                column(COL, "g"),
                exp.alias_(exp.Sum(this=column(VALUE, "g")), VALUE, quoted=True),
            ]
        )
        same = exp.EQ(this=column(ROW, "g"), expression=column(ROW, "i"))
        sums = sums.from_(
            exp.alias_(exp.table_(self.name_of(index), quoted=True), "i", table=True), copy=False
        )
        given = exp.alias_(exp.table_(self.name_of(values), quoted=True), "g", table=True)
        sums = sums.join(given, on=same, copy=False)
        sums = sums.group_by(entry.copy(), column(COL, "g"), copy=False)
        here = [exp.EQ(this=column(name, "s"), expression=column(name, "t")) for name in AXES]
        total = exp.func("coalesce", column(VALUE, "s"), number(0.0))
        return (
            exp.select(column(ROW, "t"), column(COL, "t"), exp.alias_(total, VALUE, quoted=True))
            .from_(exp.alias_(exp.table_(self.name_of(table), quoted=True), "t", table=True), copy=False)
            .join(
                sums.subquery("s", copy=False), on=exp.and_(*here, copy=False), join_type="left", copy=False
            )
        )

    # All of it --------------------------------------------------------------------------------

    def run(self, prefix: str) -> tuple[list[tuple[str, exp.Select]], dict[str, exp.Select]]:
        made: list[tuple[str, exp.Select]] = []
        taken: Counter[str] = Counter()
        for tensor in self.tensors:
            if tensor not in self.named:
                continue
            label = self.program.labels.get(tensor) or type(tensor.operation).__name__.lower()
            taken[label] += 1
            name = f"{prefix}{label}" if taken[label] == 1 else f"{prefix}{label} {taken[label]}"
            query = self.relation(tensor)
            self.names[tensor] = name
            made.append((name, query))
        outputs = {}
        for name, tensor in self.program.outputs.items():
            join = Join()
            outputs[name] = self.selected(join, tensor.shape, self.point(join, tensor, tensor.shape))
        return made, outputs


def lower(
    program: Program, sources: Mapping[str, Source], *, batch: Source, rows: str, prefix: str = ""
) -> tuple[list[tuple[str, exp.Select]], dict[str, exp.Select]]:
    """A program as named queries, and for each output a query over them; all of row, col and value.

    Parameters
    ----------
    sources
        Where each input is.
    batch
        The column of a one-row relation that holds the number of the batch's rows.
    rows
        A relation with a row (``row``) for each row of the batch.
    prefix
        Before the names of all relations.

    Examples
    --------
    >>> from selectron.program.operations import input_, matmul
    >>> x, w = input_("x", ("batch", 2)), input_("w", (2, 1))
    >>> sources = {"x": Source("x"), "w": Source("w")}
    >>> named, _ = lower(Program({"y": matmul(x, w)}), sources, batch=Source("one", "n"), rows="x")
    >>> print(named[0][1].sql("duckdb"))
    SELECT "l"."row" AS "row", "r"."col" AS "col", SUM("l"."value" * "r"."value") AS "value"
    FROM "x" AS l JOIN "w" AS r ON "r"."row" = "l"."col" GROUP BY "l"."row", "r"."col"
    """
    return Lowering(program, sources, batch, rows).run(prefix)

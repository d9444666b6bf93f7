"""A training step in the `columns` layout: one row of state, the rows of a batch, sums over them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from sqlglot import exp

from selectron.layouts.base import (
    BATCH_NUMBER,
    BATCH_ROWS,
    BATCHES,
    ENDED,
    LOG_PREFIX,
    ROW_IN_BATCH,
    TICK,
    BatchColumns,
    BatchPlan,
    Cte,
    Fence,
    Step,
    Tables,
    beside_batch,
    due,
    latest,
    numbered_batches,
)
from selectron.layouts.columns import Lowered, lower
from selectron.layouts.parts import added, apart, part_of, totals
from selectron.layouts.placing import Placing, element_name, elements, extent_of, paged
from selectron.layouts.stages import Stage, read_by, select
from selectron.layouts.storage import union_all
from selectron.program.operations import Array
from selectron.program.tensor import BATCH, Shape
from selectron.repeated import Repeated
from selectron.sql import cast, column, integer, number, quoted, text

__all__ = ["ColumnsLayout", "unpivoted"]

Expression = exp.Expr

EXAMPLES: Final = "selectron_examples"
OF_BATCH: Final = ("is_training", "ends_epoch", BATCH_ROWS)
# What the tick and the batch are called beside the state and the rows, which have columns of these names.
NOW: Final = "now"
TURN: Final = "turn"
# Of a row, whether its batch trains: not called as the batch's own column, which it meets.
TRAINS: Final = "trains"
# A batch's rows as an array, and a row of sums over them.
ROWS: Final = "rows"
SUMS: Final = "sums"


@dataclass(frozen=True)
class ColumnsLayout:
    """A step as CTEs over one-row relations and the rows of a batch.

    `in_line` if each relation may be read once only, as where a reference to a CTE expands it anew: then the
    state travels along with the rows. `with_rows` if a batch also holds its rows as an array, for recursive
    terms that may aggregate nothing else. `page` is how many numbers an array has at most where tensors of
    one row are arrays, for states of more numbers than the engine takes columns. `compares` if choices are
    written as comparisons (see :func:`lower`). `parts` is how many parts a batch has, side by side.
    """

    step: Step
    in_line: bool = False
    with_rows: bool = False
    page: int | None = None
    compares: bool = False
    parts: int = 1

    scans: Final = True
    keyed: Final = False

    @cached_property
    def lowered(self) -> Lowered:
        """The program as phases."""
        return lower(self.step.program, placing=self.placing, compares=self.compares)

    @property
    def uniform(self) -> bool:
        """Whether all columns of a state are numbers."""
        return self.page is None

    @property
    def placing(self) -> Placing:
        """How tensors become columns."""
        return Placing(self.page)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """``tick``, the elements of the state, the logged values, and whether the step ended an epoch."""
        placing = self.placing
        names = (name for part, shape in self.step.state.items() for name in placing.columns(part, shape))
        return (TICK, *names, *self.step.logs, ENDED)

    # Tables -----------------------------------------------------------------------------------

    def tables(
        self, rows: exp.Table, columns: BatchColumns, plan: BatchPlan, *, held_out: str, position: str
    ) -> Mapping[str, Callable[[Tables], exp.Query]]:
        """The rows with their batch's number, then a row for each batch."""
        batch, place, is_training = numbered_batches(plan, held_out=held_out, position=position)
        values: dict[str, Expression] = {
            BATCH_NUMBER: batch,
            TRAINS: is_training,
            ROW_IN_BATCH: cast(place, "double"),
            **self.values_of_row(columns),
        }

        def examples(part: int) -> exp.Query:
            # By their place, too: sums are the same to the last bit only in the same order.
            query = select(values.items(), rows.this)
            query = query.order_by(column(BATCH_NUMBER), column(position), copy=False)
            query.set("from_", exp.From(this=rows.copy()))
            if self.parts > 1:
                own = part_of(plan, held_out, position, self.parts)
                query.where(exp.EQ(this=own, expression=integer(part)), copy=False)
            return query

        def batches(tables: Tables) -> exp.Query:
            ends = exp.EQ(this=column(BATCH_NUMBER), expression=integer(plan.per_epoch - 1))
            own: dict[str, Expression] = {
                BATCH_NUMBER: column(BATCH_NUMBER),
                "is_training": exp.Max(this=column(TRAINS)),
                "ends_epoch": exp.Case(ifs=[exp.If(this=ends, true=number(1.0))], default=number(0.0)),
                BATCH_ROWS: cast(exp.Count(this=exp.Star()), "double"),
            }
            if self.with_rows:
                held = [exp.alias_(column(name), name, quoted=True) for name in values if name in self.fed]
                own[ROWS] = exp.ArrayAgg(this=exp.Struct(expressions=held))
            expressions = [exp.alias_(value, name, quoted=True) for name, value in own.items()]
            marks = [
                exp.select(column(BATCH_NUMBER), column(TRAINS)).from_(tables(name))
                for name in apart(EXAMPLES, self.parts)
            ]
            whole = tables(EXAMPLES) if self.parts == 1 else union_all(marks).subquery("marks", copy=False)
            return exp.select(*expressions).from_(whole).group_by(column(BATCH_NUMBER))

        made: dict[str, Callable[[Tables], exp.Query]] = {
            name: lambda tables, part=part: examples(part)  # type: ignore[misc]
            for part, name in enumerate(apart(EXAMPLES, self.parts))
        }
        return {**made, BATCHES: batches}

    def values_of_row(self, columns: BatchColumns) -> dict[str, Expression]:
        """What a row of the batch holds of the program's inputs."""
        return {
            element_name(name, (BATCH, len(units)), 0, unit): value
            for name, units in columns.tensors.items()
            for unit, value in enumerate(units)
        }

    def initial(self, values: Mapping[str, Array], tick: int) -> exp.Query:
        """One row of literals."""
        row: dict[str, Expression] = {TICK: cast(integer(tick), "bigint")}
        for part, array in values.items():
            shape = self.step.state[part]
            page = self.placing.length(shape)
            if page is not None:
                pages = [array_of_numbers(values) for values in paged(array.reshape(-1).tolist(), page)]
                row |= zip(self.placing.columns(part, shape), pages, strict=True)
                continue
            row |= {
                element_name(part, shape, i, j): cast(number(float(array[i, j])), "double")
                for i, j in elements(shape)
            }
        row |= {name: cast(exp.Null(), "double") for name in self.step.logs}
        row[ENDED] = cast(number(0.0), "double")
        return exp.Select(expressions=[exp.alias_(value, name, quoted=True) for name, value in row.items()])

    # Steps ------------------------------------------------------------------------------------

    def anchor(self, state: exp.Table | exp.Subquery) -> exp.Select:
        """The row of the greatest tick."""
        fresh: dict[str, Expression] = {name: cast(exp.Null(), "double") for name in self.step.logs}
        fresh[ENDED] = cast(number(0.0), "double")
        # An array in a table may be compressed: unpacked here, once, it is not for each element that is read.
        for part, shape in self.step.state.items():
            if self.placing.length(shape) is not None:
                for name in self.placing.columns(part, shape):
                    parts = [column(name), array_of_numbers([])]
                    fresh[name] = exp.Anonymous(this="array_cat", expressions=parts)
        expressions = [
            exp.alias_(fresh[name], name, quoted=True) if name in fresh else column(name)
            for name in self.columns
        ]
        return exp.select(*expressions).from_(state.copy()).where(latest(state))

    def chain(self, state: exp.Table, tables: Tables, until: Expression, prefix: str) -> list[Cte]:
        """One-row stages, stages over rows, sums, and so on, to the next state."""
        if self.in_line:
            return in_line(self, state, tables, until, prefix)
        return Chain(self, state, tables, prefix).run(until)

    @property
    def matched(self) -> dict[str, Any]:
        """How the batch meets its rows: where there is one batch only, with all of them."""
        if self.step.batches_per_epoch == 1:
            return {"join_type": "cross"}
        return {"on": exp.EQ(this=column(BATCH_NUMBER), expression=column(TURN))}

    @cached_property
    def next_values(self) -> dict[str, Expression]:
        """The next state's columns over those of the relations before."""
        return {
            TICK: exp.Add(this=column(NOW), expression=integer(1)),
            **{name: value for part in self.lowered.outputs.values() for name, value in part},
            ENDED: column("ends_epoch"),
        }

    @cached_property
    def links(self) -> tuple[Link, ...]:
        """The relations between the first, which has the batch's number, and the last, the next state."""
        return tuple(links_of(self.lowered, self.page))

    @cached_property
    def carried(self) -> tuple[tuple[str, ...], ...]:
        """For each relation and the last, the columns of rows that it hands on to the next one of rows."""
        of_rows = self.row_names
        needed: set[str] = set()
        found: list[tuple[str, ...]] = [()]
        for link in reversed(self.links):
            reads = read_by(value for _, value in link.columns) & of_rows
            if link.grouped:
                needed |= reads | {BATCH_NUMBER}
                found.append(())
            elif link.of_rows:
                own = {name for name, _ in link.columns}
                found.append(tuple(sorted(needed - own)))
                needed = (needed - own) | reads
            else:
                found.append(())
        return tuple(reversed(found))

    @property
    def width(self) -> int:
        """How many columns the widest relation of rows has."""
        pairs = zip(self.links, self.carried, strict=False)
        return max((len(carried) + len(link.columns) for link, carried in pairs if link.of_rows), default=0)

    @cached_property
    def row_names(self) -> set[str]:
        """All that is a column of rows: what the batch feeds, and what relations of rows add."""
        made = {name for link in self.links if link.of_rows for name, _ in link.columns}
        return self.fed | made | {BATCH_NUMBER}

    @cached_property
    def fed(self) -> set[str]:
        """The columns of a row of the batch that the program reads."""
        inputs = self.step.program.inputs
        fed = {
            name
            for part, shape in inputs.items()
            if shape[0] == BATCH
            for name in Placing().columns(part, shape)
        }
        return fed | {ROW_IN_BATCH}

    def term(self, state: exp.Table, tables: Tables, until: Expression) -> exp.Query:
        """Subqueries one in another, over one reference to the state; sums are subqueries that give a row."""
        query = self.gate(state, tables, until).select(
            *(column(name, state.alias_or_name) for name in self.columns if name not in (TICK, ENDED)),
            column(ROWS, "own"),
        )
        row_stages: list[Stage] = []
        for phase in self.lowered.phases:
            for stage in phase.once:
                query = extended(query, stage.columns)
            row_stages += phase.rows
            if phase.sums:
                query = extended(query, [(SUMS, exp.Subquery(this=sums_of(row_stages, phase.sums)))])
                kept = exp.Star(except_=[exp.to_identifier(SUMS, quoted=True)])
                parts = [
                    exp.alias_(exp.Dot(this=column(SUMS), expression=quoted(name)), name, quoted=True)
                    for name, _ in phase.sums
                ]
                query = exp.Select(expressions=[kept, *parts]).from_(query.subquery("so far", copy=False))
        final = [exp.alias_(self.next_values[name], name, quoted=True) for name in self.columns]
        return exp.Select(expressions=final).from_(query.subquery("so far", copy=False), copy=False)

    def gate(self, state: exp.Table, tables: Tables, until: Expression) -> exp.Select:
        """The state's batch; no row if no step is to be taken."""
        here = state.alias_or_name
        states = exp.select(
            exp.alias_(column(TICK, here), NOW, quoted=True),
            exp.alias_(column(BATCH_NUMBER, "own"), TURN, quoted=True),
            *(column(name, "own") for name in OF_BATCH),
        ).from_(state)
        query = beside_batch(states, column(TICK, here), self.step, tables)
        return query.where(*due(self.step, until, here))

    def result(self, states: exp.Table | exp.Subquery) -> exp.Select:
        """The rows that ended an epoch, and the last one."""
        ended = exp.GT(this=column(ENDED), expression=number(0.0))
        kept = exp.Or(this=ended, expression=latest(states))
        return exp.select(*map(column, self.columns)).from_(states.copy()).where(kept)

    # Reading results --------------------------------------------------------------------------

    def scalars(self, result: exp.Table, names: Sequence[str]) -> exp.Select:
        """The columns of these names, of the last row."""
        return exp.select(*map(column, names)).from_(result.copy()).where(latest(result))

    def cells(self, result: exp.Table, name: str, labels: Mapping[str, str]) -> exp.Query:
        """A tensor of the last state as rows."""
        shape: Shape = (1, 1) if name == TICK else self.step.state[name]
        page = self.placing.length(shape)
        if page is not None:
            names = self.placing.columns(name, shape)
            firsts = range(0, page * len(names), page)
            units = extent_of(shape, 1)
            return union_all(
                [
                    unnested(result, own, first, units, labels)
                    for own, first in zip(names, firsts, strict=True)
                ]
            )
        places = list(elements(shape))
        return unpivoted(
            result,
            [(i, j, column(element_name(name, shape, i, j), "state")) for i, j in places],
            labels,
            latest(result),
        )

    def logged(self, result: exp.Table) -> exp.Select:
        """The rows of epochs that ended."""
        logs = [
            exp.alias_(column(name), name.removeprefix(LOG_PREFIX), quoted=True) for name in self.step.logs
        ]
        ended = exp.GT(this=column(ENDED), expression=number(0.0))
        return (
            exp.select(exp.alias_(column(TICK), "place", quoted=True), *logs)
            .from_(result.copy())
            .where(ended)
        )


def unpivoted(
    source: exp.Table,
    cells: Sequence[tuple[int, int, Expression]],
    labels: Mapping[str, str],
    where: Expression,
) -> exp.Select:
    """Columns of a row as rows of row, col and value.

    `cells` are expressions over the source, whose alias is ``state``.
    """
    places = exp.values(
        [(place, i, j) for place, (i, j, _) in enumerate(cells)], "cells", ["place", "row", "col"]
    )
    here = column("place", "cells")
    branches = [
        exp.If(this=exp.EQ(this=here.copy(), expression=integer(place)), true=cast(value, "double"))
        for place, (_, _, value) in enumerate(cells)
    ]
    row = exp.select("*").from_(source.copy()).where(where)
    expressions: list[Expression] = [
        exp.alias_(text(value), name, quoted=True) for name, value in labels.items()
    ]
    expressions += [column("row", "cells"), column("col", "cells")]
    expressions.append(exp.alias_(exp.Case(ifs=branches), "value", quoted=True))
    return exp.select(*expressions).from_(row.subquery("state")).join(places, join_type="cross")


def array_of_numbers(values: Sequence[float]) -> Expression:
    """An array of numbers as a literal."""
    type_ = exp.DataType(
        this=exp.DataType.Type.ARRAY, expressions=[exp.DataType.build("double")], nested=True
    )
    return exp.Cast(this=text("{" + ",".join(map(repr, values)) + "}"), to=type_)


def unnested(result: exp.Table, page: str, first: int, units: int, labels: Mapping[str, str]) -> exp.Select:
    """A page of the last state as rows of row, col and value, from the tensor's element `first` on."""
    length = exp.Anonymous(this="cardinality", expressions=[column(page)])
    last = exp.Sub(this=exp.Add(this=integer(first), expression=length), expression=integer(1))
    series = exp.Anonymous(this="generate_series", expressions=[integer(first), last])
    values = exp.Anonymous(this="unnest", expressions=[column(page)])
    pairs = exp.select(
        exp.alias_(values, "value", quoted=True), exp.alias_(series, "place", quoted=True)
    ).from_(result.copy())
    return exp.select(
        *(exp.alias_(text(value), label, quoted=True) for label, value in labels.items()),
        exp.alias_(exp.IntDiv(this=column("place"), expression=integer(units)), "row", quoted=True),
        exp.alias_(exp.Mod(this=column("place"), expression=integer(units)), "col", quoted=True),
        column("value"),
    ).from_(pairs.where(latest(result)).subquery("places", copy=False), copy=False)


@dataclass(frozen=True)
class Link:
    """A relation of the chain: columns made of those of relations before it.

    `of_rows` if it has the rows of the batch, `grouped` if it sums over them.
    """

    name: str
    columns: tuple[tuple[str, Expression], ...]
    of_rows: bool = False
    grouped: bool = False


def links_of(lowered: Lowered, most: int | None = None) -> list[Link]:
    """The relations of a step but for the first and the last, in order.

    `most` is how many sums a relation has at most.
    """
    found: list[Link] = []
    for number_, phase in enumerate(lowered.phases):
        found += [Link(f"once_{number_}_{k}", stage.columns) for k, stage in enumerate(phase.once)]
        found += [
            Link(f"rows_{number_}_{k}", stage.columns, of_rows=True) for k, stage in enumerate(phase.rows)
        ]
        groups = grouped(phase.sums, most)
        for k, group in enumerate(groups):
            name = f"sums_{number_}" if len(groups) == 1 else f"sums_{number_}_{k}"
            found.append(Link(name, tuple(group), grouped=True))
    return found


def grouped(
    sums: Sequence[tuple[str, Expression]], most: int | None
) -> list[Sequence[tuple[str, Expression]]]:
    """Sums in groups of at most so many, none if there are none."""
    if most is None:
        return [sums] if sums else []
    groups: list[list[tuple[str, Expression]]] = []
    room = 0
    for name, value in sums:
        count = len(value.args["places"]) if isinstance(value, Repeated) else 1
        if count > room:
            groups.append([])
            room = most
        groups[-1].append((name, value))
        room -= count
    return [*groups]


class Chain:
    """The CTEs of one step.

    Relations of one row have only the columns that they make, and are joined by whatever reads them: carrying
    hundreds of parameters from stage to stage takes engines long to plan. Relations of rows carry on what is
    still needed of the row. Expressions are shared between steps, not copied; so columns have no qualifier,
    and no two relations that meet have one of the same name.
    """

    def __init__(self, layout: ColumnsLayout, state: exp.Table, tables: Tables, prefix: str) -> None:
        self.layout = layout
        self.state = state
        self.tables = tables
        self.prefix = prefix
        self.gate = f"{prefix}batch"
        # Where the columns of one-row relations are.
        self.home = dict.fromkeys(layout.columns, state.alias_or_name)
        self.home |= dict.fromkeys([NOW, *OF_BATCH], self.gate)
        # The last relation of rows of each part.
        self.rows: list[str | None] = [None] * layout.parts

    def run(self, until: Expression) -> list[Cte]:
        final = Link("next", tuple((name, self.layout.next_values[name]) for name in self.layout.columns))
        parts = self.layout.parts
        gate = self.layout.gate(self.state, self.tables, until)
        # There is one row, and rows are to be read in their order wherever they are, not through an index.
        made = [Cte(self.gate, gate if parts == 1 else gate.limit(1, copy=False))]
        links = [*self.layout.links, final]
        for link, carried in zip(links, self.layout.carried, strict=True):
            name = f"{self.prefix}{link.name}"
            fence = Fence.STATE if link is final else Fence.NONE if link.grouped else Fence.STAGE
            names = apart(name, parts) if link.of_rows or link.grouped else [name]
            made += (Cte(own, self.query(link, carried, part), fence) for part, own in enumerate(names))
            if link.of_rows:
                self.rows = list(names)
                continue
            if len(names) > 1:
                whole = [(own, added(own, value, names)) for own, value in link.columns]
                made.append(Cte(name, totals(whole, names), fence))
            if link is not final:
                self.home |= dict.fromkeys([column_name for column_name, _ in link.columns], name)
        return made

    def query(self, link: Link, carried: tuple[str, ...], part: int) -> exp.Select:
        """The SELECT of a relation, of a part if it is one of rows or their sums."""
        reads = read_by(value for _, value in link.columns)
        others = {self.home[name] for name in reads if name in self.home}
        columns = [*((name, column(name)) for name in carried), *link.columns]
        if not (link.of_rows or link.grouped):
            return select(columns, quoted(self.gate), [*others - {self.gate}])
        rows = self.rows[part]
        if rows is None:
            name = apart(EXAMPLES, self.layout.parts)[part]
            examples = exp.alias_(self.tables(name), name, table=True)
            query = select(columns, quoted(self.gate), [*others - {self.gate}])
            query = query.join(examples, copy=False, **self.layout.matched)
        else:
            query = select(columns, quoted(rows), [*others])
        # Of a part that has no row of the batch there is a row of sums all the same.
        is_grouped = link.grouped and self.layout.parts == 1
        return query.group_by(column(BATCH_NUMBER), copy=False) if is_grouped else query


def in_line(
    layout: ColumnsLayout, state: exp.Table, tables: Tables, until: Expression, prefix: str
) -> list[Cte]:
    """The CTEs of one step, each read by the next alone.

    The state travels along as columns of every row, and through sums as the greatest of equal values.
    """
    final = Link("next", tuple((name, layout.next_values[name]) for name in layout.columns))
    links = [*layout.links, final]
    # What is read after each relation.
    live: set[str] = set()
    after: list[set[str]] = []
    for link in reversed(links):
        after.append(live)
        live = (live - {name for name, _ in link.columns}) | read_by(value for _, value in link.columns)
    after.reverse()
    of_rows = layout.row_names - {BATCH_NUMBER}
    gate = layout.gate(state, tables, until)
    states = sorted(name for name in live if name in layout.columns)
    gate = gate.select(*(column(name, state.alias_or_name) for name in states), copy=False)
    made = [Cte(f"{prefix}batch", gate)]
    joined = summed = False
    for place, link in enumerate(links):
        name = f"{prefix}{link.name}"
        kept = sorted((after[place] - {own for own, _ in link.columns}) | {TURN})
        own = link.columns
        last = link.grouped and not any(later.of_rows for later in links[place:])
        if link.grouped and not last:
            # Rows are still needed: the sums stand beside each of them.
            own = tuple((label, exp.Window(this=value, partition_by=[column(TURN)])) for label, value in own)
        rows_here = (link.of_rows or link.grouped) and not joined
        if not (joined or rows_here) or summed:
            kept = [label for label in kept if label not in of_rows]
        if last:
            carried = [
                (label, exp.Max(this=column(label)) if label != TURN else column(label)) for label in kept
            ]
        else:
            carried = [(label, column(label)) for label in kept]
        columns = [*carried, *own] if link is not final else list(own)
        query = select(columns, quoted(made[-1].name))
        if rows_here:
            examples = exp.alias_(tables(EXAMPLES), EXAMPLES, table=True)
            query = query.join(examples, copy=False, **layout.matched)
            joined = True
        if last:
            query = query.group_by(column(TURN), copy=False)
            summed = True
        made.append(Cte(name, query, Fence.STATE if link is final else Fence.STAGE))
    return made


def extended(query: exp.Select, columns: Sequence[tuple[str, Expression]]) -> exp.Select:
    """All of a query and some columns made of it."""
    named = [exp.alias_(value, name, quoted=True) for name, value in columns]
    return exp.Select(expressions=[exp.Star(), *named]).from_(
        query.subquery("so far", copy=False), copy=False
    )


def sums_of(stages: Sequence[Stage], sums: Sequence[tuple[str, Expression]]) -> exp.Select:
    """A row (STRUCT) of sums over the rows of a batch's array, after stages over them."""
    row = exp.to_identifier("r", quoted=True)
    unnested = exp.Unnest(expressions=[column(ROWS)], alias=exp.TableAlias(columns=[row]))
    star = exp.Column(this=exp.Star(), table=row.copy())
    query = exp.Select(expressions=[star]).from_(unnested, copy=False)
    for stage in stages:
        query = extended(query, stage.columns)
    named = [exp.alias_(value, name, quoted=True) for name, value in sums]
    total = exp.Select(expressions=named, kind="STRUCT")
    return total.from_(query.subquery("so far", copy=False), copy=False)

"""A program over lists, cut where it sums over the rows of a batch, for batches in parts.

Each pass goes over the rows of a part and ends with aggregates over them; the last stages work with the
aggregates of all parts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from sqlglot import exp

from selectron.layouts.arrays import Aggregate, Lowered
from selectron.layouts.inlining import condensed
from selectron.layouts.kernels import element_of
from selectron.layouts.stages import Stage, leveled, read_by
from selectron.sql import call, column, quoted

__all__ = ["Pass", "passes", "total"]

Expression = exp.Expr


@dataclass(frozen=True)
class Pass:
    """Stages, and what is wanted of them as expressions over the last one."""

    stages: tuple[Stage, ...]
    outputs: Mapping[str, Expression]

    @property
    def reads(self) -> set[str]:
        """The columns that must be there before the first stage."""
        columns = [own for stage in self.stages for own in stage.columns]
        read = read_by([*(value for _, value in columns), *self.outputs.values()])
        return read - {name for name, _ in columns}


def passes(lowered: Lowered, kept: Collection[str]) -> tuple[list[Pass], Pass]:
    """The passes over the rows, each with aggregates for outputs, and what is left to do after them.

    Parameters
    ----------
    lowered
        A program whose aggregates are columns of their own.
    kept
        What names of columns that stay begin with (see :func:`condensed`).
    """
    columns = [own for stage in lowered.stages for own in stage.columns]
    reads = {name: read_by([value]) for name, value in columns}
    before: dict[str, int] = {}
    for name, _ in columns:
        # How many passes come before a column at the least.
        before[name] = max(
            (before.get(read, 0) + (read in lowered.aggregates) for read in reads[name]), default=0
        )
    count = 1 + max((before[name] for name in lowered.aggregates), default=-1)
    # An aggregate is of the last pass before it is read. So a sum of weights, which gradients are divided by,
    # has a pass that computes nothing else.
    needed = dict.fromkeys(read_by(lowered.outputs.values()), count)
    ends: list[dict[str, Expression]] = [{} for _ in range(count)]
    for name, value in reversed(columns):
        if name not in needed:
            continue
        at = needed[name]
        if name in lowered.aggregates:
            at -= 1
            ends[at][name] = value
        for read in reads[name]:
            needed[read] = min(needed.get(read, count), at)
    over_rows = [cut(columns, own, lowered.aggregates, kept) for own in ends]
    return over_rows, cut(columns, lowered.outputs, lowered.aggregates, kept)


def cut(
    columns: Iterable[tuple[str, Expression]],
    outputs: Mapping[str, Expression],
    given: Collection[str],
    kept: Collection[str],
) -> Pass:
    """The stages that some outputs need, over what is given."""
    needed = read_by(outputs.values())
    wanted: list[tuple[str, Expression]] = []
    for name, value in reversed(list(columns)):
        if name in needed and name not in given:
            wanted.append((name, value.copy()))
            needed |= read_by([value])
    own = {name: value.copy() for name, value in outputs.items()}
    return Pass(*condensed(leveled(reversed(wanted)), own, kept))


def total(name: str, aggregate: Aggregate, names: Iterable[str]) -> Expression:
    """An aggregate over all parts: element by element, where it is lists.

    >>> total("s", Aggregate(1, False), ["a", "b"]).sql("duckdb")
    'LIST_TRANSFORM("a"."s", LAMBDA "row", "i" : "row" + "b"."s"["i"])'
    """
    first, *others = (column(name, relation) for relation in names)
    places = [quoted(place) for place in ("i", "j")[: aggregate.depth]]

    def combined(value: Expression) -> Expression:
        parts = [value]
        for other in others:
            element: Expression = other
            for place in places:
                element = element_of(element, place.copy())
            parts.append(element)
        if aggregate.is_greatest:
            return exp.Anonymous(this="greatest", expressions=parts)
        whole = parts[0]
        for part in parts[1:]:
            whole = exp.Add(this=whole, expression=part)
        return whole

    elements = [quoted(element) for element in ("row", "unit")[: aggregate.depth]]
    body = combined(elements[-1] if elements else first)
    for depth in range(aggregate.depth - 1, -1, -1):
        over = elements[depth - 1].copy() if depth else first
        parameters = [elements[depth].copy(), places[depth].copy()]
        body = call("list_transform", over, exp.Lambda(this=body, expressions=parameters))
    return body

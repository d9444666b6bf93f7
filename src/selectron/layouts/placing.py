"""Where the elements of a tensor are in the `columns` layout: a column each, or arrays that are columns.

Engines take only so many columns. Where a state has more numbers than that, each of its tensors, and whatever
else of one row is made of it, is cut into pages: arrays of numbers, each a column.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from sqlglot import exp

from selectron.program.tensor import BATCH, Shape
from selectron.repeated import Element, Index, Names, Repeated, array_of
from selectron.sql import balanced, column, integer

__all__ = ["UNITS", "Place", "Placing", "cells", "element_name", "elements", "extent_of", "paged"]

Expression = exp.Expr
Place = int | Index
T = TypeVar("T")
# What the place in a page is called beside its values.
PLACE: Final = "place in page"


def extent_of(shape: Shape, axis: int) -> int:
    """How many places an axis has; along the batch axis one, since that is rows."""
    return 1 if shape[axis] == BATCH else int(shape[axis])


def cells(shape: Shape) -> int:
    """How many elements a row has of a tensor.

    >>> cells(("batch", 3)), cells((2, 3))
    (3, 6)
    """
    return extent_of(shape, 0) * extent_of(shape, 1)


def elements(shape: Shape) -> Iterator[tuple[int, int]]:
    """The places of a tensor's elements; along the batch axis there is one.

    >>> list(elements(("batch", 2)))
    [(0, 0), (0, 1)]
    """
    return ((i, j) for i in range(extent_of(shape, 0)) for j in range(extent_of(shape, 1)))


def element_name(name: str, shape: Shape, i: int, j: int) -> str:
    """What the column of an element is called.

    >>> element_name("w", (3, 2), 0, 1), element_name("b", (1, 2), 0, 1), element_name("r", (1, 1), 0, 0)
    ('w[0,1]', 'b[1]', 'r')
    """
    rows, units = (1 if extent == BATCH else extent for extent in shape)
    if rows == 1 and units == 1:
        return name
    if rows == 1:
        return f"{name}[{j}]"
    return f"{name}[{i}]" if units == 1 else f"{name}[{i},{j}]"


@dataclass(frozen=True)
class Placing:
    """How tensors become columns.

    `page` is how many numbers an array has at most where tensors of one row are arrays; what the rows of a
    batch have is a column each in any case, as is what has one element.
    """

    page: int | None = None

    def length(self, shape: Shape) -> int | None:
        """How many elements the pages of a tensor have; None if each element is a column."""
        return None if self.page is None or BATCH in shape or cells(shape) == 1 else self.page

    def columns(self, name: str, shape: Shape) -> list[str]:
        """The columns of a tensor, in order.

        >>> Placing().columns("w", (2, 2))
        ['w[0,0]', 'w[0,1]', 'w[1,0]', 'w[1,1]']
        >>> Placing(page=3).columns("w", (2, 2)), Placing(page=3).columns("b", (1, 2))
        (['w page 1', 'w page 2'], ['b'])
        """
        page = self.length(shape)
        if page is None:
            return [element_name(name, shape, i, j) for i, j in elements(shape)]
        return [page_name(name, shape, page, number) for number in range(-(-cells(shape) // page))]

    def names(self, name: str, shape: Shape) -> Names:
        """Where all elements of a tensor are."""
        return Names(tuple(self.columns(name, shape)), extent_of(shape, 1), self.length(shape))

    def read(self, name: str, shape: Shape, i: Place, j: Place) -> Expression:
        """An element of a tensor that has columns.

        >>> Placing(page=3).read("w", (2, 2), 1, 1).sql("postgres")
        '"w page 2"[1]'
        """
        if not (isinstance(i, int) and isinstance(j, int)):
            return Element(names=self.names(name, shape), i=i, j=j)
        page = self.length(shape)
        if page is None:
            return column(element_name(name, shape, i, j))
        number, place = divmod(i * extent_of(shape, 1) + j, page)
        # `offset` keeps sqlglot from shifting the place, which counts from 1 already.
        return exp.Bracket(
            this=column(page_name(name, shape, page, number)), expressions=[integer(place + 1)], offset=1
        )

    def made(
        self, name: str, shape: Shape, value: Callable[[Place, Place], Expression]
    ) -> list[tuple[str, Expression]]:
        """The columns of a tensor, from the value at each of its places."""
        page = self.length(shape)
        if page is None:
            return [(element_name(name, shape, i, j), value(i, j)) for i, j in elements(shape)]
        labels, pages = self.columns(name, shape), paged(list(elements(shape)), page)
        found: list[tuple[str, Expression]] = []
        for label, places in zip(labels, pages, strict=True):
            written = value(*UNITS)
            beside = side_by_side(written, shape, len(found))
            if beside is None:
                found.append((label, array_of(written, UNITS, places)))
                continue
            query = exp.Select(expressions=[beside[0]]).from_(beside[1], copy=False)
            query.order_by(exp.Ordered(this=column(PLACE), nulls_first=False), copy=False)
            found.append((label, exp.Array(expressions=[query])))
        return found

    def total(self, shape: Shape, value: Callable[[Place, Place], Expression]) -> Expression | None:
        """The sum over a tensor that is pages, if its elements are made of others at the same place."""
        page = self.length(shape)
        sums: list[Expression] = []
        for number in range(0 if page is None else -(-cells(shape) // page)):
            beside = side_by_side(value(*UNITS), shape, number)
            if beside is None:
                return None
            query = exp.Select(expressions=[exp.Sum(this=beside[0])]).from_(beside[1], copy=False)
            sums.append(exp.Subquery(this=query))
        return balanced(sums) if sums else None


def side_by_side(value: Expression, shape: Shape, number: int) -> tuple[Expression, Expression] | None:
    """A value at any place of a tensor as one over the pages of that number of all tensors it is made of.

    Where it reads nothing but their elements at the same place, one expression does for a whole page, which
    takes an engine far less to plan than one for each element. Gives the value and the relation of the pages.
    """
    here = tuple(0 if extent == 1 else index for extent, index in zip(shape, UNITS, strict=True))
    read = list(value.find_all(Element))
    if not read or value.find(Repeated, exp.AggFunc, exp.Select):
        return None
    labels: dict[str, str] = {}
    for found in read:
        names = found.args["names"]
        if (found.args["i"], found.args["j"]) != here or names.page is None:
            return None
        label = labels.setdefault(names.columns[number], f"value {len(labels) + 1}")
        if found is value:
            value = column(label)
        else:
            found.replace(column(label))
    alias = exp.TableAlias(
        this=exp.to_identifier("page", quoted=True),
        columns=[exp.to_identifier(label, quoted=True) for label in labels.values()],
    )
    pages = exp.Unnest(
        expressions=[column(name) for name in labels],
        alias=alias,
        offset=exp.to_identifier(PLACE, quoted=True),
    )
    return value, pages


def page_name(name: str, shape: Shape, page: int, number: int) -> str:
    """What the column of a page is called."""
    return name if cells(shape) <= page else f"{name} page {number + 1}"


def paged(values: Sequence[T], page: int) -> list[Sequence[T]]:
    """Values in pages of so many."""
    return [values[first : first + page] for first in range(0, len(values), page)]


# The place of an element of an array that is made; those of sums are counted from there.
UNITS: Final = (Index(0), Index(1))

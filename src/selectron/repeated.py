"""One expression for many places as one node of a tree: all elements of a tensor, or all terms of a sum.

A layer of 784 by 20 has 15,680 weights, each with a product forward, a sum of products and an update: as
ordinary nodes half a million of them, which takes seconds to build and to print. Here the expression is
built once, over :class:`Element` nodes whose places are an :class:`Index`, printed once, and filled in for
each place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from sqlglot import exp
from sqlglot.generator import Generator

from selectron.combination import added
from selectron.sql import column, number

__all__ = ["PRINTED", "Element", "Index", "Names", "Repeated", "array_of", "sum_of"]

Expression = exp.Expr
# No identifier and no text of a database contains it.
MARK: Final = "\x00"


@dataclass(frozen=True)
class Index:
    """A place that is not known yet; a :class:`Repeated` around it says which it takes."""

    number: int


Place = int | Index
Places = tuple[Place, Place]


@dataclass(frozen=True)
class Names:
    """Where the elements of a tensor are: in columns of their own, in arrays of a column each, or nowhere.

    Attributes
    ----------
    columns
        All columns, for whoever asks what is read.
    units
        How many elements a row of the tensor has.
    page
        How many elements an array has; None if each element is a column. Where there are no columns, an
        element is the number of its unit.

    Examples
    --------
    >>> Names(("w[0]", "w[1]"), 2, page=4).spelt(1, 1, '"{}"'.format)
    '"w[0]"[4]'
    """

    columns: tuple[str, ...]
    units: int
    page: int | None = None

    def spelt(self, i: int, j: int, quoted: Callable[[str], str]) -> str:
        """The element as SQL text."""
        place = i * self.units + j
        if self.page is None:
            return quoted(self.columns[place])
        # Arrays count from 1.
        return f"{quoted(self.columns[place // self.page])}[{place % self.page + 1}]"


class Element(exp.Expression):
    """An element of a tensor: `names` is a :class:`Names`, `i` and `j` its place, known or not."""

    arg_types: ClassVar = {"names": True, "i": True, "j": True}


class Repeated(exp.Expression):
    """`this` for many places, each a tuple of numbers that its `indices` take.

    `is_sum` if they are added up, not an array.
    """

    arg_types: ClassVar = {"this": True, "indices": True, "places": True, "is_sum": True}


def array_of(value: Expression, indices: Sequence[Index], places: Sequence[tuple[int, ...]]) -> Repeated:
    """An array of an expression for each of some places.

    >>> w, i = Names(("w",), 3, page=1000), Index(0)
    >>> doubled = exp.Mul(this=exp.Literal.number(2), expression=Element(names=w, i=0, j=i))
    >>> printed(array_of(doubled, [i], [(0,), (2,)]))
    'ARRAY[2 * "w"[1], 2 * "w"[3]]'
    """
    return Repeated(this=value, indices=tuple(indices), places=tuple(places), is_sum=False)


def sum_of(value: Expression, index: Index, count: int) -> Repeated:
    """The sum of an expression for the places 0, 1, ... of an index.

    >>> x, k = Names(("x[0]", "x[1]"), 2), Index(0)
    >>> printed(sum_of(Element(names=x, i=0, j=k), k, 2))
    '"x[0]" + "x[1]"'
    """
    return Repeated(this=value, indices=(index,), places=tuple((k,) for k in range(count)), is_sum=True)


# ------------------------------------------------------------------------------------------- printing


def element_sql(printer: Generator, node: Expression) -> str:
    """The text of an element; a mark if its place is not known."""
    names, i, j = node.args["names"], node.args["i"], node.args["j"]
    if isinstance(i, int) and isinstance(j, int):
        return text_of(printer, names, i, j)
    return f"{MARK}{id(names)},{written(i)},{written(j)}{MARK}"


def repeated_sql(printer: Generator, node: Expression) -> str:
    """The text of an expression for each of its places."""
    numbers = [written(index) for index in node.args["indices"]]
    # Marks name a tensor by its object's number, which lives as long as the tree does.
    known = {id(found.args["names"]): found.args["names"] for found in node.this.find_all(Element)}
    pieces = printer.sql(node, "this").split(MARK)
    fixed = pieces[::2]
    fillers = [filler(printer, known, mark.split(","), numbers) for mark in pieces[1::2]]
    lines = []
    for place in node.args["places"]:
        parts = [fixed[0]]
        for fill, after in zip(fillers, fixed[1:], strict=True):
            parts += fill(place), after
        lines.append("".join(parts))
    return added(lines) if node.args["is_sum"] else f"ARRAY[{', '.join(lines)}]"


def filler(
    printer: Generator, known: Mapping[int, Names], mark: Sequence[str], numbers: Sequence[str]
) -> Callable[[tuple[int, ...]], str]:
    """What a mark becomes at a place: a mark still, if an expression further out says the rest."""
    key, i, j = mark
    names = known[int(key)]
    quoted: dict[str, str] = {}

    def text(name: str) -> str:
        if name not in quoted:
            quoted[name] = printer.sql(column(name))
        return quoted[name]

    def at(written_: str, place: tuple[int, ...]) -> str:
        return str(place[numbers.index(written_)]) if written_ in numbers else written_

    def fill(place: tuple[int, ...]) -> str:
        row, unit = at(i, place), at(j, place)
        if row[0] == "?" or unit[0] == "?":
            return f"{MARK}{key},{row},{unit}{MARK}"
        if not names.columns:
            return text_of(printer, names, int(row), int(unit))
        return names.spelt(int(row), int(unit), text)

    return fill


def text_of(printer: Generator, names: Names, i: int, j: int) -> str:
    if not names.columns:
        return printer.sql(number(float(j)))
    return names.spelt(i, j, lambda name: printer.sql(column(name)))


def written(place: Place) -> str:
    return str(place) if isinstance(place, int) else f"?{place.number}"


# For a generator's table of transformations.
PRINTED: Final[dict[type[exp.Expr], Callable[[Any, Any], str]]] = {
    Element: element_sql,
    Repeated: repeated_sql,
}


def printed(node: Expression) -> str:
    """The text of a node in no engine's own dialect."""

    class Printer(Generator):
        TRANSFORMS: ClassVar = {**Generator.TRANSFORMS, **PRINTED}

    return Printer(identify=True).generate(node)

"""Lists and vectors in SQL of PostgreSQL: what the `vectors` layout writes its tensors with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlglot import exp

from selectron.layouts.placing import cells, extent_of
from selectron.program.tensor import Shape
from selectron.sql import call, cast, column, integer, number, quoted

__all__ = ["PLACE", "Scan", "array_of", "clamped", "joined", "vector"]

Expression = exp.Expr

# Vectors take no infinities, and nothing above single precision's largest number.
GREATEST: Final = 3e38
# Names inside of subqueries, where no tensor is called like that.
PLACE: Final = "place"


def clamped(value: Expression) -> Expression:
    """A number that a vector takes: of NaN the greatest, which makes what follows as large.

    >>> clamped(exp.column("a")).sql()
    'GREATEST(LEAST(a, 3e+38), -3e+38)'
    """
    below = call("least", value, number(GREATEST))
    return call("greatest", below, number(-GREATEST))


def vector(value: Expression) -> Expression:
    """An array as a vector.

    >>> vector(exp.column("a")).sql("postgres")
    'CAST(a AS VECTOR)'
    """
    return cast(value, "vector")


@dataclass
class Scan:
    """The elements of lists of one shape, side by side, in a subquery that is being built."""

    shape: Shape
    lists: dict[str, str] = field(default_factory=dict)

    @property
    def place(self) -> Expression:
        """The place of the element, from 0."""
        return exp.paren(exp.Sub(this=column(PLACE), expression=integer(1)), copy=False)

    @property
    def row(self) -> Expression:
        return exp.Mod(this=self.place, expression=integer(extent_of(self.shape, 0)))

    @property
    def unit(self) -> Expression:
        return exp.IntDiv(this=self.place, expression=integer(extent_of(self.shape, 0)))

    def element(self, name: str) -> Expression:
        """The element of a list."""
        return column(self.lists.setdefault(name, f"element {len(self.lists)}"))

    def select(self, expressions: Iterable[Expression]) -> exp.Select:
        """A query over the elements, which come in the order in which the lists hold them."""
        query = exp.Select(expressions=list(expressions))
        if not self.lists:
            places = call("generate_series", integer(1), integer(cells(self.shape)))
            alias = exp.TableAlias(this=quoted("elements"), columns=[quoted(PLACE)])
            return query.from_(exp.Table(this=places, alias=alias), copy=False)
        alias = exp.TableAlias(this=quoted("elements"), columns=[quoted(n) for n in self.lists.values()])
        lists = [column(name) for name in self.lists]
        return query.from_(exp.Unnest(expressions=lists, alias=alias, offset=quoted(PLACE)), copy=False)


def array_of(query: exp.Select) -> Expression:
    return exp.Array(expressions=[query])


def joined(parts: Sequence[Expression]) -> Expression:
    """Lists one after another, as a balanced tree."""
    if len(parts) == 1:
        return parts[0]
    half = len(parts) // 2
    left, right = joined(parts[:half]), joined(parts[half:])
    if isinstance(right, exp.DPipe):
        right = exp.paren(right, copy=False)
    return exp.DPipe(this=left, expression=right)

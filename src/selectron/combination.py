"""A sum of columns times numbers as one node of a tree: networks with weights written down are mostly such.

As ordinary nodes a layer of 784 by 200 would be 800,000 of them, which takes a quarter of a minute to build
and to print; as one node for each unit it takes a fraction of a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar, Final

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.generator import Generator

from selectron.sql import column

__all__ = ["Combination", "combination", "combination_sql", "combining"]

# A longer sum is cut into sums in parentheses: parsers and planners recurse along a sum.
MOST_TERMS: Final = 16


class Combination(exp.Expression):
    """A weighted sum: `columns` is a tuple of names, `weights` a tuple of as many numbers."""

    arg_types: ClassVar = {"columns": True, "weights": True}


def combination(columns: Sequence[str], weights: Sequence[float]) -> Combination:
    """The node.

    >>> combining("duckdb")().generate(combination(["a", "b"], [0.5, -2.0]))
    '"a" * 0.5e0 + "b" * -2.0e0'
    """
    # Tuples, since copies and walks of a tree go through lists.
    return Combination(columns=tuple(columns), weights=tuple(weights))


def combination_sql(printer: Generator, node: exp.Expr) -> str:
    """The text of a node, for a generator's table of transformations."""
    names, weights = printed(printer, node.args["columns"]), node.args["weights"]
    terms = [f"{name} * {written(weight)}" for name, weight in zip(names, weights, strict=True) if weight]
    return added(terms) if terms else written(0.0)


# The units of a layer share their columns, so that these are printed once for all of them.
@lru_cache(maxsize=8)
def printed(printer: Generator, columns: tuple[str, ...]) -> tuple[str, ...]:
    """Columns as a generator prints them."""
    return tuple(printer.sql(column(name)) for name in columns)


def combining(dialect: str) -> type[Generator]:
    """A dialect's generator that prints the node."""
    generator = Dialect.get_or_raise(dialect).generator_class
    transforms = {**generator.TRANSFORMS, Combination: combination_sql}
    return type(f"Combining{generator.__name__}", (generator,), {"TRANSFORMS": transforms})


def written(weight: float) -> str:
    """A finite number as :func:`selectron.sql.number` prints it."""
    text = repr(weight)
    return text if "e" in text else f"{text}e0"


def added(terms: Sequence[str]) -> str:
    """A sum of terms, in parentheses by groups if there are many.

    >>> added([str(i) for i in range(18)])
    '(0 + 1 + 2 + 3 + 4 + 5 + 6 + 7 + 8 + 9 + 10 + 11 + 12 + 13 + 14 + 15) + (16 + 17)'
    """
    while len(terms) > MOST_TERMS:
        groups = (terms[start : start + MOST_TERMS] for start in range(0, len(terms), MOST_TERMS))
        terms = [f"({' + '.join(group)})" for group in groups]
    return " + ".join(terms)

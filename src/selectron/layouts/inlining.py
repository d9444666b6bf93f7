"""Fewer stages: a column that is read once, outside of loops, is written down where it is read.

Each stage costs planning time, and a projection in every step.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from sqlglot import exp

from selectron.layouts.stages import Stage, leveled

__all__ = ["condensed"]

Expression = exp.Expr

# What computes with numbers alone, so that doing it twice costs less than a stage.
PLAIN: Final = (
    exp.Abs,
    exp.Add,
    exp.Case,
    exp.Column,
    exp.Div,
    exp.Identifier,
    exp.If,
    exp.Literal,
    exp.Mul,
    exp.Neg,
    exp.Paren,
    exp.Predicate,
    exp.Sub,
)
# How often what is plain is written down at the most.
TIMES: Final = 2
# Where an operand needs no parentheses.
WRAPPING: Final = (exp.Case, exp.Cast, exp.Func, exp.If, exp.Paren)


def condensed(
    stages: Sequence[Stage], outputs: Mapping[str, Expression], kept: Collection[str]
) -> tuple[tuple[Stage, ...], dict[str, Expression]]:
    """Stages and outputs over the last one, with fewer columns and so fewer stages.

    Parameters
    ----------
    outputs
        Each is read once.
    kept
        What names of columns that stay begin with, since they mean something to readers.

    Examples
    --------
    >>> from selectron.sql import call, column
    >>> squares = call("list_transform", column("x"), exp.Lambda(this=exp.var("..."), expressions=[]))
    >>> stages = [Stage((("squares", squares),))]
    >>> stages, outputs = condensed(stages, {"y": call("list_sum", column("squares"))}, ())
    >>> stages, outputs["y"].sql("duckdb")
    ((), 'LIST_SUM(LIST_TRANSFORM("x", LAMBDA : ...))')
    """
    columns = [own for stage in stages for own in stage.columns]
    # Under a node of its own each, so that a whole one can be replaced, too.
    holders = {name: exp.Paren(this=expression) for name, expression in columns}
    ends = {name: exp.Paren(this=expression) for name, expression in outputs.items()}
    reads: dict[str, dict[int, exp.Column]] = {name: {} for name in holders}

    def note(value: Expression) -> None:
        for found in value.find_all(exp.Column):
            if found.name in reads:
                reads[found.name][id(found)] = found

    for holder in (*holders.values(), *ends.values()):
        note(holder)
    for name, _ in columns:
        own = list(reads[name].values())
        once = len(own) == 1 or (len(own) <= TIMES and is_plain(holders[name]))
        if not once or any(map(is_repeated, own)) or any(map(name.startswith, kept)):
            continue
        value = holders.pop(name).this
        for found in value.find_all(exp.Column):
            if found.name in reads:
                del reads[found.name][id(found)]
        for read in own:
            copy = value.copy()
            note(copy)
            read.replace(copy if isinstance(read.parent, WRAPPING) else exp.paren(copy, copy=False))
    left = leveled([(name, holder.this) for name, holder in holders.items()])
    return left, {name: end.this for name, end in ends.items()}


def is_repeated(read: exp.Column) -> bool:
    """Whether a column is read inside a loop."""
    return read.find_ancestor(exp.Lambda) is not None


def is_plain(value: Expression) -> bool:
    return all(isinstance(node, PLAIN) for node in value.walk())

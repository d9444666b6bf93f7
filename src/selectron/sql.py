"""The few SQL values whose spelling is easy to get wrong, each made in one place."""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from string import ascii_lowercase, ascii_uppercase
from typing import Final

from sqlglot import exp

__all__ = [
    "MOMENT",
    "balanced",
    "call",
    "case",
    "cast",
    "column",
    "double",
    "encodable",
    "folded",
    "growing",
    "integer",
    "number",
    "quoted",
    "quotient",
    "text",
]


# The mark of a cast to text whose value is a date or a timestamp; what it is of the two.
MOMENT: Final = "moment"
LOWER: Final = str.maketrans(ascii_uppercase, ascii_lowercase)


def folded(name: str) -> str:
    """A name without case as engines see it: of ASCII letters only, so that ß is not ss, nor Ä ä.

    >>> folded("SELECT Größe")
    'select größe'
    """
    return name.translate(LOWER)


def encodable(value: str) -> bool:
    r"""Whether text can be sent to a database: half of a surrogate pair, as in broken file names, cannot.

    >>> encodable("größe"), encodable("\ud800")
    (True, False)
    """
    # What str itself knows at once, since statements may be long.
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


@contextmanager
def growing() -> Iterator[None]:
    """While trees of expressions grow or are printed, the cycle collector rests.

    Every node knows its parent, so that trees are cycles; the collector would go through all of them again
    and again while they grow, which takes three quarters of the time where a table has hundreds of columns.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def number(value: float) -> exp.Expr:
    """A DOUBLE literal that gives back exactly `value`.

    Written with an exponent, since DuckDB reads ``0.94`` as a DECIMAL and ``0.94e0`` as a DOUBLE.

    >>> number(0.94).sql(), number(-3.0).sql(), number(1e-300).sql()
    ('0.94e0', '-3.0e0', '1e-300')
    """
    value = float(value)
    if not math.isfinite(value):
        return cast(exp.Literal.string(str(value)), "double")
    text = repr(abs(value))
    literal = exp.Literal.number(text if "e" in text else f"{text}e0")
    return exp.Neg(this=literal) if math.copysign(1.0, value) < 0 else literal


def integer(value: int) -> exp.Expr:
    """An integer literal.

    >>> integer(-2).sql()
    '-2'
    """
    literal = exp.Literal.number(str(abs(int(value))))
    return exp.Neg(this=literal) if value < 0 else literal


def text(value: str) -> exp.Expr:
    """A string literal, quotes escaped when printed.

    >>> text("O'Brien").sql()
    "'O''Brien'"
    """
    return exp.Literal.string(value)


def double(value: exp.Expr) -> exp.Cast:
    """A value cast to DOUBLE, without parsing the type's name each time.

    >>> double(exp.column("a")).sql()
    'CAST(a AS DOUBLE)'
    """
    return cast(value, "double")


def cast(value: exp.Expr, type_: str) -> exp.Cast:
    """A value cast to a type, whose name is parsed only once.

    >>> cast(exp.column("a"), "bigint").sql()
    'CAST(a AS BIGINT)'
    """
    return exp.Cast(this=value, to=data_type(type_).copy())


@cache
def data_type(name: str) -> exp.DataType:
    return exp.DataType.build(name)


def call(name: str, *arguments: exp.Expr) -> exp.Anonymous:
    """A call of a function by its name, which is written as it is.

    >>> call("list_sum", column("a")).sql()
    'LIST_SUM("a")'
    """
    return exp.Anonymous(this=name, expressions=list(arguments))


def case(*branches: tuple[exp.Expr, exp.Expr], default: exp.Expr) -> exp.Case:
    """CASE with a value for each condition, tried in order.

    >>> case((column("a"), number(1.0)), default=number(0.0)).sql()
    'CASE WHEN "a" THEN 1.0e0 ELSE 0.0e0 END'
    """
    return exp.Case(
        ifs=[exp.If(this=condition, true=value) for condition, value in branches], default=default
    )


def quoted(name: str) -> exp.Identifier:
    """A name that is written as it is.

    >>> quoted("select").sql()
    '"select"'
    """
    return exp.to_identifier(name, quoted=True)


def column(name: str, table: str | None = None) -> exp.Column:
    """A quoted column.

    >>> column("select", "r").sql()
    '"r"."select"'
    """
    return exp.column(name, table=table, quoted=True)


def quotient(left: exp.Expr, right: exp.Expr) -> exp.Div:
    """One DOUBLE by another, neither of them a sum without parentheses.

    Not `safe`, which would put a NULLIF around divisors that are never zero here; `typed`, since DOUBLEs are
    divided as such everywhere, without a cast that says it again.

    >>> quotient(double(column("a")), number(2.0)).sql("sqlite")
    'CAST("a" AS REAL) / 2.0e0'
    """
    return exp.Div(this=left, expression=right, typed=True, safe=False)


def balanced(terms: Sequence[exp.Expr]) -> exp.Expr:
    """The sum of `terms` as a balanced tree; a left-deep one costs DuckDB cubic planning time.

    >>> balanced([exp.column(c) for c in "abcd"]).sql()
    '(a + b) + (c + d)'
    """
    if not terms:
        return number(0.0)
    if len(terms) == 1:
        return terms[0]
    half = len(terms) // 2
    sides = (balanced(terms[:half]), balanced(terms[half:]))
    left, right = (exp.paren(side, copy=False) if isinstance(side, exp.Add) else side for side in sides)
    return exp.Add(this=left, expression=right)

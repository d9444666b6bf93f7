"""Expressions said with what every dialect has: arithmetic, CASE, EXP, LN and a few more.

The layers above write DuckDB's functions. Here they become arithmetic, with results that differ by rounding:

- ``exp`` is taken of numbers between -300 and 300, since many engines raise an error where it is too large
  or too small; nothing that a sum could show is lost.
- ``tanh(x)`` is ``1 - 2 / (1 + exp(2 x))``, and ``2 atanh(q)`` of softplus is ``ln((1 + q) / (1 - q))``.
- Days, weekdays and days of the year are counted from days since 1970; moments are taken to the second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial, reduce
from typing import Final

from sqlglot import exp

from selectron.combination import Combination
from selectron.portable.dialects import Writing
from selectron.sql import call, double, number, quotient

__all__ = ["rewritten"]

Expression = exp.Expr

GREATEST_EXPONENT: Final = 300.0


def inside(value: Expression) -> Expression:
    return exp.paren(value, copy=False) if isinstance(value, (exp.Binary, exp.Neg, Combination)) else value


def add(left: Expression, right: Expression) -> Expression:
    return exp.Add(this=inside(left), expression=inside(right))


def subtract(left: Expression, right: Expression) -> Expression:
    return exp.Sub(this=inside(left), expression=inside(right))


def multiply(left: Expression, right: Expression) -> Expression:
    return exp.Mul(this=inside(left), expression=inside(right))


def divide(left: Expression, right: Expression) -> Expression:
    return quotient(inside(left), inside(right))


def floor(value: Expression) -> Expression:
    return exp.Floor(this=value)


def modulo(value: Expression, divisor: float) -> Expression:
    """The remainder of a number that is not negative."""
    quotient = floor(divide(value.copy(), number(divisor)))
    return subtract(value, multiply(quotient, number(divisor)))


def bounded_exponential(writing: Writing, power: Expression) -> Expression:
    below = call(writing.least, power, number(GREATEST_EXPONENT))
    return exp.Exp(this=call(writing.greatest, below, number(-GREATEST_EXPONENT)))


def tanh(writing: Writing, x: Expression) -> Expression:
    raised = bounded_exponential(writing, multiply(number(2.0), x))
    return subtract(number(1.0), divide(number(2.0), add(number(1.0), raised)))


def atanh(writing: Writing, q: Expression) -> Expression:
    ratio = divide(add(number(1.0), q), subtract(number(1.0), q.copy()))
    return multiply(number(0.5), exp.Ln(this=ratio))


def nested(name: str, values: Sequence[Expression]) -> Expression:
    """A call of more than two as calls of two, since not every dialect takes more."""
    return reduce(partial(call, name), values)


def days(writing: Writing, column: Expression) -> Expression:
    return double(writing.days(column.copy()))


def seconds(writing: Writing, column: Expression) -> Expression:
    """Seconds since the start of the day."""

    def field(name: str) -> Expression:
        return double(writing.field(name, column.copy()))

    hours = add(multiply(field("hour"), number(3600.0)), multiply(field("minute"), number(60.0)))
    return add(hours, floor(field("second")))


def day_of_year(writing: Writing, column: Expression) -> Expression:
    """Days from the first of January on, which is 1."""

    def leap_days(since: float, every: float) -> Expression:
        year = double(writing.field("year", column.copy()))
        return floor(divide(subtract(year, number(since)), number(every)))

    year = double(writing.field("year", column.copy()))
    start = multiply(subtract(year, number(1970.0)), number(365.0))
    start = add(start, leap_days(1969.0, 4.0))
    start = add(subtract(start, leap_days(1901.0, 100.0)), leap_days(1601.0, 400.0))
    return add(subtract(days(writing, column), start), number(1.0))


def day_of_week(writing: Writing, column: Expression) -> Expression:
    """Sunday is 0; the first of January 1970 was a Thursday. Weeks added keep the dividend positive."""
    return modulo(add(days(writing, column), number(4.0 + 7.0 * 1_000_000)), 7.0)


def hour(writing: Writing, column: Expression) -> Expression:
    return double(writing.field("hour", column.copy()))


FIELDS: Final[Mapping[str, Callable[[Writing, Expression], Expression]]] = {
    "doy": day_of_year,
    "dow": day_of_week,
    "hour": hour,
}


def epoch(writing: Writing, column: Expression, moments: frozenset[str]) -> Expression:
    whole = multiply(days(writing, column), number(86_400.0))
    return add(whole, seconds(writing, column)) if column.name in moments else whole


def rewritten(expression: Expression, writing: Writing, moments: frozenset[str]) -> Expression:
    """An expression with what every dialect has.

    Parameters
    ----------
    moments
        The columns that have a time of day, and not only a date.

    Examples
    --------
    >>> tanh = exp.Anonymous(this="tanh", expressions=[exp.column("x")])
    >>> rewritten(tanh, Writing(), frozenset()).sql()
    '1.0e0 - (2.0e0 / (1.0e0 + EXP(GREATEST(LEAST(2.0e0 * x, 300.0e0), -300.0e0))))'
    """

    root = expression.copy()
    # Children come before what they are part of, so that a rule sees them as they will be.
    for node in reversed(list(root.dfs())):
        new = rewritten_node(node, writing, moments)
        if node is root:
            root = new
        elif new is not node:
            node.replace(new)
    return root


def rewritten_node(node: Expression, writing: Writing, moments: frozenset[str]) -> Expression:
    """A node whose children are rewritten already."""
    if isinstance(node, exp.Exp):
        return bounded_exponential(writing, node.this)
    if isinstance(node, exp.Extract) and node.name in FIELDS:
        (source,) = node.expression.find_all(exp.Column)
        return FIELDS[node.name](writing, source)
    if isinstance(node, exp.Cast):
        # In parentheses, since some dialects write a cast behind its operand.
        node.set("this", inside(node.this))
        return converted(node, writing) if isinstance(node.this, exp.Column) else node
    if isinstance(node, exp.Anonymous):
        return function(node, writing, moments)
    return typed(node) if isinstance(node, exp.Case) else node


def converted(node: exp.Cast, writing: Writing) -> Expression:
    """A cast of a column, where dialects do it otherwise."""
    if node.to.this is exp.DataType.Type.BOOLEAN:
        return writing.truth(node.this)
    return writing.text(node.this) if node.to.this is exp.DataType.Type.TEXT else node


def typed(node: exp.Case) -> Expression:
    """A CASE of nothing but numbers is a decimal one in some dialects, and all arithmetic with it too."""
    if isinstance(node.parent, exp.Cast):
        return node
    values = [branch.args["true"] for branch in node.args["ifs"]] + [node.args.get("default")]
    plain = all(isinstance(value, (exp.Literal, exp.Neg)) and not value.is_string for value in values)
    return double(node.copy()) if plain else node


def function(node: exp.Anonymous, writing: Writing, moments: frozenset[str]) -> Expression:
    """A call of a function that not every dialect has."""
    name, values = node.name.lower(), node.expressions
    if name in ("greatest", "least"):
        return nested(getattr(writing, name), values)
    if name == "tanh":
        return tanh(writing, values[0])
    if name == "atanh":
        return atanh(writing, values[0])
    return epoch(writing, values[0], moments) if name == "epoch" else node

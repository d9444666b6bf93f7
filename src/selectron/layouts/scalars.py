"""Elementwise operations on SQL numbers: the part of a program's SQL that every layout shares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from sqlglot import exp

from selectron.combination import Combination
from selectron.program import operations as op
from selectron.repeated import Repeated
from selectron.sql import cast, integer, number, quotient

__all__ = ["REPEATING", "group", "scalar"]

Expression = exp.Expr
COMPOUND: Final = (exp.Binary, exp.Neg, Combination, Repeated)


def group(expression: Expression) -> Expression:
    """The expression, in parentheses if it needs them as an operand."""
    return exp.paren(expression, copy=False) if isinstance(expression, COMPOUND) else expression


def binary(class_: type[exp.Binary]) -> Callable[..., Expression]:
    def build(left: Expression, right: Expression) -> Expression:
        return class_(this=group(left), expression=group(right))

    return build


def function(name: str) -> Callable[..., Expression]:
    def build(*arguments: Expression) -> Expression:
        return exp.Anonymous(this=name, expressions=list(arguments))

    return build


def divide(left: Expression, right: Expression) -> Expression:
    return quotient(group(left), group(right))


def sigmoid(x: Expression) -> Expression:
    """1 / (1 + exp(-x)): where exp overflows to infinity the quotient is 0, as it should be."""
    exponential = exp.Exp(this=exp.Neg(this=group(x)))
    return divide(number(1.0), exp.Add(this=number(1.0), expression=exponential))


def softplus(x: Expression) -> Expression:
    """max(x, 0) + log1p(exp(-|x|)), with log1p(e) as 2 atanh(e / (2 + e)), exact for small e."""
    doubled = exp.Mul(this=number(2.0), expression=exp.Exp(this=exp.Abs(this=x.copy())))
    quotient = divide(number(1.0), exp.Add(this=number(1.0), expression=doubled))
    correction = exp.Mul(this=number(2.0), expression=function("atanh")(quotient))
    return exp.Add(this=function("greatest")(x, number(0.0)), expression=correction)


def where(condition: Expression, then: Expression, otherwise: Expression) -> Expression:
    return exp.Case(ifs=[exp.If(this=condition, true=then)], default=otherwise)


def modular_multiply(left: Expression, right: Expression) -> Expression:
    factors = (cast(side, "bigint") for side in (left, right))
    product = exp.paren(exp.Mul(this=next(factors), expression=next(factors)), copy=False)
    return cast(exp.Mod(this=product, expression=integer(op.MODULUS)), "double")


SCALARS: Final[Mapping[type[op.Operation], Callable[..., Expression]]] = {
    op.Negate: lambda x: exp.Neg(this=group(x)),
    op.Exp: lambda x: exp.Exp(this=x),
    op.Log: lambda x: exp.Ln(this=x),
    op.Sqrt: lambda x: exp.Sqrt(this=x),
    op.Tanh: function("tanh"),
    op.Sigmoid: sigmoid,
    op.Softplus: softplus,
    op.Absolute: lambda x: exp.Abs(this=x),
    op.Floor: lambda x: exp.Floor(this=x),
    op.Cosine: function("cos"),
    op.StopGradient: lambda x: x,
    op.Add: binary(exp.Add),
    op.Subtract: binary(exp.Sub),
    op.Multiply: binary(exp.Mul),
    op.Divide: divide,
    op.Maximum: function("greatest"),
    op.Minimum: function("least"),
    op.ModularMultiply: modular_multiply,
    op.Less: binary(exp.LT),
    op.LessEqual: binary(exp.LTE),
    op.Equal: binary(exp.EQ),
    op.Where: where,
}

# Operations whose SQL says an operand twice. That operand must be a name, or SQL grows exponentially.
REPEATING: Final[frozenset[type[op.Operation]]] = frozenset({op.Softplus})


def scalar(operation: op.Operation, *arguments: Expression) -> Expression:
    """An elementwise operation on numbers.

    Examples
    --------
    >>> scalar(op.Add(), exp.column("a"), exp.column("b")).sql()
    'a + b'
    """
    build: Callable[..., Any] = SCALARS[type(operation)]
    expression: Expression = build(*arguments)
    return expression

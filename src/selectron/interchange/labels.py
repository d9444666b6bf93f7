"""Values of Python as a column's text, the form in which categories and classes are kept."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any, Final

from sqlglot import exp

from selectron.engines.base import Column, ColumnKind, Engine, Relation
from selectron.errors import ColumnError, SelectronError
from selectron.features.known import MOMENTS, moment_text, text_of
from selectron.sql import column, integer, number, text

__all__ = ["texts_of"]

# More distinct values of a column than this are not looked at.
MOST: Final = 20_000


def texts_of(engine: Engine, relation: Relation, own: Column, values: Sequence[Any]) -> list[str]:
    """Each value as the text that the engine makes of it in a column.

    A value that is in the column is found there, so that 3.0 is the 3 of a column of integers; of any other
    the engine is asked.

    Raises
    ------
    ColumnError
        If a value cannot be one of the column, or two of them have the same text.
    """
    if own.kind is ColumnKind.TEXT:
        texts = [value if isinstance(value, str) else str(value) for value in values]
    else:
        any_text = exp.Anonymous(this="any_value", expressions=[text_of(own)])
        query = exp.select(column(own.name), any_text).from_(relation.source.copy())
        found = engine.rows(query.group_by(column(own.name)).limit(MOST))
        held = [(value, str(text_)) for value, text_ in found if text_ is not None]
        by_value: dict[Any, str] = {}
        for value, text_ in held:
            by_value.setdefault(value, text_)
            by_value.setdefault(text_, text_)
        texts = [
            by_value[value] if value in by_value else asked(engine, relation, own, value) for value in values
        ]
    twice = [text_ for place, text_ in enumerate(texts) if text_ in texts[:place]]
    if twice:
        raise ColumnError(
            f"Two values are both {twice[0]!r} in column {own.name!r} of {relation.label}.",
            hint="Cast the column in a query to the type that the network was trained on.",
        )
    return texts


def asked(engine: Engine, relation: Relation, own: Column, value: Any) -> str:
    """The text of a value that the column does not hold."""
    literal: exp.Expr
    if isinstance(value, bool):
        literal = exp.true() if value else exp.false()
    elif isinstance(value, int):
        literal = integer(value)
    elif isinstance(value, float):
        literal = number(value)
    elif isinstance(value, (str, date)):
        literal = text(str(value))
    else:
        raise unfit(relation, own, value)
    value_there = exp.cast(literal, own.type, dialect="duckdb")
    as_text = moment_text(value_there, own) if own.kind in MOMENTS else exp.cast(value_there, "text")
    try:
        found = engine.rows(exp.select(as_text))[0][0]
    except SelectronError:
        raise unfit(relation, own, value) from None
    return str(found)


def unfit(relation: Relation, own: Column, value: Any) -> ColumnError:
    return ColumnError(
        f"The network knows {value!r} of column {own.name!r}, which is of type {own.type} in "
        f"{relation.label}.",
        hint="Cast the column in a query to the type that the network was trained on.",
    )

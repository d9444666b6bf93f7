"""A table's rows as the network takes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sqlglot import exp

from selectron.blueprint import Blueprint
from selectron.engines.base import Engine, Relation
from selectron.errors import ColumnError
from selectron.features.fitting import fitted_beside
from selectron.features.learn import resolve_columns
from selectron.interchange.dense import input_expressions, input_units
from selectron.program.operations import Array
from selectron.sql import column, folded

__all__ = ["Encoded", "encoded"]


class Encoded:
    """Encoded features that are a query, run when they are asked for.

    Attributes
    ----------
    units
        The names of the network's inputs, in their order.
    """

    def __init__(self, engine: Engine, query: exp.Select, units: Sequence[str]) -> None:
        self.engine = engine
        self.query = query
        self.units = tuple(units)

    def __repr__(self) -> str:
        return f"Encoded({len(self.units)} units)"

    @property
    def sql(self) -> str:
        """The query as text."""
        return self.engine.sql(self.query, pretty=True)

    @property
    def columns(self) -> list[str]:
        """The names of the columns: those that are kept, then the units."""
        return [str(name) for name in self.query.named_selects]

    def rows(self) -> list[tuple[Any, ...]]:
        """The rows as tuples."""
        return self.engine.rows(self.query)

    def df(self) -> Any:
        """The rows as a pandas data frame."""
        return self.engine.frame(self.query, "pandas")

    def array(self) -> Array:
        """The units alone, as an array of (rows, units)."""
        kept = len(self.columns) - len(self.units)
        values = [row[kept:] for row in self.rows()]
        return np.array(values, dtype=np.float64).reshape(len(values), len(self.units))


def encoded(engine: Engine, blueprint: Blueprint, relation: Relation, keep: Sequence[str]) -> Encoded:
    """The units of each row of a relation, beside columns of it that are kept.

    Raises
    ------
    ColumnError
        If the relation lacks a column, or a column that is kept is called as a unit is.
    """
    known = engine.columns(relation)
    fit = fitted_beside(relation, known, blueprint.encoding)
    kept = [own.name for own in resolve_columns(known, keep, relation.label)]
    units = input_units(blueprint)
    taken = {folded(unit) for unit in units}
    for name in kept:
        if folded(name) in taken:
            raise ColumnError(f"Column {name!r} is called as a unit is.", hint="Rename it in a query.")
    # Under names of ours first, so that no unit hides a column that the next one reads.
    inner = [
        exp.alias_(column(fit.own.get(name, name)), f"kept {place}", quoted=True)
        for place, name in enumerate(kept)
    ]
    inner += [
        exp.alias_(value, f"unit {place}", quoted=True)
        for place, value in enumerate(input_expressions(blueprint))
    ]
    rows = exp.select(*inner).from_(fit.relation.source.copy()).subquery("encoded", copy=False)
    outer = [exp.alias_(column(f"kept {place}"), name, quoted=True) for place, name in enumerate(kept)]
    outer += [exp.alias_(column(f"unit {place}"), name, quoted=True) for place, name in enumerate(units)]
    return Encoded(engine, exp.select(*outer).from_(rows, copy=False), units)

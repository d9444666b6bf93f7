"""Tensors of the `arrays` layout to rows of the store and back: (row, col, value), counted from 0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlglot import exp

from selectron.program.operations import Array
from selectron.sql import column, integer, text

__all__ = ["array_from_rows", "array_literal", "array_type", "rows_from_array", "union_all"]

Expression = exp.Expr
Shape = tuple[int, int]


def axes(shape: Shape) -> int:
    """How many lists are nested."""
    return sum(extent != 1 for extent in shape)


def array_type(shape: Shape) -> str:
    """The SQL type of a tensor.

    >>> array_type((3, 2)), array_type((1, 2)), array_type((1, 1))
    ('DOUBLE[][]', 'DOUBLE[]', 'DOUBLE')
    """
    return "DOUBLE" + "[]" * axes(shape)


def array_text(array: Array) -> str:
    """A tensor by units, as the text that DuckDB casts to lists fastest."""
    by_units = array.T if 1 not in array.shape else array.reshape(-1)
    return str(by_units.tolist()) if array.size > 1 else repr(float(array[0, 0]))


def array_literal(array: Array) -> Expression:
    """A tensor of the state as a literal.

    >>> import numpy as np
    >>> array_literal(np.array([[1.0, 2.0], [3.0, 4.0]])).sql("duckdb")
    "CAST('[[1.0, 3.0], [2.0, 4.0]]' AS DOUBLE[][])"
    """
    rows, columns = array.shape
    return exp.cast(text(array_text(array)), array_type((rows, columns)), dialect="duckdb")


def rows_from_array(source: exp.Table, name: str, shape: Shape, labels: Mapping[str, str]) -> exp.Select:
    """A tensor's column of a one-row relation as rows: `labels` as columns, then row, col and value."""
    tensor = column(name)
    flat: Expression = exp.Anonymous(this="flatten", expressions=[tensor]) if axes(shape) == 2 else tensor
    if axes(shape) == 0:
        flat = exp.Array(expressions=[tensor])
    count = shape[0] * shape[1]
    places = exp.Anonymous(this="range", expressions=[integer(0), integer(count)])
    unnested = exp.select(
        exp.alias_(exp.Anonymous(this="unnest", expressions=[flat]), "value", quoted=True),
        exp.alias_(exp.Anonymous(this="unnest", expressions=[places]), "place", quoted=True),
    ).from_(source.copy())
    # By units: a unit's values for all rows, then the next unit's.
    row = exp.Mod(this=column("place"), expression=integer(shape[0]))
    col = exp.IntDiv(this=column("place"), expression=integer(shape[0]))
    return exp.select(
        *(exp.alias_(text(value), label, quoted=True) for label, value in labels.items()),
        exp.alias_(row, "row", quoted=True),
        exp.alias_(col, "col", quoted=True),
        column("value"),
    ).from_(unnested.subquery("unnested", copy=False), copy=False)


def array_from_rows(rows: exp.Select, shape: Shape) -> exp.Subquery:
    """A tensor of the state as a scalar subquery over its rows of row, col and value."""
    if axes(shape) == 2:
        unit = rows.copy()
        unit.set("expressions", [column("col"), exp.alias_(ordered("value", ["row"]), "unit", quoted=True)])
        grouped = unit.group_by(column("col"))
        query = exp.select(ordered("unit", ["col"])).from_(grouped.subquery("units", copy=False), copy=False)
    else:
        query = rows.copy()
        value = ordered("value", ["row", "col"]) if axes(shape) else column("value")
        query.set("expressions", [value])
    return query.subquery(copy=False)


def ordered(name: str, keys: Sequence[str]) -> Expression:
    """list(name ORDER BY keys)."""
    order = [exp.Ordered(this=column(key), nulls_first=False) for key in keys]
    return exp.ArrayAgg(this=exp.Order(this=column(name), expressions=order))


def union_all(queries: Sequence[exp.Query]) -> exp.Query:
    """The rows of all queries."""
    if len(queries) == 1:
        return queries[0]
    half = len(queries) // 2
    return exp.Union(this=union_all(queries[:half]), expression=union_all(queries[half:]), distinct=False)

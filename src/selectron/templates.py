"""Statements written as text, with relations of ours put in: parsed once written, never assembled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlglot
from sqlglot import exp

from selectron.sql import column, integer, text

__all__ = ["filled", "listed"]


def listed(names: Sequence[str], values: Sequence[Sequence[exp.Expr]]) -> exp.Select:
    """Rows that are written down.

    >>> listed(["class", "label"], [[integer(0), text("a")]]).sql("duckdb")
    "SELECT * FROM (VALUES (0, 'a')) AS listed(class, label)"
    """
    tuples = [exp.Tuple(expressions=list(row)) for row in values]
    alias = exp.TableAlias(
        this=exp.to_identifier("listed"), columns=[exp.to_identifier(name) for name in names]
    )
    return exp.select("*").from_(exp.Values(expressions=tuples, alias=alias), copy=False)


def filled(template: str, relations: Mapping[str, exp.Query], labels: Sequence[str]) -> exp.Query:
    """A template with relations put in the place of its CTEs of those names, and the labels listed.

    The CTE ``classes`` or ``targets`` lists the labels: their place (``class`` or ``target``) and ``label``.
    ``CHOSEN(place, 'name')`` stands for the column ``"name <place>"`` of each place.

    >>> rows = exp.select("*").from_("t")
    >>> filled("WITH r AS (SELECT 1) SELECT CHOSEN(p, 'v') FROM r", {"r": rows}, ["a", "b"]).sql("duckdb")
    'WITH r AS (SELECT * FROM t) SELECT CASE WHEN p = 0 THEN "v 0" WHEN p = 1 THEN "v 1" END
     FROM r'
    """
    query = sqlglot.parse_one(template, dialect="duckdb")
    assert isinstance(query, exp.Query)
    with_ = query.args.get("with_") or next(query.find_all(exp.With))
    for cte in with_.expressions:
        if cte.alias in relations:
            times = sum(table.name == cte.alias for table in query.find_all(exp.Table))
            cte.set("this", relations[cte.alias])
            # Read many times, computed once.
            cte.set("materialized", True if times > 1 else None)
        elif cte.alias in SINGULAR:
            rows = [[integer(place), text(label)] for place, label in enumerate(labels)]
            cte.set("this", listed([SINGULAR[cte.alias], "label"], rows))
    for call in list(query.find_all(exp.Anonymous)):
        if call.name.upper() == "CHOSEN":
            place, name = call.expressions
            branches = [
                exp.If(
                    this=exp.EQ(this=place.copy(), expression=integer(number)),
                    true=column(f"{name.name} {number}"),
                )
                for number in range(len(labels))
            ]
            call.replace(exp.Case(ifs=branches))
    return query


SINGULAR = {"classes": "class", "targets": "target"}

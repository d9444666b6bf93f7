"""The `recursive` strategy over any layout: one WITH RECURSIVE statement whose term is a whole step."""

from __future__ import annotations

from sqlglot import exp

from selectron.layouts.base import Cte, Layout, Tables
from selectron.sql import column, integer
from selectron.strategies.nested import with_ctes

__all__ = ["looped_query"]

Expression = exp.Expr

RELATION = "training"
# The recursive term's own name for the relation that recurs: PostgreSQL lets the relation itself be named
# once and never inside an aggregate, but a copy of it as often as one likes.
HERE = "here"
KEY = "key"


def looped_query(
    layout: Layout, *, state: exp.Table | exp.Subquery, tables: Tables, until: Expression
) -> exp.Select:
    """The whole of a training, or a chunk of it, as one query.

    Parameters
    ----------
    state
        A result, or an initial state.
    tables
        The tables of batches by name.
    until
        The tick at which to stop; it stops before if the state says so.
    """
    key = [KEY] if layout.keyed else []
    names = [exp.to_identifier(name, quoted=True) for name in [*key, *layout.columns]]
    relation = exp.table_(RELATION, quoted=True)
    copied = exp.select(*map(column, layout.columns)).from_(relation)
    ctes = [Cte(HERE, copied), *layout.chain(exp.table_(HERE, quoted=True), tables, until, "")]
    last = exp.select(*map(column, layout.columns)).from_(exp.table_(ctes[-1].name, quoted=True))
    anchor = layout.anchor(state)
    if layout.keyed:
        for row in (anchor, last):
            row.set("expressions", [exp.alias_(integer(0), KEY, quoted=True), *row.expressions])
    term = exp.Subquery(this=with_ctes(last, ctes))
    body = exp.Union(this=anchor, expression=term, distinct=False)
    alias = exp.TableAlias(this=exp.to_identifier(RELATION, quoted=True), columns=names)
    query = layout.result(relation.copy())
    cte = exp.CTE(this=body, alias=alias)
    if layout.keyed:
        cte.set("key_expressions", [exp.to_identifier(KEY, quoted=True)])
    query.set("with_", exp.With(expressions=[cte], recursive=True))
    return query

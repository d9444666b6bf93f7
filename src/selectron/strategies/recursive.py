"""The `recursive` strategy over any layout: one WITH RECURSIVE statement whose term is a whole step."""

from __future__ import annotations

from sqlglot import exp

from selectron.engines.base import Copying
from selectron.layouts.base import Cte, Fence, Layout, Tables
from selectron.sql import column, integer
from selectron.strategies.crowded import crowded_query, only_state
from selectron.strategies.nested import HERE, RELATION, with_ctes

__all__ = ["recursive_query"]

Expression = exp.Expr

KEY = "key"


def recursive_query(
    layout: Layout,
    *,
    state: exp.Table | exp.Subquery,
    tables: Tables,
    until: Expression,
    in_term: bool = False,
    copies: Copying = Copying.NEVER,
    frontier: int = 0,
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
    in_term
        Whether the relation that recurs can only be named in the FROM of the recursive term itself.
    copies
        Whether the engine copies expressions into what reads them, and what keeps it from that.
    frontier
        How many empty rows go along with the state, so that the engine gives the parts of a batch to several
        cores; they are left out of the result.
    """
    if frontier and layout.parts > 1:
        return crowded_query(
            layout, state=state, tables=tables, until=until, copies=copies, frontier=frontier
        )
    key = [KEY] if layout.keyed else []
    names = [exp.to_identifier(name, quoted=True) for name in [*key, *layout.columns]]
    relation = exp.table_(RELATION, quoted=True)
    copied = exp.select(*map(column, layout.columns)).from_(relation)
    if layout.parts > 1:
        # As on several cores, rows are scanned.
        copied = only_state(copied, layout)
    anchor = layout.anchor(state)
    here = exp.table_(HERE, quoted=True)
    itself = exp.Table(this=relation.this.copy(), alias=exp.TableAlias(this=here.this.copy()))
    if in_term:
        # All of the step in one query, over the relation itself.
        return recursion(layout, anchor, layout.term(itself, tables, until), names)
    if layout.keyed:
        # A state of one row is read once, and so is the next one.
        *ctes, end = layout.chain(itself, tables, until, "")
        last = end.query
        for row in (anchor, last):
            row.set("expressions", [exp.alias_(integer(0), KEY, quoted=True), *row.expressions])
    else:
        ctes = [Cte(HERE, copied, Fence.NONE), *layout.chain(here, tables, until, "")]
        last = exp.select(*map(column, layout.columns)).from_(exp.table_(ctes[-1].name, quoted=True))
    term = exp.Subquery(this=with_ctes(last, ctes, copies=copies))
    return recursion(layout, anchor, term, names)


def recursion(layout: Layout, anchor: exp.Query, term: exp.Query, names: list[exp.Identifier]) -> exp.Select:
    """What is kept of a relation that starts with `anchor` and goes on with `term`."""
    alias = exp.TableAlias(this=exp.to_identifier(RELATION, quoted=True), columns=names)
    # With a key, DuckDB before 2 takes no UNION ALL; a key replaces what has it either way.
    union = exp.Union(this=anchor, expression=term, distinct=layout.keyed)
    cte = exp.CTE(this=union, alias=alias)
    if layout.keyed:
        cte.set("key_expressions", [exp.to_identifier(KEY, quoted=True)])
    relation = exp.table_(RELATION, quoted=True)
    # By its key, one state is left.
    query = (
        exp.select(*map(column, layout.columns)).from_(relation) if layout.keyed else layout.result(relation)
    )
    query.set("with_", exp.With(expressions=[cte], recursive=True))
    return query

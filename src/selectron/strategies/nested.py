"""The `nested` strategy: so many steps as so many levels of one query, without recursion.

The levels are named queries, each step's over those of the step before, so that the statement grows in
proportion to the steps. `stepwise` is the same query of a few steps, run again and again between tables.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from selectron.engines.base import Copying
from selectron.layouts.base import Cte, Fence, Layout, Tables
from selectron.layouts.storage import union_all
from selectron.sql import integer

__all__ = ["HERE", "RELATION", "nested_query", "staged_queries", "with_ctes"]

Expression = exp.Expr

STATES = "states"
# What recurs, and the recursive term's own name for it: PostgreSQL lets the relation itself be named once and
# never inside an aggregate, but a copy of it as often as one likes.
RELATION = "training"
HERE = "here"


def nested_query(
    layout: Layout,
    *,
    state: exp.Table | exp.Subquery,
    tables: Tables,
    until: Expression,
    steps: int,
    copies: Copying = Copying.NEVER,
) -> exp.Select:
    """So many steps from a state, as one query.

    Parameters
    ----------
    state
        A result, or an initial state.
    tables
        The tables of batches by name.
    until
        The tick at which to stop; it stops before if the state says so.
    steps
        How many steps the query has.
    copies
        Whether the engine copies expressions into what reads them, and what keeps it from that.
    """
    ctes = [Cte("start", layout.anchor(state), Fence.STATE)]
    last = ctes[0]
    taken = []
    for number in range(1, steps + 1):
        ctes += layout.chain(exp.table_(last.name, quoted=True), tables, until, f"step_{number}_")
        last = ctes[-1]
        taken.append(last.name)
    if len(taken) == 1:
        states = taken[0]
    else:
        reads = [exp.select("*").from_(exp.table_(name, quoted=True)) for name in taken]
        ctes.append(Cte(STATES, union_all(reads), Fence.STATE))
        states = STATES
    query = layout.result(exp.table_(states, quoted=True))
    with_ctes(query, ctes, copies=copies)
    return query


def staged_queries(
    layout: Layout, *, state: exp.Table | exp.Subquery, tables: Tables, until: Expression
) -> tuple[list[tuple[str, exp.Query]], exp.Select]:
    """One step as a table for each relation on the way, to be made in order, and the query of the result.

    For engines that expand a CTE at each reference to it; the names are those of tables of the connection.
    """
    start = "selectron_start"
    ctes = [Cte(start, layout.anchor(state)), *layout.chain(tables(start), tables, until, "selectron_")]
    names = {cte.name for cte in ctes}

    def resolved(query: exp.Query) -> exp.Query:
        for table in query.find_all(exp.Table):
            if table.name in names and not table.db:
                alias = table.alias or table.name
                table.replace(exp.alias_(tables(table.name), alias, table=True, quoted=True))
        return query

    made = [(cte.name, resolved(cte.query.copy())) for cte in ctes]
    return made, layout.result(tables(made[-1][0]))


def with_ctes(query: exp.Query, ctes: Sequence[Cte], *, copies: Copying) -> exp.Query:
    """A query with named queries before it, kept apart where the engine would copy their expressions."""
    expressions = [
        exp.CTE(
            this=apart(cte, copies),
            alias=exp.TableAlias(this=exp.to_identifier(cte.name, quoted=True)),
            materialized=hint(cte, copies),
        )
        for cte in ctes
    ]
    query.set("with_", exp.With(expressions=expressions))
    return query


def hint(cte: Cte, copies: Copying) -> bool | None:
    """Whether a CTE is said to be materialized, said not to be, or left to the engine."""
    least = Fence.STAGE if copies is Copying.UNLESS_MATERIALIZED else Fence.STATE
    return True if cte.fence >= least else None


def apart(cte: Cte, copies: Copying) -> exp.Query:
    """The query of a CTE, with what keeps it from being merged into another."""
    query = cte.query
    if copies is Copying.UNLESS_OFFSET and cte.fence is Fence.STAGE and isinstance(query, exp.Select):
        query.set("offset", exp.Offset(expression=integer(0)))
    return query

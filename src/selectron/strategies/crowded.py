"""Recursion on several cores: the state goes along with thousands of rows of nothing.

DuckDB runs a round of a recursion on several threads if the round before left many rows. A training leaves
one, its state, whatever work there is in the term; so empty rows are added to it. For them to cost little,
a state is one value, and nothing but a mark says what a row is: NULL for an empty one, else whether the state
is to be kept. Rows are chosen as they come, so that no others are ever stored.
"""

from __future__ import annotations

from typing import Final

from sqlglot import exp

from selectron.engines.base import Copying
from selectron.layouts.base import ENDED, TICK, Cte, Fence, Layout, Tables, due
from selectron.layouts.kernels import element_of
from selectron.layouts.storage import union_all
from selectron.sql import call, cast, column, integer, number, quoted
from selectron.strategies.nested import HERE, RELATION, with_ctes

__all__ = ["crowded_query", "only_state"]

Expression = exp.Expr

# Whether a state is the last one, or logged; what is left of all that recurred.
KEPT: Final = "kept"
STATE: Final = "state"
CROWD: Final = "crowd"


def crowded_query(
    layout: Layout,
    state: exp.Table | exp.Subquery,
    tables: Tables,
    until: Expression,
    copies: Copying,
    frontier: int,
) -> exp.Select:
    """The recursion of a layout whose batches have parts, with so many empty rows in each round."""
    relation = exp.table_(RELATION, quoted=True)
    crowd = exp.alias_(exp.Table(this=call("range", integer(frontier))), CROWD, table=True, quoted=True)
    nothing = exp.select(exp.Null(), exp.Null())
    anchor = union_all([packed(layout.anchor(state), layout, until), nothing.copy().from_(crowd.copy())])
    states = unpacked(relation, layout).where(exp.Not(this=exp.Is(this=column(KEPT), expression=exp.Null())))
    ctes = [
        Cte(HERE, only_state(states, layout), Fence.STATE),
        *layout.chain(exp.table_(HERE, quoted=True), tables, until, ""),
    ]
    last = exp.table_(ctes[-1].name, quoted=True)
    # Empty rows follow as long as a state does.
    following = union_all(
        [
            packed(exp.select(*map(column, layout.columns)).from_(last), layout, until),
            nothing.from_(last.copy()).join(crowd, join_type="cross"),
        ]
    )
    term = exp.Subquery(this=with_ctes(following, ctes, copies=copies))
    recursion = exp.CTE(
        this=exp.Union(this=exp.Subquery(this=anchor), expression=term, distinct=False),
        alias=exp.TableAlias(this=quoted(RELATION), columns=[quoted(KEPT), quoted(STATE)]),
    )
    kept = exp.CTE(
        this=unpacked(relation, layout).where(column(KEPT)),
        alias=exp.TableAlias(this=quoted(KEPT)),
        materialized=True,
    )
    query = layout.result(exp.table_(KEPT, quoted=True))
    query.set("with_", exp.With(expressions=[recursion, kept], recursive=True))
    return query


def only_state(states: exp.Select, layout: Layout) -> exp.Select:
    """The state of a round, said to be one row where a step scans the rows of its batch.

    Otherwise the engine, which takes it for many, would look for each in an index of all rows, of which very
    many share a key.
    """
    return states.limit(1, copy=False) if layout.scans else states


def packed(states: exp.Select, layout: Layout, until: Expression) -> exp.Select:
    """States as a mark and a list: where there is no state, nothing is stored."""
    if layout.uniform:
        whole = exp.Array(expressions=[cast(column(name), "double") for name in layout.columns])
    else:
        fields = [exp.PropertyEQ(this=quoted(name), expression=column(name)) for name in layout.columns]
        whole = exp.Array(expressions=[exp.Struct(expressions=fields)])
    # The last state is the one that no other follows.
    follows = exp.and_(*due(layout.step, until), copy=False)
    kept: Expression = exp.Not(this=exp.paren(follows, copy=False))
    if ENDED in layout.columns:
        kept = exp.Or(this=kept, expression=exp.GT(this=column(ENDED), expression=number(0.0)))
    return exp.select(exp.alias_(kept, KEPT, quoted=True), exp.alias_(whole, STATE, quoted=True)).from_(
        states.subquery("states", copy=False), copy=False
    )


def unpacked(relation: exp.Table, layout: Layout) -> exp.Select:
    """Rows with a column for each part of a state."""

    fields: dict[str, Expression] = {}
    for place, name in enumerate(layout.columns, start=1):
        entry = element_of(column(STATE), integer(place if layout.uniform else 1))
        if not layout.uniform:
            fields[name] = exp.Dot(this=entry, expression=quoted(name))
        else:
            fields[name] = cast(entry, "bigint") if name == TICK else entry
    return exp.select(*(exp.alias_(value, name, quoted=True) for name, value in fields.items())).from_(
        relation.copy()
    )

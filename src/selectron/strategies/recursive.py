"""The `recursive` strategy over any layout: one WITH RECURSIVE statement whose term is a whole step."""

from __future__ import annotations

from sqlglot import exp

from selectron.engines.base import Copying
from selectron.layouts.base import ENDED, FLAGS, TICK, Cte, Fence, Layout, Tables, running
from selectron.sql import call, cast, column, integer, number, quoted
from selectron.strategies.nested import with_ctes

__all__ = ["recursive_query"]

Expression = exp.Expr

RELATION = "training"
# The recursive term's own name for the relation that recurs: PostgreSQL lets the relation itself be named
# once and never inside an aggregate, but a copy of it as often as one likes.
HERE = "here"
KEY = "key"
# The states that are kept of all that recurred.
KEPT = "kept"
# A whole state as one value.
STATE = "state"


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


def crowded_query(
    layout: Layout,
    state: exp.Table | exp.Subquery,
    tables: Tables,
    until: Expression,
    copies: Copying,
    frontier: int,
) -> exp.Select:
    """The recursion over one column, a state as a whole or nothing, with so many rows of nothing."""
    relation = exp.table_(RELATION, quoted=True)
    here = exp.table_(HERE, quoted=True)
    nothing = exp.Alias(this=exp.Null(), alias=quoted(STATE))
    empty = exp.alias_(exp.Table(this=call("range", integer(frontier))), "frontier", table=True, quoted=True)
    anchor = packed(layout.anchor(state), layout)
    start = exp.Union(this=anchor, expression=exp.select(nothing.copy()).from_(empty.copy()), distinct=False)
    ctes = [
        Cte(HERE, unpacked(relation, layout), Fence.STATE),
        *layout.chain(here, tables, until, ""),
    ]
    last = exp.table_(ctes[-1].name, quoted=True)
    # As long as there is a next state.
    onward = exp.select(nothing).from_(last.copy()).join(empty, join_type="cross")
    following = packed(exp.select(*map(column, layout.columns)).from_(last), layout)
    term = exp.Subquery(
        this=with_ctes(exp.Union(this=following, expression=onward, distinct=False), ctes, copies=copies)
    )
    cte = exp.CTE(
        this=exp.Union(this=exp.Subquery(this=start), expression=term, distinct=False),
        alias=exp.TableAlias(this=quoted(RELATION), columns=[quoted(STATE)]),
    )
    # Chosen as they come, so that no other state is ever kept.
    flags = {flag: column(flag) for flag in FLAGS if flag in layout.step.state}
    goes_on = exp.and_(*running(flags, column(TICK), until), copy=False)
    wanted: Expression = exp.Not(this=exp.paren(goes_on, copy=False))
    if ENDED in layout.columns:
        wanted = exp.Or(this=wanted, expression=exp.GT(this=column(ENDED), expression=number(0.0)))
    states = unpacked(relation, layout).subquery("states", copy=False)
    kept = exp.select("*").from_(states, copy=False).where(wanted, copy=False)
    query = layout.result(exp.table_(KEPT, quoted=True))
    named = exp.CTE(this=kept, alias=exp.TableAlias(this=quoted(KEPT)), materialized=True)
    query.set("with_", exp.With(expressions=[cte, named], recursive=True))
    return query


def packed(states: exp.Select, layout: Layout) -> exp.Select:
    """States as a column each: a list, so that where there is no state nothing is stored."""
    if layout.uniform:
        whole = exp.Array(expressions=[cast(column(name), "double") for name in layout.columns])
    else:
        fields = [exp.PropertyEQ(this=quoted(name), expression=column(name)) for name in layout.columns]
        whole = exp.Array(expressions=[exp.Struct(expressions=fields)])
    return exp.select(exp.alias_(whole, STATE, quoted=True)).from_(
        states.subquery(STATE, copy=False), copy=False
    )


def unpacked(relation: exp.Table, layout: Layout) -> exp.Select:
    """The states of a relation, with a column for each part of them."""
    there = exp.Not(this=exp.Is(this=column(STATE), expression=exp.Null()))
    fields: dict[str, Expression] = {}
    if layout.uniform:
        for place, name in enumerate(layout.columns, start=1):
            value = entry(place)
            fields[name] = cast(value, "bigint") if name == TICK else value
        states: exp.Table | exp.Subquery = relation.copy()
    else:
        fields = {name: exp.Dot(this=column(STATE), expression=quoted(name)) for name in layout.columns}
        first = exp.select(exp.alias_(entry(1), STATE, quoted=True)).from_(relation.copy())
        states = first.where(there.copy(), copy=False).subquery("states", copy=False)
    query = exp.select(*(exp.alias_(value, name, quoted=True) for name, value in fields.items()))
    return query.from_(states, copy=False).where(there, copy=False)


def entry(place: int) -> Expression:
    """An entry of a packed state."""
    # `offset` keeps sqlglot from shifting the place, which counts from 1 already.
    return exp.Bracket(this=column(STATE), expressions=[integer(place)], offset=1)


def recursion(layout: Layout, anchor: exp.Query, term: exp.Query, names: list[exp.Identifier]) -> exp.Select:
    """What is kept of a relation that starts with `anchor` and goes on with `term`."""
    alias = exp.TableAlias(this=exp.to_identifier(RELATION, quoted=True), columns=names)
    cte = exp.CTE(this=exp.Union(this=anchor, expression=term, distinct=False), alias=alias)
    if layout.keyed:
        cte.set("key_expressions", [exp.to_identifier(KEY, quoted=True)])
    relation = exp.table_(RELATION, quoted=True)
    # By its key, one state is left.
    query = (
        exp.select(*map(column, layout.columns)).from_(relation) if layout.keyed else layout.result(relation)
    )
    query.set("with_", exp.With(expressions=[cte], recursive=True))
    return query

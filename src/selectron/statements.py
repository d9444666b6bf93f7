"""Whole trainings and single steps as statements that stand on their own."""

from __future__ import annotations

from collections.abc import Mapping

from sqlglot import exp

from selectron.blueprint import Blueprint
from selectron.engines.base import Engine
from selectron.errors import EngineError
from selectron.features.rows import HELD_OUT, POSITION
from selectron.layouts.base import Layout
from selectron.planning import in_term
from selectron.program.operations import Array
from selectron.sql import integer
from selectron.strategies.nested import nested_query
from selectron.strategies.recursive import recursive_query
from selectron.trainer import ROWS, parameter_rows, start_values

__all__ = ["step_statement", "training_script", "training_statement"]

START = "initial"
NOW = "selectron_now"
NEXT = "selectron_next"
TRAINED = "trained"


def tables_of(blueprint: Blueprint, layout: Layout, rows: exp.Select) -> dict[str, exp.Query]:
    """The arranged rows and the tables of batches, by name."""
    made = layout.tables(
        exp.table_(ROWS, quoted=True),
        blueprint.batch_columns(),
        blueprint.specification.plan,
        held_out=HELD_OUT,
        position=POSITION,
    )
    plan = blueprint.specification.plan
    queries = {name: query(named) for name, query in made.items()}
    if layout.parts > 1:
        for query in queries.values():
            if query.args.get("order"):
                # DuckDB keeps the order of a named query that says how many rows it has, so that sums are the
                # same on any number of threads.
                query.limit(plan.training_rows + plan.held_out_rows, copy=False)
    return {ROWS: rows, **queries}


def named(name: str) -> exp.Table:
    return exp.table_(name, quoted=True)


def with_before(query: exp.Query, before: Mapping[str, exp.Query], *, recursive: bool) -> exp.Query:
    """A query with more CTEs, each computed once, before its own."""
    own = query.args.get("with_")
    added = [
        exp.CTE(
            this=cte,
            alias=exp.TableAlias(this=exp.to_identifier(name, quoted=True)),
            materialized=True,
        )
        for name, cte in before.items()
    ]
    query.set("with_", exp.With(expressions=[*added, *(own.expressions if own else [])], recursive=recursive))
    return query


def training_statement(
    blueprint: Blueprint, layout: Layout, rows: exp.Select, epochs: int, engine: Engine
) -> exp.Query:
    """The whole of a training as one statement: from the user's table to the trained parameters.

    Parameters
    ----------
    rows
        The arranged rows of the table.
    epochs
        How many epochs; early stopping may end it before.

    Returns
    -------
    exp.Query
        Gives layer, parameter, row, col and value of every parameter.
    """
    ticks = epochs * blueprint.specification.plan.per_epoch
    until = integer(ticks)
    abilities, most = engine.abilities, engine.limits.recursions
    if most is not None and ticks >= most:
        raise EngineError(
            f"The training has {ticks} steps, and the engine ends a recursion after {most}.",
            hint="Ask for 'script', which is a loop of statements, or train fewer epochs.",
        )
    training = recursive_query(
        layout,
        state=named(START),
        tables=named,
        until=until,
        in_term=in_term(abilities),
        copies=abilities.copies,
    )
    recursion = training.args["with_"].expressions
    training.set("with_", None)
    result = parameter_rows(blueprint, layout, named(TRAINED), best=True)
    with_before(result, {TRAINED: training}, recursive=True)
    ctes = result.args["with_"].expressions
    result.set("with_", exp.With(expressions=[*recursion, *ctes], recursive=True))
    before = {**tables_of(blueprint, layout, rows), START: layout.initial(start_values(blueprint), 0)}
    return with_before(result, before, recursive=True)


def step_statement(
    blueprint: Blueprint,
    layout: Layout,
    rows: exp.Select,
    tick: int,
    values: Mapping[str, Array],
    engine: Engine,
) -> exp.Query:
    """One training step: the state after the next batch, and all on the way as named queries."""
    query = nested_query(
        layout,
        state=named(START),
        tables=named,
        until=integer(tick + 1),
        steps=1,
        copies=engine.abilities.copies,
    )
    before = {**tables_of(blueprint, layout, rows), START: layout.initial(values, tick)}
    return with_before(query, before, recursive=False)


def training_script(
    blueprint: Blueprint, layout: Layout, rows: exp.Select, epochs: int, steps: int, engine: Engine
) -> str:
    """The whole of a training as a script: a loop of statements over temporary tables.

    For engines whose recursion ends early, such as BigQuery's after 500 rounds. After early stopping, the
    statements that are left take no step and leave the state as it is.

    Parameters
    ----------
    rows
        The arranged rows of the table.
    epochs, steps
        How many epochs, and how many steps a statement has.

    Raises
    ------
    EngineError
        If the engine has no scripts.
    """
    if not engine.abilities.scripts:
        raise EngineError(
            "This engine runs no scripts.", hint="Ask for 'train', which is one statement, or 'step'."
        )
    ticks = epochs * blueprint.specification.plan.per_epoch
    next_ = nested_query(
        layout,
        state=named(NOW),
        tables=named,
        until=integer(ticks),
        steps=steps,
        copies=engine.abilities.copies,
    )
    taken = exp.select("*").from_(named(NEXT))
    # Where no step was taken, the state stays.
    nothing = exp.Not(this=exp.Exists(this=exp.select(integer(1)).from_(named(NEXT))))
    kept = exp.select("*").from_(named(NOW)).where(nothing)
    before = tables_of(blueprint, layout, rows)
    start = nested_start(layout, layout.initial(start_values(blueprint), 0))
    made = [created(name, query) for name, query in [*before.items(), (NOW, start)]]
    loop = [created(NEXT, next_), created(NOW, exp.union(taken, kept, distinct=False))]
    result = parameter_rows(blueprint, layout, named(NOW), best=True)
    lines = [
        "DECLARE done INT64 DEFAULT 0;",
        *(f"{engine.sql(statement, pretty=True)};" for statement in made),
        f"WHILE done < {ticks} DO",
        *(f"{engine.sql(statement, pretty=True)};" for statement in loop),
        f"SET done = done + {steps};",
        "END WHILE;",
        f"{engine.sql(result, pretty=True)};",
    ]
    return "\n".join(lines)


def nested_start(layout: Layout, initial: exp.Query) -> exp.Query:
    """An initial state with the columns of a result."""
    return layout.anchor(initial.subquery("initial"))


def created(name: str, query: exp.Query) -> exp.Create:
    """CREATE OR REPLACE TEMPORARY TABLE AS a query."""
    temporary = exp.Properties(expressions=[exp.TemporaryProperty()])
    return exp.Create(this=named(name), kind="TABLE", replace=True, expression=query, properties=temporary)

"""Whole trainings and single steps as statements that stand on their own."""

from __future__ import annotations

from collections.abc import Mapping

from sqlglot import exp

from selectron.blueprint import Blueprint
from selectron.features.rows import HELD_OUT, POSITION
from selectron.layouts.arrays import lower
from selectron.layouts.batches import batches_query
from selectron.sql import column, integer
from selectron.strategies.recursive import TICK, chain, recursive_query
from selectron.trainer import initial_state, parameter_rows

__all__ = ["step_statement", "training_statement"]

TRAINED = "trained"


def with_ctes(query: exp.Query, ctes: Mapping[str, exp.Query], *, recursive: bool) -> exp.Query:
    """A query with more CTEs, each computed once, before its own."""
    own = query.args.get("with_")
    added = [
        exp.CTE(
            this=cte,
            alias=exp.TableAlias(this=exp.to_identifier(name, quoted=True)),
            materialized=True,
        )
        for name, cte in ctes.items()
    ]
    query.set("with_", exp.With(expressions=[*added, *(own.expressions if own else [])], recursive=recursive))
    return query


def batches_of(blueprint: Blueprint, rows: exp.Select) -> exp.Select:
    return batches_query(
        rows.subquery("arranged"),
        blueprint.batch_columns(),
        blueprint.specification.plan,
        held_out=HELD_OUT,
        position=POSITION,
    )


def training_statement(blueprint: Blueprint, rows: exp.Select, epochs: int) -> exp.Query:
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
    until = integer(epochs * blueprint.specification.plan.per_epoch)
    training = recursive_query(
        blueprint.recursion,
        state=exp.table_("start", quoted=True),
        batches=exp.table_("batches", quoted=True),
        until=until,
    )
    recursion = training.args["with_"].expressions
    training.set("with_", None)
    result = parameter_rows(blueprint, exp.table_(TRAINED, quoted=True), best=True)
    statement = with_ctes(result, {TRAINED: training}, recursive=True)
    before = {"batches": batches_of(blueprint, rows), "start": initial_state(blueprint)}
    statement = with_ctes(statement, before, recursive=True)
    ctes = statement.args["with_"].expressions
    statement.set("with_", exp.With(expressions=[*ctes[:2], *recursion, *ctes[2:]], recursive=True))
    return statement


def step_statement(blueprint: Blueprint, rows: exp.Select, state: exp.Select) -> exp.Query:
    """One training step: the state after the next batch, and every tensor on the way as a stage's column."""
    recursion = blueprint.recursion
    lowered = lower(recursion.program)
    turn = exp.Mod(this=column(TICK, "training"), expression=integer(recursion.batches_per_epoch))
    source = (
        exp.select(
            exp.Column(this=exp.Star(), table=exp.to_identifier("training", quoted=True)),
            *(column(name, "batches") for name in sorted(lowered.inputs - set(recursion.state))),
        )
        .from_(exp.table_("training", quoted=True))
        .join(
            exp.table_("batches", quoted=True),
            on=exp.EQ(this=column("batch", "batches"), expression=turn),
        )
    )
    query = chain(source, lowered.stages, dict(lowered.outputs))
    return with_ctes(query, {"batches": batches_of(blueprint, rows), "training": state}, recursive=False)

"""The statement: features, the network with its weights written down, classes and probabilities."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

import sqlglot
from sqlglot import exp

from selectron.blueprint import Blueprint
from selectron.combination import Combination, combining
from selectron.engines.base import Relation
from selectron.engines.queries import apart, named
from selectron.errors import ColumnError, DataError
from selectron.features.kinds import TimeFeature
from selectron.features.targets import ClassTarget
from selectron.portable.core import rewritten
from selectron.portable.dialects import Fence, Writing, folds_upwards, writing_of
from selectron.prediction import OWN, plain_forward, predicted_values
from selectron.program.operations import Array
from selectron.sql import column, folded, growing, integer

__all__ = ["portable_query", "table_named", "written"]

Expression = exp.Expr

SOURCE: Final = "source"
# Engines cut or refuse longer names, the strictest at 63 bytes.
LONGEST_NAME: Final = 50
EVERYTHING: Final = 2**62


@growing()
def portable_query(
    blueprint: Blueprint,
    parameters: Mapping[str, Array],
    source: exp.Table,
    keep: Sequence[str],
    dialect: str,
    *,
    scores: bool = False,
) -> exp.Select:
    """One statement that predicts each row of a table, for a dialect, which needs nothing but the table.

    Parameters
    ----------
    parameters
        The weights, which are written down.
    source
        The table, as the dialect knows it.
    keep
        The table's columns that come before the predictions.
    scores
        Whether the network's raw outputs come too.

    Raises
    ------
    ConfigurationError
        If there is no such dialect.
    ColumnError
        If a kept column has the name of a prediction.
    """
    writing = writing_of(dialect)
    outputs, stages = predicted_values(blueprint, scores=scores)
    taken = {folded(name) for name in keep}
    clash = [name for name in outputs if folded(name) in taken]
    if clash:
        raise ColumnError(f"Column {clash[0]!r} is one that prediction adds.", hint="Do not keep it.")
    own: dict[str, Expression] = {name: column(f"{OWN}{name}") for name in keep}
    relation = Relation(named(source), "the table")
    wanted = ["prediction", "logits"] if scores else ["prediction"]
    query = plain_forward(blueprint, relation, keep, parameters, {**own, **outputs}, wanted, stages)
    moments = frozenset(
        f.column for f in blueprint.encoding.features if isinstance(f, TimeFeature) and f.hours
    )
    first, *rest = query.ctes
    for projection in first.this.expressions:
        is_own = isinstance(projection.this, exp.Column)
        if not is_own:
            projection.set("this", rewritten(projection.this, writing, moments))
    for stage in (*(cte.this for cte in rest), query):
        stage.set("expressions", [rewritten(value, writing, moments) for value in stage.expressions])
    label_classes(query, blueprint)
    rename(query, [*keep, *(feature.column for feature in blueprint.encoding.features)])
    fence(query, writing)
    if folds_upwards(dialect):
        raise_names(query)
    found = apart(query)
    assert isinstance(found, exp.Select)
    return found


def written(query: exp.Select, dialect: str, *, pretty: bool = True) -> str:
    """The statement's text."""
    printed = writing_of(dialect).printed_as or dialect
    return combining(printed)(dialect=printed, pretty=pretty).generate(query)


def table_named(name: str, dialect: str) -> exp.Table:
    """A table as a dialect names it, with its schema and quotes.

    Raises
    ------
    DataError
        If that is no name of a table.

    Examples
    --------
    >>> table_named("shop.orders", "snowflake").sql("snowflake")
    'shop.orders'
    """
    writing_of(dialect)
    try:
        found: Expression = exp.to_table(name, dialect=dialect)
    except sqlglot.errors.ParseError:
        found = exp.Null()
    if isinstance(found, exp.Table):
        return found
    raise DataError(
        f"{name!r} is no name of a table in {dialect}.", hint="Name one, with quotes where it needs them."
    )


def label_classes(query: exp.Select, blueprint: Blueprint) -> None:
    """Classes as their type has them in every dialect: text as it is, booleans as TRUE and FALSE."""
    target = blueprint.encoding.target
    if not isinstance(target, ClassTarget):
        return
    for cast in list(query.find_all(exp.Cast)):
        if cast.find_ancestor(exp.CTE) or not isinstance(cast.this, exp.Case):
            continue
        if cast.to.this is exp.DataType.Type.BOOLEAN:
            for branch in cast.this.args["ifs"]:
                branch.set("true", exp.Boolean(this=branch.args["true"].name == "true"))
            cast.replace(cast.this)
        elif cast.to.this not in (*exp.DataType.NUMERIC_TYPES, *exp.DataType.TEMPORAL_TYPES):
            cast.replace(cast.this)


def rename(query: exp.Select, taken: Sequence[str]) -> None:
    """Plain names for the columns between the stages: not every dialect quotes all characters."""
    used = {folded(name) for name in taken}
    names: dict[str, str] = {}
    for cte in query.ctes:
        for projection in cte.this.expressions:
            if projection.alias_or_name not in names:
                names[projection.alias_or_name] = plain(projection.alias_or_name, used)
    first, *rest = query.ctes
    for projection in first.this.expressions:
        projection.set("alias", exp.to_identifier(names[projection.alias], quoted=True))
    for stage in (*(cte.this for cte in rest), query):
        for projection in stage.expressions:
            if isinstance(projection, exp.Alias) and stage is not query:
                projection.set("alias", exp.to_identifier(names[projection.alias], quoted=True))
            for found in projection.find_all(exp.Column, Combination):
                if isinstance(found, Combination):
                    found.set("columns", tuple(names[name] for name in found.args["columns"]))
                else:
                    found.this.set("this", names[found.name])


def plain(name: str, used: set[str]) -> str:
    """A name of letters and digits that is not used yet, which it becomes."""
    start = re.sub(r"\W+", "_", name.lower(), flags=re.ASCII).strip("_")[:LONGEST_NAME] or "column"
    found, count = start, 1
    while found in used:
        count += 1
        found = f"{start}_{count}"
    used.add(found)
    return found


def fence(query: exp.Select, writing: Writing) -> None:
    """Keep stages from being copied into each other."""
    for cte in query.ctes:
        cte.set("materialized", None)
        if writing.fence is Fence.MATERIALIZED:
            cte.set("materialized", True)
        elif writing.fence is Fence.OFFSET:
            cte.this.set("offset", exp.Offset(expression=integer(0)))
        elif writing.fence is Fence.LIMIT:
            cte.this.set("limit", exp.Limit(expression=integer(EVERYTHING)))


def raise_names(query: exp.Select) -> None:
    """Upper case for plain names: whoever made the table without quotes has them so."""
    for found in query.find_all(exp.Identifier, Combination):
        if isinstance(found, Combination):
            found.set("columns", tuple(map(raised, found.args["columns"])))
        else:
            found.set("this", raised(found.name))


def raised(name: str) -> str:
    return name.upper() if re.fullmatch(r"[a-z_][a-z0-9_]*", name) else name

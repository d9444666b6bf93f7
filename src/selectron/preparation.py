"""Preparing a training: which rows of the table take part, in what order, and which are held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlglot import exp

from selectron.blueprint import Specification
from selectron.engines.base import Column, ColumnKind, Engine, Relation
from selectron.errors import ColumnError, ConfigurationError, DataError
from selectron.features.encoding import Encoding, find_column
from selectron.features.fitting import fitted, read_as
from selectron.features.kinds import BOUND
from selectron.features.learn import resolve_columns, unusable_target
from selectron.features.rows import HELD_OUT, Split, arranged_rows, usable
from selectron.features.targets import NumberTarget, Target
from selectron.sql import cast, column, growing, integer, number
from selectron.trainer import ROWS

__all__ = [
    "DATA_FRAME",
    "Validation",
    "arrange",
    "arranged",
    "check_targets",
    "check_weights",
    "held_out_rows",
    "needed_columns",
    "resolve_validation",
    "split_of",
    "training_rows",
]

# Stands for a held-out data frame in a stored specification: it cannot be read again.
DATA_FRAME: Final = "(data frame)"


@dataclass(frozen=True)
class Validation:
    """Where held-out rows come from: a fraction of the rows, a column that marks them, or a relation."""

    fraction: float = 0.0
    column: str | None = None
    relation: Relation | None = None
    source: str | None = None


def resolve_validation(
    engine: Engine, wanted: object, relation: Relation, columns: Sequence[Column]
) -> Validation:
    """What the user gave for `validation`: a fraction, a boolean column, or a table of any kind.

    Raises
    ------
    ConfigurationError, ColumnError, DataError
        If it is none of these.
    """
    if wanted is None:
        return Validation()
    if isinstance(wanted, (int, float)) and not isinstance(wanted, bool):
        if not 0.0 <= wanted < 1.0:
            raise ConfigurationError(
                f"validation is {wanted}.", hint="Give a fraction of the rows, from 0 to below 1."
            )
        return Validation(fraction=float(wanted))
    marked = find_column(columns, wanted) if isinstance(wanted, str) else None
    if marked is not None:
        if marked.kind not in (ColumnKind.BOOLEAN, ColumnKind.NUMBER):
            raise ColumnError(
                f"Column {marked.name!r} is of type {marked.type} and cannot mark held-out rows.",
                hint="Use a boolean column.",
            )
        if marked.kind is ColumnKind.NUMBER:
            check_marks(engine, relation, marked.name)
        return Validation(column=marked.name)
    held_out = engine.relation(wanted)
    return Validation(relation=held_out, source=wanted if isinstance(wanted, str) else DATA_FRAME)


def check_marks(engine: Engine, relation: Relation, name: str) -> None:
    """Refuse a column of numbers that are not all 0 or 1 to mark held-out rows.

    Raises
    ------
    ColumnError
        Saying how many others it has.
    """
    other = exp.Not(this=exp.In(this=column(name), expressions=[integer(0), integer(1)]))
    counted = exp.select(exp.Count(this=exp.Star())).from_(relation.source.copy()).where(other, copy=False)
    others = int(engine.rows(counted)[0][0])
    if others:
        raise ColumnError(
            f"Column {name!r} has {others} numbers that are neither 0 nor 1 and cannot mark held-out rows.",
            hint="Use a boolean column.",
        )


def held_out_rows(
    engine: Engine, relation: Relation, required: Sequence[str], fraction: float
) -> tuple[int, tuple[str, ...]]:
    """How many of the usable rows a fraction holds out, leaving at least one to train on.

    Returns
    -------
    tuple
        Their number, and a note for the user if rows are left out since their target is NULL.

    Raises
    ------
    DataError
        If there is no usable row.
    """
    counted = usable(relation, [], required).select(exp.Count(this=exp.Star()), append=False)
    rows = int(engine.rows(counted)[0][0])
    total = int(engine.rows(exp.select(exp.Count(this=exp.Star())).from_(relation.source.copy()))[0][0])
    names = ", ".join(map(repr, required))
    if rows == 0:
        problem = f"{relation.label} has {total} rows, and none where {names} is known."
        raise DataError(problem if total else f"{relation.label} is empty.", hint="Name a table with rows.")
    note = f"{total - rows} of {total} rows of {relation.label} are left out: NULL in {names}."
    return min(round(rows * fraction), rows - 1), (note,) if rows < total else ()


def needed_columns(specification: Specification, encoding: Encoding) -> list[str]:
    """The columns that training reads: features, target, weight and the one that marks held-out rows."""
    options = specification.training
    names = [feature.column for feature in encoding.features]
    others = [*specification.target, options.row_weight, options.validation_column]
    return list(dict.fromkeys([*names, *(name for name in others if name is not None)]))


def training_rows(
    engine: Engine, specification: Specification, encoding: Encoding, relation: Relation
) -> Relation:
    """A relation as the model and its training read it: weights are numbers, as booleans are 1 and 0."""
    # Asked for once: some engines look at all rows to tell. No weight is a feature or the target.
    columns, weight = engine.columns(relation), specification.training.row_weight
    if weight is not None:
        relation = read_as(relation, columns, {weight: ColumnKind.NUMBER})
    return fitted(relation, columns, encoding, target=True)


def split_of(engine: Engine, specification: Specification, encoding: Encoding) -> Split:
    """Which rows are held out, found again from a specification.

    Raises
    ------
    DataError
        If they were a data frame.
    """
    options = specification.training
    source = specification.validation_source
    if source == DATA_FRAME:
        raise DataError(
            "The held-out rows were a data frame, which is not in the database.",
            hint="Evaluate on a table, or train anew.",
        )
    relation = None
    if source is not None:
        relation = training_rows(engine, specification, encoding, engine.relation(source))
    held_out = 0 if relation or options.validation_column else specification.plan.held_out_rows
    return Split(options.seed, held_out, options.validation_column, relation)


@growing()
def arrange(
    engine: Engine, relation: Relation, columns: Sequence[str], required: Sequence[str], split: Split
) -> tuple[int, int]:
    """Make the connection's table of arranged rows; return how many train and how many are held out."""
    if split.relation is not None:
        check_alike(engine, relation, split.relation, columns)
    rows = arranged_rows(relation, columns, required, split)
    engine.create_temporary(ROWS, rows)
    held = exp.func("coalesce", exp.Sum(this=cast(column(HELD_OUT), "int")), number(0.0))
    total, held_count = engine.rows(
        exp.select(exp.Count(this=exp.Star()), held).from_(engine.temporary(ROWS))
    )[0]
    training = int(total) - int(held_count)
    if split.relation is not None and not held_count:
        names = ", ".join(map(repr, required))
        raise DataError(
            f"{split.relation.label} has no row to hold out where {names} is known.",
            hint="Name a table that has some, or a fraction of the rows.",
        )
    if not training:
        raise DataError(f"All {int(total)} rows of {relation.label} are held out.", hint="Hold out fewer.")
    return training, int(held_count)


def arranged(engine: Engine, relation: Relation) -> Relation:
    """The arranged rows of a relation."""
    return Relation(engine.temporary(ROWS), relation.label)


def check_alike(engine: Engine, relation: Relation, held_out: Relation, names: Sequence[str]) -> None:
    """Refuse held-out rows whose columns are missing, or of other kinds than those of the training rows.

    Raises
    ------
    ColumnError
        Naming the first such column, and both types.
    """
    theirs = resolve_columns(engine.columns(held_out), names, held_out.label)
    for own, other in zip(
        resolve_columns(engine.columns(relation), names, relation.label), theirs, strict=True
    ):
        if own.kind is not other.kind:
            raise ColumnError(
                f"Column {own.name!r} is of type {own.type} in {relation.label}, and of type {other.type} in "
                f"{held_out.label}.",
                hint="Cast it in a query.",
            )


def check_targets(engine: Engine, relation: Relation, target: Target) -> None:
    """Refuse numbers to predict, or to judge predictions by, that are not finite; NULL is left out anyway.

    Raises
    ------
    TargetError
        With the count of such rows.
    """
    if not isinstance(target, NumberTarget):
        return
    for name in target.columns:
        size = exp.Abs(this=cast(column(name), "double"))
        fine = exp.Or(
            this=exp.Is(this=column(name), expression=exp.Null()),
            expression=exp.LTE(this=size, expression=number(BOUND)),
        )
        bad = exp.Count(this=exp.Case(ifs=[exp.If(this=fine, true=exp.Null())], default=number(1.0)))
        count = int(engine.rows(exp.select(bad).from_(relation.source.copy()))[0][0])
        if count:
            raise unusable_target(relation.label, name, count)


def check_weights(engine: Engine, source: Column, label: str) -> None:
    """Refuse row weights that are no numbers, or NULL, negative or not finite.

    Raises
    ------
    ColumnError
        With the type, or the count of such rows.
    """
    weight = source.name
    if source.kind not in (ColumnKind.NUMBER, ColumnKind.BOOLEAN):
        raise ColumnError(
            f"Weight {weight!r} of {label} is of type {source.type}, and a weight is a number.",
            hint="Cast it in a query, or name another column.",
        )
    value = cast(column(weight), "double")
    fine = exp.Between(this=value, low=number(0.0), high=number(1e150))
    bad = exp.Case(ifs=[exp.If(this=fine, true=exp.Null())], default=number(1.0))
    query = exp.select(exp.Count(this=bad), exp.Sum(this=value.copy())).from_(engine.temporary(ROWS))
    count, total = engine.rows(query)[0]
    if count:
        raise ColumnError(
            f"Weight {weight!r} of {label} has {count} values that are NULL, negative or not finite.",
            hint="Give each row a weight of 0 or more.",
        )
    if not total:
        raise ColumnError(f"Weight {weight!r} of {label} is 0 in every row.", hint="Give some row a weight.")

"""Whether a database computes a model's predictions right: its SQL against NumPy, on the same rows.

Both sides get the same numbered rows. One is the query that predicts. The other fetches the encoded rows,
which is a query without a network, and evaluates the network's program by NumPy, from the parameters as the
store gives them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from sqlglot import exp

from selectron.blueprint import Blueprint
from selectron.engines.base import Engine, Relation
from selectron.errors import ConfigurationError, DataError
from selectron.features.lookup import Directory
from selectron.features.rows import ROW
from selectron.features.targets import ClassTarget, NumberTarget
from selectron.prediction import Weights, input_values, predict_query, prediction_columns
from selectron.program.evaluate import evaluate
from selectron.program.operations import Array
from selectron.program.program import Program
from selectron.sql import column, integer

__all__ = ["TOLERANCE", "Difference", "Verification", "verify"]

TOLERANCE: Final = 1e-9
# The connection's table of numbered rows, and how many of them are fetched at once.
VERIFIED: Final = "selectron_verified"
CHUNK: Final = 20_000


@dataclass(frozen=True)
class Difference:
    """A number that the database and NumPy computed: in which row (from 1) and column, and both values.

    `size` is their difference, absolute or relative to NumPy's; infinite where one of them is no number.
    """

    size: float
    row: int
    column: str
    database: float
    numpy: float


@dataclass(frozen=True)
class Verification:
    """What came of comparing a database's predictions with NumPy's.

    Attributes
    ----------
    rows
        How many rows were predicted by both.
    absolute, relative
        The largest difference of a probability or a predicted number, in itself and relative to NumPy's.
    tolerance
        What is allowed: a difference of so much, or for numbers beyond 1 of so much of NumPy's number.
    failures
        In how many rows a number differed by more.
    other_classes
        In how many rows another class was predicted, although it was not a tie to within the tolerance.
    """

    rows: int
    absolute: Difference
    relative: Difference
    tolerance: float
    failures: int
    other_classes: int

    @property
    def passed(self) -> bool:
        """Whether every row agrees."""
        return not self.failures and not self.other_classes


def verify(
    engine: Engine,
    blueprint: Blueprint,
    relation: Relation,
    weights: Weights,
    parameters: Mapping[str, Array],
    tolerance: float,
) -> Verification:
    """Predict rows by the database and by NumPy, and compare.

    Parameters
    ----------
    relation
        The rows, which have the model's columns.
    weights, parameters
        The same parameters, for the database and for NumPy.
    tolerance
        See :class:`Verification`.

    Raises
    ------
    ConfigurationError
        If the tolerance makes no sense.
    DataError
        If there are no rows.
    """
    if not 0.0 <= tolerance < math.inf:
        raise ConfigurationError(f"tolerance is {tolerance}.", hint="Give a number of 0 or more.")
    names = dict.fromkeys(feature.column for feature in blueprint.encoding.features)
    place = exp.alias_(exp.Window(this=exp.RowNumber()), ROW, quoted=True)
    rows = exp.select(place, *map(column, names)).from_(relation.source.copy())
    engine.create_temporary(VERIFIED, rows)
    try:
        # Numbers that are fetched in two queries meet by the rows' numbers.
        total = int(
            engine.rows(exp.select(exp.Count(this=exp.Star())).from_(engine.temporary(VERIFIED)))[0][0]
        )
        if not total:
            raise DataError(f"{relation.label} has no rows to verify.", hint="Name a table that has some.")
        found = [
            compared(engine, blueprint, chunk_of(engine, relation, first), weights, parameters, tolerance)
            for first in range(1, total + 1, CHUNK)
        ]
    finally:
        engine.drop_temporary(VERIFIED)
    return Verification(
        total,
        max((part.absolute for part in found), key=lambda difference: difference.size),
        max((part.relative for part in found), key=lambda difference: difference.size),
        tolerance,
        sum(part.failures for part in found),
        sum(part.other_classes for part in found),
    )


def chunk_of(engine: Engine, relation: Relation, first: int) -> Relation:
    """Some of the numbered rows."""
    inside = exp.Between(this=column(ROW), low=integer(first), high=integer(first + CHUNK - 1))
    rows = exp.select("*").from_(engine.temporary(VERIFIED)).where(inside)
    return Relation(rows.subquery("numbered"), relation.label)


def compared(
    engine: Engine,
    blueprint: Blueprint,
    relation: Relation,
    weights: Weights,
    parameters: Mapping[str, Array],
    tolerance: float,
) -> Verification:
    """The comparison of some rows."""
    target = blueprint.encoding.target
    names = prediction_columns(blueprint)
    columns = engine.columns(relation)
    query = predict_query(engine.abilities, blueprint, relation, columns, weights)
    labelled = isinstance(target, ClassTarget)
    # A class as text is as the model keeps it, whatever the target's type.
    shown = [exp.cast(column(name), "text") for name in names[:1]] if labelled else []
    numbers = names[1:] if labelled else names
    wanted = exp.select(column(ROW), *map(column, numbers), *shown).from_(query.subquery("predicted"))
    by_database = sorted(engine.rows(wanted), key=lambda row: int(row[0]))
    places = [int(row[0]) for row in by_database]
    database = as_numbers([row[1 : 1 + len(numbers)] for row in by_database])
    numpy = by_numpy(engine, blueprint, relation, parameters, weights.directory)
    absolute, relative = differences(database, numpy)
    allowed = tolerance * np.maximum(1.0, np.nan_to_num(np.abs(numpy), nan=1.0))
    others = 0
    if isinstance(target, ClassTarget):
        own = [target.classes.index(row[-1]) if row[-1] in target.classes else -1 for row in by_database]
        likeliest = np.max(numpy, axis=1)
        # Where the class that was predicted is as likely as any, either is right.
        chosen = numpy[np.arange(len(own)), own]
        others = int(np.sum((np.array(own) < 0) | (likeliest - chosen > tolerance)))
    return Verification(
        len(places),
        worst(absolute, places, numbers, database, numpy),
        worst(relative, places, numbers, database, numpy),
        tolerance,
        int(np.sum(np.any(absolute > allowed, axis=1))),
        others,
    )


def by_numpy(
    engine: Engine,
    blueprint: Blueprint,
    relation: Relation,
    parameters: Mapping[str, Array],
    directory: Directory | None,
) -> Array:
    """The probability of each class, or the predicted numbers, of rows in the order of their numbers."""
    inputs = {name: list(units) for name, units in input_values(blueprint, directory).items() if units}
    encoded = [unit for units in inputs.values() for unit in units]
    query = exp.select(column(ROW), *encoded).from_(relation.source.copy())
    values = as_numbers([row[1:] for row in sorted(engine.rows(query), key=lambda row: int(row[0]))])
    feeds, start = dict(parameters), 0
    for name, units in inputs.items():
        feeds[name] = values[:, start : start + len(units)]
        start += len(units)
    program = Program({"prediction": blueprint.prediction.outputs["prediction"]})
    predicted = evaluate(program, feeds)["prediction"]
    target = blueprint.encoding.target
    if isinstance(target, NumberTarget):
        return np.asarray(predicted * np.array(target.scale) + np.array(target.center))
    return np.hstack([1.0 - predicted, predicted]) if predicted.shape[1] == 1 else predicted


def as_numbers(rows: list[tuple[object, ...]]) -> Array:
    """Rows as an array; NULL, which is SQLite's NaN, is NaN."""
    return np.array(
        [[math.nan if value is None else float(value) for value in row] for row in rows],  # type: ignore[arg-type]
        dtype=np.float64,
    )


def differences(database: Array, numpy: Array) -> tuple[Array, Array]:
    """Absolute and relative differences; none where both are NaN or the same infinity."""
    same = (database == numpy) | (np.isnan(database) & np.isnan(numpy))
    with np.errstate(all="ignore"):
        absolute = np.abs(database - numpy)
        relative = absolute / np.abs(numpy)
    return tuple(  # type: ignore[return-value]
        np.where(same, 0.0, np.where(np.isnan(sizes), math.inf, sizes)) for sizes in (absolute, relative)
    )


def worst(sizes: Array, places: list[int], names: list[str], database: Array, numpy: Array) -> Difference:
    """The largest difference, the first of equal ones."""
    row, unit = np.unravel_index(int(np.argmax(sizes)), sizes.shape)
    return Difference(
        float(sizes[row, unit]),
        places[row],
        names[unit],
        float(database[row, unit]),
        float(numpy[row, unit]),
    )

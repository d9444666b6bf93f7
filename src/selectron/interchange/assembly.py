"""From signals to an encoding of ours: features, and a matrix from their units to the network's inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from selectron.engines.base import Column, ColumnKind, Engine, Relation
from selectron.errors import ColumnError
from selectron.features.fitting import read_as
from selectron.features.kinds import BOUND, BooleanFeature, CategoryFeature, Feature, NumberFeature
from selectron.features.known import MOMENTS
from selectron.features.learn import Measured, Source, measure, resolve_columns
from selectron.features.unseen import refuse_unseen
from selectron.interchange.labels import texts_of
from selectron.interchange.signals import (
    CATEGORY,
    NULL,
    OTHER,
    Linear,
    Number,
    Signal,
    Unit,
    as_number,
    columns_of,
)
from selectron.program.operations import Array

__all__ = ["Assembled", "assemble"]

NUMERIC = frozenset({ColumnKind.NUMBER, ColumnKind.BOOLEAN})


@dataclass(frozen=True)
class Assembled:
    """Features, and how their units give the inputs: units @ matrix + offset.

    `complete` are columns in which the original has no place for NULL, `known` those in which it has none for
    categories that it does not know.
    """

    features: tuple[Feature, ...]
    matrix: Array
    offset: Array
    complete: tuple[str, ...]
    known: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """The table whose columns feed the network."""

    engine: Engine
    relation: Relation
    columns: Sequence[Column]
    imputes: bool

    def column(self, name: str) -> Column:
        return resolve_columns(self.columns, [name], self.relation.label)[0]


def assemble(
    engine: Engine,
    relation: Relation,
    columns: Sequence[Column],
    signals: Sequence[Signal],
    *,
    imputes: bool,
) -> Assembled:
    """The features that signals need.

    Parameters
    ----------
    imputes
        Whether NULL becomes the table's mean, or no category, where the original has no place for it; else
        such NULLs are refused.

    Raises
    ------
    ColumnError
        If a column is of a kind that does not fit, or has NULLs that are refused.
    """
    table = Table(engine, relation, columns, imputes)
    inputs = [as_number(signal) for signal in signals]
    wanted = [table.column(name) for name in columns_of(inputs)]
    numbers = [own for own in wanted if uses_of(inputs, own.name)]
    for own in numbers:
        if own.kind not in NUMERIC:
            raise ColumnError(
                f"Column {own.name!r} of {relation.label} is of type {own.type}, and the network takes "
                "it as a number.",
                hint="Cast it in a query, or name the columns in the network's order with features.",
            )
    measured = measure(Source(engine, relation, None), wanted)
    blocks: list[Block] = []
    for own in wanted:
        uses = uses_of(inputs, own.name)
        if uses:
            blocks.append(number_block(table, own, uses, inputs, measured.of[own.name]))
        if any(unit.column == own.name and unit.kind != NULL for one in linear(inputs) for unit in one.terms):
            blocks.append(category_block(table, own, inputs))
        if not blocks or blocks[-1].feature.column != own.name:
            # Only whether it is NULL counts.
            if own.kind not in NUMERIC:
                raise ColumnError(
                    f"Of column {own.name!r}, the network only takes whether it is NULL.",
                    hint="Make a column of numbers of it in a query.",
                )
            blocks.append(
                number_block(table, own, [Number(own.name, fill=0.0)], inputs, measured.of[own.name])
            )
    constants = [signal.constant if isinstance(signal, Linear) else 0.0 for signal in inputs]
    offset = np.array(constants) + sum((block.offset for block in blocks), np.zeros(len(inputs)))
    complete = [] if imputes else [own.name for own in wanted if is_complete(inputs, own.name)]
    for name in complete:
        found = measured.of[name]
        if found.count < measured.rows:
            raise ColumnError(
                f"Column {name!r} of {relation.label} has {measured.rows - found.count} NULLs in "
                f"{measured.rows} rows, and the network has no place for them.",
                hint="Fill them in a query, or say nulls='impute'.",
            )
        if found.unusable and table.column(name) in numbers:
            raise ColumnError(
                f"Column {name!r} of {relation.label} has {found.unusable} values that are NaN, infinite or "
                f"beyond {BOUND:g}.",
                hint="Replace them with a number in a query.",
            )
    matrix = np.vstack([block.matrix for block in blocks])
    known = tuple(own.name for own in wanted if any(own.name in one.known for one in linear(inputs)))
    features = tuple(block.feature for block in blocks)
    categories = {own.name: own.kind for own in wanted if own.kind in MOMENTS}
    refuse_unseen(engine, read_as(relation, columns, categories), features, known)
    return Assembled(features, matrix, offset, tuple(complete), known)


@dataclass(frozen=True)
class Block:
    """One feature, and what its units add to the inputs."""

    feature: Feature
    matrix: Array
    offset: Array


def linear(inputs: Sequence[Number | Linear]) -> list[Linear]:
    return [signal for signal in inputs if isinstance(signal, Linear)]


def uses_of(inputs: Sequence[Number | Linear], name: str) -> list[Number]:
    """Where a column is taken as a number."""
    return [signal for signal in inputs if isinstance(signal, Number) and signal.column == name]


def is_complete(inputs: Sequence[Number | Linear], name: str) -> bool:
    """Whether NULL has no meaning somewhere."""
    return any(use.fill is None for use in uses_of(inputs, name)) or any(
        name in one.complete for one in linear(inputs)
    )


def number_block(
    table: Table, own: Column, uses: Sequence[Number], inputs: Sequence[Number | Linear], found: Measured
) -> Block:
    """A column of numbers, scaled as where it is first used."""
    first = uses[0]
    is_boolean = own.kind is ColumnKind.BOOLEAN
    center, scale = (0.0, 1.0) if is_boolean else (first.center, first.scale)

    def filling(use: Number) -> float:
        if use.fill is not None:
            return use.fill
        return found.mean if table.imputes else use.center

    fill = 0.5 if is_boolean else filling(first)
    # Where it is NULL, a use may want another value than the first one.
    nulls = np.zeros(len(inputs))
    values, offset = np.zeros(len(inputs)), np.zeros(len(inputs))
    for place, signal in enumerate(inputs):
        if isinstance(signal, Number) and signal.column == own.name:
            same = (signal.center, signal.scale) == (center, scale)
            values[place] = 1.0 if same else scale / signal.scale
            offset[place] = 0.0 if same else (center - signal.center) / signal.scale
            nulls[place] = (filling(signal) - fill) / signal.scale
        elif isinstance(signal, Linear) and only_null(signal, own.name):
            nulls[place] = signal.terms[Unit(own.name, NULL)]
    indicator = bool(nulls.any())
    matrix = np.array([values, nulls] if indicator else [values])
    feature: Feature
    if is_boolean:
        feature = BooleanFeature(own.name, indicator)
    else:
        least, greatest = found.least, found.greatest
        feature = NumberFeature(own.name, center, scale, fill, least, greatest, indicator)
    return Block(feature, matrix, offset)


def only_null(signal: Linear, name: str) -> bool:
    """Whether only NULLs of a column matter."""
    return [unit.kind for unit in signal.terms if unit.column == name] == [NULL]


def category_block(table: Table, own: Column, inputs: Sequence[Number | Linear]) -> Block:
    """A column of categories, in the order in which the network knows them."""
    uses = {
        place: {unit: value for unit, value in signal.terms.items() if unit.column == own.name}
        for place, signal in enumerate(inputs)
        if isinstance(signal, Linear)
    }
    has_number = bool(uses_of(inputs, own.name))
    uses = {
        place: terms
        for place, terms in uses.items()
        if terms and not (has_number and [unit.kind for unit in terms] == [NULL])
    }
    known: dict[Any, None] = {}
    for terms in uses.values():
        known |= dict.fromkeys(unit.value for unit in terms if unit.kind == CATEGORY)
    if not known:
        raise ColumnError(f"The network knows no category of column {own.name!r}.", hint="Leave it out.")
    texts = texts_of(table.engine, table.relation, own, list(known))
    indicator = any(unit.kind == NULL for terms in uses.values() for unit in terms)
    rows = [np.zeros(len(inputs)) for _ in range(len(known) + 1 + indicator)]
    for place, terms in uses.items():
        for row, value in enumerate(known):
            rows[row][place] = terms.get(Unit(own.name, CATEGORY, value), 0.0)
        other = terms.get(Unit(own.name, OTHER), 0.0)
        rows[len(known)][place] = other
        if indicator:
            # NULL is a category that is not known, where nothing else is said.
            rows[-1][place] = terms.get(Unit(own.name, NULL), other)
    feature = CategoryFeature(own.name, tuple(texts), indicator, own.kind)
    return Block(feature, np.array(rows), np.zeros(len(inputs)))

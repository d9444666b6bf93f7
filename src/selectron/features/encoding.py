"""An encoding: all that was learned of a table's columns, as rows of the store and back."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, Final, NamedTuple

from sqlglot import exp

from selectron.engines.base import Column, ColumnKind
from selectron.errors import ColumnError
from selectron.features.kinds import (
    BooleanFeature,
    CategoryFeature,
    EmbeddingFeature,
    Feature,
    NumberFeature,
    TimeFeature,
)
from selectron.features.lookup import Directory
from selectron.features.targets import ClassTarget, NumberTarget, Target
from selectron.sql import folded

__all__ = [
    "Encoding",
    "StatisticRow",
    "find_column",
    "find_feature",
    "found_columns",
    "from_rows",
    "to_rows",
]

KINDS: Final[dict[str, type]] = {
    class_.__name__: class_
    for class_ in (
        NumberFeature,
        BooleanFeature,
        TimeFeature,
        CategoryFeature,
        EmbeddingFeature,
        ClassTarget,
        NumberTarget,
    )
}


class StatisticRow(NamedTuple):
    """A learned statistic as a row: of which column, which one, and its value as text or number."""

    position: int
    column: str
    role: str
    kind: str
    statistic: str
    item: int | None
    text: str | None
    value: float | None


@dataclass(frozen=True)
class Encoding:
    """Features, in the order of their units, and the target.

    `notes` are remarks for the user, such as columns that were left out.
    """

    features: tuple[Feature, ...]
    target: Target
    notes: tuple[str, ...] = ()

    @property
    def units(self) -> tuple[str, ...]:
        """A name for each dense unit."""
        return tuple(unit for feature in self.features for unit in feature.units)

    @property
    def untrained_units(self) -> tuple[int, ...]:
        """Places of units that are zero in every training row: those of unseen categories."""
        places, start = [], 0
        for feature in self.features:
            if isinstance(feature, CategoryFeature):
                # By place and not by name, since a category may itself be called "(other)".
                places.append(start + len(feature.categories))
            start += len(feature.units)
        return tuple(places)

    @property
    def embeddings(self) -> tuple[EmbeddingFeature, ...]:
        """The embedded columns."""
        return tuple(feature for feature in self.features if isinstance(feature, EmbeddingFeature))

    def indices(self, directory: Directory | None = None) -> list[exp.Expr]:
        """The index of each embedded column, looked up if a directory says where."""
        found = []
        for position, feature in enumerate(self.features):
            if isinstance(feature, EmbeddingFeature):
                place = None if directory is None else directory.place(position, feature)
                found.append(feature.index(place))
        return found

    def dense(self) -> list[exp.Expr]:
        """A DOUBLE for each dense unit."""
        return [expression for feature in self.features for expression in feature.expressions()]

    def check(self, columns: Sequence[Column], label: str, *, target: bool) -> None:
        """Make sure that a relation has the columns that the model needs, of fitting kinds.

        Raises
        ------
        ColumnError
            Naming the missing columns, or the first one of a kind that does not fit.
        """
        wanted: list[tuple[str, Any]] = [(feature.column, feature) for feature in self.features]
        if target:
            wanted += [(name, self.target) for name in self.target.columns]
        found = found_columns(columns, [name for name, _ in wanted])
        missing = [name for name, column in found.items() if column is None]
        if missing:
            near = difflib.get_close_matches(missing[0], [column.name for column in columns], n=1)
            hint = f"Is {near[0]!r} meant?" if near else f"It has {', '.join(c.name for c in columns)}."
            raise ColumnError(
                f"{label} lacks {len(missing)} of the model's columns: {', '.join(map(repr, missing))}.",
                hint=hint,
            )
        for name, role in wanted:
            column = found[name]
            if column is None:
                continue
            if column.kind not in role.accepts and column.kind is not ColumnKind.EMPTY:
                wanted_kinds = " or ".join(sorted(role.accepts))
                raise ColumnError(
                    f"Column {name!r} of {label} is of type {column.type}; the model needs {wanted_kinds}.",
                    hint="Cast it in a query.",
                )


def find_column(columns: Iterable[Column], name: str) -> Column | None:
    """The column of that name; engines ignore case, so an exact match is preferred but not needed.

    >>> find_column([Column("Größe", "number", "DOUBLE")], "gRöße").name
    'Größe'
    """
    return found_columns(columns, [name])[name]


def found_columns(columns: Iterable[Column], names: Iterable[str]) -> dict[str, Column | None]:
    """The column of each name, as :func:`find_column` finds it."""
    known = list(columns)
    exact = {column.name: column for column in reversed(known)}
    loose = {folded(column.name): column for column in reversed(known)}
    return {name: exact.get(name, loose.get(folded(name))) for name in names}


def find_feature(features: Iterable[Feature], name: str) -> Feature | None:
    """The feature of a column of that name, likewise."""
    known = list(features)
    exact = [feature for feature in known if feature.column == name]
    loose = [feature for feature in known if folded(feature.column) == folded(name)]
    return next(iter([*exact, *loose]), None)


def to_rows(encoding: Encoding) -> list[StatisticRow]:
    """Every learned statistic as a row.

    >>> row = to_rows(Encoding((BooleanFeature("sold", False),), NumberTarget(("price",), (5.0,), (2.0,))))[1]
    >>> row.column, row.statistic, row.value
    ('price', 'columns', None)
    """
    rows: list[StatisticRow] = []
    parts: list[tuple[str, Feature | Target]] = [("feature", feature) for feature in encoding.features]
    for position, (role, part) in enumerate([*parts, ("target", encoding.target)]):
        column = part.columns[0] if isinstance(part, NumberTarget) else part.column
        for field in fields(part):  # type: ignore[arg-type]
            if field.name == "column":
                continue
            held = getattr(part, field.name)
            items = list(enumerate(held)) if isinstance(held, tuple) else [(None, held)]
            for item, value in items:
                is_text = isinstance(value, str)
                rows.append(
                    StatisticRow(
                        position,
                        column,
                        role,
                        type(part).__name__,
                        field.name,
                        item,
                        value if is_text else None,
                        None if is_text else float(value),
                    )
                )
    return rows


def from_rows(rows: Iterable[StatisticRow]) -> Encoding:
    """The encoding that :func:`to_rows` wrote."""
    parts: dict[int, list[StatisticRow]] = {}
    for row in rows:
        parts.setdefault(row.position, []).append(row)
    features: list[Feature] = []
    target: Target | None = None
    for _, own in sorted(parts.items()):
        part = from_own_rows(own)
        if own[0].role == "target":
            target = part
        else:
            features.append(part)
    assert target is not None
    return Encoding(tuple(features), target)


# How what is stored becomes a field's type; text needs nothing.
CONVERTERS: Final[dict[str, Any]] = {
    "bool": bool,
    "int": int,
    "float": float,
    "tuple[float, ...]": float,
    "tuple[int, ...]": int,
    "ColumnKind": ColumnKind,
}


def from_own_rows(rows: Sequence[StatisticRow]) -> Any:
    """One feature or target."""
    class_ = KINDS[rows[0].kind]
    arguments: dict[str, Any] = {}
    for field in fields(class_):
        if field.name == "column":
            arguments["column"] = rows[0].column
            continue
        convert: Any = CONVERTERS.get(str(field.type), lambda value: value)
        own = [row for row in rows if row.statistic == field.name]
        if not own and field.default is not MISSING:
            # A model of a version that did not keep it.
            continue
        values = [convert(row.value if row.text is None else row.text) for row in own]
        order = sorted(range(len(own)), key=lambda place: own[place].item or 0)
        is_tuple = str(field.type).startswith("tuple")
        arguments[field.name] = tuple(values[place] for place in order) if is_tuple else values[0]
    return class_(**arguments)

"""Partial dependence: what is predicted, on average, if a column had another value.

Friedman 2001. Each value of a grid is given to every row, all else as it is, by a cross join, and predictions
are averaged over the rows. The grid is quantiles of the table's own values for numbers and moments, the
categories that training rows had, or false and true; or values that are given.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any, Final, NamedTuple

from sqlglot import exp

from selectron.engines.base import Engine, Relation
from selectron.errors import ColumnError, ConfigurationError, DataError
from selectron.explaining.subject import Subject
from selectron.features.encoding import find_feature
from selectron.features.kinds import (
    BOUND,
    BooleanFeature,
    CategoryFeature,
    EmbeddingFeature,
    Feature,
    NumberFeature,
    days_since_1970,
)
from selectron.features.rows import RESERVED, ROW
from selectron.features.targets import ClassTarget, NumberTarget
from selectron.outputs import Output
from selectron.prediction import OWN, forward_query, predicted_elements, probabilities
from selectron.sql import column, double, integer, number, text
from selectron.templates import filled, listed

__all__ = ["CurveRow", "Curves", "Dependence", "DependenceRow", "dependence"]

Expression = exp.Expr

PLACE: Final = f"{RESERVED}place"
VALUE: Final = f"{RESERVED}value"
MOST_POINTS: Final = 1_000

MEANS: Final = """
WITH means AS (SELECT 1),
labels AS (SELECT 1)
SELECT means.place AS place, value, label AS about, CHOSEN(labels.place, 'predicted') AS predicted
FROM means CROSS JOIN labels
"""
CURVES: Final = """
WITH scored AS (SELECT 1),
labels AS (SELECT 1)
SELECT "row", scored.place AS place, value, label AS about, CHOSEN(labels.place, 'predicted') AS predicted
FROM scored CROSS JOIN labels
"""


class DependenceRow(NamedTuple):
    """The mean prediction if every row had a value: the probability of a class, or a predicted number.

    `place` counts the values from 0 in their order; `about` is the class or target column.
    """

    place: int
    value: Any
    about: str
    predicted: float


class CurveRow(NamedTuple):
    """The prediction of one row (from 1, in the order of the table) if it had a value."""

    row: int
    place: int
    value: Any
    about: str
    predicted: float


class Curves(Output):
    """The prediction of each row at each value, as a query that is run when its rows are asked for."""

    def __init__(self, engine: Engine, query: exp.Select, labels: Sequence[str]) -> None:
        super().__init__(engine, query)
        self.labels = tuple(labels)

    def rows(self) -> list[CurveRow]:
        """By row, value and class."""
        found = [
            CurveRow(int(row), int(place), value, str(about), predicted)
            for row, place, value, about, predicted in self.engine.rows(self.query)
        ]
        return sorted(found, key=lambda own: (own.row, own.place, self.labels.index(own.about)))


class Dependence(Output):
    """The mean prediction at each value of a column, as a query that is run when its rows are asked for.

    `curves` are those of the single rows; `classes` says whether probabilities are predicted.
    """

    def __init__(self, column: str, curves: Curves, query: exp.Select, *, classes: bool) -> None:
        super().__init__(curves.engine, query)
        self.column = column
        self.labels = curves.labels
        self.curves = curves
        self.classes = classes

    def rows(self) -> list[DependenceRow]:
        """By value and class."""
        found = [
            DependenceRow(int(place), value, str(about), predicted)
            for place, value, about, predicted in self.engine.rows(self.query)
        ]
        return sorted(found, key=lambda own: (own.place, self.labels.index(own.about)))


def dependence(subject: Subject, name: str, *, grid: Sequence[Any] | None, points: int) -> Dependence:
    """How predictions depend on a column.

    Parameters
    ----------
    name
        The column.
    grid
        The values to take; None chooses.
    points
        How many quantiles are chosen of a column of numbers or moments, from the least to the greatest.

    Raises
    ------
    ColumnError
        If it is no feature of the model.
    ConfigurationError
        If the grid is empty or has values of another kind.
    DataError
        If the column has no value to choose from.
    """
    feature = find_feature(subject.blueprint.encoding.features, name)
    if feature is None:
        raise ColumnError(
            f"The model has no feature {name!r}.", hint=f"Its features are {', '.join(subject.features)}."
        )
    if not 2 <= points <= MOST_POINTS:
        raise ConfigurationError(f"points is {points}.", hint=f"Give 2 to {MOST_POINTS}.")
    values = chosen_grid(subject, feature, points) if grid is None else given_grid(feature, grid)
    scored = scored_at(subject, feature.column, values)
    labels = [[integer(place), text(label)] for place, label in enumerate(subject.labels)]
    listing = listed(["place", "label"], labels)
    names = [f"predicted {place}" for place in range(len(labels))]
    means = [exp.alias_(exp.Avg(this=column(own)), own, quoted=True) for own in names]
    by_value = (
        exp.select(column("place"), column("value"), *means)
        .from_(scored.subquery("scored", copy=False), copy=False)
        .group_by(column("place"), column("value"))
    )
    query = filled(MEANS, {"means": by_value, "labels": listing}, subject.labels)
    curves = filled(CURVES, {"scored": scored.copy(), "labels": listing.copy()}, subject.labels)
    assert isinstance(query, exp.Select)
    assert isinstance(curves, exp.Select)
    single = Curves(subject.engine, curves, subject.labels)
    classes = isinstance(subject.blueprint.encoding.target, ClassTarget)
    return Dependence(feature.column, single, query, classes=classes)


def scored_at(subject: Subject, name: str, values: exp.Select) -> exp.Select:
    """Each row at each value: ``row``, ``place``, ``value``, and ``"predicted <place>"`` of each output."""
    row = exp.alias_(exp.Window(this=exp.RowNumber()), ROW, quoted=True)
    others = [own for own in subject.features if own != name]
    numbered = exp.select(row, *map(column, others)).from_(subject.relation.source.copy())
    joined = (
        exp.select(column(ROW), column(PLACE), exp.alias_(column(VALUE), name, quoted=True))
        .select(*map(column, others))
        .from_(numbered.subquery("numbered"))
        .join(values.subquery("grid"), join_type="cross")
    )
    relation = Relation(joined.subquery("varied"), subject.relation.label)
    kept = {"row": ROW, "place": PLACE, "value": name}
    outputs: dict[str, Expression] = {own: column(f"{OWN}{source}") for own, source in kept.items()}
    target = subject.blueprint.encoding.target
    if isinstance(target, NumberTarget):
        predicted = list(target.restored(predicted_elements(subject.blueprint)))
    else:
        predicted = probabilities(subject.blueprint)
    outputs |= {f"predicted {place}": value for place, value in enumerate(predicted)}
    return forward_query(
        subject.abilities,
        subject.blueprint,
        relation,
        list(kept.values()),
        subject.weights,
        outputs,
        wanted=["prediction"],
    )


# The grid -------------------------------------------------------------------------------------


def chosen_grid(subject: Subject, feature: Feature, points: int) -> exp.Select:
    """Values that the column takes, with their places."""
    if isinstance(feature, (CategoryFeature, EmbeddingFeature)):
        return written_grid([text(category) for category in feature.categories])
    if isinstance(feature, BooleanFeature):
        return written_grid([exp.false(), exp.true()])
    if isinstance(feature, NumberFeature):
        value: Expression = double(column(feature.column))
        # Neither NaN nor infinite.
        known: Expression = exp.Between(this=value.copy(), low=number(-BOUND), high=number(BOUND))
    else:
        value = column(feature.column)
        known = exp.Not(this=exp.Is(this=days_since_1970(feature.column), expression=exp.Null()))
    if not subject.has_rows(known):
        raise DataError(
            f"Column {feature.column!r} of {subject.relation.label} has no value.", hint="Give a grid."
        )
    return quantiles(subject.relation, value, known, points)


def quantiles(relation: Relation, value: Expression, known: Expression, points: int) -> exp.Select:
    """Values at even ranks, from the least to the greatest, each once."""
    by_value = exp.Order(expressions=[exp.Ordered(this=value.copy(), nulls_first=False)])
    ranked = (
        exp.select(
            exp.alias_(value, VALUE, quoted=True),
            exp.alias_(exp.Window(this=exp.RowNumber(), order=by_value), "rank", quoted=True),
            exp.alias_(exp.Window(this=exp.Count(this=exp.Star())), "count", quoted=True),
        )
        .from_(relation.source.copy())
        .where(known)
    )
    # rank - 1 is point * (count - 1) / (points - 1), rounded down; multiplied out, it is whole numbers.
    before = exp.paren(exp.Sub(this=column("rank"), expression=integer(1)))
    reached = exp.Mul(this=before, expression=integer(points - 1))
    last = exp.paren(exp.Sub(this=column("count"), expression=integer(1)))
    asked = exp.Mul(this=column("point"), expression=last)
    beyond = exp.Add(this=reached.copy(), expression=integer(points - 1))
    there = exp.and_(
        exp.LTE(this=reached, expression=asked), exp.LT(this=asked.copy(), expression=beyond), copy=False
    )
    listing = listed(["point"], [[integer(point)] for point in range(points)])
    picked = (
        exp.select(column(VALUE))
        .distinct()
        .from_(ranked.subquery("ranked"))
        .join(listing.subquery("points"), on=there)
    )
    order = exp.Order(expressions=[exp.Ordered(this=column(VALUE), nulls_first=False)])
    place = exp.Sub(this=exp.Window(this=exp.RowNumber(), order=order), expression=integer(1))
    return exp.select(exp.alias_(place, PLACE, quoted=True), column(VALUE)).from_(picked.subquery("picked"))


def given_grid(feature: Feature, grid: Sequence[Any]) -> exp.Select:
    """The values that are given, NULL for None."""
    if isinstance(grid, str) or not 1 <= len(grid) <= MOST_POINTS:
        raise ConfigurationError(
            f"The grid of {feature.column!r} is {grid!r}.", hint="Give a list of values."
        )
    return written_grid([literal(feature, value) for value in grid])


def written_grid(values: Sequence[Expression]) -> exp.Select:
    return listed([PLACE, VALUE], [[integer(place), value] for place, value in enumerate(values)])


def literal(feature: Feature, value: Any) -> Expression:
    """A value of a feature's column, of the type that its encoding reads."""
    if isinstance(feature, (CategoryFeature, EmbeddingFeature)):
        if value is None or isinstance(value, str):
            return exp.cast(exp.Null() if value is None else text(value), "text")
        if isinstance(value, (bool, int)):
            return exp.cast(exp.Boolean(this=value) if isinstance(value, bool) else integer(value), "text")
    elif isinstance(feature, BooleanFeature):
        if value is None or isinstance(value, bool):
            return exp.Null() if value is None else exp.Boolean(this=value)
    elif isinstance(feature, NumberFeature):
        if value is None or isinstance(value, (bool, int, float)):
            return double(exp.Null() if value is None else number(float(value)))
    elif value is None:
        return exp.cast(exp.Null(), "timestamp")
    elif isinstance(value, date):
        if isinstance(value, datetime) and value.tzinfo is not None:
            value = value.astimezone(UTC).replace(tzinfo=None)
        return exp.cast(text(value.isoformat()), "timestamp")
    raise ConfigurationError(
        f"The grid of {feature.column!r} has the value {value!r}.",
        hint=f"Give values of its kind: {' or '.join(sorted(feature.accepts))}.",
    )

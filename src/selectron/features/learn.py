"""Learning statistics of columns, by SQL, over the training rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from sqlglot import exp

from selectron.engines.base import Column, ColumnKind, Engine, Relation
from selectron.errors import ColumnError, ConfigurationError, DataError, TargetError
from selectron.features.encoding import Encoding, find_column, found_columns
from selectron.features.kinds import (
    BOUND,
    BooleanFeature,
    CategoryFeature,
    EmbeddingFeature,
    Feature,
    NumberFeature,
    TimeFeature,
    days_since_1970,
)
from selectron.features.known import MOMENTS, NUMERIC, as_text, numbers_of, truth_number
from selectron.features.options import FeatureOptions
from selectron.features.targets import ClassTarget, NumberTarget, Target
from selectron.sql import column, double, folded, growing, number, quotient

__all__ = ["Task", "learn", "reading", "resolve_columns"]

Expression = exp.Expr

MAX_CLASSES: Final = 1_000
MOST_MEASURED: Final = 1_500
# An integer target with at most so many values is taken as a class, unless the task is named.
CLASS_LIKE: Final = 10


class Task(StrEnum):
    """What is predicted; AUTO decides by the target's type."""

    AUTO = "auto"
    CLASSIFICATION = "classification"
    REGRESSION = "regression"


@dataclass(frozen=True)
class Measured:
    """What one aggregate query told of a column; the mean and the deviation are :func:`settled`."""

    count: int
    unusable: int
    least: float
    greatest: float
    mean: float
    deviation: float


def resolve_columns(columns: Sequence[Column], names: Sequence[str], label: str) -> list[Column]:
    """The columns of these names.

    Raises
    ------
    ColumnError
        If one is missing, or named twice.
    """
    found: list[Column] = []
    seen: set[Column] = set()
    for name, match in zip(names, map(found_columns(columns, names).get, names), strict=True):
        if match is None:
            raise ColumnError(
                f"{label} has no column {name!r}.", hint=f"It has {', '.join(c.name for c in columns)}."
            )
        if match in seen:
            raise ColumnError(f"Column {name!r} is named twice.", hint="Name it once.")
        seen.add(match)
        found.append(match)
    return found


@growing()
def learn(
    engine: Engine,
    relation: Relation,
    columns: Sequence[Column],
    target: Sequence[str],
    options: FeatureOptions,
    *,
    task: Task = Task.AUTO,
    where: Expression | None = None,
    reserved: Sequence[str] = (),
    weight: str | None = None,
) -> Encoding:
    """Learn how a table's columns become a network's inputs and target.

    Parameters
    ----------
    engine, relation, columns
        Where the rows are, and the columns they have.
    target
        One column, or several numbers.
    options
        Which columns are features, and how.
    task
        AUTO takes floating-point targets as numbers, integers of more than ten values too, and all else
        as classes.
    where
        Which rows are for training.
    reserved
        Columns that have another role and are no features by default.
    weight
        A column of weights: a row of weight 2 counts as two in means and deviations.

    Raises
    ------
    ColumnError, TargetError, DataError
        If a column is missing or cannot be used, if the target cannot be learned, or no rows or no features
        are left.
    """
    targets = resolve_columns(columns, target, relation.label)
    options = with_names_of(columns, options)
    features = feature_columns(columns, targets, options, relation.label, reserved)
    notes: list[str] = []
    source = Source(engine, relation, where)
    # Columns of types that have no place in a network were not taken along.
    read = reading(columns, targets, options, task)
    # Moments that are categories are texts.
    known = [
        replace(c, kind=ColumnKind.TEXT) if read.get(c.name) in MOMENTS else c
        for c in [*features, *targets]
        if c.kind is not ColumnKind.OTHER
    ]
    measured = measure(source, known)
    if weight is not None:
        measured = weigh(source, known, measured, weight)
    rows = measured.rows
    if rows == 0:
        raise DataError(f"{relation.label} has no rows to train on.", hint="Name a table with rows.")
    learned_target = learn_target(source, targets, task, options, measured)
    learned: list[Feature] = []
    for feature_column in features:
        feature = learn_feature(source, feature_column, options, measured, notes)
        if feature is not None:
            learned.append(feature)
    if not learned:
        raise DataError(
            f"{relation.label} has no column left to learn from.", hint=" ".join(notes) or "Include one."
        )
    return Encoding(tuple(learned), learned_target, tuple(notes))


def reading(
    columns: Sequence[Column], targets: Sequence[Column], options: FeatureOptions, task: Task
) -> dict[str, ColumnKind]:
    """What is read of training rows as another kind than it is, as :func:`~.fitting.read_as` takes it.

    Booleans to predict as numbers are 1 and 0; moments that are categories or classes are texts.
    """
    is_regression = task is Task.REGRESSION or (task is Task.AUTO and len(targets) > 1)
    treated = found_columns(columns, [*options.categorical, *options.embed]).values()
    categories = [own for own in treated if own is not None]
    if is_regression:
        kinds = {own.name: ColumnKind.NUMBER for own in targets if own.kind is ColumnKind.BOOLEAN}
    else:
        kinds, categories = {}, [*categories, *targets]
    return kinds | {own.name: own.kind for own in categories if own.kind in MOMENTS}


@dataclass(frozen=True)
class Source:
    """The training rows."""

    engine: Engine
    relation: Relation
    where: Expression | None

    def rows(self, *expressions: Expression, group: Expression | None = None) -> list[tuple[Any, ...]]:
        # Built in place: a copy of the expressions of hundreds of columns takes longer than the query.
        query = exp.Select(expressions=list(expressions)).from_(self.relation.source.copy(), copy=False)
        if self.where is not None:
            query = query.where(self.where.copy(), copy=False)
        if group is not None:
            query = query.group_by(group, copy=False).order_by(group.copy(), copy=False)
        return self.engine.rows(query)


@dataclass(frozen=True)
class Measurements:
    """The number of rows, and what was measured of each column."""

    rows: int
    of: Mapping[str, Measured]


def feature_columns(
    columns: Sequence[Column],
    targets: Sequence[Column],
    options: FeatureOptions,
    label: str,
    reserved: Sequence[str],
) -> list[Column]:
    """The columns to learn from."""
    named = [
        *options.exclude,
        *options.categorical,
        *options.embed,
        *options.column_scaling,
        *options.complete,
        *options.known,
    ]
    resolve_columns(columns, list(dict.fromkeys(named)), label)
    if options.include:
        chosen = resolve_columns(columns, options.include, label)
        both = [feature.name for feature in chosen if feature in targets]
        if both:
            raise TargetError(
                f"Column {both[0]!r} is the target and a feature at once.", hint="Leave it out of include."
            )
        for feature in chosen:
            if folded(feature.name) in map(folded, reserved):
                raise ColumnError(
                    f"Column {feature.name!r} is a feature and has another role.",
                    hint="Leave it out of include: weights and marks of held-out rows are no features.",
                )
        check_options(chosen, options, label)
        return chosen
    left_out = {folded(name) for name in [*options.exclude, *reserved]}
    chosen = [
        candidate
        for candidate in columns
        if candidate not in targets and folded(candidate.name) not in left_out
    ]
    check_options(chosen, options, label)
    return chosen


def with_names_of(columns: Sequence[Column], options: FeatureOptions) -> FeatureOptions:
    """The options with columns named as the relation names them, since case is ignored."""

    def own(name: str) -> str:
        match = find_column(columns, name)
        return name if match is None else match.name

    return replace(
        options,
        include=tuple(map(own, options.include)),
        categorical=tuple(map(own, options.categorical)),
        complete=tuple(map(own, options.complete)),
        known=tuple(map(own, options.known)),
        embed={own(name): length for name, length in options.embed.items()},
        column_scaling={own(name): scaling for name, scaling in options.column_scaling.items()},
    )


def check_options(chosen: Sequence[Column], options: FeatureOptions, label: str) -> None:
    """Refuse an option for a single column that would have no effect.

    Raises
    ------
    ConfigurationError
        If the column is no feature, is scaled and no number, or should be known and has no categories.
    """
    singled = {"categorical": options.categorical, "embed": options.embed, "known": options.known}
    for option, names in {**singled, "column_scaling": options.column_scaling}.items():
        for name in names:
            feature = find_column(chosen, name)
            if feature is None:
                raise ConfigurationError(
                    f"{option} names {name!r}, which is no feature of {label}.",
                    hint="Name a feature, or leave it out. How a target is taken is said by task.",
                )
            treated = [*options.categorical, *options.embed]
            is_category = any(folded(feature.name) == folded(other) for other in treated)
            if option == "known" and not (is_category or feature.kind is ColumnKind.TEXT):
                raise ConfigurationError(
                    f"known names {name!r} of {label}, which is not taken as categories.",
                    hint="Leave it out, or name it in categorical.",
                )
            if option == "column_scaling" and (feature.kind is not ColumnKind.NUMBER or is_category):
                raise ConfigurationError(
                    f"column_scaling names {name!r} of {label}, which is not taken as a number.",
                    hint="Leave it out; only numbers can be scaled.",
                )


def as_number(source: Column) -> Expression:
    """A column as the number that is measured of it: days since 1970 for dates."""
    if source.kind in MOMENTS:
        return days_since_1970(source.name)
    if source.kind is ColumnKind.BOOLEAN:
        return truth_number(source.name)
    return double(column(source.name))


MEASURABLE: Final = frozenset({ColumnKind.NUMBER, ColumnKind.BOOLEAN, ColumnKind.DATE, ColumnKind.TIMESTAMP})


def measure(source: Source, columns: Sequence[Column]) -> Measurements:
    """Count, bounds, mean and deviation of every column, in one query or a few."""
    expressions: list[Expression] = [exp.Count(this=exp.Star())]
    for measured in columns:
        expressions.append(exp.Count(this=column(measured.name)))
        if measured.kind not in MEASURABLE:
            continue
        value = as_number(measured)
        usable = exp.LTE(this=exp.Abs(this=value), expression=number(BOUND))
        kept = exp.Case(ifs=[exp.If(this=usable, true=value.copy())])
        expressions += [
            exp.Count(this=kept.copy()),
            exp.Min(this=kept.copy()),
            exp.Max(this=kept.copy()),
            exp.Avg(this=kept.copy()),
            exp.StddevPop(this=kept.copy()),
        ]
    # Some engines give no more than so many columns at once.
    found: list[Any] = []
    for start in range(0, len(expressions), MOST_MEASURED):
        found += source.rows(*expressions[start : start + MOST_MEASURED])[0]
    values = iter(found)
    rows = int(next(values))
    of: dict[str, Measured] = {}
    for measured in columns:
        count = int(next(values))
        if measured.kind not in MEASURABLE:
            of[measured.name] = Measured(count, 0, 0.0, 0.0, 0.0, 0.0)
            continue
        usable_count = int(next(values))
        least, greatest, mean, deviation = (
            0.0 if value is None else float(value) for value in (next(values) for _ in range(4))
        )
        center, spread = (mean, deviation) if least < greatest else (least, 0.0)
        of[measured.name] = Measured(count, count - usable_count, least, greatest, *settled(center, spread))
    return Measurements(rows, of)


def weigh(source: Source, columns: Sequence[Column], found: Measurements, weight: str) -> Measurements:
    """The measurements with weighted means and deviations, in a query for each of the two."""
    varying = [c for c in columns if c.kind in MEASURABLE and found.of[c.name].deviation > 0.0]

    def weighted_mean(value: Expression) -> Expression:
        # Of no weight at all, there is no mean.
        factor = double(column(weight))
        present = exp.Case(
            ifs=[exp.If(this=exp.Not(this=exp.Is(this=value, expression=exp.Null())), true=factor)]
        )
        total = exp.func("nullif", exp.Sum(this=present), number(0.0))
        return quotient(exp.Sum(this=exp.Mul(this=factor.copy(), expression=value.copy())), total)

    def in_parts(values: Sequence[Expression]) -> list[float]:
        means: list[Any] = []
        for start in range(0, len(values), MOST_MEASURED):
            means += source.rows(*map(weighted_mean, values[start : start + MOST_MEASURED]))[0]
        return [0.0 if mean is None else float(mean) for mean in means]

    kept = []
    for measured in varying:
        value = as_number(measured)
        usable = exp.LTE(this=exp.Abs(this=value), expression=number(BOUND))
        kept.append(exp.Case(ifs=[exp.If(this=usable, true=value.copy())]))
    means = in_parts(kept)
    squares: list[Expression] = []
    for value, mean in zip(kept, means, strict=True):
        difference = exp.paren(exp.Sub(this=value.copy(), expression=number(mean)), copy=False)
        squares.append(exp.Mul(this=difference, expression=difference.copy()))
    of = dict(found.of)
    for measured, mean, variance in zip(varying, means, in_parts(squares), strict=True):
        mean, deviation = settled(mean, math.sqrt(variance))
        of[measured.name] = replace(of[measured.name], mean=mean, deviation=deviation)
    return Measurements(found.rows, of)


def settled(mean: float, deviation: float) -> tuple[float, float]:
    """A mean and a deviation, rounded to seven digits of the deviation.

    An engine with several threads adds numbers up in an order that changes from run to run, and so do the
    last digits of a sum. Without them, the same rows give the same network, and any engine gives it.

    >>> settled(19.500000000000004, 11.543396380615196)
    (19.5, 11.5434)
    """
    if deviation == 0.0:
        return mean, deviation
    digits = 6 - math.floor(math.log10(deviation))
    return round(mean, digits), round(deviation, digits)


def learn_feature(
    source: Source, feature: Column, options: FeatureOptions, measurements: Measurements, notes: list[str]
) -> Feature | None:
    """One feature, or None (with a note) if there is nothing to learn from it."""
    name, label = feature.name, source.relation.label
    if feature.kind is ColumnKind.OTHER:
        if name in options.include:
            raise ColumnError(
                f"Column {name!r} of {label} is of type {feature.type}, which cannot be a feature.",
                hint="Make columns of its parts in a query.",
            )
        notes.append(f"Column {name!r} is left out: its type is {feature.type}.")
        return None
    found = measurements.of[name]
    if found.count == 0:
        notes.append(f"Column {name!r} is left out: all its values are NULL.")
        return None
    nulls = measurements.rows - found.count
    embedded = name in options.embed
    if not (embedded or feature.kind is ColumnKind.TEXT or name in options.categorical):
        refuse_nulls(source, name, nulls, options, measurements)
    else:
        categories, unknown = categories_of(source, feature, None if embedded else options.max_categories)
        nulls += unknown
        refuse_nulls(source, name, nulls, options, measurements)
        if not categories:
            notes.append(f"Column {name!r} is left out: all its values are NULL or NaN.")
            return None
        if len(categories) == 1 and not nulls:
            notes.append(f"Column {name!r} is left out: it is {categories[0]!r} in every row.")
            return None
        if embedded:
            return EmbeddingFeature(name, categories, options.embed[name], feature.kind)
        return CategoryFeature(name, categories, nulls > 0, feature.kind)
    if found.unusable:
        raise ColumnError(
            f"Column {name!r} of {label} has {found.unusable} values that are NaN, infinite or "
            f"beyond {BOUND:g}.",
            hint="Replace them with NULL or a number, or exclude the column.",
        )
    constant = found.least == found.greatest
    as_it_is = name in options.include and options.column_scaling.get(name, options.scaling) == "none"
    if constant and not nulls and not as_it_is:
        value = shown(found.least, feature.kind)
        notes.append(f"Column {name!r} is left out: it is {value} in every row.")
        return None
    if feature.kind is ColumnKind.BOOLEAN:
        return BooleanFeature(name, indicator=nulls > 0)
    if feature.kind in (ColumnKind.DATE, ColumnKind.TIMESTAMP):
        hours = feature.kind is ColumnKind.TIMESTAMP
        return TimeFeature(name, found.mean, found.deviation or 1.0, indicator=nulls > 0, hours=hours)
    center, scale = scale_of(found, options.column_scaling.get(name, options.scaling))
    return NumberFeature(name, center, scale, found.mean, found.least, found.greatest, indicator=nulls > 0)


def refuse_nulls(
    source: Source, name: str, nulls: int, options: FeatureOptions, measurements: Measurements
) -> None:
    """Hold to nulls="refuse", and to columns that must be complete."""
    if nulls and (options.nulls == "refuse" or name in options.complete):
        raise ColumnError(
            f"Column {name!r} of {source.relation.label} has {nulls} NULLs in {measurements.rows} rows.",
            hint="Fill them, exclude the column, or impute.",
        )


def shown(value: float, kind: ColumnKind) -> str:
    """A measured number as the column's own kind of value.

    >>> shown(1.0, ColumnKind.BOOLEAN), shown(19723.0, ColumnKind.DATE), shown(7.0, ColumnKind.NUMBER)
    ('true', '2024-01-01', '7')
    """
    if kind is ColumnKind.BOOLEAN:
        return "true" if value else "false"
    if kind in (ColumnKind.DATE, ColumnKind.TIMESTAMP):
        # Years that Python's calendar lacks stay a number of days.
        start = datetime(1970, 1, 1)
        if abs(value) < 700_000:
            moment = start + timedelta(days=value)
            return str(moment.date() if kind is ColumnKind.DATE else moment)
        return f"day {value:g} since 1970"
    return f"{value:g}"


def scale_of(found: Measured, scaling: str) -> tuple[float, float]:
    """The center and the scale of a column of numbers."""
    if scaling == "none":
        return 0.0, 1.0
    if scaling == "minmax":
        return found.least, (found.greatest - found.least) or 1.0
    # A deviation that is rounding noise of a constant would blow the column up.
    noise = max(abs(found.least), abs(found.greatest)) * 1e-12
    return found.mean, found.deviation if found.deviation > noise else 1.0


def categories_of(source: Source, feature: Column, most: int | None) -> tuple[tuple[str, ...], int]:
    """The distinct values of a column as text, sorted, and how many are NaN.

    Raises
    ------
    ColumnError
        If there are more than `most`.
    """
    name = feature.name
    if most is not None:
        distinct = int(source.rows(exp.Count(this=exp.Distinct(expressions=[column(name)])))[0][0])
        if distinct > most:
            raise ColumnError(
                f"Column {name!r} of {source.relation.label} has {distinct} categories, more than {most}.",
                hint="Exclude it, embed it, or raise max_categories.",
            )
    counted, unknown = dict[Any, str](), 0
    for known, count in source.rows(as_text(name), exp.Count(this=exp.Star()), group=as_text(name)):
        if known is None:
            continue
        key: Any = known_as(feature.kind, str(known))
        if key != key:
            unknown += int(count)
        else:
            # 0.0 and -0.0 are one number.
            counted[key] = max(str(known), counted.get(key, ""))
    # Sorted here: engines order texts by rules of their own.
    return tuple(sorted(counted.values())), unknown


def known_as(kind: ColumnKind, known: str) -> float | str:
    """What tells a value from others: a number's text may be spelt in several ways."""
    if known.lower() in ("nan", "-nan") and kind is ColumnKind.NUMBER:
        return math.nan
    numbers = numbers_of(kind, [known])
    return known if numbers is None else numbers[0]


def learn_target(
    source: Source, targets: Sequence[Column], task: Task, options: FeatureOptions, measurements: Measurements
) -> Target:
    """The target, as classes or as numbers."""
    label = source.relation.label
    for target in targets:
        if target.kind is ColumnKind.OTHER:
            raise TargetError(
                f"Target {target.name!r} is of type {target.type}, which cannot be predicted.",
                hint="Use numbers, text, booleans or dates.",
            )
        if measurements.of[target.name].count == 0:
            raise TargetError(
                f"Target {target.name!r} of {label} is NULL in all {measurements.rows} rows.",
                hint="Name a column that holds what should be predicted.",
            )
    if task is Task.AUTO:
        task = infer_task(source, targets)
    if task is Task.CLASSIFICATION:
        if len(targets) > 1:
            raise TargetError(
                f"{len(targets)} targets are named, and only numbers can be predicted together.",
                hint="Name one column of classes, or several of numbers.",
            )
        # All rows, so that a class that happens to be only among the held-out ones is known too.
        return learn_classes(replace(source, where=None), targets[0], measurements, options.classes)
    return learn_numbers(source, targets, options, measurements)


def infer_task(source: Source, targets: Sequence[Column]) -> Task:
    """Regression for several columns or fractions, classification for anything but numbers."""
    if len(targets) > 1:
        return Task.REGRESSION
    (target,) = targets
    if target.kind is not ColumnKind.NUMBER:
        return Task.CLASSIFICATION
    if not target.type.endswith(("INT", "INTEGER")):
        return Task.REGRESSION
    distinct = int(source.rows(exp.Count(this=exp.Distinct(expressions=[column(target.name)])))[0][0])
    return Task.CLASSIFICATION if distinct <= CLASS_LIKE else Task.REGRESSION


def learn_classes(
    source: Source, target: Column, measurements: Measurements, classes: Sequence[str] = ()
) -> ClassTarget:
    if measurements.of[target.name].unusable:
        raise unusable_target(source.relation.label, target.name, measurements.of[target.name].unusable)
    name = target.name
    distinct = int(source.rows(exp.Count(this=exp.Distinct(expressions=[column(name)])))[0][0])
    if distinct > MAX_CLASSES:
        raise TargetError(
            f"Target {name!r} of {source.relation.label} has {distinct} classes, more than {MAX_CLASSES}.",
            hint="Is it an identifier? For numbers, say task='regression'.",
        )
    rows = source.rows(
        exp.Anonymous(this="any_value", expressions=[as_text(name)]),
        exp.Count(this=exp.Star()),
        exp.Count(this=column(name)),
        group=column(name),
    )
    counted = [(str(text), int(count)) for text, count, present in rows if present]
    if classes:
        places = {known_as(target.kind, text): place for place, text in enumerate(classes)}
        unknown = [text for text, _ in counted if known_as(target.kind, text) not in places]
        if unknown:
            raise TargetError(
                f"Target {name!r} of {source.relation.label} has {unknown[0]!r}, which is not among the "
                f"{len(classes)} classes that are named.",
                hint="Name it in classes, or leave such rows out in a query.",
            )
        counts = {known_as(target.kind, text): count for text, count in counted}
        counted = [(text, counts.get(known_as(target.kind, text), 0)) for text in classes]
    if len(counted) == 1:
        raise TargetError(
            f"Target {name!r} of {source.relation.label} is {counted[0][0]!r} in all {counted[0][1]} rows.",
            hint="There is nothing to tell apart; name a column with two classes or more.",
        )
    names, counts_of = tuple(t for t, _ in counted), tuple(c for _, c in counted)
    return ClassTarget(name, names, counts_of, target.type, target.kind)


def learn_numbers(
    source: Source, targets: Sequence[Column], options: FeatureOptions, measurements: Measurements
) -> NumberTarget:
    centers, scales = [], []
    for target in targets:
        found = measurements.of[target.name]
        if target.kind not in NUMERIC:
            raise TargetError(
                f"Target {target.name!r} is of type {target.type}, and regression needs numbers.",
                hint="Say task='classification', or name a column of numbers.",
            )
        if found.unusable:
            raise unusable_target(source.relation.label, target.name, found.unusable)
        if found.least == found.greatest and options.target_scaling != "none":
            raise TargetError(
                f"Target {target.name!r} of {source.relation.label} is {found.least:g} in all "
                f"{found.count} rows.",
                hint="There is nothing to learn; name a column that varies.",
            )
        center, scale = scale_of(found, options.target_scaling)
        centers.append(center)
        scales.append(scale)
    return NumberTarget(tuple(target.name for target in targets), tuple(centers), tuple(scales))


def unusable_target(label: str, name: str, count: int) -> TargetError:
    return TargetError(
        f"Target {name!r} of {label} has {count} values that are NaN, infinite or beyond {BOUND:g}.",
        hint="Replace them with NULL (such rows are left out) or leave them out in a query.",
    )

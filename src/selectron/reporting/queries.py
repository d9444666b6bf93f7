"""What drawings show, aggregated in the database: no more than some hundred rows are fetched for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlglot import exp

from selectron.blueprint import Blueprint
from selectron.engines.base import Column, ColumnKind, Engine, Relation
from selectron.evaluation import Evaluation
from selectron.features.kinds import NumberFeature
from selectron.features.targets import ClassTarget
from selectron.prediction import Weights, predict_query, prediction_columns, scored_query
from selectron.reporting.boundary import Boundary, PlanePoint
from selectron.reporting.canvas import PALETTE
from selectron.reporting.classes import ReliabilityBin, RocCurve
from selectron.reporting.numbers import Cell, TargetCells
from selectron.sql import column, integer, number
from selectron.templates import filled

__all__ = ["Scorer", "decision_boundary", "reliability", "roc_curves", "target_cells"]

# Points where either rate passes a hundredth: at most 201 for a curve, each of them exact.
ROC: Final = """
WITH scored AS (SELECT 1),
classes AS (SELECT 1),
pairs AS (
  SELECT class, CASE WHEN actual = class THEN 1 ELSE 0 END AS hit, CHOSEN(class, 'probability') AS probability
  FROM scored CROSS JOIN classes
),
totals AS (SELECT class, SUM(hit) AS inside, COUNT(*) - SUM(hit) AS outside FROM pairs GROUP BY class),
counted AS (
  SELECT class, SUM(hit) OVER (PARTITION BY class ORDER BY probability DESC) AS caught,
    COUNT(*) OVER (PARTITION BY class ORDER BY probability DESC) AS called
  FROM pairs
),
rates AS (
  SELECT class, CAST(caught AS DOUBLE) / inside AS recall,
    CAST(called - caught AS DOUBLE) / outside AS fallout
  FROM counted JOIN totals USING (class) WHERE inside > 0 AND outside > 0
),
placed AS (SELECT class, recall, fallout, FLOOR(recall * 1e2) + FLOOR(fallout * 1e2) AS place FROM rates)
SELECT class, MAX(fallout) AS across, MAX(recall) AS up FROM placed
GROUP BY class, place ORDER BY class, across, up
"""

RELIABILITY: Final = """
WITH scored AS (SELECT 1),
classes AS (SELECT 1),
pairs AS (
  SELECT CASE WHEN actual = about THEN 1e0 ELSE 0e0 END AS hit, CHOSEN(about, 'probability') AS probability
  FROM scored
),
placed AS (
  SELECT hit, probability, CASE WHEN probability >= 1e0 THEN 9e0 ELSE FLOOR(probability * 1e1) END AS place
  FROM pairs
)
SELECT place, COUNT(*) AS n, AVG(probability) AS predicted, AVG(hit) AS observed FROM placed
GROUP BY place ORDER BY place
"""

CELLS: Final = """
WITH scored AS (SELECT 1),
targets AS (SELECT 1),
pairs AS (
  SELECT target, CHOSEN(target, 'actual') AS actual, CHOSEN(target, 'predicted') AS predicted
  FROM scored CROSS JOIN targets
),
finite AS (
  SELECT target, actual, predicted, predicted - actual AS residual FROM pairs
  WHERE ABS(actual) < 1e150 AND ABS(predicted) < 1e150
),
extents AS (
  SELECT target, MIN(predicted) AS lowest, MAX(predicted) - MIN(predicted) AS width,
    MIN(residual) AS least, MAX(residual) - MIN(residual) AS spread
  FROM finite GROUP BY target
),
placed AS (
  SELECT target, actual, predicted,
    CASE WHEN width > 0 THEN FLOOR((predicted - lowest) / width * 2.4e1) ELSE 0e0 END AS across,
    CASE WHEN spread > 0 THEN FLOOR((residual - least) / spread * 2.4e1) ELSE 0e0 END AS up
  FROM finite JOIN extents USING (target)
)
SELECT target, COUNT(*) AS n, AVG(actual) AS actual, AVG(predicted) AS predicted FROM placed
GROUP BY target, across, up ORDER BY target, across, up
"""

# Curves are told apart by colour.
MOST_CURVES: Final = len(PALETTE)
MOST_TARGETS: Final = 6
# Places along each side of the grid, and how finely actual rows are told apart there.
GRID: Final = 48
PLACES: Final = 20
MOST_DOTS: Final = 800


class Scorer:
    """Scores rows by a model, for any query over them."""

    def __init__(self, engine: Engine, blueprint: Blueprint, weights: Weights, relation: Relation) -> None:
        self.engine = engine
        self.blueprint = blueprint
        self.weights = weights
        self.relation = relation

    def scored(self) -> exp.Select:
        """Actual and predicted values of each row."""
        return scored_query(self.engine.abilities, self.blueprint, self.relation, self.weights)

    def rows(self, template: str, scored: exp.Select, labels: Sequence[str]) -> list[tuple[float, ...]]:
        """The rows of a template over scored rows."""
        return self.engine.rows(filled(template, {"scored": scored}, labels))


def roc_curves(scorer: Scorer, evaluation: Evaluation, labels: Sequence[str]) -> tuple[RocCurve, ...]:
    """The ROC curve of each class; of many, those with the least area.

    Returns
    -------
    tuple
        In the order of classes. None for classes with no row inside or none outside.
    """
    areas = {label: evaluation.by_class[label].get("roc_auc") for label in labels}
    known = [place for place, label in enumerate(labels) if areas[label] is not None]
    chosen = sorted(sorted(known, key=lambda place: areas[labels[place]] or 0.0)[:MOST_CURVES])
    if not chosen:
        return ()
    # The chosen classes take the places from 0 on; all others are one that no place stands for.
    branches = [
        exp.If(this=exp.EQ(this=column("actual"), expression=integer(place)), true=integer(new))
        for new, place in enumerate(chosen)
    ]
    actual = exp.alias_(exp.Case(ifs=branches, default=integer(-1)), "actual", quoted=True)
    probabilities = [
        exp.alias_(column(f"probability {place}"), f"probability {new}", quoted=True)
        for new, place in enumerate(chosen)
    ]
    narrowed = exp.select(actual, *probabilities).from_(scorer.scored().subquery("every"))
    named = [labels[place] for place in chosen]
    points: dict[int, list[tuple[float, float]]] = {}
    for place, across, up in scorer.rows(ROC, narrowed, named):
        points.setdefault(int(place), []).append((float(across), float(up)))
    return tuple(RocCurve(label, areas[label], tuple(points[place])) for place, label in enumerate(named))


def reliability(scorer: Scorer, labels: Sequence[str]) -> tuple[ReliabilityBin, ...]:
    """Ten bins of probability: of the second of two classes, or of whichever class was predicted."""
    about = integer(1) if len(labels) == 2 else column("predicted")
    told = exp.select("*", exp.alias_(about, "about", quoted=True)).from_(scorer.scored().subquery("every"))
    found = scorer.rows(RELIABILITY, told, labels)
    return tuple(ReliabilityBin(int(n), float(mean), float(hits)) for _, n, mean, hits in found)


def target_cells(scorer: Scorer, labels: Sequence[str]) -> tuple[TargetCells, ...]:
    """Cells of prediction and residual of each target, the first few of many."""
    shown = list(labels[:MOST_TARGETS])
    cells: dict[int, list[Cell]] = {}
    for place, n, actual, predicted in scorer.rows(CELLS, scorer.scored(), shown):
        cells.setdefault(int(place), []).append(Cell(int(n), float(actual), float(predicted)))
    return tuple(TargetCells(shown[place], tuple(own)) for place, own in sorted(cells.items()))


def plane(blueprint: Blueprint) -> tuple[NumberFeature, NumberFeature] | None:
    """The two features of a model that has exactly two, both numbers."""
    features = blueprint.encoding.features
    if len(features) != 2:
        return None
    first, second = features
    if isinstance(first, NumberFeature) and isinstance(second, NumberFeature):
        return first, second
    return None


def decision_boundary(
    engine: Engine, blueprint: Blueprint, weights: Weights, relation: Relation | None
) -> Boundary | None:
    """Predictions on a grid over the two features, if there are just two numbers, and rows of a relation."""
    features, target = plane(blueprint), blueprint.encoding.target
    if features is None or (blueprint.encoding.target.outputs > 1 and not isinstance(target, ClassTarget)):
        return None
    sides = [places_of(feature) for feature in features]
    names = (features[0].column, features[1].column)
    query = predict_query(
        engine.abilities,
        blueprint,
        grid(names, sides),
        [Column(name, ColumnKind.NUMBER, "DOUBLE") for name in names],
        weights,
    )
    labels = target.classes if isinstance(target, ClassTarget) else ()
    added = prediction_columns(blueprint)
    wanted = added[1:] if labels else added
    ordered = (
        exp.select(*map(column, wanted))
        .from_(query.subquery("predicted"))
        .order_by(column(names[1]), column(names[0]))
    )
    found = engine.rows(ordered)
    values = tuple(
        tuple(
            tuple(float(row[kind]) for row in found[start : start + GRID])
            for start in range(0, len(found), GRID)
        )
        for kind in range(len(wanted))
    )
    points = () if relation is None else plane_points(engine, blueprint, relation, names, sides)
    return Boundary(names, tuple(sides[0]), tuple(sides[1]), values, labels, points)


def places_of(feature: NumberFeature) -> list[float]:
    """Places over the range that was seen in training, and a little beyond."""
    margin = 0.06 * ((feature.greatest - feature.least) or 1.0)
    least, greatest = feature.least - margin, feature.greatest + margin
    return [least + (greatest - least) * place / (GRID - 1) for place in range(GRID)]


def grid(names: Sequence[str], sides: Sequence[Sequence[float]]) -> Relation:
    """All pairs of places as a relation."""
    tables = []
    for name, places in zip(names, sides, strict=True):
        tuples = [exp.Tuple(expressions=[number(place)]) for place in places]
        listed = exp.TableAlias(
            this=exp.to_identifier(f"along {name}", quoted=True),
            columns=[exp.to_identifier("place", quoted=True)],
        )
        values = exp.Values(expressions=tuples, alias=listed)
        own = exp.alias_(exp.cast(column("place"), "double"), name, quoted=True)
        tables.append(exp.select(own).from_(values))
    pairs = exp.select("*").from_(tables[0].subquery("x")).join(tables[1].subquery("y"), join_type="cross")
    return Relation(pairs.subquery("grid"), "a grid")


def plane_points(
    engine: Engine,
    blueprint: Blueprint,
    relation: Relation,
    names: Sequence[str],
    sides: Sequence[Sequence[float]],
) -> tuple[PlanePoint, ...]:
    """Actual rows within the grid, those of a place and a class together."""
    target = blueprint.encoding.target
    kind = target.values()[0] if isinstance(target, ClassTarget) else number(0.0)
    chosen = [exp.alias_(kind, "kind", quoted=True)]
    conditions: list[exp.Expr] = [
        exp.Not(this=exp.Is(this=column(name), expression=exp.Null())) for name in target.columns
    ]
    placed = []
    for axis, (name, places) in enumerate(zip(names, sides, strict=True)):
        value = exp.cast(column(name), "double")
        chosen.append(exp.alias_(value, f"value {axis}", quoted=True))
        conditions.append(exp.Between(this=value.copy(), low=number(places[0]), high=number(places[-1])))
        offset = exp.Sub(this=column(f"value {axis}"), expression=number(places[0]))
        share = exp.Mul(this=exp.paren(offset), expression=number(PLACES / (places[-1] - places[0])))
        placed.append(exp.alias_(exp.Floor(this=share), f"place {axis}", quoted=True))
    inner = exp.select(*chosen).from_(relation.source.copy()).where(*conditions)
    middle = exp.select("*", *placed).from_(inner.subquery("within"))
    count = exp.Count(this=exp.Star())
    query = (
        exp.select(
            exp.alias_(count, "n", quoted=True),
            exp.alias_(exp.Avg(this=column("value 0")), "across", quoted=True),
            exp.alias_(exp.Avg(this=column("value 1")), "up", quoted=True),
            column("kind"),
        )
        .from_(middle.subquery("placed"))
        .group_by(column("kind"), column("place 0"), column("place 1"))
        .order_by(exp.Ordered(this=column("n"), desc=True, nulls_first=False), column("across"), column("up"))
        .limit(MOST_DOTS)
    )
    return tuple(
        PlanePoint(int(n), float(across), float(up), int(kind)) for n, across, up, kind in engine.rows(query)
    )

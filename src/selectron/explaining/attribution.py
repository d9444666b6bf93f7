"""Integrated gradients: what each column adds to the prediction of a row.

Sundararajan, Taly and Yan 2017. A row's encoded features are walked from a baseline to their values in a
straight line; a feature's attribution is its way times the mean gradient along it. The gradients are the
program's own, by reverse mode, and the line is a cross join of the rows with a series of its midpoints. Units
of a column (those of its categories, its indicator of NULLs, its vector) are summed.

What is attributed is the logit of a class, before it becomes a probability, or a predicted number in the
target's own units. Of two classes told apart by one logit, the first one's is that logit negated. A row's
attributions sum to its output less that of the baseline, up to the error of the midpoint rule: a hundredth
for ten times the steps where the network is smooth, less clearly where it has kinks, as ReLU does
(:meth:`Attributions.completeness` says how large it is).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from sqlglot import exp

from selectron.engines.base import Engine, Relation
from selectron.errors import ConfigurationError, DataError
from selectron.explaining.subject import Subject
from selectron.features.fitting import fitted
from selectron.features.kinds import EmbeddingFeature
from selectron.features.rows import ROW
from selectron.features.targets import NumberTarget
from selectron.layouts.placing import element_name
from selectron.outputs import Output
from selectron.prediction import (
    INDEX,
    OWN,
    class_index,
    forward_query,
    input_values,
    program_query,
)
from selectron.program.gradient import gradients
from selectron.program.operations import (
    Array,
    add,
    constant,
    equal,
    input_,
    multiply,
    pick,
    subtract,
    sum_,
    where,
)
from selectron.program.program import Program
from selectron.program.tensor import BATCH, Tensor
from selectron.sql import balanced, column, integer, number, text
from selectron.templates import filled, listed
from selectron.training.forward import forward_pass

__all__ = ["AttributionRow", "Attributions", "CompletenessRow", "attributions", "path_program"]

Expression = exp.Expr

# What the program is fed besides features: where on the line a row is, and which output is explained.
ALONG: Final = "along"
EXPLAINED: Final = "explained"
SHARE: Final = "share"
MOST_STEPS: Final = 10_000

WEIGHT: Final = "weight"
SUM: Final = "attribution"

LONG: Final = """
WITH summed AS (SELECT 1),
columns AS (SELECT 1),
labels AS (SELECT 1)
SELECT summed."row" AS "row", labels.label AS about, columns.label AS "column",
  CHOSEN(columns.place, 'attribution') AS attribution
FROM summed CROSS JOIN columns JOIN labels ON summed.explained = labels.explained
"""
COMPLETE: Final = """
WITH summed AS (SELECT 1),
labels AS (SELECT 1)
SELECT summed."row" AS "row", labels.label AS about, output, baseline, total,
  total - (output - baseline) AS error
FROM summed JOIN labels ON summed.explained = labels.explained
"""


class AttributionRow(NamedTuple):
    """What a column adds to a row's logit of a class, or to its predicted number.

    Rows are counted from 1 in the order of the table; `about` is the class or target column.
    """

    row: int
    about: str
    column: str
    attribution: float


class CompletenessRow(NamedTuple):
    """Whether a row's attributions sum to what they should.

    `output` is the row's logit or number and `baseline` that of the baseline; `error` is by how much the sum,
    `total`, is off their difference.
    """

    row: int
    about: str
    output: float
    baseline: float
    total: float
    error: float


class Attributions(Output):
    """What each column adds to the prediction of each row, as a query run when its rows are asked for."""

    def __init__(
        self, engine: Engine, query: exp.Select, complete: exp.Select, order: Mapping[str, int]
    ) -> None:
        super().__init__(engine, query)
        self.complete = complete
        self.order = order

    def rows(self) -> list[AttributionRow]:
        """A row for each row and column, in their order."""
        found = [
            AttributionRow(int(row), str(about), str(name), value)
            for row, about, name, value in self.engine.rows(self.query)
        ]
        return sorted(found, key=lambda row: (row.row, self.order[row.column]))

    def completeness(self) -> list[CompletenessRow]:
        """For each row, whether its attributions sum to its output less that of the baseline."""
        found = self.engine.rows(self.complete)
        return sorted(CompletenessRow(int(row[0]), str(row[1]), *row[2:]) for row in found)


@dataclass(frozen=True)
class Path:
    """A program along the line from the baseline to a row.

    Its outputs are ``"output"``, and for each input the share that its units have in the output's change, if
    the gradient were everywhere as it is here; `shapes` are their units.
    """

    program: Program
    shapes: Mapping[str, int]


def path_program(subject: Subject) -> Path:
    """The gradient program of a model, on the line between a baseline and a row."""
    blueprint = subject.blueprint
    along, explained = input_(ALONG, (BATCH, 1)), input_(EXPLAINED, (BATCH, 1))
    ends: dict[str, tuple[Tensor, Tensor]] = {}

    def at(name: str, block: Tensor) -> Tensor:
        start = input_(f"baseline {name}", (BATCH, block.shape[1]))
        way = subtract(block, start)
        place = add(start, multiply(along, way))
        ends[name] = (place, way)
        return place

    tensors = {parameter.key: parameter.tensor for parameter in blueprint.step.parameters}
    forward = forward_pass(blueprint.specification.network, blueprint.inputs, tensors, at=at)
    logits = forward.logits
    target = blueprint.encoding.target
    if isinstance(target, NumberTarget):
        scale, center = chosen(target.scale, explained), chosen(target.center, explained)
        output = add(multiply(pick(logits, explained), scale), center)
    elif logits.shape[1] == 1:
        sign = subtract(multiply(constant(2.0), explained), constant(1.0))
        output = multiply(sign, logits)
    else:
        output = pick(logits, explained)
    places = [place for place, _ in ends.values()]
    # The gradient of a sum over rows is each row's own.
    found = gradients(sum_(sum_(output, 0), 1), places)
    shares = {
        f"{SHARE} {name}": multiply(gradient, way)
        for (name, (_, way)), gradient in zip(ends.items(), found, strict=True)
    }
    shapes = {name: int(place.shape[1]) for name, (place, _) in ends.items()}
    return Path(Program({"output": output, **shares}, forward.labels), shapes)


def chosen(values: Sequence[float], index: Tensor) -> Tensor:
    """The value at an index."""
    found = constant(values[-1])
    for place in range(len(values) - 2, -1, -1):
        found = where(equal(index, constant(float(place))), constant(values[place]), found)
    return found


def attributions(
    subject: Subject, parameters: Mapping[str, Array], *, about: str | None, baseline: object, steps: int
) -> Attributions:
    """What each column adds to the prediction of each row.

    Parameters
    ----------
    parameters
        Those of the model, of which embedded vectors are needed.
    about
        The class or target column to explain; None is the predicted class of each row, or the only target.
    baseline
        ``"mean"``: the mean of the encoded rows; ``"zeros"``; or rows whose encoded mean is taken.
    steps
        How many midpoints the line from the baseline has.

    Raises
    ------
    ConfigurationError
        If there is no such class or target, several targets and none is named, or no such number of steps.
    DataError, ColumnError
        If the rows of the baseline are none, or do not fit.
    """
    if not 1 <= steps <= MOST_STEPS:
        raise ConfigurationError(f"steps is {steps}.", hint=f"Give 1 to {MOST_STEPS}.")
    index = explained_place(subject, about)
    path = path_program(subject)
    start = baseline_values(subject, parameters, baseline)
    encoded = encoded_rows(subject, index)
    names = [name for name in encoded.named_selects if name != ROW]
    ends = {f"baseline {name}": [number(v) for v in start[name][0]] for name in path.shapes}
    series = [[number(0.0), number(0.0)], [number(1.0), number(0.0)]]
    series += [[number((step + 0.5) / steps), number(1.0 / steps)] for step in range(steps)]
    rows = (
        exp.select(column(ROW), *map(column, names), column(ALONG), column(WEIGHT))
        .select(
            *(exp.alias_(value, name, quoted=True) for name, value in subject.weights.form.fed(ends).items())
        )
        .from_(encoded.subquery("encoded", copy=False), copy=False)
        .join(listed([ALONG, WEIGHT], series).subquery("series"), join_type="cross")
    )
    kept = {"row": ROW, **{name: name for name in (EXPLAINED, ALONG, WEIGHT, "output")}}
    outputs: dict[str, Expression] = {name: column(own) for name, own in kept.items()}
    sums = [f"{SUM} {place}" for place in range(len(subject.features))]
    outputs |= dict(zip(sums, shares_of_columns(subject, path), strict=True))
    walked = program_query(subject.abilities, path.program, rows, subject.weights, outputs)
    summed = summed_over_steps(walked, sums)
    labels = listed([EXPLAINED, "label"], [[integer(i), text(v)] for i, v in enumerate(subject.labels)])
    columns = listed(["place", "label"], [[integer(i), text(v)] for i, v in enumerate(subject.features)])
    long = filled(LONG, {"summed": summed, "columns": columns, "labels": labels}, subject.features)
    complete = filled(COMPLETE, {"summed": summed.copy(), "labels": labels.copy()}, ())
    assert isinstance(long, exp.Select)
    assert isinstance(complete, exp.Select)
    order = {name: place for place, name in enumerate(subject.features)}
    return Attributions(subject.engine, long, complete, order)


def explained_place(subject: Subject, about: str | None) -> int | None:
    """The place of the output to explain; None for the predicted class of each row."""
    if about is None:
        if not subject.classes and len(subject.labels) > 1:
            raise ConfigurationError(
                f"The model predicts {len(subject.labels)} numbers, and none is named.",
                hint=f"Say about which: {', '.join(subject.labels)}.",
            )
        return None if subject.classes else 0
    if about not in subject.labels:
        kind = "class" if subject.classes else "target"
        raise ConfigurationError(
            f"The model has no {kind} {about!r}.", hint=f"It has {', '.join(subject.labels)}."
        )
    return subject.labels.index(about)


def encoded_rows(subject: Subject, index: int | None) -> exp.Select:
    """Numbered rows as the network is fed, and which output is explained of each."""
    number_ = exp.alias_(exp.Window(this=exp.RowNumber()), ROW, quoted=True)
    rows = exp.select(number_, *map(column, subject.features)).from_(subject.relation.source.copy())
    numbered = Relation(rows.subquery("numbered"), subject.relation.label)
    inputs = subject.weights.form.fed(input_values(subject.blueprint, subject.weights.directory))
    if index is not None:
        encoded = [exp.alias_(value, name, quoted=True) for name, value in inputs.items()]
        explained = exp.alias_(number(float(index)), EXPLAINED, quoted=True)
        return exp.select(column(ROW), *encoded, explained).from_(numbered.source)
    outputs: dict[str, Expression] = {ROW: column(f"{OWN}{ROW}"), **{name: column(name) for name in inputs}}
    outputs[EXPLAINED] = column(INDEX)
    return forward_query(
        subject.abilities,
        subject.blueprint,
        numbered,
        [ROW],
        subject.weights,
        outputs,
        wanted=["prediction"],
        stages=class_index(subject.blueprint),
    )


def shares_of_columns(subject: Subject, path: Path) -> list[Expression]:
    """For each feature column the sum of its units' shares, weighted by the step."""
    found: list[Expression] = []
    start = 0
    for feature in subject.blueprint.encoding.features:
        if isinstance(feature, EmbeddingFeature):
            name = next(e.index for e in subject.blueprint.inputs.embeddings if e.column == feature.column)
            places = range(path.shapes[name])
        else:
            name, places = "features", range(start, start + len(feature.units))
            start += len(feature.units)
        shape = (BATCH, path.shapes[name])
        units: list[Expression] = [column(element_name(f"{SHARE} {name}", shape, 0, p)) for p in places]
        found.append(exp.Mul(this=column(WEIGHT), expression=exp.paren(balanced(units))))
    return found


def summed_over_steps(walked: exp.Select, sums: Sequence[str]) -> exp.Select:
    """For each row its attributions, their total, and the outputs at both ends of the line."""

    def output_at(end: float) -> Expression:
        there = exp.EQ(this=column(ALONG), expression=number(end))
        return exp.Max(this=exp.Case(ifs=[exp.If(this=there, true=column("output"))]))

    each = {name: exp.Sum(this=column(name)) for name in sums}
    each |= {"output": output_at(1.0), "baseline": output_at(0.0)}  # type: ignore[dict-item]
    values = [exp.alias_(value, name, quoted=True) for name, value in each.items()]
    grouped = (
        exp.select(column("row"), column(EXPLAINED), *values)
        .from_(walked.subquery("walked", copy=False), copy=False)
        .group_by(column("row"), column(EXPLAINED))
    )
    total = exp.alias_(balanced([column(name) for name in sums]), "total", quoted=True)
    return exp.select(exp.Star(), total).from_(grouped.subquery("grouped", copy=False), copy=False)


def baseline_values(subject: Subject, parameters: Mapping[str, Array], baseline: object) -> dict[str, Array]:
    """The units of each input at the baseline, of shape (1, units)."""
    inputs, engine = input_values(subject.blueprint, subject.weights.directory), subject.engine
    vectors = {e.index: parameters[f"{e.layer}.vectors"] for e in subject.blueprint.inputs.embeddings}
    if isinstance(baseline, str) and baseline == "zeros":
        zeros = {name: np.zeros((1, matrix.shape[1])) for name, matrix in vectors.items()}
        return {"features": np.zeros((1, len(inputs["features"]))), **zeros}
    relation = subject.relation
    if not (isinstance(baseline, str) and baseline == "mean"):
        relation = engine.relation(baseline)
        relation = fitted(relation, engine.columns(relation), subject.blueprint.encoding, target=False)
        if not Subject(engine, subject.blueprint, subject.weights, relation).has_rows():
            raise DataError(f"{relation.label} has no rows.", hint="Name a table that has some.")
    found: dict[str, Array] = {}
    if inputs["features"]:
        means = [exp.Avg(this=unit) for unit in inputs["features"]]
        (row,) = engine.rows(exp.select(*means).from_(relation.source.copy()))
        found["features"] = np.array([row], dtype=np.float64)
    for name, matrix in vectors.items():
        (index,) = inputs[name]
        places = exp.select(exp.alias_(index, "place", quoted=True)).from_(relation.source.copy())
        counted = exp.select(column("place"), exp.Count(this=exp.Star())).from_(places.subquery("indexed"))
        counts = np.zeros((1, matrix.shape[0]))
        for place, count in engine.rows(counted.group_by(column("place"))):
            counts[0, int(place)] = count
        found[name] = counts @ matrix / counts.sum()
    return found

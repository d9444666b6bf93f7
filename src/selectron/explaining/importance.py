"""Permutation importance: how much worse predictions get when a column's values belong to other rows.

Breiman 2001. The rows are put in an order by the portable hash that also shuffles training rows, and each is
given the column's value of the next one, the last row that of the first: a cycle through all rows, so that
none keeps its own. One statement scores every row once as it is, and once for each column and repeat.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from sqlglot import exp

from selectron.engines.base import Relation
from selectron.errors import ConfigurationError, DataError
from selectron.explaining.subject import Subject
from selectron.features.rows import RESERVED, ROW, Steps, add_hash, usable
from selectron.outputs import Output
from selectron.prediction import scored_query
from selectron.program.operations import MODULUS
from selectron.sql import column, integer, text
from selectron.templates import filled, listed

__all__ = ["Importance", "ImportanceRow", "importance", "start_of"]

VARIANT: Final = f"{RESERVED}variant"
REPEAT: Final = f"{RESERVED}repeat"
START: Final = f"{RESERVED}start"
OTHER: Final = f"{RESERVED}other"

# Far from each other in the field of the hash, however many seeds and repeats there are.
SEEDS, REPEATS = 1_640_531_513, 1_327_217_885

# The score of classes is accuracy; that of numbers R2, averaged over targets.
CLASSES: Final = """
WITH scored AS (SELECT 1)
SELECT variant, repeat, AVG(loss) AS loss,
  AVG(CASE WHEN actual = predicted THEN 1e0 ELSE 0e0 END) AS score
FROM scored GROUP BY variant, repeat
"""
NUMBERS: Final = """
WITH scored AS (SELECT 1),
targets AS (SELECT 1),
pairs AS (
  SELECT variant, repeat, target, loss,
    CHOSEN(target, 'actual') AS actual, CHOSEN(target, 'predicted') AS predicted
  FROM scored CROSS JOIN targets
),
counted AS (
  SELECT variant, repeat, target, AVG(loss) AS loss,
    AVG((predicted - actual) * (predicted - actual)) AS mse, VAR_POP(actual) AS variance
  FROM pairs GROUP BY variant, repeat, target
)
SELECT variant, repeat, AVG(loss) AS loss,
  AVG(CASE WHEN variance > 0 THEN 1e0 - mse / variance END) AS score
FROM counted GROUP BY variant, repeat
"""
CHANGES: Final = """
WITH measured AS (SELECT 1),
columns AS (SELECT 1),
changes AS (
  SELECT own.variant, base.loss AS base_loss, base.score AS base_score,
    own.loss - base.loss AS loss, base.score - own.score AS score
  FROM measured AS own CROSS JOIN measured AS base WHERE base.variant = 0 AND own.variant > 0
)
SELECT label AS "column", AVG(loss) AS loss, SQRT(VAR_POP(loss)) AS loss_deviation,
  AVG(score) AS score, SQRT(VAR_POP(score)) AS score_deviation,
  MIN(base_loss) AS baseline_loss, MIN(base_score) AS baseline_score
FROM changes JOIN columns ON changes.variant = columns.variant
GROUP BY label
"""


class ImportanceRow(NamedTuple):
    """How much a column matters.

    `loss` is how much the mean loss rises and `score` how much the accuracy (for numbers: R2) falls when the
    column's values are shuffled: the mean of the repeats, with their standard deviation. The baselines are
    those of the rows as they are. A score without a meaning is None.
    """

    column: str
    loss: float
    loss_deviation: float
    score: float | None
    score_deviation: float | None
    baseline_loss: float
    baseline_score: float | None


class Importance(Output):
    """The importance of each column, as a query that is run when its rows are asked for."""

    def rows(self) -> list[ImportanceRow]:
        """The columns, the most important first."""
        found = [ImportanceRow(str(row[0]), *row[1:]) for row in self.engine.rows(self.query)]
        return sorted(found, key=lambda row: (-row.loss, row.column))


def importance(subject: Subject, *, repeats: int, seed: int) -> Importance:
    """The importance of each feature column over rows whose target is known.

    Parameters
    ----------
    repeats
        How often each column is shuffled.
    seed
        Decides the shuffles.

    Raises
    ------
    ConfigurationError
        If `repeats` is below 1.
    DataError
        If the target is known in no row.
    """
    if repeats < 1:
        raise ConfigurationError(f"repeats is {repeats}.", hint="Give 1 or more.")
    targets = subject.blueprint.encoding.target.columns
    known = [exp.Not(this=exp.Is(this=column(name), expression=exp.Null())) for name in targets]
    if not subject.has_rows(*known):
        raise DataError(
            f"{subject.relation.label} has no row with a known target.", hint="Name a table that has some."
        )
    shuffled = shuffled_rows(subject, repeats, seed)
    beside = {"variant": VARIANT, "repeat": REPEAT}
    scored = scored_query(subject.abilities, subject.blueprint, shuffled, subject.weights, beside)
    names = [[integer(place), text(name)] for place, name in enumerate(subject.features, start=1)]
    measured = filled(CLASSES if subject.classes else NUMBERS, {"scored": scored}, subject.labels)
    query = filled(CHANGES, {"measured": measured, "columns": listed(["variant", "label"], names)}, ())
    assert isinstance(query, exp.Select)
    return Importance(subject.engine, query)


def start_of(seed: int, repeat: int) -> int:
    """What is added to a row's number before it is hashed.

    >>> start_of(0, 1), start_of(0, 2) != start_of(1, 1)
    (1327217885, True)
    """
    return (seed * SEEDS + repeat * REPEATS) % MODULUS


def shuffled_rows(subject: Subject, repeats: int, seed: int) -> Relation:
    """Every row once as it is (variant 0), and with each column's value of another row, for each repeat."""
    features, targets = subject.features, subject.blueprint.encoding.target.columns
    steps = Steps([usable(subject.relation, [*features, *targets], targets)])
    steps.add(ROW, exp.Window(this=exp.RowNumber()))
    starts = [[integer(repeat), integer(start_of(seed, repeat))] for repeat in range(repeats + 1)]
    steps.join(listed([REPEAT, START], starts))
    hashed = add_hash(steps, exp.Add(this=column(ROW), expression=column(START)))
    order = exp.Order(expressions=[exp.Ordered(this=key, nulls_first=False) for key in (hashed, column(ROW))])

    def over(function: exp.Expr) -> exp.Expr:
        return exp.Window(this=function, partition_by=[column(REPEAT)], order=order.copy())

    # The value of the next row of the order; after the last one, that of the first.
    is_last = exp.Is(this=over(exp.Lead(this=column(ROW))), expression=exp.Null())
    others = []
    for place, name in enumerate(features):
        first, next_ = over(exp.FirstValue(this=column(name))), over(exp.Lead(this=column(name)))
        value = exp.Case(ifs=[exp.If(this=is_last.copy(), true=first)], default=next_)
        others.append(exp.alias_(value, f"{OTHER}_{place}", quoted=True))
    steps.queries.append(steps.over([exp.Star(), *others]))
    variants = [[integer(0), integer(0)]]
    variants += [
        [integer(variant), integer(repeat)]
        for variant in range(1, len(features) + 1)
        for repeat in range(1, repeats + 1)
    ]
    paired = f"{REPEAT}_of_variant"
    steps.join(listed([VARIANT, paired], variants), on=exp.EQ(this=column(REPEAT), expression=column(paired)))
    chosen: list[exp.Expr] = [column(VARIANT), column(REPEAT), *map(column, targets)]
    for place, name in enumerate(features):
        is_shuffled = exp.EQ(this=column(VARIANT), expression=integer(place + 1))
        value = exp.Case(
            ifs=[exp.If(this=is_shuffled, true=column(f"{OTHER}_{place}"))], default=column(name)
        )
        chosen.append(exp.alias_(value, name, quoted=True))
    return Relation(steps.last(chosen).subquery("shuffled"), subject.relation.label)

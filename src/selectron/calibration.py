"""How far predicted probabilities are from what was observed, by one SQL statement over the scored rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sqlglot import exp

from selectron.errors import ConfigurationError
from selectron.sql import column, integer, number
from selectron.templates import filled

__all__ = ["Bin", "Calibration", "calibration_query"]

MOST_BINS: Final = 100

# Each row counts once for each class (is it of that class?) and once for its prediction (is it right?).
CALIBRATION: Final = """
WITH scored AS (SELECT 1),
classes AS (SELECT 1),
judged AS (
  SELECT label AS about, CHOSEN(class, 'probability') AS probability,
    CASE WHEN actual = class THEN 1e0 ELSE 0e0 END AS observed
  FROM scored CROSS JOIN classes
  UNION ALL
  SELECT NULL, CHOSEN(predicted, 'probability'), CASE WHEN actual = predicted THEN 1e0 ELSE 0e0 END
  FROM scored
),
binned AS (SELECT about, BIN_OF(probability) AS place, probability, observed FROM judged)
SELECT about, place, COUNT(*) AS n, AVG(probability) AS predicted, AVG(observed) AS observed,
  AVG((probability - observed) * (probability - observed)) AS squared
FROM binned GROUP BY about, place
"""


class Bin(NamedTuple):
    """Rows whose predicted probability is above `lower` (or 0) and at most `upper`.

    `about` is the class whose probability it is; None for the probability of whatever was predicted.
    """

    about: str | None
    lower: float
    upper: float
    rows: int
    mean_predicted: float
    fraction_observed: float


@dataclass(frozen=True)
class Calibration:
    """How probabilities that were predicted compare with what was observed.

    Attributes
    ----------
    bins
        The reliability table: a row for each class and bin that has rows, in order, after those of the
        predicted class (None).
    expected_error
        The expected calibration error, the mean of ``|mean_predicted - fraction_observed|`` over rows, by
        class; None is that of the predicted class, which is the usual one (Guo et al. 2017).
    brier
        The Brier score by class: the mean squared difference of its probability and whether a row is of it.
        None is the score of all together: the sum over classes, and for two classes half of it, which is that
        of either, as scikit-learn has it.
    """

    bins: tuple[Bin, ...]
    expected_error: Mapping[str | None, float]
    brier: Mapping[str | None, float]

    @staticmethod
    def from_rows(found: Iterable[tuple[Any, ...]], labels: Sequence[str], bins: int) -> Calibration:
        """A calibration from the statement's rows.

        >>> rows = [(None, 1, 4, 0.8, 0.5, 0.3), ("a", 1, 4, 0.8, 0.5, 0.3), ("b", 0, 4, 0.2, 0.5, 0.3)]
        >>> found = Calibration.from_rows(rows, ["a", "b"], bins=2)
        >>> found.bins[0]
        Bin(about=None, lower=0.5, upper=1.0, rows=4, mean_predicted=0.8, fraction_observed=0.5)
        >>> round(found.expected_error[None], 3), found.brier[None]
        (0.3, 0.3)
        """
        order = {label: place for place, label in enumerate([None, *labels])}
        sorted_ = sorted(found, key=lambda row: (order[row[0]], row[1]))
        rows = dict.fromkeys(order, 0)
        errors, squares = dict.fromkeys(order, 0.0), dict.fromkeys(order, 0.0)
        table = []
        for about, place, count, predicted, observed, squared in sorted_:
            lower, upper = int(place) / bins, (int(place) + 1) / bins
            table.append(Bin(about, lower, upper, int(count), float(predicted), float(observed)))
            rows[about] += int(count)
            errors[about] += int(count) * abs(float(predicted) - float(observed))
            squares[about] += int(count) * float(squared)
        known = [about for about in order if rows[about]]
        brier: dict[str | None, float] = {about: squares[about] / rows[about] for about in known}
        if known:
            total = sum(brier[label] for label in labels)
            brier[None] = total / 2 if len(labels) == 2 else total
        return Calibration(tuple(table), {about: errors[about] / rows[about] for about in known}, brier)


def calibration_query(scored: exp.Select, labels: Sequence[str], bins: int) -> exp.Query:
    """The reliability table of a query that gives actual, predicted and ``"probability <place>"``.

    Raises
    ------
    ConfigurationError
        If the number of bins makes no sense.
    """
    if not 1 <= bins <= MOST_BINS:
        raise ConfigurationError(f"bins is {bins}.", hint=f"Give 1 to {MOST_BINS}.")
    query = filled(CALIBRATION, {"scored": scored}, labels)
    branches = [
        exp.If(
            this=exp.LTE(this=column("probability"), expression=number((place + 1) / bins)),
            true=integer(place),
        )
        for place in range(bins - 1)
    ]
    for call in list(query.find_all(exp.Anonymous)):
        if call.name.upper() == "BIN_OF":
            call.replace(exp.Case(ifs=branches, default=integer(bins - 1)) if branches else integer(0))
    return query

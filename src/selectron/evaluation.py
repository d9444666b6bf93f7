"""Quality of predictions, computed by one SQL statement over the scored rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlglot import exp

from selectron.calibration import Calibration
from selectron.markup import html_table
from selectron.templates import filled

__all__ = ["Evaluation", "classification_query", "regression_query"]

# One row for each figure: `metric`, the class or target it is about (NULL for all together), for the
# confusion matrix the class that was predicted, and the `value`. Averages over classes are not weighted.
CLASSIFICATION: Final = """
WITH scored AS (SELECT 1),
classes AS (SELECT 1),
confusion AS (SELECT actual, predicted, COUNT(*) AS n FROM scored GROUP BY actual, predicted),
counted AS (
  SELECT class, label,
    COALESCE(SUM(CASE WHEN actual = class THEN n END), 0) AS support,
    COALESCE(SUM(CASE WHEN predicted = class THEN n END), 0) AS called,
    COALESCE(SUM(CASE WHEN actual = class AND predicted = class THEN n END), 0) AS hits
  FROM classes CROSS JOIN confusion GROUP BY class, label
),
rates AS (
  SELECT class, label, support, called,
    CASE WHEN called > 0 THEN CAST(hits AS DOUBLE) / called ELSE 0e0 END AS "precision",
    CASE WHEN support > 0 THEN CAST(hits AS DOUBLE) / support ELSE 0e0 END AS recall,
    CASE WHEN called + support > 0 THEN 2e0 * hits / (called + support) ELSE 0e0 END AS f1
  FROM counted
),
ranked AS (
  SELECT class, actual,
    (RANK() OVER (PARTITION BY class ORDER BY probability)
      - RANK() OVER (PARTITION BY class ORDER BY probability DESC)
      + COUNT(*) OVER (PARTITION BY class) + 1) / 2e0 AS place
  FROM (
    SELECT class, actual, CHOSEN(class, 'probability') AS probability FROM scored CROSS JOIN classes
  ) AS each
),
areas AS (
  SELECT class,
    SUM(CASE WHEN actual = class THEN 1 ELSE 0 END) AS inside,
    SUM(CASE WHEN actual = class THEN 0 ELSE 1 END) AS outside,
    SUM(CASE WHEN actual = class THEN place ELSE 0e0 END) AS places
  FROM ranked GROUP BY class
),
auc AS (
  SELECT class, CASE WHEN inside > 0 AND outside > 0
    THEN (places - inside * (inside + 1) / 2e0) / (CAST(inside AS DOUBLE) * outside) END AS area
  FROM areas
)
SELECT 'rows' AS metric, CAST(NULL AS TEXT) AS about, CAST(NULL AS TEXT) AS predicted,
  CAST(COUNT(*) AS DOUBLE) AS value FROM scored
UNION ALL SELECT 'accuracy', NULL, NULL, AVG(CASE WHEN actual = predicted THEN 1e0 ELSE 0e0 END) FROM scored
UNION ALL SELECT 'balanced_accuracy', NULL, NULL, AVG(recall) FROM rates WHERE support > 0
UNION ALL SELECT 'log_loss', NULL, NULL, AVG(loss) FROM scored
UNION ALL SELECT 'precision', NULL, NULL, AVG("precision") FROM rates WHERE support + called > 0
UNION ALL SELECT 'recall', NULL, NULL, AVG(recall) FROM rates WHERE support + called > 0
UNION ALL SELECT 'f1', NULL, NULL, AVG(f1) FROM rates WHERE support + called > 0
UNION ALL SELECT 'roc_auc', NULL, NULL, AVG(area) FROM auc
UNION ALL SELECT 'precision', label, NULL, "precision" FROM rates
UNION ALL SELECT 'recall', label, NULL, recall FROM rates
UNION ALL SELECT 'f1', label, NULL, f1 FROM rates
UNION ALL SELECT 'support', label, NULL, CAST(support AS DOUBLE) FROM rates
UNION ALL SELECT 'roc_auc', label, NULL, area FROM auc JOIN classes USING (class)
UNION ALL SELECT 'confusion', a.label, p.label, CAST(COALESCE(n, 0) AS DOUBLE)
FROM classes AS a CROSS JOIN classes AS p
LEFT JOIN confusion ON confusion.actual = a.class AND confusion.predicted = p.class
"""

REGRESSION: Final = """
WITH scored AS (SELECT 1),
targets AS (SELECT 1),
pairs AS (
  SELECT label, CHOSEN(target, 'actual') AS actual, CHOSEN(target, 'predicted') AS predicted
  FROM scored CROSS JOIN targets
),
counted AS (
  SELECT label, COUNT(*) AS n, AVG((predicted - actual) * (predicted - actual)) AS mse,
    AVG(ABS(predicted - actual)) AS mae, VAR_POP(actual) AS variance
  FROM pairs GROUP BY label
),
rates AS (
  SELECT label, mse, SQRT(mse) AS rmse, mae, CASE WHEN variance > 0 THEN 1e0 - mse / variance END AS r2
  FROM counted
)
SELECT 'rows' AS metric, CAST(NULL AS TEXT) AS about, CAST(NULL AS TEXT) AS predicted,
  CAST(COUNT(*) AS DOUBLE) AS value FROM scored
UNION ALL SELECT 'mse', NULL, NULL, AVG(mse) FROM rates
UNION ALL SELECT 'rmse', NULL, NULL, SQRT(AVG(mse)) FROM rates
UNION ALL SELECT 'mae', NULL, NULL, AVG(mae) FROM rates
UNION ALL SELECT 'r2', NULL, NULL, AVG(r2) FROM rates
UNION ALL SELECT 'mse', label, NULL, mse FROM rates
UNION ALL SELECT 'rmse', label, NULL, rmse FROM rates
UNION ALL SELECT 'mae', label, NULL, mae FROM rates
UNION ALL SELECT 'r2', label, NULL, r2 FROM rates
"""


@dataclass(frozen=True)
class Evaluation:
    """The quality of a model's predictions on some rows.

    Attributes
    ----------
    rows
        How many rows were judged: those whose target is known.
    metrics
        Each figure by name: for classes ``accuracy``, ``balanced_accuracy``, ``log_loss``, ``precision``,
        ``recall``, ``f1`` (averaged over classes) and ``roc_auc`` (one against the rest); for numbers
        ``mse``, ``rmse``, ``mae`` and ``r2``, in units of the target. None where a figure has no meaning.
    by_class
        The figures of each class, or of each target column.
    confusion
        For classes, how many rows of each class (first key) were predicted as which (second key).
    groups
        Where a column was named to tell rows apart by, the evaluation of each of its values; None is NULL.
    calibration
        Where it was asked for, how predicted probabilities compare with what was observed.
    """

    rows: int
    metrics: Mapping[str, float | None]
    by_class: Mapping[str, Mapping[str, float | None]]
    confusion: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    groups: Mapping[Any, Evaluation] = field(default_factory=dict)
    calibration: Calibration | None = None

    def __getitem__(self, metric: str) -> float | None:
        return self.metrics[metric]

    def _repr_html_(self) -> str:
        """What notebooks show: each figure, of all rows and of each class or target."""
        named = dict.fromkeys([*self.metrics, *(name for own in self.by_class.values() for name in own)])
        rows = [
            [name, self.metrics.get(name), *(own.get(name) for own in self.by_class.values())]
            for name in named
        ]
        return html_table(["metric", "all", *self.by_class], [["rows", self.rows], *rows])

    @staticmethod
    def from_rows(found: Iterable[tuple[Any, ...]], labels: Sequence[str] = ()) -> Evaluation:
        """An evaluation from the statement's rows; `labels` gives the order of classes or targets.

        >>> Evaluation.from_rows([("rows", None, None, 2.0), ("mae", None, None, 0.5)]).metrics
        {'mae': 0.5}
        """
        rows, metrics = 0, dict[str, float | None]()
        by_class: dict[str, dict[str, float | None]] = {label: {} for label in labels}
        confusion: dict[str, dict[str, int]] = {}
        for metric, about, predicted, value in found:
            if metric == "rows":
                rows = int(value)
            elif metric == "confusion":
                confusion.setdefault(about, {})[predicted] = int(value)
            elif about is None:
                metrics[metric] = value
            else:
                by_class.setdefault(about, {})[metric] = value
        square = {
            actual: {label: confusion.get(actual, {}).get(label, 0) for label in labels}
            for actual in labels
            if confusion
        }
        return Evaluation(rows, metrics, by_class, square)


def classification_query(scored: exp.Select, labels: Sequence[str]) -> exp.Query:
    """The figures of a query that gives actual, predicted, ``"probability <place>"`` and loss."""
    return filled(CLASSIFICATION, {"scored": scored}, labels)


def regression_query(scored: exp.Select, targets: Sequence[str]) -> exp.Query:
    """The figures of a query that gives ``"actual <place>"`` and ``"predicted <place>"``."""
    return filled(REGRESSION, {"scored": scored}, targets)

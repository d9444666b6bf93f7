"""Quality of predictions for each value of a column, computed by one SQL statement over the scored rows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlglot import exp

from selectron.engines.base import Column, ColumnKind
from selectron.errors import ColumnError
from selectron.evaluation import Evaluation
from selectron.features.learn import resolve_columns
from selectron.templates import filled

__all__ = ["GROUP", "by_group", "group_column", "groups_from_rows"]

# What the query that is judged calls the value of a row's group.
GROUP: Final = "grp"

# The figures of selectron.evaluation, each for a value of `grp` (its first column). Nothing is joined by the
# value, since NULL is a group too. Pairs of classes that no row has are left out of the confusion matrix.
CLASSIFICATION: Final = """
WITH scored AS (SELECT 1),
classes AS (SELECT 1),
confusion AS (SELECT grp, actual, predicted, COUNT(*) AS n FROM scored GROUP BY grp, actual, predicted),
counted AS (
  SELECT grp, class, label,
    COALESCE(SUM(CASE WHEN actual = class THEN n END), 0) AS support,
    COALESCE(SUM(CASE WHEN predicted = class THEN n END), 0) AS called,
    COALESCE(SUM(CASE WHEN actual = class AND predicted = class THEN n END), 0) AS hits
  FROM classes CROSS JOIN confusion GROUP BY grp, class, label
),
rates AS (
  SELECT grp, class, label, support, called,
    CASE WHEN called > 0 THEN CAST(hits AS DOUBLE) / called ELSE 0e0 END AS "precision",
    CASE WHEN support > 0 THEN CAST(hits AS DOUBLE) / support ELSE 0e0 END AS recall,
    CASE WHEN called + support > 0 THEN 2e0 * hits / (called + support) ELSE 0e0 END AS f1
  FROM counted
),
ranked AS (
  SELECT grp, class, label, actual,
    (RANK() OVER (PARTITION BY grp, class ORDER BY probability)
      - RANK() OVER (PARTITION BY grp, class ORDER BY probability DESC)
      + COUNT(*) OVER (PARTITION BY grp, class) + 1) / 2e0 AS place
  FROM (
    SELECT grp, class, label, actual, CHOSEN(class, 'probability') AS probability
    FROM scored CROSS JOIN classes
  ) AS each
),
areas AS (
  SELECT grp, class, label,
    SUM(CASE WHEN actual = class THEN 1 ELSE 0 END) AS inside,
    SUM(CASE WHEN actual = class THEN 0 ELSE 1 END) AS outside,
    SUM(CASE WHEN actual = class THEN place ELSE 0e0 END) AS places
  FROM ranked GROUP BY grp, class, label
),
auc AS (
  SELECT grp, label, CASE WHEN inside > 0 AND outside > 0
    THEN (places - inside * (inside + 1) / 2e0) / (CAST(inside AS DOUBLE) * outside) END AS area
  FROM areas
),
pairs AS (
  SELECT grp, a.label AS actual, p.label AS predicted, n
  FROM confusion
  JOIN classes AS a ON confusion.actual = a.class
  JOIN classes AS p ON confusion.predicted = p.class
)
SELECT grp, 'rows' AS metric, CAST(NULL AS TEXT) AS about, CAST(NULL AS TEXT) AS predicted,
  CAST(COUNT(*) AS DOUBLE) AS value FROM scored GROUP BY grp
UNION ALL SELECT grp, 'accuracy', NULL, NULL, AVG(CASE WHEN actual = predicted THEN 1e0 ELSE 0e0 END)
FROM scored GROUP BY grp
UNION ALL SELECT grp, 'balanced_accuracy', NULL, NULL, AVG(recall) FROM rates WHERE support > 0 GROUP BY grp
UNION ALL SELECT grp, 'log_loss', NULL, NULL, AVG(loss) FROM scored GROUP BY grp
UNION ALL SELECT grp, 'precision', NULL, NULL, AVG("precision") FROM rates
WHERE support + called > 0 GROUP BY grp
UNION ALL SELECT grp, 'recall', NULL, NULL, AVG(recall) FROM rates WHERE support + called > 0 GROUP BY grp
UNION ALL SELECT grp, 'f1', NULL, NULL, AVG(f1) FROM rates WHERE support + called > 0 GROUP BY grp
UNION ALL SELECT grp, 'roc_auc', NULL, NULL, AVG(area) FROM auc GROUP BY grp
UNION ALL SELECT grp, 'precision', label, NULL, "precision" FROM rates
UNION ALL SELECT grp, 'recall', label, NULL, recall FROM rates
UNION ALL SELECT grp, 'f1', label, NULL, f1 FROM rates
UNION ALL SELECT grp, 'support', label, NULL, CAST(support AS DOUBLE) FROM rates
UNION ALL SELECT grp, 'roc_auc', label, NULL, area FROM auc
UNION ALL SELECT grp, 'confusion', actual, predicted, CAST(n AS DOUBLE) FROM pairs
"""

REGRESSION: Final = """
WITH scored AS (SELECT 1),
targets AS (SELECT 1),
pairs AS (
  SELECT grp, label, CHOSEN(target, 'actual') AS actual, CHOSEN(target, 'predicted') AS predicted
  FROM scored CROSS JOIN targets
),
counted AS (
  SELECT grp, label, AVG((predicted - actual) * (predicted - actual)) AS mse,
    AVG(ABS(predicted - actual)) AS mae, VAR_POP(actual) AS variance
  FROM pairs GROUP BY grp, label
),
rates AS (
  SELECT grp, label, mse, SQRT(mse) AS rmse, mae, CASE WHEN variance > 0 THEN 1e0 - mse / variance END AS r2
  FROM counted
)
SELECT grp, 'rows' AS metric, CAST(NULL AS TEXT) AS about, CAST(NULL AS TEXT) AS predicted,
  CAST(COUNT(*) AS DOUBLE) AS value FROM scored GROUP BY grp
UNION ALL SELECT grp, 'mse', NULL, NULL, AVG(mse) FROM rates GROUP BY grp
UNION ALL SELECT grp, 'rmse', NULL, NULL, SQRT(AVG(mse)) FROM rates GROUP BY grp
UNION ALL SELECT grp, 'mae', NULL, NULL, AVG(mae) FROM rates GROUP BY grp
UNION ALL SELECT grp, 'r2', NULL, NULL, AVG(r2) FROM rates GROUP BY grp
UNION ALL SELECT grp, 'mse', label, NULL, mse FROM rates
UNION ALL SELECT grp, 'rmse', label, NULL, rmse FROM rates
UNION ALL SELECT grp, 'mae', label, NULL, mae FROM rates
UNION ALL SELECT grp, 'r2', label, NULL, r2 FROM rates
"""


def by_group(scored: exp.Select, labels: Sequence[str], *, classes: bool) -> exp.Query:
    """The figures of each ``grp`` of a query that gives it besides what the figures of all together need."""
    return filled(CLASSIFICATION if classes else REGRESSION, {"scored": scored}, labels)


def group_column(columns: Sequence[Column], name: str, label: str) -> str:
    """The column that rows are told apart by, as the table calls it.

    Raises
    ------
    ColumnError
        If there is none, or its values cannot be compared.
    """
    (found,) = resolve_columns(columns, [name], label)
    if found.kind is ColumnKind.OTHER:
        raise ColumnError(
            f"Column {found.name!r} of {label} is of type {found.type}, and rows cannot be grouped by it.",
            hint="Cast it in a query.",
        )
    return found.name


def groups_from_rows(found: Iterable[tuple[Any, ...]], labels: Sequence[str]) -> dict[Any, Evaluation]:
    """An evaluation for each value, in order, NULL (None) last.

    >>> list(groups_from_rows([(None, "rows", None, None, 1.0), (2, "rows", None, None, 3.0)], []))
    [2, None]
    """
    by_value: dict[Any, list[tuple[Any, ...]]] = {}
    for value, *figures in found:
        # One object for all NaN, which are one group but not equal.
        key = math.nan if isinstance(value, float) and math.isnan(value) else value
        by_value.setdefault(key, []).append(tuple(figures))

    def order(value: Any) -> tuple[Any, ...]:
        is_number = isinstance(value, (int, float))
        return (value is None, not is_number, value if is_number else 0.0, str(value))

    return {value: Evaluation.from_rows(by_value[value], labels) for value in sorted(by_value, key=order)}

"""Columns of a table as a network's numbers: statistics learned by SQL, and applied in SQL.

:func:`learn` gives an :class:`Encoding`. Its expressions are the network's inputs and its target, and
:func:`to_rows` writes all of it as rows. What a value means at prediction is decided once for every engine:

| value | becomes |
|---|---|
| NULL, NaN, an infinite date | the mean, or no category; the indicator unit where training rows had NULLs |
| a number that is infinite or beyond 1e150 | the least or greatest number of the training rows |
| a category that no training row had | the "(other)" unit, or the embedding's last vector |
| a moment with a time zone | the same moment in UTC |
"""

from selectron.features.encoding import Encoding, StatisticRow, find_column, from_rows, to_rows
from selectron.features.kinds import (
    BooleanFeature,
    CategoryFeature,
    EmbeddingFeature,
    Feature,
    NumberFeature,
    TimeFeature,
)
from selectron.features.learn import Task, learn, resolve_columns
from selectron.features.options import FeatureOptions
from selectron.features.targets import ClassTarget, NumberTarget, Target

__all__ = [
    "BooleanFeature",
    "CategoryFeature",
    "ClassTarget",
    "EmbeddingFeature",
    "Encoding",
    "Feature",
    "FeatureOptions",
    "NumberFeature",
    "NumberTarget",
    "StatisticRow",
    "Target",
    "Task",
    "TimeFeature",
    "find_column",
    "from_rows",
    "learn",
    "resolve_columns",
    "to_rows",
]

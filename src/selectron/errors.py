"""What can go wrong, as one small tree.

```
SelectronError
├── ConfigurationError       an option or a network that makes no sense
├── DataError                the user's table cannot be used as asked
│   ├── ColumnError          a column is missing, doubled or of the wrong kind
│   └── TargetError          the target column cannot be learned
├── StoreError               the tables that hold models
│   └── ModelNotFoundError   no model of that name or version
├── EngineError              the database refused, or cannot do what was asked
├── MissingLibraryError      an optional library is not installed
└── TrainingError
    ├── DivergenceError      the loss or a gradient became infinite or NaN
    └── TrainingInterrupted  stopped by the user; the last checkpoint is kept
```

Every message says what was wrong, where, and what to do about it.
"""

from __future__ import annotations

__all__ = [
    "ColumnError",
    "ConfigurationError",
    "DataError",
    "DivergenceError",
    "EngineError",
    "MissingLibraryError",
    "ModelNotFoundError",
    "SelectronError",
    "StoreError",
    "TargetError",
    "TrainingError",
    "TrainingInterrupted",
]


class SelectronError(Exception):
    """The root of every error that Selectron raises on purpose.

    Parameters
    ----------
    problem
        What was wrong and where, as one or two sentences.
    hint
        What to do about it.

    Examples
    --------
    >>> print(SelectronError("Table 'x' is empty.", hint="Name a table with rows."))
    Table 'x' is empty. Name a table with rows.
    """

    def __init__(self, problem: str, *, hint: str = "") -> None:
        super().__init__(f"{problem} {hint}".strip())
        self.problem = problem
        self.hint = hint


class ConfigurationError(SelectronError, ValueError):
    """An option or a network that makes no sense."""


class DataError(SelectronError, ValueError):
    """The user's table cannot be used as asked."""


class ColumnError(DataError):
    """A column is missing, doubled or of the wrong kind."""


class TargetError(DataError):
    """The target column cannot be learned."""


class StoreError(SelectronError):
    """The tables that hold models cannot be read or written."""


class ModelNotFoundError(StoreError, LookupError):
    """No model of that name or version."""


class EngineError(SelectronError):
    """The database refused, or cannot do what was asked."""


class MissingLibraryError(SelectronError, ImportError):
    """An optional library is not installed."""


class TrainingError(SelectronError):
    """A training that could not go on."""


class DivergenceError(TrainingError):
    """The loss or a gradient became infinite or NaN."""


class TrainingInterrupted(TrainingError):  # noqa: N818 - a stop that was asked for, not a fault
    """Stopped by the user; the last checkpoint is kept."""

"""Selectron compiles neural networks to SQL and trains them inside the database that holds the data.

>>> import selectron
>>> db = selectron.connect()
>>> model = db.train("SELECT x, 2 * x + 1 AS y FROM range(20) AS t(x)", target="y", task="regression",
...                  network=selectron.MLP([]), epochs=300, validation=0)
>>> round(model.predict("SELECT 30 AS x").rows()[0][1])
61
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from selectron.calibration import Calibration
from selectron.database import Database, connect
from selectron.errors import (
    ColumnError,
    ConfigurationError,
    DataError,
    DivergenceError,
    EngineError,
    MissingLibraryError,
    ModelNotFoundError,
    SelectronError,
    StoreError,
    TargetError,
    TrainingError,
    TrainingInterrupted,
)
from selectron.evaluation import Evaluation
from selectron.features.options import FeatureOptions
from selectron.model import Model, Predictions
from selectron.network import MLP, Dense
from selectron.reporting.plots import Plot, plot
from selectron.trainer import Progress
from selectron.training.losses import (
    AbsoluteError,
    BinaryCrossEntropy,
    CrossEntropy,
    HalfSquaredError,
    Huber,
    SquaredError,
)
from selectron.training.optimizers import SGD, Adagrad, Adam, AdamW, Momentum, Nesterov, RMSprop
from selectron.training.schedules import (
    ConstantRate,
    CosineDecay,
    ExponentialDecay,
    ReduceOnPlateau,
    StepDecay,
    WarmUp,
)
from selectron.verification import Verification
from selectron.version import __version__

if TYPE_CHECKING:
    from selectron.estimators import SelectronClassifier, SelectronRegressor

    # Not in __all__: a star would import scikit-learn.
    _ = (SelectronClassifier, SelectronRegressor)

__all__ = [
    "MLP",
    "SGD",
    "AbsoluteError",
    "Adagrad",
    "Adam",
    "AdamW",
    "BinaryCrossEntropy",
    "Calibration",
    "ColumnError",
    "ConfigurationError",
    "ConstantRate",
    "CosineDecay",
    "CrossEntropy",
    "DataError",
    "Database",
    "Dense",
    "DivergenceError",
    "EngineError",
    "Evaluation",
    "ExponentialDecay",
    "FeatureOptions",
    "HalfSquaredError",
    "Huber",
    "MissingLibraryError",
    "Model",
    "ModelNotFoundError",
    "Momentum",
    "Nesterov",
    "Plot",
    "Predictions",
    "Progress",
    "RMSprop",
    "ReduceOnPlateau",
    "SelectronError",
    "SquaredError",
    "StepDecay",
    "StoreError",
    "TargetError",
    "TrainingError",
    "TrainingInterrupted",
    "Verification",
    "WarmUp",
    "__version__",
    "connect",
    "plot",
]

# What needs scikit-learn, and is imported when it is asked for.
ESTIMATORS = ("SelectronClassifier", "SelectronRegressor")


def __getattr__(name: str) -> Any:
    if name not in ESTIMATORS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from selectron import estimators

    return getattr(estimators, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *ESTIMATORS])

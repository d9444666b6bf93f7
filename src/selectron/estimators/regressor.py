"""A regressor in the manner of scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils import check_array

from selectron.estimators.base import SelectronEstimator, check_lengths, documented, target_names
from selectron.estimators.rows import Rows
from selectron.network import MLP

__all__ = ["SelectronRegressor"]


@documented
class SelectronRegressor(RegressorMixin, SelectronEstimator):  # type: ignore[misc]
    """A regressor that is trained by SQL, in a DuckDB database in memory.

    `X` is an array of numbers, or a pandas or Polars frame whose columns may also be text, categories,
    booleans and dates. Missing values are imputed, numbers are scaled: nothing has to be prepared.

    Parameters
    ----------
    {parameters}
    target_scaling : {"standardize", "minmax", "none"}, default="standardize"
        Of the numbers to predict; predictions are scaled back.
    output_activation : str, default="identity"
        Of the last layer.

    Attributes
    ----------
    {attributes}

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from selectron import SelectronRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> regressor = SelectronRegressor(hidden=(8,), epochs=30, random_state=0).fit(X, y)
    >>> regressor.score(X, y) > 0.4
    True
    """

    def __init__(
        self,
        hidden: Any = (32,),
        *,
        activation: Any = "relu",
        dropout: Any = 0.0,
        initialization: str = "auto",
        initialization_scale: float | None = None,
        output_activation: str = "identity",
        loss: Any = None,
        optimizer: Any = "adam",
        learning_rate: float | None = None,
        schedule: Any = "constant",
        epochs: int = 100,
        batch_size: int | None = 256,
        l1: float = 0.0,
        l2: float = 0.0,
        clip_norm: float | None = None,
        validation_fraction: float = 0.0,
        patience: int | None = None,
        min_delta: float = 0.0,
        scaling: str = "standardize",
        column_scaling: Mapping[Any, str] | None = None,
        target_scaling: str = "standardize",
        nulls: str = "impute",
        categorical: Sequence[Any] = (),
        embed: Mapping[Any, int] | None = None,
        max_categories: int = 100,
        random_state: Any = None,
        warm_start: bool = False,
    ) -> None:
        self.hidden = hidden
        self.activation = activation
        self.dropout = dropout
        self.initialization = initialization
        self.initialization_scale = initialization_scale
        self.output_activation = output_activation
        self.loss = loss
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.epochs = epochs
        self.batch_size = batch_size
        self.l1 = l1
        self.l2 = l2
        self.clip_norm = clip_norm
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.min_delta = min_delta
        self.scaling = scaling
        self.column_scaling = column_scaling
        self.target_scaling = target_scaling
        self.nulls = nulls
        self.categorical = categorical
        self.embed = embed
        self.max_categories = max_categories
        self.random_state = random_state
        self.warm_start = warm_start

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> SelectronRegressor:
        """Train on rows and their numbers.

        Parameters
        ----------
        X
            An array of numbers or a data frame, of (rows, columns).
        y
            A number for each row, or several.
        sample_weight
            A weight for each row, 0 or more. A row of weight 2 counts as two.

        Returns
        -------
        SelectronRegressor
            Itself.
        """
        self._refuse_no_target(y)
        rows = self._rows(X, reset=True, least=2)
        numbers = self._numbers(rows, y)
        weights = self._weights(sample_weight, rows)
        self._flat = numbers.ndim == 1
        self._fit(rows, self._target(rows, y, numbers), weights, self._number_settings())
        return self

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> SelectronRegressor:
        """Train for one epoch of these rows, going on from where the training is.

        The first call learns how columns become numbers (means, categories) from its rows; the later ones
        keep that. Nothing is held out, and nothing stops early.

        Parameters
        ----------
        X, y
            Rows and their numbers.
        sample_weight
            A weight for each row, 0 or more.

        Returns
        -------
        SelectronRegressor
            Itself.
        """
        self._refuse_no_target(y)
        first = not hasattr(self, "_snapshot")
        rows = self._rows(X, reset=first, least=2 if first else 1)
        numbers = self._numbers(rows, y)
        weights = self._weights(sample_weight, rows)
        if not first:
            columns = columns_of(numbers)
            if len(columns) != len(self._targets):
                raise ValueError(f"y has {len(columns)} targets, and {len(self._targets)} were trained on.")
            self._train_on(rows, dict(zip(self._targets, columns, strict=True)), weights)
            return self
        self._flat = numbers.ndim == 1
        once = {"epochs": 1, "validation": 0.0, "patience": None}
        self._fit(rows, self._target(rows, y, numbers), weights, {**self._number_settings(), **once})
        return self

    def predict(self, X: Any) -> Any:
        """The numbers of each row, in the shape of the `y` that was trained on."""
        numbers = self._outputs(X, "prediction")
        return numbers[:, 0] if self._flat else numbers

    def _network(self) -> MLP:
        network = super()._network()
        return MLP(
            network.layers,
            initialization=network.initialization,
            initialization_scale=network.initialization_scale,
            output_activation=self.output_activation,
        )

    def _numbers(self, rows: Rows, y: Any) -> Any:
        """The checked numbers of rows."""
        numbers = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
        check_lengths(rows, numbers)
        return numbers

    def _target(self, rows: Rows, y: Any, numbers: Any) -> dict[str, Any]:
        """The columns of numbers, under names."""
        columns = columns_of(numbers)
        return dict(zip(target_names(y, len(columns), rows.names), columns, strict=True))

    def _number_settings(self) -> dict[str, Any]:
        return {"task": "regression", "features": self._features(target_scaling=self.target_scaling)}


def columns_of(numbers: Any) -> list[Any]:
    """A target's columns, each as an array."""
    return [np.ascontiguousarray(own) for own in numbers.reshape(len(numbers), -1).T]

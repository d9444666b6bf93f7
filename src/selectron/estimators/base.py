"""What the classifier and the regressor share."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import (
    _check_sample_weight,
    check_consistent_length,
    check_is_fitted,
    validate_data,
)

from selectron.database import Database
from selectron.errors import StoreError
from selectron.estimators.embedded import Embedded, Snapshot, keep_open, opened, taken
from selectron.estimators.rows import Rows, frame_kind, free_name
from selectron.estimators.settings import loss_of, names_of, optimizer_of, plain, schedule_of, seed_of
from selectron.features.options import FeatureOptions
from selectron.model import Model
from selectron.network import MLP

__all__ = ["PARAMETERS", "SelectronEstimator", "documented"]

# The parameters of both, for their docstrings.
PARAMETERS: Final = """\
hidden : int or sequence, default=(32,)
    Units of each hidden layer, or :class:`~selectron.Dense` layers; none gives a linear model.
activation : str or sequence of str, default="relu"
    Of all hidden layers, or one for each: ``"identity"``, ``"relu"``, ``"leaky_relu"``, ``"elu"``,
    ``"selu"``, ``"gelu"``, ``"silu"``, ``"sigmoid"``, ``"tanh"`` or ``"softplus"``.
dropout : float or sequence of float, default=0.0
    The fraction of activations that is set to zero at each step, of all hidden layers or of each.
initialization : str, default="auto"
    How weights start: ``"he"``, ``"glorot"``, ``"normal"``, ``"constant"``, ``"zeros"`` or ``"auto"``.
initialization_scale : float or None, default=None
    The deviation of ``"normal"`` (0.01 if None), the value of ``"constant"`` (1 if None).
loss : str, object or None, default=None
    A name, or one of Selectron's losses; None chooses.
optimizer : str or object, default="adam"
    ``"sgd"``, ``"momentum"``, ``"nesterov"``, ``"adagrad"``, ``"rmsprop"``, ``"adam"``, ``"adamw"``, or an
    object of these, such as ``selectron.Momentum(0.1, momentum=0.8)``.
learning_rate : float or None, default=None
    None is 0.01 for an optimizer that is named, and an object's own otherwise.
schedule : str or object, default="constant"
    ``"constant"``, ``"step"``, ``"exponential"``, ``"cosine"``, ``"warm_up"``, ``"plateau"``, or an object.
epochs : int, default=100
    Passes over the rows; early stopping may end it before.
batch_size : int or None, default=256
    Rows a step; None takes all at once.
l1, l2 : float, default=0.0
    Penalties ``l1 * sum(|w|)`` and ``l2 / 2 * sum(w**2)`` on weights, not on biases.
clip_norm : float or None, default=None
    The largest norm of the gradient.
validation_fraction : float, default=0.0
    The fraction of rows that is held out and measured each epoch.
patience : int or None, default=None
    Stop after so many epochs without improvement of the held-out loss (of the training loss if nothing is
    held out) and keep the best epoch's weights; None never stops.
min_delta : float, default=0.0
    The least decrease that counts as an improvement.
scaling : {"standardize", "minmax", "none"}, default="standardize"
    Of numbers among the features.
column_scaling : dict or None, default=None
    Another scaling for single columns, by name or place.
nulls : {"impute", "refuse"}, default="impute"
    What becomes of missing values (NaN, None): the mean, or no category, with an indicator beside it.
categorical : sequence of str or int, default=()
    Columns of numbers, by name or place, that are categories. Columns of text always are.
embed : dict or None, default=None
    Categories to learn vectors for, and the vectors' length, instead of a unit for each category.
max_categories : int, default=100
    The most categories that a column may have that is not embedded.
random_state : int, RandomState or None, default=None
    Decides initial weights, the order of rows, which are held out, and dropout.
warm_start : bool, default=False
    Whether `fit` starts from the weights of the `fit` before.
"""

# What is there after `fit`.
ATTRIBUTES: Final = """\
n_features_in_ : int
    How many columns `X` has.
feature_names_in_ : ndarray of str
    Their names, if `X` has names.
n_iter_ : int
    The epochs that were trained.
loss_ : float
    The training loss of the last epoch.
loss_curve_ : list of float
    The training loss of each epoch.
validation_loss_curve_ : list of float
    The held-out loss of each epoch; empty if nothing was held out.
coefs_ : list of ndarray
    The weights of each layer, a row for each unit of the one before. The first layer's rows are units that
    features become: one for a number, one for each category (``model_.blueprint.encoding.units`` names
    them), then those of embedded categories.
intercepts_ : list of ndarray
    The biases of each layer.
n_outputs_ : int
    How many outputs the network has.
model_ : selectron.Model
    The model, in the database in memory: its SQL, log and figures of quality.
"""


def documented(class_: type) -> type:
    """Put the shared parameters and attributes into a class's docstring."""
    text = inspect.cleandoc(class_.__doc__ or "")
    for mark, shared in (("{parameters}", PARAMETERS), ("{attributes}", ATTRIBUTES)):
        text = text.replace(mark, shared.rstrip())
    class_.__doc__ = text
    return class_


class SelectronEstimator(BaseEstimator):  # type: ignore[misc]
    """A network in a database in memory. Use the classifier or the regressor."""

    # Set by the constructors of the two, and there to name their types.
    hidden: Any
    activation: Any
    dropout: Any
    initialization: str
    initialization_scale: float | None
    loss: Any
    optimizer: Any
    learning_rate: float | None
    schedule: Any
    epochs: int
    batch_size: int | None
    l1: float
    l2: float
    clip_norm: float | None
    validation_fraction: float
    patience: int | None
    min_delta: float
    scaling: str
    column_scaling: Mapping[Any, str] | None
    nulls: str
    categorical: Sequence[Any]
    embed: Mapping[Any, int] | None
    max_categories: int
    random_state: Any
    warm_start: bool

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.nulls == "impute"
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        # A fit that fails has set some attributes, and has learned nothing.
        return hasattr(self, "_snapshot")

    @property
    def model_(self) -> Model:
        """The model, in the database in memory."""
        check_is_fitted(self)
        return opened(self._snapshot).model

    def to_database(self, database: Database, name: str | None = None) -> Model:
        """Put the fitted model into a database, of any engine, where it is like any other model.

        Its predictions can then be a view over a table with the columns of `X`, under their names.

        Parameters
        ----------
        database
            An open database.
        name
            What to call the model; the target's name by default. A name that is taken gets a new version.

        Raises
        ------
        StoreError
            If the database is read-only, or the name is empty.

        Examples
        --------
        >>> import selectron
        >>> regressor = selectron.SelectronRegressor(hidden=[], epochs=300, random_state=0)
        >>> regressor = regressor.fit([[0.0], [1.0], [2.0]], [1.0, 3.0, 5.0])
        >>> with selectron.connect() as db:
        ...     model = regressor.to_database(db, "line")
        ...     rows = db.model("line").predict("SELECT 10.0 AS x0").rows()
        >>> round(rows[0][1])
        21
        """
        check_is_fitted(self)
        if name is not None and not name.strip():
            raise StoreError("A model needs a name.", hint="Give one that is not empty.")
        return database.copy(self.model_, name)

    # Rows ------------------------------------------------------------------------------------

    def _rows(self, X: Any, *, reset: bool, least: int = 1) -> Rows:
        """Checked features under the names of their columns."""
        if frame_kind(X):
            values = validate_data(self, X, reset=reset, skip_check_array=True)
        else:
            values = validate_data(
                self,
                X,
                reset=reset,
                dtype=np.float64,
                ensure_all_finite="allow-nan" if self.nulls == "impute" else True,
                ensure_min_samples=least,
            )
        if len(values) < least:
            raise ValueError(
                f"Found array with {len(values)} sample(s) while a minimum of {least} is required "
                f"by {type(self).__name__}."
            )
        return Rows.of(values, self._names())

    def _names(self) -> list[str]:
        """The columns' names: their own, or x0, x1 and so on."""
        named = getattr(self, "feature_names_in_", None)
        if named is not None:
            return [str(name) for name in named]
        return [f"x{place}" for place in range(self.n_features_in_)]

    def _weights(self, sample_weight: Any, rows: Rows) -> Any:
        """The checked weights of rows, or None if all count alike."""
        if sample_weight is None:
            return None
        return _check_sample_weight(
            sample_weight, np.empty((rows.count, 1)), dtype=np.float64, ensure_non_negative=True
        )

    def _refuse_no_target(self, y: Any) -> None:
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None.")

    # Training --------------------------------------------------------------------------------

    def _network(self) -> MLP:
        hidden = plain(self.hidden)
        return MLP(
            [hidden] if isinstance(hidden, int) else hidden,
            activation=plain(self.activation),
            dropout=plain(self.dropout),
            initialization=self.initialization,
            initialization_scale=plain(self.initialization_scale),
        )

    def _features(self, **more: Any) -> FeatureOptions:
        names = self._names()

        def by_name(parameter: str, values: Mapping[Any, Any] | None) -> dict[str, Any]:
            given = plain(dict(values or {}))
            return dict(zip(names_of(parameter, list(given), names), given.values(), strict=True))

        return FeatureOptions(
            scaling=self.scaling,
            column_scaling=by_name("column_scaling", self.column_scaling),
            nulls=self.nulls,
            categorical=tuple(names_of("categorical", plain(list(self.categorical)), names)),
            embed=by_name("embed", self.embed),
            max_categories=plain(self.max_categories),
            **more,
        )

    def _settings(self) -> dict[str, Any]:
        """What `Database.train` takes of the parameters."""
        return {
            "network": self._network(),
            "loss": loss_of(self.loss),
            "optimizer": optimizer_of(self.optimizer, plain(self.learning_rate)),
            "schedule": schedule_of(self.schedule),
            "epochs": plain(self.epochs),
            "batch_size": plain(self.batch_size),
            "l1": plain(self.l1),
            "l2": plain(self.l2),
            "clip_norm": plain(self.clip_norm),
            "validation": plain(self.validation_fraction),
            "patience": plain(self.patience),
            "min_delta": plain(self.min_delta),
            "seed": seed_of(self.random_state, check_random_state(self.random_state)),
            "name": "+".join(self._targets),
        }

    def _fit(self, rows: Rows, target: Mapping[str, Any], weights: Any, settings: Mapping[str, Any]) -> None:
        """Train anew; rows of no weight are as good as not there."""
        self._targets = list(target)
        start = self.model_ if self.warm_start and hasattr(self, "_snapshot") else None
        rows, columns, row_weight = self._training_rows(rows, target, weights)
        embedded = Embedded()
        embedded.train(
            rows.beside(columns),
            f"the {rows.count} rows of X",
            self._targets,
            row_weight=row_weight,
            warm_start=start,
            **{**self._settings(), **settings},
        )
        self._adopt(embedded)

    def _train_on(self, rows: Rows, target: Mapping[str, Any], weights: Any) -> None:
        """Train for an epoch of these rows."""
        rows, columns, row_weight = self._training_rows(rows, target, weights)
        embedded = taken(self._snapshot)
        embedded.train_on(rows.beside(columns), f"the {rows.count} rows of X", row_weight)
        self._adopt(embedded)

    def _training_rows(
        self, rows: Rows, target: Mapping[str, Any], weights: Any
    ) -> tuple[Rows, dict[str, Any], str | None]:
        """The rows that count, the columns to put beside them, and the name of the one with the weights."""
        columns = dict(target)
        if weights is None:
            return rows, columns, None
        name = free_name("weight", [*rows.names, *columns])
        columns[name] = weights
        counts = weights > 0
        if not counts.all():
            rows = rows.select(counts)
            columns = {key: values[counts] for key, values in columns.items()}
        return rows, columns, name

    def _adopt(self, embedded: Embedded) -> None:
        """Take over what was learned."""
        model = embedded.model
        log, parameters = model.log, model.parameters
        self.n_iter_ = int(model.record.epochs or 0)
        self.loss_curve_ = [row.training_loss for row in log]
        self.validation_loss_curve_ = [row.validation_loss for row in log if row.validation_loss is not None]
        self.loss_ = self.loss_curve_[-1] if log else float("nan")
        weights: dict[str, list[Any]] = {}
        for parameter in model.blueprint.step.parameters:
            # Embedded categories have weights of their own, beside those of the other features.
            if parameter.name.startswith("weights"):
                weights.setdefault(parameter.layer, []).append(parameters[parameter.key])
        self.coefs_ = [np.vstack(parts) for parts in weights.values()]
        self.intercepts_ = [parameters[f"{layer}.biases"].ravel() for layer in weights]
        self.n_outputs_ = len(self.intercepts_[-1])
        self._snapshot = Snapshot.of(model)
        keep_open(self._snapshot, embedded)

    # Predicting ------------------------------------------------------------------------------

    def _outputs(self, X: Any, wanted: str) -> Any:
        """The network's outputs, a row for each of X."""
        check_is_fitted(self)
        rows = self._rows(X, reset=False)
        place = free_name("place", rows.names)
        frame = rows.beside({place: np.arange(rows.count)})
        return opened(self._snapshot).outputs(frame, place, wanted, f"the {rows.count} rows of X")


def target_names(y: Any, count: int, taken_names: Sequence[str]) -> list[str]:
    """Names for the columns of y: its own if it has any, or target, target_1 and so on."""
    columns = getattr(y, "columns", None)
    if columns is not None:
        own = [str(name) for name in columns]
    elif isinstance(getattr(y, "name", None), str) and y.name:
        own = [y.name]
    else:
        own = ["target"] if count == 1 else [f"target_{place}" for place in range(1, count + 1)]
    found: list[str] = []
    for name in own:
        found.append(free_name(name, [*taken_names, *found]))
    return found


def check_lengths(rows: Rows, y: Any) -> None:
    """Refuse as many targets as there are no rows."""
    check_consistent_length(np.empty(rows.count), y)

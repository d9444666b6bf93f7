"""A classifier in the manner of scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import assert_all_finite, column_or_1d

from selectron.estimators.base import SelectronEstimator, check_lengths, documented, target_names
from selectron.estimators.rows import Rows
from selectron.estimators.settings import plain

__all__ = ["SelectronClassifier"]

LARGEST: Final = np.iinfo(np.int64).max


@documented
class SelectronClassifier(ClassifierMixin, SelectronEstimator):  # type: ignore[misc]
    """A classifier that is trained by SQL, in a DuckDB database in memory.

    `X` is an array of numbers, or a pandas or Polars frame whose columns may also be text, categories,
    booleans and dates. Missing values are imputed, numbers are scaled: nothing has to be prepared.

    Parameters
    ----------
    {parameters}
    class_weight : dict, "balanced" or None, default=None
        A weight for each class, or weights that make all classes count alike.

    Attributes
    ----------
    classes_ : ndarray
        The classes, in the order of the columns of `predict_proba`.
    {attributes}

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from selectron import SelectronClassifier
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> classifier = SelectronClassifier(hidden=(8,), random_state=0).fit(X, y)
    >>> classifier.score(X, y) > 0.95
    True
    """

    classes_: Any

    def __init__(
        self,
        hidden: Any = (32,),
        *,
        activation: Any = "relu",
        dropout: Any = 0.0,
        initialization: str = "auto",
        initialization_scale: float | None = None,
        loss: Any = None,
        optimizer: Any = "adam",
        learning_rate: float | None = None,
        schedule: Any = "constant",
        epochs: int = 100,
        batch_size: int | None = 256,
        l1: float = 0.0,
        l2: float = 0.0,
        class_weight: Mapping[Any, float] | str | None = None,
        clip_norm: float | None = None,
        validation_fraction: float = 0.0,
        patience: int | None = None,
        min_delta: float = 0.0,
        scaling: str = "standardize",
        column_scaling: Mapping[Any, str] | None = None,
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
        self.loss = loss
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.epochs = epochs
        self.batch_size = batch_size
        self.l1 = l1
        self.l2 = l2
        self.class_weight = class_weight
        self.clip_norm = clip_norm
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.min_delta = min_delta
        self.scaling = scaling
        self.column_scaling = column_scaling
        self.nulls = nulls
        self.categorical = categorical
        self.embed = embed
        self.max_categories = max_categories
        self.random_state = random_state
        self.warm_start = warm_start

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> SelectronClassifier:
        """Train on rows and their classes.

        Parameters
        ----------
        X
            An array of numbers or a data frame, of (rows, columns).
        y
            A class for each row: numbers, text or booleans.
        sample_weight
            A weight for each row, 0 or more. A row of weight 2 counts as two.

        Returns
        -------
        SelectronClassifier
            Itself.
        """
        self._refuse_no_target(y)
        rows = self._rows(X, reset=True, least=2)
        labels = self._labels(rows, y)
        weights = self._weights(sample_weight, rows)
        classes = np.unique(labels if weights is None else labels[weights > 0])
        self._refuse_one_class(classes)
        if self.warm_start and hasattr(self, "_snapshot") and not same_classes(classes, self.classes_):
            raise ValueError(
                f"warm_start needs the classes of the fit before, {shown(self.classes_)}, and y has "
                f"{shown(classes)}."
            )
        self.classes_ = classes
        self._fit(rows, self._target(rows, y, labels), weights, self._class_settings())
        return self

    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None
    ) -> SelectronClassifier:
        """Train for one epoch of these rows, going on from where the training is.

        The first call learns how columns become numbers (means, categories) from its rows; the later ones
        keep that. Nothing is held out, and nothing stops early.

        Parameters
        ----------
        X, y
            Rows and their classes.
        classes
            All classes that will ever come; needed at the first call, and may be left out later.
        sample_weight
            A weight for each row, 0 or more.

        Returns
        -------
        SelectronClassifier
            Itself.
        """
        self._refuse_no_target(y)
        first = not hasattr(self, "_snapshot")
        if first and classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        if first and self.class_weight == "balanced":
            raise ValueError(
                "class_weight='balanced' needs all rows, and partial_fit sees some of the classes' rows. "
                "Give a dictionary of weights."
            )
        if classes is not None:
            classes = np.unique(np.asarray(classes))
            if not first and not same_classes(classes, self.classes_):
                raise ValueError(
                    f"classes={shown(classes)} is not the same as on the last call to partial_fit or fit: "
                    f"{shown(self.classes_)}."
                )
        rows = self._rows(X, reset=first)
        labels = self._labels(rows, y)
        weights = self._weights(sample_weight, rows)
        known = classes if first else self.classes_
        unknown = np.setdiff1d(labels, known)
        if len(unknown):
            raise ValueError(
                f"y has classes that are not among the {len(known)} known ones: {shown(unknown)}."
            )
        if not first:
            target = dict(zip(self._targets, [self._coded(labels)], strict=True))
            self._train_on(rows, target, weights)
            return self
        self._refuse_one_class(known)
        self.classes_ = known
        once = {"epochs": 1, "validation": 0.0, "patience": None}
        self._fit(rows, self._target(rows, y, labels), weights, {**self._class_settings(), **once})
        return self

    def predict(self, X: Any) -> Any:
        """The likeliest class of each row; the first of several."""
        likeliest = np.argmax(self.predict_proba(X), axis=1)
        return self.classes_[likeliest]

    def predict_proba(self, X: Any) -> Any:
        """The probability of each class, as an array of (rows, classes)."""
        return self._outputs(X, "prediction")

    def predict_log_proba(self, X: Any) -> Any:
        """The logarithm of the probability of each class, finite even where that is 0."""
        logits = self._outputs(X, "logits")
        if logits.shape[1] == 1:
            # The other class has a logit of 0.
            return np.hstack([-np.logaddexp(0.0, logits), -np.logaddexp(0.0, -logits)])
        highest = logits - logits.max(axis=1, keepdims=True)
        return highest - np.log(np.exp(highest).sum(axis=1, keepdims=True))

    def decision_function(self, X: Any) -> Any:
        """The logits: of the second class if there are two, or of each class."""
        logits = self._outputs(X, "logits")
        if logits.shape[1] == 1:
            return logits[:, 0]
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def _labels(self, rows: Rows, y: Any) -> Any:
        """The checked classes of rows."""
        labels = column_or_1d(y, warn=True)
        assert_all_finite(labels, input_name="y")
        check_classification_targets(labels)
        check_lengths(rows, labels)
        return labels

    def _refuse_one_class(self, classes: Any) -> None:
        if len(classes) < 2:
            raise ValueError(
                f"{type(self).__name__} needs two classes or more, and y has the one class {shown(classes)}."
            )

    def _target(self, rows: Rows, y: Any, labels: Any) -> dict[str, Any]:
        """The column of classes, under a name."""
        (name,) = target_names(y if getattr(y, "ndim", 1) == 1 else None, 1, rows.names)
        return {name: self._coded(labels)}

    def _coded(self, labels: Any) -> Any:
        """Classes as the database has them: whole numbers, booleans or text."""
        return labels_of(labels, self.classes_)

    def _class_settings(self) -> dict[str, Any]:
        weights = plain(self.class_weight)
        coded = [text_of(label) for label in labels_of(self.classes_, self.classes_).tolist()]
        if isinstance(weights, dict):
            texts = dict(zip(self.classes_.tolist(), coded, strict=True))
            weights = {texts.get(label, str(label)): weight for label, weight in weights.items()}
        return {
            "task": "classification",
            "features": self._features(classes=tuple(coded)),
            "class_weight": weights,
        }


def labels_of(labels: Any, classes: Any) -> Any:
    """Labels as a column: integers and booleans as they are, all else as text."""
    kind = classes.dtype.kind
    if kind == "b":
        return np.asarray(labels, dtype=np.bool_)
    if kind in "iu" and classes.max() <= LARGEST:
        return np.asarray(labels).astype(np.int64)
    return np.array([str(label) for label in labels.tolist()], dtype=object)


def text_of(label: object) -> str:
    """A label as the database writes it.

    >>> text_of(True), text_of(3), text_of("a")
    ('true', '3', 'a')
    """
    return str(label).lower() if isinstance(label, bool) else str(label)


def same_classes(ours: Any, theirs: Any) -> bool:
    return bool(np.array_equal(np.asarray(ours), np.asarray(theirs)))


def shown(classes: Any) -> str:
    """The first few classes, for a message."""
    listed = ", ".join(repr(label) for label in np.asarray(classes).tolist()[:10])
    return f"{listed}, ..." if len(classes) > 10 else listed

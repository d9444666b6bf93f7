"""Why a model predicts what it does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from selectron.engines.base import Relation
from selectron.explaining.attribution import Attributions, attributions
from selectron.explaining.dependence import Dependence, dependence
from selectron.explaining.importance import Importance, importance
from selectron.explaining.subject import Subject
from selectron.model.kept import KeptModel

__all__ = ["ExplainedModel"]


class ExplainedModel(KeptModel):
    """A model whose predictions are explained."""

    def importance(self, source: object = None, *, repeats: int = 5, seed: int = 0) -> Importance:
        """How much worse predictions get when a column's values are shuffled, for each feature column.

        Parameters
        ----------
        source
            Rows whose target is known; by default those that were held out in training.
        repeats
            How often each column is shuffled.
        seed
            Decides the shuffles.

        Returns
        -------
        Importance
            Its ``rows()`` are :class:`~selectron.explaining.importance.ImportanceRow`.

        Examples
        --------
        >>> import selectron
        >>> db = selectron.connect()
        >>> rows = "SELECT x, x % 3 AS noise, x > 49 AS large FROM range(100) AS t(x)"
        >>> model = db.train(rows, "large", network=selectron.MLP([]), epochs=50, validation=0)
        >>> [row.column for row in model.importance(rows).rows()]
        ['x', 'noise']
        """
        return importance(self.subject(self.judged_rows(source)), repeats=repeats, seed=seed)

    def attributions(
        self,
        source: object = None,
        *,
        about: str | None = None,
        baseline: object = "mean",
        steps: int = 50,
    ) -> Attributions:
        """What each column adds to the prediction of each row, by integrated gradients.

        Parameters
        ----------
        source
            The rows; by default the table that was trained on.
        about
            The class whose logit is explained, by default the one that is predicted for each row; or the
            target column.
        baseline
            What rows are compared with: ``"mean"``, the mean of the encoded rows; ``"zeros"``, which is the
            mean of standardized numbers and no category; or a table or query, whose encoded mean is taken.
        steps
            How many steps the way from there has; the work is that of so many predictions.

        Returns
        -------
        Attributions
            Its ``rows()`` are :class:`~selectron.explaining.attribution.AttributionRow`.

        Examples
        --------
        >>> import selectron
        >>> db = selectron.connect()
        >>> rows = "SELECT x, x % 3 AS noise, 3 * x AS y FROM range(101) AS t(x)"
        >>> linear = selectron.MLP([])
        >>> model = db.train(rows, "y", task="regression", network=linear, epochs=400, validation=0)
        >>> found = model.attributions("SELECT 90 AS x, 1 AS noise", baseline=rows)
        >>> [(row.column, round(row.attribution)) for row in found.rows()]
        [('x', 120), ('noise', 0)]
        """
        subject = self.subject(self.used_rows(source))
        return attributions(subject, self.parameters, about=about, baseline=baseline, steps=steps)

    def dependence(
        self, column: str, source: object = None, *, grid: Sequence[Any] | None = None, points: int = 20
    ) -> Dependence:
        """How predictions depend on a column: their mean over the rows, if all had one value and another.

        Parameters
        ----------
        column
            A feature of the model.
        source
            The rows; by default the table that was trained on.
        grid
            Values to take, None for NULL; by default quantiles of a column of numbers or moments, the
            categories that training rows had, or false and true.
        points
            How many quantiles, from the least to the greatest; equal ones count once.

        Returns
        -------
        Dependence
            Its ``rows()`` are :class:`~selectron.explaining.dependence.DependenceRow`, and those of its
            ``curves`` the predictions of single rows.

        Examples
        --------
        >>> import selectron
        >>> db = selectron.connect()
        >>> rows = "SELECT x, x % 3 AS noise, x > 49 AS large FROM range(100) AS t(x)"
        >>> model = db.train(rows, "large", network=selectron.MLP([]), epochs=50, validation=0)
        >>> found = model.dependence("x", rows, points=3)
        >>> found.rows()[-1]
        DependenceRow(place=2, value=99.0, about='true', predicted=0.6...)
        """
        subject = self.subject(self.used_rows(source))
        return dependence(subject, column, grid=grid, points=points)

    def subject(self, relation: Relation) -> Subject:
        """The model on some rows, to be explained."""
        return Subject(self.engine, self.blueprint, self.weights(whole=True), relation)

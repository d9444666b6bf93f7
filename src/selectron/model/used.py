"""What a model is for: predictions, as queries, views and functions, and how good they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlglot import exp

from selectron.breakdown import GROUP, by_group, group_column, groups_from_rows
from selectron.calibration import Calibration, calibration_query
from selectron.errors import ConfigurationError, DataError, SelectronError
from selectron.evaluation import Evaluation
from selectron.features.fitting import fitted
from selectron.model.kept import KeptModel
from selectron.model.predictions import Predictions
from selectron.prediction import (
    Weights,
    predict_function,
    predict_query,
)
from selectron.sql import column, growing
from selectron.verification import TOLERANCE, Verification, verify

__all__ = ["UsedModel"]


class UsedModel(KeptModel):
    """A model that predicts."""

    @growing()
    def predict(self, source: object, *, scores: bool = False) -> Predictions:
        """Predict for each row of a table, view, query, file or data frame.

        The rows' own columns come first, then ``predicted_<target>`` and, for classes, a
        ``probability_<class>`` for each; with `scores` also a ``score_<unit>`` for each unit of the last
        layer: its raw output, which for classes is a logit.

        Raises
        ------
        ColumnError
            If the table does not fit the model.
        DataError
            If it does not exist.
        """
        relation = self.engine.relation(source)
        columns = self.engine.columns(relation)
        self.refuse_rows(fitted(relation, columns, self.blueprint.encoding, target=False))

        def build(weights: Weights) -> exp.Select:
            return predict_query(
                self.engine.abilities, self.blueprint, relation, columns, weights, scores=scores
            )

        return Predictions(self, build(self.weights()), build, source)

    def to_function(self, name: str, *, replace: bool = False) -> str:
        """Make a function of SQL that predicts from a row's features, and follows the model as views do.

        On DuckDB it is a macro whose value is a STRUCT; on PostgreSQL it gives a row and takes
        categories as the kind they were in training: numbers, text, dates.

        Returns
        -------
        str
            A call of it with the features' columns.

        Raises
        ------
        DataError
            If there is a function of that name, unless `replace` says to replace it.
        EngineError
            If the engine has no such functions.

        Examples
        --------
        >>> import selectron
        >>> db = selectron.connect()
        >>> rows = "SELECT x, x > 4 AS large FROM range(10) AS t(x)"
        >>> model = db.train(rows, "large", network=selectron.MLP([]), epochs=200, validation=0)
        >>> model.to_function("is_large")
        '"is_large"("x")'
        >>> db.engine.fetched('SELECT "is_large"(8).predicted_large')
        [(True,)]
        """
        if not name.strip():
            raise ConfigurationError("The function needs a name.")
        if not replace and self.engine.has_function(name):
            raise DataError(
                f"There is a function {name!r} already.", hint="Name another, or say to replace it."
            )
        # What a query makes once, a function that is no macro would make at each call.
        weights = self.weights(plain=True, whole=True)
        function = predict_function(self.engine.abilities, self.blueprint, name, weights)
        with self.engine.transaction():
            self.engine.create_function(function)
            self.store.record_view(self.record.model_id, "function", name)
        called = exp.Anonymous(
            this=exp.to_identifier(name, quoted=True),
            expressions=[column(argument) for argument, _ in function.arguments],
        )
        return called.sql(dialect=self.engine.dialect, normalize_functions=False)

    def renew(self, model_ids: Sequence[int]) -> None:
        """Let the views and functions that were made for versions of the model show this one."""
        for kind, name, source in self.store.views(model_ids) if model_ids else []:
            try:
                if kind == "function":
                    self.to_function(name, replace=True)
                elif kind == "prediction" and source is not None:
                    self.predict(source).to_view(name, replace=True)
            except SelectronError:
                # Its table no longer fits, or is gone: it stays with the version it was made for.
                continue

    def evaluate(
        self, source: object = None, *, by: str | None = None, calibration: bool = False, bins: int = 10
    ) -> Evaluation:
        """Judge predictions on rows whose target is known.

        Parameters
        ----------
        source
            A table, view, query, file or data frame; by default the rows that were held out in training.
        by
            A column of it: the figures of each of its values are in ``groups``, NULL's under None.
        calibration
            Whether to compare predicted probabilities with what was observed, too.
        bins
            How many bins of equal width the probabilities are cut into for that.

        Raises
        ------
        DataError
            If there is no row to judge, or the table has classes that the model does not know.
        ColumnError
            If the table does not fit the model, or has no column `by`.
        ConfigurationError
            If calibration is asked of a model that predicts numbers.
        """
        if calibration and not self.classes:
            raise ConfigurationError(
                f"Model {self.name!r} predicts numbers, and only probabilities can be calibrated.",
                hint="Leave calibration out.",
            )
        relation = self.judged_rows(source, by)
        by = None if by is None else group_column(self.engine.columns(relation), by, relation.label)
        evaluation = Evaluation.from_rows(self.engine.rows(self.figures(relation)), self.labels)
        if evaluation.rows == 0:
            raise DataError(
                "There is no row to evaluate on, with a known target.", hint="Name a table that has some."
            )
        if by is not None:
            query = by_group(self.scored(relation, {GROUP: by}), self.labels, classes=bool(self.classes))
            groups = groups_from_rows(self.engine.rows(query), self.labels)
            evaluation = replace(evaluation, groups=groups)
        if calibration:
            found = self.engine.rows(calibration_query(self.scored(relation), self.classes, bins))
            evaluation = replace(evaluation, calibration=Calibration.from_rows(found, self.classes, bins))
        return evaluation

    def verify(self, source: object = None, *, tolerance: float = TOLERANCE) -> Verification:
        """Compare the database's predictions with NumPy's, on the same rows.

        Parameters
        ----------
        source
            A table, view, query, file or data frame; by default the one that was trained on.
        tolerance
            How much a probability or a number may differ; numbers beyond 1 by so much of themselves.

        Raises
        ------
        ColumnError
            If the table does not fit the model.
        DataError
            If there are no rows.

        Examples
        --------
        >>> import selectron
        >>> db = selectron.connect()
        >>> rows = "SELECT x, x > 4 AS large FROM range(10) AS t(x)"
        >>> model = db.train(rows, "large", network=selectron.MLP([2]), epochs=3, validation=0)
        >>> verified = model.verify("SELECT x FROM range(1000) AS t(x)")
        >>> verified.passed, verified.rows
        (True, 1000)
        """
        relation = self.used_rows(source)
        return verify(self.engine, self.blueprint, relation, self.weights(), self.parameters, tolerance)

    def evaluation_query(self, source: object) -> exp.Query:
        """The statement that judges predictions."""
        return self.figures(self.judged_rows(source))

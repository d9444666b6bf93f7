"""A model for other libraries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selectron.errors import DataError
from selectron.model.kept import KeptModel, class_values

if TYPE_CHECKING:
    from selectron.interchange.encoded import Encoded

__all__ = ["ExchangedModel"]


class ExchangedModel(KeptModel):
    """A model that other libraries can take."""

    def encoded(self, source: object = None, *, keep: Sequence[str] = ()) -> Encoded:
        """The features of each row as the network takes them: what an exported network is fed.

        Parameters
        ----------
        source
            A table, view, query, file or data frame; by default the table that was trained on.
        keep
            Columns of the table to have beside them, such as a key.

        Examples
        --------
        >>> import selectron
        >>> db = selectron.connect()
        >>> rows = "SELECT x, x > 4 AS large FROM range(10) AS t(x)"
        >>> model = db.train(rows, "large", network=selectron.MLP([]), epochs=1, validation=0)
        >>> model.encoded(rows).array().shape
        (10, 1)
        """
        from selectron.interchange.encoded import encoded

        named = self.blueprint.specification.source if source is None else source
        if named is None:
            raise DataError(
                f"Model {self.name!r} was trained on a data frame, which is not in the database.",
                hint="Give the rows again as source.",
            )
        return encoded(self.engine, self.blueprint, self.engine.relation(named), keep)

    def export(self, kind: str, path: str | Path | None = None, **options: Any) -> Any:
        """The network for another library; it predicts as this model does.

        Parameters
        ----------
        kind
            ``"numpy"``: a dict of arrays, by ``"<layer>.<parameter>"``, of (inputs, units). ``"torch"``: an
            ``nn.Sequential`` in double precision. ``"onnx"``: a model of one graph. Both take the features
            of :meth:`encoded`, in its order, and give probabilities (of the second class, if there are two)
            or numbers; with ``logits=True`` they end before the softmax or sigmoid. ``"onnx"`` with
            ``raw=True`` takes the table's columns of numbers and booleans instead. ``"sklearn"``: a pipeline
            that takes the table's columns as a pandas frame, or with ``raw=False`` a network on the
            features of :meth:`encoded`.
        path
            A file to write it into as well: .npz, .pt, .onnx or .joblib.

        Raises
        ------
        ConfigurationError
            Naming what the other library lacks.

        Examples
        --------
        >>> import selectron
        >>> db = selectron.connect()
        >>> rows = "SELECT x, x > 4 AS large FROM range(10) AS t(x)"
        >>> model = db.train(rows, "large", network=selectron.MLP([]), epochs=1, validation=0)
        >>> {name: array.shape for name, array in model.export("numpy").items()}
        {'output.weights': (1, 1), 'output.biases': (1, 1)}
        """
        from selectron.interchange.exporting import Exported, export

        source = self.blueprint.specification.source
        try:
            known = [] if source is None else self.engine.columns(self.engine.relation(source))
        except DataError:
            # The table is gone; its columns' types only matter for some exports.
            known = []
        held = Exported(
            self.engine,
            self.blueprint,
            self.parameters,
            class_values(self.engine, self.blueprint.encoding.target),
            {own.name: own for own in known},
        )
        return export(held, kind, path, **options)

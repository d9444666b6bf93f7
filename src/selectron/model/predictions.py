"""Predictions of a model: a query, and where its rows can go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sqlglot import exp

from selectron.errors import DataError
from selectron.model.kept import KeptModel
from selectron.outputs import Output
from selectron.prediction import (
    Weights,
)
from selectron.sql import column

__all__ = ["Predictions"]


class Predictions(Output):
    """Predictions that are a query, run when they are asked for."""

    def __init__(
        self,
        model: KeptModel,
        query: exp.Select,
        build: Callable[[Weights], exp.Select],
        source: object,
    ) -> None:
        super().__init__(model.engine, query, source)
        self.store = model.store
        self.model = model
        self.build = build

    def __repr__(self) -> str:
        return f"Predictions({self.model.name!r})"

    @property
    def sql(self) -> str:
        """The query as text, which runs without Selectron."""
        return self.engine.sql(self.lasting, pretty=True)

    @property
    def lasting(self) -> exp.Select:
        """The query without functions of ours, for views and for text, which outlive the connection."""
        return self.build(self.model.weights(plain=True))

    def select(self, names: Sequence[str], limit: int) -> list[tuple[Any, ...]]:
        """The first rows, of some of the columns."""
        query = exp.select(*map(column, names)).from_(self.query.subquery("predicted")).limit(limit)
        return self.engine.rows(query)

    def rows(self, limit: int | None = None) -> list[tuple[Any, ...]]:
        """The rows as tuples, the first `limit` if given."""
        return self.engine.rows(self.query if limit is None else self.query.limit(limit))

    def to_view(self, name: str, *, replace: bool = False) -> None:
        """Make a view that follows the model: its checkpoints, and new versions once they are trained.

        Raises
        ------
        DataError
            If there is a table or view of that name, unless `replace` says to replace it; or if the rows
            are a data frame, which a view cannot outlive.
        """
        self.check_free(name, replace)
        if not isinstance(self.source, (str, Path)):
            raise DataError("A view over a data frame would not outlive it.", hint="Write a table instead.")
        with self.engine.transaction():
            self.engine.create_view(name, self.lasting, replace=replace)
            self.store.record_view(self.model.record.model_id, "prediction", name, str(self.source))

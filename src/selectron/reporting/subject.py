"""What a report needs of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from selectron.blueprint import Blueprint
from selectron.engines.base import Engine, Relation
from selectron.evaluation import Evaluation
from selectron.explaining.attribution import Attributions
from selectron.explaining.dependence import Dependence
from selectron.explaining.importance import Importance
from selectron.planning import Choice
from selectron.prediction import Weights
from selectron.program.operations import Array
from selectron.store.store import LogRow, ModelRecord

__all__ = ["Subject"]


class Subject(Protocol):
    """A trained model, as far as a report reads it."""

    engine: Engine
    record: ModelRecord

    @property
    def blueprint(self) -> Blueprint:
        """What was asked for and learned."""

    @property
    def log(self) -> list[LogRow]:
        """An entry for each epoch."""

    @property
    def parameters(self) -> dict[str, Array]:
        """The current checkpoint's parameters."""

    @property
    def choice(self) -> Choice:
        """The layout and the strategy of its training."""

    def weights(self) -> Weights:
        """The parameters, for a forward pass."""

    def judged_rows(self, source: object, by: str | None = None) -> Relation:
        """The rows to judge predictions on."""

    def evaluate(self, source: object = None) -> Evaluation:
        """The figures of quality."""

    def importance(self, source: object = None, *, repeats: int) -> Importance:
        """How much worse predictions get when a column's values are shuffled."""

    def attributions(
        self, source: object = None, *, about: str | None = None, baseline: object = "mean", steps: int = 50
    ) -> Attributions:
        """What each column adds to the prediction of each row."""

    def dependence(
        self, column: str, source: object = None, *, grid: Sequence[Any] | None = None, points: int = 20
    ) -> Dependence:
        """How predictions depend on a column."""

    def sql(self, kind: str = "predict", source: object = None) -> str:
        """The SQL of the model, as text."""

"""What is explained: a model with its weights, on rows of a relation."""

from __future__ import annotations

from dataclasses import dataclass

from sqlglot import exp

from selectron.blueprint import Blueprint
from selectron.engines.base import Abilities, Engine, Relation
from selectron.errors import DataError
from selectron.features.targets import ClassTarget
from selectron.prediction import Weights
from selectron.sql import integer

__all__ = ["Subject"]


@dataclass(frozen=True)
class Subject:
    """A model and rows that have its columns."""

    engine: Engine
    blueprint: Blueprint
    weights: Weights
    relation: Relation

    def __post_init__(self) -> None:
        if not self.has_rows():
            raise DataError(
                f"{self.relation.label} has no rows to explain.", hint="Name a table that has some."
            )

    def has_rows(self, *conditions: exp.Expr) -> bool:
        """Whether there is a row, for which some conditions hold."""
        query = exp.select(integer(1)).from_(self.relation.source.copy()).where(*conditions).limit(1)
        return bool(self.engine.rows(query))

    @property
    def abilities(self) -> Abilities:
        """What the engine can do."""
        return self.engine.abilities

    @property
    def features(self) -> tuple[str, ...]:
        """The columns that the model reads, in its order."""
        return tuple(feature.column for feature in self.blueprint.encoding.features)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes; none if numbers are predicted."""
        target = self.blueprint.encoding.target
        return target.classes if isinstance(target, ClassTarget) else ()

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, or the target columns if numbers are predicted."""
        return self.classes or self.blueprint.encoding.target.columns

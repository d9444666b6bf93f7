"""Targets: what a network learns to predict, and the way back from its outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlglot import exp

from selectron.engines.base import ColumnKind
from selectron.features.kinds import scaled
from selectron.features.known import ACCEPTED, Known
from selectron.sql import case, cast, column, number, text

__all__ = ["ClassTarget", "NumberTarget", "Target"]

Expression = exp.Expr


@dataclass(frozen=True)
class ClassTarget:
    """A class of two or more. `type` is the engine's, to which predicted classes are cast back; `kind` says
    what it means.
    """

    column: str
    classes: tuple[str, ...]
    counts: tuple[int, ...]
    type: str
    kind: ColumnKind = ColumnKind.OTHER

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    @property
    def outputs(self) -> int:
        """How many classes there are."""
        return len(self.classes)

    @property
    def accepts(self) -> frozenset[ColumnKind]:
        return ACCEPTED[self.kind]

    @property
    def known(self) -> Known:
        """The classes, to be compared with."""
        return Known(self.column, self.kind, self.classes)

    def values(self) -> tuple[Expression, ...]:
        """The index of a row's class, from 0, as a DOUBLE; NULL for a class not seen in training."""
        return (self.known.place(exp.Null()),)

    @property
    def data_type(self) -> exp.DataType:
        """The type of a predicted class."""
        return exp.DataType.build(self.type, dialect="duckdb")

    def label(self, index: Expression) -> Expression:
        """The class of an index that starts from 0, as the target's own type."""
        whens = [
            (exp.EQ(this=index.copy(), expression=number(float(place))), text(label))
            for place, label in enumerate(self.classes)
        ]
        return exp.cast(case(*whens, default=exp.Null()), self.type, dialect="duckdb")


@dataclass(frozen=True)
class NumberTarget:
    """One number or more, each scaled for training and scaled back for prediction."""

    columns: tuple[str, ...]
    center: tuple[float, ...]
    scale: tuple[float, ...]

    @property
    def outputs(self) -> int:
        """How many numbers are predicted."""
        return len(self.columns)

    @property
    def accepts(self) -> frozenset[ColumnKind]:
        return frozenset({ColumnKind.NUMBER, ColumnKind.BOOLEAN})

    def values(self) -> tuple[Expression, ...]:
        """The scaled numbers of a row."""
        return tuple(
            scaled(cast(column(name), "double"), center, scale)
            for name, center, scale in zip(self.columns, self.center, self.scale, strict=True)
        )

    def restored(self, outputs: Sequence[Expression]) -> tuple[Expression, ...]:
        """Predicted numbers in the target's own units."""
        return tuple(
            exp.Add(this=exp.Mul(this=output, expression=number(scale)), expression=number(center))
            for output, center, scale in zip(outputs, self.center, self.scale, strict=True)
        )


Target = ClassTarget | NumberTarget

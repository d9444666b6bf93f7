"""A model's blueprint: what the user asked for and what was learned of the table, compiled.

From the same blueprint come training, resumed training, prediction, evaluation and every line of SQL
that is printed, so that they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from sqlglot import exp

from selectron.errors import ConfigurationError
from selectron.features.encoding import Encoding
from selectron.features.lookup import Directory
from selectron.features.options import FeatureOptions
from selectron.features.targets import ClassTarget, NumberTarget
from selectron.layouts.base import BatchColumns, BatchPlan, Step
from selectron.network import MLP
from selectron.program.program import Program
from selectron.serialization import from_json, to_json
from selectron.sql import cast, column, number
from selectron.training.forward import EmbeddingShape, Inputs
from selectron.training.losses import BinaryCrossEntropy, CrossEntropy, Loss, SquaredError
from selectron.training.options import SETTINGS, TrainingOptions
from selectron.training.step import TrainingStep, build_step, prediction_program

__all__ = ["Blueprint", "Specification"]


@dataclass(frozen=True)
class Specification:
    """What the user asked for, as it is kept with the model.

    Attributes
    ----------
    source, validation_source
        The table, file or query as the user named it; None for a data frame (or no held-out table).
    plan
        How the rows were counted and cut into batches.
    layout, strategy
        Which are used; None chooses.
    steps
        How many steps a statement has, where the strategy is not recursive; None chooses.
    keep_states
        Whether the state after each statement is kept.
    parts
        How many parts a batch has, found when the training began, so that it goes on with as many; None finds
        out.
    """

    source: str | None
    target: tuple[str, ...]
    task: str
    network: MLP
    training: TrainingOptions
    features: FeatureOptions
    plan: BatchPlan
    validation_source: str | None = None
    layout: str | None = None
    strategy: str | None = None
    steps: int | None = None
    keep_states: bool = False
    parts: int | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values."""
        plain = (
            *("source", "target", "task", "validation_source"),
            *("layout", "strategy", "steps", "keep_states", "parts"),
        )
        return {
            **{name: to_json(getattr(self, name)) for name in plain},
            "network": self.network.to_json(),
            "training": to_json(self.training),
            "features": to_json(self.features),
            "plan": to_json(self.plan),
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Specification:
        """The specification that :meth:`to_json` wrote."""
        classes = (*SETTINGS, FeatureOptions, BatchPlan)
        rest = {name: value for name, value in data.items() if name != "network"}
        return Specification(network=MLP.from_json(data["network"]), **from_json(rest, classes))


@dataclass(frozen=True)
class Blueprint:
    """A specification and the encoding that was learned for it."""

    specification: Specification
    encoding: Encoding

    def in_parts(self, parts: int) -> Blueprint:
        """The same, with batches of so many parts whenever training goes on."""
        return Blueprint(replace(self.specification, parts=parts), self.encoding)

    @cached_property
    def loss(self) -> Loss:
        """The loss that was named, or the one that fits the target."""
        named = self.specification.training.loss
        target = self.encoding.target
        classifies = isinstance(target, ClassTarget)
        if named is None:
            if not classifies:
                return SquaredError()
            return BinaryCrossEntropy() if target.outputs == 2 else CrossEntropy()
        if classifies != isinstance(named, (CrossEntropy, BinaryCrossEntropy)):
            kind = "classes" if classifies else "numbers"
            wanted = (
                "a cross-entropy"
                if classifies
                else "squared_error, half_squared_error, absolute_error or huber"
            )
            raise ConfigurationError(
                f"Loss {type(named).__name__} does not fit a target of {kind}.", hint=f"Use {wanted}."
            )
        return named

    @property
    def encoding_classifies(self) -> bool:
        """Whether classes are predicted."""
        return isinstance(self.encoding.target, ClassTarget)

    @cached_property
    def inputs(self) -> Inputs:
        """What feeds the network."""
        embeddings = tuple(
            EmbeddingShape(feature.column, feature.entries, feature.dimension)
            for feature in self.encoding.embeddings
        )
        return Inputs(
            len(self.encoding.units),
            self.loss.outputs(self.encoding.target.outputs),
            embeddings,
            self.encoding.untrained_units,
        )

    @cached_property
    def step(self) -> TrainingStep:
        """The training step."""
        options = self.specification.training
        if self.specification.network.output_activation != "identity" and self.encoding_classifies:
            raise ConfigurationError(
                f"output_activation is {self.specification.network.output_activation!r}, and classes are "
                "predicted from logits.",
                hint="Leave it out, or say task='regression'.",
            )
        return build_step(
            self.specification.network,
            self.inputs,
            self.loss,
            options,
            weighted=options.row_weight is not None or options.class_weight is not None,
            validated=self.specification.plan.held_out_rows > 0,
        )

    @cached_property
    def repeated(self) -> Step:
        """What a strategy repeats."""
        shapes = {name: (value.shape[0], value.shape[1]) for name, value in self.step.state.items()}
        return Step(self.step.program, shapes, self.specification.plan.per_epoch)

    @cached_property
    def prediction(self) -> Program:
        """From features and parameters to predictions."""
        return prediction_program(self.specification.network, self.inputs, self.loss)

    def prediction_given(self, indices: Collection[str]) -> Program:
        """Likewise, with the vectors of some embeddings fed, not looked up by their indices."""
        if not indices:
            return self.prediction
        return prediction_program(self.specification.network, self.inputs, self.loss, indices)

    @cached_property
    def layers(self) -> dict[str, list[str]]:
        """The names of each layer's units, in order."""
        target = self.encoding.target
        outputs = list(target.columns) if isinstance(target, NumberTarget) else list(target.classes)
        hidden = {
            f"hidden_{number_}": [f"hidden_{number_}[{unit}]" for unit in range(1, layer.units + 1)]
            for number_, layer in enumerate(self.specification.network.layers, start=1)
        }
        embedded = {
            shape.layer: [*feature.categories, "(other)"]
            for shape, feature in zip(self.inputs.embeddings, self.encoding.embeddings, strict=True)
        }
        named = outputs if len(outputs) == self.inputs.outputs else outputs[1:]
        # A layer's weights come from the one before it in this order.
        return {**embedded, "input": list(self.encoding.units), **hidden, "output": named}

    def batch_columns(self, directory: Directory | None = None) -> BatchColumns:
        """What batches hold, as expressions over a row of the table.

        With a directory they read the store; without, they stand on their own.
        """
        names = [shape.index for shape in self.inputs.embeddings]
        indices = dict(zip(names, self.encoding.indices(directory), strict=True))
        weight = self.weight() if self.step.weighted else None
        return BatchColumns(self.encoding.dense(), self.encoding.target.values(), indices, weight)

    def weight(self) -> exp.Expr:
        """The weight of a row: its own, times its class's."""
        options, factors = self.specification.training, list[exp.Expr]()
        if options.row_weight is not None:
            factors.append(cast(column(options.row_weight), "double"))
        if options.class_weight is not None:
            target = self.encoding.target
            if not isinstance(target, ClassTarget):
                raise ConfigurationError("class_weight needs a target of classes.", hint="Leave it out.")
            weights = class_weights(target, options.class_weight)
            (index,) = target.values()
            branches = [
                exp.If(this=exp.EQ(this=index.copy(), expression=number(float(place))), true=number(weight))
                for place, weight in enumerate(weights)
            ]
            factors.append(exp.Case(ifs=branches, default=number(0.0)))
        return factors[0] if len(factors) == 1 else exp.Mul(this=factors[0], expression=factors[1])

    def with_training(self, **changes: Any) -> Blueprint:
        """The blueprint with other training options."""
        training = replace(self.specification.training, **changes)
        return Blueprint(replace(self.specification, training=training), self.encoding)


def class_weights(target: ClassTarget, wanted: str | Mapping[str, float]) -> list[float]:
    """A weight for each class: rows / (classes * rows of the class) if balanced."""
    if isinstance(wanted, str):
        rows = sum(target.counts)
        # A class that is named and has no row yet weighs nothing, rather than infinitely much.
        return [rows / (len(target.classes) * count) if count else 0.0 for count in target.counts]
    unknown = sorted(set(wanted) - set(target.classes))
    if unknown:
        raise ConfigurationError(
            f"class_weight names {unknown[0]!r}, which is no class of {target.column!r}.",
            hint=f"Its classes are {', '.join(target.classes)}.",
        )
    if any(not 0.0 <= weight < float("inf") for weight in wanted.values()):
        raise ConfigurationError("A class weight is negative or not finite.", hint="Give 0 or more.")
    return [float(wanted.get(label, 1.0)) for label in target.classes]

"""From the outputs of another library's network to the logits of ours, or its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from sqlglot import exp

from selectron.engines.base import Column, ColumnKind, Engine, Relation
from selectron.errors import ConfigurationError, TargetError
from selectron.features.known import NUMERIC, text_of
from selectron.features.learn import Task
from selectron.features.targets import ClassTarget, NumberTarget
from selectron.interchange.described import SIGMOID, SOFTMAX, Described, Layer
from selectron.interchange.labels import texts_of
from selectron.interchange.signals import Number, Raw, as_number
from selectron.interchange.transformers import plain, transformed
from selectron.sql import column
from selectron.training.losses import CrossEntropy, Loss

__all__ = ["class_outputs", "class_target", "classifies", "number_target"]


def classifies(
    described: Described, task: Task, classes: Sequence[object] | None, targets: Sequence[Column]
) -> bool:
    """Whether classes are predicted: as the user or the source says, or else as the target's type does."""
    if task is not Task.AUTO:
        return task is Task.CLASSIFICATION
    if described.classifies is not None:
        return described.classifies
    if classes is not None or described.layers[-1].activation == SOFTMAX:
        return True
    if len(targets) > 1:
        return False
    kind, outputs = targets[0].kind, described.layers[-1].weights.shape[1]
    if kind is not ColumnKind.NUMBER:
        return True
    # Several outputs for one column of numbers are one for each class.
    return outputs > 1 or (
        described.layers[-1].activation == SIGMOID and targets[0].type.endswith(("INT", "INTEGER"))
    )


def class_outputs(layers: Sequence[Layer], loss: Loss | None) -> tuple[Layer, ...]:
    """Layers that end in logits: one for two classes, as ours do, one for each class otherwise.

    >>> two = Layer(np.array([[1.0, 3.0]]), np.array([0.0, 0.5]), "softmax")
    >>> class_outputs([two], None)[0].weights.tolist()
    [[2.0]]
    """
    *before, last = layers
    outputs = last.weights.shape[1]
    if last.activation not in ("identity", SOFTMAX, SIGMOID):
        raise ConfigurationError(
            f"The network's outputs go through {last.activation!r}, and classes are predicted from logits.",
            hint="Say task='regression', or import a network that ends in softmax, sigmoid or logits.",
        )
    if outputs > 1 and last.activation == SIGMOID:
        raise ConfigurationError(
            f"The network has {outputs} outputs with a sigmoid each: several labels at once.",
            hint="Import a network that ends in softmax, or in one sigmoid.",
        )
    if outputs == 1 and last.activation == SOFTMAX:
        raise ConfigurationError("The network ends in a softmax of one output.", hint="Use a sigmoid.")
    weights, biases = last.weights, last.biases
    keeps_two = isinstance(loss, CrossEntropy)
    if outputs == 2 and not keeps_two:
        # softmax(a, b) gives the second class the sigmoid of b - a.
        weights, biases = weights[:, 1:] - weights[:, :1], biases[1:] - biases[:1]
    elif outputs == 1 and keeps_two:
        weights, biases = np.hstack([0.0 * weights, weights]), np.append(0.0, biases)
    return (*before, replace(last, weights=weights, biases=biases, activation="identity"))


def class_target(
    engine: Engine,
    relation: Relation,
    target: Column,
    outputs: int,
    given: Sequence[object] | None,
) -> ClassTarget:
    """The classes in the order of the outputs, and how often each is in the table."""
    count = max(outputs, 2)
    if target.kind is ColumnKind.OTHER:
        raise TargetError(
            f"Target {target.name!r} is of type {target.type}, which cannot be predicted.",
            hint="Use numbers, text, booleans or dates.",
        )
    label = text_of(target)
    query = exp.select(label, exp.Count(this=exp.Star())).from_(relation.source.copy())
    present = exp.Not(this=exp.Is(this=column(target.name), expression=exp.Null()))
    found = engine.rows(query.where(present).group_by(label.copy()).order_by(label.copy()))
    counts = {str(text): int(number) for text, number in found}
    if given is None:
        if target.kind is ColumnKind.NUMBER:
            given = range(count)
        elif target.kind is ColumnKind.BOOLEAN and count == 2:
            given = (False, True)
        else:
            raise ConfigurationError(
                f"The network does not say which classes its {count} outputs are.",
                hint=f"Give classes in the order of the outputs; {target.name!r} has "
                f"{', '.join(map(repr, list(counts)[:10]))}.",
            )
    if len(given) != count:
        raise ConfigurationError(
            f"{len(given)} classes are named, and the network tells {count} apart.",
            hint="Name one for each output (two for a single output).",
        )
    texts = texts_of(engine, relation, target, [plain(value) for value in given])
    unknown = [text for text in counts if text not in texts]
    if unknown:
        raise TargetError(
            f"Target {target.name!r} of {relation.label} has classes that the network does not know: "
            f"{', '.join(map(repr, unknown[:5]))}; it knows {', '.join(map(repr, texts[:10]))}.",
            hint="Name them by classes in the order of the outputs, or leave such rows out in a query.",
        )
    return ClassTarget(
        target.name, tuple(texts), tuple(counts.get(text, 0) for text in texts), target.type, target.kind
    )


def number_target(described: Described, targets: Sequence[Column]) -> NumberTarget:
    """Columns of numbers, one for each output."""
    outputs = described.layers[-1].weights.shape[1]
    if described.layers[-1].activation == SOFTMAX:
        raise ConfigurationError(
            "The network ends in a softmax, and numbers are to be predicted.",
            hint="Say task='classification'.",
        )
    if outputs != len(targets):
        raise ConfigurationError(
            f"The network has {outputs} outputs, and {len(targets)} targets are named.",
            hint="Name a column for each output.",
        )
    for target in targets:
        if target.kind not in NUMERIC:
            raise TargetError(
                f"Target {target.name!r} is of type {target.type}, and the network predicts numbers.",
                hint="Name a column of numbers, or say task='classification'.",
            )
    names = [target.name for target in targets]
    signals: list[Any] = [as_number(one) for one in transformed(described.target, [Raw(n) for n in names])]
    if not all(isinstance(one, Number) for one in signals) or [one.column for one in signals] != names:
        raise ConfigurationError(
            f"Transformer {type(described.target).__name__} of the target cannot be imported.",
            hint="A scaler can.",
        )
    centers, scales = (tuple(getattr(one, part) for one in signals) for part in ("center", "scale"))
    return NumberTarget(tuple(names), centers, scales)

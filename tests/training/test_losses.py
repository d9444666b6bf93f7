"""Losses, their predictions and their gradients, against PyTorch's on logits of every size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from selectron.program.evaluate import evaluate
from selectron.program.gradient import gradients
from selectron.program.operations import Array, input_, sum_
from selectron.program.program import Program
from selectron.program.tensor import BATCH, Tensor
from selectron.training.losses import (
    AbsoluteError,
    BinaryCrossEntropy,
    CrossEntropy,
    HalfSquaredError,
    Huber,
    Loss,
    SquaredError,
)
from selectron.training.options import LOSSES
from selectron.training.step import weigh

ROWS = 40
GENERATOR = np.random.default_rng(3)
CLASSES = GENERATOR.integers(0, 3, (ROWS, 1)).astype(float)
BITS = GENERATOR.integers(0, 2, (ROWS, 1)).astype(float)
NUMBERS = GENERATOR.normal(size=(ROWS, 3))
WEIGHTS = GENERATOR.uniform(0.0, 2.0, (ROWS, 1))

Twin = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def cross_entropy(smoothing: float) -> Twin:
    return lambda z, t: F.cross_entropy(z, t[:, 0].long(), reduction="none", label_smoothing=smoothing)


def binary_cross_entropy(smoothing: float) -> Twin:
    return lambda z, t: F.binary_cross_entropy_with_logits(
        z, t * (1 - smoothing) + smoothing / 2, reduction="none"
    )[:, 0]


def huber(delta: float) -> Twin:
    return lambda z, t: F.huber_loss(z, t, reduction="none", delta=delta).mean(1)


def softmax(z: torch.Tensor) -> torch.Tensor:
    return torch.softmax(z, 1)


def itself(z: torch.Tensor) -> torch.Tensor:
    return z


# Ours, its units, a target, PyTorch's loss of each row, and PyTorch's predictions.
TABLE: list[tuple[Loss, int, Array, Twin, Callable[[torch.Tensor], torch.Tensor]]] = [
    *((CrossEntropy(part), 3, CLASSES, cross_entropy(part), softmax) for part in (0.0, 0.15, 0.9)),
    *(
        (BinaryCrossEntropy(part), 1, BITS, binary_cross_entropy(part), torch.sigmoid)
        for part in (0.0, 0.15, 0.9)
    ),
    (SquaredError(), 3, NUMBERS, lambda z, t: F.mse_loss(z, t, reduction="none").mean(1), itself),
    (
        HalfSquaredError(),
        3,
        NUMBERS,
        lambda z, t: F.mse_loss(z, t, reduction="none").sum(1) / 2,
        itself,
    ),
    (AbsoluteError(), 3, NUMBERS, lambda z, t: F.l1_loss(z, t, reduction="none").mean(1), itself),
    *((Huber(delta), 3, NUMBERS, huber(delta), itself) for delta in (0.3, 1.0, 5.0)),
]


def test_the_table_covers_every_loss() -> None:
    assert {type(case[0]) for case in TABLE} == set(LOSSES.values())


@pytest.mark.parametrize("weighted", [False, True], ids=["even", "weighted"])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0, 700.0], ids=str)
@pytest.mark.parametrize("case", TABLE, ids=[repr(case[0]) for case in TABLE])
def test_losses_and_gradients(case: Any, scale: float, weighted: bool) -> None:
    loss, units, target, twin, predictions = case
    z = scale * np.random.default_rng(4).normal(size=(ROWS, units))
    logits = input_("logits", (BATCH, units))
    of_rows = loss.of_rows(logits, input_("target", (BATCH, target.shape[1])))
    total_weight, total = weigh(of_rows, weighted)
    program = Program(
        {
            "rows": of_rows,
            "total": total,
            "weight of all": total_weight,
            "slope": gradients(total, [logits])[0],
            "predictions": loss.predictions(logits),
        }
    )
    feeds = {"logits": z, "target": target}
    weight = torch.tensor(WEIGHTS[:, 0]) if weighted else torch.ones(ROWS, dtype=torch.float64)
    found = evaluate(program, feeds | ({"weight": WEIGHTS} if weighted else {}))
    leaf = torch.tensor(z, requires_grad=True)
    theirs = twin(leaf, torch.tensor(target))
    (theirs * weight).sum().backward()
    assert leaf.grad is not None
    # Subtracting logits of about 1000 costs digits in both.
    digits = 1e-13 * max(1.0, scale)
    np.testing.assert_allclose(found["rows"][:, 0], theirs.detach().numpy(), rtol=1e-9, atol=digits)
    np.testing.assert_allclose(found["total"], (theirs * weight).sum().item(), rtol=1e-9)
    np.testing.assert_allclose(found["weight of all"], weight.sum().item(), rtol=1e-12)
    np.testing.assert_allclose(found["slope"], leaf.grad.numpy(), rtol=1e-9, atol=digits)
    np.testing.assert_allclose(found["predictions"], predictions(leaf.detach()).numpy(), rtol=1e-9)


def test_weights_of_classes_give_pytorchs_weighted_mean() -> None:
    of_classes = np.array([0.2, 3.0, 1.1])
    z = GENERATOR.normal(size=(ROWS, 3))
    of_rows = CrossEntropy().of_rows(input_("logits", (BATCH, 3)), input_("target", (BATCH, 1)))
    total_weight, total = weigh(of_rows, weighted=True)
    feeds = {"logits": z, "target": CLASSES, "weight": of_classes[CLASSES.astype(int)]}
    found = evaluate(Program({"total": total, "weight of all": total_weight}), feeds)
    expected = F.cross_entropy(
        torch.tensor(z), torch.tensor(CLASSES[:, 0]).long(), weight=torch.tensor(of_classes)
    )
    np.testing.assert_allclose(found["total"] / found["weight of all"], expected.item(), rtol=1e-9)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size", [1e3, 1e100, 1e308])
def test_nothing_overflows_whatever_the_logits(size: float) -> None:
    z = size * np.array([[1.0, 0.0, -1.0], [-1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [-1.0, -1.0, -1.0]])
    logits, target = input_("logits", (BATCH, 3)), input_("target", (BATCH, 1))
    one: Tensor = input_("one", (BATCH, 1))
    outputs = {
        "softmax": CrossEntropy().predictions(logits),
        "sigmoid": BinaryCrossEntropy().predictions(one),
        "cross": CrossEntropy().of_rows(logits, target),
        "binary": BinaryCrossEntropy().of_rows(one, target),
    }
    slopes = {
        "slope of cross": gradients(sum_(outputs["cross"]), [logits])[0],
        "slope of binary": gradients(sum_(outputs["binary"]), [one])[0],
    }
    # The true class is the likeliest; of the others, the loss may be too large for a float.
    feeds = {"logits": z, "target": np.array([[0.0], [1.0], [2.0], [0.0]]), "one": z[:, :1]}
    for name, value in evaluate(Program(outputs | slopes), feeds | {"one": -size * np.ones((4, 1))}).items():
        if name != "binary":
            assert np.isfinite(value).all(), name
    found = evaluate(Program(outputs | slopes), feeds)
    np.testing.assert_allclose(found["softmax"].sum(1), 1.0)
    np.testing.assert_allclose(
        found["cross"][:, 0], [0.0, np.log(2), np.log(3), np.log(3)], atol=1e-15 * size
    )
    assert found["softmax"].tolist()[:2] == [[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]]
    assert found["sigmoid"].tolist() == [[1.0], [0.0], [0.5], [0.0]]

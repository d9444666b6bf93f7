"""Gradients of generated networks, against PyTorch's autograd and finite differences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F  # noqa: N812

from selectron.network import ACTIVATION_NAMES, MLP
from selectron.program.evaluate import evaluate
from selectron.program.gradient import gradients
from selectron.program.operations import Array, add, input_, mean
from selectron.program.program import Program
from selectron.program.tensor import BATCH
from selectron.training.forward import EmbeddingShape, Inputs, Parameter, forward_pass, network_parameters
from selectron.training.losses import (
    AbsoluteError,
    BinaryCrossEntropy,
    CrossEntropy,
    Huber,
    Loss,
    SquaredError,
)
from selectron.training.options import TrainingOptions
from selectron.training.step import penalty

ACTIVATIONS: dict[str, Any] = {
    "identity": lambda x: x,
    "relu": torch.relu,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "selu": F.selu,
    "gelu": lambda x: F.gelu(x, approximate="tanh"),
    "gelu_exact": F.gelu,
    "silu": F.silu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "softplus": F.softplus,
}


# With the number of outputs.
LOSSES: list[tuple[Loss, int]] = [
    (CrossEntropy(), 3),
    (CrossEntropy(0.3), 2),
    (BinaryCrossEntropy(), 1),
    (BinaryCrossEntropy(0.2), 1),
    (SquaredError(), 3),
    (AbsoluteError(), 1),
    (Huber(0.6), 3),
]


@dataclass(frozen=True)
class Generated:
    """A network, a loss and a batch."""

    hidden: tuple[tuple[int, str], ...]
    loss: Loss
    outputs: int
    units: int
    embeddings: tuple[EmbeddingShape, ...]
    rows: int
    l1: float
    l2: float
    seed: int

    @property
    def network(self) -> MLP:
        return MLP(
            [units for units, _ in self.hidden], activation=[activation for _, activation in self.hidden]
        )

    @property
    def inputs(self) -> Inputs:
        return Inputs(self.units, self.outputs, self.embeddings)

    @property
    def options(self) -> TrainingOptions:
        return TrainingOptions(l1=self.l1, l2=self.l2, seed=self.seed)

    def feeds(self, parameters: tuple[Parameter, ...]) -> dict[str, Array]:
        """Values of everything, biases drawn too."""
        generator = np.random.default_rng(self.seed)
        classes = isinstance(self.loss, (CrossEntropy, BinaryCrossEntropy))
        found: dict[str, Array] = {
            "target": (
                generator.integers(0, max(self.outputs, 2), (self.rows, 1)).astype(float)
                if classes
                else generator.normal(size=(self.rows, self.outputs))
            )
        }
        if self.units:
            found["features"] = generator.normal(size=(self.rows, self.units))
        for embedding in self.embeddings:
            found[embedding.index] = generator.integers(0, embedding.entries, (self.rows, 1)).astype(float)
        for parameter in parameters:
            found[parameter.key] = parameter.initial + 0.1 * generator.normal(size=parameter.shape)
        return found


@st.composite
def generated(draw: st.DrawFn) -> Generated:
    hidden = draw(
        st.lists(st.tuples(st.integers(1, 6), st.sampled_from(ACTIVATION_NAMES)), min_size=0, max_size=4)
    )
    loss, outputs = draw(st.sampled_from(LOSSES))
    columns = draw(st.integers(0, 2))
    return Generated(
        hidden=tuple(hidden),
        loss=loss,
        outputs=outputs,
        units=draw(st.integers(0 if columns else 1, 5)),
        embeddings=tuple(
            EmbeddingShape(name, draw(st.integers(1, 4)), draw(st.integers(1, 3))) for name in "ab"[:columns]
        ),
        rows=draw(st.integers(1, 9)),
        l1=draw(st.sampled_from([0.0, 0.01])),
        l2=draw(st.sampled_from([0.0, 0.2])),
        seed=draw(st.integers(0, 2**31)),
    )


def differentiated(case: Generated, parameters: tuple[Parameter, ...]) -> Program:
    """The objective and its gradient by each parameter."""
    tensors = {parameter.key: parameter.tensor for parameter in parameters}
    logits = forward_pass(case.network, case.inputs, tensors).logits
    columns = 1 if isinstance(case.loss, (CrossEntropy, BinaryCrossEntropy)) else case.outputs
    of_rows = case.loss.of_rows(logits, input_("target", (BATCH, columns)))
    objective = add(mean(of_rows), penalty(parameters, tensors, case.options))
    slopes = gradients(objective, list(tensors.values()))
    return Program({"objective": objective, **dict(zip(tensors, slopes, strict=True))})


def twin_objective(case: Generated, feeds: dict[str, Array], leaves: dict[str, torch.Tensor]) -> torch.Tensor:
    """The same objective in PyTorch."""
    blocks = [("weights", torch.tensor(feeds["features"]))] if case.units else []
    for embedding in case.embeddings:
        vectors = F.embedding(
            torch.tensor(feeds[embedding.index][:, 0]).long(), leaves[f"{embedding.layer}.vectors"]
        )
        blocks.append((f"weights: {embedding.column}", vectors))
    names = [f"hidden_{number}" for number in range(1, len(case.hidden) + 1)]
    for name, activation in zip(
        [*names, "output"], [*(activation for _, activation in case.hidden), "identity"], strict=True
    ):
        weights = torch.cat([leaves[f"{name}.{block}"] for block, _ in blocks])
        inputs = torch.cat([tensor for _, tensor in blocks], dim=1)
        blocks = [("weights", ACTIVATIONS[activation](inputs @ weights + leaves[f"{name}.biases"]))]
    logits, target, loss = blocks[0][1], torch.tensor(feeds["target"]), case.loss
    if isinstance(loss, CrossEntropy):
        data = F.cross_entropy(logits, target[:, 0].long(), label_smoothing=loss.label_smoothing)
    elif isinstance(loss, BinaryCrossEntropy):
        smooth = target * (1 - loss.label_smoothing) + loss.label_smoothing / 2
        data = F.binary_cross_entropy_with_logits(logits, smooth)
    elif isinstance(loss, SquaredError):
        data = F.mse_loss(logits, target)
    elif isinstance(loss, AbsoluteError):
        data = F.l1_loss(logits, target)
    else:
        assert isinstance(loss, Huber)
        data = F.huber_loss(logits, target, delta=loss.delta)
    weights_only = [leaf for key, leaf in leaves.items() if not key.endswith(".biases")]
    for leaf in weights_only:
        data = data + case.l1 * leaf.abs().sum() + case.l2 / 2 * leaf.square().sum()
    return data


@settings(max_examples=80, deadline=None)
@given(generated())
def test_gradients_agree_with_autograd(case: Generated) -> None:
    parameters = network_parameters(case.network, case.inputs, case.seed)
    feeds = case.feeds(parameters)
    leaves = {
        parameter.key: torch.tensor(feeds[parameter.key], requires_grad=True) for parameter in parameters
    }
    expected = twin_objective(case, feeds, leaves)
    expected.backward()  # type: ignore[no-untyped-call]
    found = evaluate(differentiated(case, parameters), feeds)
    np.testing.assert_allclose(found["objective"], expected.item(), rtol=1e-9)
    for key, leaf in leaves.items():
        slope = np.zeros(found[key].shape) if leaf.grad is None else leaf.grad.numpy()
        np.testing.assert_allclose(found[key], slope, rtol=1e-9, atol=1e-13, err_msg=key)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(generated())
def test_gradients_agree_with_finite_differences(case: Generated) -> None:
    parameters = network_parameters(case.network, case.inputs, case.seed)
    feeds = case.feeds(parameters)
    program = differentiated(case, parameters)
    generator = np.random.default_rng(case.seed + 1)
    direction = {parameter.key: generator.normal(size=parameter.shape) for parameter in parameters}
    slopes = evaluate(program, feeds)
    slope = sum(float(np.sum(slopes[key] * way)) for key, way in direction.items())
    h = 1e-6
    objective = Program({"objective": program.outputs["objective"]})
    ahead, behind = (
        evaluate(objective, feeds | {key: feeds[key] + sign * h * way for key, way in direction.items()})
        for sign in (1, -1)
    )
    difference = float((ahead["objective"] - behind["objective"])[0, 0]) / (2 * h)
    np.testing.assert_allclose(slope, difference, rtol=1e-5, atol=1e-7)

"""Training steps against PyTorch: every activation, loss, optimizer and schedule, for 50 steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from selectron.network import ACTIVATION_NAMES, MLP
from selectron.program.evaluate import evaluate
from selectron.program.operations import Array
from selectron.training.forward import EmbeddingShape, Inputs
from selectron.training.losses import (
    AbsoluteError,
    BinaryCrossEntropy,
    CrossEntropy,
    HalfSquaredError,
    Huber,
    Loss,
    SquaredError,
)
from selectron.training.optimizers import SGD, Adagrad, Adam, AdamW, Momentum, Nesterov, Optimizer, RMSprop
from selectron.training.options import TrainingOptions
from selectron.training.schedules import (
    CosineDecay,
    ExponentialDecay,
    ReduceOnPlateau,
    Schedule,
    StepDecay,
    WarmUp,
)
from selectron.training.step import TrainingStep, build_step

STEPS = 50
ROWS, UNITS = 12, 4

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "identity": nn.Identity,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": lambda: nn.GELU(approximate="tanh"),
    "gelu_exact": nn.GELU,
    "silu": nn.SiLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "softplus": nn.Softplus,
}

TwinOptimizer = Callable[[list[dict[str, Any]]], torch.optim.Optimizer]
OPTIMIZERS: dict[str, tuple[Optimizer, TwinOptimizer]] = {
    "sgd": (SGD(0.1), lambda p: torch.optim.SGD(p, lr=0.1)),
    "momentum": (Momentum(0.05, 0.8), lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.8)),
    "nesterov": (
        Nesterov(0.05, 0.8),
        lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.8, nesterov=True),
    ),
    "adagrad": (Adagrad(0.1), lambda p: torch.optim.Adagrad(p, lr=0.1)),
    "rmsprop": (RMSprop(0.01), lambda p: torch.optim.RMSprop(p, lr=0.01)),
    "adam": (Adam(0.02), lambda p: torch.optim.Adam(p, lr=0.02)),
    "adamw": (AdamW(0.02, weight_decay=0.1), lambda p: torch.optim.AdamW(p, lr=0.02)),
}

Schedules = torch.optim.lr_scheduler
SCHEDULES: dict[str, tuple[Schedule, Callable[[torch.optim.Optimizer], Any]]] = {
    "step": (StepDecay(7, 0.5), lambda o: Schedules.StepLR(o, 7, 0.5)),
    "exponential": (ExponentialDecay(0.93), lambda o: Schedules.ExponentialLR(o, 0.93)),
    "cosine": (CosineDecay(60, 0.0), lambda o: Schedules.CosineAnnealingLR(o, 60)),
    "warm_up": (
        WarmUp(8, 0.25, ExponentialDecay(0.9)),
        lambda o: Schedules.SequentialLR(
            o,
            [Schedules.LinearLR(o, start_factor=0.25, total_iters=8), Schedules.ExponentialLR(o, 0.9)],
            milestones=[8],
        ),
    ),
    "plateau": (
        ReduceOnPlateau(0.5, patience=2, threshold=0.05),
        lambda o: Schedules.ReduceLROnPlateau(o, factor=0.5, patience=2, threshold=0.05),
    ),
}


@dataclass
class Twin:
    """The same network in PyTorch, started from the same weights."""

    step: TrainingStep
    activations: list[str]
    leaves: dict[str, torch.Tensor] = field(init=False)

    def __post_init__(self) -> None:
        self.leaves = {
            parameter.key: torch.tensor(parameter.initial.copy(), requires_grad=True)
            for parameter in self.step.parameters
        }

    def groups(self) -> list[dict[str, Any]]:
        """Parameters as PyTorch's optimizers take them: only weights decay."""
        weights = [leaf for key, leaf in self.leaves.items() if not key.endswith("biases")]
        biases = [leaf for key, leaf in self.leaves.items() if key.endswith("biases")]
        return [{"params": weights, "weight_decay": 0.0}, {"params": biases, "weight_decay": 0.0}]

    def logits(self, feeds: dict[str, Array]) -> torch.Tensor:
        blocks = [("weights", torch.tensor(feeds["features"]))] if "features" in feeds else []
        for name, index in feeds.items():
            if name.startswith("index: "):
                column = name.removeprefix("index: ")
                vectors = self.leaves[f"embedding: {column}.vectors"]
                blocks.append((f"weights: {column}", vectors[torch.tensor(index[:, 0].astype(int))]))
        layers = [*(f"hidden_{number + 1}" for number in range(len(self.activations))), "output"]
        for layer, activation in zip(layers, [*self.activations, "identity"], strict=True):
            total = torch.stack([x @ self.leaves[f"{layer}.{name}"] for name, x in blocks]).sum(0)
            blocks = [("weights", ACTIVATIONS[activation]()(total + self.leaves[f"{layer}.biases"]))]
        return blocks[0][1]


def batches(loss: Loss, outputs: int, *, seed: int = 0, weighted: bool = False) -> Iterator[dict[str, Array]]:
    """Endless batches of changing size."""
    generator = np.random.default_rng(seed)
    truth = generator.normal(size=(UNITS, outputs))
    while True:
        rows = int(generator.integers(2, ROWS))
        x = generator.normal(size=(rows, UNITS))
        y = x @ truth + 0.3 * generator.normal(size=(rows, outputs))
        if isinstance(loss, CrossEntropy):
            y = y.argmax(1, keepdims=True).astype(float)
        elif isinstance(loss, BinaryCrossEntropy):
            y = (y > 0).astype(float)
        feeds = {"features": x, "target": y, "is_training": np.ones((1, 1)), "ends_epoch": np.ones((1, 1))}
        if weighted:
            feeds["weight"] = generator.uniform(0.1, 3.0, size=(rows, 1))
        yield feeds


def twin_loss(loss: Loss, logits: torch.Tensor, feeds: dict[str, Array]) -> torch.Tensor:
    """The loss as PyTorch has it, weighted over the rows."""
    target = torch.tensor(feeds["target"])
    functional = nn.functional
    if isinstance(loss, CrossEntropy):
        rows = functional.cross_entropy(
            logits, target[:, 0].long(), reduction="none", label_smoothing=loss.label_smoothing
        )
    elif isinstance(loss, BinaryCrossEntropy):
        smooth = target * (1 - loss.label_smoothing) + loss.label_smoothing / 2
        rows = functional.binary_cross_entropy_with_logits(logits, smooth, reduction="none")[:, 0]
    elif isinstance(loss, SquaredError):
        rows = functional.mse_loss(logits, target, reduction="none").mean(1)
    elif isinstance(loss, HalfSquaredError):
        rows = functional.mse_loss(logits, target, reduction="none").sum(1) / 2
    elif isinstance(loss, AbsoluteError):
        rows = functional.l1_loss(logits, target, reduction="none").mean(1)
    else:
        assert isinstance(loss, Huber)
        rows = functional.huber_loss(logits, target, reduction="none", delta=loss.delta).mean(1)
    if "weight" in feeds:
        weight = torch.tensor(feeds["weight"][:, 0])
        return (rows * weight).sum() / weight.sum()
    return rows.mean()


def compare(
    network: MLP,
    loss: Loss,
    options: TrainingOptions,
    make: TwinOptimizer,
    *,
    outputs: int = 3,
    embeddings: tuple[EmbeddingShape, ...] = (),
    weighted: bool = False,
    schedule: Callable[[torch.optim.Optimizer], Any] | None = None,
    decay: float = 0.0,
) -> None:
    """Train both for 50 steps and compare every parameter after each."""
    inputs = Inputs(UNITS, outputs, embeddings)
    step = build_step(network, inputs, loss, options, weighted=weighted, validated=False)
    twin = Twin(step, [layer.activation for layer in network.layers])
    optimizer = make(twin.groups())
    optimizer.param_groups[0]["weight_decay"] = decay
    scheduler = schedule(optimizer) if schedule is not None else None
    state = dict(step.state)
    generator = np.random.default_rng(7)
    feeding = batches(loss, outputs, weighted=weighted)
    for _ in range(STEPS):
        feeds = next(feeding)
        for embedding in embeddings:
            rows = feeds["features"].shape[0]
            feeds[embedding.index] = generator.integers(0, embedding.entries, (rows, 1)).astype(float)
        found = evaluate(step.program, {**state, **feeds})
        state = {name: found[name] for name in state}

        optimizer.zero_grad()
        data_loss = twin_loss(loss, twin.logits(feeds), feeds)
        weights = [leaf for key, leaf in twin.leaves.items() if not key.endswith("biases")]
        penalty = sum(
            (leaf.abs().sum() * options.l1 + leaf.square().sum() * options.l2 / 2) for leaf in weights
        )
        (data_loss + penalty).backward()  # type: ignore[no-untyped-call]
        if options.clip_norm is not None:
            norm = nn.utils.clip_grad_norm_(list(twin.leaves.values()), options.clip_norm)
            np.testing.assert_allclose(found["log.gradient_norm"][0, 0], norm.item(), rtol=1e-9)
        np.testing.assert_allclose(
            found["log.learning_rate"][0, 0], optimizer.param_groups[0]["lr"], rtol=1e-9
        )
        np.testing.assert_allclose(found["log.training_loss"][0, 0], data_loss.item(), rtol=1e-9)
        optimizer.step()
        if isinstance(scheduler, Schedules.ReduceLROnPlateau):
            scheduler.step(data_loss.item())
        elif scheduler is not None:
            scheduler.step()
        for key, leaf in twin.leaves.items():
            np.testing.assert_allclose(state[key], leaf.detach().numpy(), rtol=1e-9, atol=1e-11, err_msg=key)


def sgd(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=0.1)


def test_the_tables_are_complete() -> None:
    assert set(ACTIVATIONS) == set(ACTIVATION_NAMES)
    from selectron.training import options

    assert set(OPTIMIZERS) == set(options.OPTIMIZERS)
    assert {*SCHEDULES, "constant"} == set(options.SCHEDULES)
    assert {type(loss).__name__ for loss, _ in LOSSES} == {c.__name__ for c in options.LOSSES.values()}


@pytest.mark.parametrize("activation", ACTIVATION_NAMES)
def test_activations(activation: str) -> None:
    compare(MLP([5, 4], activation=activation), CrossEntropy(), TrainingOptions(optimizer=SGD(0.1)), sgd)


LOSSES: list[tuple[Loss, int]] = [
    (CrossEntropy(), 3),
    (CrossEntropy(0.2), 4),
    (BinaryCrossEntropy(), 1),
    (BinaryCrossEntropy(0.1), 1),
    (SquaredError(), 1),
    (SquaredError(), 3),
    (HalfSquaredError(), 2),
    (AbsoluteError(), 2),
    (Huber(0.4), 2),
]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("loss", "outputs"), LOSSES, ids=repr)
def test_losses(loss: Loss, outputs: int, weighted: bool) -> None:
    options = TrainingOptions(optimizer=SGD(0.1))
    compare(MLP([5]), loss, options, sgd, outputs=outputs, weighted=weighted)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name: str) -> None:
    ours, make = OPTIMIZERS[name]
    compare(MLP([6]), CrossEntropy(), TrainingOptions(optimizer=ours), make, decay=ours.weight_decay)


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name: str) -> None:
    ours, make = SCHEDULES[name]
    options = TrainingOptions(optimizer=SGD(0.1), schedule=ours)
    compare(MLP([5]), SquaredError(), options, sgd, schedule=make)


@pytest.mark.parametrize("hidden", [[], [3], [3, 4], [1, 2, 3], [4, 1, 1, 4]], ids=repr)
def test_depths(hidden: list[int]) -> None:
    compare(MLP(hidden, activation="tanh"), CrossEntropy(), TrainingOptions(optimizer=SGD(0.1)), sgd)


def test_regularization_and_clipping() -> None:
    options = TrainingOptions(optimizer=SGD(0.1), l1=0.01, l2=0.1, clip_norm=0.3)
    compare(MLP([5]), CrossEntropy(), options, sgd)


def test_embeddings() -> None:
    embeddings = (EmbeddingShape("city", 6, 3), EmbeddingShape("color", 2, 1))
    compare(MLP([5]), CrossEntropy(), TrainingOptions(optimizer=SGD(0.1)), sgd, embeddings=embeddings)


def test_linear_regression_finds_the_least_squares_solution() -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(40, UNITS))
    y = x @ generator.normal(size=(UNITS, 1)) + 0.1 * generator.normal(size=(40, 1)) + 2.0
    options = TrainingOptions(optimizer=SGD(0.2))
    step = build_step(MLP([]), Inputs(UNITS, 1), SquaredError(), options, weighted=False, validated=False)
    one = np.ones((1, 1))
    state = dict(step.state)
    for _ in range(400):
        found = evaluate(
            step.program, {**state, "features": x, "target": y, "is_training": one, "ends_epoch": one}
        )
        state = {name: found[name] for name in state}
    solution, *_ = np.linalg.lstsq(np.hstack([x, np.ones((40, 1))]), y, rcond=None)
    trained = np.vstack([state["output.weights"], state["output.biases"]])
    np.testing.assert_allclose(trained, solution, rtol=1e-9)

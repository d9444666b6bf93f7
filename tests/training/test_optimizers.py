"""Optimizers and schedules against PyTorch's: their memory too, over epochs of several batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from selectron.network import MLP
from selectron.program.evaluate import evaluate
from selectron.program.operations import Array
from selectron.training import options as names
from selectron.training.forward import Inputs
from selectron.training.losses import SquaredError
from selectron.training.optimizers import SGD, Adagrad, Adam, AdamW, Momentum, Nesterov, Optimizer, RMSprop
from selectron.training.options import TrainingOptions
from selectron.training.schedules import (
    ConstantRate,
    CosineDecay,
    ExponentialDecay,
    ReduceOnPlateau,
    Schedule,
    StepDecay,
    WarmUp,
)
from selectron.training.step import TrainingStep, build_step

STEPS = 50
SIZES = (7, 3, 5)  # rows of the batches of an epoch
UNITS, OUTPUTS = 4, 3
ONE, ZERO = np.ones((1, 1)), np.zeros((1, 1))
GENERATOR = np.random.default_rng(5)
X = [GENERATOR.normal(size=(rows, UNITS)) for rows in SIZES]
Y = [GENERATOR.normal(size=(rows, OUTPUTS)) for rows in SIZES]
HELD = GENERATOR.normal(size=(6, UNITS)), GENERATOR.normal(size=(6, OUTPUTS))

Leaves = dict[str, torch.Tensor]
Make = Callable[[list[dict[str, Any]]], torch.optim.Optimizer]
optim, rates = torch.optim, torch.optim.lr_scheduler

# Ours, PyTorch's, and PyTorch's name for each slot.
OPTIMIZERS: list[tuple[Optimizer, Make, dict[str, str]]] = [
    (SGD(0.2), lambda g: optim.SGD(g, lr=0.2), {}),
    (Momentum(), lambda g: optim.SGD(g, lr=0.01, momentum=0.9), {"velocity": "momentum_buffer"}),
    (Momentum(0.1, 0.5), lambda g: optim.SGD(g, lr=0.1, momentum=0.5), {"velocity": "momentum_buffer"}),
    (
        Nesterov(0.05, 0.7),
        lambda g: optim.SGD(g, lr=0.05, momentum=0.7, nesterov=True),
        {"velocity": "momentum_buffer"},
    ),
    (Adagrad(), lambda g: optim.Adagrad(g), {"squares": "sum"}),
    (Adagrad(0.3, 1e-3), lambda g: optim.Adagrad(g, lr=0.3, eps=1e-3), {"squares": "sum"}),
    (RMSprop(), lambda g: optim.RMSprop(g), {"squares": "square_avg"}),
    (
        RMSprop(0.02, 0.8, 1e-4),
        lambda g: optim.RMSprop(g, lr=0.02, alpha=0.8, eps=1e-4),
        {"squares": "square_avg"},
    ),
    (AdamW(), lambda g: optim.AdamW(g), {"first_moment": "exp_avg", "second_moment": "exp_avg_sq"}),
    (Adam(), lambda g: optim.Adam(g), {"first_moment": "exp_avg", "second_moment": "exp_avg_sq"}),
    (
        Adam(0.05, 0.0, 0.5, 1e-3),
        lambda g: optim.Adam(g, lr=0.05, betas=(0.0, 0.5), eps=1e-3),
        {"first_moment": "exp_avg", "second_moment": "exp_avg_sq"},
    ),
    (
        AdamW(0.03, 0.8, 0.9, 1e-6, 0.3),
        lambda g: optim.AdamW(g, lr=0.03, betas=(0.8, 0.9), eps=1e-6),
        {"first_moment": "exp_avg", "second_moment": "exp_avg_sq"},
    ),
]

RATE = 0.2
SCHEDULES: list[tuple[Schedule, Callable[[torch.optim.Optimizer], Any]]] = [
    (ConstantRate(), lambda o: rates.ConstantLR(o, factor=1.0)),
    (StepDecay(3, 0.3), lambda o: rates.StepLR(o, 3, 0.3)),
    (StepDecay(1, 1.0), lambda o: rates.StepLR(o, 1, 1.0)),
    (ExponentialDecay(0.8), lambda o: rates.ExponentialLR(o, 0.8)),
    (CosineDecay(16, 0.1), lambda o: rates.CosineAnnealingLR(o, 16, eta_min=0.1 * RATE)),
    (WarmUp(4, 0.1), lambda o: rates.LinearLR(o, start_factor=0.1, total_iters=4)),
    (
        WarmUp(4, 0.2, StepDecay(2, 0.5)),
        lambda o: rates.SequentialLR(
            o, [rates.LinearLR(o, start_factor=0.2, total_iters=4), rates.StepLR(o, 2, 0.5)], milestones=[4]
        ),
    ),
    (
        WarmUp(3, 0.5, CosineDecay(14)),
        lambda o: rates.SequentialLR(
            o,
            [rates.LinearLR(o, start_factor=0.5, total_iters=3), rates.CosineAnnealingLR(o, 14)],
            milestones=[3],
        ),
    ),
    (
        ReduceOnPlateau(0.4, 1, 0.1),
        lambda o: rates.ReduceLROnPlateau(o, factor=0.4, patience=1, threshold=0.1, threshold_mode="rel"),
    ),
    (
        ReduceOnPlateau(0.3, 0, 0.05, 0.2),
        lambda o: rates.ReduceLROnPlateau(o, factor=0.3, patience=0, threshold=0.05, min_lr=0.2 * RATE),
    ),
]


class Twin:
    """A perceptron of one hidden layer in PyTorch, started from the same weights."""

    def __init__(self, step: TrainingStep, make: Make, decay: float) -> None:
        self.leaves: Leaves = {p.key: torch.tensor(p.initial, requires_grad=True) for p in step.parameters}
        weights = [leaf for key, leaf in self.leaves.items() if key.endswith(".weights")]
        biases = [leaf for key, leaf in self.leaves.items() if key.endswith(".biases")]
        self.optimizer = make([{"params": weights}, {"params": biases}])
        for group, amount in zip(self.optimizer.param_groups, (decay, 0.0), strict=True):
            group["weight_decay"] = amount

    def loss(self, x: Array, y: Array) -> torch.Tensor:
        p = self.leaves
        hidden = torch.tanh(torch.tensor(x) @ p["hidden_1.weights"] + p["hidden_1.biases"])
        logits = hidden @ p["output.weights"] + p["output.biases"]
        return torch.nn.functional.mse_loss(logits, torch.tensor(y))

    def train(self, x: Array, y: Array) -> float:
        self.optimizer.zero_grad()
        loss = self.loss(x, y)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return float(loss.item())


def built(optimizer: Optimizer, schedule: Schedule, *, validated: bool = False) -> TrainingStep:
    return build_step(
        MLP([6], activation="tanh"),
        Inputs(UNITS, OUTPUTS),
        SquaredError(),
        TrainingOptions(optimizer=optimizer, schedule=schedule),
        weighted=False,
        validated=validated,
    )


def run(
    step: TrainingStep, state: dict[str, Array], x: Array, y: Array, *, training: bool = True, ends: bool
) -> tuple[dict[str, Array], dict[str, float]]:
    feeds = {"features": x, "target": y, "is_training": ONE * training, "ends_epoch": ONE * ends}
    found = evaluate(step.program, state | feeds)
    log = {name: float(value[0, 0]) for name, value in found.items() if name.startswith("log.")}
    return {name: found[name] for name in state}, log


def assert_same(ours: Array, theirs: torch.Tensor, name: str) -> None:
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-9, atol=1e-13, err_msg=name)


@pytest.mark.parametrize(("ours", "make", "slots"), OPTIMIZERS, ids=[repr(ours) for ours, _, _ in OPTIMIZERS])
def test_parameters_and_slots(ours: Optimizer, make: Make, slots: dict[str, str]) -> None:
    assert set(slots) == set(ours.slots)
    step = built(ours, ConstantRate())
    twin = Twin(step, make, ours.weight_decay)
    state = dict(step.state)
    for number in range(STEPS):
        place = number % len(SIZES)
        state, _ = run(step, state, X[place], Y[place], ends=place == len(SIZES) - 1)
        twin.train(X[place], Y[place])
        for key, leaf in twin.leaves.items():
            assert_same(state[key], leaf, f"{key} after step {number + 1}")
            for slot, theirs in slots.items():
                assert_same(state[f"{slot} {key}"], twin.optimizer.state[leaf][theirs], f"{slot} {key}")
    assert state["step"] == STEPS
    assert state["epoch"] == STEPS // len(SIZES)


def test_every_optimizer_and_schedule_is_in_the_tables() -> None:
    assert {type(ours) for ours, _, _ in OPTIMIZERS} == set(names.OPTIMIZERS.values())
    assert {type(ours) for ours, _ in SCHEDULES} == set(names.SCHEDULES.values())


@pytest.mark.parametrize("validated", [False, True], ids=["training loss", "validation loss"])
@pytest.mark.parametrize(("ours", "make"), SCHEDULES, ids=[repr(ours) for ours, _ in SCHEDULES])
def test_schedules_over_epochs(
    ours: Schedule, make: Callable[[torch.optim.Optimizer], Any], validated: bool
) -> None:
    step = built(SGD(RATE), ours, validated=validated)
    twin = Twin(step, lambda groups: optim.SGD(groups, lr=RATE), 0.0)
    scheduler = make(twin.optimizer)
    state, seen, total = dict(step.state), [], 0.0
    for number in range(STEPS):
        place = number % len(SIZES)
        ends = place == len(SIZES) - 1
        expected_rate = twin.optimizer.param_groups[0]["lr"]
        state, log = run(step, state, X[place], Y[place], ends=ends and not validated)
        assert log["log.learning_rate"] == pytest.approx(expected_rate, rel=1e-9)
        seen.append(log["log.learning_rate"])
        loss = twin.train(X[place], Y[place])
        total = loss * SIZES[place] + (total if place else 0.0)
        if ends:
            watched = total / sum(SIZES)
            if validated:
                state, log = run(step, state, *HELD, training=False, ends=True)
                watched = twin.loss(*HELD).item()
                assert log["log.validation_loss"] == pytest.approx(watched, rel=1e-9)
                assert log["log.learning_rate"] == pytest.approx(expected_rate, rel=1e-9)
            assert log["log.training_loss"] == pytest.approx(total / sum(SIZES), rel=1e-9)
            if isinstance(scheduler, rates.ReduceLROnPlateau):
                scheduler.step(watched)
            else:
                scheduler.step()
        for key, leaf in twin.leaves.items():
            assert_same(state[key], leaf, f"{key} after step {number + 1}")
    constant = isinstance(ours, ConstantRate) or getattr(ours, "gamma", 0.0) == 1.0
    assert (len(set(seen)) > 1) is not constant, "the schedule was not seen at work"


def learning_rates(schedule: Schedule, epochs: int) -> list[float]:
    """The rate in each epoch of a training that starts at 1, learning nothing."""
    step = built(SGD(1.0), schedule, validated=True)
    state, found = dict(step.state), []
    for _ in range(epochs):
        state, log = run(step, state, *HELD, training=False, ends=True)
        found.append(log["log.learning_rate"])
    return found


def test_cosine_decay_stays_at_its_minimum() -> None:
    assert learning_rates(CosineDecay(2, 0.25), 5) == pytest.approx([1.0, 0.625, 0.25, 0.25, 0.25])


def test_plateau_counts_during_the_warm_up_too() -> None:
    found = learning_rates(WarmUp(2, 0.5, ReduceOnPlateau(0.1, patience=1)), 6)
    # The first epoch is the best; two more without improvement reduce the rate, and again two.
    assert found == pytest.approx([0.5, 0.75, 1.0, 0.1, 0.1, 0.01])


def test_plateau_stops_at_its_minimum() -> None:
    found = learning_rates(ReduceOnPlateau(0.1, patience=0, minimum=0.05), 5)
    assert found == pytest.approx([1.0, 1.0, 0.1, 0.05, 0.05])

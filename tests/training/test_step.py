"""What a training step remembers: epochs, held-out rows, early stopping, divergence, dropout."""

from __future__ import annotations

import numpy as np
import pytest

from selectron.network import MLP
from selectron.program.evaluate import evaluate
from selectron.program.operations import Array
from selectron.training.forward import Inputs
from selectron.training.losses import BinaryCrossEntropy, CrossEntropy, Loss, SquaredError
from selectron.training.optimizers import SGD
from selectron.training.options import TrainingOptions
from selectron.training.step import TrainingStep, build_step

ROWS, UNITS = 30, 3
GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(ROWS, UNITS))
Y = (X @ GENERATOR.normal(size=(UNITS, 2))).argmax(1, keepdims=True).astype(float)


def built(options: TrainingOptions, *, network: MLP | None = None, loss: Loss | None = None) -> TrainingStep:
    loss = CrossEntropy() if loss is None else loss
    outputs = 2 if isinstance(loss, CrossEntropy) else 1
    network = MLP([4]) if network is None else network
    return build_step(network, Inputs(UNITS, outputs), loss, options, weighted=False, validated=True)


def run(
    step: TrainingStep, state: dict[str, Array], *, training: bool, ends: bool, x: Array = X, y: Array = Y
) -> tuple[dict[str, Array], dict[str, float]]:
    feeds = {
        "features": x,
        "target": y,
        "is_training": np.full((1, 1), float(training)),
        "ends_epoch": np.full((1, 1), float(ends)),
    }
    found = evaluate(step.program, {**state, **feeds})
    log = {name: float(value[0, 0]) for name, value in found.items() if name.startswith("log.")}
    return {name: found[name] for name in state}, log


def parameters(step: TrainingStep, state: dict[str, Array]) -> list[Array]:
    return [state[parameter.key] for parameter in step.parameters]


def test_held_out_rows_change_no_parameter() -> None:
    step = built(TrainingOptions())
    start = dict(step.state)
    state, log = run(step, start, training=False, ends=True)
    for before, after in zip(parameters(step, start), parameters(step, state), strict=True):
        np.testing.assert_array_equal(before, after)
    assert state["step"] == 0.0
    assert state["epoch"] == 1.0
    assert log["log.validation_loss"] > 0.0
    assert 0.0 <= log["log.metric"] <= 1.0


def test_losses_of_an_epoch_are_means_over_its_rows() -> None:
    step = built(TrainingOptions(optimizer=SGD(0.0)))
    state = dict(step.state)
    _, whole = run(step, state, training=True, ends=True)
    state, _ = run(step, state, training=True, ends=False, x=X[:20], y=Y[:20])
    state, _ = run(step, state, training=True, ends=False, x=X[20:], y=Y[20:])
    _, log = run(step, state, training=False, ends=True)
    assert log["log.training_loss"] == pytest.approx(whole["log.training_loss"], rel=1e-12)
    assert log["log.validation_loss"] == pytest.approx(whole["log.training_loss"], rel=1e-12)


@pytest.mark.parametrize("loss", [CrossEntropy(), BinaryCrossEntropy()], ids=repr)
def test_the_metric_is_accuracy_for_classes(loss: Loss) -> None:
    step = built(TrainingOptions(optimizer=SGD(1.0)), network=MLP([]), loss=loss)
    state = dict(step.state)
    for _ in range(200):
        state, _ = run(step, state, training=True, ends=False)
    _, log = run(step, state, training=False, ends=True)
    assert log["log.metric"] > 0.95


def test_early_stopping_keeps_the_best_epoch_and_then_stops() -> None:
    step = built(TrainingOptions(optimizer=SGD(0.5), patience=2), loss=SquaredError())
    state = dict(step.state)
    assert set(step.restores) == {parameter.key for parameter in step.parameters}
    state, first = run(step, state, training=False, ends=True)
    best = parameters(step, state)
    stopped = []
    for _ in range(2):
        # Training on other targets makes the held-out loss worse.
        state, _ = run(step, state, training=True, ends=False, y=Y + 50.0)
        state, log = run(step, state, training=False, ends=True)
        assert log["log.validation_loss"] > first["log.validation_loss"]
        stopped.append(float(state["stopped"][0, 0]))
    assert stopped == [0.0, 1.0]
    assert state["best epoch"] == 1.0
    for key, expected in zip(step.restores.values(), best, strict=True):
        np.testing.assert_array_equal(state[key], expected)


def test_a_small_improvement_does_not_count_below_min_delta() -> None:
    step = built(TrainingOptions(optimizer=SGD(1e-6), patience=1, min_delta=0.1))
    state = dict(step.state)
    state, _ = run(step, state, training=False, ends=True)
    state, _ = run(step, state, training=True, ends=False)
    state, _ = run(step, state, training=False, ends=True)
    assert state["stopped"] == 1.0


def test_a_diverged_step_sets_the_flag_and_changes_nothing() -> None:
    step = built(TrainingOptions(), loss=SquaredError())
    start = dict(step.state)
    state, _ = run(step, start, training=True, ends=False, y=np.full_like(Y, 1e200))
    assert state["diverged"] == 1.0
    assert state["step"] == 0.0
    for before, after in zip(parameters(step, start), parameters(step, state), strict=True):
        np.testing.assert_array_equal(before, after)


def activations(step: TrainingStep, state: dict[str, Array], *, training: bool) -> Array:
    """The kept activations of the hidden layer."""
    from selectron.program.program import Program

    (kept,) = [tensor for tensor, label in step.program.labels.items() if label == "hidden_1 kept"]
    feeds = {"features": np.ones((400, UNITS)), "is_training": np.full((1, 1), float(training))}
    return evaluate(Program({"kept": kept}), {**state, **feeds})["kept"]


def test_dropout_drops_its_fraction_and_keeps_the_mean() -> None:
    network = MLP([50], dropout=0.3, activation="sigmoid")
    step = built(TrainingOptions(), network=network)
    state = dict(step.state)
    kept, whole = (activations(step, state, training=flag) for flag in (True, False))
    assert (whole > 0).all()
    dropped = kept == 0.0
    assert dropped.mean() == pytest.approx(0.3, abs=0.01)
    assert dropped.mean(axis=0).std() < 0.05
    assert dropped.mean(axis=1).std() < 0.10
    np.testing.assert_allclose(kept[~dropped], (whole / 0.7)[~dropped], rtol=1e-12)


def test_dropout_masks_follow_from_seed_and_step() -> None:
    network = MLP([50], dropout=0.5, activation="sigmoid")
    step, other = (built(TrainingOptions(seed=seed), network=network) for seed in (0, 1))
    state = dict(step.state)
    mask = activations(step, state, training=True) == 0.0
    np.testing.assert_array_equal(mask, activations(step, state, training=True) == 0.0)
    later = activations(step, {**state, "step": np.ones((1, 1))}, training=True) == 0.0
    seeded = activations(other, state, training=True) == 0.0
    assert (mask == later).mean() == pytest.approx(0.5, abs=0.05)
    assert (mask == seeded).mean() == pytest.approx(0.5, abs=0.05)

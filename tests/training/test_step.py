"""What a training step remembers: epochs, held-out rows, early stopping, divergence, dropout."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from selectron.network import MLP
from selectron.program.evaluate import evaluate
from selectron.program.operations import Array
from selectron.program.program import Program
from selectron.program.tensor import Tensor
from selectron.training.forward import Inputs
from selectron.training.losses import BinaryCrossEntropy, CrossEntropy, Loss, SquaredError
from selectron.training.optimizers import SGD, Adam
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


def numbers(state: dict[str, Array], *names: str) -> list[float]:
    return [float(state[name][0, 0]) for name in names]


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


def labelled(step: TrainingStep, wanted: str) -> list[Tensor]:
    return [tensor for tensor, label in step.program.labels.items() if label == wanted]


def activations(step: TrainingStep, state: dict[str, Array], *, training: bool) -> Array:
    """The kept activations of the hidden layer."""
    (kept,) = labelled(step, "hidden_1 kept")
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


def test_dropout_is_drawn_anew_for_each_layer() -> None:
    step = built(TrainingOptions(), network=MLP([40, 40], dropout=0.5, activation="sigmoid"))
    layers = [tensor for name in (1, 2) for tensor in labelled(step, f"hidden_{name} kept")]
    feeds = {"features": np.ones((200, UNITS)), "is_training": np.ones((1, 1))}
    found = evaluate(
        Program({str(place): tensor for place, tensor in enumerate(layers)}), {**step.state, **feeds}
    )
    one, two = (found[name] == 0.0 for name in "01")
    assert (one == two).mean() == pytest.approx(0.5, abs=0.05)
    # Neither rows nor units are dropped together.
    assert np.corrcoef(one, rowvar=False)[np.triu_indices(40, 1)].std() < 0.15
    assert np.corrcoef(one[:40])[np.triu_indices(40, 1)].std() < 0.25


def test_dropped_units_get_no_gradient() -> None:
    step = built(TrainingOptions(optimizer=SGD(0.1)), network=MLP([6], activation="tanh", dropout=0.4))
    start = dict(step.state)
    (kept,) = labelled(step, "hidden_1 kept")
    (whole,) = labelled(step, "hidden_1 activations")
    feeds = {"features": X, "is_training": np.ones((1, 1))}
    found = evaluate(Program({"kept": kept, "whole": whole}), {**start, **feeds})
    mask = torch.tensor(found["kept"] / found["whole"])
    assert 0 < (mask == 0).sum() < mask.numel()
    leaves = {p.key: torch.tensor(p.initial, requires_grad=True) for p in step.parameters}
    hidden = torch.tanh(torch.tensor(X) @ leaves["hidden_1.weights"] + leaves["hidden_1.biases"]) * mask
    logits = hidden @ leaves["output.weights"] + leaves["output.biases"]
    torch.nn.functional.cross_entropy(logits, torch.tensor(Y[:, 0]).long()).backward()  # type: ignore[no-untyped-call]
    state, _ = run(step, start, training=True, ends=False)
    for key, leaf in leaves.items():
        assert leaf.grad is not None
        np.testing.assert_allclose(
            state[key], start[key] - 0.1 * leaf.grad.numpy(), rtol=1e-9, atol=1e-13, err_msg=key
        )


def test_held_out_rows_are_measured_without_dropout() -> None:
    network = MLP([20], dropout=0.5)
    plain = MLP([20])
    losses = [
        run(step, dict(step.state), training=False, ends=True)[1]["log.validation_loss"]
        for step in (built(TrainingOptions(), network=network), built(TrainingOptions(), network=plain))
    ]
    assert losses[0] == losses[1]


def test_held_out_rows_leave_the_optimizers_memory_alone() -> None:
    step = built(TrainingOptions(optimizer=Adam(0.1)))
    trained, _ = run(step, dict(step.state), training=True, ends=False)
    slots = [name for name in trained if "moment" in name]
    assert slots
    assert all(np.abs(trained[name]).max() > 0 for name in slots)
    measured, log = run(step, trained, training=False, ends=True)
    for name in [*slots, "step"]:
        np.testing.assert_array_equal(measured[name], trained[name])
    # The norm that is logged is that of the epoch's last training batch.
    assert log["log.gradient_norm"] == trained["gradient norm"]


BROKEN = {"infinite": np.inf, "not a number": np.nan, "enormous": 1e200}


@pytest.mark.parametrize("value", BROKEN.values(), ids=BROKEN)
def test_a_batch_that_cannot_be_learned_changes_nothing_but_the_flag(value: float) -> None:
    step = built(TrainingOptions(optimizer=Adam(0.1), patience=3), loss=SquaredError())
    before, _ = run(step, dict(step.state), training=True, ends=False)
    x = X.copy()
    x[3, 1] = value
    after, _ = run(step, before, training=True, ends=False, x=x)
    assert before["diverged"] == 0.0
    assert after["diverged"] == 1.0
    unchanged = [name for name in after if not name.startswith(("training", "gradient norm", "diverged"))]
    assert len(unchanged) > 10
    for name in unchanged:
        np.testing.assert_array_equal(before[name], after[name], err_msg=name)
    later, _ = run(step, after, training=True, ends=False)
    assert later["diverged"] == 1.0, "the flag stays"


def test_held_out_rows_that_are_infinite_do_not_stop_training() -> None:
    step = built(TrainingOptions(patience=2), loss=SquaredError())
    state, _ = run(step, dict(step.state), training=False, ends=True)
    (best,) = numbers(state, "best loss")
    state, log = run(step, state, training=False, ends=True, x=np.full_like(X, np.inf))
    assert not np.isfinite(log["log.validation_loss"])
    assert state["diverged"] == 0.0
    # It is an epoch without improvement, and the next one starts with a clean sum.
    assert numbers(state, "epochs since best", "best loss") == [1.0, best]
    _, log = run(step, state, training=False, ends=True)
    assert np.isfinite(log["log.validation_loss"])


def test_an_enormous_learning_rate_is_noticed() -> None:
    step = built(TrainingOptions(optimizer=SGD(1e200)), network=MLP([]), loss=SquaredError())
    states = [dict(step.state)]
    for _ in range(4):
        states.append(run(step, states[-1], training=True, ends=False)[0])
    flags = [float(state["diverged"][0, 0]) for state in states]
    first = flags.index(1.0)
    assert flags[first:] == [1.0] * len(flags[first:])
    for before, after in zip(
        parameters(step, states[first - 1]), parameters(step, states[first]), strict=True
    ):
        assert np.isfinite(after).all()
        np.testing.assert_array_equal(before, after)


def test_an_improvement_ends_the_wait() -> None:
    step = built(TrainingOptions(patience=3), loss=SquaredError())
    state, waits = dict(step.state), []
    for shift in (0.0, 1.0, 2.0, -0.1, 3.0, 4.0, 5.0, -0.2):
        # Targets that are further away make the loss larger; none is learned.
        state, _ = run(step, state, training=False, ends=True, y=Y + 10.0 + shift)
        waits.append((float(state["epochs since best"][0, 0]), float(state["stopped"][0, 0])))
    assert waits == [(0, 0), (1, 0), (2, 0), (0, 0), (1, 0), (2, 0), (3, 1), (0, 1)]
    assert state["best epoch"] == 8.0


def test_waiting_is_counted_when_epochs_end_only() -> None:
    step = built(TrainingOptions(patience=1), loss=SquaredError())
    state, _ = run(step, dict(step.state), training=False, ends=True)
    for _ in range(3):
        state, _ = run(step, state, training=False, ends=False, y=Y + 9.0)
        assert numbers(state, "epochs since best", "stopped", "epoch") == [0.0, 0.0, 1.0]
    state, _ = run(step, state, training=False, ends=True, y=Y + 9.0)
    assert numbers(state, "epochs since best", "stopped", "epoch") == [1.0, 1.0, 2.0]


def test_without_held_out_rows_the_training_loss_is_watched() -> None:
    options = TrainingOptions(optimizer=SGD(0.01), patience=1)
    step = build_step(MLP([4]), Inputs(UNITS, 1), SquaredError(), options, weighted=False, validated=False)
    state = dict(step.state)
    state, log = run(step, state, training=True, ends=True)
    assert "log.validation_loss" not in log
    assert state["best loss"] == pytest.approx(log["log.training_loss"])
    # The best epoch's parameters are those after its last step.
    for key, best in step.restores.items():
        np.testing.assert_array_equal(state[key], state[best])
        assert (state[key] != step.state[key]).any()
    worse, _ = run(step, state, training=True, ends=True, y=Y + 100.0)
    assert worse["stopped"] == 1.0
    for key, best in step.restores.items():
        np.testing.assert_array_equal(worse[best], state[key])


def test_nothing_is_kept_for_best_epochs_unless_it_is_asked_for() -> None:
    assert built(TrainingOptions()).restores == {}
    assert not [name for name in built(TrainingOptions()).state if name.startswith("best")]


def test_the_metric_of_numbers_is_the_root_of_the_mean_square() -> None:
    step = build_step(
        MLP([]), Inputs(UNITS, 2), SquaredError(), TrainingOptions(), weighted=False, validated=True
    )
    targets = np.hstack([Y, 3.0 * Y - 1.0])
    state, _ = run(step, dict(step.state), training=False, ends=False, x=X[:11], y=targets[:11])
    _, log = run(step, state, training=False, ends=True, x=X[11:], y=targets[11:])
    predicted = X @ step.state["output.weights"] + step.state["output.biases"]
    assert log["log.metric"] == pytest.approx(np.sqrt(np.mean((predicted - targets) ** 2)), rel=1e-12)


def test_rows_without_weight_teach_nothing() -> None:
    step = build_step(
        MLP([4]), Inputs(UNITS, 2), CrossEntropy(), TrainingOptions(optimizer=SGD(0.1)), weighted=True,
        validated=False,
    )  # fmt: skip
    start = dict(step.state)

    def after(x: Array, y: Array, weight: Array) -> dict[str, Array]:
        one = np.ones((1, 1))
        feeds = {"features": x, "target": y, "weight": weight, "is_training": one, "ends_epoch": one}
        return evaluate(step.program, {**start, **feeds})

    weight = np.ones((ROWS, 1))
    weight[10:] = 0.0
    some, fewer = after(X, Y, weight), after(X[:10], Y[:10], np.full((10, 1), 7.0))
    nothing = after(X, Y, np.zeros((ROWS, 1)))
    assert nothing["diverged"] == 0.0
    assert nothing["log.training_loss"] == 0.0
    for key in (parameter.key for parameter in step.parameters):
        np.testing.assert_allclose(some[key], fewer[key], rtol=1e-9, atol=1e-14)
        np.testing.assert_array_equal(nothing[key], start[key])


@pytest.mark.parametrize("options", [TrainingOptions(l1=0.5), TrainingOptions(l2=0.5)], ids=["l1", "l2"])
def test_regularization_shrinks_weights_and_not_biases(options: TrainingOptions) -> None:
    given = {"output.weights": [[1.0], [-2.0], [0.5]], "output.biases": [[3.0]]}
    step = build_step(
        MLP([], initial=given), Inputs(UNITS, 1), SquaredError(),
        dataclasses.replace(options, optimizer=SGD(0.1)), weighted=False, validated=False,
    )  # fmt: skip
    # Targets that are met exactly, so that nothing but the penalty moves anything.
    weights, biases = step.state["output.weights"], step.state["output.biases"]
    state, log = run(step, dict(step.state), training=True, ends=True, y=X @ weights + biases)
    slope = options.l1 * np.sign(weights) + options.l2 * weights
    np.testing.assert_allclose(state["output.weights"], weights - 0.1 * slope, rtol=1e-12)
    np.testing.assert_allclose(state["output.biases"], biases, rtol=1e-12)
    assert log["log.training_loss"] == pytest.approx(0.0, abs=1e-20), "the log holds the loss of the data"


def test_ridge_regression_finds_the_closed_form() -> None:
    y = X @ np.array([[1.0], [2.0], [-1.0]]) + 0.5
    options = TrainingOptions(optimizer=SGD(0.2), l2=0.3)
    step = build_step(MLP([]), Inputs(UNITS, 1), SquaredError(), options, weighted=False, validated=False)
    state = dict(step.state)
    for _ in range(300):
        state, _ = run(step, state, training=True, ends=False, y=y)
    padded = np.hstack([X, np.ones((ROWS, 1))])
    # mean((Xw - y)**2) + l2 / 2 * |w|**2, the bias free.
    ridge = np.diag([0.3 * ROWS / 2] * UNITS + [0.0])
    solution = np.linalg.solve(padded.T @ padded + ridge, padded.T @ y)
    trained = np.vstack([state["output.weights"], state["output.biases"]])
    np.testing.assert_allclose(trained, solution, rtol=1e-9)

"""Every option's refusals, and settings to JSON and back."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from selectron.errors import ConfigurationError, StoreError
from selectron.features.options import FeatureOptions
from selectron.network import MLP, Dense
from selectron.serialization import from_json, to_json
from selectron.training.forward import Inputs, network_parameters
from selectron.training.losses import BinaryCrossEntropy, CrossEntropy, Huber
from selectron.training.optimizers import SGD, Adagrad, Adam, AdamW, Momentum, Nesterov, RMSprop
from selectron.training.options import SETTINGS, TrainingOptions
from selectron.training.schedules import (
    CosineDecay,
    ExponentialDecay,
    ReduceOnPlateau,
    StepDecay,
    WarmUp,
)

REFUSED: list[Callable[[], object]] = [
    lambda: Dense(0),
    lambda: Dense(3, "swish"),
    lambda: Dense(3, dropout=1.0),
    lambda: MLP([4, -1]),
    lambda: MLP([4], activation=["relu", "tanh"]),
    lambda: MLP([4], dropout=-0.1),
    lambda: MLP([4], initialization="random"),
    lambda: network_parameters(MLP([2], initial={"nope": [[1.0]]}), Inputs(1, 1), 0),
    lambda: network_parameters(MLP([2], initial={"hidden_1.weights": [[1.0]]}), Inputs(1, 1), 0),
    lambda: network_parameters(MLP([1], initial={"hidden_1.weights": [[1.0], [1.0, 2.0]]}), Inputs(2, 1), 0),
    lambda: network_parameters(MLP([1], initial={"output.weights": [[float("nan")]]}), Inputs(1, 1), 0),
    lambda: MLP([4], initialization="normal", initialization_scale=-1.0),
    lambda: MLP([4], initialization="constant", initialization_scale=float("inf")),
    lambda: MLP([4], dropout=[0.1, 0.2]),
    lambda: Dense(True),
    lambda: Dense(3, dropout=float("nan")),
    lambda: Inputs(0, 1),
    lambda: CrossEntropy(1.0),
    lambda: BinaryCrossEntropy(-0.1),
    lambda: BinaryCrossEntropy().outputs(3),
    lambda: BinaryCrossEntropy(1.0),
    lambda: Huber(0.0),
    lambda: Huber(float("inf")),
    lambda: SGD(-1.0),
    lambda: SGD(float("nan")),
    lambda: SGD(float("inf")),
    lambda: Momentum(0.1, 1.0),
    lambda: Nesterov(0.1, -0.1),
    lambda: Nesterov(-0.1),
    lambda: Adagrad(-0.1),
    lambda: Adagrad(epsilon=0.0),
    lambda: RMSprop(decay=1.5),
    lambda: RMSprop(epsilon=-1e-8),
    lambda: Adam(beta2=-0.1),
    lambda: Adam(epsilon=float("nan")),
    lambda: AdamW(beta2=1.0),
    lambda: AdamW(epsilon=0.0),
    lambda: Adam(beta1=1.0),
    lambda: AdamW(weight_decay=-1.0),
    lambda: StepDecay(0),
    lambda: StepDecay(5, 0.0),
    lambda: ExponentialDecay(1.1),
    lambda: CosineDecay(10, 2.0),
    lambda: WarmUp(0),
    lambda: WarmUp(2.5),  # type: ignore[arg-type]
    lambda: WarmUp(2, 0.0),
    lambda: CosineDecay(0),
    lambda: ReduceOnPlateau(0.0),
    lambda: ReduceOnPlateau(patience=-1),
    lambda: ReduceOnPlateau(threshold=-0.1),
    lambda: ReduceOnPlateau(threshold=1.0),
    lambda: ReduceOnPlateau(minimum=2.0),
    lambda: TrainingOptions(epochs=-1),
    lambda: TrainingOptions(epochs=2.5),  # type: ignore[arg-type]
    lambda: TrainingOptions(batch_size=0),
    lambda: TrainingOptions(batch_size=0.5),  # type: ignore[arg-type]
    lambda: TrainingOptions(min_delta=-1.0),
    lambda: TrainingOptions(clip_norm=float("inf")),
    lambda: TrainingOptions(validation=-0.1),
    lambda: TrainingOptions(l1=-1.0),
    lambda: TrainingOptions(l2=float("nan")),
    lambda: TrainingOptions(clip_norm=0.0),
    lambda: TrainingOptions(validation=1.0),
    lambda: TrainingOptions(patience=0),
    lambda: TrainingOptions(class_weight="even"),
    lambda: TrainingOptions(seed=-1),
    lambda: FeatureOptions(scaling="log"),
    lambda: FeatureOptions(nulls="ignore"),
    lambda: FeatureOptions(embed={"city": 0}),
    lambda: FeatureOptions(max_categories=0),
    lambda: FeatureOptions(include=("a",), exclude=("a",)),
]


@pytest.mark.parametrize("build", REFUSED)
def test_bad_options_are_refused_with_what_to_do(build: Callable[[], object]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        build()
    assert caught.value.problem
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    "value",
    [
        TrainingOptions(),
        TrainingOptions(
            loss=Huber(0.5),
            optimizer=AdamW(0.1),
            schedule=WarmUp(3, 0.5, ReduceOnPlateau()),
            class_weight={"ä": 2.0},
            batch_size=None,
            patience=4,
        ),
        # Classes and columns may be called as the tag of a class, or as a class.
        TrainingOptions(class_weight={"type": 2.0, "items": 1.0, "Adam": 3.0}),
        FeatureOptions(embed={"type": 3}, column_scaling={"type": "none"}),
        *(class_() for class_ in SETTINGS),
        FeatureOptions(include=("a", "b"), embed={"a": 3}, column_scaling={"b": "none"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_settings_survive_json(value: object) -> None:
    text = json.dumps(to_json(value))
    assert from_json(json.loads(text), (*SETTINGS, FeatureOptions)) == value


def test_unknown_settings_ask_for_an_upgrade() -> None:
    with pytest.raises(StoreError, match="Upgrade"):
        from_json({"type": "Lion"}, SETTINGS)
    with pytest.raises(StoreError, match=r"'amsgrad'.*Upgrade"):
        from_json({"type": "Adam", "amsgrad": True}, SETTINGS)


def test_networks_survive_json() -> None:
    network = MLP([Dense(3, "tanh", 0.1), 4], initial={"output.biases": [[0.5, 1.0]]})
    assert MLP.from_json(json.loads(json.dumps(network.to_json()))) == network

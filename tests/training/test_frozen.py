"""Parameters that stay as they start."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import selectron
from selectron import MLP
from selectron.errors import ConfigurationError


def trained(db: selectron.Database, penguins: str, **options: Any) -> selectron.Model:
    network = MLP([3, 2], frozen=options.pop("frozen", ()))
    return db.train(penguins, "species", network=network, epochs=3, validation=0, **options)


@pytest.mark.parametrize("optimizer", [selectron.Adam(0.01), selectron.AdamW(0.01), selectron.Momentum(0.1)])
def test_only_the_others_change(db: selectron.Database, penguins: str, optimizer: Any) -> None:
    start = MLP([3, 2])
    model = trained(db, penguins, frozen=["hidden_1", "output.biases"], optimizer=optimizer, l2=0.1)
    assert model.blueprint.specification.network.layers == start.layers
    initial = {own.key: own.initial for own in model.blueprint.step.parameters}
    same = {key for key, array in model.parameters.items() if np.array_equal(array, initial[key])}
    assert same == {"hidden_1.weights", "hidden_1.biases", "output.biases"}
    phases = {row.name for row in model.trace(step=1).fetched() if row.phase == "gradient"}
    assert not any("hidden_1" in name for name in phases)


def test_with_a_warm_start_and_resumed(db: selectron.Database, penguins: str) -> None:
    first = trained(db, penguins, name="first")
    tuned = trained(db, penguins, name="tuned", frozen=["hidden_1", "hidden_2"], warm_start="first")
    more = tuned.train(2)
    for key, array in more.parameters.items():
        assert np.array_equal(array, first.parameters[key]) == (not key.startswith("output")), key


def test_refusals(db: selectron.Database, penguins: str) -> None:
    with pytest.raises(ConfigurationError, match=r"frozen names 'hidden_9'.* It has hidden_1.weights"):
        trained(db, penguins, frozen=["hidden_9"])
    with pytest.raises(ConfigurationError, match="All parameters are frozen"):
        trained(db, penguins, frozen=["weights", "biases"])
    assert db.models() == []

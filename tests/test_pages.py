"""States of more numbers than an engine takes columns, held as arrays in the columns layout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sqlglot import exp

import selectron
from selectron.database import Database
from selectron.engines.base import Engine
from selectron.engines.postgres import Postgres
from selectron.network import MLP


@pytest.mark.parametrize("strategy", ["recursive", "stepwise"])
def test_a_training_with_pages_is_the_same_training(
    strategy: str, engines: Callable[[str], Engine], penguins: str
) -> None:
    options: dict[str, Any] = {"network": MLP([35]), "epochs": 2, "batch_size": 200, "keep_states": True}
    model = Database(engines("postgres")).train(penguins, "species", strategy=strategy, **options)
    other = Database(engines("duckdb")).train(penguins, "species", **options)
    assert model.explain()["layout"] == "columns"
    for epochs in (0, 2):
        if epochs:
            model, other = model.train(epochs), other.train(epochs)
        for key, value in other.parameters.items():
            np.testing.assert_allclose(model.parameters[key], value, rtol=1e-9, atol=1e-12, err_msg=key)
        losses = [row.training_loss for row in other.log]
        assert [row.training_loss for row in model.log] == pytest.approx(losses, rel=1e-9)
    # Both kept at least the end of the first call.
    first = min({*model.kept_steps} & {*other.kept_steps})
    rewound, again = model.rewind(first), other.rewind(first)
    for key, value in again.parameters.items():
        np.testing.assert_allclose(rewound.parameters[key], value, rtol=1e-9, atol=1e-12, err_msg=key)


def test_the_printed_training_with_pages_gives_the_weights(
    engines: Callable[[str], Engine], penguins: str
) -> None:
    engine = engines("postgres")
    assert isinstance(engine, Postgres)
    options: dict[str, Any] = {"network": MLP([130]), "epochs": 2, "optimizer": selectron.SGD(0.1)}
    engine.create_table("birds", exp.select("*").from_(engine.relation(penguins).source))
    model = Database(engine).train("birds", "species", **options)
    assert model.explain()["layout"] == "columns"
    rows = engine.execute(model.sql("train")).fetchall()
    assert len(rows) == sum(array.size for array in model.parameters.values()) > 1_000
    for layer, parameter, row, col, value in rows:
        assert model.parameters[f"{layer}.{parameter}"][row, col] == pytest.approx(value, rel=1e-9)

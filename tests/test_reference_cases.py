"""Published systems of this kind, reproduced: their networks and figures, on every engine that runs here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from sqlglot import exp

import selectron
from selectron.database import Database
from selectron.engines.base import Engine
from selectron.program.operations import Array

EMBEDDED = ("duckdb", "sqlite", "postgres")
AS_GIVEN = selectron.FeatureOptions(scaling="none", target_scaling="none")


def phases(model: selectron.Model, step: int = 1) -> dict[str, Array]:
    """A step's tensors by name."""
    found: dict[str, dict[tuple[int, int], float]] = {}
    for row in model.trace(step=step).fetched():
        assert row.value is not None
        found.setdefault(row.name, {})[row.row, row.col] = row.value
    arrays = {}
    for name, cells in found.items():
        arrays[name] = np.zeros((1 + max(i for i, _ in cells), 1 + max(j for _, j in cells)))
        for (i, j), value in cells.items():
            arrays[name][i, j] = value
    return arrays


# ------------------------------------------------- one sample, 3-2-3, every phase of a recursive query

WEIGHTS_1 = [[2, 3], [4, 5], [6, 7]]
WEIGHTS_2 = [[1, 2, 3], [4, 5, 6]]
# There a bias belongs to an edge; a node's is the sum over its incoming edges.
EDGES_1 = [[1, 1], [2, 2], [3, 3]]
EDGES_2 = [[2, 2, 2], [3, 3, 3]]


@pytest.mark.parametrize("name", EMBEDDED)
def test_every_phase_of_one_step(name: str, engines: Callable[[str], Engine]) -> None:
    initial: dict[str, Any] = {
        "hidden_1.weights": WEIGHTS_1,
        "hidden_1.biases": [np.sum(EDGES_1, axis=0)],
        "output.weights": WEIGHTS_2,
        "output.biases": [np.sum(EDGES_2, axis=0)],
    }
    model = Database(engines(name)).train(
        "SELECT 1.0 AS a, 3.0 AS b, 5.0 AS c, 290.0 AS t1, 399.0 AS t2, 505.0 AS t3",
        ["t1", "t2", "t3"],
        name="sample",
        network=selectron.MLP([2], initial=initial),
        loss=selectron.HalfSquaredError(),
        optimizer=selectron.SGD(0.1),
        features=selectron.FeatureOptions(include=("a", "b", "c"), scaling="none", target_scaling="none"),
        epochs=1,
        batch_size=None,
        validation=0,
    )
    found = phases(model)
    expected: dict[str, Any] = {
        "features": [[1, 3, 5]],
        "target": [[290, 399, 505]],
        "hidden_1 logits": [[50, 59]],
        "hidden_1 activations": [[50, 59]],
        "output logits": [[291, 400, 509]],
        "loss of each row": [[0.5 + 0.5 + 8]],
        "gradient output.weights": [[50, 50, 200], [59, 59, 236]],
        "gradient hidden_1.weights": [[15, 33], [45, 99], [75, 165]],
        # Each incoming edge's bias has its node's error as gradient.
        "gradient hidden_1.biases": [[15, 33]],
        "gradient output.biases": [[1, 1, 4]],
        "updated output.weights": np.array(WEIGHTS_2) - 0.1 * np.array([[50, 50, 200], [59, 59, 236]]),
    }
    for label, value in expected.items():
        np.testing.assert_allclose(found[label], value, rtol=1e-12, err_msg=label)
    np.testing.assert_allclose(model.parameters["output.weights"], found["updated output.weights"])


@pytest.mark.parametrize(
    ("name", "layout"),
    [("duckdb", layout) for layout in ("arrays", "columns", "relations")]
    + [(name, None) for name in EMBEDDED if name != "duckdb"],
)
def test_a_bias_for_each_edge(name: str, layout: str | None, engines: Callable[[str], Engine]) -> None:
    initial: dict[str, Any] = {
        "hidden_1.weights": WEIGHTS_1,
        "hidden_1.edge_biases": EDGES_1,
        "output.weights": WEIGHTS_2,
        "output.edge_biases": EDGES_2,
    }
    model = Database(engines(name)).train(
        "SELECT 1.0 AS a, 3.0 AS b, 5.0 AS c, 290.0 AS t1, 399.0 AS t2, 505.0 AS t3",
        ["t1", "t2", "t3"],
        name="edges",
        network=selectron.MLP([2], initial=initial, edge_biases=True),
        loss=selectron.HalfSquaredError(),
        optimizer=selectron.SGD(0.1),
        features=selectron.FeatureOptions(include=("a", "b", "c"), scaling="none", target_scaling="none"),
        epochs=1,
        batch_size=None,
        validation=0,
        layout=layout,
    )
    found = phases(model)
    np.testing.assert_allclose(found["output logits"], [[291, 400, 509]], rtol=1e-12)
    # Each incoming edge's bias has its node's error as gradient.
    hidden, output = np.tile([15.0, 33.0], (3, 1)), np.tile([1.0, 1.0, 4.0], (2, 1))
    np.testing.assert_allclose(found["gradient hidden_1.edge_biases"], hidden, rtol=1e-12)
    np.testing.assert_allclose(found["gradient output.edge_biases"], output, rtol=1e-12)
    parameters = model.parameters
    np.testing.assert_allclose(parameters["hidden_1.edge_biases"], EDGES_1 - 0.1 * hidden, rtol=1e-12)
    np.testing.assert_allclose(parameters["output.edge_biases"], EDGES_2 - 0.1 * output, rtol=1e-12)
    # They are read back by name, predict, and leave as the sums that they are.
    edges = model.engine.rows(
        exp.select("from_unit", "to_unit", "value")
        .from_("selectron_weights")
        .where("layer = 'output' AND from_unit LIKE 'edge_biases%' AND to_unit = 't3'")
        .order_by("from_unit")
    )
    assert edges == [
        ("edge_biases [1]", "t3", pytest.approx(1.6)),
        ("edge_biases [2]", "t3", pytest.approx(2.6)),
    ]
    sample = "SELECT 1.0 AS a, 3.0 AS b, 5.0 AS c"
    linear = model.export("torch")
    predicted = model.engine.rows(model.predict(sample).query)[0]
    assert predicted[-3:] == pytest.approx(
        linear(torch.tensor([[1.0, 3.0, 5.0]], dtype=torch.float64)).detach().numpy()[0]
    )


# --------------------------------------- a network in tables, reopened without training: 2-2-2, sigmoid

INITIAL = {
    # Rows are inputs: the text gives each hidden unit's two weights together.
    "hidden_1.weights": [[0.15, 0.25], [0.20, 0.30]],
    "hidden_1.biases": [[0.35, 0.35]],
    "output.weights": [[0.40, 0.50], [0.45, 0.55]],
    "output.biases": [[0.60, 0.60]],
}
SAMPLE = "SELECT 0.05 AS x1, 0.10 AS x2, 0.01 AS y1, 0.99 AS y2"


def worked(
    db: Database,
    epochs: int,
    rate: float = 0.5,
    loss: Any = selectron.HalfSquaredError,
    frozen: tuple[str, ...] = (),
) -> selectron.Model:
    sigmoid: dict[str, Any] = {"activation": "sigmoid", "output_activation": "sigmoid"}
    return db.train(
        SAMPLE,
        ["y1", "y2"],
        name="worked",
        network=selectron.MLP([2], initial=INITIAL, frozen=frozen, **sigmoid),
        loss=loss(),
        optimizer=selectron.SGD(rate),
        features=selectron.FeatureOptions(include=("x1", "x2"), scaling="none", target_scaling="none"),
        epochs=epochs,
        batch_size=None,
        validation=0,
    )


@pytest.mark.parametrize("name", EMBEDDED)
def test_the_worked_example(name: str, engines: Callable[[str], Engine]) -> None:
    # The network is made of its topology and persists; gradient descent is called step by step.
    db = Database(engines(name))
    model = worked(db, epochs=0)
    found = phases(model)
    np.testing.assert_allclose(found["hidden_1 logits"][0, 0], 0.3775)
    np.testing.assert_allclose(found["hidden_1 activations"], [[0.593269992, 0.596884378]], rtol=1e-9)
    np.testing.assert_allclose(found["output activations"], [[0.75136507, 0.772928465]], rtol=1e-8)
    np.testing.assert_allclose(found["loss of each row"], [[0.274811083 + 0.023560026]], rtol=1e-8)
    # The summed loss, the classic form of this example.
    after = model.train(1).parameters
    np.testing.assert_allclose(after["output.weights"][0, 0], 0.3589165, atol=5e-8)
    np.testing.assert_allclose(after["hidden_1.weights"][0, 0], 0.1497807, atol=5e-8)
    # The loss averaged over the two outputs is half the mean of squares: half the rate on ours.
    averaged = worked(db, 1, 0.25, selectron.SquaredError)
    np.testing.assert_allclose(0.5 * phases(averaged)["loss of each row"], 0.1491855, atol=5e-8)
    np.testing.assert_allclose(averaged.parameters["output.weights"][0, 0], 0.3794582, atol=5e-8)
    np.testing.assert_allclose(averaged.parameters["hidden_1.weights"][0, 0], 0.1498904, atol=5e-8)


@pytest.mark.parametrize("name", ["duckdb", "sqlite"])
def test_ten_thousand_steps_of_the_worked_example(name: str, engines: Callable[[str], Engine]) -> None:
    model = worked(Database(engines(name)), epochs=10_000)
    assert model.log[-1].training_loss == pytest.approx(2.4476e-06, rel=1e-3)


@pytest.mark.parametrize("name", EMBEDDED)
def test_the_worked_example_with_fixed_biases(name: str, engines: Callable[[str], Engine]) -> None:
    # As the classic text has it.
    model = worked(Database(engines(name)), epochs=10_000, frozen=("biases",))
    assert model.log[-1].training_loss == pytest.approx(3.5102e-05, rel=1e-3)
    outputs = model.predict(SAMPLE).select(model.predicted, 1)[0]
    assert outputs == pytest.approx((0.015914, 0.984064), abs=5e-6)
    assert model.parameters["hidden_1.biases"].tolist() == [[0.35, 0.35]]


def test_a_network_is_reopened_without_training(tmp_path: Path) -> None:
    path = tmp_path / "network.sqlite"
    with selectron.connect(path) as db:
        trained = worked(db, epochs=20)
        predicted, cost = trained.predict(SAMPLE).rows(), trained.log[-1].training_loss
    with selectron.connect(path) as db:
        reopened = db.model("worked")
        assert reopened.predict(SAMPLE).rows() == predicted
        assert reopened.train(1).log[-1].training_loss < cost


# ------------------------------------------------------------- nested queries on a warehouse: 2-2-2, ReLU

WAREHOUSE = {
    "hidden_1.weights": [[-0.00569693, 0.00186517], [0.00414431, 0.0105101]],
    "output.weights": [[-0.01312284, -0.01269512], [0.00379152, -0.01218354]],
}


def plane(rows: int) -> pa.Table:
    x = np.random.default_rng(0).normal(size=(rows, 2))
    return pa.table({"x1": x[:, 0], "x2": x[:, 1], "y": (x.sum(axis=1) > 0).astype(int)})


def descended(engine: Engine, epochs: int, **how: Any) -> selectron.Model:
    return Database(engine).train(
        plane(1_000),
        "y",
        network=selectron.MLP([2], initial=WAREHOUSE),
        loss=selectron.CrossEntropy(),
        optimizer=selectron.SGD(2.0),
        l2=0.001,
        features=AS_GIVEN,
        epochs=epochs,
        batch_size=None,
        validation=0,
        **how,
    )


@pytest.mark.parametrize("name", EMBEDDED)
def test_ten_iterations_as_one_nested_query(name: str, engines: Callable[[str], Engine]) -> None:
    expected = descended(engines("duckdb"), 10, layout="arrays")
    model = descended(engines(name), 10, layout="columns", strategy="nested", steps=10)
    for key, value in expected.parameters.items():
        np.testing.assert_allclose(model.parameters[key], value, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize(
    ("name", "layout"), [("duckdb", "arrays"), ("sqlite", "arrays"), ("postgres", "columns")]
)
def test_a_hundred_iterations_as_one_nested_query(
    name: str, layout: str | None, engines: Callable[[str], Engine]
) -> None:
    model = descended(engines(name), 100, layout=layout, strategy="nested", steps=100)
    assert model.record.steps == 100
    accuracy = model.evaluate(plane(1_000))["accuracy"]
    assert accuracy is not None
    assert accuracy > 0.99


@pytest.mark.parametrize("name", EMBEDDED)
def test_iterations_go_on_from_intermediate_tables(name: str, engines: Callable[[str], Engine]) -> None:
    whole = descended(engines(name), 12)
    in_parts = descended(engines(name), 5, strategy="stepwise", steps=2).train(7, source=plane(1_000))
    for key, value in whole.parameters.items():
        np.testing.assert_allclose(in_parts.parameters[key], value, rtol=1e-9, atol=1e-14)

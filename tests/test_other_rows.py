"""Training on with other rows, weights in statistics, and classes that are named."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

import selectron
from selectron import MLP, ConfigurationError, Database, FeatureOptions, TargetError
from selectron.engines.base import Engine
from selectron.features.kinds import NumberFeature

ROWS = "SELECT x, x * x AS y, 1.0 AS w FROM (SELECT CAST(range AS DOUBLE) AS x FROM range({}, {}))"


def rows(start: int, end: int) -> str:
    return ROWS.format(start, end)


def options(**changes: object) -> dict[str, object]:
    """A small training without held-out rows."""
    return {"network": MLP([3]), "validation": 0, "batch_size": 4, "task": "regression", **changes}


@pytest.mark.parametrize("row_weight", [None, "w"])
def test_training_on_with_the_same_rows_is_training_for_longer(db: Database, row_weight: str | None) -> None:
    features = FeatureOptions(include=("x",))
    whole = db.train(rows(0, 10), "y", **options(epochs=5, features=features))  # type: ignore[arg-type]
    parts = db.train(rows(0, 10), "y", **options(epochs=2, features=features))  # type: ignore[arg-type]
    parts = parts.train_on(rows(0, 10), 2, row_weight=row_weight).train_on(rows(0, 10))
    assert [row.epoch for row in parts.log] == [1, 2, 3, 4, 5]
    for name, values in whole.parameters.items():
        np.testing.assert_allclose(parts.parameters[name], values, rtol=1e-12)


def test_statistics_stay_and_batches_follow_the_new_rows(db: Database) -> None:
    model = db.train(rows(0, 10), "y", **options(epochs=1))  # type: ignore[arg-type]
    after = model.train_on(rows(5, 8))
    assert after.blueprint.encoding == model.blueprint.encoding
    assert after.blueprint.specification.plan.training_rows == 3
    assert (after.record.training_rows, after.record.validation_rows) == (3, 0)
    assert after.record.steps == 3 + 1
    assert after.sql("step")


def test_early_stopping_and_held_out_rows_end_with_the_first_training(db: Database) -> None:
    early = options(epochs=3, validation=0.3, patience=1)
    model = db.train(rows(0, 10), "y", **early)  # type: ignore[arg-type]
    after = model.train_on(rows(0, 10), 4)
    assert after.record.epochs == (model.record.epochs or 0) + 4
    assert after.log[-1].validation_loss is None


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_every_engine_trains_on(engines: Callable[[str], Engine], engine: str) -> None:
    db = Database(engines(engine))
    values = ", ".join(f"({x}, {x * x}.5)" for x in range(10))
    for name in ("first", "second"):
        db.engine.execute(f"CREATE TABLE {name} (x INTEGER, y DOUBLE PRECISION)")  # type: ignore[attr-defined]
        db.engine.execute(f"INSERT INTO {name} VALUES {values}")  # type: ignore[attr-defined]
    whole = db.train("first", "y", **options(epochs=3))  # type: ignore[arg-type]
    parts = db.train("first", "y", **options(epochs=1)).train_on("second", 2)  # type: ignore[arg-type]
    for key, value in whole.parameters.items():
        np.testing.assert_allclose(parts.parameters[key], value, rtol=1e-9)


def test_rows_that_do_not_fit_are_refused(db: Database) -> None:
    model = db.train("SELECT x, x > 4 AS large FROM range(10) AS t(x)", "large", epochs=1)
    with pytest.raises(selectron.ColumnError, match="lacks 1 of the model's columns: 'x'"):
        model.train_on("SELECT 1 AS z, true AS large")
    with pytest.raises(selectron.ColumnError, match="'large' of the query is of type VARCHAR"):
        model.train_on("SELECT 1 AS x, 'maybe' AS large")
    worded = db.train("SELECT x, 'c' || x % 2 AS odd FROM range(10) AS t(x)", "odd", epochs=1)
    with pytest.raises(selectron.DataError, match="has classes that the model does not know: 'maybe'"):
        worded.train_on("SELECT 1 AS x, 'maybe' AS odd")
    with pytest.raises(selectron.DataError, match="none where 'large' is known"):
        model.train_on("SELECT 1 AS x, CAST(NULL AS BOOLEAN) AS large")
    with pytest.raises(selectron.ColumnError, match="1 values that are NULL, negative"):
        model.train_on("SELECT 1 AS x, true AS large, -1 AS w", row_weight="w")
    with pytest.raises(ConfigurationError, match="epochs is 0"):
        model.train_on("SELECT 1 AS x, true AS large", 0)
    assert model.train_on("SELECT 1 AS x, true AS large").record.epochs == 2


def test_a_row_of_weight_two_counts_as_two_rows(db: Database) -> None:
    weighted = "SELECT * FROM (VALUES (1.0, 1.0, 2), (3.0, 5.0, 1), (8.0, 2.0, 3)) AS t(x, y, w)"
    repeated = "SELECT x, y FROM (" + weighted + "), range(w)"
    plain = options(epochs=20, batch_size=None)
    one = db.train(weighted, "y", row_weight="w", **plain)  # type: ignore[arg-type]
    other = db.train(repeated, "y", **plain)  # type: ignore[arg-type]
    assert one.blueprint.encoding == other.blueprint.encoding
    (feature,) = one.blueprint.encoding.features
    assert isinstance(feature, NumberFeature)
    assert feature.center == pytest.approx(29 / 6, rel=1e-6)
    assert feature.scale == pytest.approx(math.sqrt(203 / 6 - (29 / 6) ** 2), rel=1e-6)
    for name, values in one.parameters.items():
        np.testing.assert_allclose(other.parameters[name], values, rtol=1e-9)


def test_weights_count_rows_with_nulls_out(db: Database) -> None:
    table = "SELECT * FROM (VALUES (1.0, 1.0, 2), (NULL, 5.0, 9), (8.0, 2.0, 3)) AS t(x, y, w)"
    model = db.train(table, "y", row_weight="w", **options(epochs=1))  # type: ignore[arg-type]
    (feature,) = model.blueprint.encoding.features
    assert isinstance(feature, NumberFeature)
    assert feature.center == pytest.approx(26 / 5, rel=1e-6)


def test_classes_can_be_named(db: Database) -> None:
    table = "SELECT x, CASE WHEN x > 4 THEN 'b' ELSE 'a' END AS c FROM range(10) AS t(x)"
    features = FeatureOptions(classes=("c", "b", "a"))
    model = db.train(table, "c", features=features, epochs=1, class_weight="balanced")
    assert model.labels == ("c", "b", "a")
    assert model.train_on("SELECT 20 AS x, 'c' AS c").record.epochs == 2
    with pytest.raises(TargetError, match="has 'b', which is not among the 2 classes"):
        db.train(table, "c", features=FeatureOptions(classes=("a", "c")), epochs=1)
    with pytest.raises(ConfigurationError, match="names a class twice"):
        FeatureOptions(classes=("a", "a"))

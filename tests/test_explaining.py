"""Explanations against computations by NumPy and PyTorch, the same on every engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sqlglot import exp

import selectron
from selectron.engines.base import Engine
from selectron.errors import ColumnError, ConfigurationError, DataError
from selectron.explaining.importance import start_of
from selectron.features.rows import shuffled

ENGINES = ("duckdb", "sqlite", "postgres")
OTHERS = ("sqlite", "postgres")

# A column of each kind, with NULLs; the target is one of the last two.
ROWS = """
SELECT i, CASE WHEN i % 7 = 0 THEN NULL ELSE (i * 37 % 101) / 10.0 END AS mass,
  CASE WHEN i % 11 = 0 THEN NULL WHEN i % 3 = 0 THEN 'oak' WHEN i % 3 = 1 THEN 'elm' ELSE 'ash' END AS tree,
  CASE WHEN i % 5 < 2 THEN 'north' ELSE 'south' END AS side,
  i % 4 = 1 AS wet,
  CASE WHEN i * 37 % 101 > 60 THEN 'high' WHEN i % 3 = 0 THEN 'mid' ELSE 'low' END AS kind,
  (i * 37 % 101) * 2.0 + i % 3 AS size
FROM range(80) AS t(i)
"""


def prepared(engine: Engine) -> str:
    """The same table on every engine, in the same order."""
    with selectron.connect() as db:
        frame = db.engine.frame(exp.select("*").from_(db.engine.relation(ROWS).source).order_by("i"), "arrow")
    engine.create_table("trees", exp.select("*").from_(engine.relation(frame).source))
    return "trees"


def classifier(engine: Engine, **options: Any) -> selectron.Model:
    features = selectron.FeatureOptions(exclude=("size", "i"), embed={"tree": 2})
    settings: dict[str, Any] = {
        "network": selectron.MLP([4, 3], activation="tanh"),
        "epochs": 6,
        "batch_size": 40,
        "features": features,
        "validation": 0,
        **options,
    }
    return selectron.Database(engine).train(prepared(engine), "kind", **settings)


def regressor(engine: Engine, target: Any = "size") -> selectron.Model:
    features = selectron.FeatureOptions(exclude=("kind", "i"))
    network = selectron.MLP([4], activation="relu")
    settings: dict[str, Any] = {"epochs": 6, "features": features, "validation": 0, "name": "size"}
    return selectron.Database(engine).train(prepared(engine), target, network=network, **settings)


def copied(model: selectron.Model, engine: Engine) -> selectron.Model:
    """The same model and table on another engine."""
    prepared(engine)
    return selectron.Database(engine).copy(model)


def close(left: Any, right: Any, tolerance: float = 1e-9) -> bool:
    """Whether rows are the same, their numbers to rounding."""
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(
            close(*pair, tolerance) for pair in zip(left, right, strict=True)
        )
    if isinstance(left, float):
        return bool(left == pytest.approx(right, rel=tolerance, abs=tolerance))
    return bool(left == right)


# ---------------------------------------------------------------------------------------- importance


@pytest.mark.parametrize("make", [classifier, regressor])
def test_importance_is_that_of_columns_shuffled_in_python(
    make: Callable[[Engine], selectron.Model], db: selectron.Database
) -> None:
    model = make(db.engine)
    score = "accuracy" if model.classes else "r2"
    frame: pd.DataFrame = db.engine.frame(exp.select("*").from_("trees"), "pandas")
    base = model.evaluate("trees")
    found = {row.column: row for row in model.importance("trees", repeats=3, seed=5).rows()}
    assert list(found) == sorted(found, key=lambda name: -found[name].loss)
    assert sorted(found) == ["mass", "side", "tree", "wet"]
    for name, row in found.items():
        losses, scores = [], []
        for repeat in (1, 2, 3):
            order = shuffled(len(frame), start_of(5, repeat)) - 1
            partner = np.empty(len(frame), dtype=int)
            partner[order] = np.roll(order, -1)
            assert sorted(partner) == list(range(len(frame)))
            other = model.evaluate(frame.assign(**{name: frame[name].to_numpy()[partner]}))
            losses.append(mean_loss(model, other) - mean_loss(model, base))
            scores.append((base[score] or 0.0) - (other[score] or 0.0))
        assert row.loss == pytest.approx(np.mean(losses), abs=1e-12)
        assert row.loss_deviation == pytest.approx(np.std(losses), abs=1e-12)
        assert row.score == pytest.approx(np.mean(scores), abs=1e-12)
        assert row.score_deviation == pytest.approx(np.std(scores), abs=1e-12)
        assert row.baseline_loss == pytest.approx(mean_loss(model, base), abs=1e-12)
        assert row.baseline_score == pytest.approx(base[score], abs=1e-12)


def mean_loss(model: selectron.Model, evaluation: selectron.Evaluation) -> float:
    if model.classes:
        return evaluation["log_loss"] or 0.0
    # The loss is of the scaled target.
    (scale,) = model.blueprint.encoding.target.scale  # type: ignore[union-attr]
    return (evaluation["mse"] or 0.0) / scale**2


@pytest.mark.parametrize("make", [classifier, regressor])
@pytest.mark.parametrize("name", OTHERS)
def test_importance_is_the_same_on_every_engine(
    name: str, make: Callable[[Engine], selectron.Model], engines: Callable[[str], Engine]
) -> None:
    original = make(engines("duckdb"))
    expected = original.importance("trees", repeats=2, seed=3)
    model = copied(original, engines(name))
    importance = model.importance("trees", repeats=2, seed=3)
    assert close(importance.rows(), expected.rows())
    assert not close(model.importance("trees", repeats=2, seed=4).rows(), expected.rows())
    importance.to_table("matters")
    assert len(model.engine.rows(exp.select("*").from_("matters"))) == 4
    assert importance.columns == list(importance.rows()[0]._fields)


def test_importance_is_of_the_held_out_rows_unless_others_are_named(db: selectron.Database) -> None:
    model = classifier(db.engine, validation=0.3, row_weight=None)
    expected = model.evaluate()["log_loss"]
    assert model.importance(repeats=1).rows()[0].baseline_loss == pytest.approx(expected)
    # Each row has a known target, and one row alone keeps its values.
    one = model.importance("SELECT * FROM trees WHERE i < 1 OR i = 3 AND kind IS NULL", repeats=2).rows()
    assert all(row.loss == row.loss_deviation == row.score == 0.0 for row in one)
    some = "SELECT * REPLACE (CASE WHEN i % 2 = 0 THEN kind END AS kind) FROM trees"
    assert model.importance(some, repeats=1).rows()[0].baseline_loss == pytest.approx(
        model.evaluate(some)["log_loss"]
    )


def test_importance_refuses_what_it_cannot_judge(db: selectron.Database) -> None:
    model = classifier(db.engine)
    with pytest.raises(DataError, match="no rows to explain"):
        model.importance("SELECT * FROM trees WHERE i < 0")
    with pytest.raises(DataError, match="No rows were held out"):
        model.importance()
    with pytest.raises(ColumnError, match="lacks 1 of the model's columns: 'kind'"):
        model.importance("SELECT * EXCLUDE (kind) FROM trees")
    with pytest.raises(DataError, match="no row with a known target"):
        model.importance("SELECT * REPLACE (NULL::TEXT AS kind) FROM trees")
    with pytest.raises(ConfigurationError, match="repeats is 0"):
        model.importance("trees", repeats=0)

"""Figures of quality by group and of calibration, against scikit-learn's on the same predictions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics
from sklearn.calibration import calibration_curve
from sqlglot import exp
from typer.testing import CliRunner

import selectron
from selectron.cli import app
from selectron.engines.base import Engine
from selectron.engines.duckdb import DuckDB
from selectron.errors import ColumnError, ConfigurationError

ENGINES = ("duckdb", "sqlite", "postgres")


def birds(engine: Engine, penguins: str) -> str:
    engine.create_table("birds", exp.select("*").from_(engine.relation(penguins).source))
    return "birds"


def trained(engine: Engine, penguins: str, target: Any = "species", **options: Any) -> selectron.Model:
    settings: dict[str, Any] = {"network": selectron.MLP([3]), "epochs": 4, "batch_size": 64, **options}
    return selectron.Database(engine).train(birds(engine, penguins), target, name="birds", **settings)


@cache
def original(target: str | tuple[str, ...], penguins: str) -> selectron.Model:
    """A model in DuckDB, trained once for all tests that only use it."""
    return trained(DuckDB(), penguins, target)


def on(
    name: str, target: str | tuple[str, ...], engines: Callable[[str], Engine], penguins: str
) -> selectron.Model:
    """The same model on an engine."""
    model = original(target, penguins)
    if name == "duckdb":
        return model
    engine = engines(name)
    birds(engine, penguins)
    return selectron.Database(engine).copy(model)


def close(left: Mapping[str, float | None], right: Mapping[str, float | None]) -> bool:
    """Whether figures are the same to rounding; those without a meaning are None in both."""
    return left.keys() == right.keys() and all(
        value == pytest.approx(right[name], rel=1e-12) if value is not None else right[name] is None
        for name, value in left.items()
    )


def predicted(model: selectron.Model, target: str) -> dict[str, list[Any]]:
    predictions = model.predict(f'SELECT * FROM birds WHERE "{target}" IS NOT NULL')
    return dict(zip(predictions.columns, map(list, zip(*predictions.rows(), strict=True)), strict=True))


@pytest.mark.parametrize("name", ENGINES)
def test_each_group_has_the_figures_of_its_rows_alone(
    name: str, engines: Callable[[str], Engine], penguins: str
) -> None:
    model = on(name, "species", engines, penguins)
    for by, condition in (("island", "= '{}'"), ("sex", "= '{}'")):
        evaluation = model.evaluate("birds", by=by)
        assert evaluation.metrics == pytest.approx(model.evaluate("birds").metrics, rel=1e-12)
        assert sum(own.rows for own in evaluation.groups.values()) == evaluation.rows == 344
        assert list(evaluation.groups)[-1] is None or by == "island"
        for value, own in evaluation.groups.items():
            chosen = "IS NULL" if value is None else condition.format(value)
            alone = model.evaluate(f'SELECT * FROM birds WHERE "{by}" {chosen}')
            assert close(own.metrics, alone.metrics)
            assert own.confusion == alone.confusion
            for label, figures in own.by_class.items():
                assert close(figures, alone.by_class[label])


@pytest.mark.parametrize("name", ENGINES)
def test_numbers_by_group_are_scikit_learns(
    name: str, engines: Callable[[str], Engine], penguins: str
) -> None:
    model = on(name, ("body_mass_g", "flipper_length_mm"), engines, penguins)
    found = predicted(model, "body_mass_g")
    groups = model.evaluate("birds", by="SEX").groups
    assert [None if value is None else str(value) for value in groups] == ["female", "male", None]
    for value, own in groups.items():
        places = [place for place, sex in enumerate(found["sex"]) if sex == value]
        for target in ("body_mass_g", "flipper_length_mm"):
            actual = [float(found[target][place]) for place in places]
            guess = [found[f"predicted_{target}"][place] for place in places]
            assert own.by_class[target] == pytest.approx(
                {
                    "mse": metrics.mean_squared_error(actual, guess),
                    "rmse": math.sqrt(metrics.mean_squared_error(actual, guess)),
                    "mae": metrics.mean_absolute_error(actual, guess),
                    "r2": metrics.r2_score(actual, guess),
                },
                rel=1e-9,
            )
    with pytest.raises(ConfigurationError, match="predicts numbers, and only probabilities"):
        model.evaluate("birds", calibration=True)


@pytest.mark.parametrize("name", ENGINES)
def test_calibration_is_scikit_learns(name: str, engines: Callable[[str], Engine], penguins: str) -> None:
    model = on(name, "species", engines, penguins)
    found = predicted(model, "species")
    for bins in (1, 4, 10):
        same_calibration(model, found, bins)


def same_calibration(model: selectron.Model, found: dict[str, list[Any]], bins: int) -> None:
    calibration = model.evaluate("birds", calibration=True, bins=bins).calibration
    assert calibration is not None
    right = np.array(found["species"]) == np.array(found["predicted_species"])
    cases: list[tuple[str | None, Any, Any]] = [
        (label, np.array(found["species"]) == label, np.array(found[f"probability_{label}"]))
        for label in model.classes
    ]
    confidence = np.max([probability for _, _, probability in cases], axis=0)
    for label, observed, probability in [(None, right, confidence), *cases]:
        own = [row for row in calibration.bins if row.about == label]
        fraction, mean = calibration_curve(observed, probability, n_bins=bins)
        np.testing.assert_allclose([row.fraction_observed for row in own], fraction, rtol=1e-12)
        np.testing.assert_allclose([row.mean_predicted for row in own], mean, rtol=1e-12)
        for row in own:
            inside = (probability > row.lower) & (probability <= row.upper)
            assert row.rows == inside.sum()
        error = sum(row.rows * abs(row.fraction_observed - row.mean_predicted) for row in own) / 344
        assert calibration.expected_error[label] == pytest.approx(error, rel=1e-12)
        if label is not None:
            expected = metrics.brier_score_loss(observed, probability)
            assert calibration.brier[label] == pytest.approx(expected, rel=1e-9)
    assert calibration.brier[None] == pytest.approx(sum(calibration.brier[c] for c in model.classes))


def test_two_classes_have_scikit_learns_brier_score(db: selectron.Database, penguins: str) -> None:
    query = f"SELECT *, species = 'Gentoo' AS gentoo FROM '{penguins}'"
    db.engine.create_table("birds", exp.select("*").from_(db.engine.relation(query).source))
    options = selectron.FeatureOptions(exclude=("species",))
    model = db.train("birds", "gentoo", features=options, epochs=2, network=selectron.MLP([2]))
    found = predicted(model, "gentoo")
    calibration = model.evaluate("birds", calibration=True).calibration
    assert calibration is not None
    expected = metrics.brier_score_loss(found["gentoo"], found["probability_true"])
    for about in (None, "true", "false"):
        assert calibration.brier[about] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", ENGINES)
def test_held_out_rows_are_told_apart_by_a_column_that_is_no_feature(
    name: str, engines: Callable[[str], Engine], penguins: str
) -> None:
    options = selectron.FeatureOptions(exclude=("year",))
    model = trained(engines(name), penguins, features=options)
    evaluation = model.evaluate(by="year")
    assert [int(year) for year in evaluation.groups] == [2007, 2008, 2009]
    assert sum(own.rows for own in evaluation.groups.values()) == evaluation.rows == 69
    for wrong in ("yeer", ""):
        with pytest.raises(ColumnError, match="no column"):
            model.evaluate(by=wrong)
        with pytest.raises(ColumnError, match="no column"):
            model.evaluate("birds", by=wrong)


def test_what_cannot_be_grouped_or_binned_is_refused(penguins: str) -> None:
    model = original("species", penguins)
    with pytest.raises(ColumnError, match="cannot be grouped by it"):
        model.evaluate("SELECT *, [1, 2] AS pair FROM birds", by="pair")
    for bins in (0, -1, 101):
        with pytest.raises(ConfigurationError, match="bins is"):
            model.evaluate("birds", calibration=True, bins=bins)
    assert model.evaluate("birds").groups == {}
    assert model.evaluate("birds").calibration is None
    evaluation = model.evaluate(
        "SELECT *, CASE WHEN year = 2007 THEN 'nan'::DOUBLE END AS n FROM birds", by="n"
    )
    assert [own.rows for own in evaluation.groups.values()] == [110, 234]
    assert model.evaluate("birds", by="species").groups["Adelie"]["accuracy"] is not None


def test_the_command_prints_groups_and_bins(tmp_path: Path, penguins: str) -> None:
    with selectron.connect(tmp_path / "birds.duckdb") as db:
        trained(db.engine, penguins)
    words = ["evaluate", str(tmp_path / "birds.duckdb"), "--model", "birds", "--table", "birds"]
    words += ["--by", "sex", "--calibration", "--bins", "5"]
    printed = CliRunner().invoke(app, words, catch_exceptions=False).output
    for word in ("female", "NULL", "mean predicted", "Brier score", "expected calibration error"):
        assert word in printed

"""Explanations against computations by NumPy and PyTorch, the same on every engine."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sqlglot import exp
from typer.testing import CliRunner

import selectron
from selectron.cli import app
from selectron.engines.base import Engine
from selectron.engines.duckdb import DuckDB
from selectron.errors import ColumnError, ConfigurationError, DataError
from selectron.explaining.importance import start_of
from selectron.features.kinds import EmbeddingFeature
from selectron.features.rows import shuffled
from selectron.features.targets import NumberTarget
from selectron.prediction import input_values

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


@cache
def original(make: Callable[[Engine], selectron.Model]) -> selectron.Model:
    """A model in DuckDB, trained once for all tests that only use it."""
    return make(DuckDB())


def on(
    name: str, make: Callable[[Engine], selectron.Model], engines: Callable[[str], Engine]
) -> selectron.Model:
    """The same model on an engine."""
    return original(make) if name == "duckdb" else copied(original(make), engines(name))


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
    make: Callable[[Engine], selectron.Model],
) -> None:
    model = original(make)
    score = "accuracy" if model.classes else "r2"
    frame: pd.DataFrame = model.engine.frame(exp.select("*").from_("trees"), "pandas")
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
    expected = original(make).importance("trees", repeats=2, seed=3)
    model = on(name, make, engines)
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


def test_importance_refuses_what_it_cannot_judge() -> None:
    model = original(classifier)
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


# -------------------------------------------------------------------------------------- attributions


def encoded(model: selectron.Model, source: str) -> dict[str, torch.Tensor]:
    """The rows of a query as the network is fed."""
    relation = model.engine.relation(source).source
    found = {}
    for name, units in input_values(model.blueprint).items():
        rows = model.engine.rows(exp.select(*units).from_(relation.copy()))
        found[name] = torch.tensor([list(map(float, row)) for row in rows], dtype=torch.float64)
    return found


def torch_logits(model: selectron.Model, blocks: dict[str, torch.Tensor]) -> torch.Tensor:
    """The network in PyTorch, on features and embedded vectors."""
    values = {key: torch.tensor(value) for key, value in model.parameters.items()}
    layers = model.blueprint.specification.network.layers
    last: torch.Tensor | None = None
    for layer in [*(f"hidden_{n}" for n in range(1, len(layers) + 1)), "output"]:
        if last is None:
            total = blocks["features"] @ values[f"{layer}.weights"]
            for name, block in blocks.items():
                if name != "features":
                    total = total + block @ values[f"{layer}.weights: {name.removeprefix('index: ')}"]
        else:
            total = last @ values[f"{layer}.weights"]
        total = total + values[f"{layer}.biases"]
        if layer == "output":
            return total
        last = torch.tanh(total) if layers[0].activation == "tanh" else torch.relu(total)
    raise AssertionError


def by_torch(
    model: selectron.Model, source: str, about: str | None, baseline: str, steps: int
) -> list[tuple[int, str, str, float]]:
    """Integrated gradients by PyTorch's autograd, at the same midpoints."""

    def blocks_of(query: str) -> dict[str, torch.Tensor]:
        inputs = encoded(model, query)
        for e in model.blueprint.inputs.embeddings:
            vectors = torch.tensor(model.parameters[f"{e.layer}.vectors"])
            inputs[e.index] = vectors[inputs[e.index][:, 0].long()]
        return inputs

    ends = blocks_of(source)
    starts = {
        name: torch.zeros_like(block[:1]) if baseline == "zeros" else block.mean(0, keepdim=True)
        for name, block in (ends if baseline in ("zeros", "mean") else blocks_of(baseline)).items()
    }
    target = model.blueprint.encoding.target
    logits = torch_logits(model, ends)
    if isinstance(target, NumberTarget):
        place = list(target.columns).index(about or target.columns[0])
        index = torch.full((len(logits),), place)
        scale = target.scale[place]
    else:
        scale = 1.0
        if logits.shape[1] == 1:
            logits = torch.hstack([-logits, logits])
        index = logits.argmax(1) if about is None else torch.full((len(logits),), model.classes.index(about))
    totals = {name: torch.zeros_like(block) for name, block in ends.items()}
    for step in range(steps):
        along = (step + 0.5) / steps
        points = {
            name: (starts[name] + along * (ends[name] - starts[name])).requires_grad_() for name in ends
        }
        logits = torch_logits(model, points)
        if logits.shape[1] == 1 and model.classes:
            logits = torch.hstack([-logits, logits])
        output = (logits * scale).gather(1, index[:, None]).sum()
        for name, gradient in zip(points, torch.autograd.grad(output, list(points.values())), strict=True):
            totals[name] += gradient / steps
    shares = {name: totals[name] * (ends[name] - starts[name]) for name in ends}
    found, start = {}, 0
    for feature in model.blueprint.encoding.features:
        if isinstance(feature, EmbeddingFeature):
            found[feature.column] = shares[f"index: {feature.column}"].sum(1)
        else:
            found[feature.column] = shares["features"][:, start : start + len(feature.units)].sum(1)
            start += len(feature.units)
    return [
        (row + 1, model.labels[int(index[row])], name, float(values[row]))
        for row in range(len(index))
        for name, values in found.items()
    ]


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (classifier, {"about": None, "baseline": "mean", "steps": 8}),
        (classifier, {"about": "mid", "baseline": "SELECT * FROM trees WHERE i = 3", "steps": 5}),
        (regressor, {"about": None, "baseline": "zeros", "steps": 7}),
    ],
)
@pytest.mark.parametrize("name", ENGINES)
def test_attributions_are_those_of_pytorchs_autograd(
    name: str,
    make: Callable[[Engine], selectron.Model],
    options: dict[str, Any],
    engines: Callable[[str], Engine],
) -> None:
    expected = by_torch(original(make), "trees", **options)
    model = on(name, make, engines)
    found = model.attributions("trees", **options)
    assert close([tuple(row) for row in found.rows()], expected)
    assert found.columns == ["row", "about", "column", "attribution"]
    found.to_table("why", replace=True)
    assert len(model.engine.rows(exp.select("*").from_("why"))) == len(expected) == 320


@pytest.mark.parametrize("name", ENGINES)
def test_attributions_sum_to_the_change_of_the_output(name: str, engines: Callable[[str], Engine]) -> None:
    logits = torch_logits_of(original(classifier), "trees")
    model = on(name, classifier, engines)
    errors = []
    for steps in (20, 200):
        found = model.attributions("trees", about="high", steps=steps)
        complete = found.completeness()
        sums = np.zeros(80)
        for row in found.rows():
            sums[row.row - 1] += row.attribution
        place = model.classes.index("high")
        np.testing.assert_allclose([row.output for row in complete], logits[:, place], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose([row.total for row in complete], sums, rtol=1e-9, atol=1e-12)
        assert len({row.baseline for row in complete}) == 1
        for own in complete:
            assert own.about == "high"
            assert own.error == pytest.approx(own.total - (own.output - own.baseline), abs=1e-12)
        errors.append(max(abs(row.error) for row in complete))
    # The midpoint rule's error goes with the square of the step.
    assert errors[1] < 1e-5
    assert errors[1] < errors[0] / 50


def torch_logits_of(model: selectron.Model, source: str) -> Any:
    blocks = encoded(model, source)
    for e in model.blueprint.inputs.embeddings:
        vectors = torch.tensor(model.parameters[f"{e.layer}.vectors"])
        blocks[e.index] = vectors[blocks[e.index][:, 0].long()]
    return torch_logits(model, blocks).numpy()


def test_a_linear_network_is_attributed_exactly_by_one_step(db: selectron.Database) -> None:
    table = prepared(db.engine)
    model = db.train(table, ["size", "mass"], network=selectron.MLP([]), epochs=5, validation=0, name="m")
    for about in ("size", "mass"):
        found = model.attributions(table, about=about, steps=1)
        assert max(abs(row.error) for row in found.completeness()) < 1e-9
        predicted = [row[-2 if about == "size" else -1] for row in model.predict(table).rows()]
        np.testing.assert_allclose([row.output for row in found.completeness()], predicted, rtol=1e-12)
    with pytest.raises(ConfigurationError, match="predicts 2 numbers, and none is named"):
        model.attributions(table)


def test_attributions_of_two_classes_are_those_of_a_logit_and_its_negative(db: selectron.Database) -> None:
    table = prepared(db.engine)
    model = db.train(table, "wet", network=selectron.MLP([3]), epochs=3, validation=0)
    yes, no = (model.attributions(table, about=about, steps=4).rows() for about in ("true", "false"))
    assert close([row.attribution for row in yes], [-row.attribution for row in no])
    own = model.attributions(table, steps=4).rows()
    predicted = [str(row[-3]).lower() for row in model.predict(table).rows()]
    assert [row.about for row in own[:: len(own) // 80]] == predicted


def test_odd_rows_are_attributed_and_bad_requests_are_refused() -> None:
    model = original(classifier)
    odd = "SELECT NULL::DOUBLE AS mass, 'unheard of' AS tree, NULL::TEXT AS side, NULL::BOOLEAN AS wet"
    (row,) = model.attributions(odd, baseline="trees", steps=400).completeness()
    assert abs(row.error) < 1e-5
    assert close(
        [tuple(row) for row in model.attributions(odd, baseline="trees", steps=3).rows()],
        by_torch(model, odd, None, "trees", 3),
    )
    for options, error, message in (
        ({"about": "huge"}, ConfigurationError, "no class 'huge'. It has high, low, mid"),
        ({"steps": 0}, ConfigurationError, "steps is 0"),
        ({"baseline": "SELECT * FROM trees WHERE i < 0"}, DataError, "has no rows"),
        ({"baseline": "SELECT mass FROM trees"}, ColumnError, "lacks 3 of the model's columns"),
        ({"baseline": "nowhere"}, DataError, "no table, view or file"),
    ):
        with pytest.raises(error, match=message):
            model.attributions("trees", **options)
    with pytest.raises(DataError, match="no rows to explain"):
        model.attributions("SELECT * FROM trees WHERE i < 0")
    with pytest.raises(ColumnError, match="lacks 1 of the model's columns: 'tree'"):
        model.attributions("SELECT * EXCLUDE (tree) FROM trees")


# ---------------------------------------------------------------------------------------- dependence


def means_of_predictions(
    model: selectron.Model, column: str, values: list[Any]
) -> list[tuple[int, Any, str, float]]:
    """Partial dependence by predicting changed data frames."""
    frame: pd.DataFrame = model.engine.frame(exp.select("*").from_("trees"), "pandas")
    found = []
    for place, value in enumerate(values):
        changed = frame.assign(**{column: pd.Series([value] * len(frame), dtype=frame[column].dtype)})
        predictions = model.predict(changed)
        outputs = predictions.df()[predictions.columns[-len(model.labels) :]]
        found += [
            (place, value, label, float(outputs.iloc[:, number].mean()))
            for number, label in enumerate(model.labels)
        ]
    return found


@pytest.mark.parametrize("make", [classifier, regressor])
@pytest.mark.parametrize("name", ENGINES)
def test_dependence_is_the_mean_of_predictions_of_changed_rows(
    name: str, make: Callable[[Engine], selectron.Model], engines: Callable[[str], Engine]
) -> None:
    mass = sorted(float(i * 37 % 101) / 10.0 for i in range(80) if i % 7)
    grids: dict[str, list[Any]] = {
        "mass": [float(v) for v in np.percentile(mass, np.linspace(0, 100, 5), method="lower")],
        "tree": ["ash", "elm", "oak"],
        "wet": [False, True],
    }
    model = on(name, make, engines)
    for column, values in grids.items():
        found = model.dependence(column.upper(), "trees", points=5)
        assert close(
            [tuple(row) for row in found.rows()], means_of_predictions(original(make), column, values)
        )
        assert found.columns == ["place", "value", "about", "predicted"]
    curves = model.dependence("tree", "trees").curves
    rows = curves.rows()
    assert len(rows) == 80 * 3 * len(model.labels)
    for mean in model.dependence("tree", "trees").rows():
        own = [row.predicted for row in rows if (row.value, row.about) == (mean.value, mean.about)]
        assert len(own) == 80
        assert np.mean(own) == pytest.approx(mean.predicted, rel=1e-12)
    # A row's own value gives its own prediction.
    trees = model.engine.rows(exp.select("tree").from_("trees").order_by("i"))
    predicted = original(make).predict("trees").rows()
    for row in rows:
        if trees[row.row - 1][0] == row.value:
            outputs = predicted[row.row - 1][-len(model.labels) :]
            assert row.predicted == pytest.approx(outputs[model.labels.index(row.about)], rel=1e-9)
    curves.to_table("curves", replace=True)
    assert len(model.engine.rows(exp.select("*").from_("curves"))) == len(rows)


@pytest.mark.parametrize("name", ENGINES)
def test_a_grid_can_be_given_with_nulls_and_unheard_of_values(
    name: str, engines: Callable[[str], Engine]
) -> None:
    model = on(name, classifier, engines)
    for column, grid in (
        ("mass", [3, 1e300, -2.5]),
        ("tree", ["oak", "unheard of"]),
        ("side", ["south", None]),
        ("wet", [True, None]),
    ):
        found = model.dependence(column, "trees", grid=grid).rows()
        values = [row.value for row in found[::3]]
        assert values == grid
        expected = means_of_predictions(original(classifier), column, grid) if None not in grid else None
        if expected is not None:
            assert close([row.predicted for row in found], [row[3] for row in expected])
    null = "SELECT mass, tree, wet, CAST(NULL AS TEXT) AS side FROM trees"
    expected_rows = np.array([row[-3:] for row in model.predict(null).rows()]).mean(0)
    found = model.dependence("side", "trees", grid=[None]).rows()
    np.testing.assert_allclose([row.predicted for row in found], expected_rows, rtol=1e-9)


@pytest.mark.parametrize("name", ENGINES)
def test_moments_have_quantiles_and_can_be_given(name: str, engines: Callable[[str], Engine]) -> None:
    engine = engines(name)
    days = pd.date_range("2024-01-01", periods=40, freq="D")
    frame = pd.DataFrame({"day": days, "sales": np.arange(40.0) + days.day_of_week})
    # As a user declares it: SQLite knows a moment by its column's type.
    execute = engine.connection.execute  # type: ignore[attr-defined]
    execute("CREATE TABLE shop (day TIMESTAMP, sales DOUBLE PRECISION)")
    for day, sales in zip(frame["day"], frame["sales"], strict=True):
        execute(f"INSERT INTO shop VALUES ('{day}', {sales})")
    with selectron.connect() as db:
        shop = db.train(frame, "sales", network=selectron.MLP([3]), epochs=3, validation=0)
        model = selectron.Database(engine).copy(shop)
        found = model.dependence("day", "shop", points=3).rows()
        assert [str(row.value)[:10] for row in found] == ["2024-01-01", "2024-01-20", "2024-02-09"]
        for row, date in zip(found, days[[0, 19, 39]], strict=True):
            predicted = shop.predict(pd.DataFrame({"day": [date]})).rows()[0][-1]
            assert row.predicted == pytest.approx(predicted, rel=1e-9)
        again = model.dependence("day", "shop", grid=[days[0].to_pydatetime(), days[19].date()]).rows()
        assert close([row.predicted for row in again], [row.predicted for row in found[:2]])


def test_dependence_refuses_what_makes_no_sense() -> None:
    model = original(classifier)
    for options, error, message in (
        ({"column": "leaf"}, ColumnError, "no feature 'leaf'. Its features are mass, tree, side, wet"),
        ({"column": "kind"}, ColumnError, "no feature 'kind'"),
        ({"points": 1}, ConfigurationError, "points is 1"),
        ({"grid": []}, ConfigurationError, "grid of 'mass' is"),
        ({"grid": "abc"}, ConfigurationError, "grid of 'mass' is"),
        (
            {"grid": ["heavy"]},
            ConfigurationError,
            "has the value 'heavy'. Give values of its kind: boolean or",
        ),
        ({"column": "wet", "grid": [2.5]}, ConfigurationError, "has the value 2.5"),
        ({"source": "SELECT * FROM trees WHERE mass IS NULL"}, DataError, "'mass' of the query has no value"),
        ({"source": "SELECT * FROM trees WHERE i < 0"}, DataError, "no rows to explain"),
        ({"source": "SELECT mass FROM trees"}, ColumnError, "lacks 3 of the model's columns"),
    ):
        arguments: dict[str, Any] = {"column": "mass", "source": "trees", **options}
        with pytest.raises(error, match=message):
            model.dependence(**arguments)


# ---------------------------------------------------------------------------------------- commands


def run(*arguments: str, folder: Path) -> str:
    """What a command prints."""
    words = [arguments[0], str(folder / "trees.duckdb"), "--model", "kind", *arguments[1:]]
    return CliRunner().invoke(app, words, catch_exceptions=False).output


def test_commands_print_and_write_what_python_gives(tmp_path: Path) -> None:
    with selectron.connect(tmp_path / "trees.duckdb") as db:
        model = classifier(db.engine)
        importance = model.importance("trees", repeats=2, seed=1).rows()
        attributions = model.attributions("trees", about="mid", baseline="zeros", steps=5)
        dependence = model.dependence("tree", "trees")
        kept: dict[str, Sequence[tuple[Any, ...]]] = {
            "attribute": attributions.rows(),
            "dependence": dependence.rows(),
            "curves": dependence.curves.rows(),
        }
    printed = run("importance", "--table", "trees", "--repeats", "2", "--seed", "1", folder=tmp_path)
    rows = list(csv.reader(printed.splitlines()))
    assert rows[0] == list(importance[0]._fields)
    assert [(row[0], float(row[1])) for row in rows[1:]] == [(row.column, row.loss) for row in importance]
    attribute = ["attribute", "--about", "mid", "--baseline", "zeros", "--steps", "5", "--output", "why"]
    assert run(*attribute, folder=tmp_path) == "Wrote why.\n"
    with pytest.raises(DataError, match="already"):
        run(*attribute, folder=tmp_path)
    run(*attribute, "--replace", folder=tmp_path)
    run("dependence", "tree", "--output", str(tmp_path / "by_tree.csv"), folder=tmp_path)
    run("dependence", "tree", "--individual", "--output", "curves", folder=tmp_path)
    with selectron.connect(tmp_path / "trees.duckdb") as db:
        for name, source in (("attribute", "why"), ("dependence", "by_tree.csv"), ("curves", "curves")):
            path = str(tmp_path / source) if source.endswith(".csv") else source
            written = db.engine.rows(exp.select("*").from_(db.engine.relation(path).source))
            assert close(sorted(written), sorted(tuple(row) for row in kept[name]))

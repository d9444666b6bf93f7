"""Networks of other libraries: brought in, trained on, taken out, and what is refused by name."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_transformer
from sklearn.datasets import load_iris
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
)
from torch import nn

import selectron
from conftest import PENGUINS
from selectron.errors import ConfigurationError

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

DOUBLE, SINGLE = 1e-9, 1e-5
URLS = {"duckdb": ":memory:", "sqlite": "sqlite:///:memory:"}
NUMBERS = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]


@pytest.fixture(params=URLS)
def database(request: pytest.FixtureRequest) -> Iterator[selectron.Database]:
    with selectron.connect(URLS[request.param]) as found:
        yield found


@cache
def birds() -> pd.DataFrame:
    """The penguins, a boolean column with NULLs and one without among them."""
    frame = pd.read_csv(PENGUINS)
    frame["late"] = frame["year"] > 2008
    frame["tall"] = [None if row % 7 == 0 else bool(row % 3) for row in range(len(frame))]
    return frame


@cache
def flowers() -> pd.DataFrame:
    iris = load_iris(as_frame=True)
    frame = iris.frame.rename(columns={name: name.replace(" (cm)", "") for name in iris.feature_names})
    frame["species"] = iris.target_names[iris.target]
    return frame


FLOWERS = ["sepal length", "sepal width", "petal length", "petal width"]


def probabilities(model: selectron.Model, rows: object) -> Any:
    return model.predict(rows).df()[[f"probability_{label}" for label in model.classes]].to_numpy()


def numbers(model: selectron.Model, rows: object) -> Any:
    return model.predict(rows).df()[model.predicted].to_numpy(dtype=float)


def goes_on(model: selectron.Model, rows: object, epochs: int = 3) -> selectron.Model:
    """Train on in SQL, and make sure that something was learned."""
    trained = model.train(epochs, source=rows)
    assert trained.record.epochs == (model.record.epochs or 0) + epochs
    assert trained.log[-1].training_loss < trained.log[0].training_loss
    return trained


# scikit-learn ---------------------------------------------------------------------------------


def preprocessing(**one_hot: Any) -> ColumnTransformer:
    return make_column_transformer(
        (make_pipeline(SimpleImputer(add_indicator=True), StandardScaler()), NUMBERS),
        (OneHotEncoder(**{"handle_unknown": "ignore", **one_hot}), ["island", "sex"]),
        (MinMaxScaler((-1, 1)), ["year"]),
        remainder="drop",
    )


def unheard_of(frame: pd.DataFrame) -> pd.DataFrame:
    """Some rows of an island that no training row had."""
    changed = frame.copy()
    changed.loc[changed.index[3:6], "island"] = "Atlantis"
    return changed


@pytest.mark.parametrize(
    "one_hot",
    [
        {},
        {"drop": "if_binary"},
        {"handle_unknown": "infrequent_if_exist", "min_frequency": 60},
        {"handle_unknown": "infrequent_if_exist", "max_categories": 2, "drop": "first"},
    ],
    ids=str,
)
def test_a_pipeline_of_penguins(database: selectron.Database, one_hot: dict[str, Any]) -> None:
    frame = birds()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = make_pipeline(
            preprocessing(**one_hot),
            MLPClassifier((6, 4), max_iter=40, learning_rate_init=0.02, random_state=1),
        ).fit(frame, frame["species"])
        rows = unheard_of(frame)
        expected = fitted.predict_proba(rows)
    # The network is neither sure of everything nor of nothing.
    assert 0.01 < np.median(expected.max(axis=1)) < 0.9999
    model = database.import_model(fitted, frame, "species", optimizer=selectron.Adam(0.005))
    assert model.record.epochs == 0
    # The imported features are looked up by name, whatever the rows have besides.
    drawn = rows.drop(columns="species")
    np.testing.assert_allclose(probabilities(model, drawn), expected, rtol=0, atol=DOUBLE)
    goes_on(model, frame)


@pytest.mark.parametrize(
    ("outputs", "activation"),
    [("species", "logistic"), ("binary", "tanh"), ("numbers", "relu"), ("two", "identity")],
)
def test_every_kind_of_perceptron(database: selectron.Database, outputs: str, activation: str) -> None:
    frame = flowers()
    regresses = outputs in ("numbers", "two")
    targets = {"species": "species", "binary": "wide", "numbers": "petal width", "two": FLOWERS[2:]}[outputs]
    names = FLOWERS[:2] if regresses else FLOWERS
    frame = frame.assign(wide=frame["petal width"] > 1.5)
    estimator = (MLPRegressor if regresses else MLPClassifier)(
        hidden_layer_sizes=(7, 5), activation=activation, max_iter=60, random_state=3
    )
    estimator.fit(frame[names], frame[targets])
    model = database.import_model(estimator, frame, targets, validation=0)
    if regresses:
        expected = estimator.predict(frame[names]).reshape(len(frame), -1)
        np.testing.assert_allclose(numbers(model, frame), expected, rtol=0, atol=DOUBLE)
    else:
        expected = estimator.predict_proba(frame[names])
        np.testing.assert_allclose(probabilities(model, frame), expected, rtol=0, atol=DOUBLE)
        said = model.predict(frame).df()[model.predicted[0]]
        # SQLite's booleans are numbers.
        wanted = estimator.predict(frame[names])
        assert list(said) == list(wanted.astype(said.dtype) if outputs == "binary" else wanted)
    goes_on(model, frame)


@pytest.mark.parametrize("target", ["species", "wide", "petal width"])
def test_linear_models(db: selectron.Database, target: str) -> None:
    frame = flowers().assign(wide=flowers()["petal width"] > 1.5)
    names = FLOWERS[:3]
    regresses = target == "petal width"
    estimator = make_pipeline(RobustScaler(), LinearRegression() if regresses else LogisticRegression())
    estimator.fit(frame[names].to_numpy(), frame[target])
    model = db.import_model(estimator, frame, target, features=names)
    if regresses:
        expected = estimator.predict(frame[names].to_numpy())[:, None]
        np.testing.assert_allclose(numbers(model, frame), expected, rtol=0, atol=DOUBLE)
    else:
        expected = estimator.predict_proba(frame[names].to_numpy())
        np.testing.assert_allclose(probabilities(model, frame), expected, rtol=0, atol=DOUBLE)
    assert model.train(2, source=frame).record.epochs == 2


@pytest.mark.parametrize(
    "transformer",
    [
        make_column_transformer((StandardScaler(), [0, 1]), remainder="passthrough"),
        make_column_transformer((MaxAbsScaler(), slice(0, 2)), remainder="drop"),
        make_column_transformer((MinMaxScaler(), [True, False, True, False]), (RobustScaler(), [1])),
        # The same column twice, filled with other values, scaled otherwise.
        FeatureUnion(
            [
                ("mean", make_pipeline(SimpleImputer(), StandardScaler())),
                ("zero", SimpleImputer(strategy="constant", fill_value=0, add_indicator=True)),
            ]
        ),
        make_pipeline(StandardScaler(), SimpleImputer(strategy="median"), FunctionTransformer()),
    ],
    ids=["numbers", "slice", "mask", "union", "scaled before filled"],
)
def test_arrangements_of_numbers(db: selectron.Database, transformer: Any) -> None:
    frame = birds()[[*NUMBERS, "species"]]
    whole = frame if "Imputer" in str(transformer) else frame.dropna()
    estimator = make_pipeline(transformer, MLPClassifier((4,), max_iter=20, random_state=0))
    estimator.fit(whole[NUMBERS].to_numpy(), whole["species"])
    model = db.import_model(estimator, whole, "species", features=NUMBERS, validation=0)
    expected = estimator.predict_proba(whole[NUMBERS].to_numpy())
    np.testing.assert_allclose(probabilities(model, whole), expected, rtol=0, atol=DOUBLE)
    assert model.train(1, source=whole).record.epochs == 1


def test_categories_of_every_type(database: selectron.Database) -> None:
    frame = birds()
    encoder = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["year", "late"]),
        (OneHotEncoder(handle_unknown="ignore"), ["sex"]),
        (make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder()), ["sex"]),
        (make_pipeline(SimpleImputer(strategy="constant", fill_value="none"), OrdinalEncoder()), ["sex"]),
        (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), ["island"]),
        ("passthrough", ["late"]),
    )
    estimator = make_pipeline(encoder, MLPClassifier((4,), max_iter=80, random_state=0))
    estimator.fit(frame, frame["species"])
    model = database.import_model(estimator, frame, "species", validation=0)
    rows = unheard_of(frame).drop(columns="species")
    expected = estimator.predict_proba(rows)
    np.testing.assert_allclose(probabilities(model, rows), expected, rtol=0, atol=DOUBLE)
    assert model.train(1, source=frame).record.epochs == 1


def test_a_boolean_with_nulls_is_a_number_too(db: selectron.Database) -> None:
    frame = birds()[["tall", "species"]]
    as_numbers = frame[["tall"]].astype(float)
    estimator = make_pipeline(
        SimpleImputer(), StandardScaler(), MLPClassifier((3,), max_iter=20, random_state=0)
    )
    estimator.fit(as_numbers.to_numpy(), frame["species"])
    model = db.import_model(estimator, frame, "species", features=["tall"], validation=0)
    assert model.blueprint.encoding.units == ("tall", "tall is null")
    expected = estimator.predict_proba(as_numbers.to_numpy())
    np.testing.assert_allclose(probabilities(model, frame), expected, rtol=0, atol=DOUBLE)


def test_a_target_that_was_scaled(db: selectron.Database) -> None:
    frame = flowers()
    estimator = TransformedTargetRegressor(
        make_pipeline(StandardScaler(), MLPRegressor(hidden_layer_sizes=(5,), max_iter=80, random_state=0)),
        transformer=StandardScaler(),
    ).fit(frame[FLOWERS[:3]].to_numpy(), frame["petal width"])
    model = db.import_model(estimator, frame, "petal width", features=FLOWERS[:3])
    expected = estimator.predict(frame[FLOWERS[:3]].to_numpy())[:, None]
    np.testing.assert_allclose(numbers(model, frame), expected, rtol=0, atol=DOUBLE)
    goes_on(model, frame)


def test_the_first_layer_is_the_original_one(db: selectron.Database) -> None:
    # So that training goes on as it would have there.
    frame = birds().dropna()
    estimator = make_pipeline(StandardScaler(), MLPClassifier((4,), max_iter=5, random_state=0))
    estimator.fit(frame[NUMBERS], frame["species"])
    model = db.import_model(estimator, frame, "species")
    np.testing.assert_array_equal(model.parameters["hidden_1.weights"], estimator[-1].coefs_[0])
    np.testing.assert_array_equal(model.encoded(frame).array(), estimator[0].transform(frame[NUMBERS]))


# What a model can do --------------------------------------------------------------------------


def test_an_imported_model_is_a_model_like_any_other(db: selectron.Database, tmp_path: Path) -> None:
    frame = birds()
    estimator = make_pipeline(preprocessing(), MLPClassifier((5,), max_iter=30, random_state=0))
    estimator.fit(frame, frame["species"])
    model = db.import_model(
        estimator, str(PENGUINS), "species", name="brought", class_weight="balanced", patience=3
    )
    assert db.model("brought").record.source == f"file '{PENGUINS}'"
    accuracy = (estimator.predict(frame) == frame["species"]).mean()
    assert model.evaluate(str(PENGUINS))["accuracy"] == pytest.approx(accuracy)
    assert model.evaluate().rows == model.record.validation_rows > 0
    assert "WITH" in model.sql("predict")
    assert len(db.engine.rows(model.predict(str(PENGUINS)).query)) == len(frame)
    model.predict(str(PENGUINS)).to_view("scored")
    before = probabilities(model, str(PENGUINS))
    trained = model.train(3)
    after = probabilities(trained, str(PENGUINS))
    assert abs(after - before).max() > 1e-4
    viewed = db.engine.frame(selectron_query("scored"), "pandas")
    np.testing.assert_array_equal(viewed["probability_Adelie"], after[:, 0])
    # The statement that is printed trains from the imported weights.
    assert "WITH RECURSIVE" in trained.sql("train")
    with selectron.connect(tmp_path / "other.sqlite") as other:
        copied = other.copy(trained)
        np.testing.assert_allclose(probabilities(copied, frame), after, rtol=0, atol=1e-12)
    assert db.import_model(estimator, str(PENGUINS), "species", name="brought").version == 2


def selectron_query(name: str) -> Any:
    from sqlglot import exp

    return exp.select("*").from_(exp.to_table(name))


def test_training_on_is_what_pytorch_does(db: selectron.Database) -> None:
    frame = flowers()[[*FLOWERS, "target"]]
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    model = db.import_model(
        network,
        frame,
        "target",
        features=FLOWERS,
        optimizer=selectron.SGD(0.05),
        batch_size=None,
        validation=0,
    )
    trained = model.train(5, source=frame)
    inputs, labels = torch.tensor(frame[FLOWERS].to_numpy()), torch.tensor(frame["target"].to_numpy())
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    for _ in range(5):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(inputs), labels).backward()
        optimizer.step()
    expected = torch.softmax(network(inputs), dim=1).detach().numpy()
    np.testing.assert_allclose(probabilities(trained, frame), expected, rtol=0, atol=1e-9)


# PyTorch --------------------------------------------------------------------------------------

ACTIVATIONS: dict[str, nn.Module] = {
    "ReLU": nn.ReLU(),
    "LeakyReLU": nn.LeakyReLU(),
    "ELU": nn.ELU(),
    "SELU": nn.SELU(),
    "GELU tanh": nn.GELU(approximate="tanh"),
    "SiLU": nn.SiLU(),
    "Sigmoid": nn.Sigmoid(),
    "Tanh": nn.Tanh(),
    "Softplus": nn.Softplus(),
    "Identity": nn.Identity(),
}


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_of_pytorch(db: selectron.Database, activation: str) -> None:
    torch.manual_seed(1)
    network = nn.Sequential(
        nn.Linear(4, 5), ACTIVATIONS[activation], nn.Dropout(0.1), nn.Linear(5, 3), nn.Softmax(dim=1)
    ).double()
    frame = flowers()
    classes = ["setosa", "versicolor", "virginica"]
    model = db.import_model(network, frame, "species", features=FLOWERS, classes=classes, validation=0)
    expected = network.eval()(torch.tensor(frame[FLOWERS].to_numpy())).detach().numpy()
    np.testing.assert_allclose(probabilities(model, frame), expected, rtol=0, atol=DOUBLE)
    assert model.blueprint.specification.network.layers[0].dropout == (
        0.1 if activation != "Identity" else 0.0
    )
    goes_on(model, frame)


@pytest.mark.parametrize("ending", ["one logit", "sigmoid", "two logits", "softmax", "log softmax"])
def test_two_classes(db: selectron.Database, ending: str) -> None:
    torch.manual_seed(2)
    outputs = 1 if ending in ("one logit", "sigmoid") else 2
    ends = {"sigmoid": [nn.Sigmoid()], "softmax": [nn.Softmax(dim=-1)], "log softmax": [nn.LogSoftmax(dim=1)]}
    network = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, outputs)).double()
    whole = nn.Sequential(network, *ends.get(ending, []))
    frame = flowers().assign(wide=flowers()["petal width"] > 1.5)
    model = db.import_model(whole, frame, "wide", features=FLOWERS, classes=[False, True])
    logits = network(torch.tensor(frame[FLOWERS].to_numpy()))
    second = torch.sigmoid(logits[:, 0]) if outputs == 1 else torch.softmax(logits, dim=1)[:, 1]
    np.testing.assert_allclose(
        probabilities(model, frame)[:, 1], second.detach().numpy(), rtol=0, atol=DOUBLE
    )
    assert model.parameters["output.weights"].shape == (5, 1)
    # With a cross-entropy of two logits, it has two.
    kept = db.import_model(
        whole,
        frame,
        "wide",
        name="two",
        features=FLOWERS,
        classes=[False, True],
        loss=selectron.CrossEntropy(),
    )
    assert kept.parameters["output.weights"].shape == (5, 2)
    np.testing.assert_allclose(probabilities(kept, frame)[:, 1], second.detach().numpy(), rtol=0, atol=DOUBLE)


def test_single_precision_and_preprocessing_that_is_given(database: selectron.Database) -> None:
    frame = birds()
    transformer = preprocessing().fit(frame)
    encoded = torch.tensor(np.asarray(transformer.transform(frame)), dtype=torch.float32)
    torch.manual_seed(3)
    network = nn.Sequential(nn.Linear(encoded.shape[1], 6), nn.SELU(), nn.Linear(6, 3))
    model = database.import_model(
        network, frame, "species", preprocessing=transformer, classes=["Adelie", "Chinstrap", "Gentoo"]
    )
    expected = torch.softmax(network(encoded), dim=1).detach().numpy()
    np.testing.assert_allclose(probabilities(model, frame), expected, rtol=0, atol=SINGLE)
    goes_on(model, frame)


def test_several_numbers_and_an_activation_at_the_end(db: selectron.Database) -> None:
    frame = flowers()
    scaler = StandardScaler().fit(frame[FLOWERS[:2]])
    torch.manual_seed(4)
    network = nn.Sequential(nn.Flatten(), nn.Linear(2, 6), nn.SELU(), nn.Linear(6, 2), nn.Softplus())
    model = db.import_model(network, frame, FLOWERS[2:], preprocessing=scaler)
    inputs = torch.tensor(scaler.transform(frame[FLOWERS[:2]]), dtype=torch.float32)
    np.testing.assert_allclose(numbers(model, frame), network(inputs).detach().numpy(), rtol=0, atol=SINGLE)
    goes_on(model, frame)


def test_torch_files_run_no_code(db: selectron.Database, tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(4, 3), nn.ELU(), nn.Linear(3, 3), nn.Softmax(dim=1))
    torch.save(network, tmp_path / "network.pt")
    model = db.import_model(tmp_path / "network.pt", flowers(), "target", features=FLOWERS)
    expected = network(torch.tensor(flowers()[FLOWERS].to_numpy(), dtype=torch.float32)).detach().numpy()
    np.testing.assert_allclose(probabilities(model, flowers()), expected, rtol=0, atol=SINGLE)
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    with pytest.raises(ConfigurationError, match="holds weights and no layers"):
        db.import_model(tmp_path / "weights.pt", flowers(), "target", features=FLOWERS)
    torch.save(Trap(str(tmp_path / "sprung")), tmp_path / "trap.pt")
    with pytest.raises(ConfigurationError, match="without running its code"):
        db.import_model(tmp_path / "trap.pt", flowers(), "target", features=FLOWERS)
    assert not (tmp_path / "sprung").exists()


class Trap:
    """Something that writes a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (self.path, "w")


def test_pickles_are_only_read_when_trusted(db: selectron.Database, tmp_path: Path) -> None:
    joblib.dump(Trap(str(tmp_path / "sprung")), tmp_path / "trap.joblib")
    with pytest.raises(ConfigurationError, match="runs whatever code is in it"):
        db.import_model(tmp_path / "trap.joblib", flowers(), "target")
    with pytest.raises(ConfigurationError, match="runs whatever code is in it"):
        db.import_model(nn.Linear(4, 3), flowers(), "target", preprocessing=tmp_path / "trap.joblib")
    assert not (tmp_path / "sprung").exists()
    fitted = LogisticRegression(max_iter=20).fit(flowers()[FLOWERS], flowers()["target"])
    joblib.dump(fitted, tmp_path / "fitted.joblib")
    model = db.import_model(tmp_path / "fitted.joblib", flowers(), "target", trust=True)
    expected = fitted.predict_proba(flowers()[FLOWERS])
    np.testing.assert_allclose(probabilities(model, flowers()), expected, rtol=0, atol=DOUBLE)

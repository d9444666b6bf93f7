"""Networks of other libraries: brought in, trained on, taken out, and what is refused by name."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_transformer
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import KNNImputer, SimpleImputer
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
from sqlglot import exp
from torch import nn
from typer.testing import CliRunner

import selectron
from conftest import PENGUINS
from selectron.cli import app
from selectron.errors import ColumnError, ConfigurationError, SelectronError
from selectron.interchange.sources import describe
from selectron.network import ACTIVATION_NAMES
from support import connection

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

DOUBLE, SINGLE = 1e-9, 1e-5
URLS = {"duckdb": ":memory:", "sqlite": "sqlite:///:memory:"}
KINDS = ["Adelie", "Chinstrap", "Gentoo"]
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
            MLPClassifier((6, 4), max_iter=20, learning_rate_init=0.02, random_state=1),
        ).fit(frame, frame["species"])
        rows = unheard_of(frame)
        expected = fitted.predict_proba(rows)
    # The network is neither sure of everything nor of nothing.
    assert 0.01 < np.median(expected.max(axis=1)) < 0.9999
    model = database.import_model(fitted, frame, "species", optimizer=selectron.Adam(0.005))
    assert model.record.epochs == 0
    drawn = rows.drop(columns="species")
    np.testing.assert_allclose(probabilities(model, drawn), expected, rtol=0, atol=DOUBLE)
    if not one_hot:
        goes_on(model, frame)


@pytest.mark.parametrize(
    ("outputs", "activation"),
    [("species", "logistic"), ("binary", "tanh"), ("numbers", "relu"), ("two", "identity")],
)
def test_every_kind_of_perceptron(db: selectron.Database, outputs: str, activation: str) -> None:
    frame = flowers()
    regresses = outputs in ("numbers", "two")
    targets = {"species": "species", "binary": "wide", "numbers": "petal width", "two": FLOWERS[2:]}[outputs]
    names = FLOWERS[:2] if regresses else FLOWERS
    frame = frame.assign(wide=frame["petal width"] > 1.5)
    estimator = (MLPRegressor if regresses else MLPClassifier)(
        hidden_layer_sizes=(7, 5), activation=activation, max_iter=60, random_state=3
    )
    estimator.fit(frame[names], frame[targets])
    model = db.import_model(estimator, frame, targets, validation=0)
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
    return exp.select("*").from_(name)


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
    for _ in range(5):
        loss = nn.functional.cross_entropy(network(inputs), labels)
        slopes = torch.autograd.grad(loss, list(network.parameters()))
        with torch.no_grad():
            for parameter, slope in zip(network.parameters(), slopes, strict=True):
                parameter.sub_(0.05 * slope)
    expected = torch.softmax(network(inputs), dim=1).detach().numpy()
    np.testing.assert_allclose(probabilities(trained, frame), expected, rtol=0, atol=1e-9)


# PyTorch --------------------------------------------------------------------------------------

ACTIVATIONS: dict[str, nn.Module] = {
    "ReLU": nn.ReLU(),
    "LeakyReLU": nn.LeakyReLU(),
    "ELU": nn.ELU(),
    "SELU": nn.SELU(),
    "GELU": nn.GELU(),
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


@pytest.mark.parametrize("ending", ["one logit", "sigmoid", "two logits", "softmax", "log softmax"])
def test_two_classes(db: selectron.Database, ending: str) -> None:
    torch.manual_seed(2)
    outputs = 1 if ending in ("one logit", "sigmoid") else 2
    ends: dict[str, list[nn.Module]] = {
        "sigmoid": [nn.Sigmoid()],
        "softmax": [nn.Softmax(dim=-1)],
        "log softmax": [nn.LogSoftmax(dim=1)],
    }
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


def test_single_precision_and_preprocessing_that_is_given(db: selectron.Database) -> None:
    frame = birds()
    transformer = preprocessing().fit(frame)
    encoded = torch.tensor(np.asarray(transformer.transform(frame)), dtype=torch.float32)
    torch.manual_seed(3)
    network = nn.Sequential(nn.Linear(encoded.shape[1], 6), nn.SELU(), nn.Linear(6, 3))
    model = db.import_model(network, frame, "species", preprocessing=transformer, classes=KINDS)
    expected = torch.softmax(network(encoded), dim=1).detach().numpy()
    np.testing.assert_allclose(probabilities(model, frame), expected, rtol=0, atol=SINGLE)
    assert model.record.steps == 0


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


# ONNX -----------------------------------------------------------------------------------------


def graph(*nodes: Any, constants: dict[str, Any], inputs: int = 4, precision: int = TensorProto.FLOAT) -> Any:
    """A model from `x` to `y`."""
    made = helper.make_model(
        helper.make_graph(
            list(nodes),
            "test",
            [helper.make_tensor_value_info("x", precision, ["rows", inputs])],
            [helper.make_tensor_value_info("y", precision, ["rows", None])],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=8,
    )
    onnx.checker.check_model(made)
    return made


def run(model: Any, inputs: Any) -> Any:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: inputs})[0]


def layer_constants(seed: int = 0, dtype: Any = np.float32) -> dict[str, Any]:
    generator = np.random.default_rng(seed)
    shapes = {"w": (4, 5), "b": (5,), "v": (3, 5), "c": (3,)}
    return {name: generator.normal(size=shape).astype(dtype) for name, shape in shapes.items()}


@pytest.mark.parametrize(
    "operator",
    [
        "Relu",
        "LeakyRelu",
        "Elu",
        "Selu",
        "Sigmoid",
        "Tanh",
        "Softplus",
        "Identity",
        "Mul",
        "Gelu",
        "Gelu tanh",
    ],
)
def test_operators_of_onnx(db: selectron.Database, operator: str, tmp_path: Path) -> None:
    middle = [helper.make_node(operator.split()[0], ["h"], ["a"])]
    if operator == "Gelu tanh":
        middle = [helper.make_node("Gelu", ["h"], ["a"], approximate="tanh")]
    if operator == "Mul":  # SiLU, as PyTorch writes it
        middle = [helper.make_node("Sigmoid", ["h"], ["s"]), helper.make_node("Mul", ["h", "s"], ["a"])]
    model = graph(
        helper.make_node("Cast", ["x"], ["x1"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["x1"], ["x2"]),
        helper.make_node("MatMul", ["x2", "w"], ["p"]),
        helper.make_node("Add", ["b", "p"], ["h"]),
        *middle,
        helper.make_node("Gemm", ["a", "v", "c"], ["z"], transB=1, alpha=0.5),
        helper.make_node("Softmax", ["z"], ["y"], axis=1),
        constants=layer_constants(),
    )
    onnx.save(model, tmp_path / "network.onnx")
    frame = flowers()
    brought = db.import_model(tmp_path / "network.onnx", frame, "target", features=FLOWERS)
    expected = run(model, frame[FLOWERS].to_numpy(dtype=np.float32))
    np.testing.assert_allclose(probabilities(brought, frame), expected, rtol=0, atol=SINGLE)
    if operator == "Relu":
        goes_on(brought, frame)


def normalization(units: int, seed: int, **options: Any) -> nn.BatchNorm1d:
    """A layer that has seen numbers, and was trained."""
    layer = nn.BatchNorm1d(units, **options)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        layer.running_mean.copy_(torch.randn(units, generator=generator))  # type: ignore[union-attr]
        layer.running_var.copy_(torch.rand(units, generator=generator) + 0.1)  # type: ignore[union-attr]
        if layer.affine:
            layer.weight.copy_(torch.randn(units, generator=generator))
            layer.bias.copy_(torch.randn(units, generator=generator))
    return layer


@pytest.mark.parametrize("double", [True, False], ids=["double", "single"])
@pytest.mark.parametrize("kind", ["torch", "file", "onnx"])
def test_batch_normalization_is_folded(
    db: selectron.Database, kind: str, double: bool, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        normalization(4, 1),
        nn.Linear(4, 5),
        normalization(5, 2, eps=0.01),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(5, 6, bias=False),
        nn.Tanh(),
        normalization(6, 3, affine=False),
        nn.Linear(6, 3),
        normalization(3, 4),
    ).eval()
    module = module.double() if double else module
    frame = flowers()
    inputs = torch.tensor(frame[FLOWERS].to_numpy(), dtype=torch.float64 if double else torch.float32)
    expected = torch.softmax(module(inputs), 1).detach().numpy()
    source: Any = module
    if kind == "file":
        source = tmp_path / "network.pt"
        torch.save(module, source)
    elif kind == "onnx":
        source = normalized_graph(module, double)
        if not double:
            np.testing.assert_allclose(
                run(source, inputs.numpy()), module(inputs).detach().numpy(), atol=1e-5
            )
    model = db.import_model(source, frame, "target", features=FLOWERS, task="classification")
    np.testing.assert_allclose(probabilities(model, frame), expected, rtol=0, atol=1e-9 if double else 1e-5)
    assert len(model.blueprint.specification.network.layers) == 2
    goes_on(model, frame)


def normalized_graph(module: nn.Sequential, double: bool) -> Any:
    """The network as ONNX, where the exporter of PyTorch would fold what it can."""
    nodes: list[Any] = []
    constants: dict[str, Any] = {}
    options: dict[str, Any]
    value = "x"
    for place, layer in enumerate(module):
        given = value
        value = "y" if place == len(module) - 1 else f"value {place}"
        if isinstance(layer, nn.Linear):
            own = {"w": layer.weight} | ({} if layer.bias is None else {"b": layer.bias})
            operator, options = "Gemm", {"transB": 1}
        elif isinstance(layer, nn.BatchNorm1d):
            mean, variance = layer.running_mean, layer.running_var
            ones, zeros = torch.ones_like(mean), torch.zeros_like(mean)  # type: ignore[arg-type]
            own = {"s": layer.weight if layer.affine else ones, "b": layer.bias if layer.affine else zeros}
            own |= {"m": mean, "v": variance}  # type: ignore[dict-item]
            operator, options = "BatchNormalization", {"epsilon": layer.eps}
        else:
            own, options = {}, {}
            operator = {"ReLU": "Relu", "Tanh": "Tanh", "Dropout": "Identity"}[type(layer).__name__]
        constants |= {f"{name}{place}": tensor.detach().numpy() for name, tensor in own.items()}
        nodes.append(
            helper.make_node(operator, [given, *(f"{name}{place}" for name in own)], [value], **options)
        )
    return graph(*nodes, constants=constants, precision=TensorProto.DOUBLE if double else TensorProto.FLOAT)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([nn.Linear(4, 3), nn.ReLU(), nn.BatchNorm1d(3)], r"layer '2' \(BatchNorm1d\) .* does not stand"),
        ([nn.Linear(4, 3), nn.BatchNorm1d(5)], "is for 5 units, and next to 3"),
        ([nn.Linear(4, 3), nn.BatchNorm1d(3, track_running_stats=False)], "keeps no running statistics"),
        ([nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3)], "ReLU.* does not stand where an activation"),
    ],
)
def test_normalization_without_a_layer_is_refused(
    db: selectron.Database, layers: list[nn.Module], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        db.import_model(nn.Sequential(*layers), flowers(), "target", features=FLOWERS)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([("Conv", ["x", "w"], ["y"])], "Operator Conv"),
        ([("MatMul", ["x", "x"], ["y"])], "Operator MatMul .* what is computed"),
        ([("Add", ["x", "x"], ["y"])], "Operator Add"),
        ([("MatMul", ["x", "w"], ["p"]), ("Mul", ["p", "p"], ["y"])], "Operator Mul"),
        ([("Relu", ["x"], ["y"])], "Relu .* where an activation"),
        ([("Gemm", ["x", "w", "b"], ["h"]), ("Relu", ["x"], ["y"])], "does not follow"),
    ],
)
def test_operators_that_are_refused(db: selectron.Database, nodes: Any, message: str) -> None:
    made = [helper.make_node(*node) for node in nodes]
    model = graph(*made, constants=layer_constants())
    with pytest.raises(ConfigurationError, match=message):
        db.import_model(model, flowers(), "target", features=FLOWERS)
    assert not db.store.exists()


def test_attributes_that_are_refused(db: selectron.Database) -> None:
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["h"]),
        helper.make_node("LeakyRelu", ["h"], ["y"], alpha=0.2),
    ]
    with pytest.raises(ConfigurationError, match=r"LeakyRelu .* alpha=0\.2"):
        db.import_model(graph(*nodes, constants=layer_constants()), flowers(), "target", features=FLOWERS)


# Keras ----------------------------------------------------------------------------------------


class Sequential:
    """What Keras' networks answer, where Keras itself is not installed."""

    def __init__(self, layers: list[tuple[str, dict[str, Any]]], weights: list[Any]) -> None:
        self.layers, self.weights = layers, weights

    def get_config(self) -> dict[str, Any]:
        return {"layers": [{"class_name": name, "config": config} for name, config in self.layers]}

    def get_weights(self) -> list[Any]:
        return self.weights


Sequential.__module__ = "keras.src.models.sequential"


def test_the_protocol_of_keras(db: selectron.Database) -> None:
    constants = layer_constants()
    dense = {"name": "dense", "use_bias": True, "activation": "elu"}
    model = Sequential(
        [
            ("InputLayer", {}),
            ("Dense", dense),
            ("Dropout", {"rate": 0.25}),
            ("Dense", {**dense, "activation": "linear"}),
            ("Softmax", {"axis": -1}),
        ],
        [constants["w"], constants["b"], constants["v"].T, constants["c"]],
    )
    brought = db.import_model(model, flowers(), "target", features=FLOWERS)
    hidden = flowers()[FLOWERS].to_numpy() @ constants["w"] + constants["b"]
    logits = np.where(hidden > 0, hidden, np.expm1(hidden)) @ constants["v"].T + constants["c"]
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    expected = powers / powers.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities(brought, flowers()), expected, rtol=0, atol=DOUBLE)
    assert brought.blueprint.specification.network.layers[0].dropout == 0.25
    model.layers[4] = ("LayerNormalization", {"name": "norm"})
    with pytest.raises(ConfigurationError, match=r"layer 'norm' \(LayerNormalization\)"):
        db.import_model(model, flowers(), "target", features=FLOWERS)
    model.layers[4] = ("LeakyReLU", {"name": "leaky", "negative_slope": 0.3})
    with pytest.raises(ConfigurationError, match=r"negative_slope=0\.3"):
        db.import_model(model, flowers(), "target", features=FLOWERS)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Keras' own
def test_keras_itself(db: selectron.Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras")
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(6, activation="silu"),
            layers.Dense(5),
            layers.LeakyReLU(negative_slope=0.01),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.save(tmp_path / "network.keras")
    expected = model.predict(flowers()[FLOWERS].to_numpy(), verbose=0)
    for source in (model, tmp_path / "network.keras"):
        brought = db.import_model(source, flowers(), "target", features=FLOWERS)
        np.testing.assert_allclose(probabilities(brought, flowers()), expected, rtol=0, atol=SINGLE)


# Taking out -----------------------------------------------------------------------------------


TAKEN: dict[str, dict[str, Any]] = {
    "species": {},
    "sex": {"network": selectron.MLP([5, 4], activation="tanh", dropout=0.1)},
    "body_mass_g": {"network": selectron.MLP([5], activation="sigmoid")},
    "year": {
        "network": selectron.MLP([4]),
        "task": "classification",
        "features": selectron.FeatureOptions(embed={"island": 2}, categorical=("body_mass_g",)),
    },
}


@pytest.mark.parametrize("target", TAKEN)
def test_every_target_predicts_the_same(db: selectron.Database, target: str, tmp_path: Path) -> None:
    frame = birds().drop(columns=["tall"])
    options: dict[str, Any] = {"network": selectron.MLP([6]), **TAKEN[target]}
    if target == "year":
        frame = frame.assign(body_mass_g=(frame["body_mass_g"] // 1000).astype("Int64")).drop(columns="late")
    model = db.train(frame, target, epochs=3, **options)
    rows = unheard_of(frame)
    expected = probabilities(model, rows) if model.classes else numbers(model, rows)
    several = expected[:, 1:] if len(model.classes) == 2 else expected
    inputs = model.encoded(rows).array()

    module = model.export("torch", tmp_path / "network.pt")
    np.testing.assert_allclose(module(torch.tensor(inputs)).detach().numpy(), several, rtol=1e-12, atol=1e-12)
    made = model.export("onnx", tmp_path / "network.onnx")
    np.testing.assert_allclose(run(made, inputs), several, rtol=1e-12, atol=1e-12)
    bare = model.export("sklearn", tmp_path / "network.joblib", raw=False)
    predicted = bare.predict_proba(inputs) if model.classes else bare.predict(inputs)[:, None]
    np.testing.assert_allclose(predicted, expected, rtol=1e-12, atol=1e-12)
    parameters = model.export("numpy", tmp_path / "network.npz")
    with np.load(tmp_path / "network.npz") as stored:
        assert {name: stored[name].tolist() for name in stored} == {
            name: value.tolist() for name, value in parameters.items()
        }

    # And back, by the features that the model was trained on.
    sources = {"species": tmp_path / "network.pt", "year": tmp_path / "network.onnx", "sex": bare}
    for source in (sources.get(target, module),):
        back = db.import_model(source, frame, target, preprocessing=model, task=model.record.task)
        again = probabilities(back, rows) if model.classes else numbers(back, rows)
        np.testing.assert_allclose(again, expected, rtol=1e-9, atol=DOUBLE)


@pytest.mark.parametrize("target", ["species", "sex", "body_mass_g", "late"])
def test_a_pipeline_of_raw_columns_goes_out_and_comes_back(db: selectron.Database, target: str) -> None:
    frame = birds()
    connection(db).register("frame", frame)
    connection(db).execute("CREATE TABLE birds AS SELECT * FROM frame")
    features = selectron.FeatureOptions(categorical=("year",), embed={"island": 2})
    model = db.train("birds", target, network=selectron.MLP([5]), epochs=3, features=features)
    pipeline = model.export("sklearn")
    rows = unheard_of(frame)
    # The frame as pandas has it, with NaN, None and columns that are not used.
    if model.classes:
        expected = probabilities(model, rows)
        np.testing.assert_allclose(pipeline.predict_proba(rows), expected, rtol=0, atol=1e-12)
        said = model.predict(rows).df()[f"predicted_{target}"]
        assert list(pipeline.predict(rows)) == list(said)
    else:
        expected = numbers(model, rows)
        np.testing.assert_allclose(pipeline.predict(rows)[:, None], expected, rtol=1e-12)
    back = db.import_model(pipeline, "birds", target, name="back")
    again = probabilities(back, rows) if model.classes else numbers(back, rows)
    np.testing.assert_allclose(again, expected, rtol=1e-9, atol=DOUBLE)
    assert back.train(2).record.epochs == 2


@pytest.mark.parametrize("activation", ACTIVATION_NAMES)
def test_activations_go_out(db: selectron.Database, activation: str) -> None:
    frame = flowers()[[*FLOWERS, "species"]]
    model = db.train(frame, "species", network=selectron.MLP([4], activation=activation), epochs=0)
    inputs = model.encoded(frame).array()
    expected = probabilities(model, frame)
    np.testing.assert_allclose(run(model.export("onnx"), inputs), expected, rtol=0, atol=1e-12)
    single = run(model.export("onnx", precision="float32"), inputs.astype(np.float32))
    np.testing.assert_allclose(single, expected, rtol=0, atol=SINGLE)
    module = model.export("torch")
    # Beyond 20, PyTorch's softplus is the number itself.
    np.testing.assert_allclose(module(torch.tensor(inputs)).detach().numpy(), expected, rtol=0, atol=DOUBLE)
    logits = model.export("torch", logits=True)(torch.tensor(inputs))
    np.testing.assert_allclose(torch.softmax(logits, 1).detach().numpy(), expected, rtol=0, atol=DOUBLE)


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("activation", ACTIVATION_NAMES)
def test_activations_come_back(
    db: selectron.Database, activation: str, precision: str, tmp_path: Path
) -> None:
    frame = flowers()[[*FLOWERS, "species"]]
    model = db.train(frame, "species", network=selectron.MLP([4, 3], activation=activation), epochs=1)
    path = tmp_path / "network.onnx"
    model.export("onnx", path, precision=precision)
    back = db.import_model(path, frame, "species", name="back", preprocessing=model)
    assert back.blueprint.specification.network.layers == model.blueprint.specification.network.layers
    error = 1e-12 if precision == "float64" else SINGLE
    np.testing.assert_allclose(probabilities(back, frame), probabilities(model, frame), rtol=0, atol=error)


@pytest.mark.parametrize("changed", [1.0, 0.5])
def test_almost_an_activation_is_refused(db: selectron.Database, changed: float) -> None:
    frame = flowers()[[*FLOWERS, "species"]]
    model = db.train(frame, "species", network=selectron.MLP([4], activation="gelu"), epochs=0)
    made = model.export("onnx")
    (place,) = [
        place
        for place, own in enumerate(made.graph.initializer)
        if abs(float(numpy_helper.to_array(own).ravel()[0]) - 0.044715) < 1e-9
    ]
    name = made.graph.initializer[place].name
    made.graph.initializer[place].CopyFrom(numpy_helper.from_array(np.array(changed), name))
    with pytest.raises(ConfigurationError, match="Operator Mul of the ONNX graph cannot be imported"):
        db.import_model(made, frame, "species", preprocessing=model)


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_raw_columns_of_numbers_come_back(db: selectron.Database, precision: str) -> None:
    frame = birds()[[*NUMBERS, "tall", "late", "species"]]
    model = db.train(frame, "species", network=selectron.MLP([4], activation="silu"), epochs=2)
    made = model.export("onnx", raw=True, precision=precision)
    back = db.import_model(made, frame, "species", name="back")
    error = 1e-12 if precision == "float64" else SINGLE
    np.testing.assert_allclose(probabilities(back, frame), probabilities(model, frame), rtol=0, atol=error)
    goes_on(back, frame)


def test_raw_columns_of_numbers_in_onnx(db: selectron.Database) -> None:
    frame = birds()[[*NUMBERS, "tall", "late", "species"]]
    model = db.train(frame, "species", network=selectron.MLP([4]), epochs=2)
    made = model.export("onnx", raw=True)
    columns = [feature.column for feature in model.blueprint.encoding.features]
    inputs = frame[columns].astype(float).to_numpy()
    assert np.isnan(inputs).any()
    np.testing.assert_allclose(run(made, inputs), probabilities(model, frame), rtol=0, atol=1e-12)
    with pytest.raises(ConfigurationError, match="'island' is no number"):
        db.train(str(PENGUINS), "species", epochs=0).export("onnx", raw=True)


def test_encoded_features_and_their_order(database: selectron.Database) -> None:
    frame = birds().drop(columns=["tall", "late"])
    frame["number"] = np.arange(len(frame))
    options = selectron.FeatureOptions(exclude=("number",), embed={"island": 2})
    model = database.train(frame, "species", epochs=0, features=options)
    found = model.encoded(frame, keep=["number"])
    assert found.columns[0] == "number"
    assert found.units[-4:] == ("island = Biscoe", "island = Dream", "island = Torgersen", "island = (other)")
    assert found.columns[1:] == list(found.units)
    held = found.df()
    assert list(held["number"]) == list(frame["number"])
    np.testing.assert_array_equal(held[list(found.units)].to_numpy(dtype=float), found.array())
    assert (held["island = Dream"] == (frame["island"] == "Dream")).all()
    assert found.sql.startswith("SELECT")
    with pytest.raises(ColumnError, match="'year' is called as a unit is"):
        model.encoded(frame, keep=["year"])


# Refusals -------------------------------------------------------------------------------------


def fitted(estimator: Any, names: list[str] | None = None, target: str = "species") -> Any:
    frame = birds().dropna()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return estimator.fit(frame[names or NUMBERS], frame[target])


def network(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 3), *layers)


REFUSED: dict[str, tuple[Callable[[], Any], dict[str, Any], str]] = {
    "forest": (lambda: fitted(RandomForestClassifier(2)), {}, "Estimator RandomForestClassifier"),
    "pca": (lambda: fitted(make_pipeline(PCA(2), LogisticRegression())), {}, "Transformer PCA"),
    "imputer": (lambda: fitted(make_pipeline(KNNImputer(), LogisticRegression())), {}, "KNNImputer cannot"),
    "clip": (lambda: fitted(make_pipeline(MinMaxScaler(clip=True), LogisticRegression())), {}, "clip=True"),
    "function": (
        lambda: fitted(make_pipeline(FunctionTransformer(np.log), LogisticRegression())),
        {},
        "FunctionTransformer with func",
    ),
    "sentinel": (
        lambda: fitted(make_pipeline(SimpleImputer(missing_values=-1), LogisticRegression())),
        {},
        "missing_values=-1",
    ),
    "not fitted": (lambda: MLPClassifier(), {}, "MLPClassifier is not fitted"),
    "poisson": (
        lambda: MLPRegressor(loss="poisson", hidden_layer_sizes=(), random_state=0).fit(
            [[0.0], [1.0]], [1, 2]
        ),
        {},
        "loss='poisson'",
    ),
    "a number": (lambda: 3, {}, "int is no network"),
    "lstm": (lambda: network(nn.LSTM(3, 3)), {"features": NUMBERS}, r"layer '1' \(LSTM\)"),
    "layer norm": (lambda: network(nn.LayerNorm(3)), {"features": NUMBERS}, r"layer '1' \(LayerNorm\)"),
    "leaky": (lambda: network(nn.LeakyReLU(0.2)), {"features": NUMBERS}, r"negative_slope=0\.2"),
    "elu": (lambda: network(nn.ELU(2.0)), {"features": NUMBERS}, r"alpha=2\.0"),
    "softmax inside": (lambda: network(nn.Softmax(dim=1), nn.Linear(3, 3)), {"features": NUMBERS}, "Softmax"),
    "many labels": (lambda: network(nn.Sigmoid()), {"features": NUMBERS, "classes": KINDS}, "several labels"),
    "no names": (lambda: network(), {"classes": KINDS}, "names of columns in the order of its 4 inputs"),
    "no classes": (lambda: network(), {"features": NUMBERS}, "which classes its 3 outputs are"),
    "wrong classes": (lambda: network(), {"features": NUMBERS, "classes": "abc"}, "classes that the network"),
    "few classes": (lambda: network(), {"features": NUMBERS, "classes": "ab"}, "2 classes are named"),
    "few features": (lambda: network(), {"features": NUMBERS[:3], "classes": KINDS}, "has 4 inputs"),
    "no column": (lambda: network(), {"features": [*NUMBERS[:3], "x"]}, "no column 'x'"),
    "text": (
        lambda: network(),
        {"features": [*NUMBERS[:3], "island"], "classes": KINDS},
        "'island' .* takes it as a number",
    ),
    "the target": (lambda: network(), {"features": [*NUMBERS[:3], "species"]}, "target and a feature"),
    "nulls": (
        lambda: network(),
        {"features": NUMBERS, "classes": KINDS},
        "'bill_length_mm' .* has 2 NULLs in 344 rows",
    ),
    "option": (lambda: network(), {"features": NUMBERS, "epochs": 3}, "no option 'epochs'"),
    "no file": (lambda: "nothing.onnx", {}, "no file 'nothing.onnx'"),
    "task": (lambda: network(), {"features": NUMBERS, "task": "regression"}, "3 outputs, and 1 targets"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_imported_is_refused_by_name(db: selectron.Database, case: str) -> None:
    source, options, message = REFUSED[case]
    with pytest.raises(SelectronError, match=message):
        db.import_model(source(), str(PENGUINS), "species", **options)
    # Nothing is left behind.
    assert db.engine.rows(selectron_query("duckdb_tables()")) == []


def test_nulls_without_a_place_are_refused_or_imputed(db: selectron.Database) -> None:
    whole = birds().dropna(subset=NUMBERS)
    source = fitted(LogisticRegression(max_iter=10))
    model = db.import_model(source, whole, "species", name="refuses")
    with pytest.raises(ColumnError, match=r"'bill_length_mm' .* has 2 NULLs"):
        model.predict(str(PENGUINS))
    imputing = db.import_model(source, str(PENGUINS), "species", name="imputes", nulls="impute")
    filled = birds().assign(**{name: birds()[name].fillna(birds()[name].mean()) for name in NUMBERS})
    expected = source.predict_proba(filled[NUMBERS])
    np.testing.assert_allclose(probabilities(imputing, str(PENGUINS)), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("encoder", [OneHotEncoder(), OneHotEncoder(drop="first"), OrdinalEncoder()], ids=str)
def test_categories_without_a_place_are_refused(database: selectron.Database, encoder: Any) -> None:
    """handle_unknown is "error", and what the original refuses is not predicted in silence."""
    before = make_column_transformer((encoder, ["island"]))
    source = make_pipeline(before, LogisticRegression(max_iter=20)).fit(
        birds()[["island"]], birds()["species"]
    )
    unheard = unheard_of(birds())
    message = r"'island' of .* has 3 rows of categories that the model does not know.*: 'Atlantis'"
    with pytest.raises(ColumnError, match=message):
        database.import_model(source, unheard, "species", name="refused")
    model = database.import_model(source, str(PENGUINS), "species")
    np.testing.assert_allclose(
        probabilities(model, str(PENGUINS)), source.predict_proba(birds()[["island"]]), rtol=0, atol=1e-9
    )
    for use in (model.predict, model.evaluate, model.verify):
        with pytest.raises(ColumnError, match=message):
            use(unheard)
    # Kept with the model, on which others build.
    again = database.model("species")
    assert again.blueprint.specification.features.known == ("island",)
    with pytest.raises(ColumnError, match=message):
        again.predict(unheard)
    assert len(again.predict(unheard[unheard["island"] != "Atlantis"]).rows()) == len(birds()) - 3


@pytest.mark.parametrize("complete", [(), ("kind", "code")])
@pytest.mark.parametrize("embed", [{}, {"kind": 2}])
def test_refused_categories_are_refused_where_they_go(
    database: selectron.Database, complete: tuple[str, ...], embed: dict[str, int]
) -> None:
    frame = pd.DataFrame(
        {
            "kind": ["a", "b", "c"] * 6,
            "code": [1, 2, 3, 4, 5, 6] * 3,
            "free": ["u", "v"] * 9,
            "y": [float(row % 5) for row in range(18)],
        }
    )
    features = selectron.FeatureOptions(
        categorical=("code",), known=("kind", "code"), complete=complete, embed=embed
    )
    options: dict[str, Any] = {"network": selectron.MLP([4]), "epochs": 3, "task": "regression"}
    model = database.train(frame, "y", features=features, **options)
    pipeline = model.export("sklearn")
    encoders = [
        step.handle_unknown
        for step in pipeline["columns"].named_transformers_.values()
        if isinstance(step, OneHotEncoder)
    ]
    assert sorted(encoders) == ["error", "error", "ignore"]
    np.testing.assert_allclose(pipeline.predict(frame)[:, None], numbers(model, frame), rtol=1e-12)
    other = frame.assign(free="never seen")
    np.testing.assert_allclose(pipeline.predict(other)[:, None], numbers(model, other), rtol=1e-12)
    for column, value in (("kind", "z"), ("code", 9)):
        unheard = frame.head(2).assign(**{column: [value, frame[column][1]]})
        with pytest.raises(ColumnError, match=f"'{column}' of .* has 1 rows of categories"):
            model.predict(unheard)
        with pytest.raises(ValueError, match="unknown categories"):
            pipeline.predict(unheard)
    missing = frame.head(2).assign(kind=[None, "b"], code=[float("nan"), 2.0])
    if complete:
        with pytest.raises(ColumnError, match="has 1 NULLs"):
            model.predict(missing)
        with pytest.raises(ValueError, match="unknown categories"):
            pipeline.predict(missing)
    else:
        np.testing.assert_allclose(pipeline.predict(missing)[:, None], numbers(model, missing), rtol=1e-12)
    # And what comes back refuses them as well.
    back = database.import_model(pipeline, frame, "y", name="back", task="regression")
    assert set(back.blueprint.specification.features.known) == {"kind", "code"}
    np.testing.assert_allclose(numbers(back, frame), numbers(model, frame), rtol=1e-9, atol=DOUBLE)
    with pytest.raises(ColumnError, match=r"'kind' of .* has 1 rows of categories"):
        back.predict(frame.head(2).assign(kind=["z", "b"]))


@pytest.mark.parametrize(
    ("activation", "kind", "options", "message"),
    [
        ("selu", "sklearn", {}, "cannot have selu"),
        ("relu", "caffe", {}, "exported to 'caffe'"),
        ("relu", "torch", {"raw": True}, "no option 'raw' of torch"),
        ("relu", "onnx", {"precision": "int8"}, "precision is 'int8'"),
    ],
)
def test_what_cannot_be_exported(
    db: selectron.Database, activation: str, kind: str, options: dict[str, Any], message: str
) -> None:
    model = db.train(str(PENGUINS), "species", network=selectron.MLP([3], activation=activation), epochs=0)
    with pytest.raises(ConfigurationError, match=message):
        model.export(kind, **options)


def test_a_file_of_another_end_is_refused(db: selectron.Database, tmp_path: Path) -> None:
    model = db.train(str(PENGUINS), "species", network=selectron.MLP([3]), epochs=0)
    with pytest.raises(ConfigurationError, match=r"does not end in \.onnx"):
        model.export("onnx", tmp_path / "network.pt")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        model.export("numpy", tmp_path / "missing" / "network.npz")


# The command line -----------------------------------------------------------------------------


def test_export_and_import_from_the_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()

    def shell(*arguments: str) -> Any:
        return runner.invoke(app, list(arguments))

    with selectron.connect("birds.duckdb") as db:
        model = db.train(str(PENGUINS), "species", network=selectron.MLP([4]), epochs=3)
        expected = probabilities(model, str(PENGUINS))
    for name, to in (("a.onnx", "onnx"), ("a.joblib", "sklearn")):
        done = shell("export", "birds.duckdb", name, "--model", "species", "--to", to)
        assert done.exit_code == 0, done.exception
    rows = ["--table", str(PENGUINS), "--target", "species"]
    done = shell("import", "birds.duckdb", "a.onnx", *rows, "--model", "a", "--encoding", "species")
    assert done.exit_code == 0, done.exception
    refused = shell("import", "birds.duckdb", "a.joblib", *rows, "--model", "b")
    assert isinstance(refused.exception, ConfigurationError)
    assert "--trust" in str(refused.exception)
    trusted = shell("import", "birds.duckdb", "a.joblib", *rows, "--model", "b", "--trust")
    assert trusted.exit_code == 0, trusted.exception
    with selectron.connect("birds.duckdb") as db:
        for name in "ab":
            found = probabilities(db.model(name), str(PENGUINS))
            np.testing.assert_allclose(found, expected, rtol=0, atol=DOUBLE)


def test_a_library_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, db: selectron.Database) -> None:
    model = db.train(str(PENGUINS), "species", network=selectron.MLP([3]), epochs=0)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ConfigurationError, match=r"Install selectron\[onnx\]"):
        model.export("onnx")


def test_dropout_that_has_no_place_is_told() -> None:
    found = describe(nn.Sequential(nn.Dropout(0.2), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)))
    assert len(found.notes) == 1
    assert "Dropout of 0.2" in found.notes[0]

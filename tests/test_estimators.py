"""The scikit-learn estimators."""

from __future__ import annotations

import copy
import datetime
import multiprocessing
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import duckdb
import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris, load_wine
from sklearn.ensemble import BaggingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import selectron
from conftest import PENGUINS
from selectron import ConfigurationError, Dense, Momentum
from selectron.estimators import SelectronClassifier, SelectronRegressor, embedded

# The estimators pass as they come, too; they take a few seconds more for it.
QUICK: dict[str, Any] = {"hidden": (), "epochs": 40, "learning_rate": 0.1}


@parametrize_with_checks([SelectronClassifier(**QUICK), SelectronRegressor(**QUICK)])  # type: ignore[untyped-decorator,unused-ignore]
def test_scikit_learns_own_checks(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)


@pytest.fixture
def iris() -> tuple[Any, Any]:
    frame = load_iris(as_frame=True)
    return frame.data, frame.target_names[frame.target]


@pytest.fixture
def penguins_frame() -> Any:
    return pd.read_csv(PENGUINS)


def small(**changes: Any) -> SelectronClassifier:
    return SelectronClassifier(**{"hidden": (4,), "epochs": 5, "random_state": 0, **changes})


# Real data ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("load", "least"), [(load_iris, 0.93), (load_wine, 0.95)])
def test_real_classes_are_learned(load: Callable[..., Any], least: float) -> None:
    X, y = load(return_X_y=True)
    assert cross_val_score(SelectronClassifier(random_state=0), X, y, cv=3).mean() > least


def test_real_numbers_are_learned() -> None:
    X, y = load_diabetes(return_X_y=True)
    model = SelectronRegressor(hidden=(8,), epochs=20, random_state=0)
    assert cross_val_score(model, X, y, cv=3).mean() > 0.35


def test_several_numbers_are_learned_at_once() -> None:
    X = np.random.default_rng(0).normal(size=(200, 3))
    y = pd.DataFrame({"sum": X.sum(axis=1), "difference": 100 * (X[:, 0] - X[:, 1])})
    model = SelectronRegressor(hidden=[], epochs=150, random_state=0).fit(X, y)
    assert model.predict(X).shape == (200, 2)
    assert model.score(X, y) > 0.99
    assert model.n_outputs_ == 2
    assert model.model_.labels == ("sum", "difference")


def penguin_frames(frame: Any) -> dict[str, Any]:
    """The same rows as pandas and as Polars, with types of all kinds."""
    typed = frame.assign(
        island=frame["island"].astype("category"),
        big=pd.array(frame["body_mass_g"] > 4000, dtype="boolean"),
        seen=pd.to_datetime("2007-01-01") + pd.to_timedelta(frame.index, unit="D"),
    )
    typed.loc[3, "seen"] = pd.NaT
    typed.index = typed.index[::-1]  # labels that must not matter
    columns = {name: typed[name].astype(object).where(typed[name].notna(), None).tolist() for name in typed}
    columns["seen"] = [None if moment is None else moment.to_pydatetime() for moment in columns["seen"]]
    polars = pl.DataFrame(columns).with_columns(
        pl.col("island").cast(pl.Categorical),
        pl.col("body_mass_g").cast(pl.Float64).fill_null(float("nan")),
    )
    return {"pandas": typed, "polars": polars}


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_frames_may_have_text_categories_booleans_dates_and_holes(penguins_frame: Any, kind: str) -> None:
    frame = penguin_frames(penguins_frame)[kind]
    target = frame["species"]
    X = frame.drop(columns="species") if kind == "pandas" else frame.drop("species")
    model = SelectronClassifier(hidden=(8,), epochs=60, random_state=0).fit(X, target)
    assert model.score(X, target) > 0.98
    assert list(model.feature_names_in_) == list(X.columns)
    assert list(model.classes_) == ["Adelie", "Chinstrap", "Gentoo"]
    units = model.model_.blueprint.encoding.units
    assert {"island = Dream", "body_mass_g", "body_mass_g is null", "big"} <= set(units)
    assert model.coefs_[0].shape == (len(units), 8)
    assert model.predict(X.head(3)).tolist() == ["Adelie"] * 3


def test_polars_and_pandas_train_the_same_network(penguins_frame: Any) -> None:
    fitted = []
    for frame in penguin_frames(penguins_frame).values():
        X = frame[["island", "sex", "body_mass_g", "seen"]]
        fitted.append(small().fit(X, frame["species"]))
    for ours, theirs in zip(fitted[0].coefs_, fitted[1].coefs_, strict=True):
        np.testing.assert_allclose(ours, theirs)


def test_missing_numbers_of_arrays_are_imputed() -> None:
    X, y = load_iris(return_X_y=True)
    X = X.copy()
    X[::7, 2] = np.nan
    model = SelectronClassifier(random_state=0).fit(X, y)
    assert model.score(X, y) > 0.93
    assert "x2 is null" in model.model_.blueprint.encoding.units
    assert np.isfinite(model.predict_proba(np.full((1, 4), np.nan))).all()
    with pytest.raises(ValueError, match="Input X contains NaN"):
        SelectronClassifier(nulls="refuse").fit(X, y)


def test_sparse_arrays_are_refused_in_scikit_learns_words() -> None:
    X, y = load_iris(return_X_y=True)
    with pytest.raises(TypeError, match="Sparse data was passed"):
        small().fit(sparse.csr_array(X), y)


def test_sparse_columns_of_a_frame_are_read() -> None:
    X = pd.DataFrame({"a": pd.arrays.SparseArray([0.0, 0.0, 1.0, 2.0]), "b": [1, 2, 3, 5]})
    assert small().fit(X, [0, 0, 1, 1]).predict(X).shape == (4,)


@pytest.mark.parametrize(
    "classes",
    [[False, True], [-1, 12], [2.0, 10.0], ["", "it's"], [10, 9, 100], np.array([1, 2], dtype=np.uint8)],
    ids=str,
)
def test_classes_of_any_kind_come_back_as_they_were(classes: Any) -> None:
    X = np.random.default_rng(0).normal(size=(60, 2))
    y = np.asarray(classes)[np.digitize(X[:, 0], [0.0] if len(classes) == 2 else [-0.5, 0.5])]
    model = SelectronClassifier(hidden=(8,), learning_rate=0.05, random_state=0).fit(X, y)
    np.testing.assert_array_equal(model.classes_, np.unique(classes))
    assert model.predict(X).dtype == np.asarray(classes).dtype
    assert model.score(X, y) > 0.9


# The database behind -----------------------------------------------------------------------------


def test_probabilities_are_those_of_the_sql(iris: tuple[Any, Any], db: selectron.Database) -> None:
    X, y = iris
    model = small(epochs=30).fit(X, pd.Series(y, name="species"))
    copied = model.to_database(db, "iris")
    assert copied.name == "iris"
    db.engine.connection.register("frame", X.iloc[::-1].copy())  # type: ignore[attr-defined]
    db.engine.execute("CREATE TABLE flowers AS SELECT * FROM frame")  # type: ignore[attr-defined]
    db.model("iris").predict("flowers").to_view("scored")
    rows = db.engine.execute("FROM scored").fetchall()  # type: ignore[attr-defined]
    np.testing.assert_allclose([row[-3:] for row in rows], model.predict_proba(X.iloc[::-1]), rtol=1e-12)
    assert [row[-4] for row in rows] == model.predict(X.iloc[::-1]).tolist()
    assert copied.predicted[0] == "predicted_species"


def test_the_model_goes_into_another_engine(iris: tuple[Any, Any]) -> None:
    X, y = iris
    model = small().fit(X.to_numpy(), y == "setosa")
    with selectron.connect("sqlite:///:memory:") as db:
        model.to_database(db)
        row = ", ".join(f"{value} AS x{place}" for place, value in enumerate(X.iloc[0]))
        found = db.model("target").predict(f"SELECT {row}").rows()[0]
    np.testing.assert_allclose(found[-2:], model.predict_proba(X.to_numpy()[:1])[0], rtol=1e-9)
    with pytest.raises(selectron.StoreError, match="needs a name"):
        model.to_database(selectron.connect(), " ")


def test_logits_probabilities_and_classes_agree(iris: tuple[Any, Any]) -> None:
    X, y = iris
    for labels, loss in [(y, None), (y == "setosa", None), (y == "setosa", "cross_entropy")]:
        model = small(loss=loss).fit(X, labels)
        probabilities, logits = model.predict_proba(X), model.decision_function(X)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)
        np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), probabilities, rtol=1e-12)
        if logits.ndim == 1:
            np.testing.assert_array_equal(model.predict(X), model.classes_[(logits > 0).astype(int)])
            np.testing.assert_allclose(1 / (1 + np.exp(-logits)), probabilities[:, 1], rtol=1e-12)
        else:
            np.testing.assert_array_equal(model.predict(X), model.classes_[logits.argmax(axis=1)])


def test_the_parameters_compute_what_is_predicted(iris: tuple[Any, Any]) -> None:
    X, y = iris
    model = small(scaling="none", activation="tanh").fit(X, y)
    hidden = np.tanh(X.to_numpy() @ model.coefs_[0] + model.intercepts_[0])
    logits = hidden @ model.coefs_[1] + model.intercepts_[1]
    np.testing.assert_allclose(model.decision_function(X), logits, rtol=1e-9)
    assert model.n_iter_ == len(model.loss_curve_) == 5
    assert model.loss_ == model.loss_curve_[-1]
    assert model.validation_loss_curve_ == []
    assert [row.training_loss for row in model.model_.log] == model.loss_curve_


def test_column_names_of_ours_and_of_sql_are_no_trouble() -> None:
    rng = np.random.default_rng(0)
    names = ["place", "target", "weight", "probability_1", 'a "b"', "select", "predicted_target"]
    X = pd.DataFrame(rng.normal(size=(30, len(names))), columns=names)
    model = small().fit(X, X["target"] > 0, sample_weight=np.full(30, 2.0))
    assert model.predict_proba(X).shape == (30, 2)
    with pytest.raises(selectron.ColumnError, match="'a' and 'A' have one name"):
        small().fit(X.set_axis([*names[:-2], "a", "A"], axis=1), X["target"] > 0)
    assert small().fit(X.set_axis(range(7), axis=1), X["target"] > 0).n_features_in_ == 7


@pytest.mark.parametrize("library", [pickle, joblib])
def test_pickles_predict_and_train_on(iris: tuple[Any, Any], library: Any, tmp_path: Any) -> None:
    X, y = iris
    model = small(validation_fraction=0.2, patience=3).fit(X, y)
    if library is pickle:
        again = pickle.loads(pickle.dumps(model))
    else:
        joblib.dump(model, tmp_path / "model")
        again = joblib.load(tmp_path / "model")
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    assert [without_time(row) for row in again.model_.log] == [without_time(row) for row in model.model_.log]
    np.testing.assert_array_equal(
        again.partial_fit(X, y).predict_proba(X), model.partial_fit(X, y).predict_proba(X)
    )


def without_time(row: Any) -> tuple[Any, ...]:
    return (row.epoch, row.training_loss, row.validation_loss, row.metric)


def test_a_copy_does_not_follow_what_is_trained_on(iris: tuple[Any, Any]) -> None:
    X, y = iris
    model = small().fit(X, y)
    before = model.predict_proba(X)
    for other in (copy.copy(model), copy.deepcopy(model)):
        other.partial_fit(X, y)
        np.testing.assert_array_equal(model.predict_proba(X), before)
        assert np.abs(other.predict_proba(X) - before).max() > 1e-6


def test_few_databases_are_open_at_once_and_threads_share_them(
    iris: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = iris
    monkeypatch.setattr(embedded, "MOST_OPEN", 2)
    bag = BaggingClassifier(small(epochs=1), n_estimators=3, random_state=0).fit(X, y)
    expected = bag.predict_proba(X)
    assert len(embedded.OPEN.databases) == 2
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(bag.predict_proba(X))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    for probabilities in found:
        np.testing.assert_array_equal(probabilities, expected)


def test_nothing_of_the_rows_is_kept(iris: tuple[Any, Any]) -> None:
    X, y = iris
    model = small().fit(X, y)
    model.predict(X)
    engine = model.model_.engine
    tables = [row[0] for row in engine.execute("SELECT table_name FROM duckdb_tables()").fetchall()]  # type: ignore[attr-defined]
    assert all(name.startswith("selectron_") for name in tables)
    with pytest.raises(duckdb.CatalogException):
        engine.connection.execute("FROM rows")  # type: ignore[attr-defined]


FORKED: list[Any] = []


def predict_as_forked(X: Any) -> tuple[Any, bool]:
    """The probabilities, and whether they come from the database that was open before the fork."""
    model, before = FORKED
    return model.predict_proba(X), embedded.opened(model._snapshot) is before


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system")
def test_a_fork_leaves_its_parents_databases_alone(
    iris: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = iris
    model = small(epochs=1).fit(X, y)
    monkeypatch.setattr(sys.modules[__name__], "FORKED", [model, embedded.opened(model._snapshot)])
    with multiprocessing.get_context("fork").Pool(1) as pool:
        found, is_inherited = pool.apply_async(predict_as_forked, (X,)).get(timeout=60)
    expected, is_own = predict_as_forked(X)
    np.testing.assert_array_equal(found, expected)
    assert is_own
    assert not is_inherited


# Training ----------------------------------------------------------------------------------------


def test_partial_fit_is_fit_in_parts() -> None:
    X, y = load_iris(return_X_y=True)
    whole = small(epochs=4, batch_size=32).fit(X, y)
    parts = small(batch_size=32)
    for _ in range(4):
        parts.partial_fit(X, y, classes=[0, 1, 2])
    assert parts.n_iter_ == 4
    np.testing.assert_allclose(parts.loss_curve_, whole.loss_curve_)
    np.testing.assert_allclose(parts.predict_proba(X), whole.predict_proba(X), rtol=1e-9)


def test_partial_fit_of_a_stream_learns_classes_that_come_later() -> None:
    X, y = load_iris(return_X_y=True)
    model = SelectronClassifier(batch_size=10, learning_rate=0.05, random_state=0)
    order = np.random.default_rng(0).permutation(100)  # no virginica
    model.partial_fit(X[order], y[order], classes=np.unique(y))
    assert model.predict_proba(X).shape == (150, 3)
    for epoch in range(5):
        for chunk in np.array_split(np.random.default_rng(epoch).permutation(150), 2):
            model.partial_fit(X[chunk], y[chunk])
    assert model.score(X, y) > 0.93
    assert model.n_iter_ == 11


def test_partial_fit_of_numbers() -> None:
    X = np.random.default_rng(0).normal(size=(100, 2))
    model = SelectronRegressor(hidden=[], batch_size=5, learning_rate=0.1, random_state=0)
    for _ in range(5):
        model.partial_fit(X, X[:, 0] - X[:, 1], sample_weight=np.ones(100))
    assert model.score(X, X[:, 0] - X[:, 1]) > 0.99
    assert model.partial_fit(X[:1], X[:1, 0]).n_iter_ == 6
    with pytest.raises(ValueError, match="y has 2 targets, and 1 were trained on"):
        model.partial_fit(X, X)


def test_what_partial_fit_refuses() -> None:
    X, y = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        small().partial_fit(X, y)
    with pytest.raises(ValueError, match="class_weight='balanced' needs all rows"):
        small(class_weight="balanced").partial_fit(X, y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="not among the 2 known ones: 2"):
        small().partial_fit(X, y, classes=[0, 1])
    model = small().partial_fit(X, y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="is not the same as on the last call"):
        model.partial_fit(X, y, classes=[0, 1])
    with pytest.raises(ValueError, match="not among the 3 known ones: 7"):
        model.partial_fit(X, np.full(150, 7))
    assert model.n_iter_ == 1


def test_warm_start_goes_on_from_the_weights(iris: tuple[Any, Any]) -> None:
    X, y = iris
    model = small(warm_start=True, epochs=60, learning_rate=0.05).fit(X, y)
    first = model.loss_
    assert model.set_params(epochs=1).fit(X, y).loss_ < 1.5 * first
    assert small(epochs=1).fit(X, y).loss_ > 2 * first
    with pytest.raises(ValueError, match="warm_start needs the classes of the fit before"):
        model.fit(X[y != "setosa"], y[y != "setosa"])
    with pytest.raises(ConfigurationError, match="has another shape"):
        model.fit(X.iloc[:, :2], y)


def test_weights_of_classes_and_rows_move_the_predictions() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 2))
    y = np.where(X[:, 0] + rng.normal(size=300) > 1.5, "rare", "common")
    counts = [
        np.sum(model.predict(X) == "rare")
        for model in (
            small(epochs=40).fit(X, y),
            small(epochs=40, class_weight="balanced").fit(X, y),
            small(epochs=40, class_weight={"rare": 50.0}).fit(X, y),
        )
    ]
    assert counts[0] < counts[1] < counts[2]
    by_class = small(class_weight={"rare": 3.0}, scaling="none").fit(X, y)
    by_row = small(scaling="none").fit(X, y, sample_weight=np.where(y == "rare", 3.0, 1.0))
    np.testing.assert_allclose(by_class.predict_proba(X), by_row.predict_proba(X), rtol=1e-9)
    with pytest.raises(ConfigurationError, match="'other', which is no class"):
        small(class_weight={"other": 1.0}).fit(X, y)


def test_early_stopping_keeps_the_best_epoch(iris: tuple[Any, Any]) -> None:
    X, y = iris
    model = small(epochs=200, learning_rate=0.5, validation_fraction=0.3, patience=3).fit(X, y)
    assert model.n_iter_ < 200
    assert len(model.validation_loss_curve_) == model.n_iter_
    assert model.model_.record.validation_rows == 45
    assert np.argmin(model.validation_loss_curve_) == model.n_iter_ - 4


def test_seeds_decide() -> None:
    X, y = load_iris(return_X_y=True)

    def fitted(random_state: Any) -> Any:
        return small(random_state=random_state, epochs=1).fit(X, y).coefs_[0]

    three = fitted(3)
    np.testing.assert_array_equal(three, fitted(np.int64(3)))
    np.testing.assert_array_equal(fitted(np.random.RandomState(3)), fitted(np.random.RandomState(3)))
    assert np.abs(three - fitted(4)).max() > 0.01
    assert np.abs(fitted(None) - fitted(None)).max() > 0.01


def test_parameters_are_names_numbers_of_numpy_or_objects() -> None:
    X, y = load_iris(return_X_y=True)
    model = SelectronClassifier(
        hidden=np.array([6, 4]),
        activation=("tanh", "elu"),
        dropout=np.float32(0.1),
        optimizer=Momentum(0.1, momentum=0.5),
        learning_rate=np.float64(0.2),
        schedule=selectron.CosineDecay(epochs=3),
        epochs=np.int64(3),  # type: ignore[arg-type]
        batch_size=None,
        l2=np.float64(1e-3),
        random_state=0,
    ).fit(X, y)
    training = model.model_.blueprint.specification.training
    assert training.optimizer == Momentum(0.2, momentum=0.5)
    assert training.batch_size is None
    assert [weights.shape for weights in model.coefs_] == [(4, 6), (6, 4), (4, 3)]
    assert small(hidden=3, loss="cross_entropy").fit(X, y).coefs_[0].shape == (4, 3)
    assert small(hidden=[Dense(2, "selu")]).fit(X, y).coefs_[0].shape == (4, 2)
    assert small(categorical=[3]).fit(X, np.round(X[:, 3]) > 1).coefs_[0].shape[0] > 20
    embedding = small(embed={0: 2}).fit(X, y)
    assert embedding.coefs_[0].shape == (3 + 2, 4)
    assert embedding.model_.parameters["embedding: x0.vectors"].shape[1] == 2
    regressor = SelectronRegressor(epochs=2, output_activation="softplus", target_scaling="none")
    assert regressor.fit(X, y + 1.0).predict(X).min() > 0.0


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"optimizer": "lion"}, "optimizer is 'lion'"),
        ({"schedule": 3}, "schedule is 3"),
        ({"loss": "hinge"}, "loss is 'hinge'"),
        ({"loss": "huber"}, "does not fit a target of classes"),
        ({"hidden": "many"}, "hidden is 'many'"),
        ({"activation": "step"}, "There is no activation 'step'"),
        ({"epochs": 1.5}, "epochs is 1.5"),
        ({"random_state": -1}, "Seed must be between 0"),
        ({"categorical": [4]}, "categorical names column 4, and there are 4"),
        ({"categorical": ["x9"]}, "no column 'x9'"),
        ({"column_scaling": {0: "log"}}, "column_scaling of 'x0' is 'log'"),
        ({"validation_fraction": 1.0}, "validation is 1.0"),
    ],
    ids=str,
)
def test_parameters_that_make_no_sense_are_refused(parameters: dict[str, Any], message: str) -> None:
    X, y = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match=message):
        SelectronClassifier(**parameters).fit(X, y)


def test_rows_that_make_no_sense_are_refused(iris: tuple[Any, Any]) -> None:
    X, y = iris
    with pytest.raises(ValueError, match="at least one non-zero"):
        small().fit(X, y, sample_weight=np.zeros(150))
    with pytest.raises(ValueError, match="has the one class 'a'"):
        small().fit(X, ["a"] * 150)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        small().fit(X, y[:-1])
    with pytest.raises(ValueError, match="1 sample"):
        small().fit(X.head(1), y[:1])
    with pytest.raises(selectron.DataError, match="no column left to learn from"):
        small().fit(X * 0, y)
    with pytest.raises(selectron.TargetError, match="is 3 in all 150 rows"):
        SelectronRegressor(epochs=1).fit(X, np.full(150, 3.0))
    model = small().fit(X, y)
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(X.rename(columns={"sepal length (cm)": "length"}))
    with pytest.raises(selectron.ColumnError, match="is of type VARCHAR; the model needs"):
        model.predict(X.astype(str))
    with pytest.raises(NotFittedError):
        _ = small().model_
    failed = small()
    with pytest.raises(selectron.DataError, match="no column left"):
        failed.fit(X * 0, y)
    with pytest.raises(NotFittedError):
        failed.predict(X)
    with pytest.raises(NotFittedError):
        small().to_database(selectron.connect())


# scikit-learn's tools ----------------------------------------------------------------------------


def test_grid_search_in_a_pipeline_and_in_two_processes() -> None:
    X, y = load_iris(return_X_y=True)
    steps = make_pipeline(StandardScaler(), small(epochs=20))
    grid = {"selectronclassifier__learning_rate": [1e-5, 0.05]}
    search = GridSearchCV(steps, grid, cv=2, n_jobs=2, scoring="roc_auc_ovr").fit(X, y)
    assert search.best_params_["selectronclassifier__learning_rate"] == 0.05
    assert search.best_score_ > 0.95
    assert roc_auc_score(y, search.predict_proba(X), multi_class="ovr") > 0.95


def test_a_frame_goes_through_a_search_with_all_its_types(penguins_frame: Any) -> None:
    X = penguins_frame.drop(columns="species")
    search = GridSearchCV(small(epochs=20, learning_rate=0.05), {"l2": [0.0, 10.0]}, cv=2)
    search.fit(X, penguins_frame["species"])
    assert search.best_params_ == {"l2": 0.0}
    assert search.best_score_ > 0.95


def test_clones_have_the_parameters_and_nothing_else(iris: tuple[Any, Any]) -> None:
    model = small(optimizer=Momentum(0.1), class_weight={"setosa": 2.0}).fit(*iris)
    again = clone(model)
    assert again.get_params() == model.get_params()
    assert not hasattr(again, "classes_")


# Importing ---------------------------------------------------------------------------------------


def test_scikit_learn_is_imported_when_it_is_needed() -> None:
    code = """
import sys, selectron
assert "sklearn" not in sys.modules
assert "SelectronClassifier" in dir(selectron)
selectron.SelectronClassifier()
assert "sklearn" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_scikit_learn_it_says_what_to_install() -> None:
    code = """
import sys
sys.modules["sklearn"] = None
import selectron
try:
    selectron.SelectronRegressor
except selectron.MissingLibraryError as error:
    assert isinstance(error, ImportError)
    print(error)
try:
    selectron.Missing
except AttributeError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        "The estimators are scikit-learn's, which is not installed. pip install 'selectron[sklearn]'",
        "module 'selectron' has no attribute 'Missing'",
    ]


def test_dates_without_times_are_features() -> None:
    days = [datetime.date(2024, 1, 1) + datetime.timedelta(days=day) for day in range(60)]
    X = pl.DataFrame({"day": days})
    y = [day.isoweekday() > 5 for day in days]
    model = SelectronClassifier(hidden=(16,), learning_rate=0.05, random_state=0).fit(X, y)
    assert model.score(X, y) > 0.95

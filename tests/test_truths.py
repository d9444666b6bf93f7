"""Booleans to predict as numbers, and as weights of rows, are 1 and 0 on every engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from selectron import MLP, Database, FeatureOptions
from selectron.engines.base import ColumnKind, Engine

ENGINES = ("duckdb", "sqlite", "postgres")
FEATURES = FeatureOptions(include=("x",))
COLUMNS = "x, late, late_number, counts, counts_number, held"
TYPES = "x INTEGER, late BOOLEAN, late_number INTEGER, counts BOOLEAN, counts_number INTEGER, held BOOLEAN"


def rows(numbers: range) -> list[tuple[str, ...]]:
    """A number, and twice a boolean and the number that it stands for."""

    def truth(value: bool) -> tuple[str, str]:
        return ("TRUE", "1") if value else ("FALSE", "0")

    return [
        (str(x), *truth(x % 3 == 0), *truth(x % 4 != 0), "TRUE" if x in (5, 6) else "FALSE") for x in numbers
    ]


def query(numbers: range) -> str:
    """Such rows as a query."""
    named = [zip(COLUMNS.split(", "), row, strict=True) for row in rows(numbers)]
    return " UNION ALL ".join(
        "SELECT " + ", ".join(f"{value} AS {name}" for name, value in row) for row in named
    )


def source(engine: Engine, name: str, table: str, numbers: range) -> str:
    """Such rows as what a model is given."""
    # SQLite's booleans are numbers, unless a column says otherwise.
    engine.execute(f"CREATE TABLE {table} ({TYPES})")  # type: ignore[attr-defined]
    values = ", ".join(f"({', '.join(row)})" for row in rows(numbers))
    engine.execute(f"INSERT INTO {table} VALUES {values}")  # type: ignore[attr-defined]
    kinds = {own.name: own.kind for own in engine.columns(engine.relation(table))}
    assert kinds["late"] is kinds["counts"] is ColumnKind.BOOLEAN
    return table


@pytest.mark.parametrize("held", ["none", "fraction", "column", "table"])
@pytest.mark.parametrize("name", ENGINES)
def test_a_boolean_is_predicted_as_the_number_that_it_is(
    engines: Callable[[str], Engine], name: str, held: str
) -> None:
    engine = engines(name)
    db = Database(engine)
    trained, others = source(engine, name, "t", range(12)), source(engine, name, "u", range(12, 17))
    validation = {"none": 0, "fraction": 0.25, "column": "held", "table": others}[held]
    options: dict[str, Any] = {"network": MLP([2]), "epochs": 2, "features": FEATURES, "batch_size": None}
    ours, theirs = (
        db.train(
            trained, late, name=late, task="regression", validation=validation, row_weight=counts, **options
        )
        for late, counts in (("late", "counts"), ("late_number", "counts_number"))
    )
    assert ours.labels == ("late",)
    for key, values in theirs.parameters.items():
        np.testing.assert_allclose(ours.parameters[key], values, rtol=1e-9)
    assert [row.validation_loss for row in ours.log] == [
        None if row.validation_loss is None else pytest.approx(row.validation_loss) for row in theirs.log
    ]
    assert ours.evaluate(others).metrics == pytest.approx(theirs.evaluate(others).metrics)
    if held != "none":
        assert ours.evaluate().metrics == pytest.approx(theirs.evaluate().metrics)
    ours, theirs = ours.train(1), theirs.train(1)
    ours, theirs = (
        model.train_on(others, row_weight=counts)
        for model, counts in ((ours, "counts"), (theirs, "counts_number"))
    )
    for key, values in theirs.parameters.items():
        np.testing.assert_allclose(ours.parameters[key], values, rtol=1e-9)
    assert ours.verify(others).passed
    assert ours.sql("train", trained)


@pytest.mark.parametrize("name", ENGINES)
def test_several_targets_may_be_booleans(engines: Callable[[str], Engine], name: str) -> None:
    engine = engines(name)
    trained = source(engine, name, "t", range(12))
    model = Database(engine).train(
        trained, ["late", "counts_number"], network=MLP([]), epochs=1, validation=0, features=FEATURES
    )
    assert model.record.task == "regression"
    assert set(model.evaluate(trained).by_class) == {"late", "counts_number"}


def test_bigquery_takes_booleans_for_numbers(engines: Callable[[str], Engine]) -> None:
    options: dict[str, Any] = {"network": MLP([]), "epochs": 1, "features": FEATURES, "validation": 0}
    db, trained = Database(engines("bigquery")), query(range(4))
    ours, theirs = (
        db.train(trained, late, name=late, task="regression", row_weight=counts, **options)
        for late, counts in (("late", "counts"), ("late_number", "counts_number"))
    )
    for key, values in theirs.parameters.items():
        np.testing.assert_allclose(ours.parameters[key], values, rtol=1e-9)
    assert ours.evaluate(trained)["mae"] == pytest.approx(theirs.evaluate(trained)["mae"])


@pytest.mark.parametrize("name", ["duckdb", "postgres"])
def test_networks_that_predict_numbers_are_trained_on_with_booleans(
    engines: Callable[[str], Engine], name: str
) -> None:
    from sklearn.linear_model import LinearRegression

    engine = engines(name)
    trained = source(engine, name, "t", range(12))
    fitted = LinearRegression().fit([[1.0], [2.0]], [1.0, 2.0])
    model = Database(engine).import_model(
        fitted, trained, "late", features=["x"], row_weight="counts", validation=0.25
    )
    assert model.evaluate().rows == 3
    assert model.train(1).record.epochs == 1

"""Numbers to predict that are infinite or NaN are refused wherever they would count, on every engine."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import selectron
from selectron import MLP, ColumnError, Database, DataError, FeatureOptions, TargetError
from selectron.engines.base import Engine

INFINITE = {
    "duckdb": ["'Infinity'", "'-Infinity'", "'NaN'"],
    "postgres": ["'Infinity'", "'-Infinity'", "'NaN'"],
    # It has no NaN.
    "sqlite": ["9e999", "-9e999"],
}
CASES = [(engine, value) for engine, values in INFINITE.items() for value in values]


def filled(engine: Engine, name: str, targets: list[str]) -> None:
    columns = "x DOUBLE PRECISION, held BOOLEAN, y DOUBLE PRECISION"
    engine.execute(f"CREATE TABLE {name} ({columns})")  # type: ignore[attr-defined]
    rows = ", ".join(f"({x}, {x > 5}, {y})" for x, y in enumerate(targets))
    engine.execute(f"INSERT INTO {name} VALUES {rows}")  # type: ignore[attr-defined]


def fine() -> list[str]:
    return [f"{x * x}.5" for x in range(9)]


@pytest.mark.parametrize(("name", "value"), CASES)
def test_targets_that_are_not_finite_are_refused(
    engines: Callable[[str], Engine], name: str, value: str
) -> None:
    engine = engines(name)
    filled(engine, "good", [*fine(), "NULL"])
    filled(engine, "bad", [value, *fine()[1:], "NULL"])
    db = Database(engine)
    message = "Target 'y' of table 'bad' has 1 values that are NaN, infinite or beyond 1e\\+150"
    with pytest.raises(TargetError, match=message):
        db.train("bad", "y", network=MLP([]), epochs=1, validation=0)
    model = db.train("good", "y", network=MLP([]), epochs=1, validation=0)
    with pytest.raises(TargetError, match=message):
        model.evaluate("bad")
    with pytest.raises(TargetError, match=message):
        model.evaluate("bad", by="held")
    with pytest.raises(TargetError, match=message):
        model.train_on("bad")
    assert model.evaluate("good").rows == 9
    assert model.predict("bad").rows()


@pytest.mark.parametrize(("name", "value"), CASES)
def test_held_out_ones_are_refused_too(engines: Callable[[str], Engine], name: str, value: str) -> None:
    engine = engines(name)
    filled(engine, "good", fine())
    filled(engine, "bad", [*fine()[:8], value])
    db = Database(engine)
    for source, validation in (("bad", "held"), ("good", "bad")):
        with pytest.raises(TargetError, match=r"Target 'y' of table .* has 1 values that are NaN, infinite"):
            db.train(source, "y", network=MLP([]), epochs=1, validation=validation)
    assert db.models() == []


@pytest.mark.parametrize(("name", "value"), CASES)
def test_training_on_looks_at_them_again(engines: Callable[[str], Engine], name: str, value: str) -> None:
    engine = engines(name)
    filled(engine, "t", [*fine(), "NULL"])
    db = Database(engine)
    models = [
        db.train("t", "y", name=name, network=MLP([]), epochs=1, validation=validation)
        for name, validation in (("all", 0), ("held", "held"))
    ]
    engine.execute(f"UPDATE t SET y = {value} WHERE x = 8")  # type: ignore[attr-defined]
    for model in models:
        with pytest.raises(TargetError, match=r"Target 'y' of .* has 1 values that are NaN, infinite"):
            model.train(1)
        assert db.model(model.name).record.epochs == 1
    engine.execute("UPDATE t SET y = 4 WHERE x = 8")  # type: ignore[attr-defined]
    assert [model.train(1).record.epochs for model in models] == [2, 2]


@pytest.mark.parametrize("name", ["duckdb", "sqlite", "postgres"])
def test_training_on_refuses_what_a_first_training_would(engines: Callable[[str], Engine], name: str) -> None:
    engine = engines(name)
    engine.execute("CREATE TABLE t (x DOUBLE PRECISION, w DOUBLE PRECISION, y VARCHAR(9))")  # type: ignore[attr-defined]
    rows = ", ".join(f"({x}, 1.0, 'c{x % 2}')" for x in range(8))
    engine.execute(f"INSERT INTO t VALUES {rows}")  # type: ignore[attr-defined]
    features = FeatureOptions(nulls="refuse")
    options = {"network": MLP([]), "epochs": 1, "validation": 0}
    model = Database(engine).train("t", "y", features=features, row_weight="w", **options)  # type: ignore[arg-type]
    for change, undone, error, message in (
        ("y = 'c9'", "y = 'c1'", DataError, "classes that the model does not know: 'c9'"),
        ("w = -1", "w = 1", ColumnError, "'w' of table 't' has 1 values that are NULL, negative"),
        ("x = NULL", "x = 3", ColumnError, "'x' of table 't' has 1 NULLs"),
    ):
        engine.execute(f"UPDATE t SET {change} WHERE x = 3")  # type: ignore[attr-defined]
        with pytest.raises(error, match=message):
            model.train(1)
        engine.execute(f"UPDATE t SET {undone} WHERE x = 3 OR x IS NULL")  # type: ignore[attr-defined]
    assert model.train(1).record.epochs == 2


def test_imported_networks_are_not_given_such_rows(db: selectron.Database) -> None:
    from sklearn.linear_model import LinearRegression

    fitted = LinearRegression().fit([[1.0], [2.0]], [1.0, 2.0])
    rows = "SELECT x, CASE WHEN x = 3 THEN 'inf'::DOUBLE ELSE x END AS y FROM range(9) AS t(x)"
    with pytest.raises(TargetError, match="Target 'y' of the query has 1 values"):
        db.import_model(fitted, rows, "y", features=["x"], validation=0)

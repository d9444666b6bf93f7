"""The store's tables: versions, checkpoints, what dropping leaves, and stores of other versions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sqlglot import exp

import selectron
from selectron.engines.base import Engine
from selectron.errors import ModelNotFoundError, StoreError
from selectron.sql import column, integer, number, text
from selectron.store.schema import (
    CHANGES,
    LOG,
    MIGRATIONS,
    MODELS,
    PARAMETERS,
    SNAPSHOTS,
    STATE,
    STATISTICS,
    TABLES,
    UNITS,
    WEIGHTS,
    migrate,
    table,
)
from selectron.store.store import ModelRecord, Status, Store

ENGINES = ("duckdb", "sqlite", "postgres")
NAMES = [
    "plain",
    'a "quoted" name',
    "l'été",
    "größe 模型 🐧",
    "name; DROP TABLE selectron_models",
    "Upper",
    "upper",
]


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, engines: Callable[[str], Engine]) -> Engine:
    return engines(request.param)


@pytest.fixture
def store(engine: Engine) -> Store:
    found = Store(engine)
    found.prepare()
    return found


def created(store: Store, name: str, **options: Any) -> ModelRecord:
    """A model with statistics and units, and no checkpoint."""
    settings: dict[str, Any] = {
        "task": "regression",
        "target": "y",
        "source": "t",
        "training_rows": 9,
        "validation_rows": 1,
        "specification": '{"note": "it\'s"}',
        "selectron_version": "1",
        "statistics": [(0, "größe", "feature", "NumberFeature", "center", None, None, 0.1)],
        "units": {"input": ["größe"], "output": ["y'"]},
    }
    return store.create_model(name, **{**settings, **options})


def selected(**values: exp.Expr) -> exp.Select:
    return exp.select(*(exp.alias_(value, name, quoted=True) for name, value in values.items()))


def checkpointed(store: Store, record: ModelRecord, value: float, epochs: int = 1) -> ModelRecord:
    """A checkpoint of one weight, one number of state and one epoch of the log."""
    place = {"row": integer(0), "col": integer(0), "value": number(value)}
    log = {name: number(value) for name in list(TABLES[LOG])[2:-1]}
    store.checkpoint(
        record.model_id,
        parameters=selected(layer=text("output"), parameter=text("weights"), **place),
        state=selected(name=text("epoch"), **place),
        log=selected(epoch=integer(epochs), **log, finished_at=exp.cast(exp.CurrentTimestamp(), "timestamp")),
        epochs=epochs,
        steps=epochs * 10,
        status=Status.FINISHED,
    )
    return store.record(record.model_id)


def counted(store: Store, name: str, model_id: int | None = None) -> int:
    query = exp.select(exp.Count(this=exp.Star())).from_(table(name))
    if model_id is not None:
        query = query.where(exp.EQ(this=column("model_id"), expression=integer(model_id)))
    return int(store.engine.rows(query)[0][0])


def filled(store: Store, name: str, value: float) -> ModelRecord:
    """A model with rows in every table."""
    record = checkpointed(store, created(store, name), value)
    kept = {"row": integer(0), "col": integer(0), "value": number(value)}
    store.keep_state(record.model_id, 3, selected(name=text("epoch"), **kept))
    store.record_view(record.model_id, "prediction", f"view {record.model_id}", "t")
    return record


def test_versions_are_kept(store: Store) -> None:
    first = checkpointed(store, created(store, "m"), 0.1)
    second = checkpointed(store, created(store, "m"), 0.2)
    other = checkpointed(store, created(store, "other"), 0.3)
    assert [(r.name, r.version) for r in store.models()] == [("m", 1), ("m", 2), ("other", 1)]
    assert store.find("m") == second
    assert store.find("m", 1) == first
    assert (other.epochs, other.steps, other.status) == (1, 10, "finished")
    assert store.parameters(first.model_id) == [("output", "weights", 0, 0, 0.1)]
    assert store.parameters(second.model_id) == [("output", "weights", 0, 0, 0.2)]
    with pytest.raises(ModelNotFoundError, match=r"'m' has no version 3.*It has version 1, 2"):
        store.find("m", 3)
    # Versions are not used again while a newer one is there.
    store.drop("m", 1)
    assert created(store, "m").version == 3


def test_a_model_without_a_checkpoint_is_not_found(store: Store) -> None:
    created(store, "m")
    assert store.models() == []
    assert [record.name for record in store.models(unfinished=True)] == ["m"]
    with pytest.raises(ModelNotFoundError, match=r"There is no model 'm'.*Train one first"):
        store.find("m")


def test_a_checkpoint_replaces_the_one_before(store: Store) -> None:
    record = created(store, "m")
    checkpointed(store, record, 0.1)
    now = checkpointed(store, record, 0.2, epochs=2)
    assert (now.epochs, now.steps) == (2, 20)
    assert store.parameters(record.model_id) == [("output", "weights", 0, 0, 0.2)]
    assert store.state(record.model_id) == [("epoch", 0, 0, 0.2)]
    assert [(row.epoch, row.training_loss) for row in store.log(record.model_id)] == [(1, 0.1), (2, 0.2)]


def test_a_checkpoint_that_fails_changes_nothing(store: Store) -> None:
    record = checkpointed(store, created(store, "m"), 0.1)
    missing = exp.select("*").from_(table("no such table"))
    with pytest.raises(selectron.SelectronError):
        store.checkpoint(
            record.model_id,
            parameters=exp.select(*map(column, list(TABLES[PARAMETERS])[1:])).from_(table(PARAMETERS)),
            state=missing,
            log=None,
            epochs=2,
            steps=20,
            status=Status.FINISHED,
        )
    assert store.record(record.model_id) == record
    assert store.parameters(record.model_id) == [("output", "weights", 0, 0, 0.1)]


def test_dropping_a_version_removes_its_rows_of_every_table(store: Store) -> None:
    first, second = filled(store, "m", 0.1), filled(store, "m", 0.2)
    for name in TABLES:
        assert (counted(store, name, first.model_id) > 0, counted(store, name, second.model_id) > 0) == (
            True,
            True,
        )
    before = {name: counted(store, name, second.model_id) for name in TABLES}
    assert store.drop("m", 1) == 1
    assert {name: counted(store, name, first.model_id) for name in TABLES} == dict.fromkeys(TABLES, 0)
    assert {name: counted(store, name, second.model_id) for name in TABLES} == before
    assert store.find("m") == second


def test_dropping_the_last_model_removes_the_tables(store: Store) -> None:
    filled(store, "m", 0.1), filled(store, "m", 0.2)
    assert store.drop("m") == 2
    assert not store.exists()
    assert not any(store.engine.has_table(name) for name in (*TABLES, MIGRATIONS, WEIGHTS))
    store.prepare()
    assert created(store, "m").version == 1


def test_dropping_what_is_not_there(store: Store) -> None:
    filled(store, "model", 0.1)
    with pytest.raises(ModelNotFoundError, match=r"no model 'modle'.*Is 'model' meant"):
        store.drop("modle")
    with pytest.raises(ModelNotFoundError, match="'model' has no version 2"):
        store.drop("model", 2)
    assert counted(store, MODELS) == 1


@pytest.mark.parametrize("name", NAMES)
def test_names_come_back_as_they_were(store: Store, name: str) -> None:
    others = [filled(store, other, 0.5) for other in NAMES if other != name]
    record = created(
        store,
        name,
        target=name,
        source=name,
        statistics=[(0, name, "feature", "CategoryFeature", "categories", 0, name, None)],
        units={"input": [name], name: [f"{name}'s"]},
    )
    checkpointed(store, record, 0.25)
    found = store.find(name)
    assert (found.name, found.target, found.source, found.version) == (name, name, name, 1)
    assert store.units(found.model_id) == {"input": [name], name: [f"{name}'s"]}
    assert store.statistics(found.model_id) == [
        (0, name, "feature", "CategoryFeature", "categories", 0, name, None)
    ]
    assert store.drop(name) == 1
    assert store.models() == sorted(
        others, key=lambda other: [r.name for r in store.models()].index(other.name)
    )


def test_numbers_come_back_exactly(store: Store) -> None:
    values = [0.1, -1e-300, 1.7976931348623157e308, 5e-324, 3.0]
    rows = [(0, "x", "feature", "NumberFeature", "center", place, None, v) for place, v in enumerate(values)]
    record = created(store, "m", statistics=rows)
    found = sorted(store.statistics(record.model_id), key=lambda row: row[5])
    assert [row[-1] for row in found] == values


def test_a_model_is_copied_with_all_that_it_needs(store: Store, engines: Callable[[str], Engine]) -> None:
    other = Store(engines("sqlite"))
    other.prepare()
    filled(other, "m", 0.75)
    record = filled(store, "m", 0.1)
    copied = other.copy_from(store, record)
    assert (copied.name, copied.version, copied.epochs) == ("m", 2, 1)
    for name in (PARAMETERS, STATE, STATISTICS, UNITS):
        assert counted(other, name, copied.model_id) == counted(store, name, record.model_id)
    assert other.parameters(copied.model_id) == store.parameters(record.model_id)
    assert other.log(copied.model_id) == store.log(record.model_id)


# Stores of other versions -----------------------------------------------------------------------


def of_first_version(engine: Engine) -> Store:
    """A store as migration 1 made it, before states were kept on the way."""
    migrate(engine)
    engine.run(exp.Drop(tables=[table(SNAPSHOTS)], kind="TABLE"))
    later = exp.GT(this=column("number"), expression=integer(1))
    engine.run(exp.Delete(this=table(MIGRATIONS), where=exp.Where(this=later)))
    return Store(engine)


def test_each_change_is_applied_once(store: Store) -> None:
    for _ in range(2):
        store.prepare()
    numbers = store.engine.rows(
        exp.select(column("number")).from_(table(MIGRATIONS)).order_by(column("number"))
    )
    assert [int(found) for (found,) in numbers] == [number for number, _ in CHANGES]


def test_models_of_the_first_version_are_kept(engine: Engine) -> None:
    store = of_first_version(engine)
    record = checkpointed(store, created(store, "m"), 0.1)
    assert store.find("m") == record
    assert store.kept_steps(record.model_id) == []
    store.prepare()
    assert store.find("m") == record
    assert store.parameters(record.model_id) == [("output", "weights", 0, 0, 0.1)]
    assert counted(store, SNAPSHOTS) == 0
    assert store.drop("m") == 1


def test_a_trained_model_of_the_first_version_is_dropped(engine: Engine) -> None:
    """Nothing makes the tables of later versions before."""
    db = selectron.Database(engine)
    engine.execute("CREATE TABLE t (x INTEGER, y DOUBLE PRECISION)")  # type: ignore[attr-defined]
    engine.execute("INSERT INTO t VALUES (1, 0.5), (2, 0.25), (3, 0.5)")  # type: ignore[attr-defined]
    model = db.train("t", "y", network=selectron.MLP([]), epochs=1, validation=0)
    of_first_version(engine)
    again = selectron.Database(engine).model("y")
    assert again.predict("t").rows() == model.predict("t").rows()
    again.drop()
    assert not engine.has_table(MODELS)


def test_a_newer_store_is_refused(engine: Engine) -> None:
    store = Store(engine)
    store.prepare()
    record = checkpointed(store, created(store, "m"), 0.1)
    values: Sequence[exp.Expr] = [integer(999), text("later"), exp.CurrentTimestamp()]
    engine.run(exp.Insert(this=table(MIGRATIONS), expression=exp.Select(expressions=list(values))))
    newer = rf"written by a newer Selectron \(change 999; this one knows {CHANGES[-1][0]}\).*Upgrade"
    with pytest.raises(StoreError, match=newer):
        store.prepare()
    with pytest.raises(StoreError, match=newer):
        store.drop("m")
    engine.execute("CREATE TABLE t (x INTEGER, y INTEGER)")  # type: ignore[attr-defined]
    with pytest.raises(StoreError, match=newer):
        selectron.Database(engine).train("t", "y")
    assert store.find("m") == record

"""The same training on every engine: the same network, figures and predictions, to the last digits."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sqlglot import exp

import selectron
from selectron.database import Database
from selectron.engines.base import Engine
from selectron.errors import DataError, EngineError, SelectronError

EMBEDDED = ("sqlite", "postgres")
OPTIONS: dict[str, Any] = {"network": selectron.MLP([3]), "epochs": 4, "batch_size": 100}


def trained(engine: Engine, source: object, **options: Any) -> selectron.Model:
    return Database(engine).train(source, "species", **{**OPTIONS, **options})


def same(left: selectron.Model, right: selectron.Model, tolerance: float = 1e-9) -> None:
    for key, value in right.parameters.items():
        np.testing.assert_allclose(left.parameters[key], value, rtol=tolerance, atol=1e-12, err_msg=key)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"layout": "columns", "strategy": "stepwise", "steps": 2},
        {"layout": "relations", "strategy": "stepwise"},
        {"patience": 1, "dropout": True, "seed": 3},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", EMBEDDED)
def test_a_training_agrees_with_duckdb(
    name: str, options: dict[str, Any], engines: Callable[[str], Engine], penguins: str
) -> None:
    options = dict(options)
    if options.pop("dropout", False):
        options["network"] = selectron.MLP([4], dropout=0.3)
    plain = {k: v for k, v in options.items() if k not in ("layout", "strategy", "steps")}
    expected = trained(engines("duckdb"), penguins, **plain)
    model = trained(engines(name), penguins, **options)
    same(model, expected)
    ours, theirs = model.evaluate(), expected.evaluate()
    assert ours.metrics == pytest.approx(theirs.metrics, rel=1e-9)
    assert ours.confusion == theirs.confusion
    for mine, other in zip(
        sorted(model.predict(penguins).rows(), key=str),
        sorted(expected.predict(penguins).rows(), key=str),
        strict=True,
    ):
        assert mine[-3:] == pytest.approx(other[-3:], rel=1e-9)
        assert mine[-4] == other[-4]
    losses = [row.training_loss for row in model.log]
    assert losses == pytest.approx([row.training_loss for row in expected.log], rel=1e-9)
    assert [row.epoch for row in model.log] == [row.epoch for row in expected.log]
    same(model.train(2), expected.train(2))


@pytest.mark.parametrize("strategy", ["nested", "stepwise"])
@pytest.mark.parametrize("layout", ["arrays", "columns", "relations"])
def test_any_layout_and_strategy_trains(
    layout: str, strategy: str, engines: Callable[[str], Engine], penguins: str
) -> None:
    expected = trained(engines("duckdb"), penguins)
    options = {"layout": layout, "strategy": strategy, "steps": 3}
    if layout == "columns":
        # DuckDB takes a second to plan a statement of so many columns.
        options |= {"optimizer": selectron.SGD(0.1), "network": selectron.MLP([]), "epochs": 2}
        expected = trained(engines("duckdb"), penguins, **{k: v for k, v in options.items() if k != "layout"})
    same(trained(engines("duckdb"), penguins, **options), expected)


@pytest.mark.parametrize("name", EMBEDDED)
def test_regression_and_several_targets(name: str, engines: Callable[[str], Engine], penguins: str) -> None:
    def train(engine: Engine) -> selectron.Model:
        targets = ["body_mass_g", "flipper_length_mm"]
        return Database(engine).train(penguins, targets, name="size", network=selectron.MLP([2]), epochs=3)

    expected, model = train(engines("duckdb")), train(engines(name))
    same(model, expected)
    assert model.evaluate().metrics == pytest.approx(expected.evaluate().metrics, rel=1e-9)
    assert model.predict(penguins).rows(1)[0][-2:] == pytest.approx(
        expected.predict(penguins).rows(1)[0][-2:], rel=1e-9
    )


@pytest.mark.parametrize("name", EMBEDDED)
def test_tables_views_and_files_of_predictions(
    name: str, engines: Callable[[str], Engine], penguins: str, tmp_path: Path
) -> None:
    engine = engines(name)
    engine.create_table("birds", selectron_rows(engine, penguins))
    model = trained(engine, "birds")
    predictions = model.predict("birds")
    predictions.to_table("scored")
    predictions.to_view("live")
    predictions.to_file(tmp_path / "scored.csv")
    counts = [Database(engine).engine.rows(selectron_rows(engine, table)) for table in ("scored", "live")]
    assert len(counts[0]) == len(counts[1]) == 344
    assert (tmp_path / "scored.csv").read_text().count("\n") == 345
    with pytest.raises(DataError, match="already"):
        predictions.to_table("scored")
    assert Database(engine).drop("species") == 1
    with pytest.raises(DataError, match="no table"):
        engine.relation("live")


def selectron_rows(engine: Engine, source: str) -> Any:
    return exp.select("*").from_(engine.relation(source).source)


@pytest.mark.parametrize("name", EMBEDDED)
def test_bad_input_is_refused_with_our_own_message(
    name: str, engines: Callable[[str], Engine], penguins: str
) -> None:
    engine = engines(name)
    for source, target, message in [
        ("nowhere", "species", "no table, view or file"),
        (penguins, "kind", "no column 'kind'"),
        ("missing.csv", "species", "no file"),
        ("SELECT 1 AS a, 2 AS a", "a", "two columns named 'a'"),
        ("SELECT 1 AS a, 2 AS b WHERE 1 = 0", "b", "is empty"),
    ]:
        with pytest.raises(SelectronError, match=message):
            Database(engine).train(source, target)
    assert Database(engine).models() == []


def test_a_layout_that_does_not_fit_is_refused_before_anything_runs(
    engines: Callable[[str], Engine], penguins: str
) -> None:
    with pytest.raises(EngineError, match=r"needs \d+ products, and the engine plans statements of 60000"):
        trained(engines("postgres"), penguins, layout="columns", network=selectron.MLP([4_000]))
    with pytest.raises(EngineError, match="neither lists nor functions"):
        trained(engines("postgres"), penguins, layout="arrays")
    assert Database(engines("postgres")).models() == []


def test_a_model_is_found_again_in_its_file(tmp_path: Path, penguins: str) -> None:
    path = tmp_path / "birds.sqlite"
    with selectron.connect(path) as db:
        parameters = db.train(penguins, "species", **OPTIONS).parameters
    with selectron.connect(path, read_only=True) as db:
        model = db.model("species")
        assert all((model.parameters[key] == value).all() for key, value in parameters.items())
        assert len(model.predict(penguins).rows()) == 344
        with pytest.raises(SelectronError, match="read-only"):
            db.train(penguins, "species")
    (tmp_path / "no.sqlite").write_text("not a database, but long enough to look like one")
    with pytest.raises(EngineError, match="not a SQLite database"):
        selectron.connect("sqlite:///" + str(tmp_path / "no.sqlite"))
    with pytest.raises(EngineError, match="no engine"):
        selectron.connect("mysql://here")
    with pytest.raises(EngineError, match="no connection"):
        selectron.connect("postgresql://nobody@127.0.0.1:1/none")


@pytest.mark.parametrize("there", ["duckdb", "sqlite", "postgres"])
@pytest.mark.parametrize("here", ["duckdb", "sqlite", "postgres"])
def test_a_copied_model_predicts_the_same_and_trains_on(
    here: str, there: str, engines: Callable[[str], Engine], penguins: str
) -> None:
    model = trained(engines(here), penguins, optimizer=selectron.Adam(0.02))
    copied = Database(engines(there)).copy(model)
    assert copied.evaluate().metrics == pytest.approx(model.evaluate().metrics, rel=1e-9)
    assert [row[:6] for row in map(astuple, copied.log)] == [row[:6] for row in map(astuple, model.log)]
    for mine, other in zip(copied.predict(penguins).rows(), model.predict(penguins).rows(), strict=True):
        assert mine[-3:] == pytest.approx(other[-3:], rel=1e-9)
    same(copied.train(1), model.train(1))


@pytest.mark.parametrize("name", ["duckdb", "sqlite", "postgres"])
@pytest.mark.parametrize("kind", ["arrow", "pandas", "polars"])
def test_a_frame_is_a_table_on_a_connection_that_has_done_nothing_yet(
    kind: str, name: str, engines: Callable[[str], Engine]
) -> None:
    columns = {"x": [1.0, 2.0, 3.0, 4.0], "y": ["a", "a", "b", "b"]}
    frame = {"arrow": pa.table, "pandas": pd.DataFrame, "polars": pl.DataFrame}[kind](columns)
    model = Database(engines(name)).train(frame, "y", network=selectron.MLP([]), epochs=1, validation=0)
    assert model.evaluate(frame).rows == 4
    assert (
        getattr(model.predict(frame), {"arrow": "arrow", "pandas": "df", "polars": "pl"}[kind])().shape[0]
        == 4
    )


INTERRUPTED = """
import signal, sys, threading, time, os
import selectron
db = selectron.connect(sys.argv[1])
checkpoint = threading.Event()
def later():
    checkpoint.wait()
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=later, daemon=True).start()
try:
    db.train(sys.argv[2], "species", network=selectron.MLP([16]), epochs=1_000_000,
             watch=lambda progress: checkpoint.set())
except selectron.TrainingInterrupted as stop:
    print("kept", db.model("species").record.epochs > 0, "Resume" in str(stop))
print(len(db.models()))
"""


@pytest.mark.parametrize("name", ["duckdb", "sqlite", "postgres"])
def test_ctrl_c_keeps_the_last_checkpoint(
    name: str, engines: Callable[[str], Engine], penguins: str, tmp_path: Path
) -> None:
    engine = engines(name)
    url = getattr(engine, "url", str(tmp_path / f"birds.{name}"))
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, url, penguins],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout == "kept True True\n1\n", done.stderr


@pytest.mark.parametrize("name", EMBEDDED)
def test_names_in_a_query_are_read_as_the_engine_reads_them(
    name: str, engines: Callable[[str], Engine]
) -> None:
    engine = engines(name)
    source = "SELECT A, A > 2 AS y FROM (SELECT 1 AS a UNION ALL SELECT 2 UNION ALL SELECT 3) AS Tab"
    assert len(engine.columns(engine.relation(source))) == 2
    with pytest.raises(DataError, match="cannot be read"):
        engine.columns(engine.relation("SELECT a, typpo FROM (SELECT 1 AS a) AS t"))


def test_a_divergence_is_not_lost_in_an_exponential(engines: Callable[[str], Engine]) -> None:
    engine = engines("postgres")
    nan = exp.cast(exp.Literal.string("nan"), "double")
    ((value,),) = engine.rows(exp.select(exp.Exp(this=nan)))
    assert np.isnan(value)


def test_a_large_network_predicts_in_a_reopened_file_and_without_us(tmp_path: Path, penguins: str) -> None:
    path = tmp_path / "large.sqlite"
    with selectron.connect(path) as db:
        db.engine.create_table("birds", exp.select("*").from_(db.engine.relation(penguins).source))
        model = db.train("birds", "species", network=selectron.MLP([60]), epochs=2)
        assert sum(array.size for array in model.parameters.values()) > 1000
        expected = model.predict("birds").rows()
        model.predict("birds").to_view("scored")
    with selectron.connect(path, read_only=True) as db:
        again = db.model("species")
        assert again.predict("birds").rows() == expected
        assert (again.evaluate()["accuracy"] or 0.0) > 0.8
        query = again.sql("predict")
    # A view and the printed query have no functions but SQLite's own.
    plain = sqlite3.connect(path)
    try:
        for found in (plain.execute("SELECT * FROM scored"), plain.execute(query)):
            for mine, other in zip(found.fetchall(), expected, strict=True):
                assert mine[-3:] == pytest.approx(other[-3:], rel=1e-9)
                assert mine[-4] == other[-4]
    finally:
        plain.close()


def test_columns_of_a_query_keep_the_types_of_their_table_on_sqlite(tmp_path: Path) -> None:
    path = tmp_path / "a #1?.sqlite"
    with selectron.connect(path) as db:
        plain = sqlite3.connect(path)
        plain.execute("CREATE TABLE t (day DATE, flag BOOLEAN, n INTEGER, name TEXT, y REAL)")
        days = [(f"2024-01-{i:02}", i % 2, i, f"n{i % 3}", i / 2) for i in range(1, 21)]
        plain.executemany("INSERT INTO t VALUES (?, ?, ?, ?, ?)", days)
        plain.commit()
        plain.close()
        relation = db.engine.relation("SELECT day, flag, n + 1 AS more, upper(name) AS name, y FROM t")
        kinds = [column.kind.value for column in db.engine.columns(relation)]
        assert kinds == ["date", "boolean", "number", "text", "number"]
        whole = db.train("t", "y", epochs=1, validation=0.2, name="a")
        same = db.train("SELECT * FROM t", "y", epochs=1, validation="SELECT * FROM t WHERE n > 15", name="b")
        assert whole.blueprint.encoding.units == same.blueprint.encoding.units
    with selectron.connect(path, read_only=True) as db:
        assert len(db.models()) == 2


def test_whole_numbers_beyond_64_bits_on_sqlite(engines: Callable[[str], Engine]) -> None:
    db = Database(engines("sqlite"))
    frame = pd.DataFrame({"x": np.array([1, 2**63 + 5, 7, 9], dtype=np.uint64), "y": [1.0, 2.0, 3.0, 4.0]})
    assert db.train(frame, "y", epochs=1, validation=0, network=selectron.MLP([])).record.epochs == 1


@pytest.mark.parametrize("name", ["duckdb", "sqlite", "postgres"])
def test_frames_of_odd_forms(name: str, engines: Callable[[str], Engine]) -> None:
    db = Database(engines(name))
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0, 4.0], "y": [2.0, 4.0, 6.0, 8.0]})
    backwards = db.train(frame[::-1], "y", epochs=1, validation=0, network=selectron.MLP([]))
    assert backwards.record.training_rows == 4
    doubled = pd.DataFrame([[1.0, 2.0, 3.0]], columns=["a", "a", "y"])
    with pytest.raises(SelectronError, match="two columns named 'a'"):
        db.train(doubled, "y")
    # Columns of the same values are two columns.
    alike = pa.table({"a": [1.0, 2.0], "b": [1.0, 2.0], "y": [0.0, 1.0]})
    assert db.train(alike, "y", epochs=1, validation=0).blueprint.encoding.units == ("a", "b")


@pytest.mark.parametrize("strategy", ["recursive", "nested", "stepwise"])
@pytest.mark.parametrize("name", ["duckdb", "sqlite", "postgres"])
def test_training_goes_on_from_any_state_that_was_kept(
    name: str, strategy: str, engines: Callable[[str], Engine], penguins: str
) -> None:
    db = Database(engines(name))
    options: dict[str, Any] = {"network": selectron.MLP([3]), "epochs": 3, "batch_size": 100, "seed": 4}
    if strategy != "recursive":
        options["steps"] = 2
    model = db.train(penguins, "species", strategy=strategy, keep_states=True, **options)
    final = {key: array.tolist() for key, array in model.parameters.items()}
    losses = [row.training_loss for row in model.log]
    kept = model.kept_steps
    assert kept[-1] == 3 * 4
    assert len(kept) == (1 if strategy == "recursive" else 6)
    for step in kept[:-1:2]:
        back = model.rewind(step)
        assert back.record.epochs == step // 4
        assert len(back.log) == step // 4
        again = back.train()
        assert {key: array.tolist() for key, array in again.parameters.items()} == final
        assert [row.training_loss for row in again.log] == losses
        assert again.record.status == "finished"
    with pytest.raises(SelectronError, match=r"No state .* after step 999 was kept"):
        model.rewind(999)
    model.trace(step=3)
    assert model.kept_steps == kept
    model.drop()
    assert not db.store.exists()


@pytest.mark.parametrize("name", ["duckdb", "sqlite", "postgres"])
def test_names_that_differ_in_case_are_one_table_or_two(name: str, engines: Callable[[str], Engine]) -> None:
    engine = engines(name)
    db = Database(engine)
    engine.execute('CREATE TABLE "t" AS SELECT 1 AS x, 2 AS y')  # type: ignore[attr-defined]
    # Of letters like these none of the engines ignores the case.
    for letter, number in {"ä": 3, "Ä": 4}.items():
        engine.execute(f'CREATE TABLE "{letter}" AS SELECT {number} AS x, 2 AS y')  # type: ignore[attr-defined]

    def found(table: str) -> list[Any]:
        return engine.rows(exp.select("x").from_(engine.relation(table).source))

    assert engine.has_table("t")
    assert [engine.has_table(letter) for letter in "äÄöÖ"] == [True, True, False, False]
    assert [found("t"), found("T"), found("ä"), found("Ä")] == [[(1,)], [(1,)], [(3,)], [(4,)]]
    model = db.train("SELECT 1.5 AS x, 2.5 AS y UNION ALL SELECT 2, 3", "y", validation=0, epochs=1)
    if name != "postgres":
        assert engine.has_table("T")
        with pytest.raises(DataError, match="'T' already"):
            model.predict("SELECT 7 AS x").to_table("T")
        assert found("t") == [(1,)]
        return
    assert not engine.has_table("T")
    model.predict("SELECT 7 AS x").to_table("T")
    assert [found("t"), found("T")] == [[(1,)], [(7,)]]
    model.predict("SELECT 8 AS x").to_table("T", replace=True)
    assert [found("t"), found("T")] == [[(1,)], [(8,)]]
    for table in ("Ab", "aB"):
        model.predict("SELECT 9 AS x").to_table(table)
    with pytest.raises(DataError, match=r"'ab' may be any of '.*\.Ab', '.*\.aB'"):
        engine.relation("ab")

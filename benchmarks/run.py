"""Measure training against PyTorch eager on the same machine, in the same run, data access included.

Both sides start from a table in a DuckDB database in memory. Selectron is timed from the call of
`train` to the committed model; PyTorch from reading the table, through standardizing it, to the
trained weights. Each figure is the best of several runs, since everything else only adds to it.

Run with ``make bench``.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import duckdb
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

import selectron

COLUMNS = 30


def make_table(connection: duckdb.DuckDBPyConnection, rows: int, units: int, classes: int) -> None:
    """A table `t` of standard-normal-like columns and a class that depends on them."""
    connection.execute("SELECT setseed(0.5)")
    columns = ", ".join(f"random() * 4 - 2 AS x{number}" for number in range(units))
    connection.execute(f"CREATE TABLE raw AS SELECT {columns} FROM range({rows})")
    score = " + ".join(f"x{number}" for number in range(0, units, 2))
    connection.execute(
        f"CREATE TABLE t AS SELECT *, 'c' || (abs(floor({score}))::BIGINT % {classes}) AS y FROM raw"
    )


def best(run: Callable[[], float], times: int) -> float:
    """The least of several timings, after one that is thrown away."""
    run()
    return min(run() for _ in range(times))


def ours(rows: int, units: int, hidden: int, classes: int, epochs: int, size: int | None, name: str) -> float:
    """Seconds of Selectron for the whole of a training."""
    with selectron.connect() as db:
        make_table(db.engine.connection, rows, units, classes)
        optimizer = selectron.Adam(0.01) if name == "Adam" else selectron.SGD(0.1)
        started = time.perf_counter()
        db.train(
            "t",
            "y",
            network=selectron.MLP([hidden]),
            loss=selectron.CrossEntropy(),
            optimizer=optimizer,
            epochs=epochs,
            batch_size=size,
            validation=0,
        )
        return time.perf_counter() - started


def theirs(
    rows: int, units: int, hidden: int, classes: int, epochs: int, size: int | None, name: str
) -> float:
    """Seconds of PyTorch for the same."""
    connection = duckdb.connect()
    make_table(connection, rows, units, classes)
    started = time.perf_counter()
    columns = connection.execute("SELECT * FROM t").fetchnumpy()
    x = np.column_stack([columns[f"x{number}"] for number in range(units)])
    x = (x - x.mean(0)) / x.std(0)
    _, y = np.unique(np.asarray(columns["y"]).astype(str), return_inverse=True)
    order = np.random.default_rng(0).permutation(rows)
    features, target = torch.tensor(x[order], dtype=torch.float32), torch.tensor(y[order])
    network = torch.nn.Sequential(
        torch.nn.Linear(units, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, classes)
    )
    make = torch.optim.Adam if name == "Adam" else torch.optim.SGD
    optimizer = make(network.parameters(), lr=0.01)
    for _ in range(epochs):
        for start in range(0, rows, size or rows):
            batch = slice(start, start + (size or rows))
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(network(features[batch]), target[batch])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return time.perf_counter() - started


def compare(
    table: Table, rows: int, shape: tuple[int, int, int], epochs: int, size: int | None, name: str
) -> None:
    """A line of the table: both sides, and nanoseconds a multiply-add of ours."""
    units, hidden, classes = shape
    mine = best(lambda: ours(rows, *shape, epochs, size, name), 3)
    peer = best(lambda: theirs(rows, *shape, epochs, size, name), 3)
    steps = epochs * -(-rows // (size or rows))
    # Forward and weight gradients of both layers, and the gradient that reaches the hidden layer.
    products = rows * epochs * (2 * units * hidden + 3 * hidden * classes)
    table.add_row(
        f"{units}-{hidden}-{classes}",
        f"{rows:,}",
        f"{size or rows:,}",
        name,
        str(steps),
        f"{1e3 * mine / steps:.2f}",
        f"{1e9 * mine / products:.2f}",
        f"{mine / peer:.1f}",
    )


def preparation(rows: int) -> float:
    """Seconds to learn, shuffle, scale and batch a table: a training of no epochs."""
    with selectron.connect() as db:
        make_table(db.engine.connection, rows, COLUMNS, 2)
        started = time.perf_counter()
        db.train("t", "y", epochs=0, batch_size=2048, validation=0)
        return time.perf_counter() - started


PEAK = """
import sys
from selectron import MLP, SGD, CrossEntropy
from selectron.engines.duckdb import FRONTIER, DuckDB
from selectron.layouts.arrays_step import ListsLayout
from selectron.layouts.base import BatchColumns, BatchPlan, Step
from selectron.sql import column, integer
from selectron.strategies.recursive import recursive_query
from selectron.training.forward import Inputs
from selectron.training.options import TrainingOptions
from selectron.training.step import build_step

steps, parts = map(int, sys.argv[1:])
engine = DuckDB()
options = TrainingOptions(optimizer=SGD(1e-6))
step = build_step(MLP([20]), Inputs(784, 10), CrossEntropy(), options, weighted=False, validated=False)
values = ", ".join(f"sin(i * {j}) AS x{j}" for j in range(784))
engine.execute("CREATE TEMP TABLE given AS SELECT i AS position, false AS held, "
    f"(i % 10)::DOUBLE AS y, {values} FROM range(20) AS t(i)")
shapes = {name: value.shape for name, value in step.state.items()}
layout = ListsLayout(Step(step.program, shapes, 1), parts)
columns = BatchColumns([column(f"x{j}") for j in range(784)], [column("y")])
plan = BatchPlan(20, 0, 20)
made = layout.tables(engine.temporary("given"), columns, plan, held_out="held", position="position")
for name, query in made.items():
    engine.create_temporary(name, query(engine.temporary))
engine.create_temporary("now", layout.initial(step.state, 0))
engine.create_temporary("next", recursive_query(layout, state=engine.temporary("now"),
    tables=engine.temporary, until=integer(steps), frontier=FRONTIER))
assert engine.execute("SELECT step FROM next").fetchall() == [(float(steps),)]
# Not getrusage: its peak includes that of the process that started this one.
(peak,) = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(int(peak) / 1024)
"""


def peak_memory(steps: int, parts: int) -> float:
    """Peak memory, in MiB, of a process that trains 784-20-10 for so many steps in one statement."""
    printed = subprocess.run(
        [sys.executable, "-c", PEAK, str(steps), str(parts)], capture_output=True, text=True, check=True
    ).stdout
    return float(printed)


def main() -> None:
    """Print all figures."""
    console = Console(width=110)
    table = Table(title="Whole trainings, data access included (PyTorch eager, 2 threads, float32)")
    for heading in ("network", "rows", "batch", "optimizer", "steps", "ms a step", "ns a product", "ratio"):
        table.add_column(heading, justify="right")
    for name in ("SGD", "Adam"):
        compare(table, 150, (4, 20, 3), 100, None, name)
        compare(table, 100_000, (COLUMNS, 32, 2), 10, 2048, name)
    console.print(table)
    console.print(f"Preparing 1,000,000 rows of {COLUMNS} columns: {preparation(1_000_000):.1f} s")
    for parts in (1, 2):
        short, long = peak_memory(100, parts), peak_memory(10_000, parts)
        console.print(
            f"Peak memory of one statement of 784-20-10 ({['one part', 'two parts'][parts - 1]}): "
            f"{short:.0f} MiB for 100 steps, {long:.0f} MiB for 10,000: {long / short:.2f} times"
        )


if __name__ == "__main__":
    main()

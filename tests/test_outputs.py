"""Where predictions go: tables and views of schemas, files, and what is not written over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import selectron
from selectron.engines.base import Engine
from selectron.errors import DataError
from support import connection
from test_cli import folder, run

__all__ = ["folder"]

ROWS = "SELECT 1 AS x, 'a' AS y UNION ALL SELECT 2, 'b' UNION ALL SELECT 3, 'a' UNION ALL SELECT 4, 'b'"


def trained(engine: Engine, source: str = ROWS) -> selectron.Model:
    """A tiny model."""
    return selectron.Database(engine).train(
        source, "y", network=selectron.MLP([]), epochs=1, validation=0, layout="relations"
    )


@pytest.mark.parametrize("name", ["duckdb", "postgres"])
def test_outputs_go_into_the_schema_that_their_name_begins_with(
    engines: Callable[[str], Engine], name: str
) -> None:
    engine = engines(name)
    schema = f"marts_{id(engine)}"
    engine.execute(f"CREATE SCHEMA {schema}")  # type: ignore[attr-defined]
    try:
        engine.execute(f"CREATE TABLE {schema}.rows AS {ROWS}")  # type: ignore[attr-defined]
        model = trained(engine, f"{schema}.rows")
        predicted = model.predict(f"{schema}.rows")
        predicted.to_table(f"{schema}.scored")
        predicted.to_view(f"{schema}.followed")
        for output in ("scored", "followed"):
            assert len(engine.execute(f"SELECT * FROM {schema}.{output}").fetchall()) == 4  # type: ignore[attr-defined]
            with pytest.raises(DataError, match="already"):
                predicted.to_table(f"{schema}.{output}")
        model.train(1)
        # A name that is not below a schema may have dots.
        predicted.to_table("no_schema.scored")
        assert engine.has_table("no_schema.scored")
        assert f"{schema}.rows" in model.portable_sql(engine.dialect).replace('"', "")
        selectron.Database(engine).drop(model.name)
        assert engine.has_table(f"{schema}.scored")
        assert not engine.has_table(f"{schema}.followed")
    finally:
        engine.execute(f"DROP SCHEMA {schema} CASCADE")  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["duckdb", "sqlite", "postgres"])
def test_tables_and_views_do_not_replace_each_other(engines: Callable[[str], Engine], name: str) -> None:
    engine = engines(name)
    engine.create_table("rows", selectron.Database(engine).engine.relation(ROWS).source.this)
    predicted = trained(engine, "rows").predict("rows")
    predicted.to_table("kept")
    predicted.to_view("followed")
    with pytest.raises(DataError, match="'kept' is a table, and a view does not replace it"):
        predicted.to_view("kept", replace=True)
    with pytest.raises(DataError, match="'followed' is a view, and a table does not replace it"):
        predicted.to_table("followed", replace=True)
    predicted.to_table("kept", replace=True)
    predicted.to_view("followed", replace=True)


@pytest.mark.parametrize("name", ["duckdb", "sqlite", "postgres"])
def test_a_model_is_dropped_where_its_view_has_become_a_table(
    engines: Callable[[str], Engine], name: str
) -> None:
    engine = engines(name)
    engine.create_table("rows", engine.relation(ROWS).source.this)
    model = trained(engine, "rows")
    model.predict("rows").to_view("scored")
    engine.execute('DROP VIEW "scored"')  # type: ignore[attr-defined]
    engine.execute('CREATE TABLE "scored" AS SELECT 7 AS x')  # type: ignore[attr-defined]
    selectron.Database(engine).drop(model.name)
    assert [row[0] for row in engine.execute('SELECT x FROM "scored"').fetchall()] == [7]  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["duckdb", "sqlite", "postgres"])
def test_a_file_is_not_written_over_by_its_own_predictions(
    engines: Callable[[str], Engine], name: str, tmp_path: Path
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("x,y\n1,a\n2,b\n3,a\n4,b\n")
    before = path.read_bytes()
    predicted = trained(engines(name)).predict(str(path))
    with pytest.raises(DataError, match="rows come from"):
        predicted.to_file(path)
    assert path.read_bytes() == before
    predicted.to_file(tmp_path / "scored.csv")
    assert len((tmp_path / "scored.csv").read_text().splitlines()) == 5


def test_a_file_that_a_query_reads_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    with selectron.connect() as db:
        connection(db).execute(f"COPY ({ROWS}) TO '{path}'")
        predicted = trained(db.engine).predict(f"SELECT x FROM '{path}'")
        with pytest.raises(DataError, match="rows come from"):
            predicted.to_file(path)


@pytest.mark.parametrize("output", ["scored.xlsx", "scored.txt", "scored.csv.gz", "folder/scored"])
def test_files_of_other_kinds_do_not_become_tables(folder: Path, output: str) -> None:
    asked = ("birds.duckdb", "--model", "species", "--table", "birds", "--output", output)
    assert "is no file that can be written" in run("predict", *asked, folder=folder, code=1)
    assert "is no file that can be written" in run("attribute", *asked, folder=folder, code=1)


def test_a_view_needs_a_name_that_is_no_file(folder: Path) -> None:
    asked = ("birds.duckdb", "--model", "species", "--table", "birds", "--view")
    assert "--view goes with the name of a view" in run("predict", *asked, folder=folder, code=1)
    assert "--view goes" in run("predict", *asked, "--output", "scored.csv", folder=folder, code=1)
    assert not (folder / "scored.csv").exists()


def test_a_trace_is_written_as_other_rows_are(folder: Path) -> None:
    asked = ("birds.duckdb", "--model", "species", "--output")
    run("trace", *asked, "phases.csv", folder=folder)
    assert (folder / "phases.csv").read_text().startswith("phase,name,row,col,value")
    run("trace", *asked, "phases", folder=folder)
    assert "already" in run("trace", *asked, "phases", folder=folder, code=1)
    run("trace", *asked, "phases", "--replace", folder=folder)


def test_a_database_that_is_not_there(tmp_path: Path) -> None:
    asked = ("none.duckdb", "--model", "m", "--table", "t")
    assert "Train a model first" in run("predict", *asked, folder=tmp_path, code=1)
    told = run("train", "none.duckdb", "--target", "y", "--table", "t", folder=tmp_path, code=1)
    assert "There is no database 'none.duckdb'" in told
    assert "Train a model first" not in told

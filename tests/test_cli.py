"""The command line, run as a user runs it."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

import selectron
from selectron.cli import app
from support import connection

TRAIN = ["--target", "species", "--hidden", "8", "--epochs", "15"]


def run(*arguments: str, folder: Path, code: int = 0) -> str:
    """What the command prints; its exit code must be `code`."""
    done = subprocess.run(
        [sys.executable, "-m", "selectron", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout if code == 0 else done.stderr


@pytest.fixture
def folder(tmp_path: Path, penguins: str) -> Path:
    """A folder with a trained model in birds.duckdb, and its table."""
    with selectron.connect(tmp_path / "birds.duckdb") as db:
        connection(db).execute(f"CREATE TABLE birds AS FROM '{penguins}'")
        db.train("birds", "species", network=selectron.MLP([8]), epochs=15)
    return tmp_path


def test_a_csv_file_trains_a_model_beside_it(tmp_path: Path, penguins: str) -> None:
    printed = run("train", penguins, *TRAIN, folder=tmp_path)
    assert "Quality on 69 held-out rows" in printed
    assert "accuracy" in printed
    assert "predicted_species" in printed
    assert (tmp_path / "penguins.duckdb").exists()
    assert "species" in run("models", "penguins.duckdb", folder=tmp_path)
    assert "finished" in run("show", "penguins.duckdb", "--model", "species", folder=tmp_path)
    assert "accuracy" in run("evaluate", penguins, "--model", "species", folder=tmp_path)


def test_evaluate_predict_sql_log_and_drop(folder: Path) -> None:
    assert "344 rows" in run(
        "evaluate", "birds.duckdb", "--model", "species", "--table", "birds", folder=folder
    )
    rows = list(
        csv.DictReader(
            run(
                "predict", "birds.duckdb", "--model", "species", "--table", "birds", folder=folder
            ).splitlines()
        )
    )
    assert len(rows) == 344
    assert sum(row["species"] == row["predicted_species"] for row in rows) > 300
    for kind in ("predict", "train", "evaluate", "step"):
        printed = run("sql", "birds.duckdb", kind, "--model", "species", folder=folder)
        assert printed.startswith("WITH")
        with selectron.connect(folder / "birds.duckdb") as db:
            assert connection(db).execute(printed).fetchall()
    assert "15" in run("log", "birds.duckdb", "--model", "species", folder=folder)
    assert "1 version" in run("drop", "birds.duckdb", "--model", "species", folder=folder)
    with selectron.connect(folder / "birds.duckdb") as db:
        assert connection(db).execute("SHOW TABLES").fetchall() == [("birds",)]


@pytest.mark.parametrize("output", ["scored", "scored.csv", "scored.parquet", "scored.json"])
def test_predictions_go_where_they_are_sent(folder: Path, output: str) -> None:
    run(
        "predict", "birds.duckdb", "--model", "species", "--table", "birds", "--output", output, folder=folder
    )
    with selectron.connect(folder / "birds.duckdb") as db:
        name = output if "." not in output else str(folder / output)
        query = f"SELECT count(*) FROM '{name}' WHERE predicted_species IS NOT NULL"
        assert connection(db).execute(query).fetchall() == [(344,)]


def test_a_view_is_made_once_unless_replaced(folder: Path) -> None:
    arguments = [
        "predict",
        "birds.duckdb",
        "--model",
        "species",
        "--table",
        "birds",
        "--output",
        "v",
        "--view",
    ]
    run(*arguments, folder=folder)
    assert "already" in run(*arguments, folder=folder, code=1)
    run(*arguments, "--replace", folder=folder)


def test_training_on(folder: Path) -> None:
    run("train", "birds.duckdb", "--model", "species", "--more-epochs", "5", folder=folder)
    with selectron.connect(folder / "birds.duckdb") as db:
        assert db.model("species").record.epochs == 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "birds.duckdb", "--target", "species"], "No table is named"),
        (["train", "birds.duckdb", "--table", "birds"], "No target is named"),
        (["train", "birds.duckdb", "--table", "bird", *TRAIN], "no table, view or file named 'bird'"),
        (["train", "birds.duckdb", "--table", "birds", "--target", "kind"], "no column 'kind'"),
        (["train", "birds.duckdb", "--table", "birds", *TRAIN, "--optimizer", "lion"], "no optimizer 'lion'"),
        (["train", "birds.duckdb", "--table", "birds", *TRAIN, "--hidden", "a"], "--hidden is 'a'"),
        (["train", "birds.duckdb", "--table", "birds", *TRAIN, "--embed", "island"], "COLUMN:LENGTH"),
        (["train", "nothing.duckdb", "--table", "birds", *TRAIN], "no database 'nothing.duckdb'"),
        (["train", "nothing.csv", *TRAIN], "no file 'nothing.csv'"),
        (["evaluate", "birds.duckdb", "--model", "specie"], "Is 'species' meant?"),
        (["predict", "birds.duckdb", "--model", "species"], "No table is named"),
        (["sql", "birds.duckdb", "explain", "--model", "species"], "There is no SQL 'explain'"),
        (["drop", "birds.duckdb", "--model", "species", "--version", "9"], "no version 9"),
    ],
)
def test_mistakes_end_in_a_message(folder: Path, arguments: list[str], message: str) -> None:
    printed = " ".join(run(*arguments, folder=folder, code=1).split())
    assert message in printed


def test_rows_without_a_target_are_counted(tmp_path: Path, penguins: str) -> None:
    printed = run("train", penguins, "--target", "sex", "--hidden", "2", "--epochs", "2", folder=tmp_path)
    assert "11 of 344 rows of file" in printed


def test_every_command_has_help() -> None:
    from typer.main import get_command

    group = get_command(app)
    commands = group.commands  # type: ignore[attr-defined]
    assert {"train", "evaluate", "predict", "sql", "models", "show", "log", "drop"} < set(commands)
    for command in commands.values():
        assert command.help
        assert all(getattr(parameter, "help", None) for parameter in command.params)


def test_settings_of_optimizers_and_schedules(tmp_path: Path, penguins: str) -> None:
    common = ["train", penguins, "--target", "species", "--hidden", "2", "--epochs", "2"]
    momentum = ["--optimizer", "momentum", "--optimizer-option", "momentum=0.5"]
    warm = ["--schedule", "warm_up", "--schedule-option", "epochs=3", "--schedule-option", "then=cosine"]
    run(*common, *momentum, *warm, folder=tmp_path)
    shown = run("show", "penguins.duckdb", "--model", "species", folder=tmp_path)
    assert "momentum=0.5" in shown
    assert "WarmUp(epochs=3, start=0.1, then=CosineDecay(" in shown
    for option, message in (
        ("momentum", "'momentum' is no setting. Give NAME=VALUE"),
        ("nope=1", "has no setting 'nope'. It has "),
    ):
        wrong = [*common, "--optimizer", "momentum", "--optimizer-option", option]
        assert message in run(*wrong, folder=tmp_path, code=1)


def test_going_back_to_a_kept_state(tmp_path: Path, penguins: str) -> None:
    common = ["train", penguins, "--target", "species", "--hidden", "2", "--epochs", "4", "--batch-size", "0"]
    kept = ["--strategy", "stepwise", "--steps", "3", "--keep-states", "--validation", "0"]
    run(*common, *kept, folder=tmp_path)
    model = ["penguins.duckdb", "--model", "species"]
    assert "3" in run("rewind", *model, folder=tmp_path)
    assert "is at step 3, after 3 epochs" in run(
        "rewind", "penguins.duckdb", "3", *model[1:], folder=tmp_path
    )
    assert "4 epochs" in run("train", *model, "--resume", folder=tmp_path)
    assert "after step 9 was kept. Use one of 3, 4" in run(
        "rewind", "penguins.duckdb", "9", *model[1:], folder=tmp_path, code=1
    )


def test_a_function_is_made(folder: Path) -> None:
    made = run("function", "birds.duckdb", "is_species", "--model", "species", folder=folder)
    assert 'Made "is_species"("island", ' in made
    refused = run("function", "birds.duckdb", "is_species", "--model", "species", folder=folder, code=1)
    assert "There is a function 'is_species' already" in refused
    run("function", "birds.duckdb", "is_species", "--model", "species", "--replace", folder=folder)


def test_explain_and_copy_to_another_engine(folder: Path) -> None:
    explained = run("explain", "birds.duckdb", "--model", "species", folder=folder)
    assert "layout: arrays" in explained
    assert "bytes for one step" in explained
    assert "version 1" in run("copy", "birds.duckdb", "birds.sqlite", "--model", "species", folder=folder)
    listed = run("models", "birds.sqlite", folder=folder)
    assert "species" in listed
    refused = run("copy", "birds.duckdb", "birds.sqlite", "--model", "nope", folder=folder, code=1)
    assert "no model 'nope'" in refused


def test_a_layout_and_a_strategy_by_name(tmp_path: Path, penguins: str) -> None:
    how = ["--layout", "relations", "--strategy", "stepwise", "--epochs", "2", "--hidden", "2"]
    assert "accuracy" in run("train", penguins, "--target", "species", *how, folder=tmp_path)
    assert "no layout 'rows'" in run(
        "train", penguins, "--target", "species", "--layout", "rows", folder=tmp_path, code=1
    )


def test_each_edge_has_a_bias_if_asked_for(tmp_path: Path, penguins: str) -> None:
    common = ["train", penguins, "--target", "species", "--hidden", "2", "--epochs", "2", "--validation", "0"]
    run(*common, "--edge-biases", folder=tmp_path)
    run(*common, "--model", "plain", folder=tmp_path)
    with selectron.connect(tmp_path / "penguins.duckdb") as db:
        found, plain = db.model("species").parameters, db.model("plain").parameters
    inputs = found["hidden_1.weights"].shape[0]
    assert found["hidden_1.edge_biases"].shape == (inputs, 2)
    assert found["output.edge_biases"].shape == (2, 3)
    # Each was trained, and those of a unit have one gradient.
    assert (found["output.edge_biases"] != 0.0).all()
    assert not [name for name in found if name.endswith(".biases")]
    assert not [name for name in plain if name.endswith(".edge_biases")]
    assert plain["hidden_1.biases"].shape == (1, 2)


def test_trace_prints_each_phase_and_writes_a_table(folder: Path) -> None:
    printed = run("trace", "birds.duckdb", "--model", "species", "--step", "1", "--row", "0", folder=folder)
    for phase in ("pre-activation", "loss of each row", "gradient output.biases", "updated hidden_1.weights"):
        assert phase in printed
    run("trace", "birds.duckdb", "--model", "species", "--output", "phases", folder=folder)
    with selectron.connect(folder / "birds.duckdb") as db:
        ((count,),) = connection(db).execute("SELECT COUNT(DISTINCT phase) FROM phases").fetchall()
    assert count == 7

"""Options that make no sense together are refused by name; none is silently left unheeded."""

from __future__ import annotations

from pathlib import Path

import pytest

from test_cli import folder, run

__all__ = ["folder"]

MODEL = ("birds.duckdb", "--model", "species")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--optimizer-option", "momentum=0.8"),
            "The optimizer 'adam' has no setting 'momentum'. It has learn",
        ),
        (("--schedule", "step", "--schedule-option", "foo=3"), "no setting 'foo'. It has epochs, gamma."),
        (
            ("--loss", "squared_error", "--label-smoothing", "0.1"),
            "no setting 'label_smoothing'. It has none.",
        ),
    ],
)
def test_settings_that_there_are_not(folder: Path, options: tuple[str, ...], message: str) -> None:
    asked = ("train", "birds.duckdb", "--table", "birds", "--target", "species", "--model", "other", *options)
    assert message in run(*asked, folder=folder, code=1)


def test_a_model_that_is_trained_on_takes_no_other_options(folder: Path) -> None:
    on = ("train", *MODEL, "--more-epochs", "2")
    told = run(*on, "--learning-rate", "0.001", folder=folder, code=1)
    assert "--learning-rate does not go with --more-epochs" in told
    assert "16 epochs" in run("train", *MODEL, "--more-epochs", "1", "--table", "birds", folder=folder)
    assert "--row-weight goes with" in run(*on, "--row-weight", "year", folder=folder, code=1)


def test_a_model_is_trained_on_with_the_table_that_is_named(folder: Path) -> None:
    some = "SELECT * FROM birds WHERE island = 'Dream'"
    printed = run("train", *MODEL, "--more-epochs", "2", "--table", some, folder=folder)
    assert "17 epochs on 124 rows of the query" in printed


def test_scores_are_those_of_predictions(folder: Path) -> None:
    told = run("sql", "birds.duckdb", "train", "--model", "species", "--scores", folder=folder, code=1)
    assert "--scores does not go with train" in told


def test_a_trace_ends_where_the_training_does(folder: Path) -> None:
    told = run("trace", *MODEL, "--step", "100000", folder=folder, code=1)
    assert "step is 100000, and model 'species' was trained for 45 steps" in told
    run("trace", *MODEL, "--step", "46", "--output", "next.csv", folder=folder)


def test_help_begins_with_what_one_does_first() -> None:
    listed = run("--help", folder=Path()).split("Commands:")[1]
    names = [line.split()[0] for line in listed.splitlines() if line.startswith("  ") and line[2] != " "]
    assert names[:3] == ["train", "evaluate", "predict"]
    assert "verify" in names

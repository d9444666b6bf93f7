"""A database's predictions against NumPy's, on the same rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlglot import exp
from typer.testing import CliRunner

import selectron
from selectron.cli import app
from selectron.engines.base import Engine
from selectron.errors import ColumnError, ConfigurationError, DataError
from selectron.verification import CHUNK, differences, verify, worst

ENGINES = ("duckdb", "sqlite", "postgres")
FAST: dict[str, Any] = {"network": selectron.MLP([3]), "epochs": 2, "batch_size": 100}
# NULLs, a category that no training row had, numbers far away.
ODD = """
SELECT 'Dodo' AS species, 'Torgersen' AS island, NULL AS sex, 39.1 AS bill_length_mm, 18.7 AS bill_depth_mm,
  NULL AS flipper_length_mm, 1e9 AS body_mass_g, 2007 AS year
UNION ALL SELECT NULL, 'Atlantis', 'male', NULL, NULL, 181, -1e200, 2031
UNION ALL SELECT 'Adelie', NULL, 'unheard of', 1e-300, 0, 0, 0, NULL
"""


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize(
    ("target", "options"),
    [
        ("species", {"features": selectron.FeatureOptions(embed={"island": 2})}),
        ("sex", {"loss": selectron.BinaryCrossEntropy(), "network": selectron.MLP([2, 2])}),
        (["body_mass_g", "bill_depth_mm"], {"network": selectron.MLP([])}),
    ],
    ids=["classes", "two", "numbers"],
)
def test_the_database_computes_what_numpy_does(
    name: str, target: Any, options: dict[str, Any], engines: Callable[[str], Engine], penguins: str
) -> None:
    model = selectron.Database(engines(name)).train(penguins, target, name="m", **{**FAST, **options})
    verified = model.verify()
    assert verified.rows == 344
    assert verified.passed
    assert verified.absolute.size <= 1e-9 * max(1.0, abs(verified.absolute.numpy))
    assert verified.relative.size < 1e-9
    odd = model.verify(ODD)
    assert odd.rows == 3
    assert odd.passed


@pytest.mark.parametrize("name", ENGINES)
def test_what_differs_is_found_and_told(name: str, engines: Callable[[str], Engine], penguins: str) -> None:
    model = selectron.Database(engines(name)).train(penguins, "species", **FAST)
    rows = model.engine.relation(penguins)
    wrong = {key: value.copy() for key, value in model.parameters.items()}
    wrong["output.biases"][0, 2] += 1e-6
    found = verify(model.engine, model.blueprint, rows, model.weights(), wrong, 1e-9)
    assert not found.passed
    assert found.failures > 300
    assert found.other_classes == 0
    assert 1e-8 < found.absolute.size < 1e-6
    assert found.absolute.column.startswith("probability_")
    assert abs(found.absolute.database - found.absolute.numpy) == found.absolute.size
    assert verify(model.engine, model.blueprint, rows, model.weights(), wrong, 1e-5).passed
    wrong["output.biases"][0, 2] += 50.0
    found = verify(model.engine, model.blueprint, rows, model.weights(), wrong, 0.5)
    assert found.other_classes > 100
    # The row is the one that differs, counted from 1.
    query = f"SELECT * FROM ({ODD}) AS odd WHERE island = 'Atlantis'"
    assert (
        verify(
            model.engine, model.blueprint, model.engine.relation(query), model.weights(), wrong, 0.1
        ).absolute.row
        == 1
    )


def test_rows_are_compared_in_chunks(db: selectron.Database) -> None:
    model = db.train("SELECT x, x > 4 AS y FROM range(10) AS t(x)", "y", epochs=2, validation=0)
    verified = model.verify(f"SELECT x FROM range({2 * CHUNK + 1}) AS t(x)")
    assert verified.rows == 2 * CHUNK + 1
    assert verified.passed


def test_numbers_that_are_none_differ_from_those_that_are() -> None:
    nan, inf = math.nan, math.inf
    absolute, relative = differences(
        np.array([[1.0, nan], [nan, inf], [inf, 3.0]]), np.array([[1.0, nan], [0.0, inf], [-inf, 2.0]])
    )
    np.testing.assert_array_equal(absolute, [[0, 0], [inf, 0], [inf, 1]])
    np.testing.assert_array_equal(relative, [[0, 0], [inf, 0], [inf, 0.5]])
    found = worst(absolute, [4, 7, 9], ["a", "b"], absolute, relative)
    assert (found.row, found.column) == (7, "a")


def test_what_cannot_be_verified_is_refused(db: selectron.Database, penguins: str) -> None:
    model = db.train(penguins, "species", **FAST)
    with pytest.raises(DataError, match="no rows to verify"):
        model.verify(f"SELECT * FROM '{penguins}' WHERE false")
    with pytest.raises(ColumnError, match="lacks 1 of the model's columns: 'island'"):
        model.verify(f"SELECT * EXCLUDE (island) FROM '{penguins}'")
    for tolerance in (-1.0, math.nan, math.inf):
        with pytest.raises(ConfigurationError, match="tolerance is"):
            model.verify(tolerance=tolerance)
    assert not db.engine.rows(exp.select("*").from_("duckdb_tables()").where("temporary"))


def test_the_command_says_so_by_its_exit_code(tmp_path: Path, penguins: str) -> None:
    with selectron.connect(tmp_path / "birds.duckdb") as db:
        db.train(penguins, "species", **FAST)
    words = ["verify", str(tmp_path / "birds.duckdb"), "--model", "species", "--table", penguins]
    for more, code, word in (
        ([], 0, "Passed: all within 1e-09."),
        (["--tolerance", "0"], 1, "Failed: "),
    ):
        done = CliRunner().invoke(app, [*words, *more])
        assert done.exit_code == code, done.output
        assert word in done.output
        assert "344 rows" in done.output

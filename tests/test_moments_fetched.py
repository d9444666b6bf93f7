"""Moments with a time zone are fetched where pytz, which DuckDB asks for, is not installed."""

from __future__ import annotations

import csv
import datetime
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import sqlglot

import selectron
from selectron import MLP
from selectron.errors import EngineError
from support import connection

TABLE = """
    CREATE TABLE t AS SELECT i, TIMESTAMPTZ '2026-01-02 12:30:00.5+00' + to_hours(i) AS z, i > 4 AS y
    FROM range(10) AS t(i)
"""
FIRST = datetime.datetime(2026, 1, 2, 12, 30, 0, 500_000, tzinfo=datetime.UTC)
WITHOUT = """
import sys
sys.modules["pytz"] = None
from selectron.cli import main
main()
"""


@pytest.fixture(autouse=True)
def without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pytz", None)


@pytest.fixture
def model() -> Iterator[selectron.Model]:
    with selectron.connect() as db:
        connection(db).execute("SET TimeZone = 'Asia/Tokyo'")
        connection(db).execute(TABLE)
        yield db.train("t", "y", network=MLP([]), epochs=2)


def test_rows_have_them(model: selectron.Model) -> None:
    predictions = model.predict("t")
    moments = [row[1] for row in sorted(predictions.rows())]
    assert moments == [FIRST + datetime.timedelta(hours=hours) for hours in range(10)]
    assert str(moments[0]) == "2026-01-02 21:30:00.500000+09:00"
    assert moments[0].tzinfo == ZoneInfo("Asia/Tokyo")
    assert len(predictions.rows(3)) == len(predictions.select(["z"], 3)) == 3
    assert "2026-01-02 21:30:00.500000+09:00" in predictions._repr_html_()
    assert set(model.evaluate("t", by="z").groups) == set(moments)


def test_classes_are_moments(model: selectron.Model) -> None:
    query = "SELECT i, CASE WHEN i > 4 THEN z END AS z2, i % 2 AS y FROM t"
    assert {row[1] is None for row in model.predict("SELECT i, NULL::TIMESTAMPTZ AS z FROM t").rows()} == {
        True
    }
    classes = "SELECT i, TIMESTAMPTZ '2026-01-02 12:30:00.5+00' + to_hours(i % 2) AS c FROM t"
    db = selectron.Database(model.engine)
    told = db.train(classes, "c", network=MLP([]), epochs=1, validation=0)
    assert {row[2] for row in told.predict(classes).rows()} <= {FIRST, FIRST + datetime.timedelta(hours=1)}
    assert len(db.train(query, "y", network=MLP([]), epochs=1).predict(query).rows()) == 10


def test_odd_ones(model: selectron.Model) -> None:
    values = "(TIMESTAMPTZ 'infinity', 1), ('-infinity', 2), (NULL, 3), ('20000-01-01 00:00:00+00', 4)"
    query = f"SELECT z, z, p FROM (VALUES {values}) AS t(z, p) ORDER BY p DESC"
    found = model.engine.rows(sqlglot.parse_one(query, dialect="duckdb"))
    last, first = (own.replace(tzinfo=datetime.UTC) for own in (datetime.datetime.max, datetime.datetime.min))
    assert found == [(last, last, 4), (None, None, 3), (first, first, 2), (last, last, 1)]
    with pytest.raises(EngineError, match=r"inside lists or structures by a library .* pytz"):
        model.engine.rows(sqlglot.parse_one("SELECT [z] FROM t", dialect="duckdb"))


def test_the_command_line_prints_them(tmp_path: Path) -> None:
    with selectron.connect(tmp_path / "t.duckdb") as db:
        connection(db).execute(TABLE)
        db.train("t", "y", network=MLP([]), epochs=2)
    command = ["predict", "t.duckdb", "--model", "y", "--table", "t"]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, *command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    moments = {datetime.datetime.fromisoformat(row["z"]) for row in csv.DictReader(done.stdout.splitlines())}
    assert moments == {FIRST + datetime.timedelta(hours=hours) for hours in range(10)}

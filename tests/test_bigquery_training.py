"""A whole training on BigQuery's SQL, run by GoogleSQL's evaluator: the same network as DuckDB's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import selectron
from googlesql import GoogleSQL
from selectron.database import Database
from selectron.engines.bigquery import BigQuery
from selectron.errors import EngineError
from support import connection

ROWS = " UNION ALL ".join(
    f"SELECT {i} AS id, {math.sin(i * 1.7):.6f} AS a, {'NULL' if i % 7 == 0 else repr('xyz'[i % 3])} AS c, "
    f"{math.sin(i * 1.7) > 0} AS y"
    for i in range(24)
)
OPTIONS: dict[str, Any] = {
    "network": selectron.MLP([2]),
    "optimizer": selectron.SGD(0.1),
    "epochs": 2,
    "batch_size": 16,
    "features": selectron.FeatureOptions(exclude=("id",)),
}


@pytest.fixture
def expected(db: selectron.Database) -> selectron.Model:
    service = GoogleSQL()
    content = "FARM_FINGERPRINT(TO_JSON_STRING(STRUCT(a, c, y)))"
    ids = [row[0] for row in service.execute(f"SELECT id FROM ({ROWS}) ORDER BY {content}")]
    assert ids != sorted(ids)
    # The same rows in the order in which BigQuery numbers them.
    connection(db).execute(f"CREATE TABLE t AS SELECT * FROM ({ROWS}) ORDER BY list_position({ids}, id)")
    return db.train("t", "y", **OPTIONS)


def test_a_training_its_predictions_and_its_printed_statements(expected: selectron.Model) -> None:
    service = GoogleSQL()
    service.execute("CREATE TABLE t AS " + ROWS)
    model = Database(BigQuery(service)).train("t", "y", **OPTIONS)
    assert model.explain()["strategy"] == "recursive"
    for key, value in expected.parameters.items():
        np.testing.assert_allclose(model.parameters[key], value, rtol=1e-9, atol=1e-12)
    ours_, theirs_ = model.evaluate().metrics, expected.evaluate().metrics
    assert ours_ == {
        name: value if value is None else pytest.approx(value) for name, value in theirs_.items()
    }
    ours, theirs = (sorted(m.predict("t").rows()) for m in (model, expected))
    for mine, other in zip(ours, theirs, strict=True):
        assert mine[-2:] == pytest.approx(other[-2:], rel=1e-9)
    # What is printed gives the same weights, to the bit: one recursive statement, and a script with a loop.
    for found in (service.execute(model.sql("train")), service.script(model.sql("script"))):
        rows = found[-1] if isinstance(found[-1], list) else found
        for layer, parameter, row, col, value in rows:
            assert model.parameters[f"{layer}.{parameter}"][row, col] == value


def test_more_rounds_than_the_service_allows_are_refused(expected: selectron.Model) -> None:
    service = GoogleSQL()
    service.execute("CREATE TABLE t AS " + ROWS)
    database = Database(BigQuery(service))
    model = database.copy(expected.train(400))
    with pytest.raises(EngineError, match="ends a recursion after 500"):
        model.sql("train")
    assert "WHILE done < " in model.sql("script")
    with pytest.raises(EngineError, match="no scripts"):
        expected.sql("script")


def test_batches_and_held_out_rows_do_not_depend_on_the_order_in_which_rows_are_read() -> None:
    found = []
    for direction in ("", " DESC"):
        service = GoogleSQL()
        service.execute(f"CREATE TABLE t AS SELECT * FROM ({ROWS}) ORDER BY id{direction}")
        model = Database(BigQuery(service)).train("t", "y", **OPTIONS)
        found.append((model.parameters, [row.validation_loss for row in model.log]))
    (parameters, losses), (others, other_losses) = found
    for key, value in parameters.items():
        np.testing.assert_allclose(others[key], value, rtol=1e-12, atol=1e-15)
    assert losses == pytest.approx(other_losses, rel=1e-12)

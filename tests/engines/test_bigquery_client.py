"""The runner over BigQuery's client, with a client that executes in GoogleSQL's reference evaluator."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from googlesql import GoogleSQL, GoogleSQLError
from selectron.engines.base import ColumnKind
from selectron.engines.bigquery import BigQuery, ClientRunner
from selectron.errors import DataError, EngineError


class Client:
    """What the runner uses of ``google.cloud.bigquery.Client``."""

    project = "p"

    def __init__(self) -> None:
        self.google = GoogleSQL()
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def query(self, text: str, job_config: dict[str, Any]) -> Any:
        self.asked.append((text, job_config))
        if "ABORT_SESSION" in text:
            return SimpleNamespace(result=list, session_info=None)
        if job_config.get("dry_run"):
            return SimpleNamespace(schema=fields(self.google.describe(text)))
        rows = [dict(enumerate(row)) for row in self.google.execute(text)]
        session = SimpleNamespace(session_id="S")
        return SimpleNamespace(result=lambda: rows, session_info=session)

    def get_table(self, name: str) -> Any:
        schema = self.google.schema(name.removeprefix("p.d."))
        if schema is None:
            raise NotFoundError(name)
        return SimpleNamespace(schema=fields(schema))

    def get_routine(self, name: str) -> Any:
        if not self.google.has_function(name.removeprefix("p.d.")):
            raise NotFoundError(name)

    def list_tables(self, dataset: str) -> list[Any]:
        assert dataset == "p.d"
        return [SimpleNamespace(table_id=name) for name in self.google.table_names()]


class NotFoundError(Exception):
    code = 404


def fields(schema: list[tuple[str, str]]) -> list[Any]:
    """Fields with the older names of their types, as the client gives them."""
    older = {"INT64": "INTEGER", "FLOAT64": "FLOAT", "BOOL": "BOOLEAN"}
    return [SimpleNamespace(name=n, field_type=older.get(t, t), mode="NULLABLE") for n, t in schema]


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> ClientRunner:
    library = SimpleNamespace(QueryJobConfig=dict, ConnectionProperty=lambda *pair: pair, Client=Client)
    cloud = SimpleNamespace(bigquery=library)
    monkeypatch.setitem(sys.modules, "google.cloud", cloud)
    monkeypatch.setitem(sys.modules, "google.cloud.bigquery", library)
    return ClientRunner(dataset="d")


def test_statements_run_in_one_session(runner: ClientRunner) -> None:
    runner.execute("CREATE TEMP TABLE t AS SELECT 1 AS n")
    assert runner.execute("SELECT n FROM t") == [(1,)]
    runner.close()
    settings = [options for _, options in runner.client.asked]
    assert settings[0] == {"default_dataset": "p.d", "create_session": True}
    assert settings[1] == {"default_dataset": "p.d", "connection_properties": [("session_id", "S")]}
    assert (runner.client.asked[-1][0], runner.session) == ("CALL BQ.ABORT_SESSION()", None)


def test_the_engine_runs_over_the_client(runner: ClientRunner) -> None:
    runner.client.google.execute("CREATE TABLE sales AS SELECT 1 AS n, 0.5 AS price, TRUE AS sold")
    engine = BigQuery(runner, dataset="p.d")
    kinds = [column.kind for column in engine.columns(engine.relation("sales"))]
    assert kinds == [ColumnKind.NUMBER, ColumnKind.NUMBER, ColumnKind.BOOLEAN]
    assert not engine.has_table("missing")
    with pytest.raises(DataError, match=r"named 'SALE' in BigQuery dataset p\.d\. It has: 'sales'"):
        engine.relation("SALE")


def test_functions_are_found(runner: ClientRunner) -> None:
    engine = BigQuery(runner, dataset="p.d")
    assert not engine.has_function("f")
    runner.execute("CREATE FUNCTION f(x ANY TYPE) AS (x + 1)")
    assert engine.has_function("f")
    assert not ClientRunner().has_function("f")


def test_errors_of_the_service_are_errors_of_the_engine(runner: ClientRunner) -> None:
    with pytest.raises(EngineError, match="BigQuery refused: Table not found: missing") as caught:
        runner.execute("SELECT * FROM missing")
    assert isinstance(caught.value.__cause__, GoogleSQLError)


def test_a_missing_client_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.cloud", None)
    with pytest.raises(EngineError, match=r"Install selectron\[bigquery\]"):
        ClientRunner()

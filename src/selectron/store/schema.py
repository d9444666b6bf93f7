"""The tables that hold models, and the numbered changes that make them.

| table | a row for each | columns |
|---|---|---|
| `selectron_migrations` | change of these tables | number, name, applied_at |
| `selectron_models` | version of a model | model_id, name, version, created_at, status, task, target, ... |
| `selectron_parameters` | number of the current checkpoint | model_id, layer, parameter, row, col, value |
| `selectron_state` | number of the optimizer's state | model_id, name, row, col, value |
| `selectron_log` | epoch | model_id, epoch, training_loss, validation_loss, metric, ... |
| `selectron_statistics` | learned statistic of a column | model_id, position, column, role, kind, ... |
| `selectron_units` | unit of a layer | model_id, position, layer, unit, name |
| `selectron_views` | view or function that was made for a model | model_id, kind, name, source |
| `selectron_snapshots` | number of a state that was kept on the way | model_id, step, name, row, col, value |

Rows and columns of matrices count from 0: a row is an input unit, a column an output unit. The view
`selectron_weights` shows the same numbers by the names of features and units.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Final

import sqlglot
from sqlglot import exp

from selectron.engines.base import Engine
from selectron.errors import StoreError
from selectron.sql import column, integer, text

__all__ = [
    "LOG",
    "MIGRATIONS",
    "MODELS",
    "PARAMETERS",
    "SNAPSHOTS",
    "STATE",
    "STATISTICS",
    "TABLES",
    "UNITS",
    "VIEWS",
    "WEIGHTS",
    "migrate",
    "table",
]

MIGRATIONS: Final = "selectron_migrations"
MODELS: Final = "selectron_models"
PARAMETERS: Final = "selectron_parameters"
STATE: Final = "selectron_state"
LOG: Final = "selectron_log"
STATISTICS: Final = "selectron_statistics"
UNITS: Final = "selectron_units"
VIEWS: Final = "selectron_views"
SNAPSHOTS: Final = "selectron_snapshots"

TABLES: Final[dict[str, dict[str, str]]] = {
    MODELS: {
        "model_id": "bigint",
        "name": "text",
        "version": "bigint",
        "created_at": "timestamp",
        "status": "text",
        "task": "text",
        "target": "text",
        "source": "text",
        "training_rows": "bigint",
        "validation_rows": "bigint",
        "epochs": "bigint",
        "steps": "bigint",
        "specification": "text",
        "selectron_version": "text",
    },
    PARAMETERS: {
        "model_id": "bigint",
        "layer": "text",
        "parameter": "text",
        "row": "bigint",
        "col": "bigint",
        "value": "double",
    },
    STATE: {"model_id": "bigint", "name": "text", "row": "bigint", "col": "bigint", "value": "double"},
    LOG: {
        "model_id": "bigint",
        "epoch": "bigint",
        "training_loss": "double",
        "validation_loss": "double",
        "metric": "double",
        "learning_rate": "double",
        "gradient_norm": "double",
        "seconds": "double",
        "finished_at": "timestamp",
    },
    STATISTICS: {
        "model_id": "bigint",
        "position": "bigint",
        "column": "text",
        "role": "text",
        "kind": "text",
        "statistic": "text",
        "item": "bigint",
        "text": "text",
        "value": "double",
    },
    UNITS: {"model_id": "bigint", "position": "bigint", "layer": "text", "unit": "bigint", "name": "text"},
    VIEWS: {"model_id": "bigint", "kind": "text", "name": "text", "source": "text"},
    SNAPSHOTS: {
        "model_id": "bigint",
        "step": "bigint",
        "name": "text",
        "row": "bigint",
        "col": "bigint",
        "value": "double",
    },
}


WEIGHTS: Final = "selectron_weights"

WEIGHTS_VIEW: Final = """
CREATE VIEW selectron_weights AS
SELECT m.name AS model, m.version, p.layer,
  CASE p.parameter
    WHEN 'weights' THEN source.name
    WHEN 'vectors' THEN category.name
    WHEN 'biases' THEN NULL
    ELSE p.parameter || ' [' || CAST(p."row" + 1 AS TEXT) || ']'
  END AS from_unit,
  CASE p.parameter WHEN 'vectors' THEN 'dimension ' || CAST(p.col + 1 AS TEXT) ELSE unit.name END AS to_unit,
  p.value
FROM selectron_parameters AS p
JOIN selectron_models AS m ON m.model_id = p.model_id
LEFT JOIN selectron_units AS unit
  ON unit.model_id = p.model_id AND unit.layer = p.layer AND unit.unit = p.col
LEFT JOIN selectron_units AS source
  ON source.model_id = p.model_id AND source.position = unit.position - 1 AND source.unit = p."row"
  AND p.parameter = 'weights'
LEFT JOIN selectron_units AS category
  ON category.model_id = p.model_id AND category.layer = p.layer AND category.unit = p."row"
  AND p.parameter = 'vectors'
"""


def table(name: str) -> exp.Table:
    """A table by its name, quoted."""
    return exp.table_(name, quoted=True)


def create_table(name: str, columns: dict[str, str]) -> exp.Create:
    """CREATE TABLE IF NOT EXISTS."""
    definitions = [
        exp.ColumnDef(this=exp.to_identifier(column_name, quoted=True), kind=exp.DataType.build(type_))
        for column_name, type_ in columns.items()
    ]
    return exp.Create(this=exp.Schema(this=table(name), expressions=definitions), kind="TABLE", exists=True)


@cache
def first_statements() -> tuple[exp.Expr, ...]:
    """All tables of the first version; kept, since a short training should not wait for a parser."""
    tables = [create_table(name, columns) for name, columns in TABLES.items()]
    return (*tables, sqlglot.parse_one(WEIGHTS_VIEW, dialect="duckdb"))


def first_tables(engine: Engine) -> None:
    """Make them."""
    for statement in first_statements():
        engine.run(statement.copy())


def snapshots(engine: Engine) -> None:
    """States on the way, where they are kept."""
    engine.run(create_table(SNAPSHOTS, TABLES[SNAPSHOTS]))


# Changes in the order in which they are applied; a number is never used again.
CHANGES: Final[tuple[tuple[int, Callable[[Engine], None]], ...]] = ((1, first_tables), (2, snapshots))


def migrate(engine: Engine) -> None:
    """Bring the store up to this version of Selectron, making it if it is not there.

    Raises
    ------
    StoreError
        If a newer version of Selectron wrote it.
    """
    kinds = {"number": "bigint", "name": "text", "applied_at": "timestamp"}
    # Where it is, no right to make tables is needed.
    if not engine.has_table(MIGRATIONS):
        engine.run(create_table(MIGRATIONS, kinds))
    rows = engine.rows(exp.select(exp.Max(this=column("number"))).from_(table(MIGRATIONS)))
    applied = int(rows[0][0] or 0)
    newest = CHANGES[-1][0]
    if applied > newest:
        raise StoreError(
            f"The models were written by a newer Selectron (change {applied}; this one knows {newest}).",
            hint="Upgrade Selectron.",
        )
    for number, change in CHANGES:
        if number > applied:
            with engine.transaction():
                change(engine)
                record = exp.select(integer(number), text(change.__name__), exp.CurrentTimestamp())
                engine.run(exp.Insert(this=table(MIGRATIONS), expression=record))

"""The command that checks a database's predictions against NumPy's."""

from __future__ import annotations

from typing import Annotated

import typer

from selectron.cli.app import DatabasePath, ModelName, TableName, Version, app, is_data_file, opened
from selectron.cli.printing import out, print_rows
from selectron.verification import TOLERANCE

__all__ = ["verify"]


@app.command()
def verify(
    database: DatabasePath,
    model: ModelName,
    table: TableName = None,
    tolerance: Annotated[
        float, typer.Option(help="How much a number may differ; beyond 1, so much of itself.")
    ] = TOLERANCE,
    version: Version = None,
) -> None:
    """Compare a database's predictions with NumPy's, on the rows of a table; exit with 1 if they differ."""
    source = database if table is None and is_data_file(database) else table
    with opened(database, read_only=True) as db:
        found = db.model(model, version).verify(source, tolerance=tolerance)
    out.print(f"{found.rows} rows")
    print_rows(
        ["largest difference", "size", "row", "column", "database", "NumPy"],
        [
            (name, own.size, own.row, own.column, repr(own.database), repr(own.numpy))
            for name, own in (("absolute", found.absolute), ("relative", found.relative))
        ],
    )
    if found.passed:
        out.print(f"Passed: all within {found.tolerance:g}.")
        return
    out.print(
        f"Failed: {found.failures} rows differ by more than {found.tolerance:g}, and "
        f"{found.other_classes} are of another class."
    )
    raise typer.Exit(1)

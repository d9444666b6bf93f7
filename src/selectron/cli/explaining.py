"""Commands that explain predictions: by column, by row and by value."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from typing import Annotated, Any, Final, NamedTuple

import typer

from selectron.cli.app import (
    DatabasePath,
    ModelName,
    TableName,
    Version,
    app,
    is_data_file,
    is_output_file,
    opened,
)
from selectron.cli.printing import err, print_rows
from selectron.outputs import Output
from selectron.reporting.plots import plot

__all__ = ["attribute", "dependence", "importance"]

SHOWN_ROWS: Final = 200

OutputName = Annotated[
    str | None, typer.Option(help="A new table, or a .csv, .parquet or .json file; the terminal if none.")
]
PlotName = Annotated[str | None, typer.Option("--plot", help="An .svg file to draw it into.")]
Replace = Annotated[bool, typer.Option("--replace", help="Replace an existing table.")]


def source_of(database: str, table: str | None) -> str | None:
    """The table that is named, or DATABASE if it is a data file; None leaves it to the model."""
    return database if table is None and is_data_file(database) else table


def must_write(output: str | None) -> bool:
    """Whether the database is written into."""
    return output is not None and not is_output_file(output)


def drawn(found: Output, path: str | None, output: str | None) -> bool:
    """Draw it, if that is asked for; whether nothing else is."""
    if path is None:
        return False
    plot(found).save(path)
    err.print(f"Wrote {path}.", markup=False)
    return output is None


def deliver(found: Output, rows: Sequence[NamedTuple], output: str | None, replace: bool) -> None:
    """Write the rows where they are wanted, or print them: as a table, or as CSV where nobody looks."""
    if output is not None:
        if is_output_file(output):
            found.to_file(output)
        else:
            found.to_table(output, replace=replace)
        err.print(f"Wrote {output}.", markup=False)
    elif sys.stdout.isatty():
        print_rows(found.columns, rows[:SHOWN_ROWS])
        if len(rows) > SHOWN_ROWS:
            err.print(f"The first {SHOWN_ROWS} of {len(rows)} rows. Say --output for all.", markup=False)
    else:
        writer: Any = csv.writer(sys.stdout)
        writer.writerow(found.columns)
        writer.writerows(rows)


@app.command()
def importance(
    database: DatabasePath,
    model: ModelName,
    table: TableName = None,
    repeats: Annotated[int, typer.Option(help="How often each column is shuffled.")] = 5,
    seed: Annotated[int, typer.Option(help="Decides the shuffles.")] = 0,
    output: OutputName = None,
    replace: Replace = False,
    plot: PlotName = None,
    version: Version = None,
) -> None:
    """Say how much worse predictions get when a column is shuffled; on held-out rows if no table is named."""
    with opened(database, read_only=not must_write(output)) as db:
        found = db.model(model, version).importance(table, repeats=repeats, seed=seed)
        if not drawn(found, plot, output):
            deliver(found, found.rows() if output is None else (), output, replace)


@app.command()
def attribute(
    database: DatabasePath,
    model: ModelName,
    table: TableName = None,
    about: Annotated[
        str | None, typer.Option(help="A class or target column; the predicted class of each row by default.")
    ] = None,
    baseline: Annotated[
        str, typer.Option(help="What rows are compared with: mean, zeros, or a table, query or file.")
    ] = "mean",
    steps: Annotated[int, typer.Option(help="How many steps the way from the baseline has.")] = 50,
    output: OutputName = None,
    replace: Replace = False,
    plot: PlotName = None,
    version: Version = None,
) -> None:
    """Say what each column adds to the prediction of each row, by integrated gradients."""
    with opened(database, read_only=not must_write(output)) as db:
        source = source_of(database, table)
        found = db.model(model, version).attributions(source, about=about, baseline=baseline, steps=steps)
        if not drawn(found, plot, output):
            deliver(found, found.rows() if output is None else (), output, replace)


@app.command()
def dependence(
    database: DatabasePath,
    column: Annotated[str, typer.Argument(help="A feature of the model.")],
    model: ModelName,
    table: TableName = None,
    points: Annotated[int, typer.Option(help="How many quantiles of a column of numbers or moments.")] = 20,
    individual: Annotated[
        bool, typer.Option("--individual", help="The prediction of each row, not their mean.")
    ] = False,
    output: OutputName = None,
    replace: Replace = False,
    plot: PlotName = None,
    version: Version = None,
) -> None:
    """Say what is predicted, on average, if all rows had one value of a column and another."""
    with opened(database, read_only=not must_write(output)) as db:
        found = db.model(model, version).dependence(column, source_of(database, table), points=points)
        if drawn(found, plot, output):
            return
        chosen = found.curves if individual else found
        deliver(chosen, chosen.rows() if output is None else (), output, replace)

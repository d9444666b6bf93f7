"""Commands that use a model: judge it, predict by it, show its SQL and its steps."""

from __future__ import annotations

import csv
import sys
from typing import Annotated, Final

import typer

from selectron.cli.app import (
    DatabasePath,
    ModelName,
    TableName,
    Version,
    app,
    is_output_file,
    named_table,
    opened,
)
from selectron.cli.printing import (
    err,
    out,
    print_calibration,
    print_evaluation,
    print_groups,
    print_rows,
)
from selectron.errors import ConfigurationError
from selectron.model import SQL_KINDS
from selectron.outputs import Output
from selectron.tracing import TraceRow

__all__ = ["evaluate", "explain", "function", "predict", "sql", "trace"]

SHOWN_ROWS: Final = 20


@app.command()
def evaluate(
    database: DatabasePath,
    model: ModelName,
    table: TableName = None,
    by: Annotated[str | None, typer.Option(help="A column: the figures of each of its values, too.")] = None,
    calibration: Annotated[
        bool, typer.Option("--calibration", help="Compare predicted probabilities with what was observed.")
    ] = False,
    bins: Annotated[int, typer.Option(help="How many bins of probabilities --calibration has.")] = 10,
    version: Version = None,
) -> None:
    """Judge a model on rows whose target is known; on the held-out ones if no table is named."""
    with opened(database, read_only=True) as db:
        evaluation = db.model(model, version).evaluate(table, by=by, calibration=calibration, bins=bins)
        out.print(f"{evaluation.rows} rows")
        print_evaluation(evaluation)
        if by is not None:
            print_groups(by, evaluation)
        if evaluation.calibration is not None:
            print_calibration(evaluation.calibration)


@app.command()
def predict(
    database: DatabasePath,
    model: ModelName,
    table: TableName = None,
    output: Annotated[
        str | None, typer.Option(help="A new table, or a .csv, .parquet or .json file; the terminal if none.")
    ] = None,
    view: Annotated[bool, typer.Option("--view", help="Make a view, which follows the model.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Replace an existing table or view.")] = False,
    scores: Annotated[
        bool, typer.Option("--scores", help="Add the network's raw outputs: logits for classes.")
    ] = False,
    version: Version = None,
) -> None:
    """Predict for each row of a table."""
    source = named_table(database, table)
    is_file = output is not None and is_output_file(output)
    if view and (output is None or is_file):
        raise ConfigurationError("--view goes with the name of a view.", hint="Say --output NAME.")
    with opened(database, read_only=output is None or is_file) as db:
        predictions = db.model(model, version).predict(source, scores=scores)
        if output is None:
            if sys.stdout.isatty():
                print_rows(predictions.columns, predictions.rows(SHOWN_ROWS))
            else:
                writer = csv.writer(sys.stdout)
                writer.writerow(predictions.columns)
                writer.writerows(predictions.rows())
        elif is_file:
            predictions.to_file(output)
        elif view:
            predictions.to_view(output, replace=replace)
        else:
            predictions.to_table(output, replace=replace)
        if output is not None:
            err.print(f"Wrote {output}.", markup=False)


@app.command()
def function(
    database: DatabasePath,
    model: ModelName,
    name: Annotated[str, typer.Argument(help="What the function is called.")],
    replace: Annotated[bool, typer.Option("--replace", help="Replace an existing function.")] = False,
    version: Version = None,
) -> None:
    """Make a function of SQL that predicts from a row's features; SQLite has none."""
    with opened(database, read_only=False) as db:
        called = db.model(model, version).to_function(name, replace=replace)
        out.print(f"Made {called}.", markup=False)


@app.command()
def sql(
    database: DatabasePath,
    kind: Annotated[str, typer.Argument(help=f"One of {', '.join(SQL_KINDS)}.")],
    model: ModelName,
    table: TableName = None,
    version: Version = None,
    dialect: Annotated[
        str | None,
        typer.Option(
            help="Predict by one statement that needs no Selectron, with all weights in it, in this dialect: "
            "snowflake, databricks, redshift, trino, clickhouse, mysql, tsql, ..."
        ),
    ] = None,
    keep: Annotated[
        list[str] | None, typer.Option(help="A column of TABLE to keep in such a statement; several times.")
    ] = None,
    scores: Annotated[bool, typer.Option("--scores", help="With the network's raw outputs.")] = False,
    dbt: Annotated[
        bool, typer.Option("--dbt", help="Such a statement as a dbt model; TABLE is a ref or SOURCE.TABLE.")
    ] = False,
) -> None:
    """Print the SQL of a model: its prediction, whole training, evaluation, or one training step."""
    standalone = dialect is not None or dbt
    if standalone and kind != "predict":
        raise ConfigurationError(f"--dialect and --dbt do not go with {kind}.", hint="Say predict.")
    if scores and kind != "predict":
        raise ConfigurationError(f"--scores does not go with {kind}.", hint="Say predict.")
    if keep and not standalone:
        raise ConfigurationError("--keep goes with --dialect or --dbt.", hint="Name a dialect.")
    with opened(database, read_only=True) as db:
        found = db.model(model, version)
        if standalone:
            written = dialect or db.engine.dialect
            text = found.portable_sql(written, table, keep=keep or None, scores=scores, dbt=dbt)
            # dbt puts the text into a statement of its own, where a semicolon would end it.
            sys.stdout.write(text + ("\n" if dbt else ";\n"))
        else:
            sys.stdout.write(found.sql(kind, table, scores=scores) + ";\n")


@app.command()
def trace(
    database: DatabasePath,
    model: ModelName,
    table: TableName = None,
    step: Annotated[
        int | None, typer.Option(help="The step, from 1; the next one from the checkpoint by default.")
    ] = None,
    row: Annotated[
        list[int] | None, typer.Option(help="A place in the batch, from 0; all by default.")
    ] = None,
    output: Annotated[
        str | None, typer.Option(help="A new table, or a .csv, .parquet or .json file; the terminal if none.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace an existing table.")] = False,
    version: Version = None,
) -> None:
    """Show every phase of a training step: inputs, activations, loss, gradients, updated parameters."""
    is_file = output is not None and is_output_file(output)
    with opened(database, read_only=output is None or is_file) as db:
        found = db.model(model, version).trace(table, step=step)
        if output is None:
            print_rows(TraceRow._fields, found.fetched(row or ()))
            return
        written = Output(db.engine, found.query(row or ()))
        if is_file:
            written.to_file(output)
        else:
            written.to_table(output, replace=replace)
        err.print(f"Wrote {output}.", markup=False)


@app.command()
def explain(
    database: DatabasePath, model: ModelName, table: TableName = None, version: Version = None
) -> None:
    """Say in which layout, by which strategy and why a model is trained, and what a step costs."""
    with opened(database, read_only=True) as db:
        found = db.model(model, version).explain(table)
        for name, value in found.items():
            out.print(f"{name}: {value}", markup=False)

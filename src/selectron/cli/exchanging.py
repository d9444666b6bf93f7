"""Commands that bring networks of other libraries in, and take models out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from selectron.cli.app import (
    DatabasePath,
    ModelName,
    TableName,
    Version,
    app,
    is_data_file,
    named_table,
    opened,
)
from selectron.cli.printing import err
from selectron.cli.training import chosen, parse_validation, report
from selectron.errors import ConfigurationError
from selectron.interchange.exporting import KINDS
from selectron.training.options import OPTIMIZERS

__all__ = ["export", "import_"]


@app.command()
def export(
    database: DatabasePath,
    file: Annotated[str, typer.Argument(help="The file to write: .onnx, .pt, .joblib or .npz.")],
    model: ModelName,
    to: Annotated[str, typer.Option(help=f"One of {', '.join(KINDS)}.")],
    logits: Annotated[
        bool, typer.Option("--logits", help="End before the sigmoid or softmax (onnx, torch).")
    ] = False,
    raw: Annotated[
        bool | None,
        typer.Option(
            "--raw/--encoded",
            help="Take the table's columns (sklearn does by default), or encoded features.",
        ),
    ] = None,
    version: Version = None,
) -> None:
    """Write a model into a file of another library."""
    options: dict[str, Any] = {"logits": True} if logits else {}
    if raw is not None:
        options["raw"] = raw
    with opened(database, read_only=True) as db:
        db.model(model, version).export(to, file, **options)
        err.print(f"Wrote {file}.", markup=False)


@app.command("import")
def import_(
    database: DatabasePath,
    file: Annotated[str, typer.Argument(help="The network: .onnx, .pt, .keras; .joblib with --trust.")],
    target: Annotated[
        list[str] | None, typer.Option(help="The column that it predicts; several times for several numbers.")
    ] = None,
    table: TableName = None,
    model: Annotated[
        str | None, typer.Option("--model", help="What to call it; the target by default.")
    ] = None,
    feature: Annotated[
        list[str] | None, typer.Option(help="A column that is an input, in order; its own names by default.")
    ] = None,
    class_: Annotated[
        list[str] | None, typer.Option("--class", help="A class, in the order of the outputs.")
    ] = None,
    task: Annotated[str, typer.Option(help="classification, regression or auto.")] = "auto",
    preprocessing: Annotated[
        str | None, typer.Option(help="A fitted transformer of scikit-learn: .joblib, with --trust.")
    ] = None,
    encoding: Annotated[
        str | None, typer.Option(help="A model of the database whose encoded features the network takes.")
    ] = None,
    nulls: Annotated[
        str, typer.Option(help="Where the network has no place for NULL: refuse, or impute.")
    ] = "refuse",
    trust: Annotated[
        bool, typer.Option("--trust", help="Read pickles (.joblib, .pkl), which may run any code.")
    ] = False,
    optimizer: Annotated[str, typer.Option(help=f"To train on with: {', '.join(OPTIMIZERS)}.")] = "adam",
    learning_rate: Annotated[float | None, typer.Option(help="The optimizer's own by default.")] = None,
    batch_size: Annotated[int, typer.Option(help="Rows a step; 0 takes all rows at once.")] = 256,
    validation: Annotated[
        str,
        typer.Option(help="The fraction of rows to hold out, a boolean column that marks them, or a table."),
    ] = "0.2",
    seed: Annotated[int, typer.Option(help="Decides the shuffle, held-out rows, dropout.")] = 0,
) -> None:
    """Bring in a network that was trained elsewhere, to predict and train on with."""
    if not target:
        raise ConfigurationError("No target is named.", hint="Say --target COLUMN.")
    if preprocessing is not None and encoding is not None:
        raise ConfigurationError("Both --preprocessing and --encoding are given.", hint="Give one of them.")
    source = named_table(database, table)
    with opened(database, read_only=False, must_exist=not is_data_file(database)) as db:
        before: object = Path(preprocessing) if preprocessing is not None else None
        if encoding is not None:
            before = db.model(encoding)
        brought = db.import_model(
            Path(file),
            source,
            target,
            name=model,
            features=feature or None,
            classes=class_ or None,
            task=task,
            preprocessing=before,
            nulls=nulls,
            trust=trust,
            optimizer=chosen("optimizer", optimizer, OPTIMIZERS, learning_rate=learning_rate),
            batch_size=batch_size or None,
            validation=parse_validation(validation),
            seed=seed,
        )
        report(brought)

"""The command line: the same words as the Python interface."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as ProgressBar
from rich.table import Table

from selectron.database import Database, connect
from selectron.engines.files import READERS
from selectron.errors import ConfigurationError, SelectronError, TrainingInterrupted
from selectron.evaluation import Evaluation
from selectron.features.options import NULL_POLICIES, SCALINGS, FeatureOptions
from selectron.model import SQL_KINDS, Model
from selectron.network import ACTIVATION_NAMES, INITIALIZATIONS, MLP
from selectron.planning import LayoutName, StrategyName
from selectron.tracing import TraceRow
from selectron.trainer import Progress
from selectron.training.options import LOSSES, OPTIMIZERS, SCHEDULES
from selectron.version import __version__

__all__ = ["app", "main"]

app = typer.Typer(
    help="Neural networks as SQL, trained inside the database that holds the data.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
# Wide enough for its tables where nobody looks at a terminal.
out = Console(soft_wrap=True, width=None if sys.stdout.isatty() else 120)
err = Console(stderr=True, soft_wrap=True)

SAMPLE_ROWS: Final = 5
SHOWN_ROWS: Final = 20

DatabasePath = Annotated[
    str,
    typer.Argument(
        metavar="DATABASE",
        help="A DuckDB or SQLite file, a postgresql:// or bigquery:// URL; or a CSV, Parquet or JSON file: "
        "its models live in a .duckdb file of its name.",
    ),
]
ModelName = Annotated[str, typer.Option("--model", help="The model's name.")]
Version = Annotated[int | None, typer.Option("--version", help="A version of it; the newest by default.")]
TableName = Annotated[
    str | None,
    typer.Option("--table", help="A table, view, query or file; DATABASE itself if that is a file."),
]


def main() -> None:
    """Run the command line; the user's own mistakes end in a message, not in a traceback."""
    try:
        app()
    except TrainingInterrupted as stop:
        err.print(f"Stopped: {stop}", style="yellow", markup=False)
        sys.exit(130)
    except SelectronError as error:
        err.print(f"Error: {error}", style="red", markup=False)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def is_data_file(path: str) -> bool:
    return "://" not in path and path.lower().endswith(tuple(READERS))


@contextmanager
def opened(path: str, *, read_only: bool, must_exist: bool = True) -> Iterator[Database]:
    """The database of a path: the file itself, or the one beside a data file."""
    target: str | Path = path
    if "://" not in path:
        target = Path(Path(path).name.split(".")[0] + ".duckdb") if is_data_file(path) else Path(path)
        if must_exist and not target.exists():
            raise ConfigurationError(f"There is no database {str(target)!r}.", hint="Train a model first.")
    db = connect(target, read_only=read_only)
    try:
        yield db
    finally:
        db.close()


def named_table(database: str, table: str | None) -> str:
    """The table that is meant: the one that is named, or DATABASE if it is a data file."""
    if table is not None:
        return table
    if is_data_file(database):
        return database
    raise ConfigurationError("No table is named.", hint="Say --table NAME.")


def chosen(kind: str, name: str, known: Mapping[str, type], **settings: Any) -> Any:
    """A setting by its name, with those of its options that were given.

    Raises
    ------
    ConfigurationError
        If there is none of that name, or it has no such option.
    """
    if name not in known:
        raise ConfigurationError(f"There is no {kind} {name!r}.", hint=f"Use one of {', '.join(known)}.")
    given = {key: value for key, value in settings.items() if value is not None}
    try:
        return known[name](**given)
    except TypeError:
        raise ConfigurationError(f"The {kind} {name!r} takes no {', '.join(given)}.") from None


def listed(text: str) -> list[str]:
    """The parts of a comma-separated option."""
    return [part.strip() for part in text.split(",") if part.strip()]


def parse_hidden(text: str) -> list[int]:
    try:
        return [int(part) for part in listed(text)]
    except ValueError:
        raise ConfigurationError(
            f"--hidden is {text!r}.", hint="Give units of each layer, as in 32,16; '' for none."
        ) from None


def parse_embeddings(values: Sequence[str]) -> dict[str, int]:
    """Columns and lengths from COLUMN:LENGTH."""
    found = {}
    for value in values:
        name, colon, length = value.rpartition(":")
        if not colon or not length.isdigit():
            raise ConfigurationError(f"--embed is {value!r}.", hint="Give COLUMN:LENGTH, as in city:8.")
        found[name] = int(length)
    return found


def parse_validation(text: str) -> object:
    """A fraction if it is a number, else a column or a table."""
    try:
        return float(text)
    except ValueError:
        return text


@app.command()
def train(
    database: DatabasePath,
    target: Annotated[
        list[str] | None, typer.Option(help="The column to predict; several times for several numbers.")
    ] = None,
    table: TableName = None,
    model: Annotated[
        str | None, typer.Option("--model", help="The model's name; the target's by default.")
    ] = None,
    hidden: Annotated[str, typer.Option(help="Units of each hidden layer; '' for none.")] = "32",
    activation: Annotated[
        str, typer.Option(help=f"One for all layers or one for each: {', '.join(ACTIVATION_NAMES)}.")
    ] = "relu",
    dropout: Annotated[float, typer.Option(help="The fraction of hidden units dropped at each step.")] = 0.0,
    initialization: Annotated[str, typer.Option(help=f"One of {', '.join(INITIALIZATIONS)}.")] = "auto",
    task: Annotated[str, typer.Option(help="auto, classification or regression.")] = "auto",
    loss: Annotated[
        str | None, typer.Option(help=f"One of {', '.join(LOSSES)}; fits the target by default.")
    ] = None,
    label_smoothing: Annotated[float | None, typer.Option(help="For the two cross-entropies.")] = None,
    optimizer: Annotated[str, typer.Option(help=f"One of {', '.join(OPTIMIZERS)}.")] = "adam",
    learning_rate: Annotated[float, typer.Option(help="What the schedule starts from.")] = 0.01,
    schedule: Annotated[str, typer.Option(help=f"One of {', '.join(SCHEDULES)}.")] = "constant",
    epochs: Annotated[int, typer.Option(help="Passes over the training rows.")] = 100,
    batch_size: Annotated[int, typer.Option(help="Rows a step; 0 takes all at once.")] = 256,
    l1: Annotated[float, typer.Option(help="Penalty on absolute weights.")] = 0.0,
    l2: Annotated[float, typer.Option(help="Penalty on squared weights.")] = 0.0,
    class_weight: Annotated[
        str | None, typer.Option(help="'balanced', or CLASS:WEIGHT,CLASS:WEIGHT,...")
    ] = None,
    row_weight: Annotated[str | None, typer.Option(help="A column of weights.")] = None,
    clip_norm: Annotated[float | None, typer.Option(help="The largest norm of the gradient.")] = None,
    validation: Annotated[
        str,
        typer.Option(help="The fraction of rows to hold out, a boolean column that marks them, or a table."),
    ] = "0.2",
    patience: Annotated[
        int | None, typer.Option(help="Stop after so many epochs without improvement; keep the best epoch.")
    ] = None,
    min_delta: Annotated[float, typer.Option(help="The least improvement that counts.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Decides initial weights, shuffle, held-out rows, dropout.")] = 0,
    include: Annotated[
        list[str] | None, typer.Option(help="A feature column; all others are left out.")
    ] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="A column that is no feature.")] = None,
    categorical: Annotated[
        list[str] | None, typer.Option(help="A column of numbers that are categories.")
    ] = None,
    embed: Annotated[
        list[str] | None, typer.Option(help="COLUMN:LENGTH, a category to learn vectors for.")
    ] = None,
    scaling: Annotated[str, typer.Option(help=f"Of numbers: {', '.join(SCALINGS)}.")] = "standardize",
    target_scaling: Annotated[str, typer.Option(help="Of numbers to predict, likewise.")] = "standardize",
    nulls: Annotated[str, typer.Option(help=f"In features: {', '.join(NULL_POLICIES)}.")] = "impute",
    max_categories: Annotated[int, typer.Option(help="The most categories of a column.")] = 100,
    warm_start: Annotated[str | None, typer.Option(help="A model to start from.")] = None,
    layout: Annotated[
        str | None, typer.Option(help=f"{', '.join(LayoutName)}; the cheapest that runs by default.")
    ] = None,
    strategy: Annotated[
        str | None, typer.Option(help=f"{', '.join(StrategyName)}; recursive where it runs by default.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Steps of a nested or stepwise statement; 10 and 1 by default.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Finish a training that was interrupted.")] = False,
    more_epochs: Annotated[int, typer.Option(help="Train an existing model on for so many epochs.")] = 0,
) -> None:
    """Train a network to predict a column of a table from the others."""
    if resume or more_epochs:
        with opened(database, read_only=False) as db:
            name = model or "+".join(target or [])
            if not name:
                raise ConfigurationError("No model is named.", hint="Say --model NAME.")
            with watching() as watch:
                trained = db.model(name).train(more_epochs, watch=watch)
            report(trained)
        return
    if not target:
        raise ConfigurationError("No target is named.", hint="Say --target COLUMN.")
    source = named_table(database, table)
    activations = listed(activation)
    network = MLP(
        parse_hidden(hidden),
        activation=activations[0] if len(activations) == 1 else activations,
        dropout=dropout,
        initialization=initialization,
    )
    if loss is None and label_smoothing is not None:
        raise ConfigurationError("label_smoothing needs a loss.", hint="Say --loss cross_entropy.")
    features = FeatureOptions(
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
        scaling=scaling,
        target_scaling=target_scaling,
        nulls=nulls,
        categorical=tuple(categorical or ()),
        embed=parse_embeddings(embed or ()),
        max_categories=max_categories,
    )
    with opened(database, read_only=False, must_exist=not is_data_file(database)) as db:
        with watching() as watch:
            trained = db.train(
                source,
                target,
                name=model,
                network=network,
                task=task,
                features=features,
                loss=None if loss is None else chosen("loss", loss, LOSSES, label_smoothing=label_smoothing),
                optimizer=chosen("optimizer", optimizer, OPTIMIZERS, learning_rate=learning_rate),
                schedule=chosen("schedule", schedule, SCHEDULES),
                epochs=epochs,
                batch_size=batch_size or None,
                l1=l1,
                l2=l2,
                class_weight=parse_class_weight(class_weight),
                row_weight=row_weight,
                clip_norm=clip_norm,
                validation=parse_validation(validation),
                patience=patience,
                min_delta=min_delta,
                seed=seed,
                warm_start=warm_start,
                layout=layout,
                strategy=strategy,
                steps=steps,
                watch=watch,
            )
        report(trained)


def parse_class_weight(text: str | None) -> str | dict[str, float] | None:
    if text is None or text == "balanced":
        return text
    weights = {}
    for part in listed(text):
        label, _, weight = part.rpartition(":")
        try:
            weights[label] = float(weight)
        except ValueError:
            raise ConfigurationError(
                f"--class-weight is {text!r}.", hint="Say 'balanced', or CLASS:WEIGHT,CLASS:WEIGHT."
            ) from None
    return weights


@contextmanager
def watching() -> Iterator[Any]:
    """A progress bar of epochs with the last losses."""
    bar = ProgressBar(
        TextColumn("Training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("epochs {task.fields[losses]}"),
        TimeElapsedColumn(),
        console=err,
    )
    with bar:
        task = bar.add_task("train", total=None, losses="")

        def watch(progress: Progress) -> None:
            losses = ""
            if progress.training_loss is not None:
                losses = f"loss {progress.training_loss:.4f}"
            if progress.validation_loss is not None:
                losses += f", held out {progress.validation_loss:.4f}"
            bar.update(task, completed=progress.epoch, total=progress.epochs, losses=losses)

        yield watch


def report(model: Model) -> None:
    """What was trained, how good it is on held-out rows, and some predictions."""
    for note in model.notes:
        out.print(f"Note: {note}", markup=False)
    record = model.record
    parameters = sum(array.size for array in model.parameters.values())
    out.print(
        f"Model {model.name!r} version {model.version}: {parameters} parameters, {record.epochs} epochs on "
        f"{record.training_rows} rows of {record.source}.",
        markup=False,
    )
    if not record.validation_rows:
        return
    out.print(f"Quality on {record.validation_rows} held-out rows:")
    print_evaluation(model.evaluate())
    predictions = model.predict(model.held_out_rows())
    out.print("Some of their predictions:")
    names = [*model.blueprint.specification.target, *model.predicted]
    print_rows(names, predictions.select(names, SAMPLE_ROWS))


def print_evaluation(evaluation: Evaluation) -> None:
    """The figures, those of each class, and the confusion matrix if it is small."""
    figures = Table()
    figures.add_column("metric")
    figures.add_column("all", justify="right")
    for name in evaluation.by_class:
        figures.add_column(name, justify="right")
    metrics = list(
        dict.fromkeys([*evaluation.metrics, *(m for own in evaluation.by_class.values() for m in own)])
    )
    for metric in metrics:
        each = (own.get(metric) for own in evaluation.by_class.values())
        figures.add_row(metric, shown(evaluation.metrics.get(metric)), *map(shown, each))
    out.print(figures)
    if evaluation.confusion:
        matrix = Table()
        matrix.add_column("actual \\ predicted")
        for name in evaluation.confusion:
            matrix.add_column(name, justify="right")
        for name, row in evaluation.confusion.items():
            matrix.add_row(name, *(str(row.get(other, 0)) for other in evaluation.confusion))
        out.print(matrix)


def print_rows(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Rows as a table."""
    grid = Table()
    for name in names:
        grid.add_column(name, overflow="fold")
    for row in rows:
        grid.add_row(*map(shown, row))
    out.print(grid, markup=False)


def shown(value: object) -> str:
    """A value as people read it."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@app.command()
def evaluate(
    database: DatabasePath, model: ModelName, table: TableName = None, version: Version = None
) -> None:
    """Judge a model on rows whose target is known; on the held-out ones if no table is named."""
    with opened(database, read_only=True) as db:
        evaluation = db.model(model, version).evaluate(table)
        out.print(f"{evaluation.rows} rows")
        print_evaluation(evaluation)


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
    version: Version = None,
) -> None:
    """Predict for each row of a table."""
    source = named_table(database, table)
    is_file = output is not None and is_data_file(output)
    with opened(database, read_only=output is None or is_file) as db:
        predictions = db.model(model, version).predict(source)
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
def sql(
    database: DatabasePath,
    kind: Annotated[str, typer.Argument(help=f"One of {', '.join(SQL_KINDS)}.")],
    model: ModelName,
    table: TableName = None,
    version: Version = None,
) -> None:
    """Print the SQL of a model: its prediction, whole training, evaluation, or one training step."""
    with opened(database, read_only=True) as db:
        sys.stdout.write(db.model(model, version).sql(kind, table) + ";\n")


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
    output: Annotated[str | None, typer.Option(help="A new table; the terminal if none.")] = None,
    version: Version = None,
) -> None:
    """Show every phase of a training step: inputs, activations, loss, gradients, updated parameters."""
    with opened(database, read_only=output is None) as db:
        found = db.model(model, version).trace(table, step=step)
        if output is not None:
            db.engine.create_table(output, found.query(row or ()))
            err.print(f"Wrote {output}.", markup=False)
            return
        print_rows(TraceRow._fields, found.fetched(row or ()))


@app.command()
def explain(
    database: DatabasePath, model: ModelName, table: TableName = None, version: Version = None
) -> None:
    """Say in which layout, by which strategy and why a model is trained, and what a step costs."""
    with opened(database, read_only=True) as db:
        found = db.model(model, version).explain(table)
        for name, value in found.items():
            out.print(f"{name}: {value}", markup=False)


@app.command()
def copy(
    source: Annotated[str, typer.Argument(help="The database that has the model.")],
    target: Annotated[str, typer.Argument(help="The database to copy it to, of any engine.")],
    model: ModelName,
    version: Version = None,
) -> None:
    """Copy a model to another database, where it predicts the same and can be trained on."""
    with opened(source, read_only=True) as here, opened(target, read_only=False, must_exist=False) as there:
        copied = there.copy(here.model(model, version))
        out.print(f"Copied {model!r} to {target} as version {copied.version}.", markup=False)


@app.command()
def models(database: DatabasePath) -> None:
    """List the models of a database."""
    with opened(database, read_only=True) as db:
        names = ["model", "version", "status", "task", "target", "source", "rows", "epochs"]
        print_rows(
            names,
            [
                (r.name, r.version, r.status, r.task, r.target, r.source, r.training_rows, r.epochs)
                for r in db.models()
            ],
        )


@app.command()
def show(database: DatabasePath, model: ModelName, version: Version = None) -> None:
    """Show a model: what was asked for, its layers and its inputs."""
    with opened(database, read_only=True) as db:
        found = db.model(model, version)
        record, specification = found.record, found.blueprint.specification
        training = specification.training
        facts = {
            "model": f"{found.name} version {found.version}, {record.status}",
            "rows": f"{record.training_rows} of {record.source}, and {record.validation_rows} held out",
            "task": f"{record.task} of {record.target}",
            "epochs, steps": f"{record.epochs}, {record.steps}",
            "loss": repr(found.blueprint.loss),
            "optimizer": repr(training.optimizer),
            "schedule": repr(training.schedule),
            "seed": training.seed,
            "made": f"{record.created_at:%Y-%m-%d %H:%M} by Selectron {record.selectron_version}",
        }
        for name, value in facts.items():
            out.print(f"{name}: {value}", markup=False)
        shapes = [(key, *array.shape) for key, array in found.parameters.items()]
        print_rows(["parameter", "inputs", "units"], shapes)
        print_rows(["input"], [(unit,) for unit in found.blueprint.encoding.units])


@app.command()
def log(database: DatabasePath, model: ModelName, version: Version = None) -> None:
    """Print the log of a model's training, a row for each epoch."""
    with opened(database, read_only=True) as db:
        rows = db.model(model, version).log
        names = [
            "epoch",
            "training_loss",
            "validation_loss",
            "metric",
            "learning_rate",
            "gradient_norm",
            "seconds",
        ]
        print_rows(names, [tuple(getattr(row, name) for name in names) for row in rows])


@app.command()
def drop(database: DatabasePath, model: ModelName, version: Version = None) -> None:
    """Remove a model: all its versions, or one, with all that was made for it."""
    with opened(database, read_only=False) as db:
        count = db.drop(model, version)
        out.print(f"Dropped {model!r}: {count} {'version' if count == 1 else 'versions'}.", markup=False)


def print_version(wanted: bool) -> None:
    if wanted:
        out.print(f"selectron {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Neural networks as SQL, trained inside the database that holds the data."""


if __name__ == "__main__":
    main()

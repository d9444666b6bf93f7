"""The command that trains, and what its options mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Annotated, Any, Final

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as ProgressBar

from selectron.cli.app import DatabasePath, TableName, app, is_data_file, named_table, opened
from selectron.cli.printing import err, out, print_evaluation, print_rows
from selectron.errors import ConfigurationError
from selectron.features.options import NULL_POLICIES, SCALINGS, FeatureOptions
from selectron.model import Model
from selectron.network import ACTIVATION_NAMES, INITIALIZATIONS, MLP
from selectron.planning import LayoutName, StrategyName
from selectron.trainer import Progress
from selectron.training.options import LOSSES, OPTIMIZERS, SCHEDULES

__all__ = ["train"]

SAMPLE_ROWS: Final = 5


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
    own = [field.name for field in fields(known[name])]
    for key in given:
        if key not in own:
            hint = f"It has {', '.join(own)}." if own else "It has none."
            raise ConfigurationError(f"The {kind} {name!r} has no setting {key!r}.", hint=hint)
    try:
        return known[name](**given)
    except TypeError:
        listed_ = ", ".join(f"{key}={value!r}" for key, value in given.items())
        raise ConfigurationError(f"The {kind} {name!r} does not take {listed_}.") from None


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


def parse_settings(values: Sequence[str] | None) -> dict[str, object]:
    """Settings from NAME=VALUE, where a value is a whole number, a number, several of them, or a word."""

    def parsed(text: str) -> object:
        if "," in text:
            return tuple(parsed(part) for part in listed(text))
        for kind in (int, float):
            try:
                return kind(text)
            except ValueError:
                continue
        return text

    found = {}
    for value in values or ():
        name, equals, text = value.partition("=")
        if not equals or not name or not text:
            raise ConfigurationError(f"{value!r} is no setting.", hint="Give NAME=VALUE, as in momentum=0.8.")
        found[name] = parsed(text)
    return found


def parse_schedule(values: Sequence[str] | None) -> dict[str, object]:
    """Settings of a schedule, one of which may be the schedule that follows."""
    settings = parse_settings(values)
    then = settings.get("then")
    return settings if then is None else {**settings, "then": chosen("schedule", str(then), SCHEDULES)}


def parse_validation(text: str) -> object:
    """A fraction if it is a number, else a column or a table."""
    try:
        return float(text)
    except ValueError:
        return text


# What may be said of a model that is trained on; all else is as it was first asked for.
GOES_ON: Final = frozenset(["database", "target", "table", "model", "row_weight", "resume", "more_epochs"])


def refuse_ignored(context: typer.Context) -> None:
    """Refuse options that a training that goes on would not heed.

    Raises
    ------
    ConfigurationError
        Naming the first of them.
    """
    for option in context.command.params:
        name = str(option.name)
        given = context.get_parameter_source(name)
        if name not in GOES_ON and given is not None and given.name == "COMMANDLINE":
            raise ConfigurationError(
                f"{option.opts[0]} does not go with --more-epochs: a model is trained on as it was begun.",
                hint="Leave it out, or train a new version with --warm-start MODEL.",
            )


def trained_on(model: Model, epochs: int, table: str | None, row_weight: str | None, watch: Any) -> Model:
    """Train a model on with its own rows, or with those of another table."""
    if table is None or table == model.blueprint.specification.source:
        if row_weight is not None:
            raise ConfigurationError(
                "--row-weight goes with --more-epochs where other rows are named.", hint="Say --table NAME."
            )
        return model.train(epochs, watch=watch)
    return model.train_on(table, epochs, row_weight=row_weight, watch=watch)


@app.command()
def train(
    context: typer.Context,
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
    frozen: Annotated[
        list[str] | None, typer.Option(help="What stays as it starts: hidden_1, biases, output.weights ...")
    ] = None,
    initialization: Annotated[str, typer.Option(help=f"One of {', '.join(INITIALIZATIONS)}.")] = "auto",
    edge_biases: Annotated[
        bool, typer.Option("--edge-biases", help="A bias for each edge; a unit's is their sum.")
    ] = False,
    task: Annotated[str, typer.Option(help="auto, classification or regression.")] = "auto",
    loss: Annotated[
        str | None, typer.Option(help=f"One of {', '.join(LOSSES)}; fits the target by default.")
    ] = None,
    label_smoothing: Annotated[float | None, typer.Option(help="For the two cross-entropies.")] = None,
    optimizer: Annotated[str, typer.Option(help=f"One of {', '.join(OPTIMIZERS)}.")] = "adam",
    learning_rate: Annotated[float, typer.Option(help="What the schedule starts from.")] = 0.01,
    schedule: Annotated[str, typer.Option(help=f"One of {', '.join(SCHEDULES)}.")] = "constant",
    optimizer_option: Annotated[
        list[str] | None,
        typer.Option(help="Another setting of it: momentum=0.8, weight_decay=0.01 ..."),
    ] = None,
    schedule_option: Annotated[
        list[str] | None, typer.Option(help="A setting of it: epochs=10, gamma=0.5, then=cosine ...")
    ] = None,
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
        str | None,
        typer.Option(help=f"{', '.join(LayoutName)}; the cheapest that runs by default, never vectors."),
    ] = None,
    strategy: Annotated[
        str | None, typer.Option(help=f"{', '.join(StrategyName)}; recursive where it runs by default.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Steps of a nested or stepwise statement; 10 and 1 by default.")
    ] = None,
    keep_states: Annotated[
        bool, typer.Option("--keep-states", help="Keep the state after each statement; see rewind.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Finish a training that was interrupted.")] = False,
    more_epochs: Annotated[
        int,
        typer.Option(
            help="Train an existing model on for so many epochs, with other rows if --table names some."
        ),
    ] = 0,
) -> None:
    """Train a network to predict a column of a table from the others."""
    if resume or more_epochs:
        if more_epochs:
            refuse_ignored(context)
        with opened(database, read_only=False) as db:
            name = model or "+".join(target or [])
            if not name:
                raise ConfigurationError("No model is named.", hint="Say --model NAME.")
            with watching() as watch:
                found = db.model(name)
                if more_epochs:
                    trained = trained_on(found, more_epochs, table, row_weight, watch)
                else:
                    trained = found.train(watch=watch)
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
        frozen=frozen or (),
        edge_biases=edge_biases,
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
                optimizer=chosen(
                    "optimizer",
                    optimizer,
                    OPTIMIZERS,
                    **{"learning_rate": learning_rate, **parse_settings(optimizer_option)},
                ),
                schedule=chosen("schedule", schedule, SCHEDULES, **parse_schedule(schedule_option)),
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
                keep_states=keep_states,
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

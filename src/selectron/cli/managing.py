"""Commands that keep models: list, show, copy and drop them."""

from __future__ import annotations

from typing import Annotated

import typer

from selectron.cli.app import DatabasePath, ModelName, Version, app, opened
from selectron.cli.printing import out, print_rows

__all__ = ["copy", "drop", "log", "models", "rewind", "show"]


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
def rewind(
    database: DatabasePath,
    model: ModelName,
    step: Annotated[
        int | None, typer.Argument(help="A step whose state was kept; those that were are listed if none.")
    ] = None,
    version: Version = None,
) -> None:
    """Go back to a state that was kept on the way (train --keep-states), to train on from there."""
    with opened(database, read_only=step is None) as db:
        found = db.model(model, version)
        if step is None:
            print_rows(["step"], [(kept,) for kept in found.kept_steps])
            return
        back = found.rewind(step)
        out.print(
            f"Model {model!r} is at step {step}, after {back.record.epochs} epochs. "
            "selectron train --resume goes on from there.",
            markup=False,
        )


@app.command()
def drop(
    database: DatabasePath,
    model: ModelName,
    version: Annotated[
        int | None, typer.Option("--version", help="The version to remove; all of them by default.")
    ] = None,
) -> None:
    """Remove a model: all its versions, or one, with all that was made for it."""
    with opened(database, read_only=False) as db:
        count = db.drop(model, version)
        out.print(f"Dropped {model!r}: {count} {'version' if count == 1 else 'versions'}.", markup=False)

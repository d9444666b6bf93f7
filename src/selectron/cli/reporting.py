"""Commands that show a model in pictures: a page of HTML, and its losses in the terminal."""

from __future__ import annotations

import sys
from typing import Annotated, Final

import typer

from selectron.cli.app import DatabasePath, ModelName, TableName, Version, app, opened
from selectron.cli.printing import err
from selectron.errors import ConfigurationError, DataError, MissingLibraryError

__all__ = ["plot", "report"]

# The size of a plot where nobody looks at a terminal.
WIDTH: Final = 80
HEIGHT: Final = 20


@app.command()
def report(
    database: DatabasePath,
    model: ModelName,
    output: Annotated[str, typer.Option(help="The .html file to write.")],
    table: TableName = None,
    version: Version = None,
) -> None:
    """Write a page of HTML about a model: data, training, quality, importances, network, SQL."""
    if not output.lower().endswith((".html", ".htm")):
        raise ConfigurationError(f"--output is {output!r}.", hint="Name a .html file.")
    with opened(database, read_only=True) as db:
        db.model(model, version).report(output, table)
    err.print(f"Wrote {output}.", markup=False)


@app.command()
def plot(database: DatabasePath, model: ModelName, version: Version = None) -> None:
    """Print the losses of a model's training as a curve."""
    try:
        import plotext
    except ImportError as error:
        raise MissingLibraryError(
            "Plots in the terminal need plotext.", hint="Install it: pip install 'selectron[report]'."
        ) from error
    with opened(database, read_only=True) as db:
        log = db.model(model, version).log
    if not log:
        raise DataError(f"Model {model!r} has no epoch yet.", hint="Train it on.")
    curves: dict[str, list[tuple[int, float | None]]] = {
        "training": [(row.epoch, row.training_loss) for row in log],
        "held out": [(row.epoch, row.validation_loss) for row in log],
    }
    interactive = sys.stdout.isatty()
    plotext.clear_figure()
    plotext.theme("default" if interactive else "clear")
    if not interactive:
        plotext.plotsize(WIDTH, HEIGHT)
    for label, points in curves.items():
        known = [(epoch, loss) for epoch, loss in points if loss is not None]
        if known:
            marker = "braille" if label == "training" else "dot"
            plotext.plot([e for e, _ in known], [loss for _, loss in known], label=label, marker=marker)
    plotext.title(f"Loss of {model}")
    plotext.xlabel("epoch")
    text = plotext.build()
    sys.stdout.write((text if interactive else plotext.uncolorize(text)).rstrip() + "\n")

"""The application that commands join, and what they share: which database and which table is meant."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from selectron.cli.printing import out
from selectron.database import Database, connect
from selectron.engines.files import READERS
from selectron.errors import ConfigurationError
from selectron.outputs import FORMATS
from selectron.version import __version__

__all__ = [
    "DatabasePath",
    "ModelName",
    "TableName",
    "Version",
    "app",
    "is_data_file",
    "is_output_file",
    "named_table",
    "opened",
]

# Ends of files that are not written, by which a table is hardly meant.
OTHER_FILES: Final = (
    *(".txt", ".xls", ".xlsx", ".ods", ".html", ".feather", ".arrow", ".avro", ".orc", ".pkl", ".pq"),
    *(".db", ".duckdb", ".sqlite", ".sql", ".gz", ".zip", ".zst"),
)

# What one does first stands first; commands that are not here come after.
ORDER: Final = ("train", "evaluate", "predict", "function", "sql", "models", "show", "log", "plot", "report")


class Commands(TyperGroup):
    """The commands, in the order in which they are listed."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Their names."""
        places = {name: place for place, name in enumerate(ORDER)}
        return sorted(super().list_commands(ctx), key=lambda name: places.get(name, len(places)))


app = typer.Typer(
    cls=Commands,
    help="Neural networks as SQL, trained inside the database that holds the data.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

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


def is_data_file(path: str) -> bool:
    return "://" not in path and path.lower().endswith(tuple(READERS))


def is_output_file(output: str) -> bool:
    """Whether an output is a file, not a table.

    Raises
    ------
    ConfigurationError
        If it is a file of a kind that is not written: it would become a table of that name.
    """
    if is_data_file(output):
        return True
    if "/" in output or "\\" in output or output.lower().endswith(OTHER_FILES):
        raise ConfigurationError(
            f"{output!r} is no file that can be written, and no name for a table.",
            hint=f"Use one of {', '.join(FORMATS)} for a file.",
        )
    return False


@contextmanager
def opened(path: str, *, read_only: bool, must_exist: bool = True) -> Iterator[Database]:
    """The database of a path: the file itself, or the one beside a data file."""
    target: str | Path = path
    if "://" not in path:
        target = Path(Path(path).name.split(".")[0] + ".duckdb") if is_data_file(path) else Path(path)
        if must_exist and not target.exists():
            hint = "Train a model first." if read_only else "Check the path."
            raise ConfigurationError(f"There is no database {str(target)!r}.", hint=hint)
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

"""Rows that a query gives, run when they are asked for, and where they can go."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from sqlglot import exp

from selectron.engines.base import Engine
from selectron.errors import ConfigurationError, DataError
from selectron.markup import html_table
from selectron.sql import folded

__all__ = ["FORMATS", "Output"]

# How a file is written, by the end of its name.
FORMATS: Final = (".csv", ".parquet", ".json")
# What a notebook shows.
SHOWN_ROWS: Final = 10


def same_file(path: str | Path, names: Iterable[object]) -> bool:
    """Whether a file is there, and one of those that are named."""
    known = Path(path)
    others = (Path(name) for name in names if isinstance(name, (str, Path)))
    try:
        return known.exists() and any(other.exists() and known.samefile(other) for other in others)
    except (OSError, ValueError):
        # A text that no file can be called.
        return False


class Output:
    """A query over a database: its text, its rows, and ways to write them."""

    def __init__(self, engine: Engine, query: exp.Select, source: object = None) -> None:
        self.engine = engine
        self.query = query
        self.source = source

    def _repr_html_(self) -> str:
        """What notebooks show: the first rows."""
        found = self.engine.rows(self.query.limit(SHOWN_ROWS + 1))
        more = [("…",) * len(self.columns)] if len(found) > SHOWN_ROWS else []
        return html_table(self.columns, [*found[:SHOWN_ROWS], *more])

    @property
    def sql(self) -> str:
        """The query as text."""
        return self.engine.sql(self.query, pretty=True)

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return [str(name) for name in self.query.named_selects]

    def df(self) -> Any:
        """The rows as a pandas data frame."""
        return self.engine.frame(self.query, "pandas")

    def pl(self) -> Any:
        """The rows as a Polars data frame."""
        return self.engine.frame(self.query, "polars")

    def arrow(self) -> Any:
        """The rows as an Arrow table."""
        return self.engine.frame(self.query, "arrow")

    def to_table(self, name: str, *, replace: bool = False) -> None:
        """Write the rows into a new table.

        Raises
        ------
        DataError
            If there is a table of that name, unless `replace` says to replace it.
        """
        self.check_free(name, replace)
        self.engine.create_table(name, self.query, replace=replace)

    def to_file(self, path: str | Path) -> None:
        """Write the rows into a .csv, .parquet or .json file."""
        end = Path(path).suffix.lower()
        if end not in FORMATS:
            raise ConfigurationError(
                f"{str(path)!r} is no file that can be written.", hint=f"Use one of {', '.join(FORMATS)}."
            )
        self.check_not_read(path)
        self.engine.export(self.query, str(path))

    def check_not_read(self, path: str | Path) -> None:
        """Refuse to write over a file whose rows are read."""
        read = [self.source, *(own.name for own in self.query.find_all(exp.Table, exp.Literal))]
        if same_file(path, read):
            raise DataError(
                f"File {str(path)!r} is what the rows come from, which stays as it is.",
                hint="Name another file.",
            )

    def check_free(self, name: str, replace: bool) -> None:
        """Refuse a name that a table of the user's has, or that is like one of ours."""
        if not name.strip():
            raise ConfigurationError("The output needs a name.")
        if folded(name).startswith("selectron_"):
            raise DataError(f"{name!r} begins as the tables of models do.", hint="Name the output otherwise.")
        if not replace and self.engine.has_table(name):
            raise DataError(
                f"There is a table or view {name!r} already.", hint="Name another, or say to replace it."
            )

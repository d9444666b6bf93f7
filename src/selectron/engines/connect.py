"""Which engine a URL or a file is for."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Final, Protocol

from selectron.engines.base import Engine
from selectron.engines.queries import AsWritten, refuse_compiled
from selectron.errors import EngineError

__all__ = ["open_engine"]

SQLITE_HEADER: Final = b"SQLite format 3\x00"
SQLITE_ENDS: Final = (".sqlite", ".sqlite3", ".db")


class Opener(Protocol):
    """Opens a database."""

    def __call__(self, path: str, *, read_only: bool) -> Engine:
        """The engine of a path or URL."""


def imported(module: str, name: str, extra: str) -> Opener:
    """An engine's class; engines that need a driver are imported when they are asked for."""
    try:
        opener: Opener = getattr(import_module(f"selectron.engines.{module}"), name)
    except ImportError as error:
        raise EngineError(
            f"This engine needs a driver that is not installed ({error.name}).",
            hint=f"pip install 'selectron[{extra}]'",
        ) from error
    return opener


def open_engine(target: str | Path, *, read_only: bool = False) -> Engine:
    """The engine of a URL or a file.

    Parameters
    ----------
    target
        ``postgresql://...``; ``sqlite:///path`` or a SQLite file (.sqlite, .sqlite3, .db);
        ``bigquery://project/dataset``; anything else is a DuckDB file, ``":memory:"`` DuckDB's memory.
    read_only
        Open without the right to write.

    Raises
    ------
    EngineError
        If it cannot be opened, or its driver is not installed.

    Examples
    --------
    >>> open_engine(":memory:").dialect, open_engine("sqlite:///:memory:").dialect
    ('duckdb', 'sqlite')
    """
    refuse_compiled(AsWritten)
    text = str(target)
    scheme, separator, rest = text.partition("://")
    if separator and scheme in ("postgresql", "postgres"):
        return imported("postgres", "Postgres", "postgres")(text, read_only=read_only)
    if separator and scheme == "bigquery":
        return imported("bigquery", "open_client", "bigquery")(rest, read_only=read_only)
    if separator and scheme == "sqlite":
        return imported("sqlite", "SQLite", "sqlite")(rest.removeprefix("/"), read_only=read_only)
    if separator and scheme == "duckdb":
        return imported("duckdb", "DuckDB", "duckdb")(rest.removeprefix("/"), read_only=read_only)
    if separator:
        raise EngineError(
            f"There is no engine for {scheme}:// URLs.",
            hint="Use postgresql://, bigquery://, sqlite:/// or a file.",
        )
    if is_sqlite(Path(text)):
        return imported("sqlite", "SQLite", "sqlite")(text, read_only=read_only)
    return imported("duckdb", "DuckDB", "duckdb")(text, read_only=read_only)


def is_sqlite(path: Path) -> bool:
    """Whether a file is SQLite's by its first bytes, or would be by its name."""
    if path.is_file() and path.stat().st_size:
        with path.open("rb") as file:
            return file.read(len(SQLITE_HEADER)) == SQLITE_HEADER
    return path.suffix.lower() in SQLITE_ENDS

"""Files and data frames as rows, for engines that cannot read them themselves: DuckDB reads them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb
from sqlglot import exp

from selectron.engines.base import ColumnKind
from selectron.errors import ColumnError, DataError, EngineError

__all__ = ["READERS", "Rows", "is_file", "reader_of", "register_frame", "rows_of", "to_frame", "write_file"]

# How a file is read, by the end of its name.
READERS: Final = {
    ".csv": "read_csv",
    ".csv.gz": "read_csv",
    ".tsv": "read_csv",
    ".parquet": "read_parquet",
    ".json": "read_json",
    ".jsonl": "read_json",
    ".ndjson": "read_json",
}
NUMBERS: Final = frozenset(
    [
        *("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT"),
        *("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT"),
        *("FLOAT", "DOUBLE"),
    ]
)
BATCH: Final = 10_000
ZONED: Final = "TIMESTAMP WITH TIME ZONE"


@dataclass(frozen=True)
class Rows:
    """Rows with the names and kinds of their columns; whole numbers are told from others."""

    names: tuple[str, ...]
    kinds: tuple[ColumnKind, ...]
    whole: tuple[bool, ...]
    rows: Iterator[tuple[Any, ...]]


def reader_of(path: str) -> str | None:
    """The function that reads such a file, if there is one.

    >>> reader_of("a.CSV"), reader_of("a.txt")
    ('read_csv', None)
    """
    return next((reader for end, reader in READERS.items() if path.lower().endswith(end)), None)


def is_file(path: str) -> bool:
    """Whether a name is that of a file of data."""
    return reader_of(path) is not None


def kind_of(type_: str) -> ColumnKind:
    """What a DuckDB type means to a network."""
    base = type_.split("(")[0]
    if type_.endswith("]"):
        return ColumnKind.OTHER
    if base in NUMBERS or base == "DECIMAL":
        return ColumnKind.NUMBER
    if base.startswith("TIMESTAMP"):
        return ColumnKind.TIMESTAMP
    plain = {"BOOLEAN": ColumnKind.BOOLEAN, "DATE": ColumnKind.DATE}
    plain |= dict.fromkeys(["VARCHAR", "UUID", "ENUM"], ColumnKind.TEXT)
    plain |= dict.fromkeys(["NULL", '"NULL"'], ColumnKind.EMPTY)
    return plain.get(base, ColumnKind.OTHER)


def register_frame(connection: duckdb.DuckDBPyConnection, name: str, frame: Any) -> None:
    """Let a DuckDB connection see a pandas, Polars or Arrow frame.

    Raises
    ------
    ColumnError
        If two columns have the same name.
    DataError
        If it is no frame.
    """
    # An Arrow table's `columns` are their values.
    names = [str(name) for name in getattr(frame, "column_names", getattr(frame, "columns", ()))]
    doubled = [name for name, count in Counter(names).items() if count > 1]
    if doubled:
        raise ColumnError(
            f"The {type(frame).__name__} has two columns named {doubled[0]!r}.", hint="Rename one of them."
        )
    try:
        try:
            connection.register(name, frame)
        except duckdb.Error as error:
            if "bad_cast" not in str(error) or not hasattr(frame, "copy"):
                raise
            # DuckDB does not read pandas columns that run backwards in memory.
            connection.register(name, frame.copy())
    except (duckdb.Error, TypeError) as error:
        raise DataError(
            f"A {type(frame).__name__} is not a table that can be trained on.",
            hint="Give a table or view name, a query, a file, or a pandas, Polars or Arrow frame.",
        ) from error


def rows_of(source: object) -> Rows:
    """The rows of a CSV, Parquet or JSON file, or of a pandas, Polars or Arrow frame.

    Raises
    ------
    DataError
        If it cannot be read.
    """
    connection = duckdb.connect()
    try:
        if isinstance(source, (str, Path)):
            path = str(source)
            reader = reader_of(path)
            if reader is None:
                raise DataError(
                    f"File {path!r} is of no kind that can be read.", hint=f"Use one of {', '.join(READERS)}."
                )
            if not any(mark in path for mark in "*?[") and "://" not in path and not Path(path).exists():
                raise DataError(f"There is no file {path!r}.", hint="Check the path.")
            rows = exp.Table(this=exp.Anonymous(this=reader, expressions=[exp.Literal.string(path)]))
        else:
            register_frame(connection, "frame", source)
            rows = exp.table_("frame")
        relation = in_utc(connection, rows)
    except (duckdb.Error, TypeError) as error:
        text = str(error).splitlines()[0]
        raise DataError(
            f"A {type(source).__name__} cannot be read: {text}",
            hint="Give a table or view name, a query, a file, or a pandas, Polars or Arrow frame.",
        ) from error
    names = tuple(str(column[0]) for column in relation.description or ())
    types = [str(column[1]) for column in relation.description or ()]
    whole = tuple(type_.endswith(("INT", "INTEGER")) for type_ in types)
    return Rows(names, tuple(map(kind_of, types)), whole, batches(relation))


def in_utc(connection: duckdb.DuckDBPyConnection, rows: exp.Table) -> duckdb.DuckDBPyConnection:
    """All rows; moments with a time zone in UTC, without it.

    In Python they would be moments of this machine's time zone, and need a library that may not be there.
    """
    found = connection.execute(exp.select("*").from_(rows).sql("duckdb"))
    zoned = [str(name) for name, type_, *_ in found.description or () if str(type_) == ZONED]
    if not zoned:
        return found
    moments = [
        exp.alias_(
            exp.func("make_timestamp", exp.func("epoch_us", exp.column(name, quoted=True))), name, quoted=True
        )
        for name in zoned
    ]
    every = exp.Select(expressions=[exp.Star(replace=moments)]).from_(rows)
    return connection.execute(every.sql("duckdb"))


def batches(result: duckdb.DuckDBPyConnection) -> Iterator[tuple[Any, ...]]:
    while rows := result.fetchmany(BATCH):
        yield from rows


@contextmanager
def loaded(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> Iterator[duckdb.DuckDBPyRelation]:
    """Rows as something that DuckDB writes and hands to data frames."""
    try:
        import pyarrow as pa  # type: ignore[import-untyped,unused-ignore]
    except ImportError as error:
        raise EngineError(
            "Rows become a frame or a Parquet file through pyarrow, which is not installed.",
            hint="Install pyarrow.",
        ) from error
    columns = [[row[place] for row in rows] for place in range(len(names))]
    table = pa.Table.from_arrays([pa.array(column) for column in columns], names=list(names))
    with duckdb.connect() as connection:
        connection.register("rows", table)
        yield connection.sql("SELECT * FROM rows")


def to_frame(names: Sequence[str], rows: Sequence[Sequence[Any]], kind: str) -> Any:
    """Rows as a frame: ``"pandas"``, ``"polars"`` or ``"arrow"``.

    Raises
    ------
    EngineError
        If that library is not installed.
    """
    try:
        with loaded(names, rows) as relation:
            makers: dict[str, Callable[[], Any]] = {
                "pandas": relation.df,
                "polars": relation.pl,
                "arrow": relation.to_arrow_table,
            }
            return makers[kind]()
    except ImportError as error:
        raise EngineError(f"A {kind} frame needs a library that is not installed.") from error


def write_file(names: Sequence[str], rows: Sequence[Sequence[Any]], path: str) -> None:
    """Rows into a .csv, .parquet or .json file.

    Raises
    ------
    EngineError
        If it cannot be written.
    """
    try:
        with loaded(names, rows) as relation:
            if path.lower().endswith(".csv"):
                relation.write_csv(path)
            elif path.lower().endswith(".parquet"):
                relation.write_parquet(path)
            else:
                relation.query("rows", f"COPY rows TO '{path.replace(chr(39), chr(39) * 2)}' (FORMAT json)")
    except duckdb.Error as error:
        raise EngineError(f"File {path!r} cannot be written: {str(error).splitlines()[0]}") from error

"""DuckDB: the embedded default."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import duckdb
from sqlglot import exp

from selectron.engines.base import (
    Abilities,
    Arrays,
    Column,
    ColumnKind,
    Cores,
    Limits,
    Lookup,
    NoFunctions,
    Recursion,
    Relation,
    Row,
    SqlFunction,
    refuse_doubled,
)
from selectron.engines.files import READERS, reader_of, register_frame
from selectron.engines.queries import apart, named, query_relation
from selectron.engines.tables import TypedTables
from selectron.errors import DataError, EngineError
from selectron.sql import call, case, column, encodable, folded, growing, integer

__all__ = ["DuckDB"]

NUMBERS: Final = frozenset(
    [
        "TINYINT",
        "SMALLINT",
        "INTEGER",
        "BIGINT",
        "HUGEINT",
        "UTINYINT",
        "USMALLINT",
        "UINTEGER",
        "UBIGINT",
        "UHUGEINT",
        "FLOAT",
        "DOUBLE",
    ]
)
ZONED: Final = "TIMESTAMP WITH TIME ZONE"
KINDS: Final = {
    "BOOLEAN": ColumnKind.BOOLEAN,
    "VARCHAR": ColumnKind.TEXT,
    "UUID": ColumnKind.TEXT,
    "DATE": ColumnKind.DATE,
    "TIMESTAMP": ColumnKind.TIMESTAMP,
    "TIMESTAMP_S": ColumnKind.TIMESTAMP,
    "TIMESTAMP_MS": ColumnKind.TIMESTAMP,
    "TIMESTAMP_NS": ColumnKind.TIMESTAMP,
    ZONED: ColumnKind.TIMESTAMP,
    '"NULL"': ColumnKind.EMPTY,
    **dict.fromkeys(NUMBERS, ColumnKind.NUMBER),
}

QUERY_WORDS: Final = ("select", "with", "from", "values", "(")
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
ABILITIES: Final = Abilities(Recursion.FREE, Arrays.LISTS, compares=True, lookup=Lookup.BUCKETS)
# A round of a recursion runs on several threads if the one before left more than four vectors of rows.
FRONTIER: Final = 4 * 2_048 + 2
ROW_GROUP: Final = 122_880
ON_CORES: Final = 2  # since this version
# More microseconds than Python's calendar has.
BEYOND: Final = 2**62


class DuckDB(TypedTables, NoFunctions):
    """A DuckDB database: a file, or memory when no path is given.

    Parameters
    ----------
    path
        The database file, created when missing; ``":memory:"`` for none.
    read_only
        Open without the right to write. The file must exist.
    connection
        An open connection to use instead; the caller keeps it.

    Raises
    ------
    EngineError
        If the file is no database, is locked by another process, or cannot be created.

    Examples
    --------
    >>> import sqlglot
    >>> engine = DuckDB()
    >>> engine.rows(sqlglot.parse_one("SELECT 42 AS answer"))
    [(42,)]
    """

    dialect: Final = "duckdb"
    limits: Final = Limits(expression_depth=1_000)

    def __init__(
        self,
        path: str | Path = ":memory:",
        *,
        read_only: bool = False,
        connection: duckdb.DuckDBPyConnection | None = None,
    ) -> None:
        self.path = str(path)
        self.owns_connection = connection is None
        self.connection = connection or open_connection(self.path, read_only=read_only)
        self.read_only = read_only or not self.writable()
        self.frame_numbers = itertools.count(1)
        self.abilities = replace(ABILITIES, cores=self.cores())

    def cores(self) -> Cores | None:
        """What it takes to train on several cores; None before DuckDB 2, where a recursion always has one."""
        row = self.first("SELECT current_setting('threads')")
        if row is None or int(duckdb.__version__.partition(".")[0]) < ON_CORES:
            return None
        return Cores(int(row[0]), FRONTIER, ROW_GROUP)

    def writable(self) -> bool:
        """Whether the current catalog takes writes."""
        query = "SELECT NOT readonly FROM duckdb_databases() WHERE database_name = current_database()"
        row = self.first(query)
        return bool(row and row[0])

    def close(self) -> None:
        """Close the connection, if this object opened it."""
        if self.owns_connection:
            self.connection.close()

    def interrupt(self) -> None:
        """Stop the running statement, from another thread."""
        self.connection.interrupt()

    @growing()
    def sql(self, statement: exp.Expr, *, pretty: bool = False) -> str:
        """The statement as DuckDB text, identifiers quoted."""
        return apart(statement).sql(dialect=self.dialect, identify=True, pretty=pretty, comments=pretty)

    def run(self, statement: exp.Expr, parameters: Sequence[object] = ()) -> None:
        """Execute a statement whose result does not matter."""
        # Printing in place, without a copy first: a statement that is run is not used again.
        text = apart(statement).sql(dialect=self.dialect, identify=True, comments=False, copy=False)
        self.execute(text, parameters)

    def rows(self, statement: exp.Expr, parameters: Sequence[object] = ()) -> list[Row]:
        """Execute a query and fetch all its rows."""
        result = self.execute(self.sql(statement), parameters)
        zoned = [place for place, own in enumerate(result.description or ()) if str(own[1]) == ZONED]
        if zoned and isinstance(statement, exp.Query):
            return self.zoned_rows(statement, parameters, len(result.description), zoned)
        with translated():
            rows: list[Row] = result.fetchall()
        return rows

    def zoned_rows(
        self, query: exp.Query, parameters: Sequence[object], width: int, zoned: Sequence[int]
    ) -> list[Row]:
        """The rows of a query with moments of a time zone in some places, as Python's in the session's zone.

        DuckDB makes such moments with a library that may not be there, so that numbers are fetched.
        """
        names = [f"column {place}" for place in range(width)]
        values = [
            microseconds(column(name)) if place in zoned else column(name) for place, name in enumerate(names)
        ]
        alias = exp.TableAlias(
            this=exp.to_identifier("fetched"),
            columns=[exp.to_identifier(name, quoted=True) for name in names],
        )
        source = exp.Subquery(this=query.copy(), alias=alias)
        found = self.fetched(self.sql(exp.Select(expressions=values).from_(source)), parameters)
        (name,) = self.first("SELECT current_setting('TimeZone')") or ("UTC",)
        zone = zone_of(str(name))
        return [
            tuple(moment(value, zone) if place in zoned else value for place, value in enumerate(row))
            for row in found
        ]

    def execute(self, text: str, parameters: Sequence[object] = ()) -> duckdb.DuckDBPyConnection:
        """Execute SQL text; DuckDB's own errors become ours."""
        if not all(encodable(given) for given in (text, *parameters) if isinstance(given, str)):
            raise EngineError(
                "A name or a value is no valid Unicode text.",
                hint="It has half of a surrogate pair.",
            )
        with translated():
            return (
                self.connection.execute(text, list(parameters))
                if parameters
                else self.connection.execute(text)
            )

    def fetched(self, text: str, parameters: Sequence[object] = ()) -> list[Row]:
        """All rows of SQL text, which may fail while they are fetched."""
        result = self.execute(text, parameters)
        with translated():
            rows: list[Row] = result.fetchall()
        return rows

    def first(self, text: str, parameters: Sequence[object] = ()) -> Row | None:
        """The first row of a query; all are fetched, since an unfinished result blocks the connection."""
        rows = self.fetched(text, parameters)
        return rows[0] if rows else None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what happens inside as one, or nothing of it."""
        self.execute("BEGIN TRANSACTION")
        try:
            yield
        except BaseException:
            self.execute("ROLLBACK")
            raise
        self.execute("COMMIT")

    def temporary(self, name: str) -> exp.Table:
        """A table of this connection alone."""
        return exp.table_(name, db="temp", quoted=True)

    def create_temporary(self, name: str, query: exp.Query) -> None:
        """CREATE OR REPLACE TEMPORARY TABLE AS a query."""
        properties = exp.Properties(expressions=[exp.TemporaryProperty()])
        table = exp.table_(name, quoted=True)
        self.run(exp.Create(this=table, kind="TABLE", replace=True, expression=query, properties=properties))

    def rename_temporary(self, name: str, new: str) -> None:
        """Give a table of this connection another name."""
        self.drop_temporary(new)
        action = exp.AlterRename(this=exp.table_(new, quoted=True))
        self.run(exp.Alter(this=self.temporary(name), kind="TABLE", actions=[action]))

    def drop_temporary(self, name: str) -> None:
        """Drop a table of this connection, if there is one."""
        self.run(exp.Drop(tables=[self.temporary(name)], kind="TABLE", exists=True))

    def create_table(self, name: str, query: exp.Query, *, replace: bool = False) -> None:
        """CREATE TABLE AS a query."""
        if replace:
            self.refuse_other_type(name, "table")
        self.run(exp.Create(this=self.place(name), kind="TABLE", replace=replace, expression=query.copy()))

    def create_view(self, name: str, query: exp.Query, *, replace: bool = False) -> None:
        """CREATE VIEW AS a query."""
        if replace:
            self.refuse_other_type(name, "view")
        self.run(exp.Create(this=self.place(name), kind="VIEW", replace=replace, expression=query.copy()))

    def place(self, name: str) -> exp.Table:
        """Where a table or view goes: into the schema or catalog that its name begins with, else here."""
        above, _, own = name.rpartition(".")
        if not above or self.type_of(exp.table_(name, quoted=True)) is not None:
            return exp.table_(name, quoted=True)
        query = """
            SELECT catalog_name, schema_name, catalog_name = current_database()
            FROM information_schema.schemata
            WHERE list_contains([lower(schema_name), lower(catalog_name || '.' || schema_name),
                CASE WHEN schema_name = 'main' THEN lower(catalog_name) END], lower(?))
            ORDER BY catalog_name <> current_database(), schema_name
        """
        for catalog, schema, is_here in self.fetched(query, [above]):
            # DuckDB's lower() knows more letters than its identifiers do.
            if folded(above) in map(folded, (schema, f"{catalog}.{schema}", catalog)):
                return exp.table_(own, db=schema, catalog=None if is_here else catalog, quoted=True)
        return exp.table_(name, quoted=True)

    def create_function(self, function: SqlFunction) -> None:
        """CREATE MACRO, whose value is a STRUCT."""
        fields = [
            exp.PropertyEQ(this=exp.to_identifier(name, quoted=True), expression=column(name))
            for name, _ in function.results
        ]
        row = exp.select(exp.Struct(expressions=fields)).from_(function.query.subquery("predicted"))
        arguments: list[exp.Expr] = [exp.to_identifier(name, quoted=True) for name, _ in function.arguments]
        signature = exp.UserDefinedFunction(
            this=exp.table_(function.name, quoted=True), expressions=arguments, wrapped=True
        )
        self.run(exp.Create(this=signature, kind="MACRO", replace=True, expression=row.subquery()))

    def drop_function(self, name: str) -> None:
        """Drop a macro, if there is one."""
        self.run(exp.Drop(tables=[exp.table_(name, quoted=True)], kind="MACRO", exists=True))

    def has_function(self, name: str) -> bool:
        """Whether there is a macro of that name that is not DuckDB's own."""
        query = "SELECT function_name FROM duckdb_functions() WHERE NOT internal"
        return folded(name) in {folded(str(found)) for (found,) in self.fetched(query)}

    def export(self, query: exp.Query, path: str) -> None:
        """COPY the rows of a query into a file, in the format that the end of its name says."""
        form = exp.CopyParameter(this=exp.var("FORMAT"), expression=exp.var(Path(path).suffix.lower()[1:]))
        self.run(exp.Copy(this=query.subquery(), kind=False, files=[exp.Literal.string(path)], params=[form]))

    def columns(self, relation: Relation) -> list[Column]:
        """The columns of a relation, in order.

        Raises
        ------
        DataError
            If the relation cannot be read.
        ColumnError
            If two columns have the same name.
        """
        source = relation.source
        query = source.this if isinstance(source, exp.Subquery) else exp.select("*").from_(source.copy())
        try:
            described = self.rows(exp.Describe(this=query.copy()))
        except EngineError as error:
            raise DataError(f"{relation.label} cannot be read: {error.problem}") from error
        columns = [column_of(str(name), str(type_)) for name, type_, *_ in described]
        # DuckDB's identifiers ignore the case of ASCII letters, so "a" and "A" are one column to it.
        refuse_doubled([own.name for own in columns], folded, relation.label)
        return columns

    def relation(self, source: object) -> Relation:
        """A table, view, query, CSV, Parquet or JSON file, or pandas, Polars or Arrow frame.

        Raises
        ------
        DataError
            If nothing of that name exists, or the object is no table of any kind.

        Examples
        --------
        >>> engine = DuckDB()
        >>> engine.relation("SELECT 1 AS a").source.sql("duckdb")
        '(SELECT 1 AS a) AS source'
        """
        if isinstance(source, Relation):
            return source
        if isinstance(source, Path):
            return self.file(str(source))
        if isinstance(source, str):
            text = source.strip()
            table = self.table(text)
            if table is not None:
                return Relation(named(table), f"table {text!r}")
            if reader_of(text):
                return self.file(text)
            query = query_relation(text, self.dialect, QUERY_WORDS)
            if query is not None:
                return query
            raise DataError(
                f"There is no table, view or file named {text!r} in {self.path}.", hint=self.tables_hint()
            )
        return self.registered(source)

    def table(self, name: str) -> exp.Table | None:
        """The table or view of that name, alone or qualified by schema and catalog, if there is one."""
        query = """
            SELECT table_catalog, table_schema, table_name FROM information_schema.tables
            WHERE list_contains(
                [lower(table_name), lower(table_schema || '.' || table_name),
                 lower(table_catalog || '.' || table_schema || '.' || table_name)], lower(?))
            ORDER BY table_catalog <> current_database(), table_schema <> current_schema()
        """
        # DuckDB's lower() knows more letters than its identifiers do.
        found = [
            own
            for own in self.fetched(query, [name])
            if folded(name) in (folded(".".join(own[place:])) for place in range(3))
        ]
        if not found:
            return None
        catalog, schema, table = found[0]
        # The short form where it means the same, since it stays true when the file is moved or renamed.
        here = self.first("SELECT current_database(), current_schema()")
        if here == (catalog, schema):
            return exp.table_(table, quoted=True)
        if here and here[0] == catalog:
            return exp.table_(table, db=schema, quoted=True)
        return exp.table_(table, db=schema, catalog=catalog, quoted=True)

    def frame(self, statement: exp.Expr, kind: str) -> Any:
        """The rows of a query as a pandas, Polars or Arrow frame."""
        text = self.sql(statement)
        makers: dict[str, Callable[[duckdb.DuckDBPyRelation], Any]] = {
            "pandas": lambda result: result.df(),
            "polars": lambda result: result.pl(),
            "arrow": lambda result: result.to_arrow_table(),
        }
        try:
            with translated():
                return makers[kind](self.connection.sql(text))
        except ImportError as error:
            raise EngineError(
                f"A {kind} frame needs a library that is not installed: {first_line(error)}",
                hint=f"Install {kind if kind != 'arrow' else 'pyarrow'}.",
            ) from error

    def type_of(self, table: exp.Table) -> str | None:
        """Whether something is a table or a view; DuckDB's names ignore case."""
        query = """
            SELECT table_name, CASE table_type WHEN 'VIEW' THEN 'view' ELSE 'table' END
            FROM information_schema.tables
            WHERE lower(table_name) = lower($1) AND table_schema = coalesce($2, current_schema())
                AND table_catalog = coalesce($3, current_database())
        """
        # DuckDB's lower() knows more letters than its identifiers do.
        found = self.fetched(query, [table.name, table.db or None, table.catalog or None])
        return next((str(type_) for own, type_ in found if folded(own) == folded(table.name)), None)

    def tables_hint(self) -> str:
        """The tables that do exist, for a message."""
        query = """
            SELECT table_name FROM information_schema.tables
            WHERE NOT starts_with(table_name, 'selectron_') ORDER BY table_name LIMIT 10
        """
        names = [repr(row[0]) for row in self.fetched(query)]
        return f"It has: {', '.join(names)}." if names else "It has no tables."

    def file(self, path: str) -> Relation:
        """A CSV, Parquet or JSON file."""
        reader = reader_of(path)
        if reader is None:
            raise DataError(
                f"File {path!r} is of no kind that can be read.", hint=f"Use one of {', '.join(READERS)}."
            )
        if not any(mark in path for mark in "*?[") and "://" not in path and not Path(path).exists():
            raise DataError(f"There is no file {path!r}.", hint="Check the path.")
        call = exp.Anonymous(this=reader, expressions=[exp.Literal.string(path)])
        return Relation(exp.Table(this=call), f"file {path!r}")

    def registered(self, frame: Any) -> Relation:
        """A pandas, Polars or Arrow frame, registered under a name of our own."""
        name = f"selectron_frame_{next(self.frame_numbers)}"
        register_frame(self.connection, name, frame)
        return Relation(exp.table_(name, quoted=True), f"the {type(frame).__name__}")


def microseconds(value: exp.Expr) -> exp.Expr:
    """Microseconds since 1970; those of infinite moments are beyond Python's calendar."""
    later = exp.GT(
        this=value.copy(), expression=exp.cast(exp.Literal.string("1970-01-01 00:00:00+00"), "timestamptz")
    )
    return case(
        (exp.Is(this=value.copy(), expression=exp.Null()), exp.Null()),
        (call("isfinite", value.copy()), call("epoch_us", value.copy())),
        (later, integer(BEYOND)),
        default=integer(-BEYOND),
    )


def moment(since: int | None, zone: tzinfo) -> datetime | None:
    """A moment of so many microseconds since 1970; the calendar's last or first if it has none."""
    if since is None:
        return None
    try:
        return (EPOCH + timedelta(microseconds=since)).astimezone(zone)
    except OverflowError:
        return (datetime.max if since > 0 else datetime.min).replace(tzinfo=UTC)


def zone_of(name: str) -> tzinfo:
    """A time zone by its name; UTC if this machine does not know it."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return UTC


def open_connection(path: str, *, read_only: bool) -> duckdb.DuckDBPyConnection:
    """Open a database file, with messages that say what to do."""
    try:
        connection = duckdb.connect(path, read_only=read_only)
        # It would be printed among what the command line prints.
        connection.execute("SET enable_progress_bar = false")
        # Steps nested in one statement are deep, and known to be: their number is what the user asks for.
        connection.execute("SET max_expression_depth = 1000000")
        return connection
    except duckdb.IOException as error:
        text = str(error)
        if "Could not set lock" in text:
            raise EngineError(
                f"Database {path!r} is locked by another process.",
                hint="Close the program that has it open, or open a copy.",
            ) from error
        if "not a valid" in text.lower():
            raise EngineError(
                f"File {path!r} is not a DuckDB database.",
                hint="A .csv or .parquet file is given where the table goes, or directly to the command.",
            ) from error
        raise EngineError(
            f"Database {path!r} cannot be opened: {first_line(error)}", hint="Check the path and its rights."
        ) from error
    except duckdb.Error as error:
        raise EngineError(f"Database {path!r} cannot be opened: {first_line(error)}") from error


def column_of(name: str, type_: str) -> Column:
    return Column(name, kind_of(type_), type_, type_ == ZONED)


def kind_of(type_: str) -> ColumnKind:
    """What a DuckDB type means to a network.

    >>> kind_of("DECIMAL(9,2)"), kind_of("ENUM('a', 'b')"), kind_of("DOUBLE[]")
    (<ColumnKind.NUMBER: 'number'>, <ColumnKind.TEXT: 'text'>, <ColumnKind.OTHER: 'other'>)
    """
    if type_.endswith("]"):
        return ColumnKind.OTHER
    if type_.startswith("DECIMAL"):
        return ColumnKind.NUMBER
    if type_.startswith("ENUM"):
        return ColumnKind.TEXT
    return KINDS.get(type_, ColumnKind.OTHER)


@contextmanager
def translated() -> Iterator[None]:
    """DuckDB's errors become ours, and a statement that was stopped a KeyboardInterrupt."""
    try:
        yield
    except duckdb.InterruptException as error:
        raise KeyboardInterrupt from error
    except RuntimeError as error:
        # What Ctrl-C becomes while a statement runs.
        if "interrupted" in str(error):
            raise KeyboardInterrupt from error
        raise
    except duckdb.Error as error:
        raise translate(error) from error


def translate(error: duckdb.Error) -> EngineError:
    """DuckDB's error as ours, first line only."""
    text = first_line(error)
    if "read-only" in text:
        return EngineError(
            "The database is read-only.", hint="Open it with the right to write, or use a copy."
        )
    if "'pytz'" in text:
        return EngineError(
            "DuckDB reads moments with a time zone inside lists or structures by a library that is not "
            "installed: pytz.",
            hint="Install pytz, or leave such columns out in a query.",
        )
    return EngineError(f"DuckDB refused: {text}")


def first_line(error: Exception) -> str:
    """The first line of an error's text, without terminal colours."""
    lines = str(error).replace("\x1b[4m", "").replace("\x1b[0m", "").strip().splitlines()
    return lines[0] if lines else type(error).__name__

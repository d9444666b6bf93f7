"""SQLite: the standard library's, with NumPy functions of ours where tensors are values."""

from __future__ import annotations

import itertools
import math
import re
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar, Final

from sqlglot import exp
from sqlglot.dialects.sqlite import SQLite as SQLiteDialect
from sqlglot.generators.sqlite import SQLiteGenerator

from selectron.combination import Combination, combination_sql
from selectron.engines.base import (
    Abilities,
    Arrays,
    Column,
    ColumnKind,
    Copying,
    Limits,
    Lookup,
    NoSqlFunctions,
    Recursion,
    Relation,
    Row,
    refuse_doubled,
)
from selectron.engines.files import is_file, rows_of
from selectron.engines.queries import AsWritten, apart, named, query_relation
from selectron.engines.tables import SchemaTables
from selectron.errors import ColumnError, DataError, EngineError
from selectron.interrupting import interruptible
from selectron.sql import call, cast, folded, growing

__all__ = ["SQLite"]

Expression = exp.Expr

QUERY_WORDS: Final = ("select", "with", "values", "(")
# What a view says of a column that is computed.
AFFINITIES: Final = frozenset({"", "TEXT", "NUM", "REAL", "INT", "BLOB"})
# Words, and a size.
PLAIN_TYPE: Final = re.compile(r"[A-Za-z_][\w ]*(\([\d ]+(,[\d ]+)?\))?")

# ----------------------------------------------------------------------------------------- spelling

FIELDS: Final = {"DOY": "%j", "DOW": "%w", "HOUR": "%H"}


def part(value: Expression, *bounds: int) -> Expression:
    return call("substr", value.copy(), *(exp.Literal.number(bound) for bound in bounds))


def if_fraction(value: Expression, then: Expression, otherwise: Expression) -> Expression:
    """Which of two it is: where a moment is text with a fraction of a second, or not."""
    point = exp.EQ(this=part(value, 20, 1), expression=exp.Literal.string("."))
    return exp.Case(ifs=[exp.If(this=point, true=then)], default=otherwise)


def strftime(form: str, value: Expression) -> Expression:
    """A field of a moment, without the fraction of a second: SQLite rounds it up into the next one."""
    after = call("ltrim", part(value, 21), exp.Literal.string("0123456789"))
    whole = if_fraction(value, exp.DPipe(this=part(value, 1, 19), expression=after), value.copy())
    return cast(call("strftime", exp.Literal.string(form), whole), "double")


def scalar_of(name: str) -> Callable[[list[Expression]], Expression]:
    """A function of several numbers that is an aggregate if it has one."""
    return lambda arguments: arguments[0] if len(arguments) == 1 else call(name, *arguments)


def epoch(arguments: list[Expression]) -> Expression:
    """Seconds since 1970, with their fraction."""
    (value,) = arguments
    # Of a moment that is a number it has milliseconds.
    number = exp.paren(exp.Sub(this=strftime("%f", value.copy()), expression=strftime("%S", value.copy())))
    fraction = if_fraction(value, cast(part(value, 20), "double"), number)
    return exp.paren(exp.Add(this=strftime("%s", value), expression=fraction))


# Functions that are called otherwise here. Dates are text in ISO's form, so a moment is the value itself.
FUNCTIONS: Final[dict[str, Callable[[list[Expression]], Expression]]] = {
    "greatest": scalar_of("max"),
    "least": scalar_of("min"),
    "epoch": epoch,
    "epoch_us": lambda arguments: arguments[0],
    "make_timestamp": lambda arguments: arguments[0],
    "any_value": lambda arguments: exp.Max(this=arguments[0]),
}


# Moments are text in ISO's form, which sorts and is read by SQLite's functions.
MOMENTS: Final = (
    exp.DataType.Type.DATE,
    exp.DataType.Type.DATETIME,
    exp.DataType.Type.TIMESTAMP,
    exp.DataType.Type.TIMESTAMPTZ,
)


PLAIN: Final = frozenset(
    {
        exp.DataType.Type.DOUBLE,
        exp.DataType.Type.TEXT,
        exp.DataType.Type.BIGINT,
        exp.DataType.Type.INT,
    }
)


class Spelling(SQLiteDialect):
    """How SQLite spells what the layers above build."""

    class Generator(AsWritten, SQLiteGenerator):
        TRANSFORMS: ClassVar = {**SQLiteGenerator.TRANSFORMS, Combination: combination_sql}
        TYPE_MAPPING: ClassVar = {
            **SQLiteGenerator.TYPE_MAPPING,
            **dict.fromkeys(MOMENTS, "TEXT"),
            exp.DataType.Type.DOUBLE: "REAL",
        }

        def anonymous_sql(self, expression: exp.Anonymous) -> str:
            rewrite = FUNCTIONS.get(str(expression.this).lower())
            if rewrite is not None:
                return self.sql(rewrite(expression.expressions))
            return super().anonymous_sql(expression)

        def extract_sql(self, expression: exp.Extract) -> str:
            return self.sql(strftime(FIELDS[expression.name.upper()], expression.expression))

        def intdiv_sql(self, expression: exp.IntDiv) -> str:
            return self.binary(expression, "/")

        def cast_sql(self, expression: exp.Cast, safe_prefix: str | None = None) -> str:
            value = expression.this
            if expression.to.this is exp.DataType.Type.BOOLEAN:
                return f"(CAST({self.sql(value)} AS NUMERIC) <> 0)"
            if isinstance(value, exp.Literal) and value.is_string and value.name in ("inf", "-inf"):
                return "9e999" if value.name == "inf" else "-9e999"
            if expression.to.this in PLAIN:
                # Past sqlglot's tests for moments, which parse the names of types at each cast.
                return super(SQLiteGenerator, self).cast_sql(expression, safe_prefix)
            return super().cast_sql(expression, safe_prefix)

        def values_sql(self, expression: exp.Values, values_as_table: bool = True) -> str:
            alias = expression.args.get("alias")
            if alias is None or not alias.columns:
                return super().values_sql(expression, values_as_table)
            # Columns of VALUES cannot be named, but are called column1 and so on.
            rows = self.expressions(sqls=[self.sql(row) for row in expression.expressions], flat=True)
            names = ", ".join(
                f"column{place} AS {self.sql(name)}" for place, name in enumerate(alias.columns, start=1)
            )
            return f"(SELECT {names} FROM (VALUES {rows})) AS {self.sql(alias.this)}"


class Deviation:
    """The standard deviation of a population; two passes, since sums of squares lose digits."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def step(self, value: float | None) -> None:
        if value is not None:
            self.values.append(float(value))

    def finalize(self) -> float | None:
        variance = Variance.of(self.values)
        return None if variance is None else math.sqrt(variance)


class Variance(Deviation):
    """The variance of a population."""

    @staticmethod
    def of(values: list[float]) -> float | None:
        if not values:
            return None
        mean = math.fsum(values) / len(values)
        return math.fsum((value - mean) ** 2 for value in values) / len(values)

    def finalize(self) -> float | None:
        return Variance.of(self.values)


# ------------------------------------------------------------------------------------------- engine

DECLARED: Final = (
    ("BOOL", ColumnKind.BOOLEAN),
    ("INT", ColumnKind.NUMBER),
    ("DATETIME", ColumnKind.TIMESTAMP),
    ("TIMESTAMP", ColumnKind.TIMESTAMP),
    ("DATE", ColumnKind.DATE),
    ("CHAR", ColumnKind.TEXT),
    ("TEXT", ColumnKind.TEXT),
    ("CLOB", ColumnKind.TEXT),
    ("UUID", ColumnKind.TEXT),
    ("REAL", ColumnKind.NUMBER),
    ("FLOA", ColumnKind.NUMBER),
    ("DOUB", ColumnKind.NUMBER),
    ("NUM", ColumnKind.NUMBER),
    ("DEC", ColumnKind.NUMBER),
)
# SQLite's types that say what a column is where no type was declared.
HELD: Final = ("real", "text", "blob")
# How many columns are first asked for texts at once.
TOGETHER: Final = 100
TYPES: Final = {
    ColumnKind.BOOLEAN: "BOOLEAN",
    ColumnKind.NUMBER: "REAL",
    ColumnKind.DATE: "DATE",
    ColumnKind.TIMESTAMP: "TIMESTAMP",
    ColumnKind.TEXT: "TEXT",
    ColumnKind.EMPTY: "BLOB",
    ColumnKind.OTHER: "BLOB",
}


PROGRESS: Final = 100_000


class SQLite(SchemaTables, NoSqlFunctions):
    """A SQLite database: a file, or memory.

    Parameters
    ----------
    path
        The database file, created when missing; ``":memory:"`` for none.
    read_only
        Open without the right to write. The file must exist.

    Raises
    ------
    EngineError
        If the file is no database, is locked by another process, or cannot be created.

    Examples
    --------
    >>> import sqlglot
    >>> engine = SQLite()
    >>> engine.rows(sqlglot.parse_one("SELECT 42 AS answer"))
    [(42,)]
    """

    dialect: Final = "sqlite"
    own_schema: ClassVar = "temp"
    begin: ClassVar = "BEGIN IMMEDIATE"
    limits: Final = Limits(
        columns=2_000, expression_depth=1_000, arguments=127, compound_selects=500, statement_bytes=1_000_000
    )
    abilities: Final = Abilities(
        Recursion.SCALAR,
        Arrays.FUNCTIONS,
        copies=Copying.UNLESS_MATERIALIZED,
        expands=True,
        lookup=Lookup.SUBQUERY,
    )

    def __init__(self, path: str | Path = ":memory:", *, read_only: bool = False) -> None:
        self.path = str(path)
        self.read_only = read_only
        self.connection = open_connection(self.path, read_only=read_only)
        self.frame_numbers = itertools.count(1)
        # Between so many instructions Python gets to see a Ctrl-C, which stops the statement.
        self.connection.set_progress_handler(lambda: 0, PROGRESS)
        self.register_aggregate("stddev_pop", 1, Deviation)
        self.register_aggregate("variance_pop", 1, Variance)

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def interrupt(self) -> None:
        """Stop the running statement, from another thread."""
        self.connection.interrupt()

    def register(self, name: str, arity: int, function: Callable[..., Any]) -> None:
        """Let SQL of this connection call a function."""

        self.connection.create_function(name, arity, function, deterministic=True)

    def register_aggregate(self, name: str, arity: int, aggregate: type[Any]) -> None:
        """Let SQL of this connection call an aggregate."""
        self.connection.create_aggregate(name, arity, aggregate)

    @growing()
    def sql(self, statement: exp.Expr, *, pretty: bool = False) -> str:
        """The statement as SQLite text, identifiers quoted."""
        return apart(statement).sql(dialect=Spelling, identify=True, pretty=pretty, comments=pretty)

    def run(self, statement: exp.Expr, parameters: Sequence[object] = ()) -> None:
        """Execute a statement whose result does not matter."""
        self.execute(self.sql(statement), parameters).close()

    def rows(self, statement: exp.Expr, parameters: Sequence[object] = ()) -> list[Row]:
        """Execute a query and fetch all its rows."""
        cursor = self.execute(self.sql(statement), parameters)
        try:
            return cursor.fetchall()
        except sqlite3.Error as error:
            raise translate(error, self.path) from error

    def execute(self, text: str, parameters: Sequence[object] = ()) -> sqlite3.Cursor:
        """Execute SQL text; SQLite's own errors become ours."""
        with interruptible(self.interrupt):
            try:
                return self.connection.execute(text, tuple(parameters))
            except sqlite3.Error as error:
                if "interrupted" in str(error):
                    raise KeyboardInterrupt from error
                raise translate(error, self.path) from error

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self.connection.in_transaction

    def named_rows(self, statement: exp.Expr) -> tuple[list[str], list[Row]]:
        cursor = self.execute(self.sql(statement))
        return [column[0] for column in cursor.description], cursor.fetchall()

    # Relations --------------------------------------------------------------------------------

    def columns(self, relation: Relation) -> list[Column]:
        """The columns of a relation, in order.

        Types are those that were declared; for columns of queries, what their values are.

        Raises
        ------
        DataError
            If the relation cannot be read.
        ColumnError
            If two columns have the same name, or a column of numbers holds text.
        """
        source = relation.source
        # A query's own columns: read from outside, the second of one name is called otherwise.
        query = (
            source.this if isinstance(source, exp.Subquery) else exp.select("*").from_(source.copy()).limit(0)
        )
        try:
            with closing(self.execute(self.sql(query))) as cursor:
                names = [str(column[0]) for column in cursor.description]
        except EngineError as error:
            raise DataError(f"{relation.label} cannot be read: {error.problem}") from error
        refuse_doubled(names, folded, relation.label)
        declared = {name: type_ for name, type_ in self.declared(relation).items() if kind_of(type_)}
        numbers = [name for name in names if kind_of(declared.get(name, "")) is ColumnKind.NUMBER]
        self.refuse_texts(relation, {name: declared[name] for name in numbers})
        asked = [name for name in names if kind_of(declared.get(name, "")) in (None, ColumnKind.BOOLEAN)]
        held = self.held(relation, asked, HELD)
        return [column_of(name, declared.get(name), held.get(name, {})) for name in names]

    @growing()
    def refuse_texts(self, relation: Relation, declared: Mapping[str, str]) -> None:
        """Refuse columns that are declared as numbers and hold texts, which SQLite lets them."""
        names = list(declared)
        # Hundreds of columns are asked many at a time, which takes a third of the time.
        groups = [names[start : start + TOGETHER] for start in range(0, len(names), TOGETHER)]
        if not groups:
            return

        def text(name: str) -> Expression:
            kind = call("typeof", exp.column(name, quoted=True))
            return exp.EQ(this=kind, expression=exp.Literal.string("text"))

        counts = [exp.Count(this=one_if(exp.or_(*map(text, group), copy=False))) for group in groups]
        doubtful = self.rows(exp.Select(expressions=counts).from_(relation.source.copy()))[0]
        for group, count in zip(groups, doubtful, strict=True):
            found = self.held(relation, group, ("text",)) if count else {}
            for name, types in found.items():
                if types["text"]:
                    raise ColumnError(
                        f"Column {name!r} of {relation.label} is declared {declared[name]} and holds "
                        f"{types['text']} texts.",
                        hint="Convert or remove them, or cast the column in a query.",
                    )

    def declared(self, relation: Relation) -> dict[str, str]:
        """The declared types of a table's columns, and of those that a query takes from tables."""
        source = relation.source
        if isinstance(source, exp.Table):
            found = self.declared_in(source.name, source.db or "main")
            return {name: type_.upper() for name, type_ in found.items()}
        found = self.seen(source.this)
        return {name: type_.upper() for name, type_ in found.items() if type_ not in AFFINITIES}

    def seen(self, query: exp.Expr) -> dict[str, str]:
        """The types of a query's columns: those of tables as they were declared, an affinity of others."""
        view = self.temporary("selectron_columns")
        self.run(exp.Create(this=view, kind="VIEW", expression=query.copy()))
        try:
            return self.declared_in(view.name, view.db)
        finally:
            self.run(exp.Drop(tables=[view.copy()], kind="VIEW"))

    def declared_in(self, table: str, schema: str) -> dict[str, str]:
        rows = self.execute("SELECT name, type FROM pragma_table_xinfo(?, ?)", [table, schema])
        return {str(name): str(type_) for name, type_ in rows}

    def make_table(self, table: exp.Table, query: exp.Query) -> None:
        """Make a table whose columns have the types of those that they come from.

        CREATE TABLE AS keeps nothing but affinities, which do not tell a date from a number.
        """
        definitions = [
            exp.ColumnDef(this=exp.to_identifier(name, quoted=True), kind=as_declared(type_))
            for name, type_ in self.seen(query).items()
        ]
        self.run(exp.Create(this=exp.Schema(this=table, expressions=definitions), kind="TABLE"))
        self.run(exp.Insert(this=table.copy(), expression=query.copy()))

    @growing()
    def held(
        self, relation: Relation, names: Sequence[str], types: Sequence[str]
    ) -> dict[str, dict[str, int]]:
        """How many values of some of SQLite's types each column holds."""
        counts: list[Expression] = []
        for name in names:
            kind = call("typeof", exp.column(name, quoted=True))
            for type_ in types:
                same = exp.EQ(this=kind.copy(), expression=exp.Literal.string(type_))
                counts.append(exp.Count(this=one_if(same)))
        found: list[Any] = []
        # A SELECT takes no more columns than a table.
        for start in range(0, len(counts), 1_600):
            query = exp.Select(expressions=counts[start : start + 1_600]).from_(relation.source.copy())
            found += self.rows(query)[0]
        width = len(types)
        return {
            name: dict(zip(types, found[place * width : (place + 1) * width], strict=True))
            for place, name in enumerate(names)
        }

    def relation(self, source: object) -> Relation:
        """A table, view, query, CSV, Parquet or JSON file, or pandas, Polars or Arrow frame.

        Raises
        ------
        DataError
            If nothing of that name exists, or the object is no table of any kind.
        """
        if isinstance(source, Relation):
            return source
        if isinstance(source, str):
            text = source.strip()
            table = self.execute(
                "SELECT name FROM main.sqlite_master "
                "WHERE type IN ('table', 'view') AND lower(name) = lower(?)",
                [text],
            ).fetchone()
            if table is not None:
                return Relation(named(exp.table_(table[0], quoted=True)), f"table {text!r}")
            query = query_relation(text, self.dialect, QUERY_WORDS)
            if query is not None:
                return query
            if not is_file(text):
                raise DataError(
                    f"There is no table, view or file named {text!r} in {self.path}.",
                    hint=self.tables_hint(),
                )
        label = f"file {str(source)!r}" if isinstance(source, (str, Path)) else f"the {type(source).__name__}"
        return self.loaded(source, label)

    def loaded(self, source: object, label: str) -> Relation:
        """A file or a frame, copied into a table of this connection."""
        rows = rows_of(source)
        name = f"selectron_frame_{next(self.frame_numbers)}"
        definitions = [
            exp.ColumnDef(
                this=exp.to_identifier(column, quoted=True),
                kind=as_declared("INTEGER" if whole else TYPES[kind]),
            )
            for column, kind, whole in zip(rows.names, rows.kinds, rows.whole, strict=True)
        ]
        schema = exp.Schema(this=self.temporary(name), expressions=definitions)
        self.run(exp.Create(this=schema, kind="TABLE"))
        places = ", ".join("?" * len(definitions))
        with self.transaction():
            self.connection.executemany(
                f'INSERT INTO temp."{name}" VALUES ({places})', (tuple(map(stored, row)) for row in rows.rows)
            )
        return Relation(self.temporary(name), label)

    def place(self, name: str) -> exp.Table:
        """The table or view of a name; there are no schemas."""
        return exp.table_(name, quoted=True)

    def type_of(self, table: exp.Table) -> str | None:
        """Whether something is a table or a view."""
        query = (
            "SELECT type FROM main.sqlite_master WHERE type IN ('table', 'view') AND lower(name) = lower(?)"
        )
        row = self.execute(query, [table.name]).fetchone()
        return None if row is None else str(row[0])

    def tables_hint(self) -> str:
        """The tables that do exist, for a message."""
        query = """
            SELECT name FROM main.sqlite_master
            WHERE type IN ('table', 'view') AND substr(name, 1, 10) <> 'selectron_' ORDER BY name LIMIT 10
        """
        names = [repr(row[0]) for row in self.execute(query)]
        return f"It has: {', '.join(names)}." if names else "It has no tables."


def as_declared(type_: str) -> exp.DataType | None:
    """A type as it is written, since that is what tells a date from a text; none if it is no plain name."""
    name = type_.removesuffix(" GENERATED ALWAYS")
    if not PLAIN_TYPE.fullmatch(name):
        return None
    return exp.DataType(this=exp.DataType.Type.USERDEFINED, kind=name)


def kind_of(declared: str) -> ColumnKind | None:
    """The kind of column that a declared type means, if it means any."""
    return next((kind for word, kind in DECLARED if word in declared), None)


def column_of(name: str, declared: str | None, held: Mapping[str, int]) -> Column:
    """A column, from what was declared or else from what it holds."""
    kind = kind_of(declared or "")
    if kind is ColumnKind.BOOLEAN and held["text"]:
        # There is no such type, so that 'true' stays a text.
        return Column(name, ColumnKind.TEXT, "TEXT")
    if declared is not None and kind is not None:
        return Column(name, kind, declared)
    if held["blob"]:
        return Column(name, ColumnKind.OTHER, "BLOB")
    if held["text"]:
        return Column(name, ColumnKind.TEXT, "TEXT")
    return Column(name, ColumnKind.NUMBER, "REAL" if held["real"] else "INTEGER")


def one_if(condition: Expression) -> exp.Case:
    """1 where a condition holds, else NULL, to be counted."""
    return exp.Case(ifs=[exp.If(this=condition, true=exp.Literal.number(1))])


def stored(value: Any) -> Any:
    """A value as SQLite keeps it."""
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal) or (isinstance(value, int) and not -(2**63) <= value < 2**63):
        return float(value)
    return value if isinstance(value, (int, float, str, bytes, type(None))) else str(value)


def open_connection(path: str, *, read_only: bool) -> sqlite3.Connection:
    """Open a database file, with messages that say what to do."""
    try:
        if read_only:
            connection = sqlite3.connect(
                f"{Path(path).absolute().as_uri()}?mode=ro", uri=True, isolation_level=None
            )
        else:
            connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        raise translate(error, path) from error
    # A statement of nested steps is long, and known to be.
    connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, 1_000_000_000)
    return connection


def translate(error: sqlite3.Error, path: str) -> EngineError:
    """SQLite's error as ours."""
    text = str(error)
    if "not a database" in text:
        return EngineError(f"File {path!r} is not a SQLite database.", hint="Check the path.")
    if "locked" in text:
        return EngineError(
            f"Database {path!r} is locked by another process.",
            hint="Close the program that has it open, or open a copy.",
        )
    if "readonly" in text:
        return EngineError(
            "The database is read-only.", hint="Open it with the right to write, or use a copy."
        )
    if "unable to open" in text:
        return EngineError(f"Database {path!r} cannot be opened.", hint="Check the path and its rights.")
    return EngineError(f"SQLite refused: {text}")

"""PostgreSQL, through psycopg; nothing has to be installed in the server, and pgvector is used on demand."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, Final

import psycopg
import sqlglot
from sqlglot import exp
from sqlglot.dialects.postgres import Postgres as PostgresDialect
from sqlglot.generators.postgres import PostgresGenerator
from sqlglot.optimizer.normalize_identifiers import normalize_identifiers

from selectron.combination import Combination, combination_sql
from selectron.engines.base import (
    Abilities,
    Arrays,
    Column,
    ColumnKind,
    Copying,
    Limits,
    NoFunctions,
    Recursion,
    Relation,
    Row,
    SqlFunction,
    Vectors,
)
from selectron.engines.files import is_file, rows_of
from selectron.engines.tables import SchemaTables
from selectron.errors import ColumnError, DataError, EngineError
from selectron.sql import cast, growing, number

__all__ = ["Postgres"]

Expression = exp.Expr

QUERY_WORDS: Final = ("select", "with", "values", "table", "(")
# Longer names are cut by the server without a word.
LONGEST_NAME: Final = 63
# The first pgvector that has `subvector`.
OLDEST_VECTORS: Final = (0, 7)

# ----------------------------------------------------------------------------------------- spelling


def call(name: str, *arguments: Expression) -> Expression:
    return exp.Anonymous(this=name, expressions=list(arguments))


def epoch(arguments: list[Expression]) -> Expression:
    """Seconds since 1970; NULL for infinite moments."""
    (value,) = arguments
    finite = call("isfinite", value.copy())
    return exp.Case(ifs=[exp.If(this=finite, true=exp.Extract(this=exp.var("epoch"), expression=value))])


# Functions that are called otherwise here. The session's time zone is UTC, so a moment is the value itself.
FUNCTIONS: Final[dict[str, Callable[[list[Expression]], Expression]]] = {
    "epoch": epoch,
    "epoch_us": lambda arguments: arguments[0],
    "make_timestamp": lambda arguments: arguments[0],
    "any_value": lambda arguments: exp.Min(this=arguments[0]),
}
# exp() raises where its result is too large or too small, and so do products of such results: at e**-300
# nothing is lost that a sum could show.
GREATEST_EXPONENT: Final = 300.0
SMALLEST: Final = 2.2250738585072014e-308


class Spelling(PostgresDialect):
    """How PostgreSQL spells what the layers above build."""

    class Generator(PostgresGenerator):
        TYPE_MAPPING: ClassVar = {**PostgresGenerator.TYPE_MAPPING}
        TRANSFORMS: ClassVar = {**PostgresGenerator.TRANSFORMS, Combination: combination_sql}

        def anonymous_sql(self, expression: exp.Anonymous) -> str:
            rewrite = FUNCTIONS.get(str(expression.this).lower())
            if rewrite is not None:
                return self.sql(rewrite(expression.expressions))
            return super().anonymous_sql(expression)

        def literal_sql(self, expression: exp.Literal) -> str:
            text = super().literal_sql(expression)
            # A number with an exponent is a DOUBLE elsewhere, and a decimal one here.
            return text if expression.is_string or "e" not in text else f"CAST({text} AS DOUBLE PRECISION)"

        def exp_sql(self, expression: exp.Exp) -> str:
            # Negated twice: NaN is the greatest of all here, and LEAST would lose it and hide a divergence.
            above = call("greatest", expression.this, number(-GREATEST_EXPONENT))
            below = call("greatest", exp.Neg(this=above), number(-GREATEST_EXPONENT))
            return self.func("EXP", exp.Neg(this=below))

        def ln_sql(self, expression: exp.Ln) -> str:
            return self.func("LN", call("greatest", expression.this, number(SMALLEST)))

        def sqrt_sql(self, expression: exp.Sqrt) -> str:
            return self.func("SQRT", call("greatest", expression.this, number(0.0)))

        def intdiv_sql(self, expression: exp.IntDiv) -> str:
            return self.binary(expression, "/")

        def cast_sql(self, expression: exp.Cast, safe_prefix: str | None = None) -> str:
            if expression.to.this is exp.DataType.Type.BOOLEAN:
                # There is no cast from numbers; as text, true is 'true' or a number that is not 0.
                value = cast(expression.this, "text")
                falsehoods = [exp.Literal.string(word) for word in ("false", "0", "0.0", "f")]
                return f"({self.sql(value)} NOT IN ({self.expressions(sqls=falsehoods, flat=True)}))"
            return super().cast_sql(expression, safe_prefix)


# ------------------------------------------------------------------------------------------- engine

KINDS: Final = {
    **dict.fromkeys(["int2", "int4", "int8", "float4", "float8", "numeric", "money"], ColumnKind.NUMBER),
    **dict.fromkeys(["text", "varchar", "bpchar", "char", "name", "uuid", "citext"], ColumnKind.TEXT),
    "bool": ColumnKind.BOOLEAN,
    "date": ColumnKind.DATE,
    "timestamp": ColumnKind.TIMESTAMP,
    "timestamptz": ColumnKind.TIMESTAMP,
}
NAMES: Final = {
    "int2": "SMALLINT",
    "int4": "INTEGER",
    "int8": "BIGINT",
    "float4": "REAL",
    "float8": "DOUBLE PRECISION",
    "bool": "BOOLEAN",
    "timestamptz": "TIMESTAMP WITH TIME ZONE",
    "bpchar": "TEXT",
}
TYPES: Final = {
    ColumnKind.BOOLEAN: "boolean",
    ColumnKind.NUMBER: "double precision",
    ColumnKind.DATE: "date",
    ColumnKind.TIMESTAMP: "timestamp",
    ColumnKind.TEXT: "text",
    ColumnKind.OTHER: "text",
}


class Postgres(SchemaTables, NoFunctions):
    """A PostgreSQL database.

    Parameters
    ----------
    path
        A URL: ``postgresql://user:password@host:port/database``.
    read_only
        Let the session read only.

    Raises
    ------
    EngineError
        If there is no connection to be had.
    """

    dialect: Final = "postgres"
    own_schema: ClassVar = "pg_temp"
    # A row of a table fits into a page of 8 KB: of numbers, a thousand.
    limits: Final = Limits(columns=1_000, targets=1_600, arguments=100)

    def __init__(self, path: str, *, read_only: bool = False) -> None:
        self.url = path
        self.connection = open_connection(path, read_only=read_only)
        vectors = reach_vectors(self.connection)
        self.abilities = Abilities(
            Recursion.COPIED, Arrays.NONE, copies=Copying.UNLESS_OFFSET, vectors=vectors
        )
        self.path = str(self.connection.info.dbname)
        self.read_only = read_only or self.must_not_write()
        self.frame_numbers = itertools.count(1)

    def must_not_write(self) -> bool:
        row = self.connection.execute("SELECT pg_is_in_recovery()").fetchone()
        return bool(row and row[0])

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def interrupt(self) -> None:
        """Stop the running statement, from another thread."""
        self.connection.cancel_safe()

    @growing()
    def sql(self, statement: exp.Expr, *, pretty: bool = False) -> str:
        """The statement as PostgreSQL text, identifiers quoted.

        Raises
        ------
        EngineError
            If an identifier is longer than the server takes.
        """
        for identifier in statement.find_all(exp.Identifier):
            if len(identifier.name.encode()) > LONGEST_NAME:
                raise EngineError(
                    f"The name {identifier.name!r} is longer than PostgreSQL's {LONGEST_NAME} bytes.",
                    hint="Give the column or the class a shorter name, in a query.",
                )
        # Functions as they are written: quoted, their case counts.
        return statement.sql(
            dialect=Spelling, identify=True, pretty=pretty, comments=pretty, normalize_functions=False
        )

    def run(self, statement: exp.Expr, parameters: Sequence[object] = ()) -> None:
        """Execute a statement whose result does not matter."""
        self.execute(self.sql(statement), parameters)

    def rows(self, statement: exp.Expr, parameters: Sequence[object] = ()) -> list[Row]:
        """Execute a query and fetch all its rows."""
        return self.execute(self.sql(statement), parameters).fetchall()

    def execute(self, text: str, parameters: Sequence[object] = ()) -> psycopg.Cursor[Row]:
        """Execute SQL text; the server's own errors become ours."""
        try:
            return self.connection.execute(text.encode(), parameters or None)
        except psycopg.errors.QueryCanceled as error:
            raise KeyboardInterrupt from error
        except psycopg.Error as error:
            raise translate(error) from error

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self.connection.info.transaction_status is not psycopg.pq.TransactionStatus.IDLE

    def create_temporary(self, name: str, query: exp.Query) -> None:
        """Make a table of this session alone."""
        super().create_temporary(name, query)
        # Nothing else tells the planner how many rows there are.
        self.execute(f"ANALYZE {self.temporary(name).sql(dialect=Spelling, identify=True)}")

    def named_rows(self, statement: exp.Expr) -> tuple[list[str], list[Row]]:
        cursor = self.execute(self.sql(statement))
        return [column.name for column in cursor.description or ()], cursor.fetchall()

    # Relations --------------------------------------------------------------------------------

    def columns(self, relation: Relation) -> list[Column]:
        """The columns of a relation, in order.

        Raises
        ------
        DataError
            If the relation cannot be read.
        ColumnError
            If two columns have the same name.
        """
        query = exp.select("*").from_(relation.source.copy()).limit(0)
        try:
            described = self.execute(self.sql(query)).description or []
        except EngineError as error:
            raise DataError(f"{relation.label} cannot be read: {error.problem}") from error
        types = self.type_names([column.type_code for column in described])
        columns: list[Column] = []
        for column in described:
            if any(known.name == column.name for known in columns):
                raise ColumnError(
                    f"{relation.label} has two columns named {column.name!r}.",
                    hint="Name each column once, with AS in the query.",
                )
            name, is_enum = types[column.type_code]
            kind = ColumnKind.TEXT if is_enum else KINDS.get(name, ColumnKind.OTHER)
            columns.append(Column(column.name, kind, NAMES.get(name, name)))
        return columns

    def type_names(self, codes: Sequence[int]) -> dict[int, tuple[str, bool]]:
        """The names of types, and whether they are enumerations."""
        query = "SELECT oid, typname, typtype = 'e' FROM pg_type WHERE oid = ANY(%s)"
        rows = self.connection.execute(query, [list(codes)]).fetchall()
        return {int(oid): (str(name), bool(is_enum)) for oid, name, is_enum in rows}

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
            table = self.table(text)
            if table is not None:
                return Relation(table, f"table {text!r}")
            if text.lower().startswith(QUERY_WORDS):
                return query_relation(text)
            if not is_file(text):
                raise DataError(
                    f"There is no table, view or file named {text!r} in {self.path}.",
                    hint=self.tables_hint(),
                )
        label = f"file {str(source)!r}" if isinstance(source, (str, Path)) else f"the {type(source).__name__}"
        return self.loaded(source, label)

    def table(self, name: str) -> exp.Table | None:
        """The table or view of that name, alone or qualified by its schema."""
        query = """
            SELECT table_schema, table_name, table_schema = current_schema() FROM information_schema.tables
            WHERE table_name = %(name)s OR table_schema || '.' || table_name = %(name)s
               OR lower(table_name) = lower(%(name)s)
            ORDER BY table_name <> %(name)s, table_schema <> current_schema() LIMIT 1
        """
        found = self.connection.execute(query, {"name": name}).fetchone()
        if found is None:
            return None
        schema, table, is_here = found
        return exp.table_(table, quoted=True) if is_here else exp.table_(table, db=schema, quoted=True)

    def loaded(self, source: object, label: str) -> Relation:
        """A file or a frame, copied into a table of this session."""
        rows = rows_of(source)
        name = f"selectron_frame_{next(self.frame_numbers)}"
        definitions = [
            exp.ColumnDef(
                this=exp.to_identifier(column, quoted=True),
                kind=exp.DataType.build("bigint" if whole else TYPES[kind], dialect="postgres"),
            )
            for column, kind, whole in zip(rows.names, rows.kinds, rows.whole, strict=True)
        ]
        schema = exp.Schema(this=self.temporary(name), expressions=definitions)
        self.run(exp.Create(this=schema, kind="TABLE"))
        target = self.temporary(name).sql(dialect=Spelling, identify=True)
        as_text = [kind is ColumnKind.OTHER for kind in rows.kinds]
        with self.connection.cursor() as cursor, cursor.copy(f"COPY {target} FROM STDIN".encode()) as copy:
            for row in rows.rows:
                copy.write_row(
                    [
                        str(value) if other and value is not None else value
                        for value, other in zip(row, as_text, strict=True)
                    ]
                )
        return Relation(self.temporary(name), label)

    def create_function(self, function: SqlFunction) -> None:
        """CREATE FUNCTION in SQL, which gives a row."""

        def definition(name: str, type_: exp.DataType) -> exp.ColumnDef:
            return exp.ColumnDef(this=exp.to_identifier(name, quoted=True), kind=type_)

        arguments = [
            definition(name, exp.DataType.build(TYPES[kind], dialect="postgres"))
            for name, kind in function.arguments
        ]
        results = exp.Schema(
            this=exp.var("TABLE"), expressions=[definition(name, type_) for name, type_ in function.results]
        )
        properties = [
            exp.ReturnsProperty(this=results, is_table=True),
            exp.LanguageProperty(this=exp.var("sql")),
            exp.StabilityProperty(this=exp.Literal.string("STABLE")),
        ]
        signature = exp.UserDefinedFunction(
            this=exp.table_(function.name, quoted=True), expressions=arguments, wrapped=True
        )
        body = exp.Literal.string(self.sql(function.query))
        # What a function gives cannot be replaced.
        self.drop_function(function.name)
        self.run(
            exp.Create(
                this=signature,
                kind="FUNCTION",
                properties=exp.Properties(expressions=properties),
                expression=body,
            )
        )

    def drop_function(self, name: str) -> None:
        """Drop a function, if there is one."""
        self.run(exp.Drop(tables=[exp.table_(name, quoted=True)], kind="FUNCTION", exists=True))

    def has_function(self, name: str) -> bool:
        """Whether the current schema has a function of that name."""
        query = "SELECT 1 FROM pg_proc WHERE proname = %s AND pronamespace = current_schema()::regnamespace"
        return self.connection.execute(query, [name]).fetchone() is not None

    def has_table(self, name: str) -> bool:
        """Whether the current schema has a table or view of exactly that name."""
        query = """
            SELECT 1 FROM information_schema.tables
            WHERE table_name = %s AND table_schema = current_schema()
        """
        return self.connection.execute(query, [name]).fetchone() is not None

    def tables_hint(self) -> str:
        """The tables that do exist, for a message."""
        query = """
            SELECT table_name FROM information_schema.tables
            WHERE table_schema = current_schema() AND NOT starts_with(table_name, 'selectron_')
            ORDER BY table_name LIMIT 10
        """
        names = [repr(row[0]) for row in self.connection.execute(query).fetchall()]
        return f"It has: {', '.join(names)}." if names else "It has no tables."


def query_relation(text: str) -> Relation:
    """A query as something to select from."""
    try:
        parsed = sqlglot.parse_one(text.rstrip().rstrip(";"), dialect=PostgresDialect)
    except sqlglot.errors.ParseError as error:
        raise DataError(f"The query cannot be read: {str(error).splitlines()[0]}") from error
    if isinstance(parsed, exp.Subquery):
        parsed = parsed.this
    if not isinstance(parsed, exp.Query):
        raise DataError("Only a query (SELECT, WITH, VALUES) can stand for a table.")
    # As the server reads them, since they are quoted when printed.
    parsed = normalize_identifiers(parsed, dialect="postgres")
    return Relation(parsed.subquery("source"), "the query")


def open_connection(url: str, *, read_only: bool) -> psycopg.Connection[Row]:
    """Connect, with messages that say what to do."""
    try:
        connection = psycopg.connect(url, autocommit=True)
        # Compiling expressions costs more than it gains; infinities print as they are read.
        connection.execute("SET jit = off")
        connection.execute("SET client_min_messages = warning")
        connection.execute("SET TimeZone = 'UTC'")
        if read_only:
            connection.execute("SET default_transaction_read_only = on")
        return connection
    except psycopg.Error as error:
        raise EngineError(
            f"There is no connection to PostgreSQL: {first_line(error)}", hint="Check the URL and the server."
        ) from error


def reach_vectors(connection: psycopg.Connection[Row]) -> Vectors:
    """Whether the database has pgvector; if so, its schema is the last of the session's search path.

    Administrators put extensions where they like, and types and functions are called by their names alone.
    """
    query = """
        SELECT regexp_replace(extversion, '[^0-9.].*$', ''),
            set_config('search_path', concat_ws(', ', NULLIF(current_setting('search_path'), ''), CASE
                WHEN nspname <> ALL (current_schemas(true)) THEN quote_ident(nspname) END), false)
        FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace WHERE extname = 'vector'
    """
    found = connection.execute(query).fetchone()
    if found is not None:
        version = tuple(int(part) for part in found[0].split(".") if part)
        return Vectors.READY if version >= OLDEST_VECTORS else Vectors.OLD
    query = "SELECT FROM pg_available_extensions WHERE name = 'vector'"
    return Vectors.ABSENT if connection.execute(query).fetchone() is None else Vectors.UNCREATED


def translate(error: psycopg.Error) -> EngineError:
    """The server's error as ours, first line only."""
    text = first_line(error)
    if "read-only transaction" in text:
        return EngineError(
            "The database is read-only.", hint="Open it with the right to write, or use a copy."
        )
    return EngineError(f"PostgreSQL refused: {text}")


def first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__

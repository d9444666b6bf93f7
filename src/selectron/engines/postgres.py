"""PostgreSQL, through psycopg; nothing has to be installed in the server, and pgvector is used on demand."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Final

import psycopg
from sqlglot import exp
from sqlglot.dialects.postgres import Postgres as PostgresDialect
from sqlglot.generators.postgres import PostgresGenerator

from selectron.combination import Combination, combination_sql
from selectron.engines.base import (
    Abilities,
    Arrays,
    Column,
    ColumnKind,
    Copying,
    Limits,
    Lookup,
    NoFunctions,
    Pages,
    Recursion,
    Relation,
    Row,
    SqlFunction,
    Vectors,
    refuse_doubled,
)
from selectron.engines.files import is_file, rows_of
from selectron.engines.queries import AsWritten, apart, named, query_relation
from selectron.engines.tables import SchemaTables
from selectron.errors import DataError, EngineError
from selectron.repeated import PRINTED
from selectron.sql import MOMENT, call, case, cast, growing, number

__all__ = ["Postgres"]

Expression = exp.Expr

QUERY_WORDS: Final = ("select", "with", "values", "table", "(")
# Longer names are cut by the server without a word.
LONGEST_NAME: Final = 63
# The first pgvector that has `subvector`.
OLDEST_VECTORS: Final = (0, 7)

# ----------------------------------------------------------------------------------------- spelling


def epoch(arguments: list[Expression]) -> Expression:
    """Seconds since 1970; NULL for infinite moments."""
    (value,) = arguments
    finite = call("isfinite", value.copy())
    return exp.Case(ifs=[exp.If(this=finite, true=exp.Extract(this=exp.var("epoch"), expression=value))])


def moment(arguments: list[Expression]) -> Expression:
    """A date or timestamp, with a time zone or without, to the second: in UTC, wherever its reader is."""
    (value,) = arguments
    seconds = call("floor", exp.Extract(this=exp.var("epoch"), expression=value))
    return exp.AtTimeZone(this=call("to_timestamp", seconds), zone=exp.Literal.string("UTC"))


def written_moment(value: Expression, kind: ColumnKind) -> Expression:
    """A date or a timestamp as text in ISO's form, which a cast only gives where DateStyle says so."""
    form, fraction = "YYYY-MM-DD", ""
    # Given a date, to_char would take it as midnight in the session's time zone.
    plain = cast(value.copy(), "timestamp") if kind is ColumnKind.DATE else value.copy()
    if kind is ColumnKind.TIMESTAMP:
        form, fraction = "YYYY-MM-DD HH24:MI:SS", ".US"
    text: Expression = call("to_char", plain, exp.Literal.string(form))
    if fraction:
        after = call("to_char", plain.copy(), exp.Literal.string(fraction))
        text = exp.DPipe(this=text, expression=call("rtrim", after, exp.Literal.string("0.")))
    # Of those that are infinite or before Christ, to_char does not say it.
    start, end = (cast(exp.Literal.string(bound), "date") for bound in ("0001-01-01", "infinity"))
    usual = exp.And(
        this=exp.GTE(this=value.copy(), expression=start),
        expression=exp.LT(this=value.copy(), expression=end),
    )
    return case((usual, text), default=cast(value.copy(), "text"))


# Functions that are called otherwise here. Fields of a moment are all that is asked of one.
FUNCTIONS: Final[dict[str, Callable[[list[Expression]], Expression]]] = {
    "epoch": epoch,
    "epoch_us": lambda arguments: arguments[0],
    "make_timestamp": moment,
    "any_value": lambda arguments: exp.Min(this=arguments[0]),
}
# exp() raises where its result is too large or too small, and so do products of such results: at e**-300
# nothing is lost that a sum could show.
GREATEST_EXPONENT: Final = 300.0
SMALLEST: Final = 2.2250738585072014e-308


class Spelling(PostgresDialect):
    """How PostgreSQL spells what the layers above build."""

    class Generator(AsWritten, PostgresGenerator):
        TYPE_MAPPING: ClassVar = {**PostgresGenerator.TYPE_MAPPING}
        TRANSFORMS: ClassVar = {
            **PostgresGenerator.TRANSFORMS,
            **PRINTED,
            Combination: combination_sql,
            # DIV gives a decimal number.
            exp.IntDiv: lambda printer, node: f"({printer.binary(node, '/')})",
        }

        def identifier_sql(self, expression: exp.Identifier) -> str:
            if len(expression.name.encode()) > LONGEST_NAME:
                raise EngineError(
                    f"The name {expression.name!r} is longer than PostgreSQL's {LONGEST_NAME} bytes.",
                    hint="Give the column or the class a shorter name, in a query.",
                )
            return super().identifier_sql(expression)

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

        def cast_sql(self, expression: exp.Cast, safe_prefix: str | None = None) -> str:
            kind = expression.meta.get(MOMENT)
            if kind is not None:
                return self.sql(written_moment(expression.this, kind))
            if expression.to.this is exp.DataType.Type.BOOLEAN:
                # There is no cast from numbers. As text, false is 'false' or a zero, such as 0.00 or -0.
                value = call("btrim", cast(expression.this, "text"), exp.Literal.string("-0."))
                falsehoods = [exp.Literal.string(word) for word in ("", "false", "f")]
                return f"({self.sql(value)} NOT IN ({self.expressions(sqls=falsehoods, flat=True)}))"
            return super().cast_sql(expression, safe_prefix)


# ------------------------------------------------------------------------------------------- engine

KINDS: Final = {
    **dict.fromkeys(["int2", "int4", "int8", "float4", "float8", "numeric"], ColumnKind.NUMBER),
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
    ColumnKind.EMPTY: "text",
    ColumnKind.OTHER: "text",
}
# Tables, partitioned and foreign ones, views and materialized views: information_schema lacks the last.
TABLES: Final = """
    pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace AND c.relkind IN ('r', 'p', 'f', 'v', 'm')
"""


# Each aggregate of a query is compared with all others when it is planned, so that this takes a time that
# grows with the square of their number; and each query over the rows reads them once more. Planning takes the
# server 13 KB of memory for each product of a row.
ABILITIES: Final = Abilities(
    Recursion.COPIED,
    Arrays.NONE,
    copies=Copying.UNLESS_OFFSET,
    lookup=Lookup.OBJECT,
    pages=Pages(least=900, size=1_000, products=60_000),
)


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
    limits: Final = Limits(columns=1_000, entries=1_600, arguments=100)

    def __init__(self, path: str, *, read_only: bool = False) -> None:
        self.url = path
        self.connection = open_connection(path, read_only=read_only)
        self.abilities = replace(ABILITIES, vectors=reach_vectors(self.connection))
        self.path = str(self.connection.info.dbname)
        self.frame_numbers = itertools.count(1)
        # Of tables that hold frames, the columns that are NULL without a type.
        self.untyped: dict[str, set[str]] = {}
        self.interrupted = False
        # A standby, or a server, database or role whose transactions read only unless they say otherwise.
        (must_not_write,) = self.first("SELECT current_setting('transaction_read_only')::boolean") or (False,)
        self.read_only = read_only or bool(must_not_write)

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def interrupt(self) -> None:
        """Stop the running statement, from another thread."""
        self.interrupted = True
        self.connection.cancel_safe()

    @growing()
    def sql(self, statement: exp.Expr, *, pretty: bool = False) -> str:
        """The statement as PostgreSQL text, identifiers quoted.

        Raises
        ------
        EngineError
            If an identifier is longer than the server takes.
        """
        # Functions as they are written: quoted, their case counts.
        return apart(statement).sql(
            dialect=Spelling, identify=True, pretty=pretty, comments=pretty, normalize_functions=False
        )

    def run(self, statement: exp.Expr, parameters: Sequence[object] = ()) -> None:
        """Execute a statement whose result does not matter."""
        self.execute(self.sql(statement), parameters)

    def rows(self, statement: exp.Expr, parameters: Sequence[object] = ()) -> list[Row]:
        """Execute a query and fetch all its rows."""
        cursor = self.execute(self.sql(statement), parameters)
        # Days that Python's calendar lacks are refused here.
        with self.translated():
            return cursor.fetchall()

    def first(self, text: str, parameters: Sequence[object] | Mapping[str, object] = ()) -> Row | None:
        """The first row of a query."""
        return self.execute(text, parameters).fetchone()

    def execute(
        self, text: str, parameters: Sequence[object] | Mapping[str, object] = ()
    ) -> psycopg.Cursor[Row]:
        """Execute SQL text; the server's own errors become ours."""
        with self.translated():
            return self.connection.execute(text.encode(), parameters or None)

    @contextmanager
    def translated(self) -> Iterator[None]:
        """The server's errors become ours, and a statement that we stopped a KeyboardInterrupt."""
        try:
            yield
        except psycopg.errors.QueryCanceled as error:
            # The server cancels statements of its own accord, too.
            if self.interrupted:
                raise KeyboardInterrupt from error
            raise EngineError(
                f"PostgreSQL cancelled the statement: {first_line(error)}",
                hint="If it is statement_timeout, raise it: ALTER ROLE ... SET statement_timeout = 0.",
            ) from error
        except psycopg.Error as error:
            raise translate(error, self.connection.info) from error
        except KeyboardInterrupt:
            self.settle()
            raise
        finally:
            self.interrupted = False

    def settle(self) -> None:
        """End a statement that an interruption left running, so that the connection can be used again."""
        # psycopg does so itself, but for a signal that comes while its own code runs.
        if self.connection.info.transaction_status is psycopg.pq.TransactionStatus.ACTIVE:
            self.connection.cancel_safe()
            while self.connection.pgconn.get_result() is not None:
                pass

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self.connection.info.transaction_status is not psycopg.pq.TransactionStatus.IDLE

    @contextmanager
    def own_tables(self) -> Iterator[None]:
        """Let the session make and drop tables of its own inside, even where it reads only.

        Raises
        ------
        EngineError
            If the server has none for it.
        """
        if not self.read_only or self.in_transaction:
            yield
            return
        try:
            self.execute("BEGIN READ WRITE")
        except EngineError as error:
            raise EngineError(
                f"A table of this session is needed, which a standby of PostgreSQL does not make "
                f"({error.problem}).",
                hint="Connect to the primary, or name a table or query that is there.",
            ) from error
        try:
            yield
        except BaseException:
            self.execute("ROLLBACK")
            raise
        self.execute("COMMIT")

    def create_temporary(self, name: str, query: exp.Query) -> None:
        """Make a table of this session alone."""
        with self.own_tables():
            super().create_temporary(name, query)
            # Nothing else tells the planner how many rows there are.
            self.execute(f"ANALYZE {self.temporary(name).sql(dialect=Spelling, identify=True)}")

    def rename_temporary(self, name: str, new: str) -> None:
        """Give a table of this session another name."""
        with self.own_tables():
            super().rename_temporary(name, new)

    def drop_temporary(self, name: str) -> None:
        """Drop a table of this session, if there is one."""
        with self.own_tables():
            super().drop_temporary(name)

    def named_rows(self, statement: exp.Expr) -> tuple[list[str], list[Row]]:
        cursor = self.execute(self.sql(statement))
        with self.translated():
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
        refuse_doubled([column.name for column in described], str, relation.label)
        source = relation.source
        untyped = self.untyped.get(source.name, set()) if isinstance(source, exp.Table) else set()
        columns: list[Column] = []
        for column in described:
            name, is_enum = types[column.type_code]
            kind = ColumnKind.TEXT if is_enum else KINDS.get(name, ColumnKind.OTHER)
            kind = ColumnKind.EMPTY if column.name in untyped else kind
            is_zoned = name == "timestamptz"
            columns.append(Column(column.name, kind, NAMES.get(name, name), is_zoned, is_exact=True))
        return columns

    def type_names(self, codes: Sequence[int]) -> dict[int, tuple[str, bool]]:
        """The names of types, and whether they are enumerations."""
        query = "SELECT oid, typname, typtype = 'e' FROM pg_type WHERE oid = ANY(%s)"
        rows = self.execute(query, [list(codes)]).fetchall()
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
                return Relation(named(table), f"table {text!r}")
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

    def table(self, name: str) -> exp.Table | None:
        """The table or view of that name, alone or qualified by its schema.

        Raises
        ------
        DataError
            If case is all that tells several from the name, and none is it.
        """
        query = f"""
            SELECT n.nspname, c.relname, n.nspname = current_schema(),
                %(name)s::text IN (c.relname, n.nspname || '.' || c.relname)
            FROM {TABLES}
            WHERE lower(%(name)s::text COLLATE "C")
                    IN (lower(c.relname), lower(n.nspname || '.' || c.relname))
                AND NOT pg_is_other_temp_schema(n.oid)
            ORDER BY 4 DESC, 3 DESC, pg_table_is_visible(c.oid) DESC, 1, 2
        """
        found = self.execute(query, {"name": name}).fetchall()
        if not found:
            return None
        schema, table, is_here, is_exact = found[0]
        alike = [other for other in found if other[2] == is_here]
        if not is_exact and len(alike) > 1:
            names = ", ".join(repr(f"{own}.{other}") for own, other, *_ in alike)
            raise DataError(
                f"{name!r} may be any of {names} in {self.path}.",
                hint="Name one as it is written.",
            )
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
        with self.own_tables():
            self.run(exp.Create(this=schema, kind="TABLE"))
        columns = zip(rows.names, rows.kinds, strict=True)
        self.untyped[name] = {column for column, kind in columns if kind is ColumnKind.EMPTY}
        target = self.temporary(name).sql(dialect=Spelling, identify=True)
        as_text = [kind is ColumnKind.OTHER for kind in rows.kinds]
        copying = f"COPY {target} FROM STDIN".encode()
        with self.translated(), self.connection.cursor() as cursor, cursor.copy(copying) as copy:
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
        return self.first(query, [name]) is not None

    def place(self, name: str) -> exp.Table:
        """Where a table or view goes: into the schema that its name begins with, else the current one."""
        above, _, own = name.rpartition(".")
        here = exp.table_(name, quoted=True)
        if not above or self.type_of(here) is not None:
            return here
        query = """
            SELECT nspname::text FROM pg_namespace
            WHERE nspname::text IN (%(name)s::text, lower(%(name)s::text COLLATE "C"))
            ORDER BY nspname::text <> %(name)s::text
        """
        schemas = self.execute(query, {"name": above}).fetchall()
        return exp.table_(own, db=schemas[0][0], quoted=True) if schemas else here

    def type_of(self, table: exp.Table) -> str | None:
        """Whether something of exactly that name is a table, a view or a materialized view."""
        query = f"""
            SELECT CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' ELSE 'table' END
            FROM {TABLES} WHERE c.relname = %s AND n.nspname = coalesce(%s, current_schema())
        """
        row = self.first(query, [table.name, table.db or None])
        return None if row is None else str(row[0])

    def tables_hint(self) -> str:
        """The tables that do exist, for a message."""
        query = f"""
            SELECT c.relname FROM {TABLES}
            WHERE n.nspname = current_schema() AND NOT starts_with(c.relname, 'selectron_')
            ORDER BY c.relname LIMIT 10
        """
        names = [repr(row[0]) for row in self.execute(query).fetchall()]
        return f"It has: {', '.join(names)}." if names else "It has no tables."


def open_connection(url: str, *, read_only: bool) -> psycopg.Connection[Row]:
    """Connect, with messages that say what to do."""
    try:
        connection = psycopg.connect(url, autocommit=True)
        # Compiling expressions costs more than it gains; infinities print as they are read.
        connection.execute("SET jit = off")
        connection.execute("SET client_min_messages = warning")
        connection.execute("SET TimeZone = 'UTC'")
        # Scans of large tables would begin where another one is, and rows be numbered from there.
        connection.execute("SET synchronize_seqscans = off")
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


# What a right is missing for, as the server says it, and what gives it.
RIGHTS: Final = (
    ("denied for schema pg_temp", "GRANT TEMPORARY ON DATABASE {database} TO {role}"),
    (
        "denied for schema ",
        "GRANT USAGE, CREATE ON SCHEMA {thing} TO {role}, or another schema in search_path",
    ),
    ("create temporary tables in ", "GRANT TEMPORARY ON DATABASE {database} TO {role}"),
    ("denied for table selectron_", "GRANT ALL ON the tables selectron_... TO {role}"),
    ("denied for view selectron_", "GRANT ALL ON the tables selectron_... TO {role}"),
    ("must be owner of ", "the role that owns {thing} must do it, or GRANT that role TO {role}"),
    ("denied for ", "GRANT SELECT ON {thing} TO {role}"),
)


def translate(error: psycopg.Error, session: psycopg.ConnectionInfo) -> EngineError:
    """The server's error as ours, first line only."""
    text = first_line(error)
    if "read-only transaction" in text:
        return EngineError(
            "The database is read-only.", hint="Open it with the right to write, or use a copy."
        )
    role = session.user
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        thing = text.rsplit(" ", 1)[-1].strip('"')
        remedy = next((remedy for words, remedy in RIGHTS if words in text), "ask who administers it")
        return EngineError(
            f"PostgreSQL refused: {text}, as role {role!r}.",
            hint=f"What is missing: {remedy.format(thing=thing, role=role, database=session.dbname)}.",
        )
    if isinstance(error, psycopg.errors.InvalidSchemaName):
        return EngineError(
            f"PostgreSQL refused: {text}: no schema of search_path is there for role {role!r}.",
            hint="Create one, or name one in the URL: ?options=-csearch_path%3D<schema>.",
        )
    return EngineError(f"PostgreSQL refused: {text}")


def first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__

"""BigQuery: GoogleSQL over a runner, which is the official client or anything that executes text.

What is built above is one kind of tree, in DuckDB's manner. :class:`GoogleSpelling` prints it as GoogleSQL:
arithmetic that raises there (``EXP`` beyond 709, ``LN`` and ``SQRT`` outside their domain, division by zero)
is guarded, and names that BigQuery does not take are escaped (:func:`escaped`). Sums and products that
exceed a FLOAT64 still raise, so a training that diverges ends with an error of the engine.

A training step inside a recursion
----------------------------------
GoogleSQL refuses aggregates, GROUP BY and DISTINCT over the table that recurs, and a second reference to
it. It accepts a correlated subquery that aggregates over an array of the row that is joined to it, and
gives a row::

    WITH RECURSIVE state AS (
      SELECT 0 AS step, 0e0 AS w, 0e0 AS c
      UNION ALL
      SELECT step + 1, w - 0.1e0 * g.g0, c - 0.1e0 * g.g1
      FROM (
        SELECT state.step, state.w, state.c, (
          SELECT AS STRUCT AVG(e * x) AS g0, AVG(e) AS g1
          FROM (SELECT x, p - y AS e FROM (
            SELECT r.x, r.y, state.w * r.x + state.c AS p FROM UNNEST(b.`rows`) AS r))
        ) AS g
        FROM state CROSS JOIN batches AS b
        WHERE state.step < 100 AND b.batch = MOD(state.step, 4)
      )
    )
    SELECT * FROM state

- The subquery may hold subqueries in FROM, as deep as one likes, and the innermost may name columns of
  `state` and `b`. A WITH inside the subquery may **not**: it does not see the outer row
  ("Unrecognized name").
- ``SELECT AS STRUCT a AS x, b AS y`` and ``SELECT STRUCT(a AS x, b AS y)`` are the same, and the parameters
  may be one STRUCT: ``state.p.w``. ``(SELECT AS STRUCT state.w, state.c) AS s`` may be in the inner FROM.
- ``FROM state CROSS JOIN b, UNNEST([(SELECT AS STRUCT ...)]) AS g`` saves the outer subquery.
- ``rows`` is a reserved word; all identifiers are quoted here.
- BigQuery stops a recursion after 500 rounds: more steps need several statements.
- A table has no order of rows: ``ROW_NUMBER() OVER ()`` is another one in every run. Where rows are numbered
  in no order, it is here that of a hash of what they hold (:func:`set_order`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, ClassVar, Final, Protocol

from sqlglot import exp
from sqlglot.dialects.bigquery import BigQuery as GoogleSQL
from sqlglot.generators.bigquery import BigQueryGenerator

from selectron.combination import Combination, combination_sql
from selectron.engines.base import (
    Abilities,
    Arrays,
    Column,
    ColumnKind,
    Limits,
    NoFunctions,
    Recursion,
    Relation,
    Row,
    SqlFunction,
    refuse_doubled,
)
from selectron.engines.queries import apart, is_written, named, query_relation
from selectron.errors import DataError, EngineError
from selectron.sql import call, case, growing, number

__all__ = ["BigQuery", "ClientRunner", "GoogleSpelling", "Runner", "escaped"]

QUERY_WORDS: Final = ("select", "with", "from", "(")
KINDS: Final = {
    "INT64": ColumnKind.NUMBER,
    "FLOAT64": ColumnKind.NUMBER,
    "NUMERIC": ColumnKind.NUMBER,
    "BIGNUMERIC": ColumnKind.NUMBER,
    "BOOL": ColumnKind.BOOLEAN,
    "STRING": ColumnKind.TEXT,
    "DATE": ColumnKind.DATE,
    "DATETIME": ColumnKind.TIMESTAMP,
    "TIMESTAMP": ColumnKind.TIMESTAMP,
}
# The client's older names of the same types.
OLDER_NAMES: Final = {
    "INTEGER": "INT64",
    "FLOAT": "FLOAT64",
    "BOOLEAN": "BOOL",
    "RECORD": "STRUCT",
}

# Names -----------------------------------------------------------------------------------------

FORBIDDEN: Final = '!"$()*,./;?@[\\]^`{}~'
# What must be escaped, and an underscore that would be read as the start of an escape.
ESCAPED: Final = re.compile(
    f"[{re.escape(FORBIDDEN)}]|_(?=u00(?:{'|'.join(f'{ord(mark):02x}' for mark in FORBIDDEN)}|5f))"
)


def escaped(name: str) -> str:
    """A name that BigQuery takes for a column: characters that it forbids as ``_u`` and their code.

    Different names stay different, and a name without such characters stays as it is, unless it looks
    like an escape itself.

    >>> escaped("hidden_1.weights[0,1]"), escaped("body_mass_g")
    ('hidden_1_u002e_weights_u005b_0_u002c_1_u005d_', 'body_mass_g')
    """
    return ESCAPED.sub(lambda match: f"_u{ord(match[0]):04x}_", name)


# Spelling --------------------------------------------------------------------------------------


def exponential(node: exp.Expr) -> exp.Expr:
    """EXP, which raises beyond 709.78: held at exp(700)."""
    return call("EXP", call("LEAST", node.this, number(700.0)))


def logarithm(node: exp.Expr) -> exp.Expr:
    """LN, with -inf at 0 and NaN below."""
    x = node.this
    return case(
        (exp.EQ(this=grouped(x), expression=number(0.0)), number(float("-inf"))),
        (exp.LT(this=grouped(x), expression=number(0.0)), number(float("nan"))),
        default=call("LN", x),
    )


def root(node: exp.Expr) -> exp.Expr:
    """SQRT, with NaN below 0."""
    x = node.this
    negative = exp.LT(this=grouped(x), expression=number(0.0))
    return case((negative, number(float("nan"))), default=call("SQRT", x))


def grouped(x: exp.Expr) -> exp.Expr:
    """A copy that can be an operand."""
    return exp.paren(x) if isinstance(x, (exp.Binary, exp.Neg)) else x.copy()


def micros(x: exp.Expr) -> exp.Expr:
    """Microseconds since 1970 of a date, a datetime or a timestamp, in UTC."""
    return call("UNIX_MICROS", exp.cast(x, "timestamp"))


def seconds(x: exp.Expr) -> exp.Expr:
    return exp.Div(this=micros(x), expression=number(1e6))


# Functions of DuckDB that have no class in sqlglot, or are built without it.
FUNCTIONS: Final[dict[str, Callable[[exp.Expr], exp.Expr]]] = {
    "epoch": seconds,
    "epoch_us": micros,
    "make_timestamp": lambda x: call("TIMESTAMP_MICROS", x),
}


class GoogleSpelling(GoogleSQL):
    """sqlglot's BigQuery, for trees that are built in DuckDB's manner."""

    class Generator(BigQueryGenerator):
        # A TIMESTAMP is a moment, as CURRENT_TIMESTAMP gives it.
        TYPE_MAPPING: ClassVar = {
            **BigQueryGenerator.TYPE_MAPPING,
            exp.DType.TIMESTAMP: "TIMESTAMP",
            exp.DType.TIMESTAMPNTZ: "TIMESTAMP",
        }
        TRANSFORMS: ClassVar = {
            **BigQueryGenerator.TRANSFORMS,
            exp.Exp: lambda self, node: self.sql(exponential(node)),
            exp.Ln: lambda self, node: self.sql(logarithm(node)),
            exp.Sqrt: lambda self, node: self.sql(root(node)),
            Combination: combination_sql,
            exp.Div: lambda self, node: self.quotient(node),
            exp.TimeToUnix: lambda self, node: self.sql(seconds(node.this)),
            # ANY_VALUE passes NULLs over by itself, and does not take the words for it.
            exp.IgnoreNulls: lambda self, node: (
                self.sql(node.this) if isinstance(node.this, exp.AnyValue) else self.ignorenulls_sql(node)
            ),
            exp.Extract: lambda self, node: self.field(node),
            exp.Delete: lambda self, node: self.delete_sql(everywhere(node)),
            exp.Update: lambda self, node: self.update_sql(everywhere(node)),
        }

        def sql(self, expression: Any, key: str | None = None, comment: bool = True) -> str:
            """Text of a node; a user's query stays as it was written."""
            if key is None and isinstance(expression, exp.Query) and is_written(expression):
                return expression.sql(dialect=GoogleSQL, pretty=bool(self.pretty))
            return super().sql(expression, key, comment)

        def quotient(self, node: exp.Div) -> str:
            """Division as IEEE 754 has it; `/` raises at zero."""
            if isinstance(node.expression, exp.Literal) and float(node.expression.this) != 0.0:
                text: str = self.binary(node, "/")
                return text
            return str(self.func("IEEE_DIVIDE", bare(node.this), bare(node.expression)))

        def field(self, node: exp.Expr) -> str:
            """EXTRACT; days of the week count from 0, Sunday, in DuckDB, and from 1 in GoogleSQL."""
            names = {"DOY": "DAYOFYEAR", "DOW": "DAYOFWEEK"}
            name = node.this.name.upper()
            text = f"EXTRACT({names.get(name, name)} FROM {self.sql(node, 'expression')})"
            return f"({text} - 1)" if name == "DOW" else text

        def cast_sql(self, expression: exp.Cast, safe_prefix: str | None = None) -> str:
            if expression.to.this is exp.DType.BOOLEAN and isinstance(expression.this, exp.Column):
                # Not every number can be cast. As text, false is 'false' or a zero, such as 0 or -0.
                text = call("TRIM", exp.cast(expression.this, "text"), exp.Literal.string("-0."))
                falsehoods = [exp.Literal.string(word) for word in ("", "false")]
                return f"({self.sql(text)} NOT IN ({self.expressions(sqls=falsehoods, flat=True)}))"
            return super().cast_sql(expression, safe_prefix)

        def anonymous_sql(self, expression: exp.Anonymous) -> str:
            spell = FUNCTIONS.get(expression.name.lower())
            if spell is None:
                return super().anonymous_sql(expression)
            return self.sql(spell(expression.expressions[0].copy()))


def bare(node: exp.Expr) -> exp.Expr:
    return node.this if isinstance(node, exp.Paren) else node


def everywhere(node: exp.Expr) -> exp.Expr:
    """DELETE and UPDATE must say which rows, even if it is all."""
    if node.args.get("where") is None:
        node.set("where", exp.Where(this=exp.true()))
    return node


def adapted(statement: exp.Expr, parameters: Sequence[object] = ()) -> exp.Expr:
    """A copy with names that BigQuery takes, and values in the place of placeholders."""
    statement = apart(statement).copy()
    unordered: list[exp.Window] = []
    for node in statement.walk(prune=is_written):
        if isinstance(node, exp.Identifier):
            node.set("this", escaped(node.this))
        elif isinstance(node, exp.CTE):
            node.set("materialized", None)
        elif isinstance(node, exp.Window) and is_unordered(node):
            unordered.append(node)
    for window in unordered:
        set_order(window)
    values = iter(parameters)
    for placeholder in list(statement.find_all(exp.Placeholder, bfs=False)):
        placeholder.replace(exp.convert(next(values)))
    return statement


def is_unordered(window: exp.Window) -> bool:
    """Whether it numbers rows in no order."""
    return isinstance(window.this, exp.RowNumber) and not window.args.get("order")


def set_order(numbers: exp.Window) -> None:
    """Number rows in the order of a hash of what they hold.

    Tables have no order of rows here: without one, rows would be numbered otherwise in every run, and be in
    other batches. Rows that hold the same get different numbers, but it does not matter which.
    """
    query = numbers.find_ancestor(exp.Select)
    source = query.args.get("from_") if query is not None else None
    if source is None:
        return
    if not source.this.alias:
        source.this.set("alias", exp.TableAlias(this=exp.to_identifier(source.this.name, quoted=True)))
    # The table's name stands for a whole row.
    row = exp.column(source.this.alias, quoted=True)
    content = call("FARM_FINGERPRINT", call("TO_JSON_STRING", row))
    numbers.set("order", exp.Order(expressions=[exp.Ordered(this=content, nulls_first=True)]))


# Running ---------------------------------------------------------------------------------------


class Runner(Protocol):
    """What executes GoogleSQL text. Its errors are :class:`EngineError`.

    One session: temporary tables and transactions stay from one statement to the next.
    """

    def execute(self, text: str) -> list[Row]:
        """Run one statement; a query gives its rows."""

    def describe(self, query: str) -> list[tuple[str, str]]:
        """The columns of a query and their types, as GoogleSQL names them, without running it."""

    def schema(self, table: str) -> list[tuple[str, str]] | None:
        """The columns of a table or view, named in full or in the default dataset; None if there is none."""

    def table_names(self) -> list[str]:
        """The tables and views of the default dataset."""

    def has_function(self, name: str) -> bool:
        """Whether the default dataset has a function of that name."""

    def cancel(self) -> None:
        """Stop the running statement."""

    def close(self) -> None:
        """End the session."""


class BigQuery(NoFunctions):
    """BigQuery, or what speaks like it.

    Parameters
    ----------
    runner
        What executes text: a :class:`ClientRunner`, for the service.
    dataset
        Where new tables go, ``"project.dataset"`` or ``"dataset"``. The runner must have the same default.
    read_only
        Refuse to train; the service decides by the account's rights.

    Examples
    --------
    >>> import sqlglot
    >>> engine = BigQuery(runner=None)
    >>> engine.sql(sqlglot.parse_one("SELECT CAST(EXP(x) AS DOUBLE) AS y FROM t", dialect="duckdb"))
    'SELECT CAST(EXP(LEAST(`x`, 700.0e0)) AS FLOAT64) AS `y` FROM `t`'
    """

    dialect: Final = "bigquery"
    limits: Final = Limits(columns=10_000, statement_bytes=1_000_000, recursions=500)
    abilities: Final = Abilities(Recursion.ROW, Arrays.NONE, scripts=True)

    def __init__(self, runner: Runner, *, dataset: str = "", read_only: bool = False) -> None:
        self.runner = runner
        self.read_only = read_only
        self.dataset = dataset
        self.path = f"BigQuery dataset {dataset}" if dataset else "BigQuery"
        self.in_transaction = False
        self.changed_rows = False
        self.deferred: list[str] = []

    @growing()
    def sql(self, statement: exp.Expr, *, pretty: bool = False) -> str:
        """The statement as GoogleSQL text, identifiers quoted."""
        return self.text(adapted(statement), pretty=pretty)

    def text(self, statement: exp.Expr, *, pretty: bool = False) -> str:
        if isinstance(statement, exp.Create) and statement.kind in ("VIEW", "FUNCTION"):
            self.qualify(statement)
        return statement.sql(
            dialect=GoogleSpelling, identify=True, pretty=pretty, comments=pretty, copy=False
        )

    def qualify(self, view: exp.Create) -> None:
        """Name the tables of a view or function with their dataset: it has no default one when it is read."""
        if not self.dataset:
            return
        *project, dataset = self.dataset.split(".")
        own = {cte.alias for cte in view.find_all(exp.CTE)}
        for table in view.find_all(exp.Table):
            if not table.db and table.name not in own:
                table.set("db", exp.to_identifier(dataset, quoted=True))
                if project:
                    table.set("catalog", exp.to_identifier(project[0], quoted=True))

    def run(self, statement: exp.Expr, parameters: Sequence[object] = ()) -> None:
        """Execute a statement whose result does not matter."""
        text = self.text(adapted(statement, parameters))
        if self.in_transaction and isinstance(statement, (exp.Create, exp.Drop, exp.Alter)):
            temporary = statement.find(exp.TemporaryProperty) is not None
            if self.changed_rows and not temporary:
                self.deferred.append(text)
                return
        elif self.in_transaction and not self.changed_rows:
            self.runner.execute("BEGIN TRANSACTION")
            self.changed_rows = True
        self.runner.execute(text)

    def rows(self, statement: exp.Expr, parameters: Sequence[object] = ()) -> list[Row]:
        """Execute a query and fetch all its rows."""
        return self.runner.execute(self.text(adapted(statement, parameters)))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit the changes of rows inside as one, or none of them.

        BigQuery makes and drops no tables or views in a transaction: those that come before the first change
        of rows are made at once, those after it when it is committed.
        """
        self.in_transaction, self.changed_rows, self.deferred = True, False, []
        try:
            yield
        except BaseException:
            if self.changed_rows:
                self.runner.execute("ROLLBACK TRANSACTION")
            raise
        else:
            if self.changed_rows:
                self.runner.execute("COMMIT TRANSACTION")
            for text in self.deferred:
                self.runner.execute(text)
        finally:
            self.in_transaction, self.changed_rows, self.deferred = False, False, []

    # Tables ------------------------------------------------------------------------------------

    def temporary(self, name: str) -> exp.Table:
        """A table of this session."""
        return exp.table_(name, quoted=True)

    def create_temporary(self, name: str, query: exp.Query) -> None:
        """CREATE OR REPLACE TEMPORARY TABLE AS a query."""
        properties = exp.Properties(expressions=[exp.TemporaryProperty()])
        table = self.temporary(name)
        self.run(exp.Create(this=table, kind="TABLE", replace=True, expression=query, properties=properties))

    def rename_temporary(self, name: str, new: str) -> None:
        """Give a table of this session another name: by a copy, since temporary tables keep theirs."""
        self.create_temporary(new, exp.select("*").from_(self.temporary(name)))
        self.drop_temporary(name)

    def drop_temporary(self, name: str) -> None:
        """Drop a table of this session, if there is one."""
        self.run(exp.Drop(tables=[self.temporary(name)], kind="TABLE", exists=True))

    def create_table(self, name: str, query: exp.Query, *, replace: bool = False) -> None:
        """CREATE TABLE AS a query."""
        self.run(exp.Create(this=self.place(name), kind="TABLE", replace=replace, expression=query.copy()))

    def place(self, name: str) -> exp.Table:
        """The table or view of a name, which begins with its dataset if it is not in the default one."""
        return exp.table_(name, quoted=True)

    def drop_view(self, name: str) -> None:
        """DROP VIEW IF EXISTS."""
        self.run(exp.Drop(tables=[self.place(name)], kind="VIEW", exists=True))

    def create_view(self, name: str, query: exp.Query, *, replace: bool = False) -> None:
        """CREATE VIEW AS a query."""
        self.run(exp.Create(this=self.place(name), kind="VIEW", replace=replace, expression=query.copy()))

    def create_function(self, function: SqlFunction) -> None:
        """CREATE FUNCTION in SQL, which gives a STRUCT.

        Arguments are of any type: they are cast where they are used, as columns are.
        """
        any_type = exp.DataType(this=exp.DataType.Type.USERDEFINED, kind="ANY TYPE")
        arguments = [
            exp.ColumnDef(this=exp.to_identifier(name, quoted=True), kind=any_type.copy())
            for name, _ in function.arguments
        ]
        signature = exp.UserDefinedFunction(
            this=exp.table_(function.name, quoted=True), expressions=arguments, wrapped=True
        )
        row = function.query.copy()
        row.set("kind", "STRUCT")
        body = exp.Paren(this=exp.Subquery(this=row))
        self.run(exp.Create(this=signature, kind="FUNCTION", replace=True, expression=body))

    def drop_function(self, name: str) -> None:
        """Drop a function, if there is one."""
        self.run(exp.Drop(tables=[exp.table_(name, quoted=True)], kind="FUNCTION", exists=True))

    def has_function(self, name: str) -> bool:
        """Whether the default dataset has a function of that name."""
        return self.runner.has_function(name)

    def export(self, query: exp.Query, path: str) -> None:
        """EXPORT DATA into Cloud Storage.

        Raises
        ------
        EngineError
            If the path is none of Cloud Storage.
        """
        if not path.startswith("gs://"):
            raise EngineError(
                f"BigQuery cannot write the file {path!r}.",
                hint="Name a path such as gs://bucket/rows-*.parquet, or make a table.",
            )
        form = path.lower().rsplit(".", 1)[-1].upper()
        options = [
            exp.Property(this=exp.var("uri"), value=exp.Literal.string(path)),
            exp.Property(this=exp.var("format"), value=exp.Literal.string(form)),
            exp.Property(this=exp.var("overwrite"), value=exp.true()),
        ]
        self.run(exp.Export(this=query.copy(), options=exp.Properties(expressions=options)))

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
            described = self.runner.describe(self.sql(query))
        except EngineError as error:
            raise DataError(f"{relation.label} cannot be read: {error.problem}") from error
        refuse_doubled([name for name, _ in described], str.casefold, relation.label)
        return [Column(name, KINDS.get(type_, ColumnKind.OTHER), type_) for name, type_ in described]

    def relation(self, source: object) -> Relation:
        """A table or view, ``table``, ``dataset.table`` or ``project.dataset.table``, or a query.

        Raises
        ------
        DataError
            If nothing of that name exists, or it is a file or a data frame.
        """
        if isinstance(source, Relation):
            return source
        if not isinstance(source, str):
            raise DataError(
                f"BigQuery cannot read a {type(source).__name__} of this process.",
                hint="Load it into a table first.",
            )
        text = source.strip()
        name = text.replace("`", "")
        if self.runner.schema(name) is not None:
            parts = [exp.to_identifier(part, quoted=True) for part in name.split(".")]
            table, *above = reversed(parts)
            names = dict(zip(("db", "catalog"), above, strict=False))
            return Relation(named(exp.Table(this=table, **names)), f"table {name!r}")
        query = query_relation(text, self.dialect, QUERY_WORDS)
        if query is not None:
            return query
        if re.search(r"[.](csv|tsv|parquet|json|jsonl|ndjson)([.]gz)?$", text.lower()):
            raise DataError(f"BigQuery cannot read the file {text!r}.", hint="Load it into a table first.")
        names_ = [repr(name) for name in self.runner.table_names() if not name.startswith("selectron_")]
        hint = f"It has: {', '.join(names_[:10])}." if names_ else "It has no tables."
        raise DataError(f"There is no table or view named {text!r} in {self.path}.", hint=hint)

    def has_table(self, name: str) -> bool:
        """Whether the default dataset has a table or view of exactly that name."""
        return self.runner.schema(name) is not None

    def frame(self, statement: exp.Expr, kind: str) -> Any:
        """The rows of a query as a pandas, Polars or Arrow frame.

        Raises
        ------
        EngineError
            If that library is not installed.
        """
        names = [name for name, _ in self.runner.describe(self.sql(statement))]
        rows = self.rows(statement)
        data = {name: [row[place] for row in rows] for place, name in enumerate(names)}
        try:
            return frame_of(data, kind)
        except ImportError as error:
            library = "pyarrow" if kind == "arrow" else kind
            raise EngineError(
                f"A {kind} frame needs a library that is not installed: {error}", hint=f"Install {library}."
            ) from error

    def interrupt(self) -> None:
        """Stop the running statement, from another thread."""
        self.runner.cancel()

    def close(self) -> None:
        """End the session, and with it its temporary tables."""
        self.runner.close()


def frame_of(data: dict[str, list[Any]], kind: str) -> Any:
    """Columns as a frame; the libraries are no dependencies."""
    if kind == "pandas":
        import pandas as pd

        return pd.DataFrame(data)
    if kind == "polars":
        import polars as pl

        return pl.DataFrame(data)
    import pyarrow as pa

    return pa.table(data)


def open_client(path: str, *, read_only: bool = False) -> BigQuery:
    """The service, of ``project/dataset`` or ``dataset``; credentials are found as the client finds them."""
    dataset = path.strip("/").replace("/", ".")
    return BigQuery(ClientRunner(dataset=dataset), dataset=dataset, read_only=read_only)


class ClientRunner:
    """A session of BigQuery, over ``google-cloud-bigquery``.

    Parameters
    ----------
    client
        A ``google.cloud.bigquery.Client``; one is made, with the credentials of the environment, if there
        is none.
    dataset
        ``"project.dataset"`` for tables that are named without one.
    """

    def __init__(self, client: Any = None, *, dataset: str = "") -> None:
        try:
            from google.cloud import bigquery
        except ImportError as error:
            raise EngineError(
                "BigQuery needs a library that is not installed: google-cloud-bigquery.",
                hint="Install selectron[bigquery].",
            ) from error
        self.library: Any = bigquery
        self.client = client or bigquery.Client()
        self.dataset = dataset if "." in dataset or not dataset else f"{self.client.project}.{dataset}"
        self.session: str | None = None
        self.job: Any = None

    def settings(self, **options: Any) -> Any:
        """How a statement is run: in the session, which the first one makes."""
        if self.dataset:
            options["default_dataset"] = self.dataset
        if self.session is None:
            options["create_session"] = True
        else:
            options["connection_properties"] = [self.library.ConnectionProperty("session_id", self.session)]
        return self.library.QueryJobConfig(**options)

    def execute(self, text: str) -> list[Row]:
        """Run one statement; a query gives its rows."""
        try:
            self.job = self.client.query(text, job_config=self.settings())
            rows = [tuple(row.values()) for row in self.job.result()]
        except Exception as error:
            raise refused(error) from error
        if self.session is None and self.job.session_info is not None:
            self.session = self.job.session_info.session_id
        return rows

    def describe(self, query: str) -> list[tuple[str, str]]:
        """The columns of a query, by a dry run."""
        if self.session is None:
            self.execute("SELECT 1")
        try:
            job = self.client.query(query, job_config=self.settings(dry_run=True))
        except Exception as error:
            raise refused(error) from error
        return [(field.name, field_type(field)) for field in job.schema]

    def schema(self, table: str) -> list[tuple[str, str]] | None:
        """The columns of a table or view, or None if there is none."""
        parts = table.split(".")
        if not all(re.fullmatch(r"[\w -]+", part) for part in parts) or len(parts) > 3:
            return None
        if len(parts) == 1 and not self.dataset:
            return None
        full = f"{self.dataset}.{table}" if len(parts) == 1 else table
        try:
            found = self.client.get_table(full)
        except Exception as error:
            if getattr(error, "code", None) == 404:
                return None
            raise refused(error) from error
        return [(field.name, field_type(field)) for field in found.schema]

    def table_names(self) -> list[str]:
        """The tables and views of the default dataset."""
        return [table.table_id for table in self.client.list_tables(self.dataset)] if self.dataset else []

    def has_function(self, name: str) -> bool:
        """Whether the default dataset has a function of that name."""
        if not self.dataset:
            return False
        try:
            self.client.get_routine(f"{self.dataset}.{name}")
        except Exception as error:
            if getattr(error, "code", None) == 404:
                return False
            raise refused(error) from error
        return True

    def cancel(self) -> None:
        """Stop the running statement."""
        if self.job is not None:
            self.job.cancel()

    def close(self) -> None:
        """End the session. One that cannot be ended ends by itself after a day."""
        if self.session is not None:
            with suppress(EngineError):
                self.execute("CALL BQ.ABORT_SESSION()")
            self.session = None


def field_type(field: Any) -> str:
    """A field's type as GoogleSQL names it.

    >>> from types import SimpleNamespace
    >>> field_type(SimpleNamespace(field_type="INTEGER", mode="REPEATED"))
    'ARRAY<INT64>'
    """
    name = OLDER_NAMES.get(field.field_type, field.field_type)
    return f"ARRAY<{name}>" if field.mode == "REPEATED" else str(name)


def refused(error: Exception) -> EngineError:
    """BigQuery's error as ours, first line only."""
    lines = str(getattr(error, "message", error)).strip().splitlines()
    return EngineError(f"BigQuery refused: {lines[0] if lines else type(error).__name__}")

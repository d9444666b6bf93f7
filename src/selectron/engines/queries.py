"""A query of the user's that stands for a table: read once, and run as it was written."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from typing import Any, Final

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.generator import Generator
from sqlglot.tokenizer_core import Token, TokenType

from selectron.engines.base import Relation
from selectron.errors import DataError, EngineError
from selectron.sql import folded

__all__ = ["AsWritten", "apart", "is_written", "named", "query_relation", "refuse_compiled"]

# The key under which a query keeps its text.
WRITTEN: Final = "written"
# The mark of a table that a user named.
NAMED: Final = "named"
# What tables and WITH queries are below of.
AROUND: Final = (
    *(exp.Query, exp.From, exp.Join, exp.Lateral, exp.With, exp.CTE, exp.Paren),
    *(exp.Create, exp.Insert, exp.Copy, exp.Describe, exp.Export),
)
# What may stand before a query, and its first word.
START: Final = re.compile(r"(?:\s+|--[^\n]*(?:\n|$)|/\*.*?\*/)*([A-Za-z]+|\()?", re.DOTALL)


def query_relation(text: str, dialect: str, words: tuple[str, ...]) -> Relation | None:
    """A query as something to select from; None if the text does not start as one does, by one of `words`.

    Comments around it and semicolons after it are left out.

    Raises
    ------
    DataError
        If it cannot be read, or is not one query.

    Examples
    --------
    >>> query_relation("-- all of it\\nSELECT 1 AS a; -- no more", "duckdb", ("select",)).source.sql("duckdb")
    '(SELECT 1 AS a) AS source'
    >>> query_relation("selection", "duckdb", ("select",)) is None
    True
    """
    start = START.match(text)
    if start is None or (start[1] or "").lower() not in words:
        return None
    allowed = ", ".join(word.upper() for word in words if word != "(")
    try:
        tokens = sqlglot.tokenize(text, dialect=dialect)
        while tokens and tokens[-1].token_type is TokenType.SEMICOLON:
            tokens.pop()
        statements = sqlglot.parse(between(text, tokens), dialect=dialect)
    except SqlglotError as error:
        raise DataError(f"The query cannot be read: {str(error).splitlines()[0]}") from error
    if len(statements) != 1:
        raise DataError(
            f"A query stands for a table, and these are {len(statements)} statements.", hint="Give one."
        )
    (parsed,) = statements
    while isinstance(parsed, exp.Subquery) and not any(v for k, v in parsed.args.items() if k != "this"):
        parsed, tokens = parsed.this, tokens[1:-1]
    if isinstance(parsed, exp.Values):
        parsed = exp.select("*").from_(parsed)
    if not isinstance(parsed, exp.Query):
        raise DataError(f"Only a query ({allowed}) can stand for a table.")
    parsed.meta[WRITTEN] = between(text, tokens)
    alias = exp.TableAlias(this=exp.to_identifier("source"))
    return Relation(exp.Subquery(this=parsed, alias=alias), "the query")


def is_written(node: exp.Expr) -> bool:
    """Whether a node is a query that a user wrote."""
    return isinstance(node, exp.Query) and WRITTEN in node.meta


def named(table: exp.Table) -> exp.Table:
    """A table that a user named, marked as such."""
    table.meta[NAMED] = True
    return table


def apart(statement: exp.Expr) -> exp.Expr:
    """A statement whose WITH queries are called otherwise than the tables that users named, or their queries.

    A WITH query is read in the place of a table of its name: by those after it, and by itself and all others
    too on SQLite, or where they are recursive.

    >>> rows = query_relation("SELECT * FROM r", "duckdb", ("select",)).source
    >>> query = exp.select("*").from_("r").with_("r", as_=exp.select("*").from_(rows))
    >>> apart(query).sql("duckdb")
    'WITH r_2 AS (SELECT * FROM (SELECT * FROM r) AS source) SELECT * FROM r_2 AS r'
    """
    tables, ours = set[str](), set[str]()
    for node in statement.walk(prune=lambda node: is_written(node) or not isinstance(node, AROUND)):
        if is_written(node):
            tables.update(folded(table.name) for table in node.find_all(exp.Table) if not table.db)
        elif isinstance(node, exp.Table) and NAMED in node.meta and not node.db:
            tables.add(folded(node.name))
        elif isinstance(node, exp.CTE):
            ours.add(folded(node.alias))
    clashing = tables & ours
    if not clashing:
        return statement
    names: dict[str, str] = {}
    for name in clashing:
        free = (f"{name}_{count}" for count in itertools.count(2))
        names[name] = next(one for one in free if one not in tables | ours)
    statement = statement.copy()
    nodes = list(statement.walk(prune=is_written))
    for node in nodes:
        if (
            isinstance(node, exp.Table)
            and NAMED not in node.meta
            and not node.db
            and folded(node.name) in names
        ) and is_hidden(node):
            if not node.alias:
                # Columns are qualified by it.
                node.set("alias", exp.TableAlias(this=node.this.copy()))
            rename(node.this, names)
    for node in nodes:
        if isinstance(node, exp.CTE) and folded(node.alias) in names:
            rename(node.args["alias"].this, names)
    return statement


def rename(name: exp.Identifier, names: Mapping[str, str]) -> None:
    name.set("this", names[folded(name.this)])


def is_hidden(table: exp.Table) -> bool:
    """Whether a WITH query that a table's node is below of has its name."""
    above = table.parent
    while above is not None:
        with_ = above.args.get("with_")
        if with_ is not None and any(folded(cte.alias) == folded(table.name) for cte in with_.expressions):
            return True
        above = above.parent
    return False


def between(text: str, tokens: list[Token]) -> str:
    """The text from the first of some tokens to the last."""
    return text[tokens[0].start : tokens[-1].end + 1] if tokens else ""


class AsWritten(Generator):
    """Prints queries of the user's as they were written, and all else as the class beside it does.

    Printed anew, they would be spelt as trees of ours are, and could mean something else.
    """

    def sql(self, expression: Any, key: str | None = None, comment: bool = True) -> str:
        """The text of a node."""
        if key is None and isinstance(expression, exp.Expr) and is_written(expression):
            text = str(expression.meta[WRITTEN])
            # What is pretty is indented, but not inside a literal.
            return text.replace("\n", self.SENTINEL_LINE_BREAK) if self.pretty else text
        return super().sql(expression, key, comment)


def refuse_compiled(printer: type[Generator]) -> None:
    """Refuse sqlglot's compiled build, whose classes let no others inherit from them.

    It takes the place of the pure one wherever it is installed, for whatever package.

    Raises
    ------
    EngineError
        If `printer` cannot be made.

    Examples
    --------
    >>> refuse_compiled(AsWritten)
    """
    try:
        printer()
    except TypeError as error:
        raise EngineError(
            "sqlglot's compiled build, the package sqlglotc, is installed, and cannot be extended by others.",
            hint="Run 'pip uninstall sqlglotc', or install Selectron in an environment of its own.",
        ) from error

"""What the layers above need of a database.

An engine prints sqlglot trees in its own dialect and runs them. Everything that differs between
databases is here as data (:class:`Limits`, the dialect's name, column kinds) or as a method of the
engine, never as a test of the engine's name elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from sqlglot import exp

from selectron.errors import ColumnError, EngineError

__all__ = [
    "Abilities",
    "Arrays",
    "Column",
    "ColumnKind",
    "Copying",
    "Cores",
    "Engine",
    "Limits",
    "Lookup",
    "NoFunctions",
    "NoSqlFunctions",
    "Pages",
    "Recursion",
    "Relation",
    "Row",
    "SqlFunction",
    "Vectors",
    "refuse_doubled",
]

Row = tuple[Any, ...]


class ColumnKind(StrEnum):
    """What a column's values mean to a network, whatever the engine calls the type.

    EMPTY is that of a column that is NULL without a type, which can stand in for any.
    """

    NUMBER = "number"
    BOOLEAN = "boolean"
    TEXT = "text"
    DATE = "date"
    TIMESTAMP = "timestamp"
    EMPTY = "empty"
    OTHER = "other"


@dataclass(frozen=True)
class Column:
    """A column of a relation: its name, its kind, and the engine's name of its type.

    `is_zoned` says that its values are moments with a time zone, whose text is that of the session's zone;
    `is_exact` that the engine tells its name from others that differ in case.
    """

    name: str
    kind: ColumnKind
    type: str
    is_zoned: bool = False
    is_exact: bool = False


@dataclass(frozen=True)
class Relation:
    """Something with rows: a table, a view, a query, a file or a data frame.

    `source` goes into a FROM clause as it stands; `label` is how messages call it.
    """

    source: exp.Table | exp.Subquery
    label: str


@dataclass(frozen=True)
class Limits:
    """What the engine refuses, known before anything is run; None means no limit that matters."""

    columns: int | None = None
    # Columns of a query that no table is made of.
    entries: int | None = None
    expression_depth: int | None = None
    statement_bytes: int | None = None
    arguments: int | None = None
    compound_selects: int | None = None
    recursions: int | None = None


@dataclass(frozen=True)
class SqlFunction:
    """A function of a row, as SQL.

    Attributes
    ----------
    arguments
        What it is called with, and of which kind.
    results
        The columns of its query, and their types.
    query
        One row, over the arguments as columns without a table.
    """

    name: str
    arguments: tuple[tuple[str, ColumnKind], ...]
    results: tuple[tuple[str, exp.DataType], ...]
    query: exp.Select


class Recursion(StrEnum):
    """What a recursive term may do with the relation that recurs."""

    FREE = "free"  # name it anywhere and as often as it likes, aggregate over it, replace rows by key
    COPIED = "copied"  # name it once, in a CTE that may then be used like any other
    SCALAR = "scalar"  # name it once, in FROM; aggregate only in a subquery that gives one value
    ROW = "row"  # likewise, but the subquery may give a row (STRUCT)


class Arrays(StrEnum):
    """How a tensor can be one value."""

    LISTS = "lists"  # nested lists and functions over lambdas
    FUNCTIONS = "functions"  # a value that functions of ours, registered on the connection, compute with
    NONE = "none"


class Vectors(StrEnum):
    """Whether there are vectors and inner products of them, as pgvector has; else what is missing."""

    READY = ""
    NONE = "it has no vectors"
    ABSENT = "the extension pgvector is not installed on the server"
    UNCREATED = "the database does not have the extension pgvector yet"
    OLD = "the database has a pgvector before 0.7"


class Copying(StrEnum):
    """Whether expressions of a query are copied into what reads it, to be computed each time; the remedy."""

    NEVER = ""
    UNLESS_MATERIALIZED = "materialized"
    UNLESS_OFFSET = "offset"  # OFFSET 0, which keeps the query apart without storing its rows


class Lookup(StrEnum):
    """How an expression over a row finds its value among thousands of stored ones."""

    WRITTEN = ""  # not at all: each is written down
    SUBQUERY = "subquery"  # by a correlated query, of which the relation that it reads is indexed once
    OBJECT = "object"  # in a JSON object with sorted keys
    BUCKETS = "buckets"  # in a list of lists, by a hash


@dataclass(frozen=True)
class Pages:
    """How the columns layout holds a state of many numbers: as arrays, in columns that are pages of them.

    Attributes
    ----------
    least
        From how many numbers on.
    size
        How many numbers an array has at most, and a query sums.
    products
        How many products of a row a statement may have at most: each is written out.
    """

    least: int
    size: int
    products: int


@dataclass(frozen=True)
class Cores:
    """What it takes for a recursive term to run on several cores.

    Attributes
    ----------
    count
        How many the connection uses.
    frontier
        How many rows a round must leave for the next one, or the engine takes the work to be too little.
    rows
        How many rows of a table are read by one core alone, in their order, so that their sum is always the
        same to the last bit.
    """

    count: int
    frontier: int
    rows: int


@dataclass(frozen=True)
class Abilities:
    """What an engine can do that decides which layouts and strategies run on it."""

    recursion: Recursion
    arrays: Arrays
    copies: Copying = Copying.NEVER
    # Whether each reference to a named query expands it anew: two in each of many grow exponentially.
    expands: bool = False
    # Whether several statements and loops over them can be sent as one text.
    scripts: bool = False
    # Arrays of numbers whose elements are read about as fast as columns; None if there are none.
    pages: Pages | None = None
    vectors: Vectors = Vectors.NONE
    # Whether CASE takes less time than GREATEST, and a product with a condition less than CASE.
    compares: bool = False
    lookup: Lookup = Lookup.WRITTEN
    # None if a recursive term runs on one core, whatever it is.
    cores: Cores | None = None


class Engine(Protocol):
    """A connected database."""

    @property
    def dialect(self) -> str:
        """The sqlglot name of the SQL that this engine speaks."""

    @property
    def limits(self) -> Limits:
        """What the engine refuses."""

    @property
    def abilities(self) -> Abilities:
        """What the engine can do."""

    @property
    def path(self) -> str:
        """What was opened, as messages call it."""

    @property
    def read_only(self) -> bool:
        """Whether the database was opened without the right to write."""

    def sql(self, statement: exp.Expr, *, pretty: bool = False) -> str:
        """The statement as text in this engine's dialect."""

    def run(self, statement: exp.Expr, parameters: Sequence[object] = ()) -> None:
        """Execute a statement whose result does not matter."""

    def rows(self, statement: exp.Expr, parameters: Sequence[object] = ()) -> list[Row]:
        """Execute a query and fetch all its rows."""

    def transaction(self) -> AbstractContextManager[None]:
        """Commit what happens inside as one, or nothing of it if an exception leaves the block."""

    def temporary(self, name: str) -> exp.Table:
        """A table of this connection alone, as something to select from."""

    def create_temporary(self, name: str, query: exp.Query) -> None:
        """Make a table of this connection alone from a query; one of that name is replaced."""

    def rename_temporary(self, name: str, new: str) -> None:
        """Give a table of this connection another name; one that has it is dropped."""

    def drop_temporary(self, name: str) -> None:
        """Drop a table of this connection, if there is one."""

    def place(self, name: str) -> exp.Table:
        """The table or view of a name where new ones go: in the schema that it begins with, else here."""

    def create_table(self, name: str, query: exp.Query, *, replace: bool = False) -> None:
        """Make a table from a query."""

    def create_view(self, name: str, query: exp.Query, *, replace: bool = False) -> None:
        """Make a view of a query."""

    def drop_view(self, name: str) -> None:
        """Drop a view, if there is one; a table of that name stays."""

    def create_function(self, function: SqlFunction) -> None:
        """Make a function that is written in SQL, or replace it.

        Raises
        ------
        EngineError
            If the engine has none.
        """

    def drop_function(self, name: str) -> None:
        """Drop a function, if there is one."""

    def has_function(self, name: str) -> bool:
        """Whether there is a function of that name that somebody made."""

    def export(self, query: exp.Query, path: str) -> None:
        """Write the rows of a query into a .csv, .parquet or .json file.

        Raises
        ------
        EngineError
            If the file cannot be written.
        """

    def register(self, name: str, arity: int, function: Callable[..., Any]) -> None:
        """Let SQL of this connection call a function (of any number of arguments if `arity` is -1).

        Asked for only where tensors are values of functions (:attr:`Abilities.arrays`).
        """

    def register_aggregate(self, name: str, arity: int, aggregate: type[Any]) -> None:
        """Likewise an aggregate: a class with ``step`` and ``finalize``."""

    def interrupt(self) -> None:
        """Stop the running statement, from another thread."""

    def close(self) -> None:
        """Close the connection, if this object opened it."""

    def columns(self, relation: Relation) -> list[Column]:
        """The columns of a relation, in order.

        Raises
        ------
        DataError
            If the relation does not exist or cannot be read.
        """

    def frame(self, statement: exp.Expr, kind: str) -> Any:
        """The rows of a query as a data frame: ``"pandas"``, ``"polars"`` or ``"arrow"``.

        Raises
        ------
        EngineError
            If that library is not installed.
        """

    def has_table(self, name: str) -> bool:
        """Whether the database has a table or view of exactly that name, where new tables go."""

    def relation(self, source: object) -> Relation:
        """What a user named, as something to select from.

        Raises
        ------
        DataError
            If nothing of that name exists, or the object is not a table of any kind.
        """


class NoSqlFunctions:
    """For engines where a function of SQL is not made."""

    def create_function(self, function: SqlFunction) -> None:
        """Refused."""
        raise EngineError(
            f"No function {function.name!r} can be made on this engine.", hint="Make a view or a table."
        )

    def drop_function(self, name: str) -> None:
        """There is none."""

    def has_function(self, name: str) -> bool:
        """There is none."""
        return False


class NoFunctions:
    """For engines where no function of ours is ever called."""

    def register(self, name: str, arity: int, function: Callable[..., Any]) -> None:
        """Refused: tensors are no values of functions here."""
        raise EngineError(f"Function {name!r} cannot be registered on this engine.")

    def register_aggregate(self, name: str, arity: int, aggregate: type[Any]) -> None:
        """Refused: tensors are no values of functions here."""
        raise EngineError(f"Aggregate {name!r} cannot be registered on this engine.")


def refuse_doubled(names: Iterable[str], same: Callable[[str], str], label: str) -> None:
    """Refuse a relation two of whose columns have the same name, as the engine sees it.

    Raises
    ------
    ColumnError
        Naming the second of them.

    Examples
    --------
    >>> refuse_doubled(["a", "A"], str, "table 't'")
    """
    seen: set[str] = set()
    for name in names:
        if same(name) in seen:
            raise ColumnError(
                f"{label} has two columns named {name!r}.",
                hint="Name each column once, with AS in the query.",
            )
        seen.add(same(name))

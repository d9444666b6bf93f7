"""Tables of a connection, for engines that keep them in a schema of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

from sqlglot import exp

from selectron.engines.files import to_frame, write_file
from selectron.errors import DataError

__all__ = ["SchemaTables", "TypedTables"]


class TypedTables(ABC):
    """Tells tables from views, for engines that replace neither by the other."""

    @abstractmethod
    def place(self, name: str) -> exp.Table:
        """The table or view of a name where new ones go."""

    @abstractmethod
    def type_of(self, table: exp.Table) -> str | None:
        """Whether something is a table or a view, if it is there."""

    @abstractmethod
    def run(self, statement: exp.Expr, parameters: Sequence[object] = ()) -> None:
        """Execute a statement whose result does not matter."""

    def has_table(self, name: str) -> bool:
        """Whether there is a table or view of that name where new ones go."""
        return self.type_of(self.place(name)) is not None

    def drop_view(self, name: str) -> None:
        """Drop a view, if there is one; a table of that name stays."""
        place = self.place(name)
        if self.type_of(place) == "view":
            self.run(exp.Drop(tables=[place], kind="VIEW"))

    def refuse_other_type(self, name: str, wanted: str) -> None:
        """Refuse to replace a table by a view, or a view by a table, as engines do in words of their own.

        Raises
        ------
        DataError
            Saying which it is.
        """
        there = self.type_of(self.place(name)) or wanted
        if there != wanted:
            raise DataError(
                f"{name!r} is a {there}, and a {wanted} does not replace it.",
                hint=f"Drop the {there} first, or name another.",
            )


class SchemaTables(TypedTables):
    """Makes, renames and drops tables, of the connection alone (in `own_schema`) and for good."""

    own_schema: ClassVar[str]
    begin: ClassVar[str] = "BEGIN"

    @abstractmethod
    def execute(self, text: str, parameters: Sequence[object] = ()) -> Any:
        """Execute SQL text."""

    @abstractmethod
    def named_rows(self, statement: exp.Expr) -> tuple[list[str], list[tuple[Any, ...]]]:
        """The names of a query's columns, and its rows."""

    @property
    @abstractmethod
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what happens inside as one, or nothing of it."""
        self.execute(self.begin)
        try:
            yield
        except BaseException:
            self.execute("ROLLBACK")
            raise
        self.execute("COMMIT")

    def temporary(self, name: str) -> exp.Table:
        """A table of this connection alone."""
        return exp.table_(name, db=self.own_schema, quoted=True)

    def create_temporary(self, name: str, query: exp.Query) -> None:
        """Make a table of this connection alone."""
        # Made beside the old one, which the query may read.
        fresh = f"{name} (new)"
        self.drop_temporary(fresh)
        self.run(exp.Create(this=self.temporary(fresh), kind="TABLE", expression=query))
        self.rename_temporary(fresh, name)

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
        self.create(name, query, "TABLE", replace)

    def create_view(self, name: str, query: exp.Query, *, replace: bool = False) -> None:
        """CREATE VIEW AS a query."""
        self.create(name, query, "VIEW", replace)

    def create(self, name: str, query: exp.Query, kind: str, replace: bool) -> None:
        """Make a table or a view; dropping the old one and making the new one is one transaction."""
        if not self.in_transaction:
            with self.transaction():
                self.create(name, query, kind, replace)
            return
        table = self.place(name)
        if replace:
            self.refuse_other_type(name, kind.lower())
            self.run(exp.Drop(tables=[table.copy()], kind=kind, exists=True))
        if kind == "TABLE":
            self.make_table(table, query)
        else:
            self.run(exp.Create(this=table, kind=kind, expression=query.copy()))

    def make_table(self, table: exp.Table, query: exp.Query) -> None:
        """Make a table that is not there."""
        self.run(exp.Create(this=table, kind="TABLE", expression=query.copy()))

    def export(self, query: exp.Query, path: str) -> None:
        """Write the rows of a query into a file."""
        names, rows = self.named_rows(query)
        write_file(names, rows, path)

    def frame(self, statement: exp.Expr, kind: str) -> Any:
        """The rows of a query as a pandas, Polars or Arrow frame."""
        names, rows = self.named_rows(statement)
        return to_frame(names, rows, kind)

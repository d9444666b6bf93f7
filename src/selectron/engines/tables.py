"""Tables of a connection, for engines that keep them in a schema of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

from sqlglot import exp

from selectron.engines.files import to_frame, write_file

__all__ = ["SchemaTables"]


class SchemaTables(ABC):
    """Makes, renames and drops tables, of the connection alone (in `own_schema`) and for good."""

    own_schema: ClassVar[str]
    begin: ClassVar[str] = "BEGIN"

    @abstractmethod
    def run(self, statement: exp.Expr, parameters: Sequence[object] = ()) -> None:
        """Execute a statement whose result does not matter."""

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
        table = exp.table_(name, quoted=True)
        if replace:
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

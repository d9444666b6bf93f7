"""GoogleSQL, executed: the reference evaluator of BigQuery's SQL, over tables in memory.

The evaluator runs queries and INSERT, UPDATE and DELETE over tables that it is given. Kept here are the
tables, with their GoogleSQL types, the statements that make, rename and drop them, and scripts. Every
statement is analyzed first as GoogleSQL does for outside users, so that what it refuses is refused.
BigQuery's own limits, such as 500 rounds of a recursion, are not enforced.
"""

from __future__ import annotations

import ctypes
import os
import re
from dataclasses import dataclass, field, replace
from datetime import UTC, date, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final

import wasmtime
from zetasql.core import wasm_client
from zetasql.core.exceptions import ServerError
from zetasql.wasi import get_wasm_path
from zetasql.wasi._pb2.zetasql.local_service import local_service_pb2 as service
from zetasql.wasi._pb2.zetasql.proto import options_pb2, simple_catalog_pb2
from zetasql.wasi._pb2.zetasql.public import type_pb2
from zetasql.wasi._pb2.zetasql.resolved_ast import resolved_node_kind_pb2

from selectron.errors import EngineError

__all__ = ["GoogleSQL", "GoogleSQLError"]

EXTERNAL: Final = 1
# The hidden column by which UPDATE and DELETE say which rows they mean.
KEY: Final = "googlesql_row_number"


class GoogleSQLError(EngineError):
    """GoogleSQL refused a statement, or it failed."""


class Service(wasm_client.WasmClient):  # type: ignore[misc]
    """The evaluator with memory that is copied in one piece."""

    def write_bytes(self, ptr: int, data: bytes) -> None:
        ctypes.memmove(ctypes.addressof(self.memory.data_ptr().contents) + ptr, data, len(data))

    def read_bytes(self, ptr: int, size: int) -> bytes:
        return ctypes.string_at(ctypes.addressof(self.memory.data_ptr().contents) + ptr, size)


class CachedConfig(wasmtime.Config):
    """Compiles the evaluator once for this user: its start then takes a second and not twenty."""

    def __init__(self) -> None:
        super().__init__()
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "selectron-tests"
        root.mkdir(parents=True, exist_ok=True)
        settings = root / "wasmtime.toml"
        text = f'[cache]\ndirectory = "{(root / "wasmtime").as_posix()}"\n'
        if not settings.exists() or settings.read_text() != text:
            settings.write_text(text)
        self.cache = str(settings)
        self.max_wasm_stack = 2 * 1024 * 1024


@cache
def evaluator() -> Service:
    """The one evaluator of this process."""
    wasm_client.Config = CachedConfig
    return Service(get_wasm_path())


@cache
def language() -> Any:
    """All features of the language, with the types that BigQuery's users have."""
    request = service.LanguageOptionsRequest(maximum_features=True)
    found = evaluator().call_grpc_func(
        "ZetaSqlLocalService_GetLanguageOptions", request, options_pb2.LanguageOptionsProto
    )
    found.product_mode = EXTERNAL
    kinds = resolved_node_kind_pb2.ResolvedNodeKind.items()
    found.supported_statement_kinds.extend(number for name, number in kinds if name.endswith("_STMT"))
    return found


@dataclass
class Table:
    """Columns with their types, and rows as GoogleSQL's values."""

    columns: list[tuple[str, Any]]
    rows: list[list[Any]] = field(default_factory=list)
    temporary: bool = False


def call(method: str, request: Any, response: type[Any]) -> Any:
    try:
        return evaluator().call_grpc_func(f"ZetaSqlLocalService_{method}", request, response)
    except ServerError as error:
        raise GoogleSQLError(error.message) from error


class GoogleSQL:
    """A catalogue of tables, and GoogleSQL over it.

    Tables are kept by their full names, with dots where there is a dataset.
    """

    def __init__(self) -> None:
        self.tables: dict[str, Table] = {}
        self.views: dict[str, str] = {}
        # Bodies, over arguments that are called as columns are.
        self.functions: dict[str, str] = {}
        self.saved: tuple[dict[str, Table], dict[str, str]] | None = None

    # Statements --------------------------------------------------------------------------------

    def execute(self, text: str) -> list[tuple[Any, ...]]:
        """Run one statement; a query gives its rows."""
        text = self.flat(text)
        statement = self.analyzed(text)
        kind = statement.WhichOneof("node")
        if kind == "resolved_query_stmt_node":
            table = self.evaluated(text)
            types = [type_ for _, type_ in table.columns]
            return [tuple(map(python, row, types)) for row in table.rows]
        handlers = {
            "resolved_create_statement_node": self.create,
            "resolved_drop_stmt_node": self.drop,
            "resolved_drop_function_stmt_node": self.drop_function,
            "resolved_alter_object_stmt_node": self.rename,
            "resolved_insert_stmt_node": self.insert,
            "resolved_update_stmt_node": self.modify,
            "resolved_delete_stmt_node": self.modify,
            "resolved_begin_stmt_node": self.begin,
            "resolved_commit_stmt_node": self.commit,
            "resolved_rollback_stmt_node": self.rollback,
        }
        if kind not in handlers:
            raise GoogleSQLError(f"Not executed here: {kind}")
        handlers[kind](text, getattr(statement, kind))
        return []

    def create(self, text: str, node: Any) -> None:
        names = found(node, "ResolvedCreateStatementProto")
        name = ".".join(names.name_path)
        mode = enum_name(names, "create_mode")
        if (
            any(name in kept for kept in (self.tables, self.views, self.functions))
            and mode != "CREATE_OR_REPLACE"
        ):
            if mode == "CREATE_IF_NOT_EXISTS":
                return
            raise GoogleSQLError(f"Already exists: {name}")
        temporary = enum_name(names, "create_scope") == "CREATE_TEMP"
        self.check_transaction(temporary)
        body = after_as(text)
        if node.WhichOneof("node") == "resolved_create_function_stmt_node":
            self.functions[name] = body
            return
        if node.WhichOneof("node") == "resolved_create_view_base_node":
            self.views[name] = body
        elif body:
            self.tables[name] = self.evaluated(body)
        else:
            base = found(node, "ResolvedCreateTableStmtBaseProto")
            self.tables[name] = Table([(one.name, one.type) for one in base.column_definition_list])
        if name in self.tables:
            self.tables[name].temporary = temporary

    def check_transaction(self, temporary: bool) -> None:
        """BigQuery makes, drops and renames only temporary tables in a transaction."""
        if self.saved is not None and not temporary:
            raise GoogleSQLError("Transaction control: DDL on a permanent table in a transaction")

    def drop(self, _text: str, node: Any) -> None:
        kept: dict[str, Any] = self.views if node.object_type == "VIEW" else self.tables
        name = ".".join(node.name_path)
        self.check_transaction(name in self.tables and self.tables[name].temporary)
        if kept.pop(name, None) is None and not node.is_if_exists:
            raise GoogleSQLError(f"Not found: {node.object_type} {name}")

    def drop_function(self, _text: str, node: Any) -> None:
        if self.functions.pop(".".join(node.name_path), None) is None and not node.is_if_exists:
            raise GoogleSQLError("Not found: function")

    def has_function(self, name: str) -> bool:
        """Whether there is a function; the evaluator does not call it, so that its body stands for a call."""
        return name in self.functions

    def rename(self, _text: str, node: Any) -> None:
        name = ".".join(found(node, "ResolvedAlterObjectStmtProto").name_path)
        new = ".".join(found(node, "ResolvedRenameToActionProto").new_path)
        if new in self.tables or name not in self.tables:
            raise GoogleSQLError(f"{name} cannot be renamed to {new}")
        self.check_transaction(False)
        self.tables[new] = self.tables.pop(name)

    def insert(self, text: str, node: Any) -> None:
        name = node.table_scan.table.name
        content = self.modified(text, name, keyed=False)
        old = self.tables[name]
        self.tables[name] = replace(old, rows=[*old.rows, *(list(one.cell) for one in content)])

    def modify(self, text: str, node: Any) -> None:
        name = node.table_scan.table.name
        old = self.tables[name]
        rows: dict[int, list[Any]] = dict(enumerate(old.rows))
        for one in self.modified(text, name, keyed=True):
            key = one.old_primary_key[0].int64_value
            if enum_name(one, "operation") == "DELETE":
                del rows[key]
            else:
                rows[key] = list(one.cell)[:-1]
        self.tables[name] = replace(old, rows=list(rows.values()))

    def begin(self, _text: str, _node: Any) -> None:
        if self.saved is not None:
            raise GoogleSQLError("A transaction is open already")
        self.saved = dict(self.tables), dict(self.views)

    def commit(self, _text: str, _node: Any) -> None:
        if self.saved is None:
            raise GoogleSQLError("No transaction is open")
        self.saved = None

    def rollback(self, _text: str, _node: Any) -> None:
        if self.saved is None:
            raise GoogleSQLError("No transaction is open")
        self.tables, self.views = self.saved
        self.saved = None

    # The catalogue -----------------------------------------------------------------------------

    def schema(self, name: str) -> list[tuple[str, str]] | None:
        """The columns of a table or view with the names of their types, or None if there is none."""
        if name in self.views:
            return self.describe(self.views[name])
        table = self.tables.get(name)
        return None if table is None else [(column, type_name(type_)) for column, type_ in table.columns]

    def describe(self, text: str) -> list[tuple[str, str]]:
        """The columns of a query with the names of their types; it is analyzed and not run."""
        query = self.analyzed(self.flat(text)).resolved_query_stmt_node
        return [(one.name, type_name(one.column.type)) for one in query.output_column_list]

    def table_names(self) -> list[str]:
        """All tables and views."""
        return [*self.tables, *self.views]

    def cancel(self) -> None:
        """Nothing runs when this can be called."""

    def close(self) -> None:
        """Forget all tables."""
        self.tables, self.views = {}, {}

    def flat(self, text: str) -> str:
        """The text with each dotted name of a table as one name: the evaluator knows no datasets."""
        for name in filter(lambda name: "." in name, self.table_names()):
            parts = (f"(?:`{re.escape(part)}`|{re.escape(part)})" for part in name.split("."))
            dotted = r"\s*[.]\s*".join(parts)
            text = re.sub(rf"(?<![\w`.]){dotted}(?![\w`])", f"`{name}`", text)
        return text

    def analyzed(self, text: str) -> Any:
        request = service.AnalyzeRequest(sql_statement=text)
        request.options.CopyFrom(options())
        request.simple_catalog.CopyFrom(self.catalog(text)[0])
        return call("Analyze", request, service.AnalyzeResponse).resolved_statement

    def evaluated(self, text: str) -> Table:
        request = service.EvaluateQueryRequest(sql=text)
        request.options.CopyFrom(options())
        catalog, used = self.catalog(text)
        request.simple_catalog.CopyFrom(catalog)
        for name in used:
            request.table_content[name].CopyFrom(content_of(self.table(name).rows))
        response = call("EvaluateQuery", request, service.EvaluateQueryResponse)
        columns = [(one.name, one.type) for one in response.prepared.columns]
        return Table(columns, [list(row.cell) for row in response.content.table_data.row])

    def modified(self, text: str, name: str, *, keyed: bool) -> Any:
        """What INSERT, UPDATE or DELETE does to a table's rows."""
        request = service.EvaluateModifyRequest(sql=text)
        request.options.CopyFrom(options())
        catalog, used = self.catalog(text)
        request.simple_catalog.CopyFrom(catalog)
        for other in used:
            rows = self.table(other).rows
            if keyed and other == name:
                rows = [[*row, integer(number)] for number, row in enumerate(rows)]
            request.table_content[other].CopyFrom(content_of(rows))
        if keyed:
            own = next(table for table in request.simple_catalog.table if table.name == name)
            own.primary_key_column_index.append(len(own.column))
            own.column.add(name=KEY, is_writable_column=True).type.type_kind = type_pb2.TYPE_INT64
        return call("EvaluateModify", request, service.EvaluateModifyResponse).content

    def table(self, name: str) -> Table:
        return self.evaluated(self.views[name]) if name in self.views else self.tables[name]

    def catalog(self, text: str) -> tuple[Any, list[str]]:
        """The tables that a text mentions, as the evaluator takes them, and their names."""
        catalog = simple_catalog_pb2.SimpleCatalogProto(name="catalog")
        catalog.builtin_function_options.language_options.CopyFrom(language())
        mentioned = {token.text.lower() for token in tokenized(text)}
        used = [name for name in self.table_names() if name.lower() in mentioned]
        for name in used:
            entry = catalog.table.add(name=name)
            columns = self.table(name).columns
            for column, type_ in columns:
                entry.column.add(name=column, is_writable_column=True).type.CopyFrom(type_)
        return catalog, used

    # Scripts -----------------------------------------------------------------------------------

    def script(self, text: str) -> list[tuple[Any, ...]]:
        """Run a script; gives the rows of its last query.

        DECLARE, SET, WHILE, LOOP, IF and BREAK are stepped through here. In the statements between them a
        variable is replaced by its value, wherever its name stands alone.
        """
        request = service.ParseRequest(sql_statement=text, allow_script=True)
        request.options.CopyFrom(language())
        call("Parse", request, service.ParseResponse)
        return Script(self, text).run()


class Broken(Exception):  # noqa: N818 - a jump, not a fault
    """BREAK was reached."""


class Script:
    """One run of a script."""

    def __init__(self, engine: GoogleSQL, text: str) -> None:
        self.engine = engine
        self.text = text
        self.tokens = tokenized(text)
        self.variables: dict[str, str] = {}
        self.result: list[tuple[Any, ...]] = []

    def run(self) -> list[tuple[Any, ...]]:
        self.block(0, len(self.tokens))
        return self.result

    def word(self, place: int) -> str:
        return self.tokens[place].text.upper() if place < len(self.tokens) else ""

    def block(self, place: int, end: int) -> None:
        while place < end:
            place = self.statement(place)

    def statement(self, place: int) -> int:
        """Run the statement that starts here; gives where the next one starts."""
        word = self.word(place)
        if word == ";":
            return place + 1
        if word in ("WHILE", "LOOP") or (word == "IF" and self.word(place + 1) != "("):
            return self.compound(place, word)
        end = next(i for i in range(place, len(self.tokens) + 1) if self.word(i) in (";", ""))
        if word in ("BREAK", "LEAVE"):
            raise Broken
        if word == "DECLARE":
            default = next(i for i in range(place, end) if self.word(i) == "DEFAULT")
            self.variables[self.tokens[place + 1].text.lower()] = self.value(default + 1, end)
        elif word == "SET":
            self.variables[self.tokens[place + 1].text.lower()] = self.value(place + 3, end)
        else:
            rows = self.engine.execute(self.substituted(place, end))
            if word in ("SELECT", "WITH"):
                self.result = rows
        return end

    def compound(self, place: int, word: str) -> int:
        depth, end = 1, place + 1
        while depth:
            opens = self.word(end) in ("WHILE", "LOOP", "IF") and self.word(end - 1) in (
                ";",
                "DO",
                "LOOP",
                "THEN",
            )
            depth += opens - (self.word(end) == "END" and self.word(end + 1) in ("WHILE", "LOOP", "IF"))
            end += 1
        opening = {"WHILE": "DO", "IF": "THEN", "LOOP": "LOOP"}[word]
        body = next(i for i in range(place, end) if self.word(i) == opening)
        if word == "IF":
            if self.holds(place + 1, body):
                self.block(body + 1, end - 1)
            return end + 1
        try:
            while word == "LOOP" or self.holds(place + 1, body):
                self.block(body + 1, end - 1)
        except Broken:
            pass
        return end + 1

    def holds(self, start: int, end: int) -> bool:
        return self.value(start, end).upper() == "TRUE"

    def value(self, start: int, end: int) -> str:
        """The value of an expression, as a literal of its type."""
        text = f"SELECT FORMAT('%T', ({self.substituted(start, end)}))"
        return str(self.engine.execute(text)[0][0])

    def substituted(self, start: int, end: int) -> str:
        """A stretch of the script, with the values of variables."""
        pieces, at = [], self.tokens[start].start
        for i in range(start, end):
            token = self.tokens[i]
            alone = "." not in (self.word(i - 1) if i else "", self.word(i + 1))
            if alone and token.kind in ("word", "name") and token.text.lower() in self.variables:
                pieces += [self.text[at : token.start], self.variables[token.text.lower()]]
                at = token.end
        pieces.append(self.text[at : self.tokens[end - 1].end])
        return "".join(pieces)


# Small readers ---------------------------------------------------------------------------------


@cache
def options() -> Any:
    return options_pb2.AnalyzerOptionsProto(language_options=language(), default_timezone="UTC")


@dataclass(frozen=True)
class Token:
    """A stretch of text: a word, a quoted name, a string, a number or a mark."""

    text: str
    kind: str
    start: int
    end: int


TOKEN: Final = re.compile(
    r"(?P<space>\s+|--[^\n]*)|`(?P<name>[^`]*)`|(?P<string>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")"
    r"|(?P<word>[A-Za-z_@]\w*)|(?P<number>\d+(?:[.]\d*)?(?:[eE][+-]?\d+)?)|(?P<mark>.)",
    re.DOTALL,
)


def tokenized(text: str) -> list[Token]:
    """The tokens of a text. sqlglot's tokenizer takes WHILE and LOOP for commands that it does not read."""
    return [
        Token(match[kind], kind, *match.span())
        for match in TOKEN.finditer(text)
        if (kind := match.lastgroup) is not None and kind != "space"
    ]


def after_as(text: str) -> str:
    """The query of CREATE ... AS, or nothing."""
    depth = 0
    for token in tokenized(text):
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if depth == 0 and token.text.upper() == "AS":
            return text[token.end :]
    return ""


def found(message: Any, name: str) -> Any:
    """The first message of a type, at any depth."""
    if message.DESCRIPTOR.name == name:
        return message
    for descriptor, value in message.ListFields():
        if descriptor.message_type is None:
            continue
        for inner in value if descriptor.is_repeated else [value]:
            match = found(inner, name)
            if match is not None:
                return match
    return None


def enum_name(message: Any, name: str) -> str:
    descriptor = message.DESCRIPTOR.fields_by_name[name].enum_type
    return str(descriptor.values_by_number[getattr(message, name)].name)


def integer(value: int) -> Any:
    cell = service.TableData.Row().cell.add()
    cell.int64_value = value
    return cell


def content_of(rows: list[list[Any]]) -> Any:
    content = service.TableContent()
    content.table_data.SetInParent()
    for row in rows:
        content.table_data.row.add().cell.extend(row)
    return content


NAMES: Final = {"TYPE_DOUBLE": "FLOAT64"}
FIELDS: Final = {
    "TYPE_INT64": "int64_value",
    "TYPE_DOUBLE": "double_value",
    "TYPE_STRING": "string_value",
    "TYPE_BOOL": "bool_value",
}


def type_name(type_: Any) -> str:
    """A type as GoogleSQL writes it."""
    kind = type_pb2.TypeKind.Name(type_.type_kind)
    if kind == "TYPE_ARRAY":
        return f"ARRAY<{type_name(type_.array_type.element_type)}>"
    if kind == "TYPE_STRUCT":
        parts = (f"{one.field_name} {type_name(one.field_type)}" for one in type_.struct_type.field)
        return f"STRUCT<{', '.join(parts)}>"
    return str(NAMES.get(kind, kind.removeprefix("TYPE_")))


def python(value: Any, type_: Any) -> Any:
    """A GoogleSQL value as Python's: arrays as lists, structs as dictionaries."""
    if value.WhichOneof("value") is None:
        return None
    kind = type_pb2.TypeKind.Name(type_.type_kind)
    if kind in FIELDS:
        return getattr(value, FIELDS[kind])
    if kind == "TYPE_ARRAY":
        return [python(one, type_.array_type.element_type) for one in value.array_value.element]
    if kind == "TYPE_STRUCT":
        fields = type_.struct_type.field
        values = map(python, value.struct_value.field, (one.field_type for one in fields))
        return dict(zip((one.field_name for one in fields), values, strict=True))
    if kind == "TYPE_TIMESTAMP":
        return value.timestamp_value.ToDatetime(tzinfo=UTC)
    if kind == "TYPE_DATE":
        return date(1970, 1, 1) + timedelta(days=value.date_value)
    raise GoogleSQLError(f"Values of {kind} are not read here")

"""Imports point down the layers, and no code asks which engine it runs on."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import selectron

SOURCE = Path(selectron.__file__).parent

# What each part may import, besides itself. A module that is not in a folder is a part of its own; an
# engine's implementation is too, so that engines do not import each other. `engines.*` is any of them.
LAYERS: Mapping[str, frozenset[str]] = {
    name: frozenset(allowed.split())
    for name, allowed in {
        "errors": "",
        "version": "",
        "sql": "errors",
        "combination": "sql",
        "repeated": "sql combination",
        "serialization": "errors",
        "interrupting": "",
        "network": "errors",
        "program": "errors",
        "engines.base": "errors sql",
        "engines.files": "errors engines.base",
        "engines.connect": "errors engines.base engines.queries",
        "engines.tables": "errors engines.files",
        "engines.queries": "errors sql engines.base",
        "engines.*": "errors sql combination repeated serialization interrupting engines.base engines.files "
        "engines.queries engines.tables",
        "training": "errors network program",
        "features": "errors sql serialization engines.base program",
        "store": "errors sql serialization engines.base",
        "layouts": "errors sql combination repeated program",
        "strategies": "errors sql program engines.base layouts",
        "planning": "errors engines.base program layouts strategies",
        # What a user holds: thin faces over the layers, themselves in order.
        "templates": "sql",
        "calibration": "errors sql templates",
        "evaluation": "calibration markup templates",
        "breakdown": "errors engines.base features evaluation templates",
        "blueprint": "errors sql serialization network program training features layouts strategies",
        "pacing": "",
        "trainer": "errors sql interrupting engines.base program features layouts store strategies planning "
        "blueprint pacing",
        "statements": "errors sql engines.base program features layouts strategies planning blueprint "
        "trainer",
        "tracing": "sql engines.base program features layouts strategies planning blueprint",
        "preparation": "errors sql engines.base features blueprint trainer",
        "forms": "sql program layouts",
        "prediction": "errors sql engines.base program features forms layouts store blueprint",
        "portable": "errors sql combination engines.base engines.queries program features blueprint "
        "prediction",
        "verification": "errors sql engines.base features program blueprint prediction",
        "figures": "",
        "markup": "figures",
        "outputs": "errors sql markup engines.base",
        "explaining": "errors sql engines.base program training features layouts blueprint outputs "
        "prediction templates",
        # Networks of other libraries, imported by the two below where they are asked for.
        "interchange": "errors sql network program training engines.base features layouts planning "
        "blueprint preparation",
        "reporting": "errors sql engines.base program features training layouts store planning blueprint "
        "evaluation explaining figures prediction templates",
        "model": "errors sql engines.base markup program features forms layouts store planning blueprint "
        "breakdown calibration evaluation explaining outputs portable prediction preparation reporting "
        "statements tracing trainer verification interchange",
        "database": "errors sql version network training engines.base engines.connect features layouts store "
        "planning blueprint model preparation trainer interchange",
        "estimators": "errors sql network training engines.base engines.* features store blueprint "
        "prediction model database",
        "cli": "errors version network training planning engines.files features calibration evaluation "
        "figures model database explaining outputs reporting tracing trainer verification interchange",
        "__init__": "errors version network training features calibration evaluation model database trainer "
        "estimators verification reporting",
        "__main__": "cli",
    }.items()
}


def part_of(dotted: str) -> str:
    """The part that a module below `selectron` belongs to, from its dotted name without `selectron`."""
    first, _, rest = dotted.partition(".")
    if first == "engines" and rest:
        return f"engines.{rest.split('.')[0]}"
    return first or "__init__"


def dotted_name(path: Path) -> str:
    """A file's module, without `selectron`."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def imported(tree: ast.AST) -> Iterator[str]:
    """The modules of Selectron that a module names in its imports, wherever they stand."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "selectron":
                    yield alias.name.removeprefix("selectron").removeprefix(".")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute"
            names = [alias.name for alias in node.names]
            if node.module == "selectron":
                yield from (name if is_module(name) else "" for name in names)
            elif node.module is not None and node.module.startswith("selectron."):
                below = node.module.removeprefix("selectron.")
                yield from (f"{below}.{name}" if is_module(f"{below}.{name}") else below for name in names)


def is_module(dotted: str) -> bool:
    path = SOURCE.joinpath(*dotted.split("."))
    return path.with_suffix(".py").exists() or path.is_dir()


def row(part: str) -> str:
    """The part's row in the table."""
    return part if part in LAYERS or not part.startswith("engines.") else "engines.*"


def upward(importer: str, source: str) -> list[str]:
    """What a part imports although it may not."""
    own, found = row(part_of(importer)), []
    for name in imported(ast.parse(source)):
        part = part_of(name)
        if part != part_of(importer) and row(part) not in LAYERS[own]:
            found.append(part)
    return found


FILES = sorted(path for path in SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: dotted_name(path))
def test_imports_point_down(path: Path) -> None:
    name = dotted_name(path)
    if name == "engines":  # the folder itself holds nothing
        assert not path.read_text()
        return
    assert row(part_of(name)) in LAYERS, f"{name} is in no layer: give it a row in this table"
    assert upward(name, path.read_text()) == []


def test_the_layers_are_an_order() -> None:
    assert set(TopologicalSorter(LAYERS).static_order()) == set(LAYERS)


def test_every_row_is_a_part_that_exists() -> None:
    parts = {row(part_of(dotted_name(path))) for path in FILES if dotted_name(path) != "engines"}
    assert parts == set(LAYERS)


@pytest.mark.parametrize(
    ("importer", "source", "found"),
    [
        ("program.operations", "from selectron.training.step import build_step", ["training"]),
        ("layouts.arrays", "def f():\n    import selectron.store.schema", ["store"]),
        ("training.step", "from selectron import sql", ["sql"]),
        ("features.rows", "from selectron import connect", ["__init__"]),
        ("engines.sqlite", "from selectron.engines.duckdb import DuckDB", ["engines.duckdb"]),
        ("store.store", "from selectron.engines import duckdb", ["engines.duckdb"]),
        ("strategies.recursive", "from selectron.unheard import of", ["unheard"]),
        ("strategies.recursive", "from selectron.engines import base\nimport selectron.errors", []),
    ],
)
def test_the_check_sees_what_it_should(importer: str, source: str, found: list[str]) -> None:
    assert upward(importer, source) == found


def engine_comparisons(source: str) -> list[int]:
    """Lines that compare an engine or a dialect, or its name, with a word."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            if any(names_engine(side) for side in sides) and any(has_word(side) for side in sides):
                lines.append(node.lineno)
        elif isinstance(node, ast.Match) and names_engine(node.subject):
            lines.append(node.lineno)
    return lines


def names_engine(node: ast.expr) -> bool:
    """Whether an expression is an engine or dialect, or something asked of one: `self.engine.name`."""
    while isinstance(node, (ast.Attribute, ast.Call)):
        if isinstance(node, ast.Attribute) and node.attr.lower().endswith(("engine", "dialect")):
            return True
        node = node.value if isinstance(node, ast.Attribute) else node.func
    return isinstance(node, ast.Name) and node.id.lower().endswith(("engine", "dialect"))


def has_word(node: ast.expr) -> bool:
    return any(isinstance(part, ast.Constant) and isinstance(part.value, str) for part in ast.walk(node))


@pytest.mark.parametrize("path", FILES, ids=lambda path: dotted_name(path))
def test_nothing_asks_which_engine_it_is(path: Path) -> None:
    assert engine_comparisons(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "if dialect == 'duckdb': pass",
        "x = 1 if self.engine.name != 'sqlite' else 2",
        "while 'spark' == engine: pass",
        "if engine.dialect in ('duckdb', 'postgres'): pass",
        "if engine.name.lower() == 'duckdb': pass",
        "match dialect:\n    case 'duckdb': pass",
    ],
)
def test_comparisons_of_engines_are_seen(source: str) -> None:
    assert engine_comparisons(source) == [1]


def test_other_comparisons_are_not() -> None:
    assert engine_comparisons("if engine is None or name == 'duckdb' or engine.limit < 3: pass") == []


def test_importing_loads_no_dialect_before_its_engine_is_used() -> None:
    loaded = "import selectron.cli, sys; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    dialects = [name for name in ran.stdout.split() if name.startswith("sqlglot.dialects")]
    assert dialects == ["sqlglot.dialects", "sqlglot.dialects.dialect"]

"""The README shows what really happens.

Set UPDATE_DOCS=1 to write its outputs anew.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"


def block(name: str, fence: str = "") -> re.Pattern[str]:
    """A marked block of code, as (before, code, after)."""
    return re.compile(rf"(<!-- {name} -->\n```{fence}\n)(.*?)(```\n<!-- end -->)", re.DOTALL)


def check(pattern: re.Pattern[str], expected: str) -> None:
    """The block holds what was seen, or is made to."""
    text = README.read_text()
    found = pattern.search(text)
    assert found is not None
    if os.environ.get("UPDATE_DOCS"):
        README.write_text(pattern.sub(lambda match: match[1] + expected + match[3], text))
    else:
        assert found[2] == expected


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the examples in it, as the README's commands expect."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    return tmp_path


def selectron(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "selectron", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def test_the_first_command_and_its_sql(folder: Path) -> None:
    printed = selectron(folder, "train", "examples/penguins.csv", "--target", "species")
    check(block("output: train"), printed)
    sql = selectron(folder, "sql", "penguins.duckdb", "train", "--model", "species")
    end = ') AS "hidden_1 activations"'
    before = sql[: sql.index(end) + len(end)]
    *_, start = re.finditer(r' *LIST_TRANSFORM\(\s+"features"', before)
    check(block("sql: hidden layer", "sql"), textwrap.dedent(before[start.start() :]) + "\n")


@pytest.mark.parametrize("name", ["python", "python: exchange"])
def test_the_python_code(folder: Path, name: str) -> None:
    text = README.read_text()
    found = re.search(
        rf"<!-- {name} -->\n```python\n(.*?)```\nprints\n```\n(.*?)```\n<!-- end -->", text, re.DOTALL
    )
    assert found is not None
    done = subprocess.run(
        [sys.executable, "-c", found[1]], cwd=folder, capture_output=True, text=True, check=True
    )
    assert done.stdout == found[2]


def test_every_command_is_in_the_readme() -> None:
    from typer.main import get_command

    from selectron.cli import app

    text = README.read_text()
    for name in get_command(app).commands:  # type: ignore[attr-defined]
        assert f"selectron {name} " in text or f"`{name}`" in text, name


def test_what_is_exported_is_there_and_sorted() -> None:
    import selectron as package

    assert all(hasattr(package, name) for name in package.__all__)
    constants = [name for name in package.__all__ if name.isupper()]
    classes = [name for name in package.__all__ if name[0].isupper() and not name.isupper()]
    assert classes == sorted(classes)
    assert constants == sorted(constants)

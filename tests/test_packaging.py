"""What the package says that it needs."""

from __future__ import annotations

import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
# Extras that the tests with the oldest releases have no use for.
LEFT_OUT = {"google-cloud-bigquery", "torch"}


def test_the_oldest_releases_that_are_allowed_are_the_ones_that_are_tested() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [own for name, own in project["optional-dependencies"].items() if name != "dev"]
    allowed = [Requirement(line) for lines in (project["dependencies"], *extras) for line in lines]
    lines = (ROOT / "tests" / "oldest.txt").read_text().splitlines()
    tested = [Requirement(line) for line in lines if line and not line.startswith("#")]
    for requirement in allowed:
        if requirement.name in LEFT_OUT:
            continue
        (least,) = (one.version for one in requirement.specifier if one.operator == ">=")
        first = next(own for own in tested if own.name == requirement.name)
        (pinned,) = (one.version for one in first.specifier)
        assert pinned == least or pinned.startswith(f"{least}."), requirement

"""Tables as HTML, for notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from selectron.figures import shown

__all__ = ["html_table"]


def html_table(names: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    """A table; every word is escaped, and floats are rounded to four digits.

    >>> html_table(["<b>"], [[0.123456]])
    '<table><thead><tr><th>&lt;b&gt;</th></tr></thead><tbody><tr><td>0.1235</td></tr></tbody></table>'
    """

    def cells(tag: str, values: Sequence[object]) -> str:
        return "".join(f"<{tag}>{escape(shown(value))}</{tag}>" for value in values)

    head = f"<thead><tr>{cells('th', names)}</tr></thead>" if names else ""
    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<table>{head}<tbody>{body}</tbody></table>"

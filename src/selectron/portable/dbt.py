"""The statement as a dbt model: a file of SQL whose table is a reference that dbt resolves."""

from __future__ import annotations

import re
from typing import Final

from sqlglot import exp

from selectron.errors import ConfigurationError

__all__ = ["CONFIGURATION", "escape", "reference"]

CONFIGURATION: Final = "{{ config(materialized='view') }}"
OPENERS: Final = re.compile(r"\{(?=[{%#])")


def reference(table: str) -> exp.Table:
    """A table of dbt: ``model`` is another model, ``source.table`` one of its sources.

    Raises
    ------
    ConfigurationError
        If it is neither.

    Examples
    --------
    >>> reference("flights").sql(), reference("raw.flights").sql()
    ("{{ ref('flights') }}", "{{ source('raw', 'flights') }}")
    """
    parts = table.split(".")
    if len(parts) > 2 or not all(re.fullmatch(r"\w+", part) for part in parts):
        raise ConfigurationError(
            f"{table!r} is no table of dbt.", hint="Name a model, or SOURCE.TABLE of a dbt source."
        )
    arguments = ", ".join(f"'{part}'" for part in parts)
    function = "ref" if len(parts) == 1 else "source"
    return exp.Table(this=exp.Var(this=f"{{{{ {function}({arguments}) }}}}"))


def escape(query: exp.Select) -> exp.Select:
    """The query with braces that dbt would read as its own written as text.

    Examples
    --------
    >>> query = exp.select(exp.Literal.string("{{ x }}"))
    >>> escape(query).sql()
    'SELECT \\'{{ "{" }}{ x }}\\''
    """
    for node in query.find_all(exp.Literal, exp.Identifier):
        # The quotes that do not end the literal or the name.
        quote = '"' if isinstance(node, exp.Literal) else "'"
        node.set("this", OPENERS.sub(f"{{{{ {quote}{{{quote} }}}}", node.name))
    return query

"""Stages: a program as a chain of SELECTs, each adding columns to the one before it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlglot import exp

from selectron.combination import Combination
from selectron.repeated import Element
from selectron.sql import column

__all__ = ["Stage", "carry", "chained", "leveled", "read_by", "select"]

Expression = exp.Expr


@dataclass(frozen=True)
class Stage:
    """A SELECT that adds these columns to what it selects from."""

    columns: tuple[tuple[str, Expression], ...]


def select(
    columns: Iterable[tuple[str, Expression]], relation: exp.Identifier, beside: Iterable[str] = ()
) -> exp.Select:
    """A SELECT of named values, without the copies that sqlglot's builders make.

    `beside` are relations of one row that are joined.
    """
    expressions = [
        value
        if isinstance(value, exp.Column) and value.name == name
        else exp.Alias(this=value, alias=exp.to_identifier(name, quoted=True))
        for name, value in columns
    ]
    joins = [
        exp.Join(this=exp.Table(this=exp.to_identifier(name, quoted=True)), kind="CROSS")
        for name in sorted(beside)
    ]
    return exp.Select(expressions=expressions, from_=exp.From(this=exp.Table(this=relation)), joins=joins)


def read_by(expressions: Iterable[Expression]) -> set[str]:
    """The columns that some expressions read."""
    names = set[str]()
    for expression in expressions:
        for found in expression.find_all(exp.Column, Combination, Element):
            if isinstance(found, Element):
                names.update(found.args["names"].columns)
            else:
                names.update(found.args["columns"] if isinstance(found, Combination) else (found.name,))
    return names


def leveled(columns: Iterable[tuple[str, Expression]]) -> tuple[Stage, ...]:
    """Columns, in an order in which they can be computed, as stages: each in the first one that it can be in.

    >>> stages = leveled([("b", column("a")), ("c", column("b")), ("d", column("a"))])
    >>> [[name for name, _ in stage.columns] for stage in stages]
    [['b', 'd'], ['c']]
    """
    levels: dict[str, int] = {}
    stages: list[list[tuple[str, Expression]]] = []
    for name, expression in columns:
        levels[name] = level = 1 + max((levels.get(read, 0) for read in read_by([expression])), default=0)
        if level > len(stages):
            stages.append([])
        stages[level - 1].append((name, expression))
    return tuple(Stage(tuple(own)) for own in stages)


def carry(stage: Stage, needed: set[str]) -> tuple[list[tuple[str, Expression]], set[str]]:
    """What a stage selects if `needed` is read after it, and what it needs of the stage before.

    Only what is needed further down: planning time grows with every column of every stage.

    >>> stage = Stage((("b", column("a")), ("unread", column("z"))))
    >>> columns, before = carry(stage, {"b", "c"})
    >>> [name for name, _ in columns], sorted(before)
    (['c', 'b'], ['a', 'c'])
    """
    made = [(name, expression) for name, expression in stage.columns if name in needed]
    carried = needed - {name for name, _ in made}
    before = carried | read_by(expression for _, expression in made)
    return [*((name, column(name)) for name in sorted(carried)), *made], before


def chained(
    source: exp.Select, stages: Sequence[Stage], outputs: Mapping[str, Expression], prefix: str = ""
) -> tuple[list[tuple[str, exp.Select]], exp.Select]:
    """Outputs over a chain of stages over a query: named queries, and the last one.

    >>> named, last = chained(exp.select("a"), [Stage((("b", column("a")),))], {"c": column("b")})
    >>> [(name, query.sql("duckdb")) for name, query in named]
    [('stage_0', 'SELECT a'), ('stage_1', 'SELECT "a" AS "b" FROM "stage_0"')]
    >>> last.sql("duckdb")
    'SELECT "b" AS "c" FROM "stage_1"'
    """

    def name(level: int) -> exp.Identifier:
        return exp.to_identifier(f"{prefix}stage_{level}", quoted=True)

    result = select(outputs.items(), name(len(stages)))
    needed = read_by(outputs.values())
    queries = []
    for level in range(len(stages), 0, -1):
        columns, needed = carry(stages[level - 1], needed)
        queries.append((str(name(level).this), select(columns, name(level - 1))))
    queries.append((str(name(0).this), source))
    return queries[::-1], result

"""Targets in DuckDB: to numbers, and back to what they were."""

from __future__ import annotations

from typing import Any

import pytest
from sqlglot import exp

from selectron.engines.duckdb import DuckDB
from selectron.errors import TargetError
from selectron.features import ClassTarget, FeatureOptions, NumberTarget, Task, learn
from selectron.sql import column, number

THREE = "(i % 3)"


def learned(
    value: str, *, rows: int = 12, task: Task = Task.AUTO, engine: DuckDB | None = None, **options: Any
) -> ClassTarget | NumberTarget:
    """The target that an expression of i gives."""
    engine = engine or DuckDB()
    relation = engine.relation(f"SELECT i AS x, {value} AS y FROM range({rows}) AS r(i)")
    features = FeatureOptions(include=("x",), **options)
    return learn(engine, relation, engine.columns(relation), ["y"], features, task=task).target


@pytest.mark.parametrize(
    ("value", "classes"),
    [
        (f"{THREE} * 5", ("0", "5", "10")),
        ("i % 2 = 0", ("false", "true")),
        (f"chr(99 - {THREE}::INT)", ("a", "b", "c")),
        (f"DATE '2024-01-09' + {THREE}::INT", ("2024-01-09", "2024-01-10", "2024-01-11")),
        (f"{THREE}::DECIMAL(9,2) - 1", ("-1.00", "0.00", "1.00")),
        (f"{THREE}::DOUBLE * 0.1::DOUBLE", ("0.0", "0.1", "0.2")),
        (f"(['z', 'o''k', 'a'])[{THREE} + 1]::ENUM ('z', 'o''k', 'a')", ("z", "o'k", "a")),
        (f"TIMESTAMP '2024-01-01' + INTERVAL ({THREE}) HOUR", None),
        (f"('00000000-0000-0000-0000-00000000000' || {THREE})::UUID", None),
        (f"{THREE}::HUGEINT << 80", None),
    ],
)
def test_classes_come_in_natural_order_and_go_back_to_their_type(
    value: str, classes: tuple[str, ...] | None
) -> None:
    engine = DuckDB()
    target = learned(value, task=Task.CLASSIFICATION, engine=engine)
    assert isinstance(target, ClassTarget)
    if classes is not None:
        assert target.classes == classes
    (index,) = target.values()
    relation = engine.relation(f"SELECT {value} AS y FROM range(12) AS r(i)")
    label = target.label(column("index"))
    indexed = exp.select(column("y"), exp.alias_(index, "index", quoted=True)).from_(relation.source)
    query = exp.select(
        column("y"),
        label,
        column("index"),
        exp.EQ(
            this=exp.func("typeof", column("y"), dialect="duckdb"),
            expression=exp.func("typeof", label.copy(), dialect="duckdb"),
        ),
    ).from_(indexed.subquery("t"))
    rows = engine.rows(query)
    assert all(before == after and same for before, after, _, same in rows)
    order = dict(sorted((row[2], row[0]) for row in rows))
    assert list(order) == [float(place) for place in range(len(target.classes))]
    if classes is None:
        assert list(order.values()) == sorted(order.values())


def test_an_unknown_class_has_no_index_and_an_unknown_index_no_class() -> None:
    target = ClassTarget("y", ("a", "O'Brien"), (1, 1), "VARCHAR")
    rows = "(VALUES ('a'), ('O''Brien'), ('b'), (NULL)) AS t(y)"
    (index,) = target.values()
    engine = DuckDB()
    found = engine.connection.execute(f"SELECT {index.sql('duckdb')} FROM {rows}").fetchall()
    assert found == [(0.0,), (1.0,), (None,), (None,)]
    assert engine.rows(exp.select(target.label(number(7.0)))) == [(None,)]


@pytest.mark.parametrize(
    ("value", "rows", "kind"),
    [
        ("i % 10", 40, ClassTarget),
        ("i % 11", 44, NumberTarget),
        ("(i % 11)::UTINYINT", 44, NumberTarget),
        ("(i % 2)::DOUBLE", 40, NumberTarget),
        ("(i % 2)::DECIMAL(4,1)", 40, NumberTarget),
        ("i % 2 = 0", 40, ClassTarget),
        ("'k' || (i % 20)", 40, ClassTarget),
    ],
)
def test_the_task_follows_from_the_type(value: str, rows: int, kind: type) -> None:
    assert isinstance(learned(value, rows=rows), kind)


def test_a_named_task_wins() -> None:
    assert isinstance(learned("i % 3", task=Task.REGRESSION), NumberTarget)
    assert isinstance(learned("i::DOUBLE", task=Task.CLASSIFICATION), ClassTarget)


@pytest.mark.parametrize(
    ("scaling", "center", "scale"), [("standardize", 4.0, 2.0), ("minmax", 2.0, 4.0), ("none", 0.0, 1.0)]
)
def test_numbers_are_scaled_and_restored(scaling: str, center: float, scale: float) -> None:
    engine = DuckDB()
    target = learned("2.0 + 4.0 * (i % 2)", engine=engine, target_scaling=scaling)
    assert target == NumberTarget(("y",), (center,), (scale,))
    (value,) = target.values()
    (back,) = target.restored([exp.paren(value.copy())])
    rows = engine.connection.execute(
        f"SELECT y, {value.sql('duckdb')}, {back.sql('duckdb')} FROM (VALUES (2.0), (6.0)) AS t(y)"
    ).fetchall()
    for before, scaled, after in rows:
        assert scaled == (float(before) - center) / scale
        assert after == float(before)


def test_several_numbers_are_predicted_together() -> None:
    engine = DuckDB()
    relation = engine.relation(
        "SELECT i AS x, i % 2 AS a, 10.0 * i AS b, 'k' || i AS c FROM range(4) AS r(i)"
    )
    known = engine.columns(relation)
    options = FeatureOptions(include=("x",))
    target = learn(engine, relation, known, ["B", "a"], options).target
    assert target == NumberTarget(("b", "a"), (15.0, 0.5), (11.18034, 0.5))
    with pytest.raises(TargetError, match="'c' is of type VARCHAR, and regression needs numbers"):
        learn(engine, relation, known, ["a", "c"], options)
    with pytest.raises(TargetError, match="2 targets are named"):
        learn(engine, relation, known, ["a", "b"], options, task=Task.CLASSIFICATION)


@pytest.mark.parametrize(
    ("value", "task", "error", "message"),
    [
        ("'a'", Task.AUTO, TargetError, "'y' of the query is 'a' in all 12 rows"),
        ("CASE WHEN i > 3 THEN 'a' END", Task.AUTO, TargetError, "is 'a' in all 8 rows"),
        ("NULL::DOUBLE", Task.AUTO, TargetError, "'y' of the query is NULL in all 12 rows"),
        ("7.5", Task.REGRESSION, TargetError, "is 7.5 in all 12 rows"),
        ("'k' || i", Task.REGRESSION, TargetError, "'y' is of type VARCHAR"),
        ("DATE '2024-01-01' + i::INT", Task.REGRESSION, TargetError, "'y' is of type DATE"),
        (
            "CASE WHEN i < 2 THEN 'nan'::DOUBLE ELSE i END",
            Task.AUTO,
            TargetError,
            "has 2 values that are NaN",
        ),
        ("CASE WHEN i < 3 THEN 'inf'::DOUBLE ELSE i END", Task.AUTO, TargetError, "has 3 values that are"),
        ("CASE WHEN i < 1 THEN 1e308 ELSE i END", Task.AUTO, TargetError, "has 1 values .* beyond 1e\\+150"),
        ("[i]", Task.AUTO, TargetError, "'y' is of type BIGINT\\[\\], which cannot be predicted"),
    ],
)
def test_what_cannot_be_learned(value: str, task: Task, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        learned(value, task=task)


def test_booleans_as_numbers() -> None:
    assert learned("i % 2 = 0", task=Task.REGRESSION) == NumberTarget(("y",), (0.5,), (0.5,))


def test_too_many_classes() -> None:
    assert isinstance(learned("'k' || i", rows=1_000), ClassTarget)
    with pytest.raises(TargetError, match="'y' of the query has 1001 classes, more than 1000"):
        learned("'k' || i", rows=1_001)

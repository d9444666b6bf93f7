"""Encodings as rows and back, names of columns, and the fit of another table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlglot import exp

from selectron.engines.base import Column, ColumnKind
from selectron.engines.duckdb import DuckDB
from selectron.errors import ColumnError, EngineError
from selectron.features import (
    BooleanFeature,
    CategoryFeature,
    ClassTarget,
    EmbeddingFeature,
    Encoding,
    NumberFeature,
    NumberTarget,
    StatisticRow,
    TimeFeature,
    find_column,
    from_rows,
    to_rows,
)

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
BOOLEANS = st.booleans()
CATEGORIES = st.lists(NAMES | st.just(""), min_size=1, max_size=12, unique=True).map(tuple)
FEATURES = st.one_of(
    st.builds(NumberFeature, NAMES, NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS, BOOLEANS),
    st.builds(BooleanFeature, NAMES, BOOLEANS),
    st.builds(TimeFeature, NAMES, NUMBERS, NUMBERS, BOOLEANS, BOOLEANS),
    st.builds(CategoryFeature, NAMES, CATEGORIES, BOOLEANS),
    st.builds(EmbeddingFeature, NAMES, CATEGORIES, st.integers(1, 64)),
)


@st.composite
def targets(draw: st.DrawFn) -> ClassTarget | NumberTarget:
    labels = draw(CATEGORIES)
    if draw(BOOLEANS):
        counts = tuple(draw(st.integers(0, 2**40)) for _ in labels)
        return ClassTarget(draw(NAMES), labels, counts, draw(NAMES))
    return NumberTarget(labels, tuple(draw(NUMBERS) for _ in labels), tuple(draw(NUMBERS) for _ in labels))


ENCODINGS = st.builds(Encoding, st.lists(FEATURES, min_size=1, max_size=4).map(tuple), targets())


@given(ENCODINGS, st.randoms(use_true_random=False))
def test_rows_give_the_encoding_back_in_any_order(encoding: Encoding, random: object) -> None:
    rows = to_rows(encoding)
    random.shuffle(rows)  # type: ignore[attr-defined]
    assert from_rows(rows) == encoding


def test_rows_go_through_a_table_exactly() -> None:
    engine = DuckDB()
    encoding = Encoding(
        (
            NumberFeature('a"b', 0.1 + 0.2, 1e-300, -0.0, -1e150, 5e-324, True),
            CategoryFeature("größe", ("O'Brien", "", "Ω", "(other)", "x\ny"), False),
            EmbeddingFeature("select", tuple(f"k{i}" for i in range(12)), 3),
        ),
        ClassTarget("y", ("no", "yes"), (1, 2**40), "VARCHAR"),
    )
    connection = engine.connection
    connection.execute(
        "CREATE TABLE s (position INT, col TEXT, role TEXT, kind TEXT, statistic TEXT, "
        "item INT, text TEXT, value DOUBLE)"
    )
    connection.executemany(
        "INSERT INTO s VALUES (?, ?, ?, ?, ?, ?, ?, ?)", [list(r) for r in to_rows(encoding)]
    )
    assert from_rows(StatisticRow(*row) for row in connection.execute("FROM s").fetchall()) == encoding


def test_only_the_unseen_categories_units_are_untrained() -> None:
    encoding = Encoding(
        (
            NumberFeature("c = (other)", 0.0, 1.0, 0.0, 0.0, 1.0, True),
            CategoryFeature("c", ("(other)", "a"), True),
            EmbeddingFeature("e", ("(other)",), 2),
            CategoryFeature("d", ("b",), False),
        ),
        NumberTarget(("y",), (0.0,), (1.0,)),
    )
    assert encoding.units == (
        "c = (other)",
        "c = (other) is null",
        "c = (other)",
        "c = a",
        "c = (other)",
        "c is null",
        "d = b",
        "d = (other)",
    )
    assert encoding.untrained_units == (4, 7)


def columns(**kinds: ColumnKind) -> list[Column]:
    return [Column(name, kind, kind.value.upper()) for name, kind in kinds.items()]


@pytest.fixture
def mass() -> Encoding:
    return Encoding(
        (NumberFeature("mass", 0.0, 1.0, 0.0, 0.0, 1.0, False), BooleanFeature("alive", False)),
        ClassTarget("species", ("a", "b"), (1, 1), "VARCHAR"),
    )


def test_a_missing_column_is_named_with_a_near_one(mass: Encoding) -> None:
    with pytest.raises(ColumnError, match=r"table 't' lacks 1 .*'mass'. Is 'masse' meant\?"):
        mass.check(columns(masse=ColumnKind.NUMBER, alive=ColumnKind.BOOLEAN), "table 't'", target=False)


def test_a_column_of_another_kind_is_named(mass: Encoding) -> None:
    with pytest.raises(ColumnError, match=r"'mass' of table 't' is of type TEXT; the model needs .*number"):
        mass.check(columns(mass=ColumnKind.TEXT, alive=ColumnKind.BOOLEAN), "table 't'", target=False)


def test_the_target_is_needed_for_evaluation_alone(mass: Encoding) -> None:
    known = columns(MASS=ColumnKind.NUMBER, alive=ColumnKind.BOOLEAN)
    mass.check(known, "table 't'", target=False)
    with pytest.raises(ColumnError, match=r"lacks 1 .*'species'"):
        mass.check(known, "table 't'", target=True)


@pytest.mark.parametrize(
    ("held", "wanted"), [("größe", "grösse"), ("ä", "Ä"), ("ς", "Σ"), ("größe", "GRößE"), ("a", "A")]
)
def test_names_are_the_same_when_they_are_to_the_engine(held: str, wanted: str) -> None:
    found = find_column([Column(held, ColumnKind.NUMBER, "INTEGER")], wanted)
    engine = DuckDB()
    query = exp.select(exp.column(wanted, quoted=True)).from_(
        exp.select(exp.alias_(exp.Literal.number(1), held, quoted=True)).subquery("t")
    )
    try:
        known = engine.rows(query) == [(1,)]
    except EngineError:
        known = False
    assert (found is not None) == known


def test_an_exact_name_comes_first() -> None:
    known = columns(a=ColumnKind.NUMBER, A=ColumnKind.TEXT)
    assert find_column(known, "A") == known[1]
    assert find_column(known, "b") is None

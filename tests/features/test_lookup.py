"""Categories that are looked up in the store are those that a CASE would find, on every engine."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from sqlglot import exp

import selectron
from selectron.engines.base import ColumnKind, Engine, Lookup
from selectron.features.kinds import EmbeddingFeature
from selectron.features.lookup import ITEM, LEAST, TEXT, Directory
from selectron.sql import cast, column, integer, number, text

NAMES = ("duckdb", "sqlite", "postgres")
AWKWARD = (
    "",
    " ",
    "O'Brien",
    'a"b',
    "Straße",
    "STRASSE",
    "É",
    "e\u0301",
    "x" * 3_000,
    "null",
    "1",
    "1.0",
    "{}",
)
WORDS = (*AWKWARD, *(f"user {i}" for i in range(LEAST)))
WHOLE = ("0", "-7", "1.0", "9007199254740991", "1e3", *(str(i) for i in range(2, LEAST)))
FRACTIONS = ("0.1", "-2.5", "1e-300", "Infinity", "0", *(f"{i}.75" for i in range(LEAST)))


def stored(texts: tuple[str, ...]) -> Callable[[int], exp.Query]:
    """The query of a store that holds them."""
    rows = [exp.Tuple(expressions=[text(known), integer(item)]) for item, known in enumerate(texts)]
    alias = exp.TableAlias(
        this="kept", columns=[exp.to_identifier(name, quoted=True) for name in (TEXT, ITEM)]
    )
    return lambda position: exp.select(column(TEXT), column(ITEM)).from_(
        exp.Values(expressions=rows, alias=alias)
    )


def found(engine: Engine, feature: EmbeddingFeature, values: Sequence[exp.Expr]) -> list[tuple[float, float]]:
    """The index of each value, by a CASE and looked up."""
    rows = [
        exp.select(
            exp.alias_(integer(place), "place", quoted=True), exp.alias_(value, feature.column, quoted=True)
        )
        for place, value in enumerate(values)
    ]
    engine.create_temporary("looked", exp.union(*rows, distinct=False))
    place = Directory(engine.abilities.lookup, stored(feature.categories)).place(0, feature)
    assert place is not None
    indices = exp.select(feature.index(), feature.index(place)).from_(engine.temporary("looked"))
    return [(a, b) for a, b in engine.rows(indices.order_by(column("place")))]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("called", ["u", "text", "item", "model_id"])
def test_texts_are_found_as_they_are(name: str, called: str, engines: Callable[[str], Engine]) -> None:
    feature = EmbeddingFeature(called, WORDS, 2, ColumnKind.TEXT)
    values = [*WORDS, "USER 1", "user 1 ", "unseen", "strasse", "e"]
    indices = found(engines(name), feature, [*map(text, values), cast(exp.Null(), "text")])
    assert [a for a, _ in indices] == [b for _, b in indices]
    assert [b for _, b in indices[: len(WORDS)]] == list(range(len(WORDS)))
    assert {b for _, b in indices[len(WORDS) :]} == {len(WORDS)}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("known", [WHOLE, FRACTIONS], ids=["whole", "fractions"])
def test_numbers_are_found_as_numbers(
    name: str, known: tuple[str, ...], engines: Callable[[str], Engine]
) -> None:
    feature = EmbeddingFeature("n", known, 2, ColumnKind.NUMBER)
    seen = [float(value) for value in known if math.isfinite(float(value))]
    others = [-0.0, 1.5, 1e18, 0.1 + 1e-17, -1e-300]
    values = [cast(number(value), "double") for value in (*seen, *others)]
    indices = found(engines(name), feature, [*values, cast(exp.Null(), "double")])
    assert [a for a, _ in indices] == [b for _, b in indices]
    assert [b for _, b in indices[: len(seen)]] == [
        float(known.index(value)) for value in known if "f" not in value
    ]
    assert indices[len(seen)][1] == known.index("0")
    assert indices[-1][1] == len(known)


@pytest.mark.parametrize("name", ["duckdb", "postgres"])
def test_what_is_no_number_is_none_of_them(name: str, engines: Callable[[str], Engine]) -> None:
    feature = EmbeddingFeature("n", FRACTIONS, 2, ColumnKind.NUMBER)
    values = [cast(text(value), "double") for value in ("NaN", "Infinity", "-Infinity")]
    last = float(len(FRACTIONS))
    place = float(FRACTIONS.index("Infinity"))
    assert found(engines(name), feature, values) == [(last, last), (place, place), (last, last)]


@pytest.mark.parametrize(("name", "type_"), [("duckdb", "VARCHAR"), ("sqlite", "TEXT")])
def test_a_column_keeps_its_collation(name: str, type_: str, engines: Callable[[str], Engine]) -> None:
    engine = engines(name)
    engine.execute(f"CREATE TABLE t (u {type_} COLLATE NOCASE)")  # type: ignore[attr-defined]
    engine.execute("INSERT INTO t VALUES ('USER 3'), ('User 4'), ('other')")  # type: ignore[attr-defined]
    feature = EmbeddingFeature("u", WORDS, 2, ColumnKind.TEXT)
    place = Directory(engine.abilities.lookup, stored(WORDS)).place(0, feature)
    rows = engine.rows(exp.select(feature.index(), feature.index(place)).from_("t"))
    expected = {float(WORDS.index("user 3")), float(WORDS.index("user 4")), float(len(WORDS))}
    assert {a for a, _ in rows} == {b for _, b in rows} == expected


def test_few_categories_and_engines_without_a_way_write_them_down() -> None:
    few = EmbeddingFeature("u", WORDS[: LEAST - 1], 2, ColumnKind.TEXT)
    many = EmbeddingFeature("u", WORDS, 2, ColumnKind.TEXT)
    assert Directory(Lookup.BUCKETS, stored(WORDS)).place(0, few) is None
    assert Directory(Lookup.WRITTEN, stored(WORDS)).place(0, many) is None


ROWS = 600


def users(engine: Engine) -> None:
    """A table of rows of 100 users, whose names are texts and numbers."""
    parts = [
        exp.select(
            exp.alias_(integer(i), "id", quoted=True),
            exp.alias_(text(f"user {i * 7 % 100}"), "name", quoted=True),
            exp.alias_(integer(1_000 + i * 11 % 100), "number", quoted=True),
            exp.alias_(number(i * 31 % 97 / 97), "x", quoted=True),
            exp.alias_(number(i * 7 % 100 % 9 + i * 31 % 97 / 97), "y", quoted=True),
        )
        for i in range(ROWS)
    ]
    for start in range(0, ROWS, 200):
        rows = exp.union(*parts[start : start + 200], distinct=False)
        if start:
            engine.run(exp.Insert(this=exp.table_("t", quoted=True), expression=rows))
        else:
            engine.create_table("t", rows)


def trained(engine: Engine, **options: object) -> selectron.Model:
    users(engine)
    settings = {"epochs": 2, "batch_size": 128, "validation": 0.1, "name": "m", **options}
    features = selectron.FeatureOptions(exclude=("id",), embed={"name": 3, "number": 1})
    return selectron.Database(engine).train(
        "t",
        "y",
        network=selectron.MLP([4]),
        features=features,
        **settings,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("name", "layout"),
    [*((name, layout) for name in NAMES for layout in (None, "relations")), ("postgres", "columns")],
)
def test_engines_and_layouts_train_alike(
    name: str, layout: str | None, engines: Callable[[str], Engine]
) -> None:
    options = {} if layout is None else {"layout": layout, "strategy": "stepwise"}
    expected = trained(engines("duckdb"), epochs=1).parameters
    engine = engines(name)
    model = trained(engine, epochs=1, **options)
    for key, value in model.parameters.items():
        np.testing.assert_allclose(value, expected[key], rtol=1e-9, atol=1e-12, err_msg=key)
    assert expected["embedding: name.vectors"].shape == (101, 3)
    assert model.verify("t").failures == 0


@pytest.mark.parametrize("name", NAMES)
def test_a_view_follows_and_rows_keep_their_order(name: str, engines: Callable[[str], Engine]) -> None:
    engine = engines(name)
    model = trained(engine)
    predictions = model.predict("t")
    assert [row[0] for row in predictions.rows()] == list(range(ROWS))
    assert "'user 42'" not in predictions.sql
    predictions.to_view("v")
    view = exp.select(column("predicted_y")).from_("v").order_by(column("id"))
    before = [value for (value,) in engine.rows(view)]
    assert before == pytest.approx([row[-1] for row in predictions.rows()], rel=1e-12)
    again = model.train(3)
    after = [value for (value,) in engine.rows(view)]
    assert after == pytest.approx([row[-1] for row in again.predict("t").rows()], rel=1e-12)
    assert max(abs(a - b) for a, b in zip(after, before, strict=True)) > 1e-6
    assert model.evaluate().rows == ROWS // 10
    assert len(model.attributions("t", steps=2).rows()) > 0


def test_a_step_sums_by_entry(engines: Callable[[str], Engine]) -> None:
    model = trained(engines("duckdb"), epochs=1)
    assert "index: name by entry" in model.sql("step")


@pytest.mark.parametrize("name", NAMES)
def test_unseen_and_missing_categories_have_the_last_vector(
    name: str, engines: Callable[[str], Engine]
) -> None:
    model = trained(engines(name))
    query = (
        "SELECT {} AS name, 1000 AS number, 0.5 AS x UNION ALL SELECT 'nobody', 1000, 0.5 "
        "UNION ALL SELECT 'user 3', 1000.0, 0.5 UNION ALL SELECT 'user 3', 1000, 0.5"
    )
    missing, unseen, known, again = (
        row[-1] for row in model.predict(query.format("CAST(NULL AS VARCHAR(9))")).rows()
    )
    assert missing == unseen != known == again

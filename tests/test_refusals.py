"""What can be wrong with the user's table, options and files: a message with names and counts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from sqlglot import exp

import selectron
from selectron import (
    MLP,
    BinaryCrossEntropy,
    ColumnError,
    ConfigurationError,
    CrossEntropy,
    DataError,
    EngineError,
    FeatureOptions,
    SelectronError,
    StoreError,
    TargetError,
)
from selectron.engines.duckdb import DuckDB
from support import connection

TABLE = """
CREATE TABLE t AS SELECT i AS id, i * 1.5 AS x, 'k' || (i % 3) AS "select", i % 2 = 0 AS y, (i % 4)::INT AS z,
  CASE WHEN i % 5 <> 0 THEN i END AS holes, 7 AS same, NULL::INT AS nothing, 'name' || i AS text,
  DATE '2024-01-01' + i::INT AS day, TIMESTAMP '2024-01-01 10:00' + INTERVAL (i) HOUR AS moment,
  CASE WHEN i = 3 THEN 'inf'::DOUBLE ELSE i END AS infinite, (i - 1)::DOUBLE AS negative
FROM range(200) AS r(i)
"""
GOOD = ("id", "x", "select", "z", "day", "moment")


@pytest.fixture
def bad(db: selectron.Database) -> Iterator[selectron.Database]:
    """A database with a table of many kinds of columns, which must stay as it is."""
    own = connection(db)
    own.execute(TABLE)
    before = own.execute("FROM t").fetchall()
    yield db
    assert own.execute("FROM t").fetchall() == before


def train(db: selectron.Database, source: object = "t", target: str = "y", **options: Any) -> selectron.Model:
    settings: dict[str, Any] = {"network": MLP([2]), "epochs": 1, "features": FeatureOptions(include=GOOD)}
    return db.train(source, target, **{**settings, **options})


REFUSED: list[tuple[dict[str, Any], type[SelectronError], str]] = [
    ({"target": "nope"}, ColumnError, "no column 'nope'"),
    ({"source": "nope"}, DataError, "'nope'.*It has: 't'"),
    ({"source": "nope.csv"}, DataError, "no file 'nope.csv'"),
    ({"source": "SELECT * FROM t WHERE false"}, DataError, "is empty"),
    ({"source": "SELECT x, x, y FROM t"}, ColumnError, "two columns named 'x'"),
    ({"source": "SELECT nope FROM t"}, DataError, "cannot be read"),
    ({"source": "SELECT FROM FROM"}, DataError, "cannot be read"),
    ({"source": object()}, DataError, "is not a table"),
    ({"target": "same", "task": "classification"}, TargetError, "'same'.* is '7' in all 200 rows"),
    ({"target": "same", "task": "regression"}, TargetError, "'same'.* is 7 in all"),
    ({"target": "nothing"}, DataError, "200 rows, and none where 'nothing' is known"),
    (
        {"target": "select", "task": "regression", "features": None},
        TargetError,
        "'select' is of type VARCHAR",
    ),
    ({"target": "infinite", "task": "regression"}, TargetError, "'infinite'.* has 1 values"),
    ({"target": "x"}, TargetError, "'x' is the target and a feature"),
    ({"features": None}, ColumnError, "'text'.* 160 categories, more than 100"),
    ({"features": FeatureOptions(include=("infinite",))}, ColumnError, "'infinite'.* 1 values"),
    ({"features": FeatureOptions(include=("holes",), nulls="refuse")}, ColumnError, "'holes'.* NULLs in 160"),
    (
        {"features": FeatureOptions(include=("same", "nothing"))},
        DataError,
        "no column left.*'same'.*'nothing'",
    ),
    ({"features": FeatureOptions(include=("a",))}, ColumnError, "no column 'a'"),
    ({"features": FeatureOptions(exclude=("a",))}, ColumnError, "no column 'a'"),
    ({"row_weight": "holes"}, ColumnError, "'holes'.* 40 values that are NULL"),
    ({"row_weight": "negative"}, ColumnError, "'negative'.* 1 values that are NULL, negative"),
    ({"row_weight": "y"}, ColumnError, "'y' is the target and has another role"),
    (
        {"row_weight": "day", "features": FeatureOptions(include=("x",))},
        ColumnError,
        "Weight 'day' of table 't' is of type DATE, and a weight is",
    ),
    ({"row_weight": "X"}, ColumnError, "'x' is a feature and has another role"),
    ({"validation": "z"}, ColumnError, "'z' has 100 numbers that are neither 0 nor 1"),
    ({"validation": "select"}, ColumnError, "'select' is of type VARCHAR"),
    ({"validation": "SELECT x, y FROM t"}, ColumnError, "no column 'id'"),
    (
        {"validation": "SELECT * REPLACE ('a' AS x) FROM t"},
        ColumnError,
        r"'x' is of type DECIMAL\(.*\) in table 't', and of type VARCHAR in the query. Cast it",
    ),
    (
        {"validation": "SELECT * REPLACE (moment AS day) FROM t"},
        ColumnError,
        "'day' is of type DATE.* TIMESTAMP",
    ),
    ({"validation": "SELECT * REPLACE ('a' AS y) FROM t"}, ColumnError, "'y' is of type BOOLEAN .* VARCHAR"),
    (
        {"validation": "SELECT * FROM t WHERE false"},
        DataError,
        "the query has no row to hold out where 'y' is",
    ),
    ({"validation": "SELECT * REPLACE (NULL::BOOL AS y) FROM t"}, DataError, "no row to hold out where 'y'"),
    ({"validation": 1.5}, ConfigurationError, "validation is 1.5"),
    ({"class_weight": {"maybe": 1.0}}, ConfigurationError, "'maybe'.*false, true"),
    ({"target": "negative", "class_weight": "balanced"}, ConfigurationError, "class_weight needs"),
    ({"target": "negative", "loss": CrossEntropy()}, ConfigurationError, "CrossEntropy does not fit"),
    (
        {"target": "z", "loss": BinaryCrossEntropy(), "features": FeatureOptions(include=("x",))},
        ConfigurationError,
        "two classes, and there are 4",
    ),
    ({"task": "clustering"}, ConfigurationError, "task is 'clustering'"),
    ({"name": " "}, StoreError, "needs a name"),
    ({"warm_start": "nope"}, StoreError, "no model 'nope'"),
]


@pytest.mark.parametrize(("options", "error", "message"), REFUSED)
def test_refused_before_anything_is_written(
    bad: selectron.Database, options: dict[str, Any], error: type[SelectronError], message: str
) -> None:
    with pytest.raises(error, match=f"(?s){message}"):
        train(bad, **options)
    tables = connection(bad).execute("SELECT table_name FROM information_schema.tables").fetchall()
    assert tables == [("t",)]


def test_columns_that_cannot_help_are_left_out_with_a_note(bad: selectron.Database) -> None:
    query = "SELECT y, x, same, nothing, [x] AS list FROM t"
    notes = " ".join(train(bad, query, features=None).notes)
    for name in ("same", "nothing", "list"):
        assert f"'{name}' is left out" in notes


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT x, id FROM t", "lacks 4 of the model's columns: 'select', 'z', 'day', 'moment'"),
        ("SELECT * EXCLUDE x, x AS xx FROM t", "lacks 1 .*'x'"),
        (
            "SELECT * REPLACE ('a' AS x) FROM t",
            "'x' .* is of type VARCHAR; the model needs",
        ),
        ("SELECT *, 1 AS predicted_y FROM t", "already has a column 'predicted_y'"),
    ],
)
def test_a_table_that_does_not_fit_the_model(bad: selectron.Database, query: str, message: str) -> None:
    with pytest.raises(ColumnError, match=message):
        train(bad).predict(query)


def test_strange_values_at_prediction_have_a_decided_meaning(bad: selectron.Database) -> None:
    model = train(bad)
    rows = {
        name: model.predict(f"SELECT * REPLACE ({value}) FROM t WHERE id = 10").rows()[0][-3:]
        for name, value in {
            "null": "NULL::DOUBLE AS x",
            "nan": "'nan'::DOUBLE AS x",
            "infinite": "'inf'::DOUBLE AS x",
            "greatest": "(SELECT max(x) FROM t) AS x",
            "unseen": "'new' AS \"select\"",
            "nothing": 'NULL::TEXT AS "select"',
            "no day": "NULL::DATE AS day, NULL::TIMESTAMP AS moment",
        }.items()
    }
    assert all(row[1] is not None and 0.0 < row[1] < 1.0 for row in rows.values())
    assert rows["null"] == rows["nan"]
    assert rows["unseen"] == rows["nothing"]
    # The greatest of the training rows; held-out rows may go beyond it.
    assert rows["infinite"][1] == pytest.approx(rows["greatest"][1], abs=0.05)


def test_refused_nulls_are_refused_at_prediction_too(bad: selectron.Database) -> None:
    model = train(bad, features=FeatureOptions(include=("x", "z"), nulls="refuse"))
    with pytest.raises(ColumnError, match=r"'x' .* has 200 NULLs"):
        model.predict("SELECT * REPLACE (NULL::DOUBLE AS x) FROM t")


def test_unknown_classes_and_empty_tables_at_evaluation(bad: selectron.Database) -> None:
    model = train(bad, target="z", features=FeatureOptions(include=("x",)))
    with pytest.raises(DataError, match=r"'z' .* does not know: '9' \(200 rows\)"):
        model.evaluate("SELECT * REPLACE (9 AS z) FROM t")
    with pytest.raises(DataError, match="no row to evaluate"):
        model.evaluate("SELECT * FROM t WHERE false")
    assert model.predict("SELECT * FROM t WHERE false").rows() == []


@pytest.mark.parametrize(
    ("expression", "type_"),
    [("y", "BOOLEAN"), ("day > DATE '2024-01-15'", "BOOLEAN"), ("z::TINYINT", "TINYINT"), ("day", "DATE")],
)
def test_classes_keep_their_type(bad: selectron.Database, expression: str, type_: str) -> None:
    query = f"SELECT x, {expression} AS class FROM t WHERE id < 40"
    model = train(bad, query, target="class", features=None, task="classification")
    model.predict(query).to_table("scored")
    found = connection(bad).execute("SELECT typeof(predicted_class) FROM scored").fetchone()
    assert found == (type_,)


def test_any_identifier_and_value_will_do(bad: selectron.Database) -> None:
    own = connection(bad)
    own.execute(
        'CREATE TABLE "grö""ße table" AS SELECT x AS "a""b", "select" AS "größe", y AS "from", '
        "'O''Brien \"q\"' || z AS \"ta'rget\" FROM t"
    )
    name = 'mo\'del "x" ü; DROP TABLE t'
    model = train(bad, 'grö"ße table', target="ta'rget", name=name, features=None)
    assert bad.model(name).evaluate().rows == 40
    model.predict('grö"ße table').to_view('sco"red')
    assert own.execute('SELECT count(*) FROM "sco""red"').fetchone() == (200,)
    for kind in ("predict", "train", "evaluate", "step"):
        assert own.execute(model.sql(kind)).fetchall()
    assert model.predict('grö"ße table').columns[-4:] == [f'probability_O\'Brien "q"{n}' for n in range(4)]
    bad.drop(name)


def test_an_existing_table_is_not_replaced_unless_asked(bad: selectron.Database) -> None:
    predictions = train(bad).predict("t")
    with pytest.raises(DataError, match="'t' already"):
        predictions.to_table("t")
    with pytest.raises(DataError, match="'t' already"):
        predictions.to_view("t")
    predictions.to_table("scored")
    predictions.to_table("scored", replace=True)
    with pytest.raises(ConfigurationError, match="no file that can be written"):
        predictions.to_file("scored.xls")


def test_rows_without_a_target_are_left_out(bad: selectron.Database) -> None:
    model = train(bad, target="holes", task="regression")
    assert model.record.training_rows + model.record.validation_rows == 160
    assert model.notes == ("40 of 200 rows of table 't' are left out: NULL in 'holes'.",)
    assert train(bad).notes == ()


def test_held_out_rows_of_another_type_of_the_same_kind(bad: selectron.Database) -> None:
    features = FeatureOptions(include=("x", "z"))
    query = "SELECT * REPLACE (x::FLOAT AS x, z::HUGEINT AS z) FROM t"
    assert train(bad, features=features, validation=query).record.validation_rows == 200


def test_doubled_columns_of_a_frame(bad: selectron.Database) -> None:
    pandas = pytest.importorskip("pandas")
    with pytest.raises(ColumnError, match="two columns named 'a'"):
        train(bad, pandas.DataFrame([[1, 2, 3]], columns=["a", "a", "y"]))


def test_a_read_only_database_is_used_but_not_trained_in(tmp_path: Path) -> None:
    path = tmp_path / "kept.duckdb"
    with selectron.connect(path) as db:
        connection(db).execute(TABLE)
        train(db)
    with selectron.connect(path, read_only=True) as db:
        assert db.model("y").evaluate().rows == 40
        with pytest.raises(StoreError, match="read-only"):
            train(db)
        with pytest.raises(EngineError, match="read-only"):
            db.model("y").predict("t").to_table("scored")


def test_a_locked_database_and_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "locked.duckdb"
    holder = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        with pytest.raises(EngineError, match="locked by another process"):
            selectron.connect(path)
        process.communicate("\n")
    text = tmp_path / "text.duckdb"
    text.write_text("hello, this is no database at all" * 100)
    with pytest.raises(EngineError, match="not a DuckDB database"):
        selectron.connect(text)
    with pytest.raises(EngineError, match="cannot be opened"):
        selectron.connect(tmp_path / "no folder" / "x.duckdb")
    with pytest.raises(EngineError, match="cannot be opened"):
        selectron.connect(tmp_path / "missing.duckdb", read_only=True)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: selectron.MLP(5), "hidden is 5"),  # type: ignore[arg-type]
        (lambda: selectron.MLP(["a"]), "hidden is"),  # type: ignore[list-item]
        (lambda: selectron.MLP([2], dropout="x"), "dropout is x"),  # type: ignore[arg-type]
        (lambda: selectron.MLP([2], activation=3), "no activation 3"),  # type: ignore[arg-type]
        (lambda: selectron.MLP([2], output_activation="sine"), "no activation 'sine'"),
    ],
)
def test_networks_that_make_no_sense(make: Callable[[], object], message: str) -> None:
    with pytest.raises(selectron.ConfigurationError, match=message):
        make()


def test_names_of_our_own_tables_and_columns_are_refused(db: selectron.Database) -> None:
    source = "SELECT x, x > 4 AS large FROM range(10) AS t(x)"
    model = db.train(source, "large", epochs=1)
    for name in ("selectron_models", "Selectron_Parameters"):
        with pytest.raises(selectron.DataError, match="begins as the tables of models do"):
            model.predict(source).to_table(name, replace=True)
    model.predict(source).to_table("Scored")
    with pytest.raises(selectron.DataError, match="already"):
        model.predict(source).to_table("scored")
    with pytest.raises(selectron.ColumnError, match=r"'selectron_rank'.*begins with"):
        db.train("SELECT x AS selectron_rank, x > 4 AS large FROM range(10) AS t(x)", "large")


def test_an_output_activation_is_for_numbers(db: selectron.Database) -> None:
    source = "SELECT x, x > 4 AS large FROM range(10) AS t(x)"
    with pytest.raises(selectron.ConfigurationError, match="classes are predicted from logits"):
        db.train(source, "large", network=selectron.MLP([2], output_activation="tanh"))
    assert db.models() == []


def test_a_table_and_a_view_do_not_replace_each_other(bad: selectron.Database) -> None:
    predictions = train(bad).predict("t")
    predictions.to_table("a table")
    predictions.to_view("a view")
    with pytest.raises(DataError, match=r"'A Table' is a table, and a view .* Drop the table first"):
        predictions.to_view("A Table", replace=True)
    with pytest.raises(DataError, match=r"'a view' is a view, and a table .* Drop the view first"):
        predictions.to_table("a view", replace=True)
    for name in ("a table", "a view"):
        assert connection(bad).execute(f'SELECT count(*) FROM "{name}"').fetchone() == (200,)
    predictions.to_table("a table", replace=True)
    predictions.to_view("a view", replace=True)


def test_names_are_the_same_in_ascii_letters_only(bad: selectron.Database) -> None:
    own = connection(bad)
    own.execute('CREATE TABLE "größe" AS SELECT 1 AS a')
    assert bad.engine.has_table("GRößE")
    assert not bad.engine.has_table("GRÖßE")
    # Two columns to DuckDB, since it folds no letter but those of ASCII.
    query = 'SELECT x, x + 1 AS "Ä", x + 2 AS "ä", x + 3 AS "PREDICTED_ß", y AS "ß" FROM t'
    with pytest.raises(ColumnError, match="'predicted_ß', which prediction adds"):
        train(bad, query, target="ß", features=FeatureOptions(include=("Ä", "ä"))).predict(query)


def test_text_that_no_database_takes(bad: selectron.Database) -> None:
    model = train(bad)
    before = bad.models()
    with pytest.raises(StoreError, match=r"Model name '\\ud800' is no valid Unicode text"):
        train(bad, name="\ud800")
    with pytest.raises(StoreError, match="There is no model"):
        bad.model("\ud800")
    predictions = model.predict("t")
    for act in (predictions.to_table, predictions.to_view, predictions.to_file):
        with pytest.raises(EngineError, match=r"no valid Unicode text|cannot encode"):
            act("\ud800.csv")
    assert bad.models() == before


def test_what_fails_while_rows_are_fetched_is_ours(bad: selectron.Database, tmp_path: Path) -> None:
    # The cast of the last row fails, in a table that is longer than what is fetched at once.
    query = "SELECT i AS id, CASE WHEN i = 399999 THEN 'x' ELSE '1' END::INT AS x FROM range(400000) AS r(i)"
    model = train(bad, features=FeatureOptions(include=("x",)))
    predictions = model.predict(query)
    for act in (predictions.rows, predictions.df, predictions.pl, predictions.arrow):
        with pytest.raises(EngineError, match="DuckDB refused: Conversion Error"):
            act()
    with pytest.raises(EngineError, match="DuckDB refused"):
        predictions.to_file(tmp_path / "x.csv")


def test_an_interrupt_while_rows_are_fetched(bad: selectron.Database) -> None:
    class Stopped:
        description = None

        def fetchall(self) -> None:
            raise duckdb.InterruptException("INTERRUPT Error: Interrupted!")

    engine = bad.engine
    assert isinstance(engine, DuckDB)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "execute", lambda *_: Stopped())
        with pytest.raises(KeyboardInterrupt):
            engine.rows(exp.select("1"))

"""Every kind of bad input has a decided behaviour, and its message names the column and the count.

A training that is refused leaves none of Selectron's tables behind, and the user's tables stay as they
were whatever is done.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import selectron
from selectron.errors import (
    ColumnError,
    ConfigurationError,
    DataError,
    EngineError,
    SelectronError,
    StoreError,
    TargetError,
)
from selectron.features.options import FeatureOptions
from support import connection

# 40 rows: numbers, a category, a class, and columns that have something wrong with them.
TABLE = """
    CREATE TABLE t AS SELECT
        i AS id, i * 0.5::DOUBLE AS x, (i * 7 % 11)::DOUBLE AS z,
        ['a', 'b', 'c'][i % 3 + 1] AS word, ['no', 'yes'][i % 2 + 1] AS y,
        i % 2 = 0 AS flag, i % 3 AS digit, DATE '2024-01-01' + (i % 4)::INTEGER AS day,
        TIMESTAMP '2024-01-01 06:00:00' + INTERVAL 1 HOUR * i AS moment,
        'row ' || i AS code, 'only' AS same, 7 AS seven, NULL::DOUBLE AS nothing,
        CASE WHEN i >= 5 THEN i::DOUBLE END AS holes, CASE WHEN i >= 5 THEN y END AS known,
        CASE WHEN i < 3 THEN 'inf'::DOUBLE ELSE i END AS infinite,
        CASE WHEN i < 4 THEN 'nan'::DOUBLE ELSE i END AS nan,
        CASE WHEN i < 6 THEN -1.0 ELSE 1.0 END AS negative, 0.0 AS zero, 1.0 + i % 2 AS weight
    FROM range(40) AS r(i)
"""

X = FeatureOptions(include=("x",))


@pytest.fixture
def bad(db: selectron.Database) -> selectron.Database:
    """A database with the table above."""
    connection(db).execute(TABLE)
    return db


def train(db: selectron.Database, target: str = "y", source: object = "t", **options: Any) -> selectron.Model:
    """A tiny network, on column x unless other features are named."""
    settings: dict[str, Any] = {"network": selectron.MLP([2]), "epochs": 2, "features": X, **options}
    if settings["features"] is X and "validation" not in settings:
        settings["validation"] = 0
    return db.train(source, target, **settings)


def including(*names: str, **options: Any) -> FeatureOptions:
    return FeatureOptions(include=names, **options)


def own_tables(db: selectron.Database) -> list[str]:
    """Selectron's tables in the database."""
    query = "SELECT table_name FROM information_schema.tables WHERE table_name LIKE 'selectron%'"
    return [row[0] for row in rows(db, query)]


def rows(db: selectron.Database, query: str) -> list[tuple[Any, ...]]:
    return connection(db).execute(query).fetchall()


def snapshot(db: selectron.Database) -> str:
    """The user's table as text, since NaN is not equal to itself."""
    return repr((rows(db, "DESCRIBE t"), rows(db, "FROM t")))


def refused(
    db: selectron.Database,
    error: type[SelectronError],
    message: str,
    target: str = "y",
    source: object = "t",
    **options: Any,
) -> None:
    """Training is refused with this message, and nothing is left behind."""
    with pytest.raises(error, match=message):
        train(db, target, source, **options)
    assert own_tables(db) == []


# Columns -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "yy"}, "table 't' has no column 'yy'. It has id, x"),
        ({"features": including("x", "xx")}, "table 't' has no column 'xx'"),
        ({"features": FeatureOptions(exclude=("xx",))}, "table 't' has no column 'xx'"),
        ({"row_weight": "ww"}, "table 't' has no column 'ww'"),
        ({"features": including("x", "X")}, "Column 'X' is named twice"),
        ({"source": 'SELECT x, y, x + 1 AS "X" FROM t'}, "the query has two columns named 'X'"),
    ],
)
def test_missing_and_duplicate_columns(
    bad: selectron.Database, options: dict[str, Any], message: str
) -> None:
    refused(bad, ColumnError, message, **options)


def test_a_table_that_does_not_exist_or_is_no_table(bad: selectron.Database) -> None:
    refused(bad, DataError, "no table, view or file named 'tt'.*It has: 't'", source="tt")
    refused(bad, DataError, "There is no file 'gone.csv'", source="gone.csv")
    refused(bad, DataError, "the query cannot be read", source="SELECT gone FROM t")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT * FROM t WHERE false", "the query is empty"),
        ("SELECT x, NULL::TEXT AS y FROM t", "the query has 40 rows, and none where 'y' is known"),
    ],
)
def test_no_rows(bad: selectron.Database, query: str, message: str) -> None:
    refused(bad, DataError, message, source=query)


def test_an_empty_table(bad: selectron.Database) -> None:
    connection(bad).execute("CREATE TABLE empty AS FROM t LIMIT 0")
    refused(bad, DataError, "table 'empty' is empty", source="empty")


def test_all_null_and_constant_columns_are_left_out_with_a_note(bad: selectron.Database) -> None:
    model = train(bad, features=including("x", "nothing", "same", "seven"))
    assert model.notes == (
        "Column 'nothing' is left out: all its values are NULL.",
        "Column 'same' is left out: it is 'only' in every row.",
        "Column 'seven' is left out: it is 7 in every row.",
    )
    assert model.predict("SELECT x FROM t").columns[0] == "x"


def test_nothing_left_to_learn_from(bad: selectron.Database) -> None:
    message = "table 't' has no column left to learn from. Column 'nothing' is left out.*'seven' is left out"
    refused(bad, DataError, message, features=including("nothing", "seven"))


def test_an_id_like_text_column(bad: selectron.Database) -> None:
    message = "Column 'code' of table 't' has 40 categories, more than 39"
    features = including("x", "code", max_categories=39)
    refused(bad, ColumnError, message, features=features, validation=0)
    train(bad, features=including("x", "code", max_categories=40), validation=0)


# The target ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "task", "message"),
    [
        ("same", "auto", "'same' of table 't' is 'only' in all 40 rows"),
        ("seven", "classification", "'seven' of table 't' is '7' in all 40 rows"),
        ("seven", "regression", "'seven' of table 't' is 7 in all 40 rows"),
        ("word", "regression", "'word' is of type VARCHAR, and regression needs numbers"),
        ("infinite", "regression", "'infinite' of table 't' has 3 values that are NaN, infinite"),
        ("nan", "regression", "'nan' of table 't' has 4 values that are NaN, infinite"),
    ],
)
def test_a_target_that_cannot_be_learned(
    bad: selectron.Database, target: str, task: str, message: str
) -> None:
    refused(bad, TargetError, message, target=target, task=task)


def test_a_target_that_is_also_something_else(bad: selectron.Database) -> None:
    refused(bad, TargetError, "Column 'x' is the target and a feature at once", target="x")
    refused(bad, ColumnError, "Column 'weight' is the target", target="weight", row_weight="weight")
    refused(bad, ColumnError, "Column 'flag' is the target", target="flag", validation="flag")


def test_a_target_of_nulls_only(bad: selectron.Database) -> None:
    refused(bad, DataError, "table 't' has 40 rows, and none where 'nothing' is known", target="nothing")


def test_rows_without_a_target_are_left_out(bad: selectron.Database) -> None:
    model = train(bad, "known")
    assert model.classes == ("no", "yes")
    assert model.record.training_rows == 35
    assert model.evaluate("t").rows == 35
    assert len(model.predict("t").rows()) == 40
    assert train(bad, "holes", task="regression").record.training_rows == 35


# Numbers and weights -------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "count"), [("infinite", 3), ("nan", 4)])
def test_infinities_and_nan_in_training(bad: selectron.Database, name: str, count: int) -> None:
    message = f"Column '{name}' of table 't' has {count} values that are NaN, infinite"
    refused(bad, ColumnError, message, features=including("x", name), validation=0)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ("holes", "Weight 'holes' of table 't' has 5 values that are NULL, negative or not finite"),
        ("negative", "Weight 'negative' of table 't' has 6 values that are NULL, negative"),
        ("infinite", "Weight 'infinite' of table 't' has 3 values that are NULL, negative or not finite"),
        ("nan", "Weight 'nan' of table 't' has 4 values"),
        ("zero", "Weight 'zero' of table 't' is 0 in every row"),
    ],
)
def test_weights_that_are_none(bad: selectron.Database, weight: str, message: str) -> None:
    refused(bad, ColumnError, message, row_weight=weight)


def test_held_out_marks_that_are_none(bad: selectron.Database) -> None:
    message = "Column 'word' is of type VARCHAR and cannot mark held-out rows"
    refused(bad, ColumnError, message, validation="word")
    numbers = "Column 'weight' has 20 numbers that are neither 0 nor 1 and cannot mark held-out rows"
    refused(bad, ColumnError, numbers, validation="weight")
    all_held = "SELECT x, y, 1 AS held FROM t"
    refused(bad, DataError, "All 40 rows of the query are held out", source=all_held, validation="held")
    refused(bad, ColumnError, "the query has no column 'y'", validation="SELECT x FROM t")


def test_infinite_dates(bad: selectron.Database) -> None:
    source = "SELECT y, CASE WHEN id < 3 THEN 'infinity'::DATE ELSE day END AS day FROM t"
    message = "Column 'day' of the query has 3 values that are NaN, infinite"
    refused(bad, ColumnError, message, source=source, features=including("day"), validation=0)
    model = train(bad, features=including("day"))
    infinite, null = model.predict("SELECT unnest(['infinity'::DATE, NULL]) AS day").rows()
    assert infinite[1:] == null[1:]


def test_refused_nulls(bad: selectron.Database) -> None:
    message = "Column 'holes' of table 't' has 5 NULLs in 40 rows"
    features = including("x", "holes", nulls="refuse")
    refused(bad, ColumnError, message, features=features, validation=0)
    model = train(bad, features=including("x", nulls="refuse"))
    with pytest.raises(ColumnError, match="Column 'x' of the query has 5 NULLs"):
        model.predict("SELECT holes AS x FROM t")


@pytest.mark.parametrize("value", ["NULL", "'nan'::DOUBLE", "'inf'::DOUBLE", "'-inf'::DOUBLE", "1e300"])
def test_strange_numbers_at_prediction(bad: selectron.Database, value: str) -> None:
    model = train(bad)
    alike = {"NULL": "9.75", "'nan'::DOUBLE": "9.75", "'-inf'::DOUBLE": "0.0"}.get(value, "19.5")
    strange, usual = model.predict(f"SELECT {value} AS x UNION ALL SELECT {alike}").rows()
    assert strange[1:] == usual[1:]


def test_unseen_categories_and_new_nulls_at_prediction(bad: selectron.Database) -> None:
    model = train(bad, features=including("word"))
    query = "SELECT * FROM (VALUES ('new'), (NULL), ('a')) AS v(word)"
    unseen, null, seen = (row[1:] for row in model.predict(query).rows())
    assert unseen == null
    assert unseen != seen
    assert all(value is not None for value in unseen)


# Types ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["flag", "day", "moment", "x::DECIMAL(9, 2)"])
def test_features_of_every_type(bad: selectron.Database, name: str) -> None:
    source = f"SELECT y, {name} AS f FROM t"
    model = train(bad, source=source, features=including("f"))
    predicted = model.predict(f"{source} UNION ALL SELECT 'no', NULL").rows()
    assert len(predicted) == 41
    assert all(0.0 < row[-1] < 1.0 for row in predicted)


@pytest.mark.parametrize("type_", ["BOOLEAN", "DATE", "BIGINT", "TINYINT", "TIMESTAMP", "VARCHAR", "UUID"])
def test_predicted_classes_keep_their_type(bad: selectron.Database, type_: str) -> None:
    values = {
        "BOOLEAN": "flag",
        "DATE": "day",
        "BIGINT": "digit",
        "TINYINT": "digit::TINYINT",
        "TIMESTAMP": "day::TIMESTAMP",
        "VARCHAR": "word",
        "UUID": "('0000000' || digit || '-0000-0000-0000-000000000000')::UUID",
    }
    source = f"SELECT x, {values[type_]} AS class FROM t"
    model = train(bad, "class", source)
    model.predict(source).to_table("scored")
    query = "SELECT DISTINCT typeof(predicted_class), predicted_class IN (SELECT class FROM ({})) FROM scored"
    assert rows(bad, query.format(source)) == [(type_, True)]
    assert model.evaluate(source).rows == 40


def test_a_column_of_a_type_that_has_no_place(bad: selectron.Database) -> None:
    source = "SELECT y, x, [x] AS list FROM t"
    message = "Column 'list' of the query is of type DOUBLE.*, which cannot be a feature"
    refused(bad, ColumnError, message, source=source, features=including("list"))
    notes = train(bad, source=source, features=None).notes
    assert notes == ("Column 'list' is left out: its type is DOUBLE[].",)


# A model and a table -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT y FROM t", "the query lacks 2 of the model's columns: 'x', 'z'"),
        ("SELECT x, x AS zz, y FROM t", "the query lacks 1 of the model's columns: 'z'. Is 'zz' meant"),
        ("SELECT x, y, word AS z FROM t", "Column 'z' of the query is of type VARCHAR; the model needs"),
        ("SELECT x, y, day AS z FROM t", "Column 'z' of the query is of type DATE; the model needs"),
    ],
)
def test_a_table_that_does_not_fit(bad: selectron.Database, query: str, message: str) -> None:
    model = train(bad, features=including("x", "z"))
    with pytest.raises(ColumnError, match=message):
        model.predict(query)
    with pytest.raises(ColumnError, match=message):
        model.evaluate(query)


def test_a_table_that_has_a_column_that_prediction_adds(bad: selectron.Database) -> None:
    with pytest.raises(ColumnError, match="already has a column 'predicted_y'"):
        train(bad).predict("SELECT x, 1 AS predicted_y FROM t")


def test_evaluation_without_a_target_or_rows_or_with_new_classes(bad: selectron.Database) -> None:
    model = train(bad)
    with pytest.raises(ColumnError, match="the query lacks 1 of the model's columns: 'y'"):
        model.evaluate("SELECT x FROM t")
    with pytest.raises(DataError, match="no row to evaluate on"):
        model.evaluate("SELECT x, y FROM t WHERE false")
    with pytest.raises(DataError, match="No rows were held out"):
        model.evaluate()
    query = "SELECT x, CASE WHEN id < 4 THEN 'maybe' WHEN id < 6 THEN 'never' ELSE y END AS y FROM t"
    message = r"Column 'y' of the query has classes .*: 'maybe' \(4 rows\), 'never' \(2 rows\)"
    with pytest.raises(DataError, match=message):
        model.evaluate(query)


def test_training_on_with_a_changed_table(bad: selectron.Database) -> None:
    model = train(bad)
    connection(bad).execute("DELETE FROM t WHERE id < 3")
    with pytest.raises(DataError, match="table 't' had 40 rows to train on and 0 held out, and now has 37"):
        model.train(1)


# Names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["select", "a b", "it's", 'say "hi"', "größe", "表", "😀", "--", ";", "$1", "%s", "{x}", "a.b", "\\n"],
)
def test_any_identifier_will_do(db: selectron.Database, name: str) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    target = '"' + f"{name} target".replace('"', '""') + '"'
    label = name.replace("'", "''")
    create = f"""
        CREATE TABLE {quoted} AS SELECT i AS {quoted}, '{label}' || i % 3 AS "from{quoted[1:]},
            CASE WHEN i % 2 = 0 THEN '{label}' ELSE 'order' END AS {target}
        FROM range(20) AS r(i)
    """
    connection(db).execute(create)
    before = rows(db, f"FROM {quoted}")
    model = train(db, f"{name} target", name, name=name, features=None, validation=0.2)
    assert set(model.classes) == {name, "order"}
    assert db.model(name).evaluate().rows == 4
    predictions = db.model(name).predict(name)
    predictions.to_table(f"{name} out")
    predictions.to_view(f"{name} view")
    for kind in ("out", "view"):
        assert len(rows(db, f'FROM {quoted[:-1]} {kind}"')) == 20
    for kind in ("predict", "train", "evaluate", "step"):
        assert rows(db, model.sql(kind))
    assert rows(db, f"FROM {quoted}") == before
    assert db.drop(name) == 1


@pytest.mark.parametrize("name", ["", "  "])
def test_empty_names(bad: selectron.Database, name: str) -> None:
    with pytest.raises(ConfigurationError, match="output needs a name"):
        train(bad).predict("t").to_table(name)


def test_a_blank_model_name(bad: selectron.Database) -> None:
    refused(bad, StoreError, "A model needs a name", name="  ")


# Databases and outputs -----------------------------------------------------------------------


def test_an_output_table_that_exists(bad: selectron.Database) -> None:
    predictions = train(bad).predict("SELECT x FROM t")
    before = snapshot(bad)
    for write in (predictions.to_table, predictions.to_view):
        with pytest.raises(DataError, match="There is a table or view 't' already"):
            write("t")
    assert snapshot(bad) == before
    predictions.to_table("scored")
    with pytest.raises(DataError, match="'scored' already"):
        predictions.to_table("scored")
    predictions.to_table("scored", replace=True)
    assert rows(bad, "SELECT count(*) FROM scored") == [(40,)]


def test_a_read_only_file(tmp_path: Path) -> None:
    path = tmp_path / "kept.duckdb"
    with selectron.connect(path) as db:
        connection(db).execute(TABLE)
    with selectron.connect(path, read_only=True) as db:
        refused(db, StoreError, "The database is read-only")
    with selectron.connect(path) as db:
        train(db)
    with selectron.connect(path, read_only=True) as db:
        assert len(db.model("y").predict("t").rows()) == 40
        for act in (db.model("y").predict("t").to_table, db.drop):
            with pytest.raises(SelectronError, match="read-only"):
                act("y")


def test_a_file_that_another_process_holds(tmp_path: Path) -> None:
    path = tmp_path / "locked.duckdb"
    holder = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); input()"
    command = [sys.executable, "-c", holder, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        for read_only in (False, True):
            with pytest.raises(EngineError, match=r"locked\.duckdb' is locked by another process"):
                selectron.connect(path, read_only=read_only)
        process.communicate("\n")
    selectron.connect(path).close()


def test_a_refused_training_leaves_other_models_alone(bad: selectron.Database) -> None:
    model = train(bad)
    before = bad.models(), model.predict("t").rows(1)[0][-3:]
    with pytest.raises(TargetError, match="'same' of table 't' is 'only' in all 40 rows"):
        train(bad, "same", name="y")
    assert (bad.models(), bad.model("y").predict("t").rows(1)[0][-3:]) == before


def test_user_tables_are_unchanged_after_everything(bad: selectron.Database) -> None:
    before = snapshot(bad)
    model = train(
        bad, features=including("x", "word", "day", "holes"), validation="flag", row_weight="weight"
    )
    model.train(1)
    model.evaluate()
    model.predict("t").to_table("scored")
    with pytest.raises(TargetError):
        train(bad, "same")
    bad.drop("y")
    assert snapshot(bad) == before


def test_classes_that_differ_only_in_case(db: selectron.Database) -> None:
    query = (
        "SELECT i AS x, CASE i % 3 WHEN 0 THEN 'a' WHEN 1 THEN 'A' ELSE 'b' END AS y FROM range(30) AS t(i)"
    )
    model = db.train(query, "y", epochs=1)
    assert model.predicted[1:] == ["probability_A", "probability_a (2)", "probability_b"]
    model.predict(query).to_table("scored")
    total = 'SELECT avg("probability_A" + "probability_a (2)" + "probability_b") FROM scored'
    assert connection(db).execute(total).fetchall()[0][0] == pytest.approx(1.0)


def test_nan_is_refused_where_null_is(db: selectron.Database) -> None:
    query = "SELECT i * 0.5::DOUBLE AS x, i % 2 = 0 AS y FROM range(20) AS t(i)"
    model = db.train(query, "y", epochs=1, features=FeatureOptions(nulls="refuse"))
    with pytest.raises(ColumnError, match=r"'x' of the query has 1 NULLs"):
        model.predict("SELECT unnest([1.0, 'nan'::DOUBLE]) AS x")
    assert len(model.predict("SELECT unnest([1.0, 'inf'::DOUBLE, '-inf'::DOUBLE]) AS x").rows()) == 3

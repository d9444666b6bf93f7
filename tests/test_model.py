"""A user's whole way: train, predict, evaluate, go on, look at the SQL, drop."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import selectron
from selectron.features.rows import HELD_OUT, POSITION, Split, arranged_rows, shuffled
from selectron.program.evaluate import evaluate
from selectron.program.operations import Array
from selectron.trainer import Trainer
from support import connection

SMALL = selectron.MLP([8])


def train(db: selectron.Database, source: object, **options: object) -> selectron.Model:
    """A small network for the penguins' species."""
    settings: dict[str, object] = {"network": SMALL, "epochs": 12, "batch_size": 64, **options}
    return db.train(source, "species", **settings)  # type: ignore[arg-type]


def tables(db: selectron.Database) -> list[str]:
    rows = connection(db).execute("SELECT table_name FROM information_schema.tables").fetchall()
    return sorted(row[0] for row in rows)


def same(left: dict[str, Array], right: dict[str, Array]) -> bool:
    return left.keys() == right.keys() and all(np.array_equal(left[key], right[key]) for key in left)


@pytest.mark.parametrize("seed", range(3))
def test_penguins_are_told_apart(db: selectron.Database, penguins: str, seed: int) -> None:
    model = db.train(penguins, "species", seed=seed)
    evaluation = model.evaluate()
    assert evaluation.rows == 69
    assert evaluation["accuracy"] is not None
    assert evaluation["accuracy"] >= 0.97
    assert list(evaluation.confusion) == ["Adelie", "Chinstrap", "Gentoo"]


def test_the_same_seed_gives_the_same_weights_bit_for_bit(penguins: str) -> None:
    found = []
    for threads, seed in ((1, 5), (2, 5), (2, 6)):
        with selectron.connect() as db:
            connection(db).execute(f"SET threads = {threads}")
            found.append(train(db, penguins, seed=seed).parameters)
    assert same(found[0], found[1])
    assert not same(found[0], found[2])


def test_the_whole_training_is_one_statement_for_plain_duckdb(
    db: selectron.Database, penguins: str, tmp_path: Path
) -> None:
    options = selectron.MLP([6, 4], dropout=0.2)
    model = train(db, penguins, network=options, patience=3, l2=0.001, class_weight="balanced")
    statement = tmp_path / "train.sql"
    statement.write_text(model.sql("train"))
    plain = (
        "import duckdb, sys; "
        "shell = duckdb.connect(); "
        "shell.execute('SET enable_progress_bar = false'); "
        "rows = shell.execute(open(sys.argv[1]).read()).fetchall(); "
        "assert 'selectron' not in sys.modules; "
        "print('\\n'.join('\\t'.join(map(repr, row)) for row in rows))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", plain, str(statement)], capture_output=True, text=True, check=True
    ).stdout
    found = {key: np.full(value.shape, np.nan) for key, value in model.parameters.items()}
    for line in printed.splitlines():
        layer, parameter, row, col, value = line.split("\t")
        found[f"{layer[1:-1]}.{parameter[1:-1]}"][int(row), int(col)] = float(value)
    assert same(found, model.parameters)


def test_the_step_statement_is_the_next_step(db: selectron.Database, penguins: str) -> None:
    model = train(db, penguins, epochs=2, batch_size=None, validation=0)
    result = connection(db).execute(model.sql("step"))
    names = [column[0] for column in result.description]
    row = dict(zip(names, result.fetchone() or (), strict=True))
    after = model.train(1).parameters["hidden_1.weights"]
    np.testing.assert_array_equal(np.array(row["hidden_1.weights"]).T, after)


def test_training_on_equals_training_at_once(penguins: str) -> None:
    found = []
    for parts in ((12,), (5, 4, 3)):
        with selectron.connect() as db:
            model = train(db, penguins, epochs=parts[0])
            for part in parts[1:]:
                model = model.train(part)
            assert model.record.epochs == 12
            assert [row.epoch for row in model.log] == list(range(1, 13))
            found.append(model.parameters)
    assert same(found[0], found[1])


def test_chunks_do_not_change_the_weights(penguins: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for guess in (1e-3, 0.3):
        monkeypatch.setattr(Trainer, "guessed_seconds", lambda self, guess=guess: guess)
        with selectron.connect() as db:
            model = train(db, penguins)
            found.append((model.parameters, [row.training_loss for row in model.log]))
    assert same(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


def test_early_stopping_restores_the_best_epoch(db: selectron.Database, penguins: str) -> None:
    rate = selectron.SGD(2.0)
    model = train(db, penguins, epochs=60, patience=4, optimizer=rate, batch_size=32)
    losses = [row.validation_loss for row in model.log]
    assert len(losses) < 60
    best = min(loss for loss in losses if loss is not None)
    assert losses.index(best) == len(losses) - 5
    assert model.evaluate()["log_loss"] == pytest.approx(best, rel=1e-9)


def test_predictions_are_the_numpy_evaluation_of_the_program(db: selectron.Database, penguins: str) -> None:
    model = train(db, penguins)
    blueprint = model.blueprint
    expressions = [e.sql("duckdb", identify=True) for e in blueprint.encoding.dense()]
    features = np.array(
        connection(db).execute(f"SELECT {', '.join(expressions)} FROM '{penguins}'").fetchall()
    )
    feeds = {**model.parameters, "features": features, "target": np.zeros((len(features), 1))}
    expected = evaluate(blueprint.prediction, feeds)["prediction"]
    frame = model.predict(penguins).df()
    np.testing.assert_allclose(frame.iloc[:, -3:].to_numpy(), expected, rtol=1e-9, atol=1e-300)
    labels = np.array(model.classes)[expected.argmax(1)]
    assert (frame["predicted_species"].to_numpy() == labels).all()


def test_figures_are_what_numpy_gives(db: selectron.Database, penguins: str) -> None:
    model = train(db, penguins, epochs=2)
    evaluation = model.evaluate(penguins)
    frame = model.predict(penguins).df()
    actual, predicted = frame["species"].to_numpy(), frame["predicted_species"].to_numpy()
    assert evaluation["accuracy"] == pytest.approx((actual == predicted).mean(), rel=1e-12)
    recalls, areas, log_loss = [], [], 0.0
    for label in model.classes:
        mine, called = actual == label, predicted == label
        scores = frame[f"probability_{label}"].to_numpy()
        log_loss -= np.log(scores[mine]).sum() / len(frame)
        recalls.append((mine & called).sum() / mine.sum())
        pairs = scores[mine][:, None] - scores[~mine][None, :]
        areas.append(((pairs > 0) + 0.5 * (pairs == 0)).mean())
        own = evaluation.by_class[label]
        assert own["recall"] == pytest.approx(recalls[-1], rel=1e-12)
        assert own["roc_auc"] == pytest.approx(areas[-1], rel=1e-12)
        precision = (mine & called).sum() / called.sum() if called.any() else 0.0
        assert own["precision"] == pytest.approx(precision, rel=1e-12)
        for other in model.classes:
            assert evaluation.confusion[label][other] == (mine & (predicted == other)).sum()
    assert evaluation["balanced_accuracy"] == pytest.approx(np.mean(recalls), rel=1e-12)
    assert evaluation["roc_auc"] == pytest.approx(np.mean(areas), rel=1e-12)
    assert evaluation["log_loss"] == pytest.approx(log_loss, rel=1e-9)


def test_several_numbers_are_predicted_in_their_own_units(db: selectron.Database, penguins: str) -> None:
    targets = ["body_mass_g", "flipper_length_mm"]
    model = db.train(penguins, targets, task="regression", network=SMALL, epochs=60)
    evaluation = model.evaluate()
    assert evaluation["r2"] is not None
    assert evaluation["r2"] > 0.7
    frame = model.predict(penguins).df().dropna(subset=targets)
    whole = model.evaluate(penguins)
    for name in targets:
        error = frame[f"predicted_{name}"] - frame[name]
        own = whole.by_class[name]
        assert own["mae"] == pytest.approx(error.abs().mean(), rel=1e-9)
        assert own["rmse"] == pytest.approx(np.sqrt((error**2).mean()), rel=1e-9)
        assert own["r2"] == pytest.approx(1 - (error**2).mean() / frame[name].var(ddof=0), rel=1e-9)


def test_every_kind_of_table_gives_the_same_model(
    db: selectron.Database, penguins: str, tmp_path: Path
) -> None:
    own = connection(db)
    own.execute(f"CREATE TABLE birds AS FROM '{penguins}'")
    own.execute("CREATE VIEW bird_view AS FROM birds")
    parquet = tmp_path / "birds.parquet"
    own.execute(f"COPY birds TO '{parquet}'")
    frame = own.sql("FROM birds")
    sources: list[object] = [penguins, "birds", "bird_view", "SELECT * FROM birds", str(parquet), parquet]
    sources += [frame.df(), frame.pl(), frame.to_arrow_table()]
    models = [train(db, source, epochs=2).parameters for source in sources]
    for model in models[1:]:
        assert same(model, models[0])


def test_embedded_categories_and_held_out_columns(db: selectron.Database, penguins: str) -> None:
    query = f"SELECT *, year = 2009 AS late FROM '{penguins}'"
    features = selectron.FeatureOptions(embed={"island": 2}, categorical=("year",), nulls="impute")
    model = train(db, query, features=features, validation="late", epochs=30)
    assert model.record.validation_rows == 120
    assert model.evaluate().rows == 120
    assert model.parameters["embedding: island.vectors"].shape == (4, 2)
    assert "late" not in " ".join(model.blueprint.encoding.units)


def test_a_table_of_its_own_is_held_out(db: selectron.Database, penguins: str) -> None:
    connection(db).execute(f"CREATE TABLE old AS FROM '{penguins}' WHERE year < 2009")
    connection(db).execute(f"CREATE TABLE new AS FROM '{penguins}' WHERE year = 2009")
    model = train(db, "old", validation="new")
    assert (model.record.training_rows, model.record.validation_rows) == (224, 120)
    held_out, table = model.evaluate(), model.evaluate("new")
    assert held_out["log_loss"] == pytest.approx(table["log_loss"], rel=1e-12)


def test_the_shuffle_is_what_numpy_says(db: selectron.Database) -> None:
    relation = db.engine.relation("SELECT i FROM range(1, 201) AS t(i)")
    for seed in (0, 7, 2**40):
        query = arranged_rows(relation, ["i"], ["i"], Split(seed, held_out=30))
        rows = db.engine.rows(query.order_by(f'NOT "{HELD_OUT}"', f'"{POSITION}"'))
        assert [row[0] for row in rows] == shuffled(200, seed).tolist()
        assert sum(row[1] for row in rows) == 30


def test_a_view_follows_training_on_and_new_versions(db: selectron.Database, penguins: str) -> None:
    model = train(db, penguins, epochs=1)
    model.predict(penguins).to_view("scored")

    def seen() -> list[tuple[object, ...]]:
        return connection(db).execute("SELECT * FROM scored").fetchall()

    first = seen()
    more = model.train(5)
    assert seen() != first
    assert seen() == more.predict(penguins).rows()
    newest = train(db, penguins, epochs=9, seed=3)
    assert newest.version == 2
    assert seen() == newest.predict(penguins).rows()


def test_warm_start_begins_where_the_other_model_ended(db: selectron.Database, penguins: str) -> None:
    first = train(db, penguins)
    second = train(db, penguins, epochs=0 + 1, warm_start=first, optimizer=selectron.SGD(0.0), name="again")
    assert same(first.parameters, second.parameters)
    with pytest.raises(selectron.ConfigurationError, match="another shape"):
        train(db, penguins, warm_start="again", network=selectron.MLP([5]))


def test_a_file_moved_elsewhere_predicts_there(tmp_path: Path, penguins: str) -> None:
    here, there = tmp_path / "here.duckdb", tmp_path / "there.duckdb"
    with selectron.connect(here) as db:
        expected = train(db, penguins).predict(penguins).rows()
    shutil.copy(here, there)
    here.unlink()
    with selectron.connect(there, read_only=True) as db:
        assert db.model("species").predict(penguins).rows() == expected
        assert db.model("species").evaluate(penguins).rows == 344


def test_weights_are_readable_by_name(db: selectron.Database, penguins: str) -> None:
    features = selectron.FeatureOptions(embed={"island": 2})
    model = train(db, penguins, epochs=1, features=features)
    query = "SELECT layer, from_unit, to_unit, value FROM selectron_weights"
    rows = {(a, b, c): value for a, b, c, value in connection(db).execute(query).fetchall()}
    parameters = model.parameters
    assert len(rows) == sum(value.size for value in parameters.values())
    place = model.blueprint.encoding.units.index("bill_length_mm")
    assert rows["hidden_1", "bill_length_mm", "hidden_1[3]"] == parameters["hidden_1.weights"][place, 2]
    assert rows["output", None, "Gentoo"] == parameters["output.biases"][0, 2]
    assert rows["embedding: island", "Dream", "dimension 2"] == parameters["embedding: island.vectors"][1, 1]
    assert (
        rows["hidden_1", "weights: island [1]", "hidden_1[1]"] == parameters["hidden_1.weights: island"][0, 0]
    )


def test_versions_are_kept_and_drop_removes_everything(db: selectron.Database, penguins: str) -> None:
    connection(db).execute("CREATE TABLE mine AS SELECT 1 AS a")
    train(db, penguins, epochs=1)
    train(db, penguins, epochs=2)
    assert [(m.name, m.version, m.epochs) for m in db.models()] == [("species", 1, 1), ("species", 2, 2)]
    assert db.model("species").version == 2
    db.model("species").predict(penguins).to_view("scored")
    assert db.drop("species", 2) == 1
    assert db.model("species").version == 1
    assert "scored" not in tables(db)
    assert db.drop("species") == 1
    assert tables(db) == ["mine"]


def test_divergence_keeps_the_last_checkpoint(
    db: selectron.Database, penguins: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(selectron.DivergenceError, match="nothing is kept"):
        db.train(penguins, "body_mass_g", optimizer=selectron.SGD(1e30), epochs=20)
    with pytest.raises(selectron.DivergenceError, match="nothing is kept"):
        # The loss of the only step is fine; what the step makes of the weights is not.
        train(db, penguins, optimizer=selectron.SGD(1e305), epochs=1, batch_size=None, validation=0)
    assert db.models() == []
    assert tables(db) == []
    monkeypatch.setattr(Trainer, "guessed_seconds", lambda self: 0.9)
    with pytest.raises(selectron.DivergenceError, match="checkpoint of epoch"):
        db.train(
            penguins,
            "body_mass_g",
            optimizer=selectron.SGD(25.0),
            network=selectron.MLP([]),
            epochs=3000,
            batch_size=None,
        )
    (record,) = db.models()
    assert record.status == "diverged"
    assert all(np.isfinite(value).all() for value in db.model("body_mass_g").parameters.values())


def test_an_interrupt_keeps_the_last_checkpoint_and_resumes(
    db: selectron.Database, penguins: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "guessed_seconds", lambda self: 0.02)
    whole = train(db, penguins, epochs=20, name="whole").parameters

    def stop(progress: selectron.Progress) -> None:
        if progress.epoch >= 5:
            raise KeyboardInterrupt

    with pytest.raises(selectron.TrainingInterrupted, match="Resume"):
        train(db, penguins, epochs=20, watch=stop)
    model = db.model("species")
    assert model.record.status == "interrupted"
    assert 5 <= (model.record.epochs or 0) < 20
    resumed = model.train()
    assert resumed.record.status == "finished"
    assert resumed.record.epochs == 20
    assert same(resumed.parameters, whole)


SLOW = """
import sys, selectron
db = selectron.connect(sys.argv[1])
db.train("SELECT i, i % 7 AS a, i % 2 = 0 AS y FROM range(20000) AS t(i)", "y", epochs=100000,
         network=selectron.MLP([16]), watch=lambda p: print(p.epoch, flush=True))
"""


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_process_leaves_its_last_checkpoint(tmp_path: Path, stop: signal.Signals) -> None:
    path = tmp_path / "killed.duckdb"
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    epochs = int(process.stdout.readline())
    time.sleep(0.3)
    os.kill(process.pid, stop)
    _, errors = process.communicate(timeout=60)
    if stop is signal.SIGINT:
        assert "TrainingInterrupted" in errors
    with selectron.connect(path) as db:
        model = db.model("y")
        assert (model.record.epochs or 0) >= epochs
        assert len(model.log) == model.record.epochs
        assert model.evaluate().rows == 4000
        assert model.train(1).record.epochs == (model.record.epochs or 0) + 1

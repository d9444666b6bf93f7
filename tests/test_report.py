"""Reports, opened in a real browser where there is one; what notebooks show; curves in the terminal."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import selectron
from selectron import MLP, FeatureOptions
from selectron.errors import ConfigurationError, DataError, SelectronError
from selectron.reporting.page import gathered, rendered
from support import connection

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
EVIL = "<script>alert('x')</script>"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, selectron.Model]]:
    """A model of classes, one of two numbers, one of a number; names in them are hostile."""
    examples = Path(__file__).parent.parent / "examples" / "penguins.csv"
    with selectron.connect() as db:
        column = EVIL.replace('"', '""')
        connection(db).execute(
            f"""CREATE TABLE birds AS SELECT *, sex AS "{column}",
                CASE species WHEN 'Adelie' THEN '<b>&' ELSE species END AS kind FROM '{examples}'"""
        )
        plain = FeatureOptions(exclude=("species",))
        pair = FeatureOptions(include=("bill_length_mm", "body_mass_g"))
        settings: dict[str, Any] = {"epochs": 20, "validation": 0.25}
        yield {
            "classes": db.train("birds", "kind", name="classes", features=plain, **settings),
            "pair": db.train("birds", "kind", name="pair", features=pair, network=MLP([6]), **settings),
            "number": db.train("birds", "body_mass_g", name="number", **settings),
            "linear": db.train("birds", "kind", name=EVIL, network=MLP([]), features=plain, **settings),
            "unjudged": db.train("birds", "kind", name="unjudged", epochs=1, validation=0, features=plain),
        }


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


ALL = {"model", "curves", "quality", "importances", "explained", "network", "features", "sql"}
SECTIONS = {
    "classes": ALL,
    "pair": {
        "model",
        "curves",
        "quality",
        "importances",
        "explained",
        "boundary",
        "network",
        "features",
        "sql",
    },
    "number": ALL,
    "linear": ALL,
    "unjudged": {"model", "curves", "network", "features", "sql"},
}


@pytest.mark.parametrize("name", sorted(SECTIONS))
def test_a_browser_shows_it(
    models: dict[str, selectron.Model], browser: Any, tmp_path: Path, name: str
) -> None:
    model, path = models[name], tmp_path / "report.html"
    model.report(path)
    page = browser.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(f"dialog {dialog.message}"))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    assert said == []
    assert asked == [path.as_uri()]
    sections = page.eval_on_selector_all("section", "found => found.map(one => one.id)")
    assert set(sections) == SECTIONS[name]
    assert page.title() == f"{model.name} · Selectron"
    shown = {
        one["metric"]: one["value"]
        for one in page.eval_on_selector_all(
            "dl.figures [data-metric]",
            "found => found.map(one => ({metric: one.dataset.metric, value: one.dataset.value}))",
        )
    }
    if name != "unjudged":
        evaluation = model.evaluate()
        expected = {**evaluation.metrics, "rows": float(evaluation.rows)}
        assert {key: float(value) for key, value in shown.items()} == pytest.approx(expected)
    for summary in page.query_selector_all("#sql summary"):
        summary.click()
    code = page.inner_text("#code-predict")
    assert code.startswith("WITH")
    assert page.is_visible("button[data-copies]")
    page.close()


def brightness(colour: str) -> float:
    red, green, blue = (float(part) for part in re.findall(r"[\d.]+", colour)[:3])
    return 0.299 * red + 0.587 * green + 0.114 * blue


@pytest.mark.parametrize("width", [1200, 380])
def test_light_and_dark_are_readable(
    models: dict[str, selectron.Model], browser: Any, tmp_path: Path, width: int
) -> None:
    path = tmp_path / "report.html"
    models["pair"].report(path)
    papers = []
    for scheme in ("light", "dark"):
        page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 800})
        page.goto(path.as_uri())
        style = "one => getComputedStyle(one)"
        paper = page.eval_on_selector("body", f"({style})".replace("(one)", "(one).backgroundColor"))
        ink = page.eval_on_selector("body", f"({style})".replace("(one)", "(one).color"))
        drawn = page.eval_on_selector("svg.chart text", "one => getComputedStyle(one).fill")
        assert abs(brightness(paper) - brightness(ink)) > 150
        assert abs(brightness(paper) - brightness(drawn)) > 120
        papers.append(brightness(paper))
        # Nothing is wider than the window, so that a phone need not scroll sideways.
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.close()
    assert papers[0] > 200 > 60 > papers[1]


def test_words_of_the_user_are_text(models: dict[str, selectron.Model]) -> None:
    for model in models.values():
        text = rendered(gathered(model))
        assert EVIL not in text
        assert "<b>&" not in text
        assert text.count("<script") == 1
    assert "&lt;script&gt;" in rendered(gathered(models["classes"]))


def test_a_table_that_is_named_is_judged(models: dict[str, selectron.Model]) -> None:
    model = models["unjudged"]
    found = gathered(model, "SELECT * FROM birds WHERE year = 2009")
    assert found.quality is not None
    assert found.quality.evaluation.rows == 120
    assert gathered(model).quality is None
    with pytest.raises(DataError, match="no row to evaluate"):
        gathered(model, "SELECT * FROM birds WHERE false")


def test_of_a_frame_only_with_its_rows(db: selectron.Database, penguins: str, tmp_path: Path) -> None:
    import pandas as pd

    frame = pd.read_csv(penguins)
    model = db.train(frame, "species", epochs=1)
    with pytest.raises(DataError, match="was trained on a data frame"):
        model.report(tmp_path / "a.html")
    model.report(tmp_path / "a.html", frame)
    assert (tmp_path / "a.html").stat().st_size > 50_000
    with pytest.raises(ConfigurationError, match="cannot be written"):
        model.report(tmp_path / "nowhere" / "a.html", frame)


def test_many_classes_and_targets(db: selectron.Database) -> None:
    query = (
        "SELECT i * 0.5 AS x, sin(i) AS z, i % 60 AS y, i * 2.0 AS a, i * 3.0 AS b FROM range(600) AS t(i)"
    )
    connection(db).execute(f"CREATE TABLE t AS {query}")
    features = FeatureOptions(include=("x", "z"))
    many = db.train("t", "y", task="classification", epochs=1, features=features)
    found = gathered(many)
    assert found.quality is not None
    assert "The most frequent confusions among 60 classes" in rendered(found)
    two = db.train("t", ["a", "b"], epochs=1, features=features)
    assert len(gathered(two).quality.drawings) == 6  # type: ignore[union-attr]


def test_notebooks_show_tables(models: dict[str, selectron.Model]) -> None:
    model = models["linear"]
    for shown in (model, model.evaluate(), model.predict("birds")):
        text = shown._repr_html_()
        assert text.startswith("<table>")
        assert "<script" not in text
        assert "<b>" not in text
    assert "accuracy" in model.evaluate()._repr_html_()
    assert model.predict("birds")._repr_html_().count("<tr>") == 12


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_plots_are_files_of_their_own(
    models: dict[str, selectron.Model], browser: Any, tmp_path: Path, scheme: Any
) -> None:
    model, path = models["classes"], tmp_path / "plot.svg"
    explained = {
        EVIL: model.importance(repeats=1),
        "bill_length_mm": model.attributions("birds", steps=4),
        "island": model.dependence("island", "birds"),
    }
    page = browser.new_page(color_scheme=scheme)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for word, found in explained.items():
        selectron.plot(found).save(path)
        page.goto(path.as_uri())
        words = page.eval_on_selector_all("text, tspan", "found => found.map(one => one.textContent)")
        assert any(word[:20] in shown for shown in words), words
        colours = page.eval_on_selector(
            "svg",
            "svg => [getComputedStyle(svg).backgroundColor,"
            " getComputedStyle(svg.querySelector('text')).fill]",
        )
        paper, ink = map(brightness, colours)
        assert paper - ink > 100 if scheme == "light" else ink - paper > 100
    assert asked == [path.as_uri()] * 3
    page.close()


def test_plots_refuse_what_they_cannot_draw(models: dict[str, selectron.Model], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="A Model cannot be plotted"):
        selectron.plot(models["classes"])
    drawn = selectron.plot(models["number"].importance(repeats=1))
    assert drawn._repr_html_() == drawn.svg
    with pytest.raises(ConfigurationError, match=r"'x\.png'"):
        drawn.save("x.png")
    with pytest.raises(DataError, match="cannot be written"):
        drawn.save(tmp_path / "nowhere" / "x.svg")


def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "selectron", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_command_line(tmp_path: Path, penguins: str) -> None:
    trained = run("train", penguins, "--target", "species", "--epochs", "1", "--hidden", "2", folder=tmp_path)
    assert trained.returncode == 0
    common = ["penguins.duckdb", "--model", "species"]
    once = run("plot", *common, folder=tmp_path)
    assert "Loss of species" in once.stdout
    assert "\x1b" not in once.stdout
    run("train", *common, "--more-epochs", "30", folder=tmp_path)
    assert "held out" in run("plot", *common, folder=tmp_path).stdout
    written = run("report", *common, "--output", "r.html", folder=tmp_path)
    assert written.returncode == 0, written.stderr
    assert (tmp_path / "r.html").read_text().lstrip().startswith("<!doctype html>")
    refused = run("report", *common, "--output", "r.pdf", folder=tmp_path)
    assert refused.returncode == 1
    assert "Name a .html file" in refused.stderr
    for command in (["importance"], ["attribute"], ["dependence", "island"]):
        drawn = run(command[0], common[0], *command[1:], *common[1:], "--plot", "p.svg", folder=tmp_path)
        assert (drawn.returncode, drawn.stdout) == (0, ""), drawn.stderr
        assert (tmp_path / "p.svg").read_text().startswith("<svg")


def test_mistakes_are_ours(models: dict[str, selectron.Model]) -> None:
    with pytest.raises(SelectronError, match="nope"):
        gathered(models["classes"], "nope")

"""The page: what was gathered, in a template that escapes every word of the user's."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from sqlglot import exp

from selectron.engines.base import Relation
from selectron.errors import ConfigurationError, MissingLibraryError, SelectronError
from selectron.evaluation import Evaluation
from selectron.features.targets import ClassTarget
from selectron.reporting.boundary import draw_boundary
from selectron.reporting.canvas import colours
from selectron.reporting.classes import calibration_error, draw_reliability, draw_roc
from selectron.reporting.curves import draw_curves, loss_curves
from selectron.reporting.dependence import draw_dependence
from selectron.reporting.importance import Importances, draw_attributions, draw_importances
from selectron.reporting.network import NetworkPicture, draw_network, network_picture
from selectron.reporting.numbers import draw_actual, draw_histogram, draw_residuals
from selectron.reporting.plots import attribution_sizes, curves_of
from selectron.reporting.queries import (
    Scorer,
    decision_boundary,
    reliability,
    roc_curves,
    target_cells,
)
from selectron.reporting.subject import Subject
from selectron.reporting.summary import Summary, figure, summarized

__all__ = ["Page", "Quality", "Statement", "gathered", "rendered", "write_report"]

# A confusion matrix of more classes is a list of the most frequent confusions.
MOST_CLASSES: Final = 20
MOST_CONFUSIONS: Final = 25
MOST_COLUMNS: Final = 30
MOST_DEPENDENCES: Final = 6
# Rows that predictions are explained on.
SAMPLE: Final = 1_000
# Longer statements are left to the command line, which prints them whole.
MOST_CHARACTERS: Final = 300_000

# What each statement is, by its kind.
STATEMENTS: Final = {
    "predict": "Predict: the rows of a table with their predictions",
    "step": "Train: one step from the current checkpoint",
}


@dataclass(frozen=True)
class Confusion:
    """Rows of a class that were predicted as another."""

    actual: str
    predicted: str
    rows: int


@dataclass(frozen=True)
class Quality:
    """Figures of some rows and what is drawn of them, as markup by what it shows."""

    label: str
    evaluation: Evaluation
    drawings: tuple[str, ...]
    confusions: tuple[Confusion, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Statement:
    """A statement's title, and its SQL or why it is not shown."""

    kind: str
    title: str
    sql: str | None
    reason: str = ""


@dataclass(frozen=True)
class Explained:
    """What columns add to predictions and how these depend on columns, as markup."""

    rows: int
    attributions: str
    unit: str
    dependences: tuple[str, ...]


@dataclass(frozen=True)
class Page:
    """All that is on the page; what is None is left out."""

    title: str
    version: int
    summary: Summary
    curves: str | None
    quality: Quality | None
    no_quality: str
    importances: str | None
    importance_note: str
    explained: Explained | None
    picture: NetworkPicture
    network: str
    boundary: str | None
    boundary_names: tuple[str, str] | None
    statements: tuple[Statement, ...] = field(default_factory=tuple)


def write_report(subject: Subject, path: str | Path, source: object = None) -> None:
    """Write a model's report into a file.

    Parameters
    ----------
    source
        Rows to judge predictions on; by default those that were held out in training, if any were.

    Raises
    ------
    ConfigurationError
        If the file cannot be written, or a library is missing.
    """
    text = rendered(gathered(subject, source))
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"{str(path)!r} cannot be written: {error.strerror}.",
            hint="Name a file in a folder that is there.",
        ) from None


def gathered(subject: Subject, source: object = None) -> Page:
    """Everything that the page shows, from the database."""
    blueprint, record = subject.blueprint, subject.record
    judged = source is not None or blueprint.specification.plan.held_out_rows > 0
    evaluation = subject.evaluate(source) if judged else None
    relation = subject.judged_rows(source) if judged else None
    weights = subject.weights()
    curves = loss_curves(subject.log)
    picture = network_picture(blueprint, subject.parameters)
    quality, importances, note, explained = None, None, "", None
    if evaluation is not None and relation is not None:
        scorer = Scorer(subject.engine, blueprint, weights, relation)
        quality = judged_quality(scorer, evaluation, relation.label)
        found = importances_of(subject, source, evaluation.rows)
        importances = draw_importances(found)
        explained = explained_by(subject, relation, [column for column, _ in found.increases])
        note = f"Measured on {figure(found.rows)} rows of {relation.label}."
        if len(found.increases) < found.columns:
            note += f" {len(found.increases)} of {found.columns} columns are drawn: the most important ones."
    boundary = decision_boundary(subject.engine, blueprint, weights, relation)
    return Page(
        title=record.name,
        version=record.version,
        summary=summarized(subject),
        curves=None if curves is None else draw_curves(curves),
        quality=quality,
        no_quality=""
        if judged
        else "No rows were held out in training, and no table was named to judge it on.",
        importances=importances,
        importance_note=note,
        explained=explained,
        picture=picture,
        network=draw_network(picture),
        boundary=None if boundary is None else draw_boundary(boundary),
        boundary_names=None if boundary is None else boundary.names,
        statements=tuple(statement(subject, kind, source) for kind in STATEMENTS),
    )


def importances_of(subject: Subject, source: object, rows: int) -> Importances:
    """The importance of the columns that matter most."""
    every = subject.importance(source, repeats=3).rows()
    shown = tuple((row.column, row.loss) for row in every[:MOST_COLUMNS])
    return Importances(shown, rows, len(every))


def explained_by(subject: Subject, relation: Relation, columns: Sequence[str]) -> Explained:
    """Attributions, and the dependence on the columns that matter most, on a sample of the rows."""
    first = exp.select("*").from_(relation.source.copy()).limit(SAMPLE)
    sample = Relation(first.subquery("sample"), relation.label)
    rows = int(subject.engine.rows(exp.select(exp.Count(this=exp.Star())).from_(sample.source.copy()))[0][0])
    target = subject.blueprint.encoding.target
    classes = isinstance(target, ClassTarget)
    about = None if isinstance(target, ClassTarget) else target.columns[0]
    sizes = attribution_sizes(subject.attributions(sample, about=about, steps=20))[:MOST_COLUMNS]
    drawings = []
    for place, name in enumerate(columns[:MOST_DEPENDENCES]):
        curves = curves_of(subject.dependence(name, sample, points=12))
        drawings.append(draw_dependence(name, curves, place, classes=classes))
    unit = "in logits of the predicted class" if about is None else f"in units of {about}"
    return Explained(rows, draw_attributions(sizes, unit), unit, tuple(drawings))


def judged_quality(scorer: Scorer, evaluation: Evaluation, label: str) -> Quality:
    """What is shown of the quality of predictions."""
    target = scorer.blueprint.encoding.target
    if isinstance(target, ClassTarget):
        return class_quality(scorer, evaluation, label, target.classes)
    notes, drawings = [], []
    cells = target_cells(scorer, target.columns)
    if len(cells) < len(target.columns):
        notes.append(f"{len(cells)} of {len(target.columns)} targets are drawn: the first ones.")
    for place, own in enumerate(cells):
        drawings += [draw_actual(own, place), draw_residuals(own, place), draw_histogram(own, place)]
    notes.append("A dot is a group of rows of about the same prediction and residual; it grows with them.")
    return Quality(label, evaluation, tuple(drawings), (), tuple(notes))


def class_quality(scorer: Scorer, evaluation: Evaluation, label: str, labels: tuple[str, ...]) -> Quality:
    """Confusions, ROC curves and calibration."""
    notes, drawings = [], []
    curves = roc_curves(scorer, evaluation, labels)
    if curves:
        drawings.append(draw_roc(curves))
    if len(curves) < len(labels):
        notes.append(
            f"ROC curves of {len(curves)} of {len(labels)} classes are drawn: those with the least area "
            "(a class needs rows inside and outside)."
        )
    bins = reliability(scorer, labels)
    what = labels[1] if len(labels) == 2 else "the predicted class"
    drawings.append(draw_reliability(bins, what))
    notes.append(
        f"Expected calibration error {calibration_error(bins):.4g}: the mean distance of predicted "
        "probability and observed frequency. Circles grow with the number of rows."
    )
    wrong = [
        Confusion(actual, predicted, rows)
        for actual, own in evaluation.confusion.items()
        for predicted, rows in own.items()
        if actual != predicted and rows
    ]
    wrong.sort(key=lambda one: -one.rows)
    return Quality(label, evaluation, tuple(drawings), tuple(wrong[:MOST_CONFUSIONS]), tuple(notes))


def statement(subject: Subject, kind: str, source: object) -> Statement:
    """A statement of the model: over the table that was trained on, or else the one that was named."""
    title = STATEMENTS[kind]
    known = subject.blueprint.specification.source is not None
    try:
        sql = subject.sql(kind, None if known else source)
    except SelectronError as error:
        return Statement(kind, title, None, str(error))
    if len(sql) > MOST_CHARACTERS:
        return Statement(
            kind, title, None, f"It has {len(sql):,} characters: print it with 'selectron sql ... {kind}'."
        )
    return Statement(kind, title, f"{sql};")


def rendered(page: Page) -> str:
    """The page as HTML.

    Raises
    ------
    ConfigurationError
        If Jinja is not installed.
    """
    try:
        from jinja2 import Environment, StrictUndefined
        from markupsafe import Markup
    except ImportError:
        raise MissingLibraryError(
            "A report needs Jinja.", hint="Install it: pip install 'selectron[report]'."
        ) from None
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["figure"] = figure
    # Drawings are markup of ours, in which words are escaped already.
    environment.filters["drawn"] = Markup
    folder = files("selectron.reporting")
    script = folder.joinpath("page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    values: dict[str, Any] = {
        "page": page,
        "style": Markup(colours() + folder.joinpath("page.css").read_text(encoding="utf-8")),
        "script": Markup(script),
        # Nothing may be fetched, and no other script may run.
        "policy": f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'",
        "most_classes": MOST_CLASSES,
    }
    template = environment.from_string(folder.joinpath("page.html").read_text(encoding="utf-8"))
    return template.render(values)

"""Every engine x layout x strategy must give the numbers of the NumPy evaluation, step by step.

One suite; what runs is data. A gap is declared with its reason, and fails here once it closes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from sqlglot import exp

from selectron.engines.base import Abilities, Engine, Pages
from selectron.layouts.arrays import lower, offered_orders
from selectron.layouts.base import LOG_PREFIX, BatchColumns, BatchPlan, Step
from selectron.layouts.storage import union_all
from selectron.network import ACTIVATION_NAMES, MLP
from selectron.planning import (
    IN_PARTS,
    LayoutName,
    StrategyName,
    frontier_of,
    gap_of,
    in_term,
    is_staged,
    layout_of,
    register,
)
from selectron.program.evaluate import evaluate
from selectron.program.operations import Array
from selectron.program.tensor import BATCH
from selectron.sql import column, integer, number
from selectron.strategies.nested import nested_query, staged_queries
from selectron.strategies.recursive import recursive_query
from selectron.training.forward import EmbeddingShape, Inputs
from selectron.training.losses import (
    AbsoluteError,
    BinaryCrossEntropy,
    CrossEntropy,
    HalfSquaredError,
    Huber,
    Loss,
    SquaredError,
)
from selectron.training.optimizers import SGD, Adagrad, Adam, AdamW, Momentum, Nesterov, Optimizer, RMSprop
from selectron.training.options import TrainingOptions
from selectron.training.schedules import (
    CosineDecay,
    ExponentialDecay,
    ReduceOnPlateau,
    Schedule,
    StepDecay,
    WarmUp,
)
from selectron.training.step import TrainingStep, build_step

TICKS = 8
ENGINES = ("duckdb", "sqlite", "postgres", "bigquery")

# Engine, layout and strategy that do not go together, and why. One that works must not be here.
GAPS: dict[tuple[str, str, str], str] = {
    (
        "sqlite",
        "columns",
        "recursive",
    ): "a recursive term may not aggregate, nor its subqueries give rows",
    ("sqlite", "relations", "recursive"): "likewise, and the state is many rows",
    ("postgres", "arrays", "recursive"): "arrays have no lambdas here, and no functions are installed",
    ("postgres", "arrays", "nested"): "likewise",
    ("postgres", "arrays", "stepwise"): "likewise",
    ("bigquery", "arrays", "recursive"): "GoogleSQL has no arrays of arrays",
    ("bigquery", "arrays", "nested"): "likewise",
    ("bigquery", "arrays", "stepwise"): "likewise",
    ("bigquery", "relations", "recursive"): "a recursive term may not aggregate, and the state is many rows",
    **{
        (engine, "vectors", strategy): "no vectors"
        for engine in ("duckdb", "sqlite", "bigquery")
        for strategy in StrategyName
    },
    ("sqlite", "relations", "nested"): "each reference to a CTE expands it anew, which grows exponentially",
}

# How near a layout comes to the NumPy evaluation, relative and absolute. The factors of products of vectors
# have single precision; all else has double.
DOUBLE = (1e-9, 1e-12)
TOLERANCES = {"vectors": (1e-5, 1e-5)}

# The reference evaluator of GoogleSQL takes seconds a case: it is given a few that differ most.
SAMPLED = {
    "bigquery": {
        "tanh",
        "weighted SquaredError() of 1",
        "Momentum",
        "penalties, clipping, early stopping",
        "linear regression",
        "embeddings alone",
    }
}


@dataclass(frozen=True)
class Case:
    """A network and how it is trained."""

    name: str
    network: MLP
    loss: Loss = field(default_factory=CrossEntropy)
    options: TrainingOptions = field(default_factory=TrainingOptions)
    units: int = 3
    outputs: int = 3
    embeddings: tuple[EmbeddingShape, ...] = ()
    weighted: bool = False
    validated: bool = True
    rows: tuple[int, int, int] = (9, 5, 5)

    @property
    def plan(self) -> BatchPlan:
        """Rows to train on, rows held out, and rows a batch."""
        training, held_out, size = self.rows
        return BatchPlan(training, held_out if self.validated else 0, size)


def cases() -> list[Case]:
    descent = TrainingOptions(optimizer=SGD(0.1))
    found = [Case(name, MLP([4, 3], activation=name), options=descent) for name in ACTIVATION_NAMES]
    losses: list[tuple[Loss, int]] = [
        (CrossEntropy(0.1), 4),
        (BinaryCrossEntropy(), 1),
        (BinaryCrossEntropy(0.2), 1),
        (SquaredError(), 1),
        (SquaredError(), 3),
        (HalfSquaredError(), 2),
        (AbsoluteError(), 2),
        (Huber(0.5), 2),
    ]
    found += [Case(f"{loss} of {n}", MLP([4]), loss, descent, outputs=n) for loss, n in losses]
    found += [
        Case(f"weighted {loss} of {n}", MLP([3]), loss, descent, outputs=n, weighted=True)
        for loss, n in losses[:4]
    ]
    optimizers: list[Optimizer] = [
        SGD(0.1),
        Momentum(0.1),
        Nesterov(0.1),
        Adagrad(0.1),
        RMSprop(),
        Adam(0.1),
        AdamW(0.1),
    ]
    found += [
        Case(type(optimizer).__name__, MLP([3]), options=TrainingOptions(optimizer=optimizer), units=2)
        for optimizer in optimizers
    ]
    schedules: list[Schedule] = [
        StepDecay(2),
        ExponentialDecay(),
        CosineDecay(3),
        WarmUp(2, 0.1, ExponentialDecay()),
        ReduceOnPlateau(patience=0),
    ]
    found += [
        Case(
            type(schedule).__name__, MLP([3]), options=TrainingOptions(optimizer=SGD(0.1), schedule=schedule)
        )
        for schedule in schedules
    ]
    extras = TrainingOptions(optimizer=SGD(0.1), l1=0.01, l2=0.1, clip_norm=0.1, patience=2, min_delta=0.01)
    embedded = (EmbeddingShape("city", 4, 3), EmbeddingShape("size", 2, 1))
    return [
        *found,
        Case("no hidden layer", MLP([])),
        Case("linear regression", MLP([]), SquaredError(), outputs=1, units=1),
        Case("six layers", MLP([3, 2, 3, 4, 3, 2], activation="tanh"), options=descent),
        Case("layers of one unit", MLP([1, 1], activation="tanh"), units=1, outputs=2),
        Case("one row a batch", MLP([4]), rows=(2, 1, 1)),
        Case("penalties, clipping, early stopping", MLP([4]), options=extras),
        Case("dropout", MLP([4, 3], dropout=0.4), options=descent),
        Case("embeddings", MLP([3]), options=descent, embeddings=embedded),
        Case("embeddings alone", MLP([3]), options=descent, units=0, embeddings=embedded),
        Case("nothing held out", MLP([4]), validated=False),
    ]


def batch_feeds(case: Case, step: TrainingStep) -> list[dict[str, Array]]:
    """Batches of different sizes, the last one held out if the case holds out."""
    generator = np.random.default_rng(3)
    plan, found = case.plan, []
    for batch in range(plan.per_epoch):
        held = batch >= plan.training_batches
        first = (batch - plan.training_batches if held else batch) * plan.size
        rows = min(plan.size, (plan.held_out_rows if held else plan.training_rows) - first)
        feeds: dict[str, Array] = {
            "is_training": np.full((1, 1), 0.0 if held else 1.0),
            "ends_epoch": np.full((1, 1), float(batch == plan.per_epoch - 1)),
        }
        for name, shape in step.program.inputs.items():
            if name in step.state or name in feeds:
                continue
            width = int(shape[1])
            if name.startswith("index: "):
                (entries,) = (e.entries for e in case.embeddings if e.index == name)
                feeds[name] = generator.integers(0, entries, (rows, 1)).astype(float)
            elif name == "target" and isinstance(case.loss, (CrossEntropy, BinaryCrossEntropy)):
                feeds[name] = generator.integers(0, max(2, case.outputs), (rows, 1)).astype(float)
            elif name == "weight":
                feeds[name] = generator.uniform(0.0, 2.0, (rows, 1))
            else:
                feeds[name] = generator.normal(size=(rows, width))
        found.append(feeds)
    return found


def batch_table(
    case: Case, step: TrainingStep, feeds: list[dict[str, Array]]
) -> tuple[exp.Query, BatchColumns]:
    """All rows as one table, and how it feeds the program."""
    shapes = step.program.inputs
    names = {
        name: [f"input_{place}_{unit}" for unit in range(int(shape[1]))]
        for place, (name, shape) in enumerate(shapes.items())
        if shape[0] == BATCH
    }
    rows: list[exp.Select] = []
    positions = {0.0: itertools.count(), 1.0: itertools.count()}
    for batch in feeds:
        is_training = float(batch["is_training"][0, 0])
        for place in range(len(batch["target"])):
            values: dict[str, exp.Expr] = {
                "held": exp.false() if is_training else exp.true(),
                "position": integer(next(positions[is_training])),
            }
            for name, own in names.items():
                numbers = (exp.cast(number(value), "double") for value in batch[name][place])
                values |= dict(zip(own, numbers, strict=True))
            rows.append(exp.select(*(exp.alias_(v, n, quoted=True) for n, v in values.items())))
    fed = {name: [column(n) for n in own] for name, own in names.items()}
    indices = {name: own[0] for name, own in fed.items() if name.startswith("index: ")}
    weight = fed["weight"][0] if "weight" in fed else None
    return union_all(rows), BatchColumns(fed.get("features", []), fed["target"], indices, weight)


# Ticks after which the state is compared. A nested statement has as many steps.
CHECKED = {"recursive": (1, TICKS), "nested": (3,), "stepwise": (1, 4)}


# Engines that hold a large state as pages, and pages so short that even these networks have several.
PAGED = {"postgres": Pages(least=0, size=5, products=1_000)}


@pytest.mark.parametrize("strategy", CHECKED)
@pytest.mark.parametrize(("case", "engine"), [(case, name) for case in cases() for name in PAGED])
def test_pages_agree_with_the_numpy_evaluation(
    case: Case, engine: str, strategy: str, engines: Callable[[str], Engine]
) -> None:
    database = engines(engine)
    assert database.abilities.pages is not None
    agrees(case, database, replace(database.abilities, pages=PAGED[engine]), LayoutName.COLUMNS, strategy)


@pytest.mark.parametrize(
    ("case", "engine", "layout"),
    [
        pytest.param(case, engine, layout, id=f"{case.name}-{engine}-{layout.value}")
        for case in cases()
        for engine in ("duckdb",)
        for layout in IN_PARTS
    ],
)
def test_batches_in_parts_agree_with_the_numpy_evaluation(
    case: Case, engine: str, layout: LayoutName, engines: Callable[[str], Engine]
) -> None:
    database = engines(engine)
    parts = min(3, case.plan.smallest)
    assert frontier_of(database.abilities)
    agrees(case, database, database.abilities, layout, "recursive", parts)


@pytest.mark.parametrize("strategy", CHECKED)
@pytest.mark.parametrize("layout", [name.value for name in LayoutName])
@pytest.mark.parametrize(
    ("case", "engine"),
    [
        pytest.param(case, engine, id=f"{case.name}-{engine}")
        for case in cases()
        for engine in ENGINES
        if case.name in SAMPLED.get(engine, {case.name})
    ],
)
def test_agrees_with_the_numpy_evaluation(
    case: Case, engine: str, layout: str, strategy: str, engines: Callable[[str], Engine]
) -> None:
    database = engines(engine)
    gap = gap_of(database.abilities, LayoutName(layout), StrategyName(strategy))
    if gap is not None:
        assert (engine, layout, strategy) in GAPS, f"a gap that is not declared: {gap}"
        return
    assert (engine, layout, strategy) not in GAPS, "this gap has closed: take it out of the table"
    agrees(case, database, database.abilities, LayoutName(layout), strategy)


def agrees(
    case: Case, database: Engine, abilities: Abilities, layout: LayoutName, strategy: str, parts: int = 1
) -> None:
    """Train a case and compare with the NumPy evaluation."""
    relative, absolute = TOLERANCES.get(layout.value, DOUBLE)
    inputs = Inputs(case.units, case.outputs, case.embeddings)
    step = build_step(
        case.network, inputs, case.loss, case.options, weighted=case.weighted, validated=case.validated
    )
    feeds = batch_feeds(case, step)
    copies = abilities.copies
    shapes = {name: value.shape for name, value in step.state.items()}
    placed = layout_of(abilities, layout, Step(step.program, shapes, len(feeds)), parts)
    register(database, placed)
    query, columns = batch_table(case, step, feeds)
    database.create_temporary("given", query)
    made = placed.tables(
        database.temporary("given"), columns, case.plan, held_out="held", position="position"
    )
    for name, table in made.items():
        database.create_temporary(name, table(database.temporary))
    database.create_temporary("now", placed.initial(step.state, 0))

    state = dict(step.state)
    log: list[dict[str, float]] = []
    for tick in range(1, max(CHECKED[strategy]) + 1):
        batch = feeds[(tick - 1) % len(feeds)]
        if not (state["stopped"] or state["diverged"]):
            found = evaluate(step.program, {**state, **batch})
            state = {name: found[name] for name in state}
            if batch["ends_epoch"]:
                log.append({n: float(v[0, 0]) for n, v in found.items() if n.startswith(LOG_PREFIX)})
        if strategy == "stepwise":
            # Each statement goes on from the table that the one before left.
            now, tables = database.temporary("now"), database.temporary
            if is_staged(abilities, layout):
                stages, one = staged_queries(placed, state=now, tables=tables, until=integer(tick))
                for name, query in stages:
                    database.create_temporary(name, query)
            else:
                one = nested_query(
                    placed, state=now, tables=tables, until=integer(tick), steps=1, copies=copies
                )
            database.create_temporary("next", one)
            taken = database.rows(exp.select(exp.Count(this=exp.Star())).from_(database.temporary("next")))
            if taken[0][0]:
                database.rename_temporary("next", "now")
        if tick not in CHECKED[strategy]:
            continue
        result = database.temporary("now")
        if strategy != "stepwise":
            until = integer(tick)
            now, tables = database.temporary("now"), database.temporary
            if strategy == "recursive":
                direct = in_term(abilities)
                whole = recursive_query(
                    placed,
                    state=now,
                    tables=tables,
                    until=until,
                    in_term=direct,
                    copies=copies,
                    frontier=frontier_of(abilities),
                )
            else:
                whole = nested_query(placed, state=now, tables=tables, until=until, steps=tick, copies=copies)
            database.create_temporary("result", whole)
            result = database.temporary("result")
            rows = exp.select("*").from_(placed.logged(result).subquery("logged"))
            logged = database.rows(rows.order_by(column("place")))
            expected_log = [[line[n] for n in placed.step.logs] for line in log]
            np.testing.assert_allclose(
                [line[1:] for line in logged], expected_log or np.zeros((0,)), rtol=relative, atol=absolute
            )
        cells = union_all([placed.cells(result, name, {"name": name}) for name in state])
        ours = {name: np.full(value.shape, np.nan) for name, value in state.items()}
        for name, row, col, value in database.rows(cells):
            ours[name][int(row), int(col)] = value
        for name, expected in state.items():
            np.testing.assert_allclose(
                ours[name], expected, rtol=relative, atol=absolute, err_msg=f"{name} at {tick}"
            )


def test_gaps_name_what_exists() -> None:
    for engine, layout, strategy in GAPS:
        assert engine in ENGINES
        assert LayoutName(layout)
        assert StrategyName(strategy)


@pytest.mark.parametrize("depth", [1, 4, 16])
def test_the_statement_grows_in_proportion_to_the_depth(depth: int) -> None:
    def size(layers: int) -> int:
        network = MLP([4] * layers, activation="gelu")
        options = TrainingOptions()
        step = build_step(network, Inputs(3, 3), CrossEntropy(), options, weighted=False, validated=True)
        stages = lower(step.program).stages
        return sum(len(value.sql("duckdb")) for stage in stages for _, value in stage.columns)

    assert size(2 * depth) < 2.2 * size(depth)


def test_the_statement_does_not_grow_with_the_width() -> None:
    def size(units: int) -> int:
        options = TrainingOptions()
        step = build_step(
            MLP([units]), Inputs(units, 3), CrossEntropy(), options, weighted=False, validated=True
        )
        stages = lower(step.program).stages
        return sum(len(value.sql("duckdb")) for stage in stages for _, value in stage.columns)

    assert size(512) < 1.02 * size(8)


def test_batch_is_the_dynamic_axis() -> None:
    assert offered_orders((BATCH, 3)) != offered_orders((4, 3))

"""Every engine x layout x strategy must give the numbers of the NumPy evaluation, step by step.

One suite; what runs is data. A gap is declared with its reason, and fails here once it closes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from sqlglot import exp

from selectron.engines.duckdb import DuckDB
from selectron.layouts.arrays import BY_ROWS, input_column, lower, offered_orders
from selectron.layouts.storage import array_literal
from selectron.network import ACTIVATION_NAMES, MLP
from selectron.program.evaluate import evaluate
from selectron.program.operations import Array
from selectron.program.tensor import BATCH, Shape
from selectron.sql import integer
from selectron.strategies.recursive import Recursion, recursive_query
from selectron.training.forward import EmbeddingShape, Inputs
from selectron.training.losses import (
    AbsoluteError,
    BinaryCrossEntropy,
    CrossEntropy,
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

TICKS, BATCHES = 9, 3
ENGINES = {"duckdb": DuckDB}


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
    rows: tuple[int, ...] = (5, 4, 6)


def cases() -> list[Case]:
    found = [Case(name, MLP([4, 3], activation=name)) for name in ACTIVATION_NAMES]
    losses: list[tuple[Loss, int]] = [
        (CrossEntropy(0.1), 4),
        (BinaryCrossEntropy(), 1),
        (BinaryCrossEntropy(0.2), 1),
        (SquaredError(), 1),
        (SquaredError(), 3),
        (AbsoluteError(), 2),
        (Huber(0.5), 2),
    ]
    found += [Case(f"{loss} of {n}", MLP([4]), loss, outputs=n) for loss, n in losses]
    found += [
        Case(f"weighted {loss} of {n}", MLP([4]), loss, outputs=n, weighted=True) for loss, n in losses[:4]
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
        Case(type(optimizer).__name__, MLP([4]), options=TrainingOptions(optimizer=optimizer))
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
        Case(type(schedule).__name__, MLP([4]), options=TrainingOptions(schedule=schedule))
        for schedule in schedules
    ]
    extras = TrainingOptions(l1=0.01, l2=0.1, clip_norm=0.1, patience=2, min_delta=0.01)
    embedded = (EmbeddingShape("city", 4, 3), EmbeddingShape("size", 2, 1))
    return [
        *found,
        Case("no hidden layer", MLP([])),
        Case("linear regression", MLP([]), SquaredError(), outputs=1, units=1),
        Case("six layers", MLP([5, 4, 3, 4, 5, 2], activation="tanh")),
        Case("layers of one unit", MLP([1, 1], activation="tanh"), units=1, outputs=2),
        Case("one row a batch", MLP([4]), rows=(1, 1, 1)),
        Case("penalties, clipping, early stopping", MLP([4]), options=extras),
        Case("dropout", MLP([8, 4], dropout=0.4)),
        Case("embeddings", MLP([4]), embeddings=embedded),
        Case("embeddings alone", MLP([4]), units=0, embeddings=embedded),
        Case("nothing held out", MLP([4]), validated=False),
    ]


def batch_feeds(case: Case, step: TrainingStep) -> list[dict[str, Array]]:
    """Batches of different sizes, the last one held out if the case holds out."""
    generator = np.random.default_rng(3)
    found = []
    for number, rows in enumerate(case.rows):
        feeds: dict[str, Array] = {
            "is_training": np.full((1, 1), float(not case.validated or number < BATCHES - 1)),
            "ends_epoch": np.full((1, 1), float(number == BATCHES - 1)),
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


def offered(name: str, value: Array, shape: Shape) -> dict[str, exp.Expr]:
    """A fed tensor as the columns that the layout offers it in; lists even if a batch has one row."""
    columns: dict[str, exp.Expr] = {}
    for order in offered_orders(shape):
        array = value if order == BY_ROWS else value.T
        lists = [extent != 1 for extent in (shape if order == BY_ROWS else shape[::-1])]
        nested: Any = array.tolist()
        if not lists[1]:
            nested = [row[0] for row in nested]
        if not lists[0]:
            nested = nested[0]
        type_ = "DOUBLE" + "[]" * sum(lists)
        columns[input_column(name, shape, order)] = exp.cast(
            exp.Literal.string(str(nested)), type_, dialect="duckdb"
        )
    return columns


def batches_relation(feeds: list[dict[str, Array]], shapes: dict[str, Shape]) -> exp.Query:
    rows = []
    for number, batch in enumerate(feeds):
        columns: dict[str, exp.Expr] = {"batch": integer(number)}
        for name, value in batch.items():
            columns |= offered(name, value, shapes.get(name, (1, 1)))
        rows.append(exp.select(*(exp.alias_(v, n, quoted=True) for n, v in columns.items())))
    query: exp.Query = rows[0]
    for row in rows[1:]:
        query = exp.Union(this=query, expression=row, distinct=False)
    return query


@pytest.mark.parametrize("strategy", ["recursive"])
@pytest.mark.parametrize("layout", ["arrays"])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_agrees_with_the_numpy_evaluation(case: Case, engine: str, layout: str, strategy: str) -> None:
    inputs = Inputs(case.units, case.outputs, case.embeddings)
    step = build_step(
        case.network, inputs, case.loss, case.options, weighted=case.weighted, validated=case.validated
    )
    feeds = batch_feeds(case, step)
    database = ENGINES[engine]()
    database.create_temporary("batches", batches_relation(feeds, step.program.inputs))
    start = exp.select(
        exp.alias_(exp.cast(integer(0), "bigint"), "tick", quoted=True),
        *(exp.alias_(array_literal(value), name, quoted=True) for name, value in step.state.items()),
    )
    database.create_temporary("now", start)
    recursion = Recursion(step.program, tuple(step.state), BATCHES)
    state = dict(step.state)
    log: dict[str, list[float]] = {name: [] for name in recursion.logs}
    for tick in range(1, TICKS + 1):
        batch = feeds[(tick - 1) % BATCHES]
        if not (state["stopped"] or state["diverged"]):
            found = evaluate(step.program, {**state, **batch})
            state = {name: found[name] for name in state}
            if batch["ends_epoch"]:
                for name, values in log.items():
                    values.append(float(found[name][0, 0]))
        if tick not in (1, 2, TICKS):
            continue
        query = recursive_query(
            recursion,
            state=database.temporary("now"),
            batches=database.temporary("batches"),
            until=integer(tick),
        )
        names = [str(name) for name in query.named_selects]
        row = dict(zip(names, database.rows(query)[0], strict=True))
        for name, expected in state.items():
            ours = np.array(row[name], dtype=float)
            ours = ours.T if 1 not in expected.shape else ours.reshape(expected.shape)
            np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-12, err_msg=f"{name} at {tick}")
        for name, values in log.items():
            np.testing.assert_allclose(row[name], values, rtol=1e-9, atol=1e-12, err_msg=name)
    database.close()


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

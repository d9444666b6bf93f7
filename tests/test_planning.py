"""Which layout is chosen, and how many steps a statement begins with."""

from __future__ import annotations

import pytest

from selectron.engines.base import Abilities, Arrays, Limits, Recursion
from selectron.engines.postgres import ABILITIES, Postgres
from selectron.layouts.base import BatchPlan, Step
from selectron.network import MLP
from selectron.pacing import Pace
from selectron.planning import LayoutName, StrategyName, choose
from selectron.training.forward import Inputs
from selectron.training.losses import CrossEntropy
from selectron.training.optimizers import SGD
from selectron.training.options import TrainingOptions
from selectron.training.step import build_step


def step_of(features: int, network: MLP, classes: int) -> Step:
    """A step of gradient descent over all rows."""
    step = build_step(
        network,
        Inputs(features, classes),
        CrossEntropy(),
        TrainingOptions(optimizer=SGD(0.1)),
        weighted=False,
        validated=False,
    )
    return Step(step.program, {name: value.shape for name, value in step.state.items()}, 1)


@pytest.mark.parametrize(
    ("shape", "rows", "layout"),
    [
        ((4, 20, 3), 150, LayoutName.COLUMNS),
        ((64, 32, 10), 1_797, LayoutName.COLUMNS),
        ((784, 20, 10), 2_000, LayoutName.COLUMNS),
        # Too many weights, and queries that are too wide.
        ((784, 200, 10), 2_000, LayoutName.RELATIONS),
        ((8, 1_100, 2), 100, LayoutName.RELATIONS),
    ],
)
def test_the_layout_of_a_network(shape: tuple[int, int, int], rows: int, layout: LayoutName) -> None:
    features, hidden, classes = shape
    step = step_of(features, MLP([hidden]), classes)
    chosen = choose(ABILITIES, Postgres.limits, step, BatchPlan(rows, 0, rows))
    assert (chosen.layout, chosen.strategy) == (layout, StrategyName.RECURSIVE)


def test_statements_that_gather_all_batches_first_have_more_steps() -> None:
    step = step_of(30, MLP([32]), 2)
    lists = Abilities(Recursion.FREE, Arrays.LISTS)
    choices = [choose(lists, Limits(), step, BatchPlan(rows, 0, 2_048)) for rows in (10_000, 1_000_000)]
    assert [choice.layout for choice in choices] == [LayoutName.ARRAYS] * 2
    assert choices[0].seconds == choices[1].seconds
    ticks = [Pace.guessed(choice.seconds, choice.planned).ticks for choice in choices]
    assert 1.5 * ticks[0] < ticks[1]

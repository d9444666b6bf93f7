"""Which layout and which strategy: decided from the network, the rows and the engine before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from selectron.engines.base import Abilities, Arrays, Cores, Engine, Limits, Pages, Recursion, Vectors
from selectron.errors import ConfigurationError, EngineError
from selectron.layouts.arrays_step import ListsLayout
from selectron.layouts.base import BatchPlan, Layout, Step
from selectron.layouts.columns_step import ColumnsLayout
from selectron.layouts.functions import AGGREGATES, FUNCTIONS
from selectron.layouts.functions_step import FunctionsLayout
from selectron.layouts.relations_step import RelationsLayout
from selectron.layouts.vectors_step import VectorsLayout
from selectron.program.expansion import without_scatter
from selectron.program.operations import MatMul, Scatter
from selectron.program.tensor import BATCH

__all__ = [
    "IN_PARTS",
    "Choice",
    "LayoutName",
    "StrategyName",
    "choose",
    "frontier_of",
    "gap_of",
    "in_term",
    "is_staged",
    "layout_of",
    "parse_layout",
    "parse_strategy",
    "register",
    "register_functions",
]


class LayoutName(StrEnum):
    """How tensors are laid out."""

    ARRAYS = "arrays"
    COLUMNS = "columns"
    RELATIONS = "relations"
    VECTORS = "vectors"


# Layouts that are used on the user's word alone, and why.
ASKED_FOR: Final[Mapping[LayoutName, str]] = {
    LayoutName.VECTORS: "with products in single precision, so only if asked for"
}
# What to do where vectors are missing. Extensions are never created here: they outlive a training.
CREATE_EXTENSION: Final = "let a superuser run CREATE EXTENSION vector in this database, and connect again"
REMEDIES: Final[Mapping[Vectors, str]] = {
    Vectors.UNCREATED: f"To have it, {CREATE_EXTENSION}",
    Vectors.OLD: "Let a superuser run ALTER EXTENSION vector UPDATE in this database, and connect again",
    Vectors.ABSENT: f"To have it, install pgvector on the server, {CREATE_EXTENSION}",
}


class StrategyName(StrEnum):
    """How steps are repeated."""

    RECURSIVE = "recursive"
    NESTED = "nested"
    STEPWISE = "stepwise"


def in_term(abilities: Abilities) -> bool:
    """Whether a recursive term must be one query over the relation that recurs."""
    return abilities.recursion in (Recursion.SCALAR, Recursion.ROW)


def frontier_of(abilities: Abilities) -> int:
    """How many rows a recursion has to carry along to run on several cores; 0 if that is of no use."""
    return 0 if abilities.cores is None else abilities.cores.frontier


def is_staged(abilities: Abilities, layout: LayoutName) -> bool:
    """Whether each relation of a step is made as a table of its own."""
    return layout is LayoutName.RELATIONS and abilities.expands


def gap_of(abilities: Abilities, layout: LayoutName, strategy: StrategyName) -> str | None:
    """Why an engine cannot run a layout with a strategy; None if it can.

    >>> gap_of(Abilities(Recursion.SCALAR, Arrays.FUNCTIONS), LayoutName.COLUMNS, StrategyName.RECURSIVE)
    'a recursive term that may not aggregate cannot sum over the rows of a batch'
    """
    if layout is LayoutName.VECTORS:
        return str(abilities.vectors) or None
    if layout is LayoutName.ARRAYS:
        return "it has neither lists nor functions of ours" if abilities.arrays is Arrays.NONE else None
    if layout is LayoutName.RELATIONS and strategy is StrategyName.NESTED and abilities.expands:
        return "each reference to a named query expands it anew, and relations are read several times"
    if layout is LayoutName.COLUMNS and abilities.recursion is Recursion.ROW:
        return None
    if strategy is StrategyName.RECURSIVE and in_term(abilities):
        return "a recursive term that may not aggregate cannot sum over the rows of a batch"
    return None


def pages_of(abilities: Abilities, step: Step) -> Pages | None:
    """How the columns layout holds the state as arrays; None if each number is a column."""
    pages = abilities.pages
    return None if pages is None or cells_of(step) < pages.least else pages


def layout_of(abilities: Abilities, name: LayoutName, step: Step, parts: int = 1) -> Layout:
    """A step in a layout, as the engine does it, a batch in so many parts if the layout has them."""
    if name is LayoutName.COLUMNS:
        with_rows = abilities.recursion is Recursion.ROW
        pages = pages_of(abilities, step)
        page = None if pages is None else pages.size
        return ColumnsLayout(
            step,
            in_line=abilities.expands,
            with_rows=with_rows,
            page=page,
            compares=abilities.compares,
            parts=parts,
        )
    if name is LayoutName.RELATIONS:
        return RelationsLayout(step)
    if name is LayoutName.VECTORS:
        return VectorsLayout(step)
    return ListsLayout(step, parts) if abilities.arrays is Arrays.LISTS else FunctionsLayout(step)


def register(engine: Engine, layout: Layout) -> None:
    """Give the connection the functions that a layout calls."""
    if isinstance(layout, FunctionsLayout):
        register_functions(engine)


def register_functions(engine: Engine) -> None:
    """Give the connection the functions that compute with tensors."""
    for name, (arity, function) in FUNCTIONS.items():
        engine.register(name, arity, function)
    for name, (arity, aggregate) in AGGREGATES.items():
        engine.register_aggregate(name, arity, aggregate)


@dataclass(frozen=True)
class Cost:
    """What a step costs, measured once on a two-core machine; only the order of magnitude matters.

    `planned` is what planning a statement takes for each product of a row, `gathered` what a statement
    takes for each number of all batches before its first step, where it has to have them at hand.
    """

    step: float
    cell: float
    unit: float
    product: float
    planned: float = 0.0
    gathered: float = 0.0

    def seconds(self, cells: int, units: int, products: int) -> float:
        """The time of a step: of so many numbers of the state, units of all rows, and products."""
        return self.step + self.cell * cells + self.unit * units + self.product * products


COSTS: Final[dict[LayoutName, dict[Arrays, Cost]]] = {
    LayoutName.ARRAYS: {
        # Each statement builds the hash table of a join on all batches.
        Arrays.LISTS: Cost(4e-4, 2e-8, 8e-8, 1.5e-9, gathered=2e-8),
        Arrays.FUNCTIONS: Cost(5e-4, 2e-8, 1.5e-7, 2e-10),
    },
    LayoutName.COLUMNS: {
        **dict.fromkeys(Arrays, Cost(1e-3, 1e-5, 2e-8, 4e-9)),
        # There the state travels along with every row.
        Arrays.FUNCTIONS: Cost(3e-3, 2e-5, 1.6e-6, 1e-7),
        # Of servers, that evaluate an expression row by row.
        Arrays.NONE: Cost(1e-3, 4e-6, 1.2e-7, 1.5e-8, planned=2e-5),
    },
    LayoutName.RELATIONS: dict.fromkeys(Arrays, Cost(6e-3, 2e-6, 2e-7, 1.5e-7)),
    LayoutName.VECTORS: dict.fromkeys(Arrays, Cost(1.5e-3, 6e-7, 2e-7, 6e-10)),
}


@dataclass(frozen=True)
class Choice:
    """A layout and a strategy, and why.

    Attributes
    ----------
    seconds
        The predicted time of a step.
    reasons
        A line for each layout: its predicted time, or why it is out of the question.
    planned
        The predicted time that each statement takes before its first step.
    parts
        How many parts a batch has, which are worked on side by side as far as there are cores.
    """

    layout: LayoutName
    strategy: StrategyName
    seconds: float
    reasons: tuple[str, ...]
    planned: float = 0.0
    parts: int = 1

    @property
    def steps(self) -> int:
        """How many steps a statement has, unless the user says: one, or as many as nest well."""
        return 10 if self.strategy is StrategyName.NESTED else 1


# Layouts in which a row has a product with each entry of an embedding, not with its own alone.
WRITTEN_OUT: Final = (LayoutName.COLUMNS, LayoutName.VECTORS)


def products_of(step: Step, layout: LayoutName) -> int:
    """Products of a row of the batch, forward and backward."""
    total = 0
    program = without_scatter(step.program) if layout in WRITTEN_OUT else step.program
    for tensor in program.tensors():
        if isinstance(tensor.operation, Scatter):
            total += int(tensor.shape[1])
        elif isinstance(tensor.operation, MatMul):
            extents = {*tensor.inputs[0].shape, *tensor.inputs[1].shape}
            sizes = [extent for extent in extents if isinstance(extent, int)]
            product = 1
            for size in sizes:
                product *= size
            total += product
    return total


def units_of(step: Step) -> int:
    """Units that products give for a row."""
    products = {t for t in step.program.tensors() if isinstance(t.operation, MatMul) and t.shape[0] == BATCH}
    return sum(int(tensor.shape[1]) for tensor in products)


def fed_of(step: Step) -> int:
    """Numbers that a row of a batch has."""
    return sum(int(shape[1]) for shape in step.program.inputs.values() if shape[0] == BATCH)


def cells_of(step: Step) -> int:
    """Numbers of the state."""
    return sum(int(rows) * int(units) for rows, units in step.state.values())


def limit_of(name: LayoutName, step: Step, abilities: Abilities, limits: Limits, rows: int = 0) -> str | None:
    """The limit of the engine that a step on batches of so many rows would break, if any."""
    if name is LayoutName.VECTORS:
        placed = VectorsLayout(step)
        needed = placed.widest + OWN_COLUMNS
        if limits.entries is not None and needed > limits.entries:
            return f"it needs {needed} columns in a query, and the engine takes {limits.entries}"
        return placed.problem(rows)
    if name is LayoutName.ARRAYS:
        return None
    pages = pages_of(abilities, step) if name is LayoutName.COLUMNS else None
    products = products_of(step, name)
    if pages is not None and products > pages.products:
        return f"a row needs {products} products, and the engine plans statements of {pages.products}"
    state = cells_of(step) + len(step.logs) if name is LayoutName.COLUMNS and pages is None else 0
    needed = max(fed_of(step), state) + OWN_COLUMNS
    if limits.columns is not None and needed > limits.columns:
        return f"it needs {needed} columns, and the engine takes {limits.columns}"
    if limits.entries is not None and name is LayoutName.COLUMNS:
        layout = layout_of(abilities, name, step)
        width = layout.width if isinstance(layout, ColumnsLayout) else 0
        if width > limits.entries:
            return f"it needs queries of {width} columns, and the engine takes {limits.entries}"
    return None


# Layouts that take a batch in parts, where the engine has lists.
IN_PARTS: Final = (LayoutName.ARRAYS, LayoutName.COLUMNS)
# What each part is expected to take of a step at the least, and what having parts costs a step.
PART_SECONDS: Final = 3e-3
CROWD_SECONDS: Final = 1e-3
# Each part is written out in the statement, and planned.
MOST_PARTS: Final = 8


def parts_of(
    abilities: Abilities,
    layout: LayoutName,
    strategy: StrategyName,
    plan: BatchPlan,
    seconds: float,
    known: int | None = None,
) -> int:
    """How many parts a batch has, so that the cores share a step that would take one so long.

    `known` is how many it had when the training began.

    >>> abilities = Abilities(Recursion.FREE, Arrays.LISTS, cores=Cores(4, 8_194, 100_000))
    >>> plan, columns, recursive = BatchPlan(300_000, 0, 300_000), LayoutName.COLUMNS, StrategyName.RECURSIVE
    >>> [parts_of(abilities, columns, recursive, plan, seconds) for seconds in (0.1, 0.03, 0.001)]
    [4, 4, 1]
    """
    cores = abilities.cores
    if cores is None or strategy is not StrategyName.RECURSIVE or layout not in IN_PARTS:
        return 1
    parts = min(cores.count, MOST_PARTS, int(seconds / PART_SECONDS)) if known is None else known
    most = MOST_PARTS
    if layout is LayoutName.COLUMNS:
        # The rows of a part are a table, for one core to add up; a part may have a row more of each batch.
        room = cores.rows - plan.per_epoch
        if room < 1:
            return 1
        if known is None and parts > 1:
            parts = max(parts, -(-(plan.training_rows + plan.held_out_rows) // room))
    else:
        # A sum over a list without rows is no number.
        most = min(most, plan.smallest)
    return parts if 1 < parts <= most else 1


def shared(seconds: float, parts: int, cores: Cores | None) -> float:
    """What a step takes whose parts are worked on side by side, as far as there are cores for them.

    >>> round(shared(0.03, 3, Cores(2, 8_194, 100_000)), 3), shared(0.03, 1, None)
    (0.021, 0.03)
    """
    if parts == 1 or cores is None:
        return seconds
    return seconds / parts * -(-parts // cores.count) + CROWD_SECONDS


# The batch's number, the row's place and the like.
OWN_COLUMNS: Final = 5


@dataclass(frozen=True)
class Candidate:
    """What is known of a layout before it is chosen: how it would run, or why it cannot."""

    layout: LayoutName
    strategy: StrategyName
    problem: str | None = None
    seconds: float = 0.0
    parts: int = 1

    @property
    def line(self) -> str:
        """What to tell of it."""
        if self.problem is not None:
            return f"{self.layout}: {self.problem}"
        side_by_side = f", each batch in {self.parts} parts side by side" if self.parts > 1 else ""
        return f"{self.layout}, {self.strategy}: about {self.seconds * 1000:.3g} ms a step{side_by_side}"


def candidate(
    name: LayoutName,
    abilities: Abilities,
    limits: Limits,
    step: Step,
    plan: BatchPlan,
    strategy: StrategyName | None,
    parts: int | None,
    *,
    limited: bool,
) -> Candidate:
    """A layout with the strategy that is asked for, or else with the best that runs there.

    `limited` is whether to look for limits that it breaks, for which some layouts lower the whole step.
    """
    tried = StrategyName.RECURSIVE if strategy is None else strategy
    problem = gap_of(abilities, name, tried)
    if problem is not None and strategy is None:
        tried = StrategyName.STEPWISE
        problem = gap_of(abilities, name, tried)
    if limited:
        problem = problem or limit_of(name, step, abilities, limits, plan.size)
    if problem is not None:
        return Candidate(name, tried, problem)
    units, products = units_of(step) * plan.size, products_of(step, name) * plan.size
    seconds = COSTS[name][abilities.arrays].seconds(cells_of(step), units, products)
    split = parts_of(abilities, name, tried, plan, seconds, parts)
    return Candidate(name, tried, None, shared(seconds, split, abilities.cores), split)


def choose(
    abilities: Abilities,
    limits: Limits,
    step: Step,
    plan: BatchPlan,
    layout: LayoutName | None = None,
    strategy: StrategyName | None = None,
    parts: int | None = None,
) -> Choice:
    """The cheapest layout that the engine can run, or the one that is asked for.

    `parts` is how many parts a batch had when the training began, None if it begins.

    Raises
    ------
    EngineError
        If the engine cannot run what is asked for, naming the limit and the alternative.
    """
    # Some are not to be chosen, but to be known of where they run.
    waiting = {name for name in ASKED_FOR if name is not layout}
    found = [
        candidate(name, abilities, limits, step, plan, strategy, parts, limited=name not in waiting)
        for name in LayoutName
    ]
    known = [it for it in found if it.layout in waiting]
    wanted = [it for it in found if it.layout not in waiting]
    reasons = [it.line for it in wanted]
    reasons += [f"{it.line}, {ASKED_FOR[it.layout]}" for it in known if it.problem is None]
    asked = [it for it in wanted if layout in (None, it.layout)]
    ready = [it for it in asked if it.problem is None]
    if not ready:
        remedy = REMEDIES.get(abilities.vectors) if layout is LayoutName.VECTORS else None
        raise EngineError(
            f"Layout {layout} with strategy {strategy or StrategyName.RECURSIVE} does not run here: "
            f"{'; '.join(it.problem for it in asked if it.problem is not None)}.",
            hint=". ".join(filter(None, (remedy, "; ".join(reasons)))) + ".",
        )
    best = min(ready, key=lambda it: it.seconds)
    cost = COSTS[best.layout][abilities.arrays]
    numbers = (plan.training_rows + plan.held_out_rows) * fed_of(step)
    return Choice(
        best.layout,
        best.strategy,
        best.seconds,
        tuple(reasons),
        cost.planned * products_of(step, best.layout) + cost.gathered * numbers,
        best.parts,
    )


def parse_layout(name: str | None) -> LayoutName | None:
    """A layout by its name; None chooses."""
    try:
        return None if name is None else LayoutName(name)
    except ValueError:
        raise ConfigurationError(
            f"There is no layout {name!r}.", hint=f"Use one of {', '.join(LayoutName)}."
        ) from None


def parse_strategy(name: str | None) -> StrategyName | None:
    """A strategy by its name; None chooses."""
    try:
        return None if name is None else StrategyName(name)
    except ValueError:
        raise ConfigurationError(
            f"There is no strategy {name!r}.", hint=f"Use one of {', '.join(StrategyName)}."
        ) from None

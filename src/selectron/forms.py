"""How a query over rows holds a row's part of a tensor: as a list, as a column for each unit, or as one value
that our functions read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlglot import exp

from selectron.layouts import arrays as lists
from selectron.layouts import columns, functions
from selectron.layouts.placing import element_name, elements
from selectron.layouts.stages import Stage
from selectron.program.operations import Array
from selectron.program.program import Program
from selectron.program.tensor import BATCH
from selectron.sql import column, integer

__all__ = ["BY_COLUMNS", "BY_FUNCTIONS", "BY_LISTS", "Form"]

Expression = exp.Expr
Tensors = Mapping[str, Sequence[Expression]]


@dataclass(frozen=True)
class Form:
    """A way to hold tensors.

    Attributes
    ----------
    fed
        The columns that a program reads, from the units of each tensor.
    stages
        The stages of a program, of which some inputs may be known numbers; each element of an output is a
        column in the end (:func:`~selectron.layouts.placing.element_name`).
    """

    fed: Callable[[Tensors], dict[str, Expression]]
    stages: Callable[[Program, Mapping[str, Array]], list[Stage]]


def lists_fed(tensors: Tensors) -> dict[str, Expression]:
    return {
        name: units[0] if len(units) == 1 else exp.Array(expressions=list(units))
        for name, units in tensors.items()
        if units
    }


def list_stages(program: Program, constants: Mapping[str, Array]) -> list[Stage]:
    lowered = lists.lower(program, batch_in_rows=True)

    def element(name: str, unit: int) -> Expression:
        return exp.Bracket(this=column(name), expressions=[integer(unit + 1)], offset=1)

    return [*lowered.stages, *split(program, lowered.outputs, element)]


def columns_fed(tensors: Tensors) -> dict[str, Expression]:
    return {
        element_name(name, (BATCH, len(units)), 0, unit): value
        for name, units in tensors.items()
        for unit, value in enumerate(units)
    }


def column_stages(program: Program, constants: Mapping[str, Array]) -> list[Stage]:
    lowered = columns.lower(program, constants)
    outputs = [element for name in program.outputs for element in lowered.outputs[name]]
    return [*lowered.phases[0].once, *lowered.phases[0].rows, Stage(tuple(outputs))]


def functions_fed(tensors: Tensors) -> dict[str, Expression]:
    return {name: functions.tensor_of_row(units) for name, units in tensors.items() if units}


def function_stages(program: Program, constants: Mapping[str, Array]) -> list[Stage]:
    lowered = functions.lower(program, constants)

    def element(name: str, unit: int) -> Expression:
        return functions.call("element", column(name), integer(unit))

    return [*lowered.stages, *split(program, lowered.outputs, element)]


def split(
    program: Program,
    outputs: Mapping[str, Expression],
    element: Callable[[str, int], Expression],
) -> list[Stage]:
    """Stages that name the outputs, and then each of their elements."""
    units = tuple(
        (element_name(name, tensor.shape, i, j), element(name, j))
        for name, tensor in program.outputs.items()
        if tensor.shape[1] != 1
        for i, j in elements(tensor.shape)
    )
    whole = Stage(tuple(outputs.items()))
    return [whole, Stage(units)] if units else [whole]


BY_LISTS: Final = Form(lists_fed, list_stages)
BY_COLUMNS: Final = Form(columns_fed, column_stages)
BY_FUNCTIONS: Final = Form(functions_fed, function_stages)

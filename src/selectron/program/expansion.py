"""Programs without the operations that a layout has no short form for."""

from __future__ import annotations

from collections.abc import Callable

from selectron.program.operations import Scatter, matmul, one_hot, transpose
from selectron.program.program import Program
from selectron.program.tensor import Tensor, apply

__all__ = ["without_scatter"]


def without_scatter(program: Program, unless: Callable[[Tensor], bool] = lambda tensor: False) -> Program:
    """The program with sums by an index as products with a matrix of zeros and ones.

    Such a product is entries times as much work, but every layout has it.

    Parameters
    ----------
    unless
        Which sums stay as they are.

    Examples
    --------
    >>> from selectron.program.operations import input_, scatter
    >>> x, i, w = input_("x", ("batch", 2)), input_("i", ("batch", 1)), input_("w", (5, 2))
    >>> without_scatter(Program({"y": scatter(x, i, w)})).outputs["y"].operation
    MatMul()
    """
    tensors = program.tensors()
    if all(unless(tensor) for tensor in tensors if isinstance(tensor.operation, Scatter)):
        return program
    made: dict[Tensor, Tensor] = {}
    for tensor in tensors:
        parts = [made[part] for part in tensor.inputs]
        if isinstance(tensor.operation, Scatter) and not unless(tensor):
            values, index, table = parts
            made[tensor] = matmul(transpose(one_hot(index, int(table.shape[0]))), values)
        else:
            made[tensor] = apply(tensor.operation, *parts)
    outputs = {name: made[tensor] for name, tensor in program.outputs.items()}
    return Program(outputs, {made[t]: label for t, label in program.labels.items() if t in made})

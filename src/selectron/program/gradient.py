"""Reverse-mode gradients: a program's gradient is more program."""

from __future__ import annotations

from collections.abc import Sequence

from selectron.program.operations import ShapeError, add, broadcast, constant, sum_
from selectron.program.tensor import Shape, Tensor, topological

__all__ = ["gradients"]


def gradients(output: Tensor, targets: Sequence[Tensor]) -> list[Tensor]:
    """The gradient of a scalar with respect to each target.

    The walk is reverse-mode differentiation (Linnainmaa 1970): tensors are visited from the output
    back, each hands its gradient to its inputs by its operation's rule, and sums what it was handed.

    Parameters
    ----------
    output
        A tensor of shape (1, 1).
    targets
        Tensors to differentiate by.

    Returns
    -------
    list of Tensor
        One for each target, of its shape; zeros where the output does not depend on it.

    Raises
    ------
    ShapeError
        If the output is no scalar.

    Examples
    --------
    >>> from selectron.program.operations import input_, multiply
    >>> x = input_("x", (1, 1))
    >>> gradients(multiply(x, x), [x])[0].operation
    Add()
    """
    if not output.is_scalar:
        raise ShapeError(f"Only a scalar has a gradient here, and {output} is none.")
    order = list(topological([output]))
    needed = set(targets)
    for tensor in order:
        if any(dependency in needed for dependency in tensor.inputs):
            needed.add(tensor)
    collected: dict[Tensor, Tensor] = {output: constant(1.0)}
    for tensor in reversed(order):
        if tensor not in needed or tensor not in collected or not tensor.inputs:
            continue
        parts = tensor.operation.gradient(tensor, collected[tensor])
        for dependency, part in zip(tensor.inputs, parts, strict=True):
            if part is None or dependency not in needed:
                continue
            part = reduce_to(part, dependency.shape)
            earlier = collected.get(dependency)
            collected[dependency] = part if earlier is None else add(earlier, part)
    return [broadcast(collected.get(target, constant(0.0)), target) for target in targets]


def reduce_to(gradient: Tensor, shape: Shape) -> Tensor:
    """Sum a gradient over the axes along which its tensor was broadcast."""
    for axis in (0, 1):
        if shape[axis] == 1:
            gradient = sum_(gradient, axis)
    return gradient

"""The NumPy evaluation of a program: what every engine's numbers are checked against."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from selectron.program.operations import Array, Input, ShapeError
from selectron.program.program import Program
from selectron.program.tensor import Tensor

__all__ = ["evaluate"]


def evaluate(program: Program, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Compute a program's outputs in float64.

    Parameters
    ----------
    program
        What to compute.
    feeds
        An array of two axes for each input of the program.

    Raises
    ------
    ShapeError
        If a feed is missing or of another shape than the program says.

    Examples
    --------
    >>> from selectron.program.operations import input_, sum_
    >>> x = input_("x", ("batch", 2))
    >>> evaluate(Program({"total": sum_(x)}), {"x": np.array([[1.0, 2.0], [3.0, 4.0]])})
    {'total': array([[10.]])}
    """
    values: dict[Tensor, Array] = {}
    extents: dict[str, int] = {}
    for tensor in program.tensors():
        operation = tensor.operation
        if isinstance(operation, Input):
            value = fed(operation, feeds, extents)
        else:
            value = operation.evaluate(*(values[dependency] for dependency in tensor.inputs))
        values[tensor] = value
    return {name: values[tensor] for name, tensor in program.outputs.items()}


def fed(operation: Input, feeds: Mapping[str, Array], extents: dict[str, int]) -> Array:
    """The array fed for an input, its shape checked; named extents must agree between inputs."""
    if operation.name not in feeds:
        raise ShapeError(f"Input {operation.name!r} is not fed.")
    value = np.asarray(feeds[operation.name], dtype=np.float64)
    if value.ndim != 2:
        raise ShapeError(
            f"Input {operation.name!r} has shape {value.shape}, not {operation.fed_shape}.",
            hint="Feed an array of two axes.",
        )
    for extent, length in zip(operation.fed_shape, value.shape, strict=True):
        expected = extents.setdefault(extent, length) if isinstance(extent, str) else extent
        if length != expected:
            raise ShapeError(
                f"Input {operation.name!r} has shape {value.shape}, not {operation.fed_shape}.",
                hint=f"Its extent {length} should be {expected}.",
            )
    return value

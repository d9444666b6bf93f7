"""What layouts recognize in a program."""

from __future__ import annotations

from selectron.program import operations as op
from selectron.program.tensor import BATCH, Tensor

__all__ = ["is_aggregate", "pick_of"]


def pick_of(tensor: Tensor) -> tuple[Tensor, Tensor] | None:
    """The index and the values, if a tensor sums the one value of each row that the index names.

    >>> from selectron.program.operations import constant, equal, input_, range_, sum_, where
    >>> x, index = input_("x", ("batch", 3)), input_("i", ("batch", 1))
    >>> picked = sum_(where(equal(index, range_(3)), x, constant(0.0)), 1)
    >>> pick_of(picked) == (index, x)
    True
    """
    if isinstance(tensor.operation, op.Sum) and tensor.operation.axis == 1:
        (chosen,) = tensor.inputs
        if isinstance(chosen.operation, op.Where):
            condition, values, otherwise = chosen.inputs
            if isinstance(condition.operation, op.Equal) and otherwise is op.constant(0.0):
                index, places = condition.inputs
                if isinstance(places.operation, op.Range) and values.shape == chosen.shape:
                    return index, values
    return None


def is_aggregate(tensor: Tensor) -> bool:
    """Whether a tensor is one for the whole batch, computed of its rows: a sum or a maximum over them.

    >>> from selectron.program.operations import input_, sum_
    >>> x = input_("x", ("batch", 3))
    >>> is_aggregate(sum_(x, 0)), is_aggregate(sum_(x, 1))
    (True, False)
    """
    if isinstance(tensor.operation, op.Size) or BATCH in tensor.shape:
        return False
    return any(BATCH in part.shape for part in tensor.inputs)

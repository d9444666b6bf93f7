"""A tensor: one operation applied to other tensors.

Every tensor has two axes. Axis 0 is rows, axis 1 is units (or columns). An extent is a positive
integer or :data:`BATCH`, the number of rows of whatever batch is fed. A scalar is ``(1, 1)``, a
bias ``(1, units)``, a value for each row ``(BATCH, 1)``; an extent of 1 broadcasts.

Tensors are hash-consed: building the same operation on the same tensors twice gives the same
object, so that common subexpressions are shared without a pass that looks for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from selectron.program.operations import Operation

__all__ = ["BATCH", "Extent", "Shape", "Tensor", "apply", "topological"]

BATCH: Final = "batch"

Extent = int | str
Shape = tuple[Extent, Extent]


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class Tensor:
    """The result of an operation. Compared by identity, which hash-consing makes structural."""

    operation: Operation
    inputs: tuple[Tensor, ...]
    shape: Shape

    def __repr__(self) -> str:
        return f"Tensor({self.operation}, shape={self.shape})"

    @property
    def is_scalar(self) -> bool:
        """Whether both extents are 1."""
        return self.shape == (1, 1)


KNOWN: WeakValueDictionary[tuple[object, ...], Tensor] = WeakValueDictionary()


def apply(operation: Operation, *inputs: Tensor) -> Tensor:
    """The tensor of an operation on its inputs, shapes checked.

    Raises
    ------
    ShapeError
        If the operation does not take inputs of these shapes.
    """
    # The inputs stay alive as long as the tensor in the table does, so their ids are not reused.
    key = (type(operation), operation, *map(id, inputs))
    known = KNOWN.get(key)
    if known is None:
        shape = operation.shape(*(tensor.shape for tensor in inputs))
        known = Tensor(operation, inputs, shape)
        KNOWN[key] = known
    return known


def topological(outputs: Iterable[Tensor]) -> Iterator[Tensor]:
    """Every tensor that the outputs depend on, inputs before what uses them, each once.

    Iterative, since a deep network's graph is deeper than Python's recursion limit.
    """
    seen: set[Tensor] = set()
    for output in outputs:
        stack: list[tuple[Tensor, bool]] = [(output, False)]
        while stack:
            tensor, expanded = stack.pop()
            if expanded:
                yield tensor
            elif tensor not in seen:
                seen.add(tensor)
                stack.append((tensor, True))
                stack.extend((dependency, False) for dependency in reversed(tensor.inputs))

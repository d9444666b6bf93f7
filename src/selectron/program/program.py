"""A program: named outputs over named inputs, checked as a whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from selectron.program.operations import Input, ShapeError
from selectron.program.tensor import Shape, Tensor, topological

__all__ = ["Program"]


@dataclass(frozen=True)
class Program:
    """Tensors to compute, by name, and names for some of those on the way.

    Parameters
    ----------
    outputs
        What is computed.
    labels
        Names of inner tensors, for people who read the SQL or look at a trace.

    Raises
    ------
    ShapeError
        If an input is used under two shapes.

    Examples
    --------
    >>> from selectron.program.operations import input_, matmul
    >>> x, w = input_("x", ("batch", 3)), input_("w", (3, 2))
    >>> Program({"logits": matmul(x, w)}).inputs
    {'x': ('batch', 3), 'w': (3, 2)}
    """

    outputs: Mapping[str, Tensor]
    labels: Mapping[Tensor, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _ = self.inputs

    @property
    def inputs(self) -> dict[str, Shape]:
        """What must be fed, with its shape."""
        found: dict[str, Shape] = {}
        for tensor in self.tensors():
            if isinstance(tensor.operation, Input):
                name, shape = tensor.operation.name, tensor.shape
                if found.setdefault(name, shape) != shape:
                    raise ShapeError(f"Input {name!r} is used as {found[name]} and as {shape}.")
        return found

    def tensors(self) -> list[Tensor]:
        """All tensors, inputs before what uses them."""
        return list(topological(self.outputs.values()))

    def computed(self, reads: Callable[[Tensor], Sequence[Tensor]]) -> list[Tensor]:
        """The tensors whose values outputs need, in the same order.

        Parameters
        ----------
        reads
            The inputs whose values an operation reads: what only gives its shape is none of them.
        """
        found: set[Tensor] = set()
        waiting = list(self.outputs.values())
        while waiting:
            tensor = waiting.pop()
            if tensor not in found:
                found.add(tensor)
                waiting.extend(reads(tensor))
        return [tensor for tensor in self.tensors() if tensor in found]

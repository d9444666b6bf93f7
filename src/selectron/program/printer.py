"""A program as text, a line for each tensor."""

from __future__ import annotations

from dataclasses import fields

from selectron.program.program import Program
from selectron.program.tensor import Tensor

__all__ = ["show"]


def show(program: Program) -> str:
    """The program, one line a tensor: its name, shape, operation and inputs.

    Examples
    --------
    >>> from selectron.program.operations import input_, matmul, tanh
    >>> x, w = input_("x", ("batch", 3)), input_("w", (3, 2))
    >>> print(show(Program({"hidden": tanh(matmul(x, w))})))
    %0 = Input(name='x')                                 batch x 3
    %1 = Input(name='w')                                 3 x 2
    %2 = MatMul(%0, %1)                                  batch x 2
    %3 = Tanh(%2)                                        batch x 2
    hidden = %3
    """
    names: dict[Tensor, str] = {}
    lines = []
    for number, tensor in enumerate(program.tensors()):
        names[tensor] = f"%{number}"
        attributes = [
            f"{field.name}={getattr(tensor.operation, field.name)!r}"
            for field in fields(tensor.operation)
            if field.name != "fed_shape"
        ]
        arguments = ", ".join([*(names[dependency] for dependency in tensor.inputs), *attributes])
        text = f"%{number} = {type(tensor.operation).__name__}({arguments})"
        label = program.labels.get(tensor, "")
        rows, units = tensor.shape
        lines.append(f"{text:<52} {rows} x {units}{'  ' + label if label else ''}")
    lines.extend(f"{name} = {names[tensor]}" for name, tensor in program.outputs.items())
    return "\n".join(lines)

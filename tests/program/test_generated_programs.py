"""Generated programs over tensors of every shape, their values and gradients against PyTorch's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F  # noqa: N812

from selectron.program import operations as op
from selectron.program.evaluate import evaluate
from selectron.program.gradient import gradients
from selectron.program.program import Program
from selectron.program.tensor import BATCH, Shape, Tensor

ROWS, UNITS = 4, 3
INPUTS: dict[str, Shape] = {
    "matrix": (BATCH, UNITS),
    "row": (1, UNITS),
    "column": (BATCH, 1),
    "scalar": (1, 1),
    "weights": (UNITS, UNITS),
    "table": (5, UNITS),
}
INDEX = np.array([[4.0], [0.0], [4.0], [2.0]])


@dataclass(frozen=True)
class Pair:
    """One tensor in both languages."""

    ours: Tensor
    theirs: torch.Tensor


def unary(ours: Callable[[Tensor], Tensor], theirs: Callable[[torch.Tensor], torch.Tensor]) -> Step:
    return lambda a, b: Pair(ours(a.ours), theirs(a.theirs))


def binary(
    ours: Callable[[Tensor, Tensor], Tensor], theirs: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
) -> Step:
    return lambda a, b: Pair(ours(a.ours, b.ours), theirs(a.theirs, b.theirs))


Step = Callable[[Pair, Pair], Pair]
ONE, HALF = op.constant(1.0), op.constant(0.5)
index = torch.tensor(INDEX[:, 0]).long()

# Where two sides of a maximum tie, PyTorch shares the gradient and the language gives none; so they
# meet a number here that nothing else is equal to.
STEPS: dict[str, Step] = {
    "negate": unary(op.negate, torch.neg),
    "exp": unary(lambda x: op.exp(op.tanh(x)), lambda x: torch.exp(torch.tanh(x))),
    "log": unary(lambda x: op.log(op.add(op.softplus(x), ONE)), lambda x: torch.log(F.softplus(x) + 1.0)),
    "sqrt": unary(
        lambda x: op.sqrt(op.add(op.multiply(x, x), HALF)), lambda x: torch.sqrt(x * x + 0.5)
    ),
    "tanh": unary(op.tanh, torch.tanh),
    "sigmoid": unary(op.sigmoid, torch.sigmoid),
    "cosine": unary(op.cosine, torch.cos),
    "absolute": unary(op.absolute, torch.abs),
    "stopped": unary(
        lambda x: op.multiply(x, op.stop_gradient(x)), lambda x: x * x.detach()
    ),
    "floor": unary(lambda x: op.subtract(x, op.floor(x)), lambda x: x - torch.floor(x)),
    "sum 0": unary(lambda x: op.sum_(x, 0), lambda x: x.sum(0, keepdim=True)),
    "sum 1": unary(lambda x: op.sum_(x, 1), lambda x: x.sum(1, keepdim=True)),
    "mean": unary(lambda x: op.mean(x), lambda x: x.mean().reshape(1, 1)),
    "mean 0": unary(lambda x: op.mean(x, 0), lambda x: x.mean(0, keepdim=True)),
    "max 1": unary(lambda x: op.max_(op.tanh(x), 1), lambda x: torch.tanh(x).amax(1, keepdim=True)),
    "max 0": unary(lambda x: op.max_(x, 0), lambda x: x.amax(0, keepdim=True)),
    "transpose": unary(op.transpose, lambda x: x.T),
    "maximum": unary(
        lambda x: op.maximum(x, op.constant(0.123)), lambda x: torch.clamp(x, min=0.123)
    ),
    "minimum": unary(
        lambda x: op.minimum(op.constant(0.321), x), lambda x: torch.clamp(x, max=0.321)
    ),
    "add": binary(op.add, torch.add),
    "subtract": binary(op.subtract, torch.sub),
    "multiply": binary(op.multiply, torch.mul),
    "divide": binary(
        lambda a, b: op.divide(a, op.add(op.multiply(b, b), ONE)), lambda a, b: a / (b * b + 1.0)
    ),
    "where": binary(
        lambda a, b: op.where(op.less(a, HALF), op.multiply(a, b), b),
        lambda a, b: torch.where(a < 0.5, a * b, b),
    ),
    "where not": binary(
        lambda a, b: op.where(op.less_equal(HALF, b), a, op.negate(b)),
        lambda a, b: torch.where(b >= 0.5, a, -b),
    ),
    "matmul": binary(op.matmul, torch.matmul),
    "broadcast": binary(
        lambda a, b: op.tanh(op.broadcast(a, b)), lambda a, b: torch.tanh(a.expand(b.shape))
    ),
}  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    steps=st.lists(
        st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 30), st.integers(0, 30)),
        min_size=1,
        max_size=14,
    ),
)
def test_generated_programs_agree_with_autograd(seed: int, steps: list[tuple[str, int, int]]) -> None:
    generator = np.random.default_rng(seed)
    feeds = {
        name: generator.normal(size=[ROWS if extent == BATCH else int(extent) for extent in shape])
        for name, shape in INPUTS.items()
    }
    leaves = {name: torch.tensor(value, requires_grad=True) for name, value in feeds.items()}
    inputs = {name: op.input_(name, shape) for name, shape in INPUTS.items()}
    pool = [Pair(inputs[name], leaves[name]) for name in INPUTS if name != "table"]
    pool.append(
        Pair(
            op.gather(inputs["table"], op.input_("index", (BATCH, 1))),
            F.embedding(index, leaves["table"]),
        )
    )
    for name, first, second in steps:
        # Counted from the last, so that programs grow deep.
        a, b = (pool[-1 - place % len(pool)] for place in (first, second))
        try:
            built = STEPS[name](a, b)
        except op.ShapeError:
            continue
        except RuntimeError as error:
            raise AssertionError(f"{name} fits {a.ours} and {b.ours} here alone") from error
        pool.append(built)
        assert built.theirs.shape == tuple(ROWS if e == BATCH else e for e in built.ours.shape)
    last = pool[-1]
    # Weights, so that errors in different elements cannot cancel; a tanh, so that no value is enormous.
    objective = op.mean(op.multiply(op.tanh(last.ours), op.cosine(op.row_number(last.ours))))
    expected = (
        torch.tanh(last.theirs) * torch.cos(torch.arange(last.theirs.shape[0], dtype=torch.float64))[:, None]
    ).mean()
    expected.backward()  # type: ignore[no-untyped-call]
    slopes = gradients(objective, list(inputs.values()))
    program = Program({"objective": objective, **dict(zip(inputs, slopes, strict=True))})
    found = evaluate(program, feeds | {"index": INDEX})
    np.testing.assert_allclose(found["objective"], expected.item(), rtol=1e-9, atol=1e-14)
    largest = max(float(np.abs(found[name]).max()) for name in inputs)
    for name, leaf in leaves.items():
        slope = np.zeros(leaf.shape) if leaf.grad is None else leaf.grad.numpy()
        # Terms that cancel leave rounding errors of the size of the largest.
        np.testing.assert_allclose(
            found[name], slope, rtol=1e-9, atol=1e-12 * max(1.0, largest), err_msg=name
        )

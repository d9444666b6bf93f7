"""Gradients of generated programs, against PyTorch's autograd."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selectron.program import operations as op
from selectron.program.evaluate import evaluate
from selectron.program.gradient import gradients
from selectron.program.program import Program
from selectron.program.tensor import BATCH, Tensor

UNARY: list[tuple[Callable[[Tensor], Tensor], Callable[[torch.Tensor], torch.Tensor]]] = [
    (op.negate, torch.neg),
    (op.tanh, torch.tanh),
    (op.sigmoid, torch.sigmoid),
    (op.softplus, torch.nn.functional.softplus),
    (op.absolute, torch.abs),
    (op.cosine, torch.cos),
    (lambda x: op.exp(op.tanh(x)), lambda x: torch.exp(torch.tanh(x))),
    (lambda x: op.log(op.softplus(x)), lambda x: torch.log(torch.nn.functional.softplus(x))),
    (lambda x: op.maximum(x, op.constant(0.0)), torch.relu),
    (lambda x: op.subtract(x, op.max_(x, 1)), lambda x: x - x.amax(1, keepdim=True)),
    (lambda x: op.divide(x, op.add(op.sum_(op.absolute(x), 0), op.constant(1.0))),
     lambda x: x / (x.abs().sum(0, keepdim=True) + 1.0)),
]  # fmt: skip
BINARY: list[
    tuple[Callable[[Tensor, Tensor], Tensor], Callable[[torch.Tensor, torch.Tensor], torch.Tensor]]
] = [
    (op.add, torch.add),
    (op.subtract, torch.sub),
    (op.multiply, torch.mul),
    (op.maximum, torch.maximum),
    (op.minimum, torch.minimum),
    (lambda a, b: op.where(op.less(a, b), a, op.multiply(a, b)), lambda a, b: torch.where(a < b, a, a * b)),
    (lambda a, b: op.matmul(op.matmul(a, op.transpose(b)), a), lambda a, b: a @ b.T @ a),
]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    steps=st.lists(
        st.one_of(
            st.tuples(st.integers(0, len(UNARY) - 1), st.integers(0, 9)),
            st.tuples(st.integers(0, len(BINARY) - 1), st.integers(0, 9), st.integers(0, 9)),
        ),
        min_size=1,
        max_size=8,
    ),
)
def test_generated_programs_agree_with_autograd(seed: int, steps: list[tuple[int, ...]]) -> None:
    generator = np.random.default_rng(seed)
    feeds = {"x": generator.normal(size=(4, 3)) / 2, "w": generator.normal(size=(3, 3)) / 2}
    theirs = {name: torch.tensor(value, requires_grad=True) for name, value in feeds.items()}
    ours = [op.input_("x", (BATCH, 3)), op.input_("w", (3, 3))]
    pool = [op.matmul(*ours)]
    twins = [theirs["x"] @ theirs["w"]]
    for step in steps:
        a = step[1] % len(pool)
        if len(step) == 2:
            pool.append(UNARY[step[0]][0](pool[a]))
            twins.append(UNARY[step[0]][1](twins[a]))
        else:
            b = step[2] % len(pool)
            pool.append(BINARY[step[0]][0](pool[a], pool[b]))
            twins.append(BINARY[step[0]][1](twins[a], twins[b]))
    objective = op.mean(op.tanh(op.multiply(pool[-1], op.constant(0.1))))
    twin = torch.tanh(twins[-1] * 0.1).mean()
    if not torch.isfinite(twins[-1]).all():
        return
    twin.backward()  # type: ignore[no-untyped-call]
    slopes = gradients(objective, ours)
    found = evaluate(Program({"y": objective, "x": slopes[0], "w": slopes[1]}), feeds)
    np.testing.assert_allclose(found["y"][0, 0], twin.item(), rtol=1e-9, atol=1e-12)
    for name, leaf in theirs.items():
        expected = np.zeros(feeds[name].shape) if leaf.grad is None else leaf.grad.numpy()
        # Where two sides of a maximum are the same tensor, PyTorch shares the gradient and we give none.
        if any(len(step) == 3 and step[0] in (3, 4) for step in steps):
            continue
        np.testing.assert_allclose(found[name], expected, rtol=1e-9, atol=1e-12)


def test_a_deep_program_does_not_exhaust_the_stack() -> None:
    x = tensor = op.input_("x", (1, 1))
    for _ in range(3_000):
        tensor = op.tanh(op.add(tensor, x))
    (slope,) = gradients(tensor, [x])
    assert np.isfinite(evaluate(Program({"g": slope}), {"x": np.array([[0.1]])})["g"])

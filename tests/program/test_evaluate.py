"""What may be fed to a program, and what a program may be."""

from __future__ import annotations

import numpy as np
import pytest

from selectron.program import operations as op
from selectron.program.evaluate import evaluate
from selectron.program.printer import show
from selectron.program.program import Program
from selectron.program.tensor import BATCH, Tensor, topological


@pytest.mark.parametrize(
    "feed",
    [np.zeros(2), np.zeros((2, 2, 1)), 3.0, np.zeros((2, 3)), np.zeros((1, 1))],
    ids=lambda feed: str(np.shape(feed)),
)
def test_feeds_of_another_shape_are_refused(feed: op.Array) -> None:
    program = Program({"y": op.tanh(op.input_("x", (BATCH, 2)))})
    with pytest.raises(op.ShapeError, match=r"'x' has shape"):
        evaluate(program, {"x": feed})


def test_a_parameter_does_not_broadcast() -> None:
    program = Program({"y": op.matmul(op.input_("x", (BATCH, 2)), op.input_("w", (2, 3)))})
    with pytest.raises(op.ShapeError, match=r"'w' has shape \(2, 1\), not \(2, 3\)"):
        evaluate(program, {"x": np.zeros((4, 2)), "w": np.zeros((2, 1))})


def test_any_number_of_rows_may_be_fed_and_whole_numbers_too() -> None:
    program = Program({"y": op.mean(op.input_("x", (BATCH, 2)), 0)})
    for rows in (1, 2, 50):
        x = np.arange(rows * 2).reshape(rows, 2)
        np.testing.assert_array_equal(evaluate(program, {"x": x})["y"], x.mean(0, keepdims=True))


def test_other_feeds_are_ignored() -> None:
    assert evaluate(Program({"y": op.constant(2.0)}), {"unused": np.zeros(3)})["y"] == 2.0


def test_feeds_are_not_changed() -> None:
    x = np.arange(6.0).reshape(3, 2)
    program = Program(
        {
            "y": op.multiply(op.input_("x", (BATCH, 2)), op.constant(2.0)),
            "t": op.transpose(op.input_("x", (BATCH, 2))),
        }
    )
    evaluate(program, {"x": x})
    np.testing.assert_array_equal(x, np.arange(6.0).reshape(3, 2))


def test_shared_tensors_are_computed_once() -> None:
    tensor = op.input_("x", (1, 1))
    for _ in range(200):
        tensor = op.add(op.tanh(tensor), op.tanh(tensor))
    # As a tree there would be 2**200 of them.
    assert len(list(topological([tensor]))) == 401
    assert np.isfinite(evaluate(Program({"y": tensor}), {"x": np.ones((1, 1))})["y"])


def test_inputs_come_before_what_uses_them() -> None:
    x = op.input_("x", (BATCH, 3))
    program = Program({"y": op.sum_(op.multiply(op.exp(x), op.tanh(x))), "z": op.exp(x)})
    seen: set[Tensor] = set()
    for tensor in program.tensors():
        assert set(tensor.inputs) <= seen
        seen.add(tensor)


def test_labels_are_shown() -> None:
    x = op.input_("x", (BATCH, 3))
    text = show(Program({"y": op.exp(x)}, {op.exp(x): "the exponentials"}))
    assert text.splitlines()[1].endswith("batch x 3  the exponentials")

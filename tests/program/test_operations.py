"""Every operation, from one table: its shape rule, its gradient and its errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from selectron.program import operations as op
from selectron.program.evaluate import evaluate
from selectron.program.gradient import gradients
from selectron.program.operations import Array
from selectron.program.program import Program
from selectron.program.tensor import BATCH, Shape, Tensor

ROWS = 5


@dataclass(frozen=True)
class Case:
    """An operation on inputs of these shapes, drawn uniformly between two numbers."""

    operation: type[op.Operation]
    build: Callable[..., Tensor]
    shapes: tuple[Shape, ...]
    low: float = -2.0
    high: float = 2.0
    differentiable: bool = True


MATRIX: Shape = (BATCH, 3)
ROW: Shape = (1, 3)
COLUMN: Shape = (BATCH, 1)

CASES = [
    Case(op.Input, lambda x: x, (MATRIX,)),
    Case(op.Constant, lambda x: op.multiply(x, op.constant(3.0)), (MATRIX,)),
    Case(op.Range, lambda x: op.multiply(x, op.range_(3)), (MATRIX,)),
    Case(op.Negate, op.negate, (MATRIX,)),
    Case(op.Exp, op.exp, (MATRIX,)),
    Case(op.Log, op.log, (MATRIX,), low=0.5),
    Case(op.Sqrt, op.sqrt, (MATRIX,), low=0.5),
    Case(op.Tanh, op.tanh, (MATRIX,)),
    Case(op.Sigmoid, op.sigmoid, (MATRIX,)),
    Case(op.Softplus, op.softplus, (MATRIX,)),
    Case(op.Absolute, op.absolute, (MATRIX,)),
    Case(op.Floor, op.floor, (MATRIX,), differentiable=False),
    Case(op.Cosine, op.cosine, (MATRIX,)),
    Case(op.StopGradient, op.stop_gradient, (MATRIX,), differentiable=False),
    Case(op.Add, op.add, (MATRIX, ROW)),
    Case(op.Subtract, op.subtract, (MATRIX, COLUMN)),
    Case(op.Multiply, op.multiply, (COLUMN, ROW)),
    Case(op.Divide, op.divide, (MATRIX, MATRIX), low=0.5),
    Case(op.Maximum, op.maximum, (MATRIX, ROW)),
    Case(op.Minimum, op.minimum, (MATRIX, (1, 1))),
    Case(
        op.ModularMultiply,
        lambda x: op.modular_multiply(op.floor(op.multiply(x, op.constant(1e9))), op.constant(48_271.0)),
        (MATRIX,),
        low=0.0,
        differentiable=False,
    ),
    Case(op.Less, lambda x, y: op.where(op.less(x, y), x, y), (MATRIX, MATRIX)),
    Case(op.LessEqual, lambda x, y: op.where(op.less_equal(x, y), x, y), (MATRIX, ROW)),
    Case(op.Equal, lambda x: op.where(op.equal(x, x), x, op.constant(0.0)), (MATRIX,)),
    Case(op.Where, lambda x, y: op.where(op.less(x, op.constant(0.0)), op.exp(y), y), (MATRIX, COLUMN)),
    Case(op.MatMul, op.matmul, (MATRIX, (3, 4))),
    Case(op.Transpose, op.transpose, (MATRIX,)),
    Case(op.Sum, lambda x: op.sum_(x, 0), (MATRIX,)),
    Case(op.Sum, lambda x: op.sum_(x, 1), (MATRIX,)),
    Case(op.Max, lambda x: op.max_(x, 1), (MATRIX,)),
    Case(op.Max, lambda x: op.max_(x, 0), (MATRIX,)),
    Case(op.Size, lambda x: op.mean(x), (MATRIX,)),
    Case(op.Broadcast, lambda x, y: op.tanh(op.broadcast(x, y)), (ROW, MATRIX)),
    Case(op.Broadcast, lambda x, y: op.broadcast(x, y), (COLUMN, MATRIX)),
    Case(op.RowNumber, lambda x: op.multiply(x, op.row_number(x)), (MATRIX,)),
    Case(op.Gather, lambda t, x: op.gather(t, op.row_number(x)), ((ROWS, 2), COLUMN)),
    Case(
        op.Scatter,
        lambda x, t: op.scatter(x, op.floor(op.multiply(op.row_number(x), op.constant(0.5))), t),
        (MATRIX, (ROWS, 3)),
    ),
]

ABSTRACT = {op.Operation, op.Elementwise, op.Unary, op.Binary, op.Comparison, op.Reduction}


def names(case: Case) -> str:
    return case.operation.__name__


def feeds_of(case: Case, seed: int = 0) -> dict[str, Array]:
    generator = np.random.default_rng(seed)
    return {
        f"x{place}": generator.uniform(
            case.low, case.high, [ROWS if extent == BATCH else int(extent) for extent in shape]
        )
        for place, shape in enumerate(case.shapes)
    }


def tensors_of(case: Case) -> list[Tensor]:
    return [op.input_(f"x{place}", shape) for place, shape in enumerate(case.shapes)]


def subclasses(class_: type[object]) -> Iterator[type[object]]:
    own: list[type[object]] = class_.__subclasses__()
    for sub in own:
        yield sub
        yield from subclasses(sub)


def test_the_table_covers_every_operation() -> None:
    assert {case.operation for case in CASES} == set(subclasses(op.Operation)) - ABSTRACT


@pytest.mark.parametrize("case", CASES, ids=names)
def test_the_case_uses_its_operation(case: Case) -> None:
    built = case.build(*tensors_of(case))
    assert any(type(t.operation) is case.operation for t in Program({"y": built}).tensors())


@pytest.mark.parametrize("case", CASES, ids=names)
def test_shape_rule_agrees_with_evaluation(case: Case) -> None:
    built = case.build(*tensors_of(case))
    value = evaluate(Program({"y": built}), feeds_of(case))["y"]
    assert value.shape == tuple(ROWS if extent == BATCH else extent for extent in built.shape)


@pytest.mark.parametrize("case", [case for case in CASES if case.differentiable], ids=names)
def test_gradient_agrees_with_finite_differences(case: Case) -> None:
    inputs, feeds = tensors_of(case), feeds_of(case)
    built = case.build(*inputs)
    # A weighted sum, so that errors in different elements cannot cancel.
    weights = op.cosine(op.add(op.multiply(op.row_number(built), op.constant(0.7)), op.constant(0.3)))
    objective = op.sum_(op.multiply(built, weights))
    program = Program(
        {"y": objective} | {f"g{place}": slope for place, slope in enumerate(gradients(objective, inputs))}
    )
    generator = np.random.default_rng(1)
    direction = {name: generator.normal(size=value.shape) for name, value in feeds.items()}
    found = evaluate(program, feeds)
    slope = sum(float(np.sum(found[f"g{place}"] * direction[f"x{place}"])) for place in range(len(inputs)))
    h = 1e-6
    ahead, behind = (
        evaluate(program, {name: value + sign * h * direction[name] for name, value in feeds.items()})["y"]
        for sign in (1, -1)
    )
    assert slope == pytest.approx(float((ahead - behind)[0, 0]) / (2 * h), rel=1e-6, abs=1e-7)
    for place, shape in enumerate(case.shapes):
        assert found[f"g{place}"].shape == tuple(ROWS if e == BATCH else e for e in shape)


@pytest.mark.parametrize("case", [case for case in CASES if not case.differentiable], ids=names)
def test_no_gradient_flows_where_there_is_none(case: Case) -> None:
    inputs = tensors_of(case)
    slopes = gradients(op.sum_(case.build(*inputs)), inputs)
    for slope in evaluate(Program(dict(enumerate_named(slopes))), feeds_of(case)).values():
        np.testing.assert_array_equal(slope, 0.0)


def enumerate_named(tensors: list[Tensor]) -> Iterator[tuple[str, Tensor]]:
    for place, tensor in enumerate(tensors):
        yield str(place), tensor


def x(*shape: int | str) -> Tensor:
    return op.input_(f"x{shape}", (shape[0], shape[1]))


@pytest.mark.parametrize(
    "build",
    [
        lambda: op.add(x(2, 3), x(2, 4)),
        lambda: op.add(x(BATCH, 3), x(2, 3)),
        lambda: op.matmul(x(2, 3), x(2, 3)),
        lambda: op.broadcast(x(2, 3), x(2, 1)),
        lambda: op.gather(x(4, 2), x(BATCH, 2)),
        lambda: op.gather(x(BATCH, 2), x(BATCH, 1)),
        lambda: op.scatter(x(BATCH, 2), x(BATCH, 1), x(4, 3)),
        lambda: op.scatter(x(BATCH, 2), x(4, 1), x(4, 2)),
        lambda: op.where(x(2, 3), x(2, 3), x(2, 3)),
        lambda: gradients(x(2, 3), [x(2, 3)]),
        lambda: Program({"y": op.add(op.input_("a", (1, 2)), op.sum_(op.input_("a", (1, 3))))}),
    ],
)
def test_wrong_shapes_are_refused(build: Callable[[], object]) -> None:
    with pytest.raises(op.ShapeError):
        build()


def test_feeds_are_checked() -> None:
    program = Program({"y": op.add(op.input_("a", (BATCH, 2)), op.input_("b", (BATCH, 1)))})
    with pytest.raises(op.ShapeError, match="'a' is not fed"):
        evaluate(program, {})
    with pytest.raises(op.ShapeError, match="'a' has shape"):
        evaluate(program, {"a": np.zeros((3, 3)), "b": np.zeros((3, 1))})
    with pytest.raises(op.ShapeError, match="'b' has shape"):
        evaluate(program, {"a": np.zeros((3, 2)), "b": np.zeros((4, 1))})


def test_equal_tensors_are_one() -> None:
    a, b = x(2, 3), x(3, 2)
    assert op.tanh(op.matmul(a, b)) is op.tanh(op.matmul(a, b))
    assert op.exp(a) is not op.exp(op.transpose(b))


def test_constants_are_folded_and_neutral_elements_dropped() -> None:
    a = x(2, 3)
    assert op.add(op.constant(2.0), op.constant(3.0)) is op.constant(5.0)
    assert op.multiply(a, op.constant(1.0)) is a
    assert op.add(op.constant(0.0), a) is a
    assert op.divide(a, op.constant(1.0)) is a
    assert op.negate(op.negate(a)) is a
    assert op.transpose(op.transpose(a)) is a
    assert op.sum_(op.input_("column", (2, 1)), 1) is op.input_("column", (2, 1))


@pytest.mark.parametrize("logit", [0.0, 40.0, -40.0, 800.0, -800.0, 8e307, -8e307])
def test_softmax_sigmoid_and_softplus_never_overflow(logit: float) -> None:
    from selectron.training.losses import BinaryCrossEntropy, CrossEntropy, softmax

    logits, one, target = op.input_("z", (BATCH, 3)), op.input_("o", (BATCH, 1)), op.input_("t", (BATCH, 1))
    losses = {
        "softmax": softmax(logits),
        "sigmoid": op.sigmoid(one),
        "softplus": op.softplus(one),
        "cross": CrossEntropy().of_rows(logits, target),
        "binary": BinaryCrossEntropy().of_rows(one, target),
    }
    slopes = {
        f"slope of {name}": gradients(op.sum_(tensor), [logits if name in ("softmax", "cross") else one])[0]
        for name, tensor in losses.items()
    }
    feeds = {"z": np.array([[logit, 0.0, -logit]]), "o": np.array([[logit]]), "t": np.zeros((1, 1))}
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        for name, value in evaluate(Program(losses | slopes), feeds).items():
            assert np.isfinite(value).all(), name

"""The training step: one program from (state, batch) to the next state.

Everything that training remembers is in the state: parameters, the optimizer's slots, the epoch,
running losses, the best epoch's parameters, whether to stop. A step is fed one batch, of training
rows or of held-out rows (`is_training` says which); held-out rows are measured and change no
parameter. On the last batch of an epoch (`ends_epoch`) the losses are averaged, logged and judged.
So a strategy has nothing to do but repeat the step, and the same program is early stopping, best-epoch
restore and reduce-on-plateau on every engine.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from selectron.errors import ConfigurationError
from selectron.network import MLP
from selectron.program.gradient import gradients
from selectron.program.operations import (
    Array,
    absolute,
    add,
    constant,
    divide,
    equal,
    input_,
    less,
    max_,
    minimum,
    multiply,
    pick,
    size,
    sqrt,
    subtract,
    sum_,
    where,
)
from selectron.program.program import Program
from selectron.program.tensor import BATCH, Tensor
from selectron.training.forward import Dropout, Inputs, Parameter, forward_pass, network_parameters
from selectron.training.losses import BinaryCrossEntropy, CrossEntropy, Loss
from selectron.training.options import TrainingOptions

__all__ = ["LOG_COLUMNS", "TrainingStep", "build_step", "prediction_program"]

# What a row of the log holds, apart from its epoch: outputs of the step at an epoch's last batch.
LOG_COLUMNS = ("training_loss", "validation_loss", "metric", "learning_rate", "gradient_norm")

ZERO = constant(0.0)
ONE = constant(1.0)
# Larger than any loss that training could recover from; NaN is not below it on any engine.
HUGE = constant(1e300)


@dataclass(frozen=True)
class TrainingStep:
    """A step as a program, and the state it starts from.

    Attributes
    ----------
    program
        Its outputs are a new tensor for each key of `state`, and ``"log.<column>"`` for each log column.
    state
        The initial value of each part of the state, parameters included.
    parameters
        The network's parameters, in order.
    weighted
        Whether batches have a ``"weight"``.
    """

    program: Program
    state: Mapping[str, Array]
    parameters: tuple[Parameter, ...]
    weighted: bool

    @property
    def restores(self) -> Mapping[str, str]:
        """For each parameter's key, where its best epoch's value is kept; empty if it is not."""
        pairs = {parameter.key: f"best {parameter.key}" for parameter in self.parameters}
        return {key: best for key, best in pairs.items() if best in self.state}


def build_step(
    network: MLP, inputs: Inputs, loss: Loss, options: TrainingOptions, *, weighted: bool, validated: bool
) -> TrainingStep:
    """The training step of a network.

    Parameters
    ----------
    network, inputs
        The layers and what feeds them.
    loss
        What is made small.
    options
        Optimizer, schedule, regularization, early stopping.
    weighted
        Whether each row of a batch has a weight.
    validated
        Whether some batches are held out.
    """
    parameters = network_parameters(network, inputs, options.seed)
    initial: dict[str, Array] = {}
    state: dict[str, Tensor] = {}

    def remember(name: str, value: Array | float) -> Tensor:
        array = np.full((1, 1), value) if isinstance(value, float) else value
        initial[name] = array
        state[name] = input_(name, (array.shape[0], array.shape[1]))
        return state[name]

    tensors = {parameter.key: remember(parameter.key, parameter.initial) for parameter in parameters}
    step, epoch = remember("step", 0.0), remember("epoch", 0.0)
    is_training = less(ZERO, input_("is_training", (1, 1)))
    ends_epoch = less(ZERO, input_("ends_epoch", (1, 1)))
    new: dict[str, Tensor] = {}

    # Forward, loss, backward.
    next_step = add(step, ONE)
    dropout = Dropout(options.seed, step, input_("is_training", (1, 1)))
    forward = forward_pass(network, inputs, tensors, dropout=dropout)
    labels = dict(forward.labels)
    classifies = isinstance(loss, (CrossEntropy, BinaryCrossEntropy))
    target = input_("target", (BATCH, 1 if classifies else inputs.outputs))
    of_rows = loss.of_rows(forward.logits, target)
    total_weight, total = weigh(of_rows, weighted)
    data_loss = divide(total, where(less(ZERO, total_weight), total_weight, ONE))
    labels |= {of_rows: "loss of each row", data_loss: "loss"}
    objective = add(data_loss, penalty(parameters, tensors, options))
    trained = trained_parameters(network, parameters)
    slopes = gradients(objective, [tensors[parameter.key] for parameter in trained])
    labels |= {slope: f"gradient {own.key}" for own, slope in zip(trained, slopes, strict=True)}
    norm = sqrt(summed([sum_(multiply(slope, slope)) for slope in slopes]))
    labels[norm] = "gradient norm"

    # A batch whose loss or gradient is not finite changes nothing but the flag that stops training.
    diverged = remember("diverged", 0.0)
    finite = where(less(absolute(objective), HUGE), where(less(norm, HUGE), ONE, ZERO), ZERO)
    new["diverged"] = where(is_training, where(less(ZERO, finite), diverged, ONE), diverged)

    # The learning rate, then the update.
    scalars = {name: remember(name, value) for name, value in options.schedule.scalars.items()}
    factor = options.schedule.factor(epoch, scalars)
    rate = multiply(constant(options.optimizer.learning_rate), factor)
    labels[rate] = "learning rate"
    clip = None
    if options.clip_norm is not None:
        # As PyTorch's clip_grad_norm_.
        clip = minimum(ONE, divide(constant(options.clip_norm), add(norm, constant(1e-6))))
        labels[clip] = "clipping factor"
    updates: dict[str, Tensor] = dict(tensors)
    changes = less(ZERO, where(is_training, finite, ZERO))
    for parameter, slope in zip(trained, slopes, strict=True):
        before = tensors[parameter.key]
        slots = {
            slot: remember(f"{slot} {parameter.key}", np.full(parameter.shape, value))
            for slot, value in options.optimizer.slots.items()
        }
        clipped = slope if clip is None else multiply(clip, slope)
        decay = options.optimizer.weight_decay if parameter.decays else 0.0
        decayed = multiply(subtract(ONE, multiply(rate, constant(decay))), before) if decay else before
        after, after_slots = options.optimizer.update(decayed, clipped, slots, rate, next_step)
        updates[parameter.key] = where(changes, after, before)
        for slot, tensor in after_slots.items():
            new[f"{slot} {parameter.key}"] = where(changes, tensor, slots[slot])
    new |= updates
    new["step"] = where(changes, next_step, step)

    # Running sums, and what happens when the epoch ends.
    last_norm = remember("gradient norm", 0.0)
    norm_now = where(is_training, norm, last_norm)
    new["gradient norm"] = norm_now

    def running_mean(name: str, amount: Tensor, weight: Tensor) -> Tensor:
        """The mean since the epoch began, this batch included; the sums start anew when it ends."""
        sums = [
            add(remember(f"{name} sum", 0.0), amount),
            add(remember(f"{name} weight", 0.0), weight),
        ]
        for part, value in zip(("sum", "weight"), sums, strict=True):
            new[f"{name} {part}"] = where(ends_epoch, ZERO, value)
        return divide(sums[0], where(less(ZERO, sums[1]), sums[1], ONE))

    training_loss = running_mean(
        "training", where(is_training, total, ZERO), where(is_training, total_weight, ZERO)
    )
    log: dict[str, Tensor] = {
        "training_loss": training_loss,
        "learning_rate": rate,
        "gradient_norm": norm_now,
    }
    watched = training_loss
    if validated:
        held_total, held_weight = where(is_training, ZERO, total), where(is_training, ZERO, total_weight)
        watched = running_mean("validation", held_total, held_weight)
        log["validation_loss"] = watched
        _, metric_total = weigh(metric_of_rows(loss, forward.logits, target), weighted)
        metric = running_mean("metric", where(is_training, ZERO, metric_total), held_weight)
        log["metric"] = metric if classifies else sqrt(metric)
    new["epoch"] = where(ends_epoch, add(epoch, ONE), epoch)
    for name, tensor in options.schedule.after_epoch(watched, scalars).items():
        new[name] = where(ends_epoch, tensor, scalars[name])

    stopped = remember("stopped", 0.0)
    new["stopped"] = stopped
    if options.patience is not None:
        best = remember("best loss", 1e300)
        waited, best_epoch = remember("epochs since best", 0.0), remember("best epoch", 0.0)
        improves = less(watched, subtract(best, constant(options.min_delta)))
        improved = less(ZERO, where(ends_epoch, where(improves, ONE, ZERO), ZERO))
        new["best loss"] = where(improved, watched, best)
        new["best epoch"] = where(improved, add(epoch, ONE), best_epoch)
        new_waited = where(ends_epoch, where(improves, ZERO, add(waited, ONE)), waited)
        new["epochs since best"] = new_waited
        new["stopped"] = where(less(new_waited, constant(options.patience)), stopped, ONE)
        for parameter in parameters:
            kept = remember(f"best {parameter.key}", parameter.initial)
            new[f"best {parameter.key}"] = where(improved, updates[parameter.key], kept)

    outputs = {name: new[name] for name in initial} | {
        f"log.{name}": log[name] for name in LOG_COLUMNS if name in log
    }
    return TrainingStep(Program(outputs, labels), initial, parameters, weighted)


def trained_parameters(network: MLP, parameters: tuple[Parameter, ...]) -> list[Parameter]:
    """The parameters that training changes.

    Raises
    ------
    ConfigurationError
        If what is frozen is no part of the network, or all of it.
    """
    known = {name for own in parameters for name in (own.layer, own.name, own.key)}
    unknown = [name for name in network.frozen if name not in known]
    if unknown:
        raise ConfigurationError(
            f"frozen names {unknown[0]!r}, which the network does not have.",
            hint=f"It has {', '.join(parameter.key for parameter in parameters)}.",
        )
    trained = [own for own in parameters if not network.is_frozen(own.layer, own.name)]
    if not trained:
        raise ConfigurationError("All parameters are frozen.", hint="Leave some to be trained.")
    return trained


def weigh(of_rows: Tensor, weighted: bool) -> tuple[Tensor, Tensor]:
    """The weight of a batch and the weighted sum of a value of its rows."""
    if not weighted:
        return size(of_rows, 0), sum_(of_rows, 0)
    weight = input_("weight", (BATCH, 1))
    return sum_(weight, 0), sum_(multiply(weight, of_rows), 0)


def penalty(
    parameters: tuple[Parameter, ...], tensors: Mapping[str, Tensor], options: TrainingOptions
) -> Tensor:
    """L1 and L2 regularization of the weights."""
    terms = []
    for weights in (tensors[parameter.key] for parameter in parameters if parameter.decays):
        if options.l1:
            terms.append(multiply(constant(options.l1), sum_(absolute(weights))))
        if options.l2:
            terms.append(multiply(constant(options.l2 / 2), sum_(multiply(weights, weights))))
    return summed(terms)


def summed(terms: list[Tensor]) -> Tensor:
    """The sum of scalars; 0 if there are none."""
    total = ZERO
    for term in terms:
        total = add(total, term)
    return total


def metric_of_rows(loss: Loss, logits: Tensor, target: Tensor) -> Tensor:
    """1 for each row whose class is right; for numbers, the squared error."""
    if isinstance(loss, BinaryCrossEntropy):
        predicted = where(less(ZERO, logits), ONE, ZERO)
        return where(equal(predicted, target), ONE, ZERO)
    if isinstance(loss, CrossEntropy):
        return where(equal(pick(logits, target), max_(logits, 1)), ONE, ZERO)
    difference = subtract(logits, target)
    return divide(sum_(multiply(difference, difference), 1), size(logits, 1))


def prediction_program(
    network: MLP, inputs: Inputs, loss: Loss, given: Collection[str] = frozenset()
) -> Program:
    """From a batch and the parameters to ``"logits"``, ``"prediction"`` and ``"loss"``.

    The prediction is probabilities or numbers. The loss of each row also needs its ``"target"``. `given` are
    indices whose vectors are fed in their place.
    """
    names = {shape.index: shape.given for shape in inputs.embeddings if shape.index in given}

    def at(name: str, block: Tensor) -> Tensor:
        return input_(names[name], block.shape) if name in names else block

    tensors = {parameter.key: parameter.tensor for parameter in network_parameters(network, inputs, seed=0)}
    forward = forward_pass(network, inputs, tensors, at=at)
    classifies = isinstance(loss, (CrossEntropy, BinaryCrossEntropy))
    target = input_("target", (BATCH, 1 if classifies else inputs.outputs))
    outputs = {
        "logits": forward.logits,
        "prediction": loss.predictions(forward.logits),
        "loss": loss.of_rows(forward.logits, target),
    }
    return Program(outputs, forward.labels)

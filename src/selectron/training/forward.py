"""A network's forward pass as tensors, for training and for prediction alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from selectron.errors import ConfigurationError
from selectron.network import MLP
from selectron.program.operations import (
    MODULUS,
    Array,
    add,
    constant,
    gather,
    input_,
    less,
    matmul,
    modular_multiply,
    multiply,
    range_,
    row_number,
    sum_,
    where,
)
from selectron.program.tensor import BATCH, Tensor
from selectron.training.activations import ACTIVATIONS
from selectron.training.initializers import initial_weights

__all__ = ["EmbeddingShape", "Forward", "Inputs", "Parameter", "forward_pass", "network_parameters"]


@dataclass(frozen=True)
class EmbeddingShape:
    """A category that is looked up in a table of learned vectors."""

    column: str
    entries: int
    dimension: int

    @property
    def layer(self) -> str:
        """The name of its layer in the store."""
        return f"embedding: {self.column}"

    @property
    def index(self) -> str:
        """The name of the batch's column of indices."""
        return f"index: {self.column}"

    @property
    def given(self) -> str:
        """The name of an input that stands in for the vectors that the indices name."""
        return f"vectors: {self.column}"


@dataclass(frozen=True)
class Inputs:
    """What a network is fed: dense units, embedded categories; and how many outputs it must have.

    `untrained` are places of dense units that are zero in every training row; their weights start at zero.
    """

    units: int
    outputs: int
    embeddings: tuple[EmbeddingShape, ...] = ()
    untrained: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.units and not self.embeddings:
            raise ConfigurationError("A network needs at least one input.")


@dataclass(frozen=True)
class Parameter:
    """A named matrix that training changes.

    `decays` says whether regularization and weight decay apply: to weights, not to biases.
    """

    layer: str
    name: str
    initial: Array = field(compare=False, repr=False)
    decays: bool

    @property
    def key(self) -> str:
        """Its name in programs and in the state."""
        return f"{self.layer}.{self.name}"

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        rows, columns = self.initial.shape
        return rows, columns

    @property
    def tensor(self) -> Tensor:
        """The parameter as an input of a program."""
        return input_(self.key, self.shape)


@dataclass(frozen=True)
class Forward:
    """The logits, and names for the tensors on the way to them."""

    logits: Tensor
    labels: Mapping[Tensor, str]


def network_parameters(network: MLP, inputs: Inputs, seed: int) -> tuple[Parameter, ...]:
    """All parameters of a network, in order, with their initial values.

    Raises
    ------
    ConfigurationError
        If initial values are given for a parameter that does not exist, or of a wrong shape.

    Examples
    --------
    >>> [(p.key, p.shape) for p in network_parameters(MLP([4]), Inputs(units=3, outputs=2), seed=0)]
    [('hidden_1.weights', (3, 4)), ('hidden_1.biases', (1, 4)),
     ('output.weights', (4, 2)), ('output.biases', (1, 2))]
    """
    found: list[Parameter] = []
    first_weights = "hidden_1.weights" if network.layers else "output.weights"

    def declare(layer: str, name: str, rows: int, columns: int, fan_in: int, activation: str) -> None:
        key, is_bias = f"{layer}.{name}", name == network.biases
        if is_bias and key not in network.initial:
            initial: Array = np.zeros((rows, columns))
        else:
            initial = initial_weights(network, seed, key, (rows, columns), fan_in, activation)
        if key == first_weights and key not in network.initial:
            initial[list(inputs.untrained)] = 0.0
        found.append(Parameter(layer, name, initial, decays=not is_bias))

    for embedding in inputs.embeddings:
        declare(
            embedding.layer, "vectors", embedding.entries, embedding.dimension, embedding.entries, "identity"
        )
    blocks = [("weights", inputs.units)] if inputs.units else []
    blocks += [(f"weights: {embedding.column}", embedding.dimension) for embedding in inputs.embeddings]
    sizes = [
        (f"hidden_{number}", layer.units, layer.activation)
        for number, layer in enumerate(network.layers, start=1)
    ]
    for layer, units, activation in [*sizes, ("output", inputs.outputs, "identity")]:
        fan_in = sum(rows for _, rows in blocks)
        for name, rows in blocks:
            declare(layer, name, rows, units, fan_in, activation)
        declare(layer, network.biases, fan_in if network.edge_biases else 1, units, fan_in, activation)
        blocks = [("weights", units)]
    unknown = sorted(set(network.initial) - {parameter.key for parameter in found})
    if unknown:
        raise ConfigurationError(
            f"Initial values are given for {unknown[0]!r}, which this network does not have.",
            hint=f"It has {', '.join(parameter.key for parameter in found)}.",
        )
    return tuple(found)


def forward_pass(
    network: MLP,
    inputs: Inputs,
    parameters: Mapping[str, Tensor],
    *,
    dropout: Dropout | None = None,
    at: Callable[[str, Tensor], Tensor] = lambda name, block: block,
) -> Forward:
    """The logits of a batch.

    Parameters
    ----------
    network, inputs
        The layers and what feeds them.
    parameters
        A tensor for each parameter's key.
    dropout
        How to draw dropped units; None (for prediction) drops none.
    at
        Gives what stands in for each block that is fed: ``"features"``, or an embedding's vectors by its
        index's name. By default the block itself.
    """
    labels: dict[Tensor, str] = {}
    blocks: list[tuple[str, Tensor]] = []
    if inputs.units:
        blocks.append(("weights", at("features", input_("features", (BATCH, inputs.units)))))
    for embedding in inputs.embeddings:
        index = input_(embedding.index, (BATCH, 1))
        vectors = gather(parameters[f"{embedding.layer}.vectors"], index)
        labels[vectors] = f"{embedding.column} vectors"
        blocks.append((f"weights: {embedding.column}", at(embedding.index, vectors)))

    def dense(layer: str) -> Tensor:
        total: Tensor | None = None
        for name, tensor in blocks:
            product = matmul(tensor, parameters[f"{layer}.{name}"])
            total = product if total is None else add(total, product)
        assert total is not None
        # Of biases in one row, the sum is themselves.
        logits = add(total, sum_(parameters[f"{layer}.{network.biases}"], 0))
        labels[logits] = f"{layer} logits"
        return logits

    for number, layer in enumerate(network.layers, start=1):
        name = f"hidden_{number}"
        activations = ACTIVATIONS[layer.activation](dense(name))
        labels[activations] = f"{name} activations"
        if dropout is not None and layer.dropout:
            activations = dropout.apply(activations, layer.dropout, number)
            labels[activations] = f"{name} kept"
        blocks = [("weights", activations)]
    logits = dense("output")
    if network.output_activation != "identity":
        logits = ACTIVATIONS[network.output_activation](logits)
        labels[logits] = "output activations"
    return Forward(logits, labels)


@dataclass(frozen=True)
class Dropout:
    """Inverted dropout (Srivastava et al. 2014) with portable masks.

    A mask is a hash of the seed, the step, the layer, the row's place in its batch and the unit, made
    of products modulo a prime, so that every engine draws the same one. `is_training` turns it off
    for rows that are only measured.
    """

    seed: int
    step: Tensor
    is_training: Tensor

    def apply(self, activations: Tensor, rate: float, layer: int) -> Tensor:
        """The activations with a fraction `rate` of them zeroed and the rest scaled up to match."""
        units = int(activations.shape[1])
        row = hashed(row_number(activations), hashed(self.step, constant(self.seed % MODULUS + layer)))
        column = hashed(range_(units), constant(7_919 * layer))
        drawn = modular_multiply(row, column)
        kept = where(less(drawn, constant(rate * MODULUS)), constant(0.0), constant(1.0 / (1.0 - rate)))
        return multiply(activations, where(less(constant(0.0), self.is_training), kept, constant(1.0)))


def hashed(value: Tensor, key: Tensor) -> Tensor:
    """A number below 2**31 - 1 that looks random: two rounds of (x + key)**5 modulo that prime.

    The fifth power permutes the field, since 5 does not divide the prime less one: the round function
    of MiMC (Albrecht et al. 2016).
    """
    one = constant(1.0)
    for addend in (key, constant(1_013_904_223.0)):
        x = modular_multiply(add(value, addend), one)
        square = modular_multiply(x, x)
        value = modular_multiply(modular_multiply(square, square), x)
    return value

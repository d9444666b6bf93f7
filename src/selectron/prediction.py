"""Prediction as a query: a relation's rows with the network's outputs beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
from typing import Final

from sqlglot import exp

from selectron.blueprint import Blueprint
from selectron.engines.base import Abilities, Arrays, Column, Recursion, Relation, SqlFunction
from selectron.errors import ColumnError
from selectron.features.fitting import argument, fitted_beside
from selectron.features.kinds import Feature
from selectron.features.lookup import Directory
from selectron.features.targets import ClassTarget
from selectron.forms import BY_COLUMNS, BY_FUNCTIONS, BY_LISTS, Form
from selectron.layouts import columns
from selectron.layouts.placing import element_name, elements
from selectron.layouts.stages import Stage, chained
from selectron.layouts.storage import array_from_rows
from selectron.program.operations import Array
from selectron.program.program import Program
from selectron.program.tensor import BATCH
from selectron.sql import cast, column, folded, growing, integer, number, text
from selectron.store.schema import PARAMETERS
from selectron.store.store import Store

__all__ = [
    "INDEX",
    "OWN",
    "Weights",
    "class_index",
    "forward_query",
    "input_values",
    "plain_forward",
    "predict_function",
    "predict_query",
    "predicted_elements",
    "predicted_values",
    "prediction_columns",
    "probabilities",
    "program_query",
    "scored_query",
    "stored_weights",
]

Expression = exp.Expr

# Columns of the user's rows travel under this prefix, so that no name of theirs meets one of ours.
OWN: Final = "source."
INDEX: Final = "class index"
GREATEST: Final = "greatest probability"
# Weights that a query reads from the store as columns of one row.
MOST_PIVOTED: Final = 500


@dataclass(frozen=True)
class Weights:
    """Where a forward pass finds its parameters: in a query of one row, or as numbers written down.

    `form` is the one in which queries hold tensors, for these parameters. `directory` says where categories
    are looked up; without one they are written down. `vectors` are those of embeddings, by their
    index's name and as expressions over its column, where they are looked up and so no parameters here.
    """

    query: exp.Select | None
    values: Mapping[str, Array] = field(default_factory=dict)
    form: Form = BY_COLUMNS
    directory: Directory | None = None
    vectors: Mapping[str, Sequence[Expression]] = field(default_factory=dict)


def stored_weights(
    abilities: Abilities,
    store: Store,
    model_id: int,
    blueprint: Blueprint,
    values: Mapping[str, Array],
    *,
    plain: bool = False,
    whole: bool = False,
) -> Weights:
    """The parameters of a model's current checkpoint.

    They are read from the store when the query runs, so that a view follows the model; but networks that are
    too large for a column for each weight are written down, where the engine has no lists: as tensors for our
    functions, or, if the query is `plain`, to run without these, as numbers. The vectors of many categories
    are looked up by the row's index, unless the `whole` of the parameters is wanted.
    """
    directory = Directory(abilities.lookup, store.categories(model_id))
    vectors: dict[str, Sequence[Expression]] = {}
    if abilities.arrays is not Arrays.LISTS and not whole:
        vectors = looked_up(store, model_id, blueprint, directory)
    apart = {embedding.layer for embedding in blueprint.inputs.embeddings if embedding.index in vectors}
    parameters = [parameter for parameter in blueprint.step.parameters if parameter.layer not in apart]
    if abilities.arrays is Arrays.LISTS:
        expressions = [
            exp.alias_(
                array_from_rows(
                    store.matrix(PARAMETERS, model_id, layer=parameter.layer, parameter=parameter.name),
                    parameter.shape,
                ),
                parameter.key,
                quoted=True,
            )
            for parameter in parameters
        ]
        return Weights(exp.select(*expressions), form=BY_LISTS, directory=directory)
    if sum(parameter.initial.size for parameter in parameters) > MOST_PIVOTED:
        by_ours = abilities.arrays is Arrays.FUNCTIONS and not plain
        return Weights(None, values, BY_FUNCTIONS if by_ours else BY_COLUMNS, directory, vectors)
    pivoted: list[Expression] = []
    for parameter in parameters:
        for i, j in elements(parameter.shape):
            place: dict[str, Expression] = {
                "layer": text(parameter.layer),
                "parameter": text(parameter.name),
                "row": integer(i),
                "col": integer(j),
            }
            same = exp.and_(
                *(exp.EQ(this=column(name), expression=value) for name, value in place.items()), copy=False
            )
            value = exp.Max(this=exp.Case(ifs=[exp.If(this=same, true=column("value"))]))
            pivoted.append(exp.alias_(value, element_name(parameter.key, parameter.shape, i, j), quoted=True))
    return Weights(store.rows_of(PARAMETERS, model_id, pivoted), directory=directory, vectors=vectors)


def looked_up(
    store: Store, model_id: int, blueprint: Blueprint, directory: Directory
) -> dict[str, Sequence[Expression]]:
    """The vectors that rows find by their indices, by the index's name."""
    found: dict[str, Sequence[Expression]] = {}
    for shape, feature in zip(blueprint.inputs.embeddings, blueprint.encoding.embeddings, strict=True):
        matrix = partial(store.matrix, PARAMETERS, model_id, layer=shape.layer, parameter="vectors")
        vector = directory.vector(shape.index, feature, matrix)
        if vector is not None:
            found[shape.index] = vector
    return found


@growing()
def forward_query(
    abilities: Abilities,
    blueprint: Blueprint,
    relation: Relation,
    carried: Sequence[str],
    weights: Weights,
    outputs: dict[str, Expression],
    *,
    wanted: Sequence[str],
    target: Sequence[Expression] = (),
    stages: Sequence[Stage] = (),
) -> exp.Select:
    """The forward pass over each row of a relation.

    Parameters
    ----------
    carried
        The relation's columns that outputs read, as ``"source.<name>"``.
    outputs
        What to select, over carried columns, the program's outputs and those of `stages`.
    wanted
        The program's outputs that are read: ``"logits"``, ``"prediction"``, ``"loss"``; each element is a
        column (:func:`~selectron.layouts.placing.element_name`).
    target
        The target's values, if the loss is wanted.
    stages
        Stages after the program's.
    """
    whole = blueprint.prediction_given(weights.vectors.keys())
    program = Program({name: whole.outputs[name] for name in wanted}, whole.labels)
    own = [(f"{OWN}{name}", column(name)) for name in carried]
    inputs = weights.form.fed({**input_values(blueprint, weights.directory), "target": target})
    given = {
        shape.given: [value.copy() for value in weights.vectors[shape.index]]
        for shape in blueprint.inputs.embeddings
        if shape.index in weights.vectors
    }
    before = [Stage(tuple(weights.form.fed(given).items()))] if given else []
    encoded = [
        exp.Alias(this=value, alias=exp.to_identifier(name, quoted=True))
        for name, value in (*own, *inputs.items())
    ]
    rows = exp.Select(expressions=encoded).from_(relation.source.copy(), copy=False)
    return program_query(abilities, program, rows, weights, outputs, before=before, stages=stages)


def input_values(blueprint: Blueprint, directory: Directory | None = None) -> dict[str, Sequence[Expression]]:
    """The units of what a network is fed, over a row of a table."""
    batch = blueprint.batch_columns(directory)
    return {"features": batch.features, **{name: [index] for name, index in batch.indices.items()}}


def program_query(
    abilities: Abilities,
    program: Program,
    rows: exp.Select,
    weights: Weights,
    outputs: Mapping[str, Expression],
    *,
    before: Sequence[Stage] = (),
    stages: Sequence[Stage] = (),
) -> exp.Select:
    """A program over each row of a query.

    Parameters
    ----------
    rows
        Gives what the program is fed, in the form of the weights, and what outputs read besides.
    outputs, stages
        As those of :func:`forward_query`.
    before
        Stages before the program's.
    """
    forward = weights.form.stages(program, weights.values)
    if weights.query is not None:
        parameters = weights.query.subquery("parameters")
        rows = exp.select("*").from_(rows.subquery("rows", copy=False), copy=False)
        rows = rows.join(parameters, join_type="cross", copy=False)
    queries, last = chained(rows, [*before, *forward, *stages], outputs)
    aliases = [exp.TableAlias(this=exp.to_identifier(name, quoted=True)) for name, _ in queries]
    ctes = [
        exp.CTE(this=query, alias=alias, materialized=bool(abilities.copies))
        for alias, (_, query) in zip(aliases, queries, strict=True)
    ]
    last.set("with_", exp.With(expressions=ctes))
    return last


def plain_forward(
    blueprint: Blueprint,
    relation: Relation,
    carried: Sequence[str],
    values: Mapping[str, Array],
    outputs: dict[str, Expression],
    wanted: Sequence[str],
    stages: Sequence[Stage],
) -> exp.Select:
    """The forward pass of :func:`forward_query` in plain columns, with all weights written down."""
    abilities = Abilities(Recursion.FREE, Arrays.NONE)
    return forward_query(
        abilities,
        blueprint,
        relation,
        carried,
        Weights(None, values),
        outputs,
        wanted=wanted,
        stages=stages,
    )


def predicted_elements(blueprint: Blueprint, output: str = "prediction") -> list[Expression]:
    """The network's predictions: a probability for each logit, or raw numbers."""
    shape = (BATCH, blueprint.inputs.outputs)
    return [column(element_name(output, shape, i, j)) for i, j in elements(shape)]


def class_index(blueprint: Blueprint) -> list[Stage]:
    """The index of the likeliest class, the first one at a tie."""
    values = predicted_elements(blueprint)
    if len(values) == 1:
        likelier = exp.GT(this=values[0], expression=number(0.5))
        one: Expression = exp.Case(ifs=[exp.If(this=likelier, true=number(1.0))], default=number(0.0))
        return [Stage(((INDEX, one),))]
    places = [
        exp.If(
            this=exp.EQ(this=value, expression=column(GREATEST)),
            true=cast(number(float(place)), "double"),
        )
        for place, value in enumerate(predicted_elements(blueprint))
    ]
    return [Stage(((GREATEST, columns.greatest(values)),)), Stage(((INDEX, exp.Case(ifs=places)),))]


def probabilities(blueprint: Blueprint) -> list[Expression]:
    """The probability of each class."""
    values = predicted_elements(blueprint)
    return [exp.Sub(this=number(1.0), expression=values[0].copy()), *values] if len(values) == 1 else values


def prediction_columns(blueprint: Blueprint, *, scores: bool = False) -> list[str]:
    """The columns that prediction adds, with the raw output of each unit if `scores` says so."""
    target = blueprint.encoding.target
    names = [f"predicted_{name}" for name in target.columns]
    if isinstance(target, ClassTarget):
        names += [f"probability_{label}" for label in target.classes]
    if scores:
        names += [f"score_{unit}" for unit in blueprint.layers["output"]]
    return distinct(names)


def distinct(names: Sequence[str]) -> list[str]:
    """Names that differ where case is ignored: the second of two gets a number.

    >>> distinct(["probability_a", "probability_A", "probability_b"])
    ['probability_a', 'probability_A (2)', 'probability_b']
    """
    taken: Counter[str] = Counter()
    found = []
    for name in names:
        taken[folded(name)] += 1
        count = taken[folded(name)]
        found.append(name if count == 1 else f"{name} ({count})")
    return found


@growing()
def predict_query(
    abilities: Abilities,
    blueprint: Blueprint,
    relation: Relation,
    known: Sequence[Column],
    weights: Weights,
    *,
    scores: bool = False,
) -> exp.Select:
    """A relation's columns, then ``predicted_<target>``, and for classes ``probability_<class>`` of each.

    With `scores` a ``score_<unit>`` follows for each unit of the last layer: the raw outputs, which are
    logits for classes.

    Raises
    ------
    ColumnError
        If the relation lacks a column that the model needs, or has one that prediction would add.
    """
    fit = fitted_beside(relation, known, blueprint.encoding)
    names = [own.name for own in known]
    added = prediction_columns(blueprint, scores=scores)
    taken = {folded(name) for name in names}
    clash = [name for name in added if folded(name) in taken]
    if clash:
        raise ColumnError(
            f"{relation.label} already has a column {clash[0]!r}, which prediction adds.",
            hint="Leave it out in a query.",
        )
    outputs: dict[str, Expression] = {name: column(f"{OWN}{fit.own.get(name, name)}") for name in names}
    predicted, stages = predicted_values(blueprint, scores=scores)
    wanted = ["prediction", "logits"] if scores else ["prediction"]
    return forward_query(
        abilities,
        blueprint,
        fit.relation,
        [fit.own.get(name, name) for name in names],
        weights,
        outputs | predicted,
        wanted=wanted,
        stages=stages,
    )


def predicted_values(
    blueprint: Blueprint, *, scores: bool = False
) -> tuple[dict[str, Expression], list[Stage]]:
    """The columns that prediction adds, over the program's outputs and the stages that go with them."""
    target = blueprint.encoding.target
    stages: list[Stage] = []
    if isinstance(target, ClassTarget):
        stages += class_index(blueprint)
        values = [target.label(column(INDEX)), *probabilities(blueprint)]
    else:
        values = list(target.restored(predicted_elements(blueprint)))
    if scores:
        values += predicted_elements(blueprint, "logits")
    return dict(zip(prediction_columns(blueprint, scores=scores), values, strict=True)), stages


def predict_function(abilities: Abilities, blueprint: Blueprint, name: str, weights: Weights) -> SqlFunction:
    """Prediction as a function of a row's features."""
    features = blueprint.encoding.features
    target = blueprint.encoding.target
    if abilities.arrays is not Arrays.LISTS:
        # A function that is no macro is called row by row: what a query makes once, each call would make.
        weights = replace(weights, directory=None)
    predicted, stages = predicted_values(blueprint)
    query = forward_query(
        abilities,
        blueprint,
        Relation(arguments(features).subquery("arguments"), "the arguments"),
        [],
        weights,
        predicted,
        wanted=["prediction"],
        stages=stages,
    )
    numbers = exp.DataType.build("double")
    types = [target.data_type] if isinstance(target, ClassTarget) else []
    types += [numbers.copy() for _ in range(len(predicted) - len(types))]
    return SqlFunction(
        name,
        tuple((feature.column, feature.kind) for feature in features),
        tuple(zip(predicted, types, strict=True)),
        query,
    )


def arguments(features: Sequence[Feature]) -> exp.Select:
    """The arguments of a function, as features read them."""
    # DuckDB takes no column of an argument's name that is something else: that is first called otherwise.
    given = {f"argument {place}": feature for place, feature in enumerate(features)}
    read = [argument(feature, name) for name, feature in given.items()]
    if not any(read):
        return exp.select(*(exp.alias_(column(f.column), f.column, quoted=True) for f in features))
    named = exp.select(*(exp.alias_(column(f.column), name, quoted=True) for name, f in given.items()))
    values = [value or column(name) for name, value in zip(given, read, strict=True)]
    aliased = [exp.alias_(value, f.column, quoted=True) for f, value in zip(features, values, strict=True)]
    return exp.select(*aliased).from_(named.subquery("given"))


@growing()
def scored_query(
    abilities: Abilities,
    blueprint: Blueprint,
    relation: Relation,
    weights: Weights,
    beside: Mapping[str, str] = MappingProxyType({}),
) -> exp.Select:
    """For evaluation: each row's actual and predicted values, and its loss.

    For classes ``actual``, ``predicted`` (indices), ``"probability <place>"`` and ``loss``; for numbers
    ``"actual <place>"`` and ``"predicted <place>"`` in the target's own units, and ``loss``. `beside` are
    columns of the relation to give as well, by the names that they get.
    """
    target = blueprint.encoding.target
    present: list[Expression] = [
        exp.Not(this=exp.Is(this=column(name), expression=exp.Null())) for name in target.columns
    ]
    source = exp.select("*").from_(relation.source.copy()).where(*present)
    kept = Relation(source.subquery("evaluated", copy=False), relation.label)
    stages: list[Stage] = []
    carried: Sequence[str] = ()
    outputs: dict[str, Expression]
    if isinstance(target, ClassTarget):
        stages += class_index(blueprint)
        outputs = {
            "actual": cast(column("target"), "bigint"),
            "predicted": cast(column(INDEX), "bigint"),
        }
        outputs |= {f"probability {place}": value for place, value in enumerate(probabilities(blueprint))}
    else:
        restored = target.restored(predicted_elements(blueprint))
        carried, outputs = target.columns, {}
        for place, (name, predicted) in enumerate(zip(target.columns, restored, strict=True)):
            outputs[f"actual {place}"] = cast(column(f"{OWN}{name}"), "double")
            outputs[f"predicted {place}"] = predicted
    outputs["loss"] = column("loss")
    outputs |= {name: column(f"{OWN}{own}") for name, own in beside.items()}
    return forward_query(
        abilities,
        blueprint,
        kept,
        list(dict.fromkeys([*carried, *beside.values()])),
        weights,
        outputs,
        wanted=["prediction", "loss"],
        target=target.values(),
        stages=stages,
    )

"""Prediction as a query: a relation's rows with the network's outputs beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlglot import exp

from selectron.blueprint import Blueprint
from selectron.engines.base import Column, Relation
from selectron.errors import ColumnError
from selectron.features.targets import ClassTarget
from selectron.layouts.arrays import lower
from selectron.layouts.stages import Stage, chained
from selectron.layouts.storage import array_from_rows, array_literal
from selectron.program.operations import Array
from selectron.program.program import Program
from selectron.sql import column, integer, number
from selectron.store.schema import PARAMETERS
from selectron.store.store import Store

__all__ = [
    "forward_query",
    "literal_parameters",
    "predict_query",
    "prediction_columns",
    "scored_query",
    "stored_parameters",
]

Expression = exp.Expr

# Columns of the user's rows travel under this prefix, so that no name of theirs meets one of ours.
OWN: Final = "source."
INDEX: Final = "class index"


def stored_parameters(store: Store, model_id: int, blueprint: Blueprint) -> exp.Select:
    """One row: the parameters of a model's current checkpoint, read from the store when the query runs."""
    return exp.select(
        *(
            exp.alias_(
                array_from_rows(
                    store.matrix(PARAMETERS, model_id, layer=parameter.layer, parameter=parameter.name),
                    parameter.shape,
                ),
                parameter.key,
                quoted=True,
            )
            for parameter in blueprint.step.parameters
        )
    )


def literal_parameters(blueprint: Blueprint, values: dict[str, Array]) -> exp.Select:
    """One row: parameters as literals."""
    return exp.select(
        *(
            exp.alias_(array_literal(values[parameter.key]), parameter.key, quoted=True)
            for parameter in blueprint.step.parameters
        )
    )


def forward_query(
    blueprint: Blueprint,
    relation: Relation,
    carried: Sequence[str],
    parameters: exp.Select,
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
    parameters
        A query of one row.
    outputs
        What to select, over carried columns, the program's outputs and those of `stages`.
    wanted
        The program's outputs that are read: ``"logits"``, ``"prediction"``, ``"loss"``.
    target
        The target's values, if the loss is wanted.
    stages
        Stages after the program's.
    """
    batch = blueprint.batch_columns()
    encoded = [exp.alias_(column(name), f"{OWN}{name}", quoted=True) for name in carried]
    tensors = {"features": list(batch.features), "target": list(target)}
    tensors |= {name: [index] for name, index in batch.indices.items()}
    encoded += [
        exp.alias_(values[0] if len(values) == 1 else exp.Array(expressions=values), name, quoted=True)
        for name, values in tensors.items()
        if values
    ]
    whole = blueprint.prediction
    program = Program({name: whole.outputs[name] for name in wanted}, whole.labels)
    lowered = lower(program, batch_in_rows=True)
    rows = exp.select(*encoded).from_(relation.source.copy()).subquery("rows", copy=False)
    weights = parameters.subquery("parameters")
    source = exp.select("*").from_(rows, copy=False).join(weights, join_type="cross")
    forward = Stage(tuple(lowered.outputs.items()))
    named, last = chained(source, [*lowered.stages, forward, *stages], outputs)
    ctes = [
        exp.CTE(
            this=query, alias=exp.TableAlias(this=exp.to_identifier(name, quoted=True)), materialized=False
        )
        for name, query in named
    ]
    last.set("with_", exp.With(expressions=ctes))
    return last


def class_index(blueprint: Blueprint) -> Stage:
    """The index of the likeliest class, the first one at a tie."""
    prediction = column("prediction")
    if blueprint.inputs.outputs == 1:
        likelier = exp.GT(this=prediction, expression=number(0.5))
        index: Expression = exp.Case(ifs=[exp.If(this=likelier, true=number(1.0))], default=number(0.0))
    else:
        greatest = exp.Anonymous(this="list_max", expressions=[prediction])
        place = exp.Anonymous(this="list_position", expressions=[prediction.copy(), greatest])
        index = exp.cast(exp.Sub(this=place, expression=integer(1)), "double")
    return Stage(((INDEX, index),))


def probabilities(blueprint: Blueprint) -> list[Expression]:
    """The probability of each class."""
    prediction = column("prediction")
    if blueprint.inputs.outputs == 1:
        return [exp.Sub(this=number(1.0), expression=prediction.copy()), prediction]
    return [
        exp.Bracket(this=prediction.copy(), expressions=[integer(place)], offset=1)
        for place in range(1, blueprint.inputs.outputs + 1)
    ]


def predicted_numbers(blueprint: Blueprint) -> list[Expression]:
    """The raw number of each target column."""
    if blueprint.inputs.outputs == 1:
        return [column("prediction")]
    return probabilities(blueprint)


def prediction_columns(blueprint: Blueprint) -> list[str]:
    """The columns that prediction adds."""
    target = blueprint.encoding.target
    predicted = [f"predicted_{name}" for name in target.columns]
    if isinstance(target, ClassTarget):
        return [*predicted, *(f"probability_{label}" for label in target.classes)]
    return predicted


def predict_query(
    blueprint: Blueprint, relation: Relation, columns: Sequence[Column], parameters: exp.Select
) -> exp.Select:
    """A relation's columns, then ``predicted_<target>``, and for classes ``probability_<class>`` of each.

    Raises
    ------
    ColumnError
        If the relation lacks a column that the model needs, or has one that prediction would add.
    """
    blueprint.encoding.check(columns, relation.label, target=False)
    names = [known.name for known in columns]
    added = prediction_columns(blueprint)
    taken = {name.casefold() for name in names}
    clash = [name for name in added if name.casefold() in taken]
    if clash:
        raise ColumnError(
            f"{relation.label} already has a column {clash[0]!r}, which prediction adds.",
            hint="Leave it out in a query.",
        )
    target = blueprint.encoding.target
    outputs: dict[str, Expression] = {name: column(f"{OWN}{name}") for name in names}
    stages: list[Stage] = []
    if isinstance(target, ClassTarget):
        stages.append(class_index(blueprint))
        values = [target.label(column(INDEX)), *probabilities(blueprint)]
    else:
        values = list(target.restored(predicted_numbers(blueprint)))
    outputs |= dict(zip(added, values, strict=True))
    return forward_query(
        blueprint, relation, names, parameters, outputs, wanted=["prediction"], stages=stages
    )


def scored_query(
    blueprint: Blueprint, relation: Relation, parameters: exp.Select, where: Expression | None = None
) -> exp.Select:
    """For evaluation: each row's actual and predicted values, and its loss.

    For classes ``actual``, ``predicted`` (indices), ``probabilities`` (a list) and ``loss``; for numbers
    ``actual`` and ``predicted``, lists over the target columns in their own units, and ``loss``.
    """
    target = blueprint.encoding.target
    present: list[Expression] = [
        exp.Not(this=exp.Is(this=column(name), expression=exp.Null())) for name in target.columns
    ]
    source = exp.select("*").from_(relation.source.copy()).where(*present)
    if where is not None:
        source = source.where(where)
    kept = Relation(source.subquery("evaluated", copy=False), relation.label)
    stages: list[Stage] = []
    if isinstance(target, ClassTarget):
        stages.append(class_index(blueprint))
        outputs: dict[str, Expression] = {
            "actual": exp.cast(column("target"), "bigint"),
            "predicted": exp.cast(column(INDEX), "bigint"),
            "probabilities": exp.Array(expressions=probabilities(blueprint)),
        }
        carried: Sequence[str] = ()
    else:
        outputs = {
            "actual": exp.Array(
                expressions=[exp.cast(column(f"{OWN}{name}"), "double") for name in target.columns]
            ),
            "predicted": exp.Array(expressions=list(target.restored(predicted_numbers(blueprint)))),
        }
        carried = target.columns
    outputs["loss"] = column("loss")
    return forward_query(
        blueprint,
        kept,
        carried,
        parameters,
        outputs,
        wanted=["prediction", "loss"],
        target=target.values(),
        stages=stages,
    )

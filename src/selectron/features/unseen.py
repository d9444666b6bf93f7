"""Categories that were not seen in training, where a model has no place for them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlglot import exp

from selectron.engines.base import Engine, Relation
from selectron.errors import ColumnError
from selectron.features.kinds import CategoryFeature, EmbeddingFeature, Feature
from selectron.features.known import as_text
from selectron.sql import column, growing

__all__ = ["refuse_unseen"]

# So many are named.
LISTED = 5


@growing()
def refuse_unseen(
    engine: Engine, relation: Relation, features: Sequence[Feature], names: Collection[str]
) -> None:
    """Refuse rows whose categories are not known, in the columns that are named. NULL is none.

    Raises
    ------
    ColumnError
        With the column, the count, and some of the categories.
    """
    for feature in features:
        if feature.column not in names or not isinstance(feature, (CategoryFeature, EmbeddingFeature)):
            continue
        known = feature.known
        present = known.present() or exp.Not(this=exp.Is(this=column(feature.column), expression=exp.Null()))
        label = as_text(feature.column)
        rows = (
            exp.select(label, exp.Count(this=exp.Star()))
            .from_(relation.source.copy())
            .where(present, exp.Not(this=known.among()))
            .group_by(label.copy())
            .order_by(label.copy())
        )
        found = engine.rows(rows)
        if found:
            count = sum(int(own) for _, own in found)
            listed = ", ".join(repr(str(text)) for text, _ in found[:LISTED])
            more = ", ..." if len(found) > LISTED else ""
            raise ColumnError(
                f"Column {feature.column!r} of {relation.label} has {count} rows of categories that the "
                f"model does not know, and it refuses them: {listed}{more}.",
                hint="Leave such rows out in a query, or write a category that it knows.",
            )

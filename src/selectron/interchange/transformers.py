"""scikit-learn's fitted preprocessing, as what it does to signals.

Nothing of scikit-learn is imported: what was fitted is read from the transformers' public attributes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from selectron.errors import ConfigurationError
from selectron.interchange.signals import (
    CATEGORY,
    NULL,
    OTHER,
    ColumnEncoding,
    Linear,
    Number,
    Raw,
    Signal,
    Unit,
    filled,
    is_missing,
    scaled,
)

__all__ = ["transformed"]

Transform = Callable[[Any, Sequence[Signal], Sequence[str] | None], list[Signal]]


def transformed(
    transformer: Any, signals: Sequence[Signal], names: Sequence[str] | None = None
) -> list[Signal]:
    """What a fitted transformer makes of signals.

    Parameters
    ----------
    names
        What the transformer calls its inputs, if it picks some by name and does not know them itself.

    Raises
    ------
    ConfigurationError
        Naming the transformer, if it does what cannot be said here, or was fitted to other inputs.
    """
    if transformer is None or (isinstance(transformer, str) and transformer == "passthrough"):
        return list(signals)
    if isinstance(transformer, ColumnEncoding):
        return transformer.signals(signals)
    kind = type(transformer).__name__
    apply = TRANSFORMS.get(kind)
    if apply is None or not type(transformer).__module__.startswith("sklearn."):
        raise ConfigurationError(
            f"Transformer {kind} cannot be imported.", hint=f"Known are {', '.join(sorted(TRANSFORMS))}."
        )
    wanted = getattr(transformer, "n_features_in_", None)
    if wanted is not None and wanted != len(signals):
        raise ConfigurationError(
            f"{kind} was fitted to {wanted} columns, and {len(signals)} reach it.",
            hint="Name as many features as it has inputs, in its order.",
        )
    own = getattr(transformer, "feature_names_in_", None)
    return apply(transformer, signals, names if own is None else [str(name) for name in own])


def fitted(transformer: Any, attribute: str) -> Any:
    """An attribute that fitting sets."""
    try:
        return getattr(transformer, attribute)
    except AttributeError:
        raise ConfigurationError(
            f"{type(transformer).__name__} is not fitted.", hint="Import what has been fitted."
        ) from None


def refuse(transformer: Any, option: str) -> ConfigurationError:
    value = getattr(transformer, option)
    return ConfigurationError(
        f"{type(transformer).__name__} with {option}={value!r} cannot be imported.",
        hint="Do that in a query over the table instead.",
    )


def pipeline(transformer: Any, signals: Sequence[Signal], names: Sequence[str] | None) -> list[Signal]:
    found = list(signals)
    for _, step in transformer.steps:
        found = transformed(step, found, names)
        if len(found) != len(names or ()):
            names = None
    return found


def column_transformer(
    transformer: Any, signals: Sequence[Signal], names: Sequence[str] | None
) -> list[Signal]:
    found: list[Signal] = []
    for _, step, columns in fitted(transformer, "transformers_"):
        if isinstance(step, str) and step == "drop":
            continue
        places = places_of(columns, names, len(signals))
        chosen = [signals[place] for place in places]
        own = None if names is None else [names[place] for place in places]
        found += transformed(step, chosen, own) if chosen else []
    return found


def places_of(columns: Any, names: Sequence[str] | None, count: int) -> list[int]:
    """Where the columns are that a ColumnTransformer names, numbers, slices or marks."""
    if (
        isinstance(columns, slice)
        and not isinstance(columns.start, str)
        and not isinstance(columns.stop, str)
    ):
        return list(range(count))[columns]
    if isinstance(columns, slice):
        known = list(names or ())
        first = 0 if columns.start is None else known.index(columns.start)
        last = count if columns.stop is None else known.index(columns.stop) + 1
        return list(range(first, last))
    listed = [columns] if isinstance(columns, (str, int, np.integer)) else list(columns)
    if listed and all(isinstance(one, (bool, np.bool_)) for one in listed):
        return [place for place, wanted in enumerate(listed) if wanted]
    places = []
    for one in listed:
        if isinstance(one, str):
            if names is None or one not in names:
                raise ConfigurationError(
                    f"A ColumnTransformer picks a column {one!r}, which cannot be found.",
                    hint="Fit it to a data frame that has such a column.",
                )
            places.append(list(names).index(one))
        else:
            places.append(int(one) % count)
    return places


def feature_union(transformer: Any, signals: Sequence[Signal], names: Sequence[str] | None) -> list[Signal]:
    if transformer.transformer_weights:
        raise refuse(transformer, "transformer_weights")
    found: list[Signal] = []
    for _, step in transformer.transformer_list:
        if not (isinstance(step, str) and step == "drop"):
            found += transformed(step, signals, names)
    return found


def each_scaled(signals: Sequence[Signal], centers: Any, scales: Any) -> list[Signal]:
    centers = np.zeros(len(signals)) if centers is None else centers
    scales = np.ones(len(signals)) if scales is None else scales
    return [
        scaled(signal, float(center), float(scale))
        for signal, center, scale in zip(signals, centers, scales, strict=True)
    ]


def standard_scaler(transformer: Any, signals: Sequence[Signal], names: object) -> list[Signal]:
    center = fitted(transformer, "mean_") if transformer.with_mean else None
    return each_scaled(signals, center, fitted(transformer, "scale_"))


def robust_scaler(transformer: Any, signals: Sequence[Signal], names: object) -> list[Signal]:
    return each_scaled(signals, fitted(transformer, "center_"), fitted(transformer, "scale_"))


def max_abs_scaler(transformer: Any, signals: Sequence[Signal], names: object) -> list[Signal]:
    if getattr(transformer, "clip", False):
        raise refuse(transformer, "clip")
    return each_scaled(signals, None, fitted(transformer, "scale_"))


def min_max_scaler(transformer: Any, signals: Sequence[Signal], names: object) -> list[Signal]:
    if transformer.clip:
        raise refuse(transformer, "clip")
    # It gives value * scale_ + min_.
    factors = np.asarray(fitted(transformer, "scale_"))
    least = transformer.feature_range[0]
    centers = transformer.data_min_ - least / factors
    return each_scaled(signals, centers, 1.0 / factors)


def simple_imputer(transformer: Any, signals: Sequence[Signal], names: object) -> list[Signal]:
    if not is_missing(transformer.missing_values):
        raise refuse(transformer, "missing_values")
    statistics = fitted(transformer, "statistics_")
    empty_kept = transformer.keep_empty_features or transformer.strategy == "constant"
    found = [
        filled(signal, plain(value))
        for signal, value in zip(signals, statistics, strict=True)
        if empty_kept or not is_missing(value)
    ]
    if transformer.add_indicator:
        found += [null_indicator(signals[int(place)]) for place in transformer.indicator_.features_]
    return found


def missing_indicator(transformer: Any, signals: Sequence[Signal], names: object) -> list[Signal]:
    if not is_missing(transformer.missing_values):
        raise refuse(transformer, "missing_values")
    return [null_indicator(signals[int(place)]) for place in fitted(transformer, "features_")]


def null_indicator(signal: Signal) -> Signal:
    """1 where a value is NULL, 0 elsewhere."""
    if isinstance(signal, Linear) or signal.fill is not None:
        return Linear()
    return Linear({Unit(signal.column, NULL): 1.0})


def raw(transformer: Any, signal: Signal) -> Raw:
    """A signal that is still the column's own value."""
    if isinstance(signal, Raw):
        return signal
    if isinstance(signal, Number) and (signal.center, signal.scale) == (0.0, 1.0):
        return Raw(signal.column, signal.fill)
    raise ConfigurationError(
        f"{type(transformer).__name__} is given what another transformer has computed.",
        hint="It can be imported where it is given columns as they are.",
    )


def one_hot_encoder(transformer: Any, signals: Sequence[Signal], names: object) -> list[Signal]:
    categories = fitted(transformer, "categories_")
    dropped = fitted(transformer, "drop_idx_")
    rare = getattr(transformer, "infrequent_categories_", None) or [None] * len(signals)
    found: list[Signal] = []
    for place, signal in enumerate(signals):
        known = [plain(value) for value in categories[place]]
        infrequent = [] if rare[place] is None else [plain(value) for value in rare[place]]
        groups = [[value] for value in known if not is_among(value, infrequent)]
        if infrequent:
            groups.append(infrequent)
        unknown = None
        if transformer.handle_unknown in ("infrequent_if_exist", "warn") and infrequent:
            unknown = len(groups) - 1
        left_out = None if dropped is None or dropped[place] is None else known[int(dropped[place])]
        found += indicators(
            raw(transformer, signal),
            groups,
            unknown=unknown,
            refuses=transformer.handle_unknown == "error",
            without=left_out,
            drops=dropped is not None and dropped[place] is not None,
        )
    return found


def indicators(
    signal: Raw,
    groups: Sequence[Sequence[Any]],
    *,
    unknown: int | None,
    refuses: bool,
    without: Any,
    drops: bool,
) -> list[Signal]:
    """A unit for each group of categories, but for the group of the category that is left out.

    Parameters
    ----------
    unknown
        The group that a category belongs to which is none of them; None belongs to none.
    refuses
        Whether such a category is refused.
    """
    terms: list[dict[Unit, float]] = [{} for _ in groups]
    missing: int | None = unknown
    has_missing = False
    for place, group in enumerate(groups):
        for value in group:
            if is_missing(value):
                missing, has_missing = place, True
            else:
                terms[place][Unit(signal.column, CATEGORY, value)] = 1.0
    if signal.fill is not None:
        homes = [place for place, group in enumerate(groups) if is_among(signal.fill, group)]
        missing, has_missing = (homes[0] if homes else unknown), True
    if unknown is not None:
        terms[unknown][Unit(signal.column, OTHER)] = 1.0
    if missing != unknown:
        # Without a term for NULL, it is one of the categories that are not known.
        if unknown is not None:
            terms[unknown][Unit(signal.column, NULL)] = 0.0
        if missing is not None:
            terms[missing][Unit(signal.column, NULL)] = 1.0
    complete = frozenset({signal.column}) if refuses and not has_missing else frozenset[str]()
    every = frozenset({signal.column}) if refuses else frozenset[str]()
    kept = [place for place, group in enumerate(groups) if not (drops and is_among(without, group))]
    if kept:
        # Categories without a unit are known all the same: they are not the "(other)" one.
        silent = {unit: 0.0 for own in terms for unit in own if own is not terms[kept[0]]}
        silent = {unit: value for unit, value in silent.items() if unit.kind == CATEGORY}
        terms[kept[0]] = in_order({**silent, **terms[kept[0]]}, groups, signal.column)
    return [Linear(terms[place], 0.0, complete, every) for place in kept]


def in_order(terms: Mapping[Unit, float], groups: Sequence[Sequence[Any]], column: str) -> dict[Unit, float]:
    """Terms in the order of the categories, which is that of the feature's units."""
    order = [Unit(column, CATEGORY, value) for group in groups for value in group if not is_missing(value)]
    return {unit: terms[unit] for unit in [*order, *(unit for unit in terms if unit.kind != CATEGORY)]}


def is_among(value: Any, values: Sequence[Any]) -> bool:
    if is_missing(value):
        return any(map(is_missing, values))
    return any(not is_missing(other) and bool(other == value) for other in values)


def ordinal_encoder(transformer: Any, signals: Sequence[Signal], names: object) -> list[Signal]:
    if getattr(transformer, "infrequent_categories_", None) is not None and any(
        rare is not None for rare in transformer.infrequent_categories_
    ):
        raise refuse(transformer, "min_frequency" if transformer.min_frequency else "max_categories")
    refuses = transformer.handle_unknown == "error"
    if not refuses and is_missing(transformer.unknown_value):
        raise refuse(transformer, "unknown_value")
    found: list[Signal] = []
    for signal, categories in zip(signals, fitted(transformer, "categories_"), strict=True):
        column = raw(transformer, signal).column
        terms: dict[Unit, float] = {}
        unknown = 0.0 if refuses else float(transformer.unknown_value)
        missing: float | None = None if refuses else unknown
        for place, value in enumerate(map(plain, categories)):
            if not is_missing(value):
                terms[Unit(column, CATEGORY, value)] = float(place)
            elif is_missing(transformer.encoded_missing_value):
                missing = None
            else:
                missing = float(transformer.encoded_missing_value)
        fill = raw(transformer, signal).fill
        if fill is not None:
            missing = terms.get(Unit(column, CATEGORY, fill), missing)
        if unknown:
            terms[Unit(column, OTHER)] = unknown
        if missing is not None and missing != unknown:
            terms[Unit(column, NULL)] = missing
        complete = frozenset[str]() if missing is not None else frozenset({column})
        found.append(Linear(terms, 0.0, complete, frozenset({column}) if refuses else frozenset()))
    return found


def function_transformer(transformer: Any, signals: Sequence[Signal], names: object) -> list[Signal]:
    if transformer.func is not None:
        raise refuse(transformer, "func")
    return list(signals)


def variance_threshold(transformer: Any, signals: Sequence[Signal], names: object) -> list[Signal]:
    return [signals[int(place)] for place in transformer.get_support(indices=True)]


def plain(value: Any) -> Any:
    """A NumPy scalar as Python's own."""
    return value.item() if isinstance(value, np.generic) else value


TRANSFORMS: Final[Mapping[str, Transform]] = {
    "Pipeline": pipeline,
    "ColumnTransformer": column_transformer,
    "FeatureUnion": feature_union,
    "StandardScaler": standard_scaler,
    "MinMaxScaler": min_max_scaler,
    "MaxAbsScaler": max_abs_scaler,
    "RobustScaler": robust_scaler,
    "SimpleImputer": simple_imputer,
    "MissingIndicator": missing_indicator,
    "OneHotEncoder": one_hot_encoder,
    "OrdinalEncoder": ordinal_encoder,
    "FunctionTransformer": function_transformer,
    "VarianceThreshold": variance_threshold,
}

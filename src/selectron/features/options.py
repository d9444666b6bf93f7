"""How columns become numbers, as far as the user may choose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from selectron.errors import ConfigurationError

__all__ = ["NULL_POLICIES", "SCALINGS", "FeatureOptions"]

SCALINGS: Final = ("standardize", "minmax", "none")
NULL_POLICIES: Final = ("impute", "refuse")


@dataclass(frozen=True)
class FeatureOptions:
    """Which columns are features, and how they become numbers.

    Parameters
    ----------
    include
        The feature columns; all but the target (and columns with another role) if empty. A number that is
        the same in every row is left out all the same, unless it is named here and not scaled.
    exclude
        Columns to leave out.
    scaling
        Of numbers: ``"standardize"`` (mean 0, deviation 1), ``"minmax"`` (0 to 1) or ``"none"``.
    column_scaling
        Another scaling for single columns.
    target_scaling
        Of numbers to predict; predictions are scaled back. With ``"none"``, a target may be constant.
    nulls
        ``"impute"`` (the mean for numbers, a unit of its own for categories, and an indicator unit where
        the training rows had NULLs) or ``"refuse"``.
    categorical
        Columns of numbers to treat as categories.
    embed
        Categories to learn vectors for, and the vectors' length, instead of one unit for each category.
    max_categories
        The most categories that a one-hot column may have.
    classes
        All classes of the target, as text and in the order of the outputs, for rows that may lack some; by
        default those that the rows have.
    complete
        Columns whose NULLs are refused, whatever `nulls` says of the others.
    known
        Columns of categories whose unseen categories are refused; in others, they count as no category.

    Raises
    ------
    ConfigurationError
        If a value is none of the valid ones.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    scaling: str = "standardize"
    column_scaling: Mapping[str, str] = field(default_factory=dict)
    target_scaling: str = "standardize"
    nulls: str = "impute"
    categorical: tuple[str, ...] = ()
    embed: Mapping[str, int] = field(default_factory=dict)
    max_categories: int = 100
    classes: tuple[str, ...] = ()
    complete: tuple[str, ...] = ()
    known: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("include", "exclude", "categorical", "classes", "complete", "known"):
            value = getattr(self, name)
            object.__setattr__(self, name, (value,) if isinstance(value, str) else tuple(value))
        check_choice("scaling", self.scaling, SCALINGS)
        check_choice("target_scaling", self.target_scaling, SCALINGS)
        for column, scaling in self.column_scaling.items():
            check_choice(f"column_scaling of {column!r}", scaling, SCALINGS)
        check_choice("nulls", self.nulls, NULL_POLICIES)
        for column, length in self.embed.items():
            check_count(f"The length of the vectors of {column!r}", length)
        check_count("max_categories", self.max_categories)
        if len(set(self.classes)) < len(self.classes):
            raise ConfigurationError("classes names a class twice.", hint="Name each once.")
        both = set(self.include) & set(self.exclude)
        if both:
            raise ConfigurationError(f"Column {min(both)!r} is both included and excluded.")


def check_choice(name: str, value: str, valid: tuple[str, ...]) -> None:
    """Refuse a word that is not among the valid ones."""
    if value not in valid:
        raise ConfigurationError(f"{name} is {value!r}.", hint=f"Use one of {', '.join(valid)}.")


def check_count(name: str, value: object) -> None:
    """Refuse what is not a whole number of 1 or more."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigurationError(f"{name} is {value!r}.", hint="Give a whole number, 1 or more.")

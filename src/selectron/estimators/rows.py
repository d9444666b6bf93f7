"""Arrays and data frames as rows of named columns that DuckDB reads where they are."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from selectron.errors import ColumnError
from selectron.sql import folded

__all__ = ["Rows", "frame_kind", "free_name"]

PANDAS: Final = "pandas"
POLARS: Final = "polars"


def frame_kind(value: object) -> str | None:
    """Whether it is a data frame of pandas or Polars; a library that is not imported has made none."""
    for kind in (PANDAS, POLARS):
        library = sys.modules.get(kind)
        if library is not None and isinstance(value, library.DataFrame):
            return kind
    return None


def free_name(name: str, taken: Sequence[str]) -> str:
    """A column's name that is not taken yet, in any case.

    >>> free_name("target", ["Target", "target_"])
    'target__'
    """
    lower = set(map(folded, taken))
    while folded(name) in lower:
        name += "_"
    return name


@dataclass(frozen=True)
class Rows:
    """Columns under their names: a dictionary of arrays, or a pandas or Polars frame."""

    names: tuple[str, ...]
    frame: Any
    count: int

    @staticmethod
    def of(values: Any, names: Sequence[str]) -> Rows:
        """An array of numbers or a data frame, its columns renamed.

        Raises
        ------
        ColumnError
            If two names differ in case alone, which a database does not tell apart.

        Examples
        --------
        >>> Rows.of(np.array([[1.0, 2.0]]), ["a", "b"]).frame
        {'a': array([1.]), 'b': array([2.])}
        """
        seen: dict[str, str] = {}
        for name in names:
            other = seen.setdefault(folded(name), name)
            if other is not name:
                raise ColumnError(
                    f"Columns {other!r} and {name!r} have one name to a database, which ignores case.",
                    hint="Rename one of them.",
                )
        return Rows(tuple(names), MAKERS[frame_kind(values)](values, list(names)), len(values))

    def select(self, mask: Any) -> Rows:
        """The rows where a mask is true."""
        kind = frame_kind(self.frame)
        if kind == POLARS:
            frame = self.frame.filter(mask)
        elif kind == PANDAS:
            frame = self.frame[mask].reset_index(drop=True)
        else:
            frame = {name: values[mask] for name, values in self.frame.items()}
        return Rows(self.names, frame, int(np.count_nonzero(mask)))

    def beside(self, columns: Mapping[str, Any]) -> Any:
        """The frame with further columns, given as arrays."""
        kind = frame_kind(self.frame)
        if kind == POLARS:
            series = sys.modules[POLARS].Series
            return self.frame.with_columns(
                [
                    # Polars takes no array of objects for text.
                    series(name, values.tolist() if values.dtype.kind == "O" else values)
                    for name, values in columns.items()
                ]
            )
        if kind == PANDAS:
            return self.frame.assign(**columns)
        return {**self.frame, **columns}


def from_array(values: Any, names: list[str]) -> dict[str, Any]:
    return {name: np.ascontiguousarray(values[:, place]) for place, name in enumerate(names)}


def from_pandas(values: Any, names: list[str]) -> Any:
    # A copy, since DuckDB 2.0 does not read columns that run backwards in memory, as of frame[::-1].
    frame = values.reset_index(drop=True).copy()
    frame.columns = names
    sparse = {
        name: frame[name].sparse.to_dense()
        for name, type_ in zip(names, frame.dtypes, strict=True)
        if isinstance(type_, sys.modules[PANDAS].SparseDtype)
    }
    return frame.assign(**sparse) if sparse else frame


def from_polars(values: Any, names: list[str]) -> Any:
    frame = values.rename(dict(zip(values.columns, names, strict=True)))
    # In pandas and in arrays a NaN is a missing value; here alike.
    return frame.with_columns(sys.modules[POLARS].selectors.float().fill_nan(None))


MAKERS: Final = {None: from_array, PANDAS: from_pandas, POLARS: from_polars}

"""To which library a network goes, and into which file."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Final

from selectron.errors import ConfigurationError
from selectron.interchange.dense import Exported

__all__ = ["KINDS", "SUFFIXES", "Exported", "export"]

# How a file of each kind ends.
SUFFIXES: Final = {"numpy": ".npz", "torch": ".pt", "onnx": ".onnx", "sklearn": ".joblib"}
KINDS: Final = tuple(SUFFIXES)


def export(exported: Exported, kind: str, path: str | Path | None = None, **options: Any) -> Any:
    """A network as an object of another library, also written into a file if one is named.

    Raises
    ------
    ConfigurationError
        If there is no such kind, or the library cannot express the network.
    """
    if kind not in SUFFIXES:
        raise ConfigurationError(
            f"A model cannot be exported to {kind!r}.", hint=f"Use one of {', '.join(KINDS)}."
        )
    if path is not None and Path(path).suffix.lower() != SUFFIXES[kind]:
        raise ConfigurationError(f"{str(path)!r} does not end in {SUFFIXES[kind]}, as a file of {kind} does.")
    target = importlib.import_module(f"selectron.interchange.{kind}_target")
    unknown = sorted(set(options) - set(target.OPTIONS))
    if unknown:
        known = ", ".join(target.OPTIONS) or "none"
        raise ConfigurationError(f"There is no option {unknown[0]!r} of {kind}.", hint=f"There are: {known}.")
    made = target.make(exported, **options)
    if path is not None:
        try:
            target.write(made, Path(path))
        except OSError as error:
            raise ConfigurationError(f"{str(path)!r} cannot be written: {error}") from None
    return made

"""Which library a network comes from."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from selectron.errors import ConfigurationError
from selectron.interchange.described import Described
from selectron.interchange.optional import library

__all__ = ["describe", "read"]

# The module that reads objects of a library, by the name that their classes' modules begin with.
READERS: Final[Mapping[str, str]] = {
    "sklearn": "sklearn_source",
    "keras": "keras_source",
    "tensorflow": "keras_source",
    "onnx": "onnx_source",
    "torch": "torch_source",
}
# The module that loads a file, by the end of its name.
LOADERS: Final[Mapping[str, str]] = {
    ".onnx": "onnx_source",
    ".pt": "torch_source",
    ".pth": "torch_source",
    ".keras": "keras_source",
}
PICKLES: Final = (".joblib", ".pkl", ".pickle")


def describe(source: object, *, trust: bool = False) -> Described:
    """A network of any library, or in a file.

    Parameters
    ----------
    source
        An object of a library, or the path of a file.
    trust
        Whether a file may run code while it is read, as pickles do.

    Raises
    ------
    ConfigurationError
        If it is of no library that is known, or has something that cannot be imported.
    """
    found: Any = source
    if isinstance(source, (str, Path)):
        found = read(Path(source), trust=trust)
    origins = {class_.__module__.split(".")[0] for class_ in type(found).__mro__}
    # Keras' networks are PyTorch's too, where that is what computes them: the order matters.
    for name, module in READERS.items():
        if name in origins:
            reader = importlib.import_module(f"selectron.interchange.{module}")
            described: Described = reader.describe(found)
            return described
    raise ConfigurationError(
        f"{type(found).__name__} is no network that can be imported.",
        hint="Give a scikit-learn estimator or pipeline, a PyTorch or Keras Sequential, or an ONNX model.",
    )


def read(path: Path, *, trust: bool) -> Any:
    """What a file holds."""
    if not path.exists():
        raise ConfigurationError(f"There is no file {str(path)!r}.")
    end = path.suffix.lower()
    if end in LOADERS:
        return importlib.import_module(f"selectron.interchange.{LOADERS[end]}").load(path)
    if end in PICKLES:
        if not trust:
            raise ConfigurationError(
                f"{str(path)!r} is a pickle, and reading it runs whatever code is in it.",
                hint="If you trust who made it, say trust=True, or --trust in the shell.",
            )
        try:
            return library("joblib", "sklearn").load(path)
        except ConfigurationError:
            raise
        except Exception as error:
            raise ConfigurationError(f"{str(path)!r} cannot be read: {error}") from None
    raise ConfigurationError(
        f"{str(path)!r} is no file that can be imported.",
        hint=f"Use one of {', '.join([*LOADERS, *PICKLES])}.",
    )

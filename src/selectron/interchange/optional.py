"""Libraries that are only needed to exchange networks with them."""

from __future__ import annotations

import importlib
from typing import Any

from selectron.errors import ConfigurationError

__all__ = ["library"]


def library(name: str, extra: str) -> Any:
    """A module that may not be installed.

    Parameters
    ----------
    name
        The module.
    extra
        The extra of Selectron that installs it.

    Raises
    ------
    ConfigurationError
        If it is not installed, saying how to install it.

    Examples
    --------
    >>> library("a_library_that_is_not", "sklearn")
    Traceback (most recent call last):
        ...
    selectron.errors.ConfigurationError: a_library_that_is_not is not installed. Install selectron[sklearn].
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ConfigurationError(
            f"{name.split('.')[0]} is not installed.", hint=f"Install selectron[{extra}]."
        ) from None

"""The command line: the same words as the Python interface."""

from __future__ import annotations

import sys

from selectron.cli import checking, exchanging, explaining, managing, reporting, training, using
from selectron.cli.app import app
from selectron.cli.printing import err
from selectron.errors import SelectronError, TrainingInterrupted

__all__ = [
    "app",
    "checking",
    "exchanging",
    "explaining",
    "main",
    "managing",
    "reporting",
    "training",
    "using",
]


def main() -> None:
    """Run the command line; the user's own mistakes end in a message, not in a traceback."""
    try:
        app()
    except TrainingInterrupted as stop:
        err.print(f"Stopped: {stop}", style="yellow", markup=False)
        sys.exit(130)
    except SelectronError as error:
        err.print(f"Error: {error}", style="red", markup=False)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)

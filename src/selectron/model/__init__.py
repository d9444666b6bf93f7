"""A trained model: what a user holds, by what it is for."""

from __future__ import annotations

from selectron.model.kept import chosen
from selectron.model.model import Model
from selectron.model.predictions import Predictions
from selectron.model.shown import SQL_KINDS

__all__ = ["SQL_KINDS", "Model", "Predictions", "chosen"]

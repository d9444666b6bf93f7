"""Prediction as one statement for any dialect, for people with no Selectron there."""

from __future__ import annotations

from selectron.portable.dialects import DIALECTS
from selectron.portable.statement import portable_query, table_named, written

__all__ = ["DIALECTS", "portable_query", "table_named", "written"]

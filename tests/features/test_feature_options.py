"""Options of features: valid words and numbers, and the way into the store and back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from selectron.errors import ConfigurationError
from selectron.features import FeatureOptions
from selectron.serialization import from_json, to_json


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scaling": "log"}, "^scaling is 'log'.*standardize, minmax, none"),
        ({"target_scaling": "log"}, "^target_scaling is 'log'"),
        ({"column_scaling": {"a": "log"}}, "^column_scaling of 'a' is 'log'"),
        ({"nulls": "drop"}, "^nulls is 'drop'.*impute, refuse"),
        ({"max_categories": 0}, "^max_categories is 0"),
        ({"max_categories": True}, "^max_categories is True"),
        ({"embed": {"a": 0}}, "vectors of 'a' is 0"),
        ({"embed": {"a": 1.5}}, "vectors of 'a' is 1.5"),
        ({"include": ("a", "b"), "exclude": ("b",)}, "'b' is both included and excluded"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        FeatureOptions(**options)


def test_options_survive_json() -> None:
    options = FeatureOptions(
        include=("größe", 'a"b', "type"),
        scaling="minmax",
        column_scaling={"type": "none"},
        target_scaling="none",
        nulls="refuse",
        categorical=("größe",),
        embed={"type": 3, 'a"b': 2},
        max_categories=7,
    )
    assert from_json(json.loads(json.dumps(to_json(options))), [FeatureOptions]) == options


def test_one_name_is_a_name_and_not_its_letters() -> None:
    assert FeatureOptions(include="mass").include == ("mass",)  # type: ignore[arg-type]

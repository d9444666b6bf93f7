"""Settings to JSON and back: frozen dataclasses, tagged by their class's name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, Final

from selectron.errors import StoreError

__all__ = ["from_json", "to_json"]

# No class has this name, since classes begin with a capital.
MAPPING: Final = "mapping"


def to_json(value: object) -> Any:
    """A value of settings as JSON-ready dicts, lists, strings and numbers.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Rate:
    ...     value: float
    >>> to_json((Rate(0.5), None))
    [{'type': 'Rate', 'value': 0.5}, None]
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {
            "type": type(value).__name__,
            **{field.name: to_json(getattr(value, field.name)) for field in fields(value) if field.init},
        }
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        items = {str(key): to_json(item) for key, item in value.items()}
        # A class or a column that is called "type" must not be taken for a tag.
        return {"type": MAPPING, "items": items} if "type" in items else items
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    return value


def from_json(data: Any, classes: Iterable[type]) -> Any:
    """What :func:`to_json` wrote, given the classes that may occur. Lists come back as tuples.

    Raises
    ------
    StoreError
        If a class or one of its settings is unknown, as when a newer version of Selectron wrote the settings.
    """
    known = {class_.__name__: class_ for class_ in classes}

    def revive(item: Any) -> Any:
        if isinstance(item, dict) and item.get("type") == MAPPING:
            return {key: revive(part) for key, part in item["items"].items()}
        if isinstance(item, dict) and "type" in item:
            class_ = known.get(item["type"])
            if class_ is None:
                raise StoreError(
                    f"The stored settings name {item['type']!r}, which this version does not know.",
                    hint="Upgrade Selectron.",
                )
            values = {key: revive(part) for key, part in item.items() if key != "type"}
            unknown = sorted(set(values) - {field.name for field in fields(class_)})
            if unknown:
                raise StoreError(
                    f"The stored settings give {item['type']} {unknown[0]!r}, "
                    "which this version does not know.",
                    hint="Upgrade Selectron.",
                )
            return class_(**values)
        if isinstance(item, dict):
            return {key: revive(part) for key, part in item.items()}
        if isinstance(item, list):
            return tuple(revive(part) for part in item)
        return item

    return revive(data)

"""Builds JSON text from parts that are JSON text already. Documents are copied and never parsed."""

import json
from collections.abc import Iterable, Mapping


def json_scalar(value: str | int | None) -> str:
    """The value as JSON text. Characters outside ASCII are not escaped."""
    return json.dumps(value, ensure_ascii=False)


def json_object(members: Mapping[str, str]) -> str:
    """An object. ``members`` maps names to JSON text; the names need no escaping."""
    return "{" + ",".join(f'"{name}":{value}' for name, value in members.items()) + "}"


def json_array(items: Iterable[str]) -> str:
    return "[" + ",".join(items) + "]"

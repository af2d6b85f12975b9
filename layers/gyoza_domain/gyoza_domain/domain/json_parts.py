"""JSON put together from parts that are JSON text already: documents are set in as they are, never parsed."""

import json
from collections.abc import Iterable, Mapping


def json_scalar(value: str | int | None) -> str:
    """Characters outside ASCII as themselves."""
    return json.dumps(value, ensure_ascii=False)


def json_object(members: Mapping[str, str]) -> str:
    """``members``: name to JSON text; the names need no escaping."""
    return "{" + ",".join(f'"{name}":{value}' for name, value in members.items()) + "}"


def json_array(items: Iterable[str]) -> str:
    return "[" + ",".join(items) + "]"

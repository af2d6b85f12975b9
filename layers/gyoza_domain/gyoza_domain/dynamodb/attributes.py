"""Converts Python values to DynamoDB's typed values and back.

An attribute without a value is left out. ``schema`` is on every item; a reader leaves attributes that it does not know
alone.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from . import keys

Item = dict[str, Any]
"""Attribute name to DynamoDB's typed value, as in ``{"state": {"S": "PENDING"}}``."""

StoredItem = Mapping[str, Any]

SCHEMA = 1
"""The schema of the items written here. A release that changes the reading of an item raises it."""

Value = TypeVar("Value")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)


class UnreadableItem(Exception):
    """The item is malformed, or a newer release wrote it. The text goes on after the name of the item."""


def readable(item: StoredItem, decode: Callable[[StoredItem], Value]) -> Value:
    """Decode the item and return the value. Raises UnreadableItem."""

    def of_known_schema(item: StoredItem) -> Value:
        schema = integer(item, "schema")
        if schema > SCHEMA:
            raise UnreadableItem(f"is of schema {schema}; this reader knows {SCHEMA}")
        return decode(item)

    return well_formed(item, of_known_schema)


def well_formed(item: StoredItem, decode: Callable[[StoredItem], Value]) -> Value:
    """The result of ``decode(item)`` for attributes that mean the same in every schema. Raises UnreadableItem."""
    try:
        return decode(item)
    except (KeyError, TypeError, ValueError) as error:
        raise UnreadableItem(f"is malformed ({type(error).__name__}: {error})") from error


def new_item(run_id: str, sk: str, **values: str | int | datetime | None) -> Item:
    return {**key_of(run_id, sk), "schema": {"N": str(SCHEMA)}, **attributes(**values)}


def key_of(run_id: str, sk: str) -> Item:
    return {"pk": {"S": keys.run_pk(run_id)}, "sk": {"S": sk}}


def attributes(**values: str | int | datetime | None) -> Item:
    return {name: _attribute(value) for name, value in values.items() if value is not None}


def sk_of(item: StoredItem) -> str:
    return text(item, "sk")


def text(item: StoredItem, name: str) -> str:
    value: str = item[name]["S"]
    return value


def integer(item: StoredItem, name: str) -> int:
    return int(item[name]["N"])


def instant(item: StoredItem, name: str) -> datetime:
    return instant_from_ticks(integer(item, name))


def optional_text(item: StoredItem, name: str) -> str | None:
    return text(item, name) if name in item else None


def optional_integer(item: StoredItem, name: str) -> int | None:
    return integer(item, name) if name in item else None


def optional_instant(item: StoredItem, name: str) -> datetime | None:
    return instant(item, name) if name in item else None


def ticks(instant: datetime) -> int:
    """The microseconds since 1970 that stand for an instant."""
    return (instant - _EPOCH) // _TICK


def instant_from_ticks(microseconds: int) -> datetime:
    return _EPOCH + microseconds * _TICK


def version_of(item: StoredItem | None) -> int:
    """The version of the run whose write last changed the item; 0 if there is no item."""
    return 0 if item is None else integer(item, "version")


def _attribute(value: str | int | datetime) -> dict[str, Any]:
    if isinstance(value, str):
        return {"S": str(value)}
    if isinstance(value, bool):
        return {"BOOL": value}
    if isinstance(value, int):
        return {"N": str(value)}
    return {"N": str(ticks(value))}

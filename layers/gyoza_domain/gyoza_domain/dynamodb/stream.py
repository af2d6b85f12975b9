"""Records of the table's stream to what they ask for."""

from collections.abc import Mapping
from typing import Any

from ..publishing.messages import CREATION
from ..publishing.ports import EventRange, ParkedEvent, StreamChange
from . import keys
from .attributes import StoredItem, UnreadableItem, integer, readable
from .head import head_from

Record = Mapping[str, Any]


def change_of(record: Record) -> StreamChange:
    """The events that a write added, by what it did to HEAD; none where it added none or nobody wants them.

    HEAD alone drives it: the stream keeps the order of one item's records, not of two items of one transaction.
    """
    change: Mapping[str, Any] = record.get("dynamodb", {})
    number: str = change.get("SequenceNumber", "")
    if record.get("eventName") == "REMOVE":
        return StreamChange(number)
    try:
        events = readable(change.get("NewImage", {}), lambda head: _new_events(record, head))
    except UnreadableItem as unreadable:
        reason = f"The record {unreadable}"
        return StreamChange(number, unreadable=ParkedEvent(reason, run_id=_run_id_of(change), record=record))
    return StreamChange(number, events)


def _new_events(record: Record, head_item: StoredItem) -> EventRange | None:
    change = record["dynamodb"]
    if change["Keys"]["sk"] != {"S": keys.HEAD}:
        raise ValueError("no record of a run's HEAD")
    head = head_from(head_item)
    if not head.is_delivering:
        return None
    first_seq = CREATION if record["eventName"] == "INSERT" else integer(change["OldImage"], "last_seq") + 1
    run = head.run
    return EventRange(run.id, run.created_at, first_seq, run.last_seq) if first_seq <= run.last_seq else None


def _run_id_of(change: Mapping[str, Any]) -> str | None:
    """The run of a record that could not be read, where that much can be."""
    try:
        return keys.run_id_of_pk(change["Keys"]["pk"]["S"])
    except (KeyError, TypeError):
        return None

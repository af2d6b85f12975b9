"""Finds the new events in a record of the table's stream."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ..publishing.messages import CREATION
from ..publishing.ports import EventRange, ParkedEvent, StreamChange
from . import keys
from .attributes import StoredItem, UnreadableItem, integer, readable
from .head import head_from

Record = Mapping[str, Any]


def change_of(record: Record) -> StreamChange:
    """The events that a write to HEAD added, or the record itself to park if it cannot be read.

    There are no events if the write added none or if the run has no event_delivery. Only records of HEAD count: the
    stream keeps the order of one item's records, but not the order of two items that one transaction wrote.
    """
    change: Mapping[str, Any] = record.get("dynamodb", {})
    number: str = change.get("SequenceNumber", "")
    if record.get("eventName") == "REMOVE":
        return StreamChange(number)
    seconds = change.get("ApproximateCreationDateTime")
    written_at = datetime.fromtimestamp(seconds, UTC) if isinstance(seconds, int | float) else None
    try:
        events = readable(change.get("NewImage", {}), lambda head: _new_events(record, head))
    except UnreadableItem as unreadable:
        parked = ParkedEvent(f"The record {unreadable}", run_id=_run_id_of(change), record=record)
        return StreamChange(number, written_at, unreadable=parked)
    return StreamChange(number, written_at, events)


def _new_events(record: Record, head_item: StoredItem) -> EventRange | None:
    change = record["dynamodb"]
    if change["Keys"]["sk"] != {"S": keys.HEAD}:
        raise ValueError("no record of a run's HEAD")
    head = head_from(head_item)
    if not head.is_delivering:
        return None
    run = head.run
    first_seq = CREATION if record["eventName"] == "INSERT" else integer(change["OldImage"], "last_seq") + 1
    last_seq = run.attempt.last_seq
    return EventRange(run.id, run.created_at, first_seq, last_seq) if first_seq <= last_seq else None


def _run_id_of(change: Mapping[str, Any]) -> str | None:
    """The run id of an unreadable record; None if its key is unreadable too."""
    try:
        return keys.run_id_of_pk(change["Keys"]["pk"]["S"])
    except (KeyError, TypeError):
        return None

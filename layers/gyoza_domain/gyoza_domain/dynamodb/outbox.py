"""Outbox on the table of ``keys``: the EVENT items are what is to be sent."""

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from ..domain.errors import RunNotFound
from ..domain.run import Event
from ..publishing.memory import RecentValues
from ..publishing.messages import CREATION, Subject
from ..publishing.ports import EventRange, Outgoing
from ..runs.ports import Clock
from . import codec, keys
from .attributes import StoredItem, UnreadableItem, optional_text, readable, text
from .head import head_from
from .table_reader import ItemKey, TableReader

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


_SUBJECTS_REMEMBERED = 10_000

_ATTRIBUTES = (
    "schema",
    *("image", "op_definition", "topic", "topic_attributes"),
    *("seq", "id", "attempt", "type", "at", "state", "msg", "payload", "outputs", "error_message", "will_retry"),
)
"""Of SPEC and of EVENT, what a message tells: inputs, which may be large, do not travel."""


class DynamoDBOutbox:
    def __init__(self, client: "DynamoDBClient", table: str, clock: Clock) -> None:
        self._reader = TableReader(client, table, clock)
        # SPEC never changes, so what a process has read of it stays true.
        self._subjects: RecentValues[Subject] = RecentValues(_SUBJECTS_REMEMBERED)

    def read(self, ranges: Sequence[EventRange]) -> Mapping[str, Outgoing | str]:
        wanted = [key for each in ranges for key in self._keys(each)]
        items = self._reader.items(wanted, _ATTRIBUTES)
        return {each.run_id: self._outgoing(each, items) for each in ranges}

    def range_of(self, run_id: str, first_seq: int, last_seq: int | None = None) -> EventRange:
        head = self._reader.item(ItemKey(run_id, keys.HEAD))
        if head is None:
            raise RunNotFound(run_id)
        run = head_from(head).run
        newest = run.last_seq
        return EventRange(run_id, run.created_at, first_seq, newest if last_seq is None else min(last_seq, newest))

    def _keys(self, wanted: EventRange) -> list[ItemKey]:
        events = [ItemKey(wanted.run_id, keys.event_sk(seq)) for seq in _seqs(wanted)]
        known = self._subjects.get(wanted.run_id) is not None
        return events if known else [ItemKey(wanted.run_id, keys.SPEC), *events]

    def _outgoing(self, wanted: EventRange, items: Mapping[ItemKey, StoredItem]) -> Outgoing | str:
        run_id = wanted.run_id
        subject = self._subjects.get(run_id)
        if subject is None:
            spec = items.get(ItemKey(run_id, keys.SPEC))
            if spec is None:
                return "The run's SPEC is gone"
            try:
                subject = readable(spec, lambda item: _subject(run_id, item))
            except UnreadableItem as unreadable:
                return f"The run's SPEC {unreadable}"
            if subject is None:
                return "The run has no event_delivery"
            self._subjects.put(run_id, subject)
        return Outgoing(subject, {seq: _event(items.get(ItemKey(run_id, keys.event_sk(seq)))) for seq in _seqs(wanted)})


def _seqs(wanted: EventRange) -> range:
    """The range's events; the creation has no item."""
    return range(max(wanted.first_seq, CREATION + 1), wanted.last_seq + 1)


def _event(item: StoredItem | None) -> Event | str:
    if item is None:
        return "The EVENT item is gone"
    try:
        return codec.event_from(item)
    except UnreadableItem as unreadable:
        return f"The EVENT item {unreadable}"


def _subject(run_id: str, spec: StoredItem) -> Subject | None:
    delivery = codec.delivery_from(spec)
    if delivery is None:
        return None
    attributes = json.loads(delivery.attributes, parse_float=Decimal, parse_int=Decimal)
    if not isinstance(attributes, dict) or not all(
        isinstance(each, str | bool | Decimal) for each in attributes.values()
    ):
        raise TypeError("topic_attributes")
    return Subject(run_id, delivery.topic, attributes, text(spec, "image"), optional_text(spec, "op_definition"))

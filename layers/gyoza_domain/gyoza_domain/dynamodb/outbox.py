"""Reads the events of runs from the table as messages. The EVENT items are the outbox; nothing else is stored."""

import json
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, TypeVar

from ..domain.errors import RunNotFound
from ..publishing.memory import RecentValues
from ..publishing.messages import CREATION, Message, Subject, creation_message, event_message
from ..publishing.ports import Absence, EventRange, Lack, Outgoing, RunUnreadable
from ..runs.ports import Clock
from . import codec, keys
from .attributes import StoredItem, UnreadableItem, optional_integer, optional_text, readable, text
from .head import head_from, is_deleted
from .table_reader import ItemKey, TableReader

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_MAX_SUBJECTS_REMEMBERED = 10_000

_ATTRIBUTES = (
    "schema",
    *("image", "op_definition", "op_version", "op_revision", "topic", "topic_attributes"),
    *("seq", "id", "attempt", "type", "at", "state", "msg", "payload", "outputs", "error_message", "will_retry"),
)
"""The attributes of SPEC and EVENT that a message holds. Inputs, which may be large, are not read."""

_GONE = Lack(Absence.GONE, "The run was deleted")

Value = TypeVar("Value")


class _Lacking(Exception):
    def __init__(self, absence: Absence, reason: str) -> None:
        super().__init__(reason)
        self.lack = Lack(absence, reason)


class DynamoDBOutbox:
    def __init__(self, client: "DynamoDBClient", table: str, clock: Clock) -> None:
        self._reader = TableReader(client, table, clock)
        # SPEC never changes, so a process reads it once a run.
        self._subjects: RecentValues[Subject] = RecentValues(_MAX_SUBJECTS_REMEMBERED)

    def read(self, ranges: Sequence[EventRange]) -> Mapping[str, Outgoing]:
        wanted = [key for each in ranges for key in self._keys(each)]
        items = self._reader.items(wanted, _ATTRIBUTES)
        outgoing = {each.run_id: self._outgoing(each, items) for each in ranges}
        return outgoing | self._gone({run_id: each for run_id, each in outgoing.items() if _misses_an_item(each)})

    def range_of(self, run_id: str, first_seq: int, last_seq: int | None = None) -> EventRange:
        head = self._reader.item(ItemKey(run_id, keys.HEAD))
        if head is None or is_deleted(head):
            raise RunNotFound(run_id)
        try:
            run = head_from(head).run
        except UnreadableItem as unreadable:
            raise RunUnreadable(f"The HEAD of run '{run_id}' {unreadable}") from unreadable
        newest = run.last_seq if last_seq is None else min(last_seq, run.last_seq)
        return EventRange(run_id, run.created_at, first_seq, newest)

    def _keys(self, wanted: EventRange) -> list[ItemKey]:
        events = [ItemKey(wanted.run_id, keys.event_sk(seq)) for seq in _seqs(wanted) if seq != CREATION]
        is_known = self._subjects.get(wanted.run_id) is not None
        return events if is_known else [ItemKey(wanted.run_id, keys.SPEC), *events]

    def _outgoing(self, wanted: EventRange, items: Mapping[ItemKey, StoredItem]) -> Outgoing:
        try:
            subject = self._subject(wanted.run_id, items)
        except _Lacking as lacking:
            return Outgoing(None, lacks=dict.fromkeys(_seqs(wanted), lacking.lack))
        messages: dict[int, Message] = {}
        lacks: dict[int, Lack] = {}
        for seq in _seqs(wanted):
            try:
                if seq == CREATION:
                    messages[seq] = creation_message(subject, wanted.created_at)
                else:
                    item = items.get(ItemKey(wanted.run_id, keys.event_sk(seq)))
                    messages[seq] = event_message(subject, _decoded("The EVENT item", item, codec.event_from))
            except _Lacking as lacking:
                lacks[seq] = lacking.lack
        return Outgoing(subject.topic, messages, lacks)

    def _subject(self, run_id: str, items: Mapping[ItemKey, StoredItem]) -> Subject:
        subject = self._subjects.get(run_id)
        if subject is None:
            spec = items.get(ItemKey(run_id, keys.SPEC))
            subject = _decoded("The run's SPEC", spec, lambda item: _subject_from(run_id, item))
            self._subjects.put(run_id, subject)
        return subject

    def _gone(self, incomplete: Mapping[str, Outgoing]) -> dict[str, Outgoing]:
        """The runs that are deleted or being deleted. Their missing items will not appear."""
        if not incomplete:
            return {}
        heads = self._reader.items([ItemKey(run_id, keys.HEAD) for run_id in incomplete])
        return {
            run_id: Outgoing(each.topic, each.messages, dict.fromkeys(each.lacks, _GONE))
            for run_id, each in incomplete.items()
            if (head := heads.get(ItemKey(run_id, keys.HEAD))) is None or is_deleted(head)
        }


def _seqs(wanted: EventRange) -> range:
    return range(wanted.first_seq, wanted.last_seq + 1)


def _misses_an_item(outgoing: Outgoing) -> bool:
    return any(lack.absence is Absence.MISSING for lack in outgoing.lacks.values())


def _decoded(name: str, item: StoredItem | None, decode: Callable[[StoredItem], Value]) -> Value:
    if item is None:
        raise _Lacking(Absence.MISSING, f"{name} is missing")
    try:
        return readable(item, decode)
    except UnreadableItem as unreadable:
        raise _Lacking(Absence.UNREADABLE, f"{name} {unreadable}") from unreadable


def _subject_from(run_id: str, spec: StoredItem) -> Subject:
    delivery = codec.delivery_from(spec)
    if delivery is None:
        raise _Lacking(Absence.UNREADABLE, "The run has no event_delivery")
    attributes = json.loads(delivery.attributes, parse_float=Decimal, parse_int=Decimal)
    if not isinstance(attributes, dict) or not all(
        isinstance(each, str | bool | Decimal) for each in attributes.values()
    ):
        raise TypeError("topic_attributes")
    return Subject(
        run_id=run_id,
        topic=delivery.topic,
        attributes=attributes,
        image=text(spec, "image"),
        op_definition=optional_text(spec, "op_definition"),
        op_version=optional_text(spec, "op_version"),
        op_revision=optional_integer(spec, "op_revision"),
    )

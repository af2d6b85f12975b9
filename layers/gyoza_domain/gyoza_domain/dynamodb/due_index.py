"""Implements DueIndex on the index ``by_due`` of ``keys``, and on one item for the note of the sweeps.

HEAD and BEAT carry the keys of the index. A change of an entry is one update of its item, on ``due_at`` as the index
showed it; it leaves the run's version alone.
"""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from ..domain.errors import StorageUnavailable
from ..domain.instants import instant_from_text, instant_to_text
from ..waking.ports import STANDSTILL, DueEntry, DuePage, Subject, SweepNote
from . import keys
from .attributes import Item, StoredItem, attributes, instant, optional_instant, optional_text, text
from .client_errors import NoAnswer, WriteConflict, WriteThrottled, translated_read, translated_write

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_SUBJECT_OF_SK = {keys.HEAD: Subject.RUN, keys.BEAT: Subject.LEASE}

_FIRST_DELAY = timedelta(minutes=1)
_MAX_DELAY = timedelta(hours=1)

_MAX_NOTE_TRIES = 3

# The item is due at the instant that the index showed. A condition on a missing item fails too.
_IS_AS_READ = "due_at = :as_read"


class DynamoDBDueIndex:
    shards: Sequence[str] = tuple(str(number) for number in range(keys.DUE_SHARDS))
    remains = keys.DUE_REMAINS

    def __init__(self, client: "DynamoDBClient", table: str) -> None:
        self._client = client
        self._table = table

    def due(self, shard: str, until: datetime, limit: int, page: Any = None) -> DuePage:
        start: dict[str, Any] = {} if page is None else {"ExclusiveStartKey": page}
        with translated_read():
            answer = self._client.query(
                TableName=self._table,
                IndexName=keys.BY_DUE,
                KeyConditionExpression="due_shard = :shard AND due_at <= :until",
                ExpressionAttributeValues={":shard": {"S": shard}, ":until": {"S": instant_to_text(until)}},
                Limit=limit,
                **start,
            )
        return DuePage([_entry_from(item, until) for item in answer["Items"]], answer.get("LastEvaluatedKey"))

    def move(self, entry: DueEntry, due_at: datetime | None) -> None:
        if due_at is None:
            self._update(entry, "REMOVE due_shard, due_at", {})
        else:
            self._update(entry, "SET due_at = :due_at", {":due_at": {"S": instant_to_text(due_at)}})

    def set_back(self, entry: DueEntry, now: datetime) -> datetime:
        first, delay = self._earlier_set_back(entry) or (entry.due_at, _FIRST_DELAY / 2)
        delay = min(2 * delay, _MAX_DELAY)
        until = instant_to_text(now + delay)
        kept = json.dumps([instant_to_text(first), delay.total_seconds(), until])
        self._update(entry, "SET due_at = :until, set_back = :kept", {":until": {"S": until}, ":kept": {"S": kept}})
        return first

    def _earlier_set_back(self, entry: DueEntry) -> tuple[datetime, timedelta] | None:
        """The instant at which the entry was first due, and the delay that made it due when it is.

        None if it was never set back, or if something else was written about it since then.
        """
        with translated_read():
            answer = self._client.get_item(
                TableName=self._table, Key=_key_of(entry), ProjectionExpression="set_back", ConsistentRead=True
            )
        kept = optional_text(answer.get("Item", {}), "set_back")
        if kept is None:
            return None
        first, delay_s, until = json.loads(kept)
        is_of_entry = until == text(entry.origin, "due_at")
        return (instant_from_text(first), timedelta(seconds=delay_s)) if is_of_entry else None

    def note(self) -> SweepNote:
        with translated_read():
            answer = self._client.get_item(TableName=self._table, Key=_NOTE_KEY)
        return _note_from(answer.get("Item", {}))

    def note_sweep(self, now: datetime) -> SweepNote:
        recent = attributes(**{":now": now, ":recent": now - STANDSTILL})
        for _ in range(_MAX_NOTE_TRIES):
            try:
                return self._write_note("SET last_at = :now", "last_at >= :recent", recent)
            except WriteConflict as conflict:
                found = conflict.items[0] if conflict.items else None
            try:
                if found is None:
                    first = attributes(**{":now": now})
                    return self._write_note("SET last_at = :now", "attribute_not_exists(last_at)", first)
                return self._write_note(
                    "SET last_at = :now, stood_from = :last, stood_until = :now",
                    "last_at = :last",
                    attributes(**{":now": now, ":last": instant(found, "last_at")}),
                )
            except WriteConflict:
                # Another sweep has begun at the same time.
                continue
        raise StorageUnavailable

    def _write_note(self, update: str, condition: str, values: Item) -> SweepNote:
        """Raises WriteConflict and StorageUnavailable."""
        try:
            with translated_write():
                answer = self._client.update_item(
                    TableName=self._table,
                    Key=_NOTE_KEY,
                    UpdateExpression=update,
                    ConditionExpression=condition,
                    ExpressionAttributeValues=values,
                    ReturnValues="ALL_NEW",
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
        except (NoAnswer, WriteThrottled) as error:
            raise StorageUnavailable from error
        return _note_from(answer["Attributes"])

    def _update(self, entry: DueEntry, update: str, values: Item) -> None:
        try:
            with translated_write():
                self._client.update_item(
                    TableName=self._table,
                    Key=_key_of(entry),
                    UpdateExpression=update,
                    ConditionExpression=_IS_AS_READ,
                    ExpressionAttributeValues={":as_read": entry.origin["due_at"], **values},
                )
        except WriteConflict:
            return
        except (NoAnswer, WriteThrottled) as error:
            raise StorageUnavailable from error


_NOTE_KEY: Item = {"pk": {"S": keys.TIMER}, "sk": {"S": keys.SWEEP}}


def _entry_from(item: StoredItem, until: datetime) -> DueEntry:
    run_id = keys.run_id_of_pk(text(item, "pk"))
    subject = Subject.UNKNOWN
    if run_id != text(item, "pk"):
        subject = _SUBJECT_OF_SK.get(text(item, "sk"), Subject.UNKNOWN)
    if text(item, "due_shard") == keys.DUE_REMAINS:
        subject = Subject.REMAINS
    try:
        due_at = instant_from_text(text(item, "due_at"))
    except ValueError:
        subject, due_at = Subject.UNKNOWN, until
    return DueEntry(run_id, subject, due_at, origin=item)


def _key_of(entry: DueEntry) -> Item:
    return {"pk": entry.origin["pk"], "sk": entry.origin["sk"]}


def _note_from(item: StoredItem) -> SweepNote:
    return SweepNote(*(optional_instant(item, name) for name in ("last_at", "stood_from", "stood_until")))

"""Implements DefinitionStore on the table of ``keys``.

NAME decides: every write of a name is conditioned on the ``change`` that its decision read, and raises it. VERSION and
REST carry the revision that wrote them, and are read again until they are of the revision that NAME names.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from ..definitions.ports import DefinitionChanged, Put, PutKey, PutKeyUsed, PutUse, Stored
from ..domain.definition import Definition
from ..domain.errors import OutcomeUnknown, StorageUnavailable, UnreadableDefinition
from ..publishing.memory import RecentValues
from ..runs.pausing import Pauses
from ..runs.ports import Clock, Overloaded
from . import keys
from .attributes import Item, StoredItem, UnreadableItem, attributes
from .client_errors import NoAnswer, WriteConflict, WriteThrottled, translated_read, translated_write
from .definition_items import (
    NO_RECORD,
    OPTIONAL_NAME_ATTRIBUTES,
    NameRecord,
    VersionRecord,
    name_attributes,
    name_from,
    name_key,
    put_key_item,
    put_key_key,
    put_use_from,
    rest_key,
    version_from,
    version_items,
    version_key,
    whole,
)
from .settling import NotThereYet

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import TransactWriteItemTypeDef, UpdateTypeDef

_VERSIONS_REMEMBERED = 200
"""Versions that a process keeps; each is at most 64 KiB of text."""

# No write came between the decision and this one.
_IS_UNCHANGED = "#change = :decided_on"

# The name never was.
_IS_NEW = "attribute_not_exists(pk)"

# No put came with the key, or its life is over and the table has not deleted the item yet.
_IS_UNUSED = "attribute_not_exists(pk) OR expires_at <= :now"

Value = TypeVar("Value")


class DynamoDBDefinitionStore:
    def __init__(self, client: "DynamoDBClient", table: str, clock: Clock) -> None:
        self._client = client
        self._table = table
        self._clock = clock
        # A revision of a version never changes, so a process reads it once.
        self._versions: RecentValues[Definition] = RecentValues(_VERSIONS_REMEMBERED)

    def load(self, name: str, version: str | None = None, pauses: Pauses | None = None) -> Stored | None:
        return _settled(name, lambda: self._load(name, version), pauses or Pauses(self._clock))

    def versions(self, name: str) -> tuple[Stored, Sequence[Definition]] | None:
        return _settled(name, lambda: self._all_versions(name), Pauses(self._clock))

    def put(self, put: Put, stored: Stored | None, key: PutKey | None = None) -> None:
        before: NameRecord = NO_RECORD if stored is None else stored.origin
        after = put.after
        record = before.after_put(after.version, after.revision)
        writes: list[TransactWriteItemTypeDef] = [{"Update": self._update_name(after.name, before, record)}]
        if key is not None:
            writes.append(self._use_of_key(key, put))
        if put.changes:
            items = version_items(after, record.change)
            writes.extend({"Put": {"TableName": self._table, "Item": item}} for item in items)
        elif before.latest != after.version:
            writes.append({"Update": self._move_to_front(after, record.change)})
        with _writing(after.name, key):
            self._client.transact_write_items(TransactItems=writes)

    def delete(self, name: str, stored: Stored, now: datetime) -> None:
        before: NameRecord = stored.origin
        record = replace(before, change=before.change + 1, deleted_at=now)
        with _writing(name):
            self._client.update_item(**self._update_name(name, before, record))

    def use_of(self, key: PutKey) -> PutUse | None:
        item = self._item(put_key_key(key))
        return None if item is None else _use_from(item)

    # -- reads

    def _load(self, name: str, version: str | None) -> Stored | None:
        item = self._item(name_key(name))
        if item is None:
            return None
        record = name_from(item)
        definition = self._definition(name, record.latest if version is None else version, record)
        return Stored(record.latest, record.deleted_at, definition, origin=record)

    def _definition(self, name: str, version: str, record: NameRecord) -> Definition | None:
        """The version of the revision that the record names; None if there is no such version."""
        revision = record.revision_of(version)
        if revision is None and not record.has_more:
            return None
        kept = self._versions.get(f"{name}#{version}")
        if kept is not None and kept.revision == revision:
            return kept
        item = self._item(version_key(name, version))
        if item is None and revision is None:
            return None
        found = _agreeing(item, revision, record)
        rest = self._item(rest_key(name, version)) if found.has_rest else None
        if found.has_rest and (rest is None or int(rest["revision"]["N"]) != found.definition.revision):
            raise NotThereYet(keys.rest_sk(version))
        definition = whole(found, rest)
        if revision is not None:
            self._versions.put(f"{name}#{version}", definition)
        return definition

    def _all_versions(self, name: str) -> tuple[Stored, Sequence[Definition]] | None:
        items = list(self._query(name))
        if not items:
            return None
        if items[0]["sk"]["S"] != keys.NAME:
            raise NotThereYet(keys.NAME)
        record = name_from(items[0])
        found = {each.definition.version: each for each in map(version_from, items[1:])}
        for version, revision in record.recent:
            if version not in found or found[version].definition.revision != revision:
                raise NotThereYet(keys.version_sk(version))
        # A put that only moves a version to the front shows in its item, perhaps after it shows in NAME.
        recent = [found[version] for version, _ in record.recent]
        rest = [each for version, each in found.items() if record.revision_of(version) is None]
        if any(each.put_at > record.change for each in found.values()):
            raise NotThereYet(keys.NAME)
        rest.sort(key=lambda each: each.put_at, reverse=True)
        stored = Stored(record.latest, record.deleted_at, None, origin=record)
        return stored, [each.definition for each in (*recent, *rest)]

    def _item(self, key: Item) -> StoredItem | None:
        with translated_read():
            return self._client.get_item(TableName=self._table, Key=key, ConsistentRead=True).get("Item")

    def _query(self, name: str) -> Iterator[StoredItem]:
        """NAME and every VERSION of the name, page by page."""
        request: dict[str, Any] = {
            "TableName": self._table,
            "KeyConditionExpression": "pk = :pk AND sk BETWEEN :first AND :last",
            "ExpressionAttributeValues": {
                ":pk": {"S": keys.definition_pk(name)},
                ":first": {"S": keys.NAME},
                ":last": {"S": keys.LAST_VERSION},
            },
            "ConsistentRead": True,
        }
        while True:
            with translated_read():
                answer = self._client.query(**request)
            yield from answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    # -- writes

    def _update_name(self, name: str, before: NameRecord, after: NameRecord) -> "UpdateTypeDef":
        """NAME, on the ``change`` that the decision read. The failure of the condition tells nothing more."""
        values = name_attributes(name, after)
        gone = [each for each in OPTIONAL_NAME_ATTRIBUTES if each not in values]
        is_new = before is NO_RECORD
        expression = "SET " + ", ".join(f"#{each} = :{each}" for each in values)
        if gone and not is_new:
            expression += " REMOVE " + ", ".join(f"#{each}" for each in gone)
        names = {f"#{each}": each for each in (*values, *(() if is_new else gone))}
        decided_on: Item = {} if is_new else attributes(**{":decided_on": before.change})
        return {
            "TableName": self._table,
            "Key": name_key(name),
            "UpdateExpression": expression,
            "ConditionExpression": _IS_NEW if is_new else _IS_UNCHANGED,
            "ExpressionAttributeNames": names,
            "ExpressionAttributeValues": {f":{each}": value for each, value in values.items()} | decided_on,
        }

    def _move_to_front(self, definition: Definition, put_at: int) -> "UpdateTypeDef":
        return {
            "TableName": self._table,
            "Key": version_key(definition.name, definition.version),
            "UpdateExpression": "SET put_at = :put_at",
            "ExpressionAttributeValues": attributes(**{":put_at": put_at}),
        }

    def _use_of_key(self, key: PutKey, put: Put) -> "TransactWriteItemTypeDef":
        return {
            "Put": {
                "TableName": self._table,
                "Item": put_key_item(key, put.after, is_new=put.is_new),
                "ConditionExpression": _IS_UNUSED,
                "ExpressionAttributeValues": attributes(**{":now": int(put.now.timestamp())}),
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            }
        }


def _settled(name: str, read: Callable[[], Value], pauses: Pauses) -> Value:
    """The value of the first reading that sees only whole transactions."""
    while True:
        try:
            return read()
        except NotThereYet:
            pauses.pause()
        except UnreadableItem as unreadable:
            raise UnreadableDefinition(name) from unreadable


@contextmanager
def _writing(name: str, key: PutKey | None = None) -> Iterator[None]:
    """Raise DefinitionChanged, PutKeyUsed, Overloaded and OutcomeUnknown in place of the client's errors."""
    unknown = OutcomeUnknown(None, is_keyed=key is not None, is_repeatable=True)
    try:
        with translated_write():
            yield
    except NoAnswer as error:
        raise unknown from error
    except WriteThrottled as throttled:
        overloaded = Overloaded()
        if throttled.was_resent:
            overloaded.refusal = unknown
        raise overloaded from None
    except WriteConflict as conflict:
        used = conflict.items[1] if key is not None and len(conflict.items) > 1 else None
        if used is not None:
            raise PutKeyUsed(_use_from(used)) from None
        raise DefinitionChanged(name, was_resent=conflict.was_resent) from None


def _use_from(item: StoredItem) -> PutUse:
    try:
        return put_use_from(item)
    except UnreadableItem as unreadable:
        raise StorageUnavailable from unreadable


def _agreeing(item: StoredItem | None, revision: int | None, record: NameRecord) -> VersionRecord:
    """The values of VERSION, which must agree with NAME. ``revision``: None if NAME does not name it."""
    if item is None:
        raise NotThereYet("VERSION")
    found = version_from(item)
    is_newer = found.put_at > record.change
    if is_newer or (revision is not None and found.definition.revision != revision):
        raise NotThereYet("VERSION")
    return found

"""Builds the writes of a creation and of a change for one transaction.

Update changes an item and Put never replaces one, so that attributes of a newer release stay.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from ..domain.run import EMPTY_OBJECT, AttemptResult, Change, Event, EventType, OpAttempt, OpRun, ResultSource, RunSpec
from ..runs.ports import ClaimKey, IdempotencyKey
from . import codec, keys
from .attributes import SCHEMA, Item, StoredItem, attributes, key_of
from .claim_keys import use_of_claim_key
from .head import OPTIONAL_ATTRIBUTES, Head, changing_attributes, new_head
from .snapshot import Snapshot

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import PutTypeDef, TransactWriteItemTypeDef, UpdateTypeDef

# No item has the key yet: the run is new, or the idempotency key is unused.
_IS_NEW = "attribute_not_exists(pk)"

TOMBSTONE_LIFE = timedelta(days=30)
"""The time that the id of a deleted run stays a cursor, and that the key which created it is refused."""

_GONE_WITH_RUN = (*keys.HASH_KEY_OF_INDEX.values(), "claim_queue", "claim_order", "delivers")
"""The attributes of HEAD by which lists, claims and the stream's reader find a run."""

# The run still has the version that the decision read. Every write raises it, so nothing was written in between.
_IS_UNCHANGED = "version = :decided_on"

# This release can read the item. A newer release may have stored the result or the claim in another way.
_IS_READABLE = "attribute_not_exists(#schema) OR #schema <= :schema"


def creation(table: str, run: OpRun, spec: RunSpec, key: IdempotencyKey | None) -> "list[TransactWriteItemTypeDef]":
    """The writes of a creation, in order: HEAD, the key if there is one, and the items of the spec."""
    head = _put(table, new_head(run, spec), _IS_NEW)
    specs = [_put(table, item) for item in codec.spec_items(run.id, spec)]
    return [head, *_use_of_key(table, run, key), *specs]


def writes_of(
    table: str, change: Change, read: Snapshot, key: IdempotencyKey | None
) -> "list[TransactWriteItemTypeDef]":
    """The writes of a change, in order: HEAD, the key if there is one, and the items beside HEAD.

    HEAD is written only if it still has the version that the decision read.
    """
    return [
        _update_head(table, change, read.head),
        *_use_of_key(table, change.after, key),
        *_writes_beside_head(table, change, read.items),
    ]


def _use_of_key(table: str, run: OpRun, key: IdempotencyKey | None) -> "list[TransactWriteItemTypeDef]":
    if key is None:
        return []
    if isinstance(key, ClaimKey):
        return [use_of_claim_key(table, run, key)]
    return [_put(table, codec.idempotency_item(run, key), _IS_NEW)]


def _update_head(table: str, change: Change, head: Head) -> "TransactWriteItemTypeDef":
    lease_version, claim_version, result_version = head.lease_version, head.claim_version, head.result_version
    if change.after.attempt.lease is None:
        lease_version = None
    elif change.after.attempt.lease != change.before.attempt.lease:
        lease_version = change.after.version
    if change.closed is not None:
        claim_version = result_version = None
    elif _claims(change):
        claim_version = change.after.version
    if change.closed is None and _writes_result(change):
        result_version = change.after.version
    values = changing_attributes(
        change.after, lease_version=lease_version, claim_version=claim_version, result_version=result_version
    )
    gone = [name for name in OPTIONAL_ATTRIBUTES if name not in values]
    update = _update(table, key_of(change.after.id, keys.HEAD), values, gone)
    update["ConditionExpression"] = _IS_UNCHANGED
    update["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
    update["ExpressionAttributeValues"] = {
        **update["ExpressionAttributeValues"],
        ":decided_on": {"N": str(change.before.version)},
    }
    return {"Update": update}


def _writes_beside_head(
    table: str, change: Change, stored: Mapping[str, StoredItem]
) -> "Iterator[TransactWriteItemTypeDef]":
    run_id = change.after.id
    ended = change.closed or change.after.attempt
    for event in change.events:
        item = codec.event_item(run_id, event)
        if _carries_result(event, ended):
            item |= codec.claim_attributes(ended.claim)
        yield _put(table, item)
    yield from _lease_writes(table, change, stored)
    if change.closed is not None:
        yield from _closing(table, change, change.closed, stored)
        return
    if _claims(change):
        claim = codec.claim_attributes(change.after.attempt.claim)
        yield _update_beside(table, change, keys.CLAIM, claim, codec.CLAIM_ATTRIBUTES)
    if _writes_result(change) and ended.result_source is ResultSource.PATCH:
        result, told = _result_to_write(change)
        claim = codec.claim_attributes(ended.claim)
        yield _update_beside(table, change, keys.OUTPUTS, result | claim, (*told, *codec.CLAIM_ATTRIBUTES))


def _lease_writes(table: str, change: Change, stored: Mapping[str, StoredItem]) -> "Iterator[TransactWriteItemTypeDef]":
    """The begin, the renewal or the end of the lease.

    A renewal that came first refuses a change that shortens the lease or overrules it.
    """
    before, after = change.before.attempt.lease, change.after.attempt.lease
    if after == before:
        return
    if after is None:
        yield _lease_end(table, change)
    elif before is None:
        yield _put(table, codec.beat_item(change.after, after))
    else:
        renewed = codec.renewal_attributes(stored[keys.BEAT], after, change.after.updated_at)
        values = renewed | attributes(lease_s=after.lease_s, version=change.after.version)
        update = _update(table, key_of(change.after.id, keys.BEAT), values, [])
        update["ConditionExpression"] = "#until <= :until"
        yield {"Update": update}


def _lease_end(table: str, change: Change) -> "TransactWriteItemTypeDef":
    delete = _delete(table, change.after.id, keys.BEAT)
    before = change.before.attempt.lease
    if change.overrules_lease and before is not None:
        delete["Delete"] |= {
            "ConditionExpression": "#until = :until",
            "ExpressionAttributeNames": {"#until": "until"},
            "ExpressionAttributeValues": attributes(**{":until": before.until}),
        }
    return delete


def removal_of(table: str, run: OpRun, deleted_at: datetime) -> "TransactWriteItemTypeDef":
    """Makes a tombstone of HEAD, on the version that the decision read.

    It keeps the position of the run for cursors, and its entry in the timer's index until nothing else is left.
    """
    values = attributes(
        version=run.version + 1,
        deleted_at=deleted_at,
        expires_at=int((deleted_at + TOMBSTONE_LIFE).timestamp()),
        due_shard=keys.DUE_REMAINS,
    )
    update = _update(table, key_of(run.id, keys.HEAD), values, list(_GONE_WITH_RUN))
    update["ConditionExpression"] = _IS_UNCHANGED
    update["ExpressionAttributeValues"] = {
        **update["ExpressionAttributeValues"],
        ":decided_on": {"N": str(run.version)},
    }
    return {"Update": update}


def renewal_of(table: str, run_id: str, attempt: int, values: Item) -> "UpdateTypeDef":
    """The renewal of a lease that has not ended. It writes BEAT alone, and never shortens the lease."""
    update = _update(table, key_of(run_id, keys.BEAT), values, [])
    update["ConditionExpression"] = "#attempt = :attempt AND #until < :until"
    update["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
    update["ExpressionAttributeNames"] = {**update["ExpressionAttributeNames"], "#attempt": "attempt"}
    update["ExpressionAttributeValues"] = {**update["ExpressionAttributeValues"], ":attempt": {"N": str(attempt)}}
    return update


def _closing(
    table: str, change: Change, closed: OpAttempt, stored: Mapping[str, StoredItem]
) -> "Iterator[TransactWriteItemTypeDef]":
    """Moves CLAIM and OUTPUTS to the closed attempt, with the attributes that this release does not know.

    The keys of the sparse indexes stay behind, because nothing of a closed attempt is due or claimable.
    """
    run_id = change.after.id
    attempt_item = codec.closed_attempt_item(run_id, closed)
    if keys.CLAIM in stored and change.before.attempt.claim is not None:
        yield _put(table, _unknown(stored[keys.CLAIM], codec.CLAIM_ATTRIBUTES) | attempt_item)
        yield _delete(table, run_id, keys.CLAIM)
    else:
        yield _put(table, attempt_item)
    if closed.result_source is ResultSource.PATCH:
        unknown = _unknown(stored[keys.OUTPUTS], (*codec.RESULT_ATTRIBUTES, *codec.CLAIM_ATTRIBUTES))
        known = (
            key_of(run_id, keys.attempt_outputs_sk(closed.number))
            | attributes(schema=SCHEMA, version=change.after.version)
            | codec.result_attributes(closed.result or AttemptResult())
            | codec.claim_attributes(closed.claim)
        )
        yield _put(table, unknown | known)
        yield _delete(table, run_id, keys.OUTPUTS)


def _claims(change: Change) -> bool:
    """True if a worker claimed or started the run."""
    claim = change.after.attempt.claim
    return claim is not None and claim != change.before.attempt.claim


def _writes_result(change: Change) -> bool:
    """True if the change edits the result of the current attempt."""
    before, after = change.before.attempt, change.after.attempt
    if not change.events:
        return (after.result_source, after.result) != (before.result_source, before.result)
    return after.result_source is not None and change.events[0].type in (EventType.COMPLETED, EventType.FAILED)


def _carries_result(event: Event, ended: OpAttempt) -> bool:
    return ended.state.is_terminal and ended.result_source is ResultSource.EVENT and event.seq == ended.last_seq


def _result_to_write(change: Change) -> tuple[Item, tuple[str, ...]]:
    """The values to set on OUTPUTS, and the names of all attributes that the change decides.

    A decided attribute without a value is removed.
    """
    if not change.events:
        return codec.result_attributes(change.after.attempt.result or AttemptResult()), codec.RESULT_ATTRIBUTES
    event = change.events[0]
    told = codec.result_attributes(AttemptResult(event.outputs or EMPTY_OBJECT, event.error_message, event.duration_ms))
    if event.type is EventType.FAILED:
        names: tuple[str, ...] = ("error_message", "duration_ms")
    else:
        names = ("duration_ms",) if event.outputs is None else ("outputs", "duration_ms")
    return {name: value for name, value in told.items() if name in names}, names


def _unknown(item: StoredItem, known: tuple[str, ...]) -> Item:
    names = {"pk", "sk", "schema", "version", *keys.KEYS_OF_SPARSE_INDEXES, *known}
    return {name: value for name, value in item.items() if name not in names}


def _put(table: str, item: Item, condition: str | None = None) -> "TransactWriteItemTypeDef":
    put: PutTypeDef = {"TableName": table, "Item": item}
    if condition is not None:
        put["ConditionExpression"] = condition
        put["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
    return {"Put": put}


def _delete(table: str, run_id: str, sk: str) -> "TransactWriteItemTypeDef":
    return {"Delete": {"TableName": table, "Key": key_of(run_id, sk)}}


def _update_beside(
    table: str, change: Change, sk: str, values: Item, decided: tuple[str, ...]
) -> "TransactWriteItemTypeDef":
    """An update of an item beside HEAD. It creates the item if it does not exist. The decision may not have read the
    item.
    """
    gone = [name for name in decided if name not in values]
    values = values | attributes(version=change.after.version)
    update = _update(table, key_of(change.after.id, sk), values, gone)
    update["UpdateExpression"] = update["UpdateExpression"].replace(
        "SET ", "SET #schema = if_not_exists(#schema, :schema), ", 1
    )
    update["ExpressionAttributeNames"] = {**update["ExpressionAttributeNames"], "#schema": "schema"}
    update["ExpressionAttributeValues"] = {**update["ExpressionAttributeValues"], ":schema": {"N": str(SCHEMA)}}
    update["ConditionExpression"] = _IS_READABLE
    update["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
    return {"Update": update}


def _update(table: str, key: Item, values: Item, gone: list[str]) -> "UpdateTypeDef":
    """An update that sets ``values`` and removes the attributes named in ``gone``. All others stay."""
    expression = "SET " + ", ".join(f"#{name} = :{name}" for name in values)
    if gone:
        expression += " REMOVE " + ", ".join(f"#{name}" for name in gone)
    return {
        "TableName": table,
        "Key": key,
        "UpdateExpression": expression,
        "ExpressionAttributeNames": {f"#{name}": name for name in (*values, *gone)},
        "ExpressionAttributeValues": {f":{name}": value for name, value in values.items()},
    }

"""The writes of a change, as one transaction holds them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..domain.run import PATCHED, Change, OpRun, RunSpec
from ..runs.ports import IdempotencyKey
from . import codec

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import PutTypeDef, TransactWriteItemTypeDef

    from .codec import Item, StoredItem

# Nothing lies under the key yet: the run is new, the idempotency key is not used.
_IS_NEW = "attribute_not_exists(pk)"

# The run is still at the version the decision read; every write raises it, so nothing happened in between.
_IS_UNCHANGED = "version = :decided_on"


def creation(table: str, run: OpRun, spec: RunSpec, key: IdempotencyKey | None) -> "list[TransactWriteItemTypeDef]":
    """HEAD of a new run, first, the key, second where there is one, and SPEC."""
    head = _put(table, codec.new_head(run, spec), _IS_NEW)
    return [head, *_use_of_key(table, run.id, key), _put(table, codec.spec_item(run.id, spec))]


def writes_of(table: str, change: Change, key: IdempotencyKey | None) -> "list[TransactWriteItemTypeDef]":
    """HEAD, first and on the version the decision read, the key, second where there is one, and what is new beside."""
    new_items = [_put(table, item) for item in _new_items(change)]
    return [_update_head(table, change), *_use_of_key(table, change.after.id, key), *new_items]


def _use_of_key(table: str, run_id: str, key: IdempotencyKey | None) -> "list[TransactWriteItemTypeDef]":
    return [] if key is None else [_put(table, codec.idempotency_item(run_id, key), _IS_NEW)]


def _put(table: str, item: "Item", condition: str | None = None) -> "TransactWriteItemTypeDef":
    put: PutTypeDef = {"TableName": table, "Item": item}
    if condition is not None:
        put["ConditionExpression"] = condition
        put["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
    return {"Put": put}


def _update_head(table: str, change: Change) -> "TransactWriteItemTypeDef":
    """Sets what a change may touch; the rest of HEAD, also what a later version may have added, stays."""
    head = codec.head(change.after)
    key = {"pk": head.pop("pk"), "sk": head.pop("sk")}
    gone = [name for name in codec.OPTIONAL_IN_HEAD if name not in head]
    expression = "SET " + ", ".join(f"#{name} = :{name}" for name in head)
    if gone:
        expression += " REMOVE " + ", ".join(f"#{name}" for name in gone)
    return {
        "Update": {
            "TableName": table,
            "Key": key,
            "UpdateExpression": expression,
            "ConditionExpression": _IS_UNCHANGED,
            "ExpressionAttributeNames": {f"#{name}": name for name in (*head, *gone)},
            "ExpressionAttributeValues": {
                **{f":{name}": value for name, value in head.items()},
                ":decided_on": {"N": str(change.before.version)},
            },
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
    }


def _new_items(change: Change) -> "Iterator[Item]":
    """What the change adds beside HEAD."""
    run_id, before, after = change.after.id, change.before.attempt, change.after.attempt
    ended = change.closed or after
    for event in change.events:
        if event.seq == ended.result_source:
            yield codec.ending_event_item(run_id, event, ended)
        else:
            yield codec.event_item(run_id, event)
    if change.closed is not None:
        yield codec.closed_attempt_item(run_id, change.closed)
    elif after.claim is not None and after.claim != before.claim:
        yield codec.claim_item(run_id, after)
    if after.result_source == PATCHED and (before.result_source, before.result) != (PATCHED, after.result):
        yield codec.patched_item(change.after)


def as_returned(head: "StoredItem", decided_on: OpRun) -> OpRun | None:
    """The run whose HEAD a failed condition returned; None where what lies beside HEAD may have changed too."""
    known = decided_on.attempt
    claim_seq, source = codec.claim_seq_of(head), codec.result_source_of(head)
    if claim_seq is not None and (known.claim is None or known.claim.seq != claim_seq):
        return None
    if source is not None and (source == PATCHED or source != known.result_source):
        return None
    claim = None if claim_seq is None else known.claim
    return codec.run_from(head, claim, None if source is None else known.result)

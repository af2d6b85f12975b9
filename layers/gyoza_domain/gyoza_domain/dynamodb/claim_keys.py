"""Stores the idempotency keys of claims. A claim names no run, so its key is a partition of its own."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ..domain.errors import StorageUnavailable
from ..domain.run import OpRun
from ..runs.ports import ClaimKey, ClaimUse
from . import keys
from .attributes import SCHEMA, Item, StoredItem, UnreadableItem, attributes, integer, readable, text
from .client_errors import translated_read

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import TransactWriteItemTypeDef

# No claim came with the key, or its life is over and the table has not deleted the item yet.
_IS_UNUSED = "attribute_not_exists(pk) OR expires_at <= :now"


class DynamoDBClaimKeys:
    def __init__(self, client: "DynamoDBClient", table: str) -> None:
        self._client = client
        self._table = table

    def use_of(self, key: ClaimKey) -> ClaimUse | None:
        with translated_read():
            answer = self._client.get_item(TableName=self._table, Key=_key_of(key), ConsistentRead=True)
        item = answer.get("Item")
        try:
            return None if item is None else claim_use_from(item)
        except UnreadableItem as unreadable:
            raise StorageUnavailable from unreadable


def use_of_claim_key(table: str, run: OpRun, key: ClaimKey) -> "TransactWriteItemTypeDef":
    """The write of the key beside a claim that leaves the run as ``run``.

    Its condition fails if the key is used, and the failure returns the item.
    """
    item = _key_of(key) | attributes(
        schema=SCHEMA,
        fingerprint=key.fingerprint,
        version=run.version,
        run_id=run.id,
        attempt=run.attempt.number,
        worker_id=key.worker_id,
        expires_at=int(key.expires_at.timestamp()),
    )
    return {
        "Put": {
            "TableName": table,
            "Item": item,
            "ConditionExpression": _IS_UNUSED,
            "ExpressionAttributeValues": attributes(**{":now": int(run.updated_at.timestamp())}),
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
    }


def claim_use_from(item: StoredItem) -> ClaimUse:
    """Raises UnreadableItem."""
    return readable(item, _claim_use_from)


def _claim_use_from(item: StoredItem) -> ClaimUse:
    return ClaimUse(
        fingerprint=text(item, "fingerprint"),
        version=integer(item, "version"),
        run_id=text(item, "run_id"),
        attempt=integer(item, "attempt"),
        worker_id=text(item, "worker_id"),
        # The table's TTL takes seconds.
        expires_at=datetime.fromtimestamp(integer(item, "expires_at"), UTC),
    )


def _key_of(key: ClaimKey) -> Item:
    return {"pk": {"S": keys.claim_key_pk(key.digest)}, "sk": {"S": keys.CLAIM_KEY}}

"""Reads pages of the index ``claimable``."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..claiming.ports import Candidate, CandidatePage
from . import keys
from .attributes import StoredItem, text
from .client_errors import translated_read
from .head import needs_from

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


class DynamoDBClaimIndex:
    def __init__(self, client: "DynamoDBClient", table: str) -> None:
        self._client = client
        self._table = table

    def page(self, queue: str, *, is_gpu: bool, limit: int, cursor: Any = None) -> CandidatePage:
        request: dict[str, Any] = {
            "TableName": self._table,
            "IndexName": keys.CLAIMABLE,
            "KeyConditionExpression": "claim_queue = :queue",
            "ExpressionAttributeValues": {":queue": {"S": keys.claim_queue(queue, is_gpu=is_gpu)}},
            "Limit": limit,
        }
        if cursor is not None:
            request["ExclusiveStartKey"] = cursor
        with translated_read():
            answer = self._client.query(**request)
        entries = answer["Items"]
        return CandidatePage(list(_candidates(entries)), len(entries), answer.get("LastEvaluatedKey"))


def _candidates(entries: Sequence[StoredItem]) -> Iterator[Candidate]:
    """The readable entries. A newer release may write others, which its own functions claim."""
    for entry in entries:
        try:
            priority, claimable_from = keys.place_in_queue(text(entry, "claim_order"))
            yield Candidate(keys.run_id_of_pk(text(entry, "pk")), priority, claimable_from, needs_from(entry))
        except (KeyError, TypeError, ValueError):
            continue

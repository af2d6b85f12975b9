"""Implements Remains: deletes the items of a removed run, whose HEAD has become a tombstone.

The tombstone itself stays until the table's expiry deletes it. No write can add an item to a removed run, for each
write of a run is conditioned on its HEAD, so deletion needs no order and goes on wherever it was interrupted.
"""

from typing import TYPE_CHECKING, Any

from ..domain.errors import StorageUnavailable
from ..runs.pausing import Pauses
from ..runs.ports import Clock
from . import keys
from .attributes import Item, key_of
from .client_errors import NoAnswer, WriteConflict, WriteThrottled, translated_read, translated_write
from .head import is_deleted
from .table_reader import ItemKey, TableReader

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

MAX_BATCH_WRITES = 25
"""Writes that one BatchWriteItem takes (DynamoDB's limit)."""

# Only a removed run leaves the index of instants.
_IS_TOMBSTONE = "attribute_exists(deleted_at)"


class DynamoDBRemains:
    def __init__(self, client: "DynamoDBClient", table: str, clock: Clock) -> None:
        self._client = client
        self._table = table
        self._clock = clock
        self._reader = TableReader(client, table, clock)

    def delete_some(self, run_id: str, most: int) -> int:
        head = self._reader.item(ItemKey(run_id, keys.HEAD))
        if head is None or not is_deleted(head):
            return 0
        deleted, start = 0, None
        while deleted < most:
            found, start = self._some_keys(run_id, most - deleted, start)
            self._delete([key for key in found if key["sk"]["S"] != keys.HEAD])
            deleted += sum(key["sk"]["S"] != keys.HEAD for key in found)
            if start is None:
                self._leave_index(run_id)
                break
        return deleted

    def _some_keys(self, run_id: str, limit: int, start: Item | None) -> tuple[list[Item], Item | None]:
        """The keys of the next items, HEAD's among them, and where to go on; None at the end of the run."""
        more: dict[str, Any] = {} if start is None else {"ExclusiveStartKey": start}
        with translated_read():
            answer = self._client.query(
                TableName=self._table,
                KeyConditionExpression="pk = :pk",
                ExpressionAttributeValues={":pk": {"S": keys.run_pk(run_id)}},
                ProjectionExpression="pk, sk",
                Limit=limit,
                ConsistentRead=True,
                **more,
            )
        return answer["Items"], answer.get("LastEvaluatedKey")

    def _delete(self, items: list[Item]) -> None:
        for start in range(0, len(items), MAX_BATCH_WRITES):
            requests: Any = [{"DeleteRequest": {"Key": key}} for key in items[start : start + MAX_BATCH_WRITES]]
            pauses = Pauses(self._clock)
            while True:
                requests = self._unprocessed(requests)
                if not requests:
                    break
                pauses.pause()

    def _unprocessed(self, requests: Any) -> Any:
        try:
            with translated_write():
                answer = self._client.batch_write_item(RequestItems={self._table: requests})
        except (NoAnswer, WriteThrottled) as error:
            raise StorageUnavailable from error
        return answer.get("UnprocessedItems", {}).get(self._table)

    def _leave_index(self, run_id: str) -> None:
        try:
            with translated_write():
                self._client.update_item(
                    TableName=self._table,
                    Key=key_of(run_id, keys.HEAD),
                    UpdateExpression="REMOVE due_shard, due_at",
                    ConditionExpression=_IS_TOMBSTONE,
                )
        except WriteConflict:
            # The table's expiry was faster.
            return
        except (NoAnswer, WriteThrottled) as error:
            raise StorageUnavailable from error

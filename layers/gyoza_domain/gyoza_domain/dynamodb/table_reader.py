"""Reads in bulk: pages of a query and batches of keys, whatever size limits DynamoDB cuts them at."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..domain.errors import StorageUnavailable
from . import keys
from .client_errors import translated

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import KeysAndAttributesTypeDef

    from .codec import StoredItem

BATCH_KEYS = 100
"""Keys one BatchGetItem takes (DynamoDB's limit)."""

_BATCH_ROUNDS = 20
"""Further calls for keys a batch left unread before the table counts as overloaded; each brings up to 16 MB."""


class ItemKey(NamedTuple):
    run_id: str
    sk: str

    def attributes(self) -> dict[str, Any]:
        return {"pk": {"S": keys.run_pk(self.run_id)}, "sk": {"S": self.sk}}


class TableReader:
    """Consistent reads of the table."""

    def __init__(self, client: "DynamoDBClient", table: str) -> None:
        self._client = client
        self._table = table

    def item(self, key: ItemKey) -> "StoredItem | None":
        with translated():
            answer = self._client.get_item(TableName=self._table, Key=key.attributes(), ConsistentRead=True)
        return answer.get("Item")

    def items(self, wanted: Sequence[ItemKey], attributes: Sequence[str] = ()) -> "dict[ItemKey, StoredItem]":
        """The items that exist, by key; of each those ``attributes`` only, or all where none is named."""
        found: dict[ItemKey, StoredItem] = {}
        names = {f"#{name}": name for name in ("pk", "sk", *attributes)}
        request: KeysAndAttributesTypeDef = {"Keys": [], "ConsistentRead": True}
        if attributes:
            request |= {"ProjectionExpression": ", ".join(names), "ExpressionAttributeNames": names}
        for start in range(0, len(wanted), BATCH_KEYS):
            request["Keys"] = [key.attributes() for key in wanted[start : start + BATCH_KEYS]]
            for item in self._batch(request):
                found[ItemKey(keys.run_id_of_pk(item["pk"]["S"]), item["sk"]["S"])] = item
        return found

    def query(
        self, run_id: str, first_sk: str, last_sk: str, *, limit: int, newest_first: bool = False
    ) -> "tuple[list[StoredItem], bool]":
        """Items of a run between two sort keys, both inclusive, at most ``limit``; and whether 1 MB cut them short."""
        with translated():
            answer = self._client.query(
                TableName=self._table,
                KeyConditionExpression="pk = :pk AND sk BETWEEN :first AND :last",
                ExpressionAttributeValues={
                    ":pk": {"S": keys.run_pk(run_id)},
                    ":first": {"S": first_sk},
                    ":last": {"S": last_sk},
                },
                ScanIndexForward=not newest_first,
                Limit=limit,
                ConsistentRead=True,
            )
        items: list[StoredItem] = list(answer["Items"])
        return items, "LastEvaluatedKey" in answer and len(items) < limit

    def query_all(self, run_id: str, first_sk: str, last_sk: str, *, limit: int) -> "Iterator[StoredItem]":
        """Like ``query``, oldest first, going on past 1 MB."""
        while limit > 0:
            items, cut = self.query(run_id, first_sk, last_sk, limit=limit)
            yield from items
            if not cut:
                return
            limit -= len(items)
            first_sk = keys.right_after(items[-1]["sk"]["S"])

    def _batch(self, request: "KeysAndAttributesTypeDef") -> "Iterator[StoredItem]":
        for _ in range(_BATCH_ROUNDS):
            with translated():
                answer = self._client.batch_get_item(RequestItems={self._table: request})
            yield from answer["Responses"].get(self._table, [])
            if self._table not in answer.get("UnprocessedKeys", {}):
                return
            request = {**request, "Keys": answer["UnprocessedKeys"][self._table]["Keys"]}
        raise StorageUnavailable

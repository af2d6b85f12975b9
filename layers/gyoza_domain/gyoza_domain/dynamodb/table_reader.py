"""Reads items, pages of a query and batches of keys consistently, and hides the size limits of DynamoDB."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..runs.pausing import Pauses
from ..runs.ports import Clock
from . import keys
from .attributes import Item, StoredItem, key_of
from .client_errors import translated_read

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import KeysAndAttributesTypeDef

MAX_BATCH_KEYS = 100
"""The most keys in one BatchGetItem (DynamoDB's limit)."""

_MAX_BATCH_PAUSES_S = 4.0
"""The time for all pauses between the calls for keys that a batch left unread."""


class ItemKey(NamedTuple):
    run_id: str
    sk: str

    def attributes(self) -> dict[str, Any]:
        return key_of(self.run_id, self.sk)


class ItemPage(NamedTuple):
    """The items of a query. ``is_cut`` is true if more items lie between the requested bounds."""

    items: list[StoredItem]
    is_cut: bool


class TableReader:
    """Reads one table. Every method raises StorageUnavailable."""

    def __init__(self, client: "DynamoDBClient", table: str, clock: Clock) -> None:
        self.clock = clock
        self._client = client
        self._table = table

    def item(self, key: ItemKey) -> StoredItem | None:
        with translated_read():
            answer = self._client.get_item(TableName=self._table, Key=key.attributes(), ConsistentRead=True)
        return answer.get("Item")

    def items(self, wanted: Sequence[ItemKey], attributes: Sequence[str] = ()) -> dict[ItemKey, StoredItem]:
        """The existing items by key, with the named ``attributes`` only, or with all if none is named."""
        found: dict[ItemKey, StoredItem] = {}
        names = {f"#{name}": name for name in ("pk", "sk", *attributes)}
        request: KeysAndAttributesTypeDef = {"Keys": [], "ConsistentRead": True}
        if attributes:
            request |= {"ProjectionExpression": ", ".join(names), "ExpressionAttributeNames": names}
        for start in range(0, len(wanted), MAX_BATCH_KEYS):
            request["Keys"] = [key.attributes() for key in wanted[start : start + MAX_BATCH_KEYS]]
            for item in self._batch(request):
                found[ItemKey(keys.run_id_of_pk(item["pk"]["S"]), item["sk"]["S"])] = item
        return found

    def batch(self, wanted: Sequence[Item], *, consistent: bool) -> Iterator[StoredItem]:
        """The items that exist of at most 100 keys, which may be of any partition."""
        return self._batch({"Keys": list(wanted), "ConsistentRead": consistent})

    def items_at_one_instant(self, wanted: Sequence[ItemKey]) -> list[StoredItem | None]:
        """The items in the order of their keys. Costs double. Raises NotThereYet while a transaction is in flight."""
        gets: list[Any] = [{"Get": {"TableName": self._table, "Key": key.attributes()}} for key in wanted]
        with translated_read():
            answer = self._client.transact_get_items(TransactItems=gets)
        return [response.get("Item") for response in answer["Responses"]]

    def query(self, run_id: str, first_sk: str, last_sk: str, *, limit: int, newest_first: bool = False) -> ItemPage:
        """The items of a run between two sort keys, both included: at most ``limit``, and at most 1 MB."""
        with translated_read():
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
        return ItemPage(list(answer["Items"]), "LastEvaluatedKey" in answer)

    def query_all(self, run_id: str, first_sk: str, last_sk: str, *, page_size: int) -> Iterator[StoredItem]:
        """Yield the items between two sort keys, both included, ascending. Read each page when it is needed."""
        while True:
            items, is_cut = self.query(run_id, first_sk, last_sk, limit=page_size)
            yield from items
            if not is_cut:
                return
            first_sk = keys.right_after(items[-1]["sk"]["S"])

    def _batch(self, request: "KeysAndAttributesTypeDef") -> Iterator[StoredItem]:
        pauses = Pauses(self.clock, _MAX_BATCH_PAUSES_S)
        while True:
            with translated_read():
                answer = self._client.batch_get_item(RequestItems={self._table: request})
            yield from answer["Responses"].get(self._table, [])
            if self._table not in answer.get("UnprocessedKeys", {}):
                return
            request = {**request, "Keys": answer["UnprocessedKeys"][self._table]["Keys"]}
            pauses.pause()

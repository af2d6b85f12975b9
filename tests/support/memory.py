"""A table in memory, for tests that look at many runs or at single items.

It implements the calls of the store and the reader, with their conditions and expressions, and DynamoDB's limit of 1 MB
a page. It always shows one version: a reader meets half a transaction only if a test removes an item.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import ClientError

from gyoza_domain.dynamodb.attributes import Item
from testing.capacity import item_bytes

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

MAX_PAGE_BYTES = 1_048_576

_ASSIGNMENT = re.compile(r"(#\w+) = (?:if_not_exists\(\1, (:\w+)\)|(:\w+))")


class TableInMemory:
    """``items`` maps partition and sort key to the item. ``calls`` lists the names of the calls, in order."""

    def __init__(self) -> None:
        self.items: dict[tuple[str, str], Item] = {}
        self.calls: list[str] = []
        self.written: list[list[dict[str, Any]]] = []

    @property
    def client(self) -> "DynamoDBClient":
        return cast("DynamoDBClient", self)

    def query(self, **request: Any) -> dict[str, Any]:
        self.calls.append("Query")
        assert request["KeyConditionExpression"] == "pk = :pk AND sk BETWEEN :first AND :last"
        assert request["ConsistentRead"]
        pk, first, last = (request["ExpressionAttributeValues"][name]["S"] for name in (":pk", ":first", ":last"))
        assert first <= last, "DynamoDB refuses bounds the wrong way round"
        sks = sorted(sk for item_pk, sk in self.items if item_pk == pk and first <= sk <= last)
        found = [self.items[pk, sk] for sk in (sks if request["ScanIndexForward"] else reversed(sks))]
        page, size = [], 0
        for item in found[: request["Limit"]]:
            page.append(item)
            size += item_bytes(item)
            if size >= MAX_PAGE_BYTES:
                break
        is_cut = bool(page) and (len(page) == request["Limit"] or len(page) < len(found))
        return {"Items": page, **({"LastEvaluatedKey": {}} if is_cut else {})}

    def get_item(self, **request: Any) -> dict[str, Any]:
        self.calls.append("GetItem")
        assert request["ConsistentRead"]
        return _found(self.items.get(_place(request["Key"])))

    def batch_get_item(self, **request: Any) -> dict[str, Any]:
        self.calls.append("BatchGetItem")
        ((table, wanted),) = request["RequestItems"].items()
        places = [_place(key) for key in wanted["Keys"]]
        assert 1 <= len(places) <= 100
        return {"Responses": {table: [self.items[place] for place in places if place in self.items]}}

    def update_item(self, **request: Any) -> dict[str, Any]:
        self.calls.append("UpdateItem")
        place = _place(request["Key"])
        item = self.items.get(place)
        if not _holds(request, item):
            error: Any = {"Error": {"Code": "ConditionalCheckFailedException"}, **_found(item)}
            raise ClientError(error, "UpdateItem")
        self.items[place] = updated({**request["Key"], **(item or {})}, request)
        return {}

    def transact_get_items(self, **request: Any) -> dict[str, Any]:
        self.calls.append("TransactGetItems")
        places = [_place(get["Get"]["Key"]) for get in request["TransactItems"]]
        return {"Responses": [_found(self.items.get(place)) for place in places]}

    def transact_write_items(self, **request: Any) -> dict[str, Any]:
        self.calls.append("TransactWriteItems")
        writes: Sequence[dict[str, Any]] = request["TransactItems"]
        places = [_place_of_write(write) for write in writes]
        assert len(set(places)) == len(places), "DynamoDB refuses a transaction that writes an item twice"
        reasons = [_reason(write, self.items.get(place)) for write, place in zip(writes, places, strict=True)]
        if any(reason["Code"] != "None" for reason in reasons):
            error: Any = {"Error": {"Code": "TransactionCanceledException"}, "CancellationReasons": reasons}
            raise ClientError(error, "TransactWriteItems")
        self.written.append(list(writes))
        for write, place in zip(writes, places, strict=True):
            ((kind, action),) = write.items()
            if kind == "Put":
                self.items[place] = action["Item"]
            elif kind == "Delete":
                self.items.pop(place, None)
            else:
                self.items[place] = updated({**action["Key"], **self.items.get(place, {})}, action)
        return {}


def updated(item: Item, update: dict[str, Any]) -> Item:
    """The item after an Update. Fails for an expression that it does not know completely."""
    sets, _, removes = update["UpdateExpression"].removeprefix("SET ").partition(" REMOVE ")
    names, values = update["ExpressionAttributeNames"], update["ExpressionAttributeValues"]
    assignments = _ASSIGNMENT.findall(sets)
    removed = [names[each] for each in removes.split(", ")] if removes else []
    assert _ASSIGNMENT.sub("", sets).strip(", ") == "", sets
    changed = {
        names[name]: item.get(names[name], values[default]) if default else values[value]
        for name, default, value in assignments
    }
    assert not changed.keys() & set(removed)
    tested = set(re.findall(r"#\w+", update.get("ConditionExpression", "")))
    assert set(names) == {name for name, *_ in assignments} | set(filter(None, removes.split(", "))) | tested
    return {name: value for name, value in {**item, **changed}.items() if name not in removed}


def _reason(write: dict[str, Any], item: Item | None) -> dict[str, Any]:
    ((_, action),) = write.items()
    if _holds(action, item):
        return {"Code": "None"}
    return {"Code": "ConditionalCheckFailed", **_found(item)}


def _holds(action: dict[str, Any], item: Item | None) -> bool:
    condition = action.get("ConditionExpression")
    if condition is None:
        return True
    if condition == "attribute_not_exists(pk)":
        return item is None
    values = action["ExpressionAttributeValues"]
    if condition == "attribute_not_exists(pk) OR expires_at <= :now":
        return item is None or int(item["expires_at"]["N"]) <= int(values[":now"]["N"])
    if condition == "attribute_not_exists(#schema) OR #schema <= :schema":
        assert action["ExpressionAttributeNames"]["#schema"] == "schema"
        schema = (item or {}).get("schema", {"N": "0"})
        return "N" in schema and int(schema["N"]) <= int(values[":schema"]["N"])
    if condition == "version = :decided_on":
        return item is not None and item["version"] == values[":decided_on"]
    # The conditions of a lease, whose item has gone if the lease has ended.
    if item is None:
        return False
    until, wanted = int(item["until"]["N"]), int(values[":until"]["N"])
    if condition == "#attempt = :attempt AND #until < :until":
        return item["attempt"] == values[":attempt"] and until < wanted
    if condition == "#until <= :until":
        return until <= wanted
    assert condition == "#until = :until"
    return until == wanted


def _found(item: Item | None) -> dict[str, Any]:
    return {} if item is None else {"Item": item}


def _place_of_write(write: dict[str, Any]) -> tuple[str, str]:
    ((_, action),) = write.items()
    return _place(action.get("Key") or action["Item"])


def _place(key: Item) -> tuple[str, str]:
    return key["pk"]["S"], key["sk"]["S"]

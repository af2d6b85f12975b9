"""Counts the calls and capacity units of the handlers by the rules that AWS publishes.

The size of an item is the UTF-8 length of its names and strings, half the digits of a number and a byte, and a byte for
a boolean. A write costs a unit for each KB, twice in a transaction. A consistent read costs a unit for each 4 KB, any
other read half. A query adds up its items; a batch rounds each item up. A new, deleted or changed index entry costs a
write of its size and a changed key costs two; a transaction does not double these. DynamoDB Local's own figures for
transactions are wrong, so this module counts.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import boto3

from gyoza_domain.bootstrap import clients
from gyoza_domain.dynamodb import keys
from testing.table import table_properties

Item = Mapping[str, Mapping[str, Any]]

Partition = tuple[str, str]
"""The name of an index and a value of its hash key."""


@dataclass
class Usage:
    """The calls and units of one or more requests."""

    calls: list[str] = field(default_factory=list)
    items_asked: list[int] = field(default_factory=list)
    """The number of keys in each batch."""
    items_read: int = 0
    """The number of items that queries returned."""
    batch_read_units: float = 0.0
    """The part of ``read_units`` that batches took."""
    read_units: float = 0.0
    write_units: int = 0
    head_bytes: int = 0
    """The size of the last written HEAD."""
    index_writes: Counter[Partition] = field(default_factory=Counter)
    """The part of ``write_units`` that each partition of an index took."""


def item_bytes(item: Item) -> int:
    return sum(len(name.encode()) + _value_bytes(value) for name, value in item.items())


def write_units(size: int) -> int:
    return max(1, math.ceil(size / 1024))


def read_units(size: int, *, consistent: bool) -> float:
    return max(1, math.ceil(size / 4096)) * (1 if consistent else 0.5)


def index_writes(before: Item | None, after: Item | None) -> Counter[Partition]:
    """The units of the index entries that the change of one item touches, by their partition."""
    return sum(
        (_entry_writes(index, before, after) for index in table_properties()["GlobalSecondaryIndexes"]), Counter()
    )


@contextmanager
def measured() -> Iterator[Usage]:
    """Count the requests of the handlers while the block runs."""
    events = clients.dynamodb().meta.events
    usage = Usage()
    recorder = _Recorder(usage)
    events.register("provide-client-params.dynamodb.*", recorder.sent)
    events.register("after-call.dynamodb.*", recorder.answered)
    try:
        yield usage
    finally:
        events.unregister("provide-client-params.dynamodb.*", recorder.sent)
        events.unregister("after-call.dynamodb.*", recorder.answered)


class _Recorder:
    def __init__(self, usage: Usage) -> None:
        self._usage = usage
        self._plain = boto3.client("dynamodb")
        self._sent: dict[str, Any] = {}
        self._before: list[Item | None] = []

    def sent(self, params: dict[str, Any], **_: object) -> None:
        self._sent = params
        writes = [{"Update": params}] if "UpdateExpression" in params else params.get("TransactItems", [])
        self._before = [self._stored(self._key(write)) for write in writes]

    def answered(self, parsed: dict[str, Any], model: Any, **_: object) -> None:
        usage = self._usage
        usage.calls.append(model.name)
        consistent = bool(self._sent.get("ConsistentRead"))
        if model.name == "GetItem":
            usage.read_units += read_units(item_bytes(parsed.get("Item", {})), consistent=consistent)
        elif model.name == "Query":
            size = sum(item_bytes(item) for item in parsed["Items"])
            usage.items_read += len(parsed["Items"])
            usage.read_units += read_units(size, consistent=consistent)
        elif model.name == "BatchGetItem":
            (request,) = self._sent["RequestItems"].values()
            usage.items_asked.append(len(request["Keys"]))
            for items in parsed["Responses"].values():
                units = sum(read_units(item_bytes(item), consistent=bool(request["ConsistentRead"])) for item in items)
                usage.read_units += units
                usage.batch_read_units += units
        elif model.name == "TransactGetItems":
            sizes = [item_bytes(response.get("Item", {})) for response in parsed["Responses"]]
            usage.read_units += sum(2 * read_units(size, consistent=True) for size in sizes)
        elif model.name == "TransactWriteItems":
            for write, before in zip(self._sent["TransactItems"], self._before, strict=True):
                self._count_write(write, before, passes=2)
        elif model.name == "UpdateItem":
            self._count_write({"Update": self._sent}, self._before[0], passes=1)

    def _count_write(self, write: dict[str, Any], before: Item | None, *, passes: int) -> None:
        after = self._stored(self._key(write))
        assert (after is None) is ("Delete" in write)
        larger = max(item_bytes(after or {}), item_bytes(before or {}))
        entries = index_writes(before, after)
        self._usage.index_writes += entries
        self._usage.write_units += passes * write_units(larger) + entries.total()
        if after is not None and after["sk"]["S"] == keys.HEAD:
            self._usage.head_bytes = item_bytes(after)

    def _key(self, write: dict[str, Any]) -> dict[str, Any]:
        (action,) = write.values()
        source = action.get("Key") or action["Item"]
        return {"TableName": action["TableName"], "Key": {"pk": source["pk"], "sk": source["sk"]}}

    def _stored(self, key: dict[str, Any]) -> Item | None:
        return self._plain.get_item(**key, ConsistentRead=True).get("Item")


def _entry_writes(index: dict[str, Any], before: Item | None, after: Item | None) -> Counter[Partition]:
    key_names = [key["AttributeName"] for key in index["KeySchema"]]
    names = {"pk", "sk", *key_names, *index["Projection"].get("NonKeyAttributes", [])}
    old, new = (_entry(item, key_names, names) for item in (before, after))
    if old == new:
        return Counter()
    if old is not None and new is not None and all(old[name] == new[name] for name in key_names):
        written = [max(old, new, key=item_bytes)]
    else:
        written = [entry for entry in (old, new) if entry is not None]
    writes: Counter[Partition] = Counter()
    for entry in written:
        writes[index["IndexName"], entry[key_names[0]]["S"]] += write_units(item_bytes(entry))
    return writes


def _entry(item: Item | None, key_names: list[str], names: set[str]) -> Item | None:
    if item is None or not all(name in item for name in key_names):
        return None
    return {name: value for name, value in item.items() if name in names}


def _value_bytes(value: Mapping[str, Any]) -> int:
    ((kind, content),) = value.items()
    if kind == "S":
        return len(str(content).encode())
    if kind == "N":
        digits = len(content.lstrip("-").replace(".", "").strip("0")) or 1
        return math.ceil(digits / 2) + 1 + int(content.startswith("-"))
    if kind in ("BOOL", "NULL"):
        return 1
    raise ValueError(f"{kind} is not used in the table")

"""Shows transactions as DynamoDB does: committed as one, but visible item by item.

DynamoDB Local applies a transaction whole. DynamoDB commits it as one too, but Query, BatchGetItem and GetItem do not
wait for the rest of it. For some milliseconds a reader may see one item after the transaction and another before it.
``TornTable`` stands between the handlers' client and the engine and shows this:

- The engine holds the truth. Conditions of writes see it at once, and a failed condition returns it.
- Each item of a committed transaction becomes visible at its own moment. Until then all reads, consistent ones too,
  show the old item. Indexes follow later.
- A writer gets its answer when all items of its transaction are visible. Another writer may commit before that.
- The items of one answer are read at different moments of the call: Query and BatchGetItem are not snapshots.
- TransactGetItems sees a transaction whole or not at all: ``TransactGet`` says which.

A read asks the engine and replaces the items that are not visible yet. If a query's page may hold such an item, the
page is built again from all items that fit the key condition. A request in an unknown form raises UnknownForm, so that
no read passes unchanged.
"""

import math
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from functools import cache
from operator import gt, lt
from random import Random

# The module is imported by name, because a test may replace functions of the module time for the handlers.
from time import monotonic, sleep
from typing import Any, NamedTuple

import boto3
from botocore.config import Config

from gyoza_domain.bootstrap import clients
from gyoza_domain.dynamodb import keys
from testing.capacity import item_bytes
from testing.gateway import Answer
from testing.table import table_properties

Item = Mapping[str, Any]
Request = Mapping[str, Any]

MAX_DELAY_S = 0.3
MAX_PAGE_BYTES = 1_048_576
"""A query's page ends with the item that exceeds this size (DynamoDB's limit, as the engine applies it)."""


class ItemKey(NamedTuple):
    pk: str
    sk: str


def is_head(key: ItemKey) -> bool:
    return key.sk == keys.HEAD


def handlers_client() -> Any:
    """The client that every handler of this process uses."""
    return clients.dynamodb()


class UnknownForm(Exception):
    """TornTable cannot answer the request as DynamoDB would."""


class TransactGet(Enum):
    """The behaviour of TransactGetItems while one of its items is not visible yet."""

    SNAPSHOT = "answers with the transaction as it was committed"
    WAIT = "waits until all of it is visible"
    REFUSE = "is cancelled for a conflict"


# -- when an item becomes visible

Delays = Callable[[Sequence[ItemKey]], Sequence[float]]
"""The seconds from a transaction's commit until each of its items is visible."""


def at_once(items: Sequence[ItemKey]) -> Sequence[float]:
    return [0.0] * len(items)


def at_random(seed: int, *, longest_s: float = MAX_DELAY_S) -> Delays:
    """A random delay for each item. Some transactions show HEAD first, HEAD last or one item late: the worst cases."""
    rng = Random(seed)
    lock = threading.Lock()

    def delays(items: Sequence[ItemKey]) -> Sequence[float]:
        with lock:
            chosen = [rng.uniform(0, longest_s) for _ in items]
            order = rng.choice(("any", "HEAD first", "HEAD last", "one late"))
            late = rng.randrange(len(items))
        if order == "HEAD first":
            return [0.0 if is_head(key) else delay for key, delay in zip(items, chosen, strict=True)]
        if order == "HEAD last":
            return [longest_s if is_head(key) else delay / 2 for key, delay in zip(items, chosen, strict=True)]
        if order == "one late":
            return [longest_s if position == late else 0.0 for position in range(len(items))]
        return chosen

    return delays


@dataclass
class _Moment:
    """The moment on the monotonic clock at which something becomes visible; infinity while it is unknown."""

    at_s: float


@dataclass(frozen=True)
class _Version:
    """An item after a write; ``image`` is None if the item does not exist."""

    image: Item | None
    visible: _Moment
    index_delay_s: float = 0.0


class _Versions:
    """The versions of an item, from the last one that is visible everywhere."""

    def __init__(self, before: Item | None) -> None:
        self.all = [_Version(before, _Moment(-math.inf))]

    def visible(self, at_s: float) -> Item | None:
        return next(each.image for each in reversed(self.all) if each.visible.at_s <= at_s)

    def visible_in_index(self, at_s: float) -> Item | None:
        return next(each.image for each in reversed(self.all) if each.visible.at_s + each.index_delay_s <= at_s)

    def is_settled(self, now_s: float) -> bool:
        last = self.all[-1]
        return last.visible.at_s + last.index_delay_s <= now_s


Choose = Callable[[Sequence[ItemKey]], Sequence[ItemKey]]
"""Chooses the visible items from those that a transaction changed, HEAD first."""


def only(*positions: int) -> Choose:
    """Choose the items at these positions of the transaction. HEAD is at position 0."""
    return lambda items: [items[each] for each in positions if each < len(items)]


def all_but(position: int) -> Choose:
    """Choose all items except the one at this position. A shorter transaction is visible as a whole."""
    return lambda items: [*items[:position], *items[position + 1 :]]


HEAD_FIRST = only(0)
HEAD_LAST = all_but(0)


class Half:
    """A transaction that is visible in part until ``release``."""

    def __init__(self, shows: Choose, reads: int | None) -> None:
        self.items: Sequence[ItemKey] = []
        """The items that the transaction changed, HEAD first."""
        self.reads = 0
        """The number of reads of the transaction's partition while it was half visible."""
        self.answer: Answer | None = None
        """The answer to the writer, once the block has ended."""
        self.committed = threading.Event()
        self.released = threading.Event()
        self.hidden_until = _Moment(math.inf)
        self.shows = shows
        self._reads_at_most = reads

    def release(self) -> None:
        """Show the whole transaction."""
        self.hidden_until.at_s = min(self.hidden_until.at_s, monotonic())
        self.released.set()

    def was_read(self) -> None:
        if self.released.is_set():
            return
        self.reads += 1
        if self.reads == self._reads_at_most:
            self.release()


# -- the table


@dataclass
class Figures:
    """Counts the committed transactions, the answered reads, and the reads whose answer differed from the engine's."""

    transactions: int = 0
    reads: int = 0
    torn_reads: int = 0


class TornTable:
    """Answers the calls of one client on one table. Threads may share it; it holds no lock during a call."""

    def __init__(
        self,
        client: Any,
        *,
        delays: Delays = at_once,
        index_delay_s: Callable[[], float] = lambda: 0.0,
        transact_get: Callable[[], TransactGet] = lambda: TransactGet.SNAPSHOT,
    ) -> None:
        self.figures = Figures()
        self._client = client
        self._engine: Callable[[str, Request], Any] = client._make_api_call
        self._truth = boto3.client("dynamodb", config=Config(max_pool_connections=50))
        self._delays = delays
        self._index_delay_s = index_delay_s
        self._transact_get = transact_get
        self._random = Random(0)
        self._versions: dict[ItemKey, _Versions] = {}
        self._in_flight: set[ItemKey] = set()
        self._changed = threading.Condition()
        self._of_thread = threading.local()
        self._half: Half | None = None

    def call(self, operation: str, request: Request) -> Any:
        """Replaces the client's own method, with the same arguments, answers and errors."""
        calls: dict[str, Callable[[Request], Any]] = {
            "GetItem": self._get_item,
            "BatchGetItem": self._batch_get_item,
            "Query": self._query,
            "TransactGetItems": self._transact_get_items,
            "TransactWriteItems": self._transact_write_items,
            "PutItem": lambda request: self._write_one("PutItem", request),
            "UpdateItem": lambda request: self._write_one("UpdateItem", request),
            "DeleteItem": lambda request: self._write_one("DeleteItem", request),
        }
        if operation not in calls:
            raise UnknownForm(f"{operation} is not known here")
        return calls[operation](request)

    @contextmanager
    def half_visible(self, write: Callable[[], Answer], *, shows: Choose, reads: int | None = None) -> Iterator[Half]:
        """The block runs while the first transaction of ``write`` is half visible.

        ``write`` runs in its own thread and gets its answer when the transaction is released. The items that ``shows``
        chooses are visible at once. The others become visible at the end of the block or after ``reads`` reads of their
        partition. Indexes show an item when the table does.
        """
        half = Half(shows, reads)
        with ThreadPoolExecutor(1) as writer:
            answer = writer.submit(self._as_writer_of, half, write)
            try:
                _wait_for_commit(half, answer)
                self._half = half
                yield half
            finally:
                self._half = None
                half.release()
            half.answer = answer.result()

    def settle(self) -> None:
        """Wait until everything is visible everywhere."""
        while True:
            with self._changed:
                now_s = monotonic()
                self._forget_settled(now_s)
                if not self._versions:
                    return
            sleep(0.01)

    # -- writes

    def _transact_write_items(self, request: Request) -> Any:
        touched = [_key_of_write(write) for write in request["TransactItems"] if "ConditionCheck" not in write]
        half: Half | None = getattr(self._of_thread, "half", None)
        self._of_thread.half = None
        with self._writing(touched, half):
            return self._engine("TransactWriteItems", request)

    def _write_one(self, operation: str, request: Request) -> Any:
        """A write of one item is visible at once."""
        with self._writing([_key_of(request.get("Key") or request["Item"])], None, is_single=True):
            return self._engine(operation, request)

    @contextmanager
    def _writing(self, touched: Sequence[ItemKey], half: Half | None, *, is_single: bool = False) -> Iterator[None]:
        """Hide the writes of the block from readers until each item's moment, which is chosen after the write.

        Two writes of one item take turns at the engine, but a write does not wait until the other is visible.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._in_flight.isdisjoint(touched))
            self._in_flight.update(touched)
        moments: list[_Moment] = []
        try:
            before = self._true_images(touched)
            with self._changed:
                self._forget_settled(monotonic())
                for key, image in zip(touched, before, strict=True):
                    self._versions.setdefault(key, _Versions(image))
            try:
                yield
            finally:
                # Also after an error: a write whose answer was lost may stand.
                after = self._true_images(touched)
                changed = {key: new for key, old, new in zip(touched, before, after, strict=True) if old != new}
                if changed:
                    moments = self._commit(changed, half, is_single=is_single)
        finally:
            with self._changed:
                self._in_flight.difference_update(touched)
                self._forget_settled(monotonic())
                self._changed.notify_all()
        _wait_until(moments, half)

    def _commit(self, changed: Mapping[ItemKey, Item | None], half: Half | None, *, is_single: bool) -> list[_Moment]:
        """Record the new versions. Returns the moment at which each item becomes visible."""
        items = sorted(changed, key=is_head, reverse=True)
        with self._changed:
            now_s = monotonic()
            if half is not None:
                shown = half.shows(items)
                moments = [_Moment(now_s) if key in shown else half.hidden_until for key in items]
                index_delay_s = 0.0
            else:
                delays = at_once(items) if is_single else self._delays(items)
                moments = [_Moment(now_s + delay) for delay in delays]
                index_delay_s = self._index_delay_s()
            for key, moment in zip(items, moments, strict=True):
                self._versions[key].all.append(_Version(changed[key], moment, index_delay_s))
            self.figures.transactions += not is_single
        if half is not None:
            half.items = items
            half.committed.set()
        return moments

    def _as_writer_of(self, half: Half, write: Callable[[], Answer]) -> Answer:
        self._of_thread.half = half
        return write()

    def _true_images(self, wanted: Sequence[ItemKey]) -> list[Item | None]:
        if len(wanted) > 100:
            raise UnknownForm(f"a write of {len(wanted)} items")
        table = os.environ["GYOZA_TABLE"]
        asked: Any = {"Keys": [_key_item(key) for key in wanted], "ConsistentRead": True}
        answer = self._truth.batch_get_item(RequestItems={table: asked})
        if answer["UnprocessedKeys"]:
            raise UnknownForm("a write of more than 16 MB")
        images = {_key_of(item): item for item in answer["Responses"][table]}
        return [images.get(key) for key in wanted]

    def _forget_settled(self, now_s: float) -> None:
        for key in [key for key, versions in self._versions.items() if versions.is_settled(now_s)]:
            if key not in self._in_flight:
                del self._versions[key]

    # -- reads

    def _get_item(self, request: Request) -> Any:
        key = _key_of(request["Key"])
        began_s = monotonic()
        answer = self._engine("GetItem", request)
        true = answer.get("Item")
        seen = self._seen(began_s, [key])
        if key in seen:
            answer.pop("Item", None)
            if (image := seen[key]) is not None:
                answer["Item"] = _projected(image, request)
        self._count(true, answer.get("Item"), key.pk)
        return answer

    def _batch_get_item(self, request: Request) -> Any:
        ((table, asked),) = request["RequestItems"].items()
        began_s = monotonic()
        answer = self._engine("BatchGetItem", request)
        left = {_key_of(key) for key in answer.get("UnprocessedKeys", {}).get(table, {}).get("Keys", [])}
        wanted = [key for each in asked["Keys"] if (key := _key_of(each)) not in left]
        true = answer["Responses"].get(table, [])
        seen = self._seen(began_s, wanted)
        items = [item for item in true if not (seen and _key_of(item) in seen)]
        items += [_projected(image, asked) for image in seen.values() if image is not None]
        answer["Responses"][table] = items
        self._count(_sorted(true), _sorted(items), *{key.pk for key in wanted})
        return answer

    def _transact_get_items(self, request: Request) -> Any:
        wanted = [_key_of(each["Get"]["Key"]) for each in request["TransactItems"]]
        behaviour = self._transact_get()
        while behaviour is not TransactGet.SNAPSHOT and (torn := self._torn(wanted)):
            self._count(None, None, *{key.pk for key in wanted})
            if behaviour is TransactGet.REFUSE:
                raise self._conflict([key in torn for key in wanted])
            sleep(0.005)
        with self._changed:
            self._changed.wait_for(lambda: self._in_flight.isdisjoint(wanted))
        return self._engine("TransactGetItems", request)

    def _query(self, request: Request) -> Any:
        query = _Query(request)
        began_s = monotonic()
        answer = self._engine("Query", request)
        true = answer["Items"]
        if self._touching(query):
            entries = list(self._all_entries(query))
            items, last_key = query.page(self._overlaid(query, entries, began_s))
            answer |= {"Items": items, "Count": len(items)}
            answer.pop("LastEvaluatedKey", None)
            if last_key is not None:
                answer["LastEvaluatedKey"] = last_key
        self._count(true, answer["Items"], *([] if query.index else [query.partition]))
        return answer

    def page_made_anew(self, request: Request) -> tuple[list[Item], Item | None]:
        """The items and LastEvaluatedKey that TornTable builds for a query with hidden items."""
        query = _Query(request)
        return query.page(self._overlaid(query, list(self._all_entries(query)), monotonic()))

    def _all_entries(self, query: "_Query") -> Iterator[Item]:
        for page in self._truth.get_paginator("query").paginate(**query.of_everything()):
            yield from page["Items"]

    def _touching(self, query: "_Query") -> bool:
        with self._changed:
            return any(
                query.fits(each.image or _key_item(key))
                for key, versions in self._versions.items()
                for each in versions.all
            )

    def _overlaid(self, query: "_Query", entries: Sequence[Item], began_s: float) -> list[Item]:
        """The entries with the visible version of each item."""
        with self._changed:
            now_s = monotonic()
            seen = {
                key: (versions.visible_in_index if query.index else versions.visible)(self._between(began_s, now_s))
                for key, versions in self._versions.items()
            }
        visible = [query.entry(image) for image in seen.values() if image is not None and query.fits(image)]
        return [entry for entry in entries if _key_of(entry) not in seen] + visible

    def _seen(self, began_s: float, wanted: Iterable[ItemKey]) -> dict[ItemKey, Item | None]:
        """The visible version of each item that has versions."""
        with self._changed:
            now_s = monotonic()
            return {
                key: self._versions[key].visible(self._between(began_s, now_s))
                for key in wanted
                if key in self._versions
            }

    def _between(self, began_s: float, now_s: float) -> float:
        """A random moment of the call, because the items of an answer are read at different moments."""
        return self._random.uniform(began_s, now_s)

    def _torn(self, wanted: Iterable[ItemKey]) -> set[ItemKey]:
        with self._changed:
            now_s = monotonic()
            return {key for key in wanted if key in self._versions and self._versions[key].all[-1].visible.at_s > now_s}

    def _count(self, true: Any, shown: Any, *partitions: str) -> None:
        with self._changed:
            self.figures.reads += 1
            self.figures.torn_reads += true != shown
        if (half := self._half) is not None and half.items[0].pk in partitions:
            half.was_read()

    def _conflict(self, conflicts: Sequence[bool]) -> Exception:
        reasons = [{"Code": "TransactionConflict"} if each else {"Code": "None"} for each in conflicts]
        code = "TransactionCanceledException"
        answer = {
            "Error": {"Code": code, "Message": "Transaction cancelled"},
            "CancellationReasons": reasons,
            "ResponseMetadata": {"HTTPStatusCode": 400, "RetryAttempts": 0},
        }
        error: Exception = self._client.exceptions.from_code(code)(answer, "TransactGetItems")
        return error


@contextmanager
def torn(
    *,
    delays: Delays = at_once,
    index_delay_s: Callable[[], float] = lambda: 0.0,
    transact_get: Callable[[], TransactGet] = lambda: TransactGet.SNAPSHOT,
) -> Iterator[TornTable]:
    """Put a TornTable behind the handlers' client while the block runs."""
    client = handlers_client()
    table = TornTable(client, delays=delays, index_delay_s=index_delay_s, transact_get=transact_get)
    client._make_api_call = table.call
    try:
        yield table
    finally:
        del client._make_api_call


def _wait_for_commit(half: Half, answer: "Future[Answer]") -> None:
    while not half.committed.wait(0.02):
        if answer.done():
            raise AssertionError(f"the writer changed nothing: {answer.result()}")


def _wait_until(moments: Sequence[_Moment], half: Half | None) -> None:
    if half is not None and math.inf in [moment.at_s for moment in moments]:
        half.released.wait()
    sleep(max(0.0, *(moment.at_s - monotonic() for moment in moments)) if moments else 0.0)


# -- queries


@dataclass(frozen=True)
class _Clause:
    """One comparison of a key condition or a filter."""

    name: str
    operator: str
    operands: Sequence[Mapping[str, Any]] = field(default_factory=tuple)

    def holds(self, item: Item) -> bool:
        if self.operator in ("attribute_exists", "attribute_not_exists"):
            return (self.name in item) is (self.operator == "attribute_exists")
        if self.name not in item:
            return False
        kind, value = _comparable(item[self.name])
        operands = [_comparable(operand) for operand in self.operands]
        if any(each != kind for each, _ in operands):
            return False
        first, *more = [operand for _, operand in operands]
        return _HOLDS[self.operator](value, first, *more)


_HOLDS: Mapping[str, Callable[..., bool]] = {
    "=": lambda value, other: value == other,
    "<>": lambda value, other: value != other,
    "<": lambda value, other: value < other,
    "<=": lambda value, other: value <= other,
    ">": lambda value, other: value > other,
    ">=": lambda value, other: value >= other,
    "BETWEEN": lambda value, low, high: low <= value <= high,
    "begins_with": lambda value, start: value.startswith(start),
}

_CLAUSE = re.compile(
    r"(?P<between>\S+) BETWEEN (?P<low>\S+) AND (?P<high>\S+)"
    r"|(?P<compared>[^\s(),]+) ?(?P<operator><=|>=|<>|=|<|>) ?(?P<other>[^\s(),]+)"
    r"|(?P<function>begins_with|attribute_exists|attribute_not_exists) ?\((?P<arguments>[^()]+)\)"
)

_KNOWN = frozenset(
    {"TableName", "IndexName", "KeyConditionExpression", "FilterExpression", "ProjectionExpression", "Select"}
    | {"ExpressionAttributeNames", "ExpressionAttributeValues", "ScanIndexForward", "Limit", "ConsistentRead"}
    | {"ExclusiveStartKey", "ReturnConsumedCapacity"}
)


class _Query:
    """A Query of the table or of one of its indexes."""

    def __init__(self, request: Request) -> None:
        unknown = set(request) - _KNOWN
        if unknown or request.get("Select", "COUNT") != "COUNT":
            raise UnknownForm(f"a query with {sorted(unknown) or request['Select']}")
        self.index: str | None = request.get("IndexName")
        self._request = request
        self._condition = _clauses(request["KeyConditionExpression"], request)
        self._filter = _clauses(request["FilterExpression"], request) if "FilterExpression" in request else []
        schema, self._projected = _schema_of(self.index)
        self._hash, self._range = (each["AttributeName"] for each in schema)

    @property
    def partition(self) -> str:
        (value,) = (clause.operands[0]["S"] for clause in self._condition if clause.name == self._hash)
        return str(value)

    def fits(self, item: Item) -> bool:
        """True if the item meets the key condition."""
        return self._range in item and all(clause.holds(item) for clause in self._condition)

    def entry(self, item: Item) -> Item:
        """The attributes of the item that the index holds."""
        return {name: value for name, value in item.items() if self._projected is None or name in self._projected}

    def of_everything(self) -> dict[str, Any]:
        """The request for all whole entries that meet the key condition."""
        names = {"TableName", "IndexName", "KeyConditionExpression", "ConsistentRead"}
        request = {name: value for name, value in self._request.items() if name in names}
        for name in ("ExpressionAttributeNames", "ExpressionAttributeValues"):
            # The engine refuses names and values that no expression uses.
            condition = set(re.findall(r"[#:]\w+", request["KeyConditionExpression"]))
            used = {each: value for each, value in self._request.get(name, {}).items() if each in condition}
            if used:
                request[name] = used
        return request

    def page(self, entries: Iterable[Item]) -> tuple[list[Item], Item | None]:
        """The items and LastEvaluatedKey of the page."""
        forward = self._request.get("ScanIndexForward", True)
        ordered = sorted(entries, key=self._position, reverse=not forward)
        if (start := self._request.get("ExclusiveStartKey")) is not None:
            at = self._position(start)
            is_behind = gt if forward else lt
            ordered = [each for each in ordered if is_behind(self._position(each), at)]
        limit = self._request.get("Limit", math.inf)
        looked_at: list[Item] = []
        size = 0
        last_key: Item | None = None
        for entry in ordered:
            size += item_bytes(entry)
            looked_at.append(entry)
            if size > MAX_PAGE_BYTES or len(looked_at) == limit:
                last_key = self._key(entry)
                break
        kept = [entry for entry in looked_at if all(clause.holds(entry) for clause in self._filter)]
        return [_projected(entry, self._request) for entry in kept], last_key

    def _position(self, item: Item) -> tuple[Any, str, str]:
        return _comparable(item[self._range])[1], item["pk"]["S"], item["sk"]["S"]

    def _key(self, item: Item) -> Item:
        return {name: item[name] for name in {"pk", "sk", self._hash, self._range}}


def _clauses(expression: str, request: Request) -> list[_Clause]:
    """The comparisons of an expression that joins them with AND. Raises UnknownForm for any other."""
    clauses: list[_Clause] = []
    rest = expression
    while True:
        match = _CLAUSE.match(rest)
        if match is None:
            raise UnknownForm(f"the expression {expression!r}")
        clauses.append(_clause(match, request))
        rest = rest[match.end() :]
        if not rest:
            return clauses
        if not rest.startswith(" AND "):
            raise UnknownForm(f"the expression {expression!r}")
        rest = rest.removeprefix(" AND ")


def _clause(match: re.Match[str], request: Request) -> _Clause:
    if match["between"]:
        name, operator, operands = match["between"], "BETWEEN", [match["low"], match["high"]]
    elif match["compared"]:
        name, operator, operands = match["compared"], match["operator"], [match["other"]]
    else:
        name, *operands = (each.strip() for each in match["arguments"].split(","))
        operator = match["function"]
    if not all(operand.startswith(":") for operand in operands):
        raise UnknownForm(f"operands {operands}")
    values = request.get("ExpressionAttributeValues", {})
    return _Clause(_named(name, request), operator, [values[operand] for operand in operands])


def _named(name: str, request: Request) -> str:
    plain = str(request["ExpressionAttributeNames"][name]) if name.startswith("#") else name
    if not re.fullmatch(r"\w+", plain):
        raise UnknownForm(f"the attribute {plain!r}")
    return plain


def _projected(item: Item, request: Request) -> Item:
    if "ProjectionExpression" not in request:
        return item
    names = {_named(each.strip(), request) for each in request["ProjectionExpression"].split(",")}
    return {name: value for name, value in item.items() if name in names}


@cache
def _schema_of(index: str | None) -> tuple[list[dict[str, Any]], set[str] | None]:
    """The key schema, and the attributes of an entry; None for all."""
    table = table_properties()
    if index is None:
        return table["KeySchema"], None
    (found,) = (each for each in table["GlobalSecondaryIndexes"] if each["IndexName"] == index)
    if found["Projection"]["ProjectionType"] == "ALL":
        return found["KeySchema"], None
    names = {each["AttributeName"] for each in (*found["KeySchema"], *table["KeySchema"])}
    return found["KeySchema"], names | set(found["Projection"].get("NonKeyAttributes", []))


def _comparable(value: Mapping[str, Any]) -> tuple[str, Any]:
    ((kind, content),) = value.items()
    return kind, Decimal(content) if kind == "N" else content


def _key_of(item: Item) -> ItemKey:
    return ItemKey(item["pk"]["S"], item["sk"]["S"])


def _key_item(key: ItemKey) -> Item:
    return {"pk": {"S": key.pk}, "sk": {"S": key.sk}}


def _key_of_write(write: Request) -> ItemKey:
    (action,) = write.values()
    return _key_of(action.get("Key") or action["Item"])


def _sorted(items: Iterable[Item]) -> list[Item]:
    return sorted(items, key=lambda item: (item["pk"]["S"], item["sk"]["S"]))

"""Tests the store: the errors for each outcome of a write, and the reading of a run together with a key."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from gyoza_domain.domain.errors import OutcomeUnknown, RunBusy, RunNotFound, StorageUnavailable, UnreadableRun
from gyoza_domain.domain.run import EventType, OpAttempt, OpRun, RunSpec
from gyoza_domain.domain.transitions import EventDraft, append_event
from gyoza_domain.dynamodb import keys
from gyoza_domain.dynamodb.attributes import Item, attributes
from gyoza_domain.dynamodb.run_store import DynamoDBRunStore
from gyoza_domain.runs import saving
from gyoza_domain.runs.commands import add_event
from gyoza_domain.runs.pausing import Pauses
from gyoza_domain.runs.ports import ChangedMeanwhile, Extent, IdempotencyKey, KeyUse, KeyUsed, NotWritten, Overloaded
from tests.support.memory import TableInMemory

T0 = datetime(2026, 3, 2, 20, 0, tzinfo=UTC)
RUN_ID = "6f1c2a54-9d1b-4c55-8a39-2f0f5c7be911"
PK = f"RUN#{RUN_ID}"
KEY = IdempotencyKey("0a1b", "the body")
RUN = OpRun(RUN_ID, T0, T0, OpAttempt(1))
SPEC = RunSpec("busybox:1")
INFO = EventDraft(EventType.INFO, "hello")


class Clock:
    """A clock that records its pauses."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    def now(self) -> datetime:
        return T0

    def monotonic(self) -> float:
        return 0.0

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)


class FailingTable(TableInMemory):
    """Makes each call of a kind fail with the prepared failures, until they are used up."""

    def __init__(self) -> None:
        super().__init__()
        self.failures: list[Exception] = []

    def transact_write_items(self, **request: Any) -> dict[str, Any]:
        if self.failures:
            raise self.failures.pop(0)
        return super().transact_write_items(**request)

    def transact_get_items(self, **request: Any) -> dict[str, Any]:
        if self.failures:
            self.calls.append("TransactGetItems")
            raise self.failures.pop(0)
        return super().transact_get_items(**request)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def table() -> FailingTable:
    return FailingTable()


@pytest.fixture
def store(table: FailingTable, clock: Clock) -> DynamoDBRunStore:
    return DynamoDBRunStore(table.client, "runs", clock)


@pytest.fixture
def stored(store: DynamoDBRunStore, table: FailingTable) -> DynamoDBRunStore:
    """A store that holds a run."""
    store.add(RUN, SPEC)
    table.calls.clear()
    return store


def failed(code: str, *reasons: str, resent: int = 0) -> ClientError:
    response: dict[str, Any] = {"Error": {"Code": code}, "ResponseMetadata": {"RetryAttempts": resent}}
    if reasons:
        response["CancellationReasons"] = [{"Code": reason} for reason in reasons]
    return ClientError(response, "TransactWriteItems")  # type: ignore[arg-type]


CONFLICT = "TransactionCanceledException", "TransactionConflict", "None"
LOAD = "TransactionCanceledException", "ThrottlingError", "None"

Write = Callable[[DynamoDBRunStore, IdempotencyKey | None], None]


def add(store: DynamoDBRunStore, key: IdempotencyKey | None) -> None:
    other = OpRun("0a1c2a54-9d1b-4c55-8a39-2f0f5c7be911", T0, T0, OpAttempt(1))
    store.add(other, SPEC, key)


def save(store: DynamoDBRunStore, key: IdempotencyKey | None) -> None:
    loaded = store.load(RUN_ID, Extent.SMALL, Pauses(Clock()))
    store.save(append_event(loaded.run, INFO, T0), loaded, key)


WRITES = pytest.mark.parametrize("write", [add, save])
KEYS = pytest.mark.parametrize("key", [None, KEY], ids=["without key", "with key"])


# -- writes


REFUSED = [
    (failed(*CONFLICT), ChangedMeanwhile),
    (failed("TransactionConflictException"), ChangedMeanwhile),
    (failed(*LOAD), Overloaded),
    (failed("ThrottlingException"), Overloaded),
]


@WRITES
@KEYS
@pytest.mark.parametrize("refused", REFUSED)
def test_a_write_that_was_refused_once_was_not_written(
    stored: DynamoDBRunStore,
    table: FailingTable,
    write: Write,
    key: IdempotencyKey | None,
    refused: tuple[Exception, type[Exception]],
) -> None:
    failure, reason = refused
    table.failures = [failure]
    before = dict(table.items)
    with pytest.raises(reason):
        write(stored, key)
    assert table.items == before


@pytest.mark.parametrize("codes", [CONFLICT, LOAD], ids=["conflict", "load"])
def test_a_change_that_was_sent_before_may_still_arrive_so_it_is_not_tried_again_without_a_key(
    stored: DynamoDBRunStore, table: FailingTable, codes: tuple[str, ...]
) -> None:
    table.failures = [failed(*codes, resent=1)]
    with pytest.raises(OutcomeUnknown):
        save(stored, None)


@WRITES
@pytest.mark.parametrize("key", [None, KEY], ids=["no key", "a key"])
@pytest.mark.parametrize("failure", [(CONFLICT, ChangedMeanwhile), (LOAD, Overloaded)], ids=["conflict", "load"])
def test_a_write_that_may_stand_is_never_refused_as_not_written(
    stored: DynamoDBRunStore,
    table: FailingTable,
    write: Write,
    key: IdempotencyKey | None,
    failure: tuple[tuple[str, ...], type[NotWritten]],
) -> None:
    codes, reason = failure
    table.failures = [failed(*codes, resent=1)]
    with pytest.raises((reason, OutcomeUnknown)) as refused:
        write(stored, key)
    assert isinstance(getattr(refused.value, "refusal", refused.value), OutcomeUnknown)


@pytest.mark.parametrize("failure", [(CONFLICT, RunBusy), (LOAD, StorageUnavailable)], ids=["conflict", "load"])
def test_a_write_that_was_sent_once_and_refused_wrote_nothing(
    stored: DynamoDBRunStore, table: FailingTable, failure: tuple[tuple[str, ...], type[Exception]]
) -> None:
    codes, refusal = failure
    table.failures = [failed(*codes)]
    with pytest.raises(NotWritten) as refused:
        save(stored, KEY)
    assert type(refused.value.refusal) is refusal


UNKNOWN = "The service does not know whether the request took effect"
SAME_KEY = f"{UNKNOWN}; send the request again with the same Idempotency-Key"
TIMELINE = f"{UNKNOWN}; read OpRun '{RUN_ID}' and its timeline before you send the request again"
LIST = f"{UNKNOWN}; look in GET /runs whether the run exists before you send the request again"


@pytest.mark.parametrize(
    ("write", "key", "text"), [(add, None, LIST), (add, KEY, SAME_KEY), (save, None, TIMELINE), (save, KEY, SAME_KEY)]
)
def test_a_write_without_an_answer_tells_the_client_where_to_look(
    stored: DynamoDBRunStore, table: FailingTable, write: Write, key: IdempotencyKey | None, text: str
) -> None:
    for failure in (failed("InternalServerError"), ReadTimeoutError(endpoint_url="https://dynamodb")):
        table.failures = [failure]
        with pytest.raises(OutcomeUnknown) as refusal:
            write(stored, key)
        assert str(refusal.value) == text


def test_a_change_on_an_old_reading_is_not_written(stored: DynamoDBRunStore) -> None:
    loaded = stored.load(RUN_ID, Extent.SMALL, Pauses(Clock()))
    save(stored, None)
    with pytest.raises(ChangedMeanwhile) as conflict:
        stored.save(append_event(loaded.run, INFO, T0), loaded)
    assert isinstance(conflict.value.refusal, RunBusy)


def test_a_key_that_is_used_is_told_with_the_body_it_came_with(stored: DynamoDBRunStore) -> None:
    save(stored, KEY)
    with pytest.raises(KeyUsed) as used:
        save(stored, IdempotencyKey(KEY.digest, "another body"))
    assert used.value.use.fingerprint == "the body"


def test_a_key_that_is_used_outweighs_a_run_that_changed(stored: DynamoDBRunStore) -> None:
    loaded = stored.load(RUN_ID, Extent.SMALL, Pauses(Clock()))
    save(stored, KEY)
    with pytest.raises(KeyUsed):
        stored.save(append_event(loaded.run, INFO, T0), loaded, KEY)


def test_a_creation_whose_key_is_used_tells_the_body_it_came_with(store: DynamoDBRunStore) -> None:
    store.add(RUN, SPEC, KEY)
    with pytest.raises(KeyUsed) as used:
        store.add(RUN, SPEC, IdempotencyKey(KEY.digest, "another body"))
    assert used.value.use.fingerprint == "the body"


# -- readings


def test_a_run_and_a_key_are_read_at_one_instant(stored: DynamoDBRunStore, table: FailingTable) -> None:
    assert stored.load_with_key(RUN_ID, KEY, Pauses(Clock()))[1] is None
    assert table.calls == ["TransactGetItems"]
    save(stored, KEY)
    loaded, use = stored.load_with_key(RUN_ID, KEY, Pauses(Clock()))
    assert (loaded.run.last_seq, use) == (0, KeyUse("the body", loaded.run.version))


def test_a_reading_with_a_key_that_meets_a_transaction_pauses_and_reads_again(
    stored: DynamoDBRunStore, table: FailingTable, clock: Clock
) -> None:
    table.failures = [failed(*CONFLICT), failed(*CONFLICT)]
    assert stored.load_with_key(RUN_ID, KEY, Pauses(clock))[0].run == RUN
    assert table.calls == ["TransactGetItems"] * 3
    assert len(clock.pauses) == 2


def test_a_reading_with_a_key_of_no_run_is_not_found(store: DynamoDBRunStore) -> None:
    with pytest.raises(RunNotFound):
        store.load_with_key(RUN_ID, KEY, Pauses(Clock()))


@pytest.mark.parametrize("extent", Extent)
def test_a_torn_run_is_read_again_until_it_is_whole(
    stored: DynamoDBRunStore, table: FailingTable, clock: Clock, extent: Extent, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = stored.load(RUN_ID, Extent.SMALL, Pauses(clock))
    stored.save(append_event(loaded.run, EventDraft(EventType.STARTED, worker_id="worker-7"), T0), loaded)
    claim = table.items.pop((PK, keys.CLAIM))
    monkeypatch.setattr(clock, "sleep", lambda _: table.items.update({(PK, keys.CLAIM): claim}))
    table.calls.clear()
    assert stored.load(RUN_ID, extent, Pauses(clock)).run.attempt.claim is not None
    assert table.calls == ["Query", "Query"]


@pytest.mark.parametrize("extent", Extent)
def test_a_run_that_stays_torn_is_unavailable_after_a_second(
    stored: DynamoDBRunStore, table: FailingTable, clock: Clock, extent: Extent
) -> None:
    table.items[PK, keys.HEAD] |= attributes(claim_version=1)
    with pytest.raises(StorageUnavailable):
        stored.load(RUN_ID, extent, Pauses(clock))
    assert sum(clock.pauses) == pytest.approx(1.0)


def test_all_readings_of_a_request_share_a_second_of_pauses(
    stored: DynamoDBRunStore, table: FailingTable, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each write meets a conflict, and each reading after it is torn four times."""
    monkeypatch.setattr(saving._system_random, "uniform", lambda *_: 0.0)
    add_event(stored, clock, RUN_ID, EventDraft(EventType.STARTED, worker_id="worker-7"), whole=False)
    table.failures = [failed(*CONFLICT)] * 20
    claim = table.items.pop((PK, keys.CLAIM))
    query = table.query

    def torn_query(**request: Any) -> dict[str, Any]:
        torn = len(table.calls) % 5 != 4
        table.items.pop((PK, keys.CLAIM), None) if torn else table.items.update({(PK, keys.CLAIM): claim})
        return query(**request)

    table.calls.clear()
    monkeypatch.setattr(table, "query", torn_query)
    with pytest.raises(StorageUnavailable):
        add_event(stored, clock, RUN_ID, INFO, whole=False)
    assert sum(clock.pauses) == pytest.approx(1.0)


@pytest.mark.parametrize("extent", Extent)
def test_a_run_that_is_known_to_exist_is_waited_for(store: DynamoDBRunStore, clock: Clock, extent: Extent) -> None:
    with pytest.raises(StorageUnavailable):
        store.load(RUN_ID, extent, Pauses(clock), at_least=1)
    assert sum(clock.pauses) == pytest.approx(1.0)
    with pytest.raises(RunNotFound):
        store.load(RUN_ID, extent, Pauses(clock))


@pytest.mark.parametrize("extent", Extent)
def test_a_run_that_a_newer_release_wrote_is_unreadable(
    stored: DynamoDBRunStore, table: FailingTable, clock: Clock, extent: Extent
) -> None:
    table.items[PK, keys.HEAD] |= attributes(schema=2)
    with pytest.raises(UnreadableRun):
        stored.load(RUN_ID, extent, Pauses(clock))
    assert clock.pauses == []


@pytest.mark.parametrize("sk", [keys.HEAD, "CLIENT_KEY#0a1b"])
@pytest.mark.parametrize("change", [attributes(schema=2), {"schema": {"S": "one"}}], ids=["later", "malformed"])
def test_a_reading_with_a_key_of_a_run_that_a_newer_release_wrote_is_unreadable(
    store: DynamoDBRunStore, table: FailingTable, clock: Clock, sk: str, change: Item
) -> None:
    store.add(RUN, SPEC, KEY)
    table.items[PK, sk] |= change
    with pytest.raises(UnreadableRun):
        store.load_with_key(RUN_ID, KEY, Pauses(clock))
    assert clock.pauses == []


@WRITES
def test_a_write_that_meets_a_key_of_a_newer_release_is_unreadable(
    store: DynamoDBRunStore, table: FailingTable, write: Write
) -> None:
    store.add(RUN, SPEC)
    write(store, KEY)
    (place,) = [place for place in table.items if place[1] == "CLIENT_KEY#0a1b"]
    table.items[place] |= attributes(schema=2)
    with pytest.raises(UnreadableRun):
        write(store, KEY)

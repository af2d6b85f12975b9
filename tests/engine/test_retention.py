"""Retention on DynamoDB Local: a removed run is unknown at once, and nothing of it is left but its tombstone."""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from gyoza_domain.bootstrap import api, clients, waking
from gyoza_domain.domain import transitions
from gyoza_domain.domain.errors import RunNotFound
from gyoza_domain.domain.instants import instant_to_text
from gyoza_domain.domain.run import EventDelivery, EventType, JsonText, RunSpec, State, Terms
from gyoza_domain.dynamodb import keys
from gyoza_domain.dynamodb.remains import DynamoDBRemains
from gyoza_domain.runs.ports import ChangedMeanwhile, Extent, IdempotencyKey
from gyoza_domain.waking.commands import Deed
from gyoza_domain.waking.sweep import SweepReport
from testing.gateway import Gateway
from testing.seeding import store_events
from testing.timed_runs import TestClock, TimedRuns
from tests.support.torn import at_random, torn

DAY = timedelta(days=1)
KEY = IdempotencyKey("0a1b", "the body")
RETAINED = Terms(retain_s=60)


class Crash(BaseException):
    """The process dies."""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> TestClock:
    """The clock of the test and of the store."""
    clock = TestClock()
    monkeypatch.setattr(clients.SystemClock, "now", lambda _: clock.now())
    return clock


@pytest.fixture
def runs(engine_api: Gateway, clock: TestClock) -> TimedRuns:
    assert engine_api
    return TimedRuns(api.store(), clock)


def sweep() -> SweepReport:
    return waking.new_sweep().sweep(lambda: 60.0)


def everything() -> list[Any]:
    pages = clients.dynamodb().get_paginator("scan").paginate(TableName=clients.table(), ConsistentRead=True)
    return [item for page in pages for item in page["Items"] if item["pk"]["S"] != keys.TIMER]


def ended_run(runs: TimedRuns, terms: Terms = RETAINED) -> str:
    """A run with every kind of item: closed attempts, one with a result of its own, outputs, inputs and a key."""
    spec = RunSpec("busybox:1", JsonText('{"text":"' + "x" * 5000 + '"}'))
    run_id = runs.create(terms, max_attempts=2, spec=spec)
    runs.post(run_id, EventType.STARTED, worker_id="worker-1", lease_s=60)
    runs.patch(run_id, '{"n":1}')
    runs.post(run_id, EventType.FAILED, attempt=1, error_message="disk full")
    runs.post(run_id, EventType.STARTED, worker_id="worker-1", lease_s=60)
    runs.patch(run_id, '{"n":2}')
    loaded = runs.store.load(run_id, Extent.CLOSING)
    change = runs.completion(loaded.run)
    runs.store.save(change, loaded, KEY)
    kinds = {item["sk"]["S"].split("#")[0] for item in everything() if item["pk"]["S"] == keys.run_pk(run_id)}
    assert kinds == {"ATTEMPT", "CLIENT_KEY", "EVENT", "HEAD", "OUTPUTS", "SPEC"}
    return run_id


def assert_only_a_tombstone_is_left(run_id: str, clock: TestClock) -> None:
    [head] = everything()
    assert (head["pk"]["S"], head["sk"]["S"]) == (keys.run_pk(run_id), keys.HEAD)
    assert {"deleted_at", "created_key", "expires_at"} <= head.keys()
    index_keys = {"due_shard", "due_at", "claim_queue", "claim_order", *keys.HASH_KEY_OF_INDEX.values()}
    assert not index_keys & head.keys()
    assert int(head["expires_at"]["N"]) <= (clock.now() + 30 * DAY).timestamp()


def test_nothing_of_an_expired_run_is_left_but_its_tombstone(runs: TimedRuns, clock: TestClock) -> None:
    run_id = ended_run(runs)
    clock.advance(59)
    assert sweep().deeds == {}
    assert runs.get(run_id).state is State.COMPLETED
    clock.advance(1)
    report = sweep()
    assert report.deeds == {Deed.REMOVED: 1}
    assert report.deleted_items == 12
    assert_only_a_tombstone_is_left(run_id, clock)
    assert sweep() == SweepReport()


def test_an_expired_run_is_unknown_before_anything_of_it_is_deleted(
    runs: TimedRuns, engine_api: Gateway, clock: TestClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = ended_run(runs)
    clock.advance(60)
    newer = runs.create()
    monkeypatch.setattr(DynamoDBRemains, "delete_some", _crash)
    with pytest.raises(Crash):
        sweep()
    for path in ("", "/events", "/attempts"):
        assert engine_api.get(f"/runs/{run_id}{path}").status == 404
    assert engine_api.post(f"/runs/{run_id}/retry").status == 404
    for query in ({}, {"state": "COMPLETED"}, {"image": "busybox:1"}):
        assert run_id not in [row["id"] for row in engine_api.get("/runs", **query).json["data"]]
    assert [row["id"] for row in engine_api.get("/runs", ending_before=run_id).json["data"]] == [newer]


def _crash(*_: object) -> int:
    raise Crash


def test_a_deletion_goes_on_after_a_crash_at_each_of_its_calls(runs: TimedRuns, clock: TestClock) -> None:
    run_id = ended_run(runs)
    clock.advance(60)
    crashes = 0
    while _crashed_after(crashes + 1, sweep):
        crashes += 1
        clock.advance(60)
    # Five queries, the note, two calls for the run, and four for its items; or fewer, where a step was done before.
    assert crashes >= 8
    sweep()
    assert_only_a_tombstone_is_left(run_id, clock)


def _crashed_after(calls: int, action: Callable[[], object]) -> bool:
    """Whether the process made so many calls, and died after the last of them."""
    made = 0

    def count(**_: object) -> None:
        nonlocal made
        made += 1
        if made == calls:
            raise Crash

    events = clients.dynamodb().meta.events
    events.register("after-call.dynamodb.*", count)
    try:
        action()
    except Crash:
        return True
    finally:
        events.unregister("after-call.dynamodb.*", count)
    return False


def test_a_long_run_goes_in_bounded_steps(runs: TimedRuns, clock: TestClock) -> None:
    run_id = runs.started(terms=RETAINED)
    before = runs.post(run_id, EventType.COMPLETED)
    store_events(before, msg="m" * 200, count=10_000)
    clock.advance(60)
    reports = []
    while len(everything()) > 1:
        reports.append(sweep())
        clock.advance(60)
    print(f"10,000 events went in {len(reports)} sweeps: {[each.deleted_items for each in reports]}")
    assert len(reports) == 11
    assert max(report.deleted_items for report in reports) == 1_000
    sweep()
    assert_only_a_tombstone_is_left(run_id, clock)


def test_a_retry_that_comes_first_keeps_the_run(runs: TimedRuns, clock: TestClock) -> None:
    run_id = runs.started(terms=RETAINED)
    runs.post(run_id, EventType.FAILED)
    clock.advance(60)
    retried = False

    def retry(**_: object) -> None:
        nonlocal retried
        if not retried:
            retried = True
            runs.post(run_id, EventType.RETRIED, force=True)

    events = clients.dynamodb().meta.events
    events.register("before-call.dynamodb.TransactWriteItems", retry)
    try:
        report = sweep()
    finally:
        events.unregister("before-call.dynamodb.TransactWriteItems", retry)
    assert (report.deeds, report.failures) == ({Deed.NOTHING: 1}, [])
    assert runs.get(run_id).state is State.PENDING


def events_shown(path: str, body: Any) -> int:
    """The number of events that an answer shows or promises of the first attempt or of all."""
    if path == "":
        return int(body["last_seq"]) + 1
    return len(body["events"]) if path == "/events" else int(body[0]["event_count"])


@pytest.mark.contention
def test_readers_and_retries_beside_the_deletion_see_a_whole_run_or_none(engine_api: Gateway, clock: TestClock) -> None:
    """Reads that overlap the deletion find the run as it was, or do not find it; a run that was retried is kept."""
    events, count = 30, 12
    run_ids = [engine_api.create(retain_s=60)["id"] for _ in range(count)]
    for run_id in run_ids:
        for number in range(events - 1):
            engine_api.event(run_id, "INFO", msg=number, minimal=True)
        engine_api.event(run_id, "CANCELLED", minimal=True)
    clock.advance(60)
    is_over = threading.Event()

    def read(run_id: str) -> list[int]:
        statuses: list[int] = []
        while not is_over.is_set() or len(statuses) < 4:
            for path, query in (("", {}), ("/events", {"after_seq": -1}), ("/attempts", {})):
                answer = engine_api.call("GET", f"/runs/{run_id}{path}", query=query)
                statuses.append(answer.status)
                if answer.status == 200:
                    assert events_shown(path, answer.json) >= events, answer.text
        return statuses

    with torn(delays=at_random(14, longest_s=0.05)) as table, ThreadPoolExecutor(count + 3) as pool:
        readers = [pool.submit(read, run_id) for run_id in run_ids]
        sweeps = [pool.submit(sweep) for _ in range(2)]
        retries = [pool.submit(engine_api.post, f"/runs/{run_id}/retry") for run_id in run_ids[::3]]
        for done in sweeps:
            done.result()
        sweep()
        is_over.set()
        statuses = [reader.result() for reader in readers]
        kept = {run_id for run_id, retry in zip(run_ids[::3], retries, strict=True) if retry.result().status == 200}
        table.settle()

    print(f"{Counter(each for some in statuses for each in some)}; {len(kept)} kept; {table.figures}")
    for run_id, some in zip(run_ids, statuses, strict=True):
        # Not found is for good.
        assert some == sorted(some)
        assert (some[-1] == 200) is (run_id in kept)
        assert set(some) <= {200, 404}
    left = {item["pk"]["S"]: item["sk"]["S"] for item in everything() if "deleted_at" in item}
    assert left == {keys.run_pk(run_id): keys.HEAD for run_id in run_ids if run_id not in kept}
    assert len(everything()) == len(left) + sum(item["pk"]["S"] in map(keys.run_pk, kept) for item in everything())


def test_a_retry_that_comes_second_finds_no_run(runs: TimedRuns, clock: TestClock) -> None:
    run_id = runs.started(terms=RETAINED)
    runs.post(run_id, EventType.FAILED)
    clock.advance(60)
    loaded = runs.store.load(run_id, Extent.CLOSING)
    change = transitions.append_event(loaded.run, transitions.MANUAL_RETRY, clock.now())
    sweep()
    with pytest.raises(ChangedMeanwhile):
        runs.store.save(change, loaded)
    with pytest.raises(RunNotFound):
        runs.post(run_id, EventType.RETRIED, force=True)
    assert_only_a_tombstone_is_left(run_id, clock)


def test_nothing_of_a_run_that_is_kept_is_deleted(runs: TimedRuns, clock: TestClock) -> None:
    run_id = ended_run(runs, Terms())
    before = everything()
    remains = DynamoDBRemains(clients.dynamodb(), clients.table(), clock)
    assert remains.delete_some(run_id, 1_000) == 0
    clock.advance(10 * 365 * 86_400)
    sweep()
    assert everything() == before


def test_a_run_with_an_event_delivery_is_kept_a_day(runs: TimedRuns, clock: TestClock) -> None:
    spec = RunSpec("busybox:1", event_delivery=EventDelivery("orders"))
    run_id = runs.create(Terms(retain_s=0, is_delivering=True), spec=spec)
    runs.post(run_id, EventType.CANCELLED)
    clock.advance(86_399)
    assert sweep().deeds == {}
    clock.advance(1)
    assert sweep().deeds == {Deed.REMOVED: 1}
    assert_only_a_tombstone_is_left(run_id, clock)


def test_the_index_holds_a_removed_run_apart_until_nothing_is_left(runs: TimedRuns, clock: TestClock) -> None:
    run_id = ended_run(runs)
    clock.advance(60)
    calls_until_removed = 9
    assert _crashed_after(calls_until_removed, sweep)
    [head] = [item for item in everything() if item["sk"]["S"] == keys.HEAD]
    assert (head["pk"]["S"], head["due_shard"]["S"]) == (keys.run_pk(run_id), keys.DUE_REMAINS)
    assert head["due_at"]["S"] == instant_to_text(clock.now())

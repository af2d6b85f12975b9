"""The index of instants, the note of the sweeps and the deletion of removed runs on DynamoDB Local."""

from datetime import timedelta
from typing import Any

import pytest

from gyoza_domain.bootstrap import api, clients
from gyoza_domain.domain.run import Terms
from gyoza_domain.dynamodb import keys
from gyoza_domain.dynamodb.due_index import DynamoDBDueIndex
from gyoza_domain.waking.ports import DueEntry, Subject, SweepNote
from testing.gateway import Gateway
from testing.timed_runs import BEGINNING, TestClock, TimedRuns

MINUTE = timedelta(minutes=1)


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


@pytest.fixture
def index(engine_api: Gateway) -> DynamoDBDueIndex:
    assert engine_api
    return DynamoDBDueIndex(clients.dynamodb(), clients.table())


def all_due(index: DynamoDBDueIndex, clock: TestClock, limit: int = 100) -> list[DueEntry]:
    """All due entries of all shards, page by page."""
    found: list[DueEntry] = []
    for shard in (*index.shards, index.remains):
        page = index.due(shard, clock.now(), limit)
        found += page.entries
        while page.next_page is not None:
            page = index.due(shard, clock.now(), limit, page.next_page)
            found += page.entries
    return found


def item_of(run_id: str, sk: str) -> Any:
    key = {"pk": {"S": keys.run_pk(run_id)}, "sk": {"S": sk}}
    return clients.dynamodb().get_item(TableName=clients.table(), Key=key, ConsistentRead=True).get("Item")


def test_pages_show_what_is_due_up_to_an_instant_and_the_earliest_first(
    runs: TimedRuns, index: DynamoDBDueIndex, clock: TestClock
) -> None:
    deadlines = {runs.create(Terms(queue_ttl_s=10 + n)): BEGINNING + timedelta(seconds=10 + n) for n in range(20)}
    clock.advance(24)
    expected = {run_id: at for run_id, at in deadlines.items() if at <= clock.now()}
    for limit in (1, 2, 100):
        due = all_due(index, clock, limit)
        assert {entry.run_id: entry.due_at for entry in due} == expected
        assert len(due) == 15
        assert {entry.subject for entry in due} == {Subject.RUN}
    for shard in index.shards:
        instants = [entry.due_at for entry in index.due(shard, clock.now(), 100).entries]
        assert instants == sorted(instants)


def test_an_entry_tells_a_lease_from_a_run(runs: TimedRuns, index: DynamoDBDueIndex, clock: TestClock) -> None:
    run_id = runs.started(lease_s=15, terms=Terms(attempt_timeout_s=20))
    clock.advance(30)
    due = {entry.subject: entry.due_at for entry in all_due(index, clock) if entry.run_id == run_id}
    assert due == {
        Subject.LEASE: BEGINNING + timedelta(seconds=15),
        Subject.RUN: BEGINNING + timedelta(seconds=20),
    }


def test_an_item_that_no_release_knows_is_an_entry_of_an_unknown_kind(
    index: DynamoDBDueIndex, clock: TestClock
) -> None:
    for pk, sk, due_at in [
        ("RUN#1", "HEAD#NEW", "2026-03-02T19:00:00.000000Z"),
        ("DEFINITION#1", "HEAD", "2026-03-02T19:00:00.000000Z"),
        ("RUN#2", "HEAD", "2026-03-02T19:00:00"[:-2] + "?Z"),
    ]:
        item = {"pk": pk, "sk": sk, "due_shard": "0", "due_at": due_at}
        clients.dynamodb().put_item(
            TableName=clients.table(), Item={name: {"S": value} for name, value in item.items()}
        )
    due = all_due(index, clock)
    assert [entry.subject for entry in due] == [Subject.UNKNOWN] * 3
    for entry in due:
        index.set_back(entry, clock.now())
    assert all_due(index, clock) == []


def test_an_entry_moves_only_from_where_it_was_read(runs: TimedRuns, index: DynamoDBDueIndex, clock: TestClock) -> None:
    run_id = runs.create(Terms(queue_ttl_s=10))
    clock.advance(10)
    [entry] = all_due(index, clock)
    index.move(entry, clock.now() + MINUTE)
    assert all_due(index, clock) == []
    index.move(entry, clock.now())
    index.move(entry, None)
    assert all_due(index, clock) == []
    clock.advance(60)
    [moved] = all_due(index, clock)
    assert (moved.run_id, moved.due_at) == (run_id, clock.now())
    index.move(moved, None)
    assert all_due(index, clock) == []
    assert "due_at" not in item_of(run_id, keys.HEAD)
    assert runs.get(run_id).version == 1


def test_an_entry_is_set_back_a_minute_and_twice_as_long_each_time_up_to_an_hour(
    runs: TimedRuns, index: DynamoDBDueIndex, clock: TestClock
) -> None:
    runs.create(Terms(queue_ttl_s=10))
    clock.advance(10)
    first, delays = clock.now(), []
    for _ in range(9):
        [entry] = all_due(index, clock)
        assert index.set_back(entry, clock.now()) == first
        before = clock.now()
        while not all_due(index, clock):
            clock.advance(60)
        delays.append((clock.now() - before) // MINUTE)
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_an_entry_that_was_written_meanwhile_is_set_back_a_minute_again(
    runs: TimedRuns, index: DynamoDBDueIndex, clock: TestClock
) -> None:
    run_id = runs.started(lease_s=15)
    clock.advance(20)
    for _ in range(3):
        [entry] = all_due(index, clock)
        index.set_back(entry, clock.now())
        clock.advance(1200)
    runs.beat(run_id, 1)
    clock.advance(15)
    [entry] = all_due(index, clock)
    assert index.set_back(entry, clock.now()) == entry.due_at
    clock.advance(60)
    assert len(all_due(index, clock)) == 1


def test_a_renewal_brings_back_a_lease_that_was_set_back(
    runs: TimedRuns, index: DynamoDBDueIndex, clock: TestClock
) -> None:
    run_id = runs.started(lease_s=15)
    clock.advance(15)
    for _ in range(4):
        [entry] = all_due(index, clock)
        index.set_back(entry, clock.now())
        clock.advance(600)
    [entry] = all_due(index, clock)
    index.set_back(entry, clock.now())
    lease = runs.beat(run_id, 1)
    assert item_of(run_id, keys.BEAT)["due_at"] == {"S": "2026-03-02T20:40:30.000000Z"}
    assert lease.until == clock.now() + timedelta(seconds=15)


# -- the note of the sweeps


def test_a_sweep_notes_its_beginning(index: DynamoDBDueIndex) -> None:
    assert index.note() == SweepNote()
    assert index.note_sweep(BEGINNING) == SweepNote(BEGINNING)
    assert index.note_sweep(BEGINNING + MINUTE) == index.note() == SweepNote(BEGINNING + MINUTE)


def test_a_sweep_notes_the_standstill_that_it_ends(index: DynamoDBDueIndex) -> None:
    index.note_sweep(BEGINNING)
    index.note_sweep(BEGINNING + 3 * MINUTE)
    resumed = BEGINNING + 7 * MINUTE
    stood = SweepNote(resumed, BEGINNING + 3 * MINUTE, resumed)
    assert index.note_sweep(resumed) == stood
    # One that began at the same moment and one that follows know of it too.
    assert index.note_sweep(resumed) == stood
    later = index.note_sweep(resumed + MINUTE)
    assert later == index.note() == SweepNote(resumed + MINUTE, stood.stood_from, stood.stood_until)
    assert [later.covers(BEGINNING + n * MINUTE) for n in (3, 4, 7, 8)] == [False, True, True, False]

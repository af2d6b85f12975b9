"""Limits the cost of leases: the units that each step of a leased run takes above those of a run without a lease."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gyoza_domain.bootstrap import clients
from gyoza_domain.domain.run import Change, EventType, JsonText, Lease, OpRun, RunSpec, State, Terms
from gyoza_domain.domain.timers import wake
from gyoza_domain.domain.transitions import (
    MANUAL_RETRY,
    EventDraft,
    append_event,
    claim,
    heartbeat,
    new_attempt,
    patch,
)
from gyoza_domain.dynamodb.run_store import DynamoDBRunStore
from gyoza_domain.runs.ports import ChangedMeanwhile, Extent
from testing.capacity import Usage, measured
from testing.gateway import Gateway

NOW = datetime(2026, 3, 2, 20, 0, tzinfo=UTC)
LEASE_S = 90
RUN_ID = "6f1c2a54-9d1b-4c55-8a39-2f0f5c7be911"
WORKER = "\N{GRINNING FACE}" * 128
"""The longest name of a worker."""

TWO_CALLS = ["Query", "TransactWriteItems"]


class FakeClock:
    def __init__(self) -> None:
        self.instant = NOW

    def now(self) -> datetime:
        return self.instant

    def monotonic(self) -> float:
        return 0.0

    def sleep(self, seconds: float) -> None:
        raise AssertionError(f"a pause of {seconds} s")


class Bench:
    """A run in the table, and decisions on it whose cost is counted."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = DynamoDBRunStore(clients.dynamodb(), clients.table(), self.clock)
        terms = Terms()
        run = OpRun(RUN_ID, NOW, NOW, new_attempt(terms, NOW), max_attempts=5, terms=terms)
        self.store.add(run, RunSpec("i" * 64))

    def run(self) -> OpRun:
        return self.store.load(RUN_ID, Extent.SMALL).run

    def decide(self, decision: Callable[[OpRun, datetime], Change], extent: Extent = Extent.CLOSING) -> Usage:
        with measured() as usage:
            loaded = self.store.load(RUN_ID, extent)
            self.store.save(decision(loaded.run, self.clock.now()), loaded)
        return usage

    def post(self, event_type: EventType, lease_s: int | None = None) -> Usage:
        draft = EventDraft(
            event_type,
            msg=50 if event_type is EventType.PROGRESS else "m" * 200,
            worker_id=WORKER,
            lease_s=lease_s,
            force=True,
            attempt=self.run().attempt.number,
        )
        return self.decide(lambda run, now: append_event(run, draft, now))

    def beat(self) -> tuple[Usage, Lease]:
        with measured() as usage:
            loaded = self.store.load(RUN_ID, Extent.SMALL)
            wanted = heartbeat(loaded.run, loaded.run.attempt.number, WORKER, self.clock.now())
            lease = self.store.renew(loaded, wanted)
        return usage, lease

    def pass_s(self, seconds: float) -> None:
        self.clock.instant += timedelta(seconds=seconds)


def a_bench(state: State, *, is_leased: bool) -> Bench:
    """A run in the state, two seconds after its lease began."""
    bench = Bench()
    lease_s = LEASE_S if is_leased else None
    if state is not State.PENDING:
        bench.post(EventType.ASSIGNED, lease_s)
        bench.pass_s(1)
    if state is State.RUNNING:
        bench.post(EventType.STARTED)
        bench.pass_s(1)
    return bench


@pytest.fixture(autouse=True)
def table(api: Gateway) -> Gateway:
    return api


def units_above(state: State, step: Callable[[Bench], Usage], wait_s: float = 0) -> int:
    """The write units of the step on a leased run above those on a run without a lease."""
    used = []
    for is_leased in (False, True):
        forget_run()
        bench = a_bench(state, is_leased=is_leased)
        bench.pass_s(wait_s)
        usage = step(bench)
        assert usage.calls == TWO_CALLS
        assert usage.read_units == 1
        used.append(usage.write_units)
    return used[1] - used[0]


def forget_run() -> None:
    """Take every item of the run out of the table."""
    client, table = clients.dynamodb(), clients.table()
    for item in client.scan(TableName=table)["Items"]:
        client.delete_item(TableName=table, Key={"pk": item["pk"], "sk": item["sk"]})


@pytest.mark.parametrize("event_type", [EventType.INFO, EventType.ERROR, EventType.PROGRESS], ids=str)
@pytest.mark.parametrize(("wait_s", "units"), [(0, 2), (40, 2), (50, 4), (200, 4)])
def test_an_event_that_renews_costs_two_units_more_and_four_where_it_moves_the_timer(
    event_type: EventType, wait_s: float, units: int
) -> None:
    assert units_above(State.RUNNING, lambda bench: bench.post(event_type), wait_s) == units


@pytest.mark.parametrize(("wait_s", "units"), [(0, 2), (60, 4)])
def test_a_start_that_keeps_the_lease_costs_what_any_renewal_costs(wait_s: float, units: int) -> None:
    assert units_above(State.ASSIGNED, lambda bench: bench.post(EventType.STARTED), wait_s) == units


@pytest.mark.parametrize(
    ("event_type", "state"),
    [
        (EventType.COMPLETED, State.RUNNING),
        (EventType.FAILED, State.RUNNING),
        (EventType.CANCELLED, State.RUNNING),
        (EventType.RETRIED, State.RUNNING),
        (EventType.RETRIED, State.ASSIGNED),
        (EventType.FAILED, State.ASSIGNED),
    ],
    ids=str,
)
def test_the_end_of_a_leased_attempt_costs_three_units_more(event_type: EventType, state: State) -> None:
    assert units_above(state, lambda bench: bench.post(event_type)) == 3


def test_a_manual_retry_and_a_patch_of_the_state_cost_three_units_more() -> None:
    def retry(bench: Bench) -> Usage:
        return bench.decide(lambda run, now: append_event(run, MANUAL_RETRY, now))

    def edit(bench: Bench) -> Usage:
        return bench.decide(lambda run, now: patch(run, now, state=State.ASSIGNED))

    assert units_above(State.RUNNING, retry) == 3
    assert units_above(State.RUNNING, edit) == 3


@pytest.mark.parametrize(
    ("state", "event_type"), [(State.ASSIGNED, EventType.RETRIED), (State.RUNNING, EventType.FAILED)]
)
def test_a_lease_that_runs_out_costs_as_much_as_the_event_and_three_units(state: State, event_type: EventType) -> None:
    def lose(run: OpRun, now: datetime) -> Change:
        change = wake(run, now)
        assert isinstance(change, Change)
        assert change.overrules_lease
        return change

    def step(bench: Bench) -> Usage:
        return bench.post(event_type) if bench.run().attempt.lease is None else bench.decide(lose)

    assert units_above(state, step, wait_s=200) == 3


@pytest.mark.parametrize("start", [False, True])
def test_a_claim_or_an_event_that_asks_for_a_lease_costs_three_units_more(start: bool) -> None:
    event_type = EventType.STARTED if start else EventType.ASSIGNED
    steps: list[Callable[[Bench], Usage]] = [
        lambda bench: bench.post(event_type),
        lambda bench: bench.post(event_type, LEASE_S),
        lambda bench: bench.decide(lambda run, now: claim(run, WORKER, LEASE_S, now, start=start)),
    ]
    used = []
    for step in steps:
        forget_run()
        usage = step(a_bench(State.PENDING, is_leased=False))
        assert (usage.calls, usage.read_units) == (TWO_CALLS, 1)
        used.append(usage.write_units)
    plain, posted, claimed = used
    assert (posted - plain, claimed - plain) == (3, 3)


@pytest.mark.parametrize("state", [State.ASSIGNED, State.RUNNING])
def test_a_heartbeat_is_one_read_and_one_write_unit_and_moves_the_timer_at_most_once_in_half_a_lease(
    state: State,
) -> None:
    bench = a_bench(state, is_leased=True)
    moved = []
    for _ in range(40):
        bench.pass_s(10)
        before = bench.run()
        usage, lease = bench.beat()
        assert (usage.calls, usage.read_units) == (["Query", "UpdateItem"], 1)
        assert usage.write_units in {1, 3}
        moved.append(usage.write_units == 3)
        assert lease == Lease(LEASE_S, WORKER, bench.clock.now() + timedelta(seconds=LEASE_S))
        assert bench.run() == replace(before, attempt=replace(before.attempt, lease=lease)), "HEAD is as it was"
    assert 1 <= sum(moved) <= 400 / (LEASE_S / 2)


def test_a_renewal_that_another_one_outran_answers_with_the_longer_lease() -> None:
    bench = a_bench(State.RUNNING, is_leased=True)
    slow = bench.store.load(RUN_ID, Extent.SMALL)
    wanted = heartbeat(slow.run, 1, WORKER, bench.clock.now())
    bench.pass_s(5)
    _, faster = bench.beat()
    assert bench.store.renew(slow, wanted) == faster
    assert bench.run().attempt.lease == faster


@pytest.mark.parametrize("event_type", [EventType.COMPLETED, EventType.RETRIED])
def test_a_renewal_of_a_lease_that_has_ended_is_refused(event_type: EventType) -> None:
    bench = a_bench(State.RUNNING, is_leased=True)
    slow = bench.store.load(RUN_ID, Extent.SMALL)
    wanted = heartbeat(slow.run, 1, WORKER, bench.clock.now() + timedelta(seconds=5))
    bench.post(event_type)
    with pytest.raises(ChangedMeanwhile):
        bench.store.renew(slow, wanted)
    assert bench.run().attempt.lease is None


def test_a_renewal_of_an_earlier_attempt_is_refused_though_the_same_worker_has_the_next_one() -> None:
    bench = a_bench(State.RUNNING, is_leased=True)
    slow = bench.store.load(RUN_ID, Extent.SMALL)
    bench.post(EventType.RETRIED)
    bench.decide(lambda run, now: claim(run, WORKER, LEASE_S, now, start=False))
    lease = bench.run().attempt.lease
    with pytest.raises(ChangedMeanwhile):
        bench.store.renew(slow, Lease(LEASE_S, WORKER, NOW + timedelta(hours=1)))
    assert bench.run().attempt.lease == lease


def test_an_acknowledged_heartbeat_refuses_the_end_by_time_that_did_not_see_it() -> None:
    bench = a_bench(State.RUNNING, is_leased=True)
    stale = bench.store.load(RUN_ID, Extent.CLOSING)
    late = NOW + timedelta(seconds=LEASE_S + 30)
    change = wake(stale.run, late)
    assert isinstance(change, Change)
    bench.pass_s(10)
    _, lease = bench.beat()
    with pytest.raises(ChangedMeanwhile):
        bench.store.save(change, stale)
    assert bench.run().attempt.lease == lease


def test_a_heartbeat_outlives_an_event_that_was_decided_before_it() -> None:
    """The event's own renewal ends earlier, so it is decided anew."""
    bench = a_bench(State.RUNNING, is_leased=True)
    stale = bench.store.load(RUN_ID, Extent.SMALL)
    draft = EventDraft(EventType.INFO, "hello", JsonText("{}"), attempt=1)
    change = append_event(stale.run, draft, bench.clock.now())
    bench.pass_s(10)
    _, lease = bench.beat()
    with pytest.raises(ChangedMeanwhile):
        bench.store.save(change, stale)
    assert bench.run().attempt.lease == lease


def test_a_heartbeat_does_not_stop_an_event_that_renews_nothing() -> None:
    bench = a_bench(State.RUNNING, is_leased=True)
    stale = bench.store.load(RUN_ID, Extent.SMALL)
    change = append_event(stale.run, EventDraft(EventType.INFO, "hello"), bench.clock.now())
    bench.pass_s(10)
    _, lease = bench.beat()
    bench.store.save(change, stale)
    assert (bench.run().last_seq, bench.run().attempt.lease) == (change.after.last_seq, lease)

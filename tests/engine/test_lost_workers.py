"""Workers that die at random moments, on a clock that runs faster, with sweeps that overlap."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock
from typing import Any

import pytest

from gyoza_domain.bootstrap import api, clients, waking
from gyoza_domain.domain.errors import GyozaError, NotLeased, RunLocked, StaleAttempt, StorageUnavailable
from gyoza_domain.domain.run import Event, EventType, Lease, OpRun, State
from gyoza_domain.dynamodb import codec, keys
from gyoza_domain.runs.ports import ChangedMeanwhile, NotWritten
from gyoza_domain.waking.commands import Deed, PassingWaker
from testing.gateway import Gateway
from testing.timed_runs import TestClock, TimedRuns
from tests.support.faults import injected, seeded

LEASE_S = 15
BOUND = timedelta(minutes=2)
STEP_S = 1.0
"""The clock stands still while all that is to happen in a step races."""

THREADS = 8


@dataclass
class Worker:
    """A worker of one attempt. It beats until it dies or completes its run.

    ``acknowledged`` is the latest ``lease_until`` that an answer has told. A worker that is refused stops.
    """

    run_id: str
    attempt: int
    acknowledged: datetime
    next_beat_s: float
    dies_at_s: float
    completes_at_s: float
    is_at_work: bool = True
    refused: GyozaError | None = None
    held: Callable[[], Lease] | None = None
    """The write of a heartbeat whose request was read, and which waits until a sweep has decided."""


@dataclass
class Simulation:
    """Drives the workers and the sweeps step by step, each step's actions in a random order and in threads."""

    runs: TimedRuns
    clock: TestClock
    rng: random.Random
    passing: PassingWaker | None
    workers: list[Worker] = field(default_factory=list)
    deeds: Counter[Deed] = field(default_factory=Counter)
    passed: int = 0
    held_share: float = 0.03
    held_acknowledged: int = 0
    held_refused: int = 0
    between: int = 0
    unanswered: int = 0
    failed_sweeps: int = 0
    by_run_id: dict[str, Worker] = field(default_factory=dict)
    beats: int = 0
    beats_after_the_end: int = 0
    sweeps: int = 0
    _lock: Lock = field(default_factory=Lock)

    def start(self, count: int) -> None:
        for _ in range(count):
            run_id = self.runs.started(lease_s=LEASE_S, max_attempts=2)
            now_s = self.clock.monotonic()
            dies = self.rng.random() < 0.5
            worker = Worker(
                run_id,
                1,
                self.clock.now() + timedelta(seconds=LEASE_S),
                now_s + self._wait_s(),
                now_s + self.rng.uniform(0, 200) if dies else float("inf"),
                now_s + self.rng.uniform(200, 300),
            )
            self.workers.append(worker)
            self.by_run_id[run_id] = worker

    def play(self, until_s: float) -> None:
        next_sweeps = [self.clock.monotonic() + self.rng.uniform(1, 119) for _ in range(2)]
        with ThreadPoolExecutor(THREADS) as pool:
            while self.clock.monotonic() < until_s:
                self.clock.advance(STEP_S)
                now_s = self.clock.monotonic()
                actions: list[Callable[[], None]] = []
                for place, due_s in enumerate(next_sweeps):
                    if due_s <= now_s:
                        actions.append(self._sweep)
                        # Two schedules, so that some sweeps overlap.
                        next_sweeps[place] = now_s + self.rng.uniform(1, 119)
                actions += [lambda worker=worker: self._act(worker) for worker in self._acting(now_s)]  # type: ignore[misc]
                if self.passing is not None:
                    actions.append(self._pass)
                self.rng.shuffle(actions)
                for done in [pool.submit(action) for action in actions]:
                    done.result()
                if self._sweep in actions:
                    for done in [pool.submit(self._release, each) for each in self.workers if each.held is not None]:
                        done.result()

    def _acting(self, now_s: float) -> Sequence[Worker]:
        for worker in self.workers:
            if worker.dies_at_s <= now_s:
                worker.is_at_work = False
        return [
            each
            for each in self.workers
            if each.is_at_work and each.held is None and min(each.next_beat_s, each.completes_at_s) <= now_s
        ]

    def _wait_s(self) -> float:
        """A third of the beats comes in the last second of the lease, or right after its end."""
        return LEASE_S - self.rng.random() if self.rng.random() < 1 / 3 else self.rng.uniform(3, LEASE_S / 2)

    def _act(self, worker: Worker) -> None:
        try:
            if worker.completes_at_s <= self.clock.monotonic():
                self.runs.post(worker.run_id, EventType.COMPLETED, attempt=worker.attempt)
                worker.is_at_work = False
                return
            if self.rng.random() < self.held_share:
                worker.held = self.runs.held_beat(worker.run_id, worker.attempt)
            else:
                self._acknowledge(worker, self.runs.beat(worker.run_id, worker.attempt))
        except (StaleAttempt, NotLeased, RunLocked) as refusal:
            worker.refused, worker.is_at_work = refusal, False
        except (StorageUnavailable, NotWritten):
            # The worker asks again in the next step.
            self.unanswered += 1

    def _release(self, worker: Worker) -> None:
        assert worker.held is not None
        try:
            self._acknowledge(worker, worker.held())
            self.held_acknowledged += 1
        except ChangedMeanwhile:
            self.held_refused += 1
            worker.is_at_work = False
        except (StorageUnavailable, NotWritten):
            self.unanswered += 1
        worker.held = None

    def before_write(self, params: dict[str, Any], **_: object) -> None:
        """Let the worker of a run that a sweep has decided on beat before the sweep writes, every other time."""
        puts = [write["Put"]["Item"] for write in params["TransactItems"] if "Put" in write]
        if not any('"reason":"lost"' in item.get("payload", {"S": ""})["S"] for item in puts):
            return
        worker = self.by_run_id[keys.run_id_of_pk(puts[0]["pk"]["S"])]
        if worker.is_at_work and self.rng.random() < 1 / 2:
            self.between += 1
            self._act(worker)

    def _acknowledge(self, worker: Worker, lease: Lease) -> None:
        with self._lock:
            self.beats += 1
            self.beats_after_the_end += worker.acknowledged <= self.clock.now()
            worker.acknowledged = max(worker.acknowledged, lease.until)
            worker.next_beat_s = self.clock.monotonic() + self._wait_s()

    def _sweep(self) -> None:
        try:
            report = waking.new_sweep().sweep(lambda: 60.0)
        except StorageUnavailable:
            self.failed_sweeps += 1
            return
        with self._lock:
            self.sweeps += 1
            self.deeds += report.deeds

    def _pass(self) -> None:
        assert self.passing is not None
        woken = self.passing.wake_in_passing()
        with self._lock:
            self.passed += woken


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> TestClock:
    """The clock of the test and of the store."""
    clock = TestClock()
    monkeypatch.setattr(clients.SystemClock, "now", lambda _: clock.now())
    monkeypatch.setattr(clients.SystemClock, "monotonic", lambda _: clock.monotonic())
    return clock


def events_of(run_id: str) -> list[Event]:
    page = clients.dynamodb().query(
        TableName=clients.table(),
        KeyConditionExpression="pk = :pk AND begins_with(sk, :event)",
        ExpressionAttributeValues={":pk": {"S": keys.run_pk(run_id)}, ":event": {"S": "EVENT#"}},
        ConsistentRead=True,
    )
    return [codec.event_from(item) for item in page["Items"]]


def loss_of(worker: Worker) -> Event | None:
    """The FAILED by which the worker's attempt was declared lost."""
    found = [
        event
        for event in events_of(worker.run_id)
        if event.attempt == worker.attempt and event.type is EventType.FAILED
    ]
    assert len(found) <= 1
    assert all('"reason":"lost"' in event.payload for event in found)
    return found[0] if found else None


@pytest.mark.parametrize("asks", [False, True], ids=["without idle workers", "with idle workers asking"])
@pytest.mark.parametrize(
    ("count", "fault_rate"),
    [(40, 0.0), pytest.param(400, 0.0, marks=pytest.mark.long), pytest.param(100, 0.01, marks=pytest.mark.long)],
    ids=["40 runs", "400 runs", "100 runs and faults"],
)
def test_lost_runs_are_closed_in_time_and_no_other_run_is(
    engine_api: Gateway, clock: TestClock, count: int, fault_rate: float, asks: bool
) -> None:
    assert engine_api
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    simulation = Simulation(
        TimedRuns(api.store(), clock), clock, random.Random(seed), waking.passing_waker() if asks else None
    )
    waking.new_sweep().sweep(lambda: 60.0)
    simulation.start(count)
    events = clients.dynamodb().meta.events
    events.register("provide-client-params.dynamodb.TransactWriteItems", simulation.before_write)
    try:
        with injected(seeded(seed, rate=fault_rate)) as faults:
            simulation.play(360)
    finally:
        events.unregister("provide-client-params.dynamodb.TransactWriteItems", simulation.before_write)
    delays, falsely = [], 0
    for worker in simulation.workers:
        run: OpRun = simulation.runs.get(worker.run_id)
        loss = loss_of(worker)
        if loss is None:
            assert run.state is State.COMPLETED, "the run is stuck"
            continue
        falsely += loss.at < worker.acknowledged
        delays.append((loss.at - worker.acknowledged).total_seconds())
        assert (run.state, run.attempt.number) == (State.PENDING, 2)
    held = simulation.held_acknowledged, simulation.held_refused
    print(
        f"{count} runs, {simulation.beats} beats acknowledged, {simulation.beats_after_the_end} after the end of the"
        f" lease; {held} held ones acknowledged and refused; {simulation.between} between a decision and its write;"
        f" {simulation.sweeps} sweeps, {len(delays)} lost, closed {max(delays):.0f} s late at most and"
        f" {sum(delays) / len(delays):.0f} s on average, {simulation.passed} woken in passing;"
        f" {dict(simulation.deeds)}; {falsely} falsely; {faults}; {simulation.unanswered} requests of workers and"
        f" {simulation.failed_sweeps} sweeps failed"
    )
    assert falsely == 0
    # A run whose write failed waits for the next sweep.
    assert max(delays) <= BOUND.total_seconds() * (2 if fault_rate else 1)
    assert len(delays) > count / 4

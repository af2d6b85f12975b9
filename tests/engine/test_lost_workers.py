"""Workers that die at random moments and ask through the handlers, on a clock that runs faster, beside the sweeps.

A worker claims a run, starts it, beats and completes it, and then claims the next one. It may die between two requests
or with a request under way, and it may come back long after its lease. Heartbeats of the last second of a lease are
held between their decision and their write until a sweep decides on the run, and then come before or after its write.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest

from gyoza_domain.bootstrap import clients, waking
from gyoza_domain.domain.errors import StorageUnavailable
from gyoza_domain.domain.run import Event, EventType
from gyoza_domain.dynamodb import codec, keys
from gyoza_domain.waking.commands import Deed, PassingWaker
from testing.gateway import Answer, Gateway
from testing.timed_runs import TestClock
from tests.support.between import before_calls
from tests.support.faults import injected, seeded
from tests.support.torn import at_random, torn

LEASE_S = 15
LEASE = timedelta(seconds=LEASE_S)
BOUND = timedelta(minutes=2)
LEAST_STEP_S = 0.5
"""The clock stands still while all that is to happen in a step races."""

STALLED_S = 3_000
THREADS = 8
FENCED = {"stale_attempt", "not_claimant", "not_leased", "run_locked", "attempt_required", "invalid_transition"}


@dataclass
class Hold:
    """A heartbeat that waits between its decision and its write."""

    reached: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)
    done: Future[None] | None = None


@dataclass
class Lease:
    """Knowledge about the lease of one attempt.

    ``acknowledged``: the latest end that its worker was told. ``ends``: each instant at which the lease may have been
    renewed, and the end that it then got. A dead worker does not read the answer, and some requests have none.
    """

    acknowledged: datetime | None = None
    ends: list[tuple[datetime, datetime]] = field(default_factory=list)

    def ends_by(self, at: datetime) -> datetime:
        """The latest end that the lease may have had at the instant."""
        return max(until for renewed_at, until in self.ends if renewed_at <= at)


@dataclass
class Task:
    """A run that a worker holds."""

    run_id: str
    attempt: int
    is_started: bool
    ends_s: float


@dataclass
class Worker:
    id: str
    acts_s: float
    dies_s: float
    task: Task | None = None
    hold: Hold | None = None
    key: str | None = None
    """The key of a completion that had no answer."""


class Simulation:
    """Plays workers and sweeps step by step, each step's actions in a random order and in threads."""

    def __init__(self, api: Gateway, clock: TestClock, rng: random.Random, *, asks: bool) -> None:
        self.counts: Counter[str] = Counter()
        self.deeds: Counter[Deed] = Counter()
        self.problems: list[str] = []
        self.leases: dict[tuple[str, int], Lease] = {}
        self.completed: set[str] = set()
        self.workers: list[Worker] = []
        self.ghosts: list[tuple[float, str, Task]] = []
        self._api = api
        self._clock = clock
        self._rng = rng
        self._asks = asks
        self._lock = threading.RLock()
        self._of_thread = threading.local()
        self._held: dict[str, Hold] = {}
        self._names = 0

    def create(self, runs: int) -> list[str]:
        policy = {"max_attempts": 100, "max_lost": 100}

        def create(_: int) -> str:
            while (answer := self._api.post("/runs", {"image": "busybox:1", "retry_policy": policy})).status == 503:
                pass
            assert answer.status == 201, answer.text
            run_id: str = answer.json["id"]
            return run_id

        with ThreadPoolExecutor(THREADS) as pool:
            return list(pool.map(create, range(runs)))

    def play(self, run_ids: list[str], workers: int) -> None:
        """Play until every run is completed."""
        self.workers = [self._born(Worker("", 0, 0), self._rng.uniform(0, LEASE_S)) for _ in range(workers)]
        sweeps_s = [self._now_s + self._rng.uniform(1, 119) for _ in range(2)]
        with ThreadPoolExecutor(THREADS) as pool, ThreadPoolExecutor(workers) as holding:
            self._holding = holding
            while self.completed < set(run_ids) or any(worker.hold for worker in self.workers):
                next_s = min(*sweeps_s, *(worker.acts_s for worker in self.workers if worker.hold is None))
                self._clock.advance(max(next_s - self._now_s, LEAST_STEP_S))
                assert self._now_s < STALLED_S, f"{len(set(run_ids) - self.completed)} runs are stuck"
                swept = [place for place in (0, 1) if sweeps_s[place] <= self._now_s]
                actions: list[Callable[[], None]] = []
                for place in swept:
                    actions += [self._sweep] * self._rng.choice((1, 1, 2))
                    sweeps_s[place] = self._now_s + self._rng.uniform(1, 119)
                actions += self._acting()
                self._rng.shuffle(actions)
                for done in [pool.submit(action) for action in actions]:
                    done.result()
                if swept:
                    self._release_all()

    @property
    def _now_s(self) -> float:
        return self._clock.monotonic()

    def _acting(self) -> list[Callable[[], None]]:
        now_s = self._now_s
        due = [worker for worker in self.workers if worker.hold is None and worker.acts_s <= now_s]
        late = [ghost for ghost in self.ghosts if ghost[0] <= now_s]
        self.ghosts = [ghost for ghost in self.ghosts if ghost not in late]
        return [
            *(lambda worker=worker: self._act(worker) for worker in due),
            *(lambda ghost=ghost: self._haunt(*ghost[1:]) for ghost in late),
        ]

    # -- a worker

    def _born(self, worker: Worker, wait_s: float) -> Worker:
        with self._lock:
            self._names += 1
            worker.id = f"worker-{self._names}"
            worker.acts_s = self._now_s + wait_s
            worker.dies_s = worker.acts_s + self._rng.uniform(0, 150)
            worker.task = worker.key = None
        return worker

    def _act(self, worker: Worker) -> None:
        task = worker.task
        if worker.dies_s <= self._now_s:
            self._die(worker)
        elif task is None:
            self._claim(worker)
        elif not task.is_started:
            payload = {"worker_id": worker.id}
            self._go_on(worker, task, "STARTED", self._event(task, "STARTED", payload=payload))
        elif task.ends_s <= self._now_s:
            worker.key = worker.key or f"end of {worker.id} {task.run_id}"
            self._go_on(worker, task, "COMPLETED", self._event(task, "COMPLETED", key=worker.key))
        elif self._rng.random() < 0.2:
            self._go_on(worker, task, "PROGRESS", self._event(task, "PROGRESS", msg=5))
        else:
            self._beat(worker, task)

    def _die(self, worker: Worker) -> None:
        self.counts["deaths"] += 1
        task, worker_id = worker.task, worker.id
        if task is not None:
            if self._rng.random() < 0.4:
                self.counts["deaths with a request under way"] += 1
                self._heartbeat(task, worker_id)
            elif self._rng.random() < 0.3:
                with self._lock:
                    self.ghosts.append((self._now_s + self._rng.uniform(5, 250), worker_id, task))
        self._born(worker, self._rng.uniform(1, 40))

    def _haunt(self, worker_id: str, task: Task) -> None:
        """A worker that was frozen goes on. It is fenced, or it is in time because no sweep has decided."""
        type_ = self._rng.choice(("STARTED", "COMPLETED", "FAILED", "RETRIED", "PROGRESS"))
        number = self._api.get(f"/runs/{task.run_id}").json.get("current_attempt")
        payload = {"worker_id": worker_id} if type_ == "STARTED" else {"force": True} if type_ == "RETRIED" else {}
        answer = self._event(task, type_, payload=payload, msg=1)
        if number is not None and number > task.attempt:
            self.counts["late workers that were fenced"] += 1
            if answer.status not in {409, 503}:
                self._wrong(f"{type_} of attempt {task.attempt} after {number} began: {answer.status} {answer.text}")
        elif answer.status == 200 and type_ == "COMPLETED":
            self.completed.add(task.run_id)

    def _claim(self, worker: Worker) -> None:
        key = f"claim of {worker.id} {self._rng.random()}"
        body = {"worker_id": worker.id, "lease_s": LEASE_S, "start": self._rng.random() < 0.5}
        answer = self._api.call("POST", "/runs/claim", body, headers={"Idempotency-Key": key})
        worker.acts_s = self._now_s + 1
        if answer.status == 204:
            self.counts["claims in vain"] += 1
            # An idle worker comes now and then if none asks again by itself.
            pause_s = int(answer.headers["Retry-After"]) if self._asks else self._rng.uniform(30, 90)
            worker.acts_s = self._now_s + pause_s
        elif answer.status == 503:
            # A worker that gives up: if the claim stands, nobody works on it.
            self.counts["claims without an answer"] += 1
        else:
            assert answer.status == 200, answer.text
            run = answer.json
            worker.task = Task(
                run["id"], run["current_attempt"], run["state"] == "RUNNING", self._now_s + self._rng.uniform(8, 40)
            )
            self._acknowledged(worker.task, answer)
            worker.acts_s = self._now_s + self._rng.uniform(0, 5)

    def _beat(self, worker: Worker, task: Task) -> None:
        lease = self._lease(task)
        is_last_second = lease.acknowledged is not None and lease.acknowledged - self._clock.now() <= timedelta(
            seconds=1
        )
        if not is_last_second:
            self._go_on(worker, task, "a heartbeat", self._heartbeat(task, worker.id))
            return
        hold = worker.hold = Hold()
        with self._lock:
            self._held[task.run_id] = hold
        hold.done = self._holding.submit(self._held_beat, worker, task, hold)
        hold.reached.wait(60)

    def _held_beat(self, worker: Worker, task: Task, hold: Hold) -> None:
        self._of_thread.hold = hold
        try:
            answer = self._heartbeat(task, worker.id)
            self.counts[f"held heartbeats: {answer.status}"] += 1
            self._go_on(worker, task, "a heartbeat", answer, was_held=hold.released.is_set())
        finally:
            self._of_thread.hold = None
            hold.reached.set()
            with self._lock:
                if self._held.get(task.run_id) is hold:
                    del self._held[task.run_id]
            worker.hold = None

    def _go_on(self, worker: Worker, task: Task, what: str, answer: Answer, *, was_held: bool = False) -> None:
        """Obey an answer. A request that is sent in time, and is not held, is never refused."""
        lease = self._lease(task)
        worker.acts_s = self._now_s + 1
        was_held_long = was_held and answer.status == 409 and answer.json["code"] == "run_busy"
        if answer.status == 503 or was_held_long:
            # The worker asks again. A handler gives up after 8 seconds, and the hold took longer.
            self.counts["held too long" if was_held_long else "requests without an answer"] += 1
            return
        worker.key = None
        if answer.status == 200:
            if what == "COMPLETED":
                self.completed.add(task.run_id)
                worker.task = None
                return
            self.counts["renewals"] += 1
            task.is_started = task.is_started or what == "STARTED"
            self._acknowledged(task, answer)
            worker.acts_s = self._now_s + self._wait_s(lease)
            return
        if answer.json["code"] not in FENCED:
            self._wrong(f"{what}: {answer.status} {answer.text}")
        now = self._clock.now()
        if not was_held and lease.acknowledged is not None and now < lease.acknowledged:
            self._wrong(f"{what} at {now}, before {lease.acknowledged}: {answer.status} {answer.text}")
        self.counts["refused"] += 1
        worker.task = None

    def _wait_s(self, lease: Lease) -> float:
        """A third of the next requests comes in the last second of the lease."""
        if self._rng.random() < 1 / 3 and lease.acknowledged is not None:
            return (lease.acknowledged - self._clock.now()).total_seconds() - self._rng.random()
        return self._rng.uniform(3, LEASE_S / 2)

    # -- requests

    def _heartbeat(self, task: Task, worker_id: str) -> Answer:
        body = {"attempt": task.attempt, "worker_id": worker_id}
        return self._noted(task, lambda: self._api.post(f"/runs/{task.run_id}/heartbeat", body))

    def _event(self, task: Task, type_: str, *, key: str | None = None, **fields: Any) -> Answer:
        headers = {"Prefer": "return=minimal"} | ({} if key is None else {"Idempotency-Key": key})
        body = {"type": type_, "attempt": task.attempt} | fields
        path = f"/runs/{task.run_id}/events"
        return self._noted(task, lambda: self._api.call("POST", path, body, headers=headers))

    def _noted(self, task: Task, send: Callable[[], Answer]) -> Answer:
        """Send the request, and note the lease that it may have renewed."""
        lease, sent_at = self._lease(task), self._clock.now()
        answer = send()
        now = self._clock.now()
        with self._lock:
            if answer.status == 200 and answer.json["lease_until"] is not None:
                lease.ends.append((sent_at, datetime.fromisoformat(answer.json["lease_until"])))
            elif answer.status == 503:
                lease.ends += [(at, at + LEASE) for at in (sent_at, now)]
        return answer

    def _lease(self, task: Task) -> Lease:
        with self._lock:
            return self.leases.setdefault((task.run_id, task.attempt), Lease())

    def _acknowledged(self, task: Task, answer: Answer) -> None:
        until, lease = datetime.fromisoformat(answer.json["lease_until"]), self._lease(task)
        with self._lock:
            lease.acknowledged = until if lease.acknowledged is None else max(lease.acknowledged, until)

    def _wrong(self, what: str) -> None:
        with self._lock:
            self.problems.append(what)

    # -- sweeps and held heartbeats

    def _sweep(self) -> None:
        try:
            report = waking.new_sweep().sweep(lambda: 60.0)
        except StorageUnavailable:
            self.counts["failed sweeps"] += 1
            return
        with self._lock:
            self.counts["sweeps"] += 1
            self.deeds += report.deeds

    def before_call(self, operation: str, request: dict[str, Any]) -> None:
        """Hold a heartbeat before its write. Let it go before that of a sweep, every other time."""
        hold: Hold | None = getattr(self._of_thread, "hold", None)
        if operation == "UpdateItem" and hold is not None:
            hold.reached.set()
            hold.released.wait(120)
        elif operation == "TransactWriteItems":
            puts = [write["Put"]["Item"] for write in request["TransactItems"] if "Put" in write]
            if not any('"reason":"lost"' in item.get("payload", {"S": ""})["S"] for item in puts):
                return
            with self._lock:
                held = self._held.get(keys.run_id_of_pk(puts[0]["pk"]["S"]))
            if held is not None and not held.released.is_set() and self._rng.random() < 1 / 2:
                self.counts["held until a decision, then first"] += 1
                held.released.set()
                assert held.done is not None
                held.done.result(60)

    def _release_all(self) -> None:
        """The sweeps have decided. A held heartbeat whose lease has ended comes after them."""
        for worker in self.workers:
            hold, task = worker.hold, worker.task
            if hold is None or task is None:
                continue
            lease = self._lease(task)
            if lease.acknowledged is None or lease.acknowledged <= self._clock.now():
                hold.released.set()
                assert hold.done is not None
                hold.done.result(60)


def events_of(run_id: str) -> list[Event]:
    pages = (
        clients.dynamodb()
        .get_paginator("query")
        .paginate(
            TableName=clients.table(),
            KeyConditionExpression="pk = :pk AND begins_with(sk, :event)",
            ExpressionAttributeValues={":pk": {"S": keys.run_pk(run_id)}, ":event": {"S": "EVENT#"}},
            ConsistentRead=True,
        )
    )
    return [codec.event_from(item) for page in pages for item in page["Items"]]


def closings(run_id: str, leases: dict[tuple[str, int], Lease]) -> Iterator[tuple[Event, Lease]]:
    """The events by which an attempt was declared lost, each with what the test knows of its lease."""
    failed: set[int] = set()
    for event in events_of(run_id):
        lease = leases.setdefault((run_id, event.attempt), Lease())
        if event.type in {EventType.ASSIGNED, EventType.STARTED}:
            lease.ends.append((event.at, event.at + LEASE))
        if '"reason":"lost"' not in event.payload:
            continue
        if event.type is EventType.FAILED:
            failed.add(event.attempt)
            yield event, lease
        elif event.attempt - 1 not in failed:
            assert event.type is EventType.RETRIED
            yield event, leases[run_id, event.attempt - 1]


@dataclass(frozen=True)
class Scale:
    """With a fault rate, reads are torn too."""

    runs: int
    workers: int
    fault_rate: float = 0.0


@pytest.mark.parametrize("asks", [False, True], ids=["without idle workers", "with idle workers asking"])
@pytest.mark.parametrize(
    "scale",
    [Scale(30, 12), pytest.param(Scale(1_000, 300, fault_rate=0.002), marks=[pytest.mark.long, pytest.mark.longest])],
    ids=["30 runs", "1,000 runs, torn reads and faults"],
)
def test_lost_runs_are_closed_in_time_and_no_other_run_is(
    engine_api: Gateway,
    clock: TestClock,
    monkeypatch: pytest.MonkeyPatch,
    scale: Scale,
    asks: bool,
) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    if not asks:
        # A worker that waits for work is none that a deployment without idle workers has.
        monkeypatch.setattr(PassingWaker, "wake_in_passing", lambda _: 0)
    simulation = Simulation(engine_api, clock, random.Random(seed), asks=asks)
    waking.new_sweep().sweep(lambda: 60.0)
    run_ids = simulation.create(scale.runs)
    started = time.monotonic()
    with ExitStack() as stack:
        faults = stack.enter_context(injected(seeded(seed, rate=scale.fault_rate)))
        if scale.fault_rate:
            table = stack.enter_context(torn(delays=at_random(seed, longest_s=0.01)))
        stack.enter_context(before_calls(simulation.before_call))
        simulation.play(run_ids, scale.workers)
        if scale.fault_rate:
            table.settle()
            print(table.figures)
    seconds = time.monotonic() - started
    found = [each for run_id in run_ids for each in closings(run_id, simulation.leases)]
    falsely = [event for event, lease in found if lease.acknowledged is not None and event.at < lease.acknowledged]
    late_s = [(event.at - lease.ends_by(event.at)).total_seconds() for event, lease in found]
    print(
        f"{scale.runs} runs, {scale.workers} workers, {clock.monotonic():.0f} s played in {seconds:.0f} s;"
        f" {dict(sorted(simulation.counts.items()))}; {len(found)} closed as lost, {max(late_s):.0f} s late at most and"
        f" {sum(late_s) / len(late_s):.0f} s on average; {len(falsely)} falsely; {dict(simulation.deeds)}; {faults}"
    )
    assert simulation.problems == []
    assert falsely == []
    # A run whose write failed waits for the next sweep.
    assert max(late_s) <= BOUND.total_seconds() * (2 if scale.fault_rate else 1)
    assert {engine_api.get(f"/runs/{run_id}").json["state"] for run_id in run_ids} == {"COMPLETED"}
    assert len(found) > scale.runs / 4

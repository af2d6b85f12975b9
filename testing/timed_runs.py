"""Creates runs with leases and deadlines in the table, through the store, at instants that a test chooses."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Lock
from time import sleep
from typing import Any
from uuid import uuid4

from gyoza_domain.domain import transitions
from gyoza_domain.domain.run import Change, EventType, JsonText, Lease, OpRun, RunSpec, Terms
from gyoza_domain.domain.transitions import EventDraft
from gyoza_domain.runs.ports import ChangedMeanwhile, Extent, RunStore

BEGINNING = datetime(2026, 3, 2, 20, 0, tzinfo=UTC)


@dataclass
class TestClock:
    """A clock that a test moves. Threads may share it. A pause takes a thousandth of its time and does not move it."""

    __test__ = False

    at: datetime = BEGINNING
    paused_s: float = 0.0
    _lock: Lock = field(default_factory=Lock)

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return (self.at - BEGINNING).total_seconds()

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.paused_s += seconds
        sleep(seconds / 1000)

    def advance(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@dataclass(frozen=True)
class TimedRuns:
    """Makes what clients and workers ask of a store."""

    store: RunStore
    clock: TestClock

    def create(self, terms: Terms | None = None, *, max_attempts: int = 1, spec: RunSpec | None = None) -> str:
        now, terms = self.clock.now(), terms or Terms()
        run_id = str(uuid4())
        attempt = transitions.new_attempt(terms, now)
        run = OpRun(run_id, now, now, attempt, max_attempts=max_attempts, terms=terms)
        self.store.add(run, spec or RunSpec("busybox:1"))
        return run_id

    def started(self, *, lease_s: int | None = None, worker_id: str = "worker-1", **options: Any) -> str:
        """A new run that the worker has started."""
        run_id = self.create(**options)
        self.post(run_id, EventType.STARTED, worker_id=worker_id, lease_s=lease_s)
        return run_id

    def post(self, run_id: str, type_: EventType, **fields: Any) -> OpRun:
        """Append an event. Returns the run after it. Raises what the rules raise."""
        return self._saved(
            run_id, lambda run: transitions.append_event(run, EventDraft(type_, **fields), self.clock.now())
        )

    def patch(self, run_id: str, outputs: str) -> OpRun:
        loaded = self.store.load(run_id, Extent.RESULT)
        change = transitions.patch(loaded.run, self.clock.now(), outputs=JsonText(outputs))
        self.store.save(change, loaded)
        return change.after

    def completion(self, run: OpRun) -> Change:
        """The decision that the current attempt's worker completes it."""
        draft = EventDraft(EventType.COMPLETED, attempt=run.attempt.number)
        return transitions.append_event(run, draft, self.clock.now())

    def beat(self, run_id: str, attempt: int, worker_id: str = "worker-1") -> Lease:
        """Renew the lease. Raises what the rules raise."""
        while True:
            loaded = self.store.load(run_id, Extent.SMALL)
            lease = transitions.heartbeat(loaded.run, attempt, worker_id, self.clock.now())
            try:
                return self.store.renew(loaded, lease)
            except ChangedMeanwhile:
                continue

    def get(self, run_id: str) -> OpRun:
        return self.store.load(run_id, Extent.SMALL).run

    def _saved(self, run_id: str, decide: Callable[[OpRun], Any]) -> OpRun:
        while True:
            loaded = self.store.load(run_id, Extent.CLOSING)
            change = decide(loaded.run)
            try:
                self.store.save(change, loaded)
            except ChangedMeanwhile:
                continue
            after: OpRun = change.after
            return after

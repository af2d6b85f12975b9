"""Everything that runs need from the outside, each with the promise it must keep."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from ..domain.run import Change, Event, OpRun, RunSpec
from .views import AttemptPage, EventPage, RunPage, RunQuery, RunView


@dataclass(frozen=True, slots=True)
class Loaded:
    """A run as a decision reads it. ``spec`` only where it was asked for."""

    run: OpRun
    spec: RunSpec | None = None


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A client's name for one intended effect.

    ``digest``: of the caller, the method, the path and the key itself. ``fingerprint``: of the body as canonical JSON.
    """

    digest: str
    fingerprint: str


class KeyUsed(Exception):
    """A write found its idempotency key used; nothing was written. ``fingerprint``: of the body it first came with."""

    def __init__(self, fingerprint: str) -> None:
        super().__init__("the idempotency key is used")
        self.fingerprint = fingerprint


class ChangedMeanwhile(Exception):
    """A save found the run at another version; nothing was written.

    ``current`` is the run as it is now, where the failed write returned it.
    """

    def __init__(self, current: OpRun | None = None) -> None:
        super().__init__("the run changed meanwhile")
        self.current = current


class RunStore(Protocol):
    """One run at a time, as a decision reads and writes it.

    A read shows every write that an answer has shown. Every method on a run id raises RunNotFound, and any method
    StorageUnavailable.
    """

    def add(self, run: OpRun, spec: RunSpec, key: IdempotencyKey | None = None) -> None:
        """Store a new run and the key that asked for it, or raise KeyUsed when the run exists by that key."""

    def load(self, run_id: str, *, with_spec: bool = False, with_result: bool = False) -> Loaded:
        """The run as it is, for a decision. A live run has its result, a terminal one only ``with_result``."""

    def save(self, change: Change, key: IdempotencyKey | None = None) -> None:
        """Write the change whole, with the key that asked for it.

        Raises KeyUsed, and ChangedMeanwhile when the run is no longer at ``change.before.version``.
        """

    def fingerprint_of(self, run_id: str, key: IdempotencyKey) -> str | None:
        """The fingerprint that came with the key when it was used on this run; None when it was not."""


class RunReader(Protocol):
    """One run at a time, as a client reads it. Reads show every write that an answer has shown.

    Every method raises RunNotFound and StorageUnavailable.
    """

    def newest_events(self, run: OpRun) -> Sequence[Event]:
        """The newest 100 events of the current attempt, or those of them that fit 1 MB; oldest first."""

    def view(self, run_id: str) -> RunView:
        """The run with its spec, its result and its newest events, all of one version."""

    def events_of_attempt(self, run_id: str, attempt: int | None, after: int) -> EventPage:
        """Events of one attempt (None: the current one) with ``id > after``: at most 1,000, or 1 MB.

        Raises InvalidFilter when the run has no such attempt.
        """

    def events_across_attempts(self, run_id: str, after_seq: int) -> EventPage:
        """Events of the whole run with ``seq > after_seq``: at most 1,000, or 1 MB."""

    def attempts(self, run_id: str, after: int, limit: int) -> AttemptPage:
        """Attempts with ``number > after``, at most ``limit``, each with its newest 20 events."""


class RunLists(Protocol):
    """Many runs at a time. May trail a write by the delay of the index."""

    def page(self, query: RunQuery, *, with_events: bool) -> RunPage:
        """A page of runs in the order of creation. Raises InvalidCursor when ``query.after`` names no run.

        Reads at most 2,000 index entries, so a page may end short of its limit with a ``next_cursor``.
        Raises StorageUnavailable.
        """


class Clock(Protocol):
    """Time and waiting."""

    def now(self) -> datetime:
        """The instant, in UTC."""

    def monotonic(self) -> float:
        """Seconds since an unspecified start, never going back."""

    def sleep(self, seconds: float) -> None: ...


class IdSource(Protocol):
    """Fresh run ids, and where a run goes in the index of runs."""

    def new_run_id(self) -> str:
        """A UUID, unpredictable and never given out before, also by a process restored from a snapshot."""

    def run_id_for(self, key: IdempotencyKey) -> str:
        """The UUID of the one run that the key can create: a repeat meets it without a search."""

    def shard_of(self, run_id: str) -> int:
        """The shard for a new run: 0 up to the number in use, evenly."""

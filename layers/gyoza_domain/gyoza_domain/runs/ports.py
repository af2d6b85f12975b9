"""Declares the ports of runs, each with the promises that its adapter keeps."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Any, Protocol

from ..domain.errors import GyozaError, RunBusy, StorageUnavailable
from ..domain.run import Change, Lease, OpRun, Removal, RunSpec
from .pausing import Pauses
from .views import AttemptPage, EventPage, RowShape, RunPage, RunQuery, RunView


class Extent(Enum):
    """Names the parts of a run that a reading loads. Each member includes the ones before it."""

    SMALL = auto()
    """State, counters, lease and claim."""
    CLOSING = auto()
    """Also a result that a PATCH wrote, because a change that closes the attempt moves it.

    A FAILED closes the attempt only while the run has retry budget. Only the reading itself tells that, so a FAILED
    without budget reads the result for nothing. To read it afterwards would cost every such retry another call.
    """
    REOPENING = auto()
    """SMALL and the result of an attempt that an event ended, because a PATCH that reopens the attempt moves it."""
    RESULT = auto()
    """Also the result, whether an event or a PATCH wrote it."""
    WHOLE = auto()
    """Everything that a client sees of the run."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A run as a decision reads it.

    ``view`` is set with Extent.WHOLE only. ``origin`` is the store's own record of the reading; ``save`` takes it back.
    """

    run: OpRun
    view: RunView | None = None
    origin: Any = None


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A client's name for one intended effect.

    ``digest`` covers the caller, the method, the route with its parameters, and the key itself. ``fingerprint`` covers
    the body as canonical JSON.
    """

    digest: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class ClaimKey(IdempotencyKey):
    """The key of a claim, which names no run. It lives until ``expires_at`` and keeps the run that the claim got."""

    worker_id: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class KeyUse:
    """The first request with a key: ``fingerprint`` of its body, and ``version`` of the run that it wrote."""

    fingerprint: str
    version: int


@dataclass(frozen=True, slots=True)
class ClaimUse(KeyUse):
    """The claim that a ClaimKey came with: the run that it got, and the attempt and the worker that it got it for."""

    run_id: str
    attempt: int
    worker_id: str
    expires_at: datetime


class KeyUsed(Exception):
    """A write found its idempotency key used; nothing was written."""

    def __init__(self, use: KeyUse) -> None:
        super().__init__("the idempotency key is used")
        self.use = use


class NotWritten(Exception):
    """A base class: nothing was written, and the same request may succeed later.

    ``refusal`` is the error for a client whose request has no time left to try again.
    """

    def __init__(self, refusal: GyozaError) -> None:
        super().__init__("nothing was written")
        self.refusal = refusal


class ChangedMeanwhile(NotWritten):
    """Another request wrote to the run since it was loaded."""

    def __init__(self, run_id: str) -> None:
        super().__init__(RunBusy(run_id))


class Overloaded(NotWritten):
    """The table has no capacity for the write now."""

    def __init__(self) -> None:
        super().__init__(StorageUnavailable())


class RunStore(Protocol):
    """Loads and saves one run at a time for decisions.

    A read shows every write that an answer has shown. Every method raises StorageUnavailable; a read of a run that a
    newer release wrote raises UnreadableRun. All reads of one request get the same ``pauses``, which they take while
    they meet half a transaction; without them a read has a second of its own.
    """

    def add(self, run: OpRun, spec: RunSpec, key: IdempotencyKey | None = None) -> None:
        """Store a new run and the key that asked for it.

        Raises KeyUsed if the run exists by that key, RunExpired if it existed, NotWritten and OutcomeUnknown.
        """

    def load(self, run_id: str, extent: Extent, pauses: Pauses | None = None, *, at_least: int = 0) -> Loaded:
        """Read the current run for a decision.

        The run is known to have reached version ``at_least``. Raises StorageUnavailable if no read shows that version
        in time. Raises RunNotFound, but only if ``at_least`` is 0.
        """

    def save(self, change: Change, loaded: Loaded, key: IdempotencyKey | None = None) -> None:
        """Write the whole change and the key that asked for it. ``loaded`` is the reading that the change rests on.

        Raises KeyUsed, whose use is a ClaimUse if the key is a ClaimKey, NotWritten and OutcomeUnknown.
        """

    def renew(self, loaded: Loaded, lease: Lease) -> Lease:
        """Write the renewed lease of the current attempt, and nothing else of the run.

        Returns the lease as it stands; another renewal may have made it longer. Raises ChangedMeanwhile if the lease
        has ended since ``loaded`` was read, Overloaded and OutcomeUnknown.
        """

    def remove(self, removal: Removal) -> None:
        """Make the run unknown to every reader at once. The items that remain are deleted later.

        Raises NotWritten and OutcomeUnknown.
        """

    def load_with_key(
        self, run_id: str, key: IdempotencyKey, pauses: Pauses, *, with_lease: bool = False
    ) -> tuple[Loaded, KeyUse | None]:
        """Read the run, without claim and result, and the use of the key, both at one instant.

        The run has its lease only if ``with_lease`` asks for it, which costs two read units more.

        The use is None if no request used the key. Raises RunNotFound.
        """


class RunReader(Protocol):
    """Reads one run at a time for clients. Reads show every write that an answer has shown.

    Every method raises RunNotFound, UnreadableRun and StorageUnavailable.
    """

    def view(self, run_id: str) -> RunView:
        """The run with its spec, its result and its newest events, all of one version."""

    def events_of_attempt(self, run_id: str, attempt: int | None, after: int, limit: int) -> EventPage:
        """Events of one attempt (None: the current one) with ``id > after``: at most ``limit``, or 1 MB.

        Raises InvalidFilter if the run has no such attempt.
        """

    def events_across_attempts(self, run_id: str, after_seq: int, limit: int) -> EventPage:
        """Events of the whole run with ``seq > after_seq``: at most ``limit``, or 1 MB."""

    def attempts(self, run_id: str, after: int, limit: int) -> AttemptPage:
        """Attempts with ``number > after``, at most ``limit``, each with its newest 20 events."""


class RunLists(Protocol):
    """Lists many runs. A list may trail a write by the delay of the index."""

    def page(self, query: RunQuery, shape: RowShape) -> RunPage:
        """A page of runs in the order of creation. Raises InvalidCursor if ``query.after`` names no run.

        Reads at most 2,000 index entries, so a page may end short of its limit with a ``next_cursor``.
        Raises StorageUnavailable.
        """


class Clock(Protocol):
    """Tells the time and waits."""

    def now(self) -> datetime:
        """The instant, in UTC."""

    def monotonic(self) -> float:
        """Seconds since an unspecified start, never going back."""

    def sleep(self, seconds: float) -> None: ...


class IdSource(Protocol):
    """Makes the ids of runs and chooses their shards in the indexes."""

    def new_run_id(self) -> str:
        """A new, unpredictable UUID, also in a process that was restored from a snapshot."""

    def run_id_for(self, key: IdempotencyKey) -> str:
        """The UUID of the one run that the key can create: always the same, so a repeat finds its run."""

    def shard_of(self, run_id: str) -> int:
        """The shard of a new run: a number from 0, below the number of shards. Runs are spread evenly."""

"""Wakes runs: makes the decision that the time asks for, and saves it.

Sweeps and claims do so side by side. The conditions of the writes keep them right: the slower of two finds nothing due.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from random import SystemRandom

from ..domain import timers
from ..domain.errors import RunNotFound, StorageUnavailable, UnreadableRun
from ..domain.run import Change, OpRun, Reason, Removal, ResultSource
from ..runs.ports import ChangedMeanwhile, Clock, Extent, Loaded, NotWritten, RunStore
from .ports import DueEntry, DueIndex, Subject, SweepNote

MAX_TRIES = 5
"""The decisions about one run in a row, if other requests keep changing it. The next sweep goes on."""

PASSING_INTERVAL_S = 5.0
"""A process that claims looks for what is due at most once in this time."""

MAX_WOKEN_IN_PASSING = 5

_FIRST_PAUSE_S = 0.1
_ENTRIES_IN_PASSING = 16
"""The entries of one shard among which a claim chooses, so that many claims do not wake the same run."""

_INDEX_LAG = timedelta(minutes=3)
"""An entry with nothing to do is a defect of its item if it is older than this, and else of the past."""

_system_random = SystemRandom()


class Deed(StrEnum):
    """The result of waking a run. The first four are the reasons of an attempt's end."""

    LOST = Reason.LOST.value
    TIMED_OUT = Reason.TIMED_OUT.value
    EXPIRED = Reason.EXPIRED.value
    CANCEL_NOT_ACKNOWLEDGED = Reason.CANCEL_NOT_ACKNOWLEDGED.value
    INDEXED = "indexed"
    """The run entered the index of claims."""
    SPARED = "spared"
    """The lease ran out while the timer stood still, and got one lease more."""
    REMOVED = "removed"
    """The run's retention has ended. Its items are still to be deleted."""
    GONE = "gone"
    """The run is removed already."""
    NOTHING = "nothing"
    """Nothing is due: the entry is of the past, or the lease was renewed."""
    DELAYED = "delayed"
    """The table refuses requests, or other requests kept changing the run. It stays due."""
    UNWAKEABLE = "unwakeable"
    """No repetition helps: a newer release wrote the run, or there is a defect."""

    @property
    def changed_run(self) -> bool:
        return self not in _WITHOUT_CHANGE


_WITHOUT_CHANGE = frozenset({Deed.GONE, Deed.NOTHING, Deed.DELAYED, Deed.UNWAKEABLE})


@dataclass(frozen=True, slots=True)
class Woken:
    """``error``: the reason if the run is UNWAKEABLE."""

    entry: DueEntry
    deed: Deed
    error: Exception | None = None


class UnknownEntry(Exception):
    """A newer release put something into the index of instants."""


class Waker:
    """Wakes one run at a time. Threads may share it.

    ``default_retain_s``: the time that terminal runs are kept whose terms do not say it; None keeps them for ever.
    """

    def __init__(self, store: RunStore, index: DueIndex, clock: Clock, *, default_retain_s: int | None) -> None:
        self._store = store
        self._index = index
        self._clock = clock
        self._default_retain_s = default_retain_s

    def wake(self, entry: DueEntry, note: SweepNote) -> Woken:
        """Do what the entry's run is due for. Raises nothing: one run must not stop the others."""
        try:
            return Woken(entry, self._wake(entry, note))
        except UnreadableRun as error:
            return Woken(entry, Deed.UNWAKEABLE, error)
        except (StorageUnavailable, NotWritten):
            return Woken(entry, Deed.DELAYED)
        except Exception as error:  # noqa: BLE001 - a defect that one run meets is told, and the others are woken
            return Woken(entry, Deed.UNWAKEABLE, error)

    def _wake(self, entry: DueEntry, note: SweepNote) -> Deed:
        if entry.subject is Subject.UNKNOWN:
            raise UnknownEntry(f"An entry of run '{entry.run_id}' is of an unknown kind")
        for tries in range(MAX_TRIES):
            if tries > 0:
                self._clock.sleep(_system_random.uniform(0, _FIRST_PAUSE_S * 2**tries))
            try:
                return self._decide_and_save(entry, note)
            except ChangedMeanwhile:
                continue
            except RunNotFound:
                return Deed.GONE
        return Deed.DELAYED

    def _decide_and_save(self, entry: DueEntry, note: SweepNote) -> Deed:
        now = self._clock.now()
        loaded, decision = self._decide(entry.run_id, now)
        if decision is None:
            self._settle(entry, loaded.run, now)
            return Deed.NOTHING
        if isinstance(decision, Removal):
            self._store.remove(decision)
            return Deed.REMOVED
        lease = loaded.run.attempt.lease
        if decision.overrules_lease and lease is not None and note.covers(lease.until):
            self._store.renew(loaded, lease.renewed(now))
            return Deed.SPARED
        self._store.save(decision, loaded)
        reason = (decision.closed or decision.after.attempt).reason
        return Deed.INDEXED if reason is None or not decision.events else Deed(reason.value)

    def _decide(self, run_id: str, now: datetime) -> tuple[Loaded, Change | Removal | None]:
        jitter = _system_random.random()
        extent = Extent.SMALL
        while True:
            loaded = self._store.load(run_id, extent)
            decision = timers.wake(loaded.run, now, jitter=jitter, default_retain_s=self._default_retain_s)
            if extent is Extent.CLOSING or not (isinstance(decision, Change) and _moves_result(decision)):
                return loaded, decision
            extent = Extent.CLOSING

    def _settle(self, entry: DueEntry, run: OpRun, now: datetime) -> None:
        """Correct an entry that is due although its run is not."""
        if entry.subject is Subject.LEASE and run.attempt.lease is not None:
            self._index.move(entry, run.attempt.lease.until)
        elif now - entry.due_at > _INDEX_LAG:
            self._index.move(entry, timers.due_at(run) if entry.subject is Subject.RUN else None)


class PassingWaker:
    """Wakes what is due for a claim that found no work. A process has one."""

    def __init__(self, waker: Waker, index: DueIndex, clock: Clock) -> None:
        self._waker = waker
        self._index = index
        self._clock = clock
        self._next_look_s = float("-inf")

    def wake_in_passing(self) -> int:
        """Wake at most 5 entries, and return the number of runs that changed.

        Does nothing within 5 seconds of the look before, and while no sweep runs: an operator who stops the sweeps
        stops this too. Raises nothing: the claim has its answer without it.
        """
        now_s = self._clock.monotonic()
        if now_s < self._next_look_s:
            return 0
        self._next_look_s = now_s + PASSING_INTERVAL_S
        try:
            note = self._index.note()
            entries = [] if note.stands_still(self._clock.now()) else self._some_due()
        except StorageUnavailable:
            return 0
        return sum(self._waker.wake(entry, note).deed.changed_run for entry in entries)

    def _some_due(self) -> Sequence[DueEntry]:
        """Entries of one shard or of several, if the first ones hold too few."""
        now = self._clock.now()
        found: list[DueEntry] = []
        for shard in _system_random.sample(self._index.shards, len(self._index.shards)):
            found += self._index.due(shard, now, _ENTRIES_IN_PASSING).entries
            if len(found) >= MAX_WOKEN_IN_PASSING:
                break
        return _system_random.sample(found, min(len(found), MAX_WOKEN_IN_PASSING))


def _moves_result(change: Change) -> bool:
    """True if the change moves a result that a PATCH wrote, so that it must be loaded."""
    return change.closed is not None and change.closed.result_source is ResultSource.PATCH

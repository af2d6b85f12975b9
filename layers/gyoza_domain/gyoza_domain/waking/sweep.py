"""Wakes everything that is due, with threads, and deletes what is left of removed runs."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from random import SystemRandom
from typing import TypeVar

from ..domain.errors import StorageUnavailable
from ..runs.ports import Clock
from .commands import Deed, Waker, Woken
from .ports import DueEntry, DueIndex, DuePage, Remains, SweepNote

TimeLeft = Callable[[], float]
"""The seconds until the process is ended."""

THREADS = 16

RESERVE_S = 20.0
"""Nothing is begun with less time left: a call that is not answered takes up to 18 s with its repetitions."""

PAGE_ENTRIES = 250
"""The entries of one shard that are shuffled together."""

MAX_DELETED_OF_RUN = 1_000
"""The items of one run that a sweep deletes, so that a long run does not keep the others from going."""

MAX_DELETED = 20_000
"""The items that a sweep deletes in all, about."""

MAX_FAILURES = 20

_system_random = SystemRandom()

Work = TypeVar("Work")
Result = TypeVar("Result")


@dataclass
class SweepReport:
    """The deeds by kind, and the entries that could not be woken, at most 20 of them.

    ``overdue_s``: the age of the oldest entry that is still due, or that could not be woken; 0 if there is none.
    """

    deeds: Counter[Deed] = field(default_factory=Counter)
    failures: list[Woken] = field(default_factory=list)
    overdue_s: float = 0.0
    deleted_items: int = 0


class Sweep:
    """One turn of the timer. It ends when nothing is due, or 20 s before its process is ended; it never waits for work.

    Two may overlap. ``sweep`` is called once.
    """

    def __init__(self, waker: Waker, index: DueIndex, remains: Remains, clock: Clock) -> None:
        self._waker = waker
        self._index = index
        self._remains = remains
        self._clock = clock
        self._report = SweepReport()
        self._oldest: datetime | None = None
        self._removed: dict[str, DueEntry] = {}

    def sweep(self, time_left: TimeLeft) -> SweepReport:
        """Wake what is due. Raises StorageUnavailable if the index cannot be read."""
        begun = self._clock.now()
        parts = [*self._index.shards, self._index.remains]
        first_pages = {part: self._index.due(part, begun, PAGE_ENTRIES) for part in parts}
        # The note comes after the first reads: a timer that cannot read the index stands still.
        note = self._index.note_sweep(begun)
        remains = first_pages.pop(self._index.remains)
        if remains.entries or any(page.entries for page in first_pages.values()):
            with ThreadPoolExecutor(THREADS) as pool:
                turn = _Turn(pool, time_left)
                self._wake_all(turn, first_pages, begun, note)
                self._delete_remains(turn, remains, begun)
        if self._oldest is not None:
            self._report.overdue_s = (self._clock.now() - self._oldest).total_seconds()
        return self._report

    def _wake_all(self, turn: "_Turn", pages: dict[str, DuePage], begun: datetime, note: SweepNote) -> None:
        while pages:
            entries = [entry for page in pages.values() for entry in page.entries]
            _system_random.shuffle(entries)
            for entry, woken in turn.each(entries, lambda entry: self._waker.wake(entry, note)):
                if woken is None:
                    self._is_left(entry.due_at)
                else:
                    self._count(woken)
            if not turn.has_time:
                # Later pages hold later entries.
                for page in pages.values():
                    if page.next_page is not None:
                        self._is_left(page.entries[-1].due_at if page.entries else begun)
                return
            pages = {
                shard: self._index.due(shard, begun, PAGE_ENTRIES, page.next_page)
                for shard, page in pages.items()
                if page.next_page is not None
            }

    def _count(self, woken: Woken) -> None:
        self._report.deeds[woken.deed] += 1
        match woken.deed:
            case Deed.REMOVED | Deed.GONE:
                self._removed[woken.entry.run_id] = woken.entry
            case Deed.DELAYED:
                self._is_left(woken.entry.due_at)
            case Deed.UNWAKEABLE:
                self._set_back(woken)

    def _set_back(self, woken: Woken) -> None:
        if len(self._report.failures) < MAX_FAILURES:
            self._report.failures.append(woken)
        try:
            self._is_left(self._index.set_back(woken.entry, self._clock.now()))
        except StorageUnavailable:
            self._is_left(woken.entry.due_at)

    def _is_left(self, due_at: datetime) -> None:
        self._oldest = due_at if self._oldest is None else min(self._oldest, due_at)

    def _delete_remains(self, turn: "_Turn", page: DuePage, begun: datetime) -> None:
        for entries in self._removed_runs(page, begun):
            for entry, outcome in turn.each(entries, self._delete_some):
                if isinstance(outcome, Exception):
                    self._count(Woken(entry, Deed.UNWAKEABLE, outcome))
                else:
                    self._report.deleted_items += outcome or 0
            if not turn.has_time or self._report.deleted_items >= MAX_DELETED:
                return

    def _removed_runs(self, page: DuePage, begun: datetime) -> Iterator[Sequence[DueEntry]]:
        """The runs that this sweep removed, then those of the index, page by page."""
        yield list(self._removed.values())
        while True:
            yield [entry for entry in page.entries if entry.run_id not in self._removed]
            if page.next_page is None:
                return
            page = self._index.due(self._index.remains, begun, PAGE_ENTRIES, page.next_page)

    def _delete_some(self, entry: DueEntry) -> int | Exception:
        if self._report.deleted_items >= MAX_DELETED:
            return 0
        try:
            return self._remains.delete_some(entry.run_id, MAX_DELETED_OF_RUN)
        except StorageUnavailable:
            return 0
        except Exception as error:  # noqa: BLE001 - a defect that one run meets is told, and the others are deleted
            return error


class _Turn:
    """The threads of a sweep, and its time."""

    def __init__(self, pool: ThreadPoolExecutor, time_left: TimeLeft) -> None:
        self._pool = pool
        self._time_left = time_left

    @property
    def has_time(self) -> bool:
        return self._time_left() > RESERVE_S

    def each(self, works: Sequence[Work], do: Callable[[Work], Result]) -> Iterator[tuple[Work, Result | None]]:
        """Each work with its result, in order; None for those that found no time left."""
        return zip(works, self._pool.map(lambda work: do(work) if self.has_time else None, works), strict=True)

"""Waking runs and sweeping, against a store and an index in memory."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gyoza_domain.domain.errors import OutcomeUnknown, RunNotFound, StorageUnavailable, UnreadableRun
from gyoza_domain.domain.run import (
    Change,
    EventType,
    Lease,
    OpAttempt,
    OpRun,
    Reason,
    Removal,
    ResultSource,
    State,
)
from gyoza_domain.domain.timers import due_at
from gyoza_domain.runs.ports import ChangedMeanwhile, Extent, Loaded, Overloaded
from gyoza_domain.waking.commands import MAX_TRIES, PASSING_INTERVAL_S, Deed, PassingWaker, Waker
from gyoza_domain.waking.ports import DueEntry, DuePage, Subject, SweepNote
from gyoza_domain.waking.sweep import MAX_DELETED_OF_RUN, RESERVE_S, Sweep, SweepReport
from tests.support.clocks import FakeClock

NOW = datetime(2026, 3, 2, 20, 0, tzinfo=UTC)
NO_STANDSTILL = SweepNote(NOW)
STOOD_STILL = SweepNote(NOW, NOW - timedelta(minutes=10), NOW)
SECOND = timedelta(seconds=1)


def a_run(run_id: str = "run-1", **changes: Any) -> OpRun:
    attempt = OpAttempt(1, State.RUNNING, started_at=NOW - timedelta(hours=1))
    created_at = NOW - timedelta(hours=2)
    return replace(OpRun(run_id, created_at, created_at, attempt), **changes)


def leased(run: OpRun, ended_s_ago: float = 1.0) -> OpRun:
    lease = Lease(60, "worker-1", NOW - timedelta(seconds=ended_s_ago))
    return replace(run, attempt=replace(run.attempt, lease=lease))


def timed_out(run: OpRun) -> OpRun:
    return replace(run, attempt=replace(run.attempt, deadline=NOW - SECOND))


def expired(run: OpRun) -> OpRun:
    return replace(run, attempt=replace(run.attempt, state=State.COMPLETED), expires_at=NOW - SECOND)


class Runs:
    """A store of runs by id. ``before_write`` stands for other requests; ``broken`` holds the error of each bad run."""

    def __init__(self, *runs: OpRun) -> None:
        self.runs = {run.id: run for run in runs}
        self.saved: list[Change] = []
        self.loads: list[tuple[str, Extent]] = []
        self.broken: dict[str, Exception] = {}
        self.before_write: Callable[[OpRun], None] = lambda _: None

    def load(self, run_id: str, extent: Extent, *_: Any, **__: Any) -> Loaded:
        self.loads.append((run_id, extent))
        if run_id in self.broken:
            raise self.broken[run_id]
        if run_id not in self.runs:
            raise RunNotFound(run_id)
        return Loaded(self.runs[run_id])

    def save(self, change: Change, loaded: Loaded, _key: Any = None) -> None:
        self._check(loaded.run)
        self.runs[change.after.id] = change.after
        self.saved.append(change)

    def renew(self, loaded: Loaded, lease: Lease) -> Lease:
        self._check(loaded.run)
        self.runs[loaded.run.id] = replace(loaded.run, attempt=replace(loaded.run.attempt, lease=lease))
        return lease

    def remove(self, removal: Removal) -> None:
        self._check(removal.run)
        del self.runs[removal.run.id]

    def _check(self, read: OpRun) -> None:
        self.before_write(read)
        if self.runs.get(read.id) != read:
            raise ChangedMeanwhile(read.id)

    def add(self, *_: Any) -> None:
        raise NotImplementedError

    def load_with_key(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError


class Index:
    """Entries by shard, two a page unless ``page_size`` says otherwise."""

    shards: Sequence[str] = ("0", "1")
    remains = "remains"

    def __init__(self, *entries: DueEntry, note: SweepNote = NO_STANDSTILL) -> None:
        self.parts: dict[str, list[DueEntry]] = {"0": [], "1": list(entries), "remains": []}
        self.moved: list[tuple[DueEntry, datetime | None]] = []
        self.set_backs: list[DueEntry] = []
        self.queries = 0
        self.page_size = 2
        self.kept_note = note
        self.noted: list[datetime] = []
        self.is_down = False

    def due(self, shard: str, until: datetime, limit: int, page: Any = None) -> DuePage:
        self.queries += 1
        if self.is_down:
            raise StorageUnavailable
        assert limit > 0
        start = page or 0
        end = start + self.page_size
        due = sorted((each for each in self.parts[shard] if each.due_at <= until), key=lambda each: each.due_at)
        return DuePage(due[start:end], end if len(due) > end else None)

    def move(self, entry: DueEntry, due_at: datetime | None) -> None:
        self.moved.append((entry, due_at))

    def set_back(self, entry: DueEntry, now: datetime) -> datetime:
        assert now >= NOW
        self.set_backs.append(entry)
        return entry.due_at

    def note(self) -> SweepNote:
        if self.is_down:
            raise StorageUnavailable
        return self.kept_note

    def note_sweep(self, now: datetime) -> SweepNote:
        self.noted.append(now)
        return self.kept_note


@dataclass
class Left:
    """The number of items that each removed run still has."""

    items: Counter[str] = field(default_factory=Counter)
    asked: list[str] = field(default_factory=list)

    def delete_some(self, run_id: str, most: int) -> int:
        self.asked.append(run_id)
        deleted = min(self.items[run_id], most)
        self.items[run_id] -= deleted
        return deleted


def entry_of(run: OpRun, subject: Subject = Subject.RUN) -> DueEntry:
    lease = run.attempt.lease
    instant = lease.until if subject is Subject.LEASE and lease is not None else due_at(run)
    return DueEntry(run.id, subject, instant or NOW - SECOND)


def woken(store: Runs, entry: DueEntry, note: SweepNote = NO_STANDSTILL, index: Index | None = None) -> Deed:
    clock = FakeClock(seconds=0.0)
    return Waker(store, index or Index(), clock, default_retain_s=None).wake(entry, note).deed


# -- one run


def test_a_lease_that_ran_out_ends_the_attempt() -> None:
    store = Runs(leased(a_run()))
    assert woken(store, entry_of(store.runs["run-1"], Subject.LEASE)) is Deed.LOST
    [change] = store.saved
    assert change.overrules_lease
    assert (change.after.state, change.after.attempt.reason) == (State.FAILED, Reason.LOST)


def test_a_return_to_the_queue_is_a_loss_too() -> None:
    assigned = a_run(attempt=OpAttempt(1, State.ASSIGNED))
    store = Runs(leased(assigned))
    assert woken(store, entry_of(store.runs["run-1"], Subject.LEASE)) is Deed.LOST
    assert [event.type for event in store.saved[0].events] == [EventType.RETRIED]


def test_a_deadline_ends_the_attempt() -> None:
    store = Runs(timed_out(a_run()))
    assert woken(store, entry_of(store.runs["run-1"])) is Deed.TIMED_OUT


def test_a_run_enters_the_index_of_claims() -> None:
    waiting = OpAttempt(1, not_before=NOW + timedelta(minutes=1))
    store = Runs(a_run(attempt=waiting))
    assert woken(store, entry_of(store.runs["run-1"])) is Deed.INDEXED
    assert store.runs["run-1"].attempt.is_indexed


def test_the_retention_of_the_deployment_begins_with_an_end_by_the_timer() -> None:
    store = Runs(timed_out(a_run()))
    waker = Waker(store, Index(), FakeClock(seconds=0.0), default_retain_s=100)
    waker.wake(entry_of(store.runs["run-1"]), NO_STANDSTILL)
    assert store.runs["run-1"].expires_at == NOW + timedelta(seconds=100)


def test_a_run_past_its_retention_is_removed() -> None:
    store = Runs(expired(a_run()))
    assert woken(store, entry_of(store.runs["run-1"])) is Deed.REMOVED
    assert store.runs == {}


def test_a_result_that_a_patch_wrote_is_loaded_only_if_it_moves() -> None:
    patched = replace(a_run().attempt, result_source=ResultSource.PATCH)
    store = Runs(timed_out(a_run(attempt=patched, max_attempts=2)))
    assert woken(store, entry_of(store.runs["run-1"])) is Deed.TIMED_OUT
    assert [extent for _, extent in store.loads] == [Extent.SMALL, Extent.CLOSING]
    store = Runs(timed_out(a_run(attempt=patched)))
    assert woken(store, entry_of(store.runs["run-1"])) is Deed.TIMED_OUT
    assert [extent for _, extent in store.loads] == [Extent.SMALL]


def test_a_renewed_lease_moves_its_entry_to_its_end() -> None:
    run = leased(a_run(), ended_s_ago=-30)
    index = Index()
    entry = DueEntry(run.id, Subject.LEASE, NOW - SECOND)
    assert woken(Runs(run), entry, index=index) is Deed.NOTHING
    assert index.moved == [(entry, NOW + timedelta(seconds=30))]


@pytest.mark.parametrize("subject", [Subject.RUN, Subject.LEASE])
def test_an_entry_of_the_past_is_left_to_the_index(subject: Subject) -> None:
    index = Index()
    assert woken(Runs(a_run()), DueEntry("run-1", subject, NOW - SECOND), index=index) is Deed.NOTHING
    assert index.moved == []


@pytest.mark.parametrize(("subject", "expected"), [(Subject.RUN, NOW + timedelta(minutes=9)), (Subject.LEASE, None)])
def test_an_old_entry_of_a_run_that_is_not_due_is_corrected(subject: Subject, expected: datetime | None) -> None:
    run = replace(a_run(), attempt=replace(a_run().attempt, deadline=NOW + timedelta(minutes=9)))
    index = Index()
    entry = DueEntry("run-1", subject, NOW - timedelta(minutes=4))
    assert woken(Runs(run), entry, index=index) is Deed.NOTHING
    assert index.moved == [(entry, expected)]


def test_a_heartbeat_that_comes_first_keeps_the_run() -> None:
    run = leased(a_run())
    renewed = leased(run, ended_s_ago=-60)
    store, index = Runs(run), Index()
    store.before_write = lambda _: store.runs.update({"run-1": renewed})
    assert woken(store, entry_of(run, Subject.LEASE), index=index) is Deed.NOTHING
    assert store.runs["run-1"] == renewed
    assert [until for _, until in index.moved] == [NOW + timedelta(seconds=60)]


def test_a_run_that_keeps_changing_is_left_to_the_next_sweep() -> None:
    store, clock = Runs(timed_out(a_run())), FakeClock(seconds=0.0)
    store.before_write = lambda run: store.runs.update({"run-1": replace(run, version=run.version + 1)})
    waker = Waker(store, Index(), clock, default_retain_s=None)
    assert waker.wake(entry_of(store.runs["run-1"]), NO_STANDSTILL).deed is Deed.DELAYED
    assert len(store.loads) == MAX_TRIES
    assert len(clock.pauses) == MAX_TRIES - 1


def test_a_removed_run_is_gone() -> None:
    assert woken(Runs(), DueEntry("run-1", Subject.RUN, NOW)) is Deed.GONE


@pytest.mark.parametrize("error", [StorageUnavailable(), Overloaded(), OutcomeUnknown("run-1", is_keyed=False)])
def test_a_table_that_refuses_delays_the_run(error: Exception) -> None:
    store = Runs()
    store.broken["run-1"] = error
    assert woken(store, DueEntry("run-1", Subject.RUN, NOW)) is Deed.DELAYED


@pytest.mark.parametrize("error", [UnreadableRun("run-1"), KeyError("a defect")])
def test_a_run_that_no_repetition_helps_is_told_with_its_error(error: Exception) -> None:
    store, index = Runs(), Index()
    store.broken["run-1"] = error
    entry = DueEntry("run-1", Subject.RUN, NOW)
    result = Waker(store, index, FakeClock(seconds=0.0), default_retain_s=None).wake(entry, NO_STANDSTILL)
    assert (result.deed, result.error) == (Deed.UNWAKEABLE, error)


def test_an_entry_of_a_newer_release_is_not_touched() -> None:
    store = Runs(timed_out(a_run()))
    assert woken(store, DueEntry("run-1", Subject.UNKNOWN, NOW)) is Deed.UNWAKEABLE
    assert store.loads == []


# -- a standstill of the timer


def test_a_lease_that_ran_out_in_a_standstill_gets_one_lease_more() -> None:
    store = Runs(leased(a_run(), ended_s_ago=200))
    entry = entry_of(store.runs["run-1"], Subject.LEASE)
    assert woken(store, entry, STOOD_STILL) is Deed.SPARED
    lease = store.runs["run-1"].attempt.lease
    assert lease is not None
    assert lease.until == NOW + timedelta(seconds=60)
    assert store.saved == []


def test_a_spared_lease_is_not_spared_again() -> None:
    store, clock = Runs(leased(a_run(), ended_s_ago=200)), FakeClock(seconds=0.0)
    waker = Waker(store, Index(), clock, default_retain_s=None)
    waker.wake(entry_of(store.runs["run-1"], Subject.LEASE), STOOD_STILL)
    clock.seconds = 61
    assert waker.wake(entry_of(store.runs["run-1"], Subject.LEASE), STOOD_STILL).deed is Deed.LOST


def test_a_lease_that_ran_out_before_the_standstill_is_lost() -> None:
    store = Runs(leased(a_run(), ended_s_ago=601))
    assert woken(store, entry_of(store.runs["run-1"], Subject.LEASE), STOOD_STILL) is Deed.LOST


def test_a_deadline_in_a_standstill_is_not_spared() -> None:
    store = Runs(timed_out(a_run()))
    assert woken(store, entry_of(store.runs["run-1"]), STOOD_STILL) is Deed.TIMED_OUT


# -- sweeps


def swept(
    store: Runs, index: Index, left: Left | None = None, time_left: Callable[[], float] = lambda: 60.0
) -> SweepReport:
    clock = FakeClock(seconds=0.0)
    waker = Waker(store, index, clock, default_retain_s=None)
    return Sweep(waker, index, left or Left(), clock).sweep(time_left)


def test_an_idle_sweep_reads_each_part_of_the_index_once_and_notes_itself() -> None:
    store, index = Runs(), Index()
    assert swept(store, index) == SweepReport()
    assert (index.queries, index.noted, store.loads) == (3, [NOW], [])


def test_a_sweep_wakes_every_page() -> None:
    runs = [timed_out(a_run(f"run-{n}")) for n in range(7)]
    store, index = Runs(*runs), Index(*map(entry_of, runs))
    report = swept(store, index)
    assert report == SweepReport(deeds=Counter({Deed.TIMED_OUT: 7}))
    assert {run.state for run in store.runs.values()} == {State.FAILED}


def test_a_run_that_cannot_be_woken_is_set_back_and_the_others_are_woken() -> None:
    runs = [timed_out(a_run(f"run-{n}")) for n in range(3)]
    bad = DueEntry("bad", Subject.RUN, NOW - timedelta(hours=1))
    store, index = Runs(*runs), Index(bad, *map(entry_of, runs))
    store.broken["bad"] = error = UnreadableRun("bad")
    report = swept(store, index)
    assert report.deeds == {Deed.TIMED_OUT: 3, Deed.UNWAKEABLE: 1}
    assert [(each.entry, each.error) for each in report.failures] == [(bad, error)]
    assert index.set_backs == [bad]
    assert report.overdue_s == 3600


def test_what_the_table_refuses_stays_due_and_is_told() -> None:
    entry = DueEntry("run-1", Subject.RUN, NOW - timedelta(seconds=90))
    store, index = Runs(), Index(entry)
    store.broken["run-1"] = StorageUnavailable()
    report = swept(store, index)
    assert (report.deeds, report.overdue_s) == ({Deed.DELAYED: 1}, 90)
    assert index.set_backs == []


def test_a_sweep_without_time_leaves_the_rest_and_tells_its_age() -> None:
    runs = [timed_out(a_run(f"run-{n}")) for n in range(5)]
    entries = [DueEntry(run.id, Subject.RUN, NOW - timedelta(seconds=100 - n)) for n, run in enumerate(runs)]
    store, index = Runs(*runs), Index(*entries)
    report = swept(store, index, time_left=lambda: RESERVE_S)
    assert (report.deeds, report.overdue_s) == ({}, 100)
    times = iter([60.0] * 2 + [1.0] * 100)
    report = swept(store, index, time_left=lambda: next(times))
    assert (report.deeds, report.overdue_s) == ({Deed.TIMED_OUT: 2}, 99)


def test_an_index_that_cannot_be_read_is_a_standstill() -> None:
    index = Index()
    index.is_down = True
    with pytest.raises(StorageUnavailable):
        swept(Runs(), index)
    assert index.noted == []


def test_a_sweep_deletes_what_is_left_of_removed_runs() -> None:
    run = expired(a_run("new"))
    store, index = Runs(run), Index(entry_of(run), DueEntry("gone", Subject.RUN, NOW))
    old = [DueEntry(name, Subject.REMAINS, NOW - timedelta(days=1)) for name in ("old-1", "old-2", "old-3", "new")]
    index.parts["remains"] = old
    left = Left(Counter({"new": 3, "gone": 2, "old-1": 5, "old-2": 0, "old-3": MAX_DELETED_OF_RUN + 4}))
    report = swept(store, index, left)
    assert sorted(left.asked) == ["gone", "new", "old-1", "old-2", "old-3"]
    assert report.deleted_items == 10 + MAX_DELETED_OF_RUN
    assert +left.items == Counter({"old-3": 4})
    assert report.overdue_s == 0


def test_a_defect_of_a_deletion_is_told_and_the_others_are_deleted() -> None:
    class Defective(Left):
        def delete_some(self, run_id: str, most: int) -> int:
            if run_id == "bad":
                raise KeyError("a defect")
            return super().delete_some(run_id, most)

    index = Index()
    index.parts["remains"] = [DueEntry(name, Subject.REMAINS, NOW - SECOND) for name in ("bad", "good")]
    left = Defective(Counter({"good": 1}))
    report = swept(Runs(), index, left)
    assert (report.deeds, report.deleted_items) == ({Deed.UNWAKEABLE: 1}, 1)
    assert [entry.run_id for entry in index.set_backs] == ["bad"]


# -- claims that look in passing


def passing(store: Runs, index: Index) -> tuple[PassingWaker, FakeClock]:
    clock = FakeClock(seconds=0.0)
    return PassingWaker(Waker(store, index, clock, default_retain_s=None), index, clock), clock


def test_a_claim_wakes_at_most_five_and_only_after_a_while_more() -> None:
    runs = [timed_out(a_run(f"run-{n}")) for n in range(12)]
    store, index = Runs(*runs), Index()
    index.parts = {"0": [entry_of(run) for run in runs[:6]], "1": [entry_of(run) for run in runs[6:]], "remains": []}
    index.page_size = 16
    waker, clock = passing(store, index)
    assert waker.wake_in_passing() == 5
    clock.seconds += PASSING_INTERVAL_S - 0.1
    assert waker.wake_in_passing() == 0
    clock.seconds += 0.2
    waker.wake_in_passing()
    assert 5 <= len(store.saved) <= 10


@pytest.mark.parametrize("note", [SweepNote(), SweepNote(NOW - timedelta(seconds=181))])
def test_a_claim_wakes_nothing_while_no_sweep_runs(note: SweepNote) -> None:
    run = timed_out(a_run())
    store, index = Runs(run), Index(entry_of(run), note=note)
    assert passing(store, index)[0].wake_in_passing() == 0
    assert (store.loads, index.queries) == ([], 0)


def test_a_claim_does_without_an_index_that_refuses() -> None:
    index = Index()
    index.is_down = True
    assert passing(Runs(), index)[0].wake_in_passing() == 0


def test_a_run_that_cannot_be_woken_is_left_to_the_sweep_by_claims() -> None:
    store, index = Runs(), Index(DueEntry("run-1", Subject.RUN, NOW))
    store.broken["run-1"] = UnreadableRun("run-1")
    assert passing(store, index)[0].wake_in_passing() == 0
    assert index.set_backs == []

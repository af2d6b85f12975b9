"""The commands against repositories that conflict as they are told."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from gyoza_domain.domain.errors import InvalidTransition, RunBusy, RunLocked
from gyoza_domain.domain.run import Change, Event, EventType, JsonText, OpAttempt, OpRun, RunSpec, State
from gyoza_domain.domain.transitions import EventDraft, append_event, patch
from gyoza_domain.runs import saving
from gyoza_domain.runs.commands import RunPatch, add_event, create_run, patch_run
from gyoza_domain.runs.ports import ChangedMeanwhile, IdempotencyKey, Loaded
from gyoza_domain.runs.saving import CONFLICT_DEADLINE_S
from gyoza_domain.runs.views import AttemptPage, EventPage, RunPage, RunQuery, RunView

NOW = datetime(2026, 3, 2, 20, 0, tzinfo=UTC)
RUN_ID = "6f1c2a54-9d1b-4c55-8a39-2f0f5c7be911"
SPEC = RunSpec("busybox:1", JsonText('{"a":1}'))
NEWEST = [Event(0, 0, 1, EventType.INFO, NOW, State.PENDING)]


def a_run(state: State = State.PENDING, version: int = 1) -> OpRun:
    return OpRun(RUN_ID, NOW, NOW, OpAttempt(1, state), version=version)


@dataclass
class FakeClock:
    """A clock that only moves while a request sleeps or saves."""

    seconds: float = 1_000.0
    pauses: list[float] = field(default_factory=list)

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.seconds += seconds


class FixedIds:
    def new_run_id(self) -> str:
        return RUN_ID

    def run_id_for(self, key: IdempotencyKey) -> str:
        raise NotImplementedError

    def shard_of(self, run_id: str) -> int:
        assert run_id == RUN_ID
        return 3


class ContendedRuns:
    """Runs of which others write one: each save but the last conflicts, as ``conflicts`` says.

    A conflict is the run as it then is, and whether the failed write returns it.
    """

    def __init__(self, run: OpRun, conflicts: Sequence[tuple[OpRun, bool]] = ()) -> None:
        self.run = run
        self.calls: list[str] = []
        self.saved: list[Change] = []
        self._conflicts = list(conflicts)

    def add(self, run: OpRun, spec: RunSpec, key: IdempotencyKey | None = None) -> None:
        assert key is None
        self.calls.append("add")
        self.run, self.spec = run, spec

    def load(self, run_id: str, *, with_spec: bool = False, with_result: bool = False) -> Loaded:
        assert run_id == RUN_ID
        self.calls.append("load" + "+spec" * with_spec + "+result" * with_result)
        return Loaded(self.run, SPEC if with_spec else None)

    def save(self, change: Change, key: IdempotencyKey | None = None) -> None:
        assert key is None
        self.calls.append("save")
        if self._conflicts:
            self.run, is_returned = self._conflicts.pop(0)
            raise ChangedMeanwhile(self.run if is_returned else None)
        assert change.before == self.run
        self.saved.append(change)

    def fingerprint_of(self, run_id: str, key: IdempotencyKey) -> str | None:
        raise NotImplementedError

    def newest_events(self, run: OpRun) -> Sequence[Event]:
        assert run.id == RUN_ID
        self.calls.append("newest_events")
        return NEWEST

    def view(self, run_id: str) -> RunView:
        raise NotImplementedError

    def page(self, query: RunQuery, *, with_events: bool) -> RunPage:
        raise NotImplementedError

    def events_of_attempt(self, run_id: str, attempt: int | None, after: int) -> EventPage:
        raise NotImplementedError

    def events_across_attempts(self, run_id: str, after_seq: int) -> EventPage:
        raise NotImplementedError

    def attempts(self, run_id: str, after: int, limit: int) -> AttemptPage:
        raise NotImplementedError


class AlwaysContendedRuns(ContendedRuns):
    """Another request is always faster, and a save takes its time."""

    def __init__(self, clock: FakeClock, save_s: float) -> None:
        super().__init__(a_run())
        self.clock = clock
        self.save_s = save_s
        self.decided_on: list[int] = []

    def save(self, change: Change, key: IdempotencyKey | None = None) -> None:
        assert key is None
        self.decided_on.append(change.before.version)
        self.clock.seconds += self.save_s
        self.run = replace(self.run, version=self.run.version + 1)
        raise ChangedMeanwhile(self.run)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def pausing(monkeypatch: pytest.MonkeyPatch, choose: Callable[[float], float]) -> None:
    """Let ``choose`` say how long a pause is, given its bound."""

    def uniform(low: float, high: float) -> float:
        assert low == 0
        return choose(high)

    monkeypatch.setattr(saving._system_random, "uniform", uniform)


INFO = EventDraft(EventType.INFO, "hello")
STARTED = EventDraft(EventType.STARTED, worker_id="worker-7")


def test_an_event_is_one_load_one_save_and_the_newest_events(clock: FakeClock) -> None:
    runs = ContendedRuns(a_run())
    change = append_event(a_run(), INFO, clock.now())
    assert add_event(runs, runs, clock, RUN_ID, INFO, whole=True).run == RunView(change.after, SPEC, NEWEST)
    assert runs.saved == [change]
    assert runs.calls == ["load+spec", "save", "newest_events"]


def test_the_minimal_answer_to_an_event_costs_one_load_and_one_save(clock: FakeClock) -> None:
    runs = ContendedRuns(a_run())
    assert add_event(runs, runs, clock, RUN_ID, INFO, whole=False).run == append_event(a_run(), INFO, clock.now()).after
    assert runs.calls == ["load", "save"]


def test_a_refused_event_saves_nothing(clock: FakeClock) -> None:
    runs = ContendedRuns(a_run(State.CANCELLED))
    with pytest.raises(RunLocked):
        add_event(runs, runs, clock, RUN_ID, INFO, whole=True)
    assert runs.calls == ["load+spec"]


def test_after_a_conflict_the_decision_is_made_anew_on_the_run_that_the_write_returned(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    pausing(monkeypatch, lambda _: 0.0)
    other = append_event(a_run(), STARTED, clock.now()).after
    runs = ContendedRuns(a_run(), [(other, True)])
    assert add_event(runs, runs, clock, RUN_ID, INFO, whole=False).run == append_event(other, INFO, clock.now()).after
    assert runs.calls == ["load", "save", "save"]


def test_a_write_that_returned_nothing_is_followed_by_a_reload(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    pausing(monkeypatch, lambda _: 0.0)
    other = append_event(a_run(), STARTED, clock.now()).after
    runs = ContendedRuns(a_run(), [(other, False)])
    assert add_event(runs, runs, clock, RUN_ID, INFO, whole=False).run == append_event(other, INFO, clock.now()).after
    assert runs.calls == ["load", "save", "load", "save"]


def test_after_a_long_pause_the_run_is_read_again_for_what_was_returned_is_old(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    pausing(monkeypatch, lambda longest: longest)
    other = append_event(a_run(), STARTED, clock.now()).after
    runs = ContendedRuns(a_run(), [(other, True)])
    add_event(runs, runs, clock, RUN_ID, INFO, whole=False)
    assert runs.calls == ["load", "save", "load", "save"]


@pytest.mark.parametrize("is_returned", [True, False])
def test_of_two_workers_that_start_a_run_the_slower_is_refused(clock: FakeClock, is_returned: bool) -> None:
    started = append_event(a_run(), STARTED, clock.now()).after
    runs = ContendedRuns(a_run(), [(started, is_returned)])
    with pytest.raises(InvalidTransition):
        add_event(runs, runs, clock, RUN_ID, replace(STARTED, worker_id="worker-8"), whole=True)
    assert runs.saved == []


@pytest.mark.parametrize("conflicts", [1, 2, 5])
def test_each_conflict_is_decided_on_anew(clock: FakeClock, conflicts: int) -> None:
    others = [replace(a_run(), attempt=OpAttempt(1, last_seq=seq), version=seq + 2) for seq in range(conflicts)]
    runs = ContendedRuns(a_run(), [(other, seq % 2 == 0) for seq, other in enumerate(others)])
    run = add_event(runs, runs, clock, RUN_ID, INFO, whole=False).run
    assert isinstance(run, OpRun)
    assert (run.last_seq, run.version) == (conflicts, conflicts + 2)
    assert len(clock.pauses) == conflicts


@pytest.mark.parametrize("save_s", [0.005, 0.05, 0.4])
def test_a_run_that_keeps_changing_is_given_up_after_eight_seconds(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch, save_s: float
) -> None:
    pausing(monkeypatch, lambda longest: longest / 2)
    runs = AlwaysContendedRuns(clock, save_s)
    began = clock.seconds
    with pytest.raises(RunBusy) as refusal:
        add_event(runs, runs, clock, RUN_ID, INFO, whole=False)
    assert refusal.value.run_id == RUN_ID
    assert CONFLICT_DEADLINE_S - 0.01 <= clock.seconds - began < CONFLICT_DEADLINE_S + save_s + 0.01
    assert runs.decided_on == list(range(1, len(runs.decided_on) + 1))
    assert len(runs.decided_on) >= 5


def test_a_save_that_takes_all_the_time_is_not_tried_again(clock: FakeClock) -> None:
    runs = AlwaysContendedRuns(clock, save_s=CONFLICT_DEADLINE_S)
    with pytest.raises(RunBusy):
        add_event(runs, runs, clock, RUN_ID, INFO, whole=False)
    assert runs.decided_on == [1]
    assert clock.pauses == []


def test_the_bounds_of_the_pauses_grow_up_to_a_limit(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    bounds: list[float] = []

    def choose(longest: float) -> float:
        bounds.append(longest)
        return longest / 2

    pausing(monkeypatch, choose)
    runs = AlwaysContendedRuns(clock, save_s=0.005)
    with pytest.raises(RunBusy):
        add_event(runs, runs, clock, RUN_ID, INFO, whole=False)
    first_shorter = next(place for place, (one, next_) in enumerate(pairwise(bounds)) if next_ < one)
    assert bounds[:3] == [0.2, 0.4, 0.8]
    assert first_shorter >= 3
    assert bounds[first_shorter:] == sorted(bounds[first_shorter:], reverse=True)
    assert max(bounds) < 3.2


def test_pauses_are_drawn_from_the_system_s_randomness_not_from_a_seed() -> None:
    def pauses() -> list[float]:
        clock = FakeClock()
        random.seed(1)
        runs = AlwaysContendedRuns(clock, save_s=0.1)
        with pytest.raises(RunBusy):
            add_event(runs, runs, clock, RUN_ID, INFO, whole=False)
        return clock.pauses[:5]

    assert pauses() != pauses()


@pytest.mark.parametrize("edit", [RunPatch(State.FAILED), RunPatch(None, JsonText('{"b":2}')), RunPatch(priority=0)])
def test_a_patch_is_one_load_with_the_result_and_one_save(clock: FakeClock, edit: RunPatch) -> None:
    runs = ContendedRuns(a_run())
    change = patch(a_run(), clock.now(), state=edit.state, outputs=edit.outputs, priority=edit.priority)
    assert patch_run(runs, runs, clock, RUN_ID, edit, whole=True).run == RunView(change.after, SPEC, NEWEST)
    assert runs.saved == [change]
    assert runs.calls == ["load+spec+result", "save", "newest_events"]


def test_a_patch_that_conflicts_is_applied_to_the_run_as_it_then_is(clock: FakeClock) -> None:
    other = append_event(a_run(), STARTED, clock.now()).after
    runs = ContendedRuns(a_run(), [(other, False)])
    run = patch_run(runs, runs, clock, RUN_ID, RunPatch(priority=9), whole=False).run
    assert run == replace(other, priority=9, updated_at=clock.now(), version=other.version + 1)
    assert runs.calls == ["load+result", "save", "load+result", "save"]


def test_a_patch_that_keeps_conflicting_is_given_up(clock: FakeClock) -> None:
    runs = AlwaysContendedRuns(clock, save_s=0.1)
    with pytest.raises(RunBusy):
        patch_run(runs, runs, clock, RUN_ID, RunPatch(priority=9), whole=False)


@pytest.mark.parametrize("whole", [True, False])
def test_an_empty_patch_saves_nothing(clock: FakeClock, whole: bool) -> None:
    runs = ContendedRuns(a_run())
    answer = patch_run(runs, runs, clock, RUN_ID, RunPatch(), whole=whole).run
    assert answer == (RunView(a_run(), SPEC, NEWEST) if whole else a_run())
    assert "save" not in runs.calls


def test_a_new_run_is_pending_in_its_first_attempt_without_events(clock: FakeClock) -> None:
    runs = ContendedRuns(a_run())
    view = create_run(runs, runs, clock, FixedIds(), SPEC, priority=7, max_attempts=3, created_by="key-1").run
    run = OpRun(
        id=RUN_ID,
        created_at=clock.now(),
        updated_at=clock.now(),
        attempt=OpAttempt(1),
        priority=7,
        max_attempts=3,
        created_by="key-1",
        shard=3,
    )
    assert view == RunView(run, SPEC, ())
    assert (runs.run, runs.spec, runs.calls) == (run, SPEC, ["add"])

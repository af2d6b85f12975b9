"""Tests the commands on stores that conflict, refuse because of load or lose answers on demand."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from gyoza_domain.domain.errors import (
    AttemptRequired,
    GyozaError,
    IdempotencyKeyReused,
    InvalidTransition,
    NotClaimant,
    NotLeased,
    OutcomeUnknown,
    RunBusy,
    RunLocked,
    RunNotFound,
    StaleAttempt,
    StorageUnavailable,
)
from gyoza_domain.domain.run import (
    Backoff,
    Change,
    Event,
    EventType,
    JsonText,
    Lease,
    OpAttempt,
    OpRun,
    Removal,
    RunSpec,
    State,
    Terms,
)
from gyoza_domain.domain.transitions import USER_CANCEL, EventDraft, append_event, ask_cancel, patch
from gyoza_domain.runs import commands, saving
from gyoza_domain.runs.commands import (
    Beat,
    Outcome,
    RunPatch,
    add_event,
    cancel_run,
    create_run,
    heartbeat,
    patch_run,
)
from gyoza_domain.runs.pausing import Pauses
from gyoza_domain.runs.ports import (
    ChangedMeanwhile,
    Extent,
    IdempotencyKey,
    KeyUse,
    KeyUsed,
    Loaded,
    NotWritten,
    Overloaded,
)
from gyoza_domain.runs.saving import CONFLICT_DEADLINE_S
from gyoza_domain.runs.views import RunView
from tests.support.clocks import FakeClock

NOW = datetime(2026, 3, 2, 20, 0, tzinfo=UTC)
RUN_ID = "6f1c2a54-9d1b-4c55-8a39-2f0f5c7be911"
KEYED_RUN_ID = "0a1c2a54-9d1b-4c55-8a39-2f0f5c7be911"
SPEC = RunSpec("busybox:1", JsonText('{"a":1}'))
TERMS = Terms(queue_ttl_s=60)
NEWEST = [Event(0, 0, 1, EventType.INFO, NOW, State.PENDING)]
KEY = IdempotencyKey("0a1b", "the body")


def a_run(state: State = State.PENDING, version: int = 1) -> OpRun:
    return OpRun(RUN_ID, NOW, NOW, OpAttempt(1, state), version=version)


class FixedIds:
    def new_run_id(self) -> str:
        return RUN_ID

    def run_id_for(self, key: IdempotencyKey) -> str:
        assert key == KEY
        return KEYED_RUN_ID

    def shard_of(self, run_id: str) -> int:
        return 3 if run_id == RUN_ID else 2


class OneRun:
    """A store of one run. Its first writes fail with the ``failures``, in order.

    ``others`` are the states in which another request leaves the run, one for each conflict. ``fingerprint`` is that of
    the request that used the key, as ``load_with_key`` shows it. ``at_that_instant`` is the run of ``load_with_key``,
    if it differs from the run of ``load``.
    """

    def __init__(
        self,
        run: OpRun,
        failures: Sequence[Exception] = (),
        others: Sequence[OpRun] = (),
        *,
        fingerprint: str | None = None,
        at_that_instant: OpRun | None = None,
    ) -> None:
        self.run = run
        self.renewed: list[Lease] = []
        self.calls: list[str] = []
        self.saved: list[Change] = []
        self.added: list[tuple[OpRun, RunSpec, IdempotencyKey | None]] = []
        self.keys: list[IdempotencyKey | None] = []
        self.pauses: list[Pauses] = []
        self._failures = list(failures)
        self._others = list(others)
        self._fingerprint = fingerprint
        self._at_that_instant = at_that_instant

    def add(self, run: OpRun, spec: RunSpec, key: IdempotencyKey | None = None) -> None:
        self.calls.append("add")
        self.fail_as_prepared()
        self.added.append((run, spec, key))

    def load(self, run_id: str, extent: Extent, pauses: Pauses | None = None, *, at_least: int = 0) -> Loaded:
        assert pauses is not None
        self.calls.append(f"load {extent.name}" + " known" * (at_least > 0))
        self.pauses.append(pauses)
        if run_id not in {RUN_ID, KEYED_RUN_ID}:
            raise RunNotFound(run_id)
        view = RunView(self.run, SPEC, NEWEST) if extent is Extent.WHOLE else None
        return Loaded(self.run, view, origin=self.run)

    def save(self, change: Change, loaded: Loaded, key: IdempotencyKey | None = None) -> None:
        self.calls.append("save")
        self.keys.append(key)
        assert loaded.origin == change.before, "the change rests on another reading"
        self.fail_as_prepared()
        assert change.before == self.run
        self.saved.append(change)
        self.run = change.after

    def renew(self, loaded: Loaded, lease: Lease) -> Lease:
        self.calls.append("renew")
        assert loaded.origin == self.run
        self.fail_as_prepared()
        self.renewed.append(lease)
        return lease

    def remove(self, removal: Removal) -> None:
        raise AssertionError(removal)

    def load_with_key(
        self, run_id: str, key: IdempotencyKey, pauses: Pauses, *, with_lease: bool = False
    ) -> tuple[Loaded, KeyUse | None]:
        assert (run_id, key) == (RUN_ID, KEY)
        self.calls.append("load with key" + " and lease" * with_lease)
        self.pauses.append(pauses)
        if self._at_that_instant is not None:
            self.run = self._at_that_instant
        use = None if self._fingerprint is None else KeyUse(self._fingerprint, self.run.version)
        return Loaded(self.run), use

    def fail_as_prepared(self) -> None:
        if self._failures:
            failure = self._failures.pop(0)
            if isinstance(failure, ChangedMeanwhile) and self._others:
                self.run = self._others.pop(0)
            raise failure


class NeverWritten(OneRun):
    """Every write takes its time and fails with the ``failures`` in turn. A conflict raises the run's version."""

    def __init__(self, clock: FakeClock, save_s: float, failures: Sequence[NotWritten] = ()) -> None:
        super().__init__(a_run())
        self.clock = clock
        self.save_s = save_s
        self.decided_on: list[int] = []
        self._by_turns = list(failures) or [ChangedMeanwhile(RUN_ID)]
        self._writes = 0

    def save(self, change: Change, loaded: Loaded, key: IdempotencyKey | None = None) -> None:
        assert loaded.origin == change.before
        self.keys.append(key)
        self.decided_on.append(change.before.version)
        self.calls.append("save")
        self._fail()

    def add(self, run: OpRun, spec: RunSpec, key: IdempotencyKey | None = None) -> None:
        self.added.append((run, spec, key))
        self._fail()

    def _fail(self) -> None:
        self.clock.seconds += self.save_s
        failure = self._by_turns[self._writes % len(self._by_turns)]
        self._writes += 1
        if isinstance(failure, ChangedMeanwhile):
            self.run = replace(self.run, version=self.run.version + 1)
        raise failure


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def pausing(monkeypatch: pytest.MonkeyPatch, choose: Callable[[float], float]) -> None:
    """Let ``choose`` determine each pause from its bound."""

    def uniform(low: float, high: float) -> float:
        assert low == 0
        return choose(high)

    monkeypatch.setattr(saving._system_random, "uniform", uniform)


INFO = EventDraft(EventType.INFO, "hello")
STARTED = EventDraft(EventType.STARTED, worker_id="worker-7")
COMPLETED = EventDraft(EventType.COMPLETED)


def post(
    store: OneRun,
    clock: FakeClock,
    draft: EventDraft = INFO,
    *,
    whole: bool = False,
    key: IdempotencyKey | None = None,
) -> Outcome:
    return add_event(store, clock, RUN_ID, draft, whole=whole, key=key)


def create(store: OneRun, clock: FakeClock, key: IdempotencyKey | None = None) -> Outcome:
    return create_run(store, clock, FixedIds(), SPEC, TERMS, priority=7, max_attempts=3, created_by="key-1", key=key)


# -- events


def test_an_event_answered_whole_is_one_load_and_one_save(clock: FakeClock) -> None:
    store = OneRun(a_run())
    change = append_event(a_run(), INFO, clock.now())
    outcome = post(store, clock, whole=True)
    assert outcome == Outcome(change.after, RunView(change.after, SPEC, [*NEWEST, *change.events]))
    assert store.saved == [change]
    assert store.calls == ["load WHOLE", "save"]


@pytest.mark.parametrize(
    ("event_type", "state", "extent"),
    [
        (EventType.ASSIGNED, State.PENDING, "SMALL"),
        (EventType.STARTED, State.PENDING, "SMALL"),
        (EventType.PROGRESS, State.RUNNING, "SMALL"),
        (EventType.INFO, State.RUNNING, "SMALL"),
        (EventType.ERROR, State.RUNNING, "SMALL"),
        (EventType.COMPLETED, State.RUNNING, "SMALL"),
        (EventType.CANCELLED, State.RUNNING, "SMALL"),
        (EventType.FAILED, State.RUNNING, "CLOSING"),
        (EventType.RETRIED, State.ASSIGNED, "CLOSING"),
    ],
)
def test_an_event_answered_in_short_reads_no_more_than_its_decision_needs(
    clock: FakeClock, event_type: EventType, state: State, extent: str
) -> None:
    store = OneRun(a_run(state))
    draft = EventDraft(event_type, 5 if event_type is EventType.PROGRESS else "", worker_id="worker-7")
    assert post(store, clock, draft) == Outcome(append_event(a_run(state), draft, clock.now()).after, None)
    assert store.calls == [f"load {extent}", "save"]


def test_a_refused_event_saves_nothing(clock: FakeClock) -> None:
    store = OneRun(a_run(State.CANCELLED))
    with pytest.raises(RunLocked):
        post(store, clock, whole=True)
    assert store.calls == ["load WHOLE"]


def test_an_event_for_no_run_is_not_saved(clock: FakeClock) -> None:
    store = OneRun(a_run())
    with pytest.raises(RunNotFound):
        add_event(store, clock, "0" * 36, INFO, whole=False, key=KEY)
    assert store.calls == ["load SMALL"]


@pytest.mark.parametrize("whole", [True, False])
def test_after_a_conflict_the_decision_is_made_anew_on_the_run_as_it_then_is(clock: FakeClock, whole: bool) -> None:
    other = append_event(a_run(), STARTED, clock.now()).after
    store = OneRun(a_run(), [ChangedMeanwhile(RUN_ID)], [other])
    assert post(store, clock, whole=whole).run == append_event(other, INFO, clock.now()).after
    load = "load WHOLE" if whole else "load SMALL"
    assert store.calls == [load, "save", load, "save"]


def test_a_write_that_was_refused_for_load_is_sent_again_without_reading_again(clock: FakeClock) -> None:
    store = OneRun(a_run(), [Overloaded(), Overloaded()])
    assert post(store, clock).run == append_event(a_run(), INFO, clock.now()).after
    assert store.calls == ["load SMALL", "save", "save", "save"]
    assert len(clock.pauses) == 2


def test_the_slower_of_two_workers_that_start_a_run_is_refused(clock: FakeClock) -> None:
    started = append_event(a_run(), STARTED, clock.now()).after
    store = OneRun(a_run(), [ChangedMeanwhile(RUN_ID)], [started])
    with pytest.raises(InvalidTransition):
        post(store, clock, replace(STARTED, worker_id="worker-8"), whole=True)
    assert store.saved == []


@pytest.mark.parametrize("conflicts", [1, 2, 5])
def test_each_conflict_is_decided_on_anew(clock: FakeClock, conflicts: int) -> None:
    others = [replace(a_run(), attempt=OpAttempt(1, last_seq=seq), version=seq + 2) for seq in range(conflicts)]
    store = OneRun(a_run(), [ChangedMeanwhile(RUN_ID)] * conflicts, others)
    run = post(store, clock).run
    assert (run.last_seq, run.version) == (conflicts, conflicts + 2)
    assert len(clock.pauses) == conflicts


# -- patience

WRITES: dict[str, Callable[[NeverWritten, FakeClock], Outcome]] = {
    "an event": post,
    "a keyed event": lambda store, clock: post(store, clock, key=KEY),
    "a patch": lambda store, clock: patch_run(store, clock, RUN_ID, RunPatch(priority=9), whole=False),
    "a creation": create,
    "a keyed creation": lambda store, clock: create(store, clock, KEY),
}


FAILURES: dict[str, tuple[list[NotWritten], tuple[type[GyozaError], ...]]] = {
    "conflicts": ([ChangedMeanwhile(RUN_ID)], (RunBusy,)),
    "load": ([Overloaded()], (StorageUnavailable,)),
    "both by turns": ([Overloaded(), ChangedMeanwhile(RUN_ID)], (RunBusy, StorageUnavailable)),
}
"""The failures in turn, and the refusals that the last of them may lead to."""


@pytest.mark.parametrize("save_s", [0.005, 0.05, 0.4])
@pytest.mark.parametrize("reason", FAILURES)
@pytest.mark.parametrize("write", WRITES)
def test_a_write_that_keeps_failing_is_given_up_after_eight_seconds_in_all(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch, write: str, reason: str, save_s: float
) -> None:
    pausing(monkeypatch, lambda longest: longest / 2)
    failures, refusals = FAILURES[reason]
    store = NeverWritten(clock, save_s, failures)
    began = clock.seconds
    with pytest.raises(GyozaError) as raised:
        WRITES[write](store, clock)
    assert type(raised.value) in refusals
    assert CONFLICT_DEADLINE_S - 0.01 <= clock.seconds - began < CONFLICT_DEADLINE_S + save_s + 0.01
    assert len(store.decided_on or store.added) >= 5


def test_a_conflict_names_the_run_that_kept_changing(clock: FakeClock) -> None:
    with pytest.raises(RunBusy) as refusal:
        post(NeverWritten(clock, 0.1), clock)
    assert refusal.value.run_id == RUN_ID


def test_each_try_is_decided_on_the_newest_run(clock: FakeClock) -> None:
    store = NeverWritten(clock, 0.1)
    with pytest.raises(RunBusy):
        post(store, clock)
    assert store.decided_on == list(range(1, len(store.decided_on) + 1))


def test_a_save_that_takes_all_the_time_is_not_tried_again(clock: FakeClock) -> None:
    store = NeverWritten(clock, save_s=CONFLICT_DEADLINE_S)
    with pytest.raises(RunBusy):
        post(store, clock)
    assert store.decided_on == [1]
    assert clock.pauses == []


def test_the_bounds_of_the_pauses_grow_up_to_a_limit(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    bounds: list[float] = []

    def choose(longest: float) -> float:
        bounds.append(longest)
        return longest / 2

    pausing(monkeypatch, choose)
    with pytest.raises(RunBusy):
        post(NeverWritten(clock, save_s=0.005), clock)
    first_shorter = next(place for place, (one, next_) in enumerate(pairwise(bounds)) if next_ < one)
    assert bounds[:3] == [0.2, 0.4, 0.8]
    assert first_shorter >= 3
    assert bounds[first_shorter:] == sorted(bounds[first_shorter:], reverse=True)
    assert max(bounds) < 3.2


def test_pauses_are_drawn_from_the_system_s_randomness_not_from_a_seed() -> None:
    def pauses() -> list[float]:
        clock = FakeClock()
        random.seed(1)
        with pytest.raises(RunBusy):
            post(NeverWritten(clock, save_s=0.1), clock)
        return clock.pauses[:5]

    assert pauses() != pauses()


@pytest.mark.parametrize("write", WRITES)
def test_a_write_whose_outcome_is_unknown_is_never_sent_again(clock: FakeClock, write: str) -> None:
    unknown = OutcomeUnknown(RUN_ID, is_keyed=False)
    store = NeverWritten(clock, 0.1)
    store._by_turns = [unknown]  # type: ignore[list-item]
    with pytest.raises(OutcomeUnknown) as raised:
        WRITES[write](store, clock)
    assert raised.value is unknown
    assert len(store.decided_on or store.added) == 1
    assert clock.pauses == []


# -- keys


def test_an_event_takes_its_key_along(clock: FakeClock) -> None:
    store = OneRun(a_run(), [Overloaded()])
    assert not post(store, clock, key=KEY).is_replay
    assert store.keys == [KEY, KEY]
    assert store.calls == ["load SMALL", "save", "save"]


@pytest.mark.parametrize(("whole", "extent"), [(True, "WHOLE"), (False, "SMALL")])
def test_a_repeat_is_answered_with_the_run_as_it_stands(clock: FakeClock, whole: bool, extent: str) -> None:
    store = OneRun(a_run(), [KeyUsed(KeyUse("the body", 1))])
    outcome = post(store, clock, whole=whole, key=KEY)
    assert outcome == Outcome(a_run(), RunView(a_run(), SPEC, NEWEST) if whole else None, is_replay=True)
    assert store.calls == [f"load {extent}", "save", f"load {extent} known"]


def test_a_key_that_came_with_another_body_is_refused(clock: FakeClock) -> None:
    store = OneRun(a_run(), [KeyUsed(KeyUse("another body", 1))])
    with pytest.raises(IdempotencyKeyReused):
        post(store, clock, key=KEY)
    assert store.saved == []


def test_a_repeat_that_the_run_refuses_is_answered_if_its_key_was_used(clock: FakeClock) -> None:
    """The first request completed the run, which therefore refuses a second COMPLETED."""
    store = OneRun(a_run(State.COMPLETED), fingerprint="the body")
    assert post(store, clock, COMPLETED, key=KEY) == Outcome(a_run(State.COMPLETED), None, is_replay=True)
    assert store.calls == ["load SMALL", "load with key", "load SMALL known"]


def test_a_refused_request_whose_key_came_with_another_body_learns_that(clock: FakeClock) -> None:
    store = OneRun(a_run(State.COMPLETED), fingerprint="another body")
    with pytest.raises(IdempotencyKeyReused):
        post(store, clock, COMPLETED, key=KEY)


def test_without_a_key_a_refusal_stands_as_it_is(clock: FakeClock) -> None:
    store = OneRun(a_run(State.COMPLETED), fingerprint="the body")
    with pytest.raises(RunLocked):
        post(store, clock, COMPLETED)
    assert store.calls == ["load SMALL"]


def test_a_keyed_refusal_is_that_of_the_run_which_was_read_with_the_key(clock: FakeClock) -> None:
    store = OneRun(a_run(State.PENDING), at_that_instant=a_run(State.CANCELLED, version=2))
    with pytest.raises(RunLocked) as refusal:
        post(store, clock, COMPLETED, key=KEY)
    assert refusal.value.state is State.CANCELLED
    assert store.calls == ["load SMALL", "load with key"]


def test_a_keyed_request_that_the_run_takes_by_then_is_decided_anew(clock: FakeClock) -> None:
    running = a_run(State.RUNNING, version=2)
    store = OneRun(a_run(State.PENDING), at_that_instant=running)
    outcome = post(store, clock, COMPLETED, key=KEY)
    assert outcome == Outcome(append_event(running, COMPLETED, clock.now()).after, None)
    assert store.calls == ["load SMALL", "load with key", "load SMALL", "save"]


def test_a_keyed_request_to_a_busy_run_is_a_replay_if_its_key_was_used(clock: FakeClock) -> None:
    store = NeverWritten(clock, CONFLICT_DEADLINE_S)
    store._fingerprint = "the body"
    outcome = post(store, clock, key=KEY)
    assert (outcome.is_replay, outcome.run) == (True, store.run)
    assert store.calls == ["load SMALL", "save", "load with key", "load SMALL known"]


def test_a_keyed_request_to_a_busy_run_is_refused_if_its_key_was_not_used(clock: FakeClock) -> None:
    store = NeverWritten(clock, CONFLICT_DEADLINE_S)
    with pytest.raises(RunBusy):
        post(store, clock, key=KEY)
    assert store.calls == ["load SMALL", "save", "load with key"]


def test_a_keyed_request_that_the_table_does_not_take_asks_for_no_key(clock: FakeClock) -> None:
    store = NeverWritten(clock, CONFLICT_DEADLINE_S, [Overloaded()])
    with pytest.raises(StorageUnavailable):
        post(store, clock, key=KEY)
    assert store.calls == ["load SMALL", "save"]


def test_conflicts_before_and_after_a_keyed_refusal_share_the_eight_seconds(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    pausing(monkeypatch, lambda longest: longest)
    store = TakesItOnlyWithItsKey(clock)
    began = clock.seconds
    with pytest.raises(RunBusy):
        post(store, clock, COMPLETED, key=KEY)
    assert clock.seconds - began < CONFLICT_DEADLINE_S + 0.02
    assert store.calls.count("load with key") > 2


class TakesItOnlyWithItsKey(NeverWritten):
    """A run that others complete and reopen. Each conflict leaves it completed; ``load_with_key`` shows it reopened."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock, 0.005)
        self.run = a_run(State.RUNNING)

    def _fail(self) -> None:
        self.clock.seconds += self.save_s
        self.run = a_run(State.COMPLETED, self.run.version + 1)
        raise ChangedMeanwhile(RUN_ID)

    def load_with_key(
        self, run_id: str, key: IdempotencyKey, pauses: Pauses, *, with_lease: bool = False
    ) -> tuple[Loaded, KeyUse | None]:
        self.run = a_run(State.RUNNING, self.run.version + 1)
        return super().load_with_key(run_id, key, pauses, with_lease=with_lease)


def test_every_read_of_a_request_gets_the_pauses_of_that_request(clock: FakeClock) -> None:
    store = OneRun(a_run(State.RUNNING), [ChangedMeanwhile(RUN_ID), ChangedMeanwhile(RUN_ID)])
    post(store, clock, key=KEY)
    store.run = a_run(State.COMPLETED)
    with pytest.raises(RunLocked):
        post(store, clock, key=KEY)
    patch_run(store, clock, RUN_ID, RunPatch(priority=1), whole=False)
    assert store.calls == [
        *["load SMALL", "save"] * 3,
        *("load SMALL", "load with key"),
        *("load SMALL", "save"),
    ]
    first, second, third = store.pauses[0], store.pauses[3], store.pauses[5]
    assert len({id(first), id(second), id(third)}) == 3
    assert store.pauses == [first] * 3 + [second] * 2 + [third]


# -- patches

PATCHES = [
    (RunPatch(State.FAILED), "SMALL"),
    (RunPatch(State.PENDING), "REOPENING"),
    (RunPatch(State.RUNNING, priority=0), "REOPENING"),
    (RunPatch(None, JsonText('{"b":2}')), "RESULT"),
    (RunPatch(State.FAILED, JsonText('{"b":2}'), 0), "RESULT"),
    (RunPatch(priority=0), "SMALL"),
]


@pytest.mark.parametrize(("edit", "extent"), PATCHES)
@pytest.mark.parametrize("whole", [True, False])
def test_a_patch_is_one_load_and_one_save(clock: FakeClock, edit: RunPatch, extent: str, whole: bool) -> None:
    store = OneRun(a_run())
    change = patch(a_run(), clock.now(), state=edit.state, outputs=edit.outputs, priority=edit.priority)
    view = RunView(change.after, SPEC, NEWEST) if whole else None
    assert patch_run(store, clock, RUN_ID, edit, whole=whole) == Outcome(change.after, view)
    assert store.saved == [change]
    assert store.calls == [f"load {'WHOLE' if whole else extent}", "save"]


def test_a_patch_that_conflicts_is_applied_to_the_run_as_it_then_is(clock: FakeClock) -> None:
    other = append_event(a_run(), STARTED, clock.now()).after
    store = OneRun(a_run(), [ChangedMeanwhile(RUN_ID)], [other])
    run = patch_run(store, clock, RUN_ID, RunPatch(priority=9), whole=False).run
    assert run == replace(other, priority=9, updated_at=clock.now(), version=other.version + 1)
    assert store.calls == ["load SMALL", "save", "load SMALL", "save"]


@pytest.mark.parametrize(("whole", "extent"), [(True, "WHOLE"), (False, "SMALL")])
def test_an_empty_patch_saves_nothing(clock: FakeClock, whole: bool, extent: str) -> None:
    store = OneRun(a_run())
    outcome = patch_run(store, clock, RUN_ID, RunPatch(), whole=whole)
    assert outcome == Outcome(a_run(), RunView(a_run(), SPEC, NEWEST) if whole else None)
    assert store.calls == [f"load {extent}"]


@pytest.mark.parametrize("default_retain_s", [None, 60])
def test_the_deployment_s_retention_counts_where_a_patch_or_an_event_ends_a_run(
    clock: FakeClock, default_retain_s: int | None
) -> None:
    stores = [OneRun(a_run(State.RUNNING)) for _ in range(3)]
    patch_run(stores[0], clock, RUN_ID, RunPatch(State.FAILED), whole=False, default_retain_s=default_retain_s)
    add_event(stores[1], clock, RUN_ID, COMPLETED, whole=False, default_retain_s=default_retain_s)
    cancel_run(stores[2], clock, RUN_ID, grace_s=None, by=None, whole=False, default_retain_s=default_retain_s)
    expected = None if default_retain_s is None else clock.now() + timedelta(seconds=default_retain_s)
    assert [store.run.expires_at for store in stores] == [expected] * 3


def test_an_automatic_retry_waits_for_its_backoff_and_a_random_part_of_it(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands._system_random, "random", lambda: 0.5)
    run = replace(a_run(State.RUNNING), max_attempts=2, terms=Terms(backoff=Backoff(100)))
    failed = post(OneRun(run), clock, EventDraft(EventType.FAILED)).run
    assert failed.attempt.not_before == clock.now() + timedelta(seconds=105)


# -- heartbeats

LEASE = Lease(60, "worker-7", NOW + timedelta(seconds=1_030))


def a_leased_run(**fields: Any) -> OpRun:
    attempt = OpAttempt(1, State.RUNNING, lease=LEASE)
    return replace(a_run(), attempt=replace(attempt, **fields))


def beat(store: OneRun, clock: FakeClock, attempt: int = 1, worker_id: str = "worker-7") -> Beat:
    return heartbeat(store, clock, RUN_ID, attempt, worker_id)


def test_a_heartbeat_is_one_load_and_one_renewal(clock: FakeClock) -> None:
    store = OneRun(a_leased_run())
    renewed = replace(LEASE, until=clock.now() + timedelta(seconds=60))
    assert beat(store, clock) == Beat(a_leased_run(), renewed)
    assert (store.calls, store.renewed) == (["load SMALL", "renew"], [renewed])


@pytest.mark.parametrize(
    ("run", "attempt", "worker_id", "refusal"),
    [
        (a_leased_run(state=State.FAILED, lease=None), 2, "worker-8", StaleAttempt),
        (a_leased_run(state=State.FAILED, lease=None), 1, "worker-8", RunLocked),
        (a_leased_run(lease=None), 1, "worker-8", NotLeased),
        (a_run(), 1, "worker-7", NotLeased),
        (a_leased_run(), 1, "worker-8", NotClaimant),
    ],
)
def test_a_refused_heartbeat_renews_nothing(
    clock: FakeClock, run: OpRun, attempt: int, worker_id: str, refusal: type[GyozaError]
) -> None:
    store = OneRun(run)
    with pytest.raises(refusal):
        beat(store, clock, attempt, worker_id)
    assert store.calls == ["load SMALL"]


def test_a_heartbeat_whose_lease_ended_meanwhile_is_decided_on_anew(clock: FakeClock) -> None:
    store = OneRun(a_leased_run(), [ChangedMeanwhile(RUN_ID)], [a_leased_run(number=2)])
    with pytest.raises(StaleAttempt):
        beat(store, clock)
    assert store.calls == ["load SMALL", "renew", "load SMALL"]


def test_a_heartbeat_that_was_refused_for_load_is_sent_again_with_a_later_end(clock: FakeClock) -> None:
    store = OneRun(a_leased_run(), [Overloaded(), Overloaded()])
    assert beat(store, clock).lease.until == clock.now() + timedelta(seconds=60)
    assert store.calls == ["load SMALL", "renew", "renew", "renew"]


# -- cancels


def ask(store: OneRun, clock: FakeClock, grace_s: int | None = 30, key: IdempotencyKey | None = None) -> Outcome:
    return cancel_run(store, clock, RUN_ID, grace_s=grace_s, by="key-1", whole=False, key=key)


def test_a_cancel_that_asks_is_one_load_and_one_save(clock: FakeClock) -> None:
    store = OneRun(a_leased_run())
    change = ask_cancel(a_leased_run(), 30, "key-1", clock.now())
    assert ask(store, clock) == Outcome(change.after, None)
    assert (store.saved, store.calls) == ([change], ["load SMALL", "save"])


def test_an_immediate_cancel_is_the_event_of_that_route(clock: FakeClock) -> None:
    store = OneRun(a_leased_run())
    assert ask(store, clock, grace_s=None).run == append_event(a_leased_run(), USER_CANCEL, clock.now()).after


def test_asking_again_for_longer_writes_nothing_and_answers_the_run(clock: FakeClock) -> None:
    store = OneRun(ask_cancel(a_leased_run(), 30, "key-1", clock.now()).after)
    asked = store.run
    outcome = ask(store, clock, grace_s=31)
    assert replace(outcome.run, version=asked.version) == asked
    assert store.calls == ["load SMALL"]


def test_asking_again_with_a_key_writes_the_key(clock: FakeClock) -> None:
    store = OneRun(ask_cancel(a_leased_run(), 30, "key-1", clock.now()).after)
    ask(store, clock, grace_s=31, key=KEY)
    assert (store.calls, store.keys) == (["load SMALL", "save"], [KEY])


def test_a_repeat_of_a_cancel_on_a_run_that_has_ended_is_a_replay(clock: FakeClock) -> None:
    store = OneRun(a_run(State.CANCELLED), fingerprint=KEY.fingerprint)
    assert ask(store, clock, key=KEY).is_replay
    assert store.calls == ["load SMALL", "load with key", "load SMALL known"]


def test_a_repeat_that_the_lease_refuses_looks_for_its_key_and_the_lease_at_one_instant(clock: FakeClock) -> None:
    store = OneRun(a_leased_run())
    with pytest.raises(AttemptRequired):
        post(store, clock, COMPLETED, key=KEY)
    assert store.calls == ["load SMALL", "load with key and lease"]


def test_a_repeat_of_a_start_is_a_replay_though_another_worker_has_the_lease(clock: FakeClock) -> None:
    store = OneRun(a_leased_run(state=State.ASSIGNED), fingerprint=KEY.fingerprint)
    assert post(store, clock, replace(STARTED, worker_id="worker-8", attempt=1), key=KEY).is_replay


# -- creations


@pytest.mark.parametrize(("key", "run_id", "shard"), [(None, RUN_ID, 3), (KEY, KEYED_RUN_ID, 2)])
def test_a_new_run_is_pending_in_its_first_attempt_without_events(
    clock: FakeClock, key: IdempotencyKey | None, run_id: str, shard: int
) -> None:
    store = OneRun(a_run())
    run = OpRun(
        id=run_id,
        created_at=clock.now(),
        updated_at=clock.now(),
        attempt=OpAttempt(1, deadline=clock.now() + timedelta(seconds=60), is_indexed=True),
        priority=7,
        max_attempts=3,
        terms=TERMS,
        shard=shard,
    )
    spec = replace(SPEC, created_by="key-1")
    assert create(store, clock, key) == Outcome(run, RunView(run, spec))
    assert store.added == [(run, spec, key)]
    assert store.calls == ["add"]


@pytest.mark.parametrize("failure", [ChangedMeanwhile(RUN_ID), Overloaded()], ids=["conflict", "load"])
@pytest.mark.parametrize("key", [None, KEY])
def test_a_creation_that_was_not_written_pauses_and_tries_the_same_run_again(
    clock: FakeClock, key: IdempotencyKey | None, failure: NotWritten
) -> None:
    store = OneRun(a_run(), [failure, failure])
    outcome = create(store, clock, key)
    assert store.calls == ["add"] * 3
    assert store.added == [(outcome.run, replace(SPEC, created_by="key-1"), key)]
    assert len(clock.pauses) == 2


def test_a_repeated_creation_is_answered_with_the_run_as_it_stands(clock: FakeClock) -> None:
    store = OneRun(a_run(State.RUNNING), [KeyUsed(KeyUse("the body", 1))])
    run = a_run(State.RUNNING)
    assert create(store, clock, KEY) == Outcome(run, RunView(run, SPEC, NEWEST), is_replay=True)
    assert store.calls == ["add", "load WHOLE known"]


def test_a_creation_whose_key_came_with_another_body_is_refused(clock: FakeClock) -> None:
    store = OneRun(a_run(), [KeyUsed(KeyUse("another body", 1))])
    with pytest.raises(IdempotencyKeyReused):
        create(store, clock, KEY)
    assert store.calls == ["add"]

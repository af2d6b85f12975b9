"""Leases: who holds an attempt, until when, and what happens if a lease runs out."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gyoza_domain.domain.errors import (
    AttemptRequired,
    GyozaError,
    InvalidTransition,
    NotClaimant,
    NotLeased,
    NotYet,
    RunLocked,
    StaleAttempt,
)
from gyoza_domain.domain.run import Change, EventType, JsonText, Lease, OpRun, Reason, State, Terms
from gyoza_domain.domain.timers import wake
from gyoza_domain.domain.transitions import (
    MANUAL_RETRY,
    MAX_RETURNS,
    USER_CANCEL,
    EventDraft,
    NotClaimable,
    append_event,
    claim,
    heartbeat,
    new_attempt,
    patch,
)

NOW = datetime(2026, 3, 2, 20, 0, tzinfo=UTC)


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def a_run(*, max_attempts: int = 1, terms: Terms | None = None) -> OpRun:
    terms = terms or Terms()
    return OpRun("6f1c2a54-9d1b-4c55-8a39-2f0f5c7be911", NOW, NOW, new_attempt(terms, NOW), 5, max_attempts, terms)


def claimed(run: OpRun | None = None, *, start: bool = False, now: datetime = NOW) -> OpRun:
    return claim(run or a_run(), "worker-7", 90, now, start=start).after


def a_draft(event_type: EventType, *, attempt: int | None = None, worker_id: str = "worker-7") -> EventDraft:
    msg = 50 if event_type is EventType.PROGRESS else ""
    return EventDraft(event_type, msg, worker_id=worker_id, force=True, attempt=attempt)


def woken(run: OpRun, now: datetime) -> Change:
    change = wake(run, now)
    assert isinstance(change, Change)
    return change


# -- the begin


@pytest.mark.parametrize("event_type", [EventType.ASSIGNED, EventType.STARTED])
def test_a_posted_event_with_lease_s_begins_a_lease_for_its_worker(event_type: EventType) -> None:
    draft = EventDraft(event_type, worker_id="worker-7", lease_s=60)
    assert append_event(a_run(), draft, NOW).after.attempt.lease == Lease(60, "worker-7", later(60))


@pytest.mark.parametrize(
    ("start", "event_type", "state"),
    [(False, EventType.ASSIGNED, State.ASSIGNED), (True, EventType.STARTED, State.RUNNING)],
)
def test_a_claim_appends_an_event_with_its_lease_in_the_payload(
    start: bool, event_type: EventType, state: State
) -> None:
    change = claim(a_run(), "worker-7", 90, NOW, start=start)
    (event,) = change.events
    assert (event.type, event.payload) == (event_type, '{"worker_id":"worker-7","lease_s":90}')
    assert (change.after.state, change.after.attempt.lease) == (state, Lease(90, "worker-7", later(90)))


@pytest.mark.parametrize("state", [state for state in State if state is not State.PENDING])
def test_a_claim_takes_no_run_that_has_left_pending(state: State) -> None:
    with pytest.raises(NotClaimable):
        claim(patch(a_run(), NOW, state=state).after, "worker-7", 90, NOW, start=False)


def test_a_claim_takes_no_run_that_a_patch_made_pending() -> None:
    run = patch(claimed(), NOW, state=State.PENDING).after
    with pytest.raises(NotClaimable):
        claim(run, "worker-7", 90, later(1), start=False)
    retried = append_event(append_event(run, USER_CANCEL, later(2)).after, MANUAL_RETRY, later(3)).after
    assert claimed(retried, now=later(4)).state is State.ASSIGNED


# -- renewals


@pytest.mark.parametrize(("at_s", "until_s"), [(0, 90), (1, 91), (89, 179), (300, 390), (-30, 90)])
def test_a_heartbeat_renews_from_its_instant_and_never_moves_the_end_back(at_s: float, until_s: float) -> None:
    assert heartbeat(claimed(), 1, "worker-7", later(at_s)) == Lease(90, "worker-7", later(until_s))


@pytest.mark.parametrize(
    ("event_type", "attempt", "until_s"),
    [
        (EventType.INFO, 1, 100),
        (EventType.INFO, None, 90),
        (EventType.ERROR, 1, 100),
        (EventType.ERROR, None, 90),
        (EventType.PROGRESS, 1, 100),
    ],
)
def test_an_event_renews_the_lease_only_if_it_carries_the_attempt(
    event_type: EventType, attempt: int | None, until_s: float
) -> None:
    run = claimed(start=True)
    after = append_event(run, a_draft(event_type, attempt=attempt), later(10)).after
    assert after.attempt.lease == Lease(90, "worker-7", later(until_s))


@pytest.mark.parametrize(
    ("lease_s", "kept_s", "until_s", "next_until_s"),
    [(None, 90, 91, 150), (15, 15, 90, 90), (60, 60, 90, 120), (300, 300, 301, 360)],
)
def test_started_keeps_or_changes_the_length_of_the_lease_and_never_shortens_its_end(
    lease_s: int | None, kept_s: int, until_s: float, next_until_s: float
) -> None:
    draft = replace(a_draft(EventType.STARTED, attempt=1), lease_s=lease_s)
    run = append_event(claimed(), draft, later(1)).after
    assert run.attempt.lease == Lease(kept_s, "worker-7", later(until_s))
    assert heartbeat(run, 1, "worker-7", later(60)).until == later(next_until_s)


@pytest.mark.parametrize(
    "draft",
    [
        a_draft(EventType.COMPLETED, attempt=1),
        a_draft(EventType.FAILED, attempt=1),
        a_draft(EventType.RETRIED, attempt=1),
        a_draft(EventType.CANCELLED),
        USER_CANCEL,
        MANUAL_RETRY,
    ],
    ids=lambda draft: f"{draft.type}-{draft.origin.name}",
)
def test_a_lease_ends_with_its_attempt(draft: EventDraft) -> None:
    change = append_event(claimed(start=True), draft, later(1))
    assert change.after.attempt.lease is None
    assert change.closed is None or change.closed.lease is None


# -- refusals

FENCED = [EventType.STARTED, EventType.RETRIED, EventType.PROGRESS, EventType.COMPLETED, EventType.FAILED]


@pytest.mark.parametrize("event_type", FENCED)
@pytest.mark.parametrize("start", [False, True])
def test_a_leased_attempt_takes_these_events_only_with_the_attempt(event_type: EventType, start: bool) -> None:
    with pytest.raises(AttemptRequired):
        append_event(claimed(start=start), a_draft(event_type), later(1))


@pytest.mark.parametrize(
    "draft", [*map(a_draft, sorted(set(EventType) - set(FENCED) - {EventType.ASSIGNED})), MANUAL_RETRY]
)
def test_a_leased_attempt_takes_the_other_events_and_the_routes_without_it(draft: EventDraft) -> None:
    assert append_event(claimed(start=True), draft, later(1)).events


@pytest.mark.parametrize(
    ("run", "draft", "error"),
    [
        (claimed(start=True), a_draft(EventType.STARTED, attempt=2, worker_id="worker-8"), StaleAttempt),
        (claimed(start=True), a_draft(EventType.STARTED, worker_id="worker-8"), AttemptRequired),
        (claimed(start=True), a_draft(EventType.STARTED, attempt=1, worker_id="worker-8"), InvalidTransition),
        (claimed(), a_draft(EventType.STARTED, attempt=1, worker_id="worker-8"), NotClaimant),
        (a_run(terms=Terms(start_at=later(60))), a_draft(EventType.STARTED), NotYet),
        (a_run(terms=Terms(start_at=later(60))), a_draft(EventType.ASSIGNED), NotYet),
        (a_run(terms=Terms(start_at=later(60))), a_draft(EventType.ASSIGNED, attempt=2), StaleAttempt),
        (a_run(terms=Terms(start_at=later(60))), a_draft(EventType.PROGRESS), InvalidTransition),
    ],
)
def test_the_first_of_several_refusals_is_told(run: OpRun, draft: EventDraft, error: type[GyozaError]) -> None:
    with pytest.raises(error):
        append_event(run, draft, later(1))


LEASED_BEHIND_ITS_START = replace(
    claimed(), attempt=replace(claimed().attempt, not_before=later(60)), terms=Terms(start_at=later(60))
)


@pytest.mark.parametrize(("worker_id", "error"), [("worker-8", NotClaimant), ("worker-7", NotYet)])
def test_another_worker_is_refused_before_an_early_start_is(worker_id: str, error: type[GyozaError]) -> None:
    with pytest.raises(error):
        append_event(LEASED_BEHIND_ITS_START, a_draft(EventType.STARTED, attempt=1, worker_id=worker_id), later(1))


ENDED = append_event(claimed(), USER_CANCEL, NOW).after


@pytest.mark.parametrize(
    ("run", "attempt", "worker_id", "error"),
    [
        (ENDED, 2, "worker-8", StaleAttempt),
        (ENDED, 1, "worker-8", RunLocked),
        (a_run(), 1, "worker-8", NotLeased),
        (append_event(a_run(), a_draft(EventType.STARTED), NOW).after, 1, "worker-7", NotLeased),
        (claimed(), 1, "worker-8", NotClaimant),
    ],
)
def test_the_first_refusal_of_a_heartbeat_is_told(
    run: OpRun, attempt: int, worker_id: str, error: type[GyozaError]
) -> None:
    with pytest.raises(error):
        heartbeat(run, attempt, worker_id, later(1))


# -- the end by time


def test_a_lease_runs_out_at_its_end_and_not_before() -> None:
    run = claimed(start=True)
    assert wake(run, later(90) - timedelta(microseconds=1)) is None
    assert woken(run, later(90)).overrules_lease


def test_a_late_event_of_the_worker_that_comes_before_the_timer_counts() -> None:
    run = append_event(claimed(start=True), a_draft(EventType.PROGRESS, attempt=1), later(200)).after
    assert run.attempt.lease == Lease(90, "worker-7", later(290))


LOST = JsonText('{"reason":"lost","by":"server"}')


def test_an_assigned_run_goes_back_and_spends_no_budget() -> None:
    change = woken(claimed(), later(90))
    assert [(event.type, event.payload, event.state) for event in change.events] == [
        (EventType.RETRIED, LOST, State.PENDING)
    ]
    assert change.closed is not None
    assert (change.closed.state, change.closed.reason) == (State.CANCELLED, Reason.LOST)
    assert (change.after.attempt.number, change.after.attempt.not_before) == (2, None)
    assert (change.after.given_back, change.after.losses) == (1, 0)


def returned(times: int) -> OpRun:
    run = a_run(max_attempts=5)
    for _ in range(times):
        run = woken(claimed(run, now=run.updated_at), run.updated_at + timedelta(seconds=90)).after
    return run


def test_the_tenth_return_in_a_row_fails_the_run_for_good() -> None:
    ninth = returned(MAX_RETURNS - 1)
    assert (ninth.state, ninth.attempt.number) == (State.PENDING, MAX_RETURNS)
    tenth = woken(claimed(ninth, now=ninth.updated_at), ninth.updated_at + timedelta(seconds=90))
    assert [event.type for event in tenth.events] == [EventType.FAILED]
    assert (tenth.after.state, tenth.after.attempt.reason) == (State.FAILED, Reason.LOST)
    assert tenth.after.has_retry_budget


@pytest.mark.parametrize("event_type", [EventType.RETRIED, EventType.STARTED])
def test_a_worker_that_gives_back_or_starts_ends_the_row(event_type: EventType) -> None:
    ninth = returned(MAX_RETURNS - 1)
    run = claimed(ninth, now=ninth.updated_at)
    run = append_event(run, a_draft(event_type, attempt=run.attempt.number), run.updated_at).after
    if event_type is EventType.STARTED:
        run = append_event(run, MANUAL_RETRY, run.updated_at).after
    again = woken(claimed(run, now=run.updated_at), run.updated_at + timedelta(seconds=90))
    assert again.after.state is State.PENDING


@pytest.mark.parametrize(
    ("max_attempts", "max_lost", "losses_survived"), [(1, None, 0), (1, 1, 1), (1, 3, 3), (2, 0, 1), (3, 2, 4)]
)
@pytest.mark.parametrize("reason", [Reason.LOST, Reason.INTERRUPTED])
def test_a_running_run_that_is_lost_is_retried_by_the_budget_and_the_first_losses_are_free(
    max_attempts: int, max_lost: int | None, losses_survived: int, reason: Reason
) -> None:
    run = a_run(max_attempts=max_attempts, terms=Terms(max_lost=max_lost))
    survived = 0
    while run.state is State.PENDING:
        run = claimed(run, start=True, now=run.updated_at)
        if reason is Reason.LOST:
            change = woken(run, run.updated_at + timedelta(seconds=90))
        else:
            draft = replace(a_draft(EventType.FAILED, attempt=run.attempt.number), reason=reason)
            change = append_event(run, draft, run.updated_at)
        assert change.events[0].type is EventType.FAILED
        assert (change.closed or change.after.attempt).reason is reason
        run = change.after
        survived += run.state is State.PENDING
    assert (run.state, survived) == (State.FAILED, losses_survived)


def test_a_retry_that_time_causes_says_the_reason_too() -> None:
    change = woken(claimed(a_run(max_attempts=2), start=True), later(90))
    assert [(event.type, event.payload) for event in change.events] == [
        (EventType.FAILED, LOST),
        (EventType.RETRIED, LOST),
    ]


def test_a_retry_after_a_posted_failure_says_no_reason() -> None:
    run = claimed(a_run(max_attempts=2), start=True)
    draft = replace(a_draft(EventType.FAILED, attempt=1), payload=JsonText('{"reason":"interrupted"}'))
    _, retry = append_event(run, replace(draft, reason=Reason.INTERRUPTED), later(1)).events
    assert retry.payload == "{}"


def test_a_patch_of_the_state_ends_the_lease_and_a_patch_of_the_priority_does_not() -> None:
    run = claimed(start=True)
    assert patch(run, later(1), state=State.ASSIGNED).after.attempt.lease is None
    assert patch(run, later(1), priority=9).after.attempt.lease == run.attempt.lease

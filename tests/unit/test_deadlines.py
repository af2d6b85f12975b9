"""The instants at which a run may start, must have started, and must have ended."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gyoza_domain.domain.errors import NotYet
from gyoza_domain.domain.run import Backoff, Change, EventType, JsonText, OpRun, Reason, State, Terms
from gyoza_domain.domain.timers import due_at, wake
from gyoza_domain.domain.transitions import (
    INDEXED_AHEAD,
    MANUAL_RETRY,
    EventDraft,
    NotClaimable,
    append_event,
    ask_cancel,
    claim,
    new_attempt,
    patch,
)

NOW = datetime(2026, 3, 2, 20, 0, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
FAILED = EventDraft(EventType.FAILED)
TAKING = [EventType.ASSIGNED, EventType.STARTED]


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def a_run(terms: Terms, *, max_attempts: int = 1) -> OpRun:
    return OpRun("6f1c2a54-9d1b-4c55-8a39-2f0f5c7be911", NOW, NOW, new_attempt(terms, NOW), 5, max_attempts, terms)


def taking(event_type: EventType) -> EventDraft:
    return EventDraft(event_type, worker_id="worker-7")


def started(run: OpRun, now: datetime = NOW) -> OpRun:
    return append_event(run, taking(EventType.STARTED), now).after


def woken(run: OpRun, now: datetime) -> Change:
    change = wake(run, now)
    assert isinstance(change, Change)
    return change


# -- start_at


@pytest.mark.parametrize("event_type", TAKING)
def test_nobody_takes_a_run_before_its_start_and_anybody_from_then_on(event_type: EventType) -> None:
    run = a_run(Terms(start_at=later(60)))
    with pytest.raises(NotYet):
        append_event(run, taking(event_type), later(60) - MICROSECOND)
    with pytest.raises(NotClaimable):
        claim(run, "worker-7", 90, later(60) - MICROSECOND, start=False)
    assert append_event(run, taking(event_type), later(60)).after.attempt.not_before is None
    assert claim(run, "worker-7", 90, later(60), start=False).events


@pytest.mark.parametrize("start_s", [-60, 0])
def test_a_start_that_is_past_holds_nothing_back(start_s: float) -> None:
    run = a_run(Terms(start_at=later(start_s)))
    assert (run.attempt.not_before, run.attempt.is_indexed, due_at(run)) == (None, True, None)


def test_a_retry_waits_for_a_start_that_is_still_ahead() -> None:
    run = append_event(a_run(Terms(start_at=later(60))), FAILED, later(1)).after
    run = append_event(run, MANUAL_RETRY, later(2)).after
    assert run.attempt.not_before == later(60)


@pytest.mark.parametrize("state", [State.PENDING, State.ASSIGNED])
def test_a_patch_of_the_state_does_not_end_the_wait_for_the_start(state: State) -> None:
    run = patch(a_run(Terms(start_at=later(60))), later(1), state=State.RUNNING).after
    run = patch(run, later(1), state=state).after
    with pytest.raises(NotYet):
        append_event(run, taking(EventType.STARTED), later(59))
    assert started(run, later(60)).state is State.RUNNING


@pytest.mark.parametrize(("start_s", "is_indexed"), [(120, True), (120.000001, False), (3_600, False)])
def test_a_run_enters_the_index_of_claims_two_minutes_ahead(start_s: float, is_indexed: bool) -> None:
    run = a_run(Terms(start_at=later(start_s)))
    assert run.attempt.is_indexed is is_indexed
    if not is_indexed:
        instant = later(start_s) - INDEXED_AHEAD
        assert due_at(run) == instant
        assert wake(run, instant - MICROSECOND) is None
        change = woken(run, instant)
        assert change == Change(
            run, replace(run, attempt=replace(run.attempt, is_indexed=True), version=run.version + 1)
        )
        assert due_at(change.after) is None


# -- backoff


@pytest.mark.parametrize(
    ("backoff", "waits_s"),
    [
        (Backoff(), [0, 0, 0]),
        (Backoff(10), [10, 20, 40]),
        (Backoff(0.5, 1), [0.5, 0.5, 0.5]),
        (Backoff(10, 3, 25), [10, 25, 25]),
        (Backoff(10, 3, 0), [0, 0, 0]),
        (Backoff(3_600), [3_600, 3_600, 3_600]),
    ],
)
@pytest.mark.parametrize("jitter", [0.0, 0.5, 1.0])
def test_each_automatic_retry_waits_longer_plus_up_to_a_tenth_at_random(
    backoff: Backoff, waits_s: list[float], jitter: float
) -> None:
    run = a_run(Terms(backoff=backoff), max_attempts=10)
    for wait_s in waits_s:
        run = append_event(run, FAILED, run.updated_at, jitter=jitter).after
        wait = timedelta(seconds=wait_s * (1 + jitter / 10))
        assert run.attempt.not_before == (run.updated_at + wait if wait else None)


def test_a_hundredth_failure_does_not_overflow() -> None:
    assert Backoff(3_600, 10, 86_400).wait_s(10_000) == 86_400


@pytest.mark.parametrize("wait_s", [0, 10, 300])
def test_a_manual_retry_and_a_run_that_was_given_back_do_not_wait(wait_s: float) -> None:
    run = a_run(Terms(backoff=Backoff(wait_s)))
    assigned = append_event(run, taking(EventType.ASSIGNED), NOW).after
    given_back = append_event(assigned, EventDraft(EventType.RETRIED), later(1)).after
    manual = append_event(append_event(run, FAILED, NOW).after, MANUAL_RETRY, later(1)).after
    assert [given_back.attempt.not_before, manual.attempt.not_before] == [None, None]


def test_the_later_of_start_and_backoff_holds_a_retry_back() -> None:
    run = a_run(Terms(start_at=later(60), backoff=Backoff(30)), max_attempts=3)
    first = append_event(run, FAILED, later(10)).after
    assert first.attempt.not_before == later(60)
    assert append_event(first, FAILED, later(20)).after.attempt.not_before == later(80)


def test_a_patch_of_the_state_ends_the_backoff() -> None:
    run = append_event(a_run(Terms(backoff=Backoff(300)), max_attempts=2), FAILED, NOW).after
    assert started(patch(run, NOW, state=State.ASSIGNED).after, later(1)).state is State.RUNNING


# -- queue_ttl_s


@pytest.mark.parametrize(
    ("terms", "deadline_s"), [(Terms(), 30), (Terms(start_at=later(-5)), 30), (Terms(start_at=later(200)), 230)]
)
def test_the_longest_wait_counts_from_when_the_run_may_be_claimed(terms: Terms, deadline_s: float) -> None:
    run = a_run(replace(terms, queue_ttl_s=30))
    assert run.attempt.deadline == later(deadline_s)


def test_the_longest_wait_of_a_retry_counts_from_the_end_of_its_backoff() -> None:
    run = a_run(Terms(queue_ttl_s=30, backoff=Backoff(10)), max_attempts=2)
    assert append_event(run, FAILED, later(5), jitter=1.0).after.attempt.deadline == later(5 + 11 + 30)


def test_a_run_that_waited_too_long_is_failed_and_not_retried() -> None:
    run = a_run(Terms(queue_ttl_s=30), max_attempts=5)
    assert due_at(run) == later(30)
    assert wake(run, later(30) - MICROSECOND) is None
    change = woken(run, later(30))
    assert [(event.type, event.payload) for event in change.events] == [
        (EventType.FAILED, JsonText('{"reason":"expired","by":"server"}'))
    ]
    assert (change.after.state, change.after.attempt.reason) == (State.FAILED, Reason.EXPIRED)
    assert change.after.has_retry_budget


def test_no_claim_takes_a_run_that_waited_too_long_but_a_worker_that_posts_is_in_time() -> None:
    run = a_run(Terms(queue_ttl_s=30))
    assert claim(run, "worker-7", 90, later(30) - MICROSECOND, start=False).events
    with pytest.raises(NotClaimable):
        claim(run, "worker-7", 90, later(30), start=False)
    assert started(run, later(31)).attempt.deadline is None


@pytest.mark.parametrize("event_type", TAKING)
def test_a_run_that_was_taken_waits_no_longer(event_type: EventType) -> None:
    run = append_event(a_run(Terms(queue_ttl_s=30)), taking(event_type), later(1)).after
    assert due_at(run) is None


# -- attempt_timeout_s


def test_an_attempt_that_takes_too_long_is_failed_and_retried_by_the_budget() -> None:
    run = started(a_run(Terms(attempt_timeout_s=600), max_attempts=2), later(5))
    assert due_at(run) == run.attempt.deadline == later(605)
    assert wake(run, later(605) - MICROSECOND) is None
    change = woken(run, later(605))
    assert [event.type for event in change.events] == [EventType.FAILED, EventType.RETRIED]
    assert change.closed is not None
    assert (change.closed.state, change.closed.reason) == (State.FAILED, Reason.TIMED_OUT)
    last = woken(started(change.after, later(610)), later(1_210))
    assert (last.after.state, last.after.attempt.reason) == (State.FAILED, Reason.TIMED_OUT)


def test_the_time_before_the_start_does_not_count_against_the_timeout() -> None:
    run = append_event(a_run(Terms(attempt_timeout_s=600)), taking(EventType.ASSIGNED), NOW).after
    assert run.attempt.deadline is None
    assert started(run, later(1_000)).attempt.deadline == later(1_600)


def test_a_patch_of_the_state_ends_the_deadline() -> None:
    run = started(a_run(Terms(attempt_timeout_s=600)))
    assert due_at(patch(run, later(1), state=State.ASSIGNED).after) is None


# -- several instants


@pytest.mark.parametrize(
    ("lease_s", "grace_s", "timeout_s", "reason"),
    [
        (100, 200, 300, Reason.LOST),
        (300, 100, 200, Reason.CANCEL_NOT_ACKNOWLEDGED),
        (300, 200, 100, Reason.TIMED_OUT),
        (100, 100, 100, Reason.LOST),
        (300, 100, 100, Reason.TIMED_OUT),
    ],
)
def test_the_earliest_of_several_past_instants_decides(
    lease_s: int, grace_s: int, timeout_s: int, reason: Reason
) -> None:
    run = claim(a_run(Terms(attempt_timeout_s=timeout_s)), "worker-7", lease_s, NOW, start=True).after
    run = ask_cancel(run, grace_s, None, NOW).after
    change = woken(run, later(1_000))
    assert (change.after.attempt.reason, change.overrules_lease) == (reason, reason is Reason.LOST)


def test_an_entry_into_the_index_that_is_too_late_gives_way_to_the_end_of_the_wait() -> None:
    run = a_run(Terms(start_at=later(300), queue_ttl_s=30))
    assert not woken(run, later(329)).events
    assert woken(run, later(330)).after.attempt.reason is Reason.EXPIRED


def test_what_time_appends_bears_the_instant_at_which_the_timer_acts() -> None:
    (event,) = woken(a_run(Terms(queue_ttl_s=30)), later(75)).events
    assert event.at == later(75)

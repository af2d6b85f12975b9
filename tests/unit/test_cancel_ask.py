"""A cancel that asks: the worker stops by itself, or is overruled."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gyoza_domain.domain.errors import RunLocked
from gyoza_domain.domain.run import (
    CancelOutcome,
    CancelRequest,
    Change,
    EventType,
    JsonText,
    OpRun,
    Reason,
    State,
    Terms,
)
from gyoza_domain.domain.timers import due_at, wake
from gyoza_domain.domain.transitions import (
    MANUAL_RETRY,
    USER_CANCEL,
    EventDraft,
    append_event,
    ask_cancel,
    claim,
    new_attempt,
    patch,
)

NOW = datetime(2026, 3, 2, 20, 0, tzinfo=UTC)


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def a_run(terms: Terms | None = None) -> OpRun:
    """A run with budget for more attempts."""
    terms = terms or Terms()
    return OpRun("6f1c2a54-9d1b-4c55-8a39-2f0f5c7be911", NOW, NOW, new_attempt(terms, NOW), 5, 3, terms)


def asked(run: OpRun | None = None, *, start: bool = True, lease_s: int = 600, grace_s: int = 30) -> OpRun:
    leased = claim(run or a_run(), "worker-7", lease_s, NOW, start=start).after
    return ask_cancel(leased, grace_s, "key-1", NOW).after


def posted(event_type: EventType, **fields: str) -> EventDraft:
    return EventDraft(event_type, force=True, attempt=1, **fields)  # type: ignore[arg-type]


def woken(run: OpRun, now: datetime) -> Change:
    change = wake(run, now)
    assert isinstance(change, Change)
    return change


def types_of(change: Change) -> list[EventType]:
    return [event.type for event in change.events]


# -- the request


@pytest.mark.parametrize("start", [False, True])
def test_a_worker_is_asked_by_an_event_that_leaves_the_state(start: bool) -> None:
    leased = claim(a_run(), "worker-7", 600, NOW, start=start).after
    change = ask_cancel(leased, 30, "key-1", later(5))
    (event,) = change.events
    assert (event.type, event.msg, event.state) == (EventType.INFO, "Cancel requested", leased.state)
    assert change.after.attempt.cancel == CancelRequest(later(5), later(35), "key-1")
    assert change.after.attempt.lease == leased.attempt.lease
    assert due_at(change.after) == later(35)


def test_a_run_that_waits_is_cancelled_at_once_and_shows_no_request() -> None:
    change = ask_cancel(a_run(), 30, "key-1", NOW)
    assert [(event.type, event.msg) for event in change.events] == [(EventType.CANCELLED, "Cancelled by user")]
    assert (change.after.state, change.after.attempt.cancel) == (State.CANCELLED, None)


@pytest.mark.parametrize("state", [State.COMPLETED, State.FAILED, State.CANCELLED])
def test_a_run_that_has_ended_is_not_asked(state: State) -> None:
    with pytest.raises(RunLocked):
        ask_cancel(patch(a_run(), NOW, state=state).after, 30, None, NOW)


@pytest.mark.parametrize(("grace_s", "at_s"), [(30, 0), (30, 10), (3_600, 1), (20, 10)])
def test_a_repeat_that_makes_nothing_earlier_appends_nothing(grace_s: int, at_s: float) -> None:
    assert ask_cancel(asked(), grace_s, "key-2", later(at_s)).is_empty


def test_a_repeat_may_make_cancel_by_earlier_and_keeps_who_asked_first() -> None:
    change = ask_cancel(asked(), 5, "key-2", later(10))
    assert types_of(change) == [EventType.INFO]
    assert change.after.attempt.cancel == CancelRequest(NOW, later(15), "key-1")


# -- each end


def test_cancelled_by_the_worker_acknowledges() -> None:
    change = append_event(asked(), posted(EventType.CANCELLED), later(1))
    assert types_of(change) == [EventType.CANCELLED]
    assert_ended(change, State.CANCELLED, None, CancelOutcome.ACKNOWLEDGED)


@pytest.mark.parametrize("start", [False, True])
def test_a_run_that_is_given_back_is_cancelled_by_the_server_instead(start: bool) -> None:
    change = append_event(asked(start=start), posted(EventType.RETRIED), later(1))
    assert [(event.type, event.payload) for event in change.events] == [
        (EventType.CANCELLED, JsonText('{"by":"server"}'))
    ]
    assert (change.closed, change.after.given_back) == (None, 0)
    assert_ended(change, State.CANCELLED, None, CancelOutcome.ACKNOWLEDGED)


@pytest.mark.parametrize("reason", [None, Reason.INTERRUPTED])
@pytest.mark.parametrize("start", [False, True])
def test_failed_is_followed_by_cancelled_keeps_its_message_and_is_not_retried(
    start: bool, reason: Reason | None
) -> None:
    draft = replace(posted(EventType.FAILED, error_message="half done"), reason=reason)
    change = append_event(asked(start=start), draft, later(1))
    assert types_of(change) == [EventType.FAILED, EventType.CANCELLED]
    assert {event.state for event in change.events} == {State.CANCELLED}
    assert not any(event.will_retry for event in change.events)
    assert change.after.attempt.result is not None
    assert change.after.attempt.result.error_message == "half done"
    assert_ended(change, State.CANCELLED, reason, CancelOutcome.ACKNOWLEDGED)


def test_completed_completes() -> None:
    change = append_event(asked(), posted(EventType.COMPLETED), later(1))
    assert types_of(change) == [EventType.COMPLETED]
    assert_ended(change, State.COMPLETED, None, CancelOutcome.COMPLETED)


@pytest.mark.parametrize("start", [False, True])
def test_a_lease_that_runs_out_cancels_and_does_not_retry(start: bool) -> None:
    change = woken(asked(start=start, lease_s=15), later(15))
    assert types_of(change) == [EventType.CANCELLED]
    assert change.overrules_lease
    assert_ended(change, State.CANCELLED, Reason.LOST, CancelOutcome.FORCED)


def test_a_timeout_cancels_and_does_not_retry() -> None:
    change = woken(asked(a_run(Terms(attempt_timeout_s=20))), later(20))
    assert types_of(change) == [EventType.CANCELLED]
    assert_ended(change, State.CANCELLED, Reason.TIMED_OUT, CancelOutcome.FORCED)


@pytest.mark.parametrize("start", [False, True])
def test_a_worker_that_does_not_stop_in_time_is_overruled(start: bool) -> None:
    run = asked(start=start)
    assert wake(run, later(30) - timedelta(microseconds=1)) is None
    change = woken(run, later(30))
    assert [(event.type, event.payload) for event in change.events] == [
        (EventType.CANCELLED, JsonText('{"reason":"cancel_not_acknowledged","by":"server"}'))
    ]
    assert_ended(change, State.CANCELLED, Reason.CANCEL_NOT_ACKNOWLEDGED, CancelOutcome.FORCED)


def test_an_immediate_cancel_cancels_at_once() -> None:
    change = append_event(asked(), USER_CANCEL, later(1))
    assert [event.msg for event in change.events] == ["Cancelled by user"]
    assert_ended(change, State.CANCELLED, None, CancelOutcome.FORCED)


def assert_ended(change: Change, state: State, reason: Reason | None, outcome: CancelOutcome) -> None:
    attempt = change.after.attempt
    assert (attempt.number, attempt.state, attempt.reason) == (1, state, reason)
    assert attempt.cancel == CancelRequest(NOW, later(30), "key-1", outcome)
    assert (attempt.lease, due_at(change.after)) == (None, None)


# -- what forgets the request


def test_the_route_retry_begins_an_attempt_that_nobody_asked_to_stop() -> None:
    change = append_event(asked(), MANUAL_RETRY, later(1))
    assert types_of(change) == [EventType.RETRIED]
    assert (change.after.attempt.number, change.after.attempt.cancel) == (2, None)


@pytest.mark.parametrize("state", [state for state in State if state is not State.RUNNING])
def test_a_patch_of_the_state_forgets_the_request(state: State) -> None:
    assert patch(asked(), later(1), state=state).after.attempt.cancel is None


def test_progress_is_taken_from_a_worker_that_was_asked_to_stop() -> None:
    run = asked()
    after = append_event(run, replace(posted(EventType.PROGRESS), msg=50), later(1)).after
    assert after.attempt.cancel == run.attempt.cancel

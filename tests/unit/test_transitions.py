"""Tests the states that allow each event, and its effect on the run and its current attempt."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from gyoza_domain.domain.errors import InvalidTransition, RetryBudgetSpent, RunLocked, StaleAttempt
from gyoza_domain.domain.run import (
    AttemptResult,
    Change,
    Claim,
    Event,
    EventType,
    JsonText,
    OpAttempt,
    OpRun,
    ResultSource,
    State,
)
from gyoza_domain.domain.transitions import (
    AUTOMATIC_RETRY,
    MANUAL_RETRY,
    USER_CANCEL,
    EventDraft,
    Origin,
    append_event,
)

CREATED = datetime(2026, 3, 2, 20, 0, tzinfo=UTC)
STARTED = CREATED + timedelta(seconds=10)
UPDATED = CREATED + timedelta(seconds=70)
NOW = CREATED + timedelta(seconds=100, microseconds=999)

OPEN, SPENT = 3, 2
"""``max_attempts`` of a run in its second attempt: with budget for a third, and without."""

TABLE = """
               PENDING    ASSIGNED   RUNNING    COMPLETED  FAILED     CANCELLED
ASSIGNED       ASSIGNED   no         no         locked     locked     locked
STARTED        RUNNING    RUNNING    no         locked     locked     locked
PROGRESS       no         no         RUNNING    locked     locked     locked
INFO           PENDING    ASSIGNED   RUNNING    locked     locked     locked
ERROR          PENDING    ASSIGNED   RUNNING    locked     locked     locked
COMPLETED      no         no         COMPLETED  locked     locked     locked
CANCELLED      CANCELLED  CANCELLED  CANCELLED  locked     locked     locked
FAILED         FAILED     FAILED     FAILED     locked     locked     locked
FAILED+budget  retry      retry      retry      locked     locked     locked
RETRIED        no         retry      no         locked     spent      spent
RETRIED+budget no         retry      no         locked     retry      retry
RETRIED+force  no         retry      retry      locked     retry      retry
"""
"""The state of the run after the event. ``retry`` means PENDING in a new attempt; other values are refusals."""

REFUSALS = {"no": InvalidTransition, "locked": RunLocked, "spent": RetryBudgetSpent}


def a_run(state: State = State.RUNNING, *, max_attempts: int = SPENT, given_back: int = 0) -> OpRun:
    """A run in its second attempt, whose events have the numbers 4 to 9."""
    ended, claimed = state.is_terminal, state is not State.PENDING
    attempt = OpAttempt(
        number=2,
        state=state,
        is_indexed=state is State.PENDING,
        progress=100 if state is State.COMPLETED else 40 if state is State.RUNNING or ended else 0,
        first_seq=4,
        last_seq=9,
        started_at=STARTED if state is State.RUNNING or ended else None,
        finished_at=UPDATED if ended else None,
        claim=Claim(5, "worker-7", 1) if claimed else None,
        result=AttemptResult(duration_ms=60_000) if ended else None,
        result_source=ResultSource.EVENT if ended else None,
        outputs_bytes=2 if ended else 0,
    )
    return OpRun(
        id="6f1c2a54-9d1b-4c55-8a39-2f0f5c7be911",
        created_at=CREATED,
        updated_at=UPDATED,
        attempt=attempt,
        priority=7,
        max_attempts=max_attempts,
        given_back=given_back,
        shard=3,
        version=12,
    )


def a_draft(event_type: EventType, *, force: bool = False) -> EventDraft:
    """The smallest valid draft of the type."""
    return EventDraft(
        event_type,
        msg=50 if event_type is EventType.PROGRESS else "",
        worker_id="worker-8" if event_type is EventType.STARTED else None,
        force=force,
    )


def with_attempt(run: OpRun, **changes: object) -> OpRun:
    """The run with one more event and these values in its attempt."""
    attempt = replace(run.attempt, last_seq=run.last_seq + 1, **changes)  # type: ignore[arg-type]
    attempt = replace(attempt, is_indexed=attempt.state is State.PENDING)
    return replace(run, attempt=attempt, updated_at=NOW, version=run.version + 1)


def an_event(
    event_type: EventType,
    state: State,
    draft: EventDraft,
    *,
    duration_ms: int | None = None,
    will_retry: bool = False,
) -> Event:
    """The next event of the run."""
    return Event(
        seq=10,
        id=6,
        attempt=2,
        type=event_type,
        at=NOW,
        state=state,
        msg=draft.msg,
        payload=draft.payload,
        outputs=draft.outputs,
        error_message=draft.error_message,
        duration_ms=duration_ms,
        will_retry=will_retry,
    )


def retried(run: OpRun, draft: EventDraft, *, seq: int = 10) -> tuple[OpRun, Event]:
    """The run in its third attempt, and the event that opened it."""
    attempt = OpAttempt(3, first_seq=seq, last_seq=seq, began_at=NOW, is_indexed=True)
    event = Event(
        seq=seq,
        id=0,
        attempt=3,
        type=EventType.RETRIED,
        at=NOW,
        state=State.PENDING,
        msg=draft.msg,
        payload=draft.payload,
    )
    return replace(run, attempt=attempt, updated_at=NOW, version=run.version + 1), event


def table_rows() -> Sequence[object]:
    """Every event type in every state, with and without ``force``, with budget left and without."""
    header, *lines = TABLE.strip().splitlines()
    expected = {line.split()[0]: dict(zip(header.split(), line.split()[1:], strict=True)) for line in lines}
    rows = []
    for event_type, state, force, budget in product(EventType, State, (False, True), (False, True)):
        row = event_type + ("+budget" if budget else "")
        if force and f"{event_type}+force" in expected:
            row = f"{event_type}+force"
        outcome = expected.get(row, expected[event_type])[state]
        name = f"{event_type}-in-{state}{'-force' * force}{'-budget' * budget}"
        rows.append(pytest.param(event_type, state, force, OPEN if budget else SPENT, outcome, id=name))
    return rows


@pytest.mark.parametrize(("event_type", "state", "force", "max_attempts", "outcome"), table_rows())
def test_every_event_in_every_state_is_taken_or_refused_as_the_table_says(
    event_type: EventType, state: State, force: bool, max_attempts: int, outcome: str
) -> None:
    run = a_run(state, max_attempts=max_attempts)
    draft = a_draft(event_type, force=force)
    if outcome in REFUSALS:
        with pytest.raises(REFUSALS[outcome], match=state):
            append_event(run, draft, NOW)
        return
    change = append_event(run, draft, NOW)
    after = (change.after.state, change.after.attempt.number)
    assert after == ((State.PENDING, 3) if outcome == "retry" else (State(outcome), 2))
    assert change.before == run


def test_assigned_notes_the_worker() -> None:
    run = a_run(State.PENDING)
    draft = EventDraft(EventType.ASSIGNED, "taken", JsonText('{"worker_id":"worker-8"}'), worker_id="worker-8")
    assert append_event(run, draft, NOW) == Change(
        run,
        with_attempt(run, state=State.ASSIGNED, assigned_at=NOW, claim=Claim(10, "worker-8")),
        (an_event(EventType.ASSIGNED, State.ASSIGNED, draft),),
    )


def test_assigned_may_leave_the_worker_unknown() -> None:
    run = a_run(State.PENDING)
    draft = EventDraft(EventType.ASSIGNED)
    claim = Claim(10, None)
    assert append_event(run, draft, NOW).after == with_attempt(run, state=State.ASSIGNED, assigned_at=NOW, claim=claim)


@pytest.mark.parametrize("state", [State.PENDING, State.ASSIGNED])
def test_started_notes_the_instant_and_who_works_on_what(state: State) -> None:
    run = a_run(state)
    draft = EventDraft(EventType.STARTED, worker_id="worker-8", gpu_id=0)
    assert append_event(run, draft, NOW) == Change(
        run,
        with_attempt(run, state=State.RUNNING, started_at=NOW, claim=Claim(10, "worker-8", 0)),
        (an_event(EventType.STARTED, State.RUNNING, draft),),
    )


@pytest.mark.parametrize("percent", [0, 39, 100])
def test_progress_is_what_the_newest_message_says_even_when_it_falls(percent: int) -> None:
    run = a_run(State.RUNNING)
    draft = EventDraft(EventType.PROGRESS, percent)
    assert append_event(run, draft, NOW) == Change(
        run, with_attempt(run, progress=percent), (an_event(EventType.PROGRESS, State.RUNNING, draft),)
    )


@pytest.mark.parametrize("event_type", [EventType.INFO, EventType.ERROR])
@pytest.mark.parametrize("state", [State.PENDING, State.ASSIGNED, State.RUNNING])
def test_info_and_error_only_lengthen_the_timeline(state: State, event_type: EventType) -> None:
    run = a_run(state)
    draft = EventDraft(event_type, "disk is slow", JsonText('{"ms":900}'))
    assert append_event(run, draft, NOW) == Change(run, with_attempt(run), (an_event(event_type, state, draft),))


@pytest.mark.parametrize(
    ("outputs", "stored"), [(JsonText('{"files":2}'), '{"files":2}'), (JsonText("{}"), "{}"), (None, "{}")]
)
def test_completed_keeps_the_outputs_and_the_time_it_took(outputs: JsonText | None, stored: str) -> None:
    run = a_run(State.RUNNING)
    draft = EventDraft(EventType.COMPLETED, outputs=outputs)
    assert append_event(run, draft, NOW) == Change(
        run,
        with_attempt(
            run,
            state=State.COMPLETED,
            progress=100,
            finished_at=NOW,
            result=AttemptResult(JsonText(stored), duration_ms=90_000),
            result_source=ResultSource.EVENT,
            outputs_bytes=0 if outputs is None else len(stored),
        ),
        (an_event(EventType.COMPLETED, State.COMPLETED, draft, duration_ms=90_000),),
    )


@pytest.mark.parametrize("error_message", ["out of memory", "", None])
def test_failed_without_budget_ends_the_run(error_message: str | None) -> None:
    run = a_run(State.RUNNING)
    draft = EventDraft(EventType.FAILED, "gave up", error_message=error_message)
    after = with_attempt(
        run,
        state=State.FAILED,
        finished_at=NOW,
        result=AttemptResult(error_message=error_message, duration_ms=90_000),
        result_source=ResultSource.EVENT,
    )
    assert append_event(run, draft, NOW) == Change(
        run,
        replace(after, failures=1),
        (an_event(EventType.FAILED, State.FAILED, draft, duration_ms=90_000),),
    )


@pytest.mark.parametrize("state", [State.PENDING, State.ASSIGNED])
def test_failed_before_the_start_has_no_duration(state: State) -> None:
    change = append_event(a_run(state), EventDraft(EventType.FAILED), NOW)
    assert change.after.attempt.result == AttemptResult(duration_ms=None)
    assert change.events[-1].duration_ms is None


def test_failed_with_budget_is_one_change_with_its_retry() -> None:
    run = a_run(State.RUNNING, max_attempts=OPEN)
    draft = EventDraft(EventType.FAILED, "gave up", error_message="out of memory")
    failed = with_attempt(
        run,
        state=State.FAILED,
        finished_at=NOW,
        result=AttemptResult(error_message="out of memory", duration_ms=90_000),
        result_source=ResultSource.EVENT,
    ).attempt
    after, retry = retried(run, AUTOMATIC_RETRY, seq=11)
    failure = an_event(EventType.FAILED, State.PENDING, draft, duration_ms=90_000, will_retry=True)
    assert append_event(run, draft, NOW) == Change(run, replace(after, failures=1), (failure, retry), closed=failed)


@pytest.mark.parametrize("state", [State.PENDING, State.ASSIGNED, State.RUNNING])
def test_cancelled_ends_the_run_and_tells_no_result(state: State) -> None:
    run = a_run(state)
    assert append_event(run, USER_CANCEL, NOW) == Change(
        run,
        with_attempt(run, state=State.CANCELLED, finished_at=NOW),
        (an_event(EventType.CANCELLED, State.CANCELLED, USER_CANCEL),),
    )


def test_the_cancel_route_says_so_in_the_timeline() -> None:
    assert EventDraft(EventType.CANCELLED, "Cancelled by user", origin=Origin.ROUTE) == USER_CANCEL


def test_the_retry_route_says_so_in_the_timeline() -> None:
    payload = JsonText('{"force":true}')
    draft = EventDraft(EventType.RETRIED, "Manual retry", payload, force=True, origin=Origin.ROUTE)
    assert draft == MANUAL_RETRY


def test_a_worker_gives_a_run_back_at_no_cost_to_the_budget() -> None:
    run = a_run(State.ASSIGNED)
    draft = EventDraft(EventType.RETRIED, "no disk left here")
    after, event = retried(run, draft)
    closed = replace(run.attempt, state=State.CANCELLED, finished_at=NOW)
    assert append_event(run, draft, NOW) == Change(run, replace(after, given_back=1), (event,), closed)


def test_a_running_attempt_that_is_forced_out_ends_as_cancelled_and_counts() -> None:
    run = a_run(State.RUNNING)
    after, event = retried(run, MANUAL_RETRY)
    closed = replace(run.attempt, state=State.CANCELLED, finished_at=NOW)
    assert append_event(run, MANUAL_RETRY, NOW) == Change(run, after, (event,), closed)


@pytest.mark.parametrize("state", [State.FAILED, State.CANCELLED])
@pytest.mark.parametrize(("force", "max_attempts"), [(True, SPENT), (False, OPEN), (True, OPEN)])
def test_a_retry_leaves_the_attempt_that_had_ended_as_it_was(state: State, force: bool, max_attempts: int) -> None:
    run = a_run(state, max_attempts=max_attempts)
    draft = EventDraft(EventType.RETRIED, force=force)
    after, event = retried(run, draft)
    assert append_event(run, draft, NOW) == Change(run, after, (event,), closed=run.attempt)


@pytest.mark.parametrize(
    ("max_attempts", "given_back", "retries"),
    [(1, 0, False), (1, 1, False), (2, 0, False), (2, 1, True), (3, 0, True), (3, 1, True)],
)
def test_the_budget_counts_attempts_begun_but_not_those_given_back(
    max_attempts: int, given_back: int, retries: bool
) -> None:
    run = a_run(State.RUNNING, max_attempts=max_attempts, given_back=given_back)
    after = append_event(run, EventDraft(EventType.FAILED), NOW).after
    assert after.attempt.number == (3 if retries else 2)


@pytest.mark.parametrize("token", [-1, 0, 1, 3, 10**40])
@pytest.mark.parametrize("state", list(State))
def test_a_fencing_token_of_another_attempt_is_stale_whatever_the_state(state: State, token: int) -> None:
    with pytest.raises(StaleAttempt) as refusal:
        append_event(a_run(state), EventDraft(EventType.INFO, attempt=token), NOW)
    assert (refusal.value.attempt, refusal.value.current_attempt) == (token, 2)


def test_the_fencing_token_of_the_current_attempt_changes_nothing() -> None:
    run = a_run(State.RUNNING)
    draft = EventDraft(EventType.INFO, "hello")
    assert append_event(run, replace(draft, attempt=2), NOW) == append_event(run, draft, NOW)


TAKEN: list[tuple[EventType, State]] = [
    (EventType.ASSIGNED, State.PENDING),
    (EventType.STARTED, State.ASSIGNED),
    (EventType.PROGRESS, State.RUNNING),
    (EventType.INFO, State.RUNNING),
    (EventType.ERROR, State.RUNNING),
    (EventType.COMPLETED, State.RUNNING),
    (EventType.FAILED, State.RUNNING),
    (EventType.CANCELLED, State.RUNNING),
    (EventType.RETRIED, State.ASSIGNED),
]


@pytest.mark.parametrize(("event_type", "state"), TAKEN)
def test_a_clock_that_went_back_never_lowers_an_instant(event_type: EventType, state: State) -> None:
    run = a_run(state, max_attempts=OPEN)
    draft = a_draft(event_type)
    behind = append_event(run, draft, UPDATED - timedelta(days=1))
    assert behind == append_event(run, draft, UPDATED)
    assert {behind.after.updated_at, *(event.at for event in behind.events)} == {UPDATED}


@pytest.mark.parametrize(
    ("elapsed", "duration_ms"),
    [
        (timedelta(0), 0),
        (timedelta(microseconds=999), 0),
        (timedelta(milliseconds=1), 1),
        (timedelta(days=40, microseconds=1_999), 40 * 86_400_000 + 1),
    ],
)
@pytest.mark.parametrize("event_type", [EventType.COMPLETED, EventType.FAILED])
def test_a_duration_is_in_whole_milliseconds(event_type: EventType, elapsed: timedelta, duration_ms: int) -> None:
    run = replace(a_run(State.RUNNING), updated_at=STARTED)
    change = append_event(run, EventDraft(event_type), STARTED + elapsed)
    assert change.after.attempt.result == AttemptResult(duration_ms=duration_ms)
    assert change.events[-1].duration_ms == duration_ms


REOPENED = AttemptResult(JsonText('{"kept":true}'), error_message="as before", duration_ms=5)
"""The values that an earlier end left in an attempt that a PATCH has reopened."""


AGAIN: list[tuple[EventDraft, AttemptResult]] = [
    (EventDraft(EventType.COMPLETED), replace(REOPENED, duration_ms=90_000)),
    (
        EventDraft(EventType.COMPLETED, outputs=JsonText('{"new":1}')),
        replace(REOPENED, outputs=JsonText('{"new":1}'), duration_ms=90_000),
    ),
    (
        EventDraft(EventType.FAILED, error_message="again"),
        replace(REOPENED, error_message="again", duration_ms=90_000),
    ),
]


def reopened_run() -> OpRun:
    run = a_run(State.RUNNING)
    size = len(REOPENED.outputs)
    attempt = replace(run.attempt, result=REOPENED, result_source=ResultSource.PATCH, outputs_bytes=size)
    return replace(run, attempt=attempt)


@pytest.mark.parametrize(("draft", "result"), AGAIN)
def test_an_attempt_that_ends_once_more_keeps_what_the_end_does_not_tell(
    draft: EventDraft, result: AttemptResult
) -> None:
    after = append_event(reopened_run(), draft, NOW).after.attempt
    assert (after.result, after.result_source) == (result, ResultSource.PATCH)
    assert after.outputs_bytes == len(result.outputs)


@pytest.mark.parametrize(("draft", "result"), AGAIN)
def test_a_result_that_was_not_loaded_stays_unknown_while_its_size_is_known(
    draft: EventDraft, result: AttemptResult
) -> None:
    known = reopened_run()
    unknown = replace(known, attempt=replace(known.attempt, result=None))
    change, with_result = append_event(unknown, draft, NOW), append_event(known, draft, NOW)
    assert change.after.attempt == replace(with_result.after.attempt, result=None)
    assert change.after.attempt.outputs_bytes == len(result.outputs)
    assert change.events == with_result.events


@pytest.mark.parametrize("state", [State.PENDING, State.ASSIGNED, State.COMPLETED, State.FAILED, State.CANCELLED])
def test_a_refusal_names_the_state_and_the_event(state: State) -> None:
    with pytest.raises((InvalidTransition, RunLocked)) as refusal:
        append_event(a_run(state), EventDraft(EventType.PROGRESS, 5), NOW)
    assert state in str(refusal.value)
    assert EventType.PROGRESS in str(refusal.value)

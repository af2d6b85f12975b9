"""The rules of a run. Each command takes a run and an instant and returns the Change or raises the refusal."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from .errors import InvalidTransition, RetryBudgetSpent, RunLocked, StaleAttempt
from .run import (
    EMPTY_OBJECT,
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

_LIVE = frozenset({State.PENDING, State.ASSIGNED, State.RUNNING})

ALLOWED_IN: Mapping[EventType, frozenset[State]] = {
    EventType.ASSIGNED: frozenset({State.PENDING}),
    EventType.STARTED: frozenset({State.PENDING, State.ASSIGNED}),
    EventType.PROGRESS: frozenset({State.RUNNING}),
    EventType.INFO: _LIVE,
    EventType.ERROR: _LIVE,
    EventType.COMPLETED: frozenset({State.RUNNING}),
    EventType.FAILED: _LIVE,
    EventType.CANCELLED: _LIVE,
    EventType.RETRIED: frozenset({State.ASSIGNED, State.FAILED, State.CANCELLED}),
}
"""The states that allow each type of event. With ``force``, RUNNING allows RETRIED too."""


@dataclass(frozen=True, slots=True)
class EventDraft:
    """A posted event whose shape is checked.

    The fields that its type reads from the payload are separate. The payload no longer holds ``outputs`` and
    ``error_message``.
    """

    type: EventType
    msg: str | int = ""
    payload: JsonText = EMPTY_OBJECT
    worker_id: str | None = None
    gpu_id: int | None = None
    outputs: JsonText | None = None
    error_message: str | None = None
    force: bool = False
    attempt: int | None = None
    """The fencing token: the attempt that the sender believes to be current."""


MANUAL_RETRY = EventDraft(EventType.RETRIED, "Manual retry", JsonText('{"force":true}'), force=True)
USER_CANCEL = EventDraft(EventType.CANCELLED, "Cancelled by user")
AUTOMATIC_RETRY = EventDraft(EventType.RETRIED, "Automatic retry")


def append_event(run: OpRun, draft: EventDraft, now: datetime) -> Change:
    """Append the event and apply its effect.

    Raises StaleAttempt, RunLocked, InvalidTransition or RetryBudgetSpent.
    """
    _refuse_unless_allowed(run, draft)
    at = max(now, run.updated_at)
    if draft.type is EventType.RETRIED:
        return _retry(run, draft, at)
    after = replace(
        run,
        attempt=replace(_effect(run.attempt, draft, at), last_seq=run.last_seq + 1),
        updated_at=at,
        version=run.version + 1,
    )
    event = _event(after, draft, at)
    if draft.type in (EventType.COMPLETED, EventType.FAILED):
        event = replace(event, duration_ms=_duration_ms(run.attempt, at))
    if after.state is State.FAILED and run.has_retry_budget:
        return _retry_at_once(run, after, event, at)
    return Change(run, after, (event,))


def patch(
    run: OpRun,
    now: datetime,
    *,
    state: State | None = None,
    outputs: JsonText | None = None,
    priority: int | None = None,
) -> Change:
    """Edit the run and its current attempt without the rules. None keeps a field. Appends no event.

    The run must have been loaded with its result if ``outputs`` is given, and with a result that an event holds if
    ``state`` is live.
    """
    at = max(now, run.updated_at)
    attempt = run.attempt
    if state is not None:
        finished_at = attempt.finished_at if attempt.state.is_terminal else at
        attempt = replace(attempt, state=state, finished_at=finished_at if state.is_terminal else None)
    is_reopened = run.state.is_terminal and not attempt.state.is_terminal
    if outputs is not None or (is_reopened and attempt.result_source is ResultSource.EVENT):
        # The event that holds a reopened attempt's result will not be its last one.
        result = attempt.result or AttemptResult()
        result = result if outputs is None else replace(result, outputs=outputs)
        outputs_bytes = len(result.outputs.encode())
        attempt = replace(attempt, result=result, result_source=ResultSource.PATCH, outputs_bytes=outputs_bytes)
    priority = run.priority if priority is None else priority
    return Change(run, replace(run, attempt=attempt, priority=priority, updated_at=at, version=run.version + 1))


def _refuse_unless_allowed(run: OpRun, draft: EventDraft) -> None:
    if draft.attempt is not None and draft.attempt != run.attempt.number:
        raise StaleAttempt(draft.attempt, run.attempt.number)
    allowed = run.state in ALLOWED_IN[draft.type]
    if draft.type is EventType.RETRIED and draft.force and run.state is State.RUNNING:
        allowed = True
    if not allowed:
        raise (RunLocked if run.state.is_terminal else InvalidTransition)(run.state, draft.type)
    if draft.type is EventType.RETRIED and run.state.is_terminal and not (draft.force or run.has_retry_budget):
        raise RetryBudgetSpent(run.state, run.max_attempts)


def _effect(attempt: OpAttempt, draft: EventDraft, at: datetime) -> OpAttempt:
    """The attempt after the event, which has any type but RETRIED."""
    seq = attempt.last_seq + 1
    match draft.type:
        case EventType.ASSIGNED:
            return replace(attempt, state=State.ASSIGNED, claim=Claim(seq, draft.worker_id))
        case EventType.STARTED:
            claim = Claim(seq, draft.worker_id, draft.gpu_id)
            return replace(attempt, state=State.RUNNING, started_at=at, claim=claim)
        case EventType.PROGRESS:
            return replace(attempt, progress=int(draft.msg))
        case EventType.COMPLETED:
            outputs = {} if draft.outputs is None else {"outputs": draft.outputs}
            ended = replace(attempt, state=State.COMPLETED, progress=100, finished_at=at)
            return _with_result(ended, **outputs, duration_ms=_duration_ms(attempt, at))
        case EventType.FAILED:
            ended = replace(attempt, state=State.FAILED, finished_at=at)
            return _with_result(ended, error_message=draft.error_message, duration_ms=_duration_ms(attempt, at))
        case EventType.CANCELLED:
            return replace(attempt, state=State.CANCELLED, finished_at=at)
        case _:
            return attempt


def _with_result(attempt: OpAttempt, **told: Any) -> OpAttempt:
    """The attempt with the part of its result that its last event holds.

    A result that a PATCH wrote keeps its source, and stays None if it was not loaded.
    """
    source = attempt.result_source or ResultSource.EVENT
    outputs_bytes = len(told["outputs"].encode()) if "outputs" in told else attempt.outputs_bytes
    is_unknown = attempt.result is None and attempt.result_source is not None
    result = None if is_unknown else replace(attempt.result or AttemptResult(), **told)
    return replace(attempt, result=result, result_source=source, outputs_bytes=outputs_bytes)


def _retry(run: OpRun, draft: EventDraft, at: datetime) -> Change:
    closed = run.attempt
    if not closed.state.is_terminal:
        closed = replace(closed, state=State.CANCELLED, finished_at=at)
    given_back = run.given_back + (run.state is State.ASSIGNED)
    after = replace(run, attempt=_next_attempt(closed), given_back=given_back, updated_at=at, version=run.version + 1)
    return Change(run, after, (_event(after, draft, at),), closed)


def _retry_at_once(run: OpRun, failed: OpRun, failure: Event, at: datetime) -> Change:
    """One change that holds the failure and the retry that it causes."""
    after = replace(failed, attempt=_next_attempt(failed.attempt))
    failure = replace(failure, state=after.state, will_retry=True)
    return Change(run, after, (failure, _event(after, AUTOMATIC_RETRY, at)), failed.attempt)


def _next_attempt(closed: OpAttempt) -> OpAttempt:
    """The attempt after ``closed``. It counts its RETRIED event already."""
    seq = closed.last_seq + 1
    return OpAttempt(closed.number + 1, first_seq=seq, last_seq=seq)


def _event(after: OpRun, draft: EventDraft, at: datetime) -> Event:
    attempt = after.attempt
    return Event(
        seq=attempt.last_seq,
        id=attempt.last_seq - attempt.first_seq,
        attempt=attempt.number,
        type=draft.type,
        at=at,
        state=attempt.state,
        msg=draft.msg,
        payload=draft.payload,
        outputs=draft.outputs,
        error_message=draft.error_message,
    )


def _duration_ms(attempt: OpAttempt, at: datetime) -> int | None:
    return None if attempt.started_at is None else (at - attempt.started_at) // timedelta(milliseconds=1)

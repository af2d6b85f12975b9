"""The rules of a run. Each command takes a run and an instant and returns the Change or raises the refusal.

``jitter``, from 0 to 1, is the random part of the wait before an automatic retry. ``default_retain_s`` is the time that
the deployment keeps a terminal run whose terms do not say it; None keeps it for ever.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Any

from .errors import (
    AttemptRequired,
    InvalidTransition,
    NotClaimant,
    NotLeased,
    NotYet,
    RetryBudgetSpent,
    RunLocked,
    StaleAttempt,
)
from .json_parts import json_object, json_scalar
from .run import (
    EMPTY_OBJECT,
    LOSSES,
    AttemptResult,
    CancelOutcome,
    CancelRequest,
    Change,
    Claim,
    Event,
    EventType,
    JsonText,
    Lease,
    OpAttempt,
    OpRun,
    Reason,
    ResultSource,
    State,
    Terms,
)

INDEXED_AHEAD = timedelta(minutes=2)
"""An attempt enters the index of claims this long before it may be claimed, so that the timer need not be punctual."""

MAX_RETURNS = 10
"""The number of leases in a row that may run out before the run was started. The last of them fails the run."""

MAX_JITTER = 0.1
"""The random part of the wait before an automatic retry, as a part of the wait."""

MIN_RETENTION_OF_PUSHED = timedelta(days=1)
"""A run with an event_delivery is kept as long as the stream of the table keeps its events."""

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

_FENCED = frozenset({EventType.STARTED, EventType.RETRIED, EventType.PROGRESS, EventType.COMPLETED, EventType.FAILED})
"""The types of posted events that must carry ``attempt`` if the attempt is leased."""

_TAKING = frozenset({EventType.ASSIGNED, EventType.STARTED})
"""The types of events with which a worker takes a run."""

_NEVER_RETRIED = frozenset({Reason.EXPIRED})
"""The reasons of a failure that no automatic retry follows."""


class Origin(Enum):
    """The sender of an event."""

    POSTED = auto()
    """A client, to the run's events."""
    ROUTE = auto()
    """A client, by the route of a command."""
    SERVER = auto()
    """The server's own timer or claim."""


class NotClaimable(Exception):
    """No claim may take the run now."""


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
    lease_s: int | None = None
    """The length of the lease that an ASSIGNED or STARTED asks for, in seconds. It needs a ``worker_id``."""
    outputs: JsonText | None = None
    error_message: str | None = None
    reason: Reason | None = None
    """The reason of a FAILED; INTERRUPTED if a client posted it."""
    force: bool = False
    attempt: int | None = None
    """The fencing token: the attempt that the sender believes to be current."""
    origin: Origin = Origin.POSTED


MANUAL_RETRY = EventDraft(
    EventType.RETRIED, "Manual retry", JsonText('{"force":true}'), force=True, origin=Origin.ROUTE
)
USER_CANCEL = EventDraft(EventType.CANCELLED, "Cancelled by user", origin=Origin.ROUTE)
AUTOMATIC_RETRY = EventDraft(EventType.RETRIED, "Automatic retry", origin=Origin.SERVER)


def new_attempt(terms: Terms, created_at: datetime) -> OpAttempt:
    """The first attempt of a run."""
    return _waiting(OpAttempt(1), terms, created_at, created_at)


def append_event(
    run: OpRun, draft: EventDraft, now: datetime, *, jitter: float = 0.0, default_retain_s: int | None = None
) -> Change:
    """Append the event and apply its effect.

    Raises StaleAttempt, AttemptRequired, RunLocked, InvalidTransition, RetryBudgetSpent, NotClaimant or NotYet.
    """
    at = max(now, run.updated_at)
    _refuse_unless_allowed(run, draft, at)
    if draft.type is EventType.RETRIED:
        if _is_asked_to_stop(run) and draft.origin is Origin.POSTED:
            return _end(run, [_server_cancel()], at, CancelOutcome.ACKNOWLEDGED, default_retain_s=default_retain_s)
        return _retry(run, draft, at)
    if draft.type is EventType.FAILED:
        return _fail(run, draft, at, jitter=jitter, default_retain_s=default_retain_s)
    if draft.type is EventType.CANCELLED:
        outcome = CancelOutcome.ACKNOWLEDGED if draft.origin is Origin.POSTED else CancelOutcome.FORCED
        return _end(run, [draft], at, outcome, default_retain_s=default_retain_s)
    if draft.type is EventType.COMPLETED:
        return _end(run, [draft], at, CancelOutcome.COMPLETED, default_retain_s=default_retain_s)
    attempt = _effect(run, draft, at)
    if draft.attempt is not None and attempt.lease is not None:
        attempt = replace(attempt, lease=attempt.lease.renewed(at))
    after = _next_version(run, replace(attempt, last_seq=run.last_seq + 1), at)
    return Change(run, after, (_event(after, draft, at),))


def claim(run: OpRun, worker_id: str, lease_s: int, now: datetime, *, start: bool) -> Change:
    """Give the run to the worker, with a lease.

    Raises NotClaimable if the run does not wait for a worker, must wait longer, or has waited too long. Looks at
    neither the queue nor the hardware, because the search for the run has compared both.
    """
    attempt, at = run.attempt, max(now, run.updated_at)
    is_over = attempt.deadline is not None and attempt.deadline <= at
    if attempt.state is not State.PENDING or not attempt.is_offered or is_over or _waits(attempt, at):
        raise NotClaimable
    payload = {"worker_id": json_scalar(worker_id), "lease_s": str(lease_s)}
    draft = EventDraft(
        EventType.STARTED if start else EventType.ASSIGNED,
        payload=JsonText(json_object(payload)),
        worker_id=worker_id,
        lease_s=lease_s,
        attempt=attempt.number,
        origin=Origin.SERVER,
    )
    return append_event(run, draft, now)


def heartbeat(run: OpRun, attempt: int, worker_id: str, now: datetime) -> Lease:
    """The renewed lease of the current attempt. Raises StaleAttempt, RunLocked, NotLeased or NotClaimant."""
    if attempt != run.attempt.number:
        raise StaleAttempt(attempt, run.attempt.number)
    if run.state.is_terminal:
        raise RunLocked(run.state, "heartbeat")
    lease = run.attempt.lease
    if lease is None:
        raise NotLeased(run.state)
    if worker_id != lease.worker_id:
        raise NotClaimant(lease.worker_id)
    return lease.renewed(now)


def ask_cancel(
    run: OpRun, grace_s: int, by: str | None, now: datetime, *, default_retain_s: int | None = None
) -> Change:
    """Ask the worker to stop within the grace. A run that waits for a worker is cancelled at once.

    A later request can only make ``cancel_by`` earlier; the change is empty if it does not. Raises RunLocked.
    """
    if run.state is State.PENDING or run.state.is_terminal:
        return append_event(run, USER_CANCEL, now, default_retain_s=default_retain_s)
    at = max(now, run.updated_at)
    asked = run.attempt.cancel
    cancel_by = at + timedelta(seconds=grace_s)
    if asked is not None and asked.cancel_by <= cancel_by:
        return Change(run, replace(run, version=run.version + 1))
    request = CancelRequest(at, cancel_by, by) if asked is None else replace(asked, cancel_by=cancel_by)
    after = _next_version(run, replace(run.attempt, cancel=request, last_seq=run.last_seq + 1), at)
    return Change(run, after, (_event(after, EventDraft(EventType.INFO, "Cancel requested"), at),))


def patch(
    run: OpRun,
    now: datetime,
    *,
    state: State | None = None,
    outputs: JsonText | None = None,
    priority: int | None = None,
    default_retain_s: int | None = None,
) -> Change:
    """Edit the run and its current attempt without the rules of states. Appends no event. None keeps a field.

    A change of the state ends lease, deadlines, backoff and a cancel request. A run that becomes PENDING is not offered
    to claims. The caller loads the run with its result if ``outputs`` is given. If ``state`` is not terminal and an
    event holds the result, the caller loads that too.
    """
    at = max(now, run.updated_at)
    attempt = run.attempt
    if state is not None and state is not attempt.state:
        finished_at = attempt.finished_at if attempt.state.is_terminal else at
        attempt = replace(
            _untimed(attempt),
            state=state,
            finished_at=finished_at if state.is_terminal else None,
            not_before=run.terms.start_at,
            is_offered=state is not State.PENDING,
            cancel=None,
        )
    is_reopened = run.state.is_terminal and not attempt.state.is_terminal
    if outputs is not None or (is_reopened and attempt.result_source is ResultSource.EVENT):
        # The event that holds a reopened attempt's result will not be its last one.
        result = attempt.result or AttemptResult()
        result = result if outputs is None else replace(result, outputs=outputs)
        outputs_bytes = len(result.outputs.encode())
        attempt = replace(attempt, result=result, result_source=ResultSource.PATCH, outputs_bytes=outputs_bytes)
    # A failure and a loss are attempts, so an attempt that is reopened is one no more.
    failed = (attempt.state is State.FAILED) - (run.state is State.FAILED)
    lost = failed if attempt.reason in LOSSES else 0
    after = _next_version(run, attempt, at, default_retain_s=default_retain_s)
    return Change(
        run,
        replace(
            after,
            priority=run.priority if priority is None else priority,
            failures=run.failures + failed,
            losses=run.losses + lost,
        ),
    )


# -- refusals


def _refuse_unless_allowed(run: OpRun, draft: EventDraft, at: datetime) -> None:
    if draft.attempt is not None and draft.attempt != run.attempt.number:
        raise StaleAttempt(draft.attempt, run.attempt.number)
    lease = run.attempt.lease
    is_posted = draft.origin is Origin.POSTED
    if lease is not None and is_posted and draft.type in _FENCED and draft.attempt is None:
        raise AttemptRequired(draft.type, run.attempt.number)
    _refuse_unless_state_allows(run, draft)
    if lease is not None and draft.type is EventType.STARTED and draft.worker_id != lease.worker_id:
        raise NotClaimant(lease.worker_id)
    if draft.type in _TAKING and run.attempt.not_before is not None and _waits(run.attempt, at):
        raise NotYet(run.attempt.not_before)


def _refuse_unless_state_allows(run: OpRun, draft: EventDraft) -> None:
    allowed = run.state in ALLOWED_IN[draft.type]
    if draft.type is EventType.RETRIED and draft.force and run.state is State.RUNNING:
        allowed = True
    if not allowed:
        raise (RunLocked if run.state.is_terminal else InvalidTransition)(run.state, draft.type)
    if draft.type is EventType.RETRIED and run.state.is_terminal and not (draft.force or run.has_retry_budget):
        raise RetryBudgetSpent(run.state, run.max_attempts)


def _waits(attempt: OpAttempt, at: datetime) -> bool:
    """True if the attempt waits for a later instant, and nobody may take it before."""
    return attempt.not_before is not None and at < attempt.not_before


def _is_asked_to_stop(run: OpRun) -> bool:
    return run.attempt.cancel is not None and not run.state.is_terminal


# -- effects


def _effect(run: OpRun, draft: EventDraft, at: datetime) -> OpAttempt:
    """The attempt after an event that does not end it."""
    attempt, seq = run.attempt, run.last_seq + 1
    match draft.type:
        case EventType.ASSIGNED:
            taken = replace(_taken(attempt, draft, at), state=State.ASSIGNED, assigned_at=at)
            return replace(taken, claim=Claim(seq, draft.worker_id))
        case EventType.STARTED:
            timeout_s = run.terms.attempt_timeout_s
            return replace(
                _taken(attempt, draft, at),
                state=State.RUNNING,
                started_at=at,
                claim=Claim(seq, draft.worker_id, draft.gpu_id),
                deadline=None if timeout_s is None else at + timedelta(seconds=timeout_s),
            )
        case EventType.PROGRESS:
            return replace(attempt, progress=int(draft.msg))
        case _:
            return attempt


def _taken(attempt: OpAttempt, draft: EventDraft, at: datetime) -> OpAttempt:
    """The attempt without what only a waiting attempt has, and with the lease that the event asks for."""
    lease = attempt.lease
    if draft.lease_s is not None and draft.worker_id is not None:
        until = at + timedelta(seconds=draft.lease_s)
        if lease is None:
            lease = Lease(draft.lease_s, draft.worker_id, until)
        else:
            lease = replace(lease, lease_s=draft.lease_s, until=max(lease.until, until))
    return replace(attempt, not_before=None, deadline=None, lease=lease)


def _fail(run: OpRun, draft: EventDraft, at: datetime, *, jitter: float, default_retain_s: int | None) -> Change:
    """The failure, with the retry or the cancellation that it causes."""
    if _is_asked_to_stop(run):
        cancel = _server_cancel(error_message=draft.error_message)
        return _end(run, [draft, cancel], at, CancelOutcome.ACKNOWLEDGED, default_retain_s=default_retain_s)
    is_loss = draft.reason in LOSSES
    counted = replace(run, failures=run.failures + 1, losses=run.losses + is_loss)
    change = _end(counted, [draft], at, None, default_retain_s=default_retain_s)
    is_hopeless = draft.reason in _NEVER_RETRIED or (draft.reason is Reason.LOST and run.state is State.ASSIGNED)
    if counted.has_retry_budget and not is_hopeless:
        return _retry_at_once(run, change.after, change.events[0], at, jitter)
    return replace(change, before=run)


def end_by_server(
    run: OpRun, draft: EventDraft, at: datetime, outcome: CancelOutcome, *, default_retain_s: int | None
) -> Change:
    """End the current attempt by an event of the server that ends it for good."""
    return _end(run, [draft], at, outcome, default_retain_s=default_retain_s)


def return_to_queue(run: OpRun, draft: EventDraft, at: datetime) -> Change:
    """Begin another attempt because the lease of an ASSIGNED run ran out."""
    change = _retry(run, draft, at)
    return replace(change, after=replace(change.after, returns=run.returns + 1))


def server_event(type_: EventType, msg: str, reason: Reason) -> EventDraft:
    """An event that time causes. Its payload carries the reason."""
    payload = {"reason": json_scalar(reason), "by": json_scalar("server")}
    return EventDraft(type_, msg, JsonText(json_object(payload)), reason=reason, origin=Origin.SERVER)


def _server_cancel(*, error_message: str | None = None) -> EventDraft:
    """The CANCELLED that the server appends because the worker stopped as it was asked."""
    payload = JsonText(json_object({"by": json_scalar("server")}))
    return EventDraft(
        EventType.CANCELLED, "Cancelled as requested", payload, error_message=error_message, origin=Origin.SERVER
    )


_ENDED_AS = {
    EventType.COMPLETED: State.COMPLETED,
    EventType.FAILED: State.FAILED,
    EventType.CANCELLED: State.CANCELLED,
}


def _end(
    run: OpRun,
    drafts: list[EventDraft],
    at: datetime,
    outcome: CancelOutcome | None,
    *,
    default_retain_s: int | None,
) -> Change:
    """The end of the current attempt by one event, or by a FAILED and the CANCELLED that it causes."""
    first, last = drafts[0], drafts[-1]
    attempt = run.attempt
    ended = replace(
        _untimed(attempt),
        state=_ENDED_AS[last.type],
        finished_at=at,
        last_seq=attempt.last_seq + len(drafts),
        reason=first.reason or last.reason,
    )
    if attempt.cancel is not None:
        ended = replace(ended, cancel=replace(attempt.cancel, outcome=outcome))
    duration_ms = _duration_ms(attempt, at)
    if first.type is EventType.COMPLETED:
        outputs = {} if first.outputs is None else {"outputs": first.outputs}
        ended = _with_result(replace(ended, progress=100), **outputs, duration_ms=duration_ms)
    elif first.type is EventType.FAILED:
        ended = _with_result(ended, error_message=first.error_message, duration_ms=duration_ms)
    after = _next_version(run, ended, at, default_retain_s=default_retain_s)
    events = [_event(after, draft, at, behind=len(drafts) - 1 - place) for place, draft in enumerate(drafts)]
    if first.type in (EventType.COMPLETED, EventType.FAILED):
        events = [replace(event, duration_ms=duration_ms) for event in events]
    return Change(run, after, tuple(events))


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
    closed = _untimed(run.attempt)
    if not closed.state.is_terminal:
        closed = replace(closed, state=State.CANCELLED, finished_at=at, reason=draft.reason)
    given_back = run.given_back + (run.state is State.ASSIGNED)
    counted = replace(run, given_back=given_back, returns=0)
    after = _next_version(counted, _next_attempt(closed, run.terms, at, at), at)
    return Change(run, after, (_event(after, draft, at),), closed)


def _retry_at_once(run: OpRun, failed: OpRun, failure: Event, at: datetime, jitter: float) -> Change:
    """One change that holds the failure and the retry that it causes."""
    wait_s = run.terms.backoff.wait_s(failed.failures) * (1 + MAX_JITTER * jitter)
    attempt = _next_attempt(failed.attempt, run.terms, at, at + timedelta(seconds=wait_s))
    after = replace(failed, attempt=attempt, returns=0, expires_at=None)
    after = replace(after, attempt=_with_index(after.attempt, at))
    failure = replace(failure, state=after.state, will_retry=True)
    by_worker = failed.attempt.reason in (None, Reason.INTERRUPTED)
    retry = replace(AUTOMATIC_RETRY, payload=EMPTY_OBJECT if by_worker else failure.payload)
    return Change(run, after, (failure, _event(after, retry, at)), failed.attempt)


def _next_attempt(closed: OpAttempt, terms: Terms, at: datetime, claimable_from: datetime) -> OpAttempt:
    """The attempt after ``closed``. It counts its RETRIED event already."""
    seq = closed.last_seq + 1
    attempt = OpAttempt(closed.number + 1, first_seq=seq, last_seq=seq, began_at=at)
    return _waiting(attempt, terms, at, claimable_from)


def _waiting(attempt: OpAttempt, terms: Terms, at: datetime, claimable_from: datetime) -> OpAttempt:
    """The attempt with the instants of its wait, which begins ``at``."""
    start = max(claimable_from, terms.start_at or claimable_from)
    deadline = None if terms.queue_ttl_s is None else start + timedelta(seconds=terms.queue_ttl_s)
    return _with_index(replace(attempt, not_before=start if start > at else None, deadline=deadline), at)


def _untimed(attempt: OpAttempt) -> OpAttempt:
    """The attempt without lease and deadlines."""
    return replace(attempt, deadline=None, lease=None)


def _with_index(attempt: OpAttempt, at: datetime) -> OpAttempt:
    """The attempt, in the index of claims or out of it as its state at the instant asks."""
    waits_long = attempt.not_before is not None and attempt.not_before - at > INDEXED_AHEAD
    is_indexed = attempt.state is State.PENDING and attempt.is_offered and not waits_long
    return replace(attempt, is_indexed=is_indexed)


def _next_version(run: OpRun, attempt: OpAttempt, at: datetime, *, default_retain_s: int | None = None) -> OpRun:
    """The run with the attempt as its current one, as the write at the instant leaves it."""
    expires_at = run.expires_at if attempt.state.is_terminal else None
    if attempt.state.is_terminal and not run.state.is_terminal:
        expires_at = _end_of_retention(run.terms, at, default_retain_s)
    returns = 0 if attempt.state is State.RUNNING else run.returns
    return replace(
        run,
        attempt=_with_index(attempt, at),
        returns=returns,
        expires_at=expires_at,
        updated_at=at,
        version=run.version + 1,
    )


def _end_of_retention(terms: Terms, at: datetime, default_retain_s: int | None) -> datetime | None:
    retain_s = default_retain_s if terms.retain_s is None else terms.retain_s
    if retain_s is None:
        return None
    retention = timedelta(seconds=retain_s)
    return at + (max(retention, MIN_RETENTION_OF_PUSHED) if terms.is_delivering else retention)


def _event(after: OpRun, draft: EventDraft, at: datetime, *, behind: int = 0) -> Event:
    """The event of the draft: the last of ``after``, or so many events before it."""
    attempt = after.attempt
    return Event(
        seq=attempt.last_seq - behind,
        id=attempt.last_seq - behind - attempt.first_seq,
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

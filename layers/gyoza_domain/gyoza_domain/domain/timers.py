"""The rules of time: the instants at which the server acts on a run by itself, and what it decides then.

The earliest of several past instants decides.
"""

from dataclasses import replace
from datetime import datetime
from enum import Enum, auto

from .run import CancelOutcome, Change, EventType, OpRun, Reason, Removal, State
from .transitions import (
    INDEXED_AHEAD,
    MAX_RETURNS,
    append_event,
    end_by_server,
    return_to_queue,
    server_event,
)


class _Alarm(Enum):
    """The things that time may do to a run. The first of two at one instant decides."""

    LEASE = auto()
    DEADLINE = auto()
    CANCEL = auto()
    INDEX = auto()
    """The run enters the index of claims. Nothing is told to anybody."""
    RETENTION = auto()


def due_at(run: OpRun) -> datetime | None:
    """The earliest instant at which the server must look at the run; None if there is none.

    A lease is not among them: it has a timer of its own.
    """
    alarms = _alarms(run)
    return min((instant for kind, instant in alarms.items() if kind is not _Alarm.LEASE), default=None)


def wake(
    run: OpRun, now: datetime, *, jitter: float = 0.0, default_retain_s: int | None = None
) -> Change | Removal | None:
    """The decision that the time asks for; None if no instant is past.

    ``jitter`` and ``default_retain_s`` are those of the transitions. A change without events is the timer's own and
    leaves ``updated_at`` as it is.
    """
    past = sorted((instant, kind.value, kind) for kind, instant in _alarms(run).items() if instant <= now)
    if not past:
        return None
    kinds = [kind for _, _, kind in past]
    at = max(now, run.updated_at)
    match kinds[0]:
        case _Alarm.RETENTION:
            return Removal(run)
        case _Alarm.INDEX if _Alarm.DEADLINE not in kinds:
            attempt = replace(run.attempt, is_indexed=True)
            return Change(run, replace(run, attempt=attempt, version=run.version + 1))
        case _Alarm.LEASE:
            change = _lease_ran_out(run, at, jitter, default_retain_s)
            return replace(change, overrules_lease=True)
        case _Alarm.CANCEL:
            draft = server_event(EventType.CANCELLED, "The worker did not stop in time", Reason.CANCEL_NOT_ACKNOWLEDGED)
            return end_by_server(run, draft, at, CancelOutcome.FORCED, default_retain_s=default_retain_s)
        case _:
            return _deadline_passed(run, at, jitter, default_retain_s)


def _alarms(run: OpRun) -> dict[_Alarm, datetime]:
    """The instants of the run, by what happens at each."""
    attempt = run.attempt
    instants: dict[_Alarm, datetime | None] = {
        _Alarm.LEASE: None if attempt.lease is None else attempt.lease.until,
        _Alarm.CANCEL: None if attempt.cancel is None or run.state.is_terminal else attempt.cancel.cancel_by,
        _Alarm.DEADLINE: attempt.deadline,
        _Alarm.RETENTION: run.expires_at,
    }
    if run.state is State.PENDING and attempt.is_offered and not attempt.is_indexed and attempt.not_before is not None:
        instants[_Alarm.INDEX] = attempt.not_before - INDEXED_AHEAD
    return {kind: instant for kind, instant in instants.items() if instant is not None}


def _lease_ran_out(run: OpRun, at: datetime, jitter: float, default_retain_s: int | None) -> Change:
    msg = "The worker's lease ran out"
    if run.attempt.cancel is not None:
        draft = server_event(EventType.CANCELLED, msg, Reason.LOST)
        return end_by_server(run, draft, at, CancelOutcome.FORCED, default_retain_s=default_retain_s)
    if run.state is State.ASSIGNED and run.returns + 1 < MAX_RETURNS:
        return return_to_queue(run, server_event(EventType.RETRIED, msg, Reason.LOST), at)
    draft = server_event(EventType.FAILED, msg, Reason.LOST)
    return append_event(run, draft, at, jitter=jitter, default_retain_s=default_retain_s)


def _deadline_passed(run: OpRun, at: datetime, jitter: float, default_retain_s: int | None) -> Change:
    """The end of the longest wait, or of the longest time that an attempt may run."""
    if run.state is State.PENDING:
        draft = server_event(EventType.FAILED, "No worker took the run in time", Reason.EXPIRED)
        return append_event(run, draft, at, default_retain_s=default_retain_s)
    msg = "The attempt took longer than it may"
    if run.attempt.cancel is not None:
        draft = server_event(EventType.CANCELLED, msg, Reason.TIMED_OUT)
        return end_by_server(run, draft, at, CancelOutcome.FORCED, default_retain_s=default_retain_s)
    draft = server_event(EventType.FAILED, msg, Reason.TIMED_OUT)
    return append_event(run, draft, at, jitter=jitter, default_retain_s=default_retain_s)

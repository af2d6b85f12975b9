"""Renders runs, attempts, events and pages as JSON text.

Documents are JSON text already. They are copied and never parsed, so that only the other fields cost time.
``now`` gives the instant of the answer. It is asked only for a run that waits for an instant.
"""

import json
from collections.abc import Callable, Iterable
from datetime import datetime

from ..domain.instants import instant_to_text
from ..domain.json_parts import json_array, json_object, json_scalar
from ..domain.run import (
    AttemptResult,
    Claim,
    Constraints,
    Event,
    EventDelivery,
    Lease,
    OpAttempt,
    OpRun,
    RunSpec,
    State,
    Terms,
)
from ..runs.views import AttemptView, EventPage, RowShape, RunView

MAX_ANSWER_BYTES = 5_000_000
"""The most bytes of an answer as Lambda sends it, with the body as one JSON string. Lambda itself allows 6 MB."""


Now = Callable[[], datetime]

_NO_CLAIM = Claim(seq=-1, worker_id=None)
_NO_RESULT = AttemptResult()

_NOT_IN_SUMMARY = frozenset({"inputs", "outputs", "constraints", "execution_summary"})


def run_json(view: RunView, now: Now) -> str:
    """The OpRun of docs/openapi.yaml, with its events."""
    fields = _row_fields(view, now) | _lease_fields(view.run.attempt.lease)
    return json_object(fields | {"events": _events_json(view.events, view.run.state)})


def row_json(view: RunView, shape: RowShape, now: Now) -> str:
    """A row of a list: an OpRun without its lease, and without its events unless they are asked for; or a summary."""
    if shape is RowShape.SUMMARY:
        return json_object(_summary_fields(view, now))
    fields = _row_fields(view, now)
    if shape is RowShape.WITH_EVENTS:
        fields["events"] = _events_json(view.events, view.run.state)
    return json_object(fields)


def _row_fields(view: RunView, now: Now) -> dict[str, str]:
    run, spec, terms, attempt = view.run, view.spec, view.run.terms, view.run.attempt
    return {
        "id": json_scalar(run.id),
        "state": json_scalar(run.state),
        "priority": str(run.priority),
        "image": json_scalar(spec.image),
        "inputs": spec.inputs,
        "outputs": _result_of(attempt).outputs,
        "progress": str(attempt.progress),
        "constraints": constraints_json(spec.constraints),
        "retry_policy": retry_policy_json(run.max_attempts, terms),
        "event_delivery": event_delivery_json(spec.event_delivery),
        "op_definition": json_scalar(spec.op_definition),
        "op_version": json_scalar(spec.op_version),
        "op_revision": json_scalar(spec.op_revision),
        "queue": json_scalar(terms.queue),
        "start_at": instant_json(terms.start_at),
        "queue_ttl_s": json_scalar(terms.queue_ttl_s),
        "attempt_timeout_s": json_scalar(terms.attempt_timeout_s),
        "retain_s": json_scalar(terms.retain_s),
        "executor": "null",
        "report": "null",
        "current_attempt": str(attempt.number),
        "event_count": str(attempt.event_count),
        "last_seq": str(run.last_seq),
        "execution_summary": _execution_summary_json(attempt),
        "not_before": _not_before_json(attempt, now),
        "deadline": instant_json(attempt.deadline),
        "cancel": _cancel_json(attempt),
        "cancel_by": _cancel_by_json(attempt),
        "created_at": instant_json(run.created_at),
        "updated_at": instant_json(run.updated_at),
    }


def _summary_fields(view: RunView, now: Now) -> dict[str, str]:
    attempt = view.run.attempt
    fields = {name: value for name, value in _row_fields(view, now).items() if name not in _NOT_IN_SUMMARY}
    return fields | {
        "reason": json_scalar(attempt.reason),
        "started_at": instant_json(attempt.started_at),
        "finished_at": instant_json(attempt.finished_at),
    }


def minimal_json(run: OpRun) -> str:
    """The fields of a run that ``Prefer: return=minimal`` asks for."""
    return json_object(
        {
            "id": json_scalar(run.id),
            "state": json_scalar(run.state),
            "current_attempt": str(run.attempt.number),
            "event_count": str(run.attempt.event_count),
            "last_seq": str(run.last_seq),
            **_lease_fields(run.attempt.lease),
            "cancel_by": _cancel_by_json(run.attempt),
            "updated_at": instant_json(run.updated_at),
        }
    )


def heartbeat_json(run: OpRun, lease: Lease) -> str:
    """The answer to a heartbeat, with the lease as it stands after it."""
    return json_object(
        {
            "id": json_scalar(run.id),
            "state": json_scalar(run.state),
            "current_attempt": str(run.attempt.number),
            **_lease_fields(lease),
            "cancel_by": _cancel_by_json(run.attempt),
        }
    )


def page_json(rows: Iterable[str], *, next_cursor: str | None, url: str) -> str:
    """A page of a list. ``next_cursor`` is None on the last page."""
    return json_object(
        {
            "object": '"list"',
            "data": json_array(rows),
            "has_more": json_scalar(next_cursor is not None),
            "next_cursor": json_scalar(next_cursor),
            "url": json_scalar(url),
        }
    )


def event_page_json(page: EventPage) -> str:
    run = page.run
    return json_object(
        {
            "events": _events_json(page.events, run.state),
            "has_more": json_scalar(page.has_more),
            "state": json_scalar(run.state),
            "current_attempt": str(run.attempt.number),
            "last_seq": str(run.last_seq),
        }
    )


def attempt_json(run: OpRun, spec: RunSpec, view: AttemptView) -> str:
    """The OpAttempt of docs/openapi.yaml."""
    attempt = view.attempt
    return json_object(
        {
            "id": json_scalar(f"{run.id}/{attempt.number}"),
            "op_run_id": json_scalar(run.id),
            "attempt": str(attempt.number),
            "state": json_scalar(attempt.state),
            "progress": str(attempt.progress),
            "events": _events_json(view.events, run.state),
            "event_count": str(attempt.event_count),
            "inputs": spec.inputs,
            "outputs": _result_of(attempt).outputs,
            "execution_summary": _execution_summary_json(attempt),
            "constraints": constraints_json(spec.constraints),
            "created_at": instant_json(attempt.began_at or run.created_at),
            "assigned_at": instant_json(attempt.assigned_at),
            "started_at": instant_json(attempt.started_at),
            "finished_at": instant_json(attempt.finished_at),
        }
    )


def attempt_list_json(attempts: Iterable[str]) -> str:
    return json_array(attempts)


def answer_bytes(text: str) -> int:
    """The bytes that the text adds to an answer, as Lambda sends it."""
    return len(json_scalar(text).encode())


def _events_json(events: Iterable[Event], state: State) -> str:
    return json_array(_event_json(event, state) for event in events)


def _event_json(event: Event, state: State) -> str:
    return json_object(
        {
            "id": str(event.id),
            "seq": str(event.seq),
            "attempt": str(event.attempt),
            "type": json_scalar(event.type),
            "t": instant_json(event.at),
            "msg": json_scalar(event.msg),
            "state": json_scalar(state),
            "payload": event.posted_payload,
        }
    )


def _execution_summary_json(attempt: OpAttempt) -> str:
    claim, result = attempt.claim or _NO_CLAIM, _result_of(attempt)
    return json_object(
        {
            "worker_id": json_scalar(claim.worker_id),
            "gpu_id": json_scalar(claim.gpu_id),
            "duration_ms": json_scalar(result.duration_ms),
            "error_message": json_scalar(result.error_message),
            "reason": json_scalar(attempt.reason),
        }
    )


def _result_of(attempt: OpAttempt) -> AttemptResult:
    return attempt.result or _NO_RESULT


def retry_policy_json(max_attempts: int, terms: Terms) -> str:
    """The policy with those of its optional members that were given."""
    backoff = terms.backoff
    optional = {
        "backoff_s": backoff.initial_s,
        "backoff_factor": backoff.factor,
        "max_backoff_s": backoff.max_s,
        "max_lost": terms.max_lost,
    }
    given = {name: _number_json(value) for name, value in optional.items() if value is not None}
    return json_object({"max_attempts": str(max_attempts)} | given)


def _number_json(value: float) -> str:
    """The number, without a fraction if it is integral."""
    return str(int(value)) if value == int(value) else json.dumps(value)


def _lease_fields(lease: Lease | None) -> dict[str, str]:
    if lease is None:
        return {"lease_s": "null", "lease_until": "null"}
    return {"lease_s": str(lease.lease_s), "lease_until": instant_json(lease.until)}


def _not_before_json(attempt: OpAttempt, now: Now) -> str:
    not_before = attempt.not_before
    return "null" if not_before is None or not_before <= now() else instant_json(not_before)


def _cancel_json(attempt: OpAttempt) -> str:
    cancel = attempt.cancel
    if cancel is None:
        return "null"
    return json_object(
        {
            "requested_at": instant_json(cancel.requested_at),
            "by": json_scalar(cancel.by),
            "outcome": json_scalar(cancel.outcome),
        }
    )


def _cancel_by_json(attempt: OpAttempt) -> str:
    return instant_json(None if attempt.cancel is None else attempt.cancel.cancel_by)


def constraints_json(constraints: Constraints) -> str:
    return json_object({name: json_scalar(getattr(constraints, name)) for name in ("cpu", "ram_mb", "vram_mb")})


def event_delivery_json(delivery: EventDelivery | None) -> str:
    return (
        "null"
        if delivery is None
        else json_object({"topic": json_scalar(delivery.topic), "attributes": delivery.attributes})
    )


def instant_json(instant: datetime | None) -> str:
    return "null" if instant is None else f'"{instant_to_text(instant)}"'

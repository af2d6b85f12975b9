"""Renders runs, attempts, events and pages as JSON text.

Documents are JSON text already. They are copied and never parsed, so that only the other fields cost time.
"""

from collections.abc import Iterable
from datetime import datetime

from ..domain.instants import instant_to_text
from ..domain.json_parts import json_array, json_object, json_scalar
from ..domain.run import AttemptResult, Claim, Constraints, Event, OpAttempt, OpRun, RunSpec, State
from ..runs.views import AttemptView, EventPage, RowShape, RunView

MAX_ANSWER_BYTES = 5_000_000
"""The most bytes of an answer as Lambda sends it, with the body as one JSON string. Lambda itself allows 6 MB."""


_NO_CLAIM = Claim(seq=-1, worker_id=None)
_NO_RESULT = AttemptResult()


def run_json(view: RunView) -> str:
    """The OpRun of docs/openapi.yaml, with its events."""
    return json_object(_whole_fields(view) | {"events": _events_json(view.events, view.run.state)})


def row_json(view: RunView, shape: RowShape) -> str:
    """A row of a list: an OpRun without events, an OpRun with events, or a summary."""
    if shape is RowShape.WITH_EVENTS:
        return run_json(view)
    return json_object(_whole_fields(view) if shape is RowShape.WHOLE else _summary_fields(view))


def _whole_fields(view: RunView) -> dict[str, str]:
    run, spec, attempt = view.run, view.spec, view.run.attempt
    return {
        "id": json_scalar(run.id),
        "state": json_scalar(run.state),
        "priority": str(run.priority),
        "image": json_scalar(spec.image),
        "inputs": spec.inputs,
        "outputs": _result_of(attempt).outputs,
        "progress": str(attempt.progress),
        "constraints": _constraints_json(spec.constraints),
        "retry_policy": _retry_policy_json(run),
        "event_delivery": _event_delivery_json(spec),
        "op_definition": json_scalar(spec.op_definition),
        "current_attempt": str(attempt.number),
        "event_count": str(attempt.event_count),
        "last_seq": str(run.last_seq),
        "execution_summary": _execution_summary_json(attempt),
        "created_at": _instant_json(run.created_at),
        "updated_at": _instant_json(run.updated_at),
    }


def _summary_fields(view: RunView) -> dict[str, str]:
    run, spec, attempt = view.run, view.spec, view.run.attempt
    return {
        "id": json_scalar(run.id),
        "state": json_scalar(run.state),
        "priority": str(run.priority),
        "image": json_scalar(spec.image),
        "progress": str(attempt.progress),
        "retry_policy": _retry_policy_json(run),
        "event_delivery": _event_delivery_json(spec),
        "op_definition": json_scalar(spec.op_definition),
        "current_attempt": str(attempt.number),
        "event_count": str(attempt.event_count),
        "last_seq": str(run.last_seq),
        "reason": "null",
        "started_at": _instant_json(attempt.started_at),
        "finished_at": _instant_json(attempt.finished_at),
        "created_at": _instant_json(run.created_at),
        "updated_at": _instant_json(run.updated_at),
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
            "updated_at": _instant_json(run.updated_at),
        }
    )


def run_page_json(rows: Iterable[str], *, has_more: bool, next_cursor: str | None) -> str:
    return json_object(
        {
            "object": '"list"',
            "data": json_array(rows),
            "has_more": json_scalar(has_more),
            "next_cursor": json_scalar(next_cursor),
            "url": '"/runs"',
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
            "constraints": _constraints_json(spec.constraints),
            "started_at": _instant_json(attempt.started_at),
            "finished_at": _instant_json(attempt.finished_at),
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
            "t": _instant_json(event.at),
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
        }
    )


def _result_of(attempt: OpAttempt) -> AttemptResult:
    return attempt.result or _NO_RESULT


def _retry_policy_json(run: OpRun) -> str:
    return json_object({"max_attempts": str(run.max_attempts)})


def _constraints_json(constraints: Constraints) -> str:
    return json_object({name: json_scalar(getattr(constraints, name)) for name in ("cpu", "ram_mb", "vram_mb")})


def _event_delivery_json(spec: RunSpec) -> str:
    delivery = spec.event_delivery
    return (
        "null"
        if delivery is None
        else json_object({"topic": json_scalar(delivery.topic), "attributes": delivery.attributes})
    )


def _instant_json(instant: datetime | None) -> str:
    return "null" if instant is None else f'"{instant_to_text(instant)}"'

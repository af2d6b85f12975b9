"""Values as JSON text.

Documents are JSON text already and are set in as they are, never parsed: an answer costs what its own fields cost.
"""

from collections.abc import Iterable
from datetime import datetime

from ..domain.instants import instant_to_text
from ..domain.json_parts import json_array, json_object, json_scalar
from ..domain.run import AttemptResult, Claim, Constraints, Event, OpAttempt, OpRun, RunSpec, State
from ..runs.views import AttemptView, EventPage, RowShape, RunView

MAX_ANSWER_BYTES = 5_000_000
"""The largest answer as Lambda sends it, the body as one JSON string. Lambda itself allows 6 MB."""


_NO_CLAIM = Claim(seq=-1, worker_id=None)
_NO_RESULT = AttemptResult()


def run(view: RunView) -> str:
    """An OpRun with its events."""
    return json_object(_whole(view) | {"events": _events(view.events, view.run.state)})


def row(view: RunView, shape: RowShape) -> str:
    """A row of a list: an OpRun without its events, with them, or its summary."""
    if shape is RowShape.WITH_EVENTS:
        return run(view)
    return json_object(_whole(view) if shape is RowShape.WHOLE else _summary(view))


def _whole(view: RunView) -> dict[str, str]:
    run_, spec, attempt = view.run, view.spec, view.run.attempt
    return {
        "id": json_scalar(run_.id),
        "state": json_scalar(run_.state),
        "priority": str(run_.priority),
        "image": json_scalar(spec.image),
        "inputs": spec.inputs,
        "outputs": _result(attempt).outputs,
        "progress": str(attempt.progress),
        "constraints": _constraints(spec.constraints),
        "retry_policy": _retry_policy(run_),
        "event_delivery": _event_delivery(spec),
        "op_definition": json_scalar(spec.op_definition),
        "current_attempt": str(attempt.number),
        "event_count": str(attempt.event_count),
        "last_seq": str(run_.last_seq),
        "execution_summary": _execution_summary(attempt),
        "created_at": _instant(run_.created_at),
        "updated_at": _instant(run_.updated_at),
    }


def _summary(view: RunView) -> dict[str, str]:
    run_, spec, attempt = view.run, view.spec, view.run.attempt
    return {
        "id": json_scalar(run_.id),
        "state": json_scalar(run_.state),
        "priority": str(run_.priority),
        "image": json_scalar(spec.image),
        "progress": str(attempt.progress),
        "retry_policy": _retry_policy(run_),
        "event_delivery": _event_delivery(spec),
        "op_definition": json_scalar(spec.op_definition),
        "current_attempt": str(attempt.number),
        "event_count": str(attempt.event_count),
        "last_seq": str(run_.last_seq),
        "reason": "null",
        "started_at": _instant(attempt.started_at),
        "finished_at": _instant(attempt.finished_at),
        "created_at": _instant(run_.created_at),
        "updated_at": _instant(run_.updated_at),
    }


def minimal(run_: OpRun) -> str:
    """The fields of a run that ``Prefer: return=minimal`` asks for."""
    return json_object(
        {
            "id": json_scalar(run_.id),
            "state": json_scalar(run_.state),
            "current_attempt": str(run_.attempt.number),
            "event_count": str(run_.attempt.event_count),
            "last_seq": str(run_.last_seq),
            "updated_at": _instant(run_.updated_at),
        }
    )


def run_page(rows: Iterable[str], *, has_more: bool, next_cursor: str | None) -> str:
    return json_object(
        {
            "object": '"list"',
            "data": json_array(rows),
            "has_more": json_scalar(has_more),
            "next_cursor": json_scalar(next_cursor),
            "url": '"/runs"',
        }
    )


def event_page(page: EventPage) -> str:
    run_ = page.run
    return json_object(
        {
            "events": _events(page.events, run_.state),
            "has_more": json_scalar(page.has_more),
            "state": json_scalar(run_.state),
            "current_attempt": str(run_.attempt.number),
            "last_seq": str(run_.last_seq),
        }
    )


def attempt(run_: OpRun, spec: RunSpec, view: AttemptView) -> str:
    """An OpAttempt."""
    attempt_ = view.attempt
    return json_object(
        {
            "id": json_scalar(f"{run_.id}/{attempt_.number}"),
            "op_run_id": json_scalar(run_.id),
            "attempt": str(attempt_.number),
            "state": json_scalar(attempt_.state),
            "progress": str(attempt_.progress),
            "events": _events(view.events, run_.state),
            "event_count": str(attempt_.event_count),
            "inputs": spec.inputs,
            "outputs": _result(attempt_).outputs,
            "execution_summary": _execution_summary(attempt_),
            "constraints": _constraints(spec.constraints),
            "started_at": _instant(attempt_.started_at),
            "finished_at": _instant(attempt_.finished_at),
        }
    )


def attempt_list(attempts: Iterable[str]) -> str:
    return json_array(attempts)


def answer_bytes(text: str) -> int:
    """The bytes that the text adds to an answer, as Lambda sends it."""
    return len(json_scalar(text).encode())


def _events(events: Iterable[Event], state: State) -> str:
    return json_array(_event(event, state) for event in events)


def _event(event: Event, state: State) -> str:
    return json_object(
        {
            "id": str(event.id),
            "seq": str(event.seq),
            "attempt": str(event.attempt),
            "type": json_scalar(event.type),
            "t": _instant(event.at),
            "msg": json_scalar(event.msg),
            "state": json_scalar(state),
            "payload": event.posted_payload,
        }
    )


def _execution_summary(attempt_: OpAttempt) -> str:
    claim, result = attempt_.claim or _NO_CLAIM, _result(attempt_)
    return json_object(
        {
            "worker_id": json_scalar(claim.worker_id),
            "gpu_id": json_scalar(claim.gpu_id),
            "duration_ms": json_scalar(result.duration_ms),
            "error_message": json_scalar(result.error_message),
        }
    )


def _result(attempt_: OpAttempt) -> AttemptResult:
    return attempt_.result or _NO_RESULT


def _retry_policy(run_: OpRun) -> str:
    return json_object({"max_attempts": str(run_.max_attempts)})


def _constraints(constraints: Constraints) -> str:
    return json_object({name: json_scalar(getattr(constraints, name)) for name in ("cpu", "ram_mb", "vram_mb")})


def _event_delivery(spec: RunSpec) -> str:
    delivery = spec.event_delivery
    return (
        "null"
        if delivery is None
        else json_object({"topic": json_scalar(delivery.topic), "attributes": delivery.attributes})
    )


def _instant(instant: datetime | None) -> str:
    return "null" if instant is None else f'"{instant_to_text(instant)}"'

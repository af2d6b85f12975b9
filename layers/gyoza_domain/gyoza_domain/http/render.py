"""Values as JSON text.

Documents are JSON text already and are set in as they are, never parsed: an answer costs what its own fields cost.
"""

import json
from collections.abc import Iterable
from datetime import datetime

from ..domain.instants import instant_to_text
from ..domain.run import AttemptResult, Claim, Constraints, Event, OpAttempt, OpRun, RunSpec, State
from ..ports import AttemptView, RunView

ANSWER_BYTES = 5_000_000
"""An answer at most, as Lambda sends it: the body as one JSON string (contract, section 2; Lambda allows 6 MB)."""


_NO_CLAIM = Claim(seq=-1, worker_id=None)
_NO_RESULT = AttemptResult()


def run(view: RunView, *, with_events: bool = True) -> str:
    """An OpRun."""
    run_, spec, attempt = view.run, view.spec, view.run.attempt
    members = {
        "id": _text(run_.id),
        "state": _text(run_.state),
        "priority": str(run_.priority),
        "image": _text(spec.image),
        "inputs": spec.inputs,
        "outputs": _result(attempt).outputs,
        "progress": str(attempt.progress),
        "constraints": _constraints(spec.constraints),
        "retry_policy": _object({"max_attempts": str(run_.max_attempts)}),
        "event_delivery": _event_delivery(spec),
        "op_definition": _scalar(spec.op_definition),
        "current_attempt": str(attempt.number),
        "event_count": str(attempt.event_count),
        "last_seq": str(run_.last_seq),
        "execution_summary": _execution_summary(attempt),
        "created_at": _instant(run_.created_at),
        "updated_at": _instant(run_.updated_at),
    }
    if with_events:
        members["events"] = _events(view.events, run_.state)
    return _object(members)


def minimal(run_: OpRun) -> str:
    """What ``Prefer: return=minimal`` asks for."""
    return _object(
        {
            "id": _text(run_.id),
            "state": _text(run_.state),
            "current_attempt": str(run_.attempt.number),
            "event_count": str(run_.attempt.event_count),
            "last_seq": str(run_.last_seq),
            "updated_at": _instant(run_.updated_at),
        }
    )


def run_page(rows: Iterable[str], *, has_more: bool, next_cursor: str | None) -> str:
    return _object(
        {
            "object": '"list"',
            "data": _array(rows),
            "has_more": _scalar(has_more),
            "next_cursor": _scalar(next_cursor),
            "url": '"/runs"',
        }
    )


def event_page(events: Iterable[Event], state: State, *, has_more: bool) -> str:
    return _object({"events": _events(events, state), "has_more": _scalar(has_more)})


def attempt(run_: OpRun, spec: RunSpec, view: AttemptView) -> str:
    """An OpAttempt."""
    attempt_ = view.attempt
    return _object(
        {
            "id": _text(f"{run_.id}/{attempt_.number}"),
            "op_run_id": _text(run_.id),
            "attempt": str(attempt_.number),
            "state": _text(attempt_.state),
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
    return _array(attempts)


def answer_bytes(text: str) -> int:
    """What the text adds to an answer, as Lambda sends it."""
    return len(_text(text).encode())


def _events(events: Iterable[Event], state: State) -> str:
    return _array(_event(event, state) for event in events)


def _event(event: Event, state: State) -> str:
    return _object(
        {
            "id": str(event.id),
            "seq": str(event.seq),
            "attempt": str(event.attempt),
            "type": _text(event.type),
            "t": _instant(event.at),
            "msg": _scalar(event.msg),
            "state": _text(state),
            "payload": _payload(event),
        }
    )


def _payload(event: Event) -> str:
    """The payload as it was posted: what is kept beside it is put back in."""
    members = [] if event.payload == "{}" else [event.payload[1:-1]]
    if event.outputs is not None:
        members.append(f'"outputs":{event.outputs}')
    if event.error_message is not None:
        members.append(f'"error_message":{_text(event.error_message)}')
    return "{" + ",".join(members) + "}"


def _execution_summary(attempt_: OpAttempt) -> str:
    claim, result = attempt_.claim or _NO_CLAIM, _result(attempt_)
    return _object(
        {
            "worker_id": _scalar(claim.worker_id),
            "gpu_id": _scalar(claim.gpu_id),
            "duration_ms": _scalar(result.duration_ms),
            "error_message": _scalar(result.error_message),
        }
    )


def _result(attempt_: OpAttempt) -> AttemptResult:
    return attempt_.result or _NO_RESULT


def _constraints(constraints: Constraints) -> str:
    return _object({name: _scalar(getattr(constraints, name)) for name in ("cpu", "ram_mb", "vram_mb")})


def _event_delivery(spec: RunSpec) -> str:
    delivery = spec.event_delivery
    return "null" if delivery is None else _object({"topic": _text(delivery.topic), "attributes": delivery.attributes})


def _instant(instant: datetime | None) -> str:
    return "null" if instant is None else f'"{instant_to_text(instant)}"'


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _scalar(value: str | int | None) -> str:
    return json.dumps(value, ensure_ascii=False)


def _object(members: dict[str, str]) -> str:
    return "{" + ",".join(f'"{name}":{value}' for name, value in members.items()) + "}"


def _array(items: Iterable[str]) -> str:
    return "[" + ",".join(items) + "]"

"""JSON as the API answers, with defaults for what a test does not name."""

from typing import Any

RUN_ID = "6f1c2a54-9d1b-4c55-8a39-2f0f5c7be911"
OTHER_ID = "6f1c2a54-9d1b-4c55-8a39-2f0f5c7be912"
T0 = "2026-03-02T20:00:01.042000Z"


def run_json(state: str = "PENDING", **fields: Any) -> dict[str, Any]:
    return row_json(state, events=[], lease_s=None, lease_until=None) | fields


def claimed_json(worker_id: str, state: str = "ASSIGNED", **fields: Any) -> dict[str, Any]:
    """A run that the worker has."""
    run = run_json(state, lease_s=90, lease_until=T0, **fields)
    return run | {"execution_summary": run["execution_summary"] | {"worker_id": worker_id}}


def row_json(state: str = "PENDING", **fields: Any) -> dict[str, Any]:
    large = {
        "inputs": {},
        "outputs": {},
        "constraints": {"cpu": None, "ram_mb": None, "vram_mb": None},
        "execution_summary": dict.fromkeys(["worker_id", "gpu_id", "duration_ms", "error_message", "reason"]),
    }
    return common_json(state) | large | fields


def summary_json(state: str = "PENDING", **fields: Any) -> dict[str, Any]:
    return common_json(state) | {"reason": None, "started_at": None, "finished_at": None} | fields


def common_json(state: str) -> dict[str, Any]:
    return {
        "id": RUN_ID,
        "state": state,
        "priority": 5,
        "image": "busybox:1",
        "progress": 0,
        "retry_policy": {"max_attempts": 1},
        "event_delivery": None,
        "op_definition": None,
        "op_version": None,
        "op_revision": None,
        "queue": "default",
        "start_at": None,
        "queue_ttl_s": None,
        "attempt_timeout_s": None,
        "retain_s": None,
        "executor": None,
        "report": None,
        "current_attempt": 1,
        "event_count": 0,
        "last_seq": -1,
        "not_before": None,
        "deadline": None,
        "cancel": None,
        "cancel_by": None,
        "created_at": T0,
        "updated_at": T0,
    }


def event_json(seq: int, *, attempt: int = 1, **fields: Any) -> dict[str, Any]:
    return {
        "id": seq,
        "seq": seq,
        "attempt": attempt,
        "type": "INFO",
        "t": T0,
        "msg": "",
        "state": "RUNNING",
        "payload": {},
    } | fields


def events_json(*seqs: int, state: str = "RUNNING", has_more: bool = False, attempt: int = 1) -> dict[str, Any]:
    events = [event_json(seq, attempt=attempt) for seq in seqs]
    last = seqs[-1] if seqs else -1
    return {"events": events, "has_more": has_more, "state": state, "current_attempt": attempt, "last_seq": last}


def list_json(*rows: Any, next_cursor: str | None = None, url: str = "/runs") -> dict[str, Any]:
    more = next_cursor is not None
    return {"object": "list", "data": list(rows), "has_more": more, "next_cursor": next_cursor, "url": url}


def error_json(code: str, detail: Any = "no") -> dict[str, Any]:
    return {"detail": detail, "code": code, "request_id": "r-1"}


def definition_json(**fields: Any) -> dict[str, Any]:
    spec = {"type": "int", "required": True, "default": None, "description": ""}
    return definition_row_json(input_specs={"n": spec}) | fields


def definition_row_json(**fields: Any) -> dict[str, Any]:
    return {
        "id": "resize",
        "name": "resize",
        "version": "1",
        "revision": 3,
        "image": "busybox:1",
        "constraints": {"cpu": None, "ram_mb": None, "vram_mb": None},
        "retry_policy": {"max_attempts": 1},
        "event_delivery": None,
        "priority": 5,
        "queue": "default",
        "queue_ttl_s": None,
        "attempt_timeout_s": None,
        "retain_s": None,
        "executor": None,
        "report": None,
        "created_at": T0,
        "updated_at": T0,
        "deleted_at": None,
    } | fields

"""Builds the expected answers of docs/openapi.yaml, with the values of an unchanged run."""

import json
import os
from datetime import UTC, datetime, timedelta
from typing import Any

from testing.gateway import REQUEST_ID, Answer

BEGINNING = datetime(2026, 3, 2, 20, 0, 0, 42_000, tzinfo=UTC)

Body = dict[str, Any]


class StepClock:
    """A clock that moves by one second with each decision."""

    def __init__(self) -> None:
        self.decisions = 0

    def now(self) -> datetime:
        self.decisions += 1
        return BEGINNING + timedelta(seconds=self.decisions - 1)


def at(decision: int) -> str:
    """The instant of the n-th decision of a test. Decision 0 is the creation of its run."""
    return (BEGINNING + timedelta(seconds=decision)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


NOBODY: Body = {"worker_id": None, "gpu_id": None, "duration_ms": None, "error_message": None, "reason": None}


def summary(**known: Any) -> Body:
    assert known.keys() <= NOBODY.keys()
    return NOBODY | known


def a_run(run_id: str, **fields: Any) -> Body:
    """An OpRun. By default it was created at decision 0 from an image only."""
    run: Body = {
        "id": run_id,
        "state": "PENDING",
        "priority": 5,
        "image": "busybox:1",
        "inputs": {},
        "outputs": {},
        "progress": 0,
        "constraints": {"cpu": None, "ram_mb": None, "vram_mb": None},
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
        "events": [],
        "event_count": len(fields.get("events", [])),
        "last_seq": fields["events"][-1]["seq"] if fields.get("events") else -1,
        "execution_summary": NOBODY,
        "not_before": None,
        "deadline": None,
        "cancel": None,
        "cancel_by": None,
        "lease_s": None,
        "lease_until": None,
        "created_at": at(0),
        "updated_at": at(0),
    }
    assert fields.keys() <= run.keys()
    return run | fields


def an_event(seq: int, type_: str, state: str, **fields: Any) -> Body:
    """An event of attempt 1, posted at decision ``seq + 1``. ``state`` is the run's state when the event is read."""
    event: Body = {
        "id": seq,
        "seq": seq,
        "attempt": 1,
        "type": type_,
        "t": at(seq + 1),
        "msg": "",
        "state": state,
        "payload": {},
    }
    assert fields.keys() <= event.keys()
    return event | fields


def an_attempt(run_id: str, number: int, **fields: Any) -> Body:
    """An OpAttempt."""
    attempt: Body = {
        "id": f"{run_id}/{number}",
        "op_run_id": run_id,
        "attempt": number,
        "state": "PENDING",
        "progress": 0,
        "events": [],
        "event_count": len(fields.get("events", [])),
        "inputs": {},
        "outputs": {},
        "execution_summary": NOBODY,
        "constraints": {"cpu": None, "ram_mb": None, "vram_mb": None},
        "created_at": at(0),
        "assigned_at": None,
        "started_at": None,
        "finished_at": None,
    }
    assert fields.keys() <= attempt.keys()
    return attempt | fields


OF_THE_LEASE = ("lease_s", "lease_until")

MINIMAL = (
    *("id", "state", "current_attempt", "event_count", "last_seq"),
    *OF_THE_LEASE,
    *("cancel_by", "updated_at"),
)
"""The fields of a run with ``Prefer: return=minimal``."""


def a_row(run: Body, *, with_events: bool = False) -> Body:
    """The row of a list for the run."""
    left_out = OF_THE_LEASE if with_events else (*OF_THE_LEASE, "events")
    return {name: value for name, value in run.items() if name not in left_out}


def minimal(run: Body) -> Body:
    return {name: run[name] for name in MINIMAL}


def assert_minimal(answer: Answer, run: Body, *, status: int = 200) -> None:
    assert (answer.status, answer.json) == (status, minimal(run))
    assert answer.headers["Preference-Applied"] == "return=minimal"


def assert_refused(answer: Answer, status: int, code: str, *words: str) -> None:
    """Assert an error whose detail is a sentence with these words."""
    assert (answer.status, answer.json["code"]) == (status, code), answer.text
    assert_error_shape(answer, *words)
    detail = answer.json["detail"]
    assert isinstance(detail, str)
    assert " " in detail, "a sentence, not a word"
    assert [word for word in words if word not in detail] == []


def assert_does_not_fit(answer: Answer, *loc: str | int) -> None:
    """Assert a 422 whose list has an entry about ``loc``."""
    assert (answer.status, answer.json.get("code")) == (422, "validation_error"), answer.text
    assert_error_shape(answer)
    details = answer.json["detail"]
    assert [detail.keys() for detail in details] == [{"loc", "msg", "type"}] * len(details)
    assert list(loc) in [detail["loc"] for detail in details]


def bytes_as_sent(answer: Answer) -> int:
    """The bytes of an answer as Lambda sends it, with the body as one JSON string."""
    return len(json.dumps(answer.text, ensure_ascii=False).encode())


INSIDE = ("arn:", "Traceback", "botocore", "boto3", "DynamoDB", "dynamodb", "pydantic", "gyoza_domain", "HEAD#", "RUN#")
"""Words that an answer holds only if it reveals internals."""


def assert_error_shape(answer: Answer, *words: str) -> None:
    """Assert the shape of an error and that it reveals no internals. ``words`` may appear although they look so."""
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json == {
        "detail": answer.json["detail"],
        "code": answer.json["code"],
        "request_id": REQUEST_ID,
    }
    text = answer.text
    for word in words:
        text = text.replace(word, "")
    assert [word for word in (*INSIDE, os.environ["GYOZA_TABLE"]) if word in text] == []

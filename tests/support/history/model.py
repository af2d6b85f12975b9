"""A model of one run: it applies the events of a timeline by the table of states and knows the result.

The rules are written down here from docs/openapi.yaml and docs/guarantees.md, not imported from the domain, so that the
model and the domain check each other.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

MANUAL_RETRY = "Manual retry"
USER_CANCEL = "Cancelled by user"

LIVE = frozenset({"PENDING", "ASSIGNED", "RUNNING"})
TERMINAL = frozenset({"COMPLETED", "FAILED", "CANCELLED"})

ALLOWED_IN = {
    "ASSIGNED": frozenset({"PENDING"}),
    "STARTED": frozenset({"PENDING", "ASSIGNED"}),
    "PROGRESS": frozenset({"RUNNING"}),
    "INFO": LIVE,
    "ERROR": LIVE,
    "COMPLETED": frozenset({"RUNNING"}),
    "FAILED": LIVE,
    "CANCELLED": LIVE,
    "RETRIED": frozenset({"ASSIGNED", "FAILED", "CANCELLED"}),
}
"""The states that each type of event is allowed in (docs/openapi.yaml). ``Replay.refusal`` adds the rest."""


def mark_of(event: Mapping[str, Any]) -> str | None:
    mark: str | None = event.get("payload", {}).get("mark")
    return mark


def cause_of(event: Mapping[str, Any]) -> str:
    """The request that causes the event: its mark, "retry" or "cancel"; "automatic" if the service adds it."""
    mark = mark_of(event)
    if mark is not None:
        return mark
    if (event["type"], event["msg"]) == ("RETRIED", MANUAL_RETRY):
        return "retry"
    if (event["type"], event["msg"]) == ("CANCELLED", USER_CANCEL):
        return "cancel"
    return "automatic" if event["type"] == "RETRIED" else f"unmarked {event['type']}"


class Impossible(Exception):
    """The table of states does not allow the event at its place in the timeline."""


@dataclass
class AttemptSoFar:
    number: int
    state: str = "PENDING"
    progress: int = 0
    outputs: Mapping[str, Any] = field(default_factory=dict)
    worker_id: str | None = None
    gpu_id: int | None = None
    duration_ms: int | None = None
    error_message: str | None = None
    began_at: str | None = None
    """None for the creation of the run."""
    assigned_at: str | None = None
    started_at: str | None = None
    finished_at: str | None = None
    events: list[Mapping[str, Any]] = field(default_factory=list)

    def shown(self) -> dict[str, Any]:
        """The fields that GET attempts shows, without ``created_at``, inputs and constraints."""
        return {
            "attempt": self.number,
            "state": self.state,
            "progress": self.progress,
            "outputs": self.outputs,
            "assigned_at": self.assigned_at,
            "started_at": self.started_at,
            "finished_at": self.finished_at,
            "event_count": len(self.events),
            "events": self.events[-20:],
            "execution_summary": {
                "worker_id": self.worker_id,
                "gpu_id": self.gpu_id,
                "duration_ms": self.duration_ms,
                "error_message": self.error_message,
                "reason": None,
            },
        }


class Replay:
    """A run that is rebuilt from its timeline, event by event, by the table of states."""

    def __init__(self, max_attempts: int) -> None:
        self.attempts = [AttemptSoFar(1)]
        self.last_seq = -1
        self.max_attempts = max_attempts
        self._given_back = 0
        self._owes_retry = False

    @property
    def current(self) -> AttemptSoFar:
        return self.attempts[-1]

    @property
    def has_budget(self) -> bool:
        return len(self.attempts) - self._given_back < self.max_attempts

    def refusal(self, type_: str, *, force: bool) -> str | None:
        """The error code that the service answers if the event is sent now; None if it accepts the event."""
        state = self.current.state
        if type_ == "RETRIED" and state in ("FAILED", "CANCELLED"):
            return None if force or self.has_budget else "retry_budget_spent"
        if state in ALLOWED_IN[type_] or (type_ == "RETRIED" and force and state == "RUNNING"):
            return None
        return "run_locked" if state in TERMINAL else "invalid_transition"

    def apply(self, event: Mapping[str, Any]) -> None:
        """Adds the next event of the timeline. Raises Impossible."""
        self.last_seq += 1
        type_, payload = event["type"], event["payload"]
        if self._owes_retry:
            if cause_of(event) != "automatic":
                raise Impossible(f"event {event['seq']} is no automatic retry, though the budget allowed one")
        elif self.refusal(type_, force=payload.get("force", False)) is not None:
            raise Impossible(f"event {event['seq']} is {type_} on a run that is {self.current.state}")
        if type_ == "RETRIED":
            self._begin_attempt(event["t"])
        else:
            self._effect(type_, event["msg"], payload, event["t"])
        self.current.events.append(event)

    def patch(self, fields: Mapping[str, Any], at: str) -> None:
        attempt = self.current
        if fields.get("outputs") is not None:
            attempt.outputs = fields["outputs"]
        if fields.get("state") is not None:
            if fields["state"] not in TERMINAL:
                attempt.finished_at = None
            elif attempt.state not in TERMINAL:
                attempt.finished_at = at
            attempt.state = fields["state"]

    def finish(self) -> None:
        """Checks that no automatic retry is missing. Raises Impossible."""
        if self._owes_retry:
            raise Impossible("the timeline ends with a failure whose automatic retry is missing")

    def _begin_attempt(self, at: str) -> None:
        ended = self.current
        self._given_back += ended.state == "ASSIGNED"
        if ended.state not in TERMINAL:
            ended.state, ended.finished_at = "CANCELLED", at
        self._owes_retry = False
        self.attempts.append(AttemptSoFar(ended.number + 1, began_at=at))

    def _effect(self, type_: str, msg: Any, payload: Mapping[str, Any], at: str) -> None:
        attempt = self.current
        if type_ == "PROGRESS":
            attempt.progress = msg
        if type_ in ("ASSIGNED", "STARTED"):
            attempt.worker_id, attempt.gpu_id = payload.get("worker_id"), payload.get("gpu_id")
            attempt.state = "ASSIGNED"
        if type_ == "ASSIGNED":
            attempt.assigned_at = at
        if type_ == "STARTED":
            attempt.state, attempt.started_at = "RUNNING", at
        if type_ in TERMINAL:
            attempt.state, attempt.finished_at = type_, at
        if type_ == "COMPLETED":
            attempt.progress, attempt.outputs = 100, payload.get("outputs", attempt.outputs)
        if type_ == "FAILED":
            attempt.error_message = payload.get("error_message")
            self._owes_retry = self.has_budget
        if type_ in ("COMPLETED", "FAILED") and attempt.started_at is not None:
            attempt.duration_ms = _milliseconds(attempt.started_at, at)


def _milliseconds(start: str, end: str) -> int:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)) // timedelta(milliseconds=1)

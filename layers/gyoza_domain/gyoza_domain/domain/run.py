"""OpRun, OpAttempt and Event as values.

Instants are aware datetimes in UTC with microseconds. Documents (inputs, outputs, payloads) are opaque here: they stay
the compact JSON text they are stored and answered as, so no number in them is ever rounded.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NewType

from .json_parts import json_scalar

JsonText = NewType("JsonText", str)
"""Valid, compact JSON."""

EMPTY_OBJECT = JsonText("{}")


class State(StrEnum):
    PENDING = "PENDING"
    ASSIGNED = "ASSIGNED"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def is_terminal(self) -> bool:
        return self in _TERMINAL


_TERMINAL = frozenset({State.COMPLETED, State.FAILED, State.CANCELLED})


class EventType(StrEnum):
    ASSIGNED = "ASSIGNED"
    STARTED = "STARTED"
    PROGRESS = "PROGRESS"
    INFO = "INFO"
    ERROR = "ERROR"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    RETRIED = "RETRIED"


class ResultSource(StrEnum):
    """Says which record holds an attempt's result."""

    EVENT = "EVENT"
    """The attempt's last event, which ended it."""
    PATCH = "PATCH"
    """A record of its own, which a PATCH wrote. It stays the source when an event ends the attempt later."""


@dataclass(frozen=True, slots=True)
class Constraints:
    """Hardware a run asks for: cores and MiB, each >= 0; None leaves it open."""

    cpu: int | None = None
    ram_mb: int | None = None
    vram_mb: int | None = None


@dataclass(frozen=True, slots=True)
class EventDelivery:
    """Where a run's events are pushed: a topic's local name, and message attributes as a JSON object."""

    topic: str
    attributes: JsonText = EMPTY_OBJECT


@dataclass(frozen=True, slots=True)
class RunSpec:
    """What was asked for. Never changes once the run exists."""

    image: str
    inputs: JsonText = EMPTY_OBJECT
    constraints: Constraints = field(default_factory=Constraints)
    event_delivery: EventDelivery | None = None
    op_definition: str | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """Who works on an attempt, as its newest ASSIGNED or STARTED event (number ``seq``) said."""

    seq: int
    worker_id: str | None
    gpu_id: int | None = None


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """The outputs of an attempt, and the error message and duration that its end told."""

    outputs: JsonText = EMPTY_OBJECT
    error_message: str | None = None
    duration_ms: int | None = None


@dataclass(frozen=True, slots=True)
class OpAttempt:
    """One try at a run. Its events carry the numbers ``first_seq`` to ``last_seq`` of the run's own count."""

    number: int
    state: State = State.PENDING
    progress: int = 0
    first_seq: int = 0
    last_seq: int = -1
    started_at: datetime | None = None
    finished_at: datetime | None = None
    claim: Claim | None = None
    result: AttemptResult | None = None
    """None if there is none yet, or if it was not loaded (``result_source`` then tells that there is one)."""
    result_source: ResultSource | None = None
    outputs_bytes: int = 0
    """Size of the result's outputs, known also where the result was not loaded."""

    @property
    def event_count(self) -> int:
        return self.last_seq - self.first_seq + 1


@dataclass(frozen=True, slots=True)
class OpRun:
    """A run as it stands: small whatever its documents and its timeline hold."""

    id: str
    created_at: datetime
    updated_at: datetime
    attempt: OpAttempt
    priority: int = 5
    max_attempts: int = 1
    given_back: int = 0
    """Attempts that went from ASSIGNED back to PENDING; they do not count against the retry budget."""
    created_by: str | None = None
    """Id of the API key that created the run; never the key itself."""
    shard: int = 0
    """Which part of the index of runs lists it: given at creation, kept for life."""
    version: int = 1
    """Grows by one with every write; a write is conditioned on the version its decision read."""

    @property
    def state(self) -> State:
        return self.attempt.state

    @property
    def last_seq(self) -> int:
        return self.attempt.last_seq

    @property
    def has_retry_budget(self) -> bool:
        return self.attempt.number - self.given_back < self.max_attempts


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a run's timeline. ``state`` is the run's as the event's own write left it."""

    seq: int
    id: int
    attempt: int
    type: EventType
    at: datetime
    state: State
    msg: str | int = ""
    payload: JsonText = EMPTY_OBJECT
    """What was posted, less ``outputs`` of COMPLETED and ``error_message`` of FAILED, which follow."""
    outputs: JsonText | None = None
    error_message: str | None = None
    duration_ms: int | None = None
    """On an event that ended a started attempt: the time since STARTED."""
    will_retry: bool = False
    """Whether the same write began another attempt because of this failure."""

    @property
    def text_bytes(self) -> int:
        """Size of what the sender wrote: message, payload, outputs and error message, in UTF-8."""
        texts = (str(self.msg), self.payload, self.outputs, self.error_message)
        return sum(len(text.encode()) for text in texts if text is not None)

    @property
    def posted_payload(self) -> JsonText:
        """The payload as it was posted: what is kept beside it is put back in."""
        members = [] if self.payload == EMPTY_OBJECT else [self.payload[1:-1]]
        if self.outputs is not None:
            members.append(f'"outputs":{self.outputs}')
        if self.error_message is not None:
            members.append(f'"error_message":{json_scalar(self.error_message)}')
        return JsonText("{" + ",".join(members) + "}")


@dataclass(frozen=True, slots=True)
class Change:
    """A decision: the run before and after it, and what is new. Written whole or not at all."""

    before: OpRun
    after: OpRun
    events: tuple[Event, ...] = ()
    closed: OpAttempt | None = None
    """The attempt that a retry ended."""

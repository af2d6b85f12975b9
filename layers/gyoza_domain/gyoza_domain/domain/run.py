"""Defines OpRun, OpAttempt and Event as values.

Instants are aware datetimes in UTC with microseconds. Documents (inputs, outputs, payloads) are compact JSON text from
the request to the answer, so no number in them is rounded.
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
    """Names the record that holds an attempt's result."""

    EVENT = "EVENT"
    """The attempt's last event, which ended it."""
    PATCH = "PATCH"
    """A separate record, which a PATCH wrote. It stays the source if an event ends the attempt later."""


@dataclass(frozen=True, slots=True)
class Constraints:
    """The hardware that a run needs, in cores and MiB, each >= 0. None sets no limit."""

    cpu: int | None = None
    ram_mb: int | None = None
    vram_mb: int | None = None


@dataclass(frozen=True, slots=True)
class EventDelivery:
    """The destination of a run's events: a topic's local name, and message attributes as a JSON object."""

    topic: str
    attributes: JsonText = EMPTY_OBJECT


@dataclass(frozen=True, slots=True)
class RunSpec:
    """The part of the request that a run keeps. It never changes."""

    image: str
    inputs: JsonText = EMPTY_OBJECT
    constraints: Constraints = field(default_factory=Constraints)
    event_delivery: EventDelivery | None = None
    op_definition: str | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """The worker of an attempt, from its newest ASSIGNED or STARTED event, whose number is ``seq``."""

    seq: int
    worker_id: str | None
    gpu_id: int | None = None


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """The outputs of an attempt, and the error message and duration from its last event."""

    outputs: JsonText = EMPTY_OBJECT
    error_message: str | None = None
    duration_ms: int | None = None


@dataclass(frozen=True, slots=True)
class OpAttempt:
    """One try at a run. Its events have the numbers ``first_seq`` to ``last_seq`` in the run."""

    number: int
    state: State = State.PENDING
    progress: int = 0
    first_seq: int = 0
    last_seq: int = -1
    started_at: datetime | None = None
    finished_at: datetime | None = None
    claim: Claim | None = None
    result: AttemptResult | None = None
    """None if the attempt has no result, or if it was not loaded; ``result_source`` is not None in the second case."""
    result_source: ResultSource | None = None
    outputs_bytes: int = 0
    """The size of the result's outputs. It is known even if the result was not loaded."""

    @property
    def event_count(self) -> int:
        return self.last_seq - self.first_seq + 1


@dataclass(frozen=True, slots=True)
class OpRun:
    """The current values of a run. It holds no timeline and no documents, except for a loaded result."""

    id: str
    created_at: datetime
    updated_at: datetime
    attempt: OpAttempt
    priority: int = 5
    max_attempts: int = 1
    given_back: int = 0
    """The number of attempts that went from ASSIGNED back to PENDING. They do not use the retry budget."""
    created_by: str | None = None
    """Id of the API key that created the run; never the key itself."""
    shard: int = 0
    """The part of the index of runs that lists the run. It is set at creation and never changes."""
    version: int = 1
    """Grows by one with every write. A write succeeds only on the version that its decision read."""

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
    """One line of a run's timeline. ``state`` is the state of the run after the write of this event."""

    seq: int
    id: int
    attempt: int
    type: EventType
    at: datetime
    state: State
    msg: str | int = ""
    payload: JsonText = EMPTY_OBJECT
    """The payload without ``outputs`` of COMPLETED and ``error_message`` of FAILED; the next fields hold them."""
    outputs: JsonText | None = None
    error_message: str | None = None
    duration_ms: int | None = None
    """The time since STARTED, on an event that ended a started attempt."""
    will_retry: bool = False
    """True if the same write began another attempt because of this failure."""

    @property
    def text_bytes(self) -> int:
        """The bytes of the message, the payload, the outputs and the error message in UTF-8."""
        texts = (str(self.msg), self.payload, self.outputs, self.error_message)
        return sum(len(text.encode()) for text in texts if text is not None)

    @property
    def posted_payload(self) -> JsonText:
        """The payload as the client posted it, with ``outputs`` and ``error_message`` put back."""
        members = [] if self.payload == EMPTY_OBJECT else [self.payload[1:-1]]
        if self.outputs is not None:
            members.append(f'"outputs":{self.outputs}')
        if self.error_message is not None:
            members.append(f'"error_message":{json_scalar(self.error_message)}')
        return JsonText("{" + ",".join(members) + "}")


@dataclass(frozen=True, slots=True)
class Change:
    """A decision: the run before and after it, and its new events. It is written whole or not at all."""

    before: OpRun
    after: OpRun
    events: tuple[Event, ...] = ()
    closed: OpAttempt | None = None
    """The attempt that a retry ended."""

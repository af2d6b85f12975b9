"""Defines OpRun, OpAttempt and Event as values.

Instants are aware datetimes in UTC with microseconds. Documents (inputs, outputs, payloads) are compact JSON text from
the request to the answer, so no number in them is rounded.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
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


DEFAULT_QUEUE = "default"

MAX_CAPACITY = 10**12
"""The most of each kind of hardware that a claim may offer (docs/openapi.yaml, Capacity)."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """The waits between automatic retries, in seconds. None stands for the default and is not shown to clients.

    Six decimals are kept.

    After the n-th failure the wait is ``initial_s * factor ** (n - 1)``, at most ``max_s``.
    """

    initial_s: float | None = None
    factor: float | None = None
    max_s: float | None = None

    def wait_s(self, failures: int) -> float:
        """The seconds to wait after the n-th failure, n >= 1, without the random part. ``failures`` is n."""
        initial_s = 0.0 if self.initial_s is None else self.initial_s
        factor = 2.0 if self.factor is None else self.factor
        max_s = 3_600.0 if self.max_s is None else self.max_s
        try:
            return min(initial_s * factor ** (failures - 1), max_s)
        except OverflowError:
            return max_s


@dataclass(frozen=True, slots=True)
class Terms:
    """The part of the request that says when a run may start, how long it may take, and who may claim it.

    It never changes. Unlike the spec it is read with every decision. Durations are in seconds; None sets no limit.
    """

    queue: str = DEFAULT_QUEUE
    needs: Constraints = field(default_factory=Constraints)
    """The constraints of the run, which a claim compares with the capacity of its worker."""
    start_at: datetime | None = None
    queue_ttl_s: int | None = None
    """The longest time that an attempt waits for a worker, from the instant from which it may be claimed."""
    attempt_timeout_s: int | None = None
    """The longest time from STARTED to the end of the attempt."""
    backoff: Backoff = field(default_factory=Backoff)
    max_lost: int | None = None
    """The number of losses that do not use the retry budget; None stands for 0."""
    retain_s: int | None = None
    """The time that a terminal run is kept; None leaves it to the deployment."""
    is_delivering: bool = False
    """True if the run has an event_delivery, and so is kept for a day at least."""


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
    """Name of the definition that the run was made from; None for an ad-hoc run, as the next two."""
    op_version: str | None = None
    op_revision: int | None = None
    created_by: str | None = None
    """Id of the API key that created the run; never the key itself."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The worker of an attempt, from its newest ASSIGNED or STARTED event, whose number is ``seq``."""

    seq: int
    worker_id: str | None
    gpu_id: int | None = None


class Reason(StrEnum):
    """Says why an attempt ended other than by its work."""

    LOST = "lost"
    TIMED_OUT = "timed_out"
    EXPIRED = "expired"
    INTERRUPTED = "interrupted"
    CANCEL_NOT_ACKNOWLEDGED = "cancel_not_acknowledged"


LOSSES = frozenset({Reason.LOST, Reason.INTERRUPTED})
"""The reasons of a FAILED attempt that count as a loss."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The time for which a worker holds the current attempt. It ends with the attempt.

    ``worker_id`` is the claimant: the worker of the event that began the lease. ``until`` never moves back.
    """

    lease_s: int
    worker_id: str
    until: datetime

    def renewed(self, now: datetime) -> "Lease":
        return Lease(self.lease_s, self.worker_id, max(self.until, now + timedelta(seconds=self.lease_s)))


class CancelOutcome(StrEnum):
    ACKNOWLEDGED = "acknowledged"
    """The worker stopped its work."""
    COMPLETED = "completed"
    """The worker completed its work first."""
    FORCED = "forced"
    """The run was cancelled without the worker."""


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """The request to the current attempt's worker to stop until ``cancel_by``.

    ``by`` is the id of the API key that asked first. ``outcome`` is None until the attempt has ended.
    """

    requested_at: datetime
    cancel_by: datetime
    by: str | None = None
    outcome: CancelOutcome | None = None


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
    began_at: datetime | None = None
    """The instant at which the attempt began to wait; None for the creation of the run."""
    assigned_at: datetime | None = None
    reason: Reason | None = None
    not_before: datetime | None = None
    """The instant from which a waiting attempt may be claimed; None if it may be claimed from its beginning."""
    is_offered: bool = True
    """False once a PATCH has made the attempt PENDING. No claim takes it then."""
    is_indexed: bool = False
    """True if the index of claims holds the run: the attempt waits and may be claimed now or in two minutes."""
    deadline: datetime | None = None
    """The end of ``queue_ttl_s`` in PENDING and of ``attempt_timeout_s`` in RUNNING; None if there is none."""
    lease: Lease | None = None
    cancel: CancelRequest | None = None

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
    terms: Terms = field(default_factory=Terms)
    given_back: int = 0
    """The number of attempts that went from ASSIGNED back to PENDING. They do not use the retry budget."""
    failures: int = 0
    """The number of attempts that ended FAILED."""
    losses: int = 0
    """The number of attempts that ended FAILED with a reason of LOSSES."""
    returns: int = 0
    """The number of the last attempts, without one between them, whose lease ran out before they were started."""
    expires_at: datetime | None = None
    """The instant from which a terminal run is deleted; None if it is kept for ever."""
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
        """True if a retry without ``force`` may begin another attempt."""
        spared = min(self.losses, self.terms.max_lost or 0)
        return self.attempt.number - self.given_back - spared < self.max_attempts


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
    overrules_lease: bool = False
    """True if the lease of ``before`` ran out. A renewal since then refuses the change."""

    @property
    def is_empty(self) -> bool:
        """True if the change leaves everything but the version as it was."""
        return not self.events and replace(self.after, version=self.before.version) == self.before

    @property
    def ends_run(self) -> bool:
        """True if the run becomes terminal."""
        return self.after.state.is_terminal and not self.before.state.is_terminal


@dataclass(frozen=True, slots=True)
class Removal:
    """The decision to delete a run whose retention has ended."""

    run: OpRun

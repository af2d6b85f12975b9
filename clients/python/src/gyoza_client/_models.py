"""The answers of the API as frozen dataclasses. Their attributes have the API's names.

Each keeps the JSON object it was read from in ``raw``: a field that this release does not know is there. A value that
an enumeration does not know is a plain string. Instants are datetimes in UTC.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Generic, Self, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")

Json = Mapping[str, Any]
"""A JSON object."""


class State(StrEnum):
    PENDING = "PENDING"
    ASSIGNED = "ASSIGNED"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def is_terminal(self) -> bool:
        return self in (State.COMPLETED, State.FAILED, State.CANCELLED)


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


class InputType(StrEnum):
    STRING = "string"
    INT = "int"
    FLOAT = "float"
    BOOL = "bool"
    OBJECT = "object"
    ARRAY = "array"


class Misread(ValueError):
    """The JSON is no object of the API: it is none at all, lacks a field, or an instant is none."""


@dataclass(frozen=True, kw_only=True)
class Model:
    raw: Json = field(repr=False, compare=False)
    """The JSON object as it came, unknown fields included."""

    @classmethod
    def parse(cls, raw: Any, **from_headers: Any) -> Self:
        """Read a JSON object, and fields that came beside it in headers. Raises Misread."""
        if not isinstance(raw, dict):
            raise Misread(f"{cls.__name__} is no JSON object")
        kind: Any = cls
        try:
            values = {name: read(raw[name]) for name, read in _readers(kind).items() if name in raw}
            return cls(raw=raw, **values, **from_headers)
        except (TypeError, ValueError, AttributeError) as reason:
            raise Misread(f"{cls.__name__}: {reason}") from reason


@dataclass(frozen=True, kw_only=True)
class Constraints(Model):
    cpu: int | None = None
    ram_mb: int | None = None
    vram_mb: int | None = None


@dataclass(frozen=True, kw_only=True)
class RetryPolicy(Model):
    """``max_attempts``, and the members that were given; the others are None."""

    max_attempts: int
    backoff_s: float | None = None
    backoff_factor: float | None = None
    max_backoff_s: float | None = None
    max_lost: int | None = None


@dataclass(frozen=True, kw_only=True)
class EventDelivery(Model):
    topic: str
    attributes: Json


@dataclass(frozen=True, kw_only=True)
class ExecutionSummary(Model):
    worker_id: str | None = None
    gpu_id: int | None = None
    duration_ms: int | None = None
    error_message: str | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Cancel(Model):
    """A request to the worker to stop, and its outcome so far."""

    requested_at: datetime
    by: str | None = None
    outcome: str | None = None


@dataclass(frozen=True, kw_only=True)
class Event(Model):
    id: int
    """The position in the timeline of its attempt, from 0."""
    seq: int
    """The position among all events of the run, from 0 and without a gap."""
    attempt: int
    type: EventType | str
    t: datetime
    msg: str | int
    state: State | str
    """The run's state when the event was read."""
    payload: Json


@dataclass(frozen=True, kw_only=True)
class _RunFields(Model):
    """The fields that whole runs, rows of lists and summaries have in common."""

    id: str
    state: State | str
    priority: int
    image: str
    progress: int
    retry_policy: RetryPolicy
    event_delivery: EventDelivery | None = None
    op_definition: str | None = None
    op_version: str | None = None
    op_revision: int | None = None
    queue: str
    start_at: datetime | None = None
    queue_ttl_s: int | None = None
    attempt_timeout_s: int | None = None
    retain_s: int | None = None
    executor: str | None = None
    report: str | None = None
    current_attempt: int
    event_count: int
    last_seq: int
    not_before: datetime | None = None
    deadline: datetime | None = None
    cancel: Cancel | None = None
    cancel_by: datetime | None = None
    created_at: datetime
    updated_at: datetime

    @property
    def is_terminal(self) -> bool:
        """Whether the run has ended: COMPLETED, FAILED or CANCELLED."""
        return is_terminal(self.state)


@dataclass(frozen=True, kw_only=True)
class Run(_RunFields):
    """A run. A row of a list has no ``events`` unless they were asked for, and never a lease."""

    inputs: Json
    outputs: Json
    constraints: Constraints
    execution_summary: ExecutionSummary
    events: tuple[Event, ...] = ()
    """The newest of the current attempt, oldest first; `list_events` has all."""
    lease_s: int | None = None
    lease_until: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class RunSummary(_RunFields):
    """A row without whatever may be large."""

    reason: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class RunMinimal(Model):
    """The run's state and counters, without its documents."""

    id: str
    state: State | str
    current_attempt: int
    event_count: int
    last_seq: int
    lease_s: int | None = None
    lease_until: datetime | None = None
    cancel_by: datetime | None = None
    updated_at: datetime

    @property
    def is_terminal(self) -> bool:
        return is_terminal(self.state)


@dataclass(frozen=True, kw_only=True)
class Heartbeat(Model):
    """The answer to a heartbeat. A worker counts ``lease_s`` from when it sent the request."""

    id: str
    state: State | str
    current_attempt: int
    lease_s: int
    lease_until: datetime
    cancel_by: datetime | None = None
    """Until when the worker is asked to stop, or None where nobody asks."""


@dataclass(frozen=True, kw_only=True)
class Attempt(Model):
    id: str
    op_run_id: str
    attempt: int
    state: State | str
    progress: int
    events: tuple[Event, ...]
    event_count: int
    inputs: Json
    outputs: Json
    execution_summary: ExecutionSummary
    constraints: Constraints
    created_at: datetime
    assigned_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class InputSpec(Model):
    type: InputType | str
    required: bool
    default: Any = None
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class DefinitionRow(Model):
    """A version of a definition, without its inputs."""

    id: str
    name: str
    version: str
    revision: int
    image: str
    constraints: Constraints
    retry_policy: RetryPolicy
    event_delivery: EventDelivery | None = None
    priority: int
    queue: str
    queue_ttl_s: int | None = None
    attempt_timeout_s: int | None = None
    retain_s: int | None = None
    executor: str | None = None
    report: str | None = None
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Definition(DefinitionRow):
    input_specs: Mapping[str, InputSpec]
    etag: str | None = None
    """The header ETag of the answer: what ``if_match`` of `upsert_definition` takes."""


@dataclass(frozen=True, kw_only=True)
class Misfit(Model):
    """A field that does not fit: where it is, a sentence, and the kind of fault."""

    loc: tuple[str | int, ...]
    msg: str
    type: str


@dataclass(frozen=True, kw_only=True)
class Page(Model, Generic[T]):
    """A page of a list. ``next_cursor`` goes on in the same direction; it is None on the last page."""

    object: str
    data: tuple[T, ...]
    has_more: bool
    next_cursor: str | None = None
    url: str


@dataclass(frozen=True, kw_only=True)
class EventPage(Model):
    """A page of events, and how the run stood when they were read."""

    events: tuple[Event, ...]
    has_more: bool
    state: State | str
    current_attempt: int
    last_seq: int

    @property
    def data(self) -> tuple[Event, ...]:
        return self.events


def is_terminal(state: State | str) -> bool:
    return isinstance(state, State) and state.is_terminal


_Reader = Callable[[Any], Any]


@cache
def _readers(model: Any) -> Mapping[str, _Reader]:
    """A function for each field of the model that turns its JSON into its value."""
    hints = get_type_hints(model)
    return {each.name: _reader(hints[each.name]) for each in fields(model) if each.name not in ("raw", "etag")}


def _reader(hint: Any) -> _Reader:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (UnionType, Union):
        return _reader_of_union(arguments)
    if origin is tuple:
        item = _reader(arguments[0])
        return lambda value: tuple(item(each) for each in value)
    if hint != Json and isinstance(origin, type) and issubclass(origin, Mapping):
        member = _reader(arguments[1])
        return lambda value: {name: member(each) for name, each in value.items()}
    if hint is datetime:
        return datetime.fromisoformat
    if isinstance(hint, type) and issubclass(hint, Model):
        return hint.parse
    return _as_it_is


def _reader_of_union(arguments: tuple[Any, ...]) -> _Reader:
    for hint in arguments:
        if isinstance(hint, type) and issubclass(hint, StrEnum):
            members = {each.value: each for each in hint}
            return lambda value: members.get(value, value)
    [known, *_] = [hint for hint in arguments if hint is not NoneType]
    read = _reader(known)
    return lambda value: None if value is None else read(value)


def _as_it_is(value: Any) -> Any:
    return value

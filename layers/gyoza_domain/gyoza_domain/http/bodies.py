"""Request bodies of runs as pydantic models. ``definition_bodies`` has those of definitions.

No other module imports pydantic; routes without a body import neither of the two.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeVar

from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEvent
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import PydanticCustomError

from ..domain.definition import check_topic
from ..domain.errors import shortened
from ..domain.run import (
    DEFAULT_QUEUE,
    MAX_CAPACITY,
    Backoff,
    Constraints,
    EventDelivery,
    EventType,
    Reason,
    RunSpec,
    Terms,
)
from ..domain.transitions import EventDraft
from ..runs.commands import RunPatch
from .errors import MAX_MISFITS, misfit, misfit_error, misfits_error
from .json_text import dump, dump_within
from .request import json_body
from .runs_query import state_named

MAX_DOCUMENT_BYTES = 256 * 1024
"""The most bytes of inputs or outputs as compact UTF-8 JSON (docs/openapi.yaml, as all limits here)."""

MAX_PAYLOAD_BYTES = 16 * 1024
"""The most bytes of an event's payload as compact UTF-8 JSON, without ``outputs`` of COMPLETED."""

MAX_MSG_BYTES = 4 * 1024
MAX_ERROR_MESSAGE_BYTES = 16 * 1024

RESERVED_ATTRIBUTES = frozenset({"run_id", "type", "state", "attempt", "seq"})
"""The message attributes that every pushed event carries. A run must not set them."""

_TOPIC = re.compile(r"[A-Za-z0-9_-]{1,120}(\.fifo)?", re.ASCII)
_ATTRIBUTE_NAME = re.compile(r"(?!\.)(?!.*\.\.)[A-Za-z0-9_.-]{1,100}(?<!\.)", re.ASCII)
_RESERVED_PREFIX = re.compile(r"(aws|amazon)\.", re.IGNORECASE)
_MAX_ATTRIBUTES = 5
_MAX_ATTRIBUTE_CHARACTERS = 256
_MAX_ATTRIBUTE_NUMBER = 1e15

MAX_DAYS_AHEAD = 366
"""The latest ``start_at`` of a run, in days from its creation."""

MAX_WAIT_S = 14 * 86_400
"""The longest ``queue_ttl_s`` and ``attempt_timeout_s``."""

MAX_RETENTION_S = 3_650 * 86_400

MIN_LEASE_S, MAX_LEASE_S, DEFAULT_LEASE_S = 15, 3_600, 90

QUEUE_PATTERN = "^[A-Za-z0-9_-]{1,64}$"

_INSTANT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])",
    re.ASCII,
)

_LEFT_OUT = "left out"


class StrictBody(BaseModel):
    """A strict model: a bool is not an int, unknown fields are refused, and a null counts as an absent field.

    At most 20 unknown fields reach pydantic, because it needs seconds and half a gigabyte to list those of the largest
    body. The context, a Counter, counts the others under ``_LEFT_OUT``.
    """

    model_config = ConfigDict(strict=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, value: Any, info: ValidationInfo) -> Any:
        if not isinstance(value, dict):
            return value
        members = {name: member for name, member in value.items() if member is not None}
        if cls.model_config["extra"] == "forbid" and len(members) > len(cls.model_fields) + MAX_MISFITS:
            left_out = [name for name in members if name not in cls.model_fields][MAX_MISFITS:]
            for name in left_out:
                del members[name]
            if isinstance(info.context, Counter):
                info.context[_LEFT_OUT] += len(left_out)
        return members


Amount = Annotated[int, Field(ge=0)]


class ConstraintsBody(StrictBody):
    cpu: Amount | None = None
    ram_mb: Amount | None = None
    vram_mb: Amount | None = None


class RetryPolicyBody(StrictBody):
    max_attempts: Annotated[int, Field(ge=1, le=100)] = 1
    backoff_s: Annotated[float, Field(ge=0, le=3_600)] | None = None
    backoff_factor: Annotated[float, Field(ge=1, le=10)] | None = None
    max_backoff_s: Annotated[float, Field(ge=0, le=86_400)] | None = None
    max_lost: Annotated[int, Field(ge=0, le=100)] | None = None


def _check_topic(value: Any) -> Any:
    if isinstance(value, str) and not _TOPIC.fullmatch(value):
        raise PydanticCustomError("topic", "Input should be 1 to 120 of A-Z a-z 0-9 _ -, optionally ending in .fifo")
    return value


def _check_attributes(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if len(value) > _MAX_ATTRIBUTES:
        raise PydanticCustomError("too_long", "At most {most} attributes", {"most": _MAX_ATTRIBUTES})
    for name, member in value.items():
        if name in RESERVED_ATTRIBUTES or _RESERVED_PREFIX.match(name) or not _ATTRIBUTE_NAME.fullmatch(name):
            raise PydanticCustomError(
                "attribute_name", "{name} is not a name for an attribute", {"name": shortened(repr(name))}
            )
        if not _is_attribute_value(member):
            raise PydanticCustomError(
                "attribute_value",
                "{name} should be 1 to 256 printable characters, a finite number below 1e15 in size, or a boolean",
                {"name": repr(name)},
            )
    return value


def _is_attribute_value(value: Any) -> bool:
    if isinstance(value, str):
        return 1 <= len(value) <= _MAX_ATTRIBUTE_CHARACTERS and value.isprintable()
    if isinstance(value, bool):
        return True
    return isinstance(value, int | float) and abs(value) < _MAX_ATTRIBUTE_NUMBER


class EventDeliveryBody(StrictBody):
    topic: Annotated[str, BeforeValidator(_check_topic)]
    attributes: Annotated[dict[str, Any], BeforeValidator(_check_attributes)] = Field(default_factory=dict)


Priority = Annotated[int, Field(ge=0, le=9999)]
Queue = Annotated[str, Field(pattern=QUEUE_PATTERN)]
Wait = Annotated[int, Field(ge=10, le=MAX_WAIT_S)]
LeaseLength = Annotated[int, Field(ge=MIN_LEASE_S, le=MAX_LEASE_S)]


def _parse_instant(value: Any) -> Any:
    """The instant in UTC, of an RFC 3339 text with an offset or Z. Digits beyond the microsecond are dropped."""
    if not isinstance(value, str) or not _INSTANT.fullmatch(value):
        raise PydanticCustomError("instant", "Input should be an RFC 3339 instant, such as 2026-03-02T20:00:01Z")
    try:
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise PydanticCustomError("no_such_instant", "Input should be an instant that the calendar has") from None


Instant = Annotated[datetime, BeforeValidator(_parse_instant)]


Retention = Annotated[int, Field(ge=0, le=MAX_RETENTION_S)]


class TemplateBody(StrictBody):
    """The fields that ``POST /runs`` and a definition share."""

    image: Annotated[str, Field(min_length=1, max_length=512)]
    priority: Priority = 5
    constraints: ConstraintsBody = Field(default_factory=ConstraintsBody)
    retry_policy: RetryPolicyBody = Field(default_factory=RetryPolicyBody)
    event_delivery: EventDeliveryBody | None = None
    queue: Queue = DEFAULT_QUEUE
    queue_ttl_s: Wait | None = None
    attempt_timeout_s: Wait | None = None
    retain_s: Retention | None = None

    def hardware(self) -> Constraints:
        return Constraints(self.constraints.cpu, self.constraints.ram_mb, self.constraints.vram_mb)

    def lasting_terms(self) -> Terms:
        """The terms without ``start_at``."""
        retry = self.retry_policy
        return Terms(
            queue=self.queue,
            needs=self.hardware(),
            queue_ttl_s=self.queue_ttl_s,
            attempt_timeout_s=self.attempt_timeout_s,
            backoff=Backoff(_rounded(retry.backoff_s), _rounded(retry.backoff_factor), _rounded(retry.max_backoff_s)),
            max_lost=retry.max_lost,
            retain_s=self.retain_s,
            is_delivering=self.event_delivery is not None,
        )


class CreateRunBody(TemplateBody):
    """The body of ``POST /runs``."""

    inputs: dict[str, Any] = Field(default_factory=dict)
    start_at: Instant | None = None

    def terms(self, now: Callable[[], datetime]) -> Terms:
        """The terms of the run. Raises RequestError 422 for a ``start_at`` that lies too far ahead of ``now``."""
        check_start(self.start_at, now)
        return replace(self.lasting_terms(), start_at=self.start_at)

    def spec(self, *, topics: Collection[str] | None = None) -> RunSpec:
        """The spec of the run. ``topics`` are the topics that the deployment allows; None allows any.

        Raises RequestError: 422 for another topic, 413 for inputs above their limit.
        """
        return RunSpec(
            image=self.image,
            inputs=dump_within(self.inputs, MAX_DOCUMENT_BYTES, ["inputs"]),
            constraints=self.hardware(),
            event_delivery=allowed_delivery(self.event_delivery, topics),
        )


def check_start(start_at: datetime | None, now: Callable[[], datetime]) -> None:
    """Raises RequestError 422 for an instant that lies too far ahead of ``now``."""
    if start_at is not None and start_at > now() + timedelta(days=MAX_DAYS_AHEAD):
        msg = f"Input should be at most {MAX_DAYS_AHEAD} days ahead"
        raise misfit_error(["body", "start_at"], msg, "too_far_ahead")


def allowed_delivery(body: EventDeliveryBody | None, topics: Collection[str] | None) -> EventDelivery | None:
    """The delivery. Raises TopicNotAllowed for a topic that is none of ``topics``."""
    delivery = None if body is None else EventDelivery(body.topic, dump(body.attributes))
    check_topic(delivery, topics)
    return delivery


def _rounded(number: float | None) -> float | None:
    """The number with as many decimals as a Backoff keeps."""
    return None if number is None else round(number, 6)


class UpdateRunBody(StrictBody):
    """The body of ``PATCH /runs/{id}``."""

    state: str | None = None
    outputs: dict[str, Any] | None = None
    priority: Priority | None = None

    def patch(self) -> RunPatch:
        """The edit. Raises InvalidState, and RequestError 413 for outputs above their limit."""
        return RunPatch(
            state=None if self.state is None else state_named(self.state),
            outputs=None if self.outputs is None else dump_within(self.outputs, MAX_DOCUMENT_BYTES, ["outputs"]),
            priority=self.priority,
        )


class _Payload(StrictBody):
    """The fields of a payload that an event's type reads. The payload may hold any others."""

    model_config = ConfigDict(extra="ignore")


WorkerId = Annotated[str, Field(max_length=128)]
Claimant = Annotated[str, Field(min_length=1, max_length=128)]
"""The worker that holds a lease."""


def _at_most_bytes(limit: int) -> AfterValidator:
    def check(value: str | int) -> str | int:
        if len(str(value).encode()) > limit:
            raise PydanticCustomError("too_long", "Input should be at most {limit} bytes", {"limit": limit})
        return value

    return AfterValidator(check)


def _check_msg(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise PydanticCustomError("msg_type", "Input should be a valid string or integer")
    return value


class _AssignedPayload(_Payload):
    worker_id: WorkerId | None = None
    lease_s: LeaseLength | None = None


class _StartedPayload(_Payload):
    worker_id: WorkerId
    gpu_id: int | None = None
    lease_s: LeaseLength | None = None


class _CompletedPayload(_Payload):
    outputs: dict[str, Any] | None = None


class _FailedPayload(_Payload):
    error_message: Annotated[str, _at_most_bytes(MAX_ERROR_MESSAGE_BYTES)] | None = None


class _RetriedPayload(_Payload):
    force: bool = False


_PAYLOADS: dict[EventType, type[_Payload]] = {
    EventType.ASSIGNED: _AssignedPayload,
    EventType.STARTED: _StartedPayload,
    EventType.COMPLETED: _CompletedPayload,
    EventType.FAILED: _FailedPayload,
    EventType.RETRIED: _RetriedPayload,
}

_KEPT_APART = ("outputs", "error_message")
"""The fields of a payload that are stored beside it."""


class AddEventBody(StrictBody):
    """The body of ``POST /runs/{id}/events``."""

    type: Annotated[EventType, Field(strict=False)]
    msg: Annotated[str | int, BeforeValidator(_check_msg), _at_most_bytes(MAX_MSG_BYTES)] = ""
    payload: dict[str, Any] = Field(default_factory=dict)
    attempt: int | None = None

    def draft(self) -> EventDraft:
        """The event. Raises RequestError: 422 if ``msg`` or ``payload`` does not fit the type, 413 above a limit."""
        if self.type is EventType.PROGRESS:
            values_as(_ProgressBody, {"msg": self.msg}, ())
        read = values_as(_PAYLOADS.get(self.type, _Payload), self.payload, ("payload",))
        fields = {name: getattr(read, name) for name in read.model_fields_set}
        if "lease_s" in fields and not fields.get("worker_id"):
            loc = ["body", "payload", "worker_id"]
            raise misfit_error(loc, "A lease needs the id of the worker that holds it", "lease_without_worker")
        rest = {name: value for name, value in self.payload.items() if name not in fields or name not in _KEPT_APART}
        measured = {name: value for name, value in self.payload.items() if name != "outputs" or name not in fields}
        dump_within(measured, MAX_PAYLOAD_BYTES, ["payload"])
        if "outputs" in fields:
            fields["outputs"] = dump_within(fields["outputs"], MAX_DOCUMENT_BYTES, ["payload", "outputs"])
        is_interrupted = self.type is EventType.FAILED and self.payload.get("reason") == Reason.INTERRUPTED
        reason = Reason.INTERRUPTED if is_interrupted else None
        return EventDraft(self.type, self.msg, dump(rest), attempt=self.attempt, reason=reason, **fields)


class HeartbeatBody(StrictBody):
    """The body of ``POST /runs/{id}/heartbeat``."""

    attempt: int
    worker_id: Claimant


CapacityAmount = Annotated[int, Field(ge=0, le=MAX_CAPACITY)]


class CapacityBody(StrictBody):
    cpu: CapacityAmount | None = None
    ram_mb: CapacityAmount | None = None
    vram_mb: CapacityAmount | None = None


class ClaimBody(StrictBody):
    """The body of ``POST /runs/claim``."""

    worker_id: Claimant
    queues: Annotated[list[Queue], Field(min_length=1, max_length=5)] = Field(default_factory=lambda: [DEFAULT_QUEUE])
    capacity: CapacityBody = Field(default_factory=CapacityBody)
    lease_s: LeaseLength = DEFAULT_LEASE_S
    start: bool = False


class _ProgressBody(StrictBody):
    msg: Annotated[int, Field(ge=0, le=100)]


BodyModel = TypeVar("BodyModel", bound=StrictBody)


def body_as(model: type[BodyModel], event: APIGatewayProxyEvent) -> BodyModel:
    """The request's body as the model. Raises RequestError 422, which names the fields that do not fit."""
    return values_as(model, required_object(event))


def required_object(event: APIGatewayProxyEvent) -> dict[str, Any]:
    """The object in the body. Raises RequestError 422 if the body is missing or is another value."""
    body = json_body(event)
    if not isinstance(body, dict):
        raise misfit_error(["body"], "Input should be an object", "object_type")
    return body


def values_as(model: type[BodyModel], values: Any, loc: tuple[str, ...] = ()) -> BodyModel:
    """The values as the model. Raises RequestError 422. ``loc``: where in the body the values are."""
    counts: Counter[str] = Counter()
    try:
        return model.model_validate(values, context=counts)
    except ValidationError as error:
        misfits = [
            misfit(["body", *loc, *detail["loc"]], detail["msg"], detail["type"])
            for detail in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        raise misfits_error(misfits, left_out=counts[_LEFT_OUT]) from None

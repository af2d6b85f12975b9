"""Builds the message of an event: CloudEvents 1.0 as structured JSON, and the attributes that filter policies see.

docs/push.md describes the message for subscribers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Context, Decimal

from ..domain.instants import instant_to_text
from ..domain.json_parts import json_object, json_scalar
from ..domain.run import EMPTY_OBJECT, Event, State

CREATION = -1
"""The ``seq`` of a run's creation: one before its first event."""

_CREATED = "CREATED"

MAX_MESSAGE_BYTES = 262_144
"""The most bytes of body and attributes, in one message or in all messages of a batch (SNS quota: 256 KB)."""

_NUMBER = Context(prec=38, Emin=-128, Emax=126)
"""The digits and exponents of an SNS attribute of type Number (SNS limits)."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """An SNS attribute. ``type`` is String or Number."""

    type: str
    value: str


@dataclass(frozen=True, slots=True)
class Message:
    """A message of one event. ``id`` never changes: ``<run id>/<seq>``, or ``<run id>/created``."""

    run_id: str
    seq: int
    id: str
    body: str
    attributes: Mapping[str, Attribute]

    @property
    def size_bytes(self) -> int:
        return _size_bytes(self.body, self.attributes)


@dataclass(frozen=True, slots=True)
class Subject:
    """The values that all messages of a run share.

    ``attributes`` are those of the run. Numbers keep their digits.
    """

    run_id: str
    topic: str
    attributes: Mapping[str, str | bool | Decimal]
    image: str
    op_definition: str | None
    op_version: str | None = None
    op_revision: int | None = None


def event_message(subject: Subject, event: Event) -> Message:
    """The message of an event. The payload is left out if the message does not fit SNS with it."""
    attributes = _attributes(subject, event.type, event.state, event.attempt)
    attributes["seq"] = Attribute("Number", str(event.seq))
    data = {
        "run_id": json_scalar(subject.run_id),
        "attempt": str(event.attempt),
        "seq": str(event.seq),
        "id": str(event.id),
        "type": json_scalar(event.type),
        "msg": json_scalar(event.msg),
        "payload": event.posted_payload,
        "t": json_scalar(instant_to_text(event.at)),
        "state": json_scalar(event.state),
        **_run_data(subject),
    }
    if event.will_retry:
        data["will_retry"] = "true"
    suffix = str(event.seq)
    body = _cloud_event(subject, suffix, event.type, event.at, data)
    if _size_bytes(body, attributes) > MAX_MESSAGE_BYTES:
        data |= {"payload": "null", "payload_omitted": "true"}
        body = _cloud_event(subject, suffix, event.type, event.at, data)
    return Message(subject.run_id, event.seq, f"{subject.run_id}/{suffix}", body, attributes)


def creation_message(subject: Subject, created_at: datetime) -> Message:
    """The message of a run's creation, which has no entry in the timeline."""
    data = {
        "run_id": json_scalar(subject.run_id),
        "attempt": "1",
        "seq": "null",
        "id": "null",
        "type": json_scalar(_CREATED),
        "msg": '""',
        "payload": EMPTY_OBJECT,
        "t": json_scalar(instant_to_text(created_at)),
        "state": json_scalar(State.PENDING),
        **_run_data(subject),
    }
    body = _cloud_event(subject, "created", _CREATED, created_at, data)
    attributes = _attributes(subject, _CREATED, State.PENDING, 1)
    return Message(subject.run_id, CREATION, f"{subject.run_id}/created", body, attributes)


def _run_data(subject: Subject) -> dict[str, str]:
    return {
        "image": json_scalar(subject.image),
        "op_definition": json_scalar(subject.op_definition),
        "op_version": json_scalar(subject.op_version),
        "op_revision": json_scalar(subject.op_revision),
    }


def _cloud_event(subject: Subject, suffix: str, event_type: str, time: datetime, data: Mapping[str, str]) -> str:
    run_id = subject.run_id
    body = json_object(
        {
            "specversion": '"1.0"',
            "id": json_scalar(f"{run_id}/{suffix}"),
            "source": json_scalar(f"/runs/{run_id}"),
            "type": json_scalar(f"gyoza.run.{event_type.lower()}"),
            "subject": json_scalar(run_id),
            "time": json_scalar(instant_to_text(time)),
            "datacontenttype": '"application/json"',
            "data": json_object(data),
        }
    )
    # SNS takes no character that XML 1.0 lacks. JSON escapes the others of them by itself.
    return body.replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff")


def _attributes(subject: Subject, event_type: str, state: State, attempt: int) -> dict[str, Attribute]:
    return {name: _own_attribute(value) for name, value in subject.attributes.items()} | {
        "run_id": Attribute("String", subject.run_id),
        "type": Attribute("String", str(event_type)),
        "state": Attribute("String", str(state)),
        "attempt": Attribute("Number", str(attempt)),
    }


def _own_attribute(value: str | bool | Decimal) -> Attribute:
    if isinstance(value, bool):
        return Attribute("String", "true" if value else "false")
    if isinstance(value, Decimal):
        rounded = _NUMBER.plus(value)
        # SNS cannot hold a number so near to zero, so it is sent as 0.
        return Attribute("Number", format(rounded, "f") if rounded.is_normal(_NUMBER) else "0")
    return Attribute("String", value)


def _size_bytes(body: str, attributes: Mapping[str, Attribute]) -> int:
    texts = [body, *(text for name, each in attributes.items() for text in (name, each.type, each.value))]
    return sum(len(text.encode()) for text in texts)

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from gyoza_domain.domain.run import Event, EventType, JsonText, State
from gyoza_domain.publishing.messages import (
    CREATION,
    MAX_MESSAGE_BYTES,
    Attribute,
    Message,
    Subject,
    creation_message,
    event_message,
)

AT = datetime(2026, 3, 2, 20, 0, 1, 42_000, tzinfo=UTC)
SUBJECT = Subject("run-1", "orders", {}, "busybox:1", None)


def event(**fields: object) -> Event:
    known: dict[str, object] = {
        "seq": 4, "id": 1, "attempt": 2, "type": EventType.STARTED, "at": AT, "state": State.RUNNING,
    }  # fmt: skip
    return Event(**(known | fields))  # type: ignore[arg-type]


def data(message: Message) -> dict[str, object]:
    shown: dict[str, object] = json.loads(message.body)["data"]
    return shown


def test_a_message_names_the_revision_that_the_run_is_a_copy_of() -> None:
    subject = Subject("run-1", "orders", {}, "busybox:1", "resize", "1.0", 3)
    for message in (event_message(subject, event()), creation_message(subject, AT)):
        shown = data(message)
        assert (shown["op_definition"], shown["op_version"], shown["op_revision"]) == ("resize", "1.0", 3)


def test_an_event_is_a_cloud_event() -> None:
    message = event_message(SUBJECT, event(msg=7, payload=JsonText('{"worker_id":"w"}')))
    assert (message.run_id, message.seq, message.id) == ("run-1", 4, "run-1/4")
    assert json.loads(message.body) == {
        "specversion": "1.0",
        "id": "run-1/4",
        "source": "/runs/run-1",
        "type": "gyoza.run.started",
        "subject": "run-1",
        "time": "2026-03-02T20:00:01.042000Z",
        "datacontenttype": "application/json",
        "data": {
            "run_id": "run-1",
            "attempt": 2,
            "seq": 4,
            "id": 1,
            "type": "STARTED",
            "msg": 7,
            "payload": {"worker_id": "w"},
            "t": "2026-03-02T20:00:01.042000Z",
            "state": "RUNNING",
            "image": "busybox:1",
            "op_definition": None,
            "op_version": None,
            "op_revision": None,
        },
    }
    assert message.attributes == {
        "run_id": Attribute("String", "run-1"),
        "type": Attribute("String", "STARTED"),
        "state": Attribute("String", "RUNNING"),
        "attempt": Attribute("Number", "2"),
        "seq": Attribute("Number", "4"),
    }


def test_a_failure_that_is_retried_says_so() -> None:
    failure = event(type=EventType.FAILED, state=State.PENDING, error_message="no", will_retry=True)
    shown = data(event_message(SUBJECT, failure))
    assert (shown["state"], shown["will_retry"], shown["payload"]) == ("PENDING", True, {"error_message": "no"})
    assert "will_retry" not in data(event_message(SUBJECT, event()))


def test_a_creation_has_neither_number_nor_id() -> None:
    message = creation_message(SUBJECT, AT)
    shown = json.loads(message.body)
    assert (message.seq, message.id, shown["id"], shown["type"]) == (
        CREATION, "run-1/created", "run-1/created", "gyoza.run.created",
    )  # fmt: skip
    assert (shown["data"]["seq"], shown["data"]["id"], shown["data"]["type"]) == (None, None, "CREATED")
    assert set(message.attributes) == {"run_id", "type", "state", "attempt"}


@pytest.mark.parametrize(
    ("value", "attribute"),
    [
        ("blue", Attribute("String", "blue")),
        (True, Attribute("String", "true")),
        (False, Attribute("String", "false")),
        (Decimal(3), Attribute("Number", "3")),
        (Decimal("-0.10"), Attribute("Number", "-0.10")),
        (Decimal("1e3"), Attribute("Number", "1000")),
        (Decimal("1e-7"), Attribute("Number", "0.0000001")),
        (Decimal("0." + "1" * 50), Attribute("Number", "0." + "1" * 38)),
    ],
)
def test_an_attribute_of_the_run_keeps_its_digits(value: str | bool | Decimal, attribute: Attribute) -> None:
    subject = Subject("run-1", "orders", {"tier": value}, "busybox:1", None)
    assert event_message(subject, event()).attributes["tier"] == attribute


@pytest.mark.parametrize("value", ["5e-324", "9.99e-129", "-1e-165", "0.00", "-0.0", "0e-400"])
def test_a_number_nearer_to_zero_than_sns_can_tell_is_sent_as_one_digit(value: str) -> None:
    subject = Subject("run-1", "orders", {"tier": Decimal(value)}, "busybox:1", None)
    assert event_message(subject, event()).attributes["tier"] == Attribute("Number", "0")


def test_the_smallest_number_that_sns_can_tell_is_sent_as_it_is() -> None:
    subject = Subject("run-1", "orders", {"tier": Decimal("1e-128")}, "busybox:1", None)
    assert event_message(subject, event()).attributes["tier"] == Attribute("Number", f"0.{'0' * 127}1")


def test_characters_that_sns_does_not_take_are_escaped() -> None:
    text = "\x00\x1f\ufffe\uffff\U0001f95f"
    message = event_message(SUBJECT, event(msg=text))
    assert data(message)["msg"] == text
    assert not {"\x00", "\x1f", "\ufffe", "\uffff"} & set(message.body)


def test_a_message_goes_whole_up_to_the_last_byte_and_without_its_payload_beyond() -> None:
    def of_size(length: int) -> Message:
        return event_message(SUBJECT, event(type=EventType.COMPLETED, outputs=JsonText(f'"{"é" * length}"')))

    room = MAX_MESSAGE_BYTES - of_size(0).size_bytes
    whole, beyond = of_size(room // 2), of_size(room // 2 + 1)
    assert MAX_MESSAGE_BYTES - 1 <= whole.size_bytes <= MAX_MESSAGE_BYTES
    assert data(whole)["payload"] == {"outputs": "é" * (room // 2)}
    assert (data(beyond)["payload"], data(beyond)["payload_omitted"]) == (None, True)
    assert beyond.size_bytes < 1_000


def test_the_attributes_count_for_the_size() -> None:
    with_attribute = Subject("run-1", "orders", {"a": "x" * 100}, "busybox:1", None)
    plain, longer = event_message(SUBJECT, event()), event_message(with_attribute, event())
    assert longer.size_bytes - plain.size_bytes == len("a") + len("String") + 100

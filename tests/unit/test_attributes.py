"""Tests the attributes of items, and items that this release cannot read."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from gyoza_domain.domain.run import Claim, Event, EventType, OpAttempt, OpRun, RunSpec, State
from gyoza_domain.dynamodb import attributes, codec, keys
from gyoza_domain.dynamodb.attributes import (
    SCHEMA,
    Item,
    UnreadableItem,
    integer,
    new_item,
    optional_instant,
    optional_integer,
    optional_text,
    readable,
    text,
    version_of,
)
from gyoza_domain.dynamodb.head import head_from, new_head

T0 = datetime(2026, 3, 2, 20, 0, 0, 42, tzinfo=UTC)
RUN_ID = "6f1c2a54-9d1b-4c55-8a39-2f0f5c7be911"
RUN = OpRun(RUN_ID, T0, T0, OpAttempt(1))
EVENT = Event(0, 0, 1, EventType.INFO, T0, State.PENDING)
CLOSED = OpAttempt(1, State.CANCELLED, finished_at=T0)


def test_a_value_has_the_type_of_dynamodb_that_it_needs() -> None:
    item = new_item(RUN_ID, "X", a="é", b=7, c=T0, d=True, e=None, f=State.FAILED)
    assert item == {
        "pk": {"S": f"RUN#{RUN_ID}"},
        "sk": {"S": "X"},
        "schema": {"N": str(SCHEMA)},
        "a": {"S": "é"},
        "b": {"N": "7"},
        "c": {"N": "1772481600000042"},
        "d": {"BOOL": True},
        "f": {"S": "FAILED"},
    }
    assert type(item["f"]["S"]) is str


def test_an_attribute_without_a_value_is_none_where_it_may_be() -> None:
    assert (optional_text({}, "a"), optional_integer({}, "a"), optional_instant({}, "a")) == (None, None, None)


@pytest.mark.parametrize(("item", "version"), [(None, 0), ({"version": {"N": "12"}}, 12)])
def test_the_version_of_no_item_is_zero(item: Item | None, version: int) -> None:
    assert version_of(item) == version


# -- unreadable items


def test_an_item_of_this_schema_is_decoded() -> None:
    assert readable(new_item(RUN_ID, "X", a="b"), lambda item: text(item, "a")) == "b"


@pytest.mark.parametrize("schema", [SCHEMA + 1, SCHEMA + 10])
def test_an_item_of_a_later_schema_is_not_decoded(schema: int) -> None:
    item = new_item(RUN_ID, "X") | attributes.attributes(schema=schema)
    with pytest.raises(UnreadableItem) as refusal:
        readable(item, lambda _: pytest.fail("it was decoded"))
    assert str(refusal.value) == f"is of schema {schema}; this reader knows {SCHEMA}"


@pytest.mark.parametrize(
    "item",
    [
        {},
        {"schema": {"N": "one"}},
        {"schema": {"S": "1"}},
        {"schema": {"N": "1"}},
        {"schema": {"N": "1"}, "a": {"S": "7"}},
        {"schema": {"N": "1"}, "a": {"N": "seven"}},
        {"schema": {"N": "1"}, "a": "7"},
        {"schema": {"N": "1"}, "a": None},
    ],
)
def test_an_item_that_lacks_an_attribute_or_holds_another_type_is_malformed(item: Any) -> None:
    with pytest.raises(UnreadableItem, match=r"^is malformed \((KeyError|TypeError|ValueError): "):
        readable(item, lambda item: integer(item, "a"))


def test_a_defect_of_the_decoder_is_not_called_unreadable() -> None:
    def decode(_: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        readable(new_item(RUN_ID, "X"), decode)


DECODED: list[tuple[str, Callable[[Any], object], Item, tuple[str, ...]]] = [
    (
        "HEAD",
        head_from,
        new_head(RUN, RunSpec("busybox:1")),
        (
            *("created_key", "updated_at", "version", "index_all", "inputs_bytes", "outputs_bytes"),
            *("state", "attempt", "first_seq", "last_seq", "progress", "priority", "max_attempts", "given_back"),
        ),
    ),
    ("SPEC", codec.spec_from, codec.spec_items(RUN_ID, RunSpec("busybox:1"))[0], ("image", "constraints")),
    (
        "EVENT",
        codec.event_from,
        codec.event_item(RUN_ID, EVENT),
        ("seq", "id", "attempt", "type", "at", "state", "msg"),
    ),
    (
        "ATTEMPT",
        codec.closed_attempt_from,
        codec.closed_attempt_item(RUN_ID, CLOSED),
        ("attempt", "state", "progress", "first_seq", "last_seq", "outputs_bytes"),
    ),
    ("CLAIM", codec.claim_from, new_item(RUN_ID, keys.CLAIM) | codec.claim_attributes(Claim(3, None)), ()),
    ("OUTPUTS", codec.result_from, new_item(RUN_ID, keys.OUTPUTS), ()),
]
ITEMS = [pytest.param(decode, item, id=name) for name, decode, item, _ in DECODED]
ATTRIBUTES = [
    pytest.param(decode, item, attribute, id=f"{name} {attribute}")
    for name, decode, item, always in DECODED
    for attribute in always
]


@pytest.mark.parametrize(("decode", "item"), ITEMS)
def test_every_kind_of_item_is_refused_if_its_schema_is_later_or_missing(
    decode: Callable[[Any], object], item: Item
) -> None:
    decode(item)
    without_schema = {name: value for name, value in item.items() if name != "schema"}
    for other in (item | {"schema": {"N": "2"}}, without_schema):
        with pytest.raises(UnreadableItem):
            decode(other)


@pytest.mark.parametrize(("decode", "item", "attribute"), ATTRIBUTES)
def test_every_kind_of_item_is_refused_without_an_attribute_that_it_always_has(
    decode: Callable[[Any], object], item: Item, attribute: str
) -> None:
    decode(item)
    with pytest.raises(UnreadableItem, match=f"KeyError: '{attribute}'"):
        decode({name: value for name, value in item.items() if name != attribute})


@pytest.mark.parametrize(("decode", "item"), ITEMS)
def test_every_kind_of_item_is_read_past_attributes_that_are_not_known(
    decode: Callable[[Any], object], item: Item
) -> None:
    assert decode(item | {"of_a_later_release": {"M": {}}}) == decode(item)


@pytest.mark.parametrize(
    ("decode", "item", "name", "value"),
    [
        (head_from, new_head(RUN, RunSpec("busybox:1")), "state", "PAUSED"),
        (head_from, new_head(RUN, RunSpec("busybox:1")), "result_source", "CHECKPOINT"),
        (codec.event_from, codec.event_item(RUN_ID, EVENT), "type", "PAUSED"),
        (codec.event_from, codec.event_item(RUN_ID, EVENT), "state", "PAUSED"),
        (codec.closed_attempt_from, codec.closed_attempt_item(RUN_ID, CLOSED), "state", "PAUSED"),
        (codec.closed_attempt_from, codec.closed_attempt_item(RUN_ID, CLOSED), "result_source", "CHECKPOINT"),
    ],
)
def test_a_value_that_only_a_later_release_knows_is_refused(
    decode: Callable[[Any], object], item: Item, name: str, value: str
) -> None:
    with pytest.raises(UnreadableItem, match=f"ValueError: '{value}' is not a valid"):
        decode(item | {name: {"S": value}})


@pytest.mark.parametrize(
    ("decode", "item", "name"),
    [
        (codec.event_from, codec.event_item(RUN_ID, EVENT), "msg"),
        (codec.spec_from, codec.spec_items(RUN_ID, RunSpec("busybox:1"))[0], "constraints"),
        (codec.result_from, new_item(RUN_ID, keys.OUTPUTS), "error_message"),
    ],
)
def test_a_text_that_should_be_json_and_is_not_is_malformed(
    decode: Callable[[Any], object], item: Item, name: str
) -> None:
    with pytest.raises(UnreadableItem, match="JSONDecodeError"):
        decode(item | {name: {"S": "no JSON"}})

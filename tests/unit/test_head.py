"""Tests the greatest size of HEAD, and its marks."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from gyoza_domain.domain.run import (
    AttemptResult,
    Claim,
    EventDelivery,
    JsonText,
    OpAttempt,
    OpRun,
    ResultSource,
    RunSpec,
    State,
)
from gyoza_domain.dynamodb.head import OPTIONAL_ATTRIBUTES, changing_attributes, head_from, new_head
from testing.capacity import item_bytes

LAST_INSTANT = datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
MAX_COUNTER = 9_999_999_999
"""A number of ten digits. A zero at its end would take no space."""

LARGEST = OpRun(
    id="6f1c2a54-9d1b-4c55-8a39-2f0f5c7be911",
    created_at=LAST_INSTANT,
    updated_at=LAST_INSTANT,
    attempt=OpAttempt(
        number=99_999_999,
        state=State.COMPLETED,
        progress=99,
        first_seq=MAX_COUNTER,
        last_seq=MAX_COUNTER,
        started_at=LAST_INSTANT,
        finished_at=LAST_INSTANT,
        claim=Claim(MAX_COUNTER, "w" * 256, MAX_COUNTER),
        result=AttemptResult(JsonText('{"a":"' + "x" * 262_000 + '"}'), "e" * 1_000, MAX_COUNTER),
        result_source=ResultSource.PATCH,
        outputs_bytes=262_143,
    ),
    priority=9_999,
    max_attempts=99,
    given_back=99_999_999,
    created_by="k" * 32,
    shard=63,
    version=MAX_COUNTER,
)
SPEC = RunSpec(
    image="i" * 1_024,
    inputs=JsonText('{"a":"' + "x" * 262_135 + '"}'),
    event_delivery=EventDelivery("t" * 256, JsonText('{"a":"' + "x" * 2_000 + '"}')),
    op_definition="d" * 256,
)
LARGEST_HEAD = new_head(LARGEST, SPEC) | changing_attributes(LARGEST, MAX_COUNTER, MAX_COUNTER)

OF_LATER_FEATURES: dict[str, Any] = {
    "due_shard": {"S": "3"},
    "due_at": {"S": "9999-12-31T23:59:59.999999Z"},
    "claim_queue": {"S": "q" * 68},
    "claim_order": {"S": "o" * 32},
    "claim_needs": {"S": "n" * 45},
    "start_at": {"N": "253402300799999999"},
    "not_before": {"N": "253402300799999999"},
    "queue_by": {"N": "253402300799999999"},
    "attempt_by": {"N": "253402300799999999"},
    "cancel_by": {"N": "253402300799999999"},
    "lease_s": {"N": "86399"},
    "lost": {"N": "99999999"},
    "returned": {"N": "99999999"},
    "cancel_state": {"S": "REQUESTED"},
    "cancelled_by": {"S": "k" * 32},
    "retain_s": {"N": "31535999"},
    "deleted_at": {"N": "253402300799999999"},
}
"""Placeholders: the attributes that leases, queues, schedules, cancellation and deletion may add to HEAD."""


def test_the_largest_head_has_every_attribute() -> None:
    assert set(OPTIONAL_ATTRIBUTES) <= LARGEST_HEAD.keys()
    assert {"created_by", "index_op_definition", "delivers"} <= LARGEST_HEAD.keys()


def test_a_head_at_its_largest_is_at_most_570_bytes() -> None:
    assert item_bytes(LARGEST_HEAD) <= 570


def test_a_head_with_the_attributes_of_later_features_stays_below_a_write_unit() -> None:
    assert not OF_LATER_FEATURES.keys() & LARGEST_HEAD.keys()
    assert item_bytes(LARGEST_HEAD | OF_LATER_FEATURES) < 1_024


def test_attributes_of_later_features_do_not_keep_a_head_from_being_read() -> None:
    later = head_from(LARGEST_HEAD | OF_LATER_FEATURES)
    assert later == replace(head_from(LARGEST_HEAD), is_deleted=True)


def test_a_run_is_deleted_exactly_if_its_head_says_so() -> None:
    assert not head_from(LARGEST_HEAD).is_deleted
    assert head_from(LARGEST_HEAD | {"deleted_at": {"N": "1"}}).is_deleted


@pytest.mark.parametrize("delivery", [None, EventDelivery("topic")])
def test_a_head_tells_the_stream_whether_anybody_wants_its_events(delivery: EventDelivery | None) -> None:
    item = new_head(LARGEST, replace(SPEC, event_delivery=delivery))
    assert head_from(item).is_delivering is (delivery is not None)


@pytest.mark.parametrize(("size", "has_item"), [(2, False), (1_024, False), (1_025, True), (262_144, True)])
def test_inputs_above_a_kilobyte_are_an_item_of_their_own(size: int, has_item: bool) -> None:
    inputs = JsonText("{}" if size == 2 else '{"a":"' + "x" * (size - 8) + '"}')
    head = head_from(new_head(LARGEST, replace(SPEC, inputs=inputs)))
    assert (head.inputs_bytes, head.has_inputs_item) == (size, has_item)
    assert head.document_bytes == size + 262_143

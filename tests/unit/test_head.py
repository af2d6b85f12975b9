"""Tests the greatest size of HEAD, and its marks."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from gyoza_domain.domain.run import (
    AttemptResult,
    Backoff,
    CancelOutcome,
    CancelRequest,
    Claim,
    Constraints,
    EventDelivery,
    JsonText,
    OpAttempt,
    OpRun,
    Reason,
    ResultSource,
    RunSpec,
    State,
    Terms,
)
from gyoza_domain.dynamodb.head import OPTIONAL_ATTRIBUTES, changing_attributes, head_from, new_head
from testing.capacity import item_bytes

LAST_INSTANT = datetime(2286, 11, 20, 17, 46, 39, 999_999, tzinfo=UTC)
"""Sixteen digits of microseconds since 1970."""
MAX_COUNTER = 9_999_999_999
"""A number of ten digits. A zero at its end would take no space."""

NEEDS = Constraints(10**12 - 1, 10**12 - 1, 10**12 - 1)
TERMS = Terms(
    queue="q" * 64,
    needs=NEEDS,
    start_at=LAST_INSTANT,
    queue_ttl_s=1_209_599,
    attempt_timeout_s=1_209_599,
    backoff=Backoff(3_599.1234567890123, 9.123456789012345, 86_399.12345678901),
    max_lost=99,
    retain_s=315_359_999,
    is_delivering=True,
)
ENDED = OpRun(
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
        began_at=LAST_INSTANT,
        assigned_at=LAST_INSTANT,
        reason=Reason.CANCEL_NOT_ACKNOWLEDGED,
        cancel=CancelRequest(LAST_INSTANT, LAST_INSTANT, "k" * 32, CancelOutcome.ACKNOWLEDGED),
    ),
    priority=9_999,
    max_attempts=99,
    terms=TERMS,
    given_back=99_999_999,
    failures=99_999_999,
    losses=99_999_999,
    returns=9,
    expires_at=LAST_INSTANT,
    shard=63,
    version=MAX_COUNTER,
)
SPEC = RunSpec(
    image="i" * 1_024,
    inputs=JsonText('{"a":"' + "x" * 262_135 + '"}'),
    event_delivery=EventDelivery("t" * 256, JsonText('{"a":"' + "x" * 2_000 + '"}')),
    op_definition="d" * 256,
)
HEAD_OF_ENDED = new_head(ENDED, SPEC) | changing_attributes(
    ENDED, claim_version=MAX_COUNTER, result_version=MAX_COUNTER
)

WAITING = replace(
    ENDED,
    attempt=replace(
        OpAttempt(ENDED.attempt.number, first_seq=MAX_COUNTER, last_seq=MAX_COUNTER, began_at=LAST_INSTANT),
        not_before=LAST_INSTANT,
        deadline=LAST_INSTANT,
        is_indexed=True,
        result=ENDED.attempt.result,
        result_source=ResultSource.PATCH,
        outputs_bytes=262_143,
    ),
    expires_at=None,
)
HEAD_OF_WAITING = new_head(WAITING, SPEC) | changing_attributes(WAITING, result_version=MAX_COUNTER)

RUNNING = replace(
    ENDED,
    attempt=replace(ENDED.attempt, state=State.RUNNING, finished_at=None, reason=None, deadline=LAST_INSTANT),
    expires_at=None,
)
HEAD_OF_RUNNING = new_head(RUNNING, SPEC) | changing_attributes(
    RUNNING, lease_version=MAX_COUNTER, claim_version=MAX_COUNTER, result_version=MAX_COUNTER
)

UNOFFERED = replace(
    ENDED,
    attempt=replace(ENDED.attempt, state=State.PENDING, reason=None, cancel=None, is_offered=False),
    expires_at=None,
)
HEAD_OF_UNOFFERED = new_head(UNOFFERED, SPEC) | changing_attributes(
    UNOFFERED, claim_version=MAX_COUNTER, result_version=MAX_COUNTER
)

LARGEST_HEADS = [HEAD_OF_UNOFFERED, HEAD_OF_WAITING, HEAD_OF_RUNNING, HEAD_OF_ENDED]

OF_LATER_FEATURES: dict[str, Any] = {"op_revision": {"N": "99999999"}, "executor": {"S": "batch"}}
"""Placeholders: the attributes that definitions and dispatch may add to HEAD."""


def test_the_largest_heads_have_every_attribute() -> None:
    names = HEAD_OF_WAITING.keys() | HEAD_OF_RUNNING.keys() | HEAD_OF_ENDED.keys() | HEAD_OF_UNOFFERED.keys()
    assert set(OPTIONAL_ATTRIBUTES) <= names
    assert {"index_op_definition", "delivers", "terms"} <= names


def test_a_head_of_a_run_that_uses_neither_time_nor_claims_is_at_most_700_bytes() -> None:
    plain = replace(ENDED, terms=Terms(needs=NEEDS), failures=0, losses=0, returns=0, expires_at=None)
    plain = replace(plain, attempt=replace(plain.attempt, cancel=None, reason=None))
    assert (
        item_bytes(
            new_head(plain, SPEC) | changing_attributes(plain, claim_version=MAX_COUNTER, result_version=MAX_COUNTER)
        )
        <= 700
    )


@pytest.mark.parametrize("head", LARGEST_HEADS)
def test_a_head_with_the_attributes_of_later_features_stays_below_a_write_unit(head: dict[str, Any]) -> None:
    assert not OF_LATER_FEATURES.keys() & head.keys()
    assert item_bytes(head | OF_LATER_FEATURES) < 1_024


def test_attributes_of_later_features_do_not_keep_a_head_from_being_read() -> None:
    assert head_from(HEAD_OF_ENDED | OF_LATER_FEATURES) == head_from(HEAD_OF_ENDED)


def test_a_run_is_deleted_exactly_if_its_head_says_so() -> None:
    assert not head_from(HEAD_OF_ENDED).is_deleted
    assert head_from(HEAD_OF_ENDED | {"deleted_at": {"N": "1"}}).is_deleted


@pytest.mark.parametrize("delivery", [None, EventDelivery("topic")])
def test_a_head_tells_the_stream_whether_anybody_wants_its_events(delivery: EventDelivery | None) -> None:
    item = new_head(ENDED, replace(SPEC, event_delivery=delivery))
    assert head_from(item).is_delivering is (delivery is not None)


@pytest.mark.parametrize(("size", "has_item"), [(2, False), (1_024, False), (1_025, True), (262_144, True)])
def test_inputs_above_a_kilobyte_are_an_item_of_their_own(size: int, has_item: bool) -> None:
    inputs = JsonText("{}" if size == 2 else '{"a":"' + "x" * (size - 8) + '"}')
    head = head_from(new_head(ENDED, replace(SPEC, inputs=inputs)))
    assert (head.inputs_bytes, head.has_inputs_item) == (size, has_item)
    assert head.document_bytes == size + 262_143

"""Tests the key strings and their order, which queries rely on."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import gyoza_domain
from gyoza_domain.dynamodb import keys

T0 = datetime(2026, 3, 2, 20, 0, 0, 42_000, tzinfo=UTC)
TICK = timedelta(microseconds=1)
RUN_A, RUN_B, RUN_C = (f"{digit}f1c2a54-9d1b-4c55-8a39-2f0f5c7be91{digit}" for digit in "0af")


def created(at: datetime, run_id: str) -> str:
    return keys.created_key(at, run_id)


EVERY_KEY = [created(at, run_id) for at in (T0 - TICK, T0, T0 + TICK) for run_id in (RUN_A, RUN_B, RUN_C)]
"""The keys of three runs at each instant, oldest first."""


def within(low: str, high: str) -> list[str]:
    return [key for key in EVERY_KEY if low <= key <= high]


def test_keys_sort_by_instant_and_then_by_id() -> None:
    assert sorted(EVERY_KEY) == EVERY_KEY


def test_a_created_key_tells_what_it_was_made_of() -> None:
    key = created(T0, RUN_A)
    assert key == f"2026-03-02T20:00:00.042000Z#{RUN_A}"
    assert (keys.created_at_text_of(key), keys.run_id_of(key)) == ("2026-03-02T20:00:00.042000Z", RUN_A)


@pytest.mark.parametrize("instant", [datetime(1, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
def test_the_ends_of_the_calendar_sort_where_they_belong(instant: datetime) -> None:
    low, high = keys.created_bounds(instant, instant, above=None, below=None)
    assert low <= created(instant, RUN_A) <= high
    assert (created(instant, RUN_A) < EVERY_KEY[0]) == (instant < T0)


@pytest.mark.parametrize(
    ("created_from", "created_to", "above", "below", "expected"),
    [
        (None, None, None, None, EVERY_KEY),
        (T0, None, None, None, EVERY_KEY[3:]),
        (None, T0, None, None, EVERY_KEY[:6]),
        (T0, T0, None, None, EVERY_KEY[3:6]),
        (T0 + TICK, T0, None, None, []),
        (None, None, EVERY_KEY[4], None, EVERY_KEY[5:]),
        (None, None, None, EVERY_KEY[4], EVERY_KEY[:4]),
        (None, None, None, EVERY_KEY[0], []),
        (None, None, EVERY_KEY[8], None, []),
        (None, None, EVERY_KEY[3], EVERY_KEY[4], []),
        (T0, None, EVERY_KEY[0], None, EVERY_KEY[3:]),
        (T0, None, EVERY_KEY[4], None, EVERY_KEY[5:]),
        (None, T0, None, EVERY_KEY[8], EVERY_KEY[:6]),
        (None, T0, None, EVERY_KEY[4], EVERY_KEY[:4]),
    ],
)
def test_bounds_take_instants_inclusively_and_cursors_exclusively(
    created_from: datetime | None,
    created_to: datetime | None,
    above: str | None,
    below: str | None,
    expected: list[str],
) -> None:
    low, high = keys.created_bounds(created_from, created_to, above=above, below=below)
    assert within(low, high) == expected


def test_events_sort_by_their_number() -> None:
    numbers = [0, 1, 9, 10, 99, 100, 99_999, 100_000, 9_999_999_999]
    assert [keys.event_sk(number) for number in numbers] == sorted(keys.event_sk(number) for number in numbers)


def test_attempts_sort_by_their_number_each_before_its_result() -> None:
    numbers = [1, 2, 9, 10, 99, 100, 12_345_678]
    in_order = [sk for number in numbers for sk in (keys.attempt_sk(number), keys.attempt_outputs_sk(number))]
    assert in_order == sorted(in_order)


@pytest.mark.parametrize("number", [10**10, 10**40])
def test_a_number_beyond_all_events_sorts_with_the_last_one(number: int) -> None:
    assert keys.event_sk(number) == keys.event_sk(9_999_999_999)


@pytest.mark.parametrize("number", [10**8, 10**40])
def test_a_number_beyond_all_attempts_sorts_with_the_last_one(number: int) -> None:
    assert keys.attempt_sk(number) == keys.attempt_sk(99_999_999)


IN_ORDER = [
    keys.attempt_sk(1),
    keys.attempt_outputs_sk(1),
    keys.attempt_sk(99_999_999),
    keys.attempt_outputs_sk(99_999_999),
    keys.idempotency_sk("0" * 64),
    keys.idempotency_sk("f" * 64),
    keys.FIRST_EVENT,
    keys.event_sk(9_999_999_999),
    keys.HEAD,
    keys.CLAIM,
    keys.OUTPUTS,
    keys.SPEC,
    keys.INPUTS,
]
"""The sort keys of a run in the order of the docstring of ``keys``."""


def test_a_run_lies_in_the_order_of_the_table() -> None:
    assert sorted(IN_ORDER) == IN_ORDER
    assert len(set(IN_ORDER)) == len(IN_ORDER)
    assert keys.event_sk(0) == keys.FIRST_EVENT


def between(first: str, last: str) -> list[str]:
    return [sk for sk in IN_ORDER if first <= sk <= last]


def test_upwards_from_an_event_lie_the_later_ones_and_then_head() -> None:
    assert between(keys.event_sk(7), keys.HEAD) == [keys.event_sk(9_999_999_999), keys.HEAD]


def test_the_small_items_are_head_and_the_claim() -> None:
    assert between(*keys.SMALL_ITEMS) == [keys.HEAD, keys.CLAIM]


def test_downwards_from_the_top_lies_a_whole_run_and_then_its_newest_events() -> None:
    whole = [keys.event_sk(9_999_999_999), keys.HEAD, keys.CLAIM, keys.OUTPUTS, keys.SPEC, keys.INPUTS]
    assert between(keys.event_sk(1), keys.TOP) == whole
    assert max(IN_ORDER) == keys.TOP


@pytest.mark.parametrize("sk", IN_ORDER)
def test_a_sort_key_is_an_events_exactly_if_it_lies_among_them(sk: str) -> None:
    assert keys.is_event(sk) == (keys.FIRST_EVENT <= sk <= keys.event_sk(9_999_999_999))


@pytest.mark.parametrize("number", [1, 7, 99])
def test_the_items_of_an_attempt_and_the_next_lie_side_by_side(number: int) -> None:
    first, last = keys.attempt_sk(number), keys.attempt_outputs_sk(number + 1)
    known = [sk(each) for each in range(1, 102) for sk in (keys.attempt_sk, keys.attempt_outputs_sk)]
    expected = [sk(each) for each in (number, number + 1) for sk in (keys.attempt_sk, keys.attempt_outputs_sk)]
    assert [sk for sk in known if first <= sk <= last] == expected


@pytest.mark.parametrize(
    ("sk", "later"),
    [
        (keys.attempt_sk(7), keys.attempt_outputs_sk(7)),
        (keys.attempt_outputs_sk(7), keys.attempt_sk(8)),
        (keys.event_sk(7), keys.event_sk(8)),
        (keys.HEAD, keys.CLAIM),
        (keys.SPEC, keys.INPUTS),
    ],
)
def test_right_after_a_key_lies_every_later_one_but_not_the_key(sk: str, later: str) -> None:
    assert sk < keys.right_after(sk) <= later


def test_a_partition_key_tells_its_run() -> None:
    assert keys.run_pk(RUN_A) == f"RUN#{RUN_A}"
    assert keys.run_id_of_pk(keys.run_pk(RUN_A)) == RUN_A


def test_shards_of_a_value_are_kept_apart() -> None:
    hash_keys = [keys.index_hash_key(value, shard) for value in ("", "PENDING", "RUNNING") for shard in (0, 1, 11)]
    assert len(set(hash_keys)) == len(hash_keys)


def test_an_index_key_fits_a_key_of_dynamodb_however_long_the_value() -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]{22}", keys.digest("🥟" * 512))
    assert keys.digest("busybox:1") != keys.digest("busybox:2")


KEY_IN_CODE = re.compile(
    r"""["'](RUN\#|EVENT\#|ATTEMPT\#|CLIENT_KEY\#|HEAD["'#]|SPEC["'#]|OUTPUTS["']|\#OUTPUTS
    |by_created|by_state|by_image|by_op_definition|by_due|claimable)""",
    re.VERBOSE,
)


def test_no_other_module_spells_a_key() -> None:
    package = Path(gyoza_domain.__file__).parent
    spellers = {path.name for path in package.rglob("*.py") if KEY_IN_CODE.search(path.read_text())}
    assert spellers == {"keys.py"}


@pytest.mark.parametrize("sk", [*IN_ORDER, keys.run_pk(RUN_A), *keys.HASH_KEY_OF_INDEX])
def test_every_key_would_be_found_in_another_module(sk: str) -> None:
    assert KEY_IN_CODE.search(f'key = "{sk}"')
    assert KEY_IN_CODE.search(f"key = '{sk}'")


@pytest.mark.parametrize(
    "code", ["keys.HEAD", '"""HEAD as a value."""', '"HEADER"', '"/runs"', '"outputs"', '"SPECIAL"']
)
def test_words_that_are_no_keys_are_not_found(code: str) -> None:
    assert not KEY_IN_CODE.search(code)


@pytest.mark.parametrize("priority", [0, 5, 10, 9_999])
def test_a_place_in_a_queue_tells_what_it_was_made_of(priority: int) -> None:
    assert keys.place_in_queue(keys.claim_order(priority, T0)) == (priority, T0)


def test_places_in_a_queue_sort_by_priority_and_then_by_age() -> None:
    places = [(9_999, T0), (10, T0), (9, T0 - TICK), (9, T0), (9, T0 + TICK), (0, T0 - TICK)]
    orders = [keys.claim_order(*place) for place in places]
    assert sorted(orders) == orders


@pytest.mark.parametrize("strange", ["", "9994", "9994#", "x#2026-03-02T20:00:00.042000Z"])
def test_a_place_of_another_form_is_refused(strange: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        keys.place_in_queue(strange)

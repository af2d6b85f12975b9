"""Key strings: their order is what queries rely on."""

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
"""Oldest first; three runs an instant."""


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


def test_attempts_sort_by_their_number_each_before_its_patch() -> None:
    numbers = [1, 2, 9, 10, 99, 100, 12_345_678]
    in_order = [sk for number in numbers for sk in (keys.attempt_sk(number), keys.patched_sk(number))]
    assert in_order == sorted(in_order)


def test_downwards_from_spec_or_head_lies_the_current_attempt_and_then_those_before() -> None:
    in_order = [
        keys.FIRST_ATTEMPT,
        keys.attempt_sk(1),
        keys.patched_sk(1),
        keys.attempt_sk(2),
        keys.patched_sk(2),
        keys.HEAD,
        keys.SPEC,
    ]
    assert in_order == sorted(in_order)
    assert keys.event_sk(9_999_999_999) < keys.FIRST_ATTEMPT


@pytest.mark.parametrize("sk", [keys.attempt_sk(7), keys.patched_sk(7)])
def test_right_after_a_key_lies_every_later_one_but_not_the_key(sk: str) -> None:
    bound = keys.right_after(sk)
    later = keys.patched_sk(7) if sk == keys.attempt_sk(7) else keys.attempt_sk(8)
    assert sk < bound <= later


def test_shards_of_a_value_are_kept_apart() -> None:
    hash_keys = [keys.index_hash_key(value, shard) for value in ("", "PENDING", "RUNNING") for shard in (0, 1, 11)]
    assert len(set(hash_keys)) == len(hash_keys)


def test_an_index_key_fits_a_key_of_dynamodb_however_long_the_value() -> None:
    assert re.fullmatch(r"[0-9a-f]{32}", keys.digest("🥟" * 512))
    assert keys.digest("busybox:1") != keys.digest("busybox:2")


def test_no_other_module_spells_a_key() -> None:
    package = Path(gyoza_domain.__file__).parent
    spelled = re.compile(r"""["'](RUN#|EVENT#|META#|by_created|by_state|by_image|by_op_definition)""")
    spellers = {path.name for path in package.rglob("*.py") if spelled.search(path.read_text())}
    assert spellers == {"keys.py"}

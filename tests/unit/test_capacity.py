"""Tests the count of capacity units against sums done by hand."""

from typing import Any

import pytest

from testing.capacity import index_writes, item_bytes, read_units, write_units

HEAD: dict[str, Any] = {
    "pk": {"S": "RUN#1"},
    "sk": {"S": "HEAD"},
    "created_key": {"S": "2026#1"},
    "index_all": {"S": "0"},
    "index_state": {"S": "PENDING#0"},
    "index_image": {"S": "abc#0"},
    "state": {"S": "PENDING"},
    "progress": {"N": "0"},
}


def test_an_item_is_the_sum_of_its_names_and_values() -> None:
    assert item_bytes({"ab": {"S": "é"}, "n": {"N": "-1234"}, "b": {"BOOL": True}}) == (2 + 2) + (1 + 4) + (1 + 1)


@pytest.mark.parametrize(("size", "units"), [(1, 1), (1024, 1), (1025, 2), (262_144, 256)])
def test_a_write_unit_is_a_kilobyte(size: int, units: int) -> None:
    assert write_units(size) == units


@pytest.mark.parametrize(("size", "units"), [(0, 1), (4096, 1), (4097, 2)])
def test_a_read_unit_is_four_kilobytes_and_half_of_it_when_not_consistent(size: int, units: int) -> None:
    assert read_units(size, consistent=True) == units
    assert read_units(size, consistent=False) == units / 2


def test_a_new_head_enters_the_three_indexes_it_has_keys_for() -> None:
    assert index_writes(None, HEAD).total() == 3


def test_progress_touches_no_index() -> None:
    assert index_writes(HEAD, HEAD | {"progress": {"N": "50"}}).total() == 0


def test_a_new_state_moves_one_entry_and_rewrites_another() -> None:
    after = HEAD | {"state": {"S": "RUNNING"}, "index_state": {"S": "RUNNING#0"}}
    assert index_writes(HEAD, after).total() == 2 + 1

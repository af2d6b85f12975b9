"""Readings that are repeated while they meet half a transaction."""

from collections.abc import Callable

import pytest

from gyoza_domain.domain.errors import RunNotFound, StorageUnavailable, UnreadableRun
from gyoza_domain.dynamodb.attributes import UnreadableItem
from gyoza_domain.dynamodb.settling import NotThereYet, settled
from gyoza_domain.runs.pausing import Pauses
from tests.support.clocks import FakeClock

RUN_ID = "6f1c2a54-9d1b-4c55-8a39-2f0f5c7be911"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def readings(*failures: Exception) -> Callable[[], str]:
    left = list(failures)

    def read() -> str:
        if left:
            raise left.pop(0)
        return "whole"

    return read


@pytest.mark.parametrize("torn", [0, 1, 3])
def test_a_reading_is_repeated_with_a_pause_before_until_it_is_whole(clock: FakeClock, torn: int) -> None:
    assert settled(readings(*[NotThereYet("HEAD")] * torn), RUN_ID, Pauses(clock)) == "whole"
    assert len(clock.pauses) == torn


def test_a_reading_that_never_gets_whole_is_unavailable(clock: FakeClock) -> None:
    with pytest.raises(StorageUnavailable) as refusal:
        settled(readings(*[NotThereYet("HEAD")] * 1_000), RUN_ID, Pauses(clock))
    assert type(refusal.value) is StorageUnavailable
    assert sum(clock.pauses) == pytest.approx(1.0)


def test_all_readings_of_a_request_share_its_second(clock: FakeClock) -> None:
    pauses = Pauses(clock)
    for _ in range(3):
        assert settled(readings(*[NotThereYet("OUTPUTS")] * 2), RUN_ID, pauses) == "whole"
    with pytest.raises(StorageUnavailable):
        settled(readings(*[NotThereYet("OUTPUTS")] * 1_000), RUN_ID, pauses)
    assert sum(clock.pauses) == pytest.approx(1.0)


def test_an_item_that_a_newer_release_wrote_is_told_of_its_run_without_a_pause(clock: FakeClock) -> None:
    with pytest.raises(UnreadableRun) as refusal:
        settled(readings(UnreadableItem("is of schema 2; this reader knows 1")), RUN_ID, Pauses(clock))
    assert refusal.value.run_id == RUN_ID
    assert clock.pauses == []


@pytest.mark.parametrize("error", [RunNotFound(RUN_ID), StorageUnavailable(), KeyError("pk")])
def test_any_other_error_passes_at_once(clock: FakeClock, error: Exception) -> None:
    with pytest.raises(type(error)) as raised:
        settled(readings(error), RUN_ID, Pauses(clock))
    assert raised.value is error
    assert clock.pauses == []

"""Readings that are repeated, and the pauses between them."""

import random
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from gyoza_domain.domain.errors import RunNotFound, StorageUnavailable, UnreadableRun
from gyoza_domain.dynamodb import settling
from gyoza_domain.dynamodb.attributes import UnreadableItem
from gyoza_domain.dynamodb.settling import SETTLING_S, NotThereYet, Pauses, settled

RUN_ID = "6f1c2a54-9d1b-4c55-8a39-2f0f5c7be911"


class FakeClock:
    """Keeps how long it was asked to sleep."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    def now(self) -> datetime:
        return datetime(2026, 3, 2, 20, 0, tzinfo=UTC)

    def monotonic(self) -> float:
        return 0.0

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def pause_until_refused(pauses: Pauses) -> None:
    for _ in range(1_000):
        try:
            pauses.pause()
        except StorageUnavailable:
            return
    raise AssertionError("the pauses never end")


@pytest.mark.parametrize("seed", range(20))
def test_pauses_take_a_second_in_all_and_then_the_table_is_unavailable(clock: FakeClock, seed: int) -> None:
    random.seed(seed)
    pause_until_refused(Pauses(clock))
    assert sum(clock.pauses) == pytest.approx(SETTLING_S) == pytest.approx(1.0)
    assert all(pause > 0 for pause in clock.pauses)
    assert 4 <= len(clock.pauses) <= 12


def test_time_that_is_up_stays_up(clock: FakeClock) -> None:
    pauses = Pauses(clock)
    pause_until_refused(pauses)
    made = len(clock.pauses)
    with pytest.raises(StorageUnavailable):
        pauses.pause()
    assert len(clock.pauses) == made


def test_pauses_may_be_given_another_time_in_all(clock: FakeClock) -> None:
    pause_until_refused(Pauses(clock, 4.0))
    assert sum(clock.pauses) == pytest.approx(4.0)


def test_the_bounds_of_the_pauses_double_up_to_a_limit(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    bounds: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        bounds.append((low, high))
        return high

    monkeypatch.setattr(settling._system_random, "uniform", uniform)
    pause_until_refused(Pauses(clock))
    highs = [high for _, high in bounds]
    assert [high / low for low, high in bounds] == pytest.approx([2.0] * len(bounds))
    assert highs[0] == pytest.approx(0.02)
    assert all(later == pytest.approx(min(2 * earlier, 0.3)) for earlier, later in pairwise(highs))
    assert highs[-1] == pytest.approx(0.3)


def test_pauses_are_drawn_from_the_system_s_randomness_not_from_a_seed() -> None:
    def made() -> list[float]:
        random.seed(1)
        clock = FakeClock()
        pause_until_refused(Pauses(clock))
        return clock.pauses

    assert made() != made()


# -- readings


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

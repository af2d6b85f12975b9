"""Pauses of one request, which share a second."""

import random
from itertools import pairwise

import pytest

from gyoza_domain.domain.errors import StorageUnavailable
from gyoza_domain.runs import pausing
from gyoza_domain.runs.pausing import MAX_SETTLING_S, Pauses
from tests.support.clocks import FakeClock


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
    assert sum(clock.pauses) == pytest.approx(MAX_SETTLING_S) == pytest.approx(1.0)
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

    monkeypatch.setattr(pausing._system_random, "uniform", uniform)
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

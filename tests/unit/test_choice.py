"""The choice of a claim: fits, bands and pauses."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from gyoza_domain.claiming.choice import fits, order_of, pause_s, takes_gpu_work, tries
from gyoza_domain.claiming.ports import Candidate, Capacity
from gyoza_domain.domain.run import Constraints

NOW = datetime(2026, 3, 2, 20, 0, tzinfo=UTC)
ANY = Capacity()


def candidates(count: int) -> list[Candidate]:
    """Candidates of one priority, the oldest first. Their run ids are their places."""
    return [Candidate(str(place), 5, NOW + timedelta(seconds=place), Constraints()) for place in range(count)]


def places(tried: Sequence[Candidate]) -> list[int]:
    return [int(candidate.run_id) for candidate in tried]


@pytest.mark.parametrize(
    ("needs", "capacity", "does_fit"),
    [
        (Constraints(), Capacity(0, 0, 0), True),
        (Constraints(4, 1_024, 0), Capacity(4, 1_024, 0), True),
        (Constraints(cpu=5), Capacity(cpu=4), False),
        (Constraints(ram_mb=1_025), Capacity(ram_mb=1_024), False),
        (Constraints(vram_mb=1), Capacity(vram_mb=0), False),
        (Constraints(10**40, 10**40, 10**40), ANY, True),
        (Constraints(cpu=10**12 + 1), Capacity(cpu=10**12), False),
        (Constraints(ram_mb=1_025), Capacity(cpu=1), True),
    ],
)
def test_a_run_fits_if_each_need_is_at_most_what_the_worker_offers(
    needs: Constraints, capacity: Capacity, does_fit: bool
) -> None:
    assert fits(needs, capacity) is does_fit


@pytest.mark.parametrize(("vram_mb", "takes"), [(None, True), (1, True), (0, False)])
def test_only_a_worker_with_video_memory_looks_at_gpu_work(vram_mb: int | None, takes: bool) -> None:
    assert takes_gpu_work(Capacity(vram_mb=vram_mb)) is takes


@pytest.mark.parametrize("seed", range(20))
def test_ten_tries_go_ever_further_behind_the_oldest_entry(seed: int) -> None:
    tried = places(list(tries(candidates(300), Random(seed))))

    assert all(0 <= place < 16 for place in tried[:2])
    assert all(16 <= place < 64 for place in tried[2:5])
    assert all(64 <= place < 200 for place in tried[5:10])


@pytest.mark.parametrize("count", [0, 1, 2, 5, 16, 17, 64, 65, 200, 300])
def test_every_entry_is_tried_once_before_the_tries_end(count: int) -> None:
    assert sorted(places(list(tries(candidates(count), Random(1))))) == list(range(count))


def test_workers_begin_with_different_ones_of_the_oldest_sixteen() -> None:
    firsts = {next(tries(candidates(200), Random(seed))).run_id for seed in range(200)}

    assert firsts == {str(place) for place in range(16)}


def test_the_highest_priority_comes_first_and_then_the_oldest() -> None:
    young, old = (Candidate("run", 5, NOW + timedelta(seconds=seconds), Constraints()) for seconds in (1, 0))
    urgent = Candidate("run", 6, NOW + timedelta(seconds=2), Constraints())

    assert sorted([young, old, urgent], key=order_of) == [urgent, old, young]


def test_a_worker_comes_back_sooner_if_something_may_be_had_soon() -> None:
    assert {pause_s(is_soon=True) for _ in range(200)} == {1, 2, 3}
    assert {pause_s(is_soon=False) for _ in range(2_000)} == set(range(5, 21))

"""Sixty-four workers claim two thousand runs in virtual time, through an index that trails the claims."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from uuid import UUID

import pytest

from gyoza_domain.claiming import choice
from gyoza_domain.claiming.choice import fits
from gyoza_domain.claiming.commands import NothingFits, claim_run
from gyoza_domain.claiming.memory import SpentEntries
from gyoza_domain.claiming.ports import Capacity, ClaimRequest
from gyoza_domain.domain.run import Constraints, OpRun, Terms
from gyoza_domain.domain.transitions import new_attempt
from tests.support.virtual_time import VirtualTime
from tests.support.waiting_runs import Latencies, WaitingRuns

WORKERS = 64
RUNS = 2_000
CLOUD = Latencies(query_s=0.01, load_s=0.01, transaction_s=0.03, index_s=1.0)
ROUND_TRIP_S = 0.02
"""The time between an answer and the next request of a worker that never pauses."""

SMALL_WORKER = Capacity(cpu=4, ram_mb=4_096, vram_mb=0)
LARGE_WORKER = Capacity(cpu=64, ram_mb=131_072, vram_mb=0)
GPU_WORKER = Capacity(cpu=32, ram_mb=65_536, vram_mb=24_576)


@dataclass
class Figures:
    """The counts of a simulation. ``false_204s``: answers that nothing fits while the index showed a run that does."""

    claims: Counter[str] = field(default_factory=Counter)
    false_204s: int = 0
    true_204s: int = 0
    inversions: int = 0
    heads: int = 0
    transactions: int = 0
    entries: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        claims = self.claims.total()
        return (
            f"{claims} claims in {self.seconds:.1f} s ({claims / self.seconds:.0f} a second); a claim costs"
            f" {self.transactions / claims:.2f} transactions, {self.heads / claims:.2f} heads,"
            f" {self.entries / claims:.0f} entries and {self.false_204s / claims:.2f} false 204s;"
            f" {self.true_204s} true 204s, {self.inversions} inversions"
        )


@dataclass
class Simulation:
    """``capacity_of``: by the number of the worker. ``a_second``: the runs created a second; None for all at once."""

    run_of: Callable[[int, Random], OpRun]
    capacity_of: Callable[[int], Capacity]
    a_second: float | None = None
    latencies: Latencies = CLOUD
    figures: Figures = field(default_factory=Figures)

    def __post_init__(self) -> None:
        self.clock = VirtualTime()
        self.rng = Random(7)
        self.table = WaitingRuns(self.clock, self.latencies)
        self.created = 0

    def play(self) -> Figures:
        workers = [self._worker(number) for number in range(WORKERS)]
        if self.a_second is None:
            self._create_runs(None)
            # The index has caught up when the workers come.
            self.clock.sleep(self.latencies.index_s)
            start_s = self.clock.monotonic()
            self.clock.run(workers)
        else:
            start_s = self.clock.monotonic()
            self.clock.run([lambda: self._create_runs(self.a_second), *workers])
        figures = self.figures
        figures.seconds = self.clock.monotonic() - start_s
        figures.heads = sum(call.startswith("load") for call in self.table.calls)
        figures.transactions = self.table.calls.count("save")
        figures.entries = self.table.entries_read
        return figures

    def _create_runs(self, a_second: float | None) -> None:
        for number in range(RUNS):
            run = self.run_of(number, self.rng)
            now = self.clock.now()
            run = replace(run, created_at=now, updated_at=now, attempt=new_attempt(run.terms, now))
            self.table.put(run)
            self.created += 1
            if a_second is not None:
                self.clock.sleep(self.rng.expovariate(a_second))

    def _worker(self, number: int) -> Callable[[], None]:
        request = ClaimRequest(f"worker {number}", capacity=self.capacity_of(number))

        def act() -> None:
            spent = SpentEntries()
            while self.created < RUNS or self.table.waiting:
                pause_s = self._claim(request, spent)
                self.clock.sleep(pause_s + self.rng.uniform(0, ROUND_TRIP_S))

        return act

    def _claim(self, request: ClaimRequest, spent: SpentEntries) -> float:
        """Claim once. Returns the seconds that the answer asks the worker to wait."""
        begun = self.clock.monotonic()
        answer = claim_run(self.table.store, self.table, self.table, self.clock, request, whole=False, spent=spent)
        # These runs were there all the time.
        left = [
            run
            for run in self.table.waiting.values()
            if fits(run.terms.needs, request.capacity) and self.table.is_shown(run, at=begun)
        ]
        if isinstance(answer, NothingFits):
            self.figures.false_204s += bool(left)
            self.figures.true_204s += not left
            return answer.retry_after_s
        self.figures.claims[answer.run.id] += 1
        self.figures.inversions += any(run.priority > answer.run.priority for run in left)
        return 0.0


def a_run(number: int, *, priority: int = 5, needs: Constraints | None = None) -> OpRun:
    now = VirtualTime().now()
    terms = Terms(needs=needs or Constraints())
    run_id = str(UUID(int=number, version=4))
    return OpRun(run_id, now, now, new_attempt(terms, now), priority=priority, terms=terms)


def of_any_kind(number: int, rng: Random) -> OpRun:
    """Runs of ten priorities. One in three fits the large workers only, and one in five asks for a GPU."""
    needs = Constraints(cpu=rng.choice([1, 2, 4, 16, 32, None]), vram_mb=rng.choice([None, 0, None, None, 8_192]))
    return a_run(number, priority=rng.randrange(10), needs=needs)


def of_any_size(number: int) -> Capacity:
    return (SMALL_WORKER, LARGE_WORKER, GPU_WORKER, Capacity())[number % 4]


SCENES = {
    "one priority": Simulation(lambda number, _: a_run(number), lambda _: Capacity()),
    "ten priorities": Simulation(lambda number, rng: a_run(number, priority=rng.randrange(10)), lambda _: Capacity()),
    "runs and workers of any kind": Simulation(of_any_kind, of_any_size),
    "one priority, runs that come in": Simulation(lambda number, _: a_run(number), lambda _: Capacity(), 200),
    "any kind, runs that come in": Simulation(of_any_kind, of_any_size, 200),
}


QUICK = ("one priority", "runs and workers of any kind")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.long) for name in SCENES]
)
def test_workers_without_pauses_claim_every_run_once_and_in_order(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "_system_random", Random(3))

    figures = SCENES[name].play()

    print(f"{name}: {figures}")
    assert figures.claims.total() == len(figures.claims) == RUNS
    assert figures.inversions == 0
    assert figures.transactions <= 2 * RUNS
    assert figures.false_204s <= 0.3 * RUNS

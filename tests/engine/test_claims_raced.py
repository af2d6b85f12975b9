"""Many workers without pauses claim through the handlers, on an index that trails by up to a second."""

import json
import random
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic, sleep
from typing import Any

import pytest

from functions.claim_run import app as claim_function
from gyoza_domain.bootstrap import clients
from gyoza_domain.claiming.memory import SpentEntries
from gyoza_domain.dynamodb import keys
from testing.gateway import Answer, Gateway
from tests.support.faults import injected, seeded
from tests.support.torn import at_random, torn

MAX_LAG_S = 1.0
CAPACITIES: tuple[dict[str, int | None], ...] = (
    {"cpu": 4, "ram_mb": 4_096, "vram_mb": 0},
    {"cpu": 64, "ram_mb": 131_072, "vram_mb": 0},
    {"cpu": 32, "ram_mb": 65_536, "vram_mb": 24_576},
    {},
)


@contextmanager
def trailing_index(client: Any, engine: Any, rng: random.Random) -> Iterator[None]:
    """Answer queries of the index of claims as of an instant up to a second ago, each page as of an instant of its own.

    ``engine``: the client's own method, below everything that stands between the handlers and the engine.
    """
    inner = client._make_api_call
    pages: dict[str, tuple[float, Any]] = {}
    lock = threading.Lock()

    def call(operation: str, request: dict[str, Any]) -> Any:
        if operation != "Query" or request.get("IndexName") != keys.CLAIMABLE:
            return inner(operation, request)
        page = json.dumps(request, sort_keys=True)
        with lock:
            read_s, answer = pages.get(page, (0.0, None))
        # The index never goes back further than the oldest page that is served.
        if answer is None or monotonic() - read_s > rng.uniform(0, MAX_LAG_S):
            began_s = monotonic()
            answer = engine(operation, request)
            with lock:
                pages[page] = (began_s, answer)
        return answer

    client._make_api_call = call
    try:
        yield
    finally:
        client._make_api_call = inner


@dataclass(frozen=True)
class Asked:
    """An answer to a claim. ``run`` is None for 204; ``decided_at`` is the instant at which the claim was decided."""

    began_at: datetime
    ended_at: datetime
    capacity: dict[str, int | None]
    run_id: str | None = None
    decided_at: datetime | None = None


@dataclass
class Race:
    """``needs``: of each run. ``priorities``: of each run."""

    api: Gateway
    needs: dict[str, dict[str, int]] = field(default_factory=dict)
    priorities: dict[str, int] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    taken: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def create(self, number: int) -> None:
        rng = random.Random(number)
        needs = {"cpu": rng.choice([1, 2, 4, 16, 32])} if rng.random() < 0.8 else {}
        if rng.random() < 0.2:
            needs["vram_mb"] = 8_192
        priority = rng.randrange(10)
        answer = self.api.post("/runs", {"image": "busybox:1", "priority": priority, "constraints": needs})
        assert answer.status == 201, answer.text
        self.needs[answer.json["id"]] = needs
        self.priorities[answer.json["id"]] = priority

    def work(self, number: int) -> None:
        capacity = CAPACITIES[number % len(CAPACITIES)]
        body = {"worker_id": f"worker {number}", "capacity": capacity, "lease_s": 3_600}
        deadline_s, count = monotonic() + 300, 0
        while sum(self.taken.values()) < len(self.needs):
            assert monotonic() < deadline_s
            count += 1
            began_at = datetime.now(UTC)
            answer = self._claimed(body, f"{number}-{count}")
            ended_at = datetime.now(UTC)
            if answer.status == 204:
                with self.lock:
                    self.asked.append(Asked(began_at, ended_at, capacity))
                sleep(int(answer.headers["Retry-After"]))
                continue
            run = answer.json
            with self.lock:
                self.taken[run["id"]] += 1
                decided_at = datetime.fromisoformat(run["updated_at"])
                self.asked.append(Asked(began_at, ended_at, capacity, run["id"], decided_at))

    def _claimed(self, body: dict[str, Any], key: str) -> Answer:
        """The answer, however often the request must be repeated with its key."""
        headers = {"Idempotency-Key": key, "Prefer": "return=minimal"}
        while (answer := self.api.call("POST", "/runs/claim", body, headers=headers)).status == 503:
            pass
        assert answer.status in {200, 204}, answer.text
        return answer

    def left(self, asked: Asked) -> list[str]:
        """The runs that fit and that nobody had claimed when the answer came. The index showed them all the time."""
        decided_at = {each.run_id: each.decided_at for each in self.asked if each.run_id is not None}
        return [
            run_id
            for run_id, needs in self.needs.items()
            if all(
                asked.capacity.get(name) is None or need <= (asked.capacity[name] or 0) for name, need in needs.items()
            )
            and (decided_at[run_id] or asked.ended_at) > asked.ended_at
        ]


@pytest.fixture
def memory_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives each thread what a Lambda environment has for itself: the entries that it found spent."""
    of_thread = threading.local()

    def spent_entries() -> SpentEntries:
        spent: SpentEntries = vars(of_thread).setdefault("spent", SpentEntries())
        return spent

    monkeypatch.setattr(claim_function, "spent_entries", spent_entries)


@pytest.mark.contention
@pytest.mark.usefixtures("memory_a_thread")
@pytest.mark.parametrize(
    ("runs", "workers", "fault_rate"),
    [(100, 12, 0.0), pytest.param(2_000, 64, 0.002, marks=[pytest.mark.long, pytest.mark.longest])],
    ids=["100 runs", "2,000 runs, torn reads and faults"],
)
def test_workers_that_race_through_the_handlers_claim_every_run_once_and_in_order(
    engine_api: Gateway, runs: int, workers: int, fault_rate: float
) -> None:
    race = Race(engine_api)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(race.create, range(runs)))
    client: Any = clients.dynamodb()
    engine = client._make_api_call
    sent: list[str] = []
    writes = "before-call.dynamodb.TransactWriteItems"
    client.meta.events.register(writes, lambda **_: sent.append(""), unique_id="count")
    started_s = monotonic()
    with (
        injected(seeded(runs, rate=fault_rate)) as faults,
        torn(delays=at_random(runs, longest_s=0.02)) as table,
        trailing_index(client, engine, random.Random(runs)),
        ThreadPoolExecutor(workers) as pool,
    ):
        list(pool.map(race.work, range(workers)))
    seconds = monotonic() - started_s
    client.meta.events.unregister(writes, unique_id="count")
    table.settle()

    in_vain = [each for each in race.asked if each.run_id is None]
    false_204s = sum(bool(race.left(each)) for each in in_vain)
    inversions = [
        each
        for each in race.asked
        if each.run_id is not None
        and any(race.priorities[left] > race.priorities[each.run_id] for left in race.left(each))
    ]
    print(
        f"{runs} claims by {workers} workers in {seconds:.1f} s: {len(sent) / runs:.2f} transactions and"
        f" {false_204s / runs:.2f} false 204s a claim, {len(in_vain) - false_204s} true 204s, {len(inversions)}"
        f" inversions; {table.figures}; {faults}"
    )
    assert set(race.taken) == set(race.needs)
    assert set(race.taken.values()) == {1}
    assert inversions == []
    assert len(sent) <= 2 * runs
    assert false_204s <= 0.3 * runs
    for run_id in random.Random(runs).sample(sorted(race.needs), 50):
        timeline = engine_api.get(f"/runs/{run_id}/events").json["events"]
        assert [event["type"] for event in timeline] == ["ASSIGNED"]

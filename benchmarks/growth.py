"""Growth: what a request costs as one run gets longer and as runs become more, on DynamoDB Local.

Calls and units are counted once a size; times are of the handler's call, the sizes in turns.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import repeat
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any
from uuid import UUID

from benchmarks.engine import engine, new_table, use_table
from benchmarks.measuring import medians_in_turns
from benchmarks.units import Cost, counted
from gyoza_domain.bootstrap import clients
from gyoza_domain.domain.run import OpRun, RunSpec, State
from tests.support.gateway import Answer, Gateway
from tests.support.seeding import BEGINNING, running, seeded_run, store_events, store_runs

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

EVENTS = (10, 100, 1_000, 10_000)
RUNS = (1_000, 10_000, 100_000)
MILLION = 1_000_000
ROUNDS = 25
MESSAGE = "m" * 200

LIVE_RUNS = 40
RARE_RUNS = 12
COMMON_IMAGE, RARE_IMAGE = "registry.example.com/common:1", "registry.example.com/rare:1"
OTHER_IMAGE, DEFINITION = "registry.example.com/other:1", "segmentation"

_SEEDERS = 2
_CHUNK = 2_500


@dataclass(frozen=True)
class Request:
    table: str
    send: Callable[[], Answer]

    def seconds(self) -> float:
        use_table(self.table)
        started = time.perf_counter()
        answer = self.send()
        taken = time.perf_counter() - started
        assert answer.status in (200, 201), answer.text
        return taken

    def cost(self) -> tuple[Cost, int]:
        """And how many rows or events it brought."""
        use_table(self.table)
        with counted() as cost:
            body = self.send().json
        return cost, len(body.get("data", body.get("events", [])))


@dataclass(frozen=True)
class Point:
    """A request at one size."""

    size: int
    calls: int
    read_units: float
    write_units: int
    units: float
    seconds: float
    rows: int


@dataclass(frozen=True)
class Curve:
    """A request at every size."""

    request: str
    points: list[Point]

    @property
    def units_ratio(self) -> float:
        return self.points[-1].units / self.points[0].units

    @property
    def seconds_ratio(self) -> float:
        return self.points[-1].seconds / self.points[0].seconds


# --- one run ---------------------------------------------------------------------------------------------------------


def measure_one_run(sizes: Sequence[int] = EVENTS, rounds: int = ROUNDS) -> list[Curve]:
    """POST event, poll and GET of a run with so many events."""
    with engine() as client:
        new_table(client)
        return one_run_curves(sizes, rounds)


def one_run_curves(sizes: Sequence[int], rounds: int) -> list[Curve]:
    """On the table in use, of which nothing is asked but these runs."""
    table = clients.table()
    runs = {size: _stored_run(next(_numbers), size).id for size in sizes}
    polls = {size: Request(table, _poll(runs[size], size)) for size in sizes}
    gets = {size: Request(table, _get(runs[size])) for size in sizes}
    curves = {"GET /runs/{id}/events, two new ones": polls, "GET /runs/{id}": gets}
    for minimal in (True, False):
        name = "POST /runs/{id}/events" + (" minimal" if minimal else "")
        curves[name] = {
            size: Request(table, _post(_targets(runs[size], size, rounds + 2), minimal=minimal)) for size in sizes
        }
    return [_curve(name, requests, rounds) for name, requests in curves.items()]


_numbers = iter(range(10_000_000, 20_000_000))
"""Of runs that are no part of a series."""


def _poll(run_id: str, size: int) -> Callable[[], Answer]:
    return lambda: Gateway().get(f"/runs/{run_id}/events", after=size - 3)


def _get(run_id: str) -> Callable[[], Answer]:
    return lambda: Gateway().get(f"/runs/{run_id}")


def _post(run_ids: Iterator[str], *, minimal: bool) -> Callable[[], Answer]:
    return lambda: Gateway().event(next(run_ids), "INFO", msg=MESSAGE, minimal=minimal)


def _targets(run_id: str, size: int, count: int) -> Iterator[str]:
    """Runs to post to: where a few events more would change the size, another one each time."""
    if size >= 20 * count:
        return repeat(run_id)
    return iter([_stored_run(next(_numbers), size).id for _ in range(count)])


def _stored_run(number: int, size: int) -> OpRun:
    run = running(seeded_run(number, events=size))
    store_runs([(run, RunSpec(COMMON_IMAGE))])
    store_events(run, msg=MESSAGE)
    return run


# --- all runs --------------------------------------------------------------------------------------------------------

_HALF, _SOON_AFTER = "half", "soon after"
"""Stand for the run, or its instant, before which half of the runs had been created; and 300 s later."""

FILTERS: dict[str, dict[str, Any]] = {
    "no filter": {},
    "starting_after": {"starting_after": _HALF},
    "ending_before": {"ending_before": _HALF},
    "limit=100": {"limit": 100},
    "state=RUNNING": {"state": "RUNNING"},
    "state=COMPLETED": {"state": "COMPLETED"},
    "image (one run in 20)": {"image": COMMON_IMAGE},
    "image (12 runs)": {"image": RARE_IMAGE},
    "op_definition (one run in 10)": {"op_definition": DEFINITION},
    "created[gte] and [lt]": {"created[gte]": _HALF, "created[lt]": _SOON_AFTER},
    "state=RUNNING and image": {"state": "RUNNING", "image": COMMON_IMAGE},
    "state=FAILED and image": {"state": "FAILED", "image": COMMON_IMAGE},
}


@dataclass(frozen=True)
class AllRuns:
    curves: list[Curve]
    stored_seconds: dict[int, float]
    """What it took to store so many runs."""


def measure_all_runs(sizes: Sequence[int] = RUNS, rounds: int = ROUNDS) -> AllRuns:
    """Pages, filters and creations among so many runs."""
    with engine() as client:
        tables, took = {}, {}
        for size in sizes:
            started = time.monotonic()
            tables[size] = table_of_runs(client, size)
            took[size] = time.monotonic() - started
        return AllRuns(all_runs_curves(tables, rounds), took)


def table_of_runs(client: "DynamoDBClient", size: int) -> str:
    """A new table of so many runs, a second apart; the newest 40 are live."""
    table = new_table(client)
    chunks = [range(start, min(start + _CHUNK, size)) for start in range(0, size, _CHUNK)]
    if len(chunks) == 1:
        _store(chunks[0], size, table)
        return table
    with ProcessPoolExecutor(_SEEDERS, mp_context=get_context("spawn")) as pool:
        list(pool.map(_store, chunks, repeat(size), repeat(table)))
    return table


def _store(numbers: range, size: int, table: str) -> None:
    os.environ["GYOZA_TABLE"] = table
    store_runs(_run_and_spec(number, size) for number in numbers)


def _run_and_spec(number: int, size: int) -> tuple[OpRun, RunSpec]:
    state = State.COMPLETED
    if number >= size - LIVE_RUNS:
        state = State.RUNNING
    elif number % 40 == 20:
        state = State.FAILED
    image = COMMON_IMAGE if number % 20 == 0 else OTHER_IMAGE
    if number in {nth * size // RARE_RUNS // 20 * 20 + 7 for nth in range(RARE_RUNS)}:
        image = RARE_IMAGE
    definition = DEFINITION if number % 10 == 3 else None
    run = seeded_run(number, state=state)
    shard = UUID(run.id).int % int(os.environ["GYOZA_INDEX_SHARDS"])
    return replace(run, shard=shard), RunSpec(image, op_definition=definition)


def all_runs_curves(tables: dict[int, str], rounds: int) -> list[Curve]:
    """``tables``: by number of runs."""
    curves = [
        _curve(f"GET /runs, {name}", {size: _page(table, size, query) for size, table in tables.items()}, rounds)
        for name, query in FILTERS.items()
    ]
    creations = {
        size: Request(table, lambda: Gateway().post("/runs", {"image": OTHER_IMAGE})) for size, table in tables.items()
    }
    return [*curves, _curve("POST /runs", creations, rounds)]


def _page(table: str, size: int, query: dict[str, Any]) -> Request:
    half = BEGINNING + timedelta(seconds=size // 2)
    stands_for: dict[str, Any] = {
        "starting_after": seeded_run(size // 2).id,
        "ending_before": seeded_run(size // 2).id,
        "created[gte]": int(half.timestamp()),
        "created[lt]": int(half.timestamp()) + 300,
    }
    values = {name: stands_for.get(name, value) for name, value in query.items()}
    return Request(table, lambda: Gateway().get("/runs", **values))


def _curve(name: str, requests: dict[int, Request], rounds: int) -> Curve:
    costs = {size: request.cost() for size, request in requests.items()}
    seconds = medians_in_turns({size: request.seconds for size, request in requests.items()}, rounds) if rounds else {}
    points = [
        Point(size, len(cost.calls), cost.read_units, cost.write_units, cost.units, seconds.get(size, 0.0), rows)
        for size, (cost, rows) in costs.items()
    ]
    return Curve(name, points)

"""Measures growth: calls, units and milliseconds of a request with longer runs and with more runs."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from itertools import count, repeat
from typing import TYPE_CHECKING, Any
from uuid import UUID

from benchmarks.cpu import medians_in_turns
from benchmarks.product import store_running, store_series
from testing.engine import counted, engine, new_table, use_table
from testing.gateway import Answer, Gateway
from testing.seeding import BEGINNING

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

EVENTS = (10, 100, 1_000, 10_000)
RUNS = (1_000, 10_000, 100_000)
ROUNDS, MESSAGE = 25, "m" * 200
LIVE_RUNS, RARE_RUNS = 40, 12
COMMON_IMAGE, RARE_IMAGE = "registry.example.com/common:1", "registry.example.com/rare:1"
OTHER_IMAGE, DEFINITION = "registry.example.com/other:1", "segmentation"

_unused_numbers = count(10_000_000)
"""Numbers of runs that belong to no series."""

Points = list[dict[str, Any]]


def measure_one_run(sizes: Sequence[int] = EVENTS, rounds: int = ROUNDS) -> Points:
    """Measure POST event, poll and GET on runs of several lengths."""
    with engine():
        return one_run_points(sizes, rounds)


def one_run_points(sizes: Sequence[int], rounds: int) -> Points:
    """Measure the same requests on the current table, which holds only these runs. Returns their points."""
    runs = {size: _stored(size) for size in sizes}
    whole, minimal = ({size: _targets(runs[size], size, rounds + 2) for size in sizes} for _ in range(2))
    post = partial(Gateway().event, type_="INFO", msg=MESSAGE)
    sends: dict[str, Callable[[int], Answer]] = {
        "GET /runs/{id}/events, two new ones": lambda size: Gateway().get(f"/runs/{runs[size]}/events", after=size - 3),
        "GET /runs/{id}": lambda size: Gateway().get(f"/runs/{runs[size]}"),
        "POST /runs/{id}/events minimal": lambda size: post(next(minimal[size]), minimal=True),
        "POST /runs/{id}/events": lambda size: post(next(whole[size])),
    }
    tables = dict.fromkeys(sizes, os.environ["GYOZA_TABLE"])
    return [point for name, send in sends.items() for point in _points(name, tables, send, rounds)]


def _stored(events: int) -> str:
    return store_running(next(_unused_numbers), COMMON_IMAGE, events, MESSAGE)


def _targets(run: str, size: int, number: int) -> Iterator[str]:
    """The runs to post to: a new one each time if a few more events would change the size."""
    return repeat(run) if size >= 20 * number else iter([_stored(size) for _ in range(number)])


_HALF, _SOON_AFTER = "half", "soon after"
"""Placeholders for the run in the middle, its instant, and 300 s after it."""

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


def measure_all_runs(sizes: Sequence[int] = RUNS, rounds: int = ROUNDS) -> Points:
    """Measure pages, filters and creations among several numbers of runs."""
    with engine() as client:
        return all_runs_points({size: table_of_runs(client, size) for size in sizes}, rounds)


def table_of_runs(client: "DynamoDBClient", size: int) -> str:
    """Store so many runs, a second apart, in a new table; the newest 40 are live."""
    table = new_table(client)
    rare = {nth * size // RARE_RUNS // 20 * 20 + 7 for nth in range(RARE_RUNS)}
    store_series(
        (
            number,
            "RUNNING" if number >= size - LIVE_RUNS else "FAILED" if number % 40 == 20 else "COMPLETED",
            RARE_IMAGE if number in rare else COMMON_IMAGE if number % 20 == 0 else OTHER_IMAGE,
            DEFINITION if number % 10 == 3 else None,
        )
        for number in range(size)
    )
    return table


def all_runs_points(tables: Mapping[int, str], rounds: int) -> Points:
    """Measure requests on ``tables``, which maps the number of runs to a table."""
    sends: dict[str, Callable[[int], Answer]]
    sends = {f"GET /runs, {name}": partial(_page, query) for name, query in FILTERS.items()}
    sends["POST /runs"] = lambda _: Gateway().post("/runs", {"image": OTHER_IMAGE})
    return [point for name, send in sends.items() for point in _points(name, tables, send, rounds)]


def _page(query: Mapping[str, Any], size: int) -> Answer:
    half = int((BEGINNING + timedelta(seconds=size // 2)).timestamp())
    stands_for: dict[str, Any] = dict.fromkeys(("starting_after", "ending_before"), str(UUID(int=size // 2 + 1)))
    stands_for |= {"created[gte]": half, "created[lt]": half + 300}
    return Gateway().get("/runs", **{name: stands_for.get(name, value) for name, value in query.items()})


def _points(name: str, tables: Mapping[int, str], send: Callable[[int], Answer], rounds: int) -> Points:
    costs = {size: _cost(size, table, send) for size, table in tables.items()}
    measure = {size: partial(_seconds, size, table, send) for size, table in tables.items()}
    seconds = medians_in_turns(measure, rounds) if rounds else dict.fromkeys(tables, 0.0)
    return [{"request": name, "size": size} | cost | {"ms": seconds[size] * 1000} for size, cost in costs.items()]


def _cost(size: int, table: str, send: Callable[[int], Answer]) -> dict[str, Any]:
    use_table(table)
    with counted() as usage:
        body = send(size).json
    rows = len(body.get("data", body.get("events", [])))
    # A write unit has the price of five read units.
    units = {"R": usage.read_units, "W": usage.write_units, "units": usage.read_units + 5 * usage.write_units}
    return {"rows": rows, "calls": len(usage.calls)} | units


def _seconds(size: int, table: str, send: Callable[[int], Answer]) -> float:
    use_table(table)
    started = time.perf_counter()
    answer = send(size)
    taken = time.perf_counter() - started
    assert answer.status in (200, 201), answer.text
    return taken

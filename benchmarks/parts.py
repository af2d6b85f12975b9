"""The parts of a run: each measures something and answers plain data, which is what `.local/bench.json` keeps."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from benchmarks.cold_start import measure_cold_starts
from benchmarks.contention import measure_contention
from benchmarks.growth import EVENTS, MILLION, RUNS, measure_all_runs, measure_one_run
from benchmarks.measuring import ROUNDS
from benchmarks.price import Cpu, list_prices, measure_bills
from benchmarks.profiling import profile_imports, profile_requests
from benchmarks.scenarios import Bench, recorded_bench
from benchmarks.size import measure_sizes
from benchmarks.systems import FLOOR, OURS, PEER_1, PEER_2
from benchmarks.trees import build_trees
from benchmarks.warm import measure_warm

SYSTEMS = (FLOOR, OURS, PEER_1, PEER_2)


@dataclass
class Session:
    """What parts share: the recorded scenarios, made when the first part asks, and what was measured before."""

    stack: ExitStack
    known: dict[str, Any]
    """Data of parts, of this run or an earlier one."""
    million: bool = False

    @cached_property
    def bench(self) -> Bench:
        return self.stack.enter_context(recorded_bench(build_trees()))


def cold_start(session: Session) -> Any:
    return [
        {
            "title": each.scenario.title,
            "function": each.scenario.function,
            "has_body": each.scenario.has_body,
            "bytecode": each.bytecode,
            "ms": _scaled(each.seconds, 1000),
        }
        for each in measure_cold_starts(session.bench, SYSTEMS, ROUNDS)
    ]


def warm(session: Session) -> Any:
    return [
        {
            "title": each.scenario.title,
            "name": each.scenario.name,
            "ms": _scaled(each.seconds, 1000),
            "peak_mb": _scaled(each.peak_bytes, 1e-6),
            "calls": each.calls,
        }
        for each in measure_warm(session.bench, SYSTEMS, ROUNDS)
    ]


def size(_: Session) -> Any:
    return measure_sizes()


def contention(_: Session) -> Any:
    return [
        {"system": system, "writers": writers, "per_second": round(rate, 2)}
        for (system, writers), rate in measure_contention().items()
    ]


def growth_one_run(_: Session) -> Any:
    return {"curves": [asdict(curve) for curve in measure_one_run(EVENTS)]}


def growth_all_runs(session: Session) -> Any:
    found = measure_all_runs((*RUNS, MILLION) if session.million else RUNS)
    return {"curves": [asdict(curve) for curve in found.curves], "stored_seconds": found.stored_seconds}


def price(session: Session) -> Any:
    for needed in ("warm", "cold_start"):
        if needed not in session.known:
            session.known[needed] = PARTS[needed](session)
    warm_ms = {row["name"]: row["ms"][OURS] for row in session.known["warm"]}
    colds = [row["ms"][OURS] for row in session.known["cold_start"] if row["has_body"] and row["bytecode"]]
    cpu = Cpu(warm_ms["create_run"] / 1000, warm_ms["event_minimal"] / 1000, max(colds) / 1000)
    prices = list_prices()
    return {
        "prices": asdict(prices),
        "cpu_ms": _scaled(asdict(cpu), 1000),
        "bills": [asdict(bill) | {"total": bill.total, "against": bill.against(prices)} for bill in measure_bills(cpu)],
    }


def profile(session: Session) -> Any:
    return {
        "imports": [asdict(each) for each in profile_imports(session.bench)],
        "shares": [asdict(each) for each in profile_requests(session.bench)],
    }


PARTS: dict[str, Callable[[Session], Any]] = {
    part.__name__: part
    for part in (cold_start, warm, profile, size, contention, growth_one_run, growth_all_runs, price)
}


def _scaled(values: dict[str, Any], factor: float) -> dict[str, float]:
    return {name: round(value * factor, 3) for name, value in values.items()}

"""Measures, prints the goals, writes `.local/bench.json` and updates docs/performance.md and its tables.

python -m benchmarks [--only PART]... [--million]

With `--only`, the other parts keep the figures of their last run. The pages change once every part has figures.
"""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import cache
from typing import Any

from benchmarks.client_imports import measure_client_imports
from benchmarks.contention import measure_contention
from benchmarks.cpu import measure_cold_starts, measure_warm
from benchmarks.document import write_document
from benchmarks.goals import goals
from benchmarks.growth import RUNS, measure_all_runs, measure_one_run
from benchmarks.price import MILLION, Cpu, measure_bills
from benchmarks.profiling import profile_imports, profile_requests
from benchmarks.scenarios import Bench, recorded_bench
from benchmarks.systems import OURS, ROOT
from benchmarks.trees import build_paths, measure_sizes

RESULT = ROOT / ".local" / "bench.json"


def main() -> int:
    parts: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    with ExitStack() as stack:

        @cache
        def bench() -> Bench:
            return stack.enter_context(recorded_bench(build_paths()))

        measures: dict[str, Callable[[], list[dict[str, Any]]]] = {
            "cold_start": lambda: measure_cold_starts(bench()),
            "warm": lambda: measure_warm(bench()),
            "imports": lambda: profile_imports(bench()),
            "requests": lambda: profile_requests(bench()),
            "size": measure_sizes,
            "client_imports": measure_client_imports,
            "contention": measure_contention,
            "growth_one_run": measure_one_run,
            "growth_all_runs": lambda: measure_all_runs((*RUNS, MILLION) if arguments.million else RUNS),
            "price": lambda: measure_bills(_cpu(parts)),
        }
        parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measures the product against peers.")
        parser.add_argument("--only", choices=measures, action="append", help="measure this part; may be repeated")
        parser.add_argument("--million", action="store_true", help="measure all runs at 1,000,000 too")
        arguments = parser.parse_args()
        for part in arguments.only or measures:
            print(f"{part} ...", file=sys.stderr, flush=True)
            started = time.monotonic()
            rows = measures[part]()
            parts[part] = {"host": _host(), "took_s": round(time.monotonic() - started), "rows": rows}
            RESULT.write_text(json.dumps(parts, indent=1))
    found = list(goals({name: part["rows"] for name, part in parts.items()}))
    for goal in found:
        verdict = "reached" if goal.is_reached else "MISSED"
        print(f"{goal.what:90} {goal.figure:8.2f} {goal.goal_text:>8}  {verdict:7}  {goal.basis}")
    if parts.keys() >= measures.keys():
        write_document(parts, found)
    return 0


def _cpu(parts: dict[str, Any]) -> Cpu:
    """The CPU that prices are made of, from the parts cold_start and warm."""
    if missing := {"cold_start", "warm"} - parts.keys():
        sys.exit(f"price needs the figures of {', '.join(sorted(missing))}")
    cold = [row["ms"][OURS] / 1000 for row in parts["cold_start"]["rows"] if row["body"] and row["bytecode"]]
    return {row["name"]: row["ms"][OURS] / 1000 for row in parts["warm"]["rows"]} | {"cold_start": max(cold)}


def _host() -> dict[str, Any]:
    return {
        "on": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
        "Python": platform.python_version(),
    }


if __name__ == "__main__":
    sys.exit(main())

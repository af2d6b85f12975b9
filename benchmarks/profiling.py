"""Measures the shares of packages in the time of a cold start and of a warm request."""

import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.scenarios import SCENARIOS, Bench, Recorded
from benchmarks.systems import FLOOR, OURS, ChildFailed, command, worker

IMPORT_ROUNDS, TIMES, LARGEST = 3, 100, 8

_TITLES = {scenario.name: scenario.title for scenario in SCENARIOS}
_COLD, _WARM = ("get_run", "event"), ("get_run", "event_minimal", "list_100")
Sums = dict[str, float]


def profile_imports(bench: Bench) -> list[dict[str, Any]]:
    """The milliseconds of importing `app` in the best round, by package. A module excludes the modules it loads."""
    return _by_part(
        {f"{system}, {_TITLES[name]}": _imports(bench[system, name]) for name in _COLD for system in (FLOOR, OURS)}
    )


def profile_requests(bench: Bench) -> list[dict[str, Any]]:
    """The shares of a warm request's CPU under a profiler, which exaggerates the cost of small calls."""
    return _by_part({_TITLES[name]: _shares(bench[OURS, name]) for name in _WARM})


def _by_part(columns: dict[str, Sums]) -> list[dict[str, Any]]:
    """One row for each part that is among the largest in a column, and one row for all others."""
    *_, last = columns.values()
    largest = {part for sums in columns.values() for part in sorted(sums, key=sums.__getitem__)[-LARGEST:]}
    rows: list[dict[str, Any]] = [
        {"part": part} | {title: sums.get(part, 0.0) for title, sums in columns.items()}
        for part in sorted(largest, key=lambda part: -last.get(part, 0.0))
    ]
    others = {title: sum(sums.values()) - sum(row[title] for row in rows) for title, sums in columns.items()}
    return [*rows, {"part": "everything else"} | others]


def _imports(recorded: Recorded) -> Sums:
    argv = command("-X", "importtime", "-c", "import app")
    rounds = []
    for _ in range(IMPORT_ROUNDS):
        done = subprocess.run(argv, env=recorded.environments[True], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ChildFailed(done.stderr)
        lines = [line.removeprefix("import time:").split("|") for line in done.stderr.splitlines()]
        own = [(name.strip(), int(taken) / 1000) for taken, _, name in lines if taken.strip().isdecimal()]
        rounds.append(_sums(own, _package))
    return min(rounds, key=lambda sums: sum(sums.values()))


def _package(module: str) -> str:
    # The floor makes its client in its own module, the product in its bootstrap.
    makes_client = module == "app" or module.startswith("gyoza_domain.bootstrap")
    return "making the client" if makes_client else module.partition(".")[0]


def _shares(recorded: Recorded) -> Sums:
    with worker(recorded.environments[True]) as warm:
        warm.invoke(recorded.event)
        seconds: Sums = warm.ask(profile=recorded.event, times=TIMES)
    total = sum(seconds.values())
    # A module is named with its folder, such as `botocore/parsers`.
    shares = (("/".join(Path(file).with_suffix("").parts[-2:]), taken / total) for file, taken in seconds.items())
    return _sums(shares, str)


def _sums(values: Iterable[tuple[str, float]], named: Callable[[str], str]) -> Sums:
    sums: Sums = defaultdict(float)
    for name, value in values:
        sums[named(name)] += value
    return sums

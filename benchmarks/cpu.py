"""Measures the CPU of cold starts and of warm requests, in turns on one CPU, as medians."""

import os
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from statistics import median
from typing import Any, TypeVar

from benchmarks.scenarios import SCENARIOS, Bench, Recorded, Scenario
from benchmarks.systems import OURS, SYSTEMS, ChildFailed, Worker, cpu_of_one_invocation, worker

ROUNDS = 7
INVOCATIONS = 100
"""The invocations in a block. One block of each system is a round."""

COLD_SCENARIOS = list({scenario.function: scenario for scenario in reversed(SCENARIOS)}.values())[::-1]
"""The first scenario of each function."""

WITHOUT_BYTECODE = ("get_run", "create_run", "event")
"""Scenarios of which a cold start is measured without bytecode too."""

Key = TypeVar("Key")
Row = dict[str, Any]


def medians_in_turns(measure: Mapping[Key, Callable[[], float]], rounds: int) -> dict[Key, float]:
    """Measure each system once a round, in a random order. Returns the medians without the first round."""
    taken: dict[Key, list[float]] = {key: [] for key in measure}
    order = list(measure)
    shuffled = random.Random(0)  # noqa: S311 - an order
    for _ in range(1 + rounds):
        shuffled.shuffle(order)
        for key in order:
            taken[key].append(measure[key]())
    return {key: median(values[1:]) for key, values in taken.items()}


def measure_cold_starts(bench: Bench, rounds: int = ROUNDS) -> list[Row]:
    """Measure a new interpreter that imports `app` and answers one request from the endpoint."""
    chosen = [(True, scenario) for scenario in COLD_SCENARIOS]
    chosen += [(False, scenario) for scenario in COLD_SCENARIOS if scenario.name in WITHOUT_BYTECODE]
    rows = []
    with on_one_cpu():
        for bytecode, scenario in chosen:
            recorded = {system: bench[system, scenario.name] for system in SYSTEMS}
            runs = {system: (one.environments[bytecode], one.event_file) for system, one in recorded.items()}
            measure = {system: partial(cpu_of_one_invocation, *run) for system, run in runs.items()}
            kind = {"body": scenario.body is not None, "bytecode": bytecode}
            rows.append(_row(scenario, medians_in_turns(measure, rounds)) | kind)
    return rows


def measure_warm(bench: Bench, rounds: int = ROUNDS, invocations: int = INVOCATIONS) -> list[Row]:
    """Measure an invocation in a process that has answered before, and the process's peak of memory."""
    rows = []
    with on_one_cpu():
        for scenario in SCENARIOS:
            recorded = {system: bench[system, scenario.name] for system in SYSTEMS}
            with ExitStack() as stack:
                workers = {s: stack.enter_context(worker(one.environments[True])) for s, one in recorded.items()}
                blocks = {s: partial(_block, workers[s], one, invocations) for s, one in recorded.items()}
                row = _row(scenario, medians_in_turns(blocks, rounds))
                peaks = {system: each.ask(memory=True) / 1e6 for system, each in workers.items()}
                calls = {system: _calls(one, workers[system]) for system, one in recorded.items()}
            rows.append(row | {"MB": peaks, "calls": calls})
    return rows


def _block(warm: Worker, recorded: Recorded, invocations: int) -> float:
    seconds: float = warm.ask(repeat=recorded.event, times=invocations)
    return seconds / invocations


def _calls(recorded: Recorded, warm: Worker) -> int:
    """The calls of a warm invocation. Raises ChildFailed unless they are as many as were recorded."""
    before = recorded.recording.replayed.total()
    warm.invoke(recorded.event)
    calls = recorded.recording.replayed.total() - before
    if calls != len(recorded.recording.calls):
        raise ChildFailed(f"{recorded.event_file.name}: {calls} calls, {len(recorded.recording.calls)} recorded")
    return calls


def _row(scenario: Scenario, seconds: Mapping[str, float]) -> Row:
    """Milliseconds by system, and ours over each of the others'."""
    ms = {system: taken * 1000 for system, taken in seconds.items()}
    over = {system: ms[OURS] / taken for system, taken in ms.items() if system != OURS}
    return {"request": scenario.title, "name": scenario.name, "ms": ms, "over": over}


@contextmanager
def on_one_cpu() -> Iterator[None]:
    """Keep this thread and the processes it starts on the last CPU."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)

"""Warm requests: the CPU of an invocation in a process that has answered before; and its peak of memory."""

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from benchmarks.measuring import medians_in_turns, on_one_cpu
from benchmarks.scenarios import SCENARIOS, Bench, Recorded, Scenario
from benchmarks.systems import ChildFailed, Worker, worker

INVOCATIONS = 200
"""Of one block; a block of each system is one round."""


@dataclass(frozen=True)
class Warm:
    scenario: Scenario
    seconds: dict[str, float]
    """CPU of one invocation by system."""
    peak_bytes: dict[str, int]
    calls: dict[str, int]
    """DynamoDB calls of one invocation."""


def measure_warm(bench: Bench, names: tuple[str, ...], rounds: int, invocations: int = INVOCATIONS) -> list[Warm]:
    with on_one_cpu():
        return [_measure(bench, scenario, names, rounds, invocations) for scenario in SCENARIOS]


def _measure(bench: Bench, scenario: Scenario, names: tuple[str, ...], rounds: int, invocations: int) -> Warm:
    with ExitStack() as stack:
        recorded = {name: bench.of(name, scenario) for name in names}
        workers = {name: stack.enter_context(worker(one.deployed, one.endpoint)) for name, one in recorded.items()}
        seconds = medians_in_turns(
            {name: partial(workers[name].cpu_seconds, recorded[name].event, invocations) for name in names},
            rounds,
        )
        peaks = {name: workers[name].peak_bytes() for name in names}
        for name in names:
            _check_calls(bench, recorded[name], workers[name])
    return Warm(scenario, seconds, peaks, {name: one.calls for name, one in recorded.items()})


def _check_calls(bench: Bench, recorded: Recorded, warm: Worker) -> None:
    """A warm invocation makes the calls that were recorded, no more and no fewer."""
    before = bench.stub.replayed(recorded.recording)
    warm.invoke(recorded.event)
    made = bench.stub.replayed(recorded.recording) - before
    if made != recorded.calls:
        raise ChildFailed(f"{recorded.recording}: {made} calls where {recorded.calls} were recorded")

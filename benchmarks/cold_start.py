"""Cold start: the CPU of a fresh interpreter that imports `app` and answers one request from the stub."""

from dataclasses import dataclass
from functools import partial

from benchmarks.measuring import medians_in_turns, on_one_cpu
from benchmarks.scenarios import SCENARIOS, Bench, Scenario
from benchmarks.systems import cpu_of_one_invocation

COLD_SCENARIOS = list({scenario.function: scenario for scenario in reversed(SCENARIOS)}.values())[::-1]
"""One of each function."""


@dataclass(frozen=True)
class ColdStart:
    scenario: Scenario
    bytecode: bool
    seconds: dict[str, float]
    """CPU by system."""


def measure_cold_starts(bench: Bench, names: tuple[str, ...], rounds: int) -> list[ColdStart]:
    with on_one_cpu():
        return [
            ColdStart(scenario, bytecode, _seconds(bench, scenario, names, rounds, bytecode=bytecode))
            for bytecode in (True, False)
            for scenario in COLD_SCENARIOS
        ]


def _seconds(
    bench: Bench, scenario: Scenario, names: tuple[str, ...], rounds: int, *, bytecode: bool
) -> dict[str, float]:
    def once(system: str) -> float:
        recorded = bench.of(system, scenario)
        deployed = recorded.deployed if bytecode else recorded.without_bytecode
        return cpu_of_one_invocation(deployed, recorded.endpoint, recorded.event_file)

    return medians_in_turns({name: partial(once, name) for name in names}, rounds)

"""Fuzzes the deployed stack: no 5xx, no answer outside docs/openapi.yaml, no unfit request accepted."""

import json
import os
import subprocess
import sys
from base64 import b64decode
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from local.stack import Endpoint
from tests.support.openapi import closed_document, operations

ROOT = Path(__file__).resolve().parents[2]
CONFIG = Path(__file__).with_name("schemathesis.toml")
SEED = 20260302

LEAST_REQUESTS = 2_000
LEAST_IN_SEQUENCES = 300

RUNS = {
    "each operation": ["--phases", "examples,coverage,fuzzing", "--max-examples", "200"],
    # The tool ends this phase early if a scenario cannot be replayed. With a time it begins again.
    "sequences": ["--phases", "stateful", "--max-time", "60"],
}

_LIMIT_S = 600


@dataclass
class Figures:
    """The figures of a schemathesis report."""

    requests: Counter[str] = field(default_factory=Counter)
    """The number of requests by phase."""
    answers: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    """The number of answers by method, path and status; the status is 0 if no answer came."""
    checks: Counter[str] = field(default_factory=Counter)
    """The number of checks by status."""
    refused_though_fitting: Counter[str] = field(default_factory=Counter)
    """The number of refusals by code, of requests that fit the document."""

    @property
    def total(self) -> int:
        return self.requests.total()

    def with_status(self, first: int, last: int) -> int:
        return sum(count for (_, _, status), count in self.answers.items() if first <= status <= last)

    def summary(self) -> str:
        answers = ", ".join(
            f"{self.with_status(status, status + 99)} {status // 100}xx" for status in (200, 300, 400, 500)
        )
        lines = [
            f"{self.total} requests ({_listed(self.requests)}), {self.with_status(0, 0)} without answer",
            f"{answers}; checks: {_listed(self.checks)}",
            f"fitting requests refused for what they met: {_listed(self.refused_though_fitting)}",
        ]
        return "\n".join(lines)


@pytest.mark.long
def test_a_fuzzed_stack_never_breaks_and_answers_as_it_is_described(endpoint: Endpoint, tmp_path: Path) -> None:
    document = tmp_path / "openapi.json"
    document.write_text(json.dumps(closed_document()))
    figures, exits = Figures(), {}
    for number, (name, options) in enumerate(RUNS.items()):
        report = tmp_path / f"{number}.ndjson"
        exits[name] = _fuzz(endpoint, document, report, options)
        _read_into(figures, report)
    print(f"\nschemathesis, seed {SEED}:\n{figures.summary()}")

    assert figures.with_status(500, 599) == 0
    assert figures.with_status(0, 0) == 0
    assert figures.total >= LEAST_REQUESTS
    assert figures.requests["stateful"] >= LEAST_IN_SEQUENCES
    assert _unreached(figures) == []
    assert figures.checks["failure"] == 0
    assert exits == dict.fromkeys(RUNS, 0), "see what schemathesis said"


def _fuzz(endpoint: Endpoint, document: Path, report: Path, options: list[str]) -> int:
    """Run the tool, with its output on the terminal. Returns its exit code."""
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run", str(document)),
        *("--url", endpoint.url, "--header", f"X-API-Key: {endpoint.api_key}", "--checks", "all"),
        *("--seed", str(SEED), "--report", "ndjson", "--report-ndjson-path", str(report), "--no-color", *options),
    ]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "layers/gyoza_domain")]),
        "SCHEMATHESIS_HOOKS": "tests.openapi.fuzz_hooks",
    }
    return subprocess.run(command, cwd=report.parent, env=environment, timeout=_LIMIT_S, check=False).returncode


def _read_into(figures: Figures, report: Path) -> None:
    for phase, case, interaction, checks in _exchanges(report):
        answer = interaction["response"]
        figures.requests[phase] += 1
        status = 0 if answer is None else answer["status_code"]
        figures.answers[case["method"], case["path"], status] += 1
        figures.checks.update(check["status"] for check in checks)
        if case["meta"]["generation"]["mode"] == "positive" and 400 <= status < 500 and checks:
            figures.refused_though_fitting[_code(answer)] += 1


def _exchanges(report: Path) -> Iterator[tuple[str, Any, Any, list[Any]]]:
    """Yield phase, case, request with answer, and checks of each request that was sent."""
    with report.open() as lines:
        for line in lines:
            scenario = json.loads(line).get("ScenarioFinished")
            recorder = scenario["recorder"] if scenario else {}
            for case_id, interaction in recorder.get("interactions", {}).items():
                case = recorder["cases"][case_id]["value"]
                yield scenario["phase"], case, interaction, recorder["checks"].get(case_id, [])


def _code(answer: Any) -> str:
    try:
        code: str = json.loads(b64decode(answer["content"]["$base64"]))["code"]
    except (ValueError, LookupError, TypeError):
        return "without a code"
    return code


def _unreached(figures: Figures) -> list[str]:
    """The operations that never succeeded."""
    reached = {(method, path) for method, path, status in figures.answers if 200 <= status < 300}
    return [each.name for each in operations() if (each.method, each.path) not in reached]


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.most_common()) or "none"

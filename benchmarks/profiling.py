"""Where the time of a cold start and of a warm request goes."""

import subprocess
from collections import defaultdict
from dataclasses import dataclass

from benchmarks.scenarios import SCENARIOS, Bench, Scenario
from benchmarks.systems import FLOOR, OURS, ChildFailed, Deployment, command, worker

IMPORT_ROUNDS = 5
TIMES = 300

_COLD = ("get_run", "event")
_WARM = ("get_run", "event_minimal", "list_100")

_PARTS = (
    ("gyoza_domain/dynamodb", "gyoza_domain.dynamodb: keys, items to values"),
    ("gyoza_domain/http", "gyoza_domain.http: request, answer as JSON"),
    ("gyoza_domain/", "gyoza_domain: domain and use cases"),
    ("functions/", "the function's own app.py"),
    ("aws_lambda_powertools", "Powertools"),
    ("pydantic", "pydantic"),
    ("botocore/parsers", "botocore: answer parsed"),
    ("botocore/serialize", "botocore: request serialised"),
    ("botocore/auth", "botocore: request signed"),
    ("botocore/validate", "botocore: parameters validated"),
    ("botocore/", "botocore: everything else"),
    ("boto3/", "boto3"),
    ("urllib3/", "urllib3"),
    ("/json/", "json"),
    ("/http/", "http.client, email and sockets"),
    ("/email/", "http.client, email and sockets"),
    ("/socket", "http.client, email and sockets"),
)
"""Part of a file's path, and what it is called; the first that fits."""


@dataclass(frozen=True)
class Imports:
    """Milliseconds of importing `app`, by top-level package, each module without those it loads; the best round."""

    title: str
    system: str
    milliseconds: dict[str, float]
    client_milliseconds: float
    """Of them, what a module spends in its own body on making the client."""


@dataclass(frozen=True)
class Shares:
    """Shares of a warm request's CPU under a profiler, which makes many small calls look dearer than they are."""

    title: str
    shares: dict[str, float]


def profile_imports(bench: Bench) -> list[Imports]:
    found = []
    for scenario in (scenario for scenario in SCENARIOS if scenario.name in _COLD):
        for system in (FLOOR, OURS):
            recorded = bench.of(system, scenario)
            rounds = [_imports(recorded.deployed, recorded.endpoint) for _ in range(IMPORT_ROUNDS)]
            best = min(rounds, key=lambda each: sum(each.values()))
            client = best.pop(_CLIENT)
            found.append(Imports(scenario.title, system, dict(best), client))
    return found


def profile_requests(bench: Bench, times: int = TIMES) -> list[Shares]:
    return [_shares(bench, scenario, times) for scenario in SCENARIOS if scenario.name in _WARM]


_CLIENT = "making the client"


def _imports(deployed: Deployment, endpoint: str) -> dict[str, float]:
    code = "import app"
    argv = [*command(options=("-X", "importtime"))[:-1], "-c", code]
    done = subprocess.run(argv, env=deployed.environment(endpoint), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ChildFailed(done.stderr)
    milliseconds: dict[str, float] = defaultdict(float)
    for line in done.stderr.splitlines():
        own, _, name = (part.strip() for part in line.removeprefix("import time:").split("|"))
        if not own.isdecimal():
            continue
        # The floor makes its client in its own module, the product in its bootstrap.
        part = _CLIENT if name in ("app", "gyoza_domain.bootstrap.clients") else _package(name)
        milliseconds[part] += int(own) / 1000
    return milliseconds


def _package(module: str) -> str:
    known = (
        "gyoza_domain",
        "aws_lambda_powertools",
        "pydantic",
        "pydantic_core",
        "botocore",
        "boto3",
        "urllib3",
        "jmespath",
    )
    package = module.partition(".")[0]
    return package if package in known else "the standard library and small packages"


def _shares(bench: Bench, scenario: Scenario, times: int) -> Shares:
    recorded = bench.of(OURS, scenario)
    with worker(recorded.deployed, recorded.endpoint) as warm:
        warm.invoke(recorded.event)
        seconds: dict[str, float] = warm.ask(profile=recorded.event, times=times)
    parts: dict[str, float] = defaultdict(float)
    for place, taken in seconds.items():
        parts[_part(place)] += taken
    total = sum(parts.values())
    shares = {part: taken / total for part, taken in sorted(parts.items(), key=lambda item: -item[1])}
    return Shares(scenario.title, shares)


def _part(place: str) -> str:
    for fragment, name in _PARTS:
        if fragment in place:
            return name
    return "everything else"

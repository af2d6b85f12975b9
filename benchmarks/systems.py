"""The systems that are compared, and the processes they run in."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.places import ROOT
from benchmarks.trees import Trees

CHILD = ROOT / "benchmarks" / "child.py"

FLOOR, OURS, PEER_1, PEER_2 = "floor", "ours", "peer1", "peer2"

APP_FOLDER = {
    FLOOR: ROOT / "benchmarks" / "floor",
    PEER_1: ROOT / "benchmarks" / "peers" / "fastapi_mangum",
    PEER_2: ROOT / "benchmarks" / "peers" / "powertools_resolver",
}

TABLE = "bench"
"""The name of the table of each system, in an engine of its own."""

_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "bench",
    "AWS_SECRET_ACCESS_KEY": "bench",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
    "AWS_LAMBDA_FUNCTION_NAME": "bench",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024",
    "LANG": "en_US.UTF-8",
    "HOME": "/nonexistent",
    "GYOZA_TABLE": TABLE,
    "GYOZA_INDEX_SHARDS": os.environ["GYOZA_INDEX_SHARDS"],
    "PEER_TABLE": TABLE,
    "POWERTOOLS_SERVICE_NAME": "gyoza",
    "POWERTOOLS_LOG_LEVEL": "INFO",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "0",
}


@dataclass(frozen=True)
class Deployment:
    """A system as it is deployed for one route."""

    system: str
    path: tuple[Path, ...]
    extra: Mapping[str, str] = field(default_factory=dict)

    def environment(self, endpoint: str) -> dict[str, str]:
        path = os.pathsep.join(map(str, self.path))
        return {**_ENVIRONMENT, **self.extra, "PYTHONPATH": path, "AWS_ENDPOINT_URL_DYNAMODB": endpoint}


def deployment(trees: Trees, system: str, function: str, *, bytecode: bool = True) -> Deployment:
    """``function``: the folder of the route, which only the product has one of for each. Not for the floor."""
    folder = ROOT / "functions" / function if system == OURS else APP_FOLDER[system]
    return Deployment(system, (folder, trees.packages[system, bytecode], trees.runtime))


def floor_deployment(trees: Trees, calls: Path) -> Deployment:
    """``calls``: the file of the calls to make."""
    return Deployment(FLOOR, (APP_FOLDER[FLOOR], trees.runtime), {"FLOOR_CALLS": str(calls)})


def command(*arguments: str, options: tuple[str, ...] = ()) -> list[str]:
    """Python without the site packages of the environment that drives: what Lambda has is on the path."""
    return [sys.executable, "-P", "-S", *options, str(CHILD), *arguments]


def cpu_of_one_invocation(deployed: Deployment, endpoint: str, event_file: Path) -> float:
    """CPU seconds, user and system, of a fresh interpreter from its start to its end."""
    process = subprocess.Popen(command("once", str(event_file)), env=deployed.environment(endpoint))
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise ChildFailed(f"{deployed.system} ended with {process.returncode} on {event_file.name}")
    return usage.ru_utime + usage.ru_stime


class ChildFailed(Exception):
    """A measured process did not do what it was asked."""


@dataclass(frozen=True)
class Worker:
    """A warm process."""

    process: "subprocess.Popen[str]"

    def ask(self, **command_: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(command_) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise ChildFailed(f"a worker ended with {self.process.wait()}")
        return json.loads(line)

    def invoke(self, event: dict[str, Any]) -> Any:
        """The answer's body. ChildFailed unless it is a success."""
        answer = self.ask(invoke=event)
        if answer["statusCode"] not in (200, 201):
            raise ChildFailed(str(answer))
        return json.loads(answer["body"])

    def cpu_seconds(self, event: dict[str, Any], times: int) -> float:
        """Of one invocation, on average."""
        seconds: float = self.ask(repeat=event, times=times)
        return seconds / times

    def peak_bytes(self) -> int:
        peak: int = self.ask(memory=True)
        return peak


@contextmanager
def worker(deployed: Deployment, endpoint: str) -> Iterator[Worker]:
    process = subprocess.Popen(
        command("serve"),
        env=deployed.environment(endpoint),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Worker(process)
    finally:
        process.terminate()
        process.wait()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        process.stdout.close()

"""Defines the compared systems and runs their processes."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import ENVIRONMENT

ROOT = Path(__file__).resolve().parents[1]

WORK = ROOT / ".local" / "bench"
"""The folder of everything that the benchmark creates, except its result."""

FLOOR, OURS, PEER_1, PEER_2 = SYSTEMS = ("floor", "ours", "peer1", "peer2")

TABLE = ENVIRONMENT["PEER_TABLE"]
_CHILD = str(ROOT / "benchmarks" / "child.py")
_ENVIRONMENT = ENVIRONMENT | {
    "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
    "AWS_LAMBDA_FUNCTION_NAME": "bench",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024",
    "LANG": "en_US.UTF-8",
    "HOME": "/nonexistent",
    "POWERTOOLS_LOG_LEVEL": "INFO",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "0",
}


class ChildFailed(Exception):
    """A measured process failed."""


def environment(path: tuple[Path, ...], endpoint: str, **others: str) -> dict[str, str]:
    """The environment of a process. ``path`` lists the folders in which Python finds modules."""
    paths = os.pathsep.join(map(str, path))
    return _ENVIRONMENT | {"PYTHONPATH": paths, "AWS_ENDPOINT_URL_DYNAMODB": endpoint} | others


def command(*arguments: str) -> list[str]:
    """The command of a Python that finds only Lambda's packages, and none of this environment."""
    return [sys.executable, "-P", "-S", *arguments]


def cpu_of_one_invocation(variables: dict[str, str], event_file: Path) -> float:
    """The user and system CPU seconds of a new interpreter from its start to its end."""
    process = subprocess.Popen(command(_CHILD, "once", str(event_file)), env=variables)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise ChildFailed(f"a process ended with {process.returncode} on {event_file.name}")
    return usage.ru_utime + usage.ru_stime


@dataclass(frozen=True)
class Worker:
    """A warm process."""

    process: Any

    def ask(self, **fields: Any) -> Any:
        self.process.stdin.write(json.dumps(fields) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise ChildFailed(f"a worker ended with {self.process.wait()}")
        return json.loads(line)

    def invoke(self, event: dict[str, Any]) -> Any:
        """The answer's body. Raises ChildFailed unless it is a success."""
        answer = self.ask(invoke=event)
        if answer["statusCode"] not in (200, 201):
            raise ChildFailed(str(answer))
        return json.loads(answer["body"])


@contextmanager
def worker(variables: dict[str, str]) -> Iterator[Worker]:
    pipe, arguments = subprocess.PIPE, command(_CHILD, "serve")
    with subprocess.Popen(arguments, env=variables, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield Worker(process)
        finally:
            process.terminate()

"""Runs DynamoDB Local, AWS's own engine, in memory during a test session."""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / ".local/dynamodb-local"
"""The folder into which `make engine` installs the engine and a Java runtime."""

_START_LIMIT_S = 120.0
"""The start takes 6 s of processor time. A busy machine gives it a quarter of a core or less."""


class EngineMissing(Exception):
    """DynamoDB Local is not installed."""


@contextmanager
def dynamodb_local(*java_options: str) -> Iterator[str]:
    """Run the engine while the block runs. Yields its URL. Raises EngineMissing."""
    java, folder = FOLDER / "java/bin/java", FOLDER / "engine"
    if not java.exists() or not (folder / "DynamoDBLocal.jar").exists():
        raise EngineMissing(
            "DynamoDB Local is missing. Fetch it with `make engine`, or leave out its tests: -m 'not engine'"
        )
    port = _free_port()
    command = [
        str(java),
        *java_options,
        "-Djava.library.path=./DynamoDBLocal_lib",
        "-jar",
        "DynamoDBLocal.jar",
        "-inMemory",
    ]
    process = subprocess.Popen(
        [*command, "-port", str(port)], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_for(process, port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + _START_LIMIT_S
    while True:
        try:
            with closing(socket.create_connection(("127.0.0.1", port), timeout=1)):
                return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.1)

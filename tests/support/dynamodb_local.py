"""DynamoDB Local, AWS's own engine, in memory and for the length of a test session."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

_START_LIMIT_S = 30.0


class EngineMissing(Exception):
    """Java or DynamoDB Local is not on this machine."""


@contextmanager
def dynamodb_local() -> Iterator[str]:
    """The engine's URL while it runs. Raises EngineMissing."""
    folder = os.environ.get("DYNAMODB_LOCAL_DIR")
    java = shutil.which("java")
    if java is None or not folder or not (Path(folder) / "DynamoDBLocal.jar").exists():
        raise EngineMissing("DynamoDB Local needs Java, and DYNAMODB_LOCAL_DIR naming its folder (`make engine`)")
    port = _free_port()
    command = [java, "-Djava.library.path=./DynamoDBLocal_lib", "-jar", "DynamoDBLocal.jar", "-inMemory"]
    process = subprocess.Popen(
        [*command, "-port", str(port)], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_for(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + _START_LIMIT_S
    while True:
        try:
            with closing(socket.create_connection(("127.0.0.1", port), timeout=1)):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)

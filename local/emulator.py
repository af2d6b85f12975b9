"""Runs the AWS emulator (ministack) on loopback."""

import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .processes import CommandFailed, running, tail

HOST = "127.0.0.1"
REGION = "us-east-1"
STATE = "state"
"""The folder of the emulator's state."""

_START_LIMIT_S = 60.0
_SAVE_LIMIT_S = 30.0
"""The time in which the emulator must save its state at its end."""
_INVOCATIONS_AT_ONCE = 4
"""Two invocations for each of the two cores of a small machine. Other invocations queue."""

_LAUNCHER = Path(__file__).with_name("launch_emulator.py")


class PortTaken(Exception):
    """The process cannot listen on the port. The text says what to do."""


def endpoint_url(port: int) -> str:
    return f"http://{HOST}:{port}"


def client_environment(port: int) -> dict[str, str]:
    """The environment of this process with all AWS settings replaced, so that nothing reaches an account by mistake."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SAM_CLI_"))}
    return inherited | {
        "AWS_ENDPOINT_URL": endpoint_url(port),
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": HOST,
        "no_proxy": HOST,
        "SAM_CLI_TELEMETRY": "0",
    }


def check_port(port: int) -> None:
    """Raises PortTaken if the process cannot listen on the port."""
    with socket.socket() as probe:
        # As a server sets it: a port whose last connections are still closing is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except PermissionError as error:
            raise PortTaken(f"Port {port} is reserved for root. Choose another: make run PORT=4600") from error
        except OSError as error:
            raise PortTaken(f"Port {port} is taken. Choose another: make run PORT={port + 1}") from error


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def emulator(
    python: Path, port: int, folder: Path, *, enforce_iam: bool, keeps_state: bool
) -> Iterator[subprocess.Popen[bytes]]:
    """Run the emulator until the block is left.

    ``python`` is the interpreter of the emulator and of the functions. ``folder`` holds the log, and the temporary
    files until the end. With ``keeps_state`` it also holds the state of the stack, which the emulator reads at the
    start and saves at the end. With ``enforce_iam`` a function may do only what the policies of its role allow.
    """
    check_port(port)
    temporary, log, state = folder / "tmp", folder / "emulator.log", folder / STATE
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    env = client_environment(port) | {
        "GATEWAY_PORT": str(port),
        "BIND_HOST": HOST,
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "AUTH": "true" if enforce_iam else "false",
        "TMPDIR": str(temporary),
        "PERSIST_STATE": "1" if keeps_state else "0",
        "STATE_DIR": str(state),
    }
    command = [str(python), str(_LAUNCHER), str(_INVOCATIONS_AT_ONCE)]
    try:
        with running(command, env=env, log=log, grace_s=_SAVE_LIMIT_S if keeps_state else 0) as process:
            deadline = time.monotonic() + _START_LIMIT_S
            while not _answers(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise CommandFailed(f"The emulator did not start. The end of {log}:\n{tail(log)}")
                time.sleep(0.05)
            yield process
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"{endpoint_url(port)}/_ministack/health", timeout=1):
            return True
    except (urllib.error.URLError, OSError):
        return False

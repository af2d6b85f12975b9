"""The AWS emulator (ministack), on loopback."""

import os
import shutil
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .processes import CommandFailed, running, tail

HOST = "127.0.0.1"
REGION = "us-east-1"

_START_LIMIT_S = 30.0
_INVOCATIONS_AT_ONCE = 4
"""Two for each of the two cores that a small machine has; the others queue."""

_LAUNCHER = Path(__file__).with_name("launch_emulator.py")


class PortTaken(Exception):
    """Something listens on the port already."""


def endpoint_url(port: int) -> str:
    return f"http://{HOST}:{port}"


def client_environment(port: int) -> dict[str, str]:
    """This process's environment, with every AWS setting in it replaced: nothing can reach an account by mistake."""
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
    """PortTaken unless the port can be listened on."""
    with socket.socket() as probe:
        # As a server sets it: a port whose last connections are still closing is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise PortTaken(f"port {port} is taken") from error


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def emulator(python: Path, port: int, work_dir: Path, *, enforce_iam: bool) -> Iterator[None]:
    """Run the emulator until the block is left; it keeps no state.

    ``python`` is the interpreter that has it installed and that functions run on. ``work_dir`` holds
    its log and its temporary files, which are deleted. With ``enforce_iam`` a function can do only
    what the policies of its role allow.
    """
    check_port(port)
    temporary = work_dir / f"emulator-{port}"
    temporary.mkdir(parents=True, exist_ok=True)
    log = work_dir / f"emulator-{port}.log"
    env = client_environment(port) | {
        "GATEWAY_PORT": str(port),
        "BIND_HOST": HOST,
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "AUTH": "true" if enforce_iam else "false",
        "TMPDIR": str(temporary),
    }
    try:
        with running([str(python), str(_LAUNCHER), str(_INVOCATIONS_AT_ONCE)], env=env, log=log) as process:
            deadline = time.monotonic() + _START_LIMIT_S
            while not _answers(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise CommandFailed(f"the emulator did not start ({log}):\n{tail(log)}")
                time.sleep(0.1)
            yield
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"{endpoint_url(port)}/_ministack/health", timeout=1):
            return True
    except (urllib.error.URLError, OSError):
        return False

"""`make run`: bring the stack up, play a job through it, keep it up until SIGINT or SIGTERM."""

import argparse
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType

from .demo import DemoFailed, play
from .emulator import PortTaken, check_port
from .parent import follow_make
from .processes import CommandFailed
from .screen import Screen
from .stack import ENDPOINT_FILE, Endpoint, published, running_stack


class _Stopped(BaseException):
    """SIGINT or SIGTERM has come."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="make run", description=__doc__)
    parser.add_argument("--port", type=int, default=4566, help="where the emulator listens, on loopback")
    parser.add_argument("--enforce-iam", action="store_true", help="let each function do only what its policy allows")
    parser.add_argument(
        "--endpoint-file", type=Path, default=ENDPOINT_FILE, help="where to say how the stack is reached"
    )
    options = parser.parse_args()
    screen = Screen()

    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, _stop)
    follow_make()
    try:
        _run(options.port, options.endpoint_file, screen, enforce_iam=options.enforce_iam)
    except _Stopped:
        screen.line()
        screen.line("Stopped.")
    except PortTaken:
        print(f"Port {options.port} is taken. Choose another: make run PORT={options.port + 1}", file=sys.stderr)
        return 1
    except (CommandFailed, DemoFailed) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _run(port: int, endpoint_file: Path, screen: Screen, *, enforce_iam: bool) -> None:
    check_port(port)
    begun = time.monotonic()
    screen.line("Building and deploying template.yaml on this machine ...")
    with running_stack(port, enforce_iam=enforce_iam) as endpoint, published(endpoint, endpoint_file):
        screen.line(f"Deployed in {time.monotonic() - begun:.0f} s.")
        play(endpoint, screen)
        _tell(endpoint, endpoint_file, screen)
        threading.Event().wait()


def _tell(endpoint: Endpoint, endpoint_file: Path, screen: Screen) -> None:
    header = f"-H 'X-API-Key: {endpoint.api_key}'"
    screen.title("The stack is up. Ctrl-C stops it.")
    screen.line(f"  URL      {endpoint.url}")
    screen.line(f"  API key  {endpoint.api_key}")
    screen.line(f"  both in  {os.path.relpath(endpoint_file)}")
    screen.line()
    screen.line(f"  curl {header} '{endpoint.url}/runs?state=COMPLETED'")
    screen.line(f"""  curl {header} '{endpoint.url}/runs' -d '{{"image": "busybox:1", "inputs": {{"n": 1}}}}'""")
    screen.line(f"  curl {header} -X POST '{endpoint.url}/runs/<id>/cancel'")


def _stop(_signum: int, _frame: FrameType | None) -> None:
    # What follows is the way out, which a second signal must not cut short.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    raise _Stopped


if __name__ == "__main__":
    sys.exit(main())

"""Implements `make run`: starts the stack, plays a job through it, and deploys the sources as they are edited.

It ends at SIGINT, SIGTERM or SIGHUP, or when the emulator dies.
"""

import argparse
import os
import shutil
import signal
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from types import FrameType

from gyoza_client import GyozaError

from . import reload, sources
from .artifacts import CannotBuild
from .demo import DemoFailed, play, play_loss
from .deployment import DeployFailed
from .emulator import STATE, PortTaken, check_port
from .endpoint import FILE_NAME, STACKS, Endpoint, publish, published
from .first_commands import USUAL_PORT, first_commands
from .parent import follow_make
from .processes import CommandFailed
from .screen import Screen
from .stack import ROOT, Stack, running_stack
from .steps import Steps

_LOOK_INTERVAL_S = 0.2
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Stopped(BaseException):
    """The process got SIGINT, SIGTERM or SIGHUP."""


class _EmulatorDied(Exception):
    """The emulator ended by itself or was killed."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="make run", description=__doc__)
    parser.add_argument("--port", type=int, default=USUAL_PORT, help="where the emulator listens, on loopback")
    parser.add_argument("--enforce-iam", action="store_true", help="let each function do only what its policy allows")
    parser.add_argument("--fresh", action="store_true", help="forget the runs, URL and key of the stack before")
    parser.add_argument("--no-demo", action="store_true", help="play no job")
    parser.add_argument("--stacks", type=Path, default=STACKS, help="holds a folder for each port")
    options = parser.parse_args()
    screen = Screen()

    for signum in _SIGNALS:
        # Under nohup it stays ignored.
        if signum != signal.SIGHUP or signal.getsignal(signum) != signal.SIG_IGN:
            signal.signal(signum, _stop)
    follow_make()
    folder = options.stacks / str(options.port)
    try:
        _run(options, folder, screen)
    except _Stopped:
        screen.line()
        screen.line("Stopped. The next `make run` goes on with the same runs, URL and key.")
    except _EmulatorDied:
        _complain(
            f"The emulator has died, and with it what was written since it started. The end of its log is in"
            f" {_shown(folder / 'emulator.log')}. `make run` starts it again."
        )
        return 1
    except (CannotBuild, CommandFailed, DeployFailed) as error:
        _complain(str(error))
        if (folder / STATE).exists():
            _complain("If what an earlier stack left is to blame: make run FRESH=1")
        return 1
    except (DemoFailed, GyozaError, PortTaken) as error:
        _complain(str(error))
        return 1
    return 0


def _run(options: argparse.Namespace, folder: Path, screen: Screen) -> None:
    check_port(options.port)
    # A stack that was killed outright leaves it.
    (folder / FILE_NAME).unlink(missing_ok=True)
    if options.fresh:
        shutil.rmtree(folder / STATE, ignore_errors=True)
    begun = time.monotonic()
    deployed = sources.digest(ROOT)
    running = running_stack(options.port, folder, Steps(screen.line), enforce_iam=options.enforce_iam, keeps_state=True)
    with running as stack:
        # `make reload` reads the note of every stack that has an endpoint.
        reload.note(folder, deployed, None)
        with published(stack.endpoint, folder):
            screen.line(f"The stack is up after {time.monotonic() - begun:.1f} s.")
            try:
                retried = None if options.no_demo else play(stack.endpoint, screen, folder)
                _tell(stack.endpoint, folder, screen, retried)
                with closing(_last_part(stack, folder, screen, has_demo=not options.no_demo)) as last_part:
                    _keep_up(stack, folder, deployed, screen, last_part)
            except Exception as error:
                if stack.has_died(within_s=1):
                    raise _EmulatorDied from error
                raise


def _last_part(stack: Stack, folder: Path, screen: Screen, *, has_demo: bool) -> Generator[None]:
    """Play the part of the demo that takes minutes, while the stack is kept up. A failure is only told."""
    if not has_demo:
        return
    try:
        yield from play_loss(lambda: stack.endpoint, screen, folder)
    except (DemoFailed, GyozaError) as error:
        screen.line(f"The demo has failed: {error}")


def _keep_up(stack: Stack, folder: Path, deployed: str, screen: Screen, last_part: Iterator[None]) -> None:
    """Deploy the sources whenever they have changed, and play on. Raises _EmulatorDied."""
    while True:
        time.sleep(_LOOK_INTERVAL_S)
        next(last_part, None)
        if stack.has_died():
            raise _EmulatorDied
        wanted = sources.digest(ROOT)
        if wanted == deployed:
            continue
        deployed, begun, error = wanted, time.monotonic(), None
        try:
            stack.deploy()
        except (CannotBuild, CommandFailed, DeployFailed) as reason:
            error = str(reason)
            screen.line(f"Not deployed: {error}")
        else:
            # A new route gives the API another URL.
            publish(stack.endpoint, folder)
            screen.line(f"Deployed what was edited, in {time.monotonic() - begun:.1f} s.")
        reload.note(folder, deployed, error)


def _tell(endpoint: Endpoint, folder: Path, screen: Screen, retried: str | None) -> None:
    """Tell how to reach the stack, and three commands to try. ``retried`` is a run of the demo, if it was played."""
    screen.title("The stack is up. Ctrl-C stops it; an edited function or layer is deployed at once.")
    screen.line(f"  URL      {endpoint.url}")
    screen.line(f"  API key  {endpoint.api_key}")
    screen.line(f"  both in  {_shown(folder / FILE_NAME)}")
    screen.line()
    screen.line("To try in another terminal, in this folder:")
    for command in first_commands(int(folder.name), retried, os.environ):
        screen.line(f"  {command}")
    if retried is not None:
        screen.line("A worker of the demo takes the run within seconds. The run that is shown has failed once.")


def _shown(path: Path) -> str:
    return os.path.relpath(path)


def _complain(text: str) -> None:
    print(text, file=sys.stderr)


def _stop(_signum: int, _frame: FrameType | None) -> None:
    # The way out must not be cut short by a second signal.
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise _Stopped


if __name__ == "__main__":
    sys.exit(main())

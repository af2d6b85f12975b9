"""Child processes that leave nothing behind."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_GRACE_S = 5.0


class CommandFailed(Exception):
    """A command of the set-up ended with an error. The text names its log and shows the end of it."""


@contextmanager
def running(argv: Sequence[str], *, env: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command in a process group of its own, its output in ``log``.

    On leaving, the whole group is asked to end and after 5 seconds killed: what the command started ends with it.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield process
    finally:
        _signal_group(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
        _signal_group(process.pid, signal.SIGKILL)
        process.wait()


def run(argv: Sequence[str], *, env: Mapping[str, str], log: Path) -> None:
    """Run a command to its end; CommandFailed unless it exits with 0."""
    with running(argv, env=env, log=log) as process:
        status = process.wait()
    if status != 0:
        raise CommandFailed(f"{Path(argv[0]).name} {argv[1]} failed ({log}):\n{tail(log)}")


def tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def _signal_group(group: int, signum: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signum)

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
def running(
    argv: Sequence[str], *, env: Mapping[str, str], log: Path, cwd: Path | None = None, grace_s: float = _GRACE_S
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command in a process group of its own, its output in ``log``.

    On leaving, the command is asked to end and after ``grace_s`` seconds killed, with all that it started. Its standard
    input is a pipe that ends when this process does, however that comes about.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv, env=env, cwd=cwd, stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace_s)
        _signal_group(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdin is not None:
            process.stdin.close()


def run(argv: Sequence[str], *, env: Mapping[str, str], log: Path, cwd: Path | None = None) -> None:
    """Run a command to its end; CommandFailed unless it exits with 0."""
    with running(argv, env=env, log=log, cwd=cwd) as process:
        status = process.wait()
    if status != 0:
        raise CommandFailed(f"{Path(argv[0]).name} failed. The end of {log}:\n{tail(log)}")


def tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def _signal_group(group: int, signum: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signum)

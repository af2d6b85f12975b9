"""Runs child processes and ends all that they start."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_GRACE_S = 5.0


class CommandFailed(Exception):
    """A command ended with an error. The text names its log and shows the log's end."""


@contextmanager
def running(
    argv: Sequence[str], *, env: Mapping[str, str], log: Path, cwd: Path | None = None, grace_s: float = _GRACE_S
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command in its own process group, with its output in ``log``.

    At the block's end the command gets SIGTERM and, ``grace_s`` seconds later, is killed with all that it started. Its
    standard input is a pipe that closes when this process ends for any reason.
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
    """Run a command to its end. Raises CommandFailed unless it exits with 0."""
    with running(argv, env=env, log=log, cwd=cwd) as process:
        status = process.wait()
    if status != 0:
        raise CommandFailed(f"{Path(argv[0]).name} failed. The end of {log}:\n{tail(log)}")


def tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def _signal_group(group: int, signum: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signum)

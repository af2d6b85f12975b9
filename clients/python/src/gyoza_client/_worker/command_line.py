"""The command line of `gyoza worker`."""

import argparse
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any, Final

from gyoza_client._cli.failures import COMPLETED, ERROR, code_of_error, line_of_error
from gyoza_client._cli.profile_note import profile_note
from gyoza_client._errors import ConfigurationError, GyozaError
from gyoza_client._lease import options
from gyoza_client._lease.claims import Claim, Claims
from gyoza_client._lease.stop import Stop
from gyoza_client._sync import GyozaClient, core_of
from gyoza_client._worker.json_lines import JsonLines
from gyoza_client._worker.slots import Slots
from gyoza_client._worker.words import words_to_run

EXEC: Final = (sys.executable, "-P", "-m", "gyoza_client", "exec")
"""Python's option -P keeps files of the current folder from being imported."""

_STDERR: Final = 2

_EPILOG: Final = """\
The command runs as `gyoza exec --help` describes: it reads the JSON file GYOZA_INPUTS and writes the JSON file
GYOZA_OUTPUTS. A program with its arguments is run directly, and whatever needs a shell, such as a variable or a pipe,
by /bin/sh. The first of SIGTERM, SIGINT and SIGHUP ends the worker: it claims no more and passes SIGTERM to its
commands. It needs Linux.

With --json, a run that begins or ends is a line on standard output, with t, event (begun or ended), run_id, attempt,
worker_id and, at the end, exit_code. The output of the commands then goes to standard error.

exit codes: 0 after a signal or --idle; 1 for an error, also if there is no address of the API; 2 for a wrong command
line; 4 if the API does not authorise the worker.
"""


def main(argv: Sequence[str]) -> int:
    """Claim runs and run the command for each, until a signal comes. Returns the exit code of the process."""
    given = _parser().parse_args(argv)
    _log_to_stderr()
    note = profile_note(given.profile)
    if note is not None:
        _say(note)
    try:
        client = GyozaClient(profile=given.profile)
    except ConfigurationError as problem:
        _say(line_of_error(problem))
        return ERROR
    with client:
        return _work(client, given)


def _work(client: GyozaClient, given: argparse.Namespace) -> int:
    stop = Stop()
    claims = Claims(client, stop, queues=given.queue, capacity=_capacity(given), lease_s=given.lease, idle_s=given.idle)
    words = [*EXEC, "--lease", str(given.lease), "--grace", f"{given.grace:g}"]
    words += ["--keep-key"] if given.keep_key else []
    words += ["--", *words_to_run(given.command)]
    address = core_of(client).address

    def start(claim: Claim) -> "subprocess.Popen[bytes]":
        environ = {name: value for name, value in os.environ.items() if name != "GYOZA_SERVER_URL"} | {
            "GYOZA_URL": address.url,
            "GYOZA_API_KEY": address.api_key,
            "GYOZA_RUN_ID": claim.run.id,
            "GYOZA_ATTEMPT": str(claim.run.current_attempt),
            "GYOZA_WORKER_ID": claim.worker_id,
        }
        # In a session of its own, it does not get the signals of the terminal, but only those that are passed on.
        return subprocess.Popen(  # noqa: S603 - the operator's own command
            words,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=_STDERR if given.json else None,
            start_new_session=True,
        )

    slots = Slots(claims, stop, start, given.slots, json_lines=JsonLines() if given.json else None)
    _on_signals(slots)
    try:
        slots.work()
    except GyozaError as problem:
        _say(line_of_error(problem))
        return code_of_error(problem)
    return COMPLETED


def _say(text: str) -> None:
    print(f"gyoza worker: {text}", file=sys.stderr)


def _on_signals(slots: Slots) -> None:
    def stop(_signum: int, _frame: FrameType | None) -> None:
        slots.stop()

    for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(each) is not signal.SIG_IGN:  # nohup ignores SIGHUP
            signal.signal(each, stop)


def _log_to_stderr() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("gyoza worker: %(message)s"))
    log = logging.getLogger("gyoza_client")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False


def _capacity(given: argparse.Namespace) -> dict[str, Any] | None:
    capacity = {"cpu": given.capacity_cpu, "ram_mb": given.capacity_ram_mb, "vram_mb": given.capacity_vram_mb}
    return None if set(capacity.values()) == {None} else capacity


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gyoza worker",
        description="Claim runs from queues and run a command for each.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--queue", action="append", required=True, metavar="Q", help="a queue, again for others, preferred ones first")
    add("--command", type=_command, required=True, metavar="TEXT", help="what to run for each run")
    add("--slots", type=_slots, default=1, metavar="N", help="how many runs at once (default: 1)")
    add("--lease", type=options.lease, default=300, metavar="S", help="the seconds of the lease (default: 300)")
    add("--grace", type=options.seconds, default=20.0, metavar="S", help="the seconds to SIGKILL (default: 20)")
    add("--capacity-cpu", type=options.count, metavar="N", help="take runs that need at most so many cores")
    add("--capacity-ram-mb", type=options.count, metavar="N", help="take runs that need at most so many MiB")
    add("--capacity-vram-mb", type=options.count, metavar="N", help="the same of the GPU; 0 without one")
    add("--idle", type=options.seconds, metavar="S", help="end once nothing was found for this many seconds")
    add("--keep-key", action="store_true", help="leave GYOZA_API_KEY in the environment of the command")
    add("--json", action="store_true", help="print a JSON line for each run that begins or ends")
    add("--profile", metavar="NAME", help="the profile with the API's address and key")
    return parser


def _command(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty")
    return text


def _slots(text: str) -> int:
    number = options.count(text)
    if number < 1:
        raise argparse.ArgumentTypeError("there is at least 1")
    return number

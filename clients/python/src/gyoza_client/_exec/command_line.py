"""The command line of `gyoza exec`."""

import argparse
import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from gyoza_client._cli.failures import ERROR, USAGE
from gyoza_client._cli.profile_note import profile_note
from gyoza_client._configuration import find_address
from gyoza_client._errors import ConfigurationError
from gyoza_client._exec.descendants import proc_is_ours
from gyoza_client._exec.wrapper import Settings, execute
from gyoza_client._lease import options
from gyoza_client._lease.worker_ids import new_worker_id

_KEY: Final = "GYOZA_API_KEY"
_MAX_WORKER_ID: Final = 128
_ATTEMPT: Final = re.compile(r"0*[1-9][0-9]{0,8}")

_EPILOG: Final = """\
The environment names the run (GYOZA_RUN_ID, GYOZA_ATTEMPT) and the API (GYOZA_URL, GYOZA_API_KEY). The command finds
its inputs in the JSON file GYOZA_INPUTS, writes its outputs as a JSON object to the file GYOZA_OUTPUTS, and tells its
progress by lines such as "::gyoza progress=40".

exit codes: the command's, or 128 + its signal; 0 also if the run is not ours to begin; 75 if the API did not answer;
137 if the lease was lost; 1 if there is no address of the API; 2 for a wrong command line. There is no --json: the
output is the command's.
"""


def main(argv: Sequence[str]) -> int:
    """Runs a command as one attempt of a run. Returns the exit code of the process."""
    given = _parser().parse_args(argv)
    note = profile_note(given.profile)
    if note is not None:
        print(f"gyoza exec: {note}", file=sys.stderr)
    try:
        settings = _settings(given, os.environ)
    except (_WrongUse, ConfigurationError) as problem:
        print(f"gyoza exec: {problem}", file=sys.stderr)
        return USAGE if isinstance(problem, _WrongUse) else ERROR
    return execute(settings)


class _WrongUse(Exception):
    pass


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gyoza exec",
        usage="gyoza exec [--lease S] [--grace S] [--keep-key] [--profile NAME] -- COMMAND [ARGUMENT ...]",
        description="Run a command as one attempt of a run, report it, and end it before its lease does.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--lease", type=options.lease, default=300, metavar="S", help="seconds of the lease, 15 to 3600 (default: 300)"
    )
    parser.add_argument(
        "--grace",
        type=options.seconds,
        default=20.0,
        metavar="S",
        help="seconds from SIGTERM to SIGKILL, 0 to 3600 (default: 20)",
    )
    parser.add_argument("--keep-key", action="store_true", help=f"leave {_KEY} in the environment of the command")
    parser.add_argument("--profile", metavar="NAME", help="the profile with the API's address and key")
    parser.add_argument("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def _settings(given: argparse.Namespace, environ: Mapping[str, str]) -> Settings:
    words = given.command[1:] if given.command[:1] == ["--"] else given.command
    if not words or not words[0]:
        raise _WrongUse("no command. Give it after --, as in: gyoza exec -- python job.py")
    run_id = environ.get("GYOZA_RUN_ID", "")
    if not run_id:
        raise _WrongUse("GYOZA_RUN_ID is not set: the id of the run")
    if not run_id.isprintable():
        raise _WrongUse("GYOZA_RUN_ID holds a character that is not UTF-8 or cannot be printed")
    attempt = environ.get("GYOZA_ATTEMPT", "")
    if not attempt:
        raise _WrongUse("GYOZA_ATTEMPT is not set: the number of the attempt")
    if not _ATTEMPT.fullmatch(attempt):
        raise _WrongUse(f"GYOZA_ATTEMPT is the number of the attempt, 1 or more, and not {attempt[:40]!r}")
    if not proc_is_ours():
        raise _WrongUse("it needs Linux and a /proc of its own PID namespace, to kill whatever the command starts")
    kept = {name: value for name, value in environ.items() if name != _KEY or given.keep_key}
    return Settings(
        words=words,
        environ=kept,
        run_id=run_id,
        attempt=int(attempt),
        worker_id=_worker_id(environ),
        lease_s=given.lease,
        grace_s=given.grace,
        address=find_address(profile=given.profile),
    )


def _worker_id(environ: Mapping[str, str]) -> str:
    """The slot's of `gyoza worker`, or the job's of AWS Batch, or one that this process makes up."""
    for name in ("GYOZA_WORKER_ID", "AWS_BATCH_JOB_ID"):
        worker_id = environ.get(name, "")
        if len(worker_id) > _MAX_WORKER_ID:
            raise _WrongUse(f"{name} has more than {_MAX_WORKER_ID} characters")
        if not worker_id.isprintable():
            raise _WrongUse(f"{name} holds a character that is not UTF-8 or cannot be printed")
        if worker_id:
            return worker_id
    return new_worker_id()

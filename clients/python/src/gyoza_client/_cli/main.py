"""The entry point of ``gyoza``. It sends ``exec`` and ``worker`` on before cyclopts or rich are imported."""

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Final

from gyoza_client import __version__

PLAIN_COMMANDS: Final = {
    "exec": "gyoza_client._exec.command_line",
    "worker": "gyoza_client._worker.command_line",
}
"""The commands that need no extra, and their modules."""

_EXTRA: Final = frozenset({"attr", "attrs", "cyclopts", "docstring_parser", "rich", "rich_rst"})
"""The packages that come with the extra ``cli``."""

_INTERRUPTED: Final = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line without its first word, by default that of the process, and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    profile, rest = _after_options(words)
    if rest and rest[0] in PLAIN_COMMANDS:
        return _run_plain(rest[0], rest[1:], profile)
    if words == ["--version"]:
        print(f"gyoza {__version__}")
        return 0
    try:
        from gyoza_client._cli.app import run_app  # noqa: PLC0415 - exec and worker do without it
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] not in _EXTRA:
            raise
        return _without_extra(rest)
    except KeyboardInterrupt:
        return _INTERRUPTED
    return run_app(words)


def passed_over(profile: str | None) -> str | None:
    """The sentence that tells that the environment gives the address, and a profile that was asked for does not."""
    there = [name for name in ("GYOZA_URL", "GYOZA_SERVER_URL", "GYOZA_API_KEY") if os.environ.get(name)]
    if profile is None or not there:
        return None
    return (
        f"{' and '.join(there)} in the environment {'come' if len(there) > 1 else 'comes'} before --profile {profile},"
        " which is passed over"
    )


def _after_options(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """The value of ``--profile`` before the command, and the words from the command on."""
    profile, rest = None, list(words)
    while rest:
        if rest[0] == "--profile" and len(rest) > 1:
            profile, rest = rest[1], rest[2:]
        elif rest[0].startswith("--profile="):
            profile, rest = rest[0].removeprefix("--profile="), rest[1:]
        elif rest[0] == "--json":
            rest = rest[1:]
        else:
            break
    return profile, rest


def _run_plain(command: str, arguments: list[str], profile: str | None) -> int:
    note = passed_over(profile)
    if note is not None:
        print(f"gyoza: {note}", file=sys.stderr)
    if profile is not None:
        os.environ["GYOZA_PROFILE"] = profile
    run: Callable[[list[str]], int] = import_module(PLAIN_COMMANDS[command]).main
    return run(arguments)


def _without_extra(words: Sequence[str]) -> int:
    command = next((word for word in words if not word.startswith("-")), "")
    print(
        f"{f'gyoza {command}'.strip()} needs the extra 'cli' of gyoza-client (cyclopts and rich): install"
        " 'gyoza_client-<version>-py3-none-any.whl[cli]'. gyoza exec and gyoza worker do without it.",
        file=sys.stderr,
    )
    return 1

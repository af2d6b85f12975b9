"""The entry point of ``gyoza``. It runs ``exec`` and ``worker`` without an import of cyclopts or rich."""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Final

from gyoza_client import __version__

BASE_COMMANDS: Final = {
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
    options, rest = _parted(words)
    if rest and rest[0] in BASE_COMMANDS:
        run: Callable[[list[str]], int] = import_module(BASE_COMMANDS[rest[0]]).main
        return run([*options, *rest[1:]])
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


def _parted(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The options before the command, which are those of every command, and the words from the command on."""
    place = 0
    while place < len(words):
        if words[place] == "--profile" and place + 1 < len(words):
            place += 2
        elif words[place] == "--json" or words[place].startswith("--profile="):
            place += 1
        else:
            break
    return list(words[:place]), list(words[place:])


def _without_extra(words: Sequence[str]) -> int:
    command = next((word for word in words if not word.startswith("-")), "")
    print(
        f"{f'gyoza {command}'.strip()} needs the extra 'cli' of gyoza-client (cyclopts and rich): install"
        " 'gyoza_client-<version>-py3-none-any.whl[cli]'. gyoza exec and gyoza worker do without it.",
        file=sys.stderr,
    )
    return 1

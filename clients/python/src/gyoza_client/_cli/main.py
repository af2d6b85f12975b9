"""The entry point of ``gyoza``. It runs ``exec`` and ``worker`` without an import of cyclopts or rich."""

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from threading import current_thread, main_thread
from types import FrameType
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
    if words == ["--version"]:
        print(f"gyoza {__version__}")
        return 0
    is_base = bool(rest) and rest[0] in BASE_COMMANDS
    try:
        with _exit_on_interrupt():
            run = _base_command(rest[0]) if is_base else _app()
        return run([*options, *rest[1:]] if is_base else words)
    except ModuleNotFoundError as missing:
        if is_base or (missing.name or "").partition(".")[0] not in _EXTRA:
            raise
        return _without_extra(rest)
    except KeyboardInterrupt:
        return _INTERRUPTED


def _base_command(name: str) -> Callable[[list[str]], int]:
    run: Callable[[list[str]], int] = import_module(BASE_COMMANDS[name]).main
    return run


def _app() -> Callable[[list[str]], int]:
    from gyoza_client._cli.app import run_app  # noqa: PLC0415 - exec and worker do without it

    return run_app


@contextmanager
def _exit_on_interrupt() -> Iterator[None]:
    """End the process at once on Ctrl-C during the block, which imports: an import may swallow KeyboardInterrupt.

    Nothing changes outside the main thread, or where Ctrl-C already has another meaning.
    """
    if current_thread() is not main_thread() or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, _exit)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _exit(_signum: int, _frame: FrameType | None) -> None:
    os._exit(_INTERRUPTED)


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

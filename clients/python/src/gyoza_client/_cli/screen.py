"""Standard output and standard error. rich is imported only where one of them is a terminal."""

import os
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cached_property
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any, TextIO

from gyoza_client._cli.formats import json_text

if TYPE_CHECKING:
    from rich.console import Console


class Screen:
    """Prints data on standard output, and whatever accompanies it on standard error.

    On a terminal a line is cut to its width. Elsewhere it is plain and whole. The texts that are given are printable.
    """

    def __init__(self, *, json: bool = False) -> None:
        self.json = json
        self.stdout = _usable(sys.stdout)
        self.stderr = _usable(sys.stderr)

    @cached_property
    def out(self) -> "Console | None":
        """The console of standard output, or None if it is no terminal or JSON is wanted."""
        return None if self.json else _console(self.stdout)

    @cached_property
    def err(self) -> "Console | None":
        """The console of standard error, or None if it is no terminal."""
        return _console(self.stderr)

    @property
    def now(self) -> datetime:
        return datetime.now(UTC)

    def line(self, text: str) -> None:
        """Print a line of data."""
        print(text, file=self.stdout, flush=True)

    def note(self, text: str) -> None:
        """Print a line beside the data."""
        print(text, file=self.stderr, flush=True)

    def hint(self, text: str) -> None:
        """Print a line beside the data if both are looked at."""
        if self.err and self.stdout.isatty():
            self.err.print(text, style="dim", markup=False, highlight=False, soft_wrap=True)

    def row(self, value: Any) -> None:
        """Print a JSON value on a line of its own."""
        self.line(json_text(value, only_ascii=not _writes_utf8(self.stdout)))

    def document(self, value: Any) -> None:
        """Print a JSON value: on a terminal in lines and colours, elsewhere on one line."""
        console = _console(self.stdout)
        if console is None:
            self.row(value)
        else:
            from rich.highlighter import JSONHighlighter  # noqa: PLC0415 - only on a terminal

            console.print(JSONHighlighter()(json_text(value, indent=2)), soft_wrap=True)

    def columns(self, heads: Sequence[str], rows: Iterable[Sequence[str]], *, show_heads: bool = True) -> None:
        """Print plain rows with aligned columns; the last is as long as it is."""
        table = [list(heads), *map(list, rows)]
        widths = [max(len(row[column]) for row in table) for column in range(len(heads))]
        for row in table if show_heads else table[1:]:
            cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths[:-1], strict=True)]
            print("  ".join([*cells, row[-1]]).rstrip(), file=self.stdout)
        self.stdout.flush()


def _console(stream: TextIO) -> "Console | None":
    if not stream.isatty() or os.environ.get("TERM") == "dumb":
        return None
    from rich.console import Console  # noqa: PLC0415 - only on a terminal

    return Console(file=stream, highlight=False, emoji=False, markup=False)


def _usable(stream: TextIO | None) -> TextIO:
    """The stream, which escapes characters that its encoding lacks. A null device replaces a stream that was closed."""
    if stream is None:
        return open(os.devnull, "w")  # noqa: PTH123 - it lives as long as the process
    if isinstance(stream, TextIOWrapper) and not _writes_utf8(stream):
        stream.reconfigure(errors="backslashreplace")
    return stream


def _writes_utf8(stream: TextIO) -> bool:
    return (getattr(stream, "encoding", None) or "utf-8").lower().replace("_", "-") in ("utf-8", "utf8")

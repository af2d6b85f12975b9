"""Standard output and standard error. rich is imported only where one of them is a terminal."""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from errno import EBADF
from functools import cached_property
from io import TextIOBase, TextIOWrapper
from typing import TYPE_CHECKING, Any, Never, TextIO, cast

from gyoza_client._cli.formats import json_text

if TYPE_CHECKING:
    from rich.console import Console


class Screen:
    """Prints data on standard output, and whatever accompanies it on standard error.

    On a terminal a line is cut to its width. Elsewhere it is plain and whole. The texts that are given are printable.
    Data that cannot be written raise an OSError that names standard output. Notes go nowhere if standard error is
    closed.
    """

    def __init__(self, *, json: bool = False) -> None:
        self.json = json
        self.stdout = cast("TextIO", _Closed()) if sys.stdout is None else _escaping(sys.stdout)
        # The null device lives as long as the process.
        self.stderr = open(os.devnull, "w") if sys.stderr is None else _escaping(sys.stderr)  # noqa: PTH123, SIM115

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
        with _named():
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
        with _named():
            for row in table if show_heads else table[1:]:
                cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths[:-1], strict=True)]
                print("  ".join([*cells, row[-1]]).rstrip(), file=self.stdout)
            self.stdout.flush()


class _Closed(TextIOBase):
    """The place of a standard output that was closed before the start: data for it are an error, not lost."""

    def write(self, _text: str) -> Never:
        raise OSError(EBADF, "it is closed")


@contextmanager
def _named() -> Iterator[None]:
    """Have an error of writing name standard output."""
    try:
        yield
    except OSError as reason:
        reason.filename = "standard output"
        raise


def _console(stream: TextIO) -> "Console | None":
    if not stream.isatty() or os.environ.get("TERM") == "dumb":
        return None
    from rich.console import Console  # noqa: PLC0415 - only on a terminal

    return Console(file=stream, highlight=False, emoji=False, markup=False)


def _escaping(stream: TextIO) -> TextIO:
    """The stream, which escapes characters that its encoding lacks."""
    if isinstance(stream, TextIOWrapper) and not _writes_utf8(stream):
        stream.reconfigure(errors="backslashreplace")
    return stream


def _writes_utf8(stream: TextIO) -> bool:
    return (getattr(stream, "encoding", None) or "utf-8").lower().replace("_", "-") in ("utf-8", "utf8")

"""Colours, symbols and bars of a terminal. It is imported only where there is one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.text import Text

from gyoza_client._cli.formats import printable

STYLES: Final = {
    "PENDING": "yellow",
    "ASSIGNED": "blue",
    "RUNNING": "cyan",
    "COMPLETED": "green",
    "FAILED": "red",
    "CANCELLED": "magenta",
    "STARTED": "cyan",
    "ERROR": "red",
    "RETRIED": "yellow",
}
"""The styles of states and of types of events."""

_SYMBOLS: Final = {"COMPLETED": "✔", "FAILED": "✘", "CANCELLED": "■", "RUNNING": "●", "ASSIGNED": "◐", "PENDING": "○"}
_ASCII_SYMBOLS: Final = {"COMPLETED": "+", "FAILED": "x", "CANCELLED": "-"}

_FRAMES: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_ASCII_FRAMES: Final = "|/-\\"


_ROOM_FOR_LAST: Final = 24
"""The last column gets at least this width if leaving out others can give it."""


def state_text(state: str, width: int = 0) -> Text:
    """A state or a type of event in its colour, as wide as given at least."""
    return Text(printable(state).ljust(width), style=STYLES.get(state, ""))


def symbol(console: Console, state: str) -> Text:
    symbols = _ASCII_SYMBOLS if console.options.ascii_only else _SYMBOLS
    return Text(symbols.get(state, "*"), style=STYLES.get(state, ""))


def spinner(console: Console, seconds: float) -> Text:
    frames: Sequence[str] = _ASCII_FRAMES if console.options.ascii_only else _FRAMES
    return Text(frames[int(seconds * 10) % len(frames)], style="cyan")


def bar(console: Console, percent: int, width: int, style: str = "cyan") -> Text:
    """A bar of so many cells, filled to the half cell."""
    full, half, empty = ("#", "", "-") if console.options.ascii_only else ("━", "╸", "━")
    halves = max(0, min(percent, 100)) * width * 2 // 100
    filled = full * (halves // 2) + (half if halves % 2 else "")
    return Text.assemble((filled, style), (empty * (width - len(filled)), "bright_black"))


def pulse(console: Console, seconds: float, width: int) -> Text:
    """A bar without an end: a light goes along it."""
    cell = "-" if console.options.ascii_only else "━"
    light = int(seconds * 16) % (width + 12) - 6
    near = [abs(place - light) for place in range(width)]
    return Text.assemble(*((cell, "cyan" if each < 3 else "bright_black") for each in near))


@dataclass(frozen=True)
class Column:
    head: str
    cells: Sequence[Text]
    width: int = 0
    """The least width."""
    right: bool = False
    worth: int | None = None
    """If room is scarce, the column of the least worth is left out first; None is never left out."""


def print_columns(console: Console, columns: Sequence[Column], *, show_heads: bool = True) -> None:
    """Print rows that fit the terminal. The last column is cut at its beginning: the end of an image tells more."""
    *rest, last = columns
    widths = {each.head: max(each.width, len(each.head), *(cell.cell_len for cell in each.cells)) for each in columns}

    def room() -> int:
        return console.width - sum(widths[each.head] + 2 for each in rest)

    while room() < min(widths[last.head], _ROOM_FOR_LAST) and any(each.worth is not None for each in rest):
        rest.remove(min((each for each in rest if each.worth is not None), key=lambda each: each.worth or 0))
    if show_heads:
        heads = [
            each.head.rjust(widths[each.head]) if each.right else each.head.ljust(widths[each.head]) for each in rest
        ]
        console.print(Text("  ".join([*heads, last.head]), style="dim"), no_wrap=True, crop=True)
    for number in range(len(last.cells)):
        line = Text()
        for each in rest:
            cell = each.cells[number]
            space = " " * (widths[each.head] - cell.cell_len)
            line = Text.assemble(line, *((space, cell) if each.right else (cell, space)), "  ")
        console.print(line + _ending(last.cells[number], room()), no_wrap=True, crop=True)


def _ending(text: Text, width: int) -> Text:
    """The end of a text, as much as fits."""
    if text.cell_len <= width:
        return text
    shown = text.copy()
    while shown and shown.cell_len > max(width - 1, 0):
        shown = shown[1:]
    return Text.assemble("…", shown) if width > 0 else Text()

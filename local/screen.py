"""Prints the demo's timeline: one line for each polled event, and beside it one line for each pushed event."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from gyoza_client import Event

_BAR_WIDTH = 30
_PUSHED_COLUMN = 50
_LONGEST_SILENCE_S = 5.0
_BOLD, _DIM, _RED, _GREEN, _RESET = "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[0m"
_COLOURS = {"COMPLETED": _GREEN, "FAILED": _RED, "ERROR": _RED, "CANCELLED": _RED, "RETRIED": _BOLD}


class Screen:
    """Writes plain lines if the output is not a terminal."""

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self._out = out
        self._is_terminal = out.isatty()
        self._said_at = time.monotonic()

    def line(self, text: str = "") -> None:
        # The reader may be gone, as when a terminal was closed. That must not keep the stack from ending in order.
        self._said_at = time.monotonic()
        with suppress(OSError):
            self._out.write(text + "\n")
            self._out.flush()

    @contextmanager
    def never_silent(self, text: str, longest_s: float = _LONGEST_SILENCE_S) -> Iterator[None]:
        """Print ``text`` whenever the block has printed nothing for ``longest_s`` seconds."""
        over = threading.Event()

        def break_silence() -> None:
            while not over.wait(longest_s / 10):
                if time.monotonic() - self._said_at >= longest_s:
                    self.line(text)

        teller = threading.Thread(target=break_silence, daemon=True)
        teller.start()
        try:
            yield
        finally:
            over.set()
            teller.join()

    def title(self, text: str) -> None:
        self.line()
        self.line(self._styled(text, _BOLD))

    def event(self, event: Event) -> None:
        """One event of a timeline."""
        detail = bar(int(event.msg)) if event.type == "PROGRESS" else _detail(event)
        styled_type = self._styled(f"{event.type:<9}", _COLOURS.get(event.type, ""))
        at = f"{event.t:%H:%M:%S}.{event.t.microsecond // 1000:03}"
        self.line(f"  {at}  attempt {event.attempt} #{event.id:<3} {styled_type} {detail}")

    def pushed(self, message: dict[str, Any]) -> None:
        """One message that a subscriber received."""
        seq = message["data"]["seq"]
        number = "" if seq is None else f"seq {seq}"
        self.line(self._styled(f"{'':{_PUSHED_COLUMN}}pushed  {number:<7} {message['type']}", _DIM))

    def _styled(self, text: str, style: str) -> str:
        return f"{style}{text}{_RESET}" if style and self._is_terminal else text


def bar(percent: int) -> str:
    filled = _BAR_WIDTH * percent // 100
    return f"[{'#' * filled}{'-' * (_BAR_WIDTH - filled)}] {percent:3d} %"


def _detail(event: Event) -> str:
    payload = event.payload
    parts = [str(event.msg), payload.get("reason"), payload.get("worker_id"), payload.get("error_message")]
    return "  ".join(part for part in parts if part)

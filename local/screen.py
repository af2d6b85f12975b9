"""What the demo shows of a run: a line an event, and on a terminal a progress bar that fills in place."""

import sys
from typing import Any, TextIO

_BAR_WIDTH = 30
_ERASE_LINE = "\r\x1b[2K"
_BOLD, _DIM, _RED, _GREEN, _RESET = "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[0m"
_COLOURS = {"COMPLETED": _GREEN, "FAILED": _RED, "ERROR": _RED, "CANCELLED": _RED, "RETRIED": _BOLD}


class Screen:
    """Writes plain lines where the output is no terminal."""

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self._out = out
        self._is_terminal = out.isatty()
        self._bar_shown = False

    def line(self, text: str = "") -> None:
        self._end_bar()
        self._out.write(text + "\n")
        self._out.flush()

    def title(self, text: str) -> None:
        self.line()
        self.line(self._styled(text, _BOLD))

    def event(self, event: dict[str, Any]) -> None:
        """One event of a timeline. Successive PROGRESS events share one bar on a terminal."""
        if event["type"] == "PROGRESS" and self._is_terminal:
            self._out.write(f"{_ERASE_LINE}{_prefix(event)}{bar(event['msg'])}")
            self._out.flush()
            self._bar_shown = True
            return
        detail = bar(event["msg"]) if event["type"] == "PROGRESS" else _detail(event)
        self.line(_prefix(event, self._styled(f"{event['type']:<9}", _COLOURS.get(event["type"], ""))) + detail)

    def _styled(self, text: str, style: str) -> str:
        return f"{style}{text}{_RESET}" if style and self._is_terminal else text

    def _end_bar(self) -> None:
        if self._bar_shown:
            self._out.write("\n")
            self._bar_shown = False


def bar(percent: int) -> str:
    filled = _BAR_WIDTH * percent // 100
    return f"[{'#' * filled}{'-' * (_BAR_WIDTH - filled)}] {percent:3d} %"


def _prefix(event: dict[str, Any], styled_type: str | None = None) -> str:
    time_of_day = event["t"][11:23]
    return (
        f"  {time_of_day}  attempt {event['attempt']} #{event['id']:<3} {styled_type or format(event['type'], '<9')} "
    )


def _detail(event: dict[str, Any]) -> str:
    payload = event["payload"]
    parts = [str(event["msg"]), payload.get("worker_id"), payload.get("error_message")]
    return "  ".join(part for part in parts if part)

"""The command's progress: read from its output, and reported at most once a second."""

import math
import re
import threading
from collections.abc import Callable
from typing import Final

EACH_S: Final = 1.0
"""The shortest time between two reports."""

_LINE_BYTES: Final = 64
"""A line of progress is shorter."""

_MARK: Final = b"::gyoza progress="
_PROGRESS: Final = re.compile(rb"^::gyoza progress=(\d{1,3})[ \t]*\r?$", re.MULTILINE)


class ProgressLines:
    """Reads lines such as ``::gyoza progress=40`` from one stream that arrives in chunks."""

    def __init__(self) -> None:
        self._unfinished = b""
        """The beginning of the last line."""

    def feed(self, chunk: bytes) -> int | None:
        """The newest progress, 0 to 100, in the lines that this chunk ends; None if there is none."""
        end = chunk.rfind(b"\n")
        if end < 0:
            self._unfinished = (self._unfinished + chunk[:_LINE_BYTES])[:_LINE_BYTES]
            return None
        lines, self._unfinished = self._unfinished + chunk[:end], chunk[end + 1 : end + 1 + _LINE_BYTES]
        if _MARK not in lines:
            return None
        found = [int(percent) for percent in _PROGRESS.findall(lines)]
        return next((percent for percent in reversed(found) if percent <= 100), None)

    def end(self) -> int | None:
        """The progress of a last line that no line break ends."""
        return self.feed(b"\n")


class ProgressReports:
    """Reports the newest progress, one report after the other, and leaves out what is older or was reported.

    ``report`` gets the progress and the instant, by `boottime`, before which it is not to be sent. It must not block.
    """

    def __init__(self, report: Callable[[int, float], None]) -> None:
        self._report = report
        self._lock = threading.Lock()
        self._newest: int | None = None
        """The newest progress that was not given to ``report``."""
        self._last: int | None = None
        self._is_under_way = False
        self._not_before = 0.0

    def put(self, percent: int) -> bool:
        """Keeps the progress, and returns whether none was waiting. Any thread may call it; the others are for one."""
        with self._lock:
            was_empty = self._newest is None
            self._newest = percent
            return was_empty

    @property
    def due_at(self) -> float:
        """The instant, by `boottime`, at which `report_if_due` has something to do; infinity if never."""
        return math.inf if self._newest is None or self._is_under_way else self._not_before

    def report_if_due(self, now: float) -> None:
        if now >= self.due_at:
            self.flush(now)

    def answered(self) -> None:
        """The report that was under way has its answer, or gets none."""
        self._is_under_way = False

    def flush(self, now: float) -> None:
        """Reports the newest progress though it is early, or a report is under way."""
        with self._lock:
            percent, self._newest = self._newest, None
        if percent is None or percent == self._last:
            return
        at = max(now, self._not_before)
        self._last, self._not_before, self._is_under_way = percent, at + EACH_S, True
        self._report(percent, at)

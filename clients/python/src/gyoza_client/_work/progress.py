"""Sends the progress of a job from a thread, so that the job waits for no request."""

import threading
from collections.abc import Callable
from typing import Final

_INTERVAL_S: Final = 1.0
"""The shortest time from one PROGRESS to the next."""
_LONGEST_WAIT_S: Final = 5.0


class Progress:
    """Sends the newest value, at most one a second. ``send`` is called in the thread and must not raise."""

    def __init__(self, send: Callable[[int], None], name: str) -> None:
        self._send = send
        self._changed = threading.Condition()
        self._waiting: int | None = None
        self._is_sending = False
        self._is_hurried = False
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def put(self, percent: int) -> None:
        with self._changed:
            if self._thread.ident is None:
                self._thread.start()
            self._waiting = percent
            self._changed.notify_all()

    def settle(self, *, flush: bool) -> None:
        """Send what waits, or drop it, and wait until nothing is under way, but not for long."""
        with self._changed:
            if flush:
                self._is_hurried = True
            else:
                self._waiting = None
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._waiting is None and not self._is_sending, _LONGEST_WAIT_S)
            self._is_hurried = False

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _run(self) -> None:
        while (percent := self._next()) is not None:
            self._send(percent)
            with self._changed:
                self._is_sending = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._is_closed or self._is_hurried, _INTERVAL_S)

    def _next(self) -> int | None:
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._waiting is not None)
            if self._is_closed:
                return None
            percent, self._waiting, self._is_sending = self._waiting, None, True
            return percent

"""Gives a worker time to end its job after SIGTERM."""

import os
import signal
import threading
from collections.abc import Callable
from enum import Enum, auto
from queue import Empty, SimpleQueue
from types import FrameType, TracebackType
from typing import Final, Self

from gyoza_client._lease.stop import Stop

_AGAIN_S: Final = 1.0
"""The pause between two tries after the grace, while the job may not be interrupted."""


class _Phase(Enum):
    OFF = auto()
    ON = auto()
    ENDING = auto()


class Sigterm:
    """While it is entered, the first SIGTERM sets the stop. The second, or the end of the grace, raises SystemExit.

    It acts in the main thread only, and only if nobody else handles SIGTERM.
    """

    def __init__(self, stop: Stop, grace_s: float, may_raise: Callable[[], bool]) -> None:
        self._stop: Final = stop
        self._grace_s: Final = grace_s
        self._may_raise: Final = may_raise
        self._phase = _Phase.OFF
        self._pid = self._main_thread = 0
        self._came = False
        self._has_raised = False
        self._wakes: SimpleQueue[bool] = SimpleQueue()
        """True after the first SIGTERM, False at the end."""
        self._thread = threading.Thread(target=self._signal_after_grace, name="gyoza-sigterm", daemon=True)

    def __enter__(self) -> Self:
        in_main_thread = threading.current_thread() is threading.main_thread()
        if in_main_thread and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            self._phase, self._pid, self._main_thread = _Phase.ON, os.getpid(), threading.get_ident()
            self._thread.start()
            signal.signal(signal.SIGTERM, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._phase is _Phase.ON:
            self._phase = _Phase.ENDING
            self._wakes.put(False)
            self._thread.join()
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self._phase = _Phase.OFF

    def _handle(self, signum: int, _frame: FrameType | None) -> None:
        if self._phase is _Phase.OFF or os.getpid() != self._pid:  # A child that was forked ends as if unhandled.
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        elif self._phase is _Phase.ON and not self._came:
            self._came = True
            self._stop.set()
            self._wakes.put(True)
        elif self._phase is _Phase.ON and self._may_raise():
            self._has_raised = True
            raise SystemExit(128 + signum)

    def _signal_after_grace(self) -> None:
        goes_on, pause_s = self._wakes.get(), self._grace_s
        while goes_on and not self._has_raised:
            try:
                goes_on = self._wakes.get(timeout=pause_s)
            except Empty:
                # A signal, unlike an exception set from here, also ends a sleep of the main thread.
                signal.pthread_kill(self._main_thread, signal.SIGTERM)
                pause_s = _AGAIN_S

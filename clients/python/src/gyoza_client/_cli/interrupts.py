"""Holds Ctrl-C back while something is done that must be done whole."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType


class Interrupts:
    def __init__(self) -> None:
        self._held_back = False
        self._came = False

    @contextmanager
    def held_back(self) -> Iterator[None]:
        """Raise KeyboardInterrupt after the block if Ctrl-C comes during it. A second Ctrl-C is not held back."""
        self._held_back = True
        try:
            yield
        finally:
            self._held_back = False
        if self._came:
            raise KeyboardInterrupt

    def handle(self, _signum: int, _frame: FrameType | None) -> None:
        if self._held_back and not self._came:
            self._came = True
            return
        raise KeyboardInterrupt


@contextmanager
def deferred_interrupts() -> Iterator[Interrupts]:
    """Let Ctrl-C be held back during the block.

    Nothing changes outside the main thread, which alone gets signals, and where the process ignores Ctrl-C, as one in
    the background does.
    """
    interrupts = Interrupts()
    if current_thread() is not main_thread() or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        yield interrupts
        return
    before = signal.signal(signal.SIGINT, interrupts.handle)
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, before)

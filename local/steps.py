"""Prints the steps of a command and the time that each takes.

It needs only the standard library, because it runs before anything is installed.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SAY_AGAIN_S = 5.0
_WIDTH = 46


class Steps:
    """Prints a line after each step, and one every 5 seconds during a step."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    @contextmanager
    def step(self, done: str, doing: str) -> Iterator[None]:
        """Print ``doing`` during the block and ``done`` with its seconds afterwards, but not if it fails."""
        begun = time.monotonic()
        over = threading.Event()

        def say_again() -> None:
            while not over.wait(_SAY_AGAIN_S):
                self._say(f"  {doing + ' ...':<{_WIDTH}} {time.monotonic() - begun:5.0f} s")

        teller = threading.Thread(target=say_again, daemon=True)
        teller.start()
        try:
            yield
        finally:
            over.set()
            teller.join()
        self._say(f"  {done:<{_WIDTH}} {time.monotonic() - begun:5.1f} s")

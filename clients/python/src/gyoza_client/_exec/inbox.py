"""The work that other threads leave for the main thread."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any


class Inbox:
    """Functions without arguments. Any thread posts them, and the main thread calls them in the order of the posts."""

    def __init__(self) -> None:
        self._acts: SimpleQueue[Callable[[], None]] = SimpleQueue()

    def post(self, act: Callable[..., None], *values: Any) -> None:
        self._acts.put(partial(act, *values))

    def posting(self, act: Callable[[Any], None]) -> Callable[[Any], None]:
        """A function for another thread that lets the main thread act."""
        return partial(self.post, act)

    def wake(self) -> None:
        """Ends the wait of the main thread, which then looks at the clock."""
        self.post(_do_nothing)

    def act(self, timeout_s: float) -> None:
        """Calls the next function, if one comes in time."""
        with suppress(Empty):
            self._acts.get(timeout=timeout_s)()


def _do_nothing() -> None:
    pass

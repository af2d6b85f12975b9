"""Readings that meet half a transaction, and the pauses before they are repeated.

DynamoDB applies a transaction item by item, and a query or a batch does not wait for the rest of it. So a reader may
meet HEAD as a transaction left it and another item as it was before, or the reverse, for some milliseconds.
"""

from collections.abc import Callable
from random import SystemRandom
from typing import TypeVar

from ..domain.errors import StorageUnavailable, UnreadableRun
from ..runs.ports import Clock
from .attributes import UnreadableItem

SETTLING_S = 1.0
"""Time for the pauses of one request, however many of its items are not there yet (docs/guarantees.md)."""

_FIRST_PAUSE_S = 0.02
_MAX_PAUSE_S = 0.3

Value = TypeVar("Value")

_system_random = SystemRandom()


class NotThereYet(Exception):
    """Another item promises this one, or a version of it, and the reading did not meet it."""


class Pauses:
    """Growing, jittered pauses, for a time in all. StorageUnavailable if the time is up."""

    def __init__(self, clock: Clock, total_s: float = SETTLING_S) -> None:
        self._clock = clock
        self._left_s = total_s
        self._bound_s = _FIRST_PAUSE_S

    def pause(self) -> None:
        if not self.has_paused():
            raise StorageUnavailable

    def has_paused(self) -> bool:
        """Whether there was time left for another pause, which is over then."""
        if self._left_s <= 0:
            return False
        pause_s = min(_system_random.uniform(self._bound_s / 2, self._bound_s), self._left_s)
        self._bound_s = min(2 * self._bound_s, _MAX_PAUSE_S)
        self._left_s -= pause_s
        self._clock.sleep(pause_s)
        return True


def settled(read: Callable[[], Value], run_id: str, pauses: Pauses) -> Value:
    """The value of the first reading that met whole transactions only.

    Raises StorageUnavailable if there is none within the time, and UnreadableRun.
    """
    while True:
        try:
            return read()
        except NotThereYet:
            pauses.pause()
        except UnreadableItem as unreadable:
            raise UnreadableRun(run_id) from unreadable

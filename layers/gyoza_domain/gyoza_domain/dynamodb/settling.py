"""Repeats a reading that meets half a transaction, after a pause.

DynamoDB applies a transaction item by item, and a query or a batch does not wait for the rest. For some milliseconds a
reader may see HEAD after a transaction and another item before it, or the reverse.
"""

from collections.abc import Callable
from random import SystemRandom
from typing import TypeVar

from ..domain.errors import StorageUnavailable, UnreadableRun
from ..runs.ports import Clock
from .attributes import UnreadableItem

SETTLING_S = 1.0
"""The time for all pauses of one request (docs/guarantees.md)."""

_FIRST_PAUSE_S = 0.02
_MAX_PAUSE_S = 0.3

Value = TypeVar("Value")

_system_random = SystemRandom()


class NotThereYet(Exception):
    """The reading did not see an item, or a version of it, that another item promises."""


class Pauses:
    """Growing random pauses with a limit for their sum. Raises StorageUnavailable once the limit is reached."""

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
    """The value of the first reading that sees only whole transactions.

    Raises StorageUnavailable if no reading does within the time, and UnreadableRun.
    """
    while True:
        try:
            return read()
        except NotThereYet:
            pauses.pause()
        except UnreadableItem as unreadable:
            raise UnreadableRun(run_id) from unreadable

"""Pauses between the readings of one request that meets a transaction in part."""

from random import SystemRandom
from typing import TYPE_CHECKING

from ..domain.errors import StorageUnavailable

if TYPE_CHECKING:
    from .ports import Clock

MAX_SETTLING_S = 1.0
"""The time for all pauses of one request (docs/guarantees.md)."""

_FIRST_PAUSE_S = 0.02
_MAX_PAUSE_S = 0.3

_system_random = SystemRandom()
"""The operating system's random source. SnapStart would clone the state of a seeded generator."""


class Pauses:
    """Makes random pauses that grow, with a limit for their sum."""

    def __init__(self, clock: "Clock", total_s: float = MAX_SETTLING_S) -> None:
        self._clock = clock
        self._left_s = total_s
        self._bound_s = _FIRST_PAUSE_S

    def pause(self) -> None:
        """Sleep. Raises StorageUnavailable once the limit is reached."""
        if not self.has_paused():
            raise StorageUnavailable

    def has_paused(self) -> bool:
        """Pause if time is left, and return True. Return False at once if no time is left."""
        if self._left_s <= 0:
            return False
        pause_s = min(_system_random.uniform(self._bound_s / 2, self._bound_s), self._left_s)
        self._bound_s = min(2 * self._bound_s, _MAX_PAUSE_S)
        self._left_s -= pause_s
        self._clock.sleep(pause_s)
        return True

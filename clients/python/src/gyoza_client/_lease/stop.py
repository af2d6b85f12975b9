"""A request to stop, which ends pauses early."""

from queue import Empty, SimpleQueue
from typing import Final

from gyoza_client._lease.boottime import boottime


class Stop:
    """Is set once, by any thread or by the handler of a signal.

    A handler runs between any two steps of the main thread. SimpleQueue is safe there; threading.Event is not.
    """

    def __init__(self) -> None:
        self._since: float | None = None
        self._wakes: Final[SimpleQueue[None]] = SimpleQueue()

    def set(self) -> None:
        if self._since is None:
            self._since = boottime()
            self._wakes.put(None)

    @property
    def is_set(self) -> bool:
        return self._since is not None

    @property
    def age_s(self) -> float:
        """The seconds since it was set, or 0."""
        return 0.0 if self._since is None else boottime() - self._since

    def wait(self, seconds: float) -> bool:
        """Wait until it is set, ``seconds`` at most. Returns whether it is set."""
        if self._since is None and seconds > 0:
            try:
                self._wakes.get(timeout=seconds)
            except Empty:
                return self.is_set
            self._wakes.put(None)  # for the next one who waits
        return self.is_set

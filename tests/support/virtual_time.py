"""Runs threads one at a time in the order of a virtual clock, so that a simulation is fast and repeats itself."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush

_START = datetime(2026, 3, 2, 20, 0, tzinfo=UTC)


class VirtualTime:
    """A clock. It moves only while all threads sleep, and then to the next instant at which one of them wakes."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._sleepers: list[tuple[float, int, threading.Event]] = []
        self._order = 0
        self._failures: list[BaseException] = []

    def now(self) -> datetime:
        return _START + timedelta(seconds=self._seconds)

    def monotonic(self) -> float:
        return self._seconds

    def sleep(self, seconds: float) -> None:
        """Sleep in the thread of an actor, and let others run meanwhile."""
        turn = self._enqueue(seconds)
        self._wake_next()
        turn.wait()

    def run(self, actors: list[Callable[[], None]]) -> None:
        """Run the actors until all have ended. Raises the first failure of one."""
        threads = [threading.Thread(target=self._act, args=(actor, self._enqueue(0.0))) for actor in actors]
        for thread in threads:
            thread.start()
        self._wake_next()
        for thread in threads:
            thread.join()
        if self._failures:
            raise self._failures[0]

    def _act(self, actor: Callable[[], None], turn: threading.Event) -> None:
        turn.wait()
        try:
            actor()
        except BaseException as failure:  # noqa: BLE001 - the thread that started the actors raises it
            self._failures.append(failure)
        self._wake_next()

    def _enqueue(self, seconds: float) -> threading.Event:
        turn = threading.Event()
        self._order += 1
        heappush(self._sleepers, (self._seconds + seconds, self._order, turn))
        return turn

    def _wake_next(self) -> None:
        if self._sleepers:
            self._seconds, _, turn = heappop(self._sleepers)
            turn.set()

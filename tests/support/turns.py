"""Lets tests of several processes run side by side, or one test alone."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_DOOR, _ROOM = 0, 1
"""Two bytes of the file, each with a lock. A waiter for the room holds the door, so that nobody waits for ever."""


class Turns:
    """Lets tests wait for each other, in every process of this machine that names the same file. A process that dies
    gives up its turn.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    @contextmanager
    def beside_others(self) -> Iterator[None]:
        """Run the block beside others, but not beside a block that runs alone."""
        with self._turn(fcntl.LOCK_SH):
            yield

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Run the block alone: wait until no other block runs, and let others wait."""
        with self._turn(fcntl.LOCK_EX):
            yield

    @contextmanager
    def _turn(self, kind: int) -> Iterator[None]:
        if self._file is None:
            self._path.parent.mkdir(exist_ok=True)
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.lockf(self._file, fcntl.LOCK_EX, 1, _DOOR)
        fcntl.lockf(self._file, kind, 1, _ROOM)
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _DOOR)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _ROOM)

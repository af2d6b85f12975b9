"""Lets tests of several processes run side by side, or one test alone."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Turns:
    """Lets tests wait for each other, in every process of this machine that names the same file. A process that dies
    gives up its turn.

    The locks are flock's. Each belongs to one opening of a file, so that no other code that reads the file releases it,
    and the kernel never refuses it on the suspicion of a deadlock, as it may refuse the locks of fcntl.
    """

    def __init__(self, path: Path) -> None:
        self._room = path
        self._door = path.with_name(f"{path.name}.door")
        """A process that waits for the room holds the door, so that nobody waits for ever."""

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
        self._room.parent.mkdir(exist_ok=True)
        with self._room.open("a") as room:
            with self._door.open("a") as door:
                fcntl.flock(door, fcntl.LOCK_EX)
                fcntl.flock(room, kind)
            try:
                yield
            finally:
                # A forked process may hold the file open for longer. It does not keep the lock.
                fcntl.flock(room, fcntl.LOCK_UN)

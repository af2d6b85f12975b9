"""The output of the command: passed through byte for byte, its end kept, its lines of progress read."""

import os
import select
import threading
from collections.abc import Callable
from typing import Final

from gyoza_client._exec.progress import ProgressLines

TAIL_BYTES: Final = 16 * 1024
"""The end of the output that is kept: what the API takes as an error message."""

_CHUNK_BYTES: Final = 64 * 1024
"""The size of a pipe."""


class Tail:
    """The last `TAIL_BYTES` of what several threads add."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept = bytearray()

    def add(self, chunk: bytes) -> None:
        with self._lock:
            self._kept += chunk[-TAIL_BYTES:]
            if len(self._kept) > 4 * TAIL_BYTES:
                del self._kept[:-TAIL_BYTES]

    def get(self) -> bytes:
        with self._lock:
            return bytes(self._kept[-TAIL_BYTES:])


class Pump:
    """A thread that passes a stream of the command on to a stream of this process, until its last writer is gone.

    A reader of ours that is slow slows the command, as it would without a pump. A reader that is gone does not end
    the command: its output is read on and dropped.
    """

    def __init__(
        self, source: int, target: int, tail: Tail, progress: Callable[[int], None], ended: Callable[[], None]
    ) -> None:
        self._source = source
        self._target: int | None = target
        self._tail = tail
        self._progress = progress
        self._ended = ended
        self._lines = ProgressLines()
        self._thread = threading.Thread(target=self._run, name=f"output-{target}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        try:
            while chunk := os.read(self._source, _CHUNK_BYTES):
                self._tail.add(chunk)
                self._tell(self._lines.feed(chunk))
                self._write(chunk)
            self._tell(self._lines.end())
        finally:
            self._ended()

    def _tell(self, percent: int | None) -> None:
        if percent is not None:
            self._progress(percent)

    def _write(self, chunk: bytes) -> None:
        rest = memoryview(chunk)
        while self._target is not None and rest:
            try:
                rest = rest[os.write(self._target, rest) :]
            except BlockingIOError:
                _wait_until_writable(self._target)
            except OSError:
                self._target = None


def _wait_until_writable(file: int) -> None:
    poller = select.poll()
    poller.register(file, select.POLLOUT)
    poller.poll()

"""Keeps a number of commands running, each for a run that was claimed for it."""

import logging
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Final

from gyoza_client._lease.claims import Claim, Claims
from gyoza_client._lease.stop import Stop
from gyoza_client._lease.worker_ids import new_worker_id
from gyoza_client._worker.json_lines import JsonLines

log = logging.getLogger("gyoza_client")

Start = Callable[[Claim], "subprocess.Popen[bytes]"]

_QUICK_S: Final = 10.0
_FAILURES_FREE: Final = 3
_LONGEST_PAUSE_S: Final = 10.0


class _Slot:
    def __init__(self) -> None:
        self.worker_id: Final = new_worker_id()
        self.process: subprocess.Popen[bytes] | None = None

    def terminate(self) -> None:
        if self.process is not None:
            self.process.terminate()


class Slots:
    """Claims runs for slots that are free, one claim at a time, and starts a process for each.

    While there is no work, one slot alone asks for it. ``start`` may raise OSError. `work` runs in the main thread, and
    `stop` in handlers of signals. ``json_lines`` gets each run that begins or ends.
    """

    def __init__(
        self, claims: Claims, stop: Stop, start: Start, number: int, *, json_lines: JsonLines | None = None
    ) -> None:
        self._claims = claims
        self._stop = stop
        self._start = start
        self._json_lines = json_lines
        self._free = deque(_Slot() for _ in range(number))
        self._busy: set[_Slot] = set()
        self._ended: SimpleQueue[_Slot | None] = SimpleQueue()
        """The slots whose process has ended; None wakes up who waits."""
        self._failures = 0
        """The processes in a row that failed quickly."""

    def stop(self) -> None:
        """Claim nothing more, and send SIGTERM to the processes."""
        self._stop.set()
        self._ended.put(None)
        for slot in self._busy:
            slot.terminate()

    def work(self) -> None:
        """Go on until the stop, or until the claims find nothing more; then wait for the processes.

        Raises ApiError, after the processes have ended, if the server refuses the claims.
        """
        try:
            self._claim_and_start()
        finally:
            self._wait_for_all()

    def _claim_and_start(self) -> None:
        while not self._stop.is_set:
            self._collect(wait=not self._free)
            if self._free and not self._stop.wait(self._pause_s()):
                claim = self._claims.next(self._free[0].worker_id)
                if claim is None:
                    return
                self._begin(self._free.popleft(), claim)

    def _begin(self, slot: _Slot, claim: Claim) -> None:
        try:
            slot.process = self._start(claim)
        except OSError as reason:
            log.error("No process can be started for run %s: %s", claim.run.id, reason)  # noqa: TRY400
            self._claims.give_back(claim)
            self._free.append(slot)
            self._failures += 1
            return
        self._busy.add(slot)
        if self._stop.is_set:
            slot.terminate()
        name = f"attempt {claim.run.current_attempt} of run {claim.run.id}"
        log.info("Begins %s", name)
        if self._json_lines is not None:
            self._json_lines.begun(claim)
        threading.Thread(target=self._wait_for, args=(slot, slot.process, claim, name), daemon=True).start()

    def _wait_for(self, slot: _Slot, process: "subprocess.Popen[bytes]", claim: Claim, name: str) -> None:
        begun = time.monotonic()
        returned = process.wait()
        code = returned if returned >= 0 else 128 - returned
        failed_quickly = code != 0 and time.monotonic() - begun < _QUICK_S
        self._failures = self._failures + 1 if failed_quickly else 0
        log.info("Ended %s with the exit code %d", name, code)
        if returned < 0 and -returned != signal.SIGKILL:
            # `gyoza exec` blocks each signal that can be caught before it says STARTED: the run has not begun. One that
            # was killed by SIGKILL may have begun it, and a run that was cancelled meanwhile must not begin again.
            self._claims.give_back(claim)
        if self._json_lines is not None:
            self._json_lines.ended(claim, code)
        self._ended.put(slot)

    def _collect(self, *, wait: bool) -> None:
        """Free the slots whose process has ended; with ``wait``, wait for one, or for the stop."""
        try:
            while True:
                slot = self._ended.get(block=wait)
                wait = False
                if slot is not None:
                    self._busy.discard(slot)
                    self._free.append(slot)
        except Empty:
            pass

    def _pause_s(self) -> float:
        """The pause before a claim: a machine on which each command fails at once shall not soon fail a whole queue."""
        over = self._failures - _FAILURES_FREE
        if over < 0:
            return 0.0
        pause = min(2.0**over, _LONGEST_PAUSE_S)
        log.warning(
            "%d commands in a row failed within %g s, the next claim waits %g s", self._failures, _QUICK_S, pause
        )
        return pause

    def _wait_for_all(self) -> None:
        self._collect(wait=False)
        if self._busy:
            number = len(self._busy)
            log.info("Waits for the commands of %d runs" if number > 1 else "Waits for the command of %d run", number)
        while self._busy:
            self._collect(wait=True)

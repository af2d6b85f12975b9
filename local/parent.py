"""Follows the `make` that started this process.

GNU make passes SIGTERM on, but neither SIGINT nor SIGHUP, which it takes to come from a terminal and to have reached
its children too: sent one alone it waits for them for ever, and no longer catches it. Killed outright, it leaves them
running.
"""

import os
import signal
import threading
import time
from pathlib import Path

_POLL_INTERVAL_S = 0.3
_PASSED_ON_BY_NOBODY = (signal.SIGINT, signal.SIGHUP)


def follow_make() -> None:
    """From now on, send this process SIGTERM once its make is interrupted, hung up or gone.

    Does nothing where the parent is no make, or the system has no /proc.
    """
    parent = os.getppid()
    caught = _caught(parent)
    if caught and _name(parent) in ("make", "gmake"):
        threading.Thread(target=_watch, args=[parent, caught], daemon=True).start()


def _watch(parent: int, caught: frozenset[int]) -> None:
    while os.getppid() == parent and _caught(parent) == caught:
        time.sleep(_POLL_INTERVAL_S)
    os.kill(os.getpid(), signal.SIGTERM)


def _caught(pid: int) -> frozenset[int]:
    """Those of the two signals that a process has a handler for."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return frozenset()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    mask = int(fields["SigCgt"], 16)
    return frozenset(signum for signum in _PASSED_ON_BY_NOBODY if mask & 1 << (signum - 1))


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()

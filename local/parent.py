"""Ends this process together with the `make` that started it.

GNU make forwards SIGTERM to its children, but not SIGINT and SIGHUP, because it expects that a terminal sends those to
the children too. If only make gets one of these, it waits for its children for ever. If make is killed, its children
keep running.
"""

import os
import signal
import threading
import time
from pathlib import Path

_POLL_INTERVAL_S = 0.3
_PASSED_ON_BY_NOBODY = (signal.SIGINT, signal.SIGHUP)


def follow_make() -> None:
    """Send this process SIGTERM as soon as its make is interrupted, hung up or gone.

    Does nothing if the parent is not make or if the system has no /proc.
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
    """The signals, SIGINT or SIGHUP, that a process handles."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return frozenset()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    mask = int(fields["SigCgt"], 16)
    return frozenset(signum for signum in _PASSED_ON_BY_NOBODY if mask & 1 << (signum - 1))


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()

"""Follows the `make` that started this process.

GNU make passes SIGTERM on, but not SIGINT, which it takes to come from a terminal and to have reached its children too:
interrupted alone it waits for them for ever, and no longer catches SIGINT. Killed outright, it leaves them running.
"""

import os
import signal
import threading
import time
from pathlib import Path

_POLL_INTERVAL_S = 0.3
_SIGINT_BIT = 1 << (signal.SIGINT - 1)


def follow_make() -> None:
    """From now on, send this process SIGTERM once its make is interrupted or gone.

    Does nothing where the parent is no make, or the system has no /proc.
    """
    parent = os.getppid()
    if _catches_sigint(parent) and _name(parent) in ("make", "gmake"):
        threading.Thread(target=_watch, args=[parent], daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent and _catches_sigint(parent):
        time.sleep(_POLL_INTERVAL_S)
    os.kill(os.getpid(), signal.SIGTERM)


def _catches_sigint(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return bool(int(fields["SigCgt"], 16) & _SIGINT_BIT)


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()

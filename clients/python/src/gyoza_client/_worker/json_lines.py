"""Writes a line of JSON to standard output for each run that a worker begins or ends."""

import json
import os
from contextlib import suppress
from datetime import UTC, datetime
from threading import Lock
from typing import Any, Final

from gyoza_client._lease.claims import Claim

_STDOUT: Final = 1


class JsonLines:
    """Threads may share it. A reader of standard output that is gone does not end the worker."""

    def __init__(self) -> None:
        self._lock = Lock()

    def begun(self, claim: Claim) -> None:
        self._write("begun", claim)

    def ended(self, claim: Claim, exit_code: int) -> None:
        self._write("ended", claim, exit_code=exit_code)

    def _write(self, event: str, claim: Claim, **fields: Any) -> None:
        line = {
            "t": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "event": event,
            "run_id": claim.run.id,
            "attempt": claim.run.current_attempt,
            "worker_id": claim.worker_id,
            **fields,
        }
        left = f"{json.dumps(line, separators=(',', ':'))}\n".encode()
        # Without a buffer, nothing is left that the end of the process would write to a reader that is gone.
        with self._lock, suppress(OSError):
            while left:
                left = left[os.write(_STDOUT, left) :]

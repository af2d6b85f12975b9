"""Renews the lease of one attempt from a thread."""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gyoza_client._calling import Limits
from gyoza_client._errors import (
    ApiError,
    GyozaError,
    NotClaimant,
    NotLeased,
    RunLocked,
    RunNotFound,
    StaleAttempt,
)
from gyoza_client._lease.boottime import SLICE_S, boottime
from gyoza_client._models import Heartbeat
from gyoza_client._sync import GyozaClient, own_connections

LEASE_IS_OVER: Final = (RunNotFound, StaleAttempt, NotClaimant, RunLocked, NotLeased)
"""The refusals after which no further heartbeat of the attempt is accepted."""


@dataclass(frozen=True)
class Beat:
    """A heartbeat that the server acknowledged. The lease lasts until ``sent_at`` + ``lease_s`` at least."""

    sent_at: float
    """When the request was begun, by `boottime`."""
    lease_s: int
    cancel_by: datetime | None


class Beats:
    """Renews a lease about each quarter of it, until it is stopped or the server refuses.

    The thread has connections of its own and a short time-out, so that no other request delays a heartbeat. After a
    failure it tries again soon. ``renewed`` and ``refused`` are called in the thread and must neither raise nor block.
    ``refused`` is called at most once, with one of `LEASE_IS_OVER`; no heartbeat follows. Any other failure is no
    refusal: the caller counts from the last `Beat`.
    """

    def __init__(
        self,
        client: GyozaClient,
        run_id: str,
        attempt: int,
        worker_id: str,
        lease_s: int,
        *,
        renewed: Callable[[Beat], None],
        refused: Callable[[ApiError], None],
    ) -> None:
        self._timeout_s = min(max(lease_s / 15, 1.0), 10.0)
        self._client = own_connections(client, Limits(self._timeout_s, self._timeout_s, max_retries=0))
        self._run_id = run_id
        self._attempt = attempt
        self._worker_id = worker_id
        self._lease_s = lease_s
        self._renewed = renewed
        self._refused = refused
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._renew, name=f"gyoza-beats-{run_id}", daemon=True)

    def start(self) -> None:
        """Begin, once. The first heartbeat is sent after about a quarter of the lease."""
        self._thread.start()

    def stop(self) -> None:
        """Send no further heartbeat. It waits for one that is under way, no longer than its time-out."""
        self._stopped.set()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(self._timeout_s)

    def _renew(self) -> None:
        failures = 0
        with self._client:
            while self._waited(_pause_s(self._lease_s, failures)):
                sent_at = boottime()
                try:
                    heartbeat = self._client.heartbeat(self._run_id, self._attempt, self._worker_id)
                except LEASE_IS_OVER as refusal:
                    if not self._stopped.is_set():
                        self._refused(refusal)
                    return
                except GyozaError:
                    failures += 1
                else:
                    failures = 0
                    self._acknowledged(sent_at, heartbeat)

    def _acknowledged(self, sent_at: float, heartbeat: Heartbeat) -> None:
        self._lease_s = heartbeat.lease_s
        self._renewed(Beat(sent_at, heartbeat.lease_s, heartbeat.cancel_by))

    def _waited(self, seconds: float) -> bool:
        """Wait, and return whether the thread is to go on."""
        end = boottime() + seconds
        while (left := end - boottime()) > 0:
            if self._stopped.wait(min(left, SLICE_S)):
                return False
        return not self._stopped.is_set()


def _pause_s(lease_s: int, failures: int) -> float:
    """The pause before the next heartbeat, of which up to a fifth is left out at random."""
    if failures == 0:
        longest = lease_s / 4
    else:
        longest = min(max(lease_s / 30, 0.25) * 2.0 ** min(failures - 1, 4), lease_s / 10, 10.0)
    return longest * random.uniform(0.8, 1.0)  # noqa: S311 - it spreads requests and guards nothing

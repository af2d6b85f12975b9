"""Asks for runs, one claim after another."""

import logging
import math
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from gyoza_client._errors import (
    GyozaError,
    NoAnswer,
    RateLimited,
    RunExpired,
    ServerError,
    StaleAttempt,
    UnexpectedAnswer,
)
from gyoza_client._lease.boottime import boottime
from gyoza_client._lease.stop import Stop
from gyoza_client._models import EventType, Run
from gyoza_client._sync import Driver, GyozaClient, core_of

log = logging.getLogger("gyoza_client")

_TIMEOUT_S: Final = 10.0
"""The longest wait for an answer: a worker that is told to stop has little time."""
_LAST_TRIES_S: Final = 5.0
"""A claim without an answer is repeated for this long after a stop, so that its run can be given back."""
_LONGEST_PAUSE_S: Final = 30.0


@dataclass(frozen=True)
class Claim:
    """A run that is ASSIGNED to a worker. The lease lasts until ``sent_at`` + ``lease_s`` at least."""

    run: Run
    worker_id: str
    sent_at: float
    """When the first request was begun, by `boottime`."""
    lease_s: int


class Stopped(Exception):
    """The worker stopped while a claim was without an answer."""


class Claims:
    """Asks until a run is given, pausing as the server says. Threads may share it."""

    def __init__(
        self,
        client: GyozaClient,
        stop: Stop,
        *,
        queues: Sequence[str] | None,
        capacity: Mapping[str, Any] | None,
        lease_s: int,
        idle_s: float | None,
    ) -> None:
        core = core_of(client)
        limits = replace(core.limits, timeout=min(core.limits.timeout, _TIMEOUT_S))
        self._operations = core.limited(limits).operations
        self._last_operations = core.limited(replace(limits, call_timeout=_LAST_TRIES_S)).operations
        self._transport = core.driver.transport
        self._stop = stop
        self._queues = queues
        self._capacity = capacity
        self._lease_s = lease_s
        self._idle_s = math.inf if idle_s is None else idle_s

    def next(self, worker_id: str) -> Claim | None:
        """The next run; None after the stop, or if nothing was found for ``idle_s`` seconds.

        It outlasts a server that does not answer. Raises ApiError if the server refuses the claim itself.
        """
        end, failures = boottime() + self._idle_s, 0
        while not self._stop.is_set:
            try:
                claim = self._ask(worker_id)
            except Stopped:
                return None
            except (StaleAttempt, RunExpired):  # The claim had got a run, and has lost it meanwhile.
                pause = 0.0
            except (NoAnswer, UnexpectedAnswer, ServerError, RateLimited) as failure:
                failures += 1
                pause = random.uniform(0.5, 1.0) * min(2.0**failures, _LONGEST_PAUSE_S)  # noqa: S311
                log.warning("A claim failed, the next follows in %.1f s: %s", pause, failure)
            else:
                if isinstance(claim, Claim):
                    return self._unless_stopped(claim)
                failures, pause = 0, claim + random.uniform(0.0, 0.5)  # noqa: S311
            left = end - boottime()
            if left <= 0:
                return None
            self._stop.wait(min(pause, left))
        return None

    def _ask(self, worker_id: str) -> Claim | float:
        sent_at = boottime()
        found = Driver(self._transport, self._sleep).run(
            self._operations.claim_once(worker_id, queues=self._queues, capacity=self._capacity, lease_s=self._lease_s)
        )
        if isinstance(found, Run):
            return Claim(found, worker_id, sent_at, found.lease_s or self._lease_s)
        return found

    def _sleep(self, seconds: float) -> None:
        """The pause between a claim and its repeat. Raises Stopped."""
        if self._stop.wait(seconds):
            if self._stop.age_s > _LAST_TRIES_S:
                raise Stopped
            time.sleep(min(seconds, 0.5))

    def _unless_stopped(self, claim: Claim) -> Claim | None:
        if not self._stop.is_set:
            return claim
        self.give_back(claim)
        return None

    def give_back(self, claim: Claim) -> None:
        """Return a run that was not begun to its queue, which costs it nothing. If that fails, its lease runs out."""
        try:
            Driver(self._transport).run(
                self._last_operations.report_event(claim.run, EventType.RETRIED, attempt=claim.run.current_attempt)
            )
        except GyozaError as failure:
            log.warning("Run %s was not given back, its lease will run out: %s", claim.run.id, failure)

"""Tells the API STARTED, PROGRESS and the end, one request after the other, in a thread."""

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Final
from uuid import uuid4

from gyoza_client._errors import (
    ERRORS_BY_CODE,
    ApiError,
    BadRequest,
    Conflict,
    GyozaError,
    InvalidTransition,
    NotYet,
    RunBusy,
    RunExpired,
    RunNotFound,
    TooLarge,
    ValidationFailed,
)
from gyoza_client._exec.ending import End, MakeEnd
from gyoza_client._lease.beats import LEASE_IS_OVER
from gyoza_client._lease.boottime import boottime
from gyoza_client._models import EventType, Run, RunMinimal, State
from gyoza_client._sync import GyozaClient

_BEAT_TIME_S: Final = 5.0
_PROGRESS_TIME_S: Final = 3.0
"""The end waits for the answer to progress: not longer than this, repeats included."""
_FIRST_PAUSE_S: Final = 0.25
_LONGEST_PAUSE_S: Final = 5.0

_OVER: Final = (*LEASE_IS_OVER, InvalidTransition, NotYet, RunExpired)
"""The refusals of an event that say that the attempt has ended or is another's."""


@dataclass(frozen=True)
class Started:
    """The attempt is RUNNING, and this process is its worker."""

    run: Run
    sent_at: float
    """The lease counts from this instant, by `boottime`: the request for it was begun then."""
    lease_s: int


@dataclass(frozen=True)
class StartRefused:
    """The attempt is another worker's, or has ended."""

    why: str


@dataclass(frozen=True)
class StartUnknown:
    """Nobody knows whether the attempt has begun."""

    why: str


StartAnswer = Started | StartRefused | StartUnknown


class Reporter:
    """Sends in the order of the calls. Each result goes to a function, which is called in the thread."""

    def __init__(
        self,
        client: GyozaClient,
        run_id: str,
        attempt: int,
        worker_id: str,
        lease_s: int,
        *,
        broke: Callable[[BaseException], None],
    ) -> None:
        timeout = min(max(lease_s / 5, 2.0), 30.0)
        self._client = client.with_options(timeout=timeout)
        # An end has repeats of its own: those of a call pause for up to eight seconds, which a short lease has not.
        self._single = client.with_options(timeout=timeout, max_retries=0)
        self._longest_pause_s = min(lease_s / 10, _LONGEST_PAUSE_S)
        self._for_beats = client.with_options(timeout=min(timeout, _BEAT_TIME_S), call_timeout=_BEAT_TIME_S)
        self._for_progress = client.with_options(timeout=min(timeout, _PROGRESS_TIME_S), call_timeout=_PROGRESS_TIME_S)
        self._run_id = run_id
        self._attempt = attempt
        self._worker_id = worker_id
        self._lease_s = lease_s
        self._broke = broke
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        threading.Thread(target=self._work, name="reports", daemon=True).start()

    def start(self, begun: Callable[[StartAnswer], None]) -> None:
        self._calls.put(lambda: begun(self._start()))

    def progress(self, percent: int, not_before: float, sent: Callable[[RunMinimal | None], None]) -> None:
        """Reports progress at an instant by `boottime`, and tries for `_PROGRESS_TIME_S` only.

        The result is None if it did not arrive.
        """
        self._calls.put(lambda: sent(self._progress(percent, not_before)))

    def end(self, ends: Sequence[MakeEnd], reported: Callable[[End | ApiError], None]) -> None:
        """Reports the first of the ends that the API takes. Each is sent until it is answered.

        The result is the end that was taken, or the refusal of the last.
        """
        self._calls.put(lambda: reported(self._end(ends)))

    def _work(self) -> None:
        try:
            while True:
                self._calls.get()()
        except BaseException as problem:  # noqa: BLE001 - the main thread must not wait for a report that never comes
            self._broke(problem)

    def _start(self) -> StartAnswer:
        payload = {"worker_id": self._worker_id, "lease_s": self._lease_s}
        sent_at = boottime()
        try:
            run = self._client.add_event(self._run_id, EventType.STARTED, None, payload, attempt=self._attempt)
        except ApiError as refusal:
            is_final = isinstance(refusal, BadRequest | RunNotFound | Conflict) and not isinstance(refusal, RunBusy)
            return (StartRefused if is_final and _is_the_apis(refusal) else StartUnknown)(str(refusal))
        except GyozaError as problem:
            return StartUnknown(str(problem))
        owner = run.execution_summary.worker_id
        if (run.state, run.current_attempt, owner) != (State.RUNNING, self._attempt, self._worker_id):
            return StartRefused(f"the run is {run.state}, attempt {run.current_attempt}, of the worker {owner!r}")
        lease_s = run.lease_s or self._lease_s
        if boottime() - sent_at < lease_s / 3:
            return Started(run, sent_at, lease_s)
        return self._renew(run)

    def _renew(self, run: Run) -> StartAnswer:
        """Renews an old lease: the command does not begin on the rest of it."""
        sent_at = boottime()
        try:
            heartbeat = self._for_beats.heartbeat(self._run_id, self._attempt, self._worker_id)
        except LEASE_IS_OVER as refusal:
            return StartRefused(str(refusal))
        except GyozaError as problem:
            return StartUnknown(str(problem))
        return Started(run, sent_at, heartbeat.lease_s)

    def _progress(self, percent: int, not_before: float) -> RunMinimal | None:
        time.sleep(max(not_before - boottime(), 0.0))
        try:
            return self._for_progress.report_event(self._run_id, EventType.PROGRESS, percent, attempt=self._attempt)
        except GyozaError:
            return None

    def _end(self, ends: Sequence[MakeEnd]) -> End | ApiError:
        [make_first, *others] = ends
        answer = self._send_until_answered(make_first(""))
        for make_next in others:
            if isinstance(answer, (End, *_OVER)):
                break
            answer = self._send_until_answered(make_next(str(answer)))
        return answer

    def _send_until_answered(self, end: End) -> End | ApiError:
        """Returns the end, or the refusal that no repeat changes."""
        key, pause = str(uuid4()), _FIRST_PAUSE_S
        while True:
            try:
                self._single.report_event(
                    self._run_id, end.type, None, end.payload, attempt=self._attempt, idempotency_key=key
                )
            except GyozaError as problem:
                if isinstance(problem, TooLarge):
                    return problem
                if isinstance(problem, (*_OVER, BadRequest, ValidationFailed)) and _is_the_apis(problem):
                    return problem
                time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - it spreads requests and guards nothing
                pause = min(pause * 2, self._longest_pause_s)
            else:
                return end


def _is_the_apis(refusal: ApiError) -> bool:
    """Whether it has a code of the API. Whatever stands before the API knows nothing of the run."""
    return refusal.code in ERRORS_BY_CODE

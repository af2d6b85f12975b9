"""A run that this process has, from its start to its end."""

import logging
import random
import re
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from uuid import uuid4

from gyoza_client._errors import (
    ApiError,
    GyozaError,
    InvalidTransition,
    JobCancelled,
    LeaseLost,
    NoAnswer,
    RateLimited,
    RunBusy,
    ServerError,
    UnexpectedAnswer,
)
from gyoza_client._lease.beats import LEASE_IS_OVER, Beat, Beats
from gyoza_client._lease.boottime import boottime
from gyoza_client._lease.claims import Claim
from gyoza_client._models import EventType, Run, RunMinimal, State
from gyoza_client._operations import Operations
from gyoza_client._steps import Operation
from gyoza_client._sync import GyozaClient, core_of
from gyoza_client._work.progress import Progress

T = TypeVar("T")
Json = Mapping[str, Any]

log = logging.getLogger("gyoza_client")

_RUN_IS_GONE: Final = (*LEASE_IS_OVER, InvalidTransition)
_MAY_COME_YET: Final = (NoAnswer, UnexpectedAnswer, ServerError, RateLimited, RunBusy)

_TIMEOUT_S: Final = 10.0
_REPORT_S: Final = 20.0
"""The longest time of a report that is not the end, and the shortest of one that is."""

_MESSAGE_CHARACTERS: Final = 1_500
_TRACEBACK_CHARACTERS: Final = 2_400
"""Both together, at 4 bytes each, stay below the 16 KiB of a payload."""


class Job:
    """A run that this worker has. ``with job:`` is the work on it; leaving the block ends the run.

    The run ends COMPLETED by `complete`, or without outputs if the block is left without it; FAILED by an exception,
    which is logged and goes no further; FAILED with the reason ``interrupted`` by KeyboardInterrupt and SystemExit,
    which go on; CANCELLED by JobCancelled, or if the block is left after it has seen that a cancel was requested.

    A thread renews the lease. If it is lost, each call raises LeaseLost and nothing more is reported; the computation
    itself is not stopped, since no thread of Python can stop another.
    """

    def __init__(self, client: GyozaClient, claim: Claim) -> None:
        self.run: Final[Run] = claim.run
        """The run as it was claimed."""
        self.attempt: Final = claim.run.current_attempt
        self.worker_id: Final = claim.worker_id
        self._core = core_of(client)
        self._lock = threading.Lock()
        self._held_until = claim.sent_at + claim.lease_s
        self._lost: LeaseLost | None = None
        self._cancel_by: datetime | None = None
        self._cancel_was_seen = False
        self._was_entered = False
        self._is_ending = False
        self._is_over = False
        self._beats = Beats(
            client,
            claim.run.id,
            self.attempt,
            claim.worker_id,
            claim.lease_s,
            renewed=self._renewed,
            refused=self._beat_refused,
        )
        self._progress = Progress(self._send_progress, f"gyoza-progress-{claim.run.id}")

    @property
    def inputs(self) -> Json:
        return self.run.inputs

    @property
    def cancel_requested(self) -> bool:
        """Whether somebody asked for the run to be cancelled. A block that is left after it was True ends CANCELLED."""
        self._cancel_was_seen = self._cancel_was_seen or self._cancel_by is not None
        return self._cancel_by is not None

    @property
    def cancel_by(self) -> datetime | None:
        """The instant at which the server cancels the run by itself, if a cancel was requested."""
        return self._cancel_by

    @property
    def holds_lease(self) -> bool:
        """Whether no other worker can have the run: the lease is counted from the last request that was acknowledged.

        False is no end: the run may still be this worker's. Look before an effect that two workers must not have.
        """
        return self._lost is None and boottime() < self._held_until

    def check(self) -> None:
        """Raise JobCancelled if a cancel was requested, and LeaseLost if the run is no longer this worker's."""
        self._check_open()
        if self.cancel_requested:
            raise JobCancelled(self.run)

    def progress(self, percent: float) -> None:
        """Report the progress, 0 to 100. Raises as `check`.

        It waits for no request: a thread sends the newest value, at most one a second.
        """
        self.check()
        self._progress.put(min(max(int(percent), 0), 100))

    def info(self, msg: str | int, payload: Json | None = None) -> None:
        """Append an INFO event to the run's timeline. Raises as `check`."""
        self._tell(EventType.INFO, msg, payload)

    def error(self, msg: str | int, payload: Json | None = None) -> None:
        """Append an ERROR event to the run's timeline; the run goes on. Raises as `check`."""
        self._tell(EventType.ERROR, msg, payload)

    def complete(self, outputs: Json | None = None) -> None:
        """End the run as COMPLETED. It does so also if a cancel was requested.

        It returns once the end was acknowledged, and repeats the request while the lease lasts. Raises LeaseLost, and
        ApiError or TypeError for outputs that the API does not take; the job then still goes on.
        """
        self._check_open()
        self._end(EventType.COMPLETED, {"outputs": dict(outputs or {})})

    def __enter__(self) -> Self:
        if self._was_entered:
            raise RuntimeError("A job is begun once")
        self._was_entered = True
        self._beats.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        try:
            self._leave(error)
        finally:
            self._close()
        return isinstance(error, Exception)

    def __repr__(self) -> str:
        return f"Job({self.run.id!r}, attempt={self.attempt})"

    def _start(self) -> bool:
        """Post STARTED. Returns whether the run is this worker's to begin; if not, it is over."""
        sent_at = boottime()
        started = EventType.STARTED, None, {"worker_id": self.worker_id}
        try:
            answer = self._call(
                lambda operations: operations.report_event(self.run, *started, attempt=self.attempt),
                call_timeout_s=self._held_until - sent_at,
            )
        except _RUN_IS_GONE + _MAY_COME_YET as failure:
            log.warning("Attempt %d of run %s was not begun: %s", self.attempt, self.run.id, failure)
            self._is_over = True
            return False
        self._acknowledged(sent_at, answer)
        if (answer.state, answer.current_attempt) != (State.RUNNING, self.attempt):
            self._is_over = True
        elif self._cancel_by is not None:
            self._leave(JobCancelled(self.run))
            self._is_over = True
        else:
            log.info("Attempt %d of run %s has begun", self.attempt, self.run.id)
        return not self._is_over

    def _abandon(self) -> None:
        """End the run, whose block was never begun or never left."""
        try:
            if not self._is_over:
                self._leave(GeneratorExit())
        finally:
            self._close()

    def _close(self) -> None:
        self._is_over = True
        self._progress.close()
        self._beats.stop()

    def _leave(self, error: BaseException | None) -> None:
        name = f"attempt {self.attempt} of run {self.run.id}"
        if isinstance(error, Exception) and not isinstance(error, JobCancelled | LeaseLost):
            after_end = " after its end" if self._is_over else ""
            log.error("An exception left %s%s", name, after_end, exc_info=error)
        if self._is_over:
            return
        if self._lost is not None:
            log.warning("Nothing more is reported: %s", self._lost)
            return
        type_, payload = self._ending(error)
        try:
            self._end(type_, payload)
        except GyozaError as failure:
            log.warning("The end of %s, %s, was not acknowledged: %s", name, type_, failure)

    def _ending(self, error: BaseException | None) -> tuple[EventType, Json | None]:
        if isinstance(error, JobCancelled) or (error is None and self._cancel_was_seen):
            return EventType.CANCELLED, None
        if error is None:
            return EventType.COMPLETED, {"outputs": {}}
        if isinstance(error, Exception):
            return EventType.FAILED, _failure(error)
        gave_up = isinstance(error, GeneratorExit)
        message = "The worker gave the job up" if gave_up else f"Interrupted by {type(error).__name__}"
        return EventType.FAILED, {"error_message": message, "reason": "interrupted"}

    def _end(self, type_: EventType, payload: Json | None) -> None:
        """Report the end until it is acknowledged, while the lease lasts. Raises LeaseLost or what the API refuses."""
        key = str(uuid4())
        self._is_ending = True
        try:
            self._progress.settle(flush=type_ != EventType.COMPLETED)
            while not self._is_over:
                try:
                    self._call(
                        lambda operations: operations.report_event(
                            self.run, type_, payload=payload, attempt=self.attempt, idempotency_key=key
                        ),
                        call_timeout_s=max(self._held_until - boottime(), _REPORT_S),
                    )
                    self._is_over = True
                    log.info("Attempt %d of run %s is %s", self.attempt, self.run.id, type_)
                except _RUN_IS_GONE as refusal:
                    raise self._lose(str(refusal)) from refusal
                except _MAY_COME_YET as failure:
                    if boottime() >= self._held_until:
                        raise self._lose(f"its end got no answer while the lease lasted: {failure}") from failure
                    time.sleep(random.uniform(0.5, 1.5))  # noqa: S311
        finally:
            self._is_ending = False

    def _tell(self, type_: EventType, msg: str | int, payload: Json | None) -> None:
        self.check()
        sent_at = boottime()
        try:
            answer = self._call(
                lambda operations: operations.report_event(self.run, type_, msg, payload, attempt=self.attempt),
                call_timeout_s=_REPORT_S,
            )
        except _RUN_IS_GONE as refusal:
            raise self._lose(str(refusal)) from refusal
        except _MAY_COME_YET as failure:
            log.warning("%s of run %s was not acknowledged: %s", type_, self.run.id, failure)
        else:
            self._acknowledged(sent_at, answer)

    def _send_progress(self, percent: int) -> None:
        sent_at = boottime()
        try:
            answer = self._call(
                lambda operations: operations.report_event(self.run, EventType.PROGRESS, percent, attempt=self.attempt),
                call_timeout_s=_REPORT_S,
            )
        except _RUN_IS_GONE as refusal:
            self._beat_refused(refusal)
        except GyozaError as failure:
            log.warning("The progress of run %s was not acknowledged: %s", self.run.id, failure)
        else:
            self._acknowledged(sent_at, answer)

    def _call(self, operation: Callable[[Operations], Operation[T]], *, call_timeout_s: float) -> T:
        limits = self._core.limits
        timeout_s = min(limits.timeout, _TIMEOUT_S)
        limits = replace(limits, timeout=timeout_s, call_timeout=max(call_timeout_s, 1.0))
        return self._core.driver.run(operation(self._core.limited(limits).operations))

    def _check_open(self) -> None:
        if not self._was_entered:
            raise RuntimeError("A job's calls are made inside `with job:`")
        if self._lost is not None:
            raise LeaseLost(self.run, self._lost.reason)
        if self._is_over:
            raise RuntimeError("The job has ended")

    def _acknowledged(self, sent_at: float, answer: RunMinimal) -> None:
        if answer.lease_s is not None:
            self._renewed(Beat(sent_at, answer.lease_s, answer.cancel_by))

    def _renewed(self, beat: Beat) -> None:
        with self._lock:
            self._held_until = max(self._held_until, beat.sent_at + beat.lease_s)
            self._cancel_by = beat.cancel_by or self._cancel_by

    def _beat_refused(self, refusal: ApiError) -> None:
        # While the end is being reported, the refusal may be its effect. The answer to the end decides.
        if not self._is_ending and not self._is_over:
            self._lose(str(refusal))

    def _lose(self, reason: str) -> LeaseLost:
        self._lost = self._lost or LeaseLost(self.run, reason)
        return self._lost


def _failure(error: Exception) -> dict[str, str]:
    """The payload of FAILED: what the API shows as ``error_message``, and the end of the traceback beside it."""
    message = _plain("".join(traceback.format_exception_only(error)).strip())
    trace = _plain("".join(traceback.format_exception(error)).rstrip())
    return {"error_message": message[:_MESSAGE_CHARACTERS], "traceback": trace[-_TRACEBACK_CHARACTERS:]}


def _plain(text: str) -> str:
    """The text as the API takes it: without control characters, and with a mark for half a surrogate pair."""
    return re.sub(r"[^\n\t\x20-\x7e\xa0-\U0010ffff]", "", text.encode(errors="replace").decode())

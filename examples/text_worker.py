"""A worker of gyoza runs: claims runs from its queue, does their work and reports it, over HTTP alone.

It needs Python's standard library and two facts, the API's URL and a key:

    GYOZA_URL=https://... GYOZA_API_KEY=... python examples/text_worker.py

A claim takes whatever its queue holds, so this work has a queue of its own: create its runs with ``queue``
``text-statistics``. Their image is ``example/text-statistics:1``. Inputs: ``documents``, an object of name to text, and
optionally ``fail_attempts``, numbers of attempts that shall fail, to watch a retry. Outputs: for each document its
number of lines and words, its most frequent words and its SHA-256.

Any number of workers may run at once. A claim gives a run to one of them, with a lease. A thread renews the lease until
the end of the run was acknowledged. If the worker dies, the lease runs out, and the run is given to another worker.
Each request names the attempt that the claim began, so that a worker that was taken for dead cannot write into its
successor's attempt. Claims and events have an Idempotency-Key each, and are sent until they are answered.

SIGTERM and SIGINT end the worker: a run that it has not started goes back to PENDING, a started one fails as
``interrupted``. The requests for that are tried for 20 seconds, as ECS and Batch kill a container 30 seconds after
SIGTERM.
"""

import hashlib
import http.client
import json
import os
import random
import re
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any

IMAGE = "example/text-statistics:1"
QUEUE = "text-statistics"
CAPACITY = {"vram_mb": 0}
"""The hardware that this worker offers: no GPU, and cores and memory for any run."""

_BEATS_A_LEASE = 3
"""The heartbeats in the length of a lease."""
_TRIES_A_LEASE = 10
"""The heartbeats in the length of a lease while none is answered."""
_REQUEST_LIMIT_S = 10.0
_FIRST_PAUSE_S = 0.5
_MAX_PAUSE_S = 30.0
_STOPPING_LIMIT_S = 20.0
_MOST_FREQUENT = 5
_RUN_LOST = frozenset({400, 404, 409, 410})
_CLAIM_LOST = frozenset({409, 410})
"""Statuses that say that a run is not, or no longer, this worker's."""

Json = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """An answer of the API. The status is 0 if no whole answer came; the request may have taken effect all the same."""

    status: int = 0
    body: Json = field(default_factory=dict)
    retry_after_s: float = 0.0

    @property
    def is_temporary(self) -> bool:
        """True if the request should be sent again."""
        return self.status in (0, 429) or self.status >= 500 or self.body.get("code") == "run_busy"


class Refused(Exception):
    """The API refuses the request for good."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"refused ({answer.status}): {answer.body.get('detail', 'no detail')}")
        self.status = answer.status


class CancelAsked(Exception):
    """The worker was asked to stop its work on the run."""


class Stopped(Exception):
    """The worker was told to stop."""


class Stop:
    """Tells whether the worker was told to stop, and ends the main thread's pauses early.

    A signal is handled in the main thread, between any two of its steps. A SimpleQueue is safe there; an Event is not.
    """

    def __init__(self) -> None:
        self.asked_at: float | None = None
        self._wakes: SimpleQueue[None] = SimpleQueue()

    def ask(self, _signum: int = signal.SIGTERM, _frame: FrameType | None = None) -> None:
        """Handle a signal."""
        if self.asked_at is None:
            self.asked_at = time.monotonic()
            self.end_pause()

    def end_pause(self) -> None:
        self._wakes.put(None)

    def pause(self, seconds: float) -> None:
        """Wait so long at most, and not at all after the stop."""
        if self.asked_at is None:
            with suppress(Empty):
                self._wakes.get(timeout=seconds)


class Run:
    """A run that this worker has claimed.

    ``attempt`` is the one that the answer to the claim named. It never changes: a later answer may name another
    worker's attempt.
    """

    def __init__(self, claimed: Json, worker_id: str, stop: Stop) -> None:
        self.id: str = claimed["id"]
        self.attempt: int = claimed["current_attempt"]
        self.image: str = claimed["image"]
        self.inputs: Json = claimed["inputs"]
        self.lease_s: float = claimed["lease_s"]
        self.worker_id = worker_id
        self._stop = stop
        self._is_cancel_asked = False
        self._lost: Refused | None = None

    def lose(self, refusal: Refused) -> None:
        """Let the work end, because the run is another worker's or nobody's."""
        self._lost = refusal
        self._stop.end_pause()

    def look_for_cancel(self, answer: Answer) -> None:
        """Let the work end if the answer shows that somebody asks for it."""
        if answer.body.get("cancel_by") is not None and not self._is_cancel_asked:
            self._is_cancel_asked = True
            self._stop.end_pause()

    def pause(self, seconds: float = 0) -> None:
        """Wait, or end the work at once. The work calls it often. Raises Refused, CancelAsked or Stopped."""
        self._stop.pause(seconds)
        if self._lost is not None:
            raise self._lost
        if self._is_cancel_asked:
            raise CancelAsked
        if self._stop.asked_at is not None:
            raise Stopped("The worker was told to stop")


def _growing_pauses() -> Iterator[float]:
    """Yield pauses in seconds without end. Each is about twice the last, up to 30. Jitter keeps workers out of step."""
    pause_s = _FIRST_PAUSE_S
    while True:
        yield pause_s * random.uniform(0.75, 1.25)  # noqa: S311 - no secret depends on it
        pause_s = min(2 * pause_s, _MAX_PAUSE_S)


class GyozaApi:
    """The three requests of a worker.

    A claim or an event is sent again, under the same Idempotency-Key, if no whole answer came, after 5xx and 429, and
    after a 409 that says that the run was busy. It raises Refused after any other error, and Stopped if it is not
    answered 20 seconds after the worker was told to stop.
    """

    def __init__(self, url: str, api_key: str, stop: Stop | None = None) -> None:
        self.stop = stop or Stop()
        self._url = url.rstrip("/")
        self._headers = {"X-API-Key": api_key, "Content-Type": "application/json"}

    def claim(self, worker_id: str, lease_s: int) -> Answer:
        """200 with a run for this worker, or 204 if there is none."""
        body = {"worker_id": worker_id, "queues": [QUEUE], "capacity": CAPACITY, "lease_s": lease_s}
        return self._answered("/runs/claim", body, {})

    def report(self, run: Run, event_type: str, msg: str | int = "", payload: Json | None = None) -> None:
        """Append an event to the attempt that this worker holds, which also renews the lease."""
        event = {"type": event_type, "msg": msg, "payload": payload or {}, "attempt": run.attempt}
        run.look_for_cancel(self._answered(f"/runs/{run.id}/events", event, {"Prefer": "return=minimal"}))

    def heartbeat(self, run: Run) -> Answer:
        """Renew the lease. The request is sent once, and given up when the next one is due."""
        body = {"attempt": run.attempt, "worker_id": run.worker_id}
        limit_s = min(_REQUEST_LIMIT_S, run.lease_s / _BEATS_A_LEASE)
        return self._answer(f"/runs/{run.id}/heartbeat", body, {}, limit_s)

    def _answered(self, path: str, body: Json, headers: dict[str, str]) -> Answer:
        headers = {"Idempotency-Key": str(uuid.uuid4()), **headers}
        for pause_s in _growing_pauses():
            answer = self._answer(path, body, headers, _REQUEST_LIMIT_S)
            if not answer.is_temporary:
                break
            self._pause(max(pause_s, answer.retry_after_s))
        if answer.status >= 400:
            raise Refused(answer)
        return answer

    def _answer(self, path: str, body: Json, headers: dict[str, str], limit_s: float) -> Answer:
        request = urllib.request.Request(self._url + path, json.dumps(body).encode(), self._headers | headers)
        try:
            with urllib.request.urlopen(request, timeout=limit_s) as response:
                return _parsed(response)
        except urllib.error.HTTPError as error:
            with error:
                return _parsed(error)
        except (OSError, http.client.HTTPException, ValueError):
            return Answer()

    def _pause(self, seconds: float) -> None:
        if self.stop.asked_at is None:
            self.stop.pause(seconds)
            return
        left_s = self.stop.asked_at + _STOPPING_LIMIT_S - time.monotonic()
        if left_s <= 0:
            raise Stopped("The worker was told to stop, and the API does not answer")
        time.sleep(min(seconds, left_s))


def _parsed(response: Any) -> Answer:
    """The answer; one without a status if its body was cut off."""
    retry_after = response.headers.get("Retry-After", "")
    retry_after_s = float(retry_after) if retry_after.isdecimal() else 0.0
    try:
        text = response.read()
        body = json.loads(text) if text else {}
    except (OSError, http.client.HTTPException):
        return Answer()
    except ValueError:
        # Something between the API and the worker answers errors in its own words.
        return Answer(response.status, {}, retry_after_s) if response.status >= 400 else Answer()
    return Answer(response.status, body, retry_after_s)


@contextmanager
def _beating(api: GyozaApi, run: Run) -> Iterator[None]:
    """Renew the lease, in a thread of its own, until the block ends."""
    is_over = threading.Event()
    threading.Thread(target=_beat, args=(api, run, is_over), daemon=True).start()
    try:
        yield
    finally:
        is_over.set()


def _beat(api: GyozaApi, run: Run, is_over: threading.Event) -> None:
    wait_s = run.lease_s / _BEATS_A_LEASE
    while not is_over.wait(wait_s):
        answer = api.heartbeat(run)
        if answer.is_temporary:
            wait_s = max(run.lease_s / _TRIES_A_LEASE, answer.retry_after_s)
        elif answer.status >= 400:
            run.lose(Refused(answer))
            return
        else:
            run.look_for_cancel(answer)
            wait_s = run.lease_s / _BEATS_A_LEASE


def work(api: GyozaApi, run: Run, pace_s: float) -> None:
    """See the claimed attempt to its end. Raises Refused if the run was taken away."""
    with _beating(api, run):
        if api.stop.asked_at is not None:
            api.report(run, "RETRIED", "The worker stops")
            return
        api.report(run, "STARTED", payload={"worker_id": run.worker_id})
        try:
            outputs = _outputs(api, run, pace_s)
            api.report(run, "COMPLETED", payload={"outputs": outputs})
        except CancelAsked:
            api.report(run, "CANCELLED", "The work has stopped")
        except Stopped as reason:
            api.report(run, "FAILED", payload={"reason": "interrupted", "error_message": str(reason)})
        except Exception as error:  # Whatever went wrong, the run must not stay RUNNING.
            if isinstance(error, Refused) and error.status in _RUN_LOST:
                raise
            api.report(run, "FAILED", payload={"error_message": f"{type(error).__name__}: {error}"[:1000]})


def _outputs(api: GyozaApi, run: Run, pace_s: float) -> Json:
    if run.image != IMAGE:
        raise ValueError(f"this worker does the work of {IMAGE}, not of {run.image}")
    documents = run.inputs["documents"]
    api.report(run, "INFO", f"{len(documents)} documents to read")
    statistics = {}
    for count, (name, text) in enumerate(documents.items(), 1):
        run.pause(pace_s)
        statistics[name] = text_statistics(text)
        api.report(run, "PROGRESS", 100 * count // len(documents))
        if run.attempt in run.inputs.get("fail_attempts", ()):
            raise ValueError(f"attempt {run.attempt} shall fail")
    run.pause()
    return {"documents": statistics}


def text_statistics(text: str) -> Json:
    """The statistics of one document, in the form of the outputs."""
    words = re.findall(r"[\w']+", text.lower())
    return {
        "lines": len(text.splitlines()),
        "words": len(words),
        "most_frequent": Counter(words).most_common(_MOST_FREQUENT),
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
    }


def _claim_and_work(api: GyozaApi, worker_id: str, lease_s: int, pace_s: float) -> None:
    """Claim a run and see it to its end, or pause if there is none. Raises Refused if no claim is taken."""
    try:
        answer = api.claim(worker_id, lease_s)
    except Refused as refusal:
        if refusal.status not in _CLAIM_LOST:
            raise
        print(f"claimed too late, {refusal}", flush=True)
        return
    if answer.status == 204:
        api.stop.pause(answer.retry_after_s or _MAX_PAUSE_S)
        return
    run = Run(answer.body, worker_id, api.stop)
    print(f"has {run.id}, attempt {run.attempt}", flush=True)
    try:
        work(api, run, pace_s)
    except Refused as refusal:
        if refusal.status not in _RUN_LOST:
            raise
        print(f"lost {run.id}, attempt {run.attempt}, {refusal}", flush=True)


def main() -> None:
    """Work until SIGTERM or SIGINT.

    WORKER_LEASE_S is the length of the leases, 90 seconds unless set. WORKER_PACE_S seconds are spent on each document,
    for people to watch.
    """
    api = GyozaApi(os.environ["GYOZA_URL"], os.environ["GYOZA_API_KEY"])
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, api.stop.ask)
    worker_id = f"{socket.gethostname()}-{os.getpid()}"
    lease_s = int(os.environ.get("WORKER_LEASE_S", "90"))
    pace_s = float(os.environ.get("WORKER_PACE_S", "0"))
    try:
        while api.stop.asked_at is None:
            _claim_and_work(api, worker_id, lease_s, pace_s)
    except (Refused, Stopped) as reason:
        sys.exit(str(reason))


if __name__ == "__main__":
    main()

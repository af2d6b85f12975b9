"""A worker of gyoza runs: finds pending runs of its image, does their work and reports it, over HTTP alone.

It needs Python's standard library and two facts, the API's URL and a key:

    GYOZA_URL=https://... GYOZA_API_KEY=... python examples/text_worker.py

Inputs of its image, ``example/text-statistics:1``: ``documents``, an object of name to text, and optionally
``fail_attempts``, numbers of attempts that shall fail, to watch a retry. Outputs: for each document its number of lines
and words, its most frequent words and its SHA-256.

Any number of workers may run at once. Each event names the attempt it belongs to: once a run was retried, cancelled or
taken by another, the API refuses the event and the worker drops the run. Each event has an Idempotency-Key, and is sent
until it is answered, so that no outage of the API leaves a run behind.

SIGTERM and SIGINT end the worker: a run that it has not started goes back to PENDING, a started one fails. The events
for that are tried for 20 seconds, as ECS and Batch kill a container 30 seconds after SIGTERM.
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
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from types import FrameType
from typing import Any

IMAGE = "example/text-statistics:1"

_REQUEST_LIMIT_S = 10
_FIRST_PAUSE_S = 0.5
_MAX_PAUSE_S = 30.0
_STOPPING_LIMIT_S = 20.0
_LOST = frozenset({400, 404, 409, 410})
_MOST_FREQUENT = 5

Json = dict[str, Any]


class Refused(Exception):
    """The API refuses the request for good."""

    def __init__(self, status: int, detail: object) -> None:
        super().__init__(f"refused ({status}): {detail}")
        self.is_run_lost = status in _LOST


class Stopped(Exception):
    """The worker was told to stop."""


class _Woken(Exception):
    """Ends a pause early."""


class Stop:
    """Knows whether the worker was told to stop. The signal also ends a pause."""

    def __init__(self) -> None:
        self.asked_at: float | None = None
        self._is_pausing = False

    def ask(self, _signum: int = signal.SIGTERM, _frame: FrameType | None = None) -> None:
        """Tell the worker to stop. Call it in the main thread, where Python runs signal handlers."""
        if self.asked_at is None:
            self.asked_at = time.monotonic()
            if self._is_pausing:
                self._is_pausing = False
                raise _Woken

    def pause(self, seconds: float) -> None:
        """Pause for so many seconds, or until the worker is told to stop."""
        with suppress(_Woken):
            self._is_pausing = True
            if self.asked_at is None:
                time.sleep(seconds)
            self._is_pausing = False


def _growing_pauses() -> Iterator[float]:
    """Yield pauses in seconds without end. Each is about twice the last, up to 30. Jitter keeps workers out of step."""
    pause_s = _FIRST_PAUSE_S
    while True:
        yield pause_s * random.uniform(0.75, 1.25)  # noqa: S311 - no secret depends on it
        pause_s = min(2 * pause_s, _MAX_PAUSE_S)


class GyozaApi:
    """Makes the calls of a worker and sends each until it is answered.

    A call is sent again, with the same Idempotency-Key, if no whole answer came, after 5xx and 429, and after a 409
    with the code ``run_busy``. Any other error raises Refused. Once the worker was told to stop, an unanswered call
    raises Stopped: a GET at once, an event after 20 seconds.
    """

    def __init__(self, url: str, api_key: str, stop: Stop | None = None) -> None:
        self.stop = stop or Stop()
        self._url = url.rstrip("/")
        self._headers = {"X-API-Key": api_key, "Content-Type": "application/json"}

    def pending_runs(self, image: str) -> list[Json]:
        """The newest ten pending runs of an image, the most urgent first."""
        query = urllib.parse.urlencode({"state": "PENDING", "image": image})
        page = self._call("GET", f"/runs?{query}")
        return sorted(page["data"], key=lambda run: run["priority"], reverse=True)

    def report(self, run: Json, event_type: str, msg: str | int = "", payload: Json | None = None) -> None:
        """Append an event to the attempt that this worker took."""
        event = {"type": event_type, "msg": msg, "payload": payload or {}, "attempt": run["current_attempt"]}
        self._call("POST", f"/runs/{run['id']}/events", event)

    def _call(self, method: str, path: str, body: Json | None = None) -> Json:
        data = None if body is None else json.dumps(body).encode()
        headers = dict(self._headers)
        if method == "POST":
            headers |= {"Idempotency-Key": str(uuid.uuid4()), "Prefer": "return=minimal"}
        request = urllib.request.Request(self._url + path, data, headers, method=method)
        for pause_s in _growing_pauses():
            asked_s = 0.0
            try:
                with urllib.request.urlopen(request, timeout=_REQUEST_LIMIT_S) as response:
                    return _json(response.read())
            except urllib.error.HTTPError as error:
                asked_s = _wait_before_sending_again(error)
            except (OSError, http.client.HTTPException, ValueError):
                pass  # No answer, or a part of one. The key makes it safe to send the request again.
            self._pause(max(pause_s, asked_s), is_event=method == "POST")
        raise AssertionError("pauses have no end")

    def _pause(self, seconds: float, *, is_event: bool) -> None:
        if self.stop.asked_at is None:
            self.stop.pause(seconds)
            return
        left_s = self.stop.asked_at + _STOPPING_LIMIT_S - time.monotonic()
        if left_s <= 0 or not is_event:
            raise Stopped("The worker was told to stop, and the API does not answer")
        time.sleep(min(seconds, left_s))


def _json(text: bytes) -> Json:
    answer: Json = json.loads(text)
    return answer


def _wait_before_sending_again(error: urllib.error.HTTPError) -> float:
    """The seconds that the answer asks to wait; 0 if it names none. Raises Refused if sending again does not help."""
    with error:
        try:
            answer = _json(error.read())
        except (OSError, http.client.HTTPException, ValueError):
            answer = {}
    if error.code < 500 and error.code != 429 and answer.get("code") != "run_busy":
        raise Refused(error.code, answer.get("detail", error.reason)) from None
    retry_after = error.headers.get("Retry-After", "")
    return float(retry_after) if retry_after.isdecimal() else 0.0


def text_statistics(text: str) -> Json:
    """The statistics of one document, in the form of the outputs."""
    words = re.findall(r"[\w']+", text.lower())
    return {
        "lines": len(text.splitlines()),
        "words": len(words),
        "most_frequent": Counter(words).most_common(_MOST_FREQUENT),
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
    }


def work(api: GyozaApi, run: Json, worker_id: str, pace_s: float) -> None:
    """Take the run and work on its current attempt to the end. Raises Refused if it was taken, cancelled or retried."""
    api.report(run, "ASSIGNED", payload={"worker_id": worker_id})
    if api.stop.asked_at is not None:
        api.report(run, "RETRIED", "The worker stops")
        return
    api.report(run, "STARTED", payload={"worker_id": worker_id})
    try:
        outputs = _outputs(api, run, pace_s)
        api.report(run, "COMPLETED", payload={"outputs": outputs})
    except Exception as error:  # After any error the run must not stay RUNNING.
        if isinstance(error, Refused) and error.is_run_lost:
            raise
        api.report(run, "FAILED", payload={"error_message": f"{type(error).__name__}: {error}"[:1000]})


def _outputs(api: GyozaApi, run: Json, pace_s: float) -> Json:
    documents = run["inputs"]["documents"]
    api.report(run, "INFO", f"{len(documents)} documents to read")
    statistics = {}
    for count, (name, text) in enumerate(documents.items(), 1):
        api.stop.pause(pace_s)
        if api.stop.asked_at is not None:
            raise Stopped("The worker was told to stop")
        statistics[name] = text_statistics(text)
        api.report(run, "PROGRESS", 100 * count // len(documents))
        if run["current_attempt"] in run["inputs"].get("fail_attempts", ()):
            raise ValueError(f"attempt {run['current_attempt']} shall fail")
    return {"documents": statistics}


def _work_on_first(api: GyozaApi, runs: list[Json], worker_id: str, pace_s: float) -> bool:
    """Work on the first run that no other worker took. Returns False if there was none."""
    for run in runs:
        if api.stop.asked_at is not None:
            return False
        print(f"taking {run['id']}, attempt {run['current_attempt']}", flush=True)
        try:
            work(api, run, worker_id, pace_s)
        except Refused as refusal:
            print(refusal, flush=True)
        else:
            return True
    return False


def main() -> None:
    """Work until SIGTERM or SIGINT. WORKER_PACE_S is the pause before each document, so that people can watch."""
    api = GyozaApi(os.environ["GYOZA_URL"], os.environ["GYOZA_API_KEY"])
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, api.stop.ask)
    worker_id = f"{socket.gethostname()}-{os.getpid()}"
    pace_s = float(os.environ.get("WORKER_PACE_S", "0"))
    pauses = _growing_pauses()
    try:
        while api.stop.asked_at is None:
            if _work_on_first(api, api.pending_runs(IMAGE), worker_id, pace_s):
                pauses = _growing_pauses()
            else:
                api.stop.pause(next(pauses))
    except (Refused, Stopped) as reason:
        sys.exit(str(reason))


if __name__ == "__main__":
    main()

"""A worker of gyoza runs: finds pending runs of its image, does their work and reports it, over HTTP alone.

It needs Python's standard library and two facts, the API's URL and a key:

    GYOZA_URL=https://... GYOZA_API_KEY=... python examples/text_worker.py

Inputs of its image, ``example/text-statistics:1``: ``documents``, an object of name to text, and optionally
``fail_attempts``, numbers of attempts that shall fail, to watch a retry. Outputs: for each document its number of lines
and words, its most frequent words and its SHA-256.

Any number of workers may run at once. Each event names the attempt it belongs to: once a run was retried, cancelled or
taken by another, the API refuses the event and the worker drops the run. Each event has an Idempotency-Key, and is sent
again when its answer was lost. SIGTERM ends the worker.
"""

import hashlib
import json
import os
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
from http import HTTPStatus
from typing import Any

IMAGE = "example/text-statistics:1"

_POLL_INTERVAL_S = 0.5
_REQUEST_LIMIT_S = 30
_PAUSES_S = (0.2, 0.5, 1, 2)
_MOST_FREQUENT = 5

Json = dict[str, Any]


class RunLost(Exception):
    """The run is no longer this worker's to report on."""


class GyozaApi:
    """The few calls a worker makes. Over the usage plan, or when no answer came, a call waits and is sent again."""

    def __init__(self, url: str, api_key: str) -> None:
        self._url = url.rstrip("/")
        self._headers = {"X-API-Key": api_key, "Content-Type": "application/json"}

    def pending_runs(self, image: str) -> list[Json]:
        """Pending runs of an image: the newest ten, the most urgent first."""
        query = urllib.parse.urlencode({"state": "PENDING", "image": image})
        page = self._call("GET", f"/runs?{query}")
        return sorted(page["data"], key=lambda run: run["priority"], reverse=True)

    def report(self, run: Json, event_type: str, msg: str | int = "", payload: Json | None = None) -> None:
        """Append an event to the attempt this worker took; RunLost when the API refuses it."""
        event = {"type": event_type, "msg": msg, "payload": payload or {}, "attempt": run["current_attempt"]}
        try:
            self._call("POST", f"/runs/{run['id']}/events", event)
        except urllib.error.HTTPError as refusal:
            raise RunLost(f"{event_type} refused ({refusal.code}): {_detail(refusal)}") from None

    def _call(self, method: str, path: str, body: Json | None = None) -> Json:
        data = None if body is None else json.dumps(body).encode()
        headers = dict(self._headers)
        if method == "POST":
            headers |= {"Idempotency-Key": str(uuid.uuid4()), "Prefer": "return=minimal"}
        request = urllib.request.Request(self._url + path, data, headers, method=method)
        for pause_s in _PAUSES_S:
            try:
                return _send(request)
            except urllib.error.HTTPError as refusal:
                if refusal.code != HTTPStatus.TOO_MANY_REQUESTS and refusal.code < HTTPStatus.INTERNAL_SERVER_ERROR:
                    raise
            except OSError:
                pass  # The answer is lost; whether the request took effect is for the key to settle.
            time.sleep(pause_s)
        return _send(request)


def _send(request: urllib.request.Request) -> Json:
    with urllib.request.urlopen(request, timeout=_REQUEST_LIMIT_S) as response:
        answer: Json = json.load(response)
        return answer


def _detail(refusal: urllib.error.HTTPError) -> object:
    try:
        return json.load(refusal)["detail"]
    except (ValueError, KeyError, TypeError):
        return refusal.reason


def text_statistics(text: str) -> Json:
    """What the outputs hold of one document."""
    words = re.findall(r"[\w']+", text.lower())
    return {
        "lines": len(text.splitlines()),
        "words": len(words),
        "most_frequent": Counter(words).most_common(_MOST_FREQUENT),
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
    }


def work(api: GyozaApi, run: Json, worker_id: str, pace_s: float) -> None:
    """Take the run and see its current attempt to the end; RunLost when it was taken, cancelled or retried."""
    api.report(run, "ASSIGNED", payload={"worker_id": worker_id})
    api.report(run, "STARTED", payload={"worker_id": worker_id})
    try:
        outputs = _outputs(api, run, pace_s)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        api.report(run, "FAILED", payload={"error_message": f"{type(error).__name__}: {error}"})
    else:
        api.report(run, "COMPLETED", payload={"outputs": outputs})


def _outputs(api: GyozaApi, run: Json, pace_s: float) -> Json:
    documents = run["inputs"]["documents"]
    api.report(run, "INFO", f"{len(documents)} documents to read")
    statistics = {}
    for count, (name, text) in enumerate(documents.items(), 1):
        time.sleep(pace_s)
        statistics[name] = text_statistics(text)
        api.report(run, "PROGRESS", 100 * count // len(documents))
        if run["current_attempt"] in run["inputs"].get("fail_attempts", ()):
            raise ValueError(f"attempt {run['current_attempt']} shall fail")
    return {"documents": statistics}


def main() -> None:
    """Work until SIGTERM. WORKER_PACE_S seconds are spent on each document, for people to watch."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    api = GyozaApi(os.environ["GYOZA_URL"], os.environ["GYOZA_API_KEY"])
    worker_id = f"{socket.gethostname()}-{os.getpid()}"
    pace_s = float(os.environ.get("WORKER_PACE_S", "0"))
    while True:
        try:
            for run in api.pending_runs(IMAGE):
                print(f"taking {run['id']}, attempt {run['current_attempt']}", flush=True)
                work(api, run, worker_id, pace_s)
        except RunLost as loss:
            print(loss, flush=True)
        except OSError as error:
            print(f"the API is out of reach: {error}", flush=True)
        time.sleep(_POLL_INTERVAL_S)


if __name__ == "__main__":
    main()

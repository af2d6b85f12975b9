"""Serves the two routes that the example worker calls, on loopback, with faults on demand."""

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

STATE_AFTER = {
    "ASSIGNED": "ASSIGNED",
    "STARTED": "RUNNING",
    "COMPLETED": "COMPLETED",
    "FAILED": "FAILED",
    "RETRIED": "PENDING",
}


@dataclass(frozen=True)
class Answer:
    status: int
    body: dict[str, Any]
    retry_after: str = ""
    is_cut_off: bool = False
    """Only half of the body is sent, but the request has taken effect."""


Fault = Callable[["StubApi"], Answer | None]
"""Makes an answer that replaces the right one; None keeps the right one."""


def refusal(status: int, code: str = "unavailable", *, retry_after: str = "") -> Fault:
    return lambda _: Answer(status, {"detail": f"refused with {code}", "code": code}, retry_after)


def cut_off(_: "StubApi") -> Answer:
    return Answer(200, {"padding": "x" * 100}, is_cut_off=True)


def sigterm(api: "StubApi") -> None:
    """Sends the worker SIGTERM while it waits for the answer."""
    assert api.worker_pid is not None
    os.kill(api.worker_pid, signal.SIGTERM)


def sigterm_and(fault: Fault) -> Fault:
    def both(api: "StubApi") -> Answer | None:
        sigterm(api)
        return fault(api)

    return both


@dataclass
class StubApi:
    """Keeps the runs of one image, every request, and every accepted event once for each key."""

    url: str = ""
    runs: list[dict[str, Any]] = field(default_factory=list)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    """The faults by type of event, or ``GET``, one for each request, in order."""
    requests: list[tuple[str, str]] = field(default_factory=list)
    """The requests, each as its type of event (or ``GET``) and its Idempotency-Key."""
    events: list[dict[str, Any]] = field(default_factory=list)
    worker_pid: int | None = None
    _taken: set[tuple[str, str]] = field(default_factory=set)

    def add_run(self, documents: int = 1, **inputs: Any) -> dict[str, Any]:
        texts = {str(number): "a rose is a rose" for number in range(documents)}
        run = {
            "id": f"run-{len(self.runs)}",
            "state": "PENDING",
            "priority": 5,
            "current_attempt": 1,
            "inputs": {"documents": texts, **inputs},
        }
        self.runs.append(run)
        return run

    @property
    def types(self) -> list[str]:
        """The types of the accepted events."""
        return [event["type"] for event in self.events]

    def keys(self, name: str) -> list[str]:
        """The Idempotency-Keys of the requests of a type, in order."""
        return [key for each, key in self.requests if each == name]

    def answer(self, path: str, key: str, event: dict[str, Any] | None) -> Answer:
        name = "GET" if event is None else event["type"]
        is_repeat = (name, key) in self._taken
        self.requests.append((name, key))
        faults = self.faults.get(name)
        fault = faults.pop(0)(self) if faults else None
        if fault is not None and not fault.is_cut_off:
            return fault
        if event is None:
            return fault or Answer(200, {"data": [run for run in self.runs if run["state"] == "PENDING"]})
        [run] = [run for run in self.runs if path == f"/runs/{run['id']}/events"]
        if not is_repeat:
            self._taken.add((name, key))
            self.events.append(event)
            run["state"] = STATE_AFTER.get(name, run["state"])
        return fault or Answer(200, {"id": run["id"], "state": run["state"]})


@contextmanager
def stub_api() -> Iterator[StubApi]:
    api = StubApi()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(None)

        def do_POST(self) -> None:
            self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _answer(self, event: dict[str, Any] | None) -> None:
            answer = api.answer(self.path, self.headers.get("Idempotency-Key", ""), event)
            text = json.dumps(answer.body).encode()
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(text)))
            if answer.retry_after:
                self.send_header("Retry-After", answer.retry_after)
            self.end_headers()
            self.wfile.write(text[: len(text) // 2] if answer.is_cut_off else text)

        def log_message(self, *_args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        api.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield api
        finally:
            server.shutdown()
            thread.join()

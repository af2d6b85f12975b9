"""The three routes that the example worker calls, on loopback, with faults to order."""

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from examples.text_worker import IMAGE

CLAIM, HEARTBEAT = "claim", "heartbeat"
"""The names of the requests that are not events."""

RETRY_AFTER_S = 7
"""The pause that a claim without a run asks for."""

STATE_AFTER = {
    "STARTED": "RUNNING",
    "COMPLETED": "COMPLETED",
    "FAILED": "FAILED",
    "CANCELLED": "CANCELLED",
    "RETRIED": "PENDING",
}


@dataclass(frozen=True)
class Answer:
    status: int
    body: dict[str, Any] | None
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


def ask_cancel(api: "StubApi") -> None:
    """From this answer on the worker is asked to stop its work."""
    api.cancel_by = "2026-11-27T20:00:00.000000Z"


@dataclass
class StubApi:
    """Keeps the runs of one image, every request, and every accepted event once for each key."""

    url: str = ""
    runs: list[dict[str, Any]] = field(default_factory=list)
    lease_s: float = 90.0
    """The length of every lease, whatever a claim asks for."""
    cancel_by: str | None = None
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    """By type of event, CLAIM or HEARTBEAT: one for each request, the first of them first."""
    requests: list[tuple[str, str]] = field(default_factory=list)
    """Type of event, CLAIM or HEARTBEAT, and Idempotency-Key."""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    """The bodies of the requests."""
    events: list[dict[str, Any]] = field(default_factory=list)
    worker_pid: int | None = None
    _answered: dict[tuple[str, str], Answer] = field(default_factory=dict)

    def add_run(self, documents: int = 1, *, image: str = IMAGE, **inputs: Any) -> dict[str, Any]:
        texts = {str(number): "a rose is a rose" for number in range(documents)}
        run = {
            "id": f"run-{len(self.runs)}",
            "state": "PENDING",
            "image": image,
            "current_attempt": 3,
            "inputs": {"documents": texts, **inputs},
        }
        self.runs.append(run)
        return run

    @property
    def types(self) -> list[str]:
        """The types of the accepted events."""
        return [event["type"] for event in self.events]

    def keys(self, name: str) -> list[str]:
        """Idempotency-Keys of the requests of a name, as they came."""
        return [key for each, key in self.requests if each == name]

    def bodies_of(self, name: str) -> list[dict[str, Any]]:
        """The bodies of the requests of a name, as they came."""
        return [body for (each, _), body in zip(self.requests, self.bodies, strict=True) if each == name]

    def answer(self, path: str, key: str, body: dict[str, Any]) -> Answer:
        last = path.rpartition("/")[2]
        name = last if last in (CLAIM, HEARTBEAT) else body["type"]
        self.requests.append((name, key))
        self.bodies.append(body)
        faults = self.faults.get(name)
        fault = faults.pop(0)(self) if faults else None
        if fault is not None and not fault.is_cut_off:
            return fault
        answer = self._answered.get((name, key)) if key else None
        if answer is None:
            answer = self._claim() if name == CLAIM else self._take(name, path, body)
            if answer.status == 200:
                self._answered[name, key] = answer
        return fault or answer

    def _claim(self) -> Answer:
        for run in self.runs:
            if run["state"] == "PENDING":
                run["state"] = "ASSIGNED"
                return Answer(200, {**run, "lease_s": self.lease_s, "cancel_by": None})
        return Answer(204, None, str(RETRY_AFTER_S))

    def _take(self, name: str, path: str, body: dict[str, Any]) -> Answer:
        [run] = [run for run in self.runs if path.startswith(f"/runs/{run['id']}/")]
        if name != HEARTBEAT:
            self.events.append(body)
            run["state"] = STATE_AFTER.get(name, run["state"])
        # An answer shows the run as it stands, so it may name an attempt that is not the worker's.
        shown = {"id": run["id"], "state": run["state"], "current_attempt": run["current_attempt"] + 1}
        return Answer(200, {**shown, "lease_s": self.lease_s, "cancel_by": self.cancel_by})


@contextmanager
def stub_api() -> Iterator[StubApi]:
    api = StubApi()
    turn = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with turn:
                answer = api.answer(self.path, self.headers.get("Idempotency-Key", ""), body)
            text = b"" if answer.body is None else json.dumps(answer.body).encode()
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

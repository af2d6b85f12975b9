"""A client of the API that keeps every exchange, and helpers for races."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

from testing.gateway import Answer, Gateway

from .checker import problems
from .exchange import Exchange, Final

REPLAYED = "Idempotent-Replayed"
"""The header that marks a replayed answer (docs/openapi.yaml)."""


class Recorder:
    """A client that keeps every exchange and repeats a request as a good client does. Threads may share it.

    It sends at most ``sendings`` times. Each event carries a unique mark in its payload. With ``keyed`` each POST has
    an Idempotency-Key.
    """

    def __init__(self, api: Gateway, *, keyed: bool = False, sendings: int = 12) -> None:
        self.exchanges: list[Exchange] = []
        self._api = api
        self._keyed = keyed
        self._sendings = sendings
        self._intents = count(1)
        self._lock = threading.Lock()

    def send(
        self, method: str, path: str, body: Any = None, *, key: str | None = None, minimal: bool = False
    ) -> Answer:
        """Send a request until it is answered, at most ``sendings`` times. Returns the last answer.

        A request is sent again after 409 ``run_busy`` and after 503, with the same body and key.
        """
        with self._lock:
            intent = next(self._intents)
        if self._keyed and method == "POST" and key is None:
            key = f"key-{intent}"
        headers = {} if key is None else {"Idempotency-Key": key}
        if minimal:
            headers["Prefer"] = "return=minimal"
        for sending in range(1, self._sendings + 1):
            started_s = time.monotonic()
            answer = self._api.call(method, path, body, headers=headers)
            ended_s = time.monotonic()
            is_replay = REPLAYED in answer.headers
            with self._lock:
                self.exchanges.append(
                    Exchange(
                        intent,
                        sending,
                        method,
                        path,
                        body,
                        key,
                        started_s,
                        ended_s,
                        answer.status,
                        answer.json,
                        is_replay,
                    )
                )
            if answer.status != 503 and not (answer.status == 409 and answer.json["code"] == "run_busy"):
                break
            time.sleep(random.uniform(0, 0.05))
        return answer

    def create(self, **fields: Any) -> str:
        """Creates a run and returns its id."""
        answer = self.send("POST", "/runs", {"image": "busybox:1"} | fields)
        assert answer.status == 201, answer.text
        run_id: str = answer.json["id"]
        return run_id

    def event(
        self,
        run_id: str,
        type_: str,
        *,
        payload: Mapping[str, Any] | None = None,
        key: str | None = None,
        minimal: bool = False,
        **fields: Any,
    ) -> Answer:
        with self._lock:
            mark = f"mark-{next(self._intents)}"
        body = {"type": type_, "payload": {**(payload or {}), "mark": mark}} | fields
        return self.send("POST", f"/runs/{run_id}/events", body, key=key, minimal=minimal)

    def start(self, run_id: str, worker_id: str = "worker-1", **fields: Any) -> Answer:
        return self.event(run_id, "STARTED", payload={"worker_id": worker_id}, **fields)

    def cancel(self, run_id: str, *, key: str | None = None) -> Answer:
        return self.send("POST", f"/runs/{run_id}/cancel", key=key)

    def retry(self, run_id: str, *, key: str | None = None) -> Answer:
        return self.send("POST", f"/runs/{run_id}/retry", key=key)

    def patch(self, run_id: str, **fields: Any) -> Answer:
        return self.send("PATCH", f"/runs/{run_id}", fields)

    def of_run(self, run_id: str) -> list[Exchange]:
        """The exchanges about one run, with its creation."""
        return [
            exchange
            for exchange in self.exchanges
            if exchange.path.startswith(f"/runs/{run_id}")
            or (exchange.path == "/runs" and exchange.succeeded and exchange.answer.get("id") == run_id)
        ]

    def check(self, run_id: str) -> Final:
        """Asserts that the recorded exchanges explain the run as it is now."""
        final = read_final(self._api, run_id)
        found = problems(self.of_run(run_id), final)
        assert not found, "\n".join(found)
        return final

    def counts(self) -> str:
        """The number of requests and of answers by status, as text to print."""
        statuses = Counter(exchange.status for exchange in self.exchanges)
        return f"{len(self.exchanges)} requests, statuses {dict(sorted(statuses.items()))}"


def at_once(*requests: Callable[[], Answer]) -> list[Answer]:
    """Sends every request at the same moment from its own thread. The answers have the order of the requests."""
    barrier = threading.Barrier(len(requests))

    def send(request: Callable[[], Answer]) -> Answer:
        barrier.wait()
        return request()

    with ThreadPoolExecutor(len(requests)) as threads:
        return [future.result() for future in [threads.submit(send, request) for request in requests]]


def the_winner(answers: Sequence[Answer]) -> int:
    """The position of the one answer that is 200. Asserts that every other is 400."""
    statuses = [answer.status for answer in answers]
    assert sorted(statuses) == [200] + [400] * (len(answers) - 1), statuses
    return statuses.index(200)


def read_final(api: Gateway, run_id: str) -> Final:
    """Reads the run, all its events page by page, and all its attempts."""
    events: list[dict[str, Any]] = []
    has_more = True
    while has_more:
        after = events[-1]["seq"] if events else -1
        page = api.get(f"/runs/{run_id}/events", after_seq=after).json
        events += page["events"]
        has_more = page["has_more"]
    attempts: list[dict[str, Any]] = []
    while True:
        answer = api.get(f"/runs/{run_id}/attempts", after=len(attempts))
        attempts += answer.json
        if "Link" not in answer.headers:
            break
    run = api.get(f"/runs/{run_id}")
    assert run.status == 200, run.text
    return Final(run.json, events, attempts)

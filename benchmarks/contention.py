"""Contention: accepted events a second on one run, as more writers post to it at once.

Each thread stands for a Lambda environment and calls the handler in a loop. An answer counts when it is 200 and comes
before the time is up; what is refused is not sent again for the same event. The naive loop is that of the peers: read,
modify, write, and again at once.
"""

import threading
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any
from uuid import uuid4

from benchmarks.engine import engine, new_table
from benchmarks.measuring import ROUNDS
from benchmarks.peers.table import create_peer_table
from benchmarks.scenarios import gateway_event
from benchmarks.systems import OURS, PEER_2
from tests.support.gateway import Gateway
from tests.support.threads import one_environment_a_thread

WRITERS = (1, 4, 16, 32)
WINDOW_S = 3.0

Post = Callable[[], int]
"""Posts one event and answers the status."""


def measure_contention(rounds: int = ROUNDS, window_s: float = WINDOW_S) -> dict[tuple[str, int], float]:
    """Accepted events a second by system and number of writers."""
    one_environment_a_thread()
    with engine() as client:
        new_table(client)
        from benchmarks.peers import storage  # noqa: PLC0415 - its client is made at import and meets this engine
        from benchmarks.peers.powertools_resolver import app as peer  # noqa: PLC0415

        create_peer_table(client, storage.table.name)
        makers: dict[str, Callable[[], Post]] = {OURS: _ours, PEER_2: partial(_peer, peer)}
        rates: dict[tuple[str, int], list[float]] = {}
        for number in range(rounds + 1):
            for system, make in makers.items():
                for writers in WRITERS:
                    rate = _accepted_a_second(make(), writers, window_s if number else 0.5)
                    if number:
                        rates.setdefault((system, writers), []).append(rate)
    return {key: median(values) for key, values in rates.items()}


def _accepted_a_second(post: Post, writers: int, window_s: float) -> float:
    accepted = [0] * writers
    begin = threading.Barrier(writers + 1)
    ends_at = 0.0

    def write(number: int) -> None:
        begin.wait()
        while time.monotonic() < ends_at:
            if post() == 200 and time.monotonic() < ends_at:
                accepted[number] += 1

    threads = [threading.Thread(target=write, args=[number]) for number in range(writers)]
    for thread in threads:
        thread.start()
    ends_at = time.monotonic() + window_s
    begin.wait()
    for thread in threads:
        thread.join()
    return sum(accepted) / window_s


def _ours() -> Post:
    gateway = Gateway()
    run_id = gateway.create()["id"]
    gateway.start(run_id)
    return lambda: gateway.event(run_id, "INFO", msg=str(uuid4()), minimal=True).status


def _peer(app: Any) -> Post:
    run = app.storage.create(app.CreateRun(image="busybox:1"))

    def post() -> int:
        body = {"type": "INFO", "msg": str(uuid4())}
        event = gateway_event("POST", "/runs/{id}/events", run["id"], body, minimal=True)
        status: int = app.lambda_handler(event, None)["statusCode"]
        return status

    return post

"""Measures contention: accepted events a second on one run with more and more writers.

Each thread stands for a Lambda environment. An answer counts if it is 200 and comes in time; no event is sent again.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from uuid import uuid4

import boto3
from aws_lambda_powertools.utilities.typing import LambdaContext

from benchmarks.cpu import medians_in_turns
from benchmarks.peers import storage
from benchmarks.peers.models import CreateRun
from benchmarks.peers.powertools_resolver import app as peer
from benchmarks.scenarios import gateway_event
from benchmarks.systems import OURS, PEER_2
from testing.engine import engine
from testing.gateway import Gateway
from testing.threads import one_environment_a_thread

WRITERS, WINDOW_S, ROUNDS = (1, 4, 16, 32), 2.0, 5

Post = Callable[[], int]  # Posts one event and returns the status of the answer.


def measure_contention(rounds: int = ROUNDS, window_s: float = WINDOW_S) -> list[dict[str, Any]]:
    """Measure accepted events a second by number of writers and system, also as multiples of one writer's rate."""
    one_environment_a_thread()
    rows: list[dict[str, Any]] = []
    with engine() as client:
        storage.table = boto3.resource("dynamodb").Table(storage.table.name)
        client.create_table(TableName=storage.table.name, **storage.table_properties())
        for writers in WRITERS:
            makers = {OURS: _ours, PEER_2: _peer}
            measure = {system: partial(_accepted_a_second, make, writers, window_s) for system, make in makers.items()}
            rates = medians_in_turns(measure, rounds)
            first = rows[0]["a second"] if rows else rates
            ratios = {system: rate / first[system] for system, rate in rates.items()}
            rows.append({"writers": writers, "a second": rates, "of one writer's": ratios})
    return rows


def _accepted_a_second(make: Callable[[], Post], writers: int, window_s: float) -> float:
    post = make()
    ends_at = time.monotonic() + window_s
    begin = threading.Barrier(writers)

    def accepted(_: int) -> int:
        begin.wait()
        count = 0
        while time.monotonic() < ends_at:
            count += post() == 200 and time.monotonic() < ends_at
        return count

    with ThreadPoolExecutor(writers) as pool:
        return sum(pool.map(accepted, range(writers))) / window_s


def _ours() -> Post:
    gateway = Gateway()
    run_id = gateway.create()["id"]
    gateway.start(run_id)
    return lambda: gateway.event(run_id, "INFO", msg=str(uuid4()), minimal=True).status


def _peer() -> Post:
    run_id = storage.create(CreateRun(image="busybox:1"))["id"]

    def post() -> int:
        body = {"type": "INFO", "msg": str(uuid4())}
        event = gateway_event("POST", f"/runs/{run_id}/events", body, minimal=True)
        status: int = peer.app.resolve(event, LambdaContext())["statusCode"]
        return status

    return post

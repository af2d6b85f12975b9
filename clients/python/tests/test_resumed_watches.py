"""Tests that a watch which ends at any event is resumed without a gap and without a repeat, through losses.

The API runs on DynamoDB Local in a process of its own, and the client is as it is shipped.
"""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import gyoza_client
from clients.python.tests.conftest import MakeClient
from gyoza_client import GyozaClient, NoAnswer, Run
from testing.http_api import ServedApi
from testing.lossy_proxy import LossyProxy

LOSS = 0.4
ATTEMPTS = 3
THREADS = 16

WATCHER = """
import sys
from gyoza_client import GyozaClient, NoAnswer

url, key, run, after_seq = sys.argv[1:]
try:
    for event in GyozaClient(url, key).watch(run, after_seq=int(after_seq)):
        print(event.seq, flush=True)
except NoAnswer:
    sys.exit(75)
"""
GAVE_UP = 75


def new_run(api: ServedApi) -> Run:
    with GyozaClient(api.url, api.api_key) as client:
        return client.create_run("busybox:1", queue=f"watched-{uuid4()}", retry_policy={"max_attempts": ATTEMPTS})


def play(api: ServedApi, run: Run, *, progress: int, pause_s: float = 0.0, padding: int = 0) -> int:
    """Report all attempts of a run, each with as many PROGRESS; all but the last fail. Returns the number of events."""
    payload = {"padding": "x" * padding}
    with GyozaClient(api.url, api.api_key) as client:
        for attempt in range(1, ATTEMPTS + 1):
            client.report_event(run, "STARTED", payload={"worker_id": f"worker-{run.id}"}, attempt=attempt)
            for percent in range(progress):
                client.report_event(run, "PROGRESS", percent, payload, attempt=attempt)
                time.sleep(pause_s)
            client.report_event(run, "FAILED" if attempt < ATTEMPTS else "COMPLETED", attempt=attempt)
    return ATTEMPTS * (progress + 2) + ATTEMPTS - 1


def watched(client: Any, run: Run, after_seq: int, count: int | None = None) -> list[int]:
    """The numbers of the events that a watch yields, at most so many. If a request gives up, the watch is resumed."""
    found: list[int] = []
    while len(found) != count:
        try:
            for event in client.watch(run, after_seq=found[-1] if found else after_seq):
                found.append(event.seq)
                if len(found) == count:
                    break
            else:
                break
        except NoAnswer:
            continue
    return found


@pytest.mark.long
def test_a_watch_that_ends_at_any_event_goes_on_with_the_next(
    served_api: ServedApi, proxy: LossyProxy, make_client: MakeClient
) -> None:
    run = new_run(served_api)
    # They fill more than one page, which holds 1 MB of events.
    count = play(served_api, run, progress=24, padding=16_000)
    proxy.loss = LOSS

    def watched_by_two(last: int) -> list[int]:
        first, second = (make_client(proxy.url, served_api.api_key) for _ in range(2))
        return watched(first, run, -1, last + 1) + watched(second, run, last)

    with ThreadPoolExecutor(THREADS) as pool:
        for found in pool.map(watched_by_two, range(-1, count)):
            assert found == list(range(count))
    assert proxy.counts.closed_after > 0


@pytest.mark.long
def test_a_watch_that_ends_after_each_event_misses_none_of_a_run_that_goes_on(
    served_api: ServedApi, proxy: LossyProxy, make_client: MakeClient
) -> None:
    run, proxy.loss = new_run(served_api), LOSS
    with ThreadPoolExecutor(1) as pool:
        played = pool.submit(play, served_api, run, progress=10, pause_s=0.2)
        found: list[int] = []
        while True:
            client = make_client(proxy.url, served_api.api_key)
            seen = watched(client, run, found[-1] if found else -1, 1)
            if not seen:
                break
            found += seen
        assert found == list(range(played.result()))


@pytest.mark.long
def test_a_watching_process_that_is_killed_is_resumed_after_its_last_line(
    served_api: ServedApi, proxy: LossyProxy
) -> None:
    run, proxy.loss, chance = new_run(served_api), LOSS, random.Random(16)
    with ThreadPoolExecutor(1) as pool:
        played = pool.submit(play, served_api, run, progress=20, pause_s=0.3)
        found: list[int] = []
        kills = 0
        while True:
            killed_after_s = chance.uniform(1.0, 4.0) if kills < 10 else 600.0
            lines, status = watched_by_a_process(proxy.url, served_api.api_key, run, found, killed_after_s)
            found += lines
            if status == 0:
                break
            assert status in (-signal.SIGKILL, GAVE_UP)
            kills += status == -signal.SIGKILL
        count = played.result()
    print(f"\n{kills} kills, {count} events, {proxy.counts}")
    assert found == list(range(count))
    assert kills > 2


def watched_by_a_process(
    url: str, key: str, run: Run, found: list[int], killed_after_s: float
) -> tuple[list[int], int]:
    """The numbers that a process printed before it was killed or ended, and its exit status."""
    command = [sys.executable, "-c", WATCHER, url, key, run.id, str(found[-1] if found else -1)]
    environment = os.environ | {"PYTHONPATH": str(Path(gyoza_client.__file__).parents[1])}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        timer = threading.Timer(killed_after_s, process.kill)
        timer.start()
        assert process.stdout is not None
        text = process.stdout.read()
        timer.cancel()
    return [int(line) for line in text.splitlines(keepends=True) if line.endswith("\n")], process.returncode

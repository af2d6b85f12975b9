"""The example worker in a process of its own, beside the handlers of the API: it ends whatever it started."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from examples import text_worker
from examples.text_worker import IMAGE, QUEUE, text_statistics
from gyoza_client import GyozaClient, Run, State
from testing.cloudformation import ROOT
from testing.gateway import Gateway
from testing.http_api import API_KEY, served

LIMIT_S = 60
TEXTS = {"rose": "A rose is a rose\nis a rose", "nothing": ""}
MANY_TEXTS = {str(number): "a rose" for number in range(1000)}
INTERRUPTED = 128 + signal.SIGTERM

Worker = subprocess.Popen[str]


@pytest.fixture
def client(api: Gateway) -> Iterator[GyozaClient]:
    """A client of the API, whose handlers this process runs."""
    assert api
    with served(one_at_a_time=True) as server, GyozaClient(server.url, API_KEY) as client:
        yield client
        assert server.failures == []


@contextmanager
def worker(client: GyozaClient, *, api_key: str = API_KEY, **environment: str) -> Iterator[Worker]:
    process = subprocess.Popen(
        [sys.executable, text_worker.__file__],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT / "clients/python/src"),
            "GYOZA_URL": client.url,
            "GYOZA_API_KEY": api_key,
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def new_run(client: GyozaClient, *, image: str = IMAGE, **more: Any) -> Run:
    return client.create_run(image, queue=QUEUE, **{"inputs": {"documents": TEXTS}, **more})


def run_once(client: GyozaClient, run: Run, is_so: Callable[[Run], bool]) -> Run:
    """The run, as soon as it is as wanted."""
    deadline = time.monotonic() + LIMIT_S
    while not is_so(seen := client.get_run(run)):
        assert time.monotonic() < deadline, seen
        time.sleep(0.05)
    return seen


def types_of(client: GyozaClient, run: Run) -> list[str]:
    """The types of the run's events, but for PROGRESS, of which there is one a second at most."""
    return [str(event.type) for event in client.list_events(run, after_seq=-1) if event.type != "PROGRESS"]


def test_a_text_has_lines_words_and_a_most_frequent_word() -> None:
    assert text_statistics(TEXTS["rose"]) == {"lines": 2, "words": 8, "most_frequent": "a"}
    assert text_statistics("") == {"lines": 0, "words": 0, "most_frequent": None}


def test_a_worker_does_one_run_after_another_whatever_becomes_of_them(client: GyozaClient) -> None:
    foreign = new_run(client, image="busybox:1")
    without_texts = new_run(client, inputs={})
    retried = new_run(client, inputs={"documents": TEXTS, "fail_attempts": [1]}, retry_policy={"max_attempts": 2})
    completed = new_run(client)
    with worker(client):
        ended = {run.id: run for run in client.as_completed([foreign, without_texts, retried, completed])}

    assert ended[completed.id].outputs == {"documents": {name: text_statistics(text) for name, text in TEXTS.items()}}
    assert types_of(client, completed) == ["ASSIGNED", "STARTED", "INFO", "COMPLETED"]
    assert ended[retried.id].state == State.COMPLETED
    assert types_of(client, retried) == [
        "ASSIGNED", "STARTED", "INFO", "FAILED", "RETRIED", "ASSIGNED", "STARTED", "INFO", "COMPLETED",
    ]  # fmt: skip
    assert "attempt 1 shall fail" in next(
        event.payload["error_message"] for event in client.list_events(retried, attempt=1) if event.type == "FAILED"
    )
    assert "not of busybox:1" in str(ended[foreign.id].execution_summary.error_message)
    assert "documents" in str(ended[without_texts.id].execution_summary.error_message)
    assert {ended[run.id].state for run in (foreign, without_texts)} == {State.FAILED}


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_without_a_run_ends_as_soon_as_it_is_told_to(client: GyozaClient, signum: signal.Signals) -> None:
    run = new_run(client)
    with worker(client) as process:
        client.wait(run, timeout=LIMIT_S)
        # The next claim finds nothing, and the worker pauses for 5 seconds and more.
        time.sleep(1)
        begun = time.monotonic()
        process.send_signal(signum)
        said, _ = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, said) == (0, f"has {run.id}, attempt 1\n")
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_is_stopped_ends_its_run_in_time_and_takes_no_other(
    client: GyozaClient, signum: signal.Signals
) -> None:
    first, second = new_run(client, priority=9), new_run(client)
    with worker(client, WORKER_PACE_S="1") as process:
        run_once(client, first, lambda run: run.state == State.RUNNING)
        process.send_signal(signum)
        assert process.wait(LIMIT_S) == 0
    assert client.get_run(first).state == State.COMPLETED
    assert client.get_run(second).state == State.PENDING


def test_a_run_that_takes_longer_than_the_grace_of_a_stopped_worker_fails_as_interrupted(client: GyozaClient) -> None:
    run = new_run(client)
    with worker(client, WORKER_PACE_S="3600", WORKER_GRACE_S="0.5") as process:
        run_once(client, run, lambda run: run.state == State.RUNNING)
        process.terminate()
        assert process.wait(LIMIT_S) == INTERRUPTED
    failed = client.get_run(run)
    assert (failed.state, failed.execution_summary.reason) == (State.FAILED, "interrupted")


def test_a_worker_that_is_asked_to_cancel_stops_its_work_and_says_so(client: GyozaClient) -> None:
    run = new_run(client, inputs={"documents": MANY_TEXTS})
    with worker(client, WORKER_PACE_S="0.1"):
        run_once(client, run, lambda run: run.state == State.RUNNING)
        client.cancel_run(run, mode="ask", grace_s=LIMIT_S)
        cancelled = client.wait(run, timeout=LIMIT_S)
    assert cancelled.state == State.CANCELLED
    assert cancelled.cancel is not None
    assert cancelled.cancel.outcome == "acknowledged"


def test_a_claim_that_no_repetition_helps_ends_the_worker_with_a_sentence(client: GyozaClient) -> None:
    with worker(client, api_key="another") as process:
        said, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 1
    assert said.startswith("403 forbidden: ")
    assert "\n" not in said.strip()

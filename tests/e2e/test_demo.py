"""Tests the example worker and the demo."""

import io
import re
import signal
import time
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from examples.text_worker import IMAGE, QUEUE, text_statistics
from local.demo import play, play_loss
from local.screen import Screen
from local.stack import Endpoint
from tests.e2e.api import Api
from tests.e2e.workers import worker

WORK_LIMIT_S = 30
LEASE_S = 15
LONGEST_SILENCE_S = 10
CLOSING_LIMIT_S = 120
"""The time from the end of a lease to the end of its attempt (docs/guarantees.md)."""


def test_a_worker_does_a_run_from_its_inputs_to_its_outputs(api: Api, endpoint: Endpoint, tmp_path: Path) -> None:
    texts = {"rose": "A rose is a rose\nis a rose", "nothing": ""}
    run_id = api.new_run(image=IMAGE, queue=QUEUE, inputs={"documents": texts})
    with worker(endpoint, tmp_path / "worker.log"):
        run = run_once(api, run_id, lambda run: run["state"] == "COMPLETED", WORK_LIMIT_S)
    expected = {"documents": {name: text_statistics(text) for name, text in texts.items()}}
    assert run["outputs"] == expected


@pytest.mark.long
def test_a_worker_that_was_frozen_learns_that_it_has_lost_its_run(api: Api, endpoint: Endpoint, tmp_path: Path) -> None:
    documents = {str(number): "a rose" for number in range(20)}
    run_id = api.new_run(
        image=IMAGE, queue=QUEUE, inputs={"documents": documents}, retry_policy={"max_attempts": 1, "max_lost": 1}
    )
    log = tmp_path / "frozen.log"
    with worker(endpoint, log, WORKER_LEASE_S=str(LEASE_S), WORKER_PACE_S="1") as frozen:
        run_once(api, run_id, lambda run: run["progress"] > 0, WORK_LIMIT_S)
        frozen.send_signal(signal.SIGSTOP)
        run_once(api, run_id, lambda run: run["current_attempt"] == 2, LEASE_S + CLOSING_LIMIT_S)
        with worker(endpoint, tmp_path / "second.log"):
            finished = run_once(api, run_id, lambda run: run["state"] == "COMPLETED", WORK_LIMIT_S)
        frozen.send_signal(signal.SIGCONT)
        deadline = time.monotonic() + WORK_LIMIT_S
        loss = f"Attempt 1 of run {run_id} is no longer this worker's"
        while loss not in log.read_text() and time.monotonic() < deadline:
            time.sleep(0.2)
        assert loss in log.read_text()
    assert api.get(f"/runs/{run_id}").body == finished


def run_once(api: Api, run_id: str, is_so: Callable[[Any], bool], limit_s: float) -> Any:
    """The run, as soon as it is as wanted."""
    deadline = time.monotonic() + limit_s
    while not is_so(run := api.get(f"/runs/{run_id}").body):
        assert time.monotonic() < deadline, run
        time.sleep(0.2)
    return run


def test_the_demo_shows_its_short_runs_to_their_end(endpoint: Endpoint, tmp_path: Path) -> None:
    shown = io.StringIO()
    play(endpoint, Screen(shown), tmp_path)
    lines = shown.getvalue()
    assert lines.count("COMPLETED") == 3
    assert "attempt 2 #0   RETRIED" in lines
    assert "text-statistics 1.0.0, revision 1" in lines
    assert lines.count("gyoza.run.created") == 3
    assert lines.count("gyoza.run.completed") == 3
    assert lines.count("pushed  seq") == lines.count("  attempt ")
    assert re.search(r"PROGRESS  \[#+-*\] +\d+ %$", lines, re.MULTILINE)
    assert "\x1b" not in lines


class Watched(Screen):
    """A screen that notes the longest time between two of its lines."""

    def __init__(self, out: io.StringIO) -> None:
        super().__init__(out)
        self.longest_silence_s = 0.0
        self._last = time.monotonic()

    def line(self, text: str = "") -> None:
        now = time.monotonic()
        self.longest_silence_s = max(self.longest_silence_s, now - self._last)
        self._last = now
        super().line(text)


@pytest.mark.long
def test_a_run_whose_worker_is_killed_is_finished_by_another(api: Api, endpoint: Endpoint, tmp_path: Path) -> None:
    shown = io.StringIO()
    screen = Watched(shown)
    texts = {"rose": "A rose is a rose"}
    with closing(play_loss(lambda: endpoint, screen, tmp_path)) as demo:
        while "has finished the run" not in shown.getvalue():
            next(demo)
            time.sleep(0.2)
        print(shown.getvalue())
        # The runs that people create are done too.
        for _ in range(2):
            next_id = api.new_run(image=IMAGE, queue=QUEUE, inputs={"documents": texts})
            deadline = time.monotonic() + WORK_LIMIT_S
            while api.get(f"/runs/{next_id}").body["state"] != "COMPLETED":
                assert time.monotonic() < deadline
                next(demo)
                time.sleep(0.2)

    run_id = shown.getvalue().partition("  run ")[2].split()[0]
    lost, finished = api.get(f"/runs/{run_id}/attempts").body
    assert (lost["state"], lost["execution_summary"]["reason"]) == ("FAILED", "lost")
    assert (finished["state"], finished["execution_summary"]["reason"]) == ("COMPLETED", None)
    workers = {attempt["execution_summary"]["worker_id"] for attempt in (lost, finished)}
    assert len(workers) == 2
    last_sign, end = (datetime.fromisoformat(event["t"]) for event in lost["events"][-2:])
    waited_s = (end - last_sign).total_seconds()
    assert LEASE_S <= waited_s <= LEASE_S + CLOSING_LIMIT_S
    assert "waits for the end of the lease" in shown.getvalue()
    assert screen.longest_silence_s <= LONGEST_SILENCE_S

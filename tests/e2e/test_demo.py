"""Tests the example worker and the demo."""

import io
import json
import os
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from examples.text_worker import IMAGE, QUEUE, text_statistics
from local.demo import play, play_loss
from local.emulator import HOST
from local.processes import running
from local.screen import Screen
from local.stack import ROOT, Endpoint
from tests.e2e.api import Api

WORK_LIMIT_S = 30
LONGEST_SILENCE_S = 10
CLOSING_LIMIT_S = 120
"""The time from the end of a lease to the end of its attempt (docs/guarantees.md)."""


def test_a_worker_does_a_run_from_its_inputs_to_its_outputs(api: Api, endpoint: Endpoint, tmp_path: Path) -> None:
    texts = {"rose": "A rose is a rose\nis a rose", "nothing": ""}
    run_id = api.new_run(image=IMAGE, queue=QUEUE, inputs={"documents": texts})
    env = os.environ | {"GYOZA_URL": endpoint.url, "GYOZA_API_KEY": endpoint.api_key, "NO_PROXY": HOST}
    worker = [sys.executable, str(ROOT / "examples/text_worker.py")]
    with running(worker, env=env, log=tmp_path / "worker.log"):
        deadline = time.monotonic() + WORK_LIMIT_S
        while (run := api.get(f"/runs/{run_id}").body)["state"] != "COMPLETED" and time.monotonic() < deadline:
            time.sleep(0.2)
    expected = {"documents": {name: text_statistics(text) for name, text in texts.items()}}
    assert run["outputs"] == json.loads(json.dumps(expected))
    assert run["outputs"]["documents"]["rose"]["most_frequent"][0] == ["a", 3]


def test_the_demo_shows_both_runs_to_their_end(endpoint: Endpoint, tmp_path: Path) -> None:
    shown = io.StringIO()
    play(endpoint, Screen(shown), tmp_path)
    lines = shown.getvalue()
    assert lines.count("COMPLETED") == 2
    assert "attempt 2 #0   RETRIED" in lines
    assert lines.count("gyoza.run.created") == 2
    assert lines.count("gyoza.run.completed") == 2
    assert lines.count("pushed  seq") == lines.count("  attempt ")
    assert "[##############################] 100 %" in lines
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
    played = play_loss(endpoint, screen, tmp_path)
    _see_through(played)
    print(shown.getvalue())

    run_id = shown.getvalue().partition("  run ")[2].split()[0]
    lost, finished = api.get(f"/runs/{run_id}/attempts").body
    assert (lost["state"], lost["execution_summary"]["reason"]) == ("FAILED", "lost")
    assert (finished["state"], finished["execution_summary"]["reason"]) == ("COMPLETED", None)
    workers = {attempt["execution_summary"]["worker_id"] for attempt in (lost, finished)}
    assert len(workers) == 2
    last_sign, end = (datetime.fromisoformat(event["t"]) for event in lost["events"][-2:])
    waited_s = (end - last_sign).total_seconds()
    assert 15 <= waited_s <= 15 + CLOSING_LIMIT_S
    assert "waits for the end of the lease" in shown.getvalue()
    assert screen.longest_silence_s <= LONGEST_SILENCE_S


def _see_through(played: Iterator[None]) -> None:
    for _ in played:
        time.sleep(0.2)

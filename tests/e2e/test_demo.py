"""The example worker, and the demo."""

import io
import json
import os
import sys
import time
from pathlib import Path

from examples.text_worker import text_statistics
from local.demo import play
from local.emulator import HOST
from local.processes import running
from local.screen import Screen
from local.stack import ROOT, Endpoint
from tests.e2e.api import Api

WORK_LIMIT_S = 30


def test_a_worker_does_a_run_from_its_inputs_to_its_outputs(api: Api, endpoint: Endpoint, tmp_path: Path) -> None:
    texts = {"rose": "A rose is a rose\nis a rose", "nothing": ""}
    run_id = api.new_run(image="example/text-statistics:1", inputs={"documents": texts})
    env = os.environ | {"GYOZA_URL": endpoint.url, "GYOZA_API_KEY": endpoint.api_key, "NO_PROXY": HOST}
    worker = [sys.executable, str(ROOT / "examples/text_worker.py")]
    with running(worker, env=env, log=tmp_path / "worker.log"):
        deadline = time.monotonic() + WORK_LIMIT_S
        while (run := api.get(f"/runs/{run_id}").body)["state"] != "COMPLETED" and time.monotonic() < deadline:
            time.sleep(0.2)
    expected = {"documents": {name: text_statistics(text) for name, text in texts.items()}}
    assert run["outputs"] == json.loads(json.dumps(expected))
    assert run["outputs"]["documents"]["rose"]["most_frequent"][0] == ["a", 3]


def test_the_demo_shows_its_runs_to_their_end(endpoint: Endpoint, tmp_path: Path) -> None:
    shown = io.StringIO()
    play(endpoint, Screen(shown), tmp_path)
    lines = shown.getvalue()
    assert lines.count("COMPLETED") == 3
    assert "attempt 2 #0   RETRIED" in lines
    assert "text-statistics 1.0.0, revision 1" in lines
    assert lines.count("gyoza.run.created") == 3
    assert lines.count("gyoza.run.completed") == 3
    assert lines.count("pushed  seq") == lines.count("  attempt ")
    assert "[##############################] 100 %" in lines
    assert "\x1b" not in lines

"""The example worker, and `make run` itself."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from examples.text_worker import text_statistics
from local.demo import play
from local.emulator import HOST, free_port
from local.processes import running
from local.screen import Screen
from local.stack import ROOT, Endpoint
from tests.e2e.api import Api

START_LIMIT_S = 60
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


def test_the_demo_shows_both_runs_to_their_end(endpoint: Endpoint) -> None:
    shown = io.StringIO()
    play(endpoint, Screen(shown))
    lines = shown.getvalue()
    assert lines.count("COMPLETED") == 2
    assert "attempt 2 #0   RETRIED" in lines
    assert lines.count("gyoza.run.created") == 2
    assert lines.count("gyoza.run.completed") == 2
    assert lines.count("pushed  seq") == lines.count("  attempt ")
    assert "[##############################] 100 %" in lines
    assert "\x1b" not in lines


def test_a_stopped_stack_leaves_no_process_and_no_endpoint_behind(tmp_path: Path) -> None:
    port, endpoint_file, log = free_port(), tmp_path / "endpoint.json", tmp_path / "run.log"
    command = [sys.executable, "-m", "local", "--port", str(port), "--endpoint-file", str(endpoint_file)]
    with log.open("wb") as output, subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output) as stack:
        deadline = time.monotonic() + START_LIMIT_S
        while not endpoint_file.exists():
            assert stack.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        assert set(json.loads(endpoint_file.read_text())) == {
            "url", "api_key", "aws_endpoint_url", "region", "stack", "table",
        }  # fmt: skip
        assert _processes_of(port)
        stack.send_signal(signal.SIGTERM)
        assert stack.wait(START_LIMIT_S) == 0
    assert _processes_of(port) == []
    assert not endpoint_file.exists()


def test_a_taken_port_is_said_in_one_line(endpoint: Endpoint) -> None:
    port = endpoint.aws_endpoint_url.rpartition(":")[2]
    command = [sys.executable, "-m", "local", "--port", port]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=START_LIMIT_S)
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr == f"Port {port} is taken. Choose another: make run PORT={int(port) + 1}\n"


def _processes_of(port: int) -> list[int]:
    """The emulator of a port and its function workers, by a variable that they all inherit."""
    mark = f"GATEWAY_PORT={port}".encode()
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in environ.read_bytes().split(b"\0"):
                found.append(int(environ.parent.name))
        except OSError:
            continue
    return found

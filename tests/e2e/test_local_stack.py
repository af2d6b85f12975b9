"""Tests `make run` and `make reload` as processes: how a stack starts, ends, keeps its state and follows edits."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from local.emulator import free_port
from local.endpoint import FILE_NAME, Endpoint, NoStack, find
from local.stack import PYTHON, ROOT
from local.subscriber import Subscriber
from tests.e2e.api import Api

LIMIT_S = 120


class Running:
    """A process of `make run` without the demo, in the given checkout and with the given folder of stacks."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int, stacks: Path, log: Path) -> None:
        self.process = process
        self.port = port
        self.file = stacks / str(port) / FILE_NAME
        self._log = log

    def endpoint(self) -> Endpoint:
        """Wait until the stack is up. Returns its endpoint."""
        self.until(self.file.exists)
        return Endpoint(**json.loads(self.file.read_text()))

    def until(self, is_so: Callable[[], bool]) -> None:
        deadline = time.monotonic() + LIMIT_S
        while not is_so():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.1)

    def end(self, signum: int) -> int:
        self.process.send_signal(signum)
        return self.process.wait(LIMIT_S)

    def said(self) -> str:
        return self._log.read_text()


@contextmanager
def make_run(folder: Path, port: int, *options: str, checkout: Path = ROOT) -> Iterator[Running]:
    stacks, log = folder / "stacks", folder / f"run-{port}.log"
    python = checkout / PYTHON.relative_to(ROOT)
    command = [str(python), "-m", "local", "--port", str(port), "--stacks", str(stacks), "--no-demo", *options]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=checkout, stdout=output, stderr=output)
    try:
        yield Running(process, port, stacks, log)
    finally:
        process.terminate()
        process.wait(LIMIT_S)


def processes_of(port: int) -> list[int]:
    """The processes of a port's emulator and of its functions. All inherit a variable that names the port."""
    mark = f"GATEWAY_PORT={port}".encode()
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in environ.read_bytes().split(b"\0"):
                found.append(int(environ.parent.name))
        except OSError:
            continue
    return found


def test_a_taken_port_is_said_in_one_line(endpoint: Endpoint) -> None:
    port = endpoint.aws_endpoint_url.rpartition(":")[2]
    command = [str(PYTHON), "-m", "local", "--port", port]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr == f"Port {port} is taken. Choose another: make run PORT={int(port) + 1}\n"


def test_runs_url_and_key_survive_a_stop_until_a_fresh_start(tmp_path: Path) -> None:
    port = free_port()
    with make_run(tmp_path, port) as first:
        endpoint = first.endpoint()
        assert set(json.loads(first.file.read_text())) == {
            "url", "api_key", "aws_endpoint_url", "region", "stack", "table",
        }  # fmt: skip
        run_id = Api(endpoint).new_run(inputs={"n": 1})
        Api(endpoint).start(run_id)
        run = Api(endpoint).get(f"/runs/{run_id}").body
        assert processes_of(port)
        assert first.end(signal.SIGTERM) == 0
        assert processes_of(port) == []
        assert not first.file.exists()

    with make_run(tmp_path, port) as second:
        assert second.endpoint() == endpoint
        assert Api(endpoint).get(f"/runs/{run_id}").body == run
        assert Api(endpoint).event(run_id, "COMPLETED").status == 200
        assert second.end(signal.SIGHUP) == 0
        assert processes_of(port) == []
        assert not second.file.exists()

    with make_run(tmp_path, port, "--fresh") as third:
        fresh = third.endpoint()
        assert fresh.api_key != endpoint.api_key
        assert Api(fresh).get("/runs").body["data"] == []


@pytest.mark.long
def test_a_restarted_stack_pushes_only_events_that_were_written_after_the_restart(tmp_path: Path) -> None:
    port = free_port()
    with make_run(tmp_path, port) as first:
        endpoint = first.endpoint()
        run_id = Api(endpoint).new_run(event_delivery={"topic": "kept.fifo"})
        assert first.end(signal.SIGTERM) == 0
    with make_run(tmp_path, port) as second:
        second.endpoint()
        subscriber = Subscriber(endpoint, "kept.fifo")
        Api(endpoint).start(run_id)
        received = subscriber.receive(wait_s=20) + subscriber.receive(wait_s=2)
        assert [message["data"]["seq"] for message, _ in received] == [0]


@pytest.mark.long
def test_a_killed_emulator_is_noticed_and_said(tmp_path: Path) -> None:
    port = free_port()
    with make_run(tmp_path, port) as stack:
        stack.endpoint()
        [emulator] = [pid for pid in processes_of(port) if parent_of(pid) == stack.process.pid]
        os.kill(emulator, signal.SIGKILL)
        assert stack.process.wait(LIMIT_S) == 1
        assert "The emulator has died" in stack.said()
        assert "Traceback" not in stack.said()
        assert not stack.file.exists()
        assert processes_of(port) == []


@pytest.mark.long
def test_a_killed_make_run_takes_its_emulator_with_it_and_commands_say_so(tmp_path: Path) -> None:
    port = free_port()
    with make_run(tmp_path, port) as stack:
        stack.endpoint()
        stack.end(signal.SIGKILL)
        deadline = time.monotonic() + LIMIT_S
        while processes_of(port) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert processes_of(port) == []
        assert stack.file.exists()
        with pytest.raises(NoStack, match=f"Nothing answers on port {port}"):
            find(None, tmp_path / "stacks")


@pytest.mark.long
def test_two_stacks_of_one_checkout_keep_out_of_each_others_way(tmp_path: Path) -> None:
    checkout = copied_checkout(tmp_path / "a checkout")
    ports = free_port(), free_port()
    with make_run(tmp_path, ports[0], checkout=checkout) as one, make_run(tmp_path, ports[1], checkout=checkout) as two:
        endpoints = one.endpoint(), two.endpoint()
        run_ids = [Api(endpoint).new_run() for endpoint in endpoints]
        with pytest.raises(NoStack, match="Choose one: PORT="):
            find(None, tmp_path / "stacks")
        assert find(ports[1], tmp_path / "stacks") == endpoints[1]
        assert two.end(signal.SIGTERM) == 0
        assert one.file.exists()
        assert find(None, tmp_path / "stacks") == endpoints[0]
        assert [row["id"] for row in Api(endpoints[0]).get("/runs").body["data"]] == [run_ids[0]]


@pytest.mark.long
def test_an_edited_function_and_an_edited_layer_are_deployed_without_a_network(tmp_path: Path) -> None:
    """The path of the checkout has spaces, and the packages of the layer were installed before."""
    checkout = copied_checkout(tmp_path / "a checkout with spaces")
    port = free_port()
    with make_run(tmp_path, port, checkout=checkout) as stack:
        api = Api(stack.endpoint())
        run_id = api.new_run()
        assert api.get(f"/runs/{run_id}").status == 200
        (checkout / ".local/venv/installer").unlink()

        function = checkout / "functions/get_run/app.py"
        whole = function.read_text()
        function.write_text(whole + "\n\nlambda_handler = lambda *_: {'statusCode': 200, 'body': '\"edited\"'}\n")
        assert reload(checkout, tmp_path) == (0, f"The stack on port {port} has the sources as they are now.\n", "")
        assert api.get(f"/runs/{run_id}").body == "edited"

        function.write_text("def lambda_handler(:\n")
        exit_code, said, why = reload(checkout, tmp_path)
        assert (exit_code, said) == (1, "")
        assert why.startswith("Not deployed: ")
        assert str(function) in why
        assert api.get(f"/runs/{run_id}").body == "edited"
        function.write_text(whole)
        assert reload(checkout, tmp_path)[0] == 0
        assert api.get(f"/runs/{run_id}").body["id"] == run_id

        transitions = checkout / "layers/gyoza_domain/gyoza_domain/domain/transitions.py"
        transitions.write_text(transitions.read_text().replace("Automatic retry", "Edited retry"))
        assert reload(checkout, tmp_path)[0] == 0
        run_id = api.new_run(retry_policy={"max_attempts": 2})
        api.start(run_id)
        assert api.event(run_id, "FAILED", payload={"error_message": "x"}).status == 200
        events = api.get(f"/runs/{run_id}/events?after_seq=-1").body["events"]
        assert [event["msg"] for event in events if event["type"] == "RETRIED"] == ["Edited retry"]


@pytest.mark.long
def test_an_edited_parameter_is_deployed_and_gone_when_it_is_taken_out(tmp_path: Path) -> None:
    checkout = copied_checkout(tmp_path / "a checkout")
    config = checkout / "samconfig.toml"
    whole = config.read_text()
    with make_run(tmp_path, free_port(), checkout=checkout) as stack:
        api = Api(stack.endpoint())

        def status_of_another_topic() -> int:
            return api.post("/runs", {"image": "busybox:1", "event_delivery": {"topic": "another"}}).status

        assert status_of_another_topic() == 201
        config.write_text(whole.replace("ThrottleBurst=5000", "ThrottleBurst=5000 Topics=orders"))
        assert reload(checkout, tmp_path)[0] == 0
        assert status_of_another_topic() == 422
        config.write_text(whole)
        assert reload(checkout, tmp_path)[0] == 0
        assert status_of_another_topic() == 201
        config.write_text("[")
        exit_code, _, why = reload(checkout, tmp_path)
        assert exit_code == 1
        assert why.startswith("Not deployed: samconfig.toml")


def copied_checkout(folder: Path) -> Path:
    """Copy the sources of this checkout and its environments. Only the layer's packages are built."""
    folder.mkdir()
    for name in ("functions", "layers", "local", "tools", "examples", "clients/python/src"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("template.yaml", "samconfig.toml"):
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(ROOT / ".local/layers", folder / ".local/layers")
    (folder / ".local/venv").mkdir()
    for name in ("local", "installer"):
        (folder / ".local/venv" / name).symlink_to(ROOT / ".local/venv" / name)
    return folder


def reload(checkout: Path, folder: Path) -> tuple[int, str, str]:
    """Run `make reload`. Returns its exit code, output and errors."""
    command = [sys.executable, "-m", "local.reload", "--stacks", str(folder / "stacks")]
    ended = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    return ended.returncode, ended.stdout, ended.stderr


def parent_of(pid: int) -> int:
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(fields["PPid"])

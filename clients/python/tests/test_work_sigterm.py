"""Tests what SIGTERM does to a program that works on jobs."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from clients.python.tests.handlers import answer_of
from clients.python.tests.scripted_server import Asked, Reply, ScriptedServer
from testing.gateway import Gateway

SOURCE = str(Path(__file__).resolve().parents[1] / "src")

PROGRAM = """
import os, signal, threading, time, warnings
from gyoza_client import GyozaClient

with GyozaClient() as client:
    {before}
    for job in client.work(queues=["q"], grace_s={grace_s}):
        with job:
            print("begun", flush=True)
            {block}
    print("ended", flush=True)
    {after}
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(server: ScriptedServer, api: Gateway) -> Iterator[Start]:
    """A function that starts a worker whose block, and what it does before and after its loop, are statements."""
    server.answers_with(lambda asked: answer_of(api, asked))
    started: list[subprocess.Popen[str]] = []

    def start(block: str, grace_s: float = 20.0, before: str = "", after: str = "") -> "subprocess.Popen[str]":
        block = block.replace("\n", "\n            ")
        program = PROGRAM.format(grace_s=grace_s, block=block, before=before, after=after)
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", program],
            env={"GYOZA_URL": server.url, "GYOZA_API_KEY": "key", "PYTHONPATH": SOURCE},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def ended(process: "subprocess.Popen[str]") -> tuple[int, list[str]]:
    """The exit code, and the lines printed since the last that was read."""
    out, _ = process.communicate(timeout=20)
    return process.returncode, out.split()


def begun(process: "subprocess.Popen[str]") -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"


def end_of(api: Gateway, run: Any) -> tuple[str, str | None]:
    run = api.get(f"/runs/{run['id']}").json
    return run["state"], run["execution_summary"]["reason"]


def test_an_idle_worker_ends_at_once(start: Start, server: ScriptedServer) -> None:
    process = start("pass")
    while not server.asked:
        time.sleep(0.01)
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    assert ended(process) == (0, ["ended"])
    assert len(server.asked) == 1


def test_a_job_may_end_within_the_grace_and_no_other_follows(start: Start, api: Gateway) -> None:
    first, second = api.create(queue="q", priority=9), api.create(queue="q")
    process = start("time.sleep(1)")
    begun(process)
    process.send_signal(signal.SIGTERM)
    assert ended(process) == (0, ["ended"])
    assert (end_of(api, first), end_of(api, second)) == (("COMPLETED", None), ("PENDING", None))


def test_a_job_that_goes_on_after_the_grace_fails_as_interrupted(start: Start, api: Gateway) -> None:
    run = api.create(queue="q")
    process = start(
        "try:\n    time.sleep(600)\nexcept SystemExit:\n    print('saved', flush=True)\n    raise", grace_s=0.5
    )
    begun(process)
    before = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert ended(process) == (128 + signal.SIGTERM, ["saved"])
    assert 0.5 < time.monotonic() - before < 10
    assert end_of(api, run) == ("FAILED", "interrupted")


def test_an_end_that_is_being_reported_is_not_interrupted(start: Start, server: ScriptedServer, api: Gateway) -> None:
    run = api.create(queue="q")

    def answer_ends_late(asked: Asked) -> Reply:
        if (asked.body or {}).get("type") == "COMPLETED":
            time.sleep(0.8)
        return answer_of(api, asked)

    server.answers_with(answer_ends_late)
    process = start("signal.raise_signal(signal.SIGTERM)\njob.complete()", grace_s=0.3)
    begun(process)
    assert ended(process) == (0, ["ended"])
    assert end_of(api, run) == ("COMPLETED", None)


def test_a_second_signal_ends_the_grace(start: Start, api: Gateway) -> None:
    run = api.create(queue="q")
    process = start("time.sleep(600)")
    begun(process)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    assert ended(process) == (128 + signal.SIGTERM, [])
    assert end_of(api, run) == ("FAILED", "interrupted")


def test_a_loop_whose_body_goes_on_without_a_job_is_interrupted_too(start: Start, api: Gateway) -> None:
    api.create(queue="q")
    process = start("job.complete()\nprint('complete', flush=True)\ntime.sleep(600)", grace_s=0.3)
    begun(process)
    assert process.stdout is not None
    assert process.stdout.readline() == "complete\n"
    process.send_signal(signal.SIGTERM)
    assert ended(process) == (128 + signal.SIGTERM, [])


def test_a_handler_of_the_program_stays(start: Start, api: Gateway) -> None:
    api.create(queue="q")
    handler = "signal.signal(signal.SIGTERM, lambda *_: os._exit(7))"
    process = start("signal.raise_signal(signal.SIGTERM)", before=handler)
    begun(process)
    assert ended(process) == (7, [])


def test_children_of_a_job_end_by_the_signal(start: Start, api: Gateway) -> None:
    """A child that was forked inherits the handler of its parent."""
    api.create(queue="q")
    process = start(
        "warnings.simplefilter('ignore')\n"  # Python 3.12 and later warn of a fork beside threads.
        "child = os.fork()\n"
        "if child == 0:\n"
        "    time.sleep(600)\n"
        "time.sleep(0.2)\n"
        "os.kill(child, signal.SIGTERM)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGTERM)"
    )
    begun(process)
    assert ended(process) == (0, [str(-signal.SIGTERM), "ended"])


def test_after_the_loop_the_signal_kills_as_ever(start: Start, api: Gateway) -> None:
    api.create(queue="q")
    process = start("break", after="signal.raise_signal(signal.SIGTERM)")
    begun(process)
    assert ended(process) == (-signal.SIGTERM, ["ended"])


def test_ctrl_c_fails_the_job_as_interrupted(start: Start, api: Gateway) -> None:
    run = api.create(queue="q")
    process = start("time.sleep(600)")
    begun(process)
    process.send_signal(signal.SIGINT)
    assert ended(process)[0] == -signal.SIGINT
    assert end_of(api, run) == ("FAILED", "interrupted")


def test_in_another_thread_the_loop_leaves_the_signal_alone(start: Start, api: Gateway) -> None:
    api.create(queue="q")
    process = start(
        "jobs = client.work(queues=['empty'])\n"
        "thread = threading.Thread(target=list, args=[jobs])\n"
        "signal.signal(signal.SIGTERM, signal.SIG_DFL)\n"
        "thread.start()\n"
        "time.sleep(0.3)\n"
        "print(thread.is_alive() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, flush=True)\n"
        "jobs.stop()\n"
        "os._exit(0)"
    )
    begun(process)
    assert ended(process) == (0, ["True"])

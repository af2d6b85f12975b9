"""Tests that the command of `gyoza exec` is dead before the server gives its run away, whatever dies or stands still.

The scripted server grants leases of two seconds, so that a deadline passes after 1.6.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from clients.python.tests.examples import error_json
from clients.python.tests.executing import (
    Execution,
    OneRun,
    Starter,
    bytecode,
    children,
    eventually,
    is_alive,
    start,
    stop,
)
from clients.python.tests.scripted_server import HANG_UP, Reply, ScriptedServer

__all__ = ["bytecode", "start"]  # fixtures

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="gyoza exec needs Linux")

LEASE_S = 2
FENCE_S = 0.8 * LEASE_S
NOTICED_S = 1.0
"""The time in which a busy machine wakes who waits."""

_COMMAND = """
import os, time
if not os.fork():
    os.setsid()
    if os.fork(): os._exit(0)
me = os.open(os.environ["LOG"] + "/" + str(os.getpid()), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
while True:
    os.write(me, b"%f\\n" % time.monotonic())
    time.sleep(0.02)
"""


@dataclass(frozen=True)
class Logged:
    """An execution whose command, and a daemon of it, write the time each 20 ms."""

    execution: Execution
    folder: Path

    @property
    def guard(self) -> int:
        return self.execution.guard

    @property
    def wrapper(self) -> int:
        return self.execution.process.pid

    @property
    def pids(self) -> list[int]:
        return [int(path.name) for path in self.folder.iterdir()]

    def last(self) -> float:
        """When the command or its daemon last wrote. Both must be dead."""
        assert len(self.pids) == 2
        assert [pid for pid in self.pids if is_alive(pid)] == []
        return max(float(path.read_text().splitlines()[-1]) for path in self.folder.iterdir())

    def dies(self, timeout_s: float = 10.0) -> float:
        eventually(lambda: not any(map(is_alive, self.pids)), timeout_s)
        return self.last()


Begin = Callable[..., Logged]


@pytest.fixture
def run(server: ScriptedServer) -> OneRun:
    return OneRun(server, lease_s=LEASE_S)


@pytest.fixture
def begin(start: Starter, run: OneRun, tmp_path: Path) -> Begin:
    assert run.lease_s == LEASE_S

    def begin(first: str = "") -> Logged:
        folder = tmp_path / "log"
        folder.mkdir()
        execution = start.python(_COMMAND, environ={"LOG": str(folder)}, first=first)
        eventually(lambda: len(list(folder.iterdir())) == 2 and all(path.read_text() for path in folder.iterdir()))
        return Logged(execution, folder)

    return begin


def last_renewal(run: OneRun) -> float:
    """When the last request that the server acknowledged came: the lease is counted from a little earlier."""
    return max(at for kind, at in run.times if kind in ("STARTED", "heartbeat"))


def test_the_command_dies_with_the_wrapper(begin: Begin, run: OneRun) -> None:
    job = begin()
    killed = time.monotonic()
    os.kill(job.wrapper, signal.SIGKILL)
    assert job.dies() < killed + NOTICED_S
    assert job.execution.wait() == -signal.SIGKILL
    assert run.types == ["STARTED"]
    _, _, err = job.execution.ended()
    assert err == b"gyoza exec: the wrapper died, and the command was killed\n"


def test_the_command_dies_with_the_guard_and_the_run_fails(begin: Begin, run: OneRun) -> None:
    job = begin()
    killed = time.monotonic()
    os.kill(job.guard, signal.SIGKILL)
    assert job.execution.wait() == 137
    assert job.last() < killed + NOTICED_S
    assert run.end == {
        "type": "FAILED",
        "payload": {
            "signal": "SIGKILL",
            "error_message": "The guard of the command died, and the command was killed",
        },
    }


def test_a_guard_that_dies_before_the_command_begins_fails_the_run(run: OneRun, start: Starter, tmp_path: Path) -> None:
    run.replies["STARTED"] = HANG_UP
    execution = start("touch", str(tmp_path / "begun"))
    eventually(lambda: run.types)
    os.kill(execution.guard, signal.SIGKILL)
    del run.replies["STARTED"]
    assert execution.wait() == 1
    assert run.end["payload"] == {"error_message": "The command did not begin: its guard died"}
    assert not (tmp_path / "begun").exists()


@pytest.mark.contention
def test_the_guard_kills_the_command_of_a_wrapper_that_stands_still(begin: Begin, run: OneRun) -> None:
    job = begin()
    stop(job.wrapper)
    renewed = last_renewal(run)
    assert renewed + FENCE_S - 0.5 < job.dies() < renewed + LEASE_S
    os.kill(job.wrapper, signal.SIGCONT)
    code, _, err = job.execution.ended()
    assert (code, run.types) == (137, ["STARTED"])
    assert b"no heartbeat was acknowledged in time" in err


def test_a_guard_that_was_stopped_is_told_to_go_on(begin: Begin, run: OneRun) -> None:
    job = begin()
    os.kill(job.guard, signal.SIGSTOP)
    time.sleep(0.1)
    job.execution.process.terminate()
    code, _, err = job.execution.ended()
    assert (code, err) == (143, b"gyoza exec: the guard was stopped; it is told to go on\n")
    job.last()
    assert run.end["payload"]["reason"] == "interrupted"


@pytest.mark.contention
def test_the_wrapper_kills_the_command_of_a_guard_that_stands_still(begin: Begin, run: OneRun) -> None:
    # As in a frozen cgroup, the wrapper cannot let the guard go on.
    job = begin("wrapper._Wrapper._reaped = lambda *_: None")
    stop(job.guard)
    run.replies["heartbeat"] = HANG_UP
    renewed = last_renewal(run)
    assert renewed + FENCE_S - 0.5 < job.dies() < renewed + LEASE_S
    code, _, err = job.execution.ended()
    assert (code, run.types) == (137, ["STARTED"])
    assert err == b"gyoza exec: no heartbeat was acknowledged in time\n"


@pytest.mark.contention
def test_a_guard_that_is_stopped_again_and_again_and_its_command_die_before_the_lease(
    begin: Begin, run: OneRun
) -> None:
    job = begin()
    guard = job.guard
    run.replies["heartbeat"] = HANG_UP
    renewed = last_renewal(run)
    while is_alive(guard):  # the wrapper lets it go on: it is stopped again and again
        try:
            os.kill(guard, signal.SIGSTOP)
        except ProcessLookupError:
            break
        time.sleep(0.0002)
    assert job.dies() < renewed + LEASE_S
    assert job.execution.wait() == 137
    assert run.types == ["STARTED"]


def test_a_guard_that_stands_still_goes_on_when_the_wrapper_dies(begin: Begin) -> None:
    job = begin()
    guard = job.guard
    stop(job.wrapper)
    stop(guard)
    for pid in job.pids:
        stop(pid)
    os.kill(job.wrapper, signal.SIGKILL)
    job.dies()
    eventually(lambda: not is_alive(guard))


def test_the_kernel_kills_the_command_of_a_dead_guard_though_the_wrapper_stands_still(begin: Begin) -> None:
    job = begin()
    guard = job.guard
    # The command is older than its daemon, which has become the guard's child too.
    command = min(children(guard))
    stop(job.wrapper)
    os.kill(guard, signal.SIGKILL)
    eventually(lambda: not is_alive(command))
    os.kill(job.wrapper, signal.SIGCONT)
    job.execution.wait()
    job.last()


def test_all_that_stood_still_until_the_lease_was_over_dies_when_it_goes_on(begin: Begin, run: OneRun) -> None:
    job = begin()
    stopped = [*job.pids, job.guard, job.wrapper]
    # The wrapper first: it would let the guard go on.
    for pid in reversed(stopped):
        stop(pid)
    time.sleep(LEASE_S)
    for pid in stopped:
        os.kill(pid, signal.SIGCONT)
    went_on = time.monotonic()
    assert job.execution.wait() == 137
    assert job.last() < went_on + NOTICED_S
    assert run.types == ["STARTED"]


@pytest.mark.contention
def test_the_command_dies_before_a_lease_that_nobody_renews(begin: Begin, run: OneRun) -> None:
    job = begin()
    run.replies["heartbeat"] = HANG_UP
    renewed = last_renewal(run)
    code, _, err = job.execution.ended()
    assert renewed + FENCE_S - 0.5 < job.last() < renewed + LEASE_S
    assert (code, run.types) == (137, ["STARTED"])
    assert b"no heartbeat was acknowledged in time" in err


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (404, "run_not_found"),
        (409, "stale_attempt"),
        (409, "not_claimant"),
        (400, "run_locked"),
        (400, "not_leased"),
    ],
)
def test_the_command_dies_when_a_heartbeat_is_refused(status: int, code: str, begin: Begin, run: OneRun) -> None:
    job = begin()
    run.replies["heartbeat"] = Reply(status, error_json(code))
    exit_code, _, err = job.execution.ended()
    refused = next(at for kind, at in run.times if kind == "heartbeat")
    assert job.last() < refused + NOTICED_S
    assert (exit_code, run.types) == (137, ["STARTED"])
    assert err.startswith(b"gyoza exec: the run is no longer ours: ")


@pytest.mark.parametrize(("status", "code"), [(503, "unavailable"), (429, "throttled"), (403, "forbidden")])
def test_an_answer_that_refuses_nothing_is_asked_for_again(status: int, code: str, begin: Begin, run: OneRun) -> None:
    job = begin()
    run.replies["heartbeat"] = Reply(status, error_json(code))
    eventually(lambda: [kind for kind, _ in run.times].count("heartbeat") >= 2)
    del run.replies["heartbeat"]
    time.sleep(FENCE_S)
    assert all(map(is_alive, job.pids))
    job.execution.process.terminate()
    assert job.execution.wait() == 143
    job.last()

"""Tests `gyoza exec` as a process: what it reports, passes on and gives to its command."""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from clients.python.tests.examples import RUN_ID, error_json, run_json
from clients.python.tests.executing import OneRun, Starter, bytecode, children, eventually, is_alive, start
from clients.python.tests.scripted_server import HANG_UP, Reply, ScriptedServer

__all__ = ["bytecode", "start"]  # fixtures

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="gyoza exec needs Linux")


@pytest.fixture
def run(server: ScriptedServer) -> OneRun:
    return OneRun(server, inputs={"text": "grüße"}, image="busybox:1")


def refusals() -> list[Any]:
    return [
        pytest.param(Reply(400, error_json("run_locked")), id="400"),
        pytest.param(Reply(400, error_json("invalid_transition")), id="400 running"),
        pytest.param(Reply(404, error_json("run_not_found")), id="404"),
        pytest.param(Reply(409, error_json("stale_attempt")), id="409"),
        pytest.param(Reply(409, error_json("not_claimant")), id="409 claimed"),
        pytest.param(Reply(200, run_json("RUNNING", execution_summary={"worker_id": "another"})), id="another worker"),
        pytest.param(Reply(200, run_json("PENDING", current_attempt=2)), id="another attempt"),
        pytest.param(Reply(200, run_json("COMPLETED", execution_summary={"worker_id": "w"})), id="ended"),
    ]


@pytest.mark.parametrize("reply", refusals())
def test_a_run_that_is_not_ours_to_begin_begins_no_command(
    reply: Reply, run: OneRun, start: Starter, tmp_path: Path
) -> None:
    run.replies["STARTED"] = reply
    execution = start("touch", str(tmp_path / "begun"), environ={"GYOZA_WORKER_ID": "w"})
    code, out, err = execution.ended()
    assert (code, out, run.types) == (0, b"", ["STARTED"])
    assert err.startswith(b"gyoza exec: the run is not ours to begin: ")
    assert not (tmp_path / "begun").exists()


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(Reply(403, error_json("forbidden")), id="403"),
        pytest.param(Reply(422, error_json("validation_error")), id="422"),
        pytest.param(Reply(200, b"<html>"), id="another server"),
        pytest.param(Reply(400, b"<html>"), id="400 of another server"),
        pytest.param(Reply(404, {"message": "Not Found"}), id="404 of another server"),
        pytest.param(Reply(404, error_json("not_found")), id="404 of a path"),
        pytest.param(Reply(409), id="409 of another server"),
    ],
)
def test_no_word_of_the_run_begins_no_command_and_is_temporary(
    reply: Reply, run: OneRun, start: Starter, tmp_path: Path
) -> None:
    run.replies["STARTED"] = reply
    code, _, err = start("touch", str(tmp_path / "begun")).ended()
    assert (code, run.types) == (75, ["STARTED"])
    assert err.startswith(b"gyoza exec: the run could not be begun: ")
    assert not (tmp_path / "begun").exists()


def test_a_run_that_stays_busy_begins_no_command_and_is_temporary(run: OneRun, start: Starter, tmp_path: Path) -> None:
    run.replies["STARTED"] = Reply(409, error_json("run_busy"))
    impatient = "client = wrapper.GyozaClient; wrapper.GyozaClient = lambda *address: client(*address, max_retries=1)"
    code, _, err = start("touch", str(tmp_path / "begun"), first=impatient).ended()
    assert (code, run.types) == (75, ["STARTED", "STARTED"])
    assert err.startswith(b"gyoza exec: the run could not be begun: 409 run_busy")
    assert not (tmp_path / "begun").exists()


def test_a_server_that_does_not_answer_is_left_at_sigterm_after_the_grace(run: OneRun, start: Starter) -> None:
    run.replies["STARTED"] = HANG_UP
    execution = start("true", options=["--grace", "0.2"])
    eventually(lambda: run.types)
    execution.process.terminate()
    assert execution.wait() == 75
    keys = {asked.headers["idempotency-key"] for asked in run.server.asked}
    assert len(keys) == 1


def test_started_carries_the_attempt_a_lease_and_a_worker_and_key_of_this_process(run: OneRun, start: Starter) -> None:
    for options in ([], ["--lease", "15"]):
        assert start("true", options=options).wait() == 0
    first, second = (event for event in run.events if event["type"] == "STARTED")
    assert (first["attempt"], first["payload"]["lease_s"], second["payload"]["lease_s"]) == (1, 300, 15)
    assert first["payload"]["worker_id"] != second["payload"]["worker_id"]
    keys = [asked.headers["idempotency-key"] for asked in run.server.asked]
    assert len(set(keys)) == len(keys) == 4


def test_a_command_gets_the_run_in_its_environment_and_no_key(run: OneRun, start: Starter) -> None:
    script = """
import json, os, sys
inputs = json.load(open(os.environ["GYOZA_INPUTS"]))
json.dump({"inputs": inputs, "environ": dict(os.environ), "stdin": sys.stdin.read(),
           "signals": open("/proc/self/status").read(), "files": sorted(os.listdir("/proc/self/fd"))},
          open(os.environ["GYOZA_OUTPUTS"], "w"))
"""
    assert start.python(script, environ={"GYOZA_WORKER_ID": "slot-1"}).ended() == (0, b"", b"")
    assert run.types == ["STARTED", "COMPLETED"]
    outputs = run.end["payload"]["outputs"]
    assert outputs["inputs"] == {"text": "grüße"}
    environ = outputs["environ"]
    assert (
        environ.items()
        >= {
            "GYOZA_RUN_ID": RUN_ID,
            "GYOZA_ATTEMPT": "1",
            "GYOZA_IMAGE": "busybox:1",
            "GYOZA_WORKER_ID": "slot-1",
            "GYOZA_URL": run.server.url,
        }.items()
    )
    assert "the-secret-key" not in environ.values()
    assert outputs["stdin"] == ""
    assert "SigBlk:\t0000000000000000" in outputs["signals"]
    assert outputs["files"] == ["0", "1", "2", "3"]  # the last is the listed folder


def test_the_key_is_left_to_a_command_that_needs_it(run: OneRun, start: Starter) -> None:
    assert start.sh("echo $GYOZA_API_KEY", options=["--keep-key"]).ended() == (0, b"the-secret-key\n", b"")
    assert run.types == ["STARTED", "COMPLETED"]


_READ_KEYS = """
import os, sys
found = []
for pid in filter(str.isdecimal, os.listdir("/proc")):
    for name in ("environ", "mem"):
        try:
            text = open(f"/proc/{pid}/{name}", "rb").read(1 << 20)
        except OSError:
            continue
        if b"the-secret-key" in text:
            found.append((pid, name))
print(found)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
@pytest.mark.parametrize(
    "become",
    [
        # The capability lets this user read the Python of the tests, wherever it is.
        pytest.param(
            "--reuid=65534 --regid=65534 --clear-groups"
            " --inh-caps=-all,+dac_read_search --ambient-caps=-all,+dac_read_search",
            id="another user",
        ),
        pytest.param("--bounding-set=-sys_ptrace,-sys_admin,-perfmon", id="root of a container"),
    ],
)
def test_the_command_cannot_read_the_key_from_the_processes_above_it(become: str, run: OneRun, start: Starter) -> None:
    environ = {"TMPDIR": None, "PYTHONDONTWRITEBYTECODE": "1"}
    code, out, err = start.python(_READ_KEYS, before=["setpriv", *become.split()], environ=environ).ended()
    assert (code, out, err) == (0, b"[]\n", b"")
    assert run.types == ["STARTED", "COMPLETED"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root reads the memory of others")
def test_the_search_for_the_key_would_find_it(run: OneRun, start: Starter) -> None:
    code, out, _ = start.python(_READ_KEYS, options=["--keep-key"]).ended()
    assert (code, run.types) == (0, ["STARTED", "COMPLETED"])
    assert b"environ" in out


def bad_outputs(why: str) -> dict[str, Any]:
    return {"exit_code": 0, "error_message": f"The command ended with exit code 0, but its outputs file {why}"}


@pytest.mark.parametrize(
    ("script", "code", "payload"),
    [
        ("echo oops >&2; exit 3", 3, {"exit_code": 3, "error_message": "The command ended with exit code 3\noops"}),
        ("kill -SEGV $$", 139, {"signal": "SIGSEGV", "error_message": "The command was killed by SIGSEGV"}),
        ("printf '[' > $GYOZA_OUTPUTS", 0, bad_outputs("is no JSON: Expecting value: line 1 column 2 (char 1)")),
        ("printf '[1]' > $GYOZA_OUTPUTS", 0, bad_outputs("is no JSON object but an array")),
        ("mkfifo $GYOZA_OUTPUTS", 0, bad_outputs("is no regular file")),
        ("head -c 1048577 /dev/zero > $GYOZA_OUTPUTS", 0, bad_outputs("has more than 1048576 bytes")),
    ],
)
def test_a_failure_is_reported_and_the_exit_code_is_the_commands(
    script: str, code: int, payload: dict[str, Any], run: OneRun, start: Starter
) -> None:
    assert start.sh(script).ended()[0] == code
    assert run.types == ["STARTED", "FAILED"]
    assert run.end == {"type": "FAILED", "payload": payload}


def test_a_command_that_cannot_be_run_is_a_failure(run: OneRun, start: Starter) -> None:
    code, out, err = start("no-such-command").ended()
    assert (code, out) == (127, b"")
    assert err == b"gyoza exec: cannot run 'no-such-command': No such file or directory\n"
    assert run.end["payload"]["error_message"].endswith("No such file or directory")
    assert start("/etc/passwd").ended()[0] == 126


@pytest.mark.parametrize("status", [413, 422])
def test_outputs_that_the_api_refuses_are_a_failure_that_says_so(status: int, run: OneRun, start: Starter) -> None:
    run.replies["COMPLETED"] = Reply(status, error_json("too_large", "outputs exceed 262144 bytes"))
    assert start.sh("echo last words").ended() == (0, b"last words\n", b"")
    assert run.types == ["STARTED", "COMPLETED", "FAILED"]
    assert run.end["payload"]["exit_code"] == 0
    message = run.end["payload"]["error_message"]
    assert message.startswith("The command ended with exit code 0, but the API refused its outputs: ")
    assert "outputs exceed 262144 bytes" in message
    assert message.endswith("\nlast words")


def test_a_failure_whose_text_the_api_refuses_is_reported_without_it(run: OneRun, start: Starter) -> None:
    run.replies["FAILED"] = Reply(413, error_json("too_large"))
    code, _, err = start.sh("echo oops; exit 3").ended()
    assert code == 3
    assert run.types == ["STARTED", "FAILED", "FAILED"]
    assert run.end["payload"] == {"exit_code": 3, "error_message": "The command ended with exit code 3"}
    assert err.startswith(b"gyoza exec: the end was refused: 413")


def test_the_end_is_sent_until_it_is_answered_and_beats_go_on_meanwhile(run: OneRun, start: Starter) -> None:
    run.lease_s = 4
    run.replies["COMPLETED"] = HANG_UP
    execution = start("true", options=["--lease", "15"])
    eventually(lambda: Counter(kind for kind, _ in run.times)["heartbeat"] >= 2 and run.types.count("COMPLETED") >= 2)
    run.replies["COMPLETED"] = Reply(503, error_json("unavailable"))
    seen = len(run.types)
    eventually(lambda: len(run.types) > seen)
    # The end may have arrived: a heartbeat that is refused for it is no news.
    run.replies["heartbeat"] = Reply(400, error_json("run_locked"))
    beats = [kind for kind, _ in run.times].count("heartbeat")
    eventually(lambda: [kind for kind, _ in run.times].count("heartbeat") > beats)
    del run.replies["COMPLETED"]
    assert execution.ended() == (0, b"", b"")
    keys = {
        asked.headers["idempotency-key"] for asked in run.server.asked if (asked.body or {}).get("type") == "COMPLETED"
    }
    assert len(keys) == 1


def test_an_end_that_nobody_takes_is_left_when_the_lease_is_over(run: OneRun, start: Starter) -> None:
    run.lease_s = 2
    run.replies |= {"COMPLETED": HANG_UP, "heartbeat": HANG_UP}
    code, _, err = start("true").ended()
    assert (code, err) == (75, b"gyoza exec: the end could not be reported before the lease ran out\n")


def test_an_end_that_is_too_late_is_not_sent_again(run: OneRun, start: Starter) -> None:
    run.replies["COMPLETED"] = Reply(409, error_json("stale_attempt"))
    code, _, err = start("true").ended()
    assert (code, run.types) == (0, ["STARTED", "COMPLETED"])
    assert err.startswith(b"gyoza exec: the end was refused: 409 stale_attempt")


@pytest.mark.parametrize(
    "reply",
    [Reply(404, b"<html>"), Reply(400, {"message": "Bad"}), Reply(409), Reply(422, {"detail": "no"}), Reply(410)],
    ids=lambda reply: str(reply.status),
)
def test_an_end_that_something_else_than_the_api_refuses_is_sent_again(
    reply: Reply, run: OneRun, start: Starter
) -> None:
    run.replies["COMPLETED"] = reply
    execution = start("true")
    eventually(lambda: run.types.count("COMPLETED") >= 2)
    del run.replies["COMPLETED"]
    assert execution.ended() == (0, b"", b"")
    assert set(run.types) == {"STARTED", "COMPLETED"}


def test_a_line_of_its_own_shows_control_characters_as_escapes(run: OneRun, start: Starter) -> None:
    run.replies["STARTED"] = Reply(404, error_json("run_not_found", "no\nrun\x1b[2J"))
    code, _, err = start("true").ended()
    assert (code, err.count(b"\n")) == (0, 1)
    assert b"no\\nrun\\x1b[2J" in err


@pytest.mark.parametrize("image", ["a\0b", "\ud800"])
def test_an_image_that_no_variable_can_hold_is_a_failure(image: str, run: OneRun, start: Starter) -> None:
    run.fields = {"image": image}
    assert start("true").ended() == (1, b"", b"")
    assert run.types == ["STARTED", "FAILED"]
    assert f"its image {image!a} cannot be" in run.end["payload"]["error_message"]


def test_a_command_that_cannot_be_forked_is_a_failure_that_says_so(run: OneRun, start: Starter) -> None:
    first = """
import os
fork, forks = os.fork, []
def fork_once():
    if os.getpid() != wrapper_pid: raise BlockingIOError(11, "Resource temporarily unavailable")
    return fork()
wrapper_pid = os.getpid()
os.fork = fork_once
"""
    assert start("true", first=first).ended() == (1, b"", b"")
    message = "The command did not begin: no process can be started: Resource temporarily unavailable"
    assert run.end == {"type": "FAILED", "payload": {"error_message": message}}


def _few_threads(number: int) -> str:
    return f"""
import threading
begin, begun = threading.Thread.start, []
def start(thread):
    if len(begun) == {number}: raise RuntimeError("can't start new thread")
    begun.append(thread)
    begin(thread)
threading.Thread.start = start
"""


@pytest.mark.parametrize("number", [0, 1, 2])
def test_without_threads_nothing_is_sent(number: int, run: OneRun, start: Starter) -> None:
    ended = start("true", first=_few_threads(number)).ended()
    assert ended == (75, b"", b"gyoza exec: the run could not be begun: can't start new thread\n")
    assert run.types == []


@pytest.mark.parametrize("number", [3, 4, 5])
def test_without_threads_for_the_command_the_run_fails(number: int, run: OneRun, start: Starter) -> None:
    assert start("true", first=_few_threads(number)).ended() == (1, b"", b"")
    message = "The command did not begin: can't start new thread"
    assert run.end == {"type": "FAILED", "payload": {"error_message": message}}


def test_progress_is_reported_once_a_second_at_most_and_the_newest_wins(run: OneRun, start: Starter) -> None:
    script = """
import time
for percent in range(61):
    print(f"::gyoza progress={percent}", flush=True)
    time.sleep(0.04)
time.sleep(1.2)
"""
    code, out, err = start.python(script).ended()
    assert (code, err) == (0, b"")
    assert out == b"".join(b"::gyoza progress=%d\n" % percent for percent in range(61))
    reported = [event["msg"] for event in run.events if event["type"] == "PROGRESS"]
    assert reported == sorted(set(reported))
    assert reported[-1] == 60
    assert 3 <= len(reported) <= 6
    times = [at for kind, at in run.times if kind == "PROGRESS"]
    assert all(later - earlier > 0.9 for earlier, later in pairwise(times))


def test_the_newest_progress_is_reported_before_the_end_and_a_second_after_the_one_before_it(
    run: OneRun, start: Starter
) -> None:
    script = "echo ::gyoza progress=10; sleep 0.5; echo ::gyoza progress=50; echo ::gyoza progress=90; exit 3"
    assert start.sh(script).ended()[0] == 3
    assert run.types == ["STARTED", "PROGRESS", "PROGRESS", "FAILED"]
    assert [event["msg"] for event in run.events if event["type"] == "PROGRESS"] == [10, 90]
    first, newest = (at for kind, at in run.times if kind == "PROGRESS")
    [end] = (at for kind, at in run.times if kind == "FAILED")
    assert newest - first > 0.9
    assert end - first < 2


def test_progress_that_was_reported_is_not_reported_again_at_the_end(run: OneRun, start: Starter) -> None:
    assert start.sh("echo ::gyoza progress=10; sleep 0.5; echo ::gyoza progress=10").ended()[0] == 0
    assert run.types == ["STARTED", "PROGRESS", "COMPLETED"]


def test_progress_that_nobody_answers_holds_the_end_up_for_some_seconds_only(run: OneRun, start: Starter) -> None:
    run.replies["PROGRESS"] = HANG_UP
    assert start.sh("echo ::gyoza progress=10; sleep 0.5; echo ::gyoza progress=90").ended()[0] == 0
    assert run.types[-1] == "COMPLETED"
    begun = next(at for kind, at in run.times if kind == "PROGRESS")
    [end] = (at for kind, at in run.times if kind == "COMPLETED")
    assert end - begun < 7


def test_progress_that_is_refused_and_comes_from_the_error_output_delays_nothing(run: OneRun, start: Starter) -> None:
    run.replies["PROGRESS"] = Reply(404, error_json("run_not_found"))
    assert start.sh("echo ::gyoza progress=5 >&2; sleep 0.3").ended()[0] == 0
    assert run.types == ["STARTED", "PROGRESS", "COMPLETED"]


def test_output_passes_through_byte_for_byte(run: OneRun, start: Starter, tmp_path: Path) -> None:
    chaos = os.urandom(3_000_000) + b"\0\0\xff\xfe\xc3" * 10 + b"\r\n::gyoza progress=40\nno line break"
    (tmp_path / "out").write_bytes(chaos)
    (tmp_path / "err").write_bytes(chaos[::-1])
    execution = start.sh(f"cat {tmp_path}/out & cat {tmp_path}/err >&2; wait; exit 4")
    code, out, err = execution.ended()
    assert (code, out == chaos, err == chaos[::-1]) == (4, True, True)
    assert run.end["payload"]["exit_code"] == 4
    assert "\0" not in run.end["payload"]["error_message"]


def test_a_reader_that_is_gone_does_not_end_the_command(run: OneRun, start: Starter) -> None:
    execution = start.sh("for i in 1 2 3 4 5 6 7 8 9; do echo line; sleep 0.05; done; exit 0")
    assert execution.process.stdout is not None
    execution.process.stdout.close()
    assert execution.wait() == 0
    assert run.types == ["STARTED", "COMPLETED"]


def test_a_reader_that_does_not_read_holds_the_end_up_for_a_while_only(run: OneRun, start: Starter) -> None:
    execution = start.sh("head -c 100000 /dev/zero; exit 0", first="wrapper._DRAIN_S = 0.5")
    assert execution.wait() == 0
    assert run.types == ["STARTED", "COMPLETED"]


def test_a_terminal_or_a_full_pipe_that_does_not_block_loses_nothing(run: OneRun, start: Starter) -> None:
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    execution = start.sh("head -c 500000 /dev/zero", stdout=theirs)
    os.close(theirs)
    eventually(lambda: run.types)
    time.sleep(0.2)
    with os.fdopen(ours, "rb") as output:
        assert output.read() == bytes(500_000)
    assert execution.wait() == 0


@pytest.mark.long
def test_a_gigabyte_passes_in_bounded_memory(run: OneRun, start: Starter) -> None:
    execution = start.sh("head -c 1000000000 /dev/urandom | tee /dev/stderr; exit 0", stderr=subprocess.DEVNULL)
    assert execution.process.stdout is not None
    size = peak_kb = 0
    while chunk := execution.process.stdout.read(10_000_000):
        size += len(chunk)
        peak_kb = max([peak_kb, *map(peak_memory_kb, [execution.process.pid, *children(execution.process.pid)])])
    code, _, _ = execution.ended()
    assert (size, code, run.types) == (1_000_000_000, 0, ["STARTED", "COMPLETED"])
    assert 0 < peak_kb < 60_000


def peak_memory_kb(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return max(map(int, re.findall(r"VmHWM:\s+(\d+) kB", status)), default=0)


def test_standard_files_that_are_closed_are_nobody_elses(run: OneRun, start: Starter) -> None:
    # The pipes of the command must not become the descriptors 0 to 2 of the wrapper.
    execution = start.sh("echo out; echo err >&2; exit 3", before=["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"])
    assert execution.ended() == (3, b"", b"")
    headline, *lines = run.end["payload"]["error_message"].splitlines()
    assert (headline, sorted(lines)) == ("The command ended with exit code 3", ["err", "out"])


def test_the_end_waits_for_the_death_of_all_that_descends_from_the_command(
    run: OneRun, start: Starter, tmp_path: Path
) -> None:
    script = f"""
import os, time
def daemon(path):
    if os.fork(): return
    os.setsid()
    if os.fork(): os._exit(0)
    for file in range(3): os.close(file)
    open(path, "w").write(str(os.getpid()))
    time.sleep(60)
daemon("{tmp_path}/daemon")
while not os.path.exists("{tmp_path}/daemon") or not open("{tmp_path}/daemon").read(): time.sleep(0.01)
"""
    # The guard is slow to kill, and the daemon holds no output open.
    slowly = """
import time
from gyoza_client._exec import guard
at_once = guard.kill_descendants
guard.kill_descendants = lambda: (time.sleep(0.5), at_once())
"""
    seen: list[bool] = []
    original = run.server._script

    def look(asked: Any) -> Reply:
        if (asked.body or {}).get("type") == "COMPLETED":
            seen.append(is_alive(int((tmp_path / "daemon").read_text())))
        return original(asked)

    run.server.answers_with(look)
    assert start.python(script, first=slowly).ended() == (0, b"", b"")
    assert seen == [False]


@pytest.mark.parametrize("new_session", ["", "os.setsid()"])
def test_a_chain_of_processes_that_fork_and_end_is_overtaken(new_session: str, run: OneRun, start: Starter) -> None:
    script = f"""
import os, time
if os.fork():
    time.sleep(0.2)
    os._exit(0)
while True:
    if os.fork(): os._exit(0)
    {new_session}
"""
    assert start.python(script).ended() == (0, b"", b"")
    assert run.types == ["STARTED", "COMPLETED"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make a PID namespace")
@pytest.mark.skipif(not shutil.which("unshare"), reason="needs unshare")
def test_as_the_first_process_of_a_container_it_reaps_passes_signals_on_and_kills(run: OneRun, start: Starter) -> None:
    script = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
parents = []
for _ in range(5):
    if not os.fork():
        if not os.fork(): os._exit(0)  # an orphan, which somebody must reap
        os._exit(0)
    os.wait()
time.sleep(0.5)
states = [open(f"/proc/{pid}/stat").read().rsplit(")")[1].split()[0] for pid in os.listdir("/proc") if pid.isdecimal()]
print("gyoza_client" in open("/proc/1/cmdline").read(), states.count("Z"), flush=True)
time.sleep(30)
"""
    execution = start.python(script, before=["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"])
    assert execution.line() == b"True 0\n"
    [wrapper] = children(execution.process.pid)
    os.kill(wrapper, signal.SIGTERM)
    assert execution.ended() == (7, b"", b"")
    assert run.end["payload"].items() >= {"exit_code": 7, "reason": "interrupted"}.items()


def test_without_a_proc_of_its_own_it_does_not_begin(run: OneRun, start: Starter) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may make a PID namespace")
    code, _, err = start("true", before=["unshare", "--pid", "--fork"]).ended()
    assert code == 2
    assert b"/proc" in err
    assert run.types == []


def test_every_catchable_signal_is_passed_on(run: OneRun, start: Starter) -> None:
    script = """
import signal
passed = set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}
signal.pthread_sigmask(signal.SIG_BLOCK, passed)
print("ready", flush=True)
while (got := signal.sigwait(passed)) != signal.SIGTERM:
    print(int(got), flush=True)
"""
    execution = start.python(script)
    assert execution.line() == b"ready\n"
    # One after the other: the kernel drops SIGCONT for the signals that stop, and these for SIGCONT.
    for signum in sorted(
        set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGTERM}
    ):
        execution.process.send_signal(signum)
        assert execution.line() == b"%d\n" % signum
    execution.process.terminate()
    assert execution.wait() == 0
    assert run.types == ["STARTED", "COMPLETED"]


def test_a_command_that_ends_well_after_sigterm_has_completed(run: OneRun, start: Starter) -> None:
    execution = start.sh("trap 'echo {} > $GYOZA_OUTPUTS; exit 0' TERM; echo ready; while :; do sleep 0.05; done")
    execution.line()
    execution.process.terminate()
    assert execution.wait() == 0
    assert run.types == ["STARTED", "COMPLETED"]


def test_a_command_that_sigterm_ends_is_interrupted(run: OneRun, start: Starter) -> None:
    execution = start.sh("echo ready; sleep 60")
    execution.line()
    execution.process.terminate()
    assert execution.wait() == 143
    assert run.end == {
        "type": "FAILED",
        "payload": {
            "signal": "SIGTERM",
            "reason": "interrupted",
            "error_message": "The command was told to stop and was killed by SIGTERM\nready",
        },
    }


def test_a_command_that_does_not_stop_is_killed_after_the_grace(run: OneRun, start: Starter) -> None:
    execution = start.sh("trap '' TERM; echo ready; sleep 60", options=["--grace", "0.5"])
    execution.line()
    begun = time.monotonic()
    execution.process.terminate()
    assert execution.wait() == 137
    assert 0.5 <= time.monotonic() - begun < 5
    assert run.end["payload"].items() >= {"signal": "SIGKILL", "reason": "interrupted"}.items()


SAVER = """
import signal, sys, time
def save(*_):
    time.sleep(0.3)
    print("saved", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def saver(tmp_path: Path) -> str:
    """Words for a shell, which run a program that takes a while to stop."""
    (tmp_path / "saver.py").write_text(SAVER)
    return f"{sys.executable} {tmp_path}/saver.py"


def test_a_program_that_a_shell_waits_for_is_told_to_stop_too_and_has_the_grace(
    saver: str, run: OneRun, start: Starter
) -> None:
    execution = start.sh(f"{saver} && true")
    assert execution.line() == b"ready\n"
    execution.process.terminate()
    assert execution.ended() == (143, b"saved\n", b"")
    assert run.end["payload"].items() >= {"signal": "SIGTERM", "reason": "interrupted"}.items()


def test_a_cancel_that_asks_reaches_a_program_that_a_shell_waits_for(saver: str, run: OneRun, start: Starter) -> None:
    run.lease_s = 2
    execution = start.sh(f"{saver} && true")
    assert execution.line() == b"ready\n"
    run.cancel_by = in_seconds(30)
    assert execution.ended() == (143, b"saved\n", b"")
    assert run.end == {"type": "CANCELLED", "payload": {"signal": "SIGTERM"}}


def test_a_shell_that_exits_with_0_leaves_its_program_the_grace_and_has_completed(
    saver: str, run: OneRun, start: Starter
) -> None:
    # A signal cuts `wait` short; a trap runs only after any other command.
    execution = start.sh(f"trap 'exit 0' TERM; {saver} & wait")
    assert execution.line() == b"ready\n"
    execution.process.terminate()
    assert execution.ended() == (0, b"saved\n", b"")
    assert run.types == ["STARTED", "COMPLETED"]


def test_the_rest_of_a_group_that_does_not_stop_is_killed_after_the_grace(run: OneRun, start: Starter) -> None:
    script = "(trap '' TERM; echo ready; sleep 60) && true"
    execution = start.sh(script, options=["--grace", "1"])
    execution.line()
    begun = time.monotonic()
    execution.process.terminate()
    assert execution.ended() == (143, b"", b"")
    assert 1 <= time.monotonic() - begun < 5
    assert run.end["payload"].items() >= {"signal": "SIGTERM", "reason": "interrupted"}.items()


def test_the_rest_of_a_group_that_was_told_to_stop_dies_when_the_lease_is_refused(
    run: OneRun, start: Starter, tmp_path: Path
) -> None:
    run.lease_s = 2
    script = f"(trap '' TERM; sh -c 'echo $PPID > {tmp_path}/pid'; echo ready; sleep 60; true) && true"
    execution = start.sh(script, options=["--grace", "60"])
    execution.line()
    execution.process.terminate()
    time.sleep(0.3)
    run.replies["heartbeat"] = Reply(409, error_json("stale_attempt"))
    assert execution.wait() == 137
    assert not is_alive(int((tmp_path / "pid").read_text()))
    assert run.types == ["STARTED"]


def test_the_guard_kills_the_rest_of_a_group_of_a_wrapper_that_stands_still(
    run: OneRun, start: Starter, tmp_path: Path
) -> None:
    run.lease_s = 2
    script = f"(trap '' TERM; sh -c 'echo $PPID > {tmp_path}/pid'; echo ready; sleep 60; true) && true"
    execution = start.sh(script, options=["--grace", "60"])
    execution.line()
    [shell] = children(execution.guard)
    execution.process.terminate()
    eventually(lambda: not is_alive(shell))
    os.kill(execution.process.pid, signal.SIGSTOP)
    eventually(lambda: not is_alive(int((tmp_path / "pid").read_text())), 2.6)
    os.kill(execution.process.pid, signal.SIGCONT)
    assert execution.wait() == 137


def test_the_rest_of_the_group_of_a_command_that_nobody_told_to_stop_is_killed_at_once(
    saver: str, run: OneRun, start: Starter
) -> None:
    code, out, _ = start.sh(f"{saver} & sleep 0.5; exit 0").ended()
    assert (code, b"saved" in out) == (0, False)
    assert run.types == ["STARTED", "COMPLETED"]


def test_sigterm_before_the_answer_begins_no_command(run: OneRun, start: Starter, tmp_path: Path) -> None:
    original = run.server._script

    def slow(asked: Any) -> Reply:
        if (asked.body or {}).get("type") == "STARTED":
            execution.process.terminate()
            time.sleep(0.3)
        return original(asked)

    run.server.answers_with(slow)
    execution = start("touch", str(tmp_path / "begun"))
    assert execution.wait() == 143
    assert not (tmp_path / "begun").exists()
    assert run.end == {
        "type": "FAILED",
        "payload": {"reason": "interrupted", "error_message": "The command did not begin: it was told to stop"},
    }


def in_seconds(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def test_a_cancel_that_asks_stops_the_command_and_is_acknowledged(run: OneRun, start: Starter) -> None:
    run.lease_s = 2
    execution = start.sh("echo ready; sleep 60")
    execution.line()
    run.cancel_by = in_seconds(30)
    assert execution.wait() == 143
    assert run.end == {"type": "CANCELLED", "payload": {"signal": "SIGTERM"}}


def test_a_cancel_kills_a_command_that_does_not_stop_before_its_time_is_over(run: OneRun, start: Starter) -> None:
    run.lease_s = 2
    execution = start.sh("trap '' TERM; echo ready; sleep 60", options=["--grace", "60"])
    execution.line()
    run.cancel_by = in_seconds(4)
    asked = time.monotonic()
    assert execution.wait() == 137
    assert time.monotonic() - asked < 4
    assert run.end == {"type": "CANCELLED", "payload": {"signal": "SIGKILL"}}


def test_a_command_that_completes_in_spite_of_a_cancel_has_completed(run: OneRun, start: Starter) -> None:
    run.lease_s = 2
    execution = start.sh("trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done")
    execution.line()
    run.cancel_by = in_seconds(30)
    assert execution.wait() == 0
    assert run.end["type"] == "COMPLETED"


def test_a_cancel_that_asked_before_the_command_is_acknowledged_without_it(
    run: OneRun, start: Starter, tmp_path: Path
) -> None:
    run.fields = {"cancel_by": in_seconds(30)}
    assert start("touch", str(tmp_path / "begun")).wait() == 0
    assert run.types == ["STARTED", "CANCELLED"]
    assert not (tmp_path / "begun").exists()


def test_inputs_that_cannot_be_written_are_a_failure(run: OneRun, start: Starter) -> None:
    def no_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    execution = start("true", preexec_fn=no_files)
    assert execution.wait() == 1
    assert run.types == ["STARTED", "FAILED"]
    assert "its inputs cannot be written" in run.end["payload"]["error_message"]


def test_an_old_lease_is_renewed_before_the_command_begins(run: OneRun, start: Starter) -> None:
    run.lease_s = 2
    original = run.server._script

    def slow(asked: Any) -> Reply:
        if (asked.body or {}).get("type") == "STARTED":
            time.sleep(1)
        return original(asked)

    run.server.answers_with(slow)
    assert start("true").wait() == 0
    kinds = [kind for kind, _ in run.times]
    assert (kinds[:2], kinds[-1]) == (["STARTED", "heartbeat"], "COMPLETED")


def test_help_says_the_environment_and_the_exit_codes(start: Starter) -> None:
    execution = start("x", options=["--help"])
    code, out, _ = execution.ended()
    assert code == 0
    assert all(word in out.decode() for word in ("GYOZA_RUN_ID", "GYOZA_OUTPUTS", "::gyoza progress=40", "137", "75"))


def test_outputs_are_json_of_any_kind(run: OneRun, start: Starter) -> None:
    outputs = {"text": "grüße 🥟", "n": 1.5, "deep": [[{"a": None}]], "big": 10**30}
    script = f"import os; open(os.environ['GYOZA_OUTPUTS'], 'w').write({json.dumps(outputs)!r})"
    assert start.python(script).wait() == 0
    assert run.end == {"type": "COMPLETED", "payload": {"outputs": outputs}}


def test_the_script_of_the_document_does_what_the_document_says(run: OneRun, start: Starter, tmp_path: Path) -> None:
    document = (Path(__file__).resolve().parents[1] / "docs/exec.md").read_text()
    [script] = re.findall(r"^```sh\n(#!/bin/sh.*?)^```", document, re.MULTILINE | re.DOTALL)
    (tmp_path / "resize.sh").write_text(script)
    (tmp_path / "resize.sh").chmod(0o755)
    run.fields = {"inputs": {"width": 640}}
    assert start(str(tmp_path / "resize.sh")).ended() == (0, b"::gyoza progress=50\n", b"")
    assert run.end == {"type": "COMPLETED", "payload": {"outputs": {"width": 640}}}

"""Tests `gyoza worker` against the handlers of the API. Most tests put a stub in the place of `gyoza exec`."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from clients.python.tests.handlers import answer_of
from clients.python.tests.scripted_server import Asked, Reply, ScriptedServer
from gyoza_client._worker.command_line import EXEC, main
from gyoza_client._worker.words import words_to_run
from testing.gateway import Gateway

PACKAGE = Path(__file__).resolve().parents[1]

STUB = (sys.executable, str(PACKAGE / "tests/stub_exec.py"))

PROGRAM = """
import sys
from gyoza_client._worker import command_line
command_line.EXEC = tuple({stub!r})
sys.exit(command_line.main(sys.argv[1:]))
"""

Worker = Callable[..., "subprocess.Popen[str]"]


class Notes:
    """The notes of the stubs, one for each run that a worker began."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def all(self) -> list[Any]:
        return [json.loads(path.read_text()) for path in self.folder.glob("*.json") if path.stat().st_size]

    def wait_for(self, number: int) -> list[Any]:
        until(lambda: len(self.all()) >= number)
        return self.all()


def until(met: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not met():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.02)


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    return Notes(tmp_path)


@pytest.fixture
def worker(server: ScriptedServer, api: Gateway, notes: Notes) -> Iterator[Worker]:
    """A function that starts a worker of the queue q with more words, and with a stub unless told otherwise."""
    server.answers_with(lambda asked: answer_of(api, asked))
    started: list[subprocess.Popen[str]] = []

    def start(*words: str, stub: tuple[str, ...] = STUB, **environ: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", PROGRAM.format(stub=stub), "--queue", "q", *words],
            env={
                "GYOZA_URL": server.url,
                "GYOZA_API_KEY": "key",
                "PYTHONPATH": str(PACKAGE / "src"),
                "PATH": os.environ["PATH"],
                "NOTES": str(notes.folder),
            }
            | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=notes.folder,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
    # A stub that outlives its worker holds the worker's pipes open.
    for note in notes.all():
        with suppress(ProcessLookupError):
            os.kill(note["pid"], signal.SIGKILL)
    for process in started:
        process.communicate(timeout=30)


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    _, errors = process.communicate(timeout=30)
    return process.returncode, errors


def claims(server: ScriptedServer) -> list[Asked]:
    return [asked for asked in server.asked if asked.path == "/runs/claim"]


def state(api: Gateway, run: Any) -> str:
    found: str = api.get(f"/runs/{run['id']}").json["state"]
    return found


def test_each_run_is_given_to_an_exec_of_its_own(
    worker: Worker, api: Gateway, server: ScriptedServer, notes: Notes
) -> None:
    runs = [api.create(queue="q") for _ in range(3)]
    words = ["--command", "complete", "--slots", "2", "--lease", "60", "--grace", "7.5", "--idle", "0"]
    code, errors = ended(worker(*words, "--queue", "r", "--capacity-cpu", "4", "--capacity-vram-mb", "0"))
    assert (code, {state(api, run) for run in runs}) == (0, {"COMPLETED"})
    assert all(f"Begins attempt 1 of run {run['id']}" in errors for run in runs)
    found = notes.all()
    assert {note["env"]["GYOZA_RUN_ID"] for note in found} == {run["id"] for run in runs}
    for note in found:
        assert note["argv"] == ["--lease", "60", "--grace", "7.5", "--", "complete"]
        assert (note["env"]["GYOZA_URL"], note["env"]["GYOZA_API_KEY"]) == (server.url, "key")
        assert note["sid"] == note["pid"]
        run = api.get(f"/runs/{note['env']['GYOZA_RUN_ID']}").json
        assert run["execution_summary"]["worker_id"] == note["env"]["GYOZA_WORKER_ID"]
    body = claims(server)[0].body
    assert body == {
        "worker_id": body["worker_id"],
        "queues": ["q", "r"],
        "capacity": {"cpu": 4, "ram_mb": None, "vram_mb": 0},
        "lease_s": 60,
    }


def test_as_many_runs_as_slots_go_on_at_once_each_with_a_worker_id_of_its_own(
    worker: Worker, api: Gateway, notes: Notes, server: ScriptedServer
) -> None:
    runs = [api.create(queue="q") for _ in range(5)]
    process = worker("--command", "sleep", "--slots", "3")
    assert len({note["env"]["GYOZA_WORKER_ID"] for note in notes.wait_for(3)}) == 3
    time.sleep(0.5)
    assert len(notes.all()) == len(claims(server)) == 3
    until(lambda: [state(api, run) for run in runs].count("RUNNING") == 3)
    process.terminate()
    assert ended(process)[0] == 0
    assert sorted(state(api, run) for run in runs) == ["FAILED"] * 3 + ["PENDING"] * 2


def test_idle_slots_cost_the_claims_of_one_worker(worker: Worker, server: ScriptedServer, api: Gateway) -> None:
    server.answers_with(
        lambda asked: Reply(204, headers={"Retry-After": "1"}) if asked.path == "/runs/claim" else answer_of(api, asked)
    )
    process = worker("--command", "complete", "--slots", "8")
    until(lambda: len(claims(server)) > 0)
    begun = time.monotonic()
    time.sleep(3)
    assert 2 <= len(claims(server)) <= time.monotonic() - begun + 2
    process.send_signal(signal.SIGINT)
    assert ended(process)[0] == 0


def test_a_free_slot_asks_as_soon_as_another_was_given_a_run(worker: Worker, api: Gateway, notes: Notes) -> None:
    """The server lets an idle worker pause for 5 seconds and more."""
    for _ in range(4):
        api.create(queue="q")
    process = worker("--command", "sleep", "--slots", "4")
    begun = time.monotonic()
    notes.wait_for(4)
    assert time.monotonic() - begun < 5
    process.terminate()
    assert ended(process)[0] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_commands_and_the_worker_waits_for_them(
    number: signal.Signals, worker: Worker, api: Gateway, notes: Notes
) -> None:
    run, other = api.create(queue="q"), api.create(queue="q")
    process = worker("--command", "sleep")
    [note] = notes.wait_for(1)
    until(lambda: "RUNNING" in (state(api, run), state(api, other)))
    process.send_signal(number)
    code, errors = ended(process)
    assert code == 0
    with pytest.raises(ProcessLookupError):
        os.kill(note["pid"], 0)
    assert sorted([state(api, run), state(api, other)]) == ["FAILED", "PENDING"]
    assert "with the exit code 143" in errors


def test_an_idle_worker_ends_at_once(worker: Worker, server: ScriptedServer) -> None:
    process = worker("--command", "complete")
    until(lambda: len(claims(server)) == 1)
    time.sleep(0.2)
    before = time.monotonic()
    process.terminate()
    assert ended(process) == (0, "")
    assert time.monotonic() - before < 5


def test_a_signal_is_passed_on_while_a_claim_waits_for_its_answer(
    worker: Worker, server: ScriptedServer, api: Gateway, notes: Notes
) -> None:
    """A claim that is under way then is answered with a run, which is given back."""
    late = api.create(queue="q")
    early = api.create(queue="q", priority=9)
    held: list[float] = []

    def hold_the_second_claim(asked: Asked) -> Reply:
        if len(claims(server)) == 2 and asked.path == "/runs/claim":
            held.append(time.monotonic())
            server._lock.release()
            try:
                until(lambda: state(api, early) == "FAILED")
            finally:
                server._lock.acquire()
        return answer_of(api, asked)

    server.answers_with(hold_the_second_claim)
    process = worker("--command", "sleep", "--slots", "2")
    notes.wait_for(1)
    until(lambda: bool(held) and state(api, early) == "RUNNING")
    process.terminate()
    assert ended(process)[0] == 0
    assert (state(api, early), state(api, late)) == ("FAILED", "PENDING")
    events = api.get(f"/runs/{late['id']}/events", after_seq=-1).json["events"]
    assert [event["type"] for event in events] == ["ASSIGNED", "RETRIED"]


def test_commands_that_fail_at_once_slow_the_claims_down(worker: Worker, api: Gateway, notes: Notes) -> None:
    for _ in range(10):
        api.create(queue="q")
    process = worker("--command", "fail")
    notes.wait_for(4)
    time.sleep(1.5)
    assert len(notes.all()) <= 5
    process.terminate()
    code, errors = ended(process)
    assert code == 0
    assert "3 commands in a row failed within 10 s, the next claim waits 1 s" in errors


def test_a_program_that_needs_no_shell_gets_sigterm_and_its_exit_code_is_the_runs(
    worker: Worker, api: Gateway, notes: Notes
) -> None:
    run = api.create(queue="q")
    (notes.folder / "saver.py").write_text(
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.3), sys.exit(7)))\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )
    process = worker("--command", f"{sys.executable} 'saver.py'", "--idle", "0", stub=EXEC)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    code, errors = ended(process)
    assert (code, state(api, run)) == (0, "FAILED")
    assert "Waits for the command of 1 run\n" in errors
    event = api.get(f"/runs/{run['id']}/events", after_seq=-1).json["events"][-1]
    assert event["payload"].items() >= {"exit_code": 7, "reason": "interrupted"}.items()


def test_a_run_whose_exec_a_signal_ends_before_it_begins_is_given_back(
    worker: Worker, api: Gateway, server: ScriptedServer
) -> None:
    run = api.create(queue="q")
    dies = (sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGTERM)")
    process = worker("--command", "complete", stub=dies)
    until(lambda: len(claims(server)) >= 2)
    process.terminate()
    assert ended(process)[0] == 0
    assert state(api, run) == "PENDING"
    assert api.get(f"/runs/{run['id']}").json["current_attempt"] >= 2


def test_a_run_whose_exec_was_killed_is_left_to_its_lease(worker: Worker, api: Gateway) -> None:
    """It may have begun, and may have been cancelled meanwhile: a cancelled run would begin again."""
    run = api.create(queue="q")
    dies = (sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert ended(worker("--command", "complete", "--idle", "0", stub=dies))[0] == 0
    assert state(api, run) == "ASSIGNED"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("python3 saver.py", ["python3", "saver.py"]),
        (" ./a\t-x  --y=1,2:3@4%5+6 ", ["./a", "-x", "--y=1,2:3@4%5+6"]),
        ("python3 -c 'print(\"$HOME\"); exit()'", ["python3", "-c", 'print("$HOME"); exit()']),
        ('a "b; c" d"e f"\'g\'', ["a", "b; c", "de fg"]),
        ("größe ''", ["größe", ""]),
        ("cargo run -- -x", ["cargo", "run", "--", "-x"]),
    ],
)
def test_words_and_quotes_need_no_shell(text: str, words: list[str]) -> None:
    assert words_to_run(text) == words


@pytest.mark.parametrize(
    "text",
    [
        *[
            "a $B",
            'a "$B"',
            "a `b`",
            'a "`b`"',
            "a | b",
            "a; b",
            "a & b",
            "a\nb",
            "a > b",
            "a < b",
            "a *",
            "a ?",
            "a [b]",
        ],
        *["a ~", "a #b", "a {b,c}", "a (b)", "a \\ b", 'a "\\""', "a 'b", 'a "b', "! a", "a !b"],
        *["A=1 b", "A='1 2' b", "exec a", "cd a", "true", "'exit' 3", "echo -n a", "if a", "''", "'' a"],
    ],
)
def test_whatever_else_a_shell_reads_is_left_to_the_shell(text: str) -> None:
    assert words_to_run(text) == ["/bin/sh", "-c", text]


def test_a_run_whose_exec_cannot_be_started_is_given_back(worker: Worker, api: Gateway) -> None:
    run = api.create(queue="q")
    process = worker("--command", "complete", stub=("/nowhere/python",))
    until(lambda: api.get(f"/runs/{run['id']}").json["last_seq"] >= 1)
    process.terminate()
    code, errors = ended(process)
    assert code == 0
    assert f"No process can be started for run {run['id']}" in errors
    events = api.get(f"/runs/{run['id']}/events", after_seq=-1).json["events"]
    assert [event["type"] for event in events[:2]] == ["ASSIGNED", "RETRIED"]


@pytest.mark.parametrize(
    ("status", "code", "line"),
    [
        (403, 4, "gyoza worker: not authorised: no. Is the key the one of this API?\n"),
        (400, 1, "gyoza worker: no (400 invalid_request)\n"),
    ],
)
def test_claims_that_the_api_refuses_end_the_worker(
    status: int, code: int, line: str, worker: Worker, server: ScriptedServer
) -> None:
    refusal = {403: "forbidden", 400: "invalid_request"}[status]
    server.replies(Reply(status, {"detail": "no", "code": refusal, "request_id": "r-1"}))
    assert ended(worker("--command", "complete")) == (code, line)


def test_the_address_of_a_profile_is_passed_on(
    worker: Worker, api: Gateway, server: ScriptedServer, notes: Notes
) -> None:
    api.create(queue="q")
    file = notes.folder / "gyoza/profiles.toml"
    file.parent.mkdir()
    file.touch(0o600)
    file.write_text(f'[lab]\nurl = "{server.url}"\napi_key = "of the lab"\n')
    none = {"GYOZA_URL": "", "GYOZA_API_KEY": "", "XDG_CONFIG_HOME": str(notes.folder)}
    assert ended(worker("--command", "complete", "--idle", "0", "--profile", "lab", "--keep-key", **none))[0] == 0
    [note] = notes.all()
    assert (note["env"]["GYOZA_URL"], note["env"]["GYOZA_API_KEY"]) == (server.url, "of the lab")
    assert "--keep-key" in note["argv"]


def test_a_profile_does_not_silently_give_way_to_the_environment(worker: Worker, server: ScriptedServer) -> None:
    note = (
        "gyoza worker: GYOZA_URL and GYOZA_API_KEY in the environment come before --profile lab, which is passed over\n"
    )
    assert ended(worker("--command", "complete", "--idle", "0", "--profile", "lab")) == (0, note)
    assert claims(server)[0].headers["x-api-key"] == "key"


def test_with_json_each_run_is_a_line_as_it_begins_and_as_it_ends(worker: Worker, api: Gateway, notes: Notes) -> None:
    runs = [api.create(queue="q") for _ in range(3)]
    process = worker("--command", "fail", "--slots", "3", "--idle", "0", "--json")
    out, _ = process.communicate(timeout=30)
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["event"] for line in lines if line["run_id"] == runs[0]["id"]] == ["begun", "ended"]
    assert {line["run_id"] for line in lines} == {run["id"] for run in runs}
    ids = {note["env"]["GYOZA_RUN_ID"]: note["env"]["GYOZA_WORKER_ID"] for note in notes.all()}
    assert all(line["worker_id"] == ids[line["run_id"]] and line["attempt"] == 1 for line in lines)
    assert [line.get("exit_code") for line in sorted(lines, key=lambda line: line["event"])] == [None] * 3 + [1] * 3


def test_a_reader_of_json_that_leaves_does_not_end_the_worker(worker: Worker, api: Gateway) -> None:
    runs = [api.create(queue="q") for _ in range(2)]
    process = worker("--command", "complete", "--idle", "0", "--json")
    assert process.stdout is not None
    process.stdout.close()
    assert (process.wait(30), {state(api, run) for run in runs}) == (0, {"COMPLETED"})


def test_with_json_the_output_of_commands_goes_to_standard_error(worker: Worker, api: Gateway) -> None:
    api.create(queue="q")
    process = worker("--command", "echo printed", "--idle", "0", "--json", stub=EXEC)
    out, errors = process.communicate(timeout=30)
    assert ([json.loads(line)["event"] for line in out.splitlines()], "printed\n" in errors) == (
        ["begun", "ended"],
        True,
    )


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--queue", "q"], "--command"),
        (["--command", "true"], "--queue"),
        (["--queue", "q", "--command", " "], "--command"),
        (["--queue", "q", "--command", "true", "--slots", "0"], "--slots"),
        (["--queue", "q", "--command", "true", "--lease", "14"], "--lease"),
        (["--queue", "q", "--command", "true", "--grace", "-1"], "--grace"),
        (["--queue", "q", "--command", "true", "--capacity-cpu", "1.5"], "--capacity-cpu"),
        (["--queue", "q", "--command", "true", "--com", "x"], "--com"),
    ],
)
def test_a_wrong_use_is_named(words: list[str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert named in capsys.readouterr().err


def test_without_an_address_it_ends_with_an_error(worker: Worker) -> None:
    code, errors = ended(worker("--command", "true", GYOZA_API_KEY=""))
    assert code == 1
    assert errors.startswith("gyoza worker: The environment")


@pytest.mark.skipif(find_spec("gyoza_client.__main__") is None, reason="the package has no command line")
def test_a_command_reads_its_inputs_and_writes_its_outputs(worker: Worker, api: Gateway) -> None:
    runs = [api.create(queue="q", inputs={"width": width}) for width in (320, 640)]
    command = 'test -z "$GYOZA_API_KEY" && cp "$GYOZA_INPUTS" "$GYOZA_OUTPUTS"'
    assert ended(worker("--command", command, "--idle", "0", stub=EXEC))[0] == 0
    assert [api.get(f"/runs/{run['id']}").json["outputs"] for run in runs] == [{"width": 320}, {"width": 640}]


def test_exec_is_started_without_the_modules_of_the_current_folder() -> None:
    assert (sys.executable, "-P", "-m", "gyoza_client", "exec") == EXEC

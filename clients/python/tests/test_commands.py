"""Tests the commands in this process against the handlers of the API, and against a server that answers as scripted."""

import json
import shlex
import signal
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from clients.python.tests.command_line import Commands, finish
from clients.python.tests.examples import (
    OTHER_ID,
    RUN_ID,
    definition_json,
    definition_row_json,
    error_json,
    event_json,
    events_json,
    list_json,
    run_json,
    summary_json,
)
from clients.python.tests.handlers import answer_of, event, with_worker
from clients.python.tests.scripted_server import HANG_UP, Asked, Reply, ScriptedServer
from gyoza_client import Event, State
from gyoza_client._cli import following
from gyoza_client._cli.failures import code_of_state
from gyoza_client._cli.tables import EventPrinter
from testing.gateway import Gateway

ATTACK = "\x1b]0;owned\x07\x9b2J"


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("_calling", "_operations"):
        monkeypatch.setattr(f"gyoza_client.{module}._LONGEST_PAUSE_S", 0.01)
    monkeypatch.setattr("gyoza_client._operations._SHORTEST_PAUSE_S", 0.01)
    monkeypatch.setattr(following, "_PAUSE_S", 0.01)


@pytest.fixture
def gyoza(server: ScriptedServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Commands:
    return Commands(server.url, capsys, monkeypatch)


@pytest.fixture
def handlers(server: ScriptedServer, api: Gateway) -> Gateway:
    server.answers_with(lambda asked: answer_of(api, asked))
    return api


def complete(api: Gateway) -> list[Any]:
    return [
        api.start,
        event(api, "PROGRESS", 40),
        event(api, "INFO", f"half way {ATTACK}"),
        event(api, "COMPLETED", outputs={"n": 4}),
    ]


class TestRun:
    def test_it_creates_a_run_of_all_that_is_given_and_prints_its_id(self, gyoza: Commands, handlers: Gateway) -> None:
        words = (
            "run busybox:1 -i n:=3 -i who=me --queue q --priority 7 --cpu 2 --ram-mb 512 --vram-mb 0 --max-attempts 3"
        )
        more = (
            "--backoff-s 0.5 --backoff-factor 3 --max-backoff-s 60 --max-lost 1 --queue-ttl-s 2h --attempt-timeout-s 90"
            " --retain-s 7d --topic jobs --attribute team=a --attribute level:=2 --start-at 10m"
        )
        result = gyoza(*words.split(), *more.split())
        assert (result.code, result.err) == (0, "")
        run = handlers.get(f"/runs/{result.out.strip()}").json
        assert {name: run[name] for name in ("inputs", "queue", "priority", "constraints", "retry_policy")} == {
            "inputs": {"n": 3, "who": "me"},
            "queue": "q",
            "priority": 7,
            "constraints": {"cpu": 2, "ram_mb": 512, "vram_mb": 0},
            "retry_policy": {
                "max_attempts": 3,
                "backoff_s": 0.5,
                "backoff_factor": 3,
                "max_backoff_s": 60,
                "max_lost": 1,
            },
        }
        assert (run["queue_ttl_s"], run["attempt_timeout_s"], run["retain_s"]) == (7200, 90, 604_800)
        assert run["event_delivery"] == {"topic": "jobs", "attributes": {"team": "a", "level": 2}}
        waits = datetime.fromisoformat(run["start_at"]) - datetime.fromisoformat(run["created_at"])
        assert timedelta(minutes=9) < waits <= timedelta(minutes=10)

    def test_a_key_creates_one_run(self, gyoza: Commands, handlers: Gateway) -> None:
        ids = {gyoza("run", "busybox:1", "--idempotency-key", "order 7").out for _ in range(2)}
        assert len(ids) == 1
        assert len(handlers.get("/runs").json["data"]) == 1

    def test_inputs_come_from_standard_input(self, gyoza: Commands, handlers: Gateway) -> None:
        process = gyoza.process("run", "busybox:1", "-i", "@-", "-i", "m:=2", stdin=-1)
        out, _ = process.communicate('{"n": 1}', timeout=30)
        assert handlers.get(f"/runs/{out.strip()}").json["inputs"] == {"n": 1, "m": 2}

    @pytest.mark.usefixtures("handlers")
    def test_with_json_it_prints_the_run(self, gyoza: Commands) -> None:
        assert json.loads(gyoza("--json", "run", "busybox:1").out)["state"] == "PENDING"

    def test_a_watch_prints_events_beside_the_data_and_the_outputs_as_data(
        self, gyoza: Commands, server: ScriptedServer, api: Gateway
    ) -> None:
        server.answers_with(with_worker(api, complete(api)))
        result = gyoza("run", "busybox:1", "--watch")
        assert (result.code, result.out) == (0, '{"n":4}\n')
        first, *events, last = result.err.splitlines()
        assert first == api.get("/runs").json["data"][0]["id"]
        assert [line.split("  ", 1)[1] for line in events] == [
            "STARTED    worker-1",
            "PROGRESS   40 %",
            r"INFO       half way \x1b]0;owned\x07\x9b2J",
            "COMPLETED",
        ]
        assert last.startswith("COMPLETED after ")

    def test_with_json_a_watch_prints_the_run_each_event_and_the_run(
        self, gyoza: Commands, server: ScriptedServer, api: Gateway
    ) -> None:
        server.answers_with(with_worker(api, complete(api)))
        result = gyoza("run", "busybox:1", "-w", "--json")
        first, *events, last = map(json.loads, result.out.splitlines())
        assert (result.code, result.err, first["state"], last["state"]) == (0, "", "PENDING", "COMPLETED")
        assert [each["seq"] for each in events] == [0, 1, 2, 3]
        assert last["outputs"] == {"n": 4}

    def test_a_failed_run_is_code_3_with_its_error(self, gyoza: Commands, server: ScriptedServer, api: Gateway) -> None:
        error = "Traceback:\n  line 1\nValueError: no\x1b[0m"
        server.answers_with(with_worker(api, [api.start, event(api, "FAILED", error_message=error)]))
        result = gyoza("run", "busybox:1", "--watch")
        assert (result.code, result.out) == (3, "")
        assert result.err.splitlines()[-4].startswith("FAILED after ")
        assert result.err.splitlines()[-3:] == ["  Traceback:", "    line 1", r"  ValueError: no\x1b[0m"]

    def test_it_is_watched_through_its_retries(self, gyoza: Commands, server: ScriptedServer, api: Gateway) -> None:
        steps = [api.start, event(api, "FAILED"), api.start]
        server.answers_with(with_worker(api, [*steps, event(api, "COMPLETED")]))
        result = gyoza("run", "busybox:1", "--max-attempts", "2", "--watch")
        assert (result.code, result.out) == (0, "{}\n")
        kinds = [line.split()[1] for line in result.err.splitlines()[1:-1]]
        assert kinds == ["STARTED", "FAILED", "RETRIED", "STARTED", "COMPLETED"]
        assert ", attempt 2" in result.err.splitlines()[-1]

    def test_a_cancelled_run_is_code_5(self, gyoza: Commands, server: ScriptedServer, api: Gateway) -> None:
        server.answers_with(with_worker(api, [lambda run_id: api.post(f"/runs/{run_id}/cancel")]))
        assert gyoza("run", "busybox:1", "--watch").code == 5

    def test_the_time_is_over_after_its_timeout_and_the_run_goes_on(self, gyoza: Commands, handlers: Gateway) -> None:
        result = gyoza("run", "busybox:1", "--watch", "--timeout", "1")
        assert (result.code, result.out) == (124, "")
        [run] = handlers.get("/runs").json["data"]
        assert run["state"] == "PENDING"
        assert f"Follow it again: gyoza events -f {run['id']}" in result.err

    def test_a_server_that_hangs_does_not_hold_up_the_timeout(self, gyoza: Commands, server: ScriptedServer) -> None:
        server.replies(Reply(201, run_json()), HANG_UP)
        result = gyoza("run", "busybox:1", "--watch", "--timeout", "1")
        assert (result.code, f"gyoza events -f {RUN_ID}" in result.err) == (124, True)

    @pytest.mark.usefixtures("handlers")
    def test_with_json_the_command_that_goes_on_prints_json_too(self, gyoza: Commands) -> None:
        result = gyoza("run", "busybox:1", "--watch", "--timeout", "1", "--json")
        assert "Follow it again: gyoza --json events -f " in result.err
        run = json.loads(result.out)["id"]
        result = gyoza("wait", run, run, "--timeout", "1", "--json")
        assert result.err.endswith(f"Wait again: gyoza --json wait {run}\n")

    def test_a_creation_without_an_answer_says_how_to_find_out(self, gyoza: Commands, server: ScriptedServer) -> None:
        server.replies(HANG_UP)
        result = gyoza("run", "busybox:1", "--idempotency-key", "order-7")
        assert result.code == 1
        assert result.err.splitlines()[0] == (
            "The run may have been created. The same command with --idempotency-key order-7 creates one run at most."
        )
        assert result.err.splitlines()[1].startswith("gyoza: No answer to POST /runs")


class TestFollowing:
    def test_lost_answers_and_errors_of_the_server_leave_no_gap_and_no_repeat(
        self, gyoza: Commands, server: ScriptedServer, api: Gateway
    ) -> None:
        script = with_worker(api, [api.start, *[event(api, "INFO", n) for n in range(9)]])
        ending = [0]

        def lossy(asked: Asked) -> Reply:
            reply = script(asked)
            ending[0] += 1
            if ending[0] == 40:
                api.event(asked.path.split("/")[2], "COMPLETED")
            return (HANG_UP, Reply(503, error_json("unavailable")), reply)[min(ending[0] % 4, 2)]

        server.answers_with(lossy)
        result = gyoza("run", "busybox:1", "--watch", "--json")
        _, *events, last = map(json.loads, result.out.splitlines())
        assert result.code == 0
        assert [each["seq"] for each in events] == list(range(last["last_seq"] + 1))

    def test_it_goes_on_after_a_call_that_gave_up(self, gyoza: Commands, server: ScriptedServer) -> None:
        replies = [Reply(200, run_json("RUNNING", last_seq=0)), Reply(200, events_json(0))]
        replies += [HANG_UP] * 11  # A call has ten repeats.
        replies += [Reply(200, events_json(1, state="COMPLETED")), Reply(200, run_json("COMPLETED", last_seq=1))]
        server.replies(*replies)
        result = gyoza("events", "-f", RUN_ID)
        assert (result.code, [line.split()[1] for line in result.out.splitlines()]) == (0, ["0", "1"])
        assert "Trying again" in result.err

    def test_it_gives_up_after_its_patience_and_says_how_to_go_on(
        self, gyoza: Commands, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(following, "_PATIENCE_S", 0.0)
        server.replies(Reply(200, run_json("RUNNING", last_seq=0)), Reply(200, events_json(0)), HANG_UP)
        result = gyoza("events", "-f", RUN_ID)
        assert result.code == 1
        assert f"Follow the run again: gyoza events -f {RUN_ID} --after-seq 0" in result.err

    def test_ctrl_c_ends_the_command_with_code_130_and_says_how_to_go_on(
        self, gyoza: Commands, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupt(_seconds: float) -> None:
            raise KeyboardInterrupt

        server.replies(Reply(201, run_json("RUNNING")), Reply(200, events_json(0, 1, 2)))
        monkeypatch.setattr("gyoza_client._sync.Driver.__init__.__defaults__", (interrupt,))
        result = gyoza("run", "busybox:1", "--watch")
        assert result.code == 130
        assert result.err.endswith(f"\nThe run goes on. Follow it again: gyoza events -f {RUN_ID} --after-seq 2\n")

    @pytest.mark.parametrize("place", ["before", "after"])
    @pytest.mark.parametrize("seq", range(4))
    def test_ctrl_c_while_an_event_is_printed_leaves_no_gap_and_no_repeat(
        self, seq: int, place: str, gyoza: Commands, handlers: Gateway, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = handlers.create()["id"]
        for step in complete(handlers):
            step(run)
        print_event = EventPrinter.print

        def interrupted(printer: EventPrinter, event: Event) -> None:
            if event.seq == seq and place == "before":
                signal.raise_signal(signal.SIGINT)
            print_event(printer, event)
            if event.seq == seq and place == "after":
                signal.raise_signal(signal.SIGINT)

        with monkeypatch.context() as patch:
            patch.setattr(EventPrinter, "print", interrupted)
            first = gyoza("events", "-f", run)
        assert first.code == 130
        again = shlex.split(first.err.splitlines()[-1].partition("again: gyoza ")[2])
        printed = [int(line.split()[1]) for line in (first.out + gyoza(*again).out).splitlines()]
        assert printed == [0, 1, 2, 3]

    def test_a_second_ctrl_c_does_not_wait_for_the_output(
        self, gyoza: Commands, handlers: Gateway, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = handlers.create()["id"]
        handlers.start(run)

        def stuck(_printer: EventPrinter, _event: Event) -> None:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            pytest.fail("the second signal was held back")

        monkeypatch.setattr(EventPrinter, "print", stuck)
        assert gyoza("events", "-f", run).code == 130

    @pytest.mark.parametrize("last", range(-1, 5))
    def test_a_watch_is_resumed_after_any_event(self, last: int, gyoza: Commands, handlers: Gateway) -> None:
        run = handlers.create()["id"]
        for step in complete(handlers):
            step(run)
        result = gyoza("events", "-f", run, "--after-seq", str(last))
        assert (result.code, [int(line.split()[1]) for line in result.out.splitlines()]) == (
            0,
            list(range(last + 1, 4)),
        )

    @pytest.mark.usefixtures("handlers")
    def test_a_run_that_is_not_there_is_an_error_at_once(self, gyoza: Commands) -> None:
        result = gyoza("events", "-f", RUN_ID)
        assert (result.code, result.err) == (1, f"gyoza: OpRun '{RUN_ID}' not found (404 run_not_found)\n")

    def test_a_run_that_is_retried_at_its_very_end_is_followed_on(
        self, gyoza: Commands, server: ScriptedServer
    ) -> None:
        server.replies(
            Reply(200, run_json("RUNNING")),
            Reply(200, events_json(0, state="FAILED")),
            Reply(200, run_json("PENDING", last_seq=1, current_attempt=2)),
            Reply(200, events_json(1, 2, state="COMPLETED", attempt=2)),
            Reply(200, run_json("COMPLETED", last_seq=2, current_attempt=2)),
        )
        result = gyoza("events", "-f", RUN_ID)
        assert (result.code, len(result.out.splitlines())) == (0, 3)


class TestWait:
    def test_it_prints_the_outputs(self, gyoza: Commands, server: ScriptedServer, api: Gateway) -> None:
        run = api.create()["id"]
        server.answers_with(with_worker(api, complete(api)))
        result = gyoza("wait", run)
        assert (result.code, result.out) == (0, '{"n":4}\n')
        assert result.err.startswith("COMPLETED after ")
        assert json.loads(gyoza("wait", run, "--json").out)["outputs"] == {"n": 4}

    def test_it_ends_with_the_code_of_the_run_or_of_the_timeout(self, gyoza: Commands, handlers: Gateway) -> None:
        run = handlers.create()["id"]
        result = gyoza("wait", run, "--timeout", "1s")
        assert (result.code, f"gyoza wait {run}" in result.err) == (124, True)
        handlers.event(run, "FAILED", payload={"error_message": "disk full"})
        result = gyoza("wait", run)
        assert (result.code, result.out, result.err.splitlines()[-1]) == (3, "", "FAILED: disk full")

    def test_several_runs_are_lines_as_they_end_and_one_failure_is_code_3(
        self, gyoza: Commands, handlers: Gateway
    ) -> None:
        first, second, third = (handlers.create()["id"] for _ in range(3))
        handlers.start(first)
        handlers.event(first, "COMPLETED", payload={"outputs": {"n": 1}})
        handlers.event(second, "FAILED", payload={"error_message": "no\nroom"})
        handlers.post(f"/runs/{third}/cancel")
        result = gyoza("wait", first, second, third)
        assert (result.code, result.out.splitlines()) == (
            3,
            [f'{first}  COMPLETED  {{"n":1}}', f"{second}  FAILED     no\\nroom", f"{third}  CANCELLED"],
        )
        assert gyoza("wait", first, third).code == 5
        waiting = handlers.create()["id"]
        result = gyoza("wait", first, waiting, "--timeout", "1")
        assert (result.code, result.err.endswith(f"gyoza wait {waiting}\n")) == (124, True)


class TestLists:
    def test_runs_are_rows_that_filters_choose(self, gyoza: Commands, handlers: Gateway) -> None:
        first, second = (handlers.create(image=f"busybox:{n}", queue="q")["id"] for n in range(2))
        handlers.post(f"/runs/{first}/cancel")
        heads, *rows = (line.split() for line in gyoza("ls").out.splitlines())
        assert heads == ["ID", "STATE", "PROGRESS", "ATTEMPT", "CREATED", "QUEUE", "DEFINITION", "IMAGE"]
        assert [[row[0], row[1], row[7]] for row in rows] == [
            [second, "PENDING", "busybox:1"],
            [first, "CANCELLED", "busybox:0"],
        ]
        for filters, wanted in {
            "--state cancelled": [first],
            "--image busybox:1": [second],
            "--created-gte 1h": [second, first],
            "--created-lt 1h": [],
            f"--starting-after {second}": [first],
            f"--ending-before {first}": [second],
            "--def nothing": [],
            "-n 1": [second],
        }.items():
            assert gyoza("ls", "-q", *filters.split()).out.split() == wanted, filters

    def test_a_list_ends_at_its_limit_and_all_has_no_limit(self, gyoza: Commands, handlers: Gateway) -> None:
        for _ in range(23):
            handlers.create()
        assert [len(gyoza("ls", *words).out.splitlines()) - 1 for words in ([], ["-n", "3"], ["--all"])] == [20, 3, 23]

    def test_json_rows_are_whole_runs(self, gyoza: Commands, handlers: Gateway) -> None:
        handlers.create(inputs={"n": 1})
        [row] = map(json.loads, gyoza("ls", "--json").out.splitlines())
        assert (row["inputs"], row["state"]) == ({"n": 1}, "PENDING")

    def test_texts_of_runs_are_escaped(self, gyoza: Commands, server: ScriptedServer) -> None:
        server.replies(Reply(200, list_json(summary_json(image=f"img{ATTACK}"))))
        assert r"img\x1b]0;owned\x07\x9b2J" in gyoza("ls").out


class TestShow:
    def test_it_shows_all_that_is_known(self, gyoza: Commands, handlers: Gateway) -> None:
        run = handlers.create(
            inputs={"n": 1, "text": ATTACK}, retry_policy={"max_attempts": 2}, constraints={"cpu": 2}, priority=7
        )["id"]
        handlers.start(run)
        handlers.event(run, "FAILED", payload={"error_message": f"Trace\nDisk full{ATTACK}"})
        handlers.start(run)
        handlers.event(run, "COMPLETED", payload={"outputs": {"m": 2}})
        result = gyoza("show", run)
        lines = result.out.splitlines()
        assert (result.code, "\x1b" in result.out, "\x9b" in result.out) == (0, False, False)
        assert lines[0].split() == ["id", run]
        for wanted in (
            "priority  7",
            "attempt   2 of 2",
            "worker    worker-1",
            "needs     cpu 2",
            '    "n": 1,',
            '    "m": 2',
        ):
            assert wanted in lines
        assert any(line.endswith(r"worker-1  Disk full\x1b]0;owned\x07\x9b2J") for line in lines)
        assert json.loads(gyoza("show", run, "--json").out)["outputs"] == {"m": 2}

    def test_fields_and_states_of_a_newer_release_are_shown(self, gyoza: Commands, server: ScriptedServer) -> None:
        server.replies(Reply(200, run_json(f"PAUSED{ATTACK}", new_field=1, events=[event_json(0, type="NEW")])))
        result = gyoza("show", RUN_ID)
        assert (result.code, r"PAUSED\x1b" in result.out, "NEW" in result.out) == (0, True, True)


class TestEvents:
    def test_they_are_of_all_attempts_or_of_one(self, gyoza: Commands, handlers: Gateway) -> None:
        run = handlers.create(retry_policy={"max_attempts": 2})["id"]
        handlers.start(run)
        handlers.event(run, "FAILED")
        assert [line.split()[1:4] for line in gyoza("events", run).out.splitlines()] == [
            ["0", "1", "STARTED"],
            ["1", "1", "FAILED"],
            ["2", "2", "RETRIED"],
        ]
        assert len(gyoza("events", run, "--attempt", "1").out.splitlines()) == 2
        assert [
            json.loads(row)["seq"] for row in gyoza("events", run, "--json", "--after-seq", "0").out.splitlines()
        ] == [
            1,
            2,
        ]


class TestCancelAndRetry:
    def test_runs_are_cancelled_and_the_refused_do_not_stop_the_others(
        self, gyoza: Commands, handlers: Gateway
    ) -> None:
        first, second = (handlers.create()["id"] for _ in range(2))
        result = gyoza("cancel", first, OTHER_ID, second)
        assert (result.code, result.out) == (1, f"{first}  CANCELLED\n{second}  CANCELLED\n")
        assert result.err == f"gyoza: {OTHER_ID}: OpRun '{OTHER_ID}' not found (404 run_not_found)\n"

    def test_a_worker_is_asked_to_stop(self, gyoza: Commands, handlers: Gateway) -> None:
        run = handlers.create()["id"]
        handlers.start(run)
        result = gyoza("cancel", run, "--ask", "30")
        assert result.out.startswith(f"{run}  RUNNING  asked to stop until 20")
        assert handlers.get(f"/runs/{run}").json["cancel_by"]

    def test_a_run_is_retried_and_watched(self, gyoza: Commands, server: ScriptedServer, api: Gateway) -> None:
        run = api.create()["id"]
        api.event(run, "FAILED")
        server.answers_with(with_worker(api, complete(api)))
        result = gyoza("retry", run, "--watch")
        assert (result.code, result.out) == (0, '{"n":4}\n')
        assert "RETRIED" not in result.err
        result = gyoza("retry", run)
        assert (result.code, "run_locked" in result.err or "invalid" in result.err) == (1, True)


class TestDefinitions:
    def test_a_definition_is_put_read_run_listed_and_deleted(
        self, gyoza: Commands, handlers: Gateway, tmp_path: Path
    ) -> None:
        file = tmp_path / "d.json"
        file.write_text(
            json.dumps({"version": "1", "image": "r:1", "input_specs": {"w": {"type": "int", "description": "pixels"}}})
        )
        assert gyoza("def", "put", "resize", str(file)).out == "resize@1  revision 1\n"
        shown = gyoza("def", "get", "resize").out
        assert "w: int  required  pixels" in shown
        document = json.loads(gyoza("def", "get", "resize", "--json").out)
        etag = next(line.split()[1] for line in shown.splitlines() if line.startswith("etag"))
        file.write_text(json.dumps(document | {"priority": 7}))
        assert gyoza("def", "put", "resize", str(file), "--if-match", etag).out == "resize@1  revision 2\n"
        file.write_text(json.dumps(document | {"priority": 8}))
        result = gyoza("def", "put", "resize", str(file), "--if-match", etag)
        assert (result.code, "412 precondition_failed" in result.err) == (1, True)
        assert gyoza("def", "put", "resize", str(file), "--create").code == 1
        assert [line.split()[:3] for line in gyoza("def", "ls").out.splitlines()[1:]] == [["resize", "1", "2"]]
        assert [json.loads(row)["version"] for row in gyoza("def", "ls", "resize", "--json").out.splitlines()] == ["1"]
        run = gyoza("def", "run", "resize", "-i", "w:=3", "--priority", "9", "--version", "1").out.strip()
        assert handlers.get(f"/runs/{run}").json["priority"] == 9
        assert gyoza("def", "rm", "resize").code == 0
        assert gyoza("def", "get", "resize").code == 1

    def test_every_fault_of_inputs_is_named(self, gyoza: Commands, handlers: Gateway) -> None:
        handlers.put("/definitions/resize", {"version": "1", "image": "r:1", "input_specs": {"w": {"type": "int"}}})
        result = gyoza("def", "run", "resize", "-i", "h=3")
        assert result.code == 1
        assert {each.split(":")[0] for each in result.err.removeprefix("gyoza: ").split("; ")} == {
            "inputs.w",
            "inputs.h",
        }

    @pytest.mark.usefixtures("handlers")
    def test_it_is_put_from_standard_input(self, gyoza: Commands) -> None:
        process = gyoza.process("def", "put", "resize", stdin=-1)
        out, err = process.communicate('{"version": "1", "image": "r:1"}', timeout=30)
        assert (process.returncode, out, err) == (0, "resize@1  revision 1\n", "")

    @pytest.mark.usefixtures("handlers")
    def test_a_document_that_does_not_fit_is_refused_by_its_fields(self, gyoza: Commands, tmp_path: Path) -> None:
        file = tmp_path / "d.json"
        file.write_text('{"version": "1", "image": "r:1", "imagge": 1}')
        result = gyoza("def", "put", "resize", str(file))
        assert (result.code, result.err.startswith("gyoza: imagge: ")) == (1, True)
        file.write_text("[]")
        assert gyoza("def", "put", "resize", str(file)).code == 2

    def test_a_document_that_cannot_be_read_is_named_once(self, gyoza: Commands) -> None:
        result = gyoza("def", "put", "resize", "missing.json")
        assert (result.code, result.err) == (2, "gyoza: missing.json cannot be read: No such file or directory\n")

    def test_without_a_document_on_standard_input_it_says_so(self, gyoza: Commands) -> None:
        result = finish(gyoza.process("def", "put", "resize"))
        assert (result.code, result.err) == (2, "gyoza: standard input: this is empty, and JSON is needed\n")

    def test_a_standard_input_that_is_closed_is_named(self, gyoza: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sys.stdin", None)
        result = gyoza("def", "put", "resize")
        assert (result.code, result.err) == (2, "gyoza: standard input cannot be read: it is closed\n")


def hostile(value: Any) -> Any:
    """The JSON with a text that would steer a terminal in the place of each text that is no instant."""
    if isinstance(value, dict):
        return {name: hostile(each) for name, each in value.items() if each is not None}
    if isinstance(value, list):
        return [hostile(each) for each in value]
    return f"x{ATTACK}" if isinstance(value, str) and not value.startswith("2026-") else value


class TestHostileTexts:
    @pytest.mark.parametrize(
        ("words", "body"),
        [
            ("run x", run_json(events=[event_json(0)])),
            ("ls", list_json(summary_json(op_definition="d", op_version="1"))),
            ("ls -q", list_json(summary_json())),
            ("ls --json", list_json(run_json())),
            ("show x", run_json(op_definition="d", op_version="1", events=[event_json(0)], outputs={"k": "v"})),
            (
                "events x",
                events_json(0) | {"events": [event_json(0, payload={"error_message": "e", "worker_id": "w"})]},
            ),
            ("cancel x y", run_json()),
            ("retry x", run_json()),
            ("def get x", definition_json(input_specs={"n": {"type": "int", "required": True, "description": "d"}})),
            ("def ls", list_json(definition_row_json())),
            ("def ls x --json", list_json(definition_row_json())),
        ],
    )
    def test_no_text_of_the_api_reaches_the_terminal_raw(
        self, words: str, body: dict[str, Any], gyoza: Commands, server: ScriptedServer
    ) -> None:
        server.replies(Reply(200, hostile(body)))
        result = gyoza(*words.split())
        assert result.code == 0
        assert r"x\x1b]0;owned" in result.out or r"x\u001b]0;owned" in result.out
        assert all(each == "\n" or each.isprintable() for each in result.out + result.err)


class TestErrors:
    @pytest.mark.parametrize(
        ("words", "text"),
        [
            ("run", "IMAGE"),
            ("run busybox:1 more", "Unexpected argument: more"),
            ("run busybox:1 --priority high", "--priority"),
            ("run busybox:1 --queue-ttl-s 1w", "--queue-ttl-s"),
            ("run busybox:1 --start-at tomorrow", "--start-at"),
            ("run busybox:1 --start-at 2020-01-01", "write 2020-01-01T00:00:00Z for UTC. See gyoza run --help"),
            ("run busybox:1 --idempotency-key=", "--idempotency-key"),
            ("run busybox:1 --idempotency-key é", "--idempotency-key"),
            ("def run resize --idempotency-key=", "--idempotency-key"),
            ("run busybox:1 --backoff-s nan", "--backoff-s: 'nan' is no number such as 3 or 0.5. See"),
            ("run busybox:1 --backoff-factor 1e999", "--backoff-factor"),
            ("run busybox:1 --max-backoff-s=-inf", "--max-backoff-s"),
            ("run busybox:1 --max-backoff-s x", "--max-backoff-s"),
            ("run busybox:1 --priority 1e999", "--priority"),
            ("run busybox:1 -i n:=1e999", "-i n: "),
            ('run busybox:1 -i n:="\\ud800"', "-i n: "),
            ('run busybox:1 --topic t --attribute n:="\\ud800"', "--attribute n: "),
            ("run busybox:1 -i n:=x", "-i n: "),
            ("run busybox:1 -i", "-i"),
            ("run busybox:1 --timeout 3", "--timeout: it bounds --watch"),
            ("run busybox:1 --attribute x --topic t", "--attribute x"),
            ("ls --state lost", "--state"),
            ("ls --limit 0", "--limit"),
            ("ls --stat FAILED", "Did you mean --state"),
            ("events x -f --attempt 1", "--attempt"),
            ("retry a b --watch", "--watch: it follows one run"),
            ("cancel", "RUN"),
            ("nonsense", 'Unknown command "nonsense"'),
            ("def", ""),
        ],
    )
    def test_a_wrong_command_line_is_code_2_and_one_line(self, words: str, text: str, gyoza: Commands) -> None:
        result = gyoza(*words.split())
        if words == "def":
            assert (result.code, "Usage: gyoza def" in result.out) == (0, True)
            return
        assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
        assert text in result.err

    @pytest.mark.parametrize(
        ("reply", "code", "text"),
        [
            (Reply(403, error_json("forbidden", "Forbidden")), 4, "gyoza: not authorised: Forbidden."),
            (Reply(403, {"message": "Forbidden"}), 4, "gyoza: not authorised: Forbidden."),
            (
                Reply(422, error_json("validation_error", [{"loc": ["query", "limit"], "msg": "no", "type": "x"}])),
                1,
                "gyoza: limit: no\n",
            ),
            (
                Reply(400, error_json("invalid_filter", f"bad {ATTACK}")),
                1,
                r"gyoza: bad \x1b]0;owned\x07\x9b2J (400 invalid_filter)",
            ),
            (Reply(429, error_json("quota_exceeded", "used up")), 1, "gyoza: used up (429 quota_exceeded)"),
            (Reply(200, b"<html>"), 1, "gyoza: The answer, status 200, is no JSON"),
        ],
    )
    def test_a_refusal_is_one_line(
        self, reply: Reply, code: int, text: str, gyoza: Commands, server: ScriptedServer
    ) -> None:
        server.replies(reply)
        result = gyoza("ls")
        assert (result.code, result.out, result.err.count("\n")) == (code, "", 1)
        assert result.err.startswith(text)

    def test_no_address_is_an_error_that_says_what_to_set(
        self, gyoza: Commands, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.delenv("GYOZA_URL")
        result = gyoza("ls")
        assert (result.code, "the key without the URL" in result.err) == (1, True)
        monkeypatch.delenv("GYOZA_API_KEY")
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
        monkeypatch.chdir(tmp_path)
        result = gyoza("ls")
        assert (result.code, result.err.count("\n"), "Set GYOZA_URL and GYOZA_API_KEY" in result.err) == (1, 1, True)

    @pytest.mark.usefixtures("handlers")
    @pytest.mark.parametrize("words", [("--profile", "lab", "ls"), ("ls", "--profile=lab")])
    def test_a_profile_does_not_silently_give_way_to_the_environment(
        self, gyoza: Commands, words: tuple[str, ...]
    ) -> None:
        result = gyoza(*words)
        assert (result.code, result.err.count("\n")) == (0, 1)
        assert "GYOZA_URL and GYOZA_API_KEY in the environment come before --profile lab" in result.err

    def test_url_and_key_in_each_others_place_show_no_key(
        self, gyoza: Commands, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("GYOZA_API_KEY", "http://127.0.0.1:1")
        monkeypatch.setenv("GYOZA_URL", "a-key-of-these-tests")
        assert gyoza("ls").code == 1

    def test_each_end_of_a_run_has_its_code(self) -> None:
        assert {state: code_of_state(state) for state in State if state.is_terminal} == {
            State.COMPLETED: 0,
            State.FAILED: 3,
            State.CANCELLED: 5,
        }

"""Tests the command line as a process: its ends, its streams, what it imports, and how it looks on a terminal."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from select import select

import pytest

from clients.python.tests.command_line import KEY, SOURCES, Commands, finish, start
from clients.python.tests.examples import RUN_ID, events_json, list_json, run_json, summary_json
from clients.python.tests.handlers import event, with_worker
from clients.python.tests.scripted_server import HANG_UP, Asked, Reply, ScriptedServer
from gyoza_client._cli import main as entry
from gyoza_client._cli.screen import Screen
from gyoza_client._cli.session import Session
from testing.gateway import Gateway


def redirected(words: str, server: ScriptedServer) -> "subprocess.CompletedProcess[str]":
    """A command line that a shell runs, with whatever it redirects."""
    return subprocess.run(
        ["/bin/sh", "-c", f"{sys.executable} -W error -m gyoza_client {words}"],
        env={"PYTHONPATH": str(SOURCES), "GYOZA_URL": server.url, "GYOZA_API_KEY": KEY},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


EXTRA = ("cyclopts", "rich", "attrs")


@pytest.fixture
def gyoza(server: ScriptedServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Commands:
    return Commands(server.url, capsys, monkeypatch)


@pytest.fixture
def waiting(server: ScriptedServer) -> ScriptedServer:
    """A server with a run that goes on for ever after its third event."""

    def answer(asked: Asked) -> Reply:
        if asked.path.endswith("/events"):
            after = int(dict(asked.query).get("after_seq", "-1"))
            return Reply(200, events_json(*range(after + 1, 3)) | {"last_seq": 2})
        return Reply(201 if asked.method == "POST" else 200, run_json("RUNNING", last_seq=2))

    server.answers_with(answer)
    return server


def modules_after(words: list[str], environ: dict[str, str] | None = None) -> set[str]:
    """The modules that a command line has imported at its end."""
    program = (
        "import json, sys; from gyoza_client._cli.main import main; code = main(sys.argv[1:]);"
        " print(json.dumps(list(sys.modules)), file=sys.stderr)"
    )
    result = finish(start(*words, program=("-c", program), environ=environ))
    return set(json.loads(result.err.splitlines()[-1]))


class TestProcess:
    def test_the_version_and_the_help_are_data(self) -> None:
        assert finish(start("--version")).out.startswith("gyoza ")
        result = finish(start("--help"))
        assert (result.code, result.err) == (0, "")
        for word in (
            "run",
            "ls",
            "show",
            "events",
            "wait",
            "cancel",
            "retry",
            "def",
            "worker",
            "exec",
            "profile",
            "130",
        ):
            assert re.search(rf"\b{word}\b", result.out), word

    @pytest.mark.parametrize(
        "command", ["run", "ls", "show", "events", "wait", "cancel", "retry", "def put", "def get", "def ls", "def run"]
    )
    def test_each_command_has_help_with_examples(self, command: str) -> None:
        result = finish(start(*command.split(), "--help"))
        assert (result.code, f"    gyoza {command}" in result.out) == (0, True)

    def test_a_shell_completes_commands_and_options(self, tmp_path: Path) -> None:
        script = tmp_path / "gyoza.sh"
        assert finish(start("--install-completion", "--shell", "bash", "--output", str(script))).out == f"{script}\n"
        program = f"source {script}; COMP_WORDS=(gyoza ls --st); COMP_CWORD=2; _gyoza; echo ${{COMPREPLY[@]}}"
        done = subprocess.run(["/bin/bash", "-c", program], capture_output=True, text=True, timeout=30, check=False)
        assert done.stdout == "--state --starting-after\n"

    def test_sigint_is_code_130_and_says_how_to_go_on(self, gyoza: Commands, waiting: ScriptedServer) -> None:
        process = gyoza.process("run", "busybox:1", "--watch")
        while not any(asked.path.endswith("/events") for asked in list(waiting.asked)):
            time.sleep(0.02)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        result = finish(process)
        assert (result.code, result.out) == (130, "")
        assert result.err.endswith(f"The run goes on. Follow it again: gyoza events -f {RUN_ID} --after-seq 2\n")

    def test_a_watch_in_the_background_passes_over_sigint(self, waiting: ScriptedServer) -> None:
        environ = {"PYTHONPATH": str(SOURCES), "GYOZA_URL": waiting.url, "GYOZA_API_KEY": KEY}
        command = ["/bin/sh", "-c", f"trap '' INT; exec {sys.executable} -m gyoza_client events -f {RUN_ID}"]
        with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline().split()[1] == "0"
            process.send_signal(signal.SIGINT)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(1)
            process.kill()

    def test_sigint_during_a_wait_names_the_wait(self, gyoza: Commands, waiting: ScriptedServer) -> None:
        process = gyoza.process("wait", RUN_ID)
        while not any(asked.path.endswith("/events") for asked in list(waiting.asked)):
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        result = finish(process)
        assert (result.code, f"gyoza wait {RUN_ID}" in result.err) == (130, True)

    def test_a_reader_that_leaves_ends_it_without_a_word(self, gyoza: Commands, server: ScriptedServer) -> None:
        rows = [summary_json(image=f"busybox:{n}") for n in range(100)]
        server.replies(Reply(200, list_json(*rows, next_cursor=RUN_ID)))
        process = gyoza.process("ls", "--all")
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        assert (process.stderr.read(), process.wait(30)) == ("", 1)
        process.stderr.close()

    @pytest.mark.parametrize(
        ("redirection", "code", "err"),
        [
            (">&-", 1, "gyoza: standard output: it is closed\n"),
            ("> /dev/full", 1, "gyoza: standard output: No space left on device\n"),
            ("2>&-", 0, ""),
            (">&- 2>&-", 1, ""),
        ],
    )
    @pytest.mark.parametrize("words", ["ls", "ls -q", "ls --json"])
    def test_a_standard_output_that_takes_no_data_is_an_error(
        self, words: str, redirection: str, code: int, err: str, server: ScriptedServer
    ) -> None:
        server.replies(Reply(200, list_json(run_json() if "--json" in words else summary_json())))
        done = redirected(f"{words} {redirection}", server)
        assert (done.returncode, done.stderr) == (code, err)

    @pytest.mark.parametrize("redirection", [">&-", "> /dev/full", "| true"])
    @pytest.mark.parametrize("words", ["run x", "run x --json", "run x --watch --json"])
    def test_the_id_of_a_run_goes_to_standard_error_if_it_cannot_be_data(
        self, words: str, redirection: str, server: ScriptedServer
    ) -> None:
        server.replies(Reply(201, run_json()))
        if "|" in redirection:  # The reader is gone before the command writes.
            process = start(*words.split(), environ={"GYOZA_URL": server.url, "GYOZA_API_KEY": KEY})
            assert process.stdout is not None
            process.stdout.close()
            assert process.stderr is not None
            with process.stderr:
                code, err = process.wait(30), process.stderr.read()
        else:
            done = redirected(f"{words} {redirection}", server)
            code, err = done.returncode, done.stderr
        first = f"The run was created, but its id could not be printed as data: {RUN_ID}"
        assert (code, err.splitlines()[0], len(err.splitlines())) == (1, first, 1 if "|" in redirection else 2)

    def test_outputs_that_cannot_be_written_are_an_error(self, server: ScriptedServer) -> None:
        server.answers_with(
            lambda asked: Reply(
                200,
                events_json() | {"state": "COMPLETED", "last_seq": 0}
                if asked.path.endswith("/events")
                else run_json("COMPLETED", last_seq=0),
            )
        )
        done = redirected(f"wait {RUN_ID} >&-", server)
        assert (done.returncode, done.stderr) == (1, "COMPLETED\ngyoza: standard output: it is closed\n")

    def test_without_standard_error_an_error_is_not_data(self, server: ScriptedServer) -> None:
        done = redirected("ls --limit 0 2>&-", server)
        assert (done.returncode, done.stdout) == (2, "")

    @pytest.mark.parametrize("words", [["ls"], ["worker"]])
    @pytest.mark.parametrize("swallowed", [False, True])
    def test_ctrl_c_while_modules_are_imported_is_code_130_without_a_word(
        self, words: list[str], swallowed: bool, tmp_path: Path
    ) -> None:
        raising = "import signal\nsignal.raise_signal(signal.SIGINT)\n"
        guarded = "import signal\ntry:\n    signal.raise_signal(signal.SIGINT)\nexcept BaseException: pass\n"
        for name in ("cyclopts", "stub"):
            (tmp_path / f"{name}.py").write_text(guarded if swallowed else raising)
        program = (
            "import sys; from gyoza_client._cli import main as m; m.BASE_COMMANDS.update(worker='stub');"
            " sys.exit(m.main(sys.argv[1:]))"
        )
        environ = {"PYTHONPATH": f"{tmp_path}:{SOURCES}"}
        result = finish(start(*words, program=("-c", program), environ=environ))
        assert (result.code, result.out, result.err) == (130, "", "")

    def test_an_encoding_that_lacks_a_character_is_no_error(self, server: ScriptedServer) -> None:
        environ = {"PYTHONIOENCODING": "ascii", "GYOZA_URL": server.url, "GYOZA_API_KEY": KEY}
        server.replies(Reply(200, list_json(summary_json(image="漢é"))))
        assert r"\u6f22\xe9" in finish(start("ls", environ=environ)).out
        server.replies(Reply(200, run_json(image="漢é")))
        assert json.loads(finish(start("show", RUN_ID, "--json", environ=environ)).out)["image"] == "漢é"


class TestImports:
    def test_exec_and_worker_run_before_the_extra_is_imported(self, tmp_path: Path) -> None:
        (tmp_path / "stub.py").write_text("def main(argv):\n    print(*argv)\n    return 7")
        program = (
            "import json, sys; from gyoza_client._cli import main as m;"
            " m.BASE_COMMANDS.update(exec='stub', worker='stub'); code = m.main(sys.argv[1:]);"
            " print(json.dumps([code, list(sys.modules)]), file=sys.stderr)"
        )
        for words, passed_on in {
            "exec -- cmd --json --profile x": "-- cmd --json --profile x",
            "--profile lab exec -- cmd": "--profile lab -- cmd",
            "--json --profile=lab worker --queue q": "--json --profile=lab --queue q",
            "worker --json": "--json",
        }.items():
            process = start(*words.split(), program=("-c", program), environ={"PYTHONPATH": f"{SOURCES}:{tmp_path}"})
            result = finish(process)
            code, modules = json.loads(result.err)
            assert (code, result.out.strip()) == (7, passed_on)
            assert not set(EXTRA) & set(modules)

    def test_options_that_only_the_app_understands_reach_worker_too(
        self, gyoza: Commands, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        given: list[list[str]] = []

        def run(words: list[str]) -> int:
            given.append(words)
            return 0

        monkeypatch.setattr("gyoza_client._worker.command_line.main", run)
        assert gyoza("--json=true", "--profile", "lab", "worker", "--queue", "q").code == 0
        assert given == [["--json", "--profile", "lab", "--queue", "q"]]

    def test_off_a_terminal_a_list_does_not_import_rich(self, server: ScriptedServer) -> None:
        server.replies(Reply(200, list_json(summary_json())))
        modules = modules_after(["ls"], {"GYOZA_URL": server.url, "GYOZA_API_KEY": KEY})
        assert "cyclopts" in modules
        for module in (
            "rich.console",
            "boto3",
            "asyncio",
            "gyoza_client._cli.profiles",
            "gyoza_client._cli.definitions",
        ):
            assert module not in modules

    @pytest.mark.parametrize("words", [["ls"], ["--json", "run", "x"], [], ["--help"]])
    def test_without_the_extra_a_line_names_it(self, words: list[str]) -> None:
        program = (
            "import sys\nfor name in ('cyclopts', 'rich'): sys.modules[name] = None\n"
            "from gyoza_client._cli.main import main\nsys.exit(main(sys.argv[1:]))"
        )
        result = finish(start(*words, program=("-c", program)))
        assert (result.code, result.out, result.err.count("\n")) == (1, "", 1)
        assert "[cli]" in result.err

    def test_without_the_extra_there_is_a_version(self) -> None:
        assert entry.main(["--version"]) == 0


class Terminal:
    """A process of the command line on a terminal of its own."""

    def __init__(self, *words: str, environ: dict[str, str], columns: int = 80) -> None:
        self._master, slave = pty.openpty()
        settings = {"TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": "30", **environ}
        self.process = start(*words, environ=settings, stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)

    def output(self, until: str = "") -> str:
        """All that it prints to its end, or until it has printed this."""
        got, end = b"", time.monotonic() + 30
        while time.monotonic() < end and not (until and until.encode() in got):
            if select([self._master], [], [], 0.1)[0]:
                try:
                    part = os.read(self._master, 65_536)
                except OSError:  # The other side is closed.
                    break
                if not part:
                    break
                got += part
        return got.decode(errors="replace")

    def write(self, text: str) -> None:
        os.write(self._master, text.encode())

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)


OpenTerminal = Callable[..., Terminal]


@pytest.fixture
def terminal(server: ScriptedServer) -> Iterator[OpenTerminal]:
    """A function that runs a command line on a terminal, against the server."""
    opened: list[Terminal] = []

    def open_terminal(*words: str, environ: dict[str, str] | None = None, columns: int = 80) -> Terminal:
        address = {"GYOZA_URL": server.url, "GYOZA_API_KEY": KEY}
        opened.append(Terminal(*words, environ=address | (environ or {}), columns=columns))
        return opened[-1]

    yield open_terminal
    for each in opened:
        each.close()


def without_colours(text: str) -> list[str]:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r\n", "\n").splitlines()


LONG = "registry.example.com/a-very-long-team-name/a-very-long-name-of-an-image-with-漢字:1"


class TestTerminal:
    @pytest.mark.parametrize("columns", [40, 60, 80, 100, 120, 200])
    def test_rows_fit_the_terminal_and_ids_are_whole(
        self, columns: int, terminal: OpenTerminal, server: ScriptedServer
    ) -> None:
        rows = [summary_json("RUNNING", image=LONG, progress=50, queue="q" * 64), summary_json("PENDING", image="b:1")]
        server.replies(Reply(200, list_json(*rows)))
        lines = without_colours(terminal("ls", columns=columns).output())
        assert all(len(line) + line.count("漢") + line.count("字") <= columns for line in lines)
        assert [line.split()[0] for line in lines[1:]] == [RUN_ID, RUN_ID]
        if columns >= 60:
            assert lines[1].endswith(":1")

    @pytest.mark.parametrize("columns", [10, 35])
    def test_an_id_is_whole_on_a_terminal_that_is_narrower(
        self, columns: int, terminal: OpenTerminal, server: ScriptedServer
    ) -> None:
        server.replies(Reply(200, list_json(summary_json("RUNNING", image=LONG), summary_json())))
        assert without_colours(terminal("ls", columns=columns).output())[1:] == [RUN_ID, RUN_ID]
        server.replies(Reply(200, run_json("COMPLETED")))
        assert without_colours(terminal("show", RUN_ID, columns=columns).output())[0] == RUN_ID
        server.answers_with(
            lambda asked: Reply(
                200,
                events_json() | {"state": "COMPLETED", "last_seq": 0}
                if asked.path.endswith("/events")
                else run_json("COMPLETED", last_seq=0),
            )
        )
        assert RUN_ID in without_colours(terminal("wait", RUN_ID, columns=columns).output())

    def test_a_state_has_a_colour_unless_no_colour_is_wanted(
        self, terminal: OpenTerminal, server: ScriptedServer
    ) -> None:
        server.replies(Reply(200, list_json(summary_json("FAILED"))))
        assert "\x1b[31mFAILED" in terminal("ls").output()
        plain = terminal("ls", environ={"NO_COLOR": "1"}).output()
        assert ("FAILED" in plain, re.search(r"\x1b\[[0-9;]*3[0-9]m", plain)) == (True, None)
        assert "\x1b" not in terminal("ls", environ={"TERM": "dumb"}).output()

    def test_texts_of_runs_cannot_steer_the_terminal(self, terminal: OpenTerminal, server: ScriptedServer) -> None:
        attack = "\x1b]0;owned\x07\x9b2J[red]\u202e"
        run = run_json(
            f"RUNNING{attack}",
            image=attack,
            inputs={attack: attack},
            events=[{**events_json(0)["events"][0], "type": attack, "msg": attack, "payload": {attack: attack}}],
            execution_summary={"error_message": attack, "reason": attack, "worker_id": attack},
        )
        server.replies(Reply(200, run))
        for words in (("show", RUN_ID), ("show", RUN_ID, "--json")):
            text = terminal(*words).output()
            assert re.search(r"\x1b\]|\x07|\x9b|\u202e", text) is None
            assert "[red]" in text
        server.replies(Reply(200, events_json(0) | {"events": run["events"], "state": "COMPLETED"}))
        assert "owned" in (text := terminal("events", RUN_ID).output())
        assert re.search(r"\x1b\]|\x07|\x9b|\u202e", text) is None

    def test_a_watch_draws_a_bar_and_prints_the_outputs(
        self, terminal: OpenTerminal, server: ScriptedServer, api: Gateway
    ) -> None:
        steps = [api.start, event(api, "PROGRESS", 62), event(api, "INFO", "half way")]
        server.answers_with(with_worker(api, [*steps, event(api, "COMPLETED", outputs={"n": 4})]))
        watch = terminal("run", "busybox:1", "--watch", columns=100)
        text = watch.output()
        assert watch.process.wait(10) == 0
        lines = without_colours(text)
        assert "62 %" in text
        assert any(re.search(r"\d\d:\d\d:\d\d  INFO       half way$", line) for line in lines)
        assert [line.strip() for line in lines[-4:]] == [lines[-4].strip(), "{", '"n": 4', "}"]
        assert re.fullmatch(r"✔ COMPLETED after .* s", lines[-4].strip())
        assert text.count("\x1b[?25l") == text.count("\x1b[?25h")

    @pytest.mark.usefixtures("waiting")
    @pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_a_signal_gives_the_cursor_back(self, signum: signal.Signals, code: int, terminal: OpenTerminal) -> None:
        watch = terminal("run", "busybox:1", "--watch")
        text = watch.output(until="RUNNING")
        watch.process.send_signal(signum)
        text += watch.output()
        assert watch.process.wait(10) == code
        assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l") >= 0

    def test_a_key_that_is_asked_for_is_not_shown(self, terminal: OpenTerminal, tmp_path: Path) -> None:
        asking = terminal("profile", "add", "lab", environ={"XDG_CONFIG_HOME": str(tmp_path)})
        text = asking.output(until="URL of the API: ")
        asking.write("https://host/live\n")
        text += asking.output(until="it is not shown): ")
        asking.write("a-secret-key\n")
        text += asking.output()
        assert asking.process.wait(10) == 0
        assert "a-secret-key" not in text
        assert "a-secret-key" in (tmp_path / "gyoza/profiles.toml").read_text()

    def test_an_api_that_does_not_answer_is_told_of_before_the_command_gives_up(
        self, terminal: OpenTerminal, server: ScriptedServer
    ) -> None:
        server.replies(HANG_UP)
        assert "No answer so far: " in terminal("ls").output(until="Trying again")
        assert finish_soon(start("ls", environ={"GYOZA_URL": server.url, "GYOZA_API_KEY": KEY})) == ""

    def test_of_a_long_error_the_end_is_shown(self, terminal: OpenTerminal, server: ScriptedServer) -> None:
        error = "\n".join(f"line {n}" for n in range(100))
        server.replies(Reply(200, run_json("FAILED", execution_summary={"error_message": error})))
        lines = without_colours(terminal("show", RUN_ID).output())
        assert lines[-1] == "  line 99"
        assert "  ... 76 lines before these; --json prints all" in lines


def finish_soon(process: "subprocess.Popen[str]") -> str:
    """Whatever the process printed within two seconds."""
    time.sleep(2)
    process.kill()
    out, err = process.communicate()
    return out + err


@pytest.mark.parametrize(
    ("typed", "search_path", "shown"),
    [
        ("bin/gyoza", "", "bin/gyoza"),
        ("{folder}/bin/gyoza", "{folder}/bin", "gyoza"),
        ("{folder}/bin/gyoza", "{folder}/other", "{folder}/bin/gyoza"),
        ("{folder}/gyoza_client/__main__.py", "", "gyoza"),
    ],
)
def test_a_hint_names_the_program_as_the_shell_finds_it(
    typed: str, search_path: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("bin", "other"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "gyoza").touch(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", search_path.format(folder=tmp_path))
    monkeypatch.setattr(sys, "argv", [typed.format(folder=tmp_path), "run"])
    assert Session(Screen()).command("wait", "a run") == f"{shown.format(folder=tmp_path)} wait 'a run'"

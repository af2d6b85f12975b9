"""Plays the commands of docs/commands.md against the handlers, and compares what they print.

The address of a stack on AWS is made up. With `UPDATE_COMMANDS=1` in the environment the test writes what they print
into the document.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path

import pytest

from clients.python.tests.command_line import KEY, SOURCES
from clients.python.tests.handlers import Step, answer_of, event
from clients.python.tests.scripted_server import Asked, Reply, ScriptedServer
from gyoza_client._cli.main import main
from testing.gateway import Gateway

DOCUMENT = Path(__file__).resolve().parents[1] / "docs/commands.md"

_BLOCK = re.compile(r"^```console\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
_JSON = re.compile(r"^```json\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_HOME = "/home/me"
"""The folder of the session, as the document has it."""
_PROCESS = re.compile(r"gyoza (?:worker|exec) ")
"""Commands that start processes and catch signals, so that each runs in a process of its own."""
_CHANGING = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3,6}Z"), "<instant>"),
    (re.compile(r"\b\d+\.\d s\b"), "<time>"),
    (re.compile(r" +(?=<time>)"), " "),
    (re.compile(r'"worker_id":"[^"]+"'), '"worker_id":"<worker>"'),
)
"""Whatever differs from one session to the next, apart from ids."""


@pytest.fixture
def session(
    server: ScriptedServer, api: Gateway, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[str], str]:
    """A function that runs a command line of the document and returns what it prints."""
    for module in ("_calling", "_operations"):
        monkeypatch.setattr(f"gyoza_client.{module}._LONGEST_PAUSE_S", 0.01)
    monkeypatch.setattr("gyoza_client._operations._SHORTEST_PAUSE_S", 0.01)
    for name in ("GYOZA_SERVER_URL", "GYOZA_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"GYOZA_URL": server.url, "GYOZA_API_KEY": KEY, "LAB_KEY": KEY}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gyoza_client._cli.stack.address_of_stack", lambda *_: ("https://host.example/live", KEY))
    monkeypatch.setenv("PYTHONPATH", str(SOURCES))
    program = tmp_path / "bin/gyoza"
    program.parent.mkdir()
    program.touch(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m gyoza_client "$@"\n')
    (tmp_path / "resize.json").write_text(_JSON.findall(DOCUMENT.read_text())[0])
    server.answers_with(with_trainer(api))
    last = 0

    def run(line: str) -> str:
        nonlocal last
        if line == "echo $?":
            return f"{last}\n"
        last, printed = run_by_shell(line) if _PROCESS.search(line) else run_here(line.replace("~/", f"{tmp_path}/"))
        assert KEY not in printed
        return printed.replace(str(tmp_path), _HOME)

    return run


def run_here(line: str) -> tuple[int, str]:
    program, *words = shlex.split(line)
    assert program == "gyoza", line
    printed = StringIO()
    with redirect_stdout(printed), redirect_stderr(printed):
        code = main(words)
    return code, printed.getvalue()


def run_by_shell(line: str) -> tuple[int, str]:
    done = subprocess.run(
        ["/bin/sh", "-c", line],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stdout


def with_trainer(api: Gateway) -> Callable[[Asked], Reply]:
    """The handlers, with a worker of the runs of example/train:2: it does a step whenever the events of one are read.

    The first run fails once and then completes. The second is cancelled, and completes when it is retried.
    """
    error = "Traceback (most recent call last):\n  ...\nCUDAError: out of memory"
    outputs = {"checkpoint": "s3://models/train-41.pt", "loss": 0.127}

    def start(worker_id: str) -> Step:
        return lambda run_id: api.start(run_id, worker_id)

    lives = [
        [
            start("gpu-box-3"),
            event(api, "INFO", "reading imagenet-mini"),
            event(api, "FAILED", error_message=error),
            start("gpu-box-7"),
            event(api, "PROGRESS", 62),
            event(api, "INFO", "epoch 24 of 40, loss 0.183"),
            event(api, "COMPLETED", outputs=outputs),
        ],
        [start("gpu-box-3"), event(api, "CANCELLED"), start("gpu-box-7"), event(api, "COMPLETED", outputs=outputs)],
    ]
    steps: dict[str, list[Step]] = {}

    def answer(asked: Asked) -> Reply:
        if asked.method == "GET" and asked.path.endswith("/events"):
            run_id = asked.path.split("/")[2]
            if api.get(f"/runs/{run_id}").json["image"] == "example/train:2":
                left = steps[run_id] if run_id in steps else steps.setdefault(run_id, lives.pop(0))
                if left:
                    left.pop(0)(run_id)
        return answer_of(api, asked)

    return answer


def alike(text: str) -> str:
    """The text with placeholders for whatever differs from one session to the next."""
    for pattern, placeholder in _CHANGING:
        text = pattern.sub(placeholder, text)
    return _ID.sub("<id>", text)


def _replaced(names: Mapping[str, str], found: re.Match[str]) -> str:
    return names.get(found[0], found[0])


def test_the_commands_print_what_the_document_shows(session: Callable[[str], str]) -> None:
    document = DOCUMENT.read_text()
    real_ids: dict[str, str] = {}
    """The ids of this session by those of the document."""
    written = document
    for block in _BLOCK.findall(document):
        played = ""
        for command in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            line, _, shown = command.partition("\n")
            printed = session(_ID.sub(partial(_replaced, real_ids), line))
            if not os.environ.get("UPDATE_COMMANDS"):
                assert alike(printed) == alike(shown), line
            for of_document, real in zip(_ID.findall(shown), _ID.findall(printed), strict=False):
                if real not in real_ids.values():
                    real_ids.setdefault(of_document, real)
            of_session = {real: of_document for of_document, real in real_ids.items()}
            played += f"$ {line}\n" + _ID.sub(partial(_replaced, of_session), printed)
        written = written.replace(block, played)
    if os.environ.get("UPDATE_COMMANDS"):
        DOCUMENT.write_text(written)

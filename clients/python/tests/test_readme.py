"""Runs the programs of the README against the handlers."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from clients.python.tests.handlers import answer_of
from clients.python.tests.scripted_server import Asked, Reply, ScriptedServer
from gyoza_client import _configuration
from testing.gateway import Gateway

PACKAGE = Path(__file__).resolve().parents[1]

PROGRAMS = re.findall(r"^```python\n(.*?)^```", (PACKAGE / "README.md").read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def handlers(server: ScriptedServer, api: Gateway) -> ScriptedServer:
    """The server, which asks the handlers. Whatever waits is completed as soon as somebody reads."""

    def ask(asked: Asked) -> Reply:
        if asked.method == "GET":
            complete_what_waits(api)
        return answer_of(api, asked)

    server.answers_with(ask)
    return server


def complete_what_waits(api: Gateway) -> None:
    for row in api.get("/runs", state="PENDING").json["data"]:
        api.start(row["id"])
        api.event(row["id"], "COMPLETED", payload={"outputs": {"done": True}})


def play(program: str, server: ScriptedServer, home: Path) -> str:
    """The output of the program. Its address comes from a profile."""
    file = home / "gyoza/profiles.toml"
    file.parent.mkdir()
    file.touch(0o600)
    file.write_text(f'[{_configuration._DEFAULT_PROFILE}]\nurl = "{server.url}"\napi_key = "key"\n')
    played = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env={"XDG_CONFIG_HOME": str(home), "PYTHONPATH": str(PACKAGE / "src")},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert played.returncode == 0, played.stderr
    return played.stdout


def test_the_readme_has_five_programs() -> None:
    assert len(PROGRAMS) == 5


def test_a_worker_takes_at_most_twelve_lines_beside_its_computation() -> None:
    [lines] = [program.splitlines() for program in PROGRAMS if "client.work(" in program]
    computation = [line for line in lines if line.startswith(("def ", "    return "))]
    assert len(computation) == 2
    assert len([line for line in lines if line]) - len(computation) <= 12


@pytest.mark.parametrize(
    ("number", "printed"),
    [
        (0, r"\{'done': True\}\n"),
        (1, r"0 1 STARTED \n1 1 COMPLETED \n(COMPLETED \{'done': True\}\n){2}([0-9a-f-]{36} 2\S+ \S+\n){2}"),
        (4, r"STARTED \nCOMPLETED \n"),
    ],
)
def test_a_program_prints_how_its_runs_went(
    number: int, printed: str, handlers: ScriptedServer, tmp_path: Path
) -> None:
    assert re.fullmatch(printed, play(PROGRAMS[number], handlers, tmp_path))


@pytest.mark.parametrize("number", [2, 3])
def test_the_workers_complete_what_waits(number: int, handlers: ScriptedServer, api: Gateway, tmp_path: Path) -> None:
    """The loop of `work` never ends, so the test ends it."""
    runs = [api.create(queue="pictures", inputs={"width": width}) for width in (320, 640)]
    play(PROGRAMS[number].replace("client.work(", "client.work(idle_s=0, "), handlers, tmp_path)
    ended = [api.get(f"/runs/{run['id']}").json for run in runs]
    assert [(run["state"], run["outputs"]) for run in ended] == [
        ("COMPLETED", {"width": 320}),
        ("COMPLETED", {"width": 640}),
    ]

"""The commands of README.md and the pages for callers and workers, pasted as they stand into a plain POSIX shell."""

import json
import os
import re
import shutil
import subprocess
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from local.emulator import HOST
from local.endpoint import published
from local.first_commands import first_commands
from local.stack import ROOT, Endpoint
from tests.e2e.api import Api
from tests.e2e.workers import worker

LIMIT_S = 60

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="the pages use curl, which is not installed")


@pytest.fixture
def shell(endpoint: Endpoint, tmp_path: Path) -> "Shell":
    """A shell in a checkout whose path has a space, with the stack where the pages look for it."""
    checkout = tmp_path / "a checkout"
    stack = checkout / ".local/stacks/4566"
    stack.mkdir(parents=True)
    (checkout / "clients").symlink_to(ROOT / "clients")
    (checkout / "examples").symlink_to(ROOT / "examples")
    for made in ("bin", "venv"):
        (checkout / ".local" / made).symlink_to(ROOT / ".local" / made)
    return Shell(endpoint, checkout, stack)


class Shell:
    def __init__(self, endpoint: Endpoint, checkout: Path, stack: Path) -> None:
        self._endpoint = endpoint
        self._checkout = checkout
        self._stack = stack

    def paste(self, *blocks: str) -> list[Any]:
        """The JSON answers that the blocks print, a line for each. The test fails if they print anything else."""
        lines = [line for line in self.output(*blocks).splitlines() if line]
        answers = [json.loads(line) for line in lines]
        assert [answer for answer in answers if "code" in answer] == []
        return answers

    def output(self, *blocks: str) -> str:
        """All that the blocks print. The test fails if they complain."""
        said, notes = self.output_and_notes(*blocks)
        assert notes == ""
        return said

    def output_and_notes(self, *blocks: str) -> tuple[str, str]:
        """All that the blocks print, on standard output and on standard error. The test fails if their end fails."""
        command = ["sh"]
        with published(self._endpoint, self._stack):
            ended = subprocess.run(
                command,
                cwd=self._checkout,
                env=os.environ | {"NO_PROXY": HOST, "no_proxy": HOST},
                input="\n".join(blocks),
                capture_output=True,
                text=True,
                check=False,
                timeout=LIMIT_S,
            )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout, ended.stderr


def section(page: str, title: str) -> list[str]:
    """The blocks of shell commands under a title."""
    [text] = re.findall(
        rf"^##+ {re.escape(title)}\n(.*?)(?=^##|\Z)", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL
    )
    blocks: list[str] = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return blocks


def test_the_first_commands_of_the_readme_print_what_it_shows(shell: Shell, endpoint: Endpoint, tmp_path: Path) -> None:
    first, *others = section("README.md", "Run it here")
    with worker(endpoint, tmp_path / "worker.log"):
        said, notes = shell.output_and_notes(first)
    run_id = notes.splitlines()[0]
    [shown] = re.findall(r"^```text\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert shapes(shown) == shapes(notes)
    assert json.loads(said)["documents"]["sheep"] == {"lines": 4, "words": 15, "most_frequent": "baa"}
    listed = shell.output(*others)
    assert f"{run_id}  COMPLETED" in listed
    assert re.search(rf"^id +{run_id}$", listed, re.MULTILINE)


def shapes(text: str) -> list[str]:
    """The lines without the ids, times and names that differ from run to run, and without progress."""
    for pattern in (r"[0-9a-f-]{36}", r"\d+-\d+-\d+T[\d:.]+Z", r"(?<=(?:ASSIGNED |STARTED  )  )\S+", r"[\d.]+(?= s$)"):
        text = re.sub(pattern, "...", text, flags=re.MULTILINE)
    return [line for line in text.splitlines() if "PROGRESS" not in line]


@pytest.mark.parametrize("has_demo", [True, False])
def test_the_commands_that_make_run_gives_to_try_can_be_pasted(
    has_demo: bool, shell: Shell, endpoint: Endpoint, api: Api, tmp_path: Path
) -> None:
    retried = api.new_run(retry_policy={"max_attempts": 2})
    api.start(retried)
    api.event(retried, "FAILED", payload={"error_message": "disk full"})
    with worker(endpoint, tmp_path / "worker.log") if has_demo else nullcontext():
        created, listed, shown = (
            shell.output_and_notes(command)[0] for command in first_commands(4566, retried if has_demo else None, {})
        )
    if has_demo:
        assert set(json.loads(created)) == {"documents"}
        assert "disk full" in shown
    else:
        assert created.strip() in listed
        assert re.match(rf"id +{created}", shown)


def test_a_caller_plays_a_run_by_hand_and_finds_it(shell: Shell) -> None:
    answers = shell.paste(*section("docs/api.md", "Play one run by hand"), *section("docs/api.md", "Find runs"))
    *events, run, timeline, attempts, completed, recent, expanded = answers
    assert [answer["state"] for answer in events] == ["RUNNING", "RUNNING", "PENDING", "RUNNING", "COMPLETED"]
    assert (run["state"], run["current_attempt"], run["outputs"]) == ("COMPLETED", 2, {"answer": 42})
    assert [event["type"] for event in timeline["events"]] == [
        "STARTED", "PROGRESS", "FAILED", "RETRIED", "STARTED", "COMPLETED",
    ]  # fmt: skip
    assert [attempt["state"] for attempt in attempts] == ["FAILED", "COMPLETED"]
    assert [row["state"] for row in completed["data"]] == ["COMPLETED"]
    assert len(recent["data"]) == 1
    assert "events" in expanded["data"][0]


@pytest.mark.long
def test_a_worker_is_watched_and_stopped(shell: Shell) -> None:
    said = shell.output(*section("docs/workers.md", "Watch one work"))
    running, stopped = said.split("has ", 1)[1].split("STARTED")[1:]
    assert "FAILED" not in running
    assert "interrupted" in stopped.splitlines()[-1]


@pytest.mark.long
@pytest.mark.skipif(shutil.which("aws") is None, reason="the page uses the AWS command line, which is not installed")
def test_a_subscriber_receives_the_end_of_a_run_and_no_failure_that_is_retried(
    shell: Shell, endpoint: Endpoint
) -> None:
    to_emulator, played = section("docs/push.md", "Try it on this machine")
    port = endpoint.aws_endpoint_url.rpartition(":")[2]
    assert "http://127.0.0.1:4566" in to_emulator
    said = shell.output(to_emulator.replace(":4566", f":{port}"), *section("docs/push.md", "Subscribe"), played)
    messages = [json.loads(line) for line in said.splitlines() if line.startswith('{"specversion"')]
    assert [message["type"] for message in messages] == ["gyoza.run.completed"]

"""The commands of README.md and the pages for callers and workers, pasted as they stand into a plain POSIX shell."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from local.emulator import HOST
from local.endpoint import published
from local.stack import ROOT, Endpoint

LIMIT_S = 60

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="the pages use curl, which is not installed")


@pytest.fixture
def shell(endpoint: Endpoint, tmp_path: Path) -> "Shell":
    """A shell in a checkout whose path has a space, with the stack where the pages look for it."""
    checkout = tmp_path / "a checkout"
    stack = checkout / ".local/stacks/4566"
    stack.mkdir(parents=True)
    (checkout / "examples").symlink_to(ROOT / "examples")
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
        assert ended.stderr == ""
        return ended.stdout


def section(page: str, title: str) -> list[str]:
    """The blocks of shell commands under a title."""
    [text] = re.findall(
        rf"^##+ {re.escape(title)}\n(.*?)(?=^##|\Z)", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL
    )
    blocks: list[str] = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return blocks


def test_the_first_curl_of_the_readme_creates_the_run_that_it_shows(shell: Shell) -> None:
    [run] = shell.paste(*section("README.md", "Run it here"))
    shown = re.search(r"^```json\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert shown is not None
    own = ("id", "created_at", "updated_at")
    assert {name: value for name, value in run.items() if name not in own} == {
        name: value for name, value in json.loads(shown[1]).items() if name not in own
    }


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
    # The worker writes lines of its own.
    running, stopped = (json.loads(line) for line in said.splitlines() if line.startswith("{"))
    assert running["state"] == "RUNNING"
    assert stopped["state"] == "FAILED"
    assert [event["type"] for event in stopped["events"]][-1] == "FAILED"


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

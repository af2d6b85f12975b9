"""The Makefiles in a folder whose path has spaces, with tools that only note how they were called."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from testing.cloudformation import ROOT

NOTES_ITS_CALL = """#!/bin/sh
printf '%s\\n' "$0 $*" >>"$NOTES"
"""

RUNS_THE_LAYERS_PYTHON = """#!/bin/sh
exec "$PYTHON" -m "called by sam $1"
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "a checkout with spaces"
    (folder / "functions").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", folder)
    shutil.copytree(ROOT / "layers", folder / "layers", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def tool(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(script)
    path.chmod(0o755)
    return path


def make(folder: Path, notes: Path, *arguments: str) -> list[str]:
    """The calls that the tools noted."""
    environ = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    command = ["make", *arguments]
    ended = subprocess.run(
        command, cwd=folder, env=environ | {"NOTES": str(notes)}, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return notes.read_text().splitlines()


def test_a_build_finds_its_python_in_a_path_with_spaces(checkout: Path, tmp_path: Path) -> None:
    environment = checkout / ".local/venv/sam"
    python = tool(environment / "bin/python", NOTES_ITS_CALL)
    tool(environment / "bin/sam", RUNS_THE_LAYERS_PYTHON)
    requirements = checkout / "requirements/sam.txt"
    requirements.parent.mkdir()
    requirements.touch()
    (environment / "ready").touch()
    calls = make(checkout, tmp_path / "notes", "build")
    assert calls == [
        f"{python} -m called by sam build",
        ".local/venv/sam/bin/python -m tools.layer_check .aws-sam/build/DomainLayer",
    ]


def test_the_layer_is_installed_by_a_python_in_a_path_with_spaces(checkout: Path, tmp_path: Path) -> None:
    python = tool(checkout / "bin/python", NOTES_ITS_CALL)
    output = checkout / "built layer"
    (output / "python").mkdir(parents=True)
    options = [f"PYTHON={python}", f"ARTIFACTS_DIR={output}", "LAYER_TARGET=host"]
    calls = make(checkout / "layers/gyoza_domain", tmp_path / "notes", "build-DomainLayer", *options)
    assert calls[0].startswith(f"{python} -m pip install ")
    assert all(call.startswith(f"{python} -m ") for call in calls)
    assert (output / "python/gyoza_domain/py.typed").exists()


@pytest.mark.parametrize(
    ("given", "environment"),
    [
        ([], "default"),
        (["ENV=dev"], "dev"),
        (["ENV=local"], "local"),
        (["PORT=4600"], "local"),
        (["PORT=4600", "ENV=dev"], "dev"),
    ],
)
@pytest.mark.parametrize("target", ["redeliver", "replay"])
def test_a_port_alone_selects_a_stack_of_this_machine(target: str, given: list[str], environment: str) -> None:
    inherited = {name: value for name, value in os.environ.items() if name not in ("ENV", "PORT")}
    command = ["make", "--dry-run", target, *given]
    ended = subprocess.run(command, cwd=ROOT, env=inherited, capture_output=True, text=True, check=True)
    assert set(re.findall(r"--config-env '(\w*)'", ended.stdout)) == {environment}

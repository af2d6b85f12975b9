"""Tests the installation of the tools, with installers that only record their calls."""

import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
import venv
from pathlib import Path
from typing import Any

import pytest

from local.stack import ROOT
from local.steps import Steps
from tools.environments import CannotInstall, Environments, check_venv_module


class Recorded(Environments):
    """Records commands and runs nothing. ``uv_works`` decides whether uv succeeds."""

    def __init__(self, folder: Path, *, uv_works: bool = True) -> None:
        super().__init__(folder / "venv", folder / "requirements", Steps(lambda _: None))
        self.commands: list[str] = []
        self.uv_variables: dict[str, str] = {}
        self._uv_works = uv_works

    def _run(self, name: str, command: Any, more: Any = None) -> None:
        what = "uv" if "uv" in command else "pip" if "pip" in command else "venv"
        self.commands.append(f"{what} {name}")
        if what == "venv":
            Path(command[-1]).mkdir(parents=True)
        if what == "uv":
            self.uv_variables = dict(more)
            if not self._uv_works:
                raise CannotInstall("no index")

    def _pip_config(self, option: str) -> str:
        return {"index-url": "https://index.invalid/simple"}.get(option, "")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements/installer.txt").write_text("uv\n")
    (tmp_path / "requirements/local.txt").write_text("--requirement shared.txt\n")
    (tmp_path / "requirements/shared.txt").write_text("boto3==1\n")
    return tmp_path


def test_an_environment_is_made_once(folder: Path) -> None:
    environments = Recorded(folder)
    environments.make("local")
    assert environments.commands == ["venv installer", "pip installer", "venv local", "uv local"]
    (folder / "bin/gyoza").unlink()
    environments.make("local")
    assert len(environments.commands) == 4
    assert (folder / "bin/gyoza").exists()


def test_an_environment_is_made_anew_when_an_included_file_changes(folder: Path) -> None:
    Recorded(folder).make("local")
    (folder / "requirements/shared.txt").write_text("boto3==2\n")
    environments = Recorded(folder)
    environments.make("local")
    assert environments.commands == ["venv local", "uv local"]


def test_the_local_environment_imports_the_client_of_its_checkout_and_starts_its_command_line(tmp_path: Path) -> None:
    checkout, moved = tmp_path / "a checkout", tmp_path / "a moved checkout"
    client = checkout / "clients/python/src/gyoza_client"
    (client / "_cli").mkdir(parents=True)
    (client / "_cli/main.py").write_text("import sys\ndef main(): print(__file__, sys.argv)\n")
    venv.create(checkout / ".local/venv/local")
    Environments(checkout / ".local/venv", checkout / "requirements", Steps(print)).add_client()
    checkout.rename(moved)
    # A module of the folder that a person is in must not take the place of one that the command needs.
    (tmp_path / "gyoza_client.py").write_text("raise AssertionError")
    command = [str(moved / ".local/bin/gyoza"), "show", "a b"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ended.stdout == f"{moved}/clients/python/src/gyoza_client/_cli/main.py {[*command]}\n"


def test_pip_installs_where_uv_cannot(folder: Path) -> None:
    environments = Recorded(folder, uv_works=False)
    environments.make("local")
    assert environments.commands[-2:] == ["uv local", "pip local"]
    assert (folder / "venv/local/ready").exists()


def test_uv_is_told_the_index_that_pip_is_configured_to_use(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("PIP_INDEX_URL", "UV_DEFAULT_INDEX", "PIP_CERT", "SSL_CERT_FILE"):
        monkeypatch.delenv(variable, raising=False)
    environments = Recorded(folder)
    environments.make("local")
    assert environments.uv_variables == {"UV_DEFAULT_INDEX": "https://index.invalid/simple"}


def test_a_python_without_ensurepip_is_told_before_anything_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ensurepip" else found(name))
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    with pytest.raises(CannotInstall, match=f"apt install python{version}-venv"):
        check_venv_module()


def test_an_interrupted_installation_says_so_in_one_sentence(folder: Path) -> None:
    """The installation of the installer takes seconds and is interrupted as soon as it begins."""
    command = [sys.executable, "-m", "tools.environments", "local"]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=folder, env=env, stderr=subprocess.PIPE, text=True) as installing:
        deadline = time.monotonic() + 60
        while not (folder / ".local/venv/installer.log").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        installing.send_signal(signal.SIGINT)
        _, said = installing.communicate(timeout=60)
    assert (installing.returncode, said) == (
        130,
        "\nStopped while installing. The same command begins where this one ended.\n",
    )


def test_the_emulator_that_is_installed_is_the_one_whose_functions_are_replaced() -> None:
    pinned = re.search(r"^ministack==(.+)$", (ROOT / "requirements/local.txt").read_text(), re.MULTILINE)
    launcher = (ROOT / "local/launch_emulator.py").read_text()
    written_for = re.search(r'^_WRITTEN_FOR = "(.+)"$', launcher, re.MULTILINE)
    assert pinned is not None
    assert written_for is not None
    assert pinned[1] == written_for[1]

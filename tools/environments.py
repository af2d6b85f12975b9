"""Creates the environments under .local/venv, each from the requirements file with its name.

    python3 -m tools.environments local dev

Needs only the standard library of the Python that the environments get. It creates an environment again if its
requirements or that Python change. uv installs the packages with pip's index and certificates. If uv fails, pip
installs them, because uv does not read the rest of pip's configuration. The environments have no pip. Two commands wait
for each other. The output of the installers is in .local/venv/<name>.log.

The environment of the local stack also imports the client of the API, from its sources: an edit needs no installation.
The command line of the client is beside the environments, as .local/bin/gyoza.
"""

import fcntl
import hashlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from local.steps import Steps

VENVS = Path(".local/venv")
REQUIREMENTS = Path("requirements")

_INSTALLER = "installer"
"""The environment with uv and pip."""

_LOCAL = "local"
"""The environment of the local stack."""

_CLIENT = Path("clients/python/src")
"""The sources of the client, seen from the checkout."""

_COMMAND_LINE = """#!/bin/sh
# -P keeps the modules of the current folder out. The program learns how it was called, to name itself in hints.
exec "${0%/*}/../venv/local/bin/python" -P -c \\
    'import sys; del sys.argv[0]; from gyoza_client._cli.main import main; sys.exit(main())' "$0" "$@"
"""


class CannotInstall(Exception):
    """The packages cannot be installed. The text names the reason and the remedy."""


class Environments:
    """The environments in one folder of a checkout. Only one process may use it at a time; see `locked`."""

    def __init__(self, venvs: Path, requirements: Path, steps: Steps) -> None:
        self._venvs = venvs
        self._requirements = requirements
        self._steps = steps

    def make(self, name: str) -> None:
        """Create an environment if it is missing or out of date. Raises CannotInstall."""
        wanted = self._digest(name)
        mark = self._venvs / name / "ready"
        if mark.exists() and mark.read_text() == wanted:
            mark.touch()
        else:
            self._make_anew(name)
            mark.write_text(wanted)
        if name == _LOCAL:
            self.add_client()

    def _make_anew(self, name: str) -> None:
        if name != _INSTALLER:
            self.make(_INSTALLER)
        folder = self._venvs / name
        shutil.rmtree(folder, ignore_errors=True)
        with self._steps.step(f"{name} environment installed", f"Installing the {name} environment"):
            if name == _INSTALLER:
                self._run(name, [sys.executable, "-m", "venv", str(folder)])
                self._pip(name, folder)
            else:
                self._run(name, [str(self._installer), "-m", "venv", "--without-pip", str(folder)])
                self._install(name, folder)

    def add_client(self) -> None:
        """Let the local environment import the client, and write the command that starts its command line."""
        folder, checkout = self._venvs / _LOCAL, self._venvs.parent.parent
        packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}))
        packages.mkdir(parents=True, exist_ok=True)
        # Python counts the path from this file's folder, so a checkout may be moved.
        (packages / "gyoza_client.pth").write_text(os.path.relpath(checkout / _CLIENT, packages) + "\n")
        command = self._venvs.parent / "bin/gyoza"
        command.parent.mkdir(exist_ok=True)
        command.write_text(_COMMAND_LINE)
        command.chmod(0o755)

    def _install(self, name: str, folder: Path) -> None:
        command = [str(self._installer), "-m", "uv", "pip", "install", "--python", str(folder / "bin/python")]
        try:
            self._run(name, [*command, "--requirement", str(self._file(name))], self._told_to_uv())
        except CannotInstall:
            self._pip(name, folder)

    def _pip(self, name: str, folder: Path) -> None:
        command = [str(self._installer), "-m", "pip", "--python", str(folder / "bin/python"), "install"]
        self._run(name, [*command, "--disable-pip-version-check", "--requirement", str(self._file(name))])

    def _told_to_uv(self) -> dict[str, str]:
        """The variables that give uv the index and the certificates of pip."""
        told = {}
        for variable, option in [("UV_DEFAULT_INDEX", "index-url"), ("SSL_CERT_FILE", "cert")]:
            value = os.environ.get("PIP_" + option.upper().replace("-", "_")) or self._pip_config(option)
            if value and variable not in os.environ:
                told[variable] = value
        return told

    def _pip_config(self, option: str) -> str:
        command = [str(self._installer), "-m", "pip", "config", "get", f"global.{option}"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    def _run(self, name: str, command: Sequence[str], more: Mapping[str, str] | None = None) -> None:
        log = self._venvs / f"{name}.log"
        with log.open("wb") as output:
            ended = subprocess.run(
                command,
                env={**os.environ, **(more or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                check=False,
            )
        if ended.returncode:
            last = "\n".join(log.read_text(errors="replace").splitlines()[-10:])
            raise CannotInstall(f"The {name} environment could not be installed. The end of {log}:\n{last}")

    def _digest(self, name: str) -> str:
        digest = hashlib.sha256(f"{sys.version} {sys.prefix}".encode())
        for file in _with_included(self._file(name)):
            digest.update(file.read_bytes())
        return digest.hexdigest()

    def _file(self, name: str) -> Path:
        return self._requirements / f"{name}.txt"

    @property
    def _installer(self) -> Path:
        return self._venvs / _INSTALLER / "bin/python"


def _with_included(file: Path) -> Iterator[Path]:
    yield file
    for line in file.read_text().splitlines():
        option, _, included = line.partition(" ")
        if option in ("-r", "--requirement", "-c", "--constraint"):
            yield from _with_included(file.parent / included.strip())


@contextmanager
def locked(venvs: Path, steps: Steps) -> Iterator[None]:
    """Wait until no other process creates environments here, and exclude others during the block."""
    venvs.mkdir(parents=True, exist_ok=True)
    with (venvs / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with steps.step("waited for another make", "Another make installs here, waiting for it"):
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def check_venv_module() -> None:
    """Raises CannotInstall if Python lacks a module that `python -m venv` needs."""
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise CannotInstall(
            f"{sys.executable} cannot make environments: its venv module is missing."
            f" On Debian and Ubuntu: apt install python{version}-venv"
        )


def main() -> int:
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, _interrupt)
    steps = Steps(_say)
    try:
        check_venv_module()
        with locked(VENVS, steps):
            environments = Environments(VENVS, REQUIREMENTS, steps)
            for name in sys.argv[1:]:
                environments.make(name)
    except CannotInstall as reason:
        print(reason, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped while installing. The same command begins where this one ended.", file=sys.stderr)
        return 130
    return 0


def _say(text: str) -> None:
    print(text, flush=True)


def _interrupt(_signum: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())

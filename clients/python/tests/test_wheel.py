"""Tests that the built wheel installs alone, without extras, in a fresh environment on each Python of this machine."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1]
ROOT = PACKAGE.parents[1]
MINORS = (11, 12, 13, 14)

DESCRIBES_ITSELF = """
import json, sys
from importlib.metadata import distributions
import gyoza_client
assert gyoza_client.__file__.startswith(sys.prefix), gyoza_client.__file__
gyoza_client.AsyncGyozaClient
with gyoza_client.GyozaClient("https://api.example/live", "key") as client:
    assert client.url == "https://api.example/live"
sizes = {}
for each in distributions():
    files = [file.locate() for file in each.files if file.suffix != ".pyc"]
    sizes[each.name] = sum(file.stat().st_size for file in files if file.exists())
print(json.dumps(sizes))
"""
"""A program that uses the package and prints the bytes of each installed distribution, without bytecode."""

OF_THE_ENVIRONMENT = {"pip", "setuptools", "wheel"}

pytestmark = pytest.mark.long


def found(minor: int) -> Path | None:
    """A Python of a minor release that can make environments: on the path, or installed by pyenv."""
    versions = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    folders = [*os.environ["PATH"].split(os.pathsep), *map(str, sorted(versions.glob(f"3.{minor}.*/bin")))]
    paths = (shutil.which(f"python3.{minor}", path=folder) for folder in folders)
    return next((Path(path) for path in paths if path and makes_environments(path)), None)


def makes_environments(python: str) -> bool:
    return subprocess.run([python, "-c", "import ensurepip, venv"], capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = [str(ROOT / ".local/venv/installer/bin/python"), "-m", "pip"]
    run(folder, *pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(PACKAGE))
    [wheel] = folder.glob("*.whl")
    return wheel


def run(folder: Path, *command: str) -> str:
    """Run a command, which finds nothing of the checkout, and return its output."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "GYOZA_"))}
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_holds_the_package_its_types_and_its_license_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {"gyoza_client/__init__.py", "gyoza_client/py.typed"} < set(names)
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert wheel.stat().st_size < 200_000
    assert all(re.match(r"gyoza_client(-[\d.]+\.dist-info)?/", name) for name in names), names


@pytest.mark.parametrize("minor", MINORS)
def test_the_wheel_installs_alone_and_works(wheel: Path, minor: int, tmp_path: Path) -> None:
    python = found(minor)
    if python is None:
        pytest.skip(f"there is no Python 3.{minor}")
    run(tmp_path, str(python), "-m", "venv", "fresh")
    fresh = str(tmp_path / "fresh/bin/python")
    run(tmp_path, fresh, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(wheel))
    run(tmp_path, fresh, "-m", "pip", "check")
    sizes = json.loads(run(tmp_path, fresh, "-I", "-W", "error", "-c", DESCRIBES_ITSELF))
    installed = {name.replace("_", "-"): size for name, size in sizes.items() if name not in OF_THE_ENVIRONMENT}
    print(f"\n{python}: wheel {wheel.stat().st_size:,} bytes; unpacked {installed}, {sum(installed.values()):,} in all")
    assert installed.pop("gyoza-client") < 1_000_000
    listed = listed_in_the_readme()
    assert installed.keys() == listed.keys()
    for name, size in installed.items():
        assert 0.5 < size / listed[name] < 2, name


def test_this_python_is_among_those_that_are_tried() -> None:
    assert sys.version_info.minor in MINORS
    assert found(sys.version_info.minor)


def listed_in_the_readme() -> dict[str, int]:
    """The dependencies that the README names, with their bytes."""
    rows = re.findall(r"^\| `([\w-]+)` \| (\d+) \|", (PACKAGE / "README.md").read_text(), re.MULTILINE)
    return {name: int(kilobytes) * 1000 for name, kilobytes in rows}

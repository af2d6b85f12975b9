"""Builds the folders that each system deploys, with and without bytecode, and the runtime's boto3 with bytecode.

The layer's own Makefile builds the product's folders. Pip installs the peers' packages, whole. It also installs the
clients of this API and of others, each in a folder of its own with what it needs.
"""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from compileall import compile_dir
from functools import partial
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import Any

from benchmarks.systems import FLOOR, OURS, PEER_1, PEER_2, ROOT, WORK

_LAYER = ROOT / "layers" / "gyoza_domain"
_PEERS = ROOT / "benchmarks" / "peers"
_PINS = (ROOT / "requirements" / "bench.txt", _LAYER / "requirements.txt")
_CLIENT = ROOT / "clients" / "python"
_CLIENT_PINS = ROOT / "requirements" / "clients.txt"
_PACKAGES = {PEER_1: ("fastapi", "mangum"), PEER_2: ("aws-lambda-powertools", "pydantic")}
_LAMBDA = ("--platform=manylinux2014_aarch64", "--python-version=3.13", "--implementation=cp", "--only-binary=:all:")

_APPS = {FLOOR: "floor", PEER_1: "peers/fastapi_mangum", PEER_2: "peers/powertools_resolver"}

Paths = dict[tuple[str, bool], tuple[Path, ...]]
"""The folders of packages, by system and by whether they have bytecode."""


def search_path(paths: Paths, system: str, function: str, *, bytecode: bool) -> tuple[Path, ...]:
    """The folders that Python searches. ``function`` is the folder of the route; only the product has one for each."""
    app = ROOT / "functions" / function if system == OURS else ROOT / "benchmarks" / _APPS[system]
    return (app, *paths[system, bytecode])


def build_paths() -> Paths:
    """Build the folders that are missing or out of date."""
    runtime = _built("runtime", (), lambda target: _install(target, ("boto3",), bytecode=True))
    paths: Paths = {(FLOOR, True): (runtime,), (FLOOR, False): (runtime,)}
    for bytecode in (True, False):
        kind = "bytecode" if bytecode else "source"
        layer = _built(f"layer-{kind}", (_LAYER,), partial(_make_layer, target_kind="host", bytecode=bytecode))
        paths[OURS, bytecode] = (layer / "python", runtime)
        for peer, names in _PACKAGES.items():
            make = partial(_make_peer, names=names, bytecode=bytecode)
            paths[peer, bytecode] = (_built(f"{peer}-{kind}", (_PEERS,), make), runtime)
    return paths


def build_clients(ours: str, peers: Iterable[str]) -> dict[str, Path]:
    """Build the folders of the clients that are missing or out of date, with bytecode."""
    pins = {line.partition("==")[0]: line for line in _CLIENT_PINS.read_text().splitlines()}
    sources = (_CLIENT / "pyproject.toml", _CLIENT / "src")
    folders = {ours: _built(f"client-{ours}", sources, lambda target: _pip(target, [str(_CLIENT)]))}
    for peer in peers:
        folders[peer] = _built(f"client-{peer}", (_CLIENT_PINS,), partial(_pip, wanted=[pins[peer]]))
    return folders


def measure_sizes() -> list[dict[str, Any]]:
    """The zipped megabytes of each system, for Lambda's platform and without boto3, which the runtime provides."""
    layer = partial(_make_layer, target_kind="lambda", bytecode=True)
    sizes = {OURS: _zipped_mb(_built("layer-lambda", (_LAYER,), layer))}
    for peer, names in _PACKAGES.items():
        make = partial(_install, names=names, options=_LAMBDA)
        sizes[peer] = _zipped_mb(_built(f"{peer}-lambda", (), make))
    return [{"system": system, "zipped MB": size} for system, size in sizes.items()]


def _built(name: str, sources: tuple[Path, ...], make: Callable[[Path], None]) -> Path:
    """A folder that ``make`` fills. Its name is a digest of its sources."""
    target = WORK / f"{name}-{_fingerprint(Path(__file__), *_PINS, *sources)}"
    if not target.exists():
        unfinished = WORK / f"{name}-unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        make(unfinished)
        unfinished.rename(target)
    return target


def _fingerprint(*sources: Path) -> str:
    digest = hashlib.sha256(sys.version.encode())
    for file in (file for source in sources for file in [source, *sorted(source.rglob("*"))]):
        if file.is_file() and "__pycache__" not in file.parts:
            digest.update(str(file.relative_to(ROOT)).encode() + file.read_bytes())
    return digest.hexdigest()[:12]


def _make_layer(target: Path, *, target_kind: str, bytecode: bool) -> None:
    variables = [f"ARTIFACTS_DIR={target}", f"LAYER_TARGET={target_kind}", f"PYTHON={sys.executable}"]
    command = ["make", "--silent", *variables, *([] if bytecode else ["COMPILER="])]
    subprocess.run([*command, "build-DomainLayer"], cwd=_LAYER, check=True)


def _make_peer(target: Path, names: tuple[str, ...], *, bytecode: bool) -> None:
    shutil.copytree(_PEERS, target / "benchmarks" / "peers", ignore=shutil.ignore_patterns("__pycache__"))
    _install(target, names, bytecode=bytecode)


def _install(target: Path, names: tuple[str, ...], options: tuple[str, ...] = (), *, bytecode: bool = False) -> None:
    """Install packages at their pins."""
    pins = [line for file in _PINS for line in file.read_text().splitlines() if line.partition("==")[0] in names]
    _pip(target, [*options, *pins], bytecode=bytecode)


def _pip(target: Path, wanted: Sequence[str], *, bytecode: bool = True) -> None:
    pip = [sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-compile"]
    subprocess.run([*pip, "--target", str(target), *wanted], check=True)
    if bytecode:
        # Quiet, because some packages have files for a later Python.
        compile_dir(target, quiet=2, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)


def _zipped_mb(folder: Path) -> float:
    return Path(shutil.make_archive(str(folder), "zip", folder)).stat().st_size / 1e6

"""What each system deploys, as folders: its packages with bytecode and without, and boto3 as the runtime brings it.

The product's layer is built by the layer's own Makefile, for this host. Peers' packages are installed by pip with
nothing cut away. The runtime's boto3 has bytecode always: it is not part of what is deployed.
"""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from compileall import compile_dir
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from py_compile import PycInvalidationMode

from benchmarks.places import ROOT, WORK

LAYER = ROOT / "layers" / "gyoza_domain"
PEERS = ROOT / "benchmarks" / "peers"
REQUIREMENTS = ROOT / "requirements" / "bench.txt"

PACKAGES = {"peer1": ("fastapi", "mangum"), "peer2": ("aws-lambda-powertools", "pydantic")}
"""What a peer deploys beside its own code; the runtime has boto3."""


@dataclass(frozen=True)
class Trees:
    """``packages``: by system and whether there is bytecode, what stands on the path behind the function."""

    runtime: Path
    packages: dict[tuple[str, bool], Path]


def build_trees() -> Trees:
    """Makes what is not there in its present form."""
    runtime = build_tree("runtime", (), _runtime)
    packages: dict[tuple[str, bool], Path] = {}
    for bytecode in (True, False):
        kind = "bytecode" if bytecode else "source"
        layer = build_tree(f"layer-{kind}", (LAYER,), partial(_layer, bytecode=bytecode))
        packages["ours", bytecode] = layer / "python"
        for peer, names in PACKAGES.items():
            packages[peer, bytecode] = build_tree(
                f"{peer}-{kind}",
                (LAYER / "requirements.txt", PEERS),
                partial(_peer, names=names, bytecode=bytecode),
            )
    return Trees(runtime, packages)


def pin(name: str) -> str:
    """The package at the version that the benchmark, or else the layer, asks for."""
    lines = [*REQUIREMENTS.read_text().splitlines(), *(LAYER / "requirements.txt").read_text().splitlines()]
    (line,) = [line for line in lines if line.startswith(f"{name}==")]
    return line


def build_tree(name: str, sources: tuple[Path, ...], make: Callable[[Path], None]) -> Path:
    """A folder that ``make`` fills, anew when the sources have changed."""
    fingerprint = _fingerprint(*sources, REQUIREMENTS)
    target, stamp = WORK / name, WORK / f"{name}.stamp"
    if not stamp.exists() or stamp.read_text() != fingerprint:
        stamp.unlink(missing_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        make(target)
        stamp.write_text(fingerprint)
    return target


def _fingerprint(*sources: Path) -> str:
    digest = hashlib.sha256(sys.version.encode() + Path(__file__).read_bytes())
    for source in sources:
        files = [source] if source.is_file() else sorted(source.rglob("*"))
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(str(file.relative_to(ROOT)).encode() + file.read_bytes())
    return digest.hexdigest()


def _layer(target: Path, *, bytecode: bool) -> None:
    command = ["make", "--silent", f"ARTIFACTS_DIR={target}", "LAYER_TARGET=host", f"PYTHON={sys.executable}"]
    subprocess.run([*command, *([] if bytecode else ["COMPILER="]), "build-DomainLayer"], cwd=LAYER, check=True)


def _runtime(target: Path) -> None:
    install(target, [pin("boto3")])
    _compile(target)


def _peer(target: Path, names: tuple[str, ...], *, bytecode: bool) -> None:
    install(target, [pin(name) for name in names])
    shutil.copytree(PEERS, target / "benchmarks" / "peers", ignore=shutil.ignore_patterns("__pycache__"))
    if bytecode:
        _compile(target)


def install(target: Path, pins: list[str], platform: tuple[str, ...] = ()) -> None:
    """Packages and what they need, their sources only."""
    command = [sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-compile"]
    subprocess.run([*command, *platform, "--target", str(target), *pins], check=True)


def _compile(target: Path) -> None:
    compile_dir(target, quiet=1, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)

"""What is deployed, zipped as Lambda takes it: each system's packages for Lambda's platform."""

import io
import subprocess
import sys
import zipfile
from functools import partial
from pathlib import Path

from benchmarks.systems import OURS
from benchmarks.trees import LAYER, PACKAGES, build_tree, install, pin

_LAMBDA = ("--platform", "manylinux2014_aarch64", "--python-version", "3.13", "--implementation", "cp")


def measure_sizes() -> dict[str, int]:
    """Bytes by system, without boto3, which the runtime has."""
    layer = build_tree("layer-lambda", (LAYER,), _layer)
    sizes = {OURS: zipped_bytes(layer)}
    for peer, names in PACKAGES.items():
        pins = [pin(name) for name in names]
        install_it = partial(install, pins=pins, platform=(*_LAMBDA, "--only-binary=:all:"))
        tree = build_tree(f"{peer}-lambda", (), install_it)
        sizes[peer] = zipped_bytes(tree)
    return sizes


def zipped_bytes(folder: Path) -> int:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))
    return len(buffer.getvalue())


def _layer(target: Path) -> None:
    command = ["make", "--silent", f"ARTIFACTS_DIR={target}", "LAYER_TARGET=lambda", f"PYTHON={sys.executable}"]
    subprocess.run([*command, "build-DomainLayer"], cwd=LAYER, check=True)

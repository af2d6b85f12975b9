"""Checks that a built layer fits Lambda: compiled for its platform, and small.

    python -m tools.layer_check .aws-sam/build/DomainLayer

Every compiled module must be an aarch64 ELF file with a name for CPython 3.13 on aarch64. CPython 3.13 must accept all
bytecode unchecked. The layer must not exceed 4 MB zipped, because each cold start loads it. Prints its findings, or
exits with 1 and the reason.
"""

import io
import struct
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

MAX_ZIPPED_BYTES = 4_000_000

_SUFFIX = ".cpython-313-aarch64-linux-gnu.so"
_ELF_MAGIC = b"\x7fELF"
_ELF_MACHINE_OFFSET = 18
_EM_AARCH64 = 183
_BYTECODE = b"\xf3\x0d\x0d\x0a\x01\x00\x00\x00"
"""CPython 3.13's magic number (3571, its pycore_magic_number.h) and PEP 552's flag for an unchecked hash."""


class LayerUnfit(Exception):
    """The layer would not work on Lambda."""


@dataclass(frozen=True)
class Findings:
    """``bytecode`` is the number of bytecode files; 0 if the build's host has no Python 3.13."""

    modules: int
    bytecode: int
    zipped_bytes: int


def check_layer(layer: Path) -> Findings:
    """The contents of a layer that fits. Raises LayerUnfit otherwise."""
    modules = sorted(layer.rglob("*.so"))
    if not modules:
        raise LayerUnfit("the layer has no compiled module: pydantic's is missing")
    for module in modules:
        if not module.name.endswith(_SUFFIX):
            raise LayerUnfit(f"{module.name} is not for CPython 3.13 on aarch64")
        if _elf_machine(module) != _EM_AARCH64:
            raise LayerUnfit(f"{module.name} is not an aarch64 ELF file")
    bytecode = sorted(layer.rglob("*.pyc"))
    for file in bytecode:
        if not file.read_bytes().startswith(_BYTECODE):
            raise LayerUnfit(f"{file.name} is no bytecode that CPython 3.13 takes unchecked")
    size = _zipped_size(layer)
    if size > MAX_ZIPPED_BYTES:
        raise LayerUnfit(f"{size:,} bytes zipped are more than {MAX_ZIPPED_BYTES:,}")
    return Findings(len(modules), len(bytecode), size)


def _elf_machine(path: Path) -> int | None:
    header = path.read_bytes()[: _ELF_MACHINE_OFFSET + 2]
    if len(header) < _ELF_MACHINE_OFFSET + 2 or not header.startswith(_ELF_MAGIC):
        return None
    machine: int = struct.unpack_from("<H", header, _ELF_MACHINE_OFFSET)[0]
    return machine


def _zipped_size(folder: Path) -> int:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in folder.rglob("*"):
            archive.write(path, path.relative_to(folder))
    return len(buffer.getvalue())


def main() -> int:
    layer = Path(sys.argv[1])
    try:
        found = check_layer(layer)
    except LayerUnfit as error:
        print(f"{layer}: {error}", file=sys.stderr)
        return 1
    print(
        f"{layer}: {found.modules} compiled module(s), all aarch64 cp313; {found.bytecode} files of bytecode;"
        f" {found.zipped_bytes / 1e6:.2f} MB zipped"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Builds the files that a deployment uploads: a zip for each function, one for the layer, and the template.

The layer's packages are built for the Python of this machine by the layer's own Makefile, once for each content of its
requirements, and kept in .local/layers. Each build adds `gyoza_domain`, so an edit needs no network.
"""

import fcntl
import hashlib
import io
import os
import py_compile
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .processes import run

_ADDRESS = re.compile(r"^(?P<key> *(?:CodeUri|ContentUri): )(?P<folder>[\w./-]+)$", re.MULTILINE)
_LAYER = "layers/gyoza_domain"
_PACKAGE = "gyoza_domain"
_LAYERS_AT = Path("/opt")
"""Lambda's folder of layers, as the tracebacks of the layer's code show it."""

_OLDEST_ZIP_TIME = (1980, 1, 1, 0, 0, 0)


class CannotBuild(Exception):
    """A source file or the template is wrong. The text says where."""


@dataclass(frozen=True)
class Artifacts:
    """``template`` is template.yaml with an S3 address for each folder. ``objects`` maps S3 keys to contents."""

    template: str
    objects: dict[str, bytes]


class Builder:
    """Builds the artifacts of a checkout at ``root``. ``installer`` is a Python with pip."""

    def __init__(self, root: Path, installer: Path) -> None:
        self._root = root
        self._installer = installer
        self._layers = root / ".local/layers"

    def packages_are_built(self) -> bool:
        return self._packages.exists()

    def build_packages(self) -> None:
        """Build the layer's packages if they are missing. Raises CommandFailed, for example without a network."""
        self._layers.mkdir(parents=True, exist_ok=True)
        with _locked(self._layers / "lock"):
            if not self._packages.exists():
                self._build_packages()

    def build(self, bucket: str) -> Artifacts:
        """The artifacts of the current sources. The key of each is its digest. Raises CannotBuild."""
        objects: dict[str, bytes] = {}

        def upload(match: re.Match[str]) -> str:
            folder = match["folder"]
            content = self._layer() if folder == _LAYER else _zip_function(self._root / folder)
            key = f"{Path(folder).name}-{hashlib.sha256(content).hexdigest()}.zip"
            objects[key] = content
            return f"{match['key']}s3://{bucket}/{key}"

        template = _ADDRESS.sub(upload, (self._root / "template.yaml").read_text())
        if not any(key.startswith(_PACKAGE) for key in objects):
            raise CannotBuild(f"template.yaml has no `ContentUri: {_LAYER}`")
        return Artifacts(template, objects)

    def _layer(self) -> bytes:
        content = io.BytesIO(self._packages.read_bytes())
        source = self._root / _LAYER / _PACKAGE
        with zipfile.ZipFile(content, "a", zipfile.ZIP_DEFLATED) as archive, tempfile.TemporaryDirectory() as scratch:
            for file in _files(source):
                name = Path("python", _PACKAGE, file.relative_to(source))
                _add(archive, name, file.read_bytes())
                if file.suffix == ".py":
                    tag = sys.implementation.cache_tag
                    bytecode = _compiled(file, _LAYERS_AT / name, Path(scratch))
                    _add(archive, name.parent / "__pycache__" / f"{name.stem}.{tag}.pyc", bytecode)
        return content.getvalue()

    @property
    def _packages(self) -> Path:
        digest = hashlib.sha256(f"{sys.version} {os.uname().machine}".encode())
        for file in sorted((self._root / _LAYER).glob("*")):
            if file.is_file():
                digest.update(file.name.encode() + file.read_bytes())
        return self._layers / f"{digest.hexdigest()[:20]}.zip"

    def _build_packages(self) -> None:
        folder = self._root / _LAYER
        with tempfile.TemporaryDirectory(dir=self._layers) as target:
            run(
                [
                    "make", "--no-print-directory", "build-DomainLayer", "LAYER_TARGET=host",
                    f"PYTHON={self._installer}", f"ARTIFACTS_DIR={target}",
                ],
                env=_without_make(),
                cwd=folder,
                log=self._layers / "build.log",
            )  # fmt: skip
            shutil.rmtree(Path(target, "python", _PACKAGE))
            draft = Path(target, "packages.zip")
            with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as archive:
                for file in _files(Path(target, "python")):
                    _add(archive, file.relative_to(target), file.read_bytes())
            draft.replace(self._packages)


def _zip_function(folder: Path) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive, tempfile.TemporaryDirectory() as scratch:
        for file in _files(folder):
            if file.suffix == ".py":
                _compiled(file, file, Path(scratch))
            _add(archive, file.relative_to(folder), file.read_bytes())
    return content.getvalue()


def _compiled(file: Path, shown_as: Path, scratch: Path) -> bytes:
    """The bytecode of a source, valid for any date of the source. Raises CannotBuild if the source is not Python."""
    target = scratch / "compiled.pyc"
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    try:
        py_compile.compile(str(file), str(target), str(shown_as), doraise=True, invalidation_mode=mode)
    except py_compile.PyCompileError as error:
        raise CannotBuild(f"{file}: {error.exc_value}") from error
    return target.read_bytes()


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise CannotBuild(f"template.yaml names {folder}, which is no folder")
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and "__pycache__" not in path.parts]


def _add(archive: zipfile.ZipFile, name: Path, content: bytes) -> None:
    # One date and mode for all: equal sources make equal archives.
    entry = zipfile.ZipInfo(str(name), _OLDEST_ZIP_TIME)
    entry.external_attr = 0o644 << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(entry, content)


def _without_make() -> dict[str, str]:
    """The environment of this process without the variables that its `make` set for a make below it."""
    return {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield

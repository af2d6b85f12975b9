"""Lists the files of a deployment. Needs only the standard library."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

_NAMES = ("template.yaml", "samconfig.toml", "functions", "layers")


def digest(root: Path) -> str:
    """A text that changes if a file is added, removed or written. Looks at names, sizes and times, not at contents."""
    found = hashlib.sha256()
    for path in sorted(_files(root)):
        try:
            status = path.stat()
        except FileNotFoundError:
            # An editor replaces it just now; the next look finds it.
            continue
        found.update(f"{path} {status.st_mtime_ns} {status.st_size}\n".encode())
    return found.hexdigest()


def _files(root: Path) -> Iterator[Path]:
    for name in _NAMES:
        path = root / name
        if path.is_dir():
            yield from (each for each in path.rglob("*") if each.suffix != ".pyc" and each.is_file())
        else:
            yield path

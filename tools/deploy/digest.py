"""Computes one digest of everything that decides how the functions behave. A new digest publishes new versions.

SAM publishes a new version only if the function's own properties change. It does not notice a change of the layer's
files or of a parameter's value, and the API would keep the old version.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path


def digest_of(build: Path, template: Path, parameters: Mapping[str, str]) -> str:
    """The hexadecimal SHA-256 of a `sam build` folder, the template and the values of its parameters.

    It covers the paths and contents of the built files, so equal builds in two checkouts have the same digest. It
    covers the template of the repository, because `sam build` writes other addresses into its copy.
    """
    total = hashlib.sha256()
    for path in sorted(path for path in build.rglob("*") if path.is_file()):
        name = path.relative_to(build).as_posix()
        if "/" in name:
            _add(total, name.encode(), path.read_bytes())
    _add(total, template.read_bytes(), json.dumps(dict(parameters), sort_keys=True).encode())
    return total.hexdigest()


def _add(total: "hashlib._Hash", *parts: bytes) -> None:
    """The digests of all parts. They have one length, so that two lists of parts never give the same text."""
    for part in parts:
        total.update(hashlib.sha256(part).digest())

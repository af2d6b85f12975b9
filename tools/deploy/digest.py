"""One digest over everything that decides how the functions behave: what makes each of them a new version.

SAM publishes a new version of a function when the function's own properties change. It does not see that the layer's
files or a parameter's value changed, and the API would go on serving the old version.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path


def digest_of(build: Path, template: Path, parameters: Mapping[str, str]) -> str:
    """Hexadecimal SHA-256 over a `sam build` folder, the template and the values given to its parameters.

    The built files count by their paths in the folder and their contents, so that equal builds in two checkouts have
    one digest. The template counts as it is in the repository: `sam build` writes addresses of its own into its copy.
    """
    total = hashlib.sha256()
    for path in sorted(path for path in build.rglob("*") if path.is_file()):
        name = path.relative_to(build).as_posix()
        if "/" in name:
            _add(total, name.encode(), path.read_bytes())
    _add(total, template.read_bytes(), json.dumps(dict(parameters), sort_keys=True).encode())
    return total.hexdigest()


def _add(total: "hashlib._Hash", *parts: bytes) -> None:
    """Each part as a digest of one length, so that no two lists of parts are one text."""
    for part in parts:
        total.update(hashlib.sha256(part).digest())

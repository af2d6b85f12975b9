"""Implements `make reload`: waits until the running stack has the current sources.

`make run` deploys edits by itself. This command tells when it has done so. Needs only the standard library.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from . import sources
from .endpoint import STACKS, NoStack, find

_FILE_NAME = "deployed.json"
_LIMIT_S = 120.0
_LOOK_INTERVAL_S = 0.1

_ROOT = STACKS.parent.parent


def note(folder: Path, digest: str, error: str | None) -> None:
    """Record the deployed sources, or the reason why they could not be deployed."""
    path = folder / _FILE_NAME
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps({"sources": digest, "error": error}))
    draft.replace(path)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make reload", description=__doc__)
    parser.add_argument("--port", type=int, help="whose stack; else the only one that runs here")
    parser.add_argument("--stacks", type=Path, default=STACKS, help="holds a folder for each port")
    options = parser.parse_args()
    begun = time.monotonic()
    while time.monotonic() < begun + _LIMIT_S:
        try:
            endpoint = find(options.port, options.stacks)
        except NoStack as reason:
            print(reason, file=sys.stderr)
            return 1
        port = urlsplit(endpoint.aws_endpoint_url).port
        noted = json.loads((options.stacks / str(port) / _FILE_NAME).read_text())
        if noted["sources"] == sources.digest(_ROOT):
            if noted["error"]:
                print(f"Not deployed: {noted['error']}", file=sys.stderr)
                return 1
            print(f"The stack on port {port} has the sources as they are now.")
            return 0
        time.sleep(_LOOK_INTERVAL_S)
    print(f"The stack has not taken the sources within {_LIMIT_S:.0f} s.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())

"""Writes and finds the addresses of the stacks that run in this folder. Needs only the standard library."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

STACKS = Path(__file__).resolve().parent.parent / ".local/stacks"
"""One folder for each port. `endpoint.json` exists in it exactly while the stack answers."""

FILE_NAME = "endpoint.json"

_CONNECT_LIMIT_S = 2.0


class NoStack(Exception):
    """No local stack answers. The text names the places that were searched."""


@dataclass(frozen=True)
class Endpoint:
    """The fields of ``endpoint.json``: all that a client needs to reach a running stack."""

    url: str
    api_key: str
    aws_endpoint_url: str
    region: str
    stack: str
    table: str


@contextmanager
def published(endpoint: Endpoint, folder: Path) -> Iterator[None]:
    """Keep the endpoint in ``endpoint.json`` while the block runs."""
    publish(endpoint, folder)
    try:
        yield
    finally:
        (folder / FILE_NAME).unlink(missing_ok=True)


def publish(endpoint: Endpoint, folder: Path) -> None:
    """Write ``endpoint.json`` in one step, so that readers never see a part of it."""
    path = folder / FILE_NAME
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(asdict(endpoint), indent=2) + "\n")
    draft.replace(path)


def find(port: int | None, stacks: Path = STACKS) -> Endpoint:
    """The endpoint of the stack on ``port``, or of the only one that runs in this folder.

    Raises NoStack if no stack runs, if several run and no port is given, or if none answers.
    """
    if port is None:
        ports = sorted(int(path.parent.name) for path in stacks.glob(f"*/{FILE_NAME}"))
        if not ports:
            raise NoStack("No local stack runs in this folder. `make run` starts one.")
        if len(ports) > 1:
            raise NoStack(f"Several local stacks run here. Choose one: PORT={' or PORT='.join(map(str, ports))}")
        [port] = ports
    path = stacks / str(port) / FILE_NAME
    if not path.exists():
        raise NoStack(f"No local stack runs on port {port}. `make run PORT={port}` starts it.")
    endpoint = Endpoint(**json.loads(path.read_text()))
    if not _answers(endpoint):
        raise NoStack(f"Nothing answers on port {port}: its stack was killed. `make run PORT={port}` starts it again.")
    return endpoint


def _answers(endpoint: Endpoint) -> bool:
    address = urlsplit(endpoint.aws_endpoint_url)
    try:
        with socket.create_connection((address.hostname, address.port), _CONNECT_LIMIT_S):
            return True
    except OSError:
        return False

"""One context manager for the whole local stack, and the file that tells others where it is."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from .deployment import STACK, build, deploy
from .emulator import REGION, check_port, emulator, endpoint_url

ROOT = Path(__file__).resolve().parent.parent
WORK_DIR = ROOT / ".local"
ENDPOINT_FILE = WORK_DIR / "endpoint.json"

_EMULATOR_PYTHON = WORK_DIR / "venv/local/bin/python"
_SAM = WORK_DIR / "venv/sam/bin/sam"


@dataclass(frozen=True)
class Endpoint:
    """What a client needs to reach a running stack; the fields of ``.local/endpoint.json``."""

    url: str
    api_key: str
    aws_endpoint_url: str
    region: str
    stack: str
    table: str


@contextmanager
def running_stack(port: int, *, enforce_iam: bool = False) -> Iterator[Endpoint]:
    """The deployed stack on ``port``, empty at first; gone when the block is left.

    Raises PortTaken before anything is built, and CommandFailed when a step of the set-up fails.
    """
    check_port(port)
    WORK_DIR.mkdir(exist_ok=True)
    template = build(_SAM, ROOT, WORK_DIR, port)
    with emulator(_EMULATOR_PYTHON, port, WORK_DIR, enforce_iam=enforce_iam):
        deployed = deploy(_SAM, ROOT, WORK_DIR, template, port)
        yield Endpoint(
            url=deployed.url,
            api_key=deployed.api_key,
            aws_endpoint_url=endpoint_url(port),
            region=REGION,
            stack=STACK,
            table=deployed.table,
        )


@contextmanager
def published(endpoint: Endpoint, path: Path) -> Iterator[None]:
    """Keep the endpoint in a JSON file as long as the block runs. The file appears whole or not at all."""
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(asdict(endpoint), indent=2) + "\n")
    draft.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)

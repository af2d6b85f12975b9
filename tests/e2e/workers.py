"""Starts the example worker beside a stack."""

import os
import subprocess
from contextlib import AbstractContextManager
from pathlib import Path

from local.processes import running
from local.stack import PYTHON, ROOT, Endpoint


def worker(endpoint: Endpoint, log: Path, **environment: str) -> AbstractContextManager[subprocess.Popen[bytes]]:
    env = os.environ | {"GYOZA_URL": endpoint.url, "GYOZA_API_KEY": endpoint.api_key} | environment
    return running([str(PYTHON), str(ROOT / "examples/text_worker.py")], env=env, log=log)

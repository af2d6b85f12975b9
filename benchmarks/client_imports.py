"""Measures the CPU that a program spends on a client before its first call: on ours, and on those of other products.

Each client is alone with what it needs in a folder of its own, since some import whatever else is there.
"""

import subprocess
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.cpu import medians_in_turns, on_one_cpu
from benchmarks.systems import WORK, ChildFailed, command, environment
from benchmarks.trees import build_clients

CLIENT = "gyoza-client"
ROUNDS = 15

STATEMENTS = {
    CLIENT: "import gyoza_client; gyoza_client.GyozaClient('https://api.example/live', 'key')",
    "stripe": "import stripe",
    "replicate": "import replicate",
    "temporalio": "import temporalio.client",
    "openai": "import openai",
    "prefect": "import prefect",
    "hatchet-sdk": "import hatchet_sdk",
}
"""The import of each package. This client is made too, the others are not: some need a server or a token for it."""

_TIMED = """
import time
begun = time.process_time()
{}
print(time.process_time() - begun)
"""


def measure_client_imports(rounds: int = ROUNDS) -> list[dict[str, Any]]:
    """The milliseconds of each statement in a new interpreter, without the interpreter's start, and sizes."""
    ours, *peers = STATEMENTS
    folders = build_clients(ours, peers)
    home = WORK / "home"
    home.mkdir(parents=True, exist_ok=True)
    measure = {name: partial(_import_s, folder, STATEMENTS[name], home) for name, folder in folders.items()}
    with on_one_cpu():
        seconds = medians_in_turns(measure, rounds)
    return [
        {
            "package": name,
            "version": _version(folder, name),
            "statement": f"`{STATEMENTS[name]}`",
            "ms": seconds[name] * 1000,
            "over ours": seconds[name] / seconds[ours],
            "packages": len(list(folder.glob("*.dist-info"))),
            "MB": _source_mb(folder),
        }
        for name, folder in folders.items()
    ]


def _import_s(folder: Path, statement: str, home: Path) -> float:
    argv = command("-c", _TIMED.format(statement))
    variables = environment((folder,), "http://127.0.0.1:9", HOME=str(home))
    done = subprocess.run(argv, env=variables, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ChildFailed(done.stderr)
    return float(done.stdout.splitlines()[-1])


def _version(folder: Path, name: str) -> str:
    [found] = folder.glob(f"{name.replace('-', '_')}-*.dist-info")
    return found.name.removesuffix(".dist-info").rpartition("-")[2]


def _source_mb(folder: Path) -> float:
    return sum(each.stat().st_size for each in folder.rglob("*") if each.is_file() and each.suffix != ".pyc") / 1e6

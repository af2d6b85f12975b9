"""Transforms template.yaml as SAM does, once a test session for each set of parameter values and of code."""

import atexit
import json
import subprocess
from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest

from testing.cloudformation import ROOT, load_template

_PYTHON = ROOT / ".local/venv/local/bin/python"
_TRANSLATOR = ROOT / "tests/support/sam_translator.py"

Json = dict[str, Any]


def transformed(parameters: Mapping[str, str] | None = None, code: Mapping[str, str] | None = None) -> Json:
    """The template that CloudFormation executes.

    ``parameters`` are values that differ from the defaults. ``code`` maps the logical id of a function or layer to a
    digest of its files. The digest is part of the files' address, as it is after `sam deploy`.
    """
    text = _transformed(tuple(sorted((parameters or {}).items())), tuple(sorted((code or {}).items())))
    result: Json = json.loads(text)
    return result


def code_resources() -> list[str]:
    """The logical ids of all uploaded resources: each function, and the layer."""
    resources = load_template()["Resources"]
    return [name for name, each in resources.items() if {"CodeUri", "ContentUri"} & set(each["Properties"])]


@cache
def _transformed(parameters: tuple[tuple[str, str], ...], code: tuple[tuple[str, str], ...]) -> str:
    template, digests = load_template(), dict(code)
    for name in code_resources():
        properties = template["Resources"][name]["Properties"]
        key = "CodeUri" if "CodeUri" in properties else "ContentUri"
        properties[key] = f"s3://artifacts/{name}-{digests.get(name, 'as-it-is')}"
    translator = _translator()
    assert translator.stdin is not None
    assert translator.stdout is not None
    translator.stdin.write(json.dumps({"template": template, "parameters": dict(parameters)}) + "\n")
    translator.stdin.flush()
    answer: str = translator.stdout.readline()
    assert answer, "the translator refused the template; it says why above"
    return answer


@cache
def _translator() -> "subprocess.Popen[str]":
    """A process for all transformations of a session, because its start takes longer than they do."""
    if not _PYTHON.exists():
        pytest.fail("SAM's translator is missing; `make setup` installs it")
    process = subprocess.Popen([_PYTHON, _TRANSLATOR], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(_end, process)
    return process


def _end(process: "subprocess.Popen[str]") -> None:
    process.communicate()

"""Compares the template of the local stack with the one that `make deploy` sends to AWS."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from local.artifacts import Builder
from local.deployment import BUCKET
from local.emulator import client_environment
from local.stack import ROOT, Endpoint

VENVS = ROOT / ".local/venv"

TRANSFORM = """
import json, sys
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

class NoManagedPolicies:
    load = staticmethod(dict)

json.dump(transform(yaml_parse(sys.stdin.read()), {}, NoManagedPolicies()), sys.stdout)
"""

NAMED_BY_ADDRESS = re.compile(r"(Version|DomainLayer)[0-9a-f]{10}\b")
"""SAM names these resources after the address of their artifact."""


@pytest.mark.long
def test_the_local_template_is_the_deployed_one_but_for_the_addresses_of_artifacts(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    builder = Builder(ROOT, VENVS / "installer/bin/python")
    local = transformed(builder.build(BUCKET).template)
    deployed = transformed(packaged_by_sam(endpoint, tmp_path))
    assert len(local["Resources"]) > 40
    assert without_addresses(local) == without_addresses(deployed)


def packaged_by_sam(endpoint: Endpoint, folder: Path) -> str:
    """The template that `make deploy` gives to CloudFormation, with its artifacts in the emulator's S3."""
    sam = [str(VENVS / "sam/bin/python"), "-m", "samcli"]
    port = int(endpoint.aws_endpoint_url.rpartition(":")[2])
    env = client_environment(port) | {"PYTHON": sam[0], "LAYER_TARGET": "lambda", "HOME": os.environ["HOME"]}
    output = folder / "packaged.yaml"
    for arguments in (
        ["build", "--template-file", str(ROOT / "template.yaml"), "--build-dir", str(folder / "build")],
        [
            *("package", "--template-file", str(folder / "build/template.yaml")),
            *("--s3-bucket", BUCKET, "--output-template-file", str(output)),
        ],
    ):
        ended = subprocess.run([*sam, *arguments], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stdout + ended.stderr
    return output.read_text()


def transformed(template: str) -> Any:
    """The template in plain CloudFormation, as SAM's own translator makes it."""
    command = [str(VENVS / "local/bin/python"), "-c", TRANSFORM]
    env = os.environ | {"AWS_DEFAULT_REGION": "us-east-1"}
    ended = subprocess.run(command, input=template, env=env, capture_output=True, text=True, check=True)
    return json.loads(ended.stdout)


def without_addresses(template: Any) -> Any:
    """The template without the addresses of artifacts and without SAM's own notes."""
    if isinstance(template, list):
        return [without_addresses(each) for each in template]
    if not isinstance(template, dict):
        return NAMED_BY_ADDRESS.sub(r"\1", template) if isinstance(template, str) else template
    kept = {
        NAMED_BY_ADDRESS.sub(r"\1", key): without_addresses(value)
        for key, value in template.items()
        if key not in ("S3Key", "SamResourceId")
    }
    return {key: value for key, value in kept.items() if (key, value) != ("Metadata", {})}

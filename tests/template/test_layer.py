"""Tests that the layer holds exactly the reviewed packages and that every build gives the same layer."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from testing.cloudformation import ROOT
from tools.deploy.digest import digest_of

LAYER = ROOT / "layers/gyoza_domain"
PIN = re.compile(r"^([a-z0-9_-]+)==([0-9]\S*)((?: \\\n    --hash=sha256:[0-9a-f]{64})*)$", re.MULTILINE)


def test_the_hashed_packages_are_those_required_and_what_they_need() -> None:
    required = {match[1]: match[2] for match in PIN.finditer((LAYER / "requirements.txt").read_text())}
    hashed = {match[1]: match[2] for match in PIN.finditer((LAYER / "requirements.hashes.txt").read_text())}
    assert required.items() <= hashed.items()
    assert set(required) == {"aws-lambda-powertools", "pydantic"}
    # pip refuses the whole file if it lacks a package that another one needs.
    assert "--require-hashes --requirement requirements.hashes.txt" in (LAYER / "Makefile").read_text()


def test_every_hashed_package_has_a_hash() -> None:
    text = (LAYER / "requirements.hashes.txt").read_text()
    pins = {match[1]: match[3].count("--hash") for match in PIN.finditer(text)}
    assert len(pins) == text.count("==")
    assert not [name for name, hashes in pins.items() if hashes == 0]


@pytest.mark.long
@pytest.mark.parametrize("target", ["lambda", "host"])
def test_two_checkouts_build_one_layer(tmp_path: Path, target: str) -> None:
    digests = []
    for checkout in (tmp_path / "one", tmp_path / "a/longer/path/of/another"):
        shutil.copytree(LAYER, checkout / "layer", ignore=shutil.ignore_patterns("__pycache__"))
        python = ROOT / ".local/venv/sam/bin/python"
        output = checkout / "build/DomainLayer"
        command = ["make", "build-DomainLayer", f"ARTIFACTS_DIR={output}", f"LAYER_TARGET={target}", f"PYTHON={python}"]
        subprocess.run(command, cwd=checkout / "layer", check=True, capture_output=True)
        assert len(list(output.rglob("*.py"))) > 30
        digests.append(digest_of(checkout / "build", ROOT / "template.yaml", {}))
    assert digests[0] == digests[1]

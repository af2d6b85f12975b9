"""Tests that the tests in docs/guarantees.md exist."""

import re

from testing.cloudformation import ROOT


def test_every_test_that_the_guarantees_name_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs/guarantees.md").read_text()))
    folders = (ROOT / "tests", ROOT / "clients/python/tests")
    sources = "\n".join(path.read_text() for folder in folders for path in folder.rglob("test_*.py"))
    assert named
    assert {name for name in named if f"def {name}(" not in sources} == set()

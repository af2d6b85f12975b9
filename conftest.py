"""Marks the tests of all folders, and lets them wait for their turns.

pytest asks every conftest that it has read to run a test, whatever folder the test is in. So this hook stands
here alone.
"""

import signal
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.support.turns import Turns

# A shell lets a command in the background ignore SIGINT, and so would all that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

TURNS = Turns(Path(__file__).resolve().parent / ".local/tests.lock")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark a test by its fixtures: as an engine test, or as an end-to-end test in the one group that shares a stack."""
    fixtures = getattr(item, "fixturenames", ())
    if "engine_url" in fixtures:
        item.add_marker("engine")
    if "e2e" in item.path.parts:
        item.add_marker("e2e")
        item.add_marker(pytest.mark.xdist_group("e2e"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, bool, bool]:
    """Run a test of contention alone, with its fixtures. The other processes wait until it ends."""
    with TURNS.alone() if item.get_closest_marker("contention") else TURNS.beside_others():
        return (yield)

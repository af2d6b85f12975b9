"""Tests what the benchmark of clients' imports compares."""

from benchmarks.client_imports import CLIENT, STATEMENTS
from benchmarks.goals import goals
from testing.cloudformation import ROOT


def test_each_client_beside_ours_is_pinned_and_measured() -> None:
    lines = (ROOT / "requirements/clients.txt").read_text().splitlines()
    pinned = {line.partition("==")[0] for line in lines if not line.startswith("#")}
    assert pinned == STATEMENTS.keys() - {CLIENT}


def test_the_import_of_the_client_is_compared_with_its_limit_and_with_the_least_of_its_peers() -> None:
    times = {CLIENT: 120.0, "stripe": 100.0, "openai": 400.0}
    rows = [{"package": name, "ms": ms} for name, ms in times.items()]
    found = {goal.what: (goal.figure, goal.is_reached) for goal in goals({"client_imports": rows})}
    assert found == {
        "CPU of importing and making the client, ms": (120.0, True),
        "import of the client over the least of its peers": (1.2, False),
    }

"""Provides the engines that handlers run on and the gateway that calls them."""

import os
from collections.abc import Generator, Iterator
from pathlib import Path
from uuid import uuid4

import boto3
import pytest
from moto import mock_aws

from testing.environment import ENVIRONMENT

os.environ |= ENVIRONMENT

from testing.dynamodb_local import EngineMissing, dynamodb_local
from testing.gateway import Gateway
from testing.http_api import ServedApi, served_by_a_process
from testing.lossy_proxy import LossyProxy
from testing.table import create_table, forget_clients
from tests.support.turns import Turns

TURNS = Turns(Path(__file__).resolve().parents[1] / ".local/tests.lock")


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


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    """Runs the handlers on moto, with a new table. Only one thread may use it."""
    with mock_aws():
        yield from _on_new_table(monkeypatch)


@pytest.fixture
def engine_api(engine_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    """Runs the handlers on DynamoDB Local, with a new table."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", engine_url)
    yield from _on_new_table(monkeypatch)


@pytest.fixture(scope="session")
def engine_url() -> Iterator[str]:
    """The URL of DynamoDB Local. Each process that runs tests has an engine of its own."""
    try:
        # A test session is too short to repay the time of the optimising compiler.
        with dynamodb_local("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC") as url:
            yield url
    except EngineMissing as missing:
        pytest.fail(str(missing), pytrace=False)


@pytest.fixture(scope="session")
def served_api(engine_url: str) -> Iterator[ServedApi]:
    """The API on DynamoDB Local, served by a process of its own with the real clock and a sweep each second.

    All tests of a session share its table, so each uses queues of its own.
    """
    with served_by_a_process(engine_url) as api:
        yield api


@pytest.fixture
def proxy(served_api: ServedApi) -> Iterator[LossyProxy]:
    """A proxy before the served API, which loses nothing until the test says so."""
    with LossyProxy(served_api.url, seed=16) as proxy:
        yield proxy


def _on_new_table(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    name = f"runs-{uuid4()}"
    monkeypatch.setenv("GYOZA_TABLE", name)
    create_table(boto3.client("dynamodb"), name)
    forget_clients()
    yield Gateway()
    forget_clients()

"""Provides the engines that handlers run on and the gateway that calls them."""

import os
from collections.abc import Iterator
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

"""Engines for handlers to run on, and the gateway that calls them."""

import os
from collections.abc import Iterator
from uuid import uuid4

import boto3
import pytest
from moto import mock_aws

os.environ |= {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "GYOZA_TABLE": "none",
    "GYOZA_INDEX_SHARDS": "4",
    "GYOZA_INDEX_SHARDS_READ": "4",
    "GYOZA_TOPIC_ARN_PREFIX": "arn:aws:sns:us-east-1:000000000000:gyoza_",
    "GYOZA_PARKED_QUEUE_URL": "https://sqs.invalid/parked",
    "POWERTOOLS_SERVICE_NAME": "gyoza",
    "POWERTOOLS_LOG_LEVEL": "ERROR",
}

from tests.support.dynamodb_local import EngineMissing, dynamodb_local
from tests.support.gateway import Gateway
from tests.support.table import create_table, forget_clients


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    """Handlers on moto and a table of their own. For one thread."""
    with mock_aws():
        yield from _on_new_table(monkeypatch)


@pytest.fixture
def engine_api(engine_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    """Handlers on DynamoDB Local and a table of their own."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", engine_url)
    yield from _on_new_table(monkeypatch)


@pytest.fixture(scope="session")
def engine_url() -> Iterator[str]:
    """DynamoDB Local. Tests that need it skip where it is missing, except in CI."""
    try:
        with dynamodb_local() as url:
            yield url
    except EngineMissing as missing:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(missing))


def _on_new_table(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    name = f"runs-{uuid4()}"
    monkeypatch.setenv("GYOZA_TABLE", name)
    create_table(boto3.client("dynamodb"), name)
    forget_clients()
    yield Gateway()
    forget_clients()

"""Gives each module one table, which is emptied after each test, and a clock that moves in steps."""

import os
from collections.abc import Callable, Iterator
from uuid import uuid4

import boto3
import pytest
from moto import mock_aws
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.dynamodb.models import dynamodb_backends
from moto.dynamodb.models.table import Table

from gyoza_domain.bootstrap import clients, definitions
from testing.gateway import Gateway
from testing.table import create_table, forget_clients
from testing.versions import require_version
from tests.functions.expected import StepClock

require_version("moto", "5.2.5", "tests/functions/conftest.py")

Stored = Callable[[], list[str]]
"""Returns every item of the table as text, in a fixed order."""


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    name = f"runs-{uuid4()}"
    with mock_aws(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("GYOZA_TABLE", name)
        create_table(boto3.client("dynamodb"), name)
        forget_clients()
        yield Gateway()
    forget_clients()


@pytest.fixture
def api(gateway: Gateway, clock: StepClock) -> Iterator[Gateway]:
    """Runs the handlers on an empty table. Time stands still between decisions."""
    assert clock.decisions == 0
    yield gateway
    moto_table().items.clear()
    # It keeps the definitions that it has read.
    definitions.definitions.cache_clear()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> StepClock:
    """The clock of the test: its first decision is at ``at(0)``, each further one a second later."""
    clock = StepClock()
    monkeypatch.setattr(clients.SystemClock, "now", lambda _: clock.now())
    return clock


@pytest.fixture
def stored(api: Gateway) -> Stored:
    """A function that returns the table's items, to compare them before and after a request."""
    assert api
    return lambda: sorted(repr(item) for item in moto_table().all_items())


def moto_table() -> Table:
    """Moto's table object. A scan through the API before and after each test would double the time of the tests."""
    region = os.environ["AWS_DEFAULT_REGION"]
    return dynamodb_backends[DEFAULT_ACCOUNT_ID][region].tables[os.environ["GYOZA_TABLE"]]

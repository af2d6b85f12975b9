"""Builds AWS clients and defines the real clock."""

import os
import time
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import botocore.session
from botocore.config import Config

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_CLIENT = Config(
    connect_timeout=1,
    read_timeout=5,
    retries={"mode": "standard", "total_max_attempts": 3},
    parameter_validation=False,
    tcp_keepalive=True,
    max_pool_connections=16,
)
"""Settings for services of the same region. A call that takes longer is lost, and a retry is cheaper than waiting.

The threads of the timer share one client, with a connection each.
"""


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


@cache
def dynamodb() -> "DynamoDBClient":
    client: DynamoDBClient = aws_client("dynamodb")
    return client


def aws_client(service: str) -> Any:
    """Build a client as boto3 does. Without boto3's resources and transfers a cold start is a sixth shorter."""
    return _session().create_client(service, config=_CLIENT)


@cache
def _session() -> botocore.session.Session:
    return botocore.session.get_session()


def table() -> str:
    return os.environ["GYOZA_TABLE"]


# Built in the init phase, which Lambda gives more CPU and SnapStart keeps.
dynamodb()

"""Where the parts are put together: the only reader of the environment and the only builder of AWS clients."""

import os
import time
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import botocore.session
from botocore.config import Config

from .dynamodb.repository import DynamoDBRunRepository
from .ports import Clock, IdempotencyKey, IdSource, RunRepository

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_CLIENT = Config(
    connect_timeout=1,
    read_timeout=5,
    retries={"mode": "standard", "total_max_attempts": 3},
    parameter_validation=False,
    tcp_keepalive=True,
)
"""For services of the same region: what takes longer is lost, and a retry is cheaper than waiting."""


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class RandomIds:
    """UUIDs from the operating system's random source, which a snapshot does not clone."""

    def __init__(self, shards: int) -> None:
        self._shards = shards

    def new_run_id(self) -> str:
        return str(uuid4())

    def run_id_for(self, key: IdempotencyKey) -> str:
        return str(UUID(hex=key.digest, version=4))

    def shard_of(self, run_id: str) -> int:
        return UUID(run_id).int % self._shards


@cache
def runs() -> RunRepository:
    return DynamoDBRunRepository(dynamodb(), table(), shards=_shards())


@cache
def dynamodb() -> "DynamoDBClient":
    dynamodb_: DynamoDBClient = aws_client("dynamodb")
    return dynamodb_


def aws_client(service: str) -> Any:
    """A client such as boto3 makes, without loading boto3's resources and transfers, a sixth of a cold start."""
    return _session().create_client(service, config=_CLIENT)


@cache
def _session() -> botocore.session.Session:
    return botocore.session.get_session()


def table() -> str:
    return os.environ["GYOZA_TABLE"]


@cache
def clock() -> Clock:
    return SystemClock()


@cache
def ids() -> IdSource:
    return RandomIds(_shards())


def _shards() -> int:
    return int(os.environ["GYOZA_INDEX_SHARDS"])


# Built in the init phase, which Lambda gives more CPU and SnapStart keeps.
runs()

"""The deployed schedule of the timer, with the constants of the template."""

import time
from typing import Any

import boto3
import pytest

from gyoza_domain.dynamodb import keys
from local.emulator import REGION
from local.stack import Endpoint

INTERVAL_S = 60
TICK_S = 10
"""The emulator looks for due schedules this often."""
COLD_START_S = 20


@pytest.mark.long
def test_the_deployed_schedule_begins_a_sweep_each_minute(endpoint: Endpoint) -> None:
    dynamodb: Any = boto3.client("dynamodb", endpoint_url=endpoint.aws_endpoint_url, region_name=REGION)
    first = _next_sweep_us(dynamodb, endpoint.table, after_us=0)
    second = _next_sweep_us(dynamodb, endpoint.table, after_us=first)
    assert INTERVAL_S - COLD_START_S < (second - first) / 1_000_000 < INTERVAL_S + TICK_S + COLD_START_S


def _next_sweep_us(dynamodb: Any, table: str, *, after_us: int) -> int:
    """The beginning of the first sweep after an instant, both in microseconds."""
    deadline = time.monotonic() + INTERVAL_S + TICK_S + COLD_START_S
    key = {"pk": {"S": keys.TIMER}, "sk": {"S": keys.SWEEP}}
    while time.monotonic() < deadline:
        item = dynamodb.get_item(TableName=table, Key=key, ConsistentRead=True).get("Item")
        if item is not None and int(item["last_at"]["N"]) > after_us:
            return int(item["last_at"]["N"])
        time.sleep(1)
    raise AssertionError("no sweep has begun")

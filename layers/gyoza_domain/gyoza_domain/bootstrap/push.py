"""Builds the parts of publishing, which no route loads."""

import os
from functools import cache

from ..dynamodb.outbox import DynamoDBOutbox
from ..dynamodb.stream import change_of
from ..messaging.sns import SnsTopics
from ..messaging.sqs import SqsParkedEvents
from ..publishing.delivery import Delivery
from ..publishing.ports import Outbox, Topics
from ..publishing.replay import Replay
from .clients import SystemClock, aws_client, dynamodb, table


@cache
def delivery() -> Delivery:
    """One a process: it remembers what it has delivered."""
    return Delivery(outbox(), topics(), _parked_events())


@cache
def outbox() -> Outbox:
    return DynamoDBOutbox(dynamodb(), table(), SystemClock())


@cache
def topics() -> Topics:
    return SnsTopics(aws_client("sns"), os.environ["GYOZA_TOPIC_ARN_PREFIX"])


def replay() -> Replay:
    return Replay(_parked_events(), outbox(), topics(), change_of)


@cache
def _parked_events() -> SqsParkedEvents:
    return SqsParkedEvents(aws_client("sqs"), os.environ["GYOZA_PARKED_QUEUE_URL"])

"""Builds the objects that publishing uses. No route loads this module."""

import os
from functools import cache

from ..dynamodb.outbox import DynamoDBOutbox
from ..dynamodb.stream import change_of
from ..messaging.sns import SnsTopics
from ..messaging.sqs import SqsParkedQueue
from ..publishing.delivery import Delivery
from ..publishing.ports import Outbox, ParkedQueue, Topics
from ..publishing.redelivery import Redelivery
from ..publishing.replay import Replay
from ..runs.ports import Clock
from .clients import SystemClock, aws_client, dynamodb, table


@cache
def delivery() -> Delivery:
    """The delivery of this process. It remembers the events that it has delivered."""
    return Delivery(outbox(), topics(), parked_queue(), clock())


def redelivery() -> Redelivery:
    """A new redelivery for one request. Its reads share one second of pauses."""
    return Redelivery(outbox(), topics(), clock())


def replay() -> Replay:
    return Replay(parked_queue(), outbox(), redelivery(), change_of)


@cache
def outbox() -> Outbox:
    return DynamoDBOutbox(dynamodb(), table(), clock())


@cache
def topics() -> Topics:
    return SnsTopics(aws_client("sns"), os.environ["GYOZA_TOPIC_ARN_PREFIX"])


@cache
def parked_queue() -> ParkedQueue:
    return SqsParkedQueue(aws_client("sqs"), os.environ["GYOZA_PARKED_QUEUE_URL"])


@cache
def clock() -> Clock:
    return SystemClock()

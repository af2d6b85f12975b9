"""Where the parts of publishing are put together; the routes do without them."""

import os
from functools import cache

import boto3

from .bootstrap import CLIENT, dynamodb, table
from .dynamodb.outbox import DynamoDBOutbox
from .dynamodb.stream import change_of
from .messaging.sns import SnsTopics
from .messaging.sqs import SqsParkedEvents
from .publishing.delivery import Delivery
from .publishing.operations import Replay
from .publishing.ports import Outbox, Topics


@cache
def delivery() -> Delivery:
    """One a process: it remembers what it has delivered."""
    return Delivery(outbox(), topics(), _parked_events())


@cache
def outbox() -> Outbox:
    return DynamoDBOutbox(dynamodb(), table())


@cache
def topics() -> Topics:
    return SnsTopics(boto3.client("sns", config=CLIENT), os.environ["GYOZA_TOPIC_ARN_PREFIX"])


def replay() -> Replay:
    return Replay(_parked_events(), outbox(), topics(), change_of)


@cache
def _parked_events() -> SqsParkedEvents:
    return SqsParkedEvents(boto3.client("sqs", config=CLIENT), os.environ["GYOZA_PARKED_QUEUE_URL"])

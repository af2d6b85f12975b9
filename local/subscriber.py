"""Subscribes a queue to a topic of the stack before the first run that names the topic, as a subscriber does."""

import json
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import boto3
from botocore.config import Config

from .stack import Endpoint

Json = dict[str, Any]

_FIFO = ".fifo"
_FIFO_ATTRIBUTES = {"FifoTopic": "true", "ContentBasedDeduplication": "false", "FifoThroughputScope": "MessageGroup"}
"""The attributes of a FIFO topic, as in docs/push.md."""


class Subscriber:
    """``filter_policy`` is SNS's policy on message attributes; None lets every message through."""

    def __init__(self, endpoint: Endpoint, topic: str, filter_policy: Mapping[str, Any] | None = None) -> None:
        session: Any = boto3.Session(
            aws_access_key_id="test", aws_secret_access_key="test", region_name=endpoint.region
        )
        config = Config(parameter_validation=False)
        self._sqs = session.client("sqs", endpoint_url=endpoint.aws_endpoint_url, config=config)
        self._sns = sns = session.client("sns", endpoint_url=endpoint.aws_endpoint_url, config=config)

        is_fifo = topic.endswith(_FIFO)
        topic_arn = sns.create_topic(Name=f"{endpoint.stack}_{topic}", Attributes=_FIFO_ATTRIBUTES if is_fifo else {})[
            "TopicArn"
        ]
        name = f"subscriber-{uuid4()}"
        self._url = self._sqs.create_queue(
            QueueName=name + _FIFO if is_fifo else name, Attributes={"FifoQueue": "true"} if is_fifo else {}
        )["QueueUrl"]
        attributes = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=["QueueArn"])["Attributes"]
        self._sqs.set_queue_attributes(
            QueueUrl=self._url, Attributes={"Policy": json.dumps(_only_from(topic_arn, attributes["QueueArn"]))}
        )
        subscription = {"RawMessageDelivery": "true"}
        if filter_policy is not None:
            subscription["FilterPolicy"] = json.dumps(filter_policy)
        self._subscription = sns.subscribe(
            TopicArn=topic_arn, Protocol="sqs", Endpoint=attributes["QueueArn"], Attributes=subscription
        )["SubscriptionArn"]

    def receive(self, wait_s: int) -> list[tuple[Json, dict[str, str]]]:
        """Wait for the next messages and return at most ten of them, each with its attributes."""
        answer = self._sqs.receive_message(
            QueueUrl=self._url, MaxNumberOfMessages=10, WaitTimeSeconds=wait_s, MessageAttributeNames=["All"]
        )
        received = []
        for message in answer.get("Messages", []):
            attributes = message.get("MessageAttributes", {})
            received.append(
                (json.loads(message["Body"]), {name: each["StringValue"] for name, each in attributes.items()})
            )
            self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])
        return received

    def close(self) -> None:
        """Remove the subscription and the queue."""
        self._sns.unsubscribe(SubscriptionArn=self._subscription)
        self._sqs.delete_queue(QueueUrl=self._url)


def _only_from(topic_arn: str, queue_arn: str) -> Json:
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "sns.amazonaws.com"},
                "Action": "sqs:SendMessage",
                "Resource": queue_arn,
                "Condition": {"ArnEquals": {"aws:SourceArn": topic_arn}},
            }
        ],
    }

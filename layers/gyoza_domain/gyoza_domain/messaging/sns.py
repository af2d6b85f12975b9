"""Publishes messages to SNS topics and creates a missing topic."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as BotoConnectionError

from ..publishing.messages import Message
from ..publishing.ports import FIFO, Fate, Verdict

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sns.type_defs import (
        PublishBatchRequestEntryTypeDef,
        PublishBatchResponseTypeDef,
        TagTypeDef,
    )

DELAYING_CODES = frozenset(
    {
        "ConcurrentAccess",
        "ExpiredToken",
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "KMSThrottling",
        "KMSThrottlingException",
        "RequestExpired",
        "RequestTimeout",
        "ServiceUnavailable",
        "Throttled",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
    }
)
"""Codes of SNS and common codes of AWS after which another try may succeed. Other codes need somebody to act."""

BATCH_CODES = frozenset(
    {
        "BatchRequestTooLong",
        "InvalidParameter",
        "InvalidParameterException",
        "InvalidParameterValue",
        "ParameterValueInvalid",
    }
)
"""Codes of a refused batch that one of its messages or their total size may cause."""

_NO_TOPIC = frozenset({"NotFound", "NotFoundException"})

FIFO_ATTRIBUTES = {
    "FifoTopic": "true",
    "ContentBasedDeduplication": "false",
    # Deduplication and throughput are each run's own, and an id names one event of one run.
    "FifoThroughputScope": "MessageGroup",
}
"""Attributes of a FIFO topic that this code creates. docs/push.md creates topics with the same."""

_ALREADY_EXISTS = "already exists"
"""Part of CreateTopic's error text if the topic exists with other attributes or tags."""

_SERVER_ERROR = 500


class SnsTopics:
    """Publishes to the topics whose ARN is ``arn_prefix`` and a local name, and creates a missing topic.

    A created topic has the tag ``gyoza:stack``, so that an operator finds it.
    """

    def __init__(self, client: "SNSClient", arn_prefix: str) -> None:
        self._client = client
        self._arn_prefix = arn_prefix

    def publish(self, topic: str, messages: Sequence[Message]) -> Sequence[Verdict]:
        try:
            return _verdicts(self._publish_or_create(topic, messages), len(messages))
        except ClientError as error:
            if _code(error) in BATCH_CODES and len(messages) > 1:
                # One message spoils the batch for the others. If each is sent alone, only that one is refused.
                return [verdict for message in messages for verdict in self.publish(topic, [message])]
            return [_verdict_of(error)] * len(messages)
        except (BotoConnectionError, HTTPClientError) as error:
            return [Verdict(Fate.DELAYED, type(error).__name__)] * len(messages)

    def _publish_or_create(self, topic: str, messages: Sequence[Message]) -> "PublishBatchResponseTypeDef":
        arn = self._arn_prefix + topic
        entries = [_entry(index, message, is_fifo=topic.endswith(FIFO)) for index, message in enumerate(messages)]
        try:
            return self._client.publish_batch(TopicArn=arn, PublishBatchRequestEntries=entries)
        except ClientError as error:
            if _code(error) not in _NO_TOPIC:
                raise
        self._create(topic, arn)
        return self._client.publish_batch(TopicArn=arn, PublishBatchRequestEntries=entries)

    def _create(self, topic: str, arn: str) -> None:
        name = arn.rpartition(":")[2]
        tags: list[TagTypeDef] = [{"Key": "gyoza:stack", "Value": name.removesuffix(f"_{topic}")}]
        try:
            self._client.create_topic(Name=name, Attributes=FIFO_ATTRIBUTES if topic.endswith(FIFO) else {}, Tags=tags)
        except ClientError as error:
            # Somebody created the topic a moment ago, with other attributes. It takes messages all the same.
            if _ALREADY_EXISTS not in error.response["Error"].get("Message", ""):
                raise


def _entry(index: int, message: Message, *, is_fifo: bool) -> "PublishBatchRequestEntryTypeDef":
    entry: PublishBatchRequestEntryTypeDef = {
        "Id": str(index),
        "Message": message.body,
        "MessageAttributes": {
            name: {"DataType": attribute.type, "StringValue": attribute.value}
            for name, attribute in message.attributes.items()
        },
    }
    if is_fifo:
        entry["MessageGroupId"] = message.run_id
        entry["MessageDeduplicationId"] = message.id
    return entry


def _verdicts(answer: "PublishBatchResponseTypeDef", count: int) -> list[Verdict]:
    """The verdicts of a batch, in order. A message that the answer does not name is sent again."""
    verdicts = [Verdict(Fate.DELAYED, "SNS did not answer for it")] * count
    for accepted in answer.get("Successful", []):
        verdicts[int(accepted["Id"])] = Verdict(Fate.ACCEPTED)
    for failed in answer.get("Failed", []):
        is_final = failed["SenderFault"] and failed["Code"] not in DELAYING_CODES
        reason = f"{failed['Code']}: {failed.get('Message', '')}"
        verdicts[int(failed["Id"])] = Verdict(Fate.REFUSED if is_final else Fate.DELAYED, reason)
    return verdicts


def _verdict_of(error: ClientError) -> Verdict:
    """The verdict for each message of a failed call. A topic that was just created may not be visible yet."""
    code = _code(error)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    is_for_now = code in DELAYING_CODES | _NO_TOPIC or status >= _SERVER_ERROR
    reason = f"{code}: {error.response['Error'].get('Message', '')}"
    return Verdict(Fate.DELAYED if is_for_now else Fate.REFUSED, reason)


def _code(error: ClientError) -> str:
    return error.response["Error"]["Code"]

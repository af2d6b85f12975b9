"""Parked events on an SQS queue, each a JSON object: ``reason``, ``run_id``, ``seq``, ``topic``, ``record``, ``gap``.

``seq`` is -1 for a creation. ``gap``: the topic is a FIFO one, whose readers miss the event between those before and
after it.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as BotoConnectionError

from ..publishing.ports import HeldEvent, ParkedEvent, ParkingUnavailable

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import SendMessageBatchRequestEntryTypeDef

_BATCH_ENTRIES = 10
"""Messages in one call at most (SQS quota)."""

_RECORD_CHARACTERS = 16_000
"""Of a stream record that is kept whole: ten of them fit one call. A record of HEAD has about 3,000."""


class SqsParkedEvents:
    def __init__(self, client: "SQSClient", queue_url: str) -> None:
        self._client = client
        self._queue_url = queue_url

    def park(self, events: Sequence[ParkedEvent]) -> None:
        for start in range(0, len(events), _BATCH_ENTRIES):
            entries: list[SendMessageBatchRequestEntryTypeDef] = [
                {"Id": str(index), "MessageBody": _body(event)}
                for index, event in enumerate(events[start : start + _BATCH_ENTRIES])
            ]
            try:
                answer = self._client.send_message_batch(QueueUrl=self._queue_url, Entries=entries)
            except (ClientError, BotoConnectionError, HTTPClientError) as error:
                raise ParkingUnavailable from error
            if answer.get("Failed"):
                raise ParkingUnavailable

    def take(self) -> Sequence[HeldEvent]:
        answer = self._client.receive_message(
            QueueUrl=self._queue_url, MaxNumberOfMessages=_BATCH_ENTRIES, WaitTimeSeconds=1
        )
        return [HeldEvent(each["ReceiptHandle"], _parsed(each["Body"])) for each in answer.get("Messages", [])]

    def remove(self, held: HeldEvent) -> None:
        self._client.delete_message(QueueUrl=self._queue_url, ReceiptHandle=held.receipt)

    def put_back(self, held: HeldEvent) -> None:
        self._client.change_message_visibility(
            QueueUrl=self._queue_url, ReceiptHandle=held.receipt, VisibilityTimeout=0
        )


def _body(event: ParkedEvent) -> str:
    fields: dict[str, Any] = {**asdict(event), "gap": event.leaves_gap}
    if event.record is not None and len(json.dumps(event.record, default=str)) > _RECORD_CHARACTERS:
        fields["record"] = {"dynamodb": {"Keys": event.record.get("dynamodb", {}).get("Keys")}}
    return json.dumps(fields, default=str)


def _parsed(body: str) -> ParkedEvent | None:
    try:
        fields = json.loads(body)
        event = ParkedEvent(**{name: fields[name] for name in ("reason", "run_id", "seq", "topic", "record")})
    except (KeyError, TypeError, ValueError):
        return None
    return event

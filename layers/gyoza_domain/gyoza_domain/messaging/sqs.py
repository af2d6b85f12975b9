"""Keeps parked events in an SQS queue, each a JSON object.

Its fields are ``reason``, ``run_id``, ``seq`` (-1 for a creation), ``topic``, ``record`` and ``gap``. ``gap`` is true
for a FIFO topic: its readers miss the event between those before and after it.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as BotoConnectionError

from ..publishing.ports import ParkedEvent, QueueUnavailable, TakenEvent

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import (
        ChangeMessageVisibilityBatchRequestEntryTypeDef,
        SendMessageBatchRequestEntryTypeDef,
    )

Value = TypeVar("Value")

_MAX_BATCH_ENTRIES = 10
"""The most messages in one call (SQS quota)."""

_MAX_RECORD_CHARACTERS = 16_000
"""A longer stream record is cut to its keys, so that ten fit one call. A record of HEAD has about 3,000 characters."""


class SqsParkedQueue:
    def __init__(self, client: "SQSClient", queue_url: str) -> None:
        self._client = client
        self._queue_url = queue_url

    def park(self, events: Sequence[ParkedEvent]) -> None:
        for some in _chunks(events):
            entries: list[SendMessageBatchRequestEntryTypeDef] = [
                {"Id": str(index), "MessageBody": _body_of(event)} for index, event in enumerate(some)
            ]
            with _translated_errors():
                answer = self._client.send_message_batch(QueueUrl=self._queue_url, Entries=entries)
            if answer.get("Failed"):
                raise QueueUnavailable(_NOT_ALL)

    def take(self) -> Sequence[TakenEvent]:
        with _translated_errors():
            answer = self._client.receive_message(
                QueueUrl=self._queue_url, MaxNumberOfMessages=_MAX_BATCH_ENTRIES, WaitTimeSeconds=1
            )
        return [_taken(each["MessageId"], each["ReceiptHandle"], each["Body"]) for each in answer.get("Messages", [])]

    def remove(self, taken: TakenEvent) -> None:
        with _translated_errors():
            self._client.delete_message(QueueUrl=self._queue_url, ReceiptHandle=taken.receipt)

    def put_back(self, taken: Sequence[TakenEvent]) -> None:
        is_done = True
        for some in _chunks(taken):
            entries: list[ChangeMessageVisibilityBatchRequestEntryTypeDef] = [
                {"Id": str(index), "ReceiptHandle": each.receipt, "VisibilityTimeout": 0}
                for index, each in enumerate(some)
            ]
            try:
                with _translated_errors():
                    answer = self._client.change_message_visibility_batch(QueueUrl=self._queue_url, Entries=entries)
                is_done = is_done and not answer.get("Failed")
            except QueueUnavailable:
                is_done = False
        if not is_done:
            raise QueueUnavailable(_NOT_ALL)


_NOT_ALL = "SQS did not take all entries of a call"


@contextmanager
def _translated_errors() -> Iterator[None]:
    """Raise QueueUnavailable in place of botocore's errors."""
    try:
        yield
    except (ClientError, BotoConnectionError, HTTPClientError) as error:
        raise QueueUnavailable(f"SQS did not answer: {error}") from error


def _chunks(values: Sequence[Value]) -> Iterator[Sequence[Value]]:
    for start in range(0, len(values), _MAX_BATCH_ENTRIES):
        yield values[start : start + _MAX_BATCH_ENTRIES]


def _taken(message_id: str, receipt: str, body: str) -> TakenEvent:
    event = _event_from(body)
    is_named = event is not None and event.run_id is not None and event.seq is not None
    key = f"{event.run_id}/{event.seq}" if event and is_named else sha256(body.encode()).hexdigest()[:32]
    return TakenEvent(message_id, receipt, key, event)


def _body_of(event: ParkedEvent) -> str:
    fields: dict[str, Any] = {**asdict(event), "gap": event.leaves_gap}
    if event.record is not None and len(json.dumps(event.record, default=str)) > _MAX_RECORD_CHARACTERS:
        fields["record"] = {"dynamodb": {"Keys": event.record.get("dynamodb", {}).get("Keys")}}
    return json.dumps(fields, default=str)


def _event_from(body: str) -> ParkedEvent | None:
    try:
        fields = json.loads(body)
        event = ParkedEvent(**{name: fields[name] for name in ("reason", "run_id", "seq", "topic", "record")})
    except (KeyError, TypeError, ValueError):
        return None
    return event

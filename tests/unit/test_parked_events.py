"""Tests the queue of parked events on SQS."""

import json

import boto3
import pytest
from moto import mock_aws

from gyoza_domain.messaging.sqs import SqsParkedQueue
from gyoza_domain.publishing.ports import ParkedEvent, QueueUnavailable
from tests.support.push import QUEUE_URL, Faults, Json, SimulatedSqs

EVENT = ParkedEvent("AuthorizationError: no", "run-1", 4, "orders.fifo")


@mock_aws
def test_a_parked_event_is_taken_put_back_and_removed() -> None:
    client = boto3.client("sqs")
    url = client.create_queue(QueueName="parked")["QueueUrl"]
    queue = SqsParkedQueue(client, url)
    events = [ParkedEvent("why", f"run-{n}", n, "orders") for n in range(12)]
    queue.park(events)
    taken = [*queue.take(), *queue.take()]
    assert sorted(taken_event.event.seq or 0 for taken_event in taken if taken_event.event) == list(range(12))
    assert queue.take() == []
    queue.put_back(taken[:1])
    [again] = queue.take()
    assert again.event == taken[0].event
    for each in [again, *taken[1:]]:
        queue.remove(each)
    number = client.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])["Attributes"]
    assert number == {"ApproximateNumberOfMessages": "0"}


@pytest.mark.parametrize(("topic", "gap"), [("orders.fifo", True), ("orders", False), (None, False)])
def test_a_parked_event_says_whether_readers_of_a_fifo_topic_miss_it(topic: str | None, gap: bool) -> None:
    sqs = SimulatedSqs()
    SqsParkedQueue(sqs, QUEUE_URL).park([ParkedEvent("why", "run-1", 4, topic)])  # type: ignore[arg-type]
    assert sqs.parked == [{"reason": "why", "run_id": "run-1", "seq": 4, "topic": topic, "record": None, "gap": gap}]


def test_a_record_too_large_for_a_call_of_ten_is_kept_by_its_keys() -> None:
    sqs = SimulatedSqs()
    change = {"Keys": {"pk": {"S": "RUN#1"}}, "SequenceNumber": "7", "NewImage": {"x": {"S": "y" * 20_000}}}
    record = {"eventName": "MODIFY", "dynamodb": change}
    SqsParkedQueue(sqs, QUEUE_URL).park([ParkedEvent("why", record=record)])  # type: ignore[arg-type]
    assert [each["record"] for each in sqs.parked] == [{"dynamodb": {"Keys": change["Keys"]}}]


def test_a_queue_that_took_some_of_them_did_not_take_them() -> None:
    class HalfASqs(SimulatedSqs):
        def send_message_batch(self, **_: object) -> Json:
            return {"Failed": [{"Id": "1", "Code": "InternalError", "SenderFault": False}]}

    for sqs in (HalfASqs(), SimulatedSqs(Faults(queue_down=1.0))):
        with pytest.raises(QueueUnavailable):
            SqsParkedQueue(sqs, QUEUE_URL).park([EVENT, EVENT])  # type: ignore[arg-type]


@pytest.mark.parametrize("body", ["", "[]", "{}", "7", json.dumps({"run_id": "x"})])
def test_a_message_of_somebody_else_is_told_from_ours(body: str) -> None:
    sqs = SimulatedSqs()
    sqs.put(body)
    [taken] = SqsParkedQueue(sqs, QUEUE_URL).take()  # type: ignore[arg-type]
    assert taken.event is None

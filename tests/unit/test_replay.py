"""Tests a replay on a queue with rare behaviour of SQS."""

import json
from collections.abc import Sequence

import pytest

from gyoza_domain.dynamodb.stream import change_of
from gyoza_domain.messaging.sns import SnsTopics
from gyoza_domain.messaging.sqs import SqsParkedQueue
from gyoza_domain.publishing.ports import QueueUnavailable
from gyoza_domain.publishing.redelivery import Redelivery
from gyoza_domain.publishing.replay import Replay, Replayed
from tests.support.outbox import MemoryOutbox
from tests.support.push import ARN_PREFIX, QUEUE_URL, Faults, Json, SimulatedSns, SimulatedSqs


class RepeatingSqs(SimulatedSqs):
    """Gives the first message a second time while it is held, with another receipt."""

    def __init__(self) -> None:
        super().__init__()
        self.again = 1

    def receive_message(self, *, QueueUrl: str, MaxNumberOfMessages: int, WaitTimeSeconds: int) -> Json:  # noqa: N803
        answer = super().receive_message(
            QueueUrl=QueueUrl, MaxNumberOfMessages=MaxNumberOfMessages, WaitTimeSeconds=WaitTimeSeconds
        )
        if not answer and self.again and self.messages:
            self.again -= 1
            [number, *_] = self.messages
            given = {"MessageId": number, "ReceiptHandle": number, "Body": self.messages[number]}
            return {"Messages": [given]}
        return answer


def replayed(sqs: SimulatedSqs, sns: SimulatedSns, seqs: Sequence[int]) -> Replayed:
    for seq in seqs:
        sqs.put(json.dumps({"reason": "", "run_id": "a", "seq": seq, "topic": "orders", "record": None}))
    topics, queue = SnsTopics(sns, ARN_PREFIX), SqsParkedQueue(sqs, QUEUE_URL)  # type: ignore[arg-type]
    outbox = MemoryOutbox("orders")
    return Replay(queue, outbox, Redelivery(outbox, topics, sns.faults.clock), change_of).run([], lambda: 60.0)


def test_a_message_that_sqs_gives_twice_is_no_second_copy_of_itself() -> None:
    sqs, sns = RepeatingSqs(), SimulatedSns(Faults(denied=frozenset({"orders"})))
    done = replayed(sqs, sns, [0])
    assert (sqs.again, len(done.kept), done.dropped) == (0, 1, 0)
    assert (len(sqs.messages), sqs.taken) == (1, set())


def test_a_message_put_back_only_in_part_raises_and_the_others_are_put_back() -> None:
    class HalfASqs(SimulatedSqs):
        def change_message_visibility_batch(self, *, QueueUrl: str, Entries: Sequence[Json]) -> Json:  # noqa: N803
            super().change_message_visibility_batch(QueueUrl=QueueUrl, Entries=Entries[1:])
            return {"Failed": [{"Id": Entries[0]["Id"], "Code": "InternalError", "SenderFault": False}]}

    sqs = HalfASqs()
    with pytest.raises(QueueUnavailable):
        replayed(sqs, SimulatedSns(Faults(denied=frozenset({"orders"}))), range(15))
    assert len(sqs.taken) == 2

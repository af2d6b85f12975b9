"""Tests how answers of SNS become verdicts."""

from collections.abc import Callable, Sequence
from typing import Any

import boto3
import pytest
from botocore.exceptions import ConnectTimeoutError, ReadTimeoutError
from moto import mock_aws

from gyoza_domain.messaging.sns import DELAYING_CODES, SnsTopics
from gyoza_domain.publishing.messages import Attribute, Message
from gyoza_domain.publishing.ports import Fate, Verdict
from tests.support.push import ARN_PREFIX, Json, SimulatedSns, client_error

MESSAGES = [
    Message(f"run-{n}", 4, f"run-{n}/4", f'{{"n":{n}}}', {"run_id": Attribute("String", f"run-{n}")}) for n in range(3)
]


class ScriptedSns:
    """Answers a call with the result of ``answer`` for its entries, and keeps the calls."""

    def __init__(self, answer: Callable[[Sequence[Json]], Json]) -> None:
        self._answer = answer
        self.batches: list[list[str]] = []
        self.created: list[str] = []

    def publish_batch(self, *, TopicArn: str, PublishBatchRequestEntries: Sequence[Json]) -> Json:  # noqa: N803
        assert TopicArn.startswith(ARN_PREFIX)
        self.batches.append([entry["Message"] for entry in PublishBatchRequestEntries])
        return self._answer(PublishBatchRequestEntries)

    def create_topic(self, *, Name: str, Attributes: Json, Tags: list[Json]) -> Json:  # noqa: N803
        assert (Attributes, Tags) == ({}, [{"Key": "gyoza:stack", "Value": "gyoza"}])
        self.created.append(Name)
        return {"TopicArn": ""}


def fates(client: Any, messages: Sequence[Message] = MESSAGES) -> list[Fate]:
    return [verdict.fate for verdict in SnsTopics(client, ARN_PREFIX).publish("orders", messages)]


def raising(error: Exception) -> Callable[[Sequence[Json]], Json]:
    def answer(_: Sequence[Json]) -> Json:
        raise error

    return answer


def accepted(entries: Sequence[Json]) -> Json:
    return {"Successful": [{"Id": entry["Id"]} for entry in entries], "Failed": []}


def test_each_entry_has_a_verdict_of_its_own() -> None:
    def answer(_: Sequence[Json]) -> Json:
        return {
            "Successful": [{"Id": "1"}],
            "Failed": [
                {"Id": "0", "Code": "InvalidParameter", "Message": "too long", "SenderFault": True},
                {"Id": "2", "Code": "InternalError", "SenderFault": False},
            ],
        }

    verdicts = SnsTopics(ScriptedSns(answer), ARN_PREFIX).publish("orders", MESSAGES)  # type: ignore[arg-type]
    assert verdicts == [
        Verdict(Fate.REFUSED, "InvalidParameter: too long"),
        Verdict(Fate.ACCEPTED),
        Verdict(Fate.DELAYED, "InternalError: "),
    ]


def test_an_entry_throttled_by_the_senders_fault_is_still_only_delayed() -> None:
    failed = [{"Id": "0", "Code": "KMSThrottling", "SenderFault": True}]
    assert fates(ScriptedSns(lambda _: {"Failed": failed}), MESSAGES[:1]) == [Fate.DELAYED]


def test_an_entry_that_the_answer_leaves_out_is_sent_again() -> None:
    assert fates(ScriptedSns(lambda entries: accepted(entries[1:]))) == [Fate.DELAYED, Fate.ACCEPTED, Fate.ACCEPTED]


@pytest.mark.parametrize("code", sorted(DELAYING_CODES))
def test_a_call_that_may_go_later_delays_all_of_it(code: str) -> None:
    assert fates(ScriptedSns(raising(client_error(code, 400)))) == [Fate.DELAYED] * 3


@pytest.mark.parametrize(
    "error",
    [
        ReadTimeoutError(endpoint_url="sns"),
        ConnectTimeoutError(endpoint_url="sns"),
        client_error("Unheard", 500),
        client_error("Unheard", 503),
    ],
)
def test_a_lost_answer_and_a_server_error_delay(error: Exception) -> None:
    assert fates(ScriptedSns(raising(error))) == [Fate.DELAYED] * 3


@pytest.mark.parametrize("code", ["AuthorizationError", "KMSDisabled", "EndpointDisabled", "Unheard"])
def test_a_call_refused_for_good_refuses_all_of_it(code: str) -> None:
    client = ScriptedSns(raising(client_error(code, 403)))
    assert fates(client) == [Fate.REFUSED] * 3
    assert len(client.batches) == 1


def test_a_batch_that_is_too_long_together_is_sent_one_by_one() -> None:
    def answer(entries: Sequence[Json]) -> Json:
        if len(entries) > 1:
            raise client_error("BatchRequestTooLong", 400)
        return accepted(entries)

    client = ScriptedSns(answer)
    assert fates(client) == [Fate.ACCEPTED] * 3
    assert [len(batch) for batch in client.batches] == [3, 1, 1, 1]


def test_a_message_that_is_too_long_alone_is_refused() -> None:
    client = ScriptedSns(raising(client_error("BatchRequestTooLong", 400)))
    assert fates(client, MESSAGES[:1]) == [Fate.REFUSED]


def test_a_topic_that_somebody_else_has_just_made_with_other_attributes_is_published_to() -> None:
    class RacedSns(SimulatedSns):
        def create_topic(self, **arguments: Any) -> Json:
            super().create_topic(**arguments)
            raise client_error(
                "InvalidParameter",
                400,
                "Invalid parameter: Attributes Reason: Topic already exists with different attributes",
            )

    for topic in ("orders", "orders.fifo"):
        sns = RacedSns()
        verdicts = SnsTopics(sns, ARN_PREFIX).publish(topic, MESSAGES)  # type: ignore[arg-type]
        assert verdicts == [Verdict(Fate.ACCEPTED)] * 3
        assert sns.calls == {"publish_batch": 2, "create_topic": 1}


def test_a_topic_that_may_not_be_made_refuses_the_messages() -> None:
    class ClosedSns(SimulatedSns):
        def create_topic(self, **_: Any) -> Json:
            raise client_error("AuthorizationError", 403)

    assert fates(ClosedSns()) == [Fate.REFUSED] * 3


def test_a_batch_spoiled_by_one_entry_is_sent_one_by_one() -> None:
    def answer(entries: Sequence[Json]) -> Json:
        if any(entry["Message"] == MESSAGES[1].body for entry in entries):
            raise client_error("InvalidParameter", 400)
        return accepted(entries)

    client = ScriptedSns(answer)
    assert fates(client) == [Fate.ACCEPTED, Fate.REFUSED, Fate.ACCEPTED]
    assert [len(batch) for batch in client.batches] == [3, 1, 1, 1]


def test_a_topic_is_made_only_when_publishing_says_there_is_none() -> None:
    sns = SimulatedSns(topics=["orders"])
    assert fates(sns) == [Fate.ACCEPTED] * 3
    assert sns.calls == {"publish_batch": 1}
    del sns.accepted["orders"]
    assert fates(sns) == [Fate.ACCEPTED] * 3
    assert sns.calls == {"publish_batch": 3, "create_topic": 1}


def test_a_topic_that_is_not_there_yet_though_it_was_made_delays() -> None:
    client = ScriptedSns(raising(client_error("NotFound", 404)))
    assert fates(client) == [Fate.DELAYED] * 3
    assert (len(client.batches), client.created) == (2, ["gyoza_orders"])


@mock_aws
@pytest.mark.parametrize("topic", ["orders", "orders.fifo"])
def test_a_real_client_takes_the_calls(topic: str) -> None:
    client = boto3.client("sns")
    verdicts = SnsTopics(client, f"{ARN_PREFIX.replace('000000000000', '123456789012')}").publish(topic, MESSAGES)
    assert [verdict.fate for verdict in verdicts] == [Fate.ACCEPTED] * 3
    [arn] = [each["TopicArn"] for each in client.list_topics()["Topics"]]
    attributes = client.get_topic_attributes(TopicArn=arn)["Attributes"]
    assert arn.endswith(f":gyoza_{topic}")
    assert attributes.get("FifoTopic", "false") == ("true" if topic.endswith(".fifo") else "false")

"""Tests push from the table's stream to SNS. SNS, SQS and the process fail at random."""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from random import Random
from typing import Any
from uuid import uuid4

import boto3
import pytest

from functions.publish_events.app import lambda_handler as publish
from functions.redeliver_events.app import lambda_handler as redeliver
from functions.replay_parked_events.app import lambda_handler as replay
from gyoza_domain.bootstrap import clients
from gyoza_domain.bootstrap import push as push_parts
from gyoza_domain.domain.errors import RunNotFound
from gyoza_domain.dynamodb import keys
from gyoza_domain.messaging.sns import SnsTopics
from gyoza_domain.messaging.sqs import SqsParkedQueue
from gyoza_domain.publishing.delivery import YOUNG_S
from gyoza_domain.publishing.ports import QueueUnavailable, RunUnreadable
from testing.cloudformation import ROOT, load_template, resources_of_type
from testing.gateway import Gateway
from testing.table import create_table, forget_clients
from tests.support.push import (
    ARN_PREFIX,
    QUEUE_URL,
    WRITTEN_AT,
    ClockContext,
    Context,
    EventSourceMapping,
    Faults,
    Json,
    ShortContext,
    SimulatedSns,
    SimulatedSqs,
    client_error,
    matching,
    stream_records,
)
from tools.push import Refused, Stack
from tools.push import replay as replay_all

MAPPING = resources_of_type(load_template(), "AWS::Serverless::Function")["PublishEvents"]["Events"]["Stream"]
PATTERNS = [json.loads(each["Pattern"]) for each in MAPPING["Properties"]["FilterCriteria"]["Filters"]]
BATCH_SIZE = MAPPING["Properties"]["BatchSize"]

SEEDS = (1, 2, 3, 4, 5)
TOPICS = ("plain", "other", "orders.fifo", "denied", "denied.fifo")
CREATED = "created"

TAGS = [{"Key": "gyoza:stack", "Value": "gyoza"}]


@pytest.fixture
def api(engine_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    """Runs the handlers on DynamoDB Local, with a new table that has a stream."""
    name = f"runs-{uuid4()}"
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", engine_url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB_STREAMS", engine_url)
    monkeypatch.setenv("GYOZA_TABLE", name)
    create_table(boto3.client("dynamodb"), name, with_stream=True)
    forget_clients()
    yield Gateway()
    forget_clients()


@dataclass
class Push:
    """The publishing functions with simulated services behind them."""

    sns: SimulatedSns
    sqs: SimulatedSqs
    faults: Faults

    def publish(self, records: Sequence[Json], *, batch_size: int = BATCH_SIZE, shards: int = 3) -> EventSourceMapping:
        mapping = EventSourceMapping(
            lambda event: publish(event, Context()),
            push_parts.delivery.cache_clear,
            self.faults,
            batch_size=batch_size,
            shards=shards,
        )
        mapping.run(records)
        return mapping


Connect = Callable[[Faults], Push]


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Connect:
    def connected(faults: Faults) -> Push:
        push = Push(SimulatedSns(faults), SimulatedSqs(faults), faults)
        topics, queue = SnsTopics(push.sns, ARN_PREFIX), SqsParkedQueue(push.sqs, QUEUE_URL)  # type: ignore[arg-type]
        monkeypatch.setattr(push_parts, "topics", lambda: topics)
        monkeypatch.setattr(push_parts, "parked_queue", lambda: queue)
        monkeypatch.setattr(push_parts, "clock", lambda: faults.clock)
        push_parts.delivery.cache_clear()
        push_parts.outbox.cache_clear()
        return push

    return connected


@pytest.fixture
def push(connect: Connect) -> Push:
    return connect(Faults())


def records() -> list[Json]:
    """The stream's records that pass the event source mapping, written at the start of the simulated clock."""
    stream_arn = boto3.client("dynamodb").describe_table(TableName=os.environ["GYOZA_TABLE"])["Table"][
        "LatestStreamArn"
    ]
    found = matching(stream_records(boto3.client("dynamodbstreams"), stream_arn), PATTERNS)
    for record in found:
        record["dynamodb"]["ApproximateCreationDateTime"] = WRITTEN_AT.timestamp()
    return found


def play(api: Gateway, topic: str | None, events: int) -> str:
    """Write a run with so many events. Some attempts fail, each in one transaction with its RETRIED."""
    delivery = {} if topic is None else {"event_delivery": {"topic": topic}}
    run_id: str = api.create(retry_policy={"max_attempts": 100}, **delivery)["id"]
    attempt: list[tuple[str, dict[str, Any]]] = [
        ("STARTED", {"payload": {"worker_id": "w"}}),
        *[("PROGRESS", {"msg": percent}) for percent in (20, 40, 60, 80)],
        ("INFO", {"msg": "x" * 3_000}),
        ("FAILED", {"payload": {"error_message": "no"}}),
    ]
    written = 0
    for type_, fields in cycle(attempt):
        if written + (2 if type_ == "FAILED" else 1) > events:
            break
        answer = api.event(run_id, type_, minimal=True, **fields)
        assert answer.status == 200, answer.text
        written += 2 if type_ == "FAILED" else 1
    for _ in range(events - written):
        assert api.event(run_id, "ERROR", minimal=True).status == 200
    return run_id


def expected_ids(events: int) -> list[str]:
    return [CREATED, *map(str, range(events))]


def test_every_event_arrives_or_is_parked_whatever_fails(api: Gateway, connect: Connect) -> None:
    """20 runs have 50 events each on five topics. Nobody may publish to two of the topics."""
    events = 50
    runs = [(play(api, topic, events), topic) for topic in islice(cycle(TOPICS), 20)]
    quiet = play(api, None, 5)
    of_stream = records()
    for seed in SEEDS:
        faults = Faults(
            random=Random(seed),
            throttled=0.1,
            lost_answer=0.1,
            failed_entry=0.05,
            queue_down=0.1,
            crash=0.02,
            denied=frozenset({"denied", "denied.fifo"}),
        )
        push = connect(faults)
        mapping = push.publish(of_stream)
        assert faults.clock.now_s < 300, "the outage outlasted the window in which SNS drops repeats"
        repeats = 0
        parked = Counter((each["run_id"], each["seq"]) for each in push.sqs.parked)
        for run_id, topic in runs:
            ids = push.sns.ids(topic, run_id)
            if topic in faults.denied:
                assert ids == []
                assert {seq for run, seq in parked if run == run_id} == set(range(-1, events))
            elif topic.endswith(".fifo"):
                assert ids == expected_ids(events)
            else:
                assert set(ids) == set(expected_ids(events))
                repeats += len(ids) - len(set(ids))
        assert {run for run, _ in parked} == {run for run, topic in runs if topic in faults.denied}
        assert all("AuthorizationError" in each["reason"] for each in push.sqs.parked)
        assert all(each["gap"] is each["topic"].endswith(".fifo") for each in push.sqs.parked)
        assert quiet not in json.dumps(push.sns.accepted)
        print(
            f"\nseed {seed}: {len(of_stream)} records in {mapping.invocations} invocations,"
            f" {faults.clock.now_s:.0f} simulated s; injected {dict(faults.injected)};"
            f" {repeats} repeats on standard topics, {parked.total() - len(parked)} parked twice"
        )


@pytest.mark.parametrize("topic", ["plain", "orders.fifo"])
def test_a_process_that_saw_a_repeat_before_sends_nothing_twice(api: Gateway, push: Push, topic: str) -> None:
    """SNS accepts nothing of one run, so Lambda repeats the records of the other one too."""
    stuck, fine = play(api, topic, 3), play(api, topic, 3)
    of_stream = [record for record in records() if stuck in json.dumps(record)]
    of_stream += [record for record in records() if fine in json.dumps(record)]
    push.sns.create_topic(Name=f"gyoza_{topic}", Attributes={"FifoTopic": "true"} if "fifo" in topic else {}, Tags=TAGS)
    push.sns.delayed_run = stuck
    again = publish({"Records": of_stream}, Context())["batchItemFailures"]
    numbers = [record["dynamodb"]["SequenceNumber"] for record in of_stream]
    assert [each["itemIdentifier"] for each in again] == numbers[:4]
    assert push.sns.ids(topic, fine) == expected_ids(3)
    push.sns.delayed_run = None
    assert publish({"Records": of_stream}, Context()) == {"batchItemFailures": []}
    assert push.sns.ids(topic, stuck) == push.sns.ids(topic, fine) == expected_ids(3)


@pytest.mark.long
@pytest.mark.parametrize(("runs", "events", "most_calls"), [(1, 999, 1_000), (20, 49, 100), (1_000, 0, 100)])
def test_publishing_a_thousand_events_takes_at_most_so_many_calls(
    api: Gateway, connect: Connect, runs: int, events: int, most_calls: int
) -> None:
    """The events of ``runs`` runs go to a standard topic and then to a FIFO one. A creation counts as an event."""
    ids = [api.create(event_delivery={"topic": "plain"})["id"] for _ in range(runs)]
    for run_id in ids * events:
        assert api.event(run_id, "INFO", minimal=True).status == 200
    of_stream = records()
    assert len(of_stream) == 1_000
    for topic, most in (("plain", 100), ("orders.fifo", most_calls)):
        for run_id in ids:
            stored_as(run_id, keys.SPEC, "topic", {"S": topic})
        push = connect(Faults())
        push.sns.accepted[topic] = []
        reads = counted_reads()
        for start in range(0, len(of_stream), BATCH_SIZE):
            assert publish({"Records": of_stream[start : start + BATCH_SIZE]}, Context()) == {"batchItemFailures": []}
        assert len(push.sns.accepted[topic]) == 1_000
        assert push.sns.calls["publish_batch"] <= most
        assert set(reads) == {"BatchGetItem"}
        assert reads["BatchGetItem"] <= 20
        print(f"\n{topic}: 1,000 events of {runs} runs: {dict(push.sns.calls)}, {dict(reads)}")


def counted_reads() -> Counter[str]:
    """Count the calls to DynamoDB by name from now on."""
    reads: Counter[str] = Counter()
    clients.dynamodb().meta.events.register("before-call.dynamodb.*", lambda model, **_: reads.update([model.name]))
    return reads


def test_a_topic_deleted_under_us_is_made_again(api: Gateway, push: Push) -> None:
    run_id = play(api, "orders.fifo", 2)
    of_stream = records()
    push.publish(of_stream[:1])
    del push.sns.accepted["orders.fifo"]
    push.publish(of_stream[1:])
    assert push.sns.ids("orders.fifo", run_id) == ["0", "1"]
    assert push.sns.calls["create_topic"] == 2


def test_events_without_time_to_send_come_again(api: Gateway, push: Push) -> None:
    play(api, "plain", 2)
    of_stream = records()
    numbers = [record["dynamodb"]["SequenceNumber"] for record in of_stream]
    answer = publish({"Records": of_stream}, ShortContext())
    assert [each["itemIdentifier"] for each in answer["batchItemFailures"]] == numbers
    assert push.sns.calls == {}


def test_the_payload_for_local_invocations_is_what_the_stream_brings(api: Gateway, push: Push) -> None:
    [sample] = json.loads((ROOT / "events/publish_events.a_creation.json").read_text())["Records"]
    _, record = head_record(api)
    assert shape(sample["dynamodb"]) == shape(record["dynamodb"])
    assert sample["eventName"] == record["eventName"]
    assert publish({"Records": [sample]}, Context())["batchItemFailures"] != []
    push.faults.clock.now_s = YOUNG_S
    assert publish({"Records": [sample]}, Context()) == {"batchItemFailures": []}


def shape(value: Any) -> Any:
    return {name: shape(each) for name, each in value.items()} if isinstance(value, dict) else type(value).__name__


# -- unreadable items


def head_record(api: Gateway, topic: str = "plain") -> tuple[str, Json]:
    run_id = play(api, topic, 0)
    [record] = [record for record in records() if run_id in json.dumps(record)]
    return run_id, record


def changed(record: Json, **attributes: Any) -> Json:
    image = {**record["dynamodb"]["NewImage"], **attributes}
    return {**record, "dynamodb": {**record["dynamodb"], "NewImage": image}}


BAD_RECORDS: dict[str, Callable[[Json], Json]] = {
    "of a later version": lambda record: changed(record, schema={"N": "2"}),
    "without a number": lambda record: changed(record, last_seq={"S": "many"}),
    "with an attribute of another type": lambda record: changed(record, last_seq="7"),
    "without its creation": lambda record: changed(record, created_key={"S": "yesterday"}),
    "without an image": lambda record: {**record, "dynamodb": {**record["dynamodb"], "NewImage": {}}},
    "without the old image": lambda record: {**record, "eventName": "MODIFY"},
    "of another item": lambda record: {
        **record,
        "dynamodb": {**record["dynamodb"], "Keys": {**record["dynamodb"]["Keys"], "sk": {"S": keys.SPEC}}},
    },
}


@pytest.mark.parametrize("kind", BAD_RECORDS)
def test_a_record_that_cannot_be_read_is_parked_and_holds_nothing_up(api: Gateway, push: Push, kind: str) -> None:
    bad_id, bad = head_record(api)
    good_id, good = head_record(api)
    push.publish([BAD_RECORDS[kind](bad), good], shards=1)
    assert push.faults.clock.now_s > YOUNG_S, "parked although a newer version of the code might have read it"
    assert push.sns.ids("plain", good_id) == [CREATED]
    [parked] = push.sqs.parked
    assert (parked["run_id"], parked["seq"], parked["topic"]) == (bad_id, None, None)
    assert parked["reason"].startswith("The record is ")
    assert parked["record"] == BAD_RECORDS[kind](bad)


def stored_as(run_id: str, sk: str, attribute: str, value: Json | None) -> None:
    """Change one attribute of an item past the API; None removes the item."""
    key = {"pk": {"S": keys.run_pk(run_id)}, "sk": {"S": sk}}
    table = os.environ["GYOZA_TABLE"]
    if value is None:
        boto3.client("dynamodb").delete_item(TableName=table, Key=key)
    else:
        boto3.client("dynamodb").update_item(
            TableName=table,
            Key=key,
            UpdateExpression="SET #name = :value",
            ExpressionAttributeNames={"#name": attribute},
            ExpressionAttributeValues={":value": value},
        )


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("schema", {"N": "2"}),
        ("type", {"S": "EXPLODED"}),
        ("msg", {"S": "{"}),
        ("seq", {"BOOL": True}),
        ("", None),
    ],
)
def test_an_event_that_cannot_be_read_is_parked_and_its_run_goes_on(
    api: Gateway, push: Push, attribute: str, value: Json | None
) -> None:
    run_id = play(api, "orders.fifo", 3)
    of_stream = records()
    stored_as(run_id, keys.event_sk(1), attribute, value)
    push.publish(of_stream)
    assert push.faults.clock.now_s > YOUNG_S, "parked although a newer version of the code might have read it"
    assert push.sns.ids("orders.fifo", run_id) == [CREATED, "0", "2"]
    [parked] = push.sqs.parked
    assert (parked["run_id"], parked["seq"], parked["topic"], parked["gap"]) == (run_id, 1, "orders.fifo", True)


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("schema", {"N": "2"}),
        ("topic_attributes", {"S": "[1]"}),
        ("topic_attributes", {"S": '{"a": null}'}),
        ("topic_attributes", {"S": "{"}),
        ("image", {"N": "1"}),
        ("", None),
    ],
)
def test_a_run_whose_delivery_cannot_be_read_is_parked_event_by_event(
    api: Gateway, push: Push, attribute: str, value: Json | None
) -> None:
    run_id, other = play(api, "plain", 2), play(api, "plain", 2)
    of_stream = records()
    stored_as(run_id, keys.SPEC, attribute, value)
    push.publish(of_stream)
    assert push.sns.ids("plain", other) == expected_ids(2)
    assert sorted((each["run_id"], each["seq"]) for each in push.sqs.parked) == [(run_id, seq) for seq in (-1, 0, 1)]


def test_an_event_that_can_be_neither_published_nor_parked_comes_again(api: Gateway, connect: Connect) -> None:
    run_id = play(api, "denied", 2)
    bad_id, bad = head_record(api)
    of_stream = [record for record in records() if run_id in json.dumps(record)]
    of_stream.append(BAD_RECORDS["of a later version"](bad))
    push = connect(Faults(denied=frozenset({"denied"}), queue_down=1.0))
    push.faults.clock.now_s = YOUNG_S
    numbers = [record["dynamodb"]["SequenceNumber"] for record in of_stream]
    answer = publish({"Records": of_stream}, Context())
    assert [each["itemIdentifier"] for each in answer["batchItemFailures"]] == numbers
    push.faults.queue_down = 0.0
    assert publish({"Records": of_stream}, Context()) == {"batchItemFailures": []}
    assert [(each["run_id"], each["seq"]) for each in push.sqs.parked] == [
        *[(run_id, seq) for seq in (-1, 0, 1)],
        (bad_id, None),
    ]


def test_the_run_of_an_unreadable_record_waits_with_what_lies_behind_it(api: Gateway, push: Push) -> None:
    run_id = play(api, "orders.fifo", 2)
    first, second, third = records()
    bad = BAD_RECORDS["of a later version"](second)
    assert failed([first, bad, third]) == [number_of(second), number_of(third)]
    assert (push.sns.ids("orders.fifo", run_id), push.sqs.parked) == ([CREATED], [])
    push.faults.clock.now_s = YOUNG_S
    assert failed([bad, third]) == []
    assert push.sns.ids("orders.fifo", run_id) == [CREATED, "1"]
    assert [each["record"] for each in push.sqs.parked] == [bad]


@contextmanager
def hidden(run_id: str, sk: str) -> Iterator[None]:
    """Hide an item, as DynamoDB does until the rest of its transaction is applied."""
    dynamodb = boto3.client("dynamodb")
    table = os.environ["GYOZA_TABLE"]
    item = dynamodb.get_item(TableName=table, Key={"pk": {"S": keys.run_pk(run_id)}, "sk": {"S": sk}})["Item"]
    stored_as(run_id, sk, "", None)
    yield
    dynamodb.put_item(TableName=table, Item=item)


def failed(of_stream: Sequence[Json]) -> list[str]:
    """The sequence numbers that one invocation with these records reports as unfinished."""
    return [each["itemIdentifier"] for each in publish({"Records": of_stream}, Context())["batchItemFailures"]]


def number_of(record: Json) -> str:
    number: str = record["dynamodb"]["SequenceNumber"]
    return number


@pytest.mark.parametrize("topic", ["plain", "orders.fifo"])
@pytest.mark.parametrize(("sk", "sent"), [(keys.SPEC, 0), (keys.event_sk(0), 1), (keys.event_sk(1), 2)])
def test_an_item_that_is_not_visible_yet_holds_its_run_and_is_not_parked(
    api: Gateway, push: Push, topic: str, sk: str, sent: int
) -> None:
    run_id = play(api, topic, 3)
    of_stream = records()
    with hidden(run_id, sk):
        assert failed(of_stream) == [number_of(record) for record in of_stream[sent:]]
        assert push.sns.ids(topic, run_id) == expected_ids(3)[:sent]
    assert failed(of_stream) == []
    assert push.sns.ids(topic, run_id) == expected_ids(3)
    assert push.sqs.parked == []


def test_a_deleted_run_has_nothing_published_and_nothing_parked(api: Gateway, push: Push) -> None:
    gone, marked, torn = (play(api, "plain", 2) for _ in range(3))
    of_stream = records()
    for run_id, sks in (
        (gone, [keys.HEAD, keys.SPEC, keys.event_sk(0), keys.event_sk(1)]),
        (marked, [keys.SPEC, keys.event_sk(0)]),
        (torn, [keys.event_sk(1)]),
    ):
        for sk in sks:
            stored_as(run_id, sk, "", None)
    stored_as(marked, keys.HEAD, "deleted_at", {"N": "1"})
    push.faults.clock.now_s = YOUNG_S
    assert failed(of_stream) == []
    assert {run_id: push.sns.ids("plain", run_id) for run_id in (gone, marked, torn)} == {
        gone: [], marked: [], torn: [CREATED, "0"],
    }  # fmt: skip
    assert [(each["run_id"], each["seq"]) for each in push.sqs.parked] == [(torn, 1)]


@pytest.mark.parametrize("has_restarts", [False, True])
def test_an_unreadable_item_is_parked_once_however_often_its_batch_comes(
    api: Gateway, push: Push, has_restarts: bool
) -> None:
    """SNS accepts nothing of one run. Behind it are an unreadable event of it, one of another run and a record."""
    stuck, other = play(api, "orders.fifo", 3), play(api, "orders.fifo", 3)
    bad_id, bad = head_record(api)
    of_stream = [record for run_id in (stuck, other) for record in records() if run_id in json.dumps(record)]
    of_stream.append(BAD_RECORDS["of a later version"](bad))
    stored_as(stuck, keys.event_sk(1), "", None)
    stored_as(other, keys.event_sk(1), "", None)
    push.faults.clock.now_s = YOUNG_S
    push.sns.delayed_run = stuck
    for _ in range(20):
        assert failed(of_stream)[0] == number_of(of_stream[0])
        if has_restarts:
            push_parts.delivery.cache_clear()
    push.sns.delayed_run = None
    assert failed(of_stream) == []
    parked = [(each["run_id"], each["seq"]) for each in push.sqs.parked]
    assert parked == [(stuck, 1), (other, 1), (bad_id, None)]
    assert push.sns.ids("orders.fifo", stuck) == push.sns.ids("orders.fifo", other) == [CREATED, "0", "2"]


# -- tasks of operators


def test_a_run_is_delivered_again_from_an_event_on(api: Gateway, push: Push) -> None:
    run_id = play(api, "plain", 120)
    again = redeliver({"run_id": run_id, "from_seq": 3}, Context())
    assert again == {"published": 117, "refused": 0, "reasons": [], "next_seq": None}
    assert push.sns.ids("plain", run_id) == expected_ids(120)[4:]
    assert redeliver({"run_id": run_id, "from_seq": -1}, Context())["published"] == 121
    assert redeliver({"run_id": run_id, "from_seq": 120}, Context())["published"] == 0


def test_a_redelivery_says_where_to_go_on_and_what_is_refused(api: Gateway, connect: Connect) -> None:
    run_id = play(api, "plain", 3)
    push = connect(Faults(throttled=1.0))
    push.sns.accepted["plain"] = []
    assert redeliver({"run_id": run_id, "from_seq": 1}, Context()) == {
        "published": 0, "refused": 0, "reasons": [], "next_seq": 1,
    }  # fmt: skip
    connect(Faults(denied=frozenset({"plain"})))
    refused = redeliver({"run_id": run_id, "from_seq": 1}, Context())
    assert (refused["published"], refused["refused"], refused["next_seq"]) == (0, 2, None)
    assert [each["seq"] for each in refused["reasons"]] == [1, 2]


def test_a_run_that_nobody_subscribed_to_is_not_delivered_again(api: Gateway, push: Push) -> None:
    run_id = play(api, None, 1)
    refused = redeliver({"run_id": run_id, "from_seq": 0}, Context())
    assert (refused["published"], refused["refused"]) == (0, 1)
    assert [each["reason"] for each in refused["reasons"]] == ["The run has no event_delivery"]
    assert push.sns.calls == {}


@pytest.mark.parametrize(
    ("payload", "field"),
    [({}, "run_id"), ({"run_id": "x"}, "from_seq"), ({"run_id": "x", "from_seq": True}, "from_seq"),
     ({"run_id": "x", "from_seq": -2}, "from_seq"), ({"run_id": 1, "from_seq": 0}, "run_id")],
)  # fmt: skip
def test_a_redelivery_of_nothing_named_says_which_field(payload: Json, field: str) -> None:
    with pytest.raises(ValueError, match=field):
        redeliver(payload, Context())


def test_parked_events_are_replayed_whole_once_the_cause_is_gone(api: Gateway, connect: Connect) -> None:
    runs = [play(api, topic, 12) for topic in ("denied", "denied.fifo")]
    bad_id, bad = head_record(api, "denied")
    of_stream = [record for record in records() if bad_id not in json.dumps(record)]
    push = connect(Faults(denied=frozenset({"denied", "denied.fifo"})))
    push.publish([*of_stream, BAD_RECORDS["of a later version"](bad)])
    assert len(push.sqs.parked) == 27
    push.sqs.put("what Lambda gave up, or somebody's own message")
    push.sqs.put(json.dumps({"reason": "", "run_id": str(uuid4()), "seq": 1, "topic": "t", "record": None}))

    kept = replay({}, Context())
    assert (kept["published"], kept["kept"], len(kept["reasons"])) == (0, 29, 20)
    push.faults.denied = frozenset()
    of_a_new_version = {receipt: json.loads(body) for receipt, body in push.sqs.messages.items() if bad_id in body}
    for receipt, body in of_a_new_version.items():
        # A function that knows the later version would do this with the record.
        push.sqs.messages[receipt] = json.dumps({**body, "record": bad})

    done = replay({}, Context())
    assert (done["published"], done["kept"]) == (27, 2)
    assert [push.sns.ids(topic, run) for run, topic in zip(runs, ("denied", "denied.fifo"), strict=True)] == [
        expected_ids(12)
    ] * 2
    assert push.sns.ids("denied", bad_id) == [CREATED]
    assert len(push.sqs.messages) == 2


def park(push: Push, run_id: str, seqs: Sequence[int], topic: str = "plain") -> None:
    for seq in seqs:
        push.sqs.put(json.dumps({"reason": "", "run_id": run_id, "seq": seq, "topic": topic, "record": None}))


class ReplayFunction(Stack):
    """The deployed function as the tool invokes it, with Lambda's timeout on the simulated clock."""

    def __init__(self, push: Push, timeout_s: float) -> None:
        self.durations_s: list[float] = []
        self._push = push
        self._timeout_s = timeout_s

    def invoke(self, output: str, payload: Json) -> Json:
        assert output == "ReplayParkedEventsName"
        clock = self._push.faults.clock
        started_s = clock.now_s
        answer: Json = json.loads(json.dumps(replay(payload, ClockContext(clock, self._timeout_s))))
        self.durations_s.append(clock.now_s - started_s)
        return answer


def test_a_replay_of_a_long_queue_tries_each_event_once_and_ends(api: Gateway, connect: Connect) -> None:
    """A call to SNS takes 9 s, so that one invocation has time for 24 of the 30 events."""
    run_id = play(api, "plain", 30)
    push = connect(Faults(denied=frozenset({"plain"}), call_s=9.0))
    park(push, run_id, range(30))
    function = ReplayFunction(push, timeout_s=900)
    with pytest.raises(Refused, match="0 published, 30 kept"):
        replay_all(function)
    assert push.sns.calls["publish_batch"] == 30
    assert len(function.durations_s) == 2
    assert max(function.durations_s) <= 240
    assert (len(push.sqs.messages), push.sqs.taken) == (30, set())

    push.faults.denied = frozenset()
    push.sns.accepted["plain"] = []
    assert replay_all(function) == 30
    assert sorted(push.sns.ids("plain", run_id), key=int) == expected_ids(30)[1:]
    assert push.sqs.messages == {}


def test_a_replay_without_time_for_one_event_does_not_go_on_for_ever(api: Gateway, push: Push) -> None:
    park(push, play(api, "plain", 2), range(2))
    with pytest.raises(Refused, match="no time"):
        replay_all(ReplayFunction(push, timeout_s=5))
    assert (len(push.sqs.messages), push.sqs.taken) == (2, set())


@pytest.mark.parametrize("refused", [False, True])
def test_a_replay_leaves_one_of_two_copies_of_an_event_at_most(api: Gateway, connect: Connect, refused: bool) -> None:
    run_id = play(api, "plain", 2)
    push = connect(Faults(denied=frozenset({"plain"} if refused else {})))
    push.sns.accepted["plain"] = []
    park(push, run_id, [0, 1] * 15)
    done = replay({}, Context())
    assert (done["published"], done["kept"], done["dropped"]) == ((0, 2, 28) if refused else (2, 0, 28))
    assert push.sns.calls["publish_batch"] == 2
    assert (len(push.sqs.messages), push.sqs.taken) == (2 if refused else 0, set())


def test_events_of_a_replay_are_visible_again_though_the_table_is_throttled(
    api: Gateway, push: Push, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = play(api, "plain", 12)
    park(push, run_id, range(12))

    def throttled(*_: object, **__: object) -> None:
        raise client_error("ThrottlingException", 400)

    monkeypatch.setattr(clients.dynamodb(), "batch_get_item", throttled)
    done = replay({}, Context())
    assert (done["published"], done["kept"], done["more"]) == (0, 12, False)
    assert {each["reason"] for each in done["reasons"]} == {"The table did not take the read"}
    assert (len(push.sqs.messages), push.sqs.taken) == (12, set())


@pytest.mark.parametrize("call", ["receive_message", "delete_message"])
def test_events_of_a_replay_are_visible_again_though_sqs_fails_midway(
    api: Gateway, connect: Connect, call: str
) -> None:
    """SNS refuses the first few events, so the replay holds them while it takes more."""
    refused, fine = play(api, "denied", 10), play(api, "plain", 10)
    push = connect(Faults(denied=frozenset({"denied"})))
    park(push, refused, range(10), "denied")
    park(push, fine, range(10))
    push.sns.accepted |= {"plain": [], "denied": []}
    publish_batch = push.sns.publish_batch

    def fail_midway(**arguments: Any) -> Json:
        if push.sns.calls["publish_batch"] == 14:
            push.sqs.failing.add(call)
        return publish_batch(**arguments)

    push.sns.publish_batch = fail_midway  # type: ignore[method-assign]
    if call == "receive_message":
        with pytest.raises(QueueUnavailable):
            replay({}, Context())
    else:
        assert replay({}, Context())["kept"] == 16
    assert push.sqs.taken == set()
    push.sqs.failing.clear()
    push.faults.denied = frozenset()
    assert replay({}, Context())["kept"] == 0
    assert set(push.sns.ids("plain", fine)) == set(push.sns.ids("denied", refused)) == set(expected_ids(10)[1:])


def test_a_redelivery_waits_a_second_for_an_item_that_is_not_visible_yet(api: Gateway, push: Push) -> None:
    run_id = play(api, "orders.fifo", 12)
    push.sns.accepted["orders.fifo"] = []
    with hidden(run_id, keys.event_sk(5)), hidden(run_id, keys.event_sk(8)):
        done = redeliver({"run_id": run_id, "from_seq": 0}, Context())
    assert (done["published"], done["refused"], done["next_seq"]) == (10, 2, None)
    assert [(each["seq"], each["reason"]) for each in done["reasons"]] == [
        (5, "The EVENT item is missing"), (8, "The EVENT item is missing"),
    ]  # fmt: skip
    assert len(push.faults.clock.pauses) > 3
    assert sum(push.faults.clock.pauses) == pytest.approx(1.0)


def test_a_redelivery_sends_an_item_that_becomes_visible_meanwhile_in_its_turn(
    api: Gateway, push: Push, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = play(api, "orders.fifo", 3)
    push.sns.accepted["orders.fifo"] = []
    torn = hidden(run_id, keys.event_sk(1))
    torn.__enter__()
    monkeypatch.setattr(push.faults.clock, "sleep", lambda _: torn.__exit__(None, None, None))
    assert redeliver({"run_id": run_id, "from_seq": 0}, Context())["published"] == 3
    assert push.sns.ids("orders.fifo", run_id) == ["0", "1", "2"]


def test_a_run_whose_head_this_code_does_not_know_is_not_redelivered(api: Gateway, push: Push) -> None:
    run_id = play(api, "plain", 1)
    stored_as(run_id, keys.HEAD, "schema", {"N": "2"})
    with pytest.raises(RunUnreadable, match="is of schema 2; this reader knows 1"):
        redeliver({"run_id": run_id, "from_seq": 0}, Context())
    park(push, run_id, [0])
    assert replay({}, Context())["kept"] == 1
    stored_as(run_id, keys.HEAD, "deleted_at", {"N": "1"})
    with pytest.raises(RunNotFound):
        redeliver({"run_id": run_id, "from_seq": 0}, Context())


def test_a_redelivery_ends_within_five_minutes_and_goes_on_where_it_stopped(api: Gateway, connect: Connect) -> None:
    run_id = play(api, "orders.fifo", 30)
    push = connect(Faults(call_s=9.0))
    push.sns.accepted["orders.fifo"] = []
    done = redeliver({"run_id": run_id, "from_seq": 0}, ClockContext(push.faults.clock, 900))
    assert push.faults.clock.now_s <= 240
    assert 0 < done["published"] == done["next_seq"] < 30
    redeliver({"run_id": run_id, "from_seq": done["next_seq"]}, ClockContext(push.faults.clock, 900))
    assert push.sns.ids("orders.fifo", run_id) == expected_ids(30)[1:]

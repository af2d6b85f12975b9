"""Tests push from a request over HTTP to a message in a queue."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import boto3
import pytest

from local.endpoint import published
from local.stack import ROOT, Endpoint
from local.subscriber import Json, Subscriber
from tests.e2e.api import Api

ARRIVAL_LIMIT_S = 30

Received = list[tuple[Json, dict[str, str]]]


def arrivals(subscriber: Subscriber, count: int) -> Received:
    """Receive the first messages, and any that come within a second after them."""
    received: Received = []
    deadline = time.monotonic() + ARRIVAL_LIMIT_S
    while len(received) < count and time.monotonic() < deadline:
        received += subscriber.receive(wait_s=1)
    return received + subscriber.receive(wait_s=1)


def play(api: Api, **fields: Any) -> str:
    """Play a run that fails once and completes at its second attempt: seven events."""
    run_id = api.new_run(retry_policy={"max_attempts": 2}, **fields)
    api.start(run_id)
    assert api.event(run_id, "FAILED", payload={"error_message": "no disk"}).status == 200
    assert api.event(run_id, "ASSIGNED", payload={"worker_id": "w-2"}).status == 200
    api.start(run_id)
    assert api.event(run_id, "PROGRESS", msg=50).status == 200
    assert api.event(run_id, "COMPLETED", payload={"outputs": {"n": 1}}).status == 200
    return run_id


@pytest.mark.parametrize("topic", ["orders", "orders.fifo"])
def test_every_event_of_a_run_is_pushed(api: Api, endpoint: Endpoint, topic: str) -> None:
    subscriber = Subscriber(endpoint, topic)
    run_id = play(api, event_delivery={"topic": topic, "attributes": {"team": "blue", "tier": 1.5, "urgent": True}})
    received = arrivals(subscriber, 8)
    if topic.endswith(".fifo"):
        assert [body["data"]["seq"] for body, _ in received] == [None, *range(7)]
    timeline = api.get(f"/runs/{run_id}/events?after_seq=-1").body["events"]
    by_id = {body["id"]: (body, attributes) for body, attributes in received}
    assert set(by_id) == {f"{run_id}/created", *(f"{run_id}/{event['seq']}" for event in timeline)}
    states = ["RUNNING", "PENDING", "PENDING", "ASSIGNED", "RUNNING", "RUNNING", "COMPLETED"]
    for event, state in zip(timeline, states, strict=True):
        body, attributes = by_id[f"{run_id}/{event['seq']}"]
        assert body == {
            "specversion": "1.0",
            "id": f"{run_id}/{event['seq']}",
            "source": f"/runs/{run_id}",
            "type": f"gyoza.run.{event['type'].lower()}",
            "subject": run_id,
            "time": event["t"],
            "datacontenttype": "application/json",
            "data": {
                **event,
                "run_id": run_id,
                "state": state,
                "image": "busybox:1",
                "op_definition": None,
                "op_version": None,
                "op_revision": None,
                **({"will_retry": True} if event["type"] == "FAILED" else {}),
            },
        }
        assert attributes == {
            "run_id": run_id,
            "type": event["type"],
            "state": state,
            "attempt": str(event["attempt"]),
            "seq": str(event["seq"]),
            "team": "blue",
            "tier": "1.5",
            "urgent": "true",
        }


def test_a_creation_is_pushed_without_an_entry_in_the_timeline(api: Api, endpoint: Endpoint) -> None:
    subscriber = Subscriber(endpoint, "creations")
    run_id = api.new_run(event_delivery={"topic": "creations"})
    [(body, attributes)] = arrivals(subscriber, 1)
    created_at = api.get(f"/runs/{run_id}").body["created_at"]
    assert (body["id"], body["type"], body["time"]) == (f"{run_id}/created", "gyoza.run.created", created_at)
    assert body["data"] == {
        "run_id": run_id,
        "attempt": 1,
        "seq": None,
        "id": None,
        "type": "CREATED",
        "msg": "",
        "payload": {},
        "t": created_at,
        "state": "PENDING",
        "image": "busybox:1",
        "op_definition": None,
        "op_version": None,
        "op_revision": None,
    }
    assert attributes == {"run_id": run_id, "type": "CREATED", "state": "PENDING", "attempt": "1"}


def test_a_filter_policy_sees_type_and_state(api: Api, endpoint: Endpoint) -> None:
    ends = Subscriber(endpoint, "filtered", {"type": ["FAILED", "COMPLETED"]})
    running = Subscriber(endpoint, "filtered", {"state": ["RUNNING"], "team": ["blue"]})
    run_id = play(api, event_delivery={"topic": "filtered", "attributes": {"team": "blue"}})
    assert {body["id"] for body, _ in arrivals(ends, 2)} == {f"{run_id}/1", f"{run_id}/6"}
    assert {body["id"] for body, _ in arrivals(running, 3)} == {f"{run_id}/{seq}" for seq in (0, 4, 5)}


def test_a_run_without_event_delivery_is_not_pushed_and_a_patch_neither(api: Api, endpoint: Endpoint) -> None:
    subscriber = Subscriber(endpoint, "quiet")
    play(api)
    run_id = api.new_run(event_delivery={"topic": "quiet"})
    assert api.patch(f"/runs/{run_id}", {"priority": 9}).status == 200
    assert api.post(f"/runs/{run_id}/cancel").status == 200
    assert [body["id"] for body, _ in arrivals(subscriber, 2)] == [f"{run_id}/created", f"{run_id}/0"]


def test_a_topic_nobody_made_is_made_at_first_use(api: Api, endpoint: Endpoint) -> None:
    session: Any = boto3.Session("test", "test", region_name=endpoint.region)
    sns = session.client("sns", endpoint_url=endpoint.aws_endpoint_url)
    api.new_run(event_delivery={"topic": "first-use.fifo"})
    deadline = time.monotonic() + ARRIVAL_LIMIT_S
    while time.monotonic() < deadline:
        arns = {topic["TopicArn"].rpartition(":")[2]: topic["TopicArn"] for topic in sns.list_topics()["Topics"]}
        if f"{endpoint.stack}_first-use.fifo" in arns:
            break
        time.sleep(0.2)
    attributes = sns.get_topic_attributes(TopicArn=arns[f"{endpoint.stack}_first-use.fifo"])["Attributes"]
    assert (attributes["FifoTopic"], attributes["ContentBasedDeduplication"]) == ("true", "false")


def test_a_run_is_delivered_again_by_an_operators_command(api: Api, endpoint: Endpoint, tmp_path: Path) -> None:
    subscriber = Subscriber(endpoint, "again")
    run_id = play(api, event_delivery={"topic": "again"})
    assert len(arrivals(subscriber, 8)) == 8
    command = ["redeliver", "--run", run_id, "--from-seq", "5"]
    assert run_tool(command, endpoint, tmp_path) == (0, "2 published\n", "")
    assert {body["id"] for body, _ in arrivals(subscriber, 2)} == {f"{run_id}/5", f"{run_id}/6"}
    unknown = ["redeliver", "--run", "nothing", "--from-seq", "0"]
    assert run_tool(unknown, endpoint, tmp_path) == (1, "", "OpRun 'nothing' not found\n")


def test_an_event_that_sns_refuses_is_parked_and_replayed_once_sns_takes_it(
    api: Api, endpoint: Endpoint, tmp_path: Path
) -> None:
    session: Any = boto3.Session("test", "test", region_name=endpoint.region)
    sns = session.client("sns", endpoint_url=endpoint.aws_endpoint_url)
    sqs = session.client("sqs", endpoint_url=endpoint.aws_endpoint_url)
    cloudformation = session.client("cloudformation", endpoint_url=endpoint.aws_endpoint_url)
    [stack] = cloudformation.describe_stacks(StackName=endpoint.stack)["Stacks"]
    [queue_url] = [each["OutputValue"] for each in stack["Outputs"] if each["OutputKey"] == "ParkedEventsUrl"]
    subscriber = Subscriber(endpoint, "closed")
    topic_arn = sns.create_topic(Name=f"{endpoint.stack}_closed")["TopicArn"]
    policy = sns.get_topic_attributes(TopicArn=topic_arn)["Attributes"]["Policy"]
    closed = {"Effect": "Deny", "Principal": "*", "Action": "sns:Publish", "Resource": topic_arn}
    sns.set_topic_attributes(
        TopicArn=topic_arn,
        AttributeName="Policy",
        AttributeValue=json.dumps({"Version": "2012-10-17", "Statement": [closed]}),
    )

    run_id = api.new_run(event_delivery={"topic": "closed"})
    deadline = time.monotonic() + ARRIVAL_LIMIT_S
    while _waiting(sqs, queue_url) == 0 and time.monotonic() < deadline:
        time.sleep(0.2)
    exit_code, said, why = run_tool(["replay"], endpoint, tmp_path)
    assert (exit_code, said) == (1, "")
    assert why.startswith("0 published, 1 kept: \n  run " + run_id)

    sns.set_topic_attributes(TopicArn=topic_arn, AttributeName="Policy", AttributeValue=policy)
    assert run_tool(["replay"], endpoint, tmp_path) == (0, "1 published\n", "")
    assert [body["id"] for body, _ in arrivals(subscriber, 1)] == [f"{run_id}/created"]
    assert _waiting(sqs, queue_url) == 0


def run_tool(arguments: list[str], endpoint: Endpoint, folder: Path) -> tuple[int, str, str]:
    """Run an operator's tool on the stack under test. Returns its exit code, output and errors."""
    (folder / "1").mkdir(exist_ok=True)
    with published(endpoint, folder / "1"):
        ended = subprocess.run(
            [sys.executable, "-m", "tools.push", *arguments, "--config-env", "local", "--stacks", str(folder)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    return ended.returncode, ended.stdout, ended.stderr


def _waiting(sqs: Any, queue_url: str) -> int:
    name = "ApproximateNumberOfMessages"
    return int(sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=[name])["Attributes"][name])

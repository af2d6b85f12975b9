"""Tests that every function works on a stack that refuses all actions outside its policy."""

import boto3
import pytest
from botocore.exceptions import ClientError

from local.stack import Endpoint
from tests.e2e.api import Api


def test_the_stack_under_test_refuses_what_no_policy_allows(endpoint: Endpoint) -> None:
    root = boto3.Session("test", "test", region_name=endpoint.region)
    iam = root.client("iam", endpoint_url=endpoint.aws_endpoint_url)
    iam.create_user(UserName="nobody")
    key = iam.create_access_key(UserName="nobody")["AccessKey"]
    nobody = boto3.Session(key["AccessKeyId"], key["SecretAccessKey"], region_name=endpoint.region)
    dynamodb = nobody.client("dynamodb", endpoint_url=endpoint.aws_endpoint_url)
    with pytest.raises(ClientError) as refusal:
        dynamodb.get_item(TableName=endpoint.table, Key={"pk": {"S": "x"}, "sk": {"S": "x"}})
    assert refusal.value.response["Error"]["Code"] == "AccessDeniedException"


def test_the_roles_let_a_run_go_from_creation_to_completion(api: Api) -> None:
    run_id = api.new_run(inputs={"n": 1})
    assert api.event(run_id, "ASSIGNED", payload={"worker_id": "w-1"}).status == 200
    api.start(run_id)
    assert api.event(run_id, "PROGRESS", msg=50).status == 200
    assert api.event(run_id, "COMPLETED", payload={"outputs": {"m": 2}}).status == 200

    run = api.get(f"/runs/{run_id}")
    assert (run.status, run.body["state"], run.body["outputs"]) == (200, "COMPLETED", {"m": 2})
    assert [event["type"] for event in run.body["events"]] == ["ASSIGNED", "STARTED", "PROGRESS", "COMPLETED"]

    events = api.get(f"/runs/{run_id}/events?after=1")
    assert (events.status, [event["id"] for event in events.body["events"]]) == (200, [2, 3])


def test_a_run_fails_is_retried_and_cancelled(api: Api) -> None:
    run_id = api.new_run(retry_policy={"max_attempts": 2})
    api.start(run_id)
    failed = api.event(run_id, "FAILED", payload={"error_message": "out of memory"})
    assert (failed.status, failed.body["state"], failed.body["current_attempt"]) == (200, "PENDING", 2)

    cancelled = api.post(f"/runs/{run_id}/cancel")
    assert (cancelled.status, cancelled.body["state"]) == (200, "CANCELLED")
    retried = api.post(f"/runs/{run_id}/retry")
    assert (retried.status, retried.body["state"], retried.body["current_attempt"]) == (200, "PENDING", 3)

    attempts = api.get(f"/runs/{run_id}/attempts")
    assert attempts.status == 200
    assert [attempt["state"] for attempt in attempts.body] == ["FAILED", "CANCELLED", "PENDING"]
    assert api.get(f"/runs/{run_id}/events?attempt=1").status == 200


def test_every_post_is_repeated_by_its_key(api: Api) -> None:
    created = [api.post("/runs", {"image": "once:1"}, **{"Idempotency-Key": "policies"}) for _ in range(2)]
    assert [(answer.status, answer.headers["Idempotent-Replayed"]) for answer in created] == [
        (201, None),
        (201, "true"),
    ]
    assert created[0].body == created[1].body
    run_id = created[0].body["id"]
    for path, body in [("events", {"type": "INFO"}), ("cancel", None), ("retry", None)]:
        answers = [api.post(f"/runs/{run_id}/{path}", body, **{"Idempotency-Key": "k"}) for _ in range(2)]
        assert [(a.status, a.headers["Idempotent-Replayed"]) for a in answers] == [(200, None), (200, "true")]
    assert [event["type"] for event in api.get(f"/runs/{run_id}/events?after_seq=-1").body["events"]] == [
        "INFO",
        "CANCELLED",
        "RETRIED",
    ]


def test_the_roles_let_an_operator_edit_a_run(api: Api) -> None:
    run_id = api.new_run()
    api.start(run_id)
    edited = api.patch(f"/runs/{run_id}", {"outputs": {"m": 1}, "priority": 9, "state": "COMPLETED"})
    assert (edited.status, edited.body["outputs"], edited.body["priority"]) == (200, {"m": 1}, 9)
    assert api.patch(f"/runs/{run_id}", {"priority": 1}).body["outputs"] == {"m": 1}
    assert api.get(f"/runs/{run_id}").body["state"] == "COMPLETED"


@pytest.mark.parametrize(
    "query",
    [
        "",
        "state=RUNNING",
        "image=list-me:1",
        "op_definition=none",
        "created[gte]=1",
        "state=RUNNING&image=list-me:1&expand[]=events",
    ],
)
def test_runs_are_listed_by_every_index(api: Api, query: str) -> None:
    run_id = api.new_run(image="list-me:1", inputs={"text": "x" * 2000})
    api.start(run_id)
    first = api.get(f"/runs?limit=1&{query}")
    assert first.status == 200
    expected = [] if "op_definition" in query else [run_id]
    assert [row["id"] for row in first.body["data"]] == expected
    assert api.get(f"/runs?starting_after={run_id}&{query}").status == 200
    assert api.get(f"/runs?ending_before={run_id}&{query}").status == 200

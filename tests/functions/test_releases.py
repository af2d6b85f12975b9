"""Tests two releases on one table: each keeps the other's attributes and answers 503 for items it cannot read."""

import os
from collections.abc import Callable
from typing import Any

import boto3
import pytest

from gyoza_domain.dynamodb import keys
from testing.gateway import Answer, Gateway
from tests.functions.conftest import Stored
from tests.functions.expected import assert_refused

NEWER = {"S": "a newer release wrote this"}

COMMANDS: dict[str, list[Callable[[Gateway, str], Any]]] = {
    "assigned, started": [
        lambda api, run_id: api.event(run_id, "ASSIGNED", payload={"worker_id": "a"}),
        lambda api, run_id: api.start(run_id),
    ],
    "completed": [
        lambda api, run_id: api.start(run_id),
        lambda api, run_id: api.event(run_id, "COMPLETED", payload={"outputs": {"a": 1}}),
    ],
    "patched, then completed": [
        lambda api, run_id: api.start(run_id),
        lambda api, run_id: api.patch(f"/runs/{run_id}", {"outputs": {"b": 1}}),
        lambda api, run_id: api.event(run_id, "COMPLETED", payload={"outputs": {"a": 1}}),
    ],
    "patched, then failed and retried": [
        lambda api, run_id: api.start(run_id),
        lambda api, run_id: api.patch(f"/runs/{run_id}", {"outputs": {"b": 1}}),
        lambda api, run_id: api.event(run_id, "FAILED", payload={"error_message": "no"}),
    ],
    "given back": [
        lambda api, run_id: api.event(run_id, "ASSIGNED", payload={"worker_id": "a"}),
        lambda api, run_id: api.event(run_id, "RETRIED"),
    ],
    "cancelled, retried": [
        lambda api, run_id: api.start(run_id),
        lambda api, run_id: api.post(f"/runs/{run_id}/cancel"),
        lambda api, run_id: api.post(f"/runs/{run_id}/retry"),
    ],
    "reopened": [
        lambda api, run_id: api.start(run_id),
        lambda api, run_id: api.event(run_id, "COMPLETED", payload={"outputs": {"a": 1}}),
        lambda api, run_id: api.patch(f"/runs/{run_id}", {"state": "RUNNING", "priority": 9}),
    ],
}


@pytest.mark.parametrize("minimal", [False, True])
@pytest.mark.parametrize("commands", COMMANDS.values(), ids=COMMANDS)
def test_an_attribute_of_a_newer_release_stays_through_every_command(
    api: Gateway, commands: list[Callable[[Gateway, str], Any]], minimal: bool
) -> None:
    run_id = api.create(inputs={"text": "x" * 2_000}, retry_policy={"max_attempts": 3})["id"]
    client = MinimalGateway() if minimal else api
    for number, command in enumerate(commands):
        for sk in items_of(run_id):
            change(run_id, sk, f"newer_{number}", NEWER)
        before = count_of_marks(run_id)
        assert command(client, run_id).status == 200
        assert count_of_marks(run_id) == before


class MinimalGateway(Gateway):
    """Asks for the minimal answer with every request."""

    def call(self, method: str, path: str, body: Any = None, **options: Any) -> Answer:
        return super().call(method, path, body, **(options | {"headers": {"Prefer": "return=minimal"}}))


def test_a_state_of_a_newer_release_is_left_out_of_lists_and_503_elsewhere(
    api: Gateway, stored: Stored, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id, other = api.create()["id"], api.create()["id"]
    change(run_id, keys.HEAD, "state", {"S": "PAUSED"})
    before = stored()
    for query in ({}, {"expand[]": "events"}, {"fields": "summary"}):
        assert [row["id"] for row in api.get("/runs", **query).json["data"]] == [other]
    assert "UnreadableRuns" in capsys.readouterr().out
    for answer in every_request(api, run_id):
        assert_refused(answer, 503, "unavailable", run_id)
    assert stored() == before


@pytest.mark.parametrize(
    ("name", "value"),
    [("schema", {"N": "2"}), ("state", {"S": "PAUSED"}), ("version", {"S": "?"}), ("deleted_at", {"N": "1"})],
)
def test_a_run_that_only_a_newer_release_can_read_is_still_a_cursor(
    api: Gateway, name: str, value: dict[str, str]
) -> None:
    oldest, cursor, newest = (api.create()["id"] for _ in range(3))
    change(cursor, keys.HEAD, name, value)
    for query, rows in (({"starting_after": cursor}, [oldest]), ({"ending_before": cursor}, [newest])):
        assert [row["id"] for row in api.get("/runs", **query).json["data"]] == rows


@pytest.mark.parametrize("sk", [keys.HEAD, keys.CLAIM, keys.SPEC])
def test_an_item_of_a_newer_schema_is_503_before_anything_is_written(api: Gateway, stored: Stored, sk: str) -> None:
    run_id = api.create()["id"]
    api.start(run_id)
    change(run_id, sk, "schema", {"N": "2"})
    before = stored()
    assert_refused(api.get(f"/runs/{run_id}"), 503, "unavailable", run_id)
    assert_refused(api.event(run_id, "INFO"), 503, "unavailable", run_id)
    assert stored() == before


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "k"}], ids=["no key", "a key"])
@pytest.mark.parametrize(
    "event",
    [
        {"type": "COMPLETED"},
        {"type": "COMPLETED", "payload": {"outputs": {"a": 1}}},
        {"type": "FAILED", "payload": {"error_message": "no"}},
    ],
    ids=["completed", "completed with outputs", "failed"],
)
def test_an_end_of_a_run_whose_patched_outputs_are_of_a_newer_schema_is_503_and_writes_nothing(
    api: Gateway, stored: Stored, event: dict[str, Any], headers: dict[str, str]
) -> None:
    run_id = api.create()["id"]
    api.start(run_id)
    api.patch(f"/runs/{run_id}", {"outputs": {"b": 1}})
    change(run_id, keys.OUTPUTS, "schema", {"N": "2"})
    before = stored()
    for prefer in ({}, {"Prefer": "return=minimal"}):
        answer = api.call("POST", f"/runs/{run_id}/events", event, headers=headers | prefer)
        assert_refused(answer, 503, "unavailable", run_id)
    assert stored() == before


def test_an_event_of_a_type_of_a_newer_release_is_503_before_a_whole_answer_is_written(
    api: Gateway, stored: Stored
) -> None:
    run_id = api.create()["id"]
    api.start(run_id)
    change(run_id, keys.event_sk(0), "type", {"S": "PAUSED"})
    before = stored()
    assert_refused(api.event(run_id, "COMPLETED"), 503, "unavailable", run_id)
    assert_refused(api.get(f"/runs/{run_id}/events"), 503, "unavailable", run_id)
    assert_refused(api.get(f"/runs/{run_id}/attempts"), 503, "unavailable", run_id)
    assert stored() == before


def test_a_run_that_is_being_deleted_is_not_found_and_not_listed(api: Gateway, stored: Stored) -> None:
    run_id = api.create()["id"]
    change(run_id, keys.HEAD, "deleted_at", {"N": "1"})
    before = stored()
    assert api.get("/runs").json["data"] == []
    for answer in every_request(api, run_id):
        assert_refused(answer, 404, "run_not_found", run_id)
    assert stored() == before


def every_request(api: Gateway, run_id: str) -> list[Answer]:
    return [
        api.get(f"/runs/{run_id}"),
        api.get(f"/runs/{run_id}/events"),
        api.get(f"/runs/{run_id}/events", after_seq=-1),
        api.get(f"/runs/{run_id}/events", attempt=1),
        api.get(f"/runs/{run_id}/attempts"),
        api.start(run_id),
        api.event(run_id, "INFO", minimal=True),
        api.call("POST", f"/runs/{run_id}/events", {"type": "INFO"}, headers={"Idempotency-Key": "k"}),
        api.post(f"/runs/{run_id}/cancel"),
        api.post(f"/runs/{run_id}/retry"),
        api.patch(f"/runs/{run_id}", {"priority": 1}),
        api.patch(f"/runs/{run_id}", {}),
    ]


def items_of(run_id: str) -> dict[str, dict[str, Any]]:
    """The run's items by sort key."""
    client, table = boto3.client("dynamodb"), os.environ["GYOZA_TABLE"]
    found = client.query(
        TableName=table,
        KeyConditionExpression="pk = :pk",
        ExpressionAttributeValues={":pk": {"S": keys.run_pk(run_id)}},
        ConsistentRead=True,
    )
    return {item["sk"]["S"]: dict(item) for item in found["Items"]}


def change(run_id: str, sk: str, name: str, value: dict[str, Any]) -> None:
    boto3.client("dynamodb").update_item(
        TableName=os.environ["GYOZA_TABLE"],
        Key={"pk": {"S": keys.run_pk(run_id)}, "sk": {"S": sk}},
        UpdateExpression="SET #name = :value",
        ExpressionAttributeNames={"#name": name},
        ExpressionAttributeValues={":value": value},
    )


def count_of_marks(run_id: str) -> int:
    """The number of attributes that a newer release wrote, over all items of the run."""
    return sum(value == NEWER for item in items_of(run_id).values() for value in item.values())

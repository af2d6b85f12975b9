"""Tests requests through a custom domain, whose base path API Gateway puts before the resource's path."""

from typing import Any

import pytest

from testing.gateway import FUNCTION_OF_ROUTE, Gateway
from tests.functions.conftest import Stored

BASE_PATHS = ["", "/base", "/a/b", "/runs", "/runs/6f1c2a54-9d1b-4c55-8a39-2f0f5c7be911"]
BODIES: dict[str, Any] = {
    "create_run": {"image": "busybox:1"},
    "add_event": {"type": "INFO"},
    "update_run": {},
    "heartbeat_run": {"attempt": 1, "worker_id": "w"},
    "claim_run": {"worker_id": "w"},
    "put_definition": {"version": "2", "image": "busybox:1"},
    "create_definition": {"name": "e", "version": "1", "image": "busybox:1"},
}
STATUSES = {
    **dict.fromkeys(["create_run", "create_run_from_definition", "create_definition", "put_definition"], 201),
    "delete_definition": 204,
}
"""The status of success of each function that does not answer 200."""


@pytest.mark.parametrize("base_path", BASE_PATHS)
@pytest.mark.parametrize(("method", "resource"), FUNCTION_OF_ROUTE)
def test_a_route_answers_below_any_base_path(api: Gateway, method: str, resource: str, base_path: str) -> None:
    run_id = api.create()["id"]
    api.event(run_id, "ASSIGNED", payload={"worker_id": "w", "lease_s": 60})
    api.create()
    api.put("/definitions/d", {"version": "1", "image": "busybox:1"})
    function = FUNCTION_OF_ROUTE[method, resource]
    answer = api.call(method, resource.format(id=run_id, name="d"), BODIES.get(function), base_path=base_path)
    assert answer.status == STATUSES.get(function, 200), answer.text


def test_a_repeat_by_another_base_path_is_a_repeat(api: Gateway, stored: Stored) -> None:
    run_id = api.create()["id"]
    for path, body in (
        ("/runs", {"image": "busybox:1"}),
        (f"/runs/{run_id}/events", {"type": "ASSIGNED"}),
        (f"/runs/{run_id}/retry", None),
        (f"/runs/{run_id}/cancel", None),
        ("/runs/claim", {"worker_id": "w"}),
    ):
        first = api.call("POST", path, body, headers={"Idempotency-Key": "key"}, base_path="/base")
        assert "Idempotent-Replayed" not in first.headers
        before = stored()
        repeat = api.call("POST", path, body, headers={"Idempotency-Key": "key"})
        assert (repeat.status, repeat.json["id"]) == (first.status, first.json["id"])
        assert repeat.headers["Idempotent-Replayed"] == "true"
        assert stored() == before


def test_one_key_on_two_runs_is_no_repeat(api: Gateway) -> None:
    for run_id in (api.create()["id"], api.create()["id"]):
        answer = api.call("POST", f"/runs/{run_id}/cancel", headers={"Idempotency-Key": "key"}, base_path="/base")
        assert (answer.status, answer.json["id"]) == (200, run_id)
        assert "Idempotent-Replayed" not in answer.headers

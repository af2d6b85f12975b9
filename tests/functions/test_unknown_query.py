"""Tests that a route refuses an unknown query parameter, because a misspelt filter must not list everything."""

from typing import Any

import pytest

from testing.gateway import FUNCTION_OF_ROUTE, Answer, Gateway
from tests.functions.conftest import Stored
from tests.functions.expected import assert_does_not_fit

RUNS = (
    "limit, starting_after, ending_before, state, status, op_definition, image, "
    "created[gte], created[gt], created[lte], created[lt], expand[], fields"
)
KNOWN = {
    "list_runs": f"knows {RUNS}",
    "list_events": "knows after, after_seq, attempt, limit",
    "list_attempts": "knows limit, after",
    "list_definitions": "knows limit, starting_after, ending_before",
    "get_definition": "knows version",
    "list_definition_versions": "knows limit, starting_after",
}
BODIES: dict[str, Any] = {
    "create_run": {"image": "busybox:1"},
    "add_event": {"type": "INFO"},
    "update_run": {},
    "claim_run": {"worker_id": "w"},
    "heartbeat_run": {"attempt": 1, "worker_id": "w"},
    "put_definition": {"version": "1", "image": "busybox:1"},
    "create_definition": {"name": "d", "version": "1", "image": "busybox:1"},
}

every_route = pytest.mark.parametrize(("method", "resource"), FUNCTION_OF_ROUTE)


def call(api: Gateway, method: str, resource: str, run_id: str, query: dict[str, Any]) -> Answer:
    body = BODIES.get(FUNCTION_OF_ROUTE[method, resource])
    return api.call(method, resource.format(id=run_id, name="d"), body, query=query)


@every_route
@pytest.mark.parametrize("name", ["sate", "State", "created", "created[gte", "expand", "limit ", "", "x" * 300])
def test_an_unknown_parameter_is_refused_and_those_known_are_named(
    api: Gateway, stored: Stored, method: str, resource: str, name: str
) -> None:
    run_id = api.create()["id"]
    before = stored()
    answer = call(api, method, resource, run_id, {name: "1"})
    assert_does_not_fit(answer, "query", name if len(name) <= 200 else f"{name[:199]}…")
    known = KNOWN.get(FUNCTION_OF_ROUTE[method, resource], "takes none")
    [detail] = answer.json["detail"]
    assert detail["msg"] == f"Unknown query parameter; this route {known}"
    assert stored() == before


@every_route
def test_a_query_without_parameters_is_none(api: Gateway, method: str, resource: str) -> None:
    run_id = api.create()["id"]
    api.event(run_id, "ASSIGNED", payload={"worker_id": "w", "lease_s": 60})
    api.put("/definitions/d", {"version": "1", "image": "busybox:1"})
    assert call(api, method, resource, run_id, {}).status in {200, 201, 204}


def test_each_unknown_parameter_is_named(api: Gateway) -> None:
    answer = api.get("/runs", limit=1, sate="PENDING", Image="busybox:1")
    assert [detail["loc"] for detail in answer.json["detail"]] == [["query", "sate"], ["query", "Image"]]


def test_an_unknown_parameter_is_refused_before_the_run_is_looked_for(api: Gateway) -> None:
    for run_id in ("6f1c2a54-9d1b-4c55-8a39-2f0f5c7be911", "no run"):
        assert_does_not_fit(api.get(f"/runs/{run_id}", limit=1), "query", "limit")


@pytest.mark.parametrize("value", ["2026-03-02", "2026-03-02T20:00:00Z", "1772481602.5", "yesterday", ""])
@pytest.mark.parametrize("name", ["created[gte]", "created[gt]", "created[lte]", "created[lt]"])
def test_a_bound_of_creation_that_is_no_integer_asks_for_unix_seconds(api: Gateway, name: str, value: str) -> None:
    answer = api.get("/runs", **{name: value})
    assert_does_not_fit(answer, "query", name)
    assert answer.json["detail"][0]["msg"] == "Input should be an integer, in UNIX seconds"

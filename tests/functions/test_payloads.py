"""Tests the payloads in events/, which API Gateway would send and `sam local invoke` takes."""

import json
from base64 import b64decode
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from gyoza_domain.bootstrap import api
from testing.gateway import FUNCTION_OF_ROUTE, Gateway
from tests.functions.expected import at, summary

EVENTS = Path(__file__).resolve().parents[2] / "events"
PAYLOADS = sorted(
    path.stem for path in EVENTS.glob("*.json") if path.stem.partition(".")[0] in FUNCTION_OF_ROUTE.values()
)
RUN_ID = "6f1c2a54-9d1b-4c55-8a39-2f0f5c7be911"

FIELDS = {
    *("resource", "path", "httpMethod", "headers", "multiValueHeaders", "queryStringParameters"),
    *("multiValueQueryStringParameters", "pathParameters", "stageVariables", "requestContext", "body"),
    "isBase64Encoded",
}
CONTEXT_FIELDS = {
    *("resourceId", "resourcePath", "httpMethod", "extendedRequestId", "requestTime", "path", "accountId", "protocol"),
    *("stage", "domainPrefix", "requestTimeEpoch", "requestId", "identity", "domainName", "deploymentId", "apiId"),
}
"""The members of the REST API's Lambda proxy event, payload version 1.0."""


def payload(name: str) -> dict[str, Any]:
    event: dict[str, Any] = json.loads((EVENTS / f"{name}.json").read_text())
    return event


def invoke(name: str, **changes: Any) -> tuple[int, Any]:
    """Invoke the function of the payload. Returns the status and the body of its answer."""
    function = import_module(f"functions.{name.partition('.')[0]}.app")
    answer = function.lambda_handler(payload(name) | changes, None)
    return answer["statusCode"], json.loads(answer["body"] or "null")


def test_every_function_has_a_payload() -> None:
    assert {name.partition(".")[0] for name in PAYLOADS} == set(FUNCTION_OF_ROUTE.values())


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_payload_is_whole_and_of_its_function_s_route(name: str) -> None:
    event = payload(name)
    context = event["requestContext"]
    assert (set(event), set(context)) == (FIELDS, CONTEXT_FIELDS)
    assert FUNCTION_OF_ROUTE[event["httpMethod"], event["resource"]] == name.partition(".")[0]
    assert event["path"] == event["resource"].format(**event["pathParameters"] or {})
    assert (context["resourcePath"], context["path"]) == (event["resource"], f"/live{event['path']}")
    assert event["headers"] == {header: values[-1] for header, values in event["multiValueHeaders"].items()}
    many, one = event["multiValueQueryStringParameters"], event["queryStringParameters"]
    assert one == (many and {parameter: values[-1] for parameter, values in many.items()})


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_payload_s_body_is_json_in_the_encoding_it_names(name: str) -> None:
    event = payload(name)
    if event["body"] is None:
        assert not event["isBase64Encoded"]
    else:
        body = json.loads(b64decode(event["body"], validate=True) if event["isBase64Encoded"] else event["body"])
        assert isinstance(body, dict)


@pytest.fixture
def _one_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives the next run the id that the payloads name."""
    monkeypatch.setattr(api.RandomIds, "new_run_id", lambda _: RUN_ID)


@pytest.mark.usefixtures("api", "_one_id")
def test_played_in_order_the_payloads_are_the_life_of_a_run() -> None:
    story = [
        ("create_run.every_field", 201, "PENDING"),
        ("get_run.by_id", 200, "PENDING"),
        ("add_event.assigned", 200, "ASSIGNED"),
        ("add_event.started", 200, "RUNNING"),
        ("add_event.progress_minimal", 200, "RUNNING"),
        ("add_event.completed", 200, "COMPLETED"),
        ("update_run.priority", 200, "COMPLETED"),
        ("update_run.back_to_running", 200, "RUNNING"),
        ("cancel_run.no_body", 200, "CANCELLED"),
        ("retry_run.no_body", 200, "PENDING"),
    ]
    told = [(name, *invoke(name)) for name, _, _ in story]
    assert [(name, status, body["state"]) for name, status, body in told] == story
    assert told[4][2] == {
        "id": RUN_ID,
        "state": "RUNNING",
        "current_attempt": 1,
        "event_count": 3,
        "last_seq": 2,
        "lease_s": None,
        "lease_until": None,
        "cancel_by": None,
        "updated_at": at(4),
    }

    (_, listed), (_, filtered) = invoke("list_runs.first_page"), invoke("list_runs.pending_since")
    assert [row["id"] for row in listed["data"]] == [row["id"] for row in filtered["data"]] == [RUN_ID]
    (_, page), (_, rest) = invoke("list_events.from_the_start"), invoke("list_events.after_the_first")
    assert ([event["type"] for event in page["events"]], rest["events"]) == (["RETRIED"], [])
    (_, attempts), (_, first) = invoke("list_attempts.all"), invoke("list_attempts.one_a_page")
    assert attempts[:1] == first
    assert [(attempt["state"], attempt["outputs"]) for attempt in attempts] == [("CANCELLED", {}), ("PENDING", {})]
    assert attempts[0]["execution_summary"] == summary(worker_id="worker-7", gpu_id=0, duration_ms=2_000)


@pytest.mark.usefixtures("api", "_one_id")
def test_played_in_order_the_payloads_are_the_work_of_a_worker_that_is_asked_to_stop() -> None:
    invoke("create_run.every_field")
    status, claimed = invoke("claim_run.with_a_key")
    assert (status, claimed["id"], claimed["state"], claimed["lease_s"]) == (200, RUN_ID, "RUNNING", 60)
    assert invoke("claim_run.with_a_key") == (200, claimed)
    status, beat = invoke("heartbeat_run.alive")
    assert (status, beat["lease_s"], beat["cancel_by"]) == (200, 60, None)
    status, asked = invoke("cancel_run.ask")
    assert (status, asked["state"], asked["events"][-1]["msg"]) == (200, "RUNNING", "Cancel requested")
    assert invoke("heartbeat_run.alive")[1]["cancel_by"] == asked["cancel_by"]


@pytest.mark.usefixtures("api")
def test_played_in_order_the_payloads_are_the_life_of_a_definition() -> None:
    status, made = invoke("put_definition.new_version")
    assert (status, made["name"], made["version"], made["revision"]) == (201, "thumbnails", "1.4.0", 1)
    assert invoke("put_definition.new_version") == (200, made)
    assert [invoke("create_definition.with_a_key")[0] for _ in range(2)] == [201, 201]
    assert invoke("get_definition.latest") == invoke("get_definition.by_version") == (200, made)
    (_, names), (_, versions) = invoke("list_definitions.first_page"), invoke("list_definition_versions.all")
    assert ([row["name"] for row in names["data"]], names["has_more"]) == (["nightly"], True)
    assert [row["version"] for row in versions["data"]] == ["1.4.0"]
    status, run = invoke("create_run_from_definition.inputs")
    assert (status, run["op_version"], run["inputs"]["widths"]) == (201, "1.4.0", [320, 640])
    status, refusal = invoke("create_run_from_definition.wrong_inputs")
    assert (status, [fault["type"] for fault in refusal["detail"]]) == (
        400,
        ["missing", "wrong_type", "extra_forbidden"],
    )
    assert invoke("delete_definition.by_name") == (204, None)
    assert invoke("get_definition.latest")[0] == 404
    assert invoke("create_run_from_definition.inputs") == (201, run)


def test_a_claim_takes_a_run_of_the_default_queue(api: Gateway) -> None:
    run_id = api.create()["id"]
    status, claimed = invoke("claim_run.worker_only")
    assert (status, claimed["id"], claimed["state"]) == (200, run_id, "ASSIGNED")


def test_a_body_with_only_an_image_creates_a_run(api: Gateway) -> None:
    status, run = invoke("create_run.image_only")
    assert (status, run["image"]) == (201, "registry.example/thumbnails:1.4.2")
    assert api.get(f"/runs/{run['id']}").json == run


def test_a_body_without_an_image_creates_no_run(api: Gateway) -> None:
    status, refusal = invoke("create_run.without_image")
    assert (status, refusal["detail"][0]["loc"]) == (422, ["body", "image"])
    assert refusal["request_id"] == payload("create_run.without_image")["requestContext"]["requestId"]
    assert api.get("/runs").json["data"] == []


@pytest.mark.parametrize("end", ["#", "#SPEC", "\0", '"', "%00", " "])
def test_an_id_that_the_gateway_has_decoded_in_the_path_names_no_run_either(api: Gateway, end: str) -> None:
    run_id = api.create()["id"] + end
    status, refusal = invoke("get_run.by_id", path=f"/runs/{run_id}", pathParameters={"id": run_id})
    assert (status, refusal["code"]) == (404, "run_not_found")
    assert refusal["detail"] == f"OpRun '{run_id}' not found"

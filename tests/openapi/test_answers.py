"""Checks requests and answers of the handlers against docs/openapi.yaml, for every route, status and code."""

import json
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

import pytest

from gyoza_domain.bootstrap.api import store
from gyoza_domain.domain.errors import DefinitionBusy, GyozaError, RunBusy, StorageUnavailable
from gyoza_domain.domain.run import Removal, State
from gyoza_domain.domain.transitions import ALLOWED_IN
from gyoza_domain.http.bodies import MAX_DOCUMENT_BYTES
from gyoza_domain.runs.ports import Extent
from testing.cloudformation import load_template, resources_of_type
from testing.gateway import FUNCTION_OF_ROUTE, Answer, Gateway, Query
from tests.support.openapi import (
    Operation,
    assert_described,
    codes_of,
    examples_of,
    load_document,
    operation,
    operations,
    resolved,
)

OF_THE_GATEWAY = {
    json.loads(answer["ResponseTemplates"]["application/json"])["code"]
    for answer in resources_of_type(load_template(), "AWS::Serverless::Api")["RunApi"]["GatewayResponses"].values()
} - {"too_large"}
"""Codes that no handler answers with."""

OF_THE_STORE: dict[str, GyozaError] = {
    "definition_busy": DefinitionBusy("thumbnails"),
    "run_busy": RunBusy("6f1c2a54"),
    "unavailable": StorageUnavailable(),
}
"""Codes that need a busy table."""

every_operation = pytest.mark.parametrize("operation", operations(), ids=lambda each: each.name)


class Tour:
    """Sends requests, compares each answer with the document, and remembers the codes."""

    def __init__(self, api: Gateway) -> None:
        self.api = api
        self.met: set[tuple[str, int, str]] = set()

    def __call__(
        self, method: str, path: str, body: Any = None, *, run_id: str = "", name: str = "thumbnails", **options: Any
    ) -> Answer:
        """Send a request and compare the answer. ``path`` is the template of the route."""
        answer = self.api.call(method, path.format(id=run_id, name=name), body, **options)
        assert_described(method, path, answer.status, answer.headers, answer.json if answer.text else None)
        code = answer.json["code"] if answer.status >= 400 else ""
        self.met.add((operation(method, path).name, answer.status, code))
        return answer

    def define(self, version: str = "1.4.0", **fields: Any) -> None:
        body = {"version": version, "image": "busybox:1"} | fields
        assert self("PUT", "/definitions/{name}", body).status in {200, 201}

    def create(self, *events: dict[str, Any], **fields: Any) -> str:
        run_id: str = self("POST", "/runs", {"image": "busybox:1"} | fields).json["id"]
        for event in events:
            assert self("POST", "/runs/{id}/events", event, run_id=run_id).status == 200
        return run_id


@pytest.fixture
def tour(api: Gateway) -> Tour:
    return Tour(api)


START = {"type": "STARTED", "payload": {"worker_id": "w", "gpu_id": 1}}
COMPLETE = {"type": "COMPLETED", "payload": {"outputs": {"answer": 42}}}
FAIL = {"type": "FAILED", "payload": {"error_message": "disk full"}}
INTO: dict[State, list[dict[str, Any]]] = {
    State.PENDING: [],
    State.ASSIGNED: [{"type": "ASSIGNED"}],
    State.RUNNING: [START],
    State.FAILED: [START, FAIL],
    State.COMPLETED: [START, COMPLETE],
    State.CANCELLED: [{"type": "CANCELLED"}],
}
MINIMAL = {"Prefer": "return=minimal"}
LEASED_START = {"type": "STARTED", "payload": {"worker_id": "w", "lease_s": 60}}
BEAT = {"attempt": 1, "worker_id": "w"}
CLAIM = {"worker_id": "w"}
ASK = {"mode": "ask", "grace_s": 30}


def tomorrow() -> str:
    return (datetime.now(UTC) + timedelta(days=1)).isoformat()


def test_runs_in_every_state_are_described_wherever_they_are_shown(tour: Tour) -> None:
    delivery = {"topic": "t", "attributes": {"text": "x", "number": 0.5, "flag": False}}
    for state, events in INTO.items():
        run_id = tour.create(*events, constraints={"cpu": 1}, event_delivery=delivery)
        assert tour("GET", "/runs/{id}", run_id=run_id).json["state"] == state
        tour("GET", "/runs/{id}/events", run_id=run_id)
        tour("GET", "/runs/{id}/attempts", run_id=run_id)
        assert tour("PATCH", "/runs/{id}", {"outputs": {"a": 1}, "priority": 0}, run_id=run_id).status == 200
        for other in State:
            assert tour("PATCH", "/runs/{id}", {"state": other}, run_id=run_id).status == 200
    queries: list[Query] = [
        {},
        {"expand[]": "events"},
        {"fields": "summary"},
        {"limit": 1},
        {"state": "RUNNING"},
        {"image": "", "created[gt]": 0},
    ]
    for query in queries:
        assert tour("GET", "/runs", query=query).status == 200
    for after in ({}, {"attempt": 1}, {"after_seq": -1}):
        assert tour("GET", "/runs/{id}/events", run_id=run_id, query=after | {"limit": 1}).status == 200


def test_an_answer_to_a_repeat_and_a_minimal_one_are_described(tour: Tour) -> None:
    run_id = tour.create(retry_policy={"max_attempts": 3})
    requests: list[tuple[str, Any]] = [
        ("/runs", {"image": "i"}),
        ("/runs/{id}/events", START),
        ("/runs/{id}/retry", {}),
    ]
    extras: list[dict[str, str]] = [{}, MINIMAL]
    for path, body in requests:
        for extra in extras:
            answers = [
                tour("POST", path, body, run_id=run_id, headers={"Idempotency-Key": "k"} | extra) for _ in range(2)
            ]
            assert answers[1].headers["Idempotent-Replayed"] == "true"
            assert ("Preference-Applied" in answers[1].headers) is (extra == MINIMAL)
    tour("PATCH", "/runs/{id}", {"priority": 1}, run_id=run_id, headers=MINIMAL)
    tour("POST", "/runs/{id}/cancel", run_id=run_id, headers=MINIMAL | {"Idempotency-Key": "k"})


def test_a_page_with_more_behind_it_is_described(tour: Tour) -> None:
    run_id = tour.create(START, FAIL, retry_policy={"max_attempts": 2})
    tour.create()
    assert tour("GET", "/runs", query={"limit": 1}).json["has_more"] is True
    assert tour("GET", "/runs/{id}/attempts", run_id=run_id, query={"limit": 1}).headers["Link"]
    assert tour("GET", "/runs/{id}/events", run_id=run_id, query={"after_seq": 1}).json["events"]


def test_answers_to_a_worker_with_a_lease_are_described(tour: Tour) -> None:
    assert tour("POST", "/runs/claim", CLAIM).status == 204
    waiting = {"queue_ttl_s": 3_600, "start_at": tomorrow(), "retain_s": 60}
    later = tour.create(**waiting, retry_policy={"backoff_s": 0.5, "max_lost": 1})
    assert tour("GET", "/runs/{id}", run_id=later).json["not_before"]
    run_id = tour.create(attempt_timeout_s=60)
    for extra in ({}, MINIMAL):
        answers = [tour("POST", "/runs/claim", CLAIM, headers={"Idempotency-Key": "k"} | extra) for _ in range(2)]
        assert [answer.json["lease_until"] for answer in answers] == [answers[0].json["lease_until"]] * 2
    assert tour("POST", "/runs/{id}/heartbeat", BEAT, run_id=run_id).json["cancel_by"] is None
    assert tour("POST", "/runs/{id}/events", START | {"attempt": 1}, run_id=run_id).status == 200
    for extra in ({}, MINIMAL):
        assert tour("POST", "/runs/{id}/cancel", ASK, run_id=run_id, headers=extra).json["cancel_by"]
    assert tour("POST", "/runs/{id}/heartbeat", BEAT, run_id=run_id).json["cancel_by"]
    for query in ({}, {"expand[]": "events"}, {"fields": "summary"}):
        assert tour("GET", "/runs", query=query).status == 200
    interrupted = FAIL | {"attempt": 1, "payload": {"reason": "interrupted"}}
    assert tour("POST", "/runs/{id}/events", interrupted, run_id=run_id).json["cancel"]["outcome"] == "acknowledged"
    assert tour("GET", "/runs/{id}/attempts", run_id=run_id).json[0]["assigned_at"]
    assert tour("GET", "/runs/{id}", run_id=run_id).json["execution_summary"]["reason"] == "interrupted"


def test_definitions_and_their_runs_are_described_wherever_they_are_shown(tour: Tour) -> None:
    specs: dict[str, Any] = {
        type_: {"type": type_, "default": value, "description": "x"}
        for type_, value in (("string", "x"), ("int", 1), ("float", 0.5), ("bool", True), ("object", {}), ("array", []))
    } | {"none": {"type": "string"}}
    delivery = {"topic": "t", "attributes": {"text": "x", "number": 0.5, "flag": False}}
    named = {"name": "thumbnails", "version": "1.4.0", "image": "i"}
    for headers in ({}, {"Idempotency-Key": "k"}, {"Idempotency-Key": "k"}):
        assert tour("POST", "/definitions", named, headers=headers).status in {200, 201}
    for _ in range(2):
        tour.define(input_specs=specs, event_delivery=delivery, retry_policy={"backoff_s": 1})
        tour.define(version="2")
    assert tour("GET", "/definitions/{name}", query={"version": "1.4.0"}).json["input_specs"].keys() == specs.keys()
    for query in ({}, {"limit": 1}, {"starting_after": "2"}):
        assert tour("GET", "/definitions/{name}/versions", query=query).status == 200
    for query in ({}, {"starting_after": "thumbnails"}, {"ending_before": "thumbnails"}):
        assert tour("GET", "/definitions", query=query).status == 200
    body: dict[str, Any] = {"version": "1.4.0", "inputs": {"none": "x"}}
    for headers in ({}, MINIMAL, {"Idempotency-Key": "k"}, {"Idempotency-Key": "k"}):
        run = tour("POST", "/definitions/{name}/runs", body, headers=headers).json
    assert tour("GET", "/runs/{id}", run_id=run["id"]).json["op_revision"] == 2
    for query in ({}, {"fields": "summary"}, {"expand[]": "events"}, {"op_definition": "thumbnails"}):
        assert tour("GET", "/runs", query=query).status == 200
    assert tour("DELETE", "/definitions/{name}").status == 204
    assert tour("GET", "/definitions/{name}", query={"version": "2"}).json["deleted_at"]


LARGE = {"a": "x" * MAX_DOCUMENT_BYTES}
LARGE_DEFINITION = {"version": "1", "image": "i", "input_specs": {"a": {"type": "string", "description": "x" * 66_000}}}
NOBODY = "6f1c2a54-9d1b-4c55-8a39-2f0f5c7be911"

Refused = tuple[str, str, Any, Query]
REFUSED: dict[str, list[Refused]] = {
    "new": [
        *[
            ("GET", "/runs", None, query)
            for query in ({"state": "DONE"}, {"state": "FAILED", "status": "RUNNING"}, {"ending_before": NOBODY})
        ],
        *[("GET", "/runs", None, query) for query in ({"limit": 0}, {"fields": "all"})],
        ("GET", "/runs", None, {"fields": "summary", "expand[]": "events"}),
        ("GET", "/runs/{id}/events", None, {"attempt": 2}),
        ("GET", "/runs/{id}/events", None, {"after": 0, "after_seq": 0}),
        ("GET", "/runs/{id}/events", None, {"after": "x"}),
        ("GET", "/runs/{id}/attempts", None, {"limit": 101}),
        *[("POST", "/runs", body, {}) for body in ({}, {"image": "i", "inputs": LARGE})],
        *[("PATCH", "/runs/{id}", body, {}) for body in ({"state": "DONE"}, {"outputs": LARGE}, {"image": "i"})],
        *[
            ("POST", "/runs/{id}/events", body, {})
            for body in (
                {"type": "PROGRESS", "msg": 1},
                {"type": "INFO", "attempt": 2},
                {"type": "INFO", "payload": LARGE},
                {"type": "NOTHING"},
            )
        ],
        ("POST", "/runs/{id}/retry", None, {}),
        *[("POST", f"/runs/{{id}}/{command}", {"a": 1}, {}) for command in ("retry", "cancel")],
        ("POST", "/runs/{id}/heartbeat", BEAT, {}),
        ("POST", "/runs/{id}/heartbeat", {}, {}),
        ("POST", "/runs/{id}/heartbeat", BEAT | {"attempt": 2}, {}),
        ("POST", "/runs/claim", {}, {}),
        ("GET", "/definitions", None, {"ending_before": "nothing"}),
        ("GET", "/definitions", None, {"limit": 0}),
        ("GET", "/definitions/{name}/versions", None, {"starting_after": "9"}),
        ("GET", "/definitions/{name}/versions", None, {"limit": 101}),
        ("PUT", "/definitions/{name}", LARGE_DEFINITION, {}),
        ("POST", "/definitions", LARGE_DEFINITION | {"name": "d"}, {}),
        ("PUT", "/definitions/{name}", {}, {}),
        ("POST", "/definitions/{name}/runs", {"inputs": {"b": 1}}, {}),
        ("POST", "/definitions/{name}/runs", {"a": 1}, {}),
        ("POST", "/definitions/{name}/runs", {"inputs": LARGE}, {}),
    ],
    "later": [("POST", "/runs/{id}/events", START, {})],
    "leased": [
        ("POST", "/runs/{id}/events", {"type": "PROGRESS", "msg": 1}, {}),
        ("POST", "/runs/{id}/events", START | {"attempt": 1, "payload": {"worker_id": "other"}}, {}),
        ("POST", "/runs/{id}/heartbeat", BEAT | {"worker_id": "other"}, {}),
    ],
    "done": [
        ("POST", "/runs/{id}/heartbeat", BEAT, {}),
        ("POST", "/runs/{id}/events", {"type": "INFO"}, {}),
        ("POST", "/runs/{id}/retry", None, {}),
        ("POST", "/runs/{id}/cancel", None, {}),
    ],
    "failed": [("POST", "/runs/{id}/events", {"type": "RETRIED"}, {})],
}
"""Requests that a run which is new, delayed, assigned with a lease, completed or failed refuses."""

TWO_BODIES: dict[str, tuple[Any, Any]] = {
    "createRun": ({"image": "i"}, {"image": "j"}),
    "addEvent": ({"type": "INFO"}, {"type": "ERROR"}),
    "retryRun": ({}, b"null"),
    "cancelRun": ({}, b"null"),
    "claimRun": (CLAIM, CLAIM | {"lease_s": 60}),
    "createDefinition": (
        {"name": "d", "version": "1", "image": "i"},
        {"name": "d", "version": "1", "image": "j"},
    ),
    "createRunFromDefinition": ({"inputs": {"a": "x"}}, {"inputs": {"a": "y"}}),
}

PUT: dict[str, Any] = {"version": "1.4.0", "image": "busybox:1", "input_specs": {"a": {"type": "string"}}}
BODIES: dict[str, Any] = {"heartbeatRun": BEAT, "putDefinition": PUT}
"""The bodies of the routes that take no key and no empty body."""


def test_every_refusal_that_is_described_comes_and_comes_as_it_is_described(
    tour: Tour, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = {
        "new": tour.create(),
        "later": tour.create(start_at=tomorrow()),
        "leased": tour.create({"type": "ASSIGNED", "payload": {"worker_id": "w", "lease_s": 60}}),
        "done": tour.create(START, COMPLETE),
        "failed": tour.create(START, FAIL),
    }
    tour.define(**PUT)
    for name, refused in REFUSED.items():
        for method, path, body, query in refused:
            assert tour(method, path, body, run_id=runs[name], query=query).status >= 400, (method, path, body, query)
    for each in operations():
        plain = None if each.method in {"GET", "DELETE"} else BODIES.get(each.name, {})
        body, another = TWO_BODIES.get(each.name, (plain, None))
        unknown = tour(each.method, each.path, body, run_id=runs["new"], query={"colour": "blue"})
        assert [misfit["loc"] for misfit in unknown.json["detail"]] == [["query", "colour"]]
        assert [name for name in each.query() if name not in unknown.text] == []
        if "{id}" in each.path:
            assert tour(each.method, each.path, body, run_id=NOBODY).status == 404
        if "{name}" in each.path and each.method != "PUT":
            assert tour(each.method, each.path, body, name="nothing").status == 404
        for code in codes_of_operation(each) & OF_THE_STORE.keys():
            with monkeypatch.context() as patch:
                refuse_in(patch, each, OF_THE_STORE[code])
                assert tour(each.method, each.path, body, run_id=runs["new"]).json["code"] == code
        if another is not None:
            run_id = tour.create({"type": "ASSIGNED"})
            statuses = [
                tour(each.method, each.path, one, run_id=run_id, headers={"Idempotency-Key": "reused"}).status
                for one in (body, another)
            ]
            assert statuses in ([200, 422], [201, 422])

    stale = {"If-Match": '"stale"'}
    for method, path, body in (
        ("PUT", "/definitions/{name}", PUT),
        ("POST", "/definitions", PUT | {"name": "thumbnails"}),
    ):
        tour.define(image="other")
        assert tour(method, path, body, headers=stale).status == 412
    meet_what_became_of_a_key_s_run(tour)
    expected = {(each.name, code) for each in operations() for code in codes_of_operation(each) - OF_THE_GATEWAY}
    # Only the gateway measures a request whose body holds no document.
    expected -= {(name, "too_large") for name in ("retryRun", "cancelRun", "heartbeatRun", "claimRun")}
    assert {(name, code) for name, _, code in tour.met if code} == expected


def meet_what_became_of_a_key_s_run(tour: Tour) -> None:
    """Repeats of keys whose run vanished by retention, or is at another attempt."""
    headers = {"Idempotency-Key": "of a run that goes"}
    creation = {"image": "i", "queue": "short", "retain_s": 0}
    claim = CLAIM | {"queues": ["short"], "start": True}
    run_id = tour("POST", "/runs", creation, headers=headers).json["id"]
    assert tour("POST", "/runs/claim", claim, headers=headers).json["id"] == run_id
    assert tour("POST", "/runs/{id}/retry", run_id=run_id).status == 200
    assert tour("POST", "/runs/claim", claim, headers=headers).status == 409
    assert tour("POST", "/runs/{id}/cancel", run_id=run_id).status == 200
    store().remove(Removal(store().load(run_id, Extent.SMALL).run))
    assert tour("POST", "/runs", creation, headers=headers).status == 410
    tour.define()
    run_id = tour("POST", "/definitions/{name}/runs", {}, headers=headers).json["id"]
    store().remove(Removal(store().load(run_id, Extent.SMALL).run))
    assert tour("POST", "/definitions/{name}/runs", {}, headers=headers).status == 410
    assert tour("POST", "/runs/claim", claim, headers=headers).status == 410


def codes_of_operation(each: Operation) -> set[str]:
    return set().union(*(codes_of(answer) for status, answer in each.answers.items() if status[0] in "45"))


def refuse_in(patch: pytest.MonkeyPatch, each: Operation, error: GyozaError) -> None:
    class Refusing:
        def __getattr__(self, _name: str) -> Callable[..., Any]:
            def refuse(*_args: Any, **_options: Any) -> Any:
                raise error

            return refuse

    handler = import_module(f"functions.{FUNCTION_OF_ROUTE[each.method, each.path]}.app")
    is_of_runs = error.args == OF_THE_STORE["run_busy"].args
    parts = (
        ["store", "reader", "lists"] if is_of_runs else ["store", "reader", "lists", "definitions", "definition_lists"]
    )
    for part in parts:
        if hasattr(handler, part):
            patch.setattr(handler, part, Refusing)


@every_operation
def test_every_example_of_a_request_is_taken(tour: Tour, operation: Operation) -> None:
    headers = {each["name"]: each["example"] for each in operation.parameters if each["in"] == "header"}
    # One refuses a version that is new, the other one that is not.
    headers = {name: value for name, value in headers.items() if not name.startswith("If-")}
    for name, body in examples_of(operation.body or {}).items():
        keyed = headers | ({"Idempotency-Key": name} if "Idempotency-Key" in headers else {})
        for each in (headers, keyed) if "{id}" in operation.path else (keyed,):
            run_id = run_for_example(tour, operation, body)
            answer = tour(operation.method, operation.path, body, run_id=run_id, headers=each)
            assert answer.status in (200, 201), (name, answer.text)


def run_for_example(tour: Tour, operation: Operation, body: Any) -> str:
    """The id of a run that takes the example of a request."""
    if operation.name == "createRunFromDefinition":
        specs = {"source": {"type": "string", "required": bool(body)}, "widths": {"type": "array", "default": []}}
        tour.define(input_specs=specs | {"quality": {"type": "float", "required": False}})
    if operation.name in {"createRun", "putDefinition", "createDefinition", "createRunFromDefinition"}:
        return ""
    if operation.name == "claimRun":
        return tour.create()
    if operation.name == "heartbeatRun":
        return tour.create(LEASED_START | {"payload": {"worker_id": body["worker_id"], "lease_s": 60}})
    allowed = ALLOWED_IN[body["type"]] if operation.name == "addEvent" else {State.ASSIGNED}
    return tour.create(*INTO[next(each for each in INTO if each in allowed)])


def test_every_example_of_a_query_is_taken(tour: Tour) -> None:
    for each in operations():
        for parameter in each.parameters:
            values = [parameter[name] for name in ("example",) if name in parameter]
            values += resolved(parameter["schema"]).get("examples", [])
            if parameter["in"] == "query" and parameter["schema"].get("$ref") != "#/components/schemas/RunId":
                tour.define()
                for value in values:
                    assert tour(each.method, each.path, query={parameter["name"]: value}).status == 200


def test_a_link_leads_to_an_answer(tour: Tour) -> None:
    links = load_document()["components"]["links"]
    by_name = {each.name: each for each in operations()}
    for link in links.values():
        run = tour("POST", "/runs", {"image": "i"}).json
        tour.create()
        [(name, expression)] = link["parameters"].items()
        member = expression.removeprefix("$response.body#/")
        source = run if member == "id" else tour("GET", "/runs", query={"limit": 1}).json
        target = by_name[link["operationId"]]
        body = {"addEvent": {"type": "INFO"}, "updateRun": {}, "heartbeatRun": BEAT}.get(target.name)
        is_path = name == "id"
        answer = tour(
            target.method,
            target.path,
            body,
            run_id=source[member] if is_path else "",
            query={} if is_path else {name: source[member]},
        )
        # A run that waits takes neither.
        assert answer.status == (400 if target.name in {"retryRun", "heartbeatRun"} else 200), link


@pytest.mark.parametrize("where", [[], ["constraints"], ["events", 0]], ids=["run", "constraints", "event"])
def test_an_answer_with_a_field_too_many_would_be_noticed(where: list[Any]) -> None:
    run = deepcopy(load_document()["components"]["examples"]["RunCompleted"]["value"])
    headers = {"Content-Type": "application/json"}
    assert_described("GET", "/runs/{id}", 200, headers, run)
    node = run
    for name in where:
        node = node[name]
    node["secret"] = 1
    with pytest.raises(AssertionError):
        assert_described("GET", "/runs/{id}", 200, headers, run)

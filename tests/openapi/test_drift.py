"""Compares docs/openapi.yaml with the template and the code: routes, codes, names and limits."""

import ast
import json
import re
import tomllib
from collections.abc import Iterator
from copy import deepcopy
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEvent
from pydantic import BaseModel, ValidationError

from functions.list_attempts.app import MAX_LIMIT as MAX_ATTEMPTS_LISTED
from gyoza_domain.domain import errors
from gyoza_domain.domain.definition import MAX_INPUTS_BYTES, InputType
from gyoza_domain.domain.errors import DefinitionNotFound, RunNotFound
from gyoza_domain.domain.run import Event, EventType, JsonText, State
from gyoza_domain.http import bodies, cancel_body, definition_bodies, definitions, request, runs_query
from gyoza_domain.http.errors import STATUS_AND_CODE, RequestError
from gyoza_domain.publishing.messages import Subject, creation_message, event_message
from gyoza_domain.runs import views
from testing.cloudformation import ROOT, load_template, resources_of_type
from testing.gateway import FUNCTION_OF_ROUTE, Gateway, proxy_event
from tests.support.openapi import (
    Node,
    Operation,
    codes_of,
    examples_of,
    load_document,
    media_of,
    operation,
    operations,
    resolved,
    schemas,
    validator,
)

TEMPLATE = load_template()
RUN_ID = "6f1c2a54-9d1b-4c55-8a39-2f0f5c7be911"

every_operation = pytest.mark.parametrize("operation", operations(), ids=lambda each: each.name)


# --- routes


def test_every_route_of_the_template_is_described_and_no_other() -> None:
    routes = {
        (event["Properties"]["Method"], event["Properties"]["Path"]): function["CodeUri"]
        for function in resources_of_type(TEMPLATE, "AWS::Serverless::Function").values()
        for event in function.get("Events", {}).values()
        if event["Type"] == "Api"
    }
    assert {(each.method, each.path): f"functions/{_snake_case(each.name)}" for each in operations()} == routes


def test_the_document_has_the_version_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert load_document()["info"]["version"] == project["version"]


def test_the_address_is_the_stack_s_output_and_its_stage() -> None:
    [server] = load_document()["servers"]
    url = TEMPLATE["Outputs"]["ApiUrl"]["Value"]["Fn::Sub"]
    named = {"${RunApi}": "{api_id}", "${AWS::Region}": "{region}", "${AWS::URLSuffix}": "amazonaws.com"}
    for intrinsic, variable in named.items():
        url = url.replace(intrinsic, variable)
    assert server["url"] == url


# --- errors


def _codes_of_requests() -> Iterator[tuple[int, str]]:
    """The status and the code of each ``RequestError(...)`` in the code."""
    for file in [*(ROOT / "layers").rglob("*.py"), *(ROOT / "functions").rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == RequestError.__name__:
                status, code = (ast.literal_eval(argument) for argument in node.args[:2])
                yield status, code


def _gateway_answers() -> Iterator[tuple[str, str, str]]:
    """The status (or a range of statuses), the code and the text of each answer that the gateway gives by itself."""
    answers = resources_of_type(TEMPLATE, "AWS::Serverless::Api")["RunApi"]["GatewayResponses"]
    for name, answer in answers.items():
        body = json.loads(answer["ResponseTemplates"]["application/json"])
        yield str(answer.get("StatusCode") or name.removeprefix("DEFAULT_")), body["code"], body["detail"]


def test_every_code_stands_under_the_status_it_comes_with_and_no_other_does() -> None:
    described = {
        (status, code)
        for each in operations()
        for status, answer in each.answers.items()
        if status[0] != "2"
        for code in codes_of(answer)
    }
    raised = {(str(status), code) for status, code in [*STATUS_AND_CODE.values(), *_codes_of_requests()]}
    assert described == raised | {(status, code) for status, code, _ in _gateway_answers()}
    assert {code for _, code in described} == set(schemas()["ErrorCode"]["enum"])


def test_a_gateway_s_answer_is_shown_in_its_own_words() -> None:
    shown = {
        (example["code"], example["detail"])
        for each in operations()
        for status, answer in each.answers.items()
        if status[0] != "2"
        for example in examples_of(media_of(answer)).values()
        if isinstance(example["detail"], str)
    }
    answered = {(code, detail) for _, code, detail in _gateway_answers()}
    assert answered - shown == {("too_large", "The request is too large")}, "shown by what a function says instead"


def test_an_error_is_shown_in_the_words_of_the_code() -> None:
    texts = {
        "RunNotFound": errors.RunNotFound(RUN_ID),
        "RunLocked": errors.RunLocked(State.COMPLETED, EventType.CANCELLED),
        "InvalidTransition": errors.InvalidTransition(State.PENDING, EventType.RETRIED),
        "RetryBudgetSpent": errors.RetryBudgetSpent(State.FAILED, 3),
        "InvalidState": errors.InvalidState("DONE"),
        "StaleAttempt": errors.StaleAttempt(1, 2),
        "RunBusy": errors.RunBusy(RUN_ID),
        "Unavailable": errors.StorageUnavailable(),
    }
    examples = load_document()["components"]["examples"]
    assert {name: examples[f"Error{name}"]["value"]["detail"] for name in texts} == {
        name: str(error) for name, error in texts.items()
    }
    [misfit] = examples["ErrorIdempotencyKeyReused"]["value"]["detail"]
    assert misfit["msg"] == str(errors.IdempotencyKeyReused())


# --- names


def test_states_and_types_of_events_are_those_of_the_domain() -> None:
    types = list(EventType)
    assert schemas()["State"]["enum"] == list(State)
    assert schemas()["EventType"]["enum"] == types
    assert schemas()["RunEventData"]["properties"]["type"]["enum"] == ["CREATED", *types]
    assert schemas()["RunEventMessage"]["properties"]["type"]["enum"] == [
        f"gyoza.run.{type_.lower()}" for type_ in ["CREATED", *types]
    ]


def test_the_table_of_events_names_each_of_them() -> None:
    description = operation("POST", "/runs/{id}/events").node["description"]
    rows = re.findall(r"^\| (`[^|]*`) \|", description, re.MULTILINE)
    assert re.findall("[A-Z]+", " ".join(rows)) == list(EventType)


# --- request bodies

BODIES: dict[str, type[BaseModel]] = {
    "CreateRunRequest": bodies.CreateRunBody,
    "ConstraintsRequest": bodies.ConstraintsBody,
    "RetryPolicyRequest": bodies.RetryPolicyBody,
    "EventDeliveryRequest": bodies.EventDeliveryBody,
    "UpdateRunRequest": bodies.UpdateRunBody,
    "HeartbeatRequest": bodies.HeartbeatBody,
    "ClaimRequest": bodies.ClaimBody,
    "CapacityRequest": bodies.CapacityBody,
    "PutDefinitionRequest": definition_bodies.PutDefinitionBody,
    "CreateDefinitionRequest": definition_bodies.CreateDefinitionBody,
    "InputSpecRequest": definition_bodies.InputSpecBody,
    "RunFromDefinitionRequest": definition_bodies.RunFromDefinitionBody,
}
EVENTS = {f"{type_.capitalize()}Event": type_ for type_ in EventType}

LIMITS = ("minimum", "maximum", "minLength", "maxLength", "exclusiveMinimum", "exclusiveMaximum")


def limits_of(schema: Node) -> Node:
    """The limits of a value, without the alternative null."""
    branches = [resolved(branch) for branch in schema.get("anyOf", [schema])]
    return {name: branch[name] for branch in map(resolved, branches) for name in LIMITS if name in branch}


def read_by(model: type[BaseModel]) -> tuple[dict[str, Node], set[str]]:
    """The limits of a model's fields, and the names of its required fields."""
    schema = model.model_json_schema()
    fields = {name: limits_of({"anyOf": _branches(field)}) for name, field in schema.get("properties", {}).items()}
    return fields, set(schema.get("required", []))


def _branches(field: Node) -> list[Node]:
    return [branch for branch in field.get("anyOf", [field]) if "$ref" not in branch]


def described_as(schema: Node) -> tuple[dict[str, Node], set[str]]:
    fields = {name: limits_of(resolved(field)) for name, field in schema["properties"].items()}
    return fields, set(schema.get("required", []))


@pytest.mark.parametrize("name", BODIES)
def test_a_body_has_the_fields_and_limits_that_are_read(name: str) -> None:
    assert described_as(schemas()[name]) == read_by(BODIES[name])


@pytest.mark.parametrize("name", BODIES)
def test_a_default_is_the_one_that_is_taken(name: str) -> None:
    fields = BODIES[name].model_fields
    for field, schema in schemas()[name]["properties"].items():
        default = fields[field].get_default(call_default_factory=True)
        if "default" in resolved(schema):
            assert default == resolved(schema)["default"]
        elif isinstance(default, list):
            assert f"Absent or null is the queue `{default[0]}` alone." in schema["description"]
        elif default == {}:
            assert "Absent or null is `{}`." in schema["description"]


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_has_the_fields_that_are_read_and_its_payload_too(name: str) -> None:
    schema, type_ = schemas()[name], EVENTS[name]
    assert schema["properties"].keys() == bodies.AddEventBody.model_fields.keys()
    payload = resolved(schema["properties"]["payload"])
    read, required = read_by(bodies._PAYLOADS.get(type_, bodies._Payload))
    described, needed = described_as({"properties": {}} | payload)
    if type_ is EventType.FAILED:
        assert described["error_message"].pop("maxLength") == bodies.MAX_ERROR_MESSAGE_BYTES
    assert (described, needed) == (read, required)


def test_progress_is_within_the_limits_that_are_read() -> None:
    assert limits_of(schemas()["ProgressEvent"]["properties"]["msg"]) == read_by(bodies._ProgressBody)[0]["msg"]
    assert limits_of(schemas()["Progress"]) == read_by(bodies._ProgressBody)[0]["msg"]


def test_msg_and_error_message_have_the_limits_that_are_read() -> None:
    assert schemas()["PostedMsg"]["maxLength"] == bodies.MAX_MSG_BYTES
    assert schemas()["PostedMsg"]["default"] == bodies.AddEventBody.model_fields["msg"].default
    assert schemas()["ExecutionSummary"]["properties"]["error_message"]["maxLength"] == bodies.MAX_ERROR_MESSAGE_BYTES


def test_topics_and_attributes_have_the_limits_that_are_read() -> None:
    attributes = schemas()["Attributes"]
    text, number, _ = attributes["additionalProperties"]["anyOf"]
    assert schemas()["Topic"]["pattern"] == f"^{bodies._TOPIC.pattern}$"
    assert attributes["maxProperties"] == bodies._MAX_ATTRIBUTES
    assert text["maxLength"] == bodies._MAX_ATTRIBUTE_CHARACTERS
    assert (-number["exclusiveMinimum"], number["exclusiveMaximum"]) == (bodies._MAX_ATTRIBUTE_NUMBER,) * 2
    reserved = attributes["propertyNames"]["not"]["anyOf"][1]["enum"]
    assert sorted(reserved) == sorted(bodies.RESERVED_ATTRIBUTES)


def test_sizes_in_bytes_are_told_as_they_are_measured() -> None:
    document, payload = (f"{size // 1024} KiB" for size in (bodies.MAX_DOCUMENT_BYTES, bodies.MAX_PAYLOAD_BYTES))
    assert document in load_document()["components"]["responses"]["TooLarge"]["description"]
    assert payload in load_document()["components"]["responses"]["TooLarge"]["description"]
    assert bodies.MAX_DOCUMENT_BYTES == MAX_INPUTS_BYTES
    definition = f"{definition_bodies.MAX_DEFINITION_BYTES // 1024} KiB"
    assert definition in load_document()["components"]["responses"]["TooLarge"]["description"]
    for name in ("PutDefinitionRequest", "CreateDefinitionRequest"):
        assert definition in schemas()[name]["description"]
    for name, field in [
        ("CreateRunRequest", "inputs"),
        ("UpdateRunRequest", "outputs"),
        ("RunFromDefinitionRequest", "inputs"),
    ]:
        assert document in schemas()[name]["properties"][field]["description"]
    for name in EVENTS:
        assert payload in resolved(schemas()[name]["properties"]["payload"])["description"]


def varied(base: Node, where: str, *values: Any) -> list[Node]:
    """The base with each of the values, one after the other, at a place such as ``constraints/cpu``."""
    *path, last = where.split("/")
    variants = []
    for value in values:
        body = node = deepcopy(base)
        for name in path:
            node = node.setdefault(name, {})
        node[last] = value
        variants.append(body)
    return variants


IMAGE = {"image": "i"}
QUEUES = ("q", "A-b_9", "x" * 64, "x" * 65, "", "a b", "ä", "a\n", None, 1)
STARTS = (
    *("2026-03-02T20:00:01Z", "2026-03-02t20:00:01z", "2026-03-02T20:00:01.042+02:00", "0001-01-01T00:00:00Z", None),
    *("2026-03-02T20:00:01.123456789-23:59", "2026-03-02", "2026-03-02T20:00:01", "2026-03-02 20:00:01Z", "", 1, True),
    *("2026-03-02T20:00:01+24:00", "2026-03-02T20:00:01+02", "2026-13-02T20:00:01Z", "2026-03-32T20:00:01Z"),
    *("2026-03-02T24:00:01Z", "2026-03-02T20:60:01Z", "2026-03-02T20:00:60Z", "2026-03-02T20:00:01.Z", "now\n"),
)
DELIVERY = IMAGE | {"event_delivery": {"topic": "t"}}
TOPICS = ("t", "A-b_9.fifo", "", ".fifo", "t.other", "t.fifo.fifo", "x" * 120, "x" * 121, "ä", "t\n", None, 1)
ATTRIBUTE_NAMES = (
    *("a", "a.b-c_D", "x" * 100, "x" * 101, "", ".a", "a.", "a..b", "ä", "a b", "a\n"),
    *("AWS.a", "aws.a", "aWs", "AWSa", "Amazon.a", "amazon.a", "AMAZON.a", "amazon"),
    *("run_id", "type", "state", "attempt", "seq", "Seq"),
)
ATTRIBUTE_VALUES: tuple[Any, ...] = (
    *("x", "", " ", "x" * 256, "x" * 257, "🥟" * 256, "\t", "\n", "\x7f", "\xa0", "\u2028", "\xad", "a\u0308"),
    *(True, 0, -1, 999_999_999_999_999, 10**15, -(10**15), 0.5, 1e15, 1e300, None, [], {}),
)
CREATIONS = [
    *varied({}, "image", "i", "", "x" * 512, "x" * 513, "🥟" * 512, None, 1),
    *varied(IMAGE, "priority", 0, 9999, -1, 10_000, True, "5", None, 5.5),
    *varied(IMAGE, "inputs", {}, {"a": None}, [], "x", None),
    *varied(IMAGE, "constraints", {}, {"disk": 1}, [], None),
    *varied(IMAGE, "constraints/cpu", 0, 10**30, -1, None, "1", False),
    *varied(IMAGE, "retry_policy/max_attempts", 1, 100, 0, 101, None, "1"),
    *varied(IMAGE, "retry_policy/backoff_s", 0, 0.5, 3_600, 3_600.0, -1, -0.1, 3_600.1, None, "1", True),
    *varied(IMAGE, "retry_policy/backoff_factor", 1, 1.5, 10, 0.9, 10.1, 10**400, None, "1", False),
    *varied(IMAGE, "retry_policy/max_backoff_s", 0, 0.5, 86_400, -1, 86_401, None, "1", True),
    *varied(IMAGE, "retry_policy/max_lost", 0, 100, -1, 101, 0.5, None, "1", False),
    *varied(IMAGE, "queue", *QUEUES),
    *varied(IMAGE, "start_at", *STARTS),
    *varied(IMAGE, "queue_ttl_s", 10, 1_209_600, 9, 1_209_601, 10.5, None, "10", True),
    *varied(IMAGE, "attempt_timeout_s", 10, 1_209_600, 9, 1_209_601, 10.5, None, "10", True),
    *varied(IMAGE, "retain_s", 0, 315_360_000, -1, 315_360_001, 0.5, None, "0", False),
    IMAGE | {"executor": "batch"},
    IMAGE | {"report": "exit_code"},
    *varied(IMAGE, "event_delivery", None, {}, {"topic": "t", "x": 1}),
    *varied(IMAGE, "event_delivery/topic", *TOPICS),
    *varied(DELIVERY, "event_delivery/attributes", *[{name: 1} for name in ATTRIBUTE_NAMES]),
    *varied(DELIVERY, "event_delivery/attributes", *[dict.fromkeys("abcdef"[:size], 1) for size in (0, 5, 6)]),
    *varied(DELIVERY, "event_delivery/attributes/a", *ATTRIBUTE_VALUES),
    IMAGE | {"owner": "me"},
    IMAGE | {"state": "RUNNING"},
    {},
]
EDITS = [
    {},
    *varied({}, "state", *State, None, 1),
    *varied({}, "outputs", {}, {"a": []}, [], None),
    *varied({}, "priority", 0, 9999, -1, 10_000, None, "1"),
    IMAGE,
]
INFO = {"type": "INFO"}
POSTS = [
    *varied({}, "type", *EventType, "CREATED", "info", None, 1),
    *varied(INFO, "attempt", 1, 0, -1, 10**30, None, "1"),
    *varied(INFO, "msg", "", "x" * 4096, "x" * 4097, 10**30, True, None, [], 0.5),
    *varied(INFO, "payload", {}, {"a": 1}, None, []),
    *varied({"type": "PROGRESS"}, "msg", 0, 100, -1, 101, "50", True, None),
    *varied({"type": "ASSIGNED"}, "payload/worker_id", "w", "", "x" * 128, "x" * 129, None, 1),
    *varied({"type": "STARTED"}, "payload/worker_id", "w", "", "x" * 128, "x" * 129, None, 1),
    *varied({"type": "STARTED", "payload": {"worker_id": "w"}}, "payload/gpu_id", 0, -1, None, "0", False),
    *varied({"type": "STARTED"}, "payload", {}, None),
    *(
        body
        for type_ in ("ASSIGNED", "STARTED")
        for body in varied(
            {"type": type_, "payload": {"worker_id": "w"}},
            "payload/lease_s",
            15,
            3_600,
            14,
            3_601,
            60.5,
            None,
            "60",
            True,
        )
    ),
    *varied({"type": "COMPLETED"}, "payload/outputs", {}, {"a": 1}, None, [], 1),
    *varied({"type": "FAILED"}, "payload/error_message", "", "x" * 9_000, "x" * 16_385, None, 1),
    *varied({"type": "CANCELLED"}, "payload", {}, {"a": 1}, None, []),
    *varied({"type": "RETRIED"}, "payload/force", True, False, None, 1, "true"),
    INFO | {"state": "RUNNING"},
    {"msg": "x"},
]


WORKER = {"worker_id": "w"}
WORKERS = ("w", "w" * 128, "", "w" * 129, None, 1)
BEAT = WORKER | {"attempt": 1}
BEATS = [
    *varied(BEAT, "worker_id", *WORKERS),
    *varied(BEAT, "attempt", 1, 0, -1, 10**30, None, "1", True, 1.5),
    WORKER,
    {"attempt": 1},
    BEAT | {"lease_s": 60},
]
CLAIMS = [
    *varied(WORKER, "worker_id", *WORKERS),
    *varied(WORKER, "queues", ["a"], list("abcde"), ["a", "a"], [], list("abcdef"), ["a b"], [""], [None], "a", None),
    *varied(WORKER, "capacity", {}, {"cpu": 1, "ram_mb": 2, "vram_mb": 3}, {"gpu": 1}, [], None),
    *varied(WORKER, "capacity/cpu", 0, 10**12, 10**12 + 1, -1, None, "1", True, 0.5),
    *varied(WORKER, "lease_s", 15, 3_600, 14, 3_601, 60.5, None, "60", True),
    *varied(WORKER, "start", True, False, None, 1, "true"),
    WORKER | {"attempt": 1},
    {},
]


PUT = {"version": "1.0", "image": "i"}
POSTED = PUT | {"name": "d"}
NAMES = ("d", "0", "a-b_c", "a" * 64, "a" * 65, "", "-a", "_a", "A", "a.b", "ä", "a\n", "a b", 1)
VERSIONS = ("1", "v" * 32, "v" * 33, "A.b_c+d-9", "latest", "", "1 0", "ä", "1\n", "a/b", 1, None)
SPEC = PUT | {"input_specs": {"a": {"type": "int"}}}
INPUT_NAMES = ("a", "_", "A-b_9", "a" * 64, "a" * 65, "", "9", "-a", "a b", "ä", "a\n")
PUTS = [
    *varied(PUT, "version", *VERSIONS),
    *varied(PUT, "image", "i", "", "x" * 513, None),
    *varied(PUT, "name", "d", None, 1),
    *varied(PUT, "priority", 0, 9999, -1, 10_000, True, None),
    *varied(PUT, "constraints", {}, {"cpu": 1}, {"disk": 1}, [], None),
    *varied(PUT, "retry_policy/max_attempts", 1, 100, 0, 101, None),
    *varied(PUT, "retry_policy/backoff_s", 0, 0.5, 3_600.1, None),
    *varied(PUT, "queue", *QUEUES),
    *varied(PUT, "queue_ttl_s", 10, 9, None),
    *varied(PUT, "attempt_timeout_s", 10, 9, None),
    *varied(PUT, "retain_s", 0, -1, None),
    *varied(PUT, "event_delivery/topic", *TOPICS),
    PUT | {"executor": "batch"},
    PUT | {"report": "worker"},
    PUT | {"start_at": "2026-03-02T20:00:01Z"},
    PUT | {"inputs": {}},
    *varied(PUT, "id", "d", None, 1, []),
    *varied(PUT, "revision", 1, None, "x"),
    *varied(PUT, "created_at", "x", None),
    *varied(PUT, "updated_at", 1, None),
    *varied(PUT, "deleted_at", {}, None),
    *varied(PUT, "input_specs", {}, None, [], "x"),
    *varied(PUT, "input_specs", *[{f"i{n}": {"type": "int"} for n in range(size)} for size in (100, 101)]),
    *varied(PUT, "input_specs", *[{name: {"type": "int"}} for name in INPUT_NAMES]),
    *varied(SPEC, "input_specs/a", {}, None, [], {"type": "int", "x": 1}),
    *varied(SPEC, "input_specs/a/type", *InputType, "date", "INT", None, 1),
    *varied(SPEC, "input_specs/a/required", True, False, None, 1, "true"),
    *varied(SPEC, "input_specs/a/default", 1, 0, None),
    *varied(SPEC, "input_specs/a/description", "", "x" * 9_000, None, 1),
    {},
]
NAMED_PUTS = [*varied(POSTED, "name", *NAMES, None), *varied(POSTED, "version", *VERSIONS), PUT, POSTED]
RUNS = [
    *varied({}, "inputs", {}, {"a": None}, [], None),
    *varied({}, "priority", 0, 9999, -1, 10_000, None, "1", True),
    *varied({}, "version", *VERSIONS),
    *varied({}, "event_delivery/topic", *TOPICS),
    *varied({}, "event_delivery", None, {}, {"topic": "t", "x": 1}),
    *varied({}, "start_at", *STARTS),
    *varied({}, "queue", *QUEUES),
    *varied({}, "retain_s", 0, 315_360_000, -1, 315_360_001, None),
    {"image": "i"},
    {"executor": "batch"},
    {},
]


@pytest.mark.parametrize(
    ("route", "model", "values"),
    [
        (("POST", "/runs"), bodies.CreateRunBody, CREATIONS),
        (("PATCH", "/runs/{id}"), bodies.UpdateRunBody, EDITS),
        (("POST", "/runs/{id}/events"), bodies.AddEventBody, POSTS),
        (("POST", "/runs/{id}/heartbeat"), bodies.HeartbeatBody, BEATS),
        (("POST", "/runs/claim"), bodies.ClaimBody, CLAIMS),
        (("PUT", "/definitions/{name}"), definition_bodies.PutDefinitionBody, PUTS),
        (("POST", "/definitions"), definition_bodies.CreateDefinitionBody, NAMED_PUTS),
        (("POST", "/definitions/{name}/runs"), definition_bodies.RunFromDefinitionBody, RUNS),
    ],
    ids=[
        "createRun",
        "updateRun",
        "addEvent",
        "heartbeatRun",
        "claimRun",
        "putDefinition",
        "createDefinition",
        "createRunFromDefinition",
    ],
)
def test_a_body_fits_the_document_exactly_where_it_is_read(
    route: tuple[str, str], model: type[BaseModel], values: list[Node]
) -> None:
    media = operation(*route).body
    assert media is not None
    described = validator(media["schema"])
    differences = [value for value in values if described.is_valid(value) is not is_read(model, value)]
    assert differences == []
    assert {described.is_valid(value) for value in values} == {True, False}


def is_read(model: type[BaseModel], value: Node) -> bool:
    try:
        body = model.model_validate(value)
        if isinstance(body, bodies.AddEventBody):
            body.draft()
    except (ValidationError, RequestError):
        return False
    return True


ASKED = {"mode": "ask", "grace_s": 30}
CANCELS = [
    {},
    *varied(ASKED, "mode", "ask", "tell", "", 1, []),
    *varied(ASKED, "grace_s", 1, 3_600, 0, 3_601, 0.5, "30", True),
    {"mode": "ask"},
    {"grace_s": 30},
    ASKED | {"msg": "x"},
    {"msg": "x"},
]


def test_a_cancel_fits_the_document_exactly_where_it_is_read() -> None:
    described = validator({"$ref": "#/components/schemas/CancelRequest"})

    def is_taken(body: Node) -> bool:
        try:
            cancel_body.grace_s(APIGatewayProxyEvent(proxy_event("POST", f"/runs/{RUN_ID}/cancel", body)))
        except RequestError:
            return False
        return True

    assert [body for body in CANCELS if described.is_valid(body) is not is_taken(body)] == []
    assert {is_taken(body) for body in CANCELS} == {True, False}


# --- queries and headers


class _Recorded(dict[str, list[str]]):
    """A query without parameters. It remembers the names that the code asks for."""

    def __init__(self) -> None:
        super().__init__({"": [""]})
        self.asked: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.asked.add(name)
        return super().get(name, default)


@every_operation
def test_a_query_has_the_parameters_that_are_read(
    api: Gateway, operation: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = api.create()["id"]
    query = _Recorded()
    read: Any = request._query_values
    monkeypatch.setattr(
        request, "_query_values", lambda _, name: read({"multiValueQueryStringParameters": query}, name)
    )
    api.put("/definitions/d", PUT)
    bodies_of = {
        "addEvent": {"type": "INFO"},
        "createRun": {"image": "i"},
        "claimRun": WORKER,
        "putDefinition": PUT,
        "createDefinition": POSTED,
    }
    body = bodies_of.get(operation.name, {})
    path = operation.path.format(id=run_id, name="d")
    answer = api.call(operation.method, path, None if operation.method == "GET" else body)
    assert answer.status < 500
    assert query.asked == operation.query().keys()


@every_operation
def test_a_route_knows_every_parameter_of_its_query(api: Gateway, operation: Operation) -> None:
    answer = api.call(operation.method, operation.path.format(id=RUN_ID, name="d"), query={"unknown": "1"})
    [misfit] = answer.json["detail"]
    _, _, known = misfit["msg"].partition("this route knows ")
    assert operation.query().keys() <= set(known.split(", "))


def test_pages_are_as_long_as_is_said() -> None:
    runs, attempts = (operation("GET", path).query()["limit"] for path in ("/runs", "/runs/{id}/attempts"))
    assert (runs["maximum"], runs["default"]) == (runs_query.MAX_LIMIT, runs_query.DEFAULT_LIMIT)
    events = operation("GET", "/runs/{id}/events").query()["limit"]
    assert (events["maximum"], events["default"]) == (views.MAX_EVENTS_OF_PAGE,) * 2
    assert (attempts["maximum"], attempts["default"]) == (MAX_ATTEMPTS_LISTED, MAX_ATTEMPTS_LISTED)
    for path, schema in (
        ("/definitions", "DefinitionList"),
        ("/definitions/{name}/versions", "DefinitionVersionList"),
    ):
        limit = operation("GET", path).query()["limit"]
        assert (limit["maximum"], limit["default"]) == (runs_query.MAX_LIMIT, runs_query.DEFAULT_LIMIT)
        assert schemas()[schema]["properties"]["data"]["maxItems"] == runs_query.MAX_LIMIT
    assert schemas()["InputSpecsRequest"]["maxProperties"] == definition_bodies.MAX_INPUT_SPECS
    assert schemas()["RunList"]["properties"]["data"]["maxItems"] == runs_query.MAX_LIMIT
    assert schemas()["OpAttemptList"]["maxItems"] == MAX_ATTEMPTS_LISTED
    assert schemas()["EventList"]["properties"]["events"]["maxItems"] == views.MAX_EVENTS_OF_PAGE
    assert schemas()["OpRun"]["properties"]["events"]["maxItems"] == views.MAX_EVENTS_OF_RUN
    assert schemas()["OpAttempt"]["properties"]["events"]["maxItems"] == views.MAX_EVENTS_OF_ATTEMPT


NUMBERS = [
    (each.path, name, limit, step)
    for each in operations()
    for name, schema in each.query().items()
    for limit, step in (("minimum", -1), ("maximum", 1))
    if limit in schema
]


def test_a_number_in_a_query_is_taken_up_to_its_limit_and_refused_beyond(api: Gateway) -> None:
    run_id = api.create()["id"]
    api.put("/definitions/d", PUT)
    for route, name, limit, step in NUMBERS:
        edge = operation("GET", route).query()[name][limit]
        path = route.format(id=run_id, name="d")
        at_edge, beyond = (api.get(path, **{name: edge + by}) for by in (0, step))
        assert (at_edge.status, beyond.status) == (200, 422), (route, name)


@pytest.mark.parametrize(
    "key", ["k", " ", "k k", "~", "!", "x" * 255, "x" * 256, "", "ä", "k\t", "k\x7f", " k", "k ", "k\n"]
)
def test_an_idempotency_key_fits_the_document_where_it_is_read(key: str) -> None:
    schema = load_document()["components"]["parameters"]["IdempotencyKey"]["schema"]
    # A server never sees the blanks around the value of a header.
    is_whole = key == key.strip(" ")
    assert validator(schema).is_valid(key) is (is_whole and request._KEY.fullmatch(key) is not None)


def test_a_run_s_id_is_described_as_it_is_read() -> None:
    described = validator({"$ref": "#/components/schemas/RunId"})
    for run_id in (RUN_ID, RUN_ID.upper(), RUN_ID.replace("-", ""), f"{RUN_ID}\n", f"{{{RUN_ID}}}", "", "x"):
        try:
            is_read = request.checked_run_id(run_id) == run_id
        except RunNotFound:
            is_read = False
        assert described.is_valid(run_id) is is_read, run_id


def test_names_and_versions_are_described_as_they_are_read() -> None:
    assert schemas()["DefinitionName"]["pattern"] == definitions.NAME_PATTERN
    assert schemas()["Version"]["pattern"] == definitions.VERSION_PATTERN
    assert schemas()["InputSpecsRequest"]["propertyNames"]["pattern"] == (f"^{definition_bodies._INPUT_NAME.pattern}$")
    assert schemas()["InputType"]["enum"] == list(InputType)
    described = validator({"$ref": "#/components/schemas/DefinitionName"})
    for name in NAMES[:-1]:
        try:
            is_read = definitions.checked_name(str(name)) == name
        except DefinitionNotFound:
            is_read = False
        assert described.is_valid(name) is is_read, name


def test_every_function_s_operation_bears_its_name() -> None:
    assert {(each.method, each.path): _snake_case(each.name) for each in operations()} == FUNCTION_OF_ROUTE


# --- push

AT = datetime(2026, 3, 2, 20, 0, 2, 42_000, tzinfo=UTC)
SUBJECT = Subject(RUN_ID, "t", {"team": "media", "tier": Decimal(2)}, "busybox:1", None)


@pytest.mark.parametrize(
    "message",
    [
        creation_message(SUBJECT, AT),
        *[event_message(SUBJECT, Event(4, 2, 2, type_, AT, State.RUNNING, "msg")) for type_ in EventType],
        event_message(SUBJECT, Event(0, 0, 1, EventType.PROGRESS, AT, State.RUNNING, 40)),
        event_message(
            SUBJECT, Event(0, 0, 1, EventType.FAILED, AT, State.PENDING, error_message="disk full", will_retry=True)
        ),
        event_message(
            SUBJECT,
            Event(0, 0, 1, EventType.INFO, AT, State.RUNNING, payload=JsonText('{"a":"' + "x" * 270_000 + '"}')),
        ),
    ],
    ids=lambda message: message.id,
)
def test_a_pushed_message_fits_its_schema_and_has_no_other_field(message: Any) -> None:
    validator({"$ref": "#/components/schemas/RunEventMessage"}, closed=True).validate(json.loads(message.body))


def _snake_case(name: str) -> str:
    return re.sub(r"(?=[A-Z])", "_", name).lower()

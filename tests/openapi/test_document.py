"""Tests docs/openapi.yaml by itself: it is valid and complete, and its examples fit its schemas."""

import re
from functools import cache
from typing import Any

import pytest
import schemathesis
from jsonschema_rs import meta
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

from testing.versions import require_version
from tests.support.openapi import (
    OPENAPI_FILE,
    Operation,
    codes_of,
    examples_of,
    load_document,
    media_of,
    operations,
    resolved,
    schemas,
    validator,
    walk,
)

require_version("schemathesis", "4.32.5", "tests/openapi/test_document.py")

ON_EVERY_ROUTE = {"403", "422", "429", "4XX", "503", "5XX"}
SUCCESSES = {
    "claimRun": {"200", "204"},
    "createRun": {"201"},
    "createRunFromDefinition": {"201"},
    "createDefinition": {"200", "201"},
    "putDefinition": {"200", "201"},
    "deleteDefinition": {"204"},
}
"""The statuses of success of the operations that have others than 200 alone."""

PRECONDITIONS = {"If-Match", "If-None-Match"}
HEADERS = {
    "heartbeatRun": set(),
    "createDefinition": {"Idempotency-Key"} | PRECONDITIONS,
    "putDefinition": PRECONDITIONS,
}
"""The headers of the operations that do not take those of their method."""

COMPONENTS = load_document()["components"]

every_operation = pytest.mark.parametrize("operation", operations(), ids=lambda each: each.name)


def test_the_document_is_valid_openapi_3_1() -> None:
    assert load_document()["openapi"].startswith("3.1.")
    OPENAPI_31_VALIDATOR.validate(load_document())


def test_a_client_generator_can_read_every_operation() -> None:
    schema = schemathesis.openapi.from_path(OPENAPI_FILE)
    found = [result.ok().label for result in schema.get_all_operations() if isinstance(result, Ok)]
    assert sorted(found) == sorted(f"{each.method} {each.path}" for each in operations())


@pytest.mark.parametrize("name", sorted(schemas()))
def test_a_schema_is_valid_json_schema(name: str) -> None:
    meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema"} | schemas()[name])


def test_every_pattern_is_one_that_python_reads_too() -> None:
    patterns = [node["pattern"] for node in walk(load_document()) if isinstance(node.get("pattern"), str)]
    assert patterns
    for pattern in patterns:
        re.compile(pattern)


def test_every_constant_says_its_type_and_no_default_makes_a_field_of_a_request_required() -> None:
    """Both break generators of clients. The tests of generated clients run the generators themselves."""
    nodes = list(walk(load_document()))
    assert [node for node in nodes if "const" in node and node.get("type") != "string"] == []
    for schema in schemas().values():
        assert [name for name, field in schema.get("properties", {}).items() if "default" in field] == []


def test_every_reference_leads_somewhere_and_nothing_is_described_in_vain() -> None:
    references = {node["$ref"] for node in walk(load_document()) if isinstance(node.get("$ref"), str)}
    for reference in references:
        resolved({"$ref": reference})
    described = {
        f"#/components/{kind}/{name}"
        for kind, named in COMPONENTS.items()
        if kind != "securitySchemes"
        for name in named
    }
    assert references == described


def test_every_operation_has_a_name_of_its_own_and_says_what_it_does() -> None:
    everything = [*operations(), *operations("webhooks")]
    names = [each.name for each in everything]
    assert len(set(names)) == len(names)
    assert [each.name for each in everything if not each.node.get("summary")] == []


def test_every_link_leads_to_an_operation_and_fills_parameters_that_it_has() -> None:
    parameters = {each.name: {parameter["name"] for parameter in each.parameters} for each in operations()}
    for link in COMPONENTS["links"].values():
        assert link["parameters"].keys() <= parameters[link["operationId"]]


@every_operation
def test_an_operation_says_every_status_it_can_answer_with(operation: Operation) -> None:
    expected = SUCCESSES.get(operation.name, {"200"}) | ON_EVERY_ROUTE
    if "{" in operation.path:
        expected.add("404")
    if operation.body is not None:
        expected.add("413")
    if operation.name in {"claimRun", "createRun", "createRunFromDefinition"}:
        expected.add("410")
    if operation.name in {"createDefinition", "putDefinition"}:
        expected.add("412")
    assert operation.answers.keys() - expected <= {"400", "409"}
    assert operation.answers.keys() >= expected


@every_operation
def test_every_post_but_a_heartbeat_takes_an_idempotency_key_and_every_write_a_preference(operation: Operation) -> None:
    headers = {each["name"] for each in operation.parameters if each["in"] == "header"}
    of_method = {"POST": {"Idempotency-Key", "Prefer"}, "PATCH": {"Prefer"}, "GET": set(), "DELETE": set()}
    expected = HEADERS.get(operation.name, of_method.get(operation.method, set()))
    assert headers == expected
    answered = {"Prefer": "Preference-Applied", "Idempotency-Key": "Idempotent-Replayed"}
    for status, answer in operation.answers.items():
        if status in {"200", "201"}:
            shown = {answered[name] for name in headers - PRECONDITIONS}
            assert shown == answer.get("headers", {}).keys() - {"Link", "ETag"}


def test_every_answer_with_a_whole_definition_has_its_etag() -> None:
    tagged = {
        each.name
        for each in operations()
        for status, answer in each.answers.items()
        if "ETag" in answer.get("headers", {})
    }
    assert tagged == {"createDefinition", "getDefinition", "putDefinition"}


def test_every_route_needs_the_key_and_a_message_does_not() -> None:
    [scheme] = COMPONENTS["securitySchemes"].values()
    assert (scheme["type"], scheme["in"], scheme["name"]) == ("apiKey", "header", "X-API-Key")
    assert load_document()["security"] == [{"api_key": []}]
    assert [each.name for each in operations() if "security" in each.node] == []


def test_a_run_in_a_list_is_a_run_without_its_lease_and_a_minimal_one_is_part_of_it() -> None:
    run, row, with_events, minimal = (
        schemas()[name]["properties"] for name in ("OpRun", "OpRunRow", "OpRunRowWithEvents", "OpRunMinimal")
    )
    assert with_events == {name: schema for name, schema in run.items() if name not in {"lease_s", "lease_until"}}
    assert row == {name: schema for name, schema in with_events.items() if name != "events"}
    assert minimal == {name: run[name] for name in minimal}


def test_a_summary_is_a_row_without_what_may_be_large_and_with_the_times_of_its_attempt() -> None:
    row, summary = schemas()["OpRunRow"]["properties"], schemas()["RunSummary"]["properties"]
    assert row.keys() - summary.keys() == {"inputs", "outputs", "constraints", "execution_summary"}
    assert summary.keys() - row.keys() == {"reason", "started_at", "finished_at"}
    assert {name: summary[name] for name in row.keys() & summary.keys()}.items() <= row.items()


def test_a_row_of_a_definition_is_the_definition_without_its_specs() -> None:
    whole, row = schemas()["Definition"]["properties"], schemas()["DefinitionRow"]["properties"]
    assert row == {name: schema for name, schema in whole.items() if name != "input_specs"}


ANSWERS = {
    "OpRun",
    "OpRunRow",
    "OpRunRowWithEvents",
    "OpRunMinimal",
    "RunSummary",
    "OpAttempt",
    "Event",
    "EventList",
    "RunList",
    "Constraints",
    "Heartbeat",
    "Cancel",
    "EventDelivery",
    "ExecutionSummary",
    "Definition",
    "DefinitionRow",
    "DefinitionList",
    "DefinitionVersionList",
    "InputSpec",
    "Error",
    "ValidationError",
    "Misfit",
}


@pytest.mark.parametrize("name", sorted(ANSWERS))
def test_an_answer_has_every_field_and_may_gain_some(name: str) -> None:
    schema = schemas()[name]
    assert schema["required"] == list(schema["properties"])
    assert "additionalProperties" not in schema


def test_a_retry_policy_has_its_attempts_always_and_the_rest_where_it_was_given() -> None:
    policy = schemas()["RetryPolicy"]
    assert policy["required"] == ["max_attempts"]
    assert policy["properties"].keys() == schemas()["RetryPolicyRequest"]["properties"].keys()


def test_a_request_refuses_unknown_fields_and_a_payload_does_not() -> None:
    requests = {name for name in schemas() if name.endswith(("Request", "Event")) and name not in ANSWERS}
    for name in sorted(requests - {"AddEventRequest", "InputSpecsRequest"}):
        assert schemas()[name]["additionalProperties"] is False, name
        payload = schemas()[name]["properties"].get("payload")
        assert payload is None or resolved(payload)["additionalProperties"] is True, name


def test_every_event_a_client_may_post_is_told_apart_by_its_type() -> None:
    request = schemas()["AddEventRequest"]
    mapping: dict[str, str] = request["discriminator"]["mapping"]
    assert [each["$ref"] for each in request["oneOf"]] == list(mapping.values())
    assert list(mapping) == schemas()["EventType"]["enum"]
    for type_, reference in mapping.items():
        assert resolved({"$ref": reference})["properties"]["type"] == {"type": "string", "const": type_}


# --- examples


@cache
def _examples() -> dict[str, tuple[Any, Any]]:
    """The schema and the value of every example, by its place in the document."""
    found = {}
    for operation in [*operations(), *operations("webhooks")]:
        contents = {
            f"answer {status}": media_of(answer) for status, answer in operation.answers.items() if "content" in answer
        }
        if operation.body is not None:
            contents["body"] = operation.body
        for where, media in contents.items():
            for name, value in examples_of(media).items():
                found[f"{operation.name} {where} {name}"] = (media["schema"], value)
    for kind in ("parameters", "headers"):
        for name, node in COMPONENTS[kind].items():
            if "example" in node:
                found[f"{kind} {name}"] = (node["schema"], node["example"])
    for name, schema in schemas().items():
        for number, value in enumerate(schema.get("examples", [])):
            found[f"schema {name} {number}"] = (schema, value)
    return found


@pytest.mark.parametrize("where", _examples())
def test_an_example_fits_its_schema_with_no_field_too_many(where: str) -> None:
    schema, value = _examples()[where]
    validator(schema, closed=True).validate(value)


@every_operation
def test_every_body_and_answer_has_an_example_and_every_code_its_own(operation: Operation) -> None:
    assert operation.body is None or examples_of(operation.body)
    for status, answer in operation.answers.items():
        if status == "204":
            continue
        examples = examples_of(media_of(answer)).values()
        if status[0] == "2":
            assert examples
        else:
            assert sorted(example["code"] for example in examples) == sorted(codes_of(answer))

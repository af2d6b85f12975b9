"""Holds the client to docs/openapi.yaml: operations, parameters, fields, enumerations, error codes and examples."""

import json
from collections.abc import Iterator
from dataclasses import fields
from enum import StrEnum
from inspect import signature
from typing import Any

import pytest

from clients.python.tests.examples import RUN_ID
from clients.python.tests.playing import Play
from gyoza_client import AsyncGyozaClient, GyozaClient
from gyoza_client import _models as models
from gyoza_client._calling import read
from gyoza_client._errors import ERRORS_BY_CODE, api_error
from gyoza_client._models import Model
from gyoza_client._steps import Send
from tests.support.openapi import Operation, examples_of, media_of, operations, resolved, schemas, walk

METHODS = {
    "createRun": ["create_run"],
    "getRun": ["get_run"],
    "listRuns": ["list_runs", "list_run_summaries"],
    "updateRun": ["update_run"],
    "retryRun": ["retry_run"],
    "cancelRun": ["cancel_run"],
    "addEvent": ["add_event", "report_event"],
    "listEvents": ["list_events"],
    "listAttempts": ["list_attempts"],
    "heartbeatRun": ["heartbeat"],
    "claimRun": ["claim_run"],
    "getDefinition": ["get_definition"],
    "listDefinitions": ["list_definitions"],
    "listDefinitionVersions": ["list_definition_versions"],
    "putDefinition": ["upsert_definition"],
    "createDefinition": ["create_definition"],
    "deleteDefinition": ["delete_definition"],
    "createRunFromDefinition": ["create_run_from_definition"],
}
"""The methods of the client by the operation that they send."""

OF_THE_CLIENT = {"watch", "wait", "run", "as_completed", "request", "with_options", "close", "url"}
"""The methods and attributes of the client beyond the operations."""

MODELS: dict[str, type[Model]] = {
    "OpRun": models.Run,
    "OpRunRow": models.Run,
    "OpRunRowWithEvents": models.Run,
    "RunSummary": models.RunSummary,
    "OpRunMinimal": models.RunMinimal,
    "Heartbeat": models.Heartbeat,
    "RunList": models.Page,
    "Definition": models.Definition,
    "DefinitionRow": models.DefinitionRow,
    "DefinitionList": models.Page,
    "DefinitionVersionList": models.Page,
    "InputSpec": models.InputSpec,
    "OpAttempt": models.Attempt,
    "Event": models.Event,
    "EventList": models.EventPage,
    "Constraints": models.Constraints,
    "RetryPolicy": models.RetryPolicy,
    "EventDelivery": models.EventDelivery,
    "ExecutionSummary": models.ExecutionSummary,
    "Cancel": models.Cancel,
    "Misfit": models.Misfit,
}
"""The models by the schema that they hold."""

ENUMS: dict[str, type[StrEnum]] = {
    "State": models.State,
    "EventType": models.EventType,
    "InputType": models.InputType,
}

ERRORS = {"Error", "ValidationError"}
"""The schemas that become errors."""

ARGUMENT_OF = {
    "Idempotency-Key": "idempotency_key",
    "If-Match": "if_match",
    "If-None-Match": "if_none_match",
    "id": "run",
    "expand[]": "expand",
} | {f"created[{bound}]": f"created_{bound}" for bound in ("gte", "gt", "lte", "lt")}
"""The arguments whose names differ from those of the API's parameters."""

NO_ARGUMENTS = {
    "fields": "it changes the type of the rows, so list_run_summaries sends it",
    "Prefer": "it changes the type of the answer, so report_event sends it; no other answer is needed short",
    "status": "another name of state",
}
"""The parameters that are no argument of any method, with the reason."""

LEFT_OUT = {"list_run_summaries": {"expand": "summaries have no events"}}
"""The arguments of one method of an operation that another does not take, with the reason."""

OF_THE_METHOD = {"claim_run": {"wait_s"}}
"""The arguments that are sent nowhere: claim_run itself asks again for so long."""

MODEL_OF_MEMBER: dict[str, type[Model]] = {
    "capacity": models.Constraints,
    "constraints": models.Constraints,
    "event_delivery": models.EventDelivery,
    "input_specs": models.InputSpec,
    "retry_policy": models.RetryPolicy,
}
"""The models by the member of a request that has their fields. A request takes it as a mapping."""


BY_EVENT_TYPE = {"payload"}
"""The objects in requests without a model: their fields depend on the type of the event, and stay a mapping."""


def properties(schema: dict[str, Any]) -> set[str]:
    """The fields of an object, without those of PassedOver: a put takes them back from a read and ignores them."""
    found = resolved(schema).get("properties", {})
    return {name for name, each in found.items() if each != {"$ref": "#/components/schemas/PassedOver"}}


def body_fields(operation: Operation) -> set[str]:
    if operation.body is None:
        return set()
    schema = resolved(operation.body["schema"])
    alternatives = schema.get("oneOf", [schema])
    return set().union(*(properties(each) for each in alternatives))


def test_each_operation_has_its_methods_and_each_method_its_operation() -> None:
    assert {operation.name for operation in operations()} == set(METHODS)
    methods = {name for names in METHODS.values() for name in names}
    for kind in (GyozaClient, AsyncGyozaClient):
        public = {name for name in dir(kind("http://127.0.0.1:1", "key")) if not name.startswith("_")}
        assert public == methods | OF_THE_CLIENT | ({"work"} if kind is GyozaClient else set())


@pytest.mark.parametrize("operation", operations(), ids=lambda operation: operation.name)
def test_each_parameter_and_field_of_a_request_is_an_argument(operation: Operation) -> None:
    parameters = {each["name"] for each in operation.parameters} - set(NO_ARGUMENTS)
    named = {ARGUMENT_OF.get(each, each) for each in parameters} | body_fields(operation)
    for name in METHODS[operation.name]:
        arguments = set(signature(getattr(GyozaClient, name)).parameters) - {"self"}
        left_out, own = set(LEFT_OUT.get(name, {})), OF_THE_METHOD.get(name, set())
        assert left_out <= named
        assert arguments == named - left_out | own


def test_a_parameter_that_the_method_sends_is_sent() -> None:
    summaries = Play().operations.list_run_summaries().walk().send(None)
    event = Play().operations.report_event(RUN_ID, "INFO", "hello").send(None)
    assert isinstance(summaries, Send)
    assert dict(summaries.query)["fields"] == "summary"
    assert isinstance(event, Send)
    assert event.headers["Prefer"] == "return=minimal"


def members(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The members of a request that are objects with fields, or hold such objects by name; each with their schema."""
    for alternative in resolved(schema).get("oneOf", [schema]):
        for name, member in resolved(alternative).get("properties", {}).items():
            for each in resolved(member).get("anyOf", [member]):
                by_name = resolved(each).get("additionalProperties")
                found = resolved(by_name if isinstance(by_name, dict) else each)
                if "properties" in found:
                    yield name, found


def test_each_object_in_a_request_has_the_fields_of_its_model() -> None:
    found = [member for each in operations() if each.body is not None for member in members(each.body["schema"])]
    assert {name for name, _ in found} == set(MODEL_OF_MEMBER) | BY_EVENT_TYPE
    for name, schema in found:
        assert name in BY_EVENT_TYPE or properties(schema) == {each.name for each in fields(MODEL_OF_MEMBER[name])} - {
            "raw"
        }


def test_each_method_that_takes_a_key_says_that_only_the_callers_survives_a_crash() -> None:
    public = [getattr(GyozaClient, name) for name in dir(GyozaClient) if not name.startswith("_")]
    keyed = [each for each in public if callable(each) and "idempotency_key" in signature(each).parameters]
    assert len(keyed) == 10
    assert [each.__name__ for each in keyed if "crash of this process" not in " ".join(each.__doc__.split())] == []


@pytest.mark.parametrize("name", METHODS)
def test_both_clients_have_the_same_arguments(name: str) -> None:
    for method in [*METHODS[name], "watch", "wait", "run", "as_completed", "request"]:
        ours, theirs = (signature(getattr(kind, method)).parameters for kind in (GyozaClient, AsyncGyozaClient))
        assert ours == theirs


def test_run_takes_what_create_run_takes_and_a_timeout() -> None:
    create, run = (set(signature(getattr(GyozaClient, name)).parameters) for name in ("create_run", "run"))
    assert run == create | {"timeout"}


def test_each_object_that_an_answer_holds_has_a_model() -> None:
    reached: set[str] = set()
    unread = [
        media_of(answer)["schema"] for each in operations() for answer in each.answers.values() if "content" in answer
    ]
    while unread:
        for node in walk(unread.pop()):
            name = node.get("$ref", "").rpartition("/")[2]
            if name in schemas() and name not in reached:
                reached.add(name)
                unread.append(schemas()[name])
    objects = {name for name in reached if schemas()[name].get("type") == "object" and "properties" in schemas()[name]}
    assert objects == set(MODELS) | ERRORS
    assert {name for name in reached if "enum" in schemas()[name]} == set(ENUMS) | {"ErrorCode"}


def test_each_model_has_the_fields_of_its_schemas() -> None:
    for model in set(MODELS.values()):
        documented = [schemas()[name] for name, each in MODELS.items() if each is model]
        own = {each.name for each in fields(model)} - {"raw", "etag"}
        assert own == set().union(*map(properties, documented))


@pytest.mark.parametrize("name", ENUMS)
def test_each_enumeration_has_the_values_of_its_schema(name: str) -> None:
    assert {each.value for each in ENUMS[name]} == set(schemas()[name]["enum"])


def test_each_error_code_has_an_error() -> None:
    assert set(ERRORS_BY_CODE) == set(schemas()["ErrorCode"]["enum"])


def examples() -> list[tuple[str, str, Any]]:
    """Every example of an answer: its operation and name, its status and its value."""
    found = {}
    for operation in operations():
        for status, answer in operation.answers.items():
            if "content" in answer:
                for name, value in examples_of(media_of(answer)).items():
                    found[f"{operation.name} {status} {name}"] = (status, value)
    return [(name, status, value) for name, (status, value) in found.items()]


@pytest.mark.parametrize(("status", "value"), [rest for _, *rest in examples()], ids=[name for name, *_ in examples()])
def test_every_example_of_an_answer_is_read_whole(status: str, value: Any) -> None:
    if status[0] in "45":
        error = api_error(int(status.replace("XX", "18")), value, None)
        assert (error.code, error.request_id) == (value["code"], value["request_id"])
        assert type(error) is ERRORS_BY_CODE[value["code"]]
        assert value["code"] in str(error)
        return
    for each in value if isinstance(value, list) else [value]:
        kind = MODELS[schema_of(each)]
        assert_read_whole(read(kind, each), each)
        if kind is models.Page:
            for row in each["data"]:
                assert_read_whole(read(MODELS[schema_of(row)], row), row)


def requests() -> dict[str, tuple[Operation, Any]]:
    """Every example of a request: its operation and its body."""
    return {
        f"{each.name} {name}": (each, value)
        for each in operations()
        if each.body is not None
        for name, value in examples_of(each.body).items()
    }


@pytest.mark.parametrize(("operation", "body"), requests().values(), ids=requests())
def test_every_example_of_a_request_is_sent_as_it_stands_by_its_methods(operation: Operation, body: Any) -> None:
    for method in METHODS[operation.name]:
        path: list[str] = [each["name"] for each in operation.parameters if each["in"] == "path"]
        arguments = body | {ARGUMENT_OF.get(name, name): RUN_ID for name in path}
        step = getattr(Play().operations, method)(**arguments).send(None)
        assert isinstance(step, Send)
        assert step.method == operation.method
        assert step.body is not None
        assert json.loads(step.body) == body


def schema_of(value: dict[str, Any]) -> str:
    """The one schema of an object that requires these fields."""
    names = {name for name in MODELS if set(schemas()[name]["required"]) == set(value)}
    return min(names, key=lambda name: (MODELS[name].__name__, name))


def assert_read_whole(read_value: Model, value: dict[str, Any]) -> None:
    """Each field of the JSON is an attribute with a value that stands for it."""
    assert read_value.raw == value
    for name, member in value.items():
        got = getattr(read_value, name)
        if isinstance(got, Model):
            assert_read_whole(got, member)
        elif member is None or isinstance(member, str | int | float):
            text = got.isoformat(timespec="microseconds").replace("+00:00", "Z") if hasattr(got, "isoformat") else got
            assert text == member
        else:
            assert len(got) == len(member)

"""Holds the client to docs/openapi.yaml: operations, parameters, fields, enumerations, error codes and examples."""

from dataclasses import fields
from enum import StrEnum
from inspect import signature
from typing import Any

import pytest

from gyoza_client import AsyncGyozaClient, GyozaClient
from gyoza_client import _models as models
from gyoza_client._calling import read
from gyoza_client._errors import ERRORS_BY_CODE, api_error
from gyoza_client._models import Model
from tests.support.openapi import Operation, examples_of, load_document, media_of, operations, resolved, schemas, walk

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

SAID_BY_THE_METHOD = {"fields", "status", "Prefer"}
"""``fields=summary`` is list_run_summaries and ``Prefer`` report_event; ``status`` is another name of ``state``."""

PASSED_OVER = {"id", "revision", "created_at", "updated_at", "deleted_at"}
"""The fields of a put that only take back what a read answered."""

HAS_DEFINITIONS = "/definitions" in load_document()["paths"]

OF_DEFINITIONS = {"Definition", "DefinitionRow", "DefinitionList", "DefinitionVersionList", "InputSpec", "InputType"}


def of_document(names: set[str]) -> set[str]:
    """The names that the document must have: those of definitions only once it describes definitions."""
    return {name for name in names if HAS_DEFINITIONS or not (name in OF_DEFINITIONS or "efinition" in name)}


def properties(schema: dict[str, Any]) -> set[str]:
    return set(resolved(schema).get("properties", {}))


def body_fields(operation: Operation) -> set[str]:
    if operation.body is None:
        return set()
    schema = resolved(operation.body["schema"])
    alternatives = schema.get("oneOf", [schema])
    return set().union(*(properties(each) for each in alternatives))


def test_each_operation_has_its_methods_and_each_method_its_operation() -> None:
    assert {operation.name for operation in operations()} == of_document(set(METHODS))
    methods = {name for names in METHODS.values() for name in names}
    for kind in (GyozaClient, AsyncGyozaClient):
        public = {name for name in dir(kind("http://127.0.0.1:1", "key")) if not name.startswith("_")}
        assert public == methods | OF_THE_CLIENT | ({"work"} if kind is GyozaClient else set())


@pytest.mark.parametrize("operation", operations(), ids=lambda operation: operation.name)
def test_each_parameter_and_field_of_a_request_is_an_argument(operation: Operation) -> None:
    parameters = {parameter["name"] for parameter in operation.parameters} - SAID_BY_THE_METHOD
    named = {ARGUMENT_OF.get(name, name) for name in parameters} | body_fields(operation)
    if "Definition" in operation.name and "Run" not in operation.name:
        named -= PASSED_OVER
    for name in METHODS[operation.name]:
        extra = {"wait_s"} if name == "claim_run" else set()
        summaries = {"expand"} if name == "list_run_summaries" else set()
        arguments = set(signature(getattr(GyozaClient, name)).parameters) - {"self"} - extra
        assert arguments == named - summaries


@pytest.mark.parametrize("name", sorted(of_document(set(METHODS))))
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
    assert objects == of_document(set(MODELS)) | ERRORS
    assert {name for name in reached if "enum" in schemas()[name]} == of_document(set(ENUMS)) | {"ErrorCode"}


def test_each_model_has_the_fields_of_its_schemas() -> None:
    for model in set(MODELS.values()):
        documented = [schemas()[name] for name, each in MODELS.items() if each is model and name in schemas()]
        if not documented:
            assert not HAS_DEFINITIONS
            continue
        own = {each.name for each in fields(model)} - {"raw", "etag"}
        ahead = set() if HAS_DEFINITIONS else {"op_version", "op_revision"}
        assert own == set().union(*map(properties, documented)) | (own & ahead)


@pytest.mark.parametrize("name", sorted(of_document(set(ENUMS))))
def test_each_enumeration_has_the_values_of_its_schema(name: str) -> None:
    assert {each.value for each in ENUMS[name]} == set(schemas()[name]["enum"])


def test_each_error_code_has_an_error() -> None:
    codes = set(schemas()["ErrorCode"]["enum"])
    ahead = set() if HAS_DEFINITIONS else set(ERRORS_BY_CODE) - codes
    assert set(ERRORS_BY_CODE) - ahead == codes
    assert ahead <= {"definition_not_found", "definition_busy", "invalid_inputs", "precondition_failed"}


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


def schema_of(value: dict[str, Any]) -> str:
    """The one schema of an object that requires these fields."""
    names = {name for name in MODELS if name in schemas() and set(schemas()[name]["required"]) == set(value)}
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

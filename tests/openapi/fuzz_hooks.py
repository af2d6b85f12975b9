"""Hooks of schemathesis: they send requests to runs that accept them and judge refusals that a schema cannot judge.

Most random requests name a run that has ended or repeat an idempotency key with another body, and the service refuses
them early. So the hooks send three of four requests to a run whose state allows them, each with its own key.
"""

import json
from collections.abc import Mapping
from itertools import count
from random import Random
from typing import Any
from urllib.parse import unquote

import schemathesis
from schemathesis.core.failures import AcceptedNegativeData, Failure
from schemathesis.core.parameters import ParameterLocation
from schemathesis.core.transport import Response
from schemathesis.generation.meta import TestPhase
from schemathesis.openapi.checks import RejectedPositiveData, UnsupportedMethodResponse

from gyoza_domain.domain.run import EventType, State
from gyoza_domain.domain.transitions import ALLOWED_IN
from gyoza_domain.http.bodies import MAX_DOCUMENT_BYTES, MAX_ERROR_MESSAGE_BYTES, MAX_MSG_BYTES, MAX_PAYLOAD_BYTES
from gyoza_domain.http.definition_bodies import MAX_DEFINITION_BYTES
from testing.versions import require_version
from tests.support.openapi import operation, operations, resolved, validator

require_version("schemathesis", "4.32.5", "tests/openapi/fuzz_hooks.py")

OF_STATE_OR_KEY = frozenset(
    {
        "attempt_required",
        "idempotency_key_reused",
        "invalid_filter",
        "invalid_inputs",
        "invalid_transition",
        "not_claimant",
        "not_leased",
        "not_yet",
        "precondition_failed",
        "retry_budget_spent",
        "run_expired",
        "run_locked",
        "stale_attempt",
    }
)
"""Codes that refuse a well-formed request: for what the run or definition is, for an earlier request, or for filters
together.
"""

_AS_DRAWN = 4
"""Every n-th request is sent as it was drawn."""

_MAX_RUNS_KEPT = 300

_choices = Random(0)
_numbers = count(1)
_runs: dict[str, tuple[State, int]] = {}
"""State and current attempt of the runs in recent answers, the latest last."""
_DAY_S = 86_400

_claimants: dict[str, str] = {}
"""The worker of each run that a claim gave away."""
_shown: set[str] = set()
"""The id of every run that an answer has shown."""
_definitions: dict[str, str] = {}
"""The names of definitions that were put and not deleted since, each with the version that was put last."""


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: dict[str, Any]) -> None:
    number = next(_numbers)
    _keep_run(case)
    if case.meta is None or case.meta.phase.name is TestPhase.STATEFUL or number % _AS_DRAWN == 0:
        return
    key = (case.headers or {}).get("Idempotency-Key")
    if key is not None and not case.meta.is_negative_at(ParameterLocation.HEADER):
        case.headers["Idempotency-Key"] = f"{key[:200]}{number}"
    operation_id = case.operation.definition.raw["operationId"]
    if operation_id in _OF_DEFINITIONS:
        _aim_at_definition(case, operation_id)
        return
    if case.query and not case.meta.is_negative_at(ParameterLocation.QUERY):
        _make_agree(case.query)
    if case.path_parameters and not case.meta.is_negative_at(ParameterLocation.PATH):
        _aim(case)


def _keep_run(case: Any) -> None:
    """Lets no run vanish by its retention during the test: later requests expect it to be there."""
    retain_s = case.body.get("retain_s") if isinstance(case.body, dict) else None
    if type(retain_s) is int and 0 <= retain_s < _DAY_S:
        case.body = case.body | {"retain_s": _DAY_S}


_OF_DEFINITIONS = frozenset(each.name for each in operations() if each.path.startswith("/definitions"))


def _aim_at_definition(case: Any, operation_id: str) -> None:
    """Points the request at a definition that is there, and leaves the preconditions that no ETag meets out."""
    for name in ("If-Match", "If-None-Match"):
        if case.headers and name in case.headers and not case.meta.is_negative_at(ParameterLocation.HEADER):
            del case.headers[name]
    if not _definitions:
        return
    names = list(_definitions)
    is_positive = not case.meta.is_negative_at(ParameterLocation.PATH)
    if case.path_parameters and is_positive and operation_id not in {"putDefinition", "deleteDefinition"}:
        case.path_parameters["name"] = _choices.choice(names)
    if not case.query or case.meta.is_negative_at(ParameterLocation.QUERY):
        return
    if case.query.keys() >= {"starting_after", "ending_before"}:
        del case.query[_choices.choice(["starting_after", "ending_before"])]
    for cursor in {"starting_after", "ending_before", "version"} & case.query.keys():
        is_version = operation_id != "listDefinitions"
        case.query[cursor] = (
            _definitions.get(case.path_parameters["name"], "1") if is_version else _choices.choice(names)
        )


def _note_definition(case: Any, response: Response, body: Any) -> None:
    """Remembers the definition that a put made or a deletion ended."""
    operation_id = case.operation.definition.raw["operationId"]
    if operation_id in {"putDefinition", "createDefinition"} and response.status_code in {200, 201}:
        if body["deleted_at"] is None:
            _definitions[body["name"]] = body["version"]
    elif operation_id == "deleteDefinition":
        _definitions.pop(unquote(str(case.path_parameters["name"])), None)
    while len(_definitions) > _MAX_RUNS_KEPT:
        del _definitions[next(iter(_definitions))]


def _make_agree(query: dict[str, Any]) -> None:
    """Removes parameters that exclude each other until one is left, and makes each cursor name a run."""
    for one, others in (
        ("starting_after", ["ending_before"]),
        ("state", ["status"]),
        ("after_seq", ["after", "attempt"]),
        ("fields", ["expand[]"]),
    ):
        if one in query and query.keys() & others:
            for name in _choices.choice([[one], others]):
                query.pop(name, None)
    for name in {"starting_after", "ending_before"} & query.keys():
        if _runs:
            query[name] = _choices.choice(list(_runs))
    if "attempt" in query:
        query["attempt"] = 1


def _aim(case: Any) -> None:
    """Points the request at a run that allows it, if there is one, and at the run's current attempt."""
    states = _states_for(case.operation.definition.raw["operationId"], case.body)
    fitting = [run_id for run_id, (state, _) in _runs.items() if state in states]
    if not fitting:
        return
    run_id = _choices.choice(fitting)
    case.path_parameters["id"] = run_id
    if isinstance(case.body, dict) and type(case.body.get("attempt")) is int:
        case.body = case.body | {"attempt": _runs[run_id][1]}
    if case.operation.definition.raw["operationId"] == "heartbeatRun" and _is_worker_id(case.body):
        case.body = case.body | {"worker_id": _claimants.get(run_id, case.body["worker_id"])}


def _is_worker_id(body: Any) -> bool:
    return isinstance(body, dict) and isinstance(body.get("worker_id"), str) and 1 <= len(body["worker_id"]) <= 128


@schemathesis.hook
def after_call(_context: Any, case: Any, response: Response) -> None:
    body = _json(response)
    _note_definition(case, response, body)
    if response.status_code == 200 and case.operation.definition.raw["operationId"] == "claimRun":
        _claimants[body["id"]] = case.body["worker_id"]
    if isinstance(body, dict) and {"id", "state", "current_attempt"} <= body.keys():
        _shown.add(body["id"])
        _runs.pop(body["id"], None)
        _runs[body["id"]] = (State(body["state"]), body["current_attempt"])
        if len(_runs) > _MAX_RUNS_KEPT:
            del _runs[next(iter(_runs))]


@schemathesis.hook
def filter_failure(_context: Any, failure: Failure, case: Any, response: Response) -> bool:
    """False for a failure that docs/openapi.yaml allows."""
    if isinstance(failure, RejectedPositiveData):
        return not _is_rightly_refused(case, _json(response))
    if isinstance(failure, AcceptedNegativeData):
        return not _has_only_nulls_too_many(case)
    if isinstance(failure, UnsupportedMethodResponse):
        # The check knows 405 only; docs/openapi.yaml says 404.
        return (response.status_code, _json(response).get("code")) != (404, "not_found")
    return True


def _states_for(operation_id: str, body: Any) -> frozenset[State]:
    """The states in which the request does something; all states if the state does not matter."""
    if operation_id == "cancelRun":
        return ALLOWED_IN[EventType.CANCELLED]
    if operation_id == "retryRun":
        return ALLOWED_IN[EventType.RETRIED] | {State.RUNNING}
    if operation_id == "heartbeatRun":
        return frozenset({State.ASSIGNED, State.RUNNING})
    if operation_id == "addEvent" and isinstance(body, dict) and body.get("type") in list(EventType):
        return ALLOWED_IN[EventType(body["type"])]
    return frozenset(State)


def _is_rightly_refused(case: Any, answer: Any) -> bool:
    match answer.get("code"):
        case "run_not_found":
            return case.path_parameters["id"] not in _shown
        case "definition_not_found":
            body = case.body if isinstance(case.body, dict) else {}
            version = (case.query or {}).get("version") or body.get("version")
            return version is not None or case.path_parameters["name"] not in _definitions
        case "invalid_cursor":
            cursors = [case.query[name] for name in ("starting_after", "ending_before") if name in case.query]
            if case.operation.definition.raw["operationId"] == "listDefinitionVersions":
                return True
            return len(cursors) > 1 or cursors[0] not in _shown | _definitions.keys()
        case "too_large":
            return _is_too_large(case.body)
        case "validation_error":
            if (case.query or {}).keys() >= {"fields", "expand[]"}:
                return True
            return all(_is_beyond_schema(case.body, misfit) for misfit in answer["detail"])
        case code:
            return code in OF_STATE_OR_KEY


def _is_too_large(body: Mapping[str, Any]) -> bool:
    if "version" in body and _bytes(body) > MAX_DEFINITION_BYTES:
        return True
    payload = body.get("payload") or {}
    rest = {name: value for name, value in payload.items() if (body.get("type"), name) != ("COMPLETED", "outputs")}
    documents = (body.get("inputs"), body.get("outputs"), payload.get("outputs"))
    return _bytes(rest) > MAX_PAYLOAD_BYTES or any(_bytes(document) > MAX_DOCUMENT_BYTES for document in documents)


def _is_beyond_schema(body: Any, misfit: Mapping[str, Any]) -> bool:
    """True if the API refuses the value although its JSON Schema allows it.

    JSON Schema counts 5.0 as an integer and measures text in characters; the API refuses 5.0 and measures bytes. No
    portable pattern excludes the characters that Unicode has not assigned, the instants that no calendar has, or those
    too far ahead. A lease needs a worker, which two fields say together; so do an input's type and its default, and the
    names in a path and in a body.
    """
    where, *path = misfit["loc"]
    if where != "body":
        return False
    if misfit["type"] in {"lease_without_worker", "no_such_instant", "other_name", "too_far_ahead", "wrong_type"}:
        return True
    try:
        for name in path:
            body = body[name]
    except (KeyError, TypeError):
        return False
    if isinstance(body, float):
        return body.is_integer()
    if path == ["event_delivery", "attributes"]:
        return not all(text.isprintable() for text in body.values() if isinstance(text, str))
    limits = {("msg",): MAX_MSG_BYTES, ("payload", "error_message"): MAX_ERROR_MESSAGE_BYTES}
    return isinstance(body, str) and len(body.encode()) > limits.get(tuple(path), len(body.encode()))


def _has_only_nulls_too_many(case: Any) -> bool:
    """True if the request fits its schema once its nulls are removed: the API treats a null as an absent field."""
    if any(case.meta.is_negative_at(where) for where in (ParameterLocation.PATH, ParameterLocation.HEADER)):
        return False
    described = operation(case.method, case.path)
    if case.body is None:
        return not resolved(described.node["requestBody"]).get("required", False)
    media = described.body
    if media is None or not isinstance(case.body, dict):
        return False
    return validator(media["schema"]).is_valid(_without_nulls(case.body))


def _without_nulls(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body without the nulls of its own objects. Documents keep their nulls."""
    own = ("constraints", "retry_policy", "event_delivery", "capacity")
    return {
        name: _without_nulls(value) if name in own and isinstance(value, dict) else _specs_without_nulls(name, value)
        for name, value in body.items()
        if value is not None
    }


def _specs_without_nulls(name: str, value: Any) -> Any:
    if name != "input_specs" or not isinstance(value, dict):
        return value
    return {each: _without_nulls(spec) if isinstance(spec, dict) else spec for each, spec in value.items()}


def _bytes(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def _json(response: Response) -> Any:
    """The body as a value; an empty object if the body is not JSON, which other checks report."""
    try:
        return json.loads(response.content)
    except ValueError:
        return {}

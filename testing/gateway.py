"""Plays API Gateway in this process: it turns a request into an event and calls the handler of the route."""

import json
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any
from urllib.parse import unquote

from testing.threads import one_environment_a_thread

one_environment_a_thread()

API_KEY_ID = "test-key-id"
REQUEST_ID = "00000000-0000-4000-8000-000000000000"

FUNCTION_OF_ROUTE = {
    ("POST", "/runs"): "create_run",
    ("GET", "/runs"): "list_runs",
    ("POST", "/runs/claim"): "claim_run",
    ("GET", "/runs/{id}"): "get_run",
    ("PATCH", "/runs/{id}"): "update_run",
    ("POST", "/runs/{id}/retry"): "retry_run",
    ("POST", "/runs/{id}/cancel"): "cancel_run",
    ("POST", "/runs/{id}/events"): "add_event",
    ("POST", "/runs/{id}/heartbeat"): "heartbeat_run",
    ("GET", "/runs/{id}/events"): "list_events",
    ("GET", "/runs/{id}/attempts"): "list_attempts",
    ("GET", "/definitions"): "list_definitions",
    ("POST", "/definitions"): "create_definition",
    ("GET", "/definitions/{name}"): "get_definition",
    ("PUT", "/definitions/{name}"): "put_definition",
    ("DELETE", "/definitions/{name}"): "delete_definition",
    ("GET", "/definitions/{name}/versions"): "list_definition_versions",
    ("POST", "/definitions/{name}/runs"): "create_run_from_definition",
}

Query = Mapping[str, str | int | list[str]]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


def resource_of(method: str, path: str) -> str:
    """The resource that the gateway finds for the path: one without a parameter comes first."""
    if (method, path) in FUNCTION_OF_ROUTE:
        return path
    return next(
        (resource for _, resource in FUNCTION_OF_ROUTE if "{" in resource and _parameters(resource, path) is not None),
        path,
    )


def _parameters(resource: str, path: str) -> dict[str, str] | None:
    """The parameters of the path; None if the path is not of the resource."""
    names, values = resource.split("/"), path.split("/")
    if len(names) != len(values):
        return None
    parameters = {name[1:-1]: unquote(value) for name, value in zip(names, values, strict=True) if name[:1] == "{"}
    is_of_resource = all(name == value or name[:1] == "{" for name, value in zip(names, values, strict=True))
    return parameters if is_of_resource else None


def proxy_event(
    method: str,
    path: str,
    body: Any = None,
    *,
    query: Query | None = None,
    headers: Mapping[str, str] | None = None,
    base_path: str = "",
) -> dict[str, Any]:
    """The event that a function gets. A body of bytes is base64-encoded, text is kept, the rest becomes JSON."""
    resource = resource_of(method, path)
    text = b64encode(body).decode() if isinstance(body, bytes) else body
    values = {name: value if isinstance(value, list) else [str(value)] for name, value in (query or {}).items()}
    return {
        "resource": resource,
        "path": base_path + path,
        "httpMethod": method,
        "headers": dict(headers or {}),
        "multiValueHeaders": {name: [value] for name, value in (headers or {}).items()},
        "queryStringParameters": {name: value[-1] for name, value in values.items()} or None,
        "multiValueQueryStringParameters": values or None,
        "pathParameters": _parameters(resource, path) or None,
        "requestContext": {"requestId": REQUEST_ID, "identity": {"apiKeyId": API_KEY_ID}},
        "body": text if isinstance(text, str | None) else json.dumps(text),
        "isBase64Encoded": isinstance(body, bytes),
    }


class Gateway:
    """Calls functions by method and path. The run id in the path is percent-encoded, as in a URL."""

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Query | None = None,
        headers: Mapping[str, str] | None = None,
        base_path: str = "",
    ) -> Answer:
        """Send a request. ``body`` is as in ``proxy_event``. ``base_path`` is that of a custom domain, such as
        ``/base``.
        """
        event = proxy_event(method, path, body, query=query, headers=headers, base_path=base_path)
        app = import_module(f"functions.{FUNCTION_OF_ROUTE[method, event['resource']]}.app")
        answer = app.lambda_handler(event, None)
        headers_out = {name: values[-1] for name, values in answer["multiValueHeaders"].items()}
        return Answer(answer["statusCode"], headers_out, answer["body"])

    def get(self, path: str, **query: str | int | list[str]) -> Answer:
        return self.call("GET", path, query=query)

    def post(self, path: str, body: Any = None, *, minimal: bool = False) -> Answer:
        return self.call("POST", path, body, headers={"Prefer": "return=minimal"} if minimal else {})

    def put(self, path: str, body: Any, **headers: str) -> Answer:
        """``headers``: with underscores in place of hyphens."""
        return self.call("PUT", path, body, headers={name.replace("_", "-"): each for name, each in headers.items()})

    def patch(self, path: str, body: Any) -> Answer:
        return self.call("PATCH", path, body)

    def create(self, **fields: Any) -> Any:
        """Create a run and return it."""
        answer = self.post("/runs", {"image": "busybox:1"} | fields)
        assert answer.status == 201, answer.text
        return answer.json

    def event(self, run_id: str, type_: str, *, minimal: bool = False, **fields: Any) -> Answer:
        return self.post(f"/runs/{run_id}/events", {"type": type_} | fields, minimal=minimal)

    def start(self, run_id: str, worker_id: str = "worker-1") -> Answer:
        return self.event(run_id, "STARTED", payload={"worker_id": worker_id})

"""What a handler reads from an API Gateway event, without pydantic."""

import json
import re
from base64 import b64decode
from collections.abc import Collection
from hashlib import sha256
from typing import Any
from uuid import UUID

from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEvent

from ..domain.errors import RunNotFound
from ..runs.ports import IdempotencyKey
from . import json_text
from .errors import does_not_fit

_INTEGER = re.compile(r"-?[0-9]{1,4300}", re.ASCII)
_KEY = re.compile(r"[\x20-\x7e]{1,255}", re.ASCII)
_RETURN_MINIMAL = re.compile(r'return\s*=\s*"?minimal"?', re.IGNORECASE)


def checked_run_id(text: str) -> str:
    """The id, which is a UUID as the server writes one. Anything else names no run: RunNotFound."""
    try:
        if str(UUID(text)) == text:
            return text
    except ValueError:
        pass
    raise RunNotFound(text)


def api_key_id(event: APIGatewayProxyEvent) -> str | None:
    """Id of the caller's API key; None where the gateway does not tell it."""
    identity = event["requestContext"].get("identity") or {}
    key_id: str | None = identity.get("apiKeyId")
    return key_id


def prefers_minimal(event: APIGatewayProxyEvent) -> bool:
    """Whether the client asked for ``return=minimal`` (RFC 7240)."""
    preferences = [
        preference.partition(";")[0].strip()
        for line in _header_lines(event, "prefer")
        for preference in line.split(",")
    ]
    return any(_RETURN_MINIMAL.fullmatch(preference) for preference in preferences)


def idempotency_key(event: APIGatewayProxyEvent) -> IdempotencyKey | None:
    """The request's Idempotency-Key, within the caller, the method and the path; RequestError 422 for an unfit one."""
    lines = _header_lines(event, "idempotency-key")
    if not lines:
        return None
    if not _KEY.fullmatch(lines[-1]):
        loc = ["header", "Idempotency-Key"]
        raise does_not_fit(loc, "Input should be 1 to 255 printable ASCII characters", "idempotency_key")
    scope = [_caller(event), event.http_method, event.path, lines[-1]]
    body = json_body(event) if event.body else {}
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return IdempotencyKey(digest=_digest(json.dumps(scope)), fingerprint=_digest(canonical))


def _caller(event: APIGatewayProxyEvent) -> str:
    """The API key's id; where the gateway does not tell it, a digest of the key."""
    return api_key_id(event) or _digest("".join(_header_lines(event, "x-api-key")))


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:32]


def json_body(event: APIGatewayProxyEvent) -> Any:
    """The body as a JSON value; RequestError 422 when there is none or it is none."""
    body = event.body
    if not body:
        raise does_not_fit(["body"], "A JSON body is required", "missing")
    return json_text.parse(b64decode(body) if event.is_base64_encoded else body.encode("utf-8", "surrogatepass"))


def refuse_body_fields(event: APIGatewayProxyEvent) -> None:
    """For routes that read no body: absent, ``null`` or ``{}`` pass, RequestError 422 for any field."""
    if not event.body:
        return
    body = json_body(event)
    if body is None or body == {}:
        return
    if not isinstance(body, dict):
        raise does_not_fit(["body"], "Input should be an object", "object_type")
    for name, value in body.items():
        if value is not None:
            raise does_not_fit(["body", name], "Extra inputs are not permitted", "extra_forbidden")


def query_text(event: APIGatewayProxyEvent, name: str) -> str | None:
    """The last value given for a query parameter."""
    values = _query_values(event, name)
    return values[-1] if values else None


def query_values(event: APIGatewayProxyEvent, name: str, allowed: Collection[str]) -> list[str]:
    """Every value given for a query parameter; RequestError 422 for one that is not allowed."""
    values = _query_values(event, name)
    for value in values:
        if value not in allowed:
            raise does_not_fit(["query", name], f"Input should be one of {', '.join(allowed)}", "enum")
    return values


def query_int(
    event: APIGatewayProxyEvent, name: str, *, minimum: int | None = None, maximum: int | None = None
) -> int | None:
    """An integer within inclusive bounds; RequestError 422 for anything else, None when it is not given."""
    text = query_text(event, name)
    if text is None:
        return None
    loc = ["query", name]
    if not _INTEGER.fullmatch(text):
        raise does_not_fit(loc, "Input should be an integer", "int_parsing")
    number = int(text)
    if minimum is not None and number < minimum:
        raise does_not_fit(loc, f"Input should be greater than or equal to {minimum}", "greater_than_equal")
    if maximum is not None and number > maximum:
        raise does_not_fit(loc, f"Input should be less than or equal to {maximum}", "less_than_equal")
    return number


def _query_values(event: APIGatewayProxyEvent, name: str) -> list[str]:
    values: list[str] = (event.get("multiValueQueryStringParameters") or {}).get(name, [])
    return values


def _header_lines(event: APIGatewayProxyEvent, name: str) -> list[str]:
    headers: dict[str, list[str]] = event.get("multiValueHeaders") or {}
    return [line for header, lines in headers.items() if header.lower() == name for line in lines]

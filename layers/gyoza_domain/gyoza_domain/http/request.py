"""Reads headers, path, query and untyped body of an API Gateway event. Never imports pydantic."""

import json
import re
from base64 import b64decode
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from typing import Any
from urllib.parse import quote, unquote
from uuid import UUID

from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEvent

from ..domain.errors import RunNotFound
from ..runs.ports import Extent, IdempotencyKey, RunStore
from . import json_text
from .errors import MAX_MISFITS, RequestError, misfit, misfit_error, misfits_error

_PATH_PARAMETER = re.compile(r"\{(\w+)\}", re.ASCII)
_INTEGER = re.compile(r"-?[0-9]{1,4300}", re.ASCII)
_KEY = re.compile(r"[\x20-\x7e]{1,255}", re.ASCII)
_RETURN_MINIMAL = re.compile(r'return\s*=\s*"?minimal"?', re.IGNORECASE)


def path_of_resource(event: Mapping[str, Any]) -> str:
    """The path of the resource with its parameters, each percent-encoded.

    The event's ``path`` may begin with the base path of a custom domain; this path never does.
    """
    parameters = event.get("pathParameters") or {}

    def encoded(match: re.Match[str]) -> str:
        return quote(parameters.get(match[1]) or "", safe="", errors="replace")

    return _PATH_PARAMETER.sub(encoded, event["resource"])


def checked_run_id(text: str) -> str:
    """The run id in a path or a query. Raises RunNotFound if it is not a UUID in the server's spelling.

    ``text`` may be percent-encoded, as ``path_of_resource`` leaves it.
    """
    try:
        if str(UUID(text)) == text:
            return text
    except ValueError:
        pass
    raise RunNotFound(unquote(text))


def api_key_id(event: APIGatewayProxyEvent) -> str | None:
    """The id of the caller's API key; None if the gateway does not give it."""
    identity = event["requestContext"].get("identity") or {}
    key_id: str | None = identity.get("apiKeyId")
    return key_id


def prefers_minimal(event: APIGatewayProxyEvent) -> bool:
    """True if the client asks for ``return=minimal`` (RFC 7240)."""
    preferences = [
        preference.partition(";")[0].strip()
        for line in _header_lines(event, "prefer")
        for preference in line.split(",")
    ]
    return any(_RETURN_MINIMAL.fullmatch(preference) for preference in preferences)


def header_list(event: APIGatewayProxyEvent, name: str) -> list[str] | None:
    """The members of a header that lists values, such as entity tags; None if the request has no such header."""
    lines = _header_lines(event, name)
    return [member.strip() for line in lines for member in line.split(",")] if lines else None


def idempotency_key(event: APIGatewayProxyEvent) -> IdempotencyKey | None:
    """The request's Idempotency-Key, or None. Raises RequestError 422 for a key that does not fit.

    The scope of a key is the caller, the method, the resource and its parameters. The base path does not belong to it,
    so a request through another base path is a repeat.
    """
    lines = _header_lines(event, "idempotency-key")
    if not lines:
        return None
    if not _KEY.fullmatch(lines[-1]):
        loc = ["header", "Idempotency-Key"]
        raise misfit_error(loc, "Input should be 1 to 255 printable ASCII characters", "idempotency_key")
    scope = [_caller(event), event.http_method, event.resource, event.path_parameters or {}, lines[-1]]
    body = json_body(event) if event.body else {}
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return IdempotencyKey(digest=_digest(json.dumps(scope, sort_keys=True)), fingerprint=_digest(canonical))


def _caller(event: APIGatewayProxyEvent) -> str:
    """The API key's id, or a digest of the key if the gateway does not give the id."""
    return api_key_id(event) or _digest("".join(_header_lines(event, "x-api-key")))


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:32]


def json_body(event: APIGatewayProxyEvent) -> Any:
    """The body as a JSON value. Raises RequestError 422 if the body is missing or is not JSON."""
    body = event.body
    if not body:
        raise misfit_error(["body"], "A JSON body is required", "missing")
    return json_text.parse(b64decode(body) if event.is_base64_encoded else body.encode("utf-8", "surrogatepass"))


def object_body(event: APIGatewayProxyEvent) -> dict[str, Any]:
    """The object in the body; an empty one for a missing body and for ``null``. Raises RequestError 422."""
    body = json_body(event) if event.body else None
    if body is None:
        return {}
    if not isinstance(body, dict):
        raise misfit_error(["body"], "Input should be an object", "object_type")
    return body


def refuse_body_fields(event: APIGatewayProxyEvent) -> None:
    """Raises RequestError 422 if the body has a field that is not null. A missing body, ``null`` and ``{}`` pass."""
    fields = [name for name, value in object_body(event).items() if value is not None]
    if fields:
        raise unknown_fields_error(fields)


def unknown_fields_error(names: Sequence[str]) -> RequestError:
    """The 422 for fields of the body that the route does not know."""
    return _unknown("body", names, "Extra inputs are not permitted")


@contextmanager
def missing_run_first(store: RunStore, run_id: str) -> Iterator[None]:
    """Refuses a request inside as RunNotFound if the run does not exist, and as the misfit it is if it does."""
    try:
        yield
    except RequestError:
        store.load(run_id, Extent.SMALL)
        raise


def refuse_unknown_query(event: APIGatewayProxyEvent, known: Collection[str]) -> None:
    """Raises RequestError 422 for an unknown query parameter. The text names the known ones."""
    given = event.get("multiValueQueryStringParameters") or {}
    unknown = [name for name in given if name not in known]
    if unknown:
        takes = f"knows {', '.join(known)}" if known else "takes none"
        raise _unknown("query", unknown, f"Unknown query parameter; this route {takes}")


def _unknown(where: str, names: Sequence[str], msg: str) -> RequestError:
    misfits = [misfit([where, name], msg, "extra_forbidden") for name in names[:MAX_MISFITS]]
    return misfits_error(misfits, left_out=len(names) - len(misfits))


def query_text(event: APIGatewayProxyEvent, name: str) -> str | None:
    """The last value of a query parameter; None if the request has none."""
    values = _query_values(event, name)
    return values[-1] if values else None


def query_values(event: APIGatewayProxyEvent, name: str, allowed: Collection[str]) -> list[str]:
    """Every value of a query parameter. Raises RequestError 422 for one that is not allowed."""
    values = _query_values(event, name)
    for value in values:
        if value not in allowed:
            raise misfit_error(["query", name], f"Input should be one of {', '.join(allowed)}", "enum")
    return values


def query_int(
    event: APIGatewayProxyEvent,
    name: str,
    *,
    minimum: int | None = None,
    maximum: int | None = None,
    unit: str | None = None,
) -> int | None:
    """The integer within inclusive bounds; None if the request has none. Raises RequestError 422 for other values.

    The error names the ``unit`` if the value is not an integer.
    """
    text = query_text(event, name)
    if text is None:
        return None
    loc = ["query", name]
    if not _INTEGER.fullmatch(text):
        kind = "an integer" if unit is None else f"an integer, in {unit}"
        raise misfit_error(loc, f"Input should be {kind}", "int_parsing")
    number = int(text)
    if minimum is not None and number < minimum:
        raise misfit_error(loc, f"Input should be greater than or equal to {minimum}", "greater_than_equal")
    if maximum is not None and number > maximum:
        raise misfit_error(loc, f"Input should be less than or equal to {maximum}", "less_than_equal")
    return number


def _query_values(event: APIGatewayProxyEvent, name: str) -> list[str]:
    values: list[str] = (event.get("multiValueQueryStringParameters") or {}).get(name, [])
    return values


def _header_lines(event: APIGatewayProxyEvent, name: str) -> list[str]:
    headers: dict[str, list[str]] = event.get("multiValueHeaders") or {}
    return [line for header, lines in headers.items() if header.lower() == name for line in lines]

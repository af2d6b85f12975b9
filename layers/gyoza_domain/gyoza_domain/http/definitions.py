"""Reads the requests of definitions, apart from their bodies, and builds the responses. Never imports pydantic."""

import re
from collections.abc import Sequence
from functools import partial
from urllib.parse import unquote

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEvent

from ..definitions.commands import KEY_LIFE, Allows, PutOutcome, Shown
from ..definitions.ports import DefinitionPage, PutKey
from ..domain.definition import Definition, InputSpec
from ..domain.errors import DefinitionNotFound, InvalidCursor, shortened
from ..domain.json_parts import json_object, json_scalar
from . import rendering
from .metrics import count_unreadable_rows
from .rendering import Now
from .request import header_list, idempotency_key, query_int, query_text
from .responses import json_response
from .runs_query import DEFAULT_LIMIT, MAX_LIMIT

NAME_PATTERN = "^[a-z0-9][a-z0-9_-]{0,63}$"
VERSION_PATTERN = "^[A-Za-z0-9._+-]{1,32}$"

LIST_QUERY = ("limit", "starting_after", "ending_before")
"""The query parameters of ``GET /definitions``."""

VERSIONS_QUERY = ("limit", "starting_after")

_NAME = re.compile(NAME_PATTERN.strip("^$"), re.ASCII)
_VERSION = re.compile(VERSION_PATTERN.strip("^$"), re.ASCII)

_ANY = "*"


def is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None


def checked_name(text: str) -> str:
    """The name in a path. Raises DefinitionNotFound if no definition may have it.

    ``text`` may be percent-encoded, as ``path_of_resource`` leaves it.
    """
    if not is_name(text):
        raise DefinitionNotFound(unquote(text))
    return text


def version_query(event: APIGatewayProxyEvent, name: str) -> str | None:
    """The parameter ``version``; None if the request has none. Raises DefinitionNotFound if no version may be it.

    A space is a ``+`` that the client did not encode.
    """
    text = query_text(event, "version")
    if text is None:
        return None
    version = text.replace(" ", "+")
    if not _VERSION.fullmatch(version):
        raise DefinitionNotFound(name, version)
    return version


def names_query(event: APIGatewayProxyEvent) -> tuple[int, str | None, bool]:
    """Limit, cursor, and True if the page goes down from the cursor. Raises RequestError 422 and InvalidCursor."""
    starting_after, ending_before = query_text(event, "starting_after"), query_text(event, "ending_before")
    if starting_after is not None and ending_before is not None:
        raise InvalidCursor("starting_after and ending_before exclude each other: send one of them")
    cursor = starting_after if ending_before is None else ending_before
    if cursor is not None and not is_name(cursor):
        raise InvalidCursor(f"The cursor '{shortened(cursor)}' names no definition")
    return _limit(event), cursor, ending_before is not None


def versions_query(event: APIGatewayProxyEvent) -> tuple[int, str | None]:
    """Limit and cursor. A space in the cursor is a ``+``. Raises RequestError 422."""
    after = query_text(event, "starting_after")
    return _limit(event), None if after is None else after.replace(" ", "+")


def _limit(event: APIGatewayProxyEvent) -> int:
    limit = query_int(event, "limit", minimum=1, maximum=MAX_LIMIT)
    return DEFAULT_LIMIT if limit is None else limit


def preconditions(event: APIGatewayProxyEvent) -> Allows:
    """The condition of ``If-Match`` and ``If-None-Match`` on the stored version, which is None if there is none."""
    expected, unexpected = header_list(event, "if-match"), header_list(event, "if-none-match")
    return partial(_allows, expected, unexpected)


def _allows(expected: Sequence[str] | None, unexpected: Sequence[str] | None, current: Definition | None) -> bool:
    tags = set() if current is None else {_ANY, etag(current)}
    is_expected = expected is None or not tags.isdisjoint(expected)
    return is_expected and (unexpected is None or tags.isdisjoint(unexpected))


def etag(definition: Definition) -> str:
    return f'"{definition.name}/{definition.version}/{definition.revision}"'


def put_key(event: APIGatewayProxyEvent, now: Now) -> PutKey | None:
    """The request's Idempotency-Key, or None. Raises RequestError 422 for a key that does not fit."""
    key = idempotency_key(event)
    return None if key is None else PutKey(key.digest, key.fingerprint, now() + KEY_LIFE)


# -- responses


def put_response(outcome: PutOutcome) -> Response[str]:
    """201 with the version if the put made it, else 200."""
    headers = {"Idempotent-Replayed": "true"} if outcome.is_replay else {}
    return _whole_response(outcome, 201 if outcome.is_new else 200, headers)


def definition_response(shown: Shown) -> Response[str]:
    return _whole_response(shown, 200, {})


def _whole_response(shown: Shown, status: int, headers: dict[str, str]) -> Response[str]:
    fields = _fields(shown)
    specs = shown.definition.template.input_specs
    fields["input_specs"] = json_object({name: _spec_json(spec) for name, spec in specs.items()})
    return json_response(status, json_object(fields), headers | {"ETag": etag(shown.definition)})


def page_response(page: DefinitionPage, url: str, *, backwards: bool = False) -> Response[str]:
    """The rows in the order of the list, whichever way the page was read."""
    if page.unreadable:
        count_unreadable_rows(page.unreadable)
    rows = [json_object(_fields(Shown(row))) for row in page.rows]
    if backwards:
        rows.reverse()
    return json_response(200, rendering.page_json(rows, next_cursor=page.next_cursor, url=url))


def _fields(shown: Shown) -> dict[str, str]:
    definition, template, terms = shown.definition, shown.definition.template, shown.definition.template.terms
    return {
        "id": json_scalar(definition.name),
        "name": json_scalar(definition.name),
        "version": json_scalar(definition.version),
        "revision": str(definition.revision),
        "image": json_scalar(template.image),
        "constraints": rendering.constraints_json(template.constraints),
        "retry_policy": rendering.retry_policy_json(template.max_attempts, terms),
        "event_delivery": rendering.event_delivery_json(template.event_delivery),
        "priority": str(template.priority),
        "queue": json_scalar(terms.queue),
        "queue_ttl_s": json_scalar(terms.queue_ttl_s),
        "attempt_timeout_s": json_scalar(terms.attempt_timeout_s),
        "retain_s": json_scalar(terms.retain_s),
        "executor": "null",
        "report": "null",
        "created_at": rendering.instant_json(definition.created_at),
        "updated_at": rendering.instant_json(definition.updated_at),
        "deleted_at": rendering.instant_json(shown.deleted_at),
    }


def _spec_json(spec: InputSpec) -> str:
    return json_object(
        {
            "type": json_scalar(spec.type),
            "required": json_scalar(spec.required),
            "default": "null" if spec.default is None else spec.default,
            "description": json_scalar(spec.description),
        }
    )

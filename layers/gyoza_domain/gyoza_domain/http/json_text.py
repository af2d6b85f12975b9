"""Reads JSON from requests and writes the compact text that is stored.

Integers keep every digit and doubles keep their value. Whatever an answer cannot repeat exactly is refused: NaN,
numbers beyond a double, lone surrogates, more than 64 levels, and integers of more than 4,300 digits (the limit of
Python's ``int``).
"""

import json
from collections.abc import Sequence
from typing import Any, NoReturn

from ..domain.run import JsonText
from .errors import RequestError, misfit_error, too_large_error

MAX_DEPTH = 64
"""The most levels of nesting; the document itself is the first (docs/openapi.yaml, description)."""


def parse(raw: bytes) -> Any:
    """The JSON value in the bytes. Raises RequestError 422."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise _malformed("The body is not UTF-8") from None
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise _too_deep() from None
    except json.JSONDecodeError as error:
        raise _malformed(f"The body is not valid JSON (line {error.lineno}, column {error.colno})") from None
    except ValueError:
        raise _malformed("An integer in the body has more than 4,300 digits") from None
    if text.count("[") + text.count("{") > MAX_DEPTH:
        _check_depth(value)
    _check_encodable(value)
    return value


def dump(value: Any) -> JsonText:
    """The value as compact JSON without escapes outside ASCII. The value must come from ``parse``."""
    return JsonText(json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False))


def dump_within(value: Any, limit_bytes: int, loc: Sequence[str]) -> JsonText:
    """The text of ``dump``. Raises RequestError 413, which names ``loc``, if it exceeds the limit."""
    text = dump(value)
    if len(text.encode()) > limit_bytes:
        raise too_large_error(loc, limit_bytes)
    return text


def _refuse_constant(name: str) -> NoReturn:
    raise _malformed(f"{name} is not JSON")


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        containers = [item for item in level if isinstance(item, dict | list)]
        level = [child for item in containers for child in (item.values() if isinstance(item, dict) else item)]
    if any(isinstance(item, dict | list) for item in level):
        raise _too_deep()


def _check_encodable(value: Any) -> None:
    try:
        dump(value).encode()
    except UnicodeEncodeError:
        raise _malformed("A string in the body holds half of a surrogate pair") from None
    except ValueError:
        raise _malformed("A number in the body is beyond what a double holds") from None


def _malformed(msg: str) -> RequestError:
    return misfit_error(["body"], msg, "json_invalid")


def _too_deep() -> RequestError:
    return misfit_error(["body"], f"The body is nested deeper than {MAX_DEPTH} levels", "json_too_deep")

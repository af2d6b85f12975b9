"""One call: a request and its repeats, within a time, until an answer decides. No I/O happens here."""

import json
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from typing import Any, Final, TypeVar
from uuid import uuid4

from gyoza_client._errors import (
    ApiError,
    DefinitionBusy,
    NoAnswer,
    QuotaExceeded,
    RateLimited,
    RunBusy,
    ServerError,
    UnexpectedAnswer,
    api_error,
)
from gyoza_client._models import Misread, Model
from gyoza_client._steps import Answer, Lost, Operation, Send, Sleep

M = TypeVar("M", bound=Model)

Query = Sequence[tuple[str, Any]] | Mapping[str, Any]

_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 8.0

_KEY: Final = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,253}[\x21-\x7e])?")
"""The Idempotency-Key that the API takes."""


class Repeats(Enum):
    """The conditions under which a request may be sent again."""

    FREELY = auto()
    """Twice is as once: reads, puts, deletions, and whatever carries an Idempotency-Key."""

    IF_NOTHING_HAPPENED = auto()
    """Only if the server never got it or said that it did nothing."""


@dataclass(frozen=True)
class Limits:
    """Bounds of a call. All times are in seconds."""

    timeout: float = 30.0
    """Longest wait for one answer."""
    call_timeout: float = 60.0
    """Longest time of a call with its repeats."""
    max_retries: int = 10

    def __post_init__(self) -> None:
        if not self.timeout > 0 or not self.call_timeout > 0:
            raise ValueError("timeout and call_timeout are positive numbers of seconds")
        if self.max_retries < 0:
            raise ValueError("max_retries is 0 or more")


@dataclass(frozen=True)
class Caller:
    """Makes calls. The clock and the random numbers are arguments, so that tests need neither."""

    limits: Limits = Limits()
    now: Callable[[], float] = time.monotonic
    random: Callable[[], float] = random.random
    """A number from 0 to 1."""

    def within(self, seconds: float) -> "Caller":
        """This caller with less time for each call."""
        return replace(self, limits=replace(self.limits, call_timeout=min(self.limits.call_timeout, seconds)))

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Query = (),
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
        repeats: Repeats = Repeats.FREELY,
    ) -> Operation[Answer]:
        """Send until an answer decides. Raises ApiError, NoAnswer, and ValueError for what cannot be sent."""
        end = self.now() + self.limits.call_timeout
        request = Send(
            method,
            path,
            _query(query),
            _headers(headers, body, idempotency_key),
            None if body is None else _json_bytes(body),
            self.limits.timeout,
        )
        tries = 0
        while True:
            left = end - self.now()
            got = yield replace(request, timeout_s=max(min(self.limits.timeout, left), 0.001))
            if isinstance(got, Answer) and got.status < 300:
                return got
            problem = _problem(got, request, idempotency_key)
            pause = self._pause(tries, got)
            tries += 1
            if tries > self.limits.max_retries or not _may_repeat(got, problem, repeats):
                raise problem
            if self.now() + pause >= end:
                raise problem
            yield Sleep(pause)

    def _pause(self, tries: int, got: Answer | Lost | None) -> float:
        """A random part of a pause that doubles; at least what the server asks for, and then a random part on top."""
        jitter = self.random() * min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0**tries)
        asked = retry_after(got) if isinstance(got, Answer) else None
        return jitter if asked is None else asked + min(jitter, 1.0)


def read(kind: type[M], body: Any, **from_headers: Any) -> M:
    """The body as a model, with fields that came in headers. Raises UnexpectedAnswer."""
    try:
        return kind.parse(body, **from_headers)
    except Misread as reason:
        raise UnexpectedAnswer(f"The answer cannot be read: {reason}") from reason


def json_of(answer: Answer) -> Any:
    try:
        return answer.json()
    except ValueError as reason:
        start = answer.body[:200].decode(errors="replace")
        raise UnexpectedAnswer(f"The answer, status {answer.status}, is no JSON. It begins: {start!r}") from reason


def retry_after(answer: Answer) -> float | None:
    """The seconds that the header Retry-After asks for, which holds seconds or an instant."""
    text = answer.headers.get("retry-after", "").strip()
    if text.isdecimal():
        return float(text)
    at, now = _instant(text), _instant(answer.headers.get("date", ""))
    return max((at - now).total_seconds(), 0.0) if at and now else None


def new_key(given: str | None) -> str:
    """The caller's Idempotency-Key, or a new one. Raises ValueError for one that the API does not take."""
    if given is None:
        return str(uuid4())
    if not _KEY.fullmatch(given):
        raise ValueError("An idempotency_key is 1 to 255 printable ASCII characters, without a space at its ends")
    return given


def _problem(got: Answer | Lost | None, request: Send, idempotency_key: str | None) -> ApiError | NoAnswer:
    if isinstance(got, Answer):
        try:
            body = got.json()
        except ValueError:
            body = None
        return api_error(got.status, body, idempotency_key)
    text = got.text if got else "none came"
    return NoAnswer(f"No answer to {request.method} {request.path}: {text}", idempotency_key)


def _may_repeat(got: Answer | Lost | None, problem: ApiError | NoAnswer, repeats: Repeats) -> bool:
    if isinstance(got, Lost):
        return repeats is Repeats.FREELY or not got.maybe_done
    if isinstance(problem, ServerError):
        return repeats is Repeats.FREELY
    if isinstance(problem, RateLimited):
        return not isinstance(problem, QuotaExceeded)
    return isinstance(problem, RunBusy | DefinitionBusy)


def _headers(given: Mapping[str, str] | None, body: Any, idempotency_key: str | None) -> dict[str, str]:
    headers = {"Accept": "application/json", **(given or {})}
    if body is not None:
        headers["Content-Type"] = "application/json"
    if idempotency_key is not None:
        headers["Idempotency-Key"] = idempotency_key
    for name, value in headers.items():
        if not (name + value).isascii() or not (name + value).isprintable():
            raise ValueError(f"The header {name!r} holds more than printable ASCII")
    return headers


def _query(query: Query) -> tuple[tuple[str, str], ...]:
    pairs = query.items() if isinstance(query, Mapping) else query
    return tuple(
        (name, _text(each))
        for name, value in pairs
        if value is not None
        for each in (value if isinstance(value, list | tuple) else [value])
    )


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _json_bytes(body: Any) -> bytes:
    """Compact UTF-8 JSON. Raises ValueError for NaN and half a surrogate pair, TypeError for what JSON has not."""
    return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, Model):
        return value.raw
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, datetime):
        return instant_text(value)
    raise TypeError(f"{type(value).__name__} cannot be sent as JSON")


def instant_text(instant: datetime | str | None) -> str | None:
    """The instant as RFC 3339. Raises ValueError for a datetime without a zone."""
    if isinstance(instant, datetime):
        if instant.tzinfo is None:
            raise ValueError("A datetime needs a time zone: datetime.now(UTC)")
        return instant.isoformat()
    return instant


def _instant(text: str) -> datetime | None:
    try:
        return parsedate_to_datetime(text)
    except ValueError:
        return None

"""The steps that an operation yields to its driver, and the replies that it gets back. No I/O happens here."""

import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeAlias, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Send:
    """Send a request; the driver gives an Answer or a Lost back."""

    method: str
    path: str
    """Percent-encoded, below the address of the API."""
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    body: bytes | None
    timeout_s: float


@dataclass(frozen=True)
class Sleep:
    """Pause; the driver gives None back."""

    seconds: float


@dataclass(frozen=True)
class Item(Generic[T]):
    """Hand a value to the caller that iterates; the driver gives None back."""

    value: T


@dataclass(frozen=True)
class Answer:
    """An answer to a request, whatever its status."""

    status: int
    headers: Mapping[str, str]
    """The names are in lower case."""
    body: bytes = field(repr=False)

    def json(self) -> Any:
        """The body as JSON, or None if there is no body. Raises ValueError."""
        return json.loads(self.body) if self.body else None


@dataclass(frozen=True)
class Lost:
    """No answer came."""

    text: str
    maybe_done: bool
    """Whether the server may have got the request."""
    client_is_closed: bool = False
    """Whether the client was closed before the answer came."""


CLOSED: Final = Lost("the client was closed", maybe_done=False, client_is_closed=True)


Reply: TypeAlias = Answer | Lost | None

Operation: TypeAlias = Generator[Send | Sleep, Reply, T]
"""Yields what to do and returns the result."""

Stream: TypeAlias = Generator[Send | Sleep | Item[T], Reply, None]
"""Yields what to do and, in between, the values."""

"""The evidence that a test collects: each request with its answer, and the run that is left."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .model import mark_of


@dataclass(frozen=True, slots=True)
class Exchange:
    """One sending of a request, and its answer."""

    intent: int
    """The number of the request. Every sending of it has the same."""
    sending: int
    """The number of the sending, from 1."""
    method: str
    path: str
    body: Any
    key: str | None
    started_s: float
    """The seconds of the monotonic clock, like ``ended_s``."""
    ended_s: float
    status: int
    answer: Any
    is_replay: bool = False

    @property
    def succeeded(self) -> bool:
        return self.status in (200, 201)

    @property
    def took_effect(self) -> bool:
        """True if the answer says that this sending changed the run."""
        return self.succeeded and not self.is_replay

    @property
    def is_unknown(self) -> bool:
        """True if the answer does not tell whether the write happened."""
        return self.status == 503

    @property
    def code(self) -> str | None:
        code: str | None = None if self.succeeded else self.answer["code"]
        return code

    @property
    def mark(self) -> str | None:
        return mark_of(self.body or {})

    @property
    def token(self) -> int | None:
        """The fencing token the body carries."""
        token: int | None = (self.body or {}).get("attempt")
        return token


@dataclass(frozen=True, slots=True)
class Final:
    """A run after the last request: the answer to GET, the whole timeline, every attempt."""

    run: Mapping[str, Any]
    events: Sequence[Mapping[str, Any]]
    attempts: Sequence[Mapping[str, Any]]

"""Runs, attempts and pages as a client sees them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from ..domain.run import Event, OpAttempt, OpRun, RunSpec, State


@dataclass(frozen=True, slots=True)
class RunView:
    """A run as a client sees it, of one version; ``events`` are the current attempt's newest, oldest first."""

    run: OpRun
    spec: RunSpec
    events: Sequence[Event] = ()


@dataclass(frozen=True, slots=True)
class AttemptView:
    """An attempt with its newest events, oldest first."""

    attempt: OpAttempt
    events: Sequence[Event]


class Direction(StrEnum):
    OLDER = "older"
    NEWER = "newer"


@dataclass(frozen=True, slots=True)
class RunQuery:
    """Which runs, and where from. ``after`` is a run id: the page begins right behind it, in ``direction``.

    ``created_from`` and ``created_to`` bound the creation instant, both inclusive.
    """

    limit: int
    direction: Direction = Direction.OLDER
    after: str | None = None
    state: State | None = None
    image: str | None = None
    op_definition: str | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None


@dataclass(frozen=True, slots=True)
class RunPage:
    """Rows in the direction of travel, read as they are taken; ``next_cursor`` is None when nothing lies beyond."""

    rows: Iterator[RunView]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events in ascending order; ``has_more`` tells of newer ones within what was asked for."""

    state: State
    events: Sequence[Event]
    has_more: bool


@dataclass(frozen=True, slots=True)
class AttemptPage:
    """Attempts of ``run``, oldest first, read as they are taken."""

    run: OpRun
    spec: RunSpec
    attempts: Iterator[AttemptView]

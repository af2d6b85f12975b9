"""Defines the runs, attempts and pages that clients see."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from ..domain.run import Change, Event, OpAttempt, OpRun, RunSpec, State

MAX_EVENTS_OF_RUN = 100
"""The most events that a run shows (docs/openapi.yaml, OpRun)."""

MAX_EVENTS_OF_ATTEMPT = 20
"""The most events that an attempt shows (docs/openapi.yaml, OpAttempt)."""

MAX_EVENTS_OF_PAGE = 1_000
"""The most events on a page of a timeline (docs/openapi.yaml, EventList)."""

MAX_EVENT_BYTES = 1_000_000
"""The most bytes of the events' texts in one answer. The event that exceeds it and all later ones are left out."""


@dataclass(frozen=True, slots=True)
class RunView:
    """A run at one version, as a client sees it. ``events`` are the current attempt's newest, oldest first."""

    run: OpRun
    spec: RunSpec
    events: Sequence[Event] = ()

    def after(self, change: Change) -> "RunView":
        """The view that a change of this run leads to."""
        earlier = self.events if change.closed is None else ()
        events = [*earlier, *(event for event in change.events if event.attempt == change.after.attempt.number)]
        return RunView(change.after, self.spec, newest_events(events))


@dataclass(frozen=True, slots=True)
class AttemptView:
    """An attempt with its newest events, oldest first."""

    attempt: OpAttempt
    events: Sequence[Event]


class Direction(StrEnum):
    OLDER = "older"
    NEWER = "newer"


class RowShape(StrEnum):
    """The parts of a run that a row of a list shows."""

    WHOLE = "whole"
    """All but the events."""
    WITH_EVENTS = "with events"
    SUMMARY = "summary"
    """Neither documents nor events nor the claim."""


@dataclass(frozen=True, slots=True)
class RunQuery:
    """The filters and the place of a page. The page begins right behind the run ``after``, in ``direction``.

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
    """Rows in the direction of the query; each is read when the iterator reaches it.

    ``next_cursor`` is None on the last page. ``unreadable`` counts the rows that are left out because a newer release
    wrote them.
    """

    rows: Iterator[RunView]
    next_cursor: str | None
    unreadable: int = 0


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events in ascending order. ``has_more`` is true if the requested timeline has newer events.

    ``run`` is the run as it stood when the events were read, without claim and result.
    """

    run: OpRun
    events: Sequence[Event]
    has_more: bool


@dataclass(frozen=True, slots=True)
class AttemptPage:
    """The attempts of ``run``, oldest first; each is read when the iterator reaches it."""

    run: OpRun
    spec: RunSpec
    attempts: Iterator[AttemptView]


def newest_events(events: Sequence[Event]) -> Sequence[Event]:
    """The newest of ascending events that a run shows: at most 100, and at most 1 MB of them."""
    return list(events_within_size(reversed(events[-MAX_EVENTS_OF_RUN:])))[::-1]


def events_within_size(events: Iterable[Event]) -> Iterator[Event]:
    """The first events whose texts fit an answer together."""
    size = 0
    for event in events:
        size += event.text_bytes
        if size > MAX_EVENT_BYTES:
            return
        yield event

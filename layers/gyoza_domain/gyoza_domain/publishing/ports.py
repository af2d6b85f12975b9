"""Declares the ports of publishing and the values that pass through them.

The ports of the routes are in ``runs.ports``, because the routes never publish and need not load this module.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, Protocol

from .messages import Message

FIFO = ".fifo"
"""The suffix of a FIFO topic's name. SNS keeps the order of each run's events on such a topic."""


@dataclass(frozen=True, slots=True)
class EventRange:
    """The events ``first_seq`` to ``last_seq`` of a run, both included. CREATION stands for the run's creation."""

    run_id: str
    created_at: datetime
    first_seq: int
    last_seq: int


@dataclass(frozen=True, slots=True)
class ParkedEvent:
    """An event, or a record of the stream, that could not be published, and the reason.

    ``run_id`` and ``seq`` (CREATION for the creation) name an event. ``record`` holds a record of the stream that
    could not be read; its ``seq`` is None.
    """

    reason: str
    run_id: str | None = None
    seq: int | None = None
    topic: str | None = None
    record: Mapping[str, Any] | None = None

    @property
    def leaves_gap(self) -> bool:
        """True if the topic is FIFO: its readers miss this event between the events before and after it."""
        return self.topic is not None and self.topic.endswith(FIFO)


@dataclass(frozen=True, slots=True)
class StreamChange:
    """The new events in one record of the table's stream. At most one of the last two fields is set.

    ``sequence_number`` names the record in its stream. ``written_at`` is the time of the write, to the second; None if
    the record does not hold it.
    """

    sequence_number: str
    written_at: datetime | None = None
    events: EventRange | None = None
    unreadable: ParkedEvent | None = None


class Absence(Enum):
    """The reason why the table has no message for an event."""

    MISSING = "missing"
    """An item was not found. It may become visible soon: DynamoDB applies a transaction item by item."""
    UNREADABLE = "unreadable"
    """This code cannot read an item. A newer version of the code may be able to."""
    GONE = "gone"
    """The run was deleted."""


@dataclass(frozen=True, slots=True)
class Lack:
    absence: Absence
    reason: str


@dataclass(frozen=True, slots=True)
class Outgoing:
    """The messages of a range by ``seq``. Every event of the range is in ``messages`` or in ``lacks``.

    ``topic`` is the local name of the run's topic; None if the run's SPEC could not be read.
    """

    topic: str | None
    messages: Mapping[int, Message] = field(default_factory=dict)
    lacks: Mapping[int, Lack] = field(default_factory=dict)


class RunUnreadable(Exception):
    """The run exists, but this code cannot read its HEAD."""


class Outbox(Protocol):
    """The events in the table, as messages. Each method raises StorageUnavailable."""

    def read(self, ranges: Sequence[EventRange]) -> Mapping[str, Outgoing]:
        """The messages of each range, by run id. Give at most one range for each run."""

    def range_of(self, run_id: str, first_seq: int, last_seq: int | None = None) -> EventRange:
        """The existing events of a run between two numbers; None sets no bound.

        Raises RunNotFound, also for a run that is being deleted, and RunUnreadable.
        """


class Fate(Enum):
    ACCEPTED = "accepted"
    REFUSED = "refused"
    """SNS refuses the same message again until somebody changes something."""
    DELAYED = "delayed"
    """SNS does not take the message now, or its answer was lost and it may have accepted the message."""


@dataclass(frozen=True, slots=True)
class Verdict:
    fate: Fate
    reason: str = ""


class Topics(Protocol):
    def publish(self, topic: str, messages: Sequence[Message]) -> Sequence[Verdict]:
        """Publish to the topic with that local name, and create the topic if it is missing.

        Takes at most as many messages as ``sending.next_batch`` returns. Returns one verdict a message, in order.
        """


class QueueUnavailable(Exception):
    """The queue of parked events did only a part of the request or nothing."""


@dataclass(frozen=True, slots=True)
class TakenEvent:
    """A parked event that a caller has taken from the queue. For a while no other caller gets it.

    ``message_id`` names the queue's message and ``receipt`` the taking of it. Two messages of the same event have the
    same ``key``. ``event`` is None for a message that gyoza did not write.
    """

    message_id: str
    receipt: str
    key: str
    event: ParkedEvent | None


class ParkedQueue(Protocol):
    """The events that wait for an operator. Each method raises QueueUnavailable."""

    def park(self, events: Sequence[ParkedEvent]) -> None:
        """Store each event at least once."""

    def take(self) -> Sequence[TakenEvent]:
        """Take some of the parked events. Returns none if all are taken."""

    def remove(self, taken: TakenEvent) -> None:
        """Delete the event from the queue."""

    def put_back(self, taken: Sequence[TakenEvent]) -> None:
        """Make each event available again at once, even if the queue fails for some of them."""

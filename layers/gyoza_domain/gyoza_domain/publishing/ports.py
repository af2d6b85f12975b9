"""Declares what publishing needs from outside, and the values that pass between the parts.

The routes never publish: their ports are in ``runs.ports``, so that they need not load this module.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, Protocol

from .messages import Message

FIFO = ".fifo"
"""The end of a topic's name. SNS keeps the order of each run's events on a topic that ends so."""


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
        """Whether readers who rely on the order of a FIFO topic miss this event."""
        return self.topic is not None and self.topic.endswith(FIFO)


@dataclass(frozen=True, slots=True)
class StreamChange:
    """The new events that one record of the table's stream tells of. At most one of the two last fields is set.

    ``sequence_number`` names the record in its stream. ``written_at``: when the record was written, to the second, if
    it says so.
    """

    sequence_number: str
    written_at: datetime | None = None
    events: EventRange | None = None
    unreadable: ParkedEvent | None = None


class Absence(Enum):
    """Tells why the table has no message for an event."""

    MISSING = "missing"
    """An item was not found. It may become visible soon: DynamoDB applies a transaction item by item."""
    UNREADABLE = "unreadable"
    """This code does not understand an item. A newer version of the code may."""
    GONE = "gone"
    """The run was deleted."""


@dataclass(frozen=True, slots=True)
class Lack:
    absence: Absence
    reason: str


@dataclass(frozen=True, slots=True)
class Outgoing:
    """The messages of a range by ``seq``. Each event of the range is either in ``messages`` or in ``lacks``.

    ``topic`` is the local name of the run's topic; None if the run's SPEC could not be read.
    """

    topic: str | None
    messages: Mapping[int, Message] = field(default_factory=dict)
    lacks: Mapping[int, Lack] = field(default_factory=dict)


class RunUnreadable(Exception):
    """The run exists, but this code does not understand its HEAD."""


class Outbox(Protocol):
    """The events in the table, as messages. Each method raises StorageUnavailable."""

    def read(self, ranges: Sequence[EventRange]) -> Mapping[str, Outgoing]:
        """The messages of each range, by run id. At most one range a run."""

    def range_of(self, run_id: str, first_seq: int, last_seq: int | None = None) -> EventRange:
        """The events of a run that exist between two numbers, None for no bound.

        Raises RunNotFound, also for a run that is being deleted, and RunUnreadable.
        """


class Fate(Enum):
    ACCEPTED = "accepted"
    REFUSED = "refused"
    """For good: SNS refuses the same message again until somebody changes something."""
    DELAYED = "delayed"
    """For now; or the answer was lost, and SNS may have accepted the message."""


@dataclass(frozen=True, slots=True)
class Verdict:
    fate: Fate
    reason: str = ""


class Topics(Protocol):
    def publish(self, topic: str, messages: Sequence[Message]) -> Sequence[Verdict]:
        """Publish to the topic of that local name, and create it if it is missing.

        Takes at most as many messages as ``sending.next_batch`` returns. Returns a verdict a message, in order.
        """


class QueueUnavailable(Exception):
    """The queue of parked events did not do all it was asked, perhaps nothing of it."""


@dataclass(frozen=True, slots=True)
class TakenEvent:
    """A parked event that one caller has taken from the queue; no other caller is given it for a while.

    ``message_id`` names the queue's message, and ``receipt`` this taking of it. ``key`` is equal for two messages that
    hold the same event. ``event`` is None for a message that gyoza did not put into the queue.
    """

    message_id: str
    receipt: str
    key: str
    event: ParkedEvent | None


class ParkedQueue(Protocol):
    """The events that wait for an operator. Each method raises QueueUnavailable."""

    def park(self, events: Sequence[ParkedEvent]) -> None:
        """Keep each of the events, at least once."""

    def take(self) -> Sequence[TakenEvent]:
        """Some of the parked events; none if all have been taken."""

    def remove(self, taken: TakenEvent) -> None:
        """Forget the event."""

    def put_back(self, taken: Sequence[TakenEvent]) -> None:
        """Let each of them be taken again at once, also if the queue fails for some of them."""

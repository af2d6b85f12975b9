"""What publishing needs from the outside, each with the promise it must keep.

Apart from the ports of the routes, which never publish and need not load this.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Protocol

from ..domain.run import Event
from .messages import Message, Subject

FIFO = ".fifo"
"""The end of the name of a topic that keeps the order of each run's events (contract, section 2)."""


@dataclass(frozen=True, slots=True)
class EventRange:
    """The events ``first_seq`` to ``last_seq`` of a run, both inclusive; CREATION is one of them."""

    run_id: str
    created_at: datetime
    first_seq: int
    last_seq: int


@dataclass(frozen=True, slots=True)
class ParkedEvent:
    """What could not be published and will not be by trying again, and why.

    A run id with a ``seq`` (CREATION for the creation) names the event. A record of the stream that could not be read
    is kept itself, as ``record``.
    """

    reason: str
    run_id: str | None = None
    seq: int | None = None
    topic: str | None = None
    record: Mapping[str, Any] | None = None

    @property
    def leaves_gap(self) -> bool:
        """Whether readers who rely on the order of a FIFO topic go without it."""
        return self.topic is not None and self.topic.endswith(FIFO)


@dataclass(frozen=True, slots=True)
class StreamChange:
    """What one record of the table's stream asks for: one of two, or nothing.

    ``sequence_number`` is the record's name in the stream.
    """

    sequence_number: str
    events: EventRange | None = None
    unreadable: ParkedEvent | None = None


@dataclass(frozen=True, slots=True)
class Outgoing:
    """What the table holds of a range. An event that cannot be read is the reason why, as text."""

    subject: Subject
    events: Mapping[int, Event | str]


class Outbox(Protocol):
    """The events in the table. Raises StorageUnavailable."""

    def read(self, ranges: Sequence[EventRange]) -> Mapping[str, Outgoing | str]:
        """By run id, one range a run: its events but the creation; or why none of them can be read, as text."""

    def range_of(self, run_id: str, first_seq: int, last_seq: int | None = None) -> EventRange:
        """The events of a run that exist between two numbers, None for no bound. Raises RunNotFound."""


class Fate(Enum):
    ACCEPTED = "accepted"
    REFUSED = "refused"
    """For good: the same message will be refused again until somebody changes something."""
    DELAYED = "delayed"
    """For now; or the answer was lost, and the message may have been accepted."""


@dataclass(frozen=True, slots=True)
class Verdict:
    fate: Fate
    reason: str = ""


class Topics(Protocol):
    def publish(self, topic: str, messages: Sequence[Message]) -> Sequence[Verdict]:
        """Publish to the topic of that local name, which is created where there is none; a verdict a message, in order.

        At most as many messages as ``batches.next_batch`` returns.
        """


class ParkingUnavailable(Exception):
    """Not all was parked, perhaps nothing."""


class ParkedEvents(Protocol):
    def park(self, events: Sequence[ParkedEvent]) -> None:
        """Keep the events for an operator, at least once each. Raises ParkingUnavailable."""


@dataclass(frozen=True, slots=True)
class HeldEvent:
    """A parked event taken from where it is kept; nobody else is given it for a while.

    ``receipt`` stands for it there. ``event`` is None where somebody else put something in.
    """

    receipt: str
    event: ParkedEvent | None


class ParkedQueue(Protocol):
    def take(self) -> Sequence[HeldEvent]:
        """Some of the parked events; none when all have been taken."""

    def remove(self, held: HeldEvent) -> None: ...

    def put_back(self, held: HeldEvent) -> None:
        """Let it be taken again at once."""

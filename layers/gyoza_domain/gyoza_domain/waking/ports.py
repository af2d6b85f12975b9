"""Declares the ports of the timer, each with the promises that its adapter keeps."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Any, Protocol

STANDSTILL = timedelta(minutes=3)
"""The timer stands still if no sweep has begun for this long."""


class Subject(Enum):
    """The part of a run that an entry of the index stands for."""

    RUN = auto()
    """The earliest of the run's own instants."""
    LEASE = auto()
    """The end of the current attempt's lease, or an earlier instant: renewals move the entry only now and then."""
    REMAINS = auto()
    """A removed run, of which something is still stored."""
    UNKNOWN = auto()
    """Something that a newer release stored."""


@dataclass(frozen=True, slots=True)
class DueEntry:
    """An entry of the index of instants. ``origin`` is the index's own record of it, which its methods take back."""

    run_id: str
    subject: Subject
    due_at: datetime
    origin: Any = None


@dataclass(frozen=True, slots=True)
class DuePage:
    """The entries of one page, the earliest first. ``next_page`` is None after the last page."""

    entries: Sequence[DueEntry]
    next_page: Any = None


@dataclass(frozen=True, slots=True)
class SweepNote:
    """The beginning of the newest sweep, and the newest standstill that a sweep has ended.

    ``last_at`` is None if no sweep has ever begun. The standstill lies between the beginnings of two sweeps.
    """

    last_at: datetime | None = None
    stood_from: datetime | None = None
    stood_until: datetime | None = None

    def stands_still(self, now: datetime) -> bool:
        return self.last_at is None or now - self.last_at > STANDSTILL

    def covers(self, instant: datetime) -> bool:
        """True if the timer stood still at the instant."""
        if self.stood_from is None or self.stood_until is None:
            return False
        return self.stood_from < instant <= self.stood_until


class DueIndex(Protocol):
    """The instants at which the timer must look at something.

    A page may trail a write by the delay of the index, so an entry may be of the past. Every method raises
    StorageUnavailable.
    """

    shards: Sequence[str]
    """The parts of the index that hold runs and leases."""

    remains: str
    """The part of the index that holds removed runs."""

    def due(self, shard: str, until: datetime, limit: int, page: Any = None) -> DuePage:
        """The entries of the shard up to the instant. ``page``: a ``next_page``; None for the first."""

    def move(self, entry: DueEntry, due_at: datetime | None) -> None:
        """Let the entry be due at the instant; None takes it out of the index.

        Changes nothing if the entry has changed since it was read.
        """

    def set_back(self, entry: DueEntry, now: datetime) -> datetime:
        """Let the entry be due later, without a look at what it stands for.

        The delay is a minute and doubles with each time in a row, up to an hour. Changes nothing if the entry has
        changed since it was read. Returns the instant at which the entry was due before it was first set back.
        """

    def note(self) -> SweepNote:
        """The newest note, or an older one for less than a second after a change."""

    def note_sweep(self, now: datetime) -> SweepNote:
        """Note that a sweep begins at ``now``, and the standstill that it ends, if any. Returns the new note."""


class Remains(Protocol):
    """The items of removed runs. Every method raises StorageUnavailable."""

    def delete_some(self, run_id: str, most: int) -> int:
        """Delete up to so many items of a removed run, and take it out of the index of instants once nothing is left.

        Deletes nothing of a run that is not removed. Returns the number of deleted items: less than ``most`` if
        nothing is left.
        """

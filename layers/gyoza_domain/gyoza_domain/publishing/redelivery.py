"""Publishes a run's events again, for an operator who asks."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .delivery import Delivery, TimeLeft
from .ports import Outbox, ParkedEvent, Topics

_EVENTS_A_READ = 100
"""One batch of keys."""


class NotParkedAgain:
    """Parks nothing: the operator is told of refused events, or they lie in the queue already."""

    def park(self, events: Sequence[ParkedEvent]) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Redelivered:
    """``next_seq``: where to go on, None when all was tried. ``refused``: what will not go by trying again."""

    published: int
    refused: Sequence[ParkedEvent]
    next_seq: int | None


def redeliver(outbox: Outbox, topics: Topics, run_id: str, from_seq: int, time_left_s: TimeLeft) -> Redelivered:
    """Publish the run's events from ``from_seq`` on again. Raises RunNotFound and StorageUnavailable."""
    delivery = Delivery(outbox, topics, NotParkedAgain())
    wanted = outbox.range_of(run_id, from_seq)
    published = 0
    refused: list[ParkedEvent] = []
    for first_seq in range(from_seq, wanted.last_seq + 1, _EVENTS_A_READ):
        last_seq = min(first_seq + _EVENTS_A_READ - 1, wanted.last_seq)
        report = delivery.publish([replace(wanted, first_seq=first_seq, last_seq=last_seq)], time_left_s)
        published += report.published
        refused += report.parked
        if run_id in report.pending:
            return Redelivered(published, refused, report.pending[run_id])
    return Redelivered(published, refused, None)

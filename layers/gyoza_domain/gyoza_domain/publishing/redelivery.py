"""Publishes stored events again on the request of an operator."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..runs.pausing import Pauses
from ..runs.ports import Clock
from .ports import Absence, EventRange, Outbox, Outgoing, ParkedEvent, Topics
from .sending import Report, RunSteps, Sender, TimeLeft, at_most

MAX_REQUEST_S = 240.0
"""The most seconds of work in one request. The rest of five minutes is for the last call and its retries."""

_MAX_EVENTS_A_READ = 100
"""The events in one read: one batch of keys."""


@dataclass(frozen=True, slots=True)
class Redelivered:
    """``refused`` lists the events that cannot be published. ``next_seq`` is the first untried event, or None."""

    published: int
    refused: Sequence[ParkedEvent]
    next_seq: int | None


class Redelivery:
    """Publishes events of the table for one request and parks nothing.

    An item that HEAD promises may not be visible yet. The request then repeats the read, with growing random pauses of
    one second in all. If the item is still missing, it counts the event as refused.
    """

    def __init__(self, outbox: Outbox, topics: Topics, clock: Clock) -> None:
        self._outbox = outbox
        self._sender = Sender(topics)
        self._pauses = Pauses(clock)

    def run(self, run_id: str, from_seq: int, time_left_s: TimeLeft) -> Redelivered:
        """Publish the run's events from ``from_seq`` on. Raises RunNotFound, RunUnreadable and StorageUnavailable."""
        time_left_s = at_most(MAX_REQUEST_S, time_left_s)
        wanted = self._outbox.range_of(run_id, from_seq)
        published = 0
        refused: list[ParkedEvent] = []
        for first_seq in range(from_seq, wanted.last_seq + 1, _MAX_EVENTS_A_READ):
            last_seq = min(first_seq + _MAX_EVENTS_A_READ - 1, wanted.last_seq)
            report, next_seq = self.publish(replace(wanted, first_seq=first_seq, last_seq=last_seq), time_left_s)
            published += report.published
            refused += report.parked
            if next_seq is not None:
                return Redelivered(published, refused, next_seq)
        return Redelivered(published, refused, None)

    def publish(self, wanted: EventRange, time_left_s: TimeLeft) -> tuple[Report, int | None]:
        """Publish a range. Returns a report and the first unpublished event or None. Raises StorageUnavailable."""
        run = RunSteps(wanted.run_id)
        run.add(0, wanted, self._settled(wanted), is_young=False)
        report = self._sender.send([run], time_left_s)
        return report, run.steps[0].seq if run.steps else None

    def _settled(self, wanted: EventRange) -> Outgoing:
        while True:
            outgoing = self._outbox.read([wanted])[wanted.run_id]
            is_complete = all(lack.absence is not Absence.MISSING for lack in outgoing.lacks.values())
            if is_complete or not self._pauses.has_paused():
                return outgoing

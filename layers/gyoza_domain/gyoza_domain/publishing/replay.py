"""Tries every parked event once more, for an operator who asks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..domain.errors import RunNotFound
from .delivery import CALL_S, Delivery, TimeLeft
from .ports import EventRange, HeldEvent, Outbox, ParkedEvent, ParkedQueue, StreamChange, Topics
from .redelivery import NotParkedAgain

_READ_S = 10.0
"""Time that a held event may take beside its call to SNS."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """``kept``: the events that are in the queue as before, each with why."""

    published: int
    kept: Sequence[ParkedEvent]


class Replay:
    """Tries every parked event once more and takes from the queue what went."""

    def __init__(
        self,
        queue: ParkedQueue,
        outbox: Outbox,
        topics: Topics,
        change_of: Callable[[Mapping[str, Any]], StreamChange],
    ) -> None:
        self._queue = queue
        self._outbox = outbox
        self._topics = topics
        self._change_of = change_of

    def run(self, time_left_s: TimeLeft) -> Replayed:
        """Until the queue is empty or the time is up."""
        published = 0
        kept: list[tuple[HeldEvent, ParkedEvent]] = []
        while time_left_s() > CALL_S + _READ_S and (taken := self._queue.take()):
            for held in sorted(taken, key=_place):
                count, why_not = self._try(held.event, time_left_s)
                published += count
                if why_not is None:
                    self._queue.remove(held)
                else:
                    kept.append((held, why_not))
        for held, _ in kept:
            self._queue.put_back(held)
        return Replayed(published, [why_not for _, why_not in kept])

    def _try(self, event: ParkedEvent | None, time_left_s: TimeLeft) -> tuple[int, ParkedEvent | None]:
        """How many events went, and the first that did not."""
        if event is None:
            return 0, ParkedEvent("The message was not put into the queue by gyoza")
        try:
            events = self._events(event)
        except RunNotFound as error:
            return 0, replace(event, reason=str(error))
        if isinstance(events, ParkedEvent):
            return 0, events
        if events is None:
            return 0, None
        # A delivery of its own: one that remembers a run's later events would take this one for delivered.
        report = Delivery(self._outbox, self._topics, NotParkedAgain()).publish([events], time_left_s)
        if report.pending:
            return report.published, replace(event, reason="SNS takes nothing now, or the time was up")
        return report.published, report.parked[0] if report.parked else None

    def _events(self, event: ParkedEvent) -> EventRange | ParkedEvent | None:
        if event.record is not None:
            change = self._change_of(event.record)
            return change.unreadable or change.events
        if event.run_id is None or event.seq is None:
            return event
        return self._outbox.range_of(event.run_id, event.seq, event.seq)


def _place(held: HeldEvent) -> tuple[str, int]:
    """Events of a run in their order, as far as one handful of the queue holds them."""
    event = held.event
    return ("", 0) if event is None else (event.run_id or "", event.seq or 0)

"""Publishes parked events again on the request of an operator."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..domain.errors import RunNotFound, StorageUnavailable
from .ports import Outbox, ParkedEvent, ParkedQueue, QueueUnavailable, RunUnreadable, StreamChange, TakenEvent
from .redelivery import MAX_REQUEST_S, Redelivery
from .sending import MAX_CALL_S, TimeLeft, at_most

_MAX_EVENT_S = MAX_CALL_S + 10.0
"""The longest time that one event needs for its call to SNS and its reads. It is tried only with this much left."""

_NOT_OURS = ParkedEvent("The message was not put into the queue by gyoza")


@dataclass
class Replayed:
    """The result of one request. ``kept`` lists the tried events that stay in the queue, each with its reason.

    ``dropped`` counts the messages that were removed without publishing: second copies, and messages without an event.
    ``tried`` holds the keys of all events that this replay keeps, with those of earlier requests. ``has_more`` is true
    if the time ran out before the queue was empty.
    """

    published: int = 0
    dropped: int = 0
    kept: list[ParkedEvent] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)
    has_more: bool = False


class Replay:
    """One request of a replay. It takes events from the queue, publishes them and removes the published ones.

    It puts back every event that it did not remove, even after an error. A replay may take several requests; a later
    request does not try an event that an earlier one kept. It removes the second copy of an event.
    """

    def __init__(
        self,
        queue: ParkedQueue,
        outbox: Outbox,
        redelivery: Redelivery,
        change_of: Callable[[Mapping[str, Any]], StreamChange],
    ) -> None:
        self._queue = queue
        self._outbox = outbox
        self._redelivery = redelivery
        self._change_of = change_of
        self._held: dict[str, TakenEvent] = {}

    def run(self, tried: Sequence[str], time_left_s: TimeLeft) -> Replayed:
        """Try all events but those ``tried``, until the queue is empty or the time is up. Raises QueueUnavailable."""
        time_left_s = at_most(MAX_REQUEST_S, time_left_s)
        done = Replayed(tried=list(tried))
        kept_before, met = set(tried), set[str]()
        try:
            while taken := self._take():
                for each in taken:
                    if each.key in met and each.event is not None:
                        done.dropped += self._remove(each)
                    elif each.key not in kept_before:
                        if time_left_s() < _MAX_EVENT_S:
                            done.has_more = True
                            return done
                        self._try(each, done, time_left_s)
                    met.add(each.key)
        finally:
            self._queue.put_back(list(self._held.values()))
        return done

    def _take(self) -> Sequence[TakenEvent]:
        """The next events, in the order of their run.

        SQS may give a held message again. It is not a copy; only its receipt is newer.
        """
        taken: list[TakenEvent] = []
        while not taken:
            given = self._queue.take()
            if not given:
                break
            taken = [each for each in given if each.message_id not in self._held]
            self._held |= {each.message_id: each for each in given}
        return sorted(taken, key=_place)

    def _remove(self, taken: TakenEvent) -> bool:
        """Remove the event from the queue. Returns False if the queue failed; the event is then put back."""
        try:
            self._queue.remove(taken)
        except QueueUnavailable:
            return False
        del self._held[taken.message_id]
        return True

    def _try(self, taken: TakenEvent, done: Replayed, time_left_s: TimeLeft) -> None:
        kept = self._publish(taken.event, done, time_left_s)
        if kept is None and not self._remove(taken):
            kept = replace(taken.event or _NOT_OURS, reason="It was published, but the queue did not remove it")
        if kept is not None:
            done.kept.append(kept)
            done.tried.append(taken.key)

    def _publish(self, event: ParkedEvent | None, done: Replayed, time_left_s: TimeLeft) -> ParkedEvent | None:
        """Publish the event. Returns None if it was published or dropped, otherwise the first event that stays, with
        its reason.
        """
        if event is None:
            return _NOT_OURS
        try:
            change = self._change(event)
            if change.events is None:
                done.dropped += change.unreadable is None
                return change.unreadable
            report, next_seq = self._redelivery.publish(change.events, time_left_s)
        except (RunNotFound, RunUnreadable) as error:
            return replace(event, reason=str(error))
        except StorageUnavailable:
            return replace(event, reason="The table did not take the read")
        done.published += report.published
        done.dropped += not report.published and not report.parked and next_seq is None
        if next_seq is not None:
            return replace(event, reason="; ".join(sorted(report.delays)))
        return report.parked[0] if report.parked else None

    def _change(self, event: ParkedEvent) -> StreamChange:
        """The events to publish: those of the kept stream record, or the event itself. An unreadable one has none."""
        if event.record is not None:
            return self._change_of(event.record)
        if event.run_id is None or event.seq is None:
            return StreamChange("", unreadable=event)
        return StreamChange("", events=self._outbox.range_of(event.run_id, event.seq, event.seq))


def _place(taken: TakenEvent) -> tuple[str, int]:
    event = taken.event
    return ("", 0) if event is None else (event.run_id or "", event.seq or 0)

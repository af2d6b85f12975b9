"""Delivers the events in the table's stream. SNS accepts each event, or it is parked, or it comes again."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from ..domain.errors import StorageUnavailable
from ..runs.ports import Clock
from .memory import RecentValues
from .ports import EventRange, Outbox, Outgoing, ParkedQueue, StreamChange, Topics
from .sending import Report, RunSteps, Sender, Step, TimeLeft

YOUNG_S = 60.0
"""If an item cannot be read within this many seconds of its write, the event comes again; later it is parked.

DynamoDB applies a transaction item by item, which takes milliseconds. The rest of the minute is for a deployment that
replaces one version of the code by another.
"""

_TABLE_BUSY = "The table did not take the read"
_NOT_READABLE_YET = "An item that was just written cannot be read yet"

_MAX_RUNS_REMEMBERED = 10_000


class Delivery:
    """Publishes the events of a batch of the stream, and remembers the last delivered event of each run.

    Lambda repeats a batch from its first unfinished record, with all later records. A process skips the events that it
    has delivered already. Only a new process sends again the events that another process sent.
    """

    def __init__(self, outbox: Outbox, topics: Topics, queue: ParkedQueue, clock: Clock) -> None:
        self._outbox = outbox
        self._sender = Sender(topics, queue)
        self._clock = clock
        self._delivered: RecentValues[int] = RecentValues(_MAX_RUNS_REMEMBERED)

    def publish(self, changes: Sequence[StreamChange], time_left_s: TimeLeft) -> tuple[Report, list[str]]:
        """Publish the events of the changes. Returns the sequence numbers of the unfinished records too, in order."""
        changes = [replace(change, events=self._not_delivered(change.events)) for change in changes]
        try:
            outgoing = self._outbox.read(_one_a_run(changes))
        except StorageUnavailable:
            waiting = [change for change in changes if change.events or change.unreadable]
            return Report(delays={_TABLE_BUSY}), [change.sequence_number for change in waiting]
        runs = self._runs(changes, outgoing)
        report = self._sender.send(runs, time_left_s)
        for run in runs:
            if run.last_seq is not None:
                self._delivered.put(run.run_id, run.last_seq)
            if run.steps and run.steps[0].may_appear:
                report.delays.add(_NOT_READABLE_YET)
        places = sorted({step.place for run in runs for step in run.steps})
        return report, [changes[place].sequence_number for place in places]

    def _runs(self, changes: Sequence[StreamChange], outgoing: Mapping[str, Outgoing]) -> list[RunSteps]:
        """The steps of each run, in the order of the records."""
        runs: dict[str, RunSteps] = {}
        for place, change in enumerate(changes):
            is_young = self._is_young(change.written_at)
            if change.events is not None:
                run_id = change.events.run_id
                run = runs.setdefault(run_id, RunSteps(run_id))
                run.add(place, change.events, outgoing[run_id], is_young=is_young)
            elif change.unreadable is not None:
                run_id = change.unreadable.run_id or change.sequence_number
                run = runs.setdefault(run_id, RunSteps(run_id))
                run.steps.append(Step(place, None, parked=change.unreadable, may_appear=is_young))
        return list(runs.values())

    def _is_young(self, written_at: datetime | None) -> bool:
        return written_at is not None and (self._clock.now() - written_at).total_seconds() < YOUNG_S

    def _not_delivered(self, wanted: EventRange | None) -> EventRange | None:
        if wanted is None:
            return None
        delivered = self._delivered.get(wanted.run_id)
        first_seq = wanted.first_seq if delivered is None else max(wanted.first_seq, delivered + 1)
        return replace(wanted, first_seq=first_seq) if first_seq <= wanted.last_seq else None


def _one_a_run(changes: Sequence[StreamChange]) -> list[EventRange]:
    """One range for each run, from the first of its changes to the last."""
    ranges: dict[str, EventRange] = {}
    for change in changes:
        if change.events is not None:
            earlier = ranges.get(change.events.run_id, change.events)
            ranges[earlier.run_id] = replace(earlier, last_seq=change.events.last_seq)
    return list(ranges.values())

"""The delivery of events: every one is accepted by SNS, parked, or still to be delivered, and none is forgotten.

A run's messages leave in the order of ``seq``. A message that SNS cannot take now stops its run, not the others. A
message that SNS will never take is parked, and its run goes on.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from ..domain.errors import StorageUnavailable
from .batches import next_batch
from .memory import RecentValues
from .messages import CREATION, Message, creation_message, event_message
from .ports import (
    FIFO,
    EventRange,
    Fate,
    Outbox,
    Outgoing,
    ParkedEvent,
    ParkedEvents,
    ParkingUnavailable,
    StreamChange,
    Topics,
    Verdict,
)

TimeLeft = Callable[[], float]
"""Seconds until the process is stopped."""

CALL_S = 20.0
"""A call to SNS is begun only with so much time left: three tries of at most 5 s, and their pauses."""

_NO_TIME = "The time of this invocation is up"
_TABLE_BUSY = "The table did not take the read"
_NOT_PARKED = "The queue of parked events did not take one"

_RUNS_REMEMBERED = 10_000


@dataclass
class Report:
    """What a delivery did.

    ``pending``: of each run that was stopped, the first event that is still to be delivered. ``delays``: why, each
    reason once.
    """

    published: int = 0
    parked: list[ParkedEvent] = field(default_factory=list)
    pending: dict[str, int] = field(default_factory=dict)
    delays: set[str] = field(default_factory=set)


@dataclass
class _Lane:
    """The messages of a run on their way, in their order."""

    run_id: str
    topic: str
    last_seq: int
    waiting: deque[Message] = field(default_factory=deque)
    unreadable: list[ParkedEvent] = field(default_factory=list)
    is_stopped: bool = False
    held_from: int | None = None
    """An event behind those that wait which must not be passed over."""

    @property
    def pending_from(self) -> int | None:
        return self.waiting[0].seq if self.waiting else self.held_from

    def hold_from(self, seq: int) -> None:
        self.held_from = seq
        self.waiting = deque(message for message in self.waiting if message.seq < seq)


class Delivery:
    """Publishes ranges of events. It remembers how far it has brought each run.

    Lambda repeats a batch from the lowest record reported on, also for runs whose records were fine. A process that
    meets such a repeat knows it and sends nothing twice; only a new process repeats what another one sent.
    """

    def __init__(self, outbox: Outbox, topics: Topics, parked_events: ParkedEvents) -> None:
        self._outbox = outbox
        self._topics = topics
        self._parked_events = parked_events
        self._delivered: RecentValues[int] = RecentValues(_RUNS_REMEMBERED)

    def publish_changes(self, changes: Sequence[StreamChange], time_left_s: TimeLeft) -> tuple[Report, list[str]]:
        """Publish what a batch of the stream asks for; and the sequence numbers of the records to bring again."""
        report = self.publish(_one_a_run(changes), time_left_s)
        again = [change.sequence_number for change in changes if _is_pending(change, report)]
        unreadable = [change for change in changes if change.unreadable is not None]
        parked = [change.unreadable for change in unreadable if change.unreadable is not None]
        try:
            self._park(parked)
        except ParkingUnavailable:
            again += [change.sequence_number for change in unreadable]
            report.delays.add(_NOT_PARKED)
        else:
            report.parked += parked
        return report, again

    def publish(self, ranges: Sequence[EventRange], time_left_s: TimeLeft) -> Report:
        """Publish the events, of each run at most one range."""
        report = Report()
        new = [each for wanted in ranges if (each := self._not_delivered(wanted)) is not None]
        try:
            outgoing = self._outbox.read(new)
        except StorageUnavailable:
            report.pending = {each.run_id: each.first_seq for each in new}
            report.delays.add(_TABLE_BUSY)
            return report
        lanes = [_lane(each, outgoing[each.run_id]) for each in new]
        for lane in lanes:
            self._park_unreadable(lane, report)
        for topic in dict.fromkeys(lane.topic for lane in lanes):
            self._send([lane for lane in lanes if lane.topic == topic], report, time_left_s)
        for lane in lanes:
            self._remember(lane)
            if lane.pending_from is not None:
                report.pending[lane.run_id] = lane.pending_from
        return report

    def _send(self, lanes: Sequence[_Lane], report: Report, time_left_s: TimeLeft) -> None:
        """Send the lanes of one topic until they are empty, SNS takes nothing of it or the time is up."""
        topic = lanes[0].topic
        while moving := [lane for lane in lanes if lane.waiting and not lane.is_stopped]:
            if time_left_s() < CALL_S:
                report.delays.add(_NO_TIME)
                return
            # The longest first: towards the end many runs are left to fill a batch from, not one.
            moving.sort(key=lambda lane: len(lane.waiting), reverse=True)
            batch = next_batch([lane.waiting for lane in moving], one_of_each=topic.endswith(FIFO))
            verdicts = self._park_refused(topic, batch, self._topics.publish(topic, batch), report)
            of_run = {lane.run_id: lane for lane in moving}
            for message, verdict in zip(batch, verdicts, strict=True):
                self._settle(of_run[message.run_id], verdict, report)
            if all(verdict.fate is Fate.DELAYED for verdict in verdicts):
                return

    def _settle(self, lane: _Lane, verdict: Verdict, report: Report) -> None:
        """Take the lane's first message off it, unless it or one before it must be sent again."""
        if lane.is_stopped:
            return
        if verdict.fate is Fate.DELAYED:
            lane.is_stopped = True
            report.delays.add(verdict.reason)
            return
        if verdict.fate is Fate.ACCEPTED:
            report.published += 1
        lane.waiting.popleft()

    def _park_refused(
        self, topic: str, batch: Sequence[Message], verdicts: Sequence[Verdict], report: Report
    ) -> Sequence[Verdict]:
        """The verdicts, those refused parked; what could not be parked is delayed."""
        refused = [
            ParkedEvent(verdict.reason, message.run_id, message.seq, topic)
            for message, verdict in zip(batch, verdicts, strict=True)
            if verdict.fate is Fate.REFUSED
        ]
        try:
            self._park(refused)
        except ParkingUnavailable:
            not_parked = Verdict(Fate.DELAYED, _NOT_PARKED)
            return [not_parked if verdict.fate is Fate.REFUSED else verdict for verdict in verdicts]
        report.parked += refused
        return verdicts

    def _park_unreadable(self, lane: _Lane, report: Report) -> None:
        try:
            self._park(lane.unreadable)
        except ParkingUnavailable:
            lane.hold_from(min(event.seq for event in lane.unreadable if event.seq is not None))
            report.delays.add(_NOT_PARKED)
        else:
            report.parked += lane.unreadable

    def _park(self, events: Sequence[ParkedEvent]) -> None:
        if events:
            self._parked_events.park(events)

    def _not_delivered(self, wanted: EventRange) -> EventRange | None:
        delivered = self._delivered.get(wanted.run_id)
        first_seq = wanted.first_seq if delivered is None else max(wanted.first_seq, delivered + 1)
        return replace(wanted, first_seq=first_seq) if first_seq <= wanted.last_seq else None

    def _remember(self, lane: _Lane) -> None:
        pending_from = lane.pending_from
        self._delivered.put(lane.run_id, lane.last_seq if pending_from is None else pending_from - 1)


def _one_a_run(changes: Iterable[StreamChange]) -> list[EventRange]:
    """The changes of a run lie behind one another: together they are one range."""
    ranges: dict[str, EventRange] = {}
    for change in changes:
        if change.events is not None:
            earlier = ranges.get(change.events.run_id, change.events)
            ranges[earlier.run_id] = replace(earlier, last_seq=change.events.last_seq)
    return list(ranges.values())


def _is_pending(change: StreamChange, report: Report) -> bool:
    events = change.events
    return events is not None and report.pending.get(events.run_id, events.last_seq + 1) <= events.last_seq


def _lane(wanted: EventRange, outgoing: Outgoing | str) -> _Lane:
    run_id = wanted.run_id
    seqs = range(wanted.first_seq, wanted.last_seq + 1)
    if isinstance(outgoing, str):
        unreadable = [ParkedEvent(outgoing, run_id, seq) for seq in seqs]
        return _Lane(run_id, topic="", last_seq=wanted.last_seq, unreadable=unreadable)
    lane = _Lane(run_id, outgoing.subject.topic, wanted.last_seq)
    for seq in seqs:
        if seq == CREATION:
            lane.waiting.append(creation_message(outgoing.subject, wanted.created_at))
            continue
        event = outgoing.events[seq]
        if isinstance(event, str):
            lane.unreadable.append(ParkedEvent(event, run_id, seq, lane.topic))
        else:
            lane.waiting.append(event_message(outgoing.subject, event))
    return lane

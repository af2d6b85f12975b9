"""Sends the events of many runs to their topics. The events of one run keep the order of ``seq``.

SNS accepts a message, delays it or refuses it. A delayed message stops its run, not the others. A refused message is
parked, and its run goes on.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, takewhile

from .messages import MAX_MESSAGE_BYTES, Message
from .ports import (
    FIFO,
    Absence,
    EventRange,
    Fate,
    Outgoing,
    ParkedEvent,
    ParkedQueue,
    QueueUnavailable,
    Topics,
    Verdict,
)

TimeLeft = Callable[[], float]
"""Seconds until the process is stopped."""

MAX_CALL_S = 20.0
"""The longest call to SNS or SQS: three tries of 5 s and their pauses. A call begins only with this much left."""

MAX_BATCH_ENTRIES = 10
"""The most messages in one PublishBatch (SNS quota)."""

_NO_TIME = "The time of this invocation is up"
_NOT_PARKED = "The queue of parked events did not take an event"


def at_most(seconds: float, time_left_s: TimeLeft) -> TimeLeft:
    """A function like ``time_left_s`` that allows at most ``seconds`` from now on."""
    spare = max(time_left_s() - seconds, 0.0)
    return lambda: time_left_s() - spare


@dataclass
class Report:
    """The count of published events, the parked events, and in ``delays`` each reason for a delay once."""

    published: int = 0
    parked: list[ParkedEvent] = field(default_factory=list)
    delays: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Step:
    """One event in the queue of its run. If it has no message, ``parked`` is parked instead.

    ``place`` is the position of its record in the stream. ``may_appear`` is true if the message may still be found; the
    run then waits and nothing is parked.
    """

    place: int
    seq: int | None
    message: Message | None = None
    parked: ParkedEvent | None = None
    may_appear: bool = False


@dataclass
class RunSteps:
    """The remaining steps of a run, in order. ``last_seq`` is the ``seq`` of the last finished step."""

    run_id: str
    topic: str = ""
    steps: deque[Step] = field(default_factory=deque)
    last_seq: int | None = None
    is_stopped: bool = False

    def add(self, place: int, wanted: EventRange, outgoing: Outgoing, *, is_young: bool) -> None:
        """Append a step for each event of the range. An event of a deleted run gets none, unless it is young.

        ``is_young`` is true if the table may not show all events of the range yet.
        """
        self.topic = outgoing.topic or self.topic
        for seq in range(wanted.first_seq, wanted.last_seq + 1):
            lack = outgoing.lacks.get(seq)
            if lack is None:
                self.steps.append(Step(place, seq, outgoing.messages[seq]))
            elif is_young or lack.absence is not Absence.GONE:
                parked = ParkedEvent(lack.reason, self.run_id, seq, outgoing.topic)
                self.steps.append(Step(place, seq, parked=parked, may_appear=is_young))

    def messages(self) -> Iterator[Message]:
        """The messages that can be sent now. They end at the first step that has none."""
        for step in self.steps:
            if step.message is None:
                return
            yield step.message

    @property
    def can_send(self) -> bool:
        return not self.is_stopped and bool(self.steps) and self.steps[0].message is not None

    def take_step(self) -> None:
        seq = self.steps.popleft().seq
        self.last_seq = self.last_seq if seq is None else seq


class Sender:
    """Sends the steps of runs. Without a queue it parks nothing, and the report lists the refused events."""

    def __init__(self, topics: Topics, queue: ParkedQueue | None = None) -> None:
        self._topics = topics
        self._queue = queue

    def send(self, runs: Sequence[RunSteps], time_left_s: TimeLeft) -> Report:
        """Finish every step that can be finished. The other steps stay in their runs."""
        report = Report()
        while True:
            for topic in dict.fromkeys(run.topic for run in runs if run.can_send):
                self._send_to(topic, [run for run in runs if run.topic == topic], report, time_left_s)
            unreadable = _steps_to_park(runs)
            if not unreadable or not self._park_unreadable(unreadable, report, time_left_s):
                return report
            for run in runs:
                while run.steps and run.steps[0] in unreadable:
                    run.take_step()

    def _send_to(self, topic: str, runs: Sequence[RunSteps], report: Report, time_left_s: TimeLeft) -> None:
        """Send the messages of one topic until none is left, SNS delays a whole batch, or the time is up."""
        while moving := [run for run in runs if run.can_send]:
            if time_left_s() < MAX_CALL_S:
                report.delays.add(_NO_TIME)
                verdicts: Sequence[Verdict] = []
            else:
                # The longest run goes first, so that towards the end many runs are left to fill a batch from.
                moving.sort(key=lambda run: len(run.steps), reverse=True)
                batch = next_batch([run.messages() for run in moving], one_of_each=topic.endswith(FIFO))
                verdicts = self._park_refused(topic, batch, self._topics.publish(topic, batch), report)
                by_id = {run.run_id: run for run in moving}
                for message, verdict in zip(batch, verdicts, strict=True):
                    _settle(by_id[message.run_id], verdict, report)
            if all(verdict.fate is Fate.DELAYED for verdict in verdicts):
                for run in moving:
                    run.is_stopped = True

    def _park_refused(
        self, topic: str, batch: Sequence[Message], verdicts: Sequence[Verdict], report: Report
    ) -> Sequence[Verdict]:
        """Park the refused messages. Returns the verdicts. If the queue fails, refused messages become delayed."""
        refused = [
            ParkedEvent(verdict.reason, message.run_id, message.seq, topic)
            for message, verdict in zip(batch, verdicts, strict=True)
            if verdict.fate is Fate.REFUSED
        ]
        if self._park(refused, report):
            return verdicts
        not_parked = Verdict(Fate.DELAYED, _NOT_PARKED)
        return [not_parked if verdict.fate is Fate.REFUSED else verdict for verdict in verdicts]

    def _park_unreadable(self, steps: Sequence[Step], report: Report, time_left_s: TimeLeft) -> bool:
        if time_left_s() < MAX_CALL_S:
            report.delays.add(_NO_TIME)
            return False
        return self._park([step.parked for step in steps if step.parked is not None], report)

    def _park(self, events: Sequence[ParkedEvent], report: Report) -> bool:
        """Park the events. Returns False if the queue did not take all of them."""
        try:
            if events and self._queue is not None:
                self._queue.park(events)
        except QueueUnavailable:
            report.delays.add(_NOT_PARKED)
            return False
        report.parked += events
        return True


def next_batch(queues: Iterable[Iterable[Message]], *, one_of_each: bool) -> list[Message]:
    """The next messages from the front of the queues: as many as fit one call, and at least one.

    Each queue holds the messages of one run in order, and at least one. SNS accepts or refuses each message of a batch
    alone. So a batch that must keep the order (``one_of_each``) holds one message of each run: no message can overtake
    an earlier one that failed.
    """
    batch: list[Message] = []
    size_bytes = 0
    for messages in queues:
        for message in islice(messages, 1 if one_of_each else None):
            size_bytes += message.size_bytes
            if batch and (len(batch) == MAX_BATCH_ENTRIES or size_bytes > MAX_MESSAGE_BYTES):
                return batch
            batch.append(message)
    return batch


def _steps_to_park(runs: Sequence[RunSteps]) -> list[Step]:
    """The steps without a message that stand before every other step of any run.

    Lambda repeats a batch from its first unfinished record. A step that is parked only after all earlier steps are
    finished does not come again, so it is parked once.
    """
    steps = sorted((step for run in runs for step in run.steps), key=lambda step: step.place)
    return list(takewhile(lambda step: step.message is None and not step.may_appear, steps))


def _settle(run: RunSteps, verdict: Verdict, report: Report) -> None:
    """Finish the run's first step, unless its message or an earlier one must be sent again."""
    if run.is_stopped:
        return
    if verdict.fate is Fate.DELAYED:
        run.is_stopped = True
        report.delays.add(verdict.reason)
        return
    if verdict.fate is Fate.ACCEPTED:
        report.published += 1
    run.take_step()

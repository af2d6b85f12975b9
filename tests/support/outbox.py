"""Implements Outbox in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from gyoza_domain.domain.errors import StorageUnavailable
from gyoza_domain.domain.run import Event, EventType, State
from gyoza_domain.publishing.messages import Subject, event_message
from gyoza_domain.publishing.ports import Absence, EventRange, Lack, Outgoing

CREATED_AT = datetime(2026, 3, 2, 20, tzinfo=UTC)


@dataclass
class MemoryOutbox:
    """Has every event of every run except those in ``lacks``, by run id and seq."""

    topic: str = "orders.fifo"
    lacks: dict[tuple[str, int], Absence] = field(default_factory=dict)
    is_down: bool = False
    reads: list[int] = field(default_factory=list)
    """The number of events in each read."""

    def read(self, ranges: Sequence[EventRange]) -> Mapping[str, Outgoing]:
        if self.is_down:
            raise StorageUnavailable
        assert len({each.run_id for each in ranges}) == len(ranges)
        self.reads.append(sum(each.last_seq - each.first_seq + 1 for each in ranges))
        return {each.run_id: self._outgoing(each) for each in ranges}

    def _outgoing(self, wanted: EventRange) -> Outgoing:
        subject = Subject(wanted.run_id, self.topic, {}, "busybox:1", None)
        seqs = range(wanted.first_seq, wanted.last_seq + 1)
        lacks = {seq: Lack(self.lacks[wanted.run_id, seq], "why") for seq in seqs if (wanted.run_id, seq) in self.lacks}
        messages = {seq: event_message(subject, _event(seq)) for seq in seqs if seq not in lacks}
        return Outgoing(self.topic, messages, lacks)

    def range_of(self, run_id: str, first_seq: int, last_seq: int | None = None) -> EventRange:
        return EventRange(run_id, CREATED_AT, first_seq, first_seq if last_seq is None else last_seq)


def _event(seq: int) -> Event:
    return Event(seq=seq, id=seq, attempt=1, type=EventType.INFO, at=CREATED_AT, state=State.RUNNING)

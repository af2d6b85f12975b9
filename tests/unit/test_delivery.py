"""Tests the delivery of a batch of the stream, on a table in memory and a simulated SNS."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import count

import pytest

from gyoza_domain.messaging.sns import SnsTopics
from gyoza_domain.messaging.sqs import SqsParkedQueue
from gyoza_domain.publishing.delivery import YOUNG_S, Delivery
from gyoza_domain.publishing.ports import Absence, EventRange, StreamChange
from gyoza_domain.publishing.sending import at_most
from tests.support.outbox import CREATED_AT, MemoryOutbox
from tests.support.push import (
    ARN_PREFIX,
    CALL_S,
    QUEUE_URL,
    WRITTEN_AT,
    Clock,
    Faults,
    Json,
    SimulatedSns,
    SimulatedSqs,
)


class Lane:
    """One lane of the stream: a delivery with its services, and its records."""

    def __init__(self, outbox: MemoryOutbox | None = None) -> None:
        self.outbox = outbox or MemoryOutbox()
        self.faults = Faults()
        self.sns = SimulatedSns(self.faults, [self.outbox.topic])
        self.sqs = SimulatedSqs(self.faults)
        self.restart()
        self._numbers = count(1)

    @property
    def clock(self) -> Clock:
        return self.faults.clock

    def restart(self) -> None:
        topics, queue = SnsTopics(self.sns, ARN_PREFIX), SqsParkedQueue(self.sqs, QUEUE_URL)  # type: ignore[arg-type]
        self._delivery = Delivery(self.outbox, topics, queue, self.clock)

    def record(self, run_id: str, seq: int, *, written_s: float = 0.0) -> StreamChange:
        written_at = WRITTEN_AT + timedelta(seconds=written_s)
        return StreamChange(str(next(self._numbers)), written_at, EventRange(run_id, CREATED_AT, seq, seq))

    def publish(self, batch: Sequence[StreamChange]) -> list[str]:
        _, again = self._delivery.publish(batch, lambda: 60.0)
        return again

    def seqs(self, run_id: str) -> list[int]:
        return [int(each) for each in self.sns.ids(self.outbox.topic, run_id)]

    @property
    def parked(self) -> list[tuple[str, int]]:
        return [(each["run_id"], each["seq"]) for each in self.sqs.parked]


@pytest.mark.parametrize("absence", list(Absence))
def test_an_event_without_a_message_holds_its_run_for_a_minute(absence: Absence) -> None:
    lane = Lane(MemoryOutbox(lacks={("a", 1): absence}))
    batch = [lane.record(run_id, seq) for seq in range(3) for run_id in ("a", "b")]
    for now_s in (0.0, YOUNG_S - 1):
        lane.clock.now_s = now_s
        assert lane.publish(batch) == [batch[2].sequence_number, batch[4].sequence_number]
        assert (lane.seqs("a"), lane.seqs("b"), lane.parked) == ([0], [0, 1, 2], [])
    lane.clock.now_s = YOUNG_S
    assert lane.publish(batch) == []
    assert lane.seqs("a") == [0, 2]
    assert lane.parked == ([] if absence is Absence.GONE else [("a", 1)])


def test_a_record_that_does_not_say_when_it_was_written_is_not_waited_for() -> None:
    lane = Lane(MemoryOutbox(lacks={("a", 0): Absence.MISSING}))
    record = lane.record("a", 0)
    assert lane.publish([StreamChange(record.sequence_number, None, record.events)]) == []
    assert lane.parked == [("a", 0)]


def test_only_what_was_not_delivered_is_read_again() -> None:
    lane = Lane(MemoryOutbox(lacks={("a", 1): Absence.MISSING}))
    batch = [lane.record("a", seq) for seq in range(3)]
    assert lane.publish(batch) == [batch[1].sequence_number, batch[2].sequence_number]
    lane.outbox.lacks.clear()
    assert lane.publish(batch) == lane.publish(batch) == []
    assert lane.outbox.reads == [3, 2, 0]
    assert lane.seqs("a") == [0, 1, 2]


def test_nothing_is_parked_while_something_before_it_waits() -> None:
    lane = Lane(MemoryOutbox(lacks={("a", 0): Absence.MISSING, ("b", 0): Absence.UNREADABLE}))
    batch = [lane.record("a", 0, written_s=10), lane.record("b", 0), lane.record("b", 1)]
    lane.clock.now_s = YOUNG_S
    assert lane.publish(batch) == [each.sequence_number for each in batch]
    assert (lane.parked, lane.seqs("b")) == ([], [])
    lane.outbox.lacks.pop(("a", 0))
    lane.restart()
    assert lane.publish(batch) == []
    assert (lane.parked, lane.seqs("a"), lane.seqs("b")) == ([("b", 0)], [0], [1])


def test_a_table_that_takes_no_read_has_every_record_that_tells_of_an_event_brought_again() -> None:
    lane = Lane(MemoryOutbox(is_down=True))
    batch = [lane.record("a", 0), StreamChange("nothing new"), lane.record("b", 0)]
    assert lane.publish(batch) == [batch[0].sequence_number, batch[2].sequence_number]
    lane.outbox.is_down = False
    assert lane.publish(batch) == []


def test_a_request_has_its_own_end_before_the_process_has() -> None:
    clock = Clock()
    left = at_most(240, lambda: 900 - clock.now_s)
    assert left() == 240
    clock.now_s = 100
    assert left() == 140
    assert at_most(240, lambda: 60.0)() == 60


@pytest.mark.parametrize(
    ("topic", "runs", "calls"),
    [("orders.fifo", 1, 100), ("orders.fifo", 5, 20), ("orders.fifo", 10, 10), ("orders", 1, 10), ("orders", 10, 10)],
)
def test_a_hundred_records_of_so_many_runs_cost_a_lane_so_many_calls(topic: str, runs: int, calls: int) -> None:
    lane = Lane(MemoryOutbox(topic=topic))
    batch = [lane.record(f"run-{run}", seq) for seq in range(100 // runs) for run in range(runs)]
    assert lane.publish(batch) == []
    assert lane.sns.calls == {"publish_batch": calls}


def test_a_neighbour_of_a_busy_run_leaves_with_the_first_call_of_its_batch() -> None:
    lane = Lane()
    lane.publish([*(lane.record("busy", seq) for seq in range(99)), lane.record("neighbour", 0)])
    assert lane.sns.calls == {"publish_batch": 99}
    assert [body["subject"] for body in sent(lane)][:2] == ["busy", "neighbour"]


@pytest.mark.parametrize(("rate", "calls"), [(10, 0), (30, 0), (40, 174), (50, 450)])
def test_a_busy_run_of_a_fifo_topic_delays_its_lane_beyond_what_the_lane_sends(rate: int, calls: int) -> None:
    """A run writes so many events a second for 30 s, beside a run that writes one. A call takes 30 simulated ms.

    ``calls`` is the most calls to SNS between the write of the other run's event and the batch that holds it.
    """
    lane = Lane()
    written = [lane.record("busy", seq, written_s=seq / rate) for seq in range(30 * rate)]
    written += [lane.record("neighbour", second, written_s=second + 0.001) for second in range(30)]
    waits_s = [0.0]
    for batch in batches(sorted(written, key=written_s), lane.clock):
        waits_s += [
            lane.clock.now_s - written_s(each) for each in batch if each.events and each.events.run_id != "busy"
        ]
        assert lane.publish(batch) == []
    print(f"\n{rate} events a second: a neighbour's event waits {max(waits_s):.1f} s at most")
    assert int(max(waits_s) / CALL_S) == calls


def batches(written: list[StreamChange], clock: Clock) -> Iterator[list[StreamChange]]:
    """The batches of a lane, in order. Each holds at most 100 records that are written by then."""
    while written:
        clock.now_s = max(clock.now_s, written_s(written[0]))
        ready = [change for change in written[:100] if written_s(change) <= clock.now_s]
        del written[: len(ready)]
        yield ready


def written_s(change: StreamChange) -> float:
    assert change.written_at is not None
    return (change.written_at - WRITTEN_AT).total_seconds()


def sent(lane: Lane) -> list[Json]:
    return lane.sns.accepted[lane.outbox.topic]

"""RunReader on the table of ``keys``."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..domain.errors import InvalidFilter, RunNotFound
from ..domain.run import PATCHED, Event, OpAttempt, OpRun
from ..runs.views import AttemptPage, AttemptView, EventPage, RunView
from . import codec, keys
from .snapshot import AroundHead, around_head, newest_event_items, result_of
from .table_reader import BATCH_KEYS, ItemKey, TableReader

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from .codec import StoredItem

NEWEST_EVENTS = 100
"""Events a run shows (contract, section 1)."""

NEWEST_EVENTS_OF_ATTEMPT = 20
"""Events an OpAttempt shows (contract, section 1)."""

EVENTS_A_PAGE = 1_000
"""Events an answer of the events route holds at most; a query stops at 1 MB by itself (contract, section 2)."""

_ATTEMPTS_A_READ = BATCH_KEYS // (NEWEST_EVENTS_OF_ATTEMPT + 1)
"""Attempts whose events and results one batch holds."""


class DynamoDBRunReader:
    def __init__(self, client: "DynamoDBClient", table: str) -> None:
        self._reader = TableReader(client, table)

    def view(self, run_id: str) -> RunView:
        found = around_head(self._reader, run_id, with_spec=True)
        event_items = newest_event_items(self._reader, run_id, found.run().attempt, NEWEST_EVENTS)
        run = found.run(result_of(self._reader, found, event_items))
        return RunView(run, codec.spec_from(found.spec), [codec.event_from(item) for item in event_items])

    def newest_events(self, run: OpRun) -> Sequence[Event]:
        return [codec.event_from(item) for item in newest_event_items(self._reader, run.id, run.attempt, NEWEST_EVENTS)]

    def events_of_attempt(self, run_id: str, attempt: int | None, after: int) -> EventPage:
        head = self._head(run_id)
        timeline = codec.run_from(head, None, None).attempt
        if attempt is not None and attempt != timeline.number:
            timeline_item = None
            if attempt < timeline.number:
                timeline_item = self._reader.item(ItemKey(run_id, keys.attempt_sk(attempt)))
            if timeline_item is None:
                raise InvalidFilter(f"The run has no attempt {attempt}")
            timeline = codec.closed_attempt_from(timeline_item, None)
        return self._events(head, timeline.first_seq + after + 1, timeline.last_seq)

    def events_across_attempts(self, run_id: str, after_seq: int) -> EventPage:
        head = self._head(run_id)
        return self._events(head, after_seq + 1, codec.run_from(head, None, None).last_seq)

    def _head(self, run_id: str) -> "StoredItem":
        head = self._reader.item(ItemKey(run_id, keys.HEAD))
        if head is None:
            raise RunNotFound(run_id)
        return head

    def _events(self, head: "StoredItem", first_seq: int, last_seq: int) -> EventPage:
        run = codec.run_from(head, None, None)
        if first_seq > last_seq:
            return EventPage(run.state, [], has_more=False)
        items, _ = self._reader.query(run.id, keys.event_sk(first_seq), keys.event_sk(last_seq), limit=EVENTS_A_PAGE)
        events = [codec.event_from(item) for item in items]
        return EventPage(run.state, events, has_more=events[-1].seq < last_seq)

    def attempts(self, run_id: str, after: int, limit: int) -> AttemptPage:
        found = around_head(self._reader, run_id, with_spec=True)
        run = found.run()
        return AttemptPage(run, codec.spec_from(found.spec), self._attempts(found, after, limit))

    def _attempts(self, found: AroundHead, after: int, limit: int) -> Iterator[AttemptView]:
        run = found.run()
        last = min(after + limit, run.attempt.number)
        items: dict[str, StoredItem] = {}
        if after + 1 < run.attempt.number:
            first_sk, last_sk = keys.attempt_sk(after + 1), keys.patched_sk(min(last, run.attempt.number - 1))
            closed = self._reader.query_all(run.id, first_sk, last_sk, limit=2 * limit)
            items = {item["sk"]["S"]: item for item in closed}
        attempts = [
            run.attempt
            if number == run.attempt.number
            else codec.closed_attempt_from(items[keys.attempt_sk(number)], None)
            for number in range(after + 1, last + 1)
        ]
        items[keys.patched_sk(run.attempt.number)] = found.patched
        for start in range(0, len(attempts), _ATTEMPTS_A_READ):
            yield from self._with_events(run.id, attempts[start : start + _ATTEMPTS_A_READ], items)

    def _with_events(
        self, run_id: str, attempts: Sequence[OpAttempt], patched: "Mapping[str, StoredItem]"
    ) -> Iterator[AttemptView]:
        """The attempts with their newest events and their results, in one read."""
        newest = {
            attempt.number: range(
                max(attempt.first_seq, attempt.last_seq - NEWEST_EVENTS_OF_ATTEMPT + 1), attempt.last_seq + 1
            )
            for attempt in attempts
        }
        sources = {attempt.result_source for attempt in attempts} - {None, PATCHED}
        seqs = sources.union(*newest.values())
        items = self._reader.items([ItemKey(run_id, keys.event_sk(seq)) for seq in seqs if seq is not None])
        by_sk = {key.sk: item for key, item in items.items()}
        for attempt in attempts:
            events = [codec.event_from(by_sk[keys.event_sk(seq)]) for seq in newest[attempt.number]]
            source = attempt.result_source
            if source is None:
                yield AttemptView(attempt, events)
                continue
            carrier = patched[keys.patched_sk(attempt.number)] if source == PATCHED else by_sk[keys.event_sk(source)]
            yield AttemptView(replace(attempt, result=codec.result_from(carrier)), events)

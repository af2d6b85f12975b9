"""RunRepository on the table of ``keys``."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..domain.errors import InvalidCursor, InvalidFilter, RunBusy, RunNotFound, StorageUnavailable
from ..domain.run import PATCHED, AttemptResult, Change, Event, OpAttempt, OpRun, RunSpec
from ..ports import (
    AttemptPage,
    AttemptView,
    ChangedMeanwhile,
    EventPage,
    IdempotencyKey,
    KeyUsed,
    Loaded,
    RunPage,
    RunQuery,
    RunView,
)
from . import codec, keys
from .client_errors import WriteConflict, translated
from .reading import BATCH_KEYS, ItemKey, TableReader
from .run_index import RunIndex
from .snapshot import AroundHead, Row, by_read
from .writing import as_returned, creation, writes_of

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import TransactWriteItemTypeDef

    from .codec import StoredItem

NEWEST_EVENTS = 100
"""Events a run shows (contract, section 1)."""

NEWEST_EVENTS_OF_ATTEMPT = 20
"""Events an OpAttempt shows (contract, section 1)."""

EVENTS_A_PAGE = 1_000
"""Events an answer of the events route holds at most; a query stops at 1 MB by itself (contract, section 2)."""

_SETTLE_TRIES = 5
"""A query is not a snapshot. Reads that met the middle of a write are repeated so often."""

_ATTEMPTS_A_READ = BATCH_KEYS // (NEWEST_EVENTS_OF_ATTEMPT + 1)
"""Attempts whose events and results one batch holds."""


class DynamoDBRunRepository:
    def __init__(self, client: "DynamoDBClient", table: str, *, shards: int) -> None:
        self.client = client
        self._table = table
        self._reader = TableReader(client, table)
        self._index = RunIndex(client, table, shards)

    # -- writing

    def add(self, run: OpRun, spec: RunSpec, key: IdempotencyKey | None = None) -> None:
        for _ in range(_SETTLE_TRIES):
            try:
                self._write(creation(self._table, run, spec, key))
            except WriteConflict as conflict:
                # Either the key is used, or a repeat is being written at this moment.
                _raise_if_used(conflict, key)
            else:
                return
        raise StorageUnavailable

    def save(self, change: Change, key: IdempotencyKey | None = None) -> None:
        try:
            self._write(writes_of(self._table, change, key))
        except WriteConflict as conflict:
            _raise_if_used(conflict, key)
            if conflict.was_resent and key is None:
                # Should the first sending arrive after all, a new decision would have its effect a second time.
                raise StorageUnavailable from None
            head = conflict.items[0] if conflict.items else None
            raise ChangedMeanwhile(None if head is None else as_returned(head, change.before)) from None

    def _write(self, writes: "list[TransactWriteItemTypeDef]") -> None:
        with translated():
            self.client.transact_write_items(TransactItems=writes)

    def fingerprint_of(self, run_id: str, key: IdempotencyKey) -> str | None:
        item = self._reader.item(ItemKey(run_id, keys.idempotency_sk(key.digest)))
        return None if item is None else codec.fingerprint_from(item)

    # -- one run

    def load(self, run_id: str, *, with_spec: bool = False, with_result: bool = False) -> Loaded:
        found = self._around_head(run_id, with_spec=with_spec)
        run = found.run()
        if with_result or not run.state.is_terminal:
            run = found.run(self._result(found, ()))
        return Loaded(run, codec.spec_from(found.spec) if with_spec else None)

    def view(self, run_id: str) -> RunView:
        found = self._around_head(run_id, with_spec=True)
        event_items = self._newest_event_items(run_id, found.run().attempt, NEWEST_EVENTS)
        run = found.run(self._result(found, event_items))
        return RunView(run, codec.spec_from(found.spec), [codec.event_from(item) for item in event_items])

    def newest_events(self, run: OpRun) -> Sequence[Event]:
        return [codec.event_from(item) for item in self._newest_event_items(run.id, run.attempt, NEWEST_EVENTS)]

    def _around_head(self, run_id: str, *, with_spec: bool) -> AroundHead:
        """All that is known of the current attempt, in one query downwards from HEAD or SPEC.

        Two items more than HEAD hold it: PATCHED and ATTEMPT.
        """
        last, limit = (keys.SPEC, 4) if with_spec else (keys.HEAD, 3)
        for _ in range(_SETTLE_TRIES):
            items, _cut = self._reader.query(run_id, keys.FIRST_ATTEMPT, last, limit=limit, newest_first=True)
            by_sk = {item["sk"]["S"]: item for item in items}
            if keys.HEAD not in by_sk:
                raise RunNotFound(run_id)
            number = codec.attempt_number_of(by_sk[keys.HEAD])
            found = AroundHead(
                head=by_sk[keys.HEAD],
                attempt=by_sk.get(keys.attempt_sk(number), {}),
                patched=by_sk.get(keys.patched_sk(number), {}),
                spec=by_sk.get(keys.SPEC, {}),
            )
            if found.is_settled and bool(found.spec) is with_spec:
                return found
        raise RunBusy(run_id)

    def _result(self, found: AroundHead, event_items: "Sequence[StoredItem]") -> AttemptResult | None:
        """The current attempt's result, from ``event_items`` where they hold it."""
        source = codec.result_source_of(found.head)
        if source is None:
            return None
        if source == PATCHED:
            return codec.result_from(found.patched)
        key = ItemKey(found.run().id, keys.event_sk(source))
        at_hand = (item for item in event_items if item["sk"]["S"] == key.sk)
        item = next(at_hand, None) or self._reader.item(key)
        return None if item is None else codec.result_from(item)

    def _newest_event_items(self, run_id: str, attempt: OpAttempt, limit: int) -> "list[StoredItem]":
        if attempt.event_count == 0:
            return []
        first, last = keys.event_sk(attempt.first_seq), keys.event_sk(attempt.last_seq)
        items, _ = self._reader.query(run_id, first, last, limit=limit, newest_first=True)
        return items[::-1]

    # -- timelines

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
        found = self._around_head(run_id, with_spec=True)
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

    # -- all runs

    def page(self, query: RunQuery, *, with_events: bool) -> RunPage:
        cursor_key = None
        if query.after is not None:
            cursor = self._reader.item(ItemKey(query.after, keys.HEAD))
            if cursor is None:
                raise InvalidCursor(f"The cursor '{query.after}' names no run")
            cursor_key = cursor["created_key"]["S"]
        listed = self._index.page(query, cursor_key)
        heads = self._reader.items([ItemKey(run_id, keys.HEAD) for run_id in listed.run_ids])
        # The index trails: a run that has left the asked state since is not shown under it.
        shown = [
            head
            for run_id in listed.run_ids
            if (head := heads.get(ItemKey(run_id, keys.HEAD))) is not None
            and (query.state is None or codec.run_from(head, None, None).state is query.state)
        ]
        return RunPage(self._rows(shown, with_events=with_events), listed.next_cursor)

    def _rows(self, heads: "Sequence[StoredItem]", *, with_events: bool) -> Iterator[RunView]:
        for some in by_read(heads):
            rows = [Row(head) for head in some]
            items = self._reader.items([key for row in rows for key in row.item_keys()])
            for row in rows:
                view = row.view(items)
                if view is None:
                    yield self.view(row.run_id)
                elif with_events:
                    yield replace(view, events=self.newest_events(view.run))
                else:
                    yield view


def _raise_if_used(conflict: WriteConflict, key: IdempotencyKey | None) -> None:
    """KeyUsed, where the condition on the key, the second write, is what failed."""
    used = conflict.items[1] if key is not None and len(conflict.items) > 1 else None
    if used is not None:
        raise KeyUsed(codec.fingerprint_from(used)) from None

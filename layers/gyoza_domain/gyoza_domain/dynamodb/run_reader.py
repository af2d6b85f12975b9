"""Implements RunReader on the table of ``keys``."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import TYPE_CHECKING

from ..domain.errors import InvalidFilter, UnreadableRun, shortened
from ..domain.run import Event, OpAttempt, OpRun, ResultSource
from ..runs.pausing import Pauses
from ..runs.ports import Clock
from ..runs.views import MAX_EVENTS_OF_ATTEMPT, AttemptPage, AttemptView, EventPage, RunView, events_within_size
from . import codec, keys
from .attributes import StoredItem, UnreadableItem, sk_of
from .settling import NotThereYet, settled
from .snapshot import Items, Snapshot, head_of_run, promised, read_first_page, read_whole
from .table_reader import MAX_BATCH_KEYS, ItemKey, TableReader

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_MAX_EVENTS_OF_POLL = 25
"""Events that a poll reads before it knows whether they are of the current attempt."""

_ATTEMPTS_A_BATCH = MAX_BATCH_KEYS // MAX_EVENTS_OF_ATTEMPT


class DynamoDBRunReader:
    def __init__(self, client: "DynamoDBClient", table: str, clock: Clock) -> None:
        self._reader = TableReader(client, table, clock)
        self._clock = clock

    def view(self, run_id: str) -> RunView:
        return settled(lambda: read_whole(self._reader, run_id), run_id, Pauses(self._clock)).view

    # -- timelines

    def events_of_attempt(self, run_id: str, attempt: int | None, after: int, limit: int) -> EventPage:
        def read() -> EventPage:
            if attempt is None:
                return self._events_of_current_attempt(run_id, after, limit)
            return self._events_of_attempt(run_id, attempt, after, limit)

        return settled(read, run_id, Pauses(self._clock))

    def events_across_attempts(self, run_id: str, after_seq: int, limit: int) -> EventPage:
        return settled(lambda: self._events_across(run_id, after_seq, limit), run_id, Pauses(self._clock))

    def _events_across(self, run_id: str, after_seq: int, limit: int) -> EventPage:
        """One query upwards to HEAD; if the page ends before HEAD, HEAD is read by itself."""
        page = self._reader.query(run_id, keys.event_sk(after_seq + 1), keys.HEAD, limit=limit + 1)
        items = _by_sk(page.items)
        reaches_head = keys.HEAD in items or not items
        head_item = items.get(keys.HEAD) if reaches_head else self._reader.item(ItemKey(run_id, keys.HEAD))
        run = head_of_run(head_item, run_id).run
        last_seq = run.last_seq if reaches_head else min(run.last_seq, codec.seq_of(page.items[-1]))
        return _page(run, _events_between(items, after_seq + 1, last_seq), run.last_seq, limit)

    def _events_of_current_attempt(self, run_id: str, after: int, limit: int) -> EventPage:
        """One query downwards from HEAD, and one more for new events beyond the newest 25.

        An event's number in the run is at least its number in its attempt, so the query meets no event that the first
        attempt's reader knows.
        """
        newest = _MAX_EVENTS_OF_POLL
        page = self._reader.query(run_id, keys.event_sk(after + 1), keys.HEAD, limit=newest + 1, newest_first=True)
        items = _by_sk(page.items)
        run = head_of_run(items.get(keys.HEAD), run_id).run
        first_seq, last_seq = run.attempt.first_seq + after + 1, run.last_seq
        lowest = codec.seq_of(page.items[-1]) if len(items) > 1 else last_seq + 1
        if first_seq >= lowest or not page.is_cut:
            return _page(run, _events_between(items, first_seq, last_seq), last_seq, limit)
        rest = self._reader.query(run_id, keys.event_sk(first_seq), keys.event_sk(lowest - 1), limit=limit)
        items |= _by_sk(rest.items)
        reaches_newest = len(rest.items) == lowest - first_seq
        shown_to = last_seq if reaches_newest else _last_seq_of(rest.items)
        return _page(run, _events_between(items, first_seq, shown_to), last_seq, limit)

    def _events_of_attempt(self, run_id: str, number: int, after: int, limit: int) -> EventPage:
        head_key, attempt_key = ItemKey(run_id, keys.HEAD), ItemKey(run_id, keys.attempt_sk(number))
        found = self._reader.items([head_key, attempt_key])
        run = head_of_run(found.get(head_key), run_id).run
        if not 1 <= number <= run.attempt.number:
            raise InvalidFilter(f"The run has no attempt {shortened(str(number))}")
        timeline = run.attempt
        if number < timeline.number:
            closed = {key.sk: item for key, item in found.items()}
            timeline = codec.closed_attempt_from(promised(closed, attempt_key.sk))
        first_seq, last_seq = timeline.first_seq + after + 1, timeline.last_seq
        if first_seq > last_seq:
            return EventPage(run, [], has_more=False)
        page = self._reader.query(run_id, keys.event_sk(first_seq), keys.event_sk(last_seq), limit=limit)
        shown_to = _last_seq_of(page.items) if page.is_cut else last_seq
        return _page(run, _events_between(_by_sk(page.items), first_seq, shown_to), last_seq, limit)

    # -- attempts

    def attempts(self, run_id: str, after: int, limit: int) -> AttemptPage:
        pauses = Pauses(self._clock)
        read = settled(lambda: read_first_page(self._reader, run_id), run_id, pauses)
        return AttemptPage(read.run, read.view.spec, self._attempts(read, after, limit, pauses))

    def _attempts(self, read: Snapshot, after: int, limit: int, pauses: Pauses) -> Iterator[AttemptView]:
        current = read.run.attempt
        last = min(after + limit, current.number)
        attempts = self._closed_attempts(read.run.id, after + 1, min(last, current.number - 1), pauses)
        if after < last == current.number:
            attempts = chain(attempts, [(current, None)])
        try:
            while some := list(islice(attempts, _ATTEMPTS_A_BATCH)):
                items = self._with_newest_events(read, [attempt for attempt, _ in some], pauses)
                for attempt, outputs in some:
                    yield _attempt_view(attempt, outputs, items)
        except UnreadableItem as unreadable:
            raise UnreadableRun(read.run.id) from unreadable

    def _closed_attempts(
        self, run_id: str, first: int, last: int, pauses: Pauses
    ) -> Iterator[tuple[OpAttempt, StoredItem | None]]:
        """Closed attempts without their results, each with the result that a PATCH wrote."""
        number = first
        while number <= last:
            for closed in self._readable_closed_attempts(run_id, number, last):
                yield closed
                number += 1
            if number <= last:
                pauses.pause()

    def _readable_closed_attempts(
        self, run_id: str, first: int, last: int
    ) -> Iterator[tuple[OpAttempt, StoredItem | None]]:
        """Closed attempts up to the first that is not visible yet. Skips items that this release does not know."""
        first_sk, last_sk = keys.attempt_sk(first), keys.attempt_outputs_sk(last)
        items = self._reader.query_all(run_id, first_sk, last_sk, page_size=2 * (last - first + 1))
        for number in range(first, last + 1):
            item = _found(items, keys.attempt_sk(number))
            if item is None:
                return
            attempt = codec.closed_attempt_from(item)
            outputs = None
            if attempt.result_source is ResultSource.PATCH:
                outputs = _found(items, keys.attempt_outputs_sk(number))
                if outputs is None:
                    return
            yield attempt, outputs

    def _with_newest_events(self, read: Snapshot, attempts: Sequence[OpAttempt], pauses: Pauses) -> Items:
        """The items of the attempts' newest events: those of the first query, and a batch of the others."""
        run_id = read.run.id
        wanted = {keys.event_sk(seq) for attempt in attempts for seq in _newest_seqs(attempt)}
        items = {sk: item for sk, item in read.items.items() if sk in wanted}

        def fetch() -> Items:
            missing = [ItemKey(run_id, sk) for sk in sorted(wanted - items.keys())]
            items.update({key.sk: item for key, item in self._reader.items(missing).items()})
            if wanted - items.keys():
                raise NotThereYet(min(wanted - items.keys()))
            return items

        return items if items.keys() == wanted else settled(fetch, run_id, pauses)


def _attempt_view(attempt: OpAttempt, outputs: StoredItem | None, items: Items) -> AttemptView:
    """The view of an attempt. ``outputs`` is the item with the result of a closed attempt that a PATCH wrote."""
    events = [codec.event_from(items[keys.event_sk(seq)]) for seq in _newest_seqs(attempt)]
    if attempt.result is None and attempt.result_source is not None:
        carrier = items[keys.event_sk(attempt.last_seq)] if outputs is None else outputs
        attempt = replace(attempt, result=codec.result_from(carrier))
    return AttemptView(attempt, events)


def _newest_seqs(attempt: OpAttempt) -> range:
    return range(max(attempt.first_seq, attempt.last_seq - MAX_EVENTS_OF_ATTEMPT + 1), attempt.last_seq + 1)


def _found(items: Iterator[StoredItem], sk: str) -> StoredItem | None:
    """The item with that key, or None. Takes the ascending ``items`` up to that key or to the first one after it."""
    for item in items:
        if sk_of(item) >= sk:
            return item if sk_of(item) == sk else None
    return None


def _by_sk(items: Sequence[StoredItem]) -> dict[str, StoredItem]:
    return {sk_of(item): item for item in items}


def _last_seq_of(event_items: Sequence[StoredItem]) -> int:
    """The number of the page's last event. Raises NotThereYet if the page is empty although HEAD promises events."""
    if not event_items:
        raise NotThereYet(keys.FIRST_EVENT)
    return codec.seq_of(event_items[-1])


def _events_between(items: Items, first_seq: int, last_seq: int) -> list[Event]:
    return [codec.event_from(promised(items, keys.event_sk(seq))) for seq in range(first_seq, last_seq + 1)]


def _page(run: OpRun, events: Sequence[Event], last_seq: int, limit: int) -> EventPage:
    """The events that fit one answer. ``last_seq`` is the last number of the requested timeline."""
    shown = list(islice(events_within_size(events), limit))
    return EventPage(run, shown, has_more=bool(shown) and shown[-1].seq < last_seq)

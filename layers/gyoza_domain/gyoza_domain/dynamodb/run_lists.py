"""Implements RunLists on the table of ``keys``."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..domain.errors import InvalidCursor, UnreadableRun
from ..domain.run import State
from ..runs.pausing import Pauses
from ..runs.ports import Clock
from ..runs.views import RowShape, RunPage, RunQuery, RunView
from . import keys
from .attributes import StoredItem, UnreadableItem
from .head import Head, created_key_of, head_from, is_deleted
from .run_index import RunIndex
from .settling import NotThereYet
from .snapshot import query_newest_events, row_keys, row_view
from .table_reader import MAX_BATCH_KEYS, ItemKey, TableReader

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_MAX_DOCUMENT_BYTES_A_READ = 5_000_000
"""The most bytes of documents in one read. No answer holds more, so nothing is read in vain."""


class DynamoDBRunLists:
    """``shards`` is the greatest number of shards that creations ever wrote to."""

    def __init__(self, client: "DynamoDBClient", table: str, clock: Clock, *, shards: int) -> None:
        self._reader = TableReader(client, table, clock)
        self._clock = clock
        self._index = RunIndex(client, table, shards)

    def page(self, query: RunQuery, shape: RowShape) -> RunPage:
        listed = self._index.page(query, None if query.after is None else self._created_key_of(query.after))
        pauses = Pauses(self._clock)
        items = self._read_ahead(listed.run_ids, shape, pauses)
        found = _heads_of(listed.run_ids, items)
        heads = [head for item in found if (head := _readable_head(item)) is not None]
        shown = [head for head in heads if _is_listed(head, query.state)]
        rows = self._rows(shown, items, query.state, shape, pauses)
        return RunPage(rows, listed.next_cursor, unreadable=len(found) - len(heads))

    def _created_key_of(self, run_id: str) -> str:
        """The place of a cursor. A run that is being deleted, or that only a newer release can read, has one too."""
        head = self._reader.item(ItemKey(run_id, keys.HEAD))
        if head is None:
            raise InvalidCursor(f"The cursor '{run_id}' names no run")
        try:
            return created_key_of(head)
        except UnreadableItem as unreadable:
            raise UnreadableRun(run_id) from unreadable

    def _read_ahead(self, run_ids: Sequence[str], shape: RowShape, pauses: Pauses) -> dict[ItemKey, StoredItem]:
        """The HEADs, and for summaries the SPECs too. They are read again while one is missing.

        An item that is missing when the time is up is left out.
        """
        sks = [keys.HEAD, keys.SPEC] if shape is RowShape.SUMMARY else [keys.HEAD]
        items: dict[ItemKey, StoredItem] = {}
        wanted = [ItemKey(run_id, sk) for run_id in run_ids for sk in sks]
        while missing := [key for key in wanted if key not in items]:
            items |= self._reader.items(missing)
            if len(items) < len(wanted) and not pauses.has_paused():
                break
        return items

    def _rows(
        self,
        heads: Sequence[Head],
        at_hand: Mapping[ItemKey, StoredItem],
        state: State | None,
        shape: RowShape,
        pauses: Pauses,
    ) -> Iterator[RunView]:
        for some in _by_read(heads, shape):
            views = self._views({head.run.id: head for head in some}, at_hand, state, shape, pauses)
            yield from (view for head in some if (view := views[head.run.id]) is not None)

    def _views(
        self,
        heads: Mapping[str, Head],
        at_hand: Mapping[ItemKey, StoredItem],
        state: State | None,
        shape: RowShape,
        pauses: Pauses,
    ) -> dict[str, RunView | None]:
        """The rows by run id; None for a run that has left the requested state since the index entry was written.

        Does not read the items at hand. Reads again, HEAD first, only the rows that met half a transaction.
        """
        views: dict[str, RunView | None] = {}
        while True:
            wanted = [key for head in heads.values() for key in row_keys(head, shape)]
            items = {**at_hand, **self._reader.items([key for key in wanted if key not in at_hand])}
            torn = []
            for run_id, head in heads.items():
                try:
                    views[run_id] = self._row(head, items, shape)
                except NotThereYet:
                    torn.append(run_id)
                except UnreadableItem as unreadable:
                    raise UnreadableRun(run_id) from unreadable
            if not torn:
                return views
            pauses.pause()
            again = self._reader.items([ItemKey(run_id, keys.HEAD) for run_id in torn])
            read_again = [_readable_head(item) for item in again.values()]
            heads = {head.run.id: head for head in read_again if head is not None and _is_listed(head, state)}
            views |= {run_id: None for run_id in torn if run_id not in heads}

    def _row(self, head: Head, items: Mapping[ItemKey, StoredItem], shape: RowShape) -> RunView:
        view = row_view(head, items, shape)
        if shape is RowShape.WITH_EVENTS:
            return replace(view, events=query_newest_events(self._reader, view.run))
        return view


def _heads_of(run_ids: Sequence[str], items: Mapping[ItemKey, StoredItem]) -> list[StoredItem]:
    """The HEADs in the order of the ids, without missing and deleted ones."""
    heads = [items[key] for run_id in run_ids if (key := ItemKey(run_id, keys.HEAD)) in items]
    return [head for head in heads if not is_deleted(head)]


def _readable_head(item: StoredItem) -> Head | None:
    """The HEAD, or None if only a newer release knows its state or its schema."""
    try:
        return head_from(item)
    except UnreadableItem:
        return None


def _is_listed(head: Head, state: State | None) -> bool:
    """False for a deleted run and for a run that has left the requested state. The index may still list both."""
    return not head.is_deleted and (state is None or head.run.state is state)


def _by_read(heads: Sequence[Head], shape: RowShape) -> Iterator[Sequence[Head]]:
    """The heads in groups. A group fits one batch, and its documents fit one answer."""
    some: list[Head] = []
    key_count = size = 0
    for head in heads:
        head_keys = len(row_keys(head, shape))
        head_bytes = 0 if shape is RowShape.SUMMARY else head.document_bytes
        if some and (key_count + head_keys > MAX_BATCH_KEYS or size + head_bytes > _MAX_DOCUMENT_BYTES_A_READ):
            yield some
            some, key_count, size = [], 0, 0
        some.append(head)
        key_count += head_keys
        size += head_bytes
    if some:
        yield some

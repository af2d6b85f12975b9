"""RunLists on the table of ``keys``."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..domain.errors import InvalidCursor
from ..runs.views import RunPage, RunQuery, RunView
from . import codec, keys
from .run_index import RunIndex
from .run_reader import DynamoDBRunReader
from .snapshot import Row, by_read
from .table_reader import ItemKey, TableReader

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from .codec import StoredItem


class DynamoDBRunLists:
    """``shards``: as many as were ever in use."""

    def __init__(self, client: "DynamoDBClient", table: str, *, shards: int) -> None:
        self._reader = TableReader(client, table)
        self._runs = DynamoDBRunReader(client, table)
        self._index = RunIndex(client, table, shards)

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
                    yield self._runs.view(row.run_id)
                elif with_events:
                    yield replace(view, events=self._runs.newest_events(view.run))
                else:
                    yield view

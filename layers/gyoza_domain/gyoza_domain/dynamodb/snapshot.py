"""What several items together tell of a run, and whether they were met on the same side of every write."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..domain.errors import RunBusy, RunNotFound
from ..domain.run import PATCHED, AttemptResult, OpAttempt, OpRun
from ..runs.views import RunView
from . import codec, keys
from .table_reader import BATCH_KEYS, ItemKey, TableReader

if TYPE_CHECKING:
    from .codec import StoredItem

SETTLE_TRIES = 5
"""A query is not a snapshot. Reads that met the middle of a write are repeated so often."""

ROW_BYTES_A_READ = 5_000_000
"""Bytes of documents read ahead for a list: no answer may hold more, so no more is read before it is measured."""


@dataclass(frozen=True, slots=True)
class AroundHead:
    """HEAD and what a query met beside it; an item that is not there is empty."""

    head: "StoredItem"
    attempt: "StoredItem"
    patched: "StoredItem"
    spec: "StoredItem"

    @property
    def is_settled(self) -> bool:
        """Whether HEAD and ATTEMPT were met on the same side of every claim, and PATCHED not later than HEAD."""
        return codec.claim_seq_of(self.head) == codec.claim_seq_of(self.attempt) and codec.version_of(
            self.patched
        ) <= codec.version_of(self.head)

    def run(self, result: AttemptResult | None = None) -> OpRun:
        return codec.run_from(self.head, codec.claim_from(self.attempt), result)


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a list: HEAD, SPEC and at most one item more, which holds both the claim and the result."""

    head: "StoredItem"

    @property
    def run_id(self) -> str:
        return keys.run_id_of(self.head["created_key"]["S"])

    def item_keys(self) -> list[ItemKey]:
        third = self._third_sk()
        return [ItemKey(self.run_id, sk) for sk in (keys.SPEC, third) if sk is not None]

    def _third_sk(self) -> str | None:
        source = codec.result_source_of(self.head)
        number = codec.attempt_number_of(self.head)
        if source is None:
            return None if codec.claim_seq_of(self.head) is None else keys.attempt_sk(number)
        return keys.patched_sk(number) if source == PATCHED else keys.event_sk(source)

    def view(self, items: "Mapping[ItemKey, StoredItem]") -> RunView | None:
        """None when the items are not of one version: a write came between the reads, or a PATCH reopened the run."""
        third_sk = self._third_sk()
        third = {} if third_sk is None else items.get(ItemKey(self.run_id, third_sk), {})
        spec = items.get(ItemKey(self.run_id, keys.SPEC))
        if spec is None or codec.claim_seq_of(third) != codec.claim_seq_of(self.head):
            return None
        if codec.version_of(third) > codec.version_of(self.head):
            return None
        has_result = codec.result_source_of(self.head) is not None
        run = codec.run_from(self.head, codec.claim_from(third), codec.result_from(third) if has_result else None)
        return RunView(run, codec.spec_from(spec))


def by_read(heads: "Sequence[StoredItem]") -> "Iterator[Sequence[StoredItem]]":
    """The heads, cut where reading their documents would bring more than one answer can hold."""
    start, size = 0, 0
    for position, head in enumerate(heads):
        size += codec.document_bytes_of(head)
        if size > ROW_BYTES_A_READ or position - start == BATCH_KEYS // 2:
            yield heads[start:position]
            start, size = position, codec.document_bytes_of(head)
    if start < len(heads):
        yield heads[start:]


def around_head(reader: TableReader, run_id: str, *, with_spec: bool) -> AroundHead:
    """All that is known of the current attempt, in one query downwards from HEAD or SPEC.

    Two items more than HEAD hold it: PATCHED and ATTEMPT.
    """
    last, limit = (keys.SPEC, 4) if with_spec else (keys.HEAD, 3)
    for _ in range(SETTLE_TRIES):
        items, _cut = reader.query(run_id, keys.FIRST_ATTEMPT, last, limit=limit, newest_first=True)
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


def result_of(reader: TableReader, found: AroundHead, event_items: "Sequence[StoredItem]") -> AttemptResult | None:
    """The current attempt's result, from ``event_items`` where they hold it."""
    source = codec.result_source_of(found.head)
    if source is None:
        return None
    if source == PATCHED:
        return codec.result_from(found.patched)
    key = ItemKey(found.run().id, keys.event_sk(source))
    at_hand = (item for item in event_items if item["sk"]["S"] == key.sk)
    item = next(at_hand, None) or reader.item(key)
    return None if item is None else codec.result_from(item)


def newest_event_items(reader: TableReader, run_id: str, attempt: OpAttempt, limit: int) -> "list[StoredItem]":
    if attempt.event_count == 0:
        return []
    first, last = keys.event_sk(attempt.first_seq), keys.event_sk(attempt.last_seq)
    items, _ = reader.query(run_id, first, last, limit=limit, newest_first=True)
    return items[::-1]

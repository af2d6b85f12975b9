"""What several items together tell of a run, and whether they were met on the same side of every write."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..domain.run import PATCHED, AttemptResult, OpRun
from ..ports import RunView
from . import codec, keys
from .reading import BATCH_KEYS, ItemKey

if TYPE_CHECKING:
    from .codec import StoredItem

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

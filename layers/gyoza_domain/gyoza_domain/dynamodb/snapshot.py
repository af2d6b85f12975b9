"""Builds a run of one version from its items, or raises NotThereYet.

HEAD names the version that last wrote the claim and the result, and it counts the events. If an item is older or newer
than HEAD says, the reading saw a transaction in part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from ..domain.errors import RunNotFound
from ..domain.run import AttemptResult, Claim, Event, OpAttempt, OpRun, ResultSource
from ..runs.ports import Extent
from ..runs.views import MAX_EVENT_BYTES, MAX_EVENTS_OF_RUN, RowShape, RunView, newest_events
from . import codec, keys
from .attributes import StoredItem, sk_of, version_of
from .head import Head, head_from, is_deleted
from .settling import NotThereYet
from .table_reader import ItemKey, TableReader

Items = Mapping[str, StoredItem]
"""Items of one run by sort key."""


class _Range(NamedTuple):
    first_sk: str
    last_sk: str
    limit: int
    newest_first: bool = False


_RANGES = {
    Extent.SMALL: _Range(*keys.SMALL_ITEMS, limit=10),
    Extent.CLOSING: _Range(keys.HEAD, keys.OUTPUTS, limit=10),
    # CLAIM, BEAT, HEAD and the last event.
    Extent.REOPENING: _Range(keys.FIRST_EVENT, keys.CLAIM, limit=4, newest_first=True),
    # OUTPUTS, CLAIM, BEAT, HEAD and the last event.
    Extent.RESULT: _Range(keys.FIRST_EVENT, keys.OUTPUTS, limit=5, newest_first=True),
    # INPUTS, SPEC, OUTPUTS, CLAIM, BEAT, HEAD and the newest events.
    Extent.WHOLE: _Range(keys.FIRST_EVENT, keys.TOP, limit=6 + MAX_EVENTS_OF_RUN, newest_first=True),
}

_RESULTS_READ: Mapping[Extent, frozenset[ResultSource]] = {
    Extent.SMALL: frozenset(),
    Extent.CLOSING: frozenset({ResultSource.PATCH}),
    Extent.REOPENING: frozenset({ResultSource.EVENT}),
    Extent.RESULT: frozenset(ResultSource),
    Extent.WHOLE: frozenset(ResultSource),
}
"""The sources whose result an extent reads."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A run of one version, as far as it was read.

    ``items`` holds everything that the first query met, with events of earlier attempts. ``view`` is set with
    Extent.WHOLE only.
    """

    head: Head
    run: OpRun
    items: Items
    view: RunView | None = None


@dataclass(frozen=True, slots=True)
class WholeSnapshot(Snapshot):
    view: RunView


def read_snapshot(reader: TableReader, run_id: str, extent: Extent, *, at_least: int = 0) -> Snapshot:
    """Read the run in one query, or in two if the events that a whole run shows lie beyond the first page.

    The run is known to have reached version ``at_least``. Raises RunNotFound, UnreadableItem and NotThereYet.
    """
    if extent is Extent.WHOLE:
        return read_whole(reader, run_id, at_least=at_least)
    items, _ = _query(reader, run_id, extent)
    head = head_of_run(items.get(keys.HEAD), run_id, at_least=at_least)
    knows_result = head.run.attempt.result_source in _RESULTS_READ[extent]
    return Snapshot(head, _run(head, items, _result(head, items) if knows_result else None), items)


def read_whole(reader: TableReader, run_id: str, *, at_least: int = 0) -> WholeSnapshot:
    """Read the run as ``read_snapshot`` does with Extent.WHOLE."""
    read, is_cut = _first_page(reader, run_id, at_least=at_least)
    events = _newest_events(reader, read.run, read.items, is_cut=is_cut)
    return replace(read, view=replace(read.view, events=events))


def read_first_page(reader: TableReader, run_id: str) -> WholeSnapshot:
    """Read the run as ``read_whole`` does, but in one query. ``view`` has no events; ``items`` has those that the query
    met.
    """
    read, _ = _first_page(reader, run_id)
    return read


def _first_page(reader: TableReader, run_id: str, *, at_least: int = 0) -> tuple[WholeSnapshot, bool]:
    """The run without events, and True if more items lie below those that the query met."""
    items, is_cut = _query(reader, run_id, Extent.WHOLE)
    head = head_of_run(items.get(keys.HEAD), run_id, at_least=at_least)
    run = _run(head, items, _result(head, items))
    spec = codec.spec_from(promised(items, keys.INPUTS if head.has_inputs_item else keys.SPEC))
    return WholeSnapshot(head, run, items, RunView(run, spec)), is_cut


def _query(reader: TableReader, run_id: str, extent: Extent) -> tuple[Items, bool]:
    """The items by sort key, and True if more items lie between the bounds of the extent."""
    first_sk, last_sk, limit, newest_first = _RANGES[extent]
    page = reader.query(run_id, first_sk, last_sk, limit=limit, newest_first=newest_first)
    return {sk_of(item): item for item in page.items}, page.is_cut


def head_of_run(item: StoredItem | None, run_id: str, *, at_least: int = 0) -> Head:
    """The value of a HEAD item. Raises RunNotFound, NotThereYet and UnreadableItem as ``read_snapshot`` does."""
    if item is None and at_least > 0:
        raise NotThereYet(keys.HEAD)
    if item is None or is_deleted(item):
        raise RunNotFound(run_id)
    head = head_from(item)
    if head.run.version < at_least:
        raise NotThereYet(keys.HEAD)
    return head


def promised(items: Items, sk: str, version: int | None = None) -> StoredItem:
    """The item with that sort key. Raises NotThereYet if it is missing or has not the version that HEAD names."""
    item = items.get(sk)
    if item is None or (version is not None and version_of(item) != version):
        raise NotThereYet(sk)
    return item


def contiguous_events(items: Items, first_seq: int, last_seq: int) -> list[Event]:
    """The events from ``first_seq`` or the lowest number in ``items`` up to ``last_seq``, oldest first.

    Raises NotThereYet if one of them is missing.
    """
    seqs = sorted(codec.seq_of(item) for sk, item in items.items() if keys.is_event(sk))
    wanted = [seq for seq in seqs if first_seq <= seq <= last_seq]
    lowest = wanted[0] if wanted else last_seq
    return [codec.event_from(promised(items, keys.event_sk(seq))) for seq in range(lowest, last_seq + 1)]


def query_newest_events(reader: TableReader, run: OpRun) -> Sequence[Event]:
    """The newest events of the current attempt that a run shows, oldest first. Raises NotThereYet."""
    return _newest_events(reader, run, {}, is_cut=True)


def _newest_events(reader: TableReader, run: OpRun, items: Items, *, is_cut: bool) -> Sequence[Event]:
    """The newest events: those in ``items``, and the others by another query."""
    attempt = run.attempt
    if attempt.event_count == 0:
        return []
    lowest = max(attempt.first_seq, attempt.last_seq - MAX_EVENTS_OF_RUN + 1)
    while True:
        at_hand = any(keys.is_event(sk) for sk in items)
        events = contiguous_events(items, lowest, attempt.last_seq) if at_hand or not is_cut else []
        next_seq = events[0].seq - 1 if events else attempt.last_seq
        if next_seq < lowest or sum(event.text_bytes for event in events) > MAX_EVENT_BYTES:
            return newest_events(events)
        if not is_cut:
            raise NotThereYet(keys.event_sk(next_seq))
        first_sk, last_sk = keys.event_sk(lowest), keys.event_sk(next_seq)
        page = reader.query(run.id, first_sk, last_sk, limit=next_seq - lowest + 1, newest_first=True)
        items = {**items, **{sk_of(item): item for item in page.items}}
        is_cut = page.is_cut and bool(page.items)


def _run(head: Head, items: Items, result: AttemptResult | None = None) -> OpRun:
    return run_with_lease(_without_lease(head, items, result), head, items.get(keys.BEAT))


def run_with_lease(run: OpRun, head: Head, beat: StoredItem | None) -> OpRun:
    """The run with the lease that HEAD names. Raises NotThereYet if BEAT is another one."""
    if head.lease_version is None:
        return run
    items = {} if beat is None else {keys.BEAT: beat}
    lease = codec.lease_from(promised(items, keys.BEAT, head.lease_version))
    return replace(run, attempt=replace(run.attempt, lease=lease))


def _without_lease(head: Head, items: Items, result: AttemptResult | None = None) -> OpRun:
    claim = None
    if head.claim_version is not None:
        claim = codec.claim_from(promised(items, keys.CLAIM, head.claim_version))
    return _with(head, claim, result)


def _with(head: Head, claim: Claim | None, result: AttemptResult | None) -> OpRun:
    return replace(head.run, attempt=replace(head.run.attempt, claim=claim, result=result))


def _result(head: Head, items: Items) -> AttemptResult | None:
    attempt = head.run.attempt
    if attempt.result_source is None:
        return None
    if attempt.result_source is ResultSource.PATCH:
        return codec.result_from(promised(items, keys.OUTPUTS, head.result_version))
    return codec.result_from(promised(items, keys.event_sk(attempt.last_seq)))


# -- rows of a list


def row_keys(head: Head, shape: RowShape) -> list[ItemKey]:
    """The keys of the items that a row needs beside HEAD.

    They are at most two, because the item with the result repeats the claim; three if a worker claimed the run after a
    PATCH.
    """
    run_id, attempt = head.run.id, head.run.attempt
    if shape is RowShape.SUMMARY:
        return [ItemKey(run_id, keys.SPEC)]
    sks = [keys.INPUTS if head.has_inputs_item else keys.SPEC]
    if attempt.result_source is not None:
        sks.append(_result_sk(attempt))
    if _claim_is_apart(head):
        sks.append(keys.CLAIM)
    return [ItemKey(run_id, sk) for sk in sks]


def row_view(head: Head, found: Mapping[ItemKey, StoredItem], shape: RowShape) -> RunView:
    """The view of a list's row, from HEAD and the found items of ``row_keys``. It has neither events nor a lease.

    Raises NotThereYet and UnreadableItem.
    """
    wanted = row_keys(head, shape)
    items = {key.sk: found[key] for key in wanted if key in found}
    spec = codec.spec_from(promised(items, wanted[0].sk))
    if shape is RowShape.SUMMARY:
        return RunView(head.run, spec)
    if _claim_is_apart(head):
        return RunView(_without_lease(head, items, _result(head, items)), spec)
    attempt = head.run.attempt
    if attempt.result_source is None:
        return RunView(head.run, spec)
    result = _result(head, items)
    return RunView(_with(head, codec.claim_from(items[_result_sk(attempt)]), result), spec)


def _result_sk(attempt: OpAttempt) -> str:
    return keys.OUTPUTS if attempt.result_source is ResultSource.PATCH else keys.event_sk(attempt.last_seq)


def _claim_is_apart(head: Head) -> bool:
    """True if only CLAIM holds the current claim, and the item with the result does not repeat it."""
    return head.claim_version is not None and (head.result_version is None or head.claim_version > head.result_version)

"""Tests how a run of one version is built from its items, and how half a transaction is recognised."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from gyoza_domain.domain.errors import RunNotFound
from gyoza_domain.domain.run import (
    EMPTY_OBJECT,
    AttemptResult,
    Claim,
    Event,
    EventType,
    JsonText,
    OpAttempt,
    OpRun,
    ResultSource,
    RunSpec,
    State,
)
from gyoza_domain.dynamodb import codec, keys
from gyoza_domain.dynamodb.attributes import Item, UnreadableItem, attributes, new_item, sk_of
from gyoza_domain.dynamodb.head import Head, changing_attributes, head_from, new_head
from gyoza_domain.dynamodb.settling import NotThereYet
from gyoza_domain.dynamodb.snapshot import (
    contiguous_events,
    head_of_run,
    promised,
    query_newest_events,
    read_snapshot,
    read_whole,
    row_keys,
    row_view,
)
from gyoza_domain.dynamodb.table_reader import ItemKey, TableReader
from gyoza_domain.runs.ports import Extent
from gyoza_domain.runs.views import RowShape, RunView
from tests.support.memory import TableInMemory

T0 = datetime(2026, 3, 2, 20, 0, tzinfo=UTC)
RUN_ID = "6f1c2a54-9d1b-4c55-8a39-2f0f5c7be911"
SPEC = RunSpec("busybox:1", JsonText('{"a":1}'), op_definition="resize")
LARGE = JsonText('{"a":"' + "x" * 1_017 + '"}')
LARGE_SPEC = replace(SPEC, inputs=LARGE)
CLAIM = Claim(5, "worker-7", 1)
RESULT = AttemptResult(JsonText('{"b":2}'), "out of memory", 900)

BEAT = new_item(RUN_ID, "HEAD#BEAT", schema=2)
"""An item that a newer release may write beside HEAD."""

CLAIM_VERSION, RESULT_VERSION, VERSION = 7, 9, 12


class NoClock:
    """A clock that no test may use."""

    def now(self) -> datetime:
        raise NotImplementedError

    def monotonic(self) -> float:
        raise NotImplementedError

    def sleep(self, seconds: float) -> None:
        raise NotImplementedError


def a_run(state: State = State.RUNNING, **of_attempt: object) -> OpRun:
    """A run in attempt 2, whose events are numbers 4 to 6."""
    attempt = OpAttempt(2, state, first_seq=4, last_seq=6)
    attempt = replace(attempt, **of_attempt)  # type: ignore[arg-type]
    return OpRun(RUN_ID, T0, T0, attempt, shard=3, version=VERSION)


PENDING = a_run(State.PENDING)
CLAIMED = a_run(claim=CLAIM)
CLOSING = {"result": RESULT, "outputs_bytes": len(RESULT.outputs)}
COMPLETED = a_run(State.COMPLETED, claim=CLAIM, result_source=ResultSource.EVENT, **CLOSING)
FAILED_BEFORE_ITS_START = a_run(State.FAILED, result_source=ResultSource.EVENT, **CLOSING)
PATCHED = a_run(State.COMPLETED, claim=CLAIM, result_source=ResultSource.PATCH, **CLOSING)
PATCHED_WITHOUT_A_WORKER = a_run(State.PENDING, result_source=ResultSource.PATCH, **CLOSING)
CLAIMED_AFTERWARDS = a_run(State.RUNNING, claim=CLAIM, result_source=ResultSource.PATCH, **CLOSING)

RUNS = {
    "pending": PENDING,
    "claimed": CLAIMED,
    "completed": COMPLETED,
    "failed before its start": FAILED_BEFORE_ITS_START,
    "patched": PATCHED,
    "patched without a worker": PATCHED_WITHOUT_A_WORKER,
    "patched, then claimed": CLAIMED_AFTERWARDS,
}


def an_event(seq: int, *, first_seq: int = 4, attempt: int = 2) -> Event:
    return Event(seq, seq - first_seq, attempt, EventType.INFO, T0, State.RUNNING, f"line {seq}")


def head_item(run: OpRun, spec: RunSpec = SPEC) -> Item:
    attempt = run.attempt
    claim_version = None if attempt.claim is None else CLAIM_VERSION
    result_version = None if attempt.result_source is None else RESULT_VERSION
    if run is CLAIMED_AFTERWARDS:
        claim_version = RESULT_VERSION + 1
    return new_head(run, spec) | changing_attributes(run, claim_version=claim_version, result_version=result_version)


def stored(run: OpRun, spec: RunSpec = SPEC, events: Iterable[Event] | None = None) -> dict[str, Item]:
    """The items that the run's transactions leave, by sort key."""
    attempt = run.attempt
    head = head_from(head_item(run, spec))
    items = [head_item(run, spec), *codec.spec_items(RUN_ID, spec)]
    for event in [an_event(seq) for seq in range(4, 7)] if events is None else events:
        item = codec.event_item(RUN_ID, event)
        if attempt.result_source is ResultSource.EVENT and event.seq == attempt.last_seq:
            ending = replace(
                event, outputs=RESULT.outputs, error_message=RESULT.error_message, duration_ms=RESULT.duration_ms
            )
            item = codec.event_item(RUN_ID, ending) | codec.claim_attributes(attempt.claim)
        items.append(item)
    if attempt.claim is not None:
        items.append(claim_item(attempt.claim, head.claim_version))
    if attempt.result_source is ResultSource.PATCH:
        claim = None if run is CLAIMED_AFTERWARDS else attempt.claim
        items.append(outputs_item(RESULT, claim))
    return {sk_of(item): item for item in items}


def claim_item(claim: Claim, version: int | None = CLAIM_VERSION) -> Item:
    return new_item(RUN_ID, keys.CLAIM, version=version) | codec.claim_attributes(claim)


def outputs_item(result: AttemptResult, claim: Claim | None, version: int = RESULT_VERSION) -> Item:
    item = new_item(RUN_ID, keys.OUTPUTS, version=version)
    return item | codec.result_attributes(result) | codec.claim_attributes(claim)


def table_of(items: dict[str, Item]) -> TableInMemory:
    table = TableInMemory()
    table.items = {(f"RUN#{RUN_ID}", sk): item for sk, item in items.items()}
    return table


def reader_of(items: dict[str, Item]) -> TableReader:
    return TableReader(table_of(items).client, "runs", NoClock())


def with_version(item: Item, version: int) -> Item:
    return item | attributes(version=version)


def without(items: dict[str, Item], sk: str) -> dict[str, Item]:
    assert sk in items
    return {other: item for other, item in items.items() if other != sk}


# -- runs of one version


def shown(run: OpRun) -> list[Event]:
    return [codec.event_from(stored(run)[keys.event_sk(seq)]) for seq in range(4, 7)]


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("spec", [SPEC, LARGE_SPEC], ids=["small inputs", "large inputs"])
def test_a_whole_run_is_its_items_put_together(name: str, spec: RunSpec) -> None:
    run = RUNS[name]
    read = read_whole(reader_of(stored(run, spec)), RUN_ID)
    assert read.view == RunView(run, spec, shown(run))
    assert (read.run, read.head) == (run, head_from(head_item(run, spec)))


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("extent", Extent)
def test_an_extent_is_one_query_and_shows_as_much_as_it_says(name: str, extent: Extent) -> None:
    run = RUNS[name]
    table = table_of(stored(run))
    read = read_snapshot(TableReader(table.client, "runs", NoClock()), RUN_ID, extent)
    knows_result = extent in {Extent.RESULT, Extent.WHOLE} or (extent, run.attempt.result_source) in {
        (Extent.CLOSING, ResultSource.PATCH),
        (Extent.REOPENING, ResultSource.EVENT),
    }
    assert read.run == (run if knows_result else replace(run, attempt=replace(run.attempt, result=None)))
    assert (read.view is None) == (extent is not Extent.WHOLE)
    assert table.calls == ["Query"]


def test_the_items_of_a_reading_go_with_it() -> None:
    items = stored(PATCHED)
    assert read_snapshot(reader_of(items), RUN_ID, Extent.CLOSING).items == {
        sk: items[sk] for sk in (keys.HEAD, keys.CLAIM, keys.OUTPUTS)
    }


# -- items before or after a write

PROMISES: list[tuple[str, str, set[Extent]]] = [
    ("claimed", keys.CLAIM, set(Extent)),
    ("patched, then claimed", keys.CLAIM, set(Extent)),
    ("patched", keys.OUTPUTS, {Extent.CLOSING, Extent.RESULT, Extent.WHOLE}),
    ("patched without a worker", keys.OUTPUTS, {Extent.CLOSING, Extent.RESULT, Extent.WHOLE}),
    ("completed", keys.event_sk(6), {Extent.REOPENING, Extent.RESULT, Extent.WHOLE}),
    ("pending", keys.SPEC, {Extent.WHOLE}),
    *((name, keys.event_sk(seq), {Extent.WHOLE}) for name in ("pending", "claimed", "patched") for seq in (4, 5, 6)),
]
"""A run, an item that its HEAD promises, and the extents that need the item."""


@pytest.mark.parametrize("extent", Extent)
@pytest.mark.parametrize(("name", "sk", "needed_by"), PROMISES)
def test_an_item_that_head_promises_and_a_reading_misses_is_not_there_yet(
    name: str, sk: str, needed_by: set[Extent], extent: Extent
) -> None:
    reader = reader_of(without(stored(RUNS[name]), sk))
    if extent in needed_by:
        with pytest.raises(NotThereYet):
            read_snapshot(reader, RUN_ID, extent)
    else:
        assert read_snapshot(reader, RUN_ID, extent) is not None


VERSIONED = [(name, sk, extents) for name, sk, extents in PROMISES if sk in {keys.CLAIM, keys.OUTPUTS}]


@pytest.mark.parametrize("change", [-1, 1, 5], ids=["older", "newer", "much newer"])
@pytest.mark.parametrize("extent", Extent)
@pytest.mark.parametrize(("name", "sk", "needed_by"), VERSIONED)
def test_an_item_of_another_version_than_head_names_is_not_there_yet(
    name: str, sk: str, needed_by: set[Extent], extent: Extent, change: int
) -> None:
    items = stored(RUNS[name])
    version = int(items[sk]["version"]["N"]) + change
    reader = reader_of(items | {sk: with_version(items[sk], version)})
    if extent in needed_by:
        with pytest.raises(NotThereYet):
            read_snapshot(reader, RUN_ID, extent)
    else:
        assert read_snapshot(reader, RUN_ID, extent) is not None


@pytest.mark.parametrize("sk", [keys.SPEC, keys.INPUTS])
def test_a_run_with_large_inputs_needs_the_item_that_holds_them_and_not_spec(sk: str) -> None:
    reader = reader_of(without(stored(PENDING, LARGE_SPEC), sk))
    if sk == keys.SPEC:
        assert read_whole(reader, RUN_ID).view.spec == LARGE_SPEC
    else:
        with pytest.raises(NotThereYet):
            read_whole(reader, RUN_ID)


@pytest.mark.parametrize("left_over", [claim_item(CLAIM), outputs_item(RESULT, CLAIM)], ids=[keys.CLAIM, keys.OUTPUTS])
@pytest.mark.parametrize("extent", Extent)
def test_an_item_left_over_from_an_attempt_that_was_retried_is_ignored(left_over: Item, extent: Extent) -> None:
    items = stored(PENDING) | {sk_of(left_over): left_over}
    assert read_snapshot(reader_of(items), RUN_ID, extent).run == PENDING


@pytest.mark.parametrize("extent", Extent)
def test_events_that_head_does_not_count_yet_are_ignored(extent: Extent) -> None:
    later = {keys.event_sk(seq): codec.event_item(RUN_ID, an_event(seq)) for seq in (7, 8)}
    read = read_snapshot(reader_of(stored(CLAIMED) | later), RUN_ID, extent)
    assert read.run == CLAIMED
    assert read.view is None or read.view.events == shown(CLAIMED)


def test_events_of_earlier_attempts_are_not_shown() -> None:
    earlier = [an_event(seq, first_seq=0, attempt=1) for seq in range(4)]
    items = stored(CLAIMED, events=[*earlier, *(an_event(seq) for seq in range(4, 7))])
    assert read_whole(reader_of(items), RUN_ID).view.events == shown(CLAIMED)


@pytest.mark.parametrize("extent", Extent)
def test_no_items_are_no_run_unless_it_is_known_to_exist(extent: Extent) -> None:
    with pytest.raises(RunNotFound):
        read_snapshot(reader_of({}), RUN_ID, extent)
    with pytest.raises(NotThereYet):
        read_snapshot(reader_of({}), RUN_ID, extent, at_least=1)


@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.parametrize("extent", Extent)
def test_a_run_that_is_being_deleted_is_not_found_whatever_is_left_of_it(extent: Extent, is_known: bool) -> None:
    head = head_item(COMPLETED) | attributes(deleted_at=T0)
    for items in ({keys.HEAD: head}, stored(COMPLETED) | {keys.HEAD: head}):
        with pytest.raises(RunNotFound):
            read_snapshot(reader_of(items), RUN_ID, extent, at_least=int(is_known))


@pytest.mark.parametrize("extent", Extent)
def test_a_head_that_a_newer_release_wrote_is_unreadable(extent: Extent) -> None:
    items = stored(CLAIMED)
    for change in (attributes(schema=2), attributes(state="PAUSED")):
        with pytest.raises(UnreadableItem):
            read_snapshot(reader_of(items | {keys.HEAD: items[keys.HEAD] | change}), RUN_ID, extent)


def test_a_head_by_itself_is_judged_in_the_same_way() -> None:
    item = head_item(CLAIMED)
    assert head_of_run(item, RUN_ID) == head_from(item)
    with pytest.raises(RunNotFound):
        head_of_run(None, RUN_ID)
    with pytest.raises(NotThereYet):
        head_of_run(None, RUN_ID, at_least=1)
    with pytest.raises(RunNotFound):
        head_of_run(item | attributes(deleted_at=T0), RUN_ID)


def test_an_item_is_promised_with_a_version_or_without() -> None:
    items = {keys.CLAIM: claim_item(CLAIM, 7)}
    assert promised(items, keys.CLAIM) == promised(items, keys.CLAIM, 7) == items[keys.CLAIM]
    for sk, version in ((keys.CLAIM, 6), (keys.CLAIM, 8), (keys.OUTPUTS, None), (keys.OUTPUTS, 7)):
        with pytest.raises(NotThereYet):
            promised(items, sk, version)


# -- events


def events_at(*seqs: int) -> dict[str, Item]:
    items = {keys.event_sk(seq): codec.event_item(RUN_ID, an_event(seq)) for seq in seqs}
    return items | {keys.HEAD: head_item(CLAIMED)}


@pytest.mark.parametrize(
    ("seqs", "found"),
    [
        ((4, 5, 6), [4, 5, 6]),
        ((5, 6), [5, 6]),
        ((6,), [6]),
        ((2, 3, 4, 5, 6), [4, 5, 6]),
        ((4, 5, 6, 7, 9), [4, 5, 6]),
    ],
)
def test_events_are_taken_from_the_last_down_as_far_as_they_go(seqs: tuple[int, ...], found: list[int]) -> None:
    assert [event.seq for event in contiguous_events(events_at(*seqs), 4, 6)] == found


@pytest.mark.parametrize("seqs", [(), (3,), (7,), (4,), (4, 5), (4, 6), (3, 7)])
def test_a_missing_event_between_two_or_at_the_top_is_not_there_yet(seqs: tuple[int, ...]) -> None:
    with pytest.raises(NotThereYet):
        contiguous_events(events_at(*seqs), 4, 6)


def a_long_run(count: int, *, spec: RunSpec = SPEC, msg: str = "") -> tuple[OpRun, dict[str, Item]]:
    """A run in attempt 1 with so many events. It was patched, so that all items beside HEAD exist."""
    attempt = replace(PATCHED.attempt, number=1, first_seq=0, last_seq=count - 1)
    events = [replace(an_event(seq, first_seq=0, attempt=1), msg=msg) for seq in range(count)]
    run = replace(PATCHED, attempt=attempt)
    return run, stored(run, spec, events)


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 250])
@pytest.mark.parametrize("spec", [SPEC, LARGE_SPEC], ids=["small inputs", "large inputs"])
def test_the_newest_hundred_events_of_a_first_attempt_come_with_one_query(count: int, spec: RunSpec) -> None:
    run, items = a_long_run(count, spec=spec)
    table = table_of(items)
    view = read_whole(TableReader(table.client, "runs", NoClock()), RUN_ID).view
    assert view.run == run
    assert [event.seq for event in view.events] == list(range(max(0, count - 100), count))
    assert table.calls == ["Query"]


@pytest.mark.parametrize("name", ["completed", "patched", "patched, then claimed", "failed before its start"])
@pytest.mark.parametrize("extent", Extent)
def test_a_small_item_of_a_newer_release_between_head_and_claim_takes_no_other_item_s_place(
    name: str, extent: Extent
) -> None:
    expected = read_snapshot(reader_of(stored(RUNS[name])), RUN_ID, extent).run
    table = table_of(stored(RUNS[name]) | {BEAT["sk"]["S"]: BEAT})
    assert read_snapshot(TableReader(table.client, "runs", NoClock()), RUN_ID, extent).run == expected
    assert table.calls == ["Query"]


def test_a_hundred_events_come_with_one_query_beside_a_small_item_of_a_newer_release() -> None:
    run, items = a_long_run(101, spec=LARGE_SPEC)
    table = table_of(items | {BEAT["sk"]["S"]: BEAT})
    view = read_whole(TableReader(table.client, "runs", NoClock()), RUN_ID).view
    assert (view.run, len(view.events)) == (run, 100)
    assert table.calls == ["Query"]


@pytest.mark.parametrize("count", [30, 100, 150])
def test_events_beyond_the_first_page_come_with_another_query(count: int) -> None:
    """An event has 10,300 bytes. A page of 1 MB holds fewer of them than an answer, because items have other
    attributes.
    """
    documents = AttemptResult(JsonText('{"a":"' + "x" * 250_000 + '"}'))
    run, items = a_long_run(
        count, spec=replace(SPEC, inputs=JsonText('{"a":"' + "x" * 250_000 + '"}')), msg="x" * 10_300
    )
    items[keys.OUTPUTS] = outputs_item(documents, CLAIM)
    table = table_of(items)
    view = read_whole(TableReader(table.client, "runs", NoClock()), RUN_ID).view
    size = min(count, 1_000_000 // 10_300)
    assert [event.seq for event in view.events] == list(range(count - size, count))
    assert table.calls == (["Query"] if count == 30 else ["Query", "Query"])
    assert view.run.attempt.result == documents
    assert query_newest_events(TableReader(table.client, "runs", NoClock()), run) == view.events


@pytest.mark.parametrize("seq", [0, 9, 50, 99, 149])
def test_an_event_that_no_query_meets_is_not_there_yet(seq: int) -> None:
    run, items = a_long_run(150, msg="x" * 6_000)
    reader = reader_of(without(items, keys.event_sk(seq)))
    if seq < 50:
        assert len(read_whole(reader, RUN_ID).view.events) == 100
        return
    with pytest.raises(NotThereYet):
        read_whole(reader, RUN_ID)
    with pytest.raises(NotThereYet):
        query_newest_events(reader, run)


def test_a_run_without_events_asks_for_none() -> None:
    run, items = a_long_run(0)
    table = table_of(items)
    assert query_newest_events(TableReader(table.client, "runs", NoClock()), run) == []
    assert table.calls == []


# -- rows of a list

ROWS: list[tuple[str, list[str]]] = [
    ("pending", []),
    ("claimed", [keys.CLAIM]),
    ("completed", [keys.event_sk(6)]),
    ("failed before its start", [keys.event_sk(6)]),
    ("patched", [keys.OUTPUTS]),
    ("patched without a worker", [keys.OUTPUTS]),
    ("patched, then claimed", [keys.OUTPUTS, keys.CLAIM]),
]
"""The items that a row reads beside HEAD and the one with the inputs."""


def row(head: Head, items: dict[str, Item], shape: RowShape) -> RunView:
    found = {key: items[key.sk] for key in row_keys(head, shape) if key.sk in items}
    return row_view(head, found, shape)


@pytest.mark.parametrize("shape", [RowShape.WHOLE, RowShape.WITH_EVENTS])
@pytest.mark.parametrize(("spec", "spec_sk"), [(SPEC, keys.SPEC), (LARGE_SPEC, keys.INPUTS)])
@pytest.mark.parametrize(("name", "sks"), ROWS)
def test_a_row_reads_the_items_that_it_shows_and_no_more(
    name: str, sks: list[str], spec: RunSpec, spec_sk: str, shape: RowShape
) -> None:
    head = head_from(head_item(RUNS[name], spec))
    assert row_keys(head, shape) == [ItemKey(RUN_ID, sk) for sk in (spec_sk, *sks)]
    assert row(head, stored(RUNS[name], spec), shape) == RunView(RUNS[name], spec)


def test_a_row_reads_three_items_with_head_or_four_if_a_worker_claimed_the_run_after_a_patch() -> None:
    counts = {name: 1 + len(row_keys(head_from(head_item(run)), RowShape.WHOLE)) for name, run in RUNS.items()}
    assert counts.pop("patched, then claimed") == 4
    assert max(counts.values()) == 3


@pytest.mark.parametrize(("spec", "inputs"), [(SPEC, SPEC.inputs), (LARGE_SPEC, EMPTY_OBJECT)])
@pytest.mark.parametrize("name", RUNS)
def test_a_summary_reads_one_item_beside_head_and_never_large_inputs(
    name: str, spec: RunSpec, inputs: JsonText
) -> None:
    head = head_from(head_item(RUNS[name], spec))
    assert row_keys(head, RowShape.SUMMARY) == [ItemKey(RUN_ID, keys.SPEC)]
    bare = replace(RUNS[name], attempt=replace(RUNS[name].attempt, claim=None, result=None))
    expected = RunView(bare, replace(spec, inputs=inputs))
    assert row(head, stored(RUNS[name], spec), RowShape.SUMMARY) == expected


@pytest.mark.parametrize(("name", "sks"), ROWS)
def test_a_row_that_misses_an_item_is_not_there_yet(name: str, sks: list[str]) -> None:
    head = head_from(head_item(RUNS[name]))
    for sk in (keys.SPEC, *sks):
        with pytest.raises(NotThereYet):
            row(head, without(stored(RUNS[name]), sk), RowShape.WHOLE)


VERSIONED_ROWS = [(name, sk) for name, sks in ROWS for sk in sks if sk in {keys.CLAIM, keys.OUTPUTS}]


@pytest.mark.parametrize("change", [-1, 1], ids=["older", "newer"])
@pytest.mark.parametrize(("name", "sk"), VERSIONED_ROWS)
def test_a_row_that_meets_an_item_of_another_version_is_not_there_yet(name: str, sk: str, change: int) -> None:
    items = stored(RUNS[name])
    torn = items | {sk: with_version(items[sk], int(items[sk]["version"]["N"]) + change)}
    with pytest.raises(NotThereYet):
        row(head_from(head_item(RUNS[name])), torn, RowShape.WHOLE)


def test_a_row_with_an_item_that_a_newer_release_wrote_is_unreadable() -> None:
    items = stored(COMPLETED)
    for sk in (keys.SPEC, keys.event_sk(6)):
        with pytest.raises(UnreadableItem):
            row(head_from(head_item(COMPLETED)), items | {sk: items[sk] | attributes(schema=2)}, RowShape.WHOLE)

"""Tests that a run comes back from a table under any sequence of commands: whole, in part, as a row, in pages."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gyoza_domain.domain.errors import GyozaError
from gyoza_domain.domain.run import (
    EMPTY_OBJECT,
    Change,
    Event,
    EventType,
    JsonText,
    OpAttempt,
    OpRun,
    ResultSource,
    RunSpec,
    State,
)
from gyoza_domain.domain.timers import wake
from gyoza_domain.domain.transitions import EventDraft, append_event, heartbeat, patch
from gyoza_domain.dynamodb.head import head_from
from gyoza_domain.dynamodb.run_reader import DynamoDBRunReader
from gyoza_domain.dynamodb.run_store import DynamoDBRunStore
from gyoza_domain.dynamodb.snapshot import row_keys, row_view
from gyoza_domain.runs.commands import RunPatch, add_event, patch_run
from gyoza_domain.runs.pausing import Pauses
from gyoza_domain.runs.ports import Extent
from gyoza_domain.runs.views import (
    MAX_EVENT_BYTES,
    MAX_EVENTS_OF_ATTEMPT,
    MAX_EVENTS_OF_RUN,
    AttemptView,
    EventPage,
    RowShape,
    RunView,
)
from tests.support.memory import TableInMemory

CREATED = datetime(2026, 3, 2, 20, 0, tzinfo=UTC)
RUN_ID = "6f1c2a54-9d1b-4c55-8a39-2f0f5c7be911"


def text_of(size: int) -> JsonText:
    """A document of that many bytes, which must be at least ten."""
    return JsonText('{"é":"' + "x" * (size - 9) + '"}')


inputs = st.sampled_from([EMPTY_OBJECT, text_of(1024), text_of(1025), text_of(3_000)])
sizes = st.sampled_from([10, 10, 10_400, 200_000])
documents = st.just(EMPTY_OBJECT) | sizes.map(text_of)


def as_stored(closed: OpAttempt) -> OpAttempt:
    """The closed attempt without what no answer shows of it."""
    return replace(closed, is_offered=True, cancel=None)


class StoppedClock:
    """A clock that stands still. Nobody else writes, so nothing waits."""

    def __init__(self) -> None:
        self.instant = CREATED

    def now(self) -> datetime:
        return self.instant

    def monotonic(self) -> float:
        return 0.0

    def sleep(self, seconds: float) -> None:
        raise AssertionError(f"a pause of {seconds} s")


class StoredRun(RuleBasedStateMachine):
    """Compares the store, the reader and the rows with a run that keeps every value in memory."""

    @initialize(inputs=inputs, max_attempts=st.integers(1, 3))
    def create(self, inputs: JsonText, max_attempts: int) -> None:
        self.clock = StoppedClock()
        self.table = TableInMemory()
        self.store = DynamoDBRunStore(self.table.client, "runs", self.clock)
        self.reader = DynamoDBRunReader(self.table.client, "runs", self.clock)
        self.spec = RunSpec("busybox:1", inputs)
        self.run = OpRun(RUN_ID, CREATED, CREATED, OpAttempt(1), max_attempts=max_attempts)
        self.timeline: list[Event] = []
        self.closed: list[OpAttempt] = []
        self.store.add(self.run, self.spec)

    @rule(
        event_type=st.sampled_from(EventType),
        force=st.booleans(),
        document=documents,
        lease_s=st.sampled_from([None, 15, 60]),
        whole=st.booleans(),
    )
    def post(self, event_type: EventType, force: bool, document: JsonText, lease_s: int | None, whole: bool) -> None:
        takes = event_type in {EventType.ASSIGNED, EventType.STARTED}
        draft = EventDraft(
            event_type,
            msg=40 if event_type is EventType.PROGRESS else "müsli",
            payload=document if event_type is EventType.INFO else EMPTY_OBJECT,
            worker_id="worker-7" if takes else None,
            lease_s=lease_s if takes else None,
            attempt=None if self.run.attempt.lease is None else self.run.attempt.number,
            outputs=document if event_type is EventType.COMPLETED and document != EMPTY_OBJECT else None,
            error_message=document if event_type is EventType.FAILED else None,
            force=force and event_type is EventType.RETRIED,
        )
        self.clock.instant += timedelta(milliseconds=700)
        try:
            change = append_event(self.run, draft, self.clock.now())
        except GyozaError:
            return
        outcome = add_event(self.store, self.clock, RUN_ID, draft, whole=whole)
        self.apply(change)
        assert outcome.view == (self.view() if whole else None)

    @rule(
        count=st.sampled_from([1, MAX_EVENTS_OF_ATTEMPT, MAX_EVENTS_OF_RUN - 1, MAX_EVENTS_OF_RUN]),
        size=st.sampled_from([10, 9_900, 10_400]),
    )
    def a_worker_writes_many_lines(self, count: int, size: int) -> None:
        """Write about as many events as a run shows: a hundred, or 1 MB of them."""
        if self.run.state.is_terminal:
            return
        for _ in range(count):
            draft = EventDraft(EventType.INFO, payload=text_of(size))
            self.apply(append_event(self.run, draft, self.clock.now()))
            add_event(self.store, self.clock, RUN_ID, draft, whole=False)

    @rule(
        state=st.none() | st.sampled_from(State),
        outputs=st.none() | documents,
        priority=st.none() | st.integers(0, 9),
        whole=st.booleans(),
    )
    def edit(self, state: State | None, outputs: JsonText | None, priority: int | None, whole: bool) -> None:
        self.clock.instant += timedelta(milliseconds=700)
        wanted = RunPatch(state, outputs, priority)
        outcome = patch_run(self.store, self.clock, RUN_ID, wanted, whole=whole)
        if wanted != RunPatch():
            self.apply(patch(self.run, self.clock.now(), state=state, outputs=outputs, priority=priority))
        assert outcome.view == (self.view() if whole else None)

    @precondition(lambda self: self.run.attempt.lease is not None)
    @rule(seconds=st.sampled_from([0, 5, 14, 100]))
    def beat(self, seconds: int) -> None:
        self.clock.instant += timedelta(seconds=seconds)
        loaded = self.store.load(RUN_ID, Extent.SMALL)
        lease = heartbeat(self.run, self.run.attempt.number, "worker-7", self.clock.now())
        assert self.store.renew(loaded, lease) == lease
        self.run = replace(self.run, attempt=replace(self.run.attempt, lease=lease))

    @precondition(lambda self: self.run.attempt.lease is not None)
    @rule()
    def the_lease_runs_out(self) -> None:
        lease = self.run.attempt.lease
        assert lease is not None
        self.clock.instant = max(self.clock.instant, lease.until)
        loaded = self.store.load(RUN_ID, Extent.CLOSING)
        saved, change = wake(loaded.run, self.clock.now()), wake(self.run, self.clock.now())
        assert isinstance(saved, Change)
        assert isinstance(change, Change)
        self.store.save(saved, loaded)
        self.apply(change)

    def apply(self, change: Change) -> None:
        self.run = change.after
        self.timeline += change.events
        if change.closed is not None:
            self.closed.append(change.closed)

    def events_of(self, attempt: OpAttempt) -> Sequence[Event]:
        return self.timeline[attempt.first_seq : attempt.last_seq + 1]

    def view(self) -> RunView:
        """The run by definition: the newest hundred events, and of those the newest that fit 1 MB."""
        shown: list[Event] = []
        for event in reversed(self.events_of(self.run.attempt)[-MAX_EVENTS_OF_RUN:]):
            if sum(each.text_bytes for each in (*shown, event)) > MAX_EVENT_BYTES:
                break
            shown.insert(0, event)
        return RunView(self.run, self.spec, shown)

    @invariant()
    def a_fresh_read_shows_the_run(self) -> None:
        assert self.reader.view(RUN_ID) == self.view()

    @invariant()
    def every_extent_is_the_run_as_far_as_it_goes(self) -> None:
        attempt = self.run.attempt
        without_result = replace(self.run, attempt=replace(attempt, result=None))
        is_patched = attempt.result_source is ResultSource.PATCH
        expected = {
            Extent.SMALL: without_result,
            Extent.CLOSING: self.run if is_patched else without_result,
            Extent.REOPENING: without_result if is_patched else self.run,
            Extent.RESULT: self.run,
            Extent.WHOLE: self.run,
        }
        pauses = Pauses(self.clock)
        assert {extent: self.store.load(RUN_ID, extent, pauses).run for extent in Extent} == expected

    @invariant()
    def a_row_is_the_run_without_its_events(self) -> None:
        items = self.table.items
        head = head_from(items[f"RUN#{RUN_ID}", "HEAD"])
        for shape in RowShape:
            wanted = row_keys(head, shape)
            found = {key: items[f"RUN#{RUN_ID}", key.sk] for key in wanted}
            assert row_view(head, found, shape) == self.row(shape)

    def row(self, shape: RowShape) -> RunView:
        if shape is not RowShape.SUMMARY:
            attempt = replace(self.run.attempt, lease=None)
            return RunView(replace(self.run, attempt=attempt), self.spec)
        inputs = self.spec.inputs if len(self.spec.inputs.encode()) <= 1024 else EMPTY_OBJECT
        return RunView(self.bare_run(), replace(self.spec, inputs=inputs))

    def bare_run(self) -> OpRun:
        return replace(self.run, attempt=replace(self.run.attempt, claim=None, result=None, lease=None))

    @invariant()
    def attempts_are_those_that_were_closed_and_the_current_one(self) -> None:
        page = self.reader.attempts(RUN_ID, 0, 100)
        assert (page.run, page.spec) == (self.run, self.spec)
        attempts = [*map(as_stored, self.closed), self.run.attempt]
        expected = [AttemptView(each, self.events_of(each)[-MAX_EVENTS_OF_ATTEMPT:]) for each in attempts]
        assert list(page.attempts) == expected

    @rule(attempt=st.none() | st.integers(1, 4), after=st.integers(-1, 130), limit=st.sampled_from([1, 30, 1_000]))
    def poll_an_attempt(self, attempt: int | None, after: int, limit: int) -> None:
        attempts = [*self.closed, self.run.attempt]
        number = len(attempts) if attempt is None else attempt
        if number > len(attempts):
            return
        behind = self.events_of(attempts[number - 1])[after + 1 :]
        self.check_page(self.reader.events_of_attempt(RUN_ID, attempt, after, limit), behind, limit)

    @rule(after_seq=st.integers(-1, 250), limit=st.sampled_from([1, 30, 1_000]))
    def poll_the_run(self, after_seq: int, limit: int) -> None:
        behind = self.timeline[after_seq + 1 :]
        self.check_page(self.reader.events_across_attempts(RUN_ID, after_seq, limit), behind, limit)

    def check_page(self, page: EventPage, behind: Sequence[Event], limit: int) -> None:
        """Check a page. It may end short of its limit only if it holds 1 MB, and it is empty only at the end."""
        assert page.run == self.bare_run()
        assert list(page.events) == list(behind[: len(page.events)])
        assert page.has_more == (len(page.events) < len(behind))
        assert len(page.events) <= limit
        assert page.events or not behind
        if page.has_more and len(page.events) < limit:
            shown_and_next = behind[: len(page.events) + 1]
            assert sum(event.text_bytes for event in shown_and_next) > 0.9 * MAX_EVENT_BYTES


TestStoredRun = StoredRun.TestCase
TestStoredRun.settings = settings(deadline=None, max_examples=30, stateful_step_count=25)

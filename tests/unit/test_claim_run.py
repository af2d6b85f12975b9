"""The command of claims on runs in memory."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from gyoza_domain.claiming.choice import MAX_ENTRIES, MAX_HEADS
from gyoza_domain.claiming.commands import KEY_LIFE, Claimed, NothingFits, claim_run
from gyoza_domain.claiming.memory import SpentEntries
from gyoza_domain.claiming.ports import Capacity, ClaimRequest
from gyoza_domain.domain.errors import (
    IdempotencyKeyReused,
    OutcomeUnknown,
    RunBusy,
    RunExpired,
    RunNotFound,
    StaleAttempt,
    StorageUnavailable,
    UnreadableRun,
)
from gyoza_domain.domain.run import Change, Constraints, EventType, Lease, OpRun, State, Terms
from gyoza_domain.domain.transitions import (
    INDEXED_AHEAD,
    MANUAL_RETRY,
    USER_CANCEL,
    EventDraft,
    append_event,
    claim,
    new_attempt,
    patch,
)
from gyoza_domain.runs.pausing import Pauses
from gyoza_domain.runs.ports import ChangedMeanwhile, ClaimKey, Extent, IdempotencyKey, Loaded, NotWritten, Overloaded
from tests.support.virtual_time import VirtualTime
from tests.support.waiting_runs import WaitingRuns, candidate_of

CLOCK = VirtualTime()
NOW = CLOCK.now()
REQUEST = ClaimRequest("worker", lease_s=60)
KEY = ClaimKey("digest", "the body", "worker", NOW + KEY_LIFE)
SOON = range(1, 4)
LATER = range(5, 21)


def a_run(
    number: int = 0,
    *,
    priority: int = 5,
    age_s: float = 60,
    needs: Constraints | None = None,
    starts_in_s: float | None = None,
    queue: str = "default",
    queue_ttl_s: int | None = None,
) -> OpRun:
    created_at = NOW - timedelta(seconds=age_s)
    start_at = None if starts_in_s is None else NOW + timedelta(seconds=starts_in_s)
    terms = Terms(queue=queue, needs=needs or Constraints(), start_at=start_at, queue_ttl_s=queue_ttl_s)
    attempt = new_attempt(terms, created_at)
    if start_at is not None:
        attempt = replace(attempt, is_indexed=start_at - NOW <= INDEXED_AHEAD)
    return OpRun(run_id(number), created_at, created_at, attempt, priority=priority, terms=terms)


def run_id(number: int) -> str:
    return str(UUID(int=number, version=4))


class Table(WaitingRuns):
    """Runs in memory at a fixed instant. ``failures``: the error of each save, in order; None lets it through."""

    def __init__(self, *runs: OpRun) -> None:
        super().__init__(VirtualTime())
        self.put(*runs)
        self.failures: list[Exception | None] = []
        self.unreadable: dict[str, RunNotFound | StorageUnavailable] = {}
        self.after_failure: Callable[[Change, IdempotencyKey | None], None] = lambda *_: None

    def load(self, run_id: str, extent: Extent, _pauses: Pauses | None = None, *, at_least: int = 0) -> Loaded:
        if run_id in self.unreadable:
            self.calls.append("load")
            raise self.unreadable[run_id]
        return super().load(run_id, extent, at_least=at_least)

    def save(self, change: Change, loaded: Loaded, key: IdempotencyKey | None = None) -> None:
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            self.calls.append("save")
            self.after_failure(change, key)
            raise failure
        super().save(change, loaded, key)

    def claim(
        self,
        request: ClaimRequest = REQUEST,
        *,
        whole: bool = False,
        key: ClaimKey | None = None,
        spent: SpentEntries | None = None,
        wake_due: Callable[[], int] | None = None,
    ) -> Claimed | NothingFits:
        self.calls.clear()
        self.entries_read = 0
        return claim_run(
            self.store, self, self, self._clock, request, whole=whole, key=key, spent=spent, wake_due=wake_due
        )

    def claimed(self, request: ClaimRequest = REQUEST, *, whole: bool = False, key: ClaimKey | None = None) -> Claimed:
        answer = self.claim(request, whole=whole, key=key)
        assert isinstance(answer, Claimed)
        return answer

    @property
    def heads_read(self) -> int:
        return sum(call.startswith("load") for call in self.calls)


def retry_after_s(answer: Claimed | NothingFits) -> int:
    assert isinstance(answer, NothingFits)
    return answer.retry_after_s


# -- a run is got


def test_a_claim_assigns_the_run_with_a_lease() -> None:
    table = Table(a_run())

    answer = table.claimed()

    assert answer.run == table.runs[run_id(0)]
    assert (answer.run.state, answer.run.attempt.lease) == (
        State.ASSIGNED,
        Lease(60, "worker", NOW + timedelta(seconds=60)),
    )
    assert [event.type for event in table.saved[0].events] == [EventType.ASSIGNED]
    assert (answer.view, answer.is_replay, answer.waited) == (None, False, timedelta(seconds=60))


def test_a_claim_that_starts_leaves_the_run_running() -> None:
    assert Table(a_run()).claimed(replace(REQUEST, start=True)).run.state is State.RUNNING


def test_a_whole_answer_shows_the_run_after_the_claim() -> None:
    answer = Table(a_run()).claimed(whole=True)

    assert answer.view is not None
    assert answer.view.run == answer.run
    assert [event.type for event in answer.view.events] == [EventType.ASSIGNED]


def test_a_claim_takes_two_pages_a_read_and_a_write() -> None:
    table = Table(a_run())

    table.claim(whole=True)

    assert table.calls == ["page default cpu", "page default gpu", "load WHOLE", "save"]


def test_the_highest_priority_that_fits_is_claimed_from_both_partitions() -> None:
    gpu_run = a_run(1, priority=7, needs=Constraints(vram_mb=8_192))
    table = Table(a_run(0, priority=6), gpu_run, a_run(2, priority=8, needs=Constraints(cpu=64)))
    with_gpu, without_gpu = (replace(REQUEST, capacity=Capacity(8, None, vram_mb)) for vram_mb in (8_192, 0))

    assert table.claimed(with_gpu).run.id == run_id(1)
    assert table.claimed(without_gpu).run.id == run_id(0)
    assert table.calls[0:2] == ["page default cpu", "load SMALL"]


def test_gpu_work_does_not_hide_cpu_work_from_a_worker_without_a_gpu() -> None:
    gpu_runs = [a_run(number, priority=9, needs=Constraints(vram_mb=1)) for number in range(1, MAX_ENTRIES + 100)]
    table = Table(a_run(), *gpu_runs)

    assert table.claimed(replace(REQUEST, capacity=Capacity(vram_mb=0))).run.id == run_id(0)


def test_queues_are_looked_at_in_the_order_of_preference() -> None:
    table = Table(a_run(0, priority=9, queue="b"), a_run(1, priority=1, queue="a"))
    request = replace(REQUEST, queues=("a", "b", "a"))

    assert [table.claimed(request).run.id for _ in range(2)] == [run_id(1), run_id(0)]
    assert isinstance(table.claim(request), NothingFits)
    assert table.calls == ["page a cpu", "page a gpu", "page b cpu", "page b gpu"]


def test_a_run_of_another_queue_is_not_claimed() -> None:
    assert isinstance(Table(a_run(queue="a")).claim(), NothingFits)


def test_entries_that_do_not_fit_are_passed_over_page_by_page() -> None:
    large = [a_run(number, needs=Constraints(cpu=64)) for number in range(1, 1_500)]
    table = Table(a_run(0, priority=0), *large)

    assert table.claimed(replace(REQUEST, capacity=Capacity(8, 0, 0))).run.id == run_id(0)
    assert (table.heads_read, table.entries_read) == (1, 1_500)


def test_another_page_is_not_read_while_entries_are_left_to_try() -> None:
    table = Table(*(a_run(number) for number in range(1_000)))

    table.claim()

    assert table.entries_read == 200


# -- a run is not got


def test_no_more_than_two_thousand_entries_are_read() -> None:
    large = [a_run(number, needs=Constraints(cpu=64)) for number in range(1, MAX_ENTRIES + 1)]
    table = Table(a_run(0, priority=0), *large)

    assert retry_after_s(table.claim(replace(REQUEST, capacity=Capacity(cpu=8)))) in SOON
    assert table.entries_read == MAX_ENTRIES


def test_entries_that_do_not_fit_do_not_hide_a_later_queue() -> None:
    needy = [a_run(number, needs=Constraints(cpu=9), queue="first") for number in range(1, MAX_ENTRIES + 2)]
    table = Table(*needy, a_run(0, queue="second"))
    request = replace(REQUEST, queues=("first", "second"), capacity=Capacity(cpu=8))

    assert table.claimed(request).run.id == run_id(0)
    assert table.entries_read <= MAX_ENTRIES


def test_a_first_queue_is_read_on_if_the_later_ones_hold_nothing() -> None:
    needy = [a_run(number, priority=9, needs=Constraints(cpu=9), queue="first") for number in range(1, MAX_ENTRIES)]
    table = Table(*needy, a_run(0, queue="first"))
    request = replace(REQUEST, queues=("first", "second"), capacity=Capacity(cpu=8, vram_mb=0))

    assert table.claimed(request).run.id == run_id(0)
    assert table.entries_read == MAX_ENTRIES


def test_no_more_than_ten_runs_are_read() -> None:
    table = Table(*(a_run(number) for number in range(300)))
    table.failures = [ChangedMeanwhile(run_id(0)) for _ in range(20)]

    assert retry_after_s(table.claim()) in SOON
    assert (table.heads_read, table.calls.count("save")) == (MAX_HEADS, MAX_HEADS)


def test_a_lower_priority_is_claimed_only_after_every_entry_shown_of_the_higher() -> None:
    table = Table(*(a_run(number, priority=9) for number in range(MAX_HEADS - 1)), a_run(20, priority=1))
    table.failures = [ChangedMeanwhile(run_id(0)) for _ in range(MAX_HEADS - 1)]

    assert table.claimed().run.id == run_id(20)
    assert table.heads_read == MAX_HEADS


def test_a_lower_priority_waits_while_entries_of_the_higher_are_left() -> None:
    table = Table(*(a_run(number, priority=9) for number in range(MAX_HEADS)), a_run(20, priority=1))
    table.failures = [ChangedMeanwhile(run_id(0)) for _ in range(MAX_HEADS)]

    assert isinstance(table.claim(), NothingFits)


def test_a_run_whose_priority_is_not_that_of_its_entry_is_passed_over() -> None:
    table = Table(a_run(0, priority=9), a_run(1, priority=5))
    table.runs[run_id(0)] = replace(table.runs[run_id(0)], priority=1)

    assert table.claimed().run.id == run_id(1)


@pytest.mark.parametrize(
    ("runs", "pauses"),
    [
        ([], LATER),
        ([a_run(needs=Constraints(cpu=64))], SOON),
        ([a_run(starts_in_s=20)], SOON),
        ([a_run(starts_in_s=21)], LATER),
        ([a_run(starts_in_s=121)], LATER),
        ([a_run(queue_ttl_s=60)], LATER),
    ],
    ids=["nothing", "too large", "starts soon", "starts later", "starts much later", "waited too long"],
)
def test_a_worker_without_a_run_is_told_when_to_ask_again(runs: list[OpRun], pauses: range) -> None:
    table = Table(*runs)

    assert retry_after_s(table.claim(replace(REQUEST, capacity=Capacity(cpu=8)))) in pauses
    assert table.saved == []


def test_a_run_that_starts_later_is_not_read() -> None:
    table = Table(a_run(0, priority=9, starts_in_s=1), a_run(1))

    assert table.claimed().run.id == run_id(1)
    assert table.heads_read == 1


def test_a_run_is_claimed_from_its_start_on() -> None:
    assert Table(a_run(starts_in_s=0)).claimed().waited == timedelta(0)


def test_a_run_that_waits_again_is_not_claimed_by_its_old_entry() -> None:
    table = Table(a_run())
    waiting = replace(table.runs[run_id(0)].attempt, not_before=NOW + timedelta(seconds=1))
    table.runs[run_id(0)] = replace(table.runs[run_id(0)], attempt=waiting)

    assert retry_after_s(table.claim()) in SOON


def test_a_run_that_others_took_is_soon_to_be_asked_for_again() -> None:
    table = Table(a_run())
    table.runs[run_id(0)] = claim(table.runs[run_id(0)], "another", 60, NOW, start=False).after

    assert retry_after_s(table.claim()) in SOON
    assert table.saved == []


def test_a_run_that_a_patch_made_pending_is_not_claimed() -> None:
    table = Table(a_run())
    cancelled = append_event(table.runs[run_id(0)], USER_CANCEL, NOW).after
    table.runs[run_id(0)] = patch(cancelled, NOW, state=State.PENDING).after

    assert isinstance(table.claim(), NothingFits)


@pytest.mark.parametrize("error", [RunNotFound(run_id(0)), UnreadableRun(run_id(0))])
def test_a_run_that_cannot_be_read_stops_no_claim(error: StorageUnavailable) -> None:
    table = Table(a_run(0, priority=9), a_run(1))
    table.unreadable[run_id(0)] = error

    assert table.claimed().run.id == run_id(1)


def test_a_table_that_takes_no_read_is_no_reason_to_say_that_nothing_fits() -> None:
    table = Table(a_run(0))
    table.unreadable[run_id(0)] = StorageUnavailable()

    with pytest.raises(StorageUnavailable):
        table.claim()


def test_an_overloaded_table_is_no_reason_to_say_that_nothing_fits() -> None:
    table = Table(a_run(0))
    table.failures = [Overloaded()]

    with pytest.raises(StorageUnavailable):
        table.claim()


def test_the_next_run_is_tried_if_another_worker_was_faster() -> None:
    table = Table(a_run(0, priority=9), a_run(1))
    table.failures = [ChangedMeanwhile(run_id(0))]

    assert table.claimed().run.id == run_id(1)


def test_a_write_of_unknown_outcome_ends_the_claim() -> None:
    table = Table(a_run(0), a_run(1))
    table.failures = [OutcomeUnknown(run_id(0), is_keyed=False)]

    with pytest.raises(OutcomeUnknown):
        table.claim()

    assert table.calls.count("save") == 1


# -- what is due in passing


def test_what_is_due_is_woken_once_if_nothing_fits() -> None:
    table = Table()
    woken: list[int] = []

    def wake_due() -> int:
        woken.append(1)
        table.put(a_run())
        return 1

    assert isinstance(table.claim(wake_due=wake_due), Claimed)
    assert woken == [1]


def test_nothing_is_woken_if_a_run_fits() -> None:
    assert isinstance(Table(a_run()).claim(wake_due=lambda: pytest.fail("it was called")), Claimed)


@pytest.mark.parametrize(("woken", "pauses", "pages"), [(0, LATER, 2), (1, SOON, 4)])
def test_a_woken_run_that_the_index_does_not_show_yet_is_soon_asked_for(woken: int, pauses: range, pages: int) -> None:
    table = Table()

    assert retry_after_s(table.claim(wake_due=lambda: woken)) in pauses
    assert len(table.calls) == pages


def test_both_walks_together_keep_the_bounds() -> None:
    table = Table(*(a_run(number) for number in range(MAX_HEADS + 5)))
    table.failures = [ChangedMeanwhile(run_id(0)) for _ in range(20)]

    table.claim(wake_due=lambda: 1)

    assert table.heads_read == MAX_HEADS


# -- what earlier claims learned


def test_spent_entries_hide_others_only_once() -> None:
    """The wait of many urgent runs is over, and the timer has not come to them yet."""
    over = [a_run(number, priority=9, queue_ttl_s=10) for number in range(1, MAX_HEADS + 1)]
    table = Table(a_run(0), *over)
    spent = SpentEntries()

    assert retry_after_s(table.claim(spent=spent)) in LATER
    assert isinstance(table.claim(spent=spent), Claimed)
    assert table.heads_read == 1


@pytest.mark.parametrize("error", [RunNotFound, UnreadableRun])
def test_runs_that_cannot_be_read_hide_others_only_once(error: type[RunNotFound | UnreadableRun]) -> None:
    urgent = range(1, MAX_HEADS + 1)
    table = Table(a_run(0), *(a_run(number, priority=9) for number in urgent))
    table.unreadable = {run_id(number): error(run_id(number)) for number in urgent}
    spent = SpentEntries()

    assert retry_after_s(table.claim(spent=spent)) in LATER
    assert isinstance(table.claim(spent=spent), Claimed)
    assert table.heads_read == 1


def test_a_run_that_waits_again_is_not_taken_for_a_spent_entry() -> None:
    table = Table(a_run())
    spent = SpentEntries()
    taken = claim(table.runs[run_id(0)], "another", 60, NOW, start=False).after
    table.runs[run_id(0)] = taken
    assert retry_after_s(table.claim(spent=spent)) in SOON
    assert retry_after_s(table.claim(spent=spent)) in SOON
    assert table.heads_read == 0

    given_back = append_event(taken, EventDraft(EventType.RETRIED, attempt=1), NOW).after
    table.runs[run_id(0)] = a_run()
    table.put(given_back)

    assert isinstance(table.claim(spent=spent), Claimed)


def test_a_process_does_not_read_again_what_it_claimed_itself() -> None:
    table = Table(a_run())
    spent = SpentEntries()
    assert isinstance(table.claim(spent=spent), Claimed)
    # The index shows the entry still.
    table.put_entry(a_run())

    assert retry_after_s(table.claim(spent=spent)) in SOON
    assert table.heads_read == 0


def test_a_bounded_number_of_spent_entries_is_kept() -> None:
    spent = SpentEntries()
    candidates = [candidate_of(a_run(number)) for number in range(2_001)]
    for candidate in candidates:
        spent.note(candidate, is_soon=True)

    assert [spent.is_soon(candidates[place]) for place in (0, 1, 2_000)] == [None, True, True]


# -- idempotency keys


def test_a_repeat_answers_with_the_run_that_the_claim_got() -> None:
    table = Table(a_run(0), a_run(1))
    first = table.claimed(key=KEY)

    repeat = table.claimed(whole=True, key=KEY)

    assert (repeat.run, repeat.is_replay, repeat.waited) == (first.run, True, None)
    assert table.calls == ["use_of", "load WHOLE known"]
    assert len(table.saved) == 1


def test_a_repeat_shows_the_run_as_it_stands() -> None:
    table = Table(a_run())
    claimed = table.claimed(key=KEY).run
    started = append_event(claimed, EventDraft(EventType.STARTED, worker_id="worker", attempt=1), NOW).after
    completed = append_event(started, EventDraft(EventType.COMPLETED, attempt=1), NOW).after
    table.put(completed)

    assert table.claimed(key=KEY).run == completed


def test_a_key_with_another_body_is_refused() -> None:
    table = Table(a_run(0), a_run(1))
    table.claim(key=KEY)

    with pytest.raises(IdempotencyKeyReused):
        table.claim(key=replace(KEY, fingerprint="another body"))


def test_a_repeat_is_refused_once_the_attempt_is_not_the_current_one() -> None:
    table = Table(a_run())
    claimed = table.claimed(key=KEY).run
    cancelled = append_event(claimed, USER_CANCEL, NOW).after
    table.put(append_event(cancelled, MANUAL_RETRY, NOW).after)

    with pytest.raises(StaleAttempt, match="run is at attempt 2"):
        table.claim(key=KEY)


def test_a_repeat_is_refused_once_another_worker_has_the_attempt() -> None:
    table = Table(a_run())
    claimed = table.claimed(key=KEY).run
    pending = patch(claimed, NOW, state=State.PENDING).after
    table.put(append_event(pending, EventDraft(EventType.ASSIGNED, worker_id="another"), NOW).after)

    with pytest.raises(StaleAttempt, match="this worker does not have it"):
        table.claim(key=KEY)


def test_a_repeat_is_refused_once_a_patch_has_taken_the_run_from_the_worker() -> None:
    table = Table(a_run())
    table.put(patch(table.claimed(key=KEY).run, NOW, state=State.PENDING).after)

    with pytest.raises(StaleAttempt):
        table.claim(key=KEY)


def test_a_repeat_is_refused_once_the_run_is_gone() -> None:
    table = Table(a_run(0), a_run(1))
    del table.runs[table.claimed(key=KEY).run.id]

    with pytest.raises(RunExpired):
        table.claim(key=KEY)


def test_a_key_whose_life_is_over_claims_anew() -> None:
    table = Table(a_run(0), a_run(1))
    first = table.claimed(key=KEY).run
    table.uses[KEY.digest] = replace(table.uses[KEY.digest], expires_at=NOW)

    assert table.claimed(key=KEY).run.id != first.id


def test_an_answer_that_nothing_fits_uses_no_key() -> None:
    table = Table()

    table.claim(key=KEY)

    assert table.uses == {}


def test_a_write_that_finds_the_key_used_answers_with_the_run_of_the_other_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = Table(a_run(0), a_run(1))
    first = table.claimed(key=KEY).run
    monkeypatch.setattr(table, "use_of", lambda _: None)

    repeat = table.claimed(key=KEY)

    assert (repeat.run, repeat.is_replay) == (first, True)
    assert len(table.saved) == 1


@pytest.mark.parametrize("is_conflict", [False, True])
def test_a_keyed_write_whose_answer_was_lost_is_found_by_its_key(is_conflict: bool) -> None:
    """With a conflict, botocore sent the write twice; the first sending took effect."""
    table = Table(a_run(0))
    unknown = OutcomeUnknown(run_id(0), is_keyed=True)
    conflict = ChangedMeanwhile(run_id(0))
    conflict.refusal = unknown
    table.failures = [conflict if is_conflict else unknown]
    table.after_failure = lambda change, key: WaitingRuns.save(table, change, Loaded(change.before), key)

    answer = table.claimed(key=KEY)

    assert (answer.run.state, answer.is_replay) == (State.ASSIGNED, True)


@pytest.mark.parametrize("is_conflict", [False, True])
def test_a_keyed_write_that_the_table_does_not_show_stays_of_unknown_outcome(is_conflict: bool) -> None:
    table = Table(a_run(0))
    unknown = OutcomeUnknown(run_id(0), is_keyed=True)
    conflict: NotWritten = ChangedMeanwhile(run_id(0))
    conflict.refusal = unknown
    table.failures = [conflict if is_conflict else unknown]

    with pytest.raises(OutcomeUnknown):
        table.claim(key=KEY)


def test_a_repeat_whose_run_does_not_show_in_time_is_of_unknown_outcome() -> None:
    table = Table(a_run())
    table.unreadable[table.claimed(key=KEY).run.id] = StorageUnavailable()

    with pytest.raises(OutcomeUnknown):
        table.claim(key=KEY)


def test_a_conflict_is_told_to_no_client() -> None:
    assert isinstance(ChangedMeanwhile(run_id(0)).refusal, RunBusy)
    table = Table(a_run())
    table.failures = [ChangedMeanwhile(run_id(0))]

    assert isinstance(table.claim(), NothingFits)

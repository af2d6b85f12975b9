"""Claims on DynamoDB Local: the index, the keys, the cost, and workers that race on an index that trails."""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from time import monotonic, sleep
from typing import Any
from uuid import UUID

import boto3
import pytest

from gyoza_domain.bootstrap import api as api_parts
from gyoza_domain.bootstrap import claims
from gyoza_domain.bootstrap.clients import dynamodb, table
from gyoza_domain.claiming.commands import KEY_LIFE, Claimed, NothingFits, claim_run
from gyoza_domain.claiming.memory import SpentEntries
from gyoza_domain.claiming.ports import Candidate, Capacity, ClaimRequest
from gyoza_domain.domain.errors import IdempotencyKeyReused, OutcomeUnknown, StaleAttempt, StorageUnavailable
from gyoza_domain.domain.run import Constraints, EventType, OpRun, RunSpec, State, Terms
from gyoza_domain.domain.transitions import INDEXED_AHEAD, EventDraft, append_event, new_attempt, patch
from gyoza_domain.dynamodb import keys
from gyoza_domain.runs.ports import ClaimKey, Extent, KeyUsed
from testing.capacity import measured
from tests.support.faults import Fault, injected, scripted, seeded
from tests.support.torn import at_once, at_random, torn

pytestmark = pytest.mark.usefixtures("engine_api")

SPEC = RunSpec("busybox:1")
REQUEST = ClaimRequest("w" * 32)
WRITE = "before-call.dynamodb.TransactWriteItems"
FAR = datetime(2126, 3, 2, 20, 0, tzinfo=UTC)


def add_run(
    number: int,
    *,
    priority: int = 5,
    needs: Constraints | None = None,
    queue: str = "default",
    start_at: datetime | None = None,
    created_at: datetime | None = None,
) -> OpRun:
    now = created_at or datetime.now(UTC)
    terms = Terms(queue=queue, needs=needs or Constraints(), start_at=start_at)
    run = OpRun(str(UUID(int=number, version=4)), now, now, new_attempt(terms, now), priority=priority, terms=terms)
    api_parts.store().add(run, SPEC)
    return run


def claim(
    request: ClaimRequest = REQUEST, *, key: ClaimKey | None = None, spent: SpentEntries | None = None
) -> Claimed | NothingFits:
    return claim_run(
        api_parts.store(),
        claims.claim_keys(),
        claims.claim_index(),
        api_parts.clock(),
        request,
        whole=False,
        key=key,
        spent=spent,
    )


def claimed(request: ClaimRequest = REQUEST, *, key: ClaimKey | None = None) -> Claimed:
    answer = claim(request, key=key)
    assert isinstance(answer, Claimed)
    return answer


def a_key(digest: str = "digest", *, life: timedelta = KEY_LIFE) -> ClaimKey:
    return ClaimKey(digest, "the body", REQUEST.worker_id, datetime.now(UTC) + life)


def entries(queue: str = "default", *, is_gpu: bool = False) -> list[Candidate]:
    page = claims.claim_index().page(queue, is_gpu=is_gpu, limit=100)
    assert page.cursor is None
    assert page.entries_read == len(page.candidates)
    return list(page.candidates)


def ids(candidates: list[Candidate]) -> list[str]:
    return [candidate.run_id for candidate in candidates]


def stored_run(run: OpRun) -> OpRun:
    return api_parts.store().load(run.id, Extent.SMALL).run


def save(decide: Callable[[OpRun], Any], run: OpRun) -> None:
    store = api_parts.store()
    loaded = store.load(run.id, Extent.RESULT)
    store.save(decide(loaded.run), loaded)


# -- the index


def test_the_index_shows_waiting_runs_by_priority_and_age_with_what_they_need() -> None:
    now = datetime.now(UTC)
    needs = Constraints(4, 2_048, 0)
    young = add_run(1, needs=needs, created_at=now)
    old = add_run(2, created_at=now - timedelta(seconds=1))
    urgent = add_run(3, priority=9_999, created_at=now)
    idle = add_run(4, priority=0, created_at=now - timedelta(days=1))
    gpu = add_run(5, needs=Constraints(vram_mb=1))
    add_run(6, queue="other")

    assert ids(entries()) == [urgent.id, old.id, young.id, idle.id]
    assert entries()[2] == Candidate(young.id, 5, young.created_at, needs)
    assert ids(entries(is_gpu=True)) == [gpu.id]


def test_the_pages_of_the_index_show_each_entry_once() -> None:
    runs = [add_run(number, created_at=FAR) for number in range(7)]
    found: list[str] = []
    cursor = None
    for _ in range(4):
        page = claims.claim_index().page("default", is_gpu=False, limit=2, cursor=cursor)
        found += ids(list(page.candidates))
        cursor = page.cursor
    assert cursor is None
    assert sorted(found) == sorted(run.id for run in runs)


def test_a_run_is_in_the_index_only_while_it_may_be_claimed_by_now_or_in_two_minutes() -> None:
    now = datetime.now(UTC)
    near = add_run(1, start_at=now + INDEXED_AHEAD - timedelta(seconds=1))
    add_run(2, start_at=now + INDEXED_AHEAD + timedelta(minutes=1))
    patched, run = add_run(3), add_run(4)
    save(lambda run: patch(run, now, state=State.CANCELLED), patched)
    save(lambda run: patch(run, now, state=State.PENDING), patched)
    assert ids(entries()) == [run.id, near.id]
    assert entries()[1].claimable_from == near.terms.start_at

    assert claimed().run.id == run.id
    assert ids(entries()) == [near.id]

    save(lambda run: append_event(run, EventDraft(EventType.RETRIED, attempt=1), datetime.now(UTC)), run)
    assert ids(entries()) == [run.id, near.id]
    assert entries()[0].claimable_from == stored_run(run).attempt.began_at


def test_a_patch_of_the_priority_moves_the_entry() -> None:
    first, second = add_run(1), add_run(2)
    save(lambda run: patch(run, datetime.now(UTC), priority=6), second)
    assert ids(entries()) == [second.id, first.id]


def test_an_entry_of_an_unknown_form_is_passed_over() -> None:
    run, strange = add_run(1), add_run(2)
    boto3.client("dynamodb").update_item(
        TableName=table(),
        Key={"pk": {"S": keys.run_pk(strange.id)}, "sk": {"S": keys.HEAD}},
        UpdateExpression="SET claim_order = :strange",
        ExpressionAttributeValues={":strange": {"S": "0000"}},
    )
    page = claims.claim_index().page("default", is_gpu=False, limit=10)
    assert (ids(list(page.candidates)), page.entries_read) == ([run.id], 2)
    assert claimed().run.id == run.id


# -- a claim and its key


def test_a_claimed_run_is_stored_with_its_lease() -> None:
    run = add_run(1)
    answer = claimed(replace(REQUEST, start=True))
    assert answer.run == stored_run(run)
    assert (answer.run.state, answer.run.attempt.lease is not None) == (State.RUNNING, True)


def test_a_repeat_of_a_key_answers_with_its_run() -> None:
    add_run(1)
    add_run(2)
    key = a_key()
    first = claimed(key=key)
    use = claims.claim_keys().use_of(key)
    assert use is not None
    assert (use.run_id, use.attempt, use.worker_id) == (first.run.id, 1, REQUEST.worker_id)
    assert use.expires_at == key.expires_at.replace(microsecond=0)

    repeat = claimed(key=a_key())

    assert (repeat.run, repeat.is_replay) == (first.run, True)
    with pytest.raises(IdempotencyKeyReused):
        claim(key=replace(key, fingerprint="another"))
    save(lambda run: append_event(run, EventDraft(EventType.RETRIED, attempt=1), datetime.now(UTC)), first.run)
    with pytest.raises(StaleAttempt):
        claim(key=key)
    assert len(entries()) == 2


def test_a_write_meets_the_key_that_another_request_used() -> None:
    first, second = add_run(1), add_run(2)
    key = a_key()
    store = api_parts.store()
    other = store.load(second.id, Extent.SMALL)
    got = claimed(key=key).run
    run = other.run if got.id == first.id else store.load(first.id, Extent.SMALL).run
    loaded = store.load(run.id, Extent.SMALL)
    draft = EventDraft(EventType.ASSIGNED, worker_id=REQUEST.worker_id)

    with pytest.raises(KeyUsed) as used:
        store.save(append_event(run, draft, datetime.now(UTC)), loaded, key)

    assert used.value.use == claims.claim_keys().use_of(key)
    assert stored_run(run) == run


def test_a_key_whose_life_is_over_claims_again() -> None:
    add_run(1)
    add_run(2)
    first = claimed(key=a_key(life=timedelta(seconds=-1)))

    second = claimed(key=a_key())

    assert (second.run.id != first.run.id, second.is_replay) == (True, False)
    assert claimed(key=a_key()).run == second.run


@pytest.mark.contention
def test_requests_with_one_key_claim_one_run() -> None:
    for number in range(20):
        add_run(number)
    for round_ in range(10):
        key = a_key(str(round_))
        with ThreadPoolExecutor(8) as pool:
            answers = [each.result() for each in [pool.submit(claimed, key=key) for _ in range(8)]]
        assert len({answer.run.id for answer in answers}) == 1
        assert sum(not answer.is_replay for answer in answers) == 1
        assert len(entries()) == 20 - round_ - 1


# -- the cost


def test_a_claim_costs_three_write_units_more_than_assigned_and_a_key_two_more() -> None:
    runs = [add_run(number) for number in range(3)]
    draft = EventDraft(EventType.ASSIGNED, worker_id=REQUEST.worker_id)
    with measured() as assigned:
        save(lambda run: append_event(run, draft, datetime.now(UTC)), runs[0])
    with measured() as plain:
        claimed()
    with measured() as keyed:
        claimed(key=a_key())
    assert plain.calls == ["Query", "Query", "Query", "TransactWriteItems"]
    assert keyed.calls == ["GetItem", *plain.calls]
    print(f"ASSIGNED {assigned.write_units}, a claim {plain.write_units}, with a key {keyed.write_units} write units")
    assert plain.write_units <= assigned.write_units + 3
    assert keyed.write_units <= plain.write_units + 2


# -- the race


@pytest.mark.contention
@pytest.mark.parametrize("tears", [False, True], ids=["late index", "late index and torn reads"])
def test_workers_on_a_late_index_claim_every_run_once(tears: bool) -> None:
    runs, workers = 90, 12
    for number in range(runs):
        add_run(number, priority=number % 3)
    rng = Random(5)
    taken: Counter[str] = Counter()
    events = dynamodb().meta.events
    sent: list[int] = []

    def count(**_: Any) -> None:
        sent.append(1)

    order: list[int] = []
    lock = threading.Lock()

    def work(number: int) -> int:
        spent = SpentEntries()
        asked_in_vain = 0
        deadline = monotonic() + 60
        while sum(taken.values()) < runs:
            assert monotonic() < deadline
            answer = claim(ClaimRequest(f"worker {number}", capacity=Capacity(vram_mb=0)), spent=spent)
            with lock:
                if isinstance(answer, Claimed):
                    taken[answer.run.id] += 1
                    order.append(answer.run.priority)
            if isinstance(answer, NothingFits):
                asked_in_vain += 1
                sleep(answer.retry_after_s)
        return asked_in_vain

    late_index = torn(
        delays=at_random(5, longest_s=0.05) if tears else at_once, index_delay_s=lambda: rng.uniform(0, 1)
    )
    events.register(WRITE, count)
    with late_index, ThreadPoolExecutor(workers) as pool:
        in_vain = sum(pool.map(work, range(workers)))

    transactions = sum(sent)
    print(f"{runs} claims: {transactions / runs:.2f} transactions and {in_vain / runs:.2f} 204s a claim")
    assert set(taken.values()) == {1}
    assert len(taken) == runs
    assert transactions <= 2 * runs
    # A claim that began earlier may end later.
    assert order[: runs // 3 - workers] == [2] * (runs // 3 - workers)


def test_a_claim_whose_answers_are_lost_is_found_by_its_key() -> None:
    run = add_run(1)
    with injected(scripted(*[Fault.ANSWER_LOST] * 3)):
        answer = claimed(key=a_key())
    assert (answer.run, answer.is_replay) == (stored_run(run), True)
    assert answer.run.state is State.ASSIGNED


def test_a_claim_without_a_key_whose_answers_are_lost_tries_no_other_run() -> None:
    add_run(1)
    add_run(2)
    with injected(scripted(*[Fault.ANSWER_LOST] * 3)), pytest.raises(OutcomeUnknown):
        claim()
    assert len(entries()) == 1


@pytest.mark.contention
def test_a_key_claims_one_run_whatever_becomes_of_requests_and_answers() -> None:
    """A worker sends a claim again with its key until it has an answer."""
    workers, claims_each = 6, 5
    for number in range(2 * workers * claims_each):
        add_run(number)

    def work(worker: int) -> list[tuple[str, bool]]:
        return [claimed_at_last(f"{worker}-{number}") for number in range(claims_each)]

    def claimed_at_last(digest: str) -> tuple[str, bool]:
        deadline = monotonic() + 60
        while monotonic() < deadline:
            try:
                answer = claim(key=a_key(digest))
            except StorageUnavailable:
                continue
            if isinstance(answer, Claimed):
                return answer.run.id, answer.is_replay
        raise AssertionError(f"no answer to {digest}")

    late_index = torn(delays=at_random(7, longest_s=0.05), index_delay_s=lambda: 0.3)
    with injected(seeded(11, rate=0.12)) as faults, late_index as table_:
        with ThreadPoolExecutor(workers) as pool:
            got = [each for some in pool.map(work, range(workers)) for each in some]
        table_.settle()

    print(f"{faults}; {sum(is_replay for _, is_replay in got)} replays")
    assert len({run_id for run_id, _ in got}) == workers * claims_each
    assert len(entries()) == workers * claims_each
    for worker in range(workers):
        for number in range(claims_each):
            use = claims.claim_keys().use_of(a_key(f"{worker}-{number}"))
            assert use is not None
            assert use.run_id == got[worker * claims_each + number][0]

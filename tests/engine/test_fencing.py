"""Tests that a request sent by a worker after its lease has ended never reaches the next attempt."""

from typing import Any

import pytest

from gyoza_domain.bootstrap import waking
from gyoza_domain.bootstrap.clients import dynamodb, table
from gyoza_domain.dynamodb import keys
from gyoza_domain.waking.commands import Deed
from testing.gateway import Answer, Gateway
from testing.timed_runs import TestClock
from tests.support.between import before_first_write

LEASE_S = 15
FENCED: dict[str, dict[str, Any]] = {
    "STARTED": {"payload": {"worker_id": "old"}},
    "RETRIED": {"payload": {"force": True}},
    "PROGRESS": {"msg": 99},
    "COMPLETED": {"payload": {"outputs": {"by": "old"}}},
    "FAILED": {"payload": {"error_message": "old"}},
}

NEXT = ("PENDING", "ASSIGNED", "RUNNING", "COMPLETED")
"""The states of the next attempt, which the worker ``new`` takes."""


def claim(api: Gateway, worker_id: str, key: str, *, start: bool = False) -> Answer:
    body = {"worker_id": worker_id, "lease_s": LEASE_S, "start": start}
    return api.call("POST", "/runs/claim", body, headers={"Idempotency-Key": key})


def beat(api: Gateway, run_id: str, attempt: int, worker_id: str = "old") -> Answer:
    return api.post(f"/runs/{run_id}/heartbeat", {"attempt": attempt, "worker_id": worker_id})


def sweep() -> dict[Deed, int]:
    return waking.new_sweep().sweep(lambda: 60.0).deeds


def stored(run_id: str) -> list[str]:
    answer = dynamodb().query(
        TableName=table(),
        KeyConditionExpression="pk = :pk",
        ExpressionAttributeValues={":pk": {"S": keys.run_pk(run_id)}},
        ConsistentRead=True,
    )
    return sorted(repr(sorted(item.items())) for item in answer["Items"])


def refused(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.json.get("code", answer.text)


def create_lost(api: Gateway, clock: TestClock, state: str, *, was_started: bool = True) -> str:
    """A run that the worker ``old`` has lost, and whose second attempt is in the state."""
    run_id: str = api.create(retry_policy={"max_attempts": 3})["id"]
    assert claim(api, "old", "old", start=was_started).json["id"] == run_id
    clock.advance(LEASE_S)
    assert sweep() == {Deed.LOST: 1}
    if state != "PENDING":
        assert claim(api, "new", "new", start=state != "ASSIGNED").json["current_attempt"] == 2
    if state == "COMPLETED":
        assert api.event(run_id, "COMPLETED", attempt=2, payload={"outputs": {"by": "new"}}).status == 200
    return run_id


@pytest.mark.parametrize("was_started", [True, False], ids=["it ran", "it was assigned"])
@pytest.mark.parametrize("state", NEXT)
def test_a_late_worker_changes_nothing_of_the_next_attempt(
    api: Gateway, clock: TestClock, state: str, was_started: bool
) -> None:
    run_id = create_lost(api, clock, state, was_started=was_started)
    before = stored(run_id)
    for type_, fields in FENCED.items():
        assert refused(api.event(run_id, type_, attempt=1, **fields)) == (409, "stale_attempt")
    assert refused(beat(api, run_id, 1)) == (409, "stale_attempt")
    assert stored(run_id) == before


@pytest.mark.parametrize("state", ["ASSIGNED", "RUNNING"])
def test_a_late_worker_that_names_no_attempt_or_the_next_one_changes_nothing(
    api: Gateway, clock: TestClock, state: str
) -> None:
    run_id = create_lost(api, clock, state)
    before = stored(run_id)
    for type_, fields in FENCED.items():
        assert refused(api.event(run_id, type_, **fields)) == (400, "attempt_required")
    assert refused(beat(api, run_id, 2)) == (409, "not_claimant")
    started = api.event(run_id, "STARTED", attempt=2, **FENCED["STARTED"])
    assert refused(started) == ((409, "not_claimant") if state == "ASSIGNED" else (400, "invalid_transition"))
    assert stored(run_id) == before
    assert beat(api, run_id, 2, "new").status == 200


def test_an_event_that_is_held_until_its_attempt_is_over_is_fenced(api: Gateway, clock: TestClock) -> None:
    for type_, fields in FENCED.items():
        if type_ == "STARTED":
            continue
        run_id = api.create(retry_policy={"max_attempts": 3})["id"]
        claim(api, "old", f"old {type_}", start=True)
        clock.advance(LEASE_S)
        with before_first_write(sweep):
            answer = api.event(run_id, type_, attempt=1, **fields)
        assert refused(answer) == (409, "stale_attempt"), type_
        assert claim(api, "new", f"new {type_}", start=True).json["id"] == run_id
        assert api.event(run_id, "COMPLETED", attempt=2).status == 200


def test_an_event_that_comes_before_the_sweep_s_write_is_in_time(api: Gateway, clock: TestClock) -> None:
    run_id = api.create(retry_policy={"max_attempts": 3})["id"]
    claim(api, "old", "old", start=True)
    clock.advance(LEASE_S + 60)
    with before_first_write(lambda: api.event(run_id, "PROGRESS", attempt=1, msg=50)):
        assert sweep() == {Deed.NOTHING: 1}
    run = api.get(f"/runs/{run_id}").json
    assert (run["state"], run["progress"], run["current_attempt"]) == ("RUNNING", 50, 1)


# -- replays of claims


@pytest.mark.parametrize("state", NEXT)
def test_a_replay_of_a_claim_is_stale_once_its_attempt_is_lost(api: Gateway, clock: TestClock, state: str) -> None:
    run_id = create_lost(api, clock, state)
    other = api.create()["id"]
    before = stored(run_id), stored(other)
    assert refused(claim(api, "old", "old", start=True)) == (409, "stale_attempt")
    assert (stored(run_id), stored(other)) == before


def test_a_replay_of_a_claim_whose_run_goes_on_answers_with_it(api: Gateway, clock: TestClock) -> None:
    run_id = api.create()["id"]
    first = claim(api, "old", "old", start=True)
    clock.advance(LEASE_S + 60)
    replay = claim(api, "old", "old", start=True)
    assert (replay.status, replay.json) == (200, first.json)
    assert sweep() == {Deed.LOST: 1}
    ended = claim(api, "old", "old", start=True)
    assert (ended.status, ended.json["id"], ended.json["state"]) == (200, run_id, "FAILED")


def test_a_claim_that_is_replayed_while_it_is_written_gets_one_run(api: Gateway, clock: TestClock) -> None:
    assert clock
    runs = {api.create()["id"] for _ in range(2)}
    answers: list[Answer] = []
    with before_first_write(lambda: answers.append(claim(api, "old", "old"))):
        answers.append(claim(api, "old", "old"))
    assert [answer.status for answer in answers] == [200, 200]
    assert {answer.json["id"] for answer in answers} < runs


# -- PATCH of state under a lease


@pytest.mark.parametrize("state", ["PENDING", "ASSIGNED", "COMPLETED", "FAILED", "CANCELLED"])
def test_a_patch_of_the_state_ends_the_lease_for_good(api: Gateway, clock: TestClock, state: str) -> None:
    run_id = api.create(retry_policy={"max_attempts": 3})["id"]
    claim(api, "old", "old", start=True)
    assert api.patch(f"/runs/{run_id}", {"state": state}).json["lease_until"] is None
    before = stored(run_id)
    code = "not_leased" if state in {"PENDING", "ASSIGNED"} else "run_locked"
    assert refused(beat(api, run_id, 1)) == (400, code)
    clock.advance(LEASE_S + 300)
    assert sweep() == {}
    assert claim(api, "new", "new").status == 204
    assert stored(run_id) == before


def test_a_patch_to_running_has_no_lease_and_a_retry_fences_the_worker(api: Gateway, clock: TestClock) -> None:
    run_id = api.create()["id"]
    claim(api, "old", "old")
    assert api.patch(f"/runs/{run_id}", {"state": "RUNNING"}).json["lease_until"] is None
    clock.advance(LEASE_S + 300)
    assert sweep() == {}
    assert refused(beat(api, run_id, 1)) == (400, "not_leased")
    assert api.post(f"/runs/{run_id}/retry").json["current_attempt"] == 2
    assert refused(beat(api, run_id, 1)) == (409, "stale_attempt")
    assert refused(api.event(run_id, "COMPLETED", attempt=1)) == (409, "stale_attempt")


@pytest.mark.parametrize("beats_first", [True, False], ids=["the heartbeat", "the patch"])
def test_of_a_heartbeat_and_a_patch_of_the_state_neither_fails(
    api: Gateway, clock: TestClock, beats_first: bool
) -> None:
    run_id = api.create()["id"]
    claim(api, "old", "old", start=True)
    clock.advance(10)
    answers: list[Answer] = []
    if beats_first:
        with before_first_write(lambda: answers.append(beat(api, run_id, 1))):
            patched = api.patch(f"/runs/{run_id}", {"state": "ASSIGNED"})
        assert (answers[0].status, patched.status) == (200, 200)
    else:
        with before_first_write(lambda: answers.append(api.patch(f"/runs/{run_id}", {"state": "ASSIGNED"}))):
            late = beat(api, run_id, 1)
        assert (answers[0].status, refused(late)) == (200, (400, "not_leased"))
    run = api.get(f"/runs/{run_id}").json
    assert (run["state"], run["lease_until"]) == ("ASSIGNED", None)
    clock.advance(300)
    assert sweep() == {}


@pytest.mark.parametrize("is_patched_first", [True, False], ids=["the patch", "the sweep"])
def test_of_a_patch_of_the_state_and_a_sweep_the_first_decides(
    api: Gateway, clock: TestClock, is_patched_first: bool
) -> None:
    run_id = api.create(retry_policy={"max_attempts": 3})["id"]
    claim(api, "old", "old", start=True)
    clock.advance(LEASE_S)
    answers: list[Answer] = []
    if is_patched_first:
        with before_first_write(lambda: answers.append(api.patch(f"/runs/{run_id}", {"state": "COMPLETED"}))):
            assert sweep() == {Deed.NOTHING: 1}
        expected = ("COMPLETED", 1)
    else:
        with before_first_write(sweep):
            answers.append(api.patch(f"/runs/{run_id}", {"state": "COMPLETED"}))
        # It is for emergencies, and edits whatever attempt is current.
        expected = ("COMPLETED", 2)
    assert answers[0].status == 200
    run = api.get(f"/runs/{run_id}").json
    assert (run["state"], run["current_attempt"]) == expected

"""Leases over HTTP: how they begin, are renewed, fence workers out and end."""

from typing import Any

import pytest

from testing.gateway import Answer, Gateway
from tests.functions.conftest import Stored
from tests.functions.expected import (
    StepClock,
    a_run,
    an_event,
    assert_does_not_fit,
    assert_minimal,
    assert_refused,
    at,
    summary,
)

UNKNOWN = "6f1c2a54-9d1b-4c55-8a39-2f0f5c7be911"


def take(api: Gateway, run_id: str, type_: str, lease_s: int | None, worker_id: str = "w", **fields: Any) -> Answer:
    payload = {"worker_id": worker_id} | ({} if lease_s is None else {"lease_s": lease_s})
    return api.event(run_id, type_, payload=payload, **fields)


def lease_of(answer: Answer) -> tuple[Any, Any]:
    assert answer.status == 200, answer.text
    return answer.json["lease_s"], answer.json["lease_until"]


@pytest.fixture
def assigned(api: Gateway) -> str:
    """A run that worker ``w`` was assigned with a lease of 60 s at decision 1."""
    run_id: str = api.create(retry_policy={"max_attempts": 9})["id"]
    take(api, run_id, "ASSIGNED", 60)
    return run_id


@pytest.fixture
def running(api: Gateway, assigned: str) -> str:
    """The same run, started at decision 2."""
    assert take(api, assigned, "STARTED", None, attempt=1).status == 200
    return assigned


# -- beginning and renewal


@pytest.mark.parametrize(("type_", "state"), [("ASSIGNED", "ASSIGNED"), ("STARTED", "RUNNING")])
def test_a_lease_begins_with_the_event_that_asks_for_it(api: Gateway, type_: str, state: str) -> None:
    run_id = api.create()["id"]
    answer = take(api, run_id, type_, 60)
    assert answer.json == a_run(
        run_id,
        state=state,
        events=[an_event(0, type_, state, payload={"worker_id": "w", "lease_s": 60})],
        execution_summary=summary(worker_id="w"),
        lease_s=60,
        lease_until=at(61),
        updated_at=at(1),
    )
    assert api.get(f"/runs/{run_id}").json == answer.json


def test_a_minimal_answer_shows_the_lease_and_a_row_does_not(api: Gateway, assigned: str) -> None:
    minimal = api.event(assigned, "INFO", attempt=1, minimal=True)
    assert_minimal(minimal, api.get(f"/runs/{assigned}").json)
    assert lease_of(minimal) == (60, at(62))
    for query in ({}, {"expand[]": "events"}, {"fields": "summary"}):
        [row] = api.get("/runs", **query).json["data"]
        assert not {"lease_s", "lease_until"} & row.keys()


def test_a_start_keeps_the_lease_of_the_assignment(api: Gateway, assigned: str) -> None:
    assert lease_of(take(api, assigned, "STARTED", None, attempt=1)) == (60, at(62))


def test_a_shorter_lease_at_the_start_does_not_shorten_it(api: Gateway, assigned: str) -> None:
    assert lease_of(take(api, assigned, "STARTED", 15, attempt=1)) == (15, at(61))


def test_a_longer_lease_at_the_start_lengthens_it(api: Gateway, assigned: str) -> None:
    assert lease_of(take(api, assigned, "STARTED", 600, attempt=1)) == (600, at(602))


@pytest.mark.parametrize(
    ("type_", "fields"), [("INFO", {}), ("ERROR", {}), ("PROGRESS", {"msg": 40})], ids=["info", "error", "progress"]
)
def test_an_event_with_the_current_attempt_renews_the_lease(
    api: Gateway, clock: StepClock, running: str, type_: str, fields: dict[str, Any]
) -> None:
    clock.decisions = 50
    assert lease_of(api.event(running, type_, attempt=1, **fields)) == (60, at(110))


@pytest.mark.parametrize("type_", ["INFO", "ERROR"])
def test_an_event_without_an_attempt_leaves_the_lease(api: Gateway, clock: StepClock, running: str, type_: str) -> None:
    clock.decisions = 50
    assert lease_of(api.event(running, type_)) == (60, at(62))


# -- the order of refusals


def test_events_are_refused_in_one_order(api: Gateway, stored: Stored) -> None:
    """Each request is refused for the first reason that it has, though it has later ones too."""
    assert_refused(api.event(UNKNOWN, "NOTHING", attempt=2), 404, "run_not_found")
    run_id = api.create()["id"]
    take(api, run_id, "ASSIGNED", 60)
    before = stored()
    assert_does_not_fit(take(api, run_id, "STARTED", 5, "other", attempt=2), "body", "payload", "lease_s")
    assert_refused(api.event(run_id, "PROGRESS", msg=1, attempt=2), 409, "stale_attempt")
    assert_refused(api.event(run_id, "PROGRESS", msg=1), 400, "attempt_required", "PROGRESS", "attempt 1")
    assert_refused(api.event(run_id, "PROGRESS", msg=1, attempt=1), 400, "invalid_transition", "ASSIGNED")
    assert_refused(take(api, run_id, "ASSIGNED", 60, "other"), 400, "invalid_transition", "ASSIGNED")
    assert_refused(take(api, run_id, "STARTED", None, "other"), 400, "attempt_required", "STARTED")
    assert_refused(take(api, run_id, "STARTED", None, "other", attempt=1), 409, "not_claimant", "'w'")
    assert stored() == before


def test_a_terminal_run_is_stale_before_it_is_locked(api: Gateway, running: str) -> None:
    api.event(running, "COMPLETED", attempt=1)
    assert_refused(api.event(running, "COMPLETED", attempt=2), 409, "stale_attempt")
    assert_refused(api.event(running, "COMPLETED"), 400, "run_locked", "COMPLETED")


@pytest.mark.parametrize("type_", ["STARTED", "RETRIED", "PROGRESS", "COMPLETED", "FAILED"])
def test_what_changes_a_leased_attempt_must_say_which_it_means(
    api: Gateway, running: str, stored: Stored, type_: str
) -> None:
    before = stored()
    answer = api.event(running, type_, msg=5, payload={"worker_id": "w", "force": True})
    assert_refused(answer, 400, "attempt_required", type_)
    assert stored() == before


@pytest.mark.parametrize("type_", ["INFO", "ERROR", "CANCELLED"])
def test_what_needs_no_attempt_is_taken_without_one(api: Gateway, running: str, type_: str) -> None:
    assert api.event(running, type_).status == 200


@pytest.mark.parametrize(("route", "state"), [("retry", "PENDING"), ("cancel", "CANCELLED")])
def test_the_routes_need_no_attempt_and_end_the_lease(api: Gateway, running: str, route: str, state: str) -> None:
    answer = api.post(f"/runs/{running}/{route}")
    assert (answer.json["state"], *lease_of(answer)) == (state, None, None)
    assert api.get(f"/runs/{running}").json == answer.json


def test_without_a_lease_no_attempt_is_needed(api: Gateway) -> None:
    run_id = api.create()["id"]
    api.start(run_id)
    assert api.event(run_id, "PROGRESS", msg=5).status == 200
    assert api.event(run_id, "COMPLETED").status == 200


# -- the end


@pytest.mark.parametrize(
    ("type_", "state"), [("COMPLETED", "COMPLETED"), ("CANCELLED", "CANCELLED"), ("FAILED", "PENDING")]
)
def test_the_end_of_an_attempt_ends_its_lease(api: Gateway, running: str, type_: str, state: str) -> None:
    answer = api.event(running, type_, attempt=1)
    assert (answer.json["state"], *lease_of(answer)) == (state, None, None)
    assert api.get(f"/runs/{running}").json == answer.json


def test_a_run_that_is_given_back_has_no_lease_and_may_be_taken_by_another(api: Gateway, assigned: str) -> None:
    assert lease_of(api.event(assigned, "RETRIED", attempt=1)) == (None, None)
    assert lease_of(take(api, assigned, "STARTED", 30, "other", attempt=2)) == (30, at(33))
    assert_refused(api.event(assigned, "COMPLETED", attempt=1), 409, "stale_attempt")


@pytest.mark.parametrize("state", ["PENDING", "ASSIGNED", "FAILED"])
def test_a_patch_of_the_state_ends_lease_and_deadline(api: Gateway, state: str) -> None:
    run_id = api.create(attempt_timeout_s=100)["id"]
    assert take(api, run_id, "STARTED", 60).json["deadline"] == at(101)
    answer = api.patch(f"/runs/{run_id}", {"state": state})
    assert (*lease_of(answer), answer.json["deadline"]) == (None, None, None)
    assert api.get(f"/runs/{run_id}").json == answer.json


def test_a_patch_of_the_priority_or_of_the_same_state_keeps_the_lease(api: Gateway, running: str) -> None:
    for edit in ({"priority": 9}, {"state": "RUNNING"}):
        assert lease_of(api.patch(f"/runs/{running}", edit)) == (60, at(62))


def test_a_worker_that_was_interrupted_spends_no_budget_while_losses_are_spared(api: Gateway) -> None:
    run_id = api.create(retry_policy={"max_attempts": 1, "max_lost": 1})["id"]
    for attempt, state in ((1, "PENDING"), (2, "FAILED")):
        take(api, run_id, "STARTED", 60, attempt=attempt)
        answer = api.event(run_id, "FAILED", attempt=attempt, payload={"reason": "interrupted", "error_message": "off"})
        assert answer.json["state"] == state
    assert answer.json["execution_summary"]["reason"] == "interrupted"
    assert answer.json["events"][-1]["payload"] == {"reason": "interrupted", "error_message": "off"}
    attempts = api.get(f"/runs/{run_id}/attempts").json
    assert [attempt["execution_summary"]["reason"] for attempt in attempts] == ["interrupted"] * 2
    [row] = api.get("/runs", fields="summary").json["data"]
    assert row["reason"] == "interrupted"


# -- what waits


def test_a_run_is_not_taken_before_its_start(api: Gateway, clock: StepClock, stored: Stored) -> None:
    run = api.create(start_at=at(100), queue_ttl_s=10)
    assert (run["start_at"], run["not_before"], run["deadline"]) == (at(100), at(100), at(110))
    before = stored()
    for type_ in ("ASSIGNED", "STARTED"):
        assert_refused(take(api, run["id"], type_, None), 400, "not_yet", at(100))
    assert stored() == before
    assert api.event(run["id"], "INFO").status == 200
    clock.decisions = 100
    assert api.get(f"/runs/{run['id']}").json["not_before"] is None
    clock.decisions = 100
    assert take(api, run["id"], "STARTED", None).json["not_before"] is None


def test_an_automatic_retry_waits_and_a_manual_one_does_not(
    api: Gateway, clock: StepClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gyoza_domain.runs.commands._system_random.random", lambda: 0.0)
    run_id = api.create(retry_policy={"max_attempts": 3, "backoff_s": 10, "backoff_factor": 1.5})["id"]
    api.start(run_id)
    assert api.event(run_id, "FAILED").json["not_before"] == at(12)
    assert_refused(api.start(run_id), 400, "not_yet")
    clock.decisions = 12
    api.start(run_id)
    clock.decisions = 20
    assert api.event(run_id, "FAILED").json["not_before"] == at(35)
    api.post(f"/runs/{run_id}/cancel")
    assert api.post(f"/runs/{run_id}/retry").json["not_before"] is None


def test_a_refusal_before_the_start_comes_after_that_of_the_state(api: Gateway) -> None:
    run_id = api.create(start_at=at(100))["id"]
    assert_refused(api.event(run_id, "STARTED", payload={"worker_id": "w"}, attempt=2), 409, "stale_attempt")
    assert_refused(api.event(run_id, "PROGRESS", msg=1), 400, "invalid_transition")
    assert_refused(api.start(run_id), 400, "not_yet")

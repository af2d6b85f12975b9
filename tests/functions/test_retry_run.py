"""POST /runs/{id}/retry"""

import pytest

from testing.gateway import Gateway
from tests.functions.conftest import Stored
from tests.functions.expected import a_run, an_event, assert_does_not_fit, assert_minimal, assert_refused, at

UNKNOWN = "6f1c2a54-9d1b-4c55-8a39-2f0f5c7be911"

STEPS = {
    "ASSIGNED": ["ASSIGNED"],
    "RUNNING": ["STARTED"],
    "FAILED": ["STARTED", "FAILED"],
    "CANCELLED": ["CANCELLED"],
}
"""The events that bring a run to each state that a retry leaves."""


def a_run_in(api: Gateway, state: str) -> str:
    run_id: str = api.create()["id"]
    for step in STEPS[state]:
        api.event(run_id, step, payload={"worker_id": "worker-1"})
    return run_id


@pytest.mark.parametrize("state", STEPS)
def test_a_retry_begins_the_next_attempt_whatever_the_budget(api: Gateway, state: str) -> None:
    run_id = a_run_in(api, state)
    seq = len(STEPS[state])
    answer = api.post(f"/runs/{run_id}/retry")
    retried = an_event(seq, "RETRIED", "PENDING", id=0, attempt=2, msg="Manual retry", payload={"force": True})
    assert answer.status == 200
    assert answer.json == a_run(run_id, current_attempt=2, events=[retried], updated_at=at(seq + 1))
    assert api.get(f"/runs/{run_id}").json == answer.json


@pytest.mark.parametrize("body", [None, {}, b"{}", "null", {"note": None}])
def test_a_body_without_fields_changes_nothing_about_it(api: Gateway, body: object) -> None:
    run_id = a_run_in(api, "FAILED")
    assert api.post(f"/runs/{run_id}/retry", body).json["current_attempt"] == 2


def test_the_minimal_answer_is_there_for_the_asking(api: Gateway) -> None:
    run_id = a_run_in(api, "RUNNING")
    answer = api.post(f"/runs/{run_id}/retry", minimal=True)
    assert_minimal(answer, api.get(f"/runs/{run_id}").json)


def test_the_worker_that_was_retried_away_is_kept_out(api: Gateway, stored: Stored) -> None:
    run_id = a_run_in(api, "RUNNING")
    api.post(f"/runs/{run_id}/retry")
    api.event(run_id, "STARTED", payload={"worker_id": "worker-2"}, attempt=2)
    before = stored()
    answer = api.event(run_id, "COMPLETED", payload={"outputs": {"late": True}}, attempt=1)
    assert_refused(answer, 409, "stale_attempt")
    assert stored() == before


def test_a_pending_run_has_nothing_to_retry(api: Gateway, stored: Stored) -> None:
    run_id = api.create()["id"]
    before = stored()
    assert_refused(api.post(f"/runs/{run_id}/retry"), 400, "invalid_transition", "PENDING")
    assert stored() == before


def test_a_completed_run_is_locked(api: Gateway, stored: Stored) -> None:
    run_id = a_run_in(api, "RUNNING")
    api.event(run_id, "COMPLETED")
    before = stored()
    assert_refused(api.post(f"/runs/{run_id}/retry"), 400, "run_locked", "COMPLETED")
    assert stored() == before


@pytest.mark.parametrize(
    ("body", "loc"), [({"force": True}, ["force"]), ({"msg": "again"}, ["msg"]), ([], []), ('"now"', []), ("{", [])]
)
def test_a_body_with_anything_in_it_is_refused(api: Gateway, stored: Stored, body: object, loc: list[str]) -> None:
    run_id = a_run_in(api, "FAILED")
    before = stored()
    assert_does_not_fit(api.post(f"/runs/{run_id}/retry", body), "body", *loc)
    assert stored() == before


def test_a_run_that_is_not_there_is_not_found(api: Gateway, stored: Stored) -> None:
    answer = api.post(f"/runs/{UNKNOWN}/retry")
    assert_refused(answer, 404, "run_not_found", f"OpRun '{UNKNOWN}' not found")
    assert stored() == []

"""POST /runs/{id}/heartbeat"""

from typing import Any

import pytest

from testing.gateway import Answer, Gateway
from tests.functions.conftest import Stored
from tests.functions.expected import StepClock, assert_does_not_fit, assert_refused, at

UNKNOWN = "6f1c2a54-9d1b-4c55-8a39-2f0f5c7be911"


def beat(api: Gateway, run_id: str, attempt: Any = 1, worker_id: Any = "worker-1") -> Answer:
    return api.post(f"/runs/{run_id}/heartbeat", {"attempt": attempt, "worker_id": worker_id})


def leased(api: Gateway, lease_s: int = 60, **fields: Any) -> str:
    """The id of a run that worker-1 runs with a lease from decision 1 on."""
    run_id: str = api.create(**fields)["id"]
    payload = {"worker_id": "worker-1", "lease_s": lease_s}
    assert api.event(run_id, "STARTED", payload=payload).status == 200
    return run_id


def test_a_heartbeat_moves_the_end_of_the_lease(api: Gateway) -> None:
    run_id = leased(api)
    answer = beat(api, run_id)
    assert (answer.status, answer.json) == (
        200,
        {
            "id": run_id,
            "state": "RUNNING",
            "current_attempt": 1,
            "lease_s": 60,
            "lease_until": at(62),
            "cancel_by": None,
        },
    )
    assert answer.headers["Content-Type"] == "application/json"
    assert api.get(f"/runs/{run_id}").json["lease_until"] == at(62)


def test_a_heartbeat_appends_no_event_and_does_not_touch_the_run(api: Gateway) -> None:
    run_id = leased(api)
    before = api.get(f"/runs/{run_id}").json
    beat(api, run_id)
    after = api.get(f"/runs/{run_id}").json
    assert after == before | {"lease_until": at(62)}


def test_an_assigned_run_takes_heartbeats_too(api: Gateway) -> None:
    run_id = api.create()["id"]
    api.event(run_id, "ASSIGNED", payload={"worker_id": "worker-1", "lease_s": 15})
    assert beat(api, run_id).json["state"] == "ASSIGNED"


def test_a_heartbeat_that_comes_late_counts_until_the_server_has_decided(api: Gateway, clock: StepClock) -> None:
    run_id = leased(api, lease_s=15)
    clock.decisions = 1_000
    assert beat(api, run_id).json["lease_until"] == at(1_015)


def test_the_end_of_a_lease_never_moves_back(api: Gateway, clock: StepClock) -> None:
    run_id = leased(api, lease_s=60)
    clock.decisions = 100
    assert beat(api, run_id).json["lease_until"] == at(160)
    clock.decisions = 50
    assert beat(api, run_id).json["lease_until"] == at(160)


def test_an_idempotency_key_is_ignored(api: Gateway, stored: Stored) -> None:
    run_id = leased(api)
    items = len(stored())
    for key in ("a-key", "a-key", "ä"):
        answer = api.call(
            "POST",
            f"/runs/{run_id}/heartbeat",
            {"attempt": 1, "worker_id": "worker-1"},
            headers={"Idempotency-Key": key},
        )
        assert answer.status == 200
        assert "Idempotent-Replayed" not in answer.headers
    assert len(stored()) == items


def test_a_heartbeat_tells_that_the_worker_is_asked_to_stop(api: Gateway) -> None:
    run_id = leased(api)
    api.post(f"/runs/{run_id}/cancel", {"mode": "ask", "grace_s": 30})
    assert beat(api, run_id).json["cancel_by"] == at(32)


def test_refusals_come_in_their_order(api: Gateway, stored: Stored) -> None:
    """Each request is refused for the first reason that it has, though it has all the later ones too."""
    assert_refused(beat(api, UNKNOWN, None, ""), 404, "run_not_found")
    ended = leased(api)
    api.event(ended, "COMPLETED", attempt=1)
    unleased = api.create()["id"]
    running = leased(api)
    before = stored()
    assert_does_not_fit(beat(api, ended, None, "worker-2"), "body", "attempt")
    assert_refused(beat(api, ended, 2, "worker-2"), 409, "stale_attempt", "attempt 1")
    assert_refused(beat(api, ended, 1, "worker-2"), 400, "run_locked", "COMPLETED", "heartbeat")
    assert_refused(beat(api, unleased, 1, "worker-2"), 400, "not_leased", "PENDING")
    assert_refused(beat(api, running, 1, "worker-2"), 409, "not_claimant", "worker-1")
    assert stored() == before


def test_a_run_that_was_started_without_a_lease_has_none_to_renew(api: Gateway) -> None:
    run_id = api.create()["id"]
    api.start(run_id)
    assert_refused(beat(api, run_id), 400, "not_leased", "RUNNING")


@pytest.mark.parametrize("end", ["retry", "cancel"])
def test_a_worker_whose_attempt_was_ended_is_told_at_its_next_heartbeat(api: Gateway, end: str) -> None:
    run_id = leased(api)
    api.post(f"/runs/{run_id}/{end}")
    expected = {"retry": (409, "stale_attempt"), "cancel": (400, "run_locked")}[end]
    assert_refused(beat(api, run_id), *expected)


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        (None, []),
        ({}, ["attempt"]),
        ({"attempt": 1}, ["worker_id"]),
        ({"attempt": "1", "worker_id": "worker-1"}, ["attempt"]),
        ({"attempt": 1, "worker_id": ""}, ["worker_id"]),
        ({"attempt": 1, "worker_id": "w" * 129}, ["worker_id"]),
        ({"attempt": 1, "worker_id": "worker-1", "lease_s": 60}, ["lease_s"]),
    ],
)
def test_a_body_that_does_not_fit_is_refused(api: Gateway, stored: Stored, body: Any, loc: list[str]) -> None:
    run_id = leased(api)
    before = stored()
    assert_does_not_fit(api.post(f"/runs/{run_id}/heartbeat", body), "body", *loc)
    assert stored() == before

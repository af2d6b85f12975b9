"""POST /runs/{id}/cancel"""

import pytest

from testing.gateway import Gateway
from tests.functions.conftest import Stored
from tests.functions.expected import a_run, an_event, assert_does_not_fit, assert_minimal, assert_refused, at, summary

UNKNOWN = "6f1c2a54-9d1b-4c55-8a39-2f0f5c7be911"


def test_a_pending_run_is_cancelled(api: Gateway) -> None:
    run_id = api.create()["id"]
    answer = api.post(f"/runs/{run_id}/cancel")
    cancelled = an_event(0, "CANCELLED", "CANCELLED", msg="Cancelled by user")
    assert answer.status == 200
    assert answer.json == a_run(run_id, state="CANCELLED", events=[cancelled], updated_at=at(1))
    assert api.get(f"/runs/{run_id}").json == answer.json


def test_a_running_run_keeps_its_progress_and_its_worker(api: Gateway) -> None:
    run_id = api.create(retry_policy={"max_attempts": 3})["id"]
    api.start(run_id)
    api.event(run_id, "PROGRESS", msg=40)
    answer = api.post(f"/runs/{run_id}/cancel")
    assert answer.json == a_run(
        run_id,
        state="CANCELLED",
        progress=40,
        retry_policy={"max_attempts": 3},
        events=[
            an_event(0, "STARTED", "CANCELLED", payload={"worker_id": "worker-1"}),
            an_event(1, "PROGRESS", "CANCELLED", msg=40),
            an_event(2, "CANCELLED", "CANCELLED", msg="Cancelled by user"),
        ],
        execution_summary=summary(worker_id="worker-1"),
        updated_at=at(3),
    )


def test_the_minimal_answer_is_there_for_the_asking(api: Gateway) -> None:
    run_id = api.create()["id"]
    answer = api.post(f"/runs/{run_id}/cancel", minimal=True)
    assert_minimal(answer, api.get(f"/runs/{run_id}").json)


@pytest.mark.parametrize("steps", [["STARTED", "COMPLETED"], ["FAILED"], ["CANCELLED"]])
def test_a_run_that_has_ended_is_locked(api: Gateway, stored: Stored, steps: list[str]) -> None:
    run_id = api.create()["id"]
    for step in steps:
        api.event(run_id, step, payload={"worker_id": "worker-1"})
    before = stored()
    assert_refused(api.post(f"/runs/{run_id}/cancel"), 400, "run_locked", steps[-1])
    assert stored() == before


@pytest.mark.parametrize("body", [None, {}, b"{}", "null", {"note": None}])
def test_a_body_without_fields_changes_nothing_about_it(api: Gateway, body: object) -> None:
    assert api.post(f"/runs/{api.create()['id']}/cancel", body).json["state"] == "CANCELLED"


@pytest.mark.parametrize(
    ("body", "loc"), [({"msg": "no more"}, ["msg"]), ({"": 0}, [""]), ([], []), ("false", []), (b"\xff", [])]
)
def test_a_body_with_anything_in_it_is_refused(api: Gateway, stored: Stored, body: object, loc: list[str]) -> None:
    run_id = api.create()["id"]
    before = stored()
    assert_does_not_fit(api.post(f"/runs/{run_id}/cancel", body), "body", *loc)
    assert stored() == before


def test_a_run_that_is_not_there_is_not_found(api: Gateway, stored: Stored) -> None:
    answer = api.post(f"/runs/{UNKNOWN}/cancel")
    assert_refused(answer, 404, "run_not_found", f"OpRun '{UNKNOWN}' not found")
    assert stored() == []

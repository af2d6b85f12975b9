"""PATCH /runs/{id}"""

import json
from typing import Any

import pytest

from testing.gateway import Gateway
from tests.functions.conftest import Stored
from tests.functions.expected import (
    Body,
    a_row,
    a_run,
    an_attempt,
    an_event,
    assert_does_not_fit,
    assert_minimal,
    assert_refused,
    at,
    summary,
)

UNKNOWN = "6f1c2a54-9d1b-4c55-8a39-2f0f5c7be911"
KIB_256 = 256 * 1024
STATES = ["PENDING", "ASSIGNED", "RUNNING", "COMPLETED", "FAILED", "CANCELLED"]
STARTED = {"payload": {"worker_id": "worker-1"}}


def completed(api: Gateway) -> str:
    """A run that started at decision 1 and completed at decision 2 with outputs."""
    run_id: str = api.create()["id"]
    api.start(run_id)
    api.event(run_id, "COMPLETED", payload={"outputs": {"a": 1}})
    return run_id


def a_completed_run(run_id: str, state: str = "COMPLETED", **fields: Any) -> Body:
    """The expected answer: a completed run that was patched at decision 3."""
    run = a_run(
        run_id,
        outputs={"a": 1},
        progress=100,
        events=[
            an_event(0, "STARTED", state, **STARTED),
            an_event(1, "COMPLETED", state, payload={"outputs": {"a": 1}}),
        ],
        execution_summary=summary(worker_id="worker-1", duration_ms=1_000),
        updated_at=at(3),
    )
    return run | {"state": state} | fields


def attempt_of(api: Gateway, run_id: str) -> Body:
    (attempt,) = api.get(f"/runs/{run_id}/attempts").json
    body: Body = attempt
    return body


@pytest.mark.parametrize("state", STATES)
def test_a_state_is_set_past_the_rules_and_nothing_else_changes(api: Gateway, state: str) -> None:
    run_id = completed(api)
    answer = api.patch(f"/runs/{run_id}", {"state": state})
    assert (answer.status, answer.json) == (200, a_completed_run(run_id, state))
    assert api.get(f"/runs/{run_id}").json == answer.json


@pytest.mark.parametrize(
    ("before", "after", "finished_at"),
    [
        ("PENDING", "RUNNING", None),
        ("RUNNING", "FAILED", at(2)),
        ("PENDING", "CANCELLED", at(2)),
        ("FAILED", "COMPLETED", at(1)),
        ("COMPLETED", "COMPLETED", at(1)),
        ("CANCELLED", "ASSIGNED", None),
    ],
)
def test_a_patched_state_is_that_of_the_current_attempt_too(
    api: Gateway, before: str, after: str, finished_at: str | None
) -> None:
    run_id = api.create()["id"]
    api.patch(f"/runs/{run_id}", {"state": before})
    api.patch(f"/runs/{run_id}", {"state": after})
    assert attempt_of(api, run_id) == an_attempt(run_id, 1, state=after, finished_at=finished_at)


@pytest.mark.parametrize("outputs", [{"b": [1, 2.5]}, {}, {"": {"": None}}])
def test_outputs_are_replaced_in_run_and_attempt_and_the_timeline_stays(api: Gateway, outputs: Body) -> None:
    run_id = completed(api)
    answer = api.patch(f"/runs/{run_id}", {"outputs": outputs})
    assert (answer.status, answer.json) == (200, a_completed_run(run_id, outputs=outputs))
    assert api.get(f"/runs/{run_id}").json == answer.json
    assert attempt_of(api, run_id) == an_attempt(
        run_id,
        1,
        state="COMPLETED",
        progress=100,
        events=answer.json["events"],
        outputs=outputs,
        execution_summary=summary(worker_id="worker-1", duration_ms=1_000),
        started_at=at(1),
        finished_at=at(2),
    )


def test_patched_outputs_replace_those_of_an_earlier_patch(api: Gateway) -> None:
    run_id = api.create()["id"]
    for number in (1, 2):
        api.patch(f"/runs/{run_id}", {"outputs": {"n": number}})
        assert api.get(f"/runs/{run_id}").json == a_run(run_id, outputs={"n": number}, updated_at=at(number))


@pytest.mark.parametrize("priority", [0, 9999])
def test_a_patch_of_the_priority_changes_only_the_priority(api: Gateway, priority: int) -> None:
    run_id = api.create()["id"]
    answer = api.patch(f"/runs/{run_id}", {"priority": priority})
    assert answer.json == a_run(run_id, priority=priority, updated_at=at(1))
    assert api.get(f"/runs/{run_id}").json == answer.json


def test_one_patch_sets_state_outputs_and_priority_together(api: Gateway) -> None:
    run_id = api.create()["id"]
    fields = {"state": "COMPLETED", "outputs": {"by": "hand"}, "priority": 1}
    assert api.patch(f"/runs/{run_id}", fields).json == a_run(run_id, **fields, updated_at=at(1))


@pytest.mark.parametrize("body", [{}, {"state": None, "outputs": None, "priority": None}, {"note": None}])
@pytest.mark.parametrize("is_minimal", [True, False])
def test_a_patch_without_values_writes_nothing(api: Gateway, stored: Stored, body: Body, is_minimal: bool) -> None:
    run_id = completed(api)
    before = stored()
    headers = {"Prefer": "return=minimal"} if is_minimal else {}
    answer = api.call("PATCH", f"/runs/{run_id}", body, headers=headers)
    run = a_completed_run(run_id, updated_at=at(2))
    if is_minimal:
        assert_minimal(answer, run)
    else:
        assert (answer.status, answer.json) == (200, run)
    assert stored() == before


def test_the_minimal_answer_is_there_for_the_asking(api: Gateway) -> None:
    run_id = completed(api)
    answer = api.call("PATCH", f"/runs/{run_id}", {"state": "FAILED"}, headers={"Prefer": "return=minimal"})
    assert_minimal(answer, a_completed_run(run_id, "FAILED"))


def test_a_patch_begins_no_attempt_and_pushes_no_event(api: Gateway) -> None:
    run_id = api.create(retry_policy={"max_attempts": 5})["id"]
    run = api.patch(f"/runs/{run_id}", {"state": "FAILED"}).json
    assert (run["current_attempt"], run["event_count"], run["last_seq"]) == (1, 0, -1)
    assert api.get(f"/runs/{run_id}/events").json["events"] == []


def test_a_run_that_was_reopened_goes_on_by_the_rules(api: Gateway) -> None:
    run_id = completed(api)
    api.patch(f"/runs/{run_id}", {"state": "RUNNING"})
    api.event(run_id, "PROGRESS", msg=50)
    answer = api.event(run_id, "FAILED", payload={"error_message": "after all"})
    run = a_run(
        run_id,
        state="FAILED",
        outputs={"a": 1},
        progress=50,
        events=[
            an_event(0, "STARTED", "FAILED", **STARTED),
            an_event(1, "COMPLETED", "FAILED", payload={"outputs": {"a": 1}}),
            an_event(2, "PROGRESS", "FAILED", msg=50, t=at(4)),
            an_event(3, "FAILED", "FAILED", payload={"error_message": "after all"}, t=at(5)),
        ],
        execution_summary=summary(worker_id="worker-1", duration_ms=4_000, error_message="after all"),
        updated_at=at(5),
    )
    assert (answer.status, answer.json) == (200, run)
    assert api.get(f"/runs/{run_id}").json == run
    assert api.get("/runs").json["data"] == [a_row(run)]


def test_a_reopened_run_may_find_another_worker(api: Gateway) -> None:
    run_id = completed(api)
    api.patch(f"/runs/{run_id}", {"state": "PENDING"})
    answer = api.event(run_id, "STARTED", payload={"worker_id": "worker-2", "gpu_id": 1})
    assert answer.json["execution_summary"] == summary(worker_id="worker-2", gpu_id=1, duration_ms=1_000)
    assert answer.json["outputs"] == {"a": 1}
    assert api.get(f"/runs/{run_id}").json == answer.json
    (row,) = api.get("/runs", **{"expand[]": "events"}).json["data"]
    assert row == a_row(answer.json, with_events=True)
    assert attempt_of(api, run_id)["started_at"] == at(4)


def test_outputs_patched_into_an_attempt_stay_with_it_after_a_retry(api: Gateway) -> None:
    run_id = completed(api)
    api.patch(f"/runs/{run_id}", {"state": "FAILED", "outputs": {"by": "hand"}})
    assert api.post(f"/runs/{run_id}/retry").json["outputs"] == {}
    first, second = api.get(f"/runs/{run_id}/attempts").json
    assert (first["outputs"], first["state"], second["outputs"]) == ({"by": "hand"}, "FAILED", {})
    assert first["execution_summary"] == summary(worker_id="worker-1", duration_ms=1_000)


@pytest.mark.parametrize("state", ["", "running", "DONE", "PENDING ", "None"])
def test_an_unknown_state_is_400(api: Gateway, stored: Stored, state: str) -> None:
    run_id = api.create()["id"]
    before = stored()
    assert_refused(api.patch(f"/runs/{run_id}", {"state": state, "priority": 9}), 400, "invalid_state", repr(state))
    assert stored() == before


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        ({"state": 5}, ["state"]),
        ({"state": ["RUNNING"]}, ["state"]),
        ({"outputs": []}, ["outputs"]),
        ({"outputs": "{}"}, ["outputs"]),
        ({"priority": -1}, ["priority"]),
        ({"priority": 10_000}, ["priority"]),
        ({"priority": 5.0}, ["priority"]),
        ({"priority": False}, ["priority"]),
        ({"progress": 50}, ["progress"]),
        ({"inputs": {}}, ["inputs"]),
        ({"image": "busybox:2"}, ["image"]),
        ({"state": "FAILED", "attempt": 1}, ["attempt"]),
        ([], []),
        (None, []),
    ],
    ids=json.dumps,
)
def test_a_field_that_does_not_fit_is_named_and_changes_nothing(
    api: Gateway, stored: Stored, body: object, loc: list[str]
) -> None:
    run_id = api.create()["id"]
    before = stored()
    assert_does_not_fit(api.patch(f"/runs/{run_id}", body), "body", *loc)
    assert stored() == before


def test_outputs_of_256_kib_are_accepted_and_one_byte_more_is_refused(api: Gateway, stored: Stored) -> None:
    run_id = api.create()["id"]
    outputs = {"a": "🥟" * ((KIB_256 - len('{"a":""}')) // 4)}
    assert api.patch(f"/runs/{run_id}", {"outputs": outputs}).json["outputs"] == outputs
    before = stored()
    answer = api.patch(f"/runs/{run_id}", {"outputs": {"a": outputs["a"] + "x"}})
    assert_refused(answer, 413, "too_large", "outputs", "262144")
    assert stored() == before


def test_a_run_that_is_not_there_is_not_found(api: Gateway, stored: Stored) -> None:
    for body in ({"priority": 1}, {}):
        answer = api.patch(f"/runs/{UNKNOWN}", body)
        assert_refused(answer, 404, "run_not_found", f"OpRun '{UNKNOWN}' not found")
    assert stored() == []

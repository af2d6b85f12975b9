"""POST /runs/{id}/events"""

import json
from typing import Any

import pytest

from testing.gateway import Answer, Gateway
from tests.functions.conftest import Stored
from tests.functions.expected import (
    Body,
    a_run,
    an_event,
    assert_does_not_fit,
    assert_minimal,
    assert_refused,
    at,
    summary,
)

KIB_16 = 16 * 1024
KIB_256 = 256 * 1024


def pending(api: Gateway, **fields: Any) -> str:
    run_id: str = api.create(**fields)["id"]
    return run_id


def running(api: Gateway, **fields: Any) -> str:
    """A run whose event 0 is STARTED."""
    run_id = pending(api, **fields)
    api.start(run_id)
    return run_id


def assert_run(api: Gateway, answer: Answer, run: Body) -> None:
    """Assert that the answer is the run and that every later read shows the same."""
    assert (answer.status, answer.json) == (200, run), answer.text
    assert api.get(f"/runs/{run['id']}").json == run


STARTED = {"payload": {"worker_id": "worker-1"}}


@pytest.mark.parametrize(
    ("payload", "worker_id"), [(None, None), ({}, None), ({"worker_id": None}, None), ({"worker_id": "w"}, "w")]
)
def test_assigned_takes_the_run_and_keeps_the_worker_it_names(
    api: Gateway, payload: Body | None, worker_id: str | None
) -> None:
    run_id = pending(api)
    answer = api.event(run_id, "ASSIGNED", msg="taken", payload=payload)
    run = a_run(
        run_id,
        state="ASSIGNED",
        events=[an_event(0, "ASSIGNED", "ASSIGNED", msg="taken", payload=payload or {})],
        execution_summary=summary(worker_id=worker_id),
        updated_at=at(1),
    )
    assert_run(api, answer, run)


@pytest.mark.parametrize("gpu_id", [None, 0, -1, 10**50])
def test_started_makes_the_run_running_with_its_worker_and_gpu(api: Gateway, gpu_id: int | None) -> None:
    run_id = pending(api)
    payload = {"worker_id": "worker-1", "gpu_id": gpu_id, "host": "a"}
    answer = api.event(run_id, "STARTED", payload=payload)
    run = a_run(
        run_id,
        state="RUNNING",
        events=[an_event(0, "STARTED", "RUNNING", payload=payload)],
        execution_summary=summary(worker_id="worker-1", gpu_id=gpu_id),
        updated_at=at(1),
    )
    assert_run(api, answer, run)


@pytest.mark.parametrize("percent", [0, 1, 100])
def test_progress_sets_the_percentage_and_nothing_else_of_the_run(api: Gateway, percent: int) -> None:
    run_id = running(api)
    answer = api.event(run_id, "PROGRESS", msg=percent, payload={"step": "resize"})
    run = a_run(
        run_id,
        state="RUNNING",
        progress=percent,
        events=[
            an_event(0, "STARTED", "RUNNING", **STARTED),
            an_event(1, "PROGRESS", "RUNNING", msg=percent, payload={"step": "resize"}),
        ],
        execution_summary=summary(worker_id="worker-1"),
        updated_at=at(2),
    )
    assert_run(api, answer, run)


@pytest.mark.parametrize("msg", ["", "März 🥟 \u0000", "5", 5, -1, 10**60, "x" * 4096, "🥟" * 1024])
@pytest.mark.parametrize("type_", ["INFO", "ERROR"])
def test_info_and_error_change_nothing_but_the_timeline(api: Gateway, type_: str, msg: str | int) -> None:
    run_id = pending(api)
    payload = {"outputs": {"not": "the run's"}, "error_message": 5, "worker_id": 7, "force": "yes", "": {"a": 1e300}}
    answer = api.event(run_id, type_, msg=msg, payload=payload)
    run = a_run(run_id, events=[an_event(0, type_, "PENDING", msg=msg, payload=payload)], updated_at=at(1))
    assert_run(api, answer, run)


@pytest.mark.parametrize(
    ("payload", "outputs"),
    [
        ({}, {}),
        ({"outputs": None}, {}),
        ({"outputs": {}}, {}),
        ({"outputs": {"a": 1}}, {"a": 1}),
        ({"exit": 0, "outputs": {"": ""}, "took": "12 s"}, {"": ""}),
    ],
)
def test_completed_ends_the_run_with_its_outputs_and_full_progress(api: Gateway, payload: Body, outputs: Body) -> None:
    run_id = running(api)
    answer = api.event(run_id, "COMPLETED", msg="done", payload=payload)
    run = a_run(
        run_id,
        state="COMPLETED",
        outputs=outputs,
        progress=100,
        events=[
            an_event(0, "STARTED", "COMPLETED", **STARTED),
            an_event(1, "COMPLETED", "COMPLETED", msg="done", payload=payload),
        ],
        execution_summary=summary(worker_id="worker-1", duration_ms=1_000),
        updated_at=at(2),
    )
    assert_run(api, answer, run)


@pytest.mark.parametrize(
    ("payload", "error_message"),
    [
        ({}, None),
        ({"error_message": None}, None),
        ({"error_message": ""}, ""),
        ({"error_message": "out of memory", "exit": 137}, "out of memory"),
    ],
)
def test_failed_without_budget_ends_the_run_with_its_error_message(
    api: Gateway, payload: Body, error_message: str | None
) -> None:
    run_id = running(api)
    answer = api.event(run_id, "FAILED", msg="gave up", payload=payload)
    run = a_run(
        run_id,
        state="FAILED",
        events=[
            an_event(0, "STARTED", "FAILED", **STARTED),
            an_event(1, "FAILED", "FAILED", msg="gave up", payload=payload),
        ],
        execution_summary=summary(worker_id="worker-1", duration_ms=1_000, error_message=error_message),
        updated_at=at(2),
    )
    assert_run(api, answer, run)


def test_failed_with_budget_answers_with_the_next_attempt(api: Gateway) -> None:
    run_id = running(api, retry_policy={"max_attempts": 2})
    answer = api.event(run_id, "FAILED", payload={"error_message": "out of memory"})
    run = a_run(
        run_id,
        retry_policy={"max_attempts": 2},
        current_attempt=2,
        events=[an_event(2, "RETRIED", "PENDING", id=0, attempt=2, t=at(2), msg="Automatic retry")],
        updated_at=at(2),
    )
    assert_run(api, answer, run)


def test_cancelled_ends_a_pending_run(api: Gateway) -> None:
    run_id = pending(api)
    answer = api.event(run_id, "CANCELLED", msg="never mind")
    run = a_run(
        run_id,
        state="CANCELLED",
        events=[an_event(0, "CANCELLED", "CANCELLED", msg="never mind")],
        updated_at=at(1),
    )
    assert_run(api, answer, run)


def test_retried_gives_an_assigned_run_back_as_the_next_attempt(api: Gateway) -> None:
    run_id = pending(api)
    api.event(run_id, "ASSIGNED")
    answer = api.event(run_id, "RETRIED", msg="no disk left here", payload={"disk": 0})
    run = a_run(
        run_id,
        current_attempt=2,
        events=[an_event(1, "RETRIED", "PENDING", id=0, attempt=2, msg="no disk left here", payload={"disk": 0})],
        updated_at=at(2),
    )
    assert_run(api, answer, run)


@pytest.mark.parametrize("ending", ["FAILED", "CANCELLED"])
def test_retried_of_an_ended_run_without_budget_needs_force(api: Gateway, stored: Stored, ending: str) -> None:
    run_id = running(api)
    api.event(run_id, ending)
    before = stored()
    for payload in (None, {}, {"force": False}, {"force": None}):
        answer = api.event(run_id, "RETRIED", payload=payload)
        assert_refused(answer, 400, "retry_budget_spent", ending)
    assert stored() == before
    assert api.event(run_id, "RETRIED", payload={"force": True}).json["current_attempt"] == 2


def test_retried_of_a_cancelled_run_with_budget_needs_no_force(api: Gateway) -> None:
    run_id = running(api, retry_policy={"max_attempts": 2})
    api.event(run_id, "CANCELLED")
    assert api.event(run_id, "RETRIED").json["current_attempt"] == 2


def test_an_attempt_given_back_leaves_the_budget_as_it_was(api: Gateway) -> None:
    run_id = pending(api)
    api.event(run_id, "ASSIGNED")
    api.event(run_id, "RETRIED")
    api.event(run_id, "ASSIGNED")
    api.event(run_id, "RETRIED")
    assert api.event(run_id, "FAILED").json["state"] == "FAILED"
    assert_refused(api.event(run_id, "RETRIED"), 400, "retry_budget_spent", "FAILED")


REACHED_BY = {
    "PENDING": [],
    "ASSIGNED": ["ASSIGNED"],
    "RUNNING": ["STARTED"],
    "COMPLETED": ["STARTED", "COMPLETED"],
    "FAILED": ["FAILED"],
    "CANCELLED": ["CANCELLED"],
}
LOCKED = {"COMPLETED", "FAILED", "CANCELLED"}

ACCEPTED = {
    "ASSIGNED": {"PENDING"},
    "STARTED": {"PENDING", "ASSIGNED"},
    "PROGRESS": {"RUNNING"},
    "INFO": {"PENDING", "ASSIGNED", "RUNNING"},
    "ERROR": {"PENDING", "ASSIGNED", "RUNNING"},
    "COMPLETED": {"RUNNING"},
    "FAILED": {"PENDING", "ASSIGNED", "RUNNING"},
    "CANCELLED": {"PENDING", "ASSIGNED", "RUNNING"},
    "RETRIED": {"ASSIGNED", "FAILED", "CANCELLED"},
}

LEAST: dict[str, Body] = {"STARTED": STARTED, "PROGRESS": {"msg": 5}}
"""The fields that a type of event needs."""


@pytest.mark.parametrize("state", REACHED_BY)
@pytest.mark.parametrize("type_", ACCEPTED)
def test_an_event_that_the_state_does_not_allow_is_refused_and_changes_nothing(
    api: Gateway, stored: Stored, type_: str, state: str
) -> None:
    run_id = pending(api)
    for step in REACHED_BY[state]:
        api.event(run_id, step, **LEAST.get(step, {}))
    before = stored()
    answer = api.event(run_id, type_, **LEAST.get(type_, {}))
    if state not in ACCEPTED[type_]:
        assert_refused(answer, 400, "run_locked" if state in LOCKED else "invalid_transition", state)
    elif type_ == "RETRIED" and state in LOCKED:
        assert_refused(answer, 400, "retry_budget_spent", state)
    else:
        assert answer.status == 200
    assert (stored() == before) == (answer.status != 200)


@pytest.mark.parametrize("attempt", [0, 1, 3, -1, 10**40])
def test_an_event_for_another_attempt_is_stale_and_changes_nothing(api: Gateway, stored: Stored, attempt: int) -> None:
    run_id = running(api, retry_policy={"max_attempts": 5})
    api.event(run_id, "FAILED")
    before = stored()
    answer = api.event(run_id, "INFO", attempt=attempt)
    assert_refused(answer, 409, "stale_attempt", f"Attempt {attempt} ", "attempt 2")
    assert stored() == before


def test_an_event_for_the_current_attempt_is_taken(api: Gateway) -> None:
    run_id = running(api, retry_policy={"max_attempts": 5})
    api.event(run_id, "FAILED")
    assert api.event(run_id, "INFO", attempt=2).status == 200


def test_a_late_worker_of_an_ended_attempt_is_stale_whatever_the_state(api: Gateway) -> None:
    run_id = running(api)
    api.post(f"/runs/{run_id}/retry")
    api.post(f"/runs/{run_id}/cancel")
    assert_refused(api.event(run_id, "COMPLETED", attempt=1), 409, "stale_attempt")


@pytest.mark.parametrize("type_", ["INFO", "PROGRESS", "COMPLETED", "FAILED", "CANCELLED"])
def test_the_minimal_answer_is_there_for_the_asking(api: Gateway, type_: str) -> None:
    run_id = running(api)
    answer = api.event(run_id, type_, minimal=True, **LEAST.get(type_, {}))
    run = api.get(f"/runs/{run_id}").json
    assert_minimal(answer, run)
    assert (run["last_seq"], run["updated_at"]) == (1, at(2))


def test_the_minimal_answer_counts_the_current_attempt_s_events_and_all_seqs(api: Gateway) -> None:
    run_id = running(api, retry_policy={"max_attempts": 2})
    answer = api.event(run_id, "FAILED", minimal=True)
    assert answer.json == {
        "id": run_id,
        "state": "PENDING",
        "current_attempt": 2,
        "event_count": 1,
        "last_seq": 2,
        "lease_s": None,
        "lease_until": None,
        "cancel_by": None,
        "updated_at": at(2),
    }


@pytest.mark.parametrize(
    "fields", [{"msg": None}, {"payload": None}, {"attempt": None}, {"note": None}, {"payload": {"note": None}}]
)
def test_a_field_given_as_null_is_as_if_absent(api: Gateway, fields: Body) -> None:
    run_id = pending(api)
    answer = api.event(run_id, "INFO", **fields)
    payload = fields.get("payload") or {}
    run = a_run(run_id, events=[an_event(0, "INFO", "PENDING", payload=payload)], updated_at=at(1))
    assert_run(api, answer, run)


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        ({}, ["type"]),
        ({"type": None}, ["type"]),
        ({"type": "info"}, ["type"]),
        ({"type": "STOPPED"}, ["type"]),
        ({"type": ""}, ["type"]),
        ({"type": 5}, ["type"]),
        ({"type": ["INFO"]}, ["type"]),
        ({"type": "INFO", "msg": True}, ["msg"]),
        ({"type": "INFO", "msg": 5.0}, ["msg"]),
        ({"type": "INFO", "msg": ["a"]}, ["msg"]),
        ({"type": "INFO", "msg": {}}, ["msg"]),
        ({"type": "INFO", "msg": "x" * 4097}, ["msg"]),
        ({"type": "INFO", "msg": "x" * 4095 + "ü"}, ["msg"]),
        ({"type": "INFO", "msg": 10**4096}, ["msg"]),
        ({"type": "INFO", "payload": []}, ["payload"]),
        ({"type": "INFO", "payload": "{}"}, ["payload"]),
        ({"type": "INFO", "attempt": "1"}, ["attempt"]),
        ({"type": "INFO", "attempt": 1.0}, ["attempt"]),
        ({"type": "INFO", "attempt": True}, ["attempt"]),
        ({"type": "INFO", "state": "RUNNING"}, ["state"]),
        ({"type": "INFO", "t": "2026-03-02T20:00:00Z"}, ["t"]),
        ({"type": "PROGRESS"}, ["msg"]),
        ({"type": "PROGRESS", "msg": None}, ["msg"]),
        ({"type": "PROGRESS", "msg": "50"}, ["msg"]),
        ({"type": "PROGRESS", "msg": 50.0}, ["msg"]),
        ({"type": "PROGRESS", "msg": True}, ["msg"]),
        ({"type": "PROGRESS", "msg": -1}, ["msg"]),
        ({"type": "PROGRESS", "msg": 101}, ["msg"]),
        ({"type": "ASSIGNED", "payload": {"worker_id": 7}}, ["payload", "worker_id"]),
        ({"type": "ASSIGNED", "payload": {"worker_id": "w" * 129}}, ["payload", "worker_id"]),
        ({"type": "STARTED"}, ["payload", "worker_id"]),
        ({"type": "STARTED", "payload": {"worker_id": None}}, ["payload", "worker_id"]),
        ({"type": "STARTED", "payload": {"worker_id": 7}}, ["payload", "worker_id"]),
        ({"type": "STARTED", "payload": {"worker_id": "🥟" * 129}}, ["payload", "worker_id"]),
        ({"type": "STARTED", "payload": {"worker_id": "w", "gpu_id": "0"}}, ["payload", "gpu_id"]),
        ({"type": "STARTED", "payload": {"worker_id": "w", "gpu_id": 0.0}}, ["payload", "gpu_id"]),
        ({"type": "STARTED", "payload": {"worker_id": "w", "gpu_id": False}}, ["payload", "gpu_id"]),
        ({"type": "COMPLETED", "payload": {"outputs": []}}, ["payload", "outputs"]),
        ({"type": "COMPLETED", "payload": {"outputs": "{}"}}, ["payload", "outputs"]),
        ({"type": "FAILED", "payload": {"error_message": 5}}, ["payload", "error_message"]),
        ({"type": "FAILED", "payload": {"error_message": "x" * (KIB_16 + 1)}}, ["payload", "error_message"]),
        ({"type": "FAILED", "payload": {"error_message": "ü" * (KIB_16 // 2 + 1)}}, ["payload", "error_message"]),
        ({"type": "RETRIED", "payload": {"force": "true"}}, ["payload", "force"]),
        ({"type": "RETRIED", "payload": {"force": 1}}, ["payload", "force"]),
    ],
    ids=lambda value: json.dumps(value)[:60],
)
def test_a_field_that_does_not_fit_is_named_and_changes_nothing(
    api: Gateway, stored: Stored, body: Body, loc: list[str]
) -> None:
    run_id = running(api)
    before = stored()
    assert_does_not_fit(api.post(f"/runs/{run_id}/events", body), "body", *loc)
    assert stored() == before


@pytest.mark.parametrize("type_", ["ASSIGNED", "STARTED"])
@pytest.mark.parametrize("worker_id", ["", "w" * 128, "🥟" * 128])
def test_a_worker_id_of_128_characters_is_accepted(api: Gateway, type_: str, worker_id: str) -> None:
    run_id = pending(api)
    answer = api.event(run_id, type_, payload={"worker_id": worker_id})
    assert answer.json["execution_summary"] == summary(worker_id=worker_id)
    assert api.get(f"/runs/{run_id}").json["execution_summary"] == summary(worker_id=worker_id)


def a_payload(size: int, character: str = "x", **rest: Any) -> Body:
    """A payload of that many bytes as compact UTF-8 JSON, without the bytes of ``rest``."""
    frame, width = len('{"a":""}'), len(character.encode())
    assert (size - frame) % width == 0
    return {"a": character * ((size - frame) // width), **rest}


@pytest.mark.parametrize("type_", ["INFO", "PROGRESS", "COMPLETED", "FAILED", "CANCELLED"])
@pytest.mark.parametrize("character", ["x", "🥟"])
def test_a_payload_of_16_kib_is_accepted(api: Gateway, type_: str, character: str) -> None:
    run_id = running(api)
    payload = a_payload(KIB_16, character)
    answer = api.event(run_id, type_, payload=payload, msg=5)
    assert answer.status == 200
    assert answer.json["events"][-1]["payload"] == payload


@pytest.mark.parametrize(
    ("type_", "payload"),
    [
        ("INFO", a_payload(KIB_16 + 1)),
        ("INFO", a_payload(KIB_16 + 4, "🥟")),
        ("INFO", {"outputs": a_payload(KIB_16)}),
        ("COMPLETED", a_payload(KIB_16 + 1, outputs={})),
        ("FAILED", a_payload(KIB_16, error_message="x")),
        ("CANCELLED", a_payload(300 * 1024)),
    ],
    ids=["one byte more", "one character more", "outputs that are none", "beside outputs", "with its error", "far"],
)
def test_a_payload_above_16_kib_is_too_large(api: Gateway, stored: Stored, type_: str, payload: Body) -> None:
    run_id = running(api)
    before = stored()
    assert_refused(api.event(run_id, type_, payload=payload), 413, "too_large", "payload", "16384")
    assert stored() == before


def test_outputs_do_not_count_towards_the_payload_s_size(api: Gateway) -> None:
    run_id = running(api)
    payload = a_payload(KIB_16, outputs=a_payload(KIB_256, "🥟"))
    answer = api.event(run_id, "COMPLETED", payload=payload)
    assert (answer.status, answer.json["outputs"]) == (200, payload["outputs"])
    assert answer.json["events"][-1]["payload"] == payload


@pytest.mark.parametrize("outputs", [a_payload(KIB_256 + 1), a_payload(KIB_256 + 4, "🥟")], ids=["byte", "character"])
def test_outputs_above_256_kib_are_too_large(api: Gateway, stored: Stored, outputs: Body) -> None:
    run_id = running(api)
    before = stored()
    answer = api.event(run_id, "COMPLETED", payload={"outputs": outputs})
    assert_refused(answer, 413, "too_large", "outputs", "262144")
    assert stored() == before


def test_an_event_of_a_run_that_is_not_there_is_not_found(api: Gateway, stored: Stored) -> None:
    unknown = "6f1c2a54-9d1b-4c55-8a39-2f0f5c7be911"
    answer = api.event(unknown, "INFO")
    assert_refused(answer, 404, "run_not_found", f"OpRun '{unknown}' not found")
    assert stored() == []

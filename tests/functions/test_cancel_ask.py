"""A cancel that asks: the request, and whatever comes first after it."""

from dataclasses import dataclass
from typing import Any

import pytest

from gyoza_domain.bootstrap.api import store
from gyoza_domain.domain.run import Change
from gyoza_domain.domain.timers import wake
from gyoza_domain.runs.ports import Extent
from testing.gateway import API_KEY_ID, Answer, Gateway
from tests.functions.conftest import Stored
from tests.functions.expected import StepClock, a_run, an_event, assert_does_not_fit, assert_refused, at, summary

W = {"worker_id": "w"}


def ask(api: Gateway, run_id: str, grace_s: int = 30, key: str | None = None) -> Answer:
    headers = {} if key is None else {"Idempotency-Key": key}
    return api.call("POST", f"/runs/{run_id}/cancel", {"mode": "ask", "grace_s": grace_s}, headers=headers)


def time_passes(clock: StepClock, run_id: str, decision: int) -> None:
    """Does what the timer does with the run at that decision."""
    clock.decisions = decision
    loaded = store().load(run_id, Extent.CLOSING)
    change = wake(loaded.run, clock.now())
    assert isinstance(change, Change)
    store().save(change, loaded)


@pytest.fixture
def running(api: Gateway) -> str:
    """A run that worker ``w`` started with a lease at decision 1, and that may run for 200 s and twice."""
    run_id: str = api.create(attempt_timeout_s=200, retry_policy={"max_attempts": 2})["id"]
    assert api.event(run_id, "STARTED", payload=W | {"lease_s": 60}).status == 200
    return run_id


@pytest.fixture
def asked(api: Gateway, running: str) -> str:
    """The same run, asked at decision 2 to stop until decision 32."""
    assert ask(api, running).status == 200
    return running


# -- the request


def test_the_worker_of_a_run_is_asked_by_an_event_and_a_bound(api: Gateway, running: str) -> None:
    answer = ask(api, running)
    assert (answer.status, answer.json) == (
        200,
        a_run(
            running,
            state="RUNNING",
            retry_policy={"max_attempts": 2},
            attempt_timeout_s=200,
            events=[
                an_event(0, "STARTED", "RUNNING", payload=W | {"lease_s": 60}),
                an_event(1, "INFO", "RUNNING", msg="Cancel requested"),
            ],
            execution_summary=summary(worker_id="w"),
            deadline=at(201),
            cancel={"requested_at": at(2), "by": API_KEY_ID, "outcome": None},
            cancel_by=at(32),
            lease_s=60,
            lease_until=at(61),
            updated_at=at(2),
        ),
    )
    assert api.get(f"/runs/{running}").json == answer.json


def test_an_assigned_run_s_worker_is_asked_too(api: Gateway) -> None:
    run_id = api.create()["id"]
    api.event(run_id, "ASSIGNED", payload=W)
    answer = ask(api, run_id)
    assert (answer.json["state"], answer.json["cancel_by"]) == ("ASSIGNED", at(32))


def test_a_run_that_waits_is_cancelled_at_once(api: Gateway) -> None:
    run_id = api.create()["id"]
    answer = ask(api, run_id)
    cancelled = an_event(0, "CANCELLED", "CANCELLED", msg="Cancelled by user")
    assert answer.json == a_run(run_id, state="CANCELLED", events=[cancelled], updated_at=at(1))


@pytest.mark.parametrize("end", ["COMPLETED", "CANCELLED"])
def test_a_run_that_has_ended_is_locked(api: Gateway, running: str, stored: Stored, end: str) -> None:
    api.event(running, end, attempt=1)
    before = stored()
    assert_refused(ask(api, running), 400, "run_locked", end)
    assert stored() == before


def test_the_bound_is_in_every_answer_from_then_on(api: Gateway, asked: str) -> None:
    answers = [
        api.get(f"/runs/{asked}"),
        api.event(asked, "PROGRESS", msg=5, attempt=1),
        api.event(asked, "INFO", minimal=True),
        api.post(f"/runs/{asked}/heartbeat", {"attempt": 1, "worker_id": "w"}),
        api.patch(f"/runs/{asked}", {"priority": 9}),
        api.event(asked, "CANCELLED"),
    ]
    assert [answer.json["cancel_by"] for answer in answers] == [at(32)] * 6
    for query in ({}, {"fields": "summary"}):
        assert api.get("/runs", **query).json["data"][0]["cancel_by"] == at(32)


def test_asking_again_can_only_make_the_bound_earlier(api: Gateway, asked: str, stored: Stored) -> None:
    before = stored()
    assert ask(api, asked, 29).json["cancel_by"] == at(32)
    assert stored() == before
    answer = ask(api, asked, 5)
    assert (answer.json["cancel_by"], answer.json["last_seq"]) == (at(9), 2)
    assert answer.json["cancel"] == {"requested_at": at(2), "by": API_KEY_ID, "outcome": None}


def test_a_repeat_of_a_key_asks_once(api: Gateway, running: str) -> None:
    answers = [ask(api, running, 30, "a-key") for _ in range(2)]
    assert answers[0].json == answers[1].json
    assert answers[1].headers["Idempotent-Replayed"] == "true"
    assert_does_not_fit_the_key(ask(api, running, 29, "a-key"))


def test_a_key_is_kept_though_its_request_changed_nothing(api: Gateway, asked: str) -> None:
    first = ask(api, asked, 100, "a-key")
    assert "Idempotent-Replayed" not in first.headers
    api.event(asked, "CANCELLED")
    repeat = ask(api, asked, 100, "a-key")
    assert (repeat.status, repeat.json["state"]) == (200, "CANCELLED")
    assert repeat.headers["Idempotent-Replayed"] == "true"


def assert_does_not_fit_the_key(answer: Answer) -> None:
    assert (answer.status, answer.json["code"]) == (422, "idempotency_key_reused")


@pytest.mark.parametrize("body", [{"mode": "ask"}, {"grace_s": 5}, {"mode": "ask", "grace_s": 0}, {"mode": "now"}])
def test_a_body_that_does_not_fit_changes_nothing(api: Gateway, running: str, stored: Stored, body: Any) -> None:
    before = stored()
    answer = api.post(f"/runs/{running}/cancel", body)
    assert_does_not_fit(answer, "body", "mode" if "mode" not in body or body["mode"] == "now" else "grace_s")
    assert stored() == before


# -- the outcome


def told(api: Gateway, run_id: str) -> dict[str, Any]:
    """The state of the run, and the types, messages and payloads of the events after the request."""
    run = api.get(f"/runs/{run_id}").json
    assert run["current_attempt"] == 1, "no new attempt"
    assert (run["lease_s"], run["lease_until"], run["deadline"]) == (None, None, None)
    [attempt] = api.get(f"/runs/{run_id}/attempts").json
    assert (attempt["state"], attempt["finished_at"] is None) == (run["state"], False)
    return {
        "state": run["state"],
        "outcome": run["cancel"]["outcome"],
        "reason": run["execution_summary"]["reason"],
        "error": run["execution_summary"]["error_message"],
        "timeline": [(event["type"], event["payload"]) for event in run["events"][2:]],
    }


BY_SERVER = {"by": "server"}


@pytest.mark.parametrize(
    ("type_", "payload", "expected"),
    [
        ("CANCELLED", {}, {"state": "CANCELLED", "outcome": "acknowledged", "timeline": [("CANCELLED", {})]}),
        (
            "RETRIED",
            {"force": True},
            {"state": "CANCELLED", "outcome": "acknowledged", "timeline": [("CANCELLED", BY_SERVER)]},
        ),
        (
            "FAILED",
            {"error_message": "stopped"},
            {
                "state": "CANCELLED",
                "outcome": "acknowledged",
                "error": "stopped",
                "timeline": [
                    ("FAILED", {"error_message": "stopped"}),
                    ("CANCELLED", BY_SERVER | {"error_message": "stopped"}),
                ],
            },
        ),
        ("COMPLETED", {}, {"state": "COMPLETED", "outcome": "completed", "timeline": [("COMPLETED", {})]}),
    ],
    ids=["cancelled", "given back", "failed", "completed"],
)
def test_the_end_that_the_worker_posts_decides(
    api: Gateway, asked: str, type_: str, payload: dict[str, Any], expected: dict[str, Any]
) -> None:
    answer = api.event(asked, type_, attempt=1, payload=payload)
    assert answer.status == 200, answer.text
    assert told(api, asked) == {"reason": None, "error": None} | expected
    assert answer.json == api.get(f"/runs/{asked}").json


def test_an_assigned_worker_that_gives_the_run_back_has_stopped(api: Gateway) -> None:
    run_id = api.create()["id"]
    api.event(run_id, "ASSIGNED", payload=W | {"lease_s": 60})
    ask(api, run_id)
    assert api.event(run_id, "RETRIED", attempt=1).json["state"] == "CANCELLED"


def test_a_failure_is_not_retried_though_the_budget_allows_it(api: Gateway, asked: str) -> None:
    answer = api.event(asked, "FAILED", attempt=1)
    assert (answer.json["state"], answer.json["current_attempt"]) == ("CANCELLED", 1)


def test_an_immediate_cancel_forces_the_end(api: Gateway, asked: str) -> None:
    answer = api.post(f"/runs/{asked}/cancel")
    assert answer.json["events"][-1]["msg"] == "Cancelled by user"
    assert told(api, asked) == {
        "state": "CANCELLED",
        "outcome": "forced",
        "reason": None,
        "error": None,
        "timeline": [("CANCELLED", {})],
    }


@dataclass(frozen=True)
class Silence:
    """A worker that says nothing from a decision on, and what time makes of its run."""

    grace_s: int
    last_beat: int | None
    wakes_at: int
    reason: str


@pytest.mark.parametrize(
    "silence",
    [
        Silence(30, None, 33, "cancel_not_acknowledged"),
        Silence(3_600, None, 62, "lost"),
        Silence(3_600, 200, 201, "timed_out"),
    ],
    ids=["the bound", "the end of the lease", "the end of the attempt"],
)
def test_where_the_worker_says_nothing_time_forces_the_end(
    api: Gateway, clock: StepClock, running: str, silence: Silence
) -> None:
    ask(api, running, silence.grace_s)
    if silence.last_beat is not None:
        clock.decisions = silence.last_beat
        api.post(f"/runs/{running}/heartbeat", {"attempt": 1, "worker_id": "w"})
    time_passes(clock, running, silence.wakes_at)
    assert told(api, running) == {
        "state": "CANCELLED",
        "outcome": "forced",
        "reason": silence.reason,
        "error": None,
        "timeline": [("CANCELLED", {"reason": silence.reason} | BY_SERVER)],
    }


@pytest.mark.parametrize("route", ["retry", "patch"])
def test_the_request_belongs_to_its_attempt_and_its_state(api: Gateway, asked: str, route: str) -> None:
    if route == "retry":
        answer = api.post(f"/runs/{asked}/retry")
        assert (answer.json["state"], answer.json["current_attempt"]) == ("PENDING", 2)
    else:
        answer = api.patch(f"/runs/{asked}", {"state": "ASSIGNED"})
    assert (answer.json["cancel"], answer.json["cancel_by"]) == (None, None)
    assert api.get(f"/runs/{asked}").json == answer.json

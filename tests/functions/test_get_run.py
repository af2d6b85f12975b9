"""GET /runs/{id}"""

from dataclasses import replace

import pytest

from gyoza_domain.domain.run import RunSpec, State
from testing.gateway import Gateway
from testing.seeding import seeded_run, store_events, store_runs
from tests.functions.expected import a_run, an_event, assert_refused, at, summary

UNKNOWN = "6f1c2a54-9d1b-4c55-8a39-2f0f5c7be911"


def test_a_run_shows_its_whole_short_life(api: Gateway) -> None:
    run_id = api.create(inputs={"a": 1})["id"]
    api.event(run_id, "ASSIGNED", msg="taken", payload={"worker_id": "worker-1"})
    api.event(run_id, "STARTED", payload={"worker_id": "worker-1", "gpu_id": 0})
    api.event(run_id, "PROGRESS", msg=40)
    api.event(run_id, "INFO", msg=7, payload={"note": "a number is a message too"})
    api.event(run_id, "COMPLETED", msg="done", payload={"outputs": {"b": [2.5]}, "exit": 0})

    answer = api.get(f"/runs/{run_id}")

    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.json == a_run(
        run_id,
        state="COMPLETED",
        inputs={"a": 1},
        outputs={"b": [2.5]},
        progress=100,
        events=[
            an_event(0, "ASSIGNED", "COMPLETED", msg="taken", payload={"worker_id": "worker-1"}),
            an_event(1, "STARTED", "COMPLETED", payload={"worker_id": "worker-1", "gpu_id": 0}),
            an_event(2, "PROGRESS", "COMPLETED", msg=40),
            an_event(3, "INFO", "COMPLETED", msg=7, payload={"note": "a number is a message too"}),
            an_event(4, "COMPLETED", "COMPLETED", msg="done", payload={"outputs": {"b": [2.5]}, "exit": 0}),
        ],
        execution_summary=summary(worker_id="worker-1", gpu_id=0, duration_ms=3_000),
        updated_at=at(5),
    )


def test_only_the_current_attempt_s_timeline_is_shown(api: Gateway) -> None:
    run_id = api.create(retry_policy={"max_attempts": 2})["id"]
    api.start(run_id)
    api.event(run_id, "FAILED", payload={"error_message": "out of memory"})
    assert api.get(f"/runs/{run_id}").json == a_run(
        run_id,
        retry_policy={"max_attempts": 2},
        current_attempt=2,
        events=[an_event(2, "RETRIED", "PENDING", id=0, attempt=2, t=at(2), msg="Automatic retry")],
        updated_at=at(2),
    )


def test_a_long_timeline_shows_its_newest_100_events(api: Gateway) -> None:
    run = seeded_run(1, events=250)
    store_runs([(run, RunSpec("busybox:1"))])
    store_events(run)
    body = api.get(f"/runs/{run.id}").json
    assert [event["id"] for event in body["events"]] == list(range(150, 250))
    assert (body["event_count"], body["last_seq"]) == (250, 249)


def test_a_timeline_of_long_messages_shows_the_newest_that_fit_a_megabyte(api: Gateway) -> None:
    run = seeded_run(1, events=120)
    store_runs([(run, RunSpec("busybox:1"))])
    store_events(run, msg="x" * 20_000)
    answer = api.get(f"/runs/{run.id}")
    shown = [event["id"] for event in answer.json["events"]]
    assert shown == list(range(120 - len(shown), 120))
    assert 40 < len(shown) < 53
    assert answer.json["event_count"] == 120


@pytest.mark.parametrize("state", list(State))
def test_every_event_shows_the_state_at_the_time_of_reading(api: Gateway, state: State) -> None:
    run = replace(seeded_run(1, events=2), created_at=seeded_run(2).created_at)
    run = replace(run, attempt=replace(run.attempt, state=state))
    store_runs([(run, RunSpec("busybox:1"))])
    store_events(run)
    assert [event["state"] for event in api.get(f"/runs/{run.id}").json["events"]] == [state, state]


def test_a_run_that_is_not_there_is_not_found(api: Gateway) -> None:
    answer = api.get(f"/runs/{UNKNOWN}")
    assert_refused(answer, 404, "run_not_found")
    assert answer.json["detail"] == f"OpRun '{UNKNOWN}' not found"

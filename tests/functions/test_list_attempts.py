"""GET /runs/{id}/attempts"""

import os
import re
from dataclasses import replace
from urllib.parse import urljoin

import boto3
import pytest

from gyoza_domain.domain.run import EventType, RunSpec
from gyoza_domain.domain.transitions import EventDraft, append_event
from gyoza_domain.dynamodb import codec
from testing.gateway import Answer, Gateway
from testing.seeding import seeded_run, store_runs
from tests.functions.expected import (
    an_attempt,
    an_event,
    assert_does_not_fit,
    assert_refused,
    at,
    bytes_as_sent,
    summary,
)

UNKNOWN = "6f1c2a54-9d1b-4c55-8a39-2f0f5c7be911"


def next_page(answer: Answer, run_id: str) -> str | None:
    """The address in the ``Link``, resolved against the requested one (RFC 8288), with the stage."""
    link = answer.headers.get("Link")
    if link is None:
        return None
    target = re.fullmatch(r'<([^>]+)>; rel="next"', link)
    assert target is not None
    address: str = urljoin(f"https://host/live/runs/{run_id}/attempts?limit=7", target[1])
    return address


def test_a_new_run_has_one_attempt(api: Gateway) -> None:
    run_id = api.create(inputs={"a": 1}, constraints={"cpu": 2})["id"]
    answer = api.get(f"/runs/{run_id}/attempts")
    constraints = {"cpu": 2, "ram_mb": None, "vram_mb": None}
    assert (answer.status, answer.json) == (200, [an_attempt(run_id, 1, inputs={"a": 1}, constraints=constraints)])
    assert "Link" not in answer.headers


def test_every_attempt_keeps_all_it_had(api: Gateway) -> None:
    run_id = api.create(retry_policy={"max_attempts": 2}, inputs={"a": 1})["id"]
    api.event(run_id, "STARTED", payload={"worker_id": "worker-1", "gpu_id": 3})
    api.event(run_id, "PROGRESS", msg=70)
    api.event(run_id, "FAILED", payload={"error_message": "out of memory", "exit": 137})
    api.event(run_id, "ASSIGNED", payload={"worker_id": "worker-2"})
    api.event(run_id, "RETRIED")
    api.start(run_id, "worker-3")
    api.post(f"/runs/{run_id}/retry")
    api.start(run_id, "worker-4")
    api.event(run_id, "COMPLETED", payload={"outputs": {"b": 2}})

    def event(seq: int, event_id: int, attempt: int, type_: str, decision: int, **fields: object) -> object:
        return an_event(seq, type_, "COMPLETED", id=event_id, attempt=attempt, t=at(decision), **fields)

    failure = {"error_message": "out of memory", "exit": 137}
    assert api.get(f"/runs/{run_id}/attempts").json == [
        an_attempt(
            run_id,
            1,
            state="FAILED",
            progress=70,
            inputs={"a": 1},
            events=[
                event(0, 0, 1, "STARTED", 1, payload={"worker_id": "worker-1", "gpu_id": 3}),
                event(1, 1, 1, "PROGRESS", 2, msg=70),
                event(2, 2, 1, "FAILED", 3, payload=failure),
            ],
            execution_summary={
                "worker_id": "worker-1",
                "gpu_id": 3,
                "duration_ms": 2_000,
                "error_message": "out of memory",
                "reason": None,
            },
            started_at=at(1),
            finished_at=at(3),
        ),
        an_attempt(
            run_id,
            2,
            state="CANCELLED",
            inputs={"a": 1},
            events=[
                event(3, 0, 2, "RETRIED", 3, msg="Automatic retry"),
                event(4, 1, 2, "ASSIGNED", 4, payload={"worker_id": "worker-2"}),
            ],
            execution_summary=summary(worker_id="worker-2"),
            created_at=at(3),
            assigned_at=at(4),
            finished_at=at(5),
        ),
        an_attempt(
            run_id,
            3,
            state="CANCELLED",
            inputs={"a": 1},
            events=[
                event(5, 0, 3, "RETRIED", 5),
                event(6, 1, 3, "STARTED", 6, payload={"worker_id": "worker-3"}),
            ],
            execution_summary=summary(worker_id="worker-3"),
            created_at=at(5),
            started_at=at(6),
            finished_at=at(7),
        ),
        an_attempt(
            run_id,
            4,
            state="COMPLETED",
            progress=100,
            inputs={"a": 1},
            outputs={"b": 2},
            events=[
                event(7, 0, 4, "RETRIED", 7, msg="Manual retry", payload={"force": True}),
                event(8, 1, 4, "STARTED", 8, payload={"worker_id": "worker-4"}),
                event(9, 2, 4, "COMPLETED", 9, payload={"outputs": {"b": 2}}),
            ],
            execution_summary=summary(worker_id="worker-4", duration_ms=1_000),
            created_at=at(7),
            started_at=at(8),
            finished_at=at(9),
        ),
    ]


def test_an_attempt_shows_its_newest_20_events(api: Gateway) -> None:
    run_id = api.create()["id"]
    for number in range(25):
        api.event(run_id, "INFO", minimal=True, msg=number)
    api.event(run_id, "CANCELLED", minimal=True)
    api.post(f"/runs/{run_id}/retry")
    first, second = api.get(f"/runs/{run_id}/attempts").json
    assert [event["id"] for event in first["events"]] == list(range(6, 26))
    assert (first["event_count"], second["event_count"]) == (26, 1)


@pytest.fixture
def five_attempts(api: Gateway) -> str:
    run_id: str = api.create()["id"]
    for _ in range(4):
        api.event(run_id, "ASSIGNED", minimal=True)
        api.event(run_id, "RETRIED", minimal=True)
    return run_id


@pytest.mark.parametrize(
    ("query", "numbers", "link"),
    [
        ({}, [1, 2, 3, 4, 5], None),
        ({"limit": 100}, [1, 2, 3, 4, 5], None),
        ({"limit": 5}, [1, 2, 3, 4, 5], None),
        ({"limit": 2}, [1, 2], "limit=2&after=2"),
        ({"limit": 2, "after": 2}, [3, 4], "limit=2&after=4"),
        ({"limit": 2, "after": 4}, [5], None),
        ({"limit": 1, "after": 3}, [4], "limit=1&after=4"),
        ({"after": 0}, [1, 2, 3, 4, 5], None),
        ({"after": 3}, [4, 5], None),
        ({"after": 5}, [], None),
        ({"after": 10**30}, [], None),
    ],
    ids=str,
)
def test_attempts_are_paged_by_number(
    api: Gateway, five_attempts: str, query: dict[str, int], numbers: list[int], link: str | None
) -> None:
    answer = api.get(f"/runs/{five_attempts}/attempts", **query)
    assert [attempt["attempt"] for attempt in answer.json] == numbers
    expected = None if link is None else f"https://host/live/runs/{five_attempts}/attempts?{link}"
    assert next_page(answer, five_attempts) == expected


def a_run_of_attempts(count: int) -> str:
    """Store a run without the API that failed until it had so many attempts. Returns its id."""
    run = replace(seeded_run(1), max_attempts=count)
    store_runs([(run, RunSpec("busybox:1"))])
    client, table = boto3.client("dynamodb"), os.environ["GYOZA_TABLE"]
    while run.attempt.number < count:
        change = append_event(run, EventDraft(EventType.FAILED), run.updated_at)
        assert change.closed is not None
        items = [codec.closed_attempt_item(run.id, change.closed)]
        items += [codec.event_item(run.id, event) for event in change.events]
        client.batch_write_item(RequestItems={table: [{"PutRequest": {"Item": item}} for item in items]})
        run = change.after
    store_runs([(run, RunSpec("busybox:1"))])
    return run.id


def test_more_than_a_hundred_attempts_go_on_behind_a_link(api: Gateway) -> None:
    run_id = a_run_of_attempts(101)
    answer = api.get(f"/runs/{run_id}/attempts")
    assert [attempt["attempt"] for attempt in answer.json] == list(range(1, 101))
    assert next_page(answer, run_id) == f"https://host/live/runs/{run_id}/attempts?limit=100&after=100"
    rest = api.get(f"/runs/{run_id}/attempts", limit=100, after=100)
    assert [attempt["attempt"] for attempt in rest.json] == [101]
    assert next_page(rest, run_id) is None


def test_an_answer_that_would_pass_5_mb_is_cut_and_goes_on_behind_a_link(api: Gateway) -> None:
    run_id = api.create(inputs={"quotes": '"' * 120_000})["id"]
    for _ in range(14):
        api.event(run_id, "ASSIGNED", minimal=True)
        api.event(run_id, "RETRIED", minimal=True)
    pages, seen = 0, 0
    while True:
        answer = api.get(f"/runs/{run_id}/attempts", limit=15, after=seen)
        assert bytes_as_sent(answer) <= 5_000_000
        assert [attempt["attempt"] for attempt in answer.json] == list(range(seen + 1, seen + 1 + len(answer.json)))
        pages, seen = pages + 1, answer.json[-1]["attempt"]
        link = next_page(answer, run_id)
        if link is None:
            break
        assert link == f"https://host/live/runs/{run_id}/attempts?limit=15&after={seen}"
    assert (pages, seen) == (2, 15)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("limit", value) for value in ("0", "-1", "101", "", "x", "1.0", "9" * 5_000)],
        *[("after", value) for value in ("-1", "", "x", "1.0")],
    ],
)
def test_a_parameter_that_does_not_fit_is_named(api: Gateway, name: str, value: str) -> None:
    run_id = api.create()["id"]
    assert_does_not_fit(api.get(f"/runs/{run_id}/attempts", **{name: value}), "query", name)


def test_a_run_that_is_not_there_is_not_found(api: Gateway) -> None:
    answer = api.get(f"/runs/{UNKNOWN}/attempts")
    assert_refused(answer, 404, "run_not_found", f"OpRun '{UNKNOWN}' not found")

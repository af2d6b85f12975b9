"""GET /runs/{id}/events"""

import os
from typing import Any

import boto3
import pytest

from gyoza_domain.domain.run import Event, EventType, RunSpec
from gyoza_domain.dynamodb import codec
from testing.gateway import Gateway
from testing.seeding import seeded_run, store_events, store_runs
from tests.functions.expected import an_event, assert_does_not_fit, assert_refused, at, bytes_as_sent

UNKNOWN = "6f1c2a54-9d1b-4c55-8a39-2f0f5c7be911"
STARTED = {"payload": {"worker_id": "worker-1"}}


@pytest.fixture
def run_id(api: Gateway) -> str:
    """A run with STARTED, INFO and FAILED in attempt 1 (seqs 0 to 2), RETRIED and STARTED in attempt 2 (3 and 4)."""
    run_id: str = api.create(retry_policy={"max_attempts": 2})["id"]
    api.start(run_id)
    api.event(run_id, "INFO", msg="hello")
    api.event(run_id, "FAILED", payload={"error_message": "no"})
    api.start(run_id)
    return run_id


FIRST = [
    an_event(0, "STARTED", "RUNNING", **STARTED),
    an_event(1, "INFO", "RUNNING", msg="hello"),
    an_event(2, "FAILED", "RUNNING", payload={"error_message": "no"}),
]
SECOND = [
    an_event(3, "RETRIED", "RUNNING", id=0, attempt=2, msg="Automatic retry", t=at(3)),
    an_event(4, "STARTED", "RUNNING", id=1, attempt=2, t=at(4), **STARTED),
]


@pytest.mark.parametrize(
    ("query", "events"),
    [
        ({}, SECOND),
        ({"after": -1}, SECOND),
        ({"after": 0}, SECOND[1:]),
        ({"after": 1}, []),
        ({"after": 10**30}, []),
        ({"attempt": 2}, SECOND),
        ({"attempt": 2, "after": 0}, SECOND[1:]),
        ({"attempt": 1}, FIRST),
        ({"attempt": 1, "after": 0}, FIRST[1:]),
        ({"attempt": 1, "after": 1}, FIRST[2:]),
        ({"attempt": 1, "after": 2}, []),
        ({"attempt": 1, "after": 3}, []),
        ({"after_seq": -1}, FIRST + SECOND),
        ({"after_seq": 0}, FIRST[1:] + SECOND),
        ({"after_seq": 2}, SECOND),
        ({"after_seq": 4}, []),
        ({"after_seq": 10**30}, []),
    ],
    ids=str,
)
def test_a_poll_shows_exactly_the_events_after_the_given_one(
    api: Gateway, run_id: str, query: dict[str, int], events: list[Any]
) -> None:
    answer = api.get(f"/runs/{run_id}/events", **query)
    page = {"events": events, "has_more": False, "state": "RUNNING", "current_attempt": 2, "last_seq": 4}
    assert (answer.status, answer.json) == (200, page)


NO_EVENTS = {"events": [], "has_more": False, "state": "PENDING", "current_attempt": 1, "last_seq": -1}


def test_a_new_run_has_no_events(api: Gateway) -> None:
    run_id = api.create()["id"]
    for query in ({}, {"after": 0}, {"attempt": 1}, {"after_seq": -1}):
        assert api.get(f"/runs/{run_id}/events", **query).json == NO_EVENTS


@pytest.mark.parametrize("attempt", [3, 4, 10**30])
def test_an_attempt_the_run_does_not_have_is_400(api: Gateway, run_id: str, attempt: int) -> None:
    answer = api.get(f"/runs/{run_id}/events", attempt=attempt)
    assert_refused(answer, 400, "invalid_filter", f"no attempt {attempt}")


@pytest.mark.parametrize("query", [{"after": 0}, {"attempt": 1}, {"after": 0, "attempt": 1}])
def test_reading_across_attempts_excludes_the_other_two(api: Gateway, run_id: str, query: dict[str, int]) -> None:
    assert_refused(api.get(f"/runs/{run_id}/events", after_seq=0, **query), 400, "invalid_filter", "after_seq")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("after", value) for value in ("-2", "", "x", "1.0", "1e2", "true", "9" * 5_000)],
        *[("after_seq", value) for value in ("-2", "", "x")],
        *[("attempt", value) for value in ("0", "-1", "", "x", "1.0")],
    ],
)
def test_a_parameter_that_does_not_fit_is_named(api: Gateway, name: str, value: str) -> None:
    run_id = api.create()["id"]
    assert_does_not_fit(api.get(f"/runs/{run_id}/events", **{name: value}), "query", name)


def test_a_timeline_is_read_in_pages_of_1000(api: Gateway) -> None:
    run = seeded_run(1, events=1_101)
    store_runs([(run, RunSpec("busybox:1"))])
    store_events(run)

    def page(**query: int) -> tuple[list[int], bool]:
        body = api.get(f"/runs/{run.id}/events", **query).json
        return [event["id"] for event in body["events"]], body["has_more"]

    assert page() == (list(range(1_000)), True)
    assert page(after=100) == (list(range(101, 1_101)), False)
    assert page(after_seq=99) == (list(range(100, 1_100)), True)
    assert page(after_seq=1_099) == ([1_100], False)


def test_long_messages_are_cut_at_a_megabyte_and_none_is_left_out(api: Gateway) -> None:
    run = seeded_run(1, events=120)
    store_runs([(run, RunSpec("busybox:1"))])
    store_events(run, msg="x" * 20_000)
    first = api.get(f"/runs/{run.id}/events")
    seen = [event["id"] for event in first.json["events"]]
    assert (seen, first.json["has_more"]) == (list(range(len(seen))), True)
    assert 40 < len(seen) < 54
    rest = api.get(f"/runs/{run.id}/events", after=seen[-1]).json["events"]
    assert rest[0]["id"] == len(seen)


def test_no_page_passes_5_mb_whatever_its_text_grows_to_in_json(api: Gateway) -> None:
    """A control character is one byte in the table and seven in an answer as Lambda sends it."""
    run = seeded_run(1, events=400)
    store_runs([(run, RunSpec("busybox:1"))])
    client = boto3.client("dynamodb")
    for seq in range(400):
        failure = Event(seq, seq, 1, EventType.FAILED, run.created_at, run.state, error_message="\x1b" * 2_600)
        client.put_item(TableName=os.environ["GYOZA_TABLE"], Item=codec.event_item(run.id, failure))
    seen = -1
    while True:
        answer = api.get(f"/runs/{run.id}/events", after_seq=seen)
        assert bytes_as_sent(answer) <= 5_000_000
        assert answer.json["events"][0]["seq"] == seen + 1
        seen = answer.json["events"][-1]["seq"]
        if not answer.json["has_more"]:
            break
    assert seen == 399


def test_a_run_that_is_not_there_is_not_found(api: Gateway) -> None:
    for query in ({}, {"after": 5}, {"after_seq": 5}, {"attempt": 2}):
        answer = api.get(f"/runs/{UNKNOWN}/events", **query)
        assert_refused(answer, 404, "run_not_found", f"OpRun '{UNKNOWN}' not found")

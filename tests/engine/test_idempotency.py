"""Tests that requests with one Idempotency-Key have one effect, however late or concurrent they are."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from testing.capacity import measured
from testing.gateway import Answer, Gateway

REPLAYED = "Idempotent-Replayed"


def post(api: Gateway, path: str, body: Any, key: str, **headers: str) -> Answer:
    return api.call("POST", path, body, headers={"Idempotency-Key": key} | headers)


def test_a_repeated_creation_answers_with_the_run_as_it_stands(api: Gateway) -> None:
    first = post(api, "/runs", {"image": "a", "priority": 3}, "k1")
    assert first.status == 201
    assert REPLAYED not in first.headers
    run_id = first.json["id"]
    api.start(run_id)

    again = post(api, "/runs", {"priority": 3, "image": "a"}, "k1")
    assert (again.status, again.headers[REPLAYED]) == (201, "true")
    assert again.json == api.get(f"/runs/{run_id}").json
    assert again.json["state"] == "RUNNING"
    assert len(api.get("/runs").json["data"]) == 1


def test_keys_differ_by_path_and_by_text(api: Gateway) -> None:
    one, other = (api.create()["id"] for _ in range(2))
    for run_id in (one, other):
        assert REPLAYED not in post(api, f"/runs/{run_id}/events", {"type": "INFO"}, "k").headers
    assert REPLAYED not in post(api, f"/runs/{one}/events", {"type": "INFO"}, "k2").headers
    assert [api.get(f"/runs/{run_id}").json["event_count"] for run_id in (one, other)] == [2, 1]


@pytest.mark.parametrize("path", ["/runs", "/runs/{id}/events"])
def test_another_body_under_the_same_key_is_422_and_changes_nothing(api: Gateway, path: str) -> None:
    run_id = api.create()["id"]
    bodies: Mapping[str, list[Any]] = {
        "/runs": [{"image": "a"}, {"image": "b"}],
        "/runs/{id}/events": [{"type": "INFO"}, {"type": "INFO", "msg": "b"}],
    }
    first, second = bodies[path]
    assert post(api, path.format(id=run_id), first, "k").status in (200, 201)
    before = api.get("/runs").json
    answer = post(api, path.format(id=run_id), second, "k")
    assert answer.status == 422
    assert answer.json["code"] == "idempotency_key_reused"
    assert answer.json["detail"][0]["loc"] == ["header", "Idempotency-Key"]
    assert api.get("/runs").json == before


@pytest.mark.parametrize("minimal", [False, True])
def test_a_repeat_the_state_would_refuse_is_a_replay(api: Gateway, minimal: bool) -> None:
    run_id = api.create()["id"]
    api.start(run_id)
    body = {"type": "COMPLETED", "payload": {"outputs": {"a": 1}}, "attempt": 1}
    prefer = {"Prefer": "return=minimal"} if minimal else {}
    assert post(api, f"/runs/{run_id}/events", body, "done").status == 200
    again = post(api, f"/runs/{run_id}/events", body, "done", **prefer)
    assert (again.status, again.headers[REPLAYED], again.json["state"]) == (200, "true", "COMPLETED")
    assert api.get(f"/runs/{run_id}").json["event_count"] == 2


@pytest.mark.parametrize("route", ["retry", "cancel"])
def test_retry_and_cancel_are_repeated_safely(api: Gateway, route: str) -> None:
    run_id = api.create()["id"]
    if route == "retry":
        api.event(run_id, "FAILED")
    answers = [post(api, f"/runs/{run_id}/{route}", None, "k") for _ in range(3)]
    assert [(answer.status, REPLAYED in answer.headers) for answer in answers] == [
        (200, False),
        (200, True),
        (200, True),
    ]
    assert api.get(f"/runs/{run_id}").json["current_attempt"] == (2 if route == "retry" else 1)


def test_a_refused_request_records_nothing(api: Gateway) -> None:
    run_id = api.create()["id"]
    body = {"type": "PROGRESS", "msg": 5}
    assert post(api, f"/runs/{run_id}/events", body, "k").status == 400
    api.start(run_id)
    answer = post(api, f"/runs/{run_id}/events", body, "k")
    assert (answer.status, REPLAYED in answer.headers) == (200, False)


@pytest.mark.parametrize("key", ["", "x" * 256, "é", "a\tb"])
def test_a_key_that_is_no_printable_ascii_of_255_is_422(api: Gateway, key: str) -> None:
    answer = post(api, "/runs", {"image": "a"}, key)
    assert answer.status == 422
    assert answer.json["detail"][0]["loc"] == ["header", "Idempotency-Key"]


@pytest.mark.contention
def test_concurrent_duplicates_have_one_effect(api: Gateway) -> None:
    with ThreadPoolExecutor(16) as threads:
        created = list(threads.map(lambda _: post(api, "/runs", {"image": "a"}, "create"), range(16)))
        assert {answer.status for answer in created} == {201}
        assert sum(REPLAYED not in answer.headers for answer in created) == 1
        (run_id,) = {answer.json["id"] for answer in created}
        path = f"/runs/{run_id}/events"
        appended = list(threads.map(lambda _: post(api, path, {"type": "INFO", "msg": "once"}, "e"), range(16)))
    assert {answer.status for answer in appended} == {200}
    assert sum(REPLAYED not in answer.headers for answer in appended) == 1
    assert [event["msg"] for event in api.get(f"/runs/{run_id}").json["events"]] == ["once"]


def test_a_key_costs_one_small_item_and_no_read(api: Gateway) -> None:
    with measured() as creation:
        run_id = post(api, "/runs", {"image": "i" * 64, "event_delivery": {"topic": "t"}}, "k").json["id"]
    assert (creation.calls, creation.write_units) == (["TransactWriteItems"], 8 + 2)
    body = {"type": "INFO", "msg": "m" * 200}
    with measured() as event:
        post(api, f"/runs/{run_id}/events", body, "k", Prefer="return=minimal")
    assert (event.calls, event.read_units, event.write_units) == (["Query", "TransactWriteItems"], 1, 4 + 2)

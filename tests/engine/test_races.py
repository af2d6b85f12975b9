"""Requests that race for one run, each in a thread of its own."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.gateway import Answer, Gateway


def at_once(*requests: Callable[[], Answer]) -> list[Answer]:
    with ThreadPoolExecutor(len(requests)) as threads:
        return [future.result() for future in [threads.submit(request) for request in requests]]


def statuses(answers: list[Answer]) -> Counter[int]:
    return Counter(answer.status for answer in answers)


def test_sixteen_writers_to_one_run_see_no_409_and_lose_nothing(api: Gateway) -> None:
    run_id = api.create()["id"]

    def write(writer: int) -> list[int]:
        return [api.event(run_id, "INFO", msg=f"{writer}.{n}", minimal=True).status for n in range(5)]

    with ThreadPoolExecutor(16) as threads:
        answers = [status for written in threads.map(write, range(16)) for status in written]
    assert answers == [200] * 80
    events = api.get(f"/runs/{run_id}/events").json["events"]
    assert [event["id"] for event in events] == list(range(80))
    assert [event["seq"] for event in events] == list(range(80))
    assert {event["msg"] for event in events} == {f"{writer}.{n}" for writer in range(16) for n in range(5)}


@pytest.mark.parametrize("race", range(10))
def test_of_sixteen_workers_exactly_one_starts_the_run(api: Gateway, race: int) -> None:
    run_id = api.create(image=f"race-{race}")["id"]
    answers = at_once(*[lambda worker=worker: api.start(run_id, f"worker-{worker}") for worker in range(16)])
    assert statuses(answers) == {200: 1, 400: 15}
    (winner,) = [number for number, answer in enumerate(answers) if answer.status == 200]
    run = api.get(f"/runs/{run_id}").json
    assert run["execution_summary"]["worker_id"] == f"worker-{winner}"
    assert [event["type"] for event in run["events"]] == ["STARTED"]


@pytest.mark.parametrize("race", range(10))
def test_cancel_and_complete_do_not_both_win(api: Gateway, race: int) -> None:
    run_id = api.create(image=f"race-{race}")["id"]
    api.start(run_id)
    cancelled, completed = at_once(
        lambda: api.post(f"/runs/{run_id}/cancel"),
        lambda: api.event(run_id, "COMPLETED", payload={"outputs": {"a": 1}}),
    )
    assert sorted([cancelled.status, completed.status]) == [200, 400]
    run = api.get(f"/runs/{run_id}").json
    assert run["state"] == ("CANCELLED" if cancelled.status == 200 else "COMPLETED")
    assert [event["type"] for event in run["events"]] == ["STARTED", run["state"]]
    assert run["outputs"] == ({} if cancelled.status == 200 else {"a": 1})


def test_of_racing_retries_one_opens_an_attempt(api: Gateway) -> None:
    run_id = api.create()["id"]
    api.post(f"/runs/{run_id}/cancel")
    answers = at_once(*[lambda: api.post(f"/runs/{run_id}/retry")] * 8)
    assert statuses(answers) == {200: 1, 400: 7}
    assert api.get(f"/runs/{run_id}").json["current_attempt"] == 2


@pytest.mark.parametrize("race", range(10))
def test_an_automatic_retry_and_a_cancel_leave_one_of_two_histories(api: Gateway, race: int) -> None:
    run_id = api.create(image=f"race-{race}", retry_policy={"max_attempts": 2})["id"]
    api.start(run_id)
    failed, cancelled = at_once(lambda: api.event(run_id, "FAILED"), lambda: api.post(f"/runs/{run_id}/cancel"))
    assert cancelled.status == 200
    types = [event["type"] for event in api.get(f"/runs/{run_id}/events", after_seq=-1).json["events"]]
    if failed.status == 200:
        assert types == ["STARTED", "FAILED", "RETRIED", "CANCELLED"]
    else:
        assert (failed.status, types) == (400, ["STARTED", "CANCELLED"])
    assert api.get(f"/runs/{run_id}").json["state"] == "CANCELLED"


def test_a_patch_among_events_loses_neither(api: Gateway) -> None:
    run_id = api.create()["id"]
    patches = [lambda n=n: api.patch(f"/runs/{run_id}", {"priority": n}) for n in range(4)]
    events = [lambda n=n: api.event(run_id, "INFO", msg=n) for n in range(8)]
    assert statuses(at_once(*patches, *events)) == {200: 12}
    run = api.get(f"/runs/{run_id}").json
    assert run["priority"] in range(4)
    assert run["event_count"] == 8

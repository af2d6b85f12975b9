"""Tests many simultaneous clients on the deployed stack."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.api import Answer, Api

pytestmark = pytest.mark.contention

CLIENTS = 16


def test_one_of_many_workers_starts_a_run(api: Api) -> None:
    run_id = api.new_run()

    def start(number: int) -> Answer:
        return api.event(run_id, "STARTED", payload={"worker_id": f"w-{number}"})

    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = list(pool.map(start, range(CLIENTS)))
    assert sorted(answer.status for answer in answers) == [200] + [400] * (CLIENTS - 1)
    [winner] = [number for number, answer in enumerate(answers) if answer.status == 200]
    assert api.get(f"/runs/{run_id}").body["execution_summary"]["worker_id"] == f"w-{winner}"


def test_writers_at_once_lose_nothing_and_see_no_conflict(api: Api) -> None:
    run_id = api.new_run()
    api.start(run_id)

    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = list(pool.map(lambda number: api.event(run_id, "INFO", msg=f"m-{number}"), range(CLIENTS)))
    assert [answer.status for answer in answers] == [200] * CLIENTS
    events = api.get(f"/runs/{run_id}/events?after=0").body["events"]
    assert [event["id"] for event in events] == list(range(1, CLIENTS + 1))
    assert {event["msg"] for event in events} == {f"m-{number}" for number in range(CLIENTS)}


def test_a_hundred_clients_at_once_are_all_served(api: Api) -> None:
    with ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(lambda _: api.post("/runs", {"image": "busybox:1"}), range(200)))
    assert [answer.status for answer in answers] == [201] * 200
    assert len({answer.body["id"] for answer in answers}) == 200

"""Tests requests between whose read and write another request writes: they decide again, or are refused."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.client import BaseClient

from gyoza_domain.bootstrap import clients
from gyoza_domain.runs import saving
from testing.gateway import Answer, Gateway
from tests.functions.expected import Body, a_row, assert_refused, summary

Request = Callable[[Gateway, str], Answer]
Interleaved = Callable[[Request, Request, str], Answer]


@pytest.fixture(params=[0.0, 1.0], ids=["short pause", "long pause"])
def interleaved(api: Gateway, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Interleaved]:
    """Sends the first request, and the whole second one between its read and its write. Returns the first answer.

    After a short pause the first request continues with the item that its failed write returned. After a long one it
    reads again.
    """
    monkeypatch.setattr(saving._system_random, "uniform", lambda _, longest: longest * request.param)
    monkeypatch.setattr(clients.SystemClock, "sleep", lambda *_: None)
    real = BaseClient._make_api_call  # type: ignore[attr-defined]
    pending: list[Callable[[], object]] = []

    def call(client: BaseClient, name: str, params: dict[str, Any]) -> Any:
        if name == "TransactWriteItems" and pending:
            pending.pop()()
        return real(client, name, params)

    monkeypatch.setattr(BaseClient, "_make_api_call", call)

    def send(first: Request, second: Request, run_id: str) -> Answer:
        meanwhile: list[Answer] = []
        pending.append(lambda: meanwhile.append(second(api, run_id)))
        answer = first(api, run_id)
        assert [other.status for other in meanwhile] == [200]
        return answer

    yield send
    assert pending == []


def event(type_: str, **fields: Any) -> Request:
    return lambda api, run_id: api.event(run_id, type_, **fields)


def patch(**fields: Any) -> Request:
    return lambda api, run_id: api.patch(f"/runs/{run_id}", fields)


def command(name: str) -> Request:
    return lambda api, run_id: api.post(f"/runs/{run_id}/{name}")


def started(worker_id: str) -> Request:
    return event("STARTED", payload={"worker_id": worker_id})


def running(api: Gateway, **fields: Any) -> str:
    run_id: str = api.create(**fields)["id"]
    api.start(run_id)
    return run_id


def after(api: Gateway, run_id: str, answer: Answer) -> Body:
    """Returns the run of the first answer, after a check that every later read shows the same."""
    assert answer.status == 200, answer.text
    run: Body = answer.json
    assert api.get(f"/runs/{run_id}").json == run
    assert api.get("/runs", **{"expand[]": "events"}).json["data"] == [a_row(run, with_events=True)]
    events = api.get(f"/runs/{run_id}/events", after_seq=-1).json["events"]
    assert [entry["seq"] for entry in events] == list(range(run["last_seq"] + 1))
    return run


def test_two_events_have_two_numbers(api: Gateway, interleaved: Interleaved) -> None:
    run_id = running(api)
    run = after(api, run_id, interleaved(event("INFO", msg="later"), event("INFO", msg="earlier"), run_id))
    assert [(entry["id"], entry["seq"], entry["msg"]) for entry in run["events"]] == [
        (0, 0, ""),
        (1, 1, "earlier"),
        (2, 2, "later"),
    ]


def test_one_of_two_workers_starts_the_run(api: Gateway, interleaved: Interleaved) -> None:
    run_id = api.create()["id"]
    answer = interleaved(started("slower"), started("faster"), run_id)
    assert_refused(answer, 400, "invalid_transition", "RUNNING")
    run = api.get(f"/runs/{run_id}").json
    assert (run["execution_summary"], run["event_count"]) == (summary(worker_id="faster"), 1)


def test_a_worker_that_started_the_run_meanwhile_is_known(api: Gateway, interleaved: Interleaved) -> None:
    run_id = api.create()["id"]
    run = after(api, run_id, interleaved(event("INFO"), started("worker-7"), run_id))
    assert (run["state"], run["execution_summary"]) == ("RUNNING", summary(worker_id="worker-7"))


def test_a_worker_that_took_over_meanwhile_is_known(api: Gateway, interleaved: Interleaved) -> None:
    run_id = api.create()["id"]
    api.event(run_id, "ASSIGNED", payload={"worker_id": "worker-1"})
    run = after(api, run_id, interleaved(event("INFO"), started("worker-2"), run_id))
    assert run["execution_summary"] == summary(worker_id="worker-2")


@pytest.mark.parametrize(
    ("ending", "outputs"),
    [
        (event("COMPLETED"), {"by": "hand"}),
        (event("COMPLETED", payload={"outputs": {"by": "worker"}}), {"by": "worker"}),
        (event("FAILED", payload={"error_message": "no"}), {"by": "hand"}),
        (event("CANCELLED"), {"by": "hand"}),
        (event("INFO"), {"by": "hand"}),
    ],
    ids=["completed", "completed with outputs", "failed", "cancelled", "info"],
)
@pytest.mark.parametrize("before", [None, {"by": "hand", "old": True}], ids=["none before", "some before"])
def test_outputs_patched_meanwhile_are_lost_to_nothing_but_newer_outputs(
    api: Gateway, interleaved: Interleaved, ending: Request, outputs: Body, before: Body | None
) -> None:
    run_id = running(api)
    if before is not None:
        api.patch(f"/runs/{run_id}", {"outputs": before})
    run = after(api, run_id, interleaved(ending, patch(outputs={"by": "hand"}), run_id))
    assert run["outputs"] == outputs
    (attempt,) = api.get(f"/runs/{run_id}/attempts").json
    assert attempt["outputs"] == outputs


def test_a_patch_is_laid_over_what_came_meanwhile(api: Gateway, interleaved: Interleaved) -> None:
    run_id = running(api)
    completion = event("COMPLETED", payload={"outputs": {"a": 1}})
    run = after(api, run_id, interleaved(patch(priority=9), completion, run_id))
    assert (run["priority"], run["state"], run["outputs"], run["progress"]) == (9, "COMPLETED", {"a": 1}, 100)


def test_an_event_without_a_token_joins_the_attempt_that_began_meanwhile(
    api: Gateway, interleaved: Interleaved
) -> None:
    run_id = running(api)
    run = after(api, run_id, interleaved(event("INFO", msg="hello"), command("retry"), run_id))
    assert [(entry["attempt"], entry["type"]) for entry in run["events"]] == [(2, "RETRIED"), (2, "INFO")]


@pytest.mark.parametrize("type_", ["INFO", "COMPLETED", "FAILED"])
def test_an_event_with_the_token_of_the_attempt_that_ended_meanwhile_is_stale(
    api: Gateway, interleaved: Interleaved, type_: str
) -> None:
    run_id = running(api)
    assert_refused(interleaved(event(type_, attempt=1), command("retry"), run_id), 409, "stale_attempt")
    assert api.get(f"/runs/{run_id}").json["event_count"] == 1


@pytest.mark.parametrize(
    ("first", "second", "state"),
    [
        (command("cancel"), event("COMPLETED"), "COMPLETED"),
        (event("COMPLETED"), command("cancel"), "CANCELLED"),
        (event("PROGRESS", msg=50), patch(state="PENDING"), "PENDING"),
        (command("retry"), command("retry"), "PENDING"),
        (command("cancel"), command("cancel"), "CANCELLED"),
    ],
    ids=["cancel a completed", "complete a cancelled", "progress of a reset", "retry twice", "cancel twice"],
)
def test_an_event_that_the_run_no_longer_allows_is_refused(
    api: Gateway, interleaved: Interleaved, first: Request, second: Request, state: str
) -> None:
    run_id = running(api)
    code = "invalid_transition" if state == "PENDING" else "run_locked"
    assert_refused(interleaved(first, second, run_id), 400, code, state)
    assert api.get(f"/runs/{run_id}").json["state"] == state


def test_two_failures_spend_two_attempts_of_the_budget(api: Gateway, interleaved: Interleaved) -> None:
    run_id = running(api, retry_policy={"max_attempts": 3})
    run = after(api, run_id, interleaved(event("FAILED"), event("FAILED"), run_id))
    assert (run["current_attempt"], run["state"]) == (3, "PENDING")
    attempts = api.get(f"/runs/{run_id}/attempts").json
    assert [attempt["state"] for attempt in attempts] == ["FAILED", "FAILED", "PENDING"]

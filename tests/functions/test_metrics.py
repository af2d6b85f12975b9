"""The metrics of runs: created, ended and claimed, each written once, where it happens."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from functions.wake_runs.app import lambda_handler as wake_runs
from testing.gateway import Gateway
from tests.functions.expected import StepClock
from tests.support.push import Context

Told = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Told:
    """A function that returns the metrics since its last call, without what the format adds."""
    monkeypatch.setenv("POWERTOOLS_METRICS_DISABLED", "false")

    def read() -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        return [{name: value for name, value in line.items() if name not in {"_aws", "service"}} for line in lines]

    return read


def ended(state: str, reason: str = "none") -> dict[str, Any]:
    return {"EndedRuns": 1, "state": state, "reason": reason}


CREATED = {"CreatedRuns": 1}


def test_a_metric_is_a_line_of_the_embedded_format(
    api: Gateway, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("POWERTOOLS_METRICS_DISABLED", "false")
    run_id = api.create()["id"]
    capsys.readouterr()
    api.event(run_id, "CANCELLED")
    [line] = capsys.readouterr().out.splitlines()
    metric = json.loads(line)
    assert metric["_aws"].pop("Timestamp") > 1_700_000_000_000
    assert metric == {
        "_aws": {
            "CloudWatchMetrics": [
                {
                    "Namespace": "gyoza",
                    "Dimensions": [["service", "state", "reason"]],
                    "Metrics": [{"Name": "EndedRuns", "Unit": "Count"}],
                }
            ]
        },
        "service": "gyoza",
        "state": "CANCELLED",
        "reason": "none",
        "EndedRuns": 1,
    }


def test_a_run_is_counted_when_it_is_created_and_when_it_ends(api: Gateway, told: Told) -> None:
    run_id = api.create()["id"]
    assert told() == [CREATED]
    api.start(run_id)
    api.event(run_id, "PROGRESS", msg=5)
    api.get(f"/runs/{run_id}")
    assert told() == []
    api.event(run_id, "COMPLETED")
    assert told() == [ended("COMPLETED")]
    api.event(run_id, "COMPLETED")
    api.patch(f"/runs/{run_id}", {"priority": 9})
    assert told() == []


def test_a_failure_ends_a_run_only_once_its_budget_is_spent(api: Gateway, told: Told) -> None:
    run_id = api.create(retry_policy={"max_attempts": 2})["id"]
    api.event(run_id, "FAILED")
    assert told() == [CREATED]
    api.event(run_id, "FAILED", payload={"reason": "interrupted"})
    assert told() == [ended("FAILED", "interrupted")]


@pytest.mark.parametrize("end", ["the route", "asking a run that waits", "a patch"])
def test_a_run_is_counted_whichever_route_ends_it(api: Gateway, told: Told, end: str) -> None:
    run_id = api.create()["id"]
    told()
    if end == "the route":
        api.post(f"/runs/{run_id}/cancel")
    elif end == "a patch":
        api.patch(f"/runs/{run_id}", {"state": "CANCELLED"})
    else:
        api.post(f"/runs/{run_id}/cancel", {"mode": "ask", "grace_s": 5})
    assert told() == [ended("CANCELLED")]


def test_a_run_that_time_ends_is_counted_with_its_reason(api: Gateway, clock: StepClock, told: Told) -> None:
    run_id = api.create()["id"]
    api.event(run_id, "STARTED", payload={"worker_id": "w", "lease_s": 15})
    told()
    clock.decisions = 60
    wake_runs({}, Context())
    lines = told()
    assert lines[0] == ended("FAILED", "lost")
    assert lines[1].keys() == {"OverdueSeconds", "LostRuns"}


def test_a_repeat_of_a_key_is_counted_once(api: Gateway, told: Told) -> None:
    for _ in range(2):
        api.call("POST", "/runs", {"image": "busybox:1"}, headers={"Idempotency-Key": "k"})
    assert told() == [CREATED]
    for _ in range(2):
        api.call("POST", "/runs/claim", {"worker_id": "w"}, headers={"Idempotency-Key": "k"})
    assert [line.keys() for line in told()] == [{"ClaimLatency"}]


def test_a_claim_tells_how_long_its_run_waited(api: Gateway, clock: StepClock, told: Told) -> None:
    api.create()
    told()
    clock.decisions = 40
    api.post("/runs/claim", {"worker_id": "w"})
    [line] = told()
    assert 40_000 <= line["ClaimLatency"] < 50_000
    api.post("/runs/claim", {"worker_id": "w"})
    assert told() == []


def test_a_line_that_cannot_be_written_does_not_undo_the_answer(
    api: Gateway, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_: str) -> int:
        raise BrokenPipeError

    monkeypatch.setenv("POWERTOOLS_METRICS_DISABLED", "false")
    monkeypatch.delenv("POWERTOOLS_SERVICE_NAME")
    created = api.call("POST", "/runs", {"image": "a"})
    assert created.status == 201
    assert json.loads(capsys.readouterr().out)["service"] == "service_undefined"
    monkeypatch.setattr("sys.stdout.write", refuse)
    assert api.call("POST", f"/runs/{created.json['id']}/cancel").status == 200

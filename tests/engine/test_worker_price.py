"""The price of a worker's requests, as docs/workers.md tells it: counted from calls and units, at list prices."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from benchmarks.price import SERVICES
from gyoza_domain.bootstrap.clients import SystemClock
from testing.capacity import Usage
from testing.cloudformation import ROOT
from testing.engine import counted
from testing.gateway import Gateway

LEASE_S, BEAT_S, RUN_S = 90, 30, 1_800
RUNS_A_DAY = 1_000
GOAL = 0.35
WORKER = "worker-" + "w" * 25
CREATION = {
    "image": "registry.example.com/team/segmentation-worker:2026.03.1",
    "inputs": {"video": "s3://bucket/" + "v" * 80, "threshold": 0.5},
}


class SteppedTime:
    """The clock of the handlers."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def pass_s(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> SteppedTime:
    time = SteppedTime()
    monkeypatch.setattr(SystemClock, "now", lambda _: time.now)
    return time


def post(api: Gateway, path: str, body: dict[str, Any], *, is_keyed: bool = True) -> tuple[Any, Usage]:
    headers = {"Idempotency-Key": str(uuid4())} if is_keyed else {}
    with counted() as usage:
        answer = api.call("POST", path, body, headers=headers)
    assert answer.status in (200, 201), answer.text
    return answer.json, usage


def costs_of_a_run(api: Gateway, time: SteppedTime) -> dict[str, list[Usage]]:
    """The costs of every request of a run of half an hour, by the names that docs/workers.md gives them."""
    _, created = post(api, "/runs", CREATION)
    run, claimed = post(api, "/runs/claim", {"worker_id": WORKER, "lease_s": LEASE_S, "capacity": {"vram_mb": 0}})
    path, attempt = f"/runs/{run['id']}", run["current_attempt"]
    time.pass_s(1)
    started = {"type": "STARTED", "attempt": attempt, "payload": {"worker_id": WORKER}}
    costs = {"create": [created], "claim": [claimed], "STARTED": [post(api, path + "/events", started)[1]], "beat": []}
    for _ in range(RUN_S // BEAT_S - 1):
        time.pass_s(BEAT_S)
        body = {"attempt": attempt, "worker_id": WORKER}
        costs["beat"].append(post(api, path + "/heartbeat", body, is_keyed=False)[1])
    time.pass_s(BEAT_S)
    completed = {"type": "COMPLETED", "attempt": attempt, "payload": {"outputs": {"masks": "s3://bucket/masks"}}}
    costs["COMPLETED"] = [post(api, path + "/events", completed)[1]]
    return costs


def row(name: str, costs: list[Usage]) -> str:
    write_units, read_units = sum(cost.write_units for cost in costs), sum(cost.read_units for cost in costs)
    return f"| {name} | {len(costs)} | {write_units} | {read_units:g} |"


def test_a_thousand_runs_of_half_an_hour_cost_what_the_document_says(api: Gateway, time: SteppedTime) -> None:
    costs = costs_of_a_run(api, time)
    every = [cost for each in costs.values() for cost in each]
    rows = [row(name, each) for name, each in costs.items()] + [row("all", every)]
    prices = SERVICES["REST API"] | SERVICES["Lambda"] | SERVICES["DynamoDB"]
    dollars = RUNS_A_DAY * (
        len(every) * (prices["rest_request"] + prices["lambda_request"])
        + sum(cost.write_units for cost in every) * prices["write_unit"]
        + sum(cost.read_units for cost in every) * prices["read_unit"]
    )
    print("\n".join(rows), f"\n{dollars:.3f} dollars for {RUNS_A_DAY} runs")
    assert {(cost.read_units, cost.write_units) for cost in costs["beat"]} == {(1, 1), (1, 3)}
    assert dollars <= GOAL
    document = (ROOT / "docs/workers.md").read_text()
    assert [each for each in [*rows, f"{dollars:.3f} dollars"] if each not in document] == []

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


def post(api: Gateway, path: str, body: dict[str, Any]) -> Any:
    answer = api.call("POST", path, body, headers={"Idempotency-Key": str(uuid4())})
    assert answer.status in (200, 201), answer.text
    return answer.json


def costs_of_a_run(api: Gateway, time: SteppedTime) -> dict[str, tuple[int, Usage]]:
    """The requests of a run of half an hour and their cost, by the names that docs/workers.md gives them."""
    with counted() as created:
        post(api, "/runs", CREATION)
    with counted() as claimed:
        run = post(api, "/runs/claim", {"worker_id": WORKER, "lease_s": LEASE_S, "capacity": {"vram_mb": 0}})
    path, attempt = f"/runs/{run['id']}", {"attempt": run["current_attempt"]}
    time.pass_s(1)
    with counted() as started:
        post(api, f"{path}/events", {"type": "STARTED", "payload": {"worker_id": WORKER}} | attempt)
    beats = RUN_S // BEAT_S - 1
    with counted() as beaten:
        for _ in range(beats):
            time.pass_s(BEAT_S)
            post(api, f"{path}/heartbeat", {"worker_id": WORKER} | attempt)
    time.pass_s(BEAT_S)
    with counted() as completed:
        post(api, f"{path}/events", {"type": "COMPLETED", "payload": {"outputs": {"masks": "s3://b/m"}}} | attempt)
    return {
        "create": (1, created),
        "claim": (1, claimed),
        "STARTED": (1, started),
        "beat": (beats, beaten),
        "COMPLETED": (1, completed),
    }


def test_a_thousand_runs_of_half_an_hour_cost_what_the_document_says(api: Gateway, time: SteppedTime) -> None:
    costs = costs_of_a_run(api, time)
    requests = sum(count for count, _ in costs.values())
    write_units = sum(usage.write_units for _, usage in costs.values())
    read_units = sum(usage.read_units for _, usage in costs.values())
    prices = SERVICES["REST API"] | SERVICES["Lambda"] | SERVICES["DynamoDB"]
    dollars = RUNS_A_DAY * (
        requests * (prices["rest_request"] + prices["lambda_request"])
        + write_units * prices["write_unit"]
        + read_units * prices["read_unit"]
    )
    told = [
        f"| {name} | {count} | {usage.write_units} | {usage.read_units:g} |" for name, (count, usage) in costs.items()
    ]
    told += [f"| all | {requests} | {write_units} | {read_units:g} |", f"{dollars:.3f} dollars in requests"]
    print("\n".join(told))
    assert dollars <= GOAL
    document = (ROOT / "docs/workers.md").read_text()
    assert [each for each in told if each not in document] == []

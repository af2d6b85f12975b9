"""Computes the price of a million events and of a million runs of ten events, from list prices.

Lambda's time is the CPU of a warm request here, on the share of a core that the memory buys, and assumed waits.
"""

import re
import tomllib
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from benchmarks.product import push_read_units
from benchmarks.systems import ROOT
from testing.capacity import Usage
from testing.cloudformation import load_template, resources_of_type
from testing.engine import counted, engine
from testing.gateway import Gateway

# From Lambda's and CloudWatch's documentation: memory that buys one core, and bytes added to a line of the log.
MEGABYTES_A_CORE, LOG_LINE_BYTES = 1769, 26
# Assumed: waits for a read, a transaction and a publish; and requests of one environment, for its start is paid too.
READ_WAIT_S, WRITE_WAIT_S, PUBLISH_WAIT_S, REQUESTS_A_COLD_START = 0.005, 0.010, 0.015, 1_000
# The lines START, END and REPORT, which Lambda writes for an invocation; and a value of the access log, by its mean.
FUNCTION_LOG_BYTES, ACCESS_VALUE_BYTES = 66 + 52 + 142 + 3 * LOG_LINE_BYTES, 13
EVENTS_A_RUN = 10
MILLION = 1_000_000

PRICES: dict[str, Any] = tomllib.loads((ROOT / "benchmarks" / "prices.toml").read_text())
SERVICES: dict[str, dict[str, float]] = {name: part for name, part in PRICES.items() if isinstance(part, dict)}
MEMORY_GB: float = load_template()["Globals"]["Function"]["MemorySize"] / 1024

Basket = Mapping[str, float]
"""The charged quantities, by the names of their prices."""

Cpu = Mapping[str, float]
"""The measured CPU seconds of the warm requests create_run and event_minimal, and of a cold start."""

Bill = dict[str, Any]
"""The dollars of a million, by service and in all, beside Step Functions' price of the fewest transitions for it."""


def measure_bills(cpu: Cpu) -> list[Bill]:
    with engine():
        return bills(cpu)


def bills(cpu: Cpu) -> list[Bill]:
    """Computes bills on the current table."""
    found = []
    push_reads = push_read_units(_posted("/runs", CREATION)[0])
    for key in ("without a key", "with a key"):
        event, run = _baskets(cpu, with_key=key == "with a key")
        for batch in (None, 10, 1):
            pushed = "not pushed" if batch is None else f"pushed, {batch} a batch"
            push = {} if batch is None else _push(push_reads, cpu, batch)
            found.append(bill(f"event, {key}, {pushed}", 1, added(event, push)))
            # A creation is pushed as well.
            whole = added(run, times(EVENTS_A_RUN + 1, push))
            found.append(bill(f"run of {EVENTS_A_RUN} events, {key}, {pushed}", EVENTS_A_RUN + 1, whole))
    return found


def bill(what: str, transitions: int, basket: Basket) -> Bill:
    dollars = {
        service: MILLION * sum(basket.get(name, 0.0) * price for name, price in prices.items())
        for service, prices in SERVICES.items()
    }
    total, step_functions = sum(dollars.values()), MILLION * transitions * PRICES["step_functions_transition"]
    totals = {"dollars": total, "Step Functions": step_functions, "times": step_functions / total}
    return {"a million": what, "of them": dollars} | totals


def added(*baskets: Basket) -> Basket:
    names = {name for basket in baskets for name in basket}
    return {name: sum(basket.get(name, 0.0) for basket in baskets) for name in names}


def times(count: int, basket: Basket) -> Basket:
    return {name: count * quantity for name, quantity in basket.items()}


def _posted(path: str, body: dict[str, Any], *, with_key: bool = False) -> tuple[str, Usage]:
    """Send a POST. Returns the run's id and the cost."""
    headers = {"Prefer": "return=minimal"} | ({"Idempotency-Key": str(uuid4())} if with_key else {})
    with counted() as cost:
        answer = Gateway().call("POST", path, body, headers=headers)
    assert answer.status in (200, 201), answer.text
    return answer.json["id"], cost


def _baskets(cpu: Cpu, *, with_key: bool) -> tuple[Basket, Basket]:
    """The cost of an INFO event, and of a run: its creation, STARTED, four PROGRESS and four INFO, and COMPLETED."""
    run_id, created = _posted("/runs", CREATION, with_key=with_key)
    costs = [_posted(f"/runs/{run_id}/events", body, with_key=with_key)[1] for body in EVENT_BODIES]
    started, progress, info, completed = (_request(cost, cpu["event_minimal"], cpu) for cost in costs)
    between = times((EVENTS_A_RUN - 2) // 2, added(progress, info))
    return info, added(_request(created, cpu["create_run"], cpu), started, between, completed)


CREATION: dict[str, Any] = {
    "image": "registry.example.com/team/segmentation-worker:2026.03.1",
    "inputs": {"video": "s3://bucket/" + "v" * 80, "threshold": 0.5},
    "event_delivery": {"topic": "progress"},
}
EVENT_BODIES: list[dict[str, Any]] = [
    {"type": "STARTED", "payload": {"worker_id": "w" * 32, "gpu_id": 0}},
    {"type": "PROGRESS", "msg": 40},
    {"type": "INFO", "msg": "frame 120 of 1500 segmented, 12 objects found", "payload": {"frame": 120}},
    {"type": "COMPLETED", "payload": {"outputs": {"masks": "s3://bucket/masks", "count": 12}}},
]


def _request(cost: Usage, cpu_s: float, cpu: Cpu) -> Basket:
    waits = sum(WRITE_WAIT_S if "Write" in call else READ_WAIT_S for call in cost.calls)
    return {
        "rest_request": 1,
        "read_unit": cost.read_units,
        "write_unit": cost.write_units,
        "lambda_request": 1,
        "lambda_gb_second": MEMORY_GB * (waits + _stretched(cpu_s + cpu["cold_start"] / REQUESTS_A_COLD_START)),
        "log_byte": access_log_bytes() + FUNCTION_LOG_BYTES,
    }


def _push(read_units: float, cpu: Cpu, batch: int) -> Basket:
    """The cost of pushing one event to one queue. A call to SNS is assumed to take the CPU of a call to DynamoDB."""
    return {
        "read_unit": read_units,
        "lambda_request": 1 / batch,
        "lambda_gb_second": MEMORY_GB * (_stretched(cpu["event_minimal"]) + READ_WAIT_S + PUBLISH_WAIT_S) / batch,
        "sns_publish": 1,
        # A receive and a delete.
        "sqs_request": 2 / batch,
        "log_byte": FUNCTION_LOG_BYTES / batch,
    }


def _stretched(cpu_s: float) -> float:
    """The seconds that the CPU time takes on the share of a core that the memory buys."""
    return cpu_s * max(1.0, MEGABYTES_A_CORE / (MEMORY_GB * 1024))


def access_log_bytes() -> int:
    """The length of a log line in template.yaml's format."""
    (api,) = resources_of_type(load_template(), "AWS::Serverless::Api").values()
    line = re.sub(r"\$context\.[\w.]+", "x" * ACCESS_VALUE_BYTES, api["AccessLogSetting"]["Fn::If"][1]["Format"])
    return len(line) + LOG_LINE_BYTES

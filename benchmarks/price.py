"""Price: what a million events and a million runs of ten events cost, by list prices.

Units are counted from what the handlers write on DynamoDB Local. Lambda's time is an assumption built on a
measurement: the CPU of a warm request here, stretched by the share of a core that the template's memory buys, and a
wait for each call.
"""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from benchmarks.engine import engine, new_table
from benchmarks.places import ROOT
from benchmarks.units import Cost, counted
from gyoza_domain.bootstrap import api, clients
from gyoza_domain.dynamodb.outbox import DynamoDBOutbox
from gyoza_domain.publishing.ports import EventRange
from tests.support.gateway import Gateway
from tests.template.cloudformation import access_log_setting, load_template

MEGABYTES_A_CORE = 1769
"""Memory for which Lambda gives one core (Lambda's documentation)."""

READ_WAIT_S, WRITE_WAIT_S, PUBLISH_WAIT_S = 0.005, 0.010, 0.015
"""Assumed: what a request waits for a read, a transaction and a publish to SNS."""

REQUESTS_A_COLD_START = 1_000
"""Assumed: requests that one environment answers; its start is paid too."""

LOG_EVENT_OVERHEAD_BYTES = 26
"""What CloudWatch Logs adds to each line (its documentation)."""

EVENTS_A_RUN = 10
MILLION = 1_000_000


@dataclass(frozen=True)
class Prices:
    listed: str
    write_unit: float
    read_unit: float
    lambda_request: float
    lambda_gb_second: float
    rest_request: float
    sns_publish: float
    sqs_request: float
    logs_gb: float
    step_functions_transition: float


@dataclass(frozen=True)
class Cpu:
    """CPU seconds measured here, warm; and of a cold start."""

    create_run: float
    add_event: float
    cold_start: float


@dataclass(frozen=True)
class Basket:
    """What one event, or one run, is charged for. Quantities, not dollars."""

    requests: int = 0
    read_units: float = 0.0
    write_units: float = 0.0
    invocations: float = 0.0
    billed_s: float = 0.0
    sns_publishes: float = 0.0
    sqs_requests: float = 0.0
    log_bytes: float = 0.0

    def __add__(self, other: "Basket") -> "Basket":
        return Basket(**{name: getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__})

    def times(self, count: int) -> "Basket":
        return Basket(**{name: getattr(self, name) * count for name in self.__dataclass_fields__})


@dataclass(frozen=True)
class Bill:
    """Dollars of a million, by service."""

    what: str
    transitions: int
    """Of Step Functions, that the same would take at least: one for a creation and one for each event."""
    dollars: Mapping[str, float] = field(default_factory=dict)

    @property
    def total(self) -> float:
        return sum(self.dollars.values())

    def against(self, prices: Prices) -> float:
        """How many times Step Functions' price."""
        return self.transitions * prices.step_functions_transition * MILLION / self.total


def list_prices() -> Prices:
    return Prices(**tomllib.loads((ROOT / "benchmarks" / "prices.toml").read_text()))


def memory_gb() -> float:
    megabytes: int = load_template()["Globals"]["Function"]["MemorySize"]
    return megabytes / 1024


def measure_bills(cpu: Cpu) -> list[Bill]:
    with engine() as client:
        new_table(client)
        return bills(cpu, list_prices())


def bills(cpu: Cpu, prices: Prices) -> list[Bill]:
    """On the table in use."""
    found = []
    push_reads = _push_reads()
    for with_key in (False, True):
        post = _posting(with_key=with_key)
        event, run = _baskets(post, cpu)
        key = "with a key" if with_key else "without a key"
        for batch in (None, 10, 1):
            pushed = "not pushed" if batch is None else f"pushed, {batch} a batch"
            push = Basket() if batch is None else _push_basket(push_reads, cpu, batch)
            found.append(bill(f"event, {key}, {pushed}", 1, event + push, prices))
            # A creation is pushed as well.
            whole = run + push.times(EVENTS_A_RUN + 1)
            found.append(bill(f"run of {EVENTS_A_RUN} events, {key}, {pushed}", EVENTS_A_RUN + 1, whole, prices))
    return found


def bill(what: str, transitions: int, basket: Basket, prices: Prices) -> Bill:
    per_million = {
        "REST API": basket.requests * prices.rest_request,
        "Lambda": basket.invocations * prices.lambda_request + basket.billed_s * memory_gb() * prices.lambda_gb_second,
        "DynamoDB": basket.write_units * prices.write_unit + basket.read_units * prices.read_unit,
        "SNS and SQS": basket.sns_publishes * prices.sns_publish + basket.sqs_requests * prices.sqs_request,
        "logs": basket.log_bytes / 1e9 * prices.logs_gb,
    }
    return Bill(what, transitions, {name: dollars * MILLION for name, dollars in per_million.items()})


Post = Callable[[str, dict[str, Any]], tuple[str, Cost]]
"""Sends a POST and tells the run's id and the cost."""


def _posting(*, with_key: bool) -> Post:
    def post(path: str, body: dict[str, Any]) -> tuple[str, Cost]:
        headers = {"Prefer": "return=minimal"}
        if with_key:
            headers["Idempotency-Key"] = str(uuid4())
        with counted() as cost:
            answer = Gateway().call("POST", path, body, headers=headers)
        assert answer.status in (200, 201), answer.text
        return answer.json["id"], cost

    return post


def _baskets(post: Post, cpu: Cpu) -> tuple[Basket, Basket]:
    """Of an INFO event, and of a run: its creation, STARTED, four PROGRESS and four INFO, and COMPLETED."""
    run_id, created = post("/runs", CREATION)
    costs = [post(f"/runs/{run_id}/events", body)[1] for body in (STARTED, PROGRESS, INFO, COMPLETED)]
    started, progress, info, completed = (_request(cost, cpu.add_event, cpu) for cost in costs)
    between = (progress + info).times((EVENTS_A_RUN - 2) // 2)
    return info, _request(created, cpu.create_run, cpu) + started + between + completed


CREATION: dict[str, Any] = {
    "image": "registry.example.com/team/segmentation-worker:2026.03.1",
    "inputs": {"video": "s3://bucket/" + "v" * 80, "threshold": 0.5},
    "event_delivery": {"topic": "progress"},
}
STARTED: dict[str, Any] = {"type": "STARTED", "payload": {"worker_id": "w" * 32, "gpu_id": 0}}
INFO: dict[str, Any] = {
    "type": "INFO",
    "msg": "frame 120 of 1500 segmented, 12 objects found",
    "payload": {"frame": 120},
}
PROGRESS: dict[str, Any] = {"type": "PROGRESS", "msg": 40}
COMPLETED: dict[str, Any] = {"type": "COMPLETED", "payload": {"outputs": {"masks": "s3://bucket/masks", "count": 12}}}


def _started() -> str:
    gateway = Gateway()
    run_id: str = gateway.create(**CREATION)["id"]
    gateway.start(run_id)
    return run_id


def _request(cost: Cost, cpu_s: float, cpu: Cpu) -> Basket:
    waits = sum(WRITE_WAIT_S if "Write" in call else READ_WAIT_S for call in cost.calls)
    return Basket(
        requests=1,
        read_units=cost.read_units,
        write_units=cost.write_units,
        invocations=1,
        billed_s=_stretched(cpu_s) + waits + _stretched(cpu.cold_start) / REQUESTS_A_COLD_START,
        log_bytes=access_log_bytes() + function_log_bytes(),
    )


def _push_reads() -> float:
    """Read units of an event that is pushed, of a run that the process has not met before."""
    run_id = _started()
    run = api.store().load(run_id).run
    with counted() as cost:
        DynamoDBOutbox(clients.dynamodb(), clients.table()).read([EventRange(run_id, run.created_at, 0, 0)])
    return cost.read_units


def _push_basket(reads: float, cpu: Cpu, batch: int) -> Basket:
    """One event to one queue, and out of it. The CPU of a call to SNS is taken to be that of a call to DynamoDB."""
    billed_s = _stretched(cpu.add_event) + READ_WAIT_S + PUBLISH_WAIT_S
    return Basket(
        read_units=reads,
        invocations=1 / batch,
        billed_s=billed_s / batch,
        sns_publishes=1,
        # A receive and a delete.
        sqs_requests=2 / batch,
        log_bytes=function_log_bytes() / batch,
    )


def _stretched(cpu_s: float) -> float:
    """The time that CPU takes on the share of a core that the memory buys."""
    return cpu_s * max(1.0, MEGABYTES_A_CORE / (memory_gb() * 1024))


def access_log_bytes() -> int:
    """The line of template.yaml's format with values of the usual length."""
    line: str = access_log_setting(load_template())["Format"]
    for variable, value in _ACCESS_VALUES.items():
        line = line.replace(f"$context.{variable}", value)
    assert "$context" not in line
    return len(line) + LOG_EVENT_OVERHEAD_BYTES


_ACCESS_VALUES = {
    "requestId": str(uuid4()),
    "requestTimeEpoch": "1772481609000",
    "httpMethod": "POST",
    "resourcePath": "/runs/{id}/events",
    "path": f"/live/runs/{uuid4()}/events",
    "status": "200",
    "responseLatency": "30",
    "integrationLatency": "25",
    "responseLength": "250",
    "identity.sourceIp": "203.0.113.24",
    "identity.apiKeyId": "q1w2e3r4t5",
    "error.responseType": "-",
}


def function_log_bytes() -> int:
    """The lines that Lambda itself writes for an invocation; the functions write none for a success."""
    request_id = str(uuid4())
    report = (
        f"REPORT RequestId: {request_id}\tDuration: 25.31 ms\tBilled Duration: 26 ms\t"
        "Memory Size: 1024 MB\tMax Memory Used: 92 MB\t\n"
    )
    lines = (
        f"START RequestId: {request_id} Version: 12\n",
        f"END RequestId: {request_id}\n",
        report,
    )
    return sum(len(line) + LOG_EVENT_OVERHEAD_BYTES for line in lines)

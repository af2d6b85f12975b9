"""The requests that are measured, the data they meet, and how each system's calls for them are recorded.

Every system gets the same requests: runs are made through its own handlers, then each scenario is called once while the
stub listens.
"""

import json
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import boto3
from botocore import xform_name

from benchmarks import systems
from benchmarks.peers.table import create_peer_table
from benchmarks.places import ROOT, WORK
from benchmarks.stub_endpoint import Stub, stub_endpoint
from benchmarks.systems import FLOOR, OURS, PEER_1, PEER_2, TABLE, Deployment, Worker
from benchmarks.trees import Trees
from tests.support.dynamodb_local import dynamodb_local
from tests.support.table import create_table

RUNS = 120
EVENTS = 10
LONG = 100
IMAGE = "registry.example.com/team/segmentation-worker:2026.03.1"
INPUTS = {"video": "s3://bucket/" + "v" * 80, "threshold": 0.5, "labels": ["person", "car", "bicycle"], "frames": 1500}
MESSAGE = "frame 120 of 1500 segmented, 12 objects found, 0 skipped"


@dataclass(frozen=True)
class Scenario:
    """One request. ``run`` says which of the runs made beforehand it is about."""

    name: str
    method: str
    resource: str
    function: str
    run: str | None = None
    body: Any = None
    query: Mapping[str, str] = field(default_factory=dict)
    minimal: bool = False

    @property
    def has_body(self) -> bool:
        return self.body is not None

    @property
    def title(self) -> str:
        query = "?" + "&".join(f"{name}={value}" for name, value in self.query.items()) if self.query else ""
        length = f", {LONG} events" if self.run == "long" else ""
        return f"{self.method} {self.resource}{query}" + (" minimal" if self.minimal else "") + length


_EVENT = {"type": "INFO", "msg": MESSAGE, "payload": {"frame": 120, "objects": 12}}

SCENARIOS = [
    Scenario("get_run", "GET", "/runs/{id}", "get_run", run="running"),
    Scenario("poll", "GET", "/runs/{id}/events", "list_events", run="running", query={"after": str(EVENTS - 3)}),
    Scenario("get_run_100", "GET", "/runs/{id}", "get_run", run="long"),
    Scenario("poll_100", "GET", "/runs/{id}/events", "list_events", run="long", query={"after": str(LONG - 3)}),
    Scenario("list_10", "GET", "/runs", "list_runs"),
    Scenario("list_100", "GET", "/runs", "list_runs", query={"limit": "100"}),
    Scenario("attempts", "GET", "/runs/{id}/attempts", "list_attempts", run="running"),
    Scenario("cancel", "POST", "/runs/{id}/cancel", "cancel_run", run="pending"),
    Scenario("retry", "POST", "/runs/{id}/retry", "retry_run", run="stuck"),
    Scenario("create_run", "POST", "/runs", "create_run", body={"image": IMAGE, "inputs": INPUTS, "priority": 7}),
    Scenario("event", "POST", "/runs/{id}/events", "add_event", run="running", body=_EVENT),
    Scenario("event_minimal", "POST", "/runs/{id}/events", "add_event", run="running", body=_EVENT, minimal=True),
    Scenario("event_minimal_100", "POST", "/runs/{id}/events", "add_event", run="long", body=_EVENT, minimal=True),
    Scenario("update_run", "PATCH", "/runs/{id}", "update_run", run="patched", body={"priority": 9}),
]


def gateway_event(
    method: str,
    resource: str,
    run_id: str | None = None,
    body: Any = None,
    query: Mapping[str, str] | None = None,
    *,
    minimal: bool = False,
) -> dict[str, Any]:
    """As API Gateway sends it: an event of `events/`, made another request."""
    event: dict[str, Any] = json.loads(_gateway_event_text())
    path = resource.replace("{id}", run_id or "")
    headers = {**event["headers"], **({"Prefer": "return=minimal"} if minimal else {})}
    if body is not None:
        headers["Content-Type"] = "application/json"
    context = {**event["requestContext"], "resourcePath": resource, "httpMethod": method, "path": f"/live{path}"}
    return {
        **event,
        "resource": resource,
        "path": path,
        "httpMethod": method,
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "queryStringParameters": dict(query) if query else None,
        "multiValueQueryStringParameters": {name: [value] for name, value in query.items()} if query else None,
        "pathParameters": None if run_id is None else {"id": run_id},
        "requestContext": context,
        "body": None if body is None else b64encode(json.dumps(body).encode()).decode(),
        "isBase64Encoded": body is not None,
    }


@cache
def _gateway_event_text() -> str:
    return (ROOT / "events" / "get_run.by_id.json").read_text()


@dataclass(frozen=True)
class Recorded:
    """A scenario as one system answers it."""

    scenario: Scenario
    deployed: Deployment
    without_bytecode: Deployment
    event: dict[str, Any]
    event_file: Path
    recording: str
    endpoint: str
    calls: int


@dataclass(frozen=True)
class Bench:
    """All scenarios of all systems, recorded, and the stub that replays them."""

    stub: Stub
    recorded: dict[tuple[str, str], Recorded]
    """By system and scenario."""

    def of(self, system: str, scenario: Scenario) -> Recorded:
        return self.recorded[system, scenario.name]


@contextmanager
def recorded_bench(trees: Trees, peers: tuple[str, ...] = (PEER_1, PEER_2)) -> Iterator[Bench]:
    recorded: dict[tuple[str, str], Recorded] = {}
    with ExitStack() as stack:
        # The engine is needed to record only; the stub stays.
        with dynamodb_local() as engine_url:
            stub = stack.enter_context(stub_endpoint(engine_url))
            for system in (OURS, *peers):
                _make_table(engine_url, system)
                runs = _make_runs(trees, system, engine_url)
                for scenario in SCENARIOS:
                    recorded[system, scenario.name] = _record(trees, system, scenario, runs, stub)
        for scenario in SCENARIOS:
            recorded[FLOOR, scenario.name] = _floor_of(trees, recorded[OURS, scenario.name], stub)
        yield Bench(stub, recorded)


def _make_table(engine_url: str, system: str) -> None:
    client = boto3.client(
        "dynamodb",
        endpoint_url=engine_url,
        region_name="us-east-1",
        aws_access_key_id="bench",
        aws_secret_access_key="bench",  # noqa: S106 - the engine takes any
    )
    if TABLE in client.list_tables()["TableNames"]:
        client.delete_table(TableName=TABLE)
    if system == OURS:
        create_table(client, TABLE)
    else:
        create_peer_table(client, TABLE)


def _make_runs(trees: Trees, system: str, engine_url: str) -> dict[str, str]:
    """Runs of every kind, all in the table; ids of those that scenarios name."""
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for function in ("create_run", "add_event"):
            deployed = systems.deployment(trees, system, function)
            workers[function] = stack.enter_context(systems.worker(deployed, engine_url))

        def create() -> str:
            body = {"image": IMAGE, "inputs": INPUTS, "retry_policy": {"max_attempts": 3}}
            run_id: str = workers["create_run"].invoke(gateway_event("POST", "/runs", body=body))["id"]
            return run_id

        def post(run_id: str, type_: str, **fields: Any) -> None:
            body = {"type": type_, **fields}
            event = gateway_event("POST", "/runs/{id}/events", run_id, body, minimal=True)
            workers["add_event"].invoke(event)

        return _play(create, post)


def _play(create: Callable[[], str], post: Callable[..., None]) -> dict[str, str]:
    named = {}
    for number in range(RUNS):
        run_id = create()
        if number % 3:
            post(run_id, "STARTED", payload={"worker_id": f"worker-{number}", "gpu_id": 0})
        if number % 3 == 2:
            post(run_id, "COMPLETED", payload={"outputs": {"masks": "s3://bucket/masks", "count": 12}})
        if number == RUNS - 1:
            named["patched"] = run_id
    named["pending"] = create()
    for name, events in (("stuck", 1), ("running", EVENTS), ("long", LONG)):
        named[name] = create()
        post(named[name], "STARTED", payload={"worker_id": "worker-1", "gpu_id": 0})
        for number in range(events - 1):
            post(named[name], "INFO", msg=MESSAGE, payload={"frame": number, "objects": 12})
    return named


def _record(trees: Trees, system: str, scenario: Scenario, runs: Mapping[str, str], stub: Stub) -> Recorded:
    run_id = None if scenario.run is None else runs[scenario.run]
    event = gateway_event(
        scenario.method, scenario.resource, run_id, scenario.body, scenario.query, minimal=scenario.minimal
    )
    name = f"{system}.{scenario.name}"
    event_file = WORK / "events" / f"{name}.json"
    event_file.parent.mkdir(parents=True, exist_ok=True)
    event_file.write_text(json.dumps(event))
    deployed = systems.deployment(trees, system, scenario.function)
    systems.cpu_of_one_invocation(deployed, stub.recording_url(name), event_file)
    return Recorded(
        scenario,
        deployed,
        systems.deployment(trees, system, scenario.function, bytecode=False),
        event,
        event_file,
        name,
        stub.replay_url(name),
        len(stub.calls(name)),
    )


def _floor_of(trees: Trees, ours: Recorded, stub: Stub) -> Recorded:
    """The same calls, from the same recording."""
    name = f"{OURS}.{ours.scenario.name}"
    calls = []
    for operation, parameters in stub.calls(name):
        # A token that the client makes anew for each transaction.
        parameters.pop("ClientRequestToken", None)
        calls.append([xform_name(operation), parameters])
    file = WORK / "events" / f"{FLOOR}.{ours.scenario.name}.calls.json"
    file.write_text(json.dumps(calls))
    deployed = systems.floor_deployment(trees, file)
    return replace(ours, deployed=deployed, without_bytecode=deployed)

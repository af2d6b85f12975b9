"""Defines the measured requests, on runs that each system creates itself, and records their calls."""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import boto3
from botocore import xform_name

from benchmarks.peers.storage import table_properties
from benchmarks.stub import Recording, Stub, stub_endpoint
from benchmarks.systems import FLOOR, OURS, ROOT, SYSTEMS, TABLE, WORK, cpu_of_one_invocation, environment, worker
from benchmarks.trees import Paths, search_path
from testing.dynamodb_local import dynamodb_local
from testing.gateway import proxy_event
from testing.table import create_table

RUNS, EVENTS, LONG = 120, 10, 100
IMAGE = "registry.example.com/team/segmentation-worker:2026.03.1"
INPUTS = {"video": "s3://bucket/" + "v" * 80, "threshold": 0.5, "labels": ["person", "car", "bicycle"], "frames": 1500}
OUTPUTS = {"masks": "s3://bucket/masks", "count": 12}
MESSAGE = "frame 120 of 1500 segmented, 12 objects found, 0 skipped"


Json = dict[str, Any]


@dataclass(frozen=True)
class Scenario:
    """One request. ``run`` names one of the prepared runs."""

    name: str
    method: str
    resource: str
    function: str
    run: str = ""
    body: Any = None
    query: Mapping[str, str] = field(default_factory=dict)
    minimal: bool = False

    @property
    def title(self) -> str:
        query = "?" + "&".join(f"{name}={value}" for name, value in self.query.items()) if self.query else ""
        length = f", {LONG} events" if self.run == "long" else ""
        return f"{self.method} {self.resource}{query}" + (" minimal" if self.minimal else "") + length


_GATEWAY_EVENT: Json = json.loads((ROOT / "events" / "get_run.by_id.json").read_text())
_EVENT = {"type": "INFO", "msg": MESSAGE, "payload": {"frame": 120, "objects": 12}}

SCENARIOS = [
    Scenario("get_run", "GET", "/runs/{id}", "get_run", run="running"),
    Scenario("poll", "GET", "/runs/{id}/events", "list_events", run="running", query={"after": str(EVENTS - 3)}),
    Scenario("get_run_100", "GET", "/runs/{id}", "get_run", run="long"),
    Scenario("poll_100", "GET", "/runs/{id}/events", "list_events", run="long", query={"after": str(LONG - 3)}),
    Scenario("list_10", "GET", "/runs", "list_runs"),
    Scenario("list_10_summary", "GET", "/runs", "list_runs", query={"limit": "10", "fields": "summary"}),
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


def gateway_event(method: str, path: str, body: Any = None, *, query: Any = None, minimal: bool = False) -> Json:
    """A request as API Gateway sends it, in an event of `events/`."""
    event = _GATEWAY_EVENT
    text = None if body is None else json.dumps(body).encode()
    headers = event["headers"] | ({"Prefer": "return=minimal"} if minimal else {})
    headers |= {} if body is None else {"Content-Type": "application/json"}
    request = proxy_event(method, path, text, query=query, headers=headers)
    context = {"resourcePath": request["resource"], "httpMethod": method, "path": f"/live{path}"}
    return event | request | {"requestContext": event["requestContext"] | context}


@dataclass(frozen=True)
class Recorded:
    """A scenario as one system answers it."""

    environments: Mapping[bool, dict[str, str]]
    """The keys tell whether packages have bytecode."""
    event: dict[str, Any]
    event_file: Path
    recording: Recording


Bench = dict[tuple[str, str], Recorded]
"""The recordings, by system and name of the scenario."""


@contextmanager
def recorded_bench(paths: Paths) -> Iterator[Bench]:
    """Record all scenarios of all systems; the endpoint replays them while the block runs."""
    bench: Bench = {}
    with ExitStack() as stack:
        # Only the recording needs the engine.
        with dynamodb_local() as engine_url:
            stub = stack.enter_context(stub_endpoint(engine_url))
            client = boto3.client("dynamodb", endpoint_url=engine_url)
            create_table(client, TABLE)
            for system in SYSTEMS[1:]:
                if system != OURS:
                    client.delete_table(TableName=TABLE)
                    client.create_table(TableName=TABLE, **table_properties())
                runs = _make_runs(paths, system, engine_url)
                for scenario in SCENARIOS:
                    bench[system, scenario.name] = _record(paths, system, scenario, runs, stub)
        for scenario in SCENARIOS:
            bench[FLOOR, scenario.name] = _floor_of(paths, bench[OURS, scenario.name])
        yield bench


def _make_runs(paths: Paths, system: str, engine_url: str) -> dict[str, str]:
    """Create runs of every kind. Returns the ids of those that scenarios name."""
    with ExitStack() as stack:
        found = [search_path(paths, system, function, bytecode=True) for function in ("create_run", "add_event")]
        creator, appender = (stack.enter_context(worker(environment(path, engine_url))) for path in found)

        def create() -> str:
            body = {"image": IMAGE, "inputs": INPUTS, "retry_policy": {"max_attempts": 3}}
            run_id: str = creator.invoke(gateway_event("POST", "/runs", body))["id"]
            return run_id

        def post(run_id: str, type_: str, **fields: Any) -> None:
            appender.invoke(gateway_event("POST", f"/runs/{run_id}/events", {"type": type_, **fields}, minimal=True))

        named = {}
        for number in range(RUNS):
            named["patched"] = run_id = create()
            if number % 3:
                post(run_id, "STARTED", payload={"worker_id": f"worker-{number}", "gpu_id": 0})
            if number % 3 == 2:
                post(run_id, "COMPLETED", payload={"outputs": OUTPUTS})
        named["pending"] = create()
        for name, events in (("stuck", 1), ("running", EVENTS), ("long", LONG)):
            named[name] = create()
            post(named[name], "STARTED", payload={"worker_id": "worker-1", "gpu_id": 0})
            for number in range(events - 1):
                post(named[name], "INFO", msg=MESSAGE, payload={"frame": number, "objects": 12})
        return named


def _record(paths: Paths, system: str, scenario: Scenario, runs: Mapping[str, str], stub: Stub) -> Recorded:
    path = scenario.resource.replace("{id}", runs.get(scenario.run, ""))
    event = gateway_event(scenario.method, path, scenario.body, query=scenario.query, minimal=scenario.minimal)
    name = f"{system}.{scenario.name}"
    event_file = WORK / f"{name}.json"
    event_file.write_text(json.dumps(event))
    compiled, bare = (search_path(paths, system, scenario.function, bytecode=b) for b in (True, False))
    cpu_of_one_invocation(environment(compiled, stub.url("record", name)), event_file)
    replayed = {has: environment(path, stub.url("replay", name)) for has, path in ((True, compiled), (False, bare))}
    return Recorded(replayed, event, event_file, stub.recordings[name])


def _floor_of(paths: Paths, ours: Recorded) -> Recorded:
    """The same calls from the same recording."""
    # The client makes a new token for each transaction.
    calls = [
        (xform_name(call.operation), {name: part for name, part in call.parameters.items() if "Token" not in name})
        for call in ours.recording.calls
    ]
    file = ours.event_file.with_suffix(".calls.json")
    file.write_text(json.dumps(calls))
    endpoint = ours.environments[True]["AWS_ENDPOINT_URL_DYNAMODB"]
    floor = environment(search_path(paths, FLOOR, "", bytecode=True), endpoint, FLOOR_CALLS=str(file))
    return replace(ours, environments={True: floor, False: floor})

"""Stores a run as one item with its events in a list. A write succeeds only on the version that was read."""

import json
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

import boto3
from boto3.dynamodb.conditions import Attr, Key
from botocore.exceptions import ClientError

from benchmarks.peers.models import AddEvent, CreateRun, EventType, RunRow, State, UpdateRun

table = boto3.resource("dynamodb").Table(os.environ["PEER_TABLE"])

BY_CREATED, KIND, MAX_TRIES = "by_created", "run", 50
NEWEST_EVENTS, NEWEST_EVENTS_OF_ATTEMPT = 100, 20

LIVE = frozenset({State.PENDING, State.ASSIGNED, State.RUNNING})

ALLOWED_IN: Mapping[EventType, frozenset[State]] = {
    **dict.fromkeys((EventType.INFO, EventType.ERROR, EventType.FAILED, EventType.CANCELLED), LIVE),
    **dict.fromkeys((EventType.PROGRESS, EventType.COMPLETED), frozenset({State.RUNNING})),
    EventType.ASSIGNED: frozenset({State.PENDING}),
    EventType.STARTED: frozenset({State.PENDING, State.ASSIGNED}),
    EventType.RETRIED: frozenset({State.ASSIGNED, State.RUNNING, State.FAILED, State.CANCELLED}),
}

RETRY = AddEvent(type=EventType.RETRIED, msg="Manual retry")
CANCEL = AddEvent(type=EventType.CANCELLED, msg="Cancelled by user")

Item = dict[str, Any]

_ROW_NAMES = {f"#{name}": name for name in RunRow.model_fields}


class Refused(Exception):
    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def table_properties() -> Item:
    """The table for CreateTable, with an index of all runs."""
    names = ("id", "kind", "created_key")
    schema = [{"AttributeName": "kind", "KeyType": "HASH"}, {"AttributeName": "created_key", "KeyType": "RANGE"}]
    index = {"IndexName": BY_CREATED, "KeySchema": schema, "Projection": {"ProjectionType": "ALL"}}
    return {
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in names],
        "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
        "GlobalSecondaryIndexes": [index],
    }


def create(body: CreateRun) -> Item:
    run_id, now = str(uuid4()), _now()
    run = {
        "id": run_id,
        "kind": KIND,
        "created_key": f"{now}#{run_id}",
        **body.model_dump(),
        "op_definition": None,
        "current_attempt": 1,
        "last_seq": -1,
        "attempts": [],
        **_new_attempt(),
        "created_at": now,
        "updated_at": now,
        "version": 1,
    }
    table.put_item(Item=_with_decimals(run), ConditionExpression=Attr("id").not_exists())
    return run


def get(run_id: str) -> Item:
    return _shown(_load(run_id))


def events_after(run_id: str, after: int) -> Item:
    run = _load(run_id)
    events = [event | {"state": run["state"]} for event in run["events"] if event["id"] > after]
    return {"events": events[:1000], "has_more": len(events) > 1000}


def attempts(run_id: str) -> list[Item]:
    run = _load(run_id)
    return [_attempt(run, part) for part in [*run["attempts"], _closed(run)]]


def page(limit: int) -> Item:
    """The newest runs, newest first."""
    request: Item = {
        "IndexName": BY_CREATED,
        "KeyConditionExpression": Key("kind").eq(KIND),
        "ScanIndexForward": False,
        "ProjectionExpression": ", ".join(_ROW_NAMES),
        "ExpressionAttributeNames": _ROW_NAMES,
        "Limit": limit + 1,
    }
    rows: list[Item] = []
    while True:
        answer = table.query(**request)
        rows += [_without_decimals(row) for row in answer["Items"]]
        if len(rows) > limit or "LastEvaluatedKey" not in answer:
            break
        request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]
    has_more, rows = len(rows) > limit, rows[:limit]
    return {"object": "list", "data": rows, "has_more": has_more, "next_cursor": rows[-1]["id"] if has_more else None}


def append_event(run_id: str, event: AddEvent) -> Item:
    return _shown(_modified(run_id, lambda run: _append(run, event)))


def update(run_id: str, edit: UpdateRun) -> Item:
    return _shown(_modified(run_id, lambda run: run.update(edit.model_dump(mode="json", exclude_none=True))))


def _modified(run_id: str, change: Callable[[Item], None]) -> Item:
    """Read, modify and write. Repeat at once if another request was faster."""
    for _ in range(MAX_TRIES):
        run = _load(run_id)
        version = run["version"]
        change(run)
        run["version"], run["updated_at"] = version + 1, _now()
        try:
            table.put_item(Item=_with_decimals(run), ConditionExpression=Attr("version").eq(version))
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise
        else:
            return run
    raise Refused(409, run_id)


def _append(run: Item, event: AddEvent) -> None:
    state, now = State(run["state"]), _now()
    if event.attempt is not None and event.attempt != run["current_attempt"]:
        raise Refused(409, run["id"])
    if state not in ALLOWED_IN[event.type]:
        raise Refused(400, f"{event.type} is not allowed in {state}")
    summary = run["execution_summary"]
    if event.type is EventType.RETRIED:
        _begin_attempt(run, now)
    elif event.type is EventType.PROGRESS:
        run["progress"] = int(event.msg)
    elif event.type in (EventType.ASSIGNED, EventType.STARTED):
        run["state"] = (State.ASSIGNED if event.type is EventType.ASSIGNED else State.RUNNING).value
        summary |= {name: event.payload[name] for name in ("worker_id", "gpu_id") if name in event.payload}
        if event.type is EventType.STARTED:
            run["started_at"] = now
    elif event.type in (EventType.COMPLETED, EventType.FAILED, EventType.CANCELLED):
        run["state"], run["finished_at"] = event.type.value, now
        if event.type is EventType.COMPLETED:
            run["outputs"], run["progress"] = event.payload.get("outputs", {}), 100
        summary["error_message"] = event.payload.get("error_message")
    run["last_seq"] += 1
    place = {"id": run["event_count"], "seq": run["last_seq"], "attempt": run["current_attempt"]}
    run["events"].append(place | {"type": event.type.value, "t": now, "msg": event.msg, "payload": event.payload})
    run["event_count"] += 1
    if event.type is EventType.FAILED and run["current_attempt"] < run["retry_policy"]["max_attempts"]:
        _append(run, AddEvent(type=EventType.RETRIED, msg="Automatic retry"))


def _begin_attempt(run: Item, now: str) -> None:
    closed = _closed(run)
    if State(closed["state"]) in LIVE:
        closed |= {"state": State.CANCELLED.value, "finished_at": now}
    run["attempts"].append(closed)
    times = {"started_at": None, "finished_at": None}
    run |= _new_attempt() | times | {"current_attempt": run["current_attempt"] + 1}


def _new_attempt() -> Item:
    parts: Item = {"outputs": {}, "execution_summary": {}, "events": []}
    return parts | {"state": State.PENDING.value, "progress": 0, "event_count": 0}


def _closed(run: Item) -> Item:
    """The current attempt in the form that the run keeps after its end."""
    names = ("state", "progress", "events", "outputs", "execution_summary", "started_at", "finished_at")
    return {"attempt": run["current_attempt"]} | {name: run.get(name) for name in names}


def _attempt(run: Item, part: Item) -> Item:
    events = [event | {"state": run["state"]} for event in part["events"][-NEWEST_EVENTS_OF_ATTEMPT:]]
    names = {"id": f"{run['id']}/{part['attempt']}", "op_run_id": run["id"], "event_count": len(part["events"])}
    return {**part, **names, "events": events, "inputs": run["inputs"], "constraints": run["constraints"]}


def _shown(run: Item) -> Item:
    return run | {"events": [event | {"state": run["state"]} for event in run["events"][-NEWEST_EVENTS:]]}


def _load(run_id: str) -> Item:
    item = table.get_item(Key={"id": run_id}, ConsistentRead=True).get("Item")
    if item is None:
        raise Refused(404, f"OpRun '{run_id}' not found")
    run: Item = _without_decimals(item)
    return run


def _with_decimals(value: Any) -> Any:
    """boto3's resource takes no floats."""
    return json.loads(json.dumps(value), parse_float=Decimal)


def _without_decimals(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_decimals(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_without_decimals(member) for member in value]
    if isinstance(value, Decimal):
        return int(value) if value % 1 == 0 else float(value)
    return value


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")

"""A run as one item with its events in a list: read, modified and written back on the version that was read."""

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
from benchmarks.peers.table import BY_CREATED, BY_STATE

table = boto3.resource("dynamodb").Table(os.environ["PEER_TABLE"])

KIND = "run"
MAX_TRIES = 50
NEWEST_EVENTS = 100
NEWEST_EVENTS_OF_ATTEMPT = 20

TERMINAL = frozenset({State.COMPLETED, State.FAILED, State.CANCELLED})
LIVE = frozenset({State.PENDING, State.ASSIGNED, State.RUNNING})

ALLOWED_IN: Mapping[EventType, frozenset[State]] = {
    EventType.ASSIGNED: frozenset({State.PENDING}),
    EventType.STARTED: frozenset({State.PENDING, State.ASSIGNED}),
    EventType.PROGRESS: frozenset({State.RUNNING}),
    EventType.INFO: LIVE,
    EventType.ERROR: LIVE,
    EventType.COMPLETED: frozenset({State.RUNNING}),
    EventType.FAILED: LIVE,
    EventType.CANCELLED: LIVE,
    EventType.RETRIED: frozenset({State.ASSIGNED, State.RUNNING, State.FAILED, State.CANCELLED}),
}

Item = dict[str, Any]

_ROW_NAMES = {f"#{name}": name for name in RunRow.model_fields}
_ROW = ", ".join(_ROW_NAMES)


class RunNotFound(Exception):
    pass


class NotAllowed(Exception):
    pass


class Conflict(Exception):
    pass


def create(body: CreateRun) -> Item:
    run_id, now = str(uuid4()), _now()
    run = {
        "id": run_id,
        "kind": KIND,
        "created_key": f"{now}#{run_id}",
        "state": State.PENDING.value,
        "priority": body.priority,
        "image": body.image,
        "inputs": body.inputs,
        "outputs": {},
        "progress": 0,
        "constraints": body.constraints.model_dump(),
        "retry_policy": body.retry_policy.model_dump(),
        "event_delivery": None if body.event_delivery is None else body.event_delivery.model_dump(),
        "op_definition": None,
        "current_attempt": 1,
        "event_count": 0,
        "last_seq": -1,
        "events": [],
        "attempts": [],
        "execution_summary": {},
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


def page(limit: int, starting_after: str | None = None, state: State | None = None, image: str | None = None) -> Item:
    """Newest first."""
    index, key = (BY_CREATED, Key("kind").eq(KIND)) if state is None else (BY_STATE, Key("state").eq(state.value))
    request: dict[str, Any] = {
        "IndexName": index,
        "KeyConditionExpression": key,
        "ScanIndexForward": False,
        "ProjectionExpression": _ROW,
        "ExpressionAttributeNames": _ROW_NAMES,
        "Limit": limit + 1,
    }
    if image is not None:
        request["FilterExpression"] = Attr("image").eq(image)
    if starting_after is not None:
        cursor = _load(starting_after)
        names = ("id", "created_key", "kind" if state is None else "state")
        request["ExclusiveStartKey"] = {name: cursor[name] for name in names}
    rows: list[Item] = []
    while True:
        answer = table.query(**request)
        rows += [_without_decimals(row) for row in answer["Items"]]
        if len(rows) > limit or "LastEvaluatedKey" not in answer:
            break
        request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]
    has_more = len(rows) > limit
    rows = rows[:limit]
    return {"object": "list", "data": rows, "has_more": has_more, "next_cursor": rows[-1]["id"] if has_more else None}


def append_event(run_id: str, event: AddEvent) -> Item:
    return _shown(_modified(run_id, lambda run: _append(run, event)))


def update(run_id: str, edit: UpdateRun) -> Item:
    def change(run: Item) -> None:
        run.update(edit.model_dump(mode="json", exclude_none=True))

    return _shown(_modified(run_id, change))


def _modified(run_id: str, change: Callable[[Item], None]) -> Item:
    """Read, modify and write; again at once when another request was faster."""
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
    raise Conflict(run_id)


def _append(run: Item, event: AddEvent) -> None:
    state, now = State(run["state"]), _now()
    if event.attempt is not None and event.attempt != run["current_attempt"]:
        raise Conflict(run["id"])
    if state not in ALLOWED_IN[event.type]:
        raise NotAllowed(f"{event.type} is not allowed in {state}")
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
    run["events"].append(
        {
            "id": run["event_count"],
            "seq": run["last_seq"],
            "attempt": run["current_attempt"],
            "type": event.type.value,
            "t": now,
            "msg": event.msg,
            "payload": event.payload,
        }
    )
    run["event_count"] += 1
    if event.type is EventType.FAILED and run["current_attempt"] < run["retry_policy"]["max_attempts"]:
        _append(run, AddEvent(type=EventType.RETRIED, msg="Automatic retry"))


def _begin_attempt(run: Item, now: str) -> None:
    closed = _closed(run)
    if State(closed["state"]) not in TERMINAL:
        closed |= {"state": State.CANCELLED.value, "finished_at": now}
    run["attempts"].append(closed)
    run |= {
        "state": State.PENDING.value,
        "progress": 0,
        "outputs": {},
        "execution_summary": {},
        "current_attempt": run["current_attempt"] + 1,
        "events": [],
        "event_count": 0,
        "started_at": None,
        "finished_at": None,
    }


def _closed(run: Item) -> Item:
    """What an attempt is to be remembered by."""
    return {
        "attempt": run["current_attempt"],
        "state": run["state"],
        "progress": run["progress"],
        "events": run["events"],
        "outputs": run["outputs"],
        "execution_summary": run["execution_summary"],
        "started_at": run.get("started_at"),
        "finished_at": run.get("finished_at"),
    }


def _attempt(run: Item, part: Item) -> Item:
    return {
        **part,
        "id": f"{run['id']}/{part['attempt']}",
        "op_run_id": run["id"],
        "events": [event | {"state": run["state"]} for event in part["events"][-NEWEST_EVENTS_OF_ATTEMPT:]],
        "event_count": len(part["events"]),
        "inputs": run["inputs"],
        "constraints": run["constraints"],
    }


def _shown(run: Item) -> Item:
    return run | {"events": [event | {"state": run["state"]} for event in run["events"][-NEWEST_EVENTS:]]}


def _load(run_id: str) -> Item:
    item = table.get_item(Key={"id": run_id}, ConsistentRead=True).get("Item")
    if item is None:
        raise RunNotFound(run_id)
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

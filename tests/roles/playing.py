"""Sends requests, batches and operators' tasks that lead each function through all its AWS calls."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import boto3

from functions.publish_events.app import lambda_handler as publish
from functions.redeliver_events.app import lambda_handler as redeliver
from functions.replay_parked_events.app import lambda_handler as replay
from functions.wake_runs.app import lambda_handler as wake
from gyoza_domain.bootstrap import api, waking
from gyoza_domain.domain.run import EventType, Terms
from gyoza_domain.dynamodb import keys
from testing.gateway import Answer
from testing.table import create_table
from testing.timed_runs import TestClock, TimedRuns
from tests.roles.recorder import Recorder, RecordingGateway
from tests.support.push import Context, client_error

KEY = {"Idempotency-Key": "a-key"}
LARGE = {"text": "x" * 20_000}
NO_RUN = "00000000-0000-4000-8000-000000000000"
TABLE_NAME = "RunTable"

EVENTS_SHOWN = 100
"""The number of events that a run shows (docs/openapi.yaml). Older events need another read."""


def play(gateway: RecordingGateway, recorder: Recorder) -> None:
    dynamodb: Any = boto3.client("dynamodb")
    parts = (_create, _define, _command, _work, _hold_leases, _claim, _read_timelines, _list, _push, _wake)
    for part in parts:
        # moto copies the whole table for every transaction, so a small table is quick.
        create_table(dynamodb, TABLE_NAME)
        part(gateway, recorder)
        dynamodb.delete_table(TableName=TABLE_NAME)


def _create(gateway: RecordingGateway, _recorder: Recorder) -> None:
    """Create runs: plain, replayed, with a key that was used for another body, and with large inputs."""
    gateway.create()
    gateway.create(inputs=LARGE)
    for status, replayed, body in [(201, None, {}), (201, "true", {}), (422, None, {"priority": 9})]:
        answer = gateway.call("POST", "/runs", {"image": "busybox:1"} | body, headers=KEY)
        assert (answer.status, answer.headers.get("Idempotent-Replayed")) == (status, replayed), answer.text
    minimal = gateway.call("POST", "/runs", {"image": "busybox:1"}, headers=KEY | {"Prefer": "return=minimal"})
    assert minimal.status == 201


def _define(gateway: RecordingGateway, recorder: Recorder) -> None:
    """Puts that are new, large, repeated and overtaken; reads and lists; runs, and repeats of them once it is gone."""
    large = {"a": {"type": "object", "default": LARGE}}
    bodies: list[dict[str, Any]] = [
        {"version": "1", "image": "i", "input_specs": large},
        {"version": "2", "image": "i"},
    ]
    for body in (*bodies, *bodies, bodies[0] | {"image": "j"}):
        _answered(gateway.put("/definitions/d", body))
        _answered(gateway.call("POST", "/definitions", body | {"name": "e"}))
        for _ in range(2):
            _answered(gateway.call("POST", "/definitions", body | {"name": "e"}, headers=KEY))
    overtaking = partial(gateway.put, "/definitions/d", {"version": "1", "image": "k"})
    recorder.meanwhile["TransactWriteItems"] = overtaking
    _answered(gateway.put("/definitions/d", {"version": "1", "image": "l"}))
    for versions in ({}, {"version": "1"}, {"version": "2"}):
        assert gateway.get("/definitions/d", **versions).status == 200
    for cursors in ({}, {"starting_after": "d"}, {"ending_before": "e"}):
        assert gateway.get("/definitions", limit=1, **cursors).status == 200
    assert gateway.get("/definitions/d/versions", limit=1).status == 200
    bodies = [{}, {"version": "2"}, {"inputs": {"a": LARGE}}]
    for body in bodies:
        _answered(gateway.call("POST", "/definitions/e/runs", body))
        for _ in range(2):
            _answered(gateway.call("POST", "/definitions/e/runs", body, headers=KEY))
    recorder.meanwhile["UpdateItem"] = overtaking
    assert gateway.call("DELETE", "/definitions/d").status == 204
    assert gateway.call("DELETE", "/definitions/e").status == 204
    repeat = gateway.call("POST", "/definitions/e/runs", {}, headers=KEY)
    assert (repeat.status, repeat.headers["Idempotent-Replayed"]) == (201, "true")
    assert not recorder.meanwhile


def _command(gateway: RecordingGateway, recorder: Recorder) -> None:
    """Send each command plain, minimal, with a key, repeated, repeated on a terminal run, overtaken, and refused."""
    commands: list[tuple[str, str, Any]] = [
        ("POST", "events", {"type": "INFO"}),
        ("POST", "cancel", None),
        ("POST", "retry", None),
        ("PATCH", "", {"outputs": LARGE, "priority": 7, "state": "RUNNING"}),
    ]
    for method, path, body in commands:
        for ends_as, headers in [("RUNNING", {}), ("COMPLETED", {"Prefer": "return=minimal"}), ("FAILED", KEY)]:
            run_id = _run_in(gateway, ends_as)
            url = f"/runs/{run_id}/{path}".rstrip("/")
            for _ in range(2):
                _answered(gateway.call(method, url, body, headers=headers))
            gateway.post(f"/runs/{run_id}/cancel")
            _answered(gateway.call(method, url, body, headers=headers))
            _answered(gateway.call(method, url, {"payload": {"other": True}}, headers=headers))
        run_id = _run_in(gateway, "FAILED" if path == "retry" else "RUNNING")
        recorder.meanwhile["TransactWriteItems"] = partial(gateway.patch, f"/runs/{run_id}", {"priority": 3})
        _answered(gateway.call(method, f"/runs/{run_id}/{path}".rstrip("/"), body, headers=KEY))
        assert not recorder.meanwhile
        assert gateway.call(method, f"/runs/{NO_RUN}/{path}".rstrip("/"), body).status == 404


def _work(gateway: RecordingGateway, _recorder: Recorder) -> None:
    """Post events of every type, through attempts with patched outputs."""
    run_id = gateway.create(inputs=LARGE, retry_policy={"max_attempts": 3})["id"]
    worker: list[tuple[str, dict[str, Any]]] = [
        ("ASSIGNED", {"payload": {"worker_id": "w"}}),
        ("STARTED", {"payload": {"worker_id": "w"}}),
        ("PROGRESS", {"msg": 50}),
        ("INFO", {}),
        ("ERROR", {}),
        ("FAILED", {"payload": {"error_message": "disk full"}}),
        ("STARTED", {"payload": {"worker_id": "w"}}),
    ]
    for type_, fields in worker:
        assert gateway.event(run_id, type_, **fields).status == 200
    assert gateway.patch(f"/runs/{run_id}", {"outputs": LARGE}).status == 200
    assert gateway.event(run_id, "FAILED", payload={"error_message": "disk full"}).status == 200
    assert gateway.start(run_id).status == 200
    assert gateway.patch(f"/runs/{run_id}", {"outputs": {"again": 1}}).status == 200
    assert gateway.event(run_id, "FAILED", payload={"error_message": "disk full"}).status == 200
    assert gateway.post(f"/runs/{run_id}/retry").status == 200
    assert gateway.start(run_id).status == 200
    assert gateway.event(run_id, "COMPLETED", payload={"outputs": LARGE}).status == 200


def _hold_leases(gateway: RecordingGateway, recorder: Recorder) -> None:
    """Leases that begin, are renewed and end in each way, and cancels that ask."""
    for method, path, body in (
        ("POST", "events", {"type": "COMPLETED", "attempt": 1}),
        ("POST", "events", {"type": "RETRIED", "attempt": 1, "payload": {"force": True}}),
        ("POST", "cancel", None),
        ("POST", "retry", None),
        ("PATCH", "", {"state": "FAILED"}),
    ):
        for headers in ({}, {"Prefer": "return=minimal"}):
            run_id = _leased(gateway)
            for _ in range(2):
                beat = gateway.post(f"/runs/{run_id}/heartbeat", {"attempt": 1, "worker_id": "w"})
                assert beat.status == 200, beat.text
            assert gateway.event(run_id, "PROGRESS", msg=5, attempt=1).status == 200
            assert gateway.post(f"/runs/{run_id}/cancel", {"mode": "ask", "grace_s": 30}).status == 200
            answer = gateway.call(method, f"/runs/{run_id}/{path}".rstrip("/"), body, headers=headers)
            assert answer.status == 200, answer.text
    run_id = _leased(gateway)
    recorder.meanwhile["UpdateItem"] = partial(gateway.post, f"/runs/{run_id}/retry")
    assert gateway.post(f"/runs/{run_id}/heartbeat", {"attempt": 1, "worker_id": "w"}).status == 409
    run_id = _leased(gateway)
    for _ in range(2):
        ask = {"mode": "ask", "grace_s": 30}
        assert gateway.call("POST", f"/runs/{run_id}/cancel", ask, headers=KEY).status == 200
    assert gateway.call("POST", f"/runs/{run_id}/events", {"type": "COMPLETED"}, headers=KEY).status == 400


def _claim(gateway: RecordingGateway, recorder: Recorder) -> None:
    """Claims with and without work and a key, repeated and overtaken, and one that wakes what is due in passing."""
    worker = {"worker_id": "w", "capacity": {"cpu": 4}}
    assert gateway.post("/runs/claim", worker).status == 204
    for headers in (KEY, {"Prefer": "return=minimal"}, {}):
        gateway.create(constraints={"cpu": 4, "vram_mb": 1})
        for _ in range(2):
            _answered(gateway.call("POST", "/runs/claim", worker, headers=headers))
    run_id = gateway.create()["id"]
    recorder.meanwhile["TransactWriteItems"] = partial(gateway.start, run_id)
    assert gateway.post("/runs/claim", worker).status == 204
    wake({}, Context())
    runs = TimedRuns(api.store(), TestClock(datetime.now(UTC) - timedelta(hours=1)))
    runs.started(lease_s=15, max_attempts=2)
    waking.passing_waker.cache_clear()
    claimed = gateway.post("/runs/claim", worker)
    assert (claimed.status, claimed.json["current_attempt"]) == (200, 2)


def _leased(gateway: RecordingGateway) -> str:
    run_id: str = gateway.create()["id"]
    payload = {"worker_id": "w", "lease_s": 60}
    assert gateway.event(run_id, "STARTED", payload=payload).status == 200
    return run_id


def _read_timelines(gateway: RecordingGateway, _recorder: Recorder) -> None:
    """Read short and long timelines, earlier attempts, and a result that is older than the events a run shows.

    The long attempt has so many events that the query of the whole run meets none of the attempt before it.
    """
    run_id = gateway.call("POST", "/runs", {"image": "busybox:1"}, headers=KEY).json["id"]
    assert gateway.start(run_id).status == 200
    assert gateway.event(run_id, "COMPLETED", payload={"outputs": {"m": 2}}).status == 200
    assert gateway.patch(f"/runs/{run_id}", {"state": "RUNNING"}).status == 200
    for _ in range(EVENTS_SHOWN + 1):
        assert gateway.event(run_id, "INFO", minimal=True).status == 200
    reopened = gateway.get(f"/runs/{run_id}")
    assert (reopened.status, reopened.json["outputs"]) == (200, {"m": 2})
    repeated = gateway.call("POST", "/runs", {"image": "busybox:1"}, headers=KEY)
    assert (repeated.status, repeated.json) == (201, reopened.json)
    assert gateway.get("/runs", **{"expand[]": "events"}).status == 200
    assert gateway.event(run_id, "COMPLETED", payload={"outputs": {}}).status == 200
    retried = _run_in(gateway, "FAILED")
    assert gateway.post(f"/runs/{retried}/retry").status == 200
    long_retried = _run_in(gateway, "FAILED")
    assert gateway.post(f"/runs/{long_retried}/retry").status == 200
    for _ in range(EVENTS_SHOWN + 5):
        assert gateway.event(long_retried, "INFO", minimal=True).status == 200
    for each in (run_id, retried, long_retried):
        assert gateway.get(f"/runs/{each}").status == 200
        for query in (
            {},
            {"after": 3},
            {"after": 999},
            {"after_seq": 1},
            {"after_seq": -1, "limit": 1},
            {"attempt": 1},
            {"attempt": 2},
        ):
            assert gateway.get(f"/runs/{each}/events", **query).status in (200, 400, 422)
        for query in ({}, {"limit": 1}, {"limit": 1, "after": 1}):
            assert gateway.get(f"/runs/{each}/attempts", **query).status in (200, 400, 422)


def _list(gateway: RecordingGateway, recorder: Recorder) -> None:
    """List runs by each filter, alone and together, in both directions, with rows that change between two reads."""
    filters: list[dict[str, Any]] = [
        {},
        {"state": "RUNNING"},
        {"image": "busybox:1"},
        {"op_definition": "resize"},
        {"created[gte]": 1},
        {"state": "COMPLETED", "image": "busybox:1"},
    ]
    for state in ("PENDING", "RUNNING", "COMPLETED"):
        gateway.create(inputs=LARGE)
        _run_in(gateway, state)
    for each in filters:
        for more in ({}, {"expand[]": "events"}, {"fields": "summary"}, {"limit": 1}):
            page = gateway.get("/runs", **(each | more))
            if page.status != 200:
                continue
            for row in page.json["data"][:2]:
                assert gateway.get("/runs", starting_after=row["id"], **each).status == 200
                assert gateway.get("/runs", ending_before=row["id"], **each).status == 200
    for more in ({}, {"expand[]": "events"}):
        run_id = gateway.create(inputs=LARGE)["id"]
        assert gateway.patch(f"/runs/{run_id}", {"outputs": LARGE}).status == 200
        assert gateway.start(run_id).status == 200
        recorder.meanwhile["BatchGetItem"] = partial(gateway.patch, f"/runs/{run_id}", {"outputs": LARGE})
        assert gateway.get("/runs", limit=100, **more).status == 200
    assert gateway.get("/runs", starting_after=NO_RUN).status in (400, 422)


def _push(gateway: RecordingGateway, recorder: Recorder) -> None:
    """Push to existing, missing and deleted topics, with refusals and with unreadable records and messages."""
    sns: Any = boto3.client("sns")
    for topic in ("orders", "orders.fifo"):
        run_id = gateway.create(event_delivery={"topic": topic}, inputs=LARGE)["id"]
        assert gateway.start(run_id).status == 200
        _invoke_publish(recorder, _record_of(run_id, "1"))
        run_id = gateway.create(event_delivery={"topic": topic})["id"]
        assert gateway.start(run_id).status == 200
        recorder.meanwhile["PublishBatch"] = _refused
        _invoke_publish(recorder, _record_of(run_id, "1"))
        assert not recorder.meanwhile
    _invoke_publish(
        recorder, {"eventName": "INSERT", "dynamodb": {"SequenceNumber": "9", "NewImage": {"sk": {"S": "?"}}}}
    )
    for topic in sns.list_topics()["Topics"]:
        sns.delete_topic(TopicArn=topic["TopicArn"])
    recorder.meanwhile["PublishBatch"] = _refused
    kept = recorder.during("replay_parked_events", lambda: replay({}, Context()))
    assert kept["kept"] > 0, kept
    recorder.during("replay_parked_events", lambda: replay({}, Context()))
    assert len(sns.list_topics()["Topics"]) == 2
    for topic in sns.list_topics()["Topics"]:
        sns.delete_topic(TopicArn=topic["TopicArn"])
    answer = recorder.during("redeliver_events", lambda: redeliver({"run_id": run_id, "from_seq": -1}, Context()))
    assert answer["published"] > 0, answer


def _wake(_gateway: RecordingGateway, recorder: Recorder) -> None:
    """Every deed of a sweep, and a second sweep after a standstill."""
    clock = TestClock(datetime.now(UTC) - timedelta(hours=1))
    runs = TimedRuns(api.store(), clock)
    runs.started(lease_s=15, max_attempts=2)
    patched = runs.started(lease_s=15, max_attempts=2)
    runs.patch(patched, '{"m":1}')
    runs.patch(runs.started(lease_s=15), '{"m":2}')
    runs.started(terms=Terms(attempt_timeout_s=10))
    runs.create(Terms(queue_ttl_s=10))
    runs.create(Terms(start_at=clock.now() + timedelta(minutes=30)))
    runs.post(runs.started(terms=Terms(retain_s=1)), EventType.COMPLETED)
    unreadable = runs.create(Terms(queue_ttl_s=10))
    _put_into_head(unreadable, "schema", {"N": "999"})
    renewed = runs.started(lease_s=15)
    runs.clock.at = datetime.now(UTC)
    runs.beat(renewed, 1)
    _put_into_head(renewed, "due_at", {"S": "2026-01-01T00:00:00.000000Z"}, sk=keys.BEAT)
    answer = recorder.during("wake_runs", lambda: wake({}, Context()))
    assert answer["woken"] == {
        "lost": 3,
        "timed_out": 1,
        "expired": 1,
        "indexed": 1,
        "removed": 1,
        "unwakeable": 1,
        "nothing": 1,
    }
    assert answer["deleted_items"] == 4
    clock.at = datetime.now(UTC) - timedelta(minutes=5)
    runs.started(lease_s=15)
    _put_into_note("last_at", {"N": str(int((datetime.now(UTC) - timedelta(minutes=10)).timestamp() * 1_000_000))})
    answer = recorder.during("wake_runs", lambda: wake({}, Context()))
    assert answer["woken"] == {"spared": 1}


def _put_into_head(run_id: str, name: str, value: dict[str, str], *, sk: str = keys.HEAD) -> None:
    _put_into({"pk": {"S": keys.run_pk(run_id)}, "sk": {"S": sk}}, name, value, due="due_at")


def _put_into_note(name: str, value: dict[str, str]) -> None:
    _put_into({"pk": {"S": keys.TIMER}, "sk": {"S": keys.SWEEP}}, name, value, due="last_at")


def _put_into(key: dict[str, Any], name: str, value: dict[str, str], *, due: str) -> None:
    dynamodb: Any = boto3.client("dynamodb")
    dynamodb.update_item(
        TableName=TABLE_NAME,
        Key=key,
        UpdateExpression="SET #name = :value",
        ConditionExpression=f"attribute_exists({due})",
        ExpressionAttributeNames={"#name": name},
        ExpressionAttributeValues={":value": value},
    )


def _run_in(gateway: RecordingGateway, state: str) -> str:
    run_id: str = gateway.create(retry_policy={"max_attempts": 1})["id"]
    if state == "PENDING":
        return run_id
    assert gateway.start(run_id).status == 200
    match state:
        case "COMPLETED":
            assert gateway.event(run_id, "COMPLETED", payload={"outputs": {"m": 2}}).status == 200
        case "FAILED":
            assert gateway.event(run_id, "FAILED", payload={"error_message": "disk full"}).status == 200
        case "CANCELLED":
            assert gateway.post(f"/runs/{run_id}/cancel").status == 200
    assert gateway.get(f"/runs/{run_id}").json["state"] == state
    return run_id


def _answered(answer: Answer) -> None:
    assert answer.status < 500, answer.text


def _refused() -> None:
    raise client_error("AuthorizationError", 403)


def _invoke_publish(recorder: Recorder, record: Mapping[str, Any]) -> None:
    answer = recorder.during("publish_events", lambda: publish({"Records": [record]}, Context()))
    assert answer == {"batchItemFailures": []}


def _record_of(run_id: str, number: str) -> Mapping[str, Any]:
    """A stream record of the run's current HEAD."""
    dynamodb: Any = boto3.client("dynamodb")
    items = dynamodb.scan(
        TableName=TABLE_NAME, FilterExpression="contains(pk, :id)", ExpressionAttributeValues={":id": {"S": run_id}}
    )
    [head] = [item for item in items["Items"] if item["sk"]["S"] == keys.HEAD]
    change = {"Keys": {"pk": head["pk"], "sk": head["sk"]}, "NewImage": head, "SequenceNumber": number}
    record: Mapping[str, Any] = json.loads(json.dumps({"eventName": "INSERT", "dynamodb": change}, default=str))
    return record

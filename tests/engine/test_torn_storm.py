"""Calls every route at once, with writers, on a table that shows transactions item by item. No answer may be wrong.

Each answer is checked by itself (a completed run shows its outputs, a timeline has no gap), against earlier answers,
and at the end against the history of all requests. No request ends in a 5xx but 503, and few end in that.
"""

import json
import os
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import pairwise
from random import Random
from typing import Any, cast
from uuid import uuid4

import boto3
import pytest

from functions.publish_events.app import lambda_handler as publish
from functions.redeliver_events.app import lambda_handler as redeliver
from gyoza_domain.bootstrap import push as push_parts
from gyoza_domain.messaging.sns import SnsTopics
from gyoza_domain.messaging.sqs import SqsParkedQueue
from gyoza_domain.publishing.redelivery import Redelivery
from testing.cloudformation import load_template, resources_of_type
from testing.gateway import Answer, Gateway, Query
from testing.table import create_table, forget_clients
from tests.support.history import REPLAYED, TERMINAL, Recorder
from tests.support.push import ARN_PREFIX, QUEUE_URL, Context, Json, SimulatedSns, SimulatedSqs, aged, matching
from tests.support.torn import MAX_DELAY_S, TornTable, TransactGet, at_random, torn

WRITERS = 6
RUNS_A_WRITER = 25
READERS = 4
IMAGES = ("busybox:1", "alpine:3", "debian:12")
TOPIC = "orders.fifo"
NEWEST = 8
"""The number of newest runs that requests choose from. Writers work on these."""
SETTLED_S = 3.0
"""The age of a run in seconds after which every index lists it."""


class Lambdas(Gateway):
    """Calls the handlers and counts the statuses by route. A function that dies answers 502, as from API Gateway."""

    def __init__(self) -> None:
        self.statuses: Counter[tuple[str, int]] = Counter()
        self.died: list[str] = []
        self._lock = threading.Lock()

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Query | None = None,
        headers: Mapping[str, str] | None = None,
        base_path: str = "",
    ) -> Answer:
        try:
            answer = super().call(method, path, body, query=query, headers=headers, base_path=base_path)
        except Exception as error:  # noqa: BLE001 - Lambda too catches every error of a function
            answer = Answer(502, {}, json.dumps({"detail": repr(error), "code": "died"}))
            self.died.append(f"{method} {path} {dict(query or {})}: {error!r}")
        parts = path.split("/")
        route = "/".join(["", "runs", *(["{id}"] if len(parts) > 2 else []), *parts[3:]])
        with self._lock:
            self.statuses[f"{method} {route}", answer.status] += 1
        return answer


@dataclass
class Shown:
    """The part of a run that answers have shown so far."""

    created_s: float
    attempt: int = 1
    last_seq: int = -1
    events: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    outputs: dict[int, Any] = field(default_factory=dict)
    """The outputs of each attempt that has any."""


@dataclass(frozen=True)
class Floor:
    """The part of a run that answers showed before a request began. Its answer must show it too."""

    attempt: int = 1
    last_seq: int = -1
    outputs: Mapping[int, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"event {self.last_seq} of attempt {self.attempt}"

    def is_above(self, attempt: int, last_seq: int) -> bool:
        return (attempt, last_seq) < (self.attempt, self.last_seq)


class World:
    """The runs and the wrong answers about them. Any number of threads may use it."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.checked: Counter[str] = Counter()
        self._shown: dict[str, Shown] = {}
        self._order: list[str] = []
        self._created_at: dict[str, str] = {}
        self._lock = threading.Lock()

    def add(self, run_id: str, created_at: str) -> None:
        with self._lock:
            self._shown.setdefault(run_id, Shown(time.monotonic()))
            self._order.append(run_id)
            self._created_at[run_id] = created_at

    @property
    def run_ids(self) -> list[str]:
        with self._lock:
            return list(self._order)

    def settled(self) -> list[str]:
        """The runs that every list must show, oldest first."""
        now_s = time.monotonic()
        with self._lock:
            settled = [each for each in self._order if now_s - self._shown[each].created_s > SETTLED_S]
            return sorted(settled, key=self._created_at.__getitem__)

    def some_run(self, rng: Random) -> str | None:
        with self._lock:
            return rng.choice(self._order[-NEWEST:]) if self._order else None

    def floor(self, run_id: str) -> Floor:
        with self._lock:
            shown = self._shown[run_id]
            return Floor(shown.attempt, shown.last_seq, dict(shown.outputs))

    def wrong(self, what: str) -> None:
        with self._lock:
            self.problems.append(what)

    def learn(
        self,
        what: str,
        run_id: str,
        *,
        attempt: int,
        last_seq: int,
        events: Sequence[Json] = (),
        outputs: Mapping[int, Any] | None = None,
        floor: Floor = Floor(),
    ) -> None:
        """Record the contents of an answer. They must not contradict an earlier answer."""
        with self._lock:
            shown = self._shown.setdefault(run_id, Shown(time.monotonic()))
            shown.attempt, shown.last_seq = max(shown.attempt, attempt), max(shown.last_seq, last_seq)
            for event in events:
                content = tuple(json.dumps(event[name]) for name in ("id", "attempt", "type", "t", "msg", "payload"))
                known = shown.events.setdefault(event["seq"], content)
                if known != content:
                    self.problems.append(f"{what}: event {event['seq']} is {content}, it was {known}")
            for number, value in (outputs or {}).items():
                if floor.outputs.get(number) and not value:
                    self.problems.append(f"{what}: attempt {number} lost its outputs {floor.outputs[number]}")
                if value:
                    shown.outputs[number] = value

    # -- the answers

    def check_run(self, what: str, run: Json, floor: Floor, *, has_events: bool = True) -> None:
        self.checked[what] += 1
        where = f"{what} {run['id']}"
        if floor.is_above(run["current_attempt"], run["last_seq"]):
            self.wrong(f"{where}: ends at {run['last_seq']} of {run['current_attempt']}, {floor} had been shown")
        for problem in _problems_of_attempt(run, run["event_count"], run["last_seq"], has_events=has_events):
            self.wrong(f"{where}: {problem}")
        number = run["current_attempt"]
        self.learn(
            where,
            run["id"],
            attempt=number,
            last_seq=run["last_seq"],
            events=run["events"] if has_events else (),
            outputs={number: run["outputs"]},
            floor=floor,
        )

    def check_attempts(self, run_id: str, attempts: Sequence[Json], floor: Floor) -> None:
        self.checked["attempts"] += 1
        where = f"attempts of {run_id}"
        if [each["attempt"] for each in attempts] != list(range(1, len(attempts) + 1)) or len(attempts) < floor.attempt:
            self.wrong(f"{where}: {[each['attempt'] for each in attempts]} after {floor}")
        first_seq = 0
        for each in attempts:
            last_seq = first_seq + each["event_count"] - 1
            for problem in _problems_of_attempt(each, each["event_count"], last_seq, has_events=True, newest=20):
                self.wrong(f"{where}, {each['attempt']}: {problem}")
            if each is not attempts[-1] and each["state"] not in TERMINAL:
                self.wrong(f"{where}: {each['attempt']} is over and {each['state']}")
            self.learn(where, run_id, attempt=len(attempts), last_seq=last_seq, events=each["events"])
            first_seq = last_seq + 1
        if first_seq - 1 < floor.last_seq:
            self.wrong(f"{where}: end at {first_seq - 1}, {floor} had been shown")
        self.learn(
            where,
            run_id,
            attempt=len(attempts),
            last_seq=first_seq - 1,
            outputs={each["attempt"]: each["outputs"] for each in attempts},
            floor=floor,
        )

    def check_events(self, run_id: str, query: Query, page: Json, floor: Floor) -> None:
        """Check a page. Its first event must follow the one that the query names."""
        self.checked["events"] += 1
        events = page["events"]
        where = f"events of {run_id} {dict(query)}"
        counter = "seq" if "after_seq" in query else "id"
        after = int(str(query.get("after_seq", query.get("after", -1))))
        numbers = [event[counter] for event in events]
        if numbers != list(range(after + 1, after + 1 + len(events))):
            self.wrong(f"{where}: {counter}s {numbers}")
        if len({event["state"] for event in events}) > 1:
            self.wrong(f"{where}: more than one state")
        last_seq = events[-1]["seq"] if events else -1
        attempt = events[-1]["attempt"] if events else 1
        must_reach_floor = ("after_seq" in query and after < floor.last_seq) or (
            bool(events) and attempt == floor.attempt
        )
        if not page["has_more"] and "attempt" not in query and must_reach_floor and last_seq < floor.last_seq:
            self.wrong(f"{where}: ends at {last_seq}, {floor} had been shown")
        if "last_seq" in page and page["last_seq"] < max(floor.last_seq, last_seq):
            self.wrong(f"{where}: last_seq {page['last_seq']} after {floor}, with event {last_seq}")
        self.learn(where, run_id, attempt=attempt, last_seq=last_seq, events=events)

    def check_list(self, query: Query, page: Json) -> None:
        self.checked["list"] += 1
        rows = page["data"]
        ids = [row["id"] for row in rows]
        where = f"list {dict(query)}"
        if len(set(ids)) < len(ids) or len(rows) > int(str(query.get("limit", 10))):
            self.wrong(f"{where}: {len(rows)} rows, {len(set(ids))} runs")
        if any(later["created_at"] > earlier["created_at"] for earlier, later in pairwise(rows)):
            self.wrong(f"{where}: not newest first")
        for row in rows:
            if "state" in query and row["state"] != query["state"]:
                self.wrong(f"{where}: shows {row['id']}, which is {row['state']}")
            if "image" in query and row["image"] != query["image"]:
                self.wrong(f"{where}: shows {row['id']} of {row['image']}")
            # A list may trail the run, but each of its rows shows one version.
            self.check_run("row", row, Floor(), has_events="events" in row)


def _problems_of_attempt(
    shown: Json, event_count: int, last_seq: int, *, has_events: bool, newest: int = 100
) -> Iterator[str]:
    """The contradictions in a run or an attempt. No request here edits a state."""
    state, outputs, summary = shown["state"], shown["outputs"], shown["execution_summary"]
    fits = {
        "PENDING": summary["worker_id"] is None,
        "ASSIGNED": summary["worker_id"] is not None,
        "RUNNING": summary["worker_id"] is not None,
        "COMPLETED": bool(outputs) and shown["progress"] == 100 and summary["duration_ms"] is not None,
        "FAILED": summary["error_message"] is not None,
        "CANCELLED": True,
    }
    if not fits[state] or (outputs and state != "COMPLETED" and "edit" not in outputs):
        yield f"{state} with {outputs}, {shown['progress']} %, {summary}"
    if has_events:
        yield from _problems_of_timeline(shown, event_count, last_seq, newest)


def _problems_of_timeline(shown: Json, event_count: int, last_seq: int, newest: int) -> Iterator[str]:
    events = shown["events"]
    if [event["id"] for event in events] != list(range(max(0, event_count - newest), event_count)):
        yield f"ids {[event['id'] for event in events]} of {event_count} events"
    if [event["seq"] for event in events] != list(range(last_seq - len(events) + 1, last_seq + 1)):
        yield f"seqs {[event['seq'] for event in events]}, the last is {last_seq}"
    if event_count > newest:
        return
    state, worker = "PENDING", None
    for event in events:
        type_ = event["type"]
        if type_ in ("ASSIGNED", "STARTED"):
            state, worker = {"ASSIGNED": "ASSIGNED", "STARTED": "RUNNING"}[type_], event["payload"]["worker_id"]
        elif type_ in TERMINAL:
            state = type_
    # A retry leaves the earlier attempt CANCELLED, without an event in it.
    is_left = state not in TERMINAL and shown["state"] == "CANCELLED"
    if worker != shown["execution_summary"]["worker_id"] or (state != shown["state"] and not is_left):
        yield f"{shown['state']} of {shown['execution_summary']}, its events tell {state} of {worker}"


# -- writers


@dataclass
class Writer:
    """Plays runs from creation to end, one after the other, with requests to other runs in between."""

    api: Lambdas
    client: Recorder
    world: World
    rng: Random

    def play(self, runs: int) -> None:
        for _ in range(runs):
            self._live(self._created())

    def _created(self) -> str:
        body: Json = {"image": self.rng.choice(IMAGES), "retry_policy": {"max_attempts": 3}, "inputs": {"n": 1}}
        if self.rng.random() < 0.5:
            body["event_delivery"] = {"topic": TOPIC}
        key = uuid4().hex if self.rng.random() < 0.5 else None
        answer = self.client.send("POST", "/runs", body, key=key)
        assert answer.status == 201, answer.text
        run_id: str = answer.json["id"]
        self.world.add(run_id, answer.json["created_at"])
        if key is not None and self.rng.random() < 0.3:
            repeat = self.client.send("POST", "/runs", body, key=key)
            if (repeat.status, REPLAYED in repeat.headers) != (201, True) or repeat.json["id"] != run_id:
                self.world.wrong(f"a repeated creation of {run_id}: {repeat.status} {repeat.text}")
        return run_id

    def _live(self, run_id: str) -> None:
        rng = self.rng
        worker = {"worker_id": f"w-{rng.randrange(99)}"}
        if rng.random() < 0.4:
            self._event(run_id, "ASSIGNED", payload=worker)
        self._event(run_id, "STARTED", payload=worker)
        for percent in range(rng.randrange(4)):
            self._event(run_id, *rng.choice((("PROGRESS", percent), ("INFO", "a line"))))
            self._elsewhere()
        is_edited = rng.random() < 0.2
        if is_edited:
            self._send("PATCH", run_id, "", {"outputs": {"edit": rng.random()}})
        end = rng.choice(("COMPLETED", "COMPLETED", "FAILED", "cancel"))
        if end == "COMPLETED":
            payload = {} if is_edited else {"outputs": {"answer": rng.random()}}
            self._event(run_id, "COMPLETED", payload=payload)
        elif end == "FAILED":
            self._event(run_id, "FAILED", payload={"error_message": "no"})
            self._event(run_id, "STARTED", payload=worker)
            self._event(run_id, "COMPLETED", payload={"outputs": {"answer": rng.random()}})
        else:
            self._send("POST", run_id, "/cancel", None, key=self._key())
            if rng.random() < 0.6:
                self._send("POST", run_id, "/retry", None, key=self._key())
        self._elsewhere()

    def _elsewhere(self) -> None:
        """Send a request to another run."""
        run_id = self.world.some_run(self.rng)
        if run_id is None or self.rng.random() > 0.3:
            return
        other = self.rng.choice(("INFO", "priority", "cancel"))
        if other == "INFO":
            self._event(run_id, "INFO", "from aside")
        elif other == "priority":
            self._send("PATCH", run_id, "", {"priority": self.rng.randrange(9)})
        elif self.rng.random() < 0.2:
            self._send("POST", run_id, "/cancel", None, key=self._key())

    def _key(self) -> str | None:
        return uuid4().hex if self.rng.random() < 0.5 else None

    def _event(self, run_id: str, type_: str, msg: str | int = "", payload: Json | None = None) -> None:
        body = {"type": type_, "msg": msg, "payload": {**(payload or {}), "mark": f"mark-{uuid4().hex}"}}
        key = self._key()
        answer = self._send("POST", run_id, "/events", body, key=key)
        if key is not None and answer.status in (200, 400) and self.rng.random() < 0.4:
            repeat = self._send("POST", run_id, "/events", body, key=key)
            if answer.status == 200 and (repeat.status, REPLAYED in repeat.headers) != (200, True):
                self.world.wrong(f"a repeat of {type_} to {run_id}: {repeat.status} {repeat.text}")

    def _send(self, method: str, run_id: str, route: str, body: Any, key: str | None = None) -> Answer:
        floor = self.world.floor(run_id)
        minimal = self.rng.random() < 0.3
        answer = self.client.send(method, f"/runs/{run_id}{route}", body, key=key, minimal=minimal)
        if answer.status == 200 and not minimal:
            self.world.check_run(f"{method} {route}", answer.json, floor)
        elif answer.status == 200:
            shown = answer.json
            if floor.is_above(shown["current_attempt"], shown["last_seq"]):
                self.world.wrong(f"{method} {route} {run_id}: {shown} after {floor}")
            self.world.learn(route, run_id, attempt=shown["current_attempt"], last_seq=shown["last_seq"])
        elif answer.status not in (400, 409):
            self.world.wrong(f"{method} {route} {run_id}: {answer.status} {answer.text}")
        return answer


# -- readers


@dataclass
class Reader:
    api: Lambdas
    world: World
    rng: Random
    stop: threading.Event

    def play(self) -> None:
        while not self.stop.is_set():
            run_id = self.world.some_run(self.rng)
            if run_id is None:
                time.sleep(0.05)
                continue
            self.rng.choice((self._run, self._run, self._events, self._events, self._attempts, self._list, self._list))(
                run_id
            )

    def walk(self) -> None:
        """Read all pages, in either direction. They must show each run that existed at the start once."""
        while not self.stop.is_set():
            there = self.world.settled()
            if len(there) < 3:
                time.sleep(0.2)
                continue
            is_forward = self.rng.random() < 0.5
            met = self._walk("starting_after", None) if is_forward else self._walk("ending_before", there[0])
            expected = there if is_forward else there[1:]
            if met and (missing := set(expected) - set(met)):
                self.world.wrong(f"a walk did not meet {missing}")
            if len(set(met)) < len(met):
                self.world.wrong("a walk met a run twice")
            self.world.checked["walk"] += bool(met)

    def _walk(self, direction: str, cursor: str | None) -> list[str]:
        """Read all pages. Returns the ids in the order of the answers, or none if an answer was 503."""
        met: list[str] = []
        while True:
            query: dict[str, str | int | list[str]] = {"limit": 20}
            if cursor is not None:
                query[direction] = cursor
            answer = self.api.get("/runs", **query)
            if not self._is_answered(answer, f"list {query}"):
                return []
            self.world.check_list(query, answer.json)
            met += [row["id"] for row in answer.json["data"]]
            cursor = answer.json["next_cursor"]
            if not answer.json["has_more"]:
                return met

    def _run(self, run_id: str) -> None:
        floor = self.world.floor(run_id)
        answer = self.api.get(f"/runs/{run_id}")
        if self._is_answered(answer, f"the run {run_id}"):
            self.world.check_run("run", answer.json, floor)

    def _events(self, run_id: str) -> None:
        floor = self.world.floor(run_id)
        queries: list[dict[str, int]] = [
            {},
            {"after": self.rng.randrange(-1, 4)},
            {"after_seq": self.rng.randrange(-1, max(1, floor.last_seq))},
            {"attempt": self.rng.randint(1, floor.attempt), "after": self.rng.randrange(-1, 2)},
        ]
        query = self.rng.choice(queries)
        answer = self.api.get(f"/runs/{run_id}/events", **query)
        if self._is_answered(answer, f"events of {run_id} {query}"):
            self.world.check_events(run_id, query, answer.json, floor)

    def _attempts(self, run_id: str) -> None:
        floor = self.world.floor(run_id)
        answer = self.api.get(f"/runs/{run_id}/attempts")
        if self._is_answered(answer, f"attempts of {run_id}"):
            self.world.check_attempts(run_id, answer.json, floor)

    def _list(self, run_id: str) -> None:
        rng = self.rng
        query: dict[str, int | str | list[str]] = {"limit": rng.randint(1, 20)}
        if rng.random() < 0.5:
            query["state"] = rng.choice(("PENDING", "ASSIGNED", "RUNNING", "COMPLETED", "FAILED", "CANCELLED"))
        if rng.random() < 0.3:
            query["image"] = rng.choice(IMAGES)
        if rng.random() < 0.2:
            query["created[gte]"] = int(datetime.now().astimezone().timestamp()) - 20
        if rng.random() < 0.3:
            query[rng.choice(("starting_after", "ending_before"))] = run_id
        if rng.random() < 0.3:
            query["expand[]"] = "events"
        answer = self.api.get("/runs", **query)
        if self._is_answered(answer, f"list {query}"):
            self.world.check_list(query, answer.json)

    def _is_answered(self, answer: Answer, what: str) -> bool:
        if answer.status not in (200, 409, 503):
            self.world.wrong(f"{what}: {answer.status} {answer.text}")
        return answer.status == 200


# -- push


class StreamReader:
    """Reads new records of the table's stream."""

    def __init__(self) -> None:
        self._streams = boto3.client("dynamodbstreams")
        mapping = resources_of_type(load_template(), "AWS::Serverless::Function")["PublishEvents"]["Events"]["Stream"]
        self._patterns = [json.loads(each["Pattern"]) for each in mapping["Properties"]["FilterCriteria"]["Filters"]]
        self._arn = boto3.client("dynamodb").describe_table(TableName=os.environ["GYOZA_TABLE"])["Table"][
            "LatestStreamArn"
        ]
        self._iterators: dict[str, str | None] = {}

    def new_records(self) -> list[Json]:
        found: list[Json] = []
        for shard in self._streams.describe_stream(StreamArn=self._arn)["StreamDescription"]["Shards"]:
            name = shard["ShardId"]
            if name not in self._iterators:
                self._iterators[name] = self._streams.get_shard_iterator(
                    StreamArn=self._arn, ShardId=name, ShardIteratorType="TRIM_HORIZON"
                )["ShardIterator"]
            if (iterator := self._iterators[name]) is not None:
                answer: Any = self._streams.get_records(ShardIterator=iterator)
                self._iterators[name] = answer.get("NextShardIterator")
                found += answer["Records"]
        records = [json.loads(json.dumps(each, default=datetime.timestamp)) for each in found]
        return [aged(each, 0) for each in matching(records, self._patterns)]


@dataclass
class Publisher:
    """Plays Lambda's part of the stream: it repeats a batch from the lowest reported record."""

    stream: StreamReader
    sqs: SimulatedSqs
    stop: threading.Event
    records: int = 0
    reported: int = 0

    def play(self) -> None:
        """Deliver until nothing is left. Raises AssertionError if a thousand rounds after the last write do not
        suffice.
        """
        waiting: list[Json] = []
        rounds_after = 0
        while True:
            is_last = self.stop.is_set()
            rounds_after += is_last
            assert rounds_after < 1_000, f"{len(waiting)} records are stuck"
            fresh = self.stream.new_records()
            self.records += len(fresh)
            waiting += fresh
            if not waiting and is_last:
                return
            while waiting:
                batch = waiting[:100]
                again = {each["itemIdentifier"] for each in publish({"Records": batch}, Context())["batchItemFailures"]}
                self.reported += len(again)
                numbers = [each["dynamodb"]["SequenceNumber"] for each in batch]
                done = min((numbers.index(number) for number in again), default=len(batch))
                del waiting[:done]
                if again:
                    break
            time.sleep(0.02)


@dataclass
class Redeliverer:
    """Redelivers runs to topics of its own."""

    sns: SimulatedSns
    world: World
    rng: Random
    stop: threading.Event
    delivering: Callable[[], list[str]]
    done: int = 0
    refused: int = 0

    def play(self) -> None:
        while not self.stop.is_set():
            run_ids = self.delivering()[-NEWEST:]
            if not run_ids:
                time.sleep(0.1)
                continue
            run_id = self.rng.choice(run_ids)
            floor = self.world.floor(run_id)
            from_seq = self.rng.randint(0, max(0, floor.last_seq))
            self.sns.accepted[TOPIC] = []
            self.sns._seen.clear()
            try:
                answer = redeliver({"run_id": run_id, "from_seq": from_seq}, Context())
            except Exception as error:  # noqa: BLE001 - as for a request: a function that dies is wrong or busy
                self.refused += 1
                if type(error).__name__ not in ("StorageUnavailable", "RunBusy"):
                    self.world.wrong(f"a redelivery of {run_id} died of {error!r}")
                continue
            self.done += 1
            sent = [int(each) for each in self.sns.ids(TOPIC, run_id)]
            if sent != list(range(from_seq, from_seq + len(sent))):
                self.world.wrong(f"a redelivery of {run_id} from {from_seq} sent {sent}")
            if answer["refused"] or answer["next_seq"] is not None:
                self.refused += 1
            elif from_seq + len(sent) - 1 < floor.last_seq:
                self.world.wrong(f"a redelivery of {run_id} from {from_seq} sent {sent}, {floor} had been shown")
            time.sleep(0.05)


@pytest.fixture
def api(engine_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lambdas]:
    """Runs the handlers on DynamoDB Local, with a new table that has a stream."""
    name = f"runs-{uuid4()}"
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", engine_url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB_STREAMS", engine_url)
    monkeypatch.setenv("GYOZA_TABLE", name)
    create_table(boto3.client("dynamodb"), name, with_stream=True)
    forget_clients()
    yield Lambdas()
    forget_clients()


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2])
def test_no_answer_is_wrong_while_transactions_become_visible_item_by_item(
    api: Lambdas, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    sns, sqs, again_sns = SimulatedSns(topics=[TOPIC]), SimulatedSqs(), SimulatedSns(topics=[TOPIC])
    topics, again_topics = SnsTopics(cast(Any, sns), ARN_PREFIX), SnsTopics(cast(Any, again_sns), ARN_PREFIX)
    parked = SqsParkedQueue(cast(Any, sqs), QUEUE_URL)
    monkeypatch.setattr(push_parts, "topics", lambda: topics)
    monkeypatch.setattr(
        "functions.redeliver_events.app.redelivery",
        lambda: Redelivery(push_parts.outbox(), again_topics, push_parts.clock()),
    )
    monkeypatch.setattr(push_parts, "parked_queue", lambda: parked)
    world, client, stop, stop_push = World(), Recorder(api, sendings=30), threading.Event(), threading.Event()
    chance = Random(seed)

    def delivering() -> list[str]:
        return [
            exchange.answer["id"]
            for exchange in list(client.exchanges)
            if exchange.path == "/runs" and exchange.succeeded and "event_delivery" in exchange.body
        ]

    publisher = Publisher(StreamReader(), sqs, stop_push)
    redeliverer = Redeliverer(again_sns, world, Random(f"{seed}.redeliver"), stop, delivering)
    readers = [Reader(api, world, Random(f"{seed}.reader.{n}"), stop) for n in range(READERS)]
    with (
        torn(
            delays=at_random(seed),
            index_delay_s=lambda: chance.uniform(0, MAX_DELAY_S),
            transact_get=lambda: chance.choice(tuple(TransactGet)),
        ) as table,
        ThreadPoolExecutor(WRITERS + READERS + 3) as threads,
    ):
        others = [threads.submit(publisher.play), threads.submit(redeliverer.play), threads.submit(readers[0].walk)]
        others += [threads.submit(reader.play) for reader in readers]
        writers = [
            threads.submit(partial(Writer(api, client, world, Random(f"{seed}.{n}")).play, RUNS_A_WRITER))
            for n in range(WRITERS)
        ]
        try:
            for writer in writers:
                writer.result()
        finally:
            stop.set()
            table.settle()
            stop_push.set()
        for other in others:
            other.result()
        # All items are visible here, so the stored runs can be compared with the history.
        world.problems += problems_of_histories(client, world)
        world.problems += problems_of_delivery(api, sns, sqs, set(delivering()))
    print(figures(api, world, table, publisher, redeliverer))
    assert not api.died, "\n".join(api.died[:20])
    assert not world.problems, f"{len(world.problems)} problems\n" + "\n".join(world.problems[:40])
    assert world.checked.total() > 2_000
    assert table.figures.torn_reads > 100
    assert {status for _, status in api.statuses} <= {200, 201, 400, 409, 503}
    assert 100 * unanswered(api, redeliverer) <= sum(api.statuses.values()) + redeliverer.done


def unanswered(api: Lambdas, redeliverer: Redeliverer) -> int:
    """The number of requests that ended in 503, of reads that ended in 409, and of refused redeliveries."""
    return redeliverer.refused + sum(
        times
        for (route, status), times in api.statuses.items()
        if status == 503 or (status == 409 and route.startswith("GET"))
    )


def problems_of_histories(client: Recorder, world: World) -> Iterator[str]:
    for run_id in world.run_ids:
        if any(each.method == "PATCH" and each.is_unknown for each in client.of_run(run_id)):
            # Nobody can tell its place in the timeline, or whether it is there.
            world.checked["histories left out"] += 1
            continue
        try:
            client.check(run_id)
        except AssertionError as error:
            yield f"history of {run_id}: {error}"
        world.checked["histories"] += 1


def problems_of_delivery(api: Lambdas, sns: SimulatedSns, sqs: SimulatedSqs, run_ids: set[str]) -> Iterator[str]:
    """The contradictions in delivery: each event of each run comes in order, and none is parked."""
    yield from (f"parked: {each}" for each in sqs.parked)
    ids: dict[str, list[str]] = defaultdict(list)
    for body in sns.accepted[TOPIC]:
        ids[body["subject"]].append(body["id"].partition("/")[2])
    for run_id in run_ids:
        last_seq = api.get(f"/runs/{run_id}").json["last_seq"]
        if ids[run_id] != ["created", *map(str, range(last_seq + 1))]:
            yield f"{run_id} was delivered as {ids[run_id]}, its last event is {last_seq}"


def figures(api: Lambdas, world: World, table: TornTable, publisher: Publisher, redeliverer: Redeliverer) -> str:
    total, without = sum(api.statuses.values()) + redeliverer.done, unanswered(api, redeliverer)
    refusals = {f"{route} {status}": times for (route, status), times in sorted(api.statuses.items()) if status >= 409}
    return (
        f"\n{len(world.run_ids)} runs, {total} requests, {without} without an answer ({100 * without / total:.2f} %);"
        f" {table.figures.transactions} transactions, {table.figures.reads} calls that read,"
        f" {table.figures.torn_reads} of them met half a transaction; answers checked: {dict(world.checked)};"
        f" statuses of 409 and above: {refusals};"
        f" push: {publisher.records} records, {publisher.reported} reported;"
        f" {redeliverer.done} redeliveries, {redeliverer.refused} refused"
    )

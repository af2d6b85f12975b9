"""Tests requests that meet half a transaction: they wait for the rest of it, or answer 503.

An item may not be visible yet although HEAD promises it. A request then reads again, with growing pauses of a second in
all. Its answer is right or it is 503. It never shows half of a write, and it never refuses or answers 404 because an
item is missing.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import mean
from typing import Any
from uuid import uuid4

import boto3
import pytest

from functions.publish_events.app import lambda_handler as publish
from functions.redeliver_events.app import lambda_handler as redeliver
from gyoza_domain.bootstrap import push as push_parts
from gyoza_domain.messaging.sns import SnsTopics
from gyoza_domain.messaging.sqs import SqsParkedQueue
from testing.cloudformation import load_template, resources_of_type
from testing.gateway import Answer, Gateway, Query
from testing.table import create_table, forget_clients
from tests.support.faults import Fault, injected, scripted
from tests.support.history import REPLAYED
from tests.support.push import (
    ARN_PREFIX,
    QUEUE_URL,
    Context,
    Json,
    SimulatedSns,
    SimulatedSqs,
    aged,
    matching,
    stream_records,
)
from tests.support.torn import (
    HEAD_FIRST,
    HEAD_LAST,
    Choose,
    TransactGet,
    all_but,
    handlers_client,
    torn,
)

MAX_WAIT_S = 1.0
"""The longest time of all pauses of a request."""
RECORD_IS_YOUNG_S = 60.0
"""The time for which push asks again for a record with missing events."""


class Pauses:
    """Replaces the module time for handlers: a pause is recorded and moves their clock, but takes no time.

    Each thread has a clock of its own.
    """

    def __init__(self) -> None:
        self._own = threading.local()
        self._monotonic = time.monotonic

    @property
    def taken(self) -> list[float]:
        """The pauses of this thread in seconds, in order."""
        taken: list[float] = vars(self._own).setdefault("taken", [])
        return taken

    def sleep(self, seconds: float) -> None:
        self.taken.append(seconds)

    def monotonic(self) -> float:
        return self._monotonic() + sum(self.taken)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> Pauses:
    pauses = Pauses()
    monkeypatch.setattr(time, "sleep", pauses.sleep)
    monkeypatch.setattr(time, "monotonic", pauses.monotonic)
    return pauses


def ask(
    api: Gateway, method: str, path: str, body: Any = None, *, query: Query | None = None, key: str | None = None
) -> Answer:
    """Send a request and return the answer. If the function dies it is 502, as from API Gateway, with the error."""
    headers = {} if key is None else {"Idempotency-Key": key}
    try:
        return api.call(method, path, body, query=query, headers=headers)
    except Exception as error:  # noqa: BLE001 - Lambda too catches every error of a function
        return Answer(502, {}, json.dumps({"detail": repr(error)}))


# -- every read of every half


@dataclass(frozen=True)
class Case:
    """A write, and the requests that prepare the run for it."""

    before: tuple[Callable[[Gateway, str], Answer], ...]
    write: Callable[[Gateway, str], Answer]
    states: tuple[str, ...] = ("RUNNING",)
    """The states before and after the write."""


def event(type_: str, *, key: str | None = None, **fields: Any) -> Callable[[Gateway, str], Answer]:
    body = {"type": type_} | fields
    return lambda api, run_id: ask(api, "POST", f"/runs/{run_id}/events", body, key=key)


def patch(**fields: Any) -> Callable[[Gateway, str], Answer]:
    return lambda api, run_id: ask(api, "PATCH", f"/runs/{run_id}", fields)


def retry(api: Gateway, run_id: str) -> Answer:
    return ask(api, "POST", f"/runs/{run_id}/retry")


INFO = event("INFO", msg="a line")
STARTED = event("STARTED", payload={"worker_id": "w"})
ASSIGNED = event("ASSIGNED", payload={"worker_id": "w0"})
COMPLETED = event("COMPLETED", payload={"outputs": {"answer": 42}})
FAILED = event("FAILED", payload={"error_message": "no"})

CASES = {
    "an event": Case((STARTED,), INFO),
    "a claim": Case((INFO,), ASSIGNED, ("PENDING", "ASSIGNED")),
    "a start": Case((INFO,), STARTED, ("PENDING", "RUNNING")),
    "the start of a claimed run": Case((ASSIGNED,), STARTED, ("ASSIGNED", "RUNNING")),
    "a completion": Case((STARTED, INFO), COMPLETED, ("RUNNING", "COMPLETED")),
    "a failure that is retried": Case((STARTED, INFO), FAILED, ("RUNNING", "PENDING")),
    "a failure for good": Case((STARTED, FAILED, STARTED), FAILED, ("RUNNING", "FAILED")),
    "a retry by hand": Case((STARTED, FAILED, STARTED, patch(outputs={"a": 1})), retry, ("RUNNING", "PENDING")),
    "an edit of outputs": Case((STARTED,), patch(outputs={"a": 1})),
    "an edit of edited outputs": Case((STARTED, patch(outputs={"a": 1})), patch(outputs={"a": 2})),
    "an edit that reopens": Case(
        (STARTED, COMPLETED), patch(state="RUNNING", outputs={"b": 1}), ("COMPLETED", "RUNNING")
    ),
    "the start of an edited run": Case((patch(outputs={"a": 1}),), STARTED, ("PENDING", "RUNNING")),
}


def reads_of(run_id: str, image: str, states: Sequence[str]) -> dict[str, tuple[str, Query]]:
    """Read the run in every way. Lists are those of its image, which no other run has."""
    timeline = f"/runs/{run_id}/events"
    lists: dict[str, tuple[str, Query]] = {
        f"a list of {state}": ("/runs", {"image": image, "state": state}) for state in states
    }
    return {
        "the run": (f"/runs/{run_id}", {}),
        "the timeline": (timeline, {}),
        "new events": (timeline, {"after": 0}),
        "new events across attempts": (timeline, {"after_seq": 1}),
        "the timeline of attempt 1": (timeline, {"attempt": 1}),
        "attempts": (f"/runs/{run_id}/attempts", {}),
        "a list": ("/runs", {"image": image}),
        "a list with events": ("/runs", {"image": image, "expand[]": "events"}),
        **lists,
    }


def prepared(api: Gateway, case: Case, image: str) -> str:
    run_id: str = api.create(image=image, retry_policy={"max_attempts": 2}, inputs={"n": 1})["id"]
    for step in case.before:
        assert step(api, run_id).status == 200
    return run_id


def read_all(api: Gateway, case: Case, run_id: str, image: str) -> dict[str, Answer]:
    reads = reads_of(run_id, image, case.states)
    return {name: ask(api, "GET", path, query=query) for name, (path, query) in reads.items()}


def problems_of(
    before: Mapping[str, Answer], half: Mapping[str, Answer], after: Mapping[str, Answer], *, may_give_up: bool
) -> Iterator[str]:
    """The contradictions between reads of a half-visible write and the same reads before and after it."""
    was_shown = False
    for name, answer in half.items():
        if answer.status == 503 and may_give_up:
            continue
        if answer.status != 200:
            yield f"{name}: {answer.status} {answer.text[:90]}"
            continue
        is_before, is_after = (answer.json == each[name].json for each in (before, after))
        if not is_before and not is_after:
            yield f"{name}: neither as before nor as after the write"
        elif was_shown and not is_after and "list" not in name:
            yield f"{name}: as before, though an answer has shown the write"
        was_shown |= is_after and not is_before and "list" not in name


@pytest.mark.parametrize("name", CASES)
def test_a_read_of_half_a_transaction_answers_as_before_or_after_it_or_503(
    api: Gateway, pauses: Pauses, name: str
) -> None:
    case = CASES[name]
    problems: list[str] = []
    halves: list[Choose] = [HEAD_FIRST, HEAD_LAST]
    with torn() as table:
        for number, shows in enumerate(halves):
            image = f"image:{number}"
            run_id = prepared(api, case, image)
            before = read_all(api, case, run_id, image)
            with table.half_visible(partial(case.write, api, run_id), shows=shows) as half:
                answers = read_all(api, case, run_id, image)
            assert half.answer is not None
            assert half.answer.status == 200
            after = read_all(api, case, run_id, image)
            which = ("HEAD first", "HEAD last")[number] if number < 2 else f"item {number} of {len(half.items)} late"
            problems += [f"{which}: {each}" for each in problems_of(before, answers, after, may_give_up=True)]
            if number == 0 and len(half.items) > 2:
                halves += [all_but(position) for position in range(1, len(half.items))]
    assert not problems, "\n".join(problems)
    assert len(pauses.taken) > 0


@pytest.mark.parametrize("reads", [pytest.param(1, marks=pytest.mark.long), 2, pytest.param(3, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", ["a completion", "a failure that is retried", "the start of a claimed run"])
@pytest.mark.parametrize("shows", [HEAD_FIRST, HEAD_LAST], ids=["HEAD first", "HEAD last"])
def test_a_read_waits_for_what_becomes_visible_meanwhile(
    api: Gateway, pauses: Pauses, shows: Choose, name: str, reads: int
) -> None:
    """Everything is visible after so many calls, long before the request gives up."""
    assert pauses
    case = CASES[name]
    problems: list[str] = []
    with torn() as table:
        for number, read in enumerate(reads_of("", "", case.states)):
            image = f"image:{number}"
            run_id = prepared(api, case, image)
            path, query = reads_of(run_id, image, case.states)[read]
            before = ask(api, "GET", path, query=query)
            with table.half_visible(partial(case.write, api, run_id), shows=shows, reads=reads):
                answer = ask(api, "GET", path, query=query)
            after = ask(api, "GET", path, query=query)
            problems += problems_of({read: before}, {read: answer}, {read: after}, may_give_up=False)
    assert not problems, "\n".join(problems)


# -- the answers that were wrong


def started(api: Gateway, **fields: Any) -> str:
    run_id: str = api.create(**fields)["id"]
    assert api.start(run_id).status == 200
    return run_id


def test_no_answer_shows_a_completed_run_without_its_outputs(api: Gateway, pauses: Pauses) -> None:
    assert pauses
    run_id = started(api)
    with torn() as table, table.half_visible(lambda: COMPLETED(api, run_id), shows=HEAD_FIRST):
        whole = ask(api, "GET", f"/runs/{run_id}")
        listed = ask(api, "GET", "/runs")
    shown = [whole.json] if whole.status == 200 else []
    shown += listed.json["data"] if listed.status == 200 else []
    assert [run["outputs"] for run in shown if run["state"] == "COMPLETED"] == [{"answer": 42}] * len(shown)
    assert {whole.status, listed.status} <= {200, 503}


@pytest.mark.parametrize("route", ["", "/events", "/attempts"])
def test_a_read_of_a_run_whose_newest_event_is_not_there_yet_is_503(api: Gateway, pauses: Pauses, route: str) -> None:
    assert pauses
    run_id = started(api)
    with torn() as table, table.half_visible(lambda: INFO(api, run_id), shows=HEAD_FIRST):
        answer = ask(api, "GET", f"/runs/{run_id}{route}", query={"after": 0} if route == "/events" else None)
    assert (answer.status, answer.json.get("code")) == (503, "unavailable")


@pytest.mark.parametrize("route", ["", "/events", "/attempts"])
def test_a_request_reads_again_with_pauses_that_grow_for_a_second_in_all(
    api: Gateway, pauses: Pauses, route: str
) -> None:
    requests = 20
    taken: list[list[float]] = []
    calls: list[int] = []
    run_id = started(api)
    with torn() as table, table.half_visible(lambda: retry(api, run_id), shows=HEAD_FIRST) as half:
        for _ in range(requests):
            pauses.taken.clear()
            read_before = half.reads
            answer = ask(api, "GET", f"/runs/{run_id}{route}")
            assert answer.status == 503
            taken.append(list(pauses.taken))
            calls.append(half.reads - read_before)
    assert min(map(len, taken)) >= 3
    assert max(map(sum, taken)) <= MAX_WAIT_S + 0.001
    assert mean(map(sum, taken)) >= MAX_WAIT_S / 4
    # Two rounds of reads have a pause between them. A round makes at most three calls.
    assert all(made <= 3 * (len(each) + 1) for made, each in zip(calls, taken, strict=True))
    assert mean(each[0] for each in taken) < mean(each[2] for each in taken)
    assert len({each[0] for each in taken}) > requests / 2


def test_a_request_for_many_rows_pauses_for_a_second_in_all(api: Gateway, pauses: Pauses) -> None:
    """Each of five runs is half written as long as the list is read."""
    run_ids = [started(api, image="rows") for _ in range(5)]
    with torn() as table:
        writers = [table.half_visible(partial(COMPLETED, api, run_id), shows=HEAD_FIRST) for run_id in run_ids]
        entered: list[Any] = []
        try:
            for writer in writers:
                writer.__enter__()
                entered.append(writer)
            pauses.taken.clear()
            answer = ask(api, "GET", "/runs", query={"image": "rows"})
        finally:
            for writer in reversed(entered):
                writer.__exit__(None, None, None)
    assert answer.status == 503
    assert 0 < sum(pauses.taken) <= MAX_WAIT_S + 0.001


def test_a_run_whose_state_has_changed_is_not_listed_under_the_old_one(api: Gateway, pauses: Pauses) -> None:
    """The read sees the claim before HEAD. HEAD is RUNNING at its second read of the row."""
    assert pauses
    wrong: list[str] = []
    with torn() as table:
        for reads in range(1, 5):
            image = f"image:{reads}"
            run_id = prepared(api, CASES["the start of a claimed run"], image)
            with table.half_visible(partial(STARTED, api, run_id), shows=HEAD_LAST, reads=reads):
                answer = ask(api, "GET", "/runs", query={"image": image, "state": "ASSIGNED"})
            assert answer.status == 200, answer.text
            wrong += [
                f"{run['state']} after {reads} reads" for run in answer.json["data"] if run["state"] != "ASSIGNED"
            ]
    assert wrong == []


# -- decisions


@pytest.mark.parametrize("reads", [1, 2, 3, None])
def test_outputs_that_are_not_there_yet_are_not_erased_by_a_completion(
    api: Gateway, pauses: Pauses, reads: int | None
) -> None:
    assert pauses
    run_id = started(api)
    with torn() as table:
        with table.half_visible(lambda: patch(outputs={"kept": 1})(api, run_id), shows=HEAD_FIRST, reads=reads):
            completed = event("COMPLETED")(api, run_id)
        assert completed.status in ((200, 503) if reads is None else (200,)), completed.text
        if completed.status == 200:
            assert completed.json["outputs"] == {"kept": 1}
        assert api.get(f"/runs/{run_id}").json["outputs"] == {"kept": 1}


@pytest.mark.parametrize("reads", [1, 2, 3, None])
def test_a_claim_that_is_not_there_yet_is_not_lost_by_a_completion(
    api: Gateway, pauses: Pauses, reads: int | None
) -> None:
    assert pauses
    run_id: str = api.create()["id"]
    with torn() as table:
        with table.half_visible(lambda: STARTED(api, run_id), shows=HEAD_FIRST, reads=reads):
            completed = COMPLETED(api, run_id)
        assert completed.status in ((200, 503) if reads is None else (200,)), completed.text
        summary = api.get(f"/runs/{run_id}").json["execution_summary"]
    assert summary["worker_id"] == "w"
    assert (summary["duration_ms"] is not None) is (completed.status == 200)


HALVES = pytest.mark.parametrize(
    "shows",
    [HEAD_FIRST, HEAD_LAST, all_but(1), all_but(2)],
    ids=["HEAD first", "HEAD last", "second late", "third late"],
)


@HALVES
@pytest.mark.parametrize("reads", [1, 3, None])
def test_one_of_two_workers_starts_a_run_while_the_start_is_half_visible(
    api: Gateway, pauses: Pauses, reads: int | None, shows: Choose
) -> None:
    assert pauses
    run_id: str = api.create()["id"]
    second = event("STARTED", payload={"worker_id": "second"})
    with torn() as table:
        with table.half_visible(lambda: STARTED(api, run_id), shows=shows, reads=reads) as half:
            answer = second(api, run_id)
        assert half.answer is not None
        assert half.answer.status == 200
        assert answer.status in ((400, 409, 503) if reads is None else (400,)), answer.text
        run = api.get(f"/runs/{run_id}").json
    assert (run["execution_summary"]["worker_id"], run["last_seq"]) == ("w", 0)


@HALVES
@pytest.mark.parametrize("reads", [1, 3, None])
def test_an_event_beside_one_that_is_half_visible_is_written_once_or_not_at_all(
    api: Gateway, pauses: Pauses, reads: int | None, shows: Choose
) -> None:
    """If the answer needs an item that is not visible yet, it says how to check whether the write took effect."""
    assert pauses
    run_id = started(api, retry_policy={"max_attempts": 2})
    with torn() as table:
        with table.half_visible(lambda: FAILED(api, run_id), shows=shows, reads=reads) as half:
            answer = INFO(api, run_id)
        assert half.answer is not None
        assert half.answer.status == 200
        assert answer.status in ((200, 409, 503) if reads is None else (200,)), answer.text
        events = api.get(f"/runs/{run_id}/events", after_seq=-1).json["events"]
    stands = len(events) == 4
    assert [each["type"] for each in events] == ["STARTED", "FAILED", "RETRIED", *["INFO"] * stands]
    assert stands or answer.status != 200
    if stands and answer.status != 200:
        assert (answer.status, "timeline" in answer.json["detail"]) == (503, True)
    if answer.status == 200:
        assert answer.json["events"] == events[2:]


@pytest.mark.parametrize("behaviour", [TransactGet.SNAPSHOT, TransactGet.REFUSE], ids=lambda each: each.name)
@pytest.mark.parametrize("reads", [1, 2, 3, None])
def test_a_repeat_is_not_refused_for_what_its_first_sending_did(
    api: Gateway, pauses: Pauses, reads: int | None, behaviour: TransactGet
) -> None:
    """The read sees the completed HEAD, but not the key."""
    assert pauses
    complete = event("COMPLETED", payload={"outputs": {"a": 1}}, key="once")
    run_id = started(api)
    with torn(transact_get=lambda: behaviour) as table:
        with table.half_visible(lambda: complete(api, run_id), shows=HEAD_FIRST, reads=reads):
            repeat = complete(api, run_id)
        again = complete(api, run_id)
    assert repeat.status in ((200, 503) if reads is None else (200,)), repeat.text
    for answer in (repeat, again):
        if answer.status == 200:
            assert (answer.json["outputs"], REPLAYED in answer.headers) == ({"a": 1}, True)
    assert again.status == 200


@pytest.mark.parametrize("reads", [1, 2, 3, None])
def test_a_repeat_is_never_answered_with_the_run_as_it_was_before_its_effect(
    api: Gateway, pauses: Pauses, reads: int | None
) -> None:
    """The read sees the key, but an old HEAD."""
    assert pauses
    note = event("INFO", key="once")
    run_id = started(api)
    with torn() as table, table.half_visible(lambda: note(api, run_id), shows=HEAD_LAST, reads=reads):
        repeat = note(api, run_id)
    if repeat.status == 200:
        assert (repeat.json["last_seq"], repeat.json["event_count"]) == (1, 2)
    else:
        assert (reads, repeat.status) == (None, 503)


@pytest.mark.parametrize("reads", [1, 2, 3, None])
def test_a_page_across_attempts_never_shows_an_event_beyond_its_last_seq(
    api: Gateway, pauses: Pauses, reads: int | None
) -> None:
    """The read sees the events, but an old HEAD, and the page ends before HEAD."""
    assert pauses
    run_id = api.create(retry_policy={"max_attempts": 2})["id"]
    fail = event("FAILED")
    with torn() as table, table.half_visible(lambda: fail(api, run_id), shows=HEAD_LAST, reads=reads):
        page = api.get(f"/runs/{run_id}/events", after_seq=-1, limit=1)
    assert all(each["seq"] <= page.json["last_seq"] for each in page.json["events"])


@HALVES
@pytest.mark.parametrize("reads", [1, 2, 3, None])
def test_a_repeated_creation_never_answers_that_its_run_does_not_exist(
    api: Gateway, pauses: Pauses, reads: int | None, shows: Choose
) -> None:
    assert pauses
    with torn() as table:
        with table.half_visible(lambda: create(api), shows=shows, reads=reads) as half:
            repeat = create(api)
        again = create(api)
    assert half.answer is not None
    assert repeat.status in ((201, 503) if reads is None else (201,)), repeat.text
    assert (again.status, REPLAYED in again.headers) == (201, True)
    if repeat.status == 201:
        assert repeat.json == half.answer.json == again.json


def create(api: Gateway) -> Answer:
    return ask(api, "POST", "/runs", {"image": "busybox:1", "inputs": {"n": 1}}, key="create once")


def test_only_a_refusal_under_a_key_costs_a_transaction_of_reads(api: Gateway) -> None:
    """One TransactGetItems reads HEAD and the key."""
    run_id = started(api)
    asked: list[int] = []

    def note(params: dict[str, Any], **_: object) -> None:
        asked.append(len(params["TransactItems"]))

    handlers_client().meta.events.register("provide-client-params.dynamodb.TransactGetItems", note)
    assert event("INFO", key="a")(api, run_id).status == 200
    assert event("INFO", key="a")(api, run_id).status == 200
    assert create(api).status == create(api).status == 201
    assert COMPLETED(api, run_id).status == 200
    assert INFO(api, run_id).status == 400
    assert asked == []
    assert event("INFO", key="b")(api, run_id).status == 400
    assert asked == [2]


# -- push


@pytest.fixture
def streamed_api(engine_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    """Runs the handlers on DynamoDB Local, with a new table that has a stream."""
    name = f"runs-{uuid4()}"
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", engine_url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB_STREAMS", engine_url)
    monkeypatch.setenv("GYOZA_TABLE", name)
    create_table(boto3.client("dynamodb"), name, with_stream=True)
    forget_clients()
    yield Gateway()
    forget_clients()


@dataclass
class Push:
    sns: SimulatedSns
    sqs: SimulatedSqs


@pytest.fixture
def push(monkeypatch: pytest.MonkeyPatch) -> Push:
    push = Push(SimulatedSns(topics=["orders.fifo"]), SimulatedSqs())
    topics, parked_events = SnsTopics(push.sns, ARN_PREFIX), SqsParkedQueue(push.sqs, QUEUE_URL)  # type: ignore[arg-type]
    monkeypatch.setattr(push_parts, "topics", lambda: topics)
    monkeypatch.setattr(push_parts, "parked_queue", lambda: parked_events)
    return push


def new_records(seen: set[str]) -> list[Json]:
    """The new records of the stream that pass the event source mapping."""
    mapping = resources_of_type(load_template(), "AWS::Serverless::Function")["PublishEvents"]["Events"]["Stream"]
    patterns = [json.loads(each["Pattern"]) for each in mapping["Properties"]["FilterCriteria"]["Filters"]]
    table = boto3.client("dynamodb").describe_table(TableName=os.environ["GYOZA_TABLE"])["Table"]
    records = matching(stream_records(boto3.client("dynamodbstreams"), table["LatestStreamArn"]), patterns)
    fresh = [each for each in records if each["dynamodb"]["SequenceNumber"] not in seen]
    seen |= {each["dynamodb"]["SequenceNumber"] for each in fresh}
    return [aged(each, 0) for each in fresh]


def numbers_of(records: list[Json]) -> list[Json]:
    return [{"itemIdentifier": each["dynamodb"]["SequenceNumber"]} for each in records]


def new_process() -> None:
    push_parts.delivery.cache_clear()
    push_parts.outbox.cache_clear()


DELIVERED = {"event_delivery": {"topic": "orders.fifo"}}


@pytest.mark.parametrize("reads", [1, None])
@pytest.mark.parametrize("write", [INFO, COMPLETED, FAILED], ids=["INFO", "COMPLETED", "FAILED and RETRIED"])
def test_push_asks_for_a_young_record_again_whose_event_is_not_there_yet(
    streamed_api: Gateway, pauses: Pauses, push: Push, write: Callable[[Gateway, str], Answer], reads: int | None
) -> None:
    assert pauses
    api, seen = streamed_api, set[str]()
    run_id = started(api, retry_policy={"max_attempts": 2}, **DELIVERED)
    assert publish({"Records": new_records(seen)}, Context()) == {"batchItemFailures": []}
    with torn() as table:
        with table.half_visible(lambda: write(api, run_id), shows=HEAD_FIRST, reads=reads):
            records = new_records(seen)
            first = publish({"Records": records}, Context())
            if reads is None:
                assert (first, push.sqs.parked) == ({"batchItemFailures": numbers_of(records)}, [])
        publish({"Records": records}, Context())
        last_seq = api.get(f"/runs/{run_id}").json["last_seq"]
    assert push.sqs.parked == []
    assert push.sns.ids("orders.fifo", run_id) == ["created", *map(str, range(last_seq + 1))]


def test_push_asks_for_a_young_creation_again_whose_delivery_is_not_there_yet(
    streamed_api: Gateway, pauses: Pauses, push: Push
) -> None:
    assert pauses
    new_process()

    def create() -> Answer:
        return streamed_api.post("/runs", {"image": "busybox:1"} | DELIVERED)

    with torn() as table:
        with table.half_visible(create, shows=HEAD_FIRST):
            records = new_records(set())
            again = publish({"Records": records}, Context())
            assert (again, push.sqs.parked) == ({"batchItemFailures": numbers_of(records)}, [])
        assert publish({"Records": records}, Context()) == {"batchItemFailures": []}
    assert [body["type"] for body in push.sns.accepted["orders.fifo"]] == ["gyoza.run.created"]


def test_push_parks_an_event_that_is_still_missing_after_a_minute(
    streamed_api: Gateway, pauses: Pauses, push: Push
) -> None:
    assert pauses
    api, seen = streamed_api, set[str]()
    run_id = started(api, **DELIVERED)
    publish({"Records": new_records(seen)}, Context())
    with torn() as table, table.half_visible(lambda: INFO(api, run_id), shows=HEAD_FIRST):
        [record] = new_records(seen)
        young, old = aged(record, RECORD_IS_YOUNG_S - 10), aged(record, RECORD_IS_YOUNG_S + 10)
        assert publish({"Records": [young]}, Context()) == {"batchItemFailures": numbers_of([record])}
        assert push.sqs.parked == []
        assert publish({"Records": [old]}, Context()) == {"batchItemFailures": []}
    assert [(each["run_id"], each["seq"]) for each in push.sqs.parked] == [(run_id, 1)]


@pytest.mark.parametrize("reads", [1, 2, 3])
def test_a_redelivery_waits_for_what_is_not_there_yet(
    streamed_api: Gateway, pauses: Pauses, push: Push, reads: int
) -> None:
    assert pauses
    new_process()
    run_id = started(streamed_api, **DELIVERED)
    with torn() as table, table.half_visible(lambda: INFO(streamed_api, run_id), shows=HEAD_FIRST, reads=reads):
        done = redeliver({"run_id": run_id, "from_seq": 0}, Context())
    assert (done["published"], done["refused"], done["next_seq"]) == (2, 0, None)
    assert push.sns.ids("orders.fifo", run_id) == ["0", "1"]


# -- outcomes of writes


@pytest.mark.parametrize(
    "write", [INFO, FAILED, retry, patch(outputs={"a": 1})], ids=["INFO", "FAILED", "retry", "PATCH"]
)
def test_a_write_that_stands_is_answered_with_what_is_known_of_it(
    api: Gateway, pauses: Pauses, write: Callable[[Gateway, str], Answer]
) -> None:
    """The table refuses every read after the write."""
    assert pauses
    run_id = started(api, retry_policy={"max_attempts": 2})
    stands = False

    def choose(operation: str) -> Fault | None:
        nonlocal stands
        if operation == "TransactWriteItems":
            stands = True
            return None
        return Fault.THROTTLED if stands else None

    with injected(choose):
        answer = write(api, run_id)
    assert answer.status == 200, answer.text
    now = api.get(f"/runs/{run_id}").json
    assert {name: answer.json[name] for name in ("id", "state", "last_seq", "outputs")} == {
        name: now[name] for name in ("id", "state", "last_seq", "outputs")
    }


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("/runs/{id}/events", {"type": "FAILED"}, "timeline"),
        ("/runs/{id}/retry", None, "timeline"),
        ("/runs", {"image": "busybox:1"}, "GET /runs"),
    ],
)
def test_an_answer_that_leaves_open_whether_the_write_stands_says_where_to_look(
    api: Gateway, pauses: Pauses, path: str, body: Any, says: str
) -> None:
    assert pauses
    run_id = started(api, retry_policy={"max_attempts": 2})
    with injected(scripted(*[Fault.ANSWER_LOST] * 3)):
        answer = ask(api, "POST", path.replace("{id}", run_id), body)
    assert answer.status == 503
    assert says in answer.json["detail"]

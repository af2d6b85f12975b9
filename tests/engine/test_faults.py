"""Tests requests on a table that throttles, conflicts, breaks and loses answers: each takes effect once and whole."""

import os
import random
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest

from gyoza_domain.dynamodb import keys
from testing.gateway import Answer, Gateway
from tests.support.faults import Fault, injected, scripted, seeded
from tests.support.history import REPLAYED, Recorder, read_final

Write = Callable[[Recorder, str], Answer]

WRITES: dict[str, Write] = {
    "create": lambda client, _: client.send("POST", "/runs", {"image": "busybox:1", "inputs": {"written": True}}),
    "event": lambda client, run_id: client.event(run_id, "INFO"),
    "started": lambda client, run_id: client.start(run_id),
    "failed": lambda client, run_id: client.event(run_id, "FAILED", payload={"error_message": "no"}),
    "cancel": lambda client, run_id: client.cancel(run_id),
    "retry": lambda client, run_id: client.retry(run_id),
    "patch": lambda client, run_id: client.patch(run_id, priority=9),
}
WRITE = pytest.mark.parametrize("write", WRITES)
KEYED = pytest.mark.parametrize("keyed", [False, True], ids=["without a key", "with a key"])
STANDS = pytest.mark.parametrize("fault", [Fault.ANSWER_LOST, Fault.INTERNAL_AFTER])


def stored() -> dict[str, set[str]]:
    """The sort keys of the items of every run."""
    pages = (
        boto3.client("dynamodb")
        .get_paginator("scan")
        .paginate(TableName=os.environ["GYOZA_TABLE"], ConsistentRead=True, ProjectionExpression="pk, sk")
    )
    found: dict[str, set[str]] = defaultdict(set)
    for page in pages:
        for item in page["Items"]:
            found[item["pk"]["S"].removeprefix("RUN#")].add(item["sk"]["S"])
    return found


def assert_whole(api: Gateway, run_id: str, sort_keys: set[str]) -> None:
    """Assert that a run has the items that its HEAD names, and no further event."""
    run = api.get(f"/runs/{run_id}").json
    assert {keys.HEAD, keys.SPEC} <= sort_keys
    assert {sk for sk in sort_keys if sk.startswith("EVENT#")} == {
        f"EVENT#{seq:010d}" for seq in range(run["last_seq"] + 1)
    }
    assert {keys.attempt_sk(number) for number in range(1, run["current_attempt"])} <= sort_keys


def prepared(client: Recorder, write: str) -> str:
    """A run that accepts the write, with one attempt left in its budget."""
    run_id = client.create(retry_policy={"max_attempts": 2})
    if write == "retry":
        client.start(run_id)
    return run_id


@WRITE
@KEYED
@STANDS
def test_a_write_whose_answer_was_lost_is_not_written_again(
    api: Gateway, write: str, keyed: bool, fault: Fault
) -> None:
    """Botocore sends the write again with the same ClientRequestToken."""
    client = Recorder(api, keyed=keyed)
    run_id = prepared(client, write)
    with injected(scripted(fault)) as faults:
        answer = WRITES[write](client, run_id)
    assert (answer.status, REPLAYED in answer.headers) == (201 if write == "create" else 200, False)
    assert (faults.injected, faults.sent_again) == ({fault: 1}, 1)
    assert len(stored()) == (2 if write == "create" else 1)
    client.check(run_id)


@WRITE
@KEYED
def test_a_write_is_not_written_again_though_the_run_went_on_before_the_repeat(
    api: Gateway, write: str, keyed: bool
) -> None:
    client = Recorder(api, keyed=keyed)
    run_id = prepared(client, write)
    went_on = []

    def go_on() -> None:
        went_on.append(client.event(run_id, "INFO").status)

    with injected(scripted(Fault.ANSWER_LOST), between=go_on):
        answer = WRITES[write](client, run_id)
    assert answer.status in (200, 201)
    assert went_on == [400 if write == "cancel" else 200]
    final = client.check(run_id)
    assert len(final.attempts) == (2 if write in ("failed", "retry") else 1)


@WRITE
@STANDS
def test_a_write_of_which_every_answer_is_lost_is_found_by_its_key(api: Gateway, write: str, fault: Fault) -> None:
    """Three answers are lost, as many as botocore sends. For an existing run the handler then looks for the key."""
    client = Recorder(api, keyed=True, sendings=2)
    run_id = prepared(client, write)
    before = len(client.exchanges)
    with injected(scripted(fault, fault, fault)):
        WRITES[write](client, run_id)
    answers = [(exchange.status, exchange.is_replay) for exchange in client.exchanges[before:]]
    found = {"create": [(503, False), (201, True)], "patch": [(503, False), (200, False)]}
    assert answers == found.get(write, [(200, True)])
    assert len(stored()) == (2 if write == "create" else 1)
    final = client.check(run_id)
    assert len(final.attempts) == (2 if write in ("failed", "retry") else 1)


@WRITE
@STANDS
def test_without_a_key_it_stays_open_whether_a_write_stands(api: Gateway, write: str, fault: Fault) -> None:
    client = Recorder(api, sendings=1)
    run_id = prepared(client, write)
    with injected(scripted(fault, fault, fault)):
        assert WRITES[write](client, run_id).status == 503
    client.check(run_id)
    for id_, sort_keys in stored().items():
        assert_whole(api, id_, sort_keys)


@WRITE
@pytest.mark.parametrize(
    "fault",
    [Fault.THROTTLED, Fault.INTERNAL, Fault.NOT_SENT, Fault.CONFLICT, Fault.CANCELLED_THROTTLED, Fault.CANCELLED_BOTH],
)
def test_a_write_that_did_not_stand_is_written_once(api: Gateway, write: str, fault: Fault) -> None:
    client = Recorder(api)
    run_id = prepared(client, write)
    with injected(scripted(fault)) as faults:
        answer = WRITES[write](client, run_id)
    assert answer.status in (200, 201)
    assert faults.injected == {fault: 1}
    client.check(run_id)


@WRITE
def test_a_write_that_arrives_after_its_repeat_changes_nothing(api: Gateway, write: str) -> None:
    client = Recorder(api, keyed=True)
    run_id = prepared(client, write)
    with injected(scripted(Fault.LATE)):
        assert WRITES[write](client, run_id).status in (200, 201)
    assert len(stored()) == (2 if write == "create" else 1)
    client.check(run_id)


def any_request(client: Recorder, rng: random.Random, run_ids: list[str]) -> None:
    """Send a request of a worker or an operator to one of the newest dozen runs, or create another run."""
    run_id = rng.choice(run_ids[-12:])

    def create() -> None:
        answer = client.send("POST", "/runs", {"image": "faults", "retry_policy": {"max_attempts": 4}})
        if answer.status == 201:
            run_ids.append(answer.json["id"])

    token: dict[str, Any] = rng.choice([{}, {}, {}, {"attempt": rng.randint(1, 3)}])
    requests: list[tuple[int, Any]] = [
        (2, create),
        (6, lambda: client.event(run_id, "INFO", msg=rng.random().hex(), minimal=True, **token)),
        (2, lambda: client.event(run_id, "ASSIGNED", payload={"worker_id": "a"}, **token)),
        (5, lambda: client.start(run_id, f"worker-{rng.randrange(9)}", **token)),
        (4, lambda: client.event(run_id, "PROGRESS", msg=rng.randint(0, 100), **token)),
        (1, lambda: client.event(run_id, "COMPLETED", payload={"outputs": {"n": rng.random()}}, **token)),
        (3, lambda: client.event(run_id, "FAILED", payload={"error_message": "no"}, **token)),
        (2, lambda: client.event(run_id, "RETRIED", payload={"force": rng.random() < 0.5}, **token)),
        (4, lambda: client.retry(run_id)),
        (1, lambda: client.cancel(run_id)),
        (1, lambda: client.patch(run_id, priority=rng.randint(0, 9999))),
        (2, lambda: client.send("GET", f"/runs/{run_id}")),
        (1, lambda: client.send("GET", f"/runs/{run_id}/attempts")),
    ]
    (request,) = rng.choices([request for _, request in requests], [weight for weight, _ in requests])
    request()


@WRITE
def test_a_write_that_arrives_after_it_was_given_up_has_no_second_effect(api: Gateway, write: str) -> None:
    """The repeat meets a conflict. The handler then makes no new decision, and a repeated creation is the same one."""
    client = Recorder(api, sendings=1)
    run_id = prepared(client, write)
    with injected(scripted(Fault.LATE, Fault.CONFLICT)) as faults:
        answer = WRITES[write](client, run_id)
    assert faults.injected == {Fault.LATE: 1, Fault.CONFLICT: 1}
    assert answer.status == (201 if write == "create" else 503)
    final = client.check(run_id)
    assert len(stored()) == (2 if write == "create" else 1)
    assert len(final.attempts) <= 2


SEEDS = range(3)


def storm(api: Gateway, client: Recorder, seed: int) -> None:
    """Send 2,000 requests from 16 threads to the newest dozen of their runs, with faults."""
    run_ids = [client.create(image="faults", retry_policy={"max_attempts": 4}) for _ in range(12)]

    def play(thread: int) -> None:
        rng = random.Random(f"{seed}.{thread}")
        for _ in range(125):
            any_request(client, rng, run_ids)

    with injected(seeded(seed, rate=0.08)) as faults, ThreadPoolExecutor(16) as threads:
        list(threads.map(play, range(16)))
    print(f"seed {seed}: {faults}; {client.counts()}")
    assert set(faults.injected) == set(Fault)
    statuses = Counter(exchange.status for exchange in client.exchanges)
    assert set(statuses) <= {200, 201, 400, 409, 503}
    assert {exchange.code for exchange in client.exchanges} <= {
        None,
        "invalid_transition",
        "retry_budget_spent",
        "run_busy",
        "run_locked",
        "stale_attempt",
        "unavailable",
    }
    for run_id, sort_keys in stored().items():
        assert_whole(api, run_id, sort_keys)


@pytest.mark.contention
@pytest.mark.long
@pytest.mark.parametrize("seed", SEEDS)
def test_with_keys_every_effect_happens_exactly_once(api: Gateway, seed: int) -> None:
    client = Recorder(api, keyed=True, sendings=30)
    storm(api, client, seed)
    last_of_intent = {exchange.intent: exchange for exchange in client.exchanges}
    assert not [exchange for exchange in last_of_intent.values() if exchange.is_unknown or exchange.code == "run_busy"]
    created = {e.answer["id"] for e in client.exchanges if e.method == "POST" and e.path == "/runs" and e.succeeded}
    items = stored()
    assert set(items) == created
    assert len(created) == len({e.intent for e in client.exchanges if e.method == "POST" and e.path == "/runs"})
    events = 0
    for run_id in created:
        events += len(client.check(run_id).events)
        used = {e.key for e in client.of_run(run_id) if e.method == "POST" and e.succeeded}
        assert len([sk for sk in items[run_id] if sk.startswith(keys.idempotency_sk(""))]) == len(used)
    print(f"  {len(created)} runs with {events} events: each exactly once")


@pytest.mark.contention
@pytest.mark.long
@pytest.mark.parametrize("seed", SEEDS)
def test_without_keys_no_request_has_two_effects_or_half_an_effect(api: Gateway, seed: int) -> None:
    """No client repeats a request here, so an unknown outcome is there once or not at all."""
    client = Recorder(api, sendings=1)
    storm(api, client, seed)
    asked = Counter(e.status for e in client.exchanges if e.method == "POST" and e.path == "/runs")
    items = stored()
    assert asked[201] <= len(items) <= asked[201] + asked[503]
    for run_id in items:
        client.check(run_id)
    lost = [e for e in client.exchanges if e.is_unknown and e.mark is not None]
    marks = {event["payload"].get("mark") for run_id in items for event in read_final(api, run_id).events}
    print(
        f"  {len(items) - asked[201]} runs and {sum(e.mark in marks for e in lost)} of {len(lost)} events stand untold"
    )

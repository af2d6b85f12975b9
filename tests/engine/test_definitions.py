"""Definitions on DynamoDB Local: what they cost, and what holds when puts, deletions and creations race."""

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from random import Random
from threading import Barrier
from typing import Any

import boto3
import pytest

from gyoza_domain.bootstrap import definitions
from gyoza_domain.dynamodb import keys
from testing.capacity import Usage, measured
from testing.engine import counted
from testing.gateway import Answer, Gateway

IMAGE = "i" * 64


def body_of(size: int, **fields: Any) -> dict[str, Any]:
    """A put of so many bytes as compact JSON."""
    body = {"version": "1.0.0", "image": IMAGE, "input_specs": {"a": {"type": "string", "description": ""}}} | fields
    room = size - len(json.dumps(body, separators=(",", ":")))
    return body | {"input_specs": {"a": {"type": "string", "description": "x" * room}}}


def put(api: Gateway, body: dict[str, Any], name: str = "n" * 64, **headers: str) -> Answer:
    return api.put(f"/definitions/{name}", body, **headers)


def new_process() -> None:
    """Let the next request find nothing kept."""
    definitions.definitions.cache_clear()


def cost(request: Callable[[], Answer], status: int = 200) -> Usage:
    with measured() as usage:
        answer = request()
    assert answer.status == status, answer.text
    return usage


# -- costs


@pytest.mark.parametrize("kib", [1, 2, 3, 4, 5, 8, 16, 64])
def test_a_put_is_one_transaction_of_eight_write_units_and_two_for_each_further_kb(
    engine_api: Gateway, kib: int
) -> None:
    new, other = body_of(kib * 1024), body_of(kib * 1024, version="v" * 32)
    changed, moved = body_of(kib * 1024, image="j" * 64), body_of(kib * 1024, priority=7)
    units = []
    for body, status in [(new, 201), (other, 201), (changed, 200), (moved, 200), (other, 200)]:
        new_process()
        usage = cost(partial(put, engine_api, body), status)
        assert usage.calls.count("TransactWriteItems") == 1
        assert set(usage.calls) <= {"GetItem", "TransactWriteItems"}
        units.append(usage.write_units)
    print(f"a put of {kib} KiB: {units} write units")
    assert max(units) <= 8 + 2 * (kib - 1)


def test_a_put_costs_the_same_however_many_versions_the_name_has(engine_api: Gateway) -> None:
    units, reads = [], []
    for number in range(120):
        usage = cost(partial(put, engine_api, body_of(1024, version=f"{'v' * 28}{number:04d}")), 201)
        units.append(usage.write_units)
        reads.append(usage.read_units)
    assert max(units) <= 8
    assert max(reads) <= 2


def test_a_put_of_what_stands_writes_nothing(engine_api: Gateway) -> None:
    put(engine_api, body_of(1024))
    usage = cost(lambda: put(engine_api, body_of(1024)))
    assert (usage.calls, usage.write_units) == (["GetItem", "GetItem"], 0)


@pytest.mark.parametrize("by_version", [False, True])
def test_a_run_from_a_definition_reads_one_unit_more_than_an_ad_hoc_one(engine_api: Gateway, by_version: bool) -> None:
    """With as many versions as NAME holds, and more."""
    for number in range(30):
        put(engine_api, {"version": f"{'v' * 28}{number:04d}", "image": IMAGE})
    fields = {"version": f"{'v' * 28}0029"} if by_version else {}
    path = f"/definitions/{'n' * 64}/runs"
    new_process()
    first = cost(lambda: engine_api.post(path, fields), 201)
    assert first.calls == ["GetItem", "GetItem", "TransactWriteItems"]
    usage = cost(lambda: engine_api.post(path, fields), 201)
    assert (usage.calls, usage.read_units) == (["GetItem", "TransactWriteItems"], 1)
    with measured() as ad_hoc:
        engine_api.create(image=IMAGE)
    print(f"POST .../runs: {usage.write_units} write units; POST /runs: {ad_hoc.write_units}")
    assert usage.write_units <= ad_hoc.write_units + 1, "the index by definition"


def test_a_get_reads_what_the_process_does_not_have(engine_api: Gateway) -> None:
    put(engine_api, body_of(60_000))
    new_process()
    path = f"/definitions/{'n' * 64}"
    first = cost(lambda: engine_api.get(path))
    assert first.calls == ["GetItem"] * 3
    again = cost(lambda: engine_api.get(path, version="1.0.0"))
    assert (again.calls, again.read_units) == (["GetItem"], 1)


@pytest.mark.parametrize("size", [500, 3_000, 20_000])
def test_a_list_of_a_hundred_is_two_calls_and_a_unit_a_row(engine_api: Gateway, size: int) -> None:
    for number in range(101):
        put(engine_api, body_of(size), name=f"name-{number:04d}")
    with counted() as usage:
        page = engine_api.get("/definitions", limit=100).json
    assert (len(page["data"]), page["next_cursor"]) == (100, "name-0099")
    assert usage.calls == ["Query", "BatchGetItem"]
    assert usage.read_units <= 100
    print(f"GET /definitions of 100 at {size} bytes: {usage.read_units} read units")
    with measured() as behind:
        assert len(engine_api.get("/definitions", limit=100, starting_after="name-0050").json["data"]) == 50
    assert behind.calls == ["GetItem", "Query", "BatchGetItem"]


def test_no_item_of_a_definition_passes_the_filter_of_a_stream_reader(engine_api: Gateway) -> None:
    put(engine_api, body_of(20_000, event_delivery={"topic": "orders"}))
    engine_api.call("POST", "/definitions", body_of(1024, name="n"), headers={"Idempotency-Key": "k"})
    client: Any = boto3.client("dynamodb")
    items = client.scan(TableName=os.environ["GYOZA_TABLE"])["Items"]
    assert len(items) == 3 + 2 + 1
    assert not [item for item in items if item["sk"]["S"] == keys.HEAD or "delivers" in item]


# -- races


def at_once(*requests: Callable[[], Answer]) -> list[Answer]:
    """The answers to requests that begin together, each in a thread of its own."""
    barrier = Barrier(len(requests))

    def send(request: Callable[[], Answer]) -> Answer:
        barrier.wait()
        return request()

    with ThreadPoolExecutor(len(requests)) as threads:
        return list(threads.map(send, requests))


@pytest.mark.contention
def test_of_sixteen_puts_with_one_etag_exactly_one_succeeds(engine_api: Gateway) -> None:
    tag = put(engine_api, {"version": "1", "image": "first"}, "d").headers["ETag"]
    for turn in range(5):
        answers = at_once(
            *[partial(put, engine_api, {"version": "1", "image": f"{turn}-{n}"}, "d", If_Match=tag) for n in range(16)]
        )
        assert sorted(answer.status for answer in answers) == [200] + [412] * 15
        [won] = [answer for answer in answers if answer.status == 200]
        shown = engine_api.get("/definitions/d")
        assert shown.text == won.text
        assert won.json["revision"] == turn + 2
        tag = won.headers["ETag"]


@pytest.mark.contention
def test_of_sixteen_puts_of_a_new_version_exactly_one_makes_it(engine_api: Gateway) -> None:
    for turn in range(5):
        answers = at_once(
            *[
                partial(put, engine_api, {"version": f"{turn}", "image": f"{n}"}, "d", If_None_Match="*")
                for n in range(16)
            ]
        )
        assert sorted(answer.status for answer in answers) == [201] + [412] * 15


@pytest.mark.contention
def test_sixteen_puts_of_a_name_see_no_409_and_each_is_a_revision(engine_api: Gateway) -> None:
    for version in ("1", None):
        answers = at_once(
            *[partial(put, engine_api, {"version": version or f"v{n}", "image": f"{n}"}, "d") for n in range(16)]
        )
        assert {answer.status for answer in answers} <= {200, 201}
        revisions = sorted(answer.json["revision"] for answer in answers)
        assert revisions == (list(range(1, 17)) if version else [1] * 16)
    rows = engine_api.get("/definitions/d/versions", limit=100).json["data"]
    assert len(rows) == 17


@pytest.mark.contention
def test_a_run_is_of_one_revision_and_sees_every_put_that_was_answered_before_it(engine_api: Gateway) -> None:
    """Each revision n has the image n, the default n and the priority n, in a large and a small definition by turns."""

    def body(n: int) -> dict[str, Any]:
        description = "x" * (6_000 if n % 2 else 10)
        specs = {"a": {"type": "int", "default": n, "description": description}}
        return {"version": "1", "image": f"{n}", "priority": n, "input_specs": specs}

    answered = [1]
    assert put(engine_api, body(1), "d").status == 201

    def write() -> None:
        for n in range(2, 60):
            answer = put(engine_api, body(n), "d")
            assert (answer.status, answer.json["revision"]) == (200, n)
            answered.append(n)
        answered.append(0)

    def create(seed: int) -> list[tuple[int, Any]]:
        seen, random = [], Random(seed)
        while answered[-1]:
            begun_after = answered[-1]
            fields = {"version": "1"} if random.random() < 0.5 else {}
            answer = engine_api.post("/definitions/d/runs", fields)
            assert answer.status == 201, answer.text
            seen.append((begun_after, answer.json))
        return seen

    with ThreadPoolExecutor(5) as threads:
        writer = threads.submit(write)
        runs = [run for each in threads.map(create, range(4)) for run in each]
        writer.result()
    for begun_after, run in runs:
        n = run["op_revision"]
        assert (run["image"], run["inputs"], run["priority"]) == (f"{n}", {"a": n}, n)
        assert n >= begun_after
    assert len({run["op_revision"] for _, run in runs}) > 3
    print(f"{len(runs)} runs of {len({run['op_revision'] for _, run in runs})} revisions")


@pytest.mark.contention
def test_puts_and_deletions_take_turns(engine_api: Gateway) -> None:
    put(engine_api, {"version": "1", "image": "0"}, "d")
    for n in range(1, 6):
        requests: list[Callable[[], Answer]] = [lambda: engine_api.call("DELETE", "/definitions/d")] * 4
        requests += [partial(put, engine_api, {"version": "1", "image": f"{n}"}, "d")] * 4
        answers = at_once(*requests)
        assert {answer.status for answer in answers} <= {200, 204}
        shown = engine_api.get("/definitions/d", version="1").json
        assert (shown["revision"], shown["image"]) == (n + 1, f"{n}")
        assert engine_api.call("DELETE", "/definitions/d").status == 204
        assert engine_api.get("/definitions/d").status == 404
        assert engine_api.post("/definitions/d/runs").status == 404


@pytest.mark.contention
def test_one_key_makes_one_put_and_one_run(engine_api: Gateway) -> None:
    key = {"Idempotency-Key": "k"}
    body = {"name": "d", "version": "1", "image": "0"}
    answers = at_once(*[lambda: engine_api.call("POST", "/definitions", body, headers=key)] * 8)
    assert [answer.status for answer in answers] == [201] * 8
    assert sum("Idempotent-Replayed" in answer.headers for answer in answers) == 7
    answers = at_once(*[lambda: engine_api.call("POST", "/definitions/d/runs", headers=key)] * 8)
    assert [answer.status for answer in answers] == [201] * 8
    assert len({answer.json["id"] for answer in answers}) == 1

"""What each request may cost: DynamoDB calls, and units by AWS's rules from the sizes of the items sent."""

from typing import Any

import pytest

from gyoza_domain.domain.run import RunSpec, State
from tests.support.capacity import Usage, measured
from tests.support.gateway import Gateway
from tests.support.seeding import running, seeded_run, store_events, store_runs

IMAGE = "i" * 64
MSG = "m" * 200
DELIVERY = {"topic": "t" * 64, "attributes": {"team": "a"}}
WORKER = {"worker_id": "w" * 32, "gpu_id": 0}

WITH_AND_WITHOUT_DELIVERY = pytest.mark.parametrize(
    "fields", [{}, {"event_delivery": DELIVERY}], ids=["plain", "delivery"]
)


def cost_of_event(api: Gateway, run_id: str, type_: str, *, minimal: bool = False, **fields: Any) -> Usage:
    with measured() as usage:
        answer = api.event(run_id, type_, minimal=minimal, **fields)
    assert answer.status == 200, answer.text
    return usage


@WITH_AND_WITHOUT_DELIVERY
def test_a_creation_is_one_call(api: Gateway, fields: dict[str, Any]) -> None:
    with measured() as usage:
        api.create(image=IMAGE, **fields)
    assert usage.calls == ["TransactWriteItems"]
    assert usage.write_units == 7
    print(f"POST /runs: {usage.write_units} write units")


@WITH_AND_WITHOUT_DELIVERY
@pytest.mark.parametrize("minimal", [False, True])
@pytest.mark.parametrize(("type_", "msg"), [("INFO", MSG), ("ERROR", MSG), ("PROGRESS", 50)])
def test_an_event_that_leaves_the_state_costs_four_write_units(
    api: Gateway, type_: str, msg: Any, minimal: bool, fields: dict[str, Any]
) -> None:
    run_id = api.create(image=IMAGE, inputs={"text": "x" * 200_000}, **fields)["id"]
    api.event(run_id, "STARTED", payload=WORKER)
    usage = cost_of_event(api, run_id, type_, msg=msg, minimal=minimal)
    assert usage.write_units == 4
    if minimal:
        assert usage.calls == ["Query", "TransactWriteItems"]
        assert usage.read_units == 1
    else:
        assert usage.calls == ["Query", "TransactWriteItems", "Query"]


def test_an_event_costs_the_same_after_ten_thousand(api: Gateway) -> None:
    used = []
    for number, events in enumerate((10, 10_000)):
        run = running(seeded_run(number, events=events))
        store_runs([(run, RunSpec(IMAGE))])
        store_events(run, msg=MSG)
        used.append(cost_of_event(api, run.id, "INFO", msg=MSG, minimal=True))
    assert used[0] == used[1]


@WITH_AND_WITHOUT_DELIVERY
def test_events_that_change_the_state_stay_within_fourteen_write_units(api: Gateway, fields: dict[str, Any]) -> None:
    run_id = api.create(image=IMAGE, retry_policy={"max_attempts": 2}, **fields)["id"]
    steps: list[tuple[str, dict[str, Any]]] = [
        ("ASSIGNED", {"worker_id": "w" * 32}),
        ("STARTED", WORKER),
        ("FAILED", {"error_message": "e" * 100}),
        ("STARTED", WORKER),
        ("FAILED", {"error_message": "e" * 100}),
        ("RETRIED", {"force": True}),
        ("STARTED", WORKER),
        ("COMPLETED", {"outputs": {}}),
    ]
    units = []
    for type_, payload in steps:
        usage = cost_of_event(api, run_id, type_, msg=MSG, payload=payload, minimal=True)
        assert usage.calls == ["Query", "TransactWriteItems"]
        assert usage.read_units == 1
        units.append(usage.write_units)
    print(dict(zip([f"{n} {type_}" for n, (type_, _) in enumerate(steps)], units, strict=True)))
    assert max(units) <= 14


def test_outputs_are_paid_once(api: Gateway) -> None:
    run_id = api.create(image=IMAGE)["id"]
    api.start(run_id)
    usage = cost_of_event(api, run_id, "COMPLETED", payload={"outputs": {"text": "x" * 200_000}})
    assert usage.calls == ["Query", "TransactWriteItems", "Query"]
    assert usage.write_units <= 14 + 2 * 200_000 / 1024


def test_the_head_stays_below_one_kilobyte_whatever_a_run_holds(api: Gateway) -> None:
    run_id = api.create(
        image="\N{GRINNING FACE}" * 512,
        inputs={"text": "x" * 260_000},
        priority=9999,
        retry_policy={"max_attempts": 100},
        event_delivery=DELIVERY,
    )["id"]
    worker = {"worker_id": "\N{GRINNING FACE}" * 128, "gpu_id": 10**300}
    events: list[tuple[str, dict[str, Any]]] = [
        ("STARTED", {"payload": worker}),
        ("INFO", {"msg": "m" * 4096}),
        ("COMPLETED", {"payload": {"outputs": {"text": "x" * 260_000}}}),
    ]
    for type_, fields in events:
        assert 0 < cost_of_event(api, run_id, type_, **fields).head_bytes < 1024


def test_reading_a_run_is_two_calls_and_does_not_grow_past_its_newest_hundred_events(api: Gateway) -> None:
    used = []
    for number, events in enumerate((100, 10_000)):
        run = seeded_run(number, events=events)
        store_runs([(run, RunSpec(IMAGE))])
        store_events(run, msg=MSG)
        with measured() as usage:
            assert api.get(f"/runs/{run.id}").json["event_count"] == events
        used.append(usage)
    assert used[0].calls == ["Query", "Query"]
    assert used[0] == used[1]


@pytest.mark.parametrize("new", [0, 1, 10])
def test_a_poll_costs_what_it_brings(api: Gateway, new: int) -> None:
    run = seeded_run(0, events=5_000)
    store_runs([(run, RunSpec(IMAGE))])
    store_events(run, msg=MSG)
    with measured() as usage:
        answer = api.get(f"/runs/{run.id}/events", after=5_000 - 1 - new)
    assert len(answer.json["events"]) == new
    assert usage.calls == (["GetItem", "Query"] if new else ["GetItem"])
    assert usage.read_units <= 2


@pytest.mark.parametrize("ended_by", ["COMPLETED", "FAILED"])
def test_a_poll_of_an_ended_run_is_two_calls(api: Gateway, ended_by: str) -> None:
    run_id = api.create()["id"]
    api.start(run_id)
    outputs = {"outputs": {"text": "x" * 1000}} if ended_by == "COMPLETED" else {"error_message": "no"}
    api.event(run_id, ended_by, payload=outputs)
    with measured() as usage:
        events = api.get(f"/runs/{run_id}/events", after=0).json["events"]
    assert [event["payload"] for event in events] == [outputs]
    assert usage.calls == ["GetItem", "Query"]


FILTERS: list[dict[str, Any]] = [
    {},
    {"state": "CANCELLED"},
    {"image": "rare"},
    {"created[gte]": 1_767_225_600},
    {"state": "CANCELLED", "image": "rare"},
]


def test_a_list_costs_the_same_however_many_runs_there_are(api: Gateway) -> None:
    """At 1,000 and at 20,000 runs, with one in a thousand and one in ten thousand matching."""
    costs = []
    stored = 0
    for total in (1_000, 20_000):
        rare = {500, 10_500}
        store_runs(
            (
                seeded_run(number, state=State.CANCELLED if number in rare else State.COMPLETED),
                RunSpec("rare" if number in rare else "common"),
            )
            for number in range(stored, total)
        )
        stored = total
        for query in FILTERS:
            cursors: list[dict[str, Any]] = [{}, {"starting_after": seeded_run(900).id}]
            for cursor in cursors:
                with measured() as usage:
                    answer = api.get("/runs", **query, **cursor)
                rows = len(answer.json["data"])
                assert usage.calls.count("Query") == 4
                assert usage.calls.count("GetItem") == len(cursor)
                assert sum(usage.items_asked) <= 3 * rows
                costs.append((total, rows, len(usage.calls)))
    print("runs, rows, calls:", *costs)


def test_rows_of_every_kind_are_read_in_three_items(api: Gateway) -> None:
    completed = api.create()["id"]
    api.start(completed)
    api.event(completed, "COMPLETED", payload={"outputs": {"a": 1}})
    failed = api.create()["id"]
    api.start(failed)
    api.event(failed, "FAILED", payload={"error_message": "no"})
    patched = api.create()["id"]
    api.patch(f"/runs/{patched}", {"outputs": {"b": 2}})
    api.start(api.create()["id"])
    with measured() as usage:
        rows = api.get("/runs").json["data"]
    assert len(rows) == 4
    assert sum(usage.items_asked) <= 12
    assert usage.calls == ["Query"] * 4 + ["BatchGetItem"] * 2
    for row in rows:
        whole = api.get(f"/runs/{row['id']}").json
        del whole["events"]
        assert row == whole

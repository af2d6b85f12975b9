"""Limits the cost of each request: its DynamoDB calls, and its units by AWS's rules and the items' sizes."""

import re
from collections import Counter
from typing import Any

import pytest

from gyoza_domain.domain.run import RunSpec, State
from testing.capacity import Usage, measured
from testing.cloudformation import ROOT
from testing.gateway import Gateway
from testing.seeding import SHARDS, running, seeded_run, store_events, store_runs

IMAGE = "i" * 64
MSG = "m" * 200
DELIVERY = {"topic": "t" * 64, "attributes": {"team": "a"}}
WORKER = {"worker_id": "w" * 32, "gpu_id": 0}
DATA_MODEL = (ROOT / "docs/data-model.md").read_text()
PARTITION_WRITES_A_SECOND = 1000
"""https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html"""

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
    assert usage.write_units == 8
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
        assert usage.read_units == 1
    assert usage.calls == ["Query", "TransactWriteItems"]


def test_an_event_costs_the_same_after_ten_thousand(api: Gateway) -> None:
    used = []
    for number, events in enumerate((10, 10_000)):
        run = running(seeded_run(number, events=events))
        store_runs([(run, RunSpec(IMAGE))])
        store_events(run, msg=MSG)
        usage = cost_of_event(api, run.id, "INFO", msg=MSG, minimal=True)
        used.append((usage.calls, usage.read_units, usage.write_units))
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


def test_a_shard_takes_the_documented_number_of_runs_a_second(api: Gateway) -> None:
    events: list[tuple[str, dict[str, Any]]] = [
        ("ASSIGNED", {"payload": {"worker_id": "w" * 32}}),
        ("STARTED", {"payload": WORKER}),
        ("PROGRESS", {"msg": 50}),
        ("INFO", {"msg": MSG}),
        ("COMPLETED", {"payload": {"outputs": {}}}),
    ]
    with measured() as usage:
        run_id = api.create(image=IMAGE)["id"]
        for type_, fields in events:
            assert api.event(run_id, type_, **fields).status == 200
    busiest: Counter[str] = Counter()
    for (index, _), writes in usage.index_writes.items():
        busiest[index] = max(busiest[index], writes)
    rows = re.findall(r"^\| `(\w+)` \| (\d)[^|]*\| ([\d,]+)", DATA_MODEL, re.MULTILINE)
    documented = {index: (int(writes), int(runs.replace(",", ""))) for index, writes, runs in rows}
    assert documented == {index: (writes, PARTITION_WRITES_A_SECOND // writes) for index, writes in busiest.items()}


def test_outputs_are_paid_once(api: Gateway) -> None:
    run_id = api.create(image=IMAGE)["id"]
    api.start(run_id)
    usage = cost_of_event(api, run_id, "COMPLETED", payload={"outputs": {"text": "x" * 200_000}})
    assert usage.calls == ["Query", "TransactWriteItems"]
    assert usage.write_units <= 14 + 2 * 200_000 / 1024


def test_the_head_stays_within_570_bytes_whatever_a_run_holds(api: Gateway) -> None:
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
        assert 0 < cost_of_event(api, run_id, type_, **fields).head_bytes <= 570


def test_reading_a_run_is_one_call_and_does_not_grow_past_its_newest_hundred_events(api: Gateway) -> None:
    used = []
    for number, events in enumerate((100, 10_000)):
        run = seeded_run(number, events=events)
        store_runs([(run, RunSpec(IMAGE))])
        store_events(run, msg=MSG)
        with measured() as usage:
            assert api.get(f"/runs/{run.id}").json["event_count"] == events
        used.append(usage)
    assert used[0].calls == ["Query"]
    assert used[1].calls == ["Query"]
    assert used[1].items_read <= 106
    assert used[1].read_units <= used[0].read_units + 1


@pytest.mark.parametrize("new", [0, 1, 10])
def test_a_poll_costs_what_it_brings(api: Gateway, new: int) -> None:
    run = seeded_run(0, events=5_000)
    store_runs([(run, RunSpec(IMAGE))])
    store_events(run, msg=MSG)
    with measured() as usage:
        answer = api.get(f"/runs/{run.id}/events", after=5_000 - 1 - new)
    assert len(answer.json["events"]) == new
    assert usage.calls == ["Query"]
    assert usage.read_units <= 2


@pytest.mark.parametrize("ended_by", ["COMPLETED", "FAILED"])
def test_a_poll_of_an_ended_run_is_one_call(api: Gateway, ended_by: str) -> None:
    run_id = api.create()["id"]
    api.start(run_id)
    outputs = {"outputs": {"text": "x" * 1000}} if ended_by == "COMPLETED" else {"error_message": "no"}
    api.event(run_id, ended_by, payload=outputs)
    with measured() as usage:
        events = api.get(f"/runs/{run_id}/events", after=0).json["events"]
    assert [event["payload"] for event in events] == [outputs]
    assert usage.calls == ["Query"]


FILTERS: list[dict[str, Any]] = [
    {},
    {"state": "CANCELLED"},
    {"image": "rare"},
    {"created[gte]": 1_767_225_600},
    {"state": "CANCELLED", "image": "rare"},
]


def test_a_list_costs_the_same_however_many_runs_there_are(api: Gateway) -> None:
    """The lists are read at 1,000 and at 20,000 runs. One run in a thousand or in ten thousand matches."""
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
                assert usage.calls.count("Query") == SHARDS
                assert usage.calls.count("GetItem") == len(cursor)
                assert sum(usage.items_asked) <= 3 * rows
                costs.append((total, rows, len(usage.calls)))
    print("runs, rows, calls:", *costs)


def row_of(api: Gateway, run_id: str) -> dict[str, Any]:
    """The whole run without the fields that no row has."""
    run: dict[str, Any] = api.get(f"/runs/{run_id}").json
    return {name: value for name, value in run.items() if name not in {"events", "lease_s", "lease_until"}}


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
    assert usage.calls == ["Query"] * SHARDS + ["BatchGetItem"] * 2
    for row in rows:
        assert row == row_of(api, row["id"])


LARGE_INPUTS = {"text": "x" * 200_000}


def test_inputs_above_a_kilobyte_cost_a_creation_two_units_more(api: Gateway) -> None:
    inputs = {"text": "x" * 3_000}
    with measured() as usage:
        api.create(image=IMAGE, inputs=inputs)
    assert usage.calls == ["TransactWriteItems"]
    # With SPEC alone HEAD costs 2, SPEC of 4 KB costs 8, and four index entries cost 4. SPEC without inputs costs 2.
    assert usage.write_units == 2 + 8 + 4 + 2


def run_of_attempt_two(api: Gateway, events: int = 100) -> str:
    """A run in attempt 2, which is started, after so many events in attempt 1."""
    run_id: str = api.create(image=IMAGE, retry_policy={"max_attempts": 2})["id"]
    api.event(run_id, "STARTED", minimal=True, payload=WORKER)
    for _ in range(events - 2):
        api.event(run_id, "INFO", minimal=True, msg=MSG)
    api.event(run_id, "FAILED", minimal=True, msg=MSG)
    api.event(run_id, "STARTED", minimal=True, payload=WORKER)
    return run_id


def test_reads_of_attempt_two_do_not_pay_for_the_hundred_events_of_attempt_one(api: Gateway) -> None:
    run_id = run_of_attempt_two(api)
    with measured() as usage:
        assert api.get(f"/runs/{run_id}").json["event_count"] == 2
    assert usage.calls == ["Query"]
    first_page = usage.read_units
    with measured() as idle:
        assert api.get(f"/runs/{run_id}/events", after=1).json["events"] == []
    assert idle.calls == ["Query"]
    assert idle.read_units <= 4, "HEAD and 25 events of some 400 bytes"
    with measured() as poll:
        assert [event["id"] for event in api.get(f"/runs/{run_id}/events").json["events"]] == [0, 1]
    assert poll.calls == ["Query"]
    with measured() as across:
        assert len(api.get(f"/runs/{run_id}/events", after_seq=-1).json["events"]) == 102
    assert across.calls == ["Query"]
    assert first_page <= across.read_units + 1


@pytest.mark.parametrize("events", [100, 5_000])
@pytest.mark.parametrize("new", [0, 3, 900])
def test_after_seq_reads_exactly_what_is_new(api: Gateway, events: int, new: int) -> None:
    if new > events:
        pytest.skip("the run has no so many events")
    run = seeded_run(0, events=events)
    store_runs([(run, RunSpec(IMAGE))])
    store_events(run, msg=MSG)
    with measured() as usage:
        assert len(api.get(f"/runs/{run.id}/events", after_seq=events - 1 - new).json["events"]) == new
    assert usage.calls == ["Query"]
    assert usage.items_read == new + 1


@pytest.mark.parametrize(("new", "calls"), [(0, 1), (25, 1), (26, 2), (500, 2)])
def test_a_poll_by_after_reads_exactly_what_is_new_in_attempt_one(api: Gateway, new: int, calls: int) -> None:
    run = seeded_run(0, events=1_000)
    store_runs([(run, RunSpec(IMAGE))])
    store_events(run, msg=MSG)
    with measured() as usage:
        assert len(api.get(f"/runs/{run.id}/events", after=1_000 - 1 - new).json["events"]) == new
    assert usage.calls == ["Query"] * calls
    assert usage.items_read == new + 1


@pytest.mark.parametrize("minimal", [False, True])
def test_a_failure_and_its_automatic_retry_are_two_calls(api: Gateway, minimal: bool) -> None:
    run_id = api.create(image=IMAGE, retry_policy={"max_attempts": 2})["id"]
    api.event(run_id, "STARTED", minimal=True, payload=WORKER)
    usage = cost_of_event(api, run_id, "FAILED", msg=MSG, minimal=minimal)
    assert usage.calls == ["Query", "TransactWriteItems"]
    # HEAD, two events, the closed attempt, the deleted claim; the index by state moves, that by image changes, and the
    # index of claims gets an entry.
    assert usage.write_units == 2 + 4 + 2 + 2 + 3 + 1


@pytest.mark.parametrize("prefer", [{}, {"Prefer": "return=minimal"}])
@pytest.mark.parametrize("route", ["retry", "cancel"])
def test_retry_and_cancel_are_two_calls(api: Gateway, route: str, prefer: dict[str, str]) -> None:
    run_id = api.create(image=IMAGE, inputs=LARGE_INPUTS)["id"]
    api.event(run_id, "STARTED", minimal=True, payload=WORKER)
    with measured() as usage:
        assert api.call("POST", f"/runs/{run_id}/{route}", headers=prefer).status == 200
    assert usage.calls == ["Query", "TransactWriteItems"]
    if prefer:
        assert usage.read_units == 1


@pytest.mark.parametrize("prefer", [{}, {"Prefer": "return=minimal"}])
@pytest.mark.parametrize("edit", [{"priority": 7}, {"outputs": {"by": "hand"}}, {"state": "RUNNING"}])
def test_a_patch_is_two_calls(api: Gateway, edit: dict[str, Any], prefer: dict[str, str]) -> None:
    run_id = api.create(image=IMAGE, inputs=LARGE_INPUTS)["id"]
    api.start(run_id)
    api.event(run_id, "COMPLETED", minimal=True, payload={"outputs": {"a": 1}})
    with measured() as usage:
        assert api.call("PATCH", f"/runs/{run_id}", edit, headers=prefer).status == 200
    assert usage.calls == ["Query", "TransactWriteItems"]
    if prefer:
        assert usage.read_units <= 1, "a minimal answer does not pay for the inputs"
    with measured() as usage:
        assert api.get(f"/runs/{run_id}").status == 200
    assert usage.calls == ["Query"]


def test_an_entry_in_the_index_of_claims_costs_a_unit_to_leave_a_unit_to_enter_and_two_to_move(api: Gateway) -> None:
    run_id = api.create(image=IMAGE)["id"]
    with measured() as usage:
        assert api.patch(f"/runs/{run_id}", {"priority": 7}).status == 200
    assert usage.write_units == 2 + 2
    # HEAD, the event, the claim; the index by state moves, that by image changes, the entry of the claims goes.
    left = cost_of_event(api, run_id, "ASSIGNED", payload={"worker_id": "w" * 32}, minimal=True)
    assert left.write_units == 2 + 2 + 2 + 3 + 1
    # HEAD, the event, the closed attempt, the deleted claim; and the indexes as before.
    entered = cost_of_event(api, run_id, "RETRIED", minimal=True)
    assert entered.write_units == 2 + 2 + 2 + 2 + 3 + 1
    with measured() as usage:
        assert api.patch(f"/runs/{run_id}", {"state": "RUNNING"}).status == 200
    assert usage.write_units == 2 + 3 + 1
    with measured() as usage:
        assert api.patch(f"/runs/{run_id}", {"priority": 8}).status == 200
    assert usage.write_units == 2


def test_a_decision_does_not_pay_for_patched_outputs(api: Gateway) -> None:
    run_id = api.create(image=IMAGE)["id"]
    api.start(run_id)
    api.patch(f"/runs/{run_id}", {"outputs": {"text": "x" * 200_000}})
    usage = cost_of_event(api, run_id, "INFO", msg=MSG, minimal=True)
    assert (usage.calls, usage.read_units, usage.write_units) == (["Query", "TransactWriteItems"], 1, 4)
    usage = cost_of_event(api, run_id, "CANCELLED", minimal=True)
    assert (usage.calls, usage.read_units) == (["Query", "TransactWriteItems"], 1)


@pytest.mark.parametrize(
    ("type_", "payload", "events"), [("FAILED", {}, 2), ("RETRIED", {"force": True}, 1)], ids=["automatic", "manual"]
)
def test_a_retry_after_patched_outputs_pays_for_their_move(
    api: Gateway, type_: str, payload: dict[str, Any], events: int
) -> None:
    run_id = api.create(image=IMAGE, retry_policy={"max_attempts": 2})["id"]
    api.event(run_id, "STARTED", minimal=True, payload=WORKER)
    api.patch(f"/runs/{run_id}", {"outputs": {"text": "x" * 200_000}})
    usage = cost_of_event(api, run_id, type_, msg=MSG, payload=payload, minimal=True)
    assert usage.calls == ["Query", "TransactWriteItems"]
    # HEAD, CLAIM and the outputs of 196 KB.
    assert usage.read_units <= 50
    # HEAD, the events, the closed attempt, the deleted claim, the index entries; the outputs, written and deleted.
    assert usage.write_units == 2 + 2 * events + 2 + 2 + 4 + 2 * 196 + 2 * 196


@pytest.mark.parametrize("ended", [False, True], ids=["running", "ended"])
@pytest.mark.parametrize("state", ["FAILED", "CANCELLED", "RUNNING", "PENDING"])
def test_a_patch_of_the_state_does_not_pay_for_patched_outputs(api: Gateway, state: str, ended: bool) -> None:
    run_id = api.create(image=IMAGE)["id"]
    api.start(run_id)
    api.patch(f"/runs/{run_id}", {"outputs": {"text": "x" * 200_000}})
    if ended:
        api.event(run_id, "COMPLETED", minimal=True)
    with measured() as usage:
        answer = api.call("PATCH", f"/runs/{run_id}", {"state": state}, headers={"Prefer": "return=minimal"})
    assert answer.status == 200
    assert (usage.calls, usage.read_units) == (["Query", "TransactWriteItems"], 1)


def test_a_keyed_refusal_costs_three_read_units_more_than_one_read(api: Gateway) -> None:
    run_id = api.create(image=IMAGE)["id"]
    with measured() as usage:
        answer = api.call("POST", f"/runs/{run_id}/events", {"type": "COMPLETED"}, headers={"Idempotency-Key": "k"})
    assert answer.status == 400
    assert usage.calls == ["Query", "TransactGetItems"]
    assert usage.read_units == 1 + 4


def test_a_keyed_repeat_is_four_calls_at_most(api: Gateway) -> None:
    run_id = api.create(image=IMAGE)["id"]
    started = {"type": "STARTED", "payload": WORKER}
    for _ in range(2):
        with measured() as usage:
            answer = api.call("POST", f"/runs/{run_id}/events", started, headers={"Idempotency-Key": "k"})
        assert answer.status == 200
    assert len(usage.calls) <= 4


def test_a_row_of_a_summary_is_two_items_whatever_the_documents_hold(api: Gateway) -> None:
    for _ in range(10):
        run_id = api.create(image=IMAGE, inputs=LARGE_INPUTS)["id"]
        api.start(run_id)
        api.event(run_id, "COMPLETED", minimal=True, payload={"outputs": {"text": "x" * 1_000}})
    with measured() as usage:
        rows = api.get("/runs", fields="summary").json["data"]
    assert len(rows) == 10
    assert usage.calls == ["Query"] * SHARDS + ["BatchGetItem"]
    assert sum(usage.items_asked) == 20
    assert usage.batch_read_units <= 2 * 10


def test_a_summary_at_the_limits_of_event_delivery_is_three_units_a_row(api: Gateway) -> None:
    delivery = {
        "topic": "t" * 120,
        "attributes": {f"{number}" + "n" * 99: "\N{GRINNING FACE}" * 256 for number in range(5)},
    }
    api.create(image="\N{GRINNING FACE}" * 512, inputs=LARGE_INPUTS, event_delivery=delivery)
    with measured() as usage:
        (row,) = api.get("/runs", fields="summary").json["data"]
    assert row["event_delivery"] == delivery
    assert usage.batch_read_units <= 3


def test_rows_whose_outputs_were_patched_before_a_claim_are_read_in_four_items(api: Gateway) -> None:
    for _ in range(10):
        run_id = api.create(image=IMAGE, inputs={"text": "x" * 2_000})["id"]
        for number in range(5):
            api.event(run_id, "INFO", minimal=True, msg=f"{number}" * 500)
        api.patch(f"/runs/{run_id}", {"outputs": {"by": "hand"}})
        api.start(run_id)
    with measured() as usage:
        rows = api.get("/runs").json["data"]
    assert len(rows) == 10
    assert sum(usage.items_asked) == 4 * 10
    assert usage.calls == ["Query"] * SHARDS + ["BatchGetItem"] * 2
    for row in rows:
        assert row == row_of(api, row["id"])


def test_a_hundred_rows_patched_before_a_claim_cost_a_unit_more_each_than_before_it(api: Gateway) -> None:
    """None of them reads its timeline of 12 KB."""
    run_ids = [api.create(image=IMAGE)["id"] for _ in range(100)]
    for run_id in run_ids:
        for _ in range(3):
            api.event(run_id, "INFO", minimal=True, msg="m" * 4_000)
        api.patch(f"/runs/{run_id}", {"outputs": {"by": "hand"}})
    with measured() as patched:
        assert len(api.get("/runs", limit=100).json["data"]) == 100
    for run_id in run_ids:
        api.event(run_id, "STARTED", minimal=True, payload=WORKER)
    with measured() as claimed:
        assert len(api.get("/runs", limit=100).json["data"]) == 100
    print(f"100 rows: {patched.read_units} units patched, {claimed.read_units} claimed afterwards")
    # Each shard's page of the index is half a unit.
    assert patched.read_units <= 3 * 100 + SHARDS / 2
    assert claimed.read_units <= 4 * 100 + SHARDS / 2


def test_five_short_attempts_are_two_queries(api: Gateway) -> None:
    run_id = api.create(image=IMAGE, retry_policy={"max_attempts": 5})["id"]
    for _ in range(4):
        api.event(run_id, "STARTED", minimal=True, payload=WORKER)
        api.event(run_id, "FAILED", minimal=True)
    with measured() as usage:
        assert len(api.get(f"/runs/{run_id}/attempts").json) == 5
    assert usage.calls == ["Query", "Query"]


def test_long_attempts_take_a_batch_for_every_five(api: Gateway) -> None:
    run_id = api.create(image=IMAGE, retry_policy={"max_attempts": 14})["id"]
    for _ in range(13):
        api.event(run_id, "STARTED", minimal=True, payload=WORKER)
        for _ in range(20):
            api.event(run_id, "INFO", minimal=True)
        api.event(run_id, "FAILED", minimal=True)
    with measured() as usage:
        assert [len(each["events"]) for each in api.get(f"/runs/{run_id}/attempts").json] == [20] * 13 + [1]
    assert usage.calls == ["Query", "Query", "BatchGetItem", "BatchGetItem"]


def test_attempts_do_not_pay_for_events_that_no_attempt_shows(api: Gateway) -> None:
    """A page of 1 MB ends after some 50 of the 100 events, and an attempt shows 20."""
    run_id = api.create(image=IMAGE, inputs=LARGE_INPUTS)["id"]
    for _ in range(100):
        api.event(run_id, "INFO", minimal=True, payload={"text": "x" * 16_000})
    with measured() as usage:
        (attempt,) = api.get(f"/runs/{run_id}/attempts").json
    assert [event["id"] for event in attempt["events"]] == list(range(80, 100))
    assert usage.calls == ["Query"]
    assert usage.read_units <= 1_048_576 / 4_096 + 5


def test_attempts_that_do_not_fit_an_answer_are_not_read(api: Gateway) -> None:
    """Each attempt has 200 KB of patched outputs, so that an answer holds about 24 attempts."""
    run_id = api.create(image=IMAGE)["id"]
    for _ in range(40):
        api.event(run_id, "ASSIGNED", minimal=True)
        api.patch(f"/runs/{run_id}", {"outputs": {"text": "x" * 200_000}})
        api.event(run_id, "RETRIED", minimal=True)
    with measured() as usage:
        shown = api.get(f"/runs/{run_id}/attempts").json
    assert 20 <= len(shown) <= 25
    assert usage.read_units <= 50 * (len(shown) + 10)

"""GET /runs"""

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import boto3
import pytest

from gyoza_domain.bootstrap import clients
from gyoza_domain.domain.run import OpRun, RunSpec, State
from gyoza_domain.dynamodb import keys
from testing.gateway import Gateway
from testing.seeding import seeded_run, store_runs
from tests.functions.expected import BEGINNING, Body, a_row, assert_does_not_fit, assert_refused, bytes_as_sent

UNKNOWN = "6f1c2a54-9d1b-4c55-8a39-2f0f5c7be911"
T0 = int(datetime(2026, 3, 2, 20, 0, tzinfo=UTC).timestamp())


def ids(page: Body) -> list[str]:
    return [run["id"] for run in page["data"]]


def create(api: Gateway, count: int, **fields: Any) -> list[str]:
    """Create runs. Returns their ids, newest first."""
    return [api.create(**fields)["id"] for _ in range(count)][::-1]


def walk(api: Gateway, direction: str, start: str | None = None, **query: Any) -> Iterator[Body]:
    """The pages that a client gets by ``next_cursor``, in order."""
    cursor = start
    for _ in range(100):
        page = api.get("/runs", **query, **({} if cursor is None else {direction: cursor})).json
        assert page["has_more"] == (page["next_cursor"] is not None)
        yield page
        cursor = page["next_cursor"]
        if cursor is None:
            return
    raise AssertionError("the walk does not end")


def walked_older(api: Gateway, **query: Any) -> list[str]:
    return [run_id for page in walk(api, "starting_after", **query) for run_id in ids(page)]


def walked_newer(api: Gateway, start: str, **query: Any) -> list[str]:
    """The ids of all pages towards newer runs, newest first."""
    found: list[str] = []
    for page in walk(api, "ending_before", start, **query):
        found = ids(page) + found
    return found


def test_without_runs_the_list_is_empty(api: Gateway) -> None:
    answer = api.get("/runs")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.json == {"object": "list", "data": [], "has_more": False, "next_cursor": None, "url": "/runs"}


def test_rows_are_runs_without_events_newest_first(api: Gateway) -> None:
    first = api.create(inputs={"a": 1}, priority=9)
    second = api.create(event_delivery={"topic": "t", "attributes": {"b": True}})
    assert api.get("/runs").json == {
        "object": "list",
        "data": [a_row(second), a_row(first)],
        "has_more": False,
        "next_cursor": None,
        "url": "/runs",
    }


def test_a_row_is_the_run_in_every_phase_of_its_life(api: Gateway) -> None:
    run_id = api.create(retry_policy={"max_attempts": 2})["id"]
    phases: list[Callable[[], object]] = [
        lambda: api.event(run_id, "INFO"),
        lambda: api.event(run_id, "ASSIGNED", payload={"worker_id": "worker-1"}),
        lambda: api.event(run_id, "STARTED", payload={"worker_id": "worker-2", "gpu_id": 1}),
        lambda: api.event(run_id, "PROGRESS", msg=40),
        lambda: api.event(run_id, "FAILED", payload={"error_message": "no"}),
        lambda: api.start(run_id),
        lambda: api.event(run_id, "COMPLETED", payload={"outputs": {"a": 1}}),
        lambda: api.patch(f"/runs/{run_id}", {"outputs": {"b": 2}}),
        lambda: api.patch(f"/runs/{run_id}", {"state": "RUNNING"}),
        lambda: api.event(run_id, "FAILED", payload={"error_message": "after all"}),
        lambda: api.post(f"/runs/{run_id}/retry"),
        lambda: api.post(f"/runs/{run_id}/cancel"),
    ]
    for phase in phases:
        phase()
        run = api.get(f"/runs/{run_id}").json
        assert api.get("/runs").json["data"] == [a_row(run)]
        assert api.get("/runs", **{"expand[]": "events"}).json["data"] == [a_row(run, with_events=True)]


def test_a_page_has_ten_rows_unless_told_otherwise(api: Gateway) -> None:
    runs = create(api, 12)
    page = api.get("/runs").json
    assert (ids(page), page["has_more"], page["next_cursor"]) == (runs[:10], True, runs[9])


@pytest.mark.parametrize(
    ("limit", "shown", "has_more"), [(1, 1, True), (4, 4, True), (5, 5, False), (6, 5, False), (100, 5, False)]
)
def test_a_page_has_as_many_rows_as_asked_for(api: Gateway, limit: int, shown: int, has_more: bool) -> None:
    runs = create(api, 5)
    page = api.get("/runs", limit=limit).json
    expected = (runs[:shown], has_more, runs[shown - 1] if has_more else None)
    assert (ids(page), page["has_more"], page["next_cursor"]) == expected


@pytest.mark.parametrize(
    ("cursor", "limit", "shown", "has_more"),
    [
        ({"starting_after": 2}, 2, [3, 4], True),
        ({"starting_after": 3}, 2, [4, 5], False),
        ({"starting_after": 5}, 2, [], False),
        ({"ending_before": 3}, 2, [1, 2], True),
        ({"ending_before": 2}, 2, [0, 1], False),
        ({"ending_before": 0}, 2, [], False),
        ({"ending_before": 5}, 10, [0, 1, 2, 3, 4], False),
    ],
)
def test_a_cursor_is_the_run_right_beside_the_page(
    api: Gateway, cursor: dict[str, int], limit: int, shown: list[int], has_more: bool
) -> None:
    runs = create(api, 6)
    ((direction, position),) = cursor.items()
    page = api.get("/runs", limit=limit, **{direction: runs[position]}).json
    assert (ids(page), page["has_more"]) == ([runs[number] for number in shown], has_more)
    end = shown[-1] if direction == "starting_after" and shown else shown[0] if shown else None
    assert page["next_cursor"] == (runs[end] if has_more and end is not None else None)


@pytest.mark.parametrize("limit", [1, 3, 7, 100])
def test_walking_either_way_meets_every_run_once(api: Gateway, limit: int) -> None:
    runs = create(api, 15)
    assert walked_older(api, limit=limit) == runs
    assert walked_newer(api, runs[-1], limit=limit) == runs[:-1]


def test_runs_of_one_microsecond_have_a_fixed_order(api: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients.SystemClock, "now", lambda _: BEGINNING)
    runs = set(create(api, 12))
    in_order = walked_older(api, limit=5)
    assert (set(in_order), len(in_order)) == (runs, 12)
    assert walked_older(api, limit=1) == in_order
    assert walked_newer(api, in_order[-1], limit=4) == in_order[:-1]


def test_a_run_that_is_created_meanwhile_does_not_disturb_a_walk(api: Gateway) -> None:
    runs = create(api, 9)
    found = []
    for page in walk(api, "starting_after", limit=2):
        found += ids(page)
        api.create()
    assert found == runs


def test_a_walk_towards_newer_runs_meets_those_that_came_meanwhile(api: Gateway) -> None:
    runs = create(api, 3)
    pages = walk(api, "ending_before", runs[-1], limit=1)
    assert ids(next(pages)) == [runs[1]]
    newest = api.create()["id"]
    assert [ids(page) for page in pages] == [[runs[0]], [newest]]


def test_a_cursor_is_a_position_whatever_the_filters(api: Gateway) -> None:
    older, cursor, newer = create(api, 3)[::-1]
    api.post(f"/runs/{cursor}/cancel")
    assert ids(api.get("/runs", state="PENDING", starting_after=cursor).json) == [older]
    assert ids(api.get("/runs", image="busybox:1", ending_before=cursor, state="PENDING").json) == [newer]


STATES = ["PENDING", "RUNNING", "FAILED"]
IMAGES = ["busybox:1", "busybox:1" + "0" * 500, "🥟"]
DEFINITIONS = [None, "resize", "resize#2"]


@pytest.fixture
def grid(api: Gateway) -> list[tuple[OpRun, RunSpec]]:
    """Runs with every combination of values, newest first, each a second older than the one before."""
    assert api
    specs = [
        (State(state), RunSpec(image, op_definition=definition))
        for state, image, definition in product(STATES, IMAGES, DEFINITIONS)
    ]
    runs = [(seeded_run(number, state=state), spec) for number, (state, spec) in enumerate(specs)]
    store_runs(runs)
    return runs[::-1]


@pytest.mark.parametrize("state", [None, *STATES])
@pytest.mark.parametrize("image", [None, IMAGES[0], IMAGES[1]])
@pytest.mark.parametrize("definition", [None, *DEFINITIONS[1:]])
def test_filters_are_anded_and_walking_meets_exactly_what_matches(
    api: Gateway,
    grid: list[tuple[OpRun, RunSpec]],
    state: str | None,
    image: str | None,
    definition: str | None,
) -> None:
    asked = {"state": state, "image": image, "op_definition": definition}
    query = {name: value for name, value in asked.items() if value is not None}
    expected = [
        run.id
        for run, spec in grid
        if state in {None, run.state} and image in {None, spec.image} and definition in {None, spec.op_definition}
    ]
    assert walked_older(api, limit=4, **query) == expected
    oldest = grid[-1][0].id
    assert walked_newer(api, oldest, limit=4, **query) == [run_id for run_id in expected if run_id != oldest]


@pytest.mark.parametrize("state", ["PENDING", "ASSIGNED", "RUNNING", "COMPLETED", "FAILED", "CANCELLED"])
def test_a_run_is_found_under_the_state_it_is_in(api: Gateway, state: str) -> None:
    run_id, *others = create(api, 2)
    api.event(run_id, "STARTED", payload={"worker_id": "worker-1"})
    api.patch(f"/runs/{run_id}", {"state": state})
    for name in ("state", "status"):
        assert ids(api.get("/runs", **{name: state}).json) == ([run_id, *others] if state == "PENDING" else [run_id])


def test_a_run_is_not_shown_under_a_state_that_only_the_trailing_index_still_has(api: Gateway) -> None:
    run_id, still_pending = create(api, 2)
    run = api.start(run_id).json
    client, table = boto3.client("dynamodb"), os.environ["GYOZA_TABLE"]
    key = {"pk": {"S": keys.run_pk(run_id)}, "sk": {"S": keys.HEAD}}
    head = client.get_item(TableName=table, Key=key)["Item"]
    trailing = keys.index_hash_key("PENDING", int(head["index_all"]["S"]))
    client.put_item(TableName=table, Item={**head, "index_state": {"S": trailing}})
    assert ids(api.get("/runs", state="PENDING").json) == [still_pending]
    assert api.get(f"/runs/{run_id}").json == run


@pytest.mark.parametrize(
    "query",
    [
        {"state": "RUNNING"},
        {"status": "RUNNING"},
        {"state": "RUNNING", "status": "RUNNING"},
        {"state": "", "status": "RUNNING"},
        {"state": "RUNNING", "status": ""},
        {"state": "RUNNING", "image": "", "op_definition": ""},
    ],
)
def test_state_and_status_are_one_filter_and_an_empty_one_is_none(api: Gateway, query: dict[str, str]) -> None:
    _, run_id, _ = create(api, 3)
    api.start(run_id)
    assert ids(api.get("/runs", **query).json) == [run_id]


@pytest.mark.parametrize("query", [{"state": ""}, {"status": ""}, {"image": ""}, {"op_definition": ""}])
def test_an_empty_filter_filters_nothing(api: Gateway, query: dict[str, str]) -> None:
    runs = create(api, 2)
    assert ids(api.get("/runs", **query).json) == runs


@pytest.mark.parametrize("image", ["busybox", "busybox:1 ", "BUSYBOX:1", "busybox:1#0", "*"])
def test_an_image_matches_exactly_or_not_at_all(api: Gateway, image: str) -> None:
    create(api, 2)
    assert ids(api.get("/runs", image=image).json) == []


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ({"gte": 2}, [2, 3, 4]),
        ({"gt": 2}, [3, 4]),
        ({"lte": 2}, [0, 1, 2]),
        ({"lt": 2}, [0, 1]),
        ({"gte": 1, "lte": 3}, [1, 2, 3]),
        ({"gt": 1, "lt": 3}, [2]),
        ({"gt": 2, "lt": 3}, []),
        ({"gte": 3, "lte": 2}, []),
        ({"gte": 1, "gt": 2}, [3, 4]),
        ({"gte": 3, "gt": 2}, [3, 4]),
        ({"lte": 1, "lt": 3}, [0, 1]),
        ({"gte": -(10**9)}, [0, 1, 2, 3, 4]),
        ({"lte": 10**9}, [0, 1, 2, 3, 4]),
    ],
    ids=str,
)
def test_creation_is_bounded_in_unix_seconds(api: Gateway, query: dict[str, int], shown: list[int]) -> None:
    start = datetime.fromtimestamp(T0, UTC)
    runs = [seeded_run(number, created_at=start + timedelta(seconds=number)) for number in range(5)]
    store_runs((run, RunSpec("busybox:1")) for run in runs)
    bounds = {f"created[{name}]": T0 + second for name, second in query.items()}
    expected = [runs[number].id for number in reversed(shown)]
    for filters in ({}, {"image": "busybox:1", "state": "PENDING"}):
        assert walked_older(api, limit=2, **bounds, **filters) == expected


@pytest.mark.parametrize(
    ("name", "microseconds", "is_shown"),
    [
        ("gte", -1, False),
        ("gte", 0, True),
        ("gt", 0, False),
        ("gt", 1, True),
        ("lte", 0, True),
        ("lte", 1, False),
        ("lt", 0, False),
        ("lt", -1, True),
    ],
)
def test_a_bound_is_exact_to_the_microsecond(api: Gateway, name: str, microseconds: int, is_shown: bool) -> None:
    created_at = datetime.fromtimestamp(T0, UTC) + timedelta(microseconds=microseconds)
    store_runs([(seeded_run(1, created_at=created_at), RunSpec("busybox:1"))])
    assert len(ids(api.get("/runs", **{f"created[{name}]": T0}).json)) == is_shown


@pytest.mark.parametrize("query", [{"created[gte]": -62_135_596_800}, {"created[lte]": 253_402_300_799}])
def test_the_calendar_s_own_ends_are_instants(api: Gateway, query: dict[str, int]) -> None:
    runs = create(api, 2)
    assert ids(api.get("/runs", **query).json) == runs


@pytest.mark.parametrize("name", ["gte", "gt", "lte", "lt"])
@pytest.mark.parametrize("seconds", [253_402_300_800, -62_135_596_801, 10**12, -(10**18), 10**400])
def test_an_instant_beyond_the_calendar_is_400(api: Gateway, name: str, seconds: int) -> None:
    answer = api.get("/runs", **{f"created[{name}]": seconds})
    assert_refused(answer, 400, "invalid_filter", f"created[{name}]", "out of range")


@pytest.mark.parametrize("query", [{"created[gt]": 253_402_300_799}, {"created[lt]": -62_135_596_800}])
def test_nothing_lies_beyond_the_calendar_s_ends(api: Gateway, query: dict[str, int]) -> None:
    create(api, 1)
    answer = api.get("/runs", **query)
    assert answer.status in {200, 400}
    assert answer.json.get("data", []) == []


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"state": "DONE"}, "invalid_state"),
        ({"state": "pending"}, "invalid_state"),
        ({"status": "PENDING "}, "invalid_state"),
        ({"state": "PENDING", "status": "DONE"}, "invalid_state"),
        ({"state": "PENDING", "status": "RUNNING"}, "invalid_filter"),
        ({"starting_after": UNKNOWN}, "invalid_cursor"),
        ({"ending_before": UNKNOWN}, "invalid_cursor"),
        ({"starting_after": ""}, "invalid_cursor"),
        ({"ending_before": "HEAD"}, "invalid_cursor"),
        ({"starting_after": "x" * 300}, "invalid_cursor"),
        ({"starting_after": "\0"}, "invalid_cursor"),
        ({"starting_after": UNKNOWN, "ending_before": UNKNOWN}, "invalid_cursor"),
        ({"starting_after": "", "ending_before": ""}, "invalid_cursor"),
    ],
    ids=str,
)
def test_unknown_states_and_cursors_and_contradictory_filters_are_400(
    api: Gateway, query: dict[str, str], code: str
) -> None:
    create(api, 1)
    assert_refused(api.get("/runs", **query), 400, code, *(["HEAD"] if "META#HEAD" in query.values() else []))


def test_the_refusal_of_an_unknown_cursor_repeats_it(api: Gateway) -> None:
    for name in ("starting_after", "ending_before"):
        assert UNKNOWN in api.get("/runs", **{name: UNKNOWN}).json["detail"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("limit", value) for value in ("0", "-1", "101", "", "x", "5.0", "1e1", "true", "9" * 5_000)],
        *[(f"created[{bound}]", "yesterday") for bound in ("gte", "gt", "lte", "lt")],
        *[("created[gte]", value) for value in ("", "1.5", "2026-03-02", "NaN")],
        *[("expand[]", value) for value in ("", "inputs", "Events")],
    ],
)
def test_a_parameter_that_does_not_fit_is_named(api: Gateway, name: str, value: str) -> None:
    assert_does_not_fit(api.get("/runs", **{name: value}), "query", name)


def test_rows_have_their_newest_events_when_asked_for(api: Gateway) -> None:
    quiet, busy = create(api, 2)
    for number in range(3):
        api.event(busy, "INFO", msg=number)
    rows = api.get("/runs", **{"expand[]": ["events"]}).json["data"]
    assert rows == [a_row(api.get(f"/runs/{run_id}").json, with_events=True) for run_id in (quiet, busy)]


@pytest.fixture
def heavy(api: Gateway) -> list[str]:
    """26 runs of 240 KB each, newest first. An answer needs twice the bytes, as Lambda sends it."""
    inputs = {"quotes": '"' * 120_000}
    return [api.create(inputs=inputs)["id"] for _ in range(26)][::-1]


def test_a_page_cut_by_size_keeps_the_rows_nearest_the_cursor(api: Gateway, heavy: list[str]) -> None:
    older = api.get("/runs", limit=100)
    newer = api.get("/runs", limit=100, ending_before=heavy[-1])
    for answer in (older, newer):
        assert 4_000_000 < bytes_as_sent(answer) <= 5_000_000
        assert answer.json["has_more"]
    shown = len(ids(older.json))
    assert (ids(older.json), older.json["next_cursor"]) == (heavy[:shown], heavy[shown - 1])
    shown = len(ids(newer.json))
    assert (ids(newer.json), newer.json["next_cursor"]) == (heavy[-1 - shown : -1], heavy[-1 - shown])


def test_a_walk_over_pages_cut_by_size_meets_every_run_once(api: Gateway, heavy: list[str]) -> None:
    assert walked_older(api, limit=100) == heavy
    assert walked_newer(api, heavy[-1], limit=100) == heavy[:-1]

"""Tests pages of runs, timelines and attempts on DynamoDB Local."""

import random
from collections import Counter
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import pytest

from gyoza_domain.bootstrap import clients
from gyoza_domain.domain.run import RunSpec, State
from testing.gateway import Gateway
from testing.seeding import BEGINNING, seeded_run, store_events, store_runs


def ids(page: dict[str, list[dict[str, str]]]) -> list[str]:
    return [row["id"] for row in page["data"]]


def walk(api: Gateway, cursor_name: str, cursor: str | None, **query: str | int) -> list[list[str]]:
    """Read all pages behind the cursor by ``next_cursor``. A newer run is created between two pages."""
    pages = []
    for _ in range(200):
        page = api.get("/runs", **query, **({cursor_name: cursor} if cursor else {})).json
        pages.append(ids(page))
        assert page["has_more"] == (page["next_cursor"] is not None)
        cursor = page["next_cursor"]
        if cursor is None:
            return pages
        api.create(image="newcomer")
    raise AssertionError("the walk does not end")


def test_a_walk_meets_every_run_once_with_ties_on_the_microsecond(api: Gateway) -> None:
    runs = [seeded_run(n, created_at=BEGINNING + timedelta(microseconds=n // 7)) for n in range(50)]
    store_runs((run, RunSpec("seeded")) for run in runs)
    older = walk(api, "starting_after", None, image="seeded", limit=6)
    met = [run_id for page in older for run_id in page]
    assert sorted(met) == sorted(run.id for run in runs)
    assert [len(page) for page in older] == [6] * 8 + [2]

    newer = walk(api, "ending_before", met[-1], image="seeded", limit=6)
    assert [run_id for page in newer for run_id in reversed(page)] == met[-2::-1]
    assert all(page == sorted(page, key=met.index) for page in newer)


class Newcomers:
    """Creates runs while pages are fetched: many in the same microsecond, some by a clock that is behind."""

    def __init__(self, api: Gateway, rng: random.Random, monkeypatch: pytest.MonkeyPatch) -> None:
        self.runs: list[dict[str, Any]] = []
        """The current state of every run."""
        self._api = api
        self._rng = rng
        self._now = BEGINNING
        monkeypatch.setattr(clients.SystemClock, "now", lambda _: self._clock())

    def _clock(self) -> datetime:
        """An instant that is usually the same as the last one."""
        self._now += timedelta(microseconds=self._rng.choice([0, 0, 0, 0, 1]))
        behind = self._rng.choice([0, 0, 0, self._rng.randrange(1_500_000)])
        return self._now - timedelta(microseconds=behind)

    def come(self, at_most: int) -> None:
        for _ in range(self._rng.randint(0, at_most)):
            run_id = self._api.create(image=self._rng.choice("ab"))["id"]
            match self._rng.randrange(4):
                case 0:
                    self._api.start(run_id)
                case 1:
                    self._api.post(f"/runs/{run_id}/cancel")
            self.runs.append(self._api.get(f"/runs/{run_id}").json)

    def newest_first(self, **query: Any) -> list[str]:
        """The ids of the matching runs in the order of the pages."""
        second = (BEGINNING - timedelta(seconds=1)).isoformat(timespec="microseconds").replace("+00:00", "Z")
        found = [
            run
            for run in self.runs
            if query.get("image") in (None, run["image"])
            and query.get("state") in (None, run["state"])
            and ("created[gte]" not in query or run["created_at"] >= second)
        ]
        return [run["id"] for run in sorted(found, key=lambda run: (run["created_at"], run["id"]), reverse=True)]


WALKS: list[dict[str, Any]] = [
    {},
    {"image": "a"},
    {"state": "PENDING"},
    {"state": "CANCELLED"},
    {"state": "RUNNING", "image": "b"},
    {"state": "CANCELLED", "image": "b"},
    {"created[gte]": int(BEGINNING.timestamp()) - 1},
    {"created[gte]": int(BEGINNING.timestamp()) - 1, "image": "a", "state": "PENDING"},
]


def random_walks(api: Gateway, monkeypatch: pytest.MonkeyPatch, seed: int, *, rounds: int) -> None:
    rng = random.Random(seed)
    newcomers = Newcomers(api, rng, monkeypatch)
    while len(newcomers.runs) < 60:
        newcomers.come(20)
    pages = 0
    for query in WALKS * rounds:
        for cursor_name in ("starting_after", "ending_before"):
            oldest = newcomers.newest_first()[-1]
            at_start = newcomers.newest_first(**query)
            if cursor_name == "ending_before":
                at_start = [run_id for run_id in reversed(at_start) if run_id != oldest]
            cursor = oldest if cursor_name == "ending_before" else None
            met: list[str] = []
            for page_number in count():
                page = api.get(
                    "/runs", limit=rng.randint(1, 25), **query, **({cursor_name: cursor} if cursor else {})
                ).json
                met += ids(page) if cursor_name == "starting_after" else reversed(ids(page))
                pages += 1
                cursor = page["next_cursor"]
                if cursor is None:
                    break
                newcomers.come(3 if page_number < 12 else 0)
            assert max(Counter(met).values(), default=1) == 1
            known = set(at_start)
            assert [run_id for run_id in met if run_id in known] == at_start
    instants = Counter(run["created_at"] for run in newcomers.runs)
    print(
        f"seed {seed}: {pages} pages of {2 * len(WALKS) * rounds} walks over {len(newcomers.runs)} runs,"
        f" up to {max(instants.values())} in one microsecond"
    )


@pytest.mark.parametrize("seed", range(2))
def test_whatever_comes_meanwhile_a_walk_meets_every_run_of_its_start_once(
    api: Gateway, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    random_walks(api, monkeypatch, seed, rounds=1)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2, 6))
def test_whatever_comes_meanwhile_many_walks_meet_every_run_of_their_start_once(
    api: Gateway, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    random_walks(api, monkeypatch, seed, rounds=3)


def test_a_rare_combination_ends_a_page_short_and_goes_on_from_its_cursor(api: Gateway) -> None:
    rare = {3, 2_600}
    store_runs(
        (seeded_run(n, state=State.FAILED if n in rare else State.COMPLETED), RunSpec("common")) for n in range(3_000)
    )
    first = api.get("/runs", image="common", state="FAILED").json
    assert ids(first) == [seeded_run(2_600).id]
    assert first["has_more"] is True
    pages = walk(api, "starting_after", first["next_cursor"], image="common", state="FAILED")
    assert [run_id for page in pages for run_id in page] == [seeded_run(3).id]


def test_creation_bounds_are_inclusive_or_exclusive_as_named(api: Gateway) -> None:
    store_runs((seeded_run(n), RunSpec("seeded")) for n in range(5))
    second = int(BEGINNING.timestamp())

    def numbers(**query: int) -> list[int]:
        page = api.get("/runs", **query).json
        return [n for n in range(5) if seeded_run(n).id in ids(page)]

    assert numbers(**{"created[gte]": second + 3}) == [3, 4]
    assert numbers(**{"created[gt]": second + 3}) == [4]
    assert numbers(**{"created[lte]": second + 1}) == [0, 1]
    assert numbers(**{"created[lt]": second + 1}) == [0]
    assert numbers(**{"created[gt]": second, "created[lt]": second + 3}) == [1, 2]
    assert numbers(**{"created[gt]": second + 3, "created[lt]": second}) == []


def test_a_cursor_need_not_match_the_filters(api: Gateway) -> None:
    store_runs((seeded_run(n), RunSpec("even" if n % 2 == 0 else "odd")) for n in range(6))
    assert ids(api.get("/runs", image="even", starting_after=seeded_run(3).id).json) == [
        seeded_run(2).id,
        seeded_run(0).id,
    ]


@pytest.mark.parametrize("direction", ["starting_after", "ending_before"])
def test_a_page_cut_by_size_keeps_the_rows_nearest_the_cursor(api: Gateway, direction: str) -> None:
    runs = [seeded_run(n) for n in range(40)]
    inputs = '{"text":"' + "x" * 250_000 + '"}'
    store_runs((run, RunSpec("seeded", inputs)) for run in runs)  # type: ignore[arg-type]
    newest_first = [run.id for run in reversed(runs)]
    cursor = newest_first[0] if direction == "starting_after" else newest_first[-1]
    answer = api.get("/runs", limit=100, **{direction: cursor})
    shown = ids(answer.json)
    assert len(answer.text.encode()) <= 5_000_000
    assert len(shown) == 19
    assert answer.json["has_more"] is True
    if direction == "starting_after":
        assert shown == newest_first[1:20]
        assert answer.json["next_cursor"] == shown[-1]
    else:
        assert shown == newest_first[20:39]
        assert answer.json["next_cursor"] == shown[0]


def test_a_timeline_of_a_hundred_thousand_events_is_read_in_pages(api: Gateway) -> None:
    run = seeded_run(0, events=100_000)
    store_runs([(run, RunSpec("seeded"))])
    store_events(run, count=100_000)
    page = api.get(f"/runs/{run.id}/events", after=98_500).json
    assert [event["id"] for event in page["events"]] == list(range(98_501, 99_501))
    assert page["has_more"] is True
    last = api.get(f"/runs/{run.id}/events", after=page["events"][-1]["id"]).json
    assert [event["id"] for event in last["events"]] == list(range(99_501, 100_000))
    assert last["has_more"] is False
    whole = api.get(f"/runs/{run.id}").json
    assert [event["id"] for event in whole["events"]] == list(range(99_900, 100_000))
    assert api.event(run.id, "INFO").json["last_seq"] == 100_000


def test_pages_of_events_end_at_a_megabyte(api: Gateway) -> None:
    run = seeded_run(0, events=600)
    store_runs([(run, RunSpec("seeded"))])
    store_events(run, msg="m" * 4_000)
    met: list[int] = []
    has_more = True
    while has_more:
        page = api.get(f"/runs/{run.id}/events", after=len(met) - 1).json
        assert 0 < len(page["events"]) < 300
        met += [event["id"] for event in page["events"]]
        has_more = page["has_more"]
    assert met == list(range(600))


def test_attempts_are_paged_by_link(api: Gateway) -> None:
    run_id = api.create()["id"]
    for _ in range(5):
        api.start(run_id)
        api.post(f"/runs/{run_id}/retry")
    first = api.get(f"/runs/{run_id}/attempts", limit=4)
    assert [attempt["attempt"] for attempt in first.json] == [1, 2, 3, 4]
    assert first.headers["Link"] == '<attempts?limit=4&after=4>; rel="next"'
    second = api.get(f"/runs/{run_id}/attempts", limit=4, after=4)
    assert [attempt["attempt"] for attempt in second.json] == [5, 6]
    assert "Link" not in second.headers
    assert [attempt["state"] for attempt in first.json + second.json] == ["CANCELLED"] * 5 + ["PENDING"]
    assert {event["type"] for attempt in second.json for event in attempt["events"]} == {"RETRIED", "STARTED"}

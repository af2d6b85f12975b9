"""Definitions whose puts are visible in part: every answer is of one revision, or 503."""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

import pytest

from functions.get_definition import app as get_definition
from gyoza_domain.bootstrap import definitions
from testing.gateway import Answer, Gateway
from tests.engine.test_torn_reads import Pauses
from tests.support.torn import Choose, all_but, at_random, only, torn

SHAPES: dict[str, Choose] = {
    "NAME alone": only(0),
    "VERSION alone": only(1),
    "REST alone": only(2),
    "all but NAME": all_but(0),
    "all but VERSION": all_but(1),
    "all but REST": all_but(2),
}

SMALL, LARGE = 10, 6_000


@pytest.fixture
def _without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pause of the handlers takes no time."""
    pauses = Pauses()
    monkeypatch.setattr(time, "sleep", pauses.sleep)
    monkeypatch.setattr(time, "monotonic", pauses.monotonic)


READS: dict[str, Callable[[Gateway], Answer]] = {
    "the latest": lambda api: api.get("/definitions/d"),
    "by version": lambda api: api.get("/definitions/d", version="1"),
    "a run": lambda api: api.post("/definitions/d/runs"),
    "a run by version": lambda api: api.post("/definitions/d/runs", {"version": "1"}),
}


def new_process() -> None:
    """Let the next request find nothing kept."""
    definitions.definitions.cache_clear()


def body(n: int, size: int, version: str = "1") -> dict[str, Any]:
    """A version whose parts all tell n."""
    specs = {"a": {"type": "int", "default": n, "description": "x" * size}, "z": {"type": "int", "default": n}}
    return {"version": version, "image": f"{n}", "priority": n, "input_specs": specs}


def put(api: Gateway, n: int, size: int, version: str = "1") -> Answer:
    return api.put("/definitions/d", body(n, size, version))


def told(answer: Answer) -> set[int]:
    """Every n that the answer tells, which must be one."""
    shown = answer.json
    if "input_specs" in shown:
        return {int(shown["image"]), shown["priority"], *(spec["default"] for spec in shown["input_specs"].values())}
    return {int(shown["image"]), shown["priority"], *shown["inputs"].values()}


@pytest.mark.usefixtures("_without_waiting")
@pytest.mark.parametrize("keeps", [True, False], ids=["a process that read before", "a new process"])
@pytest.mark.parametrize("sizes", [(SMALL, SMALL), (SMALL, LARGE), (LARGE, LARGE), (LARGE, SMALL)])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_reader_sees_one_revision_or_is_told_to_come_again(
    engine_api: Gateway, shape: str, sizes: tuple[int, int], keeps: bool
) -> None:
    before, after = sizes
    with torn() as table:
        assert put(engine_api, 1, before).status == 201
        if keeps:
            assert engine_api.get("/definitions/d").status == 200
        with table.half_visible(lambda: put(engine_api, 2, after), shows=SHAPES[shape]) as half:
            answers = {}
            for name, read in READS.items():
                if not keeps:
                    new_process()
                answers[name] = read(engine_api)
            rows = engine_api.get("/definitions/d/versions")
        assert half.answer is not None
        assert half.answer.status == 200
        for name, answer in answers.items():
            assert answer.status in {200, 201, 503}, (name, answer.text)
            if answer.status != 503:
                assert told(answer) in ({1}, {2}), name
        if rows.status != 503:
            assert [(row["image"], row["revision"]) for row in rows.json["data"]] in ([("1", 1)], [("2", 2)])
        for name, read in READS.items():
            assert told(read(engine_api)) == {2}, f"{name}, once the put was answered"


@pytest.mark.usefixtures("_without_waiting")
@pytest.mark.parametrize("shape", SHAPES)
def test_no_process_shows_an_older_revision_than_another_has_shown(
    engine_api: Gateway, shape: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with torn() as table:
        assert put(engine_api, 1, LARGE).status == 201
        assert engine_api.get("/definitions/d").status == 200
        earlier_process = definitions.definitions()
        with table.half_visible(lambda: put(engine_api, 2, LARGE), shows=SHAPES[shape]):
            new_process()
            first = engine_api.get("/definitions/d")
            monkeypatch.setattr(get_definition, "definitions", lambda: earlier_process)
            second = engine_api.get("/definitions/d")
        assert {first.status, second.status} <= {200, 503}
        if (first.status, second.status) == (200, 200):
            assert second.json["revision"] >= first.json["revision"]


@pytest.mark.usefixtures("_without_waiting")
@pytest.mark.parametrize("shape", ["NAME alone", "VERSION alone"])
def test_what_was_read_of_a_half_is_not_kept_when_another_version_is_put_behind_it(
    engine_api: Gateway, shape: str
) -> None:
    """The second put commits while the first is half visible, and NAME shows both."""
    with torn() as table:
        assert put(engine_api, 1, SMALL).status == 201
        with table.half_visible(lambda: put(engine_api, 2, SMALL), shows=SHAPES[shape]):
            assert put(engine_api, 9, SMALL, "2").status in {201, 409, 503}
            answer = engine_api.post("/definitions/d/runs", {"version": "1"})
            assert answer.status == 503 or told(answer) in ({1}, {2})
        assert told(engine_api.post("/definitions/d/runs", {"version": "1"})) == {2}


@pytest.mark.usefixtures("_without_waiting")
@pytest.mark.parametrize("shape", ["NAME alone", "VERSION alone"])
def test_a_version_that_moves_to_the_front_is_seen_at_its_old_place_or_its_new_one(
    engine_api: Gateway, shape: str
) -> None:
    with torn() as table:
        for n in (1, 2, 3):
            put(engine_api, n, SMALL, str(n))
        with table.half_visible(lambda: put(engine_api, 1, SMALL, "1"), shows=SHAPES[shape]):
            rows = engine_api.get("/definitions/d/versions")
            latest = engine_api.get("/definitions/d")
        if rows.status != 503:
            assert [row["version"] for row in rows.json["data"]] in (["3", "2", "1"], ["1", "3", "2"])
        assert latest.status == 503 or told(latest) in ({3}, {1})
        assert [row["version"] for row in engine_api.get("/definitions/d/versions").json["data"]] == ["1", "3", "2"]


@pytest.mark.usefixtures("_without_waiting")
@pytest.mark.parametrize("shape", ["NAME alone", "VERSION alone", "all but NAME", "all but VERSION"])
def test_a_definition_that_is_being_made_is_not_there_yet_or_whole(engine_api: Gateway, shape: str) -> None:
    with torn() as table:
        with table.half_visible(lambda: put(engine_api, 1, LARGE), shows=SHAPES[shape]):
            for read in READS.values():
                answer = read(engine_api)
                assert answer.status in {404, 503}
            for answer in (engine_api.get("/definitions/d/versions"), engine_api.get("/definitions")):
                assert answer.status in {404, 503} or answer.json["data"] == []
        assert told(engine_api.get("/definitions/d")) == {1}
        assert [row["name"] for row in engine_api.get("/definitions").json["data"]] == ["d"]


@pytest.mark.contention
@pytest.mark.parametrize("seed", range(int(os.environ.get("GYOZA_STORM_SEEDS", "2"))))
def test_runs_are_of_one_revision_while_puts_of_two_versions_become_visible_by_and_by(
    engine_api: Gateway, seed: int
) -> None:
    versions = ("1", "2")
    answered = dict.fromkeys(versions, 1)
    for version in versions:
        assert put(engine_api, 1, SMALL, version).status == 201
    is_over = False

    def write(version: str) -> None:
        for n in range(2, 14):
            answer = put(engine_api, n, LARGE if n % 3 else SMALL, version)
            assert (answer.status, answer.json["revision"]) == (200, n), answer.text
            answered[version] = n

    def create(number: int) -> list[int]:
        random, seen = Random(100 * seed + number), []
        while not is_over:
            version = random.choice(versions)
            begun_after = answered[version]
            answer = engine_api.post("/definitions/d/runs", {"version": version})
            assert answer.status in {201, 503}, answer.text
            seen.append(answer.status)
            if answer.status == 201:
                n = answer.json["op_revision"]
                assert told(answer) == {n}
                assert n >= begun_after
        return seen

    with torn(delays=at_random(seed, longest_s=0.1)) as table, ThreadPoolExecutor(6) as threads:
        creators = [threads.submit(create, number) for number in range(4)]
        writers = [threads.submit(write, version) for version in versions]
        try:
            for writer in writers:
                writer.result()
        finally:
            is_over = True
        statuses = [status for creator in creators for status in creator.result()]
        table.settle()
    print(
        f"{statuses.count(201)} runs, {statuses.count(503)} told to come again, {table.figures.torn_reads} torn reads"
    )
    assert statuses.count(201) > 10
    assert table.figures.torn_reads > 0

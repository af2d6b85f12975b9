"""Definitions on a table that throttles, conflicts, breaks and loses answers: each put happens once, or is 503."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from testing.gateway import Answer, Gateway
from tests.support.faults import OF_A_WRITE, Fault, injected, scripted, seeded

FIRST = {"version": "1", "image": "first"}
SECOND = {"version": "1", "image": "second"}
STANDS = pytest.mark.parametrize("fault", [Fault.ANSWER_LOST, Fault.INTERNAL_AFTER])


def put(api: Gateway, body: dict[str, Any], **headers: str) -> Answer:
    return api.put("/definitions/d", body, **headers)


def shown(api: Gateway) -> tuple[str, int]:
    answer = api.get("/definitions/d").json
    return answer["image"], answer["revision"]


@STANDS
def test_a_put_whose_answer_was_lost_is_not_written_again(engine_api: Gateway, fault: Fault) -> None:
    with injected(scripted(fault)) as faults:
        answer = put(engine_api, FIRST, If_None_Match="*")
    assert (answer.status, faults.injected) == (201, {fault: 1})
    with injected(scripted(fault)):
        assert put(engine_api, SECOND, If_Match=answer.headers["ETag"]).status == 200
    assert shown(engine_api) == ("second", 2)


@STANDS
def test_a_put_that_another_replaced_before_it_was_sent_again_does_not_replace_it(
    engine_api: Gateway, fault: Fault
) -> None:
    put(engine_api, FIRST)
    other = {"version": "1", "image": "other"}
    with injected(scripted(fault), between=lambda: put(engine_api, other)):
        answer = put(engine_api, SECOND)
    assert answer.status in {200, 503}
    assert shown(engine_api) == ("other", 3)


@pytest.mark.parametrize("fault", OF_A_WRITE)
def test_a_put_that_is_sent_again_after_a_503_has_one_effect(engine_api: Gateway, fault: Fault) -> None:
    tag = put(engine_api, FIRST).headers["ETag"]
    with injected(scripted(*[fault] * 3)):
        first = put(engine_api, SECOND, If_Match=tag)
    assert first.status in {200, 503}, first.text
    assert put(engine_api, SECOND, If_Match=tag).status == 200
    assert shown(engine_api) == ("second", 2)


@pytest.mark.parametrize("fault", OF_A_WRITE)
def test_a_key_has_one_effect_whatever_is_lost(engine_api: Gateway, fault: Fault) -> None:
    def post() -> Answer:
        return engine_api.call("POST", "/definitions", FIRST | {"name": "d"}, headers={"Idempotency-Key": "k"})

    with injected(scripted(*[fault] * 3)):
        assert post().status in {201, 503}
    assert post().status == 201
    put(engine_api, SECOND)
    assert (post().status, post().json["image"]) == (201, "second")
    assert shown(engine_api) == ("second", 2)


@pytest.mark.contention
@pytest.mark.parametrize("seed", range(3))
def test_under_faults_each_put_with_an_etag_that_is_answered_has_its_revision(engine_api: Gateway, seed: int) -> None:
    """Four writers, each of a version of its own, send each put until it is answered. A fifth deletes the name."""
    puts = 12

    def write(version: str) -> list[int]:
        revisions, tag = [], None
        for n in range(puts):
            while True:
                headers = {"If_None_Match": "*"} if tag is None else {"If_Match": tag}
                answer = put(engine_api, {"version": version, "image": f"{n}"}, **headers)
                assert answer.status in {200, 201, 503}, answer.text
                if answer.status != 503:
                    break
            tag = answer.headers["ETag"]
            revisions.append(answer.json["revision"])
        return revisions

    def delete() -> None:
        for _ in range(puts):
            answer = engine_api.call("DELETE", "/definitions/d")
            assert answer.status in {204, 404, 503}, answer.text

    with injected(seeded(seed, rate=0.05)) as faults, ThreadPoolExecutor(5) as threads:
        writers = [threads.submit(write, f"{version}") for version in range(4)]
        threads.submit(delete).result()
        revisions = [writer.result() for writer in writers]
    print(faults)
    assert revisions == [list(range(1, puts + 1))] * 4
    for version in range(4):
        answer = engine_api.get("/definitions/d", version=f"{version}").json
        assert (answer["image"], answer["revision"]) == (f"{puts - 1}", puts)

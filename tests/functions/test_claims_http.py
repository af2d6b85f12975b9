"""POST /runs/claim: the request, the answers and the idempotency key.

The choice among many runs has tests of its own.
"""

from typing import Any

import pytest

from gyoza_domain.bootstrap.api import store
from gyoza_domain.domain.run import Removal
from gyoza_domain.runs.ports import Extent
from testing.gateway import Answer, Gateway
from tests.functions.conftest import Stored
from tests.functions.expected import (
    StepClock,
    a_run,
    an_event,
    assert_does_not_fit,
    assert_minimal,
    assert_refused,
    at,
    summary,
)


def claim(api: Gateway, *, key: str | None = None, minimal: bool = False, **fields: Any) -> Answer:
    headers = ({} if key is None else {"Idempotency-Key": key}) | ({"Prefer": "return=minimal"} if minimal else {})
    return api.call("POST", "/runs/claim", {"worker_id": "w"} | fields, headers=headers)


def claimed_id(answer: Answer) -> str | None:
    """The id of the claimed run; None if nothing fits."""
    assert answer.status in {200, 204}, answer.text
    return answer.json["id"] if answer.status == 200 else None


def test_a_claim_assigns_a_run_with_a_lease(api: Gateway) -> None:
    run_id = api.create()["id"]
    answer = claim(api)
    decision = (answer.json["updated_at"], answer.json["lease_until"])
    assert (answer.status, answer.json) == (
        200,
        a_run(
            run_id,
            state="ASSIGNED",
            events=[an_event(0, "ASSIGNED", "ASSIGNED", t=decision[0], payload={"worker_id": "w", "lease_s": 90})],
            execution_summary=summary(worker_id="w"),
            lease_s=90,
            lease_until=decision[1],
            updated_at=decision[0],
        ),
    )
    assert api.get(f"/runs/{run_id}").json == answer.json
    [attempt] = api.get(f"/runs/{run_id}/attempts").json
    assert (attempt["created_at"], attempt["assigned_at"], attempt["started_at"]) == (at(0), decision[0], None)


def test_a_claim_may_start_the_run(api: Gateway) -> None:
    api.create(attempt_timeout_s=60)
    answer = claim(api, start=True, lease_s=15)
    assert (answer.json["state"], answer.json["lease_s"]) == ("RUNNING", 15)
    assert answer.json["deadline"] is not None
    assert [(event["type"], event["payload"]) for event in answer.json["events"]] == [
        ("STARTED", {"worker_id": "w", "lease_s": 15})
    ]


def test_the_minimal_answer_is_there_for_the_asking(api: Gateway) -> None:
    run_id = api.create()["id"]
    assert_minimal(claim(api, minimal=True), api.get(f"/runs/{run_id}").json)


def test_where_nothing_fits_the_answer_has_no_body_and_says_when_to_ask_again(api: Gateway, stored: Stored) -> None:
    before = stored()
    answer = claim(api, key="k")
    assert (answer.status, answer.text) == (204, "")
    assert 5 <= int(answer.headers["Retry-After"]) <= 20
    assert "Content-Type" not in answer.headers
    assert stored() == before
    api.create(constraints={"cpu": 8})
    assert 1 <= int(claim(api, capacity={"cpu": 4}).headers["Retry-After"]) <= 3


def test_an_answer_without_a_run_records_nothing(api: Gateway) -> None:
    assert claim(api, key="k").status == 204
    run_id = api.create()["id"]
    answer = claim(api, key="k")
    assert (claimed_id(answer), "Idempotent-Replayed" in answer.headers) == (run_id, False)


def test_the_highest_priority_comes_first_and_each_run_goes_once(api: Gateway) -> None:
    runs = {priority: api.create(priority=priority)["id"] for priority in (5, 9_999, 0)}
    assert [claimed_id(claim(api)) for _ in range(4)] == [runs[9_999], runs[5], runs[0], None]


def test_queues_are_asked_in_the_order_of_preference(api: Gateway) -> None:
    runs = {queue: api.create(queue=queue)["id"] for queue in ("a", "b", "default")}
    assert claimed_id(claim(api, queues=["c"])) is None
    assert [claimed_id(claim(api, queues=["b", "a", "b"])) for _ in range(3)] == [runs["b"], runs["a"], None]
    assert claimed_id(claim(api)) == runs["default"]


@pytest.mark.parametrize(
    ("constraints", "capacity", "fits"),
    [
        ({}, {"cpu": 0, "ram_mb": 0, "vram_mb": 0}, True),
        ({"cpu": 4, "ram_mb": 1_024}, {"cpu": 4, "ram_mb": 1_024, "vram_mb": 0}, True),
        ({"cpu": 4}, {"cpu": 3}, False),
        ({"ram_mb": 1_025}, {"cpu": 8, "ram_mb": 1_024}, False),
        ({"vram_mb": 1}, {"vram_mb": 0}, False),
        ({"vram_mb": 1}, {"vram_mb": 1}, True),
        ({"cpu": 10**30}, {"cpu": 10**12}, False),
        ({"cpu": 10**30}, {"cpu": None}, True),
        ({"cpu": 10**30}, {}, True),
    ],
)
def test_a_run_fits_where_each_constraint_is_at_most_the_worker_s(
    api: Gateway, constraints: dict[str, int], capacity: dict[str, int], fits: bool
) -> None:
    run_id = api.create(constraints=constraints)["id"]
    assert claimed_id(claim(api, capacity=capacity)) == (run_id if fits else None)


def test_a_run_that_starts_later_is_given_out_from_then_on(api: Gateway, clock: StepClock) -> None:
    run_id = api.create(start_at=at(100))["id"]
    answer = claim(api)
    assert (answer.status, int(answer.headers["Retry-After"]) >= 1) == (204, True)
    clock.decisions = 90
    assert 1 <= int(claim(api).headers["Retry-After"]) <= 3
    clock.decisions = 100
    assert claimed_id(claim(api)) == run_id


def test_a_run_is_not_given_out_past_the_longest_wait(api: Gateway, clock: StepClock) -> None:
    api.create(queue_ttl_s=10)
    clock.decisions = 10
    assert claimed_id(claim(api)) is None


def test_a_run_patched_to_pending_is_not_given_out_until_it_is_cancelled_and_retried(api: Gateway) -> None:
    run_id = api.create()["id"]
    api.start(run_id)
    api.patch(f"/runs/{run_id}", {"state": "PENDING"})
    assert claimed_id(claim(api)) is None
    api.post(f"/runs/{run_id}/cancel")
    api.post(f"/runs/{run_id}/retry")
    assert claimed_id(claim(api)) == run_id


@pytest.mark.parametrize("end", ["CANCELLED", "FAILED"])
def test_a_run_that_has_ended_is_not_given_out(api: Gateway, end: str) -> None:
    api.event(api.create()["id"], end)
    assert claimed_id(claim(api)) is None


def test_the_claimant_starts_the_run_and_nobody_else_does(api: Gateway) -> None:
    run_id = api.create()["id"]
    claim(api)
    assert_refused(api.event(run_id, "STARTED", payload={"worker_id": "other"}, attempt=1), 409, "not_claimant")
    assert api.event(run_id, "STARTED", payload={"worker_id": "w"}, attempt=1).json["lease_s"] == 90
    assert api.post(f"/runs/{run_id}/heartbeat", {"attempt": 1, "worker_id": "w"}).status == 200


# -- the idempotency key


def test_a_repeat_answers_with_the_run_it_got_as_it_stands(api: Gateway, stored: Stored) -> None:
    run_id, other = api.create(priority=9)["id"], api.create()["id"]
    first = claim(api, key="k")
    api.event(run_id, "STARTED", payload={"worker_id": "w"}, attempt=1)
    before = stored()
    for minimal in (False, True):
        repeat = claim(api, key="k", minimal=minimal)
        assert (repeat.status, repeat.json["id"], repeat.json["state"]) == (200, first.json["id"], "RUNNING")
        assert repeat.headers["Idempotent-Replayed"] == "true"
    assert stored() == before
    assert claimed_id(claim(api, key="another")) == other


def test_a_repeat_with_another_body_is_refused(api: Gateway) -> None:
    api.create()
    claim(api, key="k")
    answer = claim(api, key="k", lease_s=60)
    assert (answer.status, answer.json["code"]) == (422, "idempotency_key_reused")


def test_a_repeat_whose_attempt_is_over_is_stale(api: Gateway) -> None:
    run_id = api.create()["id"]
    claim(api, key="k")
    api.event(run_id, "RETRIED", attempt=1)
    assert_refused(claim(api, key="k"), 409, "stale_attempt", "attempt 2")
    assert claimed_id(claim(api, key="another")) == run_id


def test_a_repeat_whose_run_is_gone_is_told_so(api: Gateway) -> None:
    run_id = api.create(retain_s=0)["id"]
    claim(api, key="k")
    api.post(f"/runs/{run_id}/cancel")
    store().remove(Removal(store().load(run_id, Extent.SMALL).run))
    assert_refused(claim(api, key="k"), 410, "run_expired")


def test_a_key_is_forgotten_after_a_day(api: Gateway, clock: StepClock) -> None:
    runs = {api.create()["id"], api.create()["id"]}
    first = claimed_id(claim(api, key="k"))
    clock.decisions = 86_400 - 100
    assert claimed_id(claim(api, key="k")) == first
    clock.decisions = 86_400 + 100
    assert {first, claimed_id(claim(api, key="k"))} == runs


@pytest.mark.parametrize(
    ("fields", "loc"),
    [
        ({"worker_id": ""}, ["worker_id"]),
        ({"worker_id": None}, ["worker_id"]),
        ({"queues": []}, ["queues"]),
        ({"queues": ["a", "b c"]}, ["queues", 1]),
        ({"capacity": {"cpu": -1}}, ["capacity", "cpu"]),
        ({"capacity": {"gpu": 1}}, ["capacity", "gpu"]),
        ({"lease_s": 14}, ["lease_s"]),
        ({"start": "yes"}, ["start"]),
        ({"limit": 1}, ["limit"]),
    ],
)
def test_a_body_that_does_not_fit_takes_nothing(
    api: Gateway, stored: Stored, fields: dict[str, Any], loc: list[str | int]
) -> None:
    api.create()
    before = stored()
    assert_does_not_fit(api.call("POST", "/runs/claim", {"worker_id": "w"} | fields), "body", *loc)
    assert stored() == before

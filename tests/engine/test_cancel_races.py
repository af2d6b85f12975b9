"""A cancel that asks: each end that may come first, raced with each other end in both orders, through the handlers.

One of two requests decides, the other is written, and then the first one writes. So whatever is written first must win,
and the other one must see it.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from gyoza_domain.bootstrap import waking
from gyoza_domain.waking.commands import Deed
from testing.gateway import Answer, Gateway
from testing.timed_runs import TestClock
from tests.support.between import before_first_write
from tests.support.faults import injected, seeded
from tests.support.torn import TornTable, at_random, torn

W = {"worker_id": "w"}
BY_SERVER = {"by": "server"}
IMMEDIATE = "an immediate cancel"

ENDS: dict[str, dict[str, Any]] = {
    "CANCELLED": {"state": "CANCELLED", "outcome": "acknowledged", "timeline": [("CANCELLED", {})]},
    "RETRIED": {"state": "CANCELLED", "outcome": "acknowledged", "timeline": [("CANCELLED", BY_SERVER)]},
    "FAILED": {
        "state": "CANCELLED",
        "outcome": "acknowledged",
        "error": "stopped",
        "timeline": [
            ("FAILED", {"error_message": "stopped"}),
            ("CANCELLED", BY_SERVER | {"error_message": "stopped"}),
        ],
    },
    "COMPLETED": {"state": "COMPLETED", "outcome": "completed", "timeline": [("COMPLETED", {})]},
    IMMEDIATE: {"state": "CANCELLED", "outcome": "forced", "timeline": [("CANCELLED", {})]},
}
"""The state, outcome and timeline of a run if this end comes first."""

PAYLOADS = {"FAILED": {"error_message": "stopped"}}


def forced(reason: str) -> dict[str, Any]:
    timeline = [("CANCELLED", {"reason": reason} | BY_SERVER)]
    return {"state": "CANCELLED", "outcome": "forced", "reason": reason, "timeline": timeline}


@pytest.fixture(autouse=True)
def torn_table(engine_api: Gateway) -> Iterator[TornTable]:
    assert engine_api
    with torn(delays=at_random(14, longest_s=0.02)) as table:
        yield table


def create_asked(api: Gateway, clock: TestClock, reason: str, *names: str) -> str:
    """A run whose worker was asked to stop, at an instant at which time ends it for the reason.

    It is ASSIGNED if one of the ends is to give it back, else RUNNING.
    """
    run_id: str = api.create(attempt_timeout_s=20 if reason == "timed_out" else 3_600)["id"]
    lease_s = 15 if reason == "lost" else 60
    taken = api.event(run_id, "ASSIGNED" if "RETRIED" in names else "STARTED", payload=W | {"lease_s": lease_s})
    assert taken.status == 200, taken.text
    asked = {"mode": "ask", "grace_s": 10 if reason == "cancel_not_acknowledged" else 3_600}
    assert api.post(f"/runs/{run_id}/cancel", asked).status == 200
    clock.advance({"lost": 15, "timed_out": 20, "cancel_not_acknowledged": 10}[reason])
    return run_id


def end(api: Gateway, run_id: str, name: str) -> Answer:
    if name == IMMEDIATE:
        return api.post(f"/runs/{run_id}/cancel")
    return api.event(run_id, name, attempt=1, payload=PAYLOADS.get(name, {}))


def sweep() -> Counter[Deed]:
    return waking.new_sweep().sweep(lambda: 60.0).deeds


def told(api: Gateway, run_id: str) -> dict[str, Any]:
    """The state of the run, and its timeline after the request."""
    run = api.get(f"/runs/{run_id}").json
    assert (run["current_attempt"], run["lease_until"], run["deadline"]) == (1, None, None)
    return {
        "state": run["state"],
        "outcome": run["cancel"]["outcome"],
        "reason": run["execution_summary"]["reason"],
        "error": run["execution_summary"]["error_message"],
        "timeline": [(event["type"], event["payload"]) for event in run["events"][2:]],
    }


def shown(expected: dict[str, Any]) -> dict[str, Any]:
    return {"reason": None, "error": None} | expected


REASONS = ("lost", "timed_out", "cancel_not_acknowledged")
PAIRS = [(name, reason) for name in ENDS for reason in REASONS if (name, reason) != ("RETRIED", "timed_out")]
"""Only a RUNNING run is timed out, and only an ASSIGNED one is given back."""


@pytest.mark.parametrize(("name", "reason"), PAIRS)
def test_an_end_that_is_written_before_the_timer_s_decides(
    api: Gateway, clock: TestClock, name: str, reason: str
) -> None:
    run_id = create_asked(api, clock, reason, name)
    answers: list[Answer] = []
    with before_first_write(lambda: answers.append(end(api, run_id, name))):
        assert sweep() == {Deed.NOTHING: 1}
    assert [answer.status for answer in answers] == [200]
    assert told(api, run_id) == shown(ENDS[name])
    assert sweep() == {}


@pytest.mark.parametrize(("name", "reason"), PAIRS)
def test_the_timer_s_end_that_is_written_first_decides(api: Gateway, clock: TestClock, name: str, reason: str) -> None:
    run_id = create_asked(api, clock, reason, name)
    deeds: list[Counter[Deed]] = []
    with before_first_write(lambda: deeds.append(sweep())):
        answer = end(api, run_id, name)
    assert deeds == [{Deed(reason): 1}]
    assert (answer.status, answer.json["code"]) == (400, "retry_budget_spent" if name == "RETRIED" else "run_locked")
    assert told(api, run_id) == shown(forced(reason))


@pytest.mark.parametrize("is_first", [True, False], ids=["the worker", "the user"])
@pytest.mark.parametrize("name", [name for name in ENDS if name != IMMEDIATE])
def test_of_the_worker_s_end_and_an_immediate_cancel_the_first_decides(
    api: Gateway, clock: TestClock, name: str, is_first: bool
) -> None:
    run_id = create_asked(api, clock, "lost", name)
    first, second = (name, IMMEDIATE) if is_first else (IMMEDIATE, name)
    with before_first_write(lambda: end(api, run_id, first)):
        assert end(api, run_id, second).status == 400
    assert told(api, run_id) == shown(ENDS[first])


@pytest.mark.parametrize("reason", REASONS)
def test_a_heartbeat_keeps_a_run_from_being_lost_and_from_nothing_else(
    api: Gateway, clock: TestClock, reason: str
) -> None:
    run_id = create_asked(api, clock, reason)
    beats: list[Answer] = []
    beat = {"attempt": 1} | W
    with before_first_write(lambda: beats.append(api.post(f"/runs/{run_id}/heartbeat", beat))):
        deeds = sweep()
    assert beats[0].status == 200
    run = api.get(f"/runs/{run_id}").json
    assert deeds == {Deed.NOTHING if reason == "lost" else Deed(reason): 1}
    assert run["state"] == ("RUNNING" if reason == "lost" else "CANCELLED")


@pytest.mark.contention
def test_whatever_comes_first_among_threads_the_run_tells_one_row(api: Gateway, clock: TestClock) -> None:
    """The ends of many workers, of users and of two sweeps at once, with faults."""
    rng = random.Random(14)
    pairs = [rng.sample(list(ENDS), 2) for _ in range(60)]
    races = [(create_asked(api, clock, "lost", *names), names) for names in pairs]
    outcomes: Counter[str] = Counter()
    actions: list[Callable[[], object]] = [sweep, sweep]
    actions += [partial(end, api, run_id, name) for run_id, names in races for name in names]
    rng.shuffle(actions)
    with injected(seeded(14, rate=0.01)) as faults, ThreadPoolExecutor(12) as pool:
        for done in [pool.submit(action) for action in actions]:
            done.result()
    sweep()
    rows = [shown(row) for row in (*ENDS.values(), forced("lost"))]
    for run_id, _ in races:
        row = told(api, run_id)
        assert row in rows
        outcomes[f"{row['state']} {row['outcome']} {row['reason']}"] += 1
    print(f"{dict(outcomes)}; {faults}")

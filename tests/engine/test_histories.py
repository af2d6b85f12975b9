"""Races requests for one run. The answers and the final run must form one history."""

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from testing.gateway import Answer, Gateway
from tests.support.history import Recorder, at_once, the_winner

pytestmark = pytest.mark.contention


def types_of(events: Any) -> list[str]:
    return [event["type"] for event in events]


def codes_of(recorder: Recorder) -> Counter[str]:
    """The number of answers with each refusal."""
    return Counter(exchange.code for exchange in recorder.exchanges if exchange.code is not None)


def test_sixteen_writers_to_one_run_see_no_409_and_lose_nothing(api: Gateway) -> None:
    recorder = Recorder(api)
    run_id = recorder.create()

    def write(_: int) -> None:
        for _ in range(5):
            recorder.event(run_id, "INFO", minimal=True)

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(write, range(16)))
    assert len(recorder.check(run_id).events) == 80
    assert codes_of(recorder) == {}


def test_thirty_two_threads_write_one_timeline_while_it_is_read(api: Gateway) -> None:
    recorder = Recorder(api)
    run_id = recorder.create()
    recorder.start(run_id)

    def write(thread: int) -> None:
        for n in range(6):
            recorder.event(run_id, ("INFO", "PROGRESS", "ERROR")[n % 3], msg=thread)
            recorder.send("GET", f"/runs/{run_id}")

    with ThreadPoolExecutor(32) as threads:
        list(threads.map(write, range(32)))
    final = recorder.check(run_id)
    assert len(final.events) == 1 + 32 * 6
    assert set(codes_of(recorder)) <= {"run_busy"}
    print(f"32 writers: {recorder.counts()}")


def test_one_of_sixteen_workers_starts_each_of_fifty_runs(api: Gateway) -> None:
    recorder = Recorder(api)
    run_ids = [recorder.create() for _ in range(50)]
    winners: Counter[int] = Counter()
    for run_id in run_ids:
        winner = the_winner(at_once(*[partial(recorder.start, run_id, f"worker-{n}") for n in range(16)]))
        final = recorder.check(run_id)
        assert types_of(final.events) == ["STARTED"]
        assert final.run["execution_summary"]["worker_id"] == f"worker-{winner}"
        winners[winner] += 1
    print(f"50 races of 16: {recorder.counts()}, {len(winners)} different winners")


def test_cancel_and_complete_do_not_both_win(api: Gateway) -> None:
    recorder = Recorder(api)
    ended: Counter[str] = Counter()
    for _ in range(20):
        run_id = recorder.create()
        recorder.start(run_id)
        winner = the_winner(
            at_once(
                partial(recorder.cancel, run_id),
                partial(recorder.event, run_id, "COMPLETED", payload={"outputs": {"a": 1}}),
            )
        )
        final = recorder.check(run_id)
        assert types_of(final.events) == ["STARTED", ("CANCELLED", "COMPLETED")[winner]]
        assert final.run["outputs"] == ({}, {"a": 1})[winner]
        ended[final.run["state"]] += 1
    print(f"cancel against complete: {dict(ended)}")


@pytest.mark.parametrize("ended_by", ["FAILED", "CANCELLED"])
def test_one_of_many_racing_retries_opens_an_attempt(api: Gateway, ended_by: str) -> None:
    recorder = Recorder(api)
    for racers in (2,) * 8 + (8,) * 2:
        run_id = recorder.create()
        recorder.event(run_id, ended_by)
        the_winner(at_once(*[partial(recorder.retry, run_id)] * racers))
        assert recorder.check(run_id).run["current_attempt"] == 2
    assert set(codes_of(recorder)) == {"invalid_transition"}


def test_two_retries_of_a_running_run_open_one_attempt(api: Gateway) -> None:
    """The second retry finds the run PENDING."""
    recorder = Recorder(api)
    for _ in range(8):
        run_id = recorder.create()
        recorder.start(run_id)
        the_winner(at_once(*[partial(recorder.retry, run_id)] * 2))
        assert [attempt["state"] for attempt in recorder.check(run_id).attempts] == ["CANCELLED", "PENDING"]


def test_an_automatic_retry_and_a_cancel_leave_one_of_two_histories(api: Gateway) -> None:
    recorder = Recorder(api)
    histories: Counter[tuple[str, ...]] = Counter()
    for _ in range(20):
        run_id = recorder.create(retry_policy={"max_attempts": 2})
        recorder.start(run_id)
        failed, cancelled = at_once(partial(recorder.event, run_id, "FAILED"), partial(recorder.cancel, run_id))
        types = types_of(recorder.check(run_id).events)
        assert (cancelled.status, types) == (
            200,
            ["STARTED", "FAILED", "RETRIED", "CANCELLED"] if failed.status == 200 else ["STARTED", "CANCELLED"],
        )
        histories[tuple(types)] += 1
    print(f"failure against cancel: {dict(histories)}")


def test_edits_among_events_lose_neither(api: Gateway) -> None:
    recorder = Recorder(api)
    for _ in range(5):
        run_id = recorder.create()
        recorder.start(run_id)
        edits: list[dict[str, Any]] = [
            {"priority": 1},
            {"priority": 2},
            {"outputs": {"b": 2}},
            {"state": "ASSIGNED"},
            {"state": "RUNNING"},
        ]
        answers = at_once(
            *[partial(recorder.patch, run_id, **edit) for edit in edits],
            *[partial(recorder.event, run_id, "INFO", msg=n) for n in range(8)],
        )
        assert {answer.status for answer in answers} == {200}
        final = recorder.check(run_id)
        assert final.run["outputs"] == {"b": 2}
        assert len(final.events) == 9


def test_a_superseded_worker_never_writes_into_the_next_attempt(api: Gateway) -> None:
    recorder = Recorder(api)
    written: Counter[int] = Counter()
    for _ in range(20):
        run_id = recorder.create()
        recorder.start(run_id)

        def work(run_id: str = run_id) -> Answer:
            for percent in range(2_000):
                answer = recorder.event(run_id, "INFO", msg=percent, attempt=1, minimal=True)
                if answer.status != 200:
                    return answer
            raise AssertionError("the worker was never told to stop")

        def take_away(run_id: str = run_id) -> Answer:
            for _ in range(random.randrange(3)):
                recorder.send("GET", f"/runs/{run_id}")
            return recorder.retry(run_id)

        stopped, retried = at_once(work, take_away)
        assert (stopped.status, stopped.json["code"], retried.status) == (409, "stale_attempt", 200)
        first, second = recorder.check(run_id).attempts
        assert types_of(second["events"]) == ["RETRIED"]
        written[first["event_count"] - 1] += 1
    print(f"written before the retry, by how many races: {dict(sorted(written.items()))}")


def test_two_workers_of_an_attempt_do_not_both_end_it(api: Gateway) -> None:
    recorder = Recorder(api)
    ends: list[tuple[str, dict[str, Any]]] = [
        ("COMPLETED", {"outputs": {"a": 1}}),
        ("FAILED", {"error_message": "no"}),
        ("CANCELLED", {}),
        ("RETRIED", {"force": True}),
    ]
    won: Counter[str] = Counter()
    for _ in range(20):
        run_id = recorder.create(retry_policy={"max_attempts": 9})
        recorder.start(run_id)
        answers = at_once(
            *[partial(recorder.event, run_id, type_, payload=payload, attempt=1) for type_, payload in ends]
        )
        final = recorder.check(run_id)
        (first, *_) = (exchange for exchange in recorder.of_run(run_id) if exchange.took_effect and exchange.token)
        won[first.body["type"]] += 1
        succeeded = {ends[n][0] for n, answer in enumerate(answers) if answer.status == 200}
        # FAILED and a forced RETRIED begin attempt 2, which makes the other tokens stale. CANCELLED can still be
        # retried.
        assert succeeded in ({"COMPLETED"}, {"FAILED"}, {"RETRIED"}, {"CANCELLED"}, {"CANCELLED", "RETRIED"})
        assert final.run["current_attempt"] == 1 + bool(succeeded & {"FAILED", "RETRIED"})
    print(f"ended by: {dict(won)}")


def any_request(recorder: Recorder, rng: random.Random, run_id: str) -> None:
    """Send a random request of a worker, an operator or a dashboard. The state of the run may refuse it."""
    token: dict[str, Any] = rng.choice([{}, {}, {"attempt": rng.randint(1, 3)}])
    requests: list[tuple[int, Any]] = [
        (4, lambda: recorder.event(run_id, "INFO", msg=rng.random().hex(), minimal=True, **token)),
        (2, lambda: recorder.event(run_id, "ASSIGNED", payload={"worker_id": "a"}, **token)),
        (4, lambda: recorder.start(run_id, f"worker-{rng.randrange(9)}", **token)),
        (4, lambda: recorder.event(run_id, "PROGRESS", msg=rng.randint(0, 100), **token)),
        (1, lambda: recorder.event(run_id, "COMPLETED", payload={"outputs": {"n": rng.random()}}, **token)),
        (3, lambda: recorder.event(run_id, "FAILED", payload={"error_message": "no"}, **token)),
        (2, lambda: recorder.event(run_id, "RETRIED", payload={"force": rng.random() < 0.5}, **token)),
        (2, lambda: recorder.retry(run_id)),
        (1, lambda: recorder.cancel(run_id)),
        (1, lambda: recorder.patch(run_id, priority=rng.randint(0, 9999))),
        (1, lambda: recorder.patch(run_id, state=rng.choice(["RUNNING", "PENDING"]), outputs={"edit": rng.random()})),
        (4, lambda: recorder.send("GET", f"/runs/{run_id}")),
    ]
    (request,) = rng.choices([request for _, request in requests], [weight for weight, _ in requests])
    request()


def any_history(api: Gateway, seed: int, *, threads: int, runs: int, requests: int) -> None:
    """Send ``requests`` random requests from each thread to any run, and check the history of every run."""
    recorder = Recorder(api, keyed=seed % 2 == 0)
    run_ids = [recorder.create(retry_policy={"max_attempts": 3}) for _ in range(runs)]

    def play(thread: int) -> None:
        rng = random.Random(f"{seed}.{thread}")
        for _ in range(requests):
            any_request(recorder, rng, rng.choice(run_ids))

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(play, range(threads)))
    finals = [recorder.check(run_id) for run_id in run_ids]
    assert {exchange.status for exchange in recorder.exchanges} <= {200, 201, 400, 409}
    assert set(codes_of(recorder)) <= {
        "run_locked",
        "invalid_transition",
        "retry_budget_spent",
        "stale_attempt",
        "run_busy",
    }
    events, attempts = sum(len(final.events) for final in finals), sum(len(final.attempts) for final in finals)
    print(f"seed {seed}: {recorder.counts()}, {events} events in {attempts} attempts, {dict(codes_of(recorder))}")


def test_any_mixture_of_requests_leaves_one_history(api: Gateway) -> None:
    any_history(api, 0, threads=16, runs=4, requests=25)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1, 7))
def test_any_long_mixture_of_requests_leaves_one_history(api: Gateway, seed: int) -> None:
    any_history(api, seed, threads=16, runs=(1, 3, 10)[seed % 3], requests=150)

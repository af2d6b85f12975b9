"""The example worker beside an API that fails: it ends whatever it started, and leaves alone what is not its own."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples import text_worker
from examples.text_worker import CAPACITY, QUEUE, GyozaApi, Refused, Run, Stop, Stopped, work
from tests.examples.stub_api import (
    CLAIM,
    HEARTBEAT,
    RETRY_AFTER_S,
    Answer,
    Fault,
    StubApi,
    ask_cancel,
    cut_off,
    refusal,
    sigterm,
    sigterm_and,
    stub_api,
)

WORKER = Path(text_worker.__file__)
EVENTS_OF_A_RUN = ["STARTED", "INFO", "PROGRESS", "COMPLETED"]
MANY = 12
"""The number of failures in a row. Their pauses take more than seven seconds, whatever the jitter."""
LIMIT_S = 30
FAST_LEASE_S = 0.6
"""It is renewed five times a second."""


class Enough(BaseException):
    """Ends a test after enough pauses."""


class FakeTime:
    """Time that passes in the pauses of the main thread only."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []
        self.most_pauses = 1000

    def sleep(self, seconds: float) -> None:
        if seconds > 0:
            self.now += seconds
            self.pauses.append(seconds)
        if len(self.pauses) >= self.most_pauses:
            raise Enough

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def stub() -> Iterator[StubApi]:
    with stub_api() as stub:
        yield stub


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    clock = FakeTime()

    def pause(stop: Stop, seconds: float) -> None:
        if stop.asked_at is None:
            clock.sleep(seconds)

    monkeypatch.setattr(text_worker, "time", clock)
    monkeypatch.setattr(Stop, "pause", pause)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return clock


def claim_and_work(stub: StubApi, api: GyozaApi | None = None, *, pace_s: float = 0) -> None:
    api = api or GyozaApi(stub.url, "key")
    work(api, Run(api.claim("worker", 90).body, "worker", api.stop), pace_s)


# -- requests


@pytest.mark.parametrize("name", [CLAIM, *EVENTS_OF_A_RUN])
@pytest.mark.parametrize(
    "faults",
    [
        [refusal(503)] * MANY,
        [refusal(429, "throttled")] * MANY,
        [refusal(500, "internal_error")] * MANY,
        [refusal(409, "run_busy")],
        [cut_off],
        [cut_off, refusal(503)] * MANY,
    ],
    ids=["503s", "429s", "500s", "busy", "cut off", "cut off and 503s"],
)
@pytest.mark.usefixtures("clock")
def test_a_request_is_sent_under_one_key_until_it_is_answered(stub: StubApi, name: str, faults: list[Fault]) -> None:
    stub.faults[name] = list(faults)
    stub.add_run()
    claim_and_work(stub)
    assert stub.types == EVENTS_OF_A_RUN
    keys = stub.keys(name)
    assert len(keys) == len(faults) + 1
    assert len(set(keys)) == 1
    assert len({key for _, key in stub.requests}) == 1 + len(EVENTS_OF_A_RUN)


def test_a_claim_names_the_queue_the_capacity_and_the_lease(stub: StubApi) -> None:
    assert GyozaApi(stub.url, "key").claim("worker", 15).status == 204
    assert stub.bodies == [{"worker_id": "worker", "queues": [QUEUE], "capacity": CAPACITY, "lease_s": 15}]


@pytest.mark.usefixtures("clock")
def test_every_event_names_the_attempt_of_the_claim_whatever_later_answers_say(stub: StubApi) -> None:
    run = stub.add_run()
    claim_and_work(stub)
    assert [event["attempt"] for event in stub.events] == [run["current_attempt"]] * len(EVENTS_OF_A_RUN)


def test_pauses_between_repeats_grow_to_half_a_minute_and_are_jittered(stub: StubApi, clock: FakeTime) -> None:
    stub.faults["STARTED"] = [refusal(503)] * MANY
    stub.faults["COMPLETED"] = [refusal(503)] * MANY
    stub.add_run()
    claim_and_work(stub)
    first, second = clock.pauses[:MANY], clock.pauses[MANY:]
    for pauses in (first, second):
        assert pauses[:6] == sorted(pauses[:6])
        assert 0 < pauses[0] < 1
        assert 20 < pauses[-1] < 40
    assert all(one != another for one, another in zip(first, second, strict=True))


@pytest.mark.parametrize("status", [429, 503])
def test_a_pause_is_as_long_as_the_answer_asks_for(stub: StubApi, clock: FakeTime, status: int) -> None:
    stub.faults["STARTED"] = [refusal(status, retry_after="77"), refusal(status, retry_after="soon")]
    stub.add_run()
    claim_and_work(stub)
    asked_for, not_asked_for = clock.pauses
    assert asked_for == 77
    assert not_asked_for < 2


@pytest.mark.parametrize(("status", "code"), [(400, "run_locked"), (404, "run_not_found"), (409, "stale_attempt")])
def test_a_run_that_is_lost_is_reported_on_no_more(stub: StubApi, clock: FakeTime, status: int, code: str) -> None:
    stub.faults["PROGRESS"] = [refusal(status, code)]
    stub.add_run()
    with pytest.raises(Refused, match=code):
        claim_and_work(stub)
    assert stub.types == ["STARTED", "INFO"]
    assert clock.pauses == []


@pytest.mark.usefixtures("clock")
def test_a_run_whose_outputs_are_not_taken_fails(stub: StubApi) -> None:
    stub.faults["COMPLETED"] = [refusal(413, "too_large")]
    stub.add_run()
    claim_and_work(stub)
    assert stub.types == ["STARTED", "INFO", "PROGRESS", "FAILED"]
    assert "too_large" in stub.events[-1]["payload"]["error_message"]


@pytest.mark.usefixtures("clock")
def test_a_run_fails_whatever_its_work_raises(stub: StubApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_worker, "text_statistics", lambda _: 1 / 0)
    stub.add_run()
    claim_and_work(stub)
    assert stub.types == ["STARTED", "INFO", "FAILED"]
    assert "reason" not in stub.events[-1]["payload"]


@pytest.mark.usefixtures("clock")
def test_a_run_of_another_image_fails(stub: StubApi) -> None:
    stub.add_run(image="busybox:1")
    claim_and_work(stub)
    assert stub.types == ["STARTED", "FAILED"]
    assert "busybox:1" in stub.events[-1]["payload"]["error_message"]


# -- the lease


def ended_in_time(api: GyozaApi, stub: StubApi) -> None:
    """Work on a run whose one document takes an hour, unless something ends the work."""
    stub.lease_s = FAST_LEASE_S
    stub.add_run()
    begun = time.monotonic()
    claim_and_work(stub, api, pace_s=3600)
    assert time.monotonic() - begun < LIMIT_S


def answered(_: StubApi) -> None:
    """The request is answered as it should be."""


def test_the_lease_is_renewed_three_times_in_its_length_while_the_work_goes_on(stub: StubApi) -> None:
    stub.faults[HEARTBEAT] = [*[answered] * 5, ask_cancel]
    begun = time.monotonic()
    ended_in_time(GyozaApi(stub.url, "key"), stub)
    assert time.monotonic() - begun >= 6 * FAST_LEASE_S / 3
    assert set(stub.keys(HEARTBEAT)) == {""}
    assert stub.bodies_of(HEARTBEAT)[:6] == [{"attempt": 3, "worker_id": "worker"}] * 6


def test_the_lease_is_renewed_until_the_end_was_acknowledged_and_not_after_it(stub: StubApi) -> None:
    stub.lease_s = FAST_LEASE_S
    stub.faults["COMPLETED"] = [refusal(503)] * 2
    stub.add_run()
    claim_and_work(stub)
    names = [name for name, _ in stub.requests]
    while_it_ended = names[names.index("COMPLETED") :]
    assert while_it_ended.count(HEARTBEAT) >= 3
    time.sleep(3 * FAST_LEASE_S)
    # One may have been on its way.
    assert len(stub.keys(HEARTBEAT)) - names.count(HEARTBEAT) <= 1


@pytest.mark.parametrize("fault", [refusal(503), refusal(429, "throttled"), refusal(409, "run_busy"), cut_off])
def test_a_heartbeat_that_fails_is_sent_again_sooner(stub: StubApi, fault: Fault) -> None:
    failed: list[float] = []

    def fail(stub: StubApi) -> Answer | None:
        failed.append(time.monotonic())
        return fault(stub)

    stub.faults[HEARTBEAT] = [*[fail] * 20, ask_cancel]
    ended_in_time(GyozaApi(stub.url, "key"), stub)
    assert stub.types == ["STARTED", "INFO", "CANCELLED"]
    assert (failed[-1] - failed[0]) / 19 < FAST_LEASE_S / 3


@pytest.mark.parametrize(
    ("status", "code"),
    [(409, "stale_attempt"), (409, "not_claimant"), (400, "run_locked"), (400, "not_leased"), (404, "run_not_found")],
)
def test_a_heartbeat_that_is_refused_ends_the_work(stub: StubApi, status: int, code: str) -> None:
    # On a busy machine a heartbeat may be given up before its answer comes.
    stub.faults[HEARTBEAT] = [refusal(503), *[refusal(status, code)] * MANY]
    with pytest.raises(Refused, match=code):
        ended_in_time(GyozaApi(stub.url, "key"), stub)
    assert stub.types == ["STARTED", "INFO"]


@pytest.mark.parametrize("name", ["STARTED", "INFO", HEARTBEAT])
def test_a_worker_that_is_asked_to_cancel_stops_its_work_and_says_so(stub: StubApi, name: str) -> None:
    stub.faults[name] = [ask_cancel]
    ended_in_time(GyozaApi(stub.url, "key"), stub)
    assert stub.types == ["STARTED", "INFO", "CANCELLED"]
    assert stub.events[-1]["attempt"] == 3


@pytest.mark.usefixtures("clock")
def test_a_cancel_that_comes_with_the_end_changes_nothing(stub: StubApi) -> None:
    stub.faults["COMPLETED"] = [ask_cancel]
    stub.add_run()
    claim_and_work(stub)
    assert stub.types == EVENTS_OF_A_RUN


# -- the loop of claims


@pytest.fixture
def main_worker(stub: StubApi, clock: FakeTime, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTime]:
    """The clock of a worker that main() runs in this process."""
    monkeypatch.setenv("GYOZA_URL", stub.url)
    monkeypatch.setenv("GYOZA_API_KEY", "key")
    handlers = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)}
    yield clock
    for signum, handler in handlers.items():
        signal.signal(signum, handler)


def test_a_worker_without_work_waits_as_long_as_the_answer_asks_for(stub: StubApi, main_worker: FakeTime) -> None:
    main_worker.most_pauses = 3
    with pytest.raises(Enough):
        text_worker.main()
    assert main_worker.pauses == [RETRY_AFTER_S] * 3
    assert len(set(stub.keys(CLAIM))) == 3


def test_a_worker_that_had_a_run_claims_the_next_one_at_once(stub: StubApi, main_worker: FakeTime) -> None:
    stub.add_run()
    stub.add_run()
    main_worker.most_pauses = 1
    with pytest.raises(Enough):
        text_worker.main()
    assert stub.types == EVENTS_OF_A_RUN * 2
    assert len(stub.keys(CLAIM)) == 3


@pytest.mark.parametrize(("status", "code"), [(409, "stale_attempt"), (410, "run_expired")])
def test_a_claim_whose_run_is_lost_meanwhile_is_followed_by_another(
    stub: StubApi, main_worker: FakeTime, status: int, code: str
) -> None:
    stub.add_run()
    stub.faults[CLAIM] = [cut_off, refusal(status, code)]
    main_worker.most_pauses = 2
    with pytest.raises(Enough):
        text_worker.main()
    first, second, third = stub.keys(CLAIM)
    assert first == second != third


def test_a_run_that_is_lost_is_followed_by_the_next(stub: StubApi, main_worker: FakeTime) -> None:
    stub.add_run()
    stub.add_run()
    stub.faults["STARTED"] = [refusal(400, "run_locked")]
    main_worker.most_pauses = 1
    with pytest.raises(Enough):
        text_worker.main()
    assert stub.types == EVENTS_OF_A_RUN


@pytest.mark.usefixtures("main_worker")
@pytest.mark.parametrize(("status", "code"), [(403, "forbidden"), (404, "not_found"), (422, "invalid_request")])
def test_a_claim_that_no_repetition_helps_ends_the_worker_with_a_sentence(
    stub: StubApi, status: int, code: str
) -> None:
    stub.faults[CLAIM] = [refusal(status, code)]
    with pytest.raises(SystemExit, match=f"refused with {code}"):
        text_worker.main()


# -- SIGTERM

STOPS: dict[str, tuple[dict[str, list[Fault]], list[str]]] = {
    "while it claims": ({CLAIM: [sigterm]}, ["RETRIED"]),
    "while it claims, answer lost": ({CLAIM: [sigterm_and(cut_off)]}, ["RETRIED"]),
    "while it gives back": ({CLAIM: [sigterm], "RETRIED": [refusal(503), sigterm_and(cut_off)]}, ["RETRIED"]),
    "while it starts": ({"STARTED": [sigterm]}, ["STARTED", "INFO", "FAILED"]),
    "while it starts, busy": (
        {"STARTED": [sigterm_and(refusal(409, "run_busy"))]},
        ["STARTED", "INFO", "FAILED"],
    ),
    "while it works": ({"PROGRESS": [sigterm]}, ["STARTED", "INFO", "PROGRESS", "FAILED"]),
    "while it completes": (
        {"COMPLETED": [sigterm_and(refusal(503)), refusal(503)]},
        ["STARTED", "INFO", "PROGRESS", "PROGRESS", "COMPLETED"],
    ),
    "while it is asked to cancel": ({"INFO": [sigterm_and(ask_cancel)]}, ["STARTED", "INFO", "CANCELLED"]),
}
"""By the moment at which SIGTERM comes: the faults that the worker meets, and the events that are taken of a run."""


@pytest.mark.parametrize("when", STOPS)
def test_a_stopped_worker_gives_back_a_run_that_it_has_not_started_and_ends_any_other(stub: StubApi, when: str) -> None:
    faults, expected = STOPS[when]
    stub.faults |= {name: list(each) for name, each in faults.items()}
    stub.add_run(documents=2)
    assert run_worker(stub) == 0
    assert stub.types == expected
    for name in {CLAIM, *expected} - {"PROGRESS"}:
        assert len(set(stub.keys(name))) == 1
    if expected[-1] == "FAILED":
        assert stub.events[-1]["payload"] == {"reason": "interrupted", "error_message": "The worker was told to stop"}


@pytest.mark.parametrize("faults", [[sigterm], [refusal(503), sigterm_and(refusal(503))]], ids=["answered", "refused"])
def test_an_idle_worker_that_is_stopped_makes_no_further_claim(stub: StubApi, faults: list[Fault]) -> None:
    stub.faults[CLAIM] = list(faults)
    assert run_worker(stub) == 0
    assert len(set(stub.keys(CLAIM))) == 1
    assert stub.faults[CLAIM] == []


def sigterm_later(api: StubApi) -> None:
    threading.Timer(0.5, sigterm, [api]).start()


@pytest.mark.parametrize("status", [204, 503])
def test_a_worker_that_is_stopped_while_it_waits_for_work_ends_at_once(stub: StubApi, status: int) -> None:
    def none_for_an_hour(api: StubApi) -> Answer:
        sigterm_later(api)
        return Answer(status, None, "3600")

    stub.faults[CLAIM] = [none_for_an_hour]
    assert run_worker(stub) == 0


def test_a_worker_that_is_stopped_in_the_middle_of_a_document_does_not_finish_it(stub: StubApi) -> None:
    stub.faults["INFO"] = [sigterm_later]
    stub.add_run()
    assert run_worker(stub, WORKER_PACE_S="3600") == 0
    assert stub.types == ["STARTED", "INFO", "FAILED"]


def test_a_stopped_worker_tries_for_twenty_seconds_to_say_so(stub: StubApi, clock: FakeTime) -> None:
    api = GyozaApi(stub.url, "key")

    def stop(_: StubApi) -> None:
        api.stop.ask()

    stub.faults["PROGRESS"] = [stop]
    stub.faults["FAILED"] = [refusal(503)] * 1000
    stub.add_run(documents=2)
    with pytest.raises(Stopped):
        claim_and_work(stub, api)
    assert stub.types == ["STARTED", "INFO", "PROGRESS"]
    assert sum(clock.pauses) == 20
    assert len(stub.keys("FAILED")) == len(clock.pauses) + 1


def run_worker(stub: StubApi, **environment: str) -> int:
    """Run a worker in its own process, which a signal ends. Returns its exit code."""
    env = os.environ | {"GYOZA_URL": stub.url, "GYOZA_API_KEY": "key", "NO_PROXY": "127.0.0.1"} | environment
    with subprocess.Popen(
        [sys.executable, WORKER], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as worker:
        stub.worker_pid = worker.pid
        try:
            worker.communicate(timeout=LIMIT_S)
        finally:
            worker.kill()
    return worker.returncode

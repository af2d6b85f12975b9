"""Tests the example worker on an API that fails: it ends what it started and leaves other runs alone."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples import text_worker
from examples.text_worker import GyozaApi, Refused, Stopped, work
from tests.examples.stub_api import Fault, StubApi, cut_off, refusal, sigterm, sigterm_and, stub_api

WORKER = Path(text_worker.__file__)
EVENTS_OF_A_RUN = ["ASSIGNED", "STARTED", "INFO", "PROGRESS", "COMPLETED"]
MANY = 12
"""The number of failures in a row. Their pauses take more than seven seconds, whatever the jitter."""
LIMIT_S = 30


class Enough(BaseException):
    """Ends a test after enough pauses."""


class FakeTime:
    """A clock that moves only during pauses."""

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
    monkeypatch.setattr(text_worker, "time", clock)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return clock


@pytest.mark.parametrize("event_type", EVENTS_OF_A_RUN)
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
def test_an_event_is_sent_under_one_key_until_it_is_answered(
    stub: StubApi, event_type: str, faults: list[Fault]
) -> None:
    stub.faults[event_type] = list(faults)
    work(GyozaApi(stub.url, "key"), stub.add_run(), "worker", 0)
    assert stub.types == EVENTS_OF_A_RUN
    keys = stub.keys(event_type)
    assert len(keys) == len(faults) + 1
    assert len(set(keys)) == 1
    assert len({key for _, key in stub.requests}) == len(EVENTS_OF_A_RUN)


@pytest.mark.usefixtures("clock")
def test_runs_are_asked_for_until_the_answer_is_whole(stub: StubApi) -> None:
    stub.faults["GET"] = [cut_off, *[refusal(503)] * MANY]
    run = stub.add_run()
    assert GyozaApi(stub.url, "key").pending_runs("image") == [run]


def test_pauses_between_repeats_grow_to_half_a_minute_and_are_jittered(stub: StubApi, clock: FakeTime) -> None:
    stub.faults["STARTED"] = [refusal(503)] * MANY
    stub.faults["COMPLETED"] = [refusal(503)] * MANY
    work(GyozaApi(stub.url, "key"), stub.add_run(), "worker", 0)
    first, second = clock.pauses[:MANY], clock.pauses[MANY:]
    for pauses in (first, second):
        assert pauses[:6] == sorted(pauses[:6])
        assert 0 < pauses[0] < 1
        assert 20 < pauses[-1] < 40
    assert all(one != another for one, another in zip(first, second, strict=True))


@pytest.mark.parametrize("status", [429, 503])
def test_a_pause_is_as_long_as_the_answer_asks_for(stub: StubApi, clock: FakeTime, status: int) -> None:
    stub.faults["STARTED"] = [refusal(status, retry_after="77"), refusal(status, retry_after="soon")]
    work(GyozaApi(stub.url, "key"), stub.add_run(), "worker", 0)
    asked_for, not_asked_for = clock.pauses
    assert asked_for == 77
    assert not_asked_for < 2


@pytest.mark.parametrize(("status", "code"), [(400, "run_locked"), (404, "run_not_found"), (409, "stale_attempt")])
def test_a_run_that_is_lost_is_reported_on_no_more(stub: StubApi, clock: FakeTime, status: int, code: str) -> None:
    stub.faults["PROGRESS"] = [refusal(status, code)]
    with pytest.raises(Refused, match=code):
        work(GyozaApi(stub.url, "key"), stub.add_run(), "worker", 0)
    assert stub.types == ["ASSIGNED", "STARTED", "INFO"]
    assert clock.pauses == []


@pytest.mark.usefixtures("clock")
def test_a_run_whose_outputs_are_not_taken_fails(stub: StubApi) -> None:
    stub.faults["COMPLETED"] = [refusal(413, "too_large")]
    work(GyozaApi(stub.url, "key"), stub.add_run(), "worker", 0)
    assert stub.types == ["ASSIGNED", "STARTED", "INFO", "PROGRESS", "FAILED"]
    assert "too_large" in stub.events[-1]["payload"]["error_message"]


@pytest.mark.usefixtures("clock")
def test_a_run_fails_whatever_its_work_raises(stub: StubApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_worker, "text_statistics", lambda _: 1 / 0)
    work(GyozaApi(stub.url, "key"), stub.add_run(), "worker", 0)
    assert stub.types == ["ASSIGNED", "STARTED", "INFO", "FAILED"]


@pytest.fixture
def idle_worker(stub: StubApi, clock: FakeTime, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTime]:
    """Run main() in this process. Returns the worker's clock."""
    monkeypatch.setenv("GYOZA_URL", stub.url)
    monkeypatch.setenv("GYOZA_API_KEY", "key")
    handlers = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)}
    yield clock
    for signum, handler in handlers.items():
        signal.signal(signum, handler)


def test_a_worker_pauses_longer_the_longer_nothing_comes(idle_worker: FakeTime) -> None:
    idle_worker.most_pauses = 20
    with pytest.raises(Enough):
        text_worker.main()
    assert idle_worker.pauses[:6] == sorted(idle_worker.pauses[:6])
    assert 0 < idle_worker.pauses[0] < 1
    assert all(20 < pause < 40 for pause in idle_worker.pauses[10:])
    assert len(set(idle_worker.pauses[10:])) > 1


def test_a_worker_that_had_a_run_looks_for_the_next_one_soon(stub: StubApi, idle_worker: FakeTime) -> None:
    def bring_a_run(api: StubApi) -> None:
        api.add_run()

    stub.faults["GET"] = [*[lambda _: None] * 8, bring_a_run]
    idle_worker.most_pauses = 9
    with pytest.raises(Enough):
        text_worker.main()
    assert stub.types == EVENTS_OF_A_RUN
    assert idle_worker.pauses[7] > 20
    assert idle_worker.pauses[8] < 1


def test_a_run_that_another_worker_took_is_passed_over_for_the_next(stub: StubApi, idle_worker: FakeTime) -> None:
    taken, free = stub.add_run(), stub.add_run()
    stub.faults["ASSIGNED"] = [refusal(400, "invalid_transition")]
    idle_worker.most_pauses = 1
    stub.faults["GET"] = [lambda _: None, lambda _: taken.update(state="RUNNING")]
    with pytest.raises(Enough):
        text_worker.main()
    assert stub.types == EVENTS_OF_A_RUN
    assert free["state"] == "COMPLETED"


@pytest.mark.usefixtures("idle_worker")
def test_a_wrong_key_ends_the_worker_with_a_sentence(stub: StubApi) -> None:
    stub.faults["GET"] = [refusal(403, "forbidden")]
    with pytest.raises(SystemExit, match="refused with forbidden"):
        text_worker.main()


Stop = tuple[dict[str, list[Fault]], list[str]]
STOPS: dict[str, Stop] = {
    "while it assigns": ({"ASSIGNED": [sigterm]}, ["ASSIGNED", "RETRIED"]),
    "while it assigns, answer lost": ({"ASSIGNED": [sigterm_and(cut_off)]}, ["ASSIGNED", "RETRIED"]),
    "while it gives back": (
        {"ASSIGNED": [sigterm], "RETRIED": [refusal(503), sigterm_and(cut_off)]},
        ["ASSIGNED", "RETRIED"],
    ),
    "while it starts": ({"STARTED": [sigterm]}, ["ASSIGNED", "STARTED", "INFO", "FAILED"]),
    "while it starts, busy": (
        {"STARTED": [sigterm_and(refusal(409, "run_busy"))]},
        ["ASSIGNED", "STARTED", "INFO", "FAILED"],
    ),
    "while it works": ({"PROGRESS": [sigterm]}, ["ASSIGNED", "STARTED", "INFO", "PROGRESS", "FAILED"]),
    "while it completes": (
        {"COMPLETED": [sigterm_and(refusal(503)), refusal(503)]},
        ["ASSIGNED", "STARTED", "INFO", "PROGRESS", "PROGRESS", "COMPLETED"],
    ),
}
"""By the worker's activity at SIGTERM: the faults that it meets, and the events that the API accepts."""


@pytest.mark.parametrize("when", STOPS)
def test_a_stopped_worker_gives_back_what_it_has_not_started_and_ends_what_it_has(stub: StubApi, when: str) -> None:
    faults, expected = STOPS[when]
    stub.faults |= {name: list(each) for name, each in faults.items()}
    stub.add_run(documents=2)
    assert run_worker(stub) == 0
    assert stub.types == expected
    for event_type in set(expected) - {"PROGRESS"}:
        assert len(set(stub.keys(event_type))) == 1
    if expected[-1] == "FAILED":
        assert "told to stop" in stub.events[-1]["payload"]["error_message"]


@pytest.mark.parametrize(
    ("faults", "exit_code"),
    [([sigterm], 0), ([refusal(503), sigterm_and(refusal(503))], 1)],
    ids=["answered", "refused"],
)
def test_an_idle_worker_that_is_stopped_asks_for_no_more_runs(
    stub: StubApi, faults: list[Fault], exit_code: int
) -> None:
    stub.faults["GET"] = list(faults)
    assert run_worker(stub) == exit_code
    assert len(stub.requests) == len(faults)
    assert stub.faults["GET"] == []


def test_a_worker_that_is_stopped_in_the_middle_of_a_document_does_not_finish_it(stub: StubApi) -> None:
    def sigterm_later(api: StubApi) -> None:
        threading.Timer(0.5, sigterm, [api]).start()

    stub.faults["INFO"] = [sigterm_later]
    stub.add_run()
    assert run_worker(stub, WORKER_PACE_S="3600") == 0
    assert stub.types == ["ASSIGNED", "STARTED", "INFO", "FAILED"]


def test_a_stopped_worker_tries_for_twenty_seconds_to_say_so(stub: StubApi, clock: FakeTime) -> None:
    api = GyozaApi(stub.url, "key")

    def stop(_: StubApi) -> None:
        api.stop.ask()

    stub.faults["PROGRESS"] = [stop]
    stub.faults["FAILED"] = [refusal(503)] * 1000
    with pytest.raises(Stopped):
        work(api, stub.add_run(documents=2), "worker", 0)
    assert stub.types == ["ASSIGNED", "STARTED", "INFO", "PROGRESS"]
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

"""Tests the thread that renews a lease, against a server whose answers are scripted."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from clients.python.tests.scripted_server import HANG_UP, Asked, Reply, ScriptedServer
from gyoza_client import ApiError, GyozaClient
from gyoza_client._lease import beats
from gyoza_client._lease.beats import Beat, Beats
from gyoza_client._lease.boottime import boottime

MakeBeats = Callable[..., Beats]


def acknowledged(lease_s: int = 90, cancel_by: str | None = None) -> Reply:
    return Reply(
        200,
        {
            "id": "r1",
            "state": "RUNNING",
            "current_attempt": 1,
            "lease_s": lease_s,
            "lease_until": "2026-03-02T20:00:01.042000Z",
            "cancel_by": cancel_by,
        },
    )


def refusal(status: int, code: str) -> Reply:
    return Reply(status, {"detail": "no", "code": code, "request_id": "q"})


@pytest.fixture
def heard() -> "queue.Queue[Beat | ApiError]":
    return queue.Queue()


@pytest.fixture
def make_beats(server: ScriptedServer, heard: "queue.Queue[Beat | ApiError]") -> Iterator[MakeBeats]:
    made: list[Beats] = []
    client = GyozaClient(server.url, "key")

    def make(lease_s: int = 90) -> Beats:
        made.append(Beats(client, "r1", 1, "w1", lease_s, renewed=heard.put, refused=heard.put))
        return made[-1]

    yield make
    for each in made:
        each.stop()
    client.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("gyoza-beats")]


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beats, "_pause_s", lambda _lease_s, _failures: 0.01)


@pytest.mark.usefixtures("hurried")
def test_each_acknowledged_beat_is_told_with_the_time_before_it_was_sent(
    server: ScriptedServer, make_beats: MakeBeats, heard: Any
) -> None:
    server.replies(acknowledged(90), acknowledged(60, "2026-03-02T20:01:00.000000Z"))
    before = boottime()
    make_beats().start()
    first, second = heard.get(timeout=5), heard.get(timeout=5)
    assert before < first.sent_at < second.sent_at < boottime()
    assert (first.lease_s, first.cancel_by) == (90, None)
    assert (second.lease_s, str(second.cancel_by)) == (60, "2026-03-02 20:01:00+00:00")
    assert (server.asked[0].path, server.asked[0].body) == ("/runs/r1/heartbeat", {"attempt": 1, "worker_id": "w1"})


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize(
    ("status", "code"),
    [
        (404, "run_not_found"),
        (409, "stale_attempt"),
        (409, "not_claimant"),
        (400, "run_locked"),
        (400, "not_leased"),
    ],
)
def test_a_refusal_is_told_once_and_no_beat_follows(
    status: int, code: str, server: ScriptedServer, make_beats: MakeBeats, heard: Any
) -> None:
    server.replies(refusal(status, code))
    make_beats().start()
    assert heard.get(timeout=5).code == code
    time.sleep(0.1)
    assert (heard.empty(), len(server.asked)) == (True, 1)


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize(
    "failure",
    [HANG_UP, refusal(503, "unavailable"), refusal(429, "throttled"), refusal(403, "forbidden"), Reply(200, b"<html>")],
)
def test_a_failure_that_is_no_refusal_is_tried_again(
    failure: Reply, server: ScriptedServer, make_beats: MakeBeats, heard: Any
) -> None:
    server.replies(failure, failure, acknowledged())
    make_beats().start()
    assert isinstance(heard.get(timeout=5), Beat)
    assert len(server.asked) >= 3


@pytest.mark.usefixtures("hurried")
def test_no_beat_is_sent_after_stop(server: ScriptedServer, make_beats: MakeBeats, heard: Any) -> None:
    server.replies(acknowledged())
    running = make_beats()
    running.start()
    heard.get(timeout=5)
    running.stop()
    sent = len(server.asked)
    running.stop()
    time.sleep(0.1)
    assert len(server.asked) == sent


def test_beats_that_never_began_can_be_stopped(make_beats: MakeBeats) -> None:
    make_beats().stop()


@pytest.mark.usefixtures("hurried")
def test_the_thread_itself_may_stop_the_beats(server: ScriptedServer) -> None:
    server.replies(refusal(404, "run_not_found"))
    ended = threading.Event()
    with GyozaClient(server.url, "key") as client:

        def stop(_refusal: ApiError) -> None:
            running.stop()
            ended.set()

        running = Beats(client, "r1", 1, "w1", 90, renewed=lambda _beat: None, refused=stop)
        running.start()
        assert ended.wait(5)
        running.stop()


@pytest.mark.usefixtures("hurried")
def test_an_answer_that_does_not_come_is_given_up_and_stop_does_not_wait_longer(
    server: ScriptedServer, make_beats: MakeBeats, heard: Any
) -> None:
    """The time-out of a lease of 15 s is 1 s."""
    slow = threading.Event()

    def script(_asked: Asked) -> Reply:
        if len(server.asked) == 1:
            slow.wait(5)
        return acknowledged(15)

    server.answers_with(script)
    running = make_beats(15)
    begun = time.monotonic()
    running.start()
    while not server.asked:
        time.sleep(0.01)
    running.stop()
    assert time.monotonic() - begun < 2
    slow.set()
    assert heard.empty()


@pytest.mark.parametrize("lease_s", [15, 90, 300, 3600])
def test_beats_come_each_quarter_of_the_lease_or_30_s_and_sooner_after_a_failure(lease_s: int) -> None:
    quiet = [beats._pause_s(lease_s, 0) for _ in range(100)]
    longest = min(lease_s / 4, 30)
    assert 0.8 * longest <= min(quiet) < max(quiet) <= longest
    for failures in range(1, 2000):
        assert 0.2 <= beats._pause_s(lease_s, failures) <= min(lease_s / 10, 10)


def test_the_clock_goes_on() -> None:
    before = boottime()
    time.sleep(0.01)
    assert boottime() - before >= 0.01

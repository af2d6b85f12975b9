"""Tests the claims that a worker sends one after another, against a server whose answers are scripted."""

import math
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from clients.python.tests.examples import claimed_json, error_json
from clients.python.tests.scripted_server import HANG_UP, Asked, Reply, ScriptedServer
from gyoza_client import ApiError, GyozaClient
from gyoza_client._lease import claims as module
from gyoza_client._lease.boottime import boottime
from gyoza_client._lease.claims import Claim, Claims
from gyoza_client._lease.stop import Stop

NOTHING = Reply(204, headers={"Retry-After": "7"})
CLAIMED = Reply(200, claimed_json("w1"))


class RecordedStop(Stop):
    """Does not pause, and records the pauses that it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.pauses: list[float] = []

    def wait(self, seconds: float) -> bool:
        self.pauses.append(seconds)
        return super().wait(0)


@pytest.fixture
def client(server: ScriptedServer) -> Iterator[GyozaClient]:
    with GyozaClient(server.url, "key", max_retries=2) as client:
        yield client


@pytest.fixture
def stop() -> RecordedStop:
    return RecordedStop()


def claims_of(client: GyozaClient, stop: Stop, idle_s: float | None = None) -> Claims:
    return Claims(client, stop, queues=["q"], capacity=None, lease_s=90, idle_s=idle_s)


def test_a_run_is_taken_with_its_lease_counted_from_the_first_request(
    client: GyozaClient, server: ScriptedServer, stop: RecordedStop
) -> None:
    server.replies(HANG_UP, HANG_UP, CLAIMED)
    before = boottime()
    claim = claims_of(client, stop).next("w1")
    assert isinstance(claim, Claim)
    assert (claim.worker_id, claim.lease_s, claim.run.state) == ("w1", 90, "ASSIGNED")
    assert before <= claim.sent_at <= before + 0.1
    assert len({asked.headers["idempotency-key"] for asked in server.asked}) == 1


def test_it_pauses_as_the_server_says_and_a_little_at_random(
    client: GyozaClient, server: ScriptedServer, stop: RecordedStop
) -> None:
    server.replies(*[NOTHING] * 20, CLAIMED)
    assert claims_of(client, stop).next("w1")
    assert len(stop.pauses) == len(set(stop.pauses)) == 20
    assert all(7 <= pause <= 7.5 for pause in stop.pauses)
    assert len({asked.headers["idempotency-key"] for asked in server.asked}) == 21


@pytest.mark.parametrize(
    "failure",
    [HANG_UP, Reply(503, error_json("unavailable")), Reply(429, error_json("quota_exceeded")), Reply(200, b"<")],
)
def test_it_outlasts_failures_with_pauses_that_grow(
    failure: Reply, client: GyozaClient, server: ScriptedServer, stop: RecordedStop
) -> None:
    server.replies(*[failure] * 9, CLAIMED)
    assert claims_of(client.with_options(max_retries=0), stop).next("w1")
    assert len(stop.pauses) == 9
    assert 1 <= stop.pauses[0] <= 2
    assert 15 <= stop.pauses[-1] <= 30


@pytest.mark.parametrize(("status", "code"), [(409, "stale_attempt"), (410, "run_expired")])
def test_a_claim_that_has_lost_its_run_is_followed_by_a_new_one(
    status: int, code: str, client: GyozaClient, server: ScriptedServer, stop: RecordedStop
) -> None:
    server.replies(Reply(status, error_json(code)), CLAIMED)
    assert claims_of(client, stop).next("w1")
    assert len({asked.headers["idempotency-key"] for asked in server.asked}) == 2


def test_a_run_of_another_worker_is_not_taken(client: GyozaClient, server: ScriptedServer, stop: RecordedStop) -> None:
    server.replies(Reply(200, claimed_json("w2")), CLAIMED)
    claim = claims_of(client, stop).next("w1")
    assert claim is not None
    assert claim.run.execution_summary.worker_id == "w1"


@pytest.mark.parametrize(("status", "code"), [(403, "forbidden"), (422, "validation_error")])
def test_a_claim_that_the_server_refuses_is_an_error(
    status: int, code: str, client: GyozaClient, server: ScriptedServer, stop: RecordedStop
) -> None:
    server.replies(Reply(status, error_json(code)))
    with pytest.raises(ApiError, match=code):
        claims_of(client, stop).next("w1")


def test_it_gives_up_once_nothing_was_found_for_so_long(client: GyozaClient, server: ScriptedServer) -> None:
    server.replies(NOTHING)
    assert claims_of(client, Stop(), idle_s=0).next("w1") is None
    assert len(server.asked) == 1
    assert claims_of(client, Stop(), idle_s=0.2).next("w1") is None
    assert len(server.asked) == 3


@pytest.mark.parametrize("failure", [HANG_UP, Reply(200, b"<html>"), Reply(503, error_json("unavailable"))])
def test_the_time_of_claims_that_failed_is_no_idle_time(
    failure: Reply, client: GyozaClient, server: ScriptedServer, stop: RecordedStop
) -> None:
    server.replies(failure, failure, failure, NOTHING)
    assert claims_of(client.with_options(max_retries=0), stop, idle_s=0).next("w1") is None
    assert len(server.asked) == 4


def test_an_idle_time_that_is_no_number_is_refused(client: GyozaClient) -> None:
    with pytest.raises(ValueError, match="NaN"):
        claims_of(client, Stop(), idle_s=math.nan)


def test_a_run_that_comes_after_the_stop_is_given_back(client: GyozaClient, server: ScriptedServer) -> None:
    stop = Stop()

    def script(asked: Asked) -> Reply:
        stop.set()
        return CLAIMED if asked.path == "/runs/claim" else Reply(409, error_json("stale_attempt"))

    server.answers_with(script)
    assert claims_of(client, stop).next("w1") is None
    assert server.asked[-1].body == {"type": "RETRIED", "attempt": 1}
    assert claims_of(client, stop).next("w1") is None
    assert len(server.asked) == 2


def test_a_claim_without_an_answer_is_not_repeated_for_long_after_the_stop(
    client: GyozaClient, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LAST_TRIES_S", 0.3)
    server.replies(HANG_UP)
    stop = Stop()
    threading.Timer(0.3, stop.set).start()
    begun = time.monotonic()
    assert claims_of(client.with_options(max_retries=1000), stop).next("w1") is None
    assert time.monotonic() - begun < 3


def test_everybody_who_waits_is_woken_by_the_stop() -> None:
    stop = Stop()
    woken: list[Any] = []
    threads = [threading.Thread(target=lambda: woken.append(stop.wait(10))) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert not stop.wait(0.01)
    assert stop.age_s == 0
    stop.set()
    stop.set()
    for thread in threads:
        thread.join(5)
    assert woken == [True] * 3
    assert stop.age_s > 0
